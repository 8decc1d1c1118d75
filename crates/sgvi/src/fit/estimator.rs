//! Estimators of the ELBO's gradient: reparameterised, sticking the landing, score function with control variates.

use nalgebra::{DMatrix, DVector};
use vi_model::inference::{ControlVariate, GradientEstimator};

use std::sync::Arc;

use super::categories::Category;
use super::gaussian::{Gaussian, Root, SharedBasis};
use super::local_terms::LocalTerms;
use super::noise;
use super::objective::{Chart, MeanScale, moments, no_moments};
use crate::tape::{Evaluation, Evaluator};

/// Numbers of points that are evaluated at a time.
const MOST_NUMBERS: usize = 1 << 20;

/// Which estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimator {
    /// The kind.
    pub gradient: GradientEstimator,
    /// The control variate of the score function.
    pub control_variate: ControlVariate,
}

/// Rows of a batch and how often each counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// The rows.
    pub rows: std::ops::Range<usize>,
    /// How many batches it stands for.
    pub scale: f64,
}

/// Buffers of one estimate.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) theta: Vec<f64>,
    pub(super) evaluation: Evaluation,
    /// log p − log q of each draw of the last estimate, or its expectation over discrete variables.
    pub log_weights: Vec<f64>,
    /// Whether the log joint holds only at values of discrete variables, so that they must be drawn; otherwise their
    /// expectation is exact.
    pub is_relaxed: bool,
    /// Seed of the values drawn.
    pub seed: u64,
    /// The terms of each coordinate: where they are given, the score function of a mean-field approximation leaves out what
    /// does not depend on a coordinate.
    pub local_terms: Option<Arc<LocalTerms>>,
}

