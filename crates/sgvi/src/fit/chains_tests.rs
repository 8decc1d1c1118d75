//! Chains that share emissions, and chains beside other discrete variables, against the enumeration of all paths and values.

use std::path::Path;
use std::sync::Arc;

use vi_model::graph::Graph;

use super::expected::expected;
use super::responsibility::responsibilities;
use super::run::fit;
use crate::fitted::FitOptions;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

fn graph(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

const A: &str = "[variables.a]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.7, 0.3]\ntransition = [[0.9, 0.1], [0.2, 0.8]]\nsequence = \"s\"\n";
const B: &str = "[variables.b]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.2, 0.5, 0.3]\n\
    transition = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.1, 0.5]]\nsequence = \"s\"\n";
const PLATES: &str = "[plates]\nrow = \"rows\"\nleft = 2\nright = 3\nitem = 2\nkind = 2\n";
const DATA: &str = "[data.values]\nx = [0.3, 1.7, -0.4, 2.2]\ns = [0, 0, 0, 1]\ngroup = [0, 1, 1, 0]
c = { axes = [\"left\"], values = [-1.0, 2.0] }\nd = { axes = [\"right\"], values = [0.0, 1.5, -0.7] }\ne = { axes = [\"kind\"], values = [0.4, -0.9] }
cd = { axes = [\"kind\", \"left\"], values = [[0.1, 1.0], [2.0, -1.0]] }\np = { axes = [\"kind\"], values = [0.35, 0.65] }\n";
const X: [f64; 4] = [0.3, 1.7, -0.4, 2.2];
const C: [f64; 2] = [-1.0, 2.0];
const D: [f64; 3] = [0.0, 1.5, -0.7];
const E: [f64; 2] = [0.4, -0.9];
const P: [f64; 2] = [0.35, 0.65];

fn normal(x: f64, mean: f64) -> f64 {
    (-0.5 * ((x - mean) / 0.8).powi(2)).exp() / (0.8 * (2.0 * std::f64::consts::PI).sqrt())
}

fn chain_a(path: &[usize]) -> f64 {
    let t = [[0.9, 0.1], [0.2, 0.8]];
    [0.7, 0.3][path[0]] * t[path[0]][path[1]] * t[path[1]][path[2]] * [0.7, 0.3][path[3]]
}

fn chain_b(path: &[usize]) -> f64 {
    let (i, t) = ([0.2, 0.5, 0.3], [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.1, 0.5]]);
    i[path[0]] * t[path[0]][path[1]] * t[path[1]][path[2]] * i[path[3]]
}

/// All sequences of four values below `size`.
fn paths(size: usize) -> impl Iterator<Item = [usize; 4]> {
    (0..size.pow(4)).map(move |c| std::array::from_fn(|t| c / size.pow(t as u32) % size))
}

/// A weight, and the values of every variable by name.
type State = (f64, Vec<(&'static str, Vec<usize>)>);

/// ELBO, and probabilities by name, against weights of everything enumerated: each state with the value of every named variable.
fn check(text: &str, states: &[State], sizes: &[(&str, usize)]) {
    let g = graph(text);
    let evidence: f64 = states.iter().map(|s| s.0).sum();
    let run = fit(&g, FitOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert!((run.record.elbo - evidence.ln()).abs() < 1e-9, "{} instead of {}", run.record.elbo, evidence.ln());
    for r in responsibilities(&g, None, 0).unwrap() {
        let name = &g.variable(r.variable).name;
        let size = sizes.iter().find(|s| s.0 == name).unwrap().1;
        let mut wanted = vec![0.0; r.probabilities.len()];
        for (weight, values) in states {
            let values = &values.iter().find(|v| v.0 == name).unwrap().1;
            values.iter().enumerate().for_each(|(e, k)| wanted[e * size + k] += weight / evidence);
        }
        for (found, wanted) in r.probabilities.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-10, "{name}: {found} instead of {wanted}");
        }
    }
}

/// Both orders of declaration, an unobserved row, and an expression of both states.
#[test]
fn two_chains_in_one_emission() {
    let y = "[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a] + d[b]\"\nsd = 0.8\nobserved = \"x\"\n[expressions]\nboth = \"c[a] * d[b]\"\n";
    let data = DATA.replace("-0.4", "nan");
    let mut states = Vec::new();
    for a in paths(2) {
        for b in paths(3) {
            let emission: f64 = [0, 1, 3].iter().map(|&t| normal(X[t], C[a[t]] + D[b[t]])).product();
            states.push((chain_a(&a) * chain_b(&b) * emission, vec![("a", a.to_vec()), ("b", b.to_vec())]));
        }
    }
    for text in [format!("{data}{PLATES}{A}{B}{y}"), format!("{data}{PLATES}{B}{A}{y}")] {
        check(&text, &states, &[("a", 2), ("b", 3)]);
    }
    let g = graph(&format!("{data}{PLATES}{A}{B}{y}"));
    let run = fit(&g, FitOptions::default()).unwrap();
    let found = expected(&g, &run.model, None, None, g.expressions[0].node, 0).unwrap();
    let evidence: f64 = states.iter().map(|s| s.0).sum();
    for t in 0..4 {
        let value = |s: &State| C[s.1[0].1[t]] * D[s.1[1].1[t]];
        let mean: f64 = states.iter().map(|s| s.0 / evidence * value(s)).sum();
        assert!((found.mean[t] - mean).abs() < 1e-10, "{} instead of {mean}", found.mean[t]);
    }
}

/// One value for all rows: a recursion for each.
#[test]
fn a_single_category_beside_a_chain() {
    let text = format!(
        "{DATA}{PLATES}{A}[variables.k]\ndistribution = \"categorical\"\nprobabilities = \"p\"
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"cd[k, a]\"\nsd = 0.8\nobserved = \"x\"\n"
    );
    let cd = [[0.1, 1.0], [2.0, -1.0]];
    let mut states = Vec::new();
    for k in 0..2 {
        for a in paths(2) {
            let emission: f64 = (0..4).map(|t| normal(X[t], cd[k][a[t]])).product();
            states.push((P[k] * chain_a(&a) * emission, vec![("k", vec![k]), ("a", a.to_vec())]));
        }
    }
    check(&text, &states, &[("k", 2), ("a", 2)]);
}

/// Elements that a column looks up, and elements along a plate of the observed variable, beside two chains.
#[test]
fn elements_of_a_plate_beside_chains() {
    let k = "[variables.k]\nplates = [\"item\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\n";
    let by_column = format!(
        "{DATA}{PLATES}{A}{k}[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a] + e[k[group]]\"\nsd = 0.8\nobserved = \"x\"\n"
    );
    let columns = "z = [[0.3, 1.2], [1.7, 0.5], [-0.4, -0.9], [2.2, 2.8]]\n";
    let by_plate = format!(
        "{}{PLATES}{A}{B}{k}[variables.y]\nplates = [\"row\", \"item\"]\ndistribution = \"normal\"\nmean = \"c[a] + d[b] + e[k]\"\nsd = 0.8\nobserved = \"z\"\n",
        DATA.replace("[data.values]\n", &format!("[data.values]\n{columns}"))
    );
    let (mut looked_up, mut along) = (Vec::new(), Vec::new());
    let second = [1.2, 0.5, -0.9, 2.8];
    for k in (0..4).map(|c| [c & 1, c >> 1]) {
        let prior = P[k[0]] * P[k[1]];
        for a in paths(2) {
            let values = vec![("k", k.to_vec()), ("a", a.to_vec())];
            let emission: f64 = (0..4).map(|t| normal(X[t], C[a[t]] + E[k[[0, 1, 1, 0][t]]])).product();
            looked_up.push((prior * chain_a(&a) * emission, values.clone()));
            for b in paths(3) {
                let mean = |t: usize| C[a[t]] + D[b[t]];
                let emission: f64 =
                    (0..4).map(|t| normal(X[t], mean(t) + E[k[0]]) * normal(second[t], mean(t) + E[k[1]])).product();
                let values = [values.clone(), vec![("b", b.to_vec())]].concat();
                along.push((prior * chain_a(&a) * chain_b(&b) * emission, values));
            }
        }
    }
    check(&by_column, &looked_up, &[("k", 2), ("a", 2)]);
    check(&by_plate, &along, &[("k", 2), ("a", 2), ("b", 3)]);
}

/// The gradient of a model's log joint against its differences, at two points.
fn check_gradient(text: &str) {
    let model = Model::new(&graph(text)).unwrap_or_else(|e| panic!("{e}"));
    let evaluator = Evaluator::new(Arc::clone(&model.program));
    let n = model.program.dimension;
    let theta: Vec<f64> = (0..2 * n).map(|i| (i as f64 * 1.3).sin()).collect();
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, 2, true, &mut out);
    let gradients = out.gradients.clone();
    for c in 0..2 * n {
        let mut value = |step: f64| {
            let mut moved = theta.clone();
            moved[c] += step;
            evaluator.evaluate(&moved, 2, false, &mut out);
            out.values[c / n]
        };
        let difference = (value(1e-5) - value(-1e-5)) / 2e-5;
        assert!(
            (gradients[c] - difference).abs() < 1e-6 * (1.0 + difference.abs()),
            "{c}: {} {difference}",
            gradients[c]
        );
    }
}

/// With unknown levels and transitions: the gradient against differences.
#[test]
fn the_gradient_of_chains_in_company() {
    let text = format!(
        "{DATA}{PLATES}{B}[variables.t]\nplates = [\"left\"]\ndistribution = \"dirichlet\"\ndimension = \"left\"\nconcentration = 2
[variables.a]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.7, 0.3]\ntransition = \"t\"\nsequence = \"s\"
[variables.m]\nplates = [\"left\"]\ndistribution = \"normal\"\nmean = 0\nsd = 2\n[variables.w]\ndistribution = \"beta\"\nalpha = 2\nbeta = 3
[variables.k]\nplates = [\"item\"]\ndistribution = \"bernoulli\"\nprobability = \"w\"
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m[a] + d[b] + k[group]\"\nsd = 0.8\nobserved = \"x\"\n"
    );
    check_gradient(&text);
}

/// What is too much is said.
#[test]
fn chains_with_too_much_company_are_refused() {
    let many = format!(
        "{DATA}[plates]\nrow = \"rows\"\nleft = 2\nitem = 9\nkind = 2\n{A}[variables.k]\nplates = [\"item\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a] + e[k[group]]\"\nsd = 0.8\nobserved = \"x\"\n"
    );
    let many = many.replace("d = { axes = [\"right\"], values = [0.0, 1.5, -0.7] }\n", "");
    let error = Model::new(&graph(&many)).unwrap_err().to_string();
    assert!(error.contains("9 elements") && error.contains("512"), "{error}");
    let apart = format!(
        "{DATA}{PLATES}{A}{}[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a] + d[b]\"\nsd = 0.8\nobserved = \"x\"\n",
        B.replace("sequence = \"s\"\n", "")
    );
    let error = Model::new(&graph(&apart)).unwrap_err().to_string();
    assert!(error.contains("`b`") && error.contains("sequence"), "{error}");
}

/// Transitions and initial states that a column looks up in each row, latent and observed.
#[test]
fn probabilities_that_differ_from_row_to_row() {
    let plates = PLATES.replace("kind = 2", "kind = { levels = \"group\" }");
    let chain = "[variables.a]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = \"i[group]\"\ntransition = \"t[group]\"\nsequence = \"s\"\n";
    let data = format!(
        "{DATA}t = {{ axes = [\"kind\", \"left\", \"left\"], values = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]] }}
i = {{ axes = [\"kind\", \"left\"], values = [[0.7, 0.3], [0.4, 0.6]] }}\nseen = [1, 0, 0, 1]\n"
    );
    let t = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]];
    let (i, group) = ([[0.7, 0.3], [0.4, 0.6]], [0, 1, 1, 0]);
    let path = |a: &[usize]| i[group[0]][a[0]] * t[group[1]][a[0]][a[1]] * t[group[2]][a[1]][a[2]] * i[group[3]][a[3]];
    let y =
        "[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a]\"\nsd = 0.8\nobserved = \"x\"\n";
    let states: Vec<State> = paths(2)
        .map(|a| (path(&a) * (0..4).map(|t| normal(X[t], C[a[t]])).product::<f64>(), vec![("a", a.to_vec())]))
        .collect();
    check(&format!("{data}{plates}{chain}{y}"), &states, &[("a", 2)]);
    let mut both = Vec::new();
    for (weight, values) in &states {
        let a = &values[0].1;
        for b in paths(3) {
            let emission: f64 = (0..4).map(|t| normal(X[t], C[a[t]] + D[b[t]]) / normal(X[t], C[a[t]])).product();
            both.push((weight * chain_b(&b) * emission, vec![values[0].clone(), ("b", b.to_vec())]));
        }
    }
    check(&format!("{data}{plates}{chain}{B}{}", y.replace("c[a]", "c[a] + d[b]")), &both, &[("a", 2), ("b", 3)]);
    let seen = fit(&graph(&format!("{data}{plates}{chain}observed = \"seen\"\n")), FitOptions::default()).unwrap();
    let wanted = path(&[1, 0, 0, 1]).ln();
    assert!((seen.record.elbo - wanted).abs() < 1e-12, "{} instead of {wanted}", seen.record.elbo);
    // Latent probabilities: the gradient against differences.
    let text = format!(
        "{DATA}{plates}[variables.t]\nplates = [\"kind\", \"left\"]\ndistribution = \"dirichlet\"\ndimension = \"left\"\nconcentration = 2
[variables.i]\nplates = [\"kind\"]\ndistribution = \"dirichlet\"\ndimension = \"left\"\nconcentration = 2\n{chain}{y}"
    );
    for text in
        [text.clone(), text.replace("[variables.y]", &format!("{B}[variables.y]")).replace("c[a]", "c[a] + d[b]")]
    {
        check_gradient(&text);
    }
}

/// A variable of each row chooses the transitions into it, and stands in the emission or not.
#[test]
fn transitions_that_a_category_of_the_row_chooses() {
    let t = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]];
    let chain = "t = { axes = [\"kind\", \"left\", \"left\"], values = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]] }\n";
    let a = "[variables.a]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.7, 0.3]\ntransition = \"t[k]\"\nsequence = \"s\"\n";
    let k = "[variables.k]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\n";
    for in_emission in [false, true] {
        let mean = if in_emission { "c[a] + e[k]" } else { "c[a]" };
        let y = format!(
            "[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = 0.8\nobserved = \"x\"\n"
        );
        let mut states = Vec::new();
        for a in paths(2) {
            for k in paths(2) {
                let mut weight = [0.7, 0.3][a[0]] * [0.7, 0.3][a[3]];
                for r in 1..3 {
                    weight *= t[k[r]][a[r - 1]][a[r]];
                }
                for r in 0..4 {
                    weight *= P[k[r]] * normal(X[r], C[a[r]] + if in_emission { E[k[r]] } else { 0.0 });
                }
                states.push((weight, vec![("a", a.to_vec()), ("k", k.to_vec())]));
            }
        }
        for text in [format!("{DATA}{chain}{PLATES}{k}{a}{y}"), format!("{DATA}{chain}{PLATES}{a}{k}{y}")] {
            check(&text, &states, &[("a", 2), ("k", 2)]);
        }
    }
}

/// New rows of a chain whose transitions differ by row, and are drawn by a further variable or looked up.
#[test]
fn new_rows_of_chains_with_transitions_of_their_own() {
    let t = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]];
    let text = |transition: &str| {
        format!(
            "{DATA}g = [0, 1, 1, 0]\nt = {{ axes = [\"kind\", \"left\", \"left\"], values = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]] }}\n{PLATES}\
             [variables.k]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\n\
             [variables.a]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.7, 0.3]\ntransition = \"{transition}\"\n\
             [variables.m]\ndistribution = \"normal\"\nmean = 0\nsd = 1e-3\n\
             [variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"c[a] + m\"\nsd = 0.8\nobserved = \"x\"\n"
        )
    };
    for (transition, by_column) in [("t[k]", false), ("t[g]", true)] {
        let text = text(transition);
        let text = if by_column { text.replace("kind = 2", "kind = { levels = \"g\" }") } else { text };
        let fit = crate::fit(&graph(&text)).unwrap_or_else(|e| panic!("{e}"));
        let column = |name: &str, x: [f64; 3]| (name.to_owned(), vi_model::data::Cells::Numbers(x.to_vec()));
        let g = [1.0, 1.0, 0.0];
        let data = vi_model::data::Data::from_columns(vec![
            column("x", [f64::NAN; 3]),
            column("s", [0.0; 3]),
            column("group", [0.0; 3]),
            column("g", g),
        ])
        .unwrap();
        let options = crate::predict::PredictOptions { draws: 20_000, ..crate::predict::PredictOptions::default() };
        let prediction = fit.predict(&data, &options).unwrap_or_else(|e| panic!("{e}"));
        let mut state = [0.7, 0.3];
        for r in 0..3 {
            if r > 0 {
                let kind = |k: usize| if by_column { f64::from(u8::from(g[r] == k as f64)) } else { P[k] };
                let step = |from: usize, to: usize| (0..2).map(|k| kind(k) * t[k][from][to]).sum::<f64>();
                state = [0, 1].map(|to| state[0] * step(0, to) + state[1] * step(1, to));
            }
            let mean: f64 = state.iter().zip(C).map(|(p, c)| p * c).sum();
            let found = prediction.variables[0].means[r];
            assert!((found - mean).abs() < 0.05, "{transition} {r}: {found} instead of {mean}");
        }
    }
}
