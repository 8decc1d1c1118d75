//! From a model as written to the graph: looks up every name and gives every value its axes.

mod axes;
mod data;
mod distribution;
mod dot;
mod element;
mod expression;
mod factor;
mod index;
mod network;
mod node;
mod observed;
mod order;
mod parameters;
mod variable;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::check;
use crate::data::{BlockId, ColumnId, Data};
use crate::diagnostic::{Diagnostic, ModelError};
use crate::expression::Syntax;
use crate::graph::{
    Axis, AxisId, Graph, NamedExpression, Network, NetworkId, Node, NodeId, Tensor, Variable, VariableId,
};
use crate::inference;
use crate::registry::DistributionEntry;
use crate::spec::Spec;
use crate::support::check_support;

use node::Role;

/// A mistake that stands in the list already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported;

/// What a name stands for.
#[derive(Debug, Clone)]
enum Meaning {
    Column(ColumnId),
    Block(BlockId),
    Number(f64),
    Constant(Arc<Tensor>),
    Variable(VariableId),
    Expression(usize),
    Network(NetworkId),
}

/// A name with where it was declared.
#[derive(Debug, Clone)]
struct Name {
    meaning: Meaning,
    kind: &'static str,
    span: Option<Range<usize>>,
}

/// A plate as declared.
#[derive(Debug, Clone)]
struct Plate {
    name: String,
    axis: AxisId,
    /// The columns whose distinct values its elements are.
    levels: Vec<ColumnId>,
    span: Range<usize>,
}

/// What is known of a variable before its expressions are looked at.
#[derive(Debug, Clone)]
struct Shell {
    entry: Option<&'static DistributionEntry>,
    plates: Vec<AxisId>,
    dimension: Option<AxisId>,
    /// The axis that an index ranges over.
    range: Option<AxisId>,
}

/// A use of a network.
#[derive(Debug, Clone)]
struct NetworkUse {
    network: NetworkId,
    input: usize,
    output: usize,
    span: Range<usize>,
}

/// An expression's reader, for whom axes are matched and outputs sized.
#[derive(Debug, Clone, Default)]
struct Context {
    /// In words: `` `mean` of variable `y` ``.
    user: String,
    plates: Vec<AxisId>,
    dimension: Option<AxisId>,
    /// The variable's range, where the expression gives probabilities of an index.
    range: Option<AxisId>,
    /// Axes that blocks fill instead of their own (observed values).
    fills: Vec<(BlockId, AxisId)>,
    /// A joint variable may stand here.
    joint: bool,
    /// Inside `[expressions]`: no variable tells a network's output width.
    named: bool,
}

/// A look-up whose codes are to be checked.
#[derive(Debug, Clone)]
struct Lookup {
    column: ColumnId,
    axis: AxisId,
    span: Range<usize>,
    observed: bool,
}

pub(crate) struct Resolver<'s> {
    spec: &'s Spec,
    mistakes: Vec<Diagnostic>,
    data: Data,
    axes: Vec<Axis>,
    rows: Option<AxisId>,
    block_axes: HashMap<BlockId, AxisId>,
    plates: Vec<Plate>,
    names: HashMap<String, Name>,
    shells: Vec<Shell>,
    nodes: Vec<Node>,
    roles: Vec<Vec<Role>>,
    named: Vec<Option<Named>>,
    network_uses: Vec<NetworkUse>,
    lookups: Vec<Lookup>,
    checked_numeric: HashMap<ColumnId, bool>,
}

/// Plates, dimension and range of the variable that uses an expression.
type Reader = (Vec<AxisId>, Option<AxisId>, Option<AxisId>);

/// A parsed entry of `[expressions]`.
#[derive(Debug, Clone)]
struct Named {
    syntax: Syntax,
    node: Option<NodeId>,
    has_network: bool,
    /// What it became for each reader: plates, dimension and range, and the node.
    cache: Vec<(Reader, NodeId)>,
    failed: bool,
}

