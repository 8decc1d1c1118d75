//! Posterior probabilities of discrete latent variables: derivatives of the log joint, averaged over the approximation.

use vi_model::graph::{Distribution, Graph, VariableId};
use vi_run::array::NestedArray;
use vi_run::record::{PosteriorEntry, Table};

use super::gaussian::Gaussian;
use super::noise;
use crate::error::SgviError;
use crate::lower::{Factored, Model, Probe};
use crate::tape::{Frame, Source};

/// Draws over which the probabilities are averaged.
const DRAWS: usize = 200;

/// The posterior of one discrete variable.
#[derive(Debug, Clone)]
pub(crate) struct Responsibilities {
    /// Which.
    pub variable: VariableId,
    /// Whether it is in the rows' plate.
    pub rows: bool,
    /// Number of values.
    pub size: usize,
    /// Sizes of its further plates.
    pub plates: Vec<usize>,
    /// Probabilities `[rows?, plates, values]`.
    pub probabilities: Vec<f64>,
}

/// Probabilities of every discrete latent variable: ∂ log p / ∂ log p(z = k), averaged over draws, or those of its own factors.
///
/// # Errors
/// As [`Model::new`].
pub(crate) fn responsibilities(
    graph: &Graph,
    q: Option<&Gaussian>,
    seed: u64,
) -> Result<Vec<Responsibilities>, SgviError> {
    let (program, probes, factored) = Model::probing(graph)?;
    let own = factored.iter().zip(std::iter::repeat(q)).filter_map(|(f, q)| Some(from_factors(graph, f, q?)));
    let own: Vec<Responsibilities> = own.collect();
    if probes.is_empty() {
        return Ok(own);
    }
    let n = program.num_rows;
    let mut frame = Frame::new(&program, 1, n);
    let mut sums: Vec<Vec<f64>> = probes.iter().map(|p| vec![0.0; p.value.shape.elements(n)]).collect();
    let point = q.is_none_or(|q| q.free.is_empty());
    let draws = if point { 1 } else { (40_000_000 / n.max(1)).clamp(20, DRAWS) / 2 * 2 };
    let noise = q.map(|q| noise::matched(seed, draws.max(2), q.noise_dimension())).unwrap_or_default();
    let w = q.map_or(0, Gaussian::noise_dimension);
    for d in 0..draws {
        let theta = q.map(|q| q.points(&noise[d * w..(d + 1) * w], 1)).unwrap_or_default();
        frame.sweep(&program, &theta, 1, 0..n, n.max(1), true, true);
        for (sum, probe) in sums.iter_mut().zip(&probes) {
            if let Source::Latent(b) = probe.value.source {
                for (row, adjoint) in sum.chunks_mut(probe.size).zip(frame.adjoints[b].chunks(probe.size)) {
                    let total: f64 = adjoint.iter().sum();
                    row.iter_mut().zip(adjoint).for_each(|(s, a)| *s += a / total / draws as f64);
                }
            }
        }
    }
    Ok(probes.iter().zip(sums).map(|(probe, probabilities)| responsibility(probe, probabilities)).chain(own).collect())
}

/// The probabilities of a variable that has factors of its own.
fn from_factors(graph: &Graph, factored: &Factored, q: &Gaussian) -> Responsibilities {
    let rows = graph.is_local(factored.variable);
    let count = factored.known.len() * factored.size;
    Responsibilities {
        variable: factored.variable,
        rows,
        size: factored.size,
        plates: factored.plates[usize::from(rows)..].to_vec(),
        probabilities: q.center()[factored.offset..factored.offset + count].to_vec(),
    }
}

