//! Vectorised elementary functions of f32 slices, for networks.

use super::elementary::elementary_functions;
use super::{elementwise, for_every_instruction_set};
use std::f32::consts::{LOG2_E, SQRT_2};

const ROUNDER: f32 = 12_582_912.0;
const MANTISSA_BITS: u32 = 23;
const TWO_TO_MANTISSA: f32 = 8_388_608.0;
const BIAS: f32 = 127.0;
const ONE_BITS: u32 = 0x3f80_0000;
const LN_2_UPPER: f32 = 0.693_145_75;
const LN_2_LOWER: f32 = 1.428_606_8e-6;
const EXP_DOMAIN: (f32, f32) = (-104.5, 89.0);
const SMALLEST_NORMAL: f32 = -87.0;
const ALL_BUT_ONE: f32 = -60.0;
/// To 1e-8.
const EXP: [f32; 5] = [0.5, 0.166_665_77, 0.041_666_556, 0.008_363_179, 0.001_392_618_4];
const LN: [f32; 3] = [0.666_666_85, 0.399_887_7, 0.295_804_68];
const LN_ONE_PLUS: [f32; 5] = [0.666_666_7, 0.399_997_06, 0.285_923_6, 0.217_065_76, 0.232_243_3];

elementary_functions!(f32);

#[cfg(test)]
mod tests {
    use super::super::elementary::bitwise_tests;
    use super::*;

    bitwise_tests! { f32:
        exp_in_place = exp,
        ln_in_place = ln,
        log1p_exp_in_place = log1p_exp,
        logistic_in_place = logistic,
        tanh_in_place = tanh,
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
}
