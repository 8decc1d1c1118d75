//! From a checked graph to compiled programs: coordinates, densities, discrete variables summed out, read-outs.

mod builder;
mod chain;
mod chains;
mod collapse;
mod coordinates;
mod counts;
mod densities;
mod discrete;
mod draws;
mod expectation;
mod factored;
#[cfg(test)]
mod factored_tests;
mod gaussian;
mod joint;
#[cfg(test)]
mod latent_bounds_tests;
mod latents;
mod linear;
mod merge;
mod nodes;
mod ports;
mod predictive;
#[cfg(test)]
mod reduction_tests;
mod shuffle;
mod start;
mod statistics;
mod steps;
#[cfg(test)]
mod summation_tests;
#[cfg(test)]
mod tests;
pub(crate) mod touched;
mod truncation;
#[cfg(test)]
mod truncation_tests;
mod vectors;

use std::collections::HashMap;
use std::sync::Arc;

use vi_model::graph::{AxisId, Distribution, Graph, NodeId, Observation, Tensor, VariableId};

use crate::error::SgviError;
use crate::fit::categories::Category;
use crate::tape::{Program, Shape, Value};
use builder::Builder;
pub(crate) use counts::{MOST_VALUES, first_range, unbounded};
use discrete::Enumerated;
pub(crate) use discrete::is_discrete;
pub(crate) use expectation::Expectation;
pub(crate) use factored::Factored;
use factored::lowered;
pub(crate) use latents::{Latent, Support};
pub(crate) use ports::{
    GeneratorModel, JointModel, Port, PortSource, gates_within, is_known, is_prior_term, network_axes,
};
pub(crate) use predictive::{Drawn, PredictiveProgram, PredictiveSettings, joint_rows};
pub(crate) use shuffle::permutation;

/// Which aspect of a node's value is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum View {
    /// The value itself (of a joint variable: its location).
    Plain,
    /// Its logarithm.
    Log,
    /// The precision of a joint variable.
    Precision,
    /// The log determinant of a matrix (of a joint variable: of its precision).
    LogDeterminant,
}

/// A value to be read out at draws of the coordinates.
#[derive(Debug, Clone)]
pub(crate) struct ReadOut {
    /// Name of the variable or expression.
    pub name: String,
    /// The variable, or `None` for an expression.
    pub variable: Option<VariableId>,
    /// Where it is in the read-out program.
    pub value: Value,
    /// For a joint variable its precision.
    pub precision: Option<Value>,
    /// Axes in the order in which they are reported, with the stride of each in the buffer.
    pub axes: Vec<(AxisId, usize)>,
}

/// A model compiled for gradient-based inference.
#[derive(Debug)]
pub(crate) struct Model {
    /// The log joint over the unconstrained coordinates.
    pub program: Arc<Program>,
    /// Values of variables and expressions over the same coordinates.
    pub read_out: Arc<Program>,
    /// What the read-out program computes.
    pub outputs: Vec<ReadOut>,
    /// Continuous latent variables with their coordinates.
    pub latents: Vec<Latent>,
    /// Whether a coordinate belongs to a point variable.
    pub is_point: Vec<bool>,
    /// For each coordinate, its variable as an index into the graph's variables.
    pub owner: Vec<usize>,
    /// Where the search starts.
    pub start: Vec<f64>,
    /// How far around the start the prior reaches.
    pub start_scale: Vec<f64>,
    /// Discrete variables that are not summed out.
    pub factored: Vec<Factored>,
    /// Their elements, whose weights stand among the coordinates.
    pub categories: Arc<[Category]>,
    /// Whether the log joint holds only where every weight is zero or one; otherwise it is linear in the weights of each
    /// element, and so the expectation under independent categorical factors.
    pub is_relaxed: bool,
}

/// A log density that still depends on discrete variables.
#[derive(Debug, Clone)]
struct Factor {
    value: Value,
    /// The discrete variable whose own probabilities these are.
    owner: Option<VariableId>,
    /// The variable whose term it belongs to.
    source: VariableId,
}

