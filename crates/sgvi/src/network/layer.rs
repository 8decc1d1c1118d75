//! One layer: its parameters, forward pass, backward pass, and the gradient of a slice of its parameters.

use super::activation::Activation;
use super::convolution::Geometry;
use super::dense::{DenseMemory, DenseTerm, Step, Weights};
use super::kernels::{Kernels, Matrix};
use super::noise::LayerNoise;
use super::normalization::{normalize, normalize_backward, scale_rows};
use super::parameters::{Layout, ViewId};
use super::vectorize::vectorized;
use rand::Rng;
use std::ops::Range;

/// What a layer does before its activation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// y = x·W + b with W `[input, output]` and b `[output]`.
    Dense,
    /// Patches of a channel-last image times W `[patch_width, small_channels]`, plus one bias per channel.
    Convolution(Geometry),
    /// The transpose of a convolution: W `[small_channels, patch_width]`, one bias per channel of the large image.
    TransposedConvolution(Geometry),
    /// y = gain·(x − mean(x)) / sd(x) + shift over the features of a row (Ba, Kiros & Hinton 2016).
    Normalization,
    /// From images `[channels, positions]` to `[positions, channels]`, for that many channels.
    ChannelsLast(usize),
    /// The way back.
    ChannelsFirst(usize),
    /// During training, each number is dropped with this probability and the rest scaled up (Srivastava et al. 2014).
    Dropout(f32),
}

/// Which of a layer's parameters a gradient is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The matrix of a product, or the gain of a normalisation.
    Weight,
    /// What is added.
    Bias,
}

/// A layer of a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// What it does.
    pub kind: Kind,
    /// Numbers per row that come in.
    pub input_width: usize,
    /// Numbers per row that go out.
    pub output_width: usize,
    /// Applied last.
    pub activation: Activation,
    /// The view of its weight, `None` where it has no parameters.
    pub weight: Option<ViewId>,
    /// The view of its bias, `None` where it has no parameters.
    pub bias: Option<ViewId>,
}

/// Memory that a layer needs per part of a batch, besides its output.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Values before the activation, where its derivative needs them.
    pub before: Vec<f32>,
    /// Patches, normalised values or dropout factors.
    pub extra: Vec<f32>,
    /// Adjoint of the patches.
    pub extra_adjoint: Vec<f32>,
    /// The sums of the output's adjoint that are the gradient of the bias.
    pub bias_gradient: Vec<f32>,
    /// What a dense layer's kernels keep.
    pub dense: DenseMemory,
}

/// One use of a layer by one part of a batch, after its backward pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    /// `[rows, input_width]`
    pub input: &'a [f32],
    /// What [`Layer::backward`] left, `[rows, output_width]`.
    pub output_adjoint: &'a [f32],
    /// The memory of both passes.
    pub scratch: &'a Scratch,
}

impl Layer {
    /// Memory for `rows` rows.
    #[must_use]
    pub(crate) fn scratch(&self, rows: usize) -> Scratch {
        let (extra, extra_adjoint) = match &self.kind {
            Kind::Dense | Kind::ChannelsLast(_) | Kind::ChannelsFirst(_) => (0, 0),
            Kind::Convolution(g) | Kind::TransposedConvolution(g) => {
                let patches = rows * g.positions() * g.patch_width();
                (patches, patches)
            }
            Kind::Normalization => (rows * (self.output_width + 1), 0),
            Kind::Dropout(_) => (rows * self.output_width, 0),
        };
        Scratch {
            before: vec![0.0; if self.activation.needs_input() { rows * self.output_width } else { 0 }],
            extra: vec![0.0; extra],
            extra_adjoint: vec![0.0; extra_adjoint],
            bias_gradient: Vec::new(),
            dense: DenseMemory::default(),
        }
    }

