//! The log joint and its gradient at many points at once, in parallel, with the same bits for any number of threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::program::{Frame, Program};
use crate::crew::Crew;

/// Numbers in the buffers of one frame that still stay in a core's cache.
const CACHE_NUMBERS: usize = 1 << 16;
/// Rows of a chunk at most.
const LONGEST_CHUNK: usize = 1024;
/// Chunks start at whole panels of a design matrix.
const MULTIPLE: usize = vi_families::rows::panels::PANEL;
/// Numbers to work on (draws times those of one sweep) below which other threads would cost more than they save.
const WORTH_SHARING: usize = 1 << 15;
/// Blocks of draws and groups of rows that give threads enough to share.
const TASKS: usize = 16;

/// Evaluates a program at many points.
#[derive(Debug)]
pub(crate) struct Evaluator {
    program: Arc<Program>,
    draws: usize,
    chunk: usize,
    /// Numbers that one draw's sweep works on.
    work: usize,
    /// Frames at rest, with the member of the crew that had each last: its numbers are in that one's cache.
    frames: Mutex<Vec<(usize, Frame)>>,
    crew: Crew,
}

/// Results of one evaluation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Evaluation {
    /// Log joint of each draw.
    pub values: Vec<f64>,
    /// Its terms, `[draws, num_terms]`.
    pub terms: Vec<f64>,
    /// Its gradient, `[draws, dimension]`; empty where not asked for.
    pub gradients: Vec<f64>,
    /// Room for what blocks of draws and groups of rows add.
    parts: Vec<f64>,
}

/// What is to be evaluated.
struct Task {
    draws: usize,
    rows: Range<usize>,
    row_scale: f64,
    with_gradient: bool,
    paired: bool,
}

impl Evaluator {
    /// An evaluator with block sizes chosen from the program alone.
    pub(crate) fn new(program: Arc<Program>) -> Self {
        let per_row: usize = program.buffers.iter().filter(|s| s.rows).map(|s| 2 * s.inner()).sum();
        let fixed: usize = program.buffers.iter().filter(|s| !s.rows).map(|s| 2 * s.inner()).sum::<usize>();
        let chunk = if !program.chunkable || program.local.is_empty() {
            program.num_rows.max(1)
        } else {
            let rows = (CACHE_NUMBERS / (64 * per_row.max(1))).clamp(64, LONGEST_CHUNK) / MULTIPLE * MULTIPLE;
            rows.min(program.num_rows.max(1))
        };
        let one = fixed + per_row * chunk + 2 * program.dimension;
        let draws = (CACHE_NUMBERS / one.max(1)).clamp(1, 64);
        Self { work: program.work(), program, draws, chunk, frames: Mutex::default(), crew: Crew::default() }
    }

    /// The program.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Evaluates at `theta` `[draws, dimension]` over all rows.
    pub(crate) fn evaluate(&self, theta: &[f64], draws: usize, with_gradient: bool, out: &mut Evaluation) {
        self.evaluate_rows(theta, draws, 0..self.program.num_rows, 1.0, with_gradient, out);
    }

    /// Evaluates at `theta` `[draws, dimension]` over some rows, whose terms count `row_scale` times.
    pub(crate) fn evaluate_rows(
        &self,
        theta: &[f64],
        draws: usize,
        rows: Range<usize>,
        row_scale: f64,
        with_gradient: bool,
        out: &mut Evaluation,
    ) {
        self.evaluate_blocks(theta, &Task { draws, rows, row_scale, with_gradient, paired: false }, out);
    }

    /// As [`Evaluator::evaluate_rows`] with gradients, for draws in pairs that lie opposite each other about one point: the gradients' sum
    /// over all draws and their differences within pairs are right, but what pairs have in common may be shared out among all draws.
    /// That suffices for E\[∇\] and E\[∇ εᵀ\], and saves nearly half of the products with data.
    pub(crate) fn evaluate_pairs(
        &self,
        theta: &[f64],
        draws: usize,
        rows: Range<usize>,
        row_scale: f64,
        out: &mut Evaluation,
    ) {
        let paired = self.draws >= 2 && draws.is_multiple_of(2);
        self.evaluate_blocks(theta, &Task { draws, rows, row_scale, with_gradient: true, paired }, out);
    }

