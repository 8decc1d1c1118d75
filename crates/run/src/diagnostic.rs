//! Diagnostics with source positions, in no engine's and no parser's terms.

use std::ops::Range;

/// A place in the source, with what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes of [`Diagnostic::source`].
    pub span: Range<usize>,
    /// What is to be said; may be empty.
    pub text: String,
}

/// One mistake in a model file or its data, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostic {
    /// A short stable name of the mistake, such as `unknown-key`.
    pub code: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The path of the file.
    pub file: String,
    /// The file's text; empty when there is none to show.
    pub source: String,
    /// The places, the most important one first.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A position for people: both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Diagnostic {
    /// A diagnostic without a place in a source.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), ..Self::default() }
    }

    /// With the file it is about, and its text.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>, source: impl Into<String>) -> Self {
        self.file = file.into();
        self.source = source.into();
        self
    }

    /// With one more place.
    #[must_use]
    pub fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// With what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The position of a byte of the source; beyond its end, that of its end.
    #[must_use]
    pub fn position(&self, byte: usize) -> Position {
        let mut end = byte.min(self.source.len());
        while !self.source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.source[..end];
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let diagnostic = Diagnostic::new("x", "y").in_file("m.toml", "a = 1\nσ = two\n");
        assert_eq!(diagnostic.position(0), Position { line: 1, column: 1 });
        assert_eq!(diagnostic.position(11), Position { line: 2, column: 5 });
        assert_eq!(diagnostic.position(7), Position { line: 2, column: 1 }); // within σ
        assert_eq!(diagnostic.position(99), Position { line: 3, column: 1 });
    }
}
