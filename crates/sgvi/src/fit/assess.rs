//! How good an approximation is: its ELBO over fresh draws, Pareto k̂, the log evidence, one word of verdict.

use vi_run::seed::derive_seed;

use super::between;
use super::categories;
use super::gaussian::Gaussian;
use super::noise;
use super::pareto::{self, Smoothed};
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

/// Draws of the final assessment.
pub(crate) const DRAWS: usize = 40_000;

/// Draws among which the variable is sought whose log density is not finite.
const NAMING_DRAWS: usize = 1000;

/// Curvature of the log joint at the centre of an approximation, in units of its spread, above which that sits between modes, and
/// the least nats by which the log evidence then exceeds the ELBO; near-perfect single modes lack up to half of that.
const BETWEEN_MODES: (f64, f64) = (0.25, 0.1);

/// The judgement of an approximation.
#[derive(Debug, Clone)]
pub(crate) struct Assessment {
    /// ELBO in nats over all rows.
    pub elbo: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// One number for each variable, summing to `elbo`.
    pub terms: Vec<f64>,
    /// Standard deviation of the log weights.
    pub log_weight_sd: f64,
    /// Pareto-smoothed importance weights.
    pub smoothed: Smoothed,
    /// Standard error of the log evidence estimate.
    pub log_evidence_standard_error: f64,
    /// The largest curvature of the log joint at the centre, in units of the spread, where it is known (see [`between::rise`]).
    pub(crate) rise: Option<f64>,
    /// The standard normals of the draws.
    pub noise: Vec<f64>,
    /// Number of draws.
    pub draws: usize,
}

/// Evaluates over fresh draws.
pub(crate) fn assess(model: &Model, evaluator: &Evaluator, q: &Gaussian, seed: u64, draws: usize) -> Assessment {
    let (n, w, k) = (q.mean.len(), q.noise_dimension(), q.free.len());
    let noise = noise::independent(seed, draws, w);
    let num_terms = model.program.terms.len();
    let mut terms = vec![0.0; num_terms];
    let mut log_weights = Vec::with_capacity(draws);
    let mut out = Evaluation::default();
    let batch = (4_000_000 / (n + w).max(1)).clamp(16, 4096);
    let mut elbos = Vec::new();
    for from in (0..draws).step_by(batch) {
        let to = (from + batch).min(draws);
        let e = &noise[from * w..to * w];
        let mut theta = q.points(e, to - from);
        let surprise = q.surprise(e, to - from);
        // Where it is exact, the ELBO has the expectation over discrete variables, so that their draws add no noise to it.
        let averaged = !q.categories.is_empty() && !model.is_relaxed;
        if averaged {
            evaluator.evaluate(&theta, to - from, false, &mut out);
            let entropy = q.discrete_entropy();
            for d in 0..to - from {
                let own = &surprise[d * k..(d + 1) * k];
                elbos.push(out.values[d] + own.iter().sum::<f64>() + entropy);
                add_terms(&mut terms, &out.terms[d * num_terms..(d + 1) * num_terms], model, &q.free, own);
            }
        }
        let surprise_of_values = q.draw_values(&mut theta, derive_seed(seed, 1 + from as u64));
        let m = q.categories.len();
        evaluator.evaluate(&theta, to - from, false, &mut out);
        for d in 0..to - from {
            let own = &surprise[d * k..(d + 1) * k];
            let values = &surprise_of_values[d * m..(d + 1) * m];
            if !averaged {
                add_terms(&mut terms, &out.terms[d * num_terms..(d + 1) * num_terms], model, &q.free, own);
                for (category, s) in q.categories.iter().zip(values) {
                    terms[model.owner[category.offset]] += s;
                }
            }
            log_weights.push(out.values[d] + own.iter().chain(values).sum::<f64>());
        }
    }
    if !elbos.is_empty() {
        let center = q.center();
        for category in q.categories.iter() {
            terms[model.owner[category.offset]] += draws as f64 * categories::entropy(&center[category.range()]);
        }
    }
    terms.iter_mut().for_each(|t| *t /= draws as f64);
    let variance = variance_of(&log_weights);
    let spread = if elbos.is_empty() { variance } else { variance_of(&elbos) };
    let smoothed = pareto::smooth(&log_weights);
    let relative: f64 = smoothed.weights.iter().map(|w| (w * draws as f64 - 1.0).powi(2)).sum::<f64>() / draws as f64;
    Assessment {
        elbo: terms.iter().sum(),
        standard_error: (spread / draws as f64).sqrt(),
        terms,
        log_weight_sd: variance.sqrt(),
        log_evidence_standard_error: (relative / draws as f64).sqrt(),
        smoothed,
        rise: between::rise(evaluator, q),
        noise,
        draws,
    }
}