/// A discrete latent variable's place in a probing program: the adjoint of `value` is the posterior of its values.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// The variable.
    pub variable: VariableId,
    /// Zeros over its plates, then its values.
    pub value: Value,
    /// Number of values; of all joined elements together.
    pub size: usize,
    /// Sizes of the plates whose elements are joined, the first element changing fastest in the values.
    pub joined: Vec<usize>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    b: Builder,
    nodes: HashMap<(NodeId, View), Value>,
    variables: HashMap<(VariableId, View), Value>,
    enumerated: Vec<Enumerated>,
    /// Discrete variables that shall keep factors of their own.
    kept: Vec<VariableId>,
    /// Those that do.
    factored: Vec<Factored>,
    /// Those that turned out to need them.
    too_many: Vec<VariableId>,
    /// Whether the log joint holds only where every weight is zero or one.
    relaxed: bool,
    /// An expression whose expectation is asked for.
    reported: Option<NodeId>,
    pending: Vec<Factor>,
    latents: Vec<Latent>,
    weights: Option<Arc<Vec<f64>>>,
    /// The data row behind each of the program's rows, where they are shuffled.
    order: Option<Vec<usize>>,
    is_point: Vec<bool>,
    owner: Vec<usize>,
    start: Vec<f64>,
    start_scale: Vec<f64>,
    /// Buffers of zeros added to the log probabilities of discrete variables, where their adjoints are asked for.
    probes: Option<Vec<Probe>>,
    /// Log derivatives of the values of amortised variables by what networks draw, where those differ.
    jacobians: HashMap<VariableId, Value>,
    /// Log probabilities of the steps of chains, where a further variable chose them.
    steps: HashMap<VariableId, Value>,
    /// Variables some of whose cells are latent coordinates.
    filled: HashMap<VariableId, Value>,
    /// For programs over new rows.
    predictive: Option<predictive::Predictive>,
    /// For programs that give terms by cell.
    by_cell: Option<touched::ByCell>,
    /// For programs that read what networks compute.
    ports: Option<ports::Ports>,
}

