//! Coordinate-ascent variational inference for declared conjugate models.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod accelerate;
pub mod chain;
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
pub use fit::{Ascent, FitError, executor, fit, fit_with};
pub use predict::{GlobalState, LogDensity, PredictError, Prediction, RowExpression, with_predictors};
pub use save::{RowPosterior, SaveError};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
