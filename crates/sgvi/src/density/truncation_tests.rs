//! Truncated densities far in their tails against numbers of 90 digits, and all densities at extreme arguments.

use super::{Kernel, Truncated};

/// The log density between bounds with its derivatives in the value and two parameters, as the log joint puts it together.
fn truncated(family: Truncated, [x, p, q, lower, upper]: [f64; 5]) -> (f64, [f64; 3]) {
    let all = [true; 5];
    let mass = [p, q, lower, upper, 0.0];
    let ((a, da), (b, db)) = if family.is_light() {
        (Kernel::Relative(family).at(&[x, p, q, lower, upper], &all), Kernel::RelativeMass(family).at(&mass, &all))
    } else {
        (Kernel::Cauchy.at(&[x, p, q, 0.0, 0.0], &all), Kernel::Mass(family).at(&mass, &all))
    };
    (a - b, [da[0], da[1] - db[0], da[2] - db[1]])
}

/// Value, two parameters and bounds; the log density and its derivatives in the first three, computed with 90 digits (mpmath 1.4).
#[test]
fn densities_between_far_bounds_keep_their_digits() {
    #[rustfmt::skip]
    let cases: [(Truncated, [f64; 5], f64, [f64; 3]); 47] = [
        (Truncated::Normal, [0.31, 1e10, 0.72, -1.5, 2.0], -32600308614.5271, [19290123456.1921, -3.26003086409753, 90556412881.1388]),
        (Truncated::Normal, [0.31, -1e10, 0.72, -1.5, 2.0], -34915123431.0298, [-19290123457.3881, 3.49151234557901, 96986454038.0908]),
        (Truncated::Normal, [1.9999, 300.0, 0.72, -1.5, 2.0], 6.29662288039288, [574.84587191358, 0.00316276428620725, -2.61808218069224]),
        (Truncated::Normal, [0.31, 1e20, 0.72, -1.5, 2.0], -3.26003086419753e20, [1.92901234567901e20, -3.26003086419753, 9.05564128943759e20]),
        (Truncated::Normal, [6.5, 0.3, 1.0, 6.0, 9.0], -1.20582610970292, [-6.2, 0.333994607233054, 4.00376926855164]),
        (Truncated::Normal, [6.5, 0.3, 1.0, 6.0, f64::INFINITY], -1.20582610997993, [-6.2, 0.333994606416946, 4.00376925657659]),
        (Truncated::Normal, [0.31, 0.5, 1e9, -1.5, 2.0], -1.25276296849537, [1.9e-19, 6.0e-20, -1.04723333333333e-27]),
        (Truncated::Normal, [0.31, 0.5, 1.3, 0.3, 0.32], 3.91203265666363, [0.112426035502959, -2.21745836374314e-6, -1.45239072396786e-5]),
        (Truncated::Normal, [-50.0, 3.0, 1.3, f64::NEG_INFINITY, -40.0], -280.786285123891, [31.3609467455621, -5.89394626836155, 435.422428457822]),
        (Truncated::HalfNormal, [30.2, 1.3, 0.0, 30.0, 31.0], -0.683792267492229, [-17.8698224852071, 3.94460126070685, 0.0]),
        (Truncated::HalfNormal, [30.2, 1.3, 0.0, 30.0, f64::INFINITY], -0.683792281551147, [-17.8698224852071, 3.9446008703566, 0.0]),
        (Truncated::HalfNormal, [0.2, 1e8, 0.0, -1.0, 1.0], 1.46666666666667e-17, [-2.0e-17, -2.93333333333333e-25, 0.0]),
        (Truncated::Laplace, [0.31, 1e15, 0.72, -1.5, 2.0], -2.01094615431762, [1.38888888888889, 0.0, 1.92381941482617]),
        (Truncated::Laplace, [0.31, -1e15, 0.72, -1.5, 2.0], -2.17761282098429, [-1.38888888888889, 0.0, 2.15530089630765]),
        (Truncated::Laplace, [0.31, 0.5, 1e9, -1.5, 2.0], -1.25276296779251, [1.0e-9, -8.57142857265306e-10, -7.02857142571003e-19]),
        (Truncated::Laplace, [80.0, 0.3, 1.0, 70.0, f64::INFINITY], -10.0, [-1.0, 0.0, 9.0]),
        (Truncated::Logistic, [0.31, 1e15, 0.72, -1.5, 2.0], -2.01094615431762, [1.38888888888889, 0.0, 1.92381941482617]),
        (Truncated::Logistic, [0.31, -1e15, 0.72, -1.5, 2.0], -2.17761282098429, [-1.38888888888889, 0.0, 2.15530089630765]),
        (Truncated::Logistic, [0.31, 0.5, 1e9, -1.5, 2.0], -1.25276296849537, [9.5e-20, 3.0e-20, -5.23616666666667e-28]),
        (Truncated::Logistic, [80.0, 0.3, 1.0, 70.0, f64::INFINITY], -10.0, [-1.0, 5.36580858118353e-31, 9.0]),
        (Truncated::Logistic, [9.0, 0.3, 1.0, 8.0, 10.0], -0.85440567970047, [-0.999666883870445, 0.000180785833302466, 0.314216779765439]),
        (Truncated::LogNormal, [1.1, 1e8, 0.7, 0.4, 3.0], -204755512.160149, [185528755.87141, -2.04755531421181, 585015800.568198]),
        (Truncated::LogNormal, [1.1, -1e8, 0.7, 0.4, 3.0], -206449145.762495, [-185528758.043247, 2.06449164648669, 589854753.717759]),
        (Truncated::LogNormal, [1.1, -40.0, 0.7, 0.4, f64::INFINITY], -77.4481465429111, [-75.297421483867, 2.03892193730375, 230.664379354908]),
        (Truncated::LogNormal, [1.1, 40.0, 0.7, 0.0, 3.0], -76.4005086529403, [73.1255840819957, -2.02186592028477, 227.657785953841]),
        (Truncated::Exponential, [2.001, 1e12, 0.0, 2.0, 5.0], -999999972.368869, [-1000000000000.0, -0.00099999999899989, 0.0]),
        (Truncated::Exponential, [2.5, 1e-12, 0.0, 2.0, 5.0], -1.09861228866711, [-10.0e-13, 0.99999999999925, 0.0]),
        (Truncated::Exponential, [3.0, 90.0, 0.0, 2.0, f64::INFINITY], -85.5001903296697, [-90.0, -0.988888888888889, 0.0]),
        (Truncated::Gamma, [1.1, 1e6, 2.0, 0.4, 3.0], -1003284.58866941, [909088.0, -1.00330110885778, 1.899996999985]),
        (Truncated::Gamma, [1.1, 3.3, 500.0, 0.4, 3.0], -341.470218190218, [-497.909090909091, 1.00656865185188, -0.697976966934901]),
        (Truncated::Gamma, [1.1, 3.3, 5000.0, 0.4, f64::INFINITY], -3489.15727479773, [-4997.90909090909, 1.01110058691738, -0.699799769965644]),
        (Truncated::Gamma, [1.1, 0.01, 20.0, 0.4, f64::INFINITY], -11.899457975204, [-20.9, 0.908901611258701, -0.654640189071657]),
        (Truncated::Gamma, [1.1, 900.0, 0.2, 0.0, 3.0], -895.88547954197, [817.072727272727, -1.00219025816441, 1.89666815241621]),
        (Truncated::Gamma, [1.1, 2.0, 1.5, 1.0, 1.2], 1.61023970281131, [-0.590909090909091, 0.00316658393538202, -0.00196204657728847]),
        (Truncated::Gamma, [1e-7, 0.5, 1.5, 0.0, 1e-6], 14.2736562739013, [-5000001.5, -0.302584426327406, 2.33333200000019e-7]),
        (Truncated::InverseGamma, [1.1, 1e6, 2.0, 0.4, 3.0], -1011584.00966492, [-909090.165289256, -1.01159991167348, 1.59090659089909]),
        (Truncated::InverseGamma, [1.1, 3.3, 5000.0, 0.4, 3.0], -2868.15509122947, [4128.32231404959, 1.00270164127665, -0.575557299708145]),
        (Truncated::InverseGamma, [1.1, 3.3, 5000.0, 0.0, 3.0], -2868.15509122947, [4128.32231404959, 1.00270164127665, -0.575557299708145]),
        (Truncated::InverseGamma, [1.1, 60.0, 0.01, 0.4, f64::INFINITY], -56.681521144742, [-55.4462809917355, -0.994927523765783, 1.54990922337504]),
        (Truncated::Beta, [0.5, 800.0, 2.0, 0.4, 0.6], -138.258213883557, [1596.0, -0.181069223262271, 0.221270903008794]),
        (Truncated::Beta, [0.5, 20.0, 0.3, 0.0, 0.6], -0.0676668312704637, [39.4, -0.134362892794464, 0.158541972621422]),
        (Truncated::Beta, [0.5, 2.0, 3.0, 0.49, 0.51], 3.91215634765116, [-2.0, 0.000199997330996233, -6.66622211723029e-5]),
        (Truncated::Cauchy, [0.31, 1e10, 0.72, -1.5, 2.0], -1.25276296848337, [2.000000000062e-10, -1.1999999939422e-21, -1.72799998985515e-31]),
        (Truncated::Cauchy, [0.31, -1e15, 0.72, -1.5, 2.0], -1.25276296849537, [-2e-15, -1.20000000000006e-31, 1.72800635560658e-46]),
        (Truncated::Cauchy, [0.31, 0.5, 1e9, -1.5, 2.0], -1.25276296849537, [3.8e-19, 1.2e-19, -2.09446666666667e-27]),
        (Truncated::Cauchy, [50.0, 0.3, 1.0, 20.0, 90.0], -4.58273260183921, [-0.0402251637941151, -0.0215849462051171, 0.00136415822251214]),
        (Truncated::Beta, [0.5, 2.0, 800.0, 0.4, 0.6], -138.258213883557, [-1596.0, 0.221270903008794, -0.181069223262271]),
    ];
    for (family, arguments, value, derivatives) in cases {
        let (found, d) = truncated(family, arguments);
        assert!((found - value).abs() < 1e-11 * (1.0 + value.abs()), "{family:?} {arguments:?}: {found} {value}");
        for (i, (found, wanted)) in d.iter().zip(derivatives).enumerate() {
            assert!(
                (found - wanted).abs() < 1e-9 * (1.0 + wanted.abs()),
                "{family:?} {arguments:?} {i}: {found} {wanted}"
            );
        }
    }
}

