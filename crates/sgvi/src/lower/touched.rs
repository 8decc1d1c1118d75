//! Which terms of the log joint a variable stands in, and their values cell by cell: what a gradient of one coordinate needs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vi_model::data::ColumnId;
use vi_model::graph::{AxisId, Graph, IndexSource, NodeId, NodeKind, VariableId};

use super::discrete::is_discrete;
use super::factored::lowered;
use super::latents::Support;
use super::{Lowering, Model};
use crate::error::SgviError;
use crate::tape::{Program, Shape, Value};

/// Terms that are sums over cells, as a program that gives each cell's part.
#[derive(Debug)]
pub(crate) struct CellTerms {
    /// The program.
    pub program: Arc<Program>,
    /// For each term its value by cell, where the whole term is a sum of such.
    pub values: HashMap<usize, Value>,
}

/// The state of a lowering that keeps terms by cell.
#[derive(Debug, Default)]
pub(super) struct ByCell {
    pub(super) values: HashMap<usize, Value>,
    /// Terms that have parts without cells.
    pub(super) whole: HashSet<usize>,
}

/// What chooses the element of a variable along one of its plates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The cell's own place along an axis.
    Axis(AxisId),
    /// A column's value in the cell's row.
    Column(ColumnId),
    /// Any element may stand there.
    Any,
}

/// The element along a plate that stands in a cell.
enum Way {
    /// By the cell's row.
    Code(Vec<u32>),
    /// By the cell's place along an axis.
    Place { stride: usize, size: usize },
}

impl Way {
    fn element(&self, cell: usize) -> usize {
        match self {
            Self::Code(codes) => codes[cell] as usize,
            Self::Place { stride, size } => cell / stride % size,
        }
    }
}

/// For each variable the terms in which it stands: its own and its children's; terms from which discrete variables have
/// been summed out count as one.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The terms of each variable.
    pub terms: Vec<Vec<usize>>,
    /// Those that count as one.
    together: Vec<usize>,
}

/// Parameters and bounds of a variable.
fn parameters(graph: &Graph, v: usize) -> Vec<NodeId> {
    let v = &graph.variables[v];
    let mut nodes: Vec<NodeId> = v.distribution.parameters().into_iter().map(|(_, node)| node).collect();
    nodes.extend(v.lower);
    nodes.extend(v.upper);
    nodes
}

impl Touched {
    /// Of a model.
    pub(crate) fn new(graph: &Graph, model: &Model) -> Self {
        let n = graph.variables.len();
        let parents: Vec<Vec<VariableId>> = (0..n)
            .map(|v| parameters(graph, v).into_iter().flat_map(|node| graph.variables_of(node)).collect())
            .collect();
        let kept = |v: usize| model.factored.iter().any(|f| f.variable.0 == v);
        let summed = |v: usize| {
            is_discrete(&graph.variables[v].distribution) && graph.variables[v].observed.is_none() && !kept(v)
        };
        let together: Vec<usize> = (0..n).filter(|&t| summed(t) || parents[t].iter().any(|p| summed(p.0))).collect();
        let terms = (0..n)
            .map(|v| {
                let mut terms: Vec<usize> = (0..n).filter(|&t| t == v || parents[t].contains(&VariableId(v))).collect();
                if terms.iter().any(|t| together.contains(t)) {
                    terms.extend(&together);
                }
                terms.sort_unstable();
                terms.dedup();
                terms
            })
            .collect();
        Self { terms, together }
    }

