//! What the exact predictive density of a row is made of, where it has one: readings of the factors for every category of its gates.
//!
//! Given the categories, each observed value meets factors of its own, which are independent under q: its density is an
//! integral over one factor or over a mean and a precision. Where two values of a row meet the same factor, or the row has
//! unknowns of its own that are no categories, there is no such form.

use vi_model::graph::{AxisId, Distribution, NamedExpression, NodeId, Observation, Probability, VariableId};

use super::derived::Products;
use super::expression::{Atom, AtomKind, Monomial};
use super::normal_gamma::LinearPairReading;
use super::positive::Power;
use super::{Lowering, Scope};
use crate::factor::Family;
use crate::program::{AxisIndex, FactorId, Label, Operand, ROWS, Source, Step, Transform};

/// Most combinations of categories that are added up.
const MOST_COMBINATIONS: usize = 4096;

/// The predictive density of a row: Σ over the categories of its gates.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowDensity {
    /// The gates of the rows.
    pub(crate) gates: Vec<GateDensity>,
    /// The observed values.
    pub(crate) values: Vec<ValueDensity>,
}

/// A gate of the rows.
#[derive(Debug, Clone)]
pub(crate) struct GateDensity {
    /// Number of categories.
    pub(crate) size: usize,
    /// The label of its category in the weight.
    pub(crate) category: Label,
    /// The expected probability of a category.
    pub(crate) weight: Reading,
    /// The look-up of its category, where this is observed in part.
    pub(crate) known: Option<usize>,
    /// Gates that its probability reads.
    pub(crate) gates: Vec<(usize, Label)>,
}

/// Numbers of each row: products summed into an array over the rows and some labels.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) products: Products,
    /// Rows first.
    pub(crate) index: Vec<AxisIndex>,
    /// Sizes of the axes after the rows.
    pub(crate) shape: Vec<usize>,
}

/// A positive number c·w or c/w with c known and w a gamma (or inverse-gamma) variable, if any.
#[derive(Debug, Clone)]
pub(crate) struct Positive {
    /// c.
    pub(crate) multiplier: Reading,
    /// Shape and rate less 1 and with the sign that the natural parameters of w (or of 1/w) have.
    pub(crate) gamma: Option<GammaReading>,
}

/// The coefficients of x and log x (or of 1/x and log x) of one element.
#[derive(Debug, Clone)]
pub(crate) struct GammaReading {
    pub(crate) natural: [Reading; 2],
    /// Whether it is 1/w that is gamma.
    pub(crate) inverse: bool,
}

/// Mean and variance of a normal parameter: E[f], E[g], E[g²] of its random part g.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) mean: Reading,
    pub(crate) random: Reading,
    pub(crate) second: Reading,
}

/// A success probability.
#[derive(Debug, Clone)]
pub(crate) enum Success {
    /// Known, or a point.
    Known(Reading),
    /// Natural parameters of a beta variable.
    Beta([Reading; 2]),
    /// Normal log odds.
    Logit(Location),
    /// Φ of a normal number.
    Probit(Location),
}

/// The form of a value's density.
#[derive(Debug, Clone)]
pub(crate) enum ValueKind {
    /// About a normal mean; with the degrees of freedom of Student's t.
    Normal { location: Location, precision: Positive, degrees: Option<f64> },
    /// Natural parameters of a normal-gamma, and what its location was measured from.
    NormalGamma { natural: [Reading; 4], shift: Reading },
    /// About a mean that is linear in the location μ of a normal-gamma, with known weights.
    LinearNormalGamma(LinearPairReading),
    /// Natural parameters of a normal-wishart; the value is a vector.
    NormalWishart { natural: [Reading; 4], shift: Reading },
    /// Successes of some trials.
    Binomial { trials: Reading, success: Success },
    /// The expected probability of the category that a look-up names.
    Categorical { probability: Reading, codes: usize },
    /// Counts: natural parameters of a dirichlet, or known probabilities.
    Multinomial { parameters: Reading, known: bool },
    /// A count.
    Poisson(Positive),
    /// A positive value with a known shape.
    Gamma { shape: Reading, rate: Positive },
    /// Any value: its log density is known for each category.
    Plain(Reading),
}

