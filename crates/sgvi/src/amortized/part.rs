//! One part of a batch: its buffers, and the terms of its rows in the log joint.

use super::joint::{State, Tape};
use super::program::{Level, Program, Slot, SlotId};
use crate::network::aligned::Aligned;
use crate::network::layer::Scratch;

pub(crate) use super::pass::{Drawing, Pass, Source};

/// Buffers of one part of a batch.
#[derive(Debug)]
pub(crate) struct Part {
    /// Numbers of the data rows in this part.
    pub rows: Vec<u32>,
    /// How many times each of them occurs.
    pub weights: Vec<f32>,
    /// Monte Carlo draws per row.
    pub draws: usize,
    /// Coordinates of all amortised variables.
    pub num_coordinates: usize,
    /// Whether the noise of a row goes by its place in the part instead of its number.
    pub noise_by_place: bool,
    /// One buffer per slot.
    pub values: Vec<Aligned>,
    /// The adjoint of each slot that reaches a parameter.
    pub adjoints: Vec<Aligned>,
    /// Memory of layers.
    pub scratches: Vec<Scratch>,
    /// The noise of each latent variable's draws.
    pub noise: Vec<Vec<f32>>,
    /// The diagonal of each latent variable's A, per row (or per draw where its network depends on other draws).
    pub(super) scales: Vec<Vec<f32>>,
    /// For each observed variable its log density, per draw.
    pub log_likelihoods: Vec<Vec<f64>>,
    /// For each latent variable the analytic divergence per row (or draw), or the negative log ratio per draw.
    pub divergences: Vec<Vec<f64>>,
    /// For each term of rows in the log joint its value, per draw.
    pub(super) row_terms: Vec<Vec<f64>>,
    /// Variables outside the rows' plate, and densities of rows, where there are any.
    pub(super) joint: State,
    /// Weight of each draw's contribution to the latent variables' factors (doubly reparameterised gradient).
    pub(super) path_weights: Vec<f32>,
    /// Scratch rows of the densities.
    pub(super) row_parameters: [Vec<f32>; super::likelihood::MAX_PARAMETERS],
    /// Scratch rows of the densities' derivatives.
    pub(super) row_gradients: [Vec<f32>; super::likelihood::MAX_PARAMETERS],
    /// Scratch of the densities.
    pub(super) row_scratch: Vec<f32>,
}

impl Part {
    /// Buffers for at most `rows` rows with `draws` draws each.
    #[must_use]
    pub(crate) fn new(program: &Program, rows: usize, draws: usize, with_adjoints: bool) -> Self {
        let count = |level| match level {
            Level::Global => 1,
            Level::Row => rows,
            Level::Sample => rows * draws,
            Level::Basis => program.num_coordinates(),
        };
        let buffer = |slot: &Slot| Aligned::zeros(count(slot.level) * slot.width);
        let widest = program
            .observed
            .iter()
            .flat_map(|o| o.parameters.iter().chain([&o.data]))
            .map(|&slot| program.slots[slot].width)
            .max()
            .unwrap_or(0);
        Self {
            rows: Vec::with_capacity(rows),
            weights: Vec::with_capacity(rows),
            draws,
            num_coordinates: program.num_coordinates(),
            noise_by_place: false,
            values: program.slots.iter().map(buffer).collect(),
            adjoints: program
                .slots
                .iter()
                .map(|slot| if with_adjoints && slot.differentiable { buffer(slot) } else { Aligned::default() })
                .collect(),
            scratches: program
                .scratches
                .iter()
                .map(|&(layer, level, repeats)| program.layers[layer].scratch(count(level) * repeats))
                .collect(),
            noise: program.latents.iter().map(|l| vec![0.0; rows * draws * l.width]).collect(),
            scales: program
                .latents
                .iter()
                .map(|l| vec![0.0; count(program.slots[l.parameters].level) * l.width])
                .collect(),
            log_likelihoods: vec![vec![0.0; rows * draws]; program.observed.len()],
            divergences: vec![vec![0.0; rows * draws]; program.latents.len()],
            row_terms: vec![vec![0.0; rows * draws]; program.row_terms().len()],
            joint: program.globals.as_ref().map_or_else(State::default, |globals| {
                // Without terms of rows it holds what is the same for all.
                let samples = if globals.joint.row_terms.is_empty() { 0 } else { rows * draws };
                State::new(&globals.joint.tape, samples, with_adjoints)
            }),
            path_weights: vec![1.0; rows * draws],
            row_parameters: std::array::from_fn(|_| vec![0.0; widest]),
            row_gradients: std::array::from_fn(|_| vec![0.0; widest]),
            row_scratch: vec![0.0; widest],
        }
    }

