//! Moments E[x], E[x²], E[1/x], … of single elements whose families have other statistics, for reporting and prediction.

use super::Family;

/// Shape of one element's moment: of vectors the second has two axes, of matrices four. A joint variable's powers 1 and 2
/// are those of its location, −1 is the expected inverse of its precision.
pub(crate) fn moment_shape(family: Family, power: i32) -> Vec<usize> {
    let copies = power.unsigned_abs() as usize;
    match family {
        Family::Partial(part) => moment_shape(part.whole(), power),
        Family::Dirichlet(k) | Family::StickBreaking(k) => vec![k; copies],
        Family::Wishart(d) => vec![d; 2 * copies],
        Family::NormalWishart(d) => vec![d; if power == 1 { 1 } else { 2 }],
        Family::NormalGammaVector(d) => vec![d; usize::try_from(power).unwrap_or(0)],
        _ => vec![],
    }
}

/// E[xᵖ] of one element from its natural parameters and statistics (of vectors E[xxᵀ] for p = 2, of matrices E[X⁻¹] for −1).
///
/// A moment that does not exist is infinite; one that is not known is not a number.
pub(crate) fn moment(family: Family, point: bool, natural: &[&[f64]], statistics: &[&[f64]], power: i32) -> Vec<f64> {
    let copies = power.unsigned_abs() as usize;
    let product = |factor: &dyn Fn(f64) -> f64| vec![(0..copies).map(|i| factor(i as f64)).product()];
    let value = |x: f64| vec![x.powi(power)];
    match family {
        Family::Partial(part) => {
            let (whole, number) = (part.whole(), part.whole().num_statistics());
            // An observed value is a point.
            let known = natural[number + 1][0] != 0.0;
            moment(whole, point || known, &natural[..number], &statistics[..number], power)
        }
        Family::Shape => value(statistics[0][0]),
        Family::Gamma if point => value(statistics[0][0]),
        Family::InverseGamma if point => value(1.0 / statistics[0][0]),
        Family::Beta if point => value(statistics[0][0].exp()),
        Family::Gamma => {
            let (shape, rate) = (natural[1][0] + 1.0, -natural[0][0]);
            match power {
                1.. => product(&|i| (shape + i) / rate),
                _ if shape > copies as f64 => product(&|i| rate / (shape - 1.0 - i)),
                _ => vec![f64::INFINITY],
            }
        }
        Family::NormalGamma => vec![normal_gamma_moment(point, natural, statistics, power)],
        Family::NormalGammaVector(d) => normal_gamma_vector_moment(d, point, natural, statistics, power),
        Family::NormalWishart(d) => normal_wishart_moment(d, point, natural, statistics, power),
        Family::InverseGamma => {
            let (shape, scale) = (-natural[1][0] - 1.0, -natural[0][0]);
            if shape > copies as f64 { product(&|i| scale / (shape - 1.0 - i)) } else { vec![f64::INFINITY] }
        }
        Family::Beta => {
            let (a, b) = (natural[0][0] + 1.0, natural[1][0] + 1.0);
            product(&|i| (a + i) / (a + b + i))
        }
        Family::Poisson => {
            let rate = statistics[0][0];
            vec![match power {
                1 => rate,
                2 => rate * (1.0 + rate),
                3 => rate * (1.0 + rate * (3.0 + rate)),
                4 => rate * (1.0 + rate * (7.0 + rate * (6.0 + rate))),
                _ => f64::NAN,
            }]
        }
        Family::Dirichlet(_) | Family::StickBreaking(_) if point => {
            let mode: Vec<f64> = statistics[0].iter().map(|l| l.exp()).collect();
            outer(&mode, copies)
        }
        Family::Dirichlet(_) => {
            let alpha: Vec<f64> = natural[0].iter().map(|n| n + 1.0).collect();
            let total: f64 = alpha.iter().sum();
            if power == 1 {
                return alpha.iter().map(|a| a / total).collect();
            }
            pairs(alpha.len(), copies, |i, j| {
                alpha[i] * (alpha[j] + f64::from(u8::from(i == j))) / (total * (total + 1.0))
            })
        }
        Family::StickBreaking(k) => stick_moments(k, &super::stick_parameters(natural), copies),
        Family::Wishart(d) => {
            let mean = statistics[0];
            if power == 1 {
                return mean.to_vec();
            }
            // cov(Λ_ij, Λ_kl) = ν (W_ik W_jl + W_il W_jk) with νW the mean.
            let degrees = if point { f64::INFINITY } else { 2.0 * natural[1][0] + d as f64 + 1.0 };
            if power == -1 {
                return expected_inverse(mean, d, degrees);
            }
            let at = |i: usize, j: usize| mean[i * d + j];
            let mut all = Vec::with_capacity(d * d * d * d);
            for (i, j) in (0..d * d).map(|e| (e / d, e % d)) {
                for (k, l) in (0..d * d).map(|e| (e / d, e % d)) {
                    all.push(at(i, j) * at(k, l) + (at(i, k) * at(j, l) + at(i, l) * at(j, k)) / degrees);
                }
            }
            if power == 2 { all } else { vec![f64::NAN; moment_shape(family, power).iter().product()] }
        }
        _ => vec![f64::NAN; moment_shape(family, power).iter().product()],
    }
}

