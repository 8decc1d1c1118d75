//! Matrix products of row-major slices through faer, one-threaded: threads belong to the chunks of rows around them.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// out `[rows, columns]` += scale · a `[rows, inner]` · b `[inner, columns]`, all row-major.
pub fn product(a: &[f64], b: &[f64], rows: usize, inner: usize, columns: usize, scale: f64, out: &mut [f64]) {
    matmul(
        MatMut::from_row_major_slice_mut(&mut out[..rows * columns], rows, columns),
        Accum::Add,
        MatRef::from_row_major_slice(&a[..rows * inner], rows, inner),
        MatRef::from_row_major_slice(&b[..inner * columns], inner, columns),
        scale,
        Par::Seq,
    );
}

/// out `[left, right]` += scale · aᵀ · b with a `[rows, left]` and b `[rows, right]`, all row-major.
pub fn transposed_product(a: &[f64], b: &[f64], rows: usize, left: usize, right: usize, scale: f64, out: &mut [f64]) {
    matmul(
        MatMut::from_row_major_slice_mut(&mut out[..left * right], left, right),
        Accum::Add,
        MatRef::from_row_major_slice(&a[..rows * left], rows, left).transpose(),
        MatRef::from_row_major_slice(&b[..rows * right], rows, right),
        scale,
        Par::Seq,
    );
}

/// out `[columns, rows]` = bᵀ · a with b `[inner, columns]` and a `[inner, rows]`, all row-major.
pub fn left_transposed_product(b: &[f64], a: &[f64], columns: usize, inner: usize, rows: usize, out: &mut [f64]) {
    matmul(
        MatMut::from_row_major_slice_mut(&mut out[..columns * rows], columns, rows),
        Accum::Replace,
        MatRef::from_row_major_slice(&b[..inner * columns], inner, columns).transpose(),
        MatRef::from_row_major_slice(&a[..inner * rows], inner, rows),
        1.0,
        Par::Seq,
    );
}

/// out `[left, right]` += a · bᵀ with a `[left, rows]` and b `[right, rows]`, all row-major.
pub fn right_transposed_product(a: &[f64], b: &[f64], left: usize, rows: usize, right: usize, out: &mut [f64]) {
    matmul(
        MatMut::from_row_major_slice_mut(&mut out[..left * right], left, right),
        Accum::Add,
        MatRef::from_row_major_slice(&a[..left * rows], left, rows),
        MatRef::from_row_major_slice(&b[..right * rows], right, rows).transpose(),
        1.0,
        Par::Seq,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_loops() {
        let a: Vec<f64> = (0..12).map(|i| (i as f64).sin()).collect();
        let b: Vec<f64> = (0..20).map(|i| (i as f64).cos()).collect();
        let mut out = vec![1.0; 15];
        product(&a, &b, 3, 4, 5, 0.5, &mut out);
        for i in 0..3 {
            for j in 0..5 {
                let direct: f64 = (0..4).map(|l| a[i * 4 + l] * b[l * 5 + j]).sum();
                assert!((out[i * 5 + j] - 1.0 - 0.5 * direct).abs() < 1e-14);
            }
        }
        let mut out = vec![0.0; 15];
        transposed_product(&a, &b, 4, 3, 5, 1.0, &mut out);
        for i in 0..3 {
            for j in 0..5 {
                let direct: f64 = (0..4).map(|n| a[n * 3 + i] * b[n * 5 + j]).sum();
                assert!((out[i * 5 + j] - direct).abs() < 1e-14);
            }
        }
    }
}
