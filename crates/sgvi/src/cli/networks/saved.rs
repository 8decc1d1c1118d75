//! A finished run, read back from its folder.

use serde_json::json;
use std::path::{Path, PathBuf};
use vi_model::graph::Graph;
use vi_run::output::{OutputError, RunDirectory};
use vi_run::record::REFUSED;

use super::super::{print_failure, refuse, refuse_model};
use crate::amortized::compile::{compile, is_amortized};
use crate::amortized::model::AmortizedModel;
use crate::amortized::networks::same_axes;
use crate::amortized::settings::Settings;
use crate::amortized::weights;
use crate::fit::approximation;

/// The file with the model's text and where its data were looked for.
const MODEL: &str = "model.json";

/// Writes the model's text into the run's folder, so that the run can be read back.
pub(super) fn write_model(graph: &Graph, directory: &mut RunDirectory) -> Result<(), OutputError> {
    let name = Path::new(&*graph.source.name);
    let folder = name.parent().map(Path::to_path_buf).unwrap_or_default();
    let folder =
        std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder }).unwrap_or(folder);
    let content =
        json!({ "name": &*graph.source.name, "folder": folder.display().to_string(), "text": &*graph.source.text });
    directory.write(MODEL, format!("{content:#}\n").as_bytes())
}

/// A run's model with the weights that it reached, over its own data or over new ones.
pub(in crate::cli) struct SavedRun {
    /// The folder.
    pub(super) folder: PathBuf,
    /// The model.
    pub(super) graph: Graph,
    /// Program and data.
    pub(super) model: AmortizedModel,
    /// What was learned.
    pub(super) parameters: Vec<f32>,
    /// How it was trained.
    pub(super) settings: Settings,
    /// Whether the data are not those of the run.
    pub(super) new_data: bool,
}

impl SavedRun {
    /// Whether the folder is that of a run with networks.
    pub(in crate::cli) fn is_one(folder: &Path) -> bool {
        folder.join("weights.safetensors").is_file()
    }

    /// Reads a run; what is wrong has been printed when this fails.
    pub(in crate::cli) fn open(folder: &Path, data: Option<&Path>) -> Result<Self, u8> {
        let fail = |text: String| {
            print_failure(&text);
            REFUSED
        };
        if !Self::is_one(folder) && folder.join(approximation::FILE).is_file() {
            return Err(fail(format!(
                "{} holds the run of a model without networks: `sgvi sample` and `sgvi predict` read it",
                folder.display()
            )));
        }
        let missing = |name: &str, reason: String| {
            fail(format!(
                "{} is not the folder of a finished `sgvi run` of a model with networks: cannot read {} ({reason})",
                folder.display(),
                folder.join(name).display()
            ))
        };
        let text = std::fs::read_to_string(folder.join(MODEL)).map_err(|error| missing(MODEL, error.to_string()))?;
        let saved: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| missing(MODEL, error.to_string()))?;
        let field = |key: &str| {
            saved
                .get(key)
                .and_then(serde_json::Value::as_str)
                .ok_or_else(|| missing(MODEL, format!("it lacks `{key}`")))
        };
        let (name, base, text) = (field("name")?, PathBuf::from(field("folder")?), field("text")?);
        let load = |text: &str| vi_model::load_str(text, name, &base).map_err(|error| refuse_model(&error));
        let mut graph = load(text)?;
        if !is_amortized(&graph) {
            return Err(missing(MODEL, "its model has no networks".to_owned()));
        }
        if let Ok(summary) = std::fs::read_to_string(folder.join("summary.json"))
            && let Ok(summary) = serde_json::from_str::<serde_json::Value>(&summary)
        {
            graph.inference.seed = summary.get("seed").and_then(serde_json::Value::as_u64);
        }
        let settings = compile(&graph)
            .and_then(|program| Settings::new(&graph, &program))
            .map_err(|error| refuse(&error, &graph))?;
        if let Some(data) = data {
            let file = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
            let new =
                load(&with_data(text, &file).ok_or_else(|| fail("the model has no `file` in [data]".to_owned()))?)?;
            same_axes(&graph, &new).map_err(fail)?;
            graph = new;
        }
        let model = AmortizedModel::new(&graph).map_err(|error| refuse(&error, &graph))?;
        let bytes = std::fs::read(folder.join("weights.safetensors"))
            .map_err(|error| missing("weights.safetensors", error.to_string()))?;
        let parameters = weights::from_bytes(&model.program.layout, &bytes)
            .map_err(|error| missing("weights.safetensors", error.to_string()))?;
        Ok(Self { folder: folder.to_owned(), graph, model, parameters, settings, new_data: data.is_some() })
    }
}

/// The model's text with another data file.
fn with_data(text: &str, file: &Path) -> Option<String> {
    let spec = vi_model::parse_str(text, "model").ok()?;
    let span = spec.data.file?.span;
    let path = toml::Value::String(file.display().to_string()).to_string();
    Some(format!("{}{path}{}", text.get(..span.start)?, text.get(span.end..)?))
}
