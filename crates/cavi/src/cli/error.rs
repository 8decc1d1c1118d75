//! What ends a command early: its message and its exit status.

use crate::error::CaviError;
use vi_run::cli::{print_diagnostics, print_error};

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Engine(#[from] CaviError),
    #[error(transparent)]
    Output(#[from] vi_run::output::OutputError),
    #[error(transparent)]
    Save(#[from] crate::save::SaveError),
    #[error(transparent)]
    Predict(#[from] crate::predict::PredictError),
    #[error("{0}")]
    Usage(String),
}

impl From<vi_model::diagnostic::ModelError> for CommandError {
    fn from(error: vi_model::diagnostic::ModelError) -> Self {
        Self::Engine(CaviError::Model(error))
    }
}

impl CommandError {
    /// The exit status: 2 where nothing was run, 3 where a run failed.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Engine(error)
            | Self::Predict(crate::predict::PredictError::Engine(error))
            | Self::Save(crate::save::SaveError::Engine(error))
                if !error.is_refusal() =>
            {
                3
            }
            _ => vi_run::record::REFUSED,
        }
    }

    /// Prints the message on standard error, with the place in the model file where there is one.
    pub(crate) fn print(&self) {
        match self {
            Self::Engine(CaviError::Model(error)) => {
                let shown: Vec<vi_run::diagnostic::Diagnostic> =
                    error.diagnostics.iter().map(|d| convert(d, &error.source)).collect();
                print_diagnostics(&shown);
            }
            other => print_diagnostics(&[vi_run::diagnostic::Diagnostic::new("", other.to_string())]),
        }
        if let Self::Engine(CaviError::Model(error)) = self
            && error.diagnostics.iter().any(|d| d.code == "not-conjugate")
        {
            print_error(&format!("  sgvi run {}\n", error.source.name));
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
