//! Which terms of the log joint a variable stands in, and their values by row: what a gradient of one coordinate needs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vi_model::graph::{Graph, NodeId, VariableId};

use super::discrete::is_discrete;
use super::latents::Support;
use super::factored::lowered;
use super::{Lowering, Model};
use crate::error::SgviError;
use crate::tape::{Program, Shape, Value};

/// Terms that are sums over rows, as a program that gives each row's part.
#[derive(Debug)]
pub struct RowTerms {
    /// The program.
    pub program: Arc<Program>,
    /// For each term its value by row, where the whole term is a sum of such.
    pub values: HashMap<usize, Value>,
}

/// The state of a lowering that keeps terms by row.
#[derive(Debug, Default)]
pub(super) struct ByRow {
    pub(super) values: HashMap<usize, Value>,
    /// Terms that have parts without rows.
    pub(super) whole: HashSet<usize>,
}

/// For each variable the terms in which it stands: its own and its children's; terms from which discrete variables have
/// been summed out count as one.
pub fn terms_touched(graph: &Graph, model: &Model) -> Vec<Vec<usize>> {
    let n = graph.variables.len();
    let parents: Vec<Vec<VariableId>> = graph
        .variables
        .iter()
        .map(|v| {
            let mut nodes: Vec<NodeId> = v.distribution.parameters().into_iter().map(|(_, node)| node).collect();
            nodes.extend(v.lower);
            nodes.extend(v.upper);
            nodes.into_iter().flat_map(|node| graph.variables_of(node)).collect()
        })
        .collect();
    let kept = |v: usize| model.factored.iter().any(|f| f.variable.0 == v);
    let summed =
        |v: usize| is_discrete(&graph.variables[v].distribution) && graph.variables[v].observed.is_none() && !kept(v);
    let together: Vec<usize> = (0..n).filter(|&t| summed(t) || parents[t].iter().any(|p| summed(p.0))).collect();
    (0..n)
        .map(|v| {
            let mut terms: Vec<usize> = (0..n).filter(|&t| t == v || parents[t].contains(&VariableId(v))).collect();
            if terms.iter().any(|t| together.contains(t)) {
                terms.extend(&together);
            }
            terms.sort_unstable();
            terms.dedup();
            terms
        })
        .collect()
}

impl RowTerms {
    /// Compiles a graph so that its terms can be read row by row; `None` where rows hang together or are counted.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn new(graph: &Graph, model: &Model) -> Result<Option<Self>, SgviError> {
        if !model.program.chunkable || graph.counts.is_some() || !model.latents.iter().any(|l| l.rows) {
            return Ok(None);
        }
        let (mut l, ()) = lowered(graph, |l| {
            let mut by_row = ByRow::default();
            // The log Jacobians of row-level variables are not by row.
            by_row.whole.extend(model.latents.iter().filter(|l| l.support != Support::Real).map(|l| l.variable.0));
            l.by_row = Some(by_row);
            l.add_latents()?;
            for v in (0..graph.variables.len()).map(VariableId) {
                l.add_density(v)?;
            }
            l.eliminate()
        })?;
        l.b.program.dimension = l.owner.len();
        let Some(ByRow { mut values, whole }) = l.by_row else { return Ok(None) };
        values.retain(|term, _| !whole.contains(term));
        for value in values.values() {
            l.b.settle(value);
        }
        Ok(Some(Self { program: Arc::new(l.b.program), values }))
    }
}

impl Lowering<'_> {
    /// Keeps a part of a term by row; whether it is one.
    pub(super) fn keep_by_row(&mut self, v: VariableId, value: &Value, own: &Shape) -> bool {
        if self.by_row.is_none() {
            return false;
        }
        let rows = Shape { rows: true, axes: Vec::new() };
        let complete = own.rows && value.shape.rows && own.axes.iter().all(|a| value.shape.has(a.0));
        let total = complete.then(|| {
            let part = self.b.sum_to(value, &rows);
            match self.by_row.as_ref().and_then(|b| b.values.get(&v.0)).cloned() {
                Some(known) => self.b.sum(&known, &part),
                None => part,
            }
        });
        if let Some(by_row) = &mut self.by_row {
            match total {
                Some(total) => {
                    by_row.values.insert(v.0, total);
                }
                None => {
                    by_row.whole.insert(v.0);
                }
            }
        }
        true
    }
}
