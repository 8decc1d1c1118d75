//! The summary at the end of a run: status, ELBO and its terms, the global posterior as a small table.

use super::number::{duration, grouped, significant};
use super::style::Style;
use crate::array::NestedArray;
use crate::record::{PosteriorEntry, Record, Status};
use std::fmt::Write as _;
use std::path::Path;

/// Lines shown of one variable; the rest is counted.
const MOST_LINES: usize = 12;
/// Elements of a dimension shown side by side; longer dimensions are shown one below the other.
const MOST_CELLS: usize = 6;
/// Columns of the terminal that lines with several elements keep to.
const MOST_WIDTH: usize = 80;

/// The whole report, ending in a line feed; `output` is where the results are.
#[must_use]
pub fn end_report(record: &Record, output: Option<&Path>, style: Style) -> String {
    let mut text = headline(record, style);
    if record.status != Status::Failed {
        text.push_str(&elbo_lines(record, style));
        text.push_str(&posterior_lines(record, style));
    }
    if let Some(output) = output {
        let what = if record.status == Status::Failed { "what was reached is" } else { "results" };
        let _ = writeln!(text, "\n{what} in {}", style.bold(&output.display().to_string()));
    }
    text
}

fn headline(record: &Record, style: Style) -> String {
    let interrupted = record.extra.contains_key("interrupted");
    let status = match record.status {
        Status::Converged => style.good("converged"),
        Status::MaxIterations if interrupted => style.warning("interrupted before its end"),
        Status::MaxIterations => style.warning("not converged: the limit of iterations was reached"),
        Status::Failed => style.error("failed"),
    };
    let plural = if record.iterations == 1 { "" } else { "s" };
    let mut text =
        format!("{status} · {} iteration{plural} · {}", grouped(record.iterations as u64), duration(record.seconds));
    if let (true, Some(best)) = (record.restarts.len() > 1, record.best_restart()) {
        let _ = write!(text, " · best of {} restarts (number {best})", record.restarts.len());
    }
    text.push('\n');
    if record.status == Status::MaxIterations && !interrupted && record.iterations > 0 {
        let double = 2 * record.iterations;
        let _ = writeln!(text, "  {} --max-iterations {double} lets it go on for as long again", style.help("→"));
    }
    text
}

fn elbo_lines(record: &Record, style: Style) -> String {
    let mut text = String::new();
    let error = record.extra.get("elbo_standard_error").and_then(serde_json::Value::as_f64);
    let error = error.map(|error| format!(" ± {}", significant(error, 2))).unwrap_or_default();
    let value = format!("{:.6}", record.elbo);
    let _ = writeln!(text, "\n{} {}{error} nats", style.bold("ELBO"), style.bold(&value));
    let terms: Vec<(&str, String)> =
        record.elbo_terms.iter().map(|(name, term)| (name.as_str(), format!("{term:.6}"))).collect();
    let name_width = terms.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let value_width = terms.iter().map(|(_, value)| width(value)).max().unwrap_or(0);
    for (name, value) in &terms {
        let _ = writeln!(text, "  {}  {}", pad_right(name, name_width), pad_left(value, value_width));
    }
    if let Some(verdict) = record.extra.get("verdict").and_then(serde_json::Value::as_str) {
        let khat = record.extra.get("khat").and_then(serde_json::Value::as_f64);
        let khat = khat.map(|khat| format!(" (k̂ = {})", significant(khat, 2))).unwrap_or_default();
        let word = match verdict {
            "good" => style.good(verdict),
            "bad" => style.error(verdict),
            _ => style.warning(verdict),
        };
        let _ = writeln!(text, "{} {word}{khat}", style.bold("verdict"));
    }
    text + &advice_lines(record, style)
}

/// What to try, where the engine says so.
fn advice_lines(record: &Record, style: Style) -> String {
    record.advice().into_iter().map(|text| format!("  {} {text}\n", style.help("→"))).collect()
}

fn width(text: &str) -> usize {
    text.chars().filter(|character| !('\u{300}'..='\u{36f}').contains(character)).count()
}

