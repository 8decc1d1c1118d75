//! The exact posterior of linear Gaussian chains: means, covariances, lag-one moments and normaliser in information form.
//!
//! ```text
//! log p(x) = −½ xᵀJx + hᵀx − A        J block tridiagonal over the rows of each sequence
//! J_tt = E[Λ₀] or E[Q] + E[AᵀQA] (but in last rows) + U_t        J_{t,t−1} = −E[QA]        h_t = E[Λ₀m₀] (first rows) + u_t
//! ```
//!
//! Rows are eliminated towards a root row and substituted back from it. A long sequence has its root in the middle, so
//! that both halves run at the same time; in shorter ones the root is the last row, which is the usual smoother.

use rayon::prelude::*;

use super::gaussian_kernels::{self as kernels, End, EndRows, Message, PairSums};
use super::sum::CompensatedSum;
use super::{ChainError, Group, check_length, check_starts, group_sequences};

pub(crate) use super::gaussian_kernels::UnaryPrecision;

/// Rows that one task works through at least.
const GROUP_ROWS: usize = 4096;

/// Rows from which on both halves of a sequence run at the same time.
pub(super) const LONG_SEQUENCE_ROWS: usize = 4 * GROUP_ROWS;

/// ln 2π.
pub(super) const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// Expected natural parameters of the chain itself, row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GaussianChainTerms<'a> {
    /// Number of coordinates D of a state.
    pub dimension: usize,
    /// `E[Λ₀]`, precision of the first state, `[D, D]`, symmetric.
    pub initial_precision: &'a [f64],
    /// `E[Λ₀ m₀]`, `[D]`.
    pub initial_linear: &'a [f64],
    /// `E[Q]`, precision of the innovations, `[D, D]`, symmetric.
    pub innovation_precision: &'a [f64],
    /// `E[AᵀQA]`, `[D, D]`, symmetric.
    pub transition_quadratic: &'a [f64],
    /// `E[QA]`, `[to, from]`, `[D, D]`.
    pub transition_linear: &'a [f64],
}

/// Where the posterior of the states goes.
#[derive(Debug)]
pub(crate) struct GaussianChainMoments<'a> {
    /// `E[x_t]`, `[rows, D]`.
    pub means: &'a mut [f64],
    /// Cov(x_t), `[rows, D, D]`.
    pub covariances: &'a mut [f64],
    /// Cov(x_t, x_{t−1}), `[rows, D, D]`, zero in first rows of sequences; left out if only the sums are wanted.
    pub lag_covariances: Option<&'a mut [f64]>,
}

/// Sums over all sequences of a Gaussian chain; matrices are `[D, D]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GaussianChainSummary {
    /// A = log ∫ exp(−½ xᵀJx + hᵀx) dx, in nats.
    pub log_normalizer: f64,
    /// Entropy of the joint posterior, in nats.
    pub entropy: f64,
    /// Number of sequences.
    pub num_sequences: usize,
    /// Number of steps between rows of one sequence.
    pub num_steps: usize,
    /// Σ `E[x_1]` over sequences, `[D]`.
    pub initial_mean_sum: Vec<f64>,
    /// Σ `E[x_1 x_1ᵀ]` over sequences.
    pub initial_second_moment_sum: Vec<f64>,
    /// Σ `E[x_t x_tᵀ]` over all rows but the first of sequences.
    pub current_sum: Vec<f64>,
    /// Σ `E[x_{t−1} x_{t−1}ᵀ]` over the same steps.
    pub previous_sum: Vec<f64>,
    /// Σ `E[x_t x_{t−1}ᵀ]` over the same steps, `[to, from]`.
    pub cross_sum: Vec<f64>,
}

/// Buffers of [`smooth`], kept over iterations.
#[derive(Clone, Debug, Default)]
pub(crate) struct GaussianChainScratch {
    gains: Vec<f64>,
    first: Vec<f64>,
    interior: Vec<f64>,
    backward_coupling: Vec<f64>,
    no_linear: Vec<f64>,
    groups: Vec<Group>,
    sums: Vec<GroupSums>,
}

/// What one task collects.
#[derive(Clone, Debug, Default)]
struct GroupSums {
    log_normalizer: CompensatedSum,
    entropy: CompensatedSum,
    forward: PairSums,
    backward: PairSums,
    initial_mean: Vec<f64>,
    initial_second_moment: Vec<f64>,
}

impl GroupSums {
    fn clear(&mut self, dimension: usize) {
        self.log_normalizer = CompensatedSum::default();
        self.entropy = CompensatedSum::default();
        self.forward.clear(dimension);
        self.backward.clear(dimension);
        self.initial_mean.clear();
        self.initial_mean.resize(dimension, 0.0);
        self.initial_second_moment.clear();
        self.initial_second_moment.resize(dimension * dimension, 0.0);
    }
}

