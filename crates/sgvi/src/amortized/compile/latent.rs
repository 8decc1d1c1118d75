//! Amortised latent variables: their factors' networks, priors and draws.

use super::super::program::{Latent, Level, Operation, Prior, Unary, Values};
use super::{Compiler, Value};
use crate::error::SgviError;
use crate::fit::range::Range;
use vi_model::graph::{AmortizedCovariance, Distribution, NodeId, NodeKind, Spread, SpreadForm, VariableId};

impl Compiler<'_> {
    /// The slot of a normal's sd, in the layout of `axes`.
    pub(super) fn sd(&mut self, spread: Spread) -> Result<Value, SgviError> {
        Ok(match spread {
            Spread::StandardDeviation(node) => self.value(node)?,
            Spread::Variance(node) => {
                let value = self.value(node)?;
                self.unary(Unary::Sqrt, value)
            }
            Spread::Precision(node) => {
                let value = self.value(node)?;
                let root = self.unary(Unary::Sqrt, value);
                self.unary(Unary::Reciprocal, root)
            }
            Spread::Covariance(node) => {
                return self.refuse(
                    node,
                    "a covariance matrix in a model with amortised variables",
                    "write `sd`, `variance` or `precision`, scalar or per coordinate",
                );
            }
        })
    }

    /// Whether the prior of an amortised variable is a normal with independent coordinates that the row program can compute.
    pub(super) fn has_plain_prior(&self, id: VariableId) -> bool {
        let variable = self.graph.variable(id);
        match variable.distribution {
            Distribution::Normal { mean, spread, form } => {
                let spread = match spread {
                    Spread::StandardDeviation(node) | Spread::Variance(node) | Spread::Precision(node) => node,
                    Spread::Covariance(_) => return false,
                };
                let free = variable.lower.is_none() && variable.upper.is_none();
                free && form != SpreadForm::Matrix && self.is_plain(mean) && self.is_plain(spread)
            }
            _ => false,
        }
    }

    pub(super) fn latent(&mut self, id: VariableId) -> Result<Value, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        let axes = self.without_rows(&graph.value_axes(id));
        if !graph.is_local(id) || axes.len() > 1 {
            return self.refuse_variable(
                id,
                "an amortised variable has one factor per data row",
                "put it in the rows' plate, with at most one further axis",
            );
        }
        let (values, size) = (self.values(id)?, self.size(&axes));
        let width = match values {
            Values::Numbers(_) => size,
            Values::Shares if size < 2 => {
                return self.refuse_variable(id, "one share alone is 1", "give it a `dimension` of 2 at least");
            }
            Values::Shares => size - 1,
        };
        let full = variable.amortized_covariance == AmortizedCovariance::Full;
        let prior = match variable.distribution {
            Distribution::Normal { mean, spread, .. } if self.has_plain_prior(id) => {
                let (mean, sd) = (self.value(mean)?, self.sd(spread)?);
                let mean = self.align(&mean, &axes, Level::Global);
                Some(Prior { mean, sd: self.align(&sd, &axes, Level::Global) })
            }
            _ => None,
        };
        let Some(node) = variable.amortized else {
            return self.refuse_variable(id, "it has no network", "write `amortized = \"encoder(data)\"`");
        };
        let NodeKind::Network { network, arguments, consumed, .. } = graph.node(node).kind.clone() else {
            return self.refuse(node, "`amortized` must be a network", "write `encoder(x)`");
        };
        let value = self.network(node, network.0, &arguments, &consumed, Latent::parameter_width(width, full))?;
        if !value.axes.is_empty() {
            return self.refuse(
                node,
                "an encoder that reads a discrete latent variable",
                "give it the data instead: the factor is then one for all its values",
            );
        }
        let parameters = value.slot;
        let level = prior
            .iter()
            .flat_map(|prior| [prior.mean, prior.sd])
            .chain([parameters])
            .map(|slot| self.level(slot))
            .max()
            .unwrap_or(Level::Row)
            .max(Level::Row);
        let output = self.slot(Level::Sample, width);
        self.program.latents.push(Latent {
            name: variable.name.clone(),
            width,
            full,
            parameters,
            prior,
            output,
            values,
            level,
        });
        let latent = self.program.latents.len() - 1;
        self.program.operations.push(Operation::Draw { latent, output });
        let Values::Numbers(range) = values else {
            let log = self.slot(Level::Sample, size);
            self.program.operations.push(Operation::LogShares { input: output, output: log });
            // The log joint reads their logarithms.
            self.draws.insert(id, log);
            return Ok(self.unary(Unary::Exp, Value { slot: log, axes }));
        };
        self.draws.insert(id, output);
        let draw = Value { slot: output, axes };
        let mut bounded = |function, (scale, shift): (f64, f64)| {
            let inner = self.unary(function, draw.clone());
            if (scale, shift) == (1.0, 0.0) {
                return inner;
            }
            self.unary(Unary::Affine { scale: scale as f32, shift: shift as f32 }, inner)
        };
        Ok(match range {
            Range::Real => draw,
            Range::Above(lower) => bounded(Unary::Exp, (1.0, lower)),
            Range::Below(upper) => bounded(Unary::Exp, (-1.0, upper)),
            Range::Between(lower, upper) => bounded(Unary::Logistic, (upper - lower, lower)),
        })
    }

    /// What an amortised variable's draws on the whole line stand for.
    fn values(&self, id: VariableId) -> Result<Values, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        let bound = |node: NodeId, key: &str| -> Result<f64, SgviError> {
            let values = if graph.is_data(node) { graph.evaluate_data(node, 0..0)?.values } else { Vec::new() };
            let [value] = values[..] else {
                let reason = format!("the bound `{key}` of an amortised variable must be one number for all rows");
                return self.refuse_variable(id, &reason, "write it as a number");
            };
            Ok(value)
        };
        let (least, most) = variable.distribution.range();
        let lower = variable.lower.map(|node| bound(node, "lower")).transpose()?.map(|l| l.max(least));
        let upper = variable.upper.map(|node| bound(node, "upper")).transpose()?.map(|u| u.min(most));
        match variable.distribution {
            Distribution::Normal { .. }
            | Distribution::NormalJoint { .. }
            | Distribution::StudentT { .. }
            | Distribution::Cauchy { .. }
            | Distribution::Laplace { .. }
            | Distribution::Logistic { .. }
            | Distribution::Gamma { .. }
            | Distribution::InverseGamma { .. }
            | Distribution::Exponential { .. }
            | Distribution::HalfNormal { .. }
            | Distribution::HalfCauchy { .. }
            | Distribution::HalfStudentT { .. }
            | Distribution::LogNormal { .. }
            | Distribution::Beta { .. } => {
                let finite = |end: f64| end.is_finite().then_some(end);
                Ok(Values::Numbers(match (lower.or(finite(least)), upper.or(finite(most))) {
                    (None, None) => Range::Real,
                    (Some(lower), None) => Range::Above(lower),
                    (None, Some(upper)) => Range::Below(upper),
                    (Some(lower), Some(upper)) => Range::Between(lower, upper),
                }))
            }
            Distribution::Uniform { lower, upper } => {
                Ok(Values::Numbers(Range::Between(bound(lower, "lower")?, bound(upper, "upper")?)))
            }
            Distribution::Dirichlet { .. } => Ok(Values::Shares),
            _ => self.refuse_variable(
                id,
                "its factor is normal on the whole line, from which its values cannot be reached",
                "write a continuous distribution of single numbers or a `dirichlet`; discrete variables are summed out exactly without \
                 `amortized`",
            ),
        }
    }
}
