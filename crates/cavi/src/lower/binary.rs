//! Densities of binary values and of counts of successes: by probability, by the logit bound, by the probit augmentation.

use vi_model::graph::{BinaryOperator, NodeId, NodeKind, Observation, Probability, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::normal::Weight;
use super::positive::Positive;
use super::simplex::IMPOSSIBLE;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Operand, Source, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

impl Lowering {
    /// log p and log(1 − p) of a success probability.
    fn log_odds_operands(
        &mut self,
        v: VariableId,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<(Operand, Operand), CaviError> {
        let index = self.parameter_index(v, scope, node)?;
        let (atom, complement) = self.possibly_complement(v, node, &index, scope)?;
        let of = |(log_p, log_q): (Operand, Operand)| if complement { (log_q, log_p) } else { (log_p, log_q) };
        let span = self.graph.variable(v).span.clone();
        match atom.kind {
            AtomKind::Data(data) => Ok(of((
                self.data_operand(data, &atom.index, Transform::Log)?,
                self.data_operand(data, &atom.index, Transform::LogComplement)?,
            ))),
            AtomKind::Variable(p) if self.program.factors[self.factor(p)].family.whole() == Family::Beta => {
                let success = self.variable_operand(p, &atom.index, 0, &span)?;
                Ok(of((success, self.variable_operand(p, &atom.index, 1, &span)?)))
            }
            AtomKind::Variable(p) => Err(self.not_conjugate(
                v,
                "probability",
                format!(
                    "`{}` as the probability of `{}` is not a conjugate pair: a beta variable is",
                    self.graph.variable(p).name,
                    self.graph.variable(v).name
                ),
            )),
            AtomKind::Factor(_) | AtomKind::Absent(_) | AtomKind::Previous(_) => {
                Err(self.not_conjugate(v, "probability", "the probability must be a beta variable".into()))
            }
        }
    }

    /// A success probability p or 1 − p: p, and whether it is the complement that was written.
    pub(super) fn possibly_complement(
        &mut self,
        v: VariableId,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<(Atom, bool), CaviError> {
        let sum = self.expand(node, index, scope)?;
        match sum.as_slice() {
            [one, p] | [p, one]
                if one.atoms.is_empty()
                    && one.coefficient == 1.0
                    && p.coefficient == -1.0
                    && p.contracted.is_empty()
                    && p.atoms.len() == 1 =>
            {
                Ok((p.atoms[0].clone(), true))
            }
            _ => Ok((self.single(v, "probability", node, index, scope)?, false)),
        }
    }

    /// Whether a probability may be exactly 1: a point, or data.
    fn may_be_certain(&self, node: NodeId) -> bool {
        let mut certain = self.graph.variables_of(node).iter().any(|p| self.graph.variable(*p).point);
        self.graph.visit(node, &mut |part| {
            certain |= match &part.kind {
                NodeKind::Number(x) => *x == 1.0,
                NodeKind::Constant(tensor) => tensor.values.contains(&1.0),
                NodeKind::Column(_) | NodeKind::Block(_) => true,
                _ => false,
            }
        });
        certain
    }

    /// Bernoulli (no trials) and binomial, by probability, logit bound or probit augmentation.
    pub(super) fn binary_density(
        &mut self,
        v: VariableId,
        trials: Option<NodeId>,
        probability: Probability,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        if let (true, Some(Observation::Numeric(node))) = (self.clamped.contains(&v), self.graph.variable(v).observed) {
            // Where the value y is there, any other is impossible: c (y + x − 2xy).
            let index = self.parameter_index(v, &scope, node)?;
            let y = self.data_operand(node, &index, Transform::Identity)?;
            let mut known = scope.clone();
            known.mask.push(self.data_operand(node, &index, Transform::Present)?);
            let x = self.statistic(v, &known, 0, Transform::Identity)?;
            self.add_term(&known, IMPOSSIBLE, vec![y.clone()], &[]);
            self.add_term(&known, IMPOSSIBLE, vec![x.clone()], &[]);
            self.add_term(&known, -2.0 * IMPOSSIBLE, vec![x, y], &[]);
        }
        let n = match trials {
            Some(node) => vec![self.fixed(v, "trials", node, &mut scope, Transform::Identity)?],
            None => vec![],
        };
        let exact = self.known_logit(v, probability, &mut scope)?;
        match probability {
            Probability::Logit(_) if let Some([odds, soft]) = exact => {
                let x = self.statistic(v, &scope, 0, Transform::Identity)?;
                self.add_term(&scope, 1.0, vec![x, odds], &[]);
                self.add_term(&scope, -1.0, n.iter().cloned().chain([soft]).collect(), &[]);
            }
            Probability::Probability(node) => {
                let (log_p, log_q) = self.log_odds_operands(v, node, &mut scope)?;
                let x = self.statistic(v, &scope, 0, Transform::Identity)?;
                self.add_term(&scope, 1.0, vec![x.clone(), log_p], &[]);
                match self.graph.variable(v).observed {
                    Some(Observation::Numeric(observed)) if !self.is_latent(v) && self.may_be_certain(node) => {
                        // log(1 − p) may be that of zero: failures are counted by themselves, not as a difference.
                        let trials = trials.unwrap_or_else(|| self.number(1.0, &(0..0)));
                        let failures = self.binary(BinaryOperator::Subtract, trials, observed);
                        let failures = self.fixed(v, "observed", failures, &mut scope, Transform::Identity)?;
                        self.add_term(&scope, 1.0, vec![failures, log_q], &[]);
                    }
                    _ => {
                        self.add_term(&scope, -1.0, vec![x, log_q.clone()], &[]);
                        let mut all = n.clone();
                        all.push(log_q);
                        self.add_term(&scope, 1.0, all, &[]);
                    }
                }
            }
            Probability::Logit(node) => self.bounded_logit(v, node, &n, &mut scope)?,
            Probability::Probit(node) => {
                if trials.is_some() {
                    return Err(self.not_conjugate(v, "probit", "a binomial takes a probability or a logit".into()));
                }
                self.probit_terms(v, node, &mut scope)?;
            }
        }
        match trials {
            Some(trials) => self.binomial_coefficient(v, trials, &mut scope),
            None => Ok(()),
        }
    }

    /// n log σ(f) with x successes, bounded: (x − n/2) f + n c(ξ) − n λ(ξ) f².
    fn bounded_logit(
        &mut self,
        v: VariableId,
        node: NodeId,
        n: &[Operand],
        scope: &mut Scope,
    ) -> Result<(), CaviError> {
        self.bounded = true;
        let f = self.mean_monomials(v, "logit", node, scope)?;
        let xi = self.auxiliary(v, "xi", Family::JaakkolaJordan, scope);
        let lambda = self.auxiliary_operand(xi, 0, scope);
        let constant = self.auxiliary_operand(xi, 1, scope);
        let x = self.statistic(v, scope, 0, Transform::Identity)?;
        self.linear(scope, &f, &[x], 1.0)?;
        self.linear(scope, &f, n, -0.5)?;
        let times = |operand| n.iter().cloned().chain([operand]).collect::<Vec<Operand>>();
        self.add_term(scope, 1.0, times(constant), &[]);
        let weight = Positive { coefficient: 1.0, expectation: times(lambda), ..Positive::default() };
        self.quadratic(scope, &f, &Weight::Positive(weight), -1.0)
    }

    /// A latent normal about f, positive where x = 1 and negative where x = 0 (Albert & Chib 1993).
    fn probit_terms(&mut self, v: VariableId, node: NodeId, scope: &mut Scope) -> Result<(), CaviError> {
        let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
            let message = format!("`{}` must be observed for the probit link", self.graph.variable(v).name);
            return Err(self.not_conjugate(v, "probit", message));
        };
        let mut f = self.mean_monomials(v, "probit", node, scope)?;
        f.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
        let latent = self.auxiliary(v, "latent", Family::TruncatedNormal, scope);
        let index = self.auxiliary_operand(latent, 0, scope).index;
        let atom = Atom { kind: AtomKind::Factor(latent), index };
        f.insert(0, Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] });
        self.truncated_quadratic(scope, &f)?;
        self.add_term(scope, -0.5 * LOG_TWO_PI, vec![], &[]);
        let span = self.graph.node(observed).span.clone();
        let two = self.number(2.0, &span);
        let twice = self.binary(BinaryOperator::Multiply, two, observed);
        let side = self.minus_one(twice);
        let side = self.fixed(v, "observed", side, scope, Transform::Identity)?;
        let constraint = self.auxiliary_operand(latent, 2, scope);
        self.add_term(scope, 1.0, vec![side, constraint], &[]);
        Ok(())
    }

    /// log n! − log x! − log (n − x)!
    fn binomial_coefficient(&mut self, v: VariableId, trials: NodeId, scope: &mut Scope) -> Result<(), CaviError> {
        let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
            let message = format!("`{}` must be observed", self.graph.variable(v).name);
            return Err(self.not_conjugate(v, "distribution", message));
        };
        let rest = self.binary(BinaryOperator::Subtract, trials, observed);
        for (node, sign) in [(trials, 1.0), (observed, -1.0), (rest, -1.0)] {
            let operand = self.fixed(v, "trials", node, scope, Transform::LogFactorial)?;
            self.add_term(scope, sign, vec![operand], &[]);
        }
        Ok(())
    }

    /// −½ E[(a − f)²] where the first product is the latent normal a, whose square is its own statistic.
    fn truncated_quadratic(&mut self, scope: &Scope, sum: &[Monomial]) -> Result<(), CaviError> {
        let Some((latent, rest)) = sum.split_first() else { return Ok(()) };
        let unit = Weight::Positive(Positive { coefficient: 1.0, ..Positive::default() });
        self.quadratic(scope, rest, &unit, -0.5)?;
        let first = self.first_moment(&latent.atoms[0])?;
        self.linear(scope, rest, std::slice::from_ref(&first), -1.0)?;
        let Source::Statistic { factor, .. } = first.source else { return Ok(()) };
        let square = Operand { source: Source::Statistic { factor, statistic: 1 }, index: first.index };
        self.add_term(scope, -0.5, vec![square], &[]);
        Ok(())
    }
}
