//! Observed variables of an amortised model: their data, densities and parameters.

use super::super::program::{DataNode, Level, Likelihood, Observed, Operation};
use super::{Compiler, Value};
use crate::density::Kernel;
use crate::error::SgviError;
use vi_model::graph::{AxisId, Distribution, NodeId, Observation, PrecisionOrSd, Probability, SpreadForm, VariableId};

impl Compiler<'_> {
    pub(super) fn observed(&mut self, id: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        if !graph.is_local(id) {
            return self.refuse_variable(
                id,
                "an observed variable outside the rows' plate does not go together with amortised variables",
                "put it in the rows' plate",
            );
        }
        if variable.lower.is_some() || variable.upper.is_some() {
            return self.refuse_variable(
                id,
                "truncated observations do not go together with amortised variables",
                "leave out `lower` and `upper`",
            );
        }
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
        let (likelihood, nodes) = self.likelihood(id)?;
        let mut parameters = Vec::with_capacity(nodes.len() + 1);
        for value in nodes {
            // A single number serves every element as it is.
            let slot = if value.axes.is_empty() {
                value.slot
            } else if let Likelihood::Categorical { .. } = likelihood {
                let Distribution::Categorical { range, .. } = variable.distribution else { continue };
                let axes: Vec<AxisId> = axes.iter().copied().chain([range]).collect();
                self.align(&value, &axes, Level::Global)
            } else {
                self.align(&value, &axes, Level::Global)
            };
            parameters.push(slot);
        }
        match likelihood {
            Likelihood::PoissonLogRate | Likelihood::Other(Kernel::PoissonRate | Kernel::NegativeBinomial) => {
                let source = self.program.operations.iter().find_map(|operation| match operation {
                    Operation::Data { source, output } if *output == data => Some(*source),
                    _ => None,
                });
                let Some(source) = source else {
                    return self.refuse_variable(
                        id,
                        "counts must be columns of the data in their own order",
                        "observe a column or a block",
                    );
                };
                let factorials = self.source(DataNode::LogFactorial(source), width, axes);
                parameters.push(factorials.slot);
            }
            _ => {}
        }
        self.program.observed.push(Observed { name: variable.name.clone(), likelihood, data, parameters });
        Ok(())
    }

    /// The density of an observed variable and the values of its parameters.
    fn likelihood(&mut self, id: VariableId) -> Result<(Likelihood, Vec<Value>), SgviError> {
        let graph = self.graph;
        let values = |compiler: &mut Self, nodes: &[NodeId]| {
            nodes.iter().map(|&node| compiler.value(node)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match &graph.variable(id).distribution {
            Distribution::Bernoulli { probability } => match *probability {
                Probability::Logit(node) => (Likelihood::BernoulliLogit, values(self, &[node])?),
                Probability::Probability(node) => {
                    (Likelihood::Other(Kernel::BernoulliProbability), values(self, &[node])?)
                }
                Probability::Probit(node) => (Likelihood::Other(Kernel::BernoulliProbit), values(self, &[node])?),
            },
            Distribution::Normal { mean, spread, form } if *form != SpreadForm::Matrix => {
                let mean = self.value(*mean)?;
                let sd = self.sd(*spread)?;
                (Likelihood::Normal, vec![mean, sd])
            }
            Distribution::Poisson { rate, log: true } => (Likelihood::PoissonLogRate, values(self, &[*rate])?),
            Distribution::Poisson { rate, log: false } => {
                (Likelihood::Other(Kernel::PoissonRate), values(self, &[*rate])?)
            }
            Distribution::NegativeBinomial { mean, dispersion } => {
                (Likelihood::Other(Kernel::NegativeBinomial), values(self, &[*mean, *dispersion])?)
            }
            Distribution::Categorical { probabilities, range, logits: true } => {
                let size = graph.axis(*range).size;
                (Likelihood::Categorical { size }, values(self, &[*probabilities])?)
            }
            Distribution::Exponential { rate } => (Likelihood::Other(Kernel::Exponential), values(self, &[*rate])?),
            Distribution::Laplace { location, scale } => {
                (Likelihood::Other(Kernel::Laplace), values(self, &[*location, *scale])?)
            }
            Distribution::Cauchy { location, scale } => {
                (Likelihood::Other(Kernel::Cauchy), values(self, &[*location, *scale])?)
            }
            Distribution::Logistic { location, scale } => {
                (Likelihood::Other(Kernel::Logistic), values(self, &[*location, *scale])?)
            }
            Distribution::LogNormal { mean, sd } => {
                (Likelihood::Other(Kernel::LogNormal), values(self, &[*mean, *sd])?)
            }
            Distribution::HalfNormal { sd } => (Likelihood::Other(Kernel::HalfNormal), values(self, &[*sd])?),
            Distribution::StudentT { degrees_of_freedom, mean, spread: PrecisionOrSd::StandardDeviation(sd) }
                if graph.is_data(*degrees_of_freedom) =>
            {
                let nu = self.single(id, *degrees_of_freedom)?;
                let ln_gamma = vi_families::special::ln_gamma;
                let normalizer =
                    ln_gamma(0.5 * (nu + 1.0)) - ln_gamma(0.5 * nu) - 0.5 * (nu * std::f64::consts::PI).ln();
                let df = self.constant(vec![nu as f32], Vec::new());
                let mut all = vec![df];
                all.extend(values(self, &[*mean, *sd])?);
                all.push(self.constant(vec![normalizer as f32], Vec::new()));
                (Likelihood::Other(Kernel::StudentT), all)
            }
            _ => {
                return self.refuse_variable(
                    id,
                    "this observed distribution does not go together with amortised variables",
                    "use bernoulli, normal, poisson, negative-binomial, categorical with `logits`, laplace, cauchy, \
                     logistic, log-normal, exponential, half-normal, or student-t with constant degrees of freedom and `sd`",
                );
            }
        })
    }
}
