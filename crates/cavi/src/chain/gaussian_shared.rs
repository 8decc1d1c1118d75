//! The smoother of a linear Gaussian chain whose rows all have the same precision: covariances are found until they repeat.
//!
//! Pivots and covariances then depend on the place in the sequence alone, and away from its ends on nothing: they converge
//! to a steady state, after which a row costs two products of a matrix and a vector and no memory but its mean. The
//! formulas are those of [`super::gaussian`].

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use vi_families::matrix;
use vi_families::product::transposed_product;

use super::gaussian::{GaussianChainSummary, GaussianChainTerms, LN_TWO_PI, LONG_SEQUENCE_ROWS, check_terms};
use super::gaussian_end::{End, eliminate, repeats, spread, times_transposed};
use super::sum::CompensatedSum;
use super::{ChainError, Group, check_length, check_starts, group_sequences};

/// Rows that one task works through at least.
const GROUP_ROWS: usize = 4096;
/// The covariances of sequences of one length.
#[derive(Clone, Debug)]
struct Pattern {
    length: usize,
    /// Number of sequences.
    count: usize,
    root: usize,
    log_determinant: f64,
    /// First row and covariance of each run of rows that have the same one, rising.
    runs: Vec<(usize, usize)>,
    /// Σ Cov(x_t) over all rows but the first.
    current: Vec<f64>,
    /// The same but the last.
    previous: Vec<f64>,
    /// Σ Cov(x_t, x_{t−1}), `[to, from]`.
    cross: Vec<f64>,
}

/// Covariances of all rows, those that are equal stored once, and the working memory of [`smooth_shared`].
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCovariances {
    dimension: usize,
    starts: Vec<usize>,
    num_rows: usize,
    /// `[count, D, D]`
    values: Vec<f64>,
    patterns: Vec<Pattern>,
    /// By length.
    pattern_of_length: BTreeMap<usize, usize>,
    /// The pattern of each sequence.
    pattern_of: Vec<usize>,
    left: End,
    right: End,
    groups: Vec<Group>,
}

vi_run::stored!(Pattern { length, count, root, log_determinant, runs, current, previous, cross });
vi_run::stored!(SharedCovariances {
    dimension, starts, num_rows, values, patterns, pattern_of_length, pattern_of; left, right, groups
});

impl SharedCovariances {
    /// Cov(x_t) of a row, `[D, D]`; nothing before the first call of [`smooth_shared`] or beyond its rows.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        let sequence = self.starts.partition_point(|start| *start <= row);
        let (Some(at), true) = (sequence.checked_sub(1), row < self.num_rows) else { return &[] };
        let pattern = &self.patterns[self.pattern_of[at]];
        let run = pattern.runs.partition_point(|run| run.0 <= row - self.starts[at]) - 1;
        let square = self.dimension * self.dimension;
        &self.values[pattern.runs[run].1 * square..][..square]
    }

    /// Number of different covariances.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.values.len().checked_div(self.dimension * self.dimension).unwrap_or(0)
    }
}

/// Precisions of rows by their place in the sequence, unary ones included.
struct Precisions {
    first: Vec<f64>,
    interior: Vec<f64>,
    last: Vec<f64>,
    only: Vec<f64>,
    backward_coupling: Vec<f64>,
}

