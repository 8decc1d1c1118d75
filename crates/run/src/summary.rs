//! The content of `summary.json`.

use crate::record::{Record, Status, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The content of `summary.json`, in the order of its keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// See [`Record::engine`].
    pub engine: String,
    /// See [`Record::model`].
    pub model: String,
    /// See [`Record::status`].
    pub status: Status,
    /// See [`Record::iterations`].
    pub iterations: usize,
    /// See [`Record::seconds`].
    pub seconds: f64,
    /// See [`Record::elbo`]; `None` (null) when it is not finite.
    pub elbo: Option<f64>,
    /// See [`Record::elbo_terms`].
    pub elbo_terms: Table<Option<f64>>,
    /// See [`Record::restarts`].
    pub restarts: Vec<Option<f64>>,
    /// See [`Record::seed`].
    pub seed: u64,
    /// See [`Record::version`].
    pub version: String,
    /// See [`Record::extra`].
    #[serde(flatten)]
    pub extra: Table<Value>,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Summary {
    /// The summary of a record; what is not finite becomes null.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            engine: record.engine.clone(),
            model: record.model.clone(),
            status: record.status,
            iterations: record.iterations,
            seconds: record.seconds,
            elbo: finite(record.elbo),
            elbo_terms: record.elbo_terms.iter().map(|(name, &term)| (name.clone(), finite(term))).collect(),
            restarts: record.restarts.iter().map(|&elbo| finite(elbo)).collect(),
            seed: record.seed,
            version: record.version.clone(),
            extra: record.extra.clone(),
        }
    }
}
