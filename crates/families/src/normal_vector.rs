//! The multivariate normal distribution with an isotropic, diagonal or full precision.

use crate::FamilyError;
use crate::error::{check_finite, check_length, check_positive};
use crate::family::{Coordinates, ExponentialFamily, Field, coordinates};
use crate::matrix::{
    NotPositiveDefinite, add_outer_product, back_substitute, cholesky, cholesky_in_place, cholesky_inverse_into,
    cholesky_log_determinant, cholesky_solve, dot, inverse_and_log_determinant, multiply_vector, quadratic_form,
    scaled_identity,
};
use crate::special::{HALF_LN_TWO_PI, LN_TWO_PI};
use crate::wishart::{check_symmetric, refuse};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

const NAME: &str = "normal";

/// A symmetric matrix that may be a multiple of the identity or diagonal: a precision, its natural parameter, or the second
/// moments that go with it (the trace, the diagonal, or all of E\[xxᵀ\]).
#[derive(Debug, Clone, PartialEq)]
pub enum Quadratic {
    /// A multiple of the identity; as a statistic xᵀx.
    Isotropic(f64),
    /// A diagonal `[dimension]`; as a statistic the squares xᵢ².
    Diagonal(Vec<f64>),
    /// All elements, row-major `[dimension, dimension]`; as a statistic xxᵀ.
    Matrix(Vec<f64>),
}

impl Field for Quadratic {
    fn visit_field(&self, visitor: &mut dyn FnMut(f64)) {
        match self {
            Self::Isotropic(value) => visitor(*value),
            Self::Diagonal(values) | Self::Matrix(values) => values.visit_field(visitor),
        }
    }
    fn visit_field_mut(&mut self, visitor: &mut dyn FnMut(&mut f64)) {
        match self {
            Self::Isotropic(value) => visitor(value),
            Self::Diagonal(values) | Self::Matrix(values) => values.visit_field_mut(visitor),
        }
    }
}

impl Quadratic {
    fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Isotropic(value) => Self::Isotropic(function(*value)),
            Self::Diagonal(values) => Self::Diagonal(values.iter().map(|value| function(*value)).collect()),
            Self::Matrix(values) => Self::Matrix(values.iter().map(|value| function(*value)).collect()),
        }
    }

    /// All elements `[dimension, dimension]`.
    pub fn to_matrix(&self, dimension: usize) -> Vec<f64> {
        match self {
            Self::Isotropic(value) => scaled_identity(dimension, *value),
            Self::Diagonal(values) => {
                let mut matrix = vec![0.0; dimension * dimension];
                values.iter().enumerate().for_each(|(i, value)| matrix[i * dimension + i] = *value);
                matrix
            }
            Self::Matrix(values) => values.clone(),
        }
    }

    /// A v.
    pub fn multiply(&self, vector: &[f64]) -> Vec<f64> {
        match self {
            Self::Isotropic(value) => vector.iter().map(|x| value * x).collect(),
            Self::Diagonal(values) => values.iter().zip(vector).map(|(value, x)| value * x).collect(),
            Self::Matrix(values) => {
                let mut product = vec![0.0; vector.len()];
                multiply_vector(values, vector.len(), vector, &mut product);
                product
            }
        }
    }

    /// A⁻¹ and log |A|.
    ///
    /// # Errors
    /// Where the matrix is not positive definite.
    pub fn inverse_and_log_determinant(&self, dimension: usize) -> Result<(Self, f64), NotPositiveDefinite> {
        match self {
            Self::Isotropic(value) if *value > 0.0 => Ok((Self::Isotropic(1.0 / value), dimension as f64 * value.ln())),
            Self::Isotropic(_) => Err(NotPositiveDefinite { row: 0 }),
            Self::Diagonal(values) => match values.iter().position(|value| value.is_nan() || *value <= 0.0) {
                Some(row) => Err(NotPositiveDefinite { row }),
                None => Ok((self.map(|value| 1.0 / value), values.iter().map(|value| value.ln()).sum())),
            },
            Self::Matrix(values) => {
                let (inverse, log_determinant) = inverse_and_log_determinant(values, dimension)?;
                Ok((Self::Matrix(inverse), log_determinant))
            }
        }
    }

    /// tr(A B).
    pub fn trace_of_product(&self, other: &Self, dimension: usize) -> f64 {
        match (self, other) {
            (Self::Isotropic(a), Self::Isotropic(b)) => dimension as f64 * a * b,
            (Self::Isotropic(a), Self::Diagonal(b)) | (Self::Diagonal(b), Self::Isotropic(a)) => {
                a * b.iter().sum::<f64>()
            }
            (Self::Diagonal(a), Self::Diagonal(b)) => dot(a, b),
            (Self::Matrix(a), b) | (b, Self::Matrix(a)) => dot(a, &b.to_matrix(dimension)),
        }
    }
}

