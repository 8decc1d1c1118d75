//! From a graph to a fitted approximation with its record: what the command line and library users call.

use serde_json::{Value, json};
use vi_model::graph::Graph;
use vi_model::inference::{ControlVariate, GradientEstimator, Inference, Initialization, VariationalFamily};
use vi_model::repeated_rows::RepeatedRows;
use vi_run::executor::{Executor, Failure, FailureCause, RelativeGain, Restart};
use vi_run::record::{Record, Status, Table, TracePoint};
use vi_run::seed::derive_seed;

use super::assess::{self, Assessment};
use super::climb::{Climb, CommonDraws, Way};
use super::curvature::{self, Whitening};
use super::gaussian::Gaussian;
use super::local_terms::LocalTerms;
use super::noise;
use super::repeat::repeated;
use super::search::{Search, SearchSettings};
use super::steps::{self, StochasticSettings};
use super::stochastic::Stochastic;
use super::{counts, expected, posterior, responsibility};
use crate::error::SgviError;
use crate::fitted::FitOptions;
use crate::lower::{Latent, Model, Support};
use crate::tape::{Evaluation, Evaluator};

/// A fitted model.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// What is written to the run's folder.
    pub record: Record,
    /// The approximation; `None` where the run failed.
    pub gaussian: Option<Gaussian>,
    /// The compiled model.
    pub model: Model,
    /// The model over repeated rows that was compiled, where a weight for each row was not enough.
    pub repeated: Option<RepeatedRows>,
    /// The model with latent counts that have no bound summed so far that nothing is missing, where there are such.
    pub summed: Option<Graph>,
}

impl Fitted {
    /// The model that was compiled: with its rows repeated, and with sums over latent counts, where that was so.
    pub(crate) fn graph<'a>(&'a self, graph: &'a Graph) -> &'a Graph {
        self.summed.as_ref().or(self.repeated.as_ref().map(|r| &r.graph)).unwrap_or(graph)
    }
}

/// Steps at most where the model file does not say.
pub(crate) const MAX_ITERATIONS: usize = 50_000;
/// Relative gain that counts as none where the model file does not say.
pub(crate) const TOLERANCE: f64 = 1e-8;

/// The search's settings for one restart.
pub(crate) fn search_settings(inference: &Inference, restart: Restart) -> SearchSettings {
    SearchSettings {
        family: inference.family.unwrap_or_default(),
        rank: inference.rank.unwrap_or(2),
        tolerance: inference.tolerance.unwrap_or(TOLERANCE),
        seed: restart.seed,
        jitter: restart.index > 1 || inference.initialization == Some(Initialization::Random),
        draws: inference.draws.filter(|_| steps::has_fixed_draws(inference)),
        blocks: if inference.family.unwrap_or_default() == VariationalFamily::MeanField {
            inference.blocks.clone()
        } else {
            Vec::new()
        },
    }
}

/// A hash of the model, its data and its `[inference]` as overridden: a checkpoint belongs to one of them.
///
/// # Errors
/// When the data cannot be read.
pub(crate) fn fingerprint(graph: &Graph) -> Result<u64, SgviError> {
    let text = format!("{}\n{:?}", graph.fingerprint()?, graph.inference);
    Ok(vi_run::executor::fingerprint(text.as_bytes()))
}

/// Fits a model.
///
/// # Errors
/// Models that this engine cannot treat. A failure while running is a record with status `failed`.
pub(crate) fn fit(graph: &Graph, options: FitOptions<'_>) -> Result<Fitted, SgviError> {
    let Some(repeated) = repeated(graph)? else { return fit_counts(graph, options) };
    let fitted = fit_counts(&repeated.graph, options)?;
    Ok(Fitted { repeated: Some(repeated), ..fitted })
}

/// As [`fit_rows`], again wherever the fit shows that a sum over latent counts must go further.
fn fit_counts(graph: &Graph, mut options: FitOptions<'_>) -> Result<Fitted, SgviError> {
    let Some(mut now) = counts::started(graph)? else { return fit_rows(graph, options) };
    loop {
        let again = FitOptions {
            saved: options.saved.clone(),
            interruption: options.interruption.clone(),
            ..FitOptions::default()
        };
        let fitted = fit_rows(&now, options)?;
        let ended = fitted.record.status == Status::Failed || again.interruption.is_raised();
        let needed = if ended { None } else { counts::complete(&now, fitted.gaussian.as_ref())? };
        match needed.filter(|needed| needed.variables != now.variables) {
            Some(needed) => (now, options) = (needed, again),
            None => return Ok(Fitted { summed: Some(now), ..fitted }),
        }
    }
}

