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
