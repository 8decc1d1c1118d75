//! The posterior by name: parameters of each factor, means, marginal standard deviations, and rows on request.

use vi_families::{matrix, wishart::Wishart};
use vi_model::graph::{AxisKind, VariableId};
use vi_run::array::NestedArray;
use vi_run::record::{Dimension, PosteriorEntry};

use crate::factor::Family;
use crate::fit::Ascent;
use crate::program::{FactorId, Operand, Source};

/// Values in plate order with their shape.
struct Values {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Values {
    fn nested(self) -> Option<NestedArray> {
        NestedArray::new(self.shape, self.values).ok()
    }
}

impl Ascent {
    /// Entries of all variables that are not in the rows' plate, and of the expressions, in the order of the file.
    pub fn posterior(&self) -> Vec<(String, PosteriorEntry)> {
        let engine = &self.engine;
        let graph = &engine.lowered.graph;
        let mut entries = Vec::new();
        for v in 0..graph.variables.len() {
            let id = VariableId(v);
            if graph.is_local(id) {
                continue;
            }
            if let Some(&f) = engine.lowered.factor_of.get(&id)
                && let Some(entry) = self.entry(id, f)
            {
                entries.push((graph.variable(id).name.clone(), entry));
            }
        }
        for derived in &engine.lowered.derived {
            if graph.rows.is_some_and(|r| derived.axes.contains(&r)) {
                continue;
            }
            let shape: Vec<usize> = derived.axes.iter().map(|a| graph.axis(*a).size).collect();
            let output = Operand { source: Source::Summary(0), index: derived.index.clone() };
            let size = shape.iter().product();
            let mut mean = vec![0.0; size];
            engine.derived(&derived.mean, &output, &shape, &mut mean);
            let mut random_mean = vec![0.0; size];
            engine.derived(&derived.random_mean, &output, &shape, &mut random_mean);
            let mut second = vec![0.0; size];
            engine.derived(&derived.second, &output, &shape, &mut second);
            let sd = random_mean.iter().zip(&second).map(|(m, s)| (s - m * m).max(0.0).sqrt()).collect();
            let entry = PosteriorEntry {
                plates: derived.axes.iter().map(|a| graph.axis(*a).name.clone()).collect(),
                mean: NestedArray::new(shape.clone(), mean).ok(),
                sd: NestedArray::new(shape, sd).ok(),
                ..PosteriorEntry::default()
            };
            entries.push((derived.name.clone(), entry));
        }
        for (_, entry) in &mut entries {
            entry.label(|axis| graph.element_names(axis));
        }
        entries
    }

