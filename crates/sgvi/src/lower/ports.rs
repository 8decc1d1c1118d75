//! Models with amortised variables: what networks compute enters the log joint through ports, and terms of rows leave it by row.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use vi_model::graph::{AxisId, Distribution, Graph, IndexSource, NodeId, NodeKind, Observation, VariableId};

use super::discrete::is_discrete;
use super::draws::Draw;
use super::latents::Support;
use super::predictive::Predictive;
use super::{Drawn, Lowering, Model, PredictiveSettings, Probe, View};
use crate::error::SgviError;
use crate::tape::{Program, Shape, Source, UnaryFunction, Value};

/// What fills a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortSource {
    /// The draws of an amortised variable.
    Variable(VariableId),
    /// The output of a network.
    Network(NodeId),
}

/// A buffer over the rows that is filled from outside before the operations with rows run.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// What fills it.
    pub(crate) source: PortSource,
    /// Where it is.
    pub(crate) value: Value,
}

/// The state of a lowering with ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    list: Vec<Port>,
    /// Variables whose log density is evaluated outside.
    elsewhere: HashSet<VariableId>,
    /// Log densities of rows by the variable to whose term they belong.
    terms: BTreeMap<usize, Value>,
    /// Amortised variables that are drawn from their priors instead of read.
    drawn: HashSet<VariableId>,
    /// A discrete variable whose log probabilities are given from outside.
    given: Option<VariableId>,
    /// Where they are: its plates, then its values.
    probabilities: Option<Value>,
}

/// The log joint of a model with amortised variables, but for the densities that are evaluated elsewhere.
///
/// Its coordinates are those of the variables outside the rows' plate.
#[derive(Debug)]
pub(crate) struct JointModel {
    /// Coordinates, read-outs, and the program: its terms are those of variables outside the rows' plate.
    pub(crate) model: Model,
    /// What is to be filled in.
    pub(crate) ports: Vec<Port>,
    /// Log densities by row, `[rows]`, in the order of the variables.
    pub(crate) row_terms: Vec<(VariableId, Value)>,
    /// Values of the continuous variables outside the rows' plate.
    pub(crate) values: HashMap<VariableId, Value>,
    /// Data over the rows that operations read.
    pub(crate) row_data: Vec<usize>,
    /// Where the posteriors of discrete variables can be read off, if that was asked for.
    pub(crate) probes: Vec<Probe>,
}

impl JointModel {
    /// Compiles a graph; `elsewhere` are the variables whose density, given values of everything, is not asked for, and
    /// `probing` asks for the posteriors of discrete variables.
    ///
    /// # Errors
    /// As [`Model::new`]; variables that tie rows together, since batches and draws of single rows must stand for themselves.
    pub(crate) fn new(graph: &Graph, elsewhere: &HashSet<VariableId>, probing: bool) -> Result<Self, SgviError> {
        let start = || -> Result<Lowering<'_>, SgviError> {
            let mut l = Lowering::new(graph)?;
            l.b.eager = true;
            l.weights = None;
            l.ports = Some(Ports { elsewhere: elsewhere.clone(), ..Ports::default() });
            l.add_latents()?;
            Ok(l)
        };
        let mut l = start()?;
        l.probes = probing.then(Vec::new);
        let variables = (0..graph.variables.len()).map(VariableId);
        if let Some(v) = variables.clone().find(|v| graph.variable(*v).marginalized == Some(false)) {
            return Err(SgviError::unsupported(
                graph,
                v,
                "beside amortised variables every discrete variable is summed out",
                "leave out `marginalized`",
            ));
        }
        for v in variables.filter(|v| !elsewhere.contains(v)) {
            let amortized = graph.variable(v).amortized.is_some();
            let chain = matches!(
                graph.variable(v).distribution,
                Distribution::MarkovChain { .. } | Distribution::GaussianMarkovChain { .. }
            );
            if chain {
                return Err(l.tied(v, "a chain along the rows"));
            }
            if amortized && graph.variable(v).point {
                return Err(SgviError::unsupported(
                    graph,
                    v,
                    "an amortised variable is no point estimate",
                    "leave out `point`",
                ));
            }
            l.add_density(v)?;
        }
        l.eliminate()?;
        if let Some(e) = l.enumerated.iter().find(|e| !graph.is_local(e.variable)).map(|e| e.variable)
            && !l.b.program.chunkable
        {
            return Err(l.tied(e, "a discrete variable outside the rows' plate"));
        }
        let mut read_out = start()?;
        let outputs = read_out.outputs()?;
        let Some(Ports { list, terms, .. }) = l.ports.take() else {
            return Ok(Self::none());
        };
        let values = l
            .latents
            .iter()
            .filter_map(|latent| Some((latent.variable, l.variables.get(&(latent.variable, View::Plain))?.clone())))
            .collect();
        let probes = l.probes.take().unwrap_or_default();
        let mut row_data: Vec<usize> = l.b.data_read.iter().copied().collect();
        row_data.extend(terms.values().filter_map(|value| match value.source {
            Source::Data(d) => Some(d),
            Source::Latent(_) => None,
        }));
        row_data.retain(|&d| l.b.program.data[d].shape.rows);
        row_data.sort_unstable();
        row_data.dedup();
        let finish = |l: Lowering<'_>| -> Arc<Program> {
            let dimension = l.start.len();
            Arc::new(l.b.finish(dimension))
        };
        let (latents, is_point, owner) = (l.latents.clone(), l.is_point.clone(), l.owner.clone());
        let (start, start_scale) = (l.start.clone(), l.start_scale.clone());
        let model = Model {
            program: finish(l),
            read_out: finish(read_out),
            outputs,
            latents,
            is_point,
            owner,
            start,
            start_scale,
            factored: Vec::new(),
            categories: Arc::new([]),
            is_relaxed: false,
        };
        let row_terms = terms.into_iter().map(|(v, value)| (VariableId(v), value)).collect();
        Ok(Self { model, ports: list, row_terms, values, row_data, probes })
    }

    fn none() -> Self {
        let program = Arc::new(Program::default());
        let model = Model {
            read_out: Arc::clone(&program),
            program,
            outputs: Vec::new(),
            latents: Vec::new(),
            is_point: Vec::new(),
            owner: Vec::new(),
            start: Vec::new(),
            start_scale: Vec::new(),
            factored: Vec::new(),
            categories: Arc::new([]),
            is_relaxed: false,
        };
        Self {
            model,
            ports: Vec::new(),
            row_terms: Vec::new(),
            values: HashMap::new(),
            row_data: Vec::new(),
            probes: Vec::new(),
        }
    }
}

