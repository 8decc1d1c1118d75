//! Models whose latent variables have amortised factors: variational auto-encoders and their relatives.

mod bound;
pub mod compile;
pub mod fit;
pub mod generate;
mod likelihood;
pub mod model;
pub mod part;
mod posterior;
pub mod program;
pub mod settings;
pub mod trainer;
pub mod training;
pub mod weights;

pub use bound::{Bound, Totals};
