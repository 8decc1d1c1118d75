//! The local step of a fused gate: features, logits, responsibilities and statistics of one chunk.

use std::ops::Range;

use vi_families::rows::softmax_rows_component_major;

use super::Engine;
use super::local::Workspace;
use crate::error::CaviError;
use crate::factor::NaturalError;
use crate::plan::{FusedGate, FusedGroup};
use vi_families::product::{left_transposed_product, right_transposed_product};

/// Buffers of a fused gate.
#[derive(Debug, Default)]
pub(super) struct FusedBuffers {
    /// Data operands with the rows last, `[width, rows]`, by position in [`FusedGate::data`].
    columns: Vec<Vec<f64>>,
    /// `[num_features, rows]`
    features: Vec<f64>,
    /// `[num_categories, rows]`: logits, then responsibilities.
    responsibilities: Vec<f64>,
    normalizer: Vec<f64>,
}

/// Rows moved at a time by the transposition: the lines they lie in stay in the first cache.
const BLOCK: usize = 32;

/// Writes `[rows, width]` as `[width, rows]`.
pub(super) fn transpose(source: &[f64], rows: usize, width: usize, out: &mut Vec<f64>) {
    out.resize(rows * width, 0.0);
    if width == 1 {
        out.copy_from_slice(&source[..rows]);
        return;
    }
    for (block, source) in source[..rows * width].chunks(BLOCK * width).enumerate() {
        let first = block * BLOCK;
        let length = source.len() / width;
        for (column, target) in out.chunks_exact_mut(rows).enumerate() {
            let values = source[column..].iter().step_by(width);
            target[first..first + length].iter_mut().zip(values).for_each(|(t, s)| *t = *s);
        }
    }
}

impl Engine {
    /// Coefficients of a fused gate, `[num_features, num_categories]`, from those of its groups.
    pub(super) fn fused_coefficients(&self, gate: &FusedGate) -> Vec<f64> {
        let k = gate.categories;
        let mut all = vec![0.0; gate.num_features * k];
        for part in &gate.groups {
            let full = &self.coefficients[part.group];
            let out = &mut all[part.start * k..(part.start + part.num_features) * k];
            match part.symmetric {
                None => out.copy_from_slice(full),
                Some(d) => {
                    let mut rows = out.chunks_exact_mut(k);
                    for i in 0..d {
                        for j in i..d {
                            let Some(target) = rows.next() else { break };
                            let upper = &full[(i * d + j) * k..(i * d + j + 1) * k];
                            target.copy_from_slice(upper);
                            if i != j {
                                let lower = &full[(j * d + i) * k..(j * d + i + 1) * k];
                                target.iter_mut().zip(lower).for_each(|(t, l)| *t += l);
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// Spreads summaries `[num_features, num_categories]` over the groups.
    pub(super) fn spread_fused(gate: &FusedGate, fused: &[f64], summaries: &mut [Vec<f64>]) {
        let k = gate.categories;
        for part in &gate.groups {
            let values = &fused[part.start * k..(part.start + part.num_features) * k];
            let out = &mut summaries[part.group];
            match part.symmetric {
                None => out.copy_from_slice(values),
                Some(d) => {
                    let mut rows = values.chunks_exact(k);
                    for i in 0..d {
                        for j in i..d {
                            let Some(row) = rows.next() else { break };
                            out[(i * d + j) * k..(i * d + j + 1) * k].copy_from_slice(row);
                            out[(j * d + i) * k..(j * d + i + 1) * k].copy_from_slice(row);
                        }
                    }
                }
            }
        }
    }

    /// Features, logits and responsibilities of a chunk; adds the statistics to `summary` and returns Σ weight · log-sum-exp.
    ///
    /// `given` holds responsibilities `[rows, num_categories]` that replace those of the model (at the start).
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_fused(
        &self,
        gate: &FusedGate,
        coefficients: &[f64],
        rows: &Range<usize>,
        given: Option<&[f64]>,
        workspace: &mut Workspace,
        summary: &mut [f64],
    ) -> Result<f64, CaviError> {
        let count = rows.len();
        let k = gate.categories;
        let Workspace { data, fused, .. } = workspace;
        let FusedBuffers { columns, features, responsibilities, normalizer } = fused;
        columns.resize(gate.data.len(), Vec::new());
        for (column, &id) in columns.iter_mut().zip(&gate.data) {
            transpose(self.reader.array(id, rows, data), count, self.reader.width(id), column);
        }
        features.resize(gate.num_features * count, 0.0);
        for part in &gate.groups {
            let target = &mut features[part.start * count..(part.start + part.num_features) * count];
            build_features(part, gate, columns, count, target);
        }
        responsibilities.resize(k * count, 0.0);
        let mut total = 0.0;
        match given {
            Some(given) => transpose(given, count, k, responsibilities),
            None => {
                left_transposed_product(coefficients, features, k, gate.num_features, count, responsibilities);
                normalizer.resize(count, 0.0);
                softmax_rows_component_major(responsibilities, count, k, normalizer);
                let weights = self.reader.weights(rows, data);
                for (row, z) in normalizer.iter().enumerate() {
                    if !z.is_finite() {
                        return Err(self.broken(
                            gate.factor,
                            rows.start + row,
                            NaturalError::new("no category is possible"),
                        ));
                    }
                    total += weights.map_or(1.0, |w| w[row]) * z;
                }
            }
        }
        if let Some(weights) = self.reader.weights(rows, data) {
            for category in responsibilities.chunks_exact_mut(count) {
                category.iter_mut().zip(weights).for_each(|(r, w)| *r *= w);
            }
        }
        right_transposed_product(features, responsibilities, gate.num_features, count, k, summary);
        Ok(total)
    }
}

/// Features of one group with the rows last.
fn build_features(part: &FusedGroup, gate: &FusedGate, columns: &[Vec<f64>], count: usize, out: &mut [f64]) {
    let array =
        |id: usize| -> &[f64] { gate.data.iter().position(|d| *d == id).map_or(&[], |at| columns[at].as_slice()) };
    if let (Some(d), [(id, _), ..]) = (part.symmetric, part.inputs.as_slice()) {
        let x = array(*id);
        let mut targets = out.chunks_exact_mut(count);
        for i in 0..d {
            for j in i..d {
                let Some(target) = targets.next() else { return };
                let (a, b) = (&x[i * count..(i + 1) * count], &x[j * count..(j + 1) * count]);
                for ((t, a), b) in target.iter_mut().zip(a).zip(b) {
                    *t = a * b;
                }
            }
        }
        return;
    }
    let mut position = vec![0; part.sizes.len()];
    for target in out.chunks_exact_mut(count) {
        let offset = |steps: &[usize]| -> usize { position.iter().zip(steps).map(|(p, s)| p * s).sum() };
        match part.inputs.split_first() {
            None => target.fill(1.0),
            Some(((first, steps), rest)) => {
                let at = offset(steps) * count;
                target.copy_from_slice(&array(*first)[at..at + count]);
                for (id, steps) in rest {
                    let at = offset(steps) * count;
                    target.iter_mut().zip(&array(*id)[at..at + count]).for_each(|(t, x)| *t *= x);
                }
            }
        }
        for (p, size) in position.iter_mut().zip(&part.sizes).rev() {
            *p += 1;
            if *p < *size {
                break;
            }
            *p = 0;
        }
    }
}
