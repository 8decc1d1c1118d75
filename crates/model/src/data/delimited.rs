//! Comma- and tab-separated text: quoted fields, numbers, booleans, text and missing cells.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};

use super::memory::{Interner, MemoryColumn, MemorySource};
use super::{Column, ColumnKind, Data, DataError, MISSING_CODE, Place};

/// Bytes read from the file at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads a delimited file whose first line names the columns.
pub(super) fn read_file(path: &Path, delimiter: u8) -> Result<Data, DataError> {
    let name = path.display().to_string();
    read(&name, delimiter, || {
        File::open(path).map_err(|error| DataError::Read { path: name.clone(), reason: error.to_string() })
    })
}

/// Reads delimited text in memory; `name` stands for the file in messages.
pub(super) fn read_text(text: &[u8], delimiter: u8, name: &str) -> Result<Data, DataError> {
    read(name, delimiter, || Ok(text))
}

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
enum Growing {
    /// Only missing cells so far.
    Empty,
    /// Numbers so far, and the first infinite one.
    Numbers { values: Vec<f64>, infinite: Option<usize> },
    /// Booleans so far.
    Booleans(Vec<f64>),
    /// Text from the first cell that is not missing on.
    Text { codes: Vec<u32>, interner: Interner },
    /// Text, but the cells before the first text were read as numbers: a second pass reads it as text.
    LateText,
}

impl Growing {
    fn push(&mut self, row: usize, cell: &[u8]) -> Result<(), std::str::Utf8Error> {
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
            Self::Text { codes, interner } => codes.push(text_code(cell, interner)?),
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
                    Self::Text { codes: vec![MISSING_CODE; row], interner: Interner::default() }
                };
                self.push(row, cell)?;
            }
        }
        Ok(())
    }
}

fn text_code(cell: &[u8], interner: &mut Interner) -> Result<u32, std::str::Utf8Error> {
    if is_missing(cell) {
        return Ok(MISSING_CODE);
    }
    Ok(interner.code(std::str::from_utf8(cell)?))
}

fn read<R: Read>(path: &str, delimiter: u8, open: impl Fn() -> Result<R, DataError>) -> Result<Data, DataError> {
    let new_reader =
        || Ok(ReaderBuilder::new().delimiter(delimiter).buffer_capacity(BUFFER_BYTES).from_reader(open()?));
    let mut reader = new_reader()?;
    let names = header(path, &mut reader)?;
    let mut growing: Vec<Growing> = names.iter().map(|_| Growing::Empty).collect();
    let mut line_offsets: Vec<(usize, usize)> = Vec::new();
    let mut num_rows = 0;
    let mut record = ByteRecord::new();
    while read_record(path, &mut reader, &mut record, num_rows)? {
        if let Some(position) = record.position() {
            let offset = (position.line() as usize).saturating_sub(num_rows);
            if line_offsets.last().is_none_or(|(_, last)| *last != offset) {
                line_offsets.push((num_rows, offset));
            }
        }
        for (column, cell) in growing.iter_mut().zip(&record) {
            column.push(num_rows, cell).map_err(|error| not_utf8(path, &record, error))?;
        }
        num_rows += 1;
    }
    reread_late_text(path, &mut growing, new_reader)?;

    let mut source = MemorySource { columns: Vec::with_capacity(names.len()), num_rows, line_offsets };
    let mut columns = Vec::with_capacity(names.len());
    let mut infinite_cells = Vec::new();
    for (name, column) in names.into_iter().zip(growing) {
        let (cells, kind) = match column {
            Growing::Numbers { values, infinite } => {
                infinite_cells.extend(infinite.map(|row| (name.clone(), values[row], row)));
                (MemoryColumn::Numbers(values), ColumnKind::Numeric)
            }
            Growing::Booleans(values) => (MemoryColumn::Numbers(values), ColumnKind::Numeric),
            // A column without any value is one of missing numbers.
            Growing::Empty | Growing::LateText => {
                (MemoryColumn::Numbers(vec![f64::NAN; num_rows]), ColumnKind::Numeric)
            }
            Growing::Text { codes, interner } => {
                let levels = interner.levels;
                (MemoryColumn::Codes(codes), ColumnKind::Text { levels })
            }
        };
        source.columns.push(cells);
        columns.push(Column { name, kind, standardization: None });
    }
    let data = Data::new(columns, Vec::new(), Arc::new(source));
    if let Some((column, value, row)) = infinite_cells.into_iter().next() {
        return Err(DataError::Infinite { column, cell: value.to_string(), place: data.place(row) });
    }
    Ok(data)
}

/// Reads as text, from the first row on, the columns in which text came after numbers.
fn reread_late_text<R: Read>(
    path: &str,
    growing: &mut [Growing],
    new_reader: impl Fn() -> Result<csv::Reader<R>, DataError>,
) -> Result<(), DataError> {
    let mut late: Vec<(usize, Vec<u32>, Interner)> = growing
        .iter()
        .enumerate()
        .filter(|(_, column)| matches!(column, Growing::LateText))
        .map(|(position, _)| (position, Vec::new(), Interner::default()))
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    let mut reader = new_reader()?;
    header(path, &mut reader)?;
    let mut record = ByteRecord::new();
    let mut row = 0;
    while read_record(path, &mut reader, &mut record, row)? {
        for (position, codes, interner) in &mut late {
            let code =
                text_code(record[*position].trim_ascii(), interner).map_err(|error| not_utf8(path, &record, error))?;
            codes.push(code);
        }
        row += 1;
    }
    for (position, codes, interner) in late {
        growing[position] = Growing::Text { codes, interner };
    }
    Ok(())
}

