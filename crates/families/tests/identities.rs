//! One battery of identities that every exponential family must satisfy.
#![allow(clippy::unwrap_used)]

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vi_families::normal_vector::{NormalVector, Quadratic};
use vi_families::truncated_normal::{Side, TruncatedNormal};
use vi_families::{
    Bernoulli, Beta, Binomial, Categorical, Coordinates, Dirichlet, Exponential, ExponentialFamily, Gamma,
    InverseGamma, Multinomial, Normal, NormalGamma, NormalGammaVector, NormalWishart, Poisson, StickBreaking, Wishart,
};

const NUM_DRAWS: usize = 40_000;
/// Monte Carlo means must lie within this many standard errors.
const STANDARD_ERRORS: f64 = 5.0;

fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let scale = 1.0 + found.abs().max(expected.abs());
    assert!((found - expected).abs() <= tolerance * scale, "{what}: {found} against {expected}");
}

/// Running mean and standard error of the mean.
struct Mean {
    values: Vec<f64>,
}

impl Mean {
    fn assert(&self, expected: f64, what: &str) {
        let count = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / count;
        let error = (self.values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count * count)).sqrt();
        let allowed = STANDARD_ERRORS * error + 1e-9 * (1.0 + expected.abs());
        assert!((mean - expected).abs() <= allowed, "{what}: {mean} ± {error} against {expected}");
    }
}

/// The direction η(to) − η(from), shortened to unit length where it is longer, so that one step of the differences suits all.
fn unit_direction<F: ExponentialFamily>(from: &F, to: &F) -> F::Natural {
    let mut along = direction(from, to);
    let length = along.to_vec().iter().map(|value| value * value).sum::<f64>().sqrt();
    along.visit_mut(&mut |value| *value /= length.max(1.0));
    along
}

/// The direction η(to) − η(from).
fn direction<F: ExponentialFamily>(from: &F, to: &F) -> F::Natural {
    let mut difference = to.to_natural();
    difference.add_scaled(-1.0, &from.to_natural());
    difference
}

/// η(member) + step · direction.
fn moved<F: ExponentialFamily>(member: &F, step: f64, direction: &F::Natural) -> F::Natural {
    let mut natural = member.to_natural();
    natural.add_scaled(step, direction);
    natural
}

/// The derivative at 0, of fourth order in the step.
fn derivative(function: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (function(h) - function(-h)) - (function(2.0 * h) - function(-2.0 * h))) / (12.0 * h)
}

fn battery<F: ExponentialFamily>(members: &[F]) {
    let mut random = ChaCha8Rng::seed_from_u64(20_130_501);
    for (index, member) in members.iter().enumerate() {
        let label = |what: &str| format!("{} member {index}: {what}", F::NAME);
        let natural = member.to_natural();
        let expectations = member.expectations();

        // Natural ↔ standard ↔ mean parameters.
        for (what, back) in [
            ("from_natural ∘ to_natural", F::from_natural(&natural).unwrap()),
            ("from_expectations ∘ expectations", F::from_expectations(&expectations).unwrap()),
        ] {
            for (found, expected) in back.to_natural().to_vec().iter().zip(natural.to_vec()) {
                assert_close(*found, expected, 2e-7, &label(what));
            }
            assert_close(member.kl(&back), 0.0, 1e-11, &label(what));
        }

        // H = A − ⟨η, E[T]⟩ − E[log h].
        let identity =
            member.log_partition() - natural.inner_product(&expectations) - member.expected_log_base_measure();
        assert_close(member.entropy(), identity, 1e-10, &label("entropy identity"));
        assert_close(member.kl(member), 0.0, 1e-13, &label("KL with itself"));

        let draws: Vec<F::Value> = (0..NUM_DRAWS).map(|_| member.sample(&mut random)).collect();
        let statistics: Vec<F::Expectations> = draws.iter().map(|draw| member.sufficient_statistics(draw)).collect();
        for (coordinate, expected) in expectations.to_vec().into_iter().enumerate() {
            let values = statistics.iter().map(|statistic| statistic.to_vec()[coordinate]).collect();
            Mean { values }.assert(expected, &label(&format!("sampled statistic {coordinate}")));
        }
        let log_densities: Vec<f64> = draws.iter().map(|draw| member.log_density(draw)).collect();
        Mean { values: log_densities.iter().map(|log| -log).collect() }
            .assert(member.entropy(), &label("entropy = −E[log q]"));
        for (draw, log_density) in draws.iter().zip(&log_densities).take(50) {
            let form = member.log_base_measure(draw) + natural.inner_product(&member.sufficient_statistics(draw))
                - member.log_partition();
            assert_close(form, *log_density, 1e-9, &label("log density in exponential form"));
        }

        let others: Vec<&F> =
            members.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other).collect();
        let directions: Vec<F::Natural> = others.iter().map(|other| unit_direction(member, other)).collect();
        let gradient_change = |along: &F::Natural, against: &F::Natural| {
            derivative(|step| {
                against.inner_product(&F::from_natural(&moved(member, step, along)).unwrap().expectations())
            })
        };
        for (other, along) in others.iter().zip(&directions) {
            // ∇A = E[T].
            let slope = derivative(|step| F::log_partition_at(&moved(member, step, along)).unwrap());
            assert_close(slope, along.inner_product(&expectations), 1e-8, &label("∇A = E[T]"));

            // ∇²A is symmetric, positive semidefinite, and the covariance of the statistics.
            let curvature = gradient_change(along, along);
            assert!(curvature > -1e-9, "{}", label("∇²A ≥ 0"));
            for against in &directions {
                assert_close(
                    gradient_change(along, against),
                    gradient_change(against, along),
                    1e-7,
                    &label("∇²A symmetric"),
                );
            }
            let centre = along.inner_product(&expectations);
            let values = statistics.iter().map(|statistic| (along.inner_product(statistic) - centre).powi(2)).collect();
            Mean { values }.assert(curvature, &label("∇²A = Cov[T]"));

            // KL is non-negative, the Bregman divergence of A, and an expectation.
            let kl = member.kl(other);
            assert!(kl > 0.0, "{}", label("KL > 0"));
            let bregman =
                other.log_partition() - member.log_partition() - direction(member, other).inner_product(&expectations);
            assert_close(kl, bregman, 1e-10, &label("KL = Bregman divergence"));
            let values = draws.iter().zip(&log_densities).map(|(draw, log)| log - other.log_density(draw)).collect();
            Mean { values }.assert(kl, &label("KL = E[log q − log p]"));
        }
    }
}

