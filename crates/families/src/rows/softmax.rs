//! Softmax and log-sum-exp over the components of many rows, component-major or row-major.

use super::double::{exp_of_nonpositive, ln};
use super::for_every_instruction_set;

/// Rows treated together: a stretch of every component that stays in the first-level cache.
const BLOCK: usize = 64;

/// Writes the largest logit of each row of a block, 0 where all are −∞, and the block's width.
#[inline(always)]
fn block_maximum(logits: &[f64], num_rows: usize, num_components: usize, first: usize, maximum: &mut [f64]) {
    maximum.fill(f64::NEG_INFINITY);
    for component in 0..num_components {
        let start = component * num_rows + first;
        let stretch = &logits[start..start + maximum.len()];
        for (largest, logit) in maximum.iter_mut().zip(stretch) {
            *largest = if *logit > *largest { *logit } else { *largest };
        }
    }
    for largest in maximum {
        *largest = if *largest == f64::NEG_INFINITY { 0.0 } else { *largest };
    }
}

#[inline(always)]
fn softmax_component_major_body<const FUSED: bool>(
    logits: &mut [f64],
    num_rows: usize,
    num_components: usize,
    log_normalizer: &mut [f64],
) {
    let mut maximum = [0.0; BLOCK];
    let mut sum = [0.0; BLOCK];
    let mut first = 0;
    while first < num_rows {
        let width = if num_rows - first < BLOCK { num_rows - first } else { BLOCK };
        let maximum = &mut maximum[..width];
        let sum = &mut sum[..width];
        block_maximum(logits, num_rows, num_components, first, maximum);
        sum.fill(0.0);
        for component in 0..num_components {
            let start = component * num_rows + first;
            let stretch = &mut logits[start..start + width];
            for ((logit, largest), total) in stretch.iter_mut().zip(maximum.iter()).zip(sum.iter_mut()) {
                let weight = exp_of_nonpositive::<FUSED>(*logit - *largest);
                *logit = weight;
                *total += weight;
            }
        }
        let normalizer = &mut log_normalizer[first..first + width];
        for ((normalizer, largest), total) in normalizer.iter_mut().zip(maximum.iter()).zip(sum.iter_mut()) {
            *normalizer = *largest + ln::<FUSED>(*total);
            *total = if *total == 0.0 { 0.0 } else { 1.0 / *total };
        }
        for component in 0..num_components {
            let start = component * num_rows + first;
            for (weight, inverse) in logits[start..start + width].iter_mut().zip(sum.iter()) {
                *weight *= *inverse;
            }
        }
        first += width;
    }
}

#[inline(always)]
fn log_sum_exp_component_major_body<const FUSED: bool>(
    logits: &[f64],
    num_rows: usize,
    num_components: usize,
    log_normalizer: &mut [f64],
) {
    let mut maximum = [0.0; BLOCK];
    let mut sum = [0.0; BLOCK];
    let mut first = 0;
    while first < num_rows {
        let width = if num_rows - first < BLOCK { num_rows - first } else { BLOCK };
        let maximum = &mut maximum[..width];
        let sum = &mut sum[..width];
        block_maximum(logits, num_rows, num_components, first, maximum);
        sum.fill(0.0);
        for component in 0..num_components {
            let start = component * num_rows + first;
            for ((logit, largest), total) in logits[start..start + width].iter().zip(maximum.iter()).zip(sum.iter_mut())
            {
                *total += exp_of_nonpositive::<FUSED>(*logit - *largest);
            }
        }
        let normalizer = &mut log_normalizer[first..first + width];
        for ((normalizer, largest), total) in normalizer.iter_mut().zip(maximum.iter()).zip(sum.iter()) {
            *normalizer = *largest + ln::<FUSED>(*total);
        }
        first += width;
    }
}

/// The lanes in which a row's maximum and sum are gathered, so that they vectorise in one fixed order.
const LANES: usize = 8;

#[inline(always)]
fn softmax_row_major_body<const FUSED: bool>(
    logits: &mut [f64],
    num_rows: usize,
    num_components: usize,
    log_normalizer: &mut [f64],
) {
    for row in 0..num_rows {
        let values = &mut logits[row * num_components..(row + 1) * num_components];
        let mut lanes = [f64::NEG_INFINITY; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane = if *value > *lane { *value } else { *lane };
        }
        let mut largest = f64::NEG_INFINITY;
        for lane in lanes {
            largest = if lane > largest { lane } else { largest };
        }
        let largest = if largest == f64::NEG_INFINITY { 0.0 } else { largest };
        for value in values.iter_mut() {
            *value = exp_of_nonpositive::<FUSED>(*value - largest);
        }
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += *value;
        }
        let total = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
        log_normalizer[row] = largest + ln::<FUSED>(total);
        let inverse = if total == 0.0 { 0.0 } else { 1.0 / total };
        for value in values {
            *value *= inverse;
        }
    }
}

