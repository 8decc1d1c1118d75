//! The density of one observed value of a row: what must be read to compute it, by distribution.

use vi_model::data::ColumnId;
use vi_model::graph::{
    AxisId, Distribution, NodeId, NodeKind, Observation, PrecisionOrSd, RateOrScale, Spread, SpreadForm, VariableId,
};

use super::expression::AtomKind;
use super::positive::Power;
use super::scores::{Positive, Reading, ValueDensity, ValueKind};
use super::{Lowering, Scope};
use crate::factor::Family;
use crate::program::{AxisIndex, Operand, Source, Transform};

/// A value with coordinates that one density ties together.
struct Vector {
    /// The scope of the vectors.
    scope: Scope,
    /// Where a coordinate stands, beside the scope.
    own: Vec<AxisIndex>,
    /// Number of coordinates.
    size: usize,
}

impl Lowering {
    /// The density of an observed value, and the scope of its elements.
    pub(super) fn value_density(&mut self, v: VariableId, gates: &[VariableId]) -> Option<(ValueDensity, Scope)> {
        let mut scope = self.scope(v);
        let observed = match self.graph.variable(v).observed? {
            Observation::Levels { column, axis } => return self.category_density(v, column, axis, scope, gates),
            Observation::Numeric(observed) => observed,
            Observation::LevelsBlock { .. } => return None,
        };
        let (kind, vector) = self.value_kind(v, &mut scope)?;
        let index = self.parameter_index(v, &scope, observed).ok()?;
        let mut value = |transform| -> Option<Reading> {
            let operand = self.data_operand(observed, &index, transform).ok()?;
            let products = vec![(1.0, vec![operand])];
            Some(match &vector {
                Some(vector) => {
                    let mut reading = self.reading(&vector.scope, products);
                    reading.index.extend(vector.own.iter().cloned());
                    reading.shape.push(vector.size);
                    reading
                }
                None => self.reading(&scope, products),
            })
        };
        let value = Some([value(Transform::Identity)?, value(Transform::Present)?]);
        let gates = Self::gates_in(&scope, gates)?;
        let scope = vector.map_or(scope, |vector| vector.scope);
        Some((ValueDensity { variable: v, kind, value, gates }, scope))
    }

    /// The density of an observed category: the expected probability of the one that was seen.
    fn category_density(
        &mut self,
        v: VariableId,
        column: ColumnId,
        axis: AxisId,
        mut scope: Scope,
        gates: &[VariableId],
    ) -> Option<(ValueDensity, Scope)> {
        let Distribution::Categorical { probabilities, range, logits: false } = self.graph.variable(v).distribution
        else {
            return None;
        };
        let codes = self.codes(column, axis);
        let probability = self.probability(v, probabilities, range, AxisIndex::codes(codes), &mut scope)?;
        let gates = Self::gates_in(&scope, gates)?;
        let kind = ValueKind::Categorical { probability, codes };
        Some((ValueDensity { variable: v, kind, value: None, gates }, scope))
    }

