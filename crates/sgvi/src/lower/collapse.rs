//! Normal data with a linear mean: their rows are summed once into a triangular factor, and cost nothing afterwards.

use std::sync::Arc;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};
use faer::{Mat, Par};
use vi_families::rows::panels::Panels;

use super::builder::Builder;
use super::linear::{Columns, Piece, places};
use crate::density::Kernel;
use crate::tape::{Coefficients, Shape, Source, SquaredResiduals, UnaryFunction, Value};

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;
/// Rows that are factorised at a time.
const CHUNK: usize = 4096;
/// What a row costs without its columns, in multiplications.
const ROW: usize = 32;

impl Builder {
    /// The log density of all rows as an expression of global values alone, where the mean is linear, the spread data or one number
    /// for all rows, and that is less work:
    ///
    /// Σᵣ wᵣ log N(yᵣ | xᵣ·β, σ²) = −½ W ln 2π − W ln σ − ‖z − Rβ‖² / 2σ², W = Σ wᵣ,
    ///
    /// where \[R z\] is the triangular factor of the rows √wᵣ \[xᵣ yᵣ\], which loses no digits to cancellation. A spread that is data
    /// divides the rows.
    pub(super) fn collapsed(
        &mut self,
        kernel: Kernel,
        arguments: &[Value],
        skip_missing: bool,
        weights: Option<&Arc<Vec<f64>>>,
    ) -> Option<Value> {
        let [x, mean, spread] = arguments else { return None };
        let known = self.numbers(spread);
        if self.in_batches || (known.is_none() && spread.shape != Shape::default()) || !x.shape.rows {
            return None;
        }
        if !matches!(kernel, Kernel::NormalSd | Kernel::NormalVariance | Kernel::NormalPrecision) {
            return None;
        }
        let (targets, pieces) = (self.numbers(x)?, self.linear(mean)?.to_vec());
        let (parts, dense) = columns(&pieces);
        let element = places(&parts);
        let (n, k) = (self.program.num_rows, element.len());
        let missing = skip_missing && targets.iter().any(|y| y.is_nan());
        if k == 0
            || (k + 1) * (k + 1) > n * (dense + ROW)
            || k > 1024
            || (!skip_missing && targets.iter().any(|y| y.is_nan()))
        {
            return None;
        }
        let kept: Vec<usize> = (0..n).filter(|r| !missing || !targets[*r].is_nan()).collect();
        let weight = |r: usize| weights.map_or(1.0, |w| w[r]);
        let total: f64 = kept.iter().map(|r| weight(*r)).sum();
        // The precision of a row, where it is known.
        let precision = |r: usize| {
            known.as_ref().map(|s| s[if s.len() > 1 { r } else { 0 }]).map(|s| match kernel {
                Kernel::NormalSd => 1.0 / (s * s),
                Kernel::NormalVariance => 1.0 / s,
                _ => s,
            })
        };
        let root: Vec<f64> = (0..n).map(|r| (weight(r) * precision(r).unwrap_or(1.0)).sqrt()).collect();
        let factor = triangular(&kept, k + 1, |r, j| root[r] * if j < k { element[j].at(r) } else { targets[r] });
        if !(0..k + 1).all(|i| (0..k + 1).all(|j| factor[(i, j)].is_finite())) {
            return None;
        }
        let panels = Panels::new(k + 1, k, |i, j| factor[(i, j)]);
        let targets: Vec<f64> = (0..k + 1).map(|i| factor[(i, k)]).collect();
        let coefficients: Vec<Coefficients> = parts.iter().map(|p| p.1.clone()).collect();
        let squares = self.squares(panels, coefficients, targets);
        if known.is_some() {
            let log: f64 = kept.iter().map(|&r| weight(r) * precision(r).map_or(0.0, f64::ln)).sum();
            let exponent = self.scaled(-0.5, &squares);
            return Some(self.shifted(0.5 * (log - total * LN_TWO_PI), &exponent));
        }
        let (log, scaled) = match kernel {
            Kernel::NormalSd => {
                let log = self.unary(UnaryFunction::Log, spread);
                let variance = self.unary(UnaryFunction::Square, spread);
                (self.scaled(-total, &log), self.binary(vi_model::graph::BinaryOperator::Divide, &squares, &variance))
            }
            Kernel::NormalVariance => {
                let log = self.unary(UnaryFunction::Log, spread);
                (
                    self.scaled(-0.5 * total, &log),
                    self.binary(vi_model::graph::BinaryOperator::Divide, &squares, spread),
                )
            }
            _ => {
                let log = self.unary(UnaryFunction::Log, spread);
                (self.scaled(0.5 * total, &log), self.product(&squares, spread))
            }
        };
        let exponent = self.scaled(-0.5, &scaled);
        let sum = self.sum(&log, &exponent);
        Some(self.shifted(-0.5 * total * LN_TWO_PI, &sum))
    }

