//! The Wishart distribution of a positive definite matrix, in PRML's scale and degrees of freedom.

use crate::FamilyError;
use crate::error::{check_finite, check_length};
use crate::family::{ExponentialFamily, coordinates, increasing_root};
use crate::matrix::{NotPositiveDefinite, cholesky, cholesky_log_determinant, dot, inverse_and_log_determinant};
use crate::special::{multivariate_digamma, multivariate_ln_gamma, multivariate_trigamma};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::LN_2;

const NAME: &str = "wishart";

/// W(Λ | W, ν) = B(W, ν) |Λ|^((ν − d − 1)/2) exp(−½ tr(W⁻¹Λ)) (Bishop PRML B.78), E\[Λ\] = νW. Matrices are row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishart {
    dimension: usize,
    degrees_of_freedom: f64,
    scale: Vec<f64>,
    inverse_scale: Vec<f64>,
    log_determinant_scale: f64,
}

/// Natural parameters η = (½(ν − d − 1), −½W⁻¹).
#[derive(Debug, Clone, PartialEq)]
pub struct WishartNatural {
    /// ½(ν − d − 1), the coefficient of log |Λ|.
    pub log_determinant: f64,
    /// −½W⁻¹, the coefficients of Λ, `[dimension, dimension]`.
    pub value: Vec<f64>,
}

/// Sufficient statistics T(Λ) = (log |Λ|, Λ), or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct WishartExpectations {
    /// E\[log |Λ|\].
    pub mean_log_determinant: f64,
    /// E\[Λ\] `[dimension, dimension]`.
    pub mean: Vec<f64>,
}

coordinates!(WishartNatural: log_determinant, value);
coordinates!(WishartExpectations: mean_log_determinant, mean);

/// A = −log B(W, ν) = ½ν log |W| + ½νd log 2 + log Γ_d(½ν) (Bishop PRML B.79).
#[inline]
pub fn log_partition(dimension: usize, degrees_of_freedom: f64, log_determinant_scale: f64) -> f64 {
    let half = 0.5 * degrees_of_freedom;
    half * log_determinant_scale + half * dimension as f64 * LN_2 + multivariate_ln_gamma(half, dimension)
}

/// E\[log |Λ|\] = ψ_d(½ν) + d log 2 + log |W| (Bishop PRML B.81).
#[inline]
pub fn expected_log_determinant(dimension: usize, degrees_of_freedom: f64, log_determinant_scale: f64) -> f64 {
    multivariate_digamma(0.5 * degrees_of_freedom, dimension) + dimension as f64 * LN_2 + log_determinant_scale
}

/// A − ½(ν − d − 1) E\[log |Λ|\] + ½νd (Bishop PRML B.82).
#[inline]
pub fn entropy(dimension: usize, degrees_of_freedom: f64, log_determinant_scale: f64) -> f64 {
    let d = dimension as f64;
    log_partition(dimension, degrees_of_freedom, log_determinant_scale)
        - 0.5
            * (degrees_of_freedom - d - 1.0)
            * expected_log_determinant(dimension, degrees_of_freedom, log_determinant_scale)
        + 0.5 * degrees_of_freedom * d
}

/// log W(Λ | W, ν) from log |Λ|, tr(W⁻¹Λ) and log |W|.
#[inline]
pub fn log_density(
    log_determinant: f64,
    trace: f64,
    dimension: usize,
    degrees_of_freedom: f64,
    log_determinant_scale: f64,
) -> f64 {
    0.5 * (degrees_of_freedom - dimension as f64 - 1.0) * log_determinant
        - 0.5 * trace
        - log_partition(dimension, degrees_of_freedom, log_determinant_scale)
}

/// Says of which family and parameter a matrix is not positive definite.
pub(crate) fn refuse(
    family: &'static str,
    parameter: &'static str,
    dimension: usize,
) -> impl Fn(NotPositiveDefinite) -> FamilyError {
    move |error| FamilyError::NotPositiveDefinite { family, parameter, dimension, row: error.row }
}

