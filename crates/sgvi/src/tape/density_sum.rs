//! Scalar log densities over the rows, summed into a term while they are in the cache.

use std::sync::Arc;

use vi_families::rows::double::bernoulli_logit;

use super::elementwise::buffer;
use super::program::{Frame, Operation, Program};
use super::shape::{Source, Value};
use crate::density::{Kernel, Logarithms};

/// Rows that are worked on at a time.
const BLOCK: usize = 256;

/// term += Σᵣ weightᵣ log p(a₀ᵣ | a₁ᵣ …); every argument varies by row or is one number.
#[derive(Debug)]
pub(crate) struct DensitySum {
    /// The density.
    pub kernel: Kernel,
    /// The value, the parameters and what else the kernel wants; unused places repeat the first.
    pub arguments: [Value; 5],
    /// Whether a NaN as value (a missing cell) counts as zero.
    pub skip_missing: bool,
    /// Whether no value is missing, as far as that is known beforehand.
    pub is_complete: bool,
    /// For each latent argument the buffer of the term's derivative with respect to it, of the argument's shape.
    pub partials: [Option<usize>; 5],
    /// How many times each row occurs.
    pub weights: Option<Arc<Vec<f64>>>,
    /// How many times all of it counts.
    pub multiplicity: f64,
    /// Which term.
    pub term: usize,
}

impl DensitySum {
    /// Where an argument's numbers for a draw start, and its step along the rows.
    fn place(&self, frame: &Frame, argument: usize, draw: usize) -> (usize, usize) {
        let value = &self.arguments[argument];
        match (value.source, value.shape.rows) {
            (Source::Latent(_), true) => (draw * frame.rows, 1),
            (Source::Latent(_), false) => (draw, 0),
            (Source::Data(_), true) => (frame.start, 1),
            (Source::Data(_), false) => (0, 0),
        }
    }

    /// Whether one logarithm serves many rows.
    fn is_plain_bernoulli(&self) -> bool {
        let [labels, log_odds, ..] = &self.arguments;
        self.kernel == Kernel::BernoulliLogit
            && self.weights.is_none()
            && self.is_complete
            && labels.is_data()
            && labels.shape.rows
            && !log_odds.is_data()
            && log_odds.shape.rows
    }

    /// One draw of a Bernoulli likelihood.
    fn bernoulli(&self, frame: &Frame, arguments: &[&[f64]; 5], draw: usize, partial: &mut [f64]) -> f64 {
        let rows = frame.rows;
        let (y, x) = (self.place(frame, 0, draw).0, self.place(frame, 1, draw).0);
        let (y, x) = (&arguments[0][y..y + rows], &arguments[1][x..x + rows]);
        let factor = self.multiplicity * frame.row_scale;
        let mut sum = 0.0;
        if !frame.with_gradient {
            bernoulli_logit(y, x, &mut [], &mut sum);
            return factor * sum;
        }
        let partial = &mut partial[draw * rows..(draw + 1) * rows];
        bernoulli_logit(y, x, partial, &mut sum);
        if factor != 1.0 {
            partial.iter_mut().for_each(|p| *p *= factor);
        }
        factor * sum
    }
}

impl Operation for DensitySum {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (rows, draws) = (frame.rows, frame.draws);
        let mut terms = std::mem::take(&mut frame.terms);
        let (mut values, mut scratch) = std::mem::take(&mut frame.scratch);
        values.resize(BLOCK, 0.0);
        scratch.iter_mut().for_each(|s| s.resize(BLOCK, 0.0));
        let mut partials: [Vec<f64>; 5] =
            std::array::from_fn(|a| self.partials[a].map(|p| frame.take(p)).unwrap_or_default());
        let wanted: [bool; 5] = std::array::from_fn(|a| frame.with_gradient && self.partials[a].is_some());
        let arguments: [&[f64]; 5] = std::array::from_fn(|a| frame.read(program, &self.arguments[a]));
        let factor = self.multiplicity * frame.row_scale;
        let num_terms = program.terms.len();
        let mut logarithms = Logarithms::default();
        for draw in 0..draws {
            let term = &mut terms[draw * num_terms + self.term];
            if self.is_plain_bernoulli() {
                *term += self.bernoulli(frame, &arguments, draw, &mut partials[1]);
                continue;
            }
            let places: [(usize, usize); 5] = std::array::from_fn(|a| self.place(frame, a, draw));
            let mut totals = [0.0; 5];
            let mut sum = 0.0;
            for from in (0..rows).step_by(BLOCK) {
                let n = BLOCK.min(rows - from);
                let offsets =
                    std::array::from_fn(|i| if i == 0 { 0 } else { places[i - 1].0 + from * places[i - 1].1 });
                let steps = std::array::from_fn(|i| if i == 0 { 1 } else { places[i - 1].1 });
                self.kernel.evaluate(
                    n,
                    offsets,
                    steps,
                    &arguments,
                    self.skip_missing,
                    wanted,
                    &mut values,
                    &mut scratch,
                    &mut logarithms,
                );
                let weights = self.weights.as_ref().map(|w| &w[frame.start + from..frame.start + from + n]);
                sum += weighted_sum(&values[..n], weights);
                for a in 0..5 {
                    if !wanted[a] {
                        continue;
                    }
                    if places[a].1 == 0 {
                        totals[a] += weighted_sum(&scratch[a][..n], weights);
                    } else {
                        let to = &mut partials[a][draw * rows + from..][..n];
                        match weights {
                            None => to.iter_mut().zip(&scratch[a]).for_each(|(to, p)| *to = factor * p),
                            Some(w) => {
                                to.iter_mut().zip(&scratch[a]).zip(w).for_each(|((to, p), w)| *to = factor * p * w);
                            }
                        }
                    }
                }
            }
            *term += factor * sum;
            for a in 0..5 {
                if wanted[a] && places[a].1 == 0 {
                    partials[a][draw] = factor * totals[a];
                }
            }
        }
        for (a, partial) in partials.into_iter().enumerate() {
            if let Some(p) = self.partials[a] {
                frame.put(p, partial);
            }
        }
        frame.scratch = (values, scratch);
        frame.terms = terms;
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        for (argument, partial) in self.arguments.iter().zip(self.partials) {
            let (Some(partial), Some(argument), rows) = (partial, buffer(argument), argument.shape.rows) else {
                continue;
            };
            let n = frame.draws * if rows { frame.rows } else { 1 };
            let mut adjoint = frame.take_adjoint(argument);
            adjoint[..n].iter_mut().zip(&frame.values[partial]).for_each(|(a, p)| *a += p);
            frame.put_adjoint(argument, adjoint);
        }
    }
}

/// Σ xᵢ, or Σ wᵢ xᵢ.
fn weighted_sum(values: &[f64], weights: Option<&[f64]>) -> f64 {
    let mut parts = [0.0; 8];
    match weights {
        None => {
            let (whole, rest) = values.as_chunks::<8>();
            for values in whole {
                parts.iter_mut().zip(values).for_each(|(p, v)| *p += v);
            }
            parts.iter_mut().zip(rest).for_each(|(p, v)| *p += v);
        }
        Some(weights) => {
            for (i, (v, w)) in values.iter().zip(weights).enumerate() {
                parts[i % 8] += v * w;
            }
        }
    }
    ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]))
}
