//! Either way to climb the ELBO, as one algorithm for the executor.

use vi_run::executor::{Algorithm, CheckpointError, Decoder, Encoder, Progress, Resumable};

use super::gaussian::Gaussian;
use super::search::Search;
use super::stochastic::Stochastic;
use crate::error::SgviError;

/// The deterministic search or the stochastic steps.
#[derive(Debug)]
pub enum Climb<'a> {
    /// Fixed draws.
    Search(Box<Search<'a>>),
    /// Fresh draws.
    Stochastic(Box<Stochastic<'a>>),
}

impl Climb<'_> {
    /// The approximation reached.
    pub fn gaussian(&self) -> Gaussian {
        match self {
            Self::Search(search) => search.gaussian(),
            Self::Stochastic(stochastic) => stochastic.gaussian(),
        }
    }
}

impl Algorithm for Climb<'_> {
    type Error = SgviError;

    fn step(&mut self) -> Result<Progress, SgviError> {
        match self {
            Self::Search(search) => search.step(),
            Self::Stochastic(stochastic) => stochastic.step(),
        }
    }
}

impl Resumable for Climb<'_> {
    fn save(&self, encoder: &mut Encoder) {
        match self {
            Self::Search(search) => search.save(encoder),
            Self::Stochastic(stochastic) => stochastic.save(encoder),
        }
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        match self {
            Self::Search(search) => search.load(decoder),
            Self::Stochastic(stochastic) => stochastic.load(decoder),
        }
    }
}
