//! Shapes and concentrations: known numbers, or point estimates, which enter the density by x and log Γ(x).
//!
//! The log Γ of a total, as of the concentrations of a Dirichlet variable, is bounded from below by its tangent at s, which is
//! linear in each of them; s is the total itself after every update, where the bound is the function (Minka 2000).

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{Distribution, NodeId, NodeKind, VariableId};

use super::expression::AtomKind;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, FactorId, Operand, ROWS, Source, Step, Transform};

/// A shape a as operands of a and of log Γ(a).
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) value: Operand,
    pub(super) log_gamma: Operand,
    /// a − 1, where it is a number whatever the variables are.
    pub(super) excess: Option<Operand>,
}

impl Lowering {
    /// Whether a variable is the shape or concentration of another.
    pub(super) fn is_shape(&self, v: VariableId) -> bool {
        self.graph.variables.iter().flat_map(|child| shapes(&child.distribution)).any(|node| self.base(node) == Some(v))
    }

    /// The variable that a node is, through look-ups and gates.
    fn base(&self, node: NodeId) -> Option<VariableId> {
        match self.graph.node(node).kind {
            NodeKind::Variable(v) => Some(v),
            NodeKind::Index { base, .. } => self.base(base),
            _ => None,
        }
    }

    /// Reads a shape or concentration.
    pub(super) fn shape(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<Shape, CaviError> {
        if let (Some(v), false) = (self.base(node), self.is_known(node)) {
            let index = self.parameter_index(child, scope, node)?;
            let atom = self.single(child, key, node, &index, scope)?;
            if self.factor_of.get(&v).is_some_and(|f| self.program.factors[*f].family == Family::Shape)
                && atom.kind == AtomKind::Variable(v)
            {
                let span = self.graph.node(node).span.clone();
                return Ok(Shape {
                    value: self.variable_operand(v, &atom.index, 0, &span)?,
                    log_gamma: self.variable_operand(v, &atom.index, 2, &span)?,
                    excess: None,
                });
            }
            let variable = self.graph.variable(v);
            if matches!(variable.distribution, Distribution::Gamma { .. } | Distribution::Exponential { .. }) {
                let span = self.graph.node(node).span.clone();
                let message = format!(
                    "`{}` as the {key} of `{}` is not a conjugate pair",
                    variable.name,
                    self.graph.variable(child).name
                );
                return Err(self.refusal(
                    Diagnostic::new("not-conjugate", message).at(span, "a distribution here").help(format!(
                        "estimate it as a point (`point = true` in `{}`), or run this model with sgvi",
                        variable.name
                    )),
                ));
            }
        }
        let value = self.fixed_positive(child, key, node, scope)?;
        let less = self.minus_one(node);
        let excess = Some(self.fixed(child, key, less, scope, Transform::Identity)?);
        let log_gamma = self.fixed(child, key, node, scope, Transform::LogGamma)?;
        Ok(Shape { value, log_gamma, excess })
    }

    /// (a − 1) t − log Γ(a) for the statistic t of the child.
    pub(super) fn shape_terms(&mut self, scope: &Scope, shape: &Shape, statistic: Operand) {
        match &shape.excess {
            Some(excess) => self.add_term(scope, 1.0, vec![excess.clone(), statistic], &[]),
            None => {
                self.add_term(scope, -1.0, vec![statistic.clone()], &[]);
                self.add_term(scope, 1.0, vec![shape.value.clone(), statistic], &[]);
            }
        }
        self.add_term(scope, -1.0, vec![shape.log_gamma.clone()], &[]);
    }

    /// log Γ(Σ a) by its tangent, a summed over the shapes and over the axes that `each` has and `whole` lacks.
    pub(super) fn tangent_terms(&mut self, child: VariableId, shapes: &[&Shape], each: &Scope, whole: &Scope) {
        let summed = &each.value[whole.value.len()..];
        let mut index: Vec<AxisIndex> = Vec::new();
        for axis in shapes.iter().flat_map(|s| &s.value.index) {
            if !summed.contains(axis) && !index.contains(axis) {
                index.push(axis.clone());
            }
        }
        let row = AxisIndex::label(ROWS);
        let local = index.contains(&row);
        if local {
            // What a column looks up is given by the row.
            index.retain(|a| !a.parts.iter().any(|(step, _)| matches!(step, Step::Codes(_))));
        }
        let index = self.rows_first(&index);
        let factor = self.tangent(child, local, &index);
        let statistic = |statistic| Operand { source: Source::Statistic { factor, statistic }, index: index.clone() };
        for shape in shapes {
            self.add_term(each, 1.0, vec![shape.value.clone(), statistic(0)], &[]);
        }
        self.add_term(whole, 1.0, vec![statistic(1)], &[]);
    }

    fn tangent(&mut self, child: VariableId, local: bool, index: &[AxisIndex]) -> FactorId {
        let size = |axis: &AxisIndex| match axis.parts.first() {
            Some((Step::Label(label), _)) => self.program.labels[*label].size,
            Some((Step::Codes(codes), _)) => self.graph.axis(self.program.codes[*codes].axis).size,
            None => 1,
        };
        let plates = index[usize::from(local)..].iter().map(size).collect();
        self.push_auxiliary(child, "total", Family::LogGammaTangent, local, plates, vec![])
    }
}

/// Parameters that are shapes or concentrations.
fn shapes(distribution: &Distribution) -> Vec<NodeId> {
    match distribution {
        Distribution::Gamma { shape, .. }
        | Distribution::InverseGamma { shape, .. }
        | Distribution::NormalGamma { shape, .. } => vec![*shape],
        Distribution::Beta { alpha, beta } => vec![*alpha, *beta],
        Distribution::Dirichlet { concentration } => vec![*concentration],
        _ => vec![],
    }
}
