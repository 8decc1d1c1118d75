//! The normal-Wishart distribution of a mean vector and a precision matrix.

use crate::FamilyError;
use crate::error::{check_finite, check_length, check_positive};
use crate::family::{ExponentialFamily, coordinates};
use crate::matrix::{add_outer_product, cholesky, cholesky_solve, dot, multiply_vector, quadratic_form};
use crate::special::{HALF_LN_TWO_PI, LN_TWO_PI};
use crate::wishart::{self, Wishart, WishartExpectations, refuse};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

const NAME: &str = "normal-wishart";

/// NormalWishart(μ, Λ | m, κ, W, ν) = N(μ | m, (κΛ)⁻¹) W(Λ | W, ν) (Bishop PRML 2.157).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalWishart {
    mean: Vec<f64>,
    mean_precision: f64,
    wishart: Wishart,
}

/// A draw: a mean vector and a precision matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanVectorAndPrecision {
    /// μ `[dimension]`.
    pub mean: Vec<f64>,
    /// Λ `[dimension, dimension]`.
    pub precision: Vec<f64>,
}

/// Natural parameters η = (½(ν − d), −½(W⁻¹ + κmmᵀ), κm, −½κ).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalWishartNatural {
    /// ½(ν − d), the coefficient of log |Λ|.
    pub log_determinant: f64,
    /// −½(W⁻¹ + κmmᵀ), the coefficients of Λ, `[dimension, dimension]`.
    pub precision: Vec<f64>,
    /// κm, the coefficients of Λμ, `[dimension]`.
    pub precision_mean: Vec<f64>,
    /// −½κ, the coefficient of μᵀΛμ.
    pub precision_square: f64,
}

/// Sufficient statistics T(μ, Λ) = (log |Λ|, Λ, Λμ, μᵀΛμ), or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalWishartExpectations {
    /// E\[log |Λ|\].
    pub mean_log_determinant: f64,
    /// E\[Λ\] `[dimension, dimension]`.
    pub mean_precision: Vec<f64>,
    /// E\[Λμ\] `[dimension]`.
    pub mean_precision_mean: Vec<f64>,
    /// E\[μᵀΛμ\].
    pub mean_precision_square: f64,
}

coordinates!(NormalWishartNatural: log_determinant, precision, precision_mean, precision_square);
coordinates!(NormalWishartExpectations: mean_log_determinant, mean_precision, mean_precision_mean, mean_precision_square);

/// A = A_Wishart(W, ν) − ½ d log κ.
#[inline]
pub fn log_partition(
    dimension: usize,
    mean_precision: f64,
    degrees_of_freedom: f64,
    log_determinant_scale: f64,
) -> f64 {
    wishart::log_partition(dimension, degrees_of_freedom, log_determinant_scale)
        - 0.5 * dimension as f64 * mean_precision.ln()
}

/// H(Wishart) + ½ (d + d log 2π − d log κ − E\[log |Λ|\]).
#[inline]
pub fn entropy(dimension: usize, mean_precision: f64, degrees_of_freedom: f64, log_determinant_scale: f64) -> f64 {
    let d = dimension as f64;
    wishart::entropy(dimension, degrees_of_freedom, log_determinant_scale)
        + 0.5
            * (d * (1.0 + LN_TWO_PI - mean_precision.ln())
                - wishart::expected_log_determinant(dimension, degrees_of_freedom, log_determinant_scale))
}

impl NormalWishart {
    /// The product N(μ | mean, (mean_precision Λ)⁻¹) · `wishart`.
    ///
    /// # Errors
    /// Where the mean has another dimension or is not finite, or the mean precision is not positive and finite.
    pub fn new(mean: Vec<f64>, mean_precision: f64, wishart: Wishart) -> Result<Self, FamilyError> {
        check_length(NAME, "mean", mean.len(), wishart.dimension())?;
        for value in &mean {
            check_finite(NAME, "mean", *value)?;
        }
        check_positive(NAME, "mean_precision", mean_precision)?;
        Ok(Self { mean, mean_precision, wishart })
    }

    /// d, the number of coordinates of μ.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// m `[dimension]`, the mean of μ.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// κ.
    pub fn mean_precision(&self) -> f64 {
        self.mean_precision
    }

    /// The marginal distribution of Λ, with ν and W.
    pub fn wishart(&self) -> &Wishart {
        &self.wishart
    }

    /// The marginal covariance of μ, W⁻¹/(κ (ν − d − 1)), `[dimension, dimension]`.
    ///
    /// # Errors
    /// Where the degrees of freedom are not above d + 1: the covariance then is infinite.
    pub fn mean_covariance(&self) -> Result<Vec<f64>, FamilyError> {
        let factor = self.mean_precision * (self.wishart.degrees_of_freedom() - self.dimension() as f64 - 1.0);
        if factor > 0.0 {
            return Ok(self.wishart.inverse_scale().iter().map(|w| w / factor).collect());
        }
        let condition = "it is finite where the degrees of freedom are above the dimension plus 1";
        Err(FamilyError::InfiniteMoment { family: NAME, moment: "covariance of the mean", condition })
    }

