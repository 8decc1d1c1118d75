//! Gradients of whole models against finite differences, log joints against closed forms.

use std::path::Path;
use std::sync::Arc;

use super::Model;
use super::summation_tests::normal;
use crate::tape::{Evaluation, Evaluator};

pub(super) fn model(text: &str) -> Model {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    Model::new(&graph).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Deterministic points around zero.
pub(super) fn points(n: usize, draws: usize) -> Vec<f64> {
    (0..n * draws).map(|i| ((i as f64 + 1.0) * 0.754_877_666).fract() * 1.6 - 0.8).collect()
}

pub(super) fn evaluate(model: &Model, theta: &[f64], draws: usize) -> Evaluation {
    let evaluator = Evaluator::new(Arc::clone(&model.program));
    let mut out = Evaluation::default();
    evaluator.evaluate(theta, draws, true, &mut out);
    out
}

pub(super) fn check_gradient(text: &str) -> Evaluation {
    let model = model(text);
    let n = model.program.dimension;
    let draws = 5;
    let theta = points(n, draws);
    let out = evaluate(&model, &theta, draws);
    assert!(out.values.iter().all(|v| v.is_finite()), "{:?} {:?}\n{text}", out.values, out.terms);
    let h = 1e-5;
    for i in 0..n {
        let mut shifted = [theta.clone(), theta.clone()];
        for d in 0..draws {
            shifted[0][d * n + i] += h;
            shifted[1][d * n + i] -= h;
        }
        let (up, down) = (evaluate(&model, &shifted[0], draws), evaluate(&model, &shifted[1], draws));
        for d in 0..draws {
            let difference = (up.values[d] - down.values[d]) / (2.0 * h);
            let gradient = out.gradients[d * n + i];
            assert!(
                (difference - gradient).abs() < 2e-6 * (1.0 + difference.abs() + out.values[d].abs()),
                "coordinate {i} draw {d}: gradient {gradient}, differences {difference}\n{text}"
            );
        }
    }
    out
}

pub(super) const DATA: &str = r#"
[data.values]
y = [0.3, -0.4, 1.1, 0.9, -1.2, 0.6]
p = [0.3, 0.4, 1.1, 0.9, 1.2, 0.6]
u = [0.3, 0.4, 0.1, 0.9, 0.2, 0.6]
k = [1, 0, 3, 2, 0, 5]
b = [1, 0, 1, 1, 0, 1]
g = ["a", "b", "a", "c", "b", "c"]
s = [0, 0, 0, 1, 1, 1]
v = [[0.1, 0.2], [0.3, -0.4], [1.0, 0.2], [0.4, 0.4], [-0.3, 0.1], [0.9, -0.8]]
n = [[1, 2, 0], [0, 1, 1], [3, 0, 0], [1, 1, 1], [0, 0, 2], [1, 0, 4]]
[plates]
row = "rows"
group = { levels = "g" }
component = 3
state = 2
"#;

#[test]
fn priors_of_every_continuous_distribution() {
    for prior in [
        "distribution = \"normal\"\nmean = \"m\"\nsd = \"s1\"",
        "distribution = \"normal\"\nmean = \"m\"\nvariance = \"s1\"",
        "distribution = \"normal\"\nmean = \"m\"\nprecision = \"s1\"",
        "distribution = \"gamma\"\nshape = \"s1\"\nrate = 2.0",
        "distribution = \"gamma\"\nshape = 2.0\nscale = \"s1\"",
        "distribution = \"inverse-gamma\"\nshape = \"s1\"\nscale = \"exp(m)\"",
        "distribution = \"beta\"\nalpha = \"s1\"\nbeta = 2.0",
        "distribution = \"exponential\"\nrate = \"s1\"",
        "distribution = \"student-t\"\ndegrees_of_freedom = \"s1\"\nmean = \"m\"\nsd = 2.0",
        "distribution = \"student-t\"\ndegrees_of_freedom = 3.0\nmean = \"m\"\nprecision = \"s1\"",
        "distribution = \"half-normal\"\nsd = \"s1\"",
        "distribution = \"half-cauchy\"\nscale = \"s1\"",
        "distribution = \"half-student-t\"\ndegrees_of_freedom = 3.0\nscale = \"s1\"",
        "distribution = \"cauchy\"\nlocation = \"m\"\nscale = \"s1\"",
        "distribution = \"laplace\"\nlocation = \"m\"\nscale = \"s1\"",
        "distribution = \"log-normal\"\nmean = \"m\"\nsd = \"s1\"",
        "distribution = \"logistic\"\nlocation = \"m\"\nscale = \"s1\"",
        "distribution = \"uniform\"\nlower = -1.0\nupper = 3.0",
        "distribution = \"flat\"\nlower = 1.0",
        "distribution = \"normal\"\nmean = \"m\"\nsd = \"s1\"\nlower = -0.5",
        "distribution = \"normal\"\nmean = \"m\"\nsd = \"s1\"\nlower = -0.5\nupper = 2.0",
        "distribution = \"student-t\"\ndegrees_of_freedom = 3.0\nmean = \"m\"\nsd = \"s1\"\nupper = 0.5",
        "distribution = \"cauchy\"\nlocation = \"m\"\nscale = \"s1\"\nlower = 0.0",
        "distribution = \"laplace\"\nlocation = \"m\"\nscale = \"s1\"\nlower = 0.0",
        "distribution = \"logistic\"\nlocation = \"m\"\nscale = \"s1\"\nlower = 0.0\nupper = 5.0",
        "distribution = \"normal\"\nmean = 0.0\nsd = \"s1\"\nordered = true",
        "distribution = \"gamma\"\nshape = 2.0\nrate = \"s1\"\nordered = true",
    ] {
        check_gradient(&format!(
            "{DATA}
[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0
[variables.s1]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.x]\nplates = [\"component\"]\n{prior}
[variables.w]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"x[z] + m\"\nsd = 1.5\nobserved = \"y\"
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"
[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"component\"\nconcentration = 1.5
"
        ));
    }
}

#[test]
fn likelihoods_of_every_distribution_and_parameter() {
    for likelihood in [
        "distribution = \"normal\"\nmean = \"a[group]\"\nsd = \"t\"\nobserved = \"y\"",
        "distribution = \"normal\"\nmean = \"a[g] * u + square(t)\"\nvariance = \"t[g]\"\nobserved = \"y\"",
        "distribution = \"normal\"\nmean = \"-a[g] / t[g]\"\nprecision = \"softplus(a[g])\"\nobserved = \"y\"",
        "distribution = \"gamma\"\nshape = \"t[g]\"\nrate = \"exp(a[g])\"\nobserved = \"p\"",
        "distribution = \"inverse-gamma\"\nshape = \"t[g]\"\nscale = \"exp(a[g])\"\nobserved = \"p\"",
        "distribution = \"beta\"\nalpha = \"t[g]\"\nbeta = \"sqrt(t[g])\"\nobserved = \"u\"",
        "distribution = \"bernoulli\"\nprobability = \"logistic(a[g])\"\nobserved = \"b\"",
        "distribution = \"bernoulli\"\nlogit = \"a[g] + u*log(t[g])\"\nobserved = \"b\"",
        "distribution = \"bernoulli\"\nprobit = \"a[g]\"\nobserved = \"b\"",
        "distribution = \"binomial\"\ntrials = 6\nprobability = \"logistic(a[g])\"\nobserved = \"k\"",
        "distribution = \"binomial\"\ntrials = \"k + 1\"\nlogit = \"a[g]\"\nobserved = \"k\"",
        "distribution = \"poisson\"\nrate = \"t[g]\"\nobserved = \"k\"",
        "distribution = \"poisson\"\nlog_rate = \"a[g]\"\nobserved = \"k\"",
        "distribution = \"exponential\"\nrate = \"t[g]\"\nobserved = \"p\"",
        "distribution = \"student-t\"\ndegrees_of_freedom = \"t[g]\"\nmean = \"a[g]\"\nsd = \"t[g]\"\nobserved = \"y\"",
        "distribution = \"half-normal\"\nsd = \"t[g]\"\nobserved = \"p\"",
        "distribution = \"half-cauchy\"\nscale = \"t[g]\"\nobserved = \"p\"",
        "distribution = \"cauchy\"\nlocation = \"a[g]\"\nscale = \"t[g]\"\nobserved = \"y\"",
        "distribution = \"laplace\"\nlocation = \"a[g]\"\nscale = \"t[g]\"\nobserved = \"y\"",
        "distribution = \"log-normal\"\nmean = \"a[g]\"\nsd = \"t[g]\"\nobserved = \"p\"",
        "distribution = \"logistic\"\nlocation = \"a[g]\"\nscale = \"t[g]\"\nobserved = \"y\"",
        "distribution = \"negative-binomial\"\nmean = \"t[g]\"\ndispersion = \"exp(a[g])\"\nobserved = \"k\"",
        "distribution = \"normal\"\nmean = \"a[g]\"\nsd = \"t[g]\"\nlower = -2.0\nobserved = \"y\"",
        "distribution = \"categorical\"\nlogits = \"a\"\nobserved = \"g\"",
        "distribution = \"categorical\"\nprobabilities = \"pi\"\nobserved = \"s\"",
    ] {
        let likelihood = likelihood.replace("a[group]", "a[g]").replace("square(t)", "square(t[g])");
        let likelihood =
            if likelihood.contains("\"t\"") { likelihood.replace("\"t\"", "\"t[g]\"") } else { likelihood };
        check_gradient(&format!(
            "{DATA}
[variables.a]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0
[variables.t]\nplates = [\"group\"]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"state\"\nconcentration = [1.5, 0.7]
[variables.x]\nplates = [\"row\"]\n{likelihood}
"
        ));
    }
}

#[test]
fn vectors_matrices_and_joint_variables() {
    for text in [
        "[variables.beta]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = 0.0\nsd = 2.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"dot(beta, v)\"\nsd = 1.0\nobserved = \"y\"",
        "[variables.m]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = 0.0\nprecision = [1.0, 0.5]
[variables.L]\ndistribution = \"wishart\"\ndimension = \"v\"\ndegrees_of_freedom = 4.0\nscale = [[0.5, 0.1], [0.1, 0.7]]
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = \"m\"\nprecision = \"L\"\nobserved = \"v\"",
        "[variables.L]\ndistribution = \"wishart\"\ndimension = \"v\"\ndegrees_of_freedom = 4.0\ninverse_scale = [[0.5, 0.1], [0.1, 0.7]]
[variables.m]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = 0.0\nprecision = \"L\"
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = \"m\"\ncovariance = [[1.5, 0.1], [0.1, 0.7]]\nobserved = \"v\"",
        "[variables.h]\nplates = [\"component\"]\ndistribution = \"normal-wishart\"\ndimension = \"v\"\nmean = 0.0\nmean_precision = 0.5\ndegrees_of_freedom = 4.0\nscale = [[0.5, 0.1], [0.1, 0.7]]
[variables.pi]\ndistribution = \"stick-breaking\"\ndimension = \"component\"\nconcentration = \"alpha\"
[variables.alpha]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"v\"\nparameters = \"h[z]\"\nobserved = \"v\"",
        "[variables.h]\nplates = [\"component\"]\ndistribution = \"normal-gamma\"\nmean = 0.0\nmean_precision = 0.5\nshape = 2.0\nrate = 1.0
[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"component\"\nconcentration = [1.0, 2.0, 0.5]
[variables.z]\nplates = [\"group\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nparameters = \"h[z[g]]\"\nobserved = \"y\"",
        "[variables.pi]\nplates = [\"state\"]\ndistribution = \"dirichlet\"\ndimension = \"state\"\nconcentration = 2.0
[variables.mu]\nplates = [\"state\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0\nordered = true
[variables.z]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.4, 0.6]\ntransition = \"pi\"\nsequence = \"s\"
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu[z]\"\nsd = 1.0\nobserved = \"y\"",
        "[variables.A]\nplates = [\"state\"]\ndistribution = \"normal\"\ndimension = \"state\"\nmean = 0.0\nsd = 1.0
[variables.q]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"gaussian-markov-chain\"\ndimension = \"state\"\ninitial_mean = 0.0\ninitial_precision = 1.0\ntransition = \"A\"\ninnovation_precision = \"q\"\nsequence = \"s\"
[variables.c]\ndistribution = \"normal\"\ndimension = \"state\"\nmean = 0.0\nsd = 1.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"dot(c, z)\"\nsd = 1.0\nobserved = \"y\"",
        "[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"n\"\nconcentration = 2.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"multinomial\"\ndimension = \"n\"\nprobabilities = \"pi\"\nobserved = \"n\"",
        "[variables.r]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m\"\nsd = 1.0
[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"poisson\"\nlog_rate = \"r\"\nobserved = \"k\"",
        "[variables.on]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"q\"
[variables.q]\ndistribution = \"beta\"\nalpha = 1.0\nbeta = 2.0
[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"on * m\"\nsd = 1.0\nobserved = \"y\"",
        "[variables.load]\nplates = [\"pair\"]\ndistribution = \"normal\"\ndimension = 2\nmean = 0.0\nsd = 1.0
[variables.f]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = 2\nmean = 0.0\nsd = 1.0
[variables.x]\nplates = [\"row\", \"pair\"]\ndistribution = \"normal\"\nmean = \"dot(load, f)\"\nsd = 1.0\nobserved = \"v\"",
    ] {
        let data = DATA.replace("component = 3", "component = 3\npair = { columns = \"v\" }");
        check_gradient(&format!("{data}{text}"));
    }
}

#[test]
fn densities_without_bound_are_finite_far_out() {
    // Their limits at the ends of the support are infinite; with the Jacobian the log density falls on both sides.
    for prior in ["beta\"\nalpha = 0.5\nbeta = 0.5", "gamma\"\nshape = 0.1\nrate = 1.0"] {
        let model = model(&format!("[variables.p]\ndistribution = \"{prior}\n"));
        let theta = [-2000.0, -800.0, -720.0, -40.0, -2.0, 2.0];
        let out = evaluate(&model, &theta, theta.len());
        assert!(out.values.iter().chain(&out.gradients).all(|x| x.is_finite()), "{prior} {out:?}");
        assert!(out.values[..5].is_sorted(), "{prior} {:?}", out.values);
    }
    let model = model("[variables.p]\ndistribution = \"beta\"\nalpha = 0.5\nbeta = 0.5\n");
    let out = evaluate(&model, &[1000.0, 60.0, 30.0, 5.0], 4);
    assert!(out.values.is_sorted() && out.gradients.iter().all(|x| x.is_finite()), "{out:?}");
}

#[test]
fn a_normal_with_a_normal_mean() {
    let model = model(
        "[data.values]\ny = [1.0, 2.0]\n[plates]\nrow = \"rows\"\n[variables.mu]\ndistribution = \"normal\"\nmean = 0.5\nsd = 2.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu\"\nsd = 3.0\nobserved = \"y\"",
    );
    let out = evaluate(&model, &[0.7], 1);
    let normal = |x: f64, m: f64, s: f64| -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.918_938_533_204_672_8;
    assert!((out.terms[0] - normal(0.7, 0.5, 2.0)).abs() < 1e-14);
    assert!((out.terms[1] - normal(1.0, 0.7, 3.0) - normal(2.0, 0.7, 3.0)).abs() < 1e-14);
}

#[test]
fn a_chain_of_states_with_inputs() {
    let model = model(
        "[data.values]\ny = [0.5, -0.2, 1.0]\nu = [3.0, 1.0, -2.0]\n[plates]\nrow = \"rows\"
[variables.b]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"gaussian-markov-chain\"\ndimension = 1\ninitial_mean = 0.5\ninitial_precision = 4.0\ntransition = [[0.8]]\ninnovation_precision = 2.0\noffset = \"b * u\"\nobserved = [\"y\"]",
    );
    let out = evaluate(&model, &[0.3], 1);
    let normal = |x: f64, m: f64, precision: f64| {
        -0.5 * precision * (x - m).powi(2) + 0.5 * precision.ln() - 0.918_938_533_204_672_8
    };
    let expected = normal(0.5, 0.5, 4.0) + normal(-0.2, 0.8 * 0.5 + 0.3, 2.0) + normal(1.0, -0.8 * 0.2 - 0.6, 2.0);
    assert!((out.terms[1] - expected).abs() < 1e-13, "{} instead of {expected}", out.terms[1]);
}

#[test]
fn a_chain_summed_out_equals_enumeration() {
    let text = "[data.values]\ny = [0.3, -0.4, 1.1, 0.9]\ns = [0, 0, 0, 1]\n[plates]\nrow = \"rows\"\nstate = 2
[variables.m]\nplates = [\"state\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.4, 0.6]\ntransition = [[0.9, 0.1], [0.3, 0.7]]\nsequence = \"s\"
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m[z]\"\nsd = 0.5\nobserved = \"y\"";
    let model = model(text);
    let m = [0.2, -0.6];
    let out = evaluate(&model, &m, 1);
    let (y, start) = ([0.3, -0.4, 1.1, 0.9], [true, false, false, true]);
    let (initial, transition) = ([0.4, 0.6], [[0.9, 0.1], [0.3, 0.7]]);
    let normal = |x: f64, m: f64, s: f64| (-0.5 * ((x - m) / s).powi(2) - s.ln() - 0.918_938_533_204_672_8).exp();
    let mut total = 0.0;
    for path in 0..16usize {
        let z = |t: usize| path >> t & 1;
        let mut p = 1.0;
        for t in 0..4 {
            p *= if start[t] { initial[z(t)] } else { transition[z(t - 1)][z(t)] } * normal(y[t], m[z(t)], 0.5);
        }
        total += p;
    }
    let prior: f64 = m.iter().map(|m| normal(*m, 0.0, 1.0).ln()).sum();
    assert!((out.values[0] - total.ln() - prior).abs() < 1e-12);
}

#[test]
fn transformed_priors_integrate_to_one() {
    for (prior, rows) in [
        ("distribution = \"gamma\"\nshape = 2.0\nrate = 3.0", 1),
        ("distribution = \"beta\"\nalpha = 2.0\nbeta = 3.0", 1),
        ("distribution = \"uniform\"\nlower = 2.0\nupper = 3.0", 1),
        ("distribution = \"half-normal\"\nsd = 3.0", 1),
        ("distribution = \"normal\"\nmean = 0.5\nsd = 2.0\nlower = 0.0", 1),
        ("distribution = \"normal\"\nmean = 0.5\nsd = 2.0\nupper = 1.0", 1),
        ("distribution = \"logistic\"\nlocation = 0.5\nscale = 2.0\nlower = -1.0\nupper = 1.0", 1),
        ("distribution = \"dirichlet\"\ndimension = 3\nconcentration = [1.5, 2.0, 2.5]", 2),
        ("distribution = \"stick-breaking\"\ndimension = 3\nconcentration = 1.5", 2),
    ] {
        let model = model(&format!("[variables.x]\n{prior}\n"));
        assert_eq!(model.program.dimension, rows);
        let (n, limit) = if rows == 1 { (4000, 30.0) } else { (600, 20.0) };
        let h = 2.0 * limit / n as f64;
        let axis: Vec<f64> = (0..n).map(|i| -limit + (i as f64 + 0.5) * h).collect();
        let theta: Vec<f64> = if rows == 1 {
            axis.clone()
        } else {
            axis.iter().flat_map(|a| axis.iter().flat_map(move |b| [*a, *b])).collect()
        };
        let out = evaluate(&model, &theta, theta.len() / rows);
        let total: f64 = out.values.iter().map(|v| v.exp() * h.powi(rows as i32)).sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}: {prior}");
    }
}

/// Where a variable has an axis twice, an array over it runs along the last one: each row of a transition has the same prior.
#[test]
fn an_array_runs_along_the_dimension() {
    let text = |from: &str| {
        format!(
            "[plates]\nstate = 2\nother = 2\n[variables.A]\nplates = [\"{from}\"]\ndistribution = \"dirichlet\"\ndimension = \"state\"
concentration = [2.0, 0.7]\n[variables.m]\nplates = [\"{from}\"]\ndistribution = \"normal\"\ndimension = \"state\"
mean = [0.5, -2.0]\nsd = [0.6, 1.7]\n[variables.h]\nplates = [\"{from}\"]\ndistribution = \"normal\"\ndimension = \"state\"
mean = \"centre\"\nsd = 1.0\n[variables.centre]\ndistribution = \"normal\"\ndimension = \"state\"\nmean = 0.0\nsd = 1.0\n"
        )
    };
    let (apart, same) = (text("other"), text("state"));
    let theta = [0.3, -0.8, 0.5, 1.4, -0.2, 0.9, 0.1, 0.4, -0.6, 0.8, 1.1, 0.35];
    let (apart, same) = (model(&apart), model(&same));
    assert_eq!((apart.program.dimension, same.program.dimension), (12, 12));
    let (apart, same) = (evaluate(&apart, &theta, 1), evaluate(&same, &theta, 1));
    assert!((apart.values[0] - same.values[0]).abs() < 1e-13, "{} {}", apart.values[0], same.values[0]);
}

/// Rows that are alike share their densities: a mixture of counts with a missing cell, over many rows.
#[test]
fn rows_that_are_alike_count_each() {
    let counts: Vec<Option<u32>> = (0..60).map(|i| if i == 17 { None } else { Some(i * i % 5) }).collect();
    let list: Vec<String> = counts.iter().map(|c| c.map_or("nan".to_owned(), |c| c.to_string())).collect();
    let text = format!(
        "[data.values]\nk = [{}]\n[plates]\nrow = \"rows\"\npart = 2
[variables.m]\nplates = [\"part\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]
[variables.x]\nplates = [\"row\"]\ndistribution = \"poisson\"\nlog_rate = \"m[z]\"\nobserved = \"k\"\n",
        list.join(", ")
    );
    let m = [0.4, -0.7];
    let found = evaluate(&model(&text), &m, 1).values[0];
    let mass = |k: u32, m: f64| f64::from(k) * m - m.exp() - (1..=k).map(|i| f64::from(i).ln()).sum::<f64>();
    let rows = counts.iter().flatten().map(|&k| (0.3 * mass(k, m[0]).exp() + 0.7 * mass(k, m[1]).exp()).ln());
    let exact = rows.sum::<f64>() + m.iter().map(|m| normal(*m, 0.0)).sum::<f64>();
    assert!((found - exact).abs() < 1e-11, "{found} {exact}");
    check_gradient(&text);
}

/// Missing cells of vectors with a matrix are integrated out, and truncation counts observed cells only.
#[test]
fn missing_cells_have_no_density() {
    let data = "[data.values]\ny = [0.3, nan, 1.1, nan]\nv = [1.0, 0.5, nan, nan]\n[data.blocks]\nyv = [\"y\", \"v\"]\n[plates]\nrow = \"rows\"\npart = 2
[variables.m]\nplates = [\"part\"]\ndistribution = \"normal\"\ndimension = \"yv\"\nmean = 0.0\nsd = 1.0\n";
    let normal = |x: f64, m: f64, v: f64| -0.5 * ((x - m).powi(2) / v + v.ln()) - 0.918_938_533_204_672_8;
    let text = format!(
        "{data}[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"yv\"\nmean = \"m[z]\"
covariance = [[2.0, 0.5], [0.5, 1.0]]\nobserved = \"yv\"
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]\n"
    );
    let model = model(&text);
    assert_eq!(model.program.dimension, 4);
    let m = [0.1, -0.2, 0.4, 0.8];
    let out = evaluate(&model, &m, 1);
    let mixed = |f: &dyn Fn(usize) -> f64| (0.3 * f(0).exp() + 0.7 * f(1).exp()).ln();
    let both = |k: usize| {
        let (a, b) = (0.3 - m[2 * k], 1.0 - m[2 * k + 1]);
        let q = (a * a - 2.0 * 0.5 * a * b + 2.0 * b * b) / 1.75;
        -0.5 * (q + 1.75_f64.ln()) - 2.0 * 0.918_938_533_204_672_8
    };
    let exact = mixed(&both)
        + mixed(&|k| normal(0.5, m[2 * k + 1], 1.0))
        + mixed(&|k| normal(1.1, m[2 * k], 2.0))
        + m.iter().map(|m| normal(*m, 0.0, 1.0)).sum::<f64>();
    assert!((out.values[0] - exact).abs() < 1e-12, "{} {exact}", out.values[0]);
    check_gradient(&text);
    // The same by a latent precision, and by a joint variable.
    for spread in ["mean = \"m[z]\"\nprecision = \"L\"", "parameters = \"h[z]\""] {
        check_gradient(&format!(
            "{data}[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"yv\"\n{spread}\nobserved = \"yv\"
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]
[variables.L]\ndistribution = \"wishart\"\ndimension = \"yv\"\ndegrees_of_freedom = 4.0\nscale = [[0.5, 0.1], [0.1, 0.7]]
[variables.h]\nplates = [\"part\"]\ndistribution = \"normal-wishart\"\ndimension = \"yv\"\nmean = 0.0\nmean_precision = 0.5\ndegrees_of_freedom = 4.0\nscale = [[0.5, 0.1], [0.1, 0.7]]\n"
        ));
    }
    let truncated = |y: &str| {
        let text = format!(
            "[data.values]\ny = [{y}]\n[plates]\nrow = \"rows\"\n[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m\"\nsd = 1.0\nlower = 0.0\nobserved = \"y\""
        );
        evaluate(&self::model(&text), &[0.3], 1).values[0]
    };
    assert!((truncated("0.5, nan, 1.0") - truncated("0.5, 1.0")).abs() < 1e-12);
}

#[test]
fn chunks_and_threads_do_not_matter() {
    let n = 5000;
    let y: Vec<String> = (0..n).map(|i| format!("{:.3}", (f64::from(i) * 0.1).sin())).collect();
    let x: Vec<String> = (0..n).map(|i| format!("{:.3}", (f64::from(i) * 0.37).cos())).collect();
    let text = format!(
        "[data.values]\ny = [{}]\nx = [{}]\n[plates]\nrow = \"rows\"
[variables.a]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.o]\nplates = [\"row\"]\ndistribution = \"student-t\"\ndegrees_of_freedom = 4.0\nmean = \"a*x\"\nsd = 1.0\nobserved = \"y\"",
        y.join(","),
        x.join(",")
    );
    let model = model(&text);
    let theta = points(1, 3);
    let whole = evaluate(&model, &theta, 3);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let single = pool.install(|| evaluate(&model, &theta, 3));
    assert_eq!(whole.values, single.values);
    assert_eq!(whole.gradients, single.gradients);
}
