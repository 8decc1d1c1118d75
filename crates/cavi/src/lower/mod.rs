//! From the graph to factors of q and products of their statistics: where conjugacy is decided.

mod binary;
mod chain;
mod density;
mod derived;
mod expression;
mod factors;
mod joint;
mod known;
mod laplace;
mod missing;
mod normal;
mod normal_gamma;
mod operand;
mod plain;
mod positive;
mod predictive;
mod reciprocals;
mod scales;
mod scores;
mod shape;
mod shift;
mod simplex;
mod steps;
mod values;

use std::collections::BTreeMap;

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, Distribution, Graph, NodeId, Observation, VariableId};

use crate::error::CaviError;
use crate::program::{AxisIndex, FactorId, Operand, Program, ROWS, Step, Term};

pub(crate) use chain::sequence_starts;
pub(crate) use derived::Derived;
use expression::Gate;
pub(crate) use operand::{IMPOSSIBLE, LOG_OF_ZERO};
pub(crate) use scores::{Location, Positive, Reading, RowDensity, Success, ValueDensity, ValueKind};

/// A lowered model.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    /// Factors and products.
    pub(crate) program: Program,
    /// The graph, with the expressions that lowering added.
    pub(crate) graph: Graph,
    /// The factor of each latent variable.
    pub(crate) factor_of: BTreeMap<VariableId, FactorId>,
    /// Named expressions that can be reported.
    pub(crate) derived: Vec<Derived>,
    /// The exact predictive density of a row, where it has one and rows are predicted.
    pub(crate) row_density: Option<RowDensity>,
    /// Locations measured from the mean of their data.
    shifts: shift::Shifts,
    /// Whether the ELBO is that of the Jaakkola–Jordan bound.
    pub(crate) bounded: bool,
}

/// What one child's density knows of its indices while it is written out.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The variable whose ELBO term it is.
    pub(super) owner: usize,
    /// Indices of the child's value axes: plates, then dimensions.
    pub(super) value: Vec<AxisIndex>,
    /// Named axes of those.
    pub(super) axes: Vec<AxisId>,
    /// Gates in use.
    pub(super) gates: Vec<Gate>,
    /// Operands that multiply every product of this density: presence of a missing value.
    pub(super) mask: Vec<Operand>,
}

pub(super) struct Lowering {
    pub(super) graph: Graph,
    pub(super) program: Program,
    pub(super) factor_of: BTreeMap<VariableId, FactorId>,
    /// Categorical variables observed in part: latent, with evidence.
    pub(super) clamped: Vec<VariableId>,
    /// Variables that stand for the missing values of observed normal variables, which others read.
    pub(super) missing: BTreeMap<VariableId, VariableId>,
    pub(super) bounded: bool,
    /// Whether an expression is written out for the report: moments of any family, locations where they are.
    pub(super) reporting: bool,
    /// Whether a sum of known numbers is one array instead of several products.
    pub(super) known_whole: bool,
    /// Axes that stand for gates in known expressions, with how each is addressed.
    pub(super) opened: Vec<(AxisId, AxisIndex)>,
    /// Locations measured from the mean of their data.
    pub(super) shifts: shift::Shifts,
}

/// Lowers a checked graph.
///
/// # Errors
///
/// Refuses, naming both variables, any pair that has no conjugate update.
pub(crate) fn lower(graph: &Graph) -> Result<Lowered, CaviError> {
    lower_moved(graph, None)
}

/// Lowers the model of a fit for other rows: which values are missing may differ, the locations stay where the fit has
/// measured them from.
///
/// # Errors
///
/// As [`lower`].
pub(crate) fn lower_for_rows(fitted: &Lowered, graph: &Graph) -> Result<Lowered, CaviError> {
    lower_moved(graph, Some(fitted.shifts.clone()))
}

