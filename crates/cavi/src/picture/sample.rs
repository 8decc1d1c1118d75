//! Rows for pictures: what was observed and what is inferred in a sample of the rows.

use std::ops::Range;

use vi_model::evaluate::DataEvaluator;
use vi_model::graph::{AxisId, Graph, NodeId, Observation, VariableId};

use crate::error::CaviError;
use crate::fit::Ascent;

/// Rows that are read at once.
const CHUNK: usize = 256;

/// Evenly spaced stretches of rows, about `most` rows in all.
pub(super) fn spread(num_rows: usize, most: usize) -> Vec<Range<usize>> {
    let chunks = num_rows.div_ceil(CHUNK);
    let step = chunks.div_ceil((most / CHUNK).max(1)).max(1);
    (0..chunks).step_by(step).map(|c| c * CHUNK..((c + 1) * CHUNK).min(num_rows)).collect()
}

/// The first rows, in stretches.
pub(super) fn first(num_rows: usize, most: usize) -> Vec<Range<usize>> {
    let end = num_rows.min(most);
    (0..end).step_by(CHUNK).map(|start| start..(start + CHUNK).min(end)).collect()
}

/// Numbers of some rows, `[num_rows, width]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Values per row.
    pub(super) width: usize,
    /// Row-major values, NaN where missing.
    pub(super) values: Vec<f64>,
    /// Names of the columns.
    pub(super) names: Vec<String>,
}

impl Table {
    /// One column.
    pub(super) fn column(&self, column: usize) -> Vec<f64> {
        self.values.iter().skip(column).step_by(self.width.max(1)).copied().collect()
    }

    /// Number of rows.
    pub(super) fn num_rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

/// An expression of data in some rows; its further axes become columns.
pub(super) fn data(graph: &Graph, node: NodeId, rows: &[Range<usize>]) -> Result<Table, CaviError> {
    let axes: Vec<AxisId> = graph.node(node).axes.iter().copied().filter(|a| Some(*a) != graph.rows).collect();
    let width = axes.iter().map(|a| graph.axis(*a).size).product::<usize>().max(1);
    let text = graph.expression_text(node);
    let names = match axes.as_slice() {
        [single] => graph.data.element_names(graph.axis(*single)).unwrap_or_default(),
        _ => Vec::new(),
    };
    let names = if names.len() == width { names } else { (0..width).map(|i| indexed(&text, i, width)).collect() };
    let evaluator = DataEvaluator::new(graph, &[node])?;
    let mut tensors = Vec::new();
    let mut values = Vec::new();
    for range in rows {
        evaluator.evaluate(range.clone(), &mut tensors)?;
        let Some(tensor) = tensors.first() else { continue };
        let order: Vec<AxisId> = graph.rows.into_iter().chain(axes.iter().copied()).collect();
        match tensor.transpose_to(&order) {
            Some(ordered) => values.extend(ordered.values),
            None => values.extend_from_slice(&tensor.values),
        }
    }
    Ok(Table { width, values, names })
}

fn indexed(text: &str, index: usize, width: usize) -> String {
    if width == 1 { text.to_owned() } else { format!("{text} {index}") }
}

/// What was observed of a variable, as numbers (categories by their positions).
pub(super) fn observed(graph: &Graph, v: VariableId, rows: &[Range<usize>]) -> Result<Option<Table>, CaviError> {
    match graph.variable(v).observed {
        Some(Observation::Numeric(node)) if graph.rows.is_some_and(|r| graph.node(node).axes.contains(&r)) => {
            Ok(Some(data(graph, node, rows)?))
        }
        Some(Observation::Levels { column, axis }) => {
            let codes = graph.data.codes(column, graph.axis(axis))?;
            let values = rows
                .iter()
                .flat_map(|range| codes.rows(range.clone()))
                .map(|&code| if code == vi_model::data::MISSING_CODE { f64::NAN } else { f64::from(code) })
                .collect();
            Ok(Some(Table { width: 1, values, names: vec![graph.data.column(column).name.clone()] }))
        }
        _ => Ok(None),
    }
}

/// Means and standard deviations of a latent row-level variable, each `[num_rows, width]`.
pub(super) fn latent(
    ascent: &Ascent,
    v: VariableId,
    rows: &[Range<usize>],
) -> Result<Option<(Table, Table)>, CaviError> {
    let name = &ascent.engine.lowered.graph.variable(v).name;
    let (mut means, mut sds) = (Table::default(), Table::default());
    for range in rows {
        let Some(part) = ascent.rows(name, range.clone())? else { return Ok(None) };
        (means.width, sds.width) = (part.width, part.width);
        means.values.extend(part.means);
        sds.values.extend(part.sds);
    }
    Ok((means.width > 0).then_some((means, sds)))
}

/// How often each of the rows occurs.
pub(super) fn weights(graph: &Graph, rows: &[Range<usize>]) -> Result<Vec<f64>, CaviError> {
    let mut weights = Vec::new();
    for range in rows {
        let start = weights.len();
        weights.resize(start + range.len(), 1.0);
        if let Some(counts) = graph.counts {
            graph.data.read(&[counts], range.clone(), &mut weights[start..])?;
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_small_data_and_thin_large_data() {
        assert_eq!(spread(300, 20_000), [0..256, 256..300]);
        let thin = spread(1_000_000, 20_000);
        let total: usize = thin.iter().map(Range::len).sum();
        assert!((10_000..=20_480).contains(&total), "{total}");
        assert_eq!(first(1000, 300), [0..256, 256..300]);
    }
}
