//! Tests of the discrete chain against enumeration of paths, derivatives and the recursion in logarithms.

use super::ChainError;
use super::discrete::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FORBIDDEN: f64 = f64::NEG_INFINITY;

fn random(rng: &mut ChaCha8Rng, length: usize, spread: f64) -> Vec<f64> {
    (0..length).map(|_| spread * (rng.random::<f64>() - 0.7)).collect()
}

/// Marginals, pairwise sums, initial sums and log normaliser by summing over every path of every sequence.
fn enumerate(
    log_initial: &[f64],
    table: impl Fn(usize) -> Vec<f64>,
    unary: &[f64],
    starts: &[usize],
) -> (Vec<f64>, DiscreteChainSummary) {
    let num_states = log_initial.len();
    let num_rows = unary.len() / num_states;
    let mut marginals = vec![0.0; unary.len()];
    let mut summary = DiscreteChainSummary {
        log_normalizer: 0.0,
        pair_sum: vec![0.0; num_states * num_states],
        initial_sum: vec![0.0; num_states],
    };
    for (position, &start) in starts.iter().enumerate() {
        let end = starts.get(position + 1).copied().unwrap_or(num_rows);
        let paths: Vec<(Vec<usize>, f64)> = (0..num_states.pow((end - start) as u32))
            .map(|code| {
                let path: Vec<usize> =
                    (0..end - start).map(|step| code / num_states.pow(step as u32) % num_states).collect();
                let mut potential = log_initial[path[0]];
                for (step, &state) in path.iter().enumerate() {
                    potential += unary[(start + step) * num_states + state];
                    if step > 0 {
                        potential += table(start + step)[path[step - 1] * num_states + state];
                    }
                }
                (path, potential)
            })
            .collect();
        let largest = paths.iter().fold(f64::NEG_INFINITY, |a, (_, b)| a.max(*b));
        let total: f64 = paths.iter().map(|(_, potential)| (potential - largest).exp()).sum();
        summary.log_normalizer += largest + total.ln();
        for (path, potential) in &paths {
            let weight = (potential - largest).exp() / total;
            summary.initial_sum[path[0]] += weight;
            for (step, &state) in path.iter().enumerate() {
                marginals[(start + step) * num_states + state] += weight;
                if step > 0 {
                    summary.pair_sum[path[step - 1] * num_states + state] += weight;
                }
            }
        }
    }
    (marginals, summary)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "entry {index}: {a} where {b} is expected");
    }
}

fn check_against_enumeration(log_initial: &[f64], table: &[f64], unary: &[f64], starts: &[usize]) {
    let (marginals, expected) = enumerate(log_initial, |_| table.to_vec(), unary, starts);
    let (mut found, mut summary) = (unary.to_vec(), DiscreteChainSummary::default());
    let mut scratch = DiscreteChainScratch::default();
    forward_backward(log_initial, Transition::Shared(table), &mut found, starts, &mut scratch, &mut summary).unwrap();
    assert_close(&found, &marginals, 1e-12);
    assert_close(&summary.pair_sum, &expected.pair_sum, 1e-12);
    assert_close(&summary.initial_sum, &expected.initial_sum, 1e-12);
    assert_close(&[summary.log_normalizer], &[expected.log_normalizer], 1e-12);
}

#[test]
fn agrees_with_enumeration_over_all_paths() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (num_states, num_rows) in
        [(1, 5), (2, 9), (3, 8), (4, 6), (5, 5), (7, 5), (9, 5), (13, 4), (18, 4), (33, 3), (70, 3)]
    {
        let (initial, table) = (random(&mut rng, num_states, 3.0), random(&mut rng, num_states * num_states, 3.0));
        let unary = random(&mut rng, num_rows * num_states, 9.0);
        for starts in [&[0][..], &[0, 1], &[0, 2], &[0, 1, 2]] {
            check_against_enumeration(&initial, &table, &unary, starts);
        }
    }
}

