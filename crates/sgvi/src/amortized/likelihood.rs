//! Log densities of observed rows with their derivatives, as loops that vectorise.

use super::program::Likelihood;
use crate::network::exp;
use crate::network::vectorize::{fused, vectorized};

/// The most parameters that a density has.
pub(super) const MAX_PARAMETERS: usize = 2;

const LANES: usize = 16;

/// Numbers up to 2 whose product is a finite number, of each lane in 32 bits and of all lanes in 64.
const FACTORS: usize = 60 * LANES;

/// Σ over a row of log p(x | parameters), and its derivatives in each parameter, elementwise.
///
/// `parameters` and `gradients` have the width of `data`, except for the categorical, where they have `size` times it.
/// Missing cells (not a number) count nothing. `scratch` has the width of `data` at least.
pub(super) fn row_log_density(
    likelihood: Likelihood,
    data: &[f32],
    parameters: [&[f32]; MAX_PARAMETERS],
    gradients: &mut [Vec<f32>; MAX_PARAMETERS],
    scratch: &mut [f32],
) -> f64 {
    let [first, second] = gradients;
    match likelihood {
        Likelihood::BernoulliLogit => bernoulli(data, parameters[0], first),
        Likelihood::Normal => normal(data, parameters[0], parameters[1], first, second, scratch),
        Likelihood::PoissonLogRate => poisson(data, parameters[0], parameters[1], first, scratch),
        Likelihood::Categorical { size } => categorical(data, parameters[0], first, size),
    }
}

