//! The deterministic search of a bound in closed form: exact steps block by block, then L-BFGS in the metric of its curvature.

use super::bound::{Bound, Totals};
use super::metric::{Block, Metric};
use super::model::AmortizedModel;
use super::trainer::Trainer;
use crate::network::noise::StepNoise;
use std::collections::VecDeque;
use vi_run::executor::{CheckpointError, Decoder, Encoder};

/// Sweeps over all blocks before the search in all parameters at once.
///
/// A block step is the maximum over its block, whatever the starting point; together the blocks are only as good as the
/// quadratic model at the current point, which wants a reasonable one.
const BLOCK_SWEEPS: u64 = 15;

/// Rows that these sweeps see: they only lead to where the search begins.
const SWEEP_ROWS: usize = 2048;

/// Pairs of steps and gradient differences that are remembered.
const MEMORY: usize = 20;

/// Fall of the bound, relative to its size, that counts as rounding.
const ROUNDING: f64 = 1e-7;

/// The search; each step is one sweep over the blocks or one step of L-BFGS.
#[derive(Debug)]
pub(super) struct Search {
    metric: Metric,
    steps: u64,
    memory: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
    /// The current point, where it is known; it follows from the parameters.
    place: Option<Place>,
}

/// What the search works on.
pub(super) struct Ground<'a> {
    pub(super) model: &'a AmortizedModel,
    pub(super) trainer: &'a mut Trainer,
    pub(super) rows: &'a [u32],
    pub(super) beta: f32,
}

/// A point with its value and gradient.
#[derive(Debug, Clone)]
struct Place {
    parameters: Vec<f32>,
    /// The bound per row, with the log prior.
    value: f64,
    gradient: Vec<f64>,
    totals: Totals,
}

impl Ground<'_> {
    fn place(&mut self, parameters: Vec<f32>) -> Place {
        self.trainer.parameters.copy_from_slice(&parameters);
        let bound = Bound::ClosedForm { beta: self.beta };
        let totals = self.trainer.accumulate(self.model, self.rows, &StepNoise::new(0, 0), bound);
        let program = &self.model.program;
        let prior: f64 = program.global_terms(&parameters, &program.draw_globals(&parameters, None)).iter().sum();
        let mut gradient: Vec<f64> = self.trainer.gradient.iter().map(|&g| f64::from(g)).collect();
        for view in self.model.program.layout.views().iter().filter(|view| !view.trainable) {
            gradient[view.range.clone()].fill(0.0);
        }
        let value = totals.bound / totals.rows + prior / self.model.total_weight();
        let value = if gradient.iter().all(|g| g.is_finite()) { value } else { f64::NAN };
        Place { parameters, value, gradient, totals }
    }
}

impl Search {
    /// A search at its start; `None` where the curvature of the bound is not known.
    pub(super) fn new(model: &AmortizedModel, parameters: &[f32], rows: &[u32]) -> Option<Self> {
        let metric = Metric::new(model, parameters, rows)?;
        Some(Self { metric, steps: 0, memory: VecDeque::new(), place: None })
    }

    /// The rows that the next step sees, evenly spread over all where there are many; `None` for all of them.
    pub(super) fn sample(&self, rows: &[u32]) -> Option<Vec<u32>> {
        (self.steps < BLOCK_SWEEPS && rows.len() > 2 * SWEEP_ROWS)
            .then(|| (0..SWEEP_ROWS).map(|i| rows[i * rows.len() / SWEEP_ROWS]).collect())
    }

    /// One step; the trainer holds the new parameters. Returns the sums of the bound there, and whether it may rise further.
    pub(super) fn step(&mut self, ground: &mut Ground<'_>) -> (Totals, bool) {
        let start = match self.place.take() {
            Some(place) => place,
            None => ground.place(ground.trainer.parameters.to_vec()),
        };
        let before = start.value;
        if !before.is_finite() {
            return (start.totals, false);
        }
        let end = if self.steps < BLOCK_SWEEPS { self.sweep(ground, start) } else { self.joint_step(ground, start) };
        self.steps += 1;
        ground.trainer.parameters.copy_from_slice(&end.parameters);
        let (totals, rose) = (end.totals.clone(), end.value > before || self.steps <= BLOCK_SWEEPS);
        // The first step after the sweeps may see other rows.
        self.place = (self.steps != BLOCK_SWEEPS).then_some(end);
        (totals, rose)
    }

    /// Each block in turn to its maximum given the others.
    fn sweep(&self, ground: &mut Ground<'_>, start: Place) -> Place {
        let mut place = start;
        let num_blocks = self.blocks(ground, &place).map_or(0, |blocks| blocks.len());
        for index in 0..num_blocks {
            let Some(blocks) = self.blocks(ground, &place) else { break };
            let mut direction = vec![0.0; place.gradient.len()];
            blocks[index].apply(&place.gradient, &mut direction);
            limit_points(&blocks[index..=index], &mut direction);
            let mut length = 1.0;
            for _ in 0..8 {
                let next = ground.place(moved(&place.parameters, length, &direction));
                if next.value >= place.value {
                    place = next;
                    break;
                }
                length *= 0.5;
            }
        }
        place
    }

