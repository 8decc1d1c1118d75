//! The inverse gamma distribution with shape and scale.

use crate::FamilyError;
use crate::error::{check_finite, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::gamma::{self, shape_from_gap};
use crate::special::{digamma, ln_gamma};
use rand::Rng;

const NAME: &str = "inverse-gamma";

/// InverseGamma(x | a, b) = bᵃ x⁻ᵃ⁻¹ exp(−b/x) / Γ(a) on x > 0; 1/x is Gamma(a, b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseGamma {
    /// a.
    pub shape: f64,
    /// b.
    pub scale: f64,
}

/// Natural parameters η = (−a − 1, −b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseGammaNatural {
    /// −a − 1, the coefficient of log x.
    pub log: f64,
    /// −b, the coefficient of 1/x.
    pub inverse: f64,
}

/// Sufficient statistics T(x) = (log x, 1/x), or their expectations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseGammaExpectations {
    /// E\[log x\].
    pub mean_log: f64,
    /// E\[1/x\].
    pub mean_inverse: f64,
}

coordinates!(InverseGammaNatural: log, inverse);
coordinates!(InverseGammaExpectations: mean_log, mean_inverse);

/// log InverseGamma(x | shape, scale).
#[inline]
pub fn log_density(x: f64, shape: f64, scale: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    shape * scale.ln() - ln_gamma(shape) - (shape + 1.0) * x.ln() - scale / x
}

/// A = log Γ(a) − a log b.
#[inline]
pub fn log_partition(shape: f64, scale: f64) -> f64 {
    gamma::log_partition(shape, scale)
}

/// E\[log x\] = log b − ψ(a) and E\[1/x\] = a/b.
#[inline]
pub fn expectations(shape: f64, scale: f64) -> InverseGammaExpectations {
    InverseGammaExpectations { mean_log: scale.ln() - digamma(shape), mean_inverse: shape / scale }
}

/// a + log b + log Γ(a) − (1 + a) ψ(a).
#[inline]
pub fn entropy(shape: f64, scale: f64) -> f64 {
    shape + scale.ln() + ln_gamma(shape) - (1.0 + shape) * digamma(shape)
}

/// KL between two inverse gammas, which is that between the gammas of 1/x.
#[inline]
pub fn kl(shape: f64, scale: f64, other_shape: f64, other_scale: f64) -> f64 {
    gamma::kl(shape, scale, other_shape, other_scale)
}

/// One draw; not a number where a parameter is not positive.
pub fn sample<R: Rng + ?Sized>(random: &mut R, shape: f64, scale: f64) -> f64 {
    (-gamma::sample_log(random, shape, scale)).exp()
}

impl InverseGamma {
    /// InverseGamma(shape, scale).
    ///
    /// # Errors
    /// Where a parameter is not positive and finite.
    pub fn new(shape: f64, scale: f64) -> Result<Self, FamilyError> {
        check_positive(NAME, "shape", shape)?;
        check_positive(NAME, "scale", scale)?;
        Ok(Self { shape, scale })
    }

    /// b/(a − 1).
    ///
    /// # Errors
    /// Where the shape is not above 1: the mean then is infinite.
    pub fn mean(&self) -> Result<f64, FamilyError> {
        if self.shape > 1.0 {
            Ok(self.scale / (self.shape - 1.0))
        } else {
            Err(FamilyError::InfiniteMoment {
                family: NAME,
                moment: "mean",
                condition: "it is finite where the shape is above 1",
            })
        }
    }

    /// b²/((a − 1)² (a − 2)).
    ///
    /// # Errors
    /// Where the shape is not above 2: the variance then is infinite.
    pub fn variance(&self) -> Result<f64, FamilyError> {
        if self.shape > 2.0 {
            let mean = self.scale / (self.shape - 1.0);
            Ok(mean * mean / (self.shape - 2.0))
        } else {
            Err(FamilyError::InfiniteMoment {
                family: NAME,
                moment: "variance",
                condition: "it is finite where the shape is above 2",
            })
        }
    }

    /// b/(a + 1).
    pub fn mode(&self) -> f64 {
        self.scale / (self.shape + 1.0)
    }
}

impl ExponentialFamily for InverseGamma {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = InverseGammaNatural;
    type Expectations = InverseGammaExpectations;

    fn to_natural(&self) -> InverseGammaNatural {
        InverseGammaNatural { log: -self.shape - 1.0, inverse: -self.scale }
    }
    fn from_natural(natural: &InverseGammaNatural) -> Result<Self, FamilyError> {
        Self::new(-natural.log - 1.0, -natural.inverse)
    }
    fn from_expectations(expectations: &InverseGammaExpectations) -> Result<Self, FamilyError> {
        check_positive(NAME, "mean of the inverse", expectations.mean_inverse)?;
        check_finite(NAME, "mean of the logarithm", expectations.mean_log)?;
        let shape = shape_from_gap(NAME, expectations.mean_inverse.ln() + expectations.mean_log)?;
        Self::new(shape, shape / expectations.mean_inverse)
    }
    fn sufficient_statistics(&self, value: &f64) -> InverseGammaExpectations {
        InverseGammaExpectations { mean_log: value.ln(), mean_inverse: 1.0 / value }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.shape, self.scale)
    }
    fn expectations(&self) -> InverseGammaExpectations {
        expectations(self.shape, self.scale)
    }
    fn entropy(&self) -> f64 {
        entropy(self.shape, self.scale)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.shape, self.scale, other.shape, other.scale)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        sample(random, self.shape, self.scale)
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.shape, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_refused_where_infinite() {
        let wide = InverseGamma::new(1.0, 2.0).unwrap();
        assert!(matches!(wide.mean(), Err(FamilyError::InfiniteMoment { .. })));
        let narrow = InverseGamma::new(4.0, 6.0).unwrap();
        assert_eq!((narrow.mean(), narrow.variance(), narrow.mode()), (Ok(2.0), Ok(2.0), 1.2));
        assert!(matches!(InverseGamma::new(2.0, 6.0).unwrap().variance(), Err(FamilyError::InfiniteMoment { .. })));
    }
}