/// As [`fit`], over the rows as they stand.
fn fit_rows(graph: &Graph, options: FitOptions<'_>) -> Result<Fitted, SgviError> {
    let inference = &graph.inference;
    let seed = inference.seed.unwrap_or(0);
    let model = Model::new(graph)?;
    check_options(graph, &model)?;
    super::save::check(graph, &model, &options.saved)?;
    let mut record = Record::new("sgvi", &graph.source.name, env!("CARGO_PKG_VERSION"), seed);
    for key in ["elbo_standard_error", "khat"] {
        record.extra.insert(key.to_owned(), Value::Null);
    }
    record.extra.insert("verdict".to_owned(), json!("bad"));
    let evaluator = Evaluator::new(std::sync::Arc::clone(&model.program));
    if model.program.dimension == 0 {
        without_latents(&mut record, &model, &evaluator);
        responsibility::add_entries(graph, None, seed, &mut record.posterior)?;
        let missing = expected::add_entries(graph, &model, None, None, seed, &mut record.posterior);
        name_unreported(&missing, &mut record);
        return Ok(Fitted { record, gaussian: None, model, repeated: None, summed: None });
    }
    let max_iterations = inference.max_iterations.unwrap_or(MAX_ITERATIONS);
    let mut executor = Executor::new(seed, max_iterations, RelativeGain::new(0.0))
        .restarts(inference.restarts.unwrap_or(1))
        .interruption(options.interruption);
    executor.observers = options.observers;
    let first = search_settings(inference, Restart { index: 1, seed });
    let stochastic = steps::settings(inference, first, max_iterations, model.is_relaxed)?;
    let score = inference.gradient == Some(GradientEstimator::ScoreFunction);
    let local_terms =
        if score || model.is_relaxed { Some(std::sync::Arc::new(LocalTerms::new(graph, &model)?)) } else { None };
    let common = (inference.restarts.unwrap_or(1) > 1).then(|| CommonDraws {
        model: &model,
        evaluator: &evaluator,
        seed: derive_seed(seed, 1_000_003),
    });
    let start = |restart: Restart| {
        let search = search_settings(inference, restart);
        let way = match &stochastic {
            None => Search::new(&model, &evaluator, search).map(|s| Way::Search(Box::new(s)))?,
            Some(settings) => Stochastic::new(&model, &evaluator, StochasticSettings { search, ..settings.clone() })
                .map(|s| Way::Stochastic(Box::new(s.with_local_terms(local_terms.clone()))))?,
        };
        Ok(Climb { way, common })
    };
    let outcome = match &options.checkpoints {
        Some(checkpoints) => executor.run_with_checkpoints(checkpoints, start),
        None => executor.run(start),
    };
    let (q, outcome) = match outcome {
        Ok(fit) => (fit.algorithm.gaussian(), fit.outcome),
        Err(failure) => {
            failed(&mut record, &failure, &crossing(graph, &model));
            return Ok(Fitted { record, gaussian: None, model, repeated: None, summed: None });
        }
    };
    record.set_outcome(&outcome);
    let asked = inference.options.get("evaluation_draws").and_then(toml_count).unwrap_or(0);
    let assessment = assess::assess(&model, &evaluator, &q, derive_seed(seed, 1_000_003), asked.max(assess::DRAWS));
    if !assessment.elbo.is_finite() {
        record.status = Status::Failed;
        let reason = assess::outside(&model, &assessment.terms).to_string() + &crossing(graph, &model);
        record.extra.insert("failure".to_owned(), json!(reason));
        return Ok(Fitted { record, gaussian: Some(q), model, repeated: None, summed: None });
    }
    describe(&mut record, graph, &model, &q, &assessment, seed);
    steps::advise_of_unread(inference, &mut record);
    record.extra.insert("gradient_signal_to_noise".to_owned(), json!(signal_to_noise(&model, &evaluator, &q, seed)));
    if inference.family.unwrap_or_default() == VariationalFamily::MeanField && inference.blocks.is_empty() {
        linear_response(&mut record, graph, &model, &evaluator, &q, seed);
    }
    responsibility::add_entries(graph, Some(&q), derive_seed(seed, 1_000_037), &mut record.posterior)?;
    let seed = derive_seed(seed, 1_000_087);
    let missing = expected::add_entries(graph, &model, Some(&q), Some(&assessment), seed, &mut record.posterior);
    name_unreported(&missing, &mut record);
    Ok(Fitted { record, gaussian: Some(q), model, repeated: None, summed: None })
}

/// A whole number that is not negative.
fn toml_count(value: &toml::Value) -> Option<usize> {
    value.as_integer().and_then(|i| usize::try_from(i).ok())
}