impl Estimator {
    /// The gradient of the ELBO with respect to x, from `draws` standard normals.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn gradient(
        &self,
        evaluator: &Evaluator,
        chart: &Chart,
        x: &[f64],
        noise: &[f64],
        draws: usize,
        batch: &Batch,
        scratch: &mut Scratch,
    ) -> Vec<f64> {
        let q = chart.gaussian(x);
        let (n, k, w) = (q.mean.len(), q.free.len(), q.noise_dimension());
        scratch.theta.resize(draws * n, 0.0);
        q.transform(noise, &mut scratch.theta);
        let score = self.gradient == GradientEstimator::ScoreFunction;
        let sampled = !q.categories.is_empty() && (score || scratch.is_relaxed);
        let surprise_of_values = if sampled { q.draw_values(&mut scratch.theta, scratch.seed) } else { Vec::new() };
        let needs = !score || k < n;
        let (rows, scale, out) = (batch.rows.clone(), batch.scale, &mut scratch.evaluation);
        if !score && !sampled && noise::is_paired(noise, draws, w) {
            evaluator.evaluate_pairs(&scratch.theta, draws, rows, scale, out);
        } else {
            evaluator.evaluate_rows(&scratch.theta, draws, rows, scale, needs, out);
        }
        if sampled && !score {
            local_expectations(evaluator, &q, draws, batch, scratch);
        }
        let surprise = q.surprise(noise, draws);
        let m = if sampled { q.categories.len() } else { 0 };
        let entropy = if sampled { 0.0 } else { q.discrete_entropy() };
        scratch.log_weights.clear();
        scratch.log_weights.extend((0..draws).map(|s| {
            let own = surprise[s * k..(s + 1) * k].iter().chain(&surprise_of_values[s * m..(s + 1) * m]);
            scratch.evaluation.values[s] + own.sum::<f64>() + entropy
        }));
        match self.gradient {
            GradientEstimator::Reparameterization => {
                let (mean, root) = moments(&q, &scratch.evaluation.gradients, noise, draws);
                let mut out = chart.pull_back(x, &mean, &root, true);
                chart.with_categories(x, &mean, &mut out);
                out
            }
            GradientEstimator::StickingTheLanding => {
                // The path derivative: ∇ log p − ∇ log q at the draw, without the score of q (Roeder, Wu & Duvenaud 2017).
                for s in 0..draws {
                    let z = deviation(&q, &scratch.theta[s * n..(s + 1) * n]);
                    let solved = q.solve(&z);
                    for (i, &c) in q.free.iter().enumerate() {
                        scratch.evaluation.gradients[s * n + c] += solved[i];
                    }
                }
                let (mean, root) = moments(&q, &scratch.evaluation.gradients, noise, draws);
                let mut out = chart.pull_back(x, &mean, &root, false);
                chart.with_categories(x, &mean, &mut out);
                out
            }
            GradientEstimator::ScoreFunction => {
                let center = q.center();
                let scores: Vec<Vec<f64>> = (0..draws)
                    .map(|s| {
                        let theta = &scratch.theta[s * n..(s + 1) * n];
                        let (mut mean, root) = score_of(&q, theta, &noise[s * w..(s + 1) * w]);
                        // ∂ log q(z) / ∂ logits: the indicators of the values less their probabilities.
                        for c in q.categories.iter().filter(|c| c.known.is_none()).flat_map(Category::range) {
                            mean[c] = theta[c] - center[c];
                        }
                        chart.pull_back(x, &mean, &root, false)
                    })
                    .collect();
                let diagonal = matches!((&q.root, &chart.mean_scale), (Root::Diagonal(_), MeanScale::Diagonal(_)));
                // The free coordinates, then the elements of categorical factors by their first ones.
                let local = scratch.local_terms.as_ref().filter(|_| diagonal && batch.scale == 1.0).map(|local| {
                    let terms = &scratch.evaluation.terms;
                    let units: Vec<usize> =
                        q.free.iter().copied().chain(q.categories.iter().map(|c| c.offset)).collect();
                    let surprise: Vec<f64> = (0..draws)
                        .flat_map(|s| {
                            surprise[s * k..(s + 1) * k].iter().chain(&surprise_of_values[s * m..(s + 1) * m])
                        })
                        .copied()
                        .collect();
                    local.log_weights(&scratch.theta, &units, terms, &surprise, draws)
                });
                let mut out = match local {
                    // Parameters are the means of all coordinates, then the log spreads of the free ones.
                    Some(weights) => {
                        let mut place: Vec<Option<usize>> =
                            (0..n).map(|c| q.free.binary_search(&c).ok()).chain((0..k).map(Some)).collect();
                        for (e, category) in q.categories.iter().enumerate() {
                            place[category.range()].fill(Some(k + e));
                        }
                        let units = k + m;
                        combine(self.control_variate, |s, p| place[p].map_or(0.0, |i| weights[s * units + i]), &scores)
                    }
                    None => combine(self.control_variate, |s, _| scratch.log_weights[s], &scores),
                };
                if k < n {
                    // Point coordinates have no score: their gradient is the path's.
                    let mut mean = vec![0.0; n];
                    for g in scratch.evaluation.gradients.chunks(n) {
                        mean.iter_mut().zip(g).for_each(|(m, g)| *m += g / draws as f64);
                    }
                    for c in q.free.iter().copied().chain(q.categories.iter().flat_map(Category::range)) {
                        mean[c] = 0.0;
                    }
                    let zero = no_moments(&q);
                    let path = chart.pull_back(x, &mean, &zero, false);
                    out.iter_mut().zip(path).for_each(|(o, p)| *o += p);
                }
                out
            }
        }
    }
}

/// Puts, in the place of the derivative with respect to every weight, the log joint with that value of that element and the
/// other elements as drawn: its mean over draws is the expectation given that value (the local expectation gradient of Titsias
/// & Lázaro-Gredilla 2015). Elements that stand in no common cell change at once.
fn local_expectations(evaluator: &Evaluator, q: &Gaussian, draws: usize, batch: &Batch, scratch: &mut Scratch) {
    let n = q.mean.len();
    let mut open: Vec<Category> = q.categories.iter().filter(|c| c.known.is_none()).copied().collect();
    let local = scratch.local_terms.clone().filter(|_| batch.scale == 1.0);
    if let Some(local) = &local {
        for (size, first) in local.apart() {
            let unsurprising = vec![0.0; draws * first.len()];
            for k in 0..*size {
                let mut theta = scratch.theta.clone();
                for theta in theta.chunks_mut(n) {
                    for at in first {
                        theta[*at..at + size]
                            .iter_mut()
                            .enumerate()
                            .for_each(|(j, w)| *w = f64::from(u8::from(j == k)));
                    }
                }
                let values = local.log_weights(&theta, first, &[], &unsurprising, draws);
                for (s, values) in values.chunks(first.len().max(1)).enumerate() {
                    for (at, value) in first.iter().zip(values) {
                        scratch.evaluation.gradients[s * n + at + k] = *value;
                    }
                }
            }
        }
        let done: std::collections::HashSet<usize> =
            local.apart().iter().flat_map(|(_, first)| first.iter().copied()).collect();
        open.retain(|c| !done.contains(&c.offset));
    }
    let (mut points, mut places) = (Vec::new(), Vec::new());
    let mut out = Evaluation::default();
    let most = (MOST_NUMBERS / n.max(1)).max(1);
    let gradients = &mut scratch.evaluation.gradients;
    let mut evaluate = |points: &mut Vec<f64>, places: &mut Vec<usize>| {
        evaluator.evaluate_rows(points, places.len(), batch.rows.clone(), batch.scale, false, &mut out);
        places.iter().zip(&out.values).for_each(|(place, value)| gradients[*place] = *value);
        points.clear();
        places.clear();
    };
    for s in 0..draws {
        let theta = &scratch.theta[s * n..(s + 1) * n];
        for category in &open {
            for k in 0..category.size {
                let at = points.len() + category.offset;
                points.extend_from_slice(theta);
                points[at..at + category.size]
                    .iter_mut()
                    .enumerate()
                    .for_each(|(j, w)| *w = f64::from(u8::from(j == k)));
                places.push(s * n + category.offset + k);
                if places.len() == most {
                    evaluate(&mut points, &mut places);
                }
            }
        }
    }
    evaluate(&mut points, &mut places);
}

