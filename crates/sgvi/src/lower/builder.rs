//! Appends operations to a program: allocates buffers, folds what depends on data alone, keeps rows and globals apart.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vi_model::graph::{AxisId, BinaryOperator};

use super::linear::Pending;
use crate::density::Kernel;
use crate::tape::{
    Accumulate, Binary, DataArray, Dot, Frame, Gather, Inverse, Label, LogDeterminant, LogSumExp, MarginalNormal,
    Operation, Program, QuadraticForm, ScalarDensity, ScatterSum, Select, Shape, Source, SumTo, Unary, UnaryFunction,
    Value,
};

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pub(crate) program: Program,
    labels: HashMap<(AxisId, usize), Label>,
    next_label: Label,
    constants: HashMap<u64, Value>,
    local: Vec<bool>,
    /// Values that nothing reads yet, by their buffers.
    pub(super) pending: HashMap<usize, Pending>,
    /// Buffers known to be affine functions of the coordinates.
    pub(super) affine: HashSet<usize>,
    /// Whether every value is computed as soon as it is written, for programs that read values by other ways than operations.
    pub(super) eager: bool,
    /// Data that operations read.
    pub(super) data_read: HashSet<usize>,
    /// Whether steps take batches of the rows, so that nothing may be summed over all of them beforehand.
    pub(super) in_batches: bool,
}

impl Builder {
    pub(crate) fn new(num_rows: usize, terms: Vec<String>, in_batches: bool) -> Self {
        let program = Program { num_rows, terms, chunkable: true, ..Program::default() };
        Self { program, in_batches, ..Self::default() }
    }

    /// The label of the `occurrence`-th appearance of an axis among the axes of one array.
    pub(crate) fn label(&mut self, axis: AxisId, occurrence: usize) -> Label {
        let next = &mut self.next_label;
        *self.labels.entry((axis, occurrence)).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// A label that no axis has.
    pub(crate) fn fresh_label(&mut self) -> Label {
        self.next_label += 1;
        self.next_label - 1
    }

    /// The axis and occurrence behind a label.
    pub(crate) fn axis_of(&self, label: Label) -> Option<(AxisId, usize)> {
        self.labels.iter().find(|(_, l)| **l == label).map(|(k, _)| *k)
    }

    /// The axes of an array's elements but for the rows, the last one fastest.
    pub(crate) fn axes_of(&self, value: &Value) -> Vec<AxisId> {
        value.shape.axes.iter().filter_map(|(label, _)| Some(self.axis_of(*label)?.0)).collect()
    }

    /// An array of data.
    pub(crate) fn data(&mut self, shape: Shape, values: Vec<f64>) -> Value {
        self.program.data.push(DataArray { shape: shape.clone(), values: Arc::new(values) });
        Value { source: Source::Data(self.program.data.len() - 1), shape }
    }

    /// A number.
    pub(crate) fn constant(&mut self, value: f64) -> Value {
        if let Some(known) = self.constants.get(&value.to_bits()) {
            return known.clone();
        }
        let made = self.data(Shape::default(), vec![value]);
        self.constants.insert(value.to_bits(), made.clone());
        made
    }

    /// The numbers of a data operand.
    pub(crate) fn numbers(&self, value: &Value) -> Option<Arc<Vec<f64>>> {
        match value.source {
            Source::Data(d) => Some(Arc::clone(&self.program.data[d].values)),
            Source::Latent(_) => None,
        }
    }

    /// The number, where a data operand is a single one.
    pub(crate) fn number(&self, value: &Value) -> Option<f64> {
        self.numbers(value).filter(|v| v.len() == 1).map(|v| v[0])
    }

    pub(crate) fn buffer(&mut self, shape: &Shape, adjoint: bool, local: bool) -> usize {
        self.program.buffers.push(shape.clone());
        self.program.has_adjoint.push(adjoint);
        self.local.push(local);
        self.program.buffers.len() - 1
    }

    pub(crate) fn is_local(&self, value: &Value) -> bool {
        match value.source {
            Source::Latent(b) => self.local[b] || value.shape.rows,
            Source::Data(_) => value.shape.rows,
        }
    }

    /// Adds an operation; where all operands are data it is run now and its output becomes data.
    pub(crate) fn add<O: Operation + 'static>(
        &mut self,
        inputs: &[&Value],
        shape: Shape,
        extra: &[Shape],
        make: impl FnOnce(Value, &[usize]) -> O,
    ) -> Value {
        let fold = inputs.iter().all(|i| i.is_data());
        inputs.iter().for_each(|i| self.settle(i));
        let local = shape.rows || inputs.iter().any(|i| self.is_local(i));
        let out = self.buffer(&shape, !fold, local);
        let extra: Vec<usize> = extra.iter().map(|s| self.buffer(s, false, local)).collect();
        let value = Value { source: Source::Latent(out), shape: shape.clone() };
        let operation = make(value.clone(), &extra);
        if fold {
            let mut frame =
                Frame { draws: 1, rows: self.program.num_rows, first: true, row_scale: 1.0, ..Frame::default() };
            frame.values = vec![Vec::new(); self.program.buffers.len()];
            for b in std::iter::once(out).chain(extra.iter().copied()) {
                frame.values[b] = vec![0.0; self.program.buffers[b].elements(frame.rows)];
            }
            operation.forward(&self.program, &mut frame, &[]);
            let values = frame.take(out);
            for b in std::iter::once(out).chain(extra) {
                self.program.buffers[b] = Shape { rows: false, axes: vec![(0, 0)] };
            }
            return self.data(shape, values);
        }
        self.data_read.extend(inputs.iter().filter_map(|i| match i.source {
            Source::Data(d) => Some(d),
            Source::Latent(_) => None,
        }));
        if local && !shape.rows {
            self.program.chunkable = false;
        }
        self.push(Box::new(operation), local);
        value
    }

