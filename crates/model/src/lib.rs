//! The model language, from TOML text to a checked graph of variables, named axes, expressions and data.
//!
//! [`load`] reads a file, [`load_str`] a text (and [`load_str_with_data`] one whose data are in memory), and [`ModelBuilder`] takes the
//! same keys from code. All of them give a [`graph::Graph`], in which every name is resolved and every axis known, or a
//! [`diagnostic::ModelError`] with all mistakes and their places. The engines `cavi` and `sgvi` fit a graph. What the language has is in
//! [`registry`], from which [`reference_markdown`] and [`schema()`] are made.
//!
//! ```
//! let text = r#"
//!     [data.values]
//!     y = [4.5, 1.5, 3.0]
//!
//!     [plates]
//!     row = "rows"
//!
//!     [variables.mu]
//!     distribution = "normal"
//!     mean = 0
//!     sdd = 10
//!
//!     [variables.x]
//!     plates = ["row"]
//!     distribution = "normal"
//!     mean = "mu"
//!     sd = 1
//!     observed = "y"
//! "#;
//! let error = vi_model::load_str(text, "model.toml", "".as_ref()).unwrap_err();
//! assert!(error.diagnostics[0].message.contains("did you mean `sd`?"));
//!
//! let graph = vi_model::load_str(&text.replace("sdd", "sd"), "model.toml", "".as_ref())?;
//! assert_eq!(graph.variables.len(), 2);
//! assert_eq!(graph.data.num_rows(), 3);
//! print!("{}", graph.variables_table());
//! # Ok::<(), vi_model::diagnostic::ModelError>(())
//! ```

mod builder;
mod check;
pub mod data;
mod depiction;
mod describe;
pub mod diagnostic;
mod distribution;
pub mod evaluate;
pub mod expression;
mod fingerprint;
pub mod graph;
pub mod inference;
mod load;
mod missing_file;
pub mod new_rows;
mod reference;
pub mod registry;
pub mod repeated_rows;
mod resolve;
pub mod row_values;
mod schema;
pub mod spec;
pub mod support;
pub mod tensor;

pub use builder::{ModelBuilder, VariableBuilder};
pub use depiction::Depiction;
pub use load::{load, load_str, load_str_with_data, parse_str};
pub use reference::reference_markdown;
pub use schema::schema;
