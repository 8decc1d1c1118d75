//! The objective of a part: evidence lower bound or importance-weighted bound per row, with the adjoints it implies.

use super::elementwise::add;
use super::likelihood::{MAX_PARAMETERS, row_log_density};
use super::part::{Drawing, Part, Pass};
use super::posterior::{self, DivergenceAdjoints, DrawAdjoints};
use super::program::{Level, Likelihood, Program, SlotId};
use crate::network::vectorize::vectorized;

/// Which lower bound of log p(x).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// E_q[log p(x | z)] − β·KL(q ‖ p), with the divergence in closed form.
    Analytic {
        /// Weight of the divergence.
        beta: f32,
    },
    /// The same with E_q[log p(x | z)] in closed form too, by the spreads of [`Program`] about the means; nothing is drawn.
    ClosedForm {
        /// Weight of the divergence.
        beta: f32,
    },
    /// E_q[log p(x | z) + β·(log p(z) − log q(z))] by draws.
    MonteCarlo {
        /// Weight of the divergence.
        beta: f32,
        /// Whether log q is differentiated along the draw alone (Roeder, Wu & Duvenaud 2017).
        path_only: bool,
    },
    /// log 1/K Σ p(x, z_k) / q(z_k) (Burda, Grosse & Salakhutdinov 2016).
    ImportanceWeighted {
        /// Whether the doubly reparameterised gradient is used (Tucker et al. 2019).
        doubly: bool,
    },
}

impl Bound {
    /// Where draws come from when this bound is evaluated.
    #[must_use]
    pub(crate) fn drawing(self) -> Drawing {
        match self {
            Self::ClosedForm { .. } => Drawing::RowMean,
            _ => Drawing::Posterior,
        }
    }

    /// The weight of the divergence.
    #[must_use]
    pub(crate) fn beta(self) -> f64 {
        match self {
            Self::Analytic { beta } | Self::ClosedForm { beta } | Self::MonteCarlo { beta, .. } => f64::from(beta),
            Self::ImportanceWeighted { .. } => 1.0,
        }
    }

    /// The evidence lower bound of a program, in closed form where it has one.
    #[must_use]
    pub(crate) fn elbo(program: &Program) -> Self {
        if program.closed_form { Self::ClosedForm { beta: 1.0 } } else { Self::Analytic { beta: 1.0 } }
    }
}

/// Sums over the rows of one or several parts; weights count.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    /// The bound.
    pub bound: f64,
    /// E_q[log p(x | …)] of each observed variable.
    pub log_likelihoods: Vec<f64>,
    /// The divergence of each latent variable, without a prior that the log joint has.
    pub divergences: Vec<f64>,
    /// The terms of rows in the log joint.
    pub row_terms: Vec<f64>,
    /// E_q\[log p(x | …)\] of everything.
    pub log_likelihood: f64,
    /// The divergence of everything.
    pub divergence: f64,
    /// Σ of squares of the rows' bounds, for a standard error between rows.
    pub squares: f64,
    /// Σ over rows of the variance of the mean over their draws, times the squared weight.
    pub draw_variance: f64,
    /// Number of rows, counted with their weights.
    pub rows: f64,
}

impl Totals {
    /// Totals of nothing.
    #[must_use]
    pub(crate) fn zero(program: &Program) -> Self {
        Self {
            log_likelihoods: vec![0.0; program.observed.len()],
            divergences: vec![0.0; program.latents.len()],
            row_terms: vec![0.0; program.row_terms().len()],
            ..Self::default()
        }
    }

    /// Standard error of the bound of rows of weight `weight`, estimated from these ones.
    #[must_use]
    pub(crate) fn standard_error(&self, weight: f64) -> f64 {
        let mean = self.bound / self.rows;
        let variance = (self.squares / self.rows - mean * mean).max(0.0);
        weight * (variance / self.rows).sqrt()
    }

