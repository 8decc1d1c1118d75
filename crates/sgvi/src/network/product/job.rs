//! What is computed by vector registers, compiled for each instruction set: products and the passes of a dense layer.

use super::super::activation;
use super::super::dense::{DenseMemory, DenseTerm, Step, Weights};
use super::super::kernels::Matrix;
use super::InstructionSet;
use super::destination::Target;
use super::gradient::{Gradient, Segment};
pub(super) use super::panels::Finish;
use super::panels::{Workspace, pack_panels, product, product_of_panels};
use super::register::Register;
use super::sparse;
use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::ops::Range;

/// Rows of a batch over which the gradient is summed in registers.
const ROWS_AT_A_TIME: usize = 128;

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Something to compute.
pub(super) enum Job<'a, 'b> {
    /// A product, which replaces the output or is added to it.
    Product { output: &'a mut [f32], accumulate: bool, left: Matrix<'a>, right: Matrix<'a> },
    /// The output of a dense layer; its input is kept in the memory.
    DenseForward {
        output: &'a mut [f32],
        input: &'a [f32],
        weights: Weights<'a>,
        finish: Finish<'a>,
        memory: &'a mut DenseMemory,
    },
    /// Keeps the adjoint of a dense layer's output in the memory.
    KeepAdjoint { adjoint: Matrix<'a>, memory: &'a mut DenseMemory },
    /// Rows of the gradient of a dense layer's weights, and a step on them.
    DenseGradient {
        terms: &'a [DenseTerm<'a>],
        widths: [usize; 2],
        range: Range<usize>,
        gradient: &'a mut [f32],
        accumulate: bool,
        step: Option<&'a mut Step<'b>>,
    },
}

/// Runs a job by the registers of an instruction set that the processor has.
pub(super) fn run(set: InstructionSet, job: Job<'_, '_>) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn widest(job: Job<'_, '_>, workspace: &mut Workspace) {
        // SAFETY: this function is only called where the processor has AVX-512.
        unsafe { job.run::<__m512>(workspace) }
    }
    #[target_feature(enable = "avx2,fma")]
    fn wide(job: Job<'_, '_>, workspace: &mut Workspace) {
        // SAFETY: this function is only called where the processor has AVX2 and FMA.
        unsafe { job.run::<__m256>(workspace) }
    }
    WORKSPACE.with_borrow_mut(|workspace| match set {
        // SAFETY: the caller found these instructions.
        InstructionSet::Avx512 => unsafe { widest(job, workspace) },
        // SAFETY: as above.
        InstructionSet::Avx2 | InstructionSet::Baseline => unsafe { wide(job, workspace) },
    });
}

impl Job<'_, '_> {
    /// # Safety
    /// The processor has the instruction set of `R`, and it filled the memories.
    #[inline(always)]
    unsafe fn run<R: Register>(self, workspace: &mut Workspace) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::Product { output, accumulate, left, right } => {
                    product::<R>(output, accumulate, left, right, workspace);
                }
                Self::DenseForward { output, input, weights, finish, memory } => {
                    if sparse::keep::<R>(input, weights, memory) {
                        sparse::forward::<R>(output, weights, memory, workspace);
                        if let Finish::Activate { bias, activation } = finish {
                            activation::add_bias_and_activate_block(output, bias.len(), bias, activation);
                        }
                        return;
                    }
                    let rows = input.len() / weights.input_width.max(1);
                    pack_panels::<R>(Matrix::new(input, rows, weights.input_width).transpose(), &mut memory.input);
                    let right = Matrix::new(weights.values, weights.input_width, weights.output_width);
                    product_of_panels::<R>(output, &memory.input, rows, right, finish, &mut workspace.output);
                }
                Self::KeepAdjoint { adjoint, memory } => {
                    if memory.rows.is_empty() {
                        pack_panels::<R>(adjoint, &mut memory.adjoint);
                    } else {
                        sparse::keep_adjoint::<R>(adjoint, memory);
                    }
                }
                Self::DenseGradient { terms, widths, range, gradient, accumulate, step } => {
                    let mut step = step;
                    let mut first = true;
                    let mut runs =
                        terms.chunk_by(|a, b| a.memory.rows.is_empty() == b.memory.rows.is_empty()).peekable();
                    while let Some(run) = runs.next() {
                        let step = step.as_deref_mut().filter(|_| runs.peek().is_none());
                        let (range, gradient, accumulate) = (range.clone(), &mut *gradient, accumulate || !first);
                        if run.iter().all(|term| term.memory.rows.is_empty()) {
                            dense_gradient::<R>(run, widths, range, gradient, accumulate, step, workspace);
                        } else {
                            let tiles = &mut workspace.output;
                            sparse::gradient::<R>(run, widths[1], range, gradient, accumulate, step, tiles);
                        }
                        first = false;
                    }
                }
            }
        }
    }
}

/// Rows `range` of the gradient of a dense layer's weights over all terms, and the step on them.
///
/// # Safety
/// The processor has the instruction set of `R`, and the memory of the terms was filled by it.
#[inline(always)]
unsafe fn dense_gradient<R: Register>(
    terms: &[DenseTerm<'_>],
    widths: [usize; 2],
    range: Range<usize>,
    output: &mut [f32],
    accumulate: bool,
    mut step: Option<&mut Step<'_>>,
    workspace: &mut Workspace,
) {
    let [depth, columns] = widths;
    let widest = R::PANEL * R::LANES;
    let mut segments = Vec::new();
    let mut start = 0;
    while start < columns {
        let width = widest.min(columns - start);
        let vectors = width.div_ceil(R::LANES);
        let padded = vectors * R::LANES;
        segments.clear();
        for term in terms {
            let rows = term.adjoint.len() / columns.max(1);
            let (inputs, adjoints) = (&term.memory.input, &term.memory.adjoint);
            let band = &adjoints[start * rows..start * rows + rows * padded];
            let mut row = 0;
            while row < rows {
                let count = widest.min(rows - row);
                segments.push(Segment {
                    inputs: &inputs[row * depth..],
                    stride: count.next_multiple_of(R::LANES),
                    adjoints: &band[row * padded..],
                    rows: count,
                });
                row += count;
            }
        }
        let partial = width < padded;
        let mut add = accumulate && !partial;
        let mut groups = segments.chunks((ROWS_AT_A_TIME / widest).max(1)).peekable();
        while let Some(group) = groups.next() {
            let last = groups.peek().is_none();
            let target = if partial {
                let tiles = workspace.output.with_length(range.len() * padded);
                Target { output: tiles, stride: padded, column: 0, accumulate: add, step: None }
            } else {
                let step = step.as_deref_mut().filter(|_| last);
                Target { output, stride: columns, column: start, accumulate: add, step }
            };
            // SAFETY: the caller's contract.
            unsafe {
                R::gradient(Gradient { segments: group, first: range.start, count: range.len(), vectors, target });
            }
            add = true;
        }
        if partial {
            // Rows that end within a register go through a buffer with room for all of it.
            let tiles = &workspace.output;
            for (row, (target, tile)) in output.chunks_exact_mut(columns).zip(tiles.chunks_exact(padded)).enumerate() {
                let target = &mut target[start..start + width];
                if accumulate {
                    target.iter_mut().zip(tile).for_each(|(t, &s)| *t += s);
                } else {
                    target.copy_from_slice(&tile[..width]);
                }
                if let Some(step) = &mut step {
                    step.take(row * columns + start, target);
                }
            }
        }
        start += width;
    }
}
