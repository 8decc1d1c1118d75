//! Small matrices inside the sweep: log determinants, inverses, quadratic forms.

use super::elementwise::buffer;
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Label, Value};
use super::transform::MAX_MATRIX;

/// Inverse and log determinant of a symmetric positive definite matrix by Cholesky; NaN where it is not.
fn invert(m: &[f64], d: usize, inverse: &mut [f64]) -> f64 {
    let mut l = [0.0; MAX_MATRIX * MAX_MATRIX];
    let mut log = 0.0;
    for i in 0..d {
        for j in 0..=i {
            let mut sum = m[i * d + j];
            for k in 0..j {
                sum -= l[i * d + k] * l[j * d + k];
            }
            if i == j {
                if sum.is_nan() || sum <= 0.0 {
                    inverse.fill(f64::NAN);
                    return f64::NAN;
                }
                l[i * d + i] = sum.sqrt();
                log += sum.ln();
            } else {
                l[i * d + j] = sum / l[j * d + j];
            }
        }
    }
    for column in 0..d {
        let mut x = [0.0; MAX_MATRIX];
        for i in 0..d {
            let mut sum = f64::from(u8::from(i == column));
            for k in 0..i {
                sum -= l[i * d + k] * x[k];
            }
            x[i] = sum / l[i * d + i];
        }
        for i in (0..d).rev() {
            let mut sum = x[i];
            for k in i + 1..d {
                sum -= l[k * d + i] * x[k];
            }
            x[i] = sum / l[i * d + i];
            inverse[i * d + column] = x[i];
        }
    }
    log
}

/// log |M| for every matrix `[…, d, d]`; its derivative is M⁻¹.
#[derive(Debug)]
pub(crate) struct LogDeterminant {
    /// M.
    pub input: Value,
    /// d.
    pub size: usize,
    /// `[…]`.
    pub output: Value,
    /// Buffer for M⁻¹, without an adjoint.
    pub inverse: usize,
}

impl Operation for LogDeterminant {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (mut y, mut inverse) = (frame.take(out), frame.take(self.inverse));
        let dd = self.size * self.size;
        let m = frame.read(program, &self.input);
        let n = frame.draws * self.output.shape.elements(frame.rows);
        let modulus = if self.input.is_data() { self.output.shape.elements(frame.rows) } else { n };
        for e in 0..n {
            let from = e % modulus.max(1) * dd;
            y[e] = invert(&m[from..from + dd], self.size, &mut inverse[e * dd..(e + 1) * dd]);
        }
        frame.put(out, y);
        frame.put(self.inverse, inverse);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let dd = self.size * self.size;
        let mut adjoint = frame.take_adjoint(input);
        for e in 0..frame.draws * self.output.shape.elements(frame.rows) {
            let g = frame.adjoints[out][e];
            for i in e * dd..(e + 1) * dd {
                adjoint[i] += g * frame.values[self.inverse][i];
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}

/// M⁻¹ for every matrix `[…, d, d]`.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// M.
    pub input: Value,
    /// d.
    pub size: usize,
    /// M⁻¹.
    pub output: Value,
}

impl Operation for Inverse {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let dd = self.size * self.size;
        let m = frame.read(program, &self.input);
        for e in 0..frame.draws * self.output.shape.elements(frame.rows) / dd {
            invert(&m[e * dd..(e + 1) * dd], self.size, &mut y[e * dd..(e + 1) * dd]);
        }
        frame.put(out, y);
    }

    /// Ā = −A⁻¹ G A⁻¹ for symmetric A.
    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let d = self.size;
        let dd = d * d;
        let mut adjoint = frame.take_adjoint(input);
        let mut product = [0.0; MAX_MATRIX * MAX_MATRIX];
        for e in 0..frame.draws * self.output.shape.elements(frame.rows) / dd {
            let (y, g) = (&frame.values[out][e * dd..(e + 1) * dd], &frame.adjoints[out][e * dd..(e + 1) * dd]);
            for i in 0..d {
                for j in 0..d {
                    product[i * d + j] = (0..d).map(|k| y[i * d + k] * g[k * d + j]).sum();
                }
            }
            for i in 0..d {
                for j in 0..d {
                    adjoint[e * dd + i * d + j] -= (0..d).map(|k| product[i * d + k] * y[k * d + j]).sum::<f64>();
                }
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}

/// q = xᵀ M x over the last axis.
#[derive(Debug)]
pub(crate) struct QuadraticForm {
    /// x, with the label `label`.
    pub vector: Value,
    /// M, `[…, d, d]`: the matrix axes are its last two.
    pub matrix: Value,
    /// The axis of x that is contracted, with its size d.
    pub label: (Label, usize),
    /// q, over the other axes of both.
    pub output: Value,
}

impl QuadraticForm {
    fn nest(&self, frame: &Frame) -> Nest<3> {
        Nest::over(&self.output.shape, [&self.output, &self.vector, &self.matrix], frame.draws, frame.start, frame.rows)
    }
}

impl Operation for QuadraticForm {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let mut y = frame.take(out);
        let (x, m) = (frame.read(program, &self.vector), frame.read(program, &self.matrix));
        let (d, s) = (self.label.1, self.vector.shape.stride(self.label.0));
        nest.run(|[oy, ox, om], n, [_, sx, sm]| {
            for e in 0..n {
                let (ox, om) = (ox + e * sx, om + e * sm);
                let mut sum = 0.0;
                for i in 0..d {
                    let row: f64 = (0..d).map(|j| m[om + i * d + j] * x[ox + j * s]).sum();
                    sum += x[ox + i * s] * row;
                }
                y[oy + e] = sum;
            }
        });
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let (d, s) = (self.label.1, self.vector.shape.stride(self.label.0));
        if let Some(vector) = buffer(&self.vector) {
            let mut adjoint = frame.take_adjoint(vector);
            let (x, m, g) = (&frame.values[vector], frame.read(program, &self.matrix), &frame.adjoints[out]);
            nest.run(|[oy, ox, om], n, [_, sx, sm]| {
                for e in 0..n {
                    let (ox, om) = (ox + e * sx, om + e * sm);
                    for i in 0..d {
                        let row: f64 = (0..d).map(|j| (m[om + i * d + j] + m[om + j * d + i]) * x[ox + j * s]).sum();
                        adjoint[ox + i * s] += g[oy + e] * row;
                    }
                }
            });
            frame.put_adjoint(vector, adjoint);
        }
        if let Some(matrix) = buffer(&self.matrix) {
            let mut adjoint = frame.take_adjoint(matrix);
            let (x, g) = (frame.read(program, &self.vector), &frame.adjoints[out]);
            nest.run(|[oy, ox, om], n, [_, sx, sm]| {
                for e in 0..n {
                    let (ox, om) = (ox + e * sx, om + e * sm);
                    for i in 0..d {
                        for j in 0..d {
                            adjoint[om + i * d + j] += g[oy + e] * x[ox + i * s] * x[ox + j * s];
                        }
                    }
                }
            });
            frame.put_adjoint(matrix, adjoint);
        }
    }
}
