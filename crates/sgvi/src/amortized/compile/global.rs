//! What the log joint takes over from the row program: variables outside the rows' plate, and densities that no layer needs.

use super::super::completion::Completion;
use super::super::globals::Globals;
use super::super::joint::{Generator, Joint};
use super::super::program::{DataNode, Level, Operation, Output, SlotId};
use super::{Compiler, Value};
use crate::error::SgviError;
use crate::lower::{GeneratorModel, JointModel, Port, PortSource, is_discrete, is_known, is_prior_term};
use std::collections::HashSet;
use std::sync::Arc;
use vi_model::graph::{Distribution, IndexSource, NodeId, NodeKind, Observation, VariableId};

impl Compiler<'_> {
    /// Whether the row program can compute an expression: every look-up in it is one by a data column in what is the same
    /// for all rows.
    pub(super) fn is_plain(&self, node: NodeId) -> bool {
        let graph = self.graph;
        if graph.is_data(node) {
            return true;
        }
        match &graph.node(node).kind {
            NodeKind::Variable(id) => {
                let variable = graph.variable(*id);
                let joint = matches!(
                    variable.distribution,
                    Distribution::NormalGamma { .. } | Distribution::NormalWishart { .. }
                );
                variable.observed.is_some() || !is_discrete(&variable.distribution) && !joint
            }
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.is_plain(*a),
            NodeKind::Binary(_, a, b) => self.is_plain(*a) && self.is_plain(*b),
            NodeKind::Dot { left, right, .. } => self.is_plain(*left) && self.is_plain(*right),
            NodeKind::Index { base, index, .. } => {
                let by_row = graph.rows.is_some_and(|rows| graph.node(*base).axes.contains(&rows));
                let known = match index {
                    IndexSource::Column(_) => true,
                    IndexSource::Gate(gate) => {
                        matches!(graph.node(*gate).kind, NodeKind::Variable(id) if is_known(graph, id))
                    }
                };
                known && !by_row && self.is_plain(*base)
            }
            NodeKind::Network { arguments, .. } => arguments.iter().all(|&argument| self.is_plain(argument)),
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => true,
        }
    }

    /// The slot of a variable outside the rows' plate.
    pub(super) fn global(&mut self, id: VariableId) -> Result<Value, SgviError> {
        let graph = self.graph;
        if graph.is_local(id) {
            return self.refuse_variable(
                id,
                "beside networks a latent variable with a value for every data row must be amortised",
                "give it `amortized = \"NETWORK(data)\"`",
            );
        }
        let axes = graph.value_axes(id);
        let output = self.slot(Level::Global, self.size(&axes));
        self.program.operations.push(Operation::Global { variable: id, output });
        Ok(Value { slot: output, axes })
    }

    /// Compiles the log joint of all that the row program does not evaluate itself.
    pub(super) fn joint(&mut self) -> Result<(), SgviError> {
        let graph = self.graph;
        let elsewhere: HashSet<VariableId> = (0..graph.variables.len())
            .map(VariableId)
            .filter(|&id| {
                let amortized = graph.variable(id).amortized.is_some();
                self.has_plain_likelihood(id) || amortized && self.has_plain_prior(id)
            })
            .collect();
        if elsewhere.len() == graph.variables.len() {
            return Ok(());
        }
        let joint = JointModel::new(graph, &elsewhere, false)?;
        self.program.elsewhere = elsewhere;
        let slots = self.port_slots(&joint.ports)?;
        let names = |id: VariableId| {
            let variable = graph.variable(id);
            (variable.name.clone(), variable.amortized.is_some() || is_prior_term(graph, id))
        };
        let joint = Joint::new(joint, &slots, &names);
        let (layout, starts) = (&mut self.program.layout, &mut self.program.starts);
        self.program.globals = Some(Globals::new(graph, joint, layout, starts));
        self.generators()
    }

    fn port_slots(&mut self, ports: &[Port]) -> Result<Vec<SlotId>, SgviError> {
        ports
            .iter()
            .map(|port| match port.source {
                PortSource::Variable(id) => {
                    let value = self.variable(id)?.slot;
                    Ok(self.draws.get(&id).copied().unwrap_or(value))
                }
                PortSource::Network(node) => Ok(self.value(node)?.slot),
            })
            .collect()
    }

    /// Compiles how variables are drawn whose densities the log joint has.
    fn generators(&mut self) -> Result<(), SgviError> {
        let graph = self.graph;
        let seen: Vec<VariableId> = (0..graph.variables.len())
            .map(VariableId)
            .filter(|&id| graph.variable(id).observed.is_some() && graph.is_local(id) && !self.has_plain_likelihood(id))
            .collect();
        for &id in &seen {
            let axes = match graph.variable(id).distribution {
                Distribution::Categorical { .. } => self.without_rows(&graph.variable(id).plates),
                _ => self.without_rows(&graph.value_axes(id)),
            };
            let node = match graph.variable(id).observed {
                Some(Observation::Numeric(node)) => {
                    DataNode::Expression(node, self.without_rows(&graph.node(node).axes))
                }
                Some(Observation::Levels { column, axis }) => DataNode::Codes(column, axis),
                Some(Observation::LevelsBlock { block, axis }) => DataNode::BlockCodes(block, axis),
                None => continue,
            };
            self.program.sources.push(node);
            let nodes = graph.variable(id).distribution.parameters();
            let needs_discrete = nodes.into_iter().flat_map(|(_, node)| graph.variables_of(node)).any(|parent| {
                is_discrete(&graph.variable(parent).distribution) && graph.is_local(parent) && !is_known(graph, parent)
            });
            self.program.outputs.push(Output {
                name: graph.variable(id).name.clone(),
                variable: id,
                width: self.size(&axes),
                source: Some(self.program.sources.len() - 1),
                needs_discrete,
            });
        }
        if !seen.is_empty() {
            self.program.generator = Some(self.generator(&seen)?);
        }
        if self.program.outputs.iter().any(|output| output.needs_discrete) {
            self.program.completion = self.completion(&seen)?;
        }
        for index in 0..self.program.latents.len() {
            if self.program.latents[index].prior.is_none()
                && let Some(id) = graph.variable_named(&self.program.latents[index].name)
            {
                let generator = self.generator(&[id])?;
                self.program.prior_generators.push((index, generator));
            }
        }
        Ok(())
    }

    /// How the only unknown discrete variable of the rows is filled in, if its elements are known one by one and there is no other.
    fn completion(&mut self, seen: &[VariableId]) -> Result<Option<Arc<Completion>>, SgviError> {
        let graph = self.graph;
        let mut joint = JointModel::new(graph, &self.program.elsewhere, true)?;
        let mut probes = std::mem::take(&mut joint.probes);
        let (Some(probe), true) = (probes.pop(), probes.is_empty()) else { return Ok(None) };
        if !probe.joined.is_empty() || !probe.value.shape.rows {
            return Ok(None);
        }
        let seed = graph.inference.seed.unwrap_or(0);
        let Ok(model) = GeneratorModel::new(graph, seen, seed, Some(probe.variable)) else { return Ok(None) };
        let Some(given) = model.given.clone() else { return Ok(None) };
        let (of_joint, of_model) = (self.port_slots(&joint.ports)?, self.port_slots(&model.ports)?);
        let joint = Joint::new(joint, &of_joint, &|_| (String::new(), false));
        let generator = Generator::new(model, &of_model);
        Ok(Some(Arc::new(Completion::new(joint, probe, generator, given))))
    }

    /// What cannot be drawn is told when draws are asked for.
    fn generator(&mut self, targets: &[VariableId]) -> Result<Result<Arc<Generator>, String>, SgviError> {
        match GeneratorModel::new(self.graph, targets, self.graph.inference.seed.unwrap_or(0), None) {
            Ok(model) => {
                let slots = self.port_slots(&model.ports)?;
                Ok(Ok(Arc::new(Generator::new(model, &slots))))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}
