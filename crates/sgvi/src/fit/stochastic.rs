//! Stochastic steps with fresh draws (and batches of rows) in coordinates whitened by a short deterministic search, with
//! Polyak averaging (Ruppert 1988; Polyak & Juditsky 1992) and a stop rule that knows its Monte Carlo error.

use std::sync::Arc;

use vi_model::inference::{ControlVariate, GradientEstimator};
use vi_run::executor::{Algorithm, CheckpointError, Decoder, Encoder, Progress, Resumable};
use vi_run::seed::derive_seed;

use super::estimator::{Batch, Scratch};
use super::gaussian::Gaussian;
use super::local_terms::LocalTerms;
use super::noise;
use super::objective::Chart;
use super::search::{Search, SearchSettings};
use super::steps::{Rule, StochasticSettings};
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::Evaluator;

/// The stochastic optimiser; each step draws afresh.
#[derive(Debug)]
pub(crate) struct Stochastic<'a> {
    evaluator: &'a Evaluator,
    settings: StochasticSettings,
    chart: Chart,
    x: Vec<f64>,
    average: Vec<f64>,
    averaged: f64,
    first: Vec<f64>,
    second: Vec<f64>,
    origin: Vec<f64>,
    distance: f64,
    weighted: f64,
    step: usize,
    elbo: f64,
    elbo_square: f64,
    elbo_weight: f64,
    window: Vec<f64>,
    windows: Vec<(f64, f64)>,
    scratch: Scratch,
    /// Variance of a coordinate's gradient by the score function without a baseline, E[f²]/draws for f = log p − log q with
    /// scores of unit variance; 0 for other estimators.
    noise_of_score: f64,
    /// A block of standard normals and its number.
    block: (usize, Vec<f64>),
    /// The order of the blocks of rows in a pass, and its number.
    order: (usize, Vec<usize>),
}

/// Draws over which sample moments are matched.
const BLOCK: usize = 1024;
/// Variance of the averaged means that is aimed at, in units of the posterior's, and the steps spent on it at most.
const AVERAGED_NOISE: f64 = 5e-3;
const MOST_FOR_NOISE: usize = 20_000;
/// Variance of the path around its average that a step may leave behind.
const PATH_NOISE: f64 = 0.05;

impl<'a> Stochastic<'a> {
    /// Starts from a short deterministic search, whose scales whiten the steps.
    ///
    /// # Errors
    /// As the search's.
    pub(crate) fn new(
        model: &'a Model,
        evaluator: &'a Evaluator,
        settings: StochasticSettings,
    ) -> Result<Self, SgviError> {
        let mut search = Search::new(model, evaluator, SearchSettings { draws: Some(0), ..settings.search.clone() })?;
        for _ in 0..400 {
            if search.step()?.converged == Some(true) {
                break;
            }
        }
        let chart = search.whitened()?;
        let x = chart.start();
        let n = x.len();
        Ok(Self {
            evaluator,
            settings,
            average: x.clone(),
            averaged: 0.0,
            first: vec![0.0; n],
            second: vec![0.0; n],
            origin: x.clone(),
            distance: 1e-3,
            weighted: 1e-12,
            step: 0,
            elbo: 0.0,
            elbo_square: 0.0,
            elbo_weight: 0.0,
            window: Vec::new(),
            windows: Vec::new(),
            scratch: Scratch { is_relaxed: model.is_relaxed, ..Scratch::default() },
            noise_of_score: 0.0,
            block: (0, Vec::new()),
            order: (0, Vec::new()),
            chart,
            x,
        })
    }

    /// Gives the score function the terms of each coordinate, so that it leaves out all others.
    pub(crate) fn with_local_terms(mut self, terms: Option<Arc<LocalTerms>>) -> Self {
        self.scratch.local_terms = terms;
        self
    }

    /// The averaged approximation.
    pub(crate) fn gaussian(&self) -> Gaussian {
        self.chart.gaussian(if self.averaged > 0.0 { &self.average } else { &self.x })
    }

    /// Steps that are made at least: enough for 20 000 draws, but not more than four fifths of the limit.
    fn least(&self) -> usize {
        let enough = (20_000 / self.settings.draws).max(4 * self.settings.window).max(self.many_for_noise());
        enough.min(self.settings.max_iterations * 4 / 5).max(1)
    }

    /// Steps after which the averaged noise of a score function without a baseline is small beside the posterior's spread.
    fn many_for_noise(&self) -> usize {
        ((self.noise_of_score / AVERAGED_NOISE) as usize).min(MOST_FOR_NOISE)
    }

