//! `sgvi gradients`: the gradient estimators side by side.

use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Outcome, load, refuse};
use crate::fit::compare::compare;

/// The arguments of `sgvi gradients`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// Model file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Monte Carlo draws per step
    #[arg(long, value_name = "N", default_value_t = 10)]
    draws: usize,

    /// Repetitions over which mean and variance are taken
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    repetitions: usize,
}

/// Compares and prints a table: mean and largest variance over the parameters, and the test that the means agree.
pub(super) fn gradients(arguments: &Arguments) -> Outcome {
    let graph = load(&arguments.file)?;
    let rows = compare(&graph, arguments.draws.max(2), arguments.repetitions.max(2))
        .map_err(|error| refuse(&error, &graph))?;
    let mut text = format!(
        "{} draws a step, {} repetitions; gradients in units of the current spread\n\n",
        arguments.draws, arguments.repetitions
    );
    let _ = writeln!(
        text,
        "{:<9} {:<30} {:>14} {:>14} {:>14} {:>12}",
        "place", "estimator", "mean |g|", "mean variance", "max variance", "max |t|"
    );
    for row in &rows {
        let n = row.mean.len() as f64;
        let size = row.mean.iter().map(|m| m.abs()).sum::<f64>() / n;
        let average = row.variance.iter().sum::<f64>() / n;
        let largest = row.variance.iter().fold(0.0f64, |a, b| a.max(*b));
        let _ = writeln!(
            text,
            "{:<9} {:<30} {:>14.4e} {:>14.4e} {:>14.4e} {:>12.2}",
            row.place, row.estimator, size, average, largest, row.largest_t
        );
    }
    text.push_str(
        "\nmax |t|: largest difference to the reparameterised mean in standard errors; the means agree below about 5\n",
    );
    vi_run::cli::print_output(&text);
    Ok(0)
}
