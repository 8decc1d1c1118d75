//! Scalar distributions as samplers with their means and variances, truncated ones included.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};
use vi_families::special::{ln_gamma, normal_cdf};

use crate::density::Truncated;

const PI: f64 = std::f64::consts::PI;

/// A scalar distribution; the arguments of each are listed beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// mean, sd
    Normal,
    /// location, scale, degrees of freedom
    StudentT,
    /// location, scale
    Cauchy,
    /// location, scale
    Laplace,
    /// location, scale
    Logistic,
    /// lower, upper
    Uniform,
    /// shape, rate
    Gamma,
    /// shape, scale
    InverseGamma,
    /// rate
    Exponential,
    /// sd
    HalfNormal,
    /// scale
    HalfCauchy,
    /// scale, degrees of freedom
    HalfStudentT,
    /// mean, sd of the log
    LogNormal,
    /// alpha, beta
    Beta,
    /// probability
    Bernoulli,
    /// normal quantile of the probability
    BernoulliProbit,
    /// trials, probability
    Binomial,
    /// rate
    Poisson,
    /// mean, dispersion (variance = mean + dispersion·mean²)
    NegativeBinomial,
}

/// A draw of Gamma(shape, 1); NaN outside its parameters.
fn gamma(rng: &mut ChaCha8Rng, shape: f64) -> f64 {
    rand_distr::Gamma::new(shape, 1.0).map_or(f64::NAN, |d| d.sample(rng))
}

/// A draw of Poisson(rate); zero at rate 0, NaN outside its parameters.
fn poisson(rng: &mut ChaCha8Rng, rate: f64) -> f64 {
    if rate == 0.0 { 0.0 } else { rand_distr::Poisson::new(rate).map_or(f64::NAN, |d| d.sample(rng)) }
}

impl Scalar {
    /// Mean and variance; NaN where there is none, infinite where it diverges.
    pub(crate) fn moments(self, a: &[f64; 3]) -> (f64, f64) {
        let [x, y, z] = *a;
        match self {
            Self::Normal => (x, y * y),
            Self::StudentT => {
                let variance = if z > 2.0 { y * y * z / (z - 2.0) } else { f64::INFINITY };
                if z > 1.0 { (x, variance) } else { (f64::NAN, f64::NAN) }
            }
            Self::Cauchy | Self::HalfCauchy => (f64::NAN, f64::NAN),
            Self::Laplace => (x, 2.0 * y * y),
            Self::Logistic => (x, y * y * PI * PI / 3.0),
            Self::Uniform => (0.5 * (x + y), (y - x).powi(2) / 12.0),
            Self::Gamma => (x / y, x / (y * y)),
            Self::InverseGamma => {
                let mean = if x > 1.0 { y / (x - 1.0) } else { f64::INFINITY };
                (mean, if x > 2.0 { mean * mean / (x - 2.0) } else { f64::INFINITY })
            }
            Self::Exponential => (1.0 / x, 1.0 / (x * x)),
            Self::HalfNormal => (x * (2.0 / PI).sqrt(), x * x * (1.0 - 2.0 / PI)),
            Self::HalfStudentT => {
                // E|t| = 2 √(ν/π) Γ((ν+1)/2) / (Γ(ν/2) (ν − 1)) for ν > 1.
                if y <= 1.0 {
                    return (f64::INFINITY, f64::NAN);
                }
                let log = ln_gamma(0.5 * (y + 1.0)) - ln_gamma(0.5 * y);
                let mean = 2.0 * x * (y / PI).sqrt() * log.exp() / (y - 1.0);
                (mean, if y > 2.0 { x * x * y / (y - 2.0) - mean * mean } else { f64::INFINITY })
            }
            Self::LogNormal => {
                let mean = (x + 0.5 * y * y).exp();
                (mean, mean * mean * (y * y).exp_m1())
            }
            Self::Beta => {
                let (total, mean) = (x + y, x / (x + y));
                (mean, mean * (1.0 - mean) / (total + 1.0))
            }
            Self::Bernoulli => (x, x * (1.0 - x)),
            Self::BernoulliProbit => (normal_cdf(x), normal_cdf(x) * normal_cdf(-x)),
            Self::Binomial => (x * y, x * y * (1.0 - y)),
            Self::Poisson => (x, x),
            Self::NegativeBinomial => (x, x + y * x * x),
        }
    }

