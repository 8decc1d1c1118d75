//! Special functions of the families: gamma and beta functions, log-sum-exp and its kin, and the normal distribution in both tails.

use special::Error as _;
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

/// ½ log 2π.
pub const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;
/// log 2π.
pub const LN_TWO_PI: f64 = 1.837_877_066_409_345_6;
/// log π.
pub const LN_PI: f64 = 1.144_729_885_849_400_2;
const SQRT_PI: f64 = 1.772_453_850_905_516;

/// log Γ(x) for x > 0; +∞ at 0 and not a number below.
#[inline]
pub fn ln_gamma(x: f64) -> f64 {
    if x < 0.0 { f64::NAN } else { special::Gamma::ln_gamma(x).0 }
}

/// The positive root of ψ, and what its f64 leaves out.
const DIGAMMA_ROOT: f64 = 1.461_632_144_968_362_2;
const DIGAMMA_ROOT_REST: f64 = 9.549_995_429_965_697e-17;
/// ψ⁽ⁿ⁾(root)/n! for n = 1 … 13, computed with 50 digits.
const DIGAMMA_AT_ROOT: [f64; 13] = [
    0.967_672_245_447_621_2,
    -0.442_763_168_983_592_1,
    0.258_499_760_955_651,
    -0.163_942_705_442_406_52,
    0.107_824_050_691_262_37,
    -0.072_199_561_256_454_71,
    0.048_804_288_164_143_11,
    -0.033_161_126_474_847_36,
    0.022_597_648_232_218_104,
    -0.015_424_765_904_948_96,
    0.010_538_791_616_612_175,
    -0.007_204_534_386_356_869,
    0.004_926_781_395_729_853,
];

/// ψ(x) = d/dx log Γ(x) for x > 0; −∞ at 0 and not a number below. Recurrence up to 10, then the asymptotic series
/// (Abramowitz & Stegun 6.3.5, 6.3.18); near the root Taylor's series there, so that the relative error stays small.
#[inline]
pub fn digamma(x: f64) -> f64 {
    if x <= 0.0 {
        return if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    }
    let offset = (x - DIGAMMA_ROOT) - DIGAMMA_ROOT_REST;
    if offset.abs() < 0.1 {
        return offset * DIGAMMA_AT_ROOT.iter().rev().fold(0.0, |sum, coefficient| sum * offset + coefficient);
    }
    let mut shifted = x;
    let mut sum = 0.0;
    while shifted < 10.0 {
        sum += 1.0 / shifted;
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series = square
        * (1.0 / 12.0
            - square
                * (1.0 / 120.0
                    - square
                        * (1.0 / 252.0
                            - square
                                * (1.0 / 240.0
                                    - square
                                        * (1.0 / 132.0
                                            - square
                                                * (691.0 / 32_760.0
                                                    - square * (1.0 / 12.0 - square * (3617.0 / 8160.0))))))));
    shifted.ln() - 0.5 * inverse - series - sum
}

/// ψ′(x) for x > 0; +∞ at 0 and not a number below (Abramowitz & Stegun 6.4.6, 6.4.12).
#[inline]
pub fn trigamma(x: f64) -> f64 {
    if x <= 0.0 {
        return if x == 0.0 { f64::INFINITY } else { f64::NAN };
    }
    let mut shifted = x;
    let mut sum = 0.0;
    while shifted < 10.0 {
        sum += 1.0 / (shifted * shifted);
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series = 1.0 / 6.0
        - square
            * (1.0 / 30.0
                - square
                    * (1.0 / 42.0
                        - square
                            * (1.0 / 30.0
                                - square
                                    * (5.0 / 66.0
                                        - square
                                            * (691.0 / 2730.0 - square * (7.0 / 6.0 - square * (3617.0 / 510.0)))))));
    sum + inverse + 0.5 * square + inverse * square * series
}

/// The x > 0 with ψ(x) = y, by Newton's method from Minka's starting point (Minka 2000, "Estimating a Dirichlet
/// distribution", appendix C).
pub fn inverse_digamma(y: f64) -> f64 {
    if y.is_nan() {
        return f64::NAN;
    }
    if y > 700.0 {
        return f64::INFINITY;
    }
    let mut x = if y >= -2.22 { y.exp() + 0.5 } else { -1.0 / (y + 0.577_215_664_901_532_9) };
    for _ in 0..20 {
        let step = (digamma(x) - y) / trigamma(x);
        let next = if x - step > 0.0 { x - step } else { 0.5 * x };
        if (next - x).abs() <= 2.0 * f64::EPSILON * next {
            return next;
        }
        x = next;
    }
    x
}

/// log Γ(x) − (x − ½) log x + x − ½ log 2π for x ≥ 10: the remainder of Stirling's formula (Abramowitz & Stegun 6.1.41).
fn stirling_remainder(x: f64) -> f64 {
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square
                        * (1.0 / 1260.0
                            - square
                                * (1.0 / 1680.0
                                    - square
                                        * (1.0 / 1188.0
                                            - square
                                                * (691.0 / 360_360.0
                                                    - square * (1.0 / 156.0 - square * (3617.0 / 122_400.0))))))))
}

