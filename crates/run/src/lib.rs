//! The loop around an inference engine, its records and their writers.
//!
//! Nothing here knows a distribution. An engine implements [`executor::Algorithm`]; [`executor::Executor`] runs it with
//! restarts, a stop rule, observers and checkpoints; the engine fills a [`record::Record`] and
//! [`output::RunDirectory`] writes it. Pictures are behind the feature `plot`, what both command lines share behind `cli`.
//!
//! ```
//! use vi_run::executor::{Algorithm, Executor, Progress, RelativeGain};
//!
//! /// Halves its distance to the optimum in every iteration.
//! struct Halving(f64);
//!
//! impl Algorithm for Halving {
//!     type Error = std::convert::Infallible;
//!     fn step(&mut self) -> Result<Progress, Self::Error> {
//!         self.0 /= 2.0;
//!         Ok(Progress::new(-1.0 - self.0))
//!     }
//! }
//!
//! let mut executor = Executor::new(0, 1000, RelativeGain::new(1e-6)).restarts(3);
//! let fit = executor.run(|restart| Ok(Halving(restart.index as f64)))?;
//! assert!(fit.outcome.elbo > -1.0 - 1e-5);
//! # Ok::<(), vi_run::executor::Failure<std::convert::Infallible>>(())
//! ```

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
mod markup;
#[cfg(feature = "plot")]
pub mod plot;

pub use array::NestedArray;
pub use record::{PosteriorEntry, Record, Status, TracePoint};
pub use summary::Summary;