fn pad_right(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn pad_left(text: &str, to: usize) -> String {
    format!("{}{text}", " ".repeat(to.saturating_sub(width(text))))
}

/// One line of the table: the element's name and its cells.
struct Line {
    name: String,
    family: String,
    cells: Vec<String>,
}

/// The index of an element of an array of `shape`, as `[1, bmi]`, by name where `labels` has names of the axis; empty for a scalar.
fn index_text(shape: &[usize], labels: &[Option<&[String]>], mut flat: usize) -> String {
    let mut indices: Vec<String> = shape
        .iter()
        .enumerate()
        .rev()
        .map(|(axis, &length)| {
            let index = flat % length.max(1);
            flat /= length.max(1);
            let name = labels.get(axis).copied().flatten().and_then(|names| names.get(index));
            name.cloned().unwrap_or_else(|| index.to_string())
        })
        .collect();
    indices.reverse();
    if indices.is_empty() { String::new() } else { format!("[{}]", indices.join(", ")) }
}

/// The names of the elements of each axis of an entry's mean, where they have names.
fn labels_of(entry: &PosteriorEntry) -> Vec<Option<&[String]>> {
    entry.axes().map(|axis| axis.and_then(|axis| entry.labels.get(axis)).map(Vec::as_slice)).collect()
}

/// The name of one element of an entry's mean, which has `shape`: `beta[bmi]`.
pub(super) fn element_name(name: &str, entry: &PosteriorEntry, shape: &[usize], element: usize) -> String {
    format!("{name}{}", index_text(shape, &labels_of(entry), element))
}

/// `mean ± sd`, the mean to the sd's precision; in brackets the sd by linear response.
fn cell(mean: f64, sd: Option<f64>) -> String {
    if sd.is_some_and(f64::is_infinite) {
        return format!("{} ± ∞", significant(mean, 5));
    }
    let Some(sd) = sd.filter(|sd| sd.is_finite() && *sd > 0.0) else { return significant(mean, 5) };
    let magnitude = sd.log10().floor();
    if mean.is_finite() && (-5.0..=3.0).contains(&magnitude) && mean.abs() < 1e6 {
        let decimals = usize::try_from(1 - magnitude as i64).unwrap_or(0);
        format!("{mean:.decimals$} ± {sd:.decimals$}")
    } else {
        format!("{} ± {}", significant(mean, 5), significant(sd, 2))
    }
}

/// The lines of one variable, and how many more there would be: the elements of a short dimension side by side where that fits a
/// terminal and no names would be lost, otherwise one below the other.
fn lines_of(name: &str, entry: &PosteriorEntry) -> (Vec<Line>, usize) {
    let Some(mean) = &entry.mean else { return (Vec::new(), 0) };
    let shape = mean.shape();
    let labels = labels_of(entry);
    let across = match shape.split_last() {
        Some((&last, outer)) if shape.len() > entry.plates.len() && (2..=MOST_CELLS).contains(&last) => {
            let names_a_vector = outer.is_empty() && labels.last().is_some_and(Option::is_some);
            if names_a_vector { 1 } else { last }
        }
        _ => 1,
    };
    let lines = lines_across(name, entry, mean, &labels, across);
    let too_wide = |line: &Line| {
        let cells: usize = line.cells.iter().map(|cell| width(cell) + 2).sum();
        2 + width(&line.name) + 2 + width(&line.family) + cells > MOST_WIDTH
    };
    if across > 1 && lines.0.iter().any(too_wide) { lines_across(name, entry, mean, &labels, 1) } else { lines }
}

/// [`lines_of`] with `across` elements in a line.
fn lines_across(
    name: &str,
    entry: &PosteriorEntry,
    mean: &NestedArray,
    labels: &[Option<&[String]>],
    across: usize,
) -> (Vec<Line>, usize) {
    let shape = mean.shape();
    let sd = entry.sd.as_ref().filter(|sd| sd.shape() == shape);
    let response = entry.sd_linear_response.as_ref().filter(|sd| sd.shape() == shape);
    let outer = if across == 1 { shape } else { &shape[..shape.len() - 1] };
    let count = mean.values().len() / across;
    let element_text = |element: usize| {
        let text = cell(mean.values()[element], sd.map(|sd| sd.values()[element]));
        match response {
            Some(response) => format!("{text} ({})", significant(response.values()[element], 2)),
            None => text,
        }
    };
    let lines = (0..count.min(MOST_LINES)).map(|line| Line {
        name: format!("{name}{}", index_text(outer, labels, line)),
        family: if line == 0 {
            entry.distribution.clone().unwrap_or_else(|| "expression".to_owned())
        } else {
            String::new()
        },
        cells: (line * across..(line + 1) * across).map(element_text).collect(),
    });
    (lines.collect(), count.saturating_sub(MOST_LINES))
}

fn posterior_lines(record: &Record, style: Style) -> String {
    let groups: Vec<(Vec<Line>, usize)> = record
        .posterior
        .iter()
        .map(|(name, entry)| lines_of(name, entry))
        .filter(|(lines, _)| !lines.is_empty())
        .collect();
    if groups.is_empty() {
        return String::new();
    }
    let all = || groups.iter().flat_map(|(lines, _)| lines);
    let name_width = all().map(|line| width(&line.name)).max().unwrap_or(0);
    let family_width = all().map(|line| width(&line.family)).max().unwrap_or(0);
    let has_response = record.posterior.values().any(|entry| entry.sd_linear_response.is_some());
    let heading = if has_response {
        "posterior (mean ± sd, in brackets the sd by linear response)"
    } else {
        "posterior (mean ± sd)"
    };
    let mut text = format!("\n{}\n", style.bold(heading));
    for (lines, more) in &groups {
        let cell_width = lines.iter().flat_map(|line| &line.cells).map(|cell| width(cell)).max().unwrap_or(0);
        for line in lines {
            let cells: Vec<String> = line.cells.iter().map(|cell| pad_left(cell, cell_width)).collect();
            let family = style.dim(&pad_right(&line.family, family_width));
            let _ = writeln!(text, "  {}  {family}  {}", pad_right(&line.name, name_width), cells.join("  "));
        }
        if *more > 0 {
            let _ = writeln!(text, "  {}", style.dim(&format!("… {} more in posterior.json", grouped(*more as u64))));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(plates: &[&str], shape: Vec<usize>, mean: Vec<f64>, sd: Vec<f64>) -> PosteriorEntry {
        PosteriorEntry {
            distribution: Some("normal".to_owned()),
            plates: plates.iter().map(|&plate| plate.to_owned()).collect(),
            mean: NestedArray::new(shape.clone(), mean).ok(),
            sd: NestedArray::new(shape, sd).ok(),
            ..PosteriorEntry::default()
        }
    }

    #[test]
    fn the_report_is_aligned() {
        let mut record = Record::new("cavi", "gmm.toml", "0.1.0", 0);
        record.status = Status::Converged;
        record.iterations = 23;
        record.seconds = 0.0123;
        record.elbo = -443.297_873;
        record.restarts = vec![-500.0, -443.297_873];
        record.elbo_terms.insert("x".to_owned(), -450.0);
        record.elbo_terms.insert("weights".to_owned(), 6.702_127);
        record.posterior.insert(
            "mu".to_owned(),
            entry(&["component"], vec![2, 2], vec![1.0, -2.0, 10.25, 0.0], vec![0.1, 0.025, 1.5, 0.0]),
        );
        record.posterior.insert("tau".to_owned(), entry(&[], vec![], vec![1e-9], vec![1e-10]));
        record.posterior.insert("w".to_owned(), entry(&["k"], vec![14], vec![0.5; 14], vec![0.25; 14]));
        let text = end_report(&record, Some(Path::new("runs/gmm")), Style::PLAIN);
        let expected = "\
converged · 23 iterations · 12.3 ms · best of 2 restarts (number 2)

ELBO -443.297873 nats
  x        -450.000000
  weights     6.702127

posterior (mean ± sd)
  mu[0]  normal     1.00 ± 0.10  -2.000 ± 0.025
  mu[1]              10.2 ± 1.5               0
  tau    normal  1.0000e-9 ± 1.0e-10
  w[0]   normal  0.50 ± 0.25
";
        assert!(text.starts_with(expected), "{text}");
        let end = "  w[11]          0.50 ± 0.25\n  … 2 more in posterior.json\n\nresults in runs/gmm\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn elements_go_by_their_names_and_lines_fit_a_terminal() {
        let mut record = Record::new("cavi", "m.toml", "0.1.0", 0);
        record.status = Status::Converged;
        let named = |wanted: &'static str, names: [&'static str; 2]| {
            move |axis: &str| (axis == wanted).then(|| names.map(str::to_owned).to_vec())
        };
        let mut beta = entry(&[], vec![2], vec![1.0, 2.0], vec![0.1; 2]);
        beta.dimension = Some("x".into());
        beta.label(named("x", ["age", "bmi"]));
        record.posterior.insert("beta".to_owned(), beta);
        let mut level = entry(&["town"], vec![2, 2], vec![1.0, 2.0, 3.0, 4.0], vec![0.1; 4]);
        level.dimension = Some(2.into());
        level.label(named("town", ["Bonn", "Celle"]));
        record.posterior.insert("level".to_owned(), level);
        let mut pi = entry(&[], vec![6], vec![0.123_456; 6], vec![1.234e-5; 6]);
        pi.dimension = Some("component".into());
        record.posterior.insert("pi".to_owned(), pi);
        let text = end_report(&record, None, Style::PLAIN);
        let table = text.split_once("(mean ± sd)\n").unwrap().1;
        let expected = "  beta[age]     normal  1.00 ± 0.10
  beta[bmi]             2.00 ± 0.10
  level[Bonn]   normal  1.00 ± 0.10  2.00 ± 0.10
  level[Celle]          3.00 ± 0.10  4.00 ± 0.10
  pi[0]         normal  0.123456 ± 0.000012
";
        assert!(table.starts_with(expected), "{table}");
        assert!(text.lines().all(|line| width(line) <= MOST_WIDTH), "{text}");
    }

    #[test]
    fn a_failed_run_reports_no_numbers() {
        let mut record = Record::new("sgvi", "m.toml", "0.1.0", 0);
        record.status = Status::Failed;
        record.elbo = f64::NAN;
        record.iterations = 74;
        let text = end_report(&record, Some(Path::new("runs/m")), Style::PLAIN);
        assert_eq!(text, "failed · 74 iterations · 0 µs\n\nwhat was reached is in runs/m\n");
    }

    #[test]
    fn estimates_and_verdicts() {
        let mut record = Record::new("sgvi", "m.toml", "0.1.0", 0);
        record.status = Status::MaxIterations;
        record.iterations = 1;
        record.elbo = -31.6;
        record.extra.insert("elbo_standard_error".to_owned(), 0.012.into());
        record.extra.insert("khat".to_owned(), 0.81.into());
        record.extra.insert("verdict".to_owned(), "bad".into());
        record.extra.insert("advice".to_owned(), serde_json::json!(["try family = \"full-rank\""]));
        let text = end_report(&record, None, Style::PLAIN);
        assert!(
            text.starts_with(
                "not converged: the limit of iterations was reached · 1 iteration · 0 µs\n  → --max-iterations 2 lets it go on"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("\nELBO -31.600000 ± 0.012 nats\nverdict bad (k̂ = 0.81)\n  → try family = \"full-rank\"\n"),
            "{text}"
        );
        let mut corrected = entry(&[], vec![], vec![1.0], vec![0.1]);
        corrected.sd_linear_response = Some(0.125.into());
        record.posterior.insert("mu".to_owned(), corrected);
        let text = end_report(&record, None, Style::PLAIN);
        assert!(text.ends_with("by linear response)\n  mu  normal  1.00 ± 0.10 (0.12)\n"), "{text}");
    }
}
