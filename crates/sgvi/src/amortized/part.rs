//! One part of a batch: its buffers, and the forward and backward sweep of the row program over them.

use super::elementwise::{add, add_product, binary, unary, unary_backward};
use super::joint::{State, Tape};
use super::posterior;
use super::program::{Binary, Level, Operation, Program, Slot, SlotId};
use crate::network::aligned::Aligned;
use crate::network::layer::Scratch;
use crate::network::noise::LayerNoise;
use rand_distr::{Distribution, StandardNormal};

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
    fn levels(&self) -> [usize; 4] {
        [1, self.rows.len(), self.rows.len() * self.draws, self.num_coordinates]
    }

    /// The values of a slot.
    #[must_use]
    pub(crate) fn value(&self, program: &Program, slot: SlotId) -> &[f32] {
        let s = &program.slots[slot];
        &self.values[slot][..self.count(s.level) * s.width]
    }

    /// Computes every slot from the parameters, the data and the noise.
    pub(crate) fn forward(&mut self, pass: &Pass<'_>) {
        if let Some(globals) = &pass.program.globals {
            self.joint.globals(&globals.joint.tape, &pass.globals.theta);
        }
        for (index, operation) in pass.program.operations.iter().enumerate() {
            if pass.runs(operation) && pass.needed.is_none_or(|needed| needed[index]) {
                self.forward_one(pass, operation);
            }
        }
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

    fn forward_one(&mut self, pass: &Pass<'_>, operation: &Operation) {
        let program = pass.program;
        let output = operation.output();
        let slot = program.slots[output];
        let count = self.count(slot.level);
        let draws = self.draws;
        let levels = self.levels();
        let (before, rest) = self.values.split_at_mut(output);
        let target = &mut rest[0][..count * slot.width];
        let read = |id: SlotId| {
            let s = &program.slots[id];
            &before[id][..levels[s.level as usize] * s.width]
        };
        match operation {
            Operation::Data { source, .. } => {
                let source = &pass.sources[*source];
                for (row, &number) in target.chunks_exact_mut(slot.width).zip(&self.rows) {
                    let start = number as usize * source.width;
                    row.copy_from_slice(&source.values[start..start + source.width]);
                }
            }
            Operation::Global { variable, .. } => {
                if let Some(globals) = &program.globals {
                    for (value, &x) in target.iter_mut().zip(self.joint.value(&globals.joint, *variable)) {
                        *value = x as f32;
                    }
                }
            }
            Operation::Constant { values, .. } => target.copy_from_slice(values),
            Operation::Repeat { input, .. } => {
                let source = read(*input);
                let copies = count / levels[program.slots[*input].level as usize].max(1);
                for (block, row) in target.chunks_exact_mut(copies * slot.width).zip(source.chunks_exact(slot.width)) {
                    for copy in block.chunks_exact_mut(slot.width) {
                        copy.copy_from_slice(row);
                    }
                }
            }
            Operation::Gather { input, map, .. } => {
                let width = program.slots[*input].width;
                for (row, source) in target.chunks_exact_mut(slot.width).zip(read(*input).chunks_exact(width)) {
                    for (value, &position) in row.iter_mut().zip(map) {
                        *value = source[position as usize];
                    }
                }
            }
            Operation::LookUp { table, codes, map, stride, .. } => {
                let table = read(*table);
                for (row, &code) in target.chunks_exact_mut(slot.width).zip(read(*codes)) {
                    for (value, &position) in row.iter_mut().zip(map) {
                        *value = table[position as usize + code as usize * stride];
                    }
                }
            }
            Operation::Concatenate { inputs, .. } => {
                let mut offset = 0;
                for &input in inputs {
                    let width = program.slots[input].width;
                    for (row, source) in target.chunks_exact_mut(slot.width).zip(read(input).chunks_exact(width)) {
                        row[offset..offset + width].copy_from_slice(source);
                    }
                    offset += width;
                }
            }
            Operation::Layer { layer, scratch, input, .. } => {
                let level = program.slots[*input].level;
                let (rows, repeats) = (&self.rows, program.scratches[*scratch].2);
                // Draws of one row, and uses for one draw, drop different units.
                let number = move |index: usize| {
                    let (index, repeat) = (index / repeats, (index % repeats) as u64);
                    let row = match level {
                        Level::Sample => u64::from(rows[index / draws]) | ((index % draws) as u64) << 32,
                        _ => rows.get(index).map_or(0, |&row| u64::from(row)),
                    };
                    row | repeat << 52
                };
                let purpose = (1 << 15) | *scratch as u16;
                let noise = pass.training.then_some(LayerNoise { step: pass.noise, row_number: &number, purpose });
                program.layers[*layer].forward(
                    pass.kernels,
                    &program.layout,
                    pass.parameters,
                    read(*input),
                    target,
                    &mut self.scratches[*scratch],
                    noise,
                );
            }
            Operation::Linear { layer, scratch, input, .. } => program.layers[*layer].forward_direction(
                pass.kernels,
                &program.layout,
                pass.parameters,
                read(*input),
                target,
                &mut self.scratches[*scratch],
            ),
            Operation::Draw { latent: index, .. } => {
                if pass.drawing == Drawing::Given {
                    return;
                }
                let latent = &program.latents[*index];
                let d = latent.width;
                let noise = &mut self.noise[*index][..count * d];
                if pass.drawing.at_mean() {
                    noise.fill(0.0);
                } else {
                    for (row, block) in noise.chunks_exact_mut(d * draws).enumerate() {
                        let number = if self.noise_by_place { row as u64 } else { u64::from(self.rows[row]) };
                        let mut generator = pass.noise.row(number, *index as u16);
                        block.fill_with(|| StandardNormal.sample(&mut generator));
                    }
                }
                let at = |id: SlotId, sample: usize| {
                    let s = &program.slots[id];
                    let row = row_of(s.level, sample, draws);
                    &before[id][row * s.width..(row + 1) * s.width]
                };
                let level = program.slots[latent.parameters].level;
                let scales = &mut self.scales[*index][..levels[level as usize] * d];
                if pass.drawing != Drawing::Prior {
                    let parameters = read(latent.parameters).chunks_exact(program.slots[latent.parameters].width);
                    for (scales, parameters) in scales.chunks_exact_mut(d).zip(parameters) {
                        posterior::scales(latent, parameters, scales);
                    }
                }
                for (sample, (z, noise)) in target.chunks_exact_mut(d).zip(noise.chunks_exact(d)).enumerate() {
                    if pass.drawing == Drawing::Prior {
                        let Some(prior) = latent.prior else { continue };
                        let (mean, sd) = (at(prior.mean, sample), at(prior.sd, sample));
                        for i in 0..d {
                            z[i] = mean[i] + sd[i] * noise[i];
                        }
                    } else {
                        let row = row_of(level, sample, draws);
                        let scales = &scales[row * d..(row + 1) * d];
                        posterior::draw(latent, at(latent.parameters, sample), scales, noise, z);
                    }
                }
            }
            Operation::Unary { function, input, .. } => unary(target, read(*input), *function),
            Operation::Binary { operator, left, right, .. } => binary(target, read(*left), read(*right), *operator),
            Operation::Contract { left, right, length, left_map, right_map, .. } => {
                let (left_width, right_width) = (program.slots[*left].width, program.slots[*right].width);
                for ((row, a), b) in target
                    .chunks_exact_mut(slot.width)
                    .zip(read(*left).chunks_exact(left_width))
                    .zip(read(*right).chunks_exact(right_width))
                {
                    for ((value, at_a), at_b) in
                        row.iter_mut().zip(left_map.chunks_exact(*length)).zip(right_map.chunks_exact(*length))
                    {
                        *value = at_a.iter().zip(at_b).map(|(&i, &j)| a[i as usize] * b[j as usize]).sum();
                    }
                }
            }
        }
    }

    /// Sets to zero what the backward sweep adds to.
    pub(super) fn clear_adjoints(&mut self, program: &Program) {
        let levels = self.levels();
        for (adjoint, slot) in self.adjoints.iter_mut().zip(&program.slots) {
            if !adjoint.is_empty() && !slot.exclusive {
                adjoint[..levels[slot.level as usize] * slot.width].fill(0.0);
            }
        }
        if let Some(globals) = &program.globals {
            self.joint.clear(&globals.joint);
        }
    }

    /// Carries the adjoints that the terms left back to the layers, and to the variables outside the rows' plate.
    pub(crate) fn backward(&mut self, pass: &Pass<'_>) {
        for operation in pass.program.operations.iter().rev() {
            if pass.runs(operation) && pass.program.slots[operation.output()].differentiable {
                self.backward_one(pass, operation);
            }
        }
        if let Some(globals) = &pass.program.globals {
            self.joint.backward_globals(&globals.joint, &pass.globals.theta);
        }
    }

    fn backward_one(&mut self, pass: &Pass<'_>, operation: &Operation) {
        let program = pass.program;
        let output = operation.output();
        let slot = program.slots[output];
        let count = self.count(slot.level);
        let levels = self.levels();
        let draws = self.draws;
        let (before, rest) = self.adjoints.split_at_mut(output);
        let slopes = &mut rest[0][..count * slot.width];
        let values = &self.values;
        let read = |id: SlotId| {
            let s = &program.slots[id];
            &values[id][..levels[s.level as usize] * s.width]
        };
        // The adjoint of an input, cleared first where nothing else adds to it.
        let open = |adjoints: &mut [Aligned], id: SlotId| -> Option<std::ops::Range<usize>> {
            let s = &program.slots[id];
            if adjoints[id].is_empty() {
                return None;
            }
            let range = 0..levels[s.level as usize] * s.width;
            if s.exclusive {
                adjoints[id][range.clone()].fill(0.0);
            }
            Some(range)
        };
        match operation {
            Operation::Data { .. } | Operation::Constant { .. } => {}
            Operation::Global { variable, .. } => {
                if let Some(globals) = &program.globals {
                    self.joint.add_adjoint(&globals.joint, *variable, slopes);
                }
            }
            Operation::Repeat { input, .. } => {
                if let Some(range) = open(before, *input) {
                    let copies = count / levels[program.slots[*input].level as usize].max(1);
                    for (row, block) in
                        before[*input][range].chunks_exact_mut(slot.width).zip(slopes.chunks_exact(copies * slot.width))
                    {
                        for copy in block.chunks_exact(slot.width) {
                            add(row, copy);
                        }
                    }
                }
            }
            Operation::Gather { input, map, .. } => {
                if let Some(range) = open(before, *input) {
                    let width = program.slots[*input].width;
                    for (row, slopes) in
                        before[*input][range].chunks_exact_mut(width).zip(slopes.chunks_exact(slot.width))
                    {
                        for (&slope, &position) in slopes.iter().zip(map) {
                            row[position as usize] += slope;
                        }
                    }
                }
            }
            Operation::LookUp { table, codes, map, stride, .. } => {
                if let Some(range) = open(before, *table) {
                    let table = &mut before[*table][range];
                    for (slopes, &code) in slopes.chunks_exact(slot.width).zip(read(*codes)) {
                        for (&slope, &position) in slopes.iter().zip(map) {
                            table[position as usize + code as usize * stride] += slope;
                        }
                    }
                }
            }
            Operation::Concatenate { inputs, .. } => {
                let mut offset = 0;
                for &input in inputs {
                    let width = program.slots[input].width;
                    if let Some(range) = open(before, input) {
                        for (row, slopes) in
                            before[input][range].chunks_exact_mut(width).zip(slopes.chunks_exact(slot.width))
                        {
                            add(row, &slopes[offset..offset + width]);
                        }
                    }
                    offset += width;
                }
            }
            Operation::Layer { layer, scratch, input, .. } => {
                let s = &program.slots[*input];
                let length = levels[s.level as usize] * s.width;
                let target = &mut before[*input];
                let adjoint = if target.is_empty() { None } else { Some((&mut target[..length], !s.exclusive)) };
                program.layers[*layer].backward(
                    pass.kernels,
                    &program.layout,
                    pass.parameters,
                    &values[output][..count * slot.width],
                    slopes,
                    &mut self.scratches[*scratch],
                    adjoint,
                );
            }
            Operation::Linear { layer, scratch, input, .. } => {
                let range = open(before, *input);
                program.layers[*layer].backward_direction(
                    pass.kernels,
                    &program.layout,
                    pass.parameters,
                    slopes,
                    &mut self.scratches[*scratch],
                    range.map(|range| &mut before[*input][range]),
                );
            }
            Operation::Draw { latent: index, .. } => {
                let latent = &program.latents[*index];
                let s = program.slots[latent.parameters];
                if before[latent.parameters].is_empty() {
                    return;
                }
                let d = latent.width;
                let noise = &self.noise[*index];
                for (sample, slopes) in slopes.chunks_exact_mut(d).enumerate() {
                    let weight = self.path_weights[sample];
                    if weight != 1.0 {
                        for slope in slopes.iter_mut() {
                            *slope *= weight;
                        }
                    }
                    let row = row_of(s.level, sample, draws);
                    let range = row * s.width..(row + 1) * s.width;
                    posterior::draw_backward(
                        latent,
                        &self.scales[*index][row * d..(row + 1) * d],
                        &noise[sample * d..(sample + 1) * d],
                        slopes,
                        &mut before[latent.parameters][range],
                    );
                }
            }
            Operation::Unary { function, input, .. } => {
                if let Some(range) = open(before, *input) {
                    let y = &values[output][..count * slot.width];
                    unary_backward(&mut before[*input][range], slopes, read(*input), y, *function);
                }
            }
            Operation::Binary { operator, left, right, .. } => {
                let (a, b) = (read(*left), read(*right));
                if let Some(range) = open(before, *left) {
                    let target = &mut before[*left][range];
                    match operator {
                        Binary::Add | Binary::Subtract => add(target, slopes),
                        Binary::Multiply => add_product(target, slopes, b),
                        Binary::Divide => {
                            for ((t, &slope), &y) in target.iter_mut().zip(slopes.iter()).zip(b) {
                                *t += slope / y;
                            }
                        }
                    }
                }
                if let Some(range) = open(before, *right) {
                    let target = &mut before[*right][range];
                    match operator {
                        Binary::Add => add(target, slopes),
                        Binary::Subtract => {
                            for (t, &slope) in target.iter_mut().zip(slopes.iter()) {
                                *t -= slope;
                            }
                        }
                        Binary::Multiply => add_product(target, slopes, a),
                        Binary::Divide => {
                            for (((t, &slope), &x), &y) in target.iter_mut().zip(slopes.iter()).zip(a).zip(b) {
                                *t -= slope * x / (y * y);
                            }
                        }
                    }
                }
            }
            Operation::Contract { left, right, length, left_map, right_map, .. } => {
                for (this, this_map, other, other_map) in
                    [(*left, left_map, *right, right_map), (*right, right_map, *left, left_map)]
                {
                    let Some(range) = open(before, this) else { continue };
                    let (width, other_width) = (program.slots[this].width, program.slots[other].width);
                    for ((target, slopes), factors) in before[this][range]
                        .chunks_exact_mut(width)
                        .zip(slopes.chunks_exact(slot.width))
                        .zip(read(other).chunks_exact(other_width))
                    {
                        for (at, (&i, &j)) in this_map.iter().zip(other_map).enumerate() {
                            target[i as usize] += slopes[at / length] * factors[j as usize];
                        }
                    }
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
