//! Discrete latent variables: their values become an axis, over which the joint density is summed exactly.

use std::sync::Arc;

use vi_model::data::ColumnId;
use vi_model::graph::{AxisId, Distribution, Node, NodeId, NodeKind, VariableId};

use super::builder::relabel;
use super::joint::MOST_CONFIGURATIONS;
use super::{Factor, Lowering, Probe, View};
use crate::error::SgviError;
use crate::tape::{Label, Shape, Source, UnaryFunction, Value};

/// A discrete latent variable whose values are an axis.
#[derive(Debug, Clone)]
pub(super) struct Enumerated {
    pub(super) variable: VariableId,
    /// The axis of its values, with their number.
    pub(super) label: (Label, usize),
    /// The same axis where the variable is looked up by a column: label, column, the plate that it replaces.
    pub(super) look_ups: Vec<(Label, ColumnId, AxisId)>,
    /// Log indicator of the observed values where some are observed.
    pub(super) mask: Option<Value>,
    /// Plates whose elements are one: the axis of values then ranges over all their values at once.
    pub(super) joined: Vec<AxisId>,
    /// Weights of the values of every element where it keeps factors of its own: its plates, then its values.
    pub(super) weights: Option<Value>,
}

/// Whether a distribution is over discrete values.
pub(crate) fn is_discrete(distribution: &Distribution) -> bool {
    matches!(
        distribution,
        Distribution::Categorical { .. }
            | Distribution::MarkovChain { .. }
            | Distribution::Bernoulli { .. }
            | Distribution::Binomial { .. }
            | Distribution::Multinomial { .. }
            | Distribution::Poisson { .. }
            | Distribution::NegativeBinomial { .. }
    )
}

