//! How an amortised model is trained: the `[inference]` section with every default filled in.

use super::bound::Bound;
use super::program::Program;
use crate::error::SgviError;
use crate::network::noise::StepNoise;
use crate::network::optimizer::Optimizer;
use rand::seq::SliceRandom;
use vi_model::graph::Graph;
use vi_model::inference::GradientEstimator;
use vi_run::seed::derive_seed;

/// How the learning rate falls from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Constant until the stop rule holds or 70 % of the steps are done, then linearly to a hundredth.
    CoolDown,
    /// Never falls.
    Constant,
    /// Half a cosine over all steps, to a hundredth.
    Cosine,
    /// rate / √(1 + step / (a tenth of all steps))
    InverseRoot,
    /// A third after every third of the steps.
    Step,
}

/// What is maximised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objective {
    /// The ELBO with the divergence in closed form.
    Analytic,
    /// The ELBO with every expectation in closed form.
    ClosedForm,
    /// The ELBO by draws.
    MonteCarlo,
    /// The ELBO by draws, log q differentiated along the draw alone.
    PathOnly,
    /// The importance-weighted bound with the doubly reparameterised gradient.
    ImportanceWeighted,
}

/// When steps count as converged: two windows whose means differ by no more than tolerance × |ELBO|, or their standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StopRule {
    /// Steps per window.
    pub window: usize,
    /// Relative gain that counts as none.
    pub tolerance: f64,
}

/// Everything that determines a training run besides model and data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Seed of everything random.
    pub seed: u64,
    /// Number of starts; the best ELBO is kept.
    pub restarts: usize,
    /// Rows per step.
    pub batch_size: usize,
    /// Draws per row and step.
    pub draws: usize,
    /// Largest number of steps.
    pub max_iterations: usize,
    /// When the optimiser's steps count as converged.
    pub stop: StopRule,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Its learning rate before the schedule.
    pub learning_rate: f64,
    /// The schedule.
    pub schedule: Schedule,
    /// The objective.
    pub objective: Objective,
    /// Weight of the divergence after the warm-up; with anything but 1 the objective is no longer the ELBO.
    pub beta: f64,
    /// Steps over which the weight of the divergence rises from 0.
    pub beta_warmup: usize,
    /// Largest norm of the gradient per row.
    pub clip: Option<f64>,
    /// Fraction of the rows held out.
    pub held_out: f64,
    /// Evaluations of the held-out rows without gain before stopping.
    pub patience: usize,
    /// Steps between evaluations of the held-out rows.
    pub evaluate_every: usize,
    /// Draws per row for the final ELBO.
    pub evaluation_draws: usize,
    /// The stop rule of the search by curvature, where the bound is in closed form and no optimiser is named.
    pub search: Option<StopRule>,
    /// Whether a learned decoder sd is set to its closed-form optimum instead of following its gradient.
    pub optimal_sd: bool,
}

