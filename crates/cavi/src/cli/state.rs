//! What a run keeps so that it can predict later: where its model is, a fingerprint of its data, its global factors.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::Value;
use vi_model::graph::Graph;
use vi_run::output::engine_of;

use super::CommandError;
use crate::predict::GlobalState;

/// Name of the file in a run's folder.
pub(super) const FILE: &str = "state.json";

/// The kept state of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// The model file, absolute.
    pub(super) model: PathBuf,
    /// The fingerprint of model and data.
    pub(super) fingerprint: String,
    /// The global factors.
    pub(super) factors: GlobalState,
}

/// The fingerprint of a model and its data as the file has it.
pub(super) fn fingerprint(graph: &Graph) -> Result<String, CommandError> {
    Ok(format!("{:016x}", graph.fingerprint().map_err(crate::error::CaviError::from)?))
}

impl State {
    /// What the file holds, written as it is serialised.
    pub(super) fn content(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Content<'a> {
            format: u32,
            model: &'a Path,
            fingerprint: &'a str,
            natural_parameters: Parameters<'a>,
        }
        struct Parameters<'a>(&'a GlobalState);
        impl Serialize for Parameters<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, natural)| (name, natural)))
            }
        }
        Content {
            format: 1,
            model: &self.model,
            fingerprint: &self.fingerprint,
            natural_parameters: Parameters(&self.factors),
        }
    }

    /// Reads the state in a run's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, CommandError> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            if engine_of(folder).is_some_and(|engine| engine != "cavi") {
                return CommandError::Usage(format!(
                    "`{0}` holds a run of `sgvi`: `sgvi predict {0}` reads it",
                    folder.display()
                ));
            }
            CommandError::Usage(format!(
                "cannot read `{}`: {e}; give the folder that `cavi run` has left its results in",
                path.display()
            ))
        })?;
        let broken = || CommandError::Usage(format!("`{}` is damaged: run the model again", path.display()));
        let value: Value = serde_json::from_str(&text).map_err(|_| broken())?;
        let word = |key: &str| value[key].as_str().map(str::to_owned).ok_or_else(broken);
        let factors = value["natural_parameters"].as_object().ok_or_else(broken)?;
        let factors = factors
            .iter()
            .map(|(name, natural)| Ok((name.clone(), serde_json::from_value(natural.clone()).map_err(|_| broken())?)))
            .collect::<Result<GlobalState, CommandError>>()?;
        Ok(Self { model: word("model")?.into(), fingerprint: word("fingerprint")?, factors })
    }
}
