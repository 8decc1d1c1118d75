//! From a distribution to its density, and the reading of single parameters that all densities share.

use std::ops::Range;
use std::sync::Arc;

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, BinaryOperator, Distribution, Node, NodeId, NodeKind, RateOrScale, Tensor, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::positive::{Positive, Power};
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, Operand, Source, Transform};

impl Lowering {
    /// Adds the products of a variable's expected log density.
    pub(super) fn density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let variable = self.graph.variable(v).clone();
        if variable.distribution == Distribution::Flat && self.is_latent(v) {
            // A point without a prior.
            return Ok(());
        }
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
            return Err(self.not_conjugate(
                v,
                "amortized",
                format!("the factor of `{}` is a network's output: networks are trained by gradients", variable.name),
            ));
        }
        if self.is_plain_density(v) {
            return self.plain_density(v);
        }
        self.partial_density(v)?;
        match variable.distribution {
            Distribution::Normal { mean, spread, form } => self.normal_density(v, mean, spread, form),
            Distribution::NormalJoint { parameters } => self.normal_joint_density(v, parameters),
            Distribution::StudentT { .. } => self.student_density(v),
            Distribution::Laplace { location, scale } => self.laplace_density(v, location, scale),
            Distribution::NormalGamma { mean, mean_precision, form, shape, rate } => {
                self.normal_gamma_density(v, mean, (mean_precision, form), shape, rate)
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
                format!("`{}` is {}, which has no conjugate update", variable.name, other.name()),
            )),
        }
    }

    /// A statistic of the child: of its factor if latent, of its values if observed.
    pub(super) fn statistic(
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
            AtomKind::Absent(node) => self.data_operand(node, &atom.index, Transform::Absent),
            AtomKind::Previous(_) => {
                Err(self.not_conjugate(child, "distribution", "a chain is no value of its own".into()))
            }
            AtomKind::Factor(factor) => {
                Ok(Operand { source: Source::Statistic { factor, statistic }, index: atom.index })
            }
        }
    }

    /// A parameter that must be known, up to the categories of its gates, at the child's indices.
    pub(super) fn fixed(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        scope: &mut Scope,
        transform: Transform,
    ) -> Result<Operand, CaviError> {
        if !self.is_known(node) {
            return Err(self.unknown_parameter(child, key, node));
        }
        let index = self.parameter_index(child, scope, node)?;
        match self.known(node, &index, scope)? {
            Atom { kind: AtomKind::Data(known), index } => self.data_operand(known, &index, transform),
            _ => Err(self.not_conjugate(child, key, format!("the {key} must be a number or data"))),
        }
    }

    /// Refuses a parameter that would have to be known; counts are summed out by the other engine.
    fn unknown_parameter(&self, child: VariableId, key: &str, node: NodeId) -> CaviError {
        let parents = self.graph.variables_of(node);
        let named = |v: &VariableId| format!("`{}`", self.graph.variable(*v).name);
        let names: Vec<String> = parents.iter().map(named).collect();
        let child_name = &self.graph.variable(child).name;
        let message = format!("{} as the {key} of `{child_name}` is not a conjugate pair", names.join(", "));
        let counts: Vec<String> = parents.iter().filter(|v| self.is_latent_count(**v)).map(named).collect();
        if counts.is_empty() {
            return self.not_conjugate(child, key, format!("{message}: cavi needs a number or data here"));
        }
        let variable = self.graph.variable(child);
        let span = variable.key_spans.get(key).cloned().unwrap_or_else(|| variable.span.clone());
        let message = format!("{message}: a latent count under another distribution has no conjugate update");
        self.refusal(Diagnostic::new("not-conjugate", message).at(span, format!("the {key} of `{child_name}`")).help(
            format!("run this model with sgvi, which sums a count out: `marginalized = true` in {}", counts.join(", ")),
        ))
    }

    /// Whether a variable is a count that was not observed.
    pub(super) fn is_latent_count(&self, v: VariableId) -> bool {
        let counted = matches!(
            self.graph.variable(v).distribution,
            Distribution::Poisson { .. } | Distribution::Binomial { .. } | Distribution::NegativeBinomial { .. }
        );
        counted && self.is_latent(v)
    }

    /// A parameter of a density that must be known and positive: a shape, a concentration.
    pub(super) fn fixed_positive(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<Operand, CaviError> {
        let operand = self.fixed(child, key, node, scope, Transform::Identity)?;
        if !self.graph.is_data(node) {
            let index = self.parameter_index(child, scope, node)?;
            if let AtomKind::Data(known) = self.known(node, &index, scope)?.kind {
                self.check_known(child, key, known, "greater than 0", |x| x > 0.0)?;
            }
        }
        Ok(operand)
    }

    /// A sum of products in which sums of known numbers are one array.
    pub(super) fn expand_whole(
        &mut self,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let before = std::mem::replace(&mut self.known_whole, true);
        let sum = self.expand(node, index, scope);
        self.known_whole = before;
        sum
    }

    /// A single variable or data array.
    pub(super) fn single(
        &mut self,
        child: VariableId,
        key: &str,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Atom, CaviError> {
        let sum = self.expand_whole(node, index, scope)?;
        match sum.as_slice() {
            [m] if m.atoms.len() == 1 && m.contracted.is_empty() && m.coefficient == 1.0 => Ok(m.atoms[0].clone()),
            [m] if m.atoms.is_empty() => {
                let number = self.number(m.coefficient, &self.graph.node(node).span.clone());
                Ok(Atom { kind: AtomKind::Data(number), index: vec![] })
            }
            _ if self.is_known(node) => self.known(node, index, scope),
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

    pub(super) fn minus_one(&mut self, node: NodeId) -> NodeId {
        let one = self.number(1.0, &self.graph.node(node).span.clone());
        self.binary(BinaryOperator::Subtract, node, one)
    }

    /// Adds coefficient · weight · log p for a positive parameter.
    pub(super) fn positive_logs(&mut self, scope: &Scope, positive: &Positive, weight: &[Operand], coefficient: f64) {
        self.add_term(scope, coefficient * positive.coefficient.ln(), weight.to_vec(), &[]);
        for (exponent, log) in &positive.logarithm {
            let mut operands = weight.to_vec();
            operands.push(log.clone());
            self.add_term(scope, coefficient * exponent, operands, &[]);
        }
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

    /// A constant summed over the last occurrence of an axis (in a square array there are two).
    fn summed_constant(&mut self, node: NodeId, axis: AxisId, span: Range<usize>) -> Result<NodeId, CaviError> {
        let tensor = self.graph.evaluate_data(node, 0..self.graph.data.num_rows().max(1))?;
        let at = tensor.axes.iter().rposition(|a| *a == axis).unwrap_or(0);
        let (length, inner) = (tensor.shape[at], tensor.shape[at + 1..].iter().product::<usize>());
        let mut values = vec![0.0; tensor.values.len() / length.max(1)];
        for (i, value) in tensor.values.iter().enumerate() {
            values[i / (length * inner) * inner + i % inner] += value;
        }
        let (mut axes, mut shape) = (tensor.axes, tensor.shape);
        axes.remove(at);
        shape.remove(at);
        let tensor = Tensor { axes: axes.clone(), shape, values };
        self.graph.nodes.push(Node { kind: NodeKind::Constant(Arc::new(tensor)), axes, span });
        Ok(NodeId(self.graph.nodes.len() - 1))
    }

    /// A new expression node: the sum over an axis (a value without the axis counts once per element).
    pub(super) fn sum_over(&mut self, node: NodeId, axis: AxisId) -> Result<NodeId, CaviError> {
        let size = self.graph.axis(axis).size;
        let span = self.graph.node(node).span.clone();
        if !self.graph.node(node).axes.contains(&axis) {
            let count = self.number(size as f64, &span);
            return Ok(self.binary(BinaryOperator::Multiply, count, node));
        }
        if self.graph.is_data(node) && self.graph.rows.is_none_or(|rows| !self.graph.node(node).axes.contains(&rows)) {
            return self.summed_constant(node, axis, span);
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
        Ok(NodeId(self.graph.nodes.len() - 1))
    }
}
