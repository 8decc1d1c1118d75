//! Models whose latent variables have amortised factors: variational auto-encoders and their relatives.

mod bound;
pub mod compile;
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
mod search;
pub mod settings;
mod spread;
pub mod trainer;
pub mod training;
pub mod weights;

pub use bound::{Bound, Totals};