/// Nothing continuous is latent: the log joint is the ELBO, exactly.
fn without_latents(record: &mut Record, model: &Model, evaluator: &Evaluator) {
    let clock = std::time::Instant::now();
    let mut out = Evaluation::default();
    evaluator.evaluate(&[], 1, false, &mut out);
    let elbo = out.values[0];
    record.seconds = clock.elapsed().as_secs_f64();
    record.status = if elbo.is_finite() { Status::Converged } else { Status::Failed };
    record.iterations = 1;
    record.elbo = elbo;
    record.restarts = vec![elbo];
    record.elbo_terms = model.program.terms.iter().cloned().zip(out.terms).collect();
    record.trace.push(TracePoint {
        restart: 1,
        iteration: 1,
        seconds: record.seconds,
        elbo,
        standard_error: Some(0.0),
        extra: Vec::new(),
    });
    record.extra.insert("elbo_standard_error".to_owned(), json!(0.0));
    record.extra.insert("verdict".to_owned(), json!("good"));
    if !elbo.is_finite() {
        record.extra.insert("failure".to_owned(), json!(format!("the log likelihood is {elbo}")));
    }
}

/// Fills the record with what the assessment says.
fn describe(record: &mut Record, graph: &Graph, model: &Model, q: &Gaussian, assessment: &Assessment, seed: u64) {
    record.elbo = assessment.elbo;
    if let Some(best) = record.best_restart() {
        // All restarts were judged by the same draws: what separates them stays, the level is that of the many draws of the best.
        let shift = assessment.elbo - record.restarts[best - 1];
        record.restarts.iter_mut().for_each(|elbo| *elbo = (*elbo + shift).min(assessment.elbo));
        record.restarts[best - 1] = assessment.elbo;
    }
    record.elbo_terms =
        model.program.terms.iter().cloned().zip(assessment.terms.iter().copied()).collect::<Table<f64>>();
    let mut extra = |key: &str, value: Value| {
        record.extra.insert(key.to_owned(), value);
    };
    extra("elbo_standard_error", json!(assessment.standard_error));
    extra("khat", json!(assessment.khat()));
    extra("verdict", json!(assessment.verdict()));
    extra("effective_sample_size", json!(assessment.smoothed.effective_size));
    extra("draws", json!(assessment.draws));
    extra("log_evidence", json!(assessment.smoothed.log_mean));
    extra("log_evidence_standard_error", json!(assessment.log_evidence_standard_error));
    let family = graph.inference.family.unwrap_or_default().name();
    extra("family", json!(family));
    if assessment.sits_between_modes() {
        record.extra.insert("between_modes".to_owned(), json!(true));
        record.advise(
            "whatever k̂ says, the approximation sits between modes of the posterior, where the log joint is lower than on both sides: tell them apart \
             (`ordered = true`, or `initial` values and a prior on one side), and its spread is that of neither",
        );
    } else if assessment.verdict() != "good" {
        record.advise(advice(family, assessment.verdict(), !q.categories.is_empty()));
    }
    record.posterior = posterior::entries(graph, model, q, Some(assessment), derive_seed(seed, 1_000_033));
}

/// Names the expressions outside the rows' plate that have no entry under the key `unreported`, and why as advice.
fn name_unreported(missing: &[(String, SgviError)], record: &mut Record) {
    if missing.is_empty() {
        return;
    }
    for (name, error) in missing {
        record.advise(format!("`{name}` has no entry in posterior.json: {error}"));
    }
    let names: Vec<&String> = missing.iter().map(|m| &m.0).collect();
    record.extra.insert("unreported".to_owned(), json!(names));
}

/// Length of the mean gradient over its standard error, from 200 draws in units of the spread: about one at an optimum.
fn signal_to_noise(model: &Model, evaluator: &Evaluator, q: &Gaussian, seed: u64) -> Option<f64> {
    let n = q.mean.len();
    let draws = 200;
    let noise = noise::independent(derive_seed(seed, 1_000_039), draws, q.noise_dimension());
    let theta = q.points(&noise, draws);
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, draws, true, &mut out);
    let scale = curvature::scales(q, &model.start_scale);
    let (mut signal, mut error) = (0.0, 0.0);
    let is_weight = q.is_weight();
    for i in (0..n).filter(|i| !is_weight[*i]) {
        let values = || (0..draws).map(|s| out.gradients[s * n + i] * scale[i]);
        let mean = values().sum::<f64>() / draws as f64;
        let variance = values().map(|g| (g - mean).powi(2)).sum::<f64>() / (draws as f64 - 1.0);
        signal += mean * mean;
        error += variance / draws as f64;
    }
    Some((signal / error).sqrt()).filter(|r| r.is_finite())
}

