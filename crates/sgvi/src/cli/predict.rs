//! `sgvi predict`: what a finished run says of new rows.

use clap::Args;
use std::path::PathBuf;
use vi_model::data::Data;
use vi_model::new_rows::nothing_in_common;
use vi_run::cli::{RowTable, print_error, print_output};
use vi_run::output::AtomicFile;
use vi_run::record::REFUSED;

use super::networks::SavedRun;
use super::sample::read_run;
use super::{Outcome, print_failure, refuse};
use crate::predict::{PredictError, PredictOptions, Prediction, predict as predict_rows};

/// The arguments of `sgvi predict`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// Folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Data file with the new rows; columns are matched by name
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Draws of the approximation over which predictions are averaged
    #[arg(long, value_name = "N", default_value_t = 4000)]
    draws: usize,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Probabilities of the quantiles, separated by commas
    #[arg(long, value_name = "P", value_delimiter = ',', default_value = "0.05,0.5,0.95")]
    quantiles: Vec<f64>,

    /// Write the table to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Also write the predictive draws, one line per draw, as columns NAME.ROW (and .ELEMENT), counted from 1
    #[arg(long, value_name = "FILE")]
    save_draws: Option<PathBuf>,

    /// The model file, where it has moved since the run
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Predicts and writes.
pub(super) fn predict(arguments: &Arguments) -> Outcome {
    let failure = |text: String| {
        print_failure(&text);
        REFUSED
    };
    if SavedRun::is_one(&arguments.run) {
        return Err(failure(format!(
            "{} is a run with networks: `sgvi encode`, `sgvi reconstruct` and `sgvi evaluate` take --data for new rows",
            arguments.run.display()
        )));
    }
    if arguments.draws < 2 {
        return Err(failure("predictions are averages over draws: write --draws 2 or more".to_owned()));
    }
    if let Some(p) = arguments.quantiles.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(failure(format!("{p} is no probability of a quantile: write numbers between 0 and 1")));
    }
    let run = read_run(&arguments.run, arguments.model.as_deref())?;
    let data = Data::from_file(&arguments.data).map_err(|error| failure(error.to_string()))?;
    if let Some(remark) = nothing_in_common(&run.graph, &data) {
        print_error(&format!("note: {remark}\n"));
    }
    let options = PredictOptions {
        draws: arguments.draws,
        seed: arguments.seed,
        quantiles: arguments.quantiles.clone(),
        keep_draws: arguments.save_draws.is_some(),
    };
    let prediction = predict_rows(&run.graph, &run.model, &run.q, &data, &options).map_err(|error| match error {
        PredictError::Engine(error) => refuse(&error, &run.graph),
        error => failure(error.to_string()),
    })?;
    if let Some(path) = &arguments.save_draws {
        AtomicFile::write_whole(path, draws(&prediction).as_bytes()).map_err(|error| failure(error.to_string()))?;
    }
    let text = table(&prediction, &arguments.quantiles);
    match &arguments.output {
        Some(path) => {
            AtomicFile::write_whole(path, text.as_bytes()).map_err(|error| failure(error.to_string()))?;
        }
        None => print_output(&text),
    }
    Ok(0)
}

/// The prediction as CSV, one line per row of the new data.
fn table(prediction: &Prediction, quantiles: &[f64]) -> String {
    let mut table = RowTable::default();
    for v in &prediction.variables {
        let (name, k) = (&v.name, v.categories.len());
        for i in 0..v.width {
            for (c, category) in v.categories.iter().enumerate() {
                let label = match v.elements.get(i) {
                    Some(element) => format!("{name}.p_{category}_{element}"),
                    None => format!("{name}.p_{category}"),
                };
                table.push(&label, &[], &v.means, v.width * k, i * k + c);
            }
            if k > 0 {
                continue;
            }
            table.push(&format!("{name}.mean"), &v.elements, &v.means, v.width, i);
            table.push(&format!("{name}.sd"), &v.elements, &v.sds, v.width, i);
            for (values, p) in v.quantiles.iter().zip(quantiles) {
                // 0.025 is 2.5 %, not 2.5000000000000004 %.
                let percent = (p * 1e10).round() / 1e8;
                table.push(&format!("{name}.q{percent}"), &v.elements, values, v.width, i);
            }
        }
    }
    for e in &prediction.expressions {
        for i in 0..e.width {
            table.push(&e.name, &e.elements, &e.means, e.width, i);
            table.push(&format!("{}.sd", e.name), &e.elements, &e.sds, e.width, i);
        }
    }
    if let Some(log_density) = &prediction.log_density {
        table.push("log_density", &[], log_density, 1, 0);
    }
    table.to_csv(prediction.num_rows)
}

/// The draws, one line for each.
fn draws(prediction: &Prediction) -> String {
    let mut names = Vec::new();
    for v in &prediction.variables {
        for row in 0..prediction.num_rows {
            for i in 0..v.width {
                let last = if v.width == 1 { String::new() } else { format!(".{}", i + 1) };
                names.push(format!("{}.{}{last}", v.name, row + 1));
            }
        }
    }
    let mut text = names.join(",") + "\n";
    let number = prediction.variables.first().map_or(0, |v| v.draws.len() / (prediction.num_rows * v.width).max(1));
    for d in 0..number {
        let line: Vec<String> = prediction
            .variables
            .iter()
            .flat_map(|v| v.draws.iter().skip(d).step_by(number).map(|x| format!("{x:?}")))
            .collect();
        text.push_str(&line.join(","));
        text.push('\n');
    }
    text
}