    /// Multiplies every sum.
    pub(crate) fn scale(&mut self, factor: f64) {
        let Self { bound, log_likelihood, divergence, squares, draw_variance, rows, .. } = self;
        for sum in [bound, log_likelihood, divergence, squares, draw_variance, rows] {
            *sum *= factor;
        }
        let lists = [&mut self.log_likelihoods, &mut self.divergences, &mut self.row_terms];
        lists.into_iter().flatten().for_each(|sum| *sum *= factor);
    }

    /// Adds another part's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bound += other.bound;
        self.squares += other.squares;
        self.draw_variance += other.draw_variance;
        self.rows += other.rows;
        self.log_likelihood += other.log_likelihood;
        self.divergence += other.divergence;
        for (sums, terms) in [
            (&mut self.log_likelihoods, &other.log_likelihoods),
            (&mut self.divergences, &other.divergences),
            (&mut self.row_terms, &other.row_terms),
        ] {
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += term;
            }
        }
    }
}

impl Part {
    /// Evaluates the bound after [`Part::forward`]. With `scale` the adjoints of scale × Σ weight·bound are left for
    /// [`Part::backward`].
    pub(crate) fn bound(&mut self, pass: &Pass<'_>, bound: Bound, scale: Option<f32>) -> Totals {
        let program = pass.program;
        if scale.is_some() {
            self.clear_adjoints(program);
            self.path_weights.fill(1.0);
        }
        self.forward_row_terms(pass);
        match bound {
            Bound::ImportanceWeighted { doubly } => {
                self.terms(program, Bound::MonteCarlo { beta: 1.0, path_only: doubly }, None);
                if let Some(scale) = scale {
                    let seeds = self.normalized_weights(program, scale, doubly);
                    self.terms(program, Bound::MonteCarlo { beta: 1.0, path_only: doubly }, Some(&seeds));
                    self.backward_row_terms(pass, 1.0, &seeds);
                }
            }
            _ => {
                let seeds: Option<Vec<f32>> = scale.map(|scale| {
                    let per_draw = scale / self.draws as f32;
                    self.weights.iter().flat_map(|w| std::iter::repeat_n(w * per_draw, self.draws)).collect()
                });
                self.terms(program, bound, seeds.as_deref());
                if let Bound::ClosedForm { beta } = bound {
                    self.spread_terms(program, beta, seeds.as_deref());
                }
                if let Some(seeds) = &seeds {
                    self.backward_row_terms(pass, bound.beta() as f32, seeds);
                }
            }
        }
        self.totals(program, bound)
    }

    /// log p(x | z) + log p(z) − log q(z | x) of a draw, after the terms were evaluated by Monte Carlo.
    #[must_use]
    pub(crate) fn log_weight(&self, sample: usize) -> f64 {
        let likelihood: f64 = self.log_likelihoods.iter().chain(&self.row_terms).map(|values| values[sample]).sum();
        let divergence: f64 = self.divergences.iter().map(|values| values[sample]).sum();
        likelihood - divergence
    }

    /// scale·w_row·w̃_k for every draw, with w̃ the self-normalised importance weights.
    fn normalized_weights(&mut self, program: &Program, scale: f32, doubly: bool) -> Vec<f32> {
        debug_assert_eq!(program.latents.len(), self.divergences.len());
        let mut seeds = vec![0.0; self.rows.len() * self.draws];
        for (row, block) in seeds.chunks_exact_mut(self.draws).enumerate() {
            let first = row * self.draws;
            let logs: Vec<f64> = (0..self.draws).map(|k| self.log_weight(first + k)).collect();
            let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let normalizer: f64 = logs.iter().map(|l| (l - largest).exp()).sum();
            for (k, seed) in block.iter_mut().enumerate() {
                let weight = ((logs[k] - largest).exp() / normalizer) as f32;
                *seed = scale * self.weights[row] * weight;
                if doubly {
                    self.path_weights[first + k] = weight;
                }
            }
        }
        seeds
    }

