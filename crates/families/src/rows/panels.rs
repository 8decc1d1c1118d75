//! A tall matrix in panels of rows, and its two products with a few vectors at once: values forwards, gradients back.
//!
//! Every sum runs over the same numbers in the same order on every instruction set with fused multiply-add.

use std::ops::Range;

mod contract;
mod multiply;

use super::lanes::Pair;
#[cfg(target_arch = "x86_64")]
use super::{InstructionSet, instruction_set};

/// Rows of a panel: two groups of eight.
pub const PANEL: usize = 16;
/// Partial sums of one element of a gradient, one for each row of a group.
pub const GROUP: usize = 8;

/// A matrix `[rows, columns]`, sixteen rows at a time, column by column within them; the last panel is filled with zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Panels {
    rows: usize,
    columns: usize,
    groups: Vec<Group>,
}

/// Numbers that fill one line of the cache.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Group([f64; GROUP]);

/// Defines a function and compiles its body, a function of the registers and of how many of them make a group, for every instruction set.
macro_rules! with_every_register {
    (fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $($body:ident)::+, $paired:literal;) => {
        fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn with_avx512($($argument: $type),*) {
                    $($body)::+::<std::arch::x86_64::__m512d, 1, $paired>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $type),*) {
                    $($body)::+::<std::arch::x86_64::__m256d, 2, $paired>($($argument),*);
                }
                match instruction_set() {
                    InstructionSet::Avx512 => {
                        // SAFETY: the processor has just been found to have these instructions.
                        return unsafe { with_avx512($($argument),*) };
                    }
                    InstructionSet::Avx2 => {
                        // SAFETY: the processor has just been found to have these instructions.
                        return unsafe { with_avx2($($argument),*) };
                    }
                    InstructionSet::Baseline => {}
                }
            }
            $($body)::+::<Pair, 4, $paired>($($argument),*);
        }
    };
}

with_every_register! {
    fn multiply(matrix: &Panels, rows: Range<usize>, coefficients: &[f64], out: &mut [f64]) = multiply::body, false;
}
with_every_register! {
    fn multiply_pairs(matrix: &Panels, rows: Range<usize>, coefficients: &[f64], out: &mut [f64]) = multiply::body, true;
}
with_every_register! {
    fn contract(matrix: &Panels, rows: Range<usize>, weights: &[f64], sums: &mut [f64]) = contract::body, false;
}
with_every_register! {
    fn contract_pairs(matrix: &Panels, rows: Range<usize>, weights: &[f64], sums: &mut [f64]) = contract::body, true;
}

impl Panels {
    /// The matrix whose element in row `r` and column `k` is `element(r, k)`.
    pub fn new(rows: usize, columns: usize, element: impl Fn(usize, usize) -> f64) -> Self {
        let group = |at: usize| {
            let (panel, k) = (at / 2 / columns, at / 2 % columns);
            let first = panel * PANEL + at % 2 * GROUP;
            Group(std::array::from_fn(|lane| if first + lane < rows { element(first + lane, k) } else { 0.0 }))
        };
        Self { rows, columns, groups: (0..rows.div_ceil(PANEL) * columns * 2).map(group).collect() }
    }

    /// All numbers, `[panels, columns, PANEL]`.
    fn numbers(&self) -> &[f64] {
        // SAFETY: a group is eight numbers and nothing else.
        unsafe { std::slice::from_raw_parts(self.groups.as_ptr().cast(), self.groups.len() * GROUP) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// out\[s, i\] = Σₖ x\[rows.start + i, k\] · coefficients\[s, k\]; `coefficients` is `[vectors, columns]`, `out`
    /// `[vectors, rows.len()]`.
    ///
    /// # Panics
    /// Where the slices are shorter than that, or the matrix has no such rows.
    pub fn multiply(&self, rows: Range<usize>, coefficients: &[f64], vectors: usize, out: &mut [f64]) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(coefficients.len() >= vectors * self.columns && out.len() >= vectors * rows.len(), "short slices");
        if !rows.is_empty() {
            let out = &mut out[..vectors * rows.len()];
            multiply(self, rows, coefficients, out);
        }
    }

    /// As [`Panels::multiply`] for pairs of vectors about one centre: `coefficients` is `[1 + pairs, columns]`, the centre c and half
    /// the difference d of each pair, `out` `[2 · pairs, rows.len()]`, the products with c + d and c − d in turn.
    ///
    /// # Panics
    /// Where the slices are shorter than that, or the matrix has no such rows.
    pub fn multiply_pairs(&self, rows: Range<usize>, coefficients: &[f64], pairs: usize, out: &mut [f64]) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let enough = coefficients.len() >= (1 + pairs) * self.columns && out.len() >= 2 * pairs * rows.len();
        assert!(enough, "short slices");
        if !rows.is_empty() {
            let out = &mut out[..2 * pairs * rows.len()];
            multiply_pairs(self, rows, coefficients, out);
        }
    }

