//! Expression nodes as operations: arithmetic by label, contractions, look-ups, gates.

use std::sync::Arc;

use vi_model::data::{ColumnId, DataError};
use vi_model::graph::{AxisId, Function, IndexSource, NodeId, NodeKind, VariableId};

use super::builder::relabel;
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{Label, Shape, UnaryFunction, Value};

impl Lowering<'_> {
    /// The label of an axis at a position of a node's axes.
    fn label_at(&mut self, axes: &[AxisId], position: usize) -> Label {
        let occurrence = axes[..position].iter().filter(|a| **a == axes[position]).count();
        self.b.label(axes[position], occurrence)
    }

    /// The value of a node, or another view of it.
    pub(super) fn node(&mut self, id: NodeId, view: View) -> Result<Value, SgviError> {
        if let Some(known) = self.nodes.get(&(id, view)) {
            return Ok(known.clone());
        }
        let value = self.compute(id, view)?;
        self.nodes.insert((id, view), value.clone());
        Ok(value)
    }

    fn compute(&mut self, id: NodeId, view: View) -> Result<Value, SgviError> {
        let graph = self.graph;
        if view == View::Plain && graph.is_data(id) {
            let tensor = graph.evaluate_data(id, 0..self.b.program.num_rows)?;
            return Ok(self.tensor(&tensor));
        }
        match &graph.node(id).kind {
            NodeKind::Variable(v) => self.variable(*v, view),
            NodeKind::Index { base, position, index } => {
                let axes = graph.node(*base).axes.clone();
                let label = self.label_at(&axes, *position);
                let over_rows = matches!(index, IndexSource::Gate(_)) && Some(axes[*position]) == graph.rows;
                let value = if over_rows { self.across_rows(*base, view)? } else { self.node(*base, view)? };
                let replaced = self.index(value, &axes, *position, label, index)?;
                let replaced = self.looked_up(replaced, axes[*position], index)?;
                Ok(self.renumber(replaced, axes[*position]))
            }
            NodeKind::Network { .. } if view == View::Plain && self.ports.is_some() => self.network_port(id),
            kind => match view {
                View::Plain => self.operation(kind),
                View::Log => {
                    let value = self.node(id, View::Plain)?;
                    Ok(self.b.unary(UnaryFunction::Log, &value))
                }
                View::Precision | View::LogDeterminant => {
                    let value = self.node(id, View::Plain)?;
                    let size = value.shape.axes.last().map_or(1, |a| a.1);
                    Ok(if view == View::Precision { value } else { self.b.log_determinant(&value, size) })
                }
            },
        }
    }

    /// Data whose rows are an axis like any other: what a variable that ranges over the rows selects from.
    pub(super) fn across_rows(&mut self, id: NodeId, view: View) -> Result<Value, SgviError> {
        let graph = self.graph;
        let node = graph.node(id);
        if !graph.is_data(id) {
            return Err(SgviError::Unsupported {
                variable: graph.source.text.get(node.span.clone()).unwrap_or("this").to_owned(),
                reason:
                    "it differs from row to row and is latent, and a gate over the rows would tie all rows together"
                        .to_owned(),
                help: "let the gate select among the rows of data, or give what it selects from a plate of its own"
                    .to_owned(),
                span: node.span.clone(),
            });
        }
        let tensor = graph.evaluate_data(id, 0..self.b.program.num_rows)?;
        let axes = (0..tensor.axes.len()).map(|i| (self.label_at(&tensor.axes, i), tensor.shape[i])).collect();
        let value = self.b.data(Shape { rows: false, axes }, tensor.values);
        Ok(if view == View::Log { self.b.unary(UnaryFunction::Log, &value) } else { value })
    }

    /// Values of discrete variables in what a column has looked up: they are those of the rows' elements.
    fn looked_up(&mut self, mut value: Value, axis: AxisId, index: &IndexSource) -> Result<Value, SgviError> {
        let IndexSource::Column(column) = index else { return Ok(value) };
        for e in self.enumerated.clone() {
            let own = self.own_plates(e.variable).contains(&axis);
            if own && value.shape.has(e.label.0) {
                let to = self.enumeration_label(e.variable, Some(*column))?;
                value = relabel(&value, e.label.0, to);
            }
        }
        Ok(value)
    }

    fn operation(&mut self, kind: &NodeKind) -> Result<Value, SgviError> {
        Ok(match kind {
            NodeKind::Negate(a) => {
                let a = self.node(*a, View::Plain)?;
                self.b.unary(UnaryFunction::Negate, &a)
            }
            NodeKind::Binary(operator, a, b) => {
                let (a, b) = (self.node(*a, View::Plain)?, self.node(*b, View::Plain)?);
                self.b.binary(*operator, &a, &b)
            }
            NodeKind::Function(function, a) => {
                let view = if *function == Function::Log { View::Log } else { View::Plain };
                let a = self.node(*a, view)?;
                match function {
                    Function::Log => a,
                    Function::Exp => self.b.unary(UnaryFunction::Exp, &a),
                    Function::Sqrt => self.b.unary(UnaryFunction::Sqrt, &a),
                    Function::Square => self.b.unary(UnaryFunction::Square, &a),
                    Function::Logistic => self.b.unary(UnaryFunction::Logistic, &a),
                    Function::Softplus => self.b.unary(UnaryFunction::Softplus, &a),
                }
            }
            NodeKind::Dot { left, right, left_axis, right_axis } => {
                let contracted = self.b.fresh_label();
                let mut sides = [left, right].into_iter().zip([left_axis, right_axis]).map(|(node, axis)| {
                    let value = self.node(*node, View::Plain)?;
                    let axes = self.graph.node(*node).axes.clone();
                    let Some(position) = axes.iter().rposition(|a| a == axis) else { return Ok(value) };
                    let label = self.label_at(&axes, position);
                    Ok::<_, SgviError>(relabel(&value, label, contracted))
                });
                let (a, b) = (sides.next(), sides.next());
                drop(sides);
                match (a, b) {
                    (Some(a), Some(b)) => {
                        let size = self.graph.axis(*left_axis).size;
                        self.b.dot(&a?, &b?, (contracted, size))
                    }
                    _ => self.b.constant(0.0),
                }
            }
            NodeKind::Network { network, .. } => {
                let network = &self.graph.networks[network.0];
                return Err(SgviError::Unsupported {
                    variable: network.name.clone(),
                    reason: "a network of variables without an amortised factor is not compiled".to_owned(),
                    help: "give the network's latent input `amortized = \"encoder(…)\"`".to_owned(),
                    span: network.span.clone(),
                });
            }
            NodeKind::Number(x) => self.b.constant(*x),
            NodeKind::Constant(tensor) => self.tensor(tensor),
            // Columns and blocks are data, variables and indices are handled by the caller.
            _ => self.b.constant(f64::NAN),
        })
    }

    /// After one appearance of an axis was replaced, a second one becomes the first.
    fn renumber(&mut self, value: Value, axis: AxisId) -> Value {
        let (first, second) = (self.b.label(axis, 0), self.b.label(axis, 1));
        if value.shape.has(second) && !value.shape.has(first) { relabel(&value, second, first) } else { value }
    }

    pub(super) fn codes(&self, column: ColumnId, axis: AxisId) -> Result<Arc<Vec<u32>>, SgviError> {
        let codes = self.graph.data.codes(column, self.graph.axis(axis))?;
        if let Some(row) = codes.first_missing() {
            let name = self.graph.data.column(column).name.clone();
            return Err(DataError::NotData {
                reason: format!(
                    "column `{name}` is missing in data row {}, where it selects elements of `{}`",
                    row + 1,
                    self.graph.axis(axis).name
                ),
            }
            .into());
        }
        Ok(Arc::new(self.in_order(codes.all(), 1)))
    }

    fn index(
        &mut self,
        base: Value,
        axes: &[AxisId],
        position: usize,
        label: Label,
        index: &IndexSource,
    ) -> Result<Value, SgviError> {
        if !base.shape.has(label) {
            return Ok(base);
        }
        match index {
            IndexSource::Column(column) => {
                let codes = self.codes(*column, axes[position])?;
                if self.ports.is_some() {
                    // Codes as data: rows then come in any order.
                    let numbers = codes.iter().map(|&code| f64::from(code)).collect();
                    let codes = self.b.data(Shape { rows: true, axes: Vec::new() }, numbers);
                    return Ok(self.b.select(&base, label, &codes));
                }
                Ok(self.b.gather(&base, label, codes))
            }
            IndexSource::Gate(gate) => {
                let (variable, look_up) = self.gate(*gate)?;
                if let Some(e) = self.enumerated.iter().find(|e| e.variable == variable).cloned()
                    && let Some(value) = self.averaged_gate(&base, label, &e, look_up)?
                {
                    return Ok(value);
                }
                if self.enumerated.iter().any(|e| e.variable == variable && e.joined.is_empty()) {
                    let to = self.enumeration_label(variable, look_up)?;
                    return Ok(relabel(&base, label, to));
                }
                let mut codes = self.variable(variable, View::Plain)?;
                if let Some(column) = look_up {
                    let plates = &self.graph.variable(variable).plates;
                    let [plate] = plates[..] else { return Err(self.looked_up_plates(variable)) };
                    let positions = self.codes(column, plate)?;
                    let plate = self.b.label(plate, 0);
                    codes = self.b.gather(&codes, plate, positions);
                }
                Ok(self.b.select(&base, label, &codes))
            }
        }
    }

    /// The variable behind a gate, and the column by which it is looked up.
    fn gate(&self, id: NodeId) -> Result<(VariableId, Option<ColumnId>), SgviError> {
        let node = self.graph.node(id);
        match &node.kind {
            NodeKind::Variable(v) => return Ok((*v, None)),
            NodeKind::Index { base, index: IndexSource::Column(column), .. } => {
                if let NodeKind::Variable(v) = self.graph.node(*base).kind {
                    return Ok((v, Some(*column)));
                }
            }
            _ => {}
        }
        Err(SgviError::Unsupported {
            variable: self.graph.source.text.get(node.span.clone()).unwrap_or("gate").to_owned(),
            reason: "a gate must be a categorical variable, possibly looked up by one data column".to_owned(),
            help: "write a[z] or a[z[column]]".to_owned(),
            span: node.span.clone(),
        })
    }

    /// A variable's value or another view of it.
    fn variable(&mut self, v: VariableId, view: View) -> Result<Value, SgviError> {
        if let Some(known) = self.variables.get(&(v, view)) {
            return Ok(known.clone());
        }
        let Some(plain) = self.variables.get(&(v, View::Plain)).cloned() else {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "its value is not available here",
                "use it by a gate, or observe it",
            ));
        };
        let value = match view {
            View::Plain | View::Precision => plain,
            View::Log => self.b.unary(UnaryFunction::Log, &plain),
            View::LogDeterminant => {
                let size = plain.shape.axes.last().map_or(1, |a| a.1);
                self.b.log_determinant(&plain, size)
            }
        };
        self.variables.insert((v, view), value.clone());
        Ok(value)
    }

    /// The precision of the joint variable in `parameters`.
    pub(super) fn joint_precision(&mut self, v: VariableId, parameters: NodeId) -> Result<Value, SgviError> {
        let pair = self.graph.joint_part(parameters).unwrap_or(parameters);
        self.parameter(v, pair, View::Precision)
    }

    /// A parameter of a variable: axes that only the parameter has by another name are renamed to the variable's, and an
    /// axis that the variable has twice is its last one, where the parameter is an array or a vector over it.
    pub(super) fn parameter(&mut self, v: VariableId, node: NodeId, view: View) -> Result<Value, SgviError> {
        let mut value = self.node(node, view)?;
        let own = self.graph.value_axes(v);
        for axis in self.graph.node(node).axes.clone() {
            let times = |axes: &[AxisId]| axes.iter().filter(|a| **a == axis).count();
            let vector = |u: &VariableId| {
                let u = self.graph.variable(*u);
                u.dimension == Some(axis) && !u.plates.contains(&axis)
            };
            let last = self.graph.is_data(node) || self.graph.variables_of(node).iter().any(vector);
            if times(&own) == 2 && times(&self.graph.node(node).axes) == 1 && last {
                let (first, second) = (self.b.label(axis, 0), self.b.label(axis, 1));
                value = relabel(&value, first, second);
            }
        }
        let Some(dimension) = self.graph.variable(v).dimension else { return Ok(value) };
        for &(label, size) in &value.shape.axes.clone() {
            let Some((axis, occurrence)) = self.b.axis_of(label) else { continue };
            if !own.contains(&axis)
                && self.graph.axis(axis).kind == vi_model::graph::AxisKind::Anonymous
                && size == self.graph.axis(dimension).size
            {
                let to = self.b.label(dimension, occurrence);
                value = relabel(&value, label, to);
            }
        }
        Ok(value)
    }
}