/// Operations that draw variables of the rows, given what networks compute.
#[derive(Debug)]
pub(crate) struct GeneratorModel {
    /// Over the coordinates of the variables outside the rows' plate and, last, the number of the draw.
    pub(crate) program: Arc<Program>,
    /// What is to be filled in.
    pub(crate) ports: Vec<Port>,
    /// The draws.
    pub(crate) drawn: Vec<Drawn>,
    /// Data over the rows.
    pub(crate) row_data: Vec<usize>,
    /// Log probabilities that are to be filled in, where those of a discrete variable are given.
    pub(crate) given: Option<Value>,
}

impl GeneratorModel {
    /// Compiles the draws of observed variables, or of one amortised variable from its prior; `seed` is that of all draws, and the
    /// discrete variable `given` is drawn by log probabilities from outside instead of its own.
    ///
    /// # Errors
    /// Variables that cannot be drawn, and data that cannot be read.
    pub(crate) fn new(
        graph: &Graph,
        targets: &[VariableId],
        seed: u64,
        given: Option<VariableId>,
    ) -> Result<Self, SgviError> {
        let mut l = Lowering::new(graph)?;
        l.b.eager = true;
        l.weights = None;
        let drawn = targets.iter().copied().filter(|&v| graph.variable(v).amortized.is_some()).collect();
        l.ports = Some(Ports { drawn, given, ..Ports::default() });
        l.predictive = Some(Predictive::drawing(PredictiveSettings { seed, ..PredictiveSettings::default() }));
        l.add_latents()?;
        for &v in targets {
            l.prepare(v)?;
        }
        let mut drawn = l.predictive.take().map(|p| p.drawn).unwrap_or_default();
        drawn.retain(|d| targets.contains(&d.variable));
        for &v in targets.iter().filter(|&&v| graph.variable(v).amortized.is_some()) {
            if let Some(draw) = l.variables.get(&(v, View::Plain)).cloned() {
                drawn.push(Drawn { variable: v, axes: l.b.axes_of(&draw), draw, moments: None, probabilities: None });
            }
        }
        let Ports { list: ports, probabilities: given, .. } = l.ports.take().unwrap_or_default();
        let row_data = (0..l.b.program.data.len()).filter(|&d| l.b.program.data[d].shape.rows).collect();
        let dimension = l.owner.len() + 1;
        Ok(Self { program: Arc::new(l.b.finish(dimension)), ports, drawn, row_data, given })
    }
}

/// The axes of a network's value besides the rows: those along which it is applied, and that of its output.
pub(crate) fn network_axes(graph: &Graph, node: NodeId) -> (Vec<AxisId>, Option<AxisId>) {
    let NodeKind::Network { output, .. } = graph.node(node).kind else { return (Vec::new(), None) };
    let mut axes = graph.node(node).axes.clone();
    if output.is_some() {
        axes.pop();
    }
    axes.retain(|&axis| Some(axis) != graph.rows);
    (axes, output)
}

