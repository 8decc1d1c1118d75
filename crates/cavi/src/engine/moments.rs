//! Moments of the features that the means of row-level Gaussians are affine in: one pass over the rows.

use std::ops::Range;

use rayon::prelude::*;
use vi_families::product::transposed_product;

use super::Engine;
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::plan::Affine;

/// Rows read at a time.
const CHUNK: usize = 1024;

/// Weighted number of rows, mean and scatter of the features.
#[derive(Debug, Clone, Default)]
pub(super) struct FeatureMoments {
    /// N = Σ w_n
    pub(super) total: f64,
    /// ū, `[num_features]`
    pub(super) mean: Vec<f64>,
    /// S = Σ w_n (u_n − ū)(u_n − ū)ᵀ, `[num_features, num_features]`
    pub(super) scatter: Vec<f64>,
}

impl FeatureMoments {
    fn new(size: usize) -> Self {
        Self { total: 0.0, mean: vec![0.0; size], scatter: vec![0.0; size * size] }
    }

    /// Joins the moments of other rows, so that nothing cancels far from zero (Chan, Golub & LeVeque 1983, eq. 2.1).
    fn join(&mut self, other: &Self) {
        if other.total == 0.0 {
            return;
        }
        let size = self.mean.len();
        let total = self.total + other.total;
        let share = other.total / total;
        let apart: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        for (i, row) in self.scatter.chunks_exact_mut(size.max(1)).enumerate() {
            let scale = apart[i] * self.total * share;
            let theirs = &other.scatter[i * size..(i + 1) * size];
            for ((s, t), d) in row.iter_mut().zip(theirs).zip(&apart) {
                *s += t + scale * d;
            }
        }
        self.mean.iter_mut().zip(&apart).for_each(|(m, d)| *m += share * d);
        self.total = total;
    }
}

impl Engine {
    /// Moments of the features over all rows, in parallel over fixed parts of the rows, joined in order.
    pub(super) fn feature_moments(&self, affine: &Affine) -> Result<FeatureMoments, CaviError> {
        let rows = self.lowered.program.num_rows;
        let part = self.plan.task.max(CHUNK);
        let parts: Vec<Result<FeatureMoments, CaviError>> = (0..rows.div_ceil(part))
            .into_par_iter()
            .map(|p| self.moments_of(affine, p * part..((p + 1) * part).min(rows)))
            .collect();
        let mut all = FeatureMoments::new(affine.num_features);
        for part in parts {
            all.join(&part?);
        }
        Ok(all)
    }

    fn moments_of(&self, affine: &Affine, rows: Range<usize>) -> Result<FeatureMoments, CaviError> {
        let size = affine.num_features;
        let mut all = FeatureMoments::new(size);
        let mut one = FeatureMoments::new(size);
        let mut data = ChunkData::default();
        let (mut features, mut weighted) = (Vec::new(), Vec::new());
        let mut at = rows.start;
        while at < rows.end {
            let range = at..(at + CHUNK).min(rows.end);
            at = range.end;
            self.reader.read(range.clone(), &mut data)?;
            self.row_features(affine, &range, &data, &mut features);
            let weights = self.reader.weights(&range, &data);
            let weight = |row: usize| weights.map_or(1.0, |w| w[row]);
            one.total = (0..range.len()).map(weight).sum();
            if one.total == 0.0 {
                continue;
            }
            one.mean.fill(0.0);
            one.scatter.fill(0.0);
            for (row, u) in features.chunks_exact(size.max(1)).enumerate() {
                let share = weight(row) / one.total;
                one.mean.iter_mut().zip(u).for_each(|(m, x)| *m += share * x);
            }
            for u in features.chunks_exact_mut(size.max(1)) {
                u.iter_mut().zip(&one.mean).for_each(|(x, m)| *x -= m);
            }
            let left = match weights {
                None => &features,
                Some(weights) => {
                    weighted.clone_from(&features);
                    for (u, w) in weighted.chunks_exact_mut(size.max(1)).zip(weights) {
                        u.iter_mut().for_each(|x| *x *= w);
                    }
                    &weighted
                }
            };
            if size > 0 {
                transposed_product(left, &features, range.len(), size, size, 1.0, &mut one.scatter);
            }
            all.join(&one);
        }
        Ok(all)
    }

    /// The features of a chunk that was read, `[rows, num_features]`.
    pub(super) fn row_features(&self, affine: &Affine, rows: &Range<usize>, data: &ChunkData, out: &mut Vec<f64>) {
        let (count, width) = (rows.len(), affine.num_features);
        out.clear();
        out.resize(count * width, 0.0);
        let mut block = Vec::new();
        for feature in &affine.features {
            let inputs: Vec<&[f64]> = feature.inputs.iter().map(|&i| self.reader.array(i, rows, data)).collect();
            block.clear();
            block.resize(count * feature.size, 0.0);
            feature.product.run(count, &[], &inputs, 1.0, None, &mut block);
            for (target, source) in out.chunks_exact_mut(width).zip(block.chunks_exact(feature.size)) {
                target[feature.start..feature.start + feature.size].copy_from_slice(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FeatureMoments;

    #[test]
    fn joined_moments_are_those_of_all_rows_even_far_from_zero() {
        let rows: Vec<[f64; 2]> = (0..40)
            .map(|i| {
                let t = f64::from(i);
                [1e8 + (0.7 * t).sin(), -3e7 + 0.25 * (1.3 * t).cos() + 0.01 * t]
            })
            .collect();
        let mut joined = FeatureMoments::new(2);
        for row in &rows {
            joined.join(&FeatureMoments { total: 1.0, mean: row.to_vec(), scatter: vec![0.0; 4] });
        }
        // Two passes from a centre that is subtracted exactly.
        let centred: Vec<[f64; 2]> = rows.iter().map(|r| [r[0] - 1e8, r[1] + 3e7]).collect();
        let mean = [0, 1].map(|i| centred.iter().map(|r| r[i]).sum::<f64>() / 40.0);
        for i in 0..2 {
            assert!((joined.mean[i] - [1e8, -3e7][i] - mean[i]).abs() < 1e-7);
            for j in 0..2 {
                let direct: f64 = centred.iter().map(|r| (r[i] - mean[i]) * (r[j] - mean[j])).sum();
                let found = joined.scatter[i * 2 + j];
                assert!((found - direct).abs() < 1e-6 * (1.0 + direct.abs()), "{found} instead of {direct}");
            }
        }
    }
}
