//! The inner loops of the Gaussian chain: block elimination towards a root row and substitution back, for small dimensions.
//!
//! Matrices are `[D, D]` row-major. Each loop is compiled once for every dimension up to 8 and once for larger ones.

use super::sum::{CompensatedSum, LogProduct};

/// Precision that single rows add to the states, symmetric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnaryPrecision<'a> {
    /// The same in every row, `[D, D]`.
    Shared(&'a [f64]),
    /// One for each row, `[rows, D, D]`.
    PerRow(&'a [f64]),
}

impl<'a> UnaryPrecision<'a> {
    /// Those of a range of rows.
    pub(super) fn rows(self, rows: std::ops::Range<usize>, dimension: usize) -> Self {
        match self {
            Self::Shared(matrix) => Self::Shared(matrix),
            Self::PerRow(matrices) => {
                Self::PerRow(&matrices[rows.start * dimension * dimension..rows.end * dimension * dimension])
            }
        }
    }

    /// That of one row.
    #[inline(always)]
    pub(super) fn row(self, row: usize, square: usize) -> &'a [f64] {
        match self {
            Self::Shared(matrix) => matrix,
            Self::PerRow(matrices) => &matrices[row * square..(row + 1) * square],
        }
    }
}

/// One end of a sequence, whose rows are eliminated one after the other towards the root row.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    /// Whether elimination goes towards later rows.
    pub(super) forward: bool,
    /// Precision of the outermost row without its unary precision, `[D, D]`.
    pub(super) outermost: &'a [f64],
    /// Linear term of the outermost row beside its unary one, `[D]`.
    pub(super) outermost_linear: &'a [f64],
    /// Precision of the other rows without their unary precisions, `[D, D]`.
    pub(super) interior: &'a [f64],
    /// C, minus the precision between a row and the one eliminated before it, `[next, eliminated]`.
    pub(super) coupling: &'a [f64],
    /// Unary precisions of the rows of this end.
    pub(super) precision: UnaryPrecision<'a>,
    /// Unary linear terms, `[rows, D]`.
    pub(super) linear: &'a [f64],
}

/// Per-row results of one end, in the order of the rows.
pub(super) struct EndRows<'a> {
    /// P⁻¹p after elimination, means after substitution, `[rows, D]`.
    pub(super) means: &'a mut [f64],
    /// P⁻¹ after elimination, covariances after substitution, `[rows, D, D]`.
    pub(super) covariances: &'a mut [f64],
    /// G = P⁻¹Cᵀ, `[rows, D, D]`; after substitution Cov(x_next, x_row) where it is kept.
    pub(super) gains: &'a mut [f64],
}

/// What the rows of one end tell the row that follows them, and their share of the normaliser.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// C P⁻¹ Cᵀ, to be taken from the precision of the next row, `[D, D]`.
    pub(super) precision: Vec<f64>,
    /// C P⁻¹ p, to be added to its linear term, `[D]`.
    pub(super) linear: Vec<f64>,
    /// Σ pᵀP⁻¹p.
    pub(super) quadratic: CompensatedSum,
    /// Σ log |P|.
    pub(super) log_determinant: LogProduct,
}

impl Message {
    /// The message of no rows.
    pub(super) fn none(dimension: usize) -> Self {
        Self {
            precision: vec![0.0; dimension * dimension],
            linear: vec![0.0; dimension],
            quadratic: CompensatedSum::default(),
            log_determinant: LogProduct::new(),
        }
    }
}

/// Sums over the pairs (row, next row towards the root) of one end, each `[D, D]`.
#[derive(Clone, Debug, Default)]
pub(super) struct PairSums {
    /// Σ `E[x_next x_nextᵀ]`.
    pub(super) next: Vec<f64>,
    /// Σ `E[x_row x_rowᵀ]`.
    pub(super) row: Vec<f64>,
    /// Σ `E[x_next x_rowᵀ]`.
    pub(super) cross: Vec<f64>,
}

impl PairSums {
    /// Sets all sums to zero.
    pub(super) fn clear(&mut self, dimension: usize) {
        for buffer in [&mut self.next, &mut self.row, &mut self.cross] {
            buffer.clear();
            buffer.resize(dimension * dimension, 0.0);
        }
    }
}

