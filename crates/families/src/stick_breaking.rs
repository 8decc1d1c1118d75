//! Stick-breaking weights: a truncated Dirichlet process as independent beta-distributed sticks.

use crate::FamilyError;
use crate::beta::{self, Beta};
use crate::dirichlet;
use crate::error::{check_length, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{digamma, ln_beta};
use rand::Rng;

const NAME: &str = "stick-breaking";

/// Sticks vₖ ~ Beta(αₖ, βₖ), k = 0 … K − 2, and weights πₖ = vₖ Π_{j<k} (1 − vⱼ), the last π_{K−1} = Π (1 − vⱼ)
/// (Blei & Jordan 2006, "Variational inference for Dirichlet process mixtures").
#[derive(Debug, Clone, PartialEq)]
pub struct StickBreaking {
    /// α of the sticks, `[num_weights − 1]`.
    pub alpha: Vec<f64>,
    /// β of the sticks, `[num_weights − 1]`.
    pub beta: Vec<f64>,
}

/// Natural parameters η = (αₖ − 1, βₖ − 1).
#[derive(Debug, Clone, PartialEq)]
pub struct StickBreakingNatural {
    /// αₖ − 1, the coefficients of log vₖ, `[num_weights − 1]`.
    pub log: Vec<f64>,
    /// βₖ − 1, the coefficients of log(1 − vₖ), `[num_weights − 1]`.
    pub log_complement: Vec<f64>,
}

/// Sufficient statistics T(v) = (log vₖ, log(1 − vₖ)), or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct StickBreakingExpectations {
    /// E\[log vₖ\] `[num_weights − 1]`.
    pub mean_log: Vec<f64>,
    /// E\[log(1 − vₖ)\] `[num_weights − 1]`.
    pub mean_log_complement: Vec<f64>,
}

coordinates!(StickBreakingNatural: log, log_complement);
coordinates!(StickBreakingExpectations: mean_log, mean_log_complement);

/// Writes E\[log πₖ\] = E\[log vₖ\] + Σ_{j<k} E\[log(1 − vⱼ)\]; sticks `[num_weights − 1]`, result `[num_weights]`.
pub fn expected_log_weights_into(alpha: &[f64], beta: &[f64], expected_log: &mut [f64]) {
    let mut rest = 0.0;
    for ((expected, a), b) in expected_log.iter_mut().zip(alpha).zip(beta) {
        let total = digamma(a + b);
        *expected = digamma(*a) - total + rest;
        rest += digamma(*b) - total;
    }
    if let Some(last) = expected_log.get_mut(alpha.len()) {
        *last = rest;
    }
}

/// Writes E\[πₖ\]; sticks `[num_weights − 1]`, result `[num_weights]`.
pub fn mean_weights_into(alpha: &[f64], beta: &[f64], mean: &mut [f64]) {
    let mut rest = 1.0;
    for ((element, a), b) in mean.iter_mut().zip(alpha).zip(beta) {
        *element = rest * a / (a + b);
        rest *= b / (a + b);
    }
    if let Some(last) = mean.get_mut(alpha.len()) {
        *last = rest;
    }
}

/// Writes the marginal variances of πₖ; sticks `[num_weights − 1]`, result `[num_weights]`.
pub fn variance_weights_into(alpha: &[f64], beta: &[f64], variance: &mut [f64]) {
    // E[v²] = α(α + 1)/((α + β)(α + β + 1)), and the same with the roles exchanged for 1 − v.
    let (mut mean, mut square) = (1.0, 1.0);
    for ((element, a), b) in variance.iter_mut().zip(alpha).zip(beta) {
        let total = a + b;
        let weight_mean = mean * a / total;
        *element = square * a * (a + 1.0) / (total * (total + 1.0)) - weight_mean * weight_mean;
        mean *= b / total;
        square *= b * (b + 1.0) / (total * (total + 1.0));
    }
    if let Some(last) = variance.get_mut(alpha.len()) {
        *last = square - mean * mean;
    }
}

/// Σ E\[log(1 − vₖ)\], the statistic that a latent concentration of the prior Beta(1, concentration) sees.
pub fn expected_log_remainder(alpha: &[f64], beta: &[f64]) -> f64 {
    alpha.iter().zip(beta).map(|(a, b)| digamma(*b) - digamma(a + b)).sum()
}