fn lower_moved(graph: &Graph, shifts: Option<shift::Shifts>) -> Result<Lowered, CaviError> {
    let mut lowering = Lowering {
        graph: graph.clone(),
        program: Program::default(),
        factor_of: BTreeMap::new(),
        clamped: Vec::new(),
        missing: BTreeMap::new(),
        bounded: false,
        reporting: false,
        known_whole: false,
        opened: Vec::new(),
        shifts: shift::Shifts::default(),
    };
    let rows = graph.rows.map_or(1, |r| graph.axis(r).size);
    lowering.program.num_rows = rows;
    lowering.program.counts = graph.counts;
    let rows_label = lowering.program.new_label("rows", rows);
    debug_assert_eq!(rows_label, ROWS);
    lowering.program.owners = graph.variables.iter().map(|v| v.name.clone()).collect();
    lowering.find_clamped()?;
    lowering.find_missing_parents()?;
    lowering.without_reciprocals()?;
    let predicted = shifts.is_some();
    match shifts {
        Some(shifts) => lowering.shifts = shifts,
        None => lowering.find_shifts()?,
    }
    lowering.make_factors()?;
    for v in 0..graph.variables.len() {
        lowering.density(VariableId(v))?;
    }
    lowering.rest_of_missing_parents()?;
    lowering.mark_coupling();
    let derived = lowering.derived()?;
    let row_density = if predicted { lowering.row_density() } else { None };
    Ok(Lowered {
        program: lowering.program,
        graph: lowering.graph,
        factor_of: lowering.factor_of,
        derived,
        row_density,
        shifts: lowering.shifts,
        bounded: lowering.bounded,
    })
}

/// Whether a product runs over a label.
fn carries(operands: &[Operand], label: usize) -> bool {
    operands.iter().flat_map(|o| &o.index).flat_map(|a| &a.parts).any(|(step, _)| match step {
        Step::Label(l) => *l == label,
        Step::Codes(_) => label == ROWS,
    })
}

impl Lowering {
    pub(super) fn refusal(&self, diagnostic: Diagnostic) -> CaviError {
        CaviError::refuse(&self.graph.source, diagnostic)
    }

    /// The text of the model file at a place.
    pub(super) fn source_text(&self, span: &std::ops::Range<usize>) -> String {
        self.graph.source.text.get(span.clone()).unwrap_or("this expression").to_owned()
    }

    /// A refusal that points at a key of a variable and names the way to the other engine.
    pub(super) fn not_conjugate(&self, child: VariableId, key: &str, message: String) -> CaviError {
        let variable = self.graph.variable(child);
        let span = variable.key_spans.get(key).cloned().unwrap_or_else(|| variable.span.clone());
        self.refusal(
            Diagnostic::new("not-conjugate", message)
                .at(span, format!("the {key} of `{}`", variable.name))
                .help("choose a conjugate pair (the README lists them under “What is supported”), or run this model with sgvi"),
        )
    }

    /// Whether a variable has a factor of its own.
    pub(super) fn is_latent(&self, v: VariableId) -> bool {
        self.graph.variable(v).observed.is_none() || self.clamped.contains(&v)
    }

    /// The axis that a categorical or chain ranges over.
    pub(super) fn category_axis(&self, v: VariableId) -> Option<AxisId> {
        match self.graph.variable(v).distribution {
            Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => Some(range),
            _ => None,
        }
    }

    /// Adds a product: gates whose index it uses and the mask join it; indices that nothing carries multiply.
    ///
    /// Gates that are one variable read at several elements (`rate[block[sender], block[receiver]]`) may meet in one
    /// element: there the product of their indicators is the indicator itself, [z = k][z = l] = [z = k] if k = l.
    pub(super) fn add_term(&mut self, scope: &Scope, coefficient: f64, operands: Vec<Operand>, contracted: &[usize]) {
        let gates: Vec<Gate> = scope.gates.iter().filter(|g| carries(&operands, g.label)).cloned().collect();
        let several = gates.iter().enumerate().find_map(|(i, first)| {
            gates[i + 1..].iter().any(|g| g.variable == first.variable).then_some(first.variable)
        });
        let mut own = scope.clone();
        own.gates = gates;
        let Some(variable) = several else {
            let (coefficient, operands) = self.complete(&own, coefficient, operands, contracted);
            if coefficient != 0.0 {
                self.program.terms.push(Term { owner: scope.owner, coefficient, operands });
            }
            return;
        };
        let (together, rest) = own.gates.into_iter().partition(|g| g.variable == variable);
        own.gates = rest;
        self.add_arranged(&own, &together, &[], coefficient, operands, contracted);
    }