/// Computes the joint posterior of a Gaussian chain whose rows have the same unary precision U, `[D, D]`.
///
/// `means`, `[rows, D]`, holds the linear messages u_t of the rows before the call and `E[x_t]` after it; `starts` are the
/// first rows of the sequences, from 0, rising. The result is that of [`super::gaussian::smooth`] but for rounding, and
/// does not depend on the number of threads.
///
/// # Errors
///
/// Lengths or starts that do not fit, messages that are NaN or infinite, and a precision that is not positive definite.
pub(crate) fn smooth_shared(
    terms: GaussianChainTerms<'_>,
    precision: &[f64],
    starts: &[usize],
    means: &mut [f64],
    covariances: &mut SharedCovariances,
    summary: &mut GaussianChainSummary,
) -> Result<(), ChainError> {
    let d = terms.dimension;
    let square = d * d;
    let num_rows = means.len().checked_div(d).unwrap_or(0);
    check_length("means", means.len(), num_rows * d)?;
    check_starts(starts, num_rows)?;
    check_terms(terms)?;
    check_length("precision", precision.len(), square)?;
    if !precision.iter().all(|value| value.is_finite()) {
        return Err(ChainError::NotFinite { row: 0 });
    }
    let sum = |parts: &[&[f64]]| -> Vec<f64> {
        (0..square).map(|cell| precision[cell] + parts.iter().map(|p| p[cell]).sum::<f64>()).collect()
    };
    let precisions = Precisions {
        first: sum(&[terms.initial_precision, terms.transition_quadratic]),
        interior: sum(&[terms.innovation_precision, terms.transition_quadratic]),
        last: sum(&[terms.innovation_precision]),
        only: sum(&[terms.initial_precision]),
        backward_coupling: (0..square).map(|cell| terms.transition_linear[cell % d * d + cell / d]).collect(),
    };
    covariances.prepare(d, starts, num_rows);
    for sequence in 0..starts.len() {
        covariances.find_pattern(terms, &precisions, sequence)?;
    }

    let shared = &*covariances;
    let mut rest = means;
    let tasks: Vec<(&Group, &mut [f64])> = shared
        .groups
        .iter()
        .map(|group| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(group.rows.len() * d);
            rest = others;
            (group, own)
        })
        .collect();
    let sums: Vec<MeanSums> = tasks
        .into_par_iter()
        .map(|(group, rows)| {
            let mut sums = MeanSums::new(d);
            let mut rows = rows;
            for sequence in group.sequences.clone() {
                let pattern = &shared.patterns[shared.pattern_of[sequence]];
                let (own, others) = std::mem::take(&mut rows).split_at_mut(pattern.length * d);
                rows = others;
                shared.sequence(terms, pattern, own, &mut sums);
            }
            sums
        })
        .collect();
    summary.collect(shared, &sums);
    if summary.log_normalizer.is_finite() { Ok(()) } else { Err(ChainError::NotFinite { row: shared.broken(&sums) }) }
}

impl SharedCovariances {
    fn prepare(&mut self, d: usize, starts: &[usize], num_rows: usize) {
        self.dimension = d;
        self.num_rows = num_rows;
        self.starts.clear();
        self.starts.extend_from_slice(starts);
        self.values.clear();
        self.patterns.clear();
        self.pattern_of_length.clear();
        self.pattern_of.clear();
        self.left.clear();
        self.right.clear();
        group_sequences(starts, num_rows, GROUP_ROWS, &mut self.groups);
    }

    /// Finds or makes the pattern of a sequence's length.
    fn find_pattern(
        &mut self,
        terms: GaussianChainTerms<'_>,
        precisions: &Precisions,
        sequence: usize,
    ) -> Result<(), ChainError> {
        let first = self.starts[sequence];
        let length = self.starts.get(sequence + 1).copied().unwrap_or(self.num_rows) - first;
        if let Some(&found) = self.pattern_of_length.get(&length) {
            self.pattern_of.push(found);
            self.patterns[found].count += 1;
            return Ok(());
        }
        let d = self.dimension;
        let square = d * d;
        let root = if length >= LONG_SEQUENCE_ROWS { length / 2 } else { length - 1 };
        let (left_steps, right_steps) = (root, length - 1 - root);
        let refuse = |row: usize| ChainError::NotPositiveDefinite { row: first + row };
        self.left
            .extend(d, left_steps, &precisions.first, &precisions.interior, terms.transition_linear)
            .map_err(refuse)?;
        self.right
            .extend(d, right_steps, &precisions.last, &precisions.interior, &precisions.backward_coupling)
            .map_err(|step| refuse(length - 1 - step))?;
        let base = match (left_steps == 0, right_steps == 0) {
            (true, true) => &precisions.only,
            (true, false) => &precisions.first,
            (false, true) => &precisions.last,
            (false, false) => &precisions.interior,
        };
        let mut lower = base.clone();
        for (end, steps) in [(&self.left, left_steps), (&self.right, right_steps)] {
            if steps > 0 {
                let message = &end.messages[end.entry(steps - 1) * square..][..square];
                lower.iter_mut().zip(message).for_each(|(p, m)| *p -= m);
            }
        }
        matrix::cholesky_in_place(&mut lower, d).map_err(|_| refuse(root))?;
        let mut covariance = vec![0.0; square];
        matrix::cholesky_inverse_into(&lower, d, &mut covariance);
        let log_determinant = self.left.log_determinant(left_steps)
            + self.right.log_determinant(right_steps)
            + matrix::cholesky_log_determinant(&lower, d);
        let zero = || vec![0.0; square];
        let mut pattern = Pattern {
            length,
            count: 1,
            root,
            log_determinant,
            runs: Vec::new(),
            current: zero(),
            previous: zero(),
            cross: zero(),
        };
        let root_slot = self.values.len() / square;
        self.values.extend_from_slice(&covariance);
        pattern.add(&covariance, root..root + 1);
        substitute(d, &self.left, left_steps, &covariance, true, &mut self.values, &mut pattern);
        pattern.runs.reverse();
        pattern.runs.push((root, root_slot));
        substitute(d, &self.right, right_steps, &covariance, false, &mut self.values, &mut pattern);
        self.pattern_of.push(self.patterns.len());
        self.pattern_of_length.insert(length, self.patterns.len());
        self.patterns.push(pattern);
        Ok(())
    }

