//! The normal density of the observed coordinates of vectors, the missing ones integrated out.

use super::elementwise::buffer;
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Label, Value};

/// log N(d_o | 0, Σ_oo) = −½ d_oᵀ Σ_oo⁻¹ d_o − ½ log|Σ_oo| − ½ |o| ln 2π, where o are the coordinates of d that are numbers
/// (PRML 2.98: a marginal of a normal has the block of its covariance).
#[derive(Debug)]
pub(crate) struct MarginalNormal {
    /// Residuals, NaN where missing; axis `label`.
    pub residual: Value,
    /// Covariances; axes `label` and `second`.
    pub covariance: Value,
    /// The coordinates, with their number.
    pub label: (Label, usize),
    /// The covariance's other axis.
    pub second: Label,
    /// Over the other axes of both.
    pub output: Value,
}

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// The observed block of one covariance: which coordinates, the inverse, the log determinant.
#[derive(Debug, Default)]
struct Block {
    at: Option<usize>,
    observed: Vec<usize>,
    inverse: Vec<f64>,
    log_determinant: f64,
}

impl Block {
    /// Brings the block to a residual's observed coordinates, if it is not there yet.
    fn move_to(&mut self, residual: impl Fn(usize) -> f64, covariance: &[f64], at: usize, steps: [usize; 2], d: usize) {
        let same = self.at == Some(at) && (0..d).filter(|i| !residual(*i).is_nan()).eq(self.observed.iter().copied());
        if same {
            return;
        }
        self.at = Some(at);
        self.observed.clear();
        self.observed.extend((0..d).filter(|i| !residual(*i).is_nan()));
        let n = self.observed.len();
        let block = nalgebra::DMatrix::from_fn(n, n, |i, j| {
            covariance[at + self.observed[i] * steps[0] + self.observed[j] * steps[1]]
        });
        match nalgebra::Cholesky::new(block) {
            Some(c) => {
                self.log_determinant = 2.0 * c.l_dirty().diagonal().iter().map(|x| x.ln()).sum::<f64>();
                self.inverse = c.inverse().as_slice().to_vec();
            }
            None => {
                self.log_determinant = f64::NAN;
                self.inverse = vec![f64::NAN; n * n];
            }
        }
    }

    /// Σ_oo⁻¹ d_o.
    fn solve(&self, residual: impl Fn(usize) -> f64, out: &mut Vec<f64>) {
        let n = self.observed.len();
        out.clear();
        out.extend((0..n).map(|i| (0..n).map(|j| self.inverse[i * n + j] * residual(self.observed[j])).sum::<f64>()));
    }
}

impl MarginalNormal {
    fn nest(&self, frame: &Frame) -> Nest<3> {
        let values = [&self.output, &self.residual, &self.covariance];
        Nest::over(&self.output.shape, values, frame.draws, frame.start, frame.rows)
    }

    fn steps(&self) -> (usize, [usize; 2]) {
        let shape = &self.covariance.shape;
        (self.residual.shape.stride(self.label.0), [shape.stride(self.label.0), shape.stride(self.second)])
    }
}

impl Operation for MarginalNormal {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let mut y = frame.take(out);
        let (x, s) = (frame.read(program, &self.residual), frame.read(program, &self.covariance));
        let (step, steps) = self.steps();
        let (mut block, mut solved) = (Block::default(), Vec::new());
        nest.run(|[oy, ox, os], n, [_, sx, ss]| {
            for r in 0..n {
                let residual = |i: usize| x[ox + r * sx + i * step];
                block.move_to(residual, s, os + r * ss, steps, self.label.1);
                block.solve(residual, &mut solved);
                let square: f64 = block.observed.iter().zip(&solved).map(|(i, a)| residual(*i) * a).sum();
                y[oy + r] = -0.5 * (square + block.log_determinant + block.observed.len() as f64 * LN_TWO_PI);
            }
        });
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let places = [buffer(&self.residual), buffer(&self.covariance)];
        let mut adjoints = places.map(|p| p.map(|p| frame.take_adjoint(p)).unwrap_or_default());
        let (x, s) = (frame.read(program, &self.residual), frame.read(program, &self.covariance));
        let g = &frame.adjoints[out];
        let (step, steps) = self.steps();
        let (mut block, mut solved) = (Block::default(), Vec::new());
        nest.run(|[oy, ox, os], n, [_, sx, ss]| {
            for r in 0..n {
                let residual = |i: usize| x[ox + r * sx + i * step];
                let (at, g) = (os + r * ss, g[oy + r]);
                block.move_to(residual, s, at, steps, self.label.1);
                block.solve(residual, &mut solved);
                let observed = block.observed.len();
                for (i, own) in block.observed.iter().enumerate() {
                    if places[0].is_some() {
                        adjoints[0][ox + r * sx + own * step] -= g * solved[i];
                    }
                    if places[1].is_some() {
                        for (j, other) in block.observed.iter().enumerate() {
                            adjoints[1][at + own * steps[0] + other * steps[1]] +=
                                0.5 * g * (solved[i] * solved[j] - block.inverse[i * observed + j]);
                        }
                    }
                }
            }
        });
        for (place, adjoint) in places.into_iter().zip(adjoints) {
            if let Some(place) = place {
                frame.put_adjoint(place, adjoint);
            }
        }
    }
}
