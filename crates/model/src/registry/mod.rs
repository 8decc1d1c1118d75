//! The one table of everything the language knows: sections, keys, distributions, functions, options.

mod distributions;
mod sections;
mod types;
mod words;

pub use distributions::{DISTRIBUTIONS, distribution};
pub use sections::{
    ACTIVATIONS, CONSTANT, DATA, FUNCTIONS, INFERENCE, INFERENCE_OPTIONS, NETWORK, PLATE, TOP, VARIABLE,
};
pub use types::{DimensionRule, DistributionEntry, Domain, Key, KeyKind, Parameter, Section, Support};
pub use words::{edit_distance, nearest};
