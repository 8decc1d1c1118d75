//! Updates of factors on the simplex: Dirichlet, truncated stick breaking, categorical.

use vi_families::special::{digamma, log_sum_exp};
use vi_families::{beta, dirichlet};

use super::update::{NaturalError, positive};
use crate::lower::LOG_OF_ZERO;

pub(super) fn update_dirichlet(point: bool, natural: &[f64], expected_log: &mut [f64]) -> Result<f64, NaturalError> {
    if point {
        let total: f64 = natural.iter().sum();
        for (k, (log, excess)) in expected_log.iter_mut().zip(natural).enumerate() {
            if *excess < -1e-12 || total.is_nan() || total <= 0.0 {
                return Err(NaturalError::new(format!(
                    "a point estimate at the mode of a dirichlet whose concentration {} at {k} is below 1",
                    excess + 1.0
                )));
            }
            *log = finite_log(excess.max(0.0) / total);
        }
        return Ok(0.0);
    }
    let mut concentration = [0.0; 64];
    let mut owned = Vec::new();
    let alpha: &mut [f64] = if natural.len() <= 64 {
        &mut concentration[..natural.len()]
    } else {
        owned.resize(natural.len(), 0.0);
        &mut owned
    };
    for (a, n) in alpha.iter_mut().zip(natural) {
        *a = n + 1.0;
        positive("concentration", *a)?;
    }
    dirichlet::expected_log_into(alpha, expected_log);
    Ok(dirichlet::entropy(alpha))
}

/// log of a probability that may be exactly zero: finite, so that zero times it is zero.
pub(super) fn finite_log(probability: f64) -> f64 {
    probability.ln().max(LOG_OF_ZERO)
}

/// log p and log(1 − p) at the mode p = up/(up + down) of the density Beta(1 + up, 1 + down), which may be 0 or 1 under a flat
/// prior. Taken from the excesses over 1: a sum of weights far below the rounding of 1 is no zero.
pub(super) fn beta_mode_logs(up: f64, down: f64) -> Result<(f64, f64), NaturalError> {
    if up < -1e-12 || down < -1e-12 || !(up + down > 0.0 && (up + down).is_finite()) {
        return Err(NaturalError::new(format!(
            "a point estimate at the mode of beta({}, {}), which has none in [0, 1]",
            1.0 + up,
            1.0 + down
        )));
    }
    let mode = (up.max(0.0) / (up + down)).min(1.0);
    Ok((finite_log(mode), finite_log((down.max(0.0) / (up + down)).min(1.0))))
}

/// Sticks v_k ~ Beta(1 + natural of log v_k + Σ …): a message c to log π adds c_k to log v_k and Σ_{j>k} c_j to log(1 − v_k).
pub(crate) fn stick_parameters(natural: &[&[f64]]) -> Vec<(f64, f64)> {
    stick_excesses(natural).into_iter().map(|(up, down)| (1.0 + up, 1.0 + down)).collect()
}

/// The parameters of the sticks less 1.
fn stick_excesses(natural: &[&[f64]]) -> Vec<(f64, f64)> {
    let counts = natural[0];
    let mut after: f64 = counts.iter().sum();
    (0..counts.len() - 1)
        .map(|k| {
            after -= counts[k];
            (natural[1][k] + counts[k], natural[2][k] + after.max(0.0))
        })
        .collect()
}

/// Blei & Jordan (2006), eq. 18–20: the truncated stick-breaking factor, in which the last stick is 1.
pub(super) fn update_sticks(
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    let sticks = stick_excesses(natural);
    let mut entropy = 0.0;
    let mut remaining = 0.0;
    for (k, &(up, down)) in sticks.iter().enumerate() {
        let (log_v, log_rest) = if point {
            beta_mode_logs(up, down)?
        } else {
            let (a, b) = (1.0 + up, 1.0 + down);
            positive("alpha", a)?;
            positive("beta", b)?;
            entropy += beta::entropy(a, b);
            let total = digamma(a + b);
            (digamma(a) - total, digamma(b) - total)
        };
        statistics[1][k] = log_v;
        statistics[2][k] = log_rest;
        statistics[0][k] = log_v + remaining;
        remaining += log_rest;
    }
    statistics[0][sticks.len()] = remaining;
    Ok(entropy)
}

pub(super) fn update_categorical(point: bool, natural: &[f64], probabilities: &mut [f64]) -> Result<f64, NaturalError> {
    let normalizer = log_sum_exp(natural);
    if !normalizer.is_finite() {
        return Err(NaturalError::new("every category has probability zero"));
    }
    if point {
        let mut best = 0;
        for (k, n) in natural.iter().enumerate() {
            if *n > natural[best] {
                best = k;
            }
        }
        probabilities.fill(0.0);
        probabilities[best] = 1.0;
        return Ok(0.0);
    }
    let mut entropy = normalizer;
    for (p, n) in probabilities.iter_mut().zip(natural) {
        *p = (n - normalizer).exp();
        if *p > 0.0 {
            entropy -= *p * n;
        }
    }
    Ok(entropy)
}
