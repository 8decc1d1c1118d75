//! Gaussian log densities of data rows, kept as they are written until something reads them, so that what is added to all rows
//! alike goes into one operation with them.

use std::sync::Arc;

use vi_families::rows::quadratic::{LANES, MAX_INPUTS, width};

use super::builder::Builder;
use super::linear::Pending;
use crate::tape::{GaussianRows, Shape, Source, Value};

/// o − ½ (x − m)ᵀ M (x − m) over the rows of x and the axes of o, m and M.
#[derive(Debug, Clone)]
pub(super) struct Gaussian {
    data: Value,
    centre: Value,
    matrix: Value,
    offset: Value,
}

impl Builder {
    /// Data less a centre, kept as it is written where the data are one vector for each row.
    pub(super) fn pending_deviation(&mut self, data: &Value, centre: &Value) -> Option<Value> {
        let one_vector = data.is_data() && data.shape.rows && data.shape.axes.len() == 1;
        if self.eager || !one_vector || centre.shape.rows || !self.is_global(centre) {
            return None;
        }
        let pending = Pending::Deviation { data: data.clone(), centre: centre.clone() };
        Some(self.keep(pending, data.shape.union(&centre.shape)))
    }

    /// A value over the rows that no operation computes yet.
    fn keep(&mut self, pending: Pending, shape: Shape) -> Value {
        let buffer = self.buffer(&shape, true, true);
        self.pending.insert(buffer, pending);
        Value { source: Source::Latent(buffer), shape }
    }

    /// o − ½ dᵀ M d for deviations d of the rows from centres; the matrix axes are the last two of M, and the first of them is d's axis.
    pub(super) fn gaussian_rows(&mut self, deviation: &Value, matrix: &Value, offset: &Value) -> Option<Value> {
        let (data, centre) = match deviation.source {
            Source::Latent(b) => match self.pending.get(&b) {
                Some(Pending::Deviation { data, centre }) => (data.clone(), centre.clone()),
                _ => return None,
            },
            Source::Data(_) if deviation.shape.rows => (deviation.clone(), self.constant(0.0)),
            Source::Data(_) => return None,
        };
        let &[(label, inputs)] = &data.shape.axes[..] else { return None };
        let &[.., (first, size), (second, _)] = &matrix.shape.axes[..] else { return None };
        let fits = size == inputs && inputs <= MAX_INPUTS && self.is_fixed(matrix) && self.is_fixed(offset);
        if self.eager || !fits {
            return None;
        }
        let shape = deviation.shape.union(&matrix.shape).without(label).without(first).without(second);
        let shape = shape.union(&offset.shape);
        let gaussian = Gaussian { data, centre, matrix: matrix.clone(), offset: offset.clone() };
        Some(self.keep(Pending::Gaussian(gaussian), shape))
    }

    /// Gaussian log densities and what is added to all rows alike.
    pub(super) fn gaussian_sum(&mut self, left: &Value, right: &Value) -> Option<Value> {
        for (value, other) in [(left, right), (right, left)] {
            let Source::Latent(b) = value.source else { continue };
            let Some(Pending::Gaussian(gaussian)) = self.pending.get(&b) else { continue };
            if self.is_fixed(other) && value.shape.union(&other.shape) == value.shape {
                let gaussian = gaussian.clone();
                let offset = self.sum(&gaussian.offset, other);
                return Some(self.keep(Pending::Gaussian(Gaussian { offset, ..gaussian }), value.shape.clone()));
            }
        }
        None
    }

    /// Whether it sees no rows.
    fn is_fixed(&self, value: &Value) -> bool {
        !value.shape.rows && (value.is_data() || self.is_global(value))
    }

    /// Makes the operation.
    pub(super) fn settle_gaussian(&mut self, gaussian: Gaussian, output: Value) {
        let Gaussian { data, centre, matrix, offset } = gaussian;
        let (label, inputs) = data.shape.axes[0];
        let mut places = vec![[0; 3]];
        for &(axis, size) in &output.shape.axes {
            let strides = [&offset, &centre, &matrix].map(|v| v.shape.stride(axis));
            places = places
                .iter()
                .flat_map(|place| (0..size).map(move |i| std::array::from_fn(|v| place[v] + i * strides[v])))
                .collect();
        }
        let rows = self.program.num_rows;
        let x = self.numbers(&data).unwrap_or_default();
        let columns = (0..inputs * rows).map(|at| x[at % rows * inputs + at / rows]).collect();
        let mut numbers = |n: usize| {
            let label = self.fresh_label();
            self.buffer(&Shape { rows: false, axes: vec![(label, n)] }, false, true)
        };
        let length = places.len() * width(inputs);
        let (parameters, sums) = (numbers(length), numbers(length * LANES));
        let step = centre.shape.stride(label);
        let operation = GaussianRows {
            columns: Arc::new(columns),
            inputs,
            offset,
            mean: centre,
            step,
            matrix,
            places,
            parameters,
            sums,
            output,
        };
        self.push(Box::new(operation), true);
    }
}
