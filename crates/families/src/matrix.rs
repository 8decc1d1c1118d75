//! Small dense symmetric matrices on row-major slices, without allocation: Cholesky factor, log-determinant, solutions, inverse.

use thiserror::Error;

/// A Cholesky factorisation met a pivot that is not positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the matrix is not positive definite: the pivot of row {row} (counted from 0) is not positive")]
pub struct NotPositiveDefinite {
    /// The row, counted from 0, whose pivot is not positive.
    pub row: usize,
}

/// aᵀb, summed in eight interleaved parts (a fixed order, whatever the machine).
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut parts = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a_chunk, b_chunk) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            parts[lane] += a_chunk[lane] * b_chunk[lane];
        }
    }
    let mut rest = 0.0;
    for (x, y) in a_rest.iter().zip(b_rest) {
        rest += x * y;
    }
    ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7])) + rest
}

/// Replaces a symmetric matrix A `[dimension, dimension]` (its lower triangle is read) by L with A = L Lᵀ, zeros above the
/// diagonal.
///
/// # Errors
/// Where a pivot is not positive and finite; the matrix is then partly overwritten.
pub fn cholesky_in_place(matrix: &mut [f64], dimension: usize) -> Result<(), NotPositiveDefinite> {
    for row in 0..dimension {
        let (above, current) = matrix.split_at_mut(row * dimension);
        for column in 0..row {
            let earlier = &above[column * dimension..column * dimension + dimension];
            let sum = dot(&earlier[..column], &current[..column]);
            current[column] = (current[column] - sum) / earlier[column];
        }
        let pivot = current[row] - dot(&current[..row], &current[..row]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(NotPositiveDefinite { row });
        }
        current[row] = pivot.sqrt();
        current[row + 1..dimension].fill(0.0);
    }
    Ok(())
}

/// log |A| = 2 Σ log Lᵢᵢ from the Cholesky factor L `[dimension, dimension]` of A.
pub fn cholesky_log_determinant(lower: &[f64], dimension: usize) -> f64 {
    2.0 * (0..dimension).map(|i| lower[i * dimension + i].ln()).sum::<f64>()
}

/// Replaces b by L⁻¹ b.
pub fn forward_substitute(lower: &[f64], dimension: usize, vector: &mut [f64]) {
    for row in 0..dimension {
        let sum = dot(&lower[row * dimension..row * dimension + row], &vector[..row]);
        vector[row] = (vector[row] - sum) / lower[row * dimension + row];
    }
}

/// Replaces b by L⁻ᵀ b.
pub fn back_substitute(lower: &[f64], dimension: usize, vector: &mut [f64]) {
    for row in (0..dimension).rev() {
        let value = vector[row] / lower[row * dimension + row];
        vector[row] = value;
        for (element, coefficient) in vector[..row].iter_mut().zip(&lower[row * dimension..]) {
            *element -= coefficient * value;
        }
    }
}

/// Replaces b by A⁻¹ b, given the Cholesky factor L of A.
pub fn cholesky_solve(lower: &[f64], dimension: usize, vector: &mut [f64]) {
    forward_substitute(lower, dimension, vector);
    back_substitute(lower, dimension, vector);
}

/// Writes A⁻¹ `[dimension, dimension]` (both triangles), given the Cholesky factor L of A.
pub fn cholesky_inverse_into(lower: &[f64], dimension: usize, inverse: &mut [f64]) {
    let d = dimension;
    // Row j of `inverse` first holds column j of L⁻¹ (zero before j); A⁻¹ = L⁻ᵀ L⁻¹ is then the Gram matrix of these rows.
    for j in 0..d {
        let column = &mut inverse[j * d..(j + 1) * d];
        column[..j].fill(0.0);
        column[j] = 1.0 / lower[j * d + j];
        for i in j + 1..d {
            let sum = dot(&lower[i * d + j..i * d + i], &column[j..i]);
            column[i] = -sum / lower[i * d + i];
        }
    }
    for i in 0..d {
        for j in i..d {
            // Element j of row i is not needed again: later products of row i begin behind it.
            inverse[i * d + j] = dot(&inverse[i * d + j..(i + 1) * d], &inverse[j * d + j..(j + 1) * d]);
        }
    }
    for i in 0..d {
        for j in i + 1..d {
            inverse[j * d + i] = inverse[i * d + j];
        }
    }
}

/// Writes L⁻¹ `[dimension, dimension]`, lower triangular.
pub fn lower_inverse_into(lower: &[f64], dimension: usize, inverse: &mut [f64]) {
    let d = dimension;
    inverse.fill(0.0);
    for i in 0..d {
        let (above, current) = inverse.split_at_mut(i * d);
        let pivot = 1.0 / lower[i * d + i];
        for k in 0..i {
            let coefficient = -lower[i * d + k] * pivot;
            for (element, earlier) in current[..=k].iter_mut().zip(&above[k * d..]) {
                *element += coefficient * earlier;
            }
        }
        current[i] = pivot;
    }
}