    /// Computes `output` (`[rows, output_width]`) from `input` (`[rows, input_width]`).
    ///
    /// `noise` gives the random numbers of a training step and the number of each row; without it nothing is dropped.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &self,
        kernels: &dyn Kernels,
        layout: &Layout,
        parameters: &[f32],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Scratch,
        noise: Option<LayerNoise<'_>>,
    ) {
        let rows = input.len() / self.input_width.max(1);
        let view = |id: Option<ViewId>| id.map_or(&[][..], |id| layout.slice(parameters, id));
        let (weight, bias) = (view(self.weight), view(self.bias));
        match &self.kind {
            Kind::Dense => {
                let (before, memory) = (&mut scratch.before, &mut scratch.dense);
                kernels.dense_forward(output, before, input, self.weights(weight), bias, self.activation, memory);
            }
            Kind::Convolution(g) => {
                let patches = &mut scratch.extra[..rows * g.positions() * g.patch_width()];
                g.gather(input, patches);
                kernels.product(
                    output,
                    false,
                    Matrix::new(patches, rows * g.positions(), g.patch_width()),
                    Matrix::new(weight, g.patch_width(), g.small_channels),
                );
                kernels.bias_and_activation(output, &mut scratch.before, bias, self.activation);
            }
            Kind::TransposedConvolution(g) => {
                let patches = &mut scratch.extra[..rows * g.positions() * g.patch_width()];
                kernels.product(
                    patches,
                    false,
                    Matrix::new(input, rows * g.positions(), g.small_channels),
                    Matrix::new(weight, g.small_channels, g.patch_width()),
                );
                output.fill(0.0);
                g.scatter(patches, output);
                kernels.bias_and_activation(output, &mut scratch.before, bias, self.activation);
            }
            Kind::ChannelsLast(channels) => {
                transpose(input, output, *channels, self.input_width / channels, |target, value| *target = value);
            }
            Kind::ChannelsFirst(channels) => {
                transpose(input, output, self.input_width / channels, *channels, |target, value| *target = value);
            }
            Kind::Normalization => {
                let (normalized, inverse_sd) = scratch.extra.split_at_mut(rows * self.output_width);
                normalize(input, normalized, inverse_sd, self.output_width);
                scale_rows(output, &normalized[..rows * self.output_width], weight);
                kernels.bias_and_activation(output, &mut scratch.before, bias, self.activation);
            }
            Kind::Dropout(rate) => {
                output.copy_from_slice(input);
                let factors = &mut scratch.extra[..output.len()];
                if let Some(noise) = noise {
                    let keep = (1.0 - rate) as f64;
                    let threshold = (keep * f64::from(u32::MAX)) as u32;
                    for (row, factors) in factors.chunks_exact_mut(self.output_width).enumerate() {
                        let mut generator = noise.row(row);
                        factors.fill_with(|| if generator.next_u32() <= threshold { 1.0 / (1.0 - rate) } else { 0.0 });
                    }
                    multiply(output, factors);
                } else {
                    factors.fill(1.0);
                }
            }
        }
    }

    /// What a dense layer makes of directions: the product with its weight, without bias and activation.
    pub(crate) fn forward_direction(
        &self,
        kernels: &dyn Kernels,
        layout: &Layout,
        parameters: &[f32],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let weight = self.weight.map_or(&[][..], |id| layout.slice(parameters, id));
        // The memory for patches holds the bias, which is zero.
        scratch.extra_adjoint.resize(self.output_width, 0.0);
        let (before, bias, memory) = (&mut scratch.before, &scratch.extra_adjoint[..], &mut scratch.dense);
        kernels.dense_forward(output, before, input, self.weights(weight), bias, Activation::Identity, memory);
    }

    /// The way back of [`Layer::forward_direction`]; adds to the adjoint of the input where there is one.
    pub(crate) fn backward_direction(
        &self,
        kernels: &dyn Kernels,
        layout: &Layout,
        parameters: &[f32],
        output_adjoint: &mut [f32],
        scratch: &mut Scratch,
        input_adjoint: Option<&mut [f32]>,
    ) {
        let weight = self.weight.map_or(&[][..], |id| layout.slice(parameters, id));
        let input_adjoint = input_adjoint.map(|adjoint| (adjoint, true));
        kernels.dense_backward(output_adjoint, self.weights(weight), input_adjoint, &mut scratch.dense);
    }

    /// Turns the adjoint of the output into that of the value before the activation, adds up the gradient of the bias while that is
    /// in the cache, and writes (or adds) the adjoint of the input where it is asked for.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        kernels: &dyn Kernels,
        layout: &Layout,
        parameters: &[f32],
        output: &[f32],
        output_adjoint: &mut [f32],
        scratch: &mut Scratch,
        input_adjoint: Option<(&mut [f32], bool)>,
    ) {
        let rows = output.len() / self.output_width.max(1);
        kernels.activation_backward(output_adjoint, output, &scratch.before, self.activation);
        if let Some(bias) = self.bias {
            scratch.bias_gradient.clear();
            scratch.bias_gradient.resize(layout.views()[bias].range.len(), 0.0);
            kernels.add_column_sums(&mut scratch.bias_gradient, output_adjoint);
        }
        let weight = self.weight.map_or(&[][..], |id| layout.slice(parameters, id));
        match &self.kind {
            Kind::Dense => {
                kernels.dense_backward(output_adjoint, self.weights(weight), input_adjoint, &mut scratch.dense);
            }
            Kind::Convolution(g) => {
                if let Some((adjoint, accumulate)) = input_adjoint {
                    let patches = &mut scratch.extra_adjoint[..rows * g.positions() * g.patch_width()];
                    kernels.product(
                        patches,
                        false,
                        Matrix::new(output_adjoint, rows * g.positions(), g.small_channels),
                        Matrix::new(weight, g.patch_width(), g.small_channels).transpose(),
                    );
                    if !accumulate {
                        adjoint.fill(0.0);
                    }
                    g.scatter(patches, adjoint);
                }
            }
            Kind::TransposedConvolution(g) => {
                let patches = &mut scratch.extra_adjoint[..rows * g.positions() * g.patch_width()];
                g.gather(output_adjoint, patches);
                if let Some((adjoint, accumulate)) = input_adjoint {
                    kernels.product(
                        adjoint,
                        accumulate,
                        Matrix::new(patches, rows * g.positions(), g.patch_width()),
                        Matrix::new(weight, g.small_channels, g.patch_width()).transpose(),
                    );
                }
            }
            Kind::Normalization => {
                if let Some((adjoint, accumulate)) = input_adjoint {
                    if !accumulate {
                        adjoint.fill(0.0);
                    }
                    let (normalized, inverse_sd) = scratch.extra.split_at(rows * self.output_width);
                    normalize_backward(output_adjoint, normalized, inverse_sd, weight, adjoint);
                }
            }
            Kind::ChannelsLast(channels) | Kind::ChannelsFirst(channels) => {
                if let Some((adjoint, accumulate)) = input_adjoint {
                    if !accumulate {
                        adjoint.fill(0.0);
                    }
                    let positions = self.input_width / channels;
                    let forward = matches!(self.kind, Kind::ChannelsLast(_));
                    let (rows, columns) = if forward { (positions, *channels) } else { (*channels, positions) };
                    transpose(output_adjoint, adjoint, rows, columns, |target, slope| *target += slope);
                }
            }
            Kind::Dropout(_) => {
                if let Some((adjoint, accumulate)) = input_adjoint {
                    if !accumulate {
                        adjoint.fill(0.0);
                    }
                    let factors = &scratch.extra[..output_adjoint.len()];
                    for ((target, &slope), &factor) in adjoint.iter_mut().zip(output_adjoint.iter()).zip(factors) {
                        *target += slope * factor;
                    }
                }
            }
        }
    }

    fn weights<'a>(&self, values: &'a [f32]) -> Weights<'a> {
        Weights { values, input_width: self.input_width, output_width: self.output_width }
    }

    /// The gradient of rows `range` of a parameter (of all its elements, where it is a vector), summed over the uses in
    /// their order, written to `gradient` or, where `accumulate`, added to it.
    ///
    /// Where a step is asked for, the optimiser takes it on the same slice of the parameters; what is then in `gradient`
    /// is unspecified.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn gradient(
        &self,
        kernels: &dyn Kernels,
        role: Role,
        range: Range<usize>,
        accumulate: bool,
        uses: &[Use<'_>],
        gradient: &mut [f32],
        step: Option<&mut Step<'_>>,
    ) {
        if self.kind == Kind::Dense && role == Role::Weight && !uses.is_empty() {
            let terms: Vec<_> = uses
                .iter()
                .map(|u| DenseTerm { input: u.input, adjoint: u.output_adjoint, memory: &u.scratch.dense })
                .collect();
            let widths = [self.input_width, self.output_width];
            return kernels.dense_gradient(&terms, widths, range, gradient, accumulate, step);
        }
        if !accumulate {
            gradient.fill(0.0);
        }
        for one in uses {
            self.add_gradient(kernels, role, range.clone(), *one, gradient);
        }
        if let Some(step) = step {
            step.take(0, gradient);
        }
    }

    /// What one use adds to the gradient.
    fn add_gradient(
        &self,
        kernels: &dyn Kernels,
        role: Role,
        range: Range<usize>,
        Use { input, output_adjoint, scratch }: Use<'_>,
        gradient: &mut [f32],
    ) {
        let rows = output_adjoint.len() / self.output_width.max(1);
        match (&self.kind, role) {
            (Kind::Convolution(g), Role::Weight) => {
                let (positions, width) = (rows * g.positions(), g.patch_width());
                let patches = Matrix::of_columns(&scratch.extra[..positions * width], positions, width, range);
                let slopes = Matrix::new(output_adjoint, positions, g.small_channels);
                kernels.product(gradient, true, patches.transpose(), slopes);
            }
            (Kind::TransposedConvolution(g), Role::Weight) => {
                let (positions, width) = (rows * g.positions(), g.patch_width());
                let inputs = Matrix::of_columns(input, positions, g.small_channels, range);
                let slopes = Matrix::new(&scratch.extra_adjoint[..positions * width], positions, width);
                kernels.product(gradient, true, inputs.transpose(), slopes);
            }
            (Kind::Normalization, Role::Weight) => {
                for (slopes, values) in
                    output_adjoint.chunks_exact(self.output_width).zip(scratch.extra.chunks_exact(self.output_width))
                {
                    for ((sum, &slope), &value) in gradient.iter_mut().zip(slopes).zip(values) {
                        *sum += slope * value;
                    }
                }
            }
            (_, Role::Bias) => {
                gradient.iter_mut().zip(&scratch.bias_gradient).for_each(|(sum, &part)| *sum += part);
            }
            (Kind::Dense | Kind::Dropout(_) | Kind::ChannelsLast(_) | Kind::ChannelsFirst(_), Role::Weight) => {}
        }
    }
}

vectorized! {
    fn multiply(values: &mut [f32], factors: &[f32]) {
        for (value, &factor) in values.iter_mut().zip(factors) {
            *value *= factor;
        }
    }
}

/// Hands every number of `[rows, columns]` matrices to its place in their transposes.
fn transpose(source: &[f32], target: &mut [f32], rows: usize, columns: usize, put: impl Fn(&mut f32, f32)) {
    for (source, target) in source.chunks_exact(rows * columns).zip(target.chunks_exact_mut(rows * columns)) {
        for (row, values) in source.chunks_exact(columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                put(&mut target[column * rows + row], value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
