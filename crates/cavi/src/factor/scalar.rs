//! Updates of factors of single numbers: normal, gamma, inverse-gamma, beta, Bernoulli, Poisson.

use std::f64::consts::PI;

use vi_families::special;
use vi_families::{beta, gamma, inverse_gamma};

use super::update::{NaturalError, positive};
use super::{shape, simplex};

/// E[x], E[x²] from h and −½τ.
pub(super) fn update_normal(
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let (h, precision) = (natural[0][0], -2.0 * natural[1][0]);
    if !(precision > 0.0 && precision.is_finite() && h.is_finite()) {
        return Err(NaturalError::new(format!("precision {precision}, linear part {h}")));
    }
    let (mean, variance) = (h / precision, if point { 0.0 } else { 1.0 / precision });
    statistics[0][0] = mean;
    statistics[1][0] = mean * mean + variance;
    Ok(if point { 0.0 } else { 0.5 * ((2.0 * PI).ln() + 1.0 - precision.ln()) })
}

/// E[x], E[log x] from −β and a − 1.
pub(super) fn update_gamma(
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let (shape, rate) = (natural[1][0] + 1.0, -natural[0][0]);
    if point {
        // 0 where no message is of log x, as that of a rate whose counts are all zero.
        let mode = shape::gamma_mode(natural[1][0], rate)?;
        statistics[0][0] = mode;
        statistics[1][0] = simplex::finite_log(mode);
        return Ok(0.0);
    }
    positive("shape", shape)?;
    if rate <= 0.0 && natural[1][0] > 0.0 {
        // Where all that it scales is fitted exactly, the rate goes to zero.
        return Err(NaturalError::new(format!(
            "rate {rate} where a positive number is needed: what it is the precision or rate of is fitted exactly, and it grows \
             without end; give it a prior that keeps it finite (a gamma with a larger rate, which does not depend on \
             another variable), or let fewer variables explain the same observations"
        )));
    }
    positive("rate", rate)?;
    let expectations = gamma::expectations(shape, rate);
    statistics[0][0] = expectations.mean;
    statistics[1][0] = expectations.mean_log;
    Ok(gamma::entropy(shape, rate))
}

/// E[1/x], E[log x] from −b and −a − 1.
pub(super) fn update_inverse_gamma(
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let (shape, scale) = (-natural[1][0] - 1.0, -natural[0][0]);
    if point {
        let mode = scale / (shape + 1.0);
        positive("mode", mode)?;
        statistics[0][0] = 1.0 / mode;
        statistics[1][0] = mode.ln();
        return Ok(0.0);
    }
    positive("shape", shape)?;
    positive("scale", scale)?;
    statistics[0][0] = shape / scale;
    statistics[1][0] = scale.ln() - special::digamma(shape);
    Ok(inverse_gamma::entropy(shape, scale))
}

/// E[log x], E[log(1 − x)] from a − 1 and b − 1.
pub(super) fn update_beta(point: bool, natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    if point {
        (statistics[0][0], statistics[1][0]) = simplex::beta_mode_logs(natural[0][0], natural[1][0])?;
        return Ok(0.0);
    }
    let (a, b) = (natural[0][0] + 1.0, natural[1][0] + 1.0);
    positive("alpha", a)?;
    positive("beta", b)?;
    let total = special::digamma(a + b);
    statistics[0][0] = special::digamma(a) - total;
    statistics[1][0] = special::digamma(b) - total;
    Ok(beta::entropy(a, b))
}

/// E[x] from the log odds.
pub(super) fn update_bernoulli(point: bool, log_odds: f64, statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    if log_odds.is_nan() {
        return Err(NaturalError::new("log odds that are not a number"));
    }
    if point {
        statistics[0][0] = if log_odds > 0.0 { 1.0 } else { 0.0 };
        return Ok(0.0);
    }
    let p = special::logistic(log_odds);
    statistics[0][0] = p;
    // H = log(1 + eᵃ) − p·a, stable for either sign.
    Ok(if log_odds.is_infinite() { 0.0 } else { special::log1p_exp(log_odds) - p * log_odds })
}

/// E[x] from the log rate: log q = x η − log x! − e^η; the carrier cancels against that of p.
pub(super) fn update_poisson(log_rate: f64, statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    if log_rate.is_nan() || log_rate == f64::INFINITY {
        return Err(NaturalError::new(format!("log rate {log_rate}")));
    }
    let rate = log_rate.exp();
    statistics[0][0] = rate;
    Ok(if rate == 0.0 { 0.0 } else { rate - rate * log_rate })
}
