//! The posterior on the variables' own scales: parameters in unconstrained space, means and standard deviations.

use vi_model::graph::{AxisId, AxisKind, Graph};
use vi_run::array::NestedArray;
use vi_run::record::{Dimension, PosteriorEntry, Table};

use super::assess::Assessment;
use super::gaussian::Gaussian;
use super::noise;
use super::range::Range;
use crate::lower::{Latent, Model, ReadOut, Support};
use crate::tape::{Evaluator, Frame, Value};

/// Draws for moments that have no closed form.
const DRAWS: usize = 20_000;

/// Running means and squares of everything that is read out.
struct Moments {
    mean: Vec<f64>,
    square: Vec<f64>,
    weighted: Vec<f64>,
}

/// Where a nested element lies: offsets in reported order.
fn offsets(graph: &Graph, axes: &[(AxisId, usize)]) -> (Vec<usize>, Vec<usize>) {
    let shape: Vec<usize> = axes.iter().map(|a| graph.axis(a.0).size).collect();
    let total: usize = shape.iter().product();
    let mut out = Vec::with_capacity(total);
    for i in 0..total {
        let (mut rest, mut offset) = (i, 0);
        for (a, size) in axes.iter().zip(&shape).rev() {
            offset += rest % size * a.1;
            rest /= size;
        }
        out.push(offset);
    }
    (shape, out)
}

fn has_rows(graph: &Graph, read_out: &ReadOut) -> bool {
    read_out.axes.iter().any(|a| Some(a.0) == graph.rows)
}

/// Value of an operand of the read-out program for one draw of a frame.
fn slice<'a>(evaluator: &'a Evaluator, frame: &'a Frame, value: &Value, draw: usize) -> &'a [f64] {
    let n = value.shape.elements(frame.rows);
    let from = if value.is_data() { 0 } else { draw * n };
    &frame.read(evaluator.program(), value)[from..from + n]
}

/// Entries for every variable and expression outside the rows' plate; means by importance sampling where there was an
/// assessment.
pub(crate) fn entries(
    graph: &Graph,
    model: &Model,
    q: &Gaussian,
    assessment: Option<&Assessment>,
    seed: u64,
) -> Table<PosteriorEntry> {
    let evaluator = Evaluator::new(std::sync::Arc::clone(&model.read_out));
    let global: Vec<&ReadOut> = model.outputs.iter().filter(|o| !has_rows(graph, o)).collect();
    let sizes: Vec<(usize, usize)> =
        global.iter().map(|o| (o.value.shape.inner(), o.precision.as_ref().map_or(0, |p| p.shape.inner()))).collect();
    let total: usize = sizes.iter().map(|s| s.0 + s.1).sum();
    let mut moments = Moments { mean: vec![0.0; total], square: vec![0.0; total], weighted: vec![0.0; total] };
    // Moments from draws whose first two sample moments are exact, so that linear expressions are exact too.
    let draws = DRAWS.min((200_000_000 / q.mean.len().max(total).max(1)).max(1000)) / 2 * 2;
    // Points are the same in all of them.
    let draws = if q.free.is_empty() { 2 } else { draws };
    let noise = noise::matched(seed, draws, q.noise_dimension());
    let see = |theta: &[f64], count: usize, see: &mut dyn FnMut(usize, usize, &[f64])| {
        evaluator.visit(theta, count, 0, |from, frame| {
            for d in 0..frame.draws {
                let mut at = 0;
                for (o, size) in global.iter().zip(&sizes) {
                    see(from + d, at, &slice(&evaluator, frame, &o.value, d)[..size.0]);
                    at += size.0;
                    if let Some(p) = &o.precision {
                        see(from + d, at, &slice(&evaluator, frame, p, d)[..size.1]);
                        at += size.1;
                    }
                }
            }
        });
    };
    let w = q.noise_dimension();
    let batch = (4_000_000 / q.mean.len().max(1)).clamp(16, 4096);
    for from in (0..draws).step_by(batch) {
        let to = (from + batch).min(draws);
        let theta = q.points(&noise[from * w..to * w], to - from);
        see(&theta, to - from, &mut |_, at, values| {
            for (i, v) in values.iter().enumerate() {
                moments.mean[at + i] += v / draws as f64;
            }
        });
    }
    for from in (0..draws).step_by(batch) {
        let to = (from + batch).min(draws);
        let theta = q.points(&noise[from * w..to * w], to - from);
        see(&theta, to - from, &mut |_, at, values| {
            for (i, v) in values.iter().enumerate() {
                moments.square[at + i] += (v - moments.mean[at + i]).powi(2) / draws as f64;
            }
        });
    }
    for (assessment, from) in assessment.iter().flat_map(|a| (0..a.draws).step_by(batch).map(move |from| (a, from))) {
        let to = (from + batch).min(assessment.draws);
        let theta = q.points(&assessment.noise[from * w..to * w], to - from);
        see(&theta, to - from, &mut |d, at, values| {
            for (i, v) in values.iter().enumerate() {
                moments.weighted[at + i] += assessment.smoothed.weights[from + d] * v;
            }
        });
    }
    let mut table = Table::new();
    let mut at = 0;
    for (o, size) in global.iter().zip(&sizes) {
        let latent = o.variable.and_then(|v| model.latents.iter().find(|l| l.variable == v));
        let mut entry = entry(graph, q, o, latent, &moments, at, size.0);
        entry.label(|axis| graph.element_names(axis));
        if assessment.is_some() {
            let corrected = nested(graph, &o.axes, &moments.weighted[at..at + size.0]);
            if let Ok(value) = serde_json::to_value(corrected) {
                entry.extra.insert("mean_importance_sampling".to_owned(), value);
            }
        }
        table.insert(o.name.clone(), entry);
        at += size.0 + size.1;
    }
    table
}

