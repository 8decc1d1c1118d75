//! What linear response asks of the engine: how the messages to the global factors answer to a move of their statistics, once the
//! rows' factors have settled again.

use super::Engine;
use crate::error::CaviError;

/// Passes after which the rows' factors count as settled in any case.
const MOST_PASSES: usize = 200;
/// Relative change of the sums over the rows below which they have settled.
const SETTLED: f64 = 1e-14;

impl Engine {
    /// Expected statistics of all global factors, one after another, in the order of [`Engine::natural_parameters`].
    pub(crate) fn global_statistics(&self) -> Vec<f64> {
        self.plan.global_order.iter().flat_map(|&f| self.statistics[f].iter().flatten().copied()).collect()
    }

    /// Puts the statistics of the global factors at given values, and all else where another engine of the same model is.
    pub(crate) fn place(&mut self, other: &Self, statistics: &[f64]) {
        let mut at = 0;
        for &f in &self.plan.global_order {
            for array in &mut self.statistics[f] {
                let size = array.len();
                array.copy_from_slice(&statistics[at..at + size]);
                at += size;
            }
        }
        for (own, kept) in self.stored.iter_mut().zip(&other.stored) {
            own.clone_from(kept);
        }
        self.affine.clone_from(&other.affine);
    }

    /// Updates the rows' factors until their sums stay where they are.
    pub(crate) fn settle_rows(&mut self) -> Result<(), CaviError> {
        self.local_step(None)?;
        if self.plan.local_order.len() < 2
            && self.plan.local_order.iter().all(|&f| !self.lowered.program.factors[f].coupled)
        {
            // The one factor of a row depends on the global ones alone.
            return Ok(());
        }
        for _ in 1..MOST_PASSES {
            let before = self.summaries.clone();
            self.local_step(None)?;
            let quiet = before.iter().zip(&self.summaries).all(|(before, now)| {
                let size = now.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
                before.iter().zip(now).all(|(b, n)| (b - n).abs() <= SETTLED * size)
            });
            if quiet {
                break;
            }
        }
        Ok(())
    }

    /// Natural parameters of all global factors as their neighbours' statistics give them, the factors themselves left as they are.
    pub(crate) fn messages_to_globals(&mut self) -> Vec<f64> {
        for f in self.plan.global_order.clone() {
            self.gather(f, false);
        }
        self.natural_parameters()
    }
}