/// Writes A v for a matrix `[num_rows, num_columns]`.
pub fn multiply_vector(matrix: &[f64], num_columns: usize, vector: &[f64], product: &mut [f64]) {
    for (row, element) in matrix.chunks_exact(num_columns).zip(product) {
        *element = dot(row, vector);
    }
}

/// vᵀ A v for a matrix `[dimension, dimension]`.
pub fn quadratic_form(matrix: &[f64], vector: &[f64]) -> f64 {
    if vector.is_empty() {
        return 0.0;
    }
    matrix.chunks_exact(vector.len()).zip(vector).map(|(row, element)| element * dot(row, vector)).sum()
}

/// A ← A + scale · v vᵀ.
pub fn add_outer_product(matrix: &mut [f64], scale: f64, vector: &[f64]) {
    if vector.is_empty() {
        return;
    }
    for (row, left) in matrix.chunks_exact_mut(vector.len()).zip(vector) {
        let factor = scale * left;
        for (element, right) in row.iter_mut().zip(vector) {
            *element += factor * right;
        }
    }
}

/// The identity matrix `[dimension, dimension]` times `scale`.
pub fn scaled_identity(dimension: usize, scale: f64) -> Vec<f64> {
    let mut matrix = vec![0.0; dimension * dimension];
    for i in 0..dimension {
        matrix[i * dimension + i] = scale;
    }
    matrix
}

/// The Cholesky factor of A in new memory.
///
/// # Errors
/// Where A is not positive definite.
pub fn cholesky(matrix: &[f64], dimension: usize) -> Result<Vec<f64>, NotPositiveDefinite> {
    let mut lower = matrix.to_vec();
    cholesky_in_place(&mut lower, dimension)?;
    Ok(lower)
}

/// A⁻¹ and log |A| of a symmetric positive definite A, in new memory.
///
/// # Errors
/// Where A is not positive definite.
pub fn inverse_and_log_determinant(matrix: &[f64], dimension: usize) -> Result<(Vec<f64>, f64), NotPositiveDefinite> {
    let lower = cholesky(matrix, dimension)?;
    let mut inverse = vec![0.0; dimension * dimension];
    cholesky_inverse_into(&lower, dimension, &mut inverse);
    Ok((inverse, cholesky_log_determinant(&lower, dimension)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix with condition number of a few hundred.
    fn example(d: usize) -> Vec<f64> {
        let mut matrix = scaled_identity(d, 1.0);
        for shift in 0..d {
            let vector: Vec<f64> = (0..d).map(|i| ((i * 7 + shift * 3) % 11) as f64 / 5.0 - 1.0).collect();
            add_outer_product(&mut matrix, 0.7, &vector);
        }
        matrix
    }

    #[test]
    fn inverse_solution_and_determinant_agree_with_the_matrix() {
        for d in [1, 2, 3, 7, 8, 9, 17, 30] {
            let matrix = example(d);
            let lower = cholesky(&matrix, d).unwrap();
            for i in 0..d {
                for j in 0..d {
                    let product: f64 = (0..d).map(|k| lower[i * d + k] * lower[j * d + k]).sum();
                    assert!((product - matrix[i * d + j]).abs() < 1e-12 * d as f64);
                }
            }
            let (inverse, log_determinant) = inverse_and_log_determinant(&matrix, d).unwrap();
            let mut lower_inverse = vec![1.0; d * d];
            lower_inverse_into(&lower, d, &mut lower_inverse);
            for i in 0..d {
                for j in 0..d {
                    let identity = if i == j { 1.0 } else { 0.0 };
                    let product: f64 = (0..d).map(|k| inverse[i * d + k] * matrix[k * d + j]).sum();
                    assert!((product - identity).abs() < 1e-10, "d {d}: A⁻¹A at {i} {j} is {product}");
                    let product: f64 = (0..d).map(|k| lower_inverse[i * d + k] * lower[k * d + j]).sum();
                    assert!((product - identity).abs() < 1e-11, "d {d}: L⁻¹L at {i} {j} is {product}");
                }
            }
            let right: Vec<f64> = (0..d).map(|i| i as f64 - 1.5).collect();
            let mut solution = right.clone();
            cholesky_solve(&lower, d, &mut solution);
            let mut back = vec![0.0; d];
            multiply_vector(&matrix, d, &solution, &mut back);
            assert!(back.iter().zip(&right).all(|(x, y)| (x - y).abs() < 1e-10));
            assert!((quadratic_form(&matrix, &solution) - dot(&solution, &right)).abs() < 1e-9);
            // Independent determinant: elimination without pivoting.
            let mut work = matrix.clone();
            let mut expected = 0.0;
            for k in 0..d {
                expected += work[k * d + k].ln();
                for i in k + 1..d {
                    let factor = work[i * d + k] / work[k * d + k];
                    for j in k..d {
                        work[i * d + j] -= factor * work[k * d + j];
                    }
                }
            }
            assert!((log_determinant - expected).abs() < 1e-11 * d as f64);
        }
    }

    #[test]
    fn an_indefinite_matrix_is_refused_at_its_row() {
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), Err(NotPositiveDefinite { row: 1 }));
        assert_eq!(cholesky(&[f64::NAN], 1), Err(NotPositiveDefinite { row: 0 }));
    }
}
