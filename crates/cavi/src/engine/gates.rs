//! The start of gates: which categories the rows, and the levels that are clustered, begin in.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use std::ops::Range;

use vi_model::inference::{Inference, Initialization, Schedule};

use super::Engine;
use super::centres::Points;
use super::initial::{Assignment, Start};
use super::profiles::{Sighting, Unit};
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::factor::Family;
use crate::plan::Plan;
use crate::program::{Factor, FactorId, Program, Source, Step};

/// Rows that k-means++ looks at.
const SAMPLE_ROWS: usize = 8192;
/// Most starts that compete in a restart.
const MOST_STARTS: usize = 8;
/// Products of an iteration of all competing starts together: larger models run each start on its own.
const LARGEST: usize = 28_000_000;
/// What a probability costs besides the products that it comes from, in products.
const PROBABILITY: usize = 64;
/// Lloyd steps after k-means++ where they are made.
const LLOYD_STEPS: usize = 10;

/// How a start is made: what was asked for, and which attempt it is (counted from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) initialization: Initialization,
    pub(crate) number: usize,
}

/// How the categories of one gate are told apart at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separation {
    /// k-means++ and so many Lloyd steps.
    Centres(Clustering),
    /// Random weights.
    Random,
    /// Stretches of successive rows.
    Stretches,
}

/// How clusters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clustering {
    /// Lloyd steps after k-means++.
    steps: usize,
    /// A random number of clusters instead of one for every category.
    fewer: bool,
    /// Where the prior prefers some categories (stick breaking does), the largest clusters become those.
    ranked: bool,
}

impl Attempt {
    /// Whether it differs from the first attempt also where nothing has to be told apart.
    fn varies(self) -> bool {
        self.number > 0 || self.initialization == Initialization::Random
    }

    /// Attempts differ in kind, not only in their random numbers.
    fn separation(self, chain: bool) -> Separation {
        let steps = if self.number.is_multiple_of(2) { LLOYD_STEPS } else { 0 };
        let plain = Clustering { steps, fewer: false, ranked: false };
        match (self.initialization, self.number % 8) {
            (Initialization::Random | Initialization::Prior, _) | (Initialization::Auto, 2 | 6) => Separation::Random,
            (Initialization::Auto, 3) if chain => Separation::Stretches,
            (Initialization::Auto, 0) => Separation::Centres(Clustering { ranked: true, ..plain }),
            (Initialization::Auto, 4 | 5) => Separation::Centres(Clustering { fewer: true, ..plain }),
            (Initialization::Auto, 7) => Separation::Centres(Clustering { fewer: true, ranked: true, ..plain }),
            _ => Separation::Centres(plain),
        }
    }
}

/// How many starts compete in each restart: the best of them after short runs is the one that goes on.
pub(crate) fn competing_starts(program: &Program, plan: &Plan, inference: &Inference) -> usize {
    let nothing = Start::default();
    let batch = inference.schedule.unwrap_or_default() == Schedule::Batch;
    let auto = inference.initialization.unwrap_or_default() == Initialization::Auto;
    let open = |f: FactorId| begins_apart(program, plan, f, &nothing) || is_switch(&program.factors[f]);
    if !auto || !batch || !(0..program.factors.len()).any(open) {
        return 1;
    }
    let cost = |(f, factor): (FactorId, &Factor)| match factor.family {
        Family::Categorical(k) | Family::MarkovChain(k) | Family::MarkovSteps(k) => {
            let elements = if factor.local { factor.elements() } else { 1 };
            k * (elements * PROBABILITY + features(program, plan, f))
        }
        Family::Bernoulli if is_switch(factor) => PROBABILITY + features(program, plan, f),
        _ => 0,
    };
    let size = program.num_rows * program.factors.iter().enumerate().map(cost).sum::<usize>();
    (LARGEST / size.max(1)).clamp(1, MOST_STARTS)
}

