//! Log predictive densities of rows: exact where they have a form, against sums and integrals written out here.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use cavi::{Ascent, LogDensity, Prediction};
use common::{close, entry, mean, parameter, predicted, sd};
use vi_families::special::ln_gamma;

fn exact(prediction: &Prediction) -> &[f64] {
    assert_eq!(prediction.log_density_is, LogDensity::Exact);
    prediction.log_density.as_deref().expect("densities")
}

/// ∫ f over an interval by Simpson's rule.
fn integral(lower: f64, upper: f64, f: impl Fn(f64) -> f64) -> f64 {
    let n = 20_000;
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
    (0..=n).map(|i| weight(i) * f(lower + h * f64::from(i))).sum::<f64>() * h / 3.0
}

fn normal(x: f64, mean: f64, variance: f64) -> f64 {
    (-0.5 * (x - mean).powi(2) / variance).exp() / (2.0 * std::f64::consts::PI * variance).sqrt()
}

/// The density of log u where u ~ Gamma(shape, rate).
fn log_gamma_density(log: f64, shape: f64, rate: f64) -> f64 {
    (shape * rate.ln() - ln_gamma(shape) + shape * log - rate * log.exp()).exp()
}

#[test]
fn a_mixture_of_joint_components_far_from_zero_with_missing_coordinates() {
    let rows =
        "[[1000.0, 1.0], [1000.4, 1.3], [1000.9, 0.7], [1010.0, -2.0], [1010.6, -2.5], [1011.2, -1.0], [1012.0, -1.6]]";
    let (ascent, prediction) = predicted(
        &format!(
            r#"
[data.values]
y = {rows}
[plates]
n = "rows"
k = 2
[variables.pi]
distribution = "dirichlet"
dimension = "k"
concentration = 1.0
[variables.z]
plates = ["n"]
distribution = "categorical"
probabilities = "pi"
[variables.g]
plates = ["k"]
distribution = "normal-wishart"
dimension = "y"
mean = [1000.0, 0.0]
mean_precision = 0.1
degrees_of_freedom = 4.0
scale = [[1.0, 0.2], [0.2, 1.0]]
[variables.x]
plates = ["n"]
distribution = "normal"
dimension = "y"
parameters = "g[z]"
observed = "y"
[inference]
restarts = 5
"#
        ),
        &[("y.0", &[1000.5, 1011.0, f64::NAN]), ("y.1", &[1.5, f64::NAN, -2.0])],
    );
    let of = |key: &str| parameter(&ascent, "g", key);
    let (m, kappa, nu, scale) = (of("mean"), of("mean_precision"), of("degrees_of_freedom"), of("scale"));
    let alpha = parameter(&ascent, "pi", "concentration");
    // Each component is a t with ν − 1 degrees of freedom and scale W⁻¹ (1 + κ)/(κ (ν − 1)); W⁻¹ by Cramer's rule.
    let density = |k: usize, x: [f64; 2]| {
        let w = &scale[4 * k..4 * k + 4];
        let det = w[0] * w[3] - w[1] * w[2];
        let degrees = nu[k] - 1.0;
        let factor = (1.0 + kappa[k]) / (kappa[k] * degrees);
        let s = [w[3] / det * factor, -w[1] / det * factor, w[0] / det * factor];
        let r = [x[0] - m[2 * k], x[1] - m[2 * k + 1]];
        let (d, distance, log_det) = match (x[0].is_nan(), x[1].is_nan()) {
            (false, false) => {
                let det = s[0] * s[2] - s[1] * s[1];
                (2.0, (s[2] * r[0] * r[0] - 2.0 * s[1] * r[0] * r[1] + s[0] * r[1] * r[1]) / det, det.ln())
            }
            (false, true) => (1.0, r[0] * r[0] / s[0], s[0].ln()),
            _ => (1.0, r[1] * r[1] / s[2], s[2].ln()),
        };
        (ln_gamma(0.5 * (degrees + d))
            - ln_gamma(0.5 * degrees)
            - 0.5 * d * (degrees * std::f64::consts::PI).ln()
            - 0.5 * log_det
            - 0.5 * (degrees + d) * (distance / degrees).ln_1p())
        .exp()
    };
    let total: f64 = alpha.iter().sum();
    let expected: Vec<f64> = [[1000.5, 1.5], [1011.0, f64::NAN], [f64::NAN, -2.0]]
        .into_iter()
        .map(|x| (0..2).map(|k| alpha[k] / total * density(k, x)).sum::<f64>().ln())
        .collect();
    close("log density", exact(&prediction), &expected, 1e-8);
}

