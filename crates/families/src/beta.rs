//! The beta distribution on (0, 1).

use crate::FamilyError;
use crate::dirichlet;
use crate::error::check_positive;
use crate::family::{ExponentialFamily, coordinates};
use crate::gamma;
use crate::special::{digamma, ln_beta, logistic};
use rand::Rng;

const NAME: &str = "beta";

/// Beta(x | α, β) = xᵅ⁻¹ (1 − x)ᵝ⁻¹ / B(α, β) on (0, 1) (Bishop PRML B.6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beta {
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

/// Natural parameters η = (α − 1, β − 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaNatural {
    /// α − 1, the coefficient of log x.
    pub log: f64,
    /// β − 1, the coefficient of log(1 − x).
    pub log_complement: f64,
}

/// Sufficient statistics T(x) = (log x, log(1 − x)), or their expectations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaExpectations {
    /// E\[log x\].
    pub mean_log: f64,
    /// E\[log(1 − x)\].
    pub mean_log_complement: f64,
}

coordinates!(BetaNatural: log, log_complement);
coordinates!(BetaExpectations: mean_log, mean_log_complement);

/// log Beta(x | alpha, beta).
#[inline]
pub fn log_density(x: f64, alpha: f64, beta: f64) -> f64 {
    if !(0.0..=1.0).contains(&x) {
        return f64::NEG_INFINITY;
    }
    let left = if alpha == 1.0 { 0.0 } else { (alpha - 1.0) * x.ln() };
    let right = if beta == 1.0 { 0.0 } else { (beta - 1.0) * (-x).ln_1p() };
    left + right - ln_beta(alpha, beta)
}

/// A = log B(α, β).
#[inline]
pub fn log_partition(alpha: f64, beta: f64) -> f64 {
    ln_beta(alpha, beta)
}

/// E\[log x\] = ψ(α) − ψ(α + β) and E\[log(1 − x)\] = ψ(β) − ψ(α + β).
#[inline]
pub fn expectations(alpha: f64, beta: f64) -> BetaExpectations {
    let total = digamma(alpha + beta);
    BetaExpectations { mean_log: digamma(alpha) - total, mean_log_complement: digamma(beta) - total }
}

/// log B(α, β) − (α − 1) E\[log x\] − (β − 1) E\[log(1 − x)\].
#[inline]
pub fn entropy(alpha: f64, beta: f64) -> f64 {
    let expected = expectations(alpha, beta);
    ln_beta(alpha, beta) - (alpha - 1.0) * expected.mean_log - (beta - 1.0) * expected.mean_log_complement
}

/// KL = log B(α′, β′) − log B(α, β) + (α − α′) ψ(α) + (β − β′) ψ(β) + (α′ − α + β′ − β) ψ(α + β).
#[inline]
pub fn kl(alpha: f64, beta: f64, other_alpha: f64, other_beta: f64) -> f64 {
    ln_beta(other_alpha, other_beta) - ln_beta(alpha, beta)
        + (alpha - other_alpha) * digamma(alpha)
        + (beta - other_beta) * digamma(beta)
        + (other_alpha - alpha + other_beta - beta) * digamma(alpha + beta)
}

/// α/(α + β).
#[inline]
pub fn mean(alpha: f64, beta: f64) -> f64 {
    alpha / (alpha + beta)
}

/// αβ/((α + β)² (α + β + 1)).
#[inline]
pub fn variance(alpha: f64, beta: f64) -> f64 {
    let total = alpha + beta;
    (alpha / total) * (beta / total) / (total + 1.0)
}

/// One draw, from two gammas in log space; not a number where a parameter is not positive.
pub fn sample<R: Rng + ?Sized>(random: &mut R, alpha: f64, beta: f64) -> f64 {
    let left = gamma::sample_log(random, alpha, 1.0);
    let right = gamma::sample_log(random, beta, 1.0);
    logistic(left - right)
}

impl Beta {
    /// Beta(alpha, beta).
    ///
    /// # Errors
    /// Where a parameter is not positive and finite.
    pub fn new(alpha: f64, beta: f64) -> Result<Self, FamilyError> {
        check_positive(NAME, "alpha", alpha)?;
        check_positive(NAME, "beta", beta)?;
        Ok(Self { alpha, beta })
    }

    /// α/(α + β).
    pub fn mean(&self) -> f64 {
        mean(self.alpha, self.beta)
    }

    /// αβ/((α + β)² (α + β + 1)).
    pub fn variance(&self) -> f64 {
        variance(self.alpha, self.beta)
    }

    /// (α − 1)/(α + β − 2).
    ///
    /// # Errors
    /// Where a parameter is not above 1: the density then is largest at the boundary, or everywhere the same.
    pub fn mode(&self) -> Result<f64, FamilyError> {
        if self.alpha > 1.0 && self.beta > 1.0 {
            Ok((self.alpha - 1.0) / (self.alpha + self.beta - 2.0))
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "alpha and beta must both be above 1" })
        }
    }
}

impl ExponentialFamily for Beta {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = BetaNatural;
    type Expectations = BetaExpectations;

    fn to_natural(&self) -> BetaNatural {
        BetaNatural { log: self.alpha - 1.0, log_complement: self.beta - 1.0 }
    }
    fn from_natural(natural: &BetaNatural) -> Result<Self, FamilyError> {
        Self::new(natural.log + 1.0, natural.log_complement + 1.0)
    }
    fn from_expectations(expectations: &BetaExpectations) -> Result<Self, FamilyError> {
        let expected_log = [expectations.mean_log, expectations.mean_log_complement];
        let concentration = dirichlet::concentration_from_expected_log(NAME, &expected_log)?;
        Self::new(concentration[0], concentration[1])
    }
    fn sufficient_statistics(&self, value: &f64) -> BetaExpectations {
        BetaExpectations { mean_log: value.ln(), mean_log_complement: (-value).ln_1p() }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.alpha, self.beta)
    }
    fn expectations(&self) -> BetaExpectations {
        expectations(self.alpha, self.beta)
    }
    fn entropy(&self) -> f64 {
        entropy(self.alpha, self.beta)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.alpha, self.beta, other.alpha, other.beta)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        sample(random, self.alpha, self.beta)
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.alpha, self.beta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_modes() {
        let beta = Beta::new(2.0, 3.0).unwrap();
        assert!((beta.mean() - 0.4).abs() < 1e-15 && (beta.variance() - 0.04).abs() < 1e-15);
        assert!((beta.mode().unwrap() - 1.0 / 3.0).abs() < 1e-15);
        assert!(matches!(Beta::new(1.0, 3.0).unwrap().mode(), Err(FamilyError::NoMode { .. })));
        assert_eq!(log_density(0.0, 1.0, 1.0), 0.0);
        assert_eq!(log_density(1.5, 2.0, 2.0), f64::NEG_INFINITY);
    }
}
