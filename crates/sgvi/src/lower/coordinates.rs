//! The transforms of continuous latent variables: one operation, or a few, for each kind of support.

use vi_model::graph::VariableId;

use super::latents::{Latent, Support, scalar_kind};
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{
    Coordinates, Ordered, PositiveDefinite, ScalarTransform, ScalarTransformKind, Shape, Simplex, Source,
    UnaryFunction, Value,
};

impl Lowering<'_> {
    /// Gives a continuous latent variable its coordinates, its value and a place to start.
    pub(super) fn add_latent(&mut self, v: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        let support = self.support(v)?;
        self.check_rows(v, &support)?;
        let shape = self.shape_of(&graph.value_axes(v));
        let plates = graph.variable(v).plates.iter().filter(|p| Some(**p) != graph.rows);
        let elements: usize = plates.map(|p| graph.axis(*p).size).product();
        let latent = match support.clone() {
            Support::Real | Support::Lower(_) | Support::Upper(_) | Support::Interval(..) => {
                self.scalar_latent(v, support, shape)?
            }
            Support::Simplex { size, sticks } => {
                let latent = self.coordinates(v, support, elements * (size - 1), elements, shape.clone());
                let output = self.latent_value(&shape);
                let coordinates = self.place(v, &latent);
                let operation = Simplex { coordinates, size, sticks, output: output.clone() };
                self.b.push(Box::new(operation), shape.rows);
                let plain = self.b.unary(UnaryFunction::Exp, &output);
                self.variables.insert((v, View::Plain), plain);
                self.variables.insert((v, View::Log), output);
                latent
            }
            Support::Ordered { size, positive } => {
                let inner = shape.inner();
                let latent = self.coordinates(v, support, inner, inner / size, shape.clone());
                let output = self.latent_value(&shape);
                let coordinates = self.place(v, &latent);
                let operation = Ordered { coordinates, size, positive, output: output.clone() };
                self.b.push(Box::new(operation), shape.rows);
                self.variables.insert((v, View::Plain), output);
                latent
            }
            Support::PositiveDefinite(d) => {
                let width = elements * d * (d + 1) / 2;
                let latent = self.coordinates(v, support, width, elements, shape.clone());
                let coordinates = self.place(v, &latent);
                let output = self.positive_definite(d, coordinates, &shape);
                self.variables.insert((v, View::Plain), output.0.clone());
                self.variables.insert((v, View::Precision), output.0);
                self.variables.insert((v, View::LogDeterminant), output.1);
                latent
            }
            Support::NormalGamma => {
                let inner = shape.inner();
                let latent = self.coordinates(v, support, inner + elements, elements, shape.clone());
                let first = self.place(v, &latent);
                let second = Coordinates { offset: first.offset + inner, width: elements, ..first.clone() };
                self.location(v, Coordinates { width: inner, ..first }, &shape);
                // One precision for all coordinates of the location.
                let plates = self.shape_of(&graph.variable(v).plates);
                let precision = self.transformed(ScalarTransformKind::Lower, second, &plates);
                self.variables.insert((v, View::Precision), precision);
                latent
            }
            Support::NormalWishart(d) => {
                let mut axes = graph.variable(v).plates.clone();
                axes.extend(graph.variable(v).dimension);
                let vector = self.shape_of(&axes);
                axes.extend(graph.variable(v).dimension);
                let matrix = self.shape_of(&axes);
                let (a, m) = (elements * d, elements * d * (d + 1) / 2);
                let latent = self.coordinates(v, support, a + m, elements, vector.clone());
                let first = self.place(v, &latent);
                let second = Coordinates { offset: first.offset + a, width: m, ..first.clone() };
                self.location(v, Coordinates { width: a, ..first }, &vector);
                let output = self.positive_definite(d, second, &matrix);
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

    /// Refuses what cannot have a value for every row.
    fn check_rows(&self, v: VariableId, support: &Support) -> Result<(), SgviError> {
        let graph = self.graph;
        let (reason, remedy) = if !graph.is_local(v) {
            return Ok(());
        } else if self.ports.is_some() {
            (
                "beside networks a continuous latent variable with a value for every data row must be amortised",
                "give it `amortized = \"NETWORK(data)\"`",
            )
        } else if self.weights.is_some() {
            (
                "a continuous latent variable in the rows' plate cannot be counted several times",
                "repeat the rows instead of `counts`",
            )
        } else if matches!(support, Support::NormalGamma | Support::NormalWishart(_)) {
            ("a joint variable cannot be in the rows' plate", "write its mean and precision as two variables")
        } else {
            return Ok(());
        };
        Err(SgviError::unsupported(graph, v, reason, remedy))
    }

    /// A buffer for a latent value.
    fn latent_value(&mut self, shape: &Shape) -> Value {
        Value { source: Source::Latent(self.b.buffer(shape, true, shape.rows)), shape: shape.clone() }
    }

    /// Coordinates as they are, above zero, or between zero and one.
    fn transformed(&mut self, kind: ScalarTransformKind, coordinates: Coordinates, shape: &Shape) -> Value {
        let (lower, upper) = (self.b.constant(0.0), self.b.constant(1.0));
        let output = self.latent_value(shape);
        self.b.push(Box::new(ScalarTransform { kind, coordinates, lower, upper, output: output.clone() }), shape.rows);
        output
    }

    /// The location of a joint variable.
    fn location(&mut self, v: VariableId, coordinates: Coordinates, shape: &Shape) {
        let mean = self.transformed(ScalarTransformKind::Identity, coordinates, shape);
        self.b.mark_affine(&mean);
        self.variables.insert((v, View::Plain), mean);
    }

    /// A variable of single numbers.
    fn scalar_latent(&mut self, v: VariableId, support: Support, shape: Shape) -> Result<Latent, SgviError> {
        let zero = self.b.constant(0.0);
        let inner = shape.inner();
        let latent = self.coordinates(v, support, inner, inner, shape.clone());
        let coordinates = self.place(v, &latent);
        if let Some(value) = self.between_latent_bounds(v, &latent.support, &coordinates, &shape)? {
            self.variables.insert((v, View::Plain), value);
            return Ok(latent);
        }
        let (kind, lower, upper) =
            scalar_kind(&latent.support, &zero).unwrap_or((ScalarTransformKind::Identity, zero.clone(), zero));
        [&lower, &upper].into_iter().for_each(|v| self.b.settle(v));
        let output = self.latent_value(&shape);
        self.b.push(Box::new(ScalarTransform { kind, coordinates, lower, upper, output: output.clone() }), shape.rows);
        if kind == ScalarTransformKind::Identity {
            self.b.mark_affine(&output);
        }
        self.variables.insert((v, View::Plain), output);
        Ok(latent)
    }

    /// The value of a variable some of whose bounds depend on latent variables: l + e^θ, u − e^θ or l + (u − l) logistic θ with the
    /// bounds as they are in each draw; the log Jacobian has ln(u − l) beside the part of θ. `None` where all bounds are data.
    fn between_latent_bounds(
        &mut self,
        v: VariableId,
        support: &Support,
        coordinates: &Coordinates,
        shape: &Shape,
    ) -> Result<Option<Value>, SgviError> {
        if !support.has_latent_bounds() {
            return Ok(None);
        }
        let refuse = |reason: &str, remedy: &str| Err(SgviError::unsupported(self.graph, v, reason, remedy));
        if self.ports.is_some() {
            return refuse(
                "its bounds depend on a latent variable, which stands beside networks for data alone",
                "write the bounds as numbers or as expressions of data",
            );
        }
        let bounds: Vec<&Value> = match support {
            Support::Lower(b) | Support::Upper(b) => vec![b],
            Support::Interval(l, u) => vec![l, u],
            _ => Vec::new(),
        };
        if bounds.iter().any(|b| b.shape.axes.iter().any(|a| !shape.has(a.0)) || (b.shape.rows && !shape.rows)) {
            return refuse(
                "its bounds depend on a discrete latent variable that is summed out",
                "let the bounds depend on continuous variables, or give the variable bounds that are data",
            );
        }
        Ok(Some(match support {
            Support::Lower(lower) => {
                let above = self.transformed(ScalarTransformKind::Lower, coordinates.clone(), shape);
                self.b.sum(&above, lower)
            }
            Support::Upper(upper) => {
                let above = self.transformed(ScalarTransformKind::Lower, coordinates.clone(), shape);
                let below = self.b.unary(UnaryFunction::Negate, &above);
                self.b.sum(&below, upper)
            }
            Support::Interval(lower, upper) => {
                let share = self.transformed(ScalarTransformKind::Interval, coordinates.clone(), shape);
                let width = self.b.difference(upper, lower);
                if coordinates.term.is_some() {
                    let jacobian = self.b.unary(UnaryFunction::Log, &width);
                    self.jacobians.insert(v, jacobian);
                }
                let part = self.b.product(&share, &width);
                self.b.sum(&part, lower)
            }
            _ => return Ok(None),
        }))
    }

    /// A matrix-valued latent and its log determinant.
    fn positive_definite(&mut self, d: usize, coordinates: Coordinates, shape: &Shape) -> (Value, Value) {
        let mut plates = shape.clone();
        plates.axes.truncate(shape.axes.len() - 2);
        let (output, log_determinant) = (self.latent_value(shape), self.latent_value(&plates));
        let operation =
            PositiveDefinite { coordinates, size: d, output: output.clone(), log_determinant: log_determinant.clone() };
        self.b.push(Box::new(operation), shape.rows);
        (output, log_determinant)
    }
}
