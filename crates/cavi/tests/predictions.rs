//! Predictive means and standard deviations of new rows: the noise of the value and all uncertainty of its parameters.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use cavi::Prediction;
use common::{close, fit, mean, parameter, predicted, sd};
use vi_model::data::{Cells, Data};

/// Means and sds of an expression.
fn column<'a>(prediction: &'a Prediction, name: &str) -> (&'a [f64], &'a [f64]) {
    let found = prediction.expressions.iter().find(|e| e.name == name);
    found.map(|e| (e.means.as_slice(), e.sds.as_slice())).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_regression_adds_its_noise() {
    let (ascent, prediction) = predicted(
        r#"
[data.values]
y = [1.0, 2.0, 3.5]
t = [0.0, 1.0, 2.0]

[plates]
n = "rows"

[variables.a]
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
mean = "a * t"
precision = "tau"
observed = "y"
"#,
        &[("t", &[0.5, 3.0])],
    );
    let (means, sds) = column(&prediction, "x");
    let (a, s) = (mean(&ascent, "a")[0], sd(&ascent, "a")[0]);
    // E[1/τ] = rate/(shape − 1).
    let noise = parameter(&ascent, "tau", "rate")[0] / (parameter(&ascent, "tau", "shape")[0] - 1.0);
    close("mean", means, &[0.5 * a, 3.0 * a], 1e-12);
    let expected: Vec<f64> = [0.5, 3.0].iter().map(|t| (t * t * s * s + noise).sqrt()).collect();
    close("sd", sds, &expected, 1e-10);
}

#[test]
fn a_mixture_without_its_value_has_the_moments_of_all_components() {
    let (ascent, prediction) = predicted(
        r#"
[data.values]
y = [1000.0, 1000.5, 1001.0, 1010.0, 1010.5, 1011.0, 1012.0]

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
distribution = "normal-gamma"
mean = 1000.0
mean_precision = 0.01
shape = 2.0
rate = 1.0

[variables.x]
plates = ["n"]
distribution = "normal"
parameters = "g[z]"
observed = "y"

[inference]
restarts = 5
"#,
        &[("y", &[f64::NAN, 1000.5])],
    );
    let of = |key: &str| parameter(&ascent, "g", key);
    let (m, kappa, shape, rate) = (of("mean"), of("mean_precision"), of("shape"), of("rate"));
    // Without a value the category has the weights exp E[log π], normalised.
    let z = &prediction.variables.iter().find(|(name, _)| name == "z").expect("z").1;
    let digamma = vi_families::special::digamma;
    let weights: Vec<f64> = parameter(&ascent, "pi", "concentration").iter().map(|a| digamma(*a).exp()).collect();
    let total: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
    close("weights", &z.means[..2], &weights, 1e-10);
    assert!(z.means[2].min(z.means[3]) < 1e-6, "the second row has a value: {:?}", z.means);
    // Each component is a t with variance rate/(shape − 1)·(1 + 1/κ).
    let expected: f64 = weights.iter().zip(&m).map(|(w, m)| w * m).sum();
    let variance: f64 = (0..2)
        .map(|k| weights[k] * ((m[k] - expected).powi(2) + rate[k] / (shape[k] - 1.0) * (1.0 + 1.0 / kappa[k])))
        .sum();
    let (means, sds) = column(&prediction, "x");
    close("mean", &means[..1], &[expected], 1e-12);
    close("sd", &sds[..1], &[variance.sqrt()], 1e-8);
}

#[test]
fn counts_and_heavy_tails() {
    let (ascent, prediction) = predicted(
        r#"
[data.values]
c = [3, 4, 1]
e = [1.0, 2.0, 0.5]
b = [1, 0, 1]
s = [0.5, 1.5, -1.0]

[plates]
n = "rows"

[variables.rate]
distribution = "gamma"
shape = 2.0
rate = 1.0

[variables.count]
plates = ["n"]
distribution = "poisson"
rate = "rate * e"
observed = "c"

[variables.p]
distribution = "beta"
alpha = 1.0
beta = 1.0

[variables.hit]
plates = ["n"]
distribution = "bernoulli"
probability = "p"
observed = "b"

[variables.m]
distribution = "normal"
mean = 0.0
sd = 3.0

[variables.value]
plates = ["n"]
distribution = "student-t"
degrees_of_freedom = 5.0
mean = "m"
sd = 2.0
observed = "s"
"#,
        &[("e", &[2.0])],
    );
    // Gamma(10, 4.5): a negative binomial.
    let (means, sds) = column(&prediction, "count");
    close("count", means, &[20.0 / 4.5], 1e-12);
    close("sd of the count", sds, &[(20.0_f64 / 4.5 + 40.0 / 20.25).sqrt()], 1e-12);
    let (means, sds) = column(&prediction, "hit");
    close("hit", means, &[0.6], 1e-12);
    close("sd of the hit", sds, &[0.24_f64.sqrt()], 1e-12);
    let (means, sds) = column(&prediction, "value");
    let s = sd(&ascent, "m")[0];
    close("value", means, &mean(&ascent, "m"), 1e-12);
    close("sd of the value", sds, &[(s * s + 4.0 * 5.0 / 3.0).sqrt()], 1e-10);
}

#[test]
fn moments_that_do_not_exist_count_only_where_they_have_weight() {
    let model = |categories: usize, values: &str| {
        format!(
            r#"
[data.values]
y = {values}

[plates]
n = "rows"
k = {categories}

[variables.pi]
distribution = "dirichlet"
dimension = "k"
concentration = 0.001

[variables.z]
plates = ["n"]
distribution = "categorical"
probabilities = "pi"

[variables.m]
plates = ["k"]
distribution = "normal"
mean = 0.0
sd = 10.0

[variables.tau]
plates = ["k"]
distribution = "gamma"
shape = 0.4
rate = 0.1

[variables.x]
plates = ["n"]
distribution = "normal"
mean = "m[z]"
precision = "tau[z]"
observed = "y"
"#
        )
    };
    // A component without rows keeps shape 0.4, at which E[1/τ] is infinite; the weight of it is zero.
    let values = "[1.0, 1.5, 0.8, 1.2, 0.9, 1.1]";
    let (ascent, prediction) = predicted(&model(3, values), &[("y", &[1.0])]);
    let (_, sds) = column(&prediction, "x");
    let (shapes, rates) = (parameter(&ascent, "tau", "shape"), parameter(&ascent, "tau", "rate"));
    let used = (0..3).find(|&k| shapes[k] > 3.0).expect("one component has all rows");
    assert!((0..3).all(|k| k == used || shapes[k] < 1.0), "{shapes:?}");
    let expected = (sd(&ascent, "m")[used].powi(2) + rates[used] / (shapes[used] - 1.0)).sqrt();
    close("sd", sds, &[expected], 1e-8);
    // One row alone leaves shape 0.9.
    let (_, prediction) = predicted(&model(1, "[1.0]"), &[("y", &[1.0])]);
    assert_eq!(column(&prediction, "x").1, [f64::INFINITY]);
}

#[test]
fn new_rows_that_no_rate_explains_are_refused() {
    let (_, ascent) = fit(r#"
[data.values]
y = [1, 3, 0]

[plates]
n = "rows"

[variables.rate]
distribution = "gamma"
shape = 2.0
rate = 0.5

[variables.x]
plates = ["n"]
distribution = "poisson"
rate = "rate"
observed = "y"
"#);
    let refusal = |values: Vec<f64>| {
        let data = Data::from_columns(vec![("y".to_owned(), Cells::Numbers(values))]).unwrap();
        ascent.predict(&data).expect_err("a refusal").to_string()
    };
    let error = refusal(vec![2.0, -3.0]);
    assert!(error.contains("-3") && error.contains("row 2") && error.contains("`y`"), "{error}");
    let error = refusal(vec![]);
    assert!(error.contains("no rows"), "{error}");
}
