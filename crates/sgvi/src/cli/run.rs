//! `sgvi run`: fits a model and writes its folder.

use clap::Args;
use vi_model::graph::Graph;
use vi_run::cli::{ProgressLine, RunArguments, conclude, interrupt_on_ctrl_c};
use vi_run::executor::{Checkpoints, FailureCause, Interruption};
use vi_run::output::{OutputError, RunDirectory};
use vi_run::record::REFUSED;

use super::networks;
use super::pictures::write_pictures;
use super::{Outcome, apply, load, model_text, print_failure, refuse};
use crate::amortized;
use crate::amortized::compile::is_amortized;
use crate::error::SgviError;
use crate::fit;
use crate::fit::gaussian::Gaussian;
use crate::fitted::FitOptions;

/// The arguments of `sgvi run`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) shared: RunArguments,

    /// Variational family: mean-field, full-rank or low-rank
    #[arg(long, value_name = "FAMILY", help_heading = "Inference (overrides the file)")]
    family: Option<String>,

    /// Rank of the low-rank family
    #[arg(long, value_name = "N", help_heading = "Inference (overrides the file)")]
    rank: Option<usize>,

    /// Monte Carlo draws per step
    #[arg(long, value_name = "N", help_heading = "Inference (overrides the file)")]
    draws: Option<usize>,

    /// Gradient estimator: reparameterization, sticking-the-landing or score-function
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    gradient: Option<String>,

    /// Optimiser by name
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    optimizer: Option<String>,

    /// Control variate of the score-function gradient: none or leave-one-out
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    control_variate: Option<String>,

    /// Rows per step
    #[arg(long, value_name = "N", help_heading = "Inference (overrides the file)")]
    batch_size: Option<usize>,

    /// How the search starts: auto, prior, random or kmeans++
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    initialization: Option<String>,

    /// Learning rate of the optimiser
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    learning_rate: Option<f64>,
}

