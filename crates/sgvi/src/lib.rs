//! Stochastic-gradient variational inference for declared models.

pub mod density;
pub mod network;
pub mod tape;