impl Model {
    /// The log joint with a probe for every discrete latent variable that is summed out, and those that are not.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub(crate) fn probing(graph: &Graph) -> Result<(Program, Vec<Probe>, Vec<Factored>), SgviError> {
        let (lowering, ()) = lowered(graph, |lowering| {
            lowering.probes = Some(Vec::new());
            lowering.let_all_rows_count();
            lowering.add_latents()?;
            for v in 0..graph.variables.len() {
                lowering.add_density(VariableId(v))?;
            }
            lowering.eliminate()
        })?;
        let dimension = lowering.start.len();
        Ok((lowering.b.finish(dimension), lowering.probes.unwrap_or_default(), lowering.factored))
    }

    /// Compiles a graph.
    ///
    /// # Errors
    /// What this engine cannot treat, naming the variable; data that cannot be read.
    pub(crate) fn new(graph: &Graph) -> Result<Self, SgviError> {
        let (lowering, ()) = lowered(graph, |lowering| {
            lowering.shuffle();
            lowering.add_latents()?;
            for v in 0..graph.variables.len() {
                lowering.add_density(VariableId(v))?;
            }
            lowering.eliminate()
        })?;
        let mut read_out = Lowering::new(graph)?;
        read_out.kept.clone_from(&lowering.kept);
        read_out.add_latents()?;
        let outputs = read_out.outputs()?;
        let finish = |l: Lowering| {
            let dimension = l.start.len();
            Arc::new(l.b.finish(dimension))
        };
        let (latents, is_point, owner) = (lowering.latents.clone(), lowering.is_point.clone(), lowering.owner.clone());
        let (start, start_scale) = (lowering.start.clone(), lowering.start_scale.clone());
        let (factored, categories, is_relaxed) = (lowering.factored.clone(), lowering.categories(), lowering.relaxed);
        Ok(Self {
            program: finish(lowering),
            read_out: finish(read_out),
            outputs,
            latents,
            is_point,
            owner,
            start,
            start_scale,
            factored,
            categories,
            is_relaxed,
        })
    }
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph) -> Result<Self, SgviError> {
        let terms = graph.variables.iter().map(|v| v.name.clone()).collect();
        let weights = match graph.counts {
            Some(column) => {
                let mut weights = vec![0.0; graph.data.num_rows()];
                graph.data.read(&[column], 0..weights.len(), &mut weights)?;
                Some(Arc::new(weights))
            }
            None => None,
        };
        let num_rows = graph.rows.map_or(0, |r| graph.axis(r).size);
        Ok(Self {
            graph,
            b: Builder::new(num_rows, terms, graph.inference.batch_size.is_some()),
            nodes: HashMap::new(),
            variables: HashMap::new(),
            enumerated: Vec::new(),
            kept: Vec::new(),
            factored: Vec::new(),
            too_many: Vec::new(),
            relaxed: false,
            reported: None,
            pending: Vec::new(),
            latents: Vec::new(),
            weights,
            order: None,
            is_point: Vec::new(),
            owner: Vec::new(),
            start: Vec::new(),
            start_scale: Vec::new(),
            jacobians: HashMap::new(),
            steps: HashMap::new(),
            filled: HashMap::new(),
            probes: None,
            predictive: None,
            by_cell: None,
            ports: None,
        })
    }

    /// Labels of a list of named axes, the rows left out; whether there are rows.
    fn shape_of(&mut self, axes: &[AxisId]) -> Shape {
        let mut shape = Shape::default();
        for (i, axis) in axes.iter().enumerate() {
            if Some(*axis) == self.graph.rows {
                shape.rows = true;
            } else {
                let occurrence = axes[..i].iter().filter(|a| *a == axis).count();
                let label = self.b.label(*axis, occurrence);
                shape.axes.push((label, self.graph.axis(*axis).size));
            }
        }
        shape
    }

    /// A tensor as data, rows first.
    fn tensor(&mut self, tensor: &Tensor) -> Value {
        let shape = self.shape_of(&tensor.axes);
        let rows = tensor.axes.iter().position(|a| Some(*a) == self.graph.rows);
        let values = match rows {
            Some(at) if at > 0 => {
                // Moves the rows axis to the front.
                let outer: usize = tensor.shape[..at].iter().product();
                let (n, inner): (usize, usize) = (tensor.shape[at], tensor.shape[at + 1..].iter().product());
                let mut values = vec![0.0; tensor.values.len()];
                for o in 0..outer {
                    for r in 0..n {
                        for i in 0..inner {
                            values[(r * outer + o) * inner + i] = tensor.values[(o * n + r) * inner + i];
                        }
                    }
                }
                values
            }
            _ => tensor.values.clone(),
        };
        let values = if rows.is_some() { self.in_order(&values, shape.inner()) } else { values };
        self.b.data(shape, values)
    }

    /// Observed numbers of a variable, if it is observed by numbers.
    fn observed_numbers(&mut self, v: VariableId) -> Result<Option<Value>, SgviError> {
        let graph = self.graph;
        Ok(match graph.variable(v).observed {
            Some(Observation::Numeric(node)) => {
                let tensor = graph.evaluate_data(node, 0..self.b.program.num_rows)?;
                Some(self.tensor(&tensor))
            }
            Some(Observation::Levels { column, axis }) => {
                let codes = graph.data.codes(column, graph.axis(axis))?;
                let values = self.in_order(codes.all(), 1).into_iter().map(code_number).collect();
                Some(self.b.data(Shape { rows: true, axes: Vec::new() }, values))
            }
            Some(Observation::LevelsBlock { block, axis }) => {
                let columns = graph.data.block(block).columns.clone();
                let n = self.b.program.num_rows;
                let mut values = vec![0.0; n * columns.len()];
                for (j, column) in columns.iter().enumerate() {
                    let codes = graph.data.codes(*column, graph.axis(axis))?;
                    for (r, code) in self.in_order(codes.all(), 1).into_iter().enumerate() {
                        values[r * columns.len() + j] = code_number(code);
                    }
                }
                let plates = graph.variable(v).plates.clone();
                let shape = self.shape_of(&plates);
                Some(self.b.data(shape, values))
            }
            None => None,
        })
    }

    /// Whether any expression refers to the variable.
    fn is_used(&self, v: VariableId) -> bool {
        self.graph.nodes.iter().any(|n| n.kind == vi_model::graph::NodeKind::Variable(v))
    }

    fn outputs(&mut self) -> Result<Vec<ReadOut>, SgviError> {
        let mut outputs = Vec::new();
        for latent in self.latents.clone() {
            let variable = self.graph.variable(latent.variable);
            let Some(value) = self.variables.get(&(latent.variable, View::Plain)).cloned() else { continue };
            let axes = self.graph.value_axes(latent.variable);
            let mut axes = axes;
            if matches!(variable.distribution, Distribution::NormalWishart { .. }) {
                axes.truncate(variable.plates.len() + 1);
            }
            let axes = self.strides(&axes, &value);
            self.b.settle(&value);
            outputs.push(ReadOut {
                name: variable.name.clone(),
                variable: Some(latent.variable),
                precision: matches!(latent.support, Support::NormalGamma | Support::NormalWishart(_))
                    .then(|| self.variables.get(&(latent.variable, View::Precision)).cloned())
                    .flatten(),
                value,
                axes,
            });
        }
        for expression in &self.graph.expressions {
            let node = expression.node;
            let axes = self.graph.node(node).axes.clone();
            if self.graph.is_data(node) || self.graph.uses_network(node) || self.depends_on_discrete(node) {
                continue;
            }
            if self.ports.is_some() && axes.iter().any(|a| Some(*a) == self.graph.rows) {
                continue;
            }
            let value = self.node(node, View::Plain)?;
            let axes = self.strides(&axes, &value);
            self.b.settle(&value);
            outputs.push(ReadOut { name: expression.name.clone(), variable: None, precision: None, value, axes });
        }
        Ok(outputs)
    }

    fn strides(&mut self, axes: &[AxisId], value: &Value) -> Vec<(AxisId, usize)> {
        (0..axes.len())
            .map(|i| {
                if Some(axes[i]) == self.graph.rows {
                    return (axes[i], value.shape.row_stride());
                }
                let occurrence = axes[..i].iter().filter(|a| **a == axes[i]).count();
                let label = self.b.label(axes[i], occurrence);
                (axes[i], value.shape.stride(label))
            })
            .collect()
    }

    fn depends_on_discrete(&self, node: NodeId) -> bool {
        self.graph.variables_of(node).into_iter().any(|v| self.enumerated.iter().any(|e| e.variable == v))
    }
}

/// A position as a number; NaN where missing.
fn code_number(code: u32) -> f64 {
    if code == vi_model::data::MISSING_CODE { f64::NAN } else { f64::from(code) }
}
