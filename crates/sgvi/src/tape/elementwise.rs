//! Elementwise functions and the four operators, aligned by axis label.

use vi_families::rows::double::{exp_in_place, ln_in_place, log1p_exp_in_place, logistic_in_place};
use vi_families::special;

use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Source, Value};

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum UnaryFunction {
    Negate,
    Exp,
    Log,
    Sqrt,
    Square,
    Logistic,
    Softplus,
    Reciprocal,
    LnGamma,
    /// max(x, 0)
    PositivePart,
    /// ln Γ((x + 1)/2) − ln Γ(x/2) − ½ ln xπ, the normaliser of a Student's t
    StudentNormalizer,
    /// log x, or the lowest number for x = 0, so that nothing times it is nothing
    LowestLog,
    /// log(1 − x), or the lowest number for x = 1
    LowestLog1m,
}

impl UnaryFunction {
    /// f(x).
    pub(crate) fn apply(self, x: f64) -> f64 {
        match self {
            Self::Negate => -x,
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Square => x * x,
            Self::Logistic => special::logistic(x),
            Self::Softplus => special::log1p_exp(x),
            Self::Reciprocal => 1.0 / x,
            Self::LnGamma => special::ln_gamma(x),
            Self::PositivePart => x.max(0.0),
            // ln Γ(½) = ½ ln π
            Self::StudentNormalizer => -special::ln_beta(0.5 * x, 0.5) - 0.5 * x.ln(),
            Self::LowestLog if x == 0.0 => f64::MIN,
            Self::LowestLog => x.ln(),
            Self::LowestLog1m if x == 1.0 => f64::MIN,
            Self::LowestLog1m => (-x).ln_1p(),
        }
    }

    /// f′(x), given y = f(x).
    pub(crate) fn derivative(self, x: f64, y: f64) -> f64 {
        match self {
            Self::Negate => -1.0,
            Self::Exp => y,
            Self::Log => 1.0 / x,
            Self::Sqrt => 0.5 / y,
            Self::Square => 2.0 * x,
            Self::Logistic => y * (1.0 - y),
            Self::Softplus => special::logistic(x),
            Self::Reciprocal => -y * y,
            Self::LnGamma => special::digamma(x),
            Self::PositivePart => f64::from(u8::from(x > 0.0)),
            Self::StudentNormalizer => 0.5 * (special::digamma(0.5 * x + 0.5) - special::digamma(0.5 * x) - 1.0 / x),
            Self::LowestLog => (1.0 / x).min(f64::MAX),
            Self::LowestLog1m => (-1.0 / (1.0 - x)).max(f64::MIN),
        }
    }
}

/// y = f(x).
#[derive(Debug)]
pub(crate) struct Unary {
    /// f.
    pub function: UnaryFunction,
    /// x.
    pub input: Value,
    /// y: a latent buffer of the same shape.
    pub output: Value,
}

/// The buffer behind a latent operand.
pub(super) fn buffer(value: &Value) -> Option<usize> {
    match value.source {
        Source::Latent(b) => Some(b),
        Source::Data(_) => None,
    }
}

impl Operation for Unary {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let n = frame.draws * self.output.shape.elements(frame.rows);
        let mut y = frame.take(out);
        let x = frame.read(program, &self.input);
        macro_rules! each {
            ($f:expr) => {
                for (y, &x) in y[..n].iter_mut().zip(&x[..n]) {
                    *y = $f(x);
                }
            };
        }
        let whole = |function: fn(&mut [f64]), y: &mut [f64]| {
            y.copy_from_slice(&x[..n]);
            function(y);
        };
        match self.function {
            UnaryFunction::Negate => each!(|x: f64| -x),
            UnaryFunction::Exp => whole(exp_in_place, &mut y[..n]),
            UnaryFunction::Log => whole(ln_in_place, &mut y[..n]),
            UnaryFunction::LowestLog => {
                whole(ln_in_place, &mut y[..n]);
                y[..n].iter_mut().for_each(|y| *y = if *y == f64::NEG_INFINITY { f64::MIN } else { *y });
            }
            UnaryFunction::LowestLog1m => {
                each!(|x: f64| 1.0 - x);
                ln_in_place(&mut y[..n]);
                for (y, &x) in y[..n].iter_mut().zip(&x[..n]) {
                    // log(1 − x) = log w + (1 − x − w)/w for w, the rounded difference.
                    let w = 1.0 - x;
                    *y = if w == 0.0 { f64::MIN } else { *y + (-x - (w - 1.0)) / w };
                }
            }
            UnaryFunction::Softplus => whole(log1p_exp_in_place, &mut y[..n]),
            UnaryFunction::Logistic => whole(logistic_in_place, &mut y[..n]),
            UnaryFunction::Square => each!(|x: f64| x * x),
            UnaryFunction::Reciprocal => each!(|x: f64| 1.0 / x),
            f => each!(|x: f64| f.apply(x)),
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let n = frame.draws * self.output.shape.elements(frame.rows);
        let mut adjoint = frame.take_adjoint(input);
        let (g, x, y) = (&frame.adjoints[out], &frame.values[input], &frame.values[out]);
        for i in 0..n {
            adjoint[i] += g[i] * self.function.derivative(x[i], y[i]);
        }
        frame.put_adjoint(input, adjoint);
    }
}

use vi_model::graph::BinaryOperator as Operator;