    /// A draw; NaN where the arguments are outside the distribution's parameters.
    pub(crate) fn sample(self, a: &[f64; 3], rng: &mut ChaCha8Rng) -> f64 {
        let [x, y, z] = *a;
        let uniform = |rng: &mut ChaCha8Rng| -> f64 { StandardUniform.sample(rng) };
        let normal = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
        let exponential = |rng: &mut ChaCha8Rng| -> f64 { Exp1.sample(rng) };
        let student = |rng: &mut ChaCha8Rng, nu: f64| normal(rng) / (gamma(rng, 0.5 * nu) / (0.5 * nu)).sqrt();
        match self {
            Self::Normal => x + y * normal(rng),
            Self::StudentT => x + y * student(rng, z),
            Self::Cauchy => x + y * (PI * (uniform(rng) - 0.5)).tan(),
            Self::Laplace => {
                let size = exponential(rng);
                x + y * if uniform(rng) < 0.5 { size } else { -size }
            }
            Self::Logistic => {
                let u = uniform(rng).max(f64::MIN_POSITIVE);
                x + y * (u.ln() - (-u).ln_1p())
            }
            Self::Uniform => x + (y - x) * uniform(rng),
            Self::Gamma => gamma(rng, x) / y,
            Self::InverseGamma => y / gamma(rng, x),
            Self::Exponential => exponential(rng) / x,
            Self::HalfNormal => x * normal(rng).abs(),
            Self::HalfCauchy => x * (0.5 * PI * uniform(rng)).tan(),
            Self::HalfStudentT => x * student(rng, y).abs(),
            Self::LogNormal => (x + y * normal(rng)).exp(),
            Self::Beta => {
                let (a, b) = (gamma(rng, x), gamma(rng, y));
                a / (a + b)
            }
            Self::Bernoulli => f64::from(u8::from(uniform(rng) < x)),
            Self::BernoulliProbit => f64::from(u8::from(uniform(rng) < normal_cdf(x))),
            Self::Binomial => {
                rand_distr::Binomial::new(x.max(0.0) as u64, y).map_or(f64::NAN, |d| d.sample(rng) as f64)
            }
            Self::Poisson => poisson(rng, x),
            Self::NegativeBinomial => {
                let rate = if y > 0.0 { x * y * gamma(rng, 1.0 / y) } else { x };
                poisson(rng, rate)
            }
        }
    }

    /// The distribution as one that can be truncated; its parameters stand in the same order.
    pub(crate) fn truncated(self) -> Option<Truncated> {
        Some(match self {
            Self::Normal => Truncated::Normal,
            Self::StudentT => Truncated::StudentT,
            Self::Cauchy => Truncated::Cauchy,
            Self::Laplace => Truncated::Laplace,
            Self::Logistic => Truncated::Logistic,
            Self::HalfNormal => Truncated::HalfNormal,
            Self::HalfCauchy => Truncated::HalfCauchy,
            Self::HalfStudentT => Truncated::HalfStudentT,
            Self::LogNormal => Truncated::LogNormal,
            Self::Exponential => Truncated::Exponential,
            Self::Gamma => Truncated::Gamma,
            Self::InverseGamma => Truncated::InverseGamma,
            Self::Beta => Truncated::Beta,
            Self::Uniform
            | Self::Bernoulli
            | Self::BernoulliProbit
            | Self::Binomial
            | Self::Poisson
            | Self::NegativeBinomial => return None,
        })
    }

