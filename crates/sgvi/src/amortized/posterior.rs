//! The amortised Gaussian factor of a row: its draws, its divergence from the prior, and their derivatives.

use super::program::Latent;
use crate::network::exp;
use crate::network::vectorize::vectorized;

const HALF_LN_2_PI: f64 = 0.918_938_533_204_672_8;

/// The diagonal of A from the logarithms among the parameters.
pub(super) fn scales(latent: &Latent, parameters: &[f32], scales: &mut [f32]) {
    if latent.full {
        for (index, scale) in scales.iter_mut().enumerate() {
            *scale = exp::<false>(parameters[latent.diagonal(index)]);
        }
    } else {
        exponentials(&parameters[latent.width..], scales);
    }
}

vectorized! {
    fn exponentials(logarithms: &[f32], scales: &mut [f32]) {
        for (scale, &logarithm) in scales.iter_mut().zip(logarithms) {
            *scale = exp::<FUSED>(logarithm);
        }
    }
}

/// z = μ + A·ε for one row and one draw.
///
/// `parameters` is laid out as [`Latent`] says; `scales` is the diagonal of A; `z` and `noise` have d elements.
pub(super) fn draw(latent: &Latent, parameters: &[f32], scales: &[f32], noise: &[f32], z: &mut [f32]) {
    let (mean, rest) = parameters.split_at(latent.width);
    for (((z, &mean), &scale), &noise) in z.iter_mut().zip(mean).zip(scales).zip(noise) {
        *z = mean + scale * noise;
    }
    if latent.full {
        let mut position = 0;
        for (i, z) in z.iter_mut().enumerate() {
            for (&a, &e) in rest[position..position + i].iter().zip(noise) {
                *z += a * e;
            }
            position += i + 1;
        }
    }
}

/// Adds to `adjoint` (of the parameters) what the adjoint of z = μ + A·ε implies.
pub(super) fn draw_backward(latent: &Latent, scales: &[f32], noise: &[f32], z_adjoint: &[f32], adjoint: &mut [f32]) {
    let (by_mean, by_rest) = adjoint.split_at_mut(latent.width);
    for (target, &slope) in by_mean.iter_mut().zip(z_adjoint) {
        *target += slope;
    }
    if latent.full {
        let mut position = 0;
        for (i, (&slope, &scale)) in z_adjoint.iter().zip(scales).enumerate() {
            let row = &mut by_rest[position..position + i + 1];
            for (target, &e) in row[..i].iter_mut().zip(noise) {
                *target += slope * e;
            }
            row[i] += slope * noise[i] * scale;
            position += i + 1;
        }
    } else {
        for (((target, &slope), &e), &scale) in by_rest.iter_mut().zip(z_adjoint).zip(noise).zip(scales) {
            *target += slope * e * scale;
        }
    }
}

/// ln s, without the call for the standard prior.
fn ln_unless_one(s: f64) -> f64 {
    if s == 1.0 { 0.0 } else { s.ln() }
}

/// The marginal variance of each coordinate: the rows of A squared.
pub(super) fn variances(latent: &Latent, parameters: &[f32], variances: &mut [f64]) {
    let d = latent.width;
    let rest = &parameters[d..];
    let mut position = 0;
    for (i, variance) in variances.iter_mut().enumerate().take(d) {
        if latent.full {
            let diagonal = f64::from(rest[position + i]).exp();
            *variance =
                rest[position..position + i].iter().map(|&a| f64::from(a).powi(2)).sum::<f64>() + diagonal * diagonal;
            position += i + 1;
        } else {
            *variance = (2.0 * f64::from(rest[i])).exp();
        }
    }
}

/// What the divergence adds to the adjoints of one row.
pub(super) struct DivergenceAdjoints<'a> {
    /// Of the posterior's parameters.
    pub parameters: &'a mut [f32],
    /// Of the prior's mean, where it is learned.
    pub prior_mean: Option<&'a mut [f32]>,
    /// Of the prior's sd, where it is learned.
    pub prior_sd: Option<&'a mut [f32]>,
}