    /// The joint mode: μ = m, Λ = (ν − d) W.
    ///
    /// # Errors
    /// Where the degrees of freedom are not above d.
    pub fn mode(&self) -> Result<MeanVectorAndPrecision, FamilyError> {
        let factor = self.wishart.degrees_of_freedom() - self.dimension() as f64;
        if factor > 0.0 {
            let precision = self.wishart.scale().iter().map(|w| factor * w).collect();
            Ok(MeanVectorAndPrecision { mean: self.mean.clone(), precision })
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "the degrees of freedom must be above the dimension" })
        }
    }

    /// log p(x) of a new x ~ N(μ, Λ⁻¹): Student's t with ν + 1 − d degrees of freedom, location m and precision
    /// (ν + 1 − d) κ/(1 + κ) W (Bishop PRML 10.82).
    pub fn log_predictive_density(&self, x: &[f64]) -> f64 {
        let d = self.dimension();
        let degrees_of_freedom = self.wishart.degrees_of_freedom() + 1.0 - d as f64;
        let factor = degrees_of_freedom * self.mean_precision / (1.0 + self.mean_precision);
        let residual: Vec<f64> = x.iter().zip(&self.mean).map(|(a, b)| a - b).collect();
        let distance = factor * quadratic_form(self.wishart.scale(), &residual);
        let log_determinant = d as f64 * factor.ln() + self.wishart.log_determinant_scale();
        crate::densities::student_t_vector(distance, d, degrees_of_freedom, log_determinant)
    }
}

impl ExponentialFamily for NormalWishart {
    const NAME: &'static str = NAME;
    type Value = MeanVectorAndPrecision;
    type Natural = NormalWishartNatural;
    type Expectations = NormalWishartExpectations;

