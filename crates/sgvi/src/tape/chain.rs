//! Recursions along the rows: the forward algorithm of a discrete chain, and the state before.

use std::sync::Arc;

use super::elementwise::buffer;
use super::program::{Frame, Operation, Program};
use super::shape::Value;

/// log Σ over all paths of π(z₁) Π P(zₜ | zₜ₋₁) Π exp eₜ(zₜ), summed over sequences (Rabiner 1989, scaled forward
/// algorithm). All rows must be in one chunk.
#[derive(Debug)]
pub(crate) struct ForwardRecursion {
    /// Log likelihoods `[rows, k]`.
    pub emission: Value,
    /// log π `[k]`, the same in all rows or one for each.
    pub log_initial: Value,
    /// log P `[from, to]` into a row, the same in all rows or one for each.
    pub log_transition: Value,
    /// Whether a row starts a sequence.
    pub starts: Arc<Vec<bool>>,
    /// Number of states.
    pub size: usize,
    /// Buffer `[rows, k + 1]` without adjoint: filtered probabilities and the scale of each row.
    pub filtered: usize,
    /// The log normaliser, no axes.
    pub output: Value,
}

/// What a recursion reads for one draw.
struct Draw<'a> {
    emission: &'a [f64],
    initial: &'a [f64],
    transition: &'a [f64],
}

/// Exponentials of the transitions into the rows.
struct Transitions<'a> {
    log: &'a [f64],
    by_row: bool,
    size: usize,
    now: Vec<f64>,
}

impl<'a> Transitions<'a> {
    fn new(log: &'a [f64], by_row: bool, size: usize) -> Self {
        let now = log[..size].iter().map(|l| l.exp()).collect();
        Self { log, by_row, size, now }
    }

    /// P into row `t`.
    fn at(&mut self, t: usize) -> &[f64] {
        if self.by_row {
            for (p, l) in self.now.iter_mut().zip(&self.log[t * self.size..]) {
                *p = l.exp();
            }
        }
        &self.now
    }
}

impl ForwardRecursion {
    fn draw<'a>(&self, program: &'a Program, frame: &'a Frame, draw: usize) -> Draw<'a> {
        let part = |v: &Value| {
            let n = v.shape.elements(frame.rows);
            let from = if v.is_data() { 0 } else { draw * n };
            &frame.read(program, v)[from..from + n]
        };
        Draw {
            emission: part(&self.emission),
            initial: part(&self.log_initial),
            transition: part(&self.log_transition),
        }
    }
}

fn max(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_finite() { max } else { 0.0 }
}

