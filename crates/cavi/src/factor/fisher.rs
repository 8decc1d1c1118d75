//! How the expected statistics of one element answer to a small change of its natural parameters: the covariance of the statistics.

use vi_families::matrix;
use vi_families::special::trigamma;

use super::Family;
use super::update::{NaturalError, update};

/// Relative size of the differences where there is no formula, and how often they are shortened.
const DIFFERENCE: f64 = 1e-5;
const SHORTENINGS: usize = 6;

/// What [`covariance_times`] is computed from beside the parameters: the covariance of a Gaussian, `[d, d]`, and nothing for others.
///
/// # Errors
///
/// Where the precision of a Gaussian is not positive definite.
pub(crate) fn spread(family: Family, natural: &[&[f64]]) -> Result<Vec<f64>, NaturalError> {
    if !matches!(family, Family::Normal | Family::NormalVector(_)) {
        return Ok(Vec::new());
    }
    let d = natural[0].len();
    let precision: Vec<f64> = (0..d * d).map(|e| -(natural[1][e] + natural[1][e % d * d + e / d])).collect();
    match matrix::inverse_and_log_determinant(&precision, d) {
        Ok((covariance, _)) => Ok(covariance),
        Err(_) => Err(NaturalError::new("a precision matrix that is not positive definite")),
    }
}

/// dE[T] = Cov(T) dη, for all statistics one after another; of a point the answer of the mode.
///
/// # Errors
///
/// Where no neighbourhood of the natural parameters has a distribution.
pub(crate) fn covariance_times(
    family: Family,
    point: bool,
    spread: &[f64],
    natural: &[&[f64]],
    statistics: &[&[f64]],
    direction: &[&[f64]],
    out: &mut [&mut [f64]],
) -> Result<(), NaturalError> {
    match family {
        Family::Normal | Family::NormalVector(_) => {
            gaussian(point, spread, statistics[0], direction, out);
            Ok(())
        }
        Family::Gamma if !point => {
            // E[x] = a/b, E[log x] = ψ(a) − log b with a − 1 and −b the natural parameters.
            let (a, b) = (natural[1][0] + 1.0, -natural[0][0]);
            let (db, da) = (-direction[0][0], direction[1][0]);
            out[0][0] = (da - a / b * db) / b;
            out[1][0] = trigamma(a) * da - db / b;
            Ok(())
        }
        Family::Dirichlet(_) if !point => {
            let total: f64 = natural[0].iter().map(|n| n + 1.0).sum();
            let common = trigamma(total) * direction[0].iter().sum::<f64>();
            for ((o, n), d) in out[0].iter_mut().zip(natural[0]).zip(direction[0]) {
                *o = if *d == 0.0 { -common } else { trigamma(n + 1.0) * d - common };
            }
            Ok(())
        }
        Family::Categorical(_) if !point => {
            let p = statistics[0];
            let mean = matrix::dot(p, direction[0]);
            out[0].iter_mut().zip(p).zip(direction[0]).for_each(|((o, p), d)| *o = p * (d - mean));
            Ok(())
        }
        _ => differences(family, point, natural, direction, out),
    }
}

/// With η = (h, B), J = −(B + Bᵀ), Σ = J⁻¹ and μ = Σh: dΣ = Σ (dB + dBᵀ) Σ, dμ = Σ (dh + (dB + dBᵀ) μ).
fn gaussian(point: bool, covariance: &[f64], mean: &[f64], direction: &[&[f64]], out: &mut [&mut [f64]]) {
    let d = mean.len();
    if d == 1 {
        let change = 2.0 * direction[1][0];
        let moved = covariance[0] * (direction[0][0] + change * mean[0]);
        let spread = if point { 0.0 } else { covariance[0] * change * covariance[0] };
        out[0][0] = moved;
        out[1][0] = spread + 2.0 * mean[0] * moved;
        return;
    }
    let change: Vec<f64> = (0..d * d).map(|e| direction[1][e] + direction[1][e % d * d + e / d]).collect();
    let mut moved = direction[0].to_vec();
    for (m, row) in moved.iter_mut().zip(change.chunks_exact(d)) {
        *m += matrix::dot(row, mean);
    }
    matrix::multiply_vector(covariance, d, &moved, out[0]);
    // Σ (dB + dBᵀ) Σ, row by row: all three are symmetric.
    let mut half = vec![0.0; d * d];
    for (row, out) in covariance.chunks_exact(d).zip(half.chunks_exact_mut(d)) {
        matrix::multiply_vector(&change, d, row, out);
    }
    let (first, second) = out.split_at_mut(1);
    for i in 0..d {
        for j in 0..d {
            let spread =
                if point { 0.0 } else { matrix::dot(&half[i * d..(i + 1) * d], &covariance[j * d..(j + 1) * d]) };
            second[0][i * d + j] = spread + first[0][i] * mean[j] + mean[i] * first[0][j];
        }
    }
}

