//! The command line: arguments in, exit status out.

mod check;
mod error;
mod predict;
mod run;
mod state;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use vi_run::cli::completions::{Shell, completion_script};
use vi_run::cli::print_output;

pub(crate) use error::CommandError;

const EXAMPLES: &str = "\
Examples:
  cavi run models/gmm.toml
      fit a model; results go to runs/gmm
  cavi run models/gmm.toml --restarts 20 --save z
      keep the best of 20 starts, and each row's cluster in local/z.csv
  cavi run models/gmm.toml --json | jq .elbo
      the summary for another program
  cavi predict runs/gmm --data new.csv
      clusters of rows that the fit has not seen
  cavi check models/gmm.toml
      what would be done: variables, factors, updates, memory
  cavi reference | less
      every section, key and distribution of the language
  cavi schema > model.schema.json
      for editors that complete and check TOML

Exit status:
  0  converged (or the check passed)
  1  ran, but did not converge within the limit of iterations, or was interrupted
  2  refused: a mistake in the model file, the data or the options
  3  failed while running";

/// Coordinate-ascent variational inference for models declared in TOML.
///
/// A model file states data, plates and random variables; `cavi` derives the updates of a factorised posterior, iterates
/// them until the evidence lower bound (ELBO) stops rising, and leaves posterior, convergence curve and pictures in a folder.
#[derive(Debug, Parser)]
#[command(name = "cavi", version, about, after_help = EXAMPLES, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit a model and leave the results in a folder
    #[command(after_help = RUN_EXAMPLES)]
    Run(run::FitArguments),
    /// Show what a model means and what would be done: axes, factors of q, their updates, the work of an iteration
    Check(check::CheckArguments),
    /// Predict new rows from a finished run: clusters, scores, expected values, how well each row fits
    #[command(after_help = PREDICT_EXAMPLES)]
    Predict(predict::PredictArguments),
    /// Print the JSON Schema of model files
    Schema,
    /// Print the reference of the model language, as Markdown
    Reference,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const RUN_EXAMPLES: &str = "\
What is left in DIR:
  summary.json    status, ELBO and its terms, restarts, seed
  posterior.json  the posterior of every variable outside the rows' plate
  report.html     all of it as one page for a browser, with pictures and model
  elbo.csv        the ELBO after each iteration; elbo.svg, elbo.png: the curve
  local/NAME.csv  the row-level posterior of each --save NAME
  state.json      what `cavi predict` needs
  checkpoint.bin  only of an interrupted run: --resume goes on from it
  pictures/       clusters, states over time, loadings, … as the model allows

Examples:
  cavi run models/gmm.toml
  cavi run models/gmm.toml --output out --save z --seed 7 --restarts 20
  cavi run models/gmm.toml --max-iterations 50 --tolerance 0 --no-plot --quiet";

const PREDICT_EXAMPLES: &str = "\
The table (CSV) has a line per new row, numbered from 0: the posterior of each
latent variable of the rows; of each observed one the mean and standard
deviation of a new value (`y`, `y.sd`: its noise and all uncertainty included,
exact under the fitted factors) and its expected parameters (`y.mean`,
`y.mean.sd`, …); and the row's log predictive density, or a lower bound on it.
Columns of observed values may be missing or empty; what they are computed from
may not. Observed variables are in the data's own units, also where the model
standardizes their columns; latent variables, other expressions and log
densities are about the standardized values.

Examples:
  cavi predict runs/gmm --data new.csv > clusters.csv
  cavi predict runs/linear-regression --data new.csv --output predictions.csv";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  cavi completions bash > ~/.local/share/bash-completion/completions/cavi
  cavi completions zsh  > ~/.zfunc/_cavi
  cavi completions fish > ~/.config/fish/completions/cavi.fish";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Predict(arguments) => predict::predict(&arguments),
        Command::Schema => schema(),
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
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error.print();
            ExitCode::from(error.status())
        }
    }
}

fn schema() -> Result<u8, CommandError> {
    let text = serde_json::to_string_pretty(&vi_model::schema()).map_err(|e| CommandError::Usage(e.to_string()))?;
    print_output(&(text + "\n"));
    Ok(0)
}

/// A model file, read and checked.
pub(crate) fn load(file: &Path) -> Result<vi_model::graph::Graph, CommandError> {
    Ok(vi_model::load(file)?)
}

/// What the report of a run says of its model.
fn model_text(graph: &vi_model::graph::Graph) -> vi_run::cli::ModelText<'_> {
    vi_run::cli::ModelText {
        title: graph.title.as_deref(),
        description: graph.description.as_deref(),
        text: &graph.source.text,
    }
}
