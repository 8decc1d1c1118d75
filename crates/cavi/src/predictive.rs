//! Predictive densities of single values: a parameter's posterior integrated out, in closed form or over one number.

use vi_families::densities::{negative_binomial, student_t, student_t_vector};
use vi_families::matrix::{cholesky, cholesky_log_determinant, forward_substitute};
use vi_families::special::{
    HALF_LN_TWO_PI, ln_beta, ln_choose, ln_factorial, ln_gamma, log_add_exp, log_normal_cdf, log1p_exp,
};

/// Nats below its largest value at which an integrand is left out.
const NEGLIGIBLE: f64 = 46.0;
/// Most steps to either side.
const MOST_STEPS: usize = 4000;

/// log ∫ exp(f(u)) du by the trapezoid rule on the whole line, whose error falls like exp(−2π·width/step) with the width
/// of the strip about the real axis in which exp(f) is analytic (Trefethen & Weideman 2014, theorem 5.1).
pub(crate) fn log_integral(around: f64, step: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut at, mut best) = (around, f(around));
    // To the top first, so that what is left out on either side is known to be small.
    for direction in [1.0, -1.0] {
        for _ in 0..MOST_STEPS {
            let next = f(at + direction * step);
            if next.is_nan() || next <= best {
                break;
            }
            (at, best) = (at + direction * step, next);
        }
    }
    let mut sum = best;
    for direction in [1.0, -1.0] {
        for i in 1..=MOST_STEPS {
            let value = f(at + direction * step * i as f64);
            if value < best - NEGLIGIBLE || value.is_nan() {
                break;
            }
            sum = log_add_exp(sum, value);
        }
    }
    sum + step.ln()
}

fn normal(x: f64, mean: f64, variance: f64) -> f64 {
    -HALF_LN_TWO_PI - 0.5 * variance.ln() - 0.5 * (x - mean) * (x - mean) / variance
}

/// x ~ N(μ, 1/τ), μ ~ N(mean, variance): of a known τ.
pub(crate) fn normal_known_precision(x: f64, mean: f64, variance: f64, precision: f64) -> f64 {
    normal(x, mean, variance.max(0.0) + 1.0 / precision)
}

/// x ~ N(μ, 1/τ), μ ~ N(mean, variance), τ ~ Gamma(shape, rate) apart from it: Student's t where μ is known (PRML
/// 2.158–2.160), else an integral over log τ.
pub(crate) fn normal_gamma_precision(x: f64, mean: f64, variance: f64, shape: f64, rate: f64) -> f64 {
    if variance <= 1e-13 * rate / shape {
        return student_t(x, 2.0 * shape, mean, (rate / shape).sqrt());
    }
    let constant = shape * rate.ln() - ln_gamma(shape);
    let step = (0.25 / (shape + 0.5).sqrt()).min(0.25);
    log_integral((shape / rate).ln(), step, |u| {
        constant + shape * u - rate * u.exp() + normal(x, mean, variance + (-u).exp())
    })
}

/// x ~ N(μ, 1/τ) with μ, τ ~ NormalGamma(mean, κ, shape, rate).
pub(crate) fn normal_gamma(x: f64, (shape, rate, mean, kappa): (f64, f64, f64, f64)) -> f64 {
    student_t(x, 2.0 * shape, mean, (rate / shape * (1.0 + 1.0 / kappa)).sqrt())
}

/// Natural parameters of a normal-Wishart as those of its predictive density: a multivariate t (PRML 10.81).
#[derive(Debug, Clone)]
pub(crate) struct NormalWishartDensity {
    mean: Vec<f64>,
    /// Of the t: ν − d + 1, before coordinates are left out.
    degrees_of_freedom: f64,
    /// Its scale matrix, `[d, d]`.
    scale: Vec<f64>,
    lower: Vec<f64>,
    log_determinant: f64,
}