/// Central differences of the update, with a step relative to the natural parameters.
fn differences(
    family: Family,
    point: bool,
    natural: &[&[f64]],
    direction: &[&[f64]],
    out: &mut [&mut [f64]],
) -> Result<(), NaturalError> {
    let size = |arrays: &[&[f64]]| arrays.iter().map(|a| matrix::dot(a, a)).sum::<f64>().sqrt();
    let length = size(direction);
    if length == 0.0 {
        out.iter_mut().for_each(|o| o.fill(0.0));
        return Ok(());
    }
    let mut step = DIFFERENCE * size(natural).max(f64::MIN_POSITIVE) / length;
    // Parameters of very different sizes: none moves by more than its own.
    for (n, d) in natural.iter().zip(direction) {
        let (own, moved) = (size(&[n]), size(&[d]));
        if own > 0.0 && moved > 0.0 {
            step = step.min(DIFFERENCE * own / moved);
        }
    }
    let mut last = NaturalError::new("natural parameters at the end of their range");
    for _ in 0..SHORTENINGS {
        let reached = |sign: f64| -> Result<Vec<Vec<f64>>, NaturalError> {
            let moved: Vec<Vec<f64>> = natural
                .iter()
                .zip(direction)
                .map(|(n, d)| n.iter().zip(*d).map(|(n, d)| n + sign * step * d).collect())
                .collect();
            let mut found: Vec<Vec<f64>> = out.iter().map(|o| vec![0.0; o.len()]).collect();
            let views: Vec<&[f64]> = moved.iter().map(Vec::as_slice).collect();
            let mut targets: Vec<&mut [f64]> = found.iter_mut().map(Vec::as_mut_slice).collect();
            update(family, point, &views, &mut targets)?;
            Ok(found)
        };
        match reached(1.0).and_then(|above| Ok((above, reached(-1.0)?))) {
            Ok((above, below)) => {
                for ((o, a), b) in out.iter_mut().zip(above).zip(below) {
                    o.iter_mut().zip(a).zip(b).for_each(|((o, a), b)| *o = (a - b) / (2.0 * step));
                }
                return Ok(());
            }
            Err(error) => last = error,
        }
        step *= 0.1;
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formulas against the differences.
    #[test]
    fn formulas_are_the_derivatives_of_the_updates() {
        type Case = (Family, bool, Vec<Vec<f64>>, Vec<Vec<f64>>);
        let cases: [Case; 6] = [
            (Family::Normal, false, vec![vec![0.7], vec![-1.3]], vec![vec![0.4], vec![-0.2]]),
            (
                Family::NormalVector(2),
                false,
                vec![vec![0.7, -0.3], vec![-1.3, 0.2, 0.1, -0.9]],
                vec![vec![0.4, 1.0], vec![-0.2, 0.5, 0.1, 0.3]],
            ),
            (
                Family::NormalVector(2),
                true,
                vec![vec![0.7, -0.3], vec![-1.3, 0.2, 0.1, -0.9]],
                vec![vec![0.4, 1.0], vec![-0.2, 0.5, 0.1, 0.3]],
            ),
            (Family::Gamma, false, vec![vec![-2.0], vec![1.4]], vec![vec![0.3], vec![0.8]]),
            (Family::Dirichlet(3), false, vec![vec![0.5, 2.0, 7.0]], vec![vec![0.3, -1.0, 0.0]]),
            (Family::Categorical(3), false, vec![vec![0.5, -0.2, 1.0]], vec![vec![0.3, -1.0, 0.4]]),
        ];
        for (family, point, natural, direction) in cases {
            let views: Vec<&[f64]> = natural.iter().map(Vec::as_slice).collect();
            let along: Vec<&[f64]> = direction.iter().map(Vec::as_slice).collect();
            let mut arrays: [Vec<Vec<f64>>; 3] =
                std::array::from_fn(|_| natural.iter().map(|n| vec![0.0; n.len()]).collect());
            let [statistics, formula, difference] = &mut arrays;
            let mut targets: Vec<&mut [f64]> = statistics.iter_mut().map(Vec::as_mut_slice).collect();
            update(family, point, &views, &mut targets).unwrap();
            let at: Vec<&[f64]> = statistics.iter().map(Vec::as_slice).collect();
            let mut targets: Vec<&mut [f64]> = formula.iter_mut().map(Vec::as_mut_slice).collect();
            let spread = spread(family, &views).unwrap();
            covariance_times(family, point, &spread, &views, &at, &along, &mut targets).unwrap();
            let mut targets: Vec<&mut [f64]> = difference.iter_mut().map(Vec::as_mut_slice).collect();
            differences(family, point, &views, &along, &mut targets).unwrap();
            for (a, b) in formula.iter().flatten().zip(difference.iter().flatten()) {
                assert!((a - b).abs() < 1e-8 * (1.0 + a.abs()), "{family:?}: {a} by the formula, {b} by differences");
            }
        }
    }
}