/// An observed value.
#[derive(Debug, Clone)]
pub(crate) struct ValueDensity {
    /// The variable.
    pub(crate) variable: VariableId,
    pub(crate) kind: ValueKind,
    /// The value and whether it is there (empty for categories, which a look-up holds).
    pub(crate) value: Option<[Reading; 2]>,
    /// Gates that it reads.
    pub(crate) gates: Vec<(usize, Label)>,
}

impl Lowering {
    /// The exact predictive density of a row, if it has one.
    pub(super) fn row_density(&mut self) -> Option<RowDensity> {
        let mut density = RowDensity::default();
        let mut met: Vec<FactorId> = Vec::new();
        let all: Vec<VariableId> = (0..self.graph.variables.len()).map(VariableId).collect();
        let gates: Vec<VariableId> =
            all.iter().copied().filter(|v| self.is_latent(*v) && self.graph.is_local(*v)).collect();
        let mut combinations = 1_usize;
        for &v in &gates {
            let variable = self.graph.variable(v);
            let plain = matches!(variable.distribution, Distribution::Categorical { .. });
            if !plain || variable.plates.len() != 1 || variable.point {
                return None;
            }
            let size = self.graph.axis(self.category_axis(v)?).size;
            combinations = combinations.checked_mul(size).filter(|n| *n <= MOST_COMBINATIONS)?;
        }
        for &v in &gates {
            let gate = self.gate_density(v, &gates)?;
            self.meet(&mut met, [&gate.weight], &[])?;
            density.gates.push(gate);
        }
        for v in all {
            let variable = self.graph.variable(v);
            if variable.observed.is_none() || self.is_latent(v) || !self.graph.is_local(v) {
                continue;
            }
            let (reporting, shown) = (self.reporting, self.value_density(v, &gates));
            self.reporting = reporting;
            let (value, scope) = shown?;
            let extra: Vec<Label> = Self::labels_of(&scope.value).into_iter().filter(|l| *l != ROWS).collect();
            self.meet(&mut met, readings(&value.kind), &extra)?;
            density.values.push(value);
        }
        Some(density)
    }