    /// Standard normals of this step: for path gradients from a block whose sample moments are matched over many steps,
    /// which removes most of the noise of the averaged path; independent for the score function, whose baseline needs that.
    fn noise(&mut self) -> Vec<f64> {
        let (draws, w) = (self.settings.draws, self.chart.origin.noise_dimension());
        if self.settings.estimator.gradient == GradientEstimator::ScoreFunction {
            let seed = derive_seed(self.settings.search.seed, 10_000_000 + self.step as u64);
            return noise::independent(seed, draws, w);
        }
        let steps = 2 * (BLOCK.max(8 * w).div_ceil(2 * draws));
        let (block, at) = (self.step / steps, self.step % steps);
        if self.block.0 != block || self.block.1.is_empty() {
            let seed = derive_seed(self.settings.search.seed, 10_000_000 + block as u64);
            self.block = (block, noise::matched(seed, steps * draws, w));
        }
        self.block.1[at * draws * w..(at + 1) * draws * w].to_vec()
    }

    fn batch(&mut self) -> Batch {
        let n = self.evaluator.program().num_rows;
        let Some(size) = self.settings.batch_size.filter(|b| *b < n) else { return Batch { rows: 0..n, scale: 1.0 } };
        let count = n.div_ceil(size);
        // One pass visits every block of the shuffled rows once, in an order of its own.
        let (pass, at) = (self.step / count, self.step % count);
        if self.order.0 != pass || self.order.1.is_empty() {
            let seed = derive_seed(self.settings.search.seed, 7_000_000 + pass as u64);
            self.order = (pass, crate::lower::permutation(count, seed));
        }
        let order = &self.order.1;
        let start = order[at] * size;
        let rows = start..(start + size).min(n);
        // Every batch is as likely as any other, so each stands for as many as there are, a shorter last one too.
        Batch { scale: count as f64, rows }
    }

    fn advance(&mut self, mut gradient: Vec<f64>) {
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if let Some(most) = self.settings.clip.filter(|most| norm > *most) {
            gradient.iter_mut().for_each(|g| *g *= most / norm);
        }
        let gradient = gradient.as_slice();
        let t = self.step as f64;
        let free = self.chart.origin.free.len();
        let n = self.chart.origin.mean.len();
        match self.settings.rule {
            Rule::Natural => {
                // Curvature at the whitened origin: one for means and off-diagonals, two for log scales.
                let draws = self.settings.draws as f64;
                let slow = if self.settings.estimator.gradient == GradientEstimator::ScoreFunction { 4.0 } else { 1.0 };
                let calm = 2.0 * PATH_NOISE / self.noise_of_score.max(f64::MIN_POSITIVE);
                let first = (draws / (2.0 * slow * (free as f64 + 4.0))).min(0.25).min(calm);
                let rate = first / (1.0 + first * t * 0.2).powf(0.7);
                for (i, (x, g)) in self.x.iter_mut().zip(gradient).enumerate() {
                    let fisher = if (n..n + free).contains(&i) { 2.0 } else { 1.0 };
                    *x += (rate * g / fisher).clamp(-0.5, 0.5);
                }
            }
            Rule::Sgd { rate, momentum } => {
                let plain = 1.0 / (1.0 + 0.01 * t).powf(0.6);
                let rate = rate * self.settings.fall.map_or(plain, |fall| fall.share(t, self.settings.max_iterations));
                for ((x, velocity), g) in self.x.iter_mut().zip(&mut self.first).zip(gradient) {
                    *velocity = momentum * *velocity + rate * g;
                    *x += velocity.clamp(-0.5, 0.5);
                }
            }
            Rule::Adam { rate } => {
                let plain = 1.0 / (1.0 + t / self.least() as f64).sqrt();
                let rate = rate * self.settings.fall.map_or(plain, |fall| fall.share(t, self.settings.max_iterations));
                let (b1, b2) = (0.9f64, 0.999f64);
                let (c1, c2) = (1.0 - b1.powf(t + 1.0), 1.0 - b2.powf(t + 1.0));
                let moments = self.first.iter_mut().zip(&mut self.second);
                for ((x, (first, second)), g) in self.x.iter_mut().zip(moments).zip(gradient) {
                    *first = b1 * *first + (1.0 - b1) * g;
                    *second = b2 * *second + (1.0 - b2) * g * g;
                    *x += rate * (*first / c1) / ((*second / c2).sqrt() + 1e-8);
                }
            }
            Rule::Dowg => {
                let square: f64 = gradient.iter().map(|g| g * g).sum();
                let distance: f64 = self.x.iter().zip(&self.origin).map(|(x, o)| (x - o).powi(2)).sum::<f64>().sqrt();
                self.distance = self.distance.max(distance);
                self.weighted += self.distance * self.distance * square;
                let rate = self.distance * self.distance / self.weighted.sqrt();
                self.x.iter_mut().zip(gradient).for_each(|(x, g)| *x += rate * g);
            }
        }
        // Averages the later half of the path: weights grow with the step.
        let weight = (t + 1.0).powi(2);
        self.averaged += weight;
        let share = weight / self.averaged;
        self.average.iter_mut().zip(&self.x).for_each(|(a, x)| *a += share * (x - *a));
    }

