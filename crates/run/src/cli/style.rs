//! Colours of a terminal, or their absence.

use std::io::IsTerminal;

/// Wraps text in the escape sequences of a terminal, or leaves it plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// Plain text.
    pub const PLAIN: Self = Self { coloured: false };
    /// Text with escape sequences.
    pub const COLOURED: Self = Self { coloured: true };

    /// Coloured where `stream` is a terminal and the environment does not say otherwise (`NO_COLOR`, `TERM=dumb`).
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { coloured: stream.is_terminal() && !refused }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Bold.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Less prominent.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// For what is wrong: bold red.
    #[must_use]
    pub fn error(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// For what deserves attention: yellow.
    #[must_use]
    pub fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// For what is good: green.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// For what helps: cyan.
    #[must_use]
    pub fn help(self, text: &str) -> String {
        self.wrap("36", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Style::PLAIN.error("no"), "no");
        assert_eq!(Style::COLOURED.error("no"), "\x1b[1;31mno\x1b[0m");
    }
}
