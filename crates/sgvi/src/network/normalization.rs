//! Layer normalisation (Ba, Kiros & Hinton 2016): rows brought to mean 0 and sd 1, and the way back.

use super::vectorize::vectorized;

/// What is added to the variance of a row.
const EPSILON: f32 = 1e-5;

vectorized! {
    /// output = gain∘input, row by row.
    pub(super) fn scale_rows(output: &mut [f32], input: &[f32], gain: &[f32]) {
        for (target, source) in output.chunks_exact_mut(gain.len()).zip(input.chunks_exact(gain.len())) {
            for ((t, &s), &g) in target.iter_mut().zip(source).zip(gain) {
                *t = s * g;
            }
        }
    }
}

/// (x − mean) / sd of every row of `width` numbers, and 1 / sd.
pub(super) fn normalize(input: &[f32], normalized: &mut [f32], inverse_sd: &mut [f32], width: usize) {
    for ((source, target), inverse) in input.chunks_exact(width).zip(normalized.chunks_exact_mut(width)).zip(inverse_sd)
    {
        let mean = source.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance = source.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
        *inverse = 1.0 / (variance as f32 + EPSILON).sqrt();
        for (t, &s) in target.iter_mut().zip(source) {
            *t = (s - mean as f32) * *inverse;
        }
    }
}

/// dx = (g∘dy − mean(g∘dy) − x̂·mean(g∘dy∘x̂)) / sd, added to `adjoint`.
pub(super) fn normalize_backward(
    slopes: &[f32],
    normalized: &[f32],
    inverse_sd: &[f32],
    gain: &[f32],
    adjoint: &mut [f32],
) {
    let width = gain.len();
    for (((slopes, values), inverse), adjoint) in slopes
        .chunks_exact(width)
        .zip(normalized.chunks_exact(width))
        .zip(inverse_sd)
        .zip(adjoint.chunks_exact_mut(width))
    {
        let (mut plain, mut weighted) = (0.0_f64, 0.0_f64);
        for ((&slope, &value), &g) in slopes.iter().zip(values).zip(gain) {
            plain += f64::from(slope * g);
            weighted += f64::from(slope * g * value);
        }
        let (plain, weighted) = ((plain / width as f64) as f32, (weighted / width as f64) as f32);
        for (((target, &slope), &value), &g) in adjoint.iter_mut().zip(slopes).zip(values).zip(gain) {
            *target += inverse * (slope * g - plain - value * weighted);
        }
    }
}