    /// The form of a numeric value's density, and how its coordinates hang together where it is a vector.
    fn value_kind(&mut self, v: VariableId, scope: &mut Scope) -> Option<(ValueKind, Option<Vector>)> {
        if self.is_plain_density(v) {
            let products = self.plain_products(v, scope).ok()?;
            return Some((ValueKind::Plain(self.reading(scope, products)), None));
        }
        let kind = match self.graph.variable(v).distribution.clone() {
            Distribution::Normal { mean, spread, form } if form != SpreadForm::Matrix => {
                let (key, node, power) = match spread {
                    Spread::Precision(node) => ("precision", node, Power::One),
                    Spread::Variance(node) => ("variance", node, Power::MinusOne),
                    Spread::StandardDeviation(node) => ("sd", node, Power::MinusTwo),
                    Spread::Covariance(node) => ("covariance", node, Power::MinusOne),
                };
                let location = self.location(v, mean, scope)?;
                let precision = self.positive_reading(v, key, node, power, scope)?;
                ValueKind::Normal { location, precision, degrees: None }
            }
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let (key, node, power) = match spread {
                    PrecisionOrSd::Precision(node) => ("precision", node, Power::One),
                    PrecisionOrSd::StandardDeviation(node) => ("sd", node, Power::MinusTwo),
                };
                let NodeKind::Number(degrees) = self.graph.node(degrees_of_freedom).kind else { return None };
                let location = self.location(v, mean, scope)?;
                let precision = self.positive_reading(v, key, node, power, scope)?;
                // A mean and a precision that are both unknown are two numbers beside the scale of the t.
                if precision.gamma.is_some() {
                    return None;
                }
                ValueKind::Normal { location, precision, degrees: Some(degrees) }
            }
            Distribution::NormalJoint { parameters } if self.is_point_pair(parameters) => {
                let pair = self.linear_pair(v, parameters, scope).ok()?;
                let (precision, _) = self.pair_precision(&pair).ok()?;
                let multiplier = self.reading(scope, vec![(1.0, vec![precision])]);
                let location = self.location(v, parameters, scope)?;
                ValueKind::Normal { location, precision: Positive { multiplier, gamma: None }, degrees: None }
            }
            Distribution::NormalJoint { parameters }
                if !self.is_matrix_pair(parameters) && self.is_compound(parameters) =>
            {
                ValueKind::LinearNormalGamma(self.linear_pair_reading(v, parameters, scope)?)
            }
            Distribution::NormalJoint { parameters } => return self.pair_kind(v, parameters, scope),
            Distribution::Bernoulli { probability } => {
                let trials = self.reading(scope, vec![(1.0, vec![])]);
                ValueKind::Binomial { trials, success: self.success(v, &probability, scope)? }
            }
            Distribution::Binomial { trials, probability } => {
                let trials = self.fixed_reading(v, "trials", trials, scope)?;
                ValueKind::Binomial { trials, success: self.success(v, &probability, scope)? }
            }
            Distribution::Multinomial { probabilities, range } => {
                let (kind, vector) = self.counts_kind(v, probabilities, range, scope)?;
                return Some((kind, Some(vector)));
            }
            Distribution::Poisson { rate, log: false } => {
                ValueKind::Poisson(self.positive_reading(v, "rate", rate, Power::One, scope)?)
            }
            Distribution::Exponential { rate } => {
                let shape = self.reading(scope, vec![(1.0, vec![])]);
                ValueKind::Gamma { shape, rate: self.positive_reading(v, "rate", rate, Power::One, scope)? }
            }
            Distribution::Gamma { shape, rate } => {
                let shape = self.fixed_reading(v, "shape", shape, scope)?;
                let (key, node, power) = match rate {
                    RateOrScale::Rate(node) => ("rate", node, Power::One),
                    RateOrScale::Scale(node) => ("scale", node, Power::MinusOne),
                };
                ValueKind::Gamma { shape, rate: self.positive_reading(v, key, node, power, scope)? }
            }
            _ => return None,
        };
        Some((kind, None))
    }

    /// Whether the normal-gamma variable in `parameters` is a point.
    fn is_point_pair(&self, parameters: NodeId) -> bool {
        let point = |v: &VariableId| {
            let variable = self.graph.variable(*v);
            variable.point && matches!(variable.distribution, Distribution::NormalGamma { .. })
        };
        self.graph.variables_of(parameters).iter().any(point)
    }

    /// A normal about the location of a normal-gamma (a number) or of a normal-Wishart (a vector), both read as natural parameters.
    fn pair_kind(
        &mut self,
        v: VariableId,
        parameters: NodeId,
        scope: &mut Scope,
    ) -> Option<(ValueKind, Option<Vector>)> {
        let index = self.parameter_index(v, scope, parameters).ok()?;
        let joint = self.single(v, "parameters", parameters, &index, scope).ok()?;
        let AtomKind::Variable(w) = joint.kind else { return None };
        let factor = &self.program.factors[self.factor(w)];
        if factor.point {
            return None;
        }
        let family = factor.family;
        let mut elements = scope.clone();
        let own = match family {
            Family::NormalWishart(_) => {
                elements.axes.pop();
                vec![elements.value.pop()?]
            }
            _ => vec![],
        };
        let second = match (family, own.first()) {
            (Family::NormalWishart(d), Some(_)) => vec![AxisIndex::label(self.program.new_label("other", d))],
            _ => vec![],
        };
        let both = [own.as_slice(), &second].concat();
        let natural = [
            self.natural(w, &joint.index, 0, &both, &elements)?,
            self.natural(w, &joint.index, 1, &[], &elements)?,
            self.natural(w, &joint.index, 2, &own, &elements)?,
            self.natural(w, &joint.index, 3, &[], &elements)?,
        ];
        let shift = match self.shifts.location.get(&w).copied() {
            Some(node) => {
                let at = [joint.index.as_slice(), &own].concat();
                let index = Self::inherit(&self.graph.value_axes(w), &at, &self.graph.node(node).axes)?;
                vec![(1.0, vec![self.data_operand(node, &index, Transform::Identity).ok()?])]
            }
            None => vec![],
        };
        let mut shift = self.reading(&elements, shift);
        if let Family::NormalWishart(d) = family {
            shift.index.extend(own.clone());
            shift.shape.push(d);
            Some((ValueKind::NormalWishart { natural, shift }, Some(Vector { scope: elements, own, size: d })))
        } else {
            Some((ValueKind::NormalGamma { natural, shift }, None))
        }
    }

    /// Counts over the categories `range`, with probabilities that are known or have a Dirichlet factor.
    fn counts_kind(
        &mut self,
        v: VariableId,
        probabilities: NodeId,
        range: AxisId,
        scope: &mut Scope,
    ) -> Option<(ValueKind, Vector)> {
        let mut elements = scope.clone();
        let at = elements.axes.iter().position(|a| *a == range)?;
        elements.axes.remove(at);
        let category = elements.value.remove(at);
        let size = self.graph.axis(range).size;
        let index = self.parameter_index(v, scope, probabilities).ok()?;
        let atom = self.single(v, "probabilities", probabilities, &index, scope).ok()?;
        let (operand, known) = match atom.kind {
            AtomKind::Data(data) => (self.data_operand(data, &atom.index, Transform::Identity).ok()?, true),
            AtomKind::Variable(p) => {
                let factor = &self.program.factors[self.factor(p)];
                match (factor.family, factor.point) {
                    (_, true) => (self.moment_operand(p, &atom, 1)?, true),
                    (Family::Dirichlet(_), false) => {
                        let plain = self.variable_operand(p, &atom.index, 0, &(0..0)).ok()?;
                        let source = Source::Natural { factor: self.factor(p), statistic: 0 };
                        (Operand { source, ..plain }, false)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        elements.gates.clone_from(&scope.gates);
        let mut parameters = self.reading(&elements, vec![(1.0, vec![operand])]);
        parameters.index.push(category.clone());
        parameters.shape.push(size);
        let vector = Vector { scope: elements, own: vec![category], size };
        Some((ValueKind::Multinomial { parameters, known }, vector))
    }
}