    /// The natural parameters of a global factor as its neighbours see them now.
    fn entry(&self, v: VariableId, f: FactorId) -> Option<PosteriorEntry> {
        let engine = &self.engine;
        let graph = &engine.lowered.graph;
        let factor = &engine.lowered.program.factors[f];
        let variable = graph.variable(v);
        let plates: Vec<usize> = variable.plates.iter().map(|p| graph.axis(*p).size).collect();
        let mut entry = PosteriorEntry {
            distribution: Some(distribution_of(factor.family, variable.point).to_owned()),
            plates: variable.plates.iter().map(|p| graph.axis(*p).name.clone()).collect(),
            dimension: variable.dimension.map(|d| match graph.axis(d).kind {
                AxisKind::Anonymous => Dimension::Length(graph.axis(d).size),
                _ => Dimension::Name(graph.axis(d).name.clone()),
            }),
            ..PosteriorEntry::default()
        };
        let with = |extra: &[usize]| plates.iter().chain(extra).copied().collect::<Vec<usize>>();
        let mut put = |name: &str, extra: &[usize], values: Vec<f64>| {
            if let Some(array) = (Values { shape: with(extra), values }).nested() {
                entry.parameters.insert(name.to_owned(), array);
            }
        };
        let elements: usize = plates.iter().product();
        let natural = |s: usize, e: usize| {
            let w = factor.family.statistic_size(s);
            &engine.natural[f][s][e * w..(e + 1) * w]
        };
        let statistic = |s: usize, e: usize| {
            let w = factor.family.statistic_size(s);
            &engine.statistics[f][s][e * w..(e + 1) * w]
        };
        let scalars = |function: &dyn Fn(usize) -> f64| (0..elements).map(function).collect::<Vec<f64>>();
        // What lowering subtracted from a location is added again.
        let shift = |at: usize| factor.shift.get(at).copied().unwrap_or(0.0);
        let (mut mean, mut sd): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut tail: Vec<usize> = Vec::new();
        let mut expected_precision = None;
        match factor.family {
            Family::Normal | Family::NormalVector(_) => {
                let d = variable.dimension.map_or(1, |a| graph.axis(a).size);
                let (means, covariances) = self.normal_moments(v, f);
                let dims: &[usize] = if variable.dimension.is_some() { &[d] } else { &[] };
                tail = dims.to_vec();
                sd = covariances
                    .chunks_exact(d * d)
                    .flat_map(|c| (0..d).map(|i| c[i * d + i].max(0.0).sqrt()))
                    .collect();
                put("mean", dims, means.clone());
                if variable.dimension.is_some() {
                    put("covariance", &[d, d], covariances);
                } else {
                    put("variance", &[], covariances);
                }
                mean = means;
            }
            Family::Partial(part) => {
                // Observed elements are points among the others: means and sds say both.
                let tails = crate::factor::moment_shape(part.whole(), 1);
                let of = |power: i32| -> Vec<f64> {
                    let one = |e: usize| {
                        let count = factor.family.num_statistics();
                        let own: Vec<&[f64]> = (0..count).map(|s| natural(s, e)).collect();
                        let expected: Vec<&[f64]> = (0..count).map(|s| statistic(s, e)).collect();
                        crate::factor::moment(factor.family, factor.point, &own, &expected, power)
                    };
                    (0..elements).flat_map(one).collect()
                };
                let (first, second) = (of(1), of(2));
                let d: usize = tails.iter().product();
                let place = |i: usize| if tails.is_empty() { i } else { (i / d) * d * d + (i % d) * (d + 1) };
                sd = first.iter().enumerate().map(|(i, m)| (second[place(i)] - m * m).max(0.0).sqrt()).collect();
                mean = first;
                tail = tails;
            }
            Family::Shape => {
                mean = scalars(&|e| statistic(0, e)[0]);
                sd = vec![0.0; elements];
            }
            Family::Gamma => {
                if variable.point {
                    mean = scalars(&|e| statistic(0, e)[0]);
                    sd = vec![0.0; elements];
                } else {
                    let (shape, rate) = (scalars(&|e| natural(1, e)[0] + 1.0), scalars(&|e| -natural(0, e)[0]));
                    mean = shape.iter().zip(&rate).map(|(a, b)| a / b).collect();
                    sd = shape.iter().zip(&rate).map(|(a, b)| a.sqrt() / b).collect();
                    put("shape", &[], shape);
                    put("rate", &[], rate);
                }
            }
            Family::InverseGamma => {
                if variable.point {
                    mean = scalars(&|e| 1.0 / statistic(0, e)[0]);
                    sd = vec![0.0; elements];
                } else {
                    let (shape, scale) = (scalars(&|e| -natural(1, e)[0] - 1.0), scalars(&|e| -natural(0, e)[0]));
                    mean = shape
                        .iter()
                        .zip(&scale)
                        .map(|(a, b)| if *a > 1.0 { b / (a - 1.0) } else { f64::INFINITY })
                        .collect();
                    sd = shape
                        .iter()
                        .zip(&scale)
                        .map(|(a, b)| if *a > 2.0 { b / ((a - 1.0) * (a - 2.0).sqrt()) } else { f64::INFINITY })
                        .collect();
                    put("shape", &[], shape);
                    put("scale", &[], scale);
                }
            }
            Family::Beta => {
                if variable.point {
                    mean = scalars(&|e| statistic(0, e)[0].exp());
                    sd = vec![0.0; elements];
                } else {
                    let (a, b) = (scalars(&|e| natural(0, e)[0] + 1.0), scalars(&|e| natural(1, e)[0] + 1.0));
                    mean = a.iter().zip(&b).map(|(a, b)| a / (a + b)).collect();
                    sd = a.iter().zip(&b).map(|(a, b)| (a * b / (a + b + 1.0)).sqrt() / (a + b)).collect();
                    put("alpha", &[], a);
                    put("beta", &[], b);
                }
            }
            Family::Dirichlet(k) => {
                tail = vec![k];
                if variable.point {
                    mean = engine.statistics[f][0].iter().map(|l| l.exp()).collect();
                    sd = vec![0.0; mean.len()];
                } else {
                    let concentration: Vec<f64> = engine.natural[f][0].iter().map(|n| n + 1.0).collect();
                    for alpha in concentration.chunks_exact(k) {
                        let total: f64 = alpha.iter().sum();
                        mean.extend(alpha.iter().map(|a| a / total));
                        sd.extend(alpha.iter().map(|a| (a / total * (1.0 - a / total) / (total + 1.0)).sqrt()));
                    }
                    put("concentration", &[k], concentration);
                }
            }
            Family::StickBreaking(k) => {
                tail = vec![k];
                let (mut alphas, mut betas) = (Vec::new(), Vec::new());
                for e in 0..elements {
                    let own = [natural(0, e), natural(1, e), natural(2, e)];
                    let sticks = crate::factor::stick_parameters(&own);
                    let (mut rest, mut rest_square) = (1.0, 1.0);
                    for &(a, b) in &sticks {
                        let (m, total) = (a / (a + b), a + b);
                        let square = a * (a + 1.0) / (total * (total + 1.0));
                        mean.push(m * rest);
                        sd.push((square * rest_square - m * m * rest * rest).max(0.0).sqrt());
                        rest *= b / total;
                        rest_square *= b * (b + 1.0) / (total * (total + 1.0));
                    }
                    mean.push(rest);
                    sd.push((rest_square - rest * rest).max(0.0).sqrt());
                    alphas.extend(sticks.iter().map(|s| s.0));
                    betas.extend(sticks.iter().map(|s| s.1));
                }
                if variable.point {
                    mean = engine.statistics[f][0].iter().map(|l| l.exp()).collect();
                    sd = vec![0.0; mean.len()];
                } else {
                    put("alpha", &[k - 1], alphas);
                    put("beta", &[k - 1], betas);
                }
            }
            Family::Categorical(k) => {
                tail = vec![k];
                mean = engine.statistics[f][0].clone();
                sd = mean.iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
                put("probabilities", &[k], mean.clone());
            }
            Family::Bernoulli => {
                mean = engine.statistics[f][0].clone();
                sd = mean.iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
                put("probability", &[], mean.clone());
            }
            Family::Poisson => {
                mean = engine.statistics[f][0].clone();
                sd = mean.iter().map(|m| m.sqrt()).collect();
                put("rate", &[], mean.clone());
            }
            Family::Wishart(d) => {
                tail = vec![d, d];
                if variable.point {
                    mean = engine.statistics[f][0].clone();
                    sd = vec![0.0; mean.len()];
                } else {
                    let degrees = scalars(&|e| 2.0 * natural(1, e)[0] + d as f64 + 1.0);
                    let mut scales = Vec::new();
                    for (e, nu) in degrees.iter().enumerate() {
                        let scale: Vec<f64> = statistic(0, e).iter().map(|x| x / nu).collect();
                        let posterior = Wishart::from_scale(d, *nu, scale.clone()).ok()?;
                        mean.extend(posterior.mean());
                        sd.extend(posterior.variance().iter().map(|v| v.sqrt()));
                        scales.extend(scale);
                    }
                    put("degrees_of_freedom", &[], degrees);
                    put("scale", &[d, d], scales);
                }
            }
            Family::NormalGamma => {
                let tau = scalars(&|e| statistic(0, e)[0]);
                mean = scalars(&|e| statistic(2, e)[0] / statistic(0, e)[0] + shift(e));
                expected_precision = Values { shape: with(&[]), values: tau }.nested();
                if variable.point {
                    sd = vec![0.0; elements];
                } else {
                    let all: Vec<(f64, f64, f64, f64)> = (0..elements)
                        .map(|e| {
                            let own = [natural(0, e), natural(1, e), natural(2, e), natural(3, e)];
                            crate::factor::normal_gamma_parameters(&own)
                        })
                        .collect();
                    // The marginal of the location is Student's t with 2a degrees of freedom.
                    sd = all
                        .iter()
                        .map(|(a, b, _, k)| if *a > 1.0 { (b / ((a - 1.0) * k)).sqrt() } else { f64::INFINITY })
                        .collect();
                    put("mean", &[], mean.clone());
                    put("mean_precision", &[], all.iter().map(|p| p.3).collect());
                    put("shape", &[], all.iter().map(|p| p.0).collect());
                    put("rate", &[], all.iter().map(|p| p.1).collect());
                }
            }
            Family::NormalWishart(d) => {
                tail = vec![d];
                expected_precision = Values { shape: with(&[d, d]), values: engine.statistics[f][0].clone() }.nested();
                let (mut kappas, mut degrees, mut scales) = (Vec::new(), Vec::new(), Vec::new());
                for e in 0..elements {
                    let kappa = -2.0 * natural(3, e)[0];
                    let nu = 2.0 * natural(1, e)[0] + d as f64;
                    mean.extend(natural(2, e).iter().enumerate().map(|(i, h)| h / kappa + shift(e * d + i)));
                    let scale: Vec<f64> = statistic(0, e).iter().map(|x| x / nu).collect();
                    // The marginal of the location is a t with ν − d + 1 degrees of freedom and precision κ(ν − d + 1)W.
                    let freedom = nu - d as f64 - 1.0;
                    match matrix::inverse_and_log_determinant(&scale, d) {
                        Ok((inverse, _)) if freedom > 0.0 && !variable.point => {
                            sd.extend((0..d).map(|i| (inverse[i * d + i] / (kappa * freedom)).sqrt()));
                        }
                        _ if variable.point => sd.extend(vec![0.0; d]),
                        _ => sd.extend(vec![f64::INFINITY; d]),
                    }
                    kappas.push(kappa);
                    degrees.push(nu);
                    scales.extend(scale);
                }
                if !variable.point {
                    put("mean", &[d], mean.clone());
                    put("mean_precision", &[], kappas);
                    put("degrees_of_freedom", &[], degrees);
                    put("scale", &[d, d], scales);
                }
            }
            Family::TruncatedNormal
            | Family::PartialNormal(_)
            | Family::JaakkolaJordan
            | Family::LogGammaTangent
            | Family::LaplaceScale
            | Family::MarkovChain(_)
            | Family::GaussianMarkovChain(_)
            | Family::MarkovSteps(_)
            | Family::GaussianSteps(_) => return None,
        }
        if variable.point {
            put("value", &tail, mean.clone());
        }
        entry.mean = Values { shape: with(&tail), values: mean }.nested();
        entry.sd = Values { shape: with(&tail), values: sd }.nested();
        entry.expected_precision = expected_precision;
        Some(entry)
    }

