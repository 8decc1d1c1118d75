//! What can go wrong between a checked model and its posterior.

use vi_model::data::DataError;
use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{Graph, VariableId};

/// Why `sgvi` refuses a model or fails while running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SgviError {
    /// The model is legal, but this engine cannot treat it.
    #[error("`{variable}`: {reason}; {help}")]
    Unsupported {
        /// The variable, expression or option.
        variable: String,
        /// What cannot be done.
        reason: String,
        /// What to write instead.
        help: String,
        /// Where it stands in the model file (bytes).
        span: std::ops::Range<usize>,
    },
    /// The data cannot be read as the model asks.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The log joint is not finite where the search starts.
    #[error(
        "the log joint is not finite at the starting point: {variable} has log density {value}; give it an `initial` value inside its support"
    )]
    NotFinite {
        /// The variable whose term is not finite.
        variable: String,
        /// Its term.
        value: f64,
    },
    /// Draws of the approximation fall where the log joint is not finite.
    #[error(
        "the ELBO is not finite: in draws of the approximation the log density of {variable} is {value}; a parameter of it leaves its \
         range there (such as the logarithm of a variable that may be negative): give what it depends on a support or bounds \
         that keep it inside, or try another family"
    )]
    Outside {
        /// The variable whose term is not finite.
        variable: String,
        /// Its term.
        value: f64,
    },
    /// The posterior has no normalising constant.
    #[error(
        "the posterior is improper: along {variables} the log joint does not fall, so the data and the priors do not determine it; give at least one of them a proper prior"
    )]
    Improper {
        /// The variables along which it is flat.
        variables: String,
    },
}

impl SgviError {
    /// A refusal that points at a variable.
    pub fn unsupported(
        graph: &Graph,
        variable: VariableId,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let variable = graph.variable(variable);
        Self::Unsupported {
            variable: variable.name.clone(),
            reason: reason.into(),
            help: help.into(),
            span: variable.span.clone(),
        }
    }

    /// As a diagnostic with its place in the model file.
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unsupported { variable, reason, help, span } => {
                let diagnostic = Diagnostic::new("unsupported", format!("`{variable}`: {reason}")).help(help);
                // Options of the command line stand nowhere in the file.
                if span.is_empty() { diagnostic } else { diagnostic.at(span.clone(), "here") }
            }
            Self::Data(error) => error.diagnostic(),
            Self::NotFinite { .. } | Self::Outside { .. } => Diagnostic::new("not-finite", self.to_string()),
            Self::Improper { .. } => Diagnostic::new("improper", self.to_string()),
        }
    }
}
