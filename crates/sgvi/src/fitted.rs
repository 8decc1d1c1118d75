//! What a user of the library calls: a fit by the engine that the model asks for, and what may be asked of it afterwards.

use vi_model::data::Data;
use vi_model::graph::Graph;
use vi_run::executor::{Checkpoints, FailureCause, Interruption, Observer};
use vi_run::record::Record;

use crate::amortized::networks::Networks;
use crate::amortized::{self, compile::is_amortized};
use crate::error::SgviError;
use crate::fit::gaussian::Gaussian;
use crate::fit::run::Fitted;
use crate::predict::{PredictError, PredictOptions, Prediction, predict};

/// What a run may be given besides its model.
#[derive(Default)]
pub struct FitOptions<'a> {
    /// Variables and expressions in the rows' plate whose posteriors will be asked for: those that have none are refused before
    /// anything is fitted.
    pub saved: Vec<String>,
    /// Told of every iteration.
    pub observers: Vec<Box<dyn Observer + 'a>>,
    /// Ends the run early.
    pub interruption: Interruption,
    /// Where to save the state of the run, and whether to go on from there.
    pub checkpoints: Option<Checkpoints>,
}

/// A fitted model.
#[derive(Debug)]
pub struct Fit {
    graph: Graph,
    reached: Reached,
}

/// What a run arrived at.
#[derive(Debug)]
enum Reached {
    /// One Gaussian over all coordinates.
    Gaussian(Box<Fitted>),
    /// Networks that give each row its factor.
    Networks(Box<Networks>, Record),
    /// The run failed.
    Nothing(Record),
}

/// Fits a model, with networks or without, as its `[inference]` says.
///
/// # Errors
/// As [`fit_with`].
pub fn fit(graph: &Graph) -> Result<Fit, SgviError> {
    fit_with(graph, FitOptions::default())
}

/// As [`fit()`], with observers, an interruption or checkpoints.
///
/// # Errors
/// [`SgviError`] where this engine cannot treat the model or its data. A failure while running is a record with the status `failed`
/// and its reason under the extra key `failure`.
pub fn fit_with(graph: &Graph, options: FitOptions<'_>) -> Result<Fit, SgviError> {
    let graph = graph.clone();
    if !is_amortized(&graph) {
        let fitted = crate::fit::run::fit(&graph, options)?;
        return Ok(Fit { graph, reached: Reached::Gaussian(Box::new(fitted)) });
    }
    let reached = match amortized::fit::fit(&graph, options) {
        Ok(fit) => {
            let networks = Networks::new(graph.clone(), fit.model, fit.parameters);
            Reached::Networks(Box::new(networks), fit.record)
        }
        Err(failure) => match failure.cause {
            FailureCause::Algorithm(error @ (SgviError::Unsupported { .. } | SgviError::Data(_))) => return Err(error),
            _ => Reached::Nothing(amortized::fit::record_of_failure(&graph, &failure)),
        },
    };
    Ok(Fit { graph, reached })
}

impl Fit {
    /// Status, ELBO and its terms, verdict, and the posterior of every variable outside the rows' plate by name.
    #[must_use]
    pub fn record(&self) -> &Record {
        match &self.reached {
            Reached::Gaussian(fitted) => &fitted.record,
            Reached::Networks(_, record) | Reached::Nothing(record) => record,
        }
    }

    /// The record alone, as [`vi_run::output`] writes it.
    #[must_use]
    pub fn into_record(self) -> Record {
        match self.reached {
            Reached::Gaussian(fitted) => fitted.record,
            Reached::Networks(_, record) | Reached::Nothing(record) => record,
        }
    }

    /// Predicts rows that the fit has not seen. Levels that it has not seen are drawn from their prior.
    ///
    /// # Errors
    /// Data that lack what parameters are computed from; variables that cannot be drawn; models with networks.
    pub fn predict(&self, data: &Data, options: &PredictOptions) -> Result<Prediction, PredictError> {
        let fitted = match &self.reached {
            Reached::Gaussian(fitted) => fitted,
            Reached::Networks(..) => return Err(PredictError::Networks),
            Reached::Nothing(_) => return Err(PredictError::Failed),
        };
        let graph = fitted.graph(&self.graph);
        // A model without continuous unknowns has an approximation without coordinates.
        let none = (fitted.model.program.dimension == 0).then(Gaussian::none);
        let q = fitted.gaussian.as_ref().or(none.as_ref()).ok_or(PredictError::Failed)?;
        predict(graph, &fitted.model, q, data, options)
    }

    /// The trained networks, where the model has amortised variables and the run did not fail.
    #[must_use]
    pub fn networks(&self) -> Option<&Networks> {
        match &self.reached {
            Reached::Networks(networks, _) => Some(networks),
            _ => None,
        }
    }
}
