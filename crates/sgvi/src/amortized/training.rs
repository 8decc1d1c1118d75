//! The training of an amortised model as an algorithm that the executor drives: batches, schedules, convergence, recovery.

use super::bound::{Bound, Totals};
use super::model::AmortizedModel;
use super::scaling;
use super::search::{Ground, Search};
use super::settings::{Settings, StopRule, split_rows};
use super::trainer::{StepPlan, Trainer, evaluate};
use crate::error::SgviError;
use crate::network::aligned::Aligned;
use crate::network::noise::StepNoise;
use rand::seq::SliceRandom;
use std::collections::VecDeque;
use vi_run::executor::{Algorithm, Progress};
use vi_run::seed::derive_seed;

/// How often a run may step back to its last good state before it fails.
const MAX_RECOVERIES: u64 = 10;

/// Steps between the states that a run can step back to, at least.
const SNAPSHOT_EVERY: u64 = 100;

/// A run loses at most about this fraction of its steps when it steps back, as long as that is not more than this many times
/// [`SNAPSHOT_EVERY`].
const SNAPSHOT_SHARE: u64 = 10;

/// Streams of random numbers derived from the seed of a restart.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Parameters = 1,
    Batches = 3,
    Steps = 4,
    Evaluation = 5,
}

/// One evaluation during training, per row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Term {
    /// The step after which it was made.
    pub step: u64,
    /// Mean ELBO of the steps since the last one.
    pub elbo: f64,
    /// Mean of E_q[log p(x | z)].
    pub log_likelihood: f64,
    /// Mean of KL(q ‖ p).
    pub divergence: f64,
    /// Weight of the divergence in the objective.
    pub beta: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// ELBO of the held-out rows; not a number where none are.
    pub held_out: f64,
}

/// A state to step back to.
#[derive(Debug, Clone)]
struct Snapshot {
    parameters: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A training run.
#[derive(Debug)]
pub(crate) struct Training<'a> {
    model: &'a AmortizedModel,
    settings: &'a Settings,
    trainer: Trainer,
    /// Where the bound is in closed form and no optimiser is named.
    search: Option<Search>,
    stop: StopRule,
    /// What steps are multiplied by, where data are far from the unit scale.
    rates: Option<Vec<f32>>,
    seed: u64,
    /// Rows to train on.
    rows: Vec<u32>,
    /// Rows held out.
    held_out: Vec<u32>,
    weight: f64,
    /// The rows in the order of the current pass.
    order: Vec<u32>,
    order_of_pass: Option<u64>,
    step: u64,
    optimizer_step: u64,
    /// Where the cool-down began and how long it lasts.
    cool_down: Option<(u64, u64)>,
    converged_early: bool,
    window: VecDeque<f64>,
    last_elbo: f64,
    /// Moving mean of squared differences between neighbouring ELBOs of full batches.
    roughness: f64,
    snapshot: Snapshot,
    recoveries: u64,
    rate_factor: f64,
    sums: [f64; 4],
    terms: Vec<Term>,
    best_held_out: f64,
    best_parameters: Vec<f32>,
    evaluations_without_gain: usize,
    final_totals: Option<Totals>,
    final_global_terms: Vec<f64>,
    held_out_totals: Option<Totals>,
}

impl<'a> Training<'a> {
    /// A run at its start.
    #[must_use]
    pub(crate) fn new(model: &'a AmortizedModel, settings: &'a Settings, seed: u64) -> Self {
        let stream = |stream: Stream| derive_seed(seed, stream as u64);
        let mut parameters = model.program.initialize(stream(Stream::Parameters));
        let (rows, held_out) = split_rows(model.num_rows, settings);
        let rates = scaling::start_on_the_scale_of_data(model, &rows, &mut parameters);
        let weight = rows.iter().map(|&row| f64::from(model.weights[row as usize])).sum();
        let snapshot = Snapshot {
            first: vec![0.0; parameters.len()],
            second: vec![0.0; parameters.len()],
            parameters: parameters.clone(),
        };
        let search = settings.search.and_then(|_| Search::new(model, &parameters, &rows));
        let stop = settings.search.filter(|_| search.is_some()).unwrap_or(settings.stop);
        Self {
            search,
            stop,
            rates,
            trainer: Trainer::new(
                &model.program,
                parameters.clone(),
                settings.batch_size.min(rows.len()),
                settings.draws,
            ),
            model,
            settings,
            seed,
            order: rows.clone(),
            rows,
            held_out,
            weight,
            order_of_pass: None,
            step: 0,
            optimizer_step: 0,
            cool_down: None,
            converged_early: false,
            window: VecDeque::new(),
            last_elbo: f64::NAN,
            roughness: 0.0,
            snapshot,
            recoveries: 0,
            rate_factor: 1.0,
            sums: [0.0; 4],
            terms: Vec::new(),
            best_held_out: f64::NEG_INFINITY,
            best_parameters: Vec::new(),
            evaluations_without_gain: 0,
            final_totals: None,
            final_global_terms: Vec::new(),
            held_out_totals: None,
        }
    }