/// N(x | μ, Λ⁻¹) = |Λ|^½ (2π)^(−d/2) exp(−½ (x − μ)ᵀΛ(x − μ)) (Bishop PRML B.37).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalVector {
    mean: Vec<f64>,
    precision: Quadratic,
    covariance: Quadratic,
    log_determinant_precision: f64,
}

/// Natural parameters η = (Λμ, −½Λ).
#[derive(Debug, Clone, PartialEq)]
pub struct NormalVectorNatural {
    /// Λμ, the coefficients of x, `[dimension]`.
    pub value: Vec<f64>,
    /// −½Λ, the coefficients of xxᵀ, of the squares, or of xᵀx.
    pub square: Quadratic,
}

/// Sufficient statistics T(x) = (x, xxᵀ), (x, squares) or (x, xᵀx), or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalVectorExpectations {
    /// E\[x\] `[dimension]`.
    pub mean: Vec<f64>,
    /// E\[xxᵀ\], E of the squares, or E\[xᵀx\].
    pub mean_square: Quadratic,
}

coordinates!(NormalVectorNatural: value, square);
coordinates!(NormalVectorExpectations: mean, mean_square);

/// log N(x | μ, Λ⁻¹) from the squared distance (x − μ)ᵀΛ(x − μ) and log |Λ|.
#[inline]
pub fn log_density(squared_distance: f64, dimension: usize, log_determinant_precision: f64) -> f64 {
    0.5 * log_determinant_precision - HALF_LN_TWO_PI * dimension as f64 - 0.5 * squared_distance
}

/// ½ (d + d log 2π − log |Λ|) (Bishop PRML B.41).
#[inline]
pub fn entropy(dimension: usize, log_determinant_precision: f64) -> f64 {
    0.5 * (dimension as f64 * (1.0 + LN_TWO_PI) - log_determinant_precision)
}

/// From Λμ `[dimension]` and Λ `[dimension, dimension]` writes μ and Λ⁻¹, with `factor` `[dimension, dimension]` left holding
/// the Cholesky factor of Λ; gives log |Λ|. Allocates nothing.
///
/// # Errors
/// Where Λ is not positive definite.
pub fn moments_from_natural_into(
    precision_mean: &[f64],
    precision: &[f64],
    mean: &mut [f64],
    covariance: &mut [f64],
    factor: &mut [f64],
) -> Result<f64, FamilyError> {
    let dimension = precision_mean.len();
    factor.copy_from_slice(precision);
    cholesky_in_place(factor, dimension).map_err(refuse(NAME, "precision", dimension))?;
    mean.copy_from_slice(precision_mean);
    cholesky_solve(factor, dimension, mean);
    cholesky_inverse_into(factor, dimension, covariance);
    Ok(cholesky_log_determinant(factor, dimension))
}

impl NormalVector {
    /// N(mean, precision⁻¹).
    ///
    /// # Errors
    /// Where the mean is not finite, or the precision has another dimension or is not symmetric positive definite.
    pub fn new(mean: Vec<f64>, precision: Quadratic) -> Result<Self, FamilyError> {
        let dimension = mean.len();
        for value in &mean {
            check_finite(NAME, "mean", *value)?;
        }
        match &precision {
            Quadratic::Isotropic(value) => check_positive(NAME, "precision", *value)?,
            Quadratic::Diagonal(values) => {
                check_length(NAME, "precision", values.len(), dimension)?;
                for value in values {
                    check_positive(NAME, "precision", *value)?;
                }
            }
            Quadratic::Matrix(values) => check_symmetric(NAME, "precision", values, dimension)?,
        }
        let (covariance, log_determinant_precision) =
            precision.inverse_and_log_determinant(dimension).map_err(refuse(NAME, "precision", dimension))?;
        Ok(Self { mean, precision, covariance, log_determinant_precision })
    }