    fn blocks(&self, ground: &Ground<'_>, place: &Place) -> Option<Vec<Block>> {
        self.metric.at(ground.model, &place.parameters, ground.rows)
    }

    /// A step of L-BFGS whose initial inverse Hessian is the metric (Nocedal & Wright 2006, algorithms 7.4 and 3.5).
    fn joint_step(&mut self, ground: &mut Ground<'_>, start: Place) -> Place {
        let Some(blocks) = self.blocks(ground, &start) else { return start };
        loop {
            let mut direction = self.direction(&blocks, &start.gradient);
            limit_points(&blocks, &mut direction);
            let slope = dot(&direction, &start.gradient);
            if slope > ROUNDING * start.value.abs()
                && let Some(end) = along(ground, &start, &direction, slope)
            {
                self.remember(&start, &end);
                return end;
            }
            if self.memory.is_empty() {
                return start;
            }
            self.memory.clear();
        }
    }

    fn direction(&self, blocks: &[Block], gradient: &[f64]) -> Vec<f64> {
        let mut q = gradient.to_vec();
        let mut factors = Vec::with_capacity(self.memory.len());
        for (s, y, inverse) in self.memory.iter().rev() {
            let factor = inverse * dot(s, &q);
            add_scaled(&mut q, -factor, y);
            factors.push(factor);
        }
        let mut direction = vec![0.0; q.len()];
        for block in blocks {
            block.apply(&q, &mut direction);
        }
        for ((s, y, inverse), factor) in self.memory.iter().zip(factors.into_iter().rev()) {
            let beta = inverse * dot(y, &direction);
            add_scaled(&mut direction, factor - beta, s);
        }
        direction
    }

    fn remember(&mut self, start: &Place, end: &Place) {
        let s: Vec<f64> =
            end.parameters.iter().zip(&start.parameters).map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
        // The bound is to be made large: its negative is what curves upwards.
        let y: Vec<f64> = start.gradient.iter().zip(&end.gradient).map(|(a, b)| a - b).collect();
        let product = dot(&s, &y);
        if product > 1e-10 * (dot(&y, &y) * dot(&s, &s)).sqrt() {
            if self.memory.len() == MEMORY {
                self.memory.pop_front();
            }
            self.memory.push_back((s, y, 1.0 / product));
        }
    }

    /// Writes the whole state but the metric, which follows from the data.
    pub(super) fn save(&self, encoder: &mut Encoder) {
        encoder.u64(self.steps);
        encoder.u64(self.memory.len() as u64);
        for (s, y, inverse) in &self.memory {
            encoder.f64_slice(s);
            encoder.f64_slice(y);
            encoder.f64(*inverse);
        }
    }

    /// Reads what [`Search::save`] wrote.
    pub(super) fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.steps = decoder.u64()?;
        self.place = None;
        self.memory.clear();
        for _ in 0..decoder.u64()? {
            self.memory.push_back((decoder.f64_vec()?, decoder.f64_vec()?, decoder.f64()?));
        }
        Ok(())
    }
}

/// A point along the direction that fulfils the weak Wolfe conditions, or the best one met; `None` where none is higher.
fn along(ground: &mut Ground<'_>, start: &Place, direction: &[f64], slope: f64) -> Option<Place> {
    let rounding = ROUNDING * start.value.abs();
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
    let mut best: Option<Place> = None;
    for _ in 0..12 {
        let place = ground.place(moved(&start.parameters, length, direction));
        let new_slope = dot(direction, &place.gradient);
        let rises = place.value.is_finite() && place.value >= start.value + 1e-4 * length * slope - rounding;
        if !rises {
            high = length;
        } else if new_slope > 0.9 * slope {
            low = length;
        } else {
            high = low;
        }
        if rises && best.as_ref().is_none_or(|best| place.value > best.value) {
            best = Some(place);
        }
        if high <= low {
            break;
        }
        length = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * length };
    }
    best.filter(|best| best.value > start.value)
}

/// Point variables move at most by one unit in unconstrained space, where the quadratic model means little further off.
fn limit_points(blocks: &[Block], direction: &mut [f64]) {
    for block in blocks {
        if let Block::Point(range, _) = block {
            direction[range.clone()].iter_mut().for_each(|d| *d = d.clamp(-1.0, 1.0));
        }
    }
}

fn moved(parameters: &[f32], length: f64, direction: &[f64]) -> Vec<f32> {
    parameters.iter().zip(direction).map(|(&p, &d)| (f64::from(p) + length * d) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(target: &mut [f64], factor: f64, source: &[f64]) {
    target.iter_mut().zip(source).for_each(|(t, s)| *t += factor * s);
}
