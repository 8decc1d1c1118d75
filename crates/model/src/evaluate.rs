//! Values of expressions of data alone, chunk by chunk of rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::data::{Codes, ColumnId, Data, DataError, MISSING_CODE};
use crate::graph::{AxisId, AxisKind, BinaryOperator, Function, Graph, IndexSource, NodeId, NodeKind, Tensor};
use crate::tensor::{aligned_strides, row_major_strides, walk};

/// One operation, its operands as positions of earlier steps.
#[derive(Debug, Clone)]
enum Operation {
    Constant(Arc<Tensor>),
    Columns(Vec<ColumnId>),
    Negate(usize),
    Binary(BinaryOperator, usize, usize),
    /// Contracts position `left_position` of the left operand with `right_position` of the right one.
    Dot {
        left: usize,
        left_position: usize,
        right: usize,
        right_position: usize,
    },
    /// Replaces position `position` of the base by the rows, whose codes select the elements.
    LookUp {
        base: usize,
        position: usize,
        codes: Codes,
    },
    Function(Function, usize),
}

#[derive(Debug, Clone)]
struct Step {
    operation: Operation,
    axes: Vec<AxisId>,
    /// Lengths with all rows; the rows axis is cut to the chunk.
    shape: Vec<usize>,
    /// The value, where it does not depend on the row.
    fixed: Option<Tensor>,
}

/// Expressions of data alone, prepared once and evaluated for any chunk of rows; may be shared between threads.
#[derive(Debug, Clone)]
pub struct DataEvaluator {
    data: Arc<Data>,
    rows: Option<AxisId>,
    steps: Vec<Step>,
    outputs: Vec<usize>,
}

impl Graph {
    /// The value of a data-only node in a chunk of rows, over the node's axes; missing values are NaN. To evaluate several
    /// chunks prepare a [`DataEvaluator`] once.
    ///
    /// # Errors
    /// As [`DataEvaluator::new`].
    pub fn evaluate_data(&self, node: NodeId, rows: Range<usize>) -> Result<Tensor, DataError> {
        let mut out = Vec::new();
        DataEvaluator::new(self, &[node])?.evaluate(rows, &mut out)?;
        out.pop().ok_or_else(|| DataError::NotData { reason: "there is no expression".to_owned() })
    }

    /// The axis of the data rows.
    fn rows_axis(&self) -> Option<AxisId> {
        self.rows.or_else(|| self.axes.iter().position(|axis| axis.kind == AxisKind::Rows).map(AxisId))
    }
}

impl DataEvaluator {
    /// Prepares the nodes: resolves look-ups to positions and computes what does not depend on the row.
    ///
    /// # Errors
    /// [`DataError::NotData`] where a node depends on a variable or a network, [`DataError::NotANumber`] for a text column,
    /// [`DataError::NotOnAxis`] for a look-up of a value that its axis lacks.
    pub fn new(graph: &Graph, nodes: &[NodeId]) -> Result<Self, DataError> {
        let mut evaluator = Self {
            data: Arc::clone(&graph.data),
            rows: graph.rows_axis(),
            steps: Vec::new(),
            outputs: Vec::with_capacity(nodes.len()),
        };
        let mut known = HashMap::new();
        for node in nodes {
            let step = evaluator.prepare(graph, *node, &mut known)?;
            evaluator.outputs.push(step);
        }
        Ok(evaluator)
    }

