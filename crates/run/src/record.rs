//! The neutral record of a run: what every engine reports in the same words.

use crate::array::NestedArray;
use crate::executor::{Failure, Outcome};
use crate::summary::Summary;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A table whose entries keep the order in which they were inserted.
pub type Table<T> = IndexMap<String, T>;

/// The exit status of a program that refused its input: a bad file, bad data, an unsupported model.
pub const REFUSED: u8 = 2;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The stop rule held.
    Converged,
    /// It ran, but ended (by its limit of iterations or by interruption) before the stop rule held.
    MaxIterations,
    /// It failed while running.
    Failed,
}

impl Status {
    /// The exit status of the program: 0 converged, 1 ran but did not converge, 3 failed.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Converged => 0,
            Self::MaxIterations => 1,
            Self::Failed => 3,
        }
    }

    /// The word in `summary.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::MaxIterations => "max-iterations",
            Self::Failed => "failed",
        }
    }
}

/// One point of the convergence curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TracePoint {
    /// The restart, counted from 1.
    pub restart: usize,
    /// The iteration within the restart, counted from 1.
    pub iteration: usize,
    /// Seconds since the run began.
    pub seconds: f64,
    /// The ELBO after this iteration, in nats over all rows.
    pub elbo: f64,
    /// Its Monte Carlo standard error, where it is an estimate.
    pub standard_error: Option<f64>,
    /// Further columns, in the order of [`Record::trace_columns`].
    pub extra: Vec<f64>,
}

crate::stored!(TracePoint { restart, iteration, seconds, elbo, standard_error, extra });

/// The axis inside one vector- or matrix-valued variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dimension {
    /// A dimension without a name, by its length.
    Length(usize),
    /// The name of the plate or block that it is.
    Name(String),
}

impl From<usize> for Dimension {
    fn from(length: usize) -> Self {
        Self::Length(length)
    }
}

impl From<&str> for Dimension {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Dimension {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

/// One variable's or expression's entry of `posterior.json`; all arrays are in plate order, then the dimension.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PosteriorEntry {
    /// The family of the posterior; `None` for an expression.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub distribution: Option<String>,
    /// The names of the plates, outermost first.
    pub plates: Vec<String>,
    /// The axis inside each element, if any.
    #[serde(default)]
    pub dimension: Option<Dimension>,
    /// The names of the elements of those axes whose elements have names (levels, columns), in the order of the arrays.
    #[serde(skip_serializing_if = "IndexMap::is_empty", default)]
    pub labels: Table<Vec<String>>,
    /// The family's parameters; empty for an expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty", default)]
    pub parameters: Table<NestedArray>,
    /// The posterior mean (of a joint variable: its location's).
    pub mean: Option<NestedArray>,
    /// The marginal posterior standard deviation (of a joint variable: its location's).
    pub sd: Option<NestedArray>,
    /// Of a joint variable: the expected precision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_precision: Option<NestedArray>,
    /// The standard deviation corrected by linear response (Giordano, Broderick & Jordan 2018).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sd_linear_response: Option<NestedArray>,
    /// Whatever else an engine reports of it.
    #[serde(flatten)]
    pub extra: Table<Value>,
}

impl PosteriorEntry {
    /// The name of each axis of the mean, outermost first; a dimension without a name has none.
    pub fn axes(&self) -> impl Iterator<Item = Option<&str>> {
        let dimension = self.dimension.iter().map(|dimension| match dimension {
            Dimension::Name(name) => Some(name.as_str()),
            Dimension::Length(_) => None,
        });
        self.plates.iter().map(|plate| Some(plate.as_str())).chain(dimension)
    }

    /// Names the elements of its axes: `names` says what those of an axis are called, `None` where they are numbered.
    pub fn label(&mut self, names: impl Fn(&str) -> Option<Vec<String>>) {
        let found = self.axes().flatten().filter_map(|axis| Some((axis.to_owned(), names(axis)?))).collect();
        self.labels = found;
    }
}

/// What a run leaves behind, apart from row-level tables and pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `cavi` or `sgvi`.
    pub engine: String,
    /// The model file, as it was given.
    pub model: String,
    /// How the run ended.
    pub status: Status,
    /// Iterations of the best restart.
    pub iterations: usize,
    /// Wall-clock seconds of all restarts together.
    pub seconds: f64,
    /// The ELBO of the best restart, in nats over all rows.
    pub elbo: f64,
    /// One number per variable; they sum to `elbo`.
    pub elbo_terms: Table<f64>,
    /// The final ELBO of each restart.
    pub restarts: Vec<f64>,
    /// The seed from which all randomness of the run was derived.
    pub seed: u64,
    /// The version of the program.
    pub version: String,
    /// Further keys of `summary.json`.
    pub extra: Table<Value>,
    /// The convergence curve of every restart.
    pub trace: Vec<TracePoint>,
    /// The names of [`TracePoint::extra`].
    pub trace_columns: Vec<String>,
    /// The posterior of each global variable and expression.
    pub posterior: Table<PosteriorEntry>,
}

impl Record {
    /// A record of a run that has not produced anything yet; its status is `failed` until [`Record::set_outcome`].
    #[must_use]
    pub fn new(engine: &str, model: &str, version: &str, seed: u64) -> Self {
        Self {
            engine: engine.to_owned(),
            model: model.to_owned(),
            status: Status::Failed,
            iterations: 0,
            seconds: 0.0,
            elbo: f64::NAN,
            elbo_terms: Table::new(),
            restarts: Vec::new(),
            seed,
            version: version.to_owned(),
            extra: Table::new(),
            trace: Vec::new(),
            trace_columns: Vec::new(),
            posterior: Table::new(),
        }
    }

