//! Vectorised elementary functions of f64 slices, to about one unit in the last place.

use super::elementary::elementary_functions;
use super::{elementwise, for_every_instruction_set};
use std::f64::consts::{LOG2_E, SQRT_2};

const ROUNDER: f64 = 6_755_399_441_055_744.0;
const MANTISSA_BITS: u32 = 52;
const TWO_TO_MANTISSA: f64 = 4_503_599_627_370_496.0;
const BIAS: f64 = 1023.0;
const ONE_BITS: u64 = 0x3ff0_0000_0000_0000;
const LN_2_UPPER: f64 = 0.693_147_180_369_123_8;
const LN_2_LOWER: f64 = 1.908_214_929_270_587_7e-10;
const EXP_DOMAIN: (f64, f64) = (-746.0, 710.0);
const SMALLEST_NORMAL: f64 = -708.0;
const ALL_BUT_ONE: f64 = -100.0;
/// To 1e-17.
const EXP: [f64; 10] = [
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
];
const LN: [f64; 7] = [
    0.666_666_666_666_667,
    0.399_999_999_998_992,
    0.285_714_286_261_145_2,
    0.222_222_111_121_049_48,
    0.181_828_907_780_261_3,
    0.153_316_666_765_971_75,
    0.146_171_283_998_073,
];
const LN_ONE_PLUS: [f64; 11] = [
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
];

elementary_functions!(f64);

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
    /// Replaces each x by ψ(x), to 4e-15 of the larger of |ψ(x)| and 1 ([`crate::special::digamma`] keeps the relative error near the root
    /// too).
    digamma_in_place as digamma_body = digamma;
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

#[cfg(test)]
mod tests {
    use super::super::elementary::bitwise_tests;
    use super::*;

    bitwise_tests! { f64:
        exp_in_place = exp,
        ln_in_place = ln,
        log1p_exp_in_place = log1p_exp,
        logistic_in_place = logistic,
        tanh_in_place = tanh,
        digamma_in_place = digamma,
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
    fn the_unfused_fallback_is_accurate_too() {
        for x in points(-700.0, 700.0, 20_001) {
            assert!((exp::<false>(x) / x.exp() - 1.0).abs() < 1e-14);
            let positive = (x * 0.5).exp();
            assert!((ln::<false>(positive) - x * 0.5).abs() < 1e-15 * (1.0 + x.abs()));
            assert!((tanh::<false>(x / 100.0) - (x / 100.0).tanh()).abs() < 1e-15);
        }
    }
}
