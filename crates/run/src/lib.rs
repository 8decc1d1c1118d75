//! The loop around an inference engine, its records and their writers.
//!
//! Nothing here knows a distribution. An engine implements [`executor::Algorithm`]; [`executor::Executor`] runs it with
//! restarts, a stop rule, observers and checkpoints; the engine fills a [`record::Record`] and
//! [`output::RunDirectory`] writes it. Pictures are behind the feature `plot`, what both command lines share behind `cli`.

pub mod array;
pub mod diagnostic;
pub mod executor;
pub mod json;
pub mod output;
pub mod record;
pub mod seed;
pub mod summary;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "plot")]
pub mod plot;

pub use array::NestedArray;
pub use record::{PosteriorEntry, Record, Status, TracePoint};
pub use summary::Summary;