    /// sums\[s, k, ·\] += x\[rows.start + i, k\] · weights\[s, i\] over i, in [`GROUP`] partial sums for [`total`] to add up; `weights` is
    /// `[vectors, rows.len()]`, `sums` `[vectors, columns, GROUP]`.
    ///
    /// # Panics
    /// Where the slices are shorter than that, or the matrix has no such rows.
    pub fn contract(&self, rows: Range<usize>, weights: &[f64], vectors: usize, sums: &mut [f64]) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let length = vectors * self.columns * GROUP;
        assert!(weights.len() >= vectors * rows.len() && sums.len() >= length, "short slices");
        if !rows.is_empty() {
            let weights = &weights[..vectors * rows.len()];
            contract(self, rows, weights, &mut sums[..length]);
        }
    }

    /// As [`Panels::contract`] for the total of `2 · pairs` vectors of weights and for half the difference within each pair of them:
    /// `weights` is `[2 · pairs, rows.len()]`, `sums` `[1 + pairs, columns, GROUP]`.
    ///
    /// # Panics
    /// Where the slices are shorter than that, or the matrix has no such rows.
    pub fn contract_pairs(&self, rows: Range<usize>, weights: &[f64], pairs: usize, sums: &mut [f64]) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let length = (1 + pairs) * self.columns * GROUP;
        assert!(weights.len() >= 2 * pairs * rows.len() && sums.len() >= length, "short slices");
        if !rows.is_empty() {
            let weights = &weights[..2 * pairs * rows.len()];
            contract_pairs(self, rows, weights, &mut sums[..length]);
        }
    }
}

/// The sum of one element's partial sums.
#[inline]
pub fn total(sums: &[f64]) -> f64 {
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_agree_with_their_members() {
        let element = |r: usize, k: usize| ((r * 31 + k * 17 + 3) as f64 * 0.37).sin();
        for (rows, columns) in [(1, 1), (15, 3), (67, 9), (700, 13)] {
            let matrix = Panels::new(rows, columns, element);
            for pairs in [1, 2, 3, 5, 7, 10, 13, 26] {
                for range in [0..rows, rows / 3..rows, 0..rows.div_ceil(2), rows / 3..rows / 2] {
                    let n = range.len();
                    let b: Vec<f64> = (0..(1 + pairs) * columns).map(|i| (i as f64 * 0.71).cos()).collect();
                    let members: Vec<f64> = (0..2 * pairs * columns)
                        .map(|i| {
                            let (vector, k) = (i / columns, i % columns);
                            let sign = if vector % 2 == 0 { 1.0 } else { -1.0 };
                            b[k] + sign * b[(1 + vector / 2) * columns + k]
                        })
                        .collect();
                    let (mut out, mut wanted) = (vec![f64::NAN; 2 * pairs * n], vec![f64::NAN; 2 * pairs * n]);
                    matrix.multiply_pairs(range.clone(), &b, pairs, &mut out);
                    matrix.multiply(range.clone(), &members, 2 * pairs, &mut wanted);
                    assert!(
                        out.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-13),
                        "{rows} {columns} {pairs} {range:?}"
                    );
                    let w: Vec<f64> = (0..2 * pairs * n).map(|i| (i as f64 * 0.53).cos()).collect();
                    let mut sums = vec![0.25; (1 + pairs) * columns * GROUP];
                    matrix.contract_pairs(range.clone(), &w, pairs, &mut sums);
                    let mut each = vec![0.0; 2 * pairs * columns * GROUP];
                    matrix.contract(range.clone(), &w, 2 * pairs, &mut each);
                    let each: Vec<f64> = each.chunks(GROUP).map(total).collect();
                    for k in 0..columns {
                        let found = |vector: usize| total(&sums[(vector * columns + k) * GROUP..][..GROUP]) - 2.0;
                        let all: f64 = (0..2 * pairs).map(|s| each[s * columns + k]).sum();
                        assert!((found(0) - all).abs() < 1e-11, "{rows} {columns} {pairs} {range:?}");
                        for p in 0..pairs {
                            let half = 0.5 * (each[2 * p * columns + k] - each[(2 * p + 1) * columns + k]);
                            assert!((found(1 + p) - half).abs() < 1e-11, "{rows} {columns} {pairs} {range:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn products_agree_with_plain_sums_for_every_size_and_range() {
        let element = |r: usize, k: usize| ((r * 31 + k * 17 + 3) as f64 * 0.37).sin();
        for (rows, columns) in [(1, 1), (15, 3), (16, 4), (67, 9), (200, 13)] {
            let matrix = Panels::new(rows, columns, element);
            for vectors in [1, 2, 3, 5, 9, 10, 14, 23] {
                for range in [0..rows, rows / 3..rows, 0..rows.div_ceil(2), rows / 3..rows / 2] {
                    let n = range.len();
                    let b: Vec<f64> = (0..vectors * columns).map(|i| (i as f64 * 0.71).cos()).collect();
                    let mut out = vec![f64::NAN; vectors * n];
                    matrix.multiply(range.clone(), &b, vectors, &mut out);
                    let w: Vec<f64> = (0..vectors * n).map(|i| (i as f64 * 0.53).cos()).collect();
                    let mut sums = vec![0.25; vectors * columns * GROUP];
                    matrix.contract(range.clone(), &w, vectors, &mut sums);
                    for s in 0..vectors {
                        for i in 0..n {
                            let x = |k: usize| element(range.start + i, k);
                            let wanted: f64 = (0..columns).map(|k| x(k) * b[s * columns + k]).sum();
                            assert!((out[s * n + i] - wanted).abs() < 1e-13, "{rows} {columns} {vectors} {range:?}");
                        }
                        for k in 0..columns {
                            let wanted: f64 =
                                2.0 + (0..n).map(|i| element(range.start + i, k) * w[s * n + i]).sum::<f64>();
                            let found = total(&sums[(s * columns + k) * GROUP..][..GROUP]);
                            assert!((found - wanted).abs() < 1e-12, "{rows} {columns} {vectors} {range:?}");
                        }
                    }
                }
            }
        }
    }
}
