//! Densities of positive values and of probabilities.

use std::f64::consts::{FRAC_2_PI, LN_2, PI};

use vi_families::special::x_ln_y;

use super::Partials;
use super::real::cauchy;

/// log Gamma(x | α, β) = α ln β − ln Γ(α) + (α − 1) ln x − β x.
pub(super) fn gamma(a: &[f64; 5]) -> Partials {
    let [x, shape, rate, ln_gamma, _] = *a;
    let (log_rate, log_x) = (rate.ln(), x.ln());
    (
        shape * log_rate - ln_gamma + x_ln_y(shape - 1.0, x) - rate * x,
        [(shape - 1.0) / x - rate, log_rate + log_x, shape / rate - x, -1.0, 0.0],
    )
}

/// log InvGamma(x | α, β) = α ln β − ln Γ(α) − (α + 1) ln x − β/x.
pub(super) fn inverse_gamma(a: &[f64; 5]) -> Partials {
    let [x, shape, scale, ln_gamma, _] = *a;
    let (log_scale, log_x) = (scale.ln(), x.ln());
    (
        shape * log_scale - ln_gamma - (shape + 1.0) * log_x - scale / x,
        [(scale / x - shape - 1.0) / x, log_scale - log_x, shape / scale - 1.0 / x, -1.0, 0.0],
    )
}

/// log Exp(x | λ) = ln λ − λ x.
pub(super) fn exponential(a: &[f64; 5]) -> Partials {
    let [x, rate, ..] = *a;
    (rate.ln() - rate * x, [-rate, 1.0 / rate - x, 0.0, 0.0, 0.0])
}

/// log HalfNormal(x | σ) = ½ ln(2/π) − ln σ − ½ x²/σ².
pub(super) fn half_normal(a: &[f64; 5]) -> Partials {
    let [x, sd, ..] = *a;
    let z = x / sd;
    (0.5 * FRAC_2_PI.ln() - sd.ln() - 0.5 * z * z, [-z / sd, (z * z - 1.0) / sd, 0.0, 0.0, 0.0])
}

/// log HalfCauchy(x | s) = ln(2/π) − ln s − ln(1 + x²/s²).
pub(super) fn half_cauchy(a: &[f64; 5]) -> Partials {
    let [x, scale, ..] = *a;
    let (value, [dx, _, d_scale, ..]) = cauchy(&[x, 0.0, scale, 0.0, 0.0]);
    (value + LN_2, [dx, d_scale, 0.0, 0.0, 0.0])
}

/// log LogNormal(x | μ, σ) = −ln x − ln σ − ½ z² − ½ ln 2π, z = (ln x − μ)/σ.
pub(super) fn log_normal(a: &[f64; 5]) -> Partials {
    let [x, mean, sd, ..] = *a;
    let log = x.ln();
    let z = (log - mean) / sd;
    (-log - sd.ln() - 0.5 * z * z - 0.5 * (2.0 * PI).ln(), [-(1.0 + z / sd) / x, z / sd, (z * z - 1.0) / sd, 0.0, 0.0])
}

/// log Beta(x | α, β) = (α − 1) ln x + (β − 1) ln(1 − x) − ln B(α, β).
pub(super) fn beta(a: &[f64; 5]) -> Partials {
    let [x, alpha, beta, ln_beta, _] = *a;
    let (log, log1m) = (x.ln(), (-x).ln_1p());
    (
        x_ln_y(alpha - 1.0, x) + if beta == 1.0 { 0.0 } else { (beta - 1.0) * log1m } - ln_beta,
        [(alpha - 1.0) / x - (beta - 1.0) / (1.0 - x), log, log1m, -1.0, 0.0],
    )
}
