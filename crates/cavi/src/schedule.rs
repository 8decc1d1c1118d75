//! Schedules over the rows: batch, stochastic and incremental, all made of the same local and global steps.
//!
//! A schedule's iteration is one pass over the rows, so that its ELBO is exact and comparable with that of batch ascent.
//! Stochastic steps are noisy and shrink: once a pass of them moves the factors less far than one step of batch ascent, or a
//! window of passes gains no more than their noise, batch ascent takes over and goes on until it has converged itself.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use vi_model::diagnostic::Diagnostic;
use vi_model::graph::Graph;
use vi_model::inference::Schedule as Kind;
use vi_run::executor::{CheckpointError, Decoder, Encoder, Progress, StopRule, Stored, WindowedGain};

use crate::engine::{Engine, TaskResult};
use crate::error::CaviError;

/// Rows per step where the model does not say.
const DEFAULT_BATCH: usize = 1024;
/// Passes of a window over which the ELBO of stochastic steps is averaged before it is judged.
const STOCHASTIC_WINDOW: usize = 10;
/// Relative gain from one window to the next at which batch ascent takes over: from there its passes gain more.
const SETTLED: f64 = 1e-4;

/// How an iteration goes over the rows.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    kind: Kind,
    batches: Vec<Range<usize>>,
    delay: f64,
    forgetting: f64,
    /// Stochastic steps taken.
    steps: u64,
    random: ChaCha8Rng,
    /// Stochastic: whether the passes still gain more than their noise.
    settled: WindowedGain,
    /// Whether batch ascent has taken over from stochastic steps.
    finishing: bool,
    /// Incremental: the last summary of each batch.
    summaries: Vec<TaskResult>,
}

impl Schedule {
    /// Reads the schedule of a model.
    ///
    /// # Errors
    ///
    /// Refuses chains under a schedule that breaks the rows apart.
    pub(crate) fn new(graph: &Graph, engine: &Engine) -> Result<Self, CaviError> {
        let inference = &graph.inference;
        let kind = inference.schedule.unwrap_or_default();
        let chain = engine.lowered.program.factors.iter().find(|f| f.family.is_chain());
        if let (Kind::Stochastic | Kind::Incremental, Some(chain)) = (kind, chain) {
            let span = inference.key_spans.get("schedule").cloned().unwrap_or(0..0);
            let message = format!("the chain `{}` joins the rows, so they cannot be taken in batches", chain.name);
            let diagnostic =
                Diagnostic::new("schedule-chain", message).at(span, "this schedule").help("write schedule = \"batch\"");
            return Err(CaviError::refuse(&graph.source, diagnostic));
        }
        let tolerance = inference.tolerance.unwrap_or(crate::fit::DEFAULT_TOLERANCE);
        let rows = engine.lowered.program.num_rows;
        let size = inference.batch_size.unwrap_or(DEFAULT_BATCH).max(1);
        // As equal as can be: a short last batch would pull as hard as the others with few rows.
        let number = rows.div_ceil(size).max(1);
        let batches = (0..number).map(|b| rows * b / number..rows * (b + 1) / number).collect();
        Ok(Self {
            kind,
            batches,
            delay: inference.step_delay.unwrap_or(1.0),
            forgetting: inference.step_forgetting.unwrap_or(0.7),
            steps: 0,
            random: ChaCha8Rng::seed_from_u64(0),
            settled: WindowedGain::new(tolerance.max(SETTLED), STOCHASTIC_WINDOW),
            finishing: false,
            summaries: Vec::new(),
        })
    }

    /// Begins again from a seed.
    pub(crate) fn restart(&mut self, seed: u64) {
        self.steps = 0;
        self.random = ChaCha8Rng::seed_from_u64(seed);
        self.settled.start();
        self.finishing = false;
        self.summaries.clear();
    }

