//! Normal-gamma pairs: their own density, and normals whose mean is linear in the pair's location and whose precision is its own.
//!
//! With f = Σ_t m_t linear in μ, log N(x | f, 1/τ) = ½ log τ − ½ log 2π − ½ τ (x − f)², and the statistics τ, τμ, τμμᵀ hold
//! E[τ], E[τμ], E[τμμᵀ]: in each product of two m_t, τ stands alone, or with the one or the two locations.

use vi_model::graph::{NodeId, NodeKind, SpreadForm, VariableId};

use super::derived::Products;
use super::expression::{Atom, AtomKind, Monomial};
use super::normal::Weight;
use super::positive::Power;
use super::scores::Reading;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Operand};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// A sum of products linear in the location of one element of a normal-gamma variable.
#[derive(Debug, Clone)]
pub(super) struct LinearPair {
    pub(super) variable: VariableId,
    /// The element.
    pub(super) plates: Vec<AxisIndex>,
    pub(super) sum: Vec<Monomial>,
}

/// A mean f = g + known, g linear in the location of a normal-gamma variable with precision τ.
#[derive(Debug, Clone)]
pub(crate) struct LinearPairReading {
    /// The known part of f.
    pub(crate) known: Reading,
    /// E[τ].
    pub(crate) tau: Reading,
    /// The coefficient of log τ, a − 1 + ½d.
    pub(crate) log: Reading,
    /// Number of coordinates d.
    pub(crate) dimension: usize,
    /// E[τg].
    pub(crate) scaled: Reading,
    /// E[τg²].
    pub(crate) square: Reading,
}

impl LinearPair {
    /// Whether an atom is the location.
    pub(super) fn is_location(&self, atom: &Atom) -> bool {
        atom.kind == AtomKind::Variable(self.variable)
    }

    fn holds_location(&self, monomial: &Monomial) -> bool {
        monomial.atoms.iter().any(|atom| self.is_location(atom))
    }
}

impl Lowering {
    /// τ ~ Gamma(a, b), μ | τ ~ N(m, (τΛ)⁻¹); of a scalar Λ is κ.
    pub(super) fn normal_gamma_density(
        &mut self,
        v: VariableId,
        mean: NodeId,
        (mean_precision, form): (NodeId, SpreadForm),
        shape: NodeId,
        rate: NodeId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let own: Vec<AxisIndex> = match self.graph.variable(v).dimension {
            Some(_) => scope.value.last().cloned().into_iter().collect(),
            None => vec![],
        };
        let mut plates = scope.clone();
        plates.value.truncate(scope.value.len() - own.len());
        plates.axes.truncate(scope.axes.len() - own.len());
        let element = plates.value.clone();
        let s = |l: &Self, i: usize, more: &[AxisIndex]| {
            l.variable_operand(v, &[element.as_slice(), more].concat(), i, &span)
        };
        let (tau, log_tau, location) = (s(self, 0, &[])?, s(self, 1, &[])?, s(self, 2, &own)?);

        // log Gamma(τ | a, b)
        let rate = self.positive(v, "rate", rate, Power::One, &mut plates)?;
        let shape = self.shape(v, "shape", shape, &mut plates)?;
        self.shape_terms(&plates, &shape, log_tau.clone());
        self.positive_logs(&plates, &rate, &[shape.value], 1.0);
        let mut product = rate.expectation.clone();
        product.push(tau.clone());
        self.add_term(&plates, -rate.coefficient, product, &[]);

        // log N(μ | m, (τΛ)⁻¹), its logarithm of τ once for each coordinate
        let m = self.mean_monomials(v, "mean", mean, &mut scope)?;
        let weight = match form {
            SpreadForm::Matrix => self.matrix_weight(v, "mean_precision", mean_precision, false, &mut scope)?,
            _ => Weight::Positive(self.positive(v, "mean_precision", mean_precision, Power::One, &mut scope)?),
        };
        self.normal_constants(&scope, &weight);
        self.add_term(&scope, 0.5, vec![log_tau], &[]);
        let (coefficient, operands, other) = match &weight {
            Weight::Positive(p) => (p.coefficient, p.expectation.clone(), own.clone()),
            Weight::Matrix { matrix, second, .. } => (1.0, vec![matrix.clone()], vec![AxisIndex::label(*second)]),
        };
        let square = s(self, 3, &[own.as_slice(), &other].concat())?;
        let with = |last: Operand| operands.iter().cloned().chain([last]).collect::<Vec<_>>();
        self.add_term(&scope, -0.5 * coefficient, with(square), &[]);
        let location = match &weight {
            Weight::Positive(_) => location,
            Weight::Matrix { .. } => s(self, 2, &other)?,
        };
        self.linear(&scope, &m, &with(location), coefficient)?;
        // −½ τ mᵀΛm: τ multiplies every product, as a mask does.
        let mut weighted = scope.clone();
        weighted.mask.push(tau);
        self.quadratic(&weighted, &m, &weight, -0.5)
    }

