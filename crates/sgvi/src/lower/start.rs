//! Where the search starts: `initial` values or the centre of a constant prior, in unconstrained coordinates.

use vi_families::special::logit;
use vi_model::graph::{
    AxisId, Distribution, IndexSource, NodeId, NodeKind, PrecisionOrSd, RateOrScale, Spread, VariableId, WishartScale,
};
use vi_model::inference::Initialization;

use super::latents::{Latent, Support};
use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{Shape, Value};

/// Elements of which a discrete variable chooses would be alike for ever if they started alike: they are spread evenly around
/// their common centre, in another order in each coordinate of a vector.
fn apart(centre: f64, scale: &[f64], stride: usize, size: usize) -> Vec<f64> {
    (0..scale.len())
        .map(|i| {
            let (j, other) = (i / stride % size, i % stride + i / (stride * size));
            let place = ((j + other) % size) as f64 - 0.5 * (size as f64 - 1.0);
            centre + scale[i].min(10.0) * place / size as f64
        })
        .collect()
}

/// Stick-breaking coordinates of vectors of so many probabilities.
fn sticks(x: &[f64], size: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for p in x.chunks(size) {
        let mut rest = p.iter().sum::<f64>();
        for (k, p) in p[..size - 1].iter().enumerate() {
            y.push(logit(p / rest) + ((size - 1 - k) as f64).ln());
            rest -= p;
        }
    }
    y
}