    /// Number of values at a level.
    #[must_use]
    pub(crate) fn count(&self, level: Level) -> usize {
        match level {
            Level::Global => 1,
            Level::Row => self.rows.len(),
            Level::Sample => self.rows.len() * self.draws,
            Level::Basis => self.num_coordinates,
        }
    }

    /// Number of values at each level, in the order of [`Level`].
    pub(super) fn levels(&self) -> [usize; 4] {
        [1, self.rows.len(), self.rows.len() * self.draws, self.num_coordinates]
    }

    /// The values of a slot.
    #[must_use]
    pub(crate) fn value(&self, program: &Program, slot: SlotId) -> &[f32] {
        let s = &program.slots[slot];
        &self.values[slot][..self.count(s.level) * s.width]
    }

    /// Computes the terms of rows in the log joint, after [`Part::forward`].
    pub(super) fn forward_row_terms(&mut self, pass: &Pass<'_>) {
        let Some(globals) = pass.program.globals.as_ref().filter(|g| !g.joint.row_terms.is_empty()) else { return };
        let samples = self.rows.len() * self.draws;
        let mut joint = std::mem::take(&mut self.joint);
        self.run(pass.program, &globals.joint.tape, &pass.globals.theta, &mut joint);
        self.joint = joint;
        for (index, values) in self.row_terms.iter_mut().enumerate() {
            values[..samples].copy_from_slice(self.joint.term(&globals.joint, index));
        }
    }

    /// Runs the operations of a tape on rows, at the values that the slots have.
    pub(super) fn run(&self, program: &Program, tape: &Tape, theta: &[f64], state: &mut State) {
        let (draws, samples) = (self.draws, self.rows.len() * self.draws);
        let rows = self.rows.iter().flat_map(|&row| std::iter::repeat_n(row as usize, draws));
        state.rows(tape, theta, rows, |slot| {
            let (level, width, value) = (program.slots[slot].level, program.slots[slot].width, &self.values[slot]);
            match level {
                Level::Sample => Box::new(value[..samples * width].iter()),
                _ => Box::new((0..samples).flat_map(move |sample| {
                    let at = row_of(level, sample, draws) * width;
                    &value[at..at + width]
                })),
            }
        });
    }

    /// Carries `seeds` (one per draw, times `beta` for terms of the prior) times the terms of rows back to their ports.
    pub(super) fn backward_row_terms(&mut self, pass: &Pass<'_>, beta: f32, seeds: &[f32]) {
        let Some(globals) = pass.program.globals.as_ref().filter(|g| !g.joint.row_terms.is_empty()) else { return };
        let (program, draws) = (pass.program, self.draws);
        self.joint.backward_rows(&globals.joint, &pass.globals.theta, |term, draw| {
            f64::from(seeds[draw]) * if term.prior { f64::from(beta) } else { 1.0 }
        });
        for port in &globals.joint.tape.ports {
            let slot = &program.slots[port.slot];
            let target = &mut self.adjoints[port.slot];
            if target.is_empty() {
                continue;
            }
            let width = slot.width;
            for (sample, slopes) in self.joint.port_adjoint(port).chunks_exact(width).enumerate() {
                let at = row_of(slot.level, sample, draws) * width;
                for (target, &slope) in target[at..at + width].iter_mut().zip(slopes) {
                    *target += slope as f32;
                }
            }
        }
    }
}

/// The place of a draw's value in a buffer of that level.
pub(super) fn row_of(level: Level, sample: usize, draws: usize) -> usize {
    match level {
        Level::Global | Level::Basis => 0,
        Level::Row => sample / draws,
        Level::Sample => sample,
    }
}
