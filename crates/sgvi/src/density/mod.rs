//! Scalar log densities with closed-form partial derivatives, and the loop that evaluates them over aligned arguments.

mod counts;
mod positive;
mod real;
mod relative;
mod truncation;
#[cfg(test)]
mod truncation_tests;
mod vectorized;

pub(crate) use truncation::Truncated;
use vi_families::rows::double::ln_in_place;

/// A log density (or log mass) of up to five arguments; the first is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Kernel {
    /// x, mean, sd
    NormalSd,
    /// x, mean, precision
    NormalPrecision,
    /// x, mean, variance
    NormalVariance,
    /// x, degrees of freedom, location, scale, log normaliser of the standard density
    StudentT,
    /// x, location, scale
    Cauchy,
    /// x, location, scale
    Laplace,
    /// x, location, scale
    Logistic,
    /// x, lower, upper
    Uniform,
    /// x, shape, rate, ln Γ(shape)
    Gamma,
    /// x, shape, scale, ln Γ(shape)
    InverseGamma,
    /// x, rate
    Exponential,
    /// x, sd
    HalfNormal,
    /// x, scale
    HalfCauchy,
    /// x, mean, sd of the log
    LogNormal,
    /// x, alpha, beta, ln B(alpha, beta)
    Beta,
    /// x, probability
    BernoulliProbability,
    /// x, log odds
    BernoulliLogit,
    /// x, normal quantile
    BernoulliProbit,
    /// k, trials, probability, ln C(trials, k)
    BinomialProbability,
    /// k, trials, log odds, ln C(trials, k)
    BinomialLogit,
    /// k, rate, ln k!
    PoissonRate,
    /// k, log rate, ln k!
    PoissonLogRate,
    /// k, mean, dispersion, ln k!
    NegativeBinomial,
    /// Two parameters, lower, upper, a third parameter: log mass between the bounds
    Mass(Truncated),
    /// x, two parameters, lower, upper: log density over that at a point between the bounds
    Relative(Truncated),
    /// Two parameters, lower, upper: log mass between the bounds over the density at that point
    RelativeMass(Truncated),
}

/// Logarithms of a few numbers that recur, such as the spreads of short vectors, and of the last run of them.
#[derive(Debug)]
pub(crate) struct Logarithms {
    single: [(f64, f64); 64],
    /// Where the run starts.
    from: Option<usize>,
    run: Vec<f64>,
}

impl Default for Logarithms {
    fn default() -> Self {
        Self { single: [(f64::NAN, f64::NAN); 64], from: None, run: Vec::new() }
    }
}

impl Logarithms {
    /// log x.
    #[inline(always)]
    fn of(&mut self, x: f64) -> f64 {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, section 6.4): the upper bits are mixed best.
        let place = &mut self.single[(x.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize];
        if place.0 != x {
            *place = (x, x.ln());
        }
        place.1
    }

    /// The logarithms of `n` numbers of one array from a place on.
    fn of_run(&mut self, numbers: &[f64], from: usize, n: usize) -> &[f64] {
        if self.from != Some(from) || self.run.len() != n {
            self.run.clear();
            self.run.extend_from_slice(&numbers[from..from + n]);
            ln_in_place(&mut self.run);
            self.from = Some(from);
        }
        &self.run
    }
}

/// A log density and its partial derivatives.
pub(crate) type Partials = (f64, [f64; 5]);

impl Kernel {
    /// The log density at `a` and its derivatives; `wanted` tells which of the costly ones are needed.
    ///
    /// At numbers it is a number or −∞, and the derivatives are numbers wherever it is one.
    pub(crate) fn at(self, a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
        let (value, partials) = self.formula(a, wanted);
        if value.is_finite() && partials.iter().all(|p| !p.is_nan()) {
            return (value, partials);
        }
        relative::finite(value, partials, a)
    }

