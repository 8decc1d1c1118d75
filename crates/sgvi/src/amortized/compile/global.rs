//! Variables outside the rows' plate of an amortised model: their places, starts, bounds and priors.

use super::super::globals::{GlobalFactor, GlobalVariable, start_sd};
use super::super::program::{Latent, Level, Operation, Point, Transform};
use super::{Compiler, Value};
use crate::density::Kernel;
use crate::error::SgviError;
use crate::network::parameters::Initial;
use vi_model::graph::{Distribution, NodeId, PrecisionOrSd, RateOrScale, Spread, VariableId};
use vi_model::inference::VariationalFamily;

impl Compiler<'_> {
    /// A variable outside the rows' plate: a point, or a part of the global factor.
    pub(super) fn global(&mut self, id: VariableId) -> Result<Value, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(id);
        if graph.is_local(id) {
            return self.refuse_variable(
                id,
                "beside networks a latent variable with a value for every data row must be amortised",
                "give it `amortized = \"NETWORK(data)\"`",
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
                    "a truncated prior beside amortised variables",
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
        let sizes: Vec<usize> = axes.iter().map(|&axis| graph.axis(axis).size).collect();
        let start = match &variable.initial {
            None => None,
            Some(start) => {
                let tensor = start.broadcast_to(&axes, &sizes);
                let values: Option<Vec<f32>> =
                    tensor.and_then(|tensor| tensor.values.iter().map(|&x| transform.inverse(x as f32)).collect());
                if values.is_none() {
                    return self.refuse_variable(
                        id,
                        "its `initial` value is outside its support or has other axes",
                        "give a value strictly between the bounds, with the variable's own axes",
                    );
                }
                values
            }
        };
        let named_axes = axes.iter().map(|&axis| (graph.axis(axis).name.clone(), graph.axis(axis).size)).collect();
        let output = self.slot(Level::Global, width);
        if variable.point {
            // Several unbounded numbers start apart, so that a product of two of them has a gradient.
            let apart = transform == Transform::Identity && width > 1;
            let initial = if apart { Initial::Uniform(0.1) } else { Initial::Constant(0.0) };
            let view = self.program.layout.allocate(format!("{}.unconstrained", variable.name), &sizes, initial);
            self.program.starts.extend(start.map(|values| (view, values)));
            self.program.operations.push(Operation::Point { view, transform, output });
            let name = variable.name.clone();
            self.program.points.push(Point { name, view, transform, axes: named_axes, prior });
        } else {
            let first = self.global_starts.len();
            self.global_starts.extend(start.unwrap_or_else(|| vec![0.0; width]));
            self.program.operations.push(Operation::Global { start: first, transform, output });
            self.program.globals.push(GlobalVariable {
                name: variable.name.clone(),
                coordinates: first..first + width,
                transform,
                axes: named_axes,
                prior,
            });
        }
        Ok(Value { slot: output, axes })
    }

    /// The factor of all variables that are neither amortised nor points.
    pub(super) fn global_factor(&mut self) -> Result<(), SgviError> {
        let width = self.global_starts.len();
        if width == 0 {
            return Ok(());
        }
        let inference = &self.graph.inference;
        let full = match inference.family.unwrap_or_default() {
            VariationalFamily::MeanField => false,
            VariationalFamily::FullRank => true,
            VariationalFamily::LowRank => {
                return Err(SgviError::Unsupported {
                    variable: "family".to_owned(),
                    reason: "the low-rank family does not go together with amortised variables".to_owned(),
                    help: "write family = \"full-rank\" or \"mean-field\"".to_owned(),
                    span: inference.key_spans.get("family").cloned().unwrap_or(0..0),
                });
            }
        };
        // The layout of an amortised variable's parameters; it has no slots of its own.
        let latent = Latent {
            name: "globals".to_owned(),
            width,
            full,
            parameters: 0,
            prior_mean: 0,
            prior_sd: 0,
            output: 0,
            level: Level::Global,
        };
        let length = Latent::parameter_width(width, full);
        let view = self.program.layout.allocate("globals.mean_and_scale", &[length], Initial::Constant(0.0));
        let mut values = std::mem::take(&mut self.global_starts);
        values.resize(length, 0.0);
        for index in 0..width {
            values[latent.diagonal(index)] = start_sd(self.graph.data.num_rows()).ln();
        }
        self.program.starts.push((view, values));
        self.program.global_factor = Some(GlobalFactor { latent, view });
        Ok(())
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
            "beside amortised variables the prior of a variable outside the rows' plate has constant parameters",
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
                    RateOrScale::Rate(node) => value(*node)?,
                    RateOrScale::Scale(node) => 1.0 / value(*node)?,
                };
                let normalizer = vi_families::special::ln_gamma(shape);
                (Kernel::Gamma, vec![shape, rate, normalizer], Some(0.0), None)
            }
            Distribution::InverseGamma { shape, scale } => {
                let shape = value(*shape)?;
                let normalizer = vi_families::special::ln_gamma(shape);
                (Kernel::InverseGamma, vec![shape, value(*scale)?, normalizer], Some(0.0), None)
            }
            Distribution::Logistic { location, scale } => {
                (Kernel::Logistic, vec![value(*location)?, value(*scale)?], None, None)
            }
            Distribution::Beta { alpha, beta } => {
                let (a, b) = (value(*alpha)?, value(*beta)?);
                let ln_gamma = vi_families::special::ln_gamma;
                (Kernel::Beta, vec![a, b, ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)], Some(0.0), Some(1.0))
            }
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let scale = match spread {
                    PrecisionOrSd::StandardDeviation(node) => value(*node)?,
                    PrecisionOrSd::Precision(node) => value(*node)?.sqrt().recip(),
                };
                let nu = value(*degrees_of_freedom)?;
                (Kernel::StudentT, vec![nu, value(*mean)?, scale, student_normalizer(nu)], None, None)
            }
            Distribution::HalfStudentT { degrees_of_freedom, scale } => {
                let nu = value(*degrees_of_freedom)?;
                let normalizer = student_normalizer(nu) + std::f64::consts::LN_2;
                (Kernel::StudentT, vec![nu, 0.0, value(*scale)?, normalizer], Some(0.0), None)
            }
            Distribution::Uniform { lower, upper } => {
                let (a, b) = (value(*lower)?, value(*upper)?);
                (Kernel::Uniform, vec![a, b], Some(a as f32), Some(b as f32))
            }
            _ => {
                return self.refuse_variable(
                        id,
                        "this prior does not go together with amortised variables",
                        "write distribution = \"flat\" with `lower` or `upper`, or normal, gamma, half-normal, log-normal, …",
                    );
            }
        };
        let mut arguments = [0.0; 5];
        arguments[1..=parameters.len()].copy_from_slice(&parameters);
        Ok((Some((kernel, arguments)), lower, upper))
    }
}

/// ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ ln(νπ)
pub(super) fn student_normalizer(nu: f64) -> f64 {
    let ln_gamma = vi_families::special::ln_gamma;
    ln_gamma(0.5 * (nu + 1.0)) - ln_gamma(0.5 * nu) - 0.5 * (nu * std::f64::consts::PI).ln()
}
