//! The report of a run as one HTML page that needs no other file: numbers, pictures and the model itself.

use super::number::{duration, grouped, significant};
use super::report::element_name;
use crate::array::NestedArray;
use crate::markup::escape;
use crate::record::{PosteriorEntry, Record, Status};
use serde::Deserialize as _;
use serde_json::Value;
use std::fmt::Write as _;

/// Elements of one variable in the page; the rest is counted.
const MOST_ELEMENTS: usize = 400;
/// Elements from which on a variable's table is folded.
const FOLDED: usize = 24;

/// The model file of a run, as its report shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelText<'a> {
    /// Its `title`.
    pub title: Option<&'a str>,
    /// Its `description`.
    pub description: Option<&'a str>,
    /// The file's text.
    pub text: &'a str,
}

/// A picture of the run: the name of its file and its SVG document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawing {
    /// Name of the file in the run's directory.
    pub(super) file: String,
    /// The document.
    pub(super) svg: String,
}

const STYLE: &str = "\
body{margin:2rem auto;max-width:64rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:#1d2433;background:#fff}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid #d8dde6}
p{margin:.4rem 0}.quiet{color:#5b6577}.badge{display:inline-block;padding:.1rem .6rem;border-radius:1rem;color:#fff;font-weight:600}
.plain{background:#5b6577}.good{background:#1a7f4b}.warning{background:#a86500}.error{background:#b3261e}
table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.15rem .9rem .15rem 0;text-align:right;border-bottom:1px solid #eceff4}
th{color:#5b6577;font-weight:600}th:first-child,td:first-child{text-align:left}
summary{cursor:pointer}figure{display:inline-block;vertical-align:top;margin:.5rem 1rem .5rem 0;max-width:100%}figure svg{max-width:100%;height:auto}
pre{background:#f5f7fa;padding:1rem;overflow:auto;font:13px/1.45 ui-monospace,monospace}li{margin:.2rem 0}
";

/// The whole page.
pub(super) fn page(record: &Record, model: &ModelText<'_>, drawings: &[Drawing]) -> String {
    let title = model.title.unwrap_or(&record.model);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        escape(title)
    );
    if let Some(description) = model.description {
        let _ = writeln!(text, "<p>{}</p>", escape(description.trim()));
    }
    let (curve, others): (Vec<_>, Vec<_>) =
        drawings.iter().enumerate().partition(|(_, drawing)| drawing.file == "elbo.svg");
    text.push_str(&outcome(record));
    if record.status != Status::Failed {
        text.push_str(&lower_bound(record));
    }
    curve.iter().for_each(|(index, drawing)| text.push_str(&figure(*index, drawing)));
    if record.status != Status::Failed {
        text.push_str(&posterior(record));
    }
    if !others.is_empty() {
        text.push_str("<h2>Pictures</h2>\n");
        others.iter().for_each(|(index, drawing)| text.push_str(&figure(*index, drawing)));
    }
    if !model.text.is_empty() {
        let _ = writeln!(
            text,
            "<h2>Model</h2>\n<details open><summary>{}</summary>\n<pre>{}</pre></details>",
            escape(&record.model),
            escape(model.text)
        );
    }
    text + "</body>\n</html>\n"
}

/// Status, verdict, what to try, and the circumstances of the run.
fn outcome(record: &Record) -> String {
    let interrupted = record.extra.contains_key("interrupted");
    let (class, status) = match record.status {
        Status::Converged => ("good", "converged"),
        Status::MaxIterations if interrupted => ("warning", "interrupted before its end"),
        Status::MaxIterations => ("warning", "not converged: the limit of iterations was reached"),
        Status::Failed => ("error", "failed"),
    };
    let mut text = format!("<p><span class=\"badge {class}\">{status}</span>");
    if let Some(verdict) = record.extra.get("verdict").and_then(Value::as_str) {
        let class = match verdict {
            "good" => "good",
            "bad" => "error",
            "usable" => "warning",
            _ => "plain",
        };
        let khat = record.extra.get("khat").and_then(Value::as_f64);
        let khat = khat.map(|khat| format!(" (k̂ = {})", significant(khat, 2))).unwrap_or_default();
        let _ = write!(text, " <span class=\"badge {class}\">verdict: {}{khat}</span>", escape(verdict));
    }
    let plural = if record.iterations == 1 { "" } else { "s" };
    let restarts = match (record.restarts.len(), record.best_restart()) {
        (2.., Some(best)) => format!(" · best of {} restarts (number {best})", record.restarts.len()),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "</p>\n<p class=\"quiet\">{} {} · {} · {} iteration{plural} · <time>{}</time>{restarts} · seed {}</p>",
        escape(&record.engine),
        escape(&record.version),
        escape(&record.model),
        grouped(record.iterations as u64),
        duration(record.seconds),
        record.seed
    );
    let advice = record.advice();
    if !advice.is_empty() {
        let items: String = advice.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
        let _ = writeln!(text, "<ul>{items}</ul>");
    }
    if let Some(reason) = record.extra.get("failure").and_then(Value::as_str) {
        let _ = writeln!(text, "<p>{}</p>", escape(reason));
    }
    text
}

/// The evidence lower bound, its terms, and the other numbers of the summary.
fn lower_bound(record: &Record) -> String {
    let mut text = String::from("<h2>Evidence lower bound</h2>\n<table>\n<tr><th></th><th>nats</th></tr>\n");
    let error = record.extra.get("elbo_standard_error").and_then(Value::as_f64);
    let error = error.map(|error| format!(" ± {}", significant(error, 2))).unwrap_or_default();
    for (name, term) in &record.elbo_terms {
        let _ = writeln!(text, "<tr><td>{}</td><td>{term:.6}</td></tr>", escape(name));
    }
    let _ = writeln!(text, "<tr><th>ELBO</th><th>{:.6}{error}</th></tr>\n</table>", record.elbo);
    let told = ["elbo_standard_error", "khat", "verdict", "advice", "failure", "interrupted"];
    let further: String = record
        .extra
        .iter()
        .filter(|(key, _)| !told.contains(&key.as_str()))
        .filter_map(|(key, value)| {
            let value = match value {
                Value::Number(number) if number.is_f64() => significant(number.as_f64()?, 6),
                Value::Number(number) => number.to_string(),
                Value::String(text) => escape(text),
                Value::Bool(flag) => flag.to_string(),
                _ => return None,
            };
            Some(format!("<tr><td>{}</td><td>{value}</td></tr>\n", escape(&key.replace('_', " "))))
        })
        .collect();
    if further.is_empty() { text } else { format!("{text}<table>\n{further}</table>\n") }
}

/// The posterior of every global variable and expression, element by element.
fn posterior(record: &Record) -> String {
    let tables: String = record.posterior.iter().map(|(name, entry)| variable(name, entry)).collect();
    if tables.is_empty() { tables } else { format!("<h2>Posterior</h2>\n{tables}") }
}

fn variable(name: &str, entry: &PosteriorEntry) -> String {
    let Some(mean) = &entry.mean else { return String::new() };
    let of_shape = |array: &'_ Option<NestedArray>| {
        array.as_ref().filter(|array| array.shape() == mean.shape()).map(|array| array.values().to_vec())
    };
    let corrected = entry.extra.get("mean_importance_sampling").and_then(|value| NestedArray::deserialize(value).ok());
    let columns: Vec<(&str, Vec<f64>)> = [
        ("mean", Some(mean.values().to_vec())),
        ("sd", of_shape(&entry.sd)),
        ("sd by linear response", of_shape(&entry.sd_linear_response)),
        ("mean by importance sampling", of_shape(&corrected)),
    ]
    .into_iter()
    .filter_map(|(heading, values)| Some((heading, values?)))
    .collect();
    let headings: String = columns.iter().map(|(heading, _)| format!("<th>{heading}</th>")).collect();
    let count = mean.values().len();
    let mut rows = String::new();
    for element in 0..count.min(MOST_ELEMENTS) {
        let cells: String =
            columns.iter().map(|(_, values)| format!("<td>{}</td>", significant(values[element], 5))).collect();
        let _ =
            writeln!(rows, "<tr><td>{}</td>{cells}</tr>", escape(&element_name(name, entry, mean.shape(), element)));
    }
    let mut more = String::new();
    if count > MOST_ELEMENTS {
        let _ = writeln!(more, "<p>… {} more in posterior.json</p>", grouped((count - MOST_ELEMENTS) as u64));
    }
    let family = entry.distribution.as_deref().unwrap_or("expression");
    let open = if count < FOLDED { " open" } else { "" };
    format!(
        "<details{open}><summary><b>{}</b> <span class=\"quiet\">{}</span></summary>\n\
         <table>\n<tr><th></th>{headings}</tr>\n{rows}</table>\n{more}</details>\n",
        escape(name),
        escape(family)
    )
}

/// A picture within the page; the names of its clipping paths are made its own.
fn figure(index: usize, drawing: &Drawing) -> String {
    let svg = drawing.svg.replace("id=\"clip", &format!("id=\"p{index}-clip"));
    let svg = svg.replace("url(#clip", &format!("url(#p{index}-clip"));
    format!("<figure role=\"img\" aria-label=\"{}\">\n{svg}</figure>\n", escape(&drawing.file))
}