#[test]
fn forbidden_states_and_steps_have_probability_zero() {
    let initial = [-0.1, FORBIDDEN, -2.0];
    let table = [-0.5, -0.9, FORBIDDEN, FORBIDDEN, -0.2, -1.5, FORBIDDEN, FORBIDDEN, 0.0];
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut unary = random(&mut rng, 18, 4.0);
    unary[4] = FORBIDDEN;
    unary[9] = FORBIDDEN;
    check_against_enumeration(&initial, &table, &unary, &[0]);
    check_against_enumeration(&initial, &table, &unary, &[0, 2]);
}

#[test]
fn underflow_does_not_hide_the_only_possible_path() {
    // State 1 is entered against 1500 nats, and the last row needs it.
    let table = [0.0, -1500.0, -1500.0, 0.0];
    let unary = [0.0, -800.0, 0.0, -900.0, 0.0, -10.0, -2000.0, 0.0, FORBIDDEN, 3.0];
    check_against_enumeration(&[0.0, -1000.0], &table, &unary, &[0]);
    // An absorbing state wins every row a little and loses the last one for good.
    let num_rows = 3000;
    let mut unary: Vec<f64> = (0..num_rows).flat_map(|_| [-1.0, 0.0]).collect();
    unary[2 * num_rows - 1] = FORBIDDEN;
    let table = [-1.0, 0.0, FORBIDDEN, 0.0];
    let mut summary = DiscreteChainSummary::default();
    let mut scratch = DiscreteChainScratch::default();
    forward_backward(&[0.0, 0.0], Transition::Shared(&table), &mut unary, &[0], &mut scratch, &mut summary).unwrap();
    assert_close(&[summary.log_normalizer], &[1.0 - 2.0 * num_rows as f64], 1e-12);
    assert_close(&unary, &[1.0, 0.0].repeat(num_rows), 1e-12);
    assert_close(&summary.pair_sum, &[num_rows as f64 - 1.0, 0.0, 0.0, 0.0], 1e-12);
}

#[test]
fn transitions_that_vary_by_row_agree_with_enumeration() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (initial, unary) = (random(&mut rng, 3, 3.0), random(&mut rng, 18, 5.0));
    let tables = random(&mut rng, 54, 4.0);
    let starts = [0, 4];
    let (marginals, expected) = enumerate(&initial, |row| tables[row * 9..(row + 1) * 9].to_vec(), &unary, &starts);
    let (mut found, mut pairs, mut summary) = (unary, tables, DiscreteChainSummary::default());
    let mut scratch = DiscreteChainScratch::default();
    forward_backward(&initial, Transition::PerRow(&mut pairs), &mut found, &starts, &mut scratch, &mut summary)
        .unwrap();
    assert_close(&found, &marginals, 1e-12);
    assert_close(&summary.pair_sum, &expected.pair_sum, 1e-12);
    assert_close(&[summary.log_normalizer], &[expected.log_normalizer], 1e-12);
    for row in 0..6 {
        let step = &pairs[row * 9..(row + 1) * 9];
        for to in 0..3 {
            let entered: f64 = (0..3).map(|from| step[from * 3 + to]).sum();
            let expected = if starts.contains(&row) { 0.0 } else { marginals[row * 3 + to] };
            assert_close(&[entered], &[expected], 1e-12);
        }
    }
}

#[test]
fn derivatives_of_the_normaliser_are_the_expectations() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (num_states, num_rows, starts) = (4, 40, [0, 13, 14]);
    let (initial, table) = (random(&mut rng, num_states, 2.0), random(&mut rng, 16, 2.0));
    let unary = random(&mut rng, num_rows * num_states, 3.0);
    let run = |initial: &[f64], table: &[f64], unary: &[f64]| {
        let (mut marginals, mut summary) = (unary.to_vec(), DiscreteChainSummary::default());
        let mut scratch = DiscreteChainScratch::default();
        forward_backward(initial, Transition::Shared(table), &mut marginals, &starts, &mut scratch, &mut summary)
            .unwrap();
        (marginals, summary)
    };
    let (marginals, summary) = run(&initial, &table, &unary);
    let slope = |values: &[f64], index: usize, of: &dyn Fn(&[f64]) -> f64| {
        let (mut up, mut down) = (values.to_vec(), values.to_vec());
        up[index] += 1e-5;
        down[index] -= 1e-5;
        (of(&up) - of(&down)) / 2e-5
    };
    for index in 0..4 {
        let found = slope(&initial, index, &|values| run(values, &table, &unary).1.log_normalizer);
        assert_close(&[found], &[summary.initial_sum[index]], 1e-7);
    }
    for index in 0..16 {
        let found = slope(&table, index, &|values| run(&initial, values, &unary).1.log_normalizer);
        assert_close(&[found], &[summary.pair_sum[index]], 1e-7);
    }
    for index in (0..unary.len()).step_by(7) {
        let found = slope(&unary, index, &|values| run(&initial, &table, values).1.log_normalizer);
        assert_close(&[found], &[marginals[index]], 1e-7);
    }
}