/// Refuses a matrix that is not finite, or not symmetric to 1e-8 of its diagonal.
pub(crate) fn check_symmetric(
    family: &'static str,
    parameter: &'static str,
    matrix: &[f64],
    dimension: usize,
) -> Result<(), FamilyError> {
    check_length(family, parameter, matrix.len(), dimension * dimension)?;
    for i in 0..dimension {
        for j in 0..=i {
            let (lower, upper) = (matrix[i * dimension + j], matrix[j * dimension + i]);
            check_finite(family, parameter, lower)?;
            check_finite(family, parameter, upper)?;
            let size = (matrix[i * dimension + i] * matrix[j * dimension + j]).abs().sqrt();
            if (lower - upper).abs() > 1e-8 * size.max(lower.abs()) {
                return Err(FamilyError::NotSymmetric {
                    family,
                    parameter,
                    row: i,
                    column: j,
                    value: lower,
                    mirrored: upper,
                });
            }
        }
    }
    Ok(())
}

impl Wishart {
    /// W(scale, degrees_of_freedom) with `scale` `[dimension, dimension]`.
    ///
    /// # Errors
    /// Where the scale is not symmetric positive definite, or the degrees of freedom do not exceed `dimension` − 1.
    pub fn from_scale(dimension: usize, degrees_of_freedom: f64, scale: Vec<f64>) -> Result<Self, FamilyError> {
        Self::check(dimension, degrees_of_freedom)?;
        check_symmetric(NAME, "scale", &scale, dimension)?;
        let (inverse_scale, log_determinant_scale) =
            inverse_and_log_determinant(&scale, dimension).map_err(refuse(NAME, "scale", dimension))?;
        Ok(Self { dimension, degrees_of_freedom, scale, inverse_scale, log_determinant_scale })
    }

    /// W(W, degrees_of_freedom) from W⁻¹ = `inverse_scale` `[dimension, dimension]`.
    ///
    /// # Errors
    /// Where it is not symmetric positive definite, or the degrees of freedom do not exceed `dimension` − 1.
    pub fn from_inverse_scale(
        dimension: usize,
        degrees_of_freedom: f64,
        inverse_scale: Vec<f64>,
    ) -> Result<Self, FamilyError> {
        Self::check(dimension, degrees_of_freedom)?;
        check_symmetric(NAME, "inverse_scale", &inverse_scale, dimension)?;
        let (scale, log_determinant) =
            inverse_and_log_determinant(&inverse_scale, dimension).map_err(refuse(NAME, "inverse_scale", dimension))?;
        Ok(Self { dimension, degrees_of_freedom, scale, inverse_scale, log_determinant_scale: -log_determinant })
    }

    fn check(dimension: usize, degrees_of_freedom: f64) -> Result<(), FamilyError> {
        if dimension == 0 {
            return Err(FamilyError::LengthMismatch { family: NAME, parameter: "scale", expected: 1, found: 0 });
        }
        if degrees_of_freedom > dimension as f64 - 1.0 && degrees_of_freedom.is_finite() {
            return Ok(());
        }
        let expected = "finite and above the dimension minus 1";
        Err(FamilyError::OutOfRange {
            family: NAME,
            parameter: "degrees_of_freedom",
            value: degrees_of_freedom,
            expected,
        })
    }

    /// d, the number of rows of Λ.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// ν.
    pub fn degrees_of_freedom(&self) -> f64 {
        self.degrees_of_freedom
    }

    /// W `[dimension, dimension]`.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// W⁻¹ `[dimension, dimension]`.
    pub fn inverse_scale(&self) -> &[f64] {
        &self.inverse_scale
    }

    /// log |W|.
    pub fn log_determinant_scale(&self) -> f64 {
        self.log_determinant_scale
    }

    /// E\[log |Λ|\].
    pub fn expected_log_determinant(&self) -> f64 {
        expected_log_determinant(self.dimension, self.degrees_of_freedom, self.log_determinant_scale)
    }

