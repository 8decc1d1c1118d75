//! What both command lines share: arguments, progress, tables, diagnostics. The only place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod arguments;
pub mod completions;
pub mod conclude;
pub mod diagnostics;
pub mod interrupt;
pub mod number;
mod page;
pub mod progress;
pub mod report;
mod rows;
pub mod style;

pub use arguments::{OutputOptions, RunArguments};
pub use conclude::conclude;
pub use diagnostics::{render_diagnostic, render_diagnostics};
pub use interrupt::interrupt_on_ctrl_c;
pub use page::ModelText;
pub use progress::{Counter, ProgressLine};
pub use report::end_report;
pub use rows::RowTable;
pub use style::Style;

use crate::diagnostic::Diagnostic;
use std::io::Write as _;

/// Prints on standard error; a closed pipe is no reason to fail.
pub fn print_error(text: &str) {
    let mut stream = std::io::stderr().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// Prints on standard output; a closed pipe (as of `cavi run … | head`) is no reason to fail.
pub fn print_output(text: &str) {
    let mut stream = std::io::stdout().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// Prints diagnostics on standard error, coloured where that is a terminal.
pub fn print_diagnostics(diagnostics: &[Diagnostic]) {
    print_error(&render_diagnostics(diagnostics, Style::of(&std::io::stderr())));
}
