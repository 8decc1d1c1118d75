//! Models built in code, without TOML: the same keys, the same checks.

use std::path::Path;

use crate::data::{Cells, Data, DataError};
use crate::diagnostic::{Diagnostic, ModelError, SourceText};
use crate::graph::Graph;
use crate::resolve::resolve;
use crate::spec::{Entry, Value, ValueKind, assemble};

/// A model under construction.
///
/// Keys and values are those of the model language, so that its reference documentation serves both. Mistakes are
/// reported by [`ModelBuilder::build`].
///
/// ```
/// use vi_model::{ModelBuilder, VariableBuilder};
///
/// let graph = ModelBuilder::new()
///     .column("reading", vec![4.5, 1.5, 3.0])
///     .plate("observation", "rows")
///     .variable("mu", VariableBuilder::new("normal").set("mean", 0.0).set("precision", 0.01))
///     .variable(
///         "y",
///         VariableBuilder::new("normal")
///             .plates(["observation"])
///             .set("mean", "mu")
///             .set("sd", 1.0)
///             .observed("reading"),
///     )
///     .build()?;
/// assert_eq!(graph.data.num_rows(), 3);
/// # Ok::<(), vi_model::diagnostic::ModelError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ModelBuilder {
    data: Data,
    failures: Vec<DataError>,
    columns: Vec<(String, Cells)>,
    matrices: Vec<(String, usize, Vec<f64>)>,
    sections: Vec<(&'static str, Vec<Entry>)>,
    top: Vec<Entry>,
}

/// A variable under construction.
#[derive(Debug, Clone)]
pub struct VariableBuilder {
    keys: Vec<Entry>,
}

fn entry(key: impl Into<String>, value: impl Into<Value>) -> Entry {
    Entry { key: key.into(), key_span: 0..0, value: value.into() }
}

impl VariableBuilder {
    /// A variable of the distribution of that name.
    pub fn new(distribution: &str) -> Self {
        Self { keys: vec![entry("distribution", distribution)] }
    }

    /// Axes along which it is replicated.
    pub fn plates<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        self.set("plates", names)
    }

    /// What is observed of it: a column, a block or an expression of data.
    pub fn observed(self, data: impl Into<Value>) -> Self {
        self.set("observed", data)
    }

    /// Sets a key: a parameter of the distribution, `dimension`, `initial`, `point`, …
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.push(entry(key, value));
        self
    }
}

impl ModelBuilder {
    /// An empty model.
    pub fn new() -> Self {
        Self::default()
    }

    /// `title`.
    pub fn title(mut self, text: &str) -> Self {
        self.top.push(entry("title", text));
        self
    }

    /// Rows that are already loaded or mapped.
    pub fn data(mut self, data: Data) -> Self {
        if let Err(error) = self.data.append(data) {
            self.failures.push(error);
        }
        self
    }

    /// A column of numbers, NaN where missing.
    pub fn column(mut self, name: &str, values: Vec<f64>) -> Self {
        self.columns.push((name.to_string(), Cells::Numbers(values)));
        self
    }

    /// A column of text, `None` where missing.
    pub fn text_column(mut self, name: &str, values: Vec<Option<String>>) -> Self {
        self.columns.push((name.to_string(), Cells::Text(values)));
        self
    }

    /// A block of numbers, `[num_rows, num_columns]` row-major, NaN where missing.
    pub fn matrix(mut self, name: &str, num_columns: usize, values: Vec<f64>) -> Self {
        self.matrices.push((name.to_string(), num_columns, values));
        self
    }

    /// Several columns under one name: a list of headers, or a pattern in which `*` stands for any text.
    pub fn block(self, name: &str, columns: impl Into<Value>) -> Self {
        self.data_table("blocks", entry(name, columns))
    }

    /// A constant number.
    pub fn constant(self, name: &str, value: f64) -> Self {
        self.data_table("values", entry(name, value))
    }

