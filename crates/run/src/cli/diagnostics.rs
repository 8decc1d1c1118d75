//! Diagnostics as excerpts of the source, with the places underlined.

use super::style::Style;
use crate::diagnostic::Diagnostic;
use std::fmt::Write as _;

/// One label, cut into what its line shows.
struct Mark {
    line: usize,
    column: usize,
    width: usize,
    text: String,
    main: bool,
}

/// The text of a line, with tabs widened so that columns agree with what is seen.
fn shown(line: &str) -> String {
    line.trim_end_matches('\r').replace('\t', "    ")
}

/// The width at which the first `characters` of a line are shown.
fn shown_width(line: &str, characters: usize) -> usize {
    line.chars().take(characters).map(|character| if character == '\t' { 4 } else { 1 }).sum()
}

fn marks(diagnostic: &Diagnostic, lines: &[&str]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for (index, label) in diagnostic.labels.iter().enumerate() {
        let start = diagnostic.position(label.span.start);
        let end = diagnostic.position(label.span.end.max(label.span.start));
        let Some(line) = lines.get(start.line - 1) else { continue };
        let line = line.trim_end_matches('\r');
        let last = if end.line == start.line { end.column - 1 } else { line.chars().count() };
        let column = shown_width(line, start.column - 1);
        let width = shown_width(line, last).saturating_sub(column).max(1);
        marks.push(Mark { line: start.line, column, width, text: label.text.clone(), main: index == 0 });
    }
    marks.sort_by_key(|mark| (mark.line, mark.column));
    marks
}

/// The diagnostic as text over several lines, ending in a line feed.
///
/// The first line is `error: MESSAGE`; then, where there is a source, `file:line:column` and the lines concerned with the
/// places underlined; then what to write instead.
#[must_use]
pub fn render_diagnostic(diagnostic: &Diagnostic, style: Style) -> String {
    let mut text = String::new();
    let code = if diagnostic.code.is_empty() { String::new() } else { format!("[{}]", diagnostic.code) };
    let _ = writeln!(text, "{}: {}", style.error(&format!("error{code}")), style.bold(&diagnostic.message));
    let lines: Vec<&str> = diagnostic.source.split('\n').collect();
    let marks = if diagnostic.source.is_empty() { Vec::new() } else { marks(diagnostic, &lines) };
    let gutter = marks.iter().map(|mark| mark.line.to_string().len()).max().unwrap_or(1);
    let blank = " ".repeat(gutter);
    if !diagnostic.file.is_empty() {
        let place = diagnostic.labels.first().filter(|_| !marks.is_empty()).map(|label| {
            let position = diagnostic.position(label.span.start);
            format!(":{}:{}", position.line, position.column)
        });
        let file = format!("{}{}", diagnostic.file, place.unwrap_or_default());
        let _ = writeln!(text, "{blank}{} {file}", style.dim(if marks.is_empty() { "──" } else { "╭─" }));
    }
    let mut previous: Option<usize> = None;
    for mark in &marks {
        if previous != Some(mark.line) {
            if previous.is_some_and(|previous| mark.line > previous + 1) {
                let _ = writeln!(text, "{blank}{}", style.dim("┆"));
            } else if previous.is_none() {
                let _ = writeln!(text, "{blank}{}", style.dim("│"));
            }
            let number = format!("{:>gutter$}│", mark.line);
            let _ = writeln!(text, "{} {}", style.dim(&number), shown(lines[mark.line - 1]));
            previous = Some(mark.line);
        }
        let underline =
            if mark.main { style.error(&"^".repeat(mark.width)) } else { style.help(&"-".repeat(mark.width)) };
        let label = if mark.text.is_empty() { String::new() } else { format!(" {}", mark.text) };
        let label = if mark.main { style.error(&label) } else { style.help(&label) };
        let _ = writeln!(text, "{blank}{} {}{underline}{label}", style.dim("│"), " ".repeat(mark.column));
    }
    if let Some(help) = &diagnostic.help {
        let indent = format!("\n{blank}        ");
        let _ = writeln!(text, "{blank}{} {}", style.help("help:"), help.replace('\n', &indent));
    }
    text
}

/// Several diagnostics, an empty line between them, and their number if there is more than one.
#[must_use]
pub fn render_diagnostics(diagnostics: &[Diagnostic], style: Style) -> String {
    let mut text =
        diagnostics.iter().map(|diagnostic| render_diagnostic(diagnostic, style)).collect::<Vec<_>>().join("\n");
    if diagnostics.len() > 1 {
        let _ = writeln!(text, "\n{} mistakes found", diagnostics.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "title = \"x\"\n\n[variables.x]\n\tprecison = 1.0\nmean = \"σ + w\"\n";

    fn find(text: &str) -> std::ops::Range<usize> {
        let start = SOURCE.find(text).unwrap();
        start..start + text.len()
    }

    #[test]
    fn places_are_underlined_where_they_are_seen() {
        let diagnostic = Diagnostic::new("unknown-key", "unknown key `precison` in [variables.x]")
            .in_file("models/m.toml", SOURCE)
            .label(find("precison"), "not a parameter of normal")
            .label(find("w\""), "`w` is meant")
            .label(find("title"), "")
            .help("did you mean `precision`?");
        let expected = "\
error[unknown-key]: unknown key `precison` in [variables.x]
 ╭─ models/m.toml:4:2
 │
1│ title = \"x\"
 │ -----
 ┆
4│     precison = 1.0
 │     ^^^^^^^^ not a parameter of normal
5│ mean = \"σ + w\"
 │             -- `w` is meant
 help: did you mean `precision`?
";
        assert_eq!(render_diagnostic(&diagnostic, Style::PLAIN), expected);
        let coloured = render_diagnostic(&diagnostic, Style::COLOURED);
        assert!(coloured.starts_with("\x1b[1;31merror[unknown-key]\x1b[0m: "), "{coloured}");
    }

    #[test]
    fn without_a_source_and_over_several_lines() {
        let plain = Diagnostic::new("", "zero rows").in_file("data/empty.csv", "");
        assert_eq!(render_diagnostic(&plain, Style::PLAIN), "error: zero rows\n ── data/empty.csv\n");
        let long = Diagnostic::new("", "x").in_file("m.toml", SOURCE).label(14..400, "this table");
        let text = render_diagnostic(&long, Style::PLAIN);
        assert!(text.contains("3│ [variables.x]\n"), "{text}");
        assert!(render_diagnostics(&[plain.clone(), plain], Style::PLAIN).ends_with("\n2 mistakes found\n"));
    }

    #[test]
    fn places_at_or_beyond_the_end_do_no_harm() {
        let end = Diagnostic::new("", "unexpected end").in_file("m.toml", "a = ").label(4..4, "a value is missing");
        assert!(render_diagnostic(&end, Style::PLAIN).contains(" │     ^ a value is missing"));
        let beyond = Diagnostic::new("", "x").in_file("m.toml", "a").label(90..99, "y");
        assert!(render_diagnostic(&beyond, Style::PLAIN).contains("m.toml:1:2"));
    }
}
