//! Reads the data of a model: the file, inline values, blocks, standardization.

use std::path::Path;

use super::{Reported, Resolver};
use crate::data::{Cells, ColumnId, Data, DataError};
use crate::diagnostic::Diagnostic;
use crate::missing_file;
use crate::registry::nearest;
use crate::spec::{Entry, Value, ValueKind};

/// Constants of `[data.values]`, before their axes are known.
pub(super) enum RawConstant {
    Number(f64),
    Array { axes: Vec<(String, std::ops::Range<usize>)>, shape: Vec<usize>, values: Vec<f64> },
}

impl Resolver<'_> {
    /// Loads everything; the constants are returned by position in `[data.values]`.
    pub(super) fn load_data(&mut self, base: &Path) -> Result<Vec<(usize, RawConstant)>, Reported> {
        let spec = self.spec;
        if let Some(file) = &spec.data.file
            && let Some(name) = file.text()
        {
            let path = base.join(name);
            match Data::from_file(&path) {
                Ok(data) => {
                    if let Err(error) = self.data.append(data) {
                        return Err(self.data_mistake(&error, file.span.clone(), "this file"));
                    }
                }
                Err(error) => return Err(self.file_mistake(&error, file, &path)),
            }
        }
        let mut constants = Vec::new();
        let mut columns = Vec::new();
        let mut failed = false;
        for (index, entry) in spec.data.values.iter().enumerate() {
            match self.inline(entry) {
                Ok(Inline::Constant(constant)) => constants.push((index, constant)),
                Ok(Inline::Column(cells)) => columns.push((entry, cells)),
                Ok(Inline::Block { width, values }) => {
                    if let Err(error) = self.data.add_matrix(&entry.key, width, &values) {
                        failed = true;
                        self.data_mistake(&error, entry.value.span.clone(), "these values");
                    }
                }
                Err(Reported) => failed = true,
            }
        }
        if !columns.is_empty() {
            let span = columns[0].0.value.span.clone();
            let own = columns.into_iter().map(|(entry, cells)| (entry.key.clone(), cells)).collect();
            let combined = Data::from_columns(own).and_then(|data| self.data.append(data));
            if let Err(error) = combined {
                let culprit = match &error {
                    DataError::NumRows { name, .. }
                    | DataError::DuplicateColumn { column: name }
                    | DataError::Infinite { column: name, .. } => Some(name),
                    _ => None,
                };
                let span = culprit
                    .and_then(|name| spec.data.values.iter().find(|e| e.key == *name))
                    .map_or(span, |e| e.value.span.clone());
                return Err(self.data_mistake(&error, span, "these values"));
            }
        }
        if failed {
            return Err(Reported);
        }
        for entry in &spec.data.blocks {
            let columns = self.block_columns(entry)?;
            self.data.add_block(&entry.key, columns);
        }
        if let Some(value) = &spec.data.standardize {
            self.standardize(value)?;
        }
        Ok(constants)
    }

    pub(super) fn data_mistake(&mut self, error: &DataError, span: std::ops::Range<usize>, remark: &str) -> Reported {
        self.report(error.diagnostic().at(span, remark))
    }

    fn file_mistake(&mut self, error: &DataError, file: &Value, path: &Path) -> Reported {
        let mut diagnostic = error.diagnostic().at(file.span.clone(), "this file");
        if let DataError::Read { .. } = error {
            diagnostic.help = missing_file::help(path, "data files are looked for relative to the model file");
        }
        self.report(diagnostic)
    }

    fn inline(&mut self, entry: &Entry) -> Result<Inline, Reported> {
        let value = &entry.value;
        let refuse = |at: &Value, reason: String, help: &str| {
            Diagnostic::new("inline-value", format!("`{}` in [data.values]: {reason}", entry.key))
                .at(at.span.clone(), "here")
                .help(help.to_string())
        };
        const FORMS: &str =
            "write a number, an array (a column), an array of rows (a block), or { axes = [\"…\"], values = […] }";
        match &value.kind {
            ValueKind::Integer(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => {
                let x = value.number().unwrap_or(f64::from(u8::from(value.kind == ValueKind::Boolean(true))));
                if !x.is_finite() {
                    return Err(self.report(refuse(value, format!("the constant is {x}"), "constants must be finite")));
                }
                Ok(Inline::Constant(RawConstant::Number(x)))
            }
            ValueKind::Array(items) if items.first().is_some_and(|i| i.array().is_some()) => match rectangle(value) {
                Ok((width, values)) => Ok(Inline::Block { width, values }),
                Err(at) => {
                    let is_row = items.iter().any(|row| row.span == at.span);
                    let reason = if is_infinite(at) {
                        not_finite(at)
                    } else if is_row {
                        format!("{} stands where a row of as many numbers as in the first row should", describe(at))
                    } else {
                        format!("{} stands where a number should", describe(at))
                    };
                    Err(self.report(refuse(
                        at,
                        reason,
                        "every row of a block has the same number of numbers; nan is a missing one",
                    )))
                }
            },
            ValueKind::Array(items) => match cells(items) {
                Ok(cells) => Ok(Inline::Column(cells)),
                Err(at) => {
                    let (reason, help) = if is_infinite(at) {
                        (not_finite(at), "nan, or the string \"\", is a missing value")
                    } else {
                        let among = if at.text().is_some() { "numbers" } else { "values of another kind" };
                        let reason = format!("{} stands among {among}", describe(at));
                        (reason, "a column holds numbers, booleans or strings, not a mixture")
                    };
                    Err(self.report(refuse(at, reason, help)))
                }
            },
            ValueKind::Table(fields) => {
                let axes = fields.iter().find(|f| f.key == "axes");
                let values = fields.iter().find(|f| f.key == "values");
                let (Some(axes), Some(values)) = (axes, values) else {
                    return Err(self.report(refuse(
                        value,
                        "a constant array needs both `axes` and `values`".into(),
                        FORMS,
                    )));
                };
                let names = axes.value.array().and_then(|items| {
                    items.iter().map(|i| Some((i.text()?.to_string(), i.span.clone()))).collect::<Option<Vec<_>>>()
                });
                let Some(names) = names else {
                    return Err(self.report(refuse(&axes.value, "`axes` must be an array of names".into(), FORMS)));
                };
                match values.value.numbers() {
                    Ok((shape, numbers)) if shape.len() == names.len() => {
                        if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
                            return Err(self.report(refuse(
                                &values.value,
                                format!("the constant contains {bad}"),
                                "constants must be finite",
                            )));
                        }
                        Ok(Inline::Constant(RawConstant::Array { axes: names, shape, values: numbers }))
                    }
                    Ok((shape, _)) => {
                        let reason =
                            format!("`axes` names {} axes but `values` is nested {} deep", names.len(), shape.len());
                        Err(self.report(refuse(
                            &values.value,
                            reason,
                            "give one name per level of nesting, outermost first",
                        )))
                    }
                    Err(at) => {
                        let reason = format!("{} breaks the rectangular shape of `values`", describe(at));
                        Err(self.report(refuse(at, reason, "nested arrays must have equal lengths and hold numbers")))
                    }
                }
            }
            ValueKind::Text(_) | ValueKind::Date(_) => {
                Err(self.report(refuse(value, format!("{} is no value", value.describe()), FORMS)))
            }
        }
    }

    fn block_columns(&mut self, entry: &Entry) -> Result<Vec<ColumnId>, Reported> {
        let patterns: Vec<&Value> = match &entry.value.kind {
            ValueKind::Text(_) => vec![&entry.value],
            ValueKind::Array(items) if !items.is_empty() && items.iter().all(|i| i.text().is_some()) => {
                items.iter().collect()
            }
            _ => {
                let mistake = Diagnostic::new(
                    "wrong-kind",
                    format!("block `{}` must be a pattern or a list of columns", entry.key),
                )
                .at(entry.value.span.clone(), "not a block")
                .help("write \"pixel_*\" or [\"height\", \"width\"]");
                return Err(self.report(mistake));
            }
        };
        let mut columns = Vec::new();
        for pattern in patterns {
            let text = pattern.text().unwrap_or_default();
            let found = self.columns_of(text, pattern, &format!("block `{}`", entry.key))?;
            for column in found {
                if columns.contains(&column) {
                    let mistake = Diagnostic::new(
                        "duplicate-column",
                        format!("block `{}` names the column `{}` twice", entry.key, self.data.column(column).name),
                    )
                    .at(pattern.span.clone(), "again");
                    return Err(self.report(mistake));
                }
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// The column of a name, or those of a pattern with `*`.
    pub(super) fn columns_of(&mut self, text: &str, at: &Value, user: &str) -> Result<Vec<ColumnId>, Reported> {
        if let Some(column) = self.data.column_named(text) {
            return Ok(vec![column]);
        }
        match self.data.columns_matching(text) {
            Ok(found) => Ok(found),
            Err(_) => Err(self.unknown_column(text, at, user)),
        }
    }

    /// Reports a name that is no column.
    pub(super) fn unknown_column(&mut self, text: &str, at: &Value, user: &str) -> Reported {
        let known: Vec<&str> = self.data.columns.iter().map(|c| c.name.as_str()).collect();
        let hint =
            nearest(text, known.iter().copied()).map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
        let shown: Vec<String> = known.iter().take(20).map(|c| format!("`{c}`")).collect();
        let more = if known.len() > 20 { format!(", … ({} in all)", known.len()) } else { String::new() };
        let help = if known.is_empty() {
            "there are no columns: give a `file` or arrays in [data.values]".to_string()
        } else {
            format!("the columns are {}{more}", shown.join(", "))
        };
        let mistake = Diagnostic::new("unknown-column", format!("{user} names `{text}`, which is no column{hint}"))
            .at(at.span.clone(), "no such column")
            .help(help);
        self.report(mistake)
    }

    fn standardize(&mut self, value: &Value) -> Result<(), Reported> {
        let items: Vec<&Value> = match value.array() {
            Some(items) => items.iter().collect(),
            None => vec![value],
        };
        // A column of counts that is none is reported where it is declared.
        let counts = self.spec.data.counts.as_ref().and_then(Value::text).and_then(|text| self.data.column_named(text));
        let counts = counts.filter(|column| self.data.require_numeric(*column).is_ok());
        for item in items {
            let text = item.text().unwrap_or_default();
            let columns = match self.data.block_named(text) {
                Some(block) => self.data.block(block).columns.clone(),
                None => self.columns_of(text, item, "`standardize`")?,
            };
            for column in columns {
                if self.data.column(column).standardization.is_some() {
                    continue;
                }
                if let Err(error) = self.data.standardize(column, counts) {
                    return Err(self.data_mistake(&error, item.span.clone(), "to be standardized"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn counts_column(&mut self) -> Option<ColumnId> {
        let value = self.spec.data.counts.as_ref()?;
        let text = value.text()?;
        let Some(column) = self.data.column_named(text) else {
            self.unknown_column(text, value, "`counts`");
            return None;
        };
        if let Err(error) = self.data.require_numeric(column) {
            self.data_mistake(&error, value.span.clone(), "must be numbers");
        }
        if self.data.column(column).standardization.is_some() {
            let mistake =
                Diagnostic::new("standardized-counts", format!("the column `{text}` of `counts` is standardized"))
                    .at(value.span.clone(), "counts rows")
                    .help("remove it from `standardize`");
            self.report(mistake);
        }
        Some(column)
    }
}

enum Inline {
    Constant(RawConstant),
    Column(Cells),
    Block { width: usize, values: Vec<f64> },
}

fn describe(value: &Value) -> String {
    match &value.kind {
        ValueKind::Text(text) => format!("the string \"{text}\""),
        ValueKind::Integer(i) => i.to_string(),
        ValueKind::Float(x) => x.to_string(),
        ValueKind::Array(items) => format!("an array of {}", items.len()),
        _ => value.describe().to_string(),
    }
}

fn is_infinite(value: &Value) -> bool {
    value.number().is_some_and(f64::is_infinite)
}

fn not_finite(value: &Value) -> String {
    format!("{} is not a finite number", describe(value))
}

/// A number, also from a boolean or a text that stands for a missing value.
fn cell(value: &Value) -> Option<f64> {
    match &value.kind {
        ValueKind::Boolean(b) => Some(f64::from(u8::from(*b))),
        _ => value.number(),
    }
}

fn rectangle(value: &Value) -> Result<(usize, Vec<f64>), &Value> {
    let rows = value.array().unwrap_or_default();
    let width = rows.first().and_then(Value::array).map_or(0, <[Value]>::len);
    let mut values = Vec::with_capacity(rows.len() * width);
    for row in rows {
        let items = row.array().filter(|items| items.len() == width && width > 0).ok_or(row)?;
        for item in items {
            values.push(cell(item).filter(|x| !x.is_infinite()).ok_or(item)?);
        }
    }
    Ok((width, values))
}

fn cells(items: &[Value]) -> Result<Cells, &Value> {
    let text = items.iter().any(|i| i.text().is_some_and(|t| !is_missing(t)));
    if text {
        // Where numbers come first, a later text is the stranger.
        let numbers_first =
            items.iter().find(|i| !i.text().is_some_and(is_missing)).is_some_and(|i| i.text().is_none());
        if let Some(stranger) = items.iter().find(|i| numbers_first && i.text().is_some_and(|t| !is_missing(t))) {
            return Err(stranger);
        }
        return items
            .iter()
            .map(|i| match i.text() {
                Some(t) if is_missing(t) => Ok(None),
                Some(t) => Ok(Some(t.to_string())),
                None if i.number().is_some_and(f64::is_nan) => Ok(None),
                None => Err(i),
            })
            .collect::<Result<_, _>>()
            .map(Cells::Text);
    }
    items
        .iter()
        .map(|i| match i.text() {
            Some(_) => Ok(f64::NAN),
            None => cell(i).filter(|x| !x.is_infinite()).ok_or(i),
        })
        .collect::<Result<_, _>>()
        .map(Cells::Numbers)
}

fn is_missing(text: &str) -> bool {
    matches!(text, "" | "NA" | "NaN" | "nan" | "null")
}
