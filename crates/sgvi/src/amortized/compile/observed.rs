//! Observed variables of an amortised model: their data, densities and parameters.

use super::super::program::{DataNode, Level, Likelihood, Observed, Operation, Unary};
use super::global::student_normalizer;
use super::{Compiler, Value};
use crate::density::Kernel;
use crate::error::SgviError;
use vi_model::graph::{
    AxisId, Distribution, NodeId, Observation, PrecisionOrSd, Probability, RateOrScale, SpreadForm, VariableId,
};

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
            Likelihood::PoissonLogRate
            | Likelihood::Other(
                Kernel::PoissonRate | Kernel::NegativeBinomial | Kernel::BinomialLogit | Kernel::BinomialProbability,
            ) => {
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
                let node = if let Likelihood::Other(Kernel::BinomialLogit | Kernel::BinomialProbability) = likelihood {
                    let Distribution::Binomial { trials, .. } = variable.distribution else { return Ok(()) };
                    DataNode::LogChoose { trials, successes: source, axes: axes.clone() }
                } else {
                    DataNode::LogFactorial(source)
                };
                let normalizers = self.source(node, width, axes);
                parameters.push(normalizers.slot);
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
            Distribution::StudentT { degrees_of_freedom, mean, spread } if graph.is_data(*degrees_of_freedom) => {
                let nu = self.single(id, *degrees_of_freedom)?;
                let scale = match *spread {
                    PrecisionOrSd::StandardDeviation(node) => self.value(node)?,
                    PrecisionOrSd::Precision(node) => {
                        let value = self.value(node)?;
                        let root = self.unary(Unary::Sqrt, value);
                        self.unary(Unary::Reciprocal, root)
                    }
                };
                let df = self.constant(vec![nu as f32], Vec::new());
                let mean = self.value(*mean)?;
                let normalizer = self.constant(vec![student_normalizer(nu) as f32], Vec::new());
                (Likelihood::Other(Kernel::StudentT), vec![df, mean, scale, normalizer])
            }
            Distribution::Binomial { trials, probability } => {
                let (kernel, node) = match *probability {
                    Probability::Logit(node) => (Kernel::BinomialLogit, node),
                    Probability::Probability(node) | Probability::Probit(node) => (Kernel::BinomialProbability, node),
                };
                if matches!(probability, Probability::Probit(_)) {
                    return self.refuse_variable(id, "a binomial with `probit`", "write `logit` or `probability`");
                }
                (Likelihood::Other(kernel), values(self, &[*trials, node])?)
            }
            Distribution::HalfCauchy { scale } => (Likelihood::Other(Kernel::HalfCauchy), values(self, &[*scale])?),
            Distribution::Gamma { shape, rate } if graph.is_data(*shape) => {
                let k = self.single(id, *shape)?;
                let shape = self.constant(vec![k as f32], Vec::new());
                let rate = match *rate {
                    RateOrScale::Rate(node) => self.value(node)?,
                    RateOrScale::Scale(node) => {
                        let value = self.value(node)?;
                        self.unary(Unary::Reciprocal, value)
                    }
                };
                let normalizer = self.constant(vec![vi_families::special::ln_gamma(k) as f32], Vec::new());
                (Likelihood::Other(Kernel::Gamma), vec![shape, rate, normalizer])
            }
            _ => {
                return self.refuse_variable(
                    id,
                    "this observed distribution does not go together with amortised variables",
                    "use bernoulli, binomial, normal, poisson, negative-binomial, categorical with `logits`, laplace, cauchy, \
                     logistic, log-normal, exponential, half-normal, half-cauchy, gamma with a constant shape, or student-t with \
                     constant degrees of freedom",
                );
            }
        })
    }
}
