//! The gamma distribution with shape and rate.

use crate::FamilyError;
use crate::error::{check_finite, check_positive};
use crate::family::{ExponentialFamily, coordinates, increasing_root};
use crate::special::{digamma, ln_gamma, trigamma};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Open01};

const NAME: &str = "gamma";

/// Gamma(x | a, b) = bᵃ xᵃ⁻¹ exp(−b x) / Γ(a) on x > 0 (Bishop PRML B.26).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gamma {
    /// a.
    pub shape: f64,
    /// b, the inverse of the scale.
    pub rate: f64,
}

/// Natural parameters η = (a − 1, −b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaNatural {
    /// a − 1, the coefficient of log x.
    pub log: f64,
    /// −b, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistics T(x) = (log x, x), or their expectations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaExpectations {
    /// E\[log x\].
    pub mean_log: f64,
    /// E\[x\].
    pub mean: f64,
}

coordinates!(GammaNatural: log, value);
coordinates!(GammaExpectations: mean_log, mean);

/// log Gamma(x | shape, rate).
#[inline]
pub fn log_density(x: f64, shape: f64, rate: f64) -> f64 {
    if x < 0.0 {
        return f64::NEG_INFINITY;
    }
    let power = if shape == 1.0 { 0.0 } else { (shape - 1.0) * x.ln() };
    shape * rate.ln() - ln_gamma(shape) + power - rate * x
}

/// A = log Γ(a) − a log b.
#[inline]
pub fn log_partition(shape: f64, rate: f64) -> f64 {
    ln_gamma(shape) - shape * rate.ln()
}

/// E\[log x\] = ψ(a) − log b and E\[x\] = a/b (Bishop PRML B.27, B.30).
#[inline]
pub fn expectations(shape: f64, rate: f64) -> GammaExpectations {
    GammaExpectations { mean_log: digamma(shape) - rate.ln(), mean: shape / rate }
}

/// log Γ(a) − (a − 1) ψ(a) − log b + a (Bishop PRML B.31).
#[inline]
pub fn entropy(shape: f64, rate: f64) -> f64 {
    ln_gamma(shape) - (shape - 1.0) * digamma(shape) - rate.ln() + shape
}

/// KL(Gamma(a, b) ‖ Gamma(a′, b′)) = (a − a′) ψ(a) − log Γ(a) + log Γ(a′) + a′ log(b/b′) + a (b′ − b)/b.
#[inline]
pub fn kl(shape: f64, rate: f64, other_shape: f64, other_rate: f64) -> f64 {
    (shape - other_shape) * digamma(shape) - ln_gamma(shape)
        + ln_gamma(other_shape)
        + other_shape * (rate / other_rate).ln()
        + shape * (other_rate - rate) / rate
}

/// One draw of Gamma(shape, rate); not a number where a parameter is not positive.
pub fn sample<R: Rng + ?Sized>(random: &mut R, shape: f64, rate: f64) -> f64 {
    match rand_distr::Gamma::new(shape, 1.0 / rate) {
        Ok(distribution) => distribution.sample(random),
        Err(_) => f64::NAN,
    }
}

/// The logarithm of one draw of Gamma(shape, rate), which does not underflow for small shapes: log G_{a+1} + log(U)/a
/// (Marsaglia & Tsang 2000, §8); not a number where a parameter is not positive.
pub fn sample_log<R: Rng + ?Sized>(random: &mut R, shape: f64, rate: f64) -> f64 {
    if shape >= 1.0 {
        return sample(random, shape, rate).ln();
    }
    let uniform: f64 = random.sample(Open01);
    sample(random, shape + 1.0, rate).ln() + uniform.ln() / shape
}

impl Gamma {
    /// Gamma(shape, rate).
    ///
    /// # Errors
    /// Where a parameter is not positive and finite.
    pub fn new(shape: f64, rate: f64) -> Result<Self, FamilyError> {
        check_positive(NAME, "shape", shape)?;
        check_positive(NAME, "rate", rate)?;
        Ok(Self { shape, rate })
    }

    /// a/b.
    pub fn mean(&self) -> f64 {
        self.shape / self.rate
    }

    /// a/b².
    pub fn variance(&self) -> f64 {
        self.shape / (self.rate * self.rate)
    }

    /// (a − 1)/b (Bishop PRML B.29).
    ///
    /// # Errors
    /// Where the shape is not above 1: the density then is largest at 0, outside the support.
    pub fn mode(&self) -> Result<f64, FamilyError> {
        if self.shape > 1.0 {
            Ok((self.shape - 1.0) / self.rate)
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "the shape must be above 1" })
        }
    }
}

/// The a > 0 with log a − ψ(a) = gap, for gap > 0.
pub(crate) fn shape_from_gap(family: &'static str, gap: f64) -> Result<f64, FamilyError> {
    let condition = "the logarithm of the mean must exceed the mean of the logarithm";
    let refusal = FamilyError::NotAttainable { family, condition };
    if !(gap > 0.0 && gap.is_finite()) {
        return Err(refusal);
    }
    // Minka 2002, "Estimating a gamma distribution", for the start.
    let start = (3.0 - gap + ((gap - 3.0) * (gap - 3.0) + 24.0 * gap).sqrt()) / (12.0 * gap);
    increasing_root(0.0, start, |a| (digamma(a) - a.ln() + gap, trigamma(a) - 1.0 / a)).ok_or(refusal)
}

impl ExponentialFamily for Gamma {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = GammaNatural;
    type Expectations = GammaExpectations;

    fn to_natural(&self) -> GammaNatural {
        GammaNatural { log: self.shape - 1.0, value: -self.rate }
    }
    fn from_natural(natural: &GammaNatural) -> Result<Self, FamilyError> {
        Self::new(natural.log + 1.0, -natural.value)
    }
    fn from_expectations(expectations: &GammaExpectations) -> Result<Self, FamilyError> {
        check_positive(NAME, "mean", expectations.mean)?;
        check_finite(NAME, "mean of the logarithm", expectations.mean_log)?;
        let shape = shape_from_gap(NAME, expectations.mean.ln() - expectations.mean_log)?;
        Self::new(shape, shape / expectations.mean)
    }
    fn sufficient_statistics(&self, value: &f64) -> GammaExpectations {
        GammaExpectations { mean_log: value.ln(), mean: *value }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.shape, self.rate)
    }
    fn expectations(&self) -> GammaExpectations {
        expectations(self.shape, self.rate)
    }
    fn entropy(&self) -> f64 {
        entropy(self.shape, self.rate)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.shape, self.rate, other.shape, other.rate)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        sample(random, self.shape, self.rate)
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.shape, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn log_samples_of_a_small_shape_have_the_right_mean() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (shape, count) = (1e-3, 20_000);
        let mean = (0..count).map(|_| sample_log(&mut random, shape, 2.0)).sum::<f64>() / count as f64;
        let error = (trigamma(shape) / count as f64).sqrt();
        assert!((mean - expectations(shape, 2.0).mean_log).abs() < 5.0 * error);
    }

    #[test]
    fn mode_and_refusals() {
        assert_eq!(Gamma::new(3.0, 4.0).unwrap().mode(), Ok(0.5));
        assert!(matches!(Gamma::new(0.5, 4.0).unwrap().mode(), Err(FamilyError::NoMode { .. })));
        assert!(Gamma::new(-1.0, 1.0).is_err());
        assert!(Gamma::from_expectations(&GammaExpectations { mean_log: 1.0, mean: 1.0 }).is_err());
        assert_eq!(log_density(0.0, 1.0, 2.0), 2f64.ln());
    }
}
