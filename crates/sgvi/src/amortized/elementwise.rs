//! Elementwise operations of the row program as loops that vectorise.

use super::program::{Binary, Unary};
use crate::network::vectorize::vectorized;
use crate::network::{exp, softplus_and_logistic};

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