#[test]
fn regressions_with_known_and_unknown_noise() {
    let model = |noise: &str| {
        format!(
            r#"
[data.values]
y = [1.0, 2.0, 3.5, 3.2]
t = [0.0, 1.0, 2.0, 2.5]
[plates]
n = "rows"
[variables.a]
distribution = "normal"
mean = 0.0
sd = 2.0
[variables.b]
distribution = "normal"
mean = 0.0
sd = 2.0
[variables.tau]
distribution = "gamma"
shape = 3.0
rate = 2.0
[variables.x]
plates = ["n"]
distribution = "normal"
mean = "a * t + b"
{noise}
observed = "y"
[inference]
blocks = [["a", "b"]]
tolerance = 1e-14
"#
        )
    };
    let new: &[(&str, &[f64])] = &[("t", &[0.5, 3.0]), ("y", &[1.0, 6.5])];
    // Given an expected precision, intercept and slope are normal with precision XᵀX E[τ] + I/4.
    let line = |ascent: &Ascent, tau: f64, t: f64| {
        let times = [0.0, 1.0, 2.0, 2.5];
        let (n, sum, square) = (4.0, times.iter().sum::<f64>(), times.iter().map(|t| t * t).sum::<f64>());
        let (p, q, r) = (tau * square + 0.25, tau * sum, tau * n + 0.25);
        let variance = (r * t * t - 2.0 * q * t + p) / (p * r - q * q);
        (mean(ascent, "a")[0] * t + mean(ascent, "b")[0], variance)
    };
    let (ascent, prediction) = predicted(&model("sd = 0.7"), new);
    let expected: Vec<f64> = [(0.5, 1.0), (3.0, 6.5)]
        .map(|(t, y)| {
            let (m, v) = line(&ascent, 1.0 / 0.49, t);
            normal(y, m, v + 0.49).ln()
        })
        .to_vec();
    close("known", exact(&prediction), &expected, 1e-10);
    let (ascent, prediction) = predicted(&model("precision = \"tau\""), new);
    let (shape, rate) = (parameter(&ascent, "tau", "shape")[0], parameter(&ascent, "tau", "rate")[0]);
    let expected: Vec<f64> = [(0.5, 1.0), (3.0, 6.5)]
        .map(|(t, y)| {
            let (m, v) = line(&ascent, shape / rate, t);
            integral(-25.0, 8.0, |u| log_gamma_density(u, shape, rate) * normal(y, m, v + (-u).exp())).ln()
        })
        .to_vec();
    close("unknown", exact(&prediction), &expected, 1e-6);
}

