//! What is wrong with a model, where, and what to write instead.

use std::ops::Range;
use std::sync::Arc;

/// The text of a model file and the name to show for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceText {
    /// Path as the user wrote it, or `<model>` for one built in code.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

/// A place in the model file and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the source text.
    pub span: Range<usize>,
    /// A short remark.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable kebab-case name of the kind of mistake, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, naming the culprit.
    pub message: String,
    /// Where.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without places.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds a place.
    pub fn at(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to write instead.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// A refused model: all mistakes found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelError {
    /// The text that the places refer to.
    pub source: SourceText,
    /// At least one mistake.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Display for ModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", diagnostic.message)?;
            if let Some(label) = diagnostic.labels.first() {
                let before = &self.source.text[..label.span.start.min(self.source.text.len())];
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                write!(f, " ({}:{line}:{column})", self.source.name)?;
            }
            if let Some(help) = &diagnostic.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ModelError {}
