//! The start: factors at their priors, and what breaks the symmetry of gates and of products of latent variables.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use vi_model::inference::Initialization;

use super::Engine;
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{FactorId, RowData, Source, Transform};

/// Rows that k-means++ looks at.
const SAMPLE_ROWS: usize = 8192;

/// How the statistics of a row-level factor begin.
#[derive(Debug, Clone)]
enum Assignment {
    /// The nearest of some centres.
    Nearest { operands: Vec<usize>, shift: Vec<f64>, scale: Vec<f64>, centres: Vec<f64>, categories: usize },
    /// Random weights from a seed and the row.
    Random { seed: u64, categories: usize },
    /// The same statistics in every row.
    Fixed(Vec<Vec<f64>>),
}

/// What holds during the first iteration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    assignments: BTreeMap<FactorId, Assignment>,
    held: Vec<FactorId>,
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
            Assignment::Nearest { operands, shift, scale, centres, categories } => {
                let mut chunk = ChunkData::default();
                if engine.reader.read(rows.clone(), &mut chunk).is_err() {
                    return false;
                }
                let mut point = vec![0.0; shift.len()];
                let width = statistics[0].len() / rows.len().max(1);
                for (i, target) in statistics[0].chunks_exact_mut(width).enumerate() {
                    features(engine, operands, rows, &chunk, i, &mut point);
                    standardize(&mut point, shift, scale);
                    let best = nearest(&point, centres).0;
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
    pub(crate) fn start(
        &mut self,
        seed: u64,
        restart: usize,
        initialization: Initialization,
    ) -> Result<Start, CaviError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        self.iteration = 0;
        self.reset_stored();
        for f in self.prior_order() {
            self.defaults(f);
            let fallback = self.statistics[f].clone();
            self.gather(f, true);
            let elements = self.lowered.program.factors[f].elements();
            if self.update_elements(f, 0..elements).is_err() {
                // An improper prior: the data will say where it is.
                self.statistics[f] = fallback;
            }
        }
        let mut start = Start::default();
        for f in 0..self.lowered.program.factors.len() {
            let factor = self.lowered.program.factors[f].clone();
            if let Some(initial) = &factor.initial {
                self.begin_at(f, initial, &mut start);
                continue;
            }
            if initialization == Initialization::Prior {
                continue;
            }
            match factor.family {
                Family::Categorical(k) if !factor.local => {
                    self.statistics[f][0].chunks_exact_mut(k).for_each(|p| random_simplex(&mut random, p));
                    self.categorical_entropy(f, k);
                    start.held.push(f);
                }
                Family::Normal | Family::NormalVector(_) if factor.symmetric && !factor.local => {
                    self.perturb(f, &mut random);
                }
                _ => {}
            }
        }
        if initialization != Initialization::Prior {
            self.assign_gates(&mut start, &mut random, restart, initialization)?;
        }
        Ok(start)
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
        let d = match self.lowered.program.factors[f].family {
            Family::NormalVector(d) => d,
            _ => 1,
        };
        let [mean, second, ..] = &mut self.statistics[f][..] else { return };
        for (mean, second) in mean.chunks_exact_mut(d).zip(second.chunks_exact_mut(d * d)) {
            let noise: Vec<f64> = (0..d)
                .map(|i| {
                    let variance = (second[i * d + i] - mean[i] * mean[i]).max(0.0);
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
    fn categorical_entropy(&mut self, f: FactorId, k: usize) {
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
        match factor.family {
            Family::Normal | Family::NormalVector(_) => {
                let d = if let Family::NormalVector(d) = factor.family { d } else { 1 };
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
            _ => statistics[0].copy_from_slice(initial),
        }
        if factor.local {
            start.assignments.insert(f, Assignment::Fixed(statistics));
        } else {
            self.statistics[f] = statistics;
            start.held.push(f);
        }
    }

    /// Assigns the categories of gates whose parameters are unknown.
    fn assign_gates(
        &self,
        start: &mut Start,
        random: &mut ChaCha8Rng,
        restart: usize,
        initialization: Initialization,
    ) -> Result<(), CaviError> {
        for &f in &self.plan.local_order {
            let factor = &self.lowered.program.factors[f];
            let (Family::Categorical(k) | Family::MarkovChain(k)) = factor.family else { continue };
            if start.assigns(f) || !self.gates_unknown(f, start) {
                continue;
            }
            let operands = self.gate_features(f);
            let by_centres = !operands.is_empty()
                && factor.elements() == 1
                && initialization != Initialization::Random
                && (initialization == Initialization::KMeansPlusPlus || !restart.is_multiple_of(4) || restart == 0);
            let seed: u64 = random.random();
            let assignment = if by_centres {
                self.nearest_centres(operands, k, seed, if restart % 2 == 1 { 10 } else { 0 })?
            } else {
                Assignment::Random { seed, categories: k }
            };
            start.assignments.insert(f, assignment);
        }
        Ok(())
    }

    /// Whether a gate selects among parameters that are themselves latent and have not been given a start.
    fn gates_unknown(&self, f: FactorId, start: &Start) -> bool {
        let mut unknown = false;
        for term in &self.plan.terms {
            let Some(g) = term.group else { continue };
            let gated = self.plan.groups[g]
                .operands
                .iter()
                .any(|o| matches!(o.source, Source::Statistic { factor, statistic: 0 } if factor == f));
            if !gated || term.owner == self.lowered.program.factors[f].owner {
                continue;
            }
            for operand in &term.operands {
                if let Source::Statistic { factor, .. } = operand.source {
                    if start.holds(factor) {
                        return false;
                    }
                    unknown = true;
                }
            }
        }
        unknown
    }

    /// Observed numbers that stand in products with a gate.
    fn gate_features(&self, f: FactorId) -> Vec<usize> {
        let mut found = Vec::new();
        for group in &self.plan.groups {
            let gated =
                group.operands.iter().any(|o| matches!(o.source, Source::Statistic { factor, .. } if factor == f));
            if !gated {
                continue;
            }
            for operand in &group.operands {
                if let Source::Data(i) = operand.source
                    && matches!(
                        self.lowered.program.data[i].data,
                        RowData::Expression { transform: Transform::Identity, .. }
                    )
                    && !found.contains(&i)
                {
                    found.push(i);
                }
            }
        }
        found
    }

    /// k-means++ (Arthur & Vassilvitskii 2007) on a sample of the rows, with a few Lloyd steps.
    fn nearest_centres(
        &self,
        operands: Vec<usize>,
        k: usize,
        seed: u64,
        steps: usize,
    ) -> Result<Assignment, CaviError> {
        let rows = self.lowered.program.num_rows;
        let width: usize = operands.iter().map(|&o| self.reader.width(o)).sum();
        let stride = rows.div_ceil(SAMPLE_ROWS).max(1);
        let mut chunk = ChunkData::default();
        let mut points = Vec::new();
        let mut point = vec![0.0; width];
        for row in (0..rows).step_by(stride) {
            let range = row..row + 1;
            self.reader.read(range.clone(), &mut chunk)?;
            features(self, &operands, &range, &chunk, 0, &mut point);
            points.extend_from_slice(&point);
        }
        let count = points.len() / width.max(1);
        let mut shift = vec![0.0; width];
        let mut scale = vec![0.0; width];
        for p in points.chunks_exact(width) {
            shift.iter_mut().zip(p).for_each(|(s, x)| *s += x / count as f64);
        }
        for p in points.chunks_exact(width) {
            scale.iter_mut().zip(p).zip(&shift).for_each(|((s, x), m)| *s += (x - m) * (x - m) / count as f64);
        }
        scale.iter_mut().for_each(|s| *s = if *s > 0.0 { s.sqrt() } else { 1.0 });
        points.chunks_exact_mut(width).for_each(|p| standardize(p, &shift, &scale));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut centres: Vec<f64> = Vec::with_capacity(k * width);
        let first = random.random_range(0..count.max(1));
        centres.extend_from_slice(&points[first * width..(first + 1) * width]);
        let mut distance = vec![f64::INFINITY; count];
        while centres.len() < k * width {
            let last = &centres[centres.len() - width..];
            let mut total = 0.0;
            for (d, p) in distance.iter_mut().zip(points.chunks_exact(width)) {
                *d = d.min(squared_distance(p, last));
                total += *d;
            }
            let mut left = random.random::<f64>() * total;
            let mut chosen = random.random_range(0..count.max(1));
            for (i, d) in distance.iter().enumerate() {
                left -= d;
                if left <= 0.0 && *d > 0.0 {
                    chosen = i;
                    break;
                }
            }
            centres.extend_from_slice(&points[chosen * width..(chosen + 1) * width]);
        }
        for _ in 0..steps {
            let mut sums = vec![0.0; k * width];
            let mut sizes = vec![0.0; k];
            for p in points.chunks_exact(width) {
                let (best, _) = nearest(p, &centres);
                sizes[best] += 1.0;
                sums[best * width..(best + 1) * width].iter_mut().zip(p).for_each(|(s, x)| *s += x);
            }
            for c in 0..k {
                if sizes[c] > 0.0 {
                    for j in 0..width {
                        centres[c * width + j] = sums[c * width + j] / sizes[c];
                    }
                }
            }
        }
        Ok(Assignment::Nearest { operands, shift, scale, centres, categories: k })
    }
}

/// Concatenates the features of one row of a chunk.
fn features(engine: &Engine, operands: &[usize], rows: &Range<usize>, chunk: &ChunkData, row: usize, out: &mut [f64]) {
    let mut at = 0;
    for &o in operands {
        let width = engine.reader.width(o);
        let array = engine.reader.array(o, rows, chunk);
        out[at..at + width].copy_from_slice(&array[row * width..(row + 1) * width]);
        at += width;
    }
}

fn standardize(point: &mut [f64], shift: &[f64], scale: &[f64]) {
    for ((x, m), s) in point.iter_mut().zip(shift).zip(scale) {
        *x = (*x - m) / s;
    }
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

fn nearest(point: &[f64], centres: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, centre) in centres.chunks_exact(point.len().max(1)).enumerate() {
        let d = squared_distance(point, centre);
        if d < best.1 {
            best = (i, d);
        }
    }
    best
}

/// A uniform draw from the simplex.
fn random_simplex<R: Rng>(random: &mut R, out: &mut [f64]) {
    let mut total = 0.0;
    for p in out.iter_mut() {
        let e: f64 = Exp1.sample(random);
        *p = e;
        total += e;
    }
    out.iter_mut().for_each(|p| *p /= total);
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
        Family::JaakkolaJordan => vec![vec![0.125], vec![-std::f64::consts::LN_2]],
        Family::GaussianMarkovChain(d) => {
            let mut unit = vec![vec![0.0; d], identity(d)];
            unit.resize(family.num_statistics(), vec![]);
            unit
        }
    }
}
