//! Tests of the Gaussian chain against the dense joint normal, derivatives and other numbers of threads.

use super::ChainError;
use super::gaussian::*;
use super::gaussian_shared::{SharedCovariances, smooth_shared};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A chain with its rows, all owned.
#[derive(Clone, Debug)]
struct Problem {
    dimension: usize,
    starts: Vec<usize>,
    initial_precision: Vec<f64>,
    initial_linear: Vec<f64>,
    innovation_precision: Vec<f64>,
    transition_quadratic: Vec<f64>,
    transition_linear: Vec<f64>,
    precision: Vec<f64>,
    linear: Vec<f64>,
}

#[derive(Debug, PartialEq)]
struct Solution {
    means: Vec<f64>,
    covariances: Vec<f64>,
    lags: Vec<f64>,
    summary: GaussianChainSummary,
}

fn random(rng: &mut ChaCha8Rng, length: usize, spread: f64) -> Vec<f64> {
    (0..length).map(|_| spread * (rng.random::<f64>() - 0.5)).collect()
}

fn product(d: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    (0..d * d).map(|cell| (0..d).map(|k| a[cell / d * d + k] * b[k * d + cell % d]).sum()).collect()
}

fn transpose(d: usize, a: &[f64]) -> Vec<f64> {
    (0..d * d).map(|cell| a[cell % d * d + cell / d]).collect()
}

fn positive_definite(rng: &mut ChaCha8Rng, d: usize) -> Vec<f64> {
    let root = random(rng, d * d, 2.0);
    let mut matrix = product(d, &root, &transpose(d, &root));
    (0..d).for_each(|i| matrix[i * d + i] += 0.5);
    matrix
}

impl Problem {
    /// Expected terms of an uncertain transition; every third row is unobserved.
    fn random(seed: u64, dimension: usize, num_rows: usize, starts: &[usize]) -> Self {
        let (mut rng, d) = (ChaCha8Rng::seed_from_u64(seed), dimension);
        let transition = random(&mut rng, d * d, 2.0);
        let innovation_precision = positive_definite(&mut rng, d);
        let transition_linear = product(d, &innovation_precision, &transition);
        let mut transition_quadratic = product(d, &transpose(d, &transition), &transition_linear);
        (0..d).for_each(|i| transition_quadratic[i * d + i] += 0.2);
        let mut precision: Vec<f64> = (0..num_rows).flat_map(|_| positive_definite(&mut rng, d)).collect();
        let mut linear = random(&mut rng, num_rows * d, 8.0);
        for row in (1..num_rows).step_by(3) {
            precision[row * d * d..(row + 1) * d * d].fill(0.0);
            linear[row * d..(row + 1) * d].fill(0.0);
        }
        Self {
            dimension,
            starts: starts.to_vec(),
            initial_precision: positive_definite(&mut rng, d),
            initial_linear: random(&mut rng, d, 4.0),
            innovation_precision,
            transition_quadratic,
            transition_linear,
            precision,
            linear,
        }
    }

    fn num_rows(&self) -> usize {
        self.linear.len() / self.dimension
    }

    fn solve_with(&self, precision: UnaryPrecision<'_>, keep_lags: bool) -> Result<Solution, ChainError> {
        let (d, num_rows) = (self.dimension, self.num_rows());
        let (mut means, mut covariances) = (vec![f64::NAN; num_rows * d], vec![f64::NAN; num_rows * d * d]);
        let mut lags = vec![f64::NAN; if keep_lags { num_rows * d * d } else { 0 }];
        let (mut scratch, mut summary) = (GaussianChainScratch::default(), GaussianChainSummary::default());
        let terms = GaussianChainTerms {
            dimension: d,
            initial_precision: &self.initial_precision,
            initial_linear: &self.initial_linear,
            innovation_precision: &self.innovation_precision,
            transition_quadratic: &self.transition_quadratic,
            transition_linear: &self.transition_linear,
        };
        for _ in 0..2 {
            let moments = GaussianChainMoments {
                means: &mut means,
                covariances: &mut covariances,
                lag_covariances: keep_lags.then_some(&mut lags[..]),
            };
            smooth(terms, precision, &self.linear, &self.starts, moments, &mut scratch, &mut summary)?;
        }
        Ok(Solution { means, covariances, lags, summary })
    }

    fn solve(&self) -> Solution {
        self.solve_with(UnaryPrecision::PerRow(&self.precision), true).unwrap()
    }

