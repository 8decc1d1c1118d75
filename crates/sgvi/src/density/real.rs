//! Densities of real values.

use std::f64::consts::{LN_2, PI};

use super::Partials;

const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// log N(x | μ, σ²) = −½ z² − ln σ − ½ ln 2π, z = (x − μ)/σ.
#[inline(always)]
pub(super) fn normal_sd(a: &[f64; 5], log: impl FnOnce(f64) -> f64) -> Partials {
    let [x, mean, sd, ..] = *a;
    let inverse = 1.0 / sd;
    let z = (x - mean) * inverse;
    (-0.5 * z * z - log(sd) - HALF_LN_TWO_PI, [-z * inverse, z * inverse, (z * z - 1.0) * inverse, 0.0, 0.0])
}

/// log N(x | μ, 1/τ) = ½ ln τ − ½ τ (x − μ)² − ½ ln 2π.
#[inline(always)]
pub(super) fn normal_precision(a: &[f64; 5], log: impl FnOnce(f64) -> f64) -> Partials {
    let [x, mean, precision, ..] = *a;
    let d = x - mean;
    let w = precision * d;
    (0.5 * log(precision) - 0.5 * w * d - HALF_LN_TWO_PI, [-w, w, 0.5 / precision - 0.5 * d * d, 0.0, 0.0])
}

/// log N(x | μ, v) = −½ (x − μ)²/v − ½ ln v − ½ ln 2π.
#[inline(always)]
pub(super) fn normal_variance(a: &[f64; 5], log: impl FnOnce(f64) -> f64) -> Partials {
    let [x, mean, variance, ..] = *a;
    let d = x - mean;
    let w = d / variance;
    (-0.5 * w * d - 0.5 * log(variance) - HALF_LN_TWO_PI, [-w, w, 0.5 * (w * w - 1.0 / variance), 0.0, 0.0])
}

/// ln(1 + z²/ν), z = d/s, where z² and z may be beyond all numbers.
#[inline(always)]
pub(super) fn log1p_square(d: f64, s: f64, nu: f64) -> f64 {
    let z = d / s;
    let ratio = z * z / nu;
    if ratio.is_finite() { ratio.ln_1p() } else { 2.0 * (d.abs().ln() - s.ln()) - nu.ln() }
}

/// log St(x | ν, μ, σ) = c − ln σ − (ν + 1)/2 · ln(1 + z²/ν), with c = ln Γ((ν+1)/2) − ln Γ(ν/2) − ½ ln νπ.
#[inline(always)]
pub(super) fn student_t(a: &[f64; 5]) -> Partials {
    let [x, nu, location, scale, normalizer] = *a;
    let d = x - location;
    let z = d / scale;
    let log = log1p_square(d, scale, nu);
    // z²/(ν + z²), and (ν + 1) z/(σ (ν + z²)).
    let share = 1.0 / (1.0 + nu / (z * z));
    let dx = if d == 0.0 { 0.0 } else { -(nu + 1.0) / (nu * (scale / d) * scale + d) };
    (
        normalizer - scale.ln() - 0.5 * (nu + 1.0) * log,
        [dx, -0.5 * log + 0.5 * ((nu + 1.0) / nu) * share, -dx, ((nu + 1.0) * share - 1.0) / scale, 1.0],
    )
}

/// log Cauchy(x | m, s) = −ln π − ln s − ln(1 + z²).
pub(super) fn cauchy(a: &[f64; 5]) -> Partials {
    let [x, location, scale, ..] = *a;
    let d = x - location;
    let z = d / scale;
    let dx = if d == 0.0 { 0.0 } else { -2.0 / ((scale / d) * scale + d) };
    let share = 1.0 / (1.0 + 1.0 / (z * z));
    (-PI.ln() - scale.ln() - log1p_square(d, scale, 1.0), [dx, -dx, (2.0 * share - 1.0) / scale, 0.0, 0.0])
}

/// log Laplace(x | m, b) = −ln 2b − |x − m|/b.
pub(super) fn laplace(a: &[f64; 5]) -> Partials {
    let [x, location, scale, ..] = *a;
    let z = (x - location) / scale;
    let sign = if z > 0.0 {
        1.0
    } else if z < 0.0 {
        -1.0
    } else {
        0.0
    };
    (-LN_2 - scale.ln() - z.abs(), [-sign / scale, sign / scale, (z.abs() - 1.0) / scale, 0.0, 0.0])
}

/// log Logistic(x | m, s) = −z − ln s − 2 ln(1 + e⁻ᶻ).
pub(super) fn logistic(a: &[f64; 5]) -> Partials {
    let [x, location, scale, ..] = *a;
    let z = (x - location) / scale;
    let dz = -(0.5 * z).tanh();
    (
        -z.abs() - scale.ln() - 2.0 * (-z.abs()).exp().ln_1p(),
        [dz / scale, -dz / scale, (-1.0 - dz * z) / scale, 0.0, 0.0],
    )
}

/// log U(x | l, u) = −ln(u − l) between the bounds.
pub(super) fn uniform(a: &[f64; 5]) -> Partials {
    let [x, lower, upper, ..] = *a;
    let width = upper - lower;
    if x < lower || x > upper {
        return (f64::NEG_INFINITY, [0.0; 5]);
    }
    (-width.ln(), [0.0, 1.0 / width, -1.0 / width, 0.0, 0.0])
}