impl Arguments {
    /// The options of this engine as keys of `[inference]`.
    pub(super) fn overrides(&self) -> Vec<(&'static str, toml::Value)> {
        let text = |key: &'static str, value: &Option<String>| value.clone().map(|v| (key, toml::Value::String(v)));
        let integer = |key: &'static str, value: Option<usize>| {
            value.map(|v| (key, toml::Value::Integer(i64::try_from(v).unwrap_or(i64::MAX))))
        };
        [
            text("family", &self.family),
            integer("rank", self.rank),
            integer("draws", self.draws),
            text("gradient", &self.gradient),
            text("control_variate", &self.control_variate),
            integer("batch_size", self.batch_size),
            text("initialization", &self.initialization),
            text("optimizer", &self.optimizer),
            self.learning_rate.map(|v| ("learning_rate", toml::Value::Float(v))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Fits and writes.
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let shared = &arguments.shared;
    let mut graph = load(&shared.file)?;
    apply(shared, arguments.overrides(), &mut graph)?;
    let quiet = shared.output.quiet || shared.output.json;
    let output = |error: OutputError| {
        print_failure(&error.to_string());
        REFUSED
    };
    let work = || -> Outcome {
        let interruption = interrupt_on_ctrl_c(quiet).unwrap_or_default();
        if is_amortized(&graph) {
            return run_amortized(&graph, arguments, interruption, quiet);
        }
        let folder = shared.output_folder();
        RunDirectory::open(&folder).map_err(output)?;
        let checkpoints = checkpoints(shared, &graph, fit::run::fingerprint(&graph))?;
        let options = FitOptions {
            saved: shared.output.save.clone(),
            observers: vec![Box::new(ProgressLine::new(quiet))],
            interruption,
            checkpoints: Some(checkpoints),
        };
        let mut fitted = fit::run::fit(&graph, options).map_err(|error| refuse(&error, &graph))?;
        if let Some(remark) = graph.unobserved_remark() {
            fitted.record.advise(remark);
        }
        let mut directory = RunDirectory::create(&folder).map_err(output)?;
        shared.settle_checkpoint(&mut fitted.record);
        // A model without continuous unknowns has an approximation without coordinates.
        let none = (fitted.model.program.dimension == 0).then(Gaussian::none);
        if let Some(q) = fitted.gaussian.as_ref().or(none.as_ref()) {
            let path = std::path::absolute(&shared.file).unwrap_or_else(|_| shared.file.clone());
            let json = fit::approximation::to_json(&path.display().to_string(), q).to_string();
            directory.write(fit::approximation::FILE, json.as_bytes()).map_err(output)?;
        }
        fit::save::save(&graph, &fitted, &mut directory, &shared.output.save, shared.output.save_format.into())
            .map_err(|error| match error {
                fit::save::SaveError::Refused(error) => refuse(&error, &graph),
                fit::save::SaveError::Output(error) => output(error),
            })?;
        if !shared.output.no_plot {
            write_pictures(&graph, &fitted.record, &mut directory).map_err(output)?;
        }
        conclude(&fitted.record, &model_text(&graph), &mut directory, &shared.output).map_err(output)
    };
    match shared.threads {
        None => work(),
        Some(threads) => match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool.install(work),
            Err(error) => {
                print_failure(&format!("cannot start {threads} threads: {error}"));
                Err(REFUSED)
            }
        },
    }
}

/// Where the state of a run is saved; refused where there is nothing to resume.
fn checkpoints(shared: &RunArguments, graph: &Graph, fingerprint: Result<u64, SgviError>) -> Result<Checkpoints, u8> {
    let fingerprint = fingerprint.map_err(|error| refuse(&error, graph))?;
    shared.checkpoints(fingerprint, fit::steps::checkpoint_steps(&graph.inference)).map_err(|message| {
        print_failure(&message);
        REFUSED
    })
}

/// Fits a model with networks; its state is saved every half a minute and on Ctrl-C, for `--resume`.
fn run_amortized(graph: &Graph, arguments: &Arguments, interruption: Interruption, quiet: bool) -> Outcome {
    let shared = &arguments.shared;
    let output = |error: OutputError| {
        print_failure(&error.to_string());
        REFUSED
    };
    // What will be refused must leave the folder of an earlier run as it is.
    amortized::compile::compile(graph).map_err(|error| refuse(&error, graph))?;
    let folder = shared.output_folder();
    RunDirectory::open(&folder).map_err(output)?;
    let checkpoints = checkpoints(shared, graph, amortized::fit::fingerprint(graph))?;
    let options = FitOptions {
        saved: Vec::new(),
        observers: vec![Box::new(ProgressLine::new(quiet))],
        interruption,
        checkpoints: Some(checkpoints),
    };
    match amortized::fit::fit(graph, options) {
        Ok(mut fit) => {
            let mut directory = RunDirectory::create(&folder).map_err(output)?;
            networks::save(graph, &fit, &mut directory, &shared.output).map_err(|error| match error {
                networks::SaveError::Refused(error) => refuse(&error, graph),
                networks::SaveError::Output(error) => output(error),
            })?;
            shared.settle_checkpoint(&mut fit.record);
            if !shared.output.no_plot {
                write_pictures(graph, &fit.record, &mut directory).map_err(output)?;
            }
            conclude(&fit.record, &model_text(graph), &mut directory, &shared.output).map_err(output)
        }
        Err(failure) => match &failure.cause {
            FailureCause::Algorithm(error @ (SgviError::Unsupported { .. } | SgviError::Data(_))) => {
                Err(refuse(error, graph))
            }
            FailureCause::Checkpoint(error) => {
                print_failure(&error.to_string());
                Err(REFUSED)
            }
            _ => {
                let record = amortized::fit::record_of_failure(graph, &failure);
                let mut directory = RunDirectory::create(&folder).map_err(output)?;
                conclude(&record, &model_text(graph), &mut directory, &shared.output).map_err(output)
            }
        },
    }
}
