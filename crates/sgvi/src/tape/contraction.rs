//! Contraction of one axis, by matrix products where both operands have axes of their own or data meet a latent vector.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::elementwise::{accumulate, buffer};
use super::matrices::{Matrices, Operand};
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Label, Shape, Value};

/// c = Σₖ a·b over one label that both have.
#[derive(Debug)]
pub(crate) struct Dot {
    /// a.
    pub left: Value,
    /// b.
    pub right: Value,
    /// The contracted label with its size.
    pub contracted: (Label, usize),
    /// c, over the union of the other axes.
    pub output: Value,
}

impl Dot {
    /// The design matrix `[rows, k]` and the vector `[k]`, where it is a product of that kind.
    pub(crate) fn product(&self) -> Option<(&Value, &Value)> {
        let only = |v: &Value| v.shape.axes.len() == 1 && v.shape.axes[0].0 == self.contracted.0;
        for (x, beta) in [(&self.left, &self.right), (&self.right, &self.left)] {
            if x.is_data() && x.shape.rows && only(x) && !beta.is_data() && !beta.shape.rows && only(beta) {
                return Some((x, beta));
            }
        }
        None
    }

    fn nest(&self, frame: &Frame) -> Nest<3> {
        let mut space = self.output.shape.clone();
        space.axes.push(self.contracted);
        Nest::over(&space, [&self.output, &self.left, &self.right], frame.draws, frame.start, frame.rows)
    }

    fn matrices(&self, frame: &Frame) -> Option<Matrices> {
        Matrices::of([&self.output, &self.left, &self.right], self.contracted, frame.draws, frame.start, frame.rows)
    }

    /// The shape of c.
    pub(crate) fn shape(left: &Value, right: &Value, contracted: Label) -> Shape {
        left.shape.union(&right.shape).without(contracted)
    }
}

impl Operation for Dot {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws, k) = (frame.rows, frame.draws, self.contracted.1);
        let mut c = frame.take(out);
        if let Some((x, beta)) = self.product() {
            let beta = &frame.read(program, beta)[..draws * k];
            let x = &frame.read(program, x)[frame.start * k..(frame.start + rows) * k];
            matmul(
                MatMut::from_column_major_slice_mut(&mut c[..rows * draws], rows, draws),
                Accum::Replace,
                MatRef::from_row_major_slice(x, rows, k),
                MatRef::from_column_major_slice(beta, k, draws),
                1.0,
                Par::Seq,
            );
        } else {
            let n = draws * self.output.shape.elements(rows);
            c[..n].fill(0.0);
            let (a, b) = (frame.read(program, &self.left), frame.read(program, &self.right));
            match self.matrices(frame) {
                Some(matrices) => matrices.output(&mut c, a, b),
                None => self.nest(frame).run(|[oc, oa, ob], n, [sc, sa, sb]| {
                    accumulate(&mut c, oc, n, sc, |i| a[oa + i * sa] * b[ob + i * sb]);
                }),
            }
        }
        frame.put(out, c);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws, k) = (frame.rows, frame.draws, self.contracted.1);
        if let Some((x, beta)) = self.product() {
            let Some(beta) = buffer(beta) else { return };
            let mut adjoint = frame.take_adjoint(beta);
            let x = &frame.read(program, x)[frame.start * k..(frame.start + rows) * k];
            let g = &frame.adjoints[out][..rows * draws];
            matmul(
                MatMut::from_column_major_slice_mut(&mut adjoint[..k * draws], k, draws),
                Accum::Add,
                MatRef::from_column_major_slice(x, k, rows),
                MatRef::from_column_major_slice(g, rows, draws),
                1.0,
                Par::Seq,
            );
            frame.put_adjoint(beta, adjoint);
            return;
        }
        let (matrices, nest) = (self.matrices(frame), self.nest(frame));
        if let Some(left) = buffer(&self.left) {
            let mut adjoint = frame.take_adjoint(left);
            let (g, b) = (&frame.adjoints[out], frame.read(program, &self.right));
            match &matrices {
                Some(matrices) => matrices.adjoint(Operand::Left, &mut adjoint, g, b),
                None => nest.run(|[og, oa, ob], n, [sg, sa, sb]| {
                    accumulate(&mut adjoint, oa, n, sa, |i| g[og + i * sg] * b[ob + i * sb]);
                }),
            }
            frame.put_adjoint(left, adjoint);
        }
        if let Some(right) = buffer(&self.right) {
            let mut adjoint = frame.take_adjoint(right);
            let (g, a) = (&frame.adjoints[out], frame.read(program, &self.left));
            match &matrices {
                Some(matrices) => matrices.adjoint(Operand::Right, &mut adjoint, g, a),
                None => nest.run(|[og, oa, ob], n, [sg, sa, sb]| {
                    accumulate(&mut adjoint, ob, n, sb, |i| g[og + i * sg] * a[oa + i * sa]);
                }),
            }
            frame.put_adjoint(right, adjoint);
        }
    }
}
