//! The elementary functions that f64 and f32 have in common: one text, compiled for each with its own constants.

/// Defines, for a type of numbers, the functions of one element and the public kernels over slices.
///
/// The module that calls it has the constants of its format: `ROUNDER` (1.5 · 2^mantissa bits: adding it rounds to the nearest whole
/// number and leaves that number in the low bits), `MANTISSA_BITS`, `TWO_TO_MANTISSA` (2 to that power), `BIAS` (of the exponent),
/// `ONE_BITS` (of 1), `LN_2_UPPER` and `LN_2_LOWER` (log 2, split so that whole multiples of the upper part are exact), `LOG2_E`,
/// `SQRT_2`; the ends `EXP_DOMAIN`, `SMALLEST_NORMAL` and `ALL_BUT_ONE` beyond which eˣ is 0 or ∞, is 0 where it need not be subnormal,
/// and leaves eˣ − 1 at −1; and the coefficients `EXP`, `LN`, `LN_ONE_PLUS`, the constant term first.
macro_rules! elementary_functions {
    ($number:ident) => {
        /// What a subnormal number is scaled by before its exponent is read, as a power of two: beyond the mantissa.
        const SUBNORMAL_SHIFT: $number = (MANTISSA_BITS + 2) as $number;

        #[inline(always)]
        pub(crate) fn multiply_add<const FUSED: bool>(a: $number, b: $number, c: $number) -> $number {
            if FUSED { a.mul_add(b, c) } else { a * b + c }
        }

        /// Horner's rule, the constant term first in the list.
        #[inline(always)]
        fn polynomial<const FUSED: bool, const N: usize>(x: $number, coefficients: [$number; N]) -> $number {
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
        fn reduce<const FUSED: bool>(x: $number) -> ($number, $number, $number) {
            let rounded = multiply_add::<FUSED>(x, LOG2_E, ROUNDER);
            let n = rounded - ROUNDER;
            let remainder = multiply_add::<FUSED>(n, -LN_2_LOWER, multiply_add::<FUSED>(n, -LN_2_UPPER, x));
            (rounded, n, remainder)
        }

        /// 2ⁿ for a whole number n, the exponent of a normal number, held as n + `ROUNDER`.
        #[inline(always)]
        fn power_of_two(rounded: $number) -> $number {
            $number::from_bits((rounded.to_bits() << MANTISSA_BITS).wrapping_add(ONE_BITS))
        }

        /// eʳ − 1 for |r| ≤ ½ log 2: r + r² g(r), g by interpolation at Chebyshev's points.
        #[inline(always)]
        fn reduced_exp_minus_one<const FUSED: bool>(r: $number) -> $number {
            let g = polynomial::<FUSED, { EXP.len() }>(r, EXP);
            multiply_add::<FUSED>(r * r, g, r)
        }

        /// eˣ for every x: the power of two is applied in two halves, so that results near 0 are subnormal and not zero.
        #[inline(always)]
        fn exp<const FUSED: bool>(x: $number) -> $number {
            let x = if x < EXP_DOMAIN.0 { EXP_DOMAIN.0 } else { x };
            let x = if x > EXP_DOMAIN.1 { EXP_DOMAIN.1 } else { x };
            let (_, n, remainder) = reduce::<FUSED>(x);
            let first = n * 0.5 + ROUNDER;
            let second = (n - (first - ROUNDER)) + ROUNDER;
            let mantissa = 1.0 + reduced_exp_minus_one::<FUSED>(remainder);
            mantissa * power_of_two(first) * power_of_two(second)
        }

        /// eˣ for x ≤ 0, and 0 where it is about the smallest normal number.
        #[inline(always)]
        pub(crate) fn exp_of_nonpositive<const FUSED: bool>(x: $number) -> $number {
            let clamped = if x < SMALLEST_NORMAL { SMALLEST_NORMAL } else { x };
            let (rounded, _, remainder) = reduce::<FUSED>(clamped);
            let value = (1.0 + reduced_exp_minus_one::<FUSED>(remainder)) * power_of_two(rounded);
            if x < SMALLEST_NORMAL { 0.0 } else { value }
        }

        /// eˣ − 1 for x ≤ 0, without cancellation near 0.
        #[inline(always)]
        fn exp_minus_one_of_nonpositive<const FUSED: bool>(x: $number) -> $number {
            let clamped = if x < ALL_BUT_ONE { ALL_BUT_ONE } else { x };
            let (rounded, _, remainder) = reduce::<FUSED>(clamped);
            let scale = power_of_two(rounded);
            multiply_add::<FUSED>(reduced_exp_minus_one::<FUSED>(remainder), scale, scale - 1.0)
        }

        /// Natural logarithm: log x = e log 2 + log(1 + f), s = f/(2 + f), log(1 + f) = f − (½f² − s (½f² + R(s²))), where
        /// log((1 + s)/(1 − s)) = 2s + s R(s²), R by interpolation at Chebyshev's points.
        #[inline(always)]
        pub(crate) fn ln<const FUSED: bool>(x: $number) -> $number {
            let is_subnormal = x < $number::MIN_POSITIVE;
            let scaled = if is_subnormal { x * (TWO_TO_MANTISSA * 4.0) } else { x };
            let bits = scaled.to_bits();
            // Adding the distance from √½ to 1 carries into the exponent where the mantissa exceeds √½.
            let exponent = bits.wrapping_add(ONE_BITS - (SQRT_2 * 0.5).to_bits()) >> MANTISSA_BITS;
            let e =
                $number::from_bits(exponent | TWO_TO_MANTISSA.to_bits()) - TWO_TO_MANTISSA - if is_subnormal { BIAS + SUBNORMAL_SHIFT } else { BIAS };
            let f = $number::from_bits(bits.wrapping_sub(exponent << MANTISSA_BITS).wrapping_add(ONE_BITS)) - 1.0;
            let s = f / (2.0 + f);
            let z = s * s;
            let r = z * polynomial::<FUSED, { LN.len() }>(z, LN);
            let half_square = 0.5 * f * f;
            let value = multiply_add::<FUSED>(
                e,
                LN_2_UPPER,
                f - (half_square - multiply_add::<FUSED>(s, half_square + r, e * LN_2_LOWER)),
            );
            let value = if x == 0.0 { $number::NEG_INFINITY } else { value };
            let value = if x == $number::INFINITY { $number::INFINITY } else { value };
            if x < 0.0 || x.is_nan() { $number::NAN } else { value }
        }

        /// log(1 + u) for 0 ≤ u ≤ 1: 2s + s³ R(s²), s = u/(2 + u), R by interpolation at Chebyshev's points.
        #[inline(always)]
        fn ln_one_plus_of_unit<const FUSED: bool>(u: $number) -> $number {
            let s = u / (2.0 + u);
            let z = s * s;
            let r = z * polynomial::<FUSED, { LN_ONE_PLUS.len() }>(z, LN_ONE_PLUS);
            // u − s (u − R) = 2s + s R, with the leading term exact.
            u - s * (u - r)
        }

        #[inline(always)]
        fn log1p_exp<const FUSED: bool>(x: $number) -> $number {
            let tail = ln_one_plus_of_unit::<FUSED>(exp_of_nonpositive::<FUSED>(-x.abs()));
            if x > 0.0 { x + tail } else { tail }
        }

        #[inline(always)]
        fn logistic<const FUSED: bool>(x: $number) -> $number {
            let tail = exp_of_nonpositive::<FUSED>(-x.abs());
            (if x < 0.0 { tail } else { 1.0 }) / (1.0 + tail)
        }

        #[inline(always)]
        fn tanh<const FUSED: bool>(x: $number) -> $number {
            let change = exp_minus_one_of_nonpositive::<FUSED>(-2.0 * x.abs());
            (-change / (2.0 + change)).copysign(x)
        }

        elementwise! { $number:
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
        fn log1p_exp_and_logistic_body<const FUSED: bool>(values: &[$number], softplus: &mut [$number], probability: &mut [$number]) {
            for ((x, softplus), probability) in values.iter().zip(softplus).zip(probability) {
                let tail = exp_of_nonpositive::<FUSED>(-x.abs());
                let log = ln_one_plus_of_unit::<FUSED>(tail);
                *softplus = if *x > 0.0 { x + log } else { log };
                *probability = (if *x < 0.0 { tail } else { 1.0 }) / (1.0 + tail);
            }
        }

        for_every_instruction_set! {
            /// Writes log(1 + eˣ) and its derivative 1/(1 + e⁻ˣ) with one exponential; all three slices have the same length.
            pub fn log1p_exp_and_logistic_into(values: &[$number], softplus: &mut [$number], probability: &mut [$number]) =
                log1p_exp_and_logistic_body;
        }
    };
}
pub(crate) use elementary_functions;

/// Tests that hold bit for bit in every format, of the kernels named with their functions of one element.
#[cfg(test)]
macro_rules! bitwise_tests {
    ($number:ident: $( $kernel:ident = $function:ident ),* $(,)?) => {
        type Kernel = fn(&mut [$number]);
        type Function = fn($number) -> $number;

        const KERNELS: &[(&str, Kernel, Function)] = &[$( (stringify!($function), $kernel, $function::<true>), )*];

        fn points(lower: $number, upper: $number, count: usize) -> Vec<$number> {
            (0..count).map(|i| lower + (upper - lower) * (i as $number + 0.123) / count as $number).collect()
        }

        #[test]
        fn every_fused_instruction_set_gives_the_same_numbers() {
            // Without the target features multiply-add is a library call, exactly rounded like the instruction.
            if super::super::instruction_set() == super::super::InstructionSet::Baseline && !super::super::BASELINE_FUSED {
                return;
            }
            for (name, kernel, function) in KERNELS {
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
            for (name, kernel, _) in KERNELS {
                let mut whole = values.clone();
                kernel(&mut whole);
                for split in [1, 3, 8, 16, 17, 64, 100] {
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
    };
}
#[cfg(test)]
pub(crate) use bitwise_tests;
