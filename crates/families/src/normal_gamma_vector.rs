//! The normal-gamma distribution of a mean vector and one precision.

use crate::FamilyError;
use crate::error::{check_finite, check_length, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::gamma::{self, Gamma, GammaExpectations};
use crate::matrix::{
    add_outer_product, back_substitute, cholesky, cholesky_solve, dot, inverse_and_log_determinant, multiply_vector,
    quadratic_form,
};
use crate::special::{HALF_LN_TWO_PI, LN_TWO_PI};
use crate::wishart::{check_symmetric, refuse};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

const NAME: &str = "normal-gamma";

/// NormalGamma(μ, τ | m, Λ, a, b) = N(μ | m, (τΛ)⁻¹) Gamma(τ | a, b) with a vector μ (Bishop PRML 2.154 in d dimensions).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalGammaVector {
    mean: Vec<f64>,
    mean_precision: Vec<f64>,
    inverse: Vec<f64>,
    log_determinant: f64,
    precision: Gamma,
}

/// A draw: a mean vector and a precision.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanVectorAndScalarPrecision {
    /// μ `[dimension]`.
    pub mean: Vec<f64>,
    /// τ.
    pub precision: f64,
}

/// Natural parameters η = (a − 1 + ½d, −b − ½mᵀΛm, Λm, −½Λ).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalGammaVectorNatural {
    /// a − 1 + ½d, the coefficient of log τ.
    pub log_precision: f64,
    /// −b − ½mᵀΛm, the coefficient of τ.
    pub precision: f64,
    /// Λm, the coefficients of τμ, `[dimension]`.
    pub precision_mean: Vec<f64>,
    /// −½Λ, the coefficients of τμμᵀ, `[dimension, dimension]`.
    pub precision_square: Vec<f64>,
}

/// Sufficient statistics T(μ, τ) = (log τ, τ, τμ, τμμᵀ), or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalGammaVectorExpectations {
    /// E\[log τ\].
    pub mean_log_precision: f64,
    /// E\[τ\].
    pub mean_precision: f64,
    /// E\[τμ\] `[dimension]`.
    pub mean_precision_mean: Vec<f64>,
    /// E\[τμμᵀ\] `[dimension, dimension]`.
    pub mean_precision_square: Vec<f64>,
}

coordinates!(NormalGammaVectorNatural: log_precision, precision, precision_mean, precision_square);
coordinates!(NormalGammaVectorExpectations: mean_log_precision, mean_precision, mean_precision_mean, mean_precision_square);

/// H(Gamma(a, b)) + ½ (d + d log 2π − log |Λ| − d E\[log τ\]).
#[inline]
pub fn entropy(dimension: usize, log_determinant: f64, shape: f64, rate: f64) -> f64 {
    let d = dimension as f64;
    gamma::entropy(shape, rate)
        + 0.5 * (d * (1.0 + LN_TWO_PI - gamma::expectations(shape, rate).mean_log) - log_determinant)
}

impl NormalGammaVector {
    /// NormalGamma(mean, mean_precision, precision): a mean `[dimension]`, Λ `[dimension, dimension]` and the distribution of τ.
    ///
    /// # Errors
    /// Where the mean is not finite, or Λ has another dimension or is not symmetric positive definite.
    pub fn new(mean: Vec<f64>, mean_precision: Vec<f64>, precision: Gamma) -> Result<Self, FamilyError> {
        let dimension = mean.len();
        for value in &mean {
            check_finite(NAME, "mean", *value)?;
        }
        check_symmetric(NAME, "mean_precision", &mean_precision, dimension)?;
        let (inverse, log_determinant) = inverse_and_log_determinant(&mean_precision, dimension).map_err(refuse(
            NAME,
            "mean_precision",
            dimension,
        ))?;
        Ok(Self { mean, mean_precision, inverse, log_determinant, precision })
    }

    /// d, the number of coordinates of μ.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// m `[dimension]`, the mean of μ.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Λ `[dimension, dimension]`; the precision of μ is τΛ.
    pub fn mean_precision(&self) -> &[f64] {
        &self.mean_precision
    }

    /// The marginal distribution of τ.
    pub fn precision(&self) -> &Gamma {
        &self.precision
    }

    /// The marginal covariance of μ, Λ⁻¹ b/(a − 1), `[dimension, dimension]`.
    ///
    /// # Errors
    /// Where the shape is not above 1: the covariance then is infinite.
    pub fn mean_covariance(&self) -> Result<Vec<f64>, FamilyError> {
        let Gamma { shape, rate } = self.precision;
        if shape > 1.0 {
            return Ok(self.inverse.iter().map(|c| c * rate / (shape - 1.0)).collect());
        }
        let condition = "it is finite where the shape is above 1";
        Err(FamilyError::InfiniteMoment { family: NAME, moment: "covariance of the mean", condition })
    }