    /// Writes what later passes depend on, the place in the sequence of random numbers included.
    pub(crate) fn save(&self, encoder: &mut Encoder) {
        encoder.u64(self.steps);
        let at = self.random.get_word_pos();
        encoder.u64((at >> 64) as u64);
        encoder.u64(at as u64);
        self.settled.save(encoder);
        encoder.bool(self.finishing);
        self.summaries.store(encoder);
    }

    /// Reads what [`Schedule::save`] wrote, after [`Schedule::restart`] with the same seed.
    pub(crate) fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.steps = decoder.u64()?;
        self.random.set_word_pos(u128::from(decoder.u64()?) << 64 | u128::from(decoder.u64()?));
        self.settled.load(decoder)?;
        self.finishing = decoder.bool()?;
        self.summaries = Stored::restore(decoder)?;
        Ok(())
    }

    /// Whether every iteration updates all rows before any global factor.
    pub(crate) fn is_batch(&self) -> bool {
        self.kind == Kind::Batch || self.finishing
    }

    /// Whether the ELBO may fall from one iteration to the next: stochastic steps are noisy.
    pub(crate) fn may_fall(&self) -> bool {
        self.kind == Kind::Stochastic && !self.finishing
    }

    /// What is known of convergence after an iteration: noisy passes never are converged, but may have settled.
    pub(crate) fn judge(&mut self, progress: Progress) -> Progress {
        if !self.may_fall() {
            return progress;
        }
        // The first of the two is asked of every pass, so that its window is complete.
        self.finishing =
            self.settled.converged(&progress) || self.batches.len() as f64 * self.rate(self.steps + 1) < 1.0;
        Progress { converged: Some(false), ..progress }
    }

    /// One pass over the rows in batches; returns the exact ELBO after it.
    pub(crate) fn step(&mut self, engine: &mut Engine) -> Result<f64, CaviError> {
        match self.kind {
            Kind::Batch => engine.step(None),
            Kind::Stochastic => self.stochastic(engine),
            Kind::Incremental => self.incremental(engine),
        }
    }

    /// The size of a stochastic step, counted from 1.
    fn rate(&self, step: u64) -> f64 {
        (step as f64 + self.delay).powf(-self.forgetting).min(1.0)
    }

    /// Stochastic variational inference (Hoffman et al. 2013): each batch, scaled to all rows, moves the global factors
    /// by a step (t + delay)^−forgetting in natural parameters. The ELBO is that of all rows under the factors reached.
    ///
    /// The scale is the number of batches, whatever the rows in each: the mean of the scaled summaries over a pass is then the
    /// summary of all rows.
    fn stochastic(&mut self, engine: &mut Engine) -> Result<f64, CaviError> {
        let scale = self.batches.len() as f64;
        let mut order: Vec<usize> = (0..self.batches.len()).collect();
        order.shuffle(&mut self.random);
        engine.iteration += 1;
        for b in order {
            let summary = engine.summarise_rows(self.batches[b].clone())?;
            engine.use_summary(&summary, scale);
            self.steps += 1;
            engine.global_step_towards(self.rate(self.steps))?;
        }
        let summary = engine.summarise_rows(0..engine.lowered.program.num_rows)?;
        engine.use_summary(&summary, 1.0);
        Ok(engine.elbo())
    }

    /// Incremental ascent (Neal & Hinton 1998): each batch's summary replaces its earlier one and the global factors are
    /// updated at once. Every step is coordinate ascent, so the ELBO cannot fall.
    fn incremental(&mut self, engine: &mut Engine) -> Result<f64, CaviError> {
        if self.summaries.is_empty() {
            for batch in self.batches.clone() {
                let summary = engine.summarise_rows(batch)?;
                self.summaries.push(summary);
            }
        }
        for b in 0..self.batches.len() {
            self.summaries[b] = engine.summarise_rows(self.batches[b].clone())?;
            // Summed afresh in order: differences would collect rounding.
            let mut total = engine.no_summary();
            self.summaries.iter().for_each(|s| total.add(s, 1.0));
            engine.use_summary(&total, 1.0);
            engine.update_globals()?;
        }
        Ok(engine.elbo())
    }
}
