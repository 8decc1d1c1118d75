//! What is computed once for many rows or draws against the same computed each time.

use std::sync::Arc;

use super::tests::{DATA, check_gradient, model, points};
use crate::tape::{Evaluation, Evaluator};

#[test]
fn pairs_of_draws_give_the_same_sums() {
    // A linear predictor of identity coordinates, one with a positive factor, and a look-up beside it.
    for predictor in ["a + dot(w, z)", "a + t * dot(w, z)", "c[g] + dot(w, z) - a * y"] {
        let text = format!(
            "{DATA}[data.blocks]\nz = [\"y\", \"p\", \"u\"]
[variables.a]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0
[variables.t]\ndistribution = \"half-normal\"\nsd = 1.0
[variables.c]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = \"a\"\nsd = \"t\"
[variables.w]\ndistribution = \"normal\"\ndimension = \"z\"\nmean = 0.0\nsd = 1.0
[variables.o]\nplates = [\"row\"]\ndistribution = \"poisson\"\nlog_rate = \"{predictor}\"\nobserved = \"k\"\n"
        );
        let model = model(&text);
        let n = model.program.dimension;
        for draws in [2, 6, 24] {
            let (centre, deviations) = (points(n, 1), points(n, draws / 2));
            let theta: Vec<f64> = (0..draws * n)
                .map(|i| {
                    let (draw, k) = (i / n, i % n);
                    let d = 0.5 * deviations[draw / 2 * n + (k * 7 + 3) % n];
                    centre[k] + if draw % 2 == 0 { d } else { -d }
                })
                .collect();
            let evaluator = Evaluator::new(Arc::clone(&model.program));
            let (mut each, mut paired) = (Evaluation::default(), Evaluation::default());
            evaluator.evaluate(&theta, draws, true, &mut each);
            evaluator.evaluate_pairs(&theta, draws, 0..model.program.num_rows, 1.0, &mut paired);
            for (a, b) in each.values.iter().zip(&paired.values) {
                assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "{predictor}");
            }
            for k in 0..n {
                let of = |g: &[f64], s: usize| g[s * n + k];
                let sum = |g: &[f64]| (0..draws).map(|s| of(g, s)).sum::<f64>();
                let (a, b) = (sum(&each.gradients), sum(&paired.gradients));
                assert!((a - b).abs() < 1e-11 * (1.0 + a.abs()), "{predictor} {k}: {a} {b}");
                for p in 0..draws / 2 {
                    let half = |g: &[f64]| of(g, 2 * p) - of(g, 2 * p + 1);
                    let (a, b) = (half(&each.gradients), half(&paired.gradients));
                    assert!((a - b).abs() < 1e-11 * (1.0 + a.abs()), "{predictor} {k} pair {p}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn equal_rows_are_counted() {
    let rows = 60;
    let values = |f: &dyn Fn(usize) -> String| (0..rows).map(f).collect::<Vec<_>>().join(", ");
    let (y, g) = (values(&|r| (r * r % 3 % 2).to_string()), values(&|r| format!("\"{}\"", ["p", "q"][r / 7 % 2])));
    let text = format!(
        "[data.values]\ny = [{y}]\ng = [{g}]\n[plates]\nrow = \"rows\"\ngroup = {{ levels = \"g\" }}
[variables.rate]\nplates = [\"group\"]\ndistribution = \"beta\"\nalpha = 2.0\nbeta = 3.0
[variables.o]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"rate[g]\"\nobserved = \"y\"\n"
    );
    let model = model(&text);
    // Nothing is left to do for each row.
    assert!(model.program.local.is_empty());
    let out = check_gradient(&text);
    let theta = points(2, 5);
    for draw in 0..5 {
        // rate = logistic θ, with log density 12 r (1 − r)² and Jacobian r (1 − r).
        let rate = [0, 1].map(|i| 1.0 / (1.0 + (-theta[draw * 2 + i]).exp()));
        let prior: f64 = rate.iter().map(|r| (12.0 * r * r * (1.0 - r).powi(3)).ln()).sum();
        let likelihood: f64 = (0..rows)
            .map(|r| if r * r % 3 % 2 == 1 { rate[r / 7 % 2].ln() } else { (1.0 - rate[r / 7 % 2]).ln() })
            .sum();
        assert!((out.values[draw] - prior - likelihood).abs() < 1e-10, "{} {}", out.values[draw], prior + likelihood);
    }
}

#[test]
fn gaussian_mixtures_of_data_rows() {
    let text = "[data.values]\nu = [0.3, -1.4, 2.1, 0.9, -0.7, 1.6, 0.1]\nv = [1.3, 0.4, -1.1, 0.2, 0.8, -0.5, 2.0]
[data.blocks]\nx = [\"u\", \"v\"]\n[plates]\nrow = \"rows\"\nk = 3
[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = 2.0
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"
[variables.c]\nplates = [\"k\"]\ndistribution = \"normal-wishart\"\ndimension = \"x\"\nmean = 0.0\nmean_precision = 1.0
degrees_of_freedom = 3.0\nscale = [[1.0, 0.2], [0.2, 1.5]]
[variables.o]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"x\"\nparameters = \"c[z]\"\nobserved = \"x\"\n";
    let model = model(text);
    let rows = format!("{:?}", model.program.local);
    assert!(rows.contains("GaussianRows") && !rows.contains("QuadraticForm"), "{rows}");
    check_gradient(text);
}

#[test]
fn sufficient_statistics_give_the_density_of_every_cell() {
    // The same mixture with its columns as one variable, summed by statistics and matrix products, and as four, cell by cell.
    let (rows, columns, components) = (40, 4, 6);
    let number = |r: usize, c: usize| ((r * 17 + c * 29 + 5) as f64 * 0.754_877_666).fract();
    let count = |r: usize, c: usize| (number(r, c) * 6.0).floor();
    let missing = |r: usize, c: usize| (r * 3 + c) % 11 == 4;
    type Cell<'a> = &'a dyn Fn(usize, usize) -> f64;
    let binary: Cell = &|r, c| f64::from(u8::from(number(r, c) > 0.4));
    type Case<'a> = (&'a str, Cell<'a>, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case; 10] = [
        ("bernoulli", binary, &[("p", "beta")], "probability = \"p[z]\""),
        ("bernoulli", binary, &[("p", "normal")], "logit = \"p[z]\""),
        ("binomial", &count, &[("p", "beta")], "trials = 7\nprobability = \"p[z]\""),
        ("binomial", &count, &[("p", "normal")], "trials = 7\nlogit = \"p[z]\""),
        ("poisson", &count, &[("p", "gamma")], "rate = \"p[z]\""),
        ("poisson", &count, &[("p", "normal")], "log_rate = \"p[z]\""),
        ("exponential", &number, &[("p", "gamma")], "rate = \"p[z]\""),
        ("gamma", &number, &[("p", "gamma"), ("q", "gamma")], "shape = \"p[z]\"\nrate = \"q[z]\""),
        ("beta", &number, &[("p", "gamma"), ("q", "gamma")], "alpha = \"p[z]\"\nbeta = \"q[z]\""),
        ("inverse-gamma", &number, &[("p", "gamma"), ("q", "gamma")], "shape = \"p[z]\"\nscale = \"q[z]\""),
    ];
    for with_missing in [false, true] {
        for (distribution, cell, parameters, slots) in &cases {
            let column = |c: usize| {
                let cells = (0..rows).map(|r| match with_missing && missing(r, c) {
                    true => "nan".to_owned(),
                    false => format!("{:?}", cell(r, c)),
                });
                format!("x{c} = [{}]\n", cells.collect::<Vec<_>>().join(", "))
            };
            let data: String = (0..columns).map(column).collect();
            let head = format!(
                "[data.values]\n{data}[data.blocks]\nx = \"x*\"
[plates]\nrow = \"rows\"\ncomponent = {components}\ncolumn = {{ columns = \"x\" }}
[variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"component\"\nconcentration = 1.5
[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"\n"
            );
            let prior = |kind: &str| match kind {
                "beta" => "alpha = 2.0\nbeta = 3.0",
                "gamma" => "shape = 2.0\nrate = 1.5",
                _ => "mean = 0.0\nsd = 1.0",
            };
            let (mut joined, mut apart) = (head.clone(), head);
            for (name, kind) in *parameters {
                let prior = prior(kind);
                joined += &format!(
                    "[variables.{name}]\nplates = [\"component\", \"column\"]\ndistribution = \"{kind}\"\n{prior}\n"
                );
                for c in 0..columns {
                    apart += &format!(
                        "[variables.{name}{c}]\nplates = [\"component\"]\ndistribution = \"{kind}\"\n{prior}\n"
                    );
                }
            }
            joined += &format!(
                "[variables.o]\nplates = [\"row\", \"column\"]\ndistribution = \"{distribution}\"\n{slots}\nobserved = \"x\"\n"
            );
            for c in 0..columns {
                let slots = slots.replace("[z]", &format!("{c}[z]"));
                apart += &format!(
                    "[variables.o{c}]\nplates = [\"row\"]\ndistribution = \"{distribution}\"\n{slots}\nobserved = \"x{c}\"\n"
                );
            }
            let out = check_gradient(&joined);
            let (joined, apart) = (model(&joined), model(&apart));
            let operations = format!("{:?}", joined.program.local);
            assert!(
                !operations.contains("ScalarDensity") && operations.contains("Dot"),
                "{distribution}: {operations}"
            );
            let n = joined.program.dimension;
            let theta = points(n, 5);
            let first = components - 1;
            let mut ordered = theta.clone();
            for (draw, p) in (0..5).flat_map(|d| (0..parameters.len()).map(move |p| (d, p))) {
                for (k, c) in (0..components).flat_map(|k| (0..columns).map(move |c| (k, c))) {
                    let block = draw * n + first + p * components * columns;
                    ordered[block + c * components + k] = theta[block + k * columns + c];
                }
            }
            let mut wanted = Evaluation::default();
            Evaluator::new(Arc::clone(&apart.program)).evaluate(&ordered, 5, true, &mut wanted);
            for (a, b) in out.values.iter().zip(&wanted.values) {
                assert!((a - b).abs() < 1e-11 * (1.0 + b.abs()), "{distribution} {slots}: {a} {b}");
            }
        }
    }
}

#[test]
fn data_without_gates_are_their_sufficient_statistics() {
    let text = "[data.values]\np = [0.3, 0.4, 1.1, 0.9, 1.2, 0.6]\nu = [0.3, 0.4, 0.1, 0.9, 0.2, 0.6]
often = [1, 2, 1, 3, 1, 1]\n[data]\ncounts = \"often\"\n[data.blocks]\nw = [\"p\", \"u\"]
[plates]\nrow = \"rows\"\ncolumn = { columns = \"w\" }
[variables.a]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.b]\nplates = [\"column\"]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0
[variables.o]\nplates = [\"row\", \"column\"]\ndistribution = \"gamma\"\nshape = \"a\"\nrate = \"b\"\nobserved = \"w\"\n";
    assert!(model(text).program.local.is_empty());
    let out = check_gradient(text);
    let theta = points(3, 5);
    let cells = [[0.3, 0.4, 1.1, 0.9, 1.2, 0.6], [0.3, 0.4, 0.1, 0.9, 0.2, 0.6]];
    for draw in 0..5 {
        let [a, b, c] = [0, 1, 2].map(|i| theta[draw * 3 + i].exp());
        // Gamma(2, 1) with the Jacobian of exp.
        let prior: f64 = [a, b, c].iter().map(|x| 2.0 * x.ln() - x).sum();
        let density =
            |x: f64, rate: f64| a * rate.ln() - vi_families::special::ln_gamma(a) + (a - 1.0) * x.ln() - rate * x;
        let likelihood: f64 = (0..6)
            .map(|r| [1.0, 2.0, 1.0, 3.0, 1.0, 1.0][r] * (density(cells[0][r], b) + density(cells[1][r], c)))
            .sum();
        assert!((out.values[draw] - prior - likelihood).abs() < 1e-11, "{} {}", out.values[draw], prior + likelihood);
    }
}