/// log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b) for a, b > 0, without the cancellation of large arguments.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a <= b { (a, b) } else { (b, a) };
    if large < 10.0 {
        return ln_gamma(small) + ln_gamma(large) - ln_gamma(small + large);
    }
    let sum = small + large;
    let ratio = (-small / sum).ln_1p();
    if small < 10.0 {
        ln_gamma(small) + stirling_remainder(large) - stirling_remainder(sum) + small - small * sum.ln()
            + (large - 0.5) * ratio
    } else {
        HALF_LN_TWO_PI - 0.5 * large.ln() + stirling_remainder(small) + stirling_remainder(large)
            - stirling_remainder(sum)
            + (small - 0.5) * (small / sum).ln()
            + large * ratio
    }
}

/// log Γ_d(x) = ¼ d (d − 1) log π + Σ_{j<d} log Γ(x − j/2) for x > (d − 1)/2, d = `dimension` (Bishop PRML B.79 as the
/// Wishart's constant).
pub fn multivariate_ln_gamma(x: f64, dimension: usize) -> f64 {
    let d = dimension as f64;
    0.25 * d * (d - 1.0) * LN_PI + (0..dimension).map(|j| ln_gamma(x - 0.5 * j as f64)).sum::<f64>()
}

/// ψ_d(x) = Σ_{j<d} ψ(x − j/2), the derivative of [`multivariate_ln_gamma`] (Bishop PRML B.81).
pub fn multivariate_digamma(x: f64, dimension: usize) -> f64 {
    (0..dimension).map(|j| digamma(x - 0.5 * j as f64)).sum()
}

/// ψ′_d(x) = Σ_{j<d} ψ′(x − j/2), the derivative of [`multivariate_digamma`].
pub fn multivariate_trigamma(x: f64, dimension: usize) -> f64 {
    (0..dimension).map(|j| trigamma(x - 0.5 * j as f64)).sum()
}

/// log n! for a whole number n ≥ 0.
#[inline]
pub fn ln_factorial(n: f64) -> f64 {
    ln_gamma(n + 1.0)
}

/// log (n choose k) for whole numbers 0 ≤ k ≤ n.
pub fn ln_choose(n: f64, k: f64) -> f64 {
    if k == 0.0 || k == n { 0.0 } else { -(n + 1.0).ln() - ln_beta(n - k + 1.0, k + 1.0) }
}

/// log Σᵢ exp(xᵢ); −∞ for no elements. See [`crate::rows`] for many rows at once.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// log(exp(a) + exp(b)).
#[inline]
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large.is_infinite() { large } else { large + (small - large).exp().ln_1p() }
}

/// log(1 + exp(x)), the softplus function.
#[inline]
pub fn log1p_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// log(1 − exp(x)) for x ≤ 0 (Mächler 2012).
#[inline]
pub fn log1m_exp(x: f64) -> f64 {
    if x > -LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// The inverse of [`log1p_exp`]: log(exp(y) − 1) for y > 0.
#[inline]
pub fn inverse_log1p_exp(y: f64) -> f64 {
    y + log1m_exp(-y)
}

/// 1 / (1 + exp(−x)).
#[inline]
pub fn logistic(x: f64) -> f64 {
    let tail = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + tail) } else { tail / (1.0 + tail) }
}

/// log(1 / (1 + exp(−x))).
#[inline]
pub fn log_logistic(x: f64) -> f64 {
    -log1p_exp(-x)
}

/// log(p / (1 − p)) for p in [0, 1].
#[inline]
pub fn logit(probability: f64) -> f64 {
    probability.ln() - (-probability).ln_1p()
}

