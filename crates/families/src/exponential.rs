//! The exponential distribution with a rate.

use crate::FamilyError;
use crate::error::check_positive;
use crate::family::{ExponentialFamily, coordinates};
use rand::Rng;
use rand_distr::{Distribution, Exp1};

const NAME: &str = "exponential";

/// Exponential(x | λ) = λ e^(−λx) on x ≥ 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// λ.
    pub rate: f64,
}

/// Natural parameter η = −λ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialNatural {
    /// −λ, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistic T(x) = x, or its expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialExpectations {
    /// E\[x\] = 1/λ.
    pub mean: f64,
}

coordinates!(ExponentialNatural: value);
coordinates!(ExponentialExpectations: mean);

/// log Exponential(x | rate).
#[inline]
pub fn log_density(x: f64, rate: f64) -> f64 {
    if x < 0.0 { f64::NEG_INFINITY } else { rate.ln() - rate * x }
}

/// 1 − log λ.
#[inline]
pub fn entropy(rate: f64) -> f64 {
    1.0 - rate.ln()
}

/// log(λ/λ′) + λ′/λ − 1.
#[inline]
pub fn kl(rate: f64, other_rate: f64) -> f64 {
    let excess = (other_rate - rate) / rate;
    excess - excess.ln_1p()
}

impl Exponential {
    /// Exponential(rate).
    ///
    /// # Errors
    /// Where the rate is not positive and finite.
    pub fn new(rate: f64) -> Result<Self, FamilyError> {
        check_positive(NAME, "rate", rate)?;
        Ok(Self { rate })
    }

    /// 1/λ.
    pub fn mean(&self) -> f64 {
        1.0 / self.rate
    }

    /// 1/λ².
    pub fn variance(&self) -> f64 {
        1.0 / (self.rate * self.rate)
    }

    /// Always refused: the density is largest at 0, on the boundary of the support.
    ///
    /// # Errors
    /// Always.
    pub fn mode(&self) -> Result<f64, FamilyError> {
        Err(FamilyError::NoMode {
            family: NAME,
            condition: "the density is largest at 0, whatever the rate; a gamma with a shape above 1 has a mode",
        })
    }
}

impl ExponentialFamily for Exponential {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = ExponentialNatural;
    type Expectations = ExponentialExpectations;

    fn to_natural(&self) -> ExponentialNatural {
        ExponentialNatural { value: -self.rate }
    }
    fn from_natural(natural: &ExponentialNatural) -> Result<Self, FamilyError> {
        Self::new(-natural.value)
    }
    fn from_expectations(expectations: &ExponentialExpectations) -> Result<Self, FamilyError> {
        check_positive(NAME, "mean", expectations.mean)?;
        Self::new(1.0 / expectations.mean)
    }
    fn sufficient_statistics(&self, value: &f64) -> ExponentialExpectations {
        ExponentialExpectations { mean: *value }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    /// A = −log λ.
    fn log_partition(&self) -> f64 {
        -self.rate.ln()
    }
    fn expectations(&self) -> ExponentialExpectations {
        ExponentialExpectations { mean: 1.0 / self.rate }
    }
    fn entropy(&self) -> f64 {
        entropy(self.rate)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.rate, other.rate)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        let standard: f64 = Exp1.sample(random);
        standard / self.rate
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_gamma_of_shape_one() {
        assert!((log_density(0.7, 2.5) - crate::gamma::log_density(0.7, 1.0, 2.5)).abs() < 1e-14);
        assert!((entropy(2.5) - crate::gamma::entropy(1.0, 2.5)).abs() < 1e-14);
        assert!((kl(2.5, 0.3) - crate::gamma::kl(1.0, 2.5, 1.0, 0.3)).abs() < 1e-13);
        assert_eq!(log_density(-0.1, 2.5), f64::NEG_INFINITY);
        assert!(Exponential::new(2.0).unwrap().mode().is_err());
    }
}