/// Builds the graph of a specification; relative paths start at `base`, and `preloaded` data come before those of the
/// file.
pub(crate) fn resolve(spec: &Spec, base: &Path, preloaded: Option<Data>) -> Result<Graph, ModelError> {
    let mut resolver = Resolver {
        spec,
        mistakes: Vec::new(),
        data: preloaded.unwrap_or_default(),
        axes: Vec::new(),
        rows: None,
        block_axes: HashMap::new(),
        plates: Vec::new(),
        names: HashMap::new(),
        shells: Vec::new(),
        nodes: Vec::new(),
        roles: Vec::new(),
        named: Vec::new(),
        network_uses: Vec::new(),
        lookups: Vec::new(),
        checked_numeric: HashMap::new(),
    };
    let graph = resolver.run(base);
    let mut diagnostics = resolver.mistakes;
    if let Some(graph) = graph
        && diagnostics.is_empty()
    {
        diagnostics.extend(check::values::check(&graph));
        diagnostics.extend(check::parents::check(&graph));
        if diagnostics.is_empty() {
            diagnostics.extend(check_support(&graph));
        }
        if diagnostics.is_empty() {
            return Ok(graph);
        }
    }
    if spec.source.text.is_empty() {
        for diagnostic in &mut diagnostics {
            diagnostic.labels.clear();
        }
    }
    Err(ModelError { source: spec.source.clone(), diagnostics })
}

impl Resolver<'_> {
    fn report(&mut self, mistake: Diagnostic) -> Reported {
        self.mistakes.push(mistake);
        Reported
    }

    fn run(&mut self, base: &Path) -> Option<Graph> {
        let data = self.load_data(base);
        let constants = data.ok()?;
        self.declare_axes();
        self.declare_constants(constants);
        self.declare_names();
        self.declare_shells();
        if !self.mistakes.is_empty() {
            return None;
        }
        let counts = self.counts_column();
        let order = self.order_of_variables()?;
        let mut variables: Vec<Option<Variable>> = vec![None; self.spec.variables.len()];
        for index in order {
            variables[index] = self.variable(index).ok();
        }
        self.unused_expressions();
        let expressions = self.finish_expressions();
        let networks = self.networks();
        self.check_network_widths(&networks);
        self.check_lookups();
        let inference = match inference::Inference::from_entries(&self.spec.inference, &self.spec.variables) {
            Ok(inference) => inference,
            Err(mistakes) => {
                self.mistakes.extend(mistakes);
                inference::Inference::default()
            }
        };
        if !self.mistakes.is_empty() {
            return None;
        }
        Some(Graph {
            title: self.spec.title.clone(),
            description: self.spec.description.clone(),
            source: self.spec.source.clone(),
            axes: std::mem::take(&mut self.axes),
            rows: self.rows,
            data: Arc::new(std::mem::take(&mut self.data)),
            counts,
            nodes: std::mem::take(&mut self.nodes),
            variables: variables.into_iter().collect::<Option<Vec<_>>>()?,
            expressions,
            networks,
            inference,
        })
    }

    fn finish_expressions(&mut self) -> Vec<NamedExpression> {
        let mut found = Vec::new();
        for index in 0..self.spec.expressions.len() {
            let entry = &self.spec.expressions[index];
            let Some(named) = self.named.get(index).and_then(Option::as_ref) else {
                continue;
            };
            let node = match named.node {
                Some(node) => node,
                None if named.failed => continue,
                None => {
                    let mistake = Diagnostic::new(
                        "unused-expression",
                        format!("the expression `{}` uses a network but no variable uses the expression, so the network's output width is unknown", entry.key),
                    )
                    .at(entry.key_span.clone(), "not used")
                    .help("use it in a variable, or remove it");
                    self.report(mistake);
                    continue;
                }
            };
            let node = self.located(node);
            found.push(NamedExpression { name: entry.key.clone(), node, span: entry.value.span.clone() });
        }
        found
    }

    fn axis_name(&self, axis: AxisId) -> &str {
        &self.axes[axis.0].name
    }

    fn axis_names(&self, axes: &[AxisId]) -> String {
        if axes.is_empty() {
            return "no axes".into();
        }
        axes.iter().map(|a| format!("`{}`", self.axis_name(*a))).collect::<Vec<_>>().join(", ")
    }

    fn networks(&mut self) -> Vec<Network> {
        let specs = &self.spec.networks;
        specs.iter().map(network::read).collect()
    }
}