#[test]
fn long_sequences_agree_with_logarithms_on_any_number_of_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (num_states, num_rows) = (5, 40_000);
    let (initial, table) = (random(&mut rng, num_states, 3.0), random(&mut rng, 25, 5.0));
    let unary = random(&mut rng, num_rows * num_states, 30.0);
    for starts in [vec![0], vec![0, 20_000, 20_001, 22_000], (0..num_rows).step_by(77).collect()] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut marginals, mut summary) = (unary.clone(), DiscreteChainSummary::default());
            let mut scratch = DiscreteChainScratch::default();
            for _ in 0..2 {
                marginals.copy_from_slice(&unary);
                let transition = Transition::Shared(&table);
                pool.install(|| {
                    forward_backward(&initial, transition, &mut marginals, &starts, &mut scratch, &mut summary)
                })
                .unwrap();
            }
            (marginals, summary)
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
        let mut pairs = table.repeat(num_rows);
        let (mut marginals, mut summary) = (unary.clone(), DiscreteChainSummary::default());
        let mut scratch = DiscreteChainScratch::default();
        let transition = Transition::PerRow(&mut pairs);
        forward_backward(&initial, transition, &mut marginals, &starts, &mut scratch, &mut summary).unwrap();
        assert_close(&one.0, &marginals, 1e-11);
        assert_close(&one.1.pair_sum, &summary.pair_sum, 1e-11);
        assert_close(&[one.1.log_normalizer], &[summary.log_normalizer], 1e-13);
    }
}

#[test]
fn refusals_name_the_row() {
    let run = |initial: &[f64], table: &[f64], unary: &[f64], starts: &[usize]| {
        let (mut unary, mut summary) = (unary.to_vec(), DiscreteChainSummary::default());
        let mut scratch = DiscreteChainScratch::default();
        forward_backward(initial, Transition::Shared(table), &mut unary, starts, &mut scratch, &mut summary)
    };
    let (initial, table) = ([0.0, 0.0], [0.0; 4]);
    let bad = [0.0, 0.0, f64::NAN, 0.0, 0.0, 0.0];
    assert_eq!(run(&initial, &table, &bad, &[0]), Err(ChainError::NotFinite { row: 1 }));
    let bad = [0.0, 0.0, 0.0, 0.0, FORBIDDEN, FORBIDDEN];
    assert_eq!(run(&initial, &table, &bad, &[0, 1]), Err(ChainError::Impossible { row: 2 }));
    let only_first = [0.0, FORBIDDEN, FORBIDDEN, 0.0];
    let bad = [0.0, FORBIDDEN, FORBIDDEN, 0.0, 0.0, 0.0];
    assert_eq!(run(&initial, &only_first, &bad, &[0]), Err(ChainError::Impossible { row: 1 }));
    let bad = [0.0, f64::INFINITY, 0.0, 0.0];
    assert!(matches!(run(&initial, &bad, &[0.0; 6], &[0]), Err(ChainError::ParametersNotFinite { .. })));
    assert!(matches!(run(&initial, &table[1..], &[0.0; 6], &[0]), Err(ChainError::Shape { .. })));
    assert!(run(&initial, &table, &[], &[]).is_ok());
}
