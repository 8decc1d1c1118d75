//! Parameters of variables: numbers, arrays and expressions, checked against the axes that they may have.

use std::sync::Arc;

use super::node::Role;
use super::{Context, Reported, Resolver};
use crate::diagnostic::Diagnostic;
use crate::graph::{AxisId, AxisKind, BinaryOperator, NodeId, NodeKind, Tensor};
use crate::spec::{Entry, Value};

/// Which axes beyond the plates a parameter may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One number per element.
    Scalar,
    /// One number per coordinate, or the same for all.
    Vector,
    /// One number, one per coordinate, or a matrix.
    Spread,
    /// A matrix.
    Matrix,
    /// Rows of coefficients: a matrix whose two axes, new coordinate first, have as many elements as the dimension and
    /// may have other names.
    Coefficients,
    /// One number per element of the range.
    Range,
    /// One row of numbers over the range per element of the range.
    Transition,
}

/// The shape of a distribution's parameter.
pub(super) fn shape(distribution: &str, key: &str) -> Shape {
    match (distribution, key) {
        ("normal", "mean" | "sd") => Shape::Vector,
        ("normal", "precision" | "covariance" | "variance") => Shape::Spread,
        ("normal-wishart" | "normal-gamma", "mean") => Shape::Vector,
        ("normal-gamma", "mean_precision") => Shape::Spread,
        ("normal-wishart" | "wishart", "scale" | "inverse_scale") => Shape::Matrix,
        ("dirichlet", "concentration") => Shape::Vector,
        ("categorical" | "multinomial", _) => Shape::Range,
        ("markov-chain", "initial") => Shape::Range,
        ("markov-chain", "transition") => Shape::Transition,
        ("gaussian-markov-chain", "initial_mean" | "offset") => Shape::Vector,
        ("gaussian-markov-chain", "initial_precision" | "innovation_precision") => Shape::Spread,
        ("gaussian-markov-chain", "transition") => Shape::Coefficients,
        _ => Shape::Scalar,
    }
}