    /// The joint mode: μ = m, τ = (a − 1 + ½d)/b.
    ///
    /// # Errors
    /// Where the shape is not above 1 − ½d.
    pub fn mode(&self) -> Result<MeanVectorAndScalarPrecision, FamilyError> {
        let excess = self.precision.shape - 1.0 + 0.5 * self.dimension() as f64;
        if excess > 0.0 {
            Ok(MeanVectorAndScalarPrecision { mean: self.mean.clone(), precision: excess / self.precision.rate })
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "the shape must be above 1 − dimension/2" })
        }
    }

    /// log p(y) of a new y ~ N(xᵀμ, 1/τ): Student's t with 2a degrees of freedom, location xᵀm and squared scale
    /// b/a (1 + xᵀΛ⁻¹x) (Bishop PRML 2.158 with a linear mean).
    pub fn log_predictive_density(&self, x: &[f64], y: f64) -> f64 {
        let Gamma { shape, rate } = self.precision;
        let scale = rate / shape * (1.0 + quadratic_form(&self.inverse, x));
        crate::densities::student_t(y, 2.0 * shape, dot(x, &self.mean), scale.sqrt())
    }
}

impl ExponentialFamily for NormalGammaVector {
    const NAME: &'static str = NAME;
    type Value = MeanVectorAndScalarPrecision;
    type Natural = NormalGammaVectorNatural;
    type Expectations = NormalGammaVectorExpectations;

