//! Parameters of bounds and scales of augmentations: the logit's ξ and the Laplace distribution's latent variance.

use std::f64::consts::LN_2;

use vi_families::special;

use super::update::NaturalError;

/// Smallest distance, in scales, that a Laplace distribution tells from zero.
const CLOSEST: f64 = 1e-10;

/// λ(ξ) and the constant of the bound on log σ, which is tight at ξ² = E[f²] (Jaakkola & Jordan 2000; PRML 10.163).
pub(super) fn update_jaakkola_jordan(natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let weight = natural[1][0];
    if weight == 0.0 {
        statistics[0][0] = 0.0;
        statistics[1][0] = 0.0;
        return Ok(0.0);
    }
    let squared = (-natural[0][0] / weight).max(0.0);
    if !squared.is_finite() {
        return Err(NaturalError::new(format!("expected square of the log odds {squared}")));
    }
    let xi = squared.sqrt();
    let lambda = if xi < 1e-4 { 0.125 - squared / 96.0 } else { (0.5 * xi).tanh() / (4.0 * xi) };
    statistics[0][0] = lambda;
    statistics[1][0] = special::log_logistic(xi) - 0.5 * xi + lambda * squared;
    Ok(0.0)
}

/// E[1/s] = 1/r of the generalised inverse Gaussian q(s), r² = E[(x − f)²]/b², and the constant c: the whole part of s in the ELBO
/// is −log 2 − r = −½ r² E[1/s] + c (Andrews & Mallows 1974; Park & Casella 2008).
pub(super) fn update_laplace_scale(natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let weight = natural[1][0];
    if weight == 0.0 {
        statistics[0][0] = 0.0;
        statistics[1][0] = 0.0;
        return Ok(0.0);
    }
    let r = (-2.0 * natural[0][0] / weight).max(0.0).sqrt();
    if !r.is_finite() {
        return Err(NaturalError::new(format!("expected distance {r}")));
    }
    // A point may lie on its observation: the weight stays finite.
    let r = r.max(CLOSEST);
    statistics[0][0] = 1.0 / r;
    statistics[1][0] = -LN_2 - 0.5 * r;
    Ok(0.0)
}
