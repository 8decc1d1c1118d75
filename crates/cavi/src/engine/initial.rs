//! The start: factors at their priors, and what breaks the symmetry of gates and of products of latent variables.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use vi_model::inference::Initialization;

use super::Engine;
use super::gates::{Attempt, nearest, random_simplex, standardize};
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{FactorId, Source};

/// How the statistics of a row-level factor begin.
#[derive(Debug, Clone)]
pub(super) enum Assignment {
    /// The nearest of some centres.
    Nearest { operands: Vec<usize>, shift: Vec<f64>, scale: Vec<f64>, centres: Vec<f64>, categories: usize },
    /// A category for each row, or for each level of a look-up.
    Chosen { codes: Option<usize>, nearest: Vec<u32>, categories: usize },
    /// Random weights from a seed and the row.
    Random { seed: u64, categories: usize },
    /// The same statistics in every row.
    Fixed(Vec<Vec<f64>>),
}

/// What holds during the first iteration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    pub(super) assignments: BTreeMap<FactorId, Assignment>,
    pub(super) held: Vec<FactorId>,
    /// Those of the held whose elements all have one given start, by which no gate can tell them apart.
    pub(super) alike: Vec<FactorId>,
}

impl Start {
    /// Whether any factor has a given start, whose entropy may not be known in the first iteration.
    pub(crate) fn is_given(&self) -> bool {
        !self.held.is_empty() || !self.assignments.is_empty()
    }

    /// Whether a global factor keeps its given start through the first iteration.
    pub(crate) fn holds(&self, f: FactorId) -> bool {
        self.held.contains(&f)
    }

    /// Whether a global factor has a given start that differs from element to element.
    pub(super) fn tells_apart(&self, f: FactorId) -> bool {
        self.holds(f) && !self.alike.contains(&f)
    }

    /// Lets go of factors whose given starts are alike, where a gate that chooses among their elements begins apart.
    pub(super) fn release_alike(&mut self, chosen: &[FactorId]) {
        self.held.retain(|f| !(self.alike.contains(f) && chosen.contains(f)));
    }

    /// Whether a row-level factor is assigned rather than updated.
    pub(crate) fn assigns(&self, f: FactorId) -> bool {
        self.assignments.contains_key(&f)
    }

    /// Writes the starting statistics of a row-level factor; `false` if it is to be updated as usual.
    pub(super) fn fill(&self, f: FactorId, rows: &Range<usize>, engine: &Engine, statistics: &mut [Vec<f64>]) -> bool {
        let Some(assignment) = self.assignments.get(&f) else { return false };
        match assignment {
            Assignment::Fixed(values) => {
                for (array, value) in statistics.iter_mut().zip(values) {
                    if !value.is_empty() {
                        array.chunks_exact_mut(value.len()).for_each(|row| row.copy_from_slice(value));
                    }
                }
            }
            Assignment::Random { seed, categories } => {
                let width = statistics[0].len() / rows.len().max(1);
                for (row, target) in rows.clone().zip(statistics[0].chunks_exact_mut(width)) {
                    let mut random = ChaCha8Rng::seed_from_u64(*seed);
                    random.set_stream(row as u64);
                    target.chunks_exact_mut(*categories).for_each(|p| random_simplex(&mut random, p));
                }
            }
            Assignment::Chosen { codes, nearest, categories } => {
                let width = statistics[0].len() / rows.len().max(1);
                let codes = codes.map(|c| engine.reader.codes(rows.clone())[c]);
                for (i, target) in statistics[0].chunks_exact_mut(width).enumerate() {
                    let unit = codes.map_or(rows.start + i, |c| c[i] as usize);
                    target.fill(0.0);
                    for p in target.chunks_exact_mut(*categories) {
                        match nearest.get(unit) {
                            Some(best) => p[*best as usize] = 1.0,
                            None => p.fill(1.0 / *categories as f64),
                        }
                    }
                }
            }
            Assignment::Nearest { operands, shift, scale, centres, categories } => {
                let mut chunk = ChunkData::default();
                if engine.reader.read(rows.clone(), &mut chunk).is_err() {
                    return false;
                }
                let mut point = vec![0.0; shift.len()];
                let width = statistics[0].len() / rows.len().max(1);
                for (i, target) in statistics[0].chunks_exact_mut(width).enumerate() {
                    engine.observed_point(operands, rows, &chunk, i, &mut point);
                    standardize(&mut point, shift, scale);
                    let best = nearest(&point, centres);
                    target.fill(0.0);
                    target.chunks_exact_mut(*categories).for_each(|p| p[best] = 1.0);
                }
            }
        }
        true
    }
}

