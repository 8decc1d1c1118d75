//! Programs for new rows: global variables from the fit, row-level ones drawn from the model, or their densities by row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vi_model::graph::{AxisId, BinaryOperator, Distribution, Graph, NodeId, VariableId};
use vi_run::seed::derive_seed;

use super::discrete::is_discrete;
use super::draws::Draw;
use super::{Lowering, ReadOut, View};
use crate::error::SgviError;
use crate::predict::operations::{Overlay, Stream};
use crate::tape::{Binary, Program, Shape, Source, Value};

/// What a program for new rows is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct PredictiveSettings {
    /// Seed of all draws.
    pub(crate) seed: u64,
    /// For each axis with new levels, how many the fit knows.
    pub(crate) known: HashMap<AxisId, usize>,
    /// Posterior probabilities `[plates, values]` of discrete variables outside the rows' plate.
    pub(crate) discrete: HashMap<VariableId, Vec<f64>>,
    /// What is asked for instead of the observed variables and all expressions of the rows: latent variables, and expressions.
    pub(crate) asked: Option<(Vec<VariableId>, Vec<String>)>,
}

/// An observed variable of the rows, drawn anew.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) variable: VariableId,
    pub(crate) draw: Value,
    /// The axes of a row's elements, the last one fastest.
    pub(crate) axes: Vec<AxisId>,
    /// Mean and variance given everything before it.
    pub(crate) moments: Option<(Value, Value)>,
    /// Probabilities of its values, in a last axis.
    pub(crate) probabilities: Option<Value>,
}

/// A program over the coordinates of the global variables and, last, the number of the draw.
#[derive(Debug)]
pub(crate) struct PredictiveProgram {
    pub(crate) program: Arc<Program>,
    /// For each coordinate its variable.
    pub(crate) owner: Vec<usize>,
    pub(crate) drawn: Vec<Drawn>,
    pub(crate) expressions: Vec<ReadOut>,
    /// Log density of each row's observed values, `[rows]`; only where it was asked for.
    pub(crate) log_density: Option<Value>,
    /// Whether a row has any observed value.
    pub(crate) present: Vec<bool>,
}

/// The state of a lowering for new rows.
#[derive(Debug, Default)]
pub(super) struct Predictive {
    settings: PredictiveSettings,
    /// Whether discrete variables are summed out and densities kept; draws are made otherwise.
    pub(super) densities: bool,
    /// Discrete variables on which draws depend, so that they are drawn too.
    sampled: HashSet<VariableId>,
    ready: HashSet<VariableId>,
    pub(super) drawn: Vec<Drawn>,
    /// Log densities of the rows.
    pub(super) terms: Vec<Value>,
}

impl Predictive {
    /// For draws of rows.
    pub(super) fn drawing(settings: PredictiveSettings) -> Self {
        Self { settings, ..Self::default() }
    }
}

/// Why rows have no density of their own, if they have not.
pub(crate) fn joint_rows(graph: &Graph) -> bool {
    graph
        .variables
        .iter()
        .any(|v| matches!(v.distribution, Distribution::MarkovChain { .. } | Distribution::GaussianMarkovChain { .. }))
}

impl PredictiveProgram {
    /// Compiles a graph over new rows: their log densities, or draws of their observed variables.
    ///
    /// # Errors
    /// Variables that cannot be drawn, and data that cannot be read.
    pub(crate) fn new(graph: &Graph, settings: &PredictiveSettings, densities: bool) -> Result<Self, SgviError> {
        // Discrete variables of the rows that have too many values to be summed out are drawn.
        let mut too_many = HashSet::new();
        loop {
            let mut l = Lowering::new(graph)?;
            let made = l.predictive_program(settings, densities, &too_many);
            let before = too_many.len();
            too_many.extend(l.too_many.iter().copied());
            match made {
                Err(_) if too_many.len() > before => {}
                Err(error) => return Err(error),
                Ok((present, expressions, log_density)) => {
                    let drawn = l.predictive.take().map(|p| p.drawn).unwrap_or_default();
                    let owner = l.owner;
                    l.b.program.dimension = owner.len() + 1;
                    return Ok(Self {
                        program: Arc::new(l.b.program),
                        owner,
                        drawn,
                        expressions,
                        log_density,
                        present,
                    });
                }
            }
        }
    }
}

