//! Discrete variables with factors of their own against enumeration of all their values, and against being summed out.

use std::path::Path;
use std::sync::Arc;

use super::Model;
use crate::fit::categories::place_probabilities;
use crate::tape::{Evaluation, Evaluator};

fn compiled(text: &str) -> Model {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    Model::new(&graph).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn evaluate(model: &Model, theta: &[f64]) -> Evaluation {
    let mut out = Evaluation::default();
    Evaluator::new(Arc::clone(&model.program)).evaluate(theta, 1, true, &mut out);
    out
}

/// Every assignment of values to the open elements: the coordinates with its indicators, and the values.
fn vertices(model: &Model, theta: &[f64]) -> Vec<(Vec<f64>, Vec<usize>)> {
    let mut all = vec![(theta.to_vec(), Vec::new())];
    for category in model.categories.iter() {
        let values: Vec<usize> = category.known.map_or_else(|| (0..category.size).collect(), |k| vec![k]);
        all = all
            .iter()
            .flat_map(|(theta, chosen)| {
                values.iter().map(move |k| {
                    let (mut theta, mut chosen) = (theta.clone(), chosen.clone());
                    theta[category.range()].fill(0.0);
                    theta[category.offset + k] = 1.0;
                    chosen.push(*k);
                    (theta, chosen)
                })
            })
            .collect();
    }
    all
}

/// The same model twice: the variables named keep factors of their own, or are summed out.
fn check(kept: &[&str], text: &str) {
    let marked = |marked: bool| {
        let mut text = text.to_owned();
        for name in kept.iter().filter(|_| marked) {
            let head = format!("[variables.{name}]\n");
            assert!(text.contains(&head), "{name}");
            text = text.replace(&head, &format!("{head}marginalized = false\n"));
        }
        compiled(&text)
    };
    let (model, summed) = (marked(true), marked(false));
    assert!(!model.categories.is_empty() && summed.categories.is_empty());
    let n = model.program.dimension;
    let mut theta: Vec<f64> = (0..n).map(|i| (i as f64 * 1.3 + 0.4).sin()).collect();
    place_probabilities(&model.categories, &mut theta);
    let mut is_weight = vec![false; n];
    model.categories.iter().for_each(|c| is_weight[c.range()].fill(true));
    // Σ_z p(θ, z) = p(θ).
    let all: Vec<(f64, f64, Vec<usize>)> = vertices(&model, &theta)
        .into_iter()
        .map(|(point, values)| {
            let chance: f64 = model.categories.iter().zip(&values).map(|(c, k)| theta[c.offset + k]).product();
            (evaluate(&model, &point).values[0], chance, values)
        })
        .collect();
    let largest = all.iter().fold(f64::NEG_INFINITY, |a, b| a.max(b.0));
    let total = largest + all.iter().map(|(f, ..)| (f - largest).exp()).sum::<f64>().ln();
    let continuous: Vec<f64> = (0..n).filter(|i| !is_weight[*i]).map(|i| theta[i]).collect();
    let exact = evaluate(&summed, &continuous).values[0];
    assert!((total - exact).abs() < 1e-11 * (1.0 + exact.abs()), "{total} {exact}\n{text}");
    if model.is_relaxed {
        return;
    }
    // F(θ, r) = E_r[log p(θ, z)], and its derivatives are the expectations given each value of one element.
    let found = evaluate(&model, &theta);
    let mean: f64 = all.iter().map(|(f, chance, _)| f * chance).sum();
    assert!((found.values[0] - mean).abs() < 1e-11 * (1.0 + mean.abs()), "{} {mean}\n{text}", found.values[0]);
    for (e, category) in model.categories.iter().enumerate().filter(|(_, c)| c.known.is_none()) {
        let given = |k: usize| {
            let own = all.iter().filter(|(.., values)| values[e] == k);
            own.map(|(f, chance, _)| f * chance).sum::<f64>() / theta[category.offset + k]
        };
        for k in 1..category.size {
            let wanted = given(k) - given(0);
            let slope = found.gradients[category.offset + k] - found.gradients[category.offset];
            assert!((slope - wanted).abs() < 1e-10 * (1.0 + wanted.abs()), "{e} {k}: {slope} {wanted}\n{text}");
        }
    }
    // Continuous coordinates by differences.
    for i in (0..n).filter(|i| !is_weight[*i]) {
        let at = |step: f64| {
            let mut theta = theta.clone();
            theta[i] += step;
            evaluate(&model, &theta).values[0]
        };
        let wanted = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((found.gradients[i] - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{i}\n{text}");
    }
}

fn normal(mean: &str) -> String {
    format!(
        "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = 1.0\nobserved = \"y\"\n"
    )
}

const DATA: &str =
    "[data.values]\nfrom = [0, 1, 2, 2, 3, 0]\nto = [1, 2, 2, 0, 1, 1]\ny = [0.3, -0.4, 1.1, 0.9, 2.0, -0.7]
g = [\"a\", \"b\", \"a\", \"b\", \"c\", \"c\"]\nu = [1.0, 2.0, -1.0, 0.5, 0.1, 0.3]\nv = [0.2, 0.4, 0.3, -0.7, 1.2, 0.6]
h = [1, nan, nan, 0, nan, 1]\nside = { axes = [\"kind\"], values = [0.2, 0.5, 0.3] }
[data.blocks]\nuv = [\"u\", \"v\"]\n[plates]\nrow = \"rows\"\nnode = 4\nblock = 2\nkind = 3\ngroup = { levels = \"g\" }
[variables.share]\ndistribution = \"dirichlet\"\ndimension = \"block\"\nconcentration = 1.5
[variables.rate]\nplates = [\"block\", \"block\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";

/// Ties between elements, one of them to itself and one twice.
#[test]
fn a_block_model_with_a_self_loop() {
    let z = "[variables.z]\nplates = [\"node\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\n";
    check(&["z"], &format!("{DATA}{z}{}", normal("rate[z[from], z[to]]")));
}

/// A group's class above rows that have classes of their own: either kept, both kept; a class of all.
#[test]
fn classes_of_groups_and_rows() {
    let text = format!(
        "{DATA}[variables.c]\nplates = [\"group\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"
[variables.w]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"side\"
[variables.s]\ndistribution = \"bernoulli\"\nprobability = 0.3
[variables.table]\nplates = [\"block\", \"kind\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
{}",
        normal("table[c[g], w] * (1 + s)")
    );
    for kept in [&["c"][..], &["w"], &["s"], &["c", "w"], &["c", "w", "s"]] {
        check(kept, &text);
    }
}

/// Classes of rows some of which are known, and counts with a bound.
#[test]
fn known_classes_and_counts() {
    let known = format!(
        "{DATA}[variables.w]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = 0.3\nobserved = \"h\"\n{}",
        normal("m * (1 + w)")
    ) + "[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
    check(&["w"], &known);
    let count = format!(
        "{DATA}[variables.k]\nplates = [\"group\"]\ndistribution = \"binomial\"\ntrials = 3\nlogit = \"m\"\n{}
[variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n",
        normal("k[g] * m")
    );
    check(&["k"], &count);
}

/// Indicators that a `dot` sums: the log joint holds at their values alone.
#[test]
fn indicators_in_a_sum() {
    let text = format!(
        "{DATA}[variables.on]\nplates = [\"uv\"]\ndistribution = \"bernoulli\"\nprobability = 0.4
[variables.b]\ndistribution = \"normal\"\ndimension = \"uv\"\nmean = 0.0\nsd = 1.0\n{}",
        normal("dot(on * b, uv)")
    );
    check(&["on"], &text);
}
