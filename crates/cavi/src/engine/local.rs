//! The local step: factors of the rows updated chunk by chunk, in parallel, and their summaries merged in order.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::ChunkData;
use super::{Engine, Start};
use crate::error::CaviError;
use crate::factor::Family;
use crate::plan::{MatrixPath, RowGroup, RowMessage};
use crate::program::{FactorId, Source};
use vi_families::product::{product, transposed_product};

/// What one task brings back.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskResult {
    /// Summaries by group (empty where static).
    pub(super) summaries: Vec<Vec<f64>>,
    /// Weighted entropy of each row-level factor.
    pub(super) entropy: Vec<f64>,
    /// Summaries of the fused gates.
    fused: Vec<Vec<f64>>,
}

vi_run::stored!(TaskResult { summaries, entropy, fused });

impl TaskResult {
    /// Adds another result, weighted.
    pub(crate) fn add(&mut self, other: &Self, weight: f64) {
        let sums = self.summaries.iter_mut().chain(&mut self.fused).chain(std::iter::once(&mut self.entropy));
        let parts = other.summaries.iter().chain(&other.fused).chain(std::iter::once(&other.entropy));
        for (sum, part) in sums.zip(parts) {
            sum.iter_mut().zip(part).for_each(|(a, b)| *a += weight * b);
        }
    }
}

/// Buffers of one task.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) data: ChunkData,
    /// Messages to row-level statistics, `[factor][statistic]`.
    pub(super) natural: Vec<Vec<Vec<f64>>>,
    /// Expected statistics of row-level factors, `[factor][statistic]`.
    pub(super) statistics: Vec<Vec<Vec<f64>>>,
    /// Buffers of fused gates.
    pub(super) fused: super::fused::FusedBuffers,
    features: Vec<f64>,
    feature_owner: Option<(usize, usize)>,
    packed: Vec<f64>,
    pub(super) logits: Vec<f64>,
    pub(super) probabilities: Vec<f64>,
    pub(super) normalizer: Vec<f64>,
    weighted: Vec<f64>,
}

/// Row-level statistics kept between iterations: mutable parts of one task, `[factor][statistic]`.
pub(super) type StoredPart<'a> = Vec<Vec<&'a mut [f64]>>;

/// What a pass over the rows does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Update the row-level factors (chains excepted) and summarise.
    Whole,
    /// Update the factors (chains excepted) and leave the messages to a chain where its statistics are kept.
    Unary(FactorId),
    /// Summarise what is kept.
    Summarise,
}

impl Engine {
    /// One pass over all rows; results do not depend on the number of threads.
    pub(super) fn pass(&mut self, pass: Pass, start: Option<&Start>) -> Result<(), CaviError> {
        let total = self.pass_over(0..self.lowered.program.num_rows, pass, start)?;
        if !matches!(pass, Pass::Unary(_)) {
            for (g, summary) in total.summaries.into_iter().enumerate() {
                if self.plan.groups[g].by_rows {
                    self.summaries[g] = summary;
                }
            }
        }
        for f in self.plan.local_order.clone() {
            let chain = self.lowered.program.factors[f].family.is_chain();
            if !chain && pass != Pass::Summarise && !self.plan.is_affine(f) {
                self.entropy[f] = total.entropy[f];
            }
        }
        Ok(())
    }

