//! The meaning of a model: named axes, data, variables and expressions, checked and resolved; what both engines read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::data::{BlockId, ColumnId, Data};
use crate::diagnostic::SourceText;
pub use crate::distribution::{
    Distribution, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, WishartScale,
};
use crate::inference::Inference;

/// Index of an axis in [`Graph::axes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub usize);

/// Index of a variable in [`Graph::variables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub usize);

/// Index of an expression node in [`Graph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Index of a neural network in [`Graph::networks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub usize);

/// Where an axis comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum AxisKind {
    /// One element per data row.
    Rows,
    /// A fixed number of elements.
    Fixed,
    /// One element per distinct value of a column, in order of first appearance; the values as text.
    Levels {
        /// The column whose distinct values these are.
        column: ColumnId,
        /// The distinct values in order.
        levels: Vec<String>,
    },
    /// One element per column of a block.
    Block(BlockId),
    /// The axis of an integer `dimension`, private to the variable that declares it.
    Anonymous,
}

/// A named axis: a plate, a dimension, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The name of the plate, of the block, or `VARIABLE.dimension` for an anonymous one.
    pub name: String,
    /// Number of elements (for [`AxisKind::Rows`] the number of data rows).
    pub size: usize,
    /// Where it comes from.
    pub kind: AxisKind,
}

/// A dense array with named axes, row-major in the order of `axes`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Names, outermost first; the same axis may stand twice (a matrix over one dimension).
    pub axes: Vec<AxisId>,
    /// Length along each axis (the rows axis may be a chunk).
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f64>,
}

/// Binary operators of expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// a + b
    Add,
    /// a − b
    Subtract,
    /// a · b
    Multiply,
    /// a / b
    Divide,
}

/// Elementwise functions of expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// eˣ
    Exp,
    /// The natural logarithm.
    Log,
    /// √x
    Sqrt,
    /// x²
    Square,
    /// 1/(1 + e⁻ˣ)
    Logistic,
    /// log(1 + eˣ)
    Softplus,
}

/// What selects elements in `a[b]`.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexSource {
    /// A data column, read as positions along the replaced axis (axes of the index: rows).
    /// `Data::read_codes(column, axis, …)` gives the positions.
    Column(ColumnId),
    /// A categorical or markov-chain variable, possibly itself looked up (`block[sender]`): a gate.
    /// The node is a [`NodeKind::Variable`] or a [`NodeKind::Index`] over one; its axes replace the indexed one.
    /// The variable may be observed.
    Gate(NodeId),
}

/// One operation of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A number.
    Number(f64),
    /// A constant array with named axes (written inline, as a parameter or in `[data.values]`).
    Constant(Arc<Tensor>),
    /// A numeric data column; axes: rows.
    Column(ColumnId),
    /// A data block; axes: rows, then the block's axis (or the plate or dimension that it fills).
    Block(BlockId),
    /// A variable; axes: its plates, then its dimension (twice for matrix-valued ones).
    /// A joint variable (normal-gamma, normal-wishart) may stand only in `parameters`; axes of a normal-wishart: its plates.
    Variable(VariableId),
    /// −a
    Negate(NodeId),
    /// a op b, aligned by axis name.
    Binary(BinaryOperator, NodeId, NodeId),
    /// Σ over one shared axis of a·b.
    Dot {
        /// Left operand.
        left: NodeId,
        /// Right operand.
        right: NodeId,
        /// The contracted axis as it stands in the left operand.
        left_axis: AxisId,
        /// The contracted axis as it stands in the right operand (differs only for anonymous axes of equal size).
        right_axis: AxisId,
    },
    /// `base[index]`: the axis at `position` of `base.axes` is replaced by the axes of the index.
    Index {
        /// What is indexed.
        base: NodeId,
        /// Which of the base's axes is replaced.
        position: usize,
        /// What selects the elements.
        index: IndexSource,
    },
    /// f(a), elementwise.
    Function(Function, NodeId),
    /// NETWORK(arguments): contracts each argument's last axis that is not a plate of the result, gives axis `output`.
    Network {
        /// Which network.
        network: NetworkId,
        /// Its inputs, concatenated.
        arguments: Vec<NodeId>,
        /// For each argument the axis (or axes, for a scalar none) consumed as input features.
        consumed: Vec<Option<AxisId>>,
        /// The output axis (of the variable that uses it); `None` for a scalar output.
        output: Option<AxisId>,
    },
}

