//! Limited-memory BFGS with a weak Wolfe line search (Nocedal & Wright 2006, algorithms 7.4 and 3.5; Lewis & Overton 2013).

use std::collections::VecDeque;

use vi_run::executor::{CheckpointError, Decoder, Encoder};

/// The state of a minimisation.
#[derive(Debug)]
pub(crate) struct Lbfgs {
    /// Current point.
    pub x: Vec<f64>,
    /// Value at it.
    pub value: f64,
    /// Gradient at it.
    pub gradient: Vec<f64>,
    /// Half the squared length of the gradient in the inverse Hessian's metric: the gain still expected.
    pub expected_gain: f64,
    memory: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
    steps: usize,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value fell.
    Moved,
    /// No point with a lower value was found along the direction.
    Stuck,
}

const MEMORY: usize = 20;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Lbfgs {
    /// Starts at `x`, where the objective gave `value` and `gradient`.
    pub(crate) fn new(x: Vec<f64>, value: f64, gradient: Vec<f64>) -> Self {
        Self { x, value, gradient, expected_gain: f64::INFINITY, memory: VecDeque::new(), steps: 0 }
    }

    /// Writes the whole state.
    pub(crate) fn save(&self, encoder: &mut Encoder) {
        encoder.f64_slice(&self.x);
        encoder.f64(self.value);
        encoder.f64_slice(&self.gradient);
        encoder.f64(self.expected_gain);
        encoder.usize(self.steps);
        encoder.usize(self.memory.len());
        for (s, y, rho) in &self.memory {
            encoder.f64_slice(s);
            encoder.f64_slice(y);
            encoder.f64(*rho);
        }
    }

    /// Reads what [`Lbfgs::save`] wrote.
    ///
    /// # Errors
    /// When the bytes are not of such a state.
    pub(crate) fn load(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        let mut search = Self::new(decoder.f64_vec()?, decoder.f64()?, decoder.f64_vec()?);
        search.expected_gain = decoder.f64()?;
        search.steps = decoder.usize()?;
        for _ in 0..decoder.usize()? {
            search.memory.push_back((decoder.f64_vec()?, decoder.f64_vec()?, decoder.f64()?));
        }
        Ok(search)
    }

    /// −H⁻¹ ∇f by the two-loop recursion.
    fn direction(&self) -> Vec<f64> {
        let mut q: Vec<f64> = self.gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.memory.len());
        for (s, y, rho) in self.memory.iter().rev() {
            let alpha = rho * dot(s, &q);
            q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
            alphas.push(alpha);
        }
        if let Some((s, y, _)) = self.memory.back() {
            let scale = dot(s, y) / dot(y, y);
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y, rho), alpha) in self.memory.iter().zip(alphas.into_iter().rev()) {
            let beta = rho * dot(y, &q);
            q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
        }
        q
    }

    /// One step; `objective` returns the value and writes the gradient. Values that are not finite count as infinite.
    pub(crate) fn step(&mut self, mut objective: impl FnMut(&[f64], &mut Vec<f64>) -> f64) -> Step {
        let mut direction = self.direction();
        let mut slope = dot(&direction, &self.gradient);
        if slope.is_nan() || slope >= 0.0 {
            self.memory.clear();
            direction = self.gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &self.gradient);
        }
        self.expected_gain = -0.5 * slope;
        // Less than rounding can tell: nothing more to be found.
        if !slope.is_finite() || self.expected_gain <= 1e-12 * (1.0 + self.value.abs()) {
            return Step::Stuck;
        }
        let norm = dot(&direction, &direction).sqrt();
        // The first step, without curvature, is of length at most one in the scaled coordinates.
        let mut t = if self.memory.is_empty() { (1.0 / norm).min(1.0) } else { 1.0 };
        let longest = 10.0 * (self.x.len() as f64).sqrt().max(3.0);
        t = t.min(longest / norm);
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut gradient = Vec::new();
        let mut best: Option<(f64, f64, Vec<f64>, Vec<f64>)> = None;
        for _ in 0..25 {
            let x: Vec<f64> = self.x.iter().zip(&direction).map(|(x, d)| x + t * d).collect();
            let value = objective(&x, &mut gradient);
            let new_slope = dot(&direction, &gradient);
            let armijo = value.is_finite() && new_slope.is_finite() && value <= self.value + 1e-4 * t * slope;
            if armijo && best.as_ref().is_none_or(|b| value < b.1) {
                best = Some((t, value, x, gradient.clone()));
            }
            if !armijo {
                high = t;
            } else if new_slope < 0.9 * slope && t * norm < longest {
                low = t;
            } else {
                break;
            }
            let level = (value - self.value).abs() <= 1e-13 * (1.0 + self.value.abs());
            if high - low < 1e-10 * high || (level && best.is_some()) || (level && !armijo) {
                break;
            }
            t = if high.is_finite() {
                if value.is_finite() { 0.5 * (low + high) } else { low + 0.2 * (high - low) }
            } else {
                (2.5 * t).min(longest / norm)
            };
        }
        let Some((_, value, x, gradient)) = best else {
            let had = !self.memory.is_empty();
            self.memory.clear();
            if had {
                return self.step(objective);
            }
            return Step::Stuck;
        };
        let s: Vec<f64> = x.iter().zip(&self.x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(a, b)| a - b).collect();
        let sy = dot(&s, &y);
        if sy > 1e-12 * dot(&y, &y) {
            if self.memory.len() == MEMORY {
                self.memory.pop_front();
            }
            self.memory.push_back((s, y, 1.0 / sy));
        }
        (self.x, self.value, self.gradient) = (x, value, gradient);
        self.steps += 1;
        Step::Moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_minimum_of_rosenbrock() {
        let f = |x: &[f64], g: &mut Vec<f64>| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            *g = vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b];
            a * a + 100.0 * b * b
        };
        let mut g = Vec::new();
        let start = vec![-1.2, 1.0];
        let value = f(&start, &mut g);
        let mut search = Lbfgs::new(start, value, g);
        for _ in 0..60 {
            if search.step(f) == Step::Stuck {
                break;
            }
        }
        assert!((search.x[0] - 1.0).abs() < 1e-6 && (search.x[1] - 1.0).abs() < 1e-6, "{:?}", search.x);
    }
}
