//! Sampling as operations of a program: each draws its output from the values of its arguments, forwards only.
//!
//! The last coordinate of a draw is its number; it seeds the generator, so that a draw does not depend on blocks or threads.

use std::sync::Arc;

use nalgebra::{Cholesky, DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use vi_run::seed::derive_seed;

use super::distribution::Scalar;
use crate::tape::{Frame, Operation, Program, Source, Value};

/// Numbers of an operand for one draw of the frame and the rows of its chunk.
pub(crate) fn slice<'a>(program: &'a Program, frame: &'a Frame, value: &Value, draw: usize) -> &'a [f64] {
    let n = value.shape.elements(frame.rows);
    let from = if value.is_data() { frame.start * value.shape.row_stride() } else { draw * n };
    &frame.read(program, value)[from..from + n]
}

/// Generators of one variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// The seed of the variable.
    pub(crate) seed: u64,
    /// Whether it is drawn for each row.
    pub(crate) by_row: bool,
}

impl Stream {
    fn generator(self, program: &Program, frame: &Frame, theta: &[f64], draw: usize) -> ChaCha8Rng {
        let number = theta[(draw + 1) * program.dimension - 1] as u64;
        // What stands outside the rows is drawn once for all of them, in whatever chunks they come.
        let chunk = if self.by_row { frame.start as u64 } else { 0 };
        ChaCha8Rng::seed_from_u64(derive_seed(derive_seed(self.seed, number), chunk))
    }
}

fn buffer(value: &Value) -> usize {
    match value.source {
        Source::Latent(b) | Source::Data(b) => b,
    }
}

/// Hands every output's part of every draw to `fill`, then puts the buffers back.
fn write(
    program: &Program,
    frame: &mut Frame,
    outputs: &[&Value],
    mut fill: impl FnMut(&Program, &Frame, usize, &mut [&mut [f64]]),
) {
    let mut taken: Vec<Vec<f64>> = outputs.iter().map(|o| frame.take(buffer(o))).collect();
    let sizes: Vec<usize> = outputs.iter().map(|o| o.shape.elements(frame.rows)).collect();
    for d in 0..frame.draws {
        let mut parts: Vec<&mut [f64]> =
            taken.iter_mut().zip(&sizes).map(|(t, n)| &mut t[d * n..(d + 1) * n]).collect();
        fill(program, frame, d, &mut parts);
    }
    for (output, values) in outputs.iter().zip(taken) {
        frame.put(buffer(output), values);
    }
}

/// Draws scalars element by element.
#[derive(Debug)]
pub(crate) struct SampleScalar {
    pub(crate) kind: Scalar,
    /// Of the output's shape.
    pub(crate) arguments: Vec<Value>,
    /// Truncation, of the output's shape.
    pub(crate) bounds: Option<(Value, Value)>,
    pub(crate) stream: Stream,
    /// Draw, mean and variance given the arguments. Where there are bounds the draw stands for its mean.
    pub(crate) outputs: [Value; 3],
}