/// Standard deviations corrected by linear response (Giordano, Broderick & Jordan 2018): the inverse of the expected
/// curvature, for variables on the whole line.
fn linear_response(record: &mut Record, graph: &Graph, model: &Model, evaluator: &Evaluator, q: &Gaussian, seed: u64) {
    let n = q.mean.len();
    // The categorical factors' own response would have to be in it too.
    if n > curvature::MAX_DENSE || !q.categories.is_empty() {
        return;
    }
    let scale = curvature::scales(q, &model.start_scale);
    let Ok(Some(whitening)) = Whitening::new(model, evaluator, q, &scale, derive_seed(seed, 1_000_081)) else { return };
    let Some(root) = whitening.root(&q.free, &scale) else { return };
    let sds: Vec<f64> = (0..q.free.len()).map(|i| root.row(i).norm()).collect();
    for output in &model.outputs {
        let Some(latent) = output.variable.and_then(|v| model.latents.iter().find(|l| l.variable == v)) else {
            continue;
        };
        if latent.support != Support::Real || latent.rows || graph.variable(latent.variable).point {
            continue;
        }
        let values: Vec<f64> = (latent.offset..latent.offset + latent.count)
            .map(|c| q.free.binary_search(&c).map_or(0.0, |i| sds[i]))
            .collect();
        if let Some(entry) = record.posterior.get_mut(&output.name) {
            entry.sd_linear_response = Some(posterior::nested(graph, &output.axes, &values));
        }
    }
}

/// What to try where the verdict is not good; `with_factors` where discrete variables have factors of their own.
fn advice(family: &str, verdict: &str, with_factors: bool) -> String {
    let parametrisation = "another parametrisation (non-centred, or scaled covariates)";
    let mut other = if family == "full-rank" {
        parametrisation.to_owned()
    } else {
        format!("family = \"full-rank\" (--family full-rank), or {parametrisation}")
    };
    if with_factors {
        other.push_str("; no family can follow dependence between discrete variables that are not summed out");
    }
    match verdict {
        "usable" => format!(
            "the approximation is usable; the means corrected by importance sampling are better, and so may be {other}"
        ),
        _ => format!("do not trust the standard deviations, perhaps not the means: try {other}"),
    }
}

/// What to try where bounds that depend on latent variables may lie in the wrong order in some draws; nothing in other models.
fn crossing(graph: &Graph, model: &Model) -> String {
    let between = |l: &&Latent| matches!(l.support, Support::Interval(..)) && l.support.has_latent_bounds();
    let names: Vec<String> =
        model.latents.iter().filter(between).map(|l| format!("`{}`", graph.variable(l.variable).name)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "; in some draws the lower bound of {} may lie above the upper: write `upper` as the lower one plus a positive variable",
        names.join(", ")
    )
}

/// `hint` follows the reason where the log joint was not finite.
fn failed(record: &mut Record, failure: &Failure<SgviError>, hint: &str) {
    record.status = Status::Failed;
    record.seconds = failure.seconds;
    record.trace.clone_from(&failure.trace);
    record.iterations = failure.trace.len();
    let reason = match &failure.cause {
        FailureCause::Algorithm(error @ SgviError::Outside { .. }) => format!("{error}{hint}"),
        FailureCause::Algorithm(error) => error.to_string(),
        cause @ FailureCause::NotFinite { .. } => format!("{cause}{hint}"),
        cause => cause.to_string(),
    };
    record.extra.insert("failure".to_owned(), json!(reason));
}

/// Options that make no sense for the model.
fn check_options(graph: &Graph, model: &Model) -> Result<(), SgviError> {
    let inference = &graph.inference;
    let span = |key: &str| inference.key_spans.get(key).cloned().unwrap_or(0..0);
    let refuse = |option: &str, reason: &str, help: &str| {
        Err(SgviError::Unsupported {
            variable: option.to_owned(),
            reason: reason.to_owned(),
            help: help.to_owned(),
            span: span(option),
        })
    };
    if inference.draws == Some(0) {
        return refuse("draws", "no Monte Carlo draws: there is nothing to average", "write draws = 1 or more");
    }
    let weights: usize = model.categories.iter().map(|c| c.size).sum();
    if inference.family == Some(VariationalFamily::FullRank) && model.program.dimension - weights > 2000 {
        return refuse(
            "family",
            "a full covariance of more than 2000 coordinates is too large",
            "use family = \"mean-field\" or \"low-rank\"",
        );
    }
    let rows = model.latents.iter().any(|l| l.rows) || model.factored.iter().any(|f| graph.is_local(f.variable));
    if inference.batch_size.is_some() && (rows || !model.program.chunkable) {
        return refuse(
            "batch_size",
            "rows cannot be taken in batches where a latent variable is in the rows' plate or a chain runs along the rows",
            "leave out batch_size",
        );
    }
    let score = inference.gradient == Some(GradientEstimator::ScoreFunction);
    if score && inference.draws == Some(1) && inference.control_variate != Some(ControlVariate::None) {
        return refuse(
            "draws",
            "the score-function gradient with leave-one-out needs at least two draws",
            "write draws = 10, or gradient = \"reparameterization\"",
        );
    }
    Ok(())
}