    /// All parameters.
    #[must_use]
    pub(crate) fn parameters(&self) -> &[f32] {
        &self.trainer.parameters
    }

    /// The evaluations made during training.
    #[must_use]
    pub(crate) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Sums over the training rows at the end of the run.
    #[must_use]
    pub(crate) fn final_totals(&self) -> Option<&Totals> {
        self.final_totals.as_ref()
    }

    /// The term of each variable outside the rows' plate at the end of the run, in nats, by index in the graph.
    #[must_use]
    pub(crate) fn final_global_terms(&self) -> &[f64] {
        &self.final_global_terms
    }

    /// Sums over the held-out rows at the end of the run.
    #[must_use]
    pub(crate) fn held_out_totals(&self) -> Option<&Totals> {
        self.held_out_totals.as_ref()
    }

    /// The rows that were held out.
    #[must_use]
    pub(crate) fn held_out_rows(&self) -> &[u32] {
        &self.held_out
    }

    /// How often the run stepped back because something was not finite.
    #[must_use]
    pub(crate) fn recoveries(&self) -> u64 {
        self.recoveries
    }

    fn noise(&self, stream: Stream, step: u64) -> StepNoise {
        StepNoise::new(derive_seed(self.seed, stream as u64), step)
    }

    /// The rows of the next batch: batches of one pass have nearly equal sizes and cover every row once.
    fn batch(&mut self) -> std::ops::Range<usize> {
        let count = self.rows.len().div_ceil(self.settings.batch_size).max(1) as u64;
        let (pass, index) = (self.step / count, (self.step % count) as usize);
        if count > 1 && self.order_of_pass != Some(pass) {
            self.order.copy_from_slice(&self.rows);
            let mut generator = self.noise(Stream::Batches, pass).row(0, 0);
            self.order.shuffle(&mut generator);
            self.order_of_pass = Some(pass);
        }
        let count = count as usize;
        self.rows.len() * index / count..self.rows.len() * (index + 1) / count
    }

    /// The terms of the variables outside the rows' plate by one draw, or at their means.
    fn global_terms(&self, noise: Option<&StepNoise>) -> Vec<f64> {
        let (program, parameters) = (&self.model.program, &self.trainer.parameters);
        program.global_terms(parameters, &program.draw_globals(parameters, noise))
    }

    /// The first term that is not finite.
    fn culprit(&self, totals: &Totals) -> (String, f64) {
        let program = &self.model.program;
        let observed = program.observed.iter().map(|o| &o.name).zip(&totals.log_likelihoods);
        let latents = program.latents.iter().map(|l| &l.name).zip(&totals.divergences);
        let others = program.row_terms().iter().map(|term| &term.name).zip(&totals.row_terms);
        // The divergence comes first in the computation.
        latents
            .chain(others)
            .chain(observed)
            .find(|(_, value)| !value.is_finite())
            .map_or_else(|| ("the bound".to_owned(), totals.bound), |(name, &value)| (name.clone(), value))
    }

    fn recover(&mut self, totals: &Totals) -> Result<(), SgviError> {
        self.recoveries += 1;
        let (variable, value) = self.culprit(totals);
        if self.recoveries > MAX_RECOVERIES || self.step == 0 {
            return Err(SgviError::NotFinite { variable, value });
        }
        self.trainer.parameters.copy_from_slice(&self.snapshot.parameters);
        self.trainer.first.copy_from_slice(&self.snapshot.first);
        self.trainer.second.copy_from_slice(&self.snapshot.second);
        self.rate_factor *= 0.5;
        Ok(())
    }

