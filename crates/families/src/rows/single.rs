//! Vectorised elementary functions of f32 slices, for networks.

use super::{elementwise, for_every_instruction_set};
use std::f32::consts::{LOG2_E, SQRT_2};

/// 1.5 · 2²³: adding it rounds to the nearest whole number and leaves that number in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const TWO_TO_23: f32 = 8_388_608.0;
/// log 2, split so that whole multiples of the upper part are exact.
const LN_2_UPPER: f32 = 0.693_145_75;
const LN_2_LOWER: f32 = 1.428_606_8e-6;
const ONE_BITS: u32 = 0x3f80_0000;

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule, the constant term first in the list.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    let mut index = N - 1;
    while index > 0 {
        index -= 1;
        sum = multiply_add::<FUSED>(sum, x, coefficients[index]);
    }
    sum
}

/// n (in the low bits of the first) and n itself, the whole number nearest to x/log 2, and r = x − n log 2.
#[inline(always)]
fn reduce<const FUSED: bool>(x: f32) -> (f32, f32, f32) {
    let rounded = multiply_add::<FUSED>(x, LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let remainder = multiply_add::<FUSED>(n, -LN_2_LOWER, multiply_add::<FUSED>(n, -LN_2_UPPER, x));
    (rounded, n, remainder)
}

/// 2ⁿ for a whole number n in −126 … 127 held as n + 1.5 · 2²³.
#[inline(always)]
fn power_of_two(rounded: f32) -> f32 {
    f32::from_bits((rounded.to_bits() << 23).wrapping_add(ONE_BITS))
}

/// eʳ − 1 for |r| ≤ ½ log 2: r + r² g(r), g by interpolation of degree 4 at Chebyshev's points, to 1e-8.
#[inline(always)]
fn reduced_exp_minus_one<const FUSED: bool>(r: f32) -> f32 {
    let g = polynomial::<FUSED, 5>(r, [0.5, 0.166_665_77, 0.041_666_556, 0.008_363_179, 0.001_392_618_4]);
    multiply_add::<FUSED>(r * r, g, r)
}

#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = if x < -104.5 { -104.5 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (_, n, remainder) = reduce::<FUSED>(x);
    let first = n * 0.5 + ROUNDER;
    let second = (n - (first - ROUNDER)) + ROUNDER;
    let mantissa = 1.0 + reduced_exp_minus_one::<FUSED>(remainder);
    mantissa * power_of_two(first) * power_of_two(second)
}

/// eˣ for x ≤ 0, and 0 where it is below 2⁻¹²⁵.
#[inline(always)]
fn exp_of_nonpositive<const FUSED: bool>(x: f32) -> f32 {
    let clamped = if x < -87.0 { -87.0 } else { x };
    let (rounded, _, remainder) = reduce::<FUSED>(clamped);
    let value = (1.0 + reduced_exp_minus_one::<FUSED>(remainder)) * power_of_two(rounded);
    if x < -87.0 { 0.0 } else { value }
}

/// eˣ − 1 for x ≤ 0, without cancellation near 0.
#[inline(always)]
fn exp_minus_one_of_nonpositive<const FUSED: bool>(x: f32) -> f32 {
    let clamped = if x < -60.0 { -60.0 } else { x };
    let (rounded, _, remainder) = reduce::<FUSED>(clamped);
    let scale = power_of_two(rounded);
    multiply_add::<FUSED>(reduced_exp_minus_one::<FUSED>(remainder), scale, scale - 1.0)
}

