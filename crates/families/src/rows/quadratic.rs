//! Quadratic forms of the differences between rows and a few centres, and the weighted moments that are their derivatives.
//!
//! With d = x_r − m_c, component c has the parameters (o, m, s) `[1 + D + D(D + 1)/2]`: an offset, a centre and the lower triangle of
//! coefficients, row by row; its value in row r is o + Σ_{i ≥ j} sᵢⱼ dᵢ dⱼ.

use super::double::multiply_add;
use super::for_every_instruction_set;

/// Rows that are worked on together.
pub const LANES: usize = 8;
/// Inputs at most.
pub const MAX_INPUTS: usize = 32;

/// Numbers of a component's parameters, and of its moments.
#[must_use]
pub fn width(inputs: usize) -> usize {
    1 + inputs + inputs * (inputs + 1) / 2
}

/// Columns of numbers, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// `[inputs, stride]`.
    pub values: &'a [f64],
    /// Numbers of a column.
    pub stride: usize,
    /// First row of those in question.
    pub start: usize,
    /// Number of rows in question.
    pub rows: usize,
    /// Number of columns.
    pub inputs: usize,
}

impl Columns<'_> {
    /// Up to eight rows from row `at` of those in question; zeros where there are none.
    #[inline(always)]
    fn load(&self, at: usize, to: &mut [[f64; LANES]; MAX_INPUTS]) {
        for (i, to) in to.iter_mut().enumerate().take(self.inputs) {
            let from = &self.values[i * self.stride + self.start + at..][..LANES.min(self.rows - at)];
            match from.split_first_chunk::<LANES>() {
                Some((whole, _)) => *to = *whole,
                None => {
                    *to = [0.0; LANES];
                    to[..from.len()].copy_from_slice(from);
                }
            }
        }
    }
}

#[inline(always)]
fn values_body<const FUSED: bool>(columns: Columns<'_>, parameters: &[f64], values: &mut [f64]) {
    let width = width(columns.inputs);
    let components = parameters.len() / width;
    let mut x = [[0.0; LANES]; MAX_INPUTS];
    let mut d = [[0.0; LANES]; MAX_INPUTS];
    for at in (0..columns.rows).step_by(LANES) {
        columns.load(at, &mut x);
        let count = LANES.min(columns.rows - at);
        let to = &mut values[at * components..(at + count) * components];
        for (c, p) in parameters.chunks_exact(width).enumerate() {
            let (m, s) = p[1..].split_at(columns.inputs);
            let mut sum = [p[0]; LANES];
            let mut place = 0;
            for i in 0..columns.inputs {
                let mut inner = [0.0; LANES];
                for (d, s) in d[..i].iter().zip(&s[place..]) {
                    for lane in 0..LANES {
                        inner[lane] = multiply_add::<FUSED>(*s, d[lane], inner[lane]);
                    }
                }
                place += i;
                for lane in 0..LANES {
                    d[i][lane] = x[i][lane] - m[i];
                    inner[lane] = multiply_add::<FUSED>(s[place], d[i][lane], inner[lane]);
                    sum[lane] = multiply_add::<FUSED>(d[i][lane], inner[lane], sum[lane]);
                }
                place += 1;
            }
            for (row, sum) in to.chunks_exact_mut(components).zip(sum) {
                row[c] = sum;
            }
        }
    }
}