/// Derivatives in the bounds against differences, in the middle and in the tails.
#[test]
fn derivatives_in_the_bounds() {
    let cases = [
        (Truncated::Normal, [0.31, 30.0, 0.72, -1.5, 2.0]),
        (Truncated::Normal, [0.31, 0.3, 0.72, -1.5, 2.0]),
        (Truncated::HalfNormal, [30.2, 1.3, 0.0, 30.0, 31.0]),
        (Truncated::Laplace, [0.31, 30.0, 0.72, -1.5, 2.0]),
        (Truncated::Logistic, [0.31, -30.0, 0.72, -1.5, 2.0]),
        (Truncated::LogNormal, [1.1, 40.0, 0.7, 0.4, 3.0]),
        (Truncated::Exponential, [2.5, 3.0, 0.0, 2.0, 5.0]),
        (Truncated::Gamma, [1.1, 3.3, 50.0, 0.4, 3.0]),
        (Truncated::Gamma, [1.1, 90.0, 2.0, 0.4, 3.0]),
        (Truncated::InverseGamma, [1.1, 3.3, 50.0, 0.4, 3.0]),
        (Truncated::InverseGamma, [1.1, 90.0, 2.0, 0.4, 3.0]),
        (Truncated::Beta, [0.5, 80.0, 2.0, 0.4, 0.6]),
        (Truncated::Beta, [0.5, 2.0, 3.0, 0.4, 0.6]),
        (Truncated::Cauchy, [0.31, 90.0, 0.72, -1.5, 2.0]),
    ];
    for (family, a) in cases {
        let all = [true; 5];
        let mass = [a[1], a[2], a[3], a[4], 0.0];
        let found: [f64; 2] = if family.is_light() {
            let (relative, mass) =
                (Kernel::Relative(family).at(&a, &all).1, Kernel::RelativeMass(family).at(&mass, &all).1);
            [relative[3] - mass[2], relative[4] - mass[3]]
        } else {
            let mass = Kernel::Mass(family).at(&mass, &all).1;
            [-mass[2], -mass[3]]
        };
        for (i, found) in [3, 4].into_iter().zip(found) {
            let (mut up, mut down) = (a, a);
            let h = 1e-5;
            up[i] += h;
            down[i] -= h;
            let wanted = (truncated(family, up).0 - truncated(family, down).0) / (2.0 * h);
            assert!((found - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{family:?} {a:?} {i}: {found} {wanted}");
        }
    }
}

/// Every log density is a number or −∞ at extreme arguments within its domain, and its derivatives are no NaN.
#[test]
fn extreme_arguments_never_give_nan() {
    use vi_families::special::{ln_beta, ln_choose, ln_factorial, ln_gamma};
    let real = [-1e300, -1e150, -1e9, -1.3, -1e-150, 0.0, 1e-150, 0.7, 1e9, 1e150, 1e300];
    let positive = [1e-300, 1e-150, 1e-9, 0.7, 1.0, 2.0, 1e9, 1e150, 1e300];
    let unit = [1e-300, 1e-150, 1e-9, 0.7, 1.0 - 1e-9, 1.0 - f64::EPSILON];
    let counts = [0.0f64, 1.0, 7.0, 1e9, 1e15];
    let mut wrong = Vec::new();
    let mut check = |kernel: Kernel, a: [f64; 5]| {
        let (value, partials) = kernel.at(&a, &[true; 5]);
        if value.is_nan() || value == f64::INFINITY || partials.iter().any(|p| p.is_nan()) {
            wrong.push(format!("{kernel:?} {a:?}: {value} {partials:?}"));
        }
    };
    let student = |nu: f64| ln_gamma(0.5 * nu + 0.5) - ln_gamma(0.5 * nu) - 0.5 * (nu.ln() + std::f64::consts::PI.ln());
    for x in real {
        for m in real {
            for s in positive {
                for kernel in [
                    Kernel::NormalSd,
                    Kernel::NormalPrecision,
                    Kernel::NormalVariance,
                    Kernel::Cauchy,
                    Kernel::Laplace,
                    Kernel::Logistic,
                ] {
                    check(kernel, [x, m, s, 0.0, 0.0]);
                }
                for nu in positive {
                    check(Kernel::StudentT, [x, nu, m, s, student(nu)]);
                }
            }
        }
    }
    for x in positive {
        for p in positive {
            check(Kernel::Exponential, [x, p, 0.0, 0.0, 0.0]);
            check(Kernel::HalfNormal, [x, p, 0.0, 0.0, 0.0]);
            check(Kernel::HalfCauchy, [x, p, 0.0, 0.0, 0.0]);
            for q in positive {
                check(Kernel::Gamma, [x, p, q, ln_gamma(p), 0.0]);
                check(Kernel::InverseGamma, [x, p, q, ln_gamma(p), 0.0]);
            }
            for m in real {
                check(Kernel::LogNormal, [x, m, p, 0.0, 0.0]);
            }
        }
    }
    for k in counts {
        for p in unit {
            check(Kernel::BernoulliProbability, [k.min(1.0), p, 0.0, 0.0, 0.0]);
            check(Kernel::BinomialProbability, [k, 2.0 * k, p, ln_choose(2.0 * k, k), 0.0]);
        }
        for eta in real {
            check(Kernel::BernoulliLogit, [k.min(1.0), eta, 0.0, 0.0, 0.0]);
            check(Kernel::BernoulliProbit, [k.min(1.0), eta, 0.0, 0.0, 0.0]);
            check(Kernel::BinomialLogit, [k, 2.0 * k, eta, ln_choose(2.0 * k, k), 0.0]);
            check(Kernel::PoissonLogRate, [k, eta, ln_factorial(k), 0.0, 0.0]);
        }
        for rate in positive {
            check(Kernel::PoissonRate, [k, rate, ln_factorial(k), 0.0, 0.0]);
            for dispersion in positive {
                check(Kernel::NegativeBinomial, [k, rate, dispersion, ln_factorial(k), 0.0]);
            }
        }
    }
    for x in unit {
        for a in positive {
            for b in positive {
                check(Kernel::Beta, [x, a, b, ln_beta(a, b), 0.0]);
            }
        }
    }
    // Between bounds: two parameters and a third.
    for (family, first, second) in [
        (Truncated::Normal, &real[..], &positive[..]),
        (Truncated::Laplace, &real, &positive),
        (Truncated::Logistic, &real, &positive),
        (Truncated::LogNormal, &real, &positive),
        (Truncated::HalfNormal, &positive, &positive[..1]),
        (Truncated::Exponential, &positive, &positive[..1]),
        (Truncated::Gamma, &positive, &positive),
        (Truncated::InverseGamma, &positive, &positive),
        (Truncated::Beta, &positive, &positive),
        (Truncated::Cauchy, &real, &positive),
        (Truncated::StudentT, &real, &positive),
        (Truncated::HalfCauchy, &positive, &positive[..1]),
        (Truncated::HalfStudentT, &positive, &positive),
    ] {
        for p in first {
            for q in second {
                for (lower, upper) in [(0.2, 0.9), (0.2, 0.2 + 1e-9), (f64::NEG_INFINITY, 0.9), (0.2, f64::INFINITY)] {
                    if family.is_light() {
                        for x in [0.2, 0.2 + 5e-10, 0.5, 0.9] {
                            if x >= lower && x <= upper {
                                check(Kernel::Relative(family), [x, *p, *q, lower, upper]);
                            }
                        }
                        check(Kernel::RelativeMass(family), [*p, *q, lower, upper, 0.0]);
                    } else {
                        check(Kernel::Mass(family), [*p, *q, lower, upper, 2.5]);
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong[..wrong.len().min(400)].join("\n"));
}
