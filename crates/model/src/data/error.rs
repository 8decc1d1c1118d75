//! What is wrong with the data of a model: which column, which row, which cell, and what to do about it.

use std::fmt;

use crate::diagnostic::Diagnostic;

/// A data row and, where the data come from a text file, its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Data row, counted from 1 (the header is not a row).
    pub row: usize,
    /// Line of the file, counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        Ok(())
    }
}

/// A refusal of data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system says.
        reason: String,
    },
    /// The file's extension is none of those that can be read.
    #[error(
        "`{path}` is of no known format; data files end in .csv, .tsv (or .csv.gz, .tsv.gz), .npy, .npz, .idx or -ubyte (or -ubyte.gz)"
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// The file's content breaks the rules of its format.
    #[error("`{path}`: {reason}")]
    Format {
        /// The file.
        path: String,
        /// Which rule.
        reason: String,
    },
    /// A row with more or fewer cells than the header has names.
    #[error("`{path}`: {place} has {} where the header names {}", counted(*found, "cell"), counted(*expected, "column"))]
    Ragged {
        /// The file.
        path: String,
        /// The row.
        place: Place,
        /// Number of columns of the header.
        expected: usize,
        /// Number of cells of the row.
        found: usize,
    },
    /// Two columns of one name.
    #[error("two columns are named `{column}`; every column needs a name of its own")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A column that does not exist.
    #[error("there is no column `{column}`; the columns are {known}")]
    UnknownColumn {
        /// The name or pattern asked for.
        column: String,
        /// What exists.
        known: String,
    },
    /// Text where a number is needed.
    #[error(
        "column `{column}` is used as numbers, but {place} holds the text `{cell}`; correct the cell, or leave it empty \
         (or NA) where the value is missing"
    )]
    NotANumber {
        /// The column.
        column: String,
        /// The text of the first such cell.
        cell: String,
        /// Where it stands.
        place: Place,
    },
    /// A number without bounds.
    #[error(
        "column `{column}` holds `{cell}` in {place}; numbers must be finite, and a missing value is an empty cell or NA"
    )]
    Infinite {
        /// The column.
        column: String,
        /// The text of the cell.
        cell: String,
        /// Where it stands.
        place: Place,
    },
    /// A column that cannot be scaled to unit standard deviation.
    #[error("column `{column}` cannot be standardized: {reason}")]
    NotStandardizable {
        /// The column.
        column: String,
        /// Why not.
        reason: String,
    },
    /// A value that is no position of an axis.
    #[error(
        "column `{column}` holds `{value}` in {place}, which is not an element of `{axis}`; its elements are {known}"
    )]
    NotOnAxis {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// Where it stands.
        place: Place,
        /// Name of the axis.
        axis: String,
        /// The axis' elements, shortened.
        known: String,
    },
    /// Columns of unequal length.
    #[error(
        "`{name}` has {found} rows where `{other}` has {expected}; columns must be of equal length \
         (a constant array is written {{ axes = [\"…\"], values = […] }})"
    )]
    NumRows {
        /// The column or block that does not fit.
        name: String,
        /// Its number of rows.
        found: usize,
        /// What it is compared with.
        other: String,
        /// Number of rows of that.
        expected: usize,
    },
    /// An inline value that is not one of the allowed forms.
    #[error("`{name}` in [data.values]: {reason}")]
    Inline {
        /// Name of the value.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An expression that is not a function of data alone, where data are needed.
    #[error("this expression cannot be computed from data alone: {reason}")]
    NotData {
        /// What it depends on.
        reason: String,
    },
}

impl DataError {
    /// Stable kebab-case name of the kind of mistake.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "data-unreadable",
            Self::UnknownFormat { .. } | Self::Format { .. } => "data-format",
            Self::Ragged { .. } => "ragged-row",
            Self::DuplicateColumn { .. } => "duplicate-column",
            Self::UnknownColumn { .. } => "unknown-column",
            Self::NotANumber { .. } => "not-a-number",
            Self::Infinite { .. } => "infinite-number",
            Self::NotStandardizable { .. } => "not-standardizable",
            Self::NotOnAxis { .. } => "unknown-level",
            Self::NumRows { .. } => "unequal-length",
            Self::Inline { .. } => "inline-value",
            Self::NotData { .. } => "not-data",
        }
    }

    /// The same as a diagnostic, without a place in the model file.
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::new(self.code(), self.to_string());
        match self {
            Self::NotANumber { column, .. } => diagnostic.help(format!(
                "where `{column}` names groups, give them a plate, GROUP = {{ levels = \"{column}\" }}: a[{column}] then takes each \
                 row's element of a variable with that plate, and a categorical variable can observe it"
            )),
            _ => diagnostic,
        }
    }
}

/// The first few of `names`, quoted, and how many there are beyond them.
pub(crate) fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        text.push_str("none");
    } else if names.len() > SHOWN {
        text.push_str(&format!(", … ({} in all)", names.len()));
    }
    text
}

/// `1 cell`, `2 cells`.
fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