/// E[Λ⁻¹] = W⁻¹/(ν − d − 1) of Λ ~ W(W, ν) with mean νW; a point has infinite ν.
fn expected_inverse(mean: &[f64], d: usize, degrees: f64) -> Vec<f64> {
    let factor = if degrees.is_infinite() { 1.0 } else { degrees / (degrees - d as f64 - 1.0) };
    match vi_families::matrix::inverse_and_log_determinant(mean, d) {
        Ok((inverse, _)) if factor > 0.0 => inverse.iter().map(|x| x * factor).collect(),
        _ => vec![f64::INFINITY; d * d],
    }
}

/// E[μ], E[μ²] = m² + E[1/τ]/κ, and E[1/τ] of a normal-gamma.
fn normal_gamma_moment(point: bool, natural: &[&[f64]], statistics: &[&[f64]], power: i32) -> f64 {
    let (mean, inverse, kappa) = if point {
        (statistics[2][0] / statistics[0][0], 1.0 / statistics[0][0], f64::INFINITY)
    } else {
        let (shape, rate, mean, kappa) = super::normal_gamma_parameters(natural);
        (mean, if shape > 1.0 { rate / (shape - 1.0) } else { f64::INFINITY }, kappa)
    };
    match power {
        1 => mean,
        2 => mean * mean + inverse / kappa,
        -1 => inverse,
        _ => f64::NAN,
    }
}

/// E[μ], E[μμᵀ] = mmᵀ + Λ⁻¹ E[1/τ], and E[1/τ] of a normal-gamma of a vector.
fn normal_gamma_vector_moment(
    d: usize,
    point: bool,
    natural: &[&[f64]],
    statistics: &[&[f64]],
    power: i32,
) -> Vec<f64> {
    if point {
        let tau = statistics[0][0];
        let mean = statistics[2].iter().map(|x| x / tau).collect::<Vec<f64>>();
        return match power {
            -1 => vec![1.0 / tau],
            1 | 2 => outer(&mean, power as usize),
            _ => vec![f64::NAN; d.pow(power.max(0) as u32)],
        };
    }
    let Ok(own) = super::NormalGammaVectorParameters::new(d, natural) else {
        return vec![f64::NAN; d.pow(power.max(0) as u32)];
    };
    let variance = own.expected_variance();
    match power {
        -1 => vec![variance],
        1 => own.mean,
        2 => (0..d * d).map(|e| own.mean[e / d] * own.mean[e % d] + variance * own.inverse[e]).collect(),
        _ => vec![f64::NAN; d.pow(power.max(0) as u32)],
    }
}

/// E[μ], E[μμᵀ] = mmᵀ + E[Λ⁻¹]/κ, and E[Λ⁻¹] of a normal-wishart.
fn normal_wishart_moment(d: usize, point: bool, natural: &[&[f64]], statistics: &[&[f64]], power: i32) -> Vec<f64> {
    let kappa = -2.0 * natural[3][0];
    let mean: Vec<f64> = natural[2].iter().map(|h| h / kappa).collect();
    if power == 1 {
        return mean;
    }
    let degrees = if point { f64::INFINITY } else { 2.0 * natural[1][0] + d as f64 };
    let inverse = expected_inverse(statistics[0], d, degrees);
    let share = if point { 0.0 } else { 1.0 / kappa };
    match power {
        -1 => inverse,
        2 => (0..d * d).map(|e| mean[e / d] * mean[e % d] + share * inverse[e]).collect(),
        _ => vec![f64::NAN; d * d],
    }
}