    /// A draw between bounds, by halving the interval in which the distribution function reaches a uniform number.
    ///
    /// `None` for distributions that cannot be truncated.
    pub(crate) fn sample_between(self, a: &[f64; 3], lower: f64, upper: f64, rng: &mut ChaCha8Rng) -> Option<f64> {
        let family = self.truncated()?;
        // Where the values lie, and a place and a length to measure steps from.
        let (least, most, location, scale) = match self {
            Self::Normal | Self::StudentT | Self::Cauchy | Self::Laplace | Self::Logistic => {
                (f64::NEG_INFINITY, f64::INFINITY, a[0], a[1])
            }
            Self::Beta => (0.0, 1.0, 0.0, 1.0),
            _ => (0.0, f64::INFINITY, 0.0, 1.0),
        };
        let (lower, upper) = (lower.max(least), upper.min(most));
        let wanted = rng.random::<f64>().max(f64::MIN_POSITIVE).ln();
        let log_share = |x: f64| family.log_distribution(a, lower, upper, x);
        // A finite interval that holds the point.
        let (mut below, mut above) = (lower, upper);
        let mut step = scale;
        while above.is_infinite() {
            let at = below.max(location) + step;
            if log_share(at) >= wanted || step > 1e300 * scale {
                above = at;
            }
            step *= 2.0;
        }
        step = scale;
        while below.is_infinite() {
            let at = above.min(location) - step;
            if log_share(at) <= wanted || step > 1e300 * scale {
                below = at;
            }
            step *= 2.0;
        }
        for _ in 0..200 {
            let middle = 0.5 * (below + above);
            if middle <= below || middle >= above {
                break;
            }
            if log_share(middle) < wanted { below = middle } else { above = middle }
        }
        Some(0.5 * (below + above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const ALL: [(Scalar, [f64; 3]); 17] = [
        (Scalar::Normal, [0.3, 1.7, 0.0]),
        (Scalar::StudentT, [0.3, 1.2, 7.0]),
        (Scalar::Laplace, [-0.4, 0.8, 0.0]),
        (Scalar::Logistic, [0.2, 0.6, 0.0]),
        (Scalar::Uniform, [-1.0, 2.5, 0.0]),
        (Scalar::Gamma, [2.3, 1.4, 0.0]),
        (Scalar::InverseGamma, [7.0, 3.0, 0.0]),
        (Scalar::Exponential, [1.7, 0.0, 0.0]),
        (Scalar::HalfNormal, [1.3, 0.0, 0.0]),
        (Scalar::HalfStudentT, [1.3, 9.0, 0.0]),
        (Scalar::LogNormal, [0.2, 0.4, 0.0]),
        (Scalar::Beta, [2.0, 3.5, 0.0]),
        (Scalar::Bernoulli, [0.3, 0.0, 0.0]),
        (Scalar::BernoulliProbit, [0.4, 0.0, 0.0]),
        (Scalar::Binomial, [9.0, 0.3, 0.0]),
        (Scalar::Poisson, [3.4, 0.0, 0.0]),
        (Scalar::NegativeBinomial, [3.4, 0.5, 0.0]),
    ];

    #[test]
    fn draws_have_the_stated_moments() {
        let n = 40_000;
        for (kind, a) in ALL {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let draws: Vec<f64> = (0..n).map(|_| kind.sample(&a, &mut rng)).collect();
            let (mean, variance) = kind.moments(&a);
            let found = draws.iter().sum::<f64>() / f64::from(n);
            let spread = draws.iter().map(|x| (x - found).powi(2)).sum::<f64>() / f64::from(n);
            let error = (variance / f64::from(n)).sqrt();
            assert!((found - mean).abs() < 5.0 * error, "{kind:?}: mean {found}, stated {mean}");
            assert!((spread / variance - 1.0).abs() < 0.08, "{kind:?}: variance {spread}, stated {variance}");
        }
    }

    /// Under the distribution function, draws between bounds are uniform.
    #[test]
    fn draws_between_bounds_follow_the_distribution_function() {
        let cases = [
            (Scalar::Normal, [0.3, 1.7, 0.0], -0.5, 1.0),
            (Scalar::Normal, [0.0, 1.0, 0.0], 6.0, f64::INFINITY),
            (Scalar::StudentT, [0.3, 1.2, 3.0], f64::NEG_INFINITY, -1.0),
            (Scalar::Cauchy, [0.3, 1.2, 0.0], 0.0, f64::INFINITY),
            (Scalar::Laplace, [0.3, 1.2, 0.0], 0.0, 2.0),
            (Scalar::Logistic, [0.3, 1.2, 0.0], -1.0, 0.5),
            (Scalar::HalfNormal, [1.2, 0.0, 0.0], 0.4, f64::INFINITY),
            (Scalar::HalfCauchy, [1.2, 0.0, 0.0], 0.4, 30.0),
            (Scalar::HalfStudentT, [1.2, 3.0, 0.0], f64::NEG_INFINITY, 2.0),
            (Scalar::LogNormal, [0.3, 1.2, 0.0], 0.4, 3.0),
            (Scalar::Exponential, [1.2, 0.0, 0.0], 2.0, f64::INFINITY),
            (Scalar::Gamma, [2.3, 1.2, 0.0], 1.0, 9.0),
            (Scalar::Gamma, [2.3, 0.01, 0.0], 400.0, f64::INFINITY),
            (Scalar::InverseGamma, [2.3, 1.2, 0.0], 1.0, f64::INFINITY),
            (Scalar::Beta, [2.3, 1.2, 0.0], 0.3, f64::INFINITY),
        ];
        for (kind, a, lower, upper) in cases {
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let family = kind.truncated().expect("can be truncated");
            let log_mass = |u: f64| family.mass(&[a[0], a[1], lower, u, a[2]], &[false; 5]).0;
            let n = 4000;
            let mut levels: Vec<f64> = (0..n)
                .map(|_| {
                    let x = kind.sample_between(&a, lower, upper, &mut rng).expect("can be truncated");
                    assert!(x >= lower && x <= upper, "{kind:?} {x}");
                    (log_mass(x) - log_mass(upper)).exp()
                })
                .collect();
            levels.sort_by(f64::total_cmp);
            let distance = levels.iter().enumerate().map(|(i, u)| (u - i as f64 / f64::from(n)).abs());
            // Kolmogorov's bound at 1e-4: 2.2/√n.
            assert!(distance.fold(0.0, f64::max) < 2.2 / f64::from(n).sqrt(), "{kind:?}");
        }
    }
}
