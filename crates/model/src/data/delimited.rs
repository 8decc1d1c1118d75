//! Comma- and tab-separated text: the header, the rows, in pieces that are read in parallel, and their places in the file.

use std::path::Path;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use rayon::prelude::*;

use super::growing::{Growing, Interned, text_code};
use super::matrix::Bytes;
use super::memory::{MemoryColumn, MemorySource};
use super::{Column, ColumnKind, Data, DataError, Place};

/// Bytes of text that one piece holds at least.
const PIECE_BYTES: usize = 4 << 20;

/// Reads a delimited file whose first line names the columns.
pub(super) fn read_file(path: &Path, delimiter: u8) -> Result<Data, DataError> {
    read_text(Bytes::of_text(path)?.get(), delimiter, &path.display().to_string())
}

/// Reads delimited text in memory; `name` stands for the file in messages.
pub(super) fn read_text(text: &[u8], delimiter: u8, name: &str) -> Result<Data, DataError> {
    read_in_pieces(text, delimiter, name, PIECE_BYTES)
}

/// Reads the text in pieces of at least `piece_bytes`, each by one thread, or else, where pieces cannot be told apart (quoted
/// fields may hold line ends), do not fit together or hold an error, from its beginning to its end.
fn read_in_pieces(text: &[u8], delimiter: u8, name: &str, piece_bytes: usize) -> Result<Data, DataError> {
    let mut reader = new_reader(text, delimiter, true);
    let mut names = header(name, &mut reader)?;
    if has_row_names(text, delimiter, names.len()) {
        names.insert(0, String::new());
    }
    if let [only] = names.as_slice() {
        other_separator(name, only, text, delimiter)?;
    }
    if names.len() == 1
        && let Some(text) = empty_lines_as_missing(text)
    {
        return read_in_pieces(&text, delimiter, name, piece_bytes);
    }
    let rows = match read_pieces(text, delimiter, names.len(), piece_bytes) {
        Some(rows) => rows,
        None => {
            let mut rows = Rows::read(name, text, &mut reader, names.len())?;
            reread_late_text(name, &mut rows.columns, text, delimiter)?;
            rows
        }
    };
    finish(names, rows)
}

/// The text of a single column with `NA` on the empty lines between others, each of which is an empty cell; `None` where there is
/// no such line. Empty lines at the end are none, and text with quotes has its empty cells quoted.
fn empty_lines_as_missing(text: &[u8]) -> Option<Vec<u8>> {
    let start = text.iter().position(|byte| !matches!(byte, b'\n' | b'\r'))?;
    let (before, text) = text.trim_ascii_end().split_at_checked(start)?;
    let is_empty = |line: &&[u8]| line.is_empty() || **line == *b"\r";
    if text.contains(&b'"') || !text.split(|byte| *byte == b'\n').any(|line| is_empty(&line)) {
        return None;
    }
    let mut filled = before.to_vec();
    for line in text.split(|byte| *byte == b'\n') {
        filled.extend_from_slice(if is_empty(&line) { b"NA" } else { line });
        filled.push(b'\n');
    }
    Some(filled)
}

/// Refuses a header of one name that another separator would divide, unless it is quoted: a table saved with semicolons.
fn other_separator(path: &str, name: &str, text: &[u8], delimiter: u8) -> Result<(), DataError> {
    let quoted = text
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .is_some_and(|line| line.contains(&b'"'));
    let separators = [(b';', "semicolons"), (b'\t', "tabs"), (b',', "commas"), (b'|', "bars")];
    let other = separators.into_iter().find(|(byte, _)| *byte != delimiter && name.as_bytes().contains(byte));
    let Some((_, used)) = other.filter(|_| !quoted) else { return Ok(()) };
    let (own, ending) = if delimiter == b'\t' { ("tabs", ".tsv") } else { ("commas", ".csv") };
    let reason = format!(
        "its header `{name}` looks like several names with {used} between them, but cells of a {ending} file are separated by {own}; \
         save it with {own} (.csv: commas, .tsv: tabs), or put a name that holds {used} between double quotes"
    );
    Err(DataError::Format { path: path.to_owned(), reason })
}

