//! Log masses between bounds, by which truncated densities are renormalised.

use std::f64::consts::{FRAC_1_PI, LN_2, PI};

use vi_families::incomplete::{log_beta_tails, log_gamma_tails};
use vi_families::special::{self, log_normal_cdf, log1m_exp};

use super::Partials;

/// A standard density: log F(z) below, log F(−z) by symmetry, and log f(z).
struct Standard<L: Fn(f64) -> f64, D: Fn(f64) -> f64> {
    log_cdf: L,
    log_density: D,
}

/// ln(eᵃ − eᵇ), a ≥ b.
fn log_difference(a: f64, b: f64) -> f64 {
    if b == f64::NEG_INFINITY { a } else { a + log1m_exp(b - a) }
}

/// ln(F(z_u) − F(z_l)) with z = (bound − location)/scale, for a density symmetric around zero.
fn mass<L: Fn(f64) -> f64, D: Fn(f64) -> f64>(a: &[f64; 5], standard: &Standard<L, D>) -> Partials {
    let [location, scale, lower, upper, _] = *a;
    let (zl, zu) = ((lower - location) / scale, (upper - location) / scale);
    let log_mass = if zl > 0.0 {
        log_difference((standard.log_cdf)(-zl), (standard.log_cdf)(-zu))
    } else {
        log_difference((standard.log_cdf)(zu), (standard.log_cdf)(zl))
    };
    let at = |z: f64| if z.is_finite() { ((standard.log_density)(z) - log_mass).exp() } else { 0.0 };
    let (fl, fu) = (at(zl), at(zu));
    let moment = |z: f64, f: f64| if z.is_finite() { z * f } else { 0.0 };
    (log_mass, [(fl - fu) / scale, (moment(zl, fl) - moment(zu, fu)) / scale, -fl / scale, fu / scale, 0.0])
}

/// Normal.
pub(super) fn normal_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z == f64::NEG_INFINITY {
            z
        } else if z == f64::INFINITY {
            0.0
        } else {
            log_normal_cdf(z)
        }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -0.5 * z * z - 0.5 * (2.0 * PI).ln() })
}

/// Cauchy: F(z) = ½ + arctan(z)/π; for z < 0 arctan(1/|z|)/π keeps the tail's digits.
pub(super) fn cauchy_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z < -1.0 { (FRAC_1_PI * (-1.0 / z).atan()).ln() } else { (0.5 + FRAC_1_PI * z.atan()).ln() }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -PI.ln() - (z * z).ln_1p() })
}

/// Laplace: F(z) = ½ eᶻ for z < 0.
pub(super) fn laplace_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| if z < 0.0 { z - LN_2 } else { (-0.5 * (-z).exp()).ln_1p() };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -LN_2 - z.abs() })
}

/// Logistic: F(z) = 1/(1 + e⁻ᶻ).
pub(super) fn logistic_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z == f64::NEG_INFINITY {
            z
        } else if z == f64::INFINITY {
            0.0
        } else {
            special::log_logistic(z)
        }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -z.abs() - 2.0 * (-z.abs()).exp().ln_1p() })
}

/// ln F(z) of Student's t with ν degrees of freedom: F(z) = ½ I(ν/2, ½; ν/(ν + z²)) for z < 0.
fn student_t_log_cdf(nu: f64, z: f64) -> f64 {
    if z.is_infinite() {
        return if z < 0.0 { z } else { 0.0 };
    }
    let (square, total) = (z * z, nu + z * z);
    let tail = log_beta_tails(0.5 * nu, 0.5, nu / total, square / total).0 - LN_2;
    if z < 0.0 { tail } else { log1m_exp(tail) }
}

/// Student's t.
pub(super) fn student_t_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let nu = a[4];
    let normalizer = special::ln_gamma(0.5 * (nu + 1.0)) - special::ln_gamma(0.5 * nu) - 0.5 * (nu * PI).ln();
    let standard = Standard {
        log_cdf: |z: f64| student_t_log_cdf(nu, z),
        log_density: |z: f64| normalizer - 0.5 * (nu + 1.0) * (z * z / nu).ln_1p(),
    };
    let (value, mut partials) = mass(a, &standard);
    if wanted[4] {
        let at = |nu: f64| {
            mass(a, &Standard { log_cdf: |z: f64| student_t_log_cdf(nu, z), log_density: |_| f64::NEG_INFINITY }).0
        };
        partials[4] = difference(at, nu);
    }
    (value, partials)
}

/// f′(θ) for θ > 0 by differences of fourth order: the error is about 1e-10 of f and of its fifth derivative's part.
fn difference(f: impl Fn(f64) -> f64, theta: f64) -> f64 {
    let h = 1e-3 * theta;
    (f(theta - 2.0 * h) - 8.0 * f(theta - h) + 8.0 * f(theta + h) - f(theta + 2.0 * h)) / (12.0 * h)
}

/// ln of twice the mass of a density around zero between bounds that are not negative; arguments scale, further, lower, upper.
fn half(a: &[f64; 5], further: f64, mass: impl Fn(&[f64; 5]) -> Partials) -> (Partials, f64) {
    let [scale, _, lower, upper, _] = *a;
    let (value, [_, d_scale, d_lower, d_upper, d_further]) = mass(&[0.0, scale, lower.max(0.0), upper, further]);
    let d_lower = if lower > 0.0 { d_lower } else { 0.0 };
    ((value + LN_2, [d_scale, 0.0, d_lower, d_upper, 0.0]), d_further)
}

