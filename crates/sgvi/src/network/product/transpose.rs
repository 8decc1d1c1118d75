//! Transposition of a matrix, block by block in registers.

use super::register::Register;

/// The largest register, in numbers.
pub(super) const MOST_LANES: usize = 16;

/// target[j, i] = source[i, j], or added to it, for `rows` rows of `columns` numbers.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn transpose<R: Register>(
    source: &[f32],
    source_stride: usize,
    rows: usize,
    columns: usize,
    target: &mut [f32],
    target_stride: usize,
    accumulate: bool,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * source_stride + columns <= source.len());
    assert!((columns - 1) * target_stride + rows <= target.len());
    let mut block = [0.0; MOST_LANES * MOST_LANES];
    let mut turned = [0.0; MOST_LANES * MOST_LANES];
    let mut i = 0;
    while i < rows {
        let height = R::LANES.min(rows - i);
        let mut j = 0;
        while j < columns {
            let width = R::LANES.min(columns - j);
            let (from, to) = (i * source_stride + j, j * target_stride + i);
            if height == R::LANES && width == R::LANES && !accumulate {
                // SAFETY: the caller's contract; the block lies within both slices by the assertions above.
                unsafe {
                    let (from, to) = (source.as_ptr().add(from), target.as_mut_ptr().add(to));
                    R::transpose(from, source_stride, to, target_stride);
                }
            } else {
                for (row, line) in block.chunks_exact_mut(R::LANES).take(height).enumerate() {
                    let from = from + row * source_stride;
                    line[..width].copy_from_slice(&source[from..from + width]);
                }
                // SAFETY: the caller's contract; both blocks have room for a square of the largest registers.
                unsafe { R::transpose(block.as_ptr(), R::LANES, turned.as_mut_ptr(), R::LANES) };
                for (row, line) in turned.chunks_exact(R::LANES).take(width).enumerate() {
                    let to = to + row * target_stride;
                    let target = &mut target[to..to + height];
                    if accumulate {
                        target.iter_mut().zip(line).for_each(|(t, &s)| *t += s);
                    } else {
                        target.copy_from_slice(&line[..height]);
                    }
                }
            }
            j += width;
        }
        i += height;
    }
}