impl Operation for SampleScalar {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let [x, m, v] = &self.outputs;
        write(program, frame, &[x, m, v], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let arguments: Vec<&[f64]> = self.arguments.iter().map(|a| slice(program, frame, a, d)).collect();
            let bounds = self.bounds.as_ref().map(|(l, u)| (slice(program, frame, l, d), slice(program, frame, u, d)));
            for i in 0..out[0].len() {
                let a: [f64; 3] = std::array::from_fn(|j| arguments.get(j).map_or(0.0, |a| a[i]));
                match bounds {
                    None => {
                        out[0][i] = self.kind.sample(&a, &mut rng);
                        (out[1][i], out[2][i]) = self.kind.moments(&a);
                    }
                    Some((lower, upper)) => {
                        out[0][i] = self.kind.sample_between(&a, lower[i], upper[i], &mut rng).unwrap_or(f64::NAN);
                        (out[1][i], out[2][i]) = (out[0][i], 0.0);
                    }
                }
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// Draws positions from log probabilities over the last axis.
#[derive(Debug)]
pub(crate) struct SampleCategory {
    /// Shape of the output, then the categories.
    pub(crate) log_probabilities: Value,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    pub(crate) output: Value,
    /// The probabilities themselves.
    pub(crate) probabilities: Value,
}

/// A position drawn from probabilities that need not sum to one.
fn category(probabilities: impl Iterator<Item = f64> + Clone, rng: &mut ChaCha8Rng) -> usize {
    let total: f64 = probabilities.clone().sum();
    let mut rest = rng.random::<f64>() * total;
    let mut last = 0;
    for (k, p) in probabilities.enumerate() {
        if p > 0.0 {
            last = k;
            if rest < p {
                break;
            }
        }
        rest -= p;
    }
    last
}

impl Operation for SampleCategory {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        write(program, frame, &[&self.output, &self.probabilities], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let log = slice(program, frame, &self.log_probabilities, d);
            let (codes, probabilities) = out.split_at_mut(1);
            for (i, log) in log.chunks(self.size).enumerate() {
                let p = &mut probabilities[0][i * self.size..(i + 1) * self.size];
                p.iter_mut().zip(log).for_each(|(p, l)| *p = l.exp());
                codes[0][i] = category(p.iter().copied(), &mut rng) as f64;
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// What the matrix of a normal vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixKind {
    Covariance,
    Precision,
}

/// A covariance and its Cholesky factor.
type Factored = (DMatrix<f64>, DMatrix<f64>);

/// A covariance and its Cholesky factor; NaN where it is none.
fn factor(matrix: &[f64], n: usize, kind: MatrixKind) -> Factored {
    let matrix = DMatrix::from_row_slice(n, n, matrix);
    let nan = || DMatrix::from_element(n, n, f64::NAN);
    let covariance = match kind {
        MatrixKind::Covariance => matrix,
        MatrixKind::Precision => Cholesky::new(matrix).map_or_else(nan, |c| c.inverse()),
    };
    let root = Cholesky::new(covariance.clone()).map_or_else(nan, |c| c.l());
    (covariance, root)
}

fn normals(n: usize, rng: &mut ChaCha8Rng) -> DVector<f64> {
    DVector::from_fn(n, |_, _| StandardNormal.sample(rng))
}

/// Draws normal vectors with a matrix.
#[derive(Debug)]
pub(crate) struct SampleVector {
    /// Shape of the output.
    pub(crate) mean: Value,
    /// Shape of the output, then the dimension again.
    pub(crate) matrix: Value,
    pub(crate) kind: MatrixKind,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    /// Draw, mean, variances.
    pub(crate) outputs: [Value; 3],
}

impl Operation for SampleVector {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let [x, m, v] = &self.outputs;
        let n = self.size;
        write(program, frame, &[x, m, v], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let (mean, matrix) = (slice(program, frame, &self.mean, d), slice(program, frame, &self.matrix, d));
            let mut known: Option<(&[f64], Factored)> = None;
            for (i, mean) in mean.chunks(n).enumerate() {
                let own = &matrix[i * n * n..(i + 1) * n * n];
                if known.as_ref().is_none_or(|k| k.0 != own) {
                    known = Some((own, factor(own, n, self.kind)));
                }
                let Some((_, (covariance, root))) = &known else { continue };
                let z = root * normals(n, &mut rng);
                for j in 0..n {
                    out[0][i * n + j] = mean[j] + z[j];
                    out[1][i * n + j] = mean[j];
                    out[2][i * n + j] = covariance[(j, j)];
                }
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// Draws probability vectors from a Dirichlet.
#[derive(Debug)]
pub(crate) struct SampleDirichlet {
    /// Shape of the output.
    pub(crate) concentration: Value,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    /// Draw, mean, variances.
    pub(crate) outputs: [Value; 3],
}

impl Operation for SampleDirichlet {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let [x, m, v] = &self.outputs;
        write(program, frame, &[x, m, v], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            for (i, alpha) in slice(program, frame, &self.concentration, d).chunks(self.size).enumerate() {
                let total: f64 = alpha.iter().sum();
                let mut sum = 0.0;
                for (j, a) in alpha.iter().enumerate() {
                    let at = i * self.size + j;
                    out[0][at] = Scalar::Gamma.sample(&[*a, 1.0, 0.0], &mut rng);
                    sum += out[0][at];
                    out[1][at] = a / total;
                    out[2][at] = a / total * (1.0 - a / total) / (total + 1.0);
                }
                out[0][i * self.size..(i + 1) * self.size].iter_mut().for_each(|x| *x /= sum);
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// Draws counts of a known total over categories.
#[derive(Debug)]
pub(crate) struct SampleCounts {
    /// Totals (data), without the categories; NaN where not known.
    pub(crate) totals: Value,
    /// Shape of the output.
    pub(crate) log_probabilities: Value,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    /// Draw, mean, variances.
    pub(crate) outputs: [Value; 3],
}

impl Operation for SampleCounts {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let [x, m, v] = &self.outputs;
        let k = self.size;
        write(program, frame, &[x, m, v], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let totals = slice(program, frame, &self.totals, d);
            for (i, log) in slice(program, frame, &self.log_probabilities, d).chunks(k).enumerate() {
                let (mut rest, mut left) = (totals[i], 1.0);
                for (j, log) in log.iter().enumerate() {
                    // Conditional binomials, one category after the other.
                    let (p, at) = (log.exp(), i * k + j);
                    let share = if j + 1 == k { 1.0 } else { (p / left).clamp(0.0, 1.0) };
                    let count =
                        if rest.is_nan() { f64::NAN } else { Scalar::Binomial.sample(&[rest, share, 0.0], &mut rng) };
                    rest -= count;
                    left -= p;
                    out[0][at] = count;
                    (out[1][at], out[2][at]) = Scalar::Binomial.moments(&[totals[i], p, 0.0]);
                }
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// Draws a path of a discrete chain along the rows. All rows must be in one chunk.
#[derive(Debug)]
pub(crate) struct SampleChain {
    /// log π `[rows?, k]`.
    pub(crate) log_initial: Value,
    /// log P `[rows?, from, to]`.
    pub(crate) log_transition: Value,
    pub(crate) starts: Arc<Vec<bool>>,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    /// `[rows]`
    pub(crate) output: Value,
    /// `[rows, k]`: probabilities given the state before.
    pub(crate) probabilities: Value,
}

impl Operation for SampleChain {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let k = self.size;
        write(program, frame, &[&self.output, &self.probabilities], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let initial = slice(program, frame, &self.log_initial, d);
            let transition = slice(program, frame, &self.log_transition, d);
            let (states, probabilities) = out.split_at_mut(1);
            let mut state = 0;
            for (t, (out, p)) in states[0].iter_mut().zip(probabilities[0].chunks_mut(k)).enumerate() {
                let row = |value: &Value| if value.shape.rows { t } else { 0 };
                let log = if self.starts[t] {
                    &initial[row(&self.log_initial) * k..][..k]
                } else {
                    &transition[(row(&self.log_transition) * k + state) * k..][..k]
                };
                p.iter_mut().zip(log).for_each(|(p, l)| *p = l.exp());
                state = category(p.iter().copied(), &mut rng);
                *out = state as f64;
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// Draws a path of a Gaussian chain along the rows. All rows must be in one chunk.
#[derive(Debug)]
pub(crate) struct SampleStates {
    /// `[dimension]`
    pub(crate) initial_mean: Value,
    /// `[dimension, dimension]`, a precision.
    pub(crate) initial_precision: Value,
    /// `[to, from]`
    pub(crate) transition: Value,
    /// `[dimension, dimension]`, a precision.
    pub(crate) innovation_precision: Value,
    pub(crate) starts: Arc<Vec<bool>>,
    pub(crate) size: usize,
    pub(crate) stream: Stream,
    /// Draw, mean and variances given the state before.
    pub(crate) outputs: [Value; 3],
}

impl Operation for SampleStates {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let [x, m, v] = &self.outputs;
        let n = self.size;
        write(program, frame, &[x, m, v], |program, frame, d, out| {
            let mut rng = self.stream.generator(program, frame, theta, d);
            let mean = DVector::from_column_slice(slice(program, frame, &self.initial_mean, d));
            let transition = DMatrix::from_row_slice(n, n, slice(program, frame, &self.transition, d));
            let first = factor(slice(program, frame, &self.initial_precision, d), n, MatrixKind::Precision);
            let later = factor(slice(program, frame, &self.innovation_precision, d), n, MatrixKind::Precision);
            let mut state = DVector::zeros(n);
            for t in 0..frame.rows {
                let (centre, (covariance, root)) =
                    if self.starts[t] { (mean.clone(), &first) } else { (&transition * &state, &later) };
                state = &centre + root * normals(n, &mut rng);
                for j in 0..n {
                    out[0][t * n + j] = state[j];
                    out[1][t * n + j] = centre[j];
                    out[2][t * n + j] = covariance[(j, j)];
                }
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}

/// `given` where `known` is a number, `other` elsewhere; all of the output's shape.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) given: Value,
    pub(crate) known: Value,
    pub(crate) other: Value,
    pub(crate) output: Value,
}

impl Operation for Overlay {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        write(program, frame, &[&self.output], |program, frame, d, out| {
            let [given, known, other] =
                [&self.given, &self.known, &self.other].map(|value| slice(program, frame, value, d));
            for (i, out) in out[0].iter_mut().enumerate() {
                *out = if known[i].is_nan() { other[i] } else { given[i] };
            }
        });
    }

    fn backward(&self, _program: &Program, _frame: &mut Frame, _theta: &[f64]) {}
}