    /// A parameter that is linear in the location of one element of a normal-gamma variable.
    pub(super) fn linear_pair(
        &mut self,
        child: VariableId,
        parameters: NodeId,
        scope: &mut Scope,
    ) -> Result<LinearPair, CaviError> {
        let index = self.parameter_index(child, scope, parameters)?;
        let sum = self.expand(parameters, &index, scope)?;
        let mut found: Option<(VariableId, Vec<AxisIndex>)> = None;
        let mut others = Vec::with_capacity(sum.len());
        for monomial in &sum {
            let (locations, rest): (Vec<Atom>, Vec<Atom>) =
                monomial.atoms.iter().cloned().partition(|a| self.is_pair(a));
            for atom in &locations {
                let AtomKind::Variable(v) = atom.kind else { continue };
                let element = (v, atom.index[..self.graph.variable(v).plates.len()].to_vec());
                if locations.len() > 1 || found.as_ref().is_some_and(|known| *known != element) {
                    let message = format!(
                        "`parameters` of `{}` reads two elements of `{}`, but has one precision: it must be linear in one",
                        self.graph.variable(child).name,
                        self.graph.variable(v).name
                    );
                    return Err(self.not_conjugate(child, "parameters", message));
                }
                found = Some(element);
            }
            others.push(Monomial { atoms: rest, ..monomial.clone() });
        }
        self.check_multilinear(child, "parameters", &others)?;
        let Some((variable, plates)) = found else {
            return Err(self.not_conjugate(
                child,
                "parameters",
                "`parameters` must hold a latent joint variable".into(),
            ));
        };
        Ok(LinearPair { variable, plates, sum })
    }

    /// Whether an atom is the location of a normal-gamma variable.
    fn is_pair(&self, atom: &Atom) -> bool {
        let AtomKind::Variable(v) = atom.kind else { return false };
        self.factor_of.contains_key(&v)
            && matches!(self.program.factors[self.factor(v)].family, Family::NormalGamma | Family::NormalGammaVector(_))
    }

    /// log N(x | f, 1/τ) for each coordinate of x, with f linear in the location.
    pub(super) fn linear_pair_density(&mut self, child: VariableId, parameters: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(child);
        let pair = self.linear_pair(child, parameters, &mut scope)?;
        self.presence(child, &mut scope)?;
        let mut sum = self.value_sum(child, &scope)?;
        sum.extend(pair.sum.iter().map(|m| Monomial { coefficient: -m.coefficient, ..m.clone() }));
        let (tau, log) = self.pair_precision(&pair)?;
        for (coefficient, operands, contracted) in self.scaled_squares(&pair, &tau, &sum)? {
            self.add_term(&scope, -0.5 * coefficient, operands, &contracted);
        }
        self.add_term(&scope, 0.5, vec![log], &[]);
        self.add_term(&scope, -0.5 * LOG_TWO_PI, vec![], &[]);
        Ok(())
    }

    /// τ and log τ of the element that is read.
    pub(super) fn pair_precision(&self, pair: &LinearPair) -> Result<(Operand, Operand), CaviError> {
        let span = &self.graph.variable(pair.variable).span;
        let read = |statistic| self.variable_operand(pair.variable, &pair.plates, statistic, span);
        Ok((read(0)?, read(1)?))
    }

