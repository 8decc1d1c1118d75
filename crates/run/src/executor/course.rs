//! One restart: its iterations up to the end.

use std::time::Instant;

use super::{Algorithm, FailureCause, Interruption, Progress, RestartOutcome, StopRule};
use crate::record::TracePoint;

/// What holds for all restarts of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'l> {
    /// The limit of iterations per restart.
    pub(super) max_iterations: usize,
    /// Ends every restart after its present iteration.
    pub(super) interruption: &'l Interruption,
    /// When the run began or was resumed.
    pub(super) clock: Instant,
    /// Seconds that it had taken before it was resumed.
    pub(super) seconds_before: f64,
}

impl Limits<'_> {
    /// Seconds of the run so far.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds_before + self.clock.elapsed().as_secs_f64()
    }
}

/// The course of one restart.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// The restart, counted from 1.
    pub(super) restart: usize,
    /// Its iterations so far.
    pub(super) iteration: usize,
    /// Its ELBO after the last one.
    pub(super) elbo: Option<f64>,
    /// Whether the stop rule held.
    pub(super) converged: bool,
    /// Its convergence curve.
    pub(super) trace: Vec<TracePoint>,
}

/// One iteration that a course has made.
pub(super) struct Made<'m, A> {
    /// The course after it.
    pub(super) course: &'m Course,
    /// The algorithm after it.
    pub(super) algorithm: &'m A,
    /// The stop rule after it.
    pub(super) stop: &'m dyn StopRule,
    /// Seconds of the run so far.
    pub(super) seconds: f64,
    /// What the algorithm reported.
    pub(super) progress: Progress,
    /// The rise of the ELBO, in nats; `None` in the first iteration.
    pub(super) gain: Option<f64>,
}

crate::stored!(Course { restart, iteration, elbo, converged, trace });

impl Course {
    /// Before the first iteration.
    pub(super) fn new(restart: usize) -> Self {
        Self { restart, iteration: 0, elbo: None, converged: false, trace: Vec::new() }
    }

    /// Whether the restart has ended by itself.
    pub(super) fn is_whole(&self, limits: &Limits<'_>) -> bool {
        self.converged || self.iteration >= limits.max_iterations
    }

    /// Makes iterations until the restart has ended, the run is interrupted or `is_vain`; at least one in all. Tells
    /// `after` of each.
    pub(super) fn advance<A: Algorithm>(
        &mut self,
        algorithm: &mut A,
        stop: &mut dyn StopRule,
        limits: &Limits<'_>,
        is_vain: impl Fn() -> bool,
        mut after: impl FnMut(Made<'_, A>) -> Result<(), FailureCause<A::Error>>,
    ) -> Result<(), FailureCause<A::Error>> {
        while self.iteration == 0 || !(self.is_whole(limits) || limits.interruption.is_raised() || is_vain()) {
            let progress = algorithm.step().map_err(FailureCause::Algorithm)?;
            self.iteration += 1;
            if !progress.elbo.is_finite() {
                return Err(self.not_finite(progress.elbo));
            }
            let seconds = limits.seconds();
            let gain = self.elbo.map(|previous| progress.elbo - previous);
            self.trace.push(TracePoint {
                restart: self.restart,
                iteration: self.iteration,
                seconds,
                elbo: progress.elbo,
                standard_error: progress.standard_error,
                extra: progress.extra.clone(),
            });
            self.converged = stop.converged(&progress);
            self.elbo = Some(progress.elbo);
            after(Made { course: self, algorithm, stop, seconds, progress, gain })?;
        }
        Ok(())
    }

    /// Ends the restart.
    pub(super) fn end<A: Algorithm>(&self, algorithm: &mut A) -> Result<RestartOutcome, FailureCause<A::Error>> {
        let elbo = algorithm.finish().map_err(FailureCause::Algorithm)?.or(self.elbo).unwrap_or(f64::NAN);
        if !elbo.is_finite() {
            return Err(self.not_finite(elbo));
        }
        Ok(RestartOutcome { elbo, iterations: self.iteration, converged: self.converged })
    }

    fn not_finite<E>(&self, elbo: f64) -> FailureCause<E> {
        FailureCause::NotFinite { restart: self.restart, iteration: self.iteration, elbo }
    }
}