    fn formula(self, a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
        match self {
            Self::NormalSd => real::normal_sd(a, f64::ln),
            Self::NormalPrecision => real::normal_precision(a, f64::ln),
            Self::NormalVariance => real::normal_variance(a, f64::ln),
            Self::StudentT => real::student_t(a),
            Self::Cauchy => real::cauchy(a),
            Self::Laplace => real::laplace(a),
            Self::Logistic => real::logistic(a),
            Self::Uniform => real::uniform(a),
            Self::Gamma => positive::gamma(a),
            Self::InverseGamma => positive::inverse_gamma(a),
            Self::Exponential => positive::exponential(a),
            Self::HalfNormal => positive::half_normal(a),
            Self::HalfCauchy => positive::half_cauchy(a),
            Self::LogNormal => positive::log_normal(a),
            Self::Beta => positive::beta(a),
            Self::BernoulliProbability => counts::bernoulli_probability(a),
            Self::BernoulliLogit => counts::bernoulli_logit(a),
            Self::BernoulliProbit => counts::bernoulli_probit(a),
            Self::BinomialProbability => counts::binomial_probability(a),
            Self::BinomialLogit => counts::binomial_logit(a),
            Self::PoissonRate => counts::poisson_rate(a),
            Self::PoissonLogRate => counts::poisson_log_rate(a),
            Self::NegativeBinomial => counts::negative_binomial(a, wanted),
            Self::Mass(d) => d.mass(a, wanted),
            Self::Relative(d) => d.relative(a),
            Self::RelativeMass(d) => d.relative_mass(a, wanted),
        }
    }