/// Whether the record that begins at `start` runs to the end of the text within a quotation that is never closed.
fn never_closed(text: &[u8], start: Option<&csv::Position>, end: &csv::Position) -> bool {
    let rest = start.and_then(|start| text.get(start.byte() as usize..)).unwrap_or_default();
    end.byte() as usize >= text.len() && rest.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// Whether every row begins with a quoted name for which the header has no cell (R's `write.table`), as the first row tells.
fn has_row_names(text: &[u8], delimiter: u8, width: usize) -> bool {
    let mut reader = new_reader(text, delimiter, true);
    let mut first = ByteRecord::new();
    if !matches!(reader.read_byte_record(&mut first), Ok(true)) {
        return false;
    }
    let start = first.position().map_or(0, |at| at.byte() as usize);
    let begins = text[start.min(text.len())..].iter().find(|byte| !matches!(byte, b'\n' | b'\r'));
    first.len() == width + 1 && begins == Some(&b'"')
}

fn new_reader(text: &[u8], delimiter: u8, has_headers: bool) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().delimiter(delimiter).has_headers(has_headers).flexible(true).from_reader(text)
}

/// The line of the record that begins at `position` or, where empty lines stand there, behind them.
fn line_of(text: &[u8], position: Option<&csv::Position>) -> Option<usize> {
    let position = position?;
    let rest = text.get(position.byte() as usize..)?;
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n').count();
    Some(position.line() as usize + empty)
}

/// Rows that were read one after another.
#[derive(Debug)]
struct Rows {
    columns: Vec<Growing>,
    num_rows: usize,
    /// As in [`MemorySource`].
    line_offsets: Vec<(usize, usize)>,
}

impl Rows {
    /// Reads what is left in `reader`, which began with `text`.
    fn read(path: &str, text: &[u8], reader: &mut csv::Reader<&[u8]>, width: usize) -> Result<Self, DataError> {
        let mut columns: Vec<Growing> = (0..width).map(|_| Growing::Empty).collect();
        let mut line_offsets: Vec<(usize, usize)> = Vec::new();
        let mut num_rows = 0;
        let mut record = ByteRecord::new();
        while read_record(path, reader, &mut record)? {
            if record.len() != width {
                let place = Place { row: num_rows + 1, line: line_of(text, record.position()) };
                if never_closed(text, record.position(), reader.position()) {
                    let reason = format!("a quotation that begins in {place} is never closed");
                    return Err(DataError::Format { path: path.to_owned(), reason });
                }
                return Err(DataError::Ragged { path: path.to_owned(), place, expected: width, found: record.len() });
            }
            if let Some(line) = line_of(text, record.position()) {
                let offset = line.saturating_sub(num_rows);
                if line_offsets.last().is_none_or(|(_, last)| *last != offset) {
                    line_offsets.push((num_rows, offset));
                }
            }
            for (column, cell) in columns.iter_mut().zip(&record) {
                column.push(num_rows, cell).map_err(|error| not_utf8(path, &record, error))?;
            }
            num_rows += 1;
        }
        Ok(Self { columns, num_rows, line_offsets })
    }

    /// Puts pieces together, each with the number of lines before it; `None` where a column is of different kinds in two of them.
    fn joined(pieces: Vec<(usize, Self)>) -> Option<Self> {
        let mut line_offsets: Vec<(usize, usize)> = Vec::new();
        let mut num_rows = 0;
        let width = pieces.first().map_or(0, |(_, piece)| piece.columns.len());
        let mut by_column: Vec<Vec<(usize, Growing)>> = (0..width).map(|_| Vec::with_capacity(pieces.len())).collect();
        for (lines_before, piece) in pieces {
            for (start, offset) in piece.line_offsets {
                let offset = lines_before + offset - num_rows;
                if line_offsets.last().is_none_or(|(_, last)| *last != offset) {
                    line_offsets.push((num_rows + start, offset));
                }
            }
            for (parts, column) in by_column.iter_mut().zip(piece.columns) {
                parts.push((piece.num_rows, column));
            }
            num_rows += piece.num_rows;
        }
        let columns = by_column.into_par_iter().map(Growing::joined).collect::<Option<_>>()?;
        Some(Self { columns, num_rows, line_offsets })
    }
}

/// Reads the rows below the header in pieces that end at line ends, in parallel. `None` where there is only one piece or where the
/// text is better read from its beginning to its end.
fn read_pieces(text: &[u8], delimiter: u8, width: usize, piece_bytes: usize) -> Option<Rows> {
    if text.len() < 2 * piece_bytes {
        return None;
    }
    let first = text.iter().position(|byte| !matches!(byte, b'\n' | b'\r'))?;
    let mut start = first + text[first..].iter().position(|byte| *byte == b'\n')? + 1;
    let mut pieces = vec![(&text[..start], false)];
    while start < text.len() {
        let least = (start + piece_bytes).min(text.len());
        let end = text[least..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |place| least + place + 1);
        pieces.push((&text[start..end], true));
        start = end;
    }
    if pieces.len() < 3 {
        return None;
    }
    let read: Option<Vec<(usize, Option<Rows>)>> = pieces
        .into_par_iter()
        .map(|(piece, has_rows)| {
            if piece.contains(&b'"') {
                return None;
            }
            let num_lines = piece.iter().filter(|byte| **byte == b'\n').count();
            // An error is found again, with its place, when the text is read as a whole.
            let rows = || Rows::read("", piece, &mut new_reader(piece, delimiter, false), width).ok();
            Some((num_lines, if has_rows { Some(rows()?) } else { None }))
        })
        .collect();
    let mut lines_before = 0;
    let mut placed = Vec::new();
    for (num_lines, rows) in read? {
        placed.extend(rows.map(|rows| (lines_before, rows)));
        lines_before += num_lines;
    }
    Rows::joined(placed)
}

