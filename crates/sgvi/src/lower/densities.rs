//! The log density of every variable given its parents, from the kernels of the tape; those of vectors are in [`super::vectors`].

use std::f64::consts::LN_2;

use vi_model::graph::{Distribution, NodeId, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, VariableId};

use super::discrete::is_discrete;
use super::{Lowering, View};
use crate::density::Kernel;
use crate::error::SgviError;
use crate::tape::{Label, UnaryFunction, Value};

/// A continuous variable and the value whose density is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) variable: VariableId,
    pub(super) x: &'a Value,
    /// Whether some of its cells may be missing: they have no density.
    pub(super) missing: bool,
    /// Coordinates of a vector, or one.
    pub(super) size: usize,
    /// The axis of the coordinates.
    pub(super) label: Option<Label>,
}

impl Lowering<'_> {
    /// Adds the log density of a variable; discrete latent variables are added when they are summed out.
    pub(super) fn add_density(&mut self, v: VariableId) -> Result<(), SgviError> {
        let graph = self.graph;
        let distribution = graph.variable(v).distribution.clone();
        if is_discrete(&distribution) {
            if self.enumerated.iter().any(|e| e.variable == v) {
                return Ok(());
            }
            let Some(value) = self.variables.get(&(v, View::Plain)).cloned() else { return Ok(()) };
            if let Distribution::MarkovChain { .. } = distribution {
                return self.observed_chain(v, &value);
            }
            if let Distribution::Categorical { probabilities, range, logits } = distribution {
                let (log, label) = self.log_probabilities(probabilities, range, logits)?;
                let chosen = self.b.select(&log, label, &value);
                self.keep(v, chosen);
                return Ok(());
            }
            let density = self.count_density(v, &value)?;
            self.keep(v, density);
            return Ok(());
        }
        let Some(x) = self.variables.get(&(v, View::Plain)).cloned() else { return Ok(()) };
        let density = match self.truncated(v, &distribution, &x)? {
            Some(density) => Some(density),
            None => self.continuous(v, &distribution, &x)?,
        };
        let Some(mut density) = density else { return Ok(()) };
        if let Some(jacobian) = self.jacobians.get(&v).cloned() {
            density = self.b.sum(&density, &jacobian);
        }
        self.keep(v, density);
        Ok(())
    }

    pub(super) fn plain(&mut self, v: VariableId, node: NodeId) -> Result<Value, SgviError> {
        self.parameter(v, node, View::Plain)
    }

    /// Log mass of counts and binary values, elementwise (summed over a multinomial's categories).
    pub(super) fn count_density(&mut self, v: VariableId, x: &Value) -> Result<Value, SgviError> {
        let graph = self.graph;
        Ok(match graph.variable(v).distribution.clone() {
            Distribution::Bernoulli { probability } => {
                let (kernel, node) = match probability {
                    Probability::Probability(n) => (Kernel::BernoulliProbability, n),
                    Probability::Logit(n) => (Kernel::BernoulliLogit, n),
                    Probability::Probit(n) => (Kernel::BernoulliProbit, n),
                };
                let p = self.plain(v, node)?;
                self.b.density(kernel, &[x, &p], true)
            }
            Distribution::Binomial { trials, probability } => {
                let trials = self.plain(v, trials)?;
                let (kernel, node) = match probability {
                    Probability::Logit(n) => (Kernel::BinomialLogit, n),
                    Probability::Probability(n) | Probability::Probit(n) => (Kernel::BinomialProbability, n),
                };
                let p = self.plain(v, node)?;
                let (trials, choose) = self.choose(&trials, x);
                self.b.density(kernel, &[x, &trials, &p, &choose], true)
            }
            Distribution::Poisson { rate, log } => {
                let kernel = if log { Kernel::PoissonLogRate } else { Kernel::PoissonRate };
                let rate = self.plain(v, rate)?;
                let factorial = self.ln_factorial(x);
                self.b.density(kernel, &[x, &rate, &factorial], true)
            }
            Distribution::NegativeBinomial { mean, dispersion } => {
                let (mean, dispersion) = (self.plain(v, mean)?, self.plain(v, dispersion)?);
                let factorial = self.ln_factorial(x);
                self.b.density(Kernel::NegativeBinomial, &[x, &mean, &dispersion, &factorial], true)
            }
            Distribution::Multinomial { probabilities, range } => {
                let (log, label) = self.log_probabilities(probabilities, range, false)?;
                let size = graph.axis(range).size;
                let x = &self.known_counts(x);
                // The counts' own axis: the last one of that axis among the variable's.
                let own = x.shape.axes.last().map_or(label, |a| a.0);
                let log = super::builder::relabel(&log, label, own);
                let total = self.b.sum_over(x, own, size);
                let total = self.ln_factorial(&total);
                let each = self.ln_factorial(x);
                let each = self.b.sum_over(&each, own, size);
                let weighted = self.b.dot(x, &log, (own, size));
                let constant = self.b.difference(&total, &each);
                self.b.sum(&constant, &weighted)
            }
            _ => self.b.constant(0.0),
        })
    }

    /// Counts of a multinomial, zero where they are missing: those of a draw are missing all together, and have no density.
    fn known_counts(&mut self, x: &Value) -> Value {
        match self.b.numbers(x).filter(|n| n.iter().any(|x| x.is_nan())) {
            Some(numbers) => {
                let known = numbers.iter().map(|x| if x.is_nan() { 0.0 } else { *x }).collect();
                self.b.data(x.shape.clone(), known)
            }
            None => x.clone(),
        }
    }

    /// The log density of a continuous variable at `x`; `None` where it is constant (an improper prior).
    pub(super) fn continuous(
        &mut self,
        v: VariableId,
        d: &Distribution,
        x: &Value,
    ) -> Result<Option<Value>, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(v);
        let missing = variable.observed.is_some() && !self.filled.contains_key(&v);
        let size = variable.dimension.map_or(1, |a| graph.axis(a).size);
        let label = variable.dimension.map(|a| {
            let occurrence = variable.plates.iter().filter(|p| **p == a).count();
            self.b.label(a, occurrence)
        });
        let own = Own { variable: v, x, missing, size, label };
        Ok(Some(match d {
            Distribution::Normal { mean, spread, form: SpreadForm::Matrix } => {
                let Some(label) = label else { return Ok(None) };
                self.normal_with_matrix(own, (label, size), *mean, spread)?
            }
            Distribution::Normal { mean, spread, .. } => {
                let (kernel, node) = match spread {
                    Spread::Precision(n) => (Kernel::NormalPrecision, n),
                    Spread::Variance(n) | Spread::Covariance(n) => (Kernel::NormalVariance, n),
                    Spread::StandardDeviation(n) => (Kernel::NormalSd, n),
                };
                let each = self.elementwise(own, kernel, &[*mean, *node])?;
                self.over_coordinates(own, each)
            }
            Distribution::NormalJoint { parameters } => self.normal_of_pair(own, *parameters)?,
            Distribution::NormalGamma { mean, mean_precision, form, shape, rate } => {
                let Some(tau) = self.variables.get(&(v, View::Precision)).cloned() else { return Ok(None) };
                let mean = self.plain(v, *mean)?;
                let (shape, rate) = (self.plain(v, *shape)?, self.plain(v, *rate)?);
                let location = self.location_given_precision(own, &mean, &tau, *mean_precision, *form)?;
                let ln_gamma = self.b.unary(UnaryFunction::LnGamma, &shape);
                let spread = self.b.density(Kernel::Gamma, &[&tau, &shape, &rate, &ln_gamma], false);
                self.b.sum(&location, &spread)
            }
            Distribution::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => {
                let (Some(lambda), Some(log), Some(label)) = (
                    self.variables.get(&(v, View::Precision)).cloned(),
                    self.variables.get(&(v, View::LogDeterminant)).cloned(),
                    label,
                ) else {
                    return Ok(None);
                };
                let location =
                    self.location_given_matrix(own, (label, size), (&lambda, &log), *mean, *mean_precision)?;
                let spread = self.wishart(v, &lambda, &log, *degrees_of_freedom, *scale, size)?;
                self.b.sum(&location, &spread)
            }
            Distribution::Wishart { degrees_of_freedom, scale } => {
                let log = match self.variables.get(&(v, View::LogDeterminant)).cloned() {
                    Some(log) => log,
                    None => self.b.log_determinant(x, size),
                };
                self.wishart(v, x, &log, *degrees_of_freedom, *scale, size)?
            }
            Distribution::Gamma { shape, rate } => {
                let shape = self.plain(v, *shape)?;
                let rate = match rate {
                    RateOrScale::Rate(n) => self.plain(v, *n)?,
                    RateOrScale::Scale(n) => {
                        let scale = self.plain(v, *n)?;
                        self.b.unary(UnaryFunction::Reciprocal, &scale)
                    }
                };
                let ln_gamma = self.b.unary(UnaryFunction::LnGamma, &shape);
                self.b.density(Kernel::Gamma, &[x, &shape, &rate, &ln_gamma], missing)
            }
            Distribution::InverseGamma { shape, scale } => {
                let (shape, scale) = (self.plain(v, *shape)?, self.plain(v, *scale)?);
                let ln_gamma = self.b.unary(UnaryFunction::LnGamma, &shape);
                self.b.density(Kernel::InverseGamma, &[x, &shape, &scale, &ln_gamma], missing)
            }
            Distribution::Beta { alpha, beta } => self.beta(own, *alpha, *beta)?,
            Distribution::Dirichlet { concentration } => {
                let Some(label) = label else { return Ok(None) };
                self.dirichlet(own, label, *concentration)?
            }
            Distribution::StickBreaking { concentration } => {
                let Some(label) = label else { return Ok(None) };
                self.sticks(own, label, *concentration)?
            }
            Distribution::Exponential { rate } => self.elementwise(own, Kernel::Exponential, &[*rate])?,
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                self.student(own, *degrees_of_freedom, *mean, spread)?
            }
            Distribution::HalfNormal { sd } => self.elementwise(own, Kernel::HalfNormal, &[*sd])?,
            Distribution::HalfCauchy { scale } => self.elementwise(own, Kernel::HalfCauchy, &[*scale])?,
            Distribution::HalfStudentT { degrees_of_freedom, scale } => {
                let scale = self.plain(v, *scale)?;
                let (nu, normalizer) = self.student_normalizer(v, *degrees_of_freedom)?;
                let normalizer = self.b.shifted(LN_2, &normalizer);
                let zero = self.b.constant(0.0);
                self.b.density(Kernel::StudentT, &[x, &nu, &zero, &scale, &normalizer], missing)
            }
            Distribution::Cauchy { location, scale } => self.elementwise(own, Kernel::Cauchy, &[*location, *scale])?,
            Distribution::Laplace { location, scale } => {
                self.elementwise(own, Kernel::Laplace, &[*location, *scale])?
            }
            Distribution::LogNormal { mean, sd } => self.elementwise(own, Kernel::LogNormal, &[*mean, *sd])?,
            Distribution::Logistic { location, scale } => {
                self.elementwise(own, Kernel::Logistic, &[*location, *scale])?
            }
            Distribution::Uniform { lower, upper } => self.elementwise(own, Kernel::Uniform, &[*lower, *upper])?,
            Distribution::GaussianMarkovChain { .. } => return self.gaussian_chain(v, d, x).map(|()| None),
            _ => return Ok(None),
        }))
    }

    /// The density of one kernel for each element, from its parameters as they stand.
    fn elementwise(&mut self, own: Own<'_>, kernel: Kernel, nodes: &[NodeId]) -> Result<Value, SgviError> {
        let mut arguments = vec![own.x.clone()];
        for node in nodes {
            arguments.push(self.plain(own.variable, *node)?);
        }
        let references: Vec<&Value> = arguments.iter().collect();
        Ok(self.b.density(kernel, &references, own.missing))
    }

    /// Σ over the coordinates of a vector; a number is its own sum.
    pub(super) fn over_coordinates(&mut self, own: Own<'_>, each: Value) -> Value {
        match own.label {
            Some(label) => self.b.sum_over(&each, label, own.size),
            None => each,
        }
    }

    /// log Beta(x | α, β), with ln B(α, β) = ln Γ(α) + ln Γ(β) − ln Γ(α + β).
    fn beta(&mut self, own: Own<'_>, alpha: NodeId, beta: NodeId) -> Result<Value, SgviError> {
        let (alpha, beta) = (self.plain(own.variable, alpha)?, self.plain(own.variable, beta)?);
        let total = self.b.sum(&alpha, &beta);
        let (a, b, t) = (
            self.b.unary(UnaryFunction::LnGamma, &alpha),
            self.b.unary(UnaryFunction::LnGamma, &beta),
            self.b.unary(UnaryFunction::LnGamma, &total),
        );
        let ab = self.b.sum(&a, &b);
        let ln_beta = self.b.difference(&ab, &t);
        Ok(self.b.density(Kernel::Beta, &[own.x, &alpha, &beta, &ln_beta], own.missing))
    }

    /// Student's t by its scale, which is 1/√τ where a precision τ is given.
    fn student(
        &mut self,
        own: Own<'_>,
        degrees_of_freedom: NodeId,
        mean: NodeId,
        spread: &PrecisionOrSd,
    ) -> Result<Value, SgviError> {
        let scale = match spread {
            PrecisionOrSd::StandardDeviation(n) => self.plain(own.variable, *n)?,
            PrecisionOrSd::Precision(n) => {
                let precision = self.plain(own.variable, *n)?;
                let root = self.b.unary(UnaryFunction::Sqrt, &precision);
                self.b.unary(UnaryFunction::Reciprocal, &root)
            }
        };
        let mean = self.plain(own.variable, mean)?;
        let (nu, normalizer) = self.student_normalizer(own.variable, degrees_of_freedom)?;
        Ok(self.b.density(Kernel::StudentT, &[own.x, &nu, &mean, &scale, &normalizer], own.missing))
    }

    /// ν and ln Γ((ν+1)/2) − ln Γ(ν/2) − ½ ln νπ.
    fn student_normalizer(&mut self, v: VariableId, node: NodeId) -> Result<(Value, Value), SgviError> {
        let nu = self.plain(v, node)?;
        let normalizer = self.b.unary(UnaryFunction::StudentNormalizer, &nu);
        Ok((nu, normalizer))
    }
}