    /// A pass over some rows: summaries and entropies of these rows alone, merged in order.
    pub(super) fn pass_over(
        &mut self,
        rows: Range<usize>,
        pass: Pass,
        start: Option<&Start>,
    ) -> Result<TaskResult, CaviError> {
        let task = self.plan.task;
        self.fused = self.plan.fused.iter().map(|gate| self.fused_coefficients(gate)).collect();
        let num_tasks = rows.len().div_ceil(task);
        let mut stored = std::mem::take(&mut self.stored);
        let mut parts: Vec<StoredPart<'_>> = (0..num_tasks).map(|_| Vec::new()).collect();
        for (f, factor) in stored.iter_mut().enumerate() {
            parts.iter_mut().for_each(|p| p.push(Vec::new()));
            for (s, array) in factor.iter_mut().enumerate() {
                let width = self.row_width(f, s);
                if array.is_empty() || width == 0 {
                    parts.iter_mut().for_each(|p| p[f].push(&mut []));
                    continue;
                }
                let own = &mut array[rows.start * width..rows.end * width];
                for (part, slice) in parts.iter_mut().zip(own.chunks_mut(task * width)) {
                    part[f].push(slice);
                }
            }
        }
        let engine = &*self;
        let results: Vec<Result<TaskResult, CaviError>> = parts
            .into_par_iter()
            .enumerate()
            .map(|(t, mut part)| {
                let first = rows.start + t * task;
                engine.run_task(pass, first..(first + task).min(rows.end), &mut part, start)
            })
            .collect();
        self.stored = stored;
        let mut total = self.empty_result();
        for result in results {
            total.add(&result?, 1.0);
        }
        for (i, gate) in self.plan.fused.iter().enumerate() {
            // H = Σ log-sum-exp − ⟨statistics, coefficients⟩, since the logits are the statistics' own coefficients.
            let expected: f64 = total.fused[i].iter().zip(&self.fused[i]).map(|(s, c)| s * c).sum();
            let assigned = start.is_some_and(|s| s.assigns(gate.factor));
            total.entropy[gate.factor] = if assigned { 0.0 } else { total.entropy[gate.factor] - expected };
            Self::spread_fused(gate, &total.fused[i], &mut total.summaries);
        }
        Ok(total)
    }

    /// Nothing summed yet.
    pub(super) fn empty_result(&self) -> TaskResult {
        TaskResult {
            summaries: self
                .plan
                .groups
                .iter()
                .map(|g| if g.by_rows { vec![0.0; g.size()] } else { Vec::new() })
                .collect(),
            entropy: vec![0.0; self.lowered.program.factors.len()],
            fused: self.plan.fused.iter().map(|g| vec![0.0; g.num_features * g.categories]).collect(),
        }
    }

    /// Number of values per row of a row-level statistic.
    pub(super) fn row_width(&self, factor: FactorId, statistic: usize) -> usize {
        // Second moments of a chain with one precision are made from its covariances where they are wanted.
        let absent = statistic == 1 && self.plan.shared_chain[factor];
        let factor = &self.lowered.program.factors[factor];
        if factor.local && !factor.family.is_summed(statistic) && !absent {
            factor.elements() * factor.family.statistic_size(statistic)
        } else {
            0
        }
    }

    /// Number of values per row of a row-level statistic.
    pub(crate) fn row_size(&self, factor: FactorId, statistic: usize) -> usize {
        self.row_width(factor, statistic)
    }

    /// A row-level factor in some rows: its statistics, or for families whose moments are not statistics (gamma, beta,
    /// Dirichlet, …) its natural parameters.
    pub(crate) fn rows_of(&self, f: FactorId, rows: Range<usize>) -> Result<Vec<Vec<f64>>, CaviError> {
        let family = self.lowered.program.factors[f].family;
        let count = family.num_statistics();
        if family.is_chain() {
            let mut statistics: Vec<Vec<f64>> = (0..count)
                .map(|s| {
                    let width = self.row_width(f, s);
                    self.stored[f][s].get(rows.start * width..rows.end * width).map_or_else(Vec::new, <[f64]>::to_vec)
                })
                .collect();
            self.chain_second_moments(f, &rows, &mut statistics);
            return Ok(statistics);
        }
        let mut workspace = Workspace::default();
        self.reader.read(rows.clone(), &mut workspace.data)?;
        let kept: Vec<Vec<Vec<f64>>> = (0..self.stored.len())
            .map(|g| {
                (0..self.stored[g].len())
                    .map(|s| {
                        let width = self.row_width(g, s);
                        self.stored[g][s]
                            .get(rows.start * width..rows.end * width)
                            .map_or_else(Vec::new, <[f64]>::to_vec)
                    })
                    .collect()
            })
            .collect();
        let mut kept = kept;
        let part: StoredPart<'_> =
            kept.iter_mut().map(|factor| factor.iter_mut().map(Vec::as_mut_slice).collect()).collect();
        self.load(&mut workspace, rows.len(), &(0..rows.len()), &part);
        self.load_affine(&rows, &mut workspace);
        self.load_chains(&rows, &mut workspace);
        let codes = self.reader.codes(rows.clone());
        for &g in &self.plan.local_order {
            if self.lowered.program.factors[g].family.is_chain() {
                continue;
            }
            self.messages(g, &rows, &codes, &mut workspace);
            self.update_rows(g, &rows, None, &mut workspace)?;
            if g == f {
                break;
            }
        }
        let point = self.lowered.program.factors[f].point;
        let natural = !point
            && matches!(
                family,
                Family::Gamma
                    | Family::InverseGamma
                    | Family::Beta
                    | Family::Dirichlet(_)
                    | Family::NormalGamma
                    | Family::NormalGammaVector(_)
                    | Family::Partial(_)
            );
        Ok(if natural {
            std::mem::take(&mut workspace.natural[f])
        } else {
            std::mem::take(&mut workspace.statistics[f])
        })
    }

