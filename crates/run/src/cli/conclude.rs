//! The end of a run: everything is written, then the report or the summary is printed.

use super::arguments::OutputOptions;
use super::page::{Drawing, ModelText, page};
use super::report::end_report;
use super::style::Style;
use super::{print_error, print_output};
use crate::output::{OutputError, RunDirectory};
use crate::record::{Record, Status};

/// The pictures that the run has written so far.
fn drawings(directory: &RunDirectory) -> Result<Vec<Drawing>, OutputError> {
    let files = directory.files().filter(|file| file.ends_with(".svg"));
    files.map(|file| Ok(Drawing { file: file.to_owned(), svg: directory.text(file)? })).collect()
}

/// Writes the convergence curve, `report.html` and the record, prints what the options ask for, and returns the exit status.
///
/// With `--json` standard output is exactly `summary.json`; otherwise the report is printed there unless `--quiet`. Of a
/// failed run the reason goes to standard error in any case. `summary.json` is written last: write row-level tables and
/// further pictures before.
///
/// # Errors
/// When something cannot be written.
pub fn conclude(
    record: &Record,
    model: &ModelText<'_>,
    directory: &mut RunDirectory,
    options: &OutputOptions,
) -> Result<u8, OutputError> {
    if !options.no_plot {
        directory.write_elbo_picture(record)?;
    }
    let report = page(record, model, &drawings(directory)?);
    directory.write("report.html", report.as_bytes())?;
    directory.write_record(record)?;
    if record.status == Status::Failed {
        let reason = record.extra.get("failure").and_then(serde_json::Value::as_str).unwrap_or("the run failed");
        let style = Style::of(&std::io::stderr());
        print_error(&format!("{}: {reason}\n", style.error("failed")));
    }
    if options.json {
        print_output(&directory.summary_text()?);
    } else if !options.quiet {
        print_output(&end_report(record, Some(directory.path()), Style::of(&std::io::stdout())));
    }
    Ok(record.status.exit_code())
}