    /// Notes that a value is an affine function of the coordinates.
    pub(super) fn mark_affine(&mut self, value: &Value) {
        if let Source::Latent(b) = value.source {
            self.affine.insert(b);
        }
    }

    pub(crate) fn push(&mut self, operation: Box<dyn Operation>, local: bool) {
        if local {
            self.program.local.push(operation);
        } else {
            self.program.global.push(operation);
        }
    }

    pub(crate) fn unary(&mut self, function: UnaryFunction, input: &Value) -> Value {
        if function == UnaryFunction::Negate
            && let Some(value) = self.linear_negative(input)
        {
            return value;
        }
        self.add(&[input], input.shape.clone(), &[], |output, _| Unary { function, input: input.clone(), output })
    }

    pub(crate) fn binary(&mut self, operator: BinaryOperator, left: &Value, right: &Value) -> Value {
        let neutral = |v: Option<f64>, n: f64| v == Some(n);
        match operator {
            BinaryOperator::Multiply if neutral(self.number(left), 1.0) => return right.clone(),
            BinaryOperator::Multiply | BinaryOperator::Divide if neutral(self.number(right), 1.0) => {
                return left.clone();
            }
            BinaryOperator::Add if neutral(self.number(left), 0.0) => return right.clone(),
            BinaryOperator::Add | BinaryOperator::Subtract if neutral(self.number(right), 0.0) => return left.clone(),
            _ => {}
        }
        if let Some(value) = self.linear_binary(operator, left, right) {
            return value;
        }
        if operator == BinaryOperator::Subtract
            && let Some(value) = self.pending_deviation(left, right)
        {
            return value;
        }
        if operator == BinaryOperator::Add
            && let Some(value) = self.gaussian_sum(left, right)
        {
            return value;
        }
        self.binary_now(operator, left, right)
    }

    /// As [`Builder::binary`], computed element by element.
    pub(super) fn binary_now(&mut self, operator: BinaryOperator, left: &Value, right: &Value) -> Value {
        let shape = left.shape.union(&right.shape);
        let is_affine = self.is_affine(left)
            && self.is_affine(right)
            && match operator {
                BinaryOperator::Add | BinaryOperator::Subtract => true,
                BinaryOperator::Multiply => left.is_data() || right.is_data(),
                BinaryOperator::Divide => right.is_data(),
            };
        let value = self.add(&[left, right], shape, &[], |output, _| Binary {
            operator,
            left: left.clone(),
            right: right.clone(),
            output,
        });
        if is_affine {
            self.mark_affine(&value);
        }
        value
    }

