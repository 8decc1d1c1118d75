//! Buffers of f32 that begin at a line of the cache, so that vectors loaded from them do not straddle two, and large ones at a large page.

use std::ops::{Deref, DerefMut};

/// Numbers in a line of the cache.
pub(super) const LINE: usize = 16;

/// Numbers in a large page of memory.
const PAGE: usize = 1 << 19;

/// A buffer that begins at a line of the cache; it reads and writes like a slice.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    values: Vec<f32>,
    start: usize,
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
        let unit = if length < PAGE { LINE } else { PAGE };
        if length > 0 && self.values.len() < length + unit {
            // With room for the rest of a last page, which is not touched.
            self.values = vec![0.0; length + 2 * unit];
            self.start = self.values.as_ptr().align_offset(4 * unit).min(unit);
            // Those that the buffer fills, and a last one of which it fills a quarter.
            let pages = (length + 3 * PAGE / 4) / PAGE;
            if length >= PAGE {
                ask_for_large_pages(&mut self.values[self.start..][..pages * PAGE]);
            }
        }
        self.length = length;
        self
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.length]
    }
}

/// Lets memory lie in large pages, whose addresses the processor finds faster.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(memory: &mut [f32]) {
    // SAFETY: the advice changes nothing of the memory that was borrowed but how fast it is; it does not matter whether it is taken.
    unsafe { libc::madvise(memory.as_mut_ptr().cast(), size_of_val(memory), libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_memory: &mut [f32]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_line_and_keep_what_they_hold() {
        for length in [0, 1, 17, 4096, PAGE, 3 * PAGE + 7] {
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