    /// Notes the factors that a part meets: none that another part has met, and for each of the part's own elements another one.
    fn meet<'a>(
        &self,
        met: &mut Vec<FactorId>,
        readings: impl IntoIterator<Item = &'a Reading>,
        extra: &[Label],
    ) -> Option<()> {
        let mut own = Vec::new();
        for operand in readings.into_iter().flat_map(|r| &r.products).flat_map(|p| &p.1) {
            let (Source::Statistic { factor, .. } | Source::Moment { factor, .. } | Source::Natural { factor, .. }) =
                operand.source
            else {
                continue;
            };
            // A point is a known number.
            if self.program.factors[factor].point && !self.program.factors[factor].local {
                continue;
            }
            let plates = self.program.factors[factor].plates.len();
            let along = |l: &Label| operand.index.iter().take(plates).any(|a| a.parts == [(Step::Label(*l), 1)]);
            if self.program.factors[factor].local || met.contains(&factor) || !extra.iter().all(along) {
                return None;
            }
            own.push(factor);
        }
        met.extend(own);
        Some(())
    }

    /// The gates of a scope by their position among those of the rows; gates that are not of the rows have no such density.
    pub(super) fn gates_in(scope: &Scope, gates: &[VariableId]) -> Option<Vec<(usize, Label)>> {
        scope.gates.iter().map(|g| Some((gates.iter().position(|v| *v == g.variable)?, g.label))).collect()
    }

    fn gate_density(&mut self, v: VariableId, gates: &[VariableId]) -> Option<GateDensity> {
        let Distribution::Categorical { probabilities, range, logits: false } = self.graph.variable(v).distribution
        else {
            return None;
        };
        let mut scope = self.scope(v);
        let info = self.graph.axis(range).clone();
        let category = self.program.new_label(&info.name, info.size);
        let weight = self.probability(v, probabilities, range, AxisIndex::label(category), &mut scope)?;
        let known = match self.graph.variable(v).observed {
            Some(Observation::Levels { column, axis }) => Some(self.codes(column, axis)),
            Some(_) => return None,
            None => None,
        };
        let gates = Self::gates_in(&scope, gates)?;
        Some(GateDensity { size: info.size, category, weight, known, gates })
    }

    /// The expected probability of a category.
    pub(super) fn probability(
        &mut self,
        v: VariableId,
        node: NodeId,
        range: AxisId,
        category: AxisIndex,
        scope: &mut Scope,
    ) -> Option<Reading> {
        let axes = [scope.axes.as_slice(), &[range]].concat();
        let indices = [scope.value.as_slice(), &[category]].concat();
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes)?;
        let atom = self.single(v, "probabilities", node, &index, scope).ok()?;
        let operand = match atom.kind {
            AtomKind::Data(data) => self.data_operand(data, &atom.index, Transform::Identity).ok()?,
            AtomKind::Variable(p) => self.moment_operand(p, &atom, 1)?,
            _ => return None,
        };
        Some(self.reading(scope, vec![(1.0, vec![operand])]))
    }

    pub(super) fn moment_operand(&self, v: VariableId, atom: &Atom, power: i32) -> Option<Operand> {
        let plain = self.variable_operand(v, &atom.index, 0, &(0..0)).ok()?;
        Some(Operand { source: Source::Moment { factor: self.factor(v), power }, ..plain })
    }

    /// The natural parameters of an element; `inner` addresses the axes of one element's statistic.
    pub(super) fn natural(
        &self,
        v: VariableId,
        plates: &[AxisIndex],
        statistic: usize,
        inner: &[AxisIndex],
        scope: &Scope,
    ) -> Option<Reading> {
        let factor = self.factor(v);
        let index = [plates, inner].concat();
        let plain = self.variable_operand(v, &index, statistic, &(0..0)).ok()?;
        let operand = Operand { source: Source::Natural { factor, statistic }, ..plain };
        let mut reading = self.reading(scope, vec![(1.0, vec![operand])]);
        reading.index.extend(inner.iter().cloned());
        reading.shape.extend(self.program.factors[factor].family.statistic_shape(statistic));
        Some(reading)
    }

    /// Products read at the elements of a value.
    pub(super) fn reading(&self, scope: &Scope, products: Products) -> Reading {
        let index = self.rows_first(&scope.value);
        let shape = index[1..]
            .iter()
            .map(|a| match a.parts.first() {
                Some((Step::Label(l), _)) => self.program.labels[*l].size,
                _ => 1,
            })
            .collect();
        Reading { products, index, shape }
    }

    pub(super) fn fixed_reading(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        scope: &mut Scope,
    ) -> Option<Reading> {
        let operand = self.fixed(v, key, node, scope, Transform::Identity).ok()?;
        Some(self.reading(scope, vec![(1.0, vec![operand])]))
    }

    /// The mean and variance of a sum of normal variables, or of points, with known weights.
    pub(super) fn location(&mut self, v: VariableId, node: NodeId, scope: &mut Scope) -> Option<Location> {
        self.reporting = true;
        let index = self.parameter_index(v, scope, node).ok()?;
        let sum = self.expand(node, &index, scope).ok()?;
        let normal = |m: &Monomial| {
            let mut variables = m.atoms.iter().filter_map(|a| match a.kind {
                AtomKind::Variable(w) => {
                    let factor = &self.program.factors[self.factor(w)];
                    Some((factor.family, factor.point))
                }
                AtomKind::Data(_) => None,
                _ => Some((Family::Poisson, false)),
            });
            let first = variables.next();
            let fits = match first {
                None | Some((Family::Normal | Family::NormalVector(_), _)) => true,
                Some((family, point)) => point && matches!(family, Family::NormalGamma | Family::NormalGammaVector(_)),
            };
            fits && variables.next().is_none()
        };
        if !sum.iter().all(normal) {
            return None;
        }
        let span = self.graph.node(node).span.clone();
        let expression = NamedExpression { name: self.graph.variable(v).name.clone(), node, span };
        let [mean, random, second] = self.expected(&Scope::default(), &sum, &expression).ok()?;
        self.reporting = false;
        Some(Location {
            mean: self.reading(scope, mean),
            random: self.reading(scope, random),
            second: self.reading(scope, second),
        })
    }

    pub(super) fn positive_reading(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        power: Power,
        scope: &mut Scope,
    ) -> Option<Positive> {
        // Refuses what is not conjugate.
        self.positive(v, key, node, power, scope).ok()?;
        let index = self.parameter_index(v, scope, node).ok()?;
        let sum = self.expand_whole(node, &index, scope).ok()?;
        let [monomial] = sum.as_slice() else { return None };
        let (exponent, transform) = match power {
            Power::One => (1, Transform::Identity),
            Power::MinusOne => (-1, Transform::Reciprocal),
            Power::MinusTwo => (-2, Transform::ReciprocalSquare),
        };
        let (mut operands, mut gamma) = (Vec::new(), None);
        for atom in &monomial.atoms {
            match atom.kind {
                AtomKind::Data(data) => operands.push(self.data_operand(data, &atom.index, transform).ok()?),
                AtomKind::Variable(w) => {
                    let factor = &self.program.factors[self.factor(w)];
                    let inverse = factor.family == Family::InverseGamma;
                    if factor.point {
                        operands.push(self.moment_operand(w, atom, if inverse { -1 } else { 1 })?);
                        continue;
                    }
                    if gamma.is_some() {
                        return None;
                    }
                    let natural =
                        [self.natural(w, &atom.index, 0, &[], scope)?, self.natural(w, &atom.index, 1, &[], scope)?];
                    gamma = Some(GammaReading { natural, inverse });
                }
                _ => return None,
            }
        }
        let multiplier = self.reading(scope, vec![(monomial.coefficient.powi(exponent), operands)]);
        Some(Positive { multiplier, gamma })
    }

    pub(super) fn success(&mut self, v: VariableId, probability: &Probability, scope: &mut Scope) -> Option<Success> {
        match *probability {
            Probability::Logit(node) => self.location(v, node, scope).map(Success::Logit),
            Probability::Probit(node) => self.location(v, node, scope).map(Success::Probit),
            Probability::Probability(node) => {
                let index = self.parameter_index(v, scope, node).ok()?;
                let (atom, complement) = self.possibly_complement(v, node, &index, scope).ok()?;
                // p, or 1 − p where that is written.
                let known = |this: &Self, scope: &Scope, p: Operand| {
                    let products = if complement { vec![(1.0, vec![]), (-1.0, vec![p])] } else { vec![(1.0, vec![p])] };
                    Success::Known(this.reading(scope, products))
                };
                match atom.kind {
                    AtomKind::Data(data) => {
                        let operand = self.data_operand(data, &atom.index, Transform::Identity).ok()?;
                        Some(known(self, scope, operand))
                    }
                    AtomKind::Variable(p) if self.program.factors[self.factor(p)].point => {
                        Some(known(self, scope, self.moment_operand(p, &atom, 1)?))
                    }
                    AtomKind::Variable(p) => {
                        let (success, failure) = if complement { (1, 0) } else { (0, 1) };
                        Some(Success::Beta([
                            self.natural(p, &atom.index, success, &[], scope)?,
                            self.natural(p, &atom.index, failure, &[], scope)?,
                        ]))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// All readings of factors in a value's density.
fn readings(kind: &ValueKind) -> Vec<&Reading> {
    let mut all = Vec::new();
    match kind {
        ValueKind::Normal { location, precision, .. } => {
            add_location(&mut all, location);
            add_positive(&mut all, precision);
        }
        ValueKind::NormalGamma { natural, .. } | ValueKind::NormalWishart { natural, .. } => all.extend(natural),
        ValueKind::LinearNormalGamma(pair) => {
            all.extend([&pair.known, &pair.tau, &pair.log, &pair.scaled, &pair.square]);
        }
        ValueKind::Binomial { success, .. } => match success {
            Success::Known(reading) => all.push(reading),
            Success::Beta(natural) => all.extend(natural),
            Success::Logit(location) | Success::Probit(location) => add_location(&mut all, location),
        },
        ValueKind::Categorical { probability, .. } | ValueKind::Plain(probability) => all.push(probability),
        ValueKind::Multinomial { parameters, .. } => all.push(parameters),
        ValueKind::Poisson(rate) | ValueKind::Gamma { rate, .. } => add_positive(&mut all, rate),
    }
    all
}

fn add_location<'a>(all: &mut Vec<&'a Reading>, location: &'a Location) {
    all.extend([&location.mean, &location.random, &location.second]);
}

fn add_positive<'a>(all: &mut Vec<&'a Reading>, positive: &'a Positive) {
    all.push(&positive.multiplier);
    all.extend(positive.gamma.iter().flat_map(|g| &g.natural));
}