    /// A product with gates of one variable, by which of them stand at one element: each of `waiting` stands where one
    /// of `apart` does, or at an element of its own.
    fn add_arranged(
        &mut self,
        scope: &Scope,
        waiting: &[Gate],
        apart: &[Gate],
        coefficient: f64,
        mut operands: Vec<Operand>,
        contracted: &[usize],
    ) {
        let Some((gate, rest)) = waiting.split_first() else {
            operands.extend(apart.iter().map(|g| g.operand.clone()));
            return self.add_term(scope, coefficient, operands, contracted);
        };
        for known in apart {
            let mut together = scope.clone();
            together.mask.extend(self.meetings(known, gate).into_iter().map(|(meet, _)| meet));
            let mut moved = operands.clone();
            moved.iter_mut().for_each(|o| o.relabel(gate.label, known.label));
            self.add_arranged(&together, rest, apart, coefficient, moved, contracted);
        }
        // Apart from every known one: the elements differ first in this plate, or in that.
        let mut masks: Vec<Vec<Operand>> = vec![vec![]];
        for known in apart {
            let meetings = self.meetings(known, gate);
            let ways = (0..meetings.len()).map(|first| {
                let before = meetings[..first].iter().map(|(meet, _)| meet.clone());
                before.chain([meetings[first].1.clone()]).collect::<Vec<Operand>>()
            });
            let ways: Vec<Vec<Operand>> = ways.collect();
            masks = masks.iter().flat_map(|m| ways.iter().map(|w| [m.as_slice(), w].concat())).collect();
        }
        let apart: Vec<Gate> = apart.iter().chain([gate]).cloned().collect();
        for mask in masks {
            let mut alone = scope.clone();
            alone.mask.extend(mask);
            self.add_arranged(&alone, rest, &apart, coefficient, operands.clone(), contracted);
        }
    }

    /// Where two gates of one variable meet in a plate and where they do not, for each plate that they address differently.
    fn meetings(&mut self, left: &Gate, right: &Gate) -> Vec<(Operand, Operand)> {
        let plates = self.graph.variable(left.variable).plates.clone();
        let differing = (0..plates.len()).filter(|&p| left.plates[p] != right.plates[p]);
        differing
            .map(|p| {
                let size = self.graph.axis(plates[p]).size;
                let (l, r) = (&left.plates[p], &right.plates[p]);
                (self.meeting(l, r, size, false), self.meeting(l, r, size, true))
            })
            .collect()
    }

    /// A product with its gates, mask and multiplicity.
    fn complete(
        &self,
        scope: &Scope,
        mut coefficient: f64,
        mut operands: Vec<Operand>,
        contracted: &[usize],
    ) -> (f64, Vec<Operand>) {
        operands.extend(scope.gates.iter().map(|g| g.operand.clone()));
        operands.extend(scope.mask.iter().cloned());
        for label in Self::labels_of(&scope.value).into_iter().chain(contracted.iter().copied()) {
            if !carries(&operands, label) {
                coefficient *= self.row_weight_size(label);
            }
        }
        (coefficient, operands)
    }

    /// How often a product without the label counts: the size of the label, for rows the sum of the counts.
    fn row_weight_size(&self, label: usize) -> f64 {
        if label == ROWS { self.total_rows() } else { self.program.labels[label].size as f64 }
    }

    pub(super) fn labels_of(index: &[AxisIndex]) -> Vec<usize> {
        let mut labels = Vec::new();
        for axis in index {
            for (step, _) in &axis.parts {
                if let Step::Label(l) = step
                    && !labels.contains(l)
                {
                    labels.push(*l);
                }
            }
        }
        labels
    }

