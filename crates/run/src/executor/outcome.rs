//! How a run ended: its outcome, or its failure.

use super::checkpoint::CheckpointError;
use crate::record::{Status, TracePoint};

/// How one restart ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartOutcome {
    /// Its final ELBO.
    pub elbo: f64,
    /// Its iterations.
    pub iterations: usize,
    /// Whether the stop rule held.
    pub converged: bool,
}

crate::stored!(RestartOutcome { elbo, iterations, converged });

/// How a run ended, apart from the algorithm itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The best restart's status; `MaxIterations` where an interruption cut the run off.
    pub status: Status,
    /// The best restart, counted from 1.
    pub best_restart: usize,
    /// The best restart's iterations.
    pub iterations: usize,
    /// Wall-clock seconds of all restarts, those before a resumption included.
    pub seconds: f64,
    /// The best restart's ELBO.
    pub elbo: f64,
    /// Every restart that was run.
    pub restarts: Vec<RestartOutcome>,
    /// The convergence curve of every restart.
    pub trace: Vec<TracePoint>,
    /// The names of the curve's extra columns.
    pub trace_columns: Vec<String>,
    /// Whether an [`Interruption`](super::Interruption) cut restarts or iterations off.
    pub interrupted: bool,
}

/// A finished run: the best restart's algorithm and how it got there.
#[derive(Debug)]
pub struct Fit<A> {
    /// The best restart's algorithm, in its final state.
    pub algorithm: A,
    /// How the run ended.
    pub outcome: Outcome,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum FailureCause<E> {
    /// A step failed.
    #[error(transparent)]
    Algorithm(E),
    /// The ELBO became infinite or NaN.
    #[error("the ELBO became {elbo} in iteration {iteration} of restart {restart}")]
    NotFinite {
        /// The restart, counted from 1.
        restart: usize,
        /// The iteration, counted from 1.
        iteration: usize,
        /// What the algorithm reported.
        elbo: f64,
    },
    /// Zero restarts or zero iterations were asked for.
    #[error("`{option}` must be at least 1: with 0 there is nothing to run")]
    NothingToDo {
        /// The option that is zero.
        option: &'static str,
    },
    /// A checkpoint could not be written or resumed from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A failed run, with what there is to report of it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failure<E: std::error::Error + 'static> {
    /// Why it failed.
    #[source]
    pub cause: FailureCause<E>,
    /// The restarts that had ended before.
    pub restarts: Vec<RestartOutcome>,
    /// The convergence curve so far.
    pub trace: Vec<TracePoint>,
    /// Seconds until the failure.
    pub seconds: f64,
}