    /// Joint precision and linear term over all rows, `[rows·D, rows·D]` and `[rows·D]`.
    fn dense(&self) -> (Vec<f64>, Vec<f64>) {
        let (d, num_rows) = (self.dimension, self.num_rows());
        let n = num_rows * d;
        let (mut joint, mut linear) = (vec![0.0; n * n], self.linear.clone());
        for row in 0..num_rows {
            let first = self.starts.contains(&row);
            for i in 0..d {
                let at = row * d + i;
                linear[at] += if first { self.initial_linear[i] } else { 0.0 };
                for j in 0..d {
                    joint[at * n + row * d + j] += self.precision[(row * d + i) * d + j];
                    if first {
                        joint[at * n + row * d + j] += self.initial_precision[i * d + j];
                    } else {
                        let before = (row - 1) * d;
                        joint[at * n + row * d + j] += self.innovation_precision[i * d + j];
                        joint[(before + i) * n + before + j] += self.transition_quadratic[i * d + j];
                        joint[at * n + before + j] -= self.transition_linear[i * d + j];
                        joint[(before + j) * n + at] -= self.transition_linear[i * d + j];
                    }
                }
            }
        }
        (joint, linear)
    }
}

/// Inverse and log determinant by Gauss–Jordan elimination with pivots on the diagonal.
fn dense_inverse(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, f64) {
    let mut inverse: Vec<f64> = (0..n * n).map(|cell| if cell / n == cell % n { 1.0 } else { 0.0 }).collect();
    let mut log_determinant = 0.0;
    for pivot_row in 0..n {
        let pivot = matrix[pivot_row * n + pivot_row];
        log_determinant += pivot.ln();
        for column in 0..n {
            matrix[pivot_row * n + column] /= pivot;
            inverse[pivot_row * n + column] /= pivot;
        }
        for row in (0..n).filter(|&row| row != pivot_row) {
            let factor = matrix[row * n + pivot_row];
            for column in 0..n {
                matrix[row * n + column] -= factor * matrix[pivot_row * n + column];
                inverse[row * n + column] -= factor * inverse[pivot_row * n + column];
            }
        }
    }
    (inverse, log_determinant)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "entry {index}: {a} where {b} is expected");
    }
}

#[test]
fn agrees_with_the_dense_joint_normal() {
    for (dimension, num_rows) in [(1, 9), (2, 8), (3, 7), (4, 5), (8, 4), (9, 4)] {
        for starts in [&[0][..], &[0, 1, 2], &[0, 3]] {
            let problem = Problem::random(dimension as u64, dimension, num_rows, starts);
            let found = problem.solve();
            let (d, n) = (dimension, dimension * num_rows);
            let (joint, linear) = problem.dense();
            let (inverse, log_determinant) = dense_inverse(joint, n);
            let means: Vec<f64> = (0..n).map(|i| (0..n).map(|j| inverse[i * n + j] * linear[j]).sum()).collect();
            assert_close(&found.means, &means, 1e-10);
            let block = |row: usize, column: usize| -> Vec<f64> {
                (0..d * d).map(|cell| inverse[(row * d + cell / d) * n + column * d + cell % d]).collect()
            };
            let second = |row: usize, column: usize| -> Vec<f64> {
                let covariance = block(row, column);
                (0..d * d).map(|c| covariance[c] + means[row * d + c / d] * means[column * d + c % d]).collect()
            };
            let zero = || vec![0.0; d * d];
            let (mut current, mut previous, mut cross, mut initial) = (zero(), zero(), zero(), zero());
            let mut initial_mean = vec![0.0; d];
            let add = |sum: &mut Vec<f64>, values: &[f64]| sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
            for row in 0..num_rows {
                let span = row * d * d..(row + 1) * d * d;
                assert_close(&found.covariances[span.clone()], &block(row, row), 1e-10);
                if starts.contains(&row) {
                    add(&mut initial, &second(row, row));
                    add(&mut initial_mean, &means[row * d..(row + 1) * d]);
                    assert_close(&found.lags[span], &zero(), 0.0);
                } else {
                    add(&mut current, &second(row, row));
                    add(&mut previous, &second(row - 1, row - 1));
                    add(&mut cross, &second(row, row - 1));
                    assert_close(&found.lags[span], &block(row, row - 1), 1e-10);
                }
            }
            let summary = &found.summary;
            assert_close(&summary.current_sum, &current, 1e-10);
            assert_close(&summary.previous_sum, &previous, 1e-10);
            assert_close(&summary.cross_sum, &cross, 1e-10);
            assert_close(&summary.initial_second_moment_sum, &initial, 1e-10);
            assert_close(&summary.initial_mean_sum, &initial_mean, 1e-10);
            assert_eq!((summary.num_sequences, summary.num_steps), (starts.len(), num_rows - starts.len()));
            let quadratic: f64 = means.iter().zip(&linear).map(|(mean, linear)| mean * linear).sum();
            let ln_two_pi = std::f64::consts::TAU.ln();
            let normalizer = 0.5 * (quadratic - log_determinant + n as f64 * ln_two_pi);
            let entropy = 0.5 * (n as f64 * (1.0 + ln_two_pi) - log_determinant);
            assert_close(&[summary.log_normalizer, summary.entropy], &[normalizer, entropy], 1e-11);
        }
    }
}