    /// A scope for the density of a variable: a label for each axis of its value.
    pub(super) fn scope(&mut self, v: VariableId) -> Scope {
        let axes = self.graph.value_axes(v);
        let value = axes.iter().map(|a| self.axis_index(*a)).collect();
        Scope { owner: v.0, value, axes, ..Scope::default() }
    }

    /// A fresh index along an axis (the one of the rows is always the same).
    pub(super) fn axis_index(&mut self, axis: AxisId) -> AxisIndex {
        if self.graph.rows == Some(axis) {
            return AxisIndex::label(ROWS);
        }
        let info = self.graph.axis(axis);
        let (name, size) = (info.name.clone(), info.size);
        AxisIndex::label(self.program.new_label(&name, size))
    }

    /// Indices of a parameter's axes, by name from the child's.
    pub(super) fn parameter_index(
        &self,
        child: VariableId,
        scope: &Scope,
        node: NodeId,
    ) -> Result<Vec<AxisIndex>, CaviError> {
        Self::inherit(&scope.axes, &scope.value, &self.graph.node(node).axes).ok_or_else(|| {
            self.refusal(
                Diagnostic::new(
                    "parameter-axes",
                    format!("a parameter of `{}` has an axis that the variable lacks", self.graph.variable(child).name),
                )
                .at(self.graph.node(node).span.clone(), "this parameter"),
            )
        })
    }

    /// Observed categoricals that other densities need although cells are missing.
    fn find_clamped(&mut self) -> Result<(), CaviError> {
        for v in 0..self.graph.variables.len() {
            let id = VariableId(v);
            // Values that are missing get factors, those that are there stay what they are.
            if let (Some(Observation::Numeric(node)), true) = (
                self.graph.variable(id).observed,
                matches!(
                    self.graph.variable(id).distribution,
                    Distribution::Gamma { .. }
                        | Distribution::Exponential { .. }
                        | Distribution::InverseGamma { .. }
                        | Distribution::Beta { .. }
                        | Distribution::Dirichlet { .. }
                ),
            ) {
                if self.is_read(id) && self.has_missing(node)? {
                    self.clamped.push(id);
                }
                continue;
            }
            if let (Some(Observation::Numeric(node)), Distribution::Bernoulli { .. }) =
                (self.graph.variable(id).observed, &self.graph.variable(id).distribution)
            {
                if self.is_read(id) && self.has_missing(node)? {
                    self.clamped.push(id);
                }
                continue;
            }
            let Some(Observation::Levels { column, axis }) = self.graph.variable(id).observed else { continue };
            let used = self.is_read(id);
            let codes = self.graph.data.codes(column, self.graph.axis(axis))?;
            let chain = matches!(self.graph.variable(id).distribution, Distribution::MarkovChain { .. });
            if chain || (used && codes.first_missing().is_some()) {
                self.clamped.push(id);
            }
        }
        Ok(())
    }

    /// Whether another variable's density reads a variable.
    pub(super) fn is_read(&self, v: VariableId) -> bool {
        (0..self.graph.variables.len()).any(|w| w != v.0 && self.parents(VariableId(w)).contains(&v))
    }

    /// Total number of rows, repeated rows counted.
    pub(super) fn total_rows(&self) -> f64 {
        match self.graph.counts {
            None => self.program.num_rows as f64,
            Some(column) => {
                let mut total = 0.0;
                let mut buffer = vec![0.0; 65_536.min(self.program.num_rows.max(1))];
                let mut at = 0;
                while at < self.program.num_rows {
                    let end = (at + buffer.len()).min(self.program.num_rows);
                    if self.graph.data.read(&[column], at..end, &mut buffer[..end - at]).is_ok() {
                        total += buffer[..end - at].iter().sum::<f64>();
                    }
                    at = end;
                }
                total
            }
        }
    }
}