    /// The stop rule over windows of steps: no gain beyond the larger of tolerance × |ELBO| and its standard error.
    fn finished(&mut self, estimate: f64) -> bool {
        self.window.push(estimate);
        if self.window.len() < self.settings.window {
            return false;
        }
        let n = self.settings.window as f64;
        let mean = self.window.iter().sum::<f64>() / n;
        let variance = self.window.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / (n - 1.0) / n;
        self.window.clear();
        let last = self.windows.last().copied();
        self.windows.push((mean, variance));
        let Some((before, spread)) = last else { return false };
        let error = (variance + spread).sqrt();
        self.step + 1 >= self.least() && mean - before <= error.max(self.settings.search.tolerance * mean.abs())
    }
}

impl Algorithm for Stochastic<'_> {
    type Error = SgviError;

    fn step(&mut self) -> Result<Progress, SgviError> {
        let noise = self.noise();
        let batch = self.batch();
        self.scratch.seed = derive_seed(self.settings.search.seed, 2_000_000_000 + self.step as u64);
        let gradient = self.settings.estimator.gradient(
            self.evaluator,
            &self.chart,
            &self.x,
            &noise,
            self.settings.draws,
            &batch,
            &mut self.scratch,
        );
        let estimate = self.scratch.log_weights.iter().sum::<f64>() / self.settings.draws as f64;
        // A step from draws that fall where the log joint is not finite would say nothing.
        let usable = estimate.is_finite() && gradient.iter().all(|g| g.is_finite());
        let mut converged = false;
        if usable {
            let estimator = self.settings.estimator;
            let plain_score = estimator.gradient == GradientEstimator::ScoreFunction
                && estimator.control_variate == ControlVariate::None;
            if plain_score && self.noise_of_score == 0.0 {
                let draws = self.settings.draws as f64;
                let squares: f64 = self.scratch.log_weights.iter().map(|f| f * f).sum();
                self.noise_of_score = squares / (draws * draws);
            }
            self.advance(gradient);
            let keep = 1.0 - 1.0 / (self.elbo_weight + 1.0).min(self.settings.window as f64);
            self.elbo = keep * self.elbo + (1.0 - keep) * estimate;
            self.elbo_square = keep * self.elbo_square + (1.0 - keep) * (estimate - self.elbo).powi(2);
            self.elbo_weight += 1.0;
            converged = self.finished(estimate);
        }
        self.step += 1;
        Ok(Progress {
            elbo: if self.elbo_weight > 0.0 { self.elbo } else { f64::MIN },
            standard_error: Some((self.elbo_square / self.elbo_weight.clamp(1.0, self.settings.window as f64)).sqrt()),
            converged: Some(converged),
            extra: Vec::new(),
        })
    }
}

impl Resumable for Stochastic<'_> {
    fn save(&self, encoder: &mut Encoder) {
        for values in [&self.x, &self.average, &self.first, &self.second, &self.window] {
            encoder.f64_slice(values);
        }
        for value in [
            self.averaged,
            self.distance,
            self.weighted,
            self.elbo,
            self.elbo_square,
            self.elbo_weight,
            self.noise_of_score,
        ] {
            encoder.f64(value);
        }
        encoder.usize(self.step);
        encoder.f64_slice(&self.windows.iter().flat_map(|w| [w.0, w.1]).collect::<Vec<_>>());
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        for values in [&mut self.x, &mut self.average, &mut self.first, &mut self.second, &mut self.window] {
            *values = decoder.f64_vec()?;
        }
        for value in [
            &mut self.averaged,
            &mut self.distance,
            &mut self.weighted,
            &mut self.elbo,
            &mut self.elbo_square,
            &mut self.elbo_weight,
            &mut self.noise_of_score,
        ] {
            *value = decoder.f64()?;
        }
        self.step = decoder.usize()?;
        self.windows = decoder.f64_vec()?.chunks(2).map(|w| (w[0], w[1])).collect();
        Ok(())
    }
}
