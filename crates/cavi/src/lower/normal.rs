//! Densities whose mean is a sum of products of normal variables: normal, student-t, and the quadratic parts of the logit and probit links.
//!
//! log N(x | f, τ) = ½ log τ − ½ log 2π − ½ τ (x − f)². With x − f written as a sum of products m_t, the expected square
//! is Σ_st E[m_s m_t], in which a variable that stands in both products enters by its second moment (so that shared
//! variables count), and the others by their means.

use std::ops::Range;

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{BinaryOperator, Distribution, NodeId, Observation, Spread, SpreadForm, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::positive::{Positive, Power};
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Operand, Source, Step, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// The weight of a quadratic form: a scalar or per-coordinate precision, or a matrix over two labels of one dimension.
pub(super) enum Weight {
    /// Precision as a product; the dimension's index is shared by both sides.
    Positive(Positive),
    /// Precision matrix Λ[i, j] and log|Λ|.
    Matrix {
        /// Λ[i, j].
        matrix: Operand,
        /// log|Λ|.
        log_determinant: Operand,
        /// The label of the second side.
        second: usize,
    },
}

impl Lowering {
    /// The child's own value as a sum of products: one, or two where its missing values are a variable.
    pub(super) fn value_sum(&mut self, child: VariableId, scope: &Scope) -> Result<Vec<Monomial>, CaviError> {
        let span = self.graph.variable(child).span.clone();
        let mut sum = self.variable_sum(child, &scope.value, &span)?;
        if let (Some(moved), Some(atom)) = (self.shifts.value.get(&child), sum[0].atoms.first_mut()) {
            atom.kind = AtomKind::Data(*moved);
        }
        Ok(sum)
    }

    /// A mean, as a sum of products.
    pub(super) fn mean_monomials(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let node = if key == "mean" { self.moved_mean(child, node) } else { node };
        let index = self.parameter_index(child, scope, node)?;
        let sum = self.expand(node, &index, scope)?;
        self.check_multilinear(child, key, &sum)?;
        Ok(sum)
    }

    /// Refuses products in which a factor stands twice, or one that is not normal.
    pub(super) fn check_multilinear(&self, child: VariableId, key: &str, sum: &[Monomial]) -> Result<(), CaviError> {
        for monomial in sum {
            let mut factors = Vec::new();
            for atom in &monomial.atoms {
                let AtomKind::Variable(v) = atom.kind else { continue };
                let factor = self.factor(v);
                let name = self.graph.variable(v).name.clone();
                if factors.contains(&factor) {
                    return Err(self.not_conjugate(
                        child,
                        key,
                        format!(
                            "`{name}` stands twice in one product in the {key} of `{}`: the mean must be multilinear",
                            self.graph.variable(child).name
                        ),
                    ));
                }
                factors.push(factor);
                let family = self.program.factors[factor].family;
                if !matches!(
                    family,
                    Family::Normal
                        | Family::NormalVector(_)
                        | Family::Bernoulli
                        | Family::GaussianMarkovChain(_)
                        | Family::GaussianSteps(_)
                ) {
                    return Err(self.not_conjugate(
                        child,
                        key,
                        format!(
                            "`{name}` in the {key} of `{}` is not a conjugate pair: cavi needs normal variables here",
                            self.graph.variable(child).name
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn normal_density(
        &mut self,
        child: VariableId,
        mean: NodeId,
        spread: Spread,
        form: SpreadForm,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(child);
        let mut sum = self.mean_monomials(child, "mean", mean, &mut scope)?;
        sum.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
        let weight = self.spread_weight(child, spread, form, &mut scope)?;
        if let (Weight::Matrix { .. }, Some(Observation::Numeric(node))) =
            (&weight, self.graph.variable(child).observed)
            && !self.missing.contains_key(&child)
            && self.has_missing(node)?
        {
            return self.normal_with_missing(child, node, sum, weight, scope);
        }
        self.presence(child, &mut scope)?;
        sum.splice(0..0, self.value_sum(child, &scope)?);
        self.quadratic(&scope, &sum, &weight, -0.5)?;
        self.normal_constants(&scope, &weight);
        Ok(())
    }

    /// ½ log τ − ½ log 2π for each coordinate.
    pub(super) fn normal_constants(&mut self, scope: &Scope, weight: &Weight) {
        match weight {
            Weight::Positive(positive) => {
                self.add_term(scope, 0.5 * positive.coefficient.ln() - 0.5 * LOG_TWO_PI, vec![], &[]);
                for (exponent, log) in &positive.logarithm {
                    self.add_term(scope, 0.5 * exponent, vec![log.clone()], &[]);
                }
            }
            Weight::Matrix { log_determinant, .. } => {
                self.add_term(scope, -0.5 * LOG_TWO_PI, vec![], &[]);
                // One determinant for all coordinates: the dimension is no index of this product.
                let mut single = scope.clone();
                single.value.pop();
                self.add_term(&single, 0.5, vec![log_determinant.clone()], &[]);
            }
        }
    }

    /// The weight of a normal's square from its spread.
    pub(super) fn spread_weight(
        &mut self,
        child: VariableId,
        spread: Spread,
        form: SpreadForm,
        scope: &mut Scope,
    ) -> Result<Weight, CaviError> {
        let (key, node, power) = match spread {
            Spread::Precision(node) => ("precision", node, Power::One),
            Spread::Variance(node) => ("variance", node, Power::MinusOne),
            Spread::StandardDeviation(node) => ("sd", node, Power::MinusTwo),
            Spread::Covariance(node) => ("covariance", node, Power::MinusOne),
        };
        if form != SpreadForm::Matrix {
            return Ok(Weight::Positive(self.positive(child, key, node, power, scope)?));
        }
        self.matrix_weight(child, key, node, power == Power::MinusOne, scope)
    }

    /// A matrix weight: a Wishart variable, or a constant matrix (inverted where it is a covariance).
    pub(super) fn matrix_weight(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        invert: bool,
        scope: &mut Scope,
    ) -> Result<Weight, CaviError> {
        let Some(dimension) = self.graph.variable(child).dimension else {
            return Err(self.not_conjugate(child, key, format!("a matrix as the {key} of a scalar variable")));
        };
        let info = self.graph.axis(dimension).clone();
        let second = self.program.new_label(&info.name, info.size);
        let mut axes = scope.axes.clone();
        let mut indices = scope.value.clone();
        axes.push(dimension);
        indices.push(AxisIndex::label(second));
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes)
            .ok_or_else(|| self.not_conjugate(child, key, format!("the {key} has axes that the variable lacks")))?;
        let sum = self.expand(node, &index, scope)?;
        let single = match sum.as_slice() {
            [Monomial { coefficient, atoms, contracted }]
                if atoms.len() == 1 && contracted.is_empty() && *coefficient == 1.0 =>
            {
                atoms[0].clone()
            }
            _ => {
                return Err(self.not_conjugate(
                    child,
                    key,
                    format!("the {key} of a vector must be one matrix: a constant or a wishart variable"),
                ));
            }
        };
        let (matrix, log_determinant) = self.matrix_operands(child, key, &single, invert)?;
        Ok(Weight::Matrix { matrix, log_determinant, second })
    }

    /// Λ[…, i, j] and log|Λ| of a Wishart variable or of constant matrices (inverted where they are covariances or scales).
    pub(super) fn matrix_operands(
        &mut self,
        child: VariableId,
        key: &str,
        single: &Atom,
        invert: bool,
    ) -> Result<(Operand, Operand), CaviError> {
        let plates = single.index.len().saturating_sub(2);
        match single.kind {
            AtomKind::Variable(v) => {
                let factor = self.factor(v);
                if !matches!(self.program.factors[factor].family, Family::Wishart(_)) || invert {
                    let (c, p) = (self.graph.variable(child).name.clone(), self.graph.variable(v).name.clone());
                    return Err(self.not_conjugate(
                        child,
                        key,
                        format!("`{p}` as the {key} of `{c}` is not a conjugate pair; a wishart variable is, as the precision"),
                    ));
                }
                let span = self.graph.variable(child).span.clone();
                let matrix = self.variable_operand(v, &single.index, 0, &span)?;
                let log_determinant = self.variable_operand(v, &single.index[..plates], 1, &span)?;
                Ok((matrix, log_determinant))
            }
            AtomKind::Factor(_) | AtomKind::Absent(_) | AtomKind::Previous(_) => {
                Err(self.not_conjugate(child, key, format!("the {key} is not a matrix")))
            }
            AtomKind::Data(node) => {
                let tensor = self.graph.evaluate_data(node, 0..self.graph.data.num_rows().max(1))?;
                let d = tensor.axes.last().map_or(1, |a| self.graph.axis(*a).size);
                let mut matrices = tensor.values.clone();
                let mut logs = Vec::with_capacity(matrices.len() / (d * d));
                for block in matrices.chunks_exact_mut(d * d) {
                    let Ok((inverse, log)) = vi_families::matrix::inverse_and_log_determinant(block, d) else {
                        return Err(self.not_conjugate(
                            child,
                            key,
                            format!("the {key} of `{}` is not positive definite", self.graph.variable(child).name),
                        ));
                    };
                    if invert {
                        block.copy_from_slice(&inverse);
                    }
                    logs.push(if invert { -log } else { log });
                }
                let shape: Vec<usize> = tensor.axes.iter().map(|a| self.graph.axis(*a).size).collect();
                let log_shape = shape[..shape.len() - 2].to_vec();
                let matrix =
                    Operand { source: Source::Constant(self.constant(shape, matrices)), index: single.index.clone() };
                let log_determinant = Operand {
                    source: Source::Constant(self.constant(log_shape, logs)),
                    index: single.index[..plates].to_vec(),
                };
                Ok((matrix, log_determinant))
            }
        }
    }

    /// Adds coefficient · E[w (Σ m_t)²]: every pair of products.
    pub(super) fn quadratic(
        &mut self,
        scope: &Scope,
        sum: &[Monomial],
        weight: &Weight,
        coefficient: f64,
    ) -> Result<(), CaviError> {
        let dimension = match weight {
            Weight::Positive(_) => None,
            Weight::Matrix { second, .. } => Some((Self::labels_of(&scope.value[scope.value.len() - 1..])[0], *second)),
        };
        let (weight_coefficient, weight_operands) = match weight {
            Weight::Positive(p) => (p.coefficient, p.expectation.clone()),
            Weight::Matrix { matrix, .. } => (1.0, vec![matrix.clone()]),
        };
        let span = 0..0;
        for s in 0..sum.len() {
            for t in s..sum.len() {
                let multiplicity = if s == t { 1.0 } else { 2.0 };
                for (c, operands, contracted) in self.pair(&sum[s], &sum[t], dimension, &span)? {
                    let mut all = weight_operands.clone();
                    all.extend(operands);
                    self.add_term(scope, coefficient * weight_coefficient * multiplicity * c, all, &contracted);
                }
            }
        }
        Ok(())
    }

    /// Adds coefficient · E[(Σ_s a_s)(Σ_t b_t)] w for a product with data weights alone: coefficient · Σ_s E[m_s] w.
    pub(super) fn linear(
        &mut self,
        scope: &Scope,
        sum: &[Monomial],
        weight: &[Operand],
        coefficient: f64,
    ) -> Result<(), CaviError> {
        for monomial in sum {
            let mut operands = weight.to_vec();
            for atom in &monomial.atoms {
                operands.push(self.first_moment(atom)?);
            }
            self.add_term(scope, coefficient * monomial.coefficient, operands, &monomial.contracted);
        }
        Ok(())
    }

    /// E[x] of a variable or the value of data.
    pub(super) fn first_moment(&mut self, atom: &Atom) -> Result<Operand, CaviError> {
        if let (Some(factor), AtomKind::Variable(v)) = (self.needs_moment(atom), &atom.kind) {
            let span = self.graph.variable(*v).span.clone();
            let plain = self.variable_operand(*v, &atom.index, 0, &span)?;
            return Ok(Operand { source: Source::Moment { factor, power: 1 }, ..plain });
        }
        match atom.kind {
            // τμ, whose precision weighs the product.
            AtomKind::Variable(v)
                if matches!(
                    self.program.factors[self.factor(v)].family,
                    Family::NormalGamma | Family::NormalGammaVector(_)
                ) =>
            {
                self.variable_operand(v, &atom.index, 2, &self.graph.variable(v).span.clone())
            }
            AtomKind::Variable(v) => self.mean_operand(v, &atom.index, &self.graph.variable(v).span.clone()),
            AtomKind::Data(node) => self.data_operand(node, &atom.index, Transform::Identity),
            AtomKind::Absent(node) => self.data_operand(node, &atom.index, Transform::Absent),
            AtomKind::Factor(factor) => {
                Ok(Operand { source: Source::Statistic { factor, statistic: 0 }, index: atom.index.clone() })
            }
            AtomKind::Previous(v) => {
                let factor = self.factor(v);
                Ok(Operand { source: Source::Statistic { factor, statistic: 2 }, index: atom.index.clone() })
            }
        }
    }

    /// The factor that an atom belongs to.
    pub(super) fn atom_factor(&self, atom: &Atom) -> Option<usize> {
        match atom.kind {
            AtomKind::Variable(v) | AtomKind::Previous(v) => Some(self.factor(v)),
            AtomKind::Factor(factor) => Some(factor),
            AtomKind::Data(_) | AtomKind::Absent(_) => None,
        }
    }

    /// E[m_s m_t] as a sum of products of moments.
    ///
    /// Labels contracted inside the second product are renamed, as is the dimension where the weight is a matrix.
    #[allow(clippy::type_complexity)]
    pub(super) fn pair(
        &mut self,
        left: &Monomial,
        right: &Monomial,
        dimension: Option<(usize, usize)>,
        span: &Range<usize>,
    ) -> Result<Vec<(f64, Vec<Operand>, Vec<usize>)>, CaviError> {
        let mut renamed: Vec<(usize, usize)> = dimension.into_iter().collect();
        for label in &right.contracted {
            let info = self.program.labels[*label].clone();
            renamed.push((*label, self.program.new_label(&info.name, info.size)));
        }
        let right_atoms: Vec<Atom> = right.atoms.iter().map(|a| rename(a, &renamed)).collect();
        let mut contracted = left.contracted.clone();
        contracted.extend(right.contracted.iter().map(|l| renamed.iter().find(|r| r.0 == *l).map_or(*l, |r| r.1)));
        let mut products: Vec<(f64, Vec<Operand>)> = vec![(left.coefficient * right.coefficient, vec![])];
        let mut taken = vec![false; right_atoms.len()];
        for atom in &left.atoms {
            let factor = self.atom_factor(atom);
            let partner = (0..right_atoms.len())
                .find(|&i| !taken[i] && factor.is_some() && self.atom_factor(&right_atoms[i]) == factor);
            let Some(partner) = partner else {
                let operand = self.first_moment(atom)?;
                products.iter_mut().for_each(|p| p.1.push(operand.clone()));
                continue;
            };
            taken[partner] = true;
            let other = &right_atoms[partner];
            let alternatives = self.joint_moment(atom, other, span)?;
            products = products
                .into_iter()
                .flat_map(|(c, operands)| {
                    alternatives.iter().map(move |extra| {
                        let mut operands = operands.clone();
                        operands.extend(extra.iter().cloned());
                        (c, operands)
                    })
                })
                .collect();
        }
        for (atom, taken) in right_atoms.iter().zip(taken) {
            if !taken {
                let operand = self.first_moment(atom)?;
                products.iter_mut().for_each(|p| p.1.push(operand.clone()));
            }
        }
        Ok(products.into_iter().map(|(c, operands)| (c, operands, contracted.clone())).collect())
    }

    /// E[x y] of two atoms in one factor: the second moment where they are the same element, the product of means where not.
    pub(super) fn joint_moment(
        &mut self,
        left: &Atom,
        right: &Atom,
        span: &Range<usize>,
    ) -> Result<Vec<Vec<Operand>>, CaviError> {
        if let Some(second) = self.second_operand(left, right, span)? {
            return Ok(vec![vec![second]]);
        }
        let (AtomKind::Variable(v), AtomKind::Variable(w)) = (&left.kind, &right.kind) else { return Ok(vec![]) };
        if self.is_joint(*v) || v != w {
            return Err(self.refusal(
                Diagnostic::new(
                    "block-plates",
                    format!(
                        "`{}` and `{}` share a block but are read at different plate elements",
                        self.graph.variable(*v).name,
                        self.graph.variable(*w).name
                    ),
                )
                .at(span.clone(), "here")
                .help("take one of them out of `blocks`"),
            ));
        }
        let factor = self.factor(*v);
        self.program.factors[factor].coupled = true;
        let plates = self.graph.variable(*v).plates.clone();
        let differing: Vec<usize> = (0..plates.len()).filter(|&p| left.index[p] != right.index[p]).collect();
        // The same element: its second moment, addressed from the left, where all indices meet.
        let mut same_right = right.clone();
        same_right.index[..plates.len()].clone_from_slice(&left.index[..plates.len()]);
        let Some(second) = self.second_operand(left, &same_right, span)? else { return Ok(vec![]) };
        let mut alternatives = Vec::new();
        let mut meet = Vec::new();
        for &p in &differing {
            let size = self.graph.axis(plates[p]).size;
            // Different elements: they met in all earlier indices and part in this one.
            let mut apart = meet.clone();
            apart.push(self.meeting(&left.index[p], &right.index[p], size, true));
            apart.push(self.first_moment(left)?);
            apart.push(self.first_moment(right)?);
            alternatives.push(apart);
            meet.push(self.meeting(&left.index[p], &right.index[p], size, false));
        }
        meet.push(second);
        alternatives.push(meet);
        Ok(alternatives)
    }

    /// Whether `parameters` is a normal-wishart variable, possibly indexed.
    pub(super) fn is_matrix_pair(&self, parameters: NodeId) -> bool {
        let wishart =
            |v: &VariableId| matches!(self.graph.variable(*v).distribution, Distribution::NormalWishart { .. });
        self.graph.variables_of(parameters).iter().any(wishart)
    }

    /// A normal whose mean and precision are one joint variable.
    pub(super) fn normal_joint_density(&mut self, child: VariableId, parameters: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(child);
        if !self.is_matrix_pair(parameters) {
            return self.linear_pair_density(child, parameters);
        }
        let index = self.parameter_index(child, &scope, parameters)?;
        let sum = self.expand(parameters, &index, &mut scope)?;
        let span = self.graph.node(parameters).span.clone();
        let joint = match sum.as_slice() {
            [Monomial { coefficient, atoms, contracted }]
                if atoms.len() == 1 && contracted.is_empty() && *coefficient == 1.0 =>
            {
                atoms[0].clone()
            }
            _ => return Err(self.not_conjugate(child, "parameters", "`parameters` must be one joint variable".into())),
        };
        let AtomKind::Variable(v) = joint.kind else {
            return Err(self.not_conjugate(child, "parameters", "`parameters` must be a latent joint variable".into()));
        };
        let family = self.program.factors[self.factor(v)].family;
        match family {
            Family::NormalWishart(d) => {
                let first = scope.value[scope.value.len() - 1].clone();
                let second = self
                    .program
                    .new_label(&self.program.labels[Self::labels_of(std::slice::from_ref(&first))[0]].name.clone(), d);
                let with = |axes: &[AxisIndex]| joint.index.iter().chain(axes).cloned().collect::<Vec<_>>();
                let matrix = self.variable_operand(v, &with(&[first.clone(), AxisIndex::label(second)]), 0, &span)?;
                let log_determinant = self.variable_operand(v, &joint.index, 1, &span)?;
                let location = self.variable_operand(v, &with(&[first]), 2, &span)?;
                let square = self.variable_operand(v, &joint.index, 3, &span)?;
                let mut single = scope.clone();
                single.value.pop();
                let weight = Weight::Matrix { matrix, log_determinant: log_determinant.clone(), second };
                let missing = match self.graph.variable(child).observed {
                    Some(Observation::Numeric(node))
                        if !self.missing.contains_key(&child) && self.has_missing(node)? =>
                    {
                        Some(node)
                    }
                    _ => None,
                };
                let x = match missing {
                    Some(node) => vec![self.partial_value(child, node, &mut scope)?],
                    None => self.value_sum(child, &scope)?,
                };
                self.quadratic(&scope, &x, &weight, -0.5)?;
                self.linear(&scope, &x, &[location], 1.0)?;
                single.gates.clone_from(&scope.gates);
                single.mask.clone_from(&scope.mask);
                self.add_term(&single, -0.5, vec![square], &[]);
                self.normal_constants(&scope, &weight);
                Ok(())
            }
            _ => Err(self.not_conjugate(
                child,
                "parameters",
                format!(
                    "`{}` is not a joint variable: `parameters` takes a normal-gamma or normal-wishart one",
                    self.graph.variable(v).name
                ),
            )),
        }
    }

    /// student-t as a normal whose precision is scaled by a latent gamma: u ~ Gamma(ν/2, ν/2), x ~ N(f, 1/(τu)).
    pub(super) fn student_density(&mut self, child: VariableId) -> Result<(), CaviError> {
        let Distribution::StudentT { degrees_of_freedom, mean, spread } =
            self.graph.variable(child).distribution.clone()
        else {
            return Ok(());
        };
        let mut scope = self.scope(child);
        let mut sum = self.mean_monomials(child, "mean", mean, &mut scope)?;
        sum.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
        let (key, node, power) = match spread {
            vi_model::graph::PrecisionOrSd::Precision(node) => ("precision", node, Power::One),
            vi_model::graph::PrecisionOrSd::StandardDeviation(node) => ("sd", node, Power::MinusTwo),
        };
        let mut weight = self.positive(child, key, node, power, &mut scope)?;
        self.presence(child, &mut scope)?;
        let scale = self.auxiliary(child, "scale", Family::Gamma, &scope);
        let (expectation, log) = (self.auxiliary_operand(scale, 0, &scope), self.auxiliary_operand(scale, 1, &scope));
        weight.expectation.push(expectation.clone());
        weight.logarithm.push((1.0, log.clone()));
        sum.splice(0..0, self.value_sum(child, &scope)?);
        let weight = Weight::Positive(weight);
        self.quadratic(&scope, &sum, &weight, -0.5)?;
        self.normal_constants(&scope, &weight);
        // The prior of the scale, also where the value is missing.
        let mut prior = Scope { mask: vec![], ..scope };
        self.scale_prior(child, degrees_of_freedom, log, expectation, &mut prior)
    }

    /// u ~ Gamma(ν/2, ν/2): h log h − log Γ(h) + (h − 1) log u − h u with h = ν/2.
    fn scale_prior(
        &mut self,
        child: VariableId,
        degrees: NodeId,
        log: Operand,
        expectation: Operand,
        scope: &mut Scope,
    ) -> Result<(), CaviError> {
        let key = "degrees_of_freedom";
        self.fixed_positive(child, key, degrees, scope)?;
        let half = self.number(0.5, &self.graph.node(degrees).span.clone());
        let half = self.binary(BinaryOperator::Multiply, half, degrees);
        let less = self.minus_one(half);
        let shape = self.fixed(child, key, half, scope, Transform::Identity)?;
        let log_shape = self.fixed(child, key, half, scope, Transform::Log)?;
        let log_gamma = self.fixed(child, key, half, scope, Transform::LogGamma)?;
        let excess = self.fixed(child, key, less, scope, Transform::Identity)?;
        self.add_term(scope, 1.0, vec![shape.clone(), log_shape], &[]);
        self.add_term(scope, -1.0, vec![log_gamma], &[]);
        self.add_term(scope, 1.0, vec![excess, log], &[]);
        self.add_term(scope, -1.0, vec![shape, expectation], &[]);
        Ok(())
    }
}

/// An atom with labels replaced.
fn rename(atom: &Atom, pairs: &[(usize, usize)]) -> Atom {
    let mut atom = atom.clone();
    for axis in &mut atom.index {
        for (step, _) in &mut axis.parts {
            if let Step::Label(l) = step
                && let Some((_, new)) = pairs.iter().find(|(old, _)| old == l)
            {
                *l = *new;
            }
        }
    }
    atom
}