    /// νW `[dimension, dimension]` (Bishop PRML B.80).
    pub fn mean(&self) -> Vec<f64> {
        self.scale.iter().map(|w| self.degrees_of_freedom * w).collect()
    }

    /// The marginal variances ν(Wᵢⱼ² + WᵢᵢWⱼⱼ) `[dimension, dimension]`.
    pub fn variance(&self) -> Vec<f64> {
        let d = self.dimension;
        let mut variance = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..d {
                let w = self.scale[i * d + j];
                variance[i * d + j] = self.degrees_of_freedom * (w * w + self.scale[i * d + i] * self.scale[j * d + j]);
            }
        }
        variance
    }

    /// (ν − d − 1) W `[dimension, dimension]`.
    ///
    /// # Errors
    /// Where the degrees of freedom are not above d + 1: the density then is largest at a singular matrix.
    pub fn mode(&self) -> Result<Vec<f64>, FamilyError> {
        let factor = self.degrees_of_freedom - self.dimension as f64 - 1.0;
        if factor > 0.0 {
            Ok(self.scale.iter().map(|w| factor * w).collect())
        } else {
            Err(FamilyError::NoMode {
                family: NAME,
                condition: "the degrees of freedom must be above the dimension plus 1",
            })
        }
    }
}

/// The ν > d − 1 with ψ_d(½ν) − d log ½ν = −gap, for gap > 0.
fn degrees_of_freedom_from_gap(dimension: usize, gap: f64) -> Option<f64> {
    if !(gap > 0.0 && gap.is_finite()) {
        return None;
    }
    let d = dimension as f64;
    // For many degrees of freedom the gap is d (d + 1) / 2ν.
    let start = d - 1.0 + (0.5 * d * (d + 1.0) / gap).max(1e-3);
    increasing_root(d - 1.0, start, |nu| {
        let half = 0.5 * nu;
        (
            multivariate_digamma(half, dimension) - d * half.ln() + gap,
            0.5 * multivariate_trigamma(half, dimension) - d / nu,
        )
    })
}

impl ExponentialFamily for Wishart {
    const NAME: &'static str = NAME;
    type Value = Vec<f64>;
    type Natural = WishartNatural;
    type Expectations = WishartExpectations;

