//! The exact posterior of linear Gaussian chains whose steps differ from row to row, in information form.
//!
//! ```text
//! log q(x) = Σ_t ( u_tᵀx_t − ½ x_tᵀP_t x_t + x_tᵀC_t x_{t−1} ) − A        C_t stands for nothing in first rows
//! ```
//!
//! Where all steps are alike, [`super::gaussian`] is the faster way to the same.

use rayon::prelude::*;
use vi_families::matrix::{cholesky_in_place, cholesky_inverse_into, cholesky_log_determinant};

use super::gaussian::LN_TWO_PI;
use super::sum::CompensatedSum;
use super::{ChainError, Group, check_length, check_starts, group_sequences};

/// Rows that one task works through at least.
const GROUP_ROWS: usize = 1024;

/// The terms of each row, and in their place afterwards its posterior.
#[derive(Debug)]
pub(crate) struct StepRows<'a> {
    /// Number of coordinates D of a state.
    pub dimension: usize,
    /// u_t, then `E[x_t]`, `[rows, D]`.
    pub linear: &'a mut [f64],
    /// P_t, symmetric, then Cov(x_t), `[rows, D, D]`.
    pub precision: &'a mut [f64],
    /// C_t, `[to, from]`, then Cov(x_t, x_{t−1}), `[rows, D, D]`; zero afterwards in first rows.
    pub coupling: &'a mut [f64],
}

/// What a pass over all sequences sums, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StepSummary {
    /// A = log ∫ exp(Σ_t …) dx.
    pub log_normalizer: f64,
    /// Entropy of the joint posterior.
    pub entropy: f64,
}