    /// Writes the value of each node in a chunk of rows into `out`, in the order given to [`DataEvaluator::new`]; the
    /// tensors already in `out` lend their memory.
    ///
    /// # Errors
    /// None once the evaluator is prepared; the data's own are passed on.
    pub fn evaluate(&self, rows: Range<usize>, out: &mut Vec<Tensor>) -> Result<(), DataError> {
        out.resize_with(self.outputs.len(), || Tensor::scalar(0.0));
        let mut values: Vec<Option<Tensor>> = vec![None; self.steps.len()];
        for (output, step) in out.iter_mut().zip(&self.outputs) {
            if self.steps[*step].fixed.is_none() && values[*step].is_none() {
                values[*step] = Some(std::mem::replace(output, Tensor::scalar(0.0)));
            }
        }
        for position in 0..self.steps.len() {
            if self.steps[position].fixed.is_none() {
                let buffer = values[position].take().map(|tensor| tensor.values);
                let value = self.compute(position, &values, rows.clone(), buffer.unwrap_or_default())?;
                values[position] = Some(value);
            }
        }
        for (i, step) in self.outputs.iter().enumerate() {
            let is_last = !self.outputs[i + 1..].contains(step);
            out[i] = match &self.steps[*step].fixed {
                Some(fixed) => fixed.clone(),
                None if is_last => values[*step].take().unwrap_or(Tensor::scalar(f64::NAN)),
                None => values[*step].clone().unwrap_or(Tensor::scalar(f64::NAN)),
            };
        }
        Ok(())
    }

    fn prepare(&mut self, graph: &Graph, id: NodeId, known: &mut HashMap<NodeId, usize>) -> Result<usize, DataError> {
        if let Some(step) = known.get(&id) {
            return Ok(*step);
        }
        let node = graph.node(id);
        let operation = match &node.kind {
            NodeKind::Number(value) => Operation::Constant(Arc::new(Tensor::scalar(*value))),
            NodeKind::Constant(tensor) => Operation::Constant(Arc::clone(tensor)),
            NodeKind::Column(column) => {
                self.data.require_numeric(*column)?;
                Operation::Columns(vec![*column])
            }
            NodeKind::Block(block) => {
                let columns = self.data.block(*block).columns.clone();
                for column in &columns {
                    self.data.require_numeric(*column)?;
                }
                Operation::Columns(columns)
            }
            NodeKind::Negate(a) => Operation::Negate(self.prepare(graph, *a, known)?),
            NodeKind::Function(function, a) => Operation::Function(*function, self.prepare(graph, *a, known)?),
            NodeKind::Binary(operator, a, b) => {
                let a = self.prepare(graph, *a, known)?;
                Operation::Binary(*operator, a, self.prepare(graph, *b, known)?)
            }
            NodeKind::Dot { left, right, left_axis, right_axis } => {
                if Some(*left_axis) == self.rows {
                    return Err(not_data("it sums over the rows"));
                }
                let left = self.prepare(graph, *left, known)?;
                let right = self.prepare(graph, *right, known)?;
                let missing = || not_data("an operand of `dot` lacks the contracted axis");
                // A matrix over one dimension contracts its columns on the left and its rows on the right.
                let left_position = (self.steps[left].axes.iter()).rposition(|a| a == left_axis).ok_or_else(missing)?;
                let right_position =
                    (self.steps[right].axes.iter()).position(|a| a == right_axis).ok_or_else(missing)?;
                Operation::Dot { left, left_position, right, right_position }
            }
            NodeKind::Index { base, position, index: IndexSource::Column(column) } => {
                let base = self.prepare(graph, *base, known)?;
                let axis = self.steps[base]
                    .axes
                    .get(*position)
                    .filter(|axis| Some(**axis) != self.rows)
                    .ok_or_else(|| not_data("it looks up the rows themselves"))?;
                Operation::LookUp { base, position: *position, codes: self.data.codes(*column, graph.axis(*axis))? }
            }
            NodeKind::Index { index: IndexSource::Gate(_), .. } => return Err(not_data("it is gated by a variable")),
            NodeKind::Variable(variable) => {
                let name = &graph.variable(*variable).name;
                return Err(not_data(&format!("it depends on the variable `{name}`")));
            }
            NodeKind::Network { network, .. } => {
                let name = &graph.networks[network.0].name;
                return Err(not_data(&format!("it applies the network `{name}`")));
            }
        };
        let axes = node.axes.clone();
        let shape = match &operation {
            Operation::Constant(tensor) => aligned_strides(&tensor.axes, &tensor.shape, &axes).ok_or_else(unaligned)?,
            _ => axes.iter().map(|axis| graph.axis(*axis).size).collect(),
        };
        let depends_on_row = self.rows.is_some_and(|rows| axes.contains(&rows));
        let position = self.steps.len();
        self.steps.push(Step { operation, axes, shape, fixed: None });
        if !depends_on_row {
            let fixed = self.compute(position, &[], 0..0, Vec::new())?;
            self.steps[position].fixed = Some(fixed);
        }
        known.insert(id, position);
        Ok(position)
    }