for_every_instruction_set! {
    /// Replaces logits `[num_components, num_rows]` (component-major: a component's rows lie together) by each row's probabilities
    /// exp(logitₖ − log Σⱼ exp logitⱼ), and writes that log-sum-exp to `log_normalizer` `[num_rows]`. A row whose logits are
    /// all −∞ gets probabilities 0 and log-sum-exp −∞; one with a logit that is not a number gets no numbers.
    ///
    /// # Panics
    /// Where a slice is shorter than its shape.
    pub fn softmax_rows_component_major(logits: &mut [f64], num_rows: usize, num_components: usize, log_normalizer: &mut [f64])
        = softmax_component_major_body;

    /// Writes the log-sum-exp of each row of logits `[num_components, num_rows]` (component-major) to `log_normalizer`
    /// `[num_rows]`, the same numbers as [`softmax_rows_component_major`] gives.
    ///
    /// # Panics
    /// Where a slice is shorter than its shape.
    pub fn log_sum_exp_rows_component_major(logits: &[f64], num_rows: usize, num_components: usize, log_normalizer: &mut [f64])
        = log_sum_exp_component_major_body;

    /// As [`softmax_rows_component_major`] for logits `[num_rows, num_components]` (row-major: a row's components lie together),
    /// which is slower where there are few components.
    ///
    /// # Panics
    /// Where a slice is shorter than its shape.
    pub fn softmax_rows_row_major(logits: &mut [f64], num_rows: usize, num_components: usize, log_normalizer: &mut [f64])
        = softmax_row_major_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::log_sum_exp;

    fn example(num_rows: usize, num_components: usize) -> Vec<f64> {
        (0..num_rows * num_components).map(|i| ((i * 7919) % 1009) as f64 * 0.11 - 60.0).collect()
    }

    #[test]
    fn both_layouts_agree_with_the_definition() {
        for (num_rows, num_components) in [(1, 1), (3, 5), (64, 4), (65, 32), (200, 3), (131, 17)] {
            let logits = example(num_rows, num_components);
            let (mut by_component, mut by_row) = (logits.clone(), vec![0.0; logits.len()]);
            for row in 0..num_rows {
                for k in 0..num_components {
                    by_row[row * num_components + k] = logits[k * num_rows + row];
                }
            }
            let rows = by_row.clone();
            let (mut normalizer, mut other, mut third) =
                (vec![0.0; num_rows], vec![0.0; num_rows], vec![0.0; num_rows]);
            softmax_rows_component_major(&mut by_component, num_rows, num_components, &mut normalizer);
            softmax_rows_row_major(&mut by_row, num_rows, num_components, &mut other);
            log_sum_exp_rows_component_major(&logits, num_rows, num_components, &mut third);
            assert_eq!(normalizer, third);
            for row in 0..num_rows {
                let values = &rows[row * num_components..(row + 1) * num_components];
                let expected = log_sum_exp(values);
                assert!((normalizer[row] - expected).abs() < 1e-13 && (other[row] - expected).abs() < 1e-13);
                for (k, value) in values.iter().enumerate() {
                    let probability = (value - expected).exp();
                    assert!((by_component[k * num_rows + row] - probability).abs() < 1e-14);
                    assert!((by_row[row * num_components + k] - probability).abs() < 1e-14);
                }
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_how_they_are_grouped() {
        let (num_rows, num_components) = (150, 7);
        let logits = example(num_rows, num_components);
        let (mut whole, mut normalizer) = (logits.clone(), vec![0.0; num_rows]);
        softmax_rows_component_major(&mut whole, num_rows, num_components, &mut normalizer);
        for row in 0..num_rows {
            let mut alone: Vec<f64> = (0..num_components).map(|k| logits[k * num_rows + row]).collect();
            let mut single = [0.0];
            softmax_rows_component_major(&mut alone, 1, num_components, &mut single);
            assert_eq!(single[0].to_bits(), normalizer[row].to_bits());
            for k in 0..num_components {
                assert_eq!(alone[k].to_bits(), whole[k * num_rows + row].to_bits());
            }
        }
    }

    #[test]
    fn infinite_and_undefined_logits() {
        let minus = f64::NEG_INFINITY;
        // Two components of four rows: all impossible, one impossible, undefined, far apart.
        let mut logits = [minus, minus, f64::NAN, 1e6, minus, 3.0, 0.0, -1e6];
        let mut normalizer = [0.0; 4];
        softmax_rows_component_major(&mut logits, 4, 2, &mut normalizer);
        assert_eq!((logits[0], logits[4], normalizer[0]), (0.0, 0.0, minus));
        assert_eq!((logits[1], logits[5], normalizer[1]), (0.0, 1.0, 3.0));
        assert!(normalizer[2].is_nan() && logits[2].is_nan());
        assert_eq!((logits[3], logits[7], normalizer[3]), (1.0, 0.0, 1e6));
        let mut row = [minus, minus];
        softmax_rows_row_major(&mut row, 1, 2, &mut normalizer);
        assert_eq!((row, normalizer[0]), ([0.0, 0.0], minus));
    }
}
