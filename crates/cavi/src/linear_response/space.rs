//! One space for all coordinates: directions found for some of them serve the others.
//!
//! The equation (I − HV) w = e is solved as w = e + d with (I − HV) d = HVe, and all d lie in the range of H, whose dimension is
//! that of what the factors tell each other and often far below the number of parameters. The space grows by the residuals of a
//! block of coordinates (a block Krylov space, O'Leary 1980) until all of them are small, and is kept for the next block, which
//! needs few products beyond its own HVe. Its directions w_j are conjugate: ⟨w_i, (I − HV) w_j⟩_V is 1 for i = j and else 0.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use vi_families::matrix::dot;
use vi_families::product::{product, right_transposed_product};

use super::operator::Response;
use super::{Found, Halt};

/// Coordinates that are solved for together.
pub(super) const BLOCK: usize = 64;
/// The residual relative to the right-hand side at which a system counts as solved.
pub(super) const SOLVED: f64 = 1e-7;
/// The share of a right-hand side along a flat direction that is no more than rounding.
pub(super) const ROUNDING: f64 = 1e-4;
/// Values of I − HV (1 where factors do not depend on each other) at or below which the ELBO counts as flat along a direction.
const FLAT: f64 = 1e-6;
/// Squared lengths, relative to the longest, below which a residual is made of the others of its block, and a direction of those
/// of the space.
const DEPENDENT: f64 = 1e-8;
const WITHIN: f64 = 1e-2;
/// Times that rows are separated from the space at most.
const MOST_PASSES: usize = 8;
/// Numbers that the space may hold.
const MOST_NUMBERS: usize = 1 << 26;
/// Rows of a product that one thread takes.
const ROWS: usize = 32;

/// Conjugate directions, one row each.
pub(super) struct Space {
    width: usize,
    /// w, Vw and (I − HV) w.
    directions: Vec<f64>,
    turned: Vec<f64>,
    images: Vec<f64>,
    /// Those along which the ELBO has no maximum, of length 1.
    flat: Vec<Flat>,
}

/// A direction with its Vw and (I − HV) w.
struct Flat {
    direction: Vec<f64>,
    turned: Vec<f64>,
    image: Vec<f64>,
}

impl Space {
    pub(super) fn new(width: usize) -> Self {
        Self { width, directions: Vec::new(), turned: Vec::new(), images: Vec::new(), flat: Vec::new() }
    }

    fn len(&self) -> usize {
        self.directions.len() / self.width.max(1)
    }

    /// The largest share of a right-hand side along a flat direction.
    pub(super) fn flat_share(&self, right: &[f64]) -> f64 {
        self.flat.iter().map(|flat| dot(&flat.turned, right).abs()).fold(0.0, f64::max)
    }

    /// Removes what is along flat directions.
    pub(super) fn without_flat(&self, residual: &mut [f64]) {
        for Flat { direction, turned, .. } in &self.flat {
            let share = dot(turned, residual);
            residual.iter_mut().zip(direction).for_each(|(r, d)| *r -= share * d);
        }
    }

    /// The solution within the space; what it leaves over stays in `residual`.
    pub(super) fn answer(&self, residual: &mut [f64]) -> Vec<f64> {
        let mut answer = vec![0.0; self.width];
        if self.len() > 0 {
            let shares = against(residual, &self.turned, self.width);
            add_product(&shares, &self.directions, self.width, 1.0, &mut answer);
            add_product(&shares, &self.images, self.width, -1.0, residual);
        }
        answer
    }

    /// Makes p, with q = Vp, conjugate to the space; p is conjugate but for the newest part of it, whose V-image is `newest`.
    pub(super) fn conjugate(&self, p: &mut [f64], q: &mut [f64], newest: &[f64]) {
        if self.len() > 0 {
            let shares = against(newest, &self.images, self.width);
            add_product(&shares, &self.directions, self.width, -1.0, p);
            add_product(&shares, &self.turned, self.width, -1.0, q);
        }
    }

    /// Makes rows p, with their q = Vp, conjugate to the space and to what is flat.
    fn separate(&self, p: &mut [f64], q: &mut [f64]) {
        let n = self.width;
        if self.len() > 0 {
            let shares = against(q, &self.images, n);
            add_product(&shares, &self.directions, n, -1.0, p);
            add_product(&shares, &self.turned, n, -1.0, q);
        }
        for (p, q) in p.chunks_mut(n).zip(q.chunks_mut(n)) {
            for Flat { direction, turned, .. } in &self.flat {
                let share = dot(turned, p);
                p.iter_mut().zip(direction).for_each(|(p, d)| *p -= share * d);
                q.iter_mut().zip(turned).for_each(|(q, t)| *q -= share * t);
            }
        }
    }

