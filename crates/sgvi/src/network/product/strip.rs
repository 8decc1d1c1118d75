//! The inner loops of a product: tiles of the output that stay in registers, over a panel that stays in the first cache.

use super::register::{Register, prefetch};

/// Numbers that a product reads as a matrix, element (i, k) at `i·row + k·depth`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided<'a> {
    pub values: &'a [f32],
    /// From one row of the output to the next.
    pub row: usize,
    /// From one term of the sums to the next.
    pub depth: usize,
}

/// Some columns of the other factor, side by side: element (k, j) at `k·stride + j`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    /// Registers that hold a row of it.
    pub vectors: usize,
}

/// output[i, j] = Σ_k left[i, k]·panel[k, j], or added to it.
#[derive(Debug)]
pub(super) struct Strip<'a> {
    pub left: Strided<'a>,
    pub rows: usize,
    /// Terms of the sums.
    pub depth: usize,
    pub panel: Panel<'a>,
    pub output: &'a mut [f32],
    /// From one row of the output to the next.
    pub stride: usize,
    pub accumulate: bool,
}

/// Computes all rows, and all numbers of the panel's registers.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn strip<R: Register>(job: Strip<'_>) {
    let Strip { left, rows, depth, panel, output, stride, accumulate } = job;
    let width = panel.vectors * R::LANES;
    if rows == 0 || depth == 0 {
        if !accumulate {
            output.chunks_mut(stride).take(rows).for_each(|row| row[..width].fill(0.0));
        }
        return;
    }
    assert!((rows - 1) * left.row + (depth - 1) * left.depth < left.values.len());
    assert!((depth - 1) * panel.stride + width <= panel.values.len());
    assert!((rows - 1) * stride + width <= output.len());
    let blocks = depth.div_ceil(R::DEPTH);
    let block = depth.div_ceil(blocks);
    for start in (0..depth).step_by(block) {
        let tiles = Tiles {
            // SAFETY: `start` is below `depth`, so both stay within their slices.
            left: unsafe { left.values.as_ptr().add(start * left.depth) },
            row: left.row,
            step: left.depth,
            depth: block.min(depth - start),
            // SAFETY: as above.
            panel: unsafe { panel.values.as_ptr().add(start * panel.stride) },
            panel_stride: panel.stride,
            output: output.as_mut_ptr(),
            stride,
            accumulate: accumulate || start > 0,
        };
        // SAFETY: the assertions above cover every element that the tiles of `rows` rows touch.
        unsafe {
            match panel.vectors {
                1 => tiles.all::<R, 1>(rows),
                2 => tiles.all::<R, 2>(rows),
                3 => tiles.all::<R, 3>(rows),
                _ => tiles.all::<R, 4>(rows),
            }
        }
    }
}

/// What all tiles of a strip share.
#[derive(Clone, Copy)]
struct Tiles {
    left: *const f32,
    row: usize,
    step: usize,
    depth: usize,
    panel: *const f32,
    panel_stride: usize,
    output: *mut f32,
    stride: usize,
    accumulate: bool,
}

impl Tiles {
    /// All rows, in tiles as high as the registers allow.
    ///
    /// # Safety
    /// Every element of `rows` rows is in bounds, and the processor has the instruction set of `R`.
    #[inline(always)]
    unsafe fn all<R: Register, const VECTORS: usize>(self, rows: usize) {
        let mut first = 0;
        // SAFETY: each tile covers rows `first..first + HEIGHT`, which are below `rows`.
        unsafe {
            if VECTORS <= 2 {
                while first + 12 <= rows {
                    self.tile::<R, 12, VECTORS>(first);
                    first += 12;
                }
            }
            while first + 6 <= rows {
                self.tile::<R, 6, VECTORS>(first);
                first += 6;
            }
            if first + 4 <= rows {
                self.tile::<R, 4, VECTORS>(first);
                first += 4;
            }
            if first + 2 <= rows {
                self.tile::<R, 2, VECTORS>(first);
                first += 2;
            }
            if first < rows {
                self.tile::<R, 1, VECTORS>(first);
            }
        }
    }

    /// `HEIGHT` rows from `first` on.
    ///
    /// # Safety
    /// As for [`Tiles::all`].
    #[inline(always)]
    unsafe fn tile<R: Register, const HEIGHT: usize, const VECTORS: usize>(self, first: usize) {
        // SAFETY: the caller's contract; addresses that are only prefetched may lie anywhere.
        unsafe {
            let left = self.left.add(first * self.row);
            let output = self.output.add(first * self.stride);
            for i in 0..HEIGHT {
                for v in 0..VECTORS {
                    prefetch(output.wrapping_add(i * self.stride + v * R::LANES));
                }
            }
            let mut sums = [[R::zero(); VECTORS]; HEIGHT];
            // The numbers that the next tiles read: the next lines of the same rows, or the rows below.
            let rows_apart = self.row > 1;
            for k in 0..self.depth {
                let right = self.panel.add(k * self.panel_stride);
                let mut vectors = [R::zero(); VECTORS];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = R::load(right.add(v * R::LANES));
                }
                let at = left.add(k * self.step);
                let ahead = if rows_apart { (HEIGHT + k % 8) * self.row } else { 16 };
                prefetch(at.wrapping_add(ahead));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let factor = R::broadcast(at.add(i * self.row));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = sum.add_product(factor, vector);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let to = output.add(i * self.stride + v * R::LANES);
                    let sum = if self.accumulate { R::load(to).add(sum) } else { sum };
                    sum.store(to);
                }
            }
        }
    }
}