#[test]
fn derivatives_of_the_normaliser_are_the_moments() {
    let problem = Problem::random(11, 2, 30, &[0, 12]);
    let found = problem.solve();
    let slope = |change: &dyn Fn(&mut Problem, f64)| {
        let at = |step: f64| {
            let mut moved = problem.clone();
            change(&mut moved, step);
            moved.solve().summary.log_normalizer
        };
        (at(1e-4) - at(-1e-4)) / 2e-4
    };
    for index in (0..60).step_by(7) {
        assert_close(&[slope(&|moved, step| moved.linear[index] += step)], &[found.means[index]], 1e-7);
    }
    // ∂A/∂U_t(i, i) = −½ E[x_i²], ∂A/∂E[QA](i, j) = Σ E[x_t(i) x_{t−1}(j)], ∂A/∂E[AᵀQA](i, i) = −½ Σ E[x_{t−1}(i)²].
    for row in [0, 11, 12, 29] {
        let second = found.covariances[row * 4 + 3] + found.means[row * 2 + 1].powi(2);
        assert_close(&[slope(&|moved, step| moved.precision[row * 4 + 3] += step)], &[-0.5 * second], 1e-6);
    }
    for cell in 0..4 {
        let cross = slope(&|moved, step| moved.transition_linear[cell] += step);
        assert_close(&[cross], &[found.summary.cross_sum[cell]], 1e-6);
    }
    for cell in [0, 3] {
        let (current, previous) = (found.summary.current_sum[cell], found.summary.previous_sum[cell]);
        assert_close(&[slope(&|p, step| p.innovation_precision[cell] += step)], &[-0.5 * current], 1e-6);
        assert_close(&[slope(&|p, step| p.transition_quadratic[cell] += step)], &[-0.5 * previous], 1e-6);
        let initial = found.summary.initial_second_moment_sum[cell];
        assert_close(&[slope(&|p, step| p.initial_precision[cell] += step)], &[-0.5 * initial], 1e-6);
    }
    for index in 0..2 {
        let initial = found.summary.initial_mean_sum[index];
        assert_close(&[slope(&|p, step| p.initial_linear[index] += step)], &[initial], 1e-7);
    }
}

#[test]
fn shared_precision_equals_the_same_precision_in_every_row() {
    for (dimension, num_rows) in [(1, 500), (2, 500), (3, 20_000)] {
        let mut problem = Problem::random(21, dimension, num_rows, &[0, 100, 101]);
        let shared = problem.precision[..dimension * dimension].to_vec();
        problem.precision = shared.repeat(num_rows);
        let found = problem.solve_with(UnaryPrecision::Shared(&shared), true).unwrap();
        assert_eq!(found, problem.solve());
        let without = problem.solve_with(UnaryPrecision::Shared(&shared), false).unwrap();
        assert_eq!((without.means, without.summary), (found.means, found.summary));
    }
}

