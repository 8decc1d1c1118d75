//! `cavi predict`: what a finished run says of new rows.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use vi_model::data::Data;
use vi_run::cli::print_output;
use vi_run::output::AtomicFile;

use super::CommandError;
use super::state::{State, fingerprint};
use crate::error::CaviError;
use crate::fit::Ascent;
use crate::predict::{LogDensity, Prediction, with_predictors};

/// The arguments of `predict`.
#[derive(Debug, Args)]
pub(super) struct PredictArguments {
    /// Folder that `cavi run` has left its results in
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Data file with the new rows; columns are matched by name
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Write the table to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command; the exit status.
pub(super) fn predict(arguments: &PredictArguments) -> Result<u8, CommandError> {
    let state = State::read(&arguments.run)?;
    let graph = super::load(&state.model)?;
    if fingerprint(&graph)? != state.fingerprint {
        return Err(CommandError::Usage(format!(
            "`{}` or its data have changed since the run in `{}`: run the model again",
            state.model.display(),
            arguments.run.display()
        )));
    }
    let mut ascent = Ascent::new(&with_predictors(&graph))?;
    ascent.restore(&state.factors)?;
    let data = Data::from_file(&arguments.data).map_err(CaviError::from)?;
    let prediction = ascent.predict(&data)?;
    let text = table(&prediction);
    match &arguments.output {
        Some(path) => AtomicFile::write_whole(path, text.as_bytes())?,
        None => print_output(&text),
    }
    Ok(0)
}

/// The prediction as CSV, one line per row of the new data.
fn table(prediction: &Prediction) -> String {
    let mut columns: Vec<(String, Vec<f64>)> = Vec::new();
    let column = |values: &[f64], width: usize, at: usize| values.iter().skip(at).step_by(width).copied().collect();
    for (name, posterior) in &prediction.variables {
        for i in 0..posterior.width {
            let means = column(&posterior.means, posterior.width, i);
            match posterior.categories.get(i) {
                Some(category) => columns.push((format!("{name}.p_{category}"), means)),
                None => {
                    columns.push((element(&format!("{name}.mean"), i, posterior.width), means));
                    let sds = column(&posterior.sds, posterior.width, i);
                    columns.push((element(&format!("{name}.sd"), i, posterior.width), sds));
                }
            }
        }
    }
    for expression in &prediction.expressions {
        for i in 0..expression.width {
            let (means, sds) = (&expression.means, &expression.sds);
            if let Some(category) = expression.categories.get(i) {
                let name = format!("{}.p_{category}", expression.name);
                columns.push((name, column(means, expression.width, i)));
                continue;
            }
            columns.push((element(&expression.name, i, expression.width), column(means, expression.width, i)));
            let label = element(&format!("{}.sd", expression.name), i, expression.width);
            columns.push((label, column(sds, expression.width, i)));
        }
    }
    if let Some(scores) = &prediction.log_density {
        let name = match prediction.log_density_is {
            LogDensity::Exact => "log_density",
            LogDensity::Bound => "log_density_bound",
        };
        columns.push((name.to_owned(), scores.clone()));
    }
    let names: Vec<String> = std::iter::once("row".to_owned())
        .chain(columns.iter().map(|(name, _)| {
            if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.clone() }
        }))
        .collect();
    let mut text = names.join(",") + "\n";
    for row in 0..prediction.num_rows {
        let _ = write!(text, "{row}");
        for (_, values) in &columns {
            let _ = write!(text, ",{:?}", values[row]);
        }
        text.push('\n');
    }
    text
}

/// The name of one of several values of a row.
fn element(name: &str, index: usize, width: usize) -> String {
    if width == 1 { name.to_owned() } else { format!("{name}_{index}") }
}
