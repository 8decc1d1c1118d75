//! Fits with factors of discrete variables: optima and gradients against enumeration, estimators against each other.

use std::path::Path;
use std::sync::Arc;

use vi_model::graph::Graph;
use vi_model::inference::{ControlVariate, GradientEstimator};

use super::categories::{entropy, place_probabilities};
use super::estimator::{Batch, Estimator, Scratch};
use super::gaussian::{Gaussian, Root};
use super::local_terms::LocalTerms;
use super::noise;
use super::objective::{Chart, MeanScale, Objective};
use super::run::fit;
use crate::fitted::FitOptions;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

fn graph(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Pairs of four nodes with known rates between blocks: nothing continuous.
const TIES: &str = "[data.values]\nfrom = [0, 0, 0, 1, 1, 2]\nto = [1, 2, 3, 2, 3, 3]\ny = [1, 0, 0, 0, 1, 1]
share = { axes = [\"block\"], values = [0.4, 0.6] }
rate = { axes = [\"block\", \"block\"], values = [[0.8, 0.15], [0.2, 0.7]] }
[plates]\nrow = \"rows\"\nnode = 4\nblock = 2
[variables.z]\nplates = [\"node\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\nmarginalized = false
[variables.x]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"rate[z[from], z[to]]\"\nobserved = \"y\"\n";

/// log p(x, z) of [`TIES`].
fn log_joint(z: &[usize; 4]) -> f64 {
    let rate = [[0.8f64, 0.15], [0.2, 0.7]];
    let pairs = [(0, 1, 1), (0, 2, 0), (0, 3, 0), (1, 2, 0), (1, 3, 1), (2, 3, 1)];
    let prior: f64 = z.iter().map(|k| [0.4f64, 0.6][*k].ln()).sum();
    let ties = pairs.iter().map(|(a, b, y)| {
        let p = rate[z[*a]][z[*b]];
        if *y == 1 { p.ln() } else { (1.0 - p).ln() }
    });
    prior + ties.sum::<f64>()
}

fn values(c: usize) -> [usize; 4] {
    std::array::from_fn(|e| c >> e & 1)
}

/// The best mean-field ELBO of [`TIES`]: coordinate ascent over enumerated expectations from every corner.
fn best() -> f64 {
    let mut best = f64::NEG_INFINITY;
    for corner in 0..16 {
        let mut r = values(corner).map(|k| if k == 1 { 0.9 } else { 0.1 });
        let chance = |r: &[f64; 4], z: &[usize; 4], skip: usize| -> f64 {
            (0..4).filter(|e| *e != skip).map(|e| if z[e] == 1 { r[e] } else { 1.0 - r[e] }).product()
        };
        for _ in 0..500 {
            for e in 0..4 {
                let mut expected = [0.0; 2];
                for z in (0..16).map(values) {
                    expected[z[e]] += chance(&r, &z, e) * log_joint(&z);
                }
                r[e] = 1.0 / (1.0 + (expected[0] - expected[1]).exp());
            }
        }
        let mean: f64 = (0..16).map(values).map(|z| chance(&r, &z, 9) * log_joint(&z)).sum();
        let own: f64 = r.iter().map(|r| entropy(&[*r, 1.0 - r])).sum();
        best = best.max(mean + own);
    }
    best
}

#[test]
fn the_best_factors_are_found() {
    let fitted = fit(&graph(&format!("{TIES}[inference]\nrestarts = 5\n")), FitOptions::default()).unwrap();
    let wanted = best();
    let record = &fitted.record;
    assert!((record.elbo - wanted).abs() < 1e-6, "{} {wanted}", record.elbo);
    let total: f64 = record.elbo_terms.values().sum();
    assert!((total - record.elbo).abs() < 1e-10);
    let evidence = (0..16).map(|c| log_joint(&values(c)).exp()).sum::<f64>().ln();
    assert!(record.elbo < evidence);
    // Drawn jointly, the weights estimate the evidence, which no factor knows.
    let found = |key: &str| record.extra[key].as_f64().unwrap();
    assert!((found("log_evidence") - evidence).abs() < 5.0 * found("log_evidence_standard_error"), "{evidence}");
    let entry = &record.posterior["z"];
    assert_eq!(entry.distribution.as_deref(), Some("categorical"));
    assert_eq!(entry.parameters["probabilities"].shape(), [4, 2]);
    // Where the values are summed out instead, the ELBO is the evidence.
    let exact = fit(&graph(&TIES.replace("marginalized = false\n", "")), FitOptions::default()).unwrap();
    assert!((exact.record.elbo - evidence).abs() < 1e-10);
}

/// Latent rates and shares beside the blocks.
fn with_rates() -> String {
    TIES.replace("share = { axes = [\"block\"], values = [0.4, 0.6] }\n", "")
        .replace("rate = { axes = [\"block\", \"block\"], values = [[0.8, 0.15], [0.2, 0.7]] }\n", "")
        + "[variables.share]\ndistribution = \"dirichlet\"\ndimension = \"block\"\nconcentration = 1.0
[variables.rate]\nplates = [\"block\", \"block\"]\ndistribution = \"beta\"\nalpha = 1.5\nbeta = 1.0\n"
}

/// A chart away from any optimum, its logits included.
fn chart(model: &Model) -> Chart {
    let n = model.program.dimension;
    let mut is_weight = vec![false; n];
    model.categories.iter().for_each(|c| is_weight[c.range()].fill(true));
    let free: Vec<usize> = (0..n).filter(|i| !is_weight[*i]).collect();
    let origin = Gaussian {
        mean: (0..n).map(|i| 0.6 * (i as f64 * 1.7).sin()).collect(),
        root: Root::Diagonal(free.iter().map(|i| 0.4 + 0.1 * (*i as f64).cos()).collect()),
        free,
        categories: Arc::clone(&model.categories),
    };
    Chart { origin, mean_scale: MeanScale::Diagonal((0..n).map(|i| 1.0 + 0.1 * i as f64).collect()), blocks: None }
}

#[test]
fn the_gradient_is_that_of_the_elbo() {
    let model = Model::new(&graph(&with_rates())).unwrap();
    let evaluator = Evaluator::new(Arc::clone(&model.program));
    let chart = chart(&model);
    let draws = 16;
    let noise = noise::matched(5, draws, chart.origin.noise_dimension());
    let mut objective = Objective::new(&evaluator, noise, draws);
    let x: Vec<f64> = chart.start().iter().enumerate().map(|(i, x)| x + 0.1 * (i as f64).cos()).collect();
    let (mut gradient, mut unused) = (Vec::new(), Vec::new());
    objective.negative_elbo(&chart, &x, &mut gradient);
    for i in 0..x.len() {
        let mut at = |step: f64| {
            let mut x = x.clone();
            x[i] += step;
            objective.negative_elbo(&chart, &x, &mut unused)
        };
        let wanted = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((gradient[i] - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{i}: {} {wanted}", gradient[i]);
    }
}

/// Mean and variance over repetitions of an estimator's gradient.
fn moments(
    model: &Model,
    estimator: Estimator,
    own: Option<Arc<LocalTerms>>,
    repetitions: u32,
) -> (Vec<f64>, Vec<f64>) {
    let evaluator = Evaluator::new(Arc::clone(&model.program));
    let chart = chart(model);
    let x = chart.start();
    let batch = Batch { rows: 0..model.program.num_rows, scale: 1.0 };
    let mut scratch = Scratch { local_terms: own, is_relaxed: model.is_relaxed, ..Scratch::default() };
    let (mut mean, mut square) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let draws = 10;
    for r in 0..repetitions {
        scratch.seed = u64::from(r) + 1_000_000;
        let noise = noise::independent(u64::from(r), draws, chart.origin.noise_dimension());
        let g = estimator.gradient(&evaluator, &chart, &x, &noise, draws, &batch, &mut scratch);
        for i in 0..x.len() {
            let step = g[i] - mean[i];
            mean[i] += step / f64::from(r + 1);
            square[i] += step * (g[i] - mean[i]);
        }
    }
    (mean, square.iter().map(|s| s / f64::from(repetitions)).collect())
}

#[test]
fn the_score_function_has_the_same_mean() {
    let graph = graph(&with_rates());
    let model = Model::new(&graph).unwrap();
    let own = Arc::new(LocalTerms::new(&graph, &model).unwrap());
    let repetitions = 4000;
    let path = Estimator { gradient: GradientEstimator::Reparameterization, control_variate: ControlVariate::None };
    let (exact, noise) = moments(&model, path, None, repetitions);
    let mut totals = Vec::new();
    for (control_variate, local) in [
        (ControlVariate::None, false),
        (ControlVariate::LeaveOneOut, false),
        (ControlVariate::Optimal, false),
        (ControlVariate::LeaveOneOut, true),
    ] {
        let estimator = Estimator { gradient: GradientEstimator::ScoreFunction, control_variate };
        let (mean, variance) = moments(&model, estimator, local.then(|| Arc::clone(&own)), repetitions);
        for i in 0..mean.len() {
            let error = ((variance[i] + noise[i]) / f64::from(repetitions)).sqrt();
            let difference = (mean[i] - exact[i]).abs();
            assert!(difference < 5.0 * error + 1e-12, "{control_variate:?} {local} {i}: {} {}", mean[i], exact[i]);
        }
        totals.push(variance.iter().sum::<f64>());
    }
    assert!(totals[1] < totals[0] && totals[2] < totals[0], "{totals:?}");
    // The expectation over discrete variables adds no noise at all.
    assert!(noise.iter().sum::<f64>() < 0.2 * totals[1], "{noise:?} {totals:?}");
}

/// Three causes of which each alone may suffice (a noisy or), too many to be summed out if there were more.
const CAUSES: &str = "[data.values]\na = [1, 0, 1, 1]\nb = [0, 1, 1, 0]\nc = [0, 0, 1, 1]\ny = [1, 0, 1, 1]
[data.blocks]\nexposure = [\"a\", \"b\", \"c\"]\n[plates]\nrow = \"rows\"
[variables.on]\nplates = [\"exposure\"]\ndistribution = \"bernoulli\"\nprobability = 0.4\nmarginalized = false
[variables.x]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"1 - exp(-(0.1 + 1.5 * dot(on, exposure)))\"\nobserved = \"y\"\n";

#[test]
fn drawn_values_have_the_gradient_of_the_elbo() {
    let model = Model::new(&graph(CAUSES)).unwrap();
    assert!(model.is_relaxed);
    let evaluator = Evaluator::new(Arc::clone(&model.program));
    // The ELBO by enumeration.
    let elbo = |logits: &[f64]| -> f64 {
        let mut r = logits.to_vec();
        place_probabilities(&model.categories, &mut r);
        let mut sum: f64 = r.chunks(2).map(entropy).sum();
        for z in 0..8usize {
            let mut theta = vec![0.0; 6];
            (0..3).for_each(|e| theta[2 * e + (z >> e & 1)] = 1.0);
            let chance: f64 = (0..3).map(|e| r[2 * e + (z >> e & 1)]).product();
            let mut out = Evaluation::default();
            evaluator.evaluate(&theta, 1, false, &mut out);
            sum += chance * out.values[0];
        }
        sum
    };
    let chart = chart(&model);
    let MeanScale::Diagonal(scale) = chart.mean_scale.clone() else { panic!("diagonal") };
    let wanted: Vec<f64> = (0..6)
        .map(|i| {
            let at = |step: f64| {
                let mut logits = chart.origin.mean.clone();
                logits[i] += step * scale[i];
                elbo(&logits)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        })
        .collect();
    let repetitions = 4000;
    let mut totals = Vec::new();
    for gradient in [GradientEstimator::Reparameterization, GradientEstimator::ScoreFunction] {
        let estimator = Estimator { gradient, control_variate: ControlVariate::LeaveOneOut };
        let (mean, variance) = moments(&model, estimator, None, repetitions);
        for i in 0..6 {
            let error = (variance[i] / f64::from(repetitions)).sqrt();
            assert!((mean[i] - wanted[i]).abs() < 5.0 * error + 1e-9, "{gradient:?} {i}: {} {}", mean[i], wanted[i]);
        }
        totals.push(variance.iter().sum::<f64>());
    }
    assert!(totals[0] < 0.5 * totals[1], "{totals:?}");
    // A run reaches the best of a grid over the three probabilities.
    let mut best = f64::NEG_INFINITY;
    for place in 0..41usize.pow(3) {
        let logit = |e: u32| (place / 41usize.pow(e) % 41) as f64 * 0.25 - 5.0;
        best = best.max(elbo(&[0.0, logit(0), 0.0, logit(1), 0.0, logit(2)]));
    }
    let fitted = fit(&graph(CAUSES), FitOptions::default()).unwrap();
    let (found, error) = (fitted.record.elbo, fitted.record.extra["elbo_standard_error"].as_f64().unwrap());
    assert!((found - best).abs() < 0.01 + 4.0 * error, "{found} {best}");
}

/// Indicators of several rows change at once: the same gradient as one after the other.
#[test]
fn elements_in_different_rows_change_at_once() {
    let text = CAUSES
        .replace("plates = [\"exposure\"]", "plates = [\"row\", \"exposure\"]")
        .replace("0.1 + 1.5 * dot", "0.1 + strength * dot")
        + "[variables.strength]\ndistribution = \"gamma\"\nshape = 3.0\nrate = 2.0\n";
    let graph = graph(&text);
    let model = Model::new(&graph).unwrap();
    let local = Arc::new(LocalTerms::new(&graph, &model).unwrap());
    assert_eq!((model.categories.len(), local.apart().len()), (12, 3));
    let path = Estimator { gradient: GradientEstimator::Reparameterization, control_variate: ControlVariate::None };
    let (one, _) = moments(&model, path, None, 3);
    let (all, _) = moments(&model, path, Some(local), 3);
    for i in 0..one.len() {
        assert!((one[i] - all[i]).abs() < 1e-9 * (1.0 + one[i].abs()), "{i}: {} {}", one[i], all[i]);
    }
}
