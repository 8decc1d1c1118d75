//! What the log joint takes over from the row program: variables outside the rows' plate, and densities that no layer needs.

use super::super::globals::Globals;
use super::super::joint::Joint;
use super::super::program::{Level, Operation};
use super::{Compiler, Value};
use crate::error::SgviError;
use crate::lower::{JointModel, PortSource, is_discrete, is_prior_term};
use std::collections::HashSet;
use vi_model::graph::{Distribution, IndexSource, NodeId, NodeKind, VariableId};

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
                matches!(index, IndexSource::Column(_)) && !by_row && self.is_plain(*base)
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
        let joint = JointModel::new(graph, &elsewhere)?;
        let mut slots = Vec::with_capacity(joint.ports.len());
        for port in &joint.ports {
            slots.push(match port.source {
                PortSource::Variable(id) => self.variable(id)?.slot,
                PortSource::Network(node) => self.value(node)?.slot,
            });
        }
        let names = |id: VariableId| {
            let variable = graph.variable(id);
            (variable.name.clone(), variable.amortized.is_some() || is_prior_term(graph, id))
        };
        let joint = Joint::new(joint, &slots, &names);
        let (layout, starts) = (&mut self.program.layout, &mut self.program.starts);
        self.program.globals = Some(Globals::new(graph, joint, layout, starts));
        Ok(())
    }
}