impl NormalWishartDensity {
    /// From the coefficients of Λ, log|Λ|, Λμ and μᵀΛμ; `None` where they are those of no distribution.
    pub(crate) fn new(natural: [&[f64]; 4]) -> Option<Self> {
        let d = natural[2].len();
        let kappa = -2.0 * natural[3][0];
        let degrees = 2.0 * natural[1][0] + d as f64;
        let mean: Vec<f64> = natural[2].iter().map(|h| h / kappa).collect();
        let own = degrees - d as f64 + 1.0;
        // W⁻¹ = −(N + Nᵀ) − κ m mᵀ, and the scale of the t is W⁻¹ (1 + κ)/(κ (ν − d + 1)).
        let factor = (1.0 + kappa) / (kappa * own);
        let scale: Vec<f64> = (0..d * d)
            .map(|e| {
                let (i, j) = (e / d, e % d);
                factor * (-(natural[0][e] + natural[0][j * d + i]) - kappa * mean[i] * mean[j])
            })
            .collect();
        let lower = cholesky(&scale, d).ok()?;
        let log_determinant = cholesky_log_determinant(&lower, d);
        (own > 0.0 && kappa > 0.0).then_some(Self { mean, degrees_of_freedom: own, scale, lower, log_determinant })
    }

    /// The log density of the coordinates that are there (missing ones are NaN).
    pub(crate) fn at(&self, x: &[f64]) -> f64 {
        let d = x.len();
        let present: Vec<usize> = (0..d).filter(|&i| !x[i].is_nan()).collect();
        let own = present.len();
        let mut rest: Vec<f64> = present.iter().map(|&i| x[i] - self.mean[i]).collect();
        if own == 0 {
            return 0.0;
        }
        let part;
        let (lower, log_determinant) = if own == d {
            (&self.lower, self.log_determinant)
        } else {
            let block: Vec<f64> =
                present.iter().flat_map(|&i| present.iter().map(move |&j| self.scale[i * d + j])).collect();
            let Ok(lower) = cholesky(&block, own) else { return f64::NAN };
            let log = cholesky_log_determinant(&lower, own);
            part = lower;
            (&part, log)
        };
        forward_substitute(lower, own, &mut rest);
        let distance = rest.iter().map(|r| r * r).sum();
        student_t_vector(distance, own, self.degrees_of_freedom, -log_determinant)
    }
}

/// Student's t about μ ~ N(mean, variance), of a known precision.
pub(crate) fn student_t_uncertain(x: f64, degrees: f64, mean: f64, variance: f64, precision: f64) -> f64 {
    let scale = 1.0 / precision.sqrt();
    if variance <= 1e-13 / precision {
        return student_t(x, degrees, mean, scale);
    }
    let sd = variance.sqrt();
    let step = 0.25_f64.min(0.17 * degrees.sqrt() * scale / sd);
    log_integral(0.0, step, |u| -HALF_LN_TWO_PI - 0.5 * u * u + student_t(x, degrees, mean + sd * u, scale))
}

/// k successes of n with log odds f ~ N(mean, variance).
pub(crate) fn binomial_logit(k: f64, n: f64, mean: f64, variance: f64) -> f64 {
    let density = |f: f64| ln_choose(n, k) + k * f - n * log1p_exp(f);
    if variance <= 0.0 {
        return density(mean);
    }
    let sd = variance.sqrt();
    log_integral(0.0, 0.25_f64.min(0.5 / sd), |u| -HALF_LN_TWO_PI - 0.5 * u * u + density(mean + sd * u))
}

/// A binary value with probability Φ(f), f ~ N(mean, variance): Φ(±mean/√(1 + variance)) (PRML 4.152).
pub(crate) fn bernoulli_probit(x: f64, mean: f64, variance: f64) -> f64 {
    let side = if x > 0.5 { 1.0 } else { -1.0 };
    log_normal_cdf(side * mean / (1.0 + variance.max(0.0)).sqrt())
}

/// k successes of n with p ~ Beta(a, b).
pub(crate) fn beta_binomial(k: f64, n: f64, a: f64, b: f64) -> f64 {
    ln_choose(n, k) + ln_beta(k + a, n - k + b) - ln_beta(a, b)
}

/// k successes of n with a known p.
pub(crate) fn binomial(k: f64, n: f64, p: f64) -> f64 {
    let part = |count: f64, log: f64| if count > 0.0 { count * log } else { 0.0 };
    ln_choose(n, k) + part(k, p.ln()) + part(n - k, (-p).ln_1p())
}

