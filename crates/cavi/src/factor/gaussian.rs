//! Updates of Gaussian and Wishart factors and their joints.

use vi_families::special::{digamma, ln_gamma, log_normal_cdf, multivariate_digamma};
use vi_families::{matrix, normal_gamma_vector, wishart};

use super::update::{NaturalError, positive};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// N(x | J⁻¹h, J⁻¹) with h the coefficient of x and −J/2 that of xxᵀ.
pub(super) fn update_vector(
    d: usize,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let mut lower = [0.0; 64];
    let mut owned = Vec::new();
    let lower: &mut [f64] = if d * d <= 64 {
        &mut lower[..d * d]
    } else {
        owned.resize(d * d, 0.0);
        &mut owned
    };
    for i in 0..d {
        for j in 0..d {
            lower[i * d + j] = -(natural[1][i * d + j] + natural[1][j * d + i]);
        }
    }
    matrix::cholesky_in_place(lower, d)
        .map_err(|_| NaturalError::new("a precision matrix that is not positive definite"))?;
    let (mean, second) = statistics.split_at_mut(1);
    let (mean, second) = (&mut *mean[0], &mut *second[0]);
    mean.copy_from_slice(natural[0]);
    matrix::cholesky_solve(lower, d, mean);
    if mean.iter().any(|m| !m.is_finite()) {
        return Err(NaturalError::new("a mean that is not finite"));
    }
    if point {
        second.fill(0.0);
    } else {
        matrix::cholesky_inverse_into(lower, d, second);
    }
    for i in 0..d {
        for j in 0..d {
            second[i * d + j] += mean[i] * mean[j];
        }
    }
    if point {
        return Ok(0.0);
    }
    Ok(0.5 * (d as f64 * (LOG_TWO_PI + 1.0) - matrix::cholesky_log_determinant(lower, d)))
}

/// Scale matrix and log|W| from W⁻¹.
fn scale_of(inverse_scale: &mut [f64], d: usize, scale: &mut [f64]) -> Result<f64, NaturalError> {
    matrix::cholesky_in_place(inverse_scale, d)
        .map_err(|_| NaturalError::new("an inverse scale matrix that is not positive definite"))?;
    matrix::cholesky_inverse_into(inverse_scale, d, scale);
    Ok(-matrix::cholesky_log_determinant(inverse_scale, d))
}

/// W(Λ | W, ν): coefficient of Λ is −½W⁻¹, of log|Λ| (ν − d − 1)/2 (PRML B.78).
pub(super) fn update_wishart(
    d: usize,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let degrees = 2.0 * natural[1][0] + d as f64 + 1.0;
    let mut inverse = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..d {
            inverse[i * d + j] = -(natural[0][i * d + j] + natural[0][j * d + i]);
        }
    }
    let log_determinant = scale_of(&mut inverse, d, statistics[0])?;
    let factor = if point { degrees - d as f64 - 1.0 } else { degrees };
    positive("degrees of freedom above the dimension", if point { factor } else { degrees - d as f64 + 1.0 })?;
    statistics[0].iter_mut().for_each(|w| *w *= factor);
    if point {
        statistics[1][0] = log_determinant + d as f64 * factor.ln();
        return Ok(0.0);
    }
    statistics[1][0] = wishart::expected_log_determinant(d, degrees, log_determinant);
    Ok(wishart::entropy(d, degrees, log_determinant))
}

/// Shape, rate, mean and mean precision of a normal-gamma factor.
pub(crate) fn normal_gamma_parameters(natural: &[&[f64]]) -> (f64, f64, f64, f64) {
    let kappa = -2.0 * natural[3][0];
    let mean = natural[2][0] / kappa;
    (natural[1][0] + 0.5, -natural[0][0] - 0.5 * kappa * mean * mean, mean, kappa)
}

/// τ ~ Gamma(a, b), μ | τ ~ N(m, 1/(κτ)): coefficients −b − κm²/2 of τ, a − ½ of log τ, κm of τμ, −κ/2 of τμ².
pub(super) fn update_normal_gamma(
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let (shape, rate, mean, kappa) = normal_gamma_parameters(natural);
    positive("mean precision", kappa)?;
    positive("rate", rate)?;
    let (tau, log_tau, variance) = if point {
        let mode = (shape - 0.5) / rate;
        positive("mode of the precision", mode)?;
        (mode, mode.ln(), 0.0)
    } else {
        positive("shape", shape)?;
        (shape / rate, digamma(shape) - rate.ln(), 1.0 / kappa)
    };
    statistics[0][0] = tau;
    statistics[1][0] = log_tau;
    statistics[2][0] = tau * mean;
    statistics[3][0] = tau * mean * mean + variance;
    if point {
        return Ok(0.0);
    }
    let gamma_entropy = shape - rate.ln() + ln_gamma(shape) + (1.0 - shape) * digamma(shape);
    Ok(gamma_entropy + 0.5 * (LOG_TWO_PI + 1.0 - kappa.ln() - log_tau))
}