/// Numbers of a row that are multiplied with each category of a gate.
fn features(program: &Program, plan: &Plan, f: FactorId) -> usize {
    let own = |source: Source| matches!(source, Source::Statistic { factor, .. } if factor == f);
    let groups = plan.groups.iter().filter(|g| g.operands.iter().any(|o| own(o.source)));
    groups
        .map(|g| {
            let others = g.operands.iter().filter(|o| !own(o.source));
            others.flat_map(|o| program.shape(o.source)).product::<usize>()
        })
        .sum()
}

/// Whether a gate has to be told where its categories begin, or they might stay alike.
pub(crate) fn begins_apart(program: &Program, plan: &Plan, f: FactorId, start: &Start) -> bool {
    let factor = &program.factors[f];
    if factor.initial.is_some() || start.assigns(f) || start.holds(f) {
        return false;
    }
    match factor.family {
        Family::Categorical(_) | Family::MarkovChain(_) | Family::MarkovSteps(_) if factor.local => {
            gates_unknown(program, plan, f, start)
        }
        Family::Categorical(_) => true,
        _ => false,
    }
}

/// Whether a factor is a latent 0 or 1 that all rows share: on and off may both be optima.
fn is_switch(factor: &Factor) -> bool {
    factor.family == Family::Bernoulli && !factor.local && factor.initial.is_none()
}

/// Whether a gate of the rows stands in a term with another one: given its parameters, both together have local optima.
fn meets_another_gate(program: &Program, plan: &Plan, f: FactorId) -> bool {
    let gate = |g: FactorId| {
        let factor = &program.factors[g];
        factor.local
            && matches!(factor.family, Family::Categorical(_) | Family::MarkovChain(_) | Family::MarkovSteps(_))
    };
    gate(f)
        && plan.groups.iter().any(|group| {
            let own = |source: Source| matches!(source, Source::Statistic { factor, .. } if factor == f);
            let other =
                |source: Source| matches!(source, Source::Statistic { factor, .. } if factor != f && gate(factor));
            group.operands.iter().any(|o| own(o.source)) && group.operands.iter().any(|o| other(o.source))
        })
}

/// Whether a gate selects among parameters that are themselves latent and have not been given a start.
fn gates_unknown(program: &Program, plan: &Plan, f: FactorId, start: &Start) -> bool {
    let chosen = chosen_by(program, plan, f);
    !chosen.is_empty() && !chosen.iter().any(|g| start.tells_apart(*g))
}

/// The factors in the terms of other variables among whose elements a gate of the rows chooses.
fn chosen_by(program: &Program, plan: &Plan, f: FactorId) -> Vec<FactorId> {
    let mut chosen = Vec::new();
    for term in &plan.terms {
        let Some(g) = term.group else { continue };
        let gated = plan.groups[g]
            .operands
            .iter()
            .any(|o| matches!(o.source, Source::Statistic { factor, statistic: 0 } if factor == f));
        if !gated || term.owner == program.factors[f].owner {
            continue;
        }
        chosen.extend(term.operands.iter().filter_map(|operand| match operand.source {
            Source::Statistic { factor, .. } => Some(factor),
            _ => None,
        }));
    }
    chosen
}

impl Engine {
    /// Values of the rows in all: their data and the statistics of their factors.
    pub(crate) fn row_values(&self) -> usize {
        let program = &self.lowered.program;
        let data: usize = (0..program.data.len()).map(|i| self.reader.width(i)).sum();
        let statistics = program.factors.iter().enumerate().filter(|(_, f)| f.local);
        let statistics: usize = statistics
            .map(|(f, factor)| (0..factor.family.num_statistics()).map(|s| self.row_size(f, s)).sum::<usize>())
            .sum();
        program.num_rows * (data + statistics)
    }

