//! The textbook comparison of gradient estimators: mean and variance of each along the way to the optimum.

use vi_model::graph::Graph;
use vi_model::inference::{ControlVariate, GradientEstimator};
use vi_run::executor::{Algorithm, Restart};
use vi_run::seed::derive_seed;

use super::estimator::{Batch, Estimator, Scratch};
use super::gaussian::{Gaussian, Root};
use super::local_terms::LocalTerms;
use super::noise;
use super::objective::{Chart, MeanScale};
use super::repeat::repeated;
use super::run::search_settings;
use super::search::Search;
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::Evaluator;

/// One estimator at one place.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `start`, `midway` or `optimum`.
    pub place: &'static str,
    /// The estimator's name.
    pub estimator: &'static str,
    /// Mean over repetitions of each parameter's gradient.
    pub mean: Vec<f64>,
    /// Variance over repetitions of each parameter's gradient with the draws of one step.
    pub variance: Vec<f64>,
    /// Largest |t| of the difference to the first estimator's mean over the parameters.
    pub largest_t: f64,
}

/// The estimators that are compared, the reparameterised first; the last field tells whether each coordinate's gradient uses
/// only the terms that its variable touches (under mean field).
pub(crate) const ESTIMATORS: [(&str, GradientEstimator, ControlVariate, bool); 7] = [
    ("reparameterization", GradientEstimator::Reparameterization, ControlVariate::None, false),
    ("sticking-the-landing", GradientEstimator::StickingTheLanding, ControlVariate::None, false),
    ("score, own terms, leave-one-out", GradientEstimator::ScoreFunction, ControlVariate::LeaveOneOut, true),
    ("score, own terms, optimal", GradientEstimator::ScoreFunction, ControlVariate::Optimal, true),
    ("score-function, leave-one-out", GradientEstimator::ScoreFunction, ControlVariate::LeaveOneOut, false),
    ("score-function, optimal", GradientEstimator::ScoreFunction, ControlVariate::Optimal, false),
    ("score-function, none", GradientEstimator::ScoreFunction, ControlVariate::None, false),
];

/// Compares all estimators with `draws` per step over `repetitions` steps, at the start, midway and at the optimum.
/// Gradients are with respect to the means and log standard deviations in units of the optimum's spread.
///
/// # Errors
/// Models that this engine cannot treat, and failures of the search.
pub(crate) fn compare(graph: &Graph, draws: usize, repetitions: usize) -> Result<Vec<Row>, SgviError> {
    let repeated = repeated(graph)?;
    let graph = repeated.as_ref().map_or(graph, |r| &r.graph);
    let model = Model::new(graph)?;
    let evaluator = Evaluator::new(std::sync::Arc::clone(&model.program));
    let seed = graph.inference.seed.unwrap_or(0);
    let settings = search_settings(&graph.inference, Restart { index: 1, seed });
    let mut search = Search::new(&model, &evaluator, settings)?;
    let start = search.gaussian();
    let mut path = vec![start];
    for _ in 0..2000 {
        let progress = search.step()?;
        path.push(search.gaussian());
        if progress.converged == Some(true) {
            break;
        }
    }
    let optimum = search.whitened()?;
    let end = path.last().cloned().unwrap_or_else(|| optimum.origin.clone());
    let midway = path.iter().find(|q| closer_than_half(&path[0], q, &end)).unwrap_or(&path[0]).clone();
    let batch = Batch { rows: 0..model.program.num_rows, scale: 1.0 };
    let local_terms = std::sync::Arc::new(LocalTerms::new(graph, &model)?);
    let mut rows = Vec::new();
    for (place, q) in [("start", path[0].clone()), ("midway", midway), ("optimum", end)] {
        let chart = Chart {
            mean_scale: MeanScale::Diagonal(super::curvature::scales(&q, &model.start_scale)),
            origin: q,
            blocks: optimum.blocks.clone(),
        };
        let x = chart.start();
        let mut first: Option<(Vec<f64>, Vec<f64>)> = None;
        let diagonal = matches!(chart.origin.root, Root::Diagonal(_));
        for (at, (name, gradient, control_variate, own)) in ESTIMATORS.into_iter().enumerate() {
            if own && !diagonal {
                continue;
            }
            let estimator = Estimator { gradient, control_variate };
            let (mut mean, mut square) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut scratch = Scratch {
                local_terms: (own || gradient != GradientEstimator::ScoreFunction)
                    .then(|| std::sync::Arc::clone(&local_terms)),
                is_relaxed: model.is_relaxed,
                ..Scratch::default()
            };
            for r in 0..repetitions {
                let seed = derive_seed(seed, 40_000_000 + (at * repetitions + r) as u64);
                scratch.seed = derive_seed(seed, 1);
                let noise = noise::independent(seed, draws, chart.origin.noise_dimension());
                let g = estimator.gradient(&evaluator, &chart, &x, &noise, draws, &batch, &mut scratch);
                for i in 0..x.len() {
                    let step = g[i] - mean[i];
                    mean[i] += step / (r as f64 + 1.0);
                    square[i] += step * (g[i] - mean[i]);
                }
            }
            let variance: Vec<f64> = square.iter().map(|s| s / (repetitions as f64 - 1.0).max(1.0)).collect();
            let largest_t = match &first {
                None => 0.0,
                Some((m, v)) => (0..x.len())
                    .map(|i| {
                        let error = ((v[i] + variance[i]) / repetitions as f64).sqrt();
                        let difference = (mean[i] - m[i]).abs();
                        if difference <= 1e-9 * (1.0 + m[i].abs()) { 0.0 } else { difference / error.max(1e-300) }
                    })
                    .fold(0.0, f64::max),
            };
            first.get_or_insert_with(|| (mean.clone(), variance.clone()));
            rows.push(Row { place, estimator: name, mean, variance, largest_t });
        }
    }
    Ok(rows)
}

/// Whether a mean is closer to the end than half the way from the start, in units of the end's spread.
fn closer_than_half(start: &Gaussian, q: &Gaussian, end: &Gaussian) -> bool {
    let variances = end.variances();
    let distance = |a: &Gaussian| -> f64 {
        end.free.iter().zip(&variances).map(|(&c, v)| (a.mean[c] - end.mean[c]).powi(2) / v).sum::<f64>()
    };
    4.0 * distance(q) <= distance(start)
}