/// Parameters of a normal-gamma factor of a vector, τ ~ Gamma(a, b), μ | τ ~ N(m, (τΛ)⁻¹), with Λ⁻¹ and log |Λ|.
#[derive(Debug, Clone)]
pub(crate) struct NormalGammaVectorParameters {
    /// a.
    pub(crate) shape: f64,
    /// b.
    pub(crate) rate: f64,
    /// m `[d]`.
    pub(crate) mean: Vec<f64>,
    /// Λ⁻¹ `[d, d]`.
    pub(crate) inverse: Vec<f64>,
    log_determinant: f64,
}

impl NormalGammaVectorParameters {
    /// From the coefficients −b − ½mᵀΛm of τ, a − 1 + ½d of log τ, Λm of τμ, −½Λ of τμμᵀ.
    pub(crate) fn new(d: usize, natural: &[&[f64]]) -> Result<Self, NaturalError> {
        let precision: Vec<f64> = (0..d * d).map(|e| -(natural[3][e] + natural[3][e % d * d + e / d])).collect();
        let (inverse, log_determinant) = matrix::inverse_and_log_determinant(&precision, d)
            .map_err(|_| NaturalError::new("a mean precision that is not positive definite"))?;
        let mut mean = vec![0.0; d];
        matrix::multiply_vector(&inverse, d, natural[2], &mut mean);
        let rate = -natural[0][0] - 0.5 * matrix::dot(&mean, natural[2]);
        let shape = natural[1][0] + 1.0 - 0.5 * d as f64;
        Ok(Self { shape, rate, mean, inverse, log_determinant })
    }

    /// E[1/τ], infinite where it does not exist.
    pub(crate) fn expected_variance(&self) -> f64 {
        if self.shape > 1.0 { self.rate / (self.shape - 1.0) } else { f64::INFINITY }
    }
}

/// E[τ], E[log τ], E[τμ] = m E[τ], E[τμμᵀ] = mmᵀ E[τ] + Λ⁻¹.
pub(super) fn update_normal_gamma_vector(
    d: usize,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let own = NormalGammaVectorParameters::new(d, natural)?;
    positive("rate", own.rate)?;
    let (tau, log_tau) = if point {
        let mode = (own.shape - 1.0 + 0.5 * d as f64) / own.rate;
        positive("mode of the precision", mode)?;
        (mode, mode.ln())
    } else {
        positive("shape", own.shape)?;
        (own.shape / own.rate, digamma(own.shape) - own.rate.ln())
    };
    statistics[0][0] = tau;
    statistics[1][0] = log_tau;
    for i in 0..d {
        statistics[2][i] = tau * own.mean[i];
        for j in 0..d {
            let covariance = if point { 0.0 } else { own.inverse[i * d + j] };
            statistics[3][i * d + j] = tau * own.mean[i] * own.mean[j] + covariance;
        }
    }
    if point {
        return Ok(0.0);
    }
    Ok(normal_gamma_vector::entropy(d, own.log_determinant, own.shape, own.rate))
}

/// Λ ~ W(W, ν), μ | Λ ~ N(m, (κΛ)⁻¹) (PRML B.98): coefficients −½(W⁻¹ + κmmᵀ) of Λ, (ν − d)/2 of log|Λ|, κm of Λμ, −κ/2 of μᵀΛμ.
pub(super) fn update_normal_wishart(
    d: usize,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let kappa = -2.0 * natural[3][0];
    positive("mean precision", kappa)?;
    let degrees = 2.0 * natural[1][0] + d as f64;
    let mean: Vec<f64> = natural[2].iter().map(|h| h / kappa).collect();
    let mut inverse = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..d {
            inverse[i * d + j] = -(natural[0][i * d + j] + natural[0][j * d + i]) - kappa * mean[i] * mean[j];
        }
    }
    let log_determinant = scale_of(&mut inverse, d, statistics[0])?;
    let factor = if point { degrees - d as f64 } else { degrees };
    positive("degrees of freedom above the dimension", if point { factor } else { degrees - d as f64 + 1.0 })?;
    statistics[0].iter_mut().for_each(|w| *w *= factor);
    for i in 0..d {
        statistics[2][i] = (0..d).map(|j| statistics[0][i * d + j] * mean[j]).sum();
    }
    let quadratic: f64 = (0..d).map(|i| mean[i] * statistics[2][i]).sum();
    if point {
        statistics[1][0] = log_determinant + d as f64 * factor.ln();
        statistics[3][0] = quadratic;
        return Ok(0.0);
    }
    let expected_log = multivariate_digamma(0.5 * degrees, d) + d as f64 * std::f64::consts::LN_2 + log_determinant;
    statistics[1][0] = expected_log;
    statistics[3][0] = quadratic + d as f64 / kappa;
    // H = H[Λ] + E[H[μ | Λ]] with H[μ | Λ] = ½(d(1 + log 2π − log κ) − log|Λ|).
    Ok(wishart::entropy(d, degrees, log_determinant)
        + 0.5 * (d as f64 * (1.0 + LOG_TWO_PI - kappa.ln()) - expected_log))
}

