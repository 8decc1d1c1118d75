//! From a model file to a checked graph.

use std::path::Path;
use std::sync::Arc;

use crate::data::Data;
use crate::diagnostic::{Diagnostic, ModelError, SourceText};
use crate::graph::Graph;
use crate::missing_file;
use crate::resolve::resolve;
use crate::spec::{Spec, read};

/// Reads a model file's text as written, without looking anything up.
///
/// # Errors
/// Syntax mistakes, unknown keys, values of the wrong kind.
pub fn parse_str(text: &str, name: &str) -> Result<Spec, ModelError> {
    let source = SourceText { name: Arc::from(name), text: Arc::from(text) };
    read(source.clone()).map_err(|diagnostics| ModelError { source, diagnostics })
}

/// Reads, resolves and checks a model given as text; `base` is where relative data files are looked for.
///
/// # Errors
/// Every mistake that was found, with its place.
pub fn load_str(text: &str, name: &str, base: &Path) -> Result<Graph, ModelError> {
    let spec = parse_str(text, name)?;
    resolve(&spec, base, None)
}

/// As [`load_str`], over columns and blocks that are in memory; what the model's `[data]` reads or states comes beside them.
///
/// ```
/// let model = r#"
///     [plates]
///     row = "rows"
///     feature = { columns = "x" }
///
///     [variables.location]
///     plates = ["feature"]
///     distribution = "normal"
///     mean = 0
///     sd = 10
///
///     [variables.y]
///     plates = ["row", "feature"]
///     distribution = "normal"
///     mean = "location"
///     sd = 1
///     observed = "x"
/// "#;
/// // Three rows of two columns.
/// let data = vi_model::data::Data::from_matrix("x", 2, &[0.1, 5.2, -0.3, 4.9, 0.4, 5.1])?;
/// let graph = vi_model::load_str_with_data(model, "locations", "".as_ref(), data)?;
/// assert_eq!(graph.data.num_rows(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`load_str`].
pub fn load_str_with_data(text: &str, name: &str, base: &Path, data: Data) -> Result<Graph, ModelError> {
    let spec = parse_str(text, name)?;
    resolve(&spec, base, Some(data))
}

/// Reads, resolves and checks a model file.
///
/// # Errors
/// Every mistake that was found, with its place; a file that cannot be read; a model without variables.
pub fn load(path: &Path) -> Result<Graph, ModelError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ModelError {
        source: SourceText { name: Arc::from(name.as_str()), text: Arc::from("") },
        diagnostics: vec![
            Diagnostic::new("unreadable-file", format!("cannot read `{name}`: {error}")).help(
                missing_file::help(path, "give the path of a model file")
                    .unwrap_or_else(|| "give the path of a model file".to_owned()),
            ),
        ],
    })?;
    let graph = load_str(&text, &name, path.parent().unwrap_or(Path::new(""))).map_err(|mut error| {
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        for diagnostic in error.diagnostics.iter_mut().filter(|d| d.code == "toml-syntax" && !is_toml) {
            diagnostic.help =
                Some("give a model file, written in TOML: it names its data by `file` in [data]".to_owned());
        }
        error
    })?;
    if graph.variables.is_empty() {
        let nothing =
            Diagnostic::new("no-variables", format!("`{name}` declares no variables, so there is nothing to infer"))
                .help("add a section [variables.NAME] with its distribution for each unknown and each observation");
        return Err(ModelError { source: graph.source, diagnostics: vec![nothing] });
    }
    Ok(graph)
}
