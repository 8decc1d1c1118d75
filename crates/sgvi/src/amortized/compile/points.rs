//! Point variables of an amortised model: their places, starts, bounds and priors.

use super::super::program::{Level, Operation, Point, Transform};
use super::{Compiler, Value};
use crate::density::Kernel;
use crate::error::SgviError;
use crate::network::parameters::Initial;
use vi_model::graph::{Distribution, NodeId, Spread, VariableId};

impl Compiler<'_> {
    pub(super) fn point(&mut self, id: VariableId) -> Result<Value, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        if graph.is_local(id) {
            return self.refuse_variable(
                id,
                "a point for every data row cannot be learned beside a network",
                "amortise it: `amortized = \"NETWORK(data)\"`",
            );
        }
        let axes = graph.value_axes(id);
        let width = self.size(&axes);
        let (prior, mut lower, mut upper) = self.prior(id)?;
        for (bound, node) in [(&mut lower, variable.lower), (&mut upper, variable.upper)] {
            let Some(node) = node else { continue };
            if variable.distribution != Distribution::Flat {
                return self.refuse_variable(
                    id,
                    "a truncated prior of a point variable",
                    "write distribution = \"flat\" with the bounds, or leave the bounds out",
                );
            }
            *bound = Some(self.single(id, node)? as f32);
        }
        let transform = match (lower, upper) {
            (None, None) => Transform::Identity,
            (Some(lower), None) => Transform::Above(lower),
            (None, Some(upper)) => Transform::Below(upper),
            (Some(lower), Some(upper)) => Transform::Between(lower, upper),
        };
        // Several unbounded numbers start apart, so that a product of two of them has a gradient.
        let initial =
            if transform == Transform::Identity && width > 1 { Initial::Uniform(0.1) } else { Initial::Constant(0.0) };
        let sizes: Vec<usize> = axes.iter().map(|&axis| graph.axis(axis).size).collect();
        let view = self.program.layout.allocate(format!("{}.unconstrained", variable.name), &sizes, initial);
        if let Some(start) = &variable.initial {
            let tensor = start.broadcast_to(&axes, &sizes);
            let values: Option<Vec<f32>> =
                tensor.and_then(|tensor| tensor.values.iter().map(|&x| transform.inverse(x as f32)).collect());
            let Some(values) = values else {
                return self.refuse_variable(
                    id,
                    "its `initial` value is outside its support or has other axes",
                    "give a value strictly between the bounds, with the variable's own axes",
                );
            };
            self.program.starts.push((view, values));
        }
        let output = self.slot(Level::Global, width);
        self.program.operations.push(Operation::Point { view, transform, output });
        self.program.points.push(Point {
            name: variable.name.clone(),
            view,
            transform,
            axes: axes.iter().map(|&axis| (graph.axis(axis).name.clone(), graph.axis(axis).size)).collect(),
            prior,
        });
        Ok(Value { slot: output, axes })
    }

    /// The value of a parameter that must be one number.
    pub(super) fn single(&self, id: VariableId, node: NodeId) -> Result<f64, SgviError> {
        if self.graph.is_data(node) {
            let tensor = self.graph.evaluate_data(node, 0..0)?;
            if let [value] = tensor.values[..] {
                return Ok(value);
            }
        }
        self.refuse_variable(
            id,
            "the prior of a point variable must have constant parameters here",
            "write numbers, or distribution = \"flat\"",
        )
    }

    /// The prior's density of a point variable and the bounds of its support.
    #[allow(clippy::type_complexity)]
    fn prior(&self, id: VariableId) -> Result<(Option<(Kernel, [f64; 5])>, Option<f32>, Option<f32>), SgviError> {
        let value = |node| self.single(id, node);
        let (kernel, parameters, lower, upper): (Kernel, Vec<f64>, Option<f32>, Option<f32>) = match &self
            .graph
            .variable(id)
            .distribution
        {
            Distribution::Flat => return Ok((None, None, None)),
            Distribution::Normal { mean, spread, .. } => {
                let (kernel, node) = match spread {
                    Spread::StandardDeviation(node) => (Kernel::NormalSd, node),
                    Spread::Variance(node) => (Kernel::NormalVariance, node),
                    Spread::Precision(node) => (Kernel::NormalPrecision, node),
                    Spread::Covariance(_) => {
                        return self.refuse_variable(id, "a matrix prior of a point", "write `sd`");
                    }
                };
                (kernel, vec![value(*mean)?, value(*node)?], None, None)
            }
            Distribution::Laplace { location, scale } => {
                (Kernel::Laplace, vec![value(*location)?, value(*scale)?], None, None)
            }
            Distribution::Cauchy { location, scale } => {
                (Kernel::Cauchy, vec![value(*location)?, value(*scale)?], None, None)
            }
            Distribution::HalfNormal { sd } => (Kernel::HalfNormal, vec![value(*sd)?], Some(0.0), None),
            Distribution::HalfCauchy { scale } => (Kernel::HalfCauchy, vec![value(*scale)?], Some(0.0), None),
            Distribution::Exponential { rate } => (Kernel::Exponential, vec![value(*rate)?], Some(0.0), None),
            Distribution::LogNormal { mean, sd } => {
                (Kernel::LogNormal, vec![value(*mean)?, value(*sd)?], Some(0.0), None)
            }
            Distribution::Gamma { shape, rate } => {
                let shape = value(*shape)?;
                let rate = match rate {
                    vi_model::graph::RateOrScale::Rate(node) => value(*node)?,
                    vi_model::graph::RateOrScale::Scale(node) => 1.0 / value(*node)?,
                };
                let normalizer = vi_families::special::ln_gamma(shape);
                (Kernel::Gamma, vec![shape, rate, normalizer], Some(0.0), None)
            }
            Distribution::InverseGamma { shape, scale } => {
                let shape = value(*shape)?;
                let normalizer = vi_families::special::ln_gamma(shape);
                (Kernel::InverseGamma, vec![shape, value(*scale)?, normalizer], Some(0.0), None)
            }
            Distribution::Uniform { lower, upper } => {
                let (a, b) = (value(*lower)?, value(*upper)?);
                (Kernel::Uniform, vec![a, b], Some(a as f32), Some(b as f32))
            }
            _ => {
                return self.refuse_variable(
                        id,
                        "this prior of a point variable does not go together with amortised variables",
                        "write distribution = \"flat\" with `lower` or `upper`, or normal, gamma, half-normal, log-normal, …",
                    );
            }
        };
        let mut arguments = [0.0; 5];
        arguments[1..=parameters.len()].copy_from_slice(&parameters);
        Ok((Some((kernel, arguments)), lower, upper))
    }
}
