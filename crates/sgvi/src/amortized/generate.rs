//! What one does with a fitted amortised model: encode, decode, reconstruct, sample, and evaluate by importance sampling.

use super::bound::{Bound, Totals};
use super::completion::Completed;
use super::elementwise::log_shares;
use super::joint::{Generator, State};
use super::model::AmortizedModel;
use super::part::{Drawing, Part, Pass};
use super::posterior::{self, variances};
use super::program::{Likelihood, Program, SlotId, Values};
use super::trainer::{evaluate, for_parts};
use crate::network::exp;
use crate::network::noise::StepNoise;
use rand::RngExt;
use rand_distr::{Distribution, Poisson, StandardNormal};
use vi_model::graph::VariableId;
use vi_run::seed::derive_seed;

/// Draws of discrete variables over which what depends on them is averaged for given codes.
const PRIOR_DRAWS: u64 = 64;

/// Draws of one pass of an importance-weighted evaluation.
const DRAWS_PER_PASS: usize = 50;

/// Pairs of opposite draws by which the moments of shares are found.
const PAIRS_FOR_SHARES: usize = 256;

/// Mean and sd of the factors of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// Numbers per row.
    pub width: usize,
    /// `[num_rows, d]`
    pub means: Vec<f64>,
    /// `[num_rows, d]`, marginal.
    pub sds: Vec<f64>,
}

/// As [`encode`], on the variable's own scale: of shares by draws.
#[must_use]
pub(crate) fn encode_on_own_scale(model: &AmortizedModel, parameters: &[f32], latent: usize, rows: &[u32]) -> Encoding {
    let program = &model.program;
    let variable = &program.latents[latent];
    if let Values::Numbers(range) = variable.values {
        let mut encoding = encode(model, parameters, latent, rows);
        for (mean, sd) in encoding.means.iter_mut().zip(&mut encoding.sds) {
            (*mean, *sd) = range.moments(*mean, *sd);
        }
        return encoding;
    }
    let (d, size) = (variable.width, variable.width + 1);
    let noise = StepNoise::new(0, 0);
    let mut generator = noise.row(0, 0);
    let half: Vec<f32> = (0..PAIRS_FOR_SHARES * d).map(|_| StandardNormal.sample(&mut generator)).collect();
    let draws: Vec<f32> = half.iter().copied().chain(half.iter().map(|e| -e)).collect();
    let moments = |row: &[f32]| {
        let (mut scales, mut theta, mut logs) = (vec![0.0; d], vec![0.0; d], vec![0.0; size]);
        let (mut sums, mut squares) = (vec![0.0; size], vec![0.0; size]);
        posterior::scales(variable, row, &mut scales);
        for noise in draws.chunks_exact(d) {
            posterior::draw(variable, row, &scales, noise, &mut theta);
            log_shares(&mut logs, &theta);
            for ((sum, square), log) in sums.iter_mut().zip(&mut squares).zip(&logs) {
                let share = f64::from(*log).exp();
                (*sum, *square) = (*sum + share, *square + share * share);
            }
        }
        let count = (2 * PAIRS_FOR_SHARES) as f64;
        let sds = sums.iter().zip(&squares).map(|(s, q)| (q / count - (s / count).powi(2)).max(0.0).sqrt()).collect();
        sums.iter_mut().for_each(|sum| *sum /= count);
        (sums, sds)
    };
    let needed = program.needed(&[variable.parameters], true);
    let read = |part: &mut Part, _: &Pass<'_>| {
        let width = program.slots[variable.parameters].width;
        part.value(program, variable.parameters).chunks_exact(width).map(moments).collect::<Vec<(Vec<f64>, Vec<f64>)>>()
    };
    let parts = for_parts(model, parameters, rows, 1, &noise, Drawing::PosteriorMean, Some(&needed), read);
    let (means, sds): (Vec<_>, Vec<_>) = parts.into_iter().flatten().unzip();
    Encoding { width: size, means: means.concat(), sds: sds.concat() }
}

