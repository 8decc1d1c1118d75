//! Log densities of the distributions that are not exponential families here, complete with their normalising constants.

use crate::special::{HALF_LN_TWO_PI, LN_PI, ln_beta, ln_gamma, log1p_exp};
use std::f64::consts::LN_2;

/// Student's t: Γ(½(ν + 1)) / (Γ(½ν) √(νπ) s) · (1 + z²/ν)^(−½(ν + 1)), z = (x − location)/scale.
#[inline]
pub fn student_t(x: f64, degrees_of_freedom: f64, location: f64, scale: f64) -> f64 {
    let z = (x - location) / scale;
    let half = 0.5 * degrees_of_freedom;
    // Γ(½) Γ(½ν) / Γ(½(ν + 1)) = B(½, ½ν), which keeps its digits for large ν.
    -ln_beta(0.5, half)
        - 0.5 * degrees_of_freedom.ln()
        - scale.ln()
        - (half + 0.5) * (z * z / degrees_of_freedom).ln_1p()
}

/// The multivariate Student's t of `dimension` coordinates, from the squared distance (x − μ)ᵀΛ(x − μ) and log |Λ|
/// (Bishop PRML B.68).
#[inline]
pub fn student_t_vector(
    squared_distance: f64,
    dimension: usize,
    degrees_of_freedom: f64,
    log_determinant_precision: f64,
) -> f64 {
    let d = dimension as f64;
    let half = 0.5 * degrees_of_freedom;
    ln_gamma(half + 0.5 * d) - ln_gamma(half) + 0.5 * log_determinant_precision
        - 0.5 * d * (degrees_of_freedom.ln() + LN_PI)
        - (half + 0.5 * d) * (squared_distance / degrees_of_freedom).ln_1p()
}

/// Half-normal: 2 N(x | 0, sd²) on x ≥ 0.
#[inline]
pub fn half_normal(x: f64, sd: f64) -> f64 {
    if x < 0.0 {
        return f64::NEG_INFINITY;
    }
    let z = x / sd;
    LN_2 - HALF_LN_TWO_PI - sd.ln() - 0.5 * z * z
}

/// Cauchy: 1 / (π s (1 + z²)), z = (x − location)/scale.
#[inline]
pub fn cauchy(x: f64, location: f64, scale: f64) -> f64 {
    let z = (x - location) / scale;
    -LN_PI - scale.ln() - (z * z).ln_1p()
}

/// Half-Cauchy: twice the Cauchy density at location 0, on x ≥ 0.
#[inline]
pub fn half_cauchy(x: f64, scale: f64) -> f64 {
    if x < 0.0 { f64::NEG_INFINITY } else { LN_2 + cauchy(x, 0.0, scale) }
}

/// Half-Student-t: twice Student's density at location 0, on x ≥ 0.
#[inline]
pub fn half_student_t(x: f64, degrees_of_freedom: f64, scale: f64) -> f64 {
    if x < 0.0 { f64::NEG_INFINITY } else { LN_2 + student_t(x, degrees_of_freedom, 0.0, scale) }
}

/// Laplace: exp(−|x − location|/scale) / (2 scale).
#[inline]
pub fn laplace(x: f64, location: f64, scale: f64) -> f64 {
    -LN_2 - scale.ln() - (x - location).abs() / scale
}

/// Log-normal: log x ~ N(mean, sd²), on x > 0.
#[inline]
pub fn log_normal(x: f64, mean: f64, sd: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let log = x.ln();
    let z = (log - mean) / sd;
    -HALF_LN_TWO_PI - sd.ln() - log - 0.5 * z * z
}

/// Logistic: e^(−z) / (s (1 + e^(−z))²), z = (x − location)/scale.
#[inline]
pub fn logistic(x: f64, location: f64, scale: f64) -> f64 {
    let z = (x - location) / scale;
    -z - scale.ln() - 2.0 * log1p_exp(-z)
}

