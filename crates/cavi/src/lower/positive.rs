//! Positive parameters (precisions, rates, scales, concentrations): products of powers of gamma variables and data.

use vi_model::graph::{NodeId, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Operand, Step, Transform};

/// A positive parameter as E[p] = coefficient · Π expectation, E[log p] = log(coefficient) + Σ exponent · log.
#[derive(Debug, Clone, Default)]
pub(super) struct Positive {
    pub(super) coefficient: f64,
    /// Operands of the expectation.
    pub(super) expectation: Vec<Operand>,
    /// Operands of the logarithm, each with its exponent.
    pub(super) logarithm: Vec<(f64, Operand)>,
}

/// The power of the written parameter that enters the density.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// p itself: a precision, a rate.
    One,
    /// 1/p: a variance, a scale.
    MinusOne,
    /// 1/p²: a standard deviation.
    MinusTwo,
}

impl Lowering {
    /// Reads a positive parameter, raised to `power`.
    pub(super) fn positive(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        power: Power,
        scope: &mut Scope,
    ) -> Result<Positive, CaviError> {
        let index = self.parameter_index(child, scope, node)?;
        let sum = self.expand_whole(node, &index, scope)?;
        let [monomial] = sum.as_slice() else {
            return Err(self.not_conjugate(
                child,
                key,
                format!(
                    "the {key} of `{}` is a sum of variables: only products of gamma variables and data have a conjugate update",
                    self.graph.variable(child).name
                ),
            ));
        };
        let monomial = monomial.clone();
        if !self.graph.is_data(node) {
            // Poisson and gamma rates may vanish where an exposure does.
            let least = if key == "rate" { "0 or greater" } else { "greater than 0" };
            for Atom { kind, .. } in &monomial.atoms {
                if let AtomKind::Data(known) = kind {
                    self.check_known(child, key, *known, least, |x| x > 0.0 || x == 0.0 && key == "rate")?;
                }
            }
        }
        self.positive_monomial(child, key, &monomial, power)
    }

    fn positive_monomial(
        &mut self,
        child: VariableId,
        key: &str,
        monomial: &Monomial,
        power: Power,
    ) -> Result<Positive, CaviError> {
        let exponent = match power {
            Power::One => 1,
            Power::MinusOne => -1,
            Power::MinusTwo => -2,
        };
        let mut positive = Positive { coefficient: monomial.coefficient.powi(exponent), ..Positive::default() };
        let proper = positive.coefficient > 0.0 && positive.coefficient.is_finite();
        if !proper || !monomial.contracted.is_empty() {
            return Err(self.not_conjugate(
                child,
                key,
                format!("the {key} of `{}` must be a product of positive numbers", self.graph.variable(child).name),
            ));
        }
        self.refuse_squares(child, key, monomial)?;
        for Atom { kind, index } in &monomial.atoms {
            match kind {
                AtomKind::Data(node) => {
                    let transform = match power {
                        Power::One => Transform::Identity,
                        Power::MinusOne => Transform::Reciprocal,
                        Power::MinusTwo => Transform::ReciprocalSquare,
                    };
                    let value = self.data_operand(*node, index, transform)?;
                    let log = self.data_operand(*node, index, Transform::Log)?;
                    positive.expectation.push(value);
                    positive.logarithm.push((f64::from(exponent), log));
                }
                AtomKind::Factor(_) | AtomKind::Absent(_) | AtomKind::Previous(_) => {
                    let message = format!(
                        "the {key} of `{}` reads an observed variable with missing values: no conjugate update",
                        self.graph.variable(child).name
                    );
                    return Err(self.not_conjugate(child, key, message));
                }
                AtomKind::Variable(v) => {
                    let span = self.graph.variable(child).span.clone();
                    let family = self.program.factors[self.factor(*v)].family;
                    let fits = matches!(
                        (family.whole(), power),
                        (Family::Gamma | Family::Shape, Power::One) | (Family::InverseGamma, Power::MinusOne)
                    );
                    if !fits {
                        return Err(self.not_conjugate(
                            child,
                            key,
                            self.positive_message(child, key, *v, family, power),
                        ));
                    }
                    positive.expectation.push(self.variable_operand(*v, index, 0, &span)?);
                    positive.logarithm.push((f64::from(exponent), self.variable_operand(*v, index, 1, &span)?));
                }
            }
        }
        Ok(positive)
    }

    /// Refuses a product in which one element of a variable stands twice: only E[x] and E[log x] are known, not E[x²].
    fn refuse_squares(&self, child: VariableId, key: &str, monomial: &Monomial) -> Result<(), CaviError> {
        for (i, left) in monomial.atoms.iter().enumerate() {
            for right in &monomial.atoms[i + 1..] {
                let (AtomKind::Variable(v), AtomKind::Variable(w)) = (&left.kind, &right.kind) else { continue };
                if v == w && self.may_meet(&left.index, &right.index)? {
                    let (child_name, name) = (&self.graph.variable(child).name, &self.graph.variable(*v).name);
                    return Err(self.not_conjugate(
                        child,
                        key,
                        format!("one element of `{name}` stands twice in the {key} of `{child_name}`: its square has no conjugate update"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether two ways to address one array reach the same element in some row.
    fn may_meet(&self, left: &[AxisIndex], right: &[AxisIndex]) -> Result<bool, CaviError> {
        let mut together: Option<Vec<bool>> = None;
        for (a, b) in left.iter().zip(right).filter(|(a, b)| a != b) {
            let ([(Step::Codes(a), 1)], [(Step::Codes(b), 1)]) = (a.parts.as_slice(), b.parts.as_slice()) else {
                continue;
            };
            let codes = |which: usize| self.program.codes[which].read(&self.graph);
            let (a, b) = (codes(*a)?, codes(*b)?);
            let (a, b) = (a.all(), b.all());
            let rows = together.get_or_insert_with(|| vec![true; a.len()]);
            for (row, meet) in rows.iter_mut().enumerate() {
                *meet &= a[row] == b[row];
            }
        }
        Ok(together.is_none_or(|rows| rows.contains(&true)))
    }

    fn positive_message(
        &self,
        child: VariableId,
        key: &str,
        parent: VariableId,
        family: Family,
        power: Power,
    ) -> String {
        let (child, parent) = (&self.graph.variable(child).name, &self.graph.variable(parent).name);
        let hint = match (family, power) {
            (Family::Gamma, Power::MinusOne) => {
                "; a gamma variable is conjugate as a precision or rate, an inverse-gamma one here"
            }
            (Family::Gamma | Family::InverseGamma, Power::MinusTwo) => {
                "; write a precision with a gamma variable, or a variance with an inverse-gamma one"
            }
            (Family::InverseGamma, Power::One) => {
                "; an inverse-gamma variable is conjugate as a variance or scale, a gamma one here"
            }
            _ => "; cavi needs a gamma (or inverse-gamma) variable here",
        };
        format!("`{parent}` as the {key} of `{child}` is not a conjugate pair{hint}")
    }
}
