//! Log masses between bounds, by which truncated densities are renormalised.

use std::f64::consts::{FRAC_1_PI, LN_2, PI};

use statrs::function::beta::checked_beta_reg;
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

/// Student's t with constant degrees of freedom ν: F(z) = ½ I_{ν/(ν+z²)}(ν/2, ½) for z < 0.
pub(super) fn student_t_mass(a: &[f64; 5]) -> Partials {
    let nu = a[4];
    let normalizer = special::ln_gamma(0.5 * (nu + 1.0)) - special::ln_gamma(0.5 * nu) - 0.5 * (nu * PI).ln();
    let log_cdf = |z: f64| {
        if z == f64::NEG_INFINITY {
            return z;
        }
        if z == f64::INFINITY {
            return 0.0;
        }
        let tail = 0.5 * checked_beta_reg(0.5 * nu, 0.5, nu / (nu + z * z)).unwrap_or(f64::NAN);
        if z < 0.0 { tail.ln() } else { (-tail).ln_1p() }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| normalizer - 0.5 * (nu + 1.0) * (z * z / nu).ln_1p() })
}
