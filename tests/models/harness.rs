//! Runs a model file through a binary and reads what the run left behind.

#![allow(dead_code, reason = "each of the test programs that share this file uses another part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of the model files.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// A finished run of a model file.
pub(crate) struct Run {
    folder: PathBuf,
    pub(crate) summary: Value,
    posterior: Value,
}

/// Runs `MODEL.toml` with further arguments and asks that it converges to `elbo`, within `tolerance` nats, in half a minute,
/// and that the parts of the ELBO add up to it.
pub(crate) fn run(binary: &str, model: &str, arguments: &[&str], elbo: f64, tolerance: f64) -> Run {
    let (run, status) = finish(binary, model, arguments);
    assert_eq!(status, 0, "{model}");
    assert_eq!(run.summary["status"], "converged", "{model}");
    let reached = run.elbo();
    assert!((reached - elbo).abs() <= tolerance, "{model}: ELBO {reached}, recorded {elbo}");
    assert!(number(&run.summary["seconds"]) < 30.0, "{model} took {} s", run.summary["seconds"]);
    run
}

/// Runs `MODEL.toml` to its end, converged or not, and asks that the parts of the ELBO add up to it; the run and the exit
/// status, 0 or 1.
pub(crate) fn finish(binary: &str, model: &str, arguments: &[&str]) -> (Run, i32) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models").join(model);
    let output = Command::new(binary)
        .arg("run")
        .arg(models().join(format!("{model}.toml")))
        .args(["--json", "--no-plot", "--output"])
        .arg(&folder)
        .args(arguments)
        .output()
        .expect("the binary starts");
    let status = output.status.code().expect("the binary ends by itself");
    assert!(status <= 1, "{model}: {}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    let posterior = std::fs::read(folder.join("posterior.json")).expect("posterior.json is written");
    let run = Run { folder, summary, posterior: serde_json::from_slice(&posterior).expect("posterior.json is JSON") };
    let reached = run.elbo();
    let sum: f64 = run.summary["elbo_terms"].as_object().expect("a table").values().map(number).sum();
    assert!((sum - reached).abs() <= 1e-9 * (1.0 + reached.abs()), "{model}: terms add up to {sum}, ELBO {reached}");
    (run, status)
}

impl Run {
    /// The ELBO of the best restart, in nats.
    pub(crate) fn elbo(&self) -> f64 {
        number(&self.summary["elbo"])
    }

    /// The posterior means of a variable, flattened in plate order.
    pub(crate) fn mean(&self, variable: &str) -> Vec<f64> {
        flat(&self.posterior[variable]["mean"])
    }

    /// The marginal posterior standard deviations of a variable, flattened in plate order.
    pub(crate) fn sd(&self, variable: &str) -> Vec<f64> {
        flat(&self.posterior[variable]["sd"])
    }

    /// A parameter of a variable's posterior, flattened in plate order.
    pub(crate) fn parameter(&self, variable: &str, parameter: &str) -> Vec<f64> {
        flat(&self.posterior[variable]["parameters"][parameter])
    }

    /// The last `width` columns of a saved row-level variable, one vector per row.
    pub(crate) fn saved(&self, variable: &str, width: usize) -> Vec<Vec<f64>> {
        let path = self.folder.join("local").join(format!("{variable}.csv"));
        let mut reader = csv::Reader::from_path(path).expect("the table is written");
        let parse = |r: csv::StringRecord| {
            r.iter().skip(r.len() - width).map(|x| x.parse().expect("a number")).collect::<Vec<f64>>()
        };
        reader.records().map(|r| parse(r.expect("a row"))).collect()
    }

    /// The most probable category of each row.
    pub(crate) fn decoded(&self, variable: &str, categories: usize) -> Vec<usize> {
        self.saved(variable, categories).iter().map(|p| largest(p)).collect()
    }
}

/// Position of the largest element.
pub(crate) fn largest(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).expect("at least one value")
}

/// Share of the rows whose group's most frequent label is their own: 1 when groups never mix labels.
pub(crate) fn purity(groups: &[usize], labels: &[String]) -> f64 {
    assert_eq!(groups.len(), labels.len());
    let mut counts = std::collections::BTreeMap::<usize, std::collections::BTreeMap<&str, usize>>::new();
    for (group, label) in groups.iter().zip(labels) {
        *counts.entry(*group).or_default().entry(label).or_default() += 1;
    }
    let right: usize = counts.values().filter_map(|c| c.values().max()).sum();
    right as f64 / labels.len() as f64
}

/// The cells of a column of a data file, as text.
pub(crate) fn text_column(file: &str, column: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(models().join("data").join(file)).expect("the data file exists");
    let position = reader.headers().expect("a header").iter().position(|h| h == column).expect("the column exists");
    reader.records().map(|r| r.expect("a row")[position].to_owned()).collect()
}

/// The cells of a column of a data file, as numbers; empty ones and `NA` are not-a-number.
pub(crate) fn column(file: &str, name: &str) -> Vec<f64> {
    text_column(file, name).iter().map(|x| x.parse().unwrap_or(f64::NAN)).collect()
}

/// Centred and divided by the population standard deviation.
pub(crate) fn standardized(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sd = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    values.iter().map(|x| (x - mean) / sd).collect()
}

/// Asserts that two numbers agree within an absolute tolerance.
pub(crate) fn close(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} is not within {tolerance} of {expected}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![number(other)],
    }
}
