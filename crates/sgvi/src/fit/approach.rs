//! From a start where the log joint is absurdly low (dollars, calendar years, a spread of one for data in thousands) towards
//! where the data are possible, by Newton steps with the curvature's absolute eigenvalues (Dauphin et al. 2014).
//!
//! The steps end while much is still to be gained: a joint mode, which may be degenerate, is not what is looked for.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::curvature::{self, MAX_DENSE};
use crate::tape::{Evaluation, Evaluator};

/// Steps at most.
const MOST_STEPS: usize = 60;
/// Halvings of a step at most.
const MOST_HALVINGS: usize = 30;

/// Gain in nats that a first step must promise, for each coordinate and altogether.
const WORTH_IT: (f64, f64) = (100.0, 1000.0);
/// Gain in nats below which a step was the last, for each coordinate and altogether.
const NEAR: (f64, f64) = (10.0, 100.0);

/// The start, or a better point where the start is far off; `guess` are scales of the coordinates, of which those that are
/// `held` stay where they are.
pub(crate) fn approach(evaluator: &Evaluator, start: Vec<f64>, guess: &[f64], held: &[bool]) -> Vec<f64> {
    let n = start.len();
    if n == 0 || n > MAX_DENSE {
        return start;
    }
    let at = |limit: (f64, f64)| limit.0 * n as f64 + limit.1;
    let (mut theta, mut out) = (start, Evaluation::default());
    evaluator.evaluate(&theta, 1, true, &mut out);
    let (mut value, mut gradient) = (out.values[0], DVector::from_column_slice(&out.gradients));
    for step in 0..MOST_STEPS {
        let scale = scales(evaluator, &theta, guess, held);
        let slope = DVector::from_fn(n, |i, _| if held[i] { 0.0 } else { gradient[i] * scale[i] });
        if step == 0 && 0.5 * slope.norm_squared() < at(WORTH_IT) {
            return theta;
        }
        let h = hessian(evaluator, &theta, &scale, held);
        if h.iter().any(|x| !x.is_finite()) {
            return theta;
        }
        let eigen = SymmetricEigen::new(h);
        let largest = eigen.eigenvalues.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let mut along = eigen.eigenvectors.transpose() * &slope;
        for (a, value) in along.iter_mut().zip(eigen.eigenvalues.iter()) {
            *a /= value.abs().max(1e-10 * largest).max(f64::MIN_POSITIVE);
        }
        let direction = &eigen.eigenvectors * along;
        let (mut length, mut found) = (1.0, None);
        for _ in 0..MOST_HALVINGS {
            let moved: Vec<f64> = (0..n).map(|i| theta[i] + length * direction[i] * scale[i]).collect();
            evaluator.evaluate(&moved, 1, true, &mut out);
            let fine = out.values[0].is_finite() && out.gradients.iter().all(|g| g.is_finite());
            if fine && out.values[0] > value + 1e-4 * length * slope.dot(&direction) {
                found = Some(moved);
                break;
            }
            length *= 0.5;
        }
        let Some(moved) = found else { return theta };
        let gain = out.values[0] - value;
        theta = moved;
        value = out.values[0];
        gradient = DVector::from_column_slice(&out.gradients);
        if gain < at(NEAR) {
            break;
        }
    }
    theta
}

/// 1/√|curvature| of each coordinate.
fn scales(evaluator: &Evaluator, theta: &[f64], guess: &[f64], held: &[bool]) -> Vec<f64> {
    let usable = |s: f64, g: f64| if s.is_finite() && s > 0.0 && s < 1e6 * g { s } else { g };
    let first = curvature::diagonal(evaluator, theta, guess, held);
    first.iter().zip(guess).map(|(c, g)| usable(1.0 / c.abs().sqrt(), *g)).collect()
}

/// −∇∇ log p at a point, in units of `scale`.
fn hessian(evaluator: &Evaluator, at: &[f64], scale: &[f64], held: &[bool]) -> DMatrix<f64> {
    let n = at.len();
    let step = 1e-3;
    let mut theta = Vec::with_capacity(2 * n * n);
    for i in 0..n {
        for sign in [1.0, -1.0] {
            theta.extend_from_slice(at);
            let last = theta.len() - n + i;
            theta[last] += sign * step * scale[i];
        }
    }
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, 2 * n, true, &mut out);
    let h = DMatrix::from_fn(n, n, |i, j| {
        if held[i] || held[j] {
            return f64::from(u8::from(i == j));
        }
        (out.gradients[(2 * i + 1) * n + j] - out.gradients[2 * i * n + j]) / (2.0 * step) * scale[j]
    });
    0.5 * (&h + h.transpose())
}
