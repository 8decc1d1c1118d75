//! The normal-gamma distribution of a mean and a precision.

use crate::FamilyError;
use crate::error::{check_finite, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::gamma;
use crate::special::{HALF_LN_TWO_PI, LN_TWO_PI, ln_gamma};
use rand::Rng;

const NAME: &str = "normal-gamma";

/// NormalGamma(μ, τ | m, κ, a, b) = N(μ | m, 1/(κτ)) Gamma(τ | a, b) (Bishop PRML 2.154).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalGamma {
    /// m.
    pub mean: f64,
    /// κ: the precision of μ is κτ.
    pub mean_precision: f64,
    /// a.
    pub shape: f64,
    /// b.
    pub rate: f64,
}

/// A draw: a mean and a precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanAndPrecision {
    /// μ.
    pub mean: f64,
    /// τ.
    pub precision: f64,
}

/// Natural parameters η = (a − ½, −b − ½κm², κm, −½κ).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalGammaNatural {
    /// a − ½, the coefficient of log τ.
    pub log_precision: f64,
    /// −b − ½κm², the coefficient of τ.
    pub precision: f64,
    /// κm, the coefficient of τμ.
    pub precision_mean: f64,
    /// −½κ, the coefficient of τμ².
    pub precision_square: f64,
}

/// Sufficient statistics T(μ, τ) = (log τ, τ, τμ, τμ²), or their expectations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalGammaExpectations {
    /// E\[log τ\].
    pub mean_log_precision: f64,
    /// E\[τ\].
    pub mean_precision: f64,
    /// E\[τμ\].
    pub mean_precision_mean: f64,
    /// E\[τμ²\].
    pub mean_precision_square: f64,
}

coordinates!(NormalGammaNatural: log_precision, precision, precision_mean, precision_square);
coordinates!(NormalGammaExpectations: mean_log_precision, mean_precision, mean_precision_mean, mean_precision_square);

/// A = log Γ(a) − a log b − ½ log κ.
#[inline]
pub fn log_partition(mean_precision: f64, shape: f64, rate: f64) -> f64 {
    ln_gamma(shape) - shape * rate.ln() - 0.5 * mean_precision.ln()
}

/// E\[log τ\] = ψ(a) − log b, E\[τ\] = a/b, E\[τμ\] = m a/b, E\[τμ²\] = m² a/b + 1/κ.
#[inline]
pub fn expectations(mean: f64, mean_precision: f64, shape: f64, rate: f64) -> NormalGammaExpectations {
    let precision = gamma::expectations(shape, rate);
    NormalGammaExpectations {
        mean_log_precision: precision.mean_log,
        mean_precision: precision.mean,
        mean_precision_mean: precision.mean * mean,
        mean_precision_square: precision.mean * mean * mean + 1.0 / mean_precision,
    }
}

/// H(Gamma(a, b)) + ½ (1 + log 2π − log κ − E\[log τ\]).
#[inline]
pub fn entropy(mean_precision: f64, shape: f64, rate: f64) -> f64 {
    gamma::entropy(shape, rate)
        + 0.5 * (1.0 + LN_TWO_PI - mean_precision.ln() - gamma::expectations(shape, rate).mean_log)
}

impl NormalGamma {
    /// NormalGamma(mean, mean_precision, shape, rate).
    ///
    /// # Errors
    /// Where the mean is not finite or another parameter is not positive and finite.
    pub fn new(mean: f64, mean_precision: f64, shape: f64, rate: f64) -> Result<Self, FamilyError> {
        check_finite(NAME, "mean", mean)?;
        check_positive(NAME, "mean_precision", mean_precision)?;
        check_positive(NAME, "shape", shape)?;
        check_positive(NAME, "rate", rate)?;
        Ok(Self { mean, mean_precision, shape, rate })
    }

    /// The marginal variance of μ, b/(κ (a − 1)).
    ///
    /// # Errors
    /// Where the shape is not above 1: the variance then is infinite.
    pub fn mean_variance(&self) -> Result<f64, FamilyError> {
        if self.shape > 1.0 {
            Ok(self.rate / (self.mean_precision * (self.shape - 1.0)))
        } else {
            Err(FamilyError::InfiniteMoment {
                family: NAME,
                moment: "variance of the mean",
                condition: "it is finite where the shape is above 1",
            })
        }
    }

    /// E\[τ\] = a/b.
    pub fn expected_precision(&self) -> f64 {
        self.shape / self.rate
    }

    /// The joint mode: μ = m, τ = (a − ½)/b.
    ///
    /// # Errors
    /// Where the shape is not above ½.
    pub fn mode(&self) -> Result<MeanAndPrecision, FamilyError> {
        if self.shape > 0.5 {
            Ok(MeanAndPrecision { mean: self.mean, precision: (self.shape - 0.5) / self.rate })
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "the shape must be above 1/2" })
        }
    }

    /// log p(x) of a new x ~ N(μ, 1/τ): Student's t with 2a degrees of freedom, location m and precision aκ/(b(1 + κ))
    /// (Bishop PRML 2.158).
    pub fn log_predictive_density(&self, x: f64) -> f64 {
        let precision = self.shape * self.mean_precision / (self.rate * (1.0 + self.mean_precision));
        crate::densities::student_t(x, 2.0 * self.shape, self.mean, precision.sqrt().recip())
    }
}

