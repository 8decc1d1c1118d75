//! Mixtures over known parameters, of every distribution: evidence against sums of densities from SciPy 1.17.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use cavi::LogDensity;
use common::{close, fit, predicted, refused};

const REAL: &str = "[0.3, -1.2, 2.5, 0.9]";
const POSITIVE: &str = "[0.3, 1.2, 2.5, 0.9]";
const UNIT: &str = "[0.2, 0.5, 0.9, 0.03]";
const COUNTS: &str = "[0.0, 3.0, 5.0, 1.0]";
const BINARY: &str = "[0.0, 1.0, 1.0, 0.0]";

fn model(observed: &str, distribution: &str) -> String {
    format!(
        r#"
[data.values]
y = {observed}
w = {{ axes = ["k"], values = [0.3, 0.7] }}
a = {{ axes = ["k"], values = [1.5, 4.0] }}
b = {{ axes = ["k"], values = [2.0, 0.7] }}
m = {{ axes = ["k"], values = [-1.0, 2.0] }}
n = {{ axes = ["k"], values = [6.0, 9.0] }}
p = {{ axes = ["k"], values = [0.2, 0.9] }}
low = {{ axes = ["k"], values = [-3.0, -5.0] }}
high = {{ axes = ["k"], values = [5.0, 1.0] }}
[plates]
row = "rows"
k = 2
[variables.z]
plates = ["row"]
distribution = "categorical"
probabilities = "w"
[variables.x]
plates = ["row"]
observed = "y"
{distribution}
"#
    )
}

#[test]
fn the_elbo_is_the_log_evidence() {
    for (observed, distribution, evidence) in [
        (POSITIVE, "distribution = \"gamma\"\nshape = \"a[z]\"\nrate = \"b[z]\"", -7.67372702832207),
        (POSITIVE, "distribution = \"gamma\"\nshape = \"a[z]\"\nscale = \"b[z]\"", -7.3217035141128735),
        (POSITIVE, "distribution = \"inverse-gamma\"\nshape = \"a[z]\"\nscale = \"b[z]\"", -6.961211298734874),
        (UNIT, "distribution = \"beta\"\nalpha = \"a[z]\"\nbeta = \"b[z]\"", -2.2857850580220047),
        (POSITIVE, "distribution = \"exponential\"\nrate = \"b[z]\"", -5.0821298800712),
        (COUNTS, "distribution = \"poisson\"\nrate = \"b[z]\"", -9.156946175168432),
        (COUNTS, "distribution = \"poisson\"\nlog_rate = \"log(b[z])\"", -9.156946175168432),
        (REAL, "distribution = \"normal\"\nmean = \"m[z]\"\nsd = \"b[z]\"", -8.492208556514964),
        (REAL, "distribution = \"laplace\"\nlocation = \"m[z]\"\nscale = \"b[z]\"", -8.47678227700521),
        (BINARY, "distribution = \"bernoulli\"\nprobability = \"p[z]\"", -3.0844933257875544),
        (BINARY, "distribution = \"bernoulli\"\nlogit = \"m[z]\"", -3.110882346302935),
        (COUNTS, "distribution = \"binomial\"\ntrials = 6\nlogit = \"m[z]\"", -9.477697568319515),
        (COUNTS, "distribution = \"binomial\"\ntrials = \"n[z]\"\nprobability = \"p[z]\"", -13.557201216712386),
        (POSITIVE, "distribution = \"half-normal\"\nsd = \"b[z]\"", -5.089572196833765),
        (POSITIVE, "distribution = \"half-cauchy\"\nscale = \"b[z]\"", -5.545524372080137),
        (
            POSITIVE,
            "distribution = \"half-student-t\"\ndegrees_of_freedom = \"a[z]\"\nscale = \"b[z]\"",
            -5.256410905054004,
        ),
        (REAL, "distribution = \"cauchy\"\nlocation = \"m[z]\"\nscale = \"b[z]\"", -8.962665536251587),
        (POSITIVE, "distribution = \"log-normal\"\nmean = \"m[z]\"\nsd = \"b[z]\"", -10.043295400320936),
        (REAL, "distribution = \"logistic\"\nlocation = \"m[z]\"\nscale = \"b[z]\"", -8.455234236988876),
        (REAL, "distribution = \"uniform\"\nlower = \"low[z]\"\nupper = \"high[z]\"", -8.892577378099073),
        (COUNTS, "distribution = \"negative-binomial\"\nmean = \"a[z]\"\ndispersion = \"b[z]\"", -8.220460550394066),
    ] {
        let (elbo, ascent) = fit(&model(observed, distribution));
        assert!((elbo - evidence).abs() < 1e-11, "{distribution}: {elbo} instead of {evidence}");
        assert!(!ascent.is_bounded(), "{distribution}");
    }
}

#[test]
fn a_missing_value_counts_for_nothing() {
    let laplace = "distribution = \"laplace\"\nlocation = \"m[z]\"\nscale = \"b[z]\"";
    let (whole, _) = fit(&model("[0.3, -1.2]", laplace));
    let (part, _) = fit(&model("[0.3, nan, -1.2]", laplace));
    close("the elbo", &[part], &[whole], 1e-12);
}

/// A value outside one of two intervals belongs to the other.
#[test]
fn an_impossible_category_is_left_out() {
    let (elbo, _) = fit(&model("[3.0, 0.0]", "distribution = \"uniform\"\nlower = \"low[z]\"\nupper = \"high[z]\""));
    let evidence = (0.3_f64 / 8.0).ln() + (0.3_f64 / 8.0 + 0.7 / 6.0).ln();
    close("the elbo", &[elbo], &[evidence], 1e-12);
}

#[test]
fn parameters_that_cannot_be_are_refused() {
    let refused = |distribution: &str, words: &str| refused(&model(REAL, distribution), &[words]);
    refused(
        "distribution = \"cauchy\"\nlocation = \"m[z]\"\nscale = \"m[z]\"",
        "the scale of `x` must be greater than 0",
    );
    refused(
        "distribution = \"uniform\"\nlower = \"m[z]\"\nupper = \"b[z]\"",
        "the upper of `x` must be greater than 0",
    );
}

/// log Σ_k w_k p(y | θ_k) of new rows.
#[test]
fn new_rows_have_an_exact_density() {
    let cauchy = "distribution = \"cauchy\"\nlocation = \"m[z]\"\nscale = \"b[z]\"";
    let new = [0.7, -4.0];
    let (_, prediction) = predicted(&model(REAL, cauchy), &[("y", &new)]);
    let density = |y: f64, m: f64, b: f64| 1.0 / (std::f64::consts::PI * b * (1.0 + ((y - m) / b).powi(2)));
    let expected = new.map(|y| (0.3 * density(y, -1.0, 2.0) + 0.7 * density(y, 2.0, 0.7)).ln());
    close("log density", prediction.log_density.as_deref().unwrap(), &expected, 1e-12);
    assert_eq!(prediction.log_density_is, LogDensity::Exact);
}