    /// Means `[plates, d]` and covariances `[plates, d, d]` of a normal variable, also inside a joint block.
    pub(crate) fn normal_moments(&self, v: VariableId, f: FactorId) -> (Vec<f64>, Vec<f64>) {
        let engine = &self.engine;
        let factor = &engine.lowered.program.factors[f];
        let (total, d) = self.widths(v, f);
        let (mut means, mut covariances) = (Vec::new(), Vec::new());
        for (element, (common, first)) in self.places(v, f).into_iter().enumerate() {
            let mean = &engine.statistics[f][0][common * total..(common + 1) * total];
            let second = &engine.statistics[f][1][common * total * total..(common + 1) * total * total];
            let moved = |i: usize| factor.shift.get(element * d + i).copied().unwrap_or(0.0);
            means.extend((0..d).map(|i| mean[first + i] + moved(i)));
            for i in 0..d {
                for j in 0..d {
                    let value = second[(first + i) * total + first + j] - mean[first + i] * mean[first + j];
                    covariances.push(value);
                }
            }
        }
        (means, covariances)
    }

    /// Length of a factor's joint vector, and of the variable's own part at one of its elements.
    fn widths(&self, v: VariableId, f: FactorId) -> (usize, usize) {
        let factor = &self.engine.lowered.program.factors[f];
        let total = match factor.family {
            Family::NormalVector(d) => d,
            _ => 1,
        };
        (total, factor.members.iter().find(|m| m.variable == Some(v)).map_or(1, |m| m.dimension))
    }

