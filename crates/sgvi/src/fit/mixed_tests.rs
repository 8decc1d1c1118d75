//! Expressions that read discrete variables: means and spreads against enumeration and quadrature.

use std::path::Path;

use vi_model::graph::Graph;

use super::expected::{Expected, expected};
use super::run::{Fitted, fit};
use crate::fitted::FitOptions;

fn graph(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn fitted(graph: &Graph) -> Fitted {
    fit(graph, FitOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Mean and sd of the entry of an expression.
fn entry(fitted: &Fitted, name: &str) -> (Vec<f64>, Vec<f64>) {
    let entry = fitted.record.posterior.get(name).unwrap_or_else(|| panic!("{name}: {:?}", fitted.record.extra));
    (entry.mean.as_ref().unwrap().values().to_vec(), entry.sd.as_ref().unwrap().values().to_vec())
}

/// The moments of an expression of the rows.
fn of_rows(graph: &Graph, fitted: &Fitted, name: &str) -> Expected {
    let node = graph.expressions.iter().find(|e| e.name == name).unwrap().node;
    expected(graph, &fitted.model, fitted.gaussian.as_ref(), None, node, 1).unwrap()
}

fn normal(x: f64, mean: f64, sd: f64) -> f64 {
    (-0.5 * ((x - mean) / sd).powi(2)).exp() / (sd * (2.0 * std::f64::consts::PI).sqrt())
}

/// Mean and sd of values with unnormalised weights.
fn moments(values: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let total: f64 = values.clone().map(|v| v.1).sum();
    let mean = values.clone().map(|(x, w)| x * w).sum::<f64>() / total;
    let variance = values.map(|(x, w)| (x - mean).powi(2) * w).sum::<f64>() / total;
    (mean, variance.sqrt())
}

fn close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!((found - wanted).abs() < tolerance * (1.0 + wanted.abs()), "{what}: {found} instead of {wanted}");
}

/// Two variables in one density: their joint posterior by enumeration, for each of two groups and for the product of both.
#[test]
fn several_variables_in_one_expression() {
    let text = "[data.values]\nlevel = { axes = [\"kind\"], values = [-1, 0.5, 2] }\nshare = { axes = [\"kind\"], values = [0.3, 0.5, 0.2] }
[plates]\ngroup = 2\nkind = 3
[variables.k]\nplates = [\"group\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"
[variables.b]\nplates = [\"group\"]\ndistribution = \"bernoulli\"\nprobability = 0.4
[variables.y]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = \"level[k] + 1.5 * b\"\nsd = 1\nobserved = [1.0, -0.5]
[expressions]\ntotal = \"exp(level[k]) * b - 100\"\nalone = \"level[k]\"\n";
    let run = fitted(&graph(text));
    let (level, share) = ([-1.0, 0.5, 2.0f64], [0.3, 0.5, 0.2]);
    let (total, alone) = (entry(&run, "total"), entry(&run, "alone"));
    for (g, y) in [1.0, -0.5].into_iter().enumerate() {
        let joint = (0..6).map(|c| (c % 3, f64::from(c / 3))).map(move |(k, b)| {
            let k = k as usize;
            (level[k], b, share[k] * if b > 0.5 { 0.4 } else { 0.6 } * normal(y, level[k] + 1.5 * b, 1.0))
        });
        let wanted = moments(joint.clone().map(|(l, b, w)| (l.exp() * b - 100.0, w)));
        close(total.0[g], wanted.0, 1e-11, "total");
        close(total.1[g], wanted.1, 1e-9, "total");
        let wanted = moments(joint.map(|(l, _, w)| (l, w)));
        close(alone.0[g], wanted.0, 1e-11, "alone");
        close(alone.1[g], wanted.1, 1e-9, "alone");
    }
}

/// A sum over elements, which are enumerated together.
#[test]
fn elements_that_are_summed_together() {
    let text = "[data.values]\neffect = { axes = [\"cause\"], values = [1.0, -0.7, 2.0] }\n[plates]\ncause = 3
[variables.on]\nplates = [\"cause\"]\ndistribution = \"bernoulli\"\nprobability = 0.3
[variables.y]\ndistribution = \"normal\"\nmean = \"dot(on, effect)\"\nsd = 0.8\nobserved = 1.4
[expressions]\nstrength = \"dot(on, effect)\"\neach = \"2 * on\"\n";
    let run = fitted(&graph(text));
    let on = |c: usize, e: usize| f64::from(u8::from(c >> e & 1 == 1));
    let joint = (0..8usize).map(|c| {
        let strength = on(c, 0) - 0.7 * on(c, 1) + 2.0 * on(c, 2);
        let prior: f64 = (0..3).map(|e| if on(c, e) > 0.5 { 0.3 } else { 0.7 }).product();
        (c, strength, prior * normal(1.4, strength, 0.8))
    });
    let strength = entry(&run, "strength");
    let wanted = moments(joint.clone().map(|(_, s, w)| (s, w)));
    close(strength.0[0], wanted.0, 1e-11, "strength");
    close(strength.1[0], wanted.1, 1e-9, "strength");
    let each = entry(&run, "each");
    for e in 0..3 {
        let wanted = moments(joint.clone().map(|(c, _, w)| (2.0 * on(c, e), w)));
        close(each.0[e], wanted.0, 1e-11, "each");
        close(each.1[e], wanted.1, 1e-9, "each");
    }
}

/// States of a chain, by enumerating its paths; rows that do not count and rows that count twice beside it.
#[test]
fn rows_of_chains_and_counted_rows() {
    let text = "[data.values]\nx = [0.2, 1.4, 0.9, -0.6]\nlevel = { axes = [\"state\"], values = [-0.5, 1.0] }\n[plates]\nrow = \"rows\"\nstate = 2
[variables.s]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.7, 0.3]\ntransition = [[0.9, 0.1], [0.2, 0.8]]
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"level[s]\"\nsd = 0.7\nobserved = \"x\"
[expressions]\nat = \"3 * level[s] + x\"\n";
    let g = graph(text);
    let (x, level) = ([0.2, 1.4, 0.9, -0.6], [-0.5, 1.0]);
    let found = of_rows(&g, &fitted(&g), "at");
    for row in 0..4 {
        let paths = (0..16usize).map(|c| {
            let state = |t: usize| c >> t & 1;
            let mut p = [0.7, 0.3][state(0)];
            (1..4).for_each(|t| p *= [[0.9, 0.1], [0.2, 0.8]][state(t - 1)][state(t)]);
            (0..4).for_each(|t| p *= normal(x[t], level[state(t)], 0.7));
            (3.0 * level[state(row)] + x[row], p)
        });
        let wanted = moments(paths);
        close(found.mean[row], wanted.0, 1e-10, "mean");
        close(found.sd[row], wanted.1, 1e-8, "sd");
    }
    let text = "[data]\ncounts = \"c\"\n[data.values]\nx = [0.2, 1.4, 0.9]\nc = [2, 0, 1]\ngroup = [0, 1, 1]\nlevel = { axes = [\"kind\"], values = [-0.5, 1.0] }
[plates]\nrow = \"rows\"\nkind = 2\ncluster = 2
[variables.k]\nplates = [\"cluster\"]\ndistribution = \"categorical\"\nprobabilities = [0.4, 0.6]\n
[variables.j]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.1, 0.9]
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"level[k[group]] + level[j]\"\nsd = 0.7\nobserved = \"x\"
[expressions]\nown = \"square(level[j] + 1)\"\nshared = \"level[k[group]] + 1\"\neach = \"level[k]\"\n";
    let g = graph(text);
    let run = fitted(&g);
    let (x, c, group) = ([0.2, 1.4, 0.9], [2, 0, 1], [0, 1, 1usize]);
    // Given the cluster's kind, all copies of its rows are independent; j of a row that does not count has its own density still.
    let row =
        |r: usize, k: usize| -> f64 { (0..2).map(|j| [0.1, 0.9][j] * normal(x[r], level[k] + level[j], 0.7)).sum() };
    let kind = |g: usize, k: usize| -> f64 {
        [0.4, 0.6][k] * (0..3).filter(|r| group[*r] == g).map(|r| row(r, k).powi(c[r])).product::<f64>()
    };
    let (own, shared) = (of_rows(&g, &run, "own"), of_rows(&g, &run, "shared"));
    for r in 0..3 {
        let joint = (0..4usize).map(|i| (i & 1, i >> 1)).map(|(k, j)| {
            let others = kind(group[r], k) / row(r, k);
            (k, j, others * [0.1, 0.9][j] * normal(x[r], level[k] + level[j], 0.7))
        });
        let wanted = moments(joint.clone().map(|(_, j, w)| ((level[j] + 1.0f64).powi(2), w)));
        close(own.mean[r], wanted.0, 1e-10, "own");
        close(own.sd[r], wanted.1, 1e-8, "own");
        let wanted = moments((0..2).map(|k| (level[k] + 1.0, kind(group[r], k))));
        close(shared.mean[r], wanted.0, 1e-10, "shared");
        close(shared.sd[r], wanted.1, 1e-8, "shared");
    }
    let each = entry(&run, "each");
    for g in 0..2 {
        let wanted = moments((0..2).map(|k| (level[k], kind(g, k))));
        close(each.0[g], wanted.0, 1e-11, "each");
    }
}

/// Beside continuous variables: averages over q by quadrature, and the posterior itself by importance sampling.
#[test]
fn beside_continuous_variables() {
    let text = "[data.values]\ny = [0.4, 1.1]\n[plates]\nrow = \"rows\"\nkind = 2
[variables.z]\ndistribution = \"categorical\"\ndimension = \"kind\"\nprobabilities = [0.3, 0.7]
[variables.m]\nplates = [\"kind\"]\ndistribution = \"normal\"\nmean = [-1.0, 1.0]\nsd = 1.0
[expressions]\nchosen = \"m[z]\"\nsum = \"2 * m\"
[variables.o]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m[z]\"\nsd = 1.0\nobserved = \"y\"\n";
    let run = fitted(&graph(text));
    assert!(!run.record.extra.contains_key("unreported"));
    let q = run.gaussian.as_ref().unwrap();
    let sd: Vec<f64> = q.variances().iter().map(|v| v.sqrt()).collect();
    let likelihood = |m: f64| normal(0.4, m, 1.0) * normal(1.1, m, 1.0);
    let grid = || (-60..=60).flat_map(|i| (-60..=60).map(move |j| (f64::from(i) * 0.1, f64::from(j) * 0.1)));
    let conditional = |m: [f64; 2]| {
        let w = [0.3 * likelihood(m[0]), 0.7 * likelihood(m[1])];
        let p = w[1] / (w[0] + w[1]);
        ((1.0 - p) * m[0] + p * m[1], (1.0 - p) * m[0] * m[0] + p * m[1] * m[1], w[0] + w[1])
    };
    let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
    let (mut evidence, mut exact) = (0.0, 0.0);
    for (a, b) in grid() {
        let w = normal(a, 0.0, 1.0) * normal(b, 0.0, 1.0);
        let (f, square, _) = conditional([q.mean[0] + sd[0] * a, q.mean[1] + sd[1] * b]);
        (total, first, second) = (total + w, first + w * f, second + w * square);
        // The prior's own grid for the posterior.
        let (f, _, l) = conditional([a - 1.0, b + 1.0]);
        (evidence, exact) = (evidence + w * l, exact + w * l * f);
    }
    let mean = first / total;
    let wanted = (mean, (second / total - mean * mean).sqrt());
    let found = entry(&run, "chosen");
    close(found.0[0], wanted.0, 2e-3, "mean under q");
    close(found.1[0], wanted.1, 4e-3, "sd under q");
    let corrected = run.record.posterior["chosen"].extra["mean_importance_sampling"].as_f64().unwrap();
    close(corrected, exact / evidence, 1e-2, "posterior mean");
}

/// A variable with factors of its own: expectations under those, and a categorical's entry as its probabilities.
#[test]
fn under_categorical_factors() {
    let text = "[data.values]\nfrom = [0, 0, 1]\nto = [1, 2, 2]\ny = [1, 0, 0]\nshare = { axes = [\"block\"], values = [0.4, 0.6] }
rate = { axes = [\"block\", \"block\"], values = [[0.8, 0.15], [0.2, 0.7]] }\nscore = { axes = [\"block\"], values = [2, 5] }
[plates]\nrow = \"rows\"\nnode = 3\nblock = 2
[variables.z]\nplates = [\"node\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\nmarginalized = false
[variables.x]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"rate[z[from], z[to]]\"\nobserved = \"y\"
[expressions]\ngrade = \"score[z]\"\n";
    for text in [text.to_owned(), text.replace("marginalized = false\n", "")] {
        let run = fitted(&graph(&text));
        let (p, sd) = entry(&run, "z");
        assert_eq!(run.record.posterior["z"].mean.as_ref().unwrap().shape(), [3, 2]);
        assert_eq!(run.record.posterior["z"].parameters["probabilities"].values(), p);
        let grade = entry(&run, "grade");
        for node in 0..3 {
            close(p[2 * node] + p[2 * node + 1], 1.0, 1e-12, "probabilities");
            close(sd[2 * node], (p[2 * node] * p[2 * node + 1]).sqrt(), 1e-9, "sd of an indicator");
            close(grade.0[node], 2.0 * p[2 * node] + 5.0 * p[2 * node + 1], 1e-9, "grade");
            close(grade.1[node], 3.0 * sd[2 * node], 1e-7, "sd of the grade");
        }
    }
}

/// An expression changes nothing of the inference, even where it sums over elements that the model keeps apart; what would need too
/// many values at once is named.
#[test]
fn an_expression_does_not_change_the_fit() {
    let text = |count: usize, more: &str| {
        let y: Vec<String> = (0..count).map(|i| format!("{:.2}", (i as f64 * 1.7).sin() * 2.0)).collect();
        format!(
            "[data.values]\nlevel = {{ axes = [\"kind\"], values = [-1, 2] }}\n[plates]\ngroup = {count}\nkind = 2
[variables.k]\nplates = [\"group\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]\ndimension = \"kind\"
[variables.b]\nplates = [\"group\"]\ndistribution = \"bernoulli\"\nprobability = 0.4
[variables.y]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = \"level[k] + b\"\nsd = 1\nobserved = [{}]\n{more}",
            y.join(", ")
        )
    };
    let (plain, more) = (text(6, ""), text(6, "[expressions]\ntotal = \"dot(b, b)\"\n"));
    let (plain, more) = (fitted(&graph(&plain)), fitted(&graph(&more)));
    assert_eq!(plain.record.elbo.to_bits(), more.record.elbo.to_bits());
    // Given the data the groups are independent.
    let p = plain.record.posterior["b"].mean.as_ref().unwrap().values().to_vec();
    let total = entry(&more, "total");
    close(total.0[0], p.iter().sum(), 1e-10, "total");
    close(total.1[0], p.iter().map(|p| p * (1.0 - p)).sum::<f64>().sqrt(), 1e-9, "total");
    let many = fitted(&graph(&text(40, "[expressions]\ntotal = \"dot(b, b)\"\n")));
    assert!(!many.record.posterior.contains_key("total"));
    assert_eq!(many.record.extra["unreported"], serde_json::json!(["total"]));
    assert!(many.record.extra["advice"].to_string().contains("`total` has no entry"));
}