impl Lowering<'_> {
    /// Numbers of a data value over a shape, rows first.
    pub(super) fn expand(&mut self, value: &Value, shape: &Shape) -> Option<Vec<f64>> {
        let n = shape.elements(self.b.program.num_rows);
        let zeros = self.b.data(shape.clone(), vec![0.0; n]);
        let sum = self.b.binary(vi_model::graph::BinaryOperator::Add, &zeros, value);
        self.b.numbers(&sum).filter(|v| v.len() == n).map(|v| v.to_vec())
    }

    /// A parameter's numbers over the variable's elements, where it is data.
    fn known(&mut self, v: VariableId, node: NodeId, shape: &Shape) -> Result<Option<Vec<f64>>, SgviError> {
        if !self.graph.is_data(node) {
            return Ok(None);
        }
        let value = self.parameter(v, node, View::Plain)?;
        Ok(self.expand(&value, shape))
    }

    /// A location and a scale of the prior on the variable's own scale, where they are data.
    #[allow(clippy::type_complexity)]
    fn prior(&mut self, v: VariableId, shape: &Shape) -> Result<(Option<Vec<f64>>, Option<Vec<f64>>), SgviError> {
        let graph = self.graph;
        let map = |x: Option<Vec<f64>>, f: fn(f64) -> f64| x.map(|x| x.into_iter().map(f).collect::<Vec<_>>());
        Ok(match graph.variable(v).distribution.clone() {
            Distribution::Normal { mean, spread, form } => {
                let scale = match (form, spread) {
                    (vi_model::graph::SpreadForm::Matrix, _) => None,
                    (_, Spread::StandardDeviation(n)) => self.known(v, n, shape)?,
                    (_, Spread::Variance(n)) => map(self.known(v, n, shape)?, f64::sqrt),
                    (_, Spread::Precision(n)) => map(self.known(v, n, shape)?, |p| 1.0 / p.sqrt()),
                    (_, Spread::Covariance(_)) => None,
                };
                (self.known(v, mean, shape)?, scale)
            }
            Distribution::StudentT { mean, spread, .. } => {
                let scale = match spread {
                    PrecisionOrSd::StandardDeviation(n) => self.known(v, n, shape)?,
                    PrecisionOrSd::Precision(n) => map(self.known(v, n, shape)?, |p| 1.0 / p.sqrt()),
                };
                (self.known(v, mean, shape)?, scale)
            }
            Distribution::Cauchy { location, scale }
            | Distribution::Laplace { location, scale }
            | Distribution::Logistic { location, scale } => {
                (self.known(v, location, shape)?, self.known(v, scale, shape)?)
            }
            Distribution::HalfNormal { sd: scale }
            | Distribution::HalfCauchy { scale }
            | Distribution::HalfStudentT { scale, .. } => (self.known(v, scale, shape)?, None),
            Distribution::LogNormal { mean, .. } => (map(self.known(v, mean, shape)?, f64::exp), None),
            Distribution::Exponential { rate } => (map(self.known(v, rate, shape)?, |r| 1.0 / r), None),
            Distribution::Gamma { shape: a, rate } => {
                let a = self.known(v, a, shape)?;
                let scale = match rate {
                    RateOrScale::Rate(n) => map(self.known(v, n, shape)?, |r| 1.0 / r),
                    RateOrScale::Scale(n) => self.known(v, n, shape)?,
                };
                (a.zip(scale).map(|(a, s)| a.iter().zip(s).map(|(a, s)| a.max(0.1) * s).collect()), None)
            }
            Distribution::InverseGamma { shape: a, scale } => {
                let (a, s) = (self.known(v, a, shape)?, self.known(v, scale, shape)?);
                (a.zip(s).map(|(a, s)| a.iter().zip(s).map(|(a, s)| s / (a + 1.0)).collect()), None)
            }
            Distribution::GaussianMarkovChain { .. } => (None, None),
            _ => (None, None),
        })
    }

    /// Stride and size, among a variable's elements, of a plate of which a discrete latent variable chooses.
    fn choice_of(&self, v: VariableId, latent: &Latent) -> Option<(usize, usize)> {
        if latent.rows || self.graph.inference.initialization == Some(Initialization::Prior) {
            return None;
        }
        let graph = self.graph;
        let mut chosen = None;
        for variable in &graph.variables {
            for (_, parameter) in variable.distribution.parameters() {
                graph.visit(parameter, &mut |n| {
                    let NodeKind::Index { base, position, index: IndexSource::Gate(gate) } = n.kind else { return };
                    let is_latent =
                        matches!(graph.node(gate).kind, NodeKind::Variable(z) if graph.variable(z).observed.is_none());
                    let is_base = matches!(graph.node(base).kind, NodeKind::Variable(b) if b == v);
                    if is_latent && is_base {
                        chosen = Some(graph.node(base).axes[position]);
                    }
                });
            }
        }
        let axes = graph.variable(v).plates.iter().chain(graph.variable(v).dimension.iter());
        let sizes: Vec<(AxisId, usize)> = axes.map(|&axis| (axis, graph.axis(axis).size)).collect();
        let at = sizes.iter().position(|(axis, _)| Some(*axis) == chosen)?;
        let stride = sizes[at + 1..].iter().map(|s| s.1).product();
        (sizes.iter().map(|s| s.1).product::<usize>() == latent.count).then_some((stride, sizes[at].1))
    }

    /// Starting coordinates and a scale for each.
    pub(super) fn start_of(&mut self, v: VariableId, latent: &Latent) -> Result<(Vec<f64>, Vec<f64>), SgviError> {
        let graph = self.graph;
        let n = latent.count;
        let mut scale = vec![1.0; n];
        let given = match &graph.variable(v).initial {
            Some(tensor) => {
                let value = self.tensor(tensor);
                self.expand(&value, &latent.shape)
            }
            None => None,
        };
        let rows = if latent.rows { self.b.program.num_rows } else { 1 };
        let start = match &latent.support {
            Support::Real => {
                let (location, spread) = self.prior(v, &latent.shape)?;
                if let Some(spread) = spread {
                    scale = spread;
                }
                let was_given = given.is_some();
                let centre = given.or(location).unwrap_or_else(|| vec![0.0; n]);
                match self.choice_of(v, latent) {
                    Some((stride, size)) if !was_given && centre.iter().all(|x| *x == centre[0]) => {
                        apart(centre[0], &scale, stride, size)
                    }
                    _ => centre,
                }
            }
            Support::Lower(_) | Support::Upper(_) | Support::Interval(..) => self.start_within(v, latent, given)?,
            Support::Simplex { size, .. } => match given {
                None => vec![0.0; n],
                Some(x) => {
                    let y = sticks(&x, *size);
                    self.check_start(v, &y, "not a vector of positive probabilities")?
                }
            },
            Support::Ordered { size, positive } => {
                let x = match given {
                    Some(x) => x,
                    None => self.evenly_spaced(v, latent, *size, *positive)?,
                };
                let y = x.chunks(*size).flat_map(|x| {
                    (0..*size).map(move |j| match (j, positive) {
                        (0, false) => x[0],
                        (0, true) => x[0].ln(),
                        _ => (x[j] - x[j - 1]).ln(),
                    })
                });
                let y: Vec<f64> = y.collect();
                self.check_start(v, &y, "not increasing along the last axis")?
            }
            Support::PositiveDefinite(d) => self.matrix_start(v, *d, latent.elements * rows)?,
            Support::NormalGamma => {
                let mut y = given.unwrap_or_else(|| vec![0.0; n - latent.elements]);
                y.resize(n, 0.0);
                y
            }
            Support::NormalWishart(d) => {
                let mut y = given.unwrap_or_else(|| vec![0.0; latent.elements * d]);
                y.extend(self.matrix_start(v, *d, latent.elements)?);
                y
            }
        };
        for s in &mut scale {
            if !s.is_finite() || *s <= 0.0 {
                *s = 1.0;
            }
        }
        Ok((start, scale))
    }

    /// Coordinates of given values, which must be numbers.
    fn check_start(&self, v: VariableId, y: &[f64], reason: &str) -> Result<Vec<f64>, SgviError> {
        if y.iter().all(|y| y.is_finite()) {
            return Ok(y.to_vec());
        }
        let reason = format!("its `initial` value is {reason}");
        Err(SgviError::unsupported(self.graph, v, reason, "give a value inside its support"))
    }

    /// Coordinates of a value between bounds: the one that is given, or the prior's centre where that is within.
    fn start_within(&mut self, v: VariableId, latent: &Latent, given: Option<Vec<f64>>) -> Result<Vec<f64>, SgviError> {
        let (n, was_given) = (latent.count, given.is_some());
        if latent.support.has_latent_bounds() {
            if was_given {
                return Err(SgviError::unsupported(
                    self.graph,
                    v,
                    "its `initial` value may be outside its bounds, which depend on latent variables",
                    "leave out `initial`: the search starts in the middle",
                ));
            }
            return Ok(vec![0.0; n]);
        }
        let centre = match given {
            Some(given) => Some(given),
            None => self.prior(v, &latent.shape)?.0,
        };
        let Some(x) = centre else { return Ok(vec![0.0; n]) };
        let mut bound = |b: &Value| self.expand(b, &latent.shape).unwrap_or_else(|| vec![0.0; n]);
        let y: Vec<f64> = match &latent.support {
            Support::Lower(l) => x.iter().zip(bound(l)).map(|(x, l)| (x - l).ln()).collect(),
            Support::Upper(u) => x.iter().zip(bound(u)).map(|(x, u)| (u - x).ln()).collect(),
            Support::Interval(l, u) => {
                let (l, u) = (bound(l), bound(u));
                (0..n).map(|i| logit((x[i] - l[i]) / (u[i] - l[i]))).collect()
            }
            _ => x,
        };
        if was_given {
            return self.check_start(v, &y, "not between its bounds");
        }
        Ok(y.into_iter().map(|y| if y.is_finite() { y } else { 0.0 }).collect())
    }

    /// Increasing values around the prior's location.
    fn evenly_spaced(
        &mut self,
        v: VariableId,
        latent: &Latent,
        size: usize,
        positive: bool,
    ) -> Result<Vec<f64>, SgviError> {
        let n = latent.count;
        let (location, spread) = self.prior(v, &latent.shape)?;
        let location = location.unwrap_or_else(|| vec![0.0; n]);
        let spread = spread.unwrap_or_else(|| vec![1.0; n]);
        let k = size as f64;
        let at = |i: usize| {
            let j = (i % size) as f64;
            if positive {
                location[i].max(1e-3) * (j + 1.0) / k
            } else {
                location[i] + spread[i] * (j - 0.5 * (k - 1.0)) / k
            }
        };
        Ok((0..n).map(at).collect())
    }

    /// Coordinates of diag(E[Λ]) under a Wishart prior with constant scale; of the identity otherwise.
    fn matrix_start(&mut self, v: VariableId, d: usize, elements: usize) -> Result<Vec<f64>, SgviError> {
        let (degrees, scale) = match &self.graph.variable(v).distribution {
            Distribution::Wishart { degrees_of_freedom, scale }
            | Distribution::NormalWishart { degrees_of_freedom, scale, .. } => (*degrees_of_freedom, *scale),
            _ => return Ok(vec![0.0; elements * d * (d + 1) / 2]),
        };
        let nu = if self.graph.is_data(degrees) {
            let value = self.node(degrees, View::Plain)?;
            self.b.number(&value).unwrap_or(d as f64)
        } else {
            d as f64
        };
        let (node, inverse) = match scale {
            WishartScale::Scale(n) => (n, false),
            WishartScale::InverseScale(n) => (n, true),
        };
        let mut diagonal = vec![1.0; d];
        if self.graph.is_data(node) {
            let value = self.node(node, View::Plain)?;
            if let Some(numbers) = self.b.numbers(&value) {
                for (i, x) in diagonal.iter_mut().enumerate() {
                    let w = numbers.get(if numbers.len() == d * d { i * d + i } else { 0 }).copied().unwrap_or(1.0);
                    *x = nu * if inverse { 1.0 / w } else { w };
                }
            }
        }
        let mut y = Vec::new();
        for _ in 0..elements {
            for (i, x) in diagonal.iter().enumerate() {
                y.extend(std::iter::repeat_n(0.0, i));
                y.push(0.5 * x.max(1e-300).ln());
            }
        }
        Ok(y)
    }
}
