//! `sgvi gradients`: the gradient estimators side by side.

use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

use vi_run::output::RunDirectory;
use vi_run::plot::{Intervals, intervals};
use vi_run::record::REFUSED;

use super::{Outcome, load, print_failure, refuse};
use crate::fit::compare::compare;

/// The arguments of `sgvi gradients`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// Model file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Monte Carlo draws per step
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::at_least_one)]
    draws: usize,

    /// Repetitions over which mean and variance are taken
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = super::at_least_one)]
    repetitions: usize,

    /// Folder of the picture [default: runs/ and FILE without its ending, then -gradients]
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Log variances below this are drawn here: rounding is all that is left.
const LOWEST: f64 = -12.0;

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
        "{:<9} {:<32} {:>14} {:>14} {:>14} {:>12}",
        "place", "estimator", "mean |g|", "mean variance", "max variance", "max |t|"
    );
    for row in &rows {
        let n = row.mean.len() as f64;
        let size = row.mean.iter().map(|m| m.abs()).sum::<f64>() / n;
        let average = row.variance.iter().sum::<f64>() / n;
        let largest = row.variance.iter().fold(0.0f64, |a, b| a.max(*b));
        let _ = writeln!(
            text,
            "{:<9} {:<32} {:>14.4e} {:>14.4e} {:>14.4e} {:>12.2}",
            row.place, row.estimator, size, average, largest, row.largest_t
        );
    }
    text.push_str(
        "\nmax |t|: largest difference to the reparameterised mean in standard errors; the means agree below about 5\n\
         own terms: each element's gradient uses only the terms and rows that it touches (under mean field, as every search begins)\n",
    );
    let stem = arguments.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = arguments.output.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{stem}-gradients")));
    let names: Vec<String> = rows.iter().map(|r| format!("{}: {}", r.place, r.estimator)).collect();
    let variances: Vec<f64> =
        rows.iter().map(|r| (r.variance.iter().sum::<f64>() / r.variance.len() as f64).log10().max(LOWEST)).collect();
    let picture = intervals(&Intervals {
        title: "Variance of the gradient estimators",
        x_label: "log₁₀ of the mean variance (−12: rounding alone)",
        names: &names,
        means: &variances,
        sds: &vec![0.0; names.len()],
    });
    let written = RunDirectory::open(&folder).and_then(|mut d| d.write_picture("gradients", &picture));
    if let Err(error) = written {
        print_failure(&error.to_string());
        return Err(REFUSED);
    }
    let _ = writeln!(text, "picture in {}", folder.display());
    vi_run::cli::print_output(&text);
    Ok(0)
}
