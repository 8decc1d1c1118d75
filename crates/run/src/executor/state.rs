//! The state of the executor's loop, and its form in a checkpoint.

use super::checkpoint::CheckpointError;
use super::encoding::{Decoder, Encoder};
use super::{Algorithm, FailureCause, RestartOutcome, Resumable, StopRule};
use crate::record::{TracePoint, best_index};

/// Everything the loop has to remember between two iterations.
pub(super) struct LoopState<A> {
    /// The algorithm of the restart under way, when the state was loaded from a checkpoint.
    pub(super) current: Option<A>,
    /// The iterations of the restart under way.
    pub(super) iteration: usize,
    /// Its ELBO after the last iteration.
    pub(super) elbo: Option<f64>,
    /// Whether the stop rule held.
    pub(super) converged: bool,
    /// The algorithm of the best finished restart.
    pub(super) best: Option<A>,
    /// The finished restarts.
    pub(super) outcomes: Vec<RestartOutcome>,
    /// The convergence curve so far.
    pub(super) trace: Vec<TracePoint>,
    /// Seconds so far.
    pub(super) seconds: f64,
}

impl<A: Algorithm> LoopState<A> {
    /// Ends the restart under way and keeps its algorithm if it is the best so far.
    pub(super) fn end_restart(&mut self, mut algorithm: A) -> Result<RestartOutcome, A::Error> {
        let elbo = algorithm.finish()?.or(self.elbo).unwrap_or(f64::NAN);
        let outcome = RestartOutcome { elbo, iterations: self.iteration, converged: self.converged };
        self.outcomes.push(outcome);
        if best_index(self.outcomes.iter().map(|outcome| outcome.elbo)) == Some(self.outcomes.len() - 1) {
            self.best = Some(algorithm);
        }
        Ok(outcome)
    }
}

impl<A> LoopState<A> {
    /// Before the first restart.
    pub(super) fn new() -> Self {
        Self {
            current: None,
            iteration: 0,
            elbo: None,
            converged: false,
            best: None,
            outcomes: Vec::new(),
            trace: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Forgets the restart before.
    pub(super) fn begin_restart(&mut self) {
        self.iteration = 0;
        self.elbo = None;
        self.converged = false;
    }

    /// Whether the restart goes on; it always makes one iteration.
    pub(super) fn needs_a_step(&self, max_iterations: usize, interrupted: bool) -> bool {
        self.iteration == 0 || !(self.converged || interrupted || self.iteration >= max_iterations)
    }
}

impl<A: Resumable> LoopState<A> {
    /// The content of a checkpoint while `algorithm` is under way.
    pub(super) fn save(&self, algorithm: &A, stop: &dyn StopRule) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.usize(self.iteration);
        encoder.option_f64(self.elbo);
        encoder.bool(self.converged);
        encoder.f64(self.seconds);
        stop.save(&mut encoder);
        encoder.usize(self.outcomes.len());
        for outcome in &self.outcomes {
            encoder.f64(outcome.elbo);
            encoder.usize(outcome.iterations);
            encoder.bool(outcome.converged);
        }
        encoder.usize(self.trace.len());
        for point in &self.trace {
            encoder.usize(point.restart);
            encoder.usize(point.iteration);
            encoder.f64(point.seconds);
            encoder.f64(point.elbo);
            encoder.option_f64(point.standard_error);
            encoder.f64_slice(&point.extra);
        }
        algorithm.save(&mut encoder);
        encoder.bool(self.best.is_some());
        if let Some(best) = &self.best {
            best.save(&mut encoder);
        }
        encoder.into_bytes()
    }

    /// The state that [`LoopState::save`] wrote; `start` makes the algorithm of a restart, counted from 1.
    pub(super) fn load<E>(
        content: &[u8],
        stop: &mut dyn StopRule,
        mut start: impl FnMut(usize) -> Result<A, E>,
    ) -> Result<Self, FailureCause<E>> {
        let mut decoder = Decoder::new(content);
        let mut state = Self::new();
        state.load_loop(&mut decoder, stop)?;
        let mut algorithm = start(state.outcomes.len() + 1).map_err(FailureCause::Algorithm)?;
        algorithm.load(&mut decoder)?;
        state.current = Some(algorithm);
        if decoder.bool()? {
            let best = best_index(state.outcomes.iter().map(|outcome| outcome.elbo))
                .ok_or_else(|| CheckpointError::Content { what: "the best restart's ELBO".to_owned() })?;
            let mut algorithm = start(best + 1).map_err(FailureCause::Algorithm)?;
            algorithm.load(&mut decoder)?;
            state.best = Some(algorithm);
        }
        decoder.finish()?;
        Ok(state)
    }

    fn load_loop(&mut self, decoder: &mut Decoder<'_>, stop: &mut dyn StopRule) -> Result<(), CheckpointError> {
        self.iteration = decoder.usize()?;
        self.elbo = decoder.option_f64()?;
        self.converged = decoder.bool()?;
        self.seconds = decoder.f64()?;
        stop.load(decoder)?;
        for _ in 0..decoder.usize()? {
            self.outcomes.push(RestartOutcome {
                elbo: decoder.f64()?,
                iterations: decoder.usize()?,
                converged: decoder.bool()?,
            });
        }
        for _ in 0..decoder.usize()? {
            self.trace.push(TracePoint {
                restart: decoder.usize()?,
                iteration: decoder.usize()?,
                seconds: decoder.f64()?,
                elbo: decoder.f64()?,
                standard_error: decoder.option_f64()?,
                extra: decoder.f64_vec()?,
            });
        }
        Ok(())
    }
}