    fn run_task(
        &self,
        pass: Pass,
        range: Range<usize>,
        stored: &mut StoredPart<'_>,
        start: Option<&Start>,
    ) -> Result<TaskResult, CaviError> {
        let mut workspace = Workspace::default();
        let mut result = self.empty_result();
        let mut at = range.start;
        while at < range.end {
            let rows = at..(at + self.plan.chunk).min(range.end);
            let local = rows.start - range.start..rows.end - range.start;
            self.run_chunk(pass, rows.clone(), local, stored, start, &mut workspace, &mut result)?;
            at = rows.end;
        }
        Ok(result)
    }

    #[allow(clippy::too_many_arguments)]
    fn run_chunk(
        &self,
        pass: Pass,
        rows: Range<usize>,
        within: Range<usize>,
        stored: &mut StoredPart<'_>,
        start: Option<&Start>,
        workspace: &mut Workspace,
        result: &mut TaskResult,
    ) -> Result<(), CaviError> {
        self.reader.read(rows.clone(), &mut workspace.data)?;
        workspace.feature_owner = None;
        self.load(workspace, rows.len(), &within, stored);
        let codes = self.reader.codes(rows.clone());
        if pass != Pass::Summarise {
            for &f in &self.plan.local_order {
                let factor = &self.lowered.program.factors[f];
                if factor.family.is_chain() || self.plan.is_affine(f) {
                    continue;
                }
                if let Some(i) = self.plan.fused.iter().position(|gate| gate.factor == f) {
                    let assigned = start.is_some_and(|s| s.fill(f, &rows, self, &mut workspace.statistics[f]));
                    let given = assigned.then(|| std::mem::take(&mut workspace.statistics[f][0]));
                    let gate = &self.plan.fused[i];
                    let summary = &mut result.fused[i];
                    result.entropy[f] +=
                        self.run_fused(gate, &self.fused[i], &rows, given.as_deref(), workspace, summary)?;
                    continue;
                }
                if let Some(start) = start
                    && start.fill(f, &rows, self, &mut workspace.statistics[f])
                {
                    continue;
                }
                self.messages(f, &rows, &codes, workspace);
                let weights = self.reader.weights(&rows, &workspace.data).map(<[f64]>::to_vec);
                result.entropy[f] += self.update_rows(f, &rows, weights.as_deref(), workspace)?;
            }
        }
        if let Pass::Unary(chain) = pass {
            let begun = start.is_some_and(|s| s.fill(chain, &rows, self, &mut workspace.statistics[chain]));
            if !begun {
                self.messages(chain, &rows, &codes, workspace);
                let Workspace { statistics, natural, .. } = workspace;
                for (target, message) in statistics[chain].iter_mut().zip(&natural[chain]) {
                    target.copy_from_slice(message);
                }
            }
            self.store(workspace, rows.len(), &within, stored);
            return Ok(());
        }
        if pass == Pass::Whole {
            self.store(workspace, rows.len(), &within, stored);
        }
        for g in 0..self.plan.groups.len() {
            let fused = self.plan.fused.iter().any(|gate| gate.groups.iter().any(|part| part.group == g));
            if self.plan.groups[g].by_rows && !fused {
                self.summarise(g, &rows, &codes, workspace, &mut result.summaries[g]);
            }
        }
        Ok(())
    }