/// Uniform on \[lower, upper\].
#[inline]
pub fn uniform(x: f64, lower: f64, upper: f64) -> f64 {
    if x < lower || x > upper { f64::NEG_INFINITY } else { -(upper - lower).ln() }
}

/// Negative binomial of counts with the given mean and variance mean + dispersion · mean².
pub fn negative_binomial(count: f64, mean: f64, dispersion: f64) -> f64 {
    let size = 1.0 / dispersion;
    let product = dispersion * mean;
    // Γ(x + r) / (x! Γ(r)) = 1 / (x B(x, r)).
    let coefficient = if count == 0.0 { 0.0 } else { -count.ln() - ln_beta(count, size) };
    let tail = if count == 0.0 { 0.0 } else { count * (product.ln() - product.ln_1p()) };
    coefficient - size * product.ln_1p() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ∫ exp(f) over an interval by the midpoint rule on 400 000 points.
    fn integral(lower: f64, upper: f64, density: impl Fn(f64) -> f64) -> f64 {
        let steps = 400_000;
        let width = (upper - lower) / steps as f64;
        (0..steps).map(|i| density(lower + (i as f64 + 0.5) * width).exp()).sum::<f64>() * width
    }

    #[test]
    fn every_density_integrates_to_one() {
        // The Cauchy tails beyond ±T hold 2 arctan(s/T)/π.
        let t = 1e3f64;
        let cases = [
            ("student-t", integral(-2e2, 2e2, |x| student_t(x, 7.5, 0.4, 1.3)), 1.0),
            ("half-student-t", integral(0.0, 2e2, |x| half_student_t(x, 7.5, 1.3)), 1.0),
            ("half-normal", integral(0.0, 40.0, |x| half_normal(x, 2.0)), 1.0),
            ("cauchy", integral(-t, t, |x| cauchy(x, 0.0, 1.5)), 1.0 - 2.0 * (1.5 / t).atan() / std::f64::consts::PI),
            (
                "half-cauchy",
                integral(0.0, t, |x| half_cauchy(x, 1.5)),
                1.0 - 2.0 * (1.5 / t).atan() / std::f64::consts::PI,
            ),
            ("laplace", integral(-60.0, 60.5, |x| laplace(x, 0.25, 1.5)), 1.0),
            ("log-normal", integral(0.0, 200.0, |x| log_normal(x, 0.3, 0.6)), 1.0),
            ("logistic", integral(-60.0, 60.0, |x| logistic(x, 0.25, 1.5)), 1.0),
            ("uniform", integral(-3.0, 5.0, |x| uniform(x, -1.0, 3.0)), 1.0),
            ("negative-binomial", (0..2000).map(|n| negative_binomial(n as f64, 7.0, 0.8).exp()).sum(), 1.0),
        ];
        for (name, found, expected) in cases {
            assert!((found - expected).abs() < 2e-8, "{name}: {found} instead of {expected}");
        }
    }

    #[test]
    fn negative_binomial_has_its_mean_and_variance_and_tends_to_poisson() {
        let moment = |power: i32| {
            (0..4000).map(|n| f64::from(n).powi(power) * negative_binomial(f64::from(n), 7.0, 0.8).exp()).sum::<f64>()
        };
        assert!((moment(1) - 7.0).abs() < 1e-9);
        assert!((moment(2) - 49.0 - (7.0 + 0.8 * 49.0)).abs() < 1e-7);
        let poisson = 3.0 * 7f64.ln() - 7.0 - 6f64.ln();
        assert!((negative_binomial(3.0, 7.0, 1e-12) - poisson).abs() < 1e-9);
    }

    #[test]
    fn one_coordinate_of_the_vector_form_is_the_scalar_form() {
        let (x, nu, location, scale) = (1.7f64, 4.0, 0.2, 0.9f64);
        let precision = 1.0 / (scale * scale);
        let vector = student_t_vector((x - location).powi(2) * precision, 1, nu, precision.ln());
        assert!((vector - student_t(x, nu, location, scale)).abs() < 1e-13);
    }
}