/// The names of the columns.
fn header<R: Read>(path: &str, reader: &mut csv::Reader<R>) -> Result<Vec<String>, DataError> {
    let format = |reason: String| DataError::Format { path: path.to_owned(), reason };
    let record = reader.byte_headers().map_err(|error| csv_error(path, &error, 0))?;
    let mut names: Vec<String> = Vec::with_capacity(record.len());
    for (position, cell) in record.iter().enumerate() {
        let name = std::str::from_utf8(cell.trim_ascii())
            .map_err(|error| format(format!("the header is not UTF-8 text: {error}")))?;
        if name.is_empty() {
            return Err(format(format!("column {} has no name in the header; every column needs one", position + 1)));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(format("the file is empty; its first line must name the columns".to_owned()));
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(DataError::DuplicateColumn { column: pair[0].clone() });
    }
    Ok(names)
}

fn read_record<R: Read>(
    path: &str,
    reader: &mut csv::Reader<R>,
    record: &mut ByteRecord,
    row: usize,
) -> Result<bool, DataError> {
    reader.read_byte_record(record).map_err(|error| csv_error(path, &error, row))
}

fn csv_error(path: &str, error: &csv::Error, row: usize) -> DataError {
    let path = path.to_owned();
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => DataError::Ragged {
            path,
            place: Place { row: row + 1, line: pos.as_ref().map(|p| p.line() as usize) },
            expected: *expected_len as usize,
            found: *len as usize,
        },
        csv::ErrorKind::Io(reason) => DataError::Read { path, reason: reason.to_string() },
        _ => DataError::Format { path, reason: error.to_string() },
    }
}

fn not_utf8(path: &str, record: &ByteRecord, error: std::str::Utf8Error) -> DataError {
    let line = record.position().map_or(0, csv::Position::line);
    DataError::Format { path: path.to_owned(), reason: format!("line {line} is not UTF-8 text: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ColumnId;

    fn read_csv(text: &str) -> Result<Data, DataError> {
        Data::from_delimited(text.as_bytes(), b',', "test.csv")
    }

    fn column(data: &Data, name: &str) -> Vec<f64> {
        let mut out = vec![0.0; data.num_rows()];
        let id = data.column_named(name).unwrap();
        data.read(&[id], 0..data.num_rows(), &mut out).unwrap();
        out
    }

    #[test]
    fn reads_numbers_missing_cells_booleans_and_text() {
        let data = read_csv(
            "\u{feff}a,b,flag,\"quoted, name\"\r\n1, 2.5e-3 ,true,\"x, y\"\r\n,NA,false,\"say \"\"so\"\"\"\r\n-3,nan,null,NA\r\n",
        )
        .unwrap();
        assert_eq!(data.num_rows(), 3);
        let names: Vec<&str> = data.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "flag", "quoted, name"]);
        let a = column(&data, "a");
        assert_eq!((a[0], a[2]), (1.0, -3.0));
        assert!(a[1].is_nan());
        let b = column(&data, "b");
        assert_eq!(b[0], 2.5e-3);
        assert!(b[1].is_nan() && b[2].is_nan());
        let flag = column(&data, "flag");
        assert_eq!((flag[0], flag[1]), (1.0, 0.0));
        assert!(flag[2].is_nan());
        assert_eq!(data.columns[3].kind, ColumnKind::Text { levels: vec!["x, y".to_owned(), "say \"so\"".to_owned()] });
    }

    #[test]
    fn late_text_names_column_cell_row_and_line() {
        let data = read_csv("label,reading\nr0,1\n\nr1,\nr2,twelve\nr3,13\n").unwrap();
        let id = data.column_named("reading").unwrap();
        let error = data.require_numeric(id).unwrap_err();
        assert_eq!(
            error,
            DataError::NotANumber {
                column: "reading".to_owned(),
                cell: "twelve".to_owned(),
                place: Place { row: 3, line: Some(5) }
            }
        );
        // As text the numbers before keep their spelling and order.
        assert_eq!(data.levels(id), ["1", "twelve", "13"]);
    }

    #[test]
    fn lines_follow_quoted_line_breaks() {
        let data = read_csv("t,v\n\"two\nlines\",1\nx,y\n").unwrap();
        assert_eq!(data.place(0).line, Some(2));
        assert_eq!(data.place(1).line, Some(4));
    }

    #[test]
    fn refuses_ragged_rows_duplicates_and_infinities() {
        assert_eq!(
            read_csv("a,b\n1,2\n3\n").unwrap_err(),
            DataError::Ragged {
                path: "test.csv".to_owned(),
                place: Place { row: 2, line: Some(3) },
                expected: 2,
                found: 1
            }
        );
        assert!(matches!(
            read_csv("a,b,a\n1,2,3\n"),
            Err(DataError::DuplicateColumn { column }) if column == "a"
        ));
        let text = read_csv("a\n1\n-inf\n").unwrap_err().to_string();
        assert!(text.contains("`a`") && text.contains("-inf") && text.contains("row 2 (line 3)"), "{text}");
        assert!(read_csv("").is_err());
        assert!(read_csv("a,,b\n1,2,3\n").unwrap_err().to_string().contains("column 2"));
    }

    #[test]
    fn numbers_and_booleans_mixed_are_text() {
        let data = read_csv("a\n1\ntrue\n").unwrap();
        let error = data.require_numeric(ColumnId(0)).unwrap_err().to_string();
        assert!(error.contains("`true`") && error.contains("row 2"), "{error}");
    }

    #[test]
    fn a_column_of_missing_cells_is_numeric() {
        let data = read_csv("a,b\n,1\nNA,2\n").unwrap();
        assert!(column(&data, "a").iter().all(|v| v.is_nan()));
    }
}