/// Computes the joint posterior of the states in place of the rows' terms; `starts` are the first rows of the sequences.
///
/// Rows are eliminated in their order and substituted back (PRML §13.3.1 in the form of eq. 2.113–2.117):
///
/// ```text
/// S_t = (P_t − C_t S_{t−1} C_tᵀ)⁻¹        m_t = S_t (u_t + C_t m_{t−1})        G_t = S_t C_{t+1}ᵀ
/// μ_t = m_t + G_t μ_{t+1}        Σ_t = S_t + G_t Σ_{t+1} G_tᵀ        Cov(x_{t+1}, x_t) = Σ_{t+1} G_tᵀ
/// ```
///
/// Results do not depend on the number of threads.
///
/// # Errors
///
/// Lengths or starts that do not fit, terms that are not finite, and a precision that is not positive definite.
pub(crate) fn smooth_steps(rows: StepRows<'_>, starts: &[usize]) -> Result<StepSummary, ChainError> {
    let d = rows.dimension;
    let num_rows = rows.linear.len().checked_div(d).unwrap_or(0);
    check_length("linear", rows.linear.len(), num_rows * d)?;
    check_length("precision", rows.precision.len(), num_rows * d * d)?;
    check_length("coupling", rows.coupling.len(), num_rows * d * d)?;
    check_starts(starts, num_rows)?;
    let mut groups = Vec::new();
    group_sequences(starts, num_rows, GROUP_ROWS, &mut groups);
    let (mut linear, mut precision, mut coupling) = (rows.linear, rows.precision, rows.coupling);
    let mut tasks: Vec<(&Group, StepRows<'_>)> = Vec::with_capacity(groups.len());
    for group in &groups {
        let count = group.rows.len();
        let (own_linear, rest) = std::mem::take(&mut linear).split_at_mut(count * d);
        linear = rest;
        let (own_precision, rest) = std::mem::take(&mut precision).split_at_mut(count * d * d);
        precision = rest;
        let (own_coupling, rest) = std::mem::take(&mut coupling).split_at_mut(count * d * d);
        coupling = rest;
        let own = StepRows { dimension: d, linear: own_linear, precision: own_precision, coupling: own_coupling };
        tasks.push((group, own));
    }
    let parts: Vec<Result<StepSummary, ChainError>> = tasks
        .into_par_iter()
        .map(|(group, mut rows)| {
            let mut scratch = vec![0.0; 2 * d * d];
            let (mut log_normalizer, mut entropy) = (CompensatedSum::default(), CompensatedSum::default());
            for position in group.sequences.clone() {
                let first = starts[position] - group.rows.start;
                let end = starts.get(position + 1).copied().unwrap_or(num_rows) - group.rows.start;
                for t in first..end {
                    let (normalizer, uncertainty) =
                        eliminate(&mut rows, t, t == first, &mut scratch).map_err(|finite| {
                            let row = group.rows.start + t;
                            if finite { ChainError::NotPositiveDefinite { row } } else { ChainError::NotFinite { row } }
                        })?;
                    log_normalizer.add(normalizer);
                    entropy.add(uncertainty);
                }
                for t in (first + 1..end).rev() {
                    substitute(&mut rows, t, &mut scratch);
                }
                rows.coupling[first * d * d..(first + 1) * d * d].fill(0.0);
            }
            Ok(StepSummary { log_normalizer: log_normalizer.value(), entropy: entropy.value() })
        })
        .collect();
    let mut total = StepSummary::default();
    for part in parts {
        let part = part?;
        total.log_normalizer += part.log_normalizer;
        total.entropy += part.entropy;
    }
    Ok(total)
}

/// Puts S_t, m_t and G_{t−1} in the place of a row's terms; its parts of A and of the entropy. On failure whether the terms
/// were finite.
fn eliminate(rows: &mut StepRows<'_>, t: usize, first: bool, scratch: &mut [f64]) -> Result<(f64, f64), bool> {
    let d = rows.dimension;
    let square = d * d;
    let (lower, gain) = scratch.split_at_mut(square);
    let (before, own) = rows.precision.split_at_mut(t * square);
    let precision = &mut own[..square];
    let (means_before, own) = rows.linear.split_at_mut(t * d);
    let linear = &mut own[..d];
    let coupling = &mut rows.coupling[t * square..(t + 1) * square];
    let finite = precision.iter().chain(&*linear).all(|x| x.is_finite());
    if !finite || !first && coupling.iter().any(|x| !x.is_finite()) {
        return Err(false);
    }
    if !first {
        let spread = &before[(t - 1) * square..];
        let mean = &means_before[(t - 1) * d..];
        for i in 0..d {
            for j in 0..d {
                gain[i * d + j] = (0..d).map(|k| spread[i * d + k] * coupling[j * d + k]).sum();
            }
        }
        for i in 0..d {
            linear[i] += (0..d).map(|k| coupling[i * d + k] * mean[k]).sum::<f64>();
            for j in 0..=i {
                let value = precision[i * d + j] - (0..d).map(|k| coupling[i * d + k] * gain[k * d + j]).sum::<f64>();
                precision[i * d + j] = value;
                precision[j * d + i] = value;
            }
        }
        coupling.copy_from_slice(gain);
    }
    lower.copy_from_slice(precision);
    cholesky_in_place(lower, d).map_err(|_| true)?;
    let half_log = 0.5 * cholesky_log_determinant(lower, d);
    cholesky_inverse_into(lower, d, precision);
    let mean = &mut gain[..d];
    for i in 0..d {
        mean[i] = (0..d).map(|k| precision[i * d + k] * linear[k]).sum();
    }
    let square_form: f64 = mean.iter().zip(&*linear).map(|(m, l)| m * l).sum();
    linear.copy_from_slice(mean);
    let half = 0.5 * d as f64;
    Ok((0.5 * square_form - half_log + half * LN_TWO_PI, half * (1.0 + LN_TWO_PI) - half_log))
}

/// Puts the posterior of the row before t in the place of its S and m, and Cov(x_t, x_{t−1}) in that of G_{t−1}.
fn substitute(rows: &mut StepRows<'_>, t: usize, scratch: &mut [f64]) {
    let d = rows.dimension;
    let square = d * d;
    let cross = &mut scratch[..square];
    let (before, own) = rows.precision.split_at_mut(t * square);
    let (spread, covariance) = (&mut before[(t - 1) * square..], &own[..square]);
    let (before, own) = rows.linear.split_at_mut(t * d);
    let (mean, next) = (&mut before[(t - 1) * d..], &own[..d]);
    let gain = &mut rows.coupling[t * square..(t + 1) * square];
    for i in 0..d {
        mean[i] += (0..d).map(|k| gain[i * d + k] * next[k]).sum::<f64>();
        for j in 0..d {
            cross[j * d + i] = (0..d).map(|k| covariance[j * d + k] * gain[i * d + k]).sum();
        }
    }
    for i in 0..d {
        for j in 0..=i {
            let value = spread[i * d + j] + (0..d).map(|k| gain[i * d + k] * cross[k * d + j]).sum::<f64>();
            spread[i * d + j] = value;
            spread[j * d + i] = value;
        }
    }
    gain.copy_from_slice(cross);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use vi_families::matrix::inverse_and_log_determinant;

    /// Random terms: [linear, precision, coupling].
    fn terms(d: usize, rows: usize) -> [Vec<f64>; 3] {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut random = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random::<f64>() - 0.5).collect() };
        let (linear, coupling, mut precision) = (random(rows * d), random(rows * d * d), random(rows * d * d));
        for matrix in precision.chunks_exact_mut(d * d) {
            for i in 0..d {
                for j in 0..i {
                    matrix[i * d + j] = matrix[j * d + i];
                }
                matrix[i * d + i] += 3.0 * d as f64;
            }
        }
        [linear, precision, coupling]
    }

    #[test]
    fn agrees_with_the_dense_joint_normal() {
        let (d, rows, starts) = (3, 7, [0, 4, 5]);
        let [linear, precision, coupling] = terms(d, rows);
        let n = d * rows;
        let mut joint = vec![0.0; n * n];
        for t in 0..rows {
            for i in 0..d {
                for j in 0..d {
                    joint[(t * d + i) * n + t * d + j] = precision[(t * d + i) * d + j];
                    if !starts.contains(&t) {
                        joint[(t * d + i) * n + (t - 1) * d + j] = -coupling[(t * d + i) * d + j];
                        joint[((t - 1) * d + j) * n + t * d + i] = -coupling[(t * d + i) * d + j];
                    }
                }
            }
        }
        let (inverse, log) = inverse_and_log_determinant(&joint, n).unwrap();
        let mean: Vec<f64> = (0..n).map(|i| (0..n).map(|j| inverse[i * n + j] * linear[j]).sum()).collect();
        let square: f64 = mean.iter().zip(&linear).map(|(m, l)| m * l).sum();
        let half = 0.5 * n as f64;
        let (mut means, mut covariances, mut lags) = (linear, precision, coupling);
        let own = StepRows { dimension: d, linear: &mut means, precision: &mut covariances, coupling: &mut lags };
        let summary = smooth_steps(own, &starts).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} instead of {b}");
        near(summary.log_normalizer, 0.5 * square - 0.5 * log + half * LN_TWO_PI);
        near(summary.entropy, half * (1.0 + LN_TWO_PI) - 0.5 * log);
        for t in 0..rows {
            for i in 0..d {
                near(means[t * d + i], mean[t * d + i]);
                for j in 0..d {
                    near(covariances[(t * d + i) * d + j], inverse[(t * d + i) * n + t * d + j]);
                    let lag = if starts.contains(&t) { 0.0 } else { inverse[(t * d + i) * n + (t - 1) * d + j] };
                    near(lags[(t * d + i) * d + j], lag);
                }
            }
        }
    }

    #[test]
    fn many_sequences_are_bitwise_the_same_on_any_number_of_threads() {
        let (d, rows) = (2, 9000);
        let starts: Vec<usize> = (0..rows).step_by(37).collect();
        let solve = |threads: usize| {
            let [mut linear, mut precision, mut coupling] = terms(d, rows);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let own =
                StepRows { dimension: d, linear: &mut linear, precision: &mut precision, coupling: &mut coupling };
            let summary = pool.install(|| smooth_steps(own, &starts)).unwrap();
            (summary, linear, precision, coupling)
        };
        assert_eq!(solve(1), solve(3));
    }

    #[test]
    fn mistakes_name_the_row() {
        let [mut linear, mut precision, mut coupling] = terms(1, 4);
        precision[2] = -1.0;
        let own = StepRows { dimension: 1, linear: &mut linear, precision: &mut precision, coupling: &mut coupling };
        assert_eq!(smooth_steps(own, &[0]), Err(ChainError::NotPositiveDefinite { row: 2 }));
        let [mut linear, mut precision, mut coupling] = terms(1, 4);
        coupling[3] = f64::NAN;
        let own = StepRows { dimension: 1, linear: &mut linear, precision: &mut precision, coupling: &mut coupling };
        assert_eq!(smooth_steps(own, &[0]), Err(ChainError::NotFinite { row: 3 }));
    }
}
