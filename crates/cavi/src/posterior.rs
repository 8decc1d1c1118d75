//! The posterior by name: parameters of each factor, means, marginal standard deviations, and rows on request.

mod report;

use vi_model::graph::{AxisKind, VariableId};
use vi_run::array::NestedArray;
use vi_run::record::{Dimension, PosteriorEntry};

use crate::factor::Family;
use crate::fit::Ascent;
use crate::program::{FactorId, Operand, Source};
use report::Elements;

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

    /// What is reported of a global factor.
    fn entry(&self, v: VariableId, f: FactorId) -> Option<PosteriorEntry> {
        let graph = &self.engine.lowered.graph;
        let factor = &self.engine.lowered.program.factors[f];
        let variable = graph.variable(v);
        let plates: Vec<usize> = variable.plates.iter().map(|p| graph.axis(*p).size).collect();
        let elements = Elements {
            family: factor.family,
            natural: &self.engine.natural[f],
            statistics: &self.engine.statistics[f],
            shift: factor.shift_of(v),
            count: plates.iter().product(),
            is_point: variable.point,
            stays_at_point: factor.point,
        };
        let report = match factor.family {
            Family::Normal | Family::NormalVector(_) => {
                let (means, covariances) = self.normal_moments(v, f);
                report::normal(means, covariances, variable.dimension.map(|a| graph.axis(a).size))
            }
            _ => elements.report()?,
        };
        let nested = |inner: &[usize], values: Vec<f64>| {
            NestedArray::new(plates.iter().chain(inner).copied().collect(), values).ok()
        };
        let value =
            if variable.point { vec![("value", report.inner.clone(), report.mean.clone())] } else { Vec::new() };
        let parameters = report.parameters.into_iter().chain(value);
        Some(PosteriorEntry {
            distribution: Some(distribution_of(factor.family, variable.point).to_owned()),
            plates: variable.plates.iter().map(|p| graph.axis(*p).name.clone()).collect(),
            dimension: variable.dimension.map(|d| match graph.axis(d).kind {
                AxisKind::Anonymous => Dimension::Length(graph.axis(d).size),
                _ => Dimension::Name(graph.axis(d).name.clone()),
            }),
            parameters: parameters
                .filter_map(|(name, inner, values)| Some((name.to_owned(), nested(&inner, values)?)))
                .collect(),
            mean: nested(&report.inner, report.mean),
            sd: nested(&report.inner, report.sd),
            expected_precision: report.expected_precision.and_then(|(inner, values)| nested(&inner, values)),
            ..PosteriorEntry::default()
        })
    }

    /// Means `[plates, d]` and covariances `[plates, d, d]` of a normal variable, also inside a joint block.
    pub(crate) fn normal_moments(&self, v: VariableId, f: FactorId) -> (Vec<f64>, Vec<f64>) {
        let engine = &self.engine;
        let factor = &engine.lowered.program.factors[f];
        let (total, d) = self.widths(v, f);
        let shift = factor.shift_of(v);
        let (mut means, mut covariances) = (Vec::new(), Vec::new());
        for (element, (common, first)) in self.places(v, f).into_iter().enumerate() {
            let mean = &engine.statistics[f][0][common * total..(common + 1) * total];
            let second = &engine.statistics[f][1][common * total * total..(common + 1) * total * total];
            let moved = |i: usize| shift.get(element * d + i).copied().unwrap_or(0.0);
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
        Family::NormalGamma | Family::NormalGammaVector(_) => "normal-gamma",
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