    fn to_natural(&self) -> NormalWishartNatural {
        let mut precision: Vec<f64> = self.wishart.inverse_scale().iter().map(|w| -0.5 * w).collect();
        add_outer_product(&mut precision, -0.5 * self.mean_precision, &self.mean);
        NormalWishartNatural {
            log_determinant: 0.5 * (self.wishart.degrees_of_freedom() - self.dimension() as f64),
            precision,
            precision_mean: self.mean.iter().map(|m| self.mean_precision * m).collect(),
            precision_square: -0.5 * self.mean_precision,
        }
    }
    fn from_natural(natural: &NormalWishartNatural) -> Result<Self, FamilyError> {
        let dimension = natural.precision_mean.len();
        let mean_precision = -2.0 * natural.precision_square;
        check_positive(NAME, "mean_precision", mean_precision)?;
        let mean: Vec<f64> = natural.precision_mean.iter().map(|value| value / mean_precision).collect();
        check_length(NAME, "inverse_scale", natural.precision.len(), dimension * dimension)?;
        let mut inverse_scale: Vec<f64> = natural.precision.iter().map(|value| -2.0 * value).collect();
        add_outer_product(&mut inverse_scale, -mean_precision, &mean);
        let degrees_of_freedom = 2.0 * natural.log_determinant + dimension as f64;
        Self::new(mean, mean_precision, Wishart::from_inverse_scale(dimension, degrees_of_freedom, inverse_scale)?)
    }
    fn from_expectations(expectations: &NormalWishartExpectations) -> Result<Self, FamilyError> {
        let dimension = expectations.mean_precision_mean.len();
        let wishart = Wishart::from_expectations(&WishartExpectations {
            mean_log_determinant: expectations.mean_log_determinant,
            mean: expectations.mean_precision.clone(),
        })?;
        check_length(NAME, "mean", dimension, wishart.dimension())?;
        let mut mean = expectations.mean_precision_mean.clone();
        let factor = cholesky(&expectations.mean_precision, dimension).map_err(refuse(
            NAME,
            "mean of the precision",
            dimension,
        ))?;
        cholesky_solve(&factor, dimension, &mut mean);
        let spread = expectations.mean_precision_square - dot(&mean, &expectations.mean_precision_mean);
        if spread.is_nan() || spread <= 0.0 {
            let condition = "E[μᵀΛμ] must exceed E[Λμ]ᵀ E[Λ]⁻¹ E[Λμ]";
            return Err(FamilyError::NotAttainable { family: NAME, condition });
        }
        Self::new(mean, dimension as f64 / spread, wishart)
    }
    fn sufficient_statistics(&self, value: &MeanVectorAndPrecision) -> NormalWishartExpectations {
        let precision = self.wishart.sufficient_statistics(&value.precision);
        let mut precision_mean = vec![0.0; self.dimension()];
        multiply_vector(&value.precision, self.dimension(), &value.mean, &mut precision_mean);
        NormalWishartExpectations {
            mean_log_determinant: precision.mean_log_determinant,
            mean_precision: precision.mean,
            mean_precision_square: dot(&value.mean, &precision_mean),
            mean_precision_mean: precision_mean,
        }
    }
    fn log_base_measure(&self, _value: &MeanVectorAndPrecision) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    fn expected_log_base_measure(&self) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    fn log_partition(&self) -> f64 {
        let wishart = &self.wishart;
        log_partition(
            self.dimension(),
            self.mean_precision,
            wishart.degrees_of_freedom(),
            wishart.log_determinant_scale(),
        )
    }
    /// E\[log |Λ|\], E\[Λ\] = νW, E\[Λμ\] = νWm, E\[μᵀΛμ\] = d/κ + ν mᵀWm (Bishop PRML 10.64, 10.65).
    fn expectations(&self) -> NormalWishartExpectations {
        let mean_precision = self.wishart.mean();
        let mut mean_precision_mean = vec![0.0; self.dimension()];
        multiply_vector(&mean_precision, self.dimension(), &self.mean, &mut mean_precision_mean);
        NormalWishartExpectations {
            mean_log_determinant: self.wishart.expected_log_determinant(),
            mean_precision_square: self.dimension() as f64 / self.mean_precision
                + dot(&self.mean, &mean_precision_mean),
            mean_precision,
            mean_precision_mean,
        }
    }
    fn entropy(&self) -> f64 {
        let wishart = &self.wishart;
        entropy(self.dimension(), self.mean_precision, wishart.degrees_of_freedom(), wishart.log_determinant_scale())
    }
    /// KL of the Wisharts + ½ (d (κ′/κ − 1 − log(κ′/κ)) + κ′ν (m − m′)ᵀW(m − m′)).
    fn kl(&self, other: &Self) -> f64 {
        let difference: Vec<f64> = self.mean.iter().zip(&other.mean).map(|(a, b)| a - b).collect();
        let excess = (other.mean_precision - self.mean_precision) / self.mean_precision;
        let distance = self.wishart.degrees_of_freedom() * quadratic_form(self.wishart.scale(), &difference);
        self.wishart.kl(&other.wishart)
            + 0.5 * (self.dimension() as f64 * (excess - excess.ln_1p()) + other.mean_precision * distance)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> MeanVectorAndPrecision {
        let d = self.dimension();
        let precision = self.wishart.sample(random);
        let mut offset: Vec<f64> = (0..d).map(|_| StandardNormal.sample(random)).collect();
        match cholesky(&precision, d) {
            Ok(lower) => crate::matrix::back_substitute(&lower, d, &mut offset),
            Err(_) => offset.fill(f64::NAN),
        }
        let scale = self.mean_precision.sqrt().recip();
        let mean = self.mean.iter().zip(&offset).map(|(m, z)| m + scale * z).collect();
        MeanVectorAndPrecision { mean, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal_gamma::{MeanAndPrecision, NormalGamma};

    #[test]
    fn one_dimension_is_a_normal_gamma() {
        let (m, kappa, nu, w) = (0.4, 1.7, 4.2, 0.8);
        let family = NormalWishart::new(vec![m], kappa, Wishart::from_scale(1, nu, vec![w]).unwrap()).unwrap();
        let scalar = NormalGamma::new(m, kappa, 0.5 * nu, 0.5 / w).unwrap();
        let value = MeanVectorAndPrecision { mean: vec![-0.3], precision: vec![1.9] };
        let expected = scalar.log_density(&MeanAndPrecision { mean: -0.3, precision: 1.9 });
        assert!((family.log_density(&value) - expected).abs() < 1e-12);
        assert!((family.entropy() - scalar.entropy()).abs() < 1e-12);
        assert!((family.log_predictive_density(&[1.5]) - scalar.log_predictive_density(1.5)).abs() < 1e-12);
        assert!((family.mean_covariance().unwrap()[0] - scalar.mean_variance().unwrap()).abs() < 1e-12);
        assert!((family.mode().unwrap().precision[0] - scalar.mode().unwrap().precision).abs() < 1e-12);
    }

    #[test]
    fn refusals() {
        let wishart = Wishart::from_scale(2, 2.0, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        assert!(NormalWishart::new(vec![0.0], 1.0, wishart.clone()).is_err());
        let family = NormalWishart::new(vec![0.0, 0.0], 1.0, wishart).unwrap();
        assert!(matches!(family.mode(), Err(FamilyError::NoMode { .. })));
        assert!(matches!(family.mean_covariance(), Err(FamilyError::InfiniteMoment { .. })));
    }
}