impl Engine {
    /// Puts every factor at its start and returns what the first iteration must keep.
    pub(crate) fn start(&mut self, seed: u64, attempt: Attempt) -> Result<Start, CaviError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        self.iteration = 0;
        self.reset_stored();
        for f in self.prior_order() {
            self.defaults(f);
            let fallback = self.statistics[f].clone();
            self.gather(f, true);
            let elements = self.lowered.program.factors[f].elements();
            let updated = self.update_elements(f, 0..elements);
            // At a mode on the border of the simplex a point would never leave it.
            let border = self.lowered.program.factors[f].point
                && self.statistics[f].iter().flatten().any(|x| *x <= crate::lower::LOG_OF_ZERO);
            if updated.is_err() || border {
                // An improper prior: the data will say where it is.
                self.statistics[f] = fallback;
            }
        }
        let mut start = Start::default();
        for f in 0..self.lowered.program.factors.len() {
            let factor = self.lowered.program.factors[f].clone();
            if let Some(initial) = &factor.initial {
                self.begin_at(f, initial, &mut start);
                let mut elements = initial.chunks_exact((initial.len() / factor.elements().max(1)).max(1));
                let first = elements.next();
                let same = |e: &[f64]| first.is_some_and(|f| f.iter().zip(e).all(|(a, b)| a.total_cmp(b).is_eq()));
                if !factor.local && factor.elements() > 1 && elements.all(same) {
                    start.alike.push(f);
                }
                continue;
            }
            let vector = matches!(factor.family, Family::Normal | Family::NormalVector(_));
            if vector && factor.symmetric && !factor.local && attempt.initialization != Initialization::Prior {
                self.perturb(f, &mut random);
                if self.meets_steps(f) {
                    start.held.push(f);
                }
            }
        }
        if attempt.initialization != Initialization::Prior {
            self.assign_gates(&mut start, &mut random, attempt)?;
        }
        Ok(start)
    }

    /// Whether a factor stands in the transition of a chain: its partners there know nothing before the chain is first
    /// updated, and must not pull it back to zero.
    fn meets_steps(&self, f: FactorId) -> bool {
        let factors = &self.lowered.program.factors;
        self.lowered.program.terms.iter().any(|term| {
            let has = |wanted: &dyn Fn(FactorId) -> bool| {
                term.operands.iter().any(|o| matches!(o.source, Source::Statistic { factor, .. } if wanted(factor)))
            };
            has(&|g| g == f) && has(&|g| matches!(factors[g].family, Family::GaussianSteps(_)))
        })
    }

    /// Global factors, parents first.
    fn prior_order(&self) -> Vec<FactorId> {
        let lowered = &self.lowered;
        let parents = |f: FactorId| -> Vec<FactorId> {
            lowered
                .program
                .terms
                .iter()
                .filter(|t| {
                    lowered.program.factors[f].members.iter().any(|m| m.variable.is_some_and(|v| v.0 == t.owner))
                })
                .flat_map(|t| t.operands.iter())
                .filter_map(|o| match o.source {
                    Source::Statistic { factor, .. } if factor != f => Some(factor),
                    _ => None,
                })
                .collect()
        };
        let mut left = self.plan.global_order.clone();
        let mut order = Vec::new();
        while !left.is_empty() {
            let at = left.iter().position(|&f| !parents(f).iter().any(|p| left.contains(p))).unwrap_or(0);
            order.push(left.remove(at));
        }
        order
    }

    /// Statistics of a unit distribution of the family, from which any prior can be reached.
    fn defaults(&mut self, f: FactorId) {
        let factor = &self.lowered.program.factors[f];
        let unit = unit_statistics(factor.family);
        for (array, value) in self.statistics[f].iter_mut().zip(&unit) {
            if !value.is_empty() {
                array.chunks_exact_mut(value.len()).for_each(|e| e.copy_from_slice(value));
            }
        }
    }

    fn reset_stored(&mut self) {
        self.reset_affine();
        for f in 0..self.stored.len() {
            let factor = &self.lowered.program.factors[f];
            let unit = unit_statistics(factor.family);
            for (s, array) in self.stored[f].iter_mut().enumerate() {
                if !array.is_empty() && !unit[s].is_empty() {
                    array.chunks_exact_mut(unit[s].len()).for_each(|e| e.copy_from_slice(&unit[s]));
                }
            }
        }
    }

    /// Adds noise of the prior's own size to the means of a factor that is symmetric to another.
    fn perturb(&mut self, f: FactorId, random: &mut ChaCha8Rng) {
        let factor = &self.lowered.program.factors[f];
        let d = match factor.family {
            Family::NormalVector(d) => d,
            _ => 1,
        };
        // A point has no spread of its own; that of its prior is in the natural parameters, which are still the prior's.
        let prior = |element: usize, i: usize| (-2.0 * self.natural[f][1][(element * d + i) * d + i]).recip().abs();
        let spread: Vec<f64> = (0..factor.elements() * d).map(|at| prior(at / d, at % d)).collect();
        let point = factor.point;
        let [mean, second, ..] = &mut self.statistics[f][..] else { return };
        let elements = mean.chunks_exact_mut(d).zip(second.chunks_exact_mut(d * d)).zip(spread.chunks_exact(d));
        for ((mean, second), spread) in elements {
            let noise: Vec<f64> = (0..d)
                .map(|i| {
                    let variance = if point { spread[i] } else { (second[i * d + i] - mean[i] * mean[i]).max(0.0) };
                    let z: f64 = StandardNormal.sample(random);
                    z * variance.sqrt().min(1.0)
                })
                .collect();
            for i in 0..d {
                for j in 0..d {
                    second[i * d + j] += noise[i] * mean[j] + mean[i] * noise[j] + noise[i] * noise[j];
                }
            }
            mean.iter_mut().zip(&noise).for_each(|(m, n)| *m += n);
        }
    }

    /// −Σ p log p of each element, for probabilities that were given rather than updated.
    pub(super) fn categorical_entropy(&mut self, f: FactorId, k: usize) {
        for (entropy, p) in self.element_entropy[f].iter_mut().zip(self.statistics[f][0].chunks_exact(k)) {
            *entropy = -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        }
        self.entropy[f] = self.element_entropy[f].iter().sum();
    }

    /// Puts a factor's mean at a given value.
    fn begin_at(&mut self, f: FactorId, initial: &[f64], start: &mut Start) {
        let factor = self.lowered.program.factors[f].clone();
        let mut statistics: Vec<Vec<f64>> = if factor.local {
            let unit = unit_statistics(factor.family);
            unit.iter().map(|u| u.repeat(factor.elements())).collect()
        } else {
            self.statistics[f].clone()
        };
        match factor.family.whole() {
            Family::Normal | Family::NormalVector(_) | Family::GaussianMarkovChain(_) | Family::GaussianSteps(_) => {
                let d = match factor.family {
                    Family::NormalVector(d) | Family::GaussianMarkovChain(d) | Family::GaussianSteps(d) => d,
                    _ => 1,
                };
                let [mean, second, ..] = &mut statistics[..] else { return };
                for ((mean, second), value) in
                    mean.chunks_exact_mut(d).zip(second.chunks_exact_mut(d * d)).zip(initial.chunks_exact(d))
                {
                    // Coordinates of a joint vector that have no start of their own stay where the prior is.
                    let value: Vec<f64> =
                        value.iter().zip(&*mean).map(|(v, m)| if v.is_nan() { *m } else { *v }).collect();
                    for i in 0..d {
                        for j in 0..d {
                            second[i * d + j] += value[i] * value[j] - mean[i] * mean[j];
                        }
                    }
                    mean.copy_from_slice(&value);
                }
            }
            Family::Gamma => {
                for (i, value) in initial.iter().enumerate() {
                    let ratio = value / statistics[0][i];
                    statistics[0][i] = *value;
                    statistics[1][i] += ratio.ln();
                }
            }
            Family::Shape => {
                for (i, value) in initial.iter().enumerate() {
                    statistics[0][i] = *value;
                    statistics[1][i] = value.ln();
                    statistics[2][i] = vi_families::special::ln_gamma(*value);
                }
            }
            Family::InverseGamma => {
                for (i, value) in initial.iter().enumerate() {
                    statistics[0][i] = 1.0 / value;
                    statistics[1][i] = value.ln();
                }
            }
            Family::Beta => {
                for (i, value) in initial.iter().enumerate() {
                    statistics[0][i] = value.ln();
                    statistics[1][i] = (-value).ln_1p();
                }
            }
            Family::Dirichlet(_) | Family::StickBreaking(_) => {
                for (s, value) in statistics[0].iter_mut().zip(initial) {
                    *s = value.max(1e-300).ln();
                }
            }
            Family::NormalGamma => {
                // τ, τμ, τμ²: the location moves, its spread stays.
                for (i, value) in initial.iter().enumerate() {
                    let (tau, location) = (statistics[0][i], statistics[2][i]);
                    statistics[3][i] += tau * value * value - location * location / tau;
                    statistics[2][i] = tau * value;
                }
            }
            Family::NormalGammaVector(d) => {
                for (e, value) in initial.chunks_exact(d).enumerate() {
                    let tau = statistics[0][e];
                    let before = statistics[2][e * d..(e + 1) * d].to_vec();
                    for (ij, square) in statistics[3][e * d * d..(e + 1) * d * d].iter_mut().enumerate() {
                        let (i, j) = (ij / d, ij % d);
                        *square += tau * value[i] * value[j] - before[i] * before[j] / tau;
                    }
                    let location = &mut statistics[2][e * d..(e + 1) * d];
                    location.iter_mut().zip(value).for_each(|(l, v)| *l = tau * v);
                }
            }
            Family::NormalWishart(d) => {
                for (e, value) in initial.chunks_exact(d).enumerate() {
                    let precision = statistics[0][e * d * d..(e + 1) * d * d].to_vec();
                    let product = |x: &[f64]| -> Vec<f64> {
                        precision.chunks_exact(d).map(|row| row.iter().zip(x).map(|(p, x)| p * x).sum()).collect()
                    };
                    let square = |x: &[f64]| -> f64 { product(x).iter().zip(x).map(|(p, x)| p * x).sum() };
                    let location = &statistics[2][e * d..(e + 1) * d];
                    let before = match vi_families::matrix::inverse_and_log_determinant(&precision, d) {
                        Ok((inverse, _)) => inverse
                            .chunks_exact(d)
                            .zip(location)
                            .map(|(row, l)| l * row.iter().zip(location).map(|(r, l)| r * l).sum::<f64>())
                            .sum(),
                        Err(_) => 0.0,
                    };
                    statistics[3][e] += square(value) - before;
                    statistics[2][e * d..(e + 1) * d].copy_from_slice(&product(value));
                }
            }
            _ => statistics[0].copy_from_slice(initial),
        }
        if factor.local {
            start.assignments.insert(f, Assignment::Fixed(statistics));
        } else {
            self.statistics[f] = statistics;
            start.held.push(f);
        }
    }
}