/// Adds a draw's terms of log p and its −log q by coordinate.
fn add_terms(terms: &mut [f64], own: &[f64], model: &Model, free: &[usize], surprise: &[f64]) {
    terms.iter_mut().zip(own).for_each(|(t, x)| *t += x);
    for (&c, s) in free.iter().zip(surprise) {
        terms[model.owner[c]] += s;
    }
}

fn variance_of(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)
}

/// The error that names the variable whose part of the ELBO is not finite.
pub(crate) fn outside(model: &Model, terms: &[f64]) -> SgviError {
    let found = terms.iter().zip(&model.program.terms).find(|(term, _)| !term.is_finite());
    match found {
        Some((value, name)) => SgviError::Outside { variable: format!("`{name}`"), value: *value },
        None => SgviError::Outside { variable: "one of the variables".to_owned(), value: f64::NAN },
    }
}

/// As [`outside`], from draws of an approximation.
pub(crate) fn outside_in_draws(model: &Model, evaluator: &Evaluator, q: &Gaussian, seed: u64) -> SgviError {
    let mut theta = q.points(&noise::independent(seed, NAMING_DRAWS, q.noise_dimension()), NAMING_DRAWS);
    q.draw_values(&mut theta, derive_seed(seed, 1));
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, NAMING_DRAWS, false, &mut out);
    let mut terms = vec![0.0; model.program.terms.len()];
    for of_draw in out.terms.chunks_exact(terms.len().max(1)) {
        terms.iter_mut().zip(of_draw).for_each(|(sum, term)| *sum += term);
    }
    outside(model, &terms)
}

/// The mean of log p − log q over draws of one seed.
pub(crate) fn elbo(model: &Model, evaluator: &Evaluator, q: &Gaussian, seed: u64, draws: usize) -> f64 {
    let w = q.noise_dimension();
    let noise = noise::independent(seed, draws, w);
    let batch = (4_000_000 / (q.mean.len() + w).max(1)).clamp(16, 4096);
    let sampled = !q.categories.is_empty() && model.is_relaxed;
    let mut out = Evaluation::default();
    let mut total = if sampled { 0.0 } else { draws as f64 * q.discrete_entropy() };
    for from in (0..draws).step_by(batch) {
        let count = batch.min(draws - from);
        let e = &noise[from * w..(from + count) * w];
        let mut theta = q.points(e, count);
        if sampled {
            total += q.draw_values(&mut theta, derive_seed(seed, 1 + from as u64)).iter().sum::<f64>();
        }
        evaluator.evaluate(&theta, count, false, &mut out);
        total += out.values.iter().sum::<f64>() + q.surprise(e, count).iter().sum::<f64>();
    }
    total / draws as f64
}

impl Assessment {
    /// `good`, `usable` or `bad`: k̂ below 0.5 (or nearly constant weights), below 0.7, or above.
    pub(crate) fn verdict(&self) -> &'static str {
        if self.log_weight_sd < 0.05 || self.smoothed.khat < 0.5 {
            "good"
        } else if self.smoothed.khat < 0.7 {
            "usable"
        } else {
            "bad"
        }
    }

    /// Whether the log joint rises from the centre to both sides, and importance sampling finds mass there that the ELBO lacks.
    /// k̂ does not tell: the weights of a Gaussian that is wide enough for two modes are bounded.
    pub(crate) fn sits_between_modes(&self) -> bool {
        let gap = self.smoothed.log_mean - self.elbo;
        let error = self.standard_error.hypot(self.log_evidence_standard_error);
        self.rise.is_some_and(|rise| rise > BETWEEN_MODES.0) && gap > BETWEEN_MODES.1 + 4.0 * error
    }

    /// k̂ where it is a number.
    pub(crate) fn khat(&self) -> Option<f64> {
        Some(self.smoothed.khat).filter(|k| k.is_finite())
    }
}
