//! Products by panels: which factor to pack, how, and where the tiles of the output go.

use super::super::activation::{self, Activation};
use super::super::aligned::Aligned;
use super::super::kernels::Matrix;
use super::register::Register;
use super::strip::{Panel, Strided, Strip};
use super::transpose::transpose;

/// Columns of the output whose transpose is in the cache at a time.
const GROUP: usize = 96;

/// Memory for one product, kept by each thread.
#[derive(Default)]
pub(super) struct Workspace {
    /// Columns of one factor side by side.
    pub panel: Aligned,
    /// Output that does not go where it belongs as it is.
    pub output: Aligned,
}

/// What becomes of the numbers of a product.
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    /// They replace what is there.
    Replace,
    /// They are added to what is there.
    Add,
    /// A bias is added and an activation applied, as in a layer.
    Activate { bias: &'a [f32], activation: Activation },
}

/// `output = left·right`, or added to it.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn product<R: Register>(
    output: &mut [f32],
    accumulate: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
    workspace: &mut Workspace,
) {
    let ((rows, depth), columns) = (left.shape(), right.shape().1);
    assert_eq!(depth, right.shape().0, "the factors of a product do not fit");
    let output = &mut output[..rows * columns];
    // Numbers moved to pack one factor, a transposed one costing more, and to bring the output back.
    let along_rows = depth * columns * if right.transposed { 3 } else { 1 };
    let along_columns = depth * rows * if left.transposed { 1 } else { 3 } + 3 * rows * columns;
    // SAFETY: the caller's contract.
    unsafe {
        if along_rows <= along_columns {
            product_along_rows::<R>(output, accumulate, left, right, workspace);
        } else {
            let Workspace { panel, output: tiles } = workspace;
            pack_panels::<R>(left.transpose(), panel);
            let finish = if accumulate { Finish::Add } else { Finish::Replace };
            product_of_panels::<R>(output, panel, rows, right, finish, tiles);
        }
    }
}

/// Panels of the right factor; tiles go into the output.
#[inline(always)]
unsafe fn product_along_rows<R: Register>(
    output: &mut [f32],
    accumulate: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
    workspace: &mut Workspace,
) {
    let ((rows, depth), columns) = (left.shape(), right.shape().1);
    let strided = strided(left, false);
    let widest = R::PANEL * R::LANES;
    // Rows a multiple of a kibibyte apart would all fall into a few sets of the first cache.
    let in_place = !right.transposed && !right.stride.is_multiple_of(256);
    let mut start = 0;
    while start < columns {
        let width = widest.min(columns - start);
        let vectors = width.div_ceil(R::LANES);
        let padded = vectors * R::LANES;
        // SAFETY: the caller's contract.
        unsafe {
            let panel = if in_place && width == padded {
                Panel { values: &right.values[start..], stride: right.stride, vectors }
            } else {
                let panel = workspace.panel.with_length(depth * padded);
                pack::<R>(right, start, width, panel, padded);
                Panel { values: panel, stride: padded, vectors }
            };
            if width == padded {
                let output = &mut output[start..];
                R::strip(Strip { left: strided, rows, depth, panel, output, stride: columns, accumulate });
            } else {
                let tiles = workspace.output.with_length(rows * padded);
                R::strip(Strip { left: strided, rows, depth, panel, output: tiles, stride: padded, accumulate: false });
                for (target, tile) in output.chunks_exact_mut(columns).zip(tiles.chunks_exact(padded)) {
                    let target = &mut target[start..start + width];
                    if accumulate {
                        target.iter_mut().zip(tile).for_each(|(t, &s)| *t += s);
                    } else {
                        target.copy_from_slice(&tile[..width]);
                    }
                }
            }
        }
        start += width;
    }
}

/// A product whose left factor, of `rows` rows, lies in panels; tiles hold the transpose of the output.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn product_of_panels<R: Register>(
    output: &mut [f32],
    panels: &[f32],
    rows: usize,
    right: Matrix<'_>,
    finish: Finish<'_>,
    tiles: &mut Aligned,
) {
    let (depth, columns) = right.shape();
    let strided = strided(right, true);
    let widest = R::PANEL * R::LANES;
    let mut start = 0;
    while start < rows {
        let width = widest.min(rows - start);
        let vectors = width.div_ceil(R::LANES);
        let padded = vectors * R::LANES;
        let panel = Panel { values: &panels[start * depth..], stride: padded, vectors };
        let tiles = tiles.with_length(GROUP * padded);
        let mut first = 0;
        while first < columns {
            let count = GROUP.min(columns - first);
            let strided = Strided { values: &strided.values[first * strided.row..], ..strided };
            let target = &mut output[start * columns + first..(start + width) * columns];
            // SAFETY: the caller's contract.
            unsafe {
                let output = &mut *tiles;
                R::strip(Strip { left: strided, rows: count, depth, panel, output, stride: padded, accumulate: false });
                let add = matches!(finish, Finish::Add);
                transpose::<R>(tiles, padded, count, width, target, columns, add);
            }
            if let Finish::Activate { bias, activation } = finish {
                activation::add_bias_and_activate_block(target, columns, &bias[first..first + count], activation);
            }
            first += count;
        }
        start += width;
    }
}

/// A factor as the tiles read it: rows of the product run over its rows, or over its columns where `by_columns`.
fn strided(matrix: Matrix<'_>, by_columns: bool) -> Strided<'_> {
    let (row, depth) = if matrix.transposed == by_columns { (matrix.stride, 1) } else { (1, matrix.stride) };
    Strided { values: matrix.values, row, depth }
}

/// All columns of a matrix in panels `[depth, up to PANEL·LANES]` one behind the other, the last as wide as it needs to be.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn pack_panels<R: Register>(matrix: Matrix<'_>, panels: &mut Aligned) {
    let (depth, columns) = matrix.shape();
    let widest = R::PANEL * R::LANES;
    let panels = panels.with_length(depth * columns.next_multiple_of(R::LANES));
    let mut start = 0;
    while start < columns {
        let width = widest.min(columns - start);
        let padded = width.next_multiple_of(R::LANES);
        let panel = &mut panels[start * depth..start * depth + depth * padded];
        // SAFETY: the caller's contract.
        unsafe { pack::<R>(matrix, start, width, panel, padded) };
        start += width;
    }
}

/// Columns `start..start + width` of a matrix side by side, zeros beyond them.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn pack<R: Register>(
    matrix: Matrix<'_>,
    start: usize,
    width: usize,
    panel: &mut [f32],
    padded: usize,
) {
    let depth = matrix.shape().0;
    if matrix.transposed {
        if width < padded {
            panel.fill(0.0);
        }
        let source = matrix.values.get(start * matrix.stride..).unwrap_or_default();
        // SAFETY: the caller's contract.
        unsafe { transpose::<R>(source, matrix.stride, width, depth, panel, padded, false) };
    } else {
        let whole = width / R::LANES * R::LANES;
        for (k, row) in panel.chunks_exact_mut(padded).enumerate() {
            let from = &matrix.values[k * matrix.stride + start..][..width];
            for v in (0..whole).step_by(R::LANES) {
                // SAFETY: the caller's contract; `whole` is not above `width`, which both slices have.
                unsafe { R::load(from.as_ptr().add(v)).store(row[..whole].as_mut_ptr().add(v)) };
            }
            if whole < padded {
                row[whole..width].copy_from_slice(&from[whole..]);
                row[width..].fill(0.0);
            }
        }
    }
}