/// An expression node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The operation.
    pub kind: NodeKind,
    /// The named axes of the value, in order.
    pub axes: Vec<AxisId>,
    /// Where it stands in the model file (bytes).
    pub span: Range<usize>,
}

/// What was observed of a variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation {
    /// Numbers: an expression of data only, whose axes are among the variable's; missing cells are NaN.
    Numeric(NodeId),
    /// A categorical in one column, as positions along `axis`.
    Levels {
        /// The column.
        column: ColumnId,
        /// The axis whose positions the values are.
        axis: AxisId,
    },
    /// A categorical over rows and a further plate, one column per element.
    LevelsBlock {
        /// The block.
        block: BlockId,
        /// The axis whose positions the values are.
        axis: AxisId,
    },
}

/// Covariance of an amortised Gaussian factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmortizedCovariance {
    /// z = μ + σ ε.
    #[default]
    Diagonal,
    /// z = μ + A ε with A lower triangular.
    Full,
}

/// A random variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name in the model file.
    pub name: String,
    /// Axes along which it is replicated; one axis may stand twice (`["group", "group"]`).
    pub plates: Vec<AxisId>,
    /// The axis inside a vector-valued variable (both axes of a matrix-valued one).
    pub dimension: Option<AxisId>,
    /// Its distribution given its parents.
    pub distribution: Distribution,
    /// Its observed values, if any.
    pub observed: Option<Observation>,
    /// Starting value of the posterior mean, with axes among the variable's own.
    pub initial: Option<Arc<Tensor>>,
    /// A point estimate instead of a distribution.
    pub point: bool,
    /// Elements along the last axis increase (sgvi).
    pub ordered: bool,
    /// Whether a discrete latent variable shall be summed out (`None`: where it can be) or keep factors of its own (sgvi).
    pub marginalized: Option<bool>,
    /// The largest value of a latent count without a bound up to which it is summed out; `None` as long as an engine has not said.
    pub largest: Option<usize>,
    /// Truncation from below (sgvi).
    pub lower: Option<NodeId>,
    /// Truncation from above (sgvi).
    pub upper: Option<NodeId>,
    /// The network expression that gives the factor's parameters (sgvi).
    pub amortized: Option<NodeId>,
    /// Covariance of an amortised factor (sgvi).
    pub amortized_covariance: AmortizedCovariance,
    /// Where the variable's table header stands (bytes).
    pub span: Range<usize>,
    /// Where each key's value stands (bytes), by key as written (`mean`, `precision`, `observed`, …).
    pub key_spans: BTreeMap<String, Range<usize>>,
}

/// An entry of `[expressions]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedExpression {
    /// Its name.
    pub name: String,
    /// Its value.
    pub node: NodeId,
    /// Where it stands (bytes).
    pub span: Range<usize>,
}

/// An entry of `[networks]`, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Widths of the hidden layers.
    pub layers: Vec<usize>,
    /// Activation between layers: relu, tanh, gelu, silu, softplus, elu, logistic.
    pub activation: String,
    /// No hidden layer and no activation.
    pub linear: bool,
    /// Further keys (convolution, layer norm, dropout), by name, as numbers, strings or arrays.
    pub options: BTreeMap<String, toml::Value>,
    /// Where its table stands (bytes).
    pub span: Range<usize>,
}

/// A checked model with its data.
#[derive(Debug, Clone)]
pub struct Graph {
    /// `title`.
    pub title: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// Text of the model file, for diagnostics.
    pub source: SourceText,
    /// All axes.
    pub axes: Vec<Axis>,
    /// The axis of the data rows, where a plate ranges over them.
    pub rows: Option<AxisId>,
    /// Columns, blocks and how to read them.
    pub data: Arc<Data>,
    /// How many times each row occurs.
    pub counts: Option<ColumnId>,
    /// Expression nodes; operands come before what uses them.
    pub nodes: Vec<Node>,
    /// Variables in the order of the file.
    pub variables: Vec<Variable>,
    /// `[expressions]` in the order of the file.
    pub expressions: Vec<NamedExpression>,
    /// `[networks]`.
    pub networks: Vec<Network>,
    /// `[inference]`.
    pub inference: Inference,
}

impl Graph {
    /// The node behind an id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The variable behind an id.
    pub fn variable(&self, id: VariableId) -> &Variable {
        &self.variables[id.0]
    }

