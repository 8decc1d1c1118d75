//! Checkpoints: the bytes from which an interrupted run resumes to bitwise the same result.

use crate::output::{AtomicFile, OutputError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"vi-ckpt1";

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

/// Writes numbers, little-endian and bitwise, one after the other.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends an integer.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a size or index.
    pub fn usize(&mut self, value: usize) {
        self.u64(value as u64);
    }

    /// Appends a truth value.
    pub fn bool(&mut self, value: bool) {
        self.u64(u64::from(value));
    }

    /// Appends a number, bit by bit.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// Appends a number that may be absent.
    pub fn option_f64(&mut self, value: Option<f64>) {
        self.bool(value.is_some());
        self.f64(value.unwrap_or(0.0));
    }

    /// Appends a length and that many numbers.
    pub fn f64_slice(&mut self, values: &[f64]) {
        self.usize(values.len());
        values.iter().for_each(|&value| self.f64(value));
    }

    /// Appends a length and that many single-precision numbers.
    pub fn f32_slice(&mut self, values: &[f32]) {
        self.usize(values.len());
        values.iter().for_each(|value| self.bytes.extend_from_slice(&value.to_le_bytes()));
    }

    /// Appends a length and that many bytes.
    pub fn bytes(&mut self, values: &[u8]) {
        self.usize(values.len());
        self.bytes.extend_from_slice(values);
    }

    /// Appends a text.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}

/// Reads what an [`Encoder`] wrote, in the same order.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// A decoder at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], CheckpointError> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or_else(|| CheckpointError::Content { what: what.to_owned() })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Reads an integer.
    ///
    /// # Errors
    /// When the content ends before; so for all methods here.
    pub fn u64(&mut self) -> Result<u64, CheckpointError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8, "a number")?);
        Ok(u64::from_le_bytes(word))
    }

    /// Reads a size or index.
    ///
    /// # Errors
    /// When the content ends before, or the number is too large for this machine.
    pub fn usize(&mut self) -> Result<usize, CheckpointError> {
        usize::try_from(self.u64()?).map_err(|_| CheckpointError::Content { what: "a size".to_owned() })
    }

    /// Reads a truth value.
    ///
    /// # Errors
    /// When the content ends before, or holds something else.
    pub fn bool(&mut self) -> Result<bool, CheckpointError> {
        match self.u64()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CheckpointError::Content { what: "a truth value".to_owned() }),
        }
    }

    /// Reads a number, bit by bit.
    ///
    /// # Errors
    /// When the content ends before.
    pub fn f64(&mut self) -> Result<f64, CheckpointError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// Reads a number that may be absent.
    ///
    /// # Errors
    /// When the content ends before.
    pub fn option_f64(&mut self) -> Result<Option<f64>, CheckpointError> {
        let present = self.bool()?;
        let value = self.f64()?;
        Ok(present.then_some(value))
    }

    /// Reads as many numbers as were written.
    ///
    /// # Errors
    /// When the content ends before.
    pub fn f64_vec(&mut self) -> Result<Vec<f64>, CheckpointError> {
        let length = self.usize()?.saturating_mul(8);
        let words = self.take(length, "a list of numbers")?.chunks_exact(8);
        Ok(words
            .map(|word| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(word);
                f64::from_le_bytes(bytes)
            })
            .collect())
    }

    /// Reads exactly `values.len()` numbers into `values`.
    ///
    /// # Errors
    /// When another number of them was written.
    pub fn f64_into(&mut self, values: &mut [f64]) -> Result<(), CheckpointError> {
        let read = self.f64_vec()?;
        if read.len() != values.len() {
            return Err(CheckpointError::Content { what: format!("a list of {} numbers", values.len()) });
        }
        values.copy_from_slice(&read);
        Ok(())
    }

    /// Reads as many single-precision numbers as were written.
    ///
    /// # Errors
    /// When the content ends before.
    pub fn f32_vec(&mut self) -> Result<Vec<f32>, CheckpointError> {
        let length = self.usize()?.saturating_mul(4);
        let words = self.take(length, "a list of numbers")?.chunks_exact(4);
        Ok(words
            .map(|word| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(word);
                f32::from_le_bytes(bytes)
            })
            .collect())
    }

    /// Reads as many bytes as were written.
    ///
    /// # Errors
    /// When the content ends before.
    pub fn bytes(&mut self) -> Result<&'a [u8], CheckpointError> {
        let length = self.usize()?;
        self.take(length, "a list of bytes")
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When the content ends before, or is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CheckpointError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CheckpointError::Content { what: "a text".to_owned() })
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(CheckpointError::Content { what: "only this state".to_owned() })
        }
    }
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
    fn everything_written_reads_back_bitwise() {
        let mut encoder = Encoder::new();
        encoder.f64_slice(&[-0.0, f64::NAN, 1e-310]);
        encoder.f32_slice(&[1.5, -2.0]);
        encoder.text("η");
        encoder.option_f64(None);
        encoder.bool(true);
        let bytes = encoder.into_bytes();
        let mut decoder = Decoder::new(&bytes);
        let numbers = decoder.f64_vec().unwrap();
        assert_eq!(numbers[0].to_bits(), (-0.0f64).to_bits());
        assert_eq!(numbers[1].to_bits(), f64::NAN.to_bits());
        assert_eq!(decoder.f32_vec().unwrap(), [1.5, -2.0]);
        assert_eq!(decoder.text().unwrap(), "η");
        assert_eq!(decoder.option_f64().unwrap(), None);
        assert!(decoder.finish().is_err());
        assert!(decoder.bool().unwrap());
        decoder.finish().unwrap();
        assert!(decoder.f64().is_err());
    }

    #[test]
    fn a_length_beyond_the_content_is_an_error_not_an_allocation() {
        let mut encoder = Encoder::new();
        encoder.u64(u64::MAX);
        assert!(Decoder::new(&encoder.into_bytes()).f64_vec().is_err());
    }

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