    /// Evaluates a run of `n` elements: argument `i` is read at `offsets[i + 1] + j·steps[i + 1]`, results go to
    /// `offsets[0] + j`; `logarithms` is the same for runs whose parameters are alike.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn evaluate(
        self,
        n: usize,
        offsets: [usize; 6],
        steps: [usize; 6],
        arguments: &[&[f64]; 5],
        skip_missing: bool,
        wanted: [bool; 5],
        values: &mut [f64],
        partials: &mut [Vec<f64>; 5],
        logarithms: &mut Logarithms,
    ) {
        let fast = vectorized::Run { n, offsets, steps, arguments, skip_missing, wanted };
        if fast.evaluate(self, values, partials, logarithms) {
            return;
        }
        macro_rules! run {
            ($f:expr) => {
                for j in 0..n {
                    let a: [f64; 5] = std::array::from_fn(|i| arguments[i][offsets[i + 1] + j * steps[i + 1]]);
                    let at = offsets[0] + j;
                    let (value, derivatives) = if skip_missing && a[0].is_nan() { (0.0, [0.0; 5]) } else { $f(&a) };
                    values[at] = value;
                    for i in 0..5 {
                        if wanted[i] {
                            partials[i][at] = derivatives[i];
                        }
                    }
                }
            };
        }
        match self {
            Self::NormalSd => run!(|a: &[f64; 5]| real::normal_sd(a, |x| logarithms.of(x))),
            Self::NormalPrecision => run!(|a: &[f64; 5]| real::normal_precision(a, |x| logarithms.of(x))),
            Self::NormalVariance => run!(|a: &[f64; 5]| real::normal_variance(a, |x| logarithms.of(x))),
            Self::BernoulliLogit => run!(counts::bernoulli_logit),
            Self::PoissonLogRate => run!(counts::poisson_log_rate),
            kernel => run!(|a: &[f64; 5]| kernel.at(a, &wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vi_families::special::{ln_choose, ln_factorial, ln_gamma};

    fn cases() -> Vec<(Kernel, usize, [f64; 5])> {
        use Kernel::*;
        vec![
            (NormalSd, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (NormalPrecision, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (NormalVariance, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (StudentT, 5, [0.3, 4.5, -0.4, 1.7, -0.9]),
            (Cauchy, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (Laplace, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (Logistic, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (Uniform, 3, [0.3, -0.4, 1.7, 0.0, 0.0]),
            (Gamma, 4, [0.3, 2.4, 1.7, 0.2, 0.0]),
            (InverseGamma, 4, [0.3, 2.4, 1.7, 0.2, 0.0]),
            (Exponential, 2, [0.3, 2.4, 0.0, 0.0, 0.0]),
            (HalfNormal, 2, [0.3, 2.4, 0.0, 0.0, 0.0]),
            (HalfCauchy, 2, [0.3, 2.4, 0.0, 0.0, 0.0]),
            (LogNormal, 3, [0.3, 0.4, 1.7, 0.0, 0.0]),
            (Beta, 4, [0.3, 2.4, 1.7, -1.2, 0.0]),
            (BernoulliProbability, 2, [1.0, 0.3, 0.0, 0.0, 0.0]),
            (BernoulliProbability, 2, [0.0, 0.3, 0.0, 0.0, 0.0]),
            (BernoulliLogit, 2, [1.0, 0.7, 0.0, 0.0, 0.0]),
            (BernoulliProbit, 2, [0.0, -0.7, 0.0, 0.0, 0.0]),
            (BinomialProbability, 4, [3.0, 7.0, 0.4, 1.0, 0.0]),
            (BinomialLogit, 4, [3.0, 7.0, 0.4, 1.0, 0.0]),
            (PoissonRate, 3, [3.0, 1.7, 1.0, 0.0, 0.0]),
            (PoissonLogRate, 3, [3.0, 1.7, 1.0, 0.0, 0.0]),
            (NegativeBinomial, 4, [3.0, 1.7, 0.6, 1.0, 0.0]),
            (Mass(Truncated::Normal), 4, [0.3, 1.7, -0.4, 1.1, 0.0]),
            (Mass(Truncated::Cauchy), 4, [0.3, 1.7, -0.4, 1.1, 0.0]),
            (Mass(Truncated::Laplace), 4, [0.3, 1.7, -0.4, 1.1, 0.0]),
            (Mass(Truncated::Logistic), 4, [0.3, 1.7, -0.4, 1.1, 0.0]),
            (Mass(Truncated::StudentT), 5, [0.3, 1.7, -0.4, 1.1, 3.5]),
            (Mass(Truncated::StudentT), 5, [0.3, 1.7, 5.4, 6.1, 3.5]),
            (Mass(Truncated::HalfNormal), 4, [1.7, 0.0, 0.4, 1.1, 0.0]),
            (Mass(Truncated::HalfCauchy), 4, [1.7, 0.0, 0.4, 1.1, 0.0]),
            (Mass(Truncated::HalfStudentT), 4, [1.7, 3.5, 0.4, 1.1, 0.0]),
            (Mass(Truncated::LogNormal), 4, [0.3, 1.7, 0.4, 1.1, 0.0]),
            (Mass(Truncated::Exponential), 4, [1.7, 0.0, 0.4, 1.1, 0.0]),
            (Mass(Truncated::Gamma), 4, [2.3, 1.7, 0.4, 1.1, 0.0]),
            (Mass(Truncated::Gamma), 4, [2.3, 1.7, 7.4, 9.1, 0.0]),
            (Mass(Truncated::InverseGamma), 4, [2.3, 1.7, 0.4, 1.1, 0.0]),
            (Mass(Truncated::Beta), 4, [2.3, 1.7, 0.4, 0.9, 0.0]),
            (Mass(Truncated::Beta), 4, [0.6, 5.1, 0.8, 0.9, 0.0]),
        ]
    }

    #[test]
    fn partial_derivatives_agree_with_finite_differences() {
        for (kernel, count, a) in cases() {
            let (_, partials) = kernel.at(&a, &[true; 5]);
            let discrete = matches!(
                kernel,
                Kernel::BernoulliProbability
                    | Kernel::BernoulliProbit
                    | Kernel::BinomialProbability
                    | Kernel::BinomialLogit
                    | Kernel::PoissonRate
                    | Kernel::PoissonLogRate
                    | Kernel::NegativeBinomial
            );
            for i in usize::from(discrete)..count {
                if i == 1 && matches!(kernel, Kernel::BinomialLogit | Kernel::BinomialProbability) {
                    continue;
                }
                let (mut up, mut down) = (a, a);
                let h = 1e-6 * (1.0 + a[i].abs());
                up[i] += h;
                down[i] -= h;
                let difference = (kernel.at(&up, &[true; 5]).0 - kernel.at(&down, &[true; 5]).0) / (2.0 * h);
                assert!(
                    (difference - partials[i]).abs() < 1e-7 * (1.0 + difference.abs()),
                    "{kernel:?} argument {i}: {} but differences give {difference}",
                    partials[i]
                );
            }
        }
    }

    /// ∫ exp(log p) over a fine grid after x = t / (1 − t²) or t / (1 − t).
    fn integral(f: impl Fn(f64) -> f64, positive: bool) -> f64 {
        let n = 400_000;
        (1..n)
            .map(|i| {
                let t = i as f64 / f64::from(n);
                let (x, jacobian) = if positive {
                    (t / (1.0 - t), 1.0 / ((1.0 - t) * (1.0 - t)))
                } else {
                    let s = 2.0 * t - 1.0;
                    (s / (1.0 - s * s), 2.0 * (1.0 + s * s) / ((1.0 - s * s) * (1.0 - s * s)))
                };
                f(x).exp() * jacobian / f64::from(n)
            })
            .sum()
    }

    #[test]
    fn densities_integrate_to_one() {
        let t = |nu: f64| ln_gamma(0.5 * (nu + 1.0)) - ln_gamma(0.5 * nu) - 0.5 * (nu * std::f64::consts::PI).ln();
        let w = [false; 5];
        let real: Vec<(Kernel, [f64; 4])> = vec![
            (Kernel::NormalSd, [-0.4, 1.7, 0.0, 0.0]),
            (Kernel::NormalPrecision, [-0.4, 1.7, 0.0, 0.0]),
            (Kernel::NormalVariance, [-0.4, 1.7, 0.0, 0.0]),
            (Kernel::StudentT, [4.5, -0.4, 1.7, t(4.5)]),
            (Kernel::Cauchy, [-0.4, 1.7, 0.0, 0.0]),
            (Kernel::Laplace, [-0.4, 1.7, 0.0, 0.0]),
            (Kernel::Logistic, [-0.4, 1.7, 0.0, 0.0]),
        ];
        for (kernel, p) in real {
            let total = integral(|x| kernel.at(&[x, p[0], p[1], p[2], p[3]], &w).0, false);
            assert!((total - 1.0).abs() < 1e-5, "{kernel:?}: {total}");
        }
        let positive: Vec<(Kernel, [f64; 4])> = vec![
            (Kernel::Gamma, [2.4, 1.7, ln_gamma(2.4), 0.0]),
            (Kernel::InverseGamma, [2.4, 1.7, ln_gamma(2.4), 0.0]),
            (Kernel::Exponential, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::HalfNormal, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::HalfCauchy, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::LogNormal, [0.4, 0.7, 0.0, 0.0]),
        ];
        for (kernel, p) in positive {
            let total = integral(|x| kernel.at(&[x, p[0], p[1], p[2], p[3]], &w).0, true);
            assert!((total - 1.0).abs() < 1e-5, "{kernel:?}: {total}");
        }
        let ln_beta = ln_gamma(2.4) + ln_gamma(1.7) - ln_gamma(4.1);
        let n = 100_000;
        let total: f64 = (0..n)
            .map(|i| Kernel::Beta.at(&[(f64::from(i) + 0.5) / f64::from(n), 2.4, 1.7, ln_beta, 0.0], &w).0.exp())
            .sum();
        assert!((total / f64::from(n) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn masses_sum_to_one() {
        let w = [false; 5];
        let sum = |f: &dyn Fn(f64) -> f64, n: u32| (0..n).map(|k| f(f64::from(k)).exp()).sum::<f64>();
        let check = |total: f64| assert!((total - 1.0).abs() < 1e-10, "{total}");
        check(sum(&|k| Kernel::PoissonRate.at(&[k, 3.2, ln_factorial(k), 0.0, 0.0], &w).0, 100));
        check(sum(&|k| Kernel::PoissonLogRate.at(&[k, 1.2, ln_factorial(k), 0.0, 0.0], &w).0, 100));
        check(sum(&|k| Kernel::NegativeBinomial.at(&[k, 3.2, 0.7, ln_factorial(k), 0.0], &w).0, 2000));
        check(sum(&|k| Kernel::BinomialProbability.at(&[k, 7.0, 0.3, ln_choose(7.0, k), 0.0], &w).0, 8));
        check(sum(&|k| Kernel::BinomialLogit.at(&[k, 7.0, 0.3, ln_choose(7.0, k), 0.0], &w).0, 8));
        check(sum(&|k| Kernel::BernoulliProbit.at(&[k, 0.3, 0.0, 0.0, 0.0], &w).0, 2));
        check(sum(&|k| Kernel::BernoulliLogit.at(&[k, 0.3, 0.0, 0.0, 0.0], &w).0, 2));
    }

    #[test]
    fn truncation_masses_are_integrals_of_their_densities() {
        let w = [false; 5];
        let t = ln_gamma(2.25) - ln_gamma(1.75) - 0.5 * (3.5 * std::f64::consts::PI).ln();
        let pairs: Vec<(Kernel, Kernel, [f64; 4])> = vec![
            (Kernel::Mass(Truncated::Normal), Kernel::NormalSd, [0.3, 1.7, 0.0, 0.0]),
            (Kernel::Mass(Truncated::Cauchy), Kernel::Cauchy, [0.3, 1.7, 0.0, 0.0]),
            (Kernel::Mass(Truncated::Laplace), Kernel::Laplace, [0.3, 1.7, 0.0, 0.0]),
            (Kernel::Mass(Truncated::Logistic), Kernel::Logistic, [0.3, 1.7, 0.0, 0.0]),
            (Kernel::Mass(Truncated::StudentT), Kernel::StudentT, [3.5, 0.3, 1.7, t]),
        ];
        for (mass, density, p) in pairs {
            for (lower, upper) in [(-0.4, 1.1), (2.0, 9.0), (-7.0, 0.2)] {
                let n = 200_000;
                let h = (upper - lower) / f64::from(n);
                let total: f64 = (0..n)
                    .map(|i| density.at(&[lower + (f64::from(i) + 0.5) * h, p[0], p[1], p[2], p[3]], &w).0.exp() * h)
                    .sum();
                let value = mass.at(&[0.3, 1.7, lower, upper, 3.5], &w).0;
                assert!((value - total.ln()).abs() < 1e-8, "{mass:?}: {value} against {}", total.ln());
            }
            let whole = mass.at(&[0.3, 1.7, f64::NEG_INFINITY, f64::INFINITY, 3.5], &w).0;
            assert!(whole.abs() < 1e-12, "{mass:?}: {whole}");
        }
        let half = t + std::f64::consts::LN_2;
        let ln_beta = ln_gamma(2.4) + ln_gamma(1.7) - ln_gamma(4.1);
        // Parameters of the mass, and those of the density after its value.
        let positive: Vec<(Kernel, [f64; 2], Kernel, [f64; 4])> = vec![
            (Kernel::Mass(Truncated::HalfNormal), [1.7, 0.0], Kernel::HalfNormal, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::Mass(Truncated::HalfCauchy), [1.7, 0.0], Kernel::HalfCauchy, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::Mass(Truncated::HalfStudentT), [1.7, 3.5], Kernel::StudentT, [3.5, 0.0, 1.7, half]),
            (Kernel::Mass(Truncated::LogNormal), [-0.4, 0.7], Kernel::LogNormal, [-0.4, 0.7, 0.0, 0.0]),
            (Kernel::Mass(Truncated::Exponential), [1.7, 0.0], Kernel::Exponential, [1.7, 0.0, 0.0, 0.0]),
            (Kernel::Mass(Truncated::Gamma), [2.4, 1.7], Kernel::Gamma, [2.4, 1.7, ln_gamma(2.4), 0.0]),
            (Kernel::Mass(Truncated::InverseGamma), [2.4, 1.7], Kernel::InverseGamma, [2.4, 1.7, ln_gamma(2.4), 0.0]),
            (Kernel::Mass(Truncated::Beta), [2.4, 1.7], Kernel::Beta, [2.4, 1.7, ln_beta, 0.0]),
        ];
        for (mass, parameters, density, p) in positive {
            for (lower, upper) in [(-0.4, 0.3), (0.2, 0.7), (0.55, 0.99)] {
                let n = 200_000;
                let from = f64::max(lower, 0.0);
                let h = (upper - from) / f64::from(n);
                let total: f64 = (0..n)
                    .map(|i| density.at(&[from + (f64::from(i) + 0.5) * h, p[0], p[1], p[2], p[3]], &w).0.exp() * h)
                    .sum();
                let value = mass.at(&[parameters[0], parameters[1], lower, upper, 0.0], &w).0;
                assert!((value - total.ln()).abs() < 1e-8, "{mass:?}: {value} against {}", total.ln());
            }
            let whole = mass.at(&[parameters[0], parameters[1], f64::NEG_INFINITY, f64::INFINITY, 0.0], &w).0;
            assert!(whole.abs() < 1e-12, "{mass:?}: {whole}");
        }
    }
}