#[test]
fn counts_waiting_times_and_successes() {
    let (ascent, prediction) = predicted(
        r#"
[data.values]
c = [3, 4, 1]
w = [0.5, 1.5, 0.2]
k = [3, 1, 4]
s = [0, 2, 2]
e = [1.0, 2.0, 0.5]
[plates]
n = "rows"
kind = 3
[variables.rate]
distribution = "gamma"
shape = 2.0
rate = 1.0
[variables.count]
plates = ["n"]
distribution = "poisson"
rate = "rate * e"
observed = "c"
[variables.speed]
distribution = "gamma"
shape = 3.0
rate = 1.0
[variables.wait]
plates = ["n"]
distribution = "exponential"
rate = "speed"
observed = "w"
[variables.p]
distribution = "beta"
alpha = 1.0
beta = 2.0
[variables.success]
plates = ["n"]
distribution = "binomial"
trials = 5
probability = "p"
observed = "k"
[variables.share]
distribution = "dirichlet"
dimension = "kind"
concentration = 0.5
[variables.what]
plates = ["n"]
distribution = "categorical"
probabilities = "share"
observed = "s"
"#,
        &[
            ("c", &[2.0, f64::NAN]),
            ("w", &[0.7, f64::NAN]),
            ("k", &[2.0, f64::NAN]),
            ("s", &[1.0, 2.0]),
            ("e", &[3.0, 1.0]),
        ],
    );
    let of = |name: &str, key: &str| parameter(&ascent, name, key)[0];
    let gamma = |name: &str, likelihood: &dyn Fn(f64) -> f64| {
        integral(-25.0, 6.0, |u| log_gamma_density(u, of(name, "shape"), of(name, "rate")) * likelihood(u.exp()))
    };
    let count = gamma("rate", &|r| (3.0 * r).powi(2) * (-3.0 * r).exp() / 2.0);
    let wait = gamma("speed", &|r| r * (-0.7 * r).exp());
    let (a, b) = (of("p", "alpha"), of("p", "beta"));
    let log_beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let success = integral(0.0, 1.0, |p| 10.0 * p.powf(a + 1.0) * (1.0 - p).powf(b + 2.0)) / log_beta.exp();
    let alpha = parameter(&ascent, "share", "concentration");
    let total: f64 = alpha.iter().sum();
    let expected = [(count * wait * success * alpha[1] / total).ln(), (alpha[2] / total).ln()];
    close("log density", exact(&prediction), &expected, 1e-8);
    // Moments of new values.
    let column = |name: &str| prediction.expressions.iter().find(|e| e.name == name).expect("an expression");
    let p = a / (a + b);
    let variance = 5.0 * a * b * (a + b + 5.0) / ((a + b).powi(2) * (a + b + 1.0));
    close("successes", &column("success").means[..1], &[5.0 * p], 1e-12);
    close("sd of successes", &column("success").sds[..1], &[variance.sqrt()], 1e-12);
    let (shape, rate) = (of("speed", "shape"), of("speed", "rate"));
    close("wait", &column("wait").means[..1], &[rate / (shape - 1.0)], 1e-12);
    let variance = rate * rate * shape / ((shape - 1.0).powi(2) * (shape - 2.0));
    close("sd of the wait", &column("wait").sds[..1], &[variance.sqrt()], 1e-12);
    let shares: Vec<f64> = alpha.iter().map(|a| a / total).collect();
    close("kinds", &column("what").means[..3], &shares, 1e-12);
    assert_eq!(column("what").categories, ["0", "1", "2"]);
}

#[test]
fn logistic_and_probit_regression() {
    for link in ["logit", "probit"] {
        let (ascent, prediction) = predicted(
            &format!(
                r#"
[data.values]
y = [0, 0, 1, 1, 0, 1, 1]
t = [-2.0, -1.0, 0.5, 1.0, 0.2, 2.0, 0.1]
[plates]
n = "rows"
[variables.a]
distribution = "normal"
mean = 0.0
sd = 3.0
[variables.x]
plates = ["n"]
distribution = "bernoulli"
{link} = "a * t"
observed = "y"
"#
            ),
            &[("t", &[0.8, -3.0]), ("y", &[1.0, 0.0])],
        );
        let (m, s) = (mean(&ascent, "a")[0], sd(&ascent, "a")[0]);
        let one = |t: f64| {
            integral(m - 9.0 * s, m + 9.0 * s, |a| {
                let f = a * t;
                let p = if link == "logit" { 1.0 / (1.0 + (-f).exp()) } else { vi_families::special::normal_cdf(f) };
                normal(a, m, s * s) * p
            })
        };
        let (first, second) = (one(0.8), one(-3.0));
        close(link, exact(&prediction), &[first.ln(), (1.0 - second).ln()], 1e-9);
        let column = prediction.expressions.iter().find(|e| e.name == "x").expect("an expression");
        close("mean", &column.means, &[first, second], 1e-9);
        close("sd", &column.sds, &[(first - first * first).sqrt(), (second - second * second).sqrt()], 1e-9);
    }
}

