//! Curvature of the log joint by differences of its gradient, for scaling the search and for finding flat directions.

use nalgebra::{Cholesky, DMatrix, SymmetricEigen};

use super::categories::Category;
use super::gaussian::{Gaussian, Root};
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

/// Largest number of coordinates for which the whole matrix is made.
pub(crate) const MAX_DENSE: usize = 256;

/// −∂²/∂θᵢ² log p at one point, one for each coordinate (exact differences for few coordinates, probes for many); NaN for
/// those that are `held`.
pub(crate) fn diagonal(evaluator: &Evaluator, at: &[f64], scale: &[f64], held: &[bool]) -> Vec<f64> {
    let n = at.len();
    let scale: Vec<f64> = scale.iter().zip(held).map(|(s, held)| if *held { 0.0 } else { *s }).collect();
    let mut out = Evaluation::default();
    if n <= 512 {
        let mut theta = Vec::with_capacity(2 * n * n);
        for i in 0..n {
            for sign in [1.0, -1.0] {
                theta.extend_from_slice(at);
                let last = theta.len() - n + i;
                theta[last] += sign * 1e-4 * scale[i];
            }
        }
        evaluator.evaluate(&theta, 2 * n, true, &mut out);
        return (0..n)
            .map(|i| {
                let (up, down) = (out.gradients[2 * i * n + i], out.gradients[(2 * i + 1) * n + i]);
                (down - up) / (2e-4 * scale[i])
            })
            .collect();
    }
    // Hutchinson's estimate with Rademacher probes.
    let probes = 16;
    let mut theta = Vec::with_capacity(2 * probes * n);
    let sign =
        |p: usize, i: usize| if (p * 2_654_435_761 + i * 40_503 + (i * i) % 97) >> 3 & 1 == 0 { 1.0 } else { -1.0 };
    for p in 0..probes {
        for s in [1.0, -1.0] {
            theta.extend(at.iter().enumerate().map(|(i, t)| t + s * 1e-4 * scale[i] * sign(p, i)));
        }
    }
    evaluator.evaluate(&theta, 2 * probes, true, &mut out);
    (0..n)
        .map(|i| {
            let sum: f64 = (0..probes)
                .map(|p| {
                    let d = out.gradients[(2 * p + 1) * n + i] - out.gradients[2 * p * n + i];
                    sign(p, i) * d / (2e-4 * scale[i])
                })
                .sum();
            sum / probes as f64
        })
        .collect()
}

/// Whether the whole curvature around q is worth its cost.
pub(crate) fn is_affordable(q: &Gaussian) -> bool {
    let weights: usize = q.categories.iter().map(|c| c.size).sum();
    let n = q.mean.len();
    n > 0 && n - weights <= MAX_DENSE && n <= 4 * MAX_DENSE
}

/// −E_q[∇∇ log p] with coordinates in units of `scale`, over a few draws of q; one for the weights of discrete variables.
pub(crate) fn expected(evaluator: &Evaluator, q: &Gaussian, scale: &[f64], seed: u64) -> DMatrix<f64> {
    let n = q.mean.len();
    let draws = 8;
    let noise = super::noise::matched(seed, draws, q.noise_dimension());
    let points = q.points(&noise, draws);
    let mut out = Evaluation::default();
    let mut h = DMatrix::zeros(n, n);
    let step = 1e-3;
    let mut theta = Vec::with_capacity(2 * draws * n);
    let is_weight = q.is_weight();
    for i in 0..n {
        if is_weight[i] {
            h[(i, i)] = 1.0;
            continue;
        }
        theta.clear();
        for point in points.chunks(n) {
            for sign in [1.0, -1.0] {
                theta.extend_from_slice(point);
                let last = theta.len() - n + i;
                theta[last] += sign * step * scale[i];
            }
        }
        evaluator.evaluate(&theta, 2 * draws, true, &mut out);
        for j in (0..n).filter(|j| !is_weight[*j]) {
            let sum: f64 = (0..draws).map(|d| out.gradients[(2 * d + 1) * n + j] - out.gradients[2 * d * n + j]).sum();
            h[(i, j)] = sum / (2.0 * step * draws as f64) * scale[j];
        }
    }
    0.5 * (&h + h.transpose())
}

/// What the curvature says of the posterior around q, in units of `scale`.
#[derive(Debug)]
pub(crate) struct Whitening {
    /// A positive definite version of the expected curvature.
    pub curvature: DMatrix<f64>,
}

