//! What the kernels of a dense layer read and leave: its weights, the memory between its passes, a step of the optimiser.

use super::aligned::Aligned;
use super::lists::Lists;
use super::optimizer::{Optimizer, StepSize};

/// The weights of a dense layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[input_width, output_width]`
    pub values: &'a [f32],
    /// Numbers per row that come in.
    pub input_width: usize,
    /// Numbers per row that go out.
    pub output_width: usize,
}

/// What the kernels keep of a batch between the passes of a layer, in the order in which they read it again.
#[derive(Debug, Default)]
pub(crate) struct DenseMemory {
    /// Of the input, since the forward pass.
    pub(super) input: Aligned,
    /// Of the adjoint of the output, since the backward pass.
    pub(super) adjoint: Aligned,
    /// Of an input that is mostly zeros: its rows as lists, and then its columns. Of none where the input is not.
    pub(super) rows: Lists,
    pub(super) columns: Lists,
}

/// One use of a layer's weights by one part of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DenseTerm<'a> {
    /// `[rows, input_width]`
    pub input: &'a [f32],
    /// Of the values before the activation, `[rows, output_width]`.
    pub adjoint: &'a [f32],
    /// What the kernels kept of both.
    pub memory: &'a DenseMemory,
}

/// A step of the optimiser on a slice of the parameters.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// The rule.
    pub optimizer: Optimizer,
    /// Its constants at this step.
    pub size: StepSize,
    /// The parameters.
    pub values: &'a mut [f32],
    /// Their first moments.
    pub first: &'a mut [f32],
    /// Their second moments.
    pub second: &'a mut [f32],
}

impl Step<'_> {
    /// Moves the parameters at `start` and after along their gradient.
    pub(crate) fn take(&mut self, start: usize, gradient: &[f32]) {
        let range = start..start + gradient.len();
        // Momentum has no second moments.
        let second = self.second.get_mut(range.clone()).unwrap_or_default();
        let (values, first) = (&mut self.values[range.clone()], &mut self.first[range]);
        self.optimizer.update(self.size, values, gradient, first, second);
    }
}