/// The factors of latent variable `latent` (an index in the program) for some rows, on the whole line.
///
/// A variable whose network reads the draws of another one gets its factor at that one's mean.
#[must_use]
pub(crate) fn encode(model: &AmortizedModel, parameters: &[f32], latent: usize, rows: &[u32]) -> Encoding {
    let program = &model.program;
    let variable = &program.latents[latent];
    let d = variable.width;
    let needed = program.needed(&[variable.parameters], true);
    let noise = StepNoise::new(0, 0);
    let read = |part: &mut Part, _: &Pass<'_>| {
        let width = program.slots[variable.parameters].width;
        let mut out = (Vec::new(), Vec::new());
        let mut squares = vec![0.0; d];
        for row in part.value(program, variable.parameters).chunks_exact(width) {
            out.0.extend(row[..d].iter().map(|&m| f64::from(m)));
            variances(variable, row, &mut squares);
            out.1.extend(squares.iter().map(|v| v.sqrt()));
        }
        out
    };
    let parts = for_parts(model, parameters, rows, 1, &noise, Drawing::PosteriorMean, Some(&needed), read);
    let mut encoding = Encoding { width: d, means: Vec::new(), sds: Vec::new() };
    for (means, sds) in parts {
        encoding.means.extend(means);
        encoding.sds.extend(sds);
    }
    encoding
}

/// Where the latent variables of a decoded batch come from.
#[derive(Debug, Clone, Copy)]
pub enum Code<'a> {
    /// The prior.
    Prior,
    /// The means of the factors: a reconstruction.
    Mean,
    /// Draws of the factors.
    Posterior,
    /// Given values, per latent variable `[num_rows, d]`.
    Given(&'a [Vec<f32>]),
}

/// Observed variables as the decoder sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Numbers per row.
    pub width: usize,
    /// The expected value of each number (of a category: the most probable one), `[num_rows, width]`.
    pub means: Vec<f32>,
    /// A draw of each number, `[num_rows, width]`; like the means not a number where it cannot be drawn.
    pub draws: Vec<f32>,
}

/// Why draws from the prior are not to be had, if they are not: of an amortised variable or of an observed one.
#[must_use]
pub(crate) fn refusal(program: &Program) -> Option<&str> {
    let priors = program.prior_generators.iter().map(|(_, generator)| generator);
    priors.chain(&program.generator).find_map(|generator| generator.as_ref().err().map(String::as_str))
}