impl ExponentialFamily for NormalGamma {
    const NAME: &'static str = NAME;
    type Value = MeanAndPrecision;
    type Natural = NormalGammaNatural;
    type Expectations = NormalGammaExpectations;

    fn to_natural(&self) -> NormalGammaNatural {
        NormalGammaNatural {
            log_precision: self.shape - 0.5,
            precision: -self.rate - 0.5 * self.mean_precision * self.mean * self.mean,
            precision_mean: self.mean_precision * self.mean,
            precision_square: -0.5 * self.mean_precision,
        }
    }
    fn from_natural(natural: &NormalGammaNatural) -> Result<Self, FamilyError> {
        let mean_precision = -2.0 * natural.precision_square;
        check_positive(NAME, "mean_precision", mean_precision)?;
        let mean = natural.precision_mean / mean_precision;
        Self::new(
            mean,
            mean_precision,
            natural.log_precision + 0.5,
            -natural.precision - 0.5 * natural.precision_mean * mean,
        )
    }
    fn from_expectations(expectations: &NormalGammaExpectations) -> Result<Self, FamilyError> {
        let log_and_mean =
            gamma::GammaExpectations { mean_log: expectations.mean_log_precision, mean: expectations.mean_precision };
        let precision = gamma::Gamma::from_expectations(&log_and_mean)?;
        let mean = expectations.mean_precision_mean / expectations.mean_precision;
        let spread = expectations.mean_precision_square - mean * expectations.mean_precision_mean;
        if spread.is_nan() || spread <= 0.0 {
            let condition = "E[τμ²] must exceed E[τμ]²/E[τ]";
            return Err(FamilyError::NotAttainable { family: NAME, condition });
        }
        Self::new(mean, 1.0 / spread, precision.shape, precision.rate)
    }
    fn sufficient_statistics(&self, value: &MeanAndPrecision) -> NormalGammaExpectations {
        NormalGammaExpectations {
            mean_log_precision: value.precision.ln(),
            mean_precision: value.precision,
            mean_precision_mean: value.precision * value.mean,
            mean_precision_square: value.precision * value.mean * value.mean,
        }
    }
    fn log_base_measure(&self, _value: &MeanAndPrecision) -> f64 {
        -HALF_LN_TWO_PI
    }
    fn expected_log_base_measure(&self) -> f64 {
        -HALF_LN_TWO_PI
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.mean_precision, self.shape, self.rate)
    }
    fn expectations(&self) -> NormalGammaExpectations {
        expectations(self.mean, self.mean_precision, self.shape, self.rate)
    }
    fn entropy(&self) -> f64 {
        entropy(self.mean_precision, self.shape, self.rate)
    }
    /// KL of the gammas + ½ (κ′/κ − 1 − log(κ′/κ) + κ′ E\[τ\] (m − m′)²).
    fn kl(&self, other: &Self) -> f64 {
        let difference = self.mean - other.mean;
        let excess = (other.mean_precision - self.mean_precision) / self.mean_precision;
        gamma::kl(self.shape, self.rate, other.shape, other.rate)
            + 0.5
                * (excess - excess.ln_1p() + other.mean_precision * self.expected_precision() * difference * difference)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> MeanAndPrecision {
        let precision = gamma::sample(random, self.shape, self.rate);
        MeanAndPrecision { mean: crate::normal::sample(random, self.mean, self.mean_precision * precision), precision }
    }
    fn log_density(&self, value: &MeanAndPrecision) -> f64 {
        crate::normal::log_density(value.mean, self.mean, self.mean_precision * value.precision)
            + gamma::log_density(value.precision, self.shape, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_a_maximum_and_the_predictive_an_average() {
        let family = NormalGamma::new(0.3, 2.0, 3.0, 1.5).unwrap();
        let mode = family.mode().unwrap();
        let top = family.log_density(&mode);
        for (dm, dt) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
            assert!(
                family.log_density(&MeanAndPrecision { mean: mode.mean + dm, precision: mode.precision + dt }) < top
            );
        }
        // The density of x integrates N(x | m, (1 + 1/κ)/τ) over τ.
        let steps = 200_000;
        let integral: f64 = (0..steps)
            .map(|i| {
                let tau = (i as f64 + 0.5) * 30.0 / steps as f64;
                let log = crate::normal::log_density(1.1, 0.3, tau * 2.0 / 3.0) + gamma::log_density(tau, 3.0, 1.5);
                log.exp() * 30.0 / steps as f64
            })
            .sum();
        assert!((family.log_predictive_density(1.1) - integral.ln()).abs() < 1e-8);
        assert!((family.mean_variance().unwrap() - 0.375).abs() < 1e-15);
        assert!(NormalGamma::new(0.0, 1.0, 0.5, 1.0).unwrap().mode().is_err());
    }
}