/// x log x, with its limit 0 at 0.
#[inline]
pub fn x_ln_x(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * x.ln() }
}

/// x log y, which is 0 where x = 0 whatever y.
#[inline]
pub fn x_ln_y(x: f64, y: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * y.ln() }
}

/// The error function.
#[inline]
pub fn erf(x: f64) -> f64 {
    x.error()
}

/// The complementary error function 1 − erf(x), accurate in the upper tail.
#[inline]
pub fn erfc(x: f64) -> f64 {
    x.compl_error()
}

/// exp(x²) erfc(x), which stays finite in the upper tail (asymptotic series from 10 on: Abramowitz & Stegun 7.1.23).
pub fn scaled_erfc(x: f64) -> f64 {
    if x < 10.0 {
        let square = x * x;
        let rounding = x.mul_add(x, -square);
        return square.exp() * (1.0 + rounding) * erfc(x);
    }
    let step = -0.5 / (x * x);
    let mut term = 1.0;
    let mut sum = 1.0;
    for odd in (1..24).step_by(2) {
        term *= step * odd as f64;
        sum += term;
    }
    sum / (x * SQRT_PI)
}

/// log density of the standard normal, −½x² − ½ log 2π.
#[inline]
pub fn normal_log_density(x: f64) -> f64 {
    -0.5 * x * x - HALF_LN_TWO_PI
}

/// Φ(x), the standard normal's distribution function, accurate in the lower tail.
#[inline]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// log Φ(x), finite and accurate in both tails.
pub fn log_normal_cdf(x: f64) -> f64 {
    if x > 0.0 {
        (-0.5 * erfc(x * FRAC_1_SQRT_2)).ln_1p()
    } else if x > -1.0 {
        normal_cdf(x).ln()
    } else {
        -0.5 * x * x - LN_2 + scaled_erfc(-x * FRAC_1_SQRT_2).ln()
    }
}