    /// Takes from what is flat what has turned out to be steep.
    fn purify(&mut self) {
        let n = self.width;
        if self.len() == 0 {
            return;
        }
        for Flat { direction, turned, image } in &mut self.flat {
            let shares = against(turned, &self.images, n);
            add_product(&shares, &self.directions, n, -1.0, direction);
            add_product(&shares, &self.turned, n, -1.0, turned);
            add_product(&shares, &self.images, n, -1.0, image);
            let scale = dot(direction, turned).sqrt().recip();
            direction.iter_mut().chain(turned).chain(image).for_each(|x| *x *= scale);
        }
    }

    fn has_room_for(&self, rows: usize) -> bool {
        self.len() < self.width && (self.len() + rows) * self.width * 3 <= MOST_NUMBERS.max(3 * BLOCK * self.width)
    }
}

/// The coordinates of a block, each right-hand side of length 1.
struct Block<'a> {
    at: &'a [usize],
    /// V_ii of each.
    marginal: Vec<f64>,
    /// Vd at the coordinate.
    answers: Vec<f64>,
    /// What is left over of HVe.
    residuals: Vec<f64>,
    /// Ve.
    turned: Vec<f64>,
}

impl Response {
    /// Linear-response variances of a block of coordinates; the space grows by what they need.
    pub(super) fn variances(&self, at: &[usize], space: &mut Space) -> Result<Vec<Found>, Halt> {
        let n = self.width();
        let mut block = self.block(at)?;
        let mut last = f64::INFINITY;
        let unsolved = loop {
            block.solve_within(space);
            let turned = self.covariance_times_rows(&block.residuals)?;
            let lengths: Vec<f64> = block.residuals.chunks(n).zip(turned.chunks(n)).map(|(r, t)| dot(r, t)).collect();
            let broken = lengths.iter().any(|length| !length.is_finite());
            let left: Vec<usize> = (0..at.len()).filter(|&i| broken || lengths[i] > SOLVED * SOLVED).collect();
            if left.is_empty() || broken || !space.has_room_for(left.len()) {
                break left;
            }
            let mut grown = Vec::with_capacity(2 * left.len() * n);
            for rows in [&block.residuals, &turned] {
                for &i in &left {
                    let scale = lengths[i].sqrt().recip();
                    grown.extend(rows[i * n..(i + 1) * n].iter().map(|x| x * scale));
                }
            }
            let turned = grown.split_off(left.len() * n);
            // Where the space has all directions already, another round takes away what rounding has left.
            let worst = lengths.iter().copied().fold(0.0, f64::max);
            if !self.grow(space, grown, turned)? && worst > 0.25 * last {
                break left;
            }
            last = worst;
        };
        let mut work = (!unsolved.is_empty()).then(|| self.engine.clone());
        (0..at.len())
            .map(|i| {
                let scale = block.marginal[i].sqrt().recip();
                let flat = space.flat.iter().any(|flat| (flat.turned[at[i]] * scale).abs() > ROUNDING);
                match &mut work {
                    _ if flat => Ok(Found::NoMaximum),
                    Some(work) if unsolved.contains(&i) => self.variance(at[i], space, work),
                    _ => Ok(Found::Variance(block.variance(i, n))),
                }
            })
            .collect()
    }

