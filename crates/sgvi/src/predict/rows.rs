//! The model over new rows: its graph with their data and levels, and where its coordinates are in the fit.

use std::collections::HashMap;
use std::sync::Arc;

use vi_model::data::Data;
use vi_model::graph::{AxisId, AxisKind, Distribution, Graph, IndexSource, NodeKind, VariableId};
use vi_model::new_rows::new_rows;

use super::PredictError;

/// The graph over new rows, and for each axis that got new levels how many the fit knows.
pub(super) fn graph_of_rows(graph: &Graph, data: &Data) -> Result<(Graph, HashMap<AxisId, usize>), PredictError> {
    let mut new = graph.clone();
    let rows = data.num_rows();
    new.data = Arc::new(new_rows(graph, data)?);
    new.counts = None;
    for variable in &mut new.variables {
        variable.initial = None;
    }
    let mut known = HashMap::new();
    for node in &graph.nodes {
        let NodeKind::Index { base, position, index: IndexSource::Column(column) } = &node.kind else { continue };
        let axis = graph.node(*base).axes[*position];
        if known.contains_key(&axis) || !can_grow(graph, axis) {
            continue;
        }
        let size = new.axis(axis).size;
        if let AxisKind::Levels { levels, .. } = &mut new.axes[axis.0].kind {
            for level in new.data.levels(*column) {
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
            let grown = levels.len();
            if grown > size {
                new.axes[axis.0].size = grown;
                known.insert(axis, size);
            }
        }
    }
    if let Some(axis) = graph.rows {
        let along_rows = |kind: &NodeKind| matches!(kind, NodeKind::Constant(tensor) if tensor.axes.contains(&axis));
        if graph.nodes.iter().any(|n| along_rows(&n.kind)) {
            return Err(PredictError::RowsArray { rows: graph.axis(axis).size });
        }
        new.axes[axis.0].size = rows;
    }
    Ok((new, known))
}

/// Whether levels may be added to an axis: only plates of variables range over it.
fn can_grow(graph: &Graph, axis: AxisId) -> bool {
    let constant = graph.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Constant(t) if t.axes.contains(&axis)));
    let ranged = graph.variables.iter().any(|v| {
        v.dimension == Some(axis)
            || v.plates.iter().filter(|p| **p == axis).count() > 1
            || matches!(
                v.distribution,
                Distribution::Categorical { range, .. }
                | Distribution::MarkovChain { range, .. }
                | Distribution::Multinomial { range, .. } if range == axis
            )
    });
    !constant && !ranged
}

/// For each coordinate of the new program, its place among those of the fit; `None` for elements of new levels.
pub(super) fn places(old: &Graph, new: &Graph, old_owner: &[usize], new_owner: &[usize]) -> Vec<Option<usize>> {
    let of = |owner: &[usize], v: usize| owner.iter().position(|o| *o == v);
    let count = |owner: &[usize], v: usize| owner.iter().filter(|o| **o == v).count();
    let mut places = Vec::with_capacity(new_owner.len());
    while places.len() < new_owner.len() {
        let v = new_owner[places.len()];
        let (had, has) = (count(old_owner, v), count(new_owner, v));
        let Some(first) = of(old_owner, v) else {
            places.extend(std::iter::repeat_n(None, has));
            continue;
        };
        if had == has {
            places.extend((first..first + has).map(Some));
            continue;
        }
        let plates = &old.variable(VariableId(v)).plates;
        let sizes = |g: &Graph| plates.iter().map(|a| g.axis(*a).size).collect::<Vec<_>>();
        let (before, now) = (sizes(old), sizes(new));
        let width = has / now.iter().product::<usize>().max(1);
        for i in 0..has {
            let (mut element, mut stride, mut place, mut inside) = (i / width.max(1), 1, 0, true);
            for (b, n) in before.iter().zip(&now).rev() {
                let at = element % n;
                element /= n;
                inside &= at < *b;
                place += at * stride;
                stride *= b;
            }
            places.push(inside.then_some(first + place * width + i % width.max(1)));
        }
    }
    places
}