/// Products of `power` values.
fn outer(values: &[f64], power: usize) -> Vec<f64> {
    (1..power).fold(values.to_vec(), |all, _| all.iter().flat_map(|a| values.iter().map(move |v| a * v)).collect())
}

/// A symmetric matrix of second moments; higher ones are not known.
fn pairs(k: usize, power: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    if power != 2 {
        return vec![f64::NAN; k.pow(power as u32)];
    }
    (0..k * k).map(|e| entry(e / k, e % k)).collect()
}

/// π_i = v_i Π_{l<i} (1 − v_l) of independent sticks v_l ~ Beta(a_l, b_l), the last of which is 1.
fn stick_moments(k: usize, sticks: &[(f64, f64)], power: usize) -> Vec<f64> {
    let first = |l: usize| sticks.get(l).map_or((1.0, 0.0), |(a, b)| (a / (a + b), b / (a + b)));
    // E[v²], E[v(1 − v)], E[(1 − v)²]
    let second = |l: usize| {
        sticks.get(l).map_or((1.0, 0.0, 0.0), |(a, b)| {
            let scale = (a + b) * (a + b + 1.0);
            (a * (a + 1.0) / scale, a * b / scale, b * (b + 1.0) / scale)
        })
    };
    if power == 1 {
        return (0..k).map(|i| first(i).0 * (0..i).map(|l| first(l).1).product::<f64>()).collect();
    }
    pairs(k, power, |i, j| {
        let (i, j) = (i.min(j), i.max(j));
        let before: f64 = (0..i).map(|l| second(l).2).product();
        if i == j {
            return before * second(i).0;
        }
        before * second(i).1 * (i + 1..j).map(|l| first(l).1).product::<f64>() * first(j).0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-12 * (1.0 + e.abs()), "{got:?} instead of {expected:?}");
        }
    }

    #[test]
    fn scalars_have_their_moments() {
        // Gamma(3, 2): E[x³] = 3·4·5/8.
        close(&moment(Family::Gamma, false, &[&[-2.0], &[2.0]], &[&[1.5], &[0.0]], 3), &[7.5]);
        // InverseGamma(4, 6): E[x] = 2, E[x²] = 36/(3·2), E[x⁴] does not exist.
        let natural: [&[f64]; 2] = [&[-6.0], &[-5.0]];
        close(&moment(Family::InverseGamma, false, &natural, &[], 1), &[2.0]);
        close(&moment(Family::InverseGamma, false, &natural, &[], 2), &[6.0]);
        assert!(moment(Family::InverseGamma, false, &natural, &[], 4)[0].is_infinite());
        // Beta(2, 3): E[p²] = 2·3/(5·6).
        close(&moment(Family::Beta, false, &[&[1.0], &[2.0]], &[], 2), &[0.2]);
        // Poisson(2) by its first terms.
        let poisson: f64 = (0..60)
            .map(|n| (-2.0_f64).exp() * (1..=n).map(|i| 2.0 / f64::from(i)).product::<f64>() * f64::from(n).powi(4))
            .sum();
        close(&moment(Family::Poisson, false, &[], &[&[2.0]], 4), &[poisson]);
    }

    #[test]
    fn weights_sum_to_one_in_both_moments() {
        let sticks: [&[f64]; 3] = [&[0.0; 3], &[1.5, 0.5], &[2.0, 3.0]];
        let dirichlet: [&[f64]; 1] = [&[0.5, 1.0, 2.5]];
        for (family, natural) in [(Family::StickBreaking(3), &sticks[..]), (Family::Dirichlet(3), &dirichlet[..])] {
            let mean = moment(family, false, natural, &[], 1);
            let second = moment(family, false, natural, &[], 2);
            close(&[mean.iter().sum()], &[1.0]);
            let rows: Vec<f64> = second.chunks_exact(3).map(|row| row.iter().sum()).collect();
            close(&rows, &mean);
        }
    }
}
