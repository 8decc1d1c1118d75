//! Off a saddle: at the priors' centres the log joint of products and squares is level, and no gradient leads away.

use nalgebra::{DMatrix, SymmetricEigen};

use super::curvature::MAX_DENSE;
use super::noise;
use crate::tape::{Evaluation, Evaluator};

/// Slope per unit of scale that counts as none.
const LEVEL: f64 = 1e-7;
/// Curvature upwards, in nats per squared unit of scale, that counts as some.
const RISING: f64 = 1e-3;
/// First length of the step off, in units of scale, and how often it is halved.
const STEP: f64 = 0.3;
const MOST_HALVINGS: usize = 40;

/// The start, or where it is level in some coordinates along which the log joint curves upwards, a point beside it. `guess` are
/// scales of the coordinates; those that are `held` stay where they are.
///
/// y ~ N(a·b, σ²) with a, b ~ N(0, 1) has ∂ log p/∂a = ∂ log p/∂b = 0 at a = b = 0, and so has every product of factors.
pub(crate) fn leave(evaluator: &Evaluator, start: Vec<f64>, guess: &[f64], held: &[bool], seed: u64) -> Vec<f64> {
    let n = start.len();
    let mut out = Evaluation::default();
    evaluator.evaluate(&start, 1, true, &mut out);
    let value = out.values[0];
    let level: Vec<usize> = (0..n).filter(|&i| !held[i] && (out.gradients[i] * guess[i]).abs() < LEVEL).collect();
    if level.is_empty() || !value.is_finite() || !curves_upwards(evaluator, &start, guess, &level) {
        return start;
    }
    let direction = noise::independent(seed, 1, level.len());
    let mut length = STEP;
    for _ in 0..MOST_HALVINGS {
        let mut moved = start.clone();
        for (&i, d) in level.iter().zip(&direction) {
            moved[i] += length * guess[i] * d;
        }
        evaluator.evaluate(&moved, 1, true, &mut out);
        let is_fine = out.values[0].is_finite() && out.gradients.iter().all(|g| g.is_finite());
        if is_fine && out.values[0] > value - 0.5 * level.len() as f64 {
            return moved;
        }
        length *= 0.5;
    }
    start
}

/// Whether ∇∇ log p over some coordinates, in units of `scale`, has a positive eigenvalue; taken to be so where they are too
/// many to see.
fn curves_upwards(evaluator: &Evaluator, at: &[f64], scale: &[f64], which: &[usize]) -> bool {
    let (n, k) = (at.len(), which.len());
    if k > MAX_DENSE {
        return true;
    }
    let step = 1e-3;
    let mut theta = Vec::with_capacity(2 * k * n);
    for &i in which {
        for sign in [1.0, -1.0] {
            theta.extend_from_slice(at);
            let last = theta.len() - n + i;
            theta[last] += sign * step * scale[i];
        }
    }
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, 2 * k, true, &mut out);
    let h = DMatrix::from_fn(k, k, |a, b| {
        let j = which[b];
        (out.gradients[2 * a * n + j] - out.gradients[(2 * a + 1) * n + j]) / (2.0 * step) * scale[j]
    });
    if h.iter().any(|x| !x.is_finite()) {
        return false;
    }
    SymmetricEigen::new(0.5 * (&h + h.transpose())).eigenvalues.max() > RISING
}
