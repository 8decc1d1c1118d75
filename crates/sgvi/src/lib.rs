//! Stochastic-gradient variational inference for declared models.

pub mod amortized;
#[cfg(feature = "cli")]
pub mod cli;
pub mod density;
pub mod error;
pub mod fit;
pub mod lower;
pub mod network;
pub mod tape;
