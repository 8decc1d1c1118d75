//! The gradient of a matrix of weights, summed over the parts of a batch in registers.

use super::destination::{Destination, Target};
use super::register::{Register, prefetch_to_write};

/// Registers of the largest tile.
const LARGEST_TILE: usize = 24;

/// Rows of a batch in two layouts: Σ over them is a term of every element of the gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    /// The inputs, element (input i, row r) at `i·stride + r`.
    pub inputs: &'a [f32],
    /// From one input to the next.
    pub stride: usize,
    /// The adjoints of some outputs, element (row r, output j) at `r·vectors·LANES + j`.
    pub adjoints: &'a [f32],
    /// Rows of the batch.
    pub rows: usize,
}

/// Rows `first..first + count` of the inputs against all outputs of the segments' registers.
#[derive(Debug)]
pub(super) struct Gradient<'a, 'b> {
    pub segments: &'a [Segment<'a>],
    pub first: usize,
    pub count: usize,
    /// Registers that hold a row of the segments' adjoints.
    pub vectors: usize,
    pub target: Target<'a, 'b>,
}

/// Computes the rows, and takes the step.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn gradient<R: Register>(job: Gradient<'_, '_>) {
    let Gradient { segments, first, count, vectors, target } = job;
    if count == 0 || segments.is_empty() {
        return;
    }
    let width = vectors * R::LANES;
    for segment in segments {
        assert!((first + count - 1) * segment.stride + segment.rows <= segment.inputs.len());
        assert!(segment.rows * width <= segment.adjoints.len());
    }
    let stride = target.stride;
    let destination = Destination::new(target, count, width);
    // SAFETY: the caller's contract.
    let mut tile = [unsafe { R::zero() }; LARGEST_TILE];
    let mut ahead = [0; 3 * LARGEST_TILE];
    let buffers = destination.buffers();
    let mut places = ahead.iter_mut();
    for row in 0..LARGEST_TILE / vectors {
        for line in 0..vectors {
            for (buffer, place) in buffers.iter().flatten().zip(&mut places) {
                *place = buffer + (4 * (row * stride + line * R::LANES)) as isize;
            }
        }
    }
    let lines = vectors * buffers.iter().flatten().count();
    let tiles = Tiles { segments, destination, tile: tile.as_mut_ptr().cast(), ahead: &ahead, lines };
    // SAFETY: the assertions above cover every element that the tiles of `count` rows touch.
    unsafe {
        match vectors {
            1 => tiles.all::<R, 1>(first, count),
            2 => tiles.all::<R, 2>(first, count),
            3 => tiles.all::<R, 3>(first, count),
            _ => tiles.all::<R, 4>(first, count),
        }
    }
}

#[derive(Clone, Copy)]
struct Tiles<'a> {
    segments: &'a [Segment<'a>],
    destination: Destination,
    /// Room for the sums of the largest tile.
    tile: *mut f32,
    /// What the step on the rows of a tile will read and write: bytes from the tile's place in the output to each line.
    ahead: &'a [isize; 3 * LARGEST_TILE],
    /// Lines of a row.
    lines: usize,
}

impl Tiles<'_> {
    /// # Safety
    /// Every element of `count` rows is in bounds, and the processor has the instruction set of `R`.
    #[inline(always)]
    unsafe fn all<R: Register, const VECTORS: usize>(self, first: usize, count: usize) {
        let mut row = 0;
        // SAFETY: each tile covers rows `row..row + HEIGHT`, which are below `count`.
        unsafe {
            if VECTORS <= 2 {
                while row + 12 <= count {
                    self.tile::<R, 12, VECTORS>(first + row, row);
                    row += 12;
                }
            }
            while row + 6 <= count {
                self.tile::<R, 6, VECTORS>(first + row, row);
                row += 6;
            }
            if row + 4 <= count {
                self.tile::<R, 4, VECTORS>(first + row, row);
                row += 4;
            }
            if row + 2 <= count {
                self.tile::<R, 2, VECTORS>(first + row, row);
                row += 2;
            }
            if row < count {
                self.tile::<R, 1, VECTORS>(first + row, row);
            }
        }
    }

    /// `HEIGHT` rows: `input` is the first of them among the inputs, `row` in the target.
    ///
    /// # Safety
    /// As for [`Tiles::all`].
    #[inline(always)]
    unsafe fn tile<R: Register, const HEIGHT: usize, const VECTORS: usize>(self, input: usize, row: usize) {
        // What the step will read and write is fetched while the sums are computed: a line with each row of the batch.
        let place = self.destination.output().wrapping_add(row * self.destination.stride());
        let lines = HEIGHT * self.lines;
        let mut fetched = 0;
        // SAFETY: the caller's contract; addresses that are only prefetched may lie anywhere.
        unsafe {
            let mut sums = [[R::zero(); VECTORS]; HEIGHT];
            for segment in self.segments {
                let inputs = segment.inputs.as_ptr().add(input * segment.stride);
                let adjoints = segment.adjoints.as_ptr();
                for r in 0..segment.rows {
                    let right = adjoints.add(r * VECTORS * R::LANES);
                    let mut vectors = [R::zero(); VECTORS];
                    for (v, vector) in vectors.iter_mut().enumerate() {
                        *vector = R::load(right.add(v * R::LANES));
                    }
                    if fetched < lines {
                        prefetch_to_write(place.wrapping_byte_offset(self.ahead[fetched]));
                        fetched += 1;
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let factor = R::broadcast(inputs.add(i * segment.stride + r));
                        for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                            *sum = sum.add_product(factor, vector);
                        }
                    }
                }
            }
            // By way of memory: a loop over registers that were not all named here would keep them in memory throughout.
            for (i, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    sum.store(self.tile.add((i * VECTORS + v) * R::LANES));
                }
            }
            for i in 0..HEIGHT {
                self.destination.finish::<R>(self.tile.add(i * VECTORS * R::LANES), row + i, VECTORS);
            }
        }
    }
}
