//! Coordinates of the latent variables and their transforms to the supports.

use std::sync::Arc;

use vi_model::graph::{Distribution, NodeId, Variable, VariableId};

use super::discrete::is_discrete;
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{
    Coordinates, FillMissing, MAX_MATRIX, Ordered, PositiveDefinite, ScalarTransform, ScalarTransformKind, Shape,
    Simplex, Source, UnaryFunction, Value,
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
    /// A bound as data.
    fn bound(&mut self, v: VariableId, node: NodeId, name: &str) -> Result<Value, SgviError> {
        let value = self.node(node, View::Plain)?;
        if value.is_data() {
            return Ok(value);
        }
        Err(SgviError::unsupported(
            self.graph,
            v,
            format!("its bound `{name}` depends on a latent variable"),
            "write the bound as a number or as an expression of data",
        ))
    }

    /// A bound of a variable whose values end at `end` by themselves.
    fn bound_within(&mut self, v: VariableId, name: &str, end: f64) -> Result<Value, SgviError> {
        let variable = self.graph.variable(v);
        let is_lower = name == "lower";
        let Some(node) = (if is_lower { variable.lower } else { variable.upper }) else {
            return Ok(self.b.constant(end));
        };
        let bound = self.bound(v, node, name)?;
        let numbers = self.b.numbers(&bound).unwrap_or_default();
        let beyond = |x: &f64| if is_lower { *x < end } else { *x > end };
        if !numbers.iter().any(beyond) {
            return Ok(bound);
        }
        let within = numbers.iter().map(|x| if beyond(x) { end } else { *x }).collect();
        Ok(self.b.data(bound.shape.clone(), within))
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
                let lower = self.bound_within(v, "lower", 0.0)?;
                match variable.upper {
                    Some(node) => Support::Interval(lower, self.bound(v, node, "upper")?),
                    None => Support::Lower(lower),
                }
            }
            Distribution::Beta { .. } => {
                Support::Interval(self.bound_within(v, "lower", 0.0)?, self.bound_within(v, "upper", 1.0)?)
            }
            Distribution::Uniform { lower, upper } => {
                Support::Interval(self.bound(v, *lower, "lower")?, self.bound(v, *upper, "upper")?)
            }
            Distribution::Dirichlet { .. } => Support::Simplex { size, sticks: false },
            Distribution::StickBreaking { .. } => Support::Simplex { size, sticks: true },
            Distribution::Wishart { .. } => Support::PositiveDefinite(size),
            Distribution::NormalGamma { .. } => Support::NormalGamma,
            Distribution::NormalWishart { .. } => Support::NormalWishart(size),
            _ => {
                let lower = variable.lower.map(|n| self.bound(v, n, "lower")).transpose()?;
                let upper = variable.upper.map(|n| self.bound(v, n, "upper")).transpose()?;
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

    /// Gives every continuous latent variable coordinates and its value.
    pub(super) fn add_latents(&mut self) -> Result<(), SgviError> {
        for v in (0..self.graph.variables.len()).map(VariableId) {
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
        let (kind, lower, upper) = scalar_kind(&support, &zero).ok_or_else(|| {
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
    fn coordinates(&mut self, v: VariableId, support: Support, width: usize, elements: usize, shape: Shape) -> Latent {
        let rows = shape.rows;
        let count = width * if rows { self.b.program.num_rows } else { 1 };
        let latent = Latent { variable: v, support, offset: self.owner.len(), width, rows, elements, count, shape };
        let point = self.graph.variable(v).point;
        self.owner.extend(std::iter::repeat_n(v.0, count));
        self.is_point.extend(std::iter::repeat_n(point, count));
        latent
    }

    fn place(&self, v: VariableId, latent: &Latent) -> Coordinates {
        Coordinates {
            offset: latent.offset,
            width: latent.width,
            rows: latent.rows,
            term: (!self.graph.variable(v).point).then_some(v.0),
        }
    }

    fn add_latent(&mut self, v: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        let support = self.support(v)?;
        if graph.is_local(v) && self.ports.is_some() {
            return Err(SgviError::unsupported(
                graph,
                v,
                "beside networks a continuous latent variable with a value for every data row must be amortised",
                "give it `amortized = \"NETWORK(data)\"`",
            ));
        }
        if graph.is_local(v) && self.weights.is_some() {
            return Err(SgviError::unsupported(
                graph,
                v,
                "a continuous latent variable in the rows' plate cannot be counted several times",
                "repeat the rows instead of `counts`",
            ));
        }
        let axes = graph.value_axes(v);
        let shape = self.shape_of(&axes);
        let local = shape.rows;
        let inner = shape.inner();
        let mut plates = graph.variable(v).plates.clone();
        plates.retain(|p| Some(*p) != graph.rows);
        let elements: usize = plates.iter().map(|p| graph.axis(*p).size).product();
        let latent_value = |l: &mut Self, shape: &Shape| Value {
            source: Source::Latent(l.b.buffer(shape, true, local)),
            shape: shape.clone(),
        };
        let zero = self.b.constant(0.0);
        let latent = match &support {
            Support::Real | Support::Lower(_) | Support::Upper(_) | Support::Interval(..) => {
                let Some((kind, lower, upper)) = scalar_kind(&support, &zero) else { return Ok(()) };
                [&lower, &upper].into_iter().for_each(|v| self.b.settle(v));
                let latent = self.coordinates(v, support.clone(), inner, inner, shape.clone());
                let output = latent_value(self, &shape);
                let coordinates = self.place(v, &latent);
                let operation = ScalarTransform { kind, coordinates, lower, upper, output: output.clone() };
                self.b.push(Box::new(operation), local);
                if kind == ScalarTransformKind::Identity {
                    self.b.mark_affine(&output);
                }
                self.variables.insert((v, View::Plain), output);
                latent
            }
            Support::Simplex { size, sticks } => {
                let latent = self.coordinates(v, support.clone(), elements * (size - 1), elements, shape.clone());
                let output = latent_value(self, &shape);
                let coordinates = self.place(v, &latent);
                let operation = Simplex { coordinates, size: *size, sticks: *sticks, output: output.clone() };
                self.b.push(Box::new(operation), local);
                let plain = self.b.unary(UnaryFunction::Exp, &output);
                self.variables.insert((v, View::Plain), plain);
                self.variables.insert((v, View::Log), output);
                latent
            }
            Support::Ordered { size, positive } => {
                let latent = self.coordinates(v, support.clone(), inner, inner / size, shape.clone());
                let output = latent_value(self, &shape);
                let coordinates = self.place(v, &latent);
                let operation = Ordered { coordinates, size: *size, positive: *positive, output: output.clone() };
                self.b.push(Box::new(operation), local);
                self.variables.insert((v, View::Plain), output);
                latent
            }
            Support::PositiveDefinite(d) => {
                let width = elements * d * (d + 1) / 2;
                let latent = self.coordinates(v, support.clone(), width, elements, shape.clone());
                let coordinates = self.place(v, &latent);
                let output = self.positive_definite(*d, coordinates, &shape);
                self.variables.insert((v, View::Plain), output.0.clone());
                self.variables.insert((v, View::Precision), output.0);
                self.variables.insert((v, View::LogDeterminant), output.1);
                latent
            }
            Support::NormalGamma => {
                let latent = self.coordinates(v, support.clone(), inner + elements, elements, shape.clone());
                let first = self.place(v, &latent);
                if local {
                    return Err(SgviError::unsupported(
                        graph,
                        v,
                        "a joint variable cannot be in the rows' plate",
                        "write its mean and precision as two variables",
                    ));
                }
                let second = Coordinates { offset: first.offset + inner, width: elements, ..first.clone() };
                let first = Coordinates { width: inner, ..first };
                // One precision for all coordinates of the location.
                let plates = self.shape_of(&graph.variable(v).plates);
                let (mean, precision) = (latent_value(self, &shape), latent_value(self, &plates));
                for (kind, coordinates, output) in
                    [(ScalarTransformKind::Identity, first, &mean), (ScalarTransformKind::Lower, second, &precision)]
                {
                    let (lower, upper) = (zero.clone(), zero.clone());
                    let operation = ScalarTransform { kind, coordinates, lower, upper, output: output.clone() };
                    self.b.push(Box::new(operation), local);
                }
                self.b.mark_affine(&mean);
                self.variables.insert((v, View::Plain), mean);
                self.variables.insert((v, View::Precision), precision);
                latent
            }
            Support::NormalWishart(d) => {
                if local {
                    return Err(SgviError::unsupported(
                        graph,
                        v,
                        "a joint variable cannot be in the rows' plate",
                        "write its mean and precision as two variables",
                    ));
                }
                let mut axes = graph.variable(v).plates.clone();
                axes.extend(graph.variable(v).dimension);
                let vector_shape = self.shape_of(&axes);
                axes.extend(graph.variable(v).dimension);
                let matrix_shape = self.shape_of(&axes);
                let (a, m) = (elements * d, elements * d * (d + 1) / 2);
                let latent = self.coordinates(v, support.clone(), a + m, elements, vector_shape.clone());
                let first = self.place(v, &latent);
                let second = Coordinates { offset: first.offset + a, width: m, ..first.clone() };
                let mean = latent_value(self, &vector_shape);
                let operation = ScalarTransform {
                    kind: ScalarTransformKind::Identity,
                    coordinates: Coordinates { width: a, ..first },
                    lower: zero.clone(),
                    upper: zero.clone(),
                    output: mean.clone(),
                };
                self.b.push(Box::new(operation), local);
                let output = self.positive_definite(*d, second, &matrix_shape);
                self.b.mark_affine(&mean);
                self.variables.insert((v, View::Plain), mean);
                self.variables.insert((v, View::Precision), output.0);
                self.variables.insert((v, View::LogDeterminant), output.1);
                latent
            }
        };
        let (start, scale) = self.start_of(v, &latent)?;
        self.start.extend(start);
        self.start_scale.extend(scale);
        self.latents.push(latent);
        Ok(())
    }

    /// A matrix-valued latent and its log determinant.
    fn positive_definite(&mut self, d: usize, coordinates: Coordinates, shape: &Shape) -> (Value, Value) {
        let local = shape.rows;
        let mut plates = shape.clone();
        plates.axes.truncate(shape.axes.len() - 2);
        let output = Value { source: Source::Latent(self.b.buffer(shape, true, local)), shape: shape.clone() };
        let log_determinant = Value { source: Source::Latent(self.b.buffer(&plates, true, local)), shape: plates };
        let operation =
            PositiveDefinite { coordinates, size: d, output: output.clone(), log_determinant: log_determinant.clone() };
        self.b.push(Box::new(operation), local);
        (output, log_determinant)
    }
}

/// The scalar transform of a support with its bounds.
fn scalar_kind(support: &Support, zero: &Value) -> Option<(ScalarTransformKind, Value, Value)> {
    Some(match support {
        Support::Real => (ScalarTransformKind::Identity, zero.clone(), zero.clone()),
        Support::Lower(l) => (ScalarTransformKind::Lower, l.clone(), zero.clone()),
        Support::Upper(u) => (ScalarTransformKind::Upper, zero.clone(), u.clone()),
        Support::Interval(l, u) => (ScalarTransformKind::Interval, l.clone(), u.clone()),
        _ => return None,
    })
}
