//! Amortised latent variables: their factors' networks, priors and draws.

use super::super::program::{Latent, Level, Operation, Unary};
use super::{Compiler, Value};
use crate::error::SgviError;
use vi_model::graph::{AmortizedCovariance, Distribution, NodeKind, Spread, SpreadForm, VariableId};

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
        let Distribution::Normal { mean, spread, form } = variable.distribution else {
            return self.refuse_variable(id, "an amortised variable must be normal", "write distribution = \"normal\"");
        };
        if form == SpreadForm::Matrix {
            return self.refuse_variable(
                id,
                "the prior of an amortised variable has independent coordinates",
                "write `sd` as a number or one number per coordinate",
            );
        }
        let width = self.size(&axes);
        let full = variable.amortized_covariance == AmortizedCovariance::Full;
        let (mean, sd) = (self.value(mean)?, self.sd(spread)?);
        let prior_mean = self.align(&mean, &axes, Level::Global);
        let prior_sd = self.align(&sd, &axes, Level::Global);
        let Some(node) = variable.amortized else {
            return self.refuse_variable(id, "it has no network", "write `amortized = \"encoder(data)\"`");
        };
        let NodeKind::Network { network, arguments, consumed, .. } = graph.node(node).kind.clone() else {
            return self.refuse(node, "`amortized` must be a network", "write `encoder(x)`");
        };
        let parameters = self.network(node, network.0, &arguments, &consumed, Latent::parameter_width(width, full))?;
        let level = [parameters, prior_mean, prior_sd]
            .iter()
            .map(|&slot| self.level(slot))
            .max()
            .unwrap_or(Level::Row)
            .max(Level::Row);
        let output = self.slot(Level::Sample, width);
        self.program.latents.push(Latent {
            name: variable.name.clone(),
            width,
            full,
            parameters,
            prior_mean,
            prior_sd,
            output,
            level,
        });
        let latent = self.program.latents.len() - 1;
        self.program.operations.push(Operation::Draw { latent, output });
        Ok(Value { slot: output, axes })
    }
}
