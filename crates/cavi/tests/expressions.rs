//! Named expressions: means and standard deviations from the moments of every family, and refusals where none are known.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit, mean, parameter, refused, sd};

#[test]
fn products_inside_a_block_use_isserlis() {
    let (_, ascent) = fit(r#"
[data.values]
y = [1.0, 2.0, 3.5]
t = [0.0, 1.0, 2.0]

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

[expressions]
product = "a * b"
square = "a * a"

[variables.x]
plates = ["n"]
distribution = "normal"
mean = "a + b * t"
sd = 1.0
observed = "y"

[inference]
blocks = [["a", "b"]]
"#);
    // The posterior in closed form: precision XᵀX + I/4, and the moments of a bivariate normal.
    let (p, q, r) = (3.25, 3.0, 5.25);
    let determinant: f64 = p * r - q * q;
    let (va, vb, c) = (r / determinant, p / determinant, -q / determinant);
    let (h, g) = (6.5, 9.0);
    let (ma, mb) = (va * h + c * g, c * h + vb * g);
    let product = ma * mb + c;
    let variance = ma * ma * vb + mb * mb * va + 2.0 * ma * mb * c + va * vb + c * c;
    close("E[ab]", &mean(&ascent, "product"), &[product], 1e-9);
    close("sd[ab]", &sd(&ascent, "product"), &[variance.sqrt()], 1e-9);
    close("E[a²]", &mean(&ascent, "square"), &[ma * ma + va], 1e-9);
    close("sd[a²]", &sd(&ascent, "square"), &[(4.0 * ma * ma * va + 2.0 * va * va).sqrt()], 1e-9);
}

#[test]
fn every_family_has_its_moments() {
    let (_, ascent) = fit(r#"
[data.values]
utility = { axes = ["k"], values = [1.0, 2.0, -1.0] }

[plates]
k = 3

[variables.tau]
distribution = "gamma"
shape = 3.0
rate = 2.0

[variables.v]
distribution = "inverse-gamma"
shape = 5.0
scale = 8.0

[variables.p]
distribution = "beta"
alpha = 2.0
beta = 3.0

[variables.d]
distribution = "dirichlet"
dimension = "k"
concentration = [3.0, 3.0, 2.0]

[variables.w]
distribution = "wishart"
dimension = 2
degrees_of_freedom = 5.0
scale = [[1.0, 0.2], [0.2, 2.0]]

[expressions]
doubled = "2 * tau"
variance = "3 * v"
failure = "1 - p"
chance = "p * (1 - p)"
value = "dot(d, utility)"
matrix = "2 * w"
constant = "3 + 4"
mixed = "tau * p"
"#);
    close("E[2τ]", &mean(&ascent, "doubled"), &[3.0], 1e-12);
    close("sd[2τ]", &sd(&ascent, "doubled"), &[3.0_f64.sqrt()], 1e-12);
    close("E[3v]", &mean(&ascent, "variance"), &[6.0], 1e-12);
    close("sd[3v]", &sd(&ascent, "variance"), &[6.0 / 3.0_f64.sqrt()], 1e-12);
    close("E[1 − p]", &mean(&ascent, "failure"), &[0.6], 1e-12);
    close("sd[1 − p]", &sd(&ascent, "failure"), &[0.2], 1e-12);
    // E[p(1 − p)] = ab/((a + b)(a + b + 1)); E[p²(1 − p)²] = B(a + 2, b + 2)/B(a, b).
    let second: f64 = (2.0 * 3.0) * (3.0 * 4.0) / (5.0 * 6.0 * 7.0 * 8.0);
    close("E[p(1 − p)]", &mean(&ascent, "chance"), &[0.2], 1e-12);
    close("sd[p(1 − p)]", &sd(&ascent, "chance"), &[(second - 0.04).sqrt()], 1e-9);
    // Σ uᵢ αᵢ/A, and Σ uᵢuⱼ (αᵢδᵢⱼ/A − αᵢαⱼ/A²)/(A + 1).
    let value = (3.0 + 6.0 - 2.0) / 8.0;
    close("E[uᵀd]", &mean(&ascent, "value"), &[value], 1e-12);
    let square = (3.0 + 12.0 + 2.0) / 8.0;
    close("sd[uᵀd]", &sd(&ascent, "value"), &[((square - value * value) / 9.0).sqrt()], 1e-12);
    close("E[2W]", &mean(&ascent, "matrix"), &[10.0, 2.0, 2.0, 20.0], 1e-12);
    let twice: Vec<f64> = sd(&ascent, "w").iter().map(|s| 2.0 * s).collect();
    close("sd[2W]", &sd(&ascent, "matrix"), &twice, 1e-12);
    close("7", &mean(&ascent, "constant"), &[7.0], 0.0);
    close("sd of 7", &sd(&ascent, "constant"), &[0.0], 0.0);
    close("E[τp]", &mean(&ascent, "mixed"), &[0.6], 1e-12);
    close("sd[τp]", &sd(&ascent, "mixed"), &[(3.0_f64 * 0.2 - 0.36).sqrt()], 1e-12);
}

#[test]
fn a_gated_constant_has_a_spread_and_a_far_one_keeps_its_digits() {
    let (_, ascent) = fit(r#"
[data.values]
y = [10001.0, 10002.0, 10003.0]
level = { axes = ["k"], values = [-1.0, 2.0] }

[plates]
n = "rows"
k = 2

[variables.z]
distribution = "categorical"
probabilities = [0.25, 0.75]

[variables.a]
distribution = "normal"
mean = 0.0
sd = 20000.0

[expressions]
gated = "level[z]"
far = "2 * a + 1"

[variables.x]
plates = ["n"]
distribution = "normal"
mean = "a"
sd = 0.001
observed = "y"
"#);
    close("E", &mean(&ascent, "gated"), &[1.25], 1e-12);
    close("sd", &sd(&ascent, "gated"), &[(3.25_f64 - 1.5625).sqrt()], 1e-12);
    let precision: f64 = 3e6 + 1.0 / 4e8;
    close("E", &mean(&ascent, "far"), &[2.0 * 3e6 * 10002.0 / precision + 1.0], 1e-12);
    close("sd", &sd(&ascent, "far"), &[2.0 / precision.sqrt()], 1e-9);
    close("variance of a", &parameter(&ascent, "a", "variance"), &[1.0 / precision], 1e-9);
}

#[test]
fn functions_of_latent_values_are_refused() {
    let model = |expression: &str| {
        format!(
            "[variables.a]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n\n[variables.d]\ndistribution = \"dirichlet\"\n\
             dimension = 2\nconcentration = 1.0\n\n[expressions]\ne = \"{expression}\"\n"
        )
    };
    refused(&model("exp(a)"), &["exp(a)", "sgvi"]);
    refused(&model("1 / a"), &["divides", "sgvi"]);
    refused(&model("d * d"), &["high moment", "`d`", "sgvi"]);
}

#[test]
fn the_complement_of_a_probability() {
    let model = |probability: &str, alpha: f64, beta: f64| {
        format!(
            r#"
[data.values]
y = [1, 0, 1, 1, 0, 1]
k = [2, 0, 1, 3, 3, 1]
[plates]
n = "rows"
[variables.p]
distribution = "beta"
alpha = {alpha:?}
beta = {beta:?}
[variables.x]
plates = ["n"]
distribution = "bernoulli"
probability = "{probability}"
observed = "y"
[variables.w]
plates = ["n"]
distribution = "binomial"
trials = 3
probability = "{probability}"
observed = "k"
"#
        )
    };
    let ((elbo, ascent), (same, mirrored)) = (fit(&model("1 - p", 1.5, 2.0)), fit(&model("p", 2.0, 1.5)));
    close("elbo", &[elbo], &[same], 1e-13);
    close("p", &mean(&ascent, "p"), &[1.0 - mean(&mirrored, "p")[0]], 1e-13);
}