impl Resolver<'_> {
    /// The node of a parameter as written.
    pub(super) fn parameter(&mut self, entry: &Entry, shape: Shape, context: &Context) -> Result<NodeId, Reported> {
        let value = &entry.value;
        if let Some(text) = value.text() {
            let syntax = self.parse(value, text)?;
            let node = self.expression(&syntax, context)?;
            let node = self.single_element(node, shape, context);
            let node = match shape {
                Shape::Matrix | Shape::Coefficients => self.multiple_of_identity(node, shape, context),
                _ => node,
            };
            self.contained(node, shape, entry, context)?;
            return Ok(node);
        }
        if let Some(x) = value.number() {
            if !x.is_finite() {
                let mistake = Diagnostic::new("not-finite", format!("{} is {x}", context.user))
                    .at(value.span.clone(), "must be finite");
                return Err(self.report(mistake));
            }
            let matrix = matches!(shape, Shape::Matrix | Shape::Coefficients);
            if matrix && context.dimension.is_some() {
                let number = self.number(x, value.span.clone());
                return Ok(self.multiple_of_identity(number, shape, context));
            }
            if matrix || shape == Shape::Transition {
                let mistake = Diagnostic::new(
                    "not-a-matrix",
                    format!("{} is one number, but must be a matrix", context.user),
                )
                .at(value.span.clone(), "a number")
                .help("write nested arrays, such as [[1.0, 0.0], [0.0, 1.0]], or the name of a variable or constant");
                return Err(self.report(mistake));
            }
            return Ok(self.number(x, value.span.clone()));
        }
        let tensor = self.array(value, shape, context)?;
        let axes = tensor.axes.clone();
        let roles = vec![Role::Either; axes.len()];
        Ok(self.push(NodeKind::Constant(Arc::new(tensor)), axes, roles, value.span.clone()))
    }

    /// An array with the variable's own axes: its last plates, then its dimension.
    pub(super) fn array(&mut self, value: &Value, shape: Shape, context: &Context) -> Result<Tensor, Reported> {
        let (sizes, values) = match value.numbers() {
            Ok(found) => found,
            Err(at) => {
                let mistake =
                    Diagnostic::new("array-form", format!("{} is not a rectangular array of numbers", context.user))
                        .at(at.span.clone(), "breaks the rectangle")
                        .help("nested arrays must have equal lengths and hold numbers only");
                return Err(self.report(mistake));
            }
        };
        if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
            let mistake = Diagnostic::new("not-finite", format!("{} contains {bad}", context.user))
                .at(value.span.clone(), "must be finite");
            return Err(self.report(mistake));
        }
        let matrix = sizes.len() >= 2 && {
            let d = context.dimension.map(|d| self.axes[d.0].size);
            let square = sizes.iter().rev().take(2).all(|s| Some(*s) == d);
            // Where the last plate has as many elements as the dimension, rows of coordinates look like a matrix, but are
            // hardly symmetric.
            let last = context.plates.last().filter(|p| Some(**p) != self.rows).map(|p| self.axes[p.0].size);
            square && (d != last || sizes.len() > 2 || is_symmetric(&values, d.unwrap_or(1)))
        };
        let dimension = context.dimension.into_iter();
        let own: Vec<AxisId> = match shape {
            Shape::Scalar => context.plates.clone(),
            Shape::Spread if !matrix => context.plates.iter().copied().chain(dimension).collect(),
            Shape::Vector => context.plates.iter().copied().chain(dimension).collect(),
            Shape::Spread | Shape::Matrix | Shape::Coefficients => {
                context.plates.iter().copied().chain(dimension.flat_map(|d| [d, d])).collect()
            }
            Shape::Range => context.plates.iter().copied().chain(context.range).collect(),
            Shape::Transition => {
                context.plates.iter().copied().chain(context.range.into_iter().flat_map(|r| [r, r])).collect()
            }
        };
        let full_rank = match shape {
            Shape::Matrix | Shape::Coefficients | Shape::Transition => 2,
            Shape::Range => 1,
            _ => 0,
        };
        let axes = own.len().checked_sub(sizes.len()).map(|skip| own[skip..].to_vec());
        if let Some(axes) = axes
            && sizes.len() >= full_rank
            && axes.iter().zip(&sizes).all(|(a, s)| self.axes[a.0].size == *s)
        {
            return Ok(Tensor { axes, shape: sizes, values });
        }
        let wanted = if own.is_empty() {
            "no array: the variable is a single number".to_string()
        } else {
            let names: Vec<String> =
                own.iter().map(|a| format!("`{}` ({})", self.axis_name(*a), self.axes[a.0].size)).collect();
            format!("an array over the last of {}", names.join(", "))
        };
        let shown: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let mistake = Diagnostic::new(
            "array-size",
            format!("{} is an array of {}, but must be {wanted}", context.user, shown.join(" × ")),
        )
        .at(value.span.clone(), format!("{} here", shown.join(" × ")))
        .help("an array has the variable's own axes, its last plates first, then its dimension");
        Err(self.report(mistake))
    }

    /// Where one number is written for a matrix over the dimension: that multiple of the identity.
    fn multiple_of_identity(&mut self, node: NodeId, shape: Shape, context: &Context) -> NodeId {
        let Some(dimension) = context.dimension else { return node };
        let other_names = shape == Shape::Coefficients && !self.beside_plates(node, context).is_empty();
        if other_names || self.axes_of(node).contains(&dimension) {
            return node;
        }
        let d = self.axes[dimension.0].size;
        let number = match self.nodes[node.0].kind {
            NodeKind::Number(x) => Some(x),
            _ => None,
        };
        let mut values = vec![0.0; d * d];
        (0..d).for_each(|i| values[i * d + i] = number.unwrap_or(1.0));
        let span = self.nodes[node.0].span.clone();
        let tensor = Tensor { axes: vec![dimension; 2], shape: vec![d; 2], values };
        let roles = vec![Role::Either; 2];
        let identity = self.push(NodeKind::Constant(Arc::new(tensor)), vec![dimension; 2], roles, span.clone());
        if number.is_some() {
            return identity;
        }
        let (axes, roles) = self.aligned(node, identity);
        self.push(NodeKind::Binary(BinaryOperator::Multiply, node, identity), axes, roles, span)
    }

    /// A vector of one element where a number is needed: that element.
    fn single_element(&mut self, node: NodeId, shape: Shape, context: &Context) -> NodeId {
        let wanted = match shape {
            Shape::Scalar => None,
            Shape::Coefficients if self.beside_plates(node, context).len() == 2 => return node,
            Shape::Vector | Shape::Spread | Shape::Matrix | Shape::Coefficients => context.dimension,
            Shape::Range | Shape::Transition => return node,
        };
        let surplus = self.axes_of(node).iter().zip(self.roles_of(node)).find_map(|(axis, role)| {
            let single = *role == Role::Dimension && self.axes[axis.0].size == 1 && !context.plates.contains(axis);
            (single && Some(*axis) != wanted && !context.joint).then_some(*axis)
        });
        let Some(axis) = surplus else { return node };
        if self.axes_of(node).iter().filter(|a| **a == axis).count() > 1 {
            return node;
        }
        let span = self.nodes[node.0].span.clone();
        let one = Tensor { axes: vec![axis], shape: vec![1], values: vec![1.0] };
        let one = self.push(NodeKind::Constant(Arc::new(one)), vec![axis], vec![Role::Either], span.clone());
        let kept = |a: &AxisId| *a != axis;
        let pairs: Vec<(AxisId, Role)> = self
            .axes_of(node)
            .iter()
            .copied()
            .zip(self.roles_of(node).iter().copied())
            .filter(|p| kept(&p.0))
            .collect();
        let (axes, roles) = pairs.into_iter().unzip();
        let kind = NodeKind::Dot { left: node, right: one, left_axis: axis, right_axis: axis };
        self.push(kind, axes, roles, span)
    }

    /// Axes that are none of the variable's plates, in their order.
    fn beside_plates(&self, node: NodeId, context: &Context) -> Vec<AxisId> {
        let mut plates = context.plates.clone();
        let mut rest = self.axes_of(node).to_vec();
        rest.retain(|axis| match plates.iter().position(|p| p == axis) {
            Some(position) => {
                plates.remove(position);
                false
            }
            None => true,
        });
        rest
    }

    /// Whether an operand of an expression has two axes of different names in this order.
    fn has_order(&self, node: NodeId, first: AxisId, second: AxisId) -> bool {
        let own = self.axes_of(node);
        let position = |axis: AxisId| own.iter().position(|a| *a == axis);
        let here = first != second && position(first).zip(position(second)).is_some_and(|(a, b)| a < b);
        here || match &self.nodes[node.0].kind {
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.has_order(*a, first, second),
            NodeKind::Binary(_, a, b) | NodeKind::Dot { left: a, right: b, .. } => {
                self.has_order(*a, first, second) || self.has_order(*b, first, second)
            }
            NodeKind::Index { base, .. } => self.has_order(*base, first, second),
            _ => false,
        }
    }

    fn turned_axes(&mut self, axes: [AxisId; 2], shape: Shape, entry: &Entry, context: &Context) -> Reported {
        let [first, second] = axes.map(|axis| self.axis_name(axis).to_string());
        let (code, meaning) = match shape {
            Shape::Transition => ("turned-transition", "the first is the state left, the second the state entered"),
            _ => ("turned-coefficients", "the first is that of the new state, the second that of the old"),
        };
        let mistake = Diagnostic::new(
            code,
            format!(
                "{} has the axes `{first}`, `{second}`, but a part of it has them in the order `{second}`, `{first}`: {meaning}",
                context.user
            ),
        )
        .at(entry.value.span.clone(), format!("`{first}` before `{second}`, and the other way round inside"))
        .help("let all matrices of the expression have their axes in one order, and write them before vectors");
        self.report(mistake)
    }

    /// Checks that an expression has no axis that its variable lacks.
    pub(super) fn contained(
        &mut self,
        node: NodeId,
        shape: Shape,
        entry: &Entry,
        context: &Context,
    ) -> Result<(), Reported> {
        let mut free: Vec<AxisId> = context.plates.clone();
        if matches!(shape, Shape::Coefficients | Shape::Transition) {
            // Their axes are told apart by their order, not by their names.
            let rest = self.beside_plates(node, context);
            if let [first, second] = rest[..] {
                let own = if shape == Shape::Transition { context.range.or(Some(second)) } else { context.dimension };
                let size = own.map(|axis| self.axes[axis.0].size);
                if [first, second].iter().all(|axis| Some(self.axes[axis.0].size) == size) {
                    if self.has_order(node, second, first) {
                        return Err(self.turned_axes([first, second], shape, entry, context));
                    }
                    return Ok(());
                }
            }
        }
        let copies = match shape {
            Shape::Scalar | Shape::Range | Shape::Transition => 0,
            Shape::Vector => 1,
            Shape::Spread | Shape::Matrix | Shape::Coefficients => 2,
        };
        free.extend(std::iter::repeat_n(context.dimension, copies).flatten());
        match shape {
            Shape::Range => free.extend(context.range),
            Shape::Transition => free.extend(context.range.into_iter().flat_map(|r| [r, r])),
            _ => {}
        }
        let axes = self.axes_of(node).to_vec();
        let mut surplus = Vec::new();
        for axis in &axes {
            match free.iter().position(|f| f == axis) {
                Some(position) => {
                    free.remove(position);
                }
                None => surplus.push(*axis),
            }
        }
        // The range of an index is only found by looking at its probabilities.
        let to_find = match (shape, context.range) {
            (Shape::Range, None) => 1,
            (Shape::Transition, None) => 2,
            _ => 0,
        };
        if let Some(axis) = (surplus.len() > to_find).then(|| surplus[0]) {
            return Err(self.surplus_axis(axis, entry, context));
        }
        if matches!(shape, Shape::Matrix | Shape::Coefficients) {
            let dimension = context.dimension;
            let count = axes.iter().filter(|a| Some(**a) == dimension).count();
            if count < 2 {
                let mistake = Diagnostic::new(
                    "not-a-matrix",
                    format!("{} must be a matrix over the dimension, but has {}", context.user, self.axis_names(&axes)),
                )
                .at(entry.value.span.clone(), "not a matrix")
                .help(
                    "give a wishart variable, a constant matrix, or a variable whose plate and dimension are that axis",
                );
                return Err(self.report(mistake));
            }
        }
        Ok(())
    }

    pub(super) fn surplus_axis(&mut self, axis: AxisId, entry: &Entry, context: &Context) -> Reported {
        let name = self.axis_name(axis).to_string();
        let what = match self.axes[axis.0].kind {
            AxisKind::Anonymous => format!("a dimension of {} elements", self.axes[axis.0].size),
            _ => format!("the axis `{name}`"),
        };
        let has: Vec<AxisId> = context.plates.iter().copied().chain(context.dimension).collect();
        let mistake = Diagnostic::new(
            "surplus-axis",
            format!(
                "{} has {what}, which its variable lacks: the variable has {}",
                context.user,
                self.axis_names(&has)
            ),
        )
        .at(entry.value.span.clone(), format!("varies along `{name}`"))
        .help(format!(
            "add \"{name}\" to the variable's plates, select an element with a[index], or sum over it with dot(a, b)"
        ));
        self.report(mistake)
    }
}

/// Whether the first d × d numbers are a symmetric matrix.
fn is_symmetric(values: &[f64], d: usize) -> bool {
    (0..d).all(|i| (0..i).all(|j| values.get(i * d + j) == values.get(j * d + i)))
}