    /// A constant array with named axes, outermost first.
    pub fn constant_array<'n>(
        self,
        name: &str,
        axes: impl IntoIterator<Item = &'n str>,
        values: impl Into<Value>,
    ) -> Self {
        let axes: Vec<&str> = axes.into_iter().collect();
        let table = ValueKind::Table(vec![entry("axes", axes), entry("values", values)]);
        self.data_table("values", entry(name, Value::new(table)))
    }

    /// A key of `[data]`: `file`, `counts`, `standardize`.
    pub fn data_key(self, key: &str, value: impl Into<Value>) -> Self {
        self.section("data", entry(key, value))
    }

    /// A plate: `"rows"` or a number of elements.
    pub fn plate(self, name: &str, value: impl Into<Value>) -> Self {
        self.section("plates", entry(name, value))
    }

    /// A plate with one element per distinct value of a column.
    pub fn plate_of_levels(self, name: &str, column: &str) -> Self {
        let table = ValueKind::Table(vec![entry("levels", column)]);
        self.plate(name, Value::new(table))
    }

    /// A plate with one element per column of a block.
    pub fn plate_of_columns(self, name: &str, block: &str) -> Self {
        let table = ValueKind::Table(vec![entry("columns", block)]);
        self.plate(name, Value::new(table))
    }

    /// A random variable.
    pub fn variable(self, name: &str, variable: VariableBuilder) -> Self {
        self.section("variables", entry(name, Value::new(ValueKind::Table(variable.keys))))
    }

    /// A named expression.
    pub fn expression(self, name: &str, expression: &str) -> Self {
        self.section("expressions", entry(name, expression))
    }

    /// A network with its keys (`layers`, `activation`, `linear`, …).
    pub fn network<'n>(self, name: &str, keys: impl IntoIterator<Item = (&'n str, Value)>) -> Self {
        let keys = keys.into_iter().map(|(key, value)| entry(key, value)).collect();
        self.section("networks", entry(name, Value::new(ValueKind::Table(keys))))
    }

    /// A key of `[inference]`.
    pub fn inference(self, key: &str, value: impl Into<Value>) -> Self {
        self.section("inference", entry(key, value))
    }

    /// Resolves and checks the model; relative paths start at the current folder.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn build(self) -> Result<Graph, ModelError> {
        let source = SourceText { name: "<model>".into(), text: "".into() };
        let refuse = |diagnostics: Vec<Diagnostic>| ModelError {
            source: source.clone(),
            diagnostics: diagnostics
                .into_iter()
                .map(|mut d| {
                    d.labels.clear();
                    d
                })
                .collect(),
        };
        let Self { mut data, mut failures, columns, matrices, sections, mut top } = self;
        if !columns.is_empty()
            && let Err(error) = Data::from_columns(columns).and_then(|own| data.append(own))
        {
            failures.push(error);
        }
        for (name, width, values) in &matrices {
            if let Err(error) = data.add_matrix(name, *width, values) {
                failures.push(error);
            }
        }
        if !failures.is_empty() {
            return Err(refuse(failures.iter().map(DataError::diagnostic).collect()));
        }
        top.extend(sections.into_iter().map(|(name, entries)| entry(name, Value::new(ValueKind::Table(entries)))));
        for (index, one) in top.iter().enumerate() {
            if let Some(twice) = repeated(one, &top[..index]) {
                return Err(refuse(vec![twice]));
            }
        }
        let spec = assemble(top, source.clone()).map_err(&refuse)?;
        resolve(&spec, Path::new(""), Some(data))
    }

    fn section(mut self, name: &'static str, entry: Entry) -> Self {
        match self.sections.iter_mut().find(|(n, _)| *n == name) {
            Some((_, entries)) => entries.push(entry),
            None => self.sections.push((name, vec![entry])),
        }
        self
    }

    fn data_table(mut self, table: &'static str, new: Entry) -> Self {
        let found = self
            .sections
            .iter_mut()
            .find(|(n, _)| *n == "data")
            .and_then(|(_, entries)| entries.iter_mut().find(|e| e.key == table));
        match found {
            Some(Entry { value: Value { kind: ValueKind::Table(entries), .. }, .. }) => {
                entries.push(new);
                self
            }
            _ => self.section("data", entry(table, Value::new(ValueKind::Table(vec![new])))),
        }
    }
}

/// The mistake of a key that was set before, at this level or below; TOML refuses it by itself.
fn repeated(one: &Entry, before: &[Entry]) -> Option<Diagnostic> {
    if before.iter().any(|other| other.key == one.key) {
        return Some(Diagnostic::new("repeated-key", format!("`{}` is set twice", one.key)).help("set each key once"));
    }
    let inner = one.value.table()?;
    inner.iter().enumerate().find_map(|(index, entry)| repeated(entry, &inner[..index]))
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::new(ValueKind::Float(x))
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Self::new(ValueKind::Integer(i))
    }
}

impl From<i32> for Value {
    fn from(i: i32) -> Self {
        Self::new(ValueKind::Integer(i.into()))
    }
}

impl From<usize> for Value {
    fn from(i: usize) -> Self {
        Self::new(i64::try_from(i).map_or(ValueKind::Float(i as f64), ValueKind::Integer))
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::new(ValueKind::Boolean(b))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::new(ValueKind::Text(text.to_string()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::new(ValueKind::Text(text))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::new(ValueKind::Array(items.into_iter().map(Into::into).collect()))
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::new(ValueKind::Array(items.into_iter().map(Into::into).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eight_schools() -> ModelBuilder {
        let effects = vec![28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0];
        let names = "ABCDEFGH".chars().map(|c| Some(c.to_string())).collect();
        ModelBuilder::new()
            .column("effect", effects)
            .text_column("school", names)
            .constant("tau", 5.0)
            .plate("observation", "rows")
            .plate_of_levels("school", "school")
            .variable("theta", VariableBuilder::new("normal").plates(["school"]).set("mean", 0.0).set("sd", "tau"))
            .variable(
                "y",
                VariableBuilder::new("normal")
                    .plates(["observation"])
                    .set("mean", "theta[school]")
                    .set("sd", 10.0)
                    .observed("effect"),
            )
            .inference("seed", 3)
    }

    #[test]
    fn builds_what_the_language_would() {
        let graph = eight_schools().build().expect("a valid model");
        assert_eq!(graph.inference.seed, Some(3));
        assert_eq!(graph.variables[0].plates.len(), 1);
        assert_eq!(graph.axis(graph.variables[0].plates[0]).size, 8);
    }

    #[test]
    fn mistakes_come_without_places() {
        let error = eight_schools()
            .variable("z", VariableBuilder::new("normal").set("mean", 0.0).set("sdd", 1.0))
            .build()
            .expect_err("misspelt");
        assert!(error.diagnostics[0].message.contains("`sd`"), "{error}");
        assert!(error.diagnostics.iter().all(|d| d.labels.is_empty()));
        let twice = eight_schools().inference("seed", 4).build().expect_err("twice");
        assert!(twice.to_string().contains("`seed` is set twice"));
    }
}
