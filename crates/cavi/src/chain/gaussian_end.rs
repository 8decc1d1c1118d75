//! One end of a sequence whose rows all have the same precision: pivots until they repeat, and the recursions of the means.

use vi_families::matrix;
use vi_families::product::product;

use super::sum::CompensatedSum;

/// Rows whose solutions are one product.
const BLOCK: usize = 256;
/// Change, in units of the rounding of its scale, below which a matrix counts as repeated.
const REPEATED: f64 = 8.0 * f64::EPSILON;

/// What eliminating the rows of one end leaves, by step from the outermost row; the last entry holds for all later steps.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// P⁻¹, `[steps, D, D]`.
    pub(super) inverses: Vec<f64>,
    /// G = P⁻¹Cᵀ, `[steps, D, D]`.
    pub(super) gains: Vec<f64>,
    /// Gᵀ.
    transposed: Vec<f64>,
    /// C P⁻¹ Cᵀ, `[steps, D, D]`.
    pub(super) messages: Vec<f64>,
    /// log |P|
    pub(super) log_determinants: Vec<f64>,
    previous: Vec<f64>,
    steady: bool,
}

impl End {
    pub(super) fn clear(&mut self) {
        for buffer in [&mut self.inverses, &mut self.gains, &mut self.transposed, &mut self.messages] {
            buffer.clear();
        }
        self.log_determinants.clear();
        self.previous.clear();
        self.steady = false;
    }

    /// The entry of a step.
    pub(super) fn entry(&self, step: usize) -> usize {
        step.min(self.log_determinants.len().saturating_sub(1))
    }

    /// Eliminates until `steps` rows are known or the pivots repeat; the error is the step without a positive pivot.
    pub(super) fn extend(
        &mut self,
        d: usize,
        steps: usize,
        outermost: &[f64],
        interior: &[f64],
        coupling: &[f64],
    ) -> Result<(), usize> {
        let square = d * d;
        let mut lower = vec![0.0; square];
        while !self.steady && self.log_determinants.len() < steps {
            let step = self.log_determinants.len();
            let mut pivot = if step == 0 { outermost.to_vec() } else { interior.to_vec() };
            if step > 0 {
                let message = &self.messages[(step - 1) * square..step * square];
                pivot.iter_mut().zip(message).for_each(|(p, m)| *p -= m);
            }
            if step > 1 && repeats(d, &pivot, &self.previous) {
                self.steady = true;
                break;
            }
            lower.copy_from_slice(&pivot);
            matrix::cholesky_in_place(&mut lower, d).map_err(|_| step)?;
            let mut inverse = vec![0.0; square];
            matrix::cholesky_inverse_into(&lower, d, &mut inverse);
            // G = P⁻¹ Cᵀ and C G.
            let gain = times_transposed(d, &inverse, coupling);
            let mut message = vec![0.0; square];
            for i in 0..d {
                for j in 0..=i {
                    let value: f64 = (0..d).map(|k| coupling[i * d + k] * gain[k * d + j]).sum();
                    message[i * d + j] = value;
                    message[j * d + i] = value;
                }
            }
            self.transposed.extend((0..square).map(|cell| gain[cell % d * d + cell / d]));
            self.inverses.extend(inverse);
            self.gains.extend(gain);
            self.messages.extend(message);
            self.log_determinants.push(matrix::cholesky_log_determinant(&lower, d));
            self.previous = pivot;
        }
        Ok(())
    }

    /// Σ log |P| over the first steps.
    pub(super) fn log_determinant(&self, steps: usize) -> f64 {
        let known = steps.min(self.log_determinants.len());
        let mut sum = CompensatedSum::default();
        self.log_determinants[..known].iter().for_each(|log| sum.add(*log));
        if let Some(last) = self.log_determinants.last() {
            sum.add((steps - known) as f64 * last);
        }
        sum.value()
    }
}

/// Whether no element of a symmetric matrix has changed beyond rounding on the scale of its diagonal.
pub(super) fn repeats(d: usize, now: &[f64], before: &[f64]) -> bool {
    (0..d * d).all(|cell| {
        let scale = (now[cell / d * (d + 1)] * now[cell % d * (d + 1)]).abs().sqrt();
        (now[cell] - before[cell]).abs() <= REPEATED * scale
    })
}

/// A Bᵀ.
pub(super) fn times_transposed(d: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    (0..d * d).map(|cell| matrix::dot(&a[cell / d * d..][..d], &b[cell % d * d..][..d])).collect()
}

