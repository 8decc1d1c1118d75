//! Log densities of vectors: normals with a matrix, joint pairs, Wishart, Dirichlet, sticks, Gaussian chains.

use std::f64::consts::{LN_2, PI};

use vi_model::graph::{Distribution, NodeId, Spread, SpreadForm, VariableId, WishartScale};

use super::densities::Own;
use super::{Lowering, View};
use crate::density::Kernel;
use crate::error::SgviError;
use crate::tape::{Label, Lag, Shape, UnaryFunction, Value};

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

impl Lowering<'_> {
    /// log N(x | μ, Λ⁻¹) with a precision or covariance matrix; of rows with missing coordinates that of the others.
    pub(super) fn normal_with_matrix(
        &mut self,
        own: Own<'_>,
        label: (Label, usize),
        mean: NodeId,
        spread: &Spread,
    ) -> Result<Value, SgviError> {
        let (v, size) = (own.variable, own.size);
        let mean = self.plain(v, mean)?;
        let d = self.b.difference(own.x, &mean);
        if self.has_missing(own.x) {
            return self.marginal_normal(v, &d, spread, label);
        }
        match spread {
            Spread::Precision(n) => {
                let m = self.parameter(v, *n, View::Precision)?;
                let log = self.parameter(v, *n, View::LogDeterminant)?;
                self.vector_normal(v, &d, &m, &log, label)
            }
            Spread::Variance(n) | Spread::Covariance(n) | Spread::StandardDeviation(n) => {
                let m = self.parameter(v, *n, View::Plain)?;
                let inverse = self.b.inverse(&m, size);
                let log = self.b.log_determinant(&m, size);
                let log = self.b.unary(UnaryFunction::Negate, &log);
                self.vector_normal(v, &d, &inverse, &log, label)
            }
        }
    }

    /// log N(x | μ, 1/τ) or log N(x | μ, Λ⁻¹) given a joint variable (μ, τ) or (μ, Λ); one τ serves all coordinates.
    pub(super) fn normal_of_pair(&mut self, own: Own<'_>, parameters: NodeId) -> Result<Value, SgviError> {
        let v = own.variable;
        let mean = self.parameter(v, parameters, View::Plain)?;
        let precision = self.joint_precision(v, parameters)?;
        let Some(label) = own.label.filter(|_| self.is_matrix_pair(parameters)) else {
            let each = self.b.density(Kernel::NormalPrecision, &[own.x, &mean, &precision], own.missing);
            return Ok(self.over_coordinates(own, each));
        };
        let d = self.b.difference(own.x, &mean);
        if self.has_missing(own.x) {
            return self.marginal_normal(v, &d, &Spread::Precision(parameters), (label, own.size));
        }
        let log = self.parameter(v, parameters, View::LogDeterminant)?;
        self.vector_normal(v, &d, &precision, &log, (label, own.size))
    }

    /// The location of a normal-gamma: log N(x | μ, (κτ)⁻¹), or with a matrix Λ for κ log N(x | μ, (τΛ)⁻¹).
    pub(super) fn location_given_precision(
        &mut self,
        own: Own<'_>,
        mean: &Value,
        tau: &Value,
        mean_precision: NodeId,
        form: SpreadForm,
    ) -> Result<Value, SgviError> {
        let (v, x, size) = (own.variable, own.x, own.size);
        let (SpreadForm::Matrix, Some(label)) = (form, own.label) else {
            let kappa = self.plain(v, mean_precision)?;
            let precision = self.b.product(&kappa, tau);
            let each = self.b.density(Kernel::NormalPrecision, &[x, mean, &precision], false);
            return Ok(self.over_coordinates(own, each));
        };
        // log |τΛ| = log |Λ| + d log τ, and τ xᵀΛx = yᵀΛy with y = x √τ.
        let root = self.b.unary(UnaryFunction::Sqrt, tau);
        let d = self.b.difference(x, mean);
        let d = self.b.product(&d, &root);
        let matrix = self.parameter(v, mean_precision, View::Precision)?;
        let log = self.parameter(v, mean_precision, View::LogDeterminant)?;
        let log_tau = self.b.unary(UnaryFunction::Log, tau);
        let log_tau = self.b.scaled(size as f64, &log_tau);
        let log = self.b.sum(&log, &log_tau);
        self.vector_normal(v, &d, &matrix, &log, (label, size))
    }

    /// The location of a normal-Wishart: log N(x | μ, (κΛ)⁻¹) = ½(ln|Λ| − κ(x−μ)ᵀΛ(x−μ) + d ln κ − d ln 2π).
    pub(super) fn location_given_matrix(
        &mut self,
        own: Own<'_>,
        label: (Label, usize),
        (lambda, log): (&Value, &Value),
        mean: NodeId,
        mean_precision: NodeId,
    ) -> Result<Value, SgviError> {
        let (mean, kappa) = (self.plain(own.variable, mean)?, self.plain(own.variable, mean_precision)?);
        let d = self.b.difference(own.x, &mean);
        let second = self.second_label(lambda);
        let q = self.b.quadratic(&d, lambda, label, second);
        let q = self.b.product(&kappa, &q);
        let q = self.b.difference(log, &q);
        let q = self.b.scaled(0.5, &q);
        let log_kappa = self.b.unary(UnaryFunction::Log, &kappa);
        let k = self.b.scaled(0.5 * label.1 as f64, &log_kappa);
        let location = self.b.sum(&q, &k);
        Ok(self.b.shifted(-0.5 * label.1 as f64 * LN_TWO_PI, &location))
    }

    /// log Dir(x | α) = Σₖ (αₖ − 1) ln xₖ + ln Γ(Σₖ αₖ) − Σₖ ln Γ(αₖ) (Bishop 2006, B.16).
    pub(super) fn dirichlet(&mut self, own: Own<'_>, label: Label, concentration: NodeId) -> Result<Value, SgviError> {
        let alpha = self.plain(own.variable, concentration)?;
        let log = self.variable_log(own.variable, own.x);
        let one = self.b.constant(1.0);
        let less = self.b.difference(&alpha, &one);
        let weighted = self.b.dot(&less, &log, (label, own.size));
        let total = self.b.sum_over(&alpha, label, own.size);
        let total = self.b.unary(UnaryFunction::LnGamma, &total);
        let each = self.b.unary(UnaryFunction::LnGamma, &alpha);
        let each = self.b.sum_over(&each, label, own.size);
        let normalizer = self.b.difference(&total, &each);
        Ok(self.b.sum(&weighted, &normalizer))
    }

    /// Sticks vₖ ~ Beta(1, α): Σ log Beta(vₖ | 1, α) = (K − 1) ln α + (α − 1) Σ ln(1 − vₖ), and Σ ln(1 − vₖ) = ln π_K.
    pub(super) fn sticks(&mut self, own: Own<'_>, label: Label, concentration: NodeId) -> Result<Value, SgviError> {
        let alpha = self.plain(own.variable, concentration)?;
        let log = self.variable_log(own.variable, own.x);
        let last = self.b.constant(own.size as f64 - 1.0);
        let log_last = self.b.select(&log, label, &last);
        let log_alpha = self.b.unary(UnaryFunction::Log, &alpha);
        let first = self.b.scaled(own.size as f64 - 1.0, &log_alpha);
        let one = self.b.constant(1.0);
        let less = self.b.difference(&alpha, &one);
        let second = self.b.product(&less, &log_last);
        Ok(self.b.sum(&first, &second))
    }

    /// log x of a variable, by its transform where that gives it.
    fn variable_log(&mut self, v: VariableId, x: &Value) -> Value {
        match self.variables.get(&(v, View::Log)) {
            Some(log) => log.clone(),
            None => self.b.unary(UnaryFunction::Log, x),
        }
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
    pub(super) fn wishart(
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
    pub(super) fn gaussian_chain(&mut self, v: VariableId, d: &Distribution, x: &Value) -> Result<(), SgviError> {
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
