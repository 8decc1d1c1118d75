//! A model as written: sections, keys and values with their places, before anything is looked up.

mod read;
pub(crate) mod value;

pub use value::{Entry, Value, ValueKind};

use std::ops::Range;

use crate::diagnostic::SourceText;

pub(crate) use read::{PLATE_FORMS, assemble, read};

/// `[data]` as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataSpec {
    /// `file`.
    pub file: Option<Value>,
    /// `counts`.
    pub counts: Option<Value>,
    /// `standardize`.
    pub standardize: Option<Value>,
    /// `[data.blocks]`.
    pub blocks: Vec<Entry>,
    /// `[data.values]`.
    pub values: Vec<Entry>,
}

/// A variable as written.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableSpec {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Range<usize>,
    /// Its keys.
    pub keys: Vec<Entry>,
}

impl VariableSpec {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.iter().find(|e| e.key == key).map(|e| &e.value)
    }
}

/// A network as written.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Range<usize>,
    /// Its keys.
    pub keys: Vec<Entry>,
}

/// A model as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    /// The text that places refer to.
    pub source: SourceText,
    /// `title`.
    pub title: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `[data]`.
    pub data: DataSpec,
    /// `[plates]`, in the order of the file.
    pub plates: Vec<Entry>,
    /// `[variables]`, in the order of the file.
    pub variables: Vec<VariableSpec>,
    /// `[expressions]`, in the order of the file.
    pub expressions: Vec<Entry>,
    /// `[networks]`, in the order of the file.
    pub networks: Vec<NetworkSpec>,
    /// `[inference]`.
    pub inference: Vec<Entry>,
}