    /// Evaluates every term; `seeds` (one per draw) are the factors on its derivatives.
    fn terms(&mut self, program: &Program, bound: Bound, seeds: Option<&[f32]>) {
        let samples = self.rows.len() * self.draws;
        for index in 0..program.observed.len() {
            self.likelihood_term(program, index, samples, seeds);
        }
        for index in 0..program.latents.len() {
            match bound {
                Bound::Analytic { beta } | Bound::ClosedForm { beta } => {
                    self.analytic_term(program, index, beta, seeds)
                }
                Bound::MonteCarlo { beta, path_only } => self.draw_term(program, index, beta, path_only, seeds),
                Bound::ImportanceWeighted { .. } => {}
            }
        }
    }

    fn likelihood_term(&mut self, program: &Program, index: usize, samples: usize, seeds: Option<&[f32]>) {
        let observed = &program.observed[index];
        let draws = self.draws;
        let width = program.slots[observed.data].width;
        let full = match observed.likelihood {
            Likelihood::Categorical { size } => width * size,
            _ => width,
        };
        let place = |slot: SlotId, sample: usize| {
            let s = &program.slots[slot];
            let row = match s.level {
                Level::Global | Level::Basis => 0,
                Level::Row => sample / draws,
                Level::Sample => sample,
            };
            row * s.width..(row + 1) * s.width
        };
        for gradient in &mut self.row_gradients {
            gradient[..full].fill(0.0);
        }
        for sample in 0..samples {
            for (slot, buffer) in observed.parameters.iter().zip(&mut self.row_parameters) {
                let s = &program.slots[*slot];
                if s.width != full && (sample == 0 || s.level != Level::Global) {
                    buffer[..full].fill(self.values[*slot][place(*slot, sample).start]);
                }
            }
            let mut parameters: [&[f32]; MAX_PARAMETERS] = [&[]; MAX_PARAMETERS];
            for ((parameter, &slot), buffer) in
                parameters.iter_mut().zip(&observed.parameters).zip(&self.row_parameters)
            {
                let broadcast = program.slots[slot].width != full;
                *parameter = if broadcast { &buffer[..full] } else { &self.values[slot][place(slot, sample)] };
            }
            let data = &self.values[observed.data][place(observed.data, sample)];
            self.log_likelihoods[index][sample] =
                row_log_density(observed.likelihood, data, parameters, &mut self.row_gradients, &mut self.row_scratch);
            let Some(seeds) = seeds else { continue };
            for (&slot, gradient) in observed.parameters.iter().zip(&self.row_gradients) {
                if self.adjoints[slot].is_empty() {
                    continue;
                }
                let s = &program.slots[slot];
                let range = place(slot, sample);
                let target = &mut self.adjoints[slot][range];
                if s.width != full {
                    if s.exclusive
                        && (s.level == Level::Sample || sample % draws == 0 && s.level == Level::Row || sample == 0)
                    {
                        target[0] = 0.0;
                    }
                    target[0] += seeds[sample] * lane_sum(&gradient[..full]);
                } else if s.exclusive && s.level == Level::Sample {
                    scaled(target, seeds[sample], gradient);
                } else {
                    if s.exclusive && (sample == 0 || s.level == Level::Row && sample % draws == 0) {
                        target.fill(0.0);
                    }
                    add_scaled(target, seeds[sample], gradient);
                }
            }
        }
    }