/// Whether a discrete variable is observed in every row.
pub(crate) fn is_known(graph: &Graph, v: VariableId) -> bool {
    match graph.variable(v).observed {
        None => false,
        Some(Observation::Levels { column, axis }) => {
            graph.data.codes(column, graph.axis(axis)).is_ok_and(|codes| codes.first_missing().is_none())
        }
        Some(Observation::LevelsBlock { .. }) => false,
        Some(Observation::Numeric(node)) => graph
            .evaluate_data(node, 0..graph.data.num_rows())
            .is_ok_and(|tensor| tensor.values.iter().all(|x| !x.is_nan())),
    }
}

/// The discrete variables that choose within what a network reads, and the plates that they choose from.
pub(crate) fn gates_within(graph: &Graph, node: NodeId) -> Result<Vec<(VariableId, AxisId)>, SgviError> {
    let mut gates: Vec<(VariableId, AxisId)> = Vec::new();
    let mut failure = None;
    graph.visit(node, &mut |n| {
        let NodeKind::Index { base, position, index: IndexSource::Gate(gate) } = n.kind else { return };
        let axis = graph.node(base).axes[position];
        match graph.node(gate).kind {
            NodeKind::Variable(v) if is_known(graph, v) => {}
            NodeKind::Variable(v) => {
                if !gates.contains(&(v, axis)) {
                    gates.push((v, axis));
                }
            }
            _ => failure = Some(n.span.clone()),
        }
    });
    match failure {
        None => Ok(gates),
        Some(span) => Err(SgviError::Unsupported {
            variable: graph.source.text.get(span.clone()).unwrap_or("gate").to_owned(),
            reason: "within a network a gate must be a categorical variable".to_owned(),
            help: "write NETWORK(z, a[k]) with `k` in the rows' plate".to_owned(),
            span,
        }),
    }
}

/// Whether a discrete variable's term is one of the prior alone: no observed variable depends on it, but by other such ones.
pub(crate) fn is_prior_term(graph: &Graph, v: VariableId) -> bool {
    let variable = graph.variable(v);
    if variable.observed.is_some() {
        return false;
    }
    let children = |v: VariableId| {
        (0..graph.variables.len()).map(VariableId).filter(move |&child| {
            let nodes = graph.variable(child).distribution.parameters();
            nodes.into_iter().any(|(_, node)| graph.variables_of(node).contains(&v))
        })
    };
    let mut open = vec![v];
    let mut seen = HashSet::new();
    while let Some(v) = open.pop() {
        for child in children(v) {
            let child_variable = graph.variable(child);
            if is_discrete(&graph.variable(v).distribution) && child_variable.observed.is_some() {
                return false;
            }
            if is_discrete(&child_variable.distribution) && seen.insert(child) {
                open.push(child);
            }
        }
    }
    true
}