#[test]
fn covariances_until_they_repeat_are_those_of_every_row() {
    for (dimension, sequences) in [
        (1, vec![1, 2, 400, 2, 3]),
        (2, vec![20_001]),
        (3, vec![5, 17_000, 1, 5, 4000]),
        (10, vec![700, 30, 30]),
        (18, vec![60, 1]),
    ] {
        let starts: Vec<usize> = (0..sequences.len()).map(|s| sequences[..s].iter().sum()).collect();
        let num_rows: usize = sequences.iter().sum();
        let mut problem = Problem::random(61, dimension, num_rows, &starts);
        let square = dimension * dimension;
        problem.precision = problem.precision[..square].repeat(num_rows);
        let found = problem.solve();
        let terms = GaussianChainTerms {
            dimension,
            initial_precision: &problem.initial_precision,
            initial_linear: &problem.initial_linear,
            innovation_precision: &problem.innovation_precision,
            transition_quadratic: &problem.transition_quadratic,
            transition_linear: &problem.transition_linear,
        };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut shared, mut summary) = (SharedCovariances::default(), GaussianChainSummary::default());
                let mut means = Vec::new();
                // Buffers that were in use give the same.
                for _ in 0..2 {
                    means.clone_from(&problem.linear);
                    let unary = &problem.precision[..square];
                    smooth_shared(terms, unary, &problem.starts, &mut means, &mut shared, &mut summary).unwrap();
                }
                (means, summary, shared)
            })
        };
        let (means, summary, shared) = run(1);
        assert_close(&means, &found.means, 1e-10);
        for row in 0..num_rows {
            assert_close(shared.row(row), &found.covariances[row * square..(row + 1) * square], 1e-10);
        }
        assert!(shared.row(num_rows).is_empty());
        let most: usize = sequences.iter().map(|l| (*l).min(600)).sum();
        assert!(shared.count() <= most, "{} covariances of {num_rows} rows", shared.count());
        assert_close(
            &[summary.log_normalizer, summary.entropy],
            &[found.summary.log_normalizer, found.summary.entropy],
            1e-10,
        );
        assert_close(&summary.current_sum, &found.summary.current_sum, 1e-9);
        assert_close(&summary.previous_sum, &found.summary.previous_sum, 1e-9);
        assert_close(&summary.cross_sum, &found.summary.cross_sum, 1e-9);
        assert_close(&summary.initial_mean_sum, &found.summary.initial_mean_sum, 1e-10);
        assert_close(&summary.initial_second_moment_sum, &found.summary.initial_second_moment_sum, 1e-10);
        assert_eq!((summary.num_sequences, summary.num_steps), (starts.len(), num_rows - starts.len()));
        let (again, of_three, _) = run(3);
        assert_eq!((means, summary), (again, of_three));
    }
}

#[test]
fn a_shared_precision_that_is_not_positive_definite_is_refused() {
    let problem = Problem::random(71, 2, 9, &[0, 4]);
    let terms = GaussianChainTerms {
        dimension: 2,
        initial_precision: &problem.initial_precision,
        initial_linear: &problem.initial_linear,
        innovation_precision: &problem.innovation_precision,
        transition_quadratic: &problem.transition_quadratic,
        transition_linear: &problem.transition_linear,
    };
    let attempt = |precision: &[f64], linear: &[f64]| {
        let (mut shared, mut summary) = (SharedCovariances::default(), GaussianChainSummary::default());
        smooth_shared(terms, precision, &problem.starts, &mut linear.to_vec(), &mut shared, &mut summary)
    };
    assert_eq!(attempt(&[-1e3, 0.0, 0.0, 1.0], &problem.linear), Err(ChainError::NotPositiveDefinite { row: 0 }));
    assert!(matches!(attempt(&[1.0], &problem.linear), Err(ChainError::Shape { array: "precision", .. })));
    let mut linear = problem.linear.clone();
    linear[5] = f64::NAN;
    assert!(matches!(attempt(&[1.0, 0.0, 0.0, 1.0], &linear), Err(ChainError::NotFinite { .. })));
}

