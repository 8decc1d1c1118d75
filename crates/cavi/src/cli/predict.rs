//! `cavi predict`: what a finished run says of new rows.

use std::path::PathBuf;

use clap::Args;
use vi_model::data::Data;
use vi_model::new_rows::nothing_in_common;
use vi_run::cli::{RowTable, print_error, print_output};
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
    if let Some(remark) = nothing_in_common(&graph, &data) {
        print_error(&format!("note: {remark}\n"));
    }
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
    let mut table = RowTable::default();
    for (name, posterior) in &prediction.variables {
        let (width, elements) = (posterior.width, &posterior.elements);
        for i in 0..width {
            match posterior.categories.get(i) {
                Some(category) => table.push(&format!("{name}.p_{category}"), &[], &posterior.means, width, i),
                None => {
                    table.push(&format!("{name}.mean"), elements, &posterior.means, width, i);
                    table.push(&format!("{name}.sd"), elements, &posterior.sds, width, i);
                }
            }
        }
    }
    for expression in &prediction.expressions {
        let (name, width, elements) = (&expression.name, expression.width, &expression.elements);
        for i in 0..width {
            match expression.categories.get(i) {
                Some(category) => table.push(&format!("{name}.p_{category}"), &[], &expression.means, width, i),
                None => {
                    table.push(name, elements, &expression.means, width, i);
                    table.push(&format!("{name}.sd"), elements, &expression.sds, width, i);
                }
            }
        }
    }
    if let Some(scores) = &prediction.log_density {
        let name = match prediction.log_density_is {
            LogDensity::Exact => "log_density",
            LogDensity::Bound => "log_density_bound",
        };
        table.push(name, &[], scores, 1, 0);
    }
    table.to_csv(prediction.num_rows)
}
