//! The command line of `sgvi`: what is asked, dispatched to the library, and every refusal printed with its place.

mod check;
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
use vi_run::cli::completions::{Shell, completion_script};
use vi_run::cli::{RunArguments, print_diagnostics, print_output};
use vi_run::record::REFUSED;

use crate::error::SgviError;

/// Stochastic-gradient variational inference for models declared in TOML.
///
/// A model file states data, plates and random variables; `sgvi` maps every unknown to unconstrained space, fits a Gaussian there
/// by the gradient of the evidence lower bound (ELBO), or trains networks that give each row its own, and leaves posterior, verdict,
/// convergence curve and pictures in a folder.
#[derive(Debug, Parser)]
#[command(name = "sgvi", version, about, after_help = EXAMPLES, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sgvi run models/eight-schools.toml
      fit a model; results go to runs/eight-schools
  sgvi run models/eight-schools.toml --family full-rank --json | jq .verdict
      another family; the summary for another program
  sgvi check models/eight-schools.toml
      what would be fitted: axes, variables, coordinates
  sgvi predict runs/poisson-regression --data new.csv
      mean, sd, quantiles, log density of new rows
  sgvi sample runs/eight-schools
      draws from the posterior, for ArviZ and the like
  sgvi run models/vae.toml
      networks: then encode, reconstruct, evaluate, traverse
  sgvi encode runs/vae --data new.csv
      latent means and sds of new rows
  sgvi reference | less
      every section, key and distribution of the language

Exit status:
  0  converged (or the command succeeded)
  1  ran, but did not converge within the limit of iterations, or was interrupted
  2  refused: a mistake in the model file, the data or the options
  3  failed while running";

const RUN_EXAMPLES: &str = "\
What is left in DIR:
  summary.json        status, ELBO and its terms, verdict, restarts, seed
  posterior.json      the posterior of every variable outside the rows' plate
  report.html         all of it as one page for a browser
  elbo.csv            the ELBO after each step; elbo.svg, elbo.png: the curve
  local/NAME.csv      the row-level posterior of each --save NAME
  approximation.json  what `sgvi sample` and `sgvi predict` need
  pictures/           densities, estimates, tables, … as the model allows
  checkpoint.bin      only of an interrupted run: --resume goes on from it
and of networks: weights.safetensors, model.json, terms.csv, samples.png,
reconstructions.png, latent.png, …

Examples:
  sgvi run models/eight-schools.toml
  sgvi run models/eight-schools.toml --output out --family full-rank --seed 7
  sgvi run models/vae.toml --max-iterations 500 --no-plot --quiet";

const PREDICT_NOTES: &str = "\
The table (CSV) has a line per new row, numbered from 0: of each observed
variable mean, sd and quantiles of a new value, the expressions of the rows,
and the log predictive density. Columns of observed values may be missing or
empty; what they are computed from may not. Observed variables are in the
data's own units, also where the model standardizes their columns; other
expressions and log densities are about the standardized values.

Example:
  sgvi predict runs/poisson-regression --data new.csv --quantiles 0.1,0.5,0.9";

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit a model and leave the results in a folder
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<run::Arguments>),
    /// Show what a model means and what would be fitted: axes, variables, coordinates of the approximation
    Check {
        /// Model file (TOML)
        file: PathBuf,
    },
    /// Compare the gradient estimators on a model: mean and variance at the start, midway and at the optimum
    Gradients(gradients::Arguments),
    /// Draw from the approximation of a finished run, as CmdStan CSV
    Sample(sample::Arguments),
    /// Predict new rows from a finished run: mean, sd, quantiles and log density
    #[command(after_help = PREDICT_NOTES)]
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
    /// Print the reference of the model language, as Markdown
    Reference,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
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
        Command::Check { file } => check::check(&file),
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
        Command::Reference => {
            print_output(&vi_model::reference_markdown());
            Ok(0)
        }
        Command::Completions { shell } => {
            let script = completion_script(shell, &mut Arguments::command());
            print_output(&String::from_utf8_lossy(&script));
            Ok(0)
        }
    };
    outcome.unwrap_or_else(|code| code)
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
    print_diagnostics(&[vi_run::diagnostic::Diagnostic::new("", text)]);
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

/// What the report of a run says of its model.
fn model_text(graph: &Graph) -> vi_run::cli::ModelText<'_> {
    vi_run::cli::ModelText {
        title: graph.title.as_deref(),
        description: graph.description.as_deref(),
        text: &graph.source.text,
    }
}
