//! One chain along the rows: its sequences and probabilities, and the log probability of its states where they are observed.

use std::sync::Arc;

use vi_model::data::ColumnId;
use vi_model::graph::{Distribution, VariableId};

use super::discrete::Enumerated;
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{Shape, Source, Value};

impl Lowering<'_> {
    /// Rows at which a sequence starts.
    pub(super) fn starts(&self, sequence: Option<ColumnId>) -> Result<Arc<Vec<bool>>, SgviError> {
        let n = self.b.program.num_rows;
        let mut starts = vec![false; n];
        if let Some(first) = starts.first_mut() {
            *first = true;
        }
        if let Some(column) = sequence {
            let levels = self.graph.data.levels(column);
            let axis = vi_model::graph::Axis {
                name: format!("levels of {}", self.graph.data.column(column).name),
                size: levels.len(),
                kind: vi_model::graph::AxisKind::Levels { column, levels },
            };
            let codes = self.graph.data.codes(column, &axis)?;
            for r in 1..n {
                starts[r] = codes.all()[r] != codes.all()[r - 1];
            }
        }
        Ok(Arc::new(starts))
    }

    /// Log initial `[k]` and transition `[from, to]` probabilities of a chain, matrix order guaranteed.
    #[allow(clippy::type_complexity)]
    pub(super) fn chain_parameters(
        &mut self,
        v: VariableId,
    ) -> Result<Option<(Value, Value, Arc<Vec<bool>>)>, SgviError> {
        let Distribution::MarkovChain { initial, transition, range, sequence } =
            self.graph.variable(v).distribution.clone()
        else {
            return Ok(None);
        };
        let starts = self.starts(sequence)?;
        let (initial, _) = self.log_probabilities(initial, range, false)?;
        if let Some(steps) = self.summed_steps(v).filter(|_| initial.shape.axes.len() == 1) {
            return Ok(Some((initial, steps, starts)));
        }
        // The rows may stand before, between or behind the two.
        let rows = self.graph.rows;
        let axes: Vec<_> = self.graph.node(transition).axes.iter().copied().filter(|a| Some(*a) != rows).collect();
        let transition = self.node(transition, View::Log)?;
        let n = axes.len();
        let labels: Vec<_> = (n.saturating_sub(2)..n)
            .map(|i| {
                let occurrence = axes[..i].iter().filter(|a| **a == axes[i]).count();
                (self.b.label(axes[i], occurrence), self.graph.axis(axes[i]).size)
            })
            .collect();
        if transition.shape.axes.len() != 2 || initial.shape.axes.len() != 1 {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "its initial or transition probabilities depend on another discrete variable, or have a plate besides the rows",
                "look them up by a data column, or run it with `cavi`, which keeps factors of both variables",
            ));
        }
        let transition = self.b.sum_to(&transition, &Shape { rows: transition.shape.rows, axes: labels });
        Ok(Some((initial, transition, starts)))
    }

    /// The forward algorithm over a chain's unary log likelihoods.
    pub(super) fn recursion(&mut self, e: &Enumerated, emission: &Value) -> Result<Value, SgviError> {
        if self.weights.is_some() {
            return Err(SgviError::unsupported(
                self.graph,
                e.variable,
                "rows of a chain cannot be counted several times",
                "leave out `counts`",
            ));
        }
        let shape = Shape { rows: true, axes: vec![e.label] };
        if emission.shape.axes != shape.axes {
            return Err(SgviError::unsupported(
                self.graph,
                e.variable,
                "a chain's emissions must have the rows' plate and no other discrete variable",
                "give the emission the plate of the rows only",
            ));
        }
        let chain: Vec<usize> =
            (0..self.enumerated.len()).filter(|i| self.enumerated[*i].variable == e.variable).collect();
        let product = self.product(&chain)?;
        let emission = self.full(emission, &shape);
        Ok(self.paths(&product, &emission))
    }

    /// A copy of data in a buffer of its own.
    pub(super) fn copied(&mut self, value: &Value) -> Value {
        let buffer = self.b.buffer(&value.shape, true, value.shape.rows);
        let output = Value { source: Source::Latent(buffer), shape: value.shape.clone() };
        let zero = self.b.constant(0.0);
        let operation = crate::tape::Binary {
            operator: vi_model::graph::BinaryOperator::Add,
            left: value.clone(),
            right: zero,
            output: output.clone(),
        };
        self.b.push(Box::new(operation), value.shape.rows);
        output
    }

    /// The log probability of an observed chain: counts of starts and transitions times their log probabilities.
    pub(super) fn observed_chain(&mut self, v: VariableId, value: &Value) -> Result<(), SgviError> {
        let Some((initial, transition, starts)) = self.chain_parameters(v)? else { return Ok(()) };
        let numbers = self.b.numbers(value).unwrap_or_default();
        let k = initial.shape.inner();
        if initial.shape.rows || transition.shape.rows {
            return self.observed_steps(v, value, &[initial, transition], &starts);
        }
        let (mut first, mut pairs) = (vec![0.0; k], vec![0.0; k * k]);
        for (t, z) in numbers.iter().enumerate() {
            if starts[t] {
                first[*z as usize] += 1.0;
            } else {
                pairs[numbers[t - 1] as usize * k + *z as usize] += 1.0;
            }
        }
        let first = self.b.data(initial.shape.clone(), first);
        let pairs = self.b.data(transition.shape.clone(), pairs);
        for (counts, log) in [(first, initial), (pairs, transition)] {
            let product = self.b.product(&counts, &log);
            self.b.accumulate(&product, v.0, None, 1.0);
        }
        Ok(())
    }

    /// As [`Lowering::observed_chain`] where the probabilities differ from row to row.
    fn observed_steps(
        &mut self,
        v: VariableId,
        value: &Value,
        log: &[Value; 2],
        starts: &[bool],
    ) -> Result<(), SgviError> {
        let numbers = self.b.numbers(value).unwrap_or_default();
        let rows = Shape { rows: true, axes: Vec::new() };
        let before = (0..starts.len()).map(|t| if starts[t] { 0.0 } else { numbers[t - 1] }).collect();
        let before = self.b.data(rows.clone(), before);
        for (log, first) in log.iter().zip([true, false]) {
            let (from, to) = (log.shape.axes[0].0, log.shape.axes[log.shape.axes.len() - 1].0);
            let chosen = self.b.select(log, to, value);
            let chosen = if first { chosen } else { self.b.select(&chosen, from, &before) };
            let mask = starts.iter().map(|start| f64::from(u8::from(*start == first))).collect();
            let mask = self.b.data(rows.clone(), mask);
            let masked = self.b.product(&chosen, &mask);
            self.b.accumulate(&masked, v.0, None, 1.0);
        }
        Ok(())
    }
}
