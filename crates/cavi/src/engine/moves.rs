//! How far an iteration moves the global factors.

use super::Engine;
use crate::error::CaviError;

impl Engine {
    /// The name of the global factor that the next iteration moves farthest, and how far: Δη·ΔE[T], the sum of the Kullback–Leibler
    /// divergences from either side, in nats. Updates that move by so much raise the ELBO by about half of it.
    pub(crate) fn farthest_move(&self) -> Result<Option<(String, f64)>, CaviError> {
        let mut next = self.clone();
        next.step(None)?;
        let flat = |arrays: &[Vec<f64>]| -> Vec<f64> { arrays.iter().flatten().copied().collect() };
        let moves = self.plan.global_order.iter().map(|&f| {
            let (natural, statistics) = (flat(&self.natural[f]), flat(&self.statistics[f]));
            let (later, expected) = (flat(&next.natural[f]), flat(&next.statistics[f]));
            let changes = natural.iter().zip(&later).zip(statistics.iter().zip(&expected));
            let distance: f64 = changes.map(|((n, l), (s, e))| (l - n) * (e - s)).sum();
            (self.lowered.program.factors[f].name.clone(), distance)
        });
        Ok(moves.max_by(|a, b| a.1.total_cmp(&b.1)))
    }
}
