//! Buffers of f32 that begin at a line of the cache, so that vectors loaded from them do not straddle two.

use std::ops::{Deref, DerefMut};

/// Numbers in a line of the cache.
pub(super) const LINE: usize = 16;

/// A buffer that begins at a line of the cache; it reads and writes like a slice.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    values: Vec<f32>,
    length: usize,
}

impl Aligned {
    /// Zeros.
    #[must_use]
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::default();
        buffer.with_length(length);
        buffer
    }

    /// These numbers.
    #[must_use]
    pub(crate) fn of(values: &[f32]) -> Self {
        let mut buffer = Self::default();
        buffer.with_length(values.len()).copy_from_slice(values);
        buffer
    }

    /// The buffer with this length; what is in it is unspecified.
    pub(crate) fn with_length(&mut self, length: usize) -> &mut [f32] {
        if length > 0 && self.values.len() < length + LINE {
            self.values = vec![0.0; length + LINE];
        }
        self.length = length;
        self
    }

    fn start(&self) -> usize {
        if self.length == 0 { 0 } else { self.values.as_ptr().align_offset(4 * LINE).min(LINE) }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let start = self.start();
        &self.values[start..start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        let start = self.start();
        &mut self.values[start..start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_line_and_keep_what_they_hold() {
        for length in [0, 1, 17, 4096] {
            let mut buffer = Aligned::zeros(length);
            assert_eq!(buffer.len(), length);
            assert!(length == 0 || (buffer.as_ptr() as usize).is_multiple_of(64));
            buffer.fill(3.0);
            let moved = std::iter::once(buffer).collect::<Vec<_>>();
            assert!(moved[0].iter().all(|&value| value == 3.0));
            assert_eq!(*Aligned::of(&moved[0]), *moved[0]);
        }
    }
}
