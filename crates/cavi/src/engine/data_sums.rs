//! Summaries of data alone: computed in one pass over the rows, before the first iteration.

use std::ops::Range;

use rayon::prelude::*;
use vi_families::product::transposed_product;

use super::Engine;
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::plan::{RowGroup, plain_labels};
use crate::program::{AxisIndex, Source};

/// Rows read at a time.
const CHUNK: usize = 1024;

impl Engine {
    /// Sums every group without row-level factors, in parallel over fixed parts of the rows, merged in order.
    pub(super) fn data_sums(&mut self) -> Result<(), CaviError> {
        let groups: Vec<usize> = (0..self.plan.groups.len()).filter(|&g| !self.plan.groups[g].dynamic).collect();
        if groups.is_empty() {
            return Ok(());
        }
        let rows = self.lowered.program.num_rows;
        let part = self.plan.task.max(CHUNK);
        let engine = &*self;
        let parts: Vec<Result<Vec<Vec<f64>>, CaviError>> = (0..rows.div_ceil(part))
            .into_par_iter()
            .map(|p| engine.sum_part(&groups, p * part..((p + 1) * part).min(rows)))
            .collect();
        let mut totals: Vec<Vec<f64>> = groups.iter().map(|&g| vec![0.0; self.plan.groups[g].size()]).collect();
        for sums in parts {
            for (total, sum) in totals.iter_mut().zip(sums?) {
                total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
            }
        }
        for (g, total) in groups.into_iter().zip(totals) {
            self.summaries[g] = total;
        }
        Ok(())
    }

    fn sum_part(&self, groups: &[usize], rows: Range<usize>) -> Result<Vec<Vec<f64>>, CaviError> {
        let mut sums: Vec<Vec<f64>> = groups.iter().map(|&g| vec![0.0; self.plan.groups[g].size()]).collect();
        let pairs: Vec<Option<(usize, usize)>> = groups.iter().map(|&g| pair_of_arrays(&self.plan.groups[g])).collect();
        let mut chunk = ChunkData::default();
        let mut weighted = Vec::new();
        let mut at = rows.start;
        while at < rows.end {
            let range = at..(at + CHUNK).min(rows.end);
            at = range.end;
            self.reader.read(range.clone(), &mut chunk)?;
            let codes = self.reader.codes(range.clone());
            let weights = self.reader.weights(&range, &chunk);
            for ((&g, sum), pair) in groups.iter().zip(&mut sums).zip(&pairs) {
                let group = &self.plan.groups[g];
                if let Some((a, b)) = *pair {
                    let (left, right) = (self.reader.array(a, &range, &chunk), self.reader.array(b, &range, &chunk));
                    let (width, other) = (self.reader.width(a), self.reader.width(b));
                    let left = match weights {
                        None => left,
                        Some(weights) => {
                            weighted.clear();
                            weighted.extend_from_slice(left);
                            for (row, w) in weighted.chunks_exact_mut(width).zip(weights) {
                                row.iter_mut().for_each(|x| *x *= w);
                            }
                            &weighted
                        }
                    };
                    transposed_product(left, right, range.len(), width, other, 1.0, sum);
                    continue;
                }
                let inputs: Vec<&[f64]> = group
                    .operands
                    .iter()
                    .map(|o| match o.source {
                        Source::Data(i) => self.reader.array(i, &range, &chunk),
                        _ => &[],
                    })
                    .collect();
                group.summary.run(range.len(), &codes, &inputs, 1.0, weights, sum);
            }
        }
        Ok(sums)
    }
}

/// The two arrays of a group that is Σ x yᵀ, laid out as one after the other.
fn pair_of_arrays(group: &RowGroup) -> Option<(usize, usize)> {
    let [left, right] = &group.operands[..] else { return None };
    let (Source::Data(a), Source::Data(b)) = (left.source, right.source) else { return None };
    let (first, second) = (plain_labels(left)?, plain_labels(right)?);
    let order: Vec<AxisIndex> = first.iter().chain(&second).map(|l| AxisIndex::label(*l)).collect();
    // Distinct indices, all of them kept: nothing is summed inside a row.
    (!first.is_empty() && !second.is_empty() && first.iter().all(|l| !second.contains(l)) && group.index == order)
        .then_some((a, b))
}