/// Nested arrays of a read-out from flat values in buffer order.
pub(super) fn nested(graph: &Graph, axes: &[(AxisId, usize)], values: &[f64]) -> NestedArray {
    let (shape, offsets) = offsets(graph, axes);
    let values: Vec<f64> = offsets.iter().map(|o| values[*o]).collect();
    NestedArray::new(shape, values).unwrap_or_else(|_| NestedArray::scalar(f64::NAN))
}

fn dimension(graph: &Graph, axis: AxisId) -> Dimension {
    let axis = graph.axis(axis);
    if axis.kind == AxisKind::Anonymous { Dimension::Length(axis.size) } else { Dimension::Name(axis.name.clone()) }
}

/// Marginal mean and variance of coordinate `c`.
pub(crate) fn marginal(q: &Gaussian, variances: &[f64], c: usize) -> (f64, f64) {
    (q.mean[c], q.free.binary_search(&c).map_or(0.0, |i| variances[i]))
}

#[allow(clippy::too_many_arguments)]
fn entry(
    graph: &Graph,
    q: &Gaussian,
    o: &ReadOut,
    latent: Option<&Latent>,
    moments: &Moments,
    at: usize,
    size: usize,
) -> PosteriorEntry {
    let plate_count = match o.variable {
        Some(v) => graph.variable(v).plates.len(),
        None => o.axes.len(),
    };
    let mut mean = moments.mean[at..at + size].to_vec();
    let mut sd: Vec<f64> = moments.square[at..at + size].iter().map(|v| v.sqrt()).collect();
    let mut entry = PosteriorEntry {
        plates: o.axes[..plate_count.min(o.axes.len())].iter().map(|a| graph.axis(a.0).name.clone()).collect(),
        dimension: o.axes.get(plate_count).map(|a| dimension(graph, a.0)),
        ..PosteriorEntry::default()
    };
    if let (Some(latent), Some(v)) = (latent, o.variable) {
        let variances = q.variances();
        let point = graph.variable(v).point;
        let coordinate = |i: usize| marginal(q, &variances, latent.offset + i);
        let unconstrained = |n: usize| -> (Vec<f64>, Vec<f64>) { (0..n).map(coordinate).unzip() };
        let (name, parameters): (&str, Vec<(&str, NestedArray)>) = match &latent.support {
            _ if point => {
                sd.fill(0.0);
                ("point", vec![("value", nested(graph, &o.axes, &mean))])
            }
            Support::Real => {
                let (m, variance) = unconstrained(size);
                mean.clone_from(&m);
                sd = variance.iter().map(|v| v.sqrt()).collect();
                let mut parameters = vec![("mean", nested(graph, &o.axes, &m))];
                match (o.axes.get(plate_count), size <= 4096) {
                    (Some(d), true) => {
                        parameters.push(("covariance", covariance(graph, q, latent, o, plate_count, d.0)));
                    }
                    _ => parameters.push(("variance", nested(graph, &o.axes, &variance))),
                }
                ("normal", parameters)
            }
            Support::Lower(_) | Support::Upper(_) | Support::Interval(..) => {
                let (m, variance) = unconstrained(size);
                let spread: Vec<f64> = variance.iter().map(|v| v.sqrt()).collect();
                let transform = bounds(graph, o, &latent.support);
                for i in 0..size {
                    if let Some((a, b)) = transform.moments(m[i], spread[i]) {
                        (mean[i], sd[i]) = (a, b);
                    }
                }
                let mut parameters =
                    vec![("mean", nested(graph, &o.axes, &m)), ("sd", nested(graph, &o.axes, &spread))];
                parameters.extend(transform.parameters());
                (transform.name(), parameters)
            }
            support => {
                let (m, variance) = unconstrained(latent.count);
                let name = match support {
                    Support::Simplex { .. } => "stick-breaking-normal",
                    Support::Ordered { .. } => "ordered-normal",
                    Support::PositiveDefinite(_) => "cholesky-normal",
                    Support::NormalGamma => "normal-log-normal",
                    _ => "normal-cholesky-normal",
                };
                let plates: Vec<usize> = o.axes[..plate_count].iter().map(|a| graph.axis(a.0).size).collect();
                let by_element = |values: Vec<f64>| match support {
                    Support::Ordered { .. } => nested(graph, &o.axes, &values),
                    _ => by_element(&plates, support, &values),
                };
                (name, vec![("mean", by_element(m)), ("variance", by_element(variance))])
            }
        };
        entry.distribution = Some(name.to_owned());
        entry.parameters = parameters.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        if let Some(precision) = &o.precision {
            let expected = &moments.mean[at + size..];
            let shape: Vec<usize> = precision.shape.axes.iter().map(|a| a.1).collect();
            let count = shape.iter().product();
            entry.expected_precision = NestedArray::new(shape, expected[..count].to_vec()).ok();
        }
    }
    entry.mean = Some(nested(graph, &o.axes, &mean));
    entry.sd = Some(nested(graph, &o.axes, &sd));
    entry
}

