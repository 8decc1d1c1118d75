//! Gaussian log densities of data rows under a few centres and matrices at once.

use std::sync::Arc;

use vi_families::rows::quadratic::{Columns, LANES, quadratic_moments, quadratic_values, width};

use super::elementwise::buffer;
use super::program::{Frame, Operation, Program};
use super::shape::{Source, Value};

/// y\[r, c\] = o_c − ½ (x_r − m_c)ᵀ M_c (x_r − m_c), for data x and o, m, M that see no rows.
#[derive(Debug)]
pub(crate) struct GaussianRows {
    /// x column by column, `[inputs, rows]`.
    pub columns: Arc<Vec<f64>>,
    /// Number of columns.
    pub inputs: usize,
    /// o.
    pub offset: Value,
    /// m.
    pub mean: Value,
    /// Distance between the coordinates of a centre.
    pub step: usize,
    /// M, `[…, inputs, inputs]`.
    pub matrix: Value,
    /// For each c where its offset, centre and matrix begin.
    pub places: Vec<[usize; 3]>,
    /// Buffer `[components, width]` for the kernel's parameters.
    pub parameters: usize,
    /// Buffer `[components, width, LANES]` for partial sums of their adjoints.
    pub sums: usize,
    /// y.
    pub output: Value,
}

/// Where the numbers of an operand for a draw begin.
fn base(value: &Value, draw: usize) -> usize {
    if value.is_data() { 0 } else { draw * value.shape.inner() }
}

impl GaussianRows {
    fn length(&self) -> usize {
        self.places.len() * width(self.inputs)
    }

    fn gather(&self, program: &Program, frame: &mut Frame) {
        let mut parameters = frame.take(self.parameters);
        let d = self.inputs;
        let [o, m, matrix] = [&self.offset, &self.mean, &self.matrix].map(|v| frame.read(program, v));
        let mut to = parameters.iter_mut();
        let mut push = |value: f64| {
            if let Some(to) = to.next() {
                *to = value;
            }
        };
        for draw in 0..frame.draws {
            for &[at_o, at_m, at_matrix] in &self.places {
                push(o[base(&self.offset, draw) + at_o]);
                (0..d).for_each(|i| push(m[base(&self.mean, draw) + at_m + i * self.step]));
                let matrix = &matrix[base(&self.matrix, draw) + at_matrix..][..d * d];
                for i in 0..d {
                    (0..i).for_each(|j| push(-0.5 * (matrix[i * d + j] + matrix[j * d + i])));
                    push(-0.5 * matrix[i * d + i]);
                }
            }
        }
        frame.put(self.parameters, parameters);
    }

    /// Adds up the partial sums and gives them to the adjoints.
    fn scatter(&self, frame: &mut Frame) {
        let (d, w) = (self.inputs, width(self.inputs));
        let sums = frame.take(self.sums);
        let parameters = frame.take(self.parameters);
        let total = |at: usize| sums[at * LANES..(at + 1) * LANES].iter().sum::<f64>();
        for draw in 0..frame.draws {
            for (c, &[at_o, at_m, at_matrix]) in self.places.iter().enumerate() {
                let first = (draw * self.places.len() + c) * w;
                if let Source::Latent(b) = self.offset.source {
                    frame.adjoints[b][base(&self.offset, draw) + at_o] += total(first);
                }
                let triangle = |i: usize, j: usize| first + 1 + d + i.max(j) * (i.max(j) + 1) / 2 + i.min(j);
                if let Source::Latent(b) = self.mean.source {
                    for i in 0..d {
                        let slope: f64 = (0..d)
                            .map(|j| {
                                let twice = if i == j { 2.0 } else { 1.0 };
                                twice * parameters[triangle(i, j)] * total(first + 1 + j)
                            })
                            .sum();
                        frame.adjoints[b][base(&self.mean, draw) + at_m + i * self.step] -= slope;
                    }
                }
                if let Source::Latent(b) = self.matrix.source {
                    let to = base(&self.matrix, draw) + at_matrix;
                    for i in 0..d {
                        for j in 0..d {
                            frame.adjoints[b][to + i * d + j] -= 0.5 * total(triangle(i, j));
                        }
                    }
                }
            }
        }
        frame.put(self.sums, sums);
        frame.put(self.parameters, parameters);
    }

    fn columns<'a>(&'a self, program: &Program, frame: &Frame) -> Columns<'a> {
        let stride = program.num_rows;
        Columns { values: &self.columns, stride, start: frame.start, rows: frame.rows, inputs: self.inputs }
    }
}

impl Operation for GaussianRows {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        if frame.opening {
            self.gather(program, frame);
        }
        let mut y = frame.take(out);
        let (n, length) = (frame.rows * self.places.len(), self.length());
        let columns = self.columns(program, frame);
        for draw in 0..frame.draws {
            let parameters = &frame.values[self.parameters][draw * length..(draw + 1) * length];
            quadratic_values(columns, parameters, &mut y[draw * n..(draw + 1) * n]);
        }
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut sums = frame.take(self.sums);
        let (n, length) = (frame.rows * self.places.len(), self.length());
        if frame.opening {
            sums[..frame.draws * length * LANES].fill(0.0);
        }
        let columns = self.columns(program, frame);
        for (draw, sums) in sums.chunks_exact_mut(length * LANES).enumerate().take(frame.draws) {
            let parameters = &frame.values[self.parameters][draw * length..(draw + 1) * length];
            quadratic_moments(columns, parameters, &frame.adjoints[out][draw * n..(draw + 1) * n], sums);
        }
        frame.put(self.sums, sums);
        if frame.closing {
            self.scatter(frame);
        }
    }

    fn numbers_read(&self) -> usize {
        self.columns.len()
    }
}
