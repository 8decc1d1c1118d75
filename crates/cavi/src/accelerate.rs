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
const LONGEST_PAUSE: usize = 32;
/// Step lengths: the shortest worth trying, the first limit, and the factor by which the limit moves.
const SHORTEST: f64 = 1.5;
const FIRST_LIMIT: f64 = 4.0;
const GROWTH: f64 = 4.0;

/// The extrapolation's memory.
#[derive(Debug, Clone)]
pub(crate) struct Acceleration {
    /// Natural parameters after the last iterations, oldest first.
    history: Vec<Vec<f64>>,
    /// Iterations to wait before the next attempt.
    pause: usize,
    /// The pause after the next failure.
    next_pause: usize,
    /// Longest step −α that is trusted: grows with success and shrinks with failure.
    limit: f64,
    iterations: usize,
}

vi_run::stored!(Acceleration { history, pause, next_pause, limit, iterations });

impl Default for Acceleration {
    fn default() -> Self {
        Self { history: Vec::new(), pause: 0, next_pause: 0, limit: FIRST_LIMIT, iterations: 0 }
    }
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

    /// Forgets the last iterations.
    pub(crate) fn forget(&mut self) {
        self.history.clear();
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
        let wished = -(step / bend).sqrt();
        let alpha = wished.max(-self.limit);
        // α = −1 is the ordinary iteration: nothing to gain.
        if !alpha.is_finite() || alpha > -SHORTEST {
            self.history.clear();
            self.pause = 4;
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
                if alpha > wished {
                    self.limit *= GROWTH;
                }
                Ok(Some(elbo))
            }
            // Outside the parameters' domain, or lower: back, and wait longer before the next attempt.
            _ => {
                *engine = before;
                self.history.clear();
                self.limit = (-alpha / GROWTH).max(SHORTEST);
                if self.limit == SHORTEST {
                    self.next_pause = (2 * self.next_pause + 1).min(LONGEST_PAUSE);
                    self.pause = self.next_pause;
                }
                Ok(None)
            }
        }
    }
}
