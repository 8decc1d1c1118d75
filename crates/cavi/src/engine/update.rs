//! Updates of row-level factors in a chunk: natural parameters in, expected statistics out.

use std::ops::Range;
use std::slice::{ChunksExact, ChunksExactMut};

use vi_families::matrix;
use vi_families::product::product;
use vi_families::rows::softmax_rows_component_major;

use super::Engine;
use super::fused::transpose;
use super::local::Workspace;
use crate::error::CaviError;
use crate::factor::{Family, NaturalError, update};
use crate::program::FactorId;

/// Largest number of statistics of a family.
const MOST_STATISTICS: usize = 8;

impl Engine {
    /// Updates a row-level factor in a chunk from its natural parameters; returns its weighted entropy.
    pub(super) fn update_rows(
        &self,
        f: FactorId,
        rows: &Range<usize>,
        weights: Option<&[f64]>,
        workspace: &mut Workspace,
    ) -> Result<f64, CaviError> {
        let factor = &self.lowered.program.factors[f];
        let Workspace { natural, statistics, logits, probabilities, normalizer, .. } = workspace;
        let (natural, statistics) = (&natural[f], &mut statistics[f]);
        let count = rows.len();
        let elements = factor.elements();
        let weight = |row: usize| weights.map_or(1.0, |w| w[row]);
        if let (Family::Categorical(k), false) = (factor.family, factor.point) {
            // The categories apart, so that every loop runs along the rows.
            let number = count * elements;
            transpose(&natural[0], number, k, logits);
            probabilities.clear();
            probabilities.extend_from_slice(logits);
            normalizer.resize(number, 0.0);
            softmax_rows_component_major(probabilities, number, k, normalizer);
            if let Some(i) = normalizer.iter().position(|z| !z.is_finite()) {
                let error = NaturalError::new("no category is possible");
                return Err(self.broken(f, rows.start + i / elements, error));
            }
            transpose(probabilities, k, number, &mut statistics[0]);
            // H = log-sum-exp − Σ_k p_k · logit_k
            for (p, l) in probabilities.chunks_exact(number).zip(logits.chunks_exact(number)) {
                for ((h, p), l) in normalizer.iter_mut().zip(p).zip(l) {
                    *h -= p * l;
                }
            }
            let entropy = normalizer.iter().enumerate().map(|(i, h)| weight(i / elements) * h).sum();
            return Ok(entropy);
        }
        if let (Family::NormalVector(d), false, 1, true) =
            (factor.family, factor.point, elements, self.plan.invariant[f])
        {
            let total: f64 = (0..count).map(weight).sum();
            let [mean, second, ..] = &mut statistics[..] else { return Ok(0.0) };
            return shared_covariance(d, &natural[0], &natural[1], mean, second)
                .map(|entropy| total * entropy)
                .map_err(|e| self.broken(f, rows.start, e));
        }
        let mut own_arrays: Vec<ChunksExact<'_, f64>> =
            natural.iter().enumerate().map(|(s, n)| n.chunks_exact(factor.family.statistic_size(s).max(1))).collect();
        let mut expected_arrays: Vec<ChunksExactMut<'_, f64>> = statistics
            .iter_mut()
            .enumerate()
            .map(|(s, e)| e.chunks_exact_mut(factor.family.statistic_size(s).max(1)))
            .collect();
        let number = own_arrays.len();
        let mut entropy = 0.0;
        for i in 0..count * elements {
            let mut own: [&[f64]; MOST_STATISTICS] = [&[]; MOST_STATISTICS];
            let mut expected: [&mut [f64]; MOST_STATISTICS] = Default::default();
            for ((slot, target), (natural, statistic)) in
                own.iter_mut().zip(&mut expected).zip(own_arrays.iter_mut().zip(&mut expected_arrays))
            {
                *slot = natural.next().unwrap_or(&[]);
                *target = statistic.next().unwrap_or(&mut []);
            }
            let h = update(factor.family, factor.point, &own[..number], &mut expected[..number])
                .map_err(|e| self.broken(f, rows.start + i / elements, e))?;
            entropy += weight(i / elements) * h;
        }
        Ok(entropy)
    }

    /// The error of a row-level factor without a distribution.
    pub(super) fn broken(&self, f: FactorId, row: usize, error: NaturalError) -> CaviError {
        CaviError::Factor {
            factor: self.lowered.program.factors[f].name.clone(),
            element: format!(" at row {}", row + 1),
            iteration: self.iteration,
            reason: error.0,
        }
    }
}

/// Gaussians with one precision for all rows: J = −2 · (coefficient of xxᵀ) is inverted once, means are a matrix product.
///
/// Returns the entropy of one row.
fn shared_covariance(
    d: usize,
    linear: &[f64],
    quadratic: &[f64],
    mean: &mut [f64],
    second: &mut [f64],
) -> Result<f64, NaturalError> {
    let count = linear.len() / d;
    let mut lower = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..d {
            lower[i * d + j] = -(quadratic[i * d + j] + quadratic[j * d + i]);
        }
    }
    matrix::cholesky_in_place(&mut lower, d)
        .map_err(|_| NaturalError::new("a precision matrix that is not positive definite"))?;
    let mut covariance = vec![0.0; d * d];
    matrix::cholesky_inverse_into(&lower, d, &mut covariance);
    mean.fill(0.0);
    product(linear, &covariance, count, d, d, 1.0, mean);
    if mean.iter().any(|m| !m.is_finite()) {
        return Err(NaturalError::new("a mean that is not finite"));
    }
    for (mean, second) in mean.chunks_exact(d).zip(second.chunks_exact_mut(d * d)) {
        for i in 0..d {
            let row = &mut second[i * d..(i + 1) * d];
            for ((s, c), m) in row.iter_mut().zip(&covariance[i * d..(i + 1) * d]).zip(mean) {
                *s = c + mean[i] * m;
            }
        }
    }
    let log_two_pi_e = (2.0 * std::f64::consts::PI).ln() + 1.0;
    Ok(0.5 * (d as f64 * log_two_pi_e - matrix::cholesky_log_determinant(&lower, d)))
}