    pub(crate) fn sum(&mut self, left: &Value, right: &Value) -> Value {
        self.binary(BinaryOperator::Add, left, right)
    }

    pub(crate) fn difference(&mut self, left: &Value, right: &Value) -> Value {
        self.binary(BinaryOperator::Subtract, left, right)
    }

    pub(crate) fn product(&mut self, left: &Value, right: &Value) -> Value {
        self.binary(BinaryOperator::Multiply, left, right)
    }

    pub(crate) fn scaled(&mut self, factor: f64, value: &Value) -> Value {
        let factor = self.constant(factor);
        self.product(&factor, value)
    }

    pub(crate) fn shifted(&mut self, shift: f64, value: &Value) -> Value {
        let shift = self.constant(shift);
        self.sum(&shift, value)
    }

    pub(crate) fn dot(&mut self, left: &Value, right: &Value, contracted: (Label, usize)) -> Value {
        let shape = Dot::shape(left, right, contracted.0);
        let dot = Dot {
            left: left.clone(),
            right: right.clone(),
            contracted,
            output: Value { source: Source::Latent(0), shape: shape.clone() },
        };
        let design = dot.product().map(|(x, beta)| (x.clone(), beta.clone()));
        if let Some(value) = design.and_then(|(x, beta)| self.linear_product(&x, &beta, contracted.1)) {
            return value;
        }
        self.add(&[left, right], shape, &[], |output, _| Dot { output, ..dot })
    }

    pub(crate) fn gather(&mut self, base: &Value, label: Label, codes: Arc<Vec<u32>>) -> Value {
        if let Some(value) = self.linear_look_up(base, &codes) {
            return value;
        }
        let shape = Gather::shape(base, label);
        self.add(&[base], shape, &[], |output, _| Gather { base: base.clone(), label, codes, output })
    }

    /// Elements at data positions that have axes of their own; a NaN position gives zero.
    pub(crate) fn select(&mut self, base: &Value, label: Label, codes: &Value) -> Value {
        let shape = codes.shape.union(&base.shape.without(label));
        self.add(&[base, codes], shape, &[], |output, _| Select {
            base: base.clone(),
            label,
            codes: codes.clone(),
            output,
        })
    }

    /// Sums away every axis that `keep` lacks; the order of axes is that of `keep`.
    pub(crate) fn sum_to(&mut self, input: &Value, keep: &Shape) -> Value {
        if input.shape == *keep {
            return input.clone();
        }
        if let Some(sum) = self.sum_by_statistics(input, keep, None) {
            return sum;
        }
        self.add(&[input], keep.clone(), &[], |output, _| SumTo { input: input.clone(), output })
    }

    /// Sums over one axis; an axis that it lacks counts by its size.
    pub(crate) fn sum_over(&mut self, input: &Value, label: Label, size: usize) -> Value {
        if input.shape.has(label) {
            let keep = input.shape.without(label);
            self.sum_to(input, &keep)
        } else {
            self.scaled(size as f64, input)
        }
    }

    pub(crate) fn scatter(&mut self, input: &Value, label: (Label, usize), codes: Arc<Vec<u32>>) -> Value {
        let mut axes = vec![label];
        axes.extend(input.shape.axes.iter().copied());
        let shape = Shape { rows: false, axes };
        self.add(&[input], shape, &[], |output, _| ScatterSum { input: input.clone(), codes, output })
    }

    /// log Σ exp over one axis.
    pub(crate) fn log_sum_exp(&mut self, input: &Value, label: (Label, usize)) -> Value {
        let mut last = input.shape.without(label.0);
        let shape = last.clone();
        last.axes.push(label);
        let input = self.sum_to(input, &last);
        self.add(&[&input], shape, std::slice::from_ref(&last), |output, extra| LogSumExp {
            input: input.clone(),
            label,
            output,
            weights: extra[0],
        })
    }