#[test]
fn normal() {
    battery(&[Normal::new(0.3, 2.0).unwrap(), Normal::new(-1.0, 0.7).unwrap(), Normal::new(2.0, 1.1).unwrap()]);
}

#[test]
fn normal_vector_full() {
    let member = |mean: [f64; 2], precision: [f64; 4]| {
        NormalVector::new(mean.to_vec(), Quadratic::Matrix(precision.to_vec())).unwrap()
    };
    battery(&[
        member([0.3, -0.2], [2.0, 0.4, 0.4, 1.0]),
        member([-0.5, 0.6], [1.0, -0.3, -0.3, 0.8]),
        member([0.1, 0.1], [1.5, 0.0, 0.0, 2.5]),
        member([1.0, 0.0], [1.2, 0.9, 0.9, 1.4]),
    ]);
}

#[test]
fn normal_vector_diagonal() {
    let member = |mean: [f64; 3], precision: [f64; 3]| {
        NormalVector::new(mean.to_vec(), Quadratic::Diagonal(precision.to_vec())).unwrap()
    };
    battery(&[
        member([0.3, -0.2, 1.0], [2.0, 0.4, 1.0]),
        member([-0.5, 0.6, 0.0], [1.0, 0.8, 1.7]),
        member([0.1, 0.1, 0.4], [1.5, 1.0, 0.9]),
    ]);
}

#[test]
fn normal_vector_isotropic() {
    let member =
        |mean: [f64; 3], precision: f64| NormalVector::new(mean.to_vec(), Quadratic::Isotropic(precision)).unwrap();
    battery(&[member([0.3, -0.2, 1.0], 2.0), member([-0.5, 0.6, 0.0], 0.8), member([0.1, 0.1, 0.4], 1.5)]);
}

#[test]
fn gamma() {
    battery(&[Gamma::new(2.5, 1.3).unwrap(), Gamma::new(0.6, 0.9).unwrap(), Gamma::new(40.0, 30.0).unwrap()]);
}

#[test]
fn inverse_gamma() {
    battery(&[
        InverseGamma::new(2.5, 1.3).unwrap(),
        InverseGamma::new(0.6, 0.9).unwrap(),
        InverseGamma::new(9.0, 8.0).unwrap(),
    ]);
}

#[test]
fn wishart() {
    let member = |nu: f64, scale: [f64; 4]| Wishart::from_scale(2, nu, scale.to_vec()).unwrap();
    battery(&[
        member(4.5, [0.5, 0.1, 0.1, 0.3]),
        member(2.2, [1.0, -0.2, -0.2, 0.8]),
        member(7.0, [0.2, 0.0, 0.0, 0.4]),
        member(3.0, [0.7, 0.5, 0.5, 0.6]),
    ]);
}

#[test]
fn normal_gamma() {
    let member = |m, kappa, a, b| NormalGamma::new(m, kappa, a, b).unwrap();
    battery(&[
        member(0.3, 1.5, 2.5, 1.3),
        member(-0.4, 0.8, 4.0, 2.9),
        member(0.8, 3.0, 1.2, 0.9),
        member(0.0, 1.0, 6.0, 5.0),
    ]);
}

