//! Derivatives of every kind of layer against finite differences.

use super::super::kernels::Processor;
use super::super::noise::StepNoise;
use super::super::parameters::Initial;
use super::*;

fn wave(n: usize, rate: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * rate + 0.3).sin()).collect()
}

/// Compares every derivative of Σ c·layer(x) with central differences.
fn check(kind: Kind, input_width: usize, output_width: usize, activation: Activation, weight: &[usize], bias: usize) {
    let mut layout = Layout::default();
    let has_parameters = !matches!(kind, Kind::Dropout(_) | Kind::ChannelsLast(_) | Kind::ChannelsFirst(_));
    let layer = Layer {
        weight: has_parameters.then(|| layout.allocate("weight", weight, Initial::Uniform(0.8))),
        bias: has_parameters.then(|| layout.allocate("bias", &[bias], Initial::Uniform(0.5))),
        kind,
        input_width,
        output_width,
        activation,
    };
    let rows = 3;
    let parameters = layout.initialize(3);
    let input = wave(rows * input_width, 0.71);
    let weights = wave(rows * output_width, 1.3);
    let noise = StepNoise::new(1, 1);
    let row_number = |row: usize| row as u64;
    let mut scratch = layer.scratch(rows);
    let evaluate = |parameters: &[f32], input: &[f32], scratch: &mut Scratch| {
        let mut output = vec![0.0; rows * output_width];
        layer.forward(
            &Processor,
            &layout,
            parameters,
            input,
            &mut output,
            scratch,
            Some(LayerNoise { step: &noise, row_number: &row_number, purpose: 1 }),
        );
        let value: f64 = output.iter().zip(&weights).map(|(a, b)| f64::from(a * b)).sum();
        (output, value)
    };
    let (output, _) = evaluate(&parameters, &input, &mut scratch);
    let mut adjoint = weights.clone();
    let mut input_adjoint = vec![1.0; input.len()];
    layer.backward(
        &Processor,
        &layout,
        &parameters,
        &output,
        &mut adjoint,
        &mut scratch,
        Some((&mut input_adjoint, true)),
    );
    let mut gradient = vec![0.0; parameters.len()];
    let one = Use { input: &input, output_adjoint: &adjoint, scratch: &scratch };
    for (view, role) in [(layer.weight, Role::Weight), (layer.bias, Role::Bias)] {
        let Some(view) = view else { continue };
        let view = &layout.views()[view];
        let middle = view.shape[0] / 2;
        let stride: usize = view.shape[1..].iter().product();
        let cut = view.range.start + middle * stride;
        if role == Role::Weight && view.shape.len() > 1 {
            for (rows, range) in [(0..middle, view.range.start..cut), (middle..view.shape[0], cut..view.range.end)] {
                layer.gradient(&Processor, role, rows, true, &[one], &mut gradient[range], None);
            }
        } else {
            let target = &mut gradient[view.range.clone()];
            layer.gradient(&Processor, role, 0..view.shape[0], false, &[one], target, None);
        }
    }
    let step = 1e-2_f32;
    let mut other = layer.scratch(rows);
    let mut difference = |target: usize, of_input: bool| {
        let mut moved = |sign: f32| {
            let (mut p, mut x) = (parameters.clone(), input.clone());
            if of_input {
                x[target] += sign * step
            } else {
                p[target] += sign * step
            }
            evaluate(&p, &x, &mut other).1
        };
        (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step))
    };
    for i in 0..input.len() {
        let want = difference(i, true) + 1.0;
        assert!((f64::from(input_adjoint[i]) - want).abs() < 5e-3, "input {i}: {} against {want}", input_adjoint[i]);
    }
    for i in 0..parameters.len() {
        let want = difference(i, false);
        assert!((f64::from(gradient[i]) - want).abs() < 5e-3, "parameter {i}: {} against {want}", gradient[i]);
    }
}

#[test]
fn dense_layers_agree_with_finite_differences() {
    for activation in [Activation::Identity, Activation::Tanh, Activation::Gelu, Activation::Silu, Activation::Softplus]
    {
        check(Kind::Dense, 5, 4, activation, &[5, 4], 4);
    }
}

#[test]
fn convolutions_agree_with_finite_differences() {
    let g = Geometry::new([5, 4], 2, 3, 3, 2, 1);
    check(Kind::Convolution(g), g.large_width(), g.small_width(), Activation::Tanh, &[g.patch_width(), 3], 3);
    check(Kind::TransposedConvolution(g), g.small_width(), g.large_width(), Activation::Silu, &[3, g.patch_width()], 2);
}

#[test]
fn other_layers_agree_with_finite_differences() {
    check(Kind::ChannelsLast(2), 6, 6, Activation::Identity, &[], 0);
    check(Kind::ChannelsFirst(3), 6, 6, Activation::Identity, &[], 0);
    check(Kind::Normalization, 6, 6, Activation::Tanh, &[6], 6);
    check(Kind::Dropout(0.4), 6, 6, Activation::Identity, &[], 0);
}
