//! Neural networks as explicit layers in f32: forward and backward passes over parts of a batch, parameters, optimisers.

pub(crate) mod activation;
pub(crate) mod aligned;
pub(crate) mod convolution;
mod elementary;
pub(crate) use elementary::{exp, softplus_and_logistic};
pub(crate) mod dense;
pub(crate) mod kernels;
pub(crate) mod layer;
mod lists;
pub(crate) mod noise;
mod normalization;
pub(crate) mod optimizer;
pub(crate) mod parameters;
mod product;
pub(crate) mod stack;
pub(crate) mod vectorize;
