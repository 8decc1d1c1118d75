//! The passes of a dense layer whose input is mostly zeros, from the lists of its other numbers.
//!
//! The sums run over the same numbers in the same order as those of the passes that read all of the input, and come out
//! the same to the last bit: to add a product with zero changes nothing.

use super::super::aligned::{Aligned, LINE};
use super::super::dense::{DenseMemory, DenseTerm, Step, Weights};
use super::super::kernels::Matrix;
use super::super::lists::{OneByOne, Taker};
use super::destination::Target;
use super::gather::{Gather, Rows};
use super::panels::{Workspace, pack};
use super::register::Register;
use super::transpose::{MOST_LANES, transpose};
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of a batch whose adjoints are a table.
const BATCH_BLOCK: usize = 64;

/// Numbers of a table that the first cache holds beside what else is read.
const TABLE: usize = 10 * 1024;

/// Columns of the output that are computed together: as many registers as the first cache has room for in a table of
/// `rows` rows, and about as many each time.
#[derive(Debug, Clone, Copy)]
struct Bands {
    columns: usize,
    /// Numbers in a register.
    lanes: usize,
    /// Registers of all bands but the last.
    vectors: usize,
}

impl Bands {
    fn new<R: Register>(columns: usize, rows: usize) -> Self {
        let most = (TABLE / (rows * R::LANES).max(1)).clamp(4, R::GATHERED);
        let all = columns.div_ceil(R::LANES);
        Self { columns, lanes: R::LANES, vectors: all.div_ceil(all.div_ceil(most).max(1)).max(1) }
    }

    /// Numbers in a row of a table.
    fn stride(self) -> usize {
        self.vectors * self.lanes
    }

    /// Whether a table may stay where it lies, with `columns` numbers from one row to the next: its rows begin at lines of the
    /// first cache, which has room for all of them.
    fn in_place(self, values: &[f32]) -> bool {
        let lines = self.columns / LINE;
        // Rows an even number of lines apart take turns in fewer sets of the cache.
        let few_sets = lines.trailing_zeros() >= 6 || 1 << lines.trailing_zeros() > self.vectors * self.lanes / LINE;
        self.columns.is_multiple_of(LINE) && !few_sets && (values.as_ptr() as usize).is_multiple_of(4 * LINE)
    }

    /// First column and number of columns of each.
    fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.columns).step_by(self.stride()).map(move |start| start..(start + self.stride()).min(self.columns))
    }
}

/// Makes lists of the input and keeps them, if it has so few numbers other than zero that this will save time; forgets the
/// lists of the input before otherwise. Returns whether it did.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn keep<R: Register>(input: &[f32], weights: Weights<'_>, memory: &mut DenseMemory) -> bool {
    let depth = weights.input_width;
    let others = input.iter().map(|&number| u32::from(number != 0.0)).sum::<u32>() as usize;
    let vectors = weights.output_width.div_ceil(R::LANES);
    // A number of a list takes about as long as four registers of products more, and a list some time of its own; the two
    // ways are equally fast where about two fifths of an image are not zero.
    if 5 * others * (vectors + 4) >= 2 * input.len() * vectors {
        memory.rows.clear();
        return false;
    }
    let block = depth.div_ceil(depth.div_ceil(R::DEPTH));
    // SAFETY: the caller's contract.
    let taker = unsafe { ByRegister::<R>::new() };
    memory.rows.of_rows(input, depth, block, others, taker);
    memory.columns.begin(depth, input.len() / depth, BATCH_BLOCK, others);
    let mut turned = [0.0; MOST_LANES * BATCH_BLOCK];
    for rows in input.chunks(BATCH_BLOCK * depth) {
        let height = rows.len() / depth;
        for first in (0..depth).step_by(R::LANES) {
            let width = R::LANES.min(depth - first);
            // SAFETY: the caller's contract.
            unsafe { transpose::<R>(&rows[first..], depth, height, width, &mut turned, BATCH_BLOCK, false) };
            for column in turned.chunks_exact(BATCH_BLOCK).take(width) {
                memory.columns.add(&column[..height], taker);
            }
        }
    }
    true
}

/// Takes numbers a register at a time.
#[derive(Clone, Copy)]
struct ByRegister<R>(PhantomData<R>);