    /// The axis behind an id.
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.0]
    }

    /// The variable of that name.
    pub fn variable_named(&self, name: &str) -> Option<VariableId> {
        self.variables.iter().position(|v| v.name == name).map(VariableId)
    }

    /// Axes of a variable's value: its plates, then its dimension (twice for a `wishart`).
    pub fn value_axes(&self, id: VariableId) -> Vec<AxisId> {
        let variable = self.variable(id);
        let mut axes = variable.plates.clone();
        axes.extend(variable.dimension);
        if matches!(variable.distribution, Distribution::Wishart { .. }) {
            axes.extend(variable.dimension);
        }
        axes
    }

    /// Whether the variable has one element per data row.
    pub fn is_local(&self, id: VariableId) -> bool {
        self.rows.is_some_and(|rows| self.variable(id).plates.contains(&rows))
    }

    /// Variables that a node depends on, gates included, each once, in order of first appearance.
    pub fn variables_of(&self, node: NodeId) -> Vec<VariableId> {
        let mut found = Vec::new();
        self.visit(node, &mut |n| {
            if let NodeKind::Variable(v) = n.kind
                && !found.contains(&v)
            {
                found.push(v);
            }
        });
        found
    }

    /// Whether a node depends on data and constants alone.
    pub fn is_data(&self, node: NodeId) -> bool {
        self.variables_of(node).is_empty() && !self.uses_network(node)
    }

    /// Whether a network stands in the node.
    pub fn uses_network(&self, node: NodeId) -> bool {
        let mut found = false;
        self.visit(node, &mut |n| found |= matches!(n.kind, NodeKind::Network { .. }));
        found
    }

    /// The part of `parameters` that is the joint variable itself, possibly indexed.
    pub fn joint_part(&self, parameters: NodeId) -> Option<NodeId> {
        let joint = |v: VariableId| {
            matches!(
                self.variable(v).distribution,
                Distribution::NormalGamma { .. } | Distribution::NormalWishart { .. }
            )
        };
        joint_parts(&self.nodes, parameters, &joint).first().copied()
    }

    /// Calls `see` on a node and everything below it, operands first.
    pub fn visit(&self, id: NodeId, see: &mut dyn FnMut(&Node)) {
        let node = self.node(id);
        match &node.kind {
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.visit(*a, see),
            NodeKind::Binary(_, a, b) => {
                self.visit(*a, see);
                self.visit(*b, see);
            }
            NodeKind::Dot { left, right, .. } => {
                self.visit(*left, see);
                self.visit(*right, see);
            }
            NodeKind::Index { base, index, .. } => {
                self.visit(*base, see);
                if let IndexSource::Gate(gate) = index {
                    self.visit(*gate, see);
                }
            }
            NodeKind::Network { arguments, .. } => {
                for argument in arguments {
                    self.visit(*argument, see);
                }
            }
            NodeKind::Number(_)
            | NodeKind::Constant(_)
            | NodeKind::Column(_)
            | NodeKind::Block(_)
            | NodeKind::Variable(_) => {}
        }
        see(node);
    }
}

/// Parts of an expression that are variables of a kind, possibly indexed, in order of appearance.
pub(crate) fn joint_parts(nodes: &[Node], id: NodeId, is_joint: &dyn Fn(VariableId) -> bool) -> Vec<NodeId> {
    let mut base = id;
    while let NodeKind::Index { base: inner, .. } = nodes[base.0].kind {
        base = inner;
    }
    let of = |id: NodeId| joint_parts(nodes, id, is_joint);
    match &nodes[base.0].kind {
        NodeKind::Variable(v) if is_joint(*v) => vec![id],
        NodeKind::Negate(a) | NodeKind::Function(_, a) => of(*a),
        NodeKind::Binary(_, a, b) | NodeKind::Dot { left: a, right: b, .. } => [of(*a), of(*b)].concat(),
        NodeKind::Network { arguments, .. } => arguments.iter().flat_map(|a| of(*a)).collect(),
        _ => Vec::new(),
    }
}

/// Whether two indexed variables are the same element of the same variable, as they are written.
pub(crate) fn same_element(nodes: &[Node], left: NodeId, right: NodeId) -> bool {
    match (&nodes[left.0].kind, &nodes[right.0].kind) {
        (NodeKind::Variable(a), NodeKind::Variable(b)) => a == b,
        (NodeKind::Index { base: a, position: i, index: p }, NodeKind::Index { base: b, position: j, index: q }) => {
            let same = match (p, q) {
                (IndexSource::Column(c), IndexSource::Column(d)) => c == d,
                (IndexSource::Gate(c), IndexSource::Gate(d)) => same_element(nodes, *c, *d),
                _ => false,
            };
            i == j && same && same_element(nodes, *a, *b)
        }
        _ => false,
    }
}
