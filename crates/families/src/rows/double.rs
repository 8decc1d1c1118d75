//! Vectorised elementary functions of f64 slices, to about one unit in the last place.

use super::{elementwise, for_every_instruction_set};
use std::f64::consts::{LOG2_E, SQRT_2};

/// 1.5 · 2⁵²: adding it rounds to the nearest whole number and leaves that number in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
/// log 2, split so that whole multiples of the upper part are exact.
const LN_2_UPPER: f64 = 0.693_147_180_369_123_8;
const LN_2_LOWER: f64 = 1.908_214_929_270_587_7e-10;
const ONE_BITS: u64 = 0x3ff0_0000_0000_0000;

#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule, the constant term first in the list.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
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
fn reduce<const FUSED: bool>(x: f64) -> (f64, f64, f64) {
    let rounded = multiply_add::<FUSED>(x, LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let remainder = multiply_add::<FUSED>(n, -LN_2_LOWER, multiply_add::<FUSED>(n, -LN_2_UPPER, x));
    (rounded, n, remainder)
}

/// 2ⁿ for a whole number n in −1022 … 1023 held as n + 1.5 · 2⁵².
#[inline(always)]
fn power_of_two(rounded: f64) -> f64 {
    f64::from_bits((rounded.to_bits() << 52).wrapping_add(ONE_BITS))
}

/// eʳ − 1 for |r| ≤ ½ log 2: r + r² g(r), g by interpolation of degree 9 at Chebyshev's points, to 1e-17.
#[inline(always)]
fn reduced_exp_minus_one<const FUSED: bool>(r: f64) -> f64 {
    let g = polynomial::<FUSED, 10>(
        r,
        [
            0.500_000_000_000_000_1,
            0.166_666_666_666_666_69,
            0.041_666_666_666_624_13,
            0.008_333_333_333_330_062,
            0.001_388_888_891_721_371_7,
            0.000_198_412_698_630_536_18,
            2.480_152_129_595_437_6e-5,
            2.755_726_845_999_706_4e-6,
            2.762_008_844_540_974_6e-7,
            2.510_038_549_551_032e-8,
        ],
    );
    multiply_add::<FUSED>(r * r, g, r)
}

/// eˣ for every x: the power of two is applied in two halves, so that results near 0 are subnormal and not zero.
#[inline(always)]
fn exp<const FUSED: bool>(x: f64) -> f64 {
    let x = if x < -746.0 { -746.0 } else { x };
    let x = if x > 710.0 { 710.0 } else { x };
    let (_, n, remainder) = reduce::<FUSED>(x);
    let first = n * 0.5 + ROUNDER;
    let second = (n - (first - ROUNDER)) + ROUNDER;
    let mantissa = 1.0 + reduced_exp_minus_one::<FUSED>(remainder);
    mantissa * power_of_two(first) * power_of_two(second)
}

/// eˣ for x ≤ 0, and 0 where it is below 2⁻¹⁰²¹.
#[inline(always)]
pub(crate) fn exp_of_nonpositive<const FUSED: bool>(x: f64) -> f64 {
    let clamped = if x < -708.0 { -708.0 } else { x };
    let (rounded, _, remainder) = reduce::<FUSED>(clamped);
    let value = (1.0 + reduced_exp_minus_one::<FUSED>(remainder)) * power_of_two(rounded);
    if x < -708.0 { 0.0 } else { value }
}

/// eˣ − 1 for x ≤ 0, without cancellation near 0.
#[inline(always)]
fn exp_minus_one_of_nonpositive<const FUSED: bool>(x: f64) -> f64 {
    let clamped = if x < -100.0 { -100.0 } else { x };
    let (rounded, _, remainder) = reduce::<FUSED>(clamped);
    let scale = power_of_two(rounded);
    multiply_add::<FUSED>(reduced_exp_minus_one::<FUSED>(remainder), scale, scale - 1.0)
}

/// Natural logarithm: log x = e log 2 + log(1 + f), s = f/(2 + f), log(1 + f) = f − (½f² − s (½f² + R(s²))), where
/// log((1 + s)/(1 − s)) = 2s + s R(s²), R by interpolation of degree 6 at Chebyshev's points.
#[inline(always)]
pub(crate) fn ln<const FUSED: bool>(x: f64) -> f64 {
    let is_subnormal = x < f64::MIN_POSITIVE;
    let scaled = if is_subnormal { x * (TWO_TO_52 * 4.0) } else { x };
    let bits = scaled.to_bits();
    // Adding the distance from √½ to 1 carries into the exponent where the mantissa exceeds √½.
    let exponent = bits.wrapping_add(ONE_BITS - (SQRT_2 * 0.5).to_bits()) >> 52;
    let e =
        f64::from_bits(exponent | TWO_TO_52.to_bits()) - TWO_TO_52 - if is_subnormal { 1023.0 + 54.0 } else { 1023.0 };
    let f = f64::from_bits(bits.wrapping_sub(exponent << 52).wrapping_add(ONE_BITS)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial::<FUSED, 7>(
        z,
        [
            0.666_666_666_666_667,
            0.399_999_999_998_992,
            0.285_714_286_261_145_2,
            0.222_222_111_121_049_48,
            0.181_828_907_780_261_3,
            0.153_316_666_765_971_75,
            0.146_171_283_998_073,
        ],
    );
    let half_square = 0.5 * f * f;
    let value = multiply_add::<FUSED>(
        e,
        LN_2_UPPER,
        f - (half_square - multiply_add::<FUSED>(s, half_square + r, e * LN_2_LOWER)),
    );
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    let value = if x == f64::INFINITY { f64::INFINITY } else { value };
    if x < 0.0 || x.is_nan() { f64::NAN } else { value }
}

/// log(1 + u) for 0 ≤ u ≤ 1: 2s + s³ R(s²), s = u/(2 + u), R by interpolation of degree 10.
#[inline(always)]
fn ln_one_plus_of_unit<const FUSED: bool>(u: f64) -> f64 {
    let s = u / (2.0 + u);
    let z = s * s;
    let r = z * polynomial::<FUSED, 11>(
        z,
        [
            0.666_666_666_666_666_6,
            0.399_999_999_999_995_25,
            0.285_714_285_716_001,
            0.222_222_221_982_367_7,
            0.181_818_198_979_627_14,
            0.153_845_439_648_605_5,
            0.133_351_786_314_492_57,
            0.117_342_790_613_031_97,
            0.108_451_783_948_800_15,
            0.074_921_437_955_507_67,
            0.156_305_778_009_228_5,
        ],
    );
    // u − s (u − R) = 2s + s R, with the leading term exact.
    u - s * (u - r)
}

#[inline(always)]
fn log1p_exp<const FUSED: bool>(x: f64) -> f64 {
    let tail = ln_one_plus_of_unit::<FUSED>(exp_of_nonpositive::<FUSED>(-x.abs()));
    if x > 0.0 { x + tail } else { tail }
}

#[inline(always)]
fn logistic<const FUSED: bool>(x: f64) -> f64 {
    let tail = exp_of_nonpositive::<FUSED>(-x.abs());
    (if x < 0.0 { tail } else { 1.0 }) / (1.0 + tail)
}

#[inline(always)]
fn tanh<const FUSED: bool>(x: f64) -> f64 {
    let change = exp_minus_one_of_nonpositive::<FUSED>(-2.0 * x.abs());
    (-change / (2.0 + change)).copysign(x)
}

/// ψ(x): the sum Σ_{j<10} 1/(x + j) as one fraction for x < 10, then the asymptotic series (Abramowitz & Stegun 6.3.18).
#[inline(always)]
fn digamma<const FUSED: bool>(x: f64) -> f64 {
    let is_small = x < 10.0;
    let base = if is_small { x } else { 1.0 };
    let (mut numerator, mut denominator) = (1.0, base);
    for step in 1..10 {
        let factor = base + f64::from(step);
        numerator = multiply_add::<FUSED>(numerator, factor, denominator);
        denominator *= factor;
    }
    let correction = if is_small { numerator / denominator } else { 0.0 };
    let shifted = if is_small { x + 10.0 } else { x };
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series = polynomial::<FUSED, 7>(
        square,
        [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0],
    );
    let value = ln::<FUSED>(shifted) - multiply_add::<FUSED>(square, series, 0.5 * inverse) - correction;
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x < 0.0 {
        f64::NAN
    } else {
        value
    }
}

elementwise! { f64:
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
    /// Replaces each x by ψ(x), to 4e-15 of the larger of |ψ(x)| and 1 ([`crate::special::digamma`] keeps the relative error near the root
    /// too).
    digamma_in_place as digamma_body = digamma;
}

#[inline(always)]
fn log1p_exp_and_logistic_body<const FUSED: bool>(values: &[f64], softplus: &mut [f64], probability: &mut [f64]) {
    for ((x, softplus), probability) in values.iter().zip(softplus).zip(probability) {
        let tail = exp_of_nonpositive::<FUSED>(-x.abs());
        let log = ln_one_plus_of_unit::<FUSED>(tail);
        *softplus = if *x > 0.0 { x + log } else { log };
        *probability = (if *x < 0.0 { tail } else { 1.0 }) / (1.0 + tail);
    }
}

/// Numbers of a register at most.
const LANES: usize = 8;
/// Numbers that are worked on together: four in each lane, which share a division.
const STEP: usize = 4 * LANES;
/// Factors between 1 and 2 whose product is below the largest number, in whole steps.
const FACTORS: usize = 1000 / STEP * STEP;

/// Σ y x − log(1 + eˣ), with Σ log(1 + e^−|x|) as the logarithm of a product, and y − 1/(1 + e⁻ˣ) where they are asked for.
#[inline(always)]
fn bernoulli_logit_body<const FUSED: bool>(labels: &[f64], log_odds: &[f64], residuals: &mut [f64], sum: &mut f64) {
    let differentiate = !residuals.is_empty();
    let mut total = 0.0;
    for from in (0..labels.len()).step_by(FACTORS) {
        let to = (from + FACTORS).min(labels.len());
        let (mut linear, mut product) = ([0.0; LANES], [1.0; LANES]);
        let (y, y_rest) = labels[from..to].as_chunks::<STEP>();
        let (x, x_rest) = log_odds[from..to].as_chunks::<STEP>();
        if differentiate {
            let (r, r_rest) = residuals[from..to].as_chunks_mut::<STEP>();
            for ((y, x), r) in y.iter().zip(x).zip(r) {
                bernoulli_logit_step::<FUSED, true>(y, x, r, &mut linear, &mut product);
            }
            let mut spare = [0.0; STEP];
            if !y_rest.is_empty() {
                let (y, x) = (padded(y_rest, 0.0), padded(x_rest, LOWEST));
                bernoulli_logit_step::<FUSED, true>(&y, &x, &mut spare, &mut linear, &mut product);
            }
            r_rest.copy_from_slice(&spare[..r_rest.len()]);
        } else {
            let mut none = [0.0; STEP];
            for (y, x) in y.iter().zip(x) {
                bernoulli_logit_step::<FUSED, false>(y, x, &mut none, &mut linear, &mut product);
            }
            if !y_rest.is_empty() {
                let (y, x) = (padded(y_rest, 0.0), padded(x_rest, LOWEST));
                bernoulli_logit_step::<FUSED, false>(&y, &x, &mut none, &mut linear, &mut product);
            }
        }
        let together = ((product[0] * product[4]) * (product[2] * product[6]))
            * ((product[1] * product[5]) * (product[3] * product[7]));
        let linear =
            ((linear[0] + linear[4]) + (linear[2] + linear[6])) + ((linear[1] + linear[5]) + (linear[3] + linear[7]));
        total += linear - ln::<FUSED>(together);
    }
    *sum = total;
}

/// Log odds at which a row with label 0 adds nothing.
const LOWEST: f64 = -1e4;

/// Numbers followed by as many others as are missing.
#[inline(always)]
fn padded(values: &[f64], other: f64) -> [f64; STEP] {
    let mut all = [other; STEP];
    all[..values.len()].copy_from_slice(values);
    all
}

/// One step: adds y x − max(x, 0) to `linear`, multiplies `product` by 1 + e^−|x|, and writes the residuals. The reciprocals of four
/// factors come from that of their product.
#[inline(always)]
fn bernoulli_logit_step<const FUSED: bool, const DIFFERENTIATE: bool>(
    y: &[f64; STEP],
    x: &[f64; STEP],
    residuals: &mut [f64; STEP],
    linear: &mut [f64; LANES],
    product: &mut [f64; LANES],
) {
    let (y, _) = y.as_chunks::<LANES>();
    let (x, _) = x.as_chunks::<LANES>();
    let (residuals, _) = residuals.as_chunks_mut::<LANES>();
    let (mut numerator, mut factor) = ([[0.0; LANES]; 4], [[0.0; LANES]; 4]);
    for part in 0..4 {
        for lane in 0..LANES {
            let x = x[part][lane];
            let magnitude = -x.abs();
            let clamped = if magnitude < -708.0 { -708.0 } else { magnitude };
            let (rounded, _, remainder) = reduce::<FUSED>(clamped);
            let power = power_of_two(rounded);
            let tail = multiply_add::<FUSED>(reduced_exp_minus_one::<FUSED>(remainder), power, power);
            numerator[part][lane] = if x < 0.0 { tail } else { 1.0 };
            factor[part][lane] = 1.0 + tail;
            linear[lane] = multiply_add::<FUSED>(y[part][lane], x, linear[lane]) - if x > 0.0 { x } else { 0.0 };
        }
    }
    for lane in 0..LANES {
        let factor: [f64; 4] = std::array::from_fn(|part| factor[part][lane]);
        let pairs = [factor[0] * factor[1], factor[2] * factor[3]];
        let all = pairs[0] * pairs[1];
        product[lane] *= all;
        if DIFFERENTIATE {
            let inverse = 1.0 / all;
            let inverses = [inverse * pairs[1], inverse * pairs[0]];
            for part in 0..4 {
                let probability = numerator[part][lane] * factor[part ^ 1] * inverses[part / 2];
                residuals[part][lane] = y[part][lane] - probability;
            }
        }
    }
}

for_every_instruction_set! {
    /// The log likelihood Σ y x − log(1 + eˣ) of labels y (0 or 1) whose log odds are x, into `sum`, and its derivatives y − 1/(1 + e⁻ˣ) into
    /// `residuals` unless that is empty. One logarithm serves a thousand rows.
    pub fn bernoulli_logit(labels: &[f64], log_odds: &[f64], residuals: &mut [f64], sum: &mut f64) = bernoulli_logit_body;
}

for_every_instruction_set! {
    /// Writes log(1 + eˣ) and its derivative 1/(1 + e⁻ˣ) with one exponential; all three slices have the same length.
    pub fn log1p_exp_and_logistic_into(values: &[f64], softplus: &mut [f64], probability: &mut [f64]) = log1p_exp_and_logistic_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kernel = fn(&mut [f64]);
    type Function = fn(f64) -> f64;

    fn points(lower: f64, upper: f64, count: usize) -> Vec<f64> {
        (0..count).map(|i| lower + (upper - lower) * (i as f64 + 0.123) / count as f64).collect()
    }

    /// The largest distance, in units of the last place of the expected value.
    fn largest_ulps(values: &[f64], kernel: Kernel, reference: impl Fn(f64) -> f64) -> f64 {
        let mut found = values.to_vec();
        kernel(&mut found);
        let ulps = values.iter().zip(&found).map(|(x, y)| {
            let expected = reference(*x);
            let unit = f64::from_bits(expected.abs().to_bits() + 1) - expected.abs();
            (y - expected).abs() / unit
        });
        ulps.fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_good_to_a_unit_in_the_last_place() {
        assert!(largest_ulps(&points(-700.0, 709.0, 300_001), exp_in_place, f64::exp) <= 1.5);
        assert!(largest_ulps(&points(-1.0, 1.0, 300_001), exp_in_place, f64::exp) <= 1.0);
        let mut special =
            [0.0, f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 709.782, 710.0, -745.0, -744.0, -746.0, 1e-300];
        exp_in_place(&mut special);
        assert_eq!(special[..3], [1.0, 0.0, f64::INFINITY]);
        assert!(special[3].is_nan() && special[4].is_finite() && special[5] == f64::INFINITY);
        assert_eq!(special[6..], [(-745f64).exp(), (-744f64).exp(), 0.0, 1.0]);
    }

    #[test]
    fn ln_is_good_to_a_unit_in_the_last_place() {
        let wide: Vec<f64> = points(-1070.0, 1023.0, 300_001).into_iter().map(f64::exp2).collect();
        assert!(largest_ulps(&wide, ln_in_place, f64::ln) <= 1.0);
        assert!(largest_ulps(&points(0.4, 2.2, 300_001), ln_in_place, f64::ln) <= 1.5);
        let mut special = [0.0, 1.0, f64::INFINITY, -1.0, f64::NAN];
        ln_in_place(&mut special);
        assert_eq!(special[..3], [f64::NEG_INFINITY, 0.0, f64::INFINITY]);
        assert!(special[3].is_nan() && special[4].is_nan());
    }

    #[test]
    fn softplus_logistic_and_tanh_are_accurate() {
        let values = points(-40.0, 40.0, 100_001);
        assert!(largest_ulps(&values, log1p_exp_in_place, crate::special::log1p_exp) <= 3.0);
        assert!(largest_ulps(&values, logistic_in_place, crate::special::logistic) <= 3.0);
        assert!(largest_ulps(&values, tanh_in_place, f64::tanh) <= 4.0);
        assert!(largest_ulps(&points(-1e-3, 1e-3, 10_001), tanh_in_place, f64::tanh) <= 4.0);
        let (mut softplus, mut probability) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        log1p_exp_and_logistic_into(&values, &mut softplus, &mut probability);
        let (mut one, mut other) = (values.clone(), values);
        log1p_exp_in_place(&mut one);
        logistic_in_place(&mut other);
        assert!(softplus == one && probability == other);
        let mut extremes = [-1e300, 1e300, f64::NEG_INFINITY, f64::INFINITY];
        tanh_in_place(&mut extremes);
        assert_eq!(extremes, [-1.0, 1.0, -1.0, 1.0]);
    }

    #[test]
    fn the_bernoulli_likelihood_agrees_with_its_terms() {
        for n in [0, 1, 15, 16, 100, 40_007] {
            let x: Vec<f64> =
                (0..n).map(|i| (f64::from(i) * 0.7).sin() * if i % 11 == 0 { 800.0 } else { 8.0 }).collect();
            let y: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
            let (mut residuals, mut sum, mut value) = (vec![0.0; n as usize], f64::NAN, f64::NAN);
            bernoulli_logit(&y, &x, &mut residuals, &mut sum);
            bernoulli_logit(&y, &x, &mut [], &mut value);
            assert_eq!(sum, value);
            let expected: f64 = x.iter().zip(&y).map(|(x, y)| y * x - crate::special::log1p_exp(*x)).sum();
            assert!((sum - expected).abs() <= 1e-13 * (1.0 + expected.abs()), "{n}: {sum} against {expected}");
            for ((x, y), r) in x.iter().zip(&y).zip(&residuals) {
                assert!((r - (y - crate::special::logistic(*x))).abs() < 1e-15);
            }
        }
        let mut sum = 0.0;
        bernoulli_logit(&[1.0; 20], &[f64::NAN; 20], &mut [], &mut sum);
        assert!(sum.is_nan());
    }

    #[test]
    fn digamma_agrees_with_the_scalar_one() {
        let mut values: Vec<f64> = points(-20.0, 25.0, 50_001).into_iter().map(f64::exp).collect();
        let expected: Vec<f64> = values.iter().map(|x| crate::special::digamma(*x)).collect();
        digamma_in_place(&mut values);
        for (found, expected) in values.iter().zip(expected) {
            assert!((found - expected).abs() <= 4e-15 * expected.abs().max(1.0), "{found} against {expected}");
        }
        let mut special = [0.0, -1.0, f64::NAN];
        digamma_in_place(&mut special);
        assert!(special[0] == f64::NEG_INFINITY && special[1].is_nan() && special[2].is_nan());
    }

    #[test]
    fn every_fused_instruction_set_gives_the_same_numbers() {
        // Without the target features multiply-add is a library call, exactly rounded like the instruction.
        if super::super::instruction_set() == super::super::InstructionSet::Baseline && !super::super::BASELINE_FUSED {
            return;
        }
        let kernels: [(&str, Kernel, Function); 6] = [
            ("exp", exp_in_place, exp::<true>),
            ("ln", ln_in_place, ln::<true>),
            ("log1p_exp", log1p_exp_in_place, log1p_exp::<true>),
            ("logistic", logistic_in_place, logistic::<true>),
            ("tanh", tanh_in_place, tanh::<true>),
            ("digamma", digamma_in_place, digamma::<true>),
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
        let kernels: [(&str, Kernel); 6] = [
            ("exp", exp_in_place),
            ("ln", ln_in_place),
            ("log1p_exp", log1p_exp_in_place),
            ("logistic", logistic_in_place),
            ("tanh", tanh_in_place),
            ("digamma", digamma_in_place),
        ];
        for (name, kernel) in kernels {
            let mut whole = values.clone();
            kernel(&mut whole);
            for split in [1, 3, 8, 17, 64, 100] {
                let mut parts = values.clone();
                let (left, right) = parts.split_at_mut(split);
                kernel(left);
                kernel(right);
                let same = parts.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} changes when split at {split}");
            }
        }
    }

    #[test]
    fn the_unfused_fallback_is_accurate_too() {
        for x in points(-700.0, 700.0, 20_001) {
            assert!((exp::<false>(x) / x.exp() - 1.0).abs() < 1e-14);
            let positive = (x * 0.5).exp();
            assert!((ln::<false>(positive) - x * 0.5).abs() < 1e-15 * (1.0 + x.abs()));
            assert!((tanh::<false>(x / 100.0) - (x / 100.0).tanh()).abs() < 1e-15);
        }
    }
}
