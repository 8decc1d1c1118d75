//! Models back as text: expressions, distributions and a table of the variables.

use crate::expression::is_plain_name;
use crate::graph::{
    AxisId, AxisKind, BinaryOperator, Function, Graph, IndexSource, NodeId, NodeKind, Observation, VariableId,
};

/// Longest constant that is written out.
const LONGEST_CONSTANT: usize = 40;

impl Function {
    /// Its name in the model language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
            Self::Square => "square",
            Self::Logistic => "logistic",
            Self::Softplus => "softplus",
        }
    }
}

/// How tightly an operation binds: sums 1, products 2, signs 3, everything else 4.
fn binding(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::Binary(BinaryOperator::Add | BinaryOperator::Subtract, ..) => 1,
        NodeKind::Binary(BinaryOperator::Multiply | BinaryOperator::Divide, ..) => 2,
        NodeKind::Negate(_) => 3,
        NodeKind::Number(x) if *x < 0.0 => 3,
        _ => 4,
    }
}

impl Graph {
    /// An expression node as the text of an expression; named expressions below it stand by their names.
    pub fn expression_text(&self, node: NodeId) -> String {
        self.write_node(node, true)
    }

    fn write_operand(&self, node: NodeId, least: u8) -> String {
        let text = self.write_node(node, false);
        let named = self.expressions.iter().any(|e| e.node == node);
        if named || binding(&self.node(node).kind) >= least { text } else { format!("({text})") }
    }

    fn write_node(&self, id: NodeId, root: bool) -> String {
        let node = self.node(id);
        if !root && let Some(expression) = self.expressions.iter().find(|e| e.node == id) {
            return expression.name.clone();
        }
        match &node.kind {
            NodeKind::Number(x) => x.to_string(),
            NodeKind::Constant(tensor) => {
                let written = self.source.text.get(node.span.clone()).unwrap_or_default();
                if !written.is_empty() && written.len() <= LONGEST_CONSTANT && !written.contains('\n') {
                    return written.to_string();
                }
                let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
                format!("constant of {}", shape.join(" × "))
            }
            NodeKind::Column(column) => quoted(&self.data.column(*column).name),
            NodeKind::Block(block) => quoted(&self.data.block(*block).name),
            NodeKind::Variable(id) => quoted(&self.variable(*id).name),
            NodeKind::Negate(a) => format!("-{}", self.write_operand(*a, 3)),
            NodeKind::Binary(operator, a, b) => {
                let (symbol, left, right) = match operator {
                    BinaryOperator::Add => ("+", 1, 1),
                    BinaryOperator::Subtract => ("-", 1, 2),
                    BinaryOperator::Multiply => ("*", 2, 2),
                    BinaryOperator::Divide => ("/", 2, 3),
                };
                format!("{} {symbol} {}", self.write_operand(*a, left), self.write_operand(*b, right))
            }
            NodeKind::Dot { left, right, .. } => match self.written_element(*right) {
                Some(element) => indexed(&self.write_operand(*left, 4), element, self.is_index(*left)),
                None => format!("dot({}, {})", self.write_node(*left, false), self.write_node(*right, false)),
            },
            NodeKind::Index { base, index, .. } => {
                let index = match index {
                    IndexSource::Column(column) => quoted(&self.data.column(*column).name),
                    IndexSource::Gate(gate) => self.write_node(*gate, false),
                };
                indexed(&self.write_operand(*base, 4), &index, self.is_index(*base))
            }
            NodeKind::Function(function, a) => format!("{}({})", function.name(), self.write_node(*a, false)),
            NodeKind::Network { network, arguments, .. } => {
                let arguments: Vec<String> = arguments.iter().map(|a| self.write_node(*a, false)).collect();
                format!("{}({})", self.networks[network.0].name, arguments.join(", "))
            }
        }
    }

    fn is_index(&self, node: NodeId) -> bool {
        let index = match self.node(node).kind {
            NodeKind::Index { .. } => true,
            NodeKind::Dot { right, .. } => self.written_element(right).is_some(),
            _ => false,
        };
        index && !self.expressions.iter().any(|e| e.node == node)
    }

