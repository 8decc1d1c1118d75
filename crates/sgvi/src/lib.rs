//! Stochastic-gradient variational inference for declared models.
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
