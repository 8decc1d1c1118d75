//! Mean and second moment of a new value of an observed variable: what its parameters leave uncertain, and its own noise.
//!
//! Var[y] = Var[E[y | θ, z]] + E[Var[y | θ, z]], both under q; for gates the categories are part of the first.

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{
    AxisId, BinaryOperator, Distribution, NamedExpression, NodeId, PrecisionOrSd, Probability, RateOrScale, Spread,
    SpreadForm, VariableId,
};

use super::derived::{Derived, Products};
use super::expression::AtomKind;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Operand, Source, Transform};

/// Products with a coefficient and further operands.
fn times(products: &Products, coefficient: f64, more: &[Operand]) -> Products {
    products.iter().map(|(c, operands)| (coefficient * c, [operands.as_slice(), more].concat())).collect()
}

impl Lowering {
    /// The predictive distribution of an observed variable.
    ///
    /// # Errors
    ///
    /// For distributions whose predictive moments are not known in closed form.
    pub(super) fn predictive(&mut self, v: VariableId, expression: &NamedExpression) -> Result<Derived, CaviError> {
        let mut scope = self.scope(v);
        let (mut axes, mut index) = (scope.axes.clone(), scope.value.clone());
        self.reporting = true;
        let products = match self.graph.variable(v).distribution.clone() {
            Distribution::Normal { mean, spread, form } => {
                let (node, power) = match spread {
                    Spread::Precision(node) => (node, -1),
                    Spread::Variance(node) | Spread::Covariance(node) => (node, 1),
                    Spread::StandardDeviation(node) => (node, 2),
                };
                self.around_mean(v, expression, &mut scope, mean, |this, scope| match form {
                    SpreadForm::Matrix => this.diagonal_noise(v, node, power, scope),
                    _ => this.noise(v, node, power, scope),
                })
            }
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let (node, power) = match spread {
                    PrecisionOrSd::Precision(node) => (node, -1),
                    PrecisionOrSd::StandardDeviation(node) => (node, 2),
                };
                self.around_mean(v, expression, &mut scope, mean, |this, scope| {
                    let (coefficient, mut operands) = this.noise(v, node, power, scope)?;
                    let (wider, more) = this.t_variance(v, degrees_of_freedom, scope)?;
                    operands.extend(more);
                    Ok((wider * coefficient, operands))
                })
            }
            Distribution::Laplace { location, scale } => {
                // A variance of 2b².
                self.around_mean(v, expression, &mut scope, location, |this, scope| {
                    let (coefficient, operands) = this.noise(v, scale, 2, scope)?;
                    Ok((2.0 * coefficient, operands))
                })
            }
            Distribution::NormalJoint { parameters } if self.is_matrix_pair(parameters) => {
                self.around_joint(v, &mut scope, parameters)
            }
            Distribution::NormalJoint { parameters } => {
                self.around_mean(v, expression, &mut scope, parameters, |this, scope| {
                    this.pair_noise(v, parameters, scope)
                })
            }
            Distribution::Poisson { rate, log: false } => {
                // Var[y | λ] = λ.
                self.parameter_moments(v, expression, &mut scope, rate).map(|[mean, random, mut second]| {
                    second.extend(mean.iter().cloned());
                    [mean, random, second]
                })
            }
            Distribution::Binomial { trials, probability: Probability::Probability(node) } => {
                // E[y] = n E[p], E[y²] = n E[p] + n(n − 1) E[p²].
                let n = self.fixed(v, "trials", trials, &mut scope, Transform::Identity)?;
                let less = self.minus_one(trials);
                let less = self.fixed(v, "trials", less, &mut scope, Transform::Identity)?;
                self.parameter_moments(v, expression, &mut scope, node).map(|[mean, _, second]| {
                    let mean = times(&mean, 1.0, std::slice::from_ref(&n));
                    let second = times(&second, 1.0, &[n.clone(), less]).into_iter().chain(mean.clone()).collect();
                    [mean.clone(), mean, second]
                })
            }
            Distribution::Exponential { rate } => self.gamma_moments(v, &mut scope, None, rate, -1),
            Distribution::Gamma { shape, rate: RateOrScale::Rate(node) } => {
                self.gamma_moments(v, &mut scope, Some(shape), node, -1)
            }
            Distribution::Gamma { shape, rate: RateOrScale::Scale(node) } => {
                self.gamma_moments(v, &mut scope, Some(shape), node, 1)
            }
            Distribution::Categorical { probabilities, range, logits: false } => {
                let category = self.axis_index(range);
                axes.push(range);
                index.push(category.clone());
                self.category_moments(v, &mut scope, probabilities, range, category)
            }
            Distribution::Bernoulli { probability: Probability::Probability(node) } => {
                // y² = y.
                self.parameter_moments(v, expression, &mut scope, node)
                    .map(|[mean, _, _]| [mean.clone(), mean.clone(), mean])
            }
            _ => Err(self.no_prediction(v)),
        };
        self.reporting = false;
        let [mean, random_mean, second] = products?;
        Ok(Derived { name: expression.name.clone(), axes, mean, random_mean, second, index })
    }

    /// E[f], E[g] and E[g²] of a parameter f with random part g.
    fn parameter_moments(
        &mut self,
        v: VariableId,
        expression: &NamedExpression,
        scope: &mut Scope,
        node: NodeId,
    ) -> Result<[Products; 3], CaviError> {
        let index = self.parameter_index(v, scope, node)?;
        let sum = self.expand(node, &index, scope)?;
        let mut open = scope.clone();
        open.axes.clear();
        open.value.clear();
        self.expected(&open, &sum, expression)
    }

    /// E[y] = s E[θ], E[y²] = s(s + 1) E[θ²] of y ~ Gamma(s, 1/θ), with θ the scale, or one over the rate (`power` −1).
    fn gamma_moments(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
        shape: Option<NodeId>,
        node: NodeId,
        power: i32,
    ) -> Result<[Products; 3], CaviError> {
        let shape = shape.unwrap_or_else(|| self.number(1.0, &(0..0)));
        let one = self.number(1.0, &(0..0));
        let more = self.binary(BinaryOperator::Add, shape, one);
        let s = self.fixed(v, "shape", shape, scope, Transform::Identity)?;
        let more = self.fixed(v, "shape", more, scope, Transform::Identity)?;
        let (coefficient, operands) = self.noise(v, node, power, scope)?;
        let mean = self.gated(scope, coefficient, [operands.as_slice(), std::slice::from_ref(&s)].concat());
        let (coefficient, operands) = self.noise(v, node, 2 * power, scope)?;
        let second = self.gated(scope, coefficient, [operands.as_slice(), &[s, more]].concat());
        Ok([mean.clone(), mean, second])
    }

    /// The expected probability of each category, whose indicator is its own square.
    fn category_moments(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
        node: NodeId,
        range: AxisId,
        category: AxisIndex,
    ) -> Result<[Products; 3], CaviError> {
        let axes = [scope.axes.as_slice(), &[range]].concat();
        let indices = [scope.value.as_slice(), &[category]].concat();
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes).ok_or_else(|| self.no_prediction(v))?;
        let atom = self.single(v, "probabilities", node, &index, scope)?;
        let operand = self.first_moment(&atom)?;
        let mean = self.gated(scope, 1.0, vec![operand]);
        Ok([mean.clone(), mean.clone(), mean])
    }

    /// A mean with noise around it.
    fn around_mean(
        &mut self,
        v: VariableId,
        expression: &NamedExpression,
        scope: &mut Scope,
        mean: NodeId,
        noise: impl Fn(&mut Self, &mut Scope) -> Result<(f64, Vec<Operand>), CaviError>,
    ) -> Result<[Products; 3], CaviError> {
        let [mean, random, mut second] = self.parameter_moments(v, expression, scope, mean)?;
        let (coefficient, operands) = noise(self, scope)?;
        second.extend(self.gated(scope, coefficient, operands));
        Ok([mean, random, second])
    }

    /// A product with its gates.
    fn gated(&mut self, scope: &Scope, coefficient: f64, operands: Vec<Operand>) -> Products {
        let mut open = scope.clone();
        open.axes.clear();
        open.value.clear();
        let start = self.program.terms.len();
        self.add_term(&open, coefficient, operands, &[]);
        self.collected(start)
    }

    /// E[wᵖ] of a positive parameter w.
    fn noise(
        &mut self,
        v: VariableId,
        node: NodeId,
        power: i32,
        scope: &mut Scope,
    ) -> Result<(f64, Vec<Operand>), CaviError> {
        let index = self.parameter_index(v, scope, node)?;
        let sum = self.expand_whole(node, &index, scope)?;
        let [monomial] = sum.as_slice() else { return Err(self.no_prediction(v)) };
        let mut operands = Vec::new();
        for atom in &monomial.atoms {
            match atom.kind {
                AtomKind::Data(data) => {
                    let transform = if power < 0 { Transform::Reciprocal } else { Transform::Identity };
                    let operand = self.data_operand(data, &atom.index, transform)?;
                    operands.extend(std::iter::repeat_n(operand, power.unsigned_abs() as usize));
                }
                AtomKind::Variable(w) => {
                    let factor = self.factor(w);
                    let known = matches!(
                        (self.program.factors[factor].family.whole(), power),
                        (Family::Gamma | Family::Shape, ..0) | (Family::InverseGamma, 1..)
                    );
                    if !known {
                        return Err(self.no_prediction(v));
                    }
                    let span = self.graph.variable(w).span.clone();
                    let plain = self.variable_operand(w, &atom.index, 0, &span)?;
                    operands.push(Operand { source: Source::Moment { factor, power }, ..plain });
                }
                AtomKind::Absent(_) | AtomKind::Factor(_) | AtomKind::Previous(_) => return Err(self.no_prediction(v)),
            }
        }
        Ok((monomial.coefficient.powi(power), operands))
    }

    /// The diagonal of a covariance matrix, or of the expected inverse of a precision matrix.
    fn diagonal_noise(
        &mut self,
        v: VariableId,
        node: NodeId,
        power: i32,
        scope: &mut Scope,
    ) -> Result<(f64, Vec<Operand>), CaviError> {
        let (Some(dimension), Some(last)) = (self.graph.variable(v).dimension, scope.value.last().cloned()) else {
            return Err(self.no_prediction(v));
        };
        let (mut axes, mut indices) = (scope.axes.clone(), scope.value.clone());
        axes.push(dimension);
        indices.push(last);
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes).ok_or_else(|| self.no_prediction(v))?;
        let atom = self.single(v, "precision", node, &index, scope)?;
        let operand = match atom.kind {
            AtomKind::Variable(w) if power < 0 => {
                let span = self.graph.variable(w).span.clone();
                let plain = self.variable_operand(w, &atom.index, 0, &span)?;
                Operand { source: Source::Moment { factor: self.factor(w), power: -1 }, ..plain }
            }
            AtomKind::Data(data) if power > 0 => self.data_operand(data, &atom.index, Transform::Identity)?,
            AtomKind::Data(_) => self.matrix_operands(v, "precision", &atom, true)?.0,
            _ => return Err(self.no_prediction(v)),
        };
        Ok((1.0, vec![operand]))
    }

    /// E[1/τ] of the normal-gamma variable in `parameters`.
    fn pair_noise(
        &mut self,
        v: VariableId,
        parameters: NodeId,
        scope: &mut Scope,
    ) -> Result<(f64, Vec<Operand>), CaviError> {
        // The pair as it stands, without what its location was measured from.
        self.reporting = false;
        let pair = self.linear_pair(v, parameters, scope);
        self.reporting = true;
        let (tau, _) = self.pair_precision(&pair?)?;
        let Source::Statistic { factor, .. } = tau.source else { return Err(self.no_prediction(v)) };
        Ok((1.0, vec![Operand { source: Source::Moment { factor, power: -1 }, ..tau }]))
    }

    /// A value around the location of a normal-wishart variable.
    fn around_joint(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
        parameters: NodeId,
    ) -> Result<[Products; 3], CaviError> {
        // The location is moved back below: here the pair stands as it is.
        self.reporting = false;
        let index = self.parameter_index(v, scope, parameters)?;
        let joint = self.single(v, "parameters", parameters, &index, scope)?;
        self.reporting = true;
        let AtomKind::Variable(w) = joint.kind else { return Err(self.no_prediction(v)) };
        let (factor, span) = (self.factor(w), self.graph.variable(w).span.clone());
        let dimension: Vec<AxisIndex> = match self.graph.variable(w).dimension {
            Some(_) => scope.value.last().cloned().into_iter().collect(),
            None => vec![],
        };
        let moment = |this: &mut Self, power: i32, copies: usize| -> Result<Products, CaviError> {
            let index: Vec<AxisIndex> =
                joint.index.iter().cloned().chain(std::iter::repeat_n(&dimension, copies).flatten().cloned()).collect();
            let plain = this.variable_operand(w, &index, 0, &span)?;
            Ok(this.gated(scope, 1.0, vec![Operand { source: Source::Moment { factor, power }, ..plain }]))
        };
        let random = moment(self, 1, 1)?;
        let mut second = moment(self, 2, 2)?;
        second.extend(moment(self, -1, 2)?);
        let mut mean = random.clone();
        if let Some(shift) = self.shifts.location.get(&w).copied() {
            let own = joint.index.iter().chain(&dimension).cloned().collect::<Vec<_>>();
            let index = Self::inherit(&self.graph.value_axes(w), &own, &self.graph.node(shift).axes)
                .ok_or_else(|| self.no_prediction(v))?;
            mean.push((1.0, vec![self.data_operand(shift, &index, Transform::Identity)?]));
        }
        Ok([mean, random, second])
    }

    /// ν/(ν − 2), infinite where some ν is not above 2.
    fn t_variance(
        &mut self,
        v: VariableId,
        degrees: NodeId,
        scope: &mut Scope,
    ) -> Result<(f64, Option<Operand>), CaviError> {
        let two = self.number(2.0, &self.graph.node(degrees).span.clone());
        let less = self.binary(BinaryOperator::Subtract, degrees, two);
        let ratio = self.binary(BinaryOperator::Divide, degrees, less);
        let index = self.parameter_index(v, scope, less)?;
        let AtomKind::Data(known) = self.known(less, &index, scope)?.kind else { return Err(self.no_prediction(v)) };
        if self.any_value(known, |x| x <= 0.0)?.is_some() {
            return Ok((f64::INFINITY, None));
        }
        Ok((1.0, Some(self.fixed(v, "degrees_of_freedom", ratio, scope, Transform::Identity)?)))
    }

    fn no_prediction(&self, v: VariableId) -> CaviError {
        let variable = self.graph.variable(v);
        self.refusal(
            Diagnostic::new(
                "no-prediction",
                format!("the moments of a new value of `{}` are not known", variable.name),
            )
            .at(variable.span.clone(), "this variable"),
        )
    }
}
