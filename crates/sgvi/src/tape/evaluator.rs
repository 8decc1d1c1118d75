//! The log joint and its gradient at many points at once, in parallel, with the same bits for any number of threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::program::{Frame, Program};

/// Numbers in the buffers of one frame that still stay in a core's cache.
const CACHE_NUMBERS: usize = 1 << 16;
/// Rows of a chunk at most.
const LONGEST_CHUNK: usize = 1024;
/// Chunks start at whole panels of a design matrix.
const MULTIPLE: usize = vi_families::rows::panels::PANEL;
/// Numbers to work on (draws times those of one sweep) below which other threads would cost more than they save.
const WORTH_SHARING: usize = 1 << 15;

/// Evaluates a program at many points.
#[derive(Debug)]
pub struct Evaluator {
    program: Arc<Program>,
    draws: usize,
    chunk: usize,
    /// Numbers that one draw's sweep works on.
    work: usize,
    frames: Mutex<Vec<Frame>>,
}

/// Results of one evaluation.
#[derive(Debug, Default, Clone)]
pub struct Evaluation {
    /// Log joint of each draw.
    pub values: Vec<f64>,
    /// Its terms, `[draws, num_terms]`.
    pub terms: Vec<f64>,
    /// Its gradient, `[draws, dimension]`; empty where not asked for.
    pub gradients: Vec<f64>,
}

impl Evaluator {
    /// An evaluator with block sizes chosen from the program alone.
    pub fn new(program: Arc<Program>) -> Self {
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
        Self { work: program.work(), program, draws, chunk, frames: Mutex::new(Vec::new()) }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Evaluates at `theta` `[draws, dimension]` over all rows.
    pub fn evaluate(&self, theta: &[f64], draws: usize, with_gradient: bool, out: &mut Evaluation) {
        self.evaluate_rows(theta, draws, 0..self.program.num_rows, 1.0, with_gradient, out);
    }

    /// Evaluates at `theta` `[draws, dimension]` over some rows, whose terms count `row_scale` times.
    pub fn evaluate_rows(
        &self,
        theta: &[f64],
        draws: usize,
        rows: Range<usize>,
        row_scale: f64,
        with_gradient: bool,
        out: &mut Evaluation,
    ) {
        let (dimension, num_terms) = (self.program.dimension, self.program.terms.len());
        out.values.clear();
        out.values.resize(draws, 0.0);
        out.terms.clear();
        out.terms.resize(draws * num_terms, 0.0);
        out.gradients.clear();
        out.gradients.resize(if with_gradient { draws * dimension } else { 0 }, 0.0);
        let groups = self.groups(draws, rows.clone());
        // Blocks of equal size: a last one of a draw or two would cost nearly as much as a whole one.
        let blocks = draws.div_ceil(self.draws);
        let size = draws.div_ceil(blocks.max(1)).max(1);
        let task = |block: usize, group: usize, gradient: &mut [f64], terms: &mut [f64]| {
            let from = block * size;
            let to = (from + size).min(draws);
            let mut frame = self.frame();
            frame.row_scale = row_scale;
            frame.sweep(
                &self.program,
                &theta[from * dimension..to * dimension],
                to - from,
                groups[group].clone(),
                self.chunk_for(to - from),
                group == 0,
                with_gradient,
            );
            for (to, from) in terms.iter_mut().zip(&frame.terms) {
                *to += from;
            }
            if with_gradient {
                for (to, from) in gradient.iter_mut().zip(&frame.gradient) {
                    *to += from;
                }
            }
            self.give_back(frame);
        };
        let width = size * dimension.max(1);
        let rows_share = rows.len().max(1) as f64 / self.program.num_rows.max(1) as f64;
        let alone = (draws as f64 * self.work as f64 * rows_share) < WORTH_SHARING as f64;
        if alone {
            // The same sums in the same order as the threads' below.
            for block in 0..blocks {
                let terms = block * size * num_terms..((block + 1) * size).min(draws) * num_terms;
                let gradient = block * width..((block + 1) * width).min(out.gradients.len());
                let gradient = if with_gradient { gradient } else { 0..0 };
                for group in 0..groups.len() {
                    task(block, group, &mut out.gradients[gradient.clone()], &mut out.terms[terms.clone()]);
                }
            }
        } else if groups.len() == 1 {
            let terms = out.terms.chunks_mut(size * num_terms.max(1));
            if blocks == 1 {
                for terms in terms {
                    task(0, 0, &mut out.gradients, terms);
                }
            } else if with_gradient && dimension > 0 {
                let work: Vec<_> = out.gradients.chunks_mut(width).zip(terms).enumerate().collect();
                work.into_par_iter().for_each(|(b, (gradient, terms))| task(b, 0, gradient, terms));
            } else {
                let work: Vec<_> = terms.enumerate().collect();
                work.into_par_iter().for_each(|(b, terms)| task(b, 0, &mut [], terms));
            }
        } else {
            let parts: Vec<(Vec<f64>, Vec<f64>)> = (0..blocks * groups.len())
                .into_par_iter()
                .map(|i| {
                    let mut gradient = vec![0.0; if with_gradient { width } else { 0 }];
                    let mut terms = vec![0.0; size * num_terms];
                    task(i / groups.len(), i % groups.len(), &mut gradient, &mut terms);
                    (gradient, terms)
                })
                .collect();
            for (i, (gradient, terms)) in parts.iter().enumerate() {
                let block = i / groups.len();
                for (to, from) in out.terms[block * size * num_terms..].iter_mut().zip(terms) {
                    *to += from;
                }
                if with_gradient {
                    for (to, from) in out.gradients[block * size * dimension..].iter_mut().zip(gradient) {
                        *to += from;
                    }
                }
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

    /// Row ranges that are swept apart: one where the draws alone give enough to do.
    fn groups(&self, draws: usize, rows: Range<usize>) -> Vec<Range<usize>> {
        let n = rows.len();
        let count = if !self.program.chunkable || self.program.local.is_empty() || draws.div_ceil(self.draws) >= 16 {
            1
        } else {
            n.div_ceil(2 * self.chunk_for(draws.min(self.draws))).clamp(1, 16)
        };
        let size = n.div_ceil(count).max(1).next_multiple_of(MULTIPLE);
        (0..count).map(|g| rows.start + (g * size).min(n)..rows.start + ((g + 1) * size).min(n)).collect()
    }

    fn frame(&self) -> Frame {
        let mut frames = self.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        frames.pop().unwrap_or_else(|| Frame::new(&self.program, self.draws, self.chunk))
    }

    fn give_back(&self, frame: Frame) {
        self.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(frame);
    }

    /// Sweeps forward over blocks of draws in order, over the first `rows` rows in one chunk, and shows each finished
    /// frame with its first draw: for read-outs of values; one thread.
    pub fn visit(&self, theta: &[f64], draws: usize, rows: usize, mut see: impl FnMut(usize, &Frame)) {
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
