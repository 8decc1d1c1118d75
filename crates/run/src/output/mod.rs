//! What a run leaves on disk: the directory, its tables and its row-level files.

mod atomic;
mod directory;
mod local;
mod table;

pub use atomic::AtomicFile;
pub use directory::{RunDirectory, engine_of};
pub use local::{LocalColumns, LocalFormat, LocalWriter};
pub use table::elbo_csv;

use std::path::PathBuf;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The directory holds something else.
    #[error(
        "{} is not empty and not the directory of a run (it has neither `.vi-run` nor a run's `summary.json`), so nothing was written: choose another --output", path.display()
    )]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The path is a file.
    #[error("{} is not a directory, so nothing was written: choose another --output", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused to write.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The operating system refused to read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A value has no form in JSON.
    #[error("{} cannot be written as JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A chunk of rows does not have whole rows of the declared columns.
    #[error("rows of `{name}` have {width} numbers, but a chunk has {given}")]
    Width {
        /// The variable.
        name: String,
        /// Numbers per row.
        width: usize,
        /// Numbers in the chunk.
        given: usize,
    },
    /// The chunk is of another kind than the columns that were declared.
    #[error("`{name}` was declared with columns of {declared}, but {given} were written")]
    Kind {
        /// The variable.
        name: String,
        /// What was declared.
        declared: &'static str,
        /// What was written.
        given: &'static str,
    },
    /// A name that cannot be a file name.
    #[error("`{name}` cannot be a file name within the run's directory")]
    Name {
        /// The name.
        name: String,
    },
    /// A picture could not be drawn.
    #[error("cannot draw {}: {reason}", path.display())]
    Picture {
        /// The picture's file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// A fresh folder for a test.
#[cfg(test)]
pub(crate) fn test_folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vi-run-{name}-{}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}