    /// Sizes the row-level buffers, and brings in what is kept between iterations.
    pub(super) fn load(&self, workspace: &mut Workspace, count: usize, within: &Range<usize>, stored: &StoredPart<'_>) {
        let factors = &self.lowered.program.factors;
        workspace.natural.resize(factors.len(), Vec::new());
        workspace.statistics.resize(factors.len(), Vec::new());
        for &f in &self.plan.local_order {
            let family = factors[f].family;
            workspace.natural[f].resize(family.num_statistics(), Vec::new());
            workspace.statistics[f].resize(family.num_statistics(), Vec::new());
            for s in 0..family.num_statistics() {
                let width = self.row_width(f, s);
                workspace.natural[f][s].resize(count * width, 0.0);
                workspace.statistics[f][s].resize(count * width, 0.0);
                if let Some(array) = stored.get(f).and_then(|p| p.get(s))
                    && !array.is_empty()
                {
                    workspace.statistics[f][s].copy_from_slice(&array[within.start * width..within.end * width]);
                }
            }
        }
    }

    fn store(&self, workspace: &Workspace, count: usize, within: &Range<usize>, stored: &mut StoredPart<'_>) {
        for &f in &self.plan.local_order {
            for s in 0..self.lowered.program.factors[f].family.num_statistics() {
                let width = self.row_width(f, s);
                if let Some(array) = stored.get_mut(f).and_then(|p| p.get_mut(s))
                    && !array.is_empty()
                {
                    array[within.start * width..within.end * width]
                        .copy_from_slice(&workspace.statistics[f][s][..count * width]);
                }
            }
        }
    }

