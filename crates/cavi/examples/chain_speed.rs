//! Times of the exact chain factors, in nanoseconds a row.

use std::time::Instant;

use cavi::chain::discrete::{self, DiscreteChainScratch, DiscreteChainSummary, Transition};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NUM_ROWS: usize = 200_000;
const REPEATS: usize = 7;

/// Least seconds of some runs; `setup` is not timed.
fn least_seconds(mut setup: impl FnMut(), mut run: impl FnMut()) -> f64 {
    setup();
    run();
    let mut least = f64::INFINITY;
    for _ in 0..REPEATS {
        setup();
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

fn random(rng: &mut ChaCha8Rng, length: usize, spread: f64) -> Vec<f64> {
    (0..length).map(|_| spread * (rng.random::<f64>() - 0.5)).collect()
}

fn discrete_chain(num_states: usize, starts: &[usize]) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (initial, table) = (random(&mut rng, num_states, 2.0), random(&mut rng, num_states * num_states, 4.0));
    let unary = random(&mut rng, NUM_ROWS * num_states, 10.0);
    let marginals = std::cell::RefCell::new(unary.clone());
    let (mut scratch, mut summary) = (DiscreteChainScratch::default(), DiscreteChainSummary::default());
    least_seconds(
        || marginals.borrow_mut().copy_from_slice(&unary),
        || {
            let (transition, marginals) = (Transition::Shared(&table), &mut marginals.borrow_mut());
            let outcome =
                discrete::forward_backward(&initial, transition, marginals, starts, &mut scratch, &mut summary);
            assert!(outcome.is_ok());
        },
    )
}

#[expect(clippy::print_stdout, reason = "an example prints its measurements")]
fn main() {
    let short: Vec<usize> = (0..NUM_ROWS).step_by(100).collect();
    for (name, starts) in [("one sequence", &[0][..]), ("sequences of 100", &short)] {
        for threads in [1, 2] {
            let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else { continue };
            for num_states in [2, 3, 5, 8, 10, 16, 32, 64] {
                let seconds = pool.install(|| discrete_chain(num_states, starts));
                println!(
                    "discrete  K = {num_states:2}  {name:16}  {threads} thread(s)  {:7.1} ns a row  {:8.2} ms",
                    seconds / NUM_ROWS as f64 * 1e9,
                    seconds * 1e3
                );
            }
        }
    }
}
