//! Stochastic-gradient variational inference for declared models.

pub mod amortized;
pub mod density;
pub mod error;
pub mod lower;
pub mod network;
pub mod tape;
