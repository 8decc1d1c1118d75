//! Exponential families, special functions and vectorised row kernels.
//!
//! Each family has one module: a struct with named parameters that implements [`ExponentialFamily`], and free functions on numbers
//! and slices (`gamma::expectations(shape, rate)`, `dirichlet::expected_log_into(…)`) for engines that keep arrays of factors and
//! allocate nothing. Samplers return not-a-number for parameters that the constructors would refuse.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bernoulli;
pub mod beta;
pub mod binomial;
pub mod categorical;
pub mod densities;
pub mod dirichlet;
pub mod error;
pub mod exponential;
pub mod family;
pub mod gamma;
pub mod incomplete;
pub mod inverse_gamma;
pub mod matrix;
pub mod multinomial;
pub mod named;
pub mod normal;
pub mod normal_gamma;
pub mod normal_gamma_vector;
pub mod normal_vector;
pub mod normal_wishart;
pub mod poisson;
pub mod product;
pub mod rows;
pub mod special;
pub mod stick_breaking;
pub mod truncated_normal;
pub mod wishart;

pub use bernoulli::Bernoulli;
pub use beta::Beta;
pub use binomial::Binomial;
pub use categorical::Categorical;
pub use dirichlet::Dirichlet;
pub use error::FamilyError;
pub use exponential::Exponential;
pub use family::{Coordinates, Expectations, ExponentialFamily, Natural};
pub use gamma::Gamma;
pub use inverse_gamma::InverseGamma;
pub use multinomial::Multinomial;
pub use normal::Normal;
pub use normal_gamma::NormalGamma;
pub use normal_gamma_vector::NormalGammaVector;
pub use normal_vector::NormalVector;
pub use normal_wishart::NormalWishart;
pub use poisson::Poisson;
pub use stick_breaking::StickBreaking;
pub use truncated_normal::TruncatedNormal;
pub use wishart::Wishart;
