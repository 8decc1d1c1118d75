//! Standard normal draws whose sample moments are matched, from one seed.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// `[draws, dimension]` independent standard normals.
pub(crate) fn independent(seed: u64, draws: usize, dimension: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..draws * dimension).map(|_| StandardNormal.sample(&mut rng)).collect()
}

/// Whether every other draw is the opposite of the one before it.
pub(crate) fn is_paired(noise: &[f64], draws: usize, dimension: usize) -> bool {
    let opposite = |pair: &[f64]| {
        let (a, b) = pair.split_at(dimension);
        a.iter().zip(b).all(|(a, b)| *a == -*b)
    };
    draws.is_multiple_of(2) && dimension > 0 && noise[..draws * dimension].chunks_exact(2 * dimension).all(opposite)
}

/// `[draws, dimension]` standard normals in antithetic pairs, so that odd sample moments vanish, with sample covariance
/// exactly the identity where there are enough draws, with unit sample variances otherwise. `draws` must be even.
pub(crate) fn matched(seed: u64, draws: usize, dimension: usize) -> Vec<f64> {
    let half = draws / 2;
    let mut first = independent(seed, half, dimension);
    if half >= 2 * dimension && dimension > 0 {
        whiten(&mut first, half, dimension);
    } else {
        for j in 0..dimension {
            let square: f64 = (0..half).map(|s| first[s * dimension + j].powi(2)).sum::<f64>() / half as f64;
            let scale = 1.0 / square.sqrt().max(1e-300);
            (0..half).for_each(|s| first[s * dimension + j] *= scale);
        }
    }
    let mut all = Vec::with_capacity(2 * first.len());
    for row in first.chunks(dimension.max(1)) {
        all.extend_from_slice(row);
        all.extend(row.iter().map(|x| -x));
    }
    all
}

/// Multiplies by the inverse Cholesky factor of the second moments. On one thread: sums on several would be in another order.
fn whiten(z: &mut [f64], draws: usize, n: usize) {
    let mut factor = Mat::<f64>::zeros(n, n);
    let columns = MatRef::from_column_major_slice(&*z, n, draws);
    triangular::matmul(
        factor.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        columns,
        BlockStructure::Rectangular,
        columns.transpose(),
        BlockStructure::Rectangular,
        1.0 / draws as f64,
        Par::Seq,
    );
    let memory = &mut MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default()));
    let stack = MemStack::new(memory);
    if cholesky_in_place(factor.as_mut(), Default::default(), Par::Seq, stack, Default::default()).is_ok() {
        // Draws z become L⁻¹ z.
        let draws = MatMut::from_column_major_slice_mut(z, n, draws);
        solve_lower_triangular_in_place(factor.as_ref(), draws, Par::Seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_moments_are_exact() {
        let (draws, n) = (64, 5);
        let z = matched(3, draws, n);
        for i in 0..n {
            let mean: f64 = (0..draws).map(|s| z[s * n + i]).sum();
            assert!(mean.abs() < 1e-12);
            for j in 0..n {
                let moment: f64 = (0..draws).map(|s| z[s * n + i] * z[s * n + j]).sum::<f64>() / draws as f64;
                assert!((moment - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j} {moment}");
            }
        }
    }
}
