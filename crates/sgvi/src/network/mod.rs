//! Neural networks as explicit layers in f32: forward and backward passes over parts of a batch, parameters, optimisers.

pub mod activation;
pub mod aligned;
pub mod convolution;
mod elementary;
pub(crate) use elementary::{exp, softplus_and_logistic};
pub mod dense;
pub mod kernels;
pub mod layer;
mod lists;
pub mod noise;
pub mod optimizer;
pub mod parameters;
mod product;
pub mod stack;
pub(crate) mod vectorize;