/// Half normal.
pub(super) fn half_normal_mass(a: &[f64; 5]) -> Partials {
    half(a, 0.0, normal_mass).0
}

/// Half Cauchy.
pub(super) fn half_cauchy_mass(a: &[f64; 5]) -> Partials {
    half(a, 0.0, cauchy_mass).0
}

/// Half Student's t; the second argument is the degrees of freedom.
pub(super) fn half_student_t_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let ((value, mut partials), d_nu) = half(a, a[1], |b| student_t_mass(b, &[false, true, true, true, wanted[1]]));
    partials[1] = d_nu;
    (value, partials)
}

/// Log-normal: the mass of a normal between the logarithms of the bounds.
pub(super) fn log_normal_mass(a: &[f64; 5]) -> Partials {
    let [mean, sd, lower, upper, _] = *a;
    let (value, [d_mean, d_sd, d_lower, d_upper, _]) =
        normal_mass(&[mean, sd, lower.max(0.0).ln(), upper.max(0.0).ln(), 0.0]);
    let d_lower = if lower > 0.0 { d_lower / lower } else { 0.0 };
    let d_upper = if upper.is_finite() { d_upper / upper } else { 0.0 };
    (value, [d_mean, d_sd, d_lower, d_upper, 0.0])
}

/// Exponential: e^(−λl) − e^(−λu); the second argument is not used.
pub(super) fn exponential_mass(a: &[f64; 5]) -> Partials {
    let [rate, _, lower, upper, _] = *a;
    let low = lower.max(0.0);
    let value = -rate * low + if upper.is_finite() { log1m_exp(-rate * (upper - low)) } else { 0.0 };
    let at = |x: f64| if x.is_finite() { (-rate * x - value).exp() } else { 0.0 };
    let (fl, fu) = (at(low), at(upper));
    let d_rate = if upper.is_finite() { upper * fu } else { 0.0 } - low * fl;
    (value, [d_rate, 0.0, if lower > 0.0 { -rate * fl } else { 0.0 }, rate * fu, 0.0])
}

/// ln(F(u) − F(l)) from the log tails (ln F, ln(1 − F)) at both bounds, without cancellation.
fn between(lower: (f64, f64), upper: (f64, f64)) -> f64 {
    if lower.1 <= lower.0 {
        log_difference(lower.1, upper.1)
    } else if upper.0 <= upper.1 {
        log_difference(upper.0, lower.0)
    } else {
        (-(lower.0.exp() + upper.1.exp())).ln_1p()
    }
}

/// Gamma: differences for the shape; a change of the rate moves both bounds.
pub(super) fn gamma_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [shape, rate, lower, upper, _] = *a;
    let (zl, zu) = (rate * lower.max(0.0), rate * upper);
    let log_mass = |shape: f64| between(log_gamma_tails(shape, zl), log_gamma_tails(shape, zu));
    let value = log_mass(shape);
    let normalizer = special::ln_gamma(shape);
    // z times the density of Gamma(shape, 1) at z, over the mass.
    let at = |z: f64| {
        if z > 0.0 && z.is_finite() { (shape * z.ln() - z - normalizer - value).exp() } else { 0.0 }
    };
    let (fl, fu) = (at(zl), at(zu));
    let d_shape = if wanted[0] { difference(log_mass, shape) } else { 0.0 };
    let per = |f: f64, x: f64| if x > 0.0 && x.is_finite() { f / x } else { 0.0 };
    (value, [d_shape, (fu - fl) / rate, -per(fl, lower), per(fu, upper), 0.0])
}

/// Inverse gamma: the mass of Gamma(shape, scale) between the reciprocals of the bounds.
pub(super) fn inverse_gamma_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [shape, scale, lower, upper, _] = *a;
    let (value, [d_shape, d_scale, d_low, d_high, _]) =
        gamma_mass(&[shape, scale, 1.0 / upper, 1.0 / lower.max(0.0), 0.0], wanted);
    let d_lower = if lower > 0.0 { -d_high / (lower * lower) } else { 0.0 };
    let d_upper = if upper.is_finite() { -d_low / (upper * upper) } else { 0.0 };
    (value, [d_shape, d_scale, d_lower, d_upper, 0.0])
}

/// Beta: differences for both parameters.
pub(super) fn beta_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [alpha, beta, lower, upper, _] = *a;
    let (l, u) = (lower.max(0.0), upper.min(1.0));
    let log_mass = |alpha: f64, beta: f64| {
        between(log_beta_tails(alpha, beta, l, 1.0 - l), log_beta_tails(alpha, beta, u, 1.0 - u))
    };
    let value = log_mass(alpha, beta);
    let ln_beta = special::ln_beta(alpha, beta);
    let at = |x: f64| {
        if x > 0.0 && x < 1.0 {
            ((alpha - 1.0) * x.ln() + (beta - 1.0) * (-x).ln_1p() - ln_beta - value).exp()
        } else {
            0.0
        }
    };
    let d_alpha = if wanted[0] { difference(|a| log_mass(a, beta), alpha) } else { 0.0 };
    let d_beta = if wanted[1] { difference(|b| log_mass(alpha, b), beta) } else { 0.0 };
    (value, [d_alpha, d_beta, -at(lower), at(upper), 0.0])
}