    fn evaluate_blocks(&self, theta: &[f64], task: &Task, out: &mut Evaluation) {
        let (dimension, num_terms) = (self.program.dimension, self.program.terms.len());
        let &Task { draws, with_gradient, paired, .. } = task;
        let length = if with_gradient { draws * dimension } else { 0 };
        out.values.clear();
        out.values.resize(draws, 0.0);
        out.terms.clear();
        out.terms.resize(draws * num_terms, 0.0);
        out.gradients.clear();
        out.gradients.resize(length, 0.0);
        let groups = self.groups(draws, task.rows.clone());
        // Blocks of equal size: a last one of a draw or two would cost nearly as much as a whole one.
        let blocks = draws.div_ceil(if paired { self.draws & !1 } else { self.draws });
        let size = draws.div_ceil(blocks.max(1)).max(1);
        let size = if paired { size.next_multiple_of(2) } else { size };
        // What each block and group adds stands apart, terms first, so that the order of the sums is always the same.
        let width = size * (num_terms + if with_gradient { dimension } else { 0 });
        let parts = &mut out.parts;
        parts.resize((blocks * groups.len() * width).max(parts.len()), 0.0);
        let parts = &mut parts[..blocks * groups.len() * width];
        let run = |member: usize, index: usize, part: &mut [f64]| {
            let (block, group) = (index / groups.len(), index % groups.len());
            let (from, to) = (block * size, ((block + 1) * size).min(draws));
            let mut frame = self.frame(member);
            (frame.row_scale, frame.paired) = (task.row_scale, paired);
            frame.sweep(
                &self.program,
                &theta[from * dimension..to * dimension],
                to - from,
                groups[group].clone(),
                self.chunk_for(to - from),
                group == 0,
                with_gradient,
            );
            let (terms, gradient) = part.split_at_mut(size * num_terms);
            let (used, all) = ((to - from) * num_terms, (to - from) * dimension);
            terms[..used].copy_from_slice(&frame.terms[..used]);
            if with_gradient {
                gradient[..all].copy_from_slice(&frame.gradient[..all]);
            }
            self.give_back(member, frame);
        };
        let rows_share = task.rows.len().max(1) as f64 / self.program.num_rows.max(1) as f64;
        let alone = (draws as f64 * self.work as f64 * rows_share) < WORTH_SHARING as f64;
        if width == 0 {
            // Nothing to add up.
        } else if alone || blocks * groups.len() == 1 {
            parts.chunks_exact_mut(width).enumerate().for_each(|(index, part)| run(0, index, part));
        } else {
            self.crew.for_each_piece(parts, width, &run);
        }
        for (index, part) in parts.chunks_exact(width.max(1)).enumerate() {
            let (from, to) = (index / groups.len() * size, ((index / groups.len() + 1) * size).min(draws));
            let (terms, gradient) = part.split_at(size * num_terms);
            out.terms[from * num_terms..to * num_terms].iter_mut().zip(terms).for_each(|(o, t)| *o += t);
            if with_gradient {
                out.gradients[from * dimension..to * dimension].iter_mut().zip(gradient).for_each(|(o, g)| *o += g);
            }
        }
        for (value, terms) in out.values.iter_mut().zip(out.terms.chunks(num_terms.max(1))) {
            *value = terms.iter().sum();
        }
    }

    /// Rows of a chunk for a block of draws: more where there are fewer draws than a frame has room for.
    fn chunk_for(&self, draws: usize) -> usize {
        if self.chunk >= self.program.num_rows {
            return self.chunk;
        }
        (self.draws * self.chunk / draws.max(1)).clamp(self.chunk, LONGEST_CHUNK.max(self.chunk)) / MULTIPLE * MULTIPLE
    }

    /// Row ranges that are swept apart: as many as the blocks of draws need to give enough to do, for each of them sees the
    /// operations without rows again.
    fn groups(&self, draws: usize, rows: Range<usize>) -> Vec<Range<usize>> {
        let n = rows.len();
        let count = if !self.program.chunkable || self.program.local.is_empty() {
            1
        } else {
            let enough = TASKS.div_ceil(draws.div_ceil(self.draws).max(1));
            // A power of two, so that as many threads have equal shares.
            n.div_ceil(2 * self.chunk_for(draws.min(self.draws))).clamp(1, enough).next_power_of_two()
        };
        let size = n.div_ceil(count).max(1).next_multiple_of(MULTIPLE);
        (0..count).map(|g| rows.start + (g * size).min(n)..rows.start + ((g + 1) * size).min(n)).collect()
    }

    fn frame(&self, member: usize) -> Frame {
        let mut frames = self.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = frames.iter().position(|(last, _)| *last == member);
        let found = own.or(frames.len().checked_sub(1)).map(|at| frames.swap_remove(at).1);
        drop(frames);
        found.unwrap_or_else(|| Frame::new(&self.program, self.draws, self.chunk))
    }

    fn give_back(&self, member: usize, frame: Frame) {
        self.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((member, frame));
    }

    /// Sweeps forward over blocks of draws in order, over the first `rows` rows in one chunk, and shows each finished
    /// frame with its first draw: for read-outs of values; one thread.
    pub(crate) fn visit(&self, theta: &[f64], draws: usize, rows: usize, mut see: impl FnMut(usize, &Frame)) {
        let dimension = self.program.dimension;
        let block = if rows == 0 { self.draws } else { 1 };
        let mut frame = Frame::new(&self.program, block, rows);
        for from in (0..draws).step_by(block) {
            let to = (from + block).min(draws);
            let theta = &theta[from * dimension..to * dimension];
            frame.sweep(&self.program, theta, to - from, 0..rows, rows.max(1), true, false);
            see(from, &frame);
        }
    }
}