    /// Takes over status, iterations, seconds, ELBOs and curve of what the executor reports.
    ///
    /// An interrupted run gets the extra key `interrupted`. The engine may afterwards replace `elbo` and the best
    /// restart's entry in `restarts` by a better estimate.
    pub fn set_outcome(&mut self, outcome: &Outcome) {
        self.status = outcome.status;
        self.iterations = outcome.iterations;
        self.seconds = outcome.seconds;
        self.elbo = outcome.elbo;
        self.restarts = outcome.restarts.iter().map(|restart| restart.elbo).collect();
        self.trace.clone_from(&outcome.trace);
        self.trace_columns.clone_from(&outcome.trace_columns);
        if outcome.interrupted {
            self.extra.insert("interrupted".to_owned(), Value::Bool(true));
        }
    }

    /// Notes an interruption of what follows the fit: the run has not ended as it was asked to.
    pub fn set_interrupted(&mut self) {
        self.status = Status::MaxIterations;
        self.extra.insert("interrupted".to_owned(), Value::Bool(true));
    }

    /// Takes over what there is of a failed run; the extra key `failure` says why. Its ELBO stays NaN.
    pub fn set_failure<E: std::error::Error + 'static>(&mut self, failure: &Failure<E>) {
        self.status = Status::Failed;
        self.iterations = failure.trace.last().map_or(0, |point| point.iteration);
        self.seconds = failure.seconds;
        self.restarts = failure.restarts.iter().map(|restart| restart.elbo).collect();
        self.trace.clone_from(&failure.trace);
        self.extra.insert("failure".to_owned(), Value::String(failure.to_string()));
    }

    /// Adds what to try or to know to the extra key `advice`, which the report prints.
    pub fn advise(&mut self, text: impl Into<String>) {
        let text = Value::String(text.into());
        let advice = match self.extra.shift_remove("advice") {
            None => text,
            Some(Value::Array(mut advice)) => {
                advice.push(text);
                Value::Array(advice)
            }
            Some(first) => Value::Array(vec![first, text]),
        };
        self.extra.insert("advice".to_owned(), advice);
    }

    /// What [`Record::advise`] was told, in that order.
    #[must_use]
    pub fn advice(&self) -> Vec<&str> {
        match self.extra.get("advice") {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What `summary.json` holds.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// The text of `summary.json`, which `--json` prints as well: pretty, one line feed at the end.
    ///
    /// # Errors
    /// When an extra value cannot be written as JSON.
    pub fn summary_json(&self) -> Result<String, serde_json::Error> {
        crate::json::to_text(&self.summary())
    }

    /// The restart (counted from 1) with the highest ELBO, the first of equals; `None` when no restart has a finite one.
    #[must_use]
    pub fn best_restart(&self) -> Option<usize> {
        best_index(self.restarts.iter().copied()).map(|index| index + 1)
    }

    /// Whether the curve's ELBOs are estimates with standard errors.
    #[must_use]
    pub fn has_standard_errors(&self) -> bool {
        self.trace.iter().any(|point| point.standard_error.is_some())
    }
}

/// The index of the highest finite value, the first of equals.
pub(crate) fn best_index(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.enumerate() {
        if value.is_finite() && best.is_none_or(|(_, highest)| value > highest) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_contracted_keys_in_order() {
        let mut record = Record::new("cavi", "models/coin.toml", "0.1.0", 7);
        record.status = Status::MaxIterations;
        record.elbo = -1.5;
        record.elbo_terms.insert("x".to_owned(), -1.0);
        record.elbo_terms.insert("bias".to_owned(), -0.5);
        record.restarts = vec![f64::NAN, -1.5];
        record.extra.insert("khat".to_owned(), Value::Null);
        let text = record.summary_json().unwrap();
        let expected = r#"{
  "engine": "cavi",
  "model": "models/coin.toml",
  "status": "max-iterations",
  "iterations": 0,
  "seconds": 0.0,
  "elbo": -1.5,
  "elbo_terms": {
    "x": -1.0,
    "bias": -0.5
  },
  "restarts": [null, -1.5],
  "seed": 7,
  "version": "0.1.0",
  "khat": null
}
"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), record.summary());
        assert_eq!(record.best_restart(), Some(2));
        assert_eq!(record.status.exit_code(), 1);
    }

    #[test]
    fn entries_of_variables_and_expressions() {
        let mut entry = PosteriorEntry {
            distribution: Some("normal".to_owned()),
            plates: vec!["component".to_owned()],
            mean: Some(NestedArray::vector(vec![1.0, 2.0])),
            sd: Some(NestedArray::vector(vec![0.5, 0.25])),
            ..PosteriorEntry::default()
        };
        entry.parameters.insert("mean".to_owned(), NestedArray::vector(vec![1.0, 2.0]));
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            text,
            r#"{"distribution":"normal","plates":["component"],"dimension":null,"parameters":{"mean":[1.0,2.0]},"mean":[1.0,2.0],"sd":[0.5,0.25]}"#
        );
        assert_eq!(serde_json::from_str::<PosteriorEntry>(&text).unwrap(), entry);
        let expression = PosteriorEntry {
            mean: Some(1.0.into()),
            sd: Some(2.0.into()),
            dimension: Some("feature".into()),
            ..PosteriorEntry::default()
        };
        let text = serde_json::to_string(&expression).unwrap();
        assert_eq!(text, r#"{"plates":[],"dimension":"feature","mean":1.0,"sd":2.0}"#);
    }

    #[test]
    fn the_best_of_equals_is_the_first() {
        assert_eq!(best_index([f64::NAN, -2.0, -1.0, -1.0].into_iter()), Some(2));
        assert_eq!(best_index([f64::NEG_INFINITY].into_iter()), None);
    }
}