/// Decodes every variable of [`Program::outputs`] for some rows; the rows' data serve as conditions and, unless the code is
/// given or from the prior, as input of the encoders. What depends on a discrete variable of the rows is averaged over its values:
/// given the row's data and its code, or by draws from its prior where the code is given. Where it depends on several of them it is
/// not a number unless the code is given or from the prior.
#[must_use]
pub(crate) fn decode(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    code: Code<'_>,
    seed: u64,
) -> Vec<Decoded> {
    let program = &model.program;
    let mut targets: Vec<SlotId> = program.observed.iter().flat_map(|o| o.parameters.iter().copied()).collect();
    let generator = program.generator.as_ref().and_then(|generator| generator.as_ref().ok());
    targets.extend(generator.iter().flat_map(|generator| &generator.tape.ports).map(|port| port.slot));
    let completion = program.completion.as_ref().filter(|_| matches!(code, Code::Mean | Code::Posterior));
    targets.extend(completion.iter().flat_map(|completion| completion.slots()));
    let (drawing, with_posterior) = match code {
        Code::Prior => (Drawing::Prior, false),
        Code::Mean => (Drawing::PosteriorMean, true),
        Code::Posterior => (Drawing::Posterior, true),
        Code::Given(_) => (Drawing::Given, false),
    };
    let needed = program.needed(&targets, with_posterior);
    let mut decoded: Vec<Decoded> = program
        .outputs
        .iter()
        .map(|output| Decoded { width: output.width, means: Vec::new(), draws: Vec::new() })
        .collect();
    // Draws of the whole model draw the variables outside the rows' plate anew for every row.
    let draws_globals = program.has_factor() && matches!(code, Code::Prior | Code::Posterior);
    let size = if draws_globals { 1 } else { super::trainer::rows_per_part(1) };
    let mut part = Part::new(program, size, 1, false);
    // A data row may stand more than once in the batch: noise goes by the place, not by the row.
    part.noise_by_place = true;
    let mut state = generator.map(|generator| State::new(&generator.tape, size, false));
    for (block, rows) in rows.chunks(size).enumerate() {
        part.assign(model, rows);
        if let Code::Given(values) = code {
            for (latent, values) in program.latents.iter().zip(values) {
                let first = block * size * latent.width;
                let length = rows.len() * latent.width;
                part.values[latent.output][..length].copy_from_slice(&values[first..first + length]);
            }
        }
        let noise = StepNoise::new(seed, 1 + block as u64);
        let drawn = program.draw_globals(parameters, draws_globals.then_some(&noise));
        let pass = Pass {
            program,
            parameters,
            sources: &model.sources,
            kernels: &crate::network::kernels::Processor,
            globals: &drawn,
            noise: &noise,
            training: false,
            drawing,
            needed: Some(&needed),
        };
        // The number of the block is the draw's to the tapes.
        let theta: Vec<f64> = drawn.theta.iter().copied().chain([derive_seed(seed, block as u64) as f64]).collect();
        if drawing == Drawing::Prior {
            draw_priors(&mut part, &pass, &theta);
        }
        part.forward(&pass);
        let (plain, others) = decoded.split_at_mut(program.observed.len());
        for (index, out) in plain.iter_mut().enumerate() {
            read_observed(model, &part, index, out, &noise);
        }
        if let (Some(generator), Some(state)) = (generator, &mut state) {
            state.globals(&generator.tape, &theta);
            part.run(program, &generator.tape, &theta, state);
        }
        let mixed: Vec<VariableId> =
            program.outputs[plain.len()..].iter().filter(|o| o.needs_discrete).map(|o| o.variable).collect();
        let mut completed = match (completion, generator, &mut state) {
            (Some(completion), ..) => completion.complete(&part, program, &theta, &mixed, seed ^ block as u64),
            (None, Some(generator), Some(state)) if drawing == Drawing::Given => {
                averaged(&part, program, generator, state, &theta, &mixed)
            }
            _ => Vec::new(),
        }
        .into_iter();
        for (output, out) in program.outputs[plain.len()..].iter().zip(others) {
            let known = drawing == Drawing::Prior || !output.needs_discrete;
            let drawn = match if known { None } else { completed.next() } {
                Some(completed) => Some((completed.draws, completed.means)),
                None => generator.zip(state.as_ref()).filter(|_| known).and_then(|(g, s)| s.drawn(g, output.variable)),
            };
            let missing = || vec![f64::NAN; rows.len() * output.width];
            let (draws, means) = drawn.unwrap_or_else(|| (missing(), missing()));
            out.draws.extend(draws.into_iter().map(|x| x as f32));
            out.means.extend(means.into_iter().map(|x| x as f32));
        }
    }
    decoded
}

/// Averages of variables over draws of the discrete ones that they depend on, from the prior given the code.
fn averaged(
    part: &Part,
    program: &Program,
    generator: &Generator,
    state: &mut State,
    theta: &[f64],
    variables: &[VariableId],
) -> Vec<Completed> {
    let mut theta = theta.to_vec();
    let mut sums = vec![Vec::new(); variables.len()];
    let mut last = Vec::new();
    for turn in 0..PRIOR_DRAWS {
        if let Some(number) = theta.last_mut() {
            *number = derive_seed(*number as u64, turn) as f64;
        }
        part.run(program, &generator.tape, &theta, state);
        last = variables.iter().map(|v| state.expected(generator, *v).unwrap_or_default()).collect();
        for (sum, expected) in sums.iter_mut().zip(&last) {
            sum.resize(expected.values.len(), 0.0);
            sum.iter_mut().zip(&expected.values).for_each(|(s, x)| *s += x / PRIOR_DRAWS as f64);
        }
    }
    let completed = last.into_iter().zip(sums).map(|(e, sum)| Completed { means: e.likeliest(sum), draws: e.draws });
    completed.collect()
}