    fn analytic_term(&mut self, program: &Program, index: usize, beta: f32, seeds: Option<&[f32]>) {
        let latent = &program.latents[index];
        let draws = self.draws;
        let per_row = if latent.level == Level::Sample { draws } else { 1 };
        let mut by_mean = vec![0.0; latent.width];
        let mut by_sd = vec![0.0; latent.width];
        for unit in 0..self.rows.len() * per_row {
            let place = |slot: SlotId| {
                let s = &program.slots[slot];
                let at = match s.level {
                    Level::Global | Level::Basis => 0,
                    Level::Row => unit / per_row,
                    Level::Sample => unit,
                };
                at * s.width..(at + 1) * s.width
            };
            let range = place(latent.parameters);
            // Divergences at row level stand for all draws of the row.
            let seed = seeds.map_or(0.0, |seeds| {
                -beta * if per_row == 1 { seeds[unit * draws] * draws as f32 } else { seeds[unit] }
            });
            let learned = |slot: SlotId| seeds.is_some() && !self.adjoints[slot].is_empty();
            let learned_mean = latent.prior.map(|prior| prior.mean).filter(|&slot| learned(slot));
            let learned_sd = latent.prior.map(|prior| prior.sd).filter(|&slot| learned(slot));
            by_mean.fill(0.0);
            by_sd.fill(0.0);
            let adjoints =
                (seeds.is_some() && !self.adjoints[latent.parameters].is_empty()).then(|| DivergenceAdjoints {
                    parameters: &mut self.adjoints[latent.parameters][range.clone()],
                    prior_mean: learned_mean.map(|_| &mut by_mean[..]),
                    prior_sd: learned_sd.map(|_| &mut by_sd[..]),
                });
            let row = range.start / program.slots[latent.parameters].width;
            self.divergences[index][unit] = posterior::divergence(
                latent,
                &self.values[latent.parameters][range.clone()],
                &self.scales[index][row * latent.width..(row + 1) * latent.width],
                latent.prior.map(|p| (&self.values[p.mean][place(p.mean)], &self.values[p.sd][place(p.sd)])),
                seed,
                adjoints,
            );
            if let Some(mean) = learned_mean {
                add(&mut self.adjoints[mean][place(mean)], &by_mean);
            }
            if let Some(sd) = learned_sd {
                add(&mut self.adjoints[sd][place(sd)], &by_sd);
            }
        }
    }

    fn draw_term(&mut self, program: &Program, index: usize, beta: f32, path_only: bool, seeds: Option<&[f32]>) {
        let latent = &program.latents[index];
        let (draws, d) = (self.draws, latent.width);
        let mut by_z = vec![0.0; d];
        let mut by_mean = vec![0.0; d];
        let mut by_sd = vec![0.0; d];
        for sample in 0..self.rows.len() * draws {
            let place = |slot: SlotId| {
                let s = &program.slots[slot];
                let at = match s.level {
                    Level::Global | Level::Basis => 0,
                    Level::Row => sample / draws,
                    Level::Sample => sample,
                };
                at * s.width..(at + 1) * s.width
            };
            let z = latent.output;
            let range = place(latent.parameters);
            let learned = |slot: SlotId| seeds.is_some() && !self.adjoints[slot].is_empty();
            let learned_mean = latent.prior.map(|prior| prior.mean).filter(|&slot| learned(slot));
            let learned_sd = latent.prior.map(|prior| prior.sd).filter(|&slot| learned(slot));
            for buffer in [&mut by_z, &mut by_mean, &mut by_sd] {
                buffer.fill(0.0);
            }
            let seed = beta * seeds.map_or(0.0, |seeds| seeds[sample]);
            let adjoints = (seeds.is_some() && !self.adjoints[z].is_empty()).then(|| DrawAdjoints {
                z: &mut by_z,
                parameters: (!path_only).then_some(&mut self.adjoints[latent.parameters][range.clone()]),
                prior_mean: learned_mean.map(|_| &mut by_mean[..]),
                prior_sd: learned_sd.map(|_| &mut by_sd[..]),
            });
            self.divergences[index][sample] = -posterior::log_ratio(
                latent,
                &self.values[latent.parameters][range.clone()],
                latent.prior.map(|p| (&self.values[p.mean][place(p.mean)], &self.values[p.sd][place(p.sd)])),
                &self.noise[index][sample * d..(sample + 1) * d],
                &self.values[z][sample * d..(sample + 1) * d],
                seed,
                adjoints,
            );
            if seeds.is_none() {
                continue;
            }
            if !self.adjoints[z].is_empty() {
                add(&mut self.adjoints[z][sample * d..(sample + 1) * d], &by_z);
            }
            if let Some(mean) = learned_mean {
                add(&mut self.adjoints[mean][place(mean)], &by_mean);
            }
            if let Some(sd) = learned_sd {
                add(&mut self.adjoints[sd][place(sd)], &by_sd);
            }
        }
    }

