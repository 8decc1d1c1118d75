//! A column of text cells while it is read: numbers, booleans or text, found out from the cells themselves.

use super::MISSING_CODE;
use super::memory::Interner;

/// The number that a cell holds, surrounding blanks ignored; `None` for text and for missing cells.
pub(super) fn parse_number(cell: &[u8]) -> Option<f64> {
    fast_float2::parse::<f64, _>(cell.trim_ascii()).ok().filter(|value| !value.is_nan())
}

fn is_missing(cell: &[u8]) -> bool {
    matches!(cell, b"" | b"NA" | b"NaN" | b"nan" | b"NAN" | b"null" | b"NULL" | b"Null")
}

fn parse_boolean(cell: &[u8]) -> Option<f64> {
    match cell {
        b"true" | b"True" | b"TRUE" => Some(1.0),
        b"false" | b"False" | b"FALSE" => Some(0.0),
        _ => None,
    }
}

/// A column while it is read.
#[derive(Debug)]
pub(super) enum Growing {
    /// Only missing cells so far.
    Empty,
    /// Numbers so far, and the first infinite one.
    Numbers { values: Vec<f64>, infinite: Option<usize> },
    /// Booleans so far.
    Booleans(Vec<f64>),
    /// Text from the first cell that is not missing on.
    Text(Interned),
    /// Text, but the cells before the first text were read as numbers: a second pass reads it as text.
    LateText,
}

impl Growing {
    /// Adds the cell of row `row`, of which there are as many as were added before.
    pub(super) fn push(&mut self, row: usize, cell: &[u8]) -> Result<(), std::str::Utf8Error> {
        let cell = cell.trim_ascii();
        match self {
            Self::Numbers { values, infinite } => {
                if let Some(value) = parse_number(cell) {
                    if value.is_infinite() && infinite.is_none() {
                        *infinite = Some(row);
                    }
                    values.push(value);
                } else if is_missing(cell) {
                    values.push(f64::NAN);
                } else {
                    *self = Self::LateText;
                }
            }
            Self::Booleans(values) => {
                if let Some(value) = parse_boolean(cell) {
                    values.push(value);
                } else if is_missing(cell) {
                    values.push(f64::NAN);
                } else {
                    *self = Self::LateText;
                }
            }
            Self::Text(text) => text.codes.push(text_code(cell, &mut text.interner)?),
            Self::LateText => {}
            Self::Empty => {
                if is_missing(cell) {
                    return Ok(());
                }
                *self = if parse_number(cell).is_some() {
                    Self::Numbers { values: vec![f64::NAN; row], infinite: None }
                } else if parse_boolean(cell).is_some() {
                    Self::Booleans(vec![f64::NAN; row])
                } else {
                    Self::Text(Interned { codes: vec![MISSING_CODE; row], interner: Interner::default() })
                };
                self.push(row, cell)?;
            }
        }
        Ok(())
    }

    /// One column from its parts, each with its number of rows; `None` where they are of different kinds.
    pub(super) fn joined(parts: Vec<(usize, Self)>) -> Option<Self> {
        let num_rows = parts.iter().map(|(rows, _)| rows).sum();
        let mut joined = Self::Empty;
        let mut row = 0;
        for (rows, part) in parts {
            match (&mut joined, part) {
                (Self::Empty, Self::Empty) => {}
                (_, Self::LateText) => return None,
                (Self::Empty, mut part) => {
                    part.reserve_front(row, num_rows);
                    joined = part;
                }
                (Self::Numbers { values, .. } | Self::Booleans(values), Self::Empty) => {
                    values.resize(row + rows, f64::NAN);
                }
                (Self::Text(text), Self::Empty) => text.codes.resize(row + rows, MISSING_CODE),
                (Self::Numbers { values, infinite }, Self::Numbers { values: more, infinite: later }) => {
                    *infinite = infinite.or(later.map(|place| place + row));
                    values.extend_from_slice(&more);
                }
                (Self::Booleans(values), Self::Booleans(more)) => values.extend_from_slice(&more),
                (Self::Text(text), Self::Text(more)) => text.extend(&more),
                _ => return None,
            }
            row += rows;
        }
        Some(joined)
    }

    /// Puts `missing` missing cells before those of this column, with room for `num_rows` in all.
    fn reserve_front(&mut self, missing: usize, num_rows: usize) {
        match self {
            Self::Numbers { values, infinite } => {
                *infinite = infinite.map(|place| place + missing);
                *values = grown(f64::NAN, missing, values, num_rows);
            }
            Self::Booleans(values) => *values = grown(f64::NAN, missing, values, num_rows),
            Self::Text(text) => text.codes = grown(MISSING_CODE, missing, &text.codes, num_rows),
            Self::Empty | Self::LateText => {}
        }
    }
}

/// `missing` times `cell`, then `cells`, with room for `capacity`.
fn grown<T: Copy>(cell: T, missing: usize, cells: &[T], capacity: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(capacity.max(missing + cells.len()));
    values.resize(missing, cell);
    values.extend_from_slice(cells);
    values
}

/// Texts as positions among the distinct ones.
#[derive(Debug, Default)]
pub(super) struct Interned {
    /// [`MISSING_CODE`] where missing.
    pub(super) codes: Vec<u32>,
    pub(super) interner: Interner,
}

impl Interned {
    /// Appends the texts of `more`.
    fn extend(&mut self, more: &Self) {
        let codes: Vec<u32> = more.interner.levels.iter().map(|text| self.interner.code(text)).collect();
        let code = |code: &u32| codes.get(*code as usize).copied().unwrap_or(MISSING_CODE);
        self.codes.extend(more.codes.iter().map(code));
    }
}

pub(super) fn text_code(cell: &[u8], interner: &mut Interner) -> Result<u32, std::str::Utf8Error> {
    if is_missing(cell) {
        return Ok(MISSING_CODE);
    }
    Ok(interner.code(std::str::from_utf8(cell)?))
}
