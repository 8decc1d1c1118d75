//! Elementwise operations of the row program as loops that vectorise.

use super::program::{Binary, Unary};
use crate::network::vectorize::vectorized;
use crate::network::{exp, softplus_and_logistic};

/// Adds to the adjoint of the left operand of `x ∘ y`, or to that of the right one, what the slopes of the result imply.
pub(super) fn binary_backward(
    target: &mut [f32],
    slopes: &[f32],
    x: &[f32],
    y: &[f32],
    operator: Binary,
    is_left: bool,
) {
    match (operator, is_left) {
        (Binary::Add, _) | (Binary::Subtract, true) => add(target, slopes),
        (Binary::Subtract, false) => {
            for (t, &slope) in target.iter_mut().zip(slopes) {
                *t -= slope;
            }
        }
        (Binary::Multiply, true) => add_product(target, slopes, y),
        (Binary::Multiply, false) => add_product(target, slopes, x),
        (Binary::Divide, true) => {
            for ((t, &slope), &y) in target.iter_mut().zip(slopes).zip(y) {
                *t += slope / y;
            }
        }
        (Binary::Divide, false) => {
            for (((t, &slope), &x), &y) in target.iter_mut().zip(slopes).zip(x).zip(y) {
                *t -= slope * x / (y * y);
            }
        }
    }
}

/// log π of the shares π ∝ (e^θ₁, …, e^θ_d, 1); `logs` has one more element than `theta`.
pub(super) fn log_shares(logs: &mut [f32], theta: &[f32]) {
    let largest = theta.iter().copied().fold(0.0, f32::max);
    let sum: f64 = theta.iter().chain([&0.0]).map(|&t| f64::from(t - largest).exp()).sum();
    let normalizer = f64::from(largest) + sum.ln();
    for (log, &t) in logs.iter_mut().zip(theta.iter().chain([&0.0])) {
        *log = (f64::from(t) - normalizer) as f32;
    }
}

/// Adds to the adjoint of θ what that of log π implies: gₖ − πₖ Σ g.
pub(super) fn log_shares_backward(target: &mut [f32], slopes: &[f32], logs: &[f32]) {
    let total: f32 = slopes.iter().sum();
    for ((target, &slope), &log) in target.iter_mut().zip(slopes).zip(logs) {
        *target += slope - log.exp() * total;
    }
}

vectorized! {
    /// target += source
    pub(super) fn add(target: &mut [f32], source: &[f32]) {
        for (t, &s) in target.iter_mut().zip(source) {
            *t += s;
        }
    }
}

vectorized! {
    /// target += a·b
    pub(super) fn add_product(target: &mut [f32], a: &[f32], b: &[f32]) {
        for ((t, &a), &b) in target.iter_mut().zip(a).zip(b) {
            *t += a * b;
        }
    }
}

vectorized! {
    pub(super) fn unary(target: &mut [f32], input: &[f32], function: Unary) {
        let pairs = target.iter_mut().zip(input);
        match function {
            Unary::Affine { scale, shift } => pairs.for_each(|(y, &x)| *y = scale * x + shift),
            Unary::Reciprocal => pairs.for_each(|(y, &x)| *y = 1.0 / x),
            Unary::Exp => pairs.for_each(|(y, &x)| *y = exp::<FUSED>(x)),
            Unary::Log => pairs.for_each(|(y, &x)| *y = x.ln()),
            Unary::Sqrt => pairs.for_each(|(y, &x)| *y = x.sqrt()),
            Unary::Square => pairs.for_each(|(y, &x)| *y = x * x),
            Unary::Logistic => pairs.for_each(|(y, &x)| *y = softplus_and_logistic::<FUSED>(x).1),
            Unary::Softplus => pairs.for_each(|(y, &x)| *y = softplus_and_logistic::<FUSED>(x).0),
        }
    }
}

vectorized! {
    /// target += slope·f′(x), with y = f(x).
    pub(super) fn unary_backward(target: &mut [f32], slopes: &[f32], input: &[f32], output: &[f32], function: Unary) {
        let all = target.iter_mut().zip(slopes).zip(input.iter().zip(output));
        match function {
            Unary::Affine { scale, .. } => all.for_each(|((t, &s), _)| *t += s * scale),
            Unary::Reciprocal => all.for_each(|((t, &s), (_, &y))| *t -= s * y * y),
            Unary::Exp => all.for_each(|((t, &s), (_, &y))| *t += s * y),
            Unary::Log => all.for_each(|((t, &s), (&x, _))| *t += s / x),
            Unary::Sqrt => all.for_each(|((t, &s), (_, &y))| *t += 0.5 * s / y),
            Unary::Square => all.for_each(|((t, &s), (&x, _))| *t += 2.0 * s * x),
            Unary::Logistic => all.for_each(|((t, &s), (_, &y))| *t += s * y * (1.0 - y)),
            Unary::Softplus => all.for_each(|((t, &s), (_, &y))| *t += s * (1.0 - exp::<FUSED>(-y))),
        }
    }
}

pub(super) fn binary(target: &mut [f32], left: &[f32], right: &[f32], operator: Binary) {
    let all = target.iter_mut().zip(left.iter().zip(right));
    match operator {
        Binary::Add => all.for_each(|(t, (&a, &b))| *t = a + b),
        Binary::Subtract => all.for_each(|(t, (&a, &b))| *t = a - b),
        Binary::Multiply => all.for_each(|(t, (&a, &b))| *t = a * b),
        Binary::Divide => all.for_each(|(t, (&a, &b))| *t = a / b),
    }
}