/// Writes draws of the amortised variables whose priors the log joint has into their slots, in the order of the program.
fn draw_priors(part: &mut Part, pass: &Pass<'_>, theta: &[f64]) {
    let program = pass.program;
    for (index, generator) in &program.prior_generators {
        let (Ok(generator), latent) = (generator, &program.latents[*index]) else { continue };
        let slots: Vec<SlotId> = generator.tape.ports.iter().map(|port| port.slot).collect();
        let needed = program.needed(&slots, false);
        part.forward(&Pass { needed: Some(&needed), ..*pass });
        let mut state = State::new(&generator.tape, part.rows.len(), false);
        state.globals(&generator.tape, theta);
        part.run(program, &generator.tape, theta, &mut state);
        let id = generator.variable();
        if let Some((draws, _)) = id.and_then(|id| state.drawn(generator, id)) {
            let theta: Vec<f64> = match latent.values {
                Values::Numbers(range) => draws.into_iter().map(|x| range.unconstrained(x)).collect(),
                Values::Shares => draws.chunks_exact(latent.width + 1).flat_map(log_ratios).collect(),
            };
            for (target, theta) in part.values[latent.output].iter_mut().zip(theta) {
                *target = theta as f32;
            }
        }
    }
}

/// ln(πₖ / π_last) of all shares but the last; a share that is too small for a number counts as the smallest one.
fn log_ratios(shares: &[f64]) -> Vec<f64> {
    let log = |share: &f64| share.max(f64::MIN_POSITIVE).ln();
    let Some((last, others)) = shares.split_last() else { return Vec::new() };
    others.iter().map(|share| log(share) - log(last)).collect()
}

/// Expected values and draws of one observed variable in one part.
fn read_observed(model: &AmortizedModel, part: &Part, index: usize, out: &mut Decoded, noise: &StepNoise) {
    let program = &model.program;
    let observed = &program.observed[index];
    let width = out.width;
    for row in 0..part.rows.len() {
        let mut generator = noise.row(row as u64, 0x4000 + index as u16);
        let parameter = |which: usize, column: usize| -> f64 {
            let slot = observed.parameters[which];
            let s = &program.slots[slot];
            let at = if s.level == super::program::Level::Global { 0 } else { row * s.width };
            f64::from(part.values[slot][at + if s.width == 1 { 0 } else { column }])
        };
        for column in 0..width {
            let (mean, draw) = match observed.likelihood {
                Likelihood::BernoulliLogit => {
                    let p = 1.0 / (1.0 + f64::from(exp::<false>(-parameter(0, column) as f32)));
                    (p, f64::from(u8::from(generator.random::<f64>() < p)))
                }
                Likelihood::Normal => {
                    let (mean, sd) = (parameter(0, column), parameter(1, column));
                    let e: f64 = StandardNormal.sample(&mut generator);
                    (mean, mean + sd * e)
                }
                Likelihood::PoissonLogRate => {
                    let rate = parameter(0, column).exp();
                    (rate, Poisson::new(rate).map_or(f64::NAN, |p| p.sample(&mut generator)))
                }
                Likelihood::Categorical { size } => {
                    let slot = observed.parameters[0];
                    let start = row * program.slots[slot].width + column * size;
                    let logits = &part.values[slot][start..start + size];
                    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l - largest).exp()).collect();
                    let mut rest = generator.random::<f64>() * weights.iter().sum::<f64>();
                    let drawn = weights.iter().position(|w| {
                        rest -= w;
                        rest < 0.0
                    });
                    let best = (0..size).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
                    (best as f64, drawn.unwrap_or(size - 1) as f64)
                }
            };
            out.means.push(mean as f32);
            out.draws.push(draw as f32);
        }
    }
}

