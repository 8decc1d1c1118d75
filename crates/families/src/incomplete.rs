//! Incomplete gamma and beta functions as logarithms of both tails, so that neither underflows nor cancels.

use crate::special::{ln_beta, ln_gamma, log1m_exp};

/// Terms at most of a series or continued fraction.
const MOST_TERMS: usize = 200_000;
/// Smallest denominator of a continued fraction.
const TINY: f64 = 1e-300;

/// ln P(a, x) and ln Q(a, x), the log distribution function of Gamma(shape a, rate 1) at x and that of its upper tail.
///
/// Below a + 1 the series x^a e⁻ˣ Σₙ xⁿ / (a (a + 1) ⋯ (a + n)) / Γ(a) of P (DLMF 8.7.1), above the continued fraction of Q (DLMF
/// 8.9.2). Not a number where the shape is not positive.
pub fn log_gamma_tails(shape: f64, x: f64) -> (f64, f64) {
    if shape.is_nan() || shape <= 0.0 || x.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    if x <= 0.0 {
        return (f64::NEG_INFINITY, 0.0);
    }
    if x == f64::INFINITY {
        return (0.0, f64::NEG_INFINITY);
    }
    let prefix = shape * x.ln() - x - ln_gamma(shape);
    if x < shape + 1.0 {
        let (mut term, mut sum) = (1.0 / shape, 1.0 / shape);
        for n in 1..MOST_TERMS {
            term *= x / (shape + n as f64);
            sum += term;
            if term < 1e-17 * sum {
                break;
            }
        }
        let lower = (prefix + sum.ln()).min(0.0);
        (lower, log1m_exp(lower))
    } else {
        // 1/(x + 1 − a − 1 (1 − a)/(x + 3 − a − 2 (2 − a)/(x + 5 − a − …)))
        let partial = |n: usize| {
            let n = n as f64;
            if n == 0.0 { (1.0, x + 1.0 - shape) } else { (n * (shape - n), x + 2.0 * n + 1.0 - shape) }
        };
        let upper = (prefix + fraction(partial).ln()).min(0.0);
        (log1m_exp(upper), upper)
    }
}

/// ln I(a, b; x) and ln(1 − I(a, b; x)), the log distribution function of Beta(a, b) at x and that of its upper tail; `rest` is 1 − x.
///
/// The continued fraction DLMF 8.17.22, of whichever tail it converges fast for. Not a number where a or b is not positive.
pub fn log_beta_tails(a: f64, b: f64, x: f64, rest: f64) -> (f64, f64) {
    if !(a > 0.0 && b > 0.0) || x.is_nan() || rest.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    if x <= 0.0 {
        return (f64::NEG_INFINITY, 0.0);
    }
    if rest <= 0.0 {
        return (0.0, f64::NEG_INFINITY);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        let (upper, lower) = log_beta_tails_below(b, a, rest, x);
        (lower, upper)
    } else {
        log_beta_tails_below(a, b, x, rest)
    }
}

/// As [`log_beta_tails`], for x not above the mean.
fn log_beta_tails_below(a: f64, b: f64, x: f64, rest: f64) -> (f64, f64) {
    let partial = |n: usize| {
        let m = (n / 2) as f64;
        match n {
            0 => (1.0, 1.0),
            _ if n.is_multiple_of(2) => (m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)), 1.0),
            _ => (-(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)), 1.0),
        }
    };
    let lower = a * x.ln() + b * rest.ln() - ln_beta(a, b) - a.ln() + fraction(partial).ln();
    let lower = lower.min(0.0);
    (lower, log1m_exp(lower))
}