    /// The value of an earlier step.
    fn operand<'a>(&'a self, step: usize, values: &'a [Option<Tensor>]) -> Result<&'a Tensor, DataError> {
        (self.steps[step].fixed.as_ref())
            .or_else(|| values.get(step).and_then(Option::as_ref))
            .ok_or_else(|| not_data("an operand has rows where the result has none"))
    }

    fn compute(
        &self,
        position: usize,
        values: &[Option<Tensor>],
        rows: Range<usize>,
        mut buffer: Vec<f64>,
    ) -> Result<Tensor, DataError> {
        let step = &self.steps[position];
        let shape: Vec<usize> = step
            .axes
            .iter()
            .zip(&step.shape)
            .map(|(axis, size)| match self.rows {
                Some(rows_axis) if *axis == rows_axis => rows.len(),
                _ => *size,
            })
            .collect();
        buffer.clear();
        match &step.operation {
            Operation::Constant(tensor) => {
                let strides = tensor.strides_along(&step.axes).ok_or_else(unaligned)?;
                let first: usize = step
                    .axes
                    .iter()
                    .zip(&strides)
                    .filter(|(axis, _)| Some(**axis) == self.rows)
                    .map(|(_, stride)| stride * rows.start)
                    .sum();
                walk(&shape, [&strides], |[start], length, [stride]| {
                    buffer.extend((0..length).map(|i| tensor.values[first + start + i * stride]));
                });
            }
            Operation::Columns(columns) => {
                buffer.resize(rows.len() * columns.len(), 0.0);
                self.data.read(columns, rows, &mut buffer)?;
            }
            Operation::Negate(a) => {
                let a = self.operand(*a, values)?;
                map(a, &step.axes, &shape, &mut buffer, |x| -x)?;
            }
            Operation::Function(function, a) => {
                let a = self.operand(*a, values)?;
                let out = &mut buffer;
                match function {
                    Function::Exp => map(a, &step.axes, &shape, out, f64::exp)?,
                    Function::Log => map(a, &step.axes, &shape, out, f64::ln)?,
                    Function::Sqrt => map(a, &step.axes, &shape, out, f64::sqrt)?,
                    Function::Square => map(a, &step.axes, &shape, out, |x| x * x)?,
                    Function::Logistic => map(a, &step.axes, &shape, out, logistic)?,
                    Function::Softplus => map(a, &step.axes, &shape, out, softplus)?,
                }
            }
            Operation::Binary(operator, a, b) => {
                let a = self.operand(*a, values)?;
                let b = self.operand(*b, values)?;
                let out = &mut buffer;
                match operator {
                    BinaryOperator::Add => zip(a, b, &step.axes, &shape, out, |x, y| x + y)?,
                    BinaryOperator::Subtract => zip(a, b, &step.axes, &shape, out, |x, y| x - y)?,
                    BinaryOperator::Multiply => zip(a, b, &step.axes, &shape, out, |x, y| x * y)?,
                    BinaryOperator::Divide => zip(a, b, &step.axes, &shape, out, |x, y| x / y)?,
                }
            }
            Operation::Dot { left, left_position, right, right_position } => {
                let left = self.operand(*left, values)?;
                let right = self.operand(*right, values)?;
                let (left_strides, left_step) = without(left, *left_position, &step.axes)?;
                let (right_strides, right_step) = without(right, *right_position, &step.axes)?;
                let terms = left.shape[*left_position];
                if terms != right.shape[*right_position] {
                    return Err(not_data("the operands of `dot` differ in length"));
                }
                walk(&shape, [&left_strides, &right_strides], |[l, r], length, [ls, rs]| {
                    buffer.extend((0..length).map(|i| {
                        let (l, r) = (l + i * ls, r + i * rs);
                        (0..terms)
                            .map(|k| left.values[l + k * left_step] * right.values[r + k * right_step])
                            .sum::<f64>()
                    }));
                });
            }
            Operation::LookUp { base, position, codes } => {
                let base = self.operand(*base, values)?;
                let (strides, code_step) = without(base, *position, &step.axes)?;
                let row_step: Vec<usize> = step.axes.iter().map(|axis| usize::from(Some(*axis) == self.rows)).collect();
                let codes = codes.rows(rows);
                walk(&shape, [&strides, &row_step], |[start, row], length, [stride, row_stride]| {
                    buffer.extend((0..length).map(|i| match codes[row + i * row_stride] {
                        MISSING_CODE => f64::NAN,
                        code => base.values[start + i * stride + code as usize * code_step],
                    }));
                });
            }
        }
        Ok(Tensor { axes: step.axes.clone(), shape, values: buffer })
    }
}

