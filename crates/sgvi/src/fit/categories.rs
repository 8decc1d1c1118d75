//! Categorical factors of discrete variables that are not summed out: probabilities, entropy, draws, gradients.
//!
//! The compiled log joint takes one weight for each value of such an element, in the place of a coordinate. At weights that
//! are indicators of values it is log p(θ, z); where it is linear in the weights of every element it is E_q(z)[log p(θ, z)] at
//! weights that are the probabilities of q, and its derivatives are the expectations given each value of one element: the
//! gradient of the logits, Rao–Blackwellised completely.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The values of one element of a discrete variable: where its logits stand among the coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Category {
    /// Its first coordinate.
    pub offset: usize,
    /// Number of values.
    pub size: usize,
    /// Its value, where that is observed.
    pub known: Option<usize>,
}

impl Category {
    /// Its coordinates.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.size
    }

    /// Probabilities from the logits among all coordinates: rₖ = exp λₖ / Σⱼ exp λⱼ.
    pub(crate) fn probabilities(&self, logits: &[f64], out: &mut [f64]) {
        if let Some(known) = self.known {
            out.iter_mut().enumerate().for_each(|(k, p)| *p = f64::from(u8::from(k == known)));
            return;
        }
        let own = &logits[self.range()];
        let largest = own.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        out.iter_mut().zip(own).for_each(|(p, l)| *p = (l - largest).exp());
        let total: f64 = out.iter().sum();
        out.iter_mut().for_each(|p| *p /= total);
    }
}

/// Replaces every element's logits by its probabilities.
pub(crate) fn place_probabilities(categories: &[Category], coordinates: &mut [f64]) {
    for category in categories {
        let logits: Vec<f64> = coordinates[category.range()].to_vec();
        let own = Category { offset: 0, ..*category };
        own.probabilities(&logits, &mut coordinates[category.range()]);
    }
}

/// −Σₖ rₖ log rₖ.
pub(crate) fn entropy(probabilities: &[f64]) -> f64 {
    probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Draws a value for every element of every draw: `theta` `[draws, dimension]` holds probabilities, which become indicators of
/// the value drawn. Returns −log q(z) by element, `[draws, elements]`.
pub(crate) fn draw_values(categories: &[Category], theta: &mut [f64], dimension: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut surprise = Vec::with_capacity(categories.len() * theta.len() / dimension.max(1));
    for theta in theta.chunks_mut(dimension.max(1)) {
        for category in categories {
            let weights = &mut theta[category.range()];
            let mut rest = rng.random::<f64>();
            let mut chosen = 0;
            for (k, p) in weights.iter().enumerate() {
                if *p > 0.0 {
                    chosen = k;
                    if rest < *p {
                        break;
                    }
                    rest -= p;
                }
            }
            surprise.push(-weights[chosen].ln());
            weights.iter_mut().enumerate().for_each(|(k, w)| *w = f64::from(u8::from(k == chosen)));
        }
    }
    surprise
}

/// The natural gradient of the logits, ∂F/∂rₖ − log rₖ without its mean under q: the step λ → λ + it is that of coordinate
/// ascent. `slopes` are ∂F/∂r of all coordinates; what is returned stands in their places.
pub(crate) fn natural_gradient(categories: &[Category], coordinates: &[f64], slopes: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; slopes.len()];
    let mut r = Vec::new();
    for category in categories.iter().filter(|c| c.known.is_none()) {
        r.resize(category.size, 0.0);
        category.probabilities(coordinates, &mut r);
        let logits = &coordinates[category.range()];
        let own = &mut out[category.range()];
        own.iter_mut().zip(&slopes[category.range()]).zip(logits).for_each(|((o, s), l)| *o = s - l);
        let mean: f64 = own.iter().zip(&r).map(|(o, r)| o * r).sum();
        own.iter_mut().for_each(|o| *o -= mean);
    }
    out
}

/// The gradient of the ELBO with respect to the logits, entropy included: rₖ times the natural gradient.
pub(crate) fn gradient(categories: &[Category], coordinates: &[f64], slopes: &[f64]) -> Vec<f64> {
    let mut out = natural_gradient(categories, coordinates, slopes);
    let mut r = Vec::new();
    for category in categories {
        r.resize(category.size, 0.0);
        category.probabilities(coordinates, &mut r);
        out[category.range()].iter_mut().zip(&r).for_each(|(o, r)| *o *= r);
    }
    out
}
