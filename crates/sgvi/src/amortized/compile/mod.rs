//! From the graph of a model with amortised variables to its row program.

mod describe;
mod global;
mod latent;
mod observed;
mod spread;

use super::program::{Binary, DataNode, Level, Operation, Program, Slot, SlotId, Unary};
use crate::error::SgviError;
use crate::lower::{gates_within, is_known, network_axes};
use crate::network::layer::Layer;
use std::collections::HashMap;
use vi_model::graph::{
    AxisId, BinaryOperator, Function, Graph, IndexSource, NodeId, NodeKind, Observation, VariableId,
};

/// A compiled expression: where its value lies and which axes it has besides the rows.
#[derive(Debug, Clone, PartialEq)]
struct Value {
    slot: SlotId,
    axes: Vec<AxisId>,
}

/// A network whose widths are known from its first use.
struct Built {
    input: usize,
    output: usize,
    /// Its layers' places in [`Program::layers`].
    layers: std::ops::Range<usize>,
}

struct Compiler<'a> {
    graph: &'a Graph,
    program: Program,
    values: HashMap<NodeId, Value>,
    sources: Vec<(NodeKind, Vec<AxisId>, Value)>,
    variables: HashMap<VariableId, Value>,
    /// Draws of amortised variables on the whole line.
    draws: HashMap<VariableId, SlotId>,
    networks: HashMap<usize, Built>,
    in_progress: Vec<VariableId>,
}

/// Whether the graph has a variable whose factor is amortised.
#[must_use]
pub(crate) fn is_amortized(graph: &Graph) -> bool {
    graph.variables.iter().any(|variable| variable.amortized.is_some())
}

/// Compiles a model in which every latent variable of the rows' plate is amortised.
///
/// # Errors
/// [`SgviError::Unsupported`] names the variable, expression or network that has no place in such a model.
pub(crate) fn compile(graph: &Graph) -> Result<Program, SgviError> {
    let mut compiler = Compiler {
        graph,
        program: Program::default(),
        values: HashMap::new(),
        sources: Vec::new(),
        variables: HashMap::new(),
        draws: HashMap::new(),
        networks: HashMap::new(),
        in_progress: Vec::new(),
    };
    for id in (0..graph.variables.len()).map(VariableId) {
        if compiler.has_plain_likelihood(id) {
            compiler.observed(id)?;
        } else if graph.variable(id).amortized.is_some() {
            compiler.variable(id)?;
        }
    }
    compiler.joint()?;
    compiler.spreads();
    compiler.program.finish();
    Ok(compiler.program)
}

