//! Truncated distributions, latent and observed, against quadrature.

use std::path::Path;

use vi_families::special::ln_gamma;

use super::Model;
use crate::tape::{Evaluation, Evaluator};

/// ∫ exp(log joint) over the one coordinate on the whole line, by the trapezoidal rule.
fn log_evidence(text: &str) -> f64 {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let model = Model::new(&graph).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(model.program.dimension, 1);
    let evaluator = Evaluator::new(model.program);
    let h = 0.01;
    let theta: Vec<f64> = (-3600..3600).map(|i| f64::from(i) * h).collect();
    let mut out = Evaluation::default();
    let mut total = 0.0;
    for part in theta.chunks(16) {
        evaluator.evaluate(part, part.len(), false, &mut out);
        // Far out the coordinate's value is its bound to the last digit, where some densities have no number.
        total += out.values.iter().filter(|l| l.is_finite()).map(|l| l.exp() * h).sum::<f64>();
    }
    total.ln()
}

/// ∫ f over an interval by Simpson's rule.
fn integral(f: impl Fn(f64) -> f64, lower: f64, upper: f64) -> f64 {
    let n = 4000;
    let h = (upper - lower) / f64::from(n);
    let inner: f64 = (1..n).map(|i| f(lower + f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(lower) + f(upper) + inner) * h / 3.0
}

fn normal(x: f64, mean: f64, sd: f64) -> f64 {
    (-0.5 * ((x - mean) / sd).powi(2)).exp() / (sd * (2.0 * std::f64::consts::PI).sqrt())
}

type Density = fn(f64) -> f64;

/// x within bounds, y ~ N(x, 0.5²): p(y) = ∫ f(x) N(y | x) dx / ∫ f(x) dx. The densities need no constants.
#[test]
fn latent_values_within_bounds() {
    let cases: [(&str, Density, f64, f64); 11] = [
        ("normal\"\nmean = 0.3\nsd = 1.7", |x| normal(x, 0.3, 1.7), -0.5, 2.0),
        (
            "student-t\"\ndegrees_of_freedom = 3\nmean = 0.3\nsd = 1.7",
            |x| (1.0 + (x - 0.3f64).powi(2) / 8.67).powi(-2),
            -0.5,
            2.0,
        ),
        ("gamma\"\nshape = 2.5\nrate = 1.5", |x| x.powf(1.5) * (-1.5 * x).exp(), 1.0, 3.0),
        ("inverse-gamma\"\nshape = 2.5\nscale = 1.5", |x| x.powf(-3.5) * (-1.5 / x).exp(), 0.8, 3.0),
        ("exponential\"\nrate = 1.5", |x| (-1.5 * x).exp(), 0.7, 2.5),
        ("half-normal\"\nsd = 1.5", |x| normal(x, 0.0, 1.5), 0.7, 2.5),
        ("half-cauchy\"\nscale = 1.5", |x| 1.0 / (1.0 + x * x / 2.25), 0.7, 2.5),
        ("half-student-t\"\ndegrees_of_freedom = 3\nscale = 1.7", |x| (1.0 + x * x / 8.67).powi(-2), 0.7, 2.5),
        ("log-normal\"\nmean = 0.2\nsd = 0.8", |x| normal(x.ln(), 0.2, 0.8) / x, 0.7, 2.5),
        ("beta\"\nalpha = 2.5\nbeta = 1.5", |x| x.powf(1.5) * (1.0 - x).sqrt(), 0.3, 0.9),
        ("laplace\"\nlocation = 0.3\nscale = 1.7", |x| (-(x - 0.3f64).abs() / 1.7).exp(), -0.5, 2.0),
    ];
    for (distribution, density, lower, upper) in cases {
        let text = format!(
            "[data.values]\nobs = 1.1\n[variables.x]\ndistribution = \"{distribution}\nlower = {lower}\nupper = {upper}\n\
             [variables.y]\ndistribution = \"normal\"\nmean = \"x\"\nsd = 0.5\nobserved = \"obs\"\n"
        );
        let mass = integral(density, lower, upper);
        let evidence = (integral(|x| density(x) * normal(1.1, x, 0.5), lower, upper) / mass).ln();
        let found = log_evidence(&text);
        // The density of the Laplace has a kink.
        assert!((found - evidence).abs() < 1e-6, "{distribution}: {found} {evidence}");
    }
}

/// One bound alone, beyond the end of the support or within it.
#[test]
fn one_bound_alone() {
    for (distribution, bound, density, from, to) in [
        ("gamma\"\nshape = 2.5\nrate = 1.5", "lower = 1", (|x| x.powf(1.5) * (-1.5 * x).exp()) as Density, 1.0, 14.0),
        ("gamma\"\nshape = 2.5\nrate = 1.5", "lower = -1", |x| x.powf(1.5) * (-1.5 * x).exp(), 0.0, 14.0),
        ("gamma\"\nshape = 2.5\nrate = 1.5", "upper = 1", |x| x.powf(1.5) * (-1.5 * x).exp(), 0.0, 1.0),
        ("beta\"\nalpha = 2.5\nbeta = 1.5", "upper = 0.6", |x| x.powf(1.5) * (1.0 - x).sqrt(), 0.0, 0.6),
    ] {
        let found = log_evidence(&format!(
            "[data.values]\nobs = 1.1\n[variables.x]\ndistribution = \"{distribution}\n{bound}\n\
             [variables.y]\ndistribution = \"normal\"\nmean = \"x\"\nsd = 0.5\nobserved = \"obs\"\n"
        ));
        let evidence = integral(|x| density(x) * normal(1.1, x, 0.5), from, to) / integral(density, from, to);
        assert!((found - evidence.ln()).abs() < 1e-7, "{distribution} {bound}: {found} {}", evidence.ln());
    }
}

/// Observed values whose normalising constant moves with a latent parameter: p(y) = ∫ p(θ) Π f(yᵢ | θ) / ∫ f(y | θ) dy dθ.
#[test]
fn observed_values_within_bounds() {
    let observed = [1.2, 2.9, 1.7, 2.2];
    let prior = |t: f64| 4.0 * t * (-2.0 * t).exp();
    let t_density = |y: f64, nu: f64| {
        let log = ln_gamma(0.5 * nu + 0.5) - ln_gamma(0.5 * nu) - 0.5 * (nu * std::f64::consts::PI).ln();
        (log - 0.5 * (nu + 1.0) * ((y - 0.5).powi(2) / nu).ln_1p()).exp()
    };
    type Conditional<'a> = &'a dyn Fn(f64, f64) -> f64;
    let cases: [(&str, Conditional); 5] = [
        ("gamma\"\nshape = \"t\"\nrate = 1.5", &|y, t| y.powf(t - 1.0) * (-1.5 * y).exp()),
        ("gamma\"\nshape = 2\nrate = \"t\"", &|y, t| y * (-t * y).exp()),
        ("inverse-gamma\"\nshape = \"t\"\nscale = 1.5", &|y, t| y.powf(-t - 1.0) * (-1.5 / y).exp()),
        ("student-t\"\ndegrees_of_freedom = \"t\"\nmean = 0.5\nsd = 1", &t_density),
        ("log-normal\"\nmean = 0.3\nsd = \"t\"", &|y, t| normal(y.ln(), 0.3, t) / y),
    ];
    for (distribution, density) in cases {
        let found = log_evidence(&format!(
            "[data.values]\nobs = [1.2, 2.9, 1.7, 2.2]\n[plates]\nrow = \"rows\"\n[variables.t]\ndistribution = \"gamma\"\nshape = 2\nrate = 2\n\
             [variables.y]\nplates = [\"row\"]\ndistribution = \"{distribution}\nlower = 1\nupper = 3\nobserved = \"obs\"\n"
        ));
        let joint = |t: f64| {
            let mass = integral(|y| density(y, t), 1.0, 3.0);
            let joint = prior(t) * observed.iter().map(|&y| density(y, t) / mass).product::<f64>();
            // So narrow that no observation is within reach.
            if mass > 0.0 { joint } else { 0.0 }
        };
        let evidence = integral(joint, 1e-6, 16.0).ln();
        assert!((found - evidence).abs() < 1e-6, "{distribution}: {found} {evidence}");
    }
}
