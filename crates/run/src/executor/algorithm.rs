//! What the executor asks of an algorithm.

use super::checkpoint::CheckpointError;
use super::encoding::{Decoder, Encoder};

/// What one iteration reports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The ELBO after the iteration, in nats over all rows.
    pub elbo: f64,
    /// Its Monte Carlo standard error, where it is an estimate.
    pub standard_error: Option<f64>,
    /// The algorithm's own judgement; `None` leaves it to the stop rule.
    pub converged: Option<bool>,
    /// Further columns of the trace, in the order of [`Executor::trace_columns`](super::Executor::trace_columns).
    pub extra: Vec<f64>,
}

impl Progress {
    /// Progress that consists of an exact ELBO only.
    #[must_use]
    pub fn new(elbo: f64) -> Self {
        Self { elbo, ..Self::default() }
    }
}

/// An algorithm that improves its own state step by step.
pub trait Algorithm {
    /// Why a step may fail.
    type Error;

    /// One iteration.
    ///
    /// # Errors
    /// When the run cannot go on; the executor then ends it as failed.
    fn step(&mut self) -> Result<Progress, Self::Error>;

    /// Called once after the last iteration of a restart; may return a better estimate of the final ELBO.
    ///
    /// # Errors
    /// As [`Algorithm::step`].
    fn finish(&mut self) -> Result<Option<f64>, Self::Error> {
        Ok(None)
    }
}

/// An algorithm whose state can be saved, so that a run can be resumed.
pub trait Resumable: Algorithm {
    /// Writes everything that later steps depend on, generators of random numbers included.
    fn save(&self, encoder: &mut Encoder);

    /// Reads what [`Resumable::save`] wrote into a freshly started algorithm of the same restart.
    ///
    /// # Errors
    /// When the content does not fit.
    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError>;
}

/// Which restart an algorithm is to be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Counted from 1.
    pub index: usize,
    /// Derived from the run's seed and the index.
    pub seed: u64,
}