/// The probabilities of each element; those of elements that were enumerated together are their marginals.
pub(crate) fn responsibility(probe: &Probe, probabilities: Vec<f64>) -> Responsibilities {
    let axes = &probe.value.shape.axes;
    let mut plates: Vec<usize> = axes[..axes.len() - 1].iter().map(|a| a.1).collect();
    let elements: usize = probe.joined.iter().product();
    let (mut size, mut own) = (probe.size, probabilities);
    if !probe.joined.is_empty() && elements > 0 {
        size = (1..=probe.size).find(|k| k.pow(elements as u32) >= probe.size).unwrap_or(1);
        own = own
            .chunks(probe.size)
            .flat_map(|all| {
                let mut marginals = vec![0.0; elements * size];
                for (c, p) in all.iter().enumerate() {
                    for e in 0..elements {
                        marginals[e * size + c / size.pow(e as u32) % size] += p;
                    }
                }
                marginals
            })
            .collect();
        plates.extend(&probe.joined);
    }
    let rows = probe.value.shape.rows;
    Responsibilities { variable: probe.variable, rows, size, plates, probabilities: own }
}

impl Responsibilities {
    /// Whether the values are positions (otherwise numbers 0, 1, …).
    pub(crate) fn is_categorical(&self, graph: &Graph) -> bool {
        matches!(
            graph.variable(self.variable).distribution,
            Distribution::Categorical { .. } | Distribution::MarkovChain { .. }
        )
    }

    /// Mean and sd of the indicator of each value: p and √(p (1 − p)).
    pub(crate) fn indicator_moments(&self) -> (Vec<f64>, Vec<f64>) {
        self.probabilities.iter().map(|p| (*p, (p * (1.0 - p)).max(0.0).sqrt())).unzip()
    }

    /// Mean and sd of each element as a number.
    pub(crate) fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        self.probabilities
            .chunks(self.size)
            .map(|p| {
                let mean: f64 = p.iter().enumerate().map(|(k, p)| k as f64 * p).sum();
                let square: f64 = p.iter().enumerate().map(|(k, p)| (k as f64 - mean).powi(2) * p).sum();
                (mean, square.sqrt())
            })
            .unzip()
    }
}

/// Whether any discrete latent variable is outside the rows' plate, so that its posterior is reported.
pub(crate) fn has_global(graph: &Graph) -> bool {
    graph.variables.iter().enumerate().any(|(i, v)| {
        crate::lower::is_discrete(&v.distribution) && v.observed.is_none() && !graph.is_local(VariableId(i))
    })
}

/// Adds the entries of discrete variables outside the rows' plate.
///
/// # Errors
/// As [`responsibilities`].
pub(crate) fn add_entries(
    graph: &Graph,
    q: Option<&Gaussian>,
    seed: u64,
    table: &mut Table<PosteriorEntry>,
) -> Result<(), SgviError> {
    if !has_global(graph) {
        return Ok(());
    }
    for r in responsibilities(graph, q, seed)?.into_iter().filter(|r| !r.rows) {
        let variable = graph.variable(r.variable);
        let mut shape = r.plates.clone();
        let array = |shape: Vec<usize>, values| NestedArray::new(shape, values).ok();
        let binary = matches!(variable.distribution, Distribution::Bernoulli { .. });
        let categorical = r.is_categorical(graph);
        let family = match (categorical, binary) {
            (true, _) => "categorical",
            (_, true) => "bernoulli",
            _ => "discrete",
        };
        let mut own = shape.clone();
        own.extend(categorical.then_some(r.size));
        let (mean, sd) = if categorical { r.indicator_moments() } else { r.moments() };
        let mut entry = PosteriorEntry {
            distribution: Some(family.to_owned()),
            plates: variable.plates.iter().map(|p| graph.axis(*p).name.clone()).collect(),
            mean: array(own.clone(), mean),
            sd: array(own, sd),
            ..PosteriorEntry::default()
        };
        entry.label(|axis| graph.element_names(axis));
        shape.push(r.size);
        if binary {
            if let Some(mean) = entry.mean.clone() {
                entry.parameters.insert("probability".to_owned(), mean);
            }
        } else if let Some(probabilities) = array(shape, r.probabilities) {
            entry.parameters.insert("probabilities".to_owned(), probabilities);
        }
        table.insert(variable.name.clone(), entry);
    }
    Ok(())
}