#[inline(always)]
fn moments_body<const FUSED: bool>(columns: Columns<'_>, parameters: &[f64], weights: &[f64], sums: &mut [f64]) {
    let width = width(columns.inputs);
    let components = parameters.len() / width;
    let (sums, _) = sums.as_chunks_mut::<LANES>();
    let mut x = [[0.0; LANES]; MAX_INPUTS];
    let mut d = [[0.0; LANES]; MAX_INPUTS];
    for at in (0..columns.rows).step_by(LANES) {
        columns.load(at, &mut x);
        let count = LANES.min(columns.rows - at);
        let from = &weights[at * components..(at + count) * components];
        for ((c, p), sums) in parameters.chunks_exact(width).enumerate().zip(sums.chunks_exact_mut(width)) {
            let m = &p[1..1 + columns.inputs];
            let mut weight = [0.0; LANES];
            for (weight, row) in weight.iter_mut().zip(from.chunks_exact(components)) {
                *weight = row[c];
            }
            for lane in 0..LANES {
                sums[0][lane] += weight[lane];
            }
            let (first, second) = sums[1..].split_at_mut(columns.inputs);
            let mut place = 0;
            for i in 0..columns.inputs {
                let mut weighted = [0.0; LANES];
                for lane in 0..LANES {
                    d[i][lane] = x[i][lane] - m[i];
                    weighted[lane] = weight[lane] * d[i][lane];
                    first[i][lane] += weighted[lane];
                }
                for (sum, d) in second[place..].iter_mut().zip(&d[..=i]) {
                    for lane in 0..LANES {
                        sum[lane] = multiply_add::<FUSED>(weighted[lane], d[lane], sum[lane]);
                    }
                }
                place += i + 1;
            }
        }
    }
}

for_every_instruction_set! {
    /// The values of all components in all rows: `parameters` is `[components, width]`, `values` `[rows, components]`.
    ///
    /// # Panics
    /// Where a slice is shorter than its shape, or there are more than [`MAX_INPUTS`] columns.
    pub fn quadratic_values(columns: Columns<'_>, parameters: &[f64], values: &mut [f64]) = values_body;

    /// Adds Σ_r w, Σ_r w dᵢ and Σ_r w dᵢ dⱼ (i ≥ j), in [`LANES`] partial sums each, for every component: `weights` is `[rows, components]`,
    /// `sums` `[components, width, LANES]`.
    ///
    /// # Panics
    /// Where a slice is shorter than its shape, or there are more than [`MAX_INPUTS`] columns.
    pub fn quadratic_moments(columns: Columns<'_>, parameters: &[f64], weights: &[f64], sums: &mut [f64]) = moments_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_moments_agree_with_plain_sums() {
        for (inputs, components, num_rows) in [(1, 1, 5), (2, 6, 40), (5, 3, 67), (17, 2, 9)] {
            let x: Vec<f64> = (0..inputs * num_rows).map(|i| (i as f64 * 0.37).sin()).collect();
            let w = width(inputs);
            let p: Vec<f64> = (0..components * w).map(|i| (i as f64 * 0.71).cos()).collect();
            for start in [0, 3] {
                let rows = num_rows - start;
                let columns = Columns { values: &x, stride: num_rows, start, rows, inputs };
                let mut values = vec![f64::NAN; rows * components];
                quadratic_values(columns, &p, &mut values);
                let g: Vec<f64> = (0..rows * components).map(|i| (i as f64 * 0.53).cos()).collect();
                let mut sums = vec![0.5; components * w * LANES];
                quadratic_moments(columns, &p, &g, &mut sums);
                for c in 0..components {
                    let p = &p[c * w..(c + 1) * w];
                    let mut wanted = vec![4.0; w];
                    for r in 0..rows {
                        let d: Vec<f64> = (0..inputs).map(|i| x[i * num_rows + start + r] - p[1 + i]).collect();
                        let weight = g[r * components + c];
                        let (mut value, mut at) = (p[0], 1 + inputs);
                        wanted[0] += weight;
                        for i in 0..inputs {
                            wanted[1 + i] += weight * d[i];
                            for j in 0..=i {
                                value += p[at] * d[i] * d[j];
                                wanted[at] += weight * d[i] * d[j];
                                at += 1;
                            }
                        }
                        assert!((values[r * components + c] - value).abs() < 1e-11 * (1.0 + value.abs()));
                    }
                    for (k, wanted) in wanted.iter().enumerate() {
                        let found: f64 = sums[(c * w + k) * LANES..][..LANES].iter().sum();
                        assert!((found - wanted).abs() < 1e-11, "{inputs} {components} {k}: {found} {wanted}");
                    }
                }
            }
        }
    }
}