/// Natural logarithm, as in f64 with a polynomial of degree 2.
#[inline(always)]
fn ln<const FUSED: bool>(x: f32) -> f32 {
    let is_subnormal = x < f32::MIN_POSITIVE;
    let scaled = if is_subnormal { x * (TWO_TO_23 * 4.0) } else { x };
    let bits = scaled.to_bits();
    let exponent = bits.wrapping_add(ONE_BITS - (SQRT_2 * 0.5).to_bits()) >> 23;
    let e =
        f32::from_bits(exponent | TWO_TO_23.to_bits()) - TWO_TO_23 - if is_subnormal { 127.0 + 25.0 } else { 127.0 };
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23).wrapping_add(ONE_BITS)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial::<FUSED, 3>(z, [0.666_666_85, 0.399_887_7, 0.295_804_68]);
    let half_square = 0.5 * f * f;
    let value = multiply_add::<FUSED>(
        e,
        LN_2_UPPER,
        f - (half_square - multiply_add::<FUSED>(s, half_square + r, e * LN_2_LOWER)),
    );
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    let value = if x == f32::INFINITY { f32::INFINITY } else { value };
    if x < 0.0 || x.is_nan() { f32::NAN } else { value }
}

/// log(1 + u) for 0 ≤ u ≤ 1: 2s + s³ R(s²), s = u/(2 + u), R by interpolation of degree 4.
#[inline(always)]
fn ln_one_plus_of_unit<const FUSED: bool>(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let z = s * s;
    let r = z * polynomial::<FUSED, 5>(z, [0.666_666_7, 0.399_997_06, 0.285_923_6, 0.217_065_76, 0.232_243_3]);
    u - s * (u - r)
}

#[inline(always)]
fn log1p_exp<const FUSED: bool>(x: f32) -> f32 {
    let tail = ln_one_plus_of_unit::<FUSED>(exp_of_nonpositive::<FUSED>(-x.abs()));
    if x > 0.0 { x + tail } else { tail }
}

#[inline(always)]
fn logistic<const FUSED: bool>(x: f32) -> f32 {
    let tail = exp_of_nonpositive::<FUSED>(-x.abs());
    (if x < 0.0 { tail } else { 1.0 }) / (1.0 + tail)
}

#[inline(always)]
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let change = exp_minus_one_of_nonpositive::<FUSED>(-2.0 * x.abs());
    (-change / (2.0 + change)).copysign(x)
}

elementwise! { f32:
    /// Replaces each x by eˣ.
    exp_in_place as exp_body = exp;
    /// Replaces each x by log x: −∞ at 0, not a number below.
    ln_in_place as ln_body = ln;
    /// Replaces each x by log(1 + eˣ).
    log1p_exp_in_place as log1p_exp_body = log1p_exp;
    /// Replaces each x by 1/(1 + e⁻ˣ).
    logistic_in_place as logistic_body = logistic;
    /// Replaces each x by tanh x.
    tanh_in_place as tanh_body = tanh;
}

#[inline(always)]
fn log1p_exp_and_logistic_body<const FUSED: bool>(values: &[f32], softplus: &mut [f32], probability: &mut [f32]) {
    for ((x, softplus), probability) in values.iter().zip(softplus).zip(probability) {
        let tail = exp_of_nonpositive::<FUSED>(-x.abs());
        let log = ln_one_plus_of_unit::<FUSED>(tail);
        *softplus = if *x > 0.0 { x + log } else { log };
        *probability = (if *x < 0.0 { tail } else { 1.0 }) / (1.0 + tail);
    }
}

