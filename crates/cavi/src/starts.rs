//! The choice among several starts by short runs.
//!
//! Where gates make many local optima, most of what a restart reaches is decided by its start. Several starts of different
//! kinds run a few iterations; the better half goes on twice as long, until one is left (Biernacki, Celeux & Govaert
//! 2003, by successive halving). The restart then begins at the start of the one that is left, so that its curve is whole.

use rayon::prelude::*;
use vi_model::inference::Initialization;
use vi_run::executor::Restart;
use vi_run::seed::derive_seed;

use crate::engine::{Attempt, Engine, competing_starts};
use crate::error::CaviError;

/// Iterations of the first round.
const FIRST_ROUND: usize = 8;
/// Relative difference of ELBOs that are taken for equal.
const AGREEMENT: f64 = 1e-8;

/// The seed and the kind of the start that a restart begins from.
///
/// # Errors
///
/// Fails when the data cannot be read.
pub(crate) fn choose(
    engine: &Engine,
    initialization: Initialization,
    restart: Restart,
) -> Result<(u64, Attempt), CaviError> {
    let single = Attempt { initialization, number: restart.index.saturating_sub(1) };
    let many = competing_starts(&engine.lowered.program, &engine.plan, &engine.lowered.graph.inference);
    if many < 2 {
        return Ok((restart.seed, single));
    }
    let attempts =
        (0..many).map(|number| (derive_seed(restart.seed, number as u64), Attempt { initialization, number }));
    let begun: Vec<Result<_, CaviError>> = attempts
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(seed, attempt)| {
            let mut engine = engine.clone();
            let start = engine.start(seed, attempt)?;
            Ok((engine, start, seed, attempt))
        })
        .collect();
    let mut running = Vec::new();
    for begun in begun {
        let (engine, start, seed, attempt) = begun?;
        running.push((engine, Some(start), seed, attempt));
    }
    let mut iterations = FIRST_ROUND;
    while running.len() > 1 {
        let ended: Vec<(Option<f64>, _)> = running
            .into_par_iter()
            .map(|(mut engine, mut start, seed, attempt)| {
                let mut elbo = None;
                for _ in 0..iterations {
                    // A start whose factors have no distribution is out of the race.
                    elbo = engine.step(start.take().as_ref()).ok();
                    if elbo.is_none() {
                        break;
                    }
                }
                (elbo, (engine, start, seed, attempt))
            })
            .collect();
        let half = ended.len().div_ceil(2);
        let mut alive: Vec<_> = ended.into_iter().filter_map(|(elbo, state)| Some((elbo?, state))).collect();
        if alive.is_empty() {
            // The run itself will say what is wrong.
            return Ok((restart.seed, single));
        }
        // Stable: the first of equals.
        alive.sort_by(|a, b| b.0.total_cmp(&a.0));
        alive.truncate(half);
        // Starts that have come to the same need not run on.
        let agree = |(last, first): (f64, f64)| first - last <= AGREEMENT * first.abs();
        if alive.last().map(|a| a.0).zip(alive.first().map(|a| a.0)).is_some_and(agree) {
            alive.truncate(1);
        }
        running = alive.into_iter().map(|(_, state)| state).collect();
        iterations *= 2;
    }
    Ok(running.pop().map_or((restart.seed, single), |(_, _, seed, attempt)| (seed, attempt)))
}
