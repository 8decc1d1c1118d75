//! Coordinates of the latent variables and their transforms to the supports.

use std::sync::Arc;

use vi_model::graph::{Distribution, Variable, VariableId};

use super::discrete::is_discrete;
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{
    Coordinates, FillMissing, MAX_MATRIX, ScalarTransform, ScalarTransformKind, Shape, Source, UnaryFunction, Value,
};

/// The support of a variable and so its transform.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Support {
    /// The whole line.
    Real,
    /// Above a bound.
    Lower(Value),
    /// Below a bound.
    Upper(Value),
    /// Between bounds.
    Interval(Value, Value),
    /// Probabilities of so many categories; `sticks` for the stick-breaking prior.
    Simplex {
        /// Number of categories.
        size: usize,
        /// Whether the density is over the sticks.
        sticks: bool,
    },
    /// Increasing along the last axis, its first element positive or not.
    Ordered {
        /// Length of the last axis.
        size: usize,
        /// Whether the first element is positive.
        positive: bool,
    },
    /// Symmetric positive definite matrices.
    PositiveDefinite(usize),
    /// A location and a precision.
    NormalGamma,
    /// A location vector and a precision matrix.
    NormalWishart(usize),
}

impl Support {
    /// Whether a bound is not the same in every draw.
    pub(crate) fn has_latent_bounds(&self) -> bool {
        match self {
            Self::Lower(b) | Self::Upper(b) => !b.is_data(),
            Self::Interval(l, u) => !(l.is_data() && u.is_data()),
            _ => false,
        }
    }
}

/// A continuous latent variable and its coordinates.
#[derive(Debug, Clone)]
pub(crate) struct Latent {
    /// Which.
    pub variable: VariableId,
    /// Its support.
    pub support: Support,
    /// First coordinate.
    pub offset: usize,
    /// Coordinates for each row (all of them where it has no rows).
    pub width: usize,
    /// Whether it has rows.
    pub rows: bool,
    /// Number of elements (for each row): products of its plates.
    pub elements: usize,
    /// All its coordinates.
    pub count: usize,
    /// Shape of its value.
    pub shape: Shape,
}