impl Operation for ForwardRecursion {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (mut y, mut filtered) = (frame.take(out), frame.take(self.filtered));
        let (k, rows) = (self.size, frame.rows);
        let initial_step = if self.log_initial.shape.rows { k } else { 0 };
        for d in 0..frame.draws {
            let draw = self.draw(program, frame, d);
            let filtered = &mut filtered[d * rows * (k + 1)..(d + 1) * rows * (k + 1)];
            let mut transitions = Transitions::new(draw.transition, self.log_transition.shape.rows, k * k);
            let mut total = 0.0;
            for t in 0..rows {
                let e = &draw.emission[t * k..(t + 1) * k];
                let shift = max(e);
                let (before, now) = filtered.split_at_mut(t * (k + 1));
                let now = &mut now[..k + 1];
                if self.starts[t] {
                    for (n, l) in now[..k].iter_mut().zip(&draw.initial[t * initial_step..]) {
                        *n = l.exp();
                    }
                } else {
                    let before = &before[(t - 1) * (k + 1)..];
                    let transition = transitions.at(t);
                    now[..k].fill(0.0);
                    for i in 0..k {
                        for j in 0..k {
                            now[j] += before[i] * transition[i * k + j];
                        }
                    }
                }
                let mut sum = 0.0;
                for j in 0..k {
                    now[j] *= (e[j] - shift).exp();
                    sum += now[j];
                }
                for n in &mut now[..k] {
                    *n /= sum;
                }
                now[k] = sum;
                total += sum.ln() + shift;
            }
            y[d] = total;
        }
        frame.put(out, y);
        frame.put(self.filtered, filtered);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (k, rows) = (self.size, frame.rows);
        let places = [buffer(&self.emission), buffer(&self.log_initial), buffer(&self.log_transition)];
        let mut adjoints = places.map(|p| p.map(|p| frame.take_adjoint(p)).unwrap_or_default());
        let mut later = vec![1.0; k];
        let mut message = vec![0.0; k];
        let step = |v: &Value, n: usize| if v.shape.rows { n } else { 0 };
        let steps = (step(&self.log_initial, k), step(&self.log_transition, k * k));
        let lengths = (self.log_initial.shape.elements(rows), self.log_transition.shape.elements(rows));
        for d in 0..frame.draws {
            let draw = self.draw(program, frame, d);
            let g = frame.adjoints[out][d];
            let filtered = &frame.values[self.filtered][d * rows * (k + 1)..(d + 1) * rows * (k + 1)];
            let mut transitions = Transitions::new(draw.transition, self.log_transition.shape.rows, k * k);
            later.fill(1.0);
            for t in (0..rows).rev() {
                let now = &filtered[t * (k + 1)..(t + 1) * (k + 1)];
                if places[0].is_some() {
                    for j in 0..k {
                        adjoints[0][(d * rows + t) * k + j] += g * now[j] * later[j];
                    }
                }
                if self.starts[t] {
                    if places[1].is_some() {
                        for j in 0..k {
                            adjoints[1][d * lengths.0 + t * steps.0 + j] += g * now[j] * later[j];
                        }
                    }
                    later.fill(1.0);
                    continue;
                }
                let e = &draw.emission[t * k..(t + 1) * k];
                let shift = max(e);
                let transition = transitions.at(t);
                for j in 0..k {
                    message[j] = (e[j] - shift).exp() * later[j] / now[k];
                }
                let before = &filtered[(t - 1) * (k + 1)..t * (k + 1)];
                for i in 0..k {
                    let mut sum = 0.0;
                    for j in 0..k {
                        let pair = transition[i * k + j] * message[j];
                        sum += pair;
                        if places[2].is_some() {
                            adjoints[2][d * lengths.1 + t * steps.1 + i * k + j] += g * before[i] * pair;
                        }
                    }
                    later[i] = sum;
                }
            }
        }
        for (place, adjoint) in places.into_iter().zip(adjoints) {
            if let Some(place) = place {
                frame.put_adjoint(place, adjoint);
            }
        }
    }
}

/// The row before, zero where a sequence starts. All rows must be in one chunk.
#[derive(Debug)]
pub(crate) struct Lag {
    /// `[rows, …]`.
    pub input: Value,
    /// Whether a row starts a sequence.
    pub starts: Arc<Vec<bool>>,
    /// `[rows, …]`.
    pub output: Value,
}

impl Operation for Lag {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let x = frame.read(program, &self.input);
        let w = self.input.shape.inner();
        for draw in 0..frame.draws {
            let from = if self.input.is_data() { 0 } else { draw * frame.rows };
            for t in 0..frame.rows {
                let to = (draw * frame.rows + t) * w;
                if self.starts[t] {
                    y[to..to + w].fill(0.0);
                } else {
                    y[to..to + w].copy_from_slice(&x[(from + t - 1) * w..(from + t) * w]);
                }
            }
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let mut adjoint = frame.take_adjoint(input);
        let w = self.input.shape.inner();
        for draw in 0..frame.draws {
            for t in 0..frame.rows {
                if !self.starts[t] {
                    let at = (draw * frame.rows + t) * w;
                    for i in 0..w {
                        adjoint[at - w + i] += frame.adjoints[out][at + i];
                    }
                }
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}
