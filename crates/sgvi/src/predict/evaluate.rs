//! Sweeps of a program for new rows over all draws, in chunks of rows: moments, quantiles, log densities.

use std::ops::Range;

use rayon::prelude::*;
use vi_families::special::log_sum_exp;

use super::operations::slice;
use super::{PredictOptions, RowExpression, RowPrediction};
use crate::lower::{Drawn, PredictiveProgram};
use crate::tape::{Frame, Program};

/// Rows at most in one chunk.
const CHUNK: usize = 256;
/// Numbers at most that one chunk keeps.
const KEPT: usize = 4_000_000;
/// Numbers at most in the buffers of one sweep.
const BUFFERED: usize = 1 << 18;

/// Chunks of rows, the same on every machine.
fn chunks(program: &Program, draws: usize, width: usize) -> Vec<Range<usize>> {
    let n = program.num_rows;
    let size = if program.chunkable { (KEPT / (draws * width.max(1)).max(1)).clamp(1, CHUNK) } else { n.max(1) };
    (0..n).step_by(size).map(|start| start..(start + size).min(n)).collect()
}

/// Sweeps over blocks of draws in order; `see` gets the frame and its first draw.
fn sweep(program: &Program, theta: &[f64], draws: usize, rows: &Range<usize>, mut see: impl FnMut(usize, &Frame)) {
    let numbers: usize = program.buffers.iter().map(|s| s.elements(rows.len())).sum();
    let block = (BUFFERED / numbers.max(1)).clamp(1, 64);
    let mut frame = Frame::new(program, block, rows.len());
    let w = program.dimension;
    for from in (0..draws).step_by(block) {
        let to = (from + block).min(draws);
        frame.sweep(program, &theta[from * w..to * w], to - from, rows.clone(), rows.len(), true, false);
        see(from, &frame);
    }
}

/// Running means and squared deviations.
#[derive(Debug, Clone, Default)]
struct Running {
    count: f64,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Running {
    fn add(&mut self, values: &[f64]) {
        self.mean.resize(values.len(), 0.0);
        self.square.resize(values.len(), 0.0);
        self.count += 1.0;
        for (i, value) in values.iter().enumerate() {
            let step = value - self.mean[i];
            self.mean[i] += step / self.count;
            self.square[i] += step * (value - self.mean[i]);
        }
    }

    fn sd(&self) -> Vec<f64> {
        self.square.iter().map(|s| (s / self.count).max(0.0).sqrt()).collect()
    }
}

/// What one chunk of rows collects of one variable.
#[derive(Debug, Default)]
struct Collected {
    /// `[elements, draws]`
    draws: Vec<f64>,
    mean: Running,
    variance: Running,
}

/// The quantile of sorted values, interpolated.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p.clamp(0.0, 1.0) * (sorted.len() as f64 - 1.0);
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    if low == high { sorted[low] } else { sorted[low] + (at - low as f64) * (sorted[high] - sorted[low]) }
}

/// Draws and moments of all observed variables, and moments of the expressions; names are left out.
pub(super) fn draws(
    compiled: &PredictiveProgram,
    theta: &[f64],
    draws: usize,
    options: &PredictOptions,
) -> (Vec<RowPrediction>, Vec<RowExpression>) {
    let program = &*compiled.program;
    let width = |d: &Drawn| d.draw.shape.inner();
    let widest = compiled.drawn.iter().map(width).sum::<usize>();
    let parts: Vec<_> = chunks(program, draws, widest)
        .into_par_iter()
        .map(|rows| {
            let mut variables: Vec<Collected> = compiled
                .drawn
                .iter()
                .map(|d| Collected { draws: vec![0.0; rows.len() * width(d) * draws], ..Collected::default() })
                .collect();
            let mut expressions = vec![Running::default(); compiled.expressions.len()];
            sweep(program, theta, draws, &rows, |from, frame| {
                for d in 0..frame.draws {
                    for (drawn, out) in compiled.drawn.iter().zip(&mut variables) {
                        for (i, x) in slice(program, frame, &drawn.draw, d).iter().enumerate() {
                            out.draws[i * draws + from + d] = *x;
                        }
                        if let Some((mean, variance)) = &drawn.moments {
                            out.mean.add(slice(program, frame, mean, d));
                            out.variance.add(slice(program, frame, variance, d));
                        }
                        if let Some(probabilities) = &drawn.probabilities {
                            out.mean.add(slice(program, frame, probabilities, d));
                        }
                    }
                    for (output, out) in compiled.expressions.iter().zip(&mut expressions) {
                        out.add(slice(program, frame, &output.value, d));
                    }
                }
            });
            (variables, expressions)
        })
        .collect();
    let mut predictions: Vec<RowPrediction> = compiled
        .drawn
        .iter()
        .map(|d| RowPrediction {
            width: width(d),
            quantiles: vec![Vec::new(); if d.moments.is_some() { options.quantiles.len() } else { 0 }],
            ..RowPrediction::default()
        })
        .collect();
    let mut expressions: Vec<RowExpression> = compiled
        .expressions
        .iter()
        .map(|o| RowExpression { width: o.value.shape.inner(), ..RowExpression::default() })
        .collect();
    for (variables, parts) in parts {
        for ((drawn, out), mut part) in compiled.drawn.iter().zip(&mut predictions).zip(variables) {
            if options.keep_draws {
                out.draws.extend(&part.draws);
            }
            if drawn.moments.is_some() {
                let spread = part.mean.sd();
                out.sds.extend(spread.iter().zip(&part.variance.mean).map(|(s, v)| (s * s + v).sqrt()));
                for own in part.draws.chunks_mut(draws) {
                    own.sort_by(f64::total_cmp);
                    for (out, p) in out.quantiles.iter_mut().zip(&options.quantiles) {
                        out.push(quantile(own, *p));
                    }
                }
            }
            out.means.extend(part.mean.mean);
        }
        for (out, part) in expressions.iter_mut().zip(parts) {
            out.sds.extend(part.sd());
            out.means.extend(part.mean);
        }
    }
    (predictions, expressions)
}

/// The log mean over draws of each row's density; NaN where nothing is observed in a row.
pub(super) fn log_densities(compiled: &PredictiveProgram, theta: &[f64], draws: usize) -> Vec<f64> {
    let program = &*compiled.program;
    let Some(value) = &compiled.log_density else { return vec![f64::NAN; program.num_rows] };
    let parts: Vec<Vec<f64>> = chunks(program, draws, 1)
        .into_par_iter()
        .map(|rows| {
            let mut all = vec![0.0; rows.len() * draws];
            sweep(program, theta, draws, &rows, |from, frame| {
                for d in 0..frame.draws {
                    for (i, x) in slice(program, frame, value, d).iter().enumerate() {
                        all[i * draws + from + d] = *x;
                    }
                }
            });
            all.chunks(draws)
                .zip(rows)
                .map(|(own, row)| if compiled.present[row] { log_sum_exp(own) - (draws as f64).ln() } else { f64::NAN })
                .collect()
        })
        .collect();
    parts.concat()
}
