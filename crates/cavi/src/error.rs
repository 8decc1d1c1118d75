//! What can go wrong: a model this engine cannot treat, or a run that cannot go on.

use vi_model::data::DataError;
use vi_model::diagnostic::{Diagnostic, ModelError, SourceText};

/// An error of the coordinate-ascent engine.
#[derive(Debug, thiserror::Error)]
pub enum CaviError {
    /// The model file or its data were refused, or the engine has no update for a part of it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Data could not be read while running.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A factor's natural parameters left the family: the posterior does not exist, or numbers became non-finite.
    #[error("the factor of `{factor}`{element} has no distribution after iteration {iteration}: {reason}")]
    Factor {
        /// Name of the variable.
        factor: String,
        /// Which element, as text (empty for a single one).
        element: String,
        /// Iteration, counted from 1; 0 at the start.
        iteration: usize,
        /// What the parameters were.
        reason: String,
    },
    /// The ELBO fell, which coordinate ascent cannot do.
    #[error(
        "the ELBO fell from {before} to {after} at iteration {iteration}, when `{factor}` was updated: \
         this is an error of the engine or numbers have lost all digits; standardize the data"
    )]
    Fall {
        /// Name of the factor updated last.
        factor: String,
        /// ELBO before.
        before: f64,
        /// ELBO after.
        after: f64,
        /// Iteration, counted from 1.
        iteration: usize,
    },
    /// The ELBO has lost its digits while a factor is still on its way.
    #[error(
        "the ELBO has no maximum: at iteration {iteration}, where it is {elbo}, `{factor}` still moves while the ELBO has lost its digits, \
         since some observations are fitted exactly and their precision grows without end; give the precision a prior that \
         keeps it finite (a gamma with a larger shape and rate, that does not depend on another precision), fix it, or let \
         fewer variables explain these observations"
    )]
    Unbounded {
        /// Name of the factor that moves most.
        factor: String,
        /// Its value.
        elbo: f64,
        /// Iteration, counted from 1.
        iteration: usize,
    },
    /// The ELBO is not a number.
    #[error("the ELBO is {elbo} at iteration {iteration}; the term of `{term}` is not finite")]
    NotFinite {
        /// Its value.
        elbo: f64,
        /// Iteration, counted from 1.
        iteration: usize,
        /// The variable whose term is not finite.
        term: String,
    },
    /// Something that was observed, or must have happened, has probability zero.
    #[error(
        "the data are impossible under this model: the ELBO is minus infinity by the term of `{term}`, which has a value of \
         probability zero; look for a 0 (or a 1) among the constant probabilities that it depends on"
    )]
    Impossible {
        /// The variable whose term is minus infinity.
        term: String,
    },
    /// A saved state is not one of this model and data.
    #[error("the saved state has no factor `{factor}` of the shape that the model and its data now give")]
    State {
        /// Name of the factor.
        factor: String,
    },
    /// A kernel refused its input.
    #[error("the chain `{factor}` could not be smoothed: {reason}")]
    Chain {
        /// Name of the chain variable.
        factor: String,
        /// What the kernel said.
        reason: String,
    },
}

impl CaviError {
    /// A refusal with one diagnosis.
    pub(crate) fn refuse(source: &SourceText, diagnostic: Diagnostic) -> Self {
        Self::Model(ModelError { source: source.clone(), diagnostics: vec![diagnostic] })
    }

    /// Whether the run never began (exit status 2) rather than failed (exit status 3).
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Model(_) | Self::Data(_) | Self::State { .. })
    }
}