    /// Messages of all groups to a row-level factor, into its natural parameters.
    pub(super) fn messages(&self, f: FactorId, rows: &Range<usize>, codes: &[&[u32]], workspace: &mut Workspace) {
        for array in &mut workspace.natural[f] {
            array.fill(0.0);
        }
        for (g, group) in self.plan.groups.iter().enumerate() {
            for (m, message) in group.messages.iter().enumerate() {
                // The one precision of a chain's rows is found without them.
                if message.factor == f && self.plan.second_moments_of(g).is_none() {
                    self.message(g, m, group, message, rows, codes, workspace);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn message(
        &self,
        g: usize,
        m: usize,
        group: &RowGroup,
        message: &RowMessage,
        rows: &Range<usize>,
        codes: &[&[u32]],
        workspace: &mut Workspace,
    ) {
        let mut out = std::mem::take(&mut workspace.natural[message.factor][message.statistic]);
        let coefficient = &self.coefficients[g];
        if let Some(path) = &message.matrix {
            let positions: Vec<usize> = path.inputs.iter().map(|&i| message.inputs[i]).collect();
            let count = rows.len();
            if path.direct {
                let features = self.operand(group, positions[0], rows, workspace);
                product(features, coefficient, count, path.num_features, path.width, 1.0, &mut out);
            } else {
                self.features(path, group, &positions, rows, codes, workspace, (g, m));
                match path.symmetric {
                    Some(d) => {
                        let packed = d * (d + 1) / 2;
                        product(&workspace.features, &self.packed[g], count, packed, path.width, 1.0, &mut out);
                    }
                    None => {
                        product(&workspace.features, coefficient, count, path.num_features, path.width, 1.0, &mut out);
                    }
                }
            }
        } else {
            let mut inputs: Vec<&[f64]> =
                message.inputs.iter().map(|&i| self.operand(group, i, rows, workspace)).collect();
            inputs.push(coefficient);
            message.nest.run(rows.len(), codes, &inputs, 1.0, None, &mut out);
        }
        workspace.natural[message.factor][message.statistic] = out;
    }

    /// The array of a group's operand in the chunk at hand.
    pub(super) fn operand<'a>(
        &'a self,
        group: &RowGroup,
        position: usize,
        rows: &Range<usize>,
        workspace: &'a Workspace,
    ) -> &'a [f64] {
        match group.operands[position].source {
            Source::Data(i) => self.reader.array(i, rows, &workspace.data),
            Source::Statistic { factor, statistic } => &workspace.statistics[factor][statistic],
            Source::Constant(_) | Source::Summary(_) | Source::Moment { .. } | Source::Natural { .. } => &[],
        }
    }

    /// Builds the feature matrix of a product; products over the same data share it.
    #[allow(clippy::too_many_arguments)]
    fn features(
        &self,
        path: &MatrixPath,
        group: &RowGroup,
        positions: &[usize],
        rows: &Range<usize>,
        codes: &[&[u32]],
        workspace: &mut Workspace,
        owner: (usize, usize),
    ) {
        let pure = positions.iter().all(|&p| matches!(group.operands[p].source, Source::Data(_)));
        if pure && workspace.feature_owner == Some((owner.0, 0)) {
            return;
        }
        let mut features = std::mem::take(&mut workspace.features);
        let count = rows.len();
        match path.symmetric {
            Some(d) => {
                let x = self.operand(group, positions[0], rows, workspace);
                symmetric_features(x, count, d, &mut features);
            }
            None => {
                features.clear();
                features.resize(count * path.num_features, 0.0);
                let inputs: Vec<&[f64]> = positions.iter().map(|&p| self.operand(group, p, rows, workspace)).collect();
                path.features.run(count, codes, &inputs, 1.0, None, &mut features);
            }
        }
        workspace.features = features;
        workspace.feature_owner = pure.then_some((owner.0, 0));
    }

    /// Adds a chunk's part of a group's summary.
    fn summarise(&self, g: usize, rows: &Range<usize>, codes: &[&[u32]], workspace: &mut Workspace, out: &mut [f64]) {
        let group = &self.plan.groups[g];
        let count = rows.len();
        if let Some(path) = &group.matrix_summary {
            if !path.direct {
                self.features(path, group, &path.inputs.clone(), rows, codes, workspace, (g, usize::MAX));
            }
            let mut weighted = std::mem::take(&mut workspace.weighted);
            let mut packed = std::mem::take(&mut workspace.packed);
            let statistic: &[f64] = {
                let raw = self.operand(group, path.statistic, rows, workspace);
                match self.reader.weights(rows, &workspace.data) {
                    None => raw,
                    Some(weights) => {
                        weighted.clear();
                        weighted.extend_from_slice(raw);
                        for (row, w) in weighted.chunks_exact_mut(path.width).zip(weights) {
                            row.iter_mut().for_each(|x| *x *= w);
                        }
                        &weighted
                    }
                }
            };
            if path.direct {
                let features = self.operand(group, path.inputs[0], rows, workspace);
                transposed_product(features, statistic, count, path.num_features, path.width, 1.0, out);
            } else if let Some(d) = path.symmetric {
                let packed_size = d * (d + 1) / 2;
                packed.clear();
                packed.resize(packed_size * path.width, 0.0);
                transposed_product(&workspace.features, statistic, count, packed_size, path.width, 1.0, &mut packed);
                unpack_summary(&packed, d, path.width, out);
            } else {
                transposed_product(&workspace.features, statistic, count, path.num_features, path.width, 1.0, out);
            }
            workspace.weighted = weighted;
            workspace.packed = packed;
            return;
        }
        let inputs: Vec<&[f64]> = (0..group.operands.len()).map(|i| self.operand(group, i, rows, workspace)).collect();
        let weights = self.reader.weights(rows, &workspace.data);
        group.summary.run(count, codes, &inputs, 1.0, weights, out);
    }
}

/// x_i x_j for i ≤ j, `[rows, d(d + 1)/2]`.
fn symmetric_features(x: &[f64], rows: usize, d: usize, out: &mut Vec<f64>) {
    let packed = d * (d + 1) / 2;
    out.resize(rows * packed, 0.0);
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(packed)) {
        let mut at = 0;
        for i in 0..d {
            let xi = x[i];
            for (o, xj) in out[at..at + d - i].iter_mut().zip(&x[i..]) {
                *o = xi * xj;
            }
            at += d - i;
        }
    }
}

/// C_ij + C_ji for i < j and C_ii, `[d(d + 1)/2, width]`.
pub(super) fn pack_coefficient(full: &[f64], d: usize, width: usize, out: &mut Vec<f64>) {
    out.clear();
    for i in 0..d {
        for j in i..d {
            for w in 0..width {
                let upper = full[(i * d + j) * width + w];
                out.push(if i == j { upper } else { upper + full[(j * d + i) * width + w] });
            }
        }
    }
}

/// Adds a packed summary to both triangles.
fn unpack_summary(packed: &[f64], d: usize, width: usize, out: &mut [f64]) {
    let mut at = 0;
    for i in 0..d {
        for j in i..d {
            for w in 0..width {
                let value = packed[at * width + w];
                out[(i * d + j) * width + w] += value;
                if i != j {
                    out[(j * d + i) * width + w] += value;
                }
            }
            at += 1;
        }
    }
}
