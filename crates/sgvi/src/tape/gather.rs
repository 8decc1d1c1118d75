//! Look-ups along an axis by codes of the rows, and observed arrays whose missing cells are latent.

use std::sync::Arc;

use super::elementwise::buffer;
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Label, Shape, Value};

/// `out[r, …] = base[r?, codes[r], …]`
#[derive(Debug)]
pub(crate) struct Gather {
    /// What is looked up.
    pub base: Value,
    /// The axis that the codes replace.
    pub label: Label,
    /// A position along that axis for each data row.
    pub codes: Arc<Vec<u32>>,
    /// `[rows, …]`, the other axes in the base's order.
    pub output: Value,
}

impl Gather {
    /// The shape of the output.
    pub(crate) fn shape(base: &Value, label: Label) -> Shape {
        let mut shape = base.shape.without(label);
        shape.rows = true;
        shape
    }

    /// Calls `body(output offset, base offset, length)` for every contiguous piece of one draw.
    fn pieces(&self, frame: &Frame, draw: usize, mut body: impl FnMut(usize, usize, usize)) {
        let shape = &self.base.shape;
        let stride = shape.stride(self.label);
        let size = shape.size(self.label).unwrap_or(1);
        let inner = shape.inner();
        let outer = inner / (stride * size);
        let draw_base =
            if self.base.is_data() { frame.start * shape.row_stride() } else { draw * shape.elements(frame.rows) };
        let width = stride * outer;
        for r in 0..frame.rows {
            let code = self.codes[frame.start + r] as usize;
            let base = draw_base + r * shape.row_stride() + code * stride;
            let out = (draw * frame.rows + r) * width;
            for o in 0..outer {
                body(out + o * stride, base + o * stride * size, stride);
            }
        }
    }
}

impl Operation for Gather {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let x = frame.read(program, &self.base);
        for draw in 0..frame.draws {
            self.pieces(frame, draw, |o, b, n| {
                if n == 1 {
                    y[o] = x[b];
                } else {
                    y[o..o + n].copy_from_slice(&x[b..b + n]);
                }
            });
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(base)) = (buffer(&self.output), buffer(&self.base)) else { return };
        let mut adjoint = frame.take_adjoint(base);
        let g = &frame.adjoints[out];
        for draw in 0..frame.draws {
            self.pieces(frame, draw, |o, b, n| {
                for i in 0..n {
                    adjoint[b + i] += g[o + i];
                }
            });
        }
        frame.put_adjoint(base, adjoint);
    }
}

/// `out[i] = base[…, codes[i]]`: positions with axes of their own; a NaN position gives zero.
#[derive(Debug)]
pub(crate) struct Select {
    /// What is looked up.
    pub base: Value,
    /// The axis that the positions replace.
    pub label: Label,
    /// Positions (data).
    pub codes: Value,
    /// Over the axes of the positions and the other axes of the base.
    pub output: Value,
}

impl Select {
    fn nest(&self, frame: &Frame) -> Nest<3> {
        Nest::over(&self.output.shape, [&self.output, &self.base, &self.codes], frame.draws, frame.start, frame.rows)
    }
}

impl Operation for Select {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let nest = self.nest(frame);
        let mut y = frame.take(out);
        let (x, codes) = (frame.read(program, &self.base), frame.read(program, &self.codes));
        let stride = self.base.shape.stride(self.label);
        nest.run(|[oy, ox, oc], n, [_, sx, sc]| {
            for i in 0..n {
                let code = codes[oc + i * sc];
                y[oy + i] = if code.is_nan() { 0.0 } else { x[ox + i * sx + code as usize * stride] };
            }
        });
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(base)) = (buffer(&self.output), buffer(&self.base)) else { return };
        let nest = self.nest(frame);
        let mut adjoint = frame.take_adjoint(base);
        let (g, codes) = (&frame.adjoints[out], frame.read(program, &self.codes));
        let stride = self.base.shape.stride(self.label);
        nest.run(|[oy, ox, oc], n, [_, sx, sc]| {
            for i in 0..n {
                let code = codes[oc + i * sc];
                if !code.is_nan() {
                    adjoint[ox + i * sx + code as usize * stride] += g[oy + i];
                }
            }
        });
        frame.put_adjoint(base, adjoint);
    }
}

/// An observed array whose missing cells are unconstrained coordinates.
#[derive(Debug)]
pub(crate) struct FillMissing {
    /// The observed values, NaN where missing.
    pub observed: Value,
    /// Values for the missing cells in order, `[draws, number missing]` as a buffer without rows.
    pub fill: Value,
    /// For each element of the observed array: its position among the missing ones, or `u32::MAX`.
    pub positions: Arc<Vec<u32>>,
    /// The completed array.
    pub output: Value,
}

impl Operation for FillMissing {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let (n, from) = (self.output.shape.elements(frame.rows), frame.start * self.output.shape.row_stride());
        let missing = self.fill.shape.inner();
        let (x, fill) = (frame.read(program, &self.observed), frame.read(program, &self.fill));
        for draw in 0..frame.draws {
            for i in 0..n {
                y[draw * n + i] = match self.positions[from + i] {
                    u32::MAX => x[from + i],
                    p => fill[draw * missing + p as usize],
                };
            }
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(fill)) = (buffer(&self.output), buffer(&self.fill)) else { return };
        let (n, from) = (self.output.shape.elements(frame.rows), frame.start * self.output.shape.row_stride());
        let missing = self.fill.shape.inner();
        let mut adjoint = frame.take_adjoint(fill);
        for draw in 0..frame.draws {
            for i in 0..n {
                let p = self.positions[from + i];
                if p != u32::MAX {
                    adjoint[draw * missing + p as usize] += frame.adjoints[out][draw * n + i];
                }
            }
        }
        frame.put_adjoint(fill, adjoint);
    }
}