    fn squares(&mut self, panels: Panels, coefficients: Vec<Coefficients>, targets: Vec<f64>) -> Value {
        let rows = self.fresh_label();
        let residuals = self.buffer(&Shape { rows: false, axes: vec![(rows, targets.len())] }, false, false);
        let design = self.design(panels, coefficients, false);
        let output =
            Value { source: Source::Latent(self.buffer(&Shape::default(), true, false)), shape: Shape::default() };
        let operation = SquaredResiduals { design, targets: Arc::new(targets), residuals, output: output.clone() };
        self.push(Box::new(operation), false);
        output
    }
}

/// All pieces as columns, look-ups by indicators of their levels, and how many columns are not indicators.
fn columns(pieces: &[Piece]) -> (Vec<(Columns, Coefficients)>, usize) {
    let mut dense = 0;
    let parts = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Columns(columns, part) => {
                dense += part.width;
                (columns.clone(), part.clone())
            }
            Piece::LookUp(look_up) => {
                let levels = Columns::Levels(Arc::clone(&look_up.codes), look_up.multiplier.clone());
                let width = look_up.base.shape.inner();
                (levels, Coefficients { value: look_up.base.clone(), width, factor: look_up.factor })
            }
        })
        .collect();
    (parts, dense)
}

/// The upper triangular factor of a matrix `[rows, columns]` given by its elements, chunk by chunk; `[columns, columns]`.
fn triangular(rows: &[usize], columns: usize, element: impl Fn(usize, usize) -> f64) -> Mat<f64> {
    let mut factor = Mat::<f64>::zeros(columns, columns);
    for chunk in rows.chunks(CHUNK) {
        let rows = columns + chunk.len();
        let mut stacked =
            Mat::from_fn(
                rows,
                columns,
                |i, j| if i < columns { factor[(i, j)] } else { element(chunk[i - columns], j) },
            );
        // On one thread: sums on several would be in another order.
        let block = recommended_block_size::<f64>(rows, columns);
        let mut householder = Mat::<f64>::zeros(block, columns);
        let scratch = qr_in_place_scratch::<f64>(rows, columns, block, Par::Seq, Default::default());
        let stack = &mut MemBuffer::new(scratch);
        qr_in_place(stacked.as_mut(), householder.as_mut(), Par::Seq, MemStack::new(stack), Default::default());
        factor = Mat::from_fn(columns, columns, |i, j| if i <= j { stacked[(i, j)] } else { 0.0 });
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_has_the_rows_moments() {
        let element = |r: usize, k: usize| if k == 0 { 1.0 } else { 1e3 + ((r * 7 + k * 3) as f64 * 0.61).sin() };
        let rows: Vec<usize> = (0..10_000).collect();
        let factor = triangular(&rows, 4, element);
        for i in 0..4 {
            for j in 0..4 {
                let wanted: f64 = rows.iter().map(|&r| element(r, i) * element(r, j)).sum();
                let found: f64 = (0..4).map(|k| factor[(k, i)] * factor[(k, j)]).sum();
                assert!((found - wanted).abs() < 1e-11 * wanted.abs(), "{i} {j}: {found} against {wanted}");
            }
        }
    }
}
