//! The forward and backward sweep of the row program over one part of a batch.

use super::elementwise::{binary, binary_backward, log_shares, log_shares_backward, unary, unary_backward};
use super::part::{Drawing, Part, Pass, row_of};
use super::posterior;
use super::program::{Level, Operation, Program, SlotId};
use super::rearrange::{self, Operand};
use crate::network::aligned::Aligned;
use crate::network::noise::LayerNoise;
use rand_distr::{Distribution, StandardNormal};

impl Part {
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

    fn forward_one(&mut self, pass: &Pass<'_>, operation: &Operation) {
        let program = pass.program;
        let output = operation.output();
        let slot = program.slots[output];
        let count = self.count(slot.level);
        let levels = self.levels();
        match operation {
            Operation::Draw { latent, output } => return self.draw(pass, *latent, *output),
            Operation::Layer { layer, scratch, input, output } => {
                return self.apply_layer(pass, *layer, *scratch, *input, *output);
            }
            _ => {}
        }
        let (before, rest) = self.values.split_at_mut(output);
        let target = &mut rest[0][..count * slot.width];
        let width = |id: SlotId| program.slots[id].width;
        let read = |id: SlotId| &before[id][..levels[program.slots[id].level as usize] * width(id)];
        match operation {
            Operation::Draw { .. } | Operation::Layer { .. } => {}
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
            Operation::Repeat { input, .. } => rearrange::repeat(target, read(*input), slot.width),
            Operation::Gather { input, map, .. } => rearrange::gather(target, read(*input), width(*input), map),
            Operation::LookUp { table, codes, map, stride, .. } => {
                rearrange::look_up(target, read(*table), read(*codes), map, *stride);
            }
            Operation::Concatenate { inputs, .. } => {
                let mut offset = 0;
                for &input in inputs {
                    rearrange::place(target, slot.width, offset, read(input), width(input));
                    offset += width(input);
                }
            }
            Operation::Linear { layer, scratch, input, .. } => program.layers[*layer].forward_direction(
                pass.kernels,
                &program.layout,
                pass.parameters,
                read(*input),
                target,
                &mut self.scratches[*scratch],
            ),
            Operation::Unary { function, input, .. } => unary(target, read(*input), *function),
            Operation::LogShares { input, .. } => {
                for (logs, theta) in target.chunks_exact_mut(slot.width).zip(read(*input).chunks_exact(width(*input))) {
                    log_shares(logs, theta);
                }
            }
            Operation::Binary { operator, left, right, .. } => binary(target, read(*left), read(*right), *operator),
            Operation::Contract { left, right, length, left_map, right_map, .. } => {
                let operand = |id, map| Operand { values: read(id), width: width(id), map };
                let (left, right) = (operand(*left, left_map), operand(*right, right_map));
                rearrange::contract(target, slot.width, *length, left, right);
            }
        }
    }

    fn apply_layer(&mut self, pass: &Pass<'_>, layer: usize, scratch: usize, input: SlotId, output: SlotId) {
        let program = pass.program;
        let (from, to) = (program.slots[input], program.slots[output]);
        let lengths = [self.count(from.level) * from.width, self.count(to.level) * to.width];
        let (level, draws, rows, repeats) = (from.level, self.draws, &self.rows, program.scratches[scratch].2);
        // Draws of one row, and uses for one draw, drop different units.
        let number = move |index: usize| {
            let (index, repeat) = (index / repeats, (index % repeats) as u64);
            let row = match level {
                Level::Sample => u64::from(rows[index / draws]) | ((index % draws) as u64) << 32,
                _ => rows.get(index).map_or(0, |&row| u64::from(row)),
            };
            row | repeat << 52
        };
        let purpose = (1 << 15) | scratch as u16;
        let noise = pass.training.then_some(LayerNoise { step: pass.noise, row_number: &number, purpose });
        let (before, rest) = self.values.split_at_mut(output);
        program.layers[layer].forward(
            pass.kernels,
            &program.layout,
            pass.parameters,
            &before[input][..lengths[0]],
            &mut rest[0][..lengths[1]],
            &mut self.scratches[scratch],
            noise,
        );
    }