/// Held-out quality of a fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Number of rows, counted with their weights.
    pub rows: f64,
    /// ELBO per row, in nats.
    pub elbo: f64,
    /// Its Monte Carlo standard error.
    pub elbo_standard_error: f64,
    /// E_q[log p(x | z)] per row.
    pub log_likelihood: f64,
    /// KL(q ‖ p) per row.
    pub divergence: f64,
    /// log 1/K Σ p(x, z_k) / q(z_k), the importance-weighted estimate of log p(x), per row.
    pub log_evidence: f64,
    /// Standard error of its mean over rows.
    pub log_evidence_standard_error: f64,
    /// K.
    pub samples: usize,
    /// For each latent variable the dimensions whose mean varies over the rows by more than 0.01
    /// (Burda, Grosse & Salakhutdinov 2016), and all of its dimensions.
    pub active_units: Vec<(String, usize, usize)>,
}

/// Evaluates a fitted model on some rows with `samples` importance samples per row.
#[must_use]
pub(crate) fn evaluate_rows(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    samples: usize,
    seed: u64,
) -> Evaluation {
    let program = &model.program;
    let elbo: Totals = evaluate(model, parameters, rows, 20, &StepNoise::new(seed, 0), Bound::elbo(program));
    // Running log-sum-exp of the log weights of every row.
    let mut sums: Vec<(f64, f64)> = vec![(f64::NEG_INFINITY, 0.0); rows.len()];
    let samples = samples.max(1);
    let mut done = 0;
    let mut pass_number = 1;
    while done < samples {
        let draws = DRAWS_PER_PASS.min(samples - done);
        let noise = StepNoise::new(seed, pass_number);
        let read = |part: &mut Part, pass: &Pass<'_>| {
            part.bound(pass, Bound::MonteCarlo { beta: 1.0, path_only: false }, None);
            (0..part.rows.len() * draws).map(|sample| part.log_weight(sample)).collect::<Vec<f64>>()
        };
        let logs = for_parts(model, parameters, rows, draws, &noise, Drawing::Posterior, None, read).concat();
        for ((largest, sum), logs) in sums.iter_mut().zip(logs.chunks_exact(draws)) {
            for &log in logs {
                if log > *largest {
                    *sum = *sum * (*largest - log).exp() + 1.0;
                    *largest = log;
                } else {
                    *sum += (log - *largest).exp();
                }
            }
        }
        done += draws;
        pass_number += 1;
    }
    let estimates: Vec<f64> = sums.iter().map(|(largest, sum)| largest + (sum / samples as f64).ln()).collect();
    let weights: Vec<f64> = rows.iter().map(|&row| f64::from(model.weights[row as usize])).collect();
    let total: f64 = weights.iter().sum();
    let log_evidence = estimates.iter().zip(&weights).map(|(e, w)| e * w).sum::<f64>() / total;
    let variance =
        estimates.iter().zip(&weights).map(|(e, w)| w * (e - log_evidence).powi(2)).sum::<f64>() / total.max(1.0);
    let active_units = program
        .latents
        .iter()
        .enumerate()
        .map(|(index, latent)| {
            let encoding = encode(model, parameters, index, rows);
            let active = (0..latent.width)
                .filter(|&i| {
                    let values = encoding.means.iter().skip(i).step_by(latent.width);
                    let count = values.len() as f64;
                    let mean = values.clone().sum::<f64>() / count;
                    values.map(|v| (v - mean).powi(2)).sum::<f64>() / count > 0.01
                })
                .count();
            (latent.name.clone(), active, latent.width)
        })
        .collect();
    Evaluation {
        rows: total,
        elbo: elbo.bound / elbo.rows,
        elbo_standard_error: elbo.draw_variance.sqrt() / elbo.rows,
        log_likelihood: elbo.log_likelihood / elbo.rows,
        divergence: elbo.divergence / elbo.rows,
        log_evidence,
        log_evidence_standard_error: (variance / total).sqrt(),
        samples,
        active_units,
    }
}