/// Inverse of a symmetric positive definite matrix by P = L·diag(d)·Lᵀ with unit lower triangular L.
///
/// `matrix` is overwritten, `pivots` receives d. Returns false where a pivot is not positive.
#[inline(always)]
fn invert(dimension: usize, matrix: &mut [f64], pivots: &mut [f64], inverse: &mut [f64]) -> bool {
    let d = dimension;
    // L, with L(i, k)·d(k) above the diagonal while it is needed.
    for j in 0..d {
        let mut pivot = matrix[j * d + j];
        for k in 0..j {
            pivot -= matrix[j * d + k] * matrix[k * d + j];
        }
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        pivots[j] = pivot;
        let reciprocal = 1.0 / pivot;
        for i in j + 1..d {
            let mut value = matrix[i * d + j];
            for k in 0..j {
                value -= matrix[i * d + k] * matrix[k * d + j];
            }
            matrix[j * d + i] = value;
            matrix[i * d + j] = value * reciprocal;
        }
        matrix[j * d + j] = reciprocal;
    }
    // X = L⁻¹, with X(k, i) at (i, k) of the upper triangle, which is free now.
    for j in 0..d {
        for i in j + 1..d {
            let mut value = matrix[i * d + j];
            for k in j + 1..i {
                value += matrix[i * d + k] * matrix[j * d + k];
            }
            matrix[j * d + i] = -value;
        }
    }
    // P⁻¹(i, j) = Σ_{k ≥ max(i, j)} X(k, i) X(k, j) / d(k).
    for i in 0..d {
        for j in 0..=i {
            let mut value = if i == j { matrix[i * d + i] } else { matrix[j * d + i] * matrix[i * d + i] };
            for k in i + 1..d {
                value += matrix[i * d + k] * matrix[j * d + k] * matrix[k * d + k];
            }
            inverse[i * d + j] = value;
            inverse[j * d + i] = value;
        }
    }
    true
}

/// Working memory of the loops, `[D, D]` each.
struct Work<'a> {
    pivot: &'a mut [f64],
    previous: &'a mut [f64],
    factor: &'a mut [f64],
    inverse: &'a mut [f64],
    gain: &'a mut [f64],
}

/// Eliminates the rows of one end from the outside in (block tridiagonal Cholesky; PRML §13.3.1 in information form):
///
/// ```text
/// P_t = J_tt − C P_{t−1}⁻¹ Cᵀ        p_t = h_t + C P_{t−1}⁻¹ p_{t−1}        G_t = P_t⁻¹ Cᵀ
/// ```
///
/// Rows whose pivot repeats bit for bit (a steady state) reuse its inverse.
///
/// # Errors
///
/// The row, from the first of this end, whose pivot is not positive definite.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "loops over the indices of the formulas above")]
fn eliminate_body(
    d: usize,
    end: End<'_>,
    rows: &mut EndRows<'_>,
    message: &mut Message,
    work: Work<'_>,
) -> Result<(), usize> {
    let square = d * d;
    let num_rows = end.linear.len() / d;
    let coupling = &end.coupling[..square];
    let message_precision = &mut message.precision[..square];
    let message_linear = &mut message.linear[..d];
    let pivot = &mut work.pivot[..square];
    let mut log_determinant = 0.0;
    for step in 0..num_rows {
        let row = if end.forward { step } else { num_rows - 1 - step };
        let base = if step == 0 { end.outermost } else { end.interior };
        let unary = &end.precision.row(row, square)[..square];
        for cell in 0..square {
            pivot[cell] = base[cell] + unary[cell] - message_precision[cell];
        }
        let linear = &end.linear[row * d..(row + 1) * d];
        for i in 0..d {
            let outermost = if step == 0 { end.outermost_linear[i] } else { 0.0 };
            message_linear[i] += linear[i] + outermost;
        }
        if step == 0 || pivot != &work.previous[..square] {
            work.previous[..square].copy_from_slice(pivot);
            work.factor[..square].copy_from_slice(pivot);
            // The pivots of the factorisation go to the first row of `gain`, which is written afterwards.
            if !invert(d, &mut work.factor[..square], &mut work.gain[..d], &mut work.inverse[..square]) {
                return Err(row);
            }
            let mut determinant = LogProduct::new();
            for &value in &work.gain[..d] {
                determinant.multiply(value);
            }
            log_determinant = determinant.value();
            for i in 0..d {
                for j in 0..d {
                    let mut value = 0.0;
                    for k in 0..d {
                        value += work.inverse[i * d + k] * coupling[j * d + k];
                    }
                    work.gain[i * d + j] = value;
                }
            }
            for i in 0..d {
                for j in 0..=i {
                    let mut value = 0.0;
                    for k in 0..d {
                        value += coupling[i * d + k] * work.gain[k * d + j];
                    }
                    message_precision[i * d + j] = value;
                    message_precision[j * d + i] = value;
                }
            }
        }
        message.log_determinant.add_log(log_determinant);
        let solution = &mut rows.means[row * d..(row + 1) * d];
        let mut quadratic = 0.0;
        for i in 0..d {
            let mut value = 0.0;
            for k in 0..d {
                value += work.inverse[i * d + k] * message_linear[k];
            }
            solution[i] = value;
            quadratic += value * message_linear[i];
        }
        message.quadratic.add(quadratic);
        for i in 0..d {
            let mut value = 0.0;
            for k in 0..d {
                value += coupling[i * d + k] * solution[k];
            }
            message_linear[i] = value;
        }
        rows.covariances[row * square..(row + 1) * square].copy_from_slice(&work.inverse[..square]);
        rows.gains[row * square..(row + 1) * square].copy_from_slice(&work.gain[..square]);
    }
    Ok(())
}

