//! Sums: over axes, over rows by group, in the log domain over the values of a discrete variable, and into a term.

use std::sync::Arc;

use super::elementwise::{accumulate, buffer};
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Label, Value};
use vi_families::rows::{log_sum_exp_rows_component_major, softmax_rows_component_major};

/// Sums over the axes that the output lacks.
#[derive(Debug)]
pub(crate) struct SumTo {
    /// What is summed.
    pub input: Value,
    /// The sum, over some of the input's axes.
    pub output: Value,
}

impl Operation for SumTo {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        y[..frame.draws * self.output.shape.elements(frame.rows)].fill(0.0);
        let x = frame.read(program, &self.input);
        Nest::over(&self.input.shape, [&self.output, &self.input], frame.draws, frame.start, frame.rows)
            .run(|[oy, ox], n, [sy, sx]| accumulate(&mut y, oy, n, sy, |i| x[ox + i * sx]));
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let mut adjoint = frame.take_adjoint(input);
        let g = &frame.adjoints[out];
        Nest::over(&self.input.shape, [&self.output, &self.input], frame.draws, frame.start, frame.rows)
            .run(|[og, ox], n, [sg, sx]| accumulate(&mut adjoint, ox, n, sx, |i| g[og + i * sg]));
        frame.put_adjoint(input, adjoint);
    }
}

/// `out[codes[r], …] = Σ_r in[r, …]`: rows gathered into groups.
#[derive(Debug)]
pub(crate) struct ScatterSum {
    /// `[rows, …]`.
    pub input: Value,
    /// The group of each row.
    pub codes: Arc<Vec<u32>>,
    /// `[groups, …]`, the group axis first, no rows.
    pub output: Value,
}

impl Operation for ScatterSum {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let (size, width) = (self.output.shape.inner(), self.input.shape.inner());
        y[..frame.draws * size].fill(0.0);
        let x = frame.read(program, &self.input);
        for draw in 0..frame.draws {
            for r in 0..frame.rows {
                let to = draw * size + self.codes[frame.start + r] as usize * width;
                let from = (draw * frame.rows + r) * width;
                for i in 0..width {
                    y[to + i] += x[from + i];
                }
            }
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let (size, width) = (self.output.shape.inner(), self.input.shape.inner());
        let mut adjoint = frame.take_adjoint(input);
        let g = &frame.adjoints[out];
        for draw in 0..frame.draws {
            for r in 0..frame.rows {
                let from = draw * size + self.codes[frame.start + r] as usize * width;
                let to = (draw * frame.rows + r) * width;
                for i in 0..width {
                    adjoint[to + i] += g[from + i];
                }
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}

/// y = log Σₖ exp(xₖ) over the last axis.
#[derive(Debug)]
pub(crate) struct LogSumExp {
    /// `[…, k]`.
    pub input: Value,
    /// The summed axis, the last of the input's, with its size.
    pub label: (Label, usize),
    /// `[…]`.
    pub output: Value,
    /// Buffer for the derivatives exp(xₖ − y), without an adjoint.
    pub weights: usize,
}

/// Elements whose exponentials are taken together.
const BLOCK: usize = 64;

impl Operation for LogSumExp {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (mut y, mut weights) = (frame.take(out), frame.take(self.weights));
        let (mut turned, spare) = std::mem::take(&mut frame.scratch);
        let k = self.label.1;
        turned.resize(turned.len().max(BLOCK * k), 0.0);
        let n = frame.draws * self.output.shape.elements(frame.rows);
        let x = &frame.read(program, &self.input)[..n * k];
        for ((y, x), weights) in y[..n].chunks_mut(BLOCK).zip(x.chunks(BLOCK * k)).zip(weights.chunks_mut(BLOCK * k)) {
            let count = y.len();
            let turned = &mut turned[..count * k];
            for (element, x) in x.chunks_exact(k).enumerate() {
                x.iter().enumerate().for_each(|(j, x)| turned[j * count + element] = *x);
            }
            if frame.with_gradient {
                softmax_rows_component_major(turned, count, k, y);
                for (element, weights) in weights.chunks_exact_mut(k).enumerate().take(count) {
                    weights.iter_mut().enumerate().for_each(|(j, w)| *w = turned[j * count + element]);
                }
            } else {
                log_sum_exp_rows_component_major(turned, count, k, y);
            }
        }
        frame.scratch = (turned, spare);
        frame.put(self.weights, weights);
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let k = self.label.1;
        let mut adjoint = frame.take_adjoint(input);
        let n = frame.draws * self.output.shape.elements(frame.rows);
        let (g, y, weights) = (&frame.adjoints[out], &frame.values[out], &frame.values[self.weights]);
        let each = adjoint.chunks_exact_mut(k).zip(weights.chunks_exact(k));
        for ((g, y), (adjoint, weights)) in g.iter().zip(y).zip(each).take(n) {
            if y.is_finite() {
                adjoint.iter_mut().zip(weights).for_each(|(a, w)| *a += g * w);
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}

/// Adds Σ weight · in to a term of the log joint.
#[derive(Debug)]
pub(crate) struct Accumulate {
    /// What is added.
    pub input: Value,
    /// Weights of the rows (how many times each occurs).
    pub weights: Option<Arc<Vec<f64>>>,
    /// Which term.
    pub term: usize,
    /// Whether it is a row-level term, scaled when a batch stands for all rows.
    pub local: bool,
    /// How many times it counts (elements of the axes along which it is broadcast).
    pub multiplicity: f64,
}

impl Accumulate {
    fn factor(&self, frame: &Frame, row: usize) -> f64 {
        let weight = match &self.weights {
            Some(weights) if self.input.shape.rows => weights[frame.start + row],
            _ => 1.0,
        };
        weight * self.multiplicity * if self.local { frame.row_scale } else { 1.0 }
    }

    fn silent(&self, frame: &Frame) -> bool {
        !self.local && !frame.first
    }
}

impl Operation for Accumulate {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        if self.silent(frame) {
            return;
        }
        let (width, num_terms) = (self.input.shape.inner(), program.terms.len());
        let rows = if self.input.shape.rows { frame.rows } else { 1 };
        let mut terms = std::mem::take(&mut frame.terms);
        let x = frame.read(program, &self.input);
        for draw in 0..frame.draws {
            let from =
                if self.input.is_data() { frame.start * self.input.shape.row_stride() } else { draw * rows * width };
            let mut sum = 0.0;
            if self.weights.is_some() && self.input.shape.rows {
                for r in 0..rows {
                    let part: f64 = x[from + r * width..from + (r + 1) * width].iter().sum();
                    sum += part * self.factor(frame, r);
                }
            } else {
                let mut total = [0.0];
                accumulate(&mut total, 0, rows * width, 0, |i| x[from + i]);
                sum = total[0] * self.factor(frame, 0);
            }
            terms[draw * num_terms + self.term] += sum;
        }
        frame.terms = terms;
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(input) = buffer(&self.input) else { return };
        if self.silent(frame) {
            return;
        }
        let width = self.input.shape.inner();
        let rows = if self.input.shape.rows { frame.rows } else { 1 };
        let mut adjoint = frame.take_adjoint(input);
        for draw in 0..frame.draws {
            for r in 0..rows {
                let factor = self.factor(frame, r);
                for a in &mut adjoint[(draw * rows + r) * width..(draw * rows + r + 1) * width] {
                    *a += factor;
                }
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}