/// A normal N(h/J, 1/J) cut to one side of zero; the side is the message to the third statistic.
///
/// With z = ±μ√J: E a = μ ± φ(z)/Φ(z)/√J, H = ½ log(2πe/J) + log Φ(z) − ½ z φ(z)/Φ(z).
pub(super) fn update_truncated(natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let (h, precision, side) = (natural[0][0], -2.0 * natural[1][0], natural[2][0]);
    statistics[2][0] = 0.0;
    if precision == 0.0 && h == 0.0 {
        // Nothing was observed here: the variable does not exist.
        statistics[0][0] = 0.0;
        statistics[1][0] = 0.0;
        return Ok(0.0);
    }
    positive("precision", precision)?;
    let (mean, sd) = (h / precision, 1.0 / precision.sqrt());
    let z = side * mean / sd;
    if !z.is_finite() {
        return Err(NaturalError::new(format!("mean {mean}")));
    }
    let ratio = vi_families::special::inverse_mills_ratio(z);
    let value = mean + side * sd * ratio;
    // E[a²] = σ² + μ E[a] since the boundary is at zero.
    statistics[0][0] = value;
    statistics[1][0] = sd * sd + mean * value;
    Ok(0.5 * (LOG_TWO_PI + 1.0) + sd.ln() + log_normal_cdf(z) - 0.5 * z * ratio)
}

/// The missing coordinates of a vector given the observed ones: with precision J and linear part h of the whole,
/// x_m | x_o ~ N(J_mm⁻¹(h_m − J_mo x_o), J_mm⁻¹) (PRML 2.73–2.75 in information form). Where nothing is observed and nothing
/// said (a masked row), it is a standard normal that no term reads.
pub(super) fn update_partial(d: usize, natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let precision = |i: usize, j: usize| -(natural[1][i * d + j] + natural[1][j * d + i]);
    let missing: Vec<usize> = (0..d).filter(|&i| natural[3][i] == 0.0).collect();
    let m = missing.len();
    let mut x: Vec<f64> = natural[2].to_vec();
    let mut covariance = vec![0.0; m * m];
    let mut entropy = 0.0;
    if m == d && natural[1].iter().all(|j| *j == 0.0) {
        covariance.iter_mut().step_by(d + 1).for_each(|variance| *variance = 1.0);
    } else if m > 0 {
        let mut lower = vec![0.0; m * m];
        let mut mean = vec![0.0; m];
        for (a, &i) in missing.iter().enumerate() {
            for (b, &j) in missing.iter().enumerate() {
                lower[a * m + b] = precision(i, j);
            }
            mean[a] = natural[0][i];
            for (j, (value, present)) in natural[2].iter().zip(natural[3]).enumerate() {
                if *present != 0.0 {
                    mean[a] -= precision(i, j) * value;
                }
            }
        }
        matrix::cholesky_in_place(&mut lower, m)
            .map_err(|_| NaturalError::new("a precision matrix that is not positive definite"))?;
        matrix::cholesky_solve(&lower, m, &mut mean);
        matrix::cholesky_inverse_into(&lower, m, &mut covariance);
        for (a, &i) in missing.iter().enumerate() {
            x[i] = mean[a];
        }
        entropy = 0.5 * (m as f64 * (LOG_TWO_PI + 1.0) - matrix::cholesky_log_determinant(&lower, m));
    }
    statistics[0].copy_from_slice(&x);
    for i in 0..d {
        for j in 0..d {
            statistics[1][i * d + j] = x[i] * x[j];
        }
    }
    for (a, &i) in missing.iter().enumerate() {
        for (b, &j) in missing.iter().enumerate() {
            statistics[1][i * d + j] += covariance[a * m + b];
        }
    }
    statistics[2].fill(0.0);
    statistics[3].fill(0.0);
    statistics[4][0] = entropy;
    Ok(0.0)
}
