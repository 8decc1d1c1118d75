//! The distribution of a variable as operations that draw it, one for each kind.

use vi_model::graph::{Distribution, NodeId, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, VariableId};

use super::builder::relabel;
use super::{Lowering, View};
use crate::error::SgviError;
use crate::predict::distribution::Scalar;
use crate::predict::operations::{
    MatrixKind, SampleCategory, SampleChain, SampleCounts, SampleDirichlet, SampleScalar, SampleStates, SampleVector,
};
use crate::tape::{Operation, Shape, UnaryFunction, Value};

/// A draw with what is known of its distribution.
pub(super) struct Draw {
    pub(super) draw: Value,
    pub(super) moments: Option<(Value, Value)>,
    pub(super) probabilities: Option<Value>,
}

impl Lowering<'_> {
    pub(super) fn draw_category(
        &mut self,
        v: VariableId,
        log_probabilities: Value,
        size: usize,
        shape: &Shape,
    ) -> Draw {
        let (output, probabilities) = (self.output(shape), self.output(&log_probabilities.shape.clone()));
        let operation = SampleCategory {
            log_probabilities,
            size,
            stream: self.stream(v),
            output: output.clone(),
            probabilities: probabilities.clone(),
        };
        self.b.push(Box::new(operation), shape.rows);
        Draw { draw: output, moments: None, probabilities: Some(probabilities) }
    }

    /// Draws a variable from its distribution given its parents.
    pub(super) fn draw(&mut self, v: VariableId, shape: &Shape) -> Result<Draw, SgviError> {
        let graph = self.graph;
        let variable = graph.variable(v);
        let distribution = variable.distribution.clone();
        let size = variable.dimension.map_or(1, |a| graph.axis(a).size);
        let stream = self.stream(v);
        match &distribution {
            Distribution::Categorical { probabilities, range, logits } => {
                let (log, label) = self.log_probabilities(*probabilities, *range, *logits)?;
                let (fresh, size) = (self.b.fresh_label(), graph.axis(*range).size);
                let mut all = shape.clone();
                all.axes.push((fresh, size));
                let log = self.full(&relabel(&log, label, fresh), &all);
                return Ok(self.draw_category(v, log, size, shape));
            }
            Distribution::MarkovChain { range, .. } => {
                let size = graph.axis(*range).size;
                let Some((log_initial, log_transition, starts)) = self.chain_parameters(v)? else {
                    return Err(self.not_drawn(v));
                };
                self.b.program.chunkable = false;
                let mut all = shape.clone();
                all.axes.push((self.b.fresh_label(), size));
                let (output, probabilities) = (self.output(shape), self.output(&all));
                let operation = SampleChain {
                    log_initial,
                    log_transition,
                    starts,
                    size,
                    stream,
                    output: output.clone(),
                    probabilities: probabilities.clone(),
                };
                self.b.push(Box::new(operation), true);
                return Ok(Draw { draw: output, moments: None, probabilities: Some(probabilities) });
            }
            Distribution::GaussianMarkovChain { .. } => return self.draw_states(v, &distribution, shape, size),
            _ => {}
        }
        let outputs: [Value; 3] = std::array::from_fn(|_| self.output(shape));
        let [output, mean, variance] = outputs.clone();
        let operation: Box<dyn Operation> = match &distribution {
            Distribution::Normal { mean, spread, form: SpreadForm::Matrix } => {
                let mean = self.parameter(v, *mean, View::Plain)?;
                let (matrix, kind) = match spread {
                    Spread::Precision(n) => (self.parameter(v, *n, View::Precision)?, MatrixKind::Precision),
                    Spread::Variance(n) | Spread::Covariance(n) | Spread::StandardDeviation(n) => {
                        (self.parameter(v, *n, View::Plain)?, MatrixKind::Covariance)
                    }
                };
                let (mean, matrix) = (self.full(&mean, shape), self.full_matrix(v, matrix, shape)?);
                Box::new(SampleVector { mean, matrix, kind, size, stream, outputs })
            }
            Distribution::NormalJoint { parameters }
                if variable.dimension.is_some() && self.is_matrix_pair(*parameters) =>
            {
                let mean = self.parameter(v, *parameters, View::Plain)?;
                let matrix = self.parameter(v, *parameters, View::Precision)?;
                let (mean, matrix) = (self.full(&mean, shape), self.full_matrix(v, matrix, shape)?);
                Box::new(SampleVector { mean, matrix, kind: MatrixKind::Precision, size, stream, outputs })
            }
            Distribution::Dirichlet { concentration } => {
                let concentration = self.parameter(v, *concentration, View::Plain)?;
                let concentration = self.full(&concentration, shape);
                Box::new(SampleDirichlet { concentration, size, stream, outputs })
            }
            Distribution::Multinomial { probabilities, range } => {
                let Some(counts) = self.observed_numbers(v)? else { return Err(self.not_drawn(v)) };
                let (log, label) = self.log_probabilities(*probabilities, *range, false)?;
                let own = shape.axes.last().copied().unwrap_or((label, 1));
                let counts = self.full(&counts, shape);
                let totals = self.b.sum_over(&counts, own.0, own.1);
                let log_probabilities = self.full(&relabel(&log, label, own.0), shape);
                Box::new(SampleCounts { totals, log_probabilities, size: own.1, stream, outputs })
            }
            _ => {
                let Some((kind, arguments)) = self.scalar(v, &distribution)? else { return Err(self.not_drawn(v)) };
                let arguments = arguments.iter().map(|a| self.full(a, shape)).collect();
                let bounds = match (variable.lower, variable.upper, &distribution) {
                    (None, None, _) | (_, _, Distribution::Uniform { .. }) => None,
                    (lower, upper, _) => {
                        let mut bound = |node: Option<NodeId>, none: f64| -> Result<Value, SgviError> {
                            let value = match node {
                                Some(node) => self.parameter(v, node, View::Plain)?,
                                None => self.b.constant(none),
                            };
                            Ok(self.full(&value, shape))
                        };
                        Some((bound(lower, f64::NEG_INFINITY)?, bound(upper, f64::INFINITY)?))
                    }
                };
                Box::new(SampleScalar { kind, arguments, bounds, stream, outputs })
            }
        };
        self.b.push(operation, shape.rows);
        Ok(Draw { draw: output, moments: Some((mean, variance)), probabilities: None })
    }

    fn not_drawn(&self, v: VariableId) -> SgviError {
        SgviError::unsupported(
            self.graph,
            v,
            "it has no proper distribution from which new rows could be drawn by this engine",
            "give it a proper prior of another kind, or predict by hand from `sgvi sample`",
        )
    }

    /// A matrix over the dimension, brought to a variable's shape and a further axis.
    fn full_matrix(&mut self, v: VariableId, mut matrix: Value, shape: &Shape) -> Result<Value, SgviError> {
        let n = matrix.shape.axes.len();
        let (Some(last), true) = (shape.axes.last().copied(), n >= 2) else { return Err(self.not_drawn(v)) };
        let mut all = shape.clone();
        all.axes.push((self.b.fresh_label(), last.1));
        matrix.shape.axes[n - 2] = last;
        matrix.shape.axes[n - 1] = all.axes[all.axes.len() - 1];
        Ok(self.full(&matrix, &all))
    }

    /// A scalar distribution with its arguments, where it is one.
    pub(super) fn scalar(
        &mut self,
        v: VariableId,
        d: &Distribution,
    ) -> Result<Option<(Scalar, Vec<Value>)>, SgviError> {
        let plain = |l: &mut Self, n: NodeId| l.parameter(v, n, View::Plain);
        let root = |l: &mut Self, x: &Value| l.b.unary(UnaryFunction::Sqrt, x);
        let inverse = |l: &mut Self, x: &Value| l.b.unary(UnaryFunction::Reciprocal, x);
        let chance = |l: &mut Self, p: Probability| -> Result<Value, SgviError> {
            Ok(match p {
                Probability::Probability(n) | Probability::Probit(n) => l.parameter(v, n, View::Plain)?,
                Probability::Logit(n) => {
                    let logit = l.parameter(v, n, View::Plain)?;
                    l.b.unary(UnaryFunction::Logistic, &logit)
                }
            })
        };
        Ok(Some(match d {
            Distribution::Normal { mean, spread, .. } => {
                let mean = plain(self, *mean)?;
                let sd = match spread {
                    Spread::StandardDeviation(n) => plain(self, *n)?,
                    Spread::Variance(n) | Spread::Covariance(n) => {
                        let variance = plain(self, *n)?;
                        root(self, &variance)
                    }
                    Spread::Precision(n) => {
                        let precision = plain(self, *n)?;
                        let root = root(self, &precision);
                        inverse(self, &root)
                    }
                };
                (Scalar::Normal, vec![mean, sd])
            }
            Distribution::NormalJoint { parameters } => {
                let mean = plain(self, *parameters)?;
                let precision = self.joint_precision(v, *parameters)?;
                let root = root(self, &precision);
                (Scalar::Normal, vec![mean, inverse(self, &root)])
            }
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let scale = match spread {
                    PrecisionOrSd::StandardDeviation(n) => plain(self, *n)?,
                    PrecisionOrSd::Precision(n) => {
                        let precision = plain(self, *n)?;
                        let root = root(self, &precision);
                        inverse(self, &root)
                    }
                };
                (Scalar::StudentT, vec![plain(self, *mean)?, scale, plain(self, *degrees_of_freedom)?])
            }
            Distribution::Gamma { shape, rate } => {
                let rate = match rate {
                    RateOrScale::Rate(n) => plain(self, *n)?,
                    RateOrScale::Scale(n) => {
                        let scale = plain(self, *n)?;
                        inverse(self, &scale)
                    }
                };
                (Scalar::Gamma, vec![plain(self, *shape)?, rate])
            }
            Distribution::InverseGamma { shape, scale } => {
                (Scalar::InverseGamma, vec![plain(self, *shape)?, plain(self, *scale)?])
            }
            Distribution::Beta { alpha, beta } => (Scalar::Beta, vec![plain(self, *alpha)?, plain(self, *beta)?]),
            Distribution::Exponential { rate } => (Scalar::Exponential, vec![plain(self, *rate)?]),
            Distribution::HalfNormal { sd } => (Scalar::HalfNormal, vec![plain(self, *sd)?]),
            Distribution::HalfCauchy { scale } => (Scalar::HalfCauchy, vec![plain(self, *scale)?]),
            Distribution::HalfStudentT { degrees_of_freedom, scale } => {
                (Scalar::HalfStudentT, vec![plain(self, *scale)?, plain(self, *degrees_of_freedom)?])
            }
            Distribution::Cauchy { location, scale } => {
                (Scalar::Cauchy, vec![plain(self, *location)?, plain(self, *scale)?])
            }
            Distribution::Laplace { location, scale } => {
                (Scalar::Laplace, vec![plain(self, *location)?, plain(self, *scale)?])
            }
            Distribution::Logistic { location, scale } => {
                (Scalar::Logistic, vec![plain(self, *location)?, plain(self, *scale)?])
            }
            Distribution::LogNormal { mean, sd } => (Scalar::LogNormal, vec![plain(self, *mean)?, plain(self, *sd)?]),
            Distribution::Uniform { lower, upper } => {
                (Scalar::Uniform, vec![plain(self, *lower)?, plain(self, *upper)?])
            }
            Distribution::Bernoulli { probability } => {
                let kind = if matches!(probability, Probability::Probit(_)) {
                    Scalar::BernoulliProbit
                } else {
                    Scalar::Bernoulli
                };
                (kind, vec![chance(self, *probability)?])
            }
            Distribution::Binomial { trials, probability } => {
                (Scalar::Binomial, vec![plain(self, *trials)?, chance(self, *probability)?])
            }
            Distribution::Poisson { rate, log } => {
                let rate = plain(self, *rate)?;
                (Scalar::Poisson, vec![if *log { self.b.unary(UnaryFunction::Exp, &rate) } else { rate }])
            }
            Distribution::NegativeBinomial { mean, dispersion } => {
                (Scalar::NegativeBinomial, vec![plain(self, *mean)?, plain(self, *dispersion)?])
            }
            _ => return Ok(None),
        }))
    }

    fn draw_states(&mut self, v: VariableId, d: &Distribution, shape: &Shape, size: usize) -> Result<Draw, SgviError> {
        let Distribution::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            offset: None,
            sequence,
        } = d
        else {
            return Err(self.not_drawn(v));
        };
        let Some(label) = shape.axes.last().copied() else { return Err(self.not_drawn(v)) };
        let second = (self.b.fresh_label(), size);
        let (vector, square) =
            (Shape { rows: false, axes: vec![label] }, Shape { rows: false, axes: vec![label, second] });
        let matrix = |l: &mut Self, node: NodeId, form: Option<SpreadForm>| -> Result<Value, SgviError> {
            let view = if form == Some(SpreadForm::Matrix) { View::Precision } else { View::Plain };
            let mut value = l.parameter(v, node, view)?;
            let n = value.shape.axes.len();
            if form.is_none_or(|f| f == SpreadForm::Matrix) && n >= 2 {
                value.shape.axes[n - 2] = label;
                value.shape.axes[n - 1] = second;
            } else {
                let identity = (0..size * size).map(|i| f64::from(u8::from(i / size == i % size))).collect();
                let identity = l.b.data(square.clone(), identity);
                value = l.b.product(&identity, &value);
            }
            if value.shape.rows || value.shape.axes.len() > 2 {
                Err(l.not_drawn(v))
            } else {
                Ok(l.full(&value, &square))
            }
        };
        let initial_precision = matrix(self, *initial_precision, Some(*initial_form))?;
        let innovation_precision = matrix(self, *innovation_precision, Some(*innovation_form))?;
        let transition = matrix(self, *transition, None)?;
        let mean = self.parameter(v, *initial_mean, View::Plain)?;
        let initial_mean = self.full(&mean, &vector);
        let starts = self.starts(*sequence)?;
        self.b.program.chunkable = false;
        let outputs: [Value; 3] = std::array::from_fn(|_| self.output(shape));
        let [draw, mean, variance] = outputs.clone();
        let stream = self.stream(v);
        let operation = SampleStates {
            initial_mean,
            initial_precision,
            transition,
            innovation_precision,
            starts,
            size,
            stream,
            outputs,
        };
        self.b.push(Box::new(operation), true);
        Ok(Draw { draw, moments: Some((mean, variance)), probabilities: None })
    }
}
