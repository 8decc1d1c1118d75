//! Making expression nodes, with the role that each axis plays in them.

use std::ops::Range;

use super::Resolver;
use crate::graph::{AxisId, Node, NodeId, NodeKind};

/// What an axis is in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Elements are replicates.
    Plate,
    /// Elements share one joint factor.
    Dimension,
    /// Data and constants: may serve as plate or as dimension.
    Either,
}

impl Role {
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Dimension, _) | (_, Self::Dimension) => Self::Dimension,
            (Self::Plate, _) | (_, Self::Plate) => Self::Plate,
            _ => Self::Either,
        }
    }
}

impl Resolver<'_> {
    pub(super) fn push(&mut self, kind: NodeKind, axes: Vec<AxisId>, roles: Vec<Role>, span: Range<usize>) -> NodeId {
        self.nodes.push(Node { kind, axes, span });
        self.roles.push(roles);
        NodeId(self.nodes.len() - 1)
    }

    pub(super) fn number(&mut self, value: f64, span: Range<usize>) -> NodeId {
        self.push(NodeKind::Number(value), Vec::new(), Vec::new(), span)
    }

    pub(super) fn axes_of(&self, node: NodeId) -> &[AxisId] {
        &self.nodes[node.0].axes
    }

    pub(super) fn roles_of(&self, node: NodeId) -> &[Role] {
        &self.roles[node.0]
    }

    /// The axes of two values aligned by name: those of the left, then what only the right has; an axis that stands
    /// twice in one stands twice in the result.
    pub(super) fn aligned(&self, left: NodeId, right: NodeId) -> (Vec<AxisId>, Vec<Role>) {
        union((self.axes_of(left), self.roles_of(left)), (self.axes_of(right), self.roles_of(right)))
    }
}

pub(super) fn union(left: (&[AxisId], &[Role]), right: (&[AxisId], &[Role])) -> (Vec<AxisId>, Vec<Role>) {
    let (mut axes, mut roles) = (left.0.to_vec(), left.1.to_vec());
    let mut used = vec![false; axes.len()];
    for (axis, role) in right.0.iter().zip(right.1) {
        let place = (0..used.len()).find(|i| !used[*i] && axes[*i] == *axis);
        match place {
            Some(i) => {
                used[i] = true;
                roles[i] = roles[i].join(*role);
            }
            None => {
                axes.push(*axis);
                roles.push(*role);
            }
        }
    }
    (axes, roles)
}
