//! Rows that are the same in everything a density reads: each kind is evaluated once, and counted or looked up.

use std::collections::HashMap;
use std::sync::Arc;

use super::builder::Builder;
use super::linear::Piece;
use crate::density::Kernel;
use crate::tape::{LookUp, Shape, Value};

/// Rows for each kind, on average, from which on it is less work to count.
const WORTH: usize = 4;
/// Rows that must be alike on average for their densities to be looked up.
const LEAST_ALIKE: usize = 8;

/// Rows that differ in something, and which of them each row is like.
struct Kinds {
    /// The first row of each kind.
    first: Vec<usize>,
    /// The kind of each row.
    codes: Vec<u32>,
}

/// The kinds of rows by `key`; `None` where there are fewer than `least` rows for each kind, on average.
fn kinds(num_rows: usize, least: usize, key: impl Fn(usize) -> Vec<u64>) -> Option<Kinds> {
    let mut known: HashMap<Vec<u64>, u32> = HashMap::new();
    let (mut first, mut codes) = (Vec::new(), Vec::with_capacity(num_rows));
    for row in 0..num_rows {
        let code = *known.entry(key(row)).or_insert_with(|| {
            first.push(row);
            first.len() as u32 - 1
        });
        codes.push(code);
        if first.len() * least > num_rows {
            return None;
        }
    }
    Some(Kinds { first, codes })
}

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
        let key = |row: usize| {
            let part = |part: &Argument| match part {
                Argument::Global(_) => 0,
                Argument::Number(x) => x[row].to_bits(),
                Argument::LookUp(l) => u64::from(l.codes[row]),
            };
            parts.iter().map(part).collect()
        };
        let Kinds { first, codes } = kinds(self.program.num_rows, WORTH, key)?;
        let mut counts = vec![0.0; first.len()];
        for (row, code) in codes.iter().enumerate() {
            counts[*code as usize] += weights.map_or(1.0, |w| w[row]);
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

    /// The density of each row where only data vary by row: one for each kind, looked up.
    pub(super) fn looked_up(&mut self, kernel: Kernel, arguments: &[Value], skip_missing: bool) -> Option<Value> {
        let by_row: Vec<usize> = (0..arguments.len()).filter(|a| arguments[*a].shape.rows).collect();
        let latent = arguments.iter().any(|a| !a.is_data());
        // Programs that are given other rows know nothing of these.
        if self.eager || by_row.is_empty() || !latent || by_row.iter().any(|a| !arguments[*a].shape.axes.is_empty()) {
            return None;
        }
        let columns: Vec<Arc<Vec<f64>>> = by_row.iter().map(|a| self.numbers(&arguments[*a])).collect::<Option<_>>()?;
        let key = |row: usize| columns.iter().map(|c| c[row].to_bits()).collect();
        let Kinds { first, codes } = kinds(self.program.num_rows, LEAST_ALIKE, key)?;
        let label = self.fresh_label();
        let shape = Shape { rows: false, axes: vec![(label, first.len())] };
        let mut arguments = arguments.to_vec();
        for (a, column) in by_row.iter().zip(&columns) {
            let values = first.iter().map(|row| column[*row]).collect();
            arguments[*a] = self.data(shape.clone(), values);
        }
        let references: Vec<&Value> = arguments.iter().collect();
        let table = self.density(kernel, &references, skip_missing);
        Some(self.gather(&table, label, Arc::new(codes)))
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