/// Substitutes from the root row outwards (Rauch–Tung–Striebel in information form; PRML eq. 13.100–13.102):
///
/// ```text
/// μ_t = P_t⁻¹p_t + G_t μ_next        Cov(x_next, x_t) = Σ_next G_tᵀ        Σ_t = P_t⁻¹ + G_t Σ_next G_tᵀ
/// ```
///
/// `root_mean` is `[D]`, `root_covariance` `[D, D]`.
#[inline(always)]
fn substitute_body(
    d: usize,
    forward: bool,
    root_mean: &[f64],
    root_covariance: &[f64],
    rows: &mut EndRows<'_>,
    sums: &mut PairSums,
    work: Work<'_>,
) {
    let square = d * d;
    let num_rows = rows.means.len() / d;
    let (mean, covariance, cross) = (&mut work.pivot[..d], &mut work.inverse[..square], &mut work.factor[..square]);
    let (second, gain) = (&mut work.previous[..square], &mut work.gain[..square]);
    mean.copy_from_slice(&root_mean[..d]);
    covariance.copy_from_slice(&root_covariance[..square]);
    for i in 0..d {
        for j in 0..d {
            second[i * d + j] = covariance[i * d + j] + mean[i] * mean[j];
        }
    }
    let (sum_next, sum_row) = (&mut sums.next[..square], &mut sums.row[..square]);
    let sum_cross = &mut sums.cross[..square];
    for step in (0..num_rows).rev() {
        let row = if forward { step } else { num_rows - 1 - step };
        let row_mean = &mut rows.means[row * d..(row + 1) * d];
        let row_covariance = &mut rows.covariances[row * square..(row + 1) * square];
        let row_gain = &mut rows.gains[row * square..(row + 1) * square];
        gain.copy_from_slice(row_gain);
        for i in 0..d {
            let mut value = row_mean[i];
            for k in 0..d {
                value += gain[i * d + k] * mean[k];
            }
            row_mean[i] = value;
            for j in 0..d {
                let mut value = 0.0;
                for k in 0..d {
                    value += covariance[j * d + k] * gain[i * d + k];
                }
                cross[j * d + i] = value;
            }
        }
        for i in 0..d {
            for j in 0..d {
                sum_next[i * d + j] += second[i * d + j];
                sum_cross[i * d + j] += cross[i * d + j] + mean[i] * row_mean[j];
            }
        }
        for i in 0..d {
            for j in 0..=i {
                let mut value = row_covariance[i * d + j];
                for k in 0..d {
                    value += gain[i * d + k] * cross[k * d + j];
                }
                covariance[i * d + j] = value;
                covariance[j * d + i] = value;
            }
        }
        row_gain.copy_from_slice(cross);
        row_covariance.copy_from_slice(covariance);
        mean.copy_from_slice(row_mean);
        for i in 0..d {
            for j in 0..d {
                let value = covariance[i * d + j] + mean[i] * mean[j];
                second[i * d + j] = value;
                sum_row[i * d + j] += value;
            }
        }
    }
}

/// Runs a loop body with working memory on the stack and the dimension known to the compiler, up to 8.
macro_rules! for_dimension {
    ($dimension:expr, |$d:ident, $work:ident| $body:expr) => {{
        macro_rules! sized {
            ($size:literal) => {{
                let $d: usize = $size;
                let (mut a, mut b, mut c) = ([0.0; $size * $size], [0.0; $size * $size], [0.0; $size * $size]);
                let (mut e, mut f) = ([0.0; $size * $size], [0.0; $size * $size]);
                let $work = Work { pivot: &mut a, previous: &mut b, factor: &mut c, inverse: &mut e, gain: &mut f };
                $body
            }};
        }
        match $dimension {
            1 => sized!(1),
            2 => sized!(2),
            3 => sized!(3),
            4 => sized!(4),
            5 => sized!(5),
            6 => sized!(6),
            7 => sized!(7),
            8 => sized!(8),
            $d => {
                let [mut a, mut b, mut c, mut e, mut f] = std::array::from_fn(|_| vec![0.0; $d * $d]);
                let $work = Work { pivot: &mut a, previous: &mut b, factor: &mut c, inverse: &mut e, gain: &mut f };
                $body
            }
        }
    }};
}

/// See [`eliminate_body`].
pub(super) fn eliminate(
    dimension: usize,
    end: End<'_>,
    rows: &mut EndRows<'_>,
    message: &mut Message,
) -> Result<(), usize> {
    for_dimension!(dimension, |d, work| eliminate_body(d, end, rows, message, work))
}

/// See [`substitute_body`].
pub(super) fn substitute(
    dimension: usize,
    forward: bool,
    root_mean: &[f64],
    root_covariance: &[f64],
    rows: &mut EndRows<'_>,
    sums: &mut PairSums,
) {
    for_dimension!(dimension, |d, work| substitute_body(d, forward, root_mean, root_covariance, rows, sums, work))
}
