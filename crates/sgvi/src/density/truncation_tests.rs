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
        (Truncated::Normal, [0.31, 1e10, 0.72, -1.5, 2.0], -32600308614.527116, [19290123456.192131, -3.2600308640975311, 90556412881.138824]),
        (Truncated::Normal, [0.31, -1e10, 0.72, -1.5, 2.0], -34915123431.029817, [-19290123457.388119, 3.4915123455790126, 96986454038.090771]),
        (Truncated::Normal, [1.9999, 300.0, 0.72, -1.5, 2.0], 6.2966228803928799, [574.84587191358029, 0.0031627642862072544, -2.6180821806922364]),
        (Truncated::Normal, [0.31, 1e20, 0.72, -1.5, 2.0], -3.2600308641975311e20, [1.9290123456790125e20, -3.2600308641975311, 9.0556412894375868e20]),
        (Truncated::Normal, [6.5, 0.3, 1.0, 6.0, 9.0], -1.2058261097029161, [-6.2, 0.33399460723305386, 4.0037692685516409]),
        (Truncated::Normal, [6.5, 0.3, 1.0, 6.0, f64::INFINITY], -1.2058261099799308, [-6.2, 0.33399460641694557, 4.0037692565765897]),
        (Truncated::Normal, [0.31, 0.5, 1e9, -1.5, 2.0], -1.252762968495368, [1.9e-19, 5.9999999999999998e-20, -1.0472333333333333e-27]),
        (Truncated::Normal, [0.31, 0.5, 1.3, 0.3, 0.32], 3.9120326566636276, [0.11242603550295857, -2.2174583637431364e-6, -1.452390723967858e-5]),
        (Truncated::Normal, [-50.0, 3.0, 1.3, f64::NEG_INFINITY, -40.0], -280.7862851238913, [31.360946745562128, -5.8939462683615527, 435.42242845782156]),
        (Truncated::HalfNormal, [30.2, 1.3, 0.0, 30.0, 31.0], -0.68379226749222941, [-17.869822485207099, 3.9446012607068522, 0.0]),
        (Truncated::HalfNormal, [30.2, 1.3, 0.0, 30.0, f64::INFINITY], -0.68379228155114656, [-17.869822485207099, 3.9446008703565951, 0.0]),
        (Truncated::HalfNormal, [0.2, 1e8, 0.0, -1.0, 1.0], 1.4666666666666666e-17, [-2.0000000000000001e-17, -2.9333333333333332e-25, 0.0]),
        (Truncated::Laplace, [0.31, 1e15, 0.72, -1.5, 2.0], -2.010946154317623, [1.3888888888888889, 0.0, 1.9238194148261732]),
        (Truncated::Laplace, [0.31, -1e15, 0.72, -1.5, 2.0], -2.1776128209842897, [-1.3888888888888889, 0.0, 2.1553008963076546]),
        (Truncated::Laplace, [0.31, 0.5, 1e9, -1.5, 2.0], -1.2527629677925109, [1.0e-9, -8.5714285726530612e-10, -7.028571425710034e-19]),
        (Truncated::Laplace, [80.0, 0.3, 1.0, 70.0, f64::INFINITY], -10.0, [-1.0, 0.0, 9.0]),
        (Truncated::Logistic, [0.31, 1e15, 0.72, -1.5, 2.0], -2.010946154317623, [1.3888888888888889, 0.0, 1.9238194148261732]),
        (Truncated::Logistic, [0.31, -1e15, 0.72, -1.5, 2.0], -2.1776128209842897, [-1.3888888888888889, 0.0, 2.1553008963076546]),
        (Truncated::Logistic, [0.31, 0.5, 1e9, -1.5, 2.0], -1.252762968495368, [9.5000000000000001e-20, 2.9999999999999999e-20, -5.2361666666666667e-28]),
        (Truncated::Logistic, [80.0, 0.3, 1.0, 70.0, f64::INFINITY], -10.0, [-1.0, 5.3658085811835326e-31, 9.0]),
        (Truncated::Logistic, [9.0, 0.3, 1.0, 8.0, 10.0], -0.85440567970047016, [-0.99966688387044533, 0.00018078583330246563, 0.31421677976543882]),
        (Truncated::LogNormal, [1.1, 1e8, 0.7, 0.4, 3.0], -204755512.16014899, [185528755.87140969, -2.0475553142118058, 585015800.56819842]),
        (Truncated::LogNormal, [1.1, -1e8, 0.7, 0.4, 3.0], -206449145.76249521, [-185528758.0432471, 2.0644916464866939, 589854753.71775905]),
        (Truncated::LogNormal, [1.1, -40.0, 0.7, 0.4, f64::INFINITY], -77.448146542911062, [-75.297421483867026, 2.0389219373037456, 230.66437935490793]),
        (Truncated::LogNormal, [1.1, 40.0, 0.7, 0.0, 3.0], -76.400508652940315, [73.12558408199569, -2.0218659202847694, 227.65778595384141]),
        (Truncated::Exponential, [2.001, 1e12, 0.0, 2.0, 5.0], -999999972.36886875, [-1000000000000.0, -0.00099999999899988987, 0.0]),
        (Truncated::Exponential, [2.5, 1e-12, 0.0, 2.0, 5.0], -1.0986122886671097, [-9.9999999999999998e-13, 0.99999999999925, 0.0]),
        (Truncated::Exponential, [3.0, 90.0, 0.0, 2.0, f64::INFINITY], -85.500190329669735, [-90.0, -0.98888888888888889, 0.0]),
        (Truncated::Gamma, [1.1, 1e6, 2.0, 0.4, 3.0], -1003284.5886694066, [909087.99999999993, -1.0033011088577847, 1.8999969999849999]),
        (Truncated::Gamma, [1.1, 3.3, 500.0, 0.4, 3.0], -341.47021819021815, [-497.90909090909091, 1.0065686518518792, -0.69797696693490062]),
        (Truncated::Gamma, [1.1, 3.3, 5000.0, 0.4, f64::INFINITY], -3489.1572747977332, [-4997.9090909090909, 1.011100586917376, -0.69979976996564431]),
        (Truncated::Gamma, [1.1, 0.01, 20.0, 0.4, f64::INFINITY], -11.899457975204035, [-20.9, 0.90890161125870055, -0.6546401890716574]),
        (Truncated::Gamma, [1.1, 900.0, 0.2, 0.0, 3.0], -895.88547954196976, [817.07272727272721, -1.0021902581644106, 1.8966681524162081]),
        (Truncated::Gamma, [1.1, 2.0, 1.5, 1.0, 1.2], 1.6102397028113148, [-0.59090909090909098, 0.0031665839353820239, -0.0019620465772884674]),
        (Truncated::Gamma, [1e-7, 0.5, 1.5, 0.0, 1e-6], 14.273656273901252, [-5000001.5000000002, -0.30258442632740568, 2.3333320000001904e-7]),
        (Truncated::InverseGamma, [1.1, 1e6, 2.0, 0.4, 3.0], -1011584.00966492, [-909090.16528925612, -1.0115999116734799, 1.5909065908990908]),
        (Truncated::InverseGamma, [1.1, 3.3, 5000.0, 0.4, 3.0], -2868.1550912294687, [4128.3223140495861, 1.0027016412766474, -0.57555729970814491]),
        (Truncated::InverseGamma, [1.1, 3.3, 5000.0, 0.0, 3.0], -2868.1550912294687, [4128.3223140495861, 1.0027016412766474, -0.57555729970814491]),
        (Truncated::InverseGamma, [1.1, 60.0, 0.01, 0.4, f64::INFINITY], -56.681521144741984, [-55.446280991735533, -0.99492752376578271, 1.5499092233750439]),
        (Truncated::Beta, [0.5, 800.0, 2.0, 0.4, 0.6], -138.2582138835574, [1596.0, -0.18106922326227106, 0.22127090300879414]),
        (Truncated::Beta, [0.5, 20.0, 0.3, 0.0, 0.6], -0.067666831270463744, [39.4, -0.13436289279446431, 0.15854197262142173]),
        (Truncated::Beta, [0.5, 2.0, 3.0, 0.49, 0.51], 3.9121563476511576, [-2.0, 0.00019999733099623303, -6.6662221172302874e-5]),
        (Truncated::Cauchy, [0.31, 1e10, 0.72, -1.5, 2.0], -1.252762968483368, [2.000000000062e-10, -1.1999999939422e-21, -1.7279999898551519e-31]),
        (Truncated::Cauchy, [0.31, -1e15, 0.72, -1.5, 2.0], -1.2527629684953681, [-1.9999999999999994e-15, -1.2000000000000605e-31, 1.7280063556065781e-46]),
        (Truncated::Cauchy, [0.31, 0.5, 1e9, -1.5, 2.0], -1.252762968495368, [3.8e-19, 1.1999999999999999e-19, -2.0944666666666667e-27]),
        (Truncated::Cauchy, [50.0, 0.3, 1.0, 20.0, 90.0], -4.5827326018392149, [-0.040225163794115148, -0.021584946205117151, 0.0013641582225121443]),
        (Truncated::Beta, [0.5, 2.0, 800.0, 0.4, 0.6], -138.2582138835574, [-1596.0, 0.22127090300879414, -0.18106922326227106]),
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
