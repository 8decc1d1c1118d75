//! Stochastic-gradient variational inference for models declared in TOML.
//!
//! [`vi_model`] reads a model; [`fit()`] fits it in the settings of its `[inference]` and returns a [`vi_run::Record`]: status, ELBO and its
//! parts, verdict, and the posterior of every variable outside the rows' plate by name.
//!
//! ```
//! let model = r#"
//!     [data.values]
//!     heads = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]
//!
//!     [plates]
//!     toss = "rows"
//!
//!     [variables.fairness]
//!     distribution = "beta"
//!     alpha = 1
//!     beta = 1
//!
//!     [variables.x]
//!     plates = ["toss"]
//!     distribution = "bernoulli"
//!     probability = "fairness"
//!     observed = "heads"
//! "#;
//! let graph = vi_model::load_str(model, "coin.toml", "".as_ref())?;
//! let record = sgvi::fit(&graph)?;
//! assert_eq!(record.extra["verdict"], "good");
//! let mean = record.posterior["fairness"].mean.as_ref().map_or(f64::NAN, |mean| mean.values()[0]);
//! assert!((mean - 8.0 / 12.0).abs() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Underneath, a model without networks goes through [`lower`] (its log joint as a [`tape`] over unconstrained coordinates, discrete
//! variables summed out) and [`fit::run`] (search, assessment, posterior; [`fit::run::FitOptions`] takes observers and checkpoints); one
//! with networks through [`mod@amortized`]. [`mod@predict`] serves new rows.
// Loops over several aligned arrays read best with an index.
#![allow(clippy::needless_range_loop)]

pub mod amortized;
#[cfg(feature = "cli")]
pub mod cli;
pub mod density;
pub mod error;
pub mod fit;
pub mod lower;
pub mod network;
pub mod predict;
pub mod tape;

use vi_model::graph::Graph;
use vi_run::executor::FailureCause;
use vi_run::record::Record;

pub use error::SgviError;

/// Fits a model, with networks or without, as its `[inference]` says; the record is named after the model's source.
///
/// # Errors
/// [`SgviError`] where this engine cannot treat the model or its data. A failure while running is a record with the status `failed`
/// and its reason under the extra key `failure`.
pub fn fit(graph: &Graph) -> Result<Record, SgviError> {
    let name = &*graph.source.name;
    if !amortized::compile::is_amortized(graph) {
        return Ok(fit::run::fit(graph, name, fit::run::FitOptions::default())?.record);
    }
    match amortized::fit::fit(graph, name, amortized::fit::FitOptions::default()) {
        Ok(fit) => Ok(fit.record),
        Err(failure) => match failure.cause {
            FailureCause::Algorithm(error @ (SgviError::Unsupported { .. } | SgviError::Data(_))) => Err(error),
            _ => Ok(amortized::fit::record_of_failure(graph, name, &failure)),
        },
    }
}