impl Lowering<'_> {
    /// An observed discrete variable becomes data, a latent one an axis.
    pub(super) fn add_discrete(&mut self, v: VariableId, observed: Option<Value>) -> Result<(), SgviError> {
        let mut mask = None;
        if let Some(value) = &observed {
            let numbers = self.b.numbers(value).unwrap_or_default();
            let missing = numbers.iter().any(|x| x.is_nan());
            let chain = matches!(self.graph.variable(v).distribution, Distribution::MarkovChain { .. });
            if !missing || !(self.is_used(v) || chain) {
                self.variables.insert((v, View::Plain), value.clone());
                return Ok(());
            }
            let size = self.num_values(v)?;
            let label = self.b.fresh_label();
            let mut shape = value.shape.clone();
            shape.axes.push((label, size));
            let indicators = numbers
                .iter()
                .flat_map(|x| {
                    (0..size).map(move |k| if x.is_nan() || *x == k as f64 { 0.0 } else { f64::NEG_INFINITY })
                })
                .collect();
            mask = Some((self.b.data(shape, indicators), label));
        }
        if self.is_kept(v) {
            let size = self.num_values(v)?;
            let label = mask.as_ref().map_or_else(|| self.b.fresh_label(), |m| m.1);
            let known = observed.as_ref().and_then(|value| self.b.numbers(value));
            return self.add_factored(v, size, label, known.as_deref().map(Vec::as_slice));
        }
        if self.graph.variable(v).point {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "a discrete variable cannot be a point estimate",
                "leave out `point`: it is summed out exactly",
            ));
        }
        let mut size = self.num_values(v)?;
        let label = mask.as_ref().map_or_else(|| self.b.fresh_label(), |m| m.1);
        let joined = if self.is_contracted(v) { self.graph.variable(v).plates.clone() } else { Vec::new() };
        let joined: Vec<AxisId> = joined.into_iter().filter(|a| Some(*a) != self.graph.rows).collect();
        let values = if joined.is_empty() {
            (0..size).map(|k| k as f64).collect()
        } else {
            let elements = self.shape_of(&joined).inner();
            let one = size;
            size = self.configurations(v, one, elements, mask.is_some()).inspect_err(|_| self.too_many.push(v))?;
            (0..size).flat_map(|c| (0..elements).map(move |e| (c / one.pow(e as u32) % one) as f64)).collect()
        };
        let mut shape = self.shape_of(&joined);
        shape.axes.insert(0, (label, size));
        let values = self.b.data(shape, values);
        self.variables.insert((v, View::Plain), values);
        let mask = mask.map(|m| m.0);
        self.enumerated.push(Enumerated {
            variable: v,
            label: (label, size),
            look_ups: Vec::new(),
            mask,
            joined,
            weights: None,
        });
        Ok(())
    }

    /// Whether a `dot` sums over a plate of a variable, so that its elements stand together in a factor.
    pub(super) fn is_contracted(&self, v: VariableId) -> bool {
        let plates = &self.graph.variable(v).plates;
        let contracts = |node: &Node| match &node.kind {
            NodeKind::Dot { left, right, left_axis, right_axis } => [(left, left_axis), (right, right_axis)]
                .iter()
                .any(|(side, axis)| plates.contains(axis) && self.graph.variables_of(**side).contains(&v)),
            _ => false,
        };
        let variables = (0..self.graph.variables.len()).map(VariableId);
        let mut roots = variables.flat_map(|v| self.parameter_nodes(v)).chain(self.reported);
        let mut found = false;
        roots.any(|root| {
            self.graph.visit(root, &mut |node| found |= contracts(node));
            found
        })
    }

    /// The number of values that all elements of a variable have together.
    fn configurations(&self, v: VariableId, size: usize, elements: usize, masked: bool) -> Result<usize, SgviError> {
        let all = size.checked_pow(elements as u32).filter(|n| *n <= MOST_CONFIGURATIONS && !masked);
        all.ok_or_else(|| {
            SgviError::unsupported(
                self.graph,
                v,
                if masked {
                    "its elements are summed by `dot`, and some of them are observed".to_owned()
                } else {
                    format!("its {elements} elements are summed by `dot`, so all their values must be enumerated at once, and there are more than {MOST_CONFIGURATIONS} of them")
                },
                "use fewer elements, or replace the discrete variable by a continuous one (a shrinkage prior)",
            )
        })
    }

    /// The plates over which the elements of a discrete variable are summed out one by one.
    pub(super) fn own_plates(&self, v: VariableId) -> Vec<AxisId> {
        let joined = self.enumerated.iter().find(|e| e.variable == v).map(|e| e.joined.clone()).unwrap_or_default();
        self.graph.variable(v).plates.iter().copied().filter(|a| !joined.contains(a)).collect()
    }

    /// The axis of a discrete variable's values as seen through a gate.
    pub(super) fn enumeration_label(&mut self, v: VariableId, look_up: Option<ColumnId>) -> Result<Label, SgviError> {
        let fresh = self.b.fresh_label();
        let plates = self.graph.variable(v).plates.clone();
        let Some(e) = self.enumerated.iter_mut().find(|e| e.variable == v) else { return Ok(fresh) };
        let Some(column) = look_up else { return Ok(e.label.0) };
        if let Some(known) = e.look_ups.iter().find(|l| l.1 == column) {
            return Ok(known.0);
        }
        if plates.len() != 1 {
            return Err(self.looked_up_plates(v));
        }
        e.look_ups.push((fresh, column, plates[0]));
        Ok(fresh)
    }

    /// The refusal of a look-up in a variable with several plates.
    pub(super) fn looked_up_plates(&self, v: VariableId) -> SgviError {
        SgviError::unsupported(
            self.graph,
            v,
            "a looked-up discrete variable must have exactly one plate",
            "write one categorical variable for each plate",
        )
    }

    /// Keeps a log density: at once where no discrete variable stands in it, after summation otherwise.
    pub(super) fn keep(&mut self, v: VariableId, value: Value) {
        let labels = self.enumeration_labels();
        if value.shape.axes.iter().any(|a| labels.contains(&a.0)) {
            self.pending.push(Factor { value, owner: None, source: v });
        } else {
            self.finish(v, &value);
        }
    }

    pub(super) fn enumeration_labels(&self) -> Vec<Label> {
        self.enumerated.iter().flat_map(|e| std::iter::once(e.label.0).chain(e.look_ups.iter().map(|l| l.0))).collect()
    }

    /// Adds a log density over a variable's plates to its term.
    pub(super) fn finish(&mut self, v: VariableId, value: &Value) {
        let plates = self.own_plates(v);
        let own = self.shape_of(&plates);
        if self.predictive.is_some() {
            return self.finish_row(value, &own);
        }
        if self.keep_by_cell(v, value, &own) || self.keep_port_term(v, value, &own) {
            return;
        }
        let mut multiplicity: f64 = own.axes.iter().filter(|a| !value.shape.has(a.0)).map(|a| a.1 as f64).product();
        if own.rows && !value.shape.rows {
            multiplicity *= match &self.weights {
                Some(weights) => weights.iter().sum(),
                None => self.b.program.num_rows as f64,
            };
        }
        let weights = if own.rows { self.weights.clone() } else { None };
        self.b.accumulate(value, v.0, weights, multiplicity);
    }

    /// Keeps a log density by row, summed over its further axes.
    fn finish_row(&mut self, value: &Value, own: &Shape) {
        if !own.rows {
            return;
        }
        let lacking: usize = own.axes.iter().filter(|a| !value.shape.has(a.0)).map(|a| a.1).product();
        let total = self.b.sum_to(value, &Shape { rows: value.shape.rows, axes: Vec::new() });
        let total = self.b.scaled(lacking as f64, &total);
        if let Some(predictive) = &mut self.predictive {
            predictive.terms.push(total);
        }
    }

    /// Sums every discrete variable out of the pending factors, the innermost first.
    pub(super) fn eliminate(&mut self) -> Result<(), SgviError> {
        for e in self.enumerated.clone() {
            if !matches!(self.graph.variable(e.variable).distribution, Distribution::MarkovChain { .. }) {
                let value = self.discrete_density(e.variable, &e)?;
                let value = if e.weights.is_some() { value } else { self.probed(&e, value) };
                self.pending.push(Factor { value, owner: Some(e.variable), source: e.variable });
            }
        }
        let mut order: Vec<Enumerated> = self.enumerated.iter().filter(|e| e.weights.is_none()).cloned().collect();
        order.sort_by_key(|e| {
            let variable = self.graph.variable(e.variable);
            // Rows first: groups of rows see them summed out. Chains after what stands beside them in a row.
            (
                !self.graph.is_local(e.variable),
                matches!(variable.distribution, Distribution::MarkovChain { .. }),
                std::cmp::Reverse(variable.plates.len()),
                std::cmp::Reverse(e.variable.0),
            )
        });
        let mut gone: Vec<VariableId> = Vec::new();
        for e in order {
            if gone.contains(&e.variable) {
                continue;
            }
            let chain = matches!(self.graph.variable(e.variable).distribution, Distribution::MarkovChain { .. });
            let pending: Vec<Value> = self.pending.iter().map(|f| f.value.clone()).collect();
            if pending.iter().any(|value| self.is_tied(&e, value) || chain && self.has_company(&e, value)) {
                let members = self.eliminate_jointly(&e)?;
                gone.extend(members.into_iter().map(|m| self.enumerated[m].variable));
                continue;
            }
            if !chain && self.sum_into_steps(&e)? {
                continue;
            }
            let mine = |value: &Value| value.shape.has(e.label.0) || e.look_ups.iter().any(|l| value.shape.has(l.0));
            let (mut factors, rest): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|f| mine(&f.value));
            self.pending = rest;
            if let [Factor { value, owner: Some(owner), .. }] = &factors[..] {
                let labels = self.enumeration_labels();
                let alone = !value.shape.axes.iter().any(|a| a.0 != e.label.0 && labels.contains(&a.0));
                if *owner == e.variable && alone && e.mask.is_none() && self.probes.is_none() {
                    // Nothing depends on it: its probabilities sum to one.
                    continue;
                }
            }
            factors.extend(e.mask.clone().map(|value| Factor { value, owner: None, source: e.variable }));
            let mut total: Option<Value> = None;
            for factor in factors {
                let message = self.message(&e, &factor.value)?;
                total = Some(match total {
                    Some(total) => self.b.sum(&total, &message),
                    None => message,
                });
            }
            let Some(total) = total else { continue };
            let total = if chain { self.probed(&e, total) } else { total };
            let summed = if chain { self.recursion(&e, &total)? } else { self.b.log_sum_exp(&total, e.label) };
            if chain {
                self.b.accumulate(&summed, e.variable.0, None, 1.0);
            } else {
                self.keep(e.variable, summed);
            }
        }
        self.take_expectations()
    }

    /// A log probability plus zeros over all the variable's plates, where its posterior is asked for.
    fn probed(&mut self, e: &Enumerated, value: Value) -> Value {
        if self.probes.is_none() {
            return value;
        }
        let plates = self.own_plates(e.variable);
        let mut shape = self.shape_of(&plates);
        shape.axes.push(e.label);
        let buffer = self.b.buffer(&shape, true, shape.rows);
        let probe = Value { source: Source::Latent(buffer), shape };
        if let Some(probes) = &mut self.probes {
            let joined = e.joined.iter().map(|a| self.graph.axis(*a).size).collect();
            probes.push(Probe { variable: e.variable, value: probe.clone(), size: e.label.1, joined });
        }
        let sum = self.b.sum(&probe, &value);
        let order = Shape { rows: sum.shape.rows, axes: sum.shape.axes.clone() };
        self.b.sum_to(&sum, &order)
    }

    /// A factor brought to the plates of a discrete variable and the values of discrete variables.
    pub(super) fn message(&mut self, e: &Enumerated, value: &Value) -> Result<Value, SgviError> {
        let labels = self.enumeration_labels();
        let plates = self.own_plates(e.variable);
        let own = self.shape_of(&plates);
        let seen: Vec<_> = e.look_ups.iter().filter(|l| value.shape.has(l.0)).copied().collect();
        let looked_up = seen.first().copied();
        let kept = |label: Label| labels.contains(&label) || own.has(label) && looked_up.is_none();
        let drop_rows = value.shape.rows && !own.rows;
        let mut value = value.clone();
        if drop_rows && let Some(weights) = self.weights.clone() {
            let weights = self.b.data(Shape { rows: true, axes: Vec::new() }, weights.to_vec());
            value = self.b.product(&value, &weights);
        }
        let axes: Vec<_> = value.shape.axes.iter().copied().filter(|a| kept(a.0)).collect();
        let rows = value.shape.rows && (own.rows || looked_up.is_some());
        let reduced = self.b.sum_to(&value, &Shape { rows, axes });
        let Some((label, column, plate)) = looked_up else { return Ok(reduced) };
        if self.ports.is_some() {
            return Err(self.tied(e.variable, "a discrete variable that a column looks up"));
        }
        let codes = self.graph.data.codes(column, self.graph.axis(plate))?;
        if let Some(row) = codes.first_missing() {
            return Err(vi_model::data::DataError::NotData {
                reason: format!("column `{}` is missing in data row {}", self.graph.data.column(column).name, row + 1),
            }
            .into());
        }
        let rows_shape = Shape { rows: true, axes: reduced.shape.axes.clone() };
        let reduced = if reduced.shape.rows {
            reduced
        } else {
            let zeros = self.b.data(Shape { rows: true, axes: Vec::new() }, vec![0.0; self.b.program.num_rows]);
            let sum = self.b.sum(&zeros, &reduced);
            self.b.sum_to(&sum, &rows_shape)
        };
        let plate_label = (self.b.label(plate, 0), self.graph.axis(plate).size);
        let scattered = self.b.scatter(&reduced, plate_label, Arc::new(self.in_order(codes.all(), 1)));
        Ok(relabel(&scattered, label, e.label.0))
    }

    /// Log probabilities of a discrete latent variable over its values.
    fn discrete_density(&mut self, v: VariableId, e: &Enumerated) -> Result<Value, SgviError> {
        match self.graph.variable(v).distribution.clone() {
            Distribution::Categorical { probabilities, range, logits } => {
                let (log, label) = self.log_probabilities(probabilities, range, logits)?;
                match self.variables.get(&(v, View::Plain)).cloned() {
                    Some(values) if !e.joined.is_empty() => {
                        let chosen = self.b.select(&log, label, &values);
                        Ok(self.sum_joined(e, chosen))
                    }
                    _ => Ok(relabel(&log, label, e.label.0)),
                }
            }
            _ => {
                let value = if e.weights.is_some() {
                    // All its values, whatever stands for it in expressions.
                    let values = (0..e.label.1).map(|k| k as f64).collect();
                    Some(self.b.data(Shape { rows: false, axes: vec![e.label] }, values))
                } else {
                    self.variables.get(&(v, View::Plain)).cloned()
                };
                let Some(value) = value else { return Ok(self.b.constant(0.0)) };
                let density = self.count_density(v, &value)?;
                Ok(self.sum_joined(e, density))
            }
        }
    }

    /// The log probability of all joined elements.
    fn sum_joined(&mut self, e: &Enumerated, density: Value) -> Value {
        let joined = self.shape_of(&e.joined);
        joined.axes.iter().fold(density, |sum, axis| self.b.sum_over(&sum, axis.0, axis.1))
    }

    /// Log probabilities of a node over `range`, and the label of that axis.
    pub(super) fn log_probabilities(
        &mut self,
        node: NodeId,
        range: AxisId,
        logits: bool,
    ) -> Result<(Value, Label), SgviError> {
        let axes = self.graph.node(node).axes.clone();
        let occurrence = axes.iter().filter(|a| **a == range).count().saturating_sub(1);
        let label = self.b.label(range, occurrence);
        let size = self.graph.axis(range).size;
        let across = Some(range) == self.graph.rows && occurrence == 0;
        let view = if logits { View::Plain } else { View::Log };
        let value = if across { self.across_rows(node, view)? } else { self.node(node, view)? };
        if !logits {
            return Ok((value, label));
        }
        let logits = value;
        let normalizer = self.b.log_sum_exp(&logits, (label, size));
        Ok((self.b.difference(&logits, &normalizer), label))
    }

    /// log n! of a value.
    pub(super) fn ln_factorial(&mut self, value: &Value) -> Value {
        let next = self.b.shifted(1.0, value);
        self.b.unary(UnaryFunction::LnGamma, &next)
    }
}
