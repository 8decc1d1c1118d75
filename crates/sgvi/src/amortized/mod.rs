//! Models whose latent variables have amortised factors: variational auto-encoders and their relatives.
//!
//! A row program computes what needs layers: encoders, draws, decoders, and the usual likelihoods and divergences with fused
//! kernels, all in 32-bit numbers. Everything else is the compiled log joint of any other model ([`crate::tape`]): values and
//! priors of the variables outside the rows' plate, and the densities of rows that no fused kernel serves, which read draws
//! and networks' outputs through ports ([`joint`]). One reverse sweep goes through both.

mod bound;
pub mod compile;
pub mod completion;
mod curvature;
mod elementwise;
pub mod fit;
pub mod generate;
pub mod globals;
pub mod joint;
mod likelihood;
mod metric;
pub mod model;
pub mod part;
mod pass;
mod posterior;
pub mod program;
mod report;
pub mod responsibility;
mod scaling;
mod search;
pub mod settings;
mod spread;
mod team;
pub mod trainer;
pub mod training;
pub mod weights;

pub use bound::{Bound, Totals};

#[cfg(test)]
mod small_models;
