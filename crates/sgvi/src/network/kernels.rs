//! The few kernels that layers are made of, behind one trait, and their implementation on the processor.

use super::activation::{self, Activation};
use super::vectorize::vectorized;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// A dense row-major matrix, possibly read as its transpose.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
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
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, stride: columns, transposed: false }
    }

    /// Some of the stored columns of a `[rows, stride]` matrix.
    #[must_use]
    pub fn of_columns(values: &'a [f32], rows: usize, stride: usize, columns: std::ops::Range<usize>) -> Self {
        Self { values: &values[columns.start..], rows, columns: columns.len(), stride, transposed: false }
    }

    /// Its transpose, without moving a number.
    #[must_use]
    pub fn transpose(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Rows and columns as the product sees them.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }
}

/// What a device must offer for networks to run on it.
///
/// Every kernel works on one part of a batch and on one thread; the caller runs parts side by side and adds what they
/// yield in a fixed order, so that results do not depend on the number of threads.
pub trait Kernels: Send + Sync + std::fmt::Debug {
    /// `output = left·right`, or `output += left·right` where `accumulate`; `output` is row-major.
    fn product(&self, output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>);

    /// Adds `bias` (`[width]`) to every row of `values` and applies the activation; see
    /// [`activation::add_bias_and_activate`].
    fn bias_and_activation(&self, values: &mut [f32], before: &mut [f32], bias: &[f32], activation: Activation);

    /// Multiplies `adjoint` by the derivative of the activation; see [`activation::activation_backward`].
    fn activation_backward(&self, adjoint: &mut [f32], output: &[f32], before: &[f32], activation: Activation);

    /// `sums[j] += Σ_i matrix[i, j]` for a `[rows, sums.len()]` matrix.
    fn add_column_sums(&self, sums: &mut [f32], matrix: &[f32]);
}

/// The kernels on the processor: one-threaded `faer` products and loops compiled for its widest vectors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processor;

fn view(matrix: Matrix<'_>) -> MatRef<'_, f32> {
    if matrix.rows == 0 {
        return MatRef::from_row_major_slice(&[], 0, matrix.columns);
    }
    let length = (matrix.rows - 1) * matrix.stride + matrix.columns;
    MatRef::from_row_major_slice_with_stride(&matrix.values[..length], matrix.rows, matrix.columns, matrix.stride)
}

impl Kernels for Processor {
    fn product(&self, output: &mut [f32], accumulate: bool, left: Matrix<'_>, right: Matrix<'_>) {
        let a = view(left);
        let b = view(right);
        let (rows, columns) = (left.shape().0, right.shape().1);
        let target = MatMut::from_row_major_slice_mut(output, rows, columns);
        let how = if accumulate { Accum::Add } else { Accum::Replace };
        match (left.transposed, right.transposed) {
            (false, false) => matmul(target, how, a, b, 1.0, Par::Seq),
            (true, false) => matmul(target, how, a.transpose(), b, 1.0, Par::Seq),
            (false, true) => matmul(target, how, a, b.transpose(), 1.0, Par::Seq),
            (true, true) => matmul(target, how, a.transpose(), b.transpose(), 1.0, Par::Seq),
        }
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

vectorized! {
    /// sums += column sums of a row-major matrix.
    fn column_sums(sums: &mut [f32], matrix: &[f32]) {
        for row in matrix.chunks_exact(sums.len()) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_orientation_agree_with_the_definition() {
        let (m, k, n) = (5, 7, 3);
        let element = |i: usize, j: usize, phase: f32| ((i * 31 + j * 17) as f32 * 0.37 + phase).sin();
        for transposed_left in [false, true] {
            for transposed_right in [false, true] {
                let (rows, columns) = if transposed_left { (k, m) } else { (m, k) };
                let a: Vec<f32> = (0..rows * columns).map(|i| element(i / columns, i % columns, 0.1)).collect();
                let left = Matrix { transposed: transposed_left, ..Matrix::new(&a, rows, columns) };
                let (rows, columns) = if transposed_right { (n, k) } else { (k, n) };
                let b: Vec<f32> = (0..rows * columns).map(|i| element(i / columns, i % columns, 0.7)).collect();
                let right = Matrix { transposed: transposed_right, ..Matrix::new(&b, rows, columns) };
                let mut output = vec![1.0; m * n];
                Processor.product(&mut output, true, left, right);
                for i in 0..m {
                    for j in 0..n {
                        let want: f32 = 1.0
                            + (0..k)
                                .map(|l| {
                                    let x = if transposed_left { a[l * m + i] } else { a[i * k + l] };
                                    let y = if transposed_right { b[j * k + l] } else { b[l * n + j] };
                                    x * y
                                })
                                .sum::<f32>();
                        assert!((output[i * n + j] - want).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn column_sums_add_up() {
        let mut sums = vec![1.0, 2.0];
        Processor.add_column_sums(&mut sums, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        assert_eq!(sums, [7.0, 62.0]);
    }
}
