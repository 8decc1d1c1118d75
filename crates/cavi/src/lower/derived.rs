//! Named expressions as products of moments, from which their means and standard deviations are reported.
//!
//! Where one factor stands several times in a product (`a * a`, or `a * b` in one block), the product needs a higher
//! moment: of Gaussians by Isserlis' theorem, of others from the factor itself.

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, NamedExpression};

use super::expression::{Atom, AtomKind, Monomial};
use super::{Lowering, Scope, carries};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, FactorId, Operand, Source};

/// Highest power of a single variable whose moment is known.
const HIGHEST: usize = 4;

/// Products whose sum is a moment, each with its coefficient.
pub(super) type Products = Vec<(f64, Vec<Operand>)>;

/// A derived quantity f = g + data: mean and variance as products of moments, for reporting.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    /// Its name.
    pub(crate) name: String,
    /// Axes of its value.
    pub(crate) axes: Vec<AxisId>,
    /// E[f].
    pub(crate) mean: Products,
    /// E[g] of the random part alone, so that large constants leave the variance its digits.
    pub(crate) random_mean: Products,
    /// E[g²].
    pub(crate) second: Products,
    /// Indices of the result.
    pub(crate) index: Vec<AxisIndex>,
}

impl Lowering {
    /// Mean and second moment of the named expressions.
    ///
    /// # Errors
    ///
    /// Refuses expressions whose moments are not known, such as functions of latent variables.
    pub(super) fn derived(&mut self) -> Result<Vec<Derived>, CaviError> {
        let mut all = Vec::new();
        for expression in self.graph.expressions.clone() {
            let variable = self.graph.variable_named(&expression.name);
            let derived = match variable {
                Some(v) => self.predictive(v, &expression),
                None => self.derive(&expression),
            };
            match derived {
                Ok(derived) => all.push(derived),
                // Observed variables and their parameters (`y`, `y.mean`) are no expressions of the file: they are left out.
                Err(_) if variable.is_some() || expression.name.contains('.') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn derive(&mut self, expression: &NamedExpression) -> Result<Derived, CaviError> {
        let node = expression.node;
        let axes = self.graph.node(node).axes.clone();
        let index: Vec<AxisIndex> = axes.iter().map(|a| self.axis_index(*a)).collect();
        let mut scope = Scope { axes: axes.clone(), value: index.clone(), ..Scope::default() };
        self.reporting = true;
        let products = self.expand(node, &index, &mut scope).and_then(|sum| {
            // Axes that no operand carries are repeated, not summed.
            scope.axes.clear();
            scope.value.clear();
            self.expected(&scope, &sum, expression)
        });
        self.reporting = false;
        let [mean, random_mean, second] = products?;
        Ok(Derived { name: expression.name.clone(), axes, mean, random_mean, second, index })
    }

    /// E[f], E[g] and E[g²] of a sum of products, g being its random part.
    pub(super) fn expected(
        &mut self,
        scope: &Scope,
        sum: &[Monomial],
        expression: &NamedExpression,
    ) -> Result<[Products; 3], CaviError> {
        let gated = |this: &mut Self, m: &Monomial| -> Result<bool, CaviError> {
            let mut operands = Vec::new();
            for atom in &m.atoms {
                operands.push(this.first_moment(atom)?);
            }
            Ok(scope.gates.iter().any(|g| carries(&operands, g.label)))
        };
        let mut random = Vec::new();
        for m in sum {
            if m.atoms.iter().any(|a| self.atom_factor(a).is_some()) || gated(self, m)? {
                random.push(m.clone());
            }
        }
        let mut moments = Vec::new();
        for part in [sum, &random] {
            let start = self.program.terms.len();
            for m in part {
                self.add_moment(scope, m.coefficient, &m.atoms, &m.contracted, expression)?;
            }
            moments.push(self.collected(start));
        }
        let start = self.program.terms.len();
        for left in &random {
            for right in &random {
                let right = self.renamed(right);
                let atoms = [left.atoms.as_slice(), &right.atoms].concat();
                let contracted = [left.contracted.as_slice(), &right.contracted].concat();
                self.add_moment(scope, left.coefficient * right.coefficient, &atoms, &contracted, expression)?;
            }
        }
        let second = self.collected(start);
        let random_mean = moments.pop().unwrap_or_default();
        Ok([moments.pop().unwrap_or_default(), random_mean, second])
    }

    /// The products added since there were `start` of them.
    pub(super) fn collected(&mut self, start: usize) -> Products {
        self.program.terms.split_off(start).into_iter().map(|t| (t.coefficient, t.operands)).collect()
    }

    /// Adds coefficient · E[Π atoms].
    fn add_moment(
        &mut self,
        scope: &Scope,
        coefficient: f64,
        atoms: &[Atom],
        contracted: &[usize],
        expression: &NamedExpression,
    ) -> Result<(), CaviError> {
        let mut products: Products = vec![(coefficient, vec![])];
        let mut rest = atoms.to_vec();
        while let Some(first) = rest.first() {
            let factor = self.atom_factor(first);
            let (group, others) = match factor {
                Some(_) => rest.iter().cloned().partition(|a| self.atom_factor(a) == factor),
                None => (vec![first.clone()], rest[1..].to_vec()),
            };
            rest = others;
            let moments = match factor {
                Some(factor) => self.joint_moments(factor, &group, expression)?,
                None => vec![(1.0, vec![self.first_moment(&group[0])?])],
            };
            products = products
                .iter()
                .flat_map(|(c, known)| moments.iter().map(move |(m, new)| (c * m, [known.as_slice(), new].concat())))
                .collect();
        }
        for (coefficient, operands) in products {
            self.add_term(scope, coefficient, operands, contracted);
        }
        Ok(())
    }

    /// E[Π atoms] of one factor.
    fn joint_moments(
        &mut self,
        factor: FactorId,
        atoms: &[Atom],
        expression: &NamedExpression,
    ) -> Result<Products, CaviError> {
        let plain = |operands| vec![(1.0, operands)];
        match atoms {
            [only] => return Ok(plain(vec![self.first_moment(only)?])),
            [left, right] => {
                let coupled = self.program.factors[factor].coupled;
                let alternatives = self.joint_moment(left, right, &expression.span);
                self.program.factors[factor].coupled = coupled;
                return Ok(alternatives?.into_iter().map(|operands| (1.0, operands)).collect());
            }
            _ => {}
        }
        match self.program.factors[factor].family.whole() {
            Family::Normal | Family::NormalVector(_) => self.gaussian_moments(atoms, expression),
            Family::Bernoulli if atoms.iter().all(|a| a.index == atoms[0].index) => {
                Ok(plain(vec![self.first_moment(&atoms[0])?]))
            }
            Family::Gamma | Family::InverseGamma | Family::Beta | Family::Poisson | Family::Shape
                if atoms.len() <= HIGHEST && atoms.iter().all(|a| a.index == atoms[0].index) =>
            {
                let mut operand = self.first_moment(&atoms[0])?;
                operand.source = Source::Moment { factor, power: atoms.len() as i32 };
                Ok(plain(vec![operand]))
            }
            _ => Err(self.unknown_moment(factor, expression)),
        }
    }

    /// E[x₁⋯xₙ] = E[x₁] E[x₂⋯xₙ] + Σⱼ cov(x₁, xⱼ) E[the others] (Isserlis 1918), with cov(x, y) = E[xy] − E[x]E[y].
    fn gaussian_moments(&mut self, atoms: &[Atom], expression: &NamedExpression) -> Result<Products, CaviError> {
        let Some((first, rest)) = atoms.split_first() else { return Ok(vec![(1.0, vec![])]) };
        let mean = self.first_moment(first)?;
        let with = |products: Products, sign: f64, more: &[Operand]| -> Products {
            products.into_iter().map(|(c, operands)| (sign * c, [more, &operands].concat())).collect()
        };
        let mut all = with(self.gaussian_moments(rest, expression)?, 1.0, std::slice::from_ref(&mean));
        for (j, other) in rest.iter().enumerate() {
            let Some(second) = self.second_operand(first, other, &expression.span)? else {
                let factor = self.atom_factor(first).unwrap_or_default();
                return Err(self.unknown_moment(factor, expression));
            };
            let others = [&rest[..j], &rest[j + 1..]].concat();
            let remaining = self.gaussian_moments(&others, expression)?;
            let means = [mean.clone(), self.first_moment(other)?];
            all.extend(with(remaining.clone(), 1.0, &[second]));
            all.extend(with(remaining, -1.0, &means));
        }
        Ok(all)
    }

    fn unknown_moment(&self, factor: FactorId, expression: &NamedExpression) -> CaviError {
        self.refusal(
            Diagnostic::new(
                "unknown-moment",
                format!(
                    "the standard deviation of `{}` needs a high moment of `{}`, which is not known in closed form",
                    expression.name, self.program.factors[factor].name
                ),
            )
            .at(expression.span.clone(), "this expression")
            .help("leave the expression out, or run this model with sgvi, which reports it from draws"),
        )
    }

    /// A product with its contracted labels renamed, to stand beside another.
    fn renamed(&mut self, monomial: &Monomial) -> Monomial {
        let mut monomial = monomial.clone();
        for label in &mut monomial.contracted {
            let info = self.program.labels[*label].clone();
            let fresh = self.program.new_label(&info.name, info.size);
            for axis in monomial.atoms.iter_mut().flat_map(|a: &mut Atom| &mut a.index) {
                axis.relabel(*label, fresh);
            }
            *label = fresh;
        }
        monomial
    }

    /// Whether the moments of a variable in an expression are not statistics of its factor.
    pub(super) fn needs_moment(&self, atom: &Atom) -> Option<FactorId> {
        let AtomKind::Variable(v) = atom.kind else { return None };
        let factor = self.factor(v);
        let own = matches!(
            self.program.factors[factor].family,
            Family::Normal
                | Family::NormalVector(_)
                | Family::Bernoulli
                | Family::GaussianMarkovChain(_)
                | Family::GaussianSteps(_)
        );
        (self.reporting && !own).then_some(factor)
    }
}
