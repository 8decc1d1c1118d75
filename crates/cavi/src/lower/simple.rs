//! Densities without a multilinear mean: gamma, Wishart, beta, Dirichlet, counts, categories and the joint families.

use std::sync::Arc;

use vi_families::special::multivariate_ln_gamma;
use vi_model::graph::{
    AxisId, BinaryOperator, Distribution, Node, NodeId, NodeKind, Observation, Probability, RateOrScale, Tensor,
    VariableId, WishartScale,
};

use super::expression::{Atom, AtomKind};
use super::factors::distribution_name;
use super::normal::Weight;
use super::positive::{Positive, Power};
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, DataOperand, Operand, ROWS, RowData, Source, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

impl Lowering {
    /// Adds the products of a variable's expected log density.
    pub(super) fn density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let variable = self.graph.variable(v).clone();
        for (key, given) in [("lower", variable.lower), ("upper", variable.upper)] {
            if given.is_some() {
                return Err(self.not_conjugate(
                    v,
                    key,
                    format!("the truncation of `{}` has no conjugate update", variable.name),
                ));
            }
        }
        if variable.amortized.is_some() {
            return Err(self.not_conjugate(v, "amortized", format!("`{}` has an amortised factor", variable.name)));
        }
        match variable.distribution {
            Distribution::Normal { mean, spread, form } => self.normal_density(v, mean, spread, form),
            Distribution::NormalJoint { parameters } => self.normal_joint_density(v, parameters),
            Distribution::StudentT { .. } => self.student_density(v),
            Distribution::NormalGamma { mean, mean_precision, shape, rate } => {
                self.normal_gamma_density(v, mean, mean_precision, shape, rate)
            }
            Distribution::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => {
                self.normal_wishart_density(v, mean, mean_precision, degrees_of_freedom, scale)
            }
            Distribution::Gamma { shape, rate } => {
                let (key, node, power) = match rate {
                    RateOrScale::Rate(node) => ("rate", node, Power::One),
                    RateOrScale::Scale(node) => ("scale", node, Power::MinusOne),
                };
                self.gamma_density(v, Some(shape), key, node, power)
            }
            Distribution::Exponential { rate } => self.gamma_density(v, None, "rate", rate, Power::One),
            Distribution::InverseGamma { shape, scale } => self.inverse_gamma_density(v, shape, scale),
            Distribution::Wishart { degrees_of_freedom, scale } => {
                let mut scope = self.scope(v);
                let n = scope.value.len();
                let (first, second) = (scope.value[n - 2].clone(), scope.value[n - 1].clone());
                scope.value.truncate(n - 2);
                scope.axes.truncate(n - 2);
                self.wishart_terms(v, &mut scope, degrees_of_freedom, scale, first, second)
            }
            Distribution::Beta { alpha, beta } => self.beta_density(v, alpha, beta),
            Distribution::Dirichlet { concentration } => self.dirichlet_density(v, concentration),
            Distribution::StickBreaking { concentration } => self.stick_density(v, concentration),
            Distribution::Bernoulli { probability } => self.binary_density(v, None, probability),
            Distribution::Binomial { trials, probability } => self.binary_density(v, Some(trials), probability),
            Distribution::Categorical { probabilities, range, logits } => {
                if logits {
                    return Err(self.not_conjugate(
                        v,
                        "logits",
                        format!("the logits of `{}` have no conjugate update", variable.name),
                    ));
                }
                self.categorical_density(v, probabilities, range)
            }
            Distribution::Multinomial { probabilities, range } => self.multinomial_density(v, probabilities, range),
            Distribution::Poisson { rate, log } => {
                if log {
                    return Err(self.not_conjugate(
                        v,
                        "log_rate",
                        format!("the log rate of `{}` has no conjugate update", variable.name),
                    ));
                }
                self.poisson_density(v, rate)
            }
            Distribution::MarkovChain { .. } => self.markov_density(v),
            Distribution::GaussianMarkovChain { .. } => self.gaussian_chain_density(v),
            ref other => Err(self.not_conjugate(
                v,
                "distribution",
                format!("`{}` is {}, which has no conjugate update", variable.name, distribution_name(other)),
            )),
        }
    }

    /// A statistic of the child: of its factor if latent, of its values if observed.
    fn statistic(
        &mut self,
        child: VariableId,
        scope: &Scope,
        statistic: usize,
        observed: Transform,
    ) -> Result<Operand, CaviError> {
        let span = self.graph.variable(child).span.clone();
        let atom = self.variable_atom(child, &scope.value, &span)?;
        match atom.kind {
            AtomKind::Data(node) => self.data_operand(node, &atom.index, observed),
            AtomKind::Variable(v) => self.variable_operand(v, &atom.index, statistic, &span),
            AtomKind::Factor(factor) => {
                Ok(Operand { source: Source::Statistic { factor, statistic }, index: atom.index })
            }
        }
    }

    /// A parameter that must be data or constant, at the child's indices.
    fn fixed(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        scope: &Scope,
        transform: Transform,
    ) -> Result<Operand, CaviError> {
        if !self.graph.is_data(node) {
            let parents: Vec<String> =
                self.graph.variables_of(node).iter().map(|p| format!("`{}`", self.graph.variable(*p).name)).collect();
            return Err(self.not_conjugate(
                child,
                key,
                format!(
                    "{} as the {key} of `{}` is not a conjugate pair: cavi needs a number or data here",
                    parents.join(", "),
                    self.graph.variable(child).name
                ),
            ));
        }
        let index = self.parameter_index(child, scope, node)?;
        self.data_operand(node, &index, transform)
    }

    /// A single variable or data array.
    fn single(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Atom, CaviError> {
        let sum = self.expand(node, index, scope)?;
        match sum.as_slice() {
            [m] if m.atoms.len() == 1 && m.contracted.is_empty() && m.coefficient == 1.0 => Ok(m.atoms[0].clone()),
            [m] if m.atoms.is_empty() => {
                let number = self.number(m.coefficient, &self.graph.node(node).span.clone());
                Ok(Atom { kind: AtomKind::Data(number), index: vec![] })
            }
            _ => Err(self.not_conjugate(
                child,
                key,
                format!(
                    "the {key} of `{}` must be one variable (possibly indexed) or data: arithmetic on it has no conjugate update",
                    self.graph.variable(child).name
                ),
            )),
        }
    }

    fn minus_one(&mut self, node: NodeId) -> NodeId {
        let one = self.number(1.0, &self.graph.node(node).span.clone());
        self.binary(BinaryOperator::Subtract, node, one)
    }

    /// (a − 1) log x − βx + a log β − log Γ(a)
    fn gamma_density(
        &mut self,
        v: VariableId,
        shape: Option<NodeId>,
        key: &str,
        rate: NodeId,
        power: Power,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let rate = self.positive(v, key, rate, power, &mut scope)?;
        let x = self.statistic(v, &scope, 0, Transform::Identity)?;
        if let Some(shape) = shape {
            let log_x = self.statistic(v, &scope, 1, Transform::Log)?;
            self.fixed(v, "shape", shape, &scope, Transform::Identity)?;
            let less = self.minus_one(shape);
            let excess = self.fixed(v, "shape", less, &scope, Transform::Identity)?;
            let log_gamma = self.fixed(v, "shape", less, &scope, Transform::LogFactorial)?;
            self.add_term(&scope, 1.0, vec![excess, log_x], &[]);
            self.add_term(&scope, -1.0, vec![log_gamma], &[]);
        }
        let a = match shape {
            Some(shape) => vec![self.fixed(v, "shape", shape, &scope, Transform::Identity)?],
            None => vec![],
        };
        self.positive_logs(&scope, &rate, &a, 1.0);
        let mut product = rate.expectation.clone();
        product.push(x);
        self.add_term(&scope, -rate.coefficient, product, &[]);
        Ok(())
    }

    /// Adds coefficient · weight · log p for a positive parameter.
    fn positive_logs(&mut self, scope: &Scope, positive: &Positive, weight: &[Operand], coefficient: f64) {
        self.add_term(scope, coefficient * positive.coefficient.ln(), weight.to_vec(), &[]);
        for (exponent, log) in &positive.logarithm {
            let mut operands = weight.to_vec();
            operands.push(log.clone());
            self.add_term(scope, coefficient * exponent, operands, &[]);
        }
    }

    /// a log b − log Γ(a) − (a + 1) log x − b/x
    fn inverse_gamma_density(&mut self, v: VariableId, shape: NodeId, scale: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let scale = self.positive(v, "scale", scale, Power::One, &mut scope)?;
        let reciprocal = self.statistic(v, &scope, 0, Transform::Reciprocal)?;
        let log_x = self.statistic(v, &scope, 1, Transform::Log)?;
        let a = self.fixed(v, "shape", shape, &scope, Transform::Identity)?;
        let less = self.minus_one(shape);
        let log_gamma = self.fixed(v, "shape", less, &scope, Transform::LogFactorial)?;
        self.add_term(&scope, -1.0, vec![a.clone(), log_x.clone()], &[]);
        self.add_term(&scope, -1.0, vec![log_x], &[]);
        self.add_term(&scope, -1.0, vec![log_gamma], &[]);
        self.positive_logs(&scope, &scale, &[a], 1.0);
        let mut product = scale.expectation.clone();
        product.push(reciprocal);
        self.add_term(&scope, -scale.coefficient, product, &[]);
        Ok(())
    }

    /// (ν − d − 1)/2 log|Λ| − ½ tr(VΛ) + ν/2 log|V| − νd/2 log 2 − log Γ_d(ν/2), V = W⁻¹ (PRML B.78)
    fn wishart_terms(
        &mut self,
        v: VariableId,
        scope: &mut Scope,
        degrees: NodeId,
        scale: WishartScale,
        first: AxisIndex,
        second: AxisIndex,
    ) -> Result<(), CaviError> {
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "distribution", "a wishart variable needs a dimension".into()));
        };
        let d = self.graph.axis(dimension).size;
        let span = self.graph.variable(v).span.clone();
        let (key, node, invert) = match scale {
            WishartScale::Scale(node) => ("scale", node, true),
            WishartScale::InverseScale(node) => ("inverse_scale", node, false),
        };
        let node =
            if self.graph.node(node).axes.contains(&dimension) { node } else { self.scaled_identity(node, dimension)? };
        let mut axes = scope.axes.clone();
        axes.extend([dimension, dimension]);
        let mut indices = scope.value.clone();
        indices.extend([first.clone(), second.clone()]);
        let index = Self::inherit(&axes, &indices, &self.graph.node(node).axes)
            .ok_or_else(|| self.not_conjugate(v, key, format!("the {key} has axes that the variable lacks")))?;
        let atom = self.single(v, key, node, &index, scope)?;
        let (matrix, log_determinant) = self.matrix_operands(v, key, &atom, invert)?;
        let NodeKind::Number(nu) = self.graph.node(degrees).kind else {
            return Err(self.not_conjugate(
                v,
                "degrees_of_freedom",
                "the degrees of freedom must be a number in cavi".into(),
            ));
        };
        if nu <= d as f64 - 1.0 {
            return Err(self.not_conjugate(
                v,
                "degrees_of_freedom",
                format!(
                    "the degrees of freedom {nu} of `{}` must exceed its dimension {d} less one",
                    self.graph.variable(v).name
                ),
            ));
        }
        let plates = scope.value.clone();
        let mut whole = plates.clone();
        whole.extend([first, second]);
        let lambda = self.variable_operand(v, &whole, 0, &span)?;
        let log_lambda = self.variable_operand(v, &plates, 1, &span)?;
        self.add_term(scope, -0.5, vec![matrix, lambda], &[]);
        self.add_term(scope, 0.5 * (nu - d as f64 - 1.0), vec![log_lambda], &[]);
        self.add_term(scope, 0.5 * nu, vec![log_determinant], &[]);
        let constant = -0.5 * nu * d as f64 * std::f64::consts::LN_2 - multivariate_ln_gamma(0.5 * nu, d);
        self.add_term(scope, constant, vec![], &[]);
        Ok(())
    }

    /// A number where a matrix is needed: that multiple of the identity.
    pub(super) fn scaled_identity(&mut self, node: NodeId, dimension: AxisId) -> Result<NodeId, CaviError> {
        let d = self.graph.axis(dimension).size;
        let mut identity = vec![0.0; d * d];
        (0..d).for_each(|i| identity[i * d + i] = 1.0);
        let tensor = Tensor { axes: vec![dimension; 2], shape: vec![d, d], values: identity };
        let span = self.graph.node(node).span.clone();
        if let NodeKind::Number(value) = self.graph.node(node).kind {
            let values = tensor.values.iter().map(|x| x * value).collect();
            let tensor = Tensor { values, ..tensor };
            self.graph.nodes.push(Node { kind: NodeKind::Constant(Arc::new(tensor)), axes: vec![dimension; 2], span });
            return Ok(NodeId(self.graph.nodes.len() - 1));
        }
        self.graph.nodes.push(Node { kind: NodeKind::Constant(Arc::new(tensor)), axes: vec![dimension; 2], span });
        let identity = NodeId(self.graph.nodes.len() - 1);
        let product = self.binary(BinaryOperator::Multiply, node, identity);
        let mut axes = self.graph.node(node).axes.clone();
        axes.extend([dimension, dimension]);
        self.graph.nodes[product.0].axes = axes;
        Ok(product)
    }

    /// τ ~ Gamma(a, b), μ | τ ~ N(m, 1/(κτ)).
    fn normal_gamma_density(
        &mut self,
        v: VariableId,
        mean: NodeId,
        kappa: NodeId,
        shape: NodeId,
        rate: NodeId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let value = scope.value.clone();
        let s = |l: &Self, i| l.variable_operand(v, &value, i, &span);
        let (tau, log_tau, location, square) = (s(self, 0)?, s(self, 1)?, s(self, 2)?, s(self, 3)?);
        let kappa = self.positive(v, "mean_precision", kappa, Power::One, &mut scope)?;
        let rate = self.positive(v, "rate", rate, Power::One, &mut scope)?;
        let a = self.fixed(v, "shape", shape, &scope, Transform::Identity)?;
        let less = self.minus_one(shape);
        let excess = self.fixed(v, "shape", less, &scope, Transform::Identity)?;
        let log_gamma = self.fixed(v, "shape", less, &scope, Transform::LogFactorial)?;
        let m = self.mean_monomials(v, "mean", mean, &mut scope)?;
        // log Gamma(τ | a, b)
        self.add_term(&scope, 1.0, vec![excess, log_tau.clone()], &[]);
        self.add_term(&scope, -1.0, vec![log_gamma], &[]);
        self.positive_logs(&scope, &rate, &[a], 1.0);
        let mut product = rate.expectation.clone();
        product.push(tau.clone());
        self.add_term(&scope, -rate.coefficient, product, &[]);
        // log N(μ | m, 1/(κτ))
        self.positive_logs(&scope, &kappa, &[], 0.5);
        self.add_term(&scope, 0.5, vec![log_tau], &[]);
        self.add_term(&scope, -0.5 * LOG_TWO_PI, vec![], &[]);
        let mut product = kappa.expectation.clone();
        product.push(square);
        self.add_term(&scope, -0.5 * kappa.coefficient, product, &[]);
        let mut weight = kappa.expectation.clone();
        weight.push(location);
        self.linear(&scope, &m, &weight, kappa.coefficient)?;
        let mut expectation = kappa.expectation.clone();
        expectation.push(tau);
        let weight = Weight::Positive(Positive { coefficient: kappa.coefficient, expectation, ..Positive::default() });
        self.quadratic(&scope, &m, &weight, -0.5)
    }

    /// Λ ~ W(W, ν), μ | Λ ~ N(m, (κΛ)⁻¹).
    fn normal_wishart_density(
        &mut self,
        v: VariableId,
        mean: NodeId,
        kappa: NodeId,
        degrees: NodeId,
        scale: WishartScale,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let Some(first) = scope.value.last().cloned() else {
            return Err(self.not_conjugate(v, "distribution", "a normal-wishart variable needs a dimension".into()));
        };
        let d = self.graph.variable(v).dimension.map_or(1, |a| self.graph.axis(a).size);
        let second_label = self.program.new_label("dimension", d);
        let second = AxisIndex::label(second_label);
        let kappa = self.positive(v, "mean_precision", kappa, Power::One, &mut scope)?;
        let m = self.mean_monomials(v, "mean", mean, &mut scope)?;
        let mut plates = scope.clone();
        plates.value.pop();
        plates.axes.pop();
        self.wishart_terms(v, &mut plates, degrees, scale, first.clone(), second.clone())?;
        let with = |extra: &[AxisIndex]| plates.value.iter().chain(extra).cloned().collect::<Vec<_>>();
        let matrix = self.variable_operand(v, &with(&[first.clone(), second]), 0, &span)?;
        let log_determinant = self.variable_operand(v, &plates.value, 1, &span)?;
        let location = self.variable_operand(v, &with(&[first]), 2, &span)?;
        let square = self.variable_operand(v, &plates.value, 3, &span)?;
        self.positive_logs(&plates, &kappa, &[], 0.5 * d as f64);
        self.add_term(&plates, 0.5, vec![log_determinant.clone()], &[]);
        self.add_term(&plates, -0.5 * LOG_TWO_PI * d as f64, vec![], &[]);
        let mut product = kappa.expectation.clone();
        product.push(square);
        self.add_term(&plates, -0.5 * kappa.coefficient, product, &[]);
        let mut weight = kappa.expectation.clone();
        weight.push(location);
        self.linear(&scope, &m, &weight, kappa.coefficient)?;
        // −½ κ mᵀΛm: κ joins the matrix as further operands through the mask, which multiplies every product.
        let mut weighted = scope.clone();
        weighted.mask.extend(kappa.expectation.iter().cloned());
        let weight = Weight::Matrix { matrix, log_determinant, second: second_label };
        self.quadratic(&weighted, &m, &weight, -0.5 * kappa.coefficient)
    }

    /// (α − 1) log x + (β − 1) log(1 − x) − log B(α, β)
    fn beta_density(&mut self, v: VariableId, alpha: NodeId, beta: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let log_x = self.statistic(v, &scope, 0, Transform::Log)?;
        let log_rest = self.statistic(v, &scope, 1, Transform::LogComplement)?;
        for (key, node, log) in [("alpha", alpha, log_x), ("beta", beta, log_rest)] {
            self.fixed(v, key, node, &scope, Transform::Identity)?;
            let less = self.minus_one(node);
            let excess = self.fixed(v, key, less, &scope, Transform::Identity)?;
            let log_gamma = self.fixed(v, key, less, &scope, Transform::LogFactorial)?;
            self.add_term(&scope, 1.0, vec![excess, log], &[]);
            self.add_term(&scope, -1.0, vec![log_gamma], &[]);
        }
        let total = self.binary(BinaryOperator::Add, alpha, beta);
        let less = self.minus_one(total);
        let log_gamma = self.fixed(v, "alpha", less, &scope, Transform::LogFactorial)?;
        self.add_term(&scope, 1.0, vec![log_gamma], &[]);
        Ok(())
    }

    /// Σ_k (α_k − 1) log x_k − log B(α)
    fn dirichlet_density(&mut self, v: VariableId, concentration: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "distribution", "a dirichlet variable needs a dimension".into()));
        };
        let log_x = self.statistic(v, &scope, 0, Transform::Log)?;
        self.fixed(v, "concentration", concentration, &scope, Transform::Identity)?;
        let less = self.minus_one(concentration);
        let excess = self.fixed(v, "concentration", less, &scope, Transform::Identity)?;
        let log_gamma = self.fixed(v, "concentration", less, &scope, Transform::LogFactorial)?;
        self.add_term(&scope, 1.0, vec![excess, log_x], &[]);
        self.add_term(&scope, -1.0, vec![log_gamma], &[]);
        let total = self.sum_over(concentration, dimension);
        let less = self.minus_one(total);
        let mut plates = scope.clone();
        plates.value.pop();
        plates.axes.pop();
        plates.mask.clear();
        let log_gamma = self.fixed(v, "concentration", less, &plates, Transform::LogFactorial)?;
        self.add_term(&plates, 1.0, vec![log_gamma], &[]);
        Ok(())
    }

    /// A new expression node: the sum over an axis (a value without the axis counts once per element).
    fn sum_over(&mut self, node: NodeId, axis: AxisId) -> NodeId {
        let size = self.graph.axis(axis).size;
        let span = self.graph.node(node).span.clone();
        if !self.graph.node(node).axes.contains(&axis) {
            let count = self.number(size as f64, &span);
            return self.binary(BinaryOperator::Multiply, count, node);
        }
        let ones = Tensor { axes: vec![axis], shape: vec![size], values: vec![1.0; size] };
        self.graph.nodes.push(Node { kind: NodeKind::Constant(Arc::new(ones)), axes: vec![axis], span: span.clone() });
        let ones = NodeId(self.graph.nodes.len() - 1);
        let axes = self.graph.node(node).axes.iter().copied().filter(|a| *a != axis).collect();
        self.graph.nodes.push(Node {
            kind: NodeKind::Dot { left: node, right: ones, left_axis: axis, right_axis: axis },
            axes,
            span,
        });
        NodeId(self.graph.nodes.len() - 1)
    }

    /// Sticks v_k ~ Beta(1, α), k < K: log α + (α − 1) log(1 − v_k) (Blei & Jordan 2006).
    fn stick_density(&mut self, v: VariableId, concentration: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let size = self.graph.variable(v).dimension.map_or(1, |d| self.graph.axis(d).size);
        if size < 2 || self.graph.variable(v).observed.is_some() {
            return Err(self.not_conjugate(
                v,
                "dimension",
                "a stick-breaking variable must be latent and have two sticks or more".into(),
            ));
        }
        scope.value.pop();
        scope.axes.pop();
        let alpha = self.positive(v, "concentration", concentration, Power::One, &mut scope)?;
        let stick = self.program.new_label("stick", size - 1);
        scope.value.push(AxisIndex::label(stick));
        let log_rest = self.variable_operand(v, &scope.value, 2, &span)?;
        self.positive_logs(&scope, &alpha, &[], 1.0);
        let mut product = alpha.expectation.clone();
        product.push(log_rest.clone());
        self.add_term(&scope, alpha.coefficient, product, &[]);
        self.add_term(&scope, -1.0, vec![log_rest], &[]);
        Ok(())
    }

    /// x log λ − λ − log x!
    fn poisson_density(&mut self, v: VariableId, rate: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let rate = self.positive(v, "rate", rate, Power::One, &mut scope)?;
        let x = self.statistic(v, &scope, 0, Transform::Identity)?;
        self.positive_logs(&scope, &rate, &[x], 1.0);
        self.add_term(&scope, -rate.coefficient, rate.expectation.clone(), &[]);
        if !self.is_latent(v) {
            let factorial = self.statistic(v, &scope, 0, Transform::LogFactorial)?;
            self.add_term(&scope, -1.0, vec![factorial], &[]);
        }
        Ok(())
    }

    /// log p and log(1 − p) of a success probability.
    fn log_odds_operands(
        &mut self,
        v: VariableId,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<(Operand, Operand), CaviError> {
        let index = self.parameter_index(v, scope, node)?;
        let atom = self.single(v, "probability", node, &index, scope)?;
        let span = self.graph.variable(v).span.clone();
        match atom.kind {
            AtomKind::Data(data) => Ok((
                self.data_operand(data, &atom.index, Transform::Log)?,
                self.data_operand(data, &atom.index, Transform::LogComplement)?,
            )),
            AtomKind::Variable(p) if self.program.factors[self.factor(p)].family == Family::Beta => {
                Ok((self.variable_operand(p, &atom.index, 0, &span)?, self.variable_operand(p, &atom.index, 1, &span)?))
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
            AtomKind::Factor(_) => {
                Err(self.not_conjugate(v, "probability", "the probability must be a beta variable".into()))
            }
        }
    }

    /// Bernoulli (no trials) and binomial, by probability, logit bound or probit augmentation.
    fn binary_density(
        &mut self,
        v: VariableId,
        trials: Option<NodeId>,
        probability: Probability,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let n = match trials {
            Some(node) => vec![self.fixed(v, "trials", node, &scope, Transform::Identity)?],
            None => vec![],
        };
        match probability {
            Probability::Probability(node) => {
                let (log_p, log_q) = self.log_odds_operands(v, node, &mut scope)?;
                let x = self.statistic(v, &scope, 0, Transform::Identity)?;
                self.add_term(&scope, 1.0, vec![x.clone(), log_p], &[]);
                self.add_term(&scope, -1.0, vec![x, log_q.clone()], &[]);
                let mut all = n.clone();
                all.push(log_q);
                self.add_term(&scope, 1.0, all, &[]);
            }
            Probability::Logit(node) => {
                self.bounded = true;
                let f = self.mean_monomials(v, "logit", node, &mut scope)?;
                let xi = self.auxiliary(v, "xi", Family::JaakkolaJordan, &scope);
                let lambda = self.auxiliary_operand(xi, 0, &scope);
                let constant = self.auxiliary_operand(xi, 1, &scope);
                let x = self.statistic(v, &scope, 0, Transform::Identity)?;
                // n log σ(f) with x successes: (x − n/2) f + n c(ξ) − n λ(ξ) f².
                self.linear(&scope, &f, &[x], 1.0)?;
                self.linear(&scope, &f, &n, -0.5)?;
                let mut all = n.clone();
                all.push(constant);
                self.add_term(&scope, 1.0, all, &[]);
                let mut expectation = n.clone();
                expectation.push(lambda);
                let weight = Weight::Positive(Positive { coefficient: 1.0, expectation, ..Positive::default() });
                self.quadratic(&scope, &f, &weight, -1.0)?;
            }
            Probability::Probit(node) => {
                let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
                    return Err(self.not_conjugate(
                        v,
                        "probit",
                        format!("`{}` must be observed for the probit link", self.graph.variable(v).name),
                    ));
                };
                if trials.is_some() {
                    return Err(self.not_conjugate(v, "probit", "a binomial takes a probability or a logit".into()));
                }
                let mut f = self.mean_monomials(v, "probit", node, &mut scope)?;
                f.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
                let latent = self.auxiliary(v, "latent", Family::TruncatedNormal, &scope);
                let index = self.auxiliary_operand(latent, 0, &scope).index;
                f.insert(
                    0,
                    super::expression::Monomial {
                        coefficient: 1.0,
                        atoms: vec![Atom { kind: AtomKind::Factor(latent), index: index.clone() }],
                        contracted: vec![],
                    },
                );
                self.truncated_quadratic(&scope, &f)?;
                self.add_term(&scope, -0.5 * LOG_TWO_PI, vec![], &[]);
                let span = self.graph.node(observed).span.clone();
                let two = self.number(2.0, &span);
                let twice = self.binary(BinaryOperator::Multiply, two, observed);
                let side = self.minus_one(twice);
                let side = self.fixed(v, "observed", side, &scope, Transform::Identity)?;
                let constraint = self.auxiliary_operand(latent, 2, &scope);
                self.add_term(&scope, 1.0, vec![side, constraint], &[]);
            }
        }
        if let Some(trials) = trials {
            let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
                return Err(self.not_conjugate(
                    v,
                    "distribution",
                    format!("`{}` must be observed", self.graph.variable(v).name),
                ));
            };
            let rest = self.binary(BinaryOperator::Subtract, trials, observed);
            for (node, sign) in [(trials, 1.0), (observed, -1.0), (rest, -1.0)] {
                let operand = self.fixed(v, "trials", node, &scope, Transform::LogFactorial)?;
                self.add_term(&scope, sign, vec![operand], &[]);
            }
        }
        Ok(())
    }

    /// −½ E[(a − f)²] where the first product is the latent normal a, whose square is its own statistic.
    fn truncated_quadratic(&mut self, scope: &Scope, sum: &[super::expression::Monomial]) -> Result<(), CaviError> {
        let Some((latent, rest)) = sum.split_first() else { return Ok(()) };
        let unit = Weight::Positive(Positive { coefficient: 1.0, ..Positive::default() });
        self.quadratic(scope, rest, &unit, -0.5)?;
        let first = self.first_moment(&latent.atoms[0])?;
        self.linear(scope, rest, &[first.clone()], -1.0)?;
        let Source::Statistic { factor, .. } = first.source else { return Ok(()) };
        let square = Operand { source: Source::Statistic { factor, statistic: 1 }, index: first.index };
        self.add_term(scope, -0.5, vec![square], &[]);
        Ok(())
    }

    /// log π at an index of its range: of a Dirichlet or stick-breaking variable, or of constants.
    pub(super) fn log_probability(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Operand, CaviError> {
        let atom = self.single(v, key, node, index, scope)?;
        let span = self.graph.variable(v).span.clone();
        match atom.kind {
            AtomKind::Data(data) => self.data_operand(data, &atom.index, Transform::Log),
            AtomKind::Variable(p)
                if matches!(
                    self.program.factors[self.factor(p)].family,
                    Family::Dirichlet(_) | Family::StickBreaking(_)
                ) =>
            {
                self.variable_operand(p, &atom.index, 0, &span)
            }
            AtomKind::Variable(p) => Err(self.not_conjugate(
                v,
                key,
                format!(
                    "`{}` as the {key} of `{}` is not a conjugate pair: a dirichlet or stick-breaking variable is",
                    self.graph.variable(p).name,
                    self.graph.variable(v).name
                ),
            )),
            AtomKind::Factor(_) => Err(self.not_conjugate(v, key, format!("the {key} must be a dirichlet variable"))),
        }
    }

    /// Σ_k [x = k] log π_k
    fn categorical_density(&mut self, v: VariableId, probabilities: NodeId, range: AxisId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let info = self.graph.axis(range).clone();
        let observation = self.graph.variable(v).observed;
        let (category, indicator) = match observation {
            Some(Observation::Levels { column, axis }) if !self.is_latent(v) => {
                (AxisIndex::codes(self.codes(column, axis)), None)
            }
            Some(Observation::LevelsBlock { block, axis }) => {
                let label = self.program.new_label(&info.name, info.size);
                let width = self.graph.data.block(block).columns.len();
                let id =
                    self.row_data(DataOperand { data: RowData::OneHot { block, axis }, shape: vec![width, info.size] });
                let row = AxisIndex::label(ROWS);
                let mut index = vec![row.clone()];
                index.extend(scope.value.iter().filter(|a| **a != row).cloned());
                index.push(AxisIndex::label(label));
                (AxisIndex::label(label), Some(Operand { source: Source::Data(id), index }))
            }
            _ => {
                let label = self.program.new_label(&info.name, info.size);
                let mut index = scope.value.clone();
                index.push(AxisIndex::label(label));
                (AxisIndex::label(label), Some(self.variable_operand(v, &index, 0, &span)?))
            }
        };
        let mut axes = vec![range];
        axes.extend(&scope.axes);
        let mut indices = vec![category.clone()];
        indices.extend(scope.value.iter().cloned());
        let index = Self::inherit(&axes, &indices, &self.graph.node(probabilities).axes).ok_or_else(|| {
            self.not_conjugate(v, "probabilities", "the probabilities have an axis that the variable lacks".into())
        })?;
        let log = self.log_probability(v, "probabilities", probabilities, &index, &mut scope)?;
        let mut operands = vec![log];
        operands.extend(indicator.clone());
        self.add_term(&scope, 1.0, operands, &[]);
        if let (Some(indicator), Some(Observation::Levels { column, axis })) = (indicator, observation) {
            self.evidence(&scope, column, axis, indicator);
        }
        Ok(())
    }

    /// Observed rows of a latent categorical: every other category is impossible there.
    pub(super) fn evidence(
        &mut self,
        scope: &Scope,
        column: vi_model::data::ColumnId,
        axis: AxisId,
        indicator: Operand,
    ) {
        let codes = self.codes(column, axis);
        let size = self.graph.axis(axis).size;
        let id =
            self.row_data(DataOperand { data: RowData::CodeIs { codes, size, different: true }, shape: vec![size] });
        let category = indicator.index[indicator.index.len() - 1].clone();
        let elsewhere = Operand { source: Source::Data(id), index: vec![AxisIndex::label(ROWS), category] };
        self.add_term(scope, IMPOSSIBLE, vec![elsewhere, indicator], &[]);
    }

    /// Σ_k x_k log π_k + log n! − Σ_k log x_k!
    fn multinomial_density(&mut self, v: VariableId, probabilities: NodeId, range: AxisId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
            return Err(self.not_conjugate(
                v,
                "distribution",
                format!("`{}` must be observed", self.graph.variable(v).name),
            ));
        };
        if self.has_missing(observed)? {
            return Err(self.not_conjugate(
                v,
                "observed",
                format!(
                    "`{}` has missing cells: the total of a multinomial with a missing count is unknown",
                    self.graph.variable(v).name
                ),
            ));
        }
        let plates = scope.clone();
        if !scope.axes.contains(&range) {
            let category = self.axis_index(range);
            scope.axes.push(range);
            scope.value.push(category);
        }
        let counts = self.fixed(v, "observed", observed, &scope, Transform::Identity)?;
        let factorials = self.fixed(v, "observed", observed, &scope, Transform::LogFactorial)?;
        let index = self.parameter_index(v, &scope, probabilities)?;
        let log = self.log_probability(v, "probabilities", probabilities, &index, &mut scope)?;
        self.add_term(&scope, 1.0, vec![counts, log], &[]);
        self.add_term(&scope, -1.0, vec![factorials], &[]);
        let total = self.sum_over(observed, range);
        let mut single = plates;
        if let Some(at) = single.axes.iter().position(|a| *a == range) {
            single.axes.remove(at);
            single.value.remove(at);
        }
        let factorial = self.fixed(v, "observed", total, &single, Transform::LogFactorial)?;
        self.add_term(&single, 1.0, vec![factorial], &[]);
        Ok(())
    }
}

/// Log probability of an impossible category: its exponential is exactly zero.
const IMPOSSIBLE: f64 = -1e6;