/// Writes the posterior sticks αₖ = 1 + Nₖ, βₖ = concentration + Σ_{j>k} Nⱼ of the weights' counts N `[num_weights]`.
pub fn posterior_from_counts_into(counts: &[f64], concentration: f64, alpha: &mut [f64], beta: &mut [f64]) {
    let mut later = 0.0;
    for k in (0..alpha.len().min(beta.len())).rev() {
        later += counts.get(k + 1).copied().unwrap_or(0.0);
        alpha[k] = 1.0 + counts[k];
        beta[k] = concentration + later;
    }
}

/// The sum of the sticks' entropies.
pub fn entropy(alpha: &[f64], beta: &[f64]) -> f64 {
    alpha.iter().zip(beta).map(|(a, b)| beta::entropy(*a, *b)).sum()
}

/// The sum of the sticks' divergences.
pub fn kl(alpha: &[f64], beta: &[f64], other_alpha: &[f64], other_beta: &[f64]) -> f64 {
    let others = other_alpha.iter().zip(other_beta);
    alpha.iter().zip(beta).zip(others).map(|((a, b), (c, d))| beta::kl(*a, *b, *c, *d)).sum()
}

impl StickBreaking {
    /// Sticks Beta(alphaₖ, betaₖ).
    ///
    /// # Errors
    /// Where the lists differ in length or an element is not positive and finite.
    pub fn new(alpha: Vec<f64>, beta: Vec<f64>) -> Result<Self, FamilyError> {
        check_length(NAME, "beta", beta.len(), alpha.len())?;
        for value in &alpha {
            check_positive(NAME, "alpha", *value)?;
        }
        for value in &beta {
            check_positive(NAME, "beta", *value)?;
        }
        Ok(Self { alpha, beta })
    }

    /// The Dirichlet process with the given concentration, truncated at `num_weights`: sticks Beta(1, concentration).
    ///
    /// # Errors
    /// Where there are no weights or the concentration is not positive and finite.
    pub fn prior(num_weights: usize, concentration: f64) -> Result<Self, FamilyError> {
        if num_weights == 0 {
            return Err(FamilyError::LengthMismatch { family: NAME, parameter: "weights", expected: 1, found: 0 });
        }
        check_positive(NAME, "concentration", concentration)?;
        Self::new(vec![1.0; num_weights - 1], vec![concentration; num_weights - 1])
    }

    /// K, one more than there are sticks.
    pub fn num_weights(&self) -> usize {
        self.alpha.len() + 1
    }

    /// E\[log πₖ\] `[num_weights]`.
    pub fn expected_log_weights(&self) -> Vec<f64> {
        let mut expected = vec![0.0; self.num_weights()];
        expected_log_weights_into(&self.alpha, &self.beta, &mut expected);
        expected
    }

    /// E\[πₖ\] `[num_weights]`.
    pub fn mean_weights(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.num_weights()];
        mean_weights_into(&self.alpha, &self.beta, &mut mean);
        mean
    }

    /// The marginal variances of πₖ `[num_weights]`.
    pub fn variance_weights(&self) -> Vec<f64> {
        let mut variance = vec![0.0; self.num_weights()];
        variance_weights_into(&self.alpha, &self.beta, &mut variance);
        variance
    }

    /// The weights `[num_weights]` of given sticks `[num_weights − 1]`.
    pub fn weights(sticks: &[f64]) -> Vec<f64> {
        let mut rest = 1.0;
        let mut weights = Vec::with_capacity(sticks.len() + 1);
        for stick in sticks {
            weights.push(rest * stick);
            rest *= 1.0 - stick;
        }
        weights.push(rest);
        weights
    }

    /// The modes of the sticks, `[num_weights − 1]`.
    ///
    /// # Errors
    /// Where a stick has no mode inside (0, 1).
    pub fn mode(&self) -> Result<Vec<f64>, FamilyError> {
        self.alpha.iter().zip(&self.beta).map(|(a, b)| Beta { alpha: *a, beta: *b }.mode()).collect()
    }
}

impl ExponentialFamily for StickBreaking {
    const NAME: &'static str = NAME;
    type Value = Vec<f64>;
    type Natural = StickBreakingNatural;
    type Expectations = StickBreakingExpectations;

