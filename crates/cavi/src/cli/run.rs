//! `cavi run`: fit a model and leave the results in a folder.

use vi_model::graph::Graph;

use vi_run::cli::{Counter, ProgressLine, RunArguments, conclude, interrupt_on_ctrl_c};
use vi_run::executor::{Failure, FailureCause, Interruption};
use vi_run::output::RunDirectory;
use vi_run::record::{PosteriorEntry, Record};

use super::CommandError;
use super::state::{self, State};
use crate::fit::{Ascent, executor, fit_with_checkpoints};
use crate::linear_response::Watch;
use crate::picture::{Named, pictures};

/// The arguments of `cavi run`.
#[derive(Debug, clap::Args)]
pub(super) struct FitArguments {
    #[command(flatten)]
    run: RunArguments,

    /// How the factors start: auto, prior, random or kmeans++
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    initialization: Option<String>,

    /// Schedule over the rows: batch, stochastic or incremental
    #[arg(long, value_name = "NAME", help_heading = "Inference (overrides the file)")]
    schedule: Option<String>,

    /// Rows per step of the stochastic and incremental schedules
    #[arg(long, value_name = "N", help_heading = "Inference (overrides the file)")]
    batch_size: Option<usize>,

    /// Delay of stochastic steps, which are (t + delay)^-forgetting
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    step_delay: Option<f64>,

    /// Forgetting rate of stochastic steps, in (0.5, 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    step_forgetting: Option<f64>,

    /// Also report standard deviations corrected for the factorisation of q (linear response), as sd_linear_response
    #[arg(long, help_heading = "Output")]
    linear_response: bool,
}

impl FitArguments {
    /// The options of this engine as keys of `[inference]`.
    fn overrides(&self) -> Vec<(&'static str, toml::Value)> {
        let text = |key: &'static str, value: &Option<String>| value.clone().map(|v| (key, toml::Value::String(v)));
        let number = |key: &'static str, value: Option<f64>| value.map(|v| (key, toml::Value::Float(v)));
        [
            text("initialization", &self.initialization),
            text("schedule", &self.schedule),
            self.batch_size.map(|n| ("batch_size", toml::Value::Integer(i64::try_from(n).unwrap_or(i64::MAX)))),
            number("step_delay", self.step_delay),
            number("step_forgetting", self.step_forgetting),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Runs the command; the exit status.
pub(super) fn run(arguments: &FitArguments) -> Result<u8, CommandError> {
    let linear_response = arguments.linear_response;
    let overrides = arguments.overrides();
    let arguments = &arguments.run;
    let mut graph = super::load(&arguments.file)?;
    graph.inference.apply_overrides(overrides)?;
    apply(&mut graph, arguments);
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|e| CommandError::Usage(format!("--threads {threads}: {e}")))?;
    }
    let ascent = Ascent::new(&graph)?;
    for name in &arguments.output.save {
        ascent.check_saveable(name).map_err(CommandError::Usage)?;
    }
    let fingerprint = state::fingerprint(&graph)?;
    let of_run = format!("{fingerprint}\n{:?}\n{}", graph.inference, env!("CARGO_PKG_VERSION"));
    let checkpoints =
        arguments.checkpoints(vi_run::executor::fingerprint(of_run.as_bytes()), None).map_err(CommandError::Usage)?;
    let mut directory = RunDirectory::create(&arguments.output_folder())?;
    let seed = graph.inference.seed.unwrap_or(0);
    let mut record = Record::new("cavi", &arguments.file.display().to_string(), env!("CARGO_PKG_VERSION"), seed);
    let quiet = arguments.output.quiet || arguments.output.json;
    let interruption = interrupt_on_ctrl_c(quiet).map_err(|e| CommandError::Usage(e.to_string()))?;
    let mut executor = executor(&graph)
        .observe(ProgressLine::new(quiet).rows_per_iteration(graph.data.num_rows()))
        .interruption(interruption.clone());
    match fit_with_checkpoints(&ascent, &mut executor, &checkpoints) {
        Ok(mut fit) => {
            record.set_outcome(&fit.outcome);
            record.elbo_terms = fit.algorithm.elbo_terms().into_iter().collect();
            let mut posterior = fit.algorithm.posterior();
            if linear_response && fit.outcome.interrupted {
                record.advise("no sd_linear_response: the run was interrupted before the fit had ended");
            } else if linear_response {
                add_linear_response(&fit.algorithm, &mut posterior, &mut record, interruption, quiet)?;
            }
            record.posterior = posterior.into_iter().collect();
            if fit.algorithm.is_bounded() {
                record.extra.insert("elbo_is".into(), "the Jaakkola-Jordan bound, which lies below the ELBO".into());
            }
            let alike = fit.algorithm.gates_at_their_prior();
            if !alike.is_empty() {
                let names = alike.join("`, `");
                record.advise(format!(
                    "`{names}` began at the prior: categories that are alike there stay alike; initialization = \"auto\" tells them apart"
                ));
            }
            if let Some(remark) = graph.unobserved_remark() {
                record.advise(remark);
            }
            for name in &arguments.output.save {
                fit.algorithm.save_rows(name, &mut directory, arguments.output.save_format.into())?;
            }
            let model = std::path::absolute(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
            let state = State { model, fingerprint, factors: fit.algorithm.global_state() };
            directory.write_json(state::FILE, &state.content())?;
            if !arguments.output.no_plot {
                for Named { name, picture } in pictures(&fit.algorithm)? {
                    directory.write_picture(&format!("pictures/{name}"), &picture)?;
                }
            }
        }
        Err(Failure { cause: FailureCause::Checkpoint(error), .. }) => {
            return Err(CommandError::Usage(error.to_string()));
        }
        Err(failure) => record.set_failure(&failure),
    }
    arguments.settle_checkpoint(&mut record);
    Ok(conclude(&record, &super::model_text(&graph), &mut directory, &arguments.output)?)
}

/// Adds the responses to the entries of the posterior, and to the record why some have none.
fn add_linear_response(
    ascent: &Ascent,
    posterior: &mut [(String, PosteriorEntry)],
    record: &mut Record,
    interruption: Interruption,
    quiet: bool,
) -> Result<(), CommandError> {
    let mut counter = Counter::new(quiet, "linear response", "coordinates");
    let mut watch = Watch::new(interruption).progress(|done, all| counter.reached(done, all));
    let response = ascent.add_linear_response(posterior, &mut watch)?;
    drop(watch);
    counter.finished();
    if response.interrupted {
        record.set_interrupted();
        record.advise(
            "no sd_linear_response: interrupted while it was computed; the fit had ended before, and is complete",
        );
    }
    if !response.at_no_maximum.is_empty() {
        record.advise(format!(
            "no sd_linear_response of `{}`: the fit is at no maximum along some direction; a smaller `tolerance` may take it there",
            response.at_no_maximum.join("`, `")
        ));
    }
    if !response.unsolved.is_empty() {
        record.advise(format!(
            "no sd_linear_response of `{}`: the factors depend on each other so closely that it was not found in the number of passes \
             allowed; put variables that depend on each other into one of `blocks`",
            response.unsolved.join("`, `")
        ));
    }
    Ok(())
}

/// Options of the command line override the file.
fn apply(graph: &mut Graph, arguments: &RunArguments) {
    let inference = &mut graph.inference;
    inference.seed = arguments.seed.or(inference.seed);
    inference.restarts = arguments.restarts.or(inference.restarts);
    inference.max_iterations = arguments.max_iterations.or(inference.max_iterations);
    inference.tolerance = arguments.tolerance.or(inference.tolerance);
}