fn not_data(reason: &str) -> DataError {
    DataError::NotData { reason: reason.to_owned() }
}

fn unaligned() -> DataError {
    not_data("an operand has an axis that the result lacks")
}

/// Strides along `axes` of an array's axes but one, and the stride along that one.
fn without(tensor: &Tensor, position: usize, axes: &[AxisId]) -> Result<(Vec<usize>, usize), DataError> {
    let mut own = tensor.axes.clone();
    let mut strides = row_major_strides(&tensor.shape);
    own.remove(position);
    let stride = strides.remove(position);
    let aligned = aligned_strides(&own, &strides, axes).ok_or_else(unaligned)?;
    Ok((aligned, stride))
}

/// Appends f(a), row-major over `axes`.
fn map(
    a: &Tensor,
    axes: &[AxisId],
    shape: &[usize],
    out: &mut Vec<f64>,
    f: impl Fn(f64) -> f64,
) -> Result<(), DataError> {
    let strides = a.strides_along(axes).ok_or_else(unaligned)?;
    walk(shape, [&strides], |[start], length, [stride]| {
        if stride == 1 {
            out.extend(a.values[start..start + length].iter().map(|x| f(*x)));
        } else {
            out.extend((0..length).map(|i| f(a.values[start + i * stride])));
        }
    });
    Ok(())
}

/// Appends f(a, b), row-major over `axes`.
fn zip(
    a: &Tensor,
    b: &Tensor,
    axes: &[AxisId],
    shape: &[usize],
    out: &mut Vec<f64>,
    f: impl Fn(f64, f64) -> f64,
) -> Result<(), DataError> {
    let a_strides = a.strides_along(axes).ok_or_else(unaligned)?;
    let b_strides = b.strides_along(axes).ok_or_else(unaligned)?;
    walk(shape, [&a_strides, &b_strides], |[i, j], length, strides| match strides {
        [1, 1] => {
            let pairs = (a.values[i..i + length].iter()).zip(&b.values[j..j + length]);
            out.extend(pairs.map(|(x, y)| f(*x, *y)));
        }
        [1, 0] => {
            let y = b.values[j];
            out.extend(a.values[i..i + length].iter().map(|x| f(*x, y)));
        }
        [0, 1] => {
            let x = a.values[i];
            out.extend(b.values[j..j + length].iter().map(|y| f(x, *y)));
        }
        [ia, jb] => {
            out.extend((0..length).map(|k| f(a.values[i + k * ia], b.values[j + k * jb])));
        }
    });
    Ok(())
}