    /// Positions of a variable's coordinates, in plate order, in the first statistic of its factor.
    pub(crate) fn coordinates(&self, v: VariableId, f: FactorId) -> Vec<usize> {
        let (total, d) = self.widths(v, f);
        self.places(v, f)
            .into_iter()
            .flat_map(|(common, first)| (0..d).map(move |i| common * total + first + i))
            .collect()
    }

    /// For each plate element of a variable: the element of its factor, and its first coordinate there.
    fn places(&self, v: VariableId, f: FactorId) -> Vec<(usize, usize)> {
        let graph = &self.engine.lowered.graph;
        let factor = &self.engine.lowered.program.factors[f];
        let variable = graph.variable(v);
        let Some(member) = factor.members.iter().find(|m| m.variable == Some(v)) else { return vec![] };
        let sizes: Vec<usize> = variable.plates.iter().map(|p| graph.axis(*p).size).collect();
        let elements: usize = sizes.iter().product();
        let mut places = Vec::with_capacity(elements);
        for element in 0..elements {
            let mut rest = element;
            let mut positions = vec![0; sizes.len()];
            for (position, size) in positions.iter_mut().zip(&sizes).rev() {
                *position = rest % size;
                rest /= size;
            }
            let mut common = 0;
            let mut coordinate = 0;
            if factor.members.len() == 1 {
                common = element;
            } else {
                for (axis, size) in factor.plate_axes.iter().zip(&factor.plates) {
                    let at = variable.plates.iter().position(|p| p == axis).unwrap_or(0);
                    common = common * size + positions[at];
                }
                for (at, plate) in variable.plates.iter().enumerate() {
                    if !factor.plate_axes.contains(plate) {
                        coordinate = coordinate * sizes[at] + positions[at];
                    }
                }
            }
            places.push((common, member.coordinates.start + coordinate * member.dimension));
        }
        places
    }
}

/// The name of a factor's family in the language.
pub(crate) fn distribution_of(family: Family, point: bool) -> &'static str {
    if point {
        return "point";
    }
    match family {
        Family::Normal | Family::NormalVector(_) | Family::PartialNormal(_) => "normal",
        Family::TruncatedNormal => "truncated-normal",
        Family::Partial(part) => distribution_of(part.whole(), point),
        Family::Gamma => "gamma",
        Family::InverseGamma => "inverse-gamma",
        Family::Wishart(_) => "wishart",
        Family::NormalGamma => "normal-gamma",
        Family::NormalWishart(_) => "normal-wishart",
        Family::Beta => "beta",
        Family::Dirichlet(_) => "dirichlet",
        Family::StickBreaking(_) => "stick-breaking",
        Family::Categorical(_) => "categorical",
        Family::Bernoulli => "bernoulli",
        Family::Poisson => "poisson",
        Family::MarkovChain(_) | Family::MarkovSteps(_) => "markov-chain",
        Family::GaussianMarkovChain(_) | Family::GaussianSteps(_) => "gaussian-markov-chain",
        Family::JaakkolaJordan | Family::Shape | Family::LogGammaTangent => "point",
        Family::LaplaceScale => "generalised-inverse-gaussian",
    }
}
