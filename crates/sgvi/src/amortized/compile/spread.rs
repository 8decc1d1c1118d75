//! Finds the terms whose expectation has a closed form: normals whose mean is affine in amortised variables.

use super::super::program::{Binary, Level, Likelihood, Operation, Owner, Prior, SlotId, Spread, Unary};
use super::Compiler;
use crate::network::activation::Activation;
use crate::network::layer::Kind;
use std::collections::HashMap;

/// A value that is not affine in the draws, or whose slope differs between rows.
struct NotAffine;

impl Compiler<'_> {
    /// Adds the directions in which the means of normals vary with the draws, if every term that depends on draws is a
    /// normal with an affine mean; leaves the program as it is otherwise.
    pub(super) fn spreads(&mut self) {
        let lengths = (self.program.slots.len(), self.program.operations.len(), self.program.scratches.len());
        match self.all_spreads() {
            Ok(spreads) => {
                self.program.spreads = spreads;
                self.program.closed_form = true;
            }
            Err(NotAffine) => {
                self.program.slots.truncate(lengths.0);
                self.program.operations.truncate(lengths.1);
                self.program.scratches.truncate(lengths.2);
            }
        }
    }

    fn all_spreads(&mut self) -> Result<Vec<Spread>, NotAffine> {
        if !self.program.row_terms().is_empty() {
            return Err(NotAffine);
        }
        let random = self.random_slots();
        let mut known = HashMap::new();
        let mut spreads = Vec::new();
        for index in 0..self.program.observed.len() {
            let observed = &self.program.observed[index];
            let width = self.width(observed.data);
            match (observed.likelihood, &observed.parameters[..]) {
                (_, parameters) if parameters.iter().all(|&slot| !random[slot]) => {}
                (Likelihood::Normal, &[mean, sd]) if !random[sd] => {
                    let jacobian = self.direction(mean, &random, &mut known)?;
                    let Some(jacobian) = jacobian else { continue };
                    let jacobian = self.widened(jacobian, width);
                    spreads.push(Spread { jacobian, sd, owner: Owner::Observed(index) });
                }
                _ => return Err(NotAffine),
            }
        }
        for index in 0..self.program.latents.len() {
            let latent = &self.program.latents[index];
            let Some(Prior { mean, sd }) = latent.prior else { return Err(NotAffine) };
            if random[latent.parameters] || random[sd] {
                return Err(NotAffine);
            }
            if let Some(jacobian) = self.direction(mean, &random, &mut known)? {
                spreads.push(Spread { jacobian, sd, owner: Owner::Latent(index) });
            }
        }
        Ok(spreads)
    }

    /// Which slots depend on draws.
    fn random_slots(&self) -> Vec<bool> {
        let mut random = vec![false; self.program.slots.len()];
        for operation in &self.program.operations {
            random[operation.output()] = matches!(operation, Operation::Draw { .. })
                || operation.inputs(&self.program.latents).iter().any(|&slot| random[slot]);
        }
        random
    }

    /// A single number serves every element.
    fn widened(&mut self, slot: SlotId, width: usize) -> SlotId {
        if self.width(slot) == width {
            return slot;
        }
        let output = self.slot(Level::Basis, width);
        self.program.operations.push(Operation::Gather { input: slot, output, map: vec![0; width] });
        output
    }

    /// The slot of what a value changes by along every coordinate; `None` where it does not change.
    fn direction(
        &mut self,
        slot: SlotId,
        random: &[bool],
        known: &mut HashMap<SlotId, SlotId>,
    ) -> Result<Option<SlotId>, NotAffine> {
        if !random[slot] {
            return Ok(None);
        }
        if let Some(&direction) = known.get(&slot) {
            return Ok(Some(direction));
        }
        let Some(operation) = self.program.operations.iter().find(|operation| operation.output() == slot).cloned()
        else {
            return Err(NotAffine);
        };
        let width = self.width(slot);
        let direction = match operation {
            Operation::Draw { latent, .. } => self.unit_vectors(latent, width),
            Operation::Layer { layer, input, scratch, .. } => {
                let affine = self.program.scratches[scratch].2 == 1
                    && self.program.layers[layer].kind == Kind::Dense
                    && self.program.layers[layer].activation == Activation::Identity;
                let Some(input) = self.direction(input, random, known)?.filter(|_| affine) else {
                    return Err(NotAffine);
                };
                self.program.scratches.push((layer, Level::Basis, 1));
                let scratch = self.program.scratches.len() - 1;
                let output = self.slot(Level::Basis, width);
                self.program.operations.push(Operation::Linear { layer, scratch, input, output });
                output
            }
            Operation::Unary { function: Unary::Affine { scale, .. }, input, .. } => {
                let input = self.some_direction(input, random, known)?;
                let output = self.slot(Level::Basis, width);
                let function = Unary::Affine { scale, shift: 0.0 };
                self.program.operations.push(Operation::Unary { function, input, output });
                output
            }
            Operation::Gather { input, map, .. } => {
                let input = self.some_direction(input, random, known)?;
                let output = self.slot(Level::Basis, width);
                self.program.operations.push(Operation::Gather { input, output, map });
                output
            }
            Operation::Concatenate { inputs, .. } => {
                let mut parts = Vec::with_capacity(inputs.len());
                for input in inputs {
                    let part = self.direction(input, random, known)?;
                    parts.push(part.unwrap_or_else(|| self.basis_constant(self.width(input), |_, _| 0.0)));
                }
                let output = self.slot(Level::Basis, width);
                self.program.operations.push(Operation::Concatenate { inputs: parts, output });
                output
            }
            Operation::Binary { operator: operator @ (Binary::Add | Binary::Subtract), left, right, .. } => {
                match (self.direction(left, random, known)?, self.direction(right, random, known)?) {
                    (Some(left), None) => left,
                    (left, Some(right)) => {
                        let left = left.unwrap_or_else(|| self.basis_constant(width, |_, _| 0.0));
                        let output = self.slot(Level::Basis, width);
                        self.program.operations.push(Operation::Binary { operator, left, right, output });
                        output
                    }
                    (None, None) => return Err(NotAffine),
                }
            }
            Operation::Binary { operator, left, right, .. } => {
                let (left, right) = match (random[left], random[right], operator) {
                    (true, false, _) => (self.some_direction(left, random, known)?, self.factor(right)?),
                    (false, true, Binary::Multiply) => (self.factor(left)?, self.some_direction(right, random, known)?),
                    _ => return Err(NotAffine),
                };
                let output = self.slot(Level::Basis, width);
                self.program.operations.push(Operation::Binary { operator, left, right, output });
                output
            }
            Operation::Contract { left, right, length, left_map, right_map, .. } => {
                let (left, right) = match (random[left], random[right]) {
                    (true, false) => (self.some_direction(left, random, known)?, self.factor(right)?),
                    (false, true) => (self.factor(left)?, self.some_direction(right, random, known)?),
                    _ => return Err(NotAffine),
                };
                let output = self.slot(Level::Basis, width);
                self.program.operations.push(Operation::Contract { left, right, output, length, left_map, right_map });
                output
            }
            _ => return Err(NotAffine),
        };
        known.insert(slot, direction);
        Ok(Some(direction))
    }

    fn some_direction(
        &mut self,
        slot: SlotId,
        random: &[bool],
        known: &mut HashMap<SlotId, SlotId>,
    ) -> Result<SlotId, NotAffine> {
        self.direction(slot, random, known)?.ok_or(NotAffine)
    }

    /// A factor that is the same in every row, repeated for every coordinate.
    fn factor(&mut self, slot: SlotId) -> Result<SlotId, NotAffine> {
        let mut slot = slot;
        while self.level(slot) != Level::Global {
            slot = self
                .program
                .operations
                .iter()
                .find_map(|operation| match *operation {
                    Operation::Repeat { input, output } if output == slot => Some(input),
                    _ => None,
                })
                .ok_or(NotAffine)?;
        }
        Ok(self.raise(slot, Level::Basis))
    }

    fn unit_vectors(&mut self, latent: usize, width: usize) -> SlotId {
        let offset: usize = self.program.latents[..latent].iter().map(|latent| latent.width).sum();
        self.basis_constant(width, |coordinate, column| if coordinate == offset + column { 1.0 } else { 0.0 })
    }

    fn basis_constant(&mut self, width: usize, value: impl Fn(usize, usize) -> f32) -> SlotId {
        let count = self.program.num_coordinates();
        let values = (0..count * width).map(|index| value(index / width, index % width)).collect();
        let output = self.slot(Level::Basis, width);
        self.program.operations.push(Operation::Constant { values, output });
        output
    }
}