/// θ − mean over the free coordinates.
fn deviation(q: &Gaussian, theta: &[f64]) -> DVector<f64> {
    DVector::from_fn(q.free.len(), |i, _| theta[q.free[i]] - q.mean[q.free[i]])
}

/// ∂ log q / ∂ mean (all coordinates) and ∂ log q / ∂ root in the form of [`Chart::pull_back`].
fn score_of(q: &Gaussian, theta: &[f64], e: &[f64]) -> (Vec<f64>, DMatrix<f64>) {
    let k = q.free.len();
    let solved = q.solve(&deviation(q, theta));
    let mut mean = vec![0.0; q.mean.len()];
    for (i, &c) in q.free.iter().enumerate() {
        mean[c] = solved[i];
    }
    let root = match &q.root {
        Root::Diagonal(sd) => DMatrix::from_fn(k, 1, |i, _| (e[i] * e[i] - 1.0) / sd[i]),
        Root::Cholesky(l) => {
            // L⁻ᵀ (ε εᵀ − I), lower triangle.
            let inner = DMatrix::from_fn(k, k, |i, j| e[i] * e[j] - f64::from(u8::from(i == j)));
            let full = l.transpose().solve_upper_triangular(&inner).unwrap_or(inner);
            full.lower_triangle()
        }
        Root::LowRank { sd, u } => {
            let r = u.ncols();
            let basis = SharedBasis::new(sd, u);
            let shared = &basis.top * basis.bottom.transpose();
            let projected = u.transpose() * &solved;
            let mut root = DMatrix::zeros(k, 1 + r);
            for i in 0..k {
                let inverse = (1.0 - basis.top.row(i).norm_squared()) / (sd[i] * sd[i]);
                root[(i, 0)] = sd[i] * (solved[i] * solved[i] - inverse);
                for j in 0..r {
                    root[(i, 1 + j)] = solved[i] * projected[j] - shared[(i, j)] / sd[i];
                }
            }
            root
        }
    };
    (mean, root)
}

/// Averages (log weight − baseline) · score; `weight` is that of a draw for a parameter.
fn combine(control_variate: ControlVariate, weight: impl Fn(usize, usize) -> f64, scores: &[Vec<f64>]) -> Vec<f64> {
    let draws = scores.len();
    let n = scores.first().map_or(0, Vec::len);
    let mut out = vec![0.0; n];
    for (i, out) in out.iter_mut().enumerate() {
        let score = |s: usize| scores[s][i];
        // The constant that minimises the variance of each coordinate is E[f h²] / E[h²]; leave-one-out takes E[f]: both
        // from the other draws.
        let measure = |s: usize| match control_variate {
            ControlVariate::Optimal => score(s) * score(s),
            _ => 1.0,
        };
        let total: f64 = (0..draws).map(measure).sum();
        let weighted: f64 = (0..draws).map(|s| weight(s, i) * measure(s)).sum();
        for s in 0..draws {
            let (f, own) = (weight(s, i), measure(s));
            let rest = total - own;
            let baseline = match control_variate {
                ControlVariate::None => 0.0,
                _ if draws < 2 || rest <= 0.0 => 0.0,
                _ => (weighted - f * own) / rest,
            };
            *out += (f - baseline) * score(s) / draws as f64;
        }
    }
    out
}