    /// Means of one sequence, and their sums.
    fn sequence(&self, terms: GaussianChainTerms<'_>, pattern: &Pattern, rows: &mut [f64], sums: &mut MeanSums) {
        let d = self.dimension;
        let square = d * d;
        rows[..d].iter_mut().zip(terms.initial_linear).for_each(|(u, h)| *u += h);
        let (left, rest) = rows.split_at_mut(pattern.root * d);
        let (root, right) = rest.split_at_mut(d);
        let (left_steps, right_steps) = (left.len() / d, right.len() / d);
        let both = |a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)| {
            if right_steps > 0 {
                rayon::join(a, b);
            } else {
                a();
            }
        };
        let (mut from_left, mut from_right) = (0.0, 0.0);
        both(&mut || from_left = eliminate(d, &self.left, left, true), &mut || {
            from_right = eliminate(d, &self.right, right, false);
        });
        // The root's linear term, and its mean. The neighbours hold P⁻¹p, of which the message is C P⁻¹ p.
        let mut linear = root.to_vec();
        for (neighbour, backward) in [(left.rchunks_exact(d).next(), false), (right.chunks_exact(d).next(), true)] {
            let Some(solution) = neighbour else { continue };
            for (i, target) in linear.iter_mut().enumerate() {
                for (k, x) in solution.iter().enumerate() {
                    let cell = if backward { k * d + i } else { i * d + k };
                    *target += terms.transition_linear[cell] * x;
                }
            }
        }
        let run = pattern.runs.partition_point(|run| run.0 <= pattern.root) - 1;
        let covariance = &self.values[pattern.runs[run].1 * square..][..square];
        matrix::multiply_vector(covariance, d, &linear, root);
        sums.quadratic.add(from_left + from_right + matrix::dot(&linear, root));
        let root_mean = root.to_vec();
        both(&mut || spread(d, &self.left, left, true, &root_mean), &mut || {
            spread(d, &self.right, right, false, &root_mean);
        });
        let (length, last) = (left_steps + 1 + right_steps, rows.len() - d);
        sums.initial_mean.iter_mut().zip(&*rows).for_each(|(s, m)| *s += m);
        matrix::add_outer_product(&mut sums.initial, 1.0, &rows[..d]);
        if length > 1 {
            let (later, earlier) = (&rows[d..], &rows[..last]);
            transposed_product(later, later, length - 1, d, d, 1.0, &mut sums.current);
            transposed_product(earlier, earlier, length - 1, d, d, 1.0, &mut sums.previous);
            transposed_product(later, earlier, length - 1, d, d, 1.0, &mut sums.cross);
        }
    }

    /// The first row of the group whose sums are not numbers.
    fn broken(&self, sums: &[MeanSums]) -> usize {
        let group = sums.iter().position(|s| !s.quadratic.value().is_finite()).unwrap_or(0);
        self.groups.get(group).map_or(0, |g| g.rows.start)
    }
}

impl Pattern {
    /// Adds the covariance of some rows to the sums.
    fn add(&mut self, covariance: &[f64], rows: Range<usize>) {
        let count = rows.len() as f64;
        let current = count - f64::from(u8::from(rows.contains(&0)));
        let previous = count - f64::from(u8::from(rows.contains(&(self.length - 1))));
        for (cell, value) in covariance.iter().enumerate() {
            self.current[cell] += current * value;
            self.previous[cell] += previous * value;
        }
    }
}

