//! TOML text to a [`Spec`], every key known and every value of the right kind.

use super::value::{Entry, Value, ValueKind, parse};
use super::{DataSpec, NetworkSpec, Spec, VariableSpec};
use crate::check::{keys, kinds};
use crate::diagnostic::{Diagnostic, SourceText};
use crate::registry;

/// Reads a model file's text.
///
/// # Errors
/// Syntax mistakes, unknown keys and values of the wrong kind; all that are found.
pub(crate) fn read(source: SourceText) -> Result<Spec, Vec<Diagnostic>> {
    let entries = parse(&source.text)?;
    assemble(entries, source)
}

/// Sorts the top level's entries into a specification.
///
/// # Errors
/// Unknown keys and values of the wrong kind; all that are found.
pub(crate) fn assemble(entries: Vec<Entry>, source: SourceText) -> Result<Spec, Vec<Diagnostic>> {
    let mut spec = Spec { source, ..Spec::default() };
    let mut mistakes = Vec::new();
    keys::check(&entries, &[registry::TOP.keys], "the model file", &mut mistakes);
    for entry in entries {
        let Some(key) = registry::TOP.keys.iter().find(|k| k.name == entry.key) else {
            continue;
        };
        if let Err(mistake) = kinds::check(&entry, key, "the model file") {
            mistakes.push(mistake);
            continue;
        }
        match (entry.key.as_str(), entry.value.kind) {
            ("title", ValueKind::Text(text)) => spec.title = Some(text),
            ("description", ValueKind::Text(text)) => spec.description = Some(text),
            ("data", ValueKind::Table(entries)) => spec.data = data(entries, &mut mistakes),
            ("plates", ValueKind::Table(entries)) => {
                for entry in &entries {
                    plate(entry, &mut mistakes);
                }
                spec.plates = entries;
            }
            ("variables", ValueKind::Table(entries)) => {
                spec.variables = entries.into_iter().filter_map(|entry| variable(entry, &mut mistakes)).collect();
            }
            ("expressions", ValueKind::Table(entries)) => spec.expressions = entries,
            ("networks", ValueKind::Table(entries)) => {
                spec.networks = entries.into_iter().filter_map(|entry| network(entry, &mut mistakes)).collect();
            }
            ("inference", ValueKind::Table(entries)) => {
                inference(&entries, &mut mistakes);
                spec.inference = entries;
            }
            _ => {}
        }
    }
    if mistakes.is_empty() { Ok(spec) } else { Err(mistakes) }
}

fn data(entries: Vec<Entry>, mistakes: &mut Vec<Diagnostic>) -> DataSpec {
    keys::check(&entries, &[registry::DATA.keys], "[data]", mistakes);
    let mut spec = DataSpec::default();
    for entry in entries {
        let Some(key) = registry::DATA.keys.iter().find(|k| k.name == entry.key) else {
            continue;
        };
        // A block may be standardized by its bare name.
        let lone_name = entry.key == "standardize" && entry.value.text().is_some();
        if !lone_name && let Err(mistake) = kinds::check(&entry, key, "[data]") {
            mistakes.push(mistake);
            continue;
        }
        match (entry.key.as_str(), &entry.value.kind) {
            ("file", _) => spec.file = Some(entry.value),
            ("counts", _) => spec.counts = Some(entry.value),
            ("standardize", _) => spec.standardize = Some(entry.value),
            ("blocks", ValueKind::Table(blocks)) => spec.blocks = blocks.clone(),
            ("values", ValueKind::Table(values)) => spec.values = values.clone(),
            _ => {}
        }
    }
    for entry in &spec.values {
        if let ValueKind::Table(fields) = &entry.value.kind {
            let section = format!("the constant `{}` of [data.values]", entry.key);
            keys::check(fields, &[registry::CONSTANT.keys], &section, mistakes);
        }
    }
    spec
}

fn plate(entry: &Entry, mistakes: &mut Vec<Diagnostic>) {
    let section = format!("the plate `{}`", entry.key);
    match &entry.value.kind {
        ValueKind::Table(fields) => keys::check(fields, &[registry::PLATE.keys], &section, mistakes),
        ValueKind::Integer(_) | ValueKind::Text(_) => {}
        _ => mistakes.push(
            Diagnostic::new("plate-form", format!("{section} is {}", entry.value.describe()))
                .at(entry.value.span.clone(), "not a plate")
                .help(PLATE_FORMS),
        ),
    }
}

/// How a plate is written.
pub(crate) const PLATE_FORMS: &str =
    "write \"rows\", a positive integer, { levels = \"COLUMN\" } or { columns = \"BLOCK\" }";

fn table_of(entry: Entry, what: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Entry> {
    if entry.value.table().is_some() {
        return Some(entry);
    }
    mistakes.push(
        Diagnostic::new("wrong-kind", format!("{what} `{}` is {}, not a table", entry.key, entry.value.describe()))
            .at(entry.value.span.clone(), "expected a table")
            .help(format!("write a section [{what}s.{}]", entry.key)),
    );
    None
}

fn variable(entry: Entry, mistakes: &mut Vec<Diagnostic>) -> Option<VariableSpec> {
    let entry = table_of(entry, "variable", mistakes)?;
    let ValueKind::Table(fields) = entry.value.kind else {
        return None;
    };
    let spec = VariableSpec { name: entry.key, span: entry.key_span, keys: fields };
    crate::check::distribution::check(&spec, mistakes);
    Some(spec)
}

fn network(entry: Entry, mistakes: &mut Vec<Diagnostic>) -> Option<NetworkSpec> {
    let entry = table_of(entry, "network", mistakes)?;
    let ValueKind::Table(fields) = entry.value.kind else {
        return None;
    };
    let section = format!("network `{}`", entry.key);
    keys::check(&fields, &[registry::NETWORK.keys], &section, mistakes);
    for field in &fields {
        if let Some(key) = registry::NETWORK.keys.iter().find(|k| k.name == field.key)
            && let Err(mistake) = kinds::check(field, key, &section)
        {
            mistakes.push(mistake);
        }
    }
    Some(NetworkSpec { name: entry.key, span: entry.key_span, keys: fields })
}

fn inference(entries: &[Entry], mistakes: &mut Vec<Diagnostic>) {
    let known = [registry::INFERENCE.keys, registry::INFERENCE_OPTIONS.keys];
    keys::check(entries, &known, "[inference]", mistakes);
    for entry in entries {
        if let Some(key) = known.iter().flat_map(|k| k.iter()).find(|k| k.name == entry.key)
            && let Err(mistake) = kinds::check(entry, key, "[inference]")
        {
            mistakes.push(mistake);
        }
    }
}

impl Value {
    /// The texts of an array of strings.
    pub(crate) fn texts(&self) -> Option<Vec<&str>> {
        self.array()?.iter().map(Value::text).collect()
    }
}