    fn totals(&self, program: &Program, bound: Bound) -> Totals {
        let mut totals = Totals::zero(program);
        let draws = self.draws;
        let count = draws as f64;
        let analytic = matches!(bound, Bound::Analytic { .. } | Bound::ClosedForm { .. });
        let beta = bound.beta();
        let of_prior: Vec<bool> = program.row_terms().iter().map(|term| term.prior).collect();
        for row in 0..self.rows.len() {
            let weight = f64::from(self.weights[row]);
            let samples = row * draws..(row + 1) * draws;
            // What does not vary between the draws of the row.
            let mut constant = 0.0;
            for (index, latent) in program.latents.iter().enumerate() {
                let divergence = if analytic && latent.level != Level::Sample {
                    let value = self.divergences[index][row];
                    constant += beta * value;
                    value
                } else {
                    self.divergences[index][samples.clone()].iter().sum::<f64>() / count
                };
                totals.divergences[index] += weight * divergence;
                totals.divergence += weight * divergence;
            }
            for (index, values) in self.log_likelihoods.iter().enumerate() {
                let mean = values[samples.clone()].iter().sum::<f64>() / count;
                totals.log_likelihoods[index] += weight * mean;
                totals.log_likelihood += weight * mean;
            }
            for (index, values) in self.row_terms.iter().enumerate() {
                let mean = values[samples.clone()].iter().sum::<f64>() / count;
                totals.row_terms[index] += weight * mean;
                if of_prior[index] {
                    totals.divergence -= weight * mean;
                } else {
                    totals.log_likelihood += weight * mean;
                }
            }
            let value_of = |sample: usize| {
                let mut value = -constant;
                for values in &self.log_likelihoods {
                    value += values[sample];
                }
                for (values, &prior) in self.row_terms.iter().zip(&of_prior) {
                    value += if prior { beta } else { 1.0 } * values[sample];
                }
                for (index, latent) in program.latents.iter().enumerate() {
                    if !(analytic && latent.level != Level::Sample) {
                        value -= beta * self.divergences[index][sample];
                    }
                }
                value
            };
            let row_bound = if let Bound::ImportanceWeighted { .. } = bound {
                let largest = samples.clone().map(value_of).fold(f64::NEG_INFINITY, f64::max);
                largest + (samples.map(|s| (value_of(s) - largest).exp()).sum::<f64>() / count).ln()
            } else {
                let mean = samples.clone().map(value_of).sum::<f64>() / count;
                if draws > 1 {
                    let variance = samples.map(|s| (value_of(s) - mean).powi(2)).sum::<f64>() / (count - 1.0);
                    totals.draw_variance += weight * weight * variance / count;
                }
                mean
            };
            totals.bound += weight * row_bound;
            totals.squares += weight * row_bound * row_bound;
            totals.rows += weight;
        }
        totals
    }
}

vectorized! {
    /// target = factor·source
    fn scaled(target: &mut [f32], factor: f32, source: &[f32]) {
        for (t, &s) in target.iter_mut().zip(source) {
            *t = factor * s;
        }
    }
}

vectorized! {
    /// target += factor·source
    fn add_scaled(target: &mut [f32], factor: f32, source: &[f32]) {
        for (t, &s) in target.iter_mut().zip(source) {
            *t += factor * s;
        }
    }
}

/// Σ in a fixed order, in sixteen lanes.
fn lane_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for chunk in values.chunks(16) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}
