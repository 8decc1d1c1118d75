//! Models whose latent variables have amortised factors: variational auto-encoders and their relatives.

mod bound;
pub mod compile;
mod likelihood;
pub mod part;
mod posterior;
pub mod program;

pub use bound::{Bound, Totals};
