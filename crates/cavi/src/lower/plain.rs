//! Densities of observed values whose parameters are known once the categories of their gates are: no conjugacy is needed.
//!
//! log p(x | θ_k) is an array of data with one axis for each gate, so that Σ_k q(z = k) log p(x | θ_k) is a sum of products like
//! any other: mixtures of every distribution of the language over known parameters.

use std::f64::consts::{FRAC_2_PI, LN_2, PI};

use vi_model::graph::{
    BinaryOperator, Distribution, Function, Node, NodeId, NodeKind, Observation, Probability, VariableId,
};

use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{Operand, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// A term of a log density: a coefficient, an expression of data, and what is done to its values; or a number.
type Part = (f64, Option<(NodeId, Transform)>);

impl Lowering {
    /// Whether the density is that of this file: observed values, known parameters, and no family of which there is more to say.
    pub(super) fn is_plain_density(&self, v: VariableId) -> bool {
        let variable = self.graph.variable(v);
        let known = || variable.distribution.parameters().iter().all(|(_, node)| self.is_known(*node));
        let numeric = matches!(variable.observed, Some(Observation::Numeric(_)));
        let own = matches!(
            variable.distribution,
            Distribution::HalfNormal { .. }
                | Distribution::HalfCauchy { .. }
                | Distribution::HalfStudentT { .. }
                | Distribution::Cauchy { .. }
                | Distribution::Laplace { .. }
                | Distribution::LogNormal { .. }
                | Distribution::Logistic { .. }
                | Distribution::Uniform { .. }
                | Distribution::NegativeBinomial { .. }
                | Distribution::Poisson { log: true, .. }
        );
        own && numeric && !self.is_latent(v) && !self.missing.contains_key(&v) && known()
    }

    /// Adds log p(x | θ), known for every category of its gates.
    pub(super) fn plain_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        for (coefficient, operands) in self.plain_products(v, &mut scope)? {
            self.add_term(&scope, coefficient, operands, &[]);
        }
        Ok(())
    }

    /// The products whose sum is log p(x | θ).
    pub(super) fn plain_products(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
    ) -> Result<Vec<(f64, Vec<Operand>)>, CaviError> {
        let Some(Observation::Numeric(x)) = self.graph.variable(v).observed else { return Ok(vec![]) };
        for (key, node) in self.plain_positive(v) {
            self.fixed_positive(v, key, node, scope)?;
        }
        let mut products = Vec::new();
        for (coefficient, part) in self.plain_parts(v, x) {
            let operands = match part {
                Some((node, transform)) => vec![self.fixed(v, "distribution", node, scope, transform)?],
                None => vec![],
            };
            products.push((coefficient, operands));
        }
        Ok(products)
    }

    /// Parameters that must be greater than 0.
    fn plain_positive(&mut self, v: VariableId) -> Vec<(&'static str, NodeId)> {
        let distribution = self.graph.variable(v).distribution.clone();
        if let Distribution::Uniform { lower, upper } = distribution {
            return vec![("upper", self.binary(BinaryOperator::Subtract, upper, lower))];
        }
        let real =
            |key: &str| matches!(key, "location" | "log_rate") || key == "mean" && distribution.name() == "log-normal";
        distribution.parameters().into_iter().filter(|(key, _)| !real(key)).collect()
    }

    /// log p(x | θ) as a sum of functions of data.
    fn plain_parts(&mut self, v: VariableId, x: NodeId) -> Vec<Part> {
        use BinaryOperator::{Add, Divide, Multiply, Subtract};
        use Transform::{Identity, Inside, Log, LogFactorial};
        let number = |c: f64| (c, None);
        let of = |c: f64, node: NodeId, transform: Transform| (c, Some((node, transform)));
        match self.graph.variable(v).distribution {
            Distribution::HalfNormal { sd } => {
                let square = self.standardised_square(x, None, sd);
                vec![number(LN_2 - 0.5 * LOG_TWO_PI), of(-1.0, sd, Log), of(-0.5, square, Identity)]
            }
            Distribution::HalfCauchy { scale } => {
                let tail = self.log_one_plus_square(x, None, scale, None);
                vec![number(FRAC_2_PI.ln()), of(-1.0, scale, Log), of(-1.0, tail, Identity)]
            }
            Distribution::Cauchy { location, scale } => {
                let tail = self.log_one_plus_square(x, Some(location), scale, None);
                vec![number(-PI.ln()), of(-1.0, scale, Log), of(-1.0, tail, Identity)]
            }
            // log 2 + log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(νπ) − log s − (ν + 1)/2 log(1 + x²/(νs²))
            Distribution::HalfStudentT { degrees_of_freedom: degrees, scale } => {
                let (half, one) = (self.plain_number(0.5), self.plain_number(1.0));
                let more = self.binary(Add, degrees, one);
                let (half_more, half_degrees) =
                    (self.binary(Multiply, half, more), self.binary(Multiply, half, degrees));
                let (upper, lower) = (self.minus_one(half_more), self.minus_one(half_degrees));
                let tail = self.log_one_plus_square(x, None, scale, Some(degrees));
                let tail = self.binary(Multiply, half_more, tail);
                vec![
                    number(LN_2 - 0.5 * PI.ln()),
                    of(1.0, upper, LogFactorial),
                    of(-1.0, lower, LogFactorial),
                    of(-0.5, degrees, Log),
                    of(-1.0, scale, Log),
                    of(-1.0, tail, Identity),
                ]
            }
            Distribution::Laplace { location, scale } => {
                let square = self.standardised_square(x, Some(location), scale);
                let distance = self.function(Function::Sqrt, square);
                vec![number(-LN_2), of(-1.0, scale, Log), of(-1.0, distance, Identity)]
            }
            Distribution::LogNormal { mean, sd } => {
                let log = self.function(Function::Log, x);
                let square = self.standardised_square(log, Some(mean), sd);
                vec![number(-0.5 * LOG_TWO_PI), of(-1.0, x, Log), of(-1.0, sd, Log), of(-0.5, square, Identity)]
            }
            // −y − 2 log(1 + e^−y) − log s with y = (x − m)/s
            Distribution::Logistic { location, scale } => {
                let less = self.binary(Subtract, location, x);
                let negative = self.binary(Divide, less, scale);
                let soft = self.function(Function::Softplus, negative);
                vec![of(1.0, negative, Identity), of(-2.0, soft, Identity), of(-1.0, scale, Log)]
            }
            Distribution::Uniform { lower, upper } => {
                let (width, above) = (self.binary(Subtract, upper, lower), self.binary(Subtract, x, lower));
                let below = self.binary(Subtract, upper, x);
                vec![of(-1.0, width, Log), of(1.0, above, Inside), of(1.0, below, Inside)]
            }
            // With r = 1/d: log Γ(x + r) − log x! − log Γ(r) + x log(dm) − (x + r) log(1 + dm).
            Distribution::NegativeBinomial { mean, dispersion } => {
                let one = self.plain_number(1.0);
                let size = self.binary(Divide, one, dispersion);
                let total = self.binary(Add, x, size);
                let (upper, lower) = (self.minus_one(total), self.minus_one(size));
                let odds = self.binary(Multiply, dispersion, mean);
                let log_odds = self.function(Function::Log, odds);
                let whole = self.binary(Add, one, odds);
                let log_whole = self.function(Function::Log, whole);
                let (gained, lost) = (self.binary(Multiply, x, log_odds), self.binary(Multiply, total, log_whole));
                vec![
                    of(1.0, upper, LogFactorial),
                    of(-1.0, x, LogFactorial),
                    of(-1.0, lower, LogFactorial),
                    of(1.0, gained, Identity),
                    of(-1.0, lost, Identity),
                ]
            }
            Distribution::Poisson { rate, log: true } => {
                let (gained, mean) = (self.binary(Multiply, x, rate), self.function(Function::Exp, rate));
                vec![of(1.0, gained, Identity), of(-1.0, mean, Identity), of(-1.0, x, LogFactorial)]
            }
            _ => vec![],
        }
    }

    /// x f and log(1 + e^f) of known log odds f: x successes of n have x f − n log(1 + e^f).
    pub(super) fn known_logit(
        &mut self,
        v: VariableId,
        probability: Probability,
        scope: &mut Scope,
    ) -> Result<Option<[Operand; 2]>, CaviError> {
        let Probability::Logit(node) = probability else { return Ok(None) };
        if !self.is_known(node) {
            return Ok(None);
        }
        let soft = self.function(Function::Softplus, node);
        let odds = self.fixed(v, "logit", node, scope, Transform::Identity)?;
        Ok(Some([odds, self.fixed(v, "logit", soft, scope, Transform::Identity)?]))
    }

    /// ((x − m)/s)²
    fn standardised_square(&mut self, x: NodeId, location: Option<NodeId>, scale: NodeId) -> NodeId {
        let away = location.map_or(x, |m| self.binary(BinaryOperator::Subtract, x, m));
        let ratio = self.binary(BinaryOperator::Divide, away, scale);
        self.function(Function::Square, ratio)
    }

    /// log(1 + ((x − m)/s)²/ν)
    fn log_one_plus_square(
        &mut self,
        x: NodeId,
        location: Option<NodeId>,
        scale: NodeId,
        degrees: Option<NodeId>,
    ) -> NodeId {
        let square = self.standardised_square(x, location, scale);
        let square = degrees.map_or(square, |degrees| self.binary(BinaryOperator::Divide, square, degrees));
        let one = self.plain_number(1.0);
        let sum = self.binary(BinaryOperator::Add, one, square);
        self.function(Function::Log, sum)
    }

    fn plain_number(&mut self, value: f64) -> NodeId {
        self.number(value, &(0..0))
    }

    /// A new expression node: a function of another.
    pub(super) fn function(&mut self, function: Function, of: NodeId) -> NodeId {
        let Node { axes, span, .. } = self.graph.node(of).clone();
        self.graph.nodes.push(Node { kind: NodeKind::Function(function, of), axes, span });
        NodeId(self.graph.nodes.len() - 1)
    }
}
