//! The Laplace distribution, observed and as a prior, against the ELBO written out and maximised here.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit, mean, sd};

/// The maximum of a function of two numbers, by shrinking pattern search.
fn maximum(start: [f64; 2], f: impl Fn([f64; 2]) -> f64) -> ([f64; 2], f64) {
    let (mut at, mut best, mut step) = (start, f(start), 0.5);
    while step > 1e-12 {
        let moves = [[step, 0.0], [-step, 0.0], [0.0, step], [0.0, -step]];
        let next = moves.map(|m| [at[0] + m[0], at[1] + m[1]]).into_iter().max_by(|a, b| f(*a).total_cmp(&f(*b)));
        match next.filter(|p| f(*p) > best) {
            Some(point) => (at, best) = (point, f(point)),
            None => step *= 0.5,
        }
    }
    (at, best)
}

/// −KL(N(m, v) ‖ N(0, prior)).
fn price(m: f64, v: f64, prior: f64) -> f64 {
    -0.5 * ((m * m + v) / prior - 1.0 - (v / prior).ln())
}

#[test]
fn a_location_under_heavy_tails_with_missing_values() {
    let (elbo, ascent) = fit(r#"
[data.values]
y = [0.4, 0.9, "", 1.3, 9.0]
[plates]
n = "rows"
[variables.m]
distribution = "normal"
mean = 0.0
variance = 4.0
[variables.x]
plates = ["n"]
distribution = "laplace"
location = "m"
scale = 0.7
observed = "y"
[inference]
tolerance = 1e-14
"#);
    // E_q log p(x | m) with the best q(s) of each row is −log 2b − √E(x − m)²/b.
    let objective = |[m, log_v]: [f64; 2]| {
        let v = log_v.exp();
        let of = |y: f64| -(1.4_f64).ln() - ((y - m).powi(2) + v).sqrt() / 0.7;
        [0.4, 0.9, 1.3, 9.0].into_iter().map(of).sum::<f64>() + price(m, v, 4.0)
    };
    let ([m, log_v], best) = maximum([0.5, -1.0], objective);
    close("elbo", &[elbo], &[best], 1e-10);
    close("mean", &mean(&ascent, "m"), &[m], 1e-5);
    close("sd", &sd(&ascent, "m"), &[(0.5 * log_v).exp()], 1e-5);
}

#[test]
fn a_laplace_prior() {
    let (elbo, ascent) = fit(r#"
[data.values]
y = [0.4, 0.9, 1.3]
[plates]
n = "rows"
[variables.b]
distribution = "laplace"
location = 0.0
scale = 0.5
[variables.x]
plates = ["n"]
distribution = "normal"
mean = "b"
sd = 1.0
observed = "y"
[inference]
tolerance = 1e-14
"#);
    let pi = std::f64::consts::PI;
    let objective = |[m, log_v]: [f64; 2]| {
        let v = log_v.exp();
        let likelihood: f64 = [0.4, 0.9, 1.3].into_iter().map(|y| -0.5 * ((y - m).powi(2) + v + (2.0 * pi).ln())).sum();
        likelihood - (m * m + v).sqrt() / 0.5 + 0.5 * (1.0 + (2.0 * pi).ln() + log_v)
    };
    let ([m, log_v], best) = maximum([0.5, -1.0], objective);
    close("elbo", &[elbo], &[best], 1e-10);
    close("mean", &mean(&ascent, "b"), &[m], 1e-5);
    close("sd", &sd(&ascent, "b"), &[(0.5 * log_v).exp()], 1e-5);
}
