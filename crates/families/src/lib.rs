//! Exponential families, special functions and vectorised row kernels.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod error;
pub mod family;
pub mod gamma;
pub mod inverse_gamma;
pub mod matrix;
pub mod normal;
pub mod special;

pub use error::FamilyError;
pub use family::{Coordinates, Expectations, ExponentialFamily, Natural};
pub use gamma::Gamma;
pub use inverse_gamma::InverseGamma;
pub use normal::Normal;
pub mod beta;
pub mod densities;
pub mod dirichlet;
pub mod normal_gamma;
pub mod normal_vector;
pub mod normal_wishart;
pub mod wishart;
