//! Densities of precision matrices, alone and with a mean: wishart, normal-wishart.

use vi_model::graph::{BinaryOperator, NodeId, VariableId, WishartScale};

use super::expression::AtomKind;
use super::normal::Weight;
use super::positive::Power;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, Operand, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// Known degrees of freedom of a Wishart distribution.
struct Degrees {
    value: Operand,
    log_gammas: Vec<Operand>,
}

impl Lowering {
    /// (ν − d − 1)/2 log|Λ| − ½ tr(VΛ) + ν/2 log|V| − νd/2 log 2 − log Γ_d(ν/2), V = W⁻¹ (PRML B.78)
    pub(super) fn wishart_terms(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
        degrees: NodeId,
        scale: WishartScale,
        first: AxisIndex,
        second: AxisIndex,
    ) -> Result<(), CaviError> {
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "distribution", "a wishart variable needs a dimension".into()));
        };
        let d = self.graph.axis(dimension).size;
        let span = self.graph.variable(v).span.clone();
        let (key, node, invert) = match scale {
            WishartScale::Scale(node) => ("scale", node, true),
            WishartScale::InverseScale(node) => ("inverse_scale", node, false),
        };
        let node =
            if self.graph.node(node).axes.contains(&dimension) { node } else { self.scaled_identity(node, dimension)? };
        let mut axes = scope.axes.clone();
        axes.extend([dimension, dimension]);
        let mut indices = scope.value.clone();
        indices.extend([first.clone(), second.clone()]);
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes)
            .ok_or_else(|| self.not_conjugate(v, key, format!("the {key} has axes that the variable lacks")))?;
        let atom = self.single(v, key, node, &index, scope)?;
        let (matrix, log_determinant) = self.matrix_operands(v, key, &atom, invert)?;
        let degrees = self.wishart_degrees(v, degrees, d, scope)?;
        let plates = scope.value.clone();
        let mut whole = plates.clone();
        whole.extend([first, second]);
        let lambda = self.variable_operand(v, &whole, 0, &span)?;
        let log_lambda = self.variable_operand(v, &plates, 1, &span)?;
        self.add_term(scope, -0.5, vec![matrix, lambda], &[]);
        self.add_term(scope, -0.5 * (d as f64 + 1.0), vec![log_lambda.clone()], &[]);
        self.add_term(scope, 0.5, vec![degrees.value.clone(), log_lambda], &[]);
        self.add_term(scope, 0.5, vec![degrees.value.clone(), log_determinant], &[]);
        self.add_term(scope, -0.5 * d as f64 * std::f64::consts::LN_2, vec![degrees.value], &[]);
        // log Γ_d(ν/2) = d(d − 1)/4 log π + Σ_i log Γ((ν − i)/2) (PRML B.79)
        self.add_term(scope, -0.25 * (d * (d - 1)) as f64 * std::f64::consts::PI.ln(), vec![], &[]);
        for log_gamma in degrees.log_gammas {
            self.add_term(scope, -1.0, vec![log_gamma], &[]);
        }
        Ok(())
    }

    /// Known degrees of freedom ν > d − 1 and log Γ((ν − i)/2), i < d.
    fn wishart_degrees(
        &mut self,
        v: VariableId,
        node: NodeId,
        d: usize,
        scope: &mut Scope,
    ) -> Result<Degrees, CaviError> {
        let key = "degrees_of_freedom";
        let value = self.fixed(v, key, node, scope, Transform::Identity)?;
        let index = self.parameter_index(v, scope, node)?;
        if let AtomKind::Data(known) = self.known(node, &index, scope)?.kind {
            let must = format!("greater than {}, its dimension {d} less one", d - 1);
            self.check_known(v, key, known, &must, |nu| nu > d as f64 - 1.0)?;
        }
        let span = self.graph.node(node).span.clone();
        let half = self.number(0.5, &span);
        let mut log_gammas = Vec::with_capacity(d);
        for i in 0..d {
            let less = self.number(i as f64, &span);
            let less = self.binary(BinaryOperator::Subtract, node, less);
            let argument = self.binary(BinaryOperator::Multiply, half, less);
            log_gammas.push(self.fixed(v, key, argument, scope, Transform::LogGamma)?);
        }
        Ok(Degrees { value, log_gammas })
    }

    /// Λ ~ W(W, ν), μ | Λ ~ N(m, (κΛ)⁻¹).
    pub(super) fn normal_wishart_density(
        &mut self,
        v: VariableId,
        mean: NodeId,
        kappa: NodeId,
        degrees: NodeId,
        scale: WishartScale,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let Some(first) = scope.value.last().cloned() else {
            return Err(self.not_conjugate(v, "distribution", "a normal-wishart variable needs a dimension".into()));
        };
        let d = self.graph.variable(v).dimension.map_or(1, |a| self.graph.axis(a).size);
        let second_label = self.program.new_label("dimension", d);
        let second = AxisIndex::label(second_label);
        let kappa = self.positive(v, "mean_precision", kappa, Power::One, &mut scope)?;
        let m = self.mean_monomials(v, "mean", mean, &mut scope)?;
        let mut plates = scope.clone();
        plates.value.pop();
        plates.axes.pop();
        self.wishart_terms(v, &mut plates, degrees, scale, first.clone(), second.clone())?;
        let with = |extra: &[AxisIndex]| plates.value.iter().chain(extra).cloned().collect::<Vec<_>>();
        let matrix = self.variable_operand(v, &with(&[first.clone(), second]), 0, &span)?;
        let log_determinant = self.variable_operand(v, &plates.value, 1, &span)?;
        let location = self.variable_operand(v, &with(&[first]), 2, &span)?;
        let square = self.variable_operand(v, &plates.value, 3, &span)?;
        self.positive_logs(&plates, &kappa, &[], 0.5 * d as f64);
        self.add_term(&plates, 0.5, vec![log_determinant.clone()], &[]);
        self.add_term(&plates, -0.5 * LOG_TWO_PI * d as f64, vec![], &[]);
        let mut product = kappa.expectation.clone();
        product.push(square);
        self.add_term(&plates, -0.5 * kappa.coefficient, product, &[]);
        let mut weight = kappa.expectation.clone();
        weight.push(location);
        self.linear(&scope, &m, &weight, kappa.coefficient)?;
        // −½ κ mᵀΛm: κ joins the matrix as further operands through the mask, which multiplies every product.
        let mut weighted = scope.clone();
        weighted.mask.extend(kappa.expectation.iter().cloned());
        let weight = Weight::Matrix { matrix, log_determinant, second: second_label };
        self.quadratic(&weighted, &m, &weight, -0.5 * kappa.coefficient)
    }
}