impl Compiler<'_> {
    fn slot(&mut self, level: Level, width: usize) -> SlotId {
        self.program.slots.push(Slot { level, width, differentiable: false, exclusive: false });
        self.program.slots.len() - 1
    }

    fn level(&self, slot: SlotId) -> Level {
        self.program.slots[slot].level
    }

    fn width(&self, slot: SlotId) -> usize {
        self.program.slots[slot].width
    }

    fn size(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|&axis| self.graph.axis(axis).size).product()
    }

    fn without_rows(&self, axes: &[AxisId]) -> Vec<AxisId> {
        axes.iter().copied().filter(|&axis| Some(axis) != self.graph.rows).collect()
    }

    fn refuse<T>(&self, node: NodeId, reason: &str, help: &str) -> Result<T, SgviError> {
        let span = self.graph.node(node).span.clone();
        let text = self.graph.source.text.get(span.clone()).unwrap_or("expression").to_owned();
        Err(SgviError::Unsupported { variable: text, reason: reason.to_owned(), help: help.to_owned(), span })
    }

    fn refuse_variable<T>(&self, id: VariableId, reason: &str, help: &str) -> Result<T, SgviError> {
        Err(SgviError::unsupported(self.graph, id, reason, help))
    }

    /// The value of an expression.
    fn value(&mut self, id: NodeId) -> Result<Value, SgviError> {
        if let Some(value) = self.values.get(&id) {
            return Ok(value.clone());
        }
        let value = if self.graph.is_data(id) { self.data(id)? } else { self.computed(id)? };
        self.values.insert(id, value.clone());
        Ok(value)
    }

    fn constant(&mut self, values: Vec<f32>, axes: Vec<AxisId>) -> Value {
        let slot = self.slot(Level::Global, values.len());
        self.program.operations.push(Operation::Constant { values, output: slot });
        Value { slot, axes }
    }

    /// An expression of data alone: a constant, or a source of rows.
    fn data(&mut self, id: NodeId) -> Result<Value, SgviError> {
        let node = self.graph.node(id);
        let has_rows = self.graph.rows.is_some_and(|rows| node.axes.contains(&rows));
        let axes = self.without_rows(&node.axes);
        if !has_rows {
            let tensor = self.graph.evaluate_data(id, 0..0)?;
            let values = tensor.values.iter().map(|&x| x as f32).collect();
            return Ok(self.constant(values, axes));
        }
        // The same column or block is one source however often it is written.
        if let Some((.., value)) = self.sources.iter().find(|(kind, known, _)| *kind == node.kind && *known == axes) {
            return Ok(value.clone());
        }
        let value = self.source(DataNode::Expression(id, axes.clone()), self.size(&axes), axes.clone());
        if matches!(node.kind, NodeKind::Column(_) | NodeKind::Block(_)) {
            self.sources.push((node.kind.clone(), axes, value.clone()));
        }
        Ok(value)
    }

    fn source(&mut self, node: DataNode, width: usize, axes: Vec<AxisId>) -> Value {
        let slot = self.slot(Level::Row, width);
        self.program.sources.push(node);
        let source = self.program.sources.len() - 1;
        self.program.operations.push(Operation::Data { source, output: slot });
        Value { slot, axes }
    }

    fn computed(&mut self, id: NodeId) -> Result<Value, SgviError> {
        let node = self.graph.node(id).clone();
        match node.kind {
            NodeKind::Variable(variable) => self.variable(variable),
            NodeKind::Negate(a) => {
                let a = self.value(a)?;
                Ok(self.unary(Unary::Affine { scale: -1.0, shift: 0.0 }, a))
            }
            NodeKind::Binary(operator, a, b) => self.binary(operator, a, b),
            NodeKind::Function(function, a) => {
                let a = self.value(a)?;
                let function = match function {
                    Function::Exp => Unary::Exp,
                    Function::Log => Unary::Log,
                    Function::Sqrt => Unary::Sqrt,
                    Function::Square => Unary::Square,
                    Function::Logistic => Unary::Logistic,
                    Function::Softplus => Unary::Softplus,
                };
                Ok(self.unary(function, a))
            }
            NodeKind::Dot { left, right, left_axis, right_axis } => self.dot(left, right, left_axis, right_axis),
            NodeKind::Index { base, position, index: IndexSource::Column(column) } => {
                let axis = self.graph.node(base).axes[position];
                let codes = self.source(DataNode::Codes(column, axis), 1, Vec::new());
                self.look_up(base, axis, codes.slot)
            }
            NodeKind::Index { base, position, index: IndexSource::Gate(gate) } => self.gate(base, position, gate),
            NodeKind::Network { network, arguments, consumed, output } => {
                let width = output.map_or(1, |axis| self.graph.axis(axis).size);
                let mut value = self.network(id, network.0, &arguments, &consumed, width)?;
                value.axes.extend(output);
                Ok(value)
            }
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => self.data(id),
        }
    }

    fn unary(&mut self, function: Unary, a: Value) -> Value {
        let slot = self.slot(self.level(a.slot), self.width(a.slot));
        self.program.operations.push(Operation::Unary { function, input: a.slot, output: slot });
        Value { slot, axes: a.axes }
    }

    fn number(&self, id: NodeId) -> Option<f32> {
        match self.graph.node(id).kind {
            NodeKind::Number(value) => Some(value as f32),
            _ => None,
        }
    }

    fn binary(&mut self, operator: BinaryOperator, a: NodeId, b: NodeId) -> Result<Value, SgviError> {
        // One operand a number: no broadcasting is needed.
        if let Some(c) = self.number(b) {
            let a = self.value(a)?;
            let (scale, shift) = match operator {
                BinaryOperator::Add => (1.0, c),
                BinaryOperator::Subtract => (1.0, -c),
                BinaryOperator::Multiply => (c, 0.0),
                BinaryOperator::Divide => (1.0 / c, 0.0),
            };
            return Ok(self.unary(Unary::Affine { scale, shift }, a));
        }
        if let Some(c) = self.number(a) {
            let b = self.value(b)?;
            let (b, scale, shift) = match operator {
                BinaryOperator::Add => (b, 1.0, c),
                BinaryOperator::Subtract => (b, -1.0, c),
                BinaryOperator::Multiply => (b, c, 0.0),
                BinaryOperator::Divide => (self.unary(Unary::Reciprocal, b), c, 0.0),
            };
            return Ok(self.unary(Unary::Affine { scale, shift }, b));
        }
        let (a, b) = (self.value(a)?, self.value(b)?);
        let mut axes = a.axes.clone();
        axes.extend(b.axes.iter().filter(|axis| !a.axes.contains(axis)));
        let level = self.level(a.slot).max(self.level(b.slot));
        let (left, right) = (self.align(&a, &axes, level), self.align(&b, &axes, level));
        let output = self.slot(level, self.size(&axes));
        let operator = match operator {
            BinaryOperator::Add => Binary::Add,
            BinaryOperator::Subtract => Binary::Subtract,
            BinaryOperator::Multiply => Binary::Multiply,
            BinaryOperator::Divide => Binary::Divide,
        };
        self.program.operations.push(Operation::Binary { operator, left, right, output });
        Ok(Value { slot: output, axes })
    }

    /// Positions in an array with axes `from` of every element of an array with axes `to`.
    fn map(&self, from: &[AxisId], to: &[AxisId]) -> Vec<u32> {
        let sizes: Vec<usize> = to.iter().map(|&axis| self.graph.axis(axis).size).collect();
        let strides: Vec<usize> = to
            .iter()
            .map(|axis| from.iter().position(|a| a == axis).map_or(0, |place| self.size(&from[place + 1..])))
            .collect();
        (0..sizes.iter().product())
            .map(|index: usize| {
                let (mut rest, mut position) = (index, 0);
                for (&size, &stride) in sizes.iter().zip(&strides).rev() {
                    position += rest % size * stride;
                    rest /= size;
                }
                position as u32
            })
            .collect()
    }

    /// The value laid out along `axes` at `level` at least.
    fn align(&mut self, value: &Value, axes: &[AxisId], level: Level) -> SlotId {
        let mut slot = value.slot;
        if value.axes != axes {
            let output = self.slot(self.level(slot), self.size(axes));
            let map = self.map(&value.axes, axes);
            self.program.operations.push(Operation::Gather { input: slot, output, map });
            slot = output;
        }
        self.raise(slot, level)
    }

    fn raise(&mut self, slot: SlotId, level: Level) -> SlotId {
        if self.level(slot) >= level {
            return slot;
        }
        let output = self.slot(level, self.width(slot));
        self.program.operations.push(Operation::Repeat { input: slot, output });
        output
    }

    fn dot(&mut self, left: NodeId, right: NodeId, left_axis: AxisId, right_axis: AxisId) -> Result<Value, SgviError> {
        let (a, b) = (self.value(left)?, self.value(right)?);
        let level = self.level(a.slot).max(self.level(b.slot));
        let mut axes: Vec<AxisId> = a.axes.iter().copied().filter(|&axis| axis != left_axis).collect();
        let extra: Vec<AxisId> =
            b.axes.iter().copied().filter(|&axis| axis != right_axis && !axes.contains(&axis)).collect();
        axes.extend(extra);
        let with = |axis| axes.iter().copied().chain([axis]).collect::<Vec<_>>();
        let left_map = self.map(&a.axes, &with(left_axis));
        let right_map = self.map(&b.axes, &with(right_axis));
        let (left, right) = (self.raise(a.slot, level), self.raise(b.slot, level));
        let output = self.slot(level, self.size(&axes));
        let length = self.graph.axis(left_axis).size;
        self.program.operations.push(Operation::Contract { left, right, output, length, left_map, right_map });
        Ok(Value { slot: output, axes })
    }

    /// Elements of a value that is the same for all rows, by a slot of positions.
    fn look_up(&mut self, base: NodeId, axis: AxisId, codes: SlotId) -> Result<Value, SgviError> {
        let table = self.value(base)?;
        if self.level(table.slot) != Level::Global {
            return self.refuse(
                base,
                "a look-up of a value that differs by row",
                "look up a variable outside the rows' plate",
            );
        }
        let Some(place) = table.axes.iter().position(|&a| a == axis) else {
            return self.refuse(base, "the looked-up axis is the rows'", "look up another axis");
        };
        let stride = self.size(&table.axes[place + 1..]);
        let length = self.graph.axis(axis).size;
        let outer = self.size(&table.axes[..place]);
        let map = (0..outer * stride).map(|j| ((j / stride) * length * stride + j % stride) as u32).collect();
        let mut axes = table.axes.clone();
        axes.remove(place);
        let output = self.slot(Level::Row, outer * stride);
        self.program.operations.push(Operation::LookUp { table: table.slot, codes, output, map, stride });
        Ok(Value { slot: output, axes })
    }

    /// A gate within what a network reads: a look-up where the variable is observed in every row; otherwise the value keeps
    /// the axis that the variable chooses from, and the log joint chooses from what the network makes of each element.
    fn gate(&mut self, base: NodeId, position: usize, gate: NodeId) -> Result<Value, SgviError> {
        let axis = self.graph.node(base).axes[position];
        let NodeKind::Variable(id) = self.graph.node(gate).kind else {
            return self.refuse(gate, "a gate by a looked-up variable", "write a[k] with `k` in the rows' plate");
        };
        if !is_known(self.graph, id) {
            return self.value(base);
        }
        let codes = match self.graph.variable(id).observed {
            Some(Observation::Levels { column, axis }) => self.source(DataNode::Codes(column, axis), 1, Vec::new()),
            Some(Observation::Numeric(node)) => self.value(node)?,
            _ => return self.refuse(gate, "a gate by several columns", "write one variable for each column"),
        };
        self.look_up(base, axis, codes.slot)
    }

    /// The output of one use of a network and the axes along which it is applied.
    ///
    /// A network applied to a value with `repeats` elements along further axes treats each of them as a row.
    fn network(
        &mut self,
        node: NodeId,
        network: usize,
        arguments: &[NodeId],
        consumed: &[Option<AxisId>],
        output: usize,
    ) -> Result<Value, SgviError> {
        let gates = gates_within(self.graph, node)?;
        let mut axes: Vec<AxisId> = gates.into_iter().map(|(_, axis)| axis).collect();
        axes.extend(network_axes(self.graph, node).0);
        let repeats = self.size(&axes);
        let mut inputs = Vec::with_capacity(arguments.len());
        for (&argument, own) in arguments.iter().zip(consumed) {
            let value = self.value(argument)?;
            let full: Vec<AxisId> = axes.iter().copied().chain(*own).collect();
            if value.axes.iter().any(|axis| !full.contains(axis)) {
                return self.refuse(
                    node,
                    "a network reads a vector along one axis, and numbers",
                    "give it values with one axis besides the plates of its result",
                );
            }
            let alone = arguments.len() == 1 && repeats == 1;
            inputs.push(if alone { value.slot } else { self.align(&value, &full, Level::Global) });
        }
        let level = inputs.iter().map(|&slot| self.level(slot)).max().unwrap_or(Level::Global);
        let mut slot = if let [single] = inputs[..] {
            single
        } else {
            let inputs: Vec<SlotId> = inputs.into_iter().map(|slot| self.raise(slot, level)).collect();
            self.side_by_side(inputs, level, repeats)
        };
        let layers = self.built(node, network, self.width(slot) / repeats.max(1), output)?;
        for layer in layers {
            let width = self.program.layers[layer].output_width * repeats;
            let next = self.slot(level, width);
            self.program.scratches.push((layer, level, repeats));
            let scratch = self.program.scratches.len() - 1;
            self.program.operations.push(Operation::Layer { layer, scratch, input: slot, output: next });
            slot = next;
        }
        Ok(Value { slot, axes })
    }

    /// Values `[repeats, width]` as one `[repeats, Σ width]`.
    fn side_by_side(&mut self, inputs: Vec<SlotId>, level: Level, repeats: usize) -> SlotId {
        let widths: Vec<usize> = inputs.iter().map(|&slot| self.width(slot)).collect();
        let total = widths.iter().sum();
        let output = self.slot(level, total);
        self.program.operations.push(Operation::Concatenate { inputs, output });
        if repeats == 1 {
            return output;
        }
        let mut map = Vec::with_capacity(total);
        for repeat in 0..repeats {
            let mut first = 0;
            for width in &widths {
                let own = width / repeats;
                map.extend((0..own).map(|i| (first + repeat * own + i) as u32));
                first += width;
            }
        }
        let gathered = self.slot(level, total);
        self.program.operations.push(Operation::Gather { input: output, output: gathered, map });
        gathered
    }

    /// The layers of a network, built at its first use.
    fn built(
        &mut self,
        node: NodeId,
        index: usize,
        input: usize,
        output: usize,
    ) -> Result<std::ops::Range<usize>, SgviError> {
        let network = &self.graph.networks[index];
        if let Some(built) = self.networks.get(&index) {
            if built.input != input || built.output != output {
                return Err(SgviError::Unsupported {
                    variable: network.name.clone(),
                    reason: format!(
                        "this network maps {} numbers to {}, and here it is used to map {input} to {output}",
                        built.input, built.output
                    ),
                    help: "declare a second network for the other widths".to_owned(),
                    span: self.graph.node(node).span.clone(),
                });
            }
            return Ok(built.layers.clone());
        }
        let description = describe::describe(network)?;
        let layers: Vec<Layer> =
            description.build(&mut self.program.layout, input, output).map_err(|error| SgviError::Unsupported {
                variable: network.name.clone(),
                reason: error.to_string(),
                help: "change `image`, `channels` or `stride`".to_owned(),
                span: network.span.clone(),
            })?;
        let range = self.program.layers.len()..self.program.layers.len() + layers.len();
        self.program.layers.extend(layers);
        self.networks.insert(index, Built { input, output, layers: range.clone() });
        Ok(range)
    }

    /// The value of a variable that another one depends on.
    fn variable(&mut self, id: VariableId) -> Result<Value, SgviError> {
        if let Some(value) = self.variables.get(&id) {
            return Ok(value.clone());
        }
        if self.in_progress.contains(&id) {
            return self.refuse_variable(id, "it depends on itself", "break the circle of `amortized` expressions");
        }
        self.in_progress.push(id);
        let variable = self.graph.variable(id);
        let value = match variable.observed {
            Some(Observation::Numeric(node)) => {
                let value = self.value(node)?;
                let axes = self.without_rows(&self.graph.value_axes(id));
                let slot = self.align(&value, &axes, Level::Global);
                Value { slot, axes }
            }
            Some(_) => {
                return self.refuse_variable(
                    id,
                    "observed categories as an input are not numbers",
                    "index a constant table by the column instead",
                );
            }
            None if variable.amortized.is_some() => self.latent(id)?,
            None => self.global(id)?,
        };
        self.in_progress.pop();
        self.variables.insert(id, value.clone());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::small_models::{IMAGES, PIXELS, graph};
    use super::*;

    #[test]
    fn data_that_are_input_and_observed_are_one_source() {
        let program = compile(&graph(&format!("{IMAGES}{PIXELS}"))).unwrap();
        assert_eq!(program.sources.len(), 1);
        assert_eq!(program.layers.len(), 4);
        assert_eq!(program.layout.len(), 4 * 8 + 8 + 8 * 4 + 4 + 2 * 8 + 8 + 8 * 4 + 4);
        // The encoder's input needs no adjoint, and what needs no log joint has none.
        assert!(!program.slots[program.observed[0].data].differentiable);
        assert!(program.globals.is_none());
    }

    #[test]
    fn what_has_no_place_is_named() {
        let pixels = PIXELS.replace("decoder(z)", "decoder(z) + shift");
        let local = "[variables.shift]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
        let kind = "[variables.kind]\ndistribution = \"categorical\"\nprobabilities = \"half\"\n";
        let shifts = "[variables.shifts]\nplates = [\"class\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
        let gate = PIXELS.replace("decoder(z)", "decoder(z) + shifts[kind]");
        let plates = IMAGES
            .replace("row = \"rows\"", "row = \"rows\"\nclass = 2")
            .replace("[plates]", "half = { axes = [\"class\"], values = [0.5, 0.5] }\n[plates]");
        for (text, name, help) in [
            (format!("{IMAGES}{pixels}{local}"), "shift", "amortized"),
            (format!("{plates}{gate}{shifts}{kind}"), "kind", "factor per row"),
        ] {
            let Err(SgviError::Unsupported { variable, help: given, .. }) = compile(&graph(&text)) else {
                panic!("it was accepted: {text}")
            };
            assert_eq!(variable, name);
            assert!(given.contains(help), "{given}");
        }
    }
}