/// KL(N(μ, A·Aᵀ) ‖ N(m, diag(s²))) of one row, without a prior −H(q) alone; `seed` times its derivatives is added where
/// `adjoints` are given.
///
/// KL = Σᵢ ln sᵢ − ln aᵢᵢ + (Σⱼ aᵢⱼ² + (μᵢ − mᵢ)²) / (2sᵢ²) − ½   (Kingma & Welling 2014, appendix B, for m = 0, s = 1).
pub(super) fn divergence(
    latent: &Latent,
    parameters: &[f32],
    scales: &[f32],
    prior: Option<(&[f32], &[f32])>,
    seed: f32,
    mut adjoints: Option<DivergenceAdjoints<'_>>,
) -> f64 {
    let d = latent.width;
    let (mean, rest) = parameters.split_at(d);
    let Some((prior_mean, prior_sd)) = prior else {
        return negative_entropy(latent, parameters, seed, adjoints);
    };
    let mut sum = 0.0;
    let mut position = 0;
    for i in 0..d {
        let s = f64::from(prior_sd[i]);
        let precision = 1.0 / (s * s);
        let shift = f64::from(mean[i]) - f64::from(prior_mean[i]);
        let at = if latent.full { position + i } else { i };
        let log_diagonal = f64::from(rest[at]);
        let square = f64::from(scales[i]).powi(2);
        let mut spread = square;
        if latent.full {
            for &a in &rest[position..position + i] {
                spread += f64::from(a) * f64::from(a);
            }
        }
        let second_moment = spread + shift * shift;
        sum += ln_unless_one(s) - log_diagonal + 0.5 * second_moment * precision - 0.5;
        if let Some(adjoints) = &mut adjoints {
            let scale = f64::from(seed);
            adjoints.parameters[i] += (scale * shift * precision) as f32;
            adjoints.parameters[d + at] += (scale * (square * precision - 1.0)) as f32;
            if latent.full {
                for j in position..position + i {
                    adjoints.parameters[d + j] += (scale * f64::from(rest[j]) * precision) as f32;
                }
            }
            if let Some(by_mean) = &mut adjoints.prior_mean {
                by_mean[i] -= (scale * shift * precision) as f32;
            }
            if let Some(by_sd) = &mut adjoints.prior_sd {
                by_sd[i] += (scale * (1.0 / s - second_moment * precision / s)) as f32;
            }
        }
        position += i + 1;
    }
    sum
}

/// E_q\[log q\] = −Σᵢ (ln aᵢᵢ + ½ ln 2πe).
fn negative_entropy(latent: &Latent, parameters: &[f32], seed: f32, adjoints: Option<DivergenceAdjoints<'_>>) -> f64 {
    let places = (0..latent.width).map(|i| latent.diagonal(i));
    if let Some(adjoints) = adjoints {
        places.clone().for_each(|at| adjoints.parameters[at] -= seed);
    }
    -places.map(|at| f64::from(parameters[at]) + HALF_LN_2_PI + 0.5).sum::<f64>()
}

/// What the Monte Carlo divergence adds to the adjoints of one draw.
pub(super) struct DrawAdjoints<'a> {
    /// Of z.
    pub z: &'a mut [f32],
    /// Of the posterior's parameters, where log q is differentiated in them too.
    pub parameters: Option<&'a mut [f32]>,
    /// Of the prior's mean, where it is learned.
    pub prior_mean: Option<&'a mut [f32]>,
    /// Of the prior's sd, where it is learned.
    pub prior_sd: Option<&'a mut [f32]>,
}

/// log p(z) − log q(z | x) of one draw z = μ + A·ε, without a prior −log q alone; `seed` times its derivatives is added
/// where `adjoints` are given.
///
/// With the parameters' adjoint the total derivative of −log q along the draw is used (Σ ∂ρ); without it only the one
/// through z, −∂ log q/∂z = A⁻ᵀ·ε, whose expectation is the same (Roeder, Wu & Duvenaud 2017).
#[allow(clippy::too_many_arguments)]
pub(super) fn log_ratio(
    latent: &Latent,
    parameters: &[f32],
    prior: Option<(&[f32], &[f32])>,
    noise: &[f32],
    z: &[f32],
    seed: f32,
    adjoints: Option<DrawAdjoints<'_>>,
) -> f64 {
    let d = latent.width;
    let mut sum = 0.0;
    for i in 0..d {
        let log_diagonal = f64::from(parameters[latent.diagonal(i)]);
        let e = f64::from(noise[i]);
        sum -= -0.5 * e * e - log_diagonal - HALF_LN_2_PI;
        if let Some((mean, sd)) = prior {
            let s = f64::from(sd[i]);
            let r = (f64::from(z[i]) - f64::from(mean[i])) / s;
            sum += -0.5 * r * r - ln_unless_one(s) - HALF_LN_2_PI;
        }
    }
    let Some(mut adjoints) = adjoints else { return sum };
    let scale = f64::from(seed);
    if let Some((mean, sd)) = prior {
        for i in 0..d {
            let s = f64::from(sd[i]);
            let r = (f64::from(z[i]) - f64::from(mean[i])) / s;
            adjoints.z[i] -= (scale * r / s) as f32;
            if let Some(by_mean) = &mut adjoints.prior_mean {
                by_mean[i] += (scale * r / s) as f32;
            }
            if let Some(by_sd) = &mut adjoints.prior_sd {
                by_sd[i] += (scale * (r * r - 1.0) / s) as f32;
            }
        }
    }
    match adjoints.parameters {
        Some(by_parameters) => {
            for i in 0..d {
                by_parameters[latent.diagonal(i)] += seed;
            }
        }
        None => add_score_path(latent, parameters, noise, seed, adjoints.z),
    }
    sum
}

