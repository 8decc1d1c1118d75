//! The command line of `sgvi`: what is asked, dispatched to the library, and every refusal printed with its place.

mod gradients;
mod networks;
mod pictures;
mod predict;
mod run;
mod sample;

use clap::{CommandFactory, Parser, Subcommand};
use std::path::{Path, PathBuf};
use vi_model::diagnostic::{Diagnostic, ModelError, SourceText};
use vi_model::graph::Graph;
use vi_run::cli::{RunArguments, print_diagnostics, print_output};
use vi_run::record::REFUSED;

use crate::error::SgviError;

/// Stochastic-gradient variational inference for models declared in TOML.
#[derive(Debug, Parser)]
#[command(name = "sgvi", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit a model and write its posterior
    Run(Box<run::Arguments>),
    /// Check a model file and its data, and show what was understood
    Check {
        /// Model file (TOML)
        file: PathBuf,
    },
    /// Compare the gradient estimators on a model: mean and variance at the start, midway and at the optimum
    Gradients(gradients::Arguments),
    /// Draw from the approximation of a finished run, as CmdStan CSV
    Sample(sample::Arguments),
    /// Predict new rows from a finished run: mean, sd, quantiles and log density
    Predict(predict::Arguments),
    /// Decode the rows of a run with networks from their factors: a table, and pairs of images
    Reconstruct(networks::commands::ReconstructArguments),
    /// Means and sds of the latent variables of a run with networks, for its rows or new ones
    Encode(networks::commands::EncodeArguments),
    /// ELBO, importance-weighted log-likelihood and active units of a run with networks
    Evaluate(networks::commands::EvaluateArguments),
    /// Walk through the latent space of a run with networks: pictures along every dimension and between rows
    Traverse(networks::commands::TraverseArguments),
    /// Print the JSON Schema of model files
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: String,
    },
}

/// A count on the command line that may not be 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("write 1 or more".to_owned()),
        Ok(n) => Ok(n),
        Err(error) => Err(error.to_string()),
    }
}

/// A command that was refused or failed, as exit status; its reason has been printed.
type Outcome = Result<u8, u8>;

/// Parses the arguments, does what they ask, returns the exit status.
pub fn main() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                vi_run::cli::print_error(&text);
                return REFUSED;
            }
            print_output(&text);
            return 0;
        }
    };
    let outcome = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check { file } => check(&file),
        Command::Gradients(arguments) => gradients::gradients(&arguments),
        Command::Sample(arguments) => sample::sample(&arguments),
        Command::Predict(arguments) => predict::predict(&arguments),
        Command::Reconstruct(arguments) => networks::commands::reconstruct(&arguments),
        Command::Encode(arguments) => networks::commands::encode_rows(&arguments),
        Command::Evaluate(arguments) => networks::commands::evaluate(&arguments),
        Command::Traverse(arguments) => networks::commands::traverse(&arguments),
        Command::Schema => {
            let text = serde_json::to_string_pretty(&vi_model::schema()).unwrap_or_default();
            print_output(&(text + "\n"));
            Ok(0)
        }
        Command::Completions { shell } => completions(&shell),
    };
    outcome.unwrap_or_else(|code| code)
}

fn completions(shell: &str) -> Outcome {
    match shell.parse() {
        Ok(shell) => {
            let script = vi_run::cli::completions::completion_script(shell, &mut Arguments::command());
            print_output(&String::from_utf8_lossy(&script));
            Ok(0)
        }
        Err(_) => {
            vi_run::cli::print_error(&format!(
                "no shell called `{shell}`: write bash, zsh, fish, elvish or powershell\n"
            ));
            Err(REFUSED)
        }
    }
}

/// Loads a model, or prints what is wrong with it.
fn load(file: &Path) -> Result<Graph, u8> {
    vi_model::load(file).map_err(|error| refuse_model(&error))
}

fn refuse_model(error: &ModelError) -> u8 {
    let diagnostics: Vec<_> = error.diagnostics.iter().map(|d| neutral(d, &error.source)).collect();
    print_diagnostics(&diagnostics);
    REFUSED
}

/// A diagnostic of the model crate in the neutral form of the printer.
fn neutral(diagnostic: &Diagnostic, source: &SourceText) -> vi_run::diagnostic::Diagnostic {
    let mut out = vi_run::diagnostic::Diagnostic::new(diagnostic.code, diagnostic.message.clone())
        .in_file(source.name.to_string(), source.text.to_string());
    for label in &diagnostic.labels {
        out = out.label(label.span.clone(), label.text.clone());
    }
    out.help.clone_from(&diagnostic.help);
    out
}

/// Prints a refusal of the engine.
fn refuse(error: &SgviError, graph: &Graph) -> u8 {
    print_diagnostics(&[neutral(&error.diagnostic(), &graph.source)]);
    REFUSED
}

fn print_failure(text: &str) {
    vi_run::cli::print_error(&format!("{text}\n"));
}

fn check(file: &Path) -> Outcome {
    let graph = load(file)?;
    let mut text = String::new();
    for variable in &graph.variables {
        let axes: Vec<String> = variable
            .plates
            .iter()
            .map(|a| format!("{} = {}", graph.axis(*a).name, graph.axis(*a).size))
            .chain(variable.dimension.map(|a| format!("dimension {} = {}", graph.axis(a).name, graph.axis(a).size)))
            .collect();
        let observed = if variable.observed.is_some() { ", observed" } else { "" };
        text.push_str(&format!("{}[{}]{observed}\n", variable.name, axes.join(", ")));
    }
    if crate::amortized::compile::is_amortized(&graph) {
        text.push_str(&networks::describe(&graph).map_err(|error| refuse(&error, &graph))?);
    } else {
        let repeated = crate::fit::repeat::repeated(&graph).map_err(|error| refuse(&error, &graph))?;
        let graph = repeated.map_or(graph, |r| r.graph);
        let model = crate::lower::Model::new(&graph).map_err(|error| refuse(&error, &graph))?;
        let program = &model.program;
        text.push_str(&format!(
            "{} unconstrained coordinates; {} operations over globals, {} over rows{}\n",
            program.dimension,
            program.global.len(),
            program.local.len(),
            if program.chunkable { "" } else { " (all rows at once)" }
        ));
        for latent in &model.latents {
            text.push_str(&format!(
                "  {}: coordinates {} … {}\n",
                graph.variable(latent.variable).name,
                latent.offset,
                latent.offset + latent.count.saturating_sub(1)
            ));
        }
    }
    print_output(&text);
    Ok(0)
}

/// What every fitting command shares: the shared arguments applied to the graph's `[inference]`.
fn apply(arguments: &RunArguments, extra: Vec<(&str, toml::Value)>, graph: &mut Graph) -> Result<(), u8> {
    let mut overrides = extra;
    let integer = |n: usize| toml::Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    if let Some(seed) = arguments.seed {
        overrides.push(("seed", toml::Value::Integer(i64::try_from(seed).unwrap_or(i64::MAX))));
    }
    overrides.extend(arguments.restarts.map(|n| ("restarts", integer(n))));
    overrides.extend(arguments.max_iterations.map(|n| ("max_iterations", integer(n))));
    overrides.extend(arguments.tolerance.map(|t| ("tolerance", toml::Value::Float(t))));
    graph.inference.apply_overrides(overrides).map_err(|error| refuse_model(&error))
}
