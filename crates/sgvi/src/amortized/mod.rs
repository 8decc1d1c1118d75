//! Models whose latent variables have amortised factors: variational auto-encoders and their relatives.
//!
//! A row program computes what needs layers: encoders, draws, decoders, and the usual likelihoods and divergences with fused
//! kernels, all in 32-bit numbers. Everything else is the compiled log joint of any other model ([`crate::tape`]): values and
//! priors of the variables outside the rows' plate, and the densities of rows that no fused kernel serves, which read draws
//! and networks' outputs through ports ([`joint`]). One reverse sweep goes through both.

mod bound;
pub(crate) mod compile;
pub(crate) mod completion;
mod curvature;
mod elementwise;
pub(crate) mod fit;
pub(crate) mod generate;
pub(crate) mod globals;
pub(crate) mod joint;
mod likelihood;
#[cfg(test)]
mod log_joint_tests;
mod metric;
pub(crate) mod model;
pub(crate) mod networks;
pub(crate) mod part;
mod pass;
mod posterior;
pub(crate) mod program;
mod rearrange;
mod report;
pub(crate) mod responsibility;
mod scaling;
mod search;
pub(crate) mod settings;
mod spread;
mod sweep;
pub(crate) mod trainer;
pub(crate) mod training;
pub(crate) mod weights;

#[cfg(test)]
mod shares_tests;
#[cfg(test)]
mod small_models;