    /// A step of the search; it has converged when nothing higher is found or a window gains too little.
    fn search_step(&mut self) -> Result<Progress, SgviError> {
        let beta = self.settings.beta;
        let Some(search) = &mut self.search else { return Ok(Progress::new(self.last_elbo)) };
        let sample = search.sample(&self.rows);
        let rows = sample.as_deref().unwrap_or(&self.rows);
        let mut ground = Ground { model: self.model, trainer: &mut self.trainer, rows, beta: beta as f32 };
        let (totals, moved) = search.step(&mut ground);
        let standard_error = if sample.is_some() { totals.standard_error(self.weight) } else { 0.0 };
        if !totals.bound.is_finite() {
            let (variable, value) = self.culprit(&totals);
            return Err(SgviError::NotFinite { variable, value });
        }
        self.step += 1;
        let log_likelihood = totals.log_likelihood / totals.rows;
        let divergence = totals.divergence / totals.rows;
        let elbo = (log_likelihood - divergence) * self.weight + self.global_terms(None).iter().sum::<f64>();
        let out_of_patience =
            self.push(elbo, [log_likelihood - divergence, log_likelihood, divergence], beta, f64::NAN);
        let converged = !moved || out_of_patience || self.window_converged();
        Ok(Progress { elbo, standard_error: Some(standard_error), converged: Some(converged), extra: Vec::new() })
    }

    /// Notes the ELBO after a step, and its value and terms per row; returns whether the held-out rows' patience ended.
    fn push(&mut self, elbo: f64, per_row: [f64; 3], beta: f64, learning_rate: f64) -> bool {
        self.last_elbo = elbo;
        self.window.push_back(elbo);
        if self.window.len() > 2 * self.stop.window {
            self.window.pop_front();
        }
        for (sum, value) in self.sums.iter_mut().zip(per_row.into_iter().chain([1.0])) {
            *sum += value;
        }
        self.record_term(beta, learning_rate)
    }

    fn record_term(&mut self, beta: f64, learning_rate: f64) -> bool {
        let every = self.settings.evaluate_every as u64;
        if !self.step.is_multiple_of(every) && self.step < self.settings.max_iterations as u64 {
            return false;
        }
        let count = self.sums[3].max(1.0);
        let mut term = Term {
            step: self.step,
            elbo: self.sums[0] / count,
            log_likelihood: self.sums[1] / count,
            divergence: self.sums[2] / count,
            beta,
            learning_rate,
            held_out: f64::NAN,
        };
        self.sums = [0.0; 4];
        let mut stop = false;
        if !self.held_out.is_empty() {
            let totals = self.held_out_bound(1);
            term.held_out = totals.bound / totals.rows;
            if term.held_out > self.best_held_out {
                self.best_held_out = term.held_out;
                self.trainer.parameters.clone_into(&mut self.best_parameters);
                self.evaluations_without_gain = 0;
            } else {
                self.evaluations_without_gain += 1;
                stop = self.evaluations_without_gain >= self.settings.patience;
                if stop {
                    self.evaluations_without_gain = 0;
                }
            }
        }
        self.terms.push(term);
        stop
    }

    /// The bound over all training rows; every draw of global variables goes with one draw of the rows'.
    fn final_bound(&mut self, draws: usize) -> Totals {
        let program = &self.model.program;
        let (repeats, draws) = if program.has_factor() { (draws, 1) } else { (1, draws) };
        let mut sum = Totals::zero(program);
        let mut terms = Vec::new();
        let mut values = Vec::with_capacity(repeats);
        for repeat in 0..repeats {
            // Noise 1 is that of the held-out rows.
            let noise = self.noise(Stream::Evaluation, if repeat == 0 { 0 } else { 1 + repeat as u64 });
            let parameters = &self.trainer.parameters;
            let totals = evaluate(self.model, parameters, &self.rows, draws, &noise, Bound::elbo(program));
            let global = self.global_terms(Some(&noise));
            values.push(totals.bound + global.iter().sum::<f64>());
            terms.resize(global.len(), 0.0);
            terms.iter_mut().zip(global).for_each(|(sum, term)| *sum += term / repeats as f64);
            sum.merge(&totals);
        }
        sum.scale(1.0 / repeats as f64);
        if repeats > 1 {
            let mean = values.iter().sum::<f64>() / repeats as f64;
            let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            sum.draw_variance = squares / (repeats as f64 - 1.0) / repeats as f64;
        }
        self.final_global_terms = terms;
        sum
    }

    /// The ELBO of the held-out rows with the same noise every time.
    fn held_out_bound(&self, draws: usize) -> Totals {
        let bound = Bound::elbo(&self.model.program);
        let noise = self.noise(Stream::Evaluation, 1);
        evaluate(self.model, &self.trainer.parameters, &self.held_out, draws, &noise, bound)
    }

