//! The model language, from TOML text to a checked graph of variables, named axes, expressions and data.

pub mod data;
pub mod diagnostic;
pub mod evaluate;
pub mod graph;
pub mod inference;
pub mod support;
pub mod tensor;
