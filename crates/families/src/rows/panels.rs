//! A tall matrix in panels of rows, and its two products with a few vectors at once: values forwards, gradients back.
//!
//! Every sum runs over the same numbers in the same order on every instruction set with fused multiply-add.

use std::ops::Range;

use super::lanes::{Lanes, Pair};
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
    values: Vec<f64>,
}

/// Defines a function and compiles its body, a function of the registers and of how many of them make a group, for every instruction set.
macro_rules! with_every_register {
    (fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident;) => {
        fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn with_avx512($($argument: $type),*) {
                    $body::<std::arch::x86_64::__m512d, 1>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $type),*) {
                    $body::<std::arch::x86_64::__m256d, 2>($($argument),*);
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
            $body::<Pair, 4>($($argument),*);
        }
    };
}

with_every_register! {
    fn multiply(matrix: &Panels, rows: Range<usize>, coefficients: &[f64], out: &mut [f64]) = multiply_body;
}
with_every_register! {
    fn contract(matrix: &Panels, rows: Range<usize>, weights: &[f64], sums: &mut [f64]) = contract_body;
}

impl Panels {
    /// The matrix whose element in row `r` and column `k` is `element(r, k)`.
    pub fn new(rows: usize, columns: usize, element: impl Fn(usize, usize) -> f64) -> Self {
        let mut values = vec![0.0; rows.div_ceil(PANEL) * PANEL * columns];
        for (panel, values) in values.chunks_mut((PANEL * columns).max(1)).enumerate() {
            for (k, values) in values.chunks_mut(PANEL).enumerate() {
                for (lane, value) in values.iter_mut().enumerate().take(rows - panel * PANEL) {
                    *value = element(panel * PANEL + lane, k);
                }
            }
        }
        Self { rows, columns, values }
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
            contract(self, rows, weights, &mut sums[..length]);
        }
    }
}

