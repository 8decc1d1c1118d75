//! Coordinate-ascent variational inference for conjugate models declared in TOML.
//!
//! [`vi_model`] reads a model; [`fit()`] derives the updates of a factorised posterior and iterates them until the ELBO stops rising.
//! The result holds the outcome of the run and the fitted [`Ascent`], which gives the posterior by name, the parts of the ELBO, the
//! posterior of single rows and predictions.
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
//! let fit = cavi::fit(&graph)?;
//! // The posterior is Beta(8, 4), and the ELBO is the log evidence, log B(8, 4).
//! assert!((fit.outcome.elbo + 1320f64.ln()).abs() < 1e-9);
//! for (name, entry) in fit.algorithm.posterior() {
//!     println!("{name}: {:?} {:?} ± {:?}", entry.distribution, entry.mean, entry.sd);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`fit_with`] takes an executor with observers, another stop rule or an interruption (see [`vi_run::executor`]), and
//! [`fit_with_checkpoints`] saves its state as it goes; [`describe()`] tells the factors and their updates in mathematical notation without inferring anything.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod accelerate;
mod chain;
mod describe;
mod engine;
mod error;
mod factor;
mod fit;
mod kernel;
mod linear_response;
mod lower;
mod plan;
mod posterior;
mod predict;
mod predictive;
mod program;
mod rotate;
mod save;
mod schedule;
mod starts;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod picture;

pub use describe::{Coefficient, Description, FactorDescription, Gate, RowSum, Work, describe};
pub use error::CaviError;
pub use fit::{Ascent, FitError, executor, fit, fit_with, fit_with_checkpoints};
pub use linear_response::{LinearResponse, Watch};
pub use predict::{GlobalState, LogDensity, PredictError, Prediction, RowExpression, with_predictors};
pub use save::{RowPosterior, SaveError};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