    /// N(mean, covariance).
    ///
    /// # Errors
    /// As [`NormalVector::new`], with the covariance in the precision's place.
    pub fn from_covariance(mean: Vec<f64>, covariance: Quadratic) -> Result<Self, FamilyError> {
        let dimension = mean.len();
        match &covariance {
            Quadratic::Isotropic(_) => {}
            Quadratic::Diagonal(values) => check_length(NAME, "covariance", values.len(), dimension)?,
            Quadratic::Matrix(values) => check_symmetric(NAME, "covariance", values, dimension)?,
        }
        let (precision, _) =
            covariance.inverse_and_log_determinant(dimension).map_err(refuse(NAME, "covariance", dimension))?;
        Self::new(mean, precision)
    }

    /// d, the number of coordinates.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// μ `[dimension]`, which is also the mode.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Λ.
    pub fn precision(&self) -> &Quadratic {
        &self.precision
    }

    /// Λ⁻¹.
    pub fn covariance(&self) -> &Quadratic {
        &self.covariance
    }

    /// log |Λ|.
    pub fn log_determinant_precision(&self) -> f64 {
        self.log_determinant_precision
    }

    /// The marginal variances `[dimension]`.
    pub fn variance(&self) -> Vec<f64> {
        let d = self.dimension();
        match &self.covariance {
            Quadratic::Isotropic(value) => vec![*value; d],
            Quadratic::Diagonal(values) => values.clone(),
            Quadratic::Matrix(values) => (0..d).map(|i| values[i * d + i]).collect(),
        }
    }
}

impl ExponentialFamily for NormalVector {
    const NAME: &'static str = NAME;
    type Value = Vec<f64>;
    type Natural = NormalVectorNatural;
    type Expectations = NormalVectorExpectations;

