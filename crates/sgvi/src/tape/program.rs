//! The compiled program and the buffers of one sweep over it.

use std::sync::Arc;

use super::shape::{Shape, Source, Value};

/// An array of data or constants.
#[derive(Debug, Clone)]
pub(crate) struct DataArray {
    /// Its axes; with rows, all data rows are there.
    pub shape: Shape,
    /// Row-major values.
    pub values: Arc<Vec<f64>>,
}

/// One step of the sweep.
pub(crate) trait Operation: Send + Sync + std::fmt::Debug {
    /// Computes the value from the operands. `theta` is `[draws, dimension]`.
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]);
    /// Adds this operation's part to the adjoints of its operands (or to [`Frame::gradient`]).
    fn backward(&self, program: &Program, frame: &mut Frame, theta: &[f64]);
    /// Numbers of data that a sweep over all rows reads for one draw, beyond the buffers.
    fn numbers_read(&self) -> usize {
        0
    }
}

/// The log joint over unconstrained coordinates, as operations in order.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Number of unconstrained coordinates.
    pub dimension: usize,
    /// Names of the terms of the log joint (one for each variable).
    pub terms: Vec<String>,
    /// Number of data rows.
    pub num_rows: usize,
    /// Shapes of the latent buffers.
    pub buffers: Vec<Shape>,
    /// Which buffers need an adjoint (partial derivatives do not).
    pub has_adjoint: Vec<bool>,
    /// Data and constants.
    pub data: Vec<DataArray>,
    /// Operations that see no rows.
    pub global: Vec<Box<dyn Operation>>,
    /// Operations that see rows, run for each chunk.
    pub local: Vec<Box<dyn Operation>>,
    /// Whether the rows may be cut into chunks.
    pub chunkable: bool,
}

/// Buffers of one sweep: a block of draws, a chunk of rows.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Number of draws in the block.
    pub draws: usize,
    /// First row of the chunk.
    pub start: usize,
    /// Number of rows in the chunk.
    pub rows: usize,
    /// Whether this sweep carries the terms that see no rows.
    pub first: bool,
    /// Whether this is the sweep's first chunk of rows.
    pub opening: bool,
    /// Whether this is the sweep's last chunk of rows.
    pub closing: bool,
    /// Whether the reverse sweep will follow, so that partial derivatives are needed.
    pub with_gradient: bool,
    /// Whether draws 2p and 2p + 1 lie opposite each other about one point, the same for all p, and of the gradient only its sum over
    /// the draws and its differences within pairs are asked for.
    pub paired: bool,
    /// Factor of the row-level terms (rows in the data over rows in the batch).
    pub row_scale: f64,
    /// Values of the buffers, `[draws, rows?, …]`.
    pub values: Vec<Vec<f64>>,
    /// Adjoints of the buffers.
    pub adjoints: Vec<Vec<f64>>,
    /// Terms of the log joint, `[draws, num_terms]`.
    pub terms: Vec<f64>,
    /// Derivative of the log joint, `[draws, dimension]`.
    pub gradient: Vec<f64>,
    /// Copies of the data arrays over the rows of this chunk, where those are not neighbours in the data; the chunk then
    /// starts at 0. Empty otherwise.
    pub gathered: Vec<Vec<f64>>,
    /// Room for a block of densities and their partial derivatives.
    pub scratch: (Vec<f64>, [Vec<f64>; 5]),
}

impl Program {
    /// Numbers that a sweep over all rows works on for one draw.
    pub(crate) fn work(&self) -> usize {
        let rows = self.num_rows.max(1);
        let buffers: usize = self.buffers.iter().map(|s| s.elements(rows)).sum();
        let read: usize = self.local.iter().map(|o| o.numbers_read()).sum();
        buffers + read / 4 + self.dimension
    }
}

impl Frame {
    /// Buffers for up to `draws` draws and chunks of up to `rows` rows.
    pub(crate) fn new(program: &Program, draws: usize, rows: usize) -> Self {
        let lengths: Vec<usize> = program.buffers.iter().map(|s| draws * s.elements(rows)).collect();
        Self {
            draws,
            rows,
            first: true,
            row_scale: 1.0,
            values: lengths.iter().map(|&n| vec![0.0; n]).collect(),
            adjoints: lengths
                .iter()
                .zip(&program.has_adjoint)
                .map(|(&n, &a)| vec![0.0; if a { n } else { 0 }])
                .collect(),
            terms: vec![0.0; draws * program.terms.len()],
            gradient: vec![0.0; draws * program.dimension],
            ..Self::default()
        }
    }

    /// The numbers of an operand, from its start.
    pub(crate) fn read<'a>(&'a self, program: &'a Program, value: &Value) -> &'a [f64] {
        match value.source {
            Source::Latent(b) => &self.values[b],
            Source::Data(d) => match self.gathered.get(d) {
                Some(rows) if value.shape.rows => rows,
                _ => &program.data[d].values,
            },
        }
    }

    /// Takes a buffer's values out for writing; give them back with [`Frame::put`].
    pub(crate) fn take(&mut self, buffer: usize) -> Vec<f64> {
        std::mem::take(&mut self.values[buffer])
    }

    /// Gives a buffer's values back.
    pub(crate) fn put(&mut self, buffer: usize, values: Vec<f64>) {
        self.values[buffer] = values;
    }

    /// Takes a buffer's adjoint out; give it back with [`Frame::put_adjoint`].
    pub(crate) fn take_adjoint(&mut self, buffer: usize) -> Vec<f64> {
        std::mem::take(&mut self.adjoints[buffer])
    }

    /// Gives a buffer's adjoint back.
    pub(crate) fn put_adjoint(&mut self, buffer: usize, values: Vec<f64>) {
        self.adjoints[buffer] = values;
    }

    /// Sets the adjoints of the buffers with rows, or of those without, to zero.
    pub(crate) fn clear_adjoints(&mut self, program: &Program, local: bool) {
        for (adjoint, shape) in self.adjoints.iter_mut().zip(&program.buffers) {
            if shape.rows == local {
                let used = (self.draws * shape.elements(self.rows)).min(adjoint.len());
                adjoint[..used].fill(0.0);
            }
        }
    }

    /// Sweeps over `rows` in chunks: terms, and the gradient where `with_gradient`. `theta` is `[draws, dimension]`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn sweep(
        &mut self,
        program: &Program,
        theta: &[f64],
        draws: usize,
        rows: std::ops::Range<usize>,
        chunk: usize,
        first: bool,
        with_gradient: bool,
    ) {
        self.first = first;
        self.with_gradient = with_gradient;
        self.draws = draws;
        self.start = rows.start;
        self.rows = 0;
        self.terms.fill(0.0);
        if with_gradient {
            self.gradient.fill(0.0);
            self.clear_adjoints(program, false);
        }
        for operation in &program.global {
            operation.forward(program, self, theta);
        }
        if !program.local.is_empty() {
            let mut start = rows.start;
            loop {
                self.start = start;
                self.rows = chunk.min(rows.end - start);
                self.opening = start == rows.start;
                self.closing = start + self.rows >= rows.end;
                for operation in &program.local {
                    operation.forward(program, self, theta);
                }
                if with_gradient {
                    self.clear_adjoints(program, true);
                    for operation in program.local.iter().rev() {
                        operation.backward(program, self, theta);
                    }
                }
                start += self.rows;
                if start >= rows.end || self.rows == 0 {
                    break;
                }
            }
        }
        if with_gradient {
            for operation in program.global.iter().rev() {
                operation.backward(program, self, theta);
            }
        }
    }
}