impl Lowering<'_> {
    /// Whether the log density of a variable is evaluated outside the program.
    pub(super) fn is_elsewhere(&self, v: VariableId) -> bool {
        self.ports.as_ref().is_some_and(|p| p.elsewhere.contains(&v))
    }

    pub(super) fn tied(&self, v: VariableId, what: &str) -> SgviError {
        SgviError::unsupported(
            self.graph,
            v,
            format!("{what} ties rows together, which networks see one by one"),
            "give it a factor per row, or leave out the networks",
        )
    }

    /// A buffer over these axes, filled from outside.
    fn port(&mut self, source: PortSource, axes: &[AxisId]) -> Value {
        let mut shape = self.shape_of(axes);
        shape.rows = true;
        let value = Value { source: Source::Latent(self.b.buffer(&shape, true, true)), shape };
        if let Some(ports) = &mut self.ports {
            ports.list.push(Port { source, value: value.clone() });
        }
        value
    }

    /// The port of an amortised variable.
    pub(super) fn add_amortized(&mut self, v: VariableId) -> Result<(), SgviError> {
        if self.ports.is_none() {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "an amortised factor cannot stand in this compiled model",
                "fit it by amortised training",
            ));
        }
        let axes = self.graph.value_axes(v);
        let draw = self.port(PortSource::Variable(v), &axes);
        // The network's draws are on the whole line, or the logarithms of shares.
        let (value, jacobian) = match self.support(v)? {
            Support::Lower(lower) => {
                let above = self.b.unary(UnaryFunction::Exp, &draw);
                if self.b.number(&lower) == Some(0.0) {
                    self.variables.insert((v, View::Log), draw.clone());
                }
                (self.b.sum(&lower, &above), draw)
            }
            Support::Upper(upper) => {
                let below = self.b.unary(UnaryFunction::Exp, &draw);
                (self.b.difference(&upper, &below), draw)
            }
            Support::Interval(lower, upper) => {
                let width = self.b.difference(&upper, &lower);
                let share = self.b.unary(UnaryFunction::Logistic, &draw);
                let inner = self.b.product(&width, &share);
                // log of the derivative of l + (u − l) logistic θ.
                let opposite = self.b.unary(UnaryFunction::Negate, &draw);
                let (a, b) =
                    (self.b.unary(UnaryFunction::Softplus, &draw), self.b.unary(UnaryFunction::Softplus, &opposite));
                let both = self.b.sum(&a, &b);
                let log_width = self.b.unary(UnaryFunction::Log, &width);
                (self.b.sum(&lower, &inner), self.b.difference(&log_width, &both))
            }
            // The network's program gives log π of π ∝ (e^θ₁, …, 1), for which |∂π/∂θ| = Π π.
            Support::Simplex { .. } => {
                let shares = self.b.unary(UnaryFunction::Exp, &draw);
                let jacobian = self.b.sum_to(&draw, &Shape { rows: true, axes: Vec::new() });
                self.variables.insert((v, View::Log), draw);
                (shares, jacobian)
            }
            _ => {
                self.variables.insert((v, View::Plain), draw);
                return Ok(());
            }
        };
        self.variables.insert((v, View::Plain), value);
        self.jacobians.insert(v, jacobian);
        Ok(())
    }

    /// Whether an amortised variable is drawn from its prior.
    pub(super) fn is_drawn_from_prior(&self, v: VariableId) -> bool {
        self.ports.as_ref().is_some_and(|p| p.drawn.contains(&v))
    }

    /// The draw of a discrete variable whose log probabilities come from outside.
    pub(super) fn draw_given(&mut self, v: VariableId, shape: &Shape) -> Result<Option<Draw>, SgviError> {
        if self.ports.as_ref().is_none_or(|p| p.given != Some(v)) {
            return Ok(None);
        }
        let size = self.num_values(v)?;
        let mut all = shape.clone();
        all.axes.push((self.b.fresh_label(), size));
        let log = Value { source: Source::Latent(self.b.buffer(&all, false, true)), shape: all };
        if let Some(ports) = &mut self.ports {
            ports.probabilities = Some(log.clone());
        }
        Ok(Some(self.draw_category(v, log, size, shape)))
    }

    /// The value of a network: a port, with an axis for the values of every discrete variable that the network reads.
    ///
    /// That axis is the variable's own where it is summed out; where the variable is drawn, the draw chooses along it.
    pub(super) fn network_port(&mut self, node: NodeId) -> Result<Value, SgviError> {
        let graph = self.graph;
        let gates = gates_within(graph, node)?;
        let (inner, output) = network_axes(graph, node);
        let mut shape = Shape { rows: true, axes: Vec::new() };
        let mut drawn = Vec::new();
        for &(v, axis) in &gates {
            let size = graph.axis(axis).size;
            match self.enumerated.iter().find(|e| e.variable == v && e.joined.is_empty()) {
                Some(e) => shape.axes.push(e.label),
                None => {
                    let label = self.b.fresh_label();
                    shape.axes.push((label, size));
                    drawn.push((v, label));
                }
            }
        }
        let others: Vec<AxisId> = inner.into_iter().chain(output).collect();
        shape.axes.extend(self.shape_of(&others).axes);
        let mut value = Value { source: Source::Latent(self.b.buffer(&shape, true, true)), shape };
        if let Some(ports) = &mut self.ports {
            ports.list.push(Port { source: PortSource::Network(node), value: value.clone() });
        }
        for (v, label) in drawn {
            let Some(codes) = self.variables.get(&(v, View::Plain)).cloned() else {
                return Err(self.tied(v, "a discrete variable that a network reads with all its elements at once"));
            };
            // Latent codes are positions too.
            value = self.b.select(&value, label, &codes);
        }
        Ok(value)
    }

    /// Keeps a log density of the rows by row, summed over its further axes; whether it is one.
    pub(super) fn keep_port_term(&mut self, v: VariableId, value: &Value, own: &Shape) -> bool {
        if self.ports.is_none() || !own.rows {
            return false;
        }
        let rows = Shape { rows: true, axes: Vec::new() };
        let lacking: usize = own.axes.iter().filter(|a| !value.shape.has(a.0)).map(|a| a.1).product();
        let total = self.b.sum_to(value, &Shape { rows: value.shape.rows, axes: Vec::new() });
        let total = self.b.scaled(lacking as f64, &total);
        let known = self.ports.as_ref().and_then(|p| p.terms.get(&v.0)).cloned();
        let total = match known {
            Some(known) => self.full_sum(&known, &total, &rows),
            None => self.full(&total, &rows),
        };
        if let Some(ports) = &mut self.ports {
            ports.terms.insert(v.0, total);
        }
        true
    }
}