    /// E[τ (Σ m_t)²] as products: coefficient, operands and labels contracted.
    #[allow(clippy::type_complexity)]
    pub(super) fn scaled_squares(
        &mut self,
        pair: &LinearPair,
        tau: &Operand,
        sum: &[Monomial],
    ) -> Result<Vec<(f64, Vec<Operand>, Vec<usize>)>, CaviError> {
        let mut all = Vec::new();
        for (s, left) in sum.iter().enumerate() {
            for (t, right) in sum.iter().enumerate().skip(s) {
                let multiplicity = if s == t { 1.0 } else { 2.0 };
                // A location's statistics hold τ already.
                let alone = !pair.holds_location(left) && !pair.holds_location(right);
                for (c, mut operands, contracted) in self.pair(left, right, None, &(0..0))? {
                    if alone {
                        operands.push(tau.clone());
                    }
                    all.push((multiplicity * c, operands, contracted));
                }
            }
        }
        Ok(all)
    }

    /// Whether `parameters` is more than a scalar pair by itself, possibly indexed.
    pub(super) fn is_compound(&self, parameters: NodeId) -> bool {
        let mut base = parameters;
        while let NodeKind::Index { base: inner, .. } = self.graph.node(base).kind {
            base = inner;
        }
        match self.graph.node(base).kind {
            NodeKind::Variable(w) => self.graph.variable(w).dimension.is_some(),
            _ => true,
        }
    }

    /// The readings of a value's predictive density, where all but the pair is known.
    pub(super) fn linear_pair_reading(
        &mut self,
        v: VariableId,
        parameters: NodeId,
        scope: &mut Scope,
    ) -> Option<LinearPairReading> {
        let pair = self.linear_pair(v, parameters, scope).ok()?;
        let factor = &self.program.factors[self.factor(pair.variable)];
        let dimension = match factor.family {
            Family::NormalGammaVector(d) => d,
            _ => 1,
        };
        if factor.point {
            return None;
        }
        let (random, mut known): (Vec<Monomial>, Vec<Monomial>) =
            pair.sum.iter().cloned().partition(|m| m.atoms.iter().any(|a| pair.is_location(a)));
        // What the location was measured from is known.
        if let Some(shift) = self.shifts.location.get(&pair.variable).copied() {
            for monomial in &random {
                let mut moved = monomial.clone();
                for atom in moved.atoms.iter_mut().filter(|a| pair.is_location(a)) {
                    let axes = self.graph.value_axes(pair.variable);
                    atom.index = Self::inherit(&axes, &atom.index, &self.graph.node(shift).axes)?;
                    atom.kind = AtomKind::Data(shift);
                }
                known.push(moved);
            }
        }
        let fixed = |m: &Monomial| m.atoms.iter().all(|a| matches!(a.kind, AtomKind::Data(_)) || pair.is_location(a));
        if !random.iter().chain(&known).all(fixed) {
            return None;
        }
        let (tau, _) = self.pair_precision(&pair).ok()?;
        let first = |this: &mut Self, sum: &[Monomial]| -> Option<Products> {
            let products = sum.iter().map(|m| {
                let operands: Result<Vec<Operand>, _> = m.atoms.iter().map(|a| this.first_moment(a)).collect();
                Some((m.coefficient, operands.ok()?))
            });
            products.collect()
        };
        let (known, scaled) = (first(self, &known)?, first(self, &random)?);
        let square = self.scaled_squares(&pair, &tau, &random).ok()?;
        let square = square.into_iter().map(|(c, operands, _)| (c, operands)).collect();
        Some(LinearPairReading {
            known: self.reading(scope, known),
            tau: self.reading(scope, vec![(1.0, vec![tau])]),
            log: self.natural(pair.variable, &pair.plates, 1, &[], scope)?,
            dimension,
            scaled: self.reading(scope, scaled),
            square: self.reading(scope, square),
        })
    }
}
