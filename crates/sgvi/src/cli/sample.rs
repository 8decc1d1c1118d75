//! `sgvi sample`: draws from the approximation of a finished run.

use clap::Args;
use std::path::{Path, PathBuf};
use vi_model::graph::Graph;
use vi_run::output::{AtomicFile, engine_of};
use vi_run::record::REFUSED;

use super::networks::{self, SavedRun};
use super::{Outcome, load, print_failure, refuse};
use crate::fit::approximation::{FILE, cmdstan_csv, from_json};
use crate::fit::counts;
use crate::fit::gaussian::Gaussian;
use crate::fit::repeat::repeated;
use crate::lower::Model;

/// The arguments of `sgvi sample`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// Folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Number of draws
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = super::at_least_one)]
    draws: usize,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// File to write [default: draws.csv in RUN]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The model file, where it has moved since the run
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Draws and writes.
pub(super) fn sample(arguments: &Arguments) -> Outcome {
    if SavedRun::is_one(&arguments.run) {
        return networks::commands::sample(&arguments.run, None, arguments.draws, arguments.seed);
    }
    let failure = |text: String| {
        print_failure(&text);
        REFUSED
    };
    let run = read_run(&arguments.run, arguments.model.as_deref())?;
    let csv = cmdstan_csv(&run.graph, &run.model, &run.q, arguments.draws, arguments.seed)
        .map_err(|error| failure(error.to_string()))?;
    let output = arguments.output.clone().unwrap_or_else(|| arguments.run.join("draws.csv"));
    AtomicFile::write_whole(&output, csv.as_bytes()).map_err(|error| failure(error.to_string()))?;
    vi_run::cli::print_output(&format!("{} draws in {}\n", arguments.draws, output.display()));
    Ok(0)
}

/// A finished run: its model, compiled, and its approximation.
pub(super) struct FinishedRun {
    pub(super) graph: Graph,
    pub(super) model: Model,
    pub(super) q: Gaussian,
}

/// Reads a run back; what is wrong has been printed when this fails. `model` is the model file where it has moved.
pub(super) fn read_run(folder: &Path, model: Option<&Path>) -> Result<FinishedRun, u8> {
    let failure = |text: String| {
        print_failure(&text);
        REFUSED
    };
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        if engine_of(folder).is_some_and(|engine| engine != "sgvi") {
            return failure(format!("{0} holds a run of `cavi`: `cavi predict {0}` reads it", folder.display()));
        }
        let known = if folder.is_dir() { "holds no finished run of `sgvi`" } else { "is not a folder" };
        failure(format!(
            "{} {known}; name the folder to which `sgvi run` wrote ({}: {error})",
            folder.display(),
            path.display()
        ))
    })?;
    let value = serde_json::from_str(&text)
        .map_err(|error| failure(format!("`{}` is damaged ({error}): run the model again", path.display())))?;
    let (model_path, q) = from_json(&value).map_err(|error| failure(error.to_string()))?;
    let model = model.unwrap_or(model_path.as_ref());
    if !model.exists() {
        let (model, folder) = (model.display(), folder.display());
        return Err(failure(format!(
            "the model file `{model}` of {folder} is gone: give its present place with --model FILE"
        )));
    }
    let graph = load(model)?;
    let repeated = repeated(&graph).map_err(|error| refuse(&error, &graph))?;
    let graph = repeated.map_or(graph, |r| r.graph);
    let summed = counts::complete(&graph, Some(&q)).map_err(|error| refuse(&error, &graph))?;
    let graph = summed.unwrap_or(graph);
    let model = Model::new(&graph).map_err(|error| refuse(&error, &graph))?;
    Ok(FinishedRun { graph, model, q })
}