/// Precisions of rows without their unary ones, by their place in the sequence.
#[derive(Clone, Copy)]
struct Precisions<'a> {
    /// First of several rows.
    first: &'a [f64],
    /// Neither first nor last.
    interior: &'a [f64],
    /// `E[QA]`ᵀ.
    backward_coupling: &'a [f64],
    /// Zeros, `[D]`.
    no_linear: &'a [f64],
    /// The chain itself; a last row has `E[Q]`, an only row `E[Λ₀]`.
    terms: GaussianChainTerms<'a>,
}

/// The parts of all arrays that belong to some rows.
struct Rows<'a> {
    precision: UnaryPrecision<'a>,
    linear: &'a [f64],
    means: &'a mut [f64],
    covariances: &'a mut [f64],
    /// Gains, then Cov(x_next, x_row) with the next row towards the root.
    gains: &'a mut [f64],
    lag_covariances: Option<&'a mut [f64]>,
}

impl<'a> Rows<'a> {
    /// Splits `count` rows off the front.
    fn take(&mut self, count: usize, dimension: usize) -> Rows<'a> {
        let square = dimension * dimension;
        let total = self.linear.len() / dimension;
        let (linear, rest) = self.linear.split_at(count * dimension);
        self.linear = rest;
        let precision = self.precision.rows(0..count, dimension);
        self.precision = self.precision.rows(count..total, dimension);
        Rows {
            precision,
            linear,
            means: take(&mut self.means, count * dimension),
            covariances: take(&mut self.covariances, count * square),
            gains: take(&mut self.gains, count * square),
            lag_covariances: self.lag_covariances.as_mut().map(|values| take(values, count * square)),
        }
    }

    fn len(&self, dimension: usize) -> usize {
        self.linear.len() / dimension
    }

    fn end(&mut self) -> EndRows<'_> {
        EndRows { means: self.means, covariances: self.covariances, gains: self.gains }
    }
}

/// Splits `length` entries off the front of `rest`.
fn take<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (front, back) = std::mem::take(rest).split_at_mut(length);
    *rest = back;
    front
}

/// Computes the exact joint posterior of the states of a Gaussian chain.
///
/// `precision` and `linear`, `[rows, D]`, are the messages of the rows, −½ xᵀU_t x + u_tᵀx, zero where nothing is
/// observed; `starts` are the first rows of the sequences, from 0, rising. The factor is
///
/// ```text
/// q(x) = exp(−½ xᵀJx + hᵀx − A)        A = ½ hᵀJ⁻¹h − ½ log |J| + ½ n D log 2π        entropy = ½ n D (1 + log 2π) − ½ log |J|
/// ```
///
/// with J and h as in the module's description. Sources: Bishop, PRML, §13.3.1 (the smoother), eq. 2.113–2.117 and §8.1.4
/// (information form). Results do not depend on the number of threads.
///
/// # Errors
///
/// Lengths or starts that do not fit, messages that are NaN or infinite, and a precision that is not positive definite.
pub(crate) fn smooth(
    terms: GaussianChainTerms<'_>,
    precision: UnaryPrecision<'_>,
    linear: &[f64],
    starts: &[usize],
    moments: GaussianChainMoments<'_>,
    scratch: &mut GaussianChainScratch,
    summary: &mut GaussianChainSummary,
) -> Result<(), ChainError> {
    let d = terms.dimension;
    let square = d * d;
    let num_rows = linear.len().checked_div(d).unwrap_or(0);
    check_length("linear", linear.len(), num_rows * d)?;
    check_starts(starts, num_rows)?;
    check_terms(terms)?;
    match precision {
        UnaryPrecision::Shared(matrix) => check_length("precision", matrix.len(), square)?,
        UnaryPrecision::PerRow(matrices) => check_length("precision", matrices.len(), num_rows * square)?,
    }
    check_length("means", moments.means.len(), num_rows * d)?;
    check_length("covariances", moments.covariances.len(), num_rows * square)?;
    if let Some(values) = &moments.lag_covariances {
        check_length("lag_covariances", values.len(), num_rows * square)?;
    }

    scratch.prepare(terms, num_rows, starts);
    let GaussianChainScratch { gains, first, interior, backward_coupling, no_linear, groups, sums } = scratch;
    let precisions = Precisions { first, interior, backward_coupling, no_linear, terms };
    let mut rest = Rows {
        precision,
        linear,
        means: moments.means,
        covariances: moments.covariances,
        gains,
        lag_covariances: moments.lag_covariances,
    };
    let tasks: Vec<_> =
        groups.iter().zip(&mut *sums).map(|(group, sums)| (group, rest.take(group.rows.len(), d), sums)).collect();
    let outcomes: Vec<Result<(), ChainError>> = tasks
        .into_par_iter()
        .map(|(group, mut rows, sums)| {
            for position in group.sequences.clone() {
                let first_row = starts[position];
                let end = starts.get(position + 1).copied().unwrap_or(num_rows);
                smooth_sequence(precisions, rows.take(end - first_row, d), sums).map_err(|row| {
                    let row = first_row + row;
                    let unary = precision.row(row, square).iter().chain(&linear[row * d..(row + 1) * d]);
                    if unary.clone().all(|value| value.is_finite()) {
                        ChainError::NotPositiveDefinite { row }
                    } else {
                        ChainError::NotFinite { row }
                    }
                })?;
            }
            Ok(())
        })
        .collect();
    outcomes.into_iter().collect::<Result<(), ChainError>>()?;
    summary.merge(sums, d, num_rows, starts.len());
    if summary.log_normalizer.is_finite() {
        return Ok(());
    }
    let row = linear.chunks_exact(d.max(1)).position(|row| row.iter().any(|value| !value.is_finite()));
    Err(ChainError::NotFinite { row: row.unwrap_or(0) })
}