/// The sum of one element's partial sums.
#[inline]
pub fn total(sums: &[f64]) -> f64 {
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

#[inline(always)]
fn multiply_body<V: Lanes, const G: usize>(matrix: &Panels, rows: Range<usize>, coefficients: &[f64], out: &mut [f64]) {
    let (columns, n) = (matrix.columns, rows.len());
    let vectors = out.len() / n;
    let mut spare = [0.0; PANEL * 10];
    let mut panel = rows.start / PANEL;
    while panel < rows.end.div_ceil(PANEL) {
        let base = panel * PANEL;
        let x = matrix.values[base * columns..].as_ptr();
        let four = vectors < 4 && base >= rows.start && base + 4 * PANEL <= rows.end;
        if V::TILE >= 4 && four {
            // Few vectors: four panels at a time, so that no sum waits for itself.
            for s in 0..vectors {
                let b = coefficients[s * columns..].as_ptr();
                let to = out[s * n + base - rows.start..].as_mut_ptr();
                // SAFETY: as below, with room for 64 numbers from `to`.
                unsafe { multiply_tile::<V, G, 1, 4>(x, b, columns, to, n) };
            }
            panel += 4;
            continue;
        }
        let whole = base >= rows.start && base + PANEL <= rows.end;
        let mut s = 0;
        while s < vectors {
            let b = coefficients[s * columns..].as_ptr();
            let (to, stride) =
                if whole { (out[s * n + base - rows.start..].as_mut_ptr(), n) } else { (spare.as_mut_ptr(), PANEL) };
            let left = vectors - s;
            // SAFETY: the panel has `columns` × 16 numbers, `coefficients` as many vectors as the tile, and each of them room for
            // sixteen numbers at its place in `out` or in `spare`; the registers are those of the enclosing function.
            let count = unsafe {
                if V::TILE >= 10 && left >= 10 {
                    multiply_tile::<V, G, 10, 1>(x, b, columns, to, stride)
                } else if V::TILE >= 4 && left >= 4 {
                    multiply_tile::<V, G, 4, 1>(x, b, columns, to, stride)
                } else if V::TILE >= 2 && left >= 2 {
                    multiply_tile::<V, G, 2, 1>(x, b, columns, to, stride)
                } else {
                    multiply_tile::<V, G, 1, 1>(x, b, columns, to, stride)
                }
            };
            if !whole {
                let (from, end) = (base.max(rows.start), (base + PANEL).min(rows.end));
                for d in 0..count {
                    out[(s + d) * n + from - rows.start..][..end - from]
                        .copy_from_slice(&spare[d * PANEL + from - base..d * PANEL + end - base]);
                }
            }
            s += count;
        }
        panel += 1;
    }
}

/// `P` panels by `D` vectors; returns `D`.
#[inline(always)]
unsafe fn multiply_tile<V: Lanes, const G: usize, const D: usize, const P: usize>(
    x: *const f64,
    coefficients: *const f64,
    columns: usize,
    to: *mut f64,
    stride: usize,
) -> usize {
    let width = GROUP / G;
    // SAFETY: as the caller's.
    unsafe {
        let mut sums = [[[[V::splat(0.0); G]; 2]; P]; D];
        for k in 0..columns {
            let mut values = [[[V::splat(0.0); G]; 2]; P];
            for p in 0..P {
                for half in 0..2 {
                    for g in 0..G {
                        values[p][half][g] = V::load(x.add((p * columns + k) * PANEL + half * GROUP + g * width));
                    }
                }
            }
            for d in 0..D {
                let b = V::splat(*coefficients.add(d * columns + k));
                for p in 0..P {
                    for half in 0..2 {
                        for g in 0..G {
                            sums[d][p][half][g] = values[p][half][g].multiply_add(b, sums[d][p][half][g]);
                        }
                    }
                }
            }
        }
        for d in 0..D {
            for p in 0..P {
                for half in 0..2 {
                    for g in 0..G {
                        sums[d][p][half][g].store(to.add(d * stride + p * PANEL + half * GROUP + g * width));
                    }
                }
            }
        }
    }
    D
}

#[inline(always)]
fn contract_body<V: Lanes, const G: usize>(matrix: &Panels, rows: Range<usize>, weights: &[f64], sums: &mut [f64]) {
    let (columns, n) = (matrix.columns, rows.len());
    let vectors = sums.len() / (columns * GROUP).max(1);
    let (first, last) = (rows.start.div_ceil(PANEL), rows.end / PANEL);
    // A part of a panel before the whole ones, and one after them.
    let parts = [rows.start..rows.end.min(first * PANEL), rows.start.max(last * PANEL)..rows.end];
    let parts = if last < first { [rows.clone(), 0..0] } else { parts };
    let mut spare = [0.0; PANEL * 5];
    let mut s = 0;
    while s < vectors {
        let left = vectors - s;
        let count = if V::TILE >= 5 && left >= 5 {
            5
        } else if V::TILE >= 4 && left >= 4 {
            4
        } else if V::TILE >= 2 && left >= 2 {
            2
        } else {
            1
        };
        let sums = &mut sums[s * columns * GROUP..(s + count) * columns * GROUP];
        // The whole panels, then the parts.
        for stage in 0..3 {
            let (panel, panels, from, stride) = if stage == 0 {
                if first >= last {
                    continue;
                }
                (first, last - first, weights[s * n + first * PANEL - rows.start..].as_ptr(), n)
            } else {
                let part = &parts[stage - 1];
                if part.is_empty() {
                    continue;
                }
                let base = part.start / PANEL * PANEL;
                spare.fill(0.0);
                for d in 0..count {
                    spare[d * PANEL + part.start - base..d * PANEL + part.end - base]
                        .copy_from_slice(&weights[(s + d) * n + part.start - rows.start..][..part.len()]);
                }
                (base / PANEL, 1, spare.as_ptr(), PANEL)
            };
            let x = matrix.values[panel * PANEL * columns..][..panels * PANEL * columns].as_ptr();
            let sums = sums.as_mut_ptr();
            // SAFETY: there are `panels` panels of `columns` × 16 numbers, sixteen weights of every vector for each of them, and
            // eight sums of every vector and column; the registers are those of the enclosing function.
            unsafe {
                match count {
                    5 => contract_columns::<V, G, 5, 4>(x, panels, columns, from, stride, sums),
                    4 => contract_columns::<V, G, 4, 4>(x, panels, columns, from, stride, sums),
                    2 if V::TILE < 4 => contract_columns::<V, G, 2, 2>(x, panels, columns, from, stride, sums),
                    2 => contract_columns::<V, G, 2, 8>(x, panels, columns, from, stride, sums),
                    _ if V::TILE < 4 => contract_columns::<V, G, 1, 4>(x, panels, columns, from, stride, sums),
                    _ => contract_columns::<V, G, 1, 8>(x, panels, columns, from, stride, sums),
                }
            }
        }
        s += count;
    }
}

/// `D` vectors of weights by all columns, `K` of them at a time.
#[inline(always)]
unsafe fn contract_columns<V: Lanes, const G: usize, const D: usize, const K: usize>(
    x: *const f64,
    panels: usize,
    columns: usize,
    weights: *const f64,
    stride: usize,
    sums: *mut f64,
) {
    let whole = columns / K * K;
    // SAFETY: as the caller's.
    unsafe {
        for k in (0..whole).step_by(K) {
            let (x, sums) = (x.add(k * PANEL), sums.add(k * GROUP));
            contract_tile::<V, G, D, K>(x, panels, columns, weights, stride, sums);
        }
        for k in whole..columns {
            let (x, sums) = (x.add(k * PANEL), sums.add(k * GROUP));
            contract_tile::<V, G, D, 1>(x, panels, columns, weights, stride, sums);
        }
    }
}

/// `D` vectors of weights by `K` columns over some panels.
#[inline(always)]
unsafe fn contract_tile<V: Lanes, const G: usize, const D: usize, const K: usize>(
    x: *const f64,
    panels: usize,
    columns: usize,
    weights: *const f64,
    stride: usize,
    sums: *mut f64,
) {
    let width = GROUP / G;
    // SAFETY: as the caller's.
    unsafe {
        let mut parts = [[[V::splat(0.0); G]; K]; D];
        for d in 0..D {
            for k in 0..K {
                for g in 0..G {
                    parts[d][k][g] = V::load(sums.add((d * columns + k) * GROUP + g * width));
                }
            }
        }
        for panel in 0..panels {
            for half in 0..2 {
                for g in 0..G {
                    let at = half * GROUP + g * width;
                    let mut w = [V::splat(0.0); D];
                    for d in 0..D {
                        w[d] = V::load(weights.add(d * stride + panel * PANEL + at));
                    }
                    for k in 0..K {
                        let value = V::load(x.add((panel * columns + k) * PANEL + at));
                        for d in 0..D {
                            parts[d][k][g] = value.multiply_add(w[d], parts[d][k][g]);
                        }
                    }
                }
            }
        }
        for d in 0..D {
            for k in 0..K {
                for g in 0..G {
                    parts[d][k][g].store(sums.add((d * columns + k) * GROUP + g * width));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
