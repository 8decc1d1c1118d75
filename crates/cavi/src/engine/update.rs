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
        if let (Family::NormalVector(d), false) = (factor.family, factor.point) {
            let [mean, second, ..] = &mut statistics[..] else { return Ok(0.0) };
            return factorisations_by_pattern(d, &natural[0], &natural[1], mean, second, |i| weight(i / elements))
                .map_err(|(i, e)| self.broken(f, rows.start + i / elements, e));
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

/// Factorisations that are remembered within a chunk.
const MOST_PATTERNS: usize = 32;

/// A precision matrix J as the coefficient of xxᵀ, its Cholesky factor, its inverse, and the entropy of N(·, J⁻¹).
#[derive(Default)]
struct Factorisation {
    quadratic: Vec<f64>,
    lower: Vec<f64>,
    covariance: Vec<f64>,
    entropy: f64,
}

impl Factorisation {
    /// Takes the place of what was there.
    fn set(&mut self, d: usize, quadratic: &[f64]) -> Result<(), NaturalError> {
        self.quadratic.clear();
        self.quadratic.extend_from_slice(quadratic);
        self.lower.resize(d * d, 0.0);
        self.covariance.resize(d * d, 0.0);
        for i in 0..d {
            for j in 0..d {
                self.lower[i * d + j] = -(quadratic[i * d + j] + quadratic[j * d + i]);
            }
        }
        matrix::cholesky_in_place(&mut self.lower, d)
            .map_err(|_| NaturalError::new("a precision matrix that is not positive definite"))?;
        matrix::cholesky_inverse_into(&self.lower, d, &mut self.covariance);
        let log_two_pi_e = (2.0 * std::f64::consts::PI).ln() + 1.0;
        self.entropy = 0.5 * (d as f64 * log_two_pi_e - matrix::cholesky_log_determinant(&self.lower, d));
        Ok(())
    }
}

/// Gaussians whose precisions repeat, as those of rows with the same missing cells do: equal ones are factorised once.
///
/// Returns the sum of the entropies, each with its weight, or the place of the first without a distribution.
fn factorisations_by_pattern(
    d: usize,
    linear: &[f64],
    quadratic: &[f64],
    mean: &mut [f64],
    second: &mut [f64],
    weight: impl Fn(usize) -> f64,
) -> Result<f64, (usize, NaturalError)> {
    let mut known: Vec<Factorisation> = Vec::new();
    let mut oldest = MOST_PATTERNS - 1;
    let mut entropy = 0.0;
    let rows = linear.chunks_exact(d).zip(quadratic.chunks_exact(d * d));
    let targets = mean.chunks_exact_mut(d).zip(second.chunks_exact_mut(d * d));
    for (i, ((linear, quadratic), (mean, second))) in rows.zip(targets).enumerate() {
        let place = match known.iter().position(|f| f.quadratic == quadratic) {
            Some(place) => place,
            None => {
                let place = if known.len() < MOST_PATTERNS {
                    known.push(Factorisation::default());
                    known.len() - 1
                } else {
                    oldest = (oldest + 1) % MOST_PATTERNS;
                    oldest
                };
                known[place].set(d, quadratic).map_err(|e| (i, e))?;
                place
            }
        };
        let factorisation = &known[place];
        mean.copy_from_slice(linear);
        matrix::cholesky_solve(&factorisation.lower, d, mean);
        if mean.iter().any(|m| !m.is_finite()) {
            return Err((i, NaturalError::new("a mean that is not finite")));
        }
        for (row, (second, covariance)) in
            second.chunks_exact_mut(d).zip(factorisation.covariance.chunks_exact(d)).enumerate()
        {
            for ((s, c), m) in second.iter_mut().zip(covariance).zip(mean.iter()) {
                *s = c + mean[row] * m;
            }
        }
        entropy += weight(i) * factorisation.entropy;
    }
    Ok(entropy)
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
    let mut factorisation = Factorisation::default();
    factorisation.set(d, quadratic)?;
    let Factorisation { covariance, entropy, .. } = factorisation;
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
    Ok(entropy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_that_repeat_give_what_each_row_gives() {
        // Forty different precisions, more than are remembered, in runs and again after others.
        let (d, count) = (2, 200);
        let mut linear = Vec::new();
        let mut quadratic = Vec::new();
        for row in 0..count {
            let pattern = f64::from((row / 3 + row % 2) % 40);
            linear.extend([f64::from(row) - 90.0, 3.0]);
            quadratic.extend([-0.5 - 0.1 * pattern, -0.2, -0.2, -1.5]);
        }
        let (mut mean, mut second) = (vec![0.0; 400], vec![0.0; 800]);
        let weight = |row: usize| 1.0 + row as f64;
        let entropy =
            factorisations_by_pattern(d, &linear, &quadratic, &mut mean, &mut second, weight).unwrap_or(f64::NAN);
        let mut expected = 0.0;
        for row in 0..count as usize {
            // J = −2 · (coefficient of xxᵀ), inverted by Cramer's rule.
            let [a, b, c] = [-2.0 * quadratic[4 * row], -2.0 * quadratic[4 * row + 1], -2.0 * quadratic[4 * row + 3]];
            let determinant = a * c - b * b;
            let covariance = [c / determinant, -b / determinant, -b / determinant, a / determinant];
            let m: Vec<f64> = (0..2)
                .map(|i| covariance[2 * i] * linear[2 * row] + covariance[2 * i + 1] * linear[2 * row + 1])
                .collect();
            for i in 0..2 {
                assert!((mean[2 * row + i] - m[i]).abs() < 1e-11 * (1.0 + m[i].abs()));
                for j in 0..2 {
                    let moment = covariance[2 * i + j] + m[i] * m[j];
                    assert!((second[4 * row + 2 * i + j] - moment).abs() < 1e-10 * (1.0 + moment.abs()));
                }
            }
            expected += weight(row) * ((2.0 * std::f64::consts::PI).ln() + 1.0 - 0.5 * determinant.ln());
        }
        assert!((entropy - expected).abs() < 1e-9 * expected.abs(), "{entropy} {expected}");
    }

    #[test]
    fn a_precision_that_is_not_positive_is_named_by_its_place() {
        let quadratic = [-1.0, 1.0];
        let (mut mean, mut second) = ([0.0; 2], [0.0; 2]);
        let result = factorisations_by_pattern(1, &[1.0, 1.0], &quadratic, &mut mean, &mut second, |_| 1.0);
        assert!(matches!(result, Err((1, _))));
    }
}
