//! Extrapolation of slow coordinate ascent, safeguarded so that the ELBO never falls.
//!
//! Coordinate ascent on coupled factors (factor analysis, matrix factorisation) converges linearly with a rate close to one. Two
//! iterations from the natural parameters η₀ of the global factors give r = η₁ − η₀ and v = (η₂ − η₁) − r; the squared
//! extrapolation (Varadhan & Roland 2008, eq. 8 and scheme S3)
//!
//! ```text
//! η′ = η₀ − 2αr + α²v,   α = −‖r‖ / ‖v‖
//! ```
//!
//! jumps ahead. An ordinary iteration from η′ follows; it is kept only if the ELBO is no lower than before.

use crate::engine::Engine;
use crate::error::CaviError;

/// Iterations before the first attempt: early iterations move fast by themselves.
const WARM_UP: usize = 8;
/// Longest pause between attempts after failures.
const LONGEST_PAUSE: usize = 64;

/// The extrapolation's memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acceleration {
    /// Natural parameters after the last iterations, oldest first.
    history: Vec<Vec<f64>>,
    /// Iterations to wait before the next attempt.
    pause: usize,
    /// The pause after the next failure.
    next_pause: usize,
    iterations: usize,
}

impl Acceleration {
    /// Notes the state after an ordinary iteration.
    pub(crate) fn note(&mut self, engine: &Engine) {
        self.iterations += 1;
        if self.iterations < WARM_UP {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            self.history.clear();
            return;
        }
        if self.history.len() == 3 {
            self.history.remove(0);
        }
        self.history.push(engine.natural_parameters());
    }

    /// Tries a jump: an iteration from the extrapolated parameters. Returns its ELBO if it is no lower than `last`;
    /// otherwise the engine is as it was.
    pub(crate) fn jump(&mut self, engine: &mut Engine, last: f64) -> Result<Option<f64>, CaviError> {
        let [first, second, third] = &self.history[..] else { return Ok(None) };
        let (mut step, mut bend) = (0.0, 0.0);
        for ((a, b), c) in first.iter().zip(second).zip(third) {
            // Relative to the parameter's size, so that large counts do not drown the rest.
            let scale = 1.0 / (1.0 + c.abs());
            let (r, v) = ((b - a) * scale, ((c - b) - (b - a)) * scale);
            step += r * r;
            bend += v * v;
        }
        let alpha = -(step / bend).sqrt();
        // α = −1 is the ordinary iteration: nothing to gain.
        if !alpha.is_finite() || alpha > -1.5 {
            self.rest(false);
            return Ok(None);
        }
        let target: Vec<f64> = first
            .iter()
            .zip(second)
            .zip(third)
            .map(|((a, b), c)| a - 2.0 * alpha * (b - a) + alpha * alpha * ((c - b) - (b - a)))
            .collect();
        let before = engine.clone();
        let reached = engine.set_natural_parameters(&target).and_then(|()| engine.step(None));
        match reached {
            Ok(elbo) if elbo >= last => {
                self.history.clear();
                self.next_pause = 0;
                Ok(Some(elbo))
            }
            // Outside the parameters' domain, or lower: back, and wait longer before the next attempt.
            _ => {
                *engine = before;
                self.rest(true);
                Ok(None)
            }
        }
    }

    fn rest(&mut self, failed: bool) {
        self.history.clear();
        if failed {
            self.next_pause = (2 * self.next_pause + 2).min(LONGEST_PAUSE);
        }
        self.pause = if failed { self.next_pause } else { 4 };
    }
}
