//! Reciprocals and roots of gamma and inverse-gamma variables in variances, standard deviations, scales and rates: the ELBO is
//! the log evidence in closed form, and that of the same model written without them.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit, load, mean};
use vi_families::special::ln_gamma;

const X: [f64; 5] = [0.3, -1.2, 2.2, 0.7, 1.9];
const E: [f64; 5] = [1.0, 2.0, 0.5, 3.0, 1.5];

fn model(prior: &str, child: &str) -> String {
    format!(
        "[data.values]\nx = {X:?}\ne = {E:?}\np = [0.3, 1.2, 2.2, 0.7, 1.9]\n[plates]\nrow = \"rows\"\n\
         [variables.t]\n{prior}\n[variables.y]\nplates = [\"row\"]\n{child}\n[inference]\ntolerance = 1e-14\n"
    )
}

/// log ∫ Gamma(τ | 2, 3) Π N(x | 0, w/τ) dτ.
fn evidence(weights: impl Fn(usize) -> f64) -> f64 {
    let half = 0.5 * X.len() as f64;
    let squares: f64 = X.iter().enumerate().map(|(i, x)| x * x / weights(i)).sum();
    let logs: f64 = (0..X.len()).map(|i| (2.0 * std::f64::consts::PI * weights(i)).ln()).sum();
    ln_gamma(2.0 + half) - ln_gamma(2.0) + 2.0 * 3.0_f64.ln() - (2.0 + half) * (3.0 + 0.5 * squares).ln() - 0.5 * logs
}

/// The weight w of a row in its variance w/τ.
type Weight = fn(usize) -> f64;

#[test]
fn spreads_of_normals() {
    let gamma = "distribution = \"gamma\"\nshape = 2.0\nrate = 3.0";
    let inverse = "distribution = \"inverse-gamma\"\nshape = 2.0\nscale = 3.0";
    let normal = "distribution = \"normal\"\nmean = 0.0\nobserved = \"x\"\n";
    let cases: [(&str, &str, Weight); 10] = [
        (gamma, "variance = \"1 / t\"", |_| 1.0),
        (gamma, "covariance = \"1 / t\"", |_| 1.0),
        (gamma, "variance = \"e / (2 * t)\"", |i| E[i] / 2.0),
        (gamma, "sd = \"1 / sqrt(t)\"", |_| 1.0),
        (gamma, "sd = \"sqrt(1 / t)\"", |_| 1.0),
        (gamma, "sd = \"2 * e / sqrt(t)\"", |i| 4.0 * E[i] * E[i]),
        (gamma, "sd = \"sqrt(e / t) / 2\"", |i| E[i] / 4.0),
        (inverse, "precision = \"1 / t\"", |_| 1.0),
        (inverse, "precision = \"e / t\"", |i| 1.0 / E[i]),
        (inverse, "sd = \"e * sqrt(t)\"", |i| E[i] * E[i]),
    ];
    for (prior, spread, weights) in cases {
        let (elbo, _) = fit(&model(prior, &format!("{normal}{spread}")));
        close(spread, &[elbo], &[evidence(weights)], 1e-12);
    }
}

#[test]
fn rates_scales_and_heavy_tails() {
    let gamma = "distribution = \"gamma\"\nshape = 2.0\nrate = 3.0";
    let inverse = "distribution = \"inverse-gamma\"\nshape = 2.0\nscale = 3.0";
    let positive = "distribution = \"gamma\"\nobserved = \"p\"\nshape = 1.5\n";
    let heavy = "distribution = \"student-t\"\nobserved = \"x\"\nmean = 0.0\ndegrees_of_freedom = 4.0\n";
    let pairs = [
        (gamma, positive, "scale = \"e / t\"", "rate = \"t / e\""),
        (inverse, positive, "rate = \"2 / t\"", "scale = \"t / 2\""),
        (gamma, heavy, "sd = \"e / sqrt(t)\"", "precision = \"t / (e * e)\""),
    ];
    for (prior, child, with, without) in pairs {
        let (elbo, ascent) = fit(&model(prior, &format!("{child}{with}")));
        let (wanted, plain) = fit(&model(prior, &format!("{child}{without}")));
        close(with, &[elbo], &[wanted], 1e-12);
        close(with, &mean(&ascent, "t"), &mean(&plain, "t"), 1e-12);
    }
}

#[test]
fn known_factors_must_be_positive() {
    let gamma = "distribution = \"gamma\"\nshape = 2.0\nrate = 3.0";
    let child = "distribution = \"normal\"\nmean = 0.0\nobserved = \"e\"\nsd = \"x / sqrt(t)\"";
    let error = cavi::fit(&load(&model(gamma, child))).map(|fit| fit.outcome.elbo).unwrap_err().to_string();
    assert!(error.contains("`y` must be greater than 0") && error.contains("-1.2"), "{error}");
}