/// z adjoint += seed·A⁻ᵀ·ε, by back substitution.
fn add_score_path(latent: &Latent, parameters: &[f32], noise: &[f32], seed: f32, z_adjoint: &mut [f32]) {
    let d = latent.width;
    let rest = &parameters[d..];
    if !latent.full {
        for i in 0..d {
            z_adjoint[i] += seed * noise[i] / rest[i].exp();
        }
        return;
    }
    // Aᵀ·v = ε from the last coordinate upwards; v is kept in f64 on the fly by recomputing the dot product.
    let mut solution = [0.0_f64; 64];
    let mut spill = Vec::new();
    let v: &mut [f64] = if d <= solution.len() {
        &mut solution[..d]
    } else {
        spill.resize(d, 0.0);
        &mut spill
    };
    let element = |i: usize, j: usize| f64::from(rest[i * (i + 1) / 2 + j]);
    for i in (0..d).rev() {
        let mut residual = f64::from(noise[i]);
        for k in i + 1..d {
            residual -= element(k, i) * v[k];
        }
        v[i] = residual / element(i, i).exp();
    }
    for (target, &value) in z_adjoint.iter_mut().zip(v.iter()) {
        *target += (f64::from(seed) * value) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::{Level, Prior};
    use super::*;
    use crate::network::noise::StepNoise;
    use rand_distr::{Distribution, StandardNormal};

    fn latent(full: bool) -> Latent {
        Latent {
            name: "z".to_owned(),
            width: 3,
            full,
            parameters: 0,
            prior: Some(Prior { mean: 1, sd: 2 }),
            output: 3,
            values: super::super::program::Values::Numbers(crate::fit::range::Range::Real),
            level: Level::Row,
        }
    }

    /// Solves A·ε = z − μ, to find the noise of a given z.
    fn noise_of(latent: &Latent, parameters: &[f32], z: &[f32], noise: &mut [f32]) {
        let d = latent.width;
        let (mean, rest) = parameters.split_at(d);
        let mut position = 0;
        for i in 0..d {
            let mut residual = z[i] - mean[i];
            if latent.full {
                for j in 0..i {
                    residual -= rest[position + j] * noise[j];
                }
                noise[i] = residual / rest[position + i].exp();
                position += i + 1;
            } else {
                noise[i] = residual / rest[i].exp();
            }
        }
    }

    fn diagonal(latent: &Latent, parameters: &[f32]) -> Vec<f32> {
        let mut diagonal = vec![0.0; latent.width];
        scales(latent, parameters, &mut diagonal);
        diagonal
    }

    fn parameters(full: bool) -> Vec<f32> {
        let mut values = vec![0.3, -0.8, 1.1];
        values.extend(if full { vec![-0.4, 0.3, 0.2, -0.5, 0.6, -0.7] } else { vec![-0.4, 0.2, -0.7] });
        values
    }

    #[test]
    fn the_divergence_is_the_mean_of_the_log_ratio_and_its_derivatives_are_right() {
        let (mean, sd) = ([0.1, -0.2, 0.4], [0.8, 1.3, 2.0]);
        for full in [false, true] {
            let latent = latent(full);
            let at = parameters(full);
            let evaluate = |p: &[f32], m: &[f32], s: &[f32]| {
                divergence(&latent, p, &diagonal(&latent, p), Some((m, s)), 0.0, None)
            };
            let exact = evaluate(&at, &mean, &sd);
            let mut generator = StepNoise::new(3, 1).row(0, 0);
            let draws = 200_000;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..draws {
                let noise: [f32; 3] = std::array::from_fn(|_| StandardNormal.sample(&mut generator));
                let mut z = [0.0; 3];
                draw(&latent, &at, &diagonal(&latent, &at), &noise, &mut z);
                let value = -log_ratio(&latent, &at, Some((&mean, &sd)), &noise, &z, 0.0, None);
                sum += value;
                squares += value * value;
                let mut back = [0.0; 3];
                noise_of(&latent, &at, &z, &mut back);
                assert!(back.iter().zip(&noise).all(|(a, b)| (a - b).abs() < 1e-5));
            }
            let average = sum / f64::from(draws);
            let error = ((squares / f64::from(draws) - average * average) / f64::from(draws)).sqrt();
            assert!((average - exact).abs() < 4.0 * error, "{average} ± {error} against {exact}");

            let (mut by_p, mut by_m, mut by_s) = (vec![0.0; at.len()], vec![0.0; 3], vec![0.0; 3]);
            let adjoints =
                DivergenceAdjoints { parameters: &mut by_p, prior_mean: Some(&mut by_m), prior_sd: Some(&mut by_s) };
            divergence(&latent, &at, &diagonal(&latent, &at), Some((&mean, &sd)), 1.0, Some(adjoints));
            let step = 1e-3_f32;
            let difference = |f: &dyn Fn(f32) -> f64| (f(step) - f(-step)) / (2.0 * f64::from(step));
            for i in 0..at.len() {
                let want = difference(&|h| {
                    let mut p = at.clone();
                    p[i] += h;
                    evaluate(&p, &mean, &sd)
                });
                assert!((f64::from(by_p[i]) - want).abs() < 1e-3, "{i}: {} against {want}", by_p[i]);
            }
            for i in 0..3 {
                let want = difference(&|h| {
                    let mut m = mean;
                    m[i] += h;
                    evaluate(&at, &m, &sd)
                });
                assert!((f64::from(by_m[i]) - want).abs() < 1e-3);
                let want = difference(&|h| {
                    let mut s = sd;
                    s[i] += h;
                    evaluate(&at, &mean, &s)
                });
                assert!((f64::from(by_s[i]) - want).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn derivatives_along_a_draw_agree_with_finite_differences() {
        let (mean, sd, noise) = ([0.1, -0.2, 0.4], [0.8, 1.3, 2.0], [0.9, -0.6, 0.4]);
        for full in [false, true] {
            let latent = latent(full);
            let at = parameters(full);
            let evaluate = |p: &[f32]| {
                let mut z = [0.0; 3];
                draw(&latent, p, &diagonal(&latent, p), &noise, &mut z);
                log_ratio(&latent, p, Some((&mean, &sd)), &noise, &z, 0.0, None)
            };
            let mut z = [0.0; 3];
            draw(&latent, &at, &diagonal(&latent, &at), &noise, &mut z);
            let (mut by_z, mut by_p) = (vec![0.0; 3], vec![0.0; at.len()]);
            let adjoints = DrawAdjoints { z: &mut by_z, parameters: Some(&mut by_p), prior_mean: None, prior_sd: None };
            log_ratio(&latent, &at, Some((&mean, &sd)), &noise, &z, 1.0, Some(adjoints));
            draw_backward(&latent, &diagonal(&latent, &at), &noise, &by_z, &mut by_p);
            for i in 0..at.len() {
                let moved = |h: f32| {
                    let mut p = at.clone();
                    p[i] += h;
                    evaluate(&p)
                };
                let want = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((f64::from(by_p[i]) - want).abs() < 2e-3, "{i}: {} against {want}", by_p[i]);
            }
        }
    }

    #[test]
    fn the_path_derivative_is_that_of_the_density_at_a_fixed_factor() {
        let noise = [0.9, -0.6, 0.4];
        let (mean, sd) = ([0.0; 3], [1e6; 3]);
        for full in [false, true] {
            let latent = latent(full);
            let at = parameters(full);
            let mut z = [0.0; 3];
            draw(&latent, &at, &diagonal(&latent, &at), &noise, &mut z);
            let mut by_z = vec![0.0; 3];
            let adjoints = DrawAdjoints { z: &mut by_z, parameters: None, prior_mean: None, prior_sd: None };
            log_ratio(&latent, &at, Some((&mean, &sd)), &noise, &z, 1.0, Some(adjoints));
            for i in 0..3 {
                let moved = |h: f32| {
                    let (mut z, mut noise) = (z, [0.0; 3]);
                    z[i] += h;
                    noise_of(&latent, &at, &z, &mut noise);
                    log_ratio(&latent, &at, Some((&mean, &sd)), &noise, &z, 0.0, None)
                };
                let want = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((f64::from(by_z[i]) - want).abs() < 2e-3, "{i}: {} against {want}", by_z[i]);
            }
        }
    }
}
