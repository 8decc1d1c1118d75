//! The scalar normal distribution N(mean, 1/precision).

use crate::FamilyError;
use crate::error::{check_finite, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{HALF_LN_TWO_PI, LN_TWO_PI};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

const NAME: &str = "normal";

/// N(x | μ, τ⁻¹) = √(τ/2π) exp(−½ τ (x − μ)²) (Bishop PRML 1.46).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    /// μ.
    pub mean: f64,
    /// τ, the inverse variance.
    pub precision: f64,
}

/// Natural parameters η = (τμ, −½τ).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalNatural {
    /// τμ, the coefficient of x.
    pub value: f64,
    /// −½τ, the coefficient of x².
    pub square: f64,
}

/// Sufficient statistics T(x) = (x, x²), or their expectations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalExpectations {
    /// E\[x\].
    pub mean: f64,
    /// E\[x²\].
    pub mean_square: f64,
}

coordinates!(NormalNatural: value, square);
coordinates!(NormalExpectations: mean, mean_square);

/// log N(x | mean, 1/precision).
#[inline]
pub fn log_density(x: f64, mean: f64, precision: f64) -> f64 {
    let residual = x - mean;
    0.5 * precision.ln() - HALF_LN_TWO_PI - 0.5 * precision * residual * residual
}

/// A = ½ τμ² − ½ log τ.
#[inline]
pub fn log_partition(mean: f64, precision: f64) -> f64 {
    0.5 * precision * mean * mean - 0.5 * precision.ln()
}

/// E\[x\] and E\[x²\] = μ² + 1/τ.
#[inline]
pub fn expectations(mean: f64, precision: f64) -> NormalExpectations {
    NormalExpectations { mean, mean_square: mean * mean + 1.0 / precision }
}

/// ½ (1 + log 2π − log τ).
#[inline]
pub fn entropy(precision: f64) -> f64 {
    0.5 * (1.0 + LN_TWO_PI - precision.ln())
}

/// KL(N(mean, 1/precision) ‖ N(other_mean, 1/other_precision)) = ½ (ρ − 1 − log ρ + τ′ (μ − μ′)²), ρ = τ′/τ.
#[inline]
pub fn kl(mean: f64, precision: f64, other_mean: f64, other_precision: f64) -> f64 {
    let excess = (other_precision - precision) / precision;
    let difference = mean - other_mean;
    0.5 * (excess - excess.ln_1p() + other_precision * difference * difference)
}

/// One draw of N(mean, 1/precision).
#[inline]
pub fn sample<R: Rng + ?Sized>(random: &mut R, mean: f64, precision: f64) -> f64 {
    let standard: f64 = StandardNormal.sample(random);
    mean + standard / precision.sqrt()
}

impl Normal {
    /// N(mean, 1/precision).
    ///
    /// # Errors
    /// Where the mean is not finite or the precision is not positive and finite.
    pub fn new(mean: f64, precision: f64) -> Result<Self, FamilyError> {
        check_finite(NAME, "mean", mean)?;
        check_positive(NAME, "precision", precision)?;
        Ok(Self { mean, precision })
    }

    /// 1/τ.
    pub fn variance(&self) -> f64 {
        1.0 / self.precision
    }

    /// The mean, where the density is largest.
    pub fn mode(&self) -> f64 {
        self.mean
    }
}

impl ExponentialFamily for Normal {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = NormalNatural;
    type Expectations = NormalExpectations;

    fn to_natural(&self) -> NormalNatural {
        NormalNatural { value: self.precision * self.mean, square: -0.5 * self.precision }
    }
    fn from_natural(natural: &NormalNatural) -> Result<Self, FamilyError> {
        let precision = -2.0 * natural.square;
        check_positive(NAME, "precision", precision)?;
        Self::new(natural.value / precision, precision)
    }
    fn from_expectations(expectations: &NormalExpectations) -> Result<Self, FamilyError> {
        let variance = expectations.mean_square - expectations.mean * expectations.mean;
        check_positive(NAME, "variance", variance)?;
        Self::new(expectations.mean, 1.0 / variance)
    }
    fn sufficient_statistics(&self, value: &f64) -> NormalExpectations {
        NormalExpectations { mean: *value, mean_square: value * value }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        -HALF_LN_TWO_PI
    }
    fn expected_log_base_measure(&self) -> f64 {
        -HALF_LN_TWO_PI
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.mean, self.precision)
    }
    fn expectations(&self) -> NormalExpectations {
        expectations(self.mean, self.precision)
    }
    fn entropy(&self) -> f64 {
        entropy(self.precision)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.mean, self.precision, other.mean, other.precision)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        sample(random, self.mean, self.precision)
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.mean, self.precision)
    }
}
