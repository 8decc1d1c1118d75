//! The model language, from TOML text to a checked graph of variables, named axes, expressions and data.

mod builder;
mod check;
pub mod data;
mod depiction;
mod describe;
pub mod diagnostic;
pub mod evaluate;
pub mod expression;
pub mod graph;
pub mod inference;
mod load;
mod missing_file;
pub mod new_rows;
mod reference;
pub mod registry;
pub mod repeated_rows;
mod resolve;
mod schema;
pub mod spec;
pub mod support;
pub mod tensor;

pub use builder::{ModelBuilder, VariableBuilder};
pub use depiction::Depiction;
pub use load::{load, load_str, parse_str};
pub use reference::reference_markdown;
pub use schema::schema;