/// Checks the lengths of a chain's own terms and that they are numbers.
pub(super) fn check_terms(terms: GaussianChainTerms<'_>) -> Result<(), ChainError> {
    let d = terms.dimension;
    let square = d * d;
    for (name, values, length) in [
        ("initial_precision", terms.initial_precision, square),
        ("initial_linear", terms.initial_linear, d),
        ("innovation_precision", terms.innovation_precision, square),
        ("transition_quadratic", terms.transition_quadratic, square),
        ("transition_linear", terms.transition_linear, square),
    ] {
        check_length(name, values.len(), length)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(ChainError::ParametersNotFinite { array: name });
        }
    }
    Ok(())
}

/// Smooths one sequence; the error is the row, from its first, whose pivot is not positive definite.
fn smooth_sequence(precisions: Precisions<'_>, mut rows: Rows<'_>, sums: &mut GroupSums) -> Result<(), usize> {
    let terms = precisions.terms;
    let d = terms.dimension;
    let num_rows = rows.len(d);
    let long = num_rows >= LONG_SEQUENCE_ROWS;
    let root_row = if long { num_rows / 2 } else { num_rows - 1 };
    let (mut left, mut root) = (rows.take(root_row, d), rows.take(1, d));
    let mut right = rows;

    let left_end = End {
        forward: true,
        outermost: precisions.first,
        outermost_linear: terms.initial_linear,
        interior: precisions.interior,
        coupling: terms.transition_linear,
        precision: left.precision,
        linear: left.linear,
    };
    let right_end = End {
        forward: false,
        outermost: terms.innovation_precision,
        outermost_linear: precisions.no_linear,
        interior: precisions.interior,
        coupling: precisions.backward_coupling,
        precision: right.precision,
        linear: right.linear,
    };
    let root_base = match (root_row == 0, root_row + 1 == num_rows) {
        (true, true) => terms.initial_precision,
        (true, false) => precisions.first,
        (false, true) => terms.innovation_precision,
        (false, false) => precisions.interior,
    };
    let root_end = End {
        forward: true,
        outermost: root_base,
        outermost_linear: if root_row == 0 { terms.initial_linear } else { precisions.no_linear },
        interior: precisions.interior,
        coupling: terms.transition_linear,
        precision: root.precision,
        linear: root.linear,
    };

    let mut message = Message::none(d);
    if long {
        let mut other = Message::none(d);
        let (from_left, from_right) = rayon::join(
            || kernels::eliminate(d, left_end, &mut left.end(), &mut message),
            || kernels::eliminate(d, right_end, &mut right.end(), &mut other),
        );
        from_left?;
        from_right.map_err(|row| root_row + 1 + row)?;
        message.merge(other);
    } else {
        kernels::eliminate(d, left_end, &mut left.end(), &mut message)?;
    }
    kernels::eliminate(d, root_end, &mut root.end(), &mut message).map_err(|row| root_row + row)?;

    let dimensions = (num_rows * d) as f64;
    let log_determinant = message.log_determinant.value();
    sums.log_normalizer.add(0.5 * (message.quadratic.value() - log_determinant + dimensions * LN_TWO_PI));
    sums.entropy.add(0.5 * (dimensions * (1.0 + LN_TWO_PI) - log_determinant));

    let (mean, covariance) = (&*root.means, &*root.covariances);
    let (forward, backward) = (&mut sums.forward, &mut sums.backward);
    let mut substitute_left = || kernels::substitute(d, true, mean, covariance, &mut left.end(), forward);
    if long {
        let substitute_right = || kernels::substitute(d, false, mean, covariance, &mut right.end(), backward);
        rayon::join(substitute_left, substitute_right);
    } else {
        substitute_left();
    }
    write_lag_covariances(d, left, root, right, sums);
    Ok(())
}