    fn to_natural(&self) -> NormalVectorNatural {
        NormalVectorNatural {
            value: self.precision.multiply(&self.mean),
            square: self.precision.map(|value| -0.5 * value),
        }
    }
    fn from_natural(natural: &NormalVectorNatural) -> Result<Self, FamilyError> {
        let dimension = natural.value.len();
        let precision = natural.square.map(|value| -2.0 * value);
        let (covariance, _) =
            precision.inverse_and_log_determinant(dimension).map_err(refuse(NAME, "precision", dimension))?;
        Self::new(covariance.multiply(&natural.value), precision)
    }
    fn from_expectations(expectations: &NormalVectorExpectations) -> Result<Self, FamilyError> {
        let mean = expectations.mean.clone();
        let covariance = match &expectations.mean_square {
            Quadratic::Isotropic(square) => Quadratic::Isotropic((square - dot(&mean, &mean)) / mean.len() as f64),
            Quadratic::Diagonal(squares) => {
                Quadratic::Diagonal(squares.iter().zip(&mean).map(|(s, m)| s - m * m).collect())
            }
            Quadratic::Matrix(products) => {
                check_length(NAME, "second moments", products.len(), mean.len() * mean.len())?;
                let mut covariance = products.clone();
                add_outer_product(&mut covariance, -1.0, &mean);
                Quadratic::Matrix(covariance)
            }
        };
        Self::from_covariance(mean, covariance)
    }
    fn sufficient_statistics(&self, value: &Vec<f64>) -> NormalVectorExpectations {
        let mean_square = match &self.precision {
            Quadratic::Isotropic(_) => Quadratic::Isotropic(dot(value, value)),
            Quadratic::Diagonal(_) => Quadratic::Diagonal(value.iter().map(|x| x * x).collect()),
            Quadratic::Matrix(_) => {
                let mut products = vec![0.0; value.len() * value.len()];
                add_outer_product(&mut products, 1.0, value);
                Quadratic::Matrix(products)
            }
        };
        NormalVectorExpectations { mean: value.clone(), mean_square }
    }
    fn log_base_measure(&self, _value: &Vec<f64>) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    fn expected_log_base_measure(&self) -> f64 {
        -HALF_LN_TWO_PI * self.dimension() as f64
    }
    /// A = ½ μᵀΛμ − ½ log |Λ|.
    fn log_partition(&self) -> f64 {
        0.5 * dot(&self.mean, &self.precision.multiply(&self.mean)) - 0.5 * self.log_determinant_precision
    }
    fn expectations(&self) -> NormalVectorExpectations {
        let mut expectations = self.sufficient_statistics(&self.mean);
        match (&mut expectations.mean_square, &self.covariance) {
            (Quadratic::Isotropic(square), covariance) => {
                *square += covariance.trace_of_product(&Quadratic::Isotropic(1.0), self.dimension());
            }
            (square, covariance) => {
                let covariance =
                    NormalVectorExpectations { mean: vec![0.0; self.dimension()], mean_square: covariance.clone() };
                let mut sum = NormalVectorExpectations { mean: self.mean.clone(), mean_square: square.clone() };
                sum.add_scaled(1.0, &covariance);
                *square = sum.mean_square;
            }
        }
        expectations
    }
    fn entropy(&self) -> f64 {
        entropy(self.dimension(), self.log_determinant_precision)
    }
    /// ½ (tr(Λ′Λ⁻¹) − d + log |Λ| − log |Λ′| + (μ − μ′)ᵀΛ′(μ − μ′)).
    fn kl(&self, other: &Self) -> f64 {
        let d = self.dimension();
        let difference: Vec<f64> = self.mean.iter().zip(&other.mean).map(|(a, b)| a - b).collect();
        let distance = dot(&difference, &other.precision.multiply(&difference));
        let trace = other.precision.trace_of_product(&self.covariance, d);
        0.5 * (trace - d as f64 + self.log_determinant_precision - other.log_determinant_precision + distance)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Vec<f64> {
        let d = self.dimension();
        let mut draw: Vec<f64> = (0..d).map(|_| StandardNormal.sample(random)).collect();
        match &self.precision {
            Quadratic::Isotropic(precision) => draw.iter_mut().for_each(|z| *z /= precision.sqrt()),
            Quadratic::Diagonal(precisions) => {
                draw.iter_mut().zip(precisions).for_each(|(z, precision)| *z /= precision.sqrt())
            }
            Quadratic::Matrix(precision) => match cholesky(precision, d) {
                Ok(lower) => back_substitute(&lower, d, &mut draw),
                Err(_) => draw.fill(f64::NAN),
            },
        }
        draw.iter_mut().zip(&self.mean).for_each(|(z, m)| *z += m);
        draw
    }
    fn log_density(&self, value: &Vec<f64>) -> f64 {
        let difference: Vec<f64> = value.iter().zip(&self.mean).map(|(a, b)| a - b).collect();
        let distance = match &self.precision {
            Quadratic::Matrix(precision) => quadratic_form(precision, &difference),
            precision => dot(&difference, &precision.multiply(&difference)),
        };
        log_density(distance, self.dimension(), self.log_determinant_precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_precision_is_a_product_of_scalars() {
        let vector = NormalVector::new(vec![0.5, -1.0], Quadratic::Diagonal(vec![2.0, 0.3])).unwrap();
        let expected = crate::normal::log_density(1.2, 0.5, 2.0) + crate::normal::log_density(0.1, -1.0, 0.3);
        assert!((vector.log_density(&vec![1.2, 0.1]) - expected).abs() < 1e-14);
        let full = NormalVector::new(vec![0.5, -1.0], Quadratic::Matrix(vec![2.0, 0.0, 0.0, 0.3])).unwrap();
        assert!((vector.entropy() - full.entropy()).abs() < 1e-14);
        assert!(vector.kl(&full).abs() < 1e-14 && full.kl(&vector).abs() < 1e-14);
    }

    #[test]
    fn moments_from_natural_parameters_without_allocation() {
        let precision = [2.0, 0.6, 0.6, 1.0];
        let (mut mean, mut covariance, mut factor) = ([0.0; 2], [0.0; 4], [0.0; 4]);
        let log_determinant =
            moments_from_natural_into(&[1.0, 2.0], &precision, &mut mean, &mut covariance, &mut factor).unwrap();
        let determinant: f64 = 2.0 - 0.36;
        assert!((log_determinant - determinant.ln()).abs() < 1e-14);
        assert!((covariance[1] + 0.6 / determinant).abs() < 1e-14 && (covariance[0] - 1.0 / determinant).abs() < 1e-14);
        assert!(
            (mean[0] - (1.0 - 1.2) / determinant).abs() < 1e-14 && (mean[1] - (4.0 - 0.6) / determinant).abs() < 1e-14
        );
        let refused =
            moments_from_natural_into(&[1.0, 2.0], &[1.0, 2.0, 2.0, 1.0], &mut mean, &mut covariance, &mut factor);
        assert!(matches!(refused, Err(FamilyError::NotPositiveDefinite { parameter: "precision", row: 1, .. })));
    }

    #[test]
    fn refusals() {
        assert!(NormalVector::new(vec![0.0, 0.0], Quadratic::Diagonal(vec![1.0])).is_err());
        assert!(NormalVector::new(vec![0.0], Quadratic::Isotropic(0.0)).is_err());
        assert!(NormalVector::from_covariance(vec![0.0, 0.0], Quadratic::Matrix(vec![1.0, 1.0, 1.0, 1.0])).is_err());
    }
}
