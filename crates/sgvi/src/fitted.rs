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
use crate::fit::save::{self, RowPosterior};
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

    /// The posterior of a latent variable or expression of the rows' plate in every row of the data; `None` where the run failed.
    ///
    /// # Errors
    /// Names of what is not in the rows' plate, saying what is; models with networks, whose [`Fit::networks`] encode rows.
    pub fn rows(&self, name: &str) -> Result<Option<RowPosterior>, SgviError> {
        let fitted = match &self.reached {
            Reached::Gaussian(fitted) => fitted,
            Reached::Networks(..) => {
                return Err(SgviError::Unsupported {
                    variable: name.to_owned(),
                    reason: "networks give each row its factor".to_owned(),
                    help: "encode rows by `Fit::networks`".to_owned(),
                    span: 0..0,
                });
            }
            Reached::Nothing(_) => return Ok(None),
        };
        let names = [name.to_owned()];
        save::check(fitted.graph(&self.graph), &fitted.model, &names)?;
        Ok(save::row_posteriors(&self.graph, fitted, &names)?.pop().map(|(_, rows)| rows))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// x ~ N(0, 1), y ~ N(x, 1): x | y ~ N(y/2, ½); and P(z = 1 | w) by Bayes' rule.
    #[test]
    fn posteriors_of_rows() {
        let text = "[data.values]\nfirst = [0.4, -1.2, 2.0]\nsecond = [0.3, 1.1, 1.9]\n\
                    [plates]\nrow = \"rows\"\nkind = 2\n\
                    [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
                    [variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"x\"\nsd = 1\nobserved = \"first\"\n\
                    [variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]\n\
                    [variables.m]\nplates = [\"kind\"]\ndistribution = \"normal\"\nmean = [0.0, 2.0]\nsd = 1e-6\n\
                    [variables.w]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m[z]\"\nsd = 1\nobserved = \"second\"\n";
        let graph = vi_model::load_str(text, "test.toml", std::path::Path::new(".")).unwrap_or_else(|e| panic!("{e}"));
        let fit = fit(&graph).unwrap_or_else(|e| panic!("{e}"));
        let rows = |name: &str| fit.rows(name).unwrap_or_else(|e| panic!("{e}")).expect("the run did not fail");
        let x = rows("x");
        assert!(!x.is_categorical && x.width == 1);
        for (i, y) in [0.4, -1.2, 2.0].into_iter().enumerate() {
            assert!((x.means[i] - 0.5 * y).abs() < 1e-3 && (x.sds[i] - 0.5f64.sqrt()).abs() < 1e-3, "{x:?}");
        }
        let z = rows("z");
        assert!(z.is_categorical && z.width == 2);
        for (i, w) in [0.3, 1.1, 1.9f64].into_iter().enumerate() {
            let (a, b) = (0.3 * (-0.5 * w * w).exp(), 0.7 * (-0.5 * (w - 2.0).powi(2)).exp());
            let p = b / (a + b);
            assert!((z.means[2 * i + 1] - p).abs() < 1e-3, "{z:?}");
            assert!((z.sds[2 * i + 1] - (p * (1.0 - p)).sqrt()).abs() < 1e-3, "{z:?}");
        }
        let refused = fit.rows("m").expect_err("is not of the rows").to_string();
        assert!(refused.contains("here: x, z"), "{refused}");
    }
}