/// Counts with probabilities π ~ Dirichlet(α).
pub(crate) fn dirichlet_multinomial(counts: &[f64], alpha: &[f64]) -> f64 {
    let (n, total): (f64, f64) = (counts.iter().sum(), alpha.iter().sum());
    let each = counts.iter().zip(alpha).map(|(x, a)| ln_gamma(x + a) - ln_gamma(*a) - ln_factorial(*x));
    ln_factorial(n) + ln_gamma(total) - ln_gamma(total + n) + each.sum::<f64>()
}

/// Counts with known probabilities.
pub(crate) fn multinomial(counts: &[f64], probabilities: &[f64]) -> f64 {
    let part = |(x, p): (&f64, &f64)| if *x > 0.0 { x * p.ln() - ln_factorial(*x) } else { 0.0 };
    ln_factorial(counts.iter().sum()) + counts.iter().zip(probabilities).map(part).sum::<f64>()
}

/// A count with rate c·λ, λ ~ Gamma(shape, rate): the negative binomial.
pub(crate) fn gamma_poisson(x: f64, c: f64, shape: f64, rate: f64) -> f64 {
    negative_binomial(x, c * shape / rate, 1.0 / shape)
}

/// A count with a known rate.
pub(crate) fn poisson(x: f64, rate: f64) -> f64 {
    if x > 0.0 { x * rate.ln() - rate - ln_factorial(x) } else { -rate }
}

/// x ~ Gamma(s, c·λ), λ ~ Gamma(shape, rate): a compound gamma (for s = 1 a Lomax).
pub(crate) fn gamma_gamma(x: f64, s: f64, c: f64, shape: f64, rate: f64) -> f64 {
    -ln_beta(s, shape) + s * c.ln() + (s - 1.0) * x.ln() + shape * rate.ln() - (s + shape) * (rate + c * x).ln()
}

