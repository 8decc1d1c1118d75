//! The command line: arguments in, exit status out.

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vi_run::cli::{RunArguments, print_diagnostics, print_error};

use crate::error::CaviError;

/// Exact coordinate-ascent variational inference for models declared in TOML.
#[derive(Debug, Parser)]
#[command(name = "cavi", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit a model
    Run(RunArguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error.print();
            ExitCode::from(error.status())
        }
    }
}

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Engine(#[from] CaviError),
    #[error(transparent)]
    Output(#[from] vi_run::output::OutputError),
    #[error(transparent)]
    Save(#[from] crate::save::SaveError),
    #[error("{0}")]
    Usage(String),
}

impl From<vi_model::diagnostic::ModelError> for CommandError {
    fn from(error: vi_model::diagnostic::ModelError) -> Self {
        Self::Engine(CaviError::Model(error))
    }
}

impl CommandError {
    fn status(&self) -> u8 {
        match self {
            Self::Engine(error) if !error.is_refusal() => 3,
            _ => vi_run::record::REFUSED,
        }
    }

    fn print(&self) {
        match self {
            Self::Engine(CaviError::Model(error)) => {
                let shown: Vec<vi_run::diagnostic::Diagnostic> =
                    error.diagnostics.iter().map(|d| convert(d, &error.source)).collect();
                print_diagnostics(&shown);
            }
            other => print_error(&format!("error: {other}\n")),
        }
    }
}

fn convert(
    d: &vi_model::diagnostic::Diagnostic,
    source: &vi_model::diagnostic::SourceText,
) -> vi_run::diagnostic::Diagnostic {
    let mut shown = vi_run::diagnostic::Diagnostic::new(d.code, d.message.clone());
    shown.file = source.name.to_string();
    shown.source = source.text.to_string();
    shown.labels =
        d.labels.iter().map(|l| vi_run::diagnostic::Label { span: l.span.clone(), text: l.text.clone() }).collect();
    shown.help.clone_from(&d.help);
    shown
}
