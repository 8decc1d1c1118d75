//! The few kernels that layers are made of, behind one trait, and their implementation on the processor.

use super::activation::{self, Activation};
use super::dense::{DenseMemory, DenseTerm, Step, Weights};
use super::product;
use super::vectorize::vectorized;
use std::ops::Range;

/// A dense row-major matrix, possibly read as its transpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Values, `[rows, columns]` row-major as stored.
    pub values: &'a [f32],
    /// Rows as stored.
    pub rows: usize,
    /// Columns as stored.
    pub columns: usize,
    /// Distance from one stored row to the next.
    pub stride: usize,
    /// Whether the product reads the transpose.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    /// A `[rows, columns]` matrix.
    #[must_use]
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, stride: columns, transposed: false }
    }

    /// Some of the stored columns of a `[rows, stride]` matrix.
    #[must_use]
    pub(crate) fn of_columns(values: &'a [f32], rows: usize, stride: usize, columns: std::ops::Range<usize>) -> Self {
        Self { values: &values[columns.start..], rows, columns: columns.len(), stride, transposed: false }
    }

    /// Its transpose, without moving a number.
    #[must_use]
    pub(crate) fn transpose(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Rows and columns as the product sees them.
    #[must_use]
    pub(crate) fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }
}

/// What a device must offer for networks to run on it.
///
/// Every kernel works on one part of a batch and on one thread; the caller runs parts side by side and adds what they
/// yield in a fixed order, so that results do not depend on the number of threads.
pub(crate) trait Kernels: Send + Sync + std::fmt::Debug {
    /// `output = left·right`, or `output += left·right` where `accumulate`; `output` is row-major.
    fn product(&self, output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>);

    /// The forward pass of a dense layer: `output = activation(input·weights + bias)`, with the values before the
    /// activation in `before` where [`Activation::needs_input`]. `memory` keeps what the other passes read.
    #[allow(clippy::too_many_arguments)]
    fn dense_forward(
        &self,
        output: &mut [f32],
        before: &mut [f32],
        input: &[f32],
        weights: Weights<'_>,
        bias: &[f32],
        activation: Activation,
        memory: &mut DenseMemory,
    );

    /// The backward pass of a dense layer: from the adjoint of the values before the activation that of the input,
    /// written or, where the flag is set, added, if it is asked for.
    fn dense_backward(
        &self,
        adjoint: &[f32],
        weights: Weights<'_>,
        input_adjoint: Option<(&mut [f32], bool)>,
        memory: &mut DenseMemory,
    );

    /// Rows `range` of Σ inputᵀ·adjoint over all terms, the gradient of the `[input width, output width]` weights of a
    /// dense layer, in the order of the terms; it is written to `gradient` or, where `accumulate`, added to it.
    ///
    /// Where a step is asked for, the optimiser takes it on the same rows of the parameters; what is then in `gradient`
    /// is unspecified. Both passes must have been over every term before, by the same kernels.
    fn dense_gradient(
        &self,
        terms: &[DenseTerm<'_>],
        widths: [usize; 2],
        range: Range<usize>,
        gradient: &mut [f32],
        accumulate: bool,
        step: Option<&mut Step<'_>>,
    );

    /// Adds `bias` (`[width]`) to every row of `values` and applies the activation; see
    /// [`activation::add_bias_and_activate`].
    fn bias_and_activation(&self, values: &mut [f32], before: &mut [f32], bias: &[f32], activation: Activation);

    /// Multiplies `adjoint` by the derivative of the activation; see [`activation::activation_backward`].
    fn activation_backward(&self, adjoint: &mut [f32], output: &[f32], before: &[f32], activation: Activation);

    /// `sums[j] += Σ_i matrix[i, j]` for a `[rows, sums.len()]` matrix.
    fn add_column_sums(&self, sums: &mut [f32], matrix: &[f32]);
}

/// The kernels on the processor: one-threaded products and loops compiled for its widest vectors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Processor;

impl Kernels for Processor {
    fn product(&self, output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>) {
        product::product(output, accumulate, left, right);
    }

    fn dense_forward(
        &self,
        output: &mut [f32],
        before: &mut [f32],
        input: &[f32],
        weights: Weights<'_>,
        bias: &[f32],
        activation: Activation,
        memory: &mut DenseMemory,
    ) {
        let set = product::instruction_set();
        product::dense_forward(set, output, before, input, weights, bias, activation, memory);
    }

    fn dense_backward(
        &self,
        adjoint: &[f32],
        weights: Weights<'_>,
        input_adjoint: Option<(&mut [f32], bool)>,
        memory: &mut DenseMemory,
    ) {
        product::dense_backward(product::instruction_set(), adjoint, weights, input_adjoint, memory);
    }

    fn dense_gradient(
        &self,
        terms: &[DenseTerm<'_>],
        widths: [usize; 2],
        range: Range<usize>,
        gradient: &mut [f32],
        accumulate: bool,
        step: Option<&mut Step<'_>>,
    ) {
        product::dense_gradient(product::instruction_set(), terms, widths, range, gradient, accumulate, step);
    }

    fn bias_and_activation(&self, values: &mut [f32], before: &mut [f32], bias: &[f32], activation: Activation) {
        activation::add_bias_and_activate(values, before, bias, activation);
    }

    fn activation_backward(&self, adjoint: &mut [f32], output: &[f32], before: &[f32], activation: Activation) {
        activation::activation_backward(adjoint, output, before, activation);
    }

    fn add_column_sums(&self, sums: &mut [f32], matrix: &[f32]) {
        column_sums(sums, matrix);
    }
}

/// Columns whose sums stay in registers while rows are added.
const COLUMNS_AT_A_TIME: usize = 64;

vectorized! {
    /// sums += column sums of a row-major matrix.
    fn column_sums(sums: &mut [f32], matrix: &[f32]) {
        let width = sums.len();
        for (index, sums) in sums.chunks_mut(COLUMNS_AT_A_TIME).enumerate() {
            let start = index * COLUMNS_AT_A_TIME;
            if let Ok(sums) = <&mut [f32; COLUMNS_AT_A_TIME]>::try_from(&mut *sums) {
                let mut kept = *sums;
                for row in matrix.chunks_exact(width) {
                    for (sum, &value) in kept.iter_mut().zip(&row[start..start + COLUMNS_AT_A_TIME]) {
                        *sum += value;
                    }
                }
                *sums = kept;
            } else {
                for row in matrix.chunks_exact(width) {
                    for (sum, &value) in sums.iter_mut().zip(&row[start..]) {
                        *sum += value;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sums_add_up() {
        let mut sums = vec![1.0, 2.0];
        Processor.add_column_sums(&mut sums, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        assert_eq!(sums, [7.0, 62.0]);
    }
}
