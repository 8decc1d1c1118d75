//! Transitions of a chain that a further discrete variable of the same row chooses: it is summed out of each step.

use vi_model::graph::{Distribution, VariableId};

use super::builder::relabel;
use super::discrete::Enumerated;
use super::{Factor, Lowering, View};
use crate::error::SgviError;
use crate::tape::{Shape, Value};

impl Lowering<'_> {
    /// The chains whose transitions a variable with one value for each row chooses.
    fn stepped_by(&mut self, e: &Enumerated) -> Result<Vec<Enumerated>, SgviError> {
        let graph = self.graph;
        let mut found = Vec::new();
        let own = self.own_plates(e.variable);
        if own.len() != 1 || Some(own[0]) != graph.rows || !e.joined.is_empty() {
            return Ok(found);
        }
        for chain in self.enumerated.clone() {
            let Distribution::MarkovChain { transition, .. } = graph.variable(chain.variable).distribution else {
                continue;
            };
            if graph.variables_of(transition).contains(&e.variable)
                && self.node(transition, View::Log)?.shape.has(e.label.0)
            {
                found.push(chain);
            }
        }
        Ok(found)
    }

    /// Sums a variable out of the steps of the chain whose transitions it chooses; whether there is one.
    ///
    /// With f(w, z) the factors of a row that depend on its value w, and on the state z at most, the step into the row is
    /// log Σ_w f(w, z) P(z | z′, w), and a first row has the factor log Σ_w f(w, z).
    pub(super) fn sum_into_steps(&mut self, e: &Enumerated) -> Result<bool, SgviError> {
        let graph = self.graph;
        let chains = self.stepped_by(e)?;
        let [chain] = &chains[..] else { return Ok(false) };
        let Distribution::MarkovChain { transition, sequence, .. } = graph.variable(chain.variable).distribution else {
            return Ok(false);
        };
        let labels = self.enumeration_labels();
        let is_mine = |f: &Factor| f.value.shape.has(e.label.0) || e.look_ups.iter().any(|l| f.value.shape.has(l.0));
        let beyond = |f: &Factor| {
            let known = [e.label.0, chain.label.0];
            f.value.shape.axes.iter().any(|a| labels.contains(&a.0) && !known.contains(&a.0))
        };
        if self.pending.iter().any(|f| is_mine(f) && beyond(f)) {
            return Ok(false);
        }
        let (mut factors, rest): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(is_mine);
        self.pending = rest;
        factors.extend(e.mask.clone().map(|value| Factor { value, owner: None, source: e.variable }));
        let mut total = self.b.constant(0.0);
        for factor in factors {
            let message = self.message(e, &factor.value)?;
            total = self.b.sum(&total, &message);
        }
        // [from][to], the state entered under the label of the chain's values.
        let mut axes = graph.node(transition).axes.clone();
        axes.retain(|a| Some(*a) != graph.rows);
        let n = axes.len();
        let log = self.node(transition, View::Log)?;
        let occurrence = |i: usize| axes[..i].iter().filter(|a| **a == axes[i]).count();
        let from = (self.b.label(axes[n - 2], occurrence(n - 2)), chain.label.1);
        let to = self.b.label(axes[n - 1], occurrence(n - 1));
        let step = self.b.sum(&relabel(&log, to, chain.label.0), &total);
        let step = self.b.log_sum_exp(&step, e.label);
        let step = self.full(&step, &Shape { rows: true, axes: vec![from, chain.label] });
        self.steps.insert(chain.variable, step);
        let starts = self.starts(sequence)?;
        let first = starts.iter().map(|start| f64::from(u8::from(*start))).collect();
        let first = self.b.data(Shape { rows: true, axes: Vec::new() }, first);
        let here = self.b.log_sum_exp(&total, e.label);
        let here = self.b.product(&first, &here);
        self.keep(e.variable, here);
        Ok(true)
    }

    /// The log probabilities of a chain's steps, `[rows, from, to]`, where they were summed over a further variable.
    pub(super) fn summed_steps(&self, chain: VariableId) -> Option<Value> {
        self.steps.get(&chain).cloned()
    }
}