/// The continued fraction p₀/(q₀ + p₁/(q₁ + …)) of partial numerators and denominators (p, q), by Lentz's method.
fn fraction(partial: impl Fn(usize) -> (f64, f64)) -> f64 {
    let away = |x: f64| if x.abs() < TINY { TINY } else { x };
    let (mut value, mut c, mut d) = (TINY, TINY, 0.0);
    for n in 0..MOST_TERMS {
        let (p, q) = partial(n);
        d = 1.0 / away(q + p * d);
        c = away(q + p / c);
        let step = c * d;
        value *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln ∫ of a density over an interval by Simpson's rule.
    fn integral(log_density: impl Fn(f64) -> f64, lower: f64, upper: f64) -> f64 {
        let n = 20_000;
        let h = (upper - lower) / f64::from(n);
        let at = |i: i32| log_density(lower + f64::from(i) * h).exp();
        let inner: f64 = (1..n).map(|i| at(i) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        ((at(0) + at(n) + inner) * h / 3.0).ln()
    }

    #[test]
    fn gamma_tails_are_integrals_of_the_density() {
        for (a, x) in [(2.3, 0.4), (2.3, 3.1), (2.3, 20.0), (11.0, 2.0), (11.0, 12.5), (140.0, 150.0), (1.0, 0.7)] {
            let density = |t: f64| (a - 1.0) * t.ln() - t - ln_gamma(a);
            let (lower, upper) = log_gamma_tails(a, x);
            // The part of the density below 1e-12 is its leading term alone.
            let start = 1e-12f64;
            let rest = (a * start.ln() - ln_gamma(a + 1.0)).exp();
            let wanted = (integral(density, start, x).exp() + rest).ln();
            assert!((lower - wanted).abs() < 1e-8 * (1.0 + wanted.abs()), "P({a}, {x}): {lower} {wanted}");
            let wanted = integral(density, x, x + 60.0 + 20.0 * a.sqrt());
            assert!((upper - wanted).abs() < 1e-8 * (1.0 + wanted.abs()), "Q({a}, {x}): {upper} {wanted}");
        }
        // Gamma(1, 1) is the exponential: Q = e⁻ˣ, far out as well.
        assert!((log_gamma_tails(1.0, 900.0).1 + 900.0).abs() < 1e-10);
        assert!((log_gamma_tails(1.0, 1e-9).0 - (-(-1e-9f64).exp_m1()).ln()).abs() < 1e-12);
        // Gamma(½, ½ rate) is the square of a normal.
        let normal = crate::special::log_normal_cdf(-7.0) + std::f64::consts::LN_2;
        assert!((log_gamma_tails(0.5, 24.5).1 - normal).abs() < 1e-11);
    }

    #[test]
    fn tails_that_do_not_underflow_are_those_of_statrs() {
        use statrs::function::{beta::beta_reg, gamma::gamma_lr, gamma::gamma_ur};
        for (a, x) in [(0.3, 0.02), (0.3, 4.0), (2.3, 3.1), (11.0, 12.5), (140.0, 150.0)] {
            let (lower, upper) = log_gamma_tails(a, x);
            assert!((lower.exp() - gamma_lr(a, x)).abs() < 1e-12, "P({a}, {x}): {lower}");
            assert!((upper.exp() - gamma_ur(a, x)).abs() < 1e-12, "Q({a}, {x}): {upper}");
        }
        for (a, b, x) in [(0.4, 0.7, 0.2), (2.3, 1.9, 0.4), (11.0, 3.0, 0.8), (140.0, 90.0, 0.63)] {
            let (lower, upper) = log_beta_tails(a, b, x, 1.0 - x);
            assert!((lower.exp() - beta_reg(a, b, x)).abs() < 1e-11, "I({a}, {b}; {x}): {lower}");
            assert!((upper.exp() - beta_reg(b, a, 1.0 - x)).abs() < 1e-11, "1 − I({a}, {b}; {x}): {upper}");
        }
    }

    #[test]
    fn beta_tails_are_integrals_of_the_density() {
        for (a, b, x) in [(2.3, 1.9, 0.4), (2.3, 4.9, 0.7), (11.0, 3.0, 0.2), (140.0, 90.0, 0.63), (1.0, 3.5, 0.05)] {
            let density = |t: f64| (a - 1.0) * t.ln() + (b - 1.0) * (-t).ln_1p() - ln_beta(a, b);
            let (lower, upper) = log_beta_tails(a, b, x, 1.0 - x);
            let wanted = integral(density, 1e-14, x);
            assert!((lower - wanted).abs() < 1e-7 * (1.0 + wanted.abs()), "I({a}, {b}; {x}): {lower} {wanted}");
            let wanted = integral(density, x, 1.0 - 1e-14);
            assert!((upper - wanted).abs() < 1e-7 * (1.0 + wanted.abs()), "1 − I({a}, {b}; {x}): {upper} {wanted}");
        }
        // I(1, b; x) = 1 − (1 − x)ᵇ and I(a, 1; x) = xᵃ.
        assert!((log_beta_tails(1.0, 3.5, 0.9, 0.1).1 - 3.5 * 0.1f64.ln()).abs() < 1e-12);
        assert!((log_beta_tails(250.0, 1.0, 0.01, 0.99).0 - 250.0 * 0.01f64.ln()).abs() < 1e-9);
    }
}
