//! Either way to climb the ELBO, as one algorithm for the executor.

use vi_run::executor::{Algorithm, CheckpointError, Decoder, Encoder, Progress, Resumable};

use super::assess;
use super::gaussian::Gaussian;
use super::search::Search;
use super::stochastic::Stochastic;
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::Evaluator;

/// The deterministic search or the stochastic steps.
#[derive(Debug)]
pub(crate) enum Way<'a> {
    /// Fixed draws.
    Search(Box<Search<'a>>),
    /// Fresh draws.
    Stochastic(Box<Stochastic<'a>>),
}

/// Draws that are the same for all restarts, so that differences between their ELBOs are hardly those of the draws.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommonDraws<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its log joint.
    pub evaluator: &'a Evaluator,
    /// The seed of the draws.
    pub seed: u64,
}

/// One restart.
#[derive(Debug)]
pub(crate) struct Climb<'a> {
    /// How it climbs.
    pub way: Way<'a>,
    /// What the end is judged by where there are several restarts.
    pub common: Option<CommonDraws<'a>>,
}

/// Common draws.
const DRAWS: usize = 4096;
/// Stands for an ELBO that is not finite, so that such a restart is never the best of several.
const LOWEST: f64 = -1e300;

impl Climb<'_> {
    /// The approximation reached.
    pub(crate) fn gaussian(&self) -> Gaussian {
        match &self.way {
            Way::Search(search) => search.gaussian(),
            Way::Stochastic(stochastic) => stochastic.gaussian(),
        }
    }
}

impl Algorithm for Climb<'_> {
    type Error = SgviError;

    fn step(&mut self) -> Result<Progress, SgviError> {
        match &mut self.way {
            Way::Search(search) => search.step(),
            Way::Stochastic(stochastic) => stochastic.step(),
        }
    }

    fn finish(&mut self) -> Result<Option<f64>, SgviError> {
        Ok(self.common.map(|common| {
            let elbo = assess::elbo(common.model, common.evaluator, &self.gaussian(), common.seed, DRAWS);
            if elbo.is_finite() { elbo } else { LOWEST }
        }))
    }
}

impl Resumable for Climb<'_> {
    fn save(&self, encoder: &mut Encoder) {
        match &self.way {
            Way::Search(search) => search.save(encoder),
            Way::Stochastic(stochastic) => stochastic.save(encoder),
        }
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        match &mut self.way {
            Way::Search(search) => search.load(decoder),
            Way::Stochastic(stochastic) => stochastic.load(decoder),
        }
    }
}