impl Whitening {
    /// Analyses the expected curvature; small curvature is followed outwards to see whether the log joint ever falls.
    ///
    /// # Errors
    /// [`SgviError::Improper`] where it does not.
    pub(crate) fn new(
        model: &Model,
        evaluator: &Evaluator,
        q: &Gaussian,
        scale: &[f64],
        seed: u64,
    ) -> Result<Option<Self>, SgviError> {
        let n = q.mean.len();
        let h = expected(evaluator, q, scale, seed);
        if h.iter().any(|x| !x.is_finite()) {
            return Ok(None);
        }
        let eigen = SymmetricEigen::new(h);
        let largest = eigen.eigenvalues.iter().fold(0.0f64, |a, b| a.max(b.abs())).max(1e-300);
        let mut curvature = DMatrix::zeros(n, n);
        for (i, &value) in eigen.eigenvalues.iter().enumerate() {
            let v = eigen.eigenvectors.column(i);
            if value.abs() < 1e-6 * largest || value <= 0.0 {
                let direction: Vec<f64> = v.iter().zip(scale).map(|(v, s)| v * s).collect();
                if is_flat(evaluator, &q.center(), &direction) {
                    let relative: Vec<f64> = v.iter().copied().collect();
                    return Err(improper(model, &relative, &vec![1.0; n]));
                }
            }
            let value = if value > 1e-9 * largest { value } else { value.abs().max(0.05) };
            curvature += v * v.transpose() * value;
        }
        Ok(Some(Self { curvature }))
    }

    /// Cholesky factor of the inverse curvature over some coordinates, back in their own units.
    pub(crate) fn root(&self, which: &[usize], scale: &[f64]) -> Option<DMatrix<f64>> {
        let k = which.len();
        let h = DMatrix::from_fn(k, k, |i, j| self.curvature[(which[i], which[j])]);
        let covariance = Cholesky::new(h)?.inverse();
        let covariance = DMatrix::from_fn(k, k, |i, j| covariance[(i, j)] * scale[which[i]] * scale[which[j]]);
        Some(Cholesky::new(0.5 * (&covariance + covariance.transpose()))?.l())
    }
}

/// Whether the log joint stays level for ever in at least one sense of a direction.
pub(crate) fn is_flat(evaluator: &Evaluator, at: &[f64], direction: &[f64]) -> bool {
    let mut theta = at.to_vec();
    for sign in [1.0, -1.0] {
        for t in [1e2, 1e3, 1e4] {
            theta.extend(at.iter().zip(direction).map(|(a, d)| a + sign * t * d));
        }
    }
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, 7, false, &mut out);
    let v = &out.values;
    [&v[1..4], &v[4..7]].iter().any(|far| {
        far.iter().all(|x| x.is_finite()) && v[0] - far[0] < 1.0 && v[0] - far[1] < 1.0 && v[0] - far[2] < 1.0
    })
}

/// The error that names the variables of a direction.
pub(crate) fn improper(model: &Model, direction: &[f64], scale: &[f64]) -> SgviError {
    let relative: Vec<f64> = direction.iter().zip(scale).map(|(d, s)| (d / s).abs()).collect();
    let largest = relative.iter().fold(0.0f64, |a, b| a.max(*b));
    let mut names: Vec<String> = Vec::new();
    for (i, r) in relative.iter().enumerate() {
        let name = format!("`{}`", model.program.terms[model.owner[i]]);
        if *r > 0.1 * largest && !names.contains(&name) {
            names.push(name);
        }
    }
    SgviError::Improper { variables: names.join(" and ") }
}

/// The vector of scales of all coordinates from a Gaussian's marginal sds (point coordinates keep `fallback`).
pub(crate) fn scales(q: &Gaussian, fallback: &[f64]) -> Vec<f64> {
    let mut scale = fallback.to_vec();
    for (&c, v) in q.free.iter().zip(q.variances()) {
        scale[c] = v.sqrt().max(1e-300);
    }
    let center = q.center();
    for c in q.categories.iter().flat_map(Category::range) {
        // The logits' Fisher information is r (1 − r).
        scale[c] = 1.0 / (center[c] * (1.0 - center[c]) + 0.02).sqrt();
    }
    scale
}

/// Gives spreads that have vanished the width that the curvature at the mean has. While the mean is far from an optimum a line search
/// may throw away any amount of entropy for what the mean gains; in units of such a spread every direction would look flat.
pub(crate) fn revive(evaluator: &Evaluator, q: &mut Gaussian, usual: &[f64]) {
    const VANISHED: f64 = 1e-6;
    let center = q.center().into_owned();
    let (Root::Diagonal(sd) | Root::LowRank { sd, .. }) = &mut q.root else { return };
    if sd.iter().zip(&q.free).all(|(sd, &c)| *sd > VANISHED * usual[c]) {
        return;
    }
    let mut held = vec![false; center.len()];
    q.categories.iter().for_each(|c| held[c.range()].fill(true));
    let curvature = diagonal(evaluator, &center, usual, &held);
    for (sd, &c) in sd.iter_mut().zip(&q.free).filter(|(sd, c)| !held[**c] && **sd <= VANISHED * usual[**c]) {
        // Where the log joint is straight at the mean its curvature says nothing.
        *sd = (1.0 / curvature[c].abs().sqrt()).min(usual[c]).max(*sd);
    }
}

/// P a for a dense or diagonal scale is the chart's business; this makes the dense one.
pub(crate) fn dense_scale(whitening: &Whitening, scale: &[f64]) -> Option<DMatrix<f64>> {
    let all: Vec<usize> = (0..scale.len()).collect();
    whitening.root(&all, scale)
}