/// c = a op b, broadcast by label.
#[derive(Debug)]
pub(crate) struct Binary {
    /// The operator.
    pub operator: Operator,
    /// a.
    pub left: Value,
    /// b.
    pub right: Value,
    /// c: a latent buffer over the union of the axes.
    pub output: Value,
}

impl Binary {
    fn nest(&self, frame: &Frame) -> Nest<3> {
        Nest::over(&self.output.shape, [&self.output, &self.left, &self.right], frame.draws, frame.start, frame.rows)
    }
}

/// Adds `f(i)` for i < n to `to[offset + i·step]`; a step of zero sums.
#[inline(always)]
pub(super) fn accumulate(to: &mut [f64], offset: usize, n: usize, step: usize, f: impl Fn(usize) -> f64) {
    match step {
        0 => {
            let mut parts = [0.0; 4];
            let whole = n / 4 * 4;
            for i in (0..whole).step_by(4) {
                for (j, part) in parts.iter_mut().enumerate() {
                    *part += f(i + j);
                }
            }
            let mut sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
            for i in whole..n {
                sum += f(i);
            }
            to[offset] += sum;
        }
        1 => {
            for (i, to) in to[offset..offset + n].iter_mut().enumerate() {
                *to += f(i);
            }
        }
        step => {
            for i in 0..n {
                to[offset + i * step] += f(i);
            }
        }
    }
}

impl Operation for Binary {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let mut c = frame.take(out);
        let (a, b) = (frame.read(program, &self.left), frame.read(program, &self.right));
        macro_rules! each {
            ($f:expr) => {
                nest.run(|[oc, oa, ob], n, [_, sa, sb]| {
                    let c = &mut c[oc..oc + n];
                    match (sa, sb) {
                        (1, 1) => {
                            let (a, b) = (&a[oa..oa + n], &b[ob..ob + n]);
                            for i in 0..n {
                                c[i] = $f(a[i], b[i]);
                            }
                        }
                        (1, 0) => {
                            let (a, b) = (&a[oa..oa + n], b[ob]);
                            for i in 0..n {
                                c[i] = $f(a[i], b);
                            }
                        }
                        (0, 1) => {
                            let (a, b) = (a[oa], &b[ob..ob + n]);
                            for i in 0..n {
                                c[i] = $f(a, b[i]);
                            }
                        }
                        _ => {
                            for i in 0..n {
                                c[i] = $f(a[oa + i * sa], b[ob + i * sb]);
                            }
                        }
                    }
                })
            };
        }
        match self.operator {
            Operator::Add => each!(|a: f64, b: f64| a + b),
            Operator::Subtract => each!(|a: f64, b: f64| a - b),
            Operator::Multiply => each!(|a: f64, b: f64| a * b),
            Operator::Divide => each!(|a: f64, b: f64| a / b),
        }
        frame.put(out, c);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        if let Some(left) = buffer(&self.left) {
            let mut adjoint = frame.take_adjoint(left);
            let g = &frame.adjoints[out];
            let b = frame.read(program, &self.right);
            nest.run(|[og, oa, ob], n, [_, sa, sb]| {
                let g = &g[og..og + n];
                match self.operator {
                    Operator::Add | Operator::Subtract => accumulate(&mut adjoint, oa, n, sa, |i| g[i]),
                    Operator::Multiply => accumulate(&mut adjoint, oa, n, sa, |i| g[i] * b[ob + i * sb]),
                    Operator::Divide => accumulate(&mut adjoint, oa, n, sa, |i| g[i] / b[ob + i * sb]),
                }
            });
            frame.put_adjoint(left, adjoint);
        }
        if let Some(right) = buffer(&self.right) {
            let mut adjoint = frame.take_adjoint(right);
            let (g, c) = (&frame.adjoints[out], &frame.values[out]);
            let (a, b) = (frame.read(program, &self.left), &frame.values[right]);
            nest.run(|[og, oa, ob], n, [_, sa, sb]| {
                let (g, c) = (&g[og..og + n], &c[og..og + n]);
                match self.operator {
                    Operator::Add => accumulate(&mut adjoint, ob, n, sb, |i| g[i]),
                    Operator::Subtract => accumulate(&mut adjoint, ob, n, sb, |i| -g[i]),
                    Operator::Multiply => accumulate(&mut adjoint, ob, n, sb, |i| g[i] * a[oa + i * sa]),
                    Operator::Divide => accumulate(&mut adjoint, ob, n, sb, |i| -g[i] * c[i] / b[ob + i * sb]),
                }
            });
            frame.put_adjoint(right, adjoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    #[test]
    fn whole_slices_agree_with_single_numbers() {
        use UnaryFunction::*;
        let numbers = [0.0, 1e-300, 1e-20, 3e-9, 0.1, 0.5, 0.9, 1.0 - 1e-12, 1.0];
        let program = Program { buffers: vec![Shape::default(); 2], has_adjoint: vec![false; 2], ..Program::default() };
        let value = |buffer| Value { source: Source::Latent(buffer), shape: Shape::default() };
        for function in [Exp, Log, Logistic, Softplus, LowestLog, LowestLog1m] {
            let mut frame = Frame::new(&program, numbers.len(), 0);
            frame.values[0].copy_from_slice(&numbers);
            Unary { function, input: value(0), output: value(1) }.forward(&program, &mut frame, &[]);
            for (x, found) in numbers.iter().zip(&frame.values[1]) {
                let wanted = function.apply(*x);
                assert!(*found == wanted || (found - wanted).abs() <= 2e-15 * wanted.abs(), "{function:?} {x} {found}");
            }
        }
    }
}