    fn block<'a>(&self, at: &'a [usize]) -> Result<Block<'a>, Halt> {
        let n = self.width();
        let mut units: Vec<f64> = at.iter().flat_map(|&at| self.unit(at)).collect();
        let mut turned = self.covariance_times_rows(&units)?;
        let marginal: Vec<f64> =
            at.iter().zip(turned.chunks(n)).map(|(&at, row)| row[at].max(f64::MIN_POSITIVE)).collect();
        for ((unit, row), v) in units.chunks_mut(n).zip(turned.chunks_mut(n)).zip(&marginal) {
            unit.iter_mut().chain(row).for_each(|x| *x /= v.sqrt());
        }
        let residuals = self.curvature_times_rows(&units, &turned)?;
        Ok(Block { at, marginal, answers: vec![0.0; at.len()], residuals, turned })
    }

    /// Adds the directions of some rows p, given with their Vp; whether there were any that the space did not have.
    fn grow(&self, space: &mut Space, mut p: Vec<f64>, mut q: Vec<f64>) -> Result<bool, Halt> {
        let n = self.width();
        // Until nothing of the space is left in the rows (Daniel, Gragg, Kaufman & Stewart 1976): where a row lies within the space
        // but for rounding, it becomes shorter each time.
        for pass in 0.. {
            space.separate(&mut p, &mut q);
            // Of length 1 and at right angles.
            let (lengths, axes) = eigen(&against(&q, &p, n));
            let longest = lengths.iter().copied().fold(0.0, f64::max);
            let least = if pass == 0 { DEPENDENT * longest } else { WITHIN };
            let kept: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > least).collect();
            if kept.is_empty() || pass == MOST_PASSES {
                return Ok(false);
            }
            let turn = transform(&axes, &kept, |i| lengths[i].sqrt().recip());
            (p, q) = (turn_rows(&turn, &p, n), turn_rows(&turn, &q, n));
            if pass > 0 && lengths.iter().all(|length| *length > 0.5) {
                break;
            }
        }
        let curved = self.curvature_times_rows(&p, &q)?;
        let images: Vec<f64> = p.iter().zip(&curved).map(|(p, c)| p - c).collect();
        // And conjugate.
        let (values, axes) = eigen(&against(&q, &images, n));
        if values.iter().any(|value| value.is_nan()) {
            return Ok(false);
        }
        let (flat, steep): (Vec<usize>, Vec<usize>) = (0..values.len()).partition(|&i| values[i] <= FLAT);
        let turn = transform(&axes, &flat, |_| 1.0);
        let [directions, turned, level] = [&p, &q, &images].map(|rows| turn_rows(&turn, rows, n));
        let rows = directions.chunks(n).zip(turned.chunks(n)).zip(level.chunks(n));
        space.flat.extend(rows.map(|((direction, turned), image)| Flat {
            direction: direction.to_vec(),
            turned: turned.to_vec(),
            image: image.to_vec(),
        }));
        let turn = transform(&axes, &steep, |i| values[i].sqrt().recip());
        space.directions.extend(turn_rows(&turn, &p, n));
        space.turned.extend(turn_rows(&turn, &q, n));
        space.images.extend(turn_rows(&turn, &images, n));
        space.purify();
        Ok(true)
    }
}

impl Block<'_> {
    /// Takes the solutions within the space.
    fn solve_within(&mut self, space: &Space) {
        let n = space.width;
        if space.len() > 0 {
            let shares = against(&self.residuals, &space.turned, n);
            add_product(&shares, &space.images, n, -1.0, &mut self.residuals);
            for ((answer, at), shares) in self.answers.iter_mut().zip(self.at).zip(shares.chunks(space.len())) {
                *answer += shares.iter().zip(space.turned.chunks(n)).map(|(s, row)| s * row[*at]).sum::<f64>();
            }
        }
        self.residuals.chunks_mut(n).for_each(|residual| space.without_flat(residual));
    }

    /// eᵀV (e + d + r): with the residual r the error is of second order in it.
    fn variance(&self, i: usize, n: usize) -> f64 {
        let (residual, turned) = (&self.residuals[i * n..(i + 1) * n], &self.turned[i * n..(i + 1) * n]);
        self.marginal[i] + self.marginal[i].sqrt() * self.answers[i] + self.marginal[i] * dot(turned, residual)
    }
}

/// a · bᵀ of rows of `n` numbers.
fn against(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let (rows, columns) = (a.len() / n, b.len() / n);
    let mut out = vec![0.0; rows * columns];
    out.par_chunks_mut(ROWS * columns.max(1))
        .zip(a.par_chunks(ROWS * n))
        .for_each(|(out, a)| right_transposed_product(a, b, a.len() / n, n, columns, out));
    out
}

/// out += scale · shares · rows, of rows of `n` numbers.
fn add_product(shares: &[f64], rows: &[f64], n: usize, scale: f64, out: &mut [f64]) {
    let inner = rows.len() / n;
    out.par_chunks_mut(ROWS * n)
        .zip(shares.par_chunks(ROWS * inner.max(1)))
        .for_each(|(out, shares)| product(shares, rows, out.len() / n, inner, n, scale, out));
}

/// turn · rows.
fn turn_rows(turn: &[f64], rows: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; turn.len() / (rows.len() / n).max(1) * n];
    add_product(turn, rows, n, 1.0, &mut out);
    out
}

/// Eigenvalues and eigenvectors (columns) of a matrix that is symmetric but for rounding.
fn eigen(matrix: &[f64]) -> (Vec<f64>, DMatrix<f64>) {
    let size = matrix.len().isqrt();
    let matrix = DMatrix::from_row_slice(size, size, matrix);
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new((&matrix + matrix.transpose()) * 0.5);
    (eigenvalues.as_slice().to_vec(), eigenvectors)
}

/// Some eigenvectors, scaled, as rows.
fn transform(axes: &DMatrix<f64>, kept: &[usize], scale: impl Fn(usize) -> f64) -> Vec<f64> {
    kept.iter().flat_map(|&i| axes.column(i).iter().map(|x| x * scale(i)).collect::<Vec<f64>>()).collect()
}