/// Coordinates of a variable in unconstrained space as `[plates…, coordinates of one element]`: those of a joint variable
/// lie first all of the location's, then all of the precision's.
fn by_element(plates: &[usize], support: &Support, values: &[f64]) -> NestedArray {
    let elements: usize = plates.iter().product();
    let count = values.len() / elements.max(1);
    let location = match support {
        Support::NormalGamma => 1,
        Support::NormalWishart(d) => *d,
        _ => count,
    };
    let (locations, precisions) = values.split_at(elements * location);
    let ordered: Vec<f64> = (0..elements)
        .flat_map(|e| {
            let precision = count - location;
            let of = |part: &[f64], width: usize| part[e * width..(e + 1) * width].to_vec();
            [of(locations, location), of(precisions, precision)].concat()
        })
        .collect();
    let shape = [plates, &[count]].concat();
    NestedArray::new(shape, ordered).unwrap_or_else(|_| NestedArray::scalar(f64::NAN))
}

/// Covariance matrices of a vector variable, one for each element of its plates.
fn covariance(
    graph: &Graph,
    q: &Gaussian,
    latent: &Latent,
    o: &ReadOut,
    plate_count: usize,
    dimension: AxisId,
) -> NestedArray {
    let d = graph.axis(dimension).size;
    let (mut shape, elements) = offsets(graph, &o.axes[..plate_count]);
    let stride = o.axes[plate_count].1;
    shape.extend([d, d]);
    let place = |c: usize| q.free.binary_search(&c).ok();
    let mut values = Vec::with_capacity(elements.len() * d * d);
    for e in elements {
        for i in 0..d {
            for j in 0..d {
                let (a, b) = (latent.offset + e + i * stride, latent.offset + e + j * stride);
                values.push(match (place(a), place(b)) {
                    (Some(a), Some(b)) => q.covariance(a, b),
                    _ => 0.0,
                });
            }
        }
    }
    NestedArray::new(shape, values).unwrap_or_else(|_| NestedArray::scalar(f64::NAN))
}