    /// The element that a constant stands for: those of `a[2]` and `a['Male']` have the place of the index in the file.
    fn written_element(&self, constant: NodeId) -> Option<&str> {
        let node = self.node(constant);
        let written = self.source.text.get(node.span.clone()).filter(|_| matches!(node.kind, NodeKind::Constant(_)))?;
        written.starts_with(|c: char| c.is_ascii_digit() || c == '\'').then_some(written)
    }

    /// A variable's distribution with its parameters, such as `normal(mean = mu, precision = tau)`.
    pub fn distribution_text(&self, id: VariableId) -> String {
        let distribution = &self.variable(id).distribution;
        let parameters: Vec<String> = distribution
            .parameters()
            .into_iter()
            .map(|(key, node)| format!("{key} = {}", self.expression_text(node)))
            .collect();
        format!("{}({})", distribution.name(), parameters.join(", "))
    }

    /// An axis with its number of elements, such as `component 6`.
    pub fn axis_text(&self, id: AxisId) -> String {
        let axis = self.axis(id);
        match axis.kind {
            AxisKind::Anonymous => axis.size.to_string(),
            _ => format!("{} {}", axis.name, axis.size),
        }
    }

    /// What is observed of a variable, as text.
    pub fn observation_text(&self, id: VariableId) -> Option<String> {
        self.variable(id).observed.map(|observed| match observed {
            Observation::Numeric(node) => self.expression_text(node),
            Observation::Levels { column, .. } => self.data.column(column).name.clone(),
            Observation::LevelsBlock { block, .. } => self.data.block(block).name.clone(),
        })
    }

    /// A table of the variables, one line each: name, plates, dimension, what becomes of it, distribution.
    pub fn variables_table(&self) -> String {
        let mut rows: Vec<[String; 5]> =
            vec![["variable", "plates", "dimension", "value", "distribution"].map(String::from)];
        for (index, variable) in self.variables.iter().enumerate() {
            let id = VariableId(index);
            let plates: Vec<String> = variable.plates.iter().map(|a| self.axis_text(*a)).collect();
            let value = match (self.observation_text(id), variable.point, variable.amortized) {
                (Some(data), ..) => format!("observed: {data}"),
                (None, true, _) => "point".into(),
                (None, false, Some(network)) => format!("amortized: {}", self.expression_text(network)),
                (None, false, None) => "latent".into(),
            };
            rows.push([
                variable.name.clone(),
                plates.join(", "),
                variable.dimension.map_or(String::new(), |a| self.axis_text(a)),
                value,
                self.distribution_text(id),
            ]);
        }
        aligned(&rows)
    }

    /// What to say of a model in which nothing is observed, so that a forgotten `observed` is not taken for a result.
    pub fn unobserved_remark(&self) -> Option<&'static str> {
        let is_observed = self.variables.iter().any(|variable| variable.observed.is_some());
        (!is_observed).then_some("no variable is `observed`, so no data were used: this is the prior")
    }

    /// A table of the named axes: name, number of elements, where it comes from.
    pub fn axes_table(&self) -> String {
        let mut rows: Vec<[String; 3]> = vec![["axis", "size", "elements"].map(String::from)];
        for axis in &self.axes {
            let elements = match &axis.kind {
                AxisKind::Rows => "data rows".to_string(),
                AxisKind::Fixed => "numbered from 0".to_string(),
                AxisKind::Levels { column, levels } => {
                    let shown: Vec<&str> = levels.iter().take(4).map(String::as_str).collect();
                    let more = if levels.len() > 4 { ", …" } else { "" };
                    format!("levels of {}: {}{more}", self.data.column(*column).name, shown.join(", "))
                }
                AxisKind::Block(block) => format!("columns of {}", self.data.block(*block).name),
                AxisKind::Anonymous => "coordinates".to_string(),
            };
            rows.push([axis.name.clone(), axis.size.to_string(), elements]);
        }
        aligned(&rows)
    }
}

/// A name as it is written in an expression.
fn quoted(name: &str) -> String {
    if is_plain_name(name) { name.to_string() } else { format!("`{name}`") }
}

/// `base[index]`; a[b][c] is written a[b, c].
fn indexed(base: &str, index: &str, again: bool) -> String {
    match base.strip_suffix(']') {
        Some(open) if again => format!("{open}, {index}]"),
        _ => format!("{base}[{index}]"),
    }
}

/// Cells padded to the width of their column, two spaces between columns.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
