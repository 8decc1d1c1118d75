//! Resolves `a[2]` and `a['Male']`: one element of a value, by its place or its name.

use std::ops::Range;
use std::sync::Arc;

use super::node::Role;
use super::{Context, Reported, Resolver};
use crate::diagnostic::Diagnostic;
use crate::expression::{Syntax, SyntaxKind};
use crate::graph::{AxisId, AxisKind, NodeId, NodeKind, Tensor};

/// An element as it is written.
pub(super) enum Element {
    /// Counted from 0.
    Number(f64),
    /// A level, or a column of a block.
    Name(String),
}

impl Element {
    /// The element that an index names, if it names one.
    pub(super) fn of(syntax: &Syntax) -> Option<Self> {
        match &syntax.kind {
            SyntaxKind::Number(x) => Some(Self::Number(*x)),
            SyntaxKind::Element(name) => Some(Self::Name(name.clone())),
            _ => None,
        }
    }
}

impl Resolver<'_> {
    /// The position of the axis from which an element is taken, among `open` (each with whether an index has replaced it):
    /// the only one that fits, or the first where as many indices are left (`rest` after this one) as axes. The axes that
    /// later indices name (`named`) are theirs.
    pub(super) fn element_axis(
        &mut self,
        open: &[(AxisId, bool)],
        named: &[AxisId],
        rest: usize,
        element: &Element,
        syntax: &Syntax,
        context: &Context,
    ) -> Result<usize, Reported> {
        let free: Vec<usize> = (0..open.len())
            .filter(|i| !open[*i].1 && Some(open[*i].0) != self.rows && !named.contains(&open[*i].0))
            .collect();
        let knows = |i: &usize| match element {
            Element::Number(_) => true,
            Element::Name(name) => self.elements_of(open[*i].0).is_some_and(|names| names.contains(name)),
        };
        let fitting: Vec<usize> = free.iter().copied().filter(knows).collect();
        let chosen = match (element, &fitting[..]) {
            (_, [only]) if free.len() == 1 || matches!(element, Element::Name(_)) => Some(*only),
            (_, [first, ..]) if free.len() == rest + 1 => Some(*first),
            _ => None,
        };
        let repeated = chosen.is_some_and(|i| open.iter().filter(|o| o.0 == open[i].0).count() > 1);
        if let (Some(position), false) = (chosen, repeated) {
            return Ok(position);
        }
        let axes: Vec<AxisId> = free.iter().map(|i| open[*i].0).collect();
        let axes = self.axis_names(&axes);
        let (label, help) = match (element, fitting.is_empty()) {
            _ if repeated => ("an axis that is there twice", "select along it by variables or columns".to_owned()),
            (_, true) if free.is_empty() => {
                ("nothing to select from", "it has no axis but that of the rows".to_owned())
            }
            (Element::Name(name), true) => {
                ("no such element", format!("none of its axes ({axes}) has an element '{name}'"))
            }
            _ => ("several axes fit", format!("write as many indices as it has axes ({axes}), in their order")),
        };
        let message = format!("{} in {} selects along no axis", written(element), context.user);
        Err(self.report(Diagnostic::new("index-mismatch", message).at(syntax.span.clone(), label).help(help)))
    }

    /// The place of an element on its axis.
    pub(super) fn element(
        &mut self,
        axis: AxisId,
        element: &Element,
        syntax: &Syntax,
        context: &Context,
    ) -> Result<usize, Reported> {
        let size = self.axes[axis.0].size;
        let names = self.elements_of(axis);
        let refuse = |this: &mut Self, why: String, help: String| {
            let message = format!("{} in {} {why}", written(element), context.user);
            Err(this
                .report(Diagnostic::new("not-an-element", message).at(syntax.span.clone(), "no element").help(help)))
        };
        match element {
            Element::Name(name) => match names.iter().flatten().position(|other| other == name) {
                Some(position) => Ok(position),
                None => {
                    refuse(self, format!("is none of `{}`", self.axis_name(axis)), "name one of its elements".into())
                }
            },
            // Where levels are numbers, a number could mean a level or a place.
            Element::Number(x) if self.has_numeric_levels(axis) => refuse(
                self,
                format!("may be a place in `{}` or a level of it", self.axis_name(axis)),
                format!("write the level in quotes: ['{x}']"),
            ),
            Element::Number(x) => match (0..size).find(|place| *place as f64 == *x) {
                Some(place) => Ok(place),
                None => refuse(
                    self,
                    format!("is no place in `{}`, which has {size}", self.axis_name(axis)),
                    format!("places count from 0 to {}", size.saturating_sub(1)),
                ),
            },
        }
    }

    /// Σ over the axis of the value times a constant that is 1 at the element and 0 elsewhere; `axes` and `roles` are those left, the places those of the
    /// whole and of the index.
    pub(super) fn select(
        &mut self,
        node: NodeId,
        axis: AxisId,
        element: usize,
        axes: Vec<AxisId>,
        roles: Vec<Role>,
        [span, index]: [Range<usize>; 2],
    ) -> NodeId {
        let size = self.axes[axis.0].size;
        let values = (0..size).map(|place| f64::from(u8::from(place == element))).collect();
        let one = NodeKind::Constant(Arc::new(Tensor { axes: vec![axis], shape: vec![size], values }));
        let one = self.push(one, vec![axis], vec![Role::Either], index);
        let kind = NodeKind::Dot { left: node, right: one, left_axis: axis, right_axis: axis };
        self.push(kind, axes, roles, span)
    }

    fn elements_of(&self, axis: AxisId) -> Option<Vec<String>> {
        self.data.element_names(&self.axes[axis.0])
    }

    fn has_numeric_levels(&self, axis: AxisId) -> bool {
        let AxisKind::Levels { levels, .. } = &self.axes[axis.0].kind else { return false };
        levels.iter().any(|level| level.parse::<f64>().is_ok())
    }
}

fn written(element: &Element) -> String {
    match element {
        Element::Number(x) => format!("[{x}]"),
        Element::Name(name) => format!("['{name}']"),
    }
}
