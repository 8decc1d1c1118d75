//! Observed variables whose densities the row program evaluates itself: their data and parameters.

use super::super::program::{DataNode, Level, Likelihood, Observed, Operation, Output};
use super::{Compiler, Value};
use crate::error::SgviError;
use vi_model::graph::{AxisId, Distribution, NodeId, Observation, Probability, Spread, SpreadForm, VariableId};

impl Compiler<'_> {
    /// Whether a variable is observed in every row with one of the densities that have vectorised kernels.
    pub(super) fn has_plain_likelihood(&self, id: VariableId) -> bool {
        let graph = self.graph;
        let variable = graph.variable(id);
        if variable.observed.is_none() || !graph.is_local(id) || variable.lower.is_some() || variable.upper.is_some() {
            return false;
        }
        let nodes: Vec<NodeId> = match variable.distribution {
            Distribution::Bernoulli { probability: Probability::Logit(node) } => vec![node],
            Distribution::Normal { mean, spread, form } if form != SpreadForm::Matrix => match spread {
                Spread::StandardDeviation(node) | Spread::Variance(node) | Spread::Precision(node) => vec![mean, node],
                Spread::Covariance(_) => return false,
            },
            Distribution::Poisson { rate, log: true } => vec![rate],
            Distribution::Categorical { probabilities, logits: true, .. } => vec![probabilities],
            _ => return false,
        };
        nodes.into_iter().all(|node| self.is_plain(node))
    }

    /// Adds a variable with a plain likelihood.
    pub(super) fn observed(&mut self, id: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        // A category is one number, whatever axis it ranges over.
        let axes = match variable.distribution {
            Distribution::Categorical { .. } => self.without_rows(&variable.plates),
            _ => self.without_rows(&graph.value_axes(id)),
        };
        let width = self.size(&axes);
        let data = match variable.observed {
            Some(Observation::Numeric(node)) => {
                let value = self.value(node)?;
                self.align(&value, &axes, Level::Row)
            }
            Some(Observation::Levels { column, axis }) => {
                self.source(DataNode::Codes(column, axis), 1, Vec::new()).slot
            }
            Some(Observation::LevelsBlock { block, axis }) => {
                self.source(DataNode::BlockCodes(block, axis), width, axes.clone()).slot
            }
            None => return Ok(()),
        };
        let (likelihood, values) = match variable.distribution {
            Distribution::Bernoulli { probability: Probability::Logit(node) } => {
                (Likelihood::BernoulliLogit, vec![self.value(node)?])
            }
            Distribution::Normal { mean, spread, .. } => {
                let mean = self.value(mean)?;
                let sd = self.sd(spread)?;
                (Likelihood::Normal, vec![mean, sd])
            }
            Distribution::Poisson { rate, .. } => (Likelihood::PoissonLogRate, vec![self.value(rate)?]),
            Distribution::Categorical { probabilities, range, .. } => {
                (Likelihood::Categorical { size: graph.axis(range).size }, vec![self.value(probabilities)?])
            }
            _ => return Ok(()),
        };
        let mut parameters = Vec::with_capacity(values.len() + 1);
        for Value { slot, axes: own } in values {
            // A single number serves every element as it is.
            parameters.push(match variable.distribution {
                _ if own.is_empty() => slot,
                Distribution::Categorical { range, .. } => {
                    let axes: Vec<AxisId> = axes.iter().copied().chain([range]).collect();
                    self.align(&Value { slot, axes: own }, &axes, Level::Global)
                }
                _ => self.align(&Value { slot, axes: own }, &axes, Level::Global),
            });
        }
        if likelihood == Likelihood::PoissonLogRate {
            let source = self.program.operations.iter().find_map(|operation| match operation {
                Operation::Data { source, output } if *output == data => Some(*source),
                _ => None,
            });
            let Some(source) = source else {
                return self.refuse_variable(id, "its counts are not data", "observe a column or block");
            };
            parameters.push(self.source(DataNode::LogFactorial(source), width, axes).slot);
        }
        let name = variable.name.clone();
        let source = self.program.operations.iter().find_map(|operation| match operation {
            Operation::Data { source, output } if *output == data => Some(*source),
            _ => None,
        });
        let output = Output { name: name.clone(), variable: id, width, source, needs_discrete: false };
        self.program.outputs.push(output);
        self.program.observed.push(Observed { name, likelihood, data, parameters });
        Ok(())
    }
}
