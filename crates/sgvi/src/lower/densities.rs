//! The log density of every variable given its parents, from the kernels and the operations of the tape.

use std::f64::consts::{LN_2, PI};

use vi_model::graph::{
    Distribution, NodeId, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, VariableId, WishartScale,
};

use super::discrete::is_discrete;
use super::{Lowering, View};
use crate::density::Kernel;
use crate::error::SgviError;
use crate::tape::{Lag, Shape, UnaryFunction, Value};

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

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
        let density = self.continuous(v, &distribution, &x)?;
        let Some(mut density) = density else { return Ok(()) };
        if let Some(mass) = self.truncation(v, &distribution)? {
            let mass = self.where_present(&x, mass);
            density = self.b.difference(&density, &mass);
        }
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
    fn continuous(&mut self, v: VariableId, d: &Distribution, x: &Value) -> Result<Option<Value>, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(v);
        let missing = variable.observed.is_some() && !self.filled.contains_key(&v);
        let size = variable.dimension.map_or(1, |a| graph.axis(a).size);
        let label = variable.dimension.map(|a| {
            let axes = graph.value_axes(v);
            let occurrence = variable.plates.iter().filter(|p| **p == a).count();
            debug_assert!(axes.contains(&a));
            self.b.label(a, occurrence)
        });
        let simple = |l: &mut Self, kernel: Kernel, nodes: &[NodeId]| -> Result<Value, SgviError> {
            let mut arguments = vec![x.clone()];
            for node in nodes {
                arguments.push(l.plain(v, *node)?);
            }
            let references: Vec<&Value> = arguments.iter().collect();
            Ok(l.b.density(kernel, &references, missing))
        };
        Ok(Some(match d {
            Distribution::Normal { mean, spread, form: SpreadForm::Matrix } => {
                let mean = self.plain(v, *mean)?;
                let d = self.b.difference(x, &mean);
                let Some(label) = label else { return Ok(None) };
                if self.has_missing(x) {
                    return self.marginal_normal(v, &d, spread, (label, size)).map(Some);
                }
                match spread {
                    Spread::Precision(n) => {
                        let m = self.parameter(v, *n, View::Precision)?;
                        let log = self.parameter(v, *n, View::LogDeterminant)?;
                        self.vector_normal(v, &d, &m, &log, (label, size))?
                    }
                    Spread::Variance(n) | Spread::Covariance(n) | Spread::StandardDeviation(n) => {
                        let m = self.parameter(v, *n, View::Plain)?;
                        let inverse = self.b.inverse(&m, size);
                        let log = self.b.log_determinant(&m, size);
                        let log = self.b.unary(UnaryFunction::Negate, &log);
                        self.vector_normal(v, &d, &inverse, &log, (label, size))?
                    }
                }
            }
            Distribution::Normal { mean, spread, .. } => {
                let (kernel, node) = match spread {
                    Spread::Precision(n) => (Kernel::NormalPrecision, n),
                    Spread::Variance(n) | Spread::Covariance(n) => (Kernel::NormalVariance, n),
                    Spread::StandardDeviation(n) => (Kernel::NormalSd, n),
                };
                let each = simple(self, kernel, &[*mean, *node])?;
                match label {
                    Some(label) => self.b.sum_over(&each, label, size),
                    None => each,
                }
            }
            Distribution::NormalJoint { parameters } => {
                let mean = self.parameter(v, *parameters, View::Plain)?;
                let precision = self.joint_precision(v, *parameters)?;
                match label {
                    None => self.b.density(Kernel::NormalPrecision, &[x, &mean, &precision], missing),
                    // One precision for all coordinates.
                    Some(label) if !self.is_matrix_pair(*parameters) => {
                        let each = self.b.density(Kernel::NormalPrecision, &[x, &mean, &precision], missing);
                        self.b.sum_over(&each, label, size)
                    }
                    Some(label) => {
                        let d = self.b.difference(x, &mean);
                        if self.has_missing(x) {
                            return self
                                .marginal_normal(v, &d, &Spread::Precision(*parameters), (label, size))
                                .map(Some);
                        }
                        let log = self.parameter(v, *parameters, View::LogDeterminant)?;
                        self.vector_normal(v, &d, &precision, &log, (label, size))?
                    }
                }
            }
            Distribution::NormalGamma { mean, mean_precision, form, shape, rate } => {
                let Some(tau) = self.variables.get(&(v, View::Precision)).cloned() else { return Ok(None) };
                let mean = self.plain(v, *mean)?;
                let (shape, rate) = (self.plain(v, *shape)?, self.plain(v, *rate)?);
                let location = match (form, label) {
                    (SpreadForm::Matrix, Some(label)) => {
                        // log |τΛ| = log |Λ| + d log τ, and τ xᵀΛx = yᵀΛy with y = x √τ.
                        let root = self.b.unary(UnaryFunction::Sqrt, &tau);
                        let d = self.b.difference(x, &mean);
                        let d = self.b.product(&d, &root);
                        let matrix = self.parameter(v, *mean_precision, View::Precision)?;
                        let log = self.parameter(v, *mean_precision, View::LogDeterminant)?;
                        let log_tau = self.b.unary(UnaryFunction::Log, &tau);
                        let log_tau = self.b.scaled(size as f64, &log_tau);
                        let log = self.b.sum(&log, &log_tau);
                        self.vector_normal(v, &d, &matrix, &log, (label, size))?
                    }
                    _ => {
                        let kappa = self.plain(v, *mean_precision)?;
                        let precision = self.b.product(&kappa, &tau);
                        let each = self.b.density(Kernel::NormalPrecision, &[x, &mean, &precision], false);
                        match label {
                            Some(label) => self.b.sum_over(&each, label, size),
                            None => each,
                        }
                    }
                };
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
                let (mean, kappa) = (self.plain(v, *mean)?, self.plain(v, *mean_precision)?);
                let d = self.b.difference(x, &mean);
                let second = self.second_label(&lambda);
                let q = self.b.quadratic(&d, &lambda, (label, size), second);
                let q = self.b.product(&kappa, &q);
                let q = self.b.difference(&log, &q);
                let q = self.b.scaled(0.5, &q);
                let log_kappa = self.b.unary(UnaryFunction::Log, &kappa);
                let k = self.b.scaled(0.5 * size as f64, &log_kappa);
                let location = self.b.sum(&q, &k);
                let location = self.b.shifted(-0.5 * size as f64 * LN_TWO_PI, &location);
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
            Distribution::Beta { alpha, beta } => {
                let (alpha, beta) = (self.plain(v, *alpha)?, self.plain(v, *beta)?);
                let total = self.b.sum(&alpha, &beta);
                let (a, b, t) = (
                    self.b.unary(UnaryFunction::LnGamma, &alpha),
                    self.b.unary(UnaryFunction::LnGamma, &beta),
                    self.b.unary(UnaryFunction::LnGamma, &total),
                );
                let ab = self.b.sum(&a, &b);
                let ln_beta = self.b.difference(&ab, &t);
                self.b.density(Kernel::Beta, &[x, &alpha, &beta, &ln_beta], missing)
            }
            Distribution::Dirichlet { concentration } => {
                let Some(label) = label else { return Ok(None) };
                let alpha = self.plain(v, *concentration)?;
                let log = self.variable_log(v, x);
                let one = self.b.constant(1.0);
                let less = self.b.difference(&alpha, &one);
                let weighted = self.b.dot(&less, &log, (label, size));
                let total = self.b.sum_over(&alpha, label, size);
                let total = self.b.unary(UnaryFunction::LnGamma, &total);
                let each = self.b.unary(UnaryFunction::LnGamma, &alpha);
                let each = self.b.sum_over(&each, label, size);
                let normalizer = self.b.difference(&total, &each);
                self.b.sum(&weighted, &normalizer)
            }
            Distribution::StickBreaking { concentration } => {
                let Some(label) = label else { return Ok(None) };
                // Σ log Beta(vₖ | 1, α) = (K − 1) ln α + (α − 1) Σ ln(1 − vₖ), and Σ ln(1 − vₖ) = ln π_K.
                let alpha = self.plain(v, *concentration)?;
                let log = self.variable_log(v, x);
                let last = self.b.constant(size as f64 - 1.0);
                let log_last = self.b.select(&log, label, &last);
                let log_alpha = self.b.unary(UnaryFunction::Log, &alpha);
                let first = self.b.scaled(size as f64 - 1.0, &log_alpha);
                let one = self.b.constant(1.0);
                let less = self.b.difference(&alpha, &one);
                let second = self.b.product(&less, &log_last);
                self.b.sum(&first, &second)
            }
            Distribution::Exponential { rate } => simple(self, Kernel::Exponential, &[*rate])?,
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let scale = match spread {
                    PrecisionOrSd::StandardDeviation(n) => self.plain(v, *n)?,
                    PrecisionOrSd::Precision(n) => {
                        let precision = self.plain(v, *n)?;
                        let root = self.b.unary(UnaryFunction::Sqrt, &precision);
                        self.b.unary(UnaryFunction::Reciprocal, &root)
                    }
                };
                let mean = self.plain(v, *mean)?;
                let (nu, normalizer) = self.student_normalizer(v, *degrees_of_freedom)?;
                self.b.density(Kernel::StudentT, &[x, &nu, &mean, &scale, &normalizer], missing)
            }
            Distribution::HalfNormal { sd } => simple(self, Kernel::HalfNormal, &[*sd])?,
            Distribution::HalfCauchy { scale } => simple(self, Kernel::HalfCauchy, &[*scale])?,
            Distribution::HalfStudentT { degrees_of_freedom, scale } => {
                let scale = self.plain(v, *scale)?;
                let (nu, normalizer) = self.student_normalizer(v, *degrees_of_freedom)?;
                let normalizer = self.b.shifted(LN_2, &normalizer);
                let zero = self.b.constant(0.0);
                self.b.density(Kernel::StudentT, &[x, &nu, &zero, &scale, &normalizer], missing)
            }
            Distribution::Cauchy { location, scale } => simple(self, Kernel::Cauchy, &[*location, *scale])?,
            Distribution::Laplace { location, scale } => simple(self, Kernel::Laplace, &[*location, *scale])?,
            Distribution::LogNormal { mean, sd } => simple(self, Kernel::LogNormal, &[*mean, *sd])?,
            Distribution::Logistic { location, scale } => simple(self, Kernel::Logistic, &[*location, *scale])?,
            Distribution::Uniform { lower, upper } => simple(self, Kernel::Uniform, &[*lower, *upper])?,
            Distribution::GaussianMarkovChain { .. } => return self.gaussian_chain(v, d, x).map(|()| None),
            _ => return Ok(None),
        }))
    }

    /// log x of a variable, by its transform where that gives it.
    fn variable_log(&mut self, v: VariableId, x: &Value) -> Value {
        match self.variables.get(&(v, View::Log)) {
            Some(log) => log.clone(),
            None => self.b.unary(UnaryFunction::Log, x),
        }
    }

    /// ν and ln Γ((ν+1)/2) − ln Γ(ν/2) − ½ ln νπ.
    fn student_normalizer(&mut self, v: VariableId, node: NodeId) -> Result<(Value, Value), SgviError> {
        let nu = self.plain(v, node)?;
        let half = self.b.scaled(0.5, &nu);
        let more = self.b.shifted(0.5, &half);
        let (a, b) = (self.b.unary(UnaryFunction::LnGamma, &more), self.b.unary(UnaryFunction::LnGamma, &half));
        let log = self.b.unary(UnaryFunction::Log, &nu);
        let log = self.b.scaled(0.5, &log);
        let b = self.b.sum(&b, &log);
        let difference = self.b.difference(&a, &b);
        Ok((nu, self.b.shifted(-0.5 * PI.ln(), &difference)))
    }

    fn second_label(&mut self, matrix: &Value) -> u32 {
        matrix.shape.axes.last().map_or_else(|| self.b.fresh_label(), |a| a.0)
    }

    /// Whether `parameters` holds a precision matrix.
    pub(super) fn is_matrix_pair(&self, parameters: NodeId) -> bool {
        let matrix =
            |v: &VariableId| matches!(self.graph.variable(*v).distribution, Distribution::NormalWishart { .. });
        self.graph.variables_of(parameters).iter().any(matrix)
    }

    fn has_missing(&self, x: &Value) -> bool {
        self.b.numbers(x).is_some_and(|numbers| numbers.iter().any(|x| x.is_nan()))
    }

    /// The density of the observed coordinates of vectors with a matrix.
    fn marginal_normal(
        &mut self,
        v: VariableId,
        d: &Value,
        spread: &Spread,
        label: (u32, usize),
    ) -> Result<Value, SgviError> {
        let covariance = match spread {
            Spread::Precision(n) => {
                let precision = self.parameter(v, *n, View::Precision)?;
                self.check_matrix(v, &precision, label.1)?;
                self.b.inverse(&precision, label.1)
            }
            Spread::Variance(n) | Spread::Covariance(n) | Spread::StandardDeviation(n) => {
                let covariance = self.parameter(v, *n, View::Plain)?;
                self.check_matrix(v, &covariance, label.1)?;
                covariance
            }
        };
        let first = covariance.shape.axes[covariance.shape.axes.len() - 2].0;
        let d = super::builder::relabel(d, label.0, first);
        Ok(self.b.marginal_normal(&d, &covariance, (first, label.1)))
    }

    /// Refuses what is not a matrix over the dimension, or a latent one that is too large.
    fn check_matrix(&self, v: VariableId, matrix: &Value, size: usize) -> Result<(), SgviError> {
        if matrix.shape.axes.len() >= 2 && (size <= crate::tape::MAX_MATRIX || matrix.is_data()) {
            return Ok(());
        }
        Err(SgviError::unsupported(
            self.graph,
            v,
            "its precision or covariance is not a matrix over its dimension",
            "write one number, one for each coordinate, or a matrix",
        ))
    }

    /// ½ log|Λ| − ½ dᵀ Λ d − ½ D ln 2π.
    fn vector_normal(
        &mut self,
        v: VariableId,
        d: &Value,
        precision: &Value,
        log_determinant: &Value,
        label: (u32, usize),
    ) -> Result<Value, SgviError> {
        self.check_matrix(v, precision, label.1)?;
        let n = precision.shape.axes.len();
        // The vector takes the matrix's first axis, whatever both are called.
        let first = precision.shape.axes[n - 2].0;
        let d = super::builder::relabel(d, label.0, first);
        let second = precision.shape.axes[n - 1].0;
        let constant = -0.5 * label.1 as f64 * LN_TWO_PI;
        if !self.b.is_local(log_determinant) {
            let half = self.b.scaled(0.5, log_determinant);
            let offset = self.b.shifted(constant, &half);
            if let Some(value) = self.b.gaussian_rows(&d, precision, &offset) {
                return Ok(value);
            }
        }
        let q = self.b.quadratic(&d, precision, (first, label.1), second);
        let sum = self.b.difference(log_determinant, &q);
        let half = self.b.scaled(0.5, &sum);
        Ok(self.b.shifted(constant, &half))
    }

    /// log W(Λ | W, ν) = (ν−D−1)/2 log|Λ| − ½ tr(W⁻¹Λ) − ν/2 log|W| − νD/2 ln 2 − ln Γ_D(ν/2) (PRML B.78).
    fn wishart(
        &mut self,
        v: VariableId,
        lambda: &Value,
        log_determinant: &Value,
        degrees: NodeId,
        scale: WishartScale,
        size: usize,
    ) -> Result<Value, SgviError> {
        let nu = self.plain(v, degrees)?;
        let node = match scale {
            WishartScale::Scale(n) | WishartScale::InverseScale(n) => n,
        };
        let mut matrix = self.plain(v, node)?;
        let n = lambda.shape.axes.len();
        let (rows, columns) = (lambda.shape.axes[n - 2], lambda.shape.axes[n - 1]);
        let m = matrix.shape.axes.len();
        if m < 2 || matrix.shape.axes[m - 1].1 != size || matrix.shape.axes[m - 2].1 != size {
            let identity = (0..size * size).map(|i| f64::from(u8::from(i / size == i % size))).collect();
            let identity = self.b.data(Shape { rows: false, axes: vec![rows, columns] }, identity);
            matrix = self.b.product(&matrix, &identity);
        } else {
            matrix.shape.axes[m - 2] = rows;
            matrix.shape.axes[m - 1] = columns;
        }
        let log = self.b.log_determinant(&matrix, size);
        let (inverse, log_inverse) = match scale {
            WishartScale::InverseScale(_) => (matrix, log),
            WishartScale::Scale(_) => (self.b.inverse(&matrix, size), self.b.unary(UnaryFunction::Negate, &log)),
        };
        let product = self.b.product(&inverse, lambda);
        let trace = self.b.sum_over(&product, rows.0, size);
        let trace = self.b.sum_over(&trace, columns.0, size);
        let shifted = self.b.shifted(-(size as f64) - 1.0, &nu);
        let a = self.b.product(&shifted, log_determinant);
        let b = self.b.product(&nu, &log_inverse);
        let c = self.b.scaled(-(size as f64) * LN_2, &nu);
        let ab = self.b.sum(&a, &b);
        let abc = self.b.sum(&ab, &c);
        let all = self.b.difference(&abc, &trace);
        let mut out = self.b.scaled(0.5, &all);
        for i in 0..size {
            let half = self.b.scaled(0.5, &nu);
            let argument = self.b.shifted(-0.5 * i as f64, &half);
            let ln_gamma = self.b.unary(UnaryFunction::LnGamma, &argument);
            out = self.b.difference(&out, &ln_gamma);
        }
        Ok(self.b.shifted(-0.25 * (size * (size - 1)) as f64 * PI.ln(), &out))
    }

    /// x₁ ~ N(m₀, Λ₀⁻¹), xₜ ~ N(A xₜ₋₁, Q⁻¹) along the rows.
    fn gaussian_chain(&mut self, v: VariableId, d: &Distribution, x: &Value) -> Result<(), SgviError> {
        let graph = self.graph;
        let Distribution::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            offset,
            sequence,
        } = d
        else {
            return Ok(());
        };
        let Some(dimension) = graph.variable(v).dimension else { return Ok(()) };
        let size = graph.axis(dimension).size;
        let label = self.b.label(dimension, 0);
        let starts = self.starts(*sequence)?;
        self.b.program.chunkable = false;
        let lagged = self.b.add(&[x], x.shape.clone(), &[], |output, _| Lag {
            input: x.clone(),
            starts: starts.clone(),
            output,
        });
        // [to][from]: the last axis of the transition meets the state before.
        let axes = graph.node(*transition).axes.clone();
        let a = self.plain(v, *transition)?;
        let n = a.shape.axes.len();
        let mean = if n >= 2 {
            let (to, from) = (a.shape.axes[n - 2], a.shape.axes[n - 1]);
            let (fresh_to, fresh_from) = (self.b.fresh_label(), self.b.fresh_label());
            let mut a = a;
            a.shape.axes[n - 2] = (fresh_to, to.1);
            a.shape.axes[n - 1] = (fresh_from, from.1);
            let before = super::builder::relabel(&lagged, label, fresh_from);
            let mean = self.b.dot(&a, &before, (fresh_from, size));
            super::builder::relabel(&mean, fresh_to, label)
        } else {
            debug_assert!(axes.len() < 2);
            self.b.product(&a, &lagged)
        };
        let mean = match offset {
            Some(node) => {
                let offset = self.plain(v, *node)?;
                self.b.sum(&mean, &offset)
            }
            None => mean,
        };
        let n = self.b.program.num_rows;
        let mask = |l: &mut Self, want: bool| {
            let values = (0..n).map(|t| f64::from(u8::from(starts[t] == want))).collect();
            l.b.data(Shape { rows: true, axes: Vec::new() }, values)
        };
        let initial = self.plain(v, *initial_mean)?;
        for (location, node, form, first) in
            [(initial, *initial_precision, *initial_form, true), (mean, *innovation_precision, *innovation_form, false)]
        {
            let density = if form == SpreadForm::Matrix {
                let residual = self.b.difference(x, &location);
                let m = self.parameter(v, node, View::Precision)?;
                let log = self.parameter(v, node, View::LogDeterminant)?;
                self.vector_normal(v, &residual, &m, &log, (label, size))?
            } else {
                let precision = self.plain(v, node)?;
                let each = self.b.density(Kernel::NormalPrecision, &[x, &location, &precision], false);
                self.b.sum_over(&each, label, size)
            };
            let mask = mask(self, first);
            let masked = self.b.product(&density, &mask);
            self.keep(v, masked);
        }
        Ok(())
    }
}