/// Linear terms of one end to P⁻¹p, p_t = u_t + G_{t−1}ᵀp_{t−1}; returns Σ pᵀP⁻¹p.
pub(super) fn eliminate(d: usize, end: &End, rows: &mut [f64], forward: bool) -> f64 {
    let (square, steps) = (d * d, rows.len() / d);
    if steps == 0 {
        return 0.0;
    }
    // The last entry's gain carries into every step after its own.
    let own = end.log_determinants.len().min(steps);
    let mut carried = row_of(rows, d, forward, 0).to_vec();
    for step in 1..own {
        recur(d, &end.gains[(step - 1) * square..][..square], row_of(rows, d, forward, step), forward, &mut carried);
    }
    recur(d, &end.gains[(own - 1) * square..][..square], rest_of(rows, d, forward, own), forward, &mut carried);
    let mut quadratic = CompensatedSum::default();
    let mut solution = vec![0.0; BLOCK.min(steps) * d];
    let mut solve = |inverse: &[f64], rows: &mut [f64]| {
        for block in rows.chunks_mut(BLOCK * d) {
            let solution = &mut solution[..block.len()];
            solution.fill(0.0);
            product(block, inverse, block.len() / d, d, d, 1.0, solution);
            quadratic.add(matrix::dot(block, solution));
            block.copy_from_slice(solution);
        }
    };
    for step in 0..own {
        solve(&end.inverses[step * square..][..square], row_of(rows, d, forward, step));
    }
    solve(&end.inverses[(own - 1) * square..][..square], rest_of(rows, d, forward, own));
    quadratic.value()
}

/// P⁻¹p to means, μ_t = P_t⁻¹p_t + G_t μ_next, from the root outwards.
pub(super) fn spread(d: usize, end: &End, rows: &mut [f64], forward: bool, root: &[f64]) {
    let (square, steps) = (d * d, rows.len() / d);
    if steps == 0 {
        return;
    }
    let own = end.log_determinants.len().min(steps);
    let mut carried = root.to_vec();
    recur(d, &end.transposed[(own - 1) * square..][..square], rest_of(rows, d, forward, own), !forward, &mut carried);
    for step in (0..own).rev() {
        recur(d, &end.transposed[step * square..][..square], row_of(rows, d, forward, step), forward, &mut carried);
    }
}

/// The row of a step of an end.
fn row_of(rows: &mut [f64], d: usize, forward: bool, step: usize) -> &mut [f64] {
    let at = if forward { step * d } else { rows.len() - (step + 1) * d };
    &mut rows[at..at + d]
}

/// The rows of all steps from one on.
fn rest_of(rows: &mut [f64], d: usize, forward: bool, step: usize) -> &mut [f64] {
    let end = rows.len();
    if forward { &mut rows[step * d..] } else { &mut rows[..end - step * d] }
}

/// Each row, in order or from the last to the first: row ← row + Σ_k M\[k\] x_k with x the row before it.
fn recur(d: usize, matrix: &[f64], rows: &mut [f64], forward: bool, x: &mut [f64]) {
    macro_rules! sized {
        ($($size:literal)*) => {
            match d {
                $($size => recur_sized::<$size>(matrix, rows, forward, x),)*
                _ => {
                    let mut step = |row: &mut [f64]| {
                        for (x, column) in x.iter().zip(matrix.chunks_exact(d)) {
                            row.iter_mut().zip(column).for_each(|(r, m)| *r += m * x);
                        }
                        x.copy_from_slice(row);
                    };
                    if forward {
                        rows.chunks_exact_mut(d).for_each(&mut step);
                    } else {
                        rows.rchunks_exact_mut(d).for_each(&mut step);
                    }
                }
            }
        };
    }
    sized!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

/// See [`recur`].
fn recur_sized<const D: usize>(matrix: &[f64], rows: &mut [f64], forward: bool, carried: &mut [f64]) {
    let mut columns = [[0.0; D]; D];
    for (column, values) in columns.iter_mut().zip(matrix.chunks_exact(D)) {
        column.copy_from_slice(values);
    }
    let mut x = [0.0; D];
    x.copy_from_slice(carried);
    let mut step = |row: &mut [f64]| {
        // Two sums, so that half as many additions wait for each other.
        let (mut even, mut odd) = ([0.0; D], [0.0; D]);
        even.copy_from_slice(row);
        for k in 0..D {
            let sum = if k % 2 == 0 { &mut even } else { &mut odd };
            for j in 0..D {
                sum[j] += columns[k][j] * x[k];
            }
        }
        for j in 0..D {
            x[j] = even[j] + odd[j];
        }
        row.copy_from_slice(&x);
    };
    if forward {
        rows.chunks_exact_mut(D).for_each(&mut step);
    } else {
        rows.rchunks_exact_mut(D).for_each(&mut step);
    }
    carried.copy_from_slice(&x);
}