/// 1/(1 + e⁻ˣ)
fn logistic(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// log(1 + eˣ)
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BlockId;
    use crate::diagnostic::SourceText;
    use crate::graph::{Axis, Node};
    use crate::inference::Inference;

    const ROWS: AxisId = AxisId(0);
    const FEATURE: AxisId = AxisId(1);
    const GROUP: AxisId = AxisId(2);

    /// Rows of columns u, v (block `x`) and `group`, with room for nodes.
    fn graph() -> Graph {
        let text = "u,v,group\n1,2,b\n3,4,a\n5,NA,b\n7,8,c\n9,10,NA\n";
        let mut data = Data::from_delimited(text.as_bytes(), b',', "t.csv").unwrap();
        data.add_block("x", vec![ColumnId(0), ColumnId(1)]);
        let axis = |name: &str, size, kind| Axis { name: name.to_owned(), size, kind };
        let levels = data.levels(ColumnId(2));
        Graph {
            title: None,
            description: None,
            source: SourceText::default(),
            axes: vec![
                axis("row", 5, AxisKind::Rows),
                axis("x", 2, AxisKind::Block(BlockId(0))),
                axis("group", 3, AxisKind::Levels { column: ColumnId(2), levels }),
            ],
            rows: Some(ROWS),
            data: Arc::new(data),
            counts: None,
            nodes: Vec::new(),
            variables: Vec::new(),
            expressions: Vec::new(),
            networks: Vec::new(),
            inference: Inference::default(),
        }
    }

    fn add(graph: &mut Graph, kind: NodeKind, axes: &[AxisId]) -> NodeId {
        graph.nodes.push(Node { kind, axes: axes.to_vec(), span: 0..0 });
        NodeId(graph.nodes.len() - 1)
    }

    fn constant(graph: &mut Graph, axes: &[AxisId], values: &[f64]) -> NodeId {
        let shape = axes.iter().map(|a| graph.axis(*a).size).collect();
        let tensor = Tensor { axes: axes.to_vec(), shape, values: values.to_vec() };
        add(graph, NodeKind::Constant(Arc::new(tensor)), axes)
    }

    fn same(found: &[f64], expected: &[f64]) -> bool {
        found.len() == expected.len() && (found.iter().zip(expected)).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    }

    #[test]
    fn arithmetic_is_aligned_by_name() {
        let mut g = graph();
        let u = add(&mut g, NodeKind::Column(ColumnId(0)), &[ROWS]);
        let x = add(&mut g, NodeKind::Block(BlockId(0)), &[ROWS, FEATURE]);
        let shift = constant(&mut g, &[FEATURE], &[10.0, 20.0]);
        let sum = add(&mut g, NodeKind::Binary(BinaryOperator::Add, shift, x), &[FEATURE, ROWS]);
        let ratio = add(&mut g, NodeKind::Binary(BinaryOperator::Divide, x, u), &[ROWS, FEATURE]);
        let value = g.evaluate_data(sum, 1..3).unwrap();
        assert_eq!(value.shape, [2, 2]);
        // Feature outermost: u + 10 of rows 1 and 2, then v + 20.
        assert!(same(&value.values, &[13.0, 15.0, 24.0, f64::NAN]));
        let value = g.evaluate_data(ratio, 0..2).unwrap();
        assert!(same(&value.values, &[1.0, 2.0, 1.0, 4.0 / 3.0]));
    }

    #[test]
    fn dot_and_look_up() {
        let mut g = graph();
        let x = add(&mut g, NodeKind::Block(BlockId(0)), &[ROWS, FEATURE]);
        let weights = constant(&mut g, &[GROUP, FEATURE], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let all = add(
            &mut g,
            NodeKind::Dot { left: weights, right: x, left_axis: FEATURE, right_axis: FEATURE },
            &[ROWS, GROUP],
        );
        let value = g.evaluate_data(all, 0..2).unwrap();
        // Row 0: (1, 2), row 1: (3, 4), against (1, 2), (3, 4), (5, 6).
        assert_eq!(value.values, [5.0, 11.0, 17.0, 11.0, 25.0, 39.0]);
        let picked = add(
            &mut g,
            NodeKind::Index { base: weights, position: 0, index: IndexSource::Column(ColumnId(2)) },
            &[ROWS, FEATURE],
        );
        let value = g.evaluate_data(picked, 1..5).unwrap();
        let nan = f64::NAN;
        // Levels in order of first appearance: b, a, c.
        assert!(same(&value.values, &[3.0, 4.0, 1.0, 2.0, 5.0, 6.0, nan, nan]));
        let aligned =
            add(&mut g, NodeKind::Dot { left: picked, right: x, left_axis: FEATURE, right_axis: FEATURE }, &[ROWS]);
        let value = g.evaluate_data(aligned, 0..4).unwrap();
        assert!(same(&value.values, &[5.0, 25.0, nan, 83.0]));
    }

    #[test]
    fn matrices_over_one_axis_and_row_constants() {
        let mut g = graph();
        let x = add(&mut g, NodeKind::Block(BlockId(0)), &[ROWS, FEATURE]);
        let matrix = constant(&mut g, &[FEATURE, FEATURE], &[1.0, 2.0, 3.0, 4.0]);
        let product = add(
            &mut g,
            NodeKind::Dot { left: matrix, right: x, left_axis: FEATURE, right_axis: FEATURE },
            &[ROWS, FEATURE],
        );
        let value = g.evaluate_data(product, 1..2).unwrap();
        assert_eq!(value.values, [11.0, 25.0]);
        let twice = add(&mut g, NodeKind::Binary(BinaryOperator::Multiply, matrix, matrix), &[FEATURE, FEATURE]);
        let value = g.evaluate_data(twice, 0..5).unwrap();
        assert_eq!(value.values, [1.0, 4.0, 9.0, 16.0]);
        let along_rows = constant(&mut g, &[ROWS], &[0.0, 1.0, 2.0, 3.0, 4.0]);
        let value = g.evaluate_data(along_rows, 2..4).unwrap();
        assert_eq!((value.shape, value.values), (vec![2], vec![2.0, 3.0]));
    }

    #[test]
    fn one_evaluator_serves_many_chunks() {
        let mut g = graph();
        let u = add(&mut g, NodeKind::Column(ColumnId(0)), &[ROWS]);
        let square = add(&mut g, NodeKind::Function(Function::Square, u), &[ROWS]);
        let half = add(&mut g, NodeKind::Number(0.5), &[]);
        let logistic = add(&mut g, NodeKind::Function(Function::Logistic, half), &[]);
        let evaluator = DataEvaluator::new(&g, &[u, square, logistic, u]).unwrap();
        let mut out = Vec::new();
        for rows in [0..3, 3..5, 4..4] {
            evaluator.evaluate(rows.clone(), &mut out).unwrap();
            let expected: Vec<f64> = rows.map(|r| 2.0 * r as f64 + 1.0).collect();
            assert_eq!(out[0].values, expected);
            assert_eq!(out[3], out[0]);
            let squares: Vec<f64> = expected.iter().map(|x| x * x).collect();
            assert_eq!(out[1].values, squares);
            assert!((out[2].values[0] - 0.622_459_331_201_854_6).abs() < 1e-15);
        }
    }

    #[test]
    fn text_columns_and_variables_are_refused() {
        let mut g = graph();
        let text = add(&mut g, NodeKind::Column(ColumnId(2)), &[ROWS]);
        let error = g.evaluate_data(text, 0..1).unwrap_err();
        assert!(
            matches!(&error, DataError::NotANumber { column, cell, .. } if column == "group" && cell == "b"),
            "{error}"
        );
    }
}