/// Which rows have observed values, the expressions, and the log densities of the rows.
type PredictiveParts = (Vec<bool>, Vec<ReadOut>, Option<Value>);

impl Lowering<'_> {
    fn predictive_program(
        &mut self,
        settings: &PredictiveSettings,
        densities: bool,
        too_many: &HashSet<VariableId>,
    ) -> Result<PredictiveParts, SgviError> {
        let graph = self.graph;
        let l = self;
        l.b.eager = true;
        l.weights = None;
        l.predictive = Some(Predictive { settings: settings.clone(), densities, ..Predictive::default() });
        if densities {
            let mut sampled = l.drawn_ancestors();
            sampled.extend(too_many);
            if let Some(p) = &mut l.predictive {
                p.sampled = sampled;
            }
        }
        l.add_latents()?;
        let mut present = vec![false; l.b.program.num_rows];
        for v in l.wanted() {
            l.prepare(v)?;
        }
        let mut expressions = Vec::new();
        for v in (0..graph.variables.len()).map(VariableId).filter(|v| graph.is_local(*v)) {
            let Some(x) = l.observed_numbers(v)? else { continue };
            let numbers = l.b.numbers(&x).unwrap_or_default();
            let width = x.shape.inner().max(1);
            for (present, cells) in present.iter_mut().zip(numbers.chunks(width)) {
                *present |= cells.iter().any(|c| !c.is_nan());
            }
            if densities {
                l.row_density(v, &x)?;
            }
        }
        let mut log_density = None;
        if densities {
            l.eliminate()?;
            let rows = Shape { rows: true, axes: Vec::new() };
            let mut total = l.b.data(rows.clone(), vec![0.0; present.len()]);
            for term in l.predictive.as_mut().map(|p| std::mem::take(&mut p.terms)).unwrap_or_default() {
                total = l.full_sum(&total, &term, &rows);
            }
            log_density = Some(total);
        } else {
            expressions = l.row_expressions()?;
        }
        Ok((present, expressions, log_density))
    }

    /// The variables whose values are needed.
    fn wanted(&self) -> Vec<VariableId> {
        let graph = self.graph;
        let Some((variables, names)) = self.asked() else {
            return (0..graph.variables.len()).map(VariableId).collect();
        };
        let mut wanted = variables.clone();
        for expression in graph.expressions.iter().filter(|e| names.contains(&e.name)) {
            wanted.extend(graph.variables_of(expression.node));
        }
        wanted
    }

    fn asked(&self) -> Option<&(Vec<VariableId>, Vec<String>)> {
        self.predictive.as_ref()?.settings.asked.as_ref()
    }

    /// Parameters and bounds of a variable.
    pub(super) fn parameter_nodes(&self, v: VariableId) -> Vec<NodeId> {
        let variable = self.graph.variable(v);
        let mut nodes: Vec<NodeId> = variable.distribution.parameters().into_iter().map(|(_, node)| node).collect();
        nodes.extend(variable.lower);
        nodes.extend(variable.upper);
        nodes
    }

    fn parents(&self, v: VariableId) -> Vec<VariableId> {
        self.parameter_nodes(v).into_iter().flat_map(|node| self.graph.variables_of(node)).collect()
    }

    /// Discrete row-level variables above any row-level variable that must be drawn.
    fn drawn_ancestors(&self) -> HashSet<VariableId> {
        let mut open: Vec<VariableId> = (0..self.graph.variables.len())
            .map(VariableId)
            .filter(|&v| {
                let variable = self.graph.variable(v);
                self.graph.is_local(v)
                    && !is_discrete(&variable.distribution)
                    && (variable.observed.is_none() || self.is_used(v))
            })
            .collect();
        let mut found = HashSet::new();
        while let Some(v) = open.pop() {
            for parent in self.parents(v) {
                if self.graph.is_local(parent) && found.insert(parent) {
                    open.push(parent);
                }
            }
        }
        found
    }

    /// Whether a variable is drawn in a program for new rows rather than given coordinates or summed out.
    pub(super) fn is_drawn(&self, v: VariableId) -> bool {
        let Some(p) = &self.predictive else { return false };
        let graph = self.graph;
        if graph.variable(v).amortized.is_some() && self.ports.is_some() {
            return self.is_drawn_from_prior(v);
        }
        let discrete = is_discrete(&graph.variable(v).distribution);
        if !graph.is_local(v) {
            return discrete && graph.variable(v).observed.is_none();
        }
        !(discrete && p.densities && !p.sampled.contains(&v))
    }

    /// An array brought to exactly a shape.
    pub(super) fn full(&mut self, value: &Value, shape: &Shape) -> Value {
        if value.shape == *shape {
            self.b.settle(value);
            return value.clone();
        }
        let zeros = self.b.data(shape.clone(), vec![0.0; shape.elements(self.b.program.num_rows)]);
        self.full_sum(&zeros, value, shape)
    }

    pub(super) fn full_sum(&mut self, left: &Value, right: &Value, shape: &Shape) -> Value {
        self.b.add(&[left, right], shape.clone(), &[], |output, _| Binary {
            operator: BinaryOperator::Add,
            left: left.clone(),
            right: right.clone(),
            output,
        })
    }

    pub(super) fn output(&mut self, shape: &Shape) -> Value {
        let buffer = self.b.buffer(shape, false, shape.rows);
        Value { source: Source::Latent(buffer), shape: shape.clone() }
    }

    pub(super) fn stream(&self, v: VariableId) -> Stream {
        Stream {
            seed: derive_seed(self.predictive.as_ref().map_or(0, |p| p.settings.seed), v.0 as u64),
            by_row: self.graph.is_local(v),
        }
    }

    /// Makes the value of a variable available, its parents' first.
    pub(super) fn prepare(&mut self, v: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        if !self.predictive.as_mut().is_some_and(|p| p.ready.insert(v)) {
            return Ok(());
        }
        for parent in self.parents(v) {
            self.prepare(parent)?;
        }
        let shape = self.shape_of(&graph.value_axes(v));
        if !graph.is_local(v) && !self.is_drawn(v) {
            return self.prepare_new_levels(v, &shape);
        }
        if !self.is_drawn(v) {
            return Ok(());
        }
        let densities = self.predictive.as_ref().is_some_and(|p| p.densities);
        let observed = self.observed_numbers(v)?;
        if densities && observed.is_some() && !self.is_used(v) {
            return Ok(());
        }
        let drawn = match self.draw_given(v, &shape)? {
            Some(drawn) => drawn,
            None if graph.is_local(v) => self.draw(v, &shape)?,
            None => self.draw_from_posterior(v, &shape)?,
        };
        let value = match &observed {
            None => drawn.draw.clone(),
            Some(given) => {
                let given = self.full(given, &shape);
                self.overlay(&given, &given.clone(), &drawn.draw)
            }
        };
        self.variables.insert((v, View::Plain), value);
        let shown = self.asked().map_or(observed.is_some(), |asked| asked.0.contains(&v));
        if let (Some(p), true) = (&mut self.predictive, shown && !densities) {
            p.drawn.push(Drawn {
                variable: v,
                axes: self.b.axes_of(&drawn.draw),
                draw: drawn.draw,
                moments: drawn.moments,
                probabilities: drawn.probabilities,
            });
        }
        Ok(())
    }

    fn overlay(&mut self, given: &Value, known: &Value, other: &Value) -> Value {
        let complete = self.b.numbers(known).is_some_and(|x| x.iter().all(|x| !x.is_nan()));
        if complete {
            return given.clone();
        }
        let output = self.output(&given.shape);
        let operation =
            Overlay { given: given.clone(), known: known.clone(), other: other.clone(), output: output.clone() };
        self.b.push(Box::new(operation), given.shape.rows);
        output
    }

    /// Levels that the fit has not seen are drawn from the prior.
    fn prepare_new_levels(&mut self, v: VariableId, shape: &Shape) -> Result<(), SgviError> {
        let graph = self.graph;
        let variable = graph.variable(v);
        let known = self.predictive.as_ref().map(|p| p.settings.known.clone()).unwrap_or_default();
        let grown: Vec<AxisId> = variable.plates.iter().copied().filter(|a| known.contains_key(a)).collect();
        if grown.is_empty() || variable.observed.is_some() {
            return Ok(());
        }
        let refused = variable.point
            || variable.ordered
            || matches!(
                variable.distribution,
                Distribution::NormalGamma { .. } | Distribution::NormalWishart { .. } | Distribution::Wishart { .. }
            );
        if refused {
            return Err(SgviError::unsupported(
                graph,
                v,
                format!(
                    "the new data have levels of `{}` that the fit has not seen, and this variable cannot be drawn for them from its prior",
                    graph.axis(grown[0]).name
                ),
                "leave out those rows, or fit again with them",
            ));
        }
        let drawn = self.draw(v, shape)?;
        // A mask over the grown plates: a number where the fit knows the level.
        let mut known_levels = vec![f64::NAN; shape.inner()];
        let sizes: Vec<usize> = shape.axes.iter().map(|a| a.1).collect();
        let limits: Vec<usize> = (0..sizes.len())
            .map(|i| variable.plates.get(i).and_then(|a| known.get(a)).copied().unwrap_or(sizes[i]))
            .collect();
        for (i, out) in known_levels.iter_mut().enumerate() {
            let mut rest = i;
            let inside = (0..sizes.len()).rev().all(|a| {
                let at = rest % sizes[a];
                rest /= sizes[a];
                at < limits[a]
            });
            if inside {
                *out = 0.0;
            }
        }
        let mask = self.b.data(shape.clone(), known_levels);
        if let Some(given) = self.variables.get(&(v, View::Plain)).cloned() {
            let value = self.overlay(&given, &mask, &drawn.draw);
            self.variables.retain(|key, _| key.0 != v);
            self.variables.insert((v, View::Plain), value);
        }
        Ok(())
    }

    /// A discrete variable outside the rows, from its posterior probabilities.
    fn draw_from_posterior(&mut self, v: VariableId, shape: &Shape) -> Result<Draw, SgviError> {
        let posterior = self.predictive.as_ref().and_then(|p| p.settings.discrete.get(&v)).cloned();
        let size = posterior.as_ref().map_or(0, |p| p.len() / shape.inner().max(1));
        let Some(probabilities) = posterior.filter(|p| size > 0 && p.len() == size * shape.inner()) else {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "the new data have levels that the fit has not seen, for which this discrete variable has no posterior",
                "leave out those rows, or fit again with them",
            ));
        };
        let mut all = shape.clone();
        all.axes.push((self.b.fresh_label(), size));
        let log = self.b.data(all, probabilities.into_iter().map(f64::ln).collect());
        Ok(self.draw_category(v, log, size, shape))
    }

    /// Keeps the log density of the given values of an observed variable.
    fn row_density(&mut self, v: VariableId, x: &Value) -> Result<(), SgviError> {
        if self.enumerated.iter().any(|e| e.variable == v) {
            return Ok(());
        }
        let own = self.variables.insert((v, View::Plain), x.clone());
        self.add_density(v)?;
        if let Some(own) = own {
            self.variables.insert((v, View::Plain), own);
        }
        Ok(())
    }

    /// The named expressions that have a value in each row.
    fn row_expressions(&mut self) -> Result<Vec<ReadOut>, SgviError> {
        let graph = self.graph;
        let mut out = Vec::new();
        for expression in &graph.expressions {
            let axes = graph.node(expression.node).axes.clone();
            let rows = axes.iter().any(|a| Some(*a) == graph.rows);
            let left_out = self.asked().is_some_and(|asked| !asked.1.contains(&expression.name));
            if !rows || left_out || graph.is_data(expression.node) || graph.uses_network(expression.node) {
                continue;
            }
            let value = self.node(expression.node, View::Plain)?;
            let shape = self.shape_of(&axes);
            let value = self.full(&value, &shape);
            let axes = self.strides(&axes, &value);
            out.push(ReadOut { name: expression.name.clone(), variable: None, precision: None, value, axes });
        }
        Ok(out)
    }
}