#[test]
fn pixels_of_a_mixture_are_independent_but_what_shares_a_factor_is_not() {
    let (ascent, prediction) = predicted(
        r#"
[data.values]
y = [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 1]]
[plates]
n = "rows"
k = 2
pixel = { columns = "y" }
[variables.pi]
distribution = "dirichlet"
dimension = "k"
concentration = 1.0
[variables.z]
plates = ["n"]
distribution = "categorical"
probabilities = "pi"
[variables.p]
plates = ["k", "pixel"]
distribution = "beta"
alpha = 0.5
beta = 0.5
[variables.x]
plates = ["n", "pixel"]
distribution = "bernoulli"
probability = "p[z]"
observed = "y"
[inference]
restarts = 4
"#,
        &[("y.0", &[1.0, f64::NAN]), ("y.1", &[0.0, 1.0]), ("y.2", &[0.0, 1.0])],
    );
    let (p, alpha) = (mean(&ascent, "p"), parameter(&ascent, "pi", "concentration"));
    let total: f64 = alpha.iter().sum();
    let mixture =
        |f: &dyn Fn(&[f64]) -> f64| (0..2).map(|k| alpha[k] / total * f(&p[3 * k..3 * k + 3])).sum::<f64>().ln();
    let expected = [mixture(&|p| p[0] * (1.0 - p[1]) * (1.0 - p[2])), mixture(&|p| p[1] * p[2])];
    close("log density", exact(&prediction), &expected, 1e-12);
    // Three columns about one mean hang together under q: what is given is a bound.
    let (_, prediction) = predicted(
        r#"
[data.values]
y = [[1.0, 1.5, 0.5], [1.2, 0.8, 1.1]]
[plates]
n = "rows"
column = { columns = "y" }
[variables.m]
distribution = "normal"
mean = 0.0
sd = 1.0
[variables.x]
plates = ["n", "column"]
distribution = "normal"
mean = "m"
sd = 1.0
observed = "y"
"#,
        &[("y.0", &[1.0]), ("y.1", &[0.0]), ("y.2", &[0.0])],
    );
    assert_eq!(prediction.log_density_is, LogDensity::Bound);
}

/// Points are known numbers: a mixture by EM has the density of its components, and values that share a point are independent.
#[test]
fn points_have_the_density_itself() {
    let normal =
        |x: f64, m: f64, tau: f64| (0.5 * tau / std::f64::consts::PI).sqrt() * (-0.5 * tau * (x - m).powi(2)).exp();
    let data = "[data.values]\ny = [[1.0, 1.5], [1.2, 0.8], [5.0, 5.5], [5.2, 4.9]]\nk1 = [1.0, 0.0, 1.0, 1.0]\n[plates]\nn = \"rows\"\n\
                column = { columns = \"y\" }\nk = 2\n";
    let mixture = "[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = 2.0\npoint = true\n\
                   [variables.z]\nplates = [\"n\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"\n\
                   [variables.g]\nplates = [\"k\"]\ndistribution = \"normal-gamma\"\nmean = 3.0\nmean_precision = 0.1\nshape = 2.0\n\
                   rate = 1.0\npoint = true\n\
                   [variables.x]\nplates = [\"n\", \"column\"]\ndistribution = \"normal\"\nparameters = \"g[z]\"\nobserved = \"y\"\n";
    let new: [(&str, &[f64]); 2] = [("y.0", &[1.1, 4.0]), ("y.1", &[0.9, 5.0])];
    let (ascent, prediction) = predicted(&format!("{data}{mixture}"), &new);
    let (share, mean) = (mean(&ascent, "pi"), mean(&ascent, "g"));
    let tau = entry(&ascent, "g").expected_precision.expect("a precision").values().to_vec();
    let expected: Vec<f64> = (0..2)
        .map(|i| {
            (0..2)
                .map(|k| share[k] * normal(new[0].1[i], mean[k], tau[k]) * normal(new[1].1[i], mean[k], tau[k]))
                .sum::<f64>()
                .ln()
        })
        .collect();
    close("log density", exact(&prediction), &expected, 1e-10);
}

#[test]
fn the_complement_of_a_probability_has_a_density() {
    let model = "[data.values]\ny = [1.0, 0.0, 1.0, 1.0]\n[plates]\nn = \"rows\"\n\
                 [variables.p]\ndistribution = \"beta\"\nalpha = 2.0\nbeta = 3.0\n\
                 [variables.x]\nplates = [\"n\"]\ndistribution = \"bernoulli\"\nprobability = \"1 - p\"\nobserved = \"y\"\n";
    let (_, prediction) = predicted(model, &[("y", &[1.0, 0.0])]);
    // p ~ Beta(3, 6) after three successes of 1 − p and one failure.
    close("log density", exact(&prediction), &[(6.0_f64 / 9.0).ln(), (3.0_f64 / 9.0).ln()], 1e-12);
}
