//! Chains that share emissions, and chains beside other discrete variables: one recursion over the product of their states.

use std::collections::HashMap;
use std::sync::Arc;

use super::builder::relabel;
use super::discrete::Enumerated;
use super::joint::{Choice, Slot};
use super::{Factor, Lowering, Probe};
use crate::error::SgviError;
use crate::tape::{ForwardRecursion, Label, Shape, Source, Value};

/// States of a product of chains at most.
const MOST_STATES: usize = 512;
/// Values of all variables beside a chain at most: each takes a recursion of its own.
const MOST_RECURSIONS: usize = 256;

/// All values that the elements of some discrete variables have together.
pub(super) struct Configurations<'a> {
    /// The variables' first elements, by their places among the enumerated ones.
    pub(super) first: &'a HashMap<usize, usize>,
    /// Number of elements.
    pub(super) elements: usize,
    /// Their values, `[configurations, elements]`.
    pub(super) values: &'a [u16],
}

/// Chains along the rows as one.
pub(super) struct Product {
    labels: Vec<(Label, usize)>,
    initial: Value,
    transition: Value,
    starts: Arc<Vec<bool>>,
    size: usize,
}

impl Lowering<'_> {
    /// Whether a factor of a chain depends on further discrete variables.
    pub(super) fn has_company(&self, e: &Enumerated, value: &Value) -> bool {
        let slots = self.slots(value);
        let own = |s: &Slot| self.enumerated[s.variable].variable == e.variable;
        slots.iter().any(own) && !slots.iter().all(own)
    }

    /// log Σ over all paths of the chains, for each configuration of the variables beside them: an array over `label`, or a number
    /// where there are none. `factors` are those that depend on the chains.
    ///
    /// The states of several chains together are those of one, (i, j) → (i′, j′) with probability P(i′ | i) P(j′ | j).
    pub(super) fn sum_over_paths(
        &mut self,
        chains: &[usize],
        factors: &[Factor],
        others: &Configurations<'_>,
        label: (Label, usize),
    ) -> Result<Value, SgviError> {
        let name = self.enumerated[chains[0]].variable;
        let refuse = |l: &Self, reason: String, help: &str| Err(SgviError::unsupported(l.graph, name, reason, help));
        if self.weights.is_some() {
            return refuse(self, "rows of a chain cannot be counted several times".to_owned(), "leave out `counts`");
        }
        if label.1 > MOST_RECURSIONS {
            let reason = format!(
                "{} elements of discrete variables stand beside it, which have {} values together, more than {MOST_RECURSIONS}",
                others.elements, label.1
            );
            return refuse(self, reason, "use fewer elements, or replace them by continuous ones");
        }
        let product = self.product(chains)?;
        let shape = Shape { rows: true, axes: product.labels.clone() };
        // What all configurations have in common: factors of the chains alone, and the probes of their states.
        let mut common: Option<Value> = None;
        let mut beside = Vec::new();
        for factor in factors {
            if self.slots(&factor.value).iter().all(|s| chains.contains(&s.variable)) {
                let part = self.of_states(&factor.value, &shape);
                common = Some(self.added(common, &part));
            } else {
                beside.push(factor.value.clone());
            }
        }
        for chain in chains {
            if let Some(probe) = self.probe_of(*chain) {
                common = Some(self.added(common, &probe));
            }
        }
        let mut total: Option<Value> = None;
        for c in 0..label.1 {
            let own = &others.values[c * others.elements..(c + 1) * others.elements];
            let mut emission = common.clone();
            for value in &beside {
                let value = self.chosen(value, chains, others.first, own)?;
                let part = self.of_states(&value, &shape);
                emission = Some(self.added(emission, &part));
            }
            let emission = match emission {
                Some(emission) => self.full(&emission, &shape),
                None => self.b.data(shape.clone(), vec![0.0; shape.elements(self.b.program.num_rows)]),
            };
            let sum = self.paths(&product, &emission);
            if label.1 == 1 {
                return Ok(sum);
            }
            let here = (0..label.1).map(|i| f64::from(u8::from(i == c))).collect();
            let here = self.b.data(Shape { rows: false, axes: vec![label] }, here);
            let part = self.b.product(&here, &sum);
            total = Some(self.added(total, &part));
        }
        Ok(total.unwrap_or_else(|| self.b.constant(0.0)))
    }

    fn added(&mut self, sum: Option<Value>, part: &Value) -> Value {
        match sum {
            Some(sum) => self.b.sum(&sum, part),
            None => part.clone(),
        }
    }

    /// A factor summed to the rows and the states of chains.
    fn of_states(&mut self, value: &Value, shape: &Shape) -> Value {
        let axes = shape.axes.iter().copied().filter(|a| value.shape.has(a.0)).collect();
        self.b.sum_to(value, &Shape { rows: value.shape.rows, axes })
    }

    /// Zeros over a chain's states, where its posterior is asked for.
    fn probe_of(&mut self, chain: usize) -> Option<Value> {
        self.probes.as_ref()?;
        let e = self.enumerated[chain].clone();
        let shape = Shape { rows: true, axes: vec![e.label] };
        let buffer = self.b.buffer(&shape, true, true);
        let value = Value { source: Source::Latent(buffer), shape };
        if let Some(probes) = &mut self.probes {
            probes.push(Probe { variable: e.variable, value: value.clone(), size: e.label.1, joined: Vec::new() });
        }
        Some(value)
    }

    /// A factor where every variable beside the chains has the value of one configuration.
    fn chosen(
        &mut self,
        value: &Value,
        chains: &[usize],
        first: &HashMap<usize, usize>,
        configuration: &[u16],
    ) -> Result<Value, SgviError> {
        let mut value = value.clone();
        for slot in self.slots(&value) {
            if chains.contains(&slot.variable) {
                continue;
            }
            let start = first.get(&slot.variable).copied().unwrap_or(0);
            let of = |element: usize| f64::from(configuration[start + element]);
            let codes = match slot.choice {
                Choice::Column(column, plate) => {
                    let elements = self.codes(column, plate)?;
                    let codes = elements.iter().map(|e| of(*e as usize)).collect();
                    self.b.data(Shape { rows: true, axes: Vec::new() }, codes)
                }
                Choice::Own => {
                    let plates = self.own_plates(self.enumerated[slot.variable].variable);
                    let shape = self.shape_of(&plates);
                    let count = shape.elements(self.b.program.num_rows);
                    self.b.data(shape, (0..count).map(of).collect())
                }
            };
            value = self.b.select(&value, slot.label.0, &codes);
        }
        Ok(value)
    }

    /// Initial and transition log probabilities of several chains together.
    pub(super) fn product(&mut self, chains: &[usize]) -> Result<Product, SgviError> {
        let mut product: Option<Product> = None;
        for &chain in chains {
            let e = self.enumerated[chain].clone();
            let refuse =
                |l: &Self, reason: String, help: &str| Err(SgviError::unsupported(l.graph, e.variable, reason, help));
            if self.graph.variable(e.variable).plates.len() != 1 {
                return refuse(
                    self,
                    "a chain has no plate but that of the rows".to_owned(),
                    "write one chain for each element",
                );
            }
            let Some((initial, transition, starts)) = self.chain_parameters(e.variable)? else { continue };
            let from = (self.b.fresh_label(), e.label.1);
            let axes = &transition.shape.axes;
            let transition = relabel(&transition, axes[1].0, e.label.0);
            let transition = relabel(&transition, transition.shape.axes[0].0, from.0);
            let initial = relabel(&initial, initial.shape.axes[0].0, e.label.0);
            product = Some(match product {
                None => Product { labels: vec![e.label], initial, transition, starts, size: e.label.1 },
                Some(Product { starts: ref other, .. }) if *other != starts => {
                    return refuse(
                        self,
                        "it stands in emissions together with a chain whose sequences start in other rows".to_owned(),
                        "give both chains the same `sequence`",
                    );
                }
                Some(before) => {
                    let (left, right) = (self.states_before(&before), vec![from]);
                    let mut labels = before.labels.clone();
                    labels.push(e.label);
                    let initial = self.b.sum(&before.initial, &initial);
                    let transition = self.b.sum(&before.transition, &transition);
                    let own = Shape { rows: initial.shape.rows, axes: labels.clone() };
                    let both = Shape { rows: transition.shape.rows, axes: [left, right, labels.clone()].concat() };
                    Product {
                        size: before.size * e.label.1,
                        initial: self.full(&initial, &own),
                        transition: self.full(&transition, &both),
                        labels,
                        starts,
                    }
                }
            });
            if let Some(product) = product.as_ref().filter(|p| p.size > MOST_STATES) {
                let reason = format!(
                    "it stands in common emissions with other chains, which have {} states together, more than {MOST_STATES}",
                    product.size
                );
                return refuse(self, reason, "use fewer states");
            }
        }
        product.ok_or_else(|| {
            let v = self.enumerated[chains[0]].variable;
            SgviError::unsupported(self.graph, v, "it is no chain along the rows", "leave it out")
        })
    }

    /// The axes of the states left, in the order of the chains.
    fn states_before(&self, product: &Product) -> Vec<(Label, usize)> {
        product.transition.shape.axes[..product.labels.len()].to_vec()
    }

    /// The forward recursion over the rows.
    pub(super) fn paths(&mut self, product: &Product, emission: &Value) -> Value {
        self.b.program.chunkable = false;
        // The recursion reads one copy for each draw.
        let emission = if emission.is_data() { self.copied(emission) } else { emission.clone() };
        [&emission, &product.initial, &product.transition].into_iter().for_each(|v| self.b.settle(v));
        let k = product.size;
        // Neighbouring axes are one axis over all states.
        let (to, from) = ((self.b.fresh_label(), k), (self.b.fresh_label(), k));
        let seen = |value: &Value, rows: bool, axes: Vec<(Label, usize)>| Value {
            source: value.source,
            shape: Shape { rows, axes },
        };
        let filtered = Shape { rows: true, axes: vec![(self.b.fresh_label(), k + 1)] };
        let filtered = self.b.buffer(&filtered, false, true);
        let out = self.b.buffer(&Shape::default(), true, true);
        let output = Value { source: Source::Latent(out), shape: Shape::default() };
        let operation = ForwardRecursion {
            emission: seen(&emission, true, vec![to]),
            log_initial: seen(&product.initial, product.initial.shape.rows, vec![to]),
            log_transition: seen(&product.transition, product.transition.shape.rows, vec![from, to]),
            starts: Arc::clone(&product.starts),
            size: k,
            filtered,
            output: output.clone(),
        };
        self.b.push(Box::new(operation), true);
        output
    }
}
