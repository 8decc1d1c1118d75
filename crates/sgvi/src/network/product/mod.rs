//! Products of f32 matrices and the passes of dense layers on one thread, with tiles of the output kept in registers.
//!
//! A product is computed as it is, along the rows of its output, or as its transpose, along the columns, whichever needs
//! less packing: a batch of rows times a large matrix of weights packs the rows and reads every weight once, where it lies.
//! The sums run in an order that neither the other rows nor the other columns change.
//! Processors without AVX2 and other architectures use `faer`.

#[cfg(target_arch = "x86_64")]
mod destination;
#[cfg(target_arch = "x86_64")]
mod gather;
#[cfg(target_arch = "x86_64")]
mod gradient;
#[cfg(target_arch = "x86_64")]
mod job;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod register;
#[cfg(target_arch = "x86_64")]
mod sparse;
#[cfg(target_arch = "x86_64")]
mod strip;
#[cfg(target_arch = "x86_64")]
mod transpose;

use super::activation::{self, Activation};
use super::dense::{DenseMemory, DenseTerm, Step, Weights};
use super::kernels::Matrix;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;
pub(super) use vi_families::rows::{InstructionSet, instruction_set};

/// `output = left·right`, or `output += left·right` where `accumulate`; `output` is row-major.
pub(super) fn product(output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>) {
    product_with(instruction_set(), output, accumulate, left, right);
}

fn product_with(set: InstructionSet, output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>) {
    #[cfg(target_arch = "x86_64")]
    if set != InstructionSet::Baseline {
        return job::run(set, job::Job::Product { output, accumulate, left, right });
    }
    let _ = set;
    portable(output, accumulate, left, right);
}

/// The forward pass of a dense layer; see [`super::kernels::Kernels::dense_forward`].
#[allow(clippy::too_many_arguments)]
pub(super) fn dense_forward(
    set: InstructionSet,
    output: &mut [f32],
    before: &mut [f32],
    input: &[f32],
    weights: Weights<'_>,
    bias: &[f32],
    activation: Activation,
    memory: &mut DenseMemory,
) {
    #[cfg(target_arch = "x86_64")]
    if set != InstructionSet::Baseline {
        // An activation that keeps its input is applied afterwards, to all of it.
        let fused = !activation.needs_input();
        let finish = if fused { job::Finish::Activate { bias, activation } } else { job::Finish::Replace };
        job::run(set, job::Job::DenseForward { output, input, weights, finish, memory });
        if !fused {
            activation::add_bias_and_activate(output, before, bias, activation);
        }
        return;
    }
    let _ = (set, memory);
    let rows = input.len() / weights.input_width.max(1);
    let right = Matrix::new(weights.values, weights.input_width, weights.output_width);
    portable(output, false, Matrix::new(input, rows, weights.input_width), right);
    activation::add_bias_and_activate(output, before, bias, activation);
}

/// The backward pass of a dense layer; see [`super::kernels::Kernels::dense_backward`].
pub(super) fn dense_backward(
    set: InstructionSet,
    adjoint: &[f32],
    weights: Weights<'_>,
    input_adjoint: Option<(&mut [f32], bool)>,
    memory: &mut DenseMemory,
) {
    let rows = adjoint.len() / weights.output_width.max(1);
    let left = Matrix::new(adjoint, rows, weights.output_width);
    #[cfg(target_arch = "x86_64")]
    if set != InstructionSet::Baseline {
        job::run(set, job::Job::KeepAdjoint { adjoint: left, memory });
    }
    let _ = memory;
    if let Some((output, accumulate)) = input_adjoint {
        let right = Matrix::new(weights.values, weights.input_width, weights.output_width).transpose();
        product_with(set, output, accumulate, left, right);
    }
}

/// Rows of the gradient of a dense layer's weights; see [`super::kernels::Kernels::dense_gradient`].
pub(super) fn dense_gradient(
    set: InstructionSet,
    terms: &[DenseTerm<'_>],
    widths: [usize; 2],
    range: Range<usize>,
    gradient: &mut [f32],
    accumulate: bool,
    step: Option<&mut Step<'_>>,
) {
    #[cfg(target_arch = "x86_64")]
    if set != InstructionSet::Baseline {
        return job::run(set, job::Job::DenseGradient { terms, widths, range, gradient, accumulate, step });
    }
    let _ = set;
    for (index, term) in terms.iter().enumerate() {
        let rows = term.adjoint.len() / widths[1].max(1);
        let left = Matrix::of_columns(term.input, rows, widths[0], range.clone()).transpose();
        portable(gradient, accumulate || index > 0, left, Matrix::new(term.adjoint, rows, widths[1]));
    }
    if let Some(step) = step {
        step.take(0, gradient);
    }
}

/// A product through `faer`.
fn portable(output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>) {
    let a = view(left);
    let b = view(right);
    let (rows, columns) = (left.shape().0, right.shape().1);
    let target = MatMut::from_row_major_slice_mut(&mut output[..rows * columns], rows, columns);
    let how = if accumulate { Accum::Add } else { Accum::Replace };
    match (left.transposed, right.transposed) {
        (false, false) => matmul(target, how, a, b, 1.0, Par::Seq),
        (true, false) => matmul(target, how, a.transpose(), b, 1.0, Par::Seq),
        (false, true) => matmul(target, how, a, b.transpose(), 1.0, Par::Seq),
        (true, true) => matmul(target, how, a.transpose(), b.transpose(), 1.0, Par::Seq),
    }
}

fn view(matrix: Matrix<'_>) -> MatRef<'_, f32> {
    if matrix.rows == 0 {
        return MatRef::from_row_major_slice(&[], 0, matrix.columns);
    }
    let length = (matrix.rows - 1) * matrix.stride + matrix.columns;
    MatRef::from_row_major_slice_with_stride(&matrix.values[..length], matrix.rows, matrix.columns, matrix.stride)
}

#[cfg(test)]
mod tests;