    /// Assigns the categories of gates whose parameters are unknown.
    pub(super) fn assign_gates(
        &mut self,
        start: &mut Start,
        random: &mut ChaCha8Rng,
        attempt: Attempt,
    ) -> Result<(), CaviError> {
        // Those of the rows adapt to the others.
        let gates: Vec<FactorId> = self.plan.global_order.iter().chain(&self.plan.local_order).copied().collect();
        let mut number = attempt.number;
        for f in gates {
            let factor = &self.lowered.program.factors[f];
            if is_switch(factor) && attempt.varies() {
                self.assign_switch(f, random);
                start.held.push(f);
                continue;
            }
            let (Family::Categorical(k) | Family::MarkovChain(k) | Family::MarkovSteps(k)) = factor.family else {
                continue;
            };
            let separation = if begins_apart(&self.lowered.program, &self.plan, f, start) {
                Attempt { number, ..attempt }.separation(factor.family.is_chain())
            } else if attempt.varies()
                && factor.initial.is_none()
                && meets_another_gate(&self.lowered.program, &self.plan, f)
            {
                Separation::Random
            } else {
                continue;
            };
            // Two gates over the same observations are not to begin alike.
            number += 1;
            let (local, single) = (factor.local, factor.elements() == 1);
            let mut own = ChaCha8Rng::seed_from_u64(random.random());
            if !local {
                self.assign_levels(f, k, separation, &mut own)?;
                start.held.push(f);
                continue;
            }
            let groups = self.groups_of(f);
            let assignment = match separation {
                Separation::Centres(clustering) if single => self.by_centres(f, k, clustering, &groups, &mut own)?,
                Separation::Stretches => Some(self.stretches(f, k, &mut own)),
                _ => None,
            };
            let assignment = assignment.unwrap_or_else(|| Assignment::Random { seed: own.random(), categories: k });
            start.assignments.insert(f, assignment);
            start.release_alike(&chosen_by(&self.lowered.program, &self.plan, f));
            // The weights of the groups follow the categories, which are first to find their own meaning: were they to
            // move with an assignment that is a guess, every group would keep to it.
            start.held.extend(groups.iter().map(|g| g.0));
        }
        Ok(())
    }

    /// Random probabilities of being on, with the entropies that they have.
    fn assign_switch(&mut self, f: FactorId, random: &mut ChaCha8Rng) {
        let mut total = 0.0;
        for (p, entropy) in self.statistics[f][0].iter_mut().zip(&mut self.element_entropy[f]) {
            *p = random.random_range(0.01..0.99);
            *entropy = -*p * p.ln() - (1.0 - *p) * (-*p).ln_1p();
            total += *entropy;
        }
        self.entropy[f] = total;
    }

    /// Categories of a gate that is not of the rows: one-hot by the nearest centre of the profiles, or random weights.
    fn assign_levels(
        &mut self,
        f: FactorId,
        k: usize,
        separation: Separation,
        random: &mut ChaCha8Rng,
    ) -> Result<(), CaviError> {
        self.statistics[f][0].chunks_exact_mut(k).for_each(|p| random_simplex(random, p));
        let factor = &self.lowered.program.factors[f];
        if let Separation::Centres(clustering) = separation
            && factor.plates.len() == 1
        {
            let sightings: Vec<Sighting> = self.sightings(f).into_iter().filter(|s| s.own.is_some()).collect();
            if let Some(points) = self.profiles(&sightings, Unit::Own)?.filter(|p| p.len() > k) {
                let nearest = points.nearest(&points.centres(k, clustering.steps, random));
                for (p, best) in self.statistics[f][0].chunks_exact_mut(k).zip(nearest) {
                    p.fill(0.0);
                    p[best as usize] = 1.0;
                }
            }
        }
        self.categorical_entropy(f, k);
        Ok(())
    }

    /// Latent probabilities of a gate of the rows that are looked up, and the look-up.
    fn groups_of(&self, f: FactorId) -> Vec<(FactorId, usize)> {
        let program = &self.lowered.program;
        let mut found = Vec::new();
        for term in program.terms.iter().filter(|t| t.owner == program.factors[f].owner) {
            for operand in &term.operands {
                if let Source::Statistic { factor, .. } = operand.source
                    && factor != f
                    && matches!(program.factors[factor].family, Family::Dirichlet(_) | Family::StickBreaking(_))
                    && let [(Step::Codes(c), 1)] = operand.index[0].parts[..]
                    && !found.contains(&(factor, c))
                {
                    found.push((factor, c));
                }
            }
        }
        found
    }