/// Puts Cov(x_t, x_{t−1}) where it is wanted and adds the first row to the sums.
fn write_lag_covariances(d: usize, left: Rows<'_>, root: Rows<'_>, right: Rows<'_>, sums: &mut GroupSums) {
    let square = d * d;
    let (first_mean, first_covariance) =
        if left.means.is_empty() { (&*root.means, &*root.covariances) } else { (&*left.means, &*left.covariances) };
    for i in 0..d {
        sums.initial_mean[i] += first_mean[i];
        for j in 0..d {
            sums.initial_second_moment[i * d + j] += first_covariance[i * d + j] + first_mean[i] * first_mean[j];
        }
    }
    let (Some(left_lags), Some(root_lags), Some(right_lags)) =
        (left.lag_covariances, root.lag_covariances, right.lag_covariances)
    else {
        return;
    };
    // Row t of the left end holds Cov(x_{t+1}, x_t), row t of the right end Cov(x_{t−1}, x_t).
    if left_lags.is_empty() {
        root_lags.fill(0.0);
    } else {
        let last = left_lags.len() - square;
        left_lags[..square].fill(0.0);
        left_lags[square..].copy_from_slice(&left.gains[..last]);
        root_lags.copy_from_slice(&left.gains[last..]);
    }
    for (lags, values) in right_lags.chunks_exact_mut(square).zip(right.gains.chunks_exact(square)) {
        for i in 0..d {
            for j in 0..d {
                lags[i * d + j] = values[j * d + i];
            }
        }
    }
}

impl Message {
    /// Adds the message of the other end.
    fn merge(&mut self, other: Message) {
        self.precision.iter_mut().zip(&other.precision).for_each(|(sum, value)| *sum += value);
        self.linear.iter_mut().zip(&other.linear).for_each(|(sum, value)| *sum += value);
        self.quadratic.add(other.quadratic.value());
        self.log_determinant.add_log(other.log_determinant.value());
    }
}

impl GaussianChainScratch {
    /// Fills the precisions by place and gives every buffer the length that the chain needs.
    fn prepare(&mut self, terms: GaussianChainTerms<'_>, num_rows: usize, starts: &[usize]) {
        let d = terms.dimension;
        let add = |target: &mut Vec<f64>, base: &[f64]| {
            target.clear();
            target.extend(base.iter().zip(terms.transition_quadratic).map(|(base, quadratic)| base + quadratic));
        };
        add(&mut self.first, terms.initial_precision);
        add(&mut self.interior, terms.innovation_precision);
        self.backward_coupling.clear();
        self.backward_coupling.extend((0..d * d).map(|cell| terms.transition_linear[cell % d * d + cell / d]));
        self.no_linear.clear();
        self.no_linear.resize(d, 0.0);
        self.gains.resize(num_rows * d * d, 0.0);
        group_sequences(starts, num_rows, GROUP_ROWS, &mut self.groups);
        self.sums.resize_with(self.groups.len(), GroupSums::default);
        self.sums.iter_mut().for_each(|sums| sums.clear(d));
    }
}

impl GaussianChainSummary {
    /// Adds up the groups in their order.
    fn merge(&mut self, groups: &[GroupSums], d: usize, num_rows: usize, num_sequences: usize) {
        let square = d * d;
        (self.num_sequences, self.num_steps) = (num_sequences, num_rows - num_sequences);
        for (buffer, length) in [
            (&mut self.initial_mean_sum, d),
            (&mut self.initial_second_moment_sum, square),
            (&mut self.current_sum, square),
            (&mut self.previous_sum, square),
            (&mut self.cross_sum, square),
        ] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        let (mut log_normalizer, mut entropy) = (CompensatedSum::default(), CompensatedSum::default());
        for group in groups {
            log_normalizer.add(group.log_normalizer.value());
            entropy.add(group.entropy.value());
            for i in 0..d {
                self.initial_mean_sum[i] += group.initial_mean[i];
            }
            for cell in 0..square {
                let transposed = cell % d * d + cell / d;
                self.initial_second_moment_sum[cell] += group.initial_second_moment[cell];
                self.current_sum[cell] += group.forward.next[cell] + group.backward.row[cell];
                self.previous_sum[cell] += group.forward.row[cell] + group.backward.next[cell];
                self.cross_sum[cell] += group.forward.cross[cell] + group.backward.cross[transposed];
            }
        }
        self.log_normalizer = log_normalizer.value();
        self.entropy = entropy.value();
    }
}
