//! The inner loops of the discrete chain in scaled linear space, compiled once per vector width and processor.
//!
//! Rows of the scratch arrays are padded with zeros to `width`, a multiple of the number of lanes. Products and sums are
//! never fused, and sums over lanes go in one written order, so every processor gives bitwise the same numbers.

use std::ops::Range;

/// Rows whose pairwise products are added to the transition counts at once.
const PAIR_ROWS: usize = 8;

/// Rows whose exponentials are taken in one loop.
const EXP_ROWS: usize = 128;

/// Smallest scale with which a scaled recursion is trusted: what underflowed before it is below 1e-180 of the result.
pub(super) const SMALLEST_SCALE: f64 = 1e-110;

/// Number of states, padding and transition probabilities (up to a common factor) of one chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// Number of states K.
    pub(super) num_states: usize,
    /// Lanes of the kernel that is used.
    pub(super) lanes: usize,
    /// K rounded up to a multiple of `lanes`.
    pub(super) width: usize,
    /// exp(log A − max) as `[from, to]`, `[width, width]`, padded with zeros.
    pub(super) transition: Vec<f64>,
    /// Its transpose, `[to, from]`.
    pub(super) transposed: Vec<f64>,
    /// exp(log π − max), `[width]`, padded with zeros.
    pub(super) initial: Vec<f64>,
}

/// Lanes of the kernel for `num_states` states, and the number of states rounded up to a multiple of them.
pub(super) fn lanes_and_width(num_states: usize) -> (usize, usize) {
    let lanes = match num_states {
        0..=2 => 2,
        3..=4 => 4,
        5..=8 => 8,
        9..=12 => 12,
        13..=16 => 16,
        17..=24 => 24,
        _ => 32,
    };
    (lanes, num_states.div_ceil(lanes).max(1) * lanes)
}

/// What the pass that joins both recursions reads: arrays of one whole sequence, `[rows, width]` but for `scale`, `[rows]`.
#[derive(Clone, Copy)]
pub(super) struct Recursions<'a> {
    /// exp(unary − row maximum).
    pub(super) emission: &'a [f64],
    /// Forward messages.
    pub(super) filtered: &'a [f64],
    /// Sum of the forward message of each row.
    pub(super) scale: &'a [f64],
    /// Backward messages.
    pub(super) backward: &'a [f64],
}

/// Sums that one task collects over its rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Σ_t ξ_t(i, j) / A(i, j), `[K, width]`.
    pub(super) pairs: Vec<f64>,
    /// Σ γ of the first rows of sequences, `[width]`.
    pub(super) initial: Vec<f64>,
    /// Rows that wait to be added to `pairs`, `[PAIR_ROWS, width]`.
    waiting: Vec<f64>,
}