    /// Moves every learned sd of a normal to its optimum given the residuals that its gradient tells; with minibatches
    /// a tenth of the way.
    fn set_optimal_sds(&mut self) {
        let program = &self.model.program;
        let damping = if self.rows.len() <= self.settings.batch_size { 1.0 } else { 0.1 };
        for (view, width) in program.optimal_sds() {
            let index = program.layout.views()[view].range.start;
            // ∂/∂ln σ of the mean over rows is Σ r²/σ² − width, which is zero at σ² = mean r².
            let ratio = 1.0 + f64::from(self.trainer.gradient[index]) / width as f64;
            self.trainer.parameters[index] += (damping * 0.5 * ratio.clamp(0.01, 100.0).ln()) as f32;
        }
    }
}

impl Algorithm for Training<'_> {
    type Error = SgviError;

    fn step(&mut self) -> Result<Progress, SgviError> {
        if self.search.is_some() {
            return self.search_step();
        }
        let settings = self.settings;
        let range = self.batch();
        let noise = self.noise(Stream::Steps, self.step);
        let next = self.step + 1;
        let learning_rate = settings.learning_rate_at(next, self.cool_down) * self.rate_factor;
        let plan = StepPlan {
            bound: settings.bound_at(next),
            optimizer: settings.optimizer,
            size: settings.optimizer.step_size(learning_rate, self.optimizer_step + 1),
            clip: settings.clip,
        };
        let full_batch = range.len() == self.rows.len();
        let globals: f64 = self.global_terms(Some(&noise)).iter().sum();
        let before = self.rates.as_ref().map(|_| self.trainer.parameters.to_vec());
        let totals = self.trainer.step(self.model, &self.order[range], &noise, plan);
        if let (Some(rates), Some(before)) = (&self.rates, before) {
            scaling::rescale(&mut self.trainer.parameters, &before, rates);
        }
        let log_likelihood = totals.log_likelihood / totals.rows;
        let divergence = totals.divergence / totals.rows;
        let per_row = log_likelihood - divergence;
        if !totals.bound.is_finite() || !per_row.is_finite() {
            self.recover(&totals)?;
            self.step = next;
            return Ok(Progress { converged: Some(false), ..Progress::new(self.last_elbo) });
        }
        self.step = next;
        self.optimizer_step += 1;
        if settings.optimal_sd {
            self.set_optimal_sds();
        }
        let share = (self.step / SNAPSHOT_EVERY / SNAPSHOT_SHARE).clamp(1, SNAPSHOT_SHARE);
        if self.step.is_multiple_of(SNAPSHOT_EVERY * share) {
            // The bound was finite before this step: what it was computed from is good, and so are the moments.
            let Snapshot { parameters, first, second } = &mut self.snapshot;
            self.trainer.copy_state([parameters, first, second]);
        }
        let elbo = per_row * self.weight + globals;
        let standard_error = if full_batch {
            // All rows are in every batch: only the draws differ between neighbouring steps.
            if self.last_elbo.is_finite() {
                let difference = (elbo - self.last_elbo).powi(2) / 2.0;
                self.roughness = if self.step <= 2 { difference } else { 0.9 * self.roughness + 0.1 * difference };
            }
            self.roughness.sqrt()
        } else {
            totals.standard_error(self.weight)
        };
        let out_of_patience =
            self.push(elbo, [per_row, log_likelihood, divergence], settings.beta_at(next), learning_rate);
        let converged = self.judge(out_of_patience);
        Ok(Progress { elbo, standard_error: Some(standard_error), converged: Some(converged), extra: Vec::new() })
    }

    fn finish(&mut self) -> Result<Option<f64>, SgviError> {
        if !self.best_parameters.is_empty() {
            self.trainer.parameters = Aligned::of(&self.best_parameters);
        }
        let draws = self.settings.evaluation_draws;
        let totals = self.final_bound(draws);
        if !totals.bound.is_finite() {
            let (variable, value) = self.culprit(&totals);
            return Err(SgviError::NotFinite { variable, value });
        }
        let elbo = totals.bound + self.final_global_terms.iter().sum::<f64>();
        self.final_totals = Some(totals);
        if !self.held_out.is_empty() {
            self.held_out_totals = Some(self.held_out_bound(draws));
        }
        Ok(Some(elbo))
    }
}

mod checkpoint;
mod convergence;
#[cfg(test)]
mod tests;