/// Statistics of one element of a simple distribution of the family (empty for sums over the rows).
fn unit_statistics(family: Family) -> Vec<Vec<f64>> {
    let identity = |d: usize| -> Vec<f64> { (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.0 }).collect() };
    match family {
        Family::Normal | Family::TruncatedNormal => {
            let mut unit = vec![vec![0.0], vec![1.0]];
            unit.resize(family.num_statistics(), vec![0.0]);
            unit
        }
        Family::NormalVector(d) => vec![vec![0.0; d], identity(d)],
        Family::Gamma | Family::InverseGamma => vec![vec![1.0], vec![0.0]],
        Family::Wishart(d) => vec![identity(d), vec![0.0]],
        Family::NormalGamma => vec![vec![1.0], vec![0.0], vec![0.0], vec![1.0]],
        Family::NormalGammaVector(d) => vec![vec![1.0], vec![0.0], vec![0.0; d], identity(d)],
        Family::NormalWishart(d) => vec![identity(d), vec![0.0], vec![0.0; d], vec![d as f64]],
        Family::Beta => vec![vec![-1.0], vec![-1.0]],
        Family::Dirichlet(k) => vec![vec![-(k as f64).ln(); k]],
        Family::StickBreaking(k) => {
            vec![vec![-(k as f64).ln(); k], vec![-1.0; k - 1], vec![-1.0; k - 1]]
        }
        Family::Categorical(k) | Family::MarkovChain(k) => {
            let mut unit = vec![vec![1.0 / k as f64; k]];
            unit.resize(family.num_statistics(), vec![]);
            unit
        }
        Family::Bernoulli => vec![vec![0.5]],
        Family::Poisson => vec![vec![1.0]],
        Family::PartialNormal(d) => {
            vec![vec![0.0; d], identity(d), vec![0.0; d], vec![0.0; d], vec![0.0]]
        }
        Family::Shape => vec![vec![1.0], vec![0.0], vec![0.0]],
        Family::LogGammaTangent => {
            // At s = 1.
            let slope = vi_families::special::digamma(1.0);
            vec![vec![slope], vec![-slope]]
        }
        Family::Partial(part) => {
            let mut unit = unit_statistics(part.whole());
            unit.resize(family.num_statistics(), vec![0.0; family.statistic_size(family.num_statistics() - 1)]);
            unit
        }
        Family::LaplaceScale => vec![vec![1.0], vec![-std::f64::consts::LN_2 - 0.5]],
        Family::JaakkolaJordan => vec![vec![0.125], vec![-std::f64::consts::LN_2]],
        Family::MarkovSteps(k) => vec![vec![1.0 / k as f64; k], vec![1.0 / (k * k) as f64; k * k]],
        Family::GaussianSteps(d) => vec![vec![0.0; d], identity(d), vec![0.0; d], identity(d), vec![0.0; d * d]],
        Family::GaussianMarkovChain(d) => {
            let mut unit = vec![vec![0.0; d], identity(d)];
            unit.resize(family.num_statistics(), vec![]);
            unit
        }
    }
}