impl<R> ByRegister<R> {
    /// # Safety
    /// The processor has the instruction set of `R`.
    unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Register> Taker for ByRegister<R> {
    #[inline(always)]
    fn take(self, numbers: &[f32], places: &mut [u32], values: &mut [f32]) -> usize {
        let (whole, rest) = numbers.split_at(numbers.len() / R::LANES * R::LANES);
        let mut taken = 0;
        for (index, chunk) in whole.chunks_exact(R::LANES).enumerate() {
            let (places, values) = (&mut places[taken..], &mut values[taken..]);
            assert!(places.len() >= R::LANES && values.len() >= R::LANES);
            // SAFETY: `new` promised the instructions; there is room for a register in both.
            taken += unsafe {
                let first = (index * R::LANES) as u32;
                R::take_others(chunk.as_ptr(), first, places.as_mut_ptr(), values.as_mut_ptr())
            };
        }
        let (places, values) = (&mut places[taken..], &mut values[taken..]);
        let last = OneByOne.take(rest, places, values);
        places[..last].iter_mut().for_each(|place| *place += whole.len() as u32);
        taken + last
    }
}

/// `output = input·weights` for the input that was kept.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn forward<R: Register>(
    output: &mut [f32],
    weights: Weights<'_>,
    memory: &DenseMemory,
    workspace: &mut Workspace,
) {
    let Weights { values, input_width: depth, output_width: columns } = weights;
    let lists = &memory.rows;
    let (rows, blocks) = (output.len() / columns.max(1), lists.num_blocks());
    let height = lists.block(0).rows;
    let bands = Bands::new::<R>(columns, height);
    let stride = bands.stride();
    let in_place = bands.in_place(values);
    let Workspace { panel, output: tiles } = workspace;
    let panel = panel.with_length(if in_place { 0 } else { height * stride });
    let partial = tiles.with_length(rows * stride);
    for index in 0..blocks {
        let block = lists.block(index);
        let first = index * height;
        let table = Matrix::new(&values[first * columns..(first + block.rows) * columns], block.rows, columns);
        for band in bands.iter() {
            let vectors = band.len().div_ceil(R::LANES);
            let padded = vectors * R::LANES;
            let accumulate = index > 0;
            let target = if padded == band.len() {
                Target { output: &mut *output, stride: columns, column: band.start, accumulate, step: None }
            } else {
                Target { output: &mut *partial, stride: padded, column: 0, accumulate, step: None }
            };
            let (sums, target): (&mut [f32], _) = (&mut [], Some(target));
            let (table, stride, next) = if in_place {
                (&table.values[band.start..], columns, Rows::NONE)
            } else {
                // SAFETY: the caller's contract.
                unsafe { pack::<R>(table, band.start, band.len(), &mut panel[..block.rows * stride], stride) };
                let next = if band.end < columns {
                    Rows { values: &table.values[band.end..], stride: columns, rows: block.rows }
                } else {
                    let first = first + block.rows;
                    Rows { values: &values[first * columns..], stride: columns, rows: height.min(depth - first) }
                };
                (&*panel, stride, next)
            };
            // SAFETY: the caller's contract.
            unsafe {
                R::gather(Gather { lists: block, table, stride, vectors, sums, begun: false, target, next });
            }
        }
    }
    // Only the last band may end within a register.
    for band in bands.iter() {
        let padded = band.len().next_multiple_of(R::LANES);
        if padded > band.len() {
            for (target, tile) in output.chunks_exact_mut(columns).zip(partial.chunks_exact(padded)) {
                target[band.clone()].copy_from_slice(&tile[..band.len()]);
            }
        }
    }
}

/// Keeps the adjoint of the output.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn keep_adjoint<R: Register>(adjoint: Matrix<'_>, memory: &mut DenseMemory) {
    let (rows, columns) = adjoint.shape();
    let bands = Bands::new::<R>(columns, BATCH_BLOCK);
    let tables = memory.adjoint.with_length(rows * bands.iter().count() * bands.stride());
    for (band, table) in bands.iter().zip(tables.chunks_exact_mut((rows * bands.stride()).max(1))) {
        // SAFETY: the caller's contract.
        unsafe { pack::<R>(adjoint, band.start, band.len(), table, bands.stride()) };
    }
}

/// Rows `range` of the gradient of the weights over terms whose inputs were kept as lists, and the step on them.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn gradient<R: Register>(
    terms: &[DenseTerm<'_>],
    columns: usize,
    range: Range<usize>,
    output: &mut [f32],
    accumulate: bool,
    mut step: Option<&mut Step<'_>>,
    tiles: &mut Aligned,
) {
    let bands = Bands::new::<R>(columns, BATCH_BLOCK);
    let stride = bands.stride();
    let num_blocks = terms.iter().map(|term| term.memory.columns.num_blocks()).sum::<usize>();
    let tiles = tiles.with_length(2 * range.len() * stride);
    let (sums, tile) = tiles.split_at_mut(range.len() * stride);
    for (index, band) in bands.iter().enumerate() {
        let vectors = band.len().div_ceil(R::LANES);
        let padded = vectors * R::LANES;
        let partial = padded > band.len();
        let blocks = terms.iter().flat_map(|term| {
            let rows = term.adjoint.len() / columns.max(1);
            let table = &term.memory.adjoint[index * rows * stride..(index + 1) * rows * stride];
            (0..term.memory.columns.num_blocks())
                .map(move |block| (term.memory.columns.block(block), &table[block * BATCH_BLOCK * stride..]))
        });
        for (number, (mut lists, table)) in blocks.enumerate() {
            lists.starts = &lists.starts[range.start..=range.end];
            // Sums of two blocks are one chain.
            let begun = number % 2 == 1;
            let last = number + 1 == num_blocks;
            let target = (begun || last).then(|| {
                let before = number > 1;
                if partial {
                    Target { output: &mut *tile, stride: padded, column: 0, accumulate: before, step: None }
                } else {
                    let step = step.as_deref_mut().filter(|_| last);
                    let accumulate = accumulate || before;
                    Target { output: &mut *output, stride: columns, column: band.start, accumulate, step }
                }
            });
            let sums = &mut *sums;
            // SAFETY: the caller's contract.
            unsafe { R::gather(Gather { lists, table, stride, vectors, sums, begun, target, next: Rows::NONE }) };
        }
        if partial {
            for (row, (target, tile)) in output.chunks_exact_mut(columns).zip(tile.chunks_exact(padded)).enumerate() {
                let target = &mut target[band.clone()];
                if accumulate {
                    target.iter_mut().zip(tile).for_each(|(t, &s)| *t += s);
                } else {
                    target.copy_from_slice(&tile[..band.len()]);
                }
                if let Some(step) = &mut step {
                    step.take(row * columns + band.start, target);
                }
            }
        }
    }
}