    /// For each element of a variable (rows first, then its further plates in order) the cells of a term in which it stands;
    /// `None` where that may be any cell. Cells are rows, or without rows the term's own plates.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub(crate) fn cells(&self, graph: &Graph, v: usize, term: usize) -> Result<Option<Vec<Vec<u32>>>, SgviError> {
        let members = if self.together.contains(&term) { &self.together[..] } else { &[term] };
        let mut found: Vec<Vec<Choice>> = Vec::new();
        let plates = rows_first(graph, v);
        if members.contains(&v) {
            found.push(plates.iter().map(|a| Choice::Axis(*a)).collect());
        }
        for member in members {
            for node in parameters(graph, *member) {
                for choices in appearances(graph, node, VariableId(v)) {
                    found.push(plates.iter().map(|a| choice_along(graph, v, &choices, *a)).collect());
                }
            }
        }
        found.sort_unstable_by_key(|c| format!("{c:?}"));
        found.dedup();
        let own = rows_first(graph, term);
        let axes = if own.first().is_some_and(|a| Some(*a) == graph.rows) { own[..1].to_vec() } else { own };
        let size = |a: &AxisId| graph.axis(*a).size;
        let num_cells: usize = axes.iter().map(size).product();
        let sizes: Vec<usize> = plates.iter().map(size).collect();
        let mut cells = vec![Vec::new(); sizes.iter().product()];
        let with_rows = axes.first().is_some_and(|a| Some(*a) == graph.rows);
        for choices in found {
            // For each plate its place in a cell, or all places.
            let mut ways = Vec::new();
            for (choice, plate) in choices.iter().zip(&plates) {
                ways.push(match choice {
                    Choice::Column(column) if with_rows => {
                        let codes = graph.data.codes(*column, graph.axis(*plate))?;
                        Some(Way::Code(codes.all().to_vec()))
                    }
                    Choice::Axis(a) if axes.contains(a) => {
                        let at = axes.iter().position(|b| a == b).unwrap_or(0);
                        Some(Way::Place { stride: axes[at + 1..].iter().map(size).product(), size: size(a) })
                    }
                    _ => None,
                });
            }
            let open: usize = ways.iter().zip(&sizes).filter(|(w, _)| w.is_none()).map(|(_, s)| *s).product();
            if ways.iter().all(Option::is_none) || num_cells.saturating_mul(open) > MOST_CELLS {
                return Ok(None);
            }
            for cell in 0..num_cells {
                let mut elements = vec![0];
                for (way, size) in ways.iter().zip(&sizes) {
                    elements = match way {
                        Some(way) => elements.into_iter().map(|e| e * size + way.element(cell)).collect(),
                        None => elements.into_iter().flat_map(|e| (0..*size).map(move |i| e * size + i)).collect(),
                    };
                }
                for e in elements {
                    if let Some(cells) = cells.get_mut(e)
                        && cells.last() != Some(&(cell as u32))
                    {
                        cells.push(cell as u32);
                    }
                }
            }
        }
        for cells in &mut cells {
            cells.sort_unstable();
            cells.dedup();
        }
        Ok(Some(cells))
    }
}

/// Pairs of elements and cells at most.
const MOST_CELLS: usize = 1 << 24;

/// The plates of a variable, the rows before the others.
fn rows_first(graph: &Graph, v: usize) -> Vec<AxisId> {
    let plates = &graph.variables[v].plates;
    let rows = plates.iter().filter(|a| Some(**a) == graph.rows);
    rows.chain(plates.iter().filter(|a| Some(**a) != graph.rows)).copied().collect()
}

/// What chooses along a plate; one that the variable has twice is not told apart.
fn choice_along(graph: &Graph, v: usize, choices: &[(AxisId, Choice)], plate: AxisId) -> Choice {
    let twice = graph.value_axes(VariableId(v)).iter().filter(|a| **a == plate).count() > 1;
    choices.iter().find(|c| c.0 == plate && !twice).map_or(Choice::Any, |c| c.1)
}

