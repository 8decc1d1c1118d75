//! Reciprocals and roots of spreads, rates and scales: each is written as the parameter that it is the reciprocal or root of.
//!
//! A variance a/τ is the precision τ/a, a standard deviation a·√v the variance a²·v, one of a/√τ the precision τ/a², a scale a/r
//! the rate r/a: with a known, what is left is a product, of which gamma and inverse-gamma variables have conjugate updates.

use vi_model::graph::{
    BinaryOperator, Distribution, Function, NodeId, NodeKind, PrecisionOrSd, RateOrScale, Spread, SpreadForm,
    VariableId,
};

use super::Lowering;
use crate::error::CaviError;

/// A parameter as factor · base^(halves/2), where the factor is known and the base is not.
struct Powered {
    factor: Option<NodeId>,
    base: NodeId,
    halves: i32,
}

impl Lowering {
    /// Rewrites the parameters of all variables, as often as there is a reciprocal or a root at their outside.
    ///
    /// # Errors
    /// Refuses known factors that are not positive.
    pub(super) fn without_reciprocals(&mut self) -> Result<(), CaviError> {
        for v in 0..self.graph.variables.len() {
            while let Some(distribution) = self.opened(VariableId(v))? {
                self.graph.variables[v].distribution = distribution;
            }
        }
        Ok(())
    }

    /// The same distribution by the parameter inside a reciprocal or root; `None` where there is none.
    fn opened(&mut self, v: VariableId) -> Result<Option<Distribution>, CaviError> {
        let mut distribution = self.graph.variable(v).distribution.clone();
        let opened = match &mut distribution {
            Distribution::Normal { spread, form, .. } if *form != SpreadForm::Matrix => {
                let inside = match *spread {
                    Spread::Precision(node) => self.inside(v, "precision", node, -2)?.map(Spread::Variance),
                    Spread::Variance(node) => self.inside(v, "variance", node, -2)?.map(Spread::Precision),
                    Spread::Covariance(node) => self.inside(v, "covariance", node, -2)?.map(Spread::Precision),
                    Spread::StandardDeviation(node) => match self.inside(v, "sd", node, 1)? {
                        Some(variance) => Some(Spread::Variance(variance)),
                        None => self.inside(v, "sd", node, -1)?.map(Spread::Precision),
                    },
                };
                inside.map(|inside| *spread = inside)
            }
            Distribution::StudentT { spread, .. } => match *spread {
                PrecisionOrSd::Precision(_) => None,
                PrecisionOrSd::StandardDeviation(node) => {
                    self.inside(v, "sd", node, -1)?.map(|inside| *spread = PrecisionOrSd::Precision(inside))
                }
            },
            Distribution::Gamma { rate, .. } => {
                let inside = match *rate {
                    RateOrScale::Rate(node) => self.inside(v, "rate", node, -2)?.map(RateOrScale::Scale),
                    RateOrScale::Scale(node) => self.inside(v, "scale", node, -2)?.map(RateOrScale::Rate),
                };
                inside.map(|inside| *rate = inside)
            }
            _ => None,
        };
        Ok(opened.map(|()| distribution))
    }

    /// What the reciprocal or square of a parameter f·b^(halves/2) is, or its reciprocal, whichever is a product: b/f of f/b,
    /// b·f² of f·√b, b/f² of f/√b.
    fn inside(&mut self, v: VariableId, key: &str, node: NodeId, halves: i32) -> Result<Option<NodeId>, CaviError> {
        if self.is_known(node) {
            return Ok(None);
        }
        let powered = self.powered(node);
        if powered.halves != halves {
            return Ok(None);
        }
        let Some(factor) = powered.factor else { return Ok(Some(powered.base)) };
        if !self.graph.is_data(factor) && halves.abs() == 1 {
            // Its sign, which the square would hide, depends on gates.
            return Ok(None);
        }
        if self.graph.is_data(factor) {
            self.check_known(v, key, factor, "greater than 0", |x| x > 0.0 && x.is_finite())?;
        }
        let operator = if halves < 0 { BinaryOperator::Divide } else { BinaryOperator::Multiply };
        let mut inside = self.binary(operator, powered.base, factor);
        if halves.abs() == 1 {
            inside = self.binary(operator, inside, factor);
        }
        Ok(Some(inside))
    }

    /// Takes what is known, one reciprocal and one root off a node that is not known.
    fn powered(&mut self, node: NodeId) -> Powered {
        match self.graph.node(node).kind.clone() {
            NodeKind::Function(Function::Sqrt, base) => Powered { factor: None, base, halves: 1 },
            NodeKind::Binary(BinaryOperator::Multiply, a, b) if self.is_known(a) || self.is_known(b) => {
                let (known, rest) = if self.is_known(a) { (a, b) } else { (b, a) };
                let mut powered = self.powered(rest);
                if powered.halves == 2 {
                    return Powered { factor: None, base: node, halves: 2 };
                }
                powered.factor = Some(match powered.factor {
                    Some(factor) => self.binary(BinaryOperator::Multiply, factor, known),
                    None => known,
                });
                powered
            }
            NodeKind::Binary(BinaryOperator::Divide, a, b) if self.is_known(b) => {
                let mut powered = self.powered(a);
                if powered.halves == 2 {
                    return Powered { factor: None, base: node, halves: 2 };
                }
                powered.factor = Some(match powered.factor {
                    Some(factor) => self.binary(BinaryOperator::Divide, factor, b),
                    None => self.reciprocal(b),
                });
                powered
            }
            NodeKind::Binary(BinaryOperator::Divide, a, b) if self.is_known(a) => {
                let powered = self.powered(b);
                let factor = match powered.factor {
                    Some(factor) => self.binary(BinaryOperator::Divide, a, factor),
                    None => a,
                };
                Powered { factor: Some(factor), base: powered.base, halves: -powered.halves }
            }
            _ => Powered { factor: None, base: node, halves: 2 },
        }
    }
}