impl Lowering<'_> {
    /// A bound of a variable whose values end at `end` by themselves.
    fn bound_within(&mut self, v: VariableId, is_lower: bool, end: f64) -> Result<Value, SgviError> {
        let variable = self.graph.variable(v);
        let Some(node) = (if is_lower { variable.lower } else { variable.upper }) else {
            return Ok(self.b.constant(end));
        };
        let bound = self.plain(v, node)?;
        let beyond = |x: &f64| if is_lower { *x < end } else { *x > end };
        match self.b.numbers(&bound) {
            Some(numbers) if numbers.iter().any(beyond) => {
                let within = numbers.iter().map(|x| if beyond(x) { end } else { *x }).collect();
                Ok(self.b.data(bound.shape.clone(), within))
            }
            Some(_) => Ok(bound),
            // max(b, end), or min(b, end), of a bound that differs from draw to draw.
            None => {
                let sign = if is_lower { 1.0 } else { -1.0 };
                let from_end = self.b.shifted(-end, &bound);
                let inwards = self.b.scaled(sign, &from_end);
                let within = self.b.unary(UnaryFunction::PositivePart, &inwards);
                let back = self.b.scaled(sign, &within);
                Ok(self.b.shifted(end, &back))
            }
        }
    }

    pub(super) fn support(&mut self, v: VariableId) -> Result<Support, SgviError> {
        let graph = self.graph;
        let variable: &Variable = graph.variable(v);
        let size = variable.dimension.map_or(1, |d| graph.axis(d).size);
        let support = match &variable.distribution {
            Distribution::Gamma { .. }
            | Distribution::InverseGamma { .. }
            | Distribution::Exponential { .. }
            | Distribution::HalfNormal { .. }
            | Distribution::HalfCauchy { .. }
            | Distribution::HalfStudentT { .. }
            | Distribution::LogNormal { .. } => {
                let lower = self.bound_within(v, true, 0.0)?;
                match variable.upper {
                    Some(node) => Support::Interval(lower, self.plain(v, node)?),
                    None => Support::Lower(lower),
                }
            }
            Distribution::Beta { .. } => {
                Support::Interval(self.bound_within(v, true, 0.0)?, self.bound_within(v, false, 1.0)?)
            }
            Distribution::Uniform { lower, upper } => Support::Interval(self.plain(v, *lower)?, self.plain(v, *upper)?),
            Distribution::Dirichlet { .. } => Support::Simplex { size, sticks: false },
            Distribution::StickBreaking { .. } => Support::Simplex { size, sticks: true },
            Distribution::Wishart { .. } => Support::PositiveDefinite(size),
            Distribution::NormalGamma { .. } => Support::NormalGamma,
            Distribution::NormalWishart { .. } => Support::NormalWishart(size),
            _ => {
                let lower = variable.lower.map(|n| self.plain(v, n)).transpose()?;
                let upper = variable.upper.map(|n| self.plain(v, n)).transpose()?;
                match (lower, upper) {
                    (None, None) => Support::Real,
                    (Some(l), None) => Support::Lower(l),
                    (None, Some(u)) => Support::Upper(u),
                    (Some(l), Some(u)) => Support::Interval(l, u),
                }
            }
        };
        if let Support::PositiveDefinite(d) | Support::NormalWishart(d) = support
            && d > MAX_MATRIX
        {
            return Err(SgviError::unsupported(
                graph,
                v,
                format!("a latent {d} × {d} matrix is too large for this engine"),
                format!("use a dimension of at most {MAX_MATRIX}, or run it with `cavi`"),
            ));
        }
        if variable.ordered {
            let axes = graph.value_axes(v);
            let last = axes.last().map_or(1, |a| graph.axis(*a).size);
            return match support {
                Support::Real => Ok(Support::Ordered { size: last, positive: false }),
                Support::Lower(l) if self.b.number(&l) == Some(0.0) => {
                    Ok(Support::Ordered { size: last, positive: true })
                }
                _ => Err(SgviError::unsupported(
                    graph,
                    v,
                    "elements can be ordered on the real line or above zero only",
                    "leave out `ordered` or the bounds",
                )),
            };
        }
        Ok(support)
    }

    /// The variables in the order of the file, but that those of which a variable's bounds are made come before it.
    fn bounds_first(&self) -> Vec<VariableId> {
        fn visit(l: &Lowering<'_>, v: VariableId, order: &mut Vec<VariableId>) {
            if order.contains(&v) {
                return;
            }
            let variable = l.graph.variable(v);
            let mut nodes = vec![variable.lower, variable.upper];
            if let Distribution::Uniform { lower, upper } = variable.distribution {
                nodes.extend([Some(lower), Some(upper)]);
            }
            for parent in nodes.into_iter().flatten().flat_map(|node| l.graph.variables_of(node)) {
                visit(l, parent, order);
            }
            order.push(v);
        }
        let mut order = Vec::with_capacity(self.graph.variables.len());
        (0..self.graph.variables.len()).for_each(|v| visit(self, VariableId(v), &mut order));
        order
    }

    /// Gives every continuous latent variable coordinates and its value.
    pub(super) fn add_latents(&mut self) -> Result<(), SgviError> {
        for v in self.bounds_first() {
            let variable = self.graph.variable(v);
            if self.is_drawn(v) {
                continue;
            }
            if variable.amortized.is_some() {
                self.add_amortized(v)?;
                continue;
            }
            if variable.observed.is_some() && self.is_elsewhere(v) && !self.is_used(v) {
                continue;
            }
            let observed = self.observed_numbers(v)?;
            if is_discrete(&variable.distribution) {
                self.add_discrete(v, observed)?;
                continue;
            }
            match observed {
                Some(value) => self.add_observed(v, value)?,
                None => self.add_latent(v)?,
            }
        }
        Ok(())
    }

    /// An observed variable: its data; where missing cells are needed elsewhere they become coordinates.
    fn add_observed(&mut self, v: VariableId, value: Value) -> Result<(), SgviError> {
        let numbers = self.b.numbers(&value).unwrap_or_default();
        let missing = numbers.iter().filter(|x| x.is_nan()).count();
        let variable = self.graph.variable(v);
        let chain = matches!(variable.distribution, Distribution::GaussianMarkovChain { .. });
        if missing == 0 || !(self.is_used(v) || chain) {
            self.variables.insert((v, View::Plain), value);
            return Ok(());
        }
        if self.ports.is_some() {
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "some of its cells are missing, and other variables beside networks depend on them",
                "leave out the rows with missing cells",
            ));
        }
        let label = self.b.fresh_label();
        let shape = Shape { rows: false, axes: vec![(label, missing)] };
        let support = self.support(v)?;
        let zero = self.b.constant(0.0);
        let kind = if support.has_latent_bounds() { None } else { scalar_kind(&support, &zero) };
        let (kind, lower, upper) = kind.ok_or_else(|| {
            SgviError::unsupported(
                self.graph,
                v,
                "missing cells of such a variable cannot be latent",
                "drop rows with missing cells",
            )
        })?;
        let fill = self.coordinates(v, support, missing, missing, shape.clone());
        let output = Value { source: Source::Latent(self.b.buffer(&shape, true, false)), shape };
        let coordinates = self.place(v, &fill);
        [&lower, &upper].into_iter().for_each(|v| self.b.settle(v));
        self.b.push(Box::new(ScalarTransform { kind, coordinates, lower, upper, output: output.clone() }), false);
        let mut next = 0;
        let positions = numbers
            .iter()
            .map(|x| {
                if x.is_nan() {
                    next += 1;
                    next - 1
                } else {
                    u32::MAX
                }
            })
            .collect();
        let local = value.shape.rows;
        let out =
            Value { source: Source::Latent(self.b.buffer(&value.shape, true, local)), shape: value.shape.clone() };
        let fill_operation =
            FillMissing { observed: value, fill: output, positions: Arc::new(positions), output: out.clone() };
        self.b.push(Box::new(fill_operation), local);
        self.variables.insert((v, View::Plain), out.clone());
        self.filled.insert(v, out);
        let mean = vec![0.0; missing];
        self.start.extend(&mean);
        self.start_scale.extend(std::iter::repeat_n(1.0, missing));
        Ok(())
    }

    /// Reserves coordinates.
    pub(super) fn coordinates(
        &mut self,
        v: VariableId,
        support: Support,
        width: usize,
        elements: usize,
        shape: Shape,
    ) -> Latent {
        let rows = shape.rows;
        let count = width * if rows { self.b.program.num_rows } else { 1 };
        let latent = Latent { variable: v, support, offset: self.owner.len(), width, rows, elements, count, shape };
        let point = self.graph.variable(v).point;
        self.owner.extend(std::iter::repeat_n(v.0, count));
        self.is_point.extend(std::iter::repeat_n(point, count));
        latent
    }

    pub(super) fn place(&self, v: VariableId, latent: &Latent) -> Coordinates {
        Coordinates {
            offset: latent.offset,
            width: latent.width,
            rows: latent.rows,
            term: (!self.graph.variable(v).point).then_some(v.0),
        }
    }
}

/// The scalar transform of a support with its bounds.
pub(super) fn scalar_kind(support: &Support, zero: &Value) -> Option<(ScalarTransformKind, Value, Value)> {
    Some(match support {
        Support::Real => (ScalarTransformKind::Identity, zero.clone(), zero.clone()),
        Support::Lower(l) => (ScalarTransformKind::Lower, l.clone(), zero.clone()),
        Support::Upper(u) => (ScalarTransformKind::Upper, zero.clone(), u.clone()),
        Support::Interval(l, u) => (ScalarTransformKind::Interval, l.clone(), u.clone()),
        _ => return None,
    })
}