impl Counts {
    /// Sets all sums to zero for a chain of the given shape.
    pub(super) fn clear(&mut self, num_states: usize, width: usize) {
        for (buffer, length) in
            [(&mut self.pairs, num_states * width), (&mut self.initial, width), (&mut self.waiting, PAIR_ROWS * width)]
        {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
    }
}

/// One block of lanes that begins at `offset`.
#[inline(always)]
fn block<const L: usize>(values: &[f64], offset: usize) -> [f64; L] {
    let mut lanes = [0.0; L];
    lanes.copy_from_slice(&values[offset..offset + L]);
    lanes
}

/// exp(x) for x ≤ 0 within 2 units in the last place, without branches; zero below −708, NaN for NaN.
///
/// ```text
/// exp(x) = 2ⁿ·exp(r)        n = round(x / ln 2)        r = x − n·ln 2 ∈ [−½ ln 2, ½ ln 2]
/// ```
///
/// with the Taylor polynomial of degree 13 for exp(r), whose remainder is below 5e-18.
#[inline(always)]
fn exp_of_non_positive(x: f64) -> f64 {
    // Adding 1.5·2⁵² rounds to an integer and leaves it in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts, the first with so few digits that n times it is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const COEFFICIENTS: [f64; 13] = [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut value = 1.0 / 6_227_020_800.0;
    for coefficient in COEFFICIENTS {
        value = value * rest + coefficient;
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < -708.0 { 0.0 } else { value * power }
}

/// Sum over lanes by halving.
#[inline(always)]
fn sum<const L: usize>(mut lanes: [f64; L]) -> f64 {
    let mut length = L;
    while length > 1 {
        let half = length.div_ceil(2);
        for lane in 0..length / 2 {
            lanes[lane] += lanes[lane + half];
        }
        length = half;
    }
    lanes[0]
}

/// One block of columns of vector · matrix, `matrix` of shape `[rows, width]` with an even number of rows.
#[inline(always)]
fn vector_matrix<const L: usize>(vector: &[f64], matrix: &[f64], width: usize, column: usize) -> [f64; L] {
    let (mut even, mut odd) = ([0.0; L], [0.0; L]);
    for (pair, rows) in vector.chunks_exact(2).zip(matrix.chunks_exact(2 * width)) {
        let (first, second) = rows.split_at(width);
        let (first, second) = (&first[column..column + L], &second[column..column + L]);
        for lane in 0..L {
            even[lane] += pair[0] * first[lane];
            odd[lane] += pair[1] * second[lane];
        }
    }
    for lane in 0..L {
        even[lane] += odd[lane];
    }
    even
}

/// b_t(k) = exp(u_t(k) − max_k u_t(k)), padded with zeros; `shift` receives the maxima.
///
/// Returns the first row whose maximum is −∞ or that holds NaN or +∞.
#[inline(always)]
fn emission_body<const L: usize>(
    tables: &Tables,
    unary: &[f64],
    emission: &mut [f64],
    shift: &mut [f64],
) -> Result<(), usize> {
    let (num_states, width) = (tables.num_states, tables.width);
    let blocks = unary.chunks(EXP_ROWS * num_states).zip(emission.chunks_mut(EXP_ROWS * width));
    for (block, ((unary, emission), shift)) in blocks.zip(shift.chunks_mut(EXP_ROWS)).enumerate() {
        let rows = unary.chunks_exact(num_states).zip(emission.chunks_exact_mut(width)).zip(shift);
        for (row, ((unary, emission), shift)) in rows.enumerate() {
            let maximum = unary.iter().fold(f64::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            let mut comparable = maximum.is_finite();
            for (emission, &unary) in emission.iter_mut().zip(unary) {
                comparable &= unary <= maximum;
                *emission = unary - maximum;
            }
            if !comparable {
                return Err(block * EXP_ROWS + row);
            }
            emission[num_states..].fill(f64::NEG_INFINITY);
            *shift = maximum;
        }
        for values in emission.iter_mut() {
            *values = exp_of_non_positive(*values);
        }
    }
    Ok(())
}

/// Forward messages of one sequence, scaled by the sum of the row before (Rabiner 1989, eq. 91–92; PRML eq. 13.59):
///
/// ```text
/// x_1(j) = π(j) b_1(j)        x_t(j) = b_t(j) Σ_i x_{t−1}(i) A(i, j) / s_{t−1}        s_t = Σ_j x_t(j)
/// ```
///
/// so that Π_t s_t is the normaliser. Returns whether every s_t is large enough to be trusted.
#[inline(always)]
fn forward_body<const L: usize>(tables: &Tables, emission: &[f64], filtered: &mut [f64], scale: &mut [f64]) -> bool {
    let width = tables.width;
    let even_states = tables.num_states.next_multiple_of(2);
    let matrix = &tables.transition[..even_states * width];
    let mut smallest = f64::INFINITY;
    for row in 0..scale.len() {
        let (done, rest) = filtered.split_at_mut(row * width);
        let (next, emission) = (&mut rest[..width], &emission[row * width..(row + 1) * width]);
        let mut total = [0.0; L];
        if row == 0 {
            for (offset, next) in (0..width).step_by(L).zip(next.chunks_exact_mut(L)) {
                for lane in 0..L {
                    next[lane] = tables.initial[offset + lane] * emission[offset + lane];
                    total[lane] += next[lane];
                }
            }
        } else {
            let previous = &done[(row - 1) * width..][..even_states];
            let inverse = 1.0 / scale[row - 1];
            for (offset, next) in (0..width).step_by(L).zip(next.chunks_exact_mut(L)) {
                let emission = block::<L>(emission, offset);
                let predicted = vector_matrix::<L>(previous, matrix, width, offset);
                for lane in 0..L {
                    next[lane] = predicted[lane] * (emission[lane] * inverse);
                    total[lane] += next[lane];
                }
            }
        }
        let total = sum(total);
        scale[row] = total;
        smallest = if total < smallest { total } else { smallest };
    }
    smallest >= SMALLEST_SCALE
}

/// Backward messages of one sequence with scales of their own (PRML eq. 13.38), so that they need no forward pass:
///
/// ```text
/// y_T(i) = 1        y_{t−1}(i) ∝ Σ_j A(i, j) b_t(j) y_t(j)
/// ```
///
/// `product` is scratch of length `width`. Returns whether every scale is large enough to be trusted.
#[inline(always)]
fn backward_body<const L: usize>(tables: &Tables, emission: &[f64], backward: &mut [f64], product: &mut [f64]) -> bool {
    let width = tables.width;
    let even_states = tables.num_states.next_multiple_of(2);
    let matrix = &tables.transposed[..even_states * width];
    let num_rows = backward.len() / width;
    let mut smallest = f64::INFINITY;
    let mut inverse = 1.0;
    for row in (0..num_rows).rev() {
        let (before, rest) = backward.split_at_mut(row * width);
        let current = &mut rest[..width];
        if row + 1 == num_rows {
            current[..tables.num_states].fill(1.0);
            current[tables.num_states..].fill(0.0);
        }
        if row == 0 {
            break;
        }
        let emission = &emission[row * width..(row + 1) * width];
        for (offset, product) in (0..width).step_by(L).zip(product.chunks_exact_mut(L)) {
            for lane in 0..L {
                product[lane] = current[offset + lane] * emission[offset + lane];
            }
        }
        let next = &mut before[(row - 1) * width..];
        let mut total = [0.0; L];
        for (offset, next) in (0..width).step_by(L).zip(next.chunks_exact_mut(L)) {
            let message = vector_matrix::<L>(&product[..even_states], matrix, width, offset);
            for lane in 0..L {
                next[lane] = message[lane] * inverse;
                total[lane] += next[lane];
            }
        }
        let total = sum(total);
        smallest = if total < smallest { total } else { smallest };
        inverse = 1.0 / total;
    }
    smallest >= SMALLEST_SCALE
}

/// Whether the messages of every row overlap enough, Σ_k x_t(k) y_t(k) ≥ [`SMALLEST_SCALE`], for the marginals to be trusted.
#[inline(always)]
fn overlap_body<const L: usize>(tables: &Tables, filtered: &[f64], backward: &[f64]) -> bool {
    filtered.chunks_exact(tables.width).zip(backward.chunks_exact(tables.width)).all(|(filtered, backward)| {
        let mut total = [0.0; L];
        for (filtered, backward) in filtered.chunks_exact(L).zip(backward.chunks_exact(L)) {
            for lane in 0..L {
                total[lane] += filtered[lane] * backward[lane];
            }
        }
        sum(total) >= SMALLEST_SCALE
    })
}

/// Adds Σ_r x_{first + r}(i) w_r(j) of the waiting rows to the pairwise sums.
#[inline(always)]
fn add_pairs<const L: usize>(tables: &Tables, filtered: &[f64], first: usize, count: usize, counts: &mut Counts) {
    let width = tables.width;
    let filtered = &filtered[first * width..(first + count) * width];
    let waiting = &counts.waiting[..count * width];
    for (state, pairs) in counts.pairs.chunks_exact_mut(width).enumerate() {
        for (offset, pairs) in (0..width).step_by(L).zip(pairs.chunks_exact_mut(L)) {
            let mut total = block::<L>(pairs, 0);
            for (filtered, waiting) in filtered.chunks_exact(width).zip(waiting.chunks_exact(width)) {
                let weight = filtered[state];
                let waiting = &waiting[offset..offset + L];
                for lane in 0..L {
                    total[lane] += weight * waiting[lane];
                }
            }
            pairs.copy_from_slice(&total);
        }
    }
}

/// Joins both recursions over some rows of a sequence (PRML eq. 13.33, 13.43):
///
/// ```text
/// γ_t(k) = x_t(k) y_t(k) / d_t        d_t = Σ_k x_t(k) y_t(k)
/// Σ_t ξ_t(i, j) / A(i, j) = Σ_t x_{t−1}(i) b_t(j) y_t(j) / (s_{t−1} d_t)
/// ```
///
/// `marginals` are those rows, `[rows, K]`. Returns whether every d_t is large enough to be trusted.
#[inline(always)]
fn join_body<const L: usize>(
    tables: &Tables,
    recursions: Recursions<'_>,
    rows: Range<usize>,
    marginals: &mut [f64],
    counts: &mut Counts,
) -> bool {
    let (width, num_states) = (tables.width, tables.num_states);
    let mut smallest = f64::INFINITY;
    let mut waiting = 0;
    let end = rows.end;
    for (row, marginals) in rows.zip(marginals.chunks_exact_mut(num_states)) {
        let filtered = &recursions.filtered[row * width..(row + 1) * width];
        let backward = &recursions.backward[row * width..(row + 1) * width];
        let mut total = [0.0; L];
        for (filtered, backward) in filtered.chunks_exact(L).zip(backward.chunks_exact(L)) {
            for lane in 0..L {
                total[lane] += filtered[lane] * backward[lane];
            }
        }
        let total = sum(total);
        smallest = if total < smallest { total } else { smallest };
        let inverse = 1.0 / total;
        for (marginal, (filtered, backward)) in marginals.iter_mut().zip(filtered.iter().zip(backward)) {
            *marginal = filtered * backward * inverse;
        }
        if row == 0 {
            for (sum, marginal) in counts.initial.iter_mut().zip(&*marginals) {
                *sum += marginal;
            }
            continue;
        }
        let factor = inverse / recursions.scale[row - 1];
        let emission = &recursions.emission[row * width..(row + 1) * width];
        let target = &mut counts.waiting[waiting * width..(waiting + 1) * width];
        let blocks = emission.chunks_exact(L).zip(backward.chunks_exact(L));
        for (target, (emission, backward)) in target.chunks_exact_mut(L).zip(blocks) {
            for lane in 0..L {
                target[lane] = emission[lane] * backward[lane] * factor;
            }
        }
        waiting += 1;
        if waiting == PAIR_ROWS {
            add_pairs::<L>(tables, recursions.filtered, row - PAIR_ROWS, PAIR_ROWS, counts);
            waiting = 0;
        }
    }
    if waiting > 0 {
        add_pairs::<L>(tables, recursions.filtered, end - 1 - waiting, waiting, counts);
    }
    smallest >= SMALLEST_SCALE
}

/// Defines a function that runs a loop body with the vector instructions that the processor has.
macro_rules! on_this_processor {
    ($(#[$document:meta])* $name:ident = $body:ident ( $tables:ident : &Tables, $($argument:ident : $type:ty),* ) -> $output:ty) => {
        $(#[$document])*
        pub(super) fn $name($tables: &Tables, $($argument: $type),*) -> $output {
            fn with_lanes<const L: usize>($tables: &Tables, $($argument: $type),*) -> $output {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
                    fn avx512<const L: usize>($tables: &Tables, $($argument: $type),*) -> $output {
                        $body::<L>($tables, $($argument),*)
                    }
                    #[target_feature(enable = "avx2,fma")]
                    fn avx2<const L: usize>($tables: &Tables, $($argument: $type),*) -> $output {
                        $body::<L>($tables, $($argument),*)
                    }
                    if is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                    {
                        // SAFETY: the features that the function is compiled for were just detected; a processor with
                        // AVX-512F has AVX2 and FMA.
                        return unsafe { avx512::<L>($tables, $($argument),*) };
                    }
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        // SAFETY: the features that the function is compiled for were just detected.
                        return unsafe { avx2::<L>($tables, $($argument),*) };
                    }
                }
                $body::<L>($tables, $($argument),*)
            }
            match $tables.lanes {
                2 => with_lanes::<2>($tables, $($argument),*),
                4 => with_lanes::<4>($tables, $($argument),*),
                8 => with_lanes::<8>($tables, $($argument),*),
                12 => with_lanes::<12>($tables, $($argument),*),
                16 => with_lanes::<16>($tables, $($argument),*),
                24 => with_lanes::<24>($tables, $($argument),*),
                _ => with_lanes::<32>($tables, $($argument),*),
            }
        }
    };
}

on_this_processor!(
    /// See [`emission_body`].
    emission = emission_body(tables: &Tables, unary: &[f64], emission: &mut [f64], shift: &mut [f64]) -> Result<(), usize>
);
on_this_processor!(
    /// See [`forward_body`].
    forward = forward_body(tables: &Tables, emission: &[f64], filtered: &mut [f64], scale: &mut [f64]) -> bool
);
on_this_processor!(
    /// See [`backward_body`].
    backward = backward_body(tables: &Tables, emission: &[f64], backward: &mut [f64], product: &mut [f64]) -> bool
);
on_this_processor!(
    /// See [`overlap_body`].
    overlap = overlap_body(tables: &Tables, filtered: &[f64], backward: &[f64]) -> bool
);
on_this_processor!(
    /// See [`join_body`].
    join = join_body(
        tables: &Tables,
        recursions: Recursions<'_>,
        rows: Range<usize>,
        marginals: &mut [f64],
        counts: &mut Counts
    ) -> bool
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for step in 0..1_000_000 {
            let x = -708.0 * f64::from(step) / 1e6;
            let (found, expected) = (exp_of_non_positive(x), x.exp());
            assert!((found - expected).abs() <= 2.0 * f64::EPSILON * expected, "exp({x}): {found}, not {expected}");
        }
        assert_eq!(exp_of_non_positive(0.0), 1.0);
        assert_eq!(exp_of_non_positive(f64::NEG_INFINITY), 0.0);
        assert!(exp_of_non_positive(f64::NAN).is_nan());
    }
}