    fn to_natural(&self) -> NormalGammaVectorNatural {
        let d = self.dimension();
        let mut precision_mean = vec![0.0; d];
        multiply_vector(&self.mean_precision, d, &self.mean, &mut precision_mean);
        NormalGammaVectorNatural {
            log_precision: self.precision.shape - 1.0 + 0.5 * d as f64,
            precision: -self.precision.rate - 0.5 * dot(&self.mean, &precision_mean),
            precision_mean,
            precision_square: self.mean_precision.iter().map(|p| -0.5 * p).collect(),
        }
    }
    fn from_natural(natural: &NormalGammaVectorNatural) -> Result<Self, FamilyError> {
        let d = natural.precision_mean.len();
        check_length(NAME, "mean_precision", natural.precision_square.len(), d * d)?;
        let mean_precision: Vec<f64> = natural.precision_square.iter().map(|value| -2.0 * value).collect();
        let factor = cholesky(&mean_precision, d).map_err(refuse(NAME, "mean_precision", d))?;
        let mut mean = natural.precision_mean.clone();
        cholesky_solve(&factor, d, &mut mean);
        let rate = -natural.precision - 0.5 * dot(&mean, &natural.precision_mean);
        Self::new(mean, mean_precision, Gamma::new(natural.log_precision + 1.0 - 0.5 * d as f64, rate)?)
    }
    fn from_expectations(expectations: &NormalGammaVectorExpectations) -> Result<Self, FamilyError> {
        let d = expectations.mean_precision_mean.len();
        check_length(NAME, "mean_precision", expectations.mean_precision_square.len(), d * d)?;
        let precision = Gamma::from_expectations(&GammaExpectations {
            mean_log: expectations.mean_log_precision,
            mean: expectations.mean_precision,
        })?;
        check_positive(NAME, "mean of the precision", expectations.mean_precision)?;
        let mean: Vec<f64> =
            expectations.mean_precision_mean.iter().map(|value| value / expectations.mean_precision).collect();
        let mut spread = expectations.mean_precision_square.clone();
        add_outer_product(&mut spread, -expectations.mean_precision, &mean);
        let Ok((mean_precision, _)) = inverse_and_log_determinant(&spread, d) else {
            let condition = "E[τμμᵀ] must exceed E[τμ]E[τμ]ᵀ/E[τ]";
            return Err(FamilyError::NotAttainable { family: NAME, condition });
        };
        Self::new(mean, mean_precision, precision)
    }
    fn sufficient_statistics(&self, value: &MeanVectorAndScalarPrecision) -> NormalGammaVectorExpectations {
        let d = self.dimension();
        let mut square = vec![0.0; d * d];
        add_outer_product(&mut square, value.precision, &value.mean);
        NormalGammaVectorExpectations {
            mean_log_precision: value.precision.ln(),
            mean_precision: value.precision,
            mean_precision_mean: value.mean.iter().map(|m| value.precision * m).collect(),
            mean_precision_square: square,
        }
    }
    fn log_base_measure(&self, _value: &MeanVectorAndScalarPrecision) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    fn expected_log_base_measure(&self) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    fn log_partition(&self) -> f64 {
        gamma::log_partition(self.precision.shape, self.precision.rate) - 0.5 * self.log_determinant
    }
    /// E\[log τ\], E\[τ\] = a/b, E\[τμ\] = m a/b, E\[τμμᵀ\] = mmᵀ a/b + Λ⁻¹.
    fn expectations(&self) -> NormalGammaVectorExpectations {
        let GammaExpectations { mean_log, mean } = gamma::expectations(self.precision.shape, self.precision.rate);
        let mut square = self.inverse.clone();
        add_outer_product(&mut square, mean, &self.mean);
        NormalGammaVectorExpectations {
            mean_log_precision: mean_log,
            mean_precision: mean,
            mean_precision_mean: self.mean.iter().map(|m| mean * m).collect(),
            mean_precision_square: square,
        }
    }
    fn entropy(&self) -> f64 {
        entropy(self.dimension(), self.log_determinant, self.precision.shape, self.precision.rate)
    }
    /// KL of the gammas + ½ (tr(Λ′Λ⁻¹) − d − log |Λ′| + log |Λ| + E\[τ\] (m − m′)ᵀΛ′(m − m′)).
    fn kl(&self, other: &Self) -> f64 {
        let difference: Vec<f64> = self.mean.iter().zip(&other.mean).map(|(a, b)| a - b).collect();
        gamma::kl(self.precision.shape, self.precision.rate, other.precision.shape, other.precision.rate)
            + 0.5
                * (dot(&other.mean_precision, &self.inverse) - self.dimension() as f64 - other.log_determinant
                    + self.log_determinant
                    + self.precision.mean() * quadratic_form(&other.mean_precision, &difference))
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> MeanVectorAndScalarPrecision {
        let d = self.dimension();
        let precision = gamma::sample(random, self.precision.shape, self.precision.rate);
        let mut offset: Vec<f64> = (0..d).map(|_| StandardNormal.sample(random)).collect();
        match cholesky(&self.mean_precision, d) {
            Ok(lower) => back_substitute(&lower, d, &mut offset),
            Err(_) => offset.fill(f64::NAN),
        }
        let scale = precision.sqrt().recip();
        let mean = self.mean.iter().zip(&offset).map(|(m, z)| m + scale * z).collect();
        MeanVectorAndScalarPrecision { mean, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal_gamma::{MeanAndPrecision, NormalGamma};

    #[test]
    fn one_dimension_is_a_normal_gamma() {
        let (m, kappa, a, b) = (0.4, 1.7, 2.1, 0.8);
        let family = NormalGammaVector::new(vec![m], vec![kappa], Gamma::new(a, b).unwrap()).unwrap();
        let scalar = NormalGamma::new(m, kappa, a, b).unwrap();
        let value = MeanVectorAndScalarPrecision { mean: vec![-0.3], precision: 1.9 };
        let expected = scalar.log_density(&MeanAndPrecision { mean: -0.3, precision: 1.9 });
        assert!((family.log_density(&value) - expected).abs() < 1e-12);
        assert!((family.entropy() - scalar.entropy()).abs() < 1e-12);
        assert!((family.log_predictive_density(&[1.0], 1.5) - scalar.log_predictive_density(1.5)).abs() < 1e-12);
        assert!((family.mean_covariance().unwrap()[0] - scalar.mean_variance().unwrap()).abs() < 1e-12);
        assert!((family.mode().unwrap().precision - scalar.mode().unwrap().precision).abs() < 1e-12);
    }

    #[test]
    fn refusals() {
        let one = || Gamma::new(1.0, 1.0).unwrap();
        assert!(NormalGammaVector::new(vec![0.0, 0.0], vec![1.0], one()).is_err());
        assert!(NormalGammaVector::new(vec![0.0, 0.0], vec![1.0, 2.0, 2.0, 1.0], one()).is_err());
        let family = NormalGammaVector::new(vec![0.0], vec![1.0], Gamma::new(0.4, 1.0).unwrap()).unwrap();
        assert!(matches!(family.mode(), Err(FamilyError::NoMode { .. })));
        assert!(matches!(family.mean_covariance(), Err(FamilyError::InfiniteMoment { .. })));
    }
}
