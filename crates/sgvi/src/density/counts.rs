//! Probability masses of binary values and counts.

use vi_families::special::{digamma, inverse_mills_ratio, ln_beta, ln_gamma, log_normal_cdf};

use super::Partials;

/// k ln p with 0 · ln 0 = 0.
fn times_log(k: f64, p: f64) -> f64 {
    if k == 0.0 { 0.0 } else { k * p.ln() }
}

/// k / p, the derivative of k ln p; 0 at p = 0, where k ln p is 0 or −∞: a component of a mixture that excludes the count
/// has weight 0, and 0 · ∞ must not reach the others.
fn ratio(k: f64, p: f64) -> f64 {
    if k == 0.0 || p == 0.0 { 0.0 } else { k / p }
}

/// x ln p + (1 − x) ln(1 − p).
pub(super) fn bernoulli_probability(a: &[f64; 5]) -> Partials {
    let [x, p, ..] = *a;
    (
        times_log(x, p) + if x == 1.0 { 0.0 } else { (1.0 - x) * (-p).ln_1p() },
        [p.ln() - (-p).ln_1p(), ratio(x, p) - ratio(1.0 - x, 1.0 - p), 0.0, 0.0, 0.0],
    )
}

/// ln(1 + eᵗ) and its derivative.
#[inline(always)]
fn softplus(t: f64) -> (f64, f64) {
    let e = (-t.abs()).exp();
    let tail = e / (1.0 + e);
    (t.max(0.0) + e.ln_1p(), if t >= 0.0 { 1.0 - tail } else { tail })
}

/// x η − ln(1 + e^η).
#[inline(always)]
pub(super) fn bernoulli_logit(a: &[f64; 5]) -> Partials {
    let [x, eta, ..] = *a;
    let (softplus, logistic) = softplus(eta);
    (x * eta - softplus, [eta, x - logistic, 0.0, 0.0, 0.0])
}

/// ln Φ((2x − 1) η).
pub(super) fn bernoulli_probit(a: &[f64; 5]) -> Partials {
    let [x, eta, ..] = *a;
    let sign = 2.0 * x - 1.0;
    let t = sign * eta;
    let mills = inverse_mills_ratio(t);
    (log_normal_cdf(t), [2.0 * eta * mills, sign * mills, 0.0, 0.0, 0.0])
}

/// ln C(n, k) + k ln p + (n − k) ln(1 − p).
pub(super) fn binomial_probability(a: &[f64; 5]) -> Partials {
    let [k, n, p, ln_choose, _] = *a;
    (
        ln_choose + times_log(k, p) + if n == k { 0.0 } else { (n - k) * (-p).ln_1p() },
        [0.0, 0.0, ratio(k, p) - ratio(n - k, 1.0 - p), 1.0, 0.0],
    )
}

/// ln C(n, k) + k η − n ln(1 + e^η).
pub(super) fn binomial_logit(a: &[f64; 5]) -> Partials {
    let [k, n, eta, ln_choose, _] = *a;
    let (softplus, logistic) = softplus(eta);
    (ln_choose + k * eta - n * softplus, [0.0, 0.0, k - n * logistic, 1.0, 0.0])
}

/// k ln λ − λ − ln k!.
pub(super) fn poisson_rate(a: &[f64; 5]) -> Partials {
    let [k, rate, ln_factorial, ..] = *a;
    (times_log(k, rate) - rate - ln_factorial, [0.0, ratio(k, rate) - 1.0, -1.0, 0.0, 0.0])
}

/// k η − e^η − ln k!.
#[inline(always)]
pub(super) fn poisson_log_rate(a: &[f64; 5]) -> Partials {
    let [k, eta, ln_factorial, ..] = *a;
    let rate = eta.exp();
    (k * eta - rate - ln_factorial, [0.0, k - rate, -1.0, 0.0, 0.0])
}

/// ln Γ(k + r) − ln Γ(r) − ln k! − r ln(1 + a m) + k ln(a m / (1 + a m)), r = 1/a: variance m + a m².
///
/// Where a is so small that r is lost beside r ln r, it is Poisson's and its first correction a ((k − m)² − k)/2.
pub(super) fn negative_binomial(arguments: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [k, mean, a, ln_factorial, _] = *arguments;
    if a * a * (k + mean + 1.0).powi(3) < 1e-14 {
        let correction = 0.5 * ((k - mean) * (k - mean) - k);
        let value = times_log(k, mean) - mean - ln_factorial + a * correction;
        return (value, [0.0, ratio(k, mean) - 1.0 - a * (k - mean), correction, -1.0, 0.0]);
    }
    let r = 1.0 / a;
    let am = a * mean;
    let (log, log_share) = if am.is_finite() { (am.ln_1p(), -(1.0 / am).ln_1p()) } else { (a.ln() + mean.ln(), 0.0) };
    let rising = if k == 0.0 { 0.0 } else { ln_gamma(k) - ln_beta(k, r) };
    let value = rising - ln_factorial - r * log + if k == 0.0 { 0.0 } else { k * log_share };
    // m/(1 + a m) and 1/(1 + a m).
    let (kept, rest) = (1.0 / (1.0 / mean + a), 1.0 / (1.0 + am));
    let d_mean = ratio(k, mean) * rest - rest;
    let d_dispersion = if wanted[2] {
        let digammas = if k == 0.0 { 0.0 } else { digamma(k + r) - digamma(r) };
        r * r * (log - digammas) + r * (k * rest - kept)
    } else {
        0.0
    };
    (value, [0.0, d_mean, d_dispersion, -1.0, 0.0])
}