/// Every place at which a variable stands in an expression: for each of its axes what chooses along it.
fn appearances(graph: &Graph, node: NodeId, v: VariableId) -> Vec<Vec<(AxisId, Choice)>> {
    let replaced = |mut found: Vec<Vec<(AxisId, Choice)>>, axis: AxisId, by: Choice| {
        for choice in found.iter_mut().flatten().filter(|c| c.1 == Choice::Axis(axis)) {
            choice.1 = by;
        }
        found
    };
    match &graph.node(node).kind {
        NodeKind::Variable(u) if *u == v => {
            vec![graph.value_axes(v).into_iter().map(|a| (a, Choice::Axis(a))).collect()]
        }
        NodeKind::Negate(a) | NodeKind::Function(_, a) => appearances(graph, *a, v),
        NodeKind::Binary(_, a, b) => {
            let mut found = appearances(graph, *a, v);
            found.extend(appearances(graph, *b, v));
            found
        }
        NodeKind::Dot { left, right, left_axis, right_axis } => {
            let mut found = replaced(appearances(graph, *left, v), *left_axis, Choice::Any);
            found.extend(replaced(appearances(graph, *right, v), *right_axis, Choice::Any));
            found
        }
        NodeKind::Index { base, position, index } => {
            let axes = &graph.node(*base).axes;
            let axis = axes[*position];
            let own = appearances(graph, *base, v);
            match index {
                IndexSource::Column(column) if axes.iter().filter(|a| **a == axis).count() == 1 => {
                    replaced(own, axis, Choice::Column(*column))
                }
                IndexSource::Column(_) => replaced(own, axis, Choice::Any),
                IndexSource::Gate(gate) => {
                    let mut found = replaced(own, axis, Choice::Any);
                    found.extend(appearances(graph, *gate, v));
                    found
                }
            }
        }
        NodeKind::Network { arguments, .. } => {
            let inside = arguments.iter().any(|a| graph.variables_of(*a).contains(&v));
            if inside { vec![Vec::new()] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

impl CellTerms {
    /// Compiles a graph so that its terms can be read cell by cell; `None` where rows hang together or are counted.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub(crate) fn new(graph: &Graph, model: &Model) -> Result<Option<Self>, SgviError> {
        if !model.program.chunkable || graph.counts.is_some() {
            return Ok(None);
        }
        let (mut l, ()) = lowered(graph, |l| {
            let mut by_cell = ByCell::default();
            // The log Jacobians are not by cell.
            by_cell.whole.extend(model.latents.iter().filter(|l| l.support != Support::Real).map(|l| l.variable.0));
            l.by_cell = Some(by_cell);
            l.add_latents()?;
            for v in (0..graph.variables.len()).map(VariableId) {
                l.add_density(v)?;
            }
            l.eliminate()
        })?;
        l.b.program.dimension = l.owner.len();
        let Some(ByCell { mut values, whole }) = l.by_cell else { return Ok(None) };
        values.retain(|term, _| !whole.contains(term));
        if values.is_empty() {
            return Ok(None);
        }
        for value in values.values() {
            l.b.settle(value);
        }
        Ok(Some(Self { program: Arc::new(l.b.program), values }))
    }
}

impl Lowering<'_> {
    /// Keeps a part of a term by cell; whether that is what this lowering is for. Cells are rows, or without rows the plates.
    pub(super) fn keep_by_cell(&mut self, v: VariableId, value: &Value, own: &Shape) -> bool {
        if self.by_cell.is_none() {
            return false;
        }
        let cells = if own.rows { Shape { rows: true, axes: Vec::new() } } else { own.clone() };
        let complete = (own.rows || !own.axes.is_empty())
            && value.shape.rows == own.rows
            && own.axes.iter().all(|a| value.shape.has(a.0))
            && !value.is_data();
        let total = complete.then(|| {
            let part = self.b.sum_to(value, &cells);
            match self.by_cell.as_ref().and_then(|b| b.values.get(&v.0)).cloned() {
                Some(known) => self.b.sum(&known, &part),
                None => part,
            }
        });
        if let Some(by_cell) = &mut self.by_cell {
            match total {
                Some(total) => {
                    by_cell.values.insert(v.0, total);
                }
                None => {
                    by_cell.whole.insert(v.0);
                }
            }
        }
        true
    }
}
