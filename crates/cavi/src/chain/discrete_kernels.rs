//! The inner loops of the discrete chain in scaled linear space, compiled once per vector width and processor.
//!
//! Rows of the scratch arrays are padded with zeros to `width`, a multiple of the number of lanes. Products and sums are
//! never fused, and sums over lanes go in one written order, so every processor gives bitwise the same numbers.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Baseline, Lanes};

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
    /// +∞ for states, −∞ for padding, `[width]`.
    pub(super) bound: Vec<f64>,
}

/// Lanes of the kernel for `num_states` states, and the number of states rounded up to a multiple of them.
pub(super) fn lanes_and_width(num_states: usize) -> (usize, usize) {
    let lanes = match num_states {
        0..=2 => 2,
        3..=4 => 4,
        5..=8 => 8,
        9..=16 => 16,
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

/// M vectors that cover one block of columns.
type Block<S, const M: usize> = [<S as Lanes>::Vector; M];

/// Most numbers in a block.
const MOST_LANES: usize = 32;

/// The block of columns that begins at the front of `values`.
#[inline(always)]
fn load<S: Lanes, const M: usize>(simd: S, values: &[f64]) -> Block<S, M> {
    let values = &values[..M * S::LENGTH];
    std::array::from_fn(|part| simd.load(&values[part * S::LENGTH..]))
}

/// Writes a block of columns to the front of `values`.
#[inline(always)]
fn store<S: Lanes, const M: usize>(simd: S, block: Block<S, M>, values: &mut [f64]) {
    let values = &mut values[..M * S::LENGTH];
    for part in 0..M {
        simd.store(block[part], &mut values[part * S::LENGTH..]);
    }
}

/// The same number in every place.
#[inline(always)]
fn splat<S: Lanes, const M: usize>(simd: S, value: f64) -> Block<S, M> {
    [simd.splat(value); M]
}

/// a · b.
#[inline(always)]
fn multiply<S: Lanes, const M: usize>(simd: S, a: Block<S, M>, b: Block<S, M>) -> Block<S, M> {
    std::array::from_fn(|part| simd.multiply(a[part], b[part]))
}

/// a + b.
#[inline(always)]
fn add<S: Lanes, const M: usize>(simd: S, a: Block<S, M>, b: Block<S, M>) -> Block<S, M> {
    std::array::from_fn(|part| simd.add(a[part], b[part]))
}

/// Joins the numbers of a block: eights one after the other, then the eight by halving.
#[inline(always)]
fn reduce<S: Lanes, const M: usize>(
    simd: S,
    block: Block<S, M>,
    vectors: impl Fn(S::Vector, S::Vector) -> S::Vector,
    numbers: impl Fn(f64, f64) -> f64,
) -> f64 {
    let mut length = (M * S::LENGTH).min(8);
    let parts = length / S::LENGTH;
    let mut joined = block;
    for part in parts..M {
        joined[part % parts] = vectors(joined[part % parts], block[part]);
    }
    let mut lanes = [0.0; 8];
    for part in 0..parts {
        simd.store(joined[part], &mut lanes[part * S::LENGTH..]);
    }
    while length > 1 {
        length /= 2;
        for lane in 0..length {
            lanes[lane] = numbers(lanes[lane], lanes[lane + length]);
        }
    }
    lanes[0]
}

/// Sum over the lanes of a block.
#[inline(always)]
fn sum<S: Lanes, const M: usize>(simd: S, block: Block<S, M>) -> f64 {
    reduce::<S, M>(simd, block, |a, b| simd.add(a, b), |a, b| a + b)
}

/// Σ_k a(k) b(k) over rows of length `width`.
#[inline(always)]
fn dot<S: Lanes, const M: usize>(simd: S, a: &[f64], b: &[f64]) -> f64 {
    let mut total = splat::<S, M>(simd, 0.0);
    for (a, b) in a.chunks_exact(M * S::LENGTH).zip(b.chunks_exact(M * S::LENGTH)) {
        total = add::<S, M>(simd, total, multiply::<S, M>(simd, load::<S, M>(simd, a), load::<S, M>(simd, b)));
    }
    sum::<S, M>(simd, total)
}

/// One block of columns of vector · matrix, `matrix` of shape `[rows, width]` with an even number of rows.
#[inline(always)]
fn vector_matrix<S: Lanes, const M: usize>(
    simd: S,
    vector: &[f64],
    matrix: &[f64],
    width: usize,
    column: usize,
) -> Block<S, M> {
    let (mut even, mut odd) = (splat::<S, M>(simd, 0.0), splat::<S, M>(simd, 0.0));
    for (pair, rows) in vector.chunks_exact(2).zip(matrix.chunks_exact(2 * width)) {
        let (first, second) = rows.split_at(width);
        let (weight, other) = (splat::<S, M>(simd, pair[0]), splat::<S, M>(simd, pair[1]));
        even = add::<S, M>(simd, even, multiply::<S, M>(simd, weight, load::<S, M>(simd, &first[column..])));
        odd = add::<S, M>(simd, odd, multiply::<S, M>(simd, other, load::<S, M>(simd, &second[column..])));
    }
    add::<S, M>(simd, even, odd)
}

/// b_t(k) = exp(u_t(k) − max_k u_t(k)), padded with zeros; `shift` receives the maxima.
///
/// Returns the first row whose maximum is −∞ or +∞; NaN stays NaN.
#[inline(always)]
fn emission_body<S: Lanes, const M: usize>(
    simd: S,
    tables: &Tables,
    unary: &[f64],
    emission: &mut [f64],
    shift: &mut [f64],
) -> Result<(), usize> {
    let (num_states, width, lanes) = (tables.num_states, tables.width, M * S::LENGTH);
    let blocks = unary.chunks(EXP_ROWS * num_states).zip(emission.chunks_mut(EXP_ROWS * width));
    for (block, ((unary, emission), shift)) in blocks.zip(shift.chunks_mut(EXP_ROWS)).enumerate() {
        for (row, (emission, shift)) in emission.chunks_exact_mut(width).zip(shift).enumerate() {
            let unary = &unary[row * num_states..];
            let mut largest = splat::<S, M>(simd, f64::NEG_INFINITY);
            for offset in (0..width).step_by(lanes) {
                let values = if unary.len() >= offset + lanes {
                    load::<S, M>(simd, &unary[offset..])
                } else {
                    let mut values = [0.0; MOST_LANES];
                    let present = (unary.len() - offset).min(lanes);
                    values[..present].copy_from_slice(&unary[offset..offset + present]);
                    load::<S, M>(simd, &values)
                };
                // What was read beyond the row gives way to −∞.
                let bound = load::<S, M>(simd, &tables.bound[offset..]);
                let values: Block<S, M> = std::array::from_fn(|part| simd.smaller(bound[part], values[part]));
                largest = std::array::from_fn(|part| simd.larger(values[part], largest[part]));
                store::<S, M>(simd, values, &mut emission[offset..]);
            }
            let maximum = reduce::<S, M>(simd, largest, |a, b| simd.larger(a, b), |a, b| if a > b { a } else { b });
            if !maximum.is_finite() {
                return Err(block * EXP_ROWS + row);
            }
            let minus = splat::<S, M>(simd, -maximum);
            for values in emission.chunks_exact_mut(M * S::LENGTH) {
                let shifted = add::<S, M>(simd, load::<S, M>(simd, values), minus);
                store::<S, M>(simd, shifted, values);
            }
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
fn forward_body<S: Lanes, const M: usize>(
    simd: S,
    tables: &Tables,
    emission: &[f64],
    filtered: &mut [f64],
    scale: &mut [f64],
) -> bool {
    let (width, lanes) = (tables.width, M * S::LENGTH);
    let even_states = tables.num_states.next_multiple_of(2);
    let matrix = &tables.transition[..even_states * width];
    let mut trusted = true;
    for row in 0..scale.len() {
        let (done, rest) = filtered.split_at_mut(row * width);
        let (next, emission) = (&mut rest[..width], &emission[row * width..(row + 1) * width]);
        let inverse = if row == 0 { 1.0 } else { 1.0 / scale[row - 1] };
        let inverse = splat::<S, M>(simd, inverse);
        let mut total = splat::<S, M>(simd, 0.0);
        for offset in (0..width).step_by(lanes) {
            let predicted = if row == 0 {
                load::<S, M>(simd, &tables.initial[offset..])
            } else {
                let previous = &done[(row - 1) * width..][..even_states];
                vector_matrix::<S, M>(simd, previous, matrix, width, offset)
            };
            let factor = multiply::<S, M>(simd, load::<S, M>(simd, &emission[offset..]), inverse);
            let message = multiply::<S, M>(simd, predicted, factor);
            store::<S, M>(simd, message, &mut next[offset..]);
            total = add::<S, M>(simd, total, message);
        }
        scale[row] = sum::<S, M>(simd, total);
        trusted &= scale[row] >= SMALLEST_SCALE;
    }
    trusted
}

/// Backward messages of one sequence with scales of their own (PRML eq. 13.38), so that they need no forward pass:
///
/// ```text
/// y_T(i) = 1        y_{t−1}(i) ∝ Σ_j A(i, j) b_t(j) y_t(j)
/// ```
///
/// `product` is scratch of length `width`. Returns whether every scale is large enough to be trusted.
#[inline(always)]
fn backward_body<S: Lanes, const M: usize>(
    simd: S,
    tables: &Tables,
    emission: &[f64],
    backward: &mut [f64],
    product: &mut [f64],
) -> bool {
    let (width, lanes) = (tables.width, M * S::LENGTH);
    let even_states = tables.num_states.next_multiple_of(2);
    let matrix = &tables.transposed[..even_states * width];
    let num_rows = backward.len() / width;
    let mut trusted = true;
    let mut inverse = 1.0;
    if let Some(last) = backward.chunks_exact_mut(width).next_back() {
        last.fill(0.0);
        last[..tables.num_states].fill(1.0);
    }
    for row in (1..num_rows).rev() {
        let (before, current) = backward.split_at_mut(row * width);
        let (current, emission) = (&current[..width], &emission[row * width..(row + 1) * width]);
        for offset in (0..width).step_by(lanes) {
            let (message, emission) = (load::<S, M>(simd, &current[offset..]), load::<S, M>(simd, &emission[offset..]));
            store::<S, M>(simd, multiply::<S, M>(simd, message, emission), &mut product[offset..]);
        }
        let next = &mut before[(row - 1) * width..];
        let factor = splat::<S, M>(simd, inverse);
        let mut total = splat::<S, M>(simd, 0.0);
        for offset in (0..width).step_by(lanes) {
            let message = vector_matrix::<S, M>(simd, &product[..even_states], matrix, width, offset);
            let message = multiply::<S, M>(simd, message, factor);
            store::<S, M>(simd, message, &mut next[offset..]);
            total = add::<S, M>(simd, total, message);
        }
        let total = sum::<S, M>(simd, total);
        trusted &= total >= SMALLEST_SCALE;
        inverse = 1.0 / total;
    }
    trusted
}

/// Whether the messages of every row overlap enough, Σ_k x_t(k) y_t(k) ≥ [`SMALLEST_SCALE`], for the marginals to be trusted.
#[inline(always)]
fn overlap_body<S: Lanes, const M: usize>(simd: S, tables: &Tables, filtered: &[f64], backward: &[f64]) -> bool {
    let rows = filtered.chunks_exact(tables.width).zip(backward.chunks_exact(tables.width));
    rows.fold(true, |trusted, (filtered, backward)| trusted & (dot::<S, M>(simd, filtered, backward) >= SMALLEST_SCALE))
}

/// Adds Σ_r x_{first + r}(i) w_r(j) of the waiting rows to the pairwise sums.
#[inline(always)]
fn add_pairs<S: Lanes, const M: usize>(
    simd: S,
    tables: &Tables,
    filtered: &[f64],
    first: usize,
    count: usize,
    counts: &mut Counts,
) {
    let (width, lanes) = (tables.width, M * S::LENGTH);
    let filtered = &filtered[first * width..(first + count) * width];
    let waiting = &counts.waiting[..count * width];
    for (state, pairs) in counts.pairs.chunks_exact_mut(width).enumerate() {
        for (offset, pairs) in (0..width).step_by(lanes).zip(pairs.chunks_exact_mut(lanes)) {
            let mut total = load::<S, M>(simd, pairs);
            for (filtered, waiting) in filtered.chunks_exact(width).zip(waiting.chunks_exact(width)) {
                let weight = splat::<S, M>(simd, filtered[state]);
                let product = multiply::<S, M>(simd, weight, load::<S, M>(simd, &waiting[offset..]));
                total = add::<S, M>(simd, total, product);
            }
            store::<S, M>(simd, total, pairs);
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
fn join_body<S: Lanes, const M: usize>(
    simd: S,
    tables: &Tables,
    recursions: Recursions<'_>,
    rows: Range<usize>,
    marginals: &mut [f64],
    counts: &mut Counts,
) -> bool {
    let (width, num_states, lanes) = (tables.width, tables.num_states, M * S::LENGTH);
    let mut trusted = true;
    let mut waiting = 0;
    let end = rows.end;
    let first = rows.start;
    for row in rows {
        // Writing a whole block spills zeros into the next row, which is written afterwards.
        let marginals = &mut marginals[(row - first) * num_states..];
        let filtered = &recursions.filtered[row * width..(row + 1) * width];
        let backward = &recursions.backward[row * width..(row + 1) * width];
        let overlap = dot::<S, M>(simd, filtered, backward);
        trusted &= overlap >= SMALLEST_SCALE;
        let inverse = 1.0 / overlap;
        let factor = splat::<S, M>(simd, inverse);
        for offset in (0..width).step_by(lanes) {
            let filtered = load::<S, M>(simd, &filtered[offset..]);
            let joint = multiply::<S, M>(simd, filtered, load::<S, M>(simd, &backward[offset..]));
            let joint = multiply::<S, M>(simd, joint, factor);
            if marginals.len() >= offset + lanes {
                store::<S, M>(simd, joint, &mut marginals[offset..]);
            } else {
                let mut values = [0.0; MOST_LANES];
                store::<S, M>(simd, joint, &mut values);
                let present = marginals.len() - offset;
                marginals[offset..].copy_from_slice(&values[..present]);
            }
        }
        if row == 0 {
            for (sum, marginal) in counts.initial.iter_mut().zip(&marginals[..num_states]) {
                *sum += marginal;
            }
            continue;
        }
        let factor = splat::<S, M>(simd, inverse / recursions.scale[row - 1]);
        let emission = &recursions.emission[row * width..(row + 1) * width];
        let target = &mut counts.waiting[waiting * width..(waiting + 1) * width];
        for offset in (0..width).step_by(lanes) {
            let emission = load::<S, M>(simd, &emission[offset..]);
            let message = multiply::<S, M>(simd, emission, load::<S, M>(simd, &backward[offset..]));
            store::<S, M>(simd, multiply::<S, M>(simd, message, factor), &mut target[offset..]);
        }
        waiting += 1;
        if waiting == PAIR_ROWS {
            add_pairs::<S, M>(simd, tables, recursions.filtered, row - PAIR_ROWS, PAIR_ROWS, counts);
            waiting = 0;
        }
    }
    if waiting > 0 {
        add_pairs::<S, M>(simd, tables, recursions.filtered, end - 1 - waiting, waiting, counts);
    }
    trusted
}

/// Defines a function that runs a loop body with the vector instructions that the processor has.
macro_rules! on_this_processor {
    ($(#[$document:meta])* $name:ident = $body:ident ( $tables:ident : &Tables, $($argument:ident : $type:ty),* ) -> $output:ty) => {
        $(#[$document])*
        pub(super) fn $name($tables: &Tables, $($argument: $type),*) -> $output {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq")]
                fn avx512<const M: usize>(simd: Avx512, $tables: &Tables, $($argument: $type),*) -> $output {
                    $body::<Avx512, M>(simd, $tables, $($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2<const M: usize>(simd: Avx2, $tables: &Tables, $($argument: $type),*) -> $output {
                    $body::<Avx2, M>(simd, $tables, $($argument),*)
                }
                if let Some(simd) = Avx512::detect() {
                    // SAFETY: `simd` proves that the processor has the instructions.
                    unsafe {
                        match $tables.lanes {
                            8 => return avx512::<1>(simd, $tables, $($argument),*),
                            16 => return avx512::<2>(simd, $tables, $($argument),*),
                            24 => return avx512::<3>(simd, $tables, $($argument),*),
                            32 => return avx512::<4>(simd, $tables, $($argument),*),
                            _ => {}
                        }
                    }
                }
                if let Some(simd) = Avx2::detect() {
                    // SAFETY: `simd` proves that the processor has the instructions.
                    unsafe {
                        match $tables.lanes {
                            4 => return avx2::<1>(simd, $tables, $($argument),*),
                            8 => return avx2::<2>(simd, $tables, $($argument),*),
                            16 => return avx2::<4>(simd, $tables, $($argument),*),
                            24 => return avx2::<6>(simd, $tables, $($argument),*),
                            32 => return avx2::<8>(simd, $tables, $($argument),*),
                            _ => {}
                        }
                    }
                }
            }
            match $tables.lanes {
                2 => $body::<Baseline, 1>(Baseline, $tables, $($argument),*),
                4 => $body::<Baseline, 2>(Baseline, $tables, $($argument),*),
                8 => $body::<Baseline, 4>(Baseline, $tables, $($argument),*),
                16 => $body::<Baseline, 8>(Baseline, $tables, $($argument),*),
                24 => $body::<Baseline, 12>(Baseline, $tables, $($argument),*),
                _ => $body::<Baseline, 16>(Baseline, $tables, $($argument),*),
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
