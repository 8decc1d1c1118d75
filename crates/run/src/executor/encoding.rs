//! The encoding of checkpoints: numbers, little-endian and bitwise, one after the other.

use std::collections::BTreeMap;
use std::ops::Range;

use super::checkpoint::CheckpointError;

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

    /// Appends what `write` writes, with its length before it.
    pub fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.u64(0);
        write(self);
        let length = (self.bytes.len() - at - 8) as u64;
        self.bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
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

    pub(super) fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], CheckpointError> {
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

/// A value that has a bitwise form in checkpoints; [`stored!`](crate::stored) makes one of a structure.
pub trait Stored: Sized {
    /// Appends the value.
    fn store(&self, encoder: &mut Encoder);

    /// Reads what [`Stored::store`] wrote.
    ///
    /// # Errors
    /// When the content ends before or does not fit.
    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError>;
}

/// [`Stored`] for a structure, field by field. Fields after a semicolon are not stored but begin at their defaults.
#[macro_export]
macro_rules! stored {
    ($name:ty { $($field:ident),* $(; $($scratch:ident),*)? }) => {
        impl $crate::executor::Stored for $name {
            fn store(&self, encoder: &mut $crate::executor::Encoder) {
                let Self { $($field,)* $($($scratch: _,)*)? } = self;
                $($crate::executor::Stored::store($field, encoder);)*
            }

            fn restore(decoder: &mut $crate::executor::Decoder<'_>) -> Result<Self, $crate::executor::CheckpointError> {
                Ok(Self {
                    $($field: $crate::executor::Stored::restore(decoder)?,)*
                    $($($scratch: Default::default(),)*)?
                })
            }
        }
    };
}

macro_rules! stored_numbers {
    ($($number:ident),*) => {$(
        impl Stored for $number {
            fn store(&self, encoder: &mut Encoder) {
                encoder.$number(*self);
            }

            fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
                decoder.$number()
            }
        }
    )*};
}

stored_numbers!(u64, usize, bool, f64);

impl<T: Stored> Stored for Option<T> {
    fn store(&self, encoder: &mut Encoder) {
        encoder.bool(self.is_some());
        self.iter().for_each(|value| value.store(encoder));
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        decoder.bool()?.then(|| T::restore(decoder)).transpose()
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn store(&self, encoder: &mut Encoder) {
        encoder.usize(self.len());
        self.iter().for_each(|value| value.store(encoder));
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        (0..decoder.usize()?).map(|_| T::restore(decoder)).collect()
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn store(&self, encoder: &mut Encoder) {
        self.0.store(encoder);
        self.1.store(encoder);
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        Ok((A::restore(decoder)?, B::restore(decoder)?))
    }
}

impl<T: Stored> Stored for Range<T> {
    fn store(&self, encoder: &mut Encoder) {
        self.start.store(encoder);
        self.end.store(encoder);
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        Ok(T::restore(decoder)?..T::restore(decoder)?)
    }
}

impl<K: Stored + Ord, V: Stored> Stored for BTreeMap<K, V> {
    fn store(&self, encoder: &mut Encoder) {
        encoder.usize(self.len());
        for (key, value) in self {
            key.store(encoder);
            value.store(encoder);
        }
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        (0..decoder.usize()?).map(|_| Ok((K::restore(decoder)?, V::restore(decoder)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