#[test]
fn a_long_sequence_agrees_with_the_plain_smoother_on_any_number_of_threads() {
    for dimension in [1, 2, 3] {
        let num_rows = 40_000;
        let problem = Problem::random(31, dimension, num_rows, &[0, 7, 39_990]);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| problem.solve())
        };
        let found = run(1);
        assert_eq!(found, run(2));
        assert_eq!(found, run(3));
        // Both ways give the same moments in rows that are far from the ends: the middle and its neighbours.
        let middle = 7 + (39_990 - 7) / 2;
        let (from, to) = (middle - 3000, middle + 3000);
        let (d, square) = (dimension, dimension * dimension);
        let mut part = problem.clone();
        part.starts = vec![0];
        part.precision = problem.precision[from * square..to * square].to_vec();
        part.linear = problem.linear[from * d..to * d].to_vec();
        let part = part.solve();
        let inner = 1000..5000;
        let shifted = inner.start + from..inner.end + from;
        let span = |range: &std::ops::Range<usize>, size: usize| range.start * size..range.end * size;
        assert_close(&found.means[span(&shifted, d)], &part.means[span(&inner, d)], 1e-9);
        assert_close(&found.covariances[span(&shifted, square)], &part.covariances[span(&inner, square)], 1e-9);
        assert_close(&found.lags[span(&shifted, square)], &part.lags[span(&inner, square)], 1e-9);
        // A − entropy is the expected potential, and the sums are those of the rows.
        let inner_product = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let summary = &found.summary;
        let mut potential = inner_product(&problem.initial_linear, &summary.initial_mean_sum)
            + inner_product(&problem.linear, &found.means)
            + inner_product(&problem.transition_linear, &summary.cross_sum)
            - 0.5 * inner_product(&problem.initial_precision, &summary.initial_second_moment_sum)
            - 0.5 * inner_product(&problem.innovation_precision, &summary.current_sum)
            - 0.5 * inner_product(&problem.transition_quadratic, &summary.previous_sum);
        for (cell, precision) in problem.precision.iter().enumerate() {
            let (row, cell) = (cell / square, cell % square);
            let means = found.means[row * d + cell / d] * found.means[row * d + cell % d];
            potential -= 0.5 * precision * (found.covariances[row * square + cell] + means);
        }
        assert_close(&[summary.log_normalizer - summary.entropy], &[potential], 1e-10);
        let mut cross = vec![0.0; square];
        for row in (0..num_rows).filter(|row| !problem.starts.contains(row)) {
            for (cell, sum) in cross.iter_mut().enumerate() {
                let means = found.means[row * d + cell / d] * found.means[(row - 1) * d + cell % d];
                *sum += found.lags[row * square + cell] + means;
            }
        }
        assert_close(&found.summary.cross_sum, &cross, 1e-9);
    }
}

#[test]
fn a_long_sequence_without_coupling_is_a_product_of_rows() {
    let (d, num_rows) = (2, 20_001);
    let mut problem = Problem::random(51, d, num_rows, &[0]);
    problem.transition_linear.fill(0.0);
    problem.transition_quadratic.fill(0.0);
    let summary = problem.solve().summary;
    let (mut normalizer, mut entropy) = (0.0, 0.0);
    for row in 0..num_rows {
        let base = if row == 0 { &problem.initial_precision } else { &problem.innovation_precision };
        let precision: Vec<f64> = (0..4).map(|cell| base[cell] + problem.precision[row * 4 + cell]).collect();
        let shift = if row == 0 { &problem.initial_linear[..] } else { &[0.0, 0.0] };
        let (x, y) = (problem.linear[row * 2] + shift[0], problem.linear[row * 2 + 1] + shift[1]);
        let determinant = precision[0] * precision[3] - precision[1] * precision[2];
        let quadratic = (precision[3] * x * x - 2.0 * precision[1] * x * y + precision[0] * y * y) / determinant;
        let ln_two_pi = std::f64::consts::TAU.ln();
        normalizer += 0.5 * quadratic - 0.5 * determinant.ln() + ln_two_pi;
        entropy += 1.0 + ln_two_pi - 0.5 * determinant.ln();
    }
    assert_close(&[summary.log_normalizer, summary.entropy], &[normalizer, entropy], 1e-11);
}

#[test]
fn refusals_name_the_row() {
    let mut problem = Problem::random(41, 2, 6, &[0, 3]);
    problem.precision[4 * 4] = -1e3;
    let refused = problem.solve_with(UnaryPrecision::PerRow(&problem.precision), true);
    assert_eq!(refused, Err(ChainError::NotPositiveDefinite { row: 4 }));
    let mut problem = Problem::random(41, 2, 6, &[0, 3]);
    problem.precision[5 * 4] = f64::NAN;
    let refused = problem.solve_with(UnaryPrecision::PerRow(&problem.precision), true);
    assert_eq!(refused, Err(ChainError::NotFinite { row: 5 }));
    let mut problem = Problem::random(41, 2, 6, &[0, 3]);
    problem.linear[2] = f64::INFINITY;
    let refused = problem.solve_with(UnaryPrecision::PerRow(&problem.precision), true);
    assert_eq!(refused, Err(ChainError::NotFinite { row: 1 }));
    let refused = problem.solve_with(UnaryPrecision::Shared(&[1.0]), true);
    assert!(matches!(refused, Err(ChainError::Shape { array: "precision", expected: 4, found: 1 })));
}
