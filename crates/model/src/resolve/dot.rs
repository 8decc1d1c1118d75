//! Finds the axis that `dot(a, b)` contracts.

use std::ops::Range;

use super::node::{Role, union};
use super::{Context, Reported, Resolver};
use crate::diagnostic::Diagnostic;
use crate::expression::{Syntax, SyntaxKind};
use crate::graph::{AxisId, AxisKind, NodeId, NodeKind};

impl Resolver<'_> {
    /// dot(a, b) = Σ over the shared dimension of a·b.
    pub(super) fn dot(
        &mut self,
        a: &Syntax,
        b: &Syntax,
        span: Range<usize>,
        context: &Context,
    ) -> Result<NodeId, Reported> {
        let (left, right) = self.operands(a, b, context)?;
        let pair = self.contracted(left, right, &span, context)?;
        let (left_axis, right_axis) = pair;
        let without = |this: &Self, node: NodeId, axis: AxisId| {
            let mut axes = this.axes_of(node).to_vec();
            let mut roles = this.roles_of(node).to_vec();
            if let Some(position) = axes.iter().rposition(|x| *x == axis) {
                axes.remove(position);
                roles.remove(position);
            }
            (axes, roles)
        };
        let l = without(self, left, left_axis);
        let r = without(self, right, right_axis);
        let (axes, roles) = union((&l.0, &l.1), (&r.0, &r.1));
        let kind = NodeKind::Dot { left, right, left_axis, right_axis };
        Ok(self.push(kind, axes, roles, span))
    }

    /// Both operands; where one is a network, its output is sized by the other.
    fn operands(&mut self, a: &Syntax, b: &Syntax, context: &Context) -> Result<(NodeId, NodeId), Reported> {
        let calls_network = |this: &Self, syntax: &Syntax| matches!(&syntax.kind, SyntaxKind::Call { function, .. } if this.spec.networks.iter().any(|n| n.name == *function));
        let inner = context;
        match (calls_network(self, a), calls_network(self, b)) {
            (true, false) => {
                let right = self.expression(b, inner)?;
                let sized = self.sized_by(right, inner);
                Ok((self.expression(a, &sized)?, right))
            }
            (false, true) => {
                let left = self.expression(a, inner)?;
                let sized = self.sized_by(left, inner);
                Ok((left, self.expression(b, &sized)?))
            }
            _ => {
                let left = self.expression(a, inner);
                let right = self.expression(b, inner);
                Ok((left?, right?))
            }
        }
    }

    fn sized_by(&self, node: NodeId, context: &Context) -> Context {
        let axes = self.axes_of(node);
        let roles = self.roles_of(node);
        let dimension = axes
            .iter()
            .zip(roles)
            .rev()
            .find(|(axis, role)| **role != Role::Plate && Some(**axis) != self.rows)
            .map(|(axis, _)| *axis);
        Context {
            dimension: dimension.or(context.dimension),
            named: context.named && dimension.is_none(),
            ..context.clone()
        }
    }

    fn contracted(
        &mut self,
        left: NodeId,
        right: NodeId,
        span: &Range<usize>,
        context: &Context,
    ) -> Result<(AxisId, AxisId), Reported> {
        let rows = self.rows;
        let role = |this: &Self, node: NodeId, axis: AxisId| {
            let position = this.axes_of(node).iter().rposition(|x| *x == axis);
            position.map_or(Role::Plate, |p| this.roles_of(node)[p])
        };
        let mut common: Vec<AxisId> = Vec::new();
        for axis in self.axes_of(left) {
            if Some(*axis) != rows && self.axes_of(right).contains(axis) && !common.contains(axis) {
                common.push(*axis);
            }
        }
        let mut dimensions: Vec<AxisId> = common
            .iter()
            .copied()
            .filter(|x| role(self, left, *x) != Role::Plate && role(self, right, *x) != Role::Plate)
            .collect();
        if dimensions.len() > 1 {
            let kept = |x: &AxisId| !context.plates.contains(x) && context.dimension != Some(*x);
            let true_dimension = |this: &Self, x: &AxisId| {
                role(this, left, *x) == Role::Dimension || role(this, right, *x) == Role::Dimension
            };
            let narrowed: Vec<AxisId> = dimensions.iter().copied().filter(kept).collect();
            if !narrowed.is_empty() {
                dimensions = narrowed;
            }
            if dimensions.len() > 1 {
                let narrowed: Vec<AxisId> = dimensions.iter().copied().filter(|x| true_dimension(self, x)).collect();
                if !narrowed.is_empty() {
                    dimensions = narrowed;
                }
            }
        }
        if let [axis] = dimensions[..] {
            return Ok((axis, axis));
        }
        if dimensions.is_empty() {
            let free: Vec<AxisId> = common.iter().copied().filter(|x| !context.plates.contains(x)).collect();
            if let [axis] = free[..] {
                return Ok((axis, axis));
            }
            if let Some(pair) = self.equal_sizes(left, right) {
                return Ok(pair);
            }
            if free.len() > 1 {
                dimensions = free;
            }
        }
        let (l, r) = (self.axes_of(left).to_vec(), self.axes_of(right).to_vec());
        let mistake = if dimensions.is_empty() {
            Diagnostic::new(
                "no-shared-dimension",
                format!(
                    "`dot` in {} finds no dimension that both have: one has {}, the other {}",
                    context.user,
                    self.axis_names(&l),
                    self.axis_names(&r)
                ),
            )
            .at(span.clone(), "nothing to sum over")
            .help("give both the same `dimension` (a plate's or a block's name), or multiply with *")
        } else {
            Diagnostic::new(
                "ambiguous-dot",
                format!("`dot` in {} could sum over any of {}", context.user, self.axis_names(&dimensions)),
            )
            .at(span.clone(), "more than one shared dimension")
            .help("sum over one, and let the other be a plate of the variable that uses it")
        };
        Err(self.report(mistake))
    }

    /// The last axes of both, where one is an integer dimension and the sizes agree.
    fn equal_sizes(&self, left: NodeId, right: NodeId) -> Option<(AxisId, AxisId)> {
        let last = |node: NodeId| {
            self.axes_of(node)
                .iter()
                .zip(self.roles_of(node))
                .rev()
                .find(|(axis, role)| **role != Role::Plate && Some(**axis) != self.rows)
                .map(|(axis, _)| *axis)
        };
        let (l, r) = (last(left)?, last(right)?);
        let anonymous = |x: AxisId| self.axes[x.0].kind == AxisKind::Anonymous;
        let fits = self.axes[l.0].size == self.axes[r.0].size && (anonymous(l) || anonymous(r));
        fits.then_some((l, r))
    }
}