    pub(crate) fn log_determinant(&mut self, matrix: &Value, size: usize) -> Value {
        let mut shape = matrix.shape.clone();
        shape.axes.truncate(shape.axes.len() - 2);
        self.add(&[matrix], shape, std::slice::from_ref(&matrix.shape), |output, extra| LogDeterminant {
            input: matrix.clone(),
            size,
            output,
            inverse: extra[0],
        })
    }

    pub(crate) fn inverse(&mut self, matrix: &Value, size: usize) -> Value {
        self.add(&[matrix], matrix.shape.clone(), &[], |output, _| Inverse { input: matrix.clone(), size, output })
    }

    /// xᵀ M x; the matrix axes are the last two of M, the second called `second`.
    pub(crate) fn quadratic(&mut self, vector: &Value, matrix: &Value, label: (Label, usize), second: Label) -> Value {
        let shape = vector.shape.union(&matrix.shape).without(label.0).without(second);
        self.add(&[vector, matrix], shape, &[], |output, _| QuadraticForm {
            vector: vector.clone(),
            matrix: matrix.clone(),
            label,
            output,
        })
    }

    /// log N(d | 0, Σ) of the coordinates of d that are numbers; the matrix axes are the last two of Σ.
    pub(crate) fn marginal_normal(&mut self, residual: &Value, covariance: &Value, label: (Label, usize)) -> Value {
        let second = covariance.shape.axes.last().map_or(label.0, |a| a.0);
        let shape = residual.shape.union(&covariance.shape).without(label.0).without(second);
        self.add(&[residual, covariance], shape, &[], |output, _| MarginalNormal {
            residual: residual.clone(),
            covariance: covariance.clone(),
            label,
            second,
            output,
        })
    }

    /// A scalar log density.
    pub(crate) fn density(&mut self, kernel: Kernel, arguments: &[&Value], skip_missing: bool) -> Value {
        if let Some(value) = self.row_density(kernel, arguments, skip_missing) {
            return value;
        }
        let owned: Vec<Value> = arguments.iter().map(|a| (*a).clone()).collect();
        if let Some(value) = self.looked_up(kernel, &owned, skip_missing) {
            return value;
        }
        if let Some(value) = self.density_by_statistics(kernel, &owned, skip_missing) {
            return value;
        }
        let shape = ScalarDensity::shape(&owned);
        let latent: Vec<usize> = (0..owned.len()).filter(|i| !owned[*i].is_data()).collect();
        let extra = vec![shape.clone(); latent.len()];
        self.add(arguments, shape, &extra, |output, extra| {
            let mut partials = [None; 5];
            for (i, buffer) in latent.iter().zip(extra) {
                partials[*i] = Some(*buffer);
            }
            ScalarDensity {
                kernel,
                arguments: std::array::from_fn(|i| owned.get(i).unwrap_or(&owned[0]).clone()),
                count: owned.len(),
                skip_missing,
                output,
                partials,
            }
        })
    }

    /// The program over `dimension` coordinates; what nothing has read takes no room.
    pub(crate) fn finish(mut self, dimension: usize) -> Program {
        for buffer in self.pending.keys() {
            self.program.buffers[*buffer] = Shape { rows: false, axes: vec![(0, 0)] };
        }
        self.program.dimension = dimension;
        self.program
    }

    /// Adds the sum of a factor to a term.
    pub(crate) fn accumulate(&mut self, input: &Value, term: usize, weights: Option<Arc<Vec<f64>>>, multiplicity: f64) {
        if self.density_term(input, term, weights.as_ref(), multiplicity) {
            return;
        }
        self.settle(input);
        let local = self.is_local(input);
        let operation = Accumulate { input: input.clone(), weights, term, local, multiplicity };
        self.push(Box::new(operation), local);
    }
}

/// The same array with one axis renamed.
pub(crate) fn relabel(value: &Value, from: Label, to: Label) -> Value {
    let mut value = value.clone();
    for axis in &mut value.shape.axes {
        if axis.0 == from {
            axis.0 = to;
        }
    }
    value
}