/// Covariances of the rows of one end from its root outwards: Σ_t = P_t⁻¹ + G_t Σ_next G_tᵀ, until they repeat.
fn substitute(
    d: usize,
    end: &End,
    steps: usize,
    root: &[f64],
    forward: bool,
    values: &mut Vec<f64>,
    pattern: &mut Pattern,
) {
    let square = d * d;
    let mut next = root.to_vec();
    let last = end.log_determinants.len().saturating_sub(1);
    let mut step = steps;
    while step > 0 {
        step -= 1;
        let entry = end.entry(step);
        let (inverse, gain) = (&end.inverses[entry * square..][..square], &end.gains[entry * square..][..square]);
        let cross = times_transposed(d, &next, gain);
        let mut own = vec![0.0; square];
        for i in 0..d {
            for j in 0..=i {
                let value = inverse[i * d + j] + (0..d).map(|k| gain[i * d + k] * cross[k * d + j]).sum::<f64>();
                own[i * d + j] = value;
                own[j * d + i] = value;
            }
        }
        // Where the gain is that of all further steps down to `last`, a repeated covariance stays.
        let repeated = step > last && repeats(d, &own, &next);
        let down_to = if repeated { last } else { step };
        let rows = if forward { down_to..step + 1 } else { pattern.length - 1 - step..pattern.length - down_to };
        let count = rows.len() as f64;
        for cell in 0..square {
            let at = if forward { cell } else { cell % d * d + cell / d };
            pattern.cross[cell] += count * cross[at];
        }
        pattern.add(&own, rows.clone());
        pattern.runs.push((rows.start, values.len() / square));
        values.extend_from_slice(&own);
        next = own;
        step = down_to;
    }
}

/// What the sequences of a task sum of their means, `[D, D]` each.
#[derive(Clone, Debug)]
struct MeanSums {
    /// Σ pᵀP⁻¹p
    quadratic: CompensatedSum,
    initial_mean: Vec<f64>,
    initial: Vec<f64>,
    current: Vec<f64>,
    previous: Vec<f64>,
    cross: Vec<f64>,
}

impl MeanSums {
    fn new(d: usize) -> Self {
        let zero = || vec![0.0; d * d];
        Self {
            quadratic: CompensatedSum::default(),
            initial_mean: vec![0.0; d],
            initial: zero(),
            current: zero(),
            previous: zero(),
            cross: zero(),
        }
    }
}

impl GaussianChainSummary {
    /// Adds up the patterns of the sequences and the sums of the means, in order.
    fn collect(&mut self, shared: &SharedCovariances, sums: &[MeanSums]) {
        let square = shared.dimension * shared.dimension;
        (self.num_sequences, self.num_steps) = (shared.starts.len(), shared.num_rows - shared.starts.len());
        let mut of_means = MeanSums::new(shared.dimension);
        for group in sums {
            of_means.quadratic.add(group.quadratic.value());
            for (total, part) in [
                (&mut of_means.initial_mean, &group.initial_mean),
                (&mut of_means.initial, &group.initial),
                (&mut of_means.current, &group.current),
                (&mut of_means.previous, &group.previous),
                (&mut of_means.cross, &group.cross),
            ] {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        let mut log_determinant = CompensatedSum::default();
        for pattern in &shared.patterns {
            let count = pattern.count as f64;
            log_determinant.add(count * pattern.log_determinant);
            let first = &shared.values[pattern.runs[0].1 * square..][..square];
            for (sum, values) in [
                (&mut of_means.initial, first),
                (&mut of_means.current, &pattern.current),
                (&mut of_means.previous, &pattern.previous),
                (&mut of_means.cross, &pattern.cross),
            ] {
                sum.iter_mut().zip(values).for_each(|(s, v)| *s += count * v);
            }
        }
        let dimensions = (shared.num_rows * shared.dimension) as f64;
        self.log_normalizer = 0.5 * (of_means.quadratic.value() - log_determinant.value() + dimensions * LN_TWO_PI);
        self.entropy = 0.5 * (dimensions * (1.0 + LN_TWO_PI) - log_determinant.value());
        self.initial_mean_sum = of_means.initial_mean;
        self.initial_second_moment_sum = of_means.initial;
        self.current_sum = of_means.current;
        self.previous_sum = of_means.previous;
        self.cross_sum = of_means.cross;
    }
}