/// Σ in a fixed order, in sixteen lanes.
#[inline(always)]
fn total(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

vectorized! {
    /// x·l − ln(1 + eˡ) = x·l − max(l, 0) − ln(1 + e^(−|l|)); derivative x − logistic(l).
    ///
    /// The factors 1 + e^(−|l|), which are 2 at most, are multiplied: many share a logarithm.
    fn bernoulli(data: &[f32], logits: &[f32], slopes: &mut [f32]) -> f64 {
        let mut sum = 0.0;
        let logits = logits.chunks(FACTORS);
        for ((data, logits), slopes) in data.chunks(FACTORS).zip(logits).zip(slopes.chunks_mut(FACTORS)) {
            let (mut sums, mut products) = ([0.0; LANES], [1.0; LANES]);
            let (data, last_data) = data.as_chunks::<LANES>();
            let (logits, last_logits) = logits.as_chunks::<LANES>();
            let (slopes, last_slopes) = slopes.as_chunks_mut::<LANES>();
            for ((data, logits), slopes) in data.iter().zip(logits).zip(slopes) {
                bernoulli_lanes::<FUSED>(data, logits, slopes, &mut sums, &mut products);
            }
            // What is missing counts nothing.
            let (mut data, mut logits, mut slopes) = ([f32::NAN; LANES], [0.0; LANES], [0.0; LANES]);
            let rest = last_data.len();
            data[..rest].copy_from_slice(last_data);
            logits[..rest].copy_from_slice(&last_logits[..rest]);
            bernoulli_lanes::<FUSED>(&data, &logits, &mut slopes, &mut sums, &mut products);
            last_slopes[..rest].copy_from_slice(&slopes[..rest]);
            sum += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
            sum -= products.iter().map(|&product| f64::from(product)).product::<f64>().ln();
        }
        sum
    }
}

/// A logit l with 1 + eˡ = 1.
const SURELY_OFF: f32 = -80.0;

/// Adds x·l − max(l, 0) to the sums and multiplies the products by 1 + e^(−|l|).
#[inline(always)]
fn bernoulli_lanes<const FUSED: bool>(
    data: &[f32; LANES],
    logits: &[f32; LANES],
    slopes: &mut [f32; LANES],
    sums: &mut [f32; LANES],
    products: &mut [f32; LANES],
) {
    for lane in 0..LANES {
        // A missing cell is as one that is surely off.
        let present = !data[lane].is_nan();
        let (x, l) = if present { (data[lane], logits[lane]) } else { (0.0, SURELY_OFF) };
        let e = exp::<FUSED>(-l.abs());
        let inverse = 1.0 / (1.0 + e);
        let logistic = if l >= 0.0 { inverse } else { e * inverse };
        sums[lane] += x * l - if l > 0.0 { l } else { 0.0 };
        products[lane] *= 1.0 + e;
        slopes[lane] = if present { x - logistic } else { 0.0 };
    }
}

vectorized! {
    /// −½((x − m)/s)² − ½ ln 2π; the logarithms of s are the caller's. `values` is scratch.
    fn normal_kernel(
        data: &[f32],
        mean: &[f32],
        sd: &[f32],
        by_mean: &mut [f32],
        by_sd: &mut [f32],
        values: &mut [f32],
    ) -> f64 {
        const HALF_LN_2_PI: f32 = 0.918_938_5;
        let n = data.len();
        let (mean, sd, by_mean, by_sd) = (&mean[..n], &sd[..n], &mut by_mean[..n], &mut by_sd[..n]);
        let values = &mut values[..n];
        for i in 0..n {
            let x = data[i];
            let present = !x.is_nan();
            let inverse = 1.0 / sd[i];
            let r = (x - mean[i]) * inverse;
            let square = r * r;
            values[i] = if present { fused::<FUSED>(-0.5, square, -HALF_LN_2_PI) } else { 0.0 };
            by_mean[i] = if present { r * inverse } else { 0.0 };
            by_sd[i] = if present { (square - 1.0) * inverse } else { 0.0 };
        }
        total(values)
    }
}

/// −½((x − m)/s)² − ln s − ½ ln 2π. `values` is scratch.
fn normal(data: &[f32], mean: &[f32], sd: &[f32], by_mean: &mut [f32], by_sd: &mut [f32], values: &mut [f32]) -> f64 {
    let kernel = normal_kernel(data, mean, sd, by_mean, by_sd, values);
    // Runs of equal sds (the usual case is one for all) cost one logarithm.
    let mut logarithms = 0.0;
    let (mut last, mut log_last) = (f32::NAN, f64::NAN);
    for (&x, &s) in data.iter().zip(sd) {
        if x.is_nan() {
            continue;
        }
        if s != last {
            last = s;
            log_last = f64::from(s).ln();
        }
        logarithms += log_last;
    }
    kernel - logarithms
}

vectorized! {
    /// x·l − eˡ − ln x!; derivative x − eˡ. `values` is scratch.
    fn poisson(data: &[f32], log_rate: &[f32], log_factorial: &[f32], slopes: &mut [f32], values: &mut [f32]) -> f64 {
        let n = data.len();
        let (log_rate, log_factorial, slopes) = (&log_rate[..n], &log_factorial[..n], &mut slopes[..n]);
        let values = &mut values[..n];
        for i in 0..n {
            let (x, l) = (data[i], log_rate[i]);
            let rate = exp::<FUSED>(l);
            let present = !x.is_nan();
            values[i] = if present { x * l - rate - log_factorial[i] } else { 0.0 };
            slopes[i] = if present { x - rate } else { 0.0 };
        }
        total(values)
    }
}

/// l_x − ln Σ_k e^{l_k}; derivatives 1[k = x] − softmax(l)_k.
fn categorical(data: &[f32], logits: &[f32], slopes: &mut [f32], size: usize) -> f64 {
    let mut sum = 0.0;
    for ((&x, logits), slopes) in data.iter().zip(logits.chunks_exact(size)).zip(slopes.chunks_exact_mut(size)) {
        if x.is_nan() {
            slopes.fill(0.0);
            continue;
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut normalizer = 0.0_f32;
        for (slope, &l) in slopes.iter_mut().zip(logits) {
            *slope = exp::<false>(l - largest);
            normalizer += *slope;
        }
        for slope in slopes.iter_mut() {
            *slope /= -normalizer;
        }
        let category = x as usize;
        slopes[category] += 1.0;
        sum += f64::from(logits[category]) - f64::from(largest) - f64::from(normalizer).ln();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(likelihood: Likelihood, data: &[f32], parameters: &[Vec<f32>]) -> (f64, [Vec<f32>; MAX_PARAMETERS]) {
        let width = parameters.iter().map(Vec::len).max().unwrap();
        let mut gradients = std::array::from_fn(|_| vec![0.0; width]);
        let slices = std::array::from_fn(|i| parameters.get(i).map_or(&[][..], Vec::as_slice));
        let mut scratch = vec![0.0; width];
        (row_log_density(likelihood, data, slices, &mut gradients, &mut scratch), gradients)
    }

    fn check(likelihood: Likelihood, data: &[f32], parameters: &[Vec<f32>], wanted: f64, differentiated: usize) {
        let (value, gradients) = evaluate(likelihood, data, parameters);
        assert!((value - wanted).abs() < 2e-6 * wanted.abs().max(1.0), "{likelihood:?}: {value} against {wanted}");
        let step = 1e-2;
        for which in 0..differentiated {
            for i in 0..parameters[which].len() {
                let moved = |sign: f32| {
                    let mut parameters = parameters.to_vec();
                    parameters[which][i] += sign * step;
                    evaluate(likelihood, data, &parameters).0
                };
                let difference = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
                let got = f64::from(gradients[which][i]);
                assert!(
                    (got - difference).abs() < 4e-3 * got.abs().max(1.0),
                    "{likelihood:?} {which} {i}: {got} against {difference}"
                );
            }
        }
    }

    #[test]
    fn densities_agree_with_closed_forms_and_finite_differences() {
        let n = 21;
        let wave = |rate: f32| (0..n).map(|i| (i as f32 * rate + 0.4).sin() * 2.0).collect::<Vec<f32>>();
        let (logits, means) = (wave(0.7), wave(1.1));
        let mut bits: Vec<f32> = (0..n).map(|i| (i % 3 == 0) as u8 as f32).collect();
        bits[4] = f32::NAN;
        let wanted = bits
            .iter()
            .zip(&logits)
            .filter(|(x, _)| !x.is_nan())
            .map(|(&x, &l)| {
                let p = 1.0 / (1.0 + (-f64::from(l)).exp());
                if x > 0.5 { p.ln() } else { (1.0 - p).ln() }
            })
            .sum();
        check(Likelihood::BernoulliLogit, &bits, std::slice::from_ref(&logits), wanted, 1);

        let sds: Vec<f32> = wave(0.3).iter().map(|x| 1.5 + 0.4 * x).collect();
        let mut data = wave(2.3);
        data[20] = f32::NAN;
        let wanted = (0..20)
            .map(|i| {
                let (x, m, s) = (f64::from(data[i]), f64::from(means[i]), f64::from(sds[i]));
                (-0.5 * ((x - m) / s).powi(2)).exp() / (s * (2.0 * std::f64::consts::PI).sqrt())
            })
            .map(f64::ln)
            .sum();
        check(Likelihood::Normal, &data, &[means, sds], wanted, 2);

        let counts = vec![0.0, 1.0, 4.0, f32::NAN];
        let log_rates = vec![-0.3, 0.9, 1.1, 0.2];
        let log_factorials = vec![0.0, 0.0, 24.0_f32.ln(), f32::NAN];
        let wanted = [(0.0_f64, -0.3_f64, 1.0), (1.0, 0.9, 1.0), (4.0, 1.1, 24.0)]
            .iter()
            .map(|&(k, l, factorial)| ((l * k).exp() * (-l.exp()).exp() / factorial).ln())
            .sum();
        check(Likelihood::PoissonLogRate, &counts, &[log_rates, log_factorials], wanted, 1);

        let logits = vec![0.1, 0.5, -1.0, 2.0, 0.0, 1.0];
        let softmax = |l: &[f32], k: usize| f64::from(l[k]).exp() / l.iter().map(|&x| f64::from(x).exp()).sum::<f64>();
        let wanted = softmax(&logits[..3], 2).ln() + softmax(&logits[3..], 0).ln();
        check(Likelihood::Categorical { size: 3 }, &[2.0, 0.0], &[logits], wanted, 1);
    }
}