/// Bounds of a transformed scalar, as numbers where they are the same for every element.
struct Bounds {
    kind: Support,
    lower: Option<f64>,
    upper: Option<f64>,
}

/// Constant bounds; where they vary by element the moments come from draws.
fn bounds(graph: &Graph, o: &ReadOut, support: &Support) -> Bounds {
    let constant = |node: Option<vi_model::graph::NodeId>| -> Option<f64> {
        let tensor = graph.evaluate_data(node?, 0..0).ok()?;
        (tensor.values.len() == 1).then(|| tensor.values[0])
    };
    let Some(v) = o.variable else { return Bounds { kind: support.clone(), lower: None, upper: None } };
    let variable = graph.variable(v);
    use vi_model::graph::Distribution;
    let (lower, upper) = match &variable.distribution {
        Distribution::Uniform { lower, upper } => (constant(Some(*lower)), constant(Some(*upper))),
        distribution => {
            let of = |node: Option<_>, none| if node.is_some() { constant(node) } else { none };
            let is_beta = matches!(distribution, Distribution::Beta { .. });
            let (lower, upper) = (of(variable.lower, Some(0.0)), of(variable.upper, is_beta.then_some(1.0)));
            let (least, most) = distribution.range();
            (lower.map(|l| l.max(least)), upper.map(|u| u.min(most)))
        }
    };
    Bounds { kind: support.clone(), lower, upper }
}

impl Bounds {
    fn name(&self) -> &'static str {
        match &self.kind {
            Support::Lower(_) if self.lower == Some(0.0) => "log-normal",
            Support::Lower(_) => "shifted-log-normal",
            Support::Upper(_) => "reflected-log-normal",
            _ => "logit-normal",
        }
    }

    fn parameters(&self) -> Vec<(&'static str, NestedArray)> {
        let mut out = Vec::new();
        if let Some(l) = self.lower.filter(|l| *l != 0.0 || matches!(self.kind, Support::Interval(..)))
            && !matches!(self.kind, Support::Upper(_))
        {
            out.push(("lower", NestedArray::scalar(l)));
        }
        if let Some(u) = self.upper {
            out.push(("upper", NestedArray::scalar(u)));
        }
        out
    }

    /// Mean and sd on the variable's own scale from those of θ.
    fn moments(&self, m: f64, s: f64) -> Option<(f64, f64)> {
        let range = match (&self.kind, self.lower, self.upper) {
            (Support::Lower(_), Some(l), _) => Range::Above(l),
            (Support::Upper(_), _, Some(u)) => Range::Below(u),
            (Support::Interval(..), Some(l), Some(u)) => Range::Between(l, u),
            _ => return None,
        };
        Some(range.moments(m, s))
    }
}