    fn to_natural(&self) -> StickBreakingNatural {
        StickBreakingNatural {
            log: self.alpha.iter().map(|a| a - 1.0).collect(),
            log_complement: self.beta.iter().map(|b| b - 1.0).collect(),
        }
    }
    fn from_natural(natural: &StickBreakingNatural) -> Result<Self, FamilyError> {
        Self::new(
            natural.log.iter().map(|a| a + 1.0).collect(),
            natural.log_complement.iter().map(|b| b + 1.0).collect(),
        )
    }
    fn from_expectations(expectations: &StickBreakingExpectations) -> Result<Self, FamilyError> {
        check_length(NAME, "expected logarithms", expectations.mean_log_complement.len(), expectations.mean_log.len())?;
        let (mut alpha, mut beta) = (Vec::new(), Vec::new());
        for (log, log_complement) in expectations.mean_log.iter().zip(&expectations.mean_log_complement) {
            let stick = dirichlet::concentration_from_expected_log(NAME, &[*log, *log_complement])?;
            alpha.push(stick[0]);
            beta.push(stick[1]);
        }
        Self::new(alpha, beta)
    }
    fn sufficient_statistics(&self, value: &Vec<f64>) -> StickBreakingExpectations {
        StickBreakingExpectations {
            mean_log: value.iter().map(|v| v.ln()).collect(),
            mean_log_complement: value.iter().map(|v| (-v).ln_1p()).collect(),
        }
    }
    fn log_base_measure(&self, _value: &Vec<f64>) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    /// A = Σ log B(αₖ, βₖ).
    fn log_partition(&self) -> f64 {
        self.alpha.iter().zip(&self.beta).map(|(a, b)| ln_beta(*a, *b)).sum()
    }
    fn expectations(&self) -> StickBreakingExpectations {
        let sticks = self.alpha.iter().zip(&self.beta).map(|(a, b)| beta::expectations(*a, *b));
        let (mean_log, mean_log_complement) = sticks.map(|stick| (stick.mean_log, stick.mean_log_complement)).unzip();
        StickBreakingExpectations { mean_log, mean_log_complement }
    }
    fn entropy(&self) -> f64 {
        entropy(&self.alpha, &self.beta)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(&self.alpha, &self.beta, &other.alpha, &other.beta)
    }
    /// The sticks `[num_weights − 1]`; [`StickBreaking::weights`] turns them into weights.
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Vec<f64> {
        self.alpha.iter().zip(&self.beta).map(|(a, b)| beta::sample(random, *a, *b)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn weights_have_their_moments() {
        let family = StickBreaking::new(vec![2.0, 1.5, 4.0], vec![3.0, 2.5, 1.2]).unwrap();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let count = 100_000;
        let mut sums = [[0.0; 3]; 4];
        for _ in 0..count {
            for (sum, weight) in sums.iter_mut().zip(StickBreaking::weights(&family.sample(&mut random))) {
                sum[0] += weight;
                sum[1] += weight * weight;
                sum[2] += weight.ln();
            }
        }
        let (means, variances, logs) =
            (family.mean_weights(), family.variance_weights(), family.expected_log_weights());
        assert!((means.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        for k in 0..4 {
            let (mean, square, log) = (sums[k][0] / count as f64, sums[k][1] / count as f64, sums[k][2] / count as f64);
            assert!((mean - means[k]).abs() < 5.0 * (variances[k] / count as f64).sqrt());
            assert!((square - mean * mean - variances[k]).abs() < 0.02 * variances[k] + 1e-3);
            assert!((log - logs[k]).abs() < 0.03);
        }
    }

    #[test]
    fn counts_give_the_posterior_sticks() {
        let (mut alpha, mut beta) = (vec![0.0; 2], vec![0.0; 2]);
        posterior_from_counts_into(&[5.0, 3.0, 2.0], 0.5, &mut alpha, &mut beta);
        assert_eq!((alpha, beta), (vec![6.0, 4.0], vec![5.5, 2.5]));
        let prior = StickBreaking::prior(3, 2.0).unwrap();
        assert!((expected_log_remainder(&prior.alpha, &prior.beta) + 2.0 * 0.5).abs() < 1e-14);
        assert!(StickBreaking::prior(1, 2.0).unwrap().mean_weights() == vec![1.0]);
        assert!(prior.mode().is_err());
    }
}
