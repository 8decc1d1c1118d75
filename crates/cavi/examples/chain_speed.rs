//! Times of the exact chain factors, in nanoseconds a row.

use std::time::Instant;

use cavi::chain::discrete::{self, DiscreteChainScratch, DiscreteChainSummary, Transition};
use cavi::chain::gaussian::{
    self, GaussianChainMoments, GaussianChainScratch, GaussianChainSummary, GaussianChainTerms, UnaryPrecision,
};
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

/// Seconds of a smoother with diagonal parameters and messages of full precision, the same in every row or not.
fn gaussian_chain(dimension: usize, shared: bool, starts: &[usize]) -> f64 {
    let (mut rng, square) = (ChaCha8Rng::seed_from_u64(2), dimension * dimension);
    let diagonal = |value: f64| -> Vec<f64> {
        (0..square).map(|cell| if cell / dimension == cell % dimension { value } else { 0.0 }).collect()
    };
    let (innovation_precision, mut transition_linear, transition_quadratic) =
        (diagonal(4.0), diagonal(3.6), diagonal(3.3));
    transition_linear.iter_mut().enumerate().for_each(|(cell, value)| *value += 0.01 * cell as f64 / square as f64);
    let matrices: Vec<f64> = (0..NUM_ROWS)
        .flat_map(|_| {
            let size = 1.0 + rng.random::<f64>();
            (0..square).map(move |cell| if cell / dimension == cell % dimension { size } else { 0.1 })
        })
        .collect();
    let precision =
        if shared { UnaryPrecision::Shared(&matrices[..square]) } else { UnaryPrecision::PerRow(&matrices) };
    let linear = random(&mut rng, NUM_ROWS * dimension, 5.0);
    let (mut means, mut covariances) = (vec![0.0; linear.len()], vec![0.0; matrices.len()]);
    let (mut scratch, mut summary) = (GaussianChainScratch::default(), GaussianChainSummary::default());
    let initial_linear = vec![0.5; dimension];
    let terms = GaussianChainTerms {
        dimension,
        initial_precision: &innovation_precision,
        initial_linear: &initial_linear,
        innovation_precision: &innovation_precision,
        transition_quadratic: &transition_quadratic,
        transition_linear: &transition_linear,
    };
    least_seconds(
        || (),
        || {
            let moments =
                GaussianChainMoments { means: &mut means, covariances: &mut covariances, lag_covariances: None };
            let outcome = gaussian::smooth(terms, precision, &linear, starts, moments, &mut scratch, &mut summary);
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
            for (dimension, shared) in [1, 2, 3, 4, 8].into_iter().flat_map(|d| [(d, false), (d, true)]) {
                let seconds = pool.install(|| gaussian_chain(dimension, shared, starts));
                let precision = if shared { "shared " } else { "per row" };
                println!(
                    "gaussian  D = {dimension:2}  {name:16}  {threads} thread(s)  precision {precision}  {:7.1} ns a row",
                    seconds / NUM_ROWS as f64 * 1e9
                );
            }
        }
    }
}