#[test]
fn normal_gamma_vector() {
    let member = |mean: [f64; 2], precision: [f64; 4], a: f64, b: f64| {
        NormalGammaVector::new(mean.to_vec(), precision.to_vec(), Gamma::new(a, b).unwrap()).unwrap()
    };
    battery(&[
        member([0.3, -0.2], [1.5, 0.4, 0.4, 1.0], 2.5, 1.3),
        member([-0.4, 0.5], [0.8, -0.2, -0.2, 1.1], 4.0, 2.9),
        member([0.8, 0.1], [3.0, 0.0, 0.0, 2.0], 1.2, 0.9),
        member([0.0, 0.3], [1.0, 0.5, 0.5, 1.2], 6.0, 5.0),
    ]);
}

#[test]
fn normal_wishart() {
    let member = |mean: [f64; 2], kappa: f64, nu: f64, scale: [f64; 4]| {
        NormalWishart::new(mean.to_vec(), kappa, Wishart::from_scale(2, nu, scale.to_vec()).unwrap()).unwrap()
    };
    battery(&[
        member([0.3, -0.2], 1.5, 4.5, [0.5, 0.1, 0.1, 0.3]),
        member([-0.4, 0.5], 0.8, 5.2, [0.4, -0.1, -0.1, 0.5]),
        member([0.0, 0.1], 2.5, 7.0, [0.2, 0.0, 0.0, 0.4]),
        member([0.9, 0.1], 1.0, 4.0, [0.7, 0.5, 0.5, 0.6]),
    ]);
}

#[test]
fn beta() {
    battery(&[Beta::new(2.5, 1.3).unwrap(), Beta::new(0.6, 0.9).unwrap(), Beta::new(8.0, 11.0).unwrap()]);
}

#[test]
fn dirichlet() {
    let member = |concentration: [f64; 3]| Dirichlet::new(concentration.to_vec()).unwrap();
    battery(&[member([2.5, 1.3, 0.7]), member([0.6, 0.9, 3.0]), member([8.0, 11.0, 5.0]), member([1.0, 1.0, 1.0])]);
}

#[test]
fn stick_breaking() {
    let member = |alpha: [f64; 2], beta: [f64; 2]| StickBreaking::new(alpha.to_vec(), beta.to_vec()).unwrap();
    battery(&[member([2.5, 1.3], [0.8, 4.0]), member([1.0, 1.0], [2.0, 2.0]), member([5.0, 0.7], [3.0, 0.9])]);
}

#[test]
fn bernoulli() {
    battery(&[Bernoulli::new(0.3).unwrap(), Bernoulli::new(0.85).unwrap(), Bernoulli::new(0.02).unwrap()]);
}

#[test]
fn binomial() {
    battery(&[Binomial::new(12, 0.3).unwrap(), Binomial::new(12, 0.85).unwrap(), Binomial::new(12, 0.1).unwrap()]);
}

#[test]
fn categorical() {
    let member = |probabilities: [f64; 3]| Categorical::new(probabilities.to_vec()).unwrap();
    battery(&[member([0.2, 0.5, 0.3]), member([0.7, 0.1, 0.2]), member([0.05, 0.15, 0.8])]);
}

#[test]
fn multinomial() {
    let member = |probabilities: [f64; 3]| Multinomial::new(9, probabilities.to_vec()).unwrap();
    battery(&[member([0.2, 0.5, 0.3]), member([0.7, 0.1, 0.2]), member([0.05, 0.15, 0.8])]);
}

#[test]
fn poisson() {
    battery(&[Poisson::new(0.4).unwrap(), Poisson::new(3.0).unwrap(), Poisson::new(25.0).unwrap()]);
}

#[test]
fn exponential() {
    battery(&[Exponential::new(0.4).unwrap(), Exponential::new(3.0).unwrap(), Exponential::new(25.0).unwrap()]);
}

#[test]
fn truncated_normal() {
    for side in [Side::Positive, Side::Negative] {
        let member = |location| TruncatedNormal::new(side.sign() * location, side).unwrap();
        battery(&[member(0.7), member(-2.0), member(-4.5), member(3.0)]);
    }
}

#[test]
fn expectations_are_inverted_far_from_the_ordinary() {
    for shape in [1e-3, 0.05, 1.0, 1e3, 1e6] {
        let back = Gamma::from_expectations(&Gamma::new(shape, 0.3).unwrap().expectations()).unwrap();
        assert_close(back.shape / shape, 1.0, 1e-6, &format!("gamma of shape {shape}"));
    }
    for excess in [1e-3, 0.1, 10.0, 1e4] {
        let wishart =
            Wishart::from_scale(3, 2.0 + excess, vec![2.0, 0.3, 0.0, 0.3, 1.0, -0.2, 0.0, -0.2, 0.5]).unwrap();
        let back = Wishart::from_expectations(&wishart.expectations()).unwrap();
        assert_close(
            (back.degrees_of_freedom() - 2.0) / excess,
            1.0,
            1e-6,
            &format!("wishart {excess} above its bound"),
        );
    }
    for location in [-300.0, -30.0, -1.0, 0.0, 1.0, 30.0] {
        let family = TruncatedNormal::new(location, Side::Positive).unwrap();
        let back = TruncatedNormal::from_expectations(&family.expectations()).unwrap();
        assert_close(back.location, location, 1e-7, "truncated normal");
    }
}