/// x ~ Gamma(s, rate) with a known rate.
pub(crate) fn gamma(x: f64, s: f64, rate: f64) -> f64 {
    s * rate.ln() - ln_gamma(s) + (s - 1.0) * x.ln() - rate * x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() < tolerance * (1.0 + expected.abs()), "{got} instead of {expected}");
    }

    /// log ∫ exp(f) over an interval by Simpson's rule on many points.
    fn simpson(lower: f64, upper: f64, f: impl Fn(f64) -> f64) -> f64 {
        let n = 200_000;
        let h = (upper - lower) / f64::from(n);
        let weight = |i: i32| {
            if i == 0 || i == n {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        ((0..=n).map(|i| weight(i) * f(lower + h * f64::from(i)).exp()).sum::<f64>() * h / 3.0).ln()
    }

    #[test]
    fn integrals_over_one_number_agree_with_simpson() {
        for (x, m, v, a, b) in [
            (0.3, 0.1, 0.5, 3.0, 2.0),
            (8.0, -1.0, 0.01, 0.7, 0.2),
            (1.0, 1.0, 30.0, 400.0, 3.0),
            (2.0, 0.0, 1e-9, 5.0, 5.0),
        ] {
            let expected = simpson(-45.0, 12.0, |u| {
                a * f64::ln(b) - ln_gamma(a) + a * u - b * u.exp() + normal(x, m, v + (-u).exp())
            });
            near(normal_gamma_precision(x, m, v, a, b), expected, 1e-10);
        }
        for (k, n, m, v) in
            [(1.0, 1.0, 0.4, 2.0), (0.0, 1.0, 3.0, 100.0), (3.0, 7.0, -1.0, 0.2), (2.0, 9.0, 40.0, 1e-3)]
        {
            let expected = simpson(-12.0, 12.0, |u| {
                let f = m + f64::sqrt(v) * u;
                -HALF_LN_TWO_PI - 0.5 * u * u + ln_choose(n, k) + k * f - n * log1p_exp(f)
            });
            near(binomial_logit(k, n, m, v), expected, 1e-10);
        }
        for (x, nu, m, v, p) in [(0.5, 4.0, 0.1, 0.3, 2.0), (9.0, 1.5, 0.0, 2.0, 30.0), (0.0, 3.0, 1.0, 1e-4, 1.0)] {
            let expected = simpson(-12.0, 12.0, |u| {
                -HALF_LN_TWO_PI - 0.5 * u * u + student_t(x, nu, m + f64::sqrt(v) * u, 1.0 / f64::sqrt(p))
            });
            near(student_t_uncertain(x, nu, m, v, p), expected, 1e-10);
        }
        let expected = simpson(-12.0, 12.0, |u| -HALF_LN_TWO_PI - 0.5 * u * u + log_normal_cdf(0.3 + 1.2 * u));
        near(bernoulli_probit(1.0, 0.3, 1.44), expected, 1e-10);
    }

    #[test]
    fn closed_forms_agree_with_simpson_over_the_parameter() {
        let gamma_of = |u: f64, a: f64, b: f64| a * b.ln() - ln_gamma(a) + a * u - b * u.exp();
        near(
            gamma_poisson(4.0, 2.0, 1.5, 0.7),
            simpson(-60.0, 8.0, |u| gamma_of(u, 1.5, 0.7) + poisson(4.0, 2.0 * u.exp())),
            1e-10,
        );
        near(
            gamma_gamma(0.8, 2.5, 3.0, 1.5, 0.7),
            simpson(-60.0, 8.0, |u| gamma_of(u, 1.5, 0.7) + gamma(0.8, 2.5, 3.0 * u.exp())),
            1e-10,
        );
        let beta_of = |p: f64| 1.5 * p.ln() + 0.8 * (-p).ln_1p() - ln_beta(2.5, 1.8);
        near(
            beta_binomial(3.0, 5.0, 2.5, 1.8),
            simpson(1e-9, 1.0 - 1e-9, |p| beta_of(p) + binomial(3.0, 5.0, p)),
            1e-7,
        );
        near(dirichlet_multinomial(&[3.0, 2.0], &[2.5, 1.8]), beta_binomial(3.0, 5.0, 2.5, 1.8), 1e-13);
        near(multinomial(&[3.0, 2.0], &[0.3, 0.7]), binomial(3.0, 5.0, 0.3), 1e-13);
        // The t of a normal-gamma as an integral over log τ of normals with variance (1 + 1/κ)/τ.
        let (a, b, m, kappa) = (3.0, 2.0, 0.5, 0.4);
        let expected = simpson(-40.0, 10.0, |u| gamma_of(u, a, b) + normal(1.7, m, (1.0 + 1.0 / kappa) * (-u).exp()));
        near(normal_gamma(1.7, (a, b, m, kappa)), expected, 1e-10);
    }

    #[test]
    fn a_normal_wishart_of_one_coordinate_is_a_normal_gamma_and_missing_coordinates_are_integrated_out() {
        // Λ ~ W(W, ν) in one dimension is Gamma(ν/2, 1/(2W)); natural: −W⁻¹/2 − κm²/2, ν/2 − ½ (of log|Λ|), κm, −κ/2.
        let (w, nu, m, kappa) = (0.6_f64, 5.0, 0.5, 0.4);
        let natural = [-0.5 / w - 0.5 * kappa * m * m, 0.5 * nu - 0.5, kappa * m, -0.5 * kappa].map(|x| [x]);
        let density = NormalWishartDensity::new([&natural[0], &natural[1], &natural[2], &natural[3]]).unwrap();
        near(density.at(&[1.7]), normal_gamma(1.7, (0.5 * nu, 0.5 / w, m, kappa)), 1e-12);
        // Two coordinates: integrated over the second.
        let (inverse, mean) = ([2.0, 0.3, 0.3, 1.0], [0.2, -0.4]);
        let full: Vec<f64> = (0..4).map(|e| -0.5 * inverse[e] - 0.5 * kappa * mean[e / 2] * mean[e % 2]).collect();
        let linear = mean.map(|m| kappa * m);
        let density = NormalWishartDensity::new([&full, &[0.5 * (nu - 2.0)], &linear, &[-0.5 * kappa]]).unwrap();
        let expected = simpson(-400.0, 400.0, |y| density.at(&[0.9, y]));
        near(density.at(&[0.9, f64::NAN]), expected, 1e-6);
    }
}