    /// Draws a latent variable, and keeps the noise and the diagonal of A.
    fn draw(&mut self, pass: &Pass<'_>, index: usize, output: SlotId) {
        if pass.drawing == Drawing::Given {
            return;
        }
        let program = pass.program;
        let latent = &program.latents[index];
        let (d, draws, count) = (latent.width, self.draws, self.rows.len() * self.draws);
        let parameters = program.slots[latent.parameters];
        let units = self.count(parameters.level);
        let noise = &mut self.noise[index][..count * d];
        if pass.drawing.at_mean() {
            noise.fill(0.0);
        } else {
            for (row, block) in noise.chunks_exact_mut(d * draws).enumerate() {
                let number = if self.noise_by_place { row as u64 } else { u64::from(self.rows[row]) };
                let mut generator = pass.noise.row(number, index as u16);
                block.fill_with(|| StandardNormal.sample(&mut generator));
            }
        }
        let (before, rest) = self.values.split_at_mut(output);
        let target = &mut rest[0][..count * d];
        let at = |id: SlotId, sample: usize| {
            let s = &program.slots[id];
            let row = row_of(s.level, sample, draws);
            &before[id][row * s.width..(row + 1) * s.width]
        };
        if pass.drawing == Drawing::Prior {
            let Some(prior) = latent.prior else { return };
            for (sample, (z, noise)) in target.chunks_exact_mut(d).zip(noise.chunks_exact(d)).enumerate() {
                let (mean, sd) = (at(prior.mean, sample), at(prior.sd, sample));
                for i in 0..d {
                    z[i] = mean[i] + sd[i] * noise[i];
                }
            }
            return;
        }
        let scales = &mut self.scales[index][..units * d];
        let given = before[latent.parameters][..units * parameters.width].chunks_exact(parameters.width);
        for (scales, parameters) in scales.chunks_exact_mut(d).zip(given) {
            posterior::scales(latent, parameters, scales);
        }
        for (sample, (z, noise)) in target.chunks_exact_mut(d).zip(noise.chunks_exact(d)).enumerate() {
            let row = row_of(parameters.level, sample, draws);
            posterior::draw(latent, at(latent.parameters, sample), &scales[row * d..(row + 1) * d], noise, z);
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
        if let Operation::Draw { latent, output } = operation {
            return self.draw_backward(program, *latent, *output);
        }
        let (before, rest) = self.adjoints.split_at_mut(output);
        let slopes = &mut rest[0][..count * slot.width];
        let values = &self.values;
        let width = |id: SlotId| program.slots[id].width;
        let length = |id: SlotId| levels[program.slots[id].level as usize] * width(id);
        let read = |id: SlotId| &values[id][..length(id)];
        match operation {
            Operation::Data { .. } | Operation::Constant { .. } | Operation::Draw { .. } => {}
            Operation::Global { variable, .. } => {
                if let Some(globals) = &program.globals {
                    self.joint.add_adjoint(&globals.joint, *variable, slopes);
                }
            }
            Operation::Repeat { input, .. } => {
                if let Some(target) = open(before, program, *input, length(*input)) {
                    rearrange::repeat_backward(target, slopes, slot.width);
                }
            }
            Operation::Gather { input, map, .. } => {
                if let Some(target) = open(before, program, *input, length(*input)) {
                    rearrange::gather_backward(target, slopes, width(*input), map);
                }
            }
            Operation::LookUp { table, codes, map, stride, .. } => {
                if let Some(target) = open(before, program, *table, length(*table)) {
                    rearrange::look_up_backward(target, slopes, read(*codes), map, *stride);
                }
            }
            Operation::Concatenate { inputs, .. } => {
                let mut offset = 0;
                for &input in inputs {
                    if let Some(target) = open(before, program, input, length(input)) {
                        rearrange::place_backward(target, width(input), slopes, slot.width, offset);
                    }
                    offset += width(input);
                }
            }
            Operation::Layer { layer, scratch, input, .. } => {
                let target = &mut before[*input];
                let accumulate = !program.slots[*input].exclusive;
                let adjoint = if target.is_empty() { None } else { Some((&mut target[..length(*input)], accumulate)) };
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
            Operation::Linear { layer, scratch, input, .. } => program.layers[*layer].backward_direction(
                pass.kernels,
                &program.layout,
                pass.parameters,
                slopes,
                &mut self.scratches[*scratch],
                open(before, program, *input, length(*input)),
            ),
            Operation::Unary { function, input, .. } => {
                if let Some(target) = open(before, program, *input, length(*input)) {
                    let y = &values[output][..count * slot.width];
                    unary_backward(target, slopes, read(*input), y, *function);
                }
            }
            Operation::LogShares { input, .. } => {
                if let Some(target) = open(before, program, *input, length(*input)) {
                    let rows = slopes.chunks_exact(slot.width).zip(values[output].chunks_exact(slot.width));
                    for (target, (slopes, logs)) in target.chunks_exact_mut(width(*input)).zip(rows) {
                        log_shares_backward(target, slopes, logs);
                    }
                }
            }
            Operation::Binary { operator, left, right, .. } => {
                let (a, b) = (read(*left), read(*right));
                for (id, is_left) in [(*left, true), (*right, false)] {
                    if let Some(target) = open(before, program, id, length(id)) {
                        binary_backward(target, slopes, a, b, *operator, is_left);
                    }
                }
            }
            Operation::Contract { left, right, length: terms, left_map, right_map, .. } => {
                for (this, this_map, other, other_map) in
                    [(*left, left_map, *right, right_map), (*right, right_map, *left, left_map)]
                {
                    let Some(target) = open(before, program, this, length(this)) else { continue };
                    let other = Operand { values: read(other), width: width(other), map: other_map };
                    rearrange::contract_backward(target, width(this), this_map, slopes, slot.width, *terms, other);
                }
            }
        }
    }

    /// From the adjoints of a latent variable's draws to those of its factor's parameters.
    fn draw_backward(&mut self, program: &Program, index: usize, output: SlotId) {
        let latent = &program.latents[index];
        let parameters = program.slots[latent.parameters];
        let (d, count) = (latent.width, self.rows.len() * self.draws);
        let (before, rest) = self.adjoints.split_at_mut(output);
        let target = &mut before[latent.parameters];
        if target.is_empty() {
            return;
        }
        for (sample, slopes) in rest[0][..count * d].chunks_exact_mut(d).enumerate() {
            let weight = self.path_weights[sample];
            if weight != 1.0 {
                for slope in slopes.iter_mut() {
                    *slope *= weight;
                }
            }
            let row = row_of(parameters.level, sample, self.draws);
            posterior::draw_backward(
                latent,
                &self.scales[index][row * d..(row + 1) * d],
                &self.noise[index][sample * d..(sample + 1) * d],
                slopes,
                &mut target[row * parameters.width..(row + 1) * parameters.width],
            );
        }
    }
}

/// The adjoint of an input, cleared first where nothing else adds to it; `None` where nothing that is learned can be reached from it.
fn open<'a>(adjoints: &'a mut [Aligned], program: &Program, id: SlotId, length: usize) -> Option<&'a mut [f32]> {
    if adjoints[id].is_empty() {
        return None;
    }
    let adjoint = &mut adjoints[id][..length];
    if program.slots[id].exclusive {
        adjoint.fill(0.0);
    }
    Some(adjoint)
}