/// The inverse Mills ratio φ(x) / Φ(x) = d/dx log Φ(x), accurate in both tails.
pub fn inverse_mills_ratio(x: f64) -> f64 {
    if x < 0.0 {
        (2.0 / PI).sqrt() / scaled_erfc(-x * FRAC_1_SQRT_2)
    } else {
        normal_log_density(x).exp() / normal_cdf(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
        let scale = if expected == 0.0 { 1.0 } else { expected.abs() };
        assert!((found - expected).abs() <= tolerance * scale, "{what}: found {found:e}, expected {expected:e}");
    }

    /// (x, log Γ, ψ, ψ′) computed with 50 digits (mpmath 1.3).
    const GAMMA_TABLE: [(f64, f64, f64, f64); 20] = [
        (1e-08, 18.42068073818021, -100000000.57721564, 1.0000000000000002e+16),
        (1e-05, 11.512919692895826, -100000.57719921567, 10000000001.644909),
        (0.001, 6.907178885383853, -1000.5755719318103, 1000001.6425331958),
        (0.1, 2.252712651734206, -10.423754940411076, 101.43329915079275),
        (0.5, 0.5723649429247001, -1.9635100260214235, 4.934802200544679),
        (0.9, 0.06637623973474295, -0.7549269499470513, 1.9225399594772035),
        (1.0000001, -5.772155829918507e-08, -0.5772155004081381, 1.6449338264368782),
        (1.3, -0.10817480950786047, -0.16919088886679962, 1.1342534349966193),
        (1.4616321449683622, -0.12148629053584961, -9.241265521729427e-17, 0.9676722454476212),
        (1.9999, -4.227520877215346e-05, 0.42271983967113097, 0.6449744806987031),
        (2.5, 0.2846828704729192, 0.7031566406452432, 0.49035775610023485),
        (3.75, 1.486815578593417, 1.1825373886117962, 0.3053398526902531),
        (7.9, 8.32426586800881, 2.002238487563571, 0.13493078345663442),
        (10.0, 12.801827480081469, 2.251752589066721, 0.10516633568168575),
        (33.3, 82.60372358165495, 3.490467238520243, 0.030485444095338887),
        (123.456, 469.6055471299295, 4.811829323828985, 0.008132945834278198),
        (10000.0, 82099.71749644238, 9.210290371142849, 0.00010000500016666666),
        (1000000.0, 12815504.569147611, 13.815510057964191, 1.0000005000001667e-06),
        (1000000000.0, 19723265827.503716, 20.723265836446412, 1.0000000005e-09),
        (1000000000000.0, 26631021115915.652, 27.63102111592805, 1.0000000000005e-12),
    ];

    #[test]
    fn gamma_functions_match_fifty_digit_values() {
        for (x, ln_gamma_value, digamma_value, trigamma_value) in GAMMA_TABLE {
            assert_close(ln_gamma(x), ln_gamma_value, 1e-13, &format!("ln_gamma({x})"));
            assert_close(trigamma(x), trigamma_value, 2e-15, &format!("trigamma({x})"));
            assert_close(digamma(x), digamma_value, 2e-14, &format!("digamma({x})"));
        }
        assert_eq!(digamma(0.0), f64::NEG_INFINITY);
        assert!(digamma(-0.5).is_nan() && trigamma(-0.5).is_nan() && ln_gamma(-0.5).is_nan());
    }

    #[test]
    fn inverse_digamma_inverts_digamma() {
        for x in [1e-8, 1e-3, 0.2, 1.0, 1.46, 5.0, 77.0, 1e6, 1e12] {
            assert_close(
                inverse_digamma(digamma(x)),
                x,
                2e-14 * digamma(x).abs().max(1.0),
                &format!("inverse_digamma at {x}"),
            );
        }
    }

    #[test]
    fn ln_beta_keeps_digits_at_large_arguments() {
        let table = [
            (1e-08, 1e-08, 19.11382792451231),
            (0.001, 5.0, 6.905672657062075),
            (0.5, 0.5, 1.1447298858494002),
            (2.5, 3.5, -3.301835269962053),
            (0.1, 1000000000000.0, -0.5103894598586041),
            (3.0, 10000000000.0, -68.38440560956143),
            (20.0, 1000000000000.0, -513.2805381315615),
            (1000000.0, 1000000.0, -1386300.003362921),
            (15.5, 40.25, -33.235364178063335),
            (1000000000.0, 1000000000000.0, -7908255121.840948),
        ];
        for (a, b, expected) in table {
            assert_close(ln_beta(a, b), expected, 2e-14, &format!("ln_beta({a}, {b})"));
            assert_close(ln_beta(b, a), expected, 2e-14, &format!("ln_beta({b}, {a})"));
        }
    }

    #[test]
    fn multivariate_gamma_matches_fifty_digit_values() {
        let table = [
            (1.2, 3.4166518077332357, -6.798103346882312),
            (2.0, 1.596312591138855, -0.1179413558244892),
            (5.5, 11.306699197583205, 4.50608174337308),
            (1000.0, 17707.018107163225, 20.720264210695294),
        ];
        for (x, ln_gamma_value, digamma_value) in table {
            assert_close(multivariate_ln_gamma(x, 3), ln_gamma_value, 1e-14, "ln_gamma");
            assert_close(multivariate_digamma(x, 3), digamma_value, 2e-14, "digamma");
        }
        let step = 1e-5;
        let difference = (multivariate_digamma(4.0 + step, 3) - multivariate_digamma(4.0 - step, 3)) / (2.0 * step);
        assert_close(multivariate_trigamma(4.0, 3), difference, 1e-9, "trigamma");
    }

    #[test]
    fn choose_and_factorial_match_whole_numbers() {
        assert_close(ln_factorial(20.0), 2_432_902_008_176_640_000f64.ln(), 1e-15, "20!");
        assert_close(ln_choose(50.0, 3.0), 19_600f64.ln(), 1e-13, "50 choose 3");
        assert_eq!(ln_choose(7.0, 7.0), 0.0);
        assert_eq!(ln_choose(7.0, 0.0), 0.0);
    }

    #[test]
    fn scaled_erfc_matches_fifty_digit_values() {
        let table = [
            (-2.0, 108.94090438997797),
            (0.0, 1.0),
            (0.3, 0.7345993345676551),
            (1.0, 0.427583576155807),
            (5.0, 0.11070463773306863),
            (9.99, 0.05619664070685882),
            (10.01, 0.056085454355001924),
            (26.0, 0.021683584850562907),
            (100.0, 0.005641613782989433),
            (10000000000.0, 5.641895835477563e-11),
        ];
        for (x, expected) in table {
            assert_close(scaled_erfc(x), expected, 2e-15, &format!("scaled_erfc({x})"));
        }
    }

    /// (x, Φ, log Φ, φ/Φ) computed with 400 digits (mpmath 1.3).
    const NORMAL_TABLE: [(f64, f64, f64, f64); 19] = [
        (-1000000.0, 0.0, -500000000014.73444, 1000000.000001),
        (-1000.0, 0.0, -500007.82669481216, 1000.000999998),
        (-50.0, 0.0, -1254.8313611394199, 50.019984031905636),
        (-38.0, 2.88542835e-316, -726.5572160188201, 38.02627946657587),
        (-20.0, 2.7536241186062337e-89, -203.91715537109727, 20.04975306852785),
        (-14.2, 4.58062055189479e-46, -104.39707979709809, 14.269740750769811),
        (-14.1, 1.8988485212291758e-45, -102.97508152373534, 14.170225826653482),
        (-10.0, 7.619853024160525e-24, -53.23128515051247, 10.098093233962512),
        (-5.5, 1.8989562465887718e-08, -17.77937635262526, 5.671410313897305),
        (-4.0, 3.1671241833119924e-05, -10.360101486527292, 4.225607144489471),
        (-3.9, 4.8096344017602736e-05, -9.942304391691357, 4.130365320908112),
        (-1.0, 0.15865525393145705, -1.8410216450092636, 1.525135276160981),
        (-0.1, 0.460172162722971, -0.7761545927302733, 0.8626174715309362),
        (0.0, 0.5, -LN_2, 0.7978845608028654),
        (0.5, 0.6914624612740131, -0.3689464152886564, 0.5091604338370335),
        (2.0, 0.9772498680518208, -0.02301290932896349, 0.055247862678989956),
        (5.0, 0.9999997133484281, -2.866516129637636e-07, 1.4867199409049056e-06),
        (8.0, 0.9999999999999993, -6.220960574271786e-16, 5.052271083536895e-15),
        (20.0, 1.0, -2.7536241186062337e-89, 5.520948362159764e-88),
    ];

    #[test]
    fn normal_distribution_function_is_accurate_in_both_tails() {
        for (x, cdf, log_cdf, ratio) in NORMAL_TABLE {
            // Far in the tail the argument's own rounding counts x² times.
            assert_close(normal_cdf(x), cdf, 1e-15 * (1.0 + x * x), &format!("normal_cdf({x})"));
            assert_close(
                log_normal_cdf(x),
                log_cdf,
                1e-14 * (1.0 + if x > 0.0 { x * x } else { 0.0 }),
                &format!("log_normal_cdf({x})"),
            );
            assert_close(
                inverse_mills_ratio(x),
                ratio,
                1e-14 * (1.0 + if x > 0.0 { x * x } else { 0.0 }),
                &format!("mills({x})"),
            );
        }
        assert_close(erf(0.5), 0.520_499_877_813_046_5, 1e-15, "erf");
    }

    #[test]
    fn log_sum_exp_and_kin_are_stable() {
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), f64::NEG_INFINITY);
        assert_close(log_sum_exp(&[1000.0, 1000.0]), 1000.0 + LN_2, 1e-15, "log_sum_exp");
        assert_close(log_add_exp(-1000.0, -1001.0), log_sum_exp(&[-1000.0, -1001.0]), 1e-15, "log_add_exp");
        assert_eq!(log1p_exp(800.0), 800.0);
        assert_close(log1p_exp(-40.0), (-40f64).exp(), 1e-15, "log1p_exp");
        assert_close(inverse_log1p_exp(log1p_exp(-3.0)), -3.0, 1e-14, "inverse_log1p_exp");
        assert_close(log_logistic(-800.0), -800.0, 1e-15, "log_logistic");
        for x in [-30.0, -2.0, 0.0, 0.7, 30.0] {
            assert_close(logistic(x), 1.0 / (1.0 + (-x).exp()), 1e-15, "logistic");
            if x.abs() < 10.0 {
                assert!((logit(logistic(x)) - x).abs() < 1e-12, "logit");
            }
        }
        assert_close(log1m_exp(-1e-10), (1e-10f64).ln(), 1e-10, "log1m_exp near 0");
        assert_eq!(x_ln_x(0.0), 0.0);
        assert_eq!(x_ln_y(0.0, 0.0), 0.0);
    }
}
