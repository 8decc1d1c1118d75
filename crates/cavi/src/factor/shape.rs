//! Point estimates of shapes and concentrations, whose densities hold log Γ: the maximum of a x + b log x + c log Γ(x).

use vi_families::special::{digamma, ln_gamma, trigamma};

use super::simplex::finite_log;
use super::update::NaturalError;

/// Steps of the safeguarded iteration, each of which at least halves the bracket.
const MOST_STEPS: usize = 200;

/// The mode of a density on (0, ∞) that is proportional to x^b e^{−r x}: b/r, 0 where b is 0.
///
/// # Errors
///
/// Where the density has no maximum: it grows without bound towards 0 or towards ∞.
pub(super) fn gamma_mode(b: f64, rate: f64) -> Result<f64, NaturalError> {
    if b < -1e-12 {
        return Err(NaturalError::new(format!(
            "a point estimate of gamma(shape {}, rate {rate}), whose density grows without bound towards 0: \
             give its prior a shape of at least 1, or leave `point` out",
            b + 1.0
        )));
    }
    if !(rate > 0.0 && (b / rate).is_finite()) {
        return Err(NaturalError::new(format!(
            "a point estimate of gamma(shape {}, rate {rate}), whose density grows without bound: \
             give its prior a rate above 0, or leave `point` out",
            b + 1.0
        )));
    }
    Ok(b.max(0.0) / rate)
}

/// Where a x + b log x + c log Γ(x), c ≤ 0, is greatest; the root of a + b/x + c ψ(x), which falls in x, by Newton's method
/// in log x within a bracket (Minka 2000, *Estimating a Dirichlet distribution*).
///
/// # Errors
///
/// Where there is no maximum inside (0, ∞).
pub(super) fn shape_mode(a: f64, b: f64, c: f64) -> Result<f64, NaturalError> {
    if c == 0.0 {
        return gamma_mode(b, -a);
    }
    if !(a.is_finite() && b.is_finite() && c < 0.0) {
        return Err(NaturalError::new(format!(
            "a point estimate of a shape at the maximum of {a} x + {b} log x + {c} log Γ(x)"
        )));
    }
    // Towards 0 log Γ(x) is −log x.
    if b - c <= 0.0 {
        return Err(NaturalError::new(
            "a point estimate of a shape whose density grows without bound towards 0: give its prior a shape of at least 1, \
             or leave `point` out",
        ));
    }
    let slope = |x: f64| a + b / x + c * digamma(x);
    let (mut low, mut high) = (1.0_f64, 1.0_f64);
    while slope(low) < 0.0 {
        low *= 0.25;
        if low < f64::MIN_POSITIVE {
            return Err(NaturalError::new("a point estimate of a shape that vanishes"));
        }
    }
    while slope(high) > 0.0 {
        high *= 4.0;
        if high > 1e300 {
            return Err(NaturalError::new(
                "a point estimate of a shape that grows without bound: the values do not vary; give its prior a rate above 0",
            ));
        }
    }
    let (mut low, mut high) = (low.ln(), high.ln());
    let mut u = 0.5 * (low + high);
    for _ in 0..MOST_STEPS {
        let x = u.exp();
        let value = slope(x);
        if value > 0.0 {
            low = u;
        } else {
            high = u;
        }
        // d/du of the slope
        let fall = -b / x + c * x * trigamma(x);
        let newton = u - value / fall;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - u).abs() <= 1e-15 * (1.0 + u.abs()) {
            return Ok(next.exp());
        }
        u = next;
    }
    Ok(u.exp())
}

/// x, log x, log Γ(x) at the maximum.
pub(super) fn update_shape(natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let x = shape_mode(natural[0][0], natural[1][0], natural[2][0])?;
    statistics[0][0] = x;
    statistics[1][0] = finite_log(x);
    statistics[2][0] = if x > 0.0 { ln_gamma(x) } else { 0.0 };
    Ok(0.0)
}

/// The tangent of log Γ at s, which lies below it: ψ(s) and log Γ(s) − s ψ(s), with s the weighted mean of what it stands for.
pub(super) fn update_tangent(natural: &[&[f64]], statistics: &mut [&mut [f64]]) -> Result<f64, NaturalError> {
    let weight = natural[1][0];
    if weight == 0.0 {
        statistics[0][0] = 0.0;
        statistics[1][0] = 0.0;
        return Ok(0.0);
    }
    let s = natural[0][0] / weight;
    if !(s > 0.0 && s.is_finite()) {
        return Err(NaturalError::new(format!("a total concentration {s}")));
    }
    statistics[0][0] = digamma(s);
    statistics[1][0] = ln_gamma(s) - s * digamma(s);
    Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_above_its_surroundings() {
        for (a, b, c) in
            [(-3.0, 0.0, -1.0), (2.0, 0.5, -7.0), (-40.0, -0.5, -1.0), (900.0, 3.0, -100.0), (-1e-3, 0.0, -1e-4)]
        {
            let value = |x: f64| a * x + b * x.ln() + c * ln_gamma(x);
            let Ok(x) = shape_mode(a, b, c) else { panic!("no mode of {a} {b} {c}") };
            for step in [0.9, 0.999, 1.001, 1.1] {
                assert!(value(x * step) < value(x), "{a} {b} {c}: {x}");
            }
            assert!((a + b / x + c * digamma(x)).abs() < 1e-9 * (a.abs() + (b / x).abs() + (c * digamma(x)).abs()));
        }
    }

    #[test]
    fn densities_without_a_maximum_say_so() {
        for (b, rate, word) in [(-0.5, 1.0, "towards 0"), (0.5, 0.0, "without bound")] {
            assert!(matches!(gamma_mode(b, rate), Err(NaturalError(text)) if text.contains(word)));
        }
        assert!(matches!(gamma_mode(0.0, 2.0), Ok(0.0)));
        assert!(matches!(shape_mode(-1.0, -2.0, -1.0), Err(NaturalError(text)) if text.contains("towards 0")));
    }
}