    /// Rows by the nearest centre of their observed numbers, or whole groups of rows, or rows of several categories.
    fn by_centres(
        &self,
        f: FactorId,
        k: usize,
        clustering: Clustering,
        groups: &[(FactorId, usize)],
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Assignment>, CaviError> {
        let sightings = self.sightings(f);
        let mut numbers: Vec<usize> = sightings.iter().filter(|s| s.others.is_empty()).filter_map(|s| s.data).collect();
        numbers.dedup();
        if !numbers.is_empty() {
            return self.nearest_centres(f, numbers, k, clustering, random).map(Some);
        }
        let mut unit = match groups {
            [(factor, codes)] if self.lowered.program.factors[*factor].elements() >= 2 * k => Some(Unit::Level(*codes)),
            _ => None,
        };
        // A single category of a row says nothing of which categories go together.
        if unit.is_none() && sightings.len() > 1 {
            unit = Some(Unit::Row);
        }
        let Some(unit) = unit else { return Ok(None) };
        let Some(points) = self.profiles(&sightings, unit)?.filter(|p| p.len() > k) else { return Ok(None) };
        let centres = self.centres(f, k, clustering, &points, random);
        let nearest = points.nearest(&centres);
        let codes = if let Unit::Level(c) = unit { Some(c) } else { None };
        Ok(Some(Assignment::Chosen { codes, nearest, categories: k }))
    }

    /// Stretches of the rows, cut at random, in the order of the categories.
    fn stretches(&self, f: FactorId, k: usize, random: &mut ChaCha8Rng) -> Assignment {
        let starts = &self.starts[f];
        let rows = self.lowered.program.num_rows;
        let mut nearest = vec![0; rows];
        for (i, &first) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(rows);
            let mut cuts: Vec<usize> = (1..k).map(|_| random.random_range(first..=end)).collect();
            cuts.sort_unstable();
            for (row, category) in nearest[first..end].iter_mut().enumerate() {
                *category = cuts.partition_point(|c| *c <= first + row) as u32;
            }
        }
        Assignment::Chosen { codes: None, nearest, categories: k }
    }

    /// k-means++ on a sample of the rows, each number in units of its standard deviation.
    fn nearest_centres(
        &self,
        f: FactorId,
        operands: Vec<usize>,
        k: usize,
        clustering: Clustering,
        random: &mut ChaCha8Rng,
    ) -> Result<Assignment, CaviError> {
        let rows = self.lowered.program.num_rows;
        let width: usize = operands.iter().map(|&o| self.reader.width(o)).sum();
        let stride = rows.div_ceil(SAMPLE_ROWS).max(1);
        let mut chunk = ChunkData::default();
        let mut values = Vec::new();
        let mut point = vec![0.0; width];
        for row in (0..rows).step_by(stride) {
            let range = row..row + 1;
            self.reader.read(range.clone(), &mut chunk)?;
            self.observed_point(&operands, &range, &chunk, 0, &mut point);
            values.extend_from_slice(&point);
        }
        let count = values.len() / width.max(1);
        let mut shift = vec![0.0; width];
        let mut scale = vec![0.0; width];
        for p in values.chunks_exact(width) {
            shift.iter_mut().zip(p).for_each(|(s, x)| *s += x / count as f64);
        }
        for p in values.chunks_exact(width) {
            scale.iter_mut().zip(p).zip(&shift).for_each(|((s, x), m)| *s += (x - m) * (x - m) / count as f64);
        }
        scale.iter_mut().for_each(|s| *s = if *s > 0.0 { s.sqrt() } else { 1.0 });
        let mut points = Points::new(width);
        for p in values.chunks_exact_mut(width) {
            standardize(p, &shift, &scale);
            points.push((0..).zip(p.iter().copied()));
        }
        let centres = self.centres(f, k, clustering, &points, random);
        Ok(Assignment::Nearest { operands, shift, scale, centres, categories: k })
    }

