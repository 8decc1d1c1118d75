//! A factor over elements of discrete variables as a function of all their values at once.

use super::elementwise::buffer;
use super::program::{Frame, Operation, Program};
use super::shape::Value;

/// `out[c] = Σ_cell f[cell, z_c(e₁(cell)), z_c(e₂(cell)), …]`: sums a factor over its cells (rows and plates), each of whose
/// slots takes the value that an element of a discrete variable has in configuration c. All rows must be in one chunk.
#[derive(Debug)]
pub(crate) struct JointSum {
    /// `[rows?, plates, slots]`
    pub input: Value,
    /// For each cell the group of those with the same elements.
    pub group: Vec<u32>,
    /// For each group the element of each slot.
    pub elements: Vec<Vec<usize>>,
    /// Values of each slot.
    pub sizes: Vec<usize>,
    /// Value of each element in each configuration, `[configurations, elements]`.
    pub values: std::sync::Arc<Vec<u16>>,
    /// Number of elements.
    pub num_elements: usize,
    /// `[configurations]`
    pub output: Value,
}

impl JointSum {
    fn width(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Calls `body(configuration, place of the group's value in it)`.
    fn places(&self, mut body: impl FnMut(usize, usize)) {
        let width = self.width();
        for (c, values) in self.values.chunks(self.num_elements).enumerate() {
            for (g, elements) in self.elements.iter().enumerate() {
                let slot =
                    elements.iter().zip(&self.sizes).fold(0, |at, (e, size)| at * size + usize::from(values[*e]));
                body(c, g * width + slot);
            }
        }
    }
}

impl Operation for JointSum {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let x = frame.read(program, &self.input);
        let (width, configurations) = (self.width(), self.output.shape.inner());
        let mut sums = vec![0.0; self.elements.len() * width];
        for draw in 0..frame.draws {
            let from = if self.input.is_data() { 0 } else { draw * self.group.len() * width };
            sums.fill(0.0);
            for (cell, group) in x[from..].chunks(width).zip(&self.group) {
                let to = *group as usize * width;
                sums[to..to + width].iter_mut().zip(cell).for_each(|(s, x)| *s += x);
            }
            let y = &mut y[draw * configurations..(draw + 1) * configurations];
            y.fill(0.0);
            self.places(|c, at| y[c] += sums[at]);
        }
        frame.put(out, y);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let (Some(out), Some(input)) = (buffer(&self.output), buffer(&self.input)) else { return };
        let mut adjoint = frame.take_adjoint(input);
        let (width, configurations) = (self.width(), self.output.shape.inner());
        let mut sums = vec![0.0; self.elements.len() * width];
        for draw in 0..frame.draws {
            let g = &frame.adjoints[out][draw * configurations..(draw + 1) * configurations];
            sums.fill(0.0);
            self.places(|c, at| sums[at] += g[c]);
            let from = draw * self.group.len() * width;
            for (cell, group) in adjoint[from..].chunks_mut(width).zip(&self.group) {
                let at = *group as usize * width;
                cell.iter_mut().zip(&sums[at..at + width]).for_each(|(a, s)| *a += s);
            }
        }
        frame.put_adjoint(input, adjoint);
    }
}
