//! TOML values with the place of every key and value.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Bytes of the source text (empty for values built in code).
    pub span: Range<usize>,
}

/// The kinds of TOML values.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ValueKind {
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Text(String),
    Array(Vec<Value>),
    Table(Vec<Entry>),
    Date(String),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Bytes of the key in the source text.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Value,
}

impl Value {
    /// A value built in code.
    pub fn new(kind: ValueKind) -> Self {
        Self { kind, span: 0..0 }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self.kind {
            ValueKind::Integer(i) => Some(i as f64),
            ValueKind::Float(x) => Some(x),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn array(&self) -> Option<&[Value]> {
        match &self.kind {
            ValueKind::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a table.
    pub fn table(&self) -> Option<&[Entry]> {
        match &self.kind {
            ValueKind::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            ValueKind::Integer(_) => "an integer",
            ValueKind::Float(_) => "a number",
            ValueKind::Boolean(_) => "a boolean",
            ValueKind::Text(_) => "a string",
            ValueKind::Array(_) => "an array",
            ValueKind::Table(_) => "a table",
            ValueKind::Date(_) => "a date",
        }
    }

    /// A value built in code from one of the `toml` crate.
    pub fn from_toml(value: &toml::Value) -> Self {
        Self::new(match value {
            toml::Value::Integer(i) => ValueKind::Integer(*i),
            toml::Value::Float(x) => ValueKind::Float(*x),
            toml::Value::Boolean(b) => ValueKind::Boolean(*b),
            toml::Value::String(text) => ValueKind::Text(text.clone()),
            toml::Value::Datetime(date) => ValueKind::Date(date.to_string()),
            toml::Value::Array(items) => ValueKind::Array(items.iter().map(Self::from_toml).collect()),
            toml::Value::Table(table) => ValueKind::Table(
                table
                    .iter()
                    .map(|(key, value)| Entry { key: key.clone(), key_span: 0..0, value: Self::from_toml(value) })
                    .collect(),
            ),
        })
    }

    /// The value without places, as `toml` holds it.
    pub fn to_toml(&self) -> toml::Value {
        match &self.kind {
            ValueKind::Integer(i) => toml::Value::Integer(*i),
            ValueKind::Float(x) => toml::Value::Float(*x),
            ValueKind::Boolean(b) => toml::Value::Boolean(*b),
            ValueKind::Text(text) | ValueKind::Date(text) => toml::Value::String(text.clone()),
            ValueKind::Array(items) => toml::Value::Array(items.iter().map(Value::to_toml).collect()),
            ValueKind::Table(entries) => {
                toml::Value::Table(entries.iter().map(|e| (e.key.clone(), e.value.to_toml())).collect())
            }
        }
    }

    /// A rectangular array of numbers as `(shape, row-major values)`; a number has the empty shape.
    ///
    /// # Errors
    /// The first element that is not a number, or whose nesting or length differs from its neighbours'.
    pub fn numbers(&self) -> Result<(Vec<usize>, Vec<f64>), &Value> {
        fn walk<'v>(
            value: &'v Value,
            depth: usize,
            shape: &mut Vec<usize>,
            known: &mut bool,
            out: &mut Vec<f64>,
        ) -> Result<(), &'v Value> {
            if let Some(x) = value.number() {
                if *known && depth != shape.len() {
                    return Err(value);
                }
                *known = true;
                out.push(x);
                return Ok(());
            }
            let items = value.array().ok_or(value)?;
            if *known {
                if shape.get(depth) != Some(&items.len()) {
                    return Err(value);
                }
            } else if depth == shape.len() {
                shape.push(items.len());
            } else if shape[depth] != items.len() {
                return Err(value);
            }
            if items.is_empty() {
                return Err(value);
            }
            items.iter().try_for_each(|item| walk(item, depth + 1, shape, known, out))
        }
        let (mut shape, mut values, mut known) = (Vec::new(), Vec::new(), false);
        walk(self, 0, &mut shape, &mut known, &mut values)?;
        Ok((shape, values))
    }
}

/// Parses TOML text into entries in the order of the file.
///
/// # Errors
/// What the TOML parser says, with its place.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Vec<Diagnostic>> {
    let table = DeTable::parse(text).map_err(|error| {
        let diagnostic = Diagnostic::new("toml-syntax", format!("not valid TOML: {}", error.message().trim_end()));
        vec![match error.span() {
            Some(span) => diagnostic.at(span, "here"),
            None => diagnostic,
        }]
    })?;
    let mut mistakes = Vec::new();
    let entries = convert_table(table.get_ref(), &mut mistakes);
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

fn convert_table(table: &DeTable<'_>, mistakes: &mut Vec<Diagnostic>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            value: convert(value.get_ref(), value.span(), mistakes),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    entries
}

fn convert(value: &DeValue<'_>, span: Range<usize>, mistakes: &mut Vec<Diagnostic>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::Text(text.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => ValueKind::Integer(i),
            Err(_) => {
                mistakes.push(
                    Diagnostic::new("number-range", format!("the integer {i} does not fit 64 bits"))
                        .at(span.clone(), "too large")
                        .help("write it with a decimal point"),
                );
                ValueKind::Integer(0)
            }
        },
        DeValue::Float(x) => match x.as_str().parse::<f64>() {
            Ok(x) => ValueKind::Float(x),
            Err(_) => {
                mistakes.push(
                    Diagnostic::new("number-range", format!("{x} is not a number")).at(span.clone(), "not a number"),
                );
                ValueKind::Float(f64::NAN)
            }
        },
        DeValue::Boolean(b) => ValueKind::Boolean(*b),
        DeValue::Datetime(date) => ValueKind::Date(date.to_string()),
        DeValue::Array(items) => {
            ValueKind::Array(items.iter().map(|item| convert(item.get_ref(), item.span(), mistakes)).collect())
        }
        DeValue::Table(table) => ValueKind::Table(convert_table(table, mistakes)),
    };
    Value { kind, span }
}