    /// Centres of at most `k` clusters, `[…, width]`, in the order of their categories.
    fn centres(
        &self,
        f: FactorId,
        k: usize,
        clustering: Clustering,
        points: &Points,
        random: &mut ChaCha8Rng,
    ) -> Vec<f64> {
        let number = if clustering.fewer && k > 2 { random.random_range(2..=k) } else { k };
        let mut centres = points.centres(number, clustering.steps, random);
        if clustering.ranked {
            self.order_by_size(f, points, &mut centres);
        }
        centres
    }

    /// Gives the largest clusters to the categories that the prior prefers.
    fn order_by_size(&self, f: FactorId, points: &Points, centres: &mut [f64]) {
        let program = &self.lowered.program;
        let own = program.terms.iter().filter(|t| t.owner == program.factors[f].owner);
        let weights = own.flat_map(|t| &t.operands).find_map(|o| match o.source {
            Source::Statistic { factor, statistic: 0 } => match program.factors[factor].family {
                Family::Dirichlet(k) | Family::StickBreaking(k) => self.statistics[factor][0].get(..k),
                _ => None,
            },
            _ => None,
        });
        let number = centres.len() / points.width.max(1);
        let Some(weights) = weights.and_then(|w| w.get(..number)) else { return };
        if weights.windows(2).all(|w| (w[0] - w[1]).abs() < 1e-9) {
            return;
        }
        let mut sizes = vec![0_usize; weights.len()];
        points.nearest(centres).into_iter().for_each(|c| sizes[c as usize] += 1);
        let ranked = |less: &dyn Fn(&usize, &usize) -> std::cmp::Ordering| {
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(less);
            order
        };
        let categories = ranked(&|a, b| weights[*b].total_cmp(&weights[*a]));
        let clusters = ranked(&|a, b| sizes[*b].cmp(&sizes[*a]));
        let before = centres.to_vec();
        for (category, cluster) in categories.into_iter().zip(clusters) {
            let (to, from) = (category * points.width, cluster * points.width);
            centres[to..to + points.width].copy_from_slice(&before[from..from + points.width]);
        }
    }

    /// Concatenates the observed numbers of one row of a chunk.
    pub(super) fn observed_point(
        &self,
        operands: &[usize],
        rows: &Range<usize>,
        chunk: &ChunkData,
        row: usize,
        out: &mut [f64],
    ) {
        let mut at = 0;
        for &o in operands {
            let width = self.reader.width(o);
            let array = self.reader.array(o, rows, chunk);
            out[at..at + width].copy_from_slice(&array[row * width..(row + 1) * width]);
            at += width;
        }
    }
}

/// Centres and scales a point.
pub(super) fn standardize(point: &mut [f64], shift: &[f64], scale: &[f64]) {
    for ((x, m), s) in point.iter_mut().zip(shift).zip(scale) {
        *x = (*x - m) / s;
    }
}

/// The nearest of some dense centres.
pub(super) fn nearest(point: &[f64], centres: &[f64]) -> usize {
    let mut best = (0, f64::INFINITY);
    for (i, centre) in centres.chunks_exact(point.len().max(1)).enumerate() {
        let d = point.iter().zip(centre).map(|(x, y)| (x - y) * (x - y)).sum();
        if d < best.1 {
            best = (i, d);
        }
    }
    best.0
}

/// A uniform draw from the simplex.
pub(super) fn random_simplex<R: Rng>(random: &mut R, out: &mut [f64]) {
    let mut total = 0.0;
    for p in out.iter_mut() {
        let e: f64 = Exp1.sample(random);
        *p = e;
        total += e;
    }
    out.iter_mut().for_each(|p| *p /= total);
}
