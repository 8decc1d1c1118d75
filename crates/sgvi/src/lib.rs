//! Stochastic-gradient variational inference.