    fn to_natural(&self) -> WishartNatural {
        WishartNatural {
            log_determinant: 0.5 * (self.degrees_of_freedom - self.dimension as f64 - 1.0),
            value: self.inverse_scale.iter().map(|w| -0.5 * w).collect(),
        }
    }
    fn from_natural(natural: &WishartNatural) -> Result<Self, FamilyError> {
        let dimension = natural.value.len().isqrt();
        let degrees_of_freedom = 2.0 * natural.log_determinant + dimension as f64 + 1.0;
        Self::from_inverse_scale(dimension, degrees_of_freedom, natural.value.iter().map(|w| -2.0 * w).collect())
    }
    fn from_expectations(expectations: &WishartExpectations) -> Result<Self, FamilyError> {
        let dimension = expectations.mean.len().isqrt();
        check_symmetric(NAME, "mean", &expectations.mean, dimension)?;
        let factor = cholesky(&expectations.mean, dimension).map_err(refuse(NAME, "mean", dimension))?;
        let gap = cholesky_log_determinant(&factor, dimension) - expectations.mean_log_determinant;
        let condition = "the log-determinant of the mean must exceed the mean of the log-determinant";
        let refusal = FamilyError::NotAttainable { family: NAME, condition };
        let degrees_of_freedom = degrees_of_freedom_from_gap(dimension, gap).ok_or(refusal)?;
        Self::from_scale(
            dimension,
            degrees_of_freedom,
            expectations.mean.iter().map(|m| m / degrees_of_freedom).collect(),
        )
    }
    fn sufficient_statistics(&self, value: &Vec<f64>) -> WishartExpectations {
        let log_determinant = match cholesky(value, self.dimension) {
            Ok(factor) => cholesky_log_determinant(&factor, self.dimension),
            // The density of a matrix outside the support is zero.
            Err(_) => f64::NEG_INFINITY,
        };
        WishartExpectations { mean_log_determinant: log_determinant, mean: value.clone() }
    }
    fn log_base_measure(&self, _value: &Vec<f64>) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    fn log_partition(&self) -> f64 {
        log_partition(self.dimension, self.degrees_of_freedom, self.log_determinant_scale)
    }
    fn expectations(&self) -> WishartExpectations {
        WishartExpectations { mean_log_determinant: self.expected_log_determinant(), mean: self.mean() }
    }
    fn entropy(&self) -> f64 {
        entropy(self.dimension, self.degrees_of_freedom, self.log_determinant_scale)
    }
    /// A′ − A + ½(ν − ν′) E\[log |Λ|\] + ½ν (tr(W′⁻¹W) − d).
    fn kl(&self, other: &Self) -> f64 {
        let trace = dot(&other.inverse_scale, &self.scale);
        other.log_partition() - self.log_partition()
            + 0.5 * (self.degrees_of_freedom - other.degrees_of_freedom) * self.expected_log_determinant()
            + 0.5 * self.degrees_of_freedom * (trace - self.dimension as f64)
    }
    /// Bartlett's decomposition: Λ = (LA)(LA)ᵀ, W = LLᵀ, A lower triangular with Aᵢᵢ² ~ χ²(ν − i) and standard normals below.
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Vec<f64> {
        let d = self.dimension;
        let mut factor = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..i {
                factor[i * d + j] = StandardNormal.sample(random);
            }
            factor[i * d + i] = crate::gamma::sample(random, 0.5 * (self.degrees_of_freedom - i as f64), 0.5).sqrt();
        }
        let Ok(lower) = cholesky(&self.scale, d) else {
            return vec![f64::NAN; d * d];
        };
        let mut product = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                product[i * d + j] = (j..=i).map(|k| lower[i * d + k] * factor[k * d + j]).sum();
            }
        }
        let mut value = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let element = dot(&product[i * d..i * d + j + 1], &product[j * d..j * d + j + 1]);
                value[i * d + j] = element;
                value[j * d + i] = element;
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gamma;

    #[test]
    fn one_dimension_is_a_gamma() {
        let (nu, w) = (3.7, 0.6);
        let wishart = Wishart::from_scale(1, nu, vec![w]).unwrap();
        let (shape, rate) = (0.5 * nu, 0.5 / w);
        assert!((wishart.entropy() - gamma::entropy(shape, rate)).abs() < 1e-13);
        assert!((wishart.expected_log_determinant() - gamma::expectations(shape, rate).mean_log).abs() < 1e-13);
        assert!((wishart.log_density(&vec![1.3]) - gamma::log_density(1.3, shape, rate)).abs() < 1e-13);
        assert!((wishart.variance()[0] - shape / (rate * rate)).abs() < 1e-12);
    }

    #[test]
    fn modes_and_refusals() {
        let wishart = Wishart::from_scale(2, 5.0, vec![2.0, 0.5, 0.5, 1.0]).unwrap();
        assert_eq!(wishart.mode().unwrap(), vec![4.0, 1.0, 1.0, 2.0]);
        assert!(matches!(
            Wishart::from_scale(2, 3.0, vec![1.0, 0.0, 0.0, 1.0]).unwrap().mode(),
            Err(FamilyError::NoMode { .. })
        ));
        assert!(matches!(Wishart::from_scale(2, 1.0, vec![1.0, 0.0, 0.0, 1.0]), Err(FamilyError::OutOfRange { .. })));
        assert!(matches!(
            Wishart::from_scale(2, 3.0, vec![1.0, 2.0, 2.0, 1.0]),
            Err(FamilyError::NotPositiveDefinite { row: 1, .. })
        ));
        assert!(matches!(Wishart::from_scale(2, 3.0, vec![1.0, 0.5, 0.4, 1.0]), Err(FamilyError::NotSymmetric { .. })));
        assert!(matches!(Wishart::from_scale(2, 3.0, vec![1.0]), Err(FamilyError::LengthMismatch { .. })));
    }
}
