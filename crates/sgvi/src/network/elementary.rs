//! Exponential, logistic, softplus, hyperbolic tangent and error function in f32, written so that loops over them vectorise.

use super::vectorize::fused;

/// eˣ with relative error below 3e-7; x is clamped to [−87, 88].
///
/// eˣ = 2ⁿ·eʳ with n = round(x / ln 2) and |r| ≤ ln 2 / 2, eʳ by its Taylor polynomial of degree 7 (Cody & Waite 1980).
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fused::<FUSED>(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = fused::<FUSED>(n, -LN_2_HIGH, x);
    let r = fused::<FUSED>(n, -LN_2_LOW, r);
    let p = fused::<FUSED>(r, 1.0 / 5040.0, 1.0 / 720.0);
    let p = fused::<FUSED>(p, r, 1.0 / 120.0);
    let p = fused::<FUSED>(p, r, 1.0 / 24.0);
    let p = fused::<FUSED>(p, r, 1.0 / 6.0);
    let p = fused::<FUSED>(p, r, 0.5);
    let p = fused::<FUSED>(p, r, 1.0);
    let p = fused::<FUSED>(p, r, 1.0);
    let exponent = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127) << 23;
    let power = p * f32::from_bits(exponent);
    if x.is_nan() { x } else { power }
}

/// ln(1 + e) for e in [0, 1], to 2e-7.
///
/// ln(1 + e) = 2·atanh(s) with s = e / (2 + e) ≤ 1/3, by the series of the inverse hyperbolic tangent.
#[inline(always)]
pub(crate) fn log1p_unit<const FUSED: bool>(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let t = s * s;
    let p = fused::<FUSED>(t, 1.0 / 13.0, 1.0 / 11.0);
    let p = fused::<FUSED>(p, t, 1.0 / 9.0);
    let p = fused::<FUSED>(p, t, 1.0 / 7.0);
    let p = fused::<FUSED>(p, t, 0.2);
    let p = fused::<FUSED>(p, t, 1.0 / 3.0);
    let p = fused::<FUSED>(p, t, 1.0);
    2.0 * s * p
}

/// softplus(x) = ln(1 + eˣ) and its derivative, the logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn softplus_and_logistic<const FUSED: bool>(x: f32) -> (f32, f32) {
    let e = exp::<FUSED>(-x.abs());
    let softplus = (if x > 0.0 { x } else { 0.0 }) + log1p_unit::<FUSED>(e);
    let inverse = 1.0 / (1.0 + e);
    let logistic = if x >= 0.0 { inverse } else { e * inverse };
    (if x.is_nan() { x } else { softplus }, logistic)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn logistic<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// tanh(x), relative error below 1e-6.
#[inline(always)]
pub(crate) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let square = x * x;
    let p = fused::<FUSED>(square, 62.0 / 2835.0, -17.0 / 315.0);
    let p = fused::<FUSED>(p, square, 2.0 / 15.0);
    let p = fused::<FUSED>(p, square, -1.0 / 3.0);
    let small = fused::<FUSED>(x * square, p, x);
    let large = 1.0 - 2.0 / (exp::<FUSED>(2.0 * x.abs()) + 1.0);
    let large = if x < 0.0 { -large } else { large };
    if square < 0.04 { small } else { large }
}

/// The standard normal distribution function Φ(x) and density φ(x); absolute error below 2e-7.
///
/// Abramowitz & Stegun 7.1.26.
#[inline(always)]
pub(crate) fn normal_cdf_and_density<const FUSED: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fused::<FUSED>(0.327_591_1, z, 1.0);
    let p = fused::<FUSED>(1.061_405_4, t, -1.453_152_1);
    let p = fused::<FUSED>(p, t, 1.421_413_7);
    let p = fused::<FUSED>(p, t, -0.284_496_72);
    let p = fused::<FUSED>(p, t, 0.254_829_6);
    let gaussian = exp::<FUSED>(-z * z);
    let tail = 0.5 * p * t * gaussian;
    let cdf = if x >= 0.0 { 1.0 - tail } else { tail };
    (cdf, gaussian * 0.398_942_3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-2000..=2000).map(|i| i as f32 * 0.02)
    }

    #[test]
    fn elementary_functions_agree_with_double_precision() {
        for x in grid() {
            let wide = f64::from(x);
            let relative = |got: f32, want: f64| (f64::from(got) - want).abs() / want.abs().max(1e-30);
            assert!(relative(exp::<true>(x), wide.exp()) < 4e-7, "exp {x}");
            assert!(relative(exp::<false>(x), wide.exp()) < 4e-7, "exp {x}");
            let (softplus, slope) = softplus_and_logistic::<true>(x);
            let want = wide.max(0.0) + (-wide.abs()).exp().ln_1p();
            assert!(relative(softplus, want) < 5e-7, "softplus {x}");
            assert!(relative(slope, 1.0 / (1.0 + (-wide).exp())) < 5e-7, "logistic {x}");
            assert!(relative(logistic::<true>(x), 1.0 / (1.0 + (-wide).exp())) < 5e-7);
            if x != 0.0 {
                assert!(relative(tanh::<true>(x), wide.tanh()) < 2e-6, "tanh {x}");
            }
        }
    }

    #[test]
    fn normal_cdf_matches_tabulated_values() {
        for (x, cdf) in
            [(-3.0_f32, 0.001_349_898), (-1.0, 0.158_655_25), (0.0, 0.5), (0.5, 0.691_462_46), (2.0, 0.977_249_87)]
        {
            let (got, density) = normal_cdf_and_density::<true>(x);
            assert!((got - cdf).abs() < 3e-7, "{x}: {got}");
            assert!(
                (f64::from(density) - (-0.5 * f64::from(x * x)).exp() / (2.0 * std::f64::consts::PI).sqrt()).abs()
                    < 1e-7
            );
        }
    }

    #[test]
    fn not_a_number_stays_so() {
        assert!(exp::<true>(f32::NAN).is_nan());
        assert!(softplus_and_logistic::<true>(f32::NAN).0.is_nan());
    }
}
