//! Random numbers that depend on the seed, the step and the row alone, whoever draws them and in whichever order.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random numbers of one optimiser step (or of one evaluation).
#[derive(Debug, Clone)]
pub(crate) struct StepNoise {
    base: ChaCha8Rng,
}

impl StepNoise {
    /// The numbers of step `step` in a run with this seed.
    #[must_use]
    pub(crate) fn new(seed: u64, step: u64) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&step.to_le_bytes());
        Self { base: ChaCha8Rng::from_seed(key) }
    }

    /// A generator for one row and one purpose (a latent variable, a dropout layer).
    #[must_use]
    pub(crate) fn row(&self, row: u64, purpose: u16) -> ChaCha8Rng {
        let mut generator = self.base.clone();
        generator.set_stream((u64::from(purpose) << 48) ^ row);
        generator
    }
}

/// The random numbers of one layer in one step, by the place of a row in its part.
#[derive(Clone, Copy)]
pub(crate) struct LayerNoise<'a> {
    /// The step's.
    pub step: &'a StepNoise,
    /// The number of the row at a place.
    pub row_number: &'a dyn Fn(usize) -> u64,
    /// Tells the layers apart.
    pub purpose: u16,
}

impl LayerNoise<'_> {
    /// A generator for the row at a place.
    #[must_use]
    pub(crate) fn row(&self, place: usize) -> ChaCha8Rng {
        self.step.row((self.row_number)(place), self.purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, step, row, purpose| StepNoise::new(seed, step).row(row, purpose).next_u64();
        let reference = draw(1, 2, 3, 4);
        assert_eq!(reference, draw(1, 2, 3, 4));
        for other in [draw(2, 2, 3, 4), draw(1, 3, 3, 4), draw(1, 2, 4, 4), draw(1, 2, 3, 5)] {
            assert_ne!(reference, other);
        }
    }
}
