//! Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao & Gabry 2024).

/// Smoothed importance weights and their tail's shape.
#[derive(Debug, Clone)]
pub(crate) struct Smoothed {
    /// Shape k̂ of the generalised Pareto distribution fitted to the largest weights.
    pub khat: f64,
    /// Normalised smoothed weights, in the order of the draws.
    pub weights: Vec<f64>,
    /// Effective sample size 1/Σw².
    pub effective_size: f64,
    /// log of the mean smoothed weight: the estimated log evidence.
    pub log_mean: f64,
}

/// Fits a generalised Pareto distribution to sorted exceedances (Zhang & Stephens 2009, with the weak prior of PSIS);
/// returns shape and scale.
pub(crate) fn fit(x: &[f64]) -> (f64, f64) {
    let n = x.len();
    let last = x[n - 1];
    let quarter = x[((n as f64 / 4.0 + 0.5).floor() as usize).max(1) - 1];
    let m = 30 + (n as f64).sqrt().floor() as usize;
    let shape = |theta: f64| x.iter().map(|x| (-theta * x).ln_1p()).sum::<f64>() / n as f64;
    let thetas: Vec<f64> =
        (1..=m).map(|j| 1.0 / last + (1.0 - (m as f64 / (j as f64 - 0.5)).sqrt()) / 3.0 / quarter).collect();
    let profile: Vec<f64> = thetas
        .iter()
        .map(|&t| {
            let k = shape(t);
            n as f64 * ((-t / k).ln() - k - 1.0)
        })
        .collect();
    let top = profile.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut theta) = (0.0, 0.0);
    for (t, l) in thetas.iter().zip(&profile) {
        let w = (l - top).exp();
        if w.is_finite() {
            sum += w;
            theta += w * t;
        }
    }
    let theta = theta / sum;
    let k = shape(theta);
    let sigma = -k / theta;
    ((k * n as f64 + 5.0) / (n as f64 + 10.0), sigma)
}

/// Smooths the largest of the weights exp(log_weights).
pub(crate) fn smooth(log_weights: &[f64]) -> Smoothed {
    let s = log_weights.len();
    let top = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut weights: Vec<f64> = log_weights.iter().map(|l| (l - top).exp()).collect();
    let tail = ((0.2 * s as f64).min(3.0 * (s as f64).sqrt()).ceil() as usize).min(s.saturating_sub(1));
    let mut khat = f64::NAN;
    if tail >= 5 {
        let mut order: Vec<usize> = (0..s).collect();
        order.sort_by(|a, b| log_weights[*a].total_cmp(&log_weights[*b]).then(a.cmp(b)));
        let cut = weights[order[s - tail - 1]];
        let exceedances: Vec<f64> = order[s - tail..].iter().map(|&i| weights[i] - cut).collect();
        if exceedances[0] > 0.0 || exceedances[tail / 4] > 1e-300 {
            let (k, sigma) = fit(&exceedances);
            khat = k;
            if k.is_finite() && sigma.is_finite() {
                for (i, &at) in order[s - tail..].iter().enumerate() {
                    let p = (i as f64 + 0.5) / tail as f64;
                    let quantile = if k.abs() < 1e-12 {
                        -sigma * (-p).ln_1p()
                    } else {
                        sigma / k * ((-k * (-p).ln_1p()).exp() - 1.0)
                    };
                    weights[at] = (cut + quantile).min(1.0);
                }
            }
        }
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    let effective_size = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
    Smoothed { khat, weights, effective_size, log_mean: top + (sum / s as f64).ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_shape_of_a_generalised_pareto() {
        // Exact quantiles of shape 0.7, scale 2.
        let n = 2000;
        let x: Vec<f64> = (0..n)
            .map(|i| {
                let p = (f64::from(i) + 0.5) / f64::from(n);
                2.0 / 0.7 * ((1.0 - p).powf(-0.7) - 1.0)
            })
            .collect();
        let (k, sigma) = fit(&x);
        assert!((k - 0.7).abs() < 0.02, "{k}");
        assert!((sigma - 2.0).abs() < 0.1, "{sigma}");
    }

    #[test]
    fn weights_of_a_wider_target_estimate_its_mass() {
        // q = N(0, 1), p = 3 · N(0, 0.8²): light-tailed weights whose mean is 3.
        let z = super::super::noise::independent(5, 20_000, 1);
        let log: Vec<f64> = z.iter().map(|z| 3.0f64.ln() - 0.8f64.ln() - 0.5 * z * z / 0.64 + 0.5 * z * z).collect();
        let smoothed = smooth(&log);
        assert!((smoothed.log_mean - 3.0f64.ln()).abs() < 0.01);
        assert!(smoothed.khat < 0.5);
        assert!((smoothed.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