for_every_instruction_set! {
    /// Writes log(1 + eˣ) and its derivative 1/(1 + e⁻ˣ) with one exponential; all three slices have the same length.
    pub fn log1p_exp_and_logistic_into(values: &[f32], softplus: &mut [f32], probability: &mut [f32]) = log1p_exp_and_logistic_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kernel = fn(&mut [f32]);
    type Function = fn(f32) -> f32;

    fn points(lower: f32, upper: f32, count: usize) -> Vec<f32> {
        (0..count).map(|i| lower + (upper - lower) * (i as f32 + 0.123) / count as f32).collect()
    }

    /// The largest distance from the f64 function, in units of the last place.
    fn largest_ulps(values: &[f32], kernel: Kernel, reference: impl Fn(f64) -> f64) -> f64 {
        let mut found = values.to_vec();
        kernel(&mut found);
        let ulps = values.iter().zip(&found).map(|(x, y)| {
            let expected = reference(f64::from(*x));
            let rounded = (expected as f32).abs();
            let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
            (f64::from(*y) - expected).abs() / unit
        });
        ulps.fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_accurate_to_a_few_units_in_the_last_place() {
        assert!(largest_ulps(&points(-87.0, 88.0, 300_001), exp_in_place, f64::exp) <= 1.5);
        let wide: Vec<f32> = points(-140.0, 127.0, 300_001).into_iter().map(f32::exp2).collect();
        assert!(largest_ulps(&wide, ln_in_place, f64::ln) <= 1.5);
        assert!(largest_ulps(&points(0.4, 2.2, 300_001), ln_in_place, f64::ln) <= 2.0);
        let values = points(-40.0, 40.0, 300_001);
        assert!(largest_ulps(&values, log1p_exp_in_place, crate::special::log1p_exp) <= 3.0);
        assert!(largest_ulps(&values, logistic_in_place, crate::special::logistic) <= 3.0);
        assert!(largest_ulps(&points(-12.0, 12.0, 300_001), tanh_in_place, f64::tanh) <= 4.0);
        assert!(largest_ulps(&points(-1e-3, 1e-3, 10_001), tanh_in_place, f64::tanh) <= 4.0);
    }

    #[test]
    fn special_values() {
        let mut special = [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 88.7, 89.0, -103.0, -200.0];
        exp_in_place(&mut special);
        assert_eq!(special[..3], [1.0, 0.0, f32::INFINITY]);
        assert!(special[3].is_nan() && special[4].is_finite() && special[5] == f32::INFINITY);
        assert_eq!(special[6..], [(-103f32).exp(), 0.0]);
        let mut special = [0.0, 1.0, f32::INFINITY, -1.0, f32::NAN];
        ln_in_place(&mut special);
        assert_eq!(special[..3], [f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(special[3].is_nan() && special[4].is_nan());
        let mut special = [-1e30, 1e30, f32::NAN];
        logistic_in_place(&mut special);
        assert!(special[..2] == [0.0, 1.0] && special[2].is_nan());
    }

    #[test]
    fn every_fused_instruction_set_gives_the_same_numbers() {
        // Without the target features multiply-add is a library call, exactly rounded like the instruction.
        if super::super::instruction_set() == super::super::InstructionSet::Baseline && !super::super::BASELINE_FUSED {
            return;
        }
        let kernels: [(&str, Kernel, Function); 5] = [
            ("exp", exp_in_place, exp::<true>),
            ("ln", ln_in_place, ln::<true>),
            ("log1p_exp", log1p_exp_in_place, log1p_exp::<true>),
            ("logistic", logistic_in_place, logistic::<true>),
            ("tanh", tanh_in_place, tanh::<true>),
        ];
        for (name, kernel, function) in kernels {
            let values = points(-35.0, 35.0, 5003);
            let mut found = values.clone();
            kernel(&mut found);
            let same = values.iter().zip(&found).all(|(x, y)| function(*x).to_bits() == y.to_bits());
            assert!(same, "{name} differs between one element at a time and vectors");
        }
    }

    #[test]
    fn results_do_not_depend_on_length_or_alignment() {
        let values = points(-30.0, 30.0, 133);
        let kernels: [(&str, Kernel); 5] = [
            ("exp", exp_in_place),
            ("ln", ln_in_place),
            ("log1p_exp", log1p_exp_in_place),
            ("logistic", logistic_in_place),
            ("tanh", tanh_in_place),
        ];
        for (name, kernel) in kernels {
            let mut whole = values.clone();
            kernel(&mut whole);
            for split in [1, 3, 16, 17, 64, 100] {
                let mut parts = values.clone();
                let (left, right) = parts.split_at_mut(split);
                kernel(left);
                kernel(right);
                let same = parts.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} changes when split at {split}");
            }
        }
        let (mut softplus, mut probability) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        log1p_exp_and_logistic_into(&values, &mut softplus, &mut probability);
        let (mut one, mut other) = (values.clone(), values);
        log1p_exp_in_place(&mut one);
        logistic_in_place(&mut other);
        assert!(softplus == one && probability == other);
    }
}
