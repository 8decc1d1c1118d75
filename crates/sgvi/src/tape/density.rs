//! Log densities of scalar distributions with their partial derivatives, elementwise over aligned arguments.

use super::elementwise::{accumulate, buffer};
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::{Shape, Value};
use crate::density::{Kernel, Logarithms};

/// y = log p(a₀ | a₁ …), with partial derivatives kept for the reverse sweep.
#[derive(Debug)]
pub(crate) struct ScalarDensity {
    /// The density.
    pub kernel: Kernel,
    /// The value, the parameters and what else the kernel wants; unused places repeat the first.
    pub arguments: [Value; 5],
    /// How many arguments there are.
    pub count: usize,
    /// Whether a NaN as value (a missing cell) counts as zero.
    pub skip_missing: bool,
    /// The log density.
    pub output: Value,
    /// For each latent argument the buffer of its partial derivative, of the output's shape.
    pub partials: [Option<usize>; 5],
}

impl ScalarDensity {
    /// The shape of y.
    pub(crate) fn shape(arguments: &[Value]) -> Shape {
        arguments.iter().fold(Shape::default(), |shape, a| shape.union(&a.shape))
    }
}

impl Operation for ScalarDensity {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let mut partials: [Vec<f64>; 5] =
            std::array::from_fn(|a| self.partials[a].map(|p| frame.take(p)).unwrap_or_default());
        let wanted: [bool; 5] = std::array::from_fn(|a| frame.with_gradient && self.partials[a].is_some());
        let arguments: [&[f64]; 5] = std::array::from_fn(|a| frame.read(program, &self.arguments[a]));
        let nest = Nest::over(
            &self.output.shape,
            [
                &self.output,
                &self.arguments[0],
                &self.arguments[1],
                &self.arguments[2],
                &self.arguments[3],
                &self.arguments[4],
            ],
            frame.draws,
            frame.start,
            frame.rows,
        );
        let mut logarithms = Logarithms::default();
        nest.run(|offsets, n, steps| {
            self.kernel.evaluate(
                n,
                offsets,
                steps,
                &arguments,
                self.skip_missing,
                wanted,
                &mut y,
                &mut partials,
                &mut logarithms,
            );
        });
        for (a, partial) in partials.into_iter().enumerate() {
            if let Some(p) = self.partials[a] {
                frame.put(p, partial);
            }
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        for a in 0..self.count {
            let (Some(partial), Some(argument)) = (self.partials[a], buffer(&self.arguments[a])) else { continue };
            let mut adjoint = frame.take_adjoint(argument);
            let (g, p) = (&frame.adjoints[out], &frame.values[partial]);
            Nest::over(&self.output.shape, [&self.output, &self.arguments[a]], frame.draws, frame.start, frame.rows)
                .run(|[o, oa], n, [_, sa]| {
                    let (g, p) = (&g[o..o + n], &p[o..o + n]);
                    accumulate(&mut adjoint, oa, n, sa, |i| g[i] * p[i]);
                });
            frame.put_adjoint(argument, adjoint);
        }
    }
}
