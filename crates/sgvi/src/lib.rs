//! Stochastic-gradient variational inference for models declared in TOML.
//!
//! [`vi_model`] reads a model; [`fit()`] fits it in the settings of its `[inference]`. The [`Fit`] holds the record of the run (status,
//! ELBO and its parts, verdict, the posterior of every variable outside the rows' plate by name) and predicts new rows. The data may stand
//! in the model, in a file beside it, or in memory (see [`vi_model::ModelBuilder`]).
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
//! let fit = sgvi::fit(&graph)?;
//! let record = fit.record();
//! assert_eq!(record.extra["verdict"], "good");
//! let mean = record.posterior["fairness"].mean.as_ref().map_or(f64::NAN, |mean| mean.values()[0]);
//! assert!((mean - 8.0 / 12.0).abs() < 0.01);
//! // Two new tosses, of which one is not known.
//! let cells = vi_model::data::Cells::Numbers(vec![1.0, f64::NAN]);
//! let new = vi_model::data::Data::from_columns(vec![("heads".to_owned(), cells)])?;
//! let prediction = fit.predict(&new, &sgvi::PredictOptions::default())?;
//! assert!((prediction.variables[0].means[1] - 8.0 / 12.0).abs() < 0.05);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A model with networks (a variational auto-encoder and its relatives) is fitted by the same call; [`Fit::networks`] then encodes,
//! decodes and evaluates rows: `examples/in_memory.rs` trains one on a matrix.
//!
//! Underneath, a model without networks is lowered to its log joint, a tape over unconstrained coordinates with discrete variables
//! summed out, on which a Gaussian is fitted by a deterministic search or by stochastic steps; one with networks runs layers in 32-bit
//! numbers and shares the tape for all that no layer computes.
// Loops over several aligned arrays read best with an index.
#![allow(clippy::needless_range_loop)]
// Comparisons of estimators, files of draws and of weights: the command line calls them.
#![cfg_attr(not(feature = "cli"), allow(dead_code))]

mod amortized;
#[cfg(feature = "cli")]
pub mod cli;
mod crew;
mod density;
mod error;
mod fit;
mod fitted;
mod lower;
mod network;
mod predict;
mod tape;

pub use amortized::generate::{Code, Decoded, Encoding, Evaluation};
pub use amortized::networks::{Networks, NetworksError};
pub use error::SgviError;
pub use fit::save::RowPosterior;
pub use fitted::{Fit, FitOptions, fit, fit_with};
pub use predict::{PredictError, PredictOptions, Prediction, RowExpression, RowPrediction};
