//! Checkpoints: the bytes from which an interrupted run resumes to bitwise the same result.

use super::encoding::Decoder;
use crate::output::{AtomicFile, OutputError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAGIC: &[u8; 8] = b"vi-ckpt3";

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file could not be read.
    #[error("cannot read the checkpoint {}: {source}", path.display())]
    Read {
        /// The checkpoint's path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// The file is no checkpoint of this program's format.
    #[error("{} is not a checkpoint of this version: delete it and start the run again", path.display())]
    NotACheckpoint {
        /// The path that was read.
        path: PathBuf,
    },
    /// The file was damaged after it was written.
    #[error("the checkpoint {} is damaged (its checksum does not agree): delete it and start the run again", path.display())]
    Damaged {
        /// The path that was read.
        path: PathBuf,
    },
    /// The checkpoint belongs to another model, other data or other options.
    #[error(
        "the checkpoint {} is of another model, other data or other options: resume with the same ones, or write to another --output", path.display()
    )]
    OtherRun {
        /// The path that was read.
        path: PathBuf,
    },
    /// The content ends too early or does not fit the algorithm's state.
    #[error("the checkpoint does not hold {what}: it is of another version of this program or of another model")]
    Content {
        /// What was expected at this place.
        what: String,
    },
}

/// Where and how often a run saves its state.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// The checkpoint file.
    pub path: PathBuf,
    /// The least time between two checkpoints; one is also written at an interruption.
    pub every: Duration,
    /// Steps after which one is written however little time has passed; `None` goes by time alone.
    pub every_steps: Option<usize>,
    /// Of model, data and options: a checkpoint resumes only a run with the same one (see [`fingerprint`]).
    pub fingerprint: u64,
    /// Whether to go on from the file at `path`.
    pub resume: bool,
}

/// The 64-bit FNV-1a hash: the checksum of a checkpoint, and a fingerprint of models, options and data.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes a checkpoint atomically: an interruption while writing leaves the previous one.
///
/// # Errors
/// When the file cannot be written.
pub fn write_checkpoint(path: &Path, fingerprint_of_run: u64, content: &[u8]) -> Result<(), CheckpointError> {
    let mut file = AtomicFile::create(path)?;
    let mut write =
        |bytes: &[u8]| file.write_all(bytes).map_err(|source| OutputError::Write { path: path.to_owned(), source });
    write(MAGIC)?;
    write(&fingerprint_of_run.to_le_bytes())?;
    write(&fingerprint(content).to_le_bytes())?;
    write(content)?;
    file.commit()?;
    Ok(())
}

/// The content of a checkpoint that was written for the same run.
///
/// # Errors
/// When it cannot be read, is damaged, or was written under another `fingerprint_of_run`.
pub fn read_checkpoint(path: &Path, fingerprint_of_run: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = std::fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let path = || path.to_owned();
    let mut header = Decoder::new(&bytes);
    let not_a_checkpoint = |_| CheckpointError::NotACheckpoint { path: path() };
    if header.take(8, "").map_err(not_a_checkpoint)? != MAGIC {
        return Err(CheckpointError::NotACheckpoint { path: path() });
    }
    let run = header.u64().map_err(not_a_checkpoint)?;
    let checksum = header.u64().map_err(not_a_checkpoint)?;
    let content = bytes.split_off(24);
    if fingerprint(&content) != checksum {
        return Err(CheckpointError::Damaged { path: path() });
    }
    if run != fingerprint_of_run {
        return Err(CheckpointError::OtherRun { path: path() });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_folder;

    #[test]
    fn foreign_and_damaged_files_are_told_apart() {
        let folder = test_folder("checkpoint");
        let path = folder.join("checkpoint.bin");
        write_checkpoint(&path, 1, b"state").unwrap();
        assert_eq!(read_checkpoint(&path, 1).unwrap(), b"state");
        assert!(matches!(read_checkpoint(&path, 2), Err(CheckpointError::OtherRun { .. })));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(read_checkpoint(&path, 1), Err(CheckpointError::Damaged { .. })));
        std::fs::write(&path, b"hello").unwrap();
        assert!(matches!(read_checkpoint(&path, 1), Err(CheckpointError::NotACheckpoint { .. })));
        assert!(matches!(read_checkpoint(&folder.join("none"), 1), Err(CheckpointError::Read { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