impl Settings {
    /// The settings of a model file; keys left out get their defaults.
    ///
    /// A step sees all rows where there are at most 4096 of them or nothing is drawn, and 256 of more rows.
    ///
    /// # Errors
    /// [`SgviError::Unsupported`] for an option that amortised models do not have.
    pub(crate) fn new(graph: &Graph, program: &Program) -> Result<Self, SgviError> {
        let inference = &graph.inference;
        let num_rows = graph.data.num_rows().max(1);
        let refuse = |key: &str, reason: &str, help: &str| SgviError::Unsupported {
            variable: key.to_owned(),
            reason: reason.to_owned(),
            help: help.to_owned(),
            span: inference.key_spans.get(key).cloned().unwrap_or(0..0),
        };
        let number = |key: &str| {
            inference.options.get(key).and_then(|v| v.as_float().or_else(|| v.as_integer().map(|i| i as f64)))
        };
        let count =
            |key: &str| inference.options.get(key).and_then(|v| v.as_integer()).and_then(|i| usize::try_from(i).ok());
        let word = |key: &str| inference.options.get(key).and_then(|v| v.as_str());

        let name = inference.optimizer.as_deref().unwrap_or("adam");
        let Some(mut optimizer) = Optimizer::named(name) else {
            let help = format!("write one of {}", Optimizer::NAMES.join(", "));
            return Err(refuse("optimizer", &format!("{name:?} does not train networks"), &help));
        };
        match &mut optimizer {
            Optimizer::Adam { weight_decay, .. } => {
                *weight_decay = number("weight_decay").map_or(*weight_decay, |x| x as f32);
            }
            Optimizer::Momentum { momentum, weight_decay } => {
                *weight_decay = number("weight_decay").map_or(*weight_decay, |x| x as f32);
                *momentum = number("momentum").map_or(*momentum, |x| x as f32);
            }
        }
        let schedule = match word("schedule_learning_rate") {
            None => Schedule::CoolDown,
            Some("constant") => Schedule::Constant,
            Some("cosine") => Schedule::Cosine,
            Some("inverse-sqrt") => Schedule::InverseRoot,
            Some("step") => Schedule::Step,
            Some(other) => {
                return Err(refuse(
                    "schedule_learning_rate",
                    &format!("{other:?} is not a schedule"),
                    "write constant, cosine, inverse-sqrt or step, or leave it out",
                ));
            }
        };
        let importance_samples = count("importance_samples");
        let objective = match (importance_samples, inference.gradient.unwrap_or_default(), word("kl")) {
            (_, GradientEstimator::ScoreFunction, _) => {
                return Err(refuse(
                    "gradient",
                    "the score-function gradient does not train networks",
                    "write reparameterization or sticking-the-landing",
                ));
            }
            (Some(2..), ..) => Objective::ImportanceWeighted,
            // What is known exactly need not be estimated, by whichever estimator.
            (_, _, kl) if program.closed_form && kl != Some("monte-carlo") => Objective::ClosedForm,
            (_, GradientEstimator::StickingTheLanding, _) => Objective::PathOnly,
            (_, _, Some("monte-carlo")) => Objective::MonteCarlo,
            _ => Objective::Analytic,
        };
        let all_rows = num_rows <= 4096 || objective == Objective::ClosedForm;
        let batch_size = inference.batch_size.unwrap_or(if all_rows { num_rows } else { 256 }).min(num_rows);
        let steps_per_pass = num_rows.div_ceil(batch_size);
        let max_iterations = inference.max_iterations.unwrap_or((200 * steps_per_pass).clamp(10_000, 100_000));
        // Whoever names how to take stochastic steps gets them.
        let named = ["schedule_learning_rate", "clip", "weight_decay", "momentum", "beta_warmup", "decoder_sd"];
        let search = objective == Objective::ClosedForm
            && batch_size == num_rows
            && inference.optimizer.is_none()
            && !named.iter().any(|key| inference.options.contains_key(*key));
        let held_out = number("held_out").unwrap_or(0.0);
        if held_out >= 1.0 || (held_out * num_rows as f64) as usize >= num_rows {
            return Err(refuse("held_out", "no row is left to train on", "hold out less, such as 0.1"));
        }
        Ok(Self {
            seed: inference.seed.unwrap_or(0),
            restarts: inference.restarts.unwrap_or(1),
            batch_size,
            draws: if objective == Objective::ClosedForm {
                1
            } else {
                importance_samples.unwrap_or(1).max(inference.draws.unwrap_or(1))
            },
            max_iterations,
            stop: StopRule {
                window: count("window").unwrap_or((max_iterations / 4).clamp(10, 2000)),
                tolerance: inference.tolerance.unwrap_or(1e-4),
            },
            optimizer,
            learning_rate: inference.learning_rate.unwrap_or(0.002),
            schedule,
            objective,
            beta: number("beta").unwrap_or(1.0),
            beta_warmup: count("beta_warmup").unwrap_or(0),
            clip: number("clip"),
            held_out,
            patience: count("patience").unwrap_or(20),
            evaluate_every: steps_per_pass.max(max_iterations / 200).max(1),
            evaluation_draws: count("evaluation_draws").unwrap_or((200_000 / num_rows).clamp(10, 100)),
            search: search.then(|| StopRule {
                window: count("window").unwrap_or(50),
                tolerance: inference.tolerance.unwrap_or(1e-6),
            }),
            optimal_sd: word("decoder_sd") == Some("optimal"),
        })
    }

    /// The weight of the divergence at a step (counted from 1).
    #[must_use]
    pub(crate) fn beta_at(&self, step: u64) -> f64 {
        if self.beta_warmup == 0 { self.beta } else { self.beta * (step as f64 / self.beta_warmup as f64).min(1.0) }
    }

    /// The bound to maximise at a step.
    #[must_use]
    pub(crate) fn bound_at(&self, step: u64) -> Bound {
        let beta = self.beta_at(step) as f32;
        match self.objective {
            Objective::Analytic => Bound::Analytic { beta },
            Objective::ClosedForm => Bound::ClosedForm { beta },
            Objective::MonteCarlo => Bound::MonteCarlo { beta, path_only: false },
            Objective::PathOnly => Bound::MonteCarlo { beta, path_only: true },
            Objective::ImportanceWeighted => Bound::ImportanceWeighted { doubly: true },
        }
    }

    /// Steps of the cool-down at the end of the run.
    #[must_use]
    pub(crate) fn cool_down_steps(&self) -> u64 {
        (self.max_iterations as u64 * 3 / 10).max(1)
    }

    /// The factor on the learning rate at a step (counted from 1); `cool_down` is where the cool-down began and how long
    /// it lasts, once it has.
    #[must_use]
    pub(crate) fn learning_rate_at(&self, step: u64, cool_down: Option<(u64, u64)>) -> f64 {
        let progress = step as f64 / self.max_iterations.max(1) as f64;
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::CoolDown => match cool_down {
                Some((start, length)) => 1.0 - 0.99 * (step.saturating_sub(start) as f64 / length as f64).min(1.0),
                None => 1.0,
            },
            Schedule::Cosine => 0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
            Schedule::InverseRoot => 1.0 / (1.0 + 10.0 * progress).sqrt(),
            Schedule::Step => 3.0_f64.powi(-((progress * 3.0).floor().min(2.0) as i32)),
        };
        self.learning_rate * factor
    }
}

/// The stream of random numbers that chooses the held-out rows.
const HELD_OUT_STREAM: u64 = 2;

/// The rows to train on and those held out, which are the same ones in every restart.
#[must_use]
pub(crate) fn split_rows(num_rows: usize, settings: &Settings) -> (Vec<u32>, Vec<u32>) {
    let mut rows: Vec<u32> = (0..num_rows as u32).collect();
    let count = (settings.held_out * num_rows as f64).round() as usize;
    if count > 0 {
        rows.shuffle(&mut StepNoise::new(derive_seed(settings.seed, HELD_OUT_STREAM), 0).row(0, 0));
    }
    let mut held_out = rows.split_off(num_rows - count.min(num_rows));
    held_out.sort_unstable();
    rows.sort_unstable();
    (rows, held_out)
}
