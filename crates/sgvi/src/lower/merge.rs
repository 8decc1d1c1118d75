//! Rows that are the same in everything a density reads: each kind is evaluated once and counts as often as it occurs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::builder::Builder;
use super::linear::Piece;
use crate::density::Kernel;
use crate::tape::{LookUp, Shape, Value};

/// Rows for each kind, on average, from which on it is less work to count.
const WORTH: usize = 4;

/// What a density reads in a row.
enum Argument {
    /// The same in every row.
    Global(Value),
    /// A number.
    Number(Arc<Vec<f64>>),
    /// An element of something that sees no rows.
    LookUp(LookUp),
}

impl Builder {
    /// The log density of all rows as a sum over their kinds, where data and levels leave few of them.
    pub(super) fn merged(
        &mut self,
        kernel: Kernel,
        arguments: &[Value],
        skip_missing: bool,
        weights: Option<&Arc<Vec<f64>>>,
    ) -> Option<Value> {
        if self.in_batches {
            return None;
        }
        let parts: Vec<Argument> = arguments.iter().map(|a| self.argument(a)).collect::<Option<_>>()?;
        let n = self.program.num_rows;
        let mut kinds: HashMap<Vec<u64>, usize> = HashMap::new();
        let (mut first, mut counts) = (Vec::new(), Vec::new());
        for row in 0..n {
            let key = parts.iter().map(|part| match part {
                Argument::Global(_) => 0,
                Argument::Number(x) => x[row].to_bits(),
                Argument::LookUp(l) => u64::from(l.codes[row]),
            });
            let weight = weights.map_or(1.0, |w| w[row]);
            match kinds.entry(key.collect()) {
                Entry::Occupied(kind) => counts[*kind.get()] += weight,
                Entry::Vacant(kind) => {
                    kind.insert(first.len());
                    first.push(row);
                    counts.push(weight);
                }
            }
            if first.len() * WORTH > n {
                return None;
            }
        }
        let kind = Shape { rows: false, axes: vec![(self.fresh_label(), first.len())] };
        let arguments: Vec<Value> = parts
            .into_iter()
            .map(|part| match part {
                Argument::Global(value) => value,
                Argument::Number(x) => self.data(kind.clone(), first.iter().map(|r| x[*r]).collect()),
                Argument::LookUp(l) => {
                    let codes = first.iter().map(|r| f64::from(l.codes[*r])).collect();
                    let codes = self.data(kind.clone(), codes);
                    let label = l.base.shape.axes[0].0;
                    let element = self.select(&l.base, label, &codes);
                    self.scaled(l.factor, &element)
                }
            })
            .collect();
        let arguments: Vec<&Value> = arguments.iter().collect();
        let density = self.density(kernel, &arguments, skip_missing);
        let counts = self.data(kind, counts);
        Some(self.product(&counts, &density))
    }

    fn argument(&self, value: &Value) -> Option<Argument> {
        if !value.shape.rows {
            return Some(Argument::Global(value.clone()));
        }
        if let Some(numbers) = self.numbers(value) {
            return Some(Argument::Number(numbers));
        }
        match self.linear(value)? {
            [Piece::LookUp(l)] if l.multiplier.is_none() => Some(Argument::LookUp(l.clone())),
            _ => None,
        }
    }
}
