//! Whether a Gaussian sits between modes: there the log joint rises from its centre, where that of a single mode falls.

use nalgebra::{DMatrix, SymmetricEigen};

use super::curvature::MAX_DENSE;
use super::gaussian::Gaussian;
use crate::tape::{Evaluation, Evaluator};

/// Half the length of a difference, in units of the approximation's spread.
const STEP: f64 = 0.1;

/// The largest eigenvalue of Lᵀ ∇∇ log p(μ, x) L for q = N(μ, L Lᵀ): −1 in every direction for q = p, positive where the log joint
/// rises from the centre to both sides. `None` where it is not known: too many coordinates, discrete factors, or no numbers.
pub(crate) fn rise(evaluator: &Evaluator, q: &Gaussian) -> Option<f64> {
    let (n, w) = (q.mean.len(), q.noise_dimension());
    if w == 0 || w > MAX_DENSE || !q.categories.is_empty() {
        return None;
    }
    let mut units = vec![0.0; w * w];
    (0..w).for_each(|j| units[j * w + j] = 1.0);
    let ends = q.points(&units, w);
    let along = DMatrix::from_fn(n, w, |i, j| ends[j * n + i] - q.mean[i]);
    let mut theta = Vec::with_capacity(2 * w * n);
    for j in 0..w {
        for sign in [STEP, -STEP] {
            theta.extend((0..n).map(|i| q.mean[i] + sign * along[(i, j)]));
        }
    }
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, 2 * w, true, &mut out);
    let change = DMatrix::from_fn(n, w, |i, j| {
        (out.gradients[2 * j * n + i] - out.gradients[(2 * j + 1) * n + i]) / (2.0 * STEP)
    });
    let h = along.transpose() * change;
    if h.iter().any(|x| !x.is_finite()) {
        return None;
    }
    Some(SymmetricEigen::new(0.5 * (&h + h.transpose())).eigenvalues.max())
}