/// The data of all columns but one without a name: the names or numbers of the rows, which spreadsheets, R and pandas write.
fn finish(names: Vec<String>, rows: Rows) -> Result<Data, DataError> {
    let Rows { columns: growing, num_rows, line_offsets } = rows;
    let mut source = MemorySource { columns: Vec::with_capacity(names.len()), num_rows, line_offsets };
    let mut columns = Vec::with_capacity(names.len());
    let mut infinite_cells = Vec::new();
    for (name, column) in names.into_iter().zip(growing).filter(|(name, _)| !name.is_empty()) {
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
            Growing::Text(Interned { codes, interner }) => {
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
fn reread_late_text(path: &str, growing: &mut [Growing], text: &[u8], delimiter: u8) -> Result<(), DataError> {
    let mut late: Vec<(usize, Interned)> = growing
        .iter()
        .enumerate()
        .filter(|(_, column)| matches!(column, Growing::LateText))
        .map(|(position, _)| (position, Interned::default()))
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    let mut reader = new_reader(text, delimiter, true);
    header(path, &mut reader)?;
    let mut record = ByteRecord::new();
    while read_record(path, &mut reader, &mut record)? {
        for (position, text) in &mut late {
            let code = text_code(record[*position].trim_ascii(), &mut text.interner);
            text.codes.push(code.map_err(|error| not_utf8(path, &record, error))?);
        }
    }
    for (position, text) in late {
        growing[position] = Growing::Text(text);
    }
    Ok(())
}

/// The names of the columns.
fn header(path: &str, reader: &mut csv::Reader<&[u8]>) -> Result<Vec<String>, DataError> {
    let format = |reason: String| DataError::Format { path: path.to_owned(), reason };
    let record = reader.byte_headers().map_err(|error| csv_error(path, &error))?;
    let mut names: Vec<String> = Vec::with_capacity(record.len());
    for (position, cell) in record.iter().enumerate() {
        let name = std::str::from_utf8(cell.trim_ascii())
            .map_err(|error| format(format!("the header is not UTF-8 text: {error}")))?;
        if let Some(c) = name.chars().find(|c| c.is_control() && !c.is_whitespace()) {
            let reason = format!(
                "the header holds the character U+{:04X}, which no text has: is it a binary file?",
                u32::from(c)
            );
            return Err(format(reason));
        }
        // The first may be that of the rows' own names.
        if name.is_empty() && (position > 0 || record.len() == 1) {
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

fn read_record(path: &str, reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, DataError> {
    reader.read_byte_record(record).map_err(|error| csv_error(path, &error))
}

fn csv_error(path: &str, error: &csv::Error) -> DataError {
    let path = path.to_owned();
    match error.kind() {
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
    fn what_is_no_comma_separated_text_is_told() {
        let tab = |text: &str| Data::from_delimited(text.as_bytes(), b'\t', "test.tsv");
        let refusals = [
            (read_csv("x;z\n1;2\n"), "semicolons"),
            (read_csv("x\tz\n1\t2\n"), "tabs"),
            (tab("x,z\n1,2\n"), ".tsv file are separated by tabs"),
            (read_csv("x,z\n1,2\n\"3,4\n5,6\n"), "row 2 (line 3) is never closed"),
            (read_csv("\u{1}a\u{0},b\n1,2\n"), "U+0001"),
        ];
        for (read, part) in refusals {
            let said = read.map(|data| data.num_rows()).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(column(&read_csv("\"x;z\"\n1\n2\n").unwrap(), "x;z"), [1.0, 2.0]);
        let said = read_csv("x,z\n1\n").unwrap_err().to_string();
        assert!(said.contains("1 cell where the header names 2 columns"), "{said}");
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
    fn an_empty_line_of_a_single_column_is_a_missing_value() {
        let data = read_csv("\n\ny\n1\n\r\n\n4\n\n\n").unwrap();
        let y = column(&data, "y");
        assert_eq!((y.len(), y[0], y[3]), (4, 1.0, 4.0));
        assert!(y[1].is_nan() && y[2].is_nan());
        assert_eq!(data.place(3).line, Some(7));
        let quoted = read_csv("y\n1\n\"\"\n4\n").unwrap();
        assert!(column(&quoted, "y")[1].is_nan());
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

    /// As R's `write.csv` and `write.table` and pandas' `to_csv` write by default.
    #[test]
    fn the_names_of_the_rows_are_no_column() {
        let texts = [
            "\"\",\"x\",\"g\"\n\"1\",0.5,\"a\"\n\"2\",NA,\"b\"\n",
            ",x,g\n0,0.5,a\n1,,b\n",
            "\"x\",\"g\"\n\"1\",0.5,\"a\"\n\"2\",NA,\"b\"\n",
        ];
        for text in texts {
            let data = read_csv(text).unwrap();
            let names: Vec<&str> = data.columns.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, ["x", "g"]);
            let x = column(&data, "x");
            assert!(x[0] == 0.5 && x[1].is_nan());
            assert_eq!(data.levels(data.column_named("g").unwrap()), ["a", "b"]);
        }
        // A number too many is no name of its row.
        assert!(matches!(read_csv("x,g\n1,0.5,a\n"), Err(DataError::Ragged { .. })));
    }

    #[test]
    fn a_column_of_missing_cells_is_numeric() {
        let data = read_csv("a,b\n,1\nNA,2\n").unwrap();
        assert!(column(&data, "a").iter().all(|v| v.is_nan()));
    }

    /// What can be seen of data: names, kinds, cells as bits or codes, places.
    fn contents(text: &str, piece_bytes: usize) -> Result<Vec<String>, DataError> {
        let data = read_in_pieces(text.as_bytes(), b',', "test.csv", piece_bytes)?;
        let mut seen: Vec<String> = (0..data.num_rows()).map(|row| data.place(row).to_string()).collect();
        for column in &data.columns {
            let id = data.column_named(&column.name).unwrap();
            let mut codes = vec![0; data.num_rows()];
            data.source.read_text_codes(id, 0..codes.len(), &mut codes);
            let mut cells = vec![0.0; data.num_rows()];
            data.source.read(&[id], 0..cells.len(), &mut cells);
            seen.push(format!("{} {:?} {codes:?} {cells:?}", column.name, column.kind));
        }
        Ok(seen)
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let rows = |cell: &dyn Fn(usize) -> String| -> String {
            (0..40).map(|row| format!("{row},{}{}\n", cell(row), if row == 17 { "\n\r\n" } else { "" })).collect()
        };
        let bodies = [
            rows(&|row| format!("{}", row as f64 / 7.0)),
            rows(&|row| if row % 3 == 0 { "NA".to_owned() } else { format!("level {}", row * row % 11) }),
            rows(&|row| if row < 20 { String::new() } else { (row % 2 == 0).to_string() }),
            rows(&|_| "null".to_owned()),
            // Kinds that differ from piece to piece, and text after numbers within one.
            rows(&|row| if row < 20 { "1".to_owned() } else { "b".to_owned() }),
            rows(&|row| if row == 30 { "b".to_owned() } else { "1.50".to_owned() }),
            rows(&|row| {
                if row < 35 {
                    "NA".to_owned()
                } else if row == 35 {
                    "7".to_owned()
                } else {
                    "x".to_owned()
                }
            }),
            rows(&|row| if row == 25 { "\"quoted,\nbroken\"".to_owned() } else { "t".to_owned() }),
            // Errors, with their places.
            rows(&|row| if row == 25 { "1,2".to_owned() } else { "1".to_owned() }),
            rows(&|row| if row == 25 { "-inf".to_owned() } else { "1".to_owned() }),
            String::new(),
        ];
        for body in bodies {
            for header in ["row,cell\n", "\u{feff}row,cell\r\n", "\n\nrow,cell\n"] {
                for ending in ["", "40,"] {
                    let text = format!("{header}{body}{ending}");
                    let whole = contents(&text, usize::MAX / 2);
                    if let Ok(seen) = &whole
                        && !text.contains('"')
                        && seen.len() > 40
                    {
                        let first = 2 + header.bytes().take_while(|byte| *byte == b'\n').count();
                        for (row, place) in seen.iter().take(40).enumerate() {
                            let line = first + row + if row > 17 { 2 } else { 0 };
                            assert_eq!(*place, format!("row {} (line {line})", row + 1));
                        }
                    }
                    for piece_bytes in [1, 7, 60, 200] {
                        assert_eq!(contents(&text, piece_bytes), whole, "{piece_bytes} bytes of {text}");
                    }
                }
            }
        }
    }
}
