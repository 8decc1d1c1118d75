//! NumPy `.npy` files, mapped into memory so that they may be larger than it.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::{Column, ColumnId, ColumnKind, Data, DataError, MISSING_CODE, RowSource};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Element {
    /// From NumPy's type code without its byte order.
    fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" | "b1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            _ => return None,
        })
    }

    fn num_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// What the header of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    element: Element,
    big_endian: bool,
    num_rows: usize,
    num_columns: usize,
    /// Elements between one row and the next.
    row_stride: usize,
    /// Elements between one column and the next.
    column_stride: usize,
    /// Bytes before the first element.
    offset: usize,
}

/// A mapped file.
#[derive(Debug)]
struct NpySource {
    map: Mmap,
    layout: Layout,
}

/// Maps a file; a vector is one column, a matrix has one column per column, named 0, 1, ….
pub(super) fn map_file(path: &Path) -> Result<Data, DataError> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| DataError::Read { path: name.clone(), reason: error.to_string() };
    let file = File::open(path).map_err(unreadable)?;
    // SAFETY: the mapping is read-only, and elements are read as plain bytes, any pattern of which is a number; that
    // nobody truncates the file during the run is the condition of every memory-mapped reader.
    let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
    let layout = parse_header(&map).map_err(|reason| DataError::Format { path: name, reason })?;
    let columns = (0..layout.num_columns)
        .map(|j| Column { name: j.to_string(), kind: ColumnKind::Numeric, standardization: None })
        .collect();
    Ok(Data::new(columns, Vec::new(), Arc::new(NpySource { map, layout })))
}

/// Reads the header (NumPy Enhancement Proposal 1) of version 1, 2 or 3.
fn parse_header(bytes: &[u8]) -> Result<Layout, String> {
    let truncated = || "the file ends before its header does".to_owned();
    if !bytes.starts_with(MAGIC) {
        return Err("this is not a .npy file: it does not begin with \\x93NUMPY".to_owned());
    }
    let major = *bytes.get(6).ok_or_else(truncated)?;
    let (length, start) = match major {
        1 => {
            let field: [u8; 2] = take(bytes, 8).ok_or_else(truncated)?;
            (usize::from(u16::from_le_bytes(field)), 10)
        }
        2 | 3 => {
            let field: [u8; 4] = take(bytes, 8).ok_or_else(truncated)?;
            (u32::from_le_bytes(field) as usize, 12)
        }
        other => return Err(format!("version {other} of the .npy format is not known")),
    };
    let offset = start + length;
    let header = bytes.get(start..offset).ok_or_else(truncated)?;
    let header = std::str::from_utf8(header).map_err(|error| error.to_string())?;

    let description = value_of(header, "descr")?.trim_matches(['\'', '"']);
    let (order, code) = description.split_at_checked(1).ok_or("the element type is empty")?;
    let element = Element::from_code(code).filter(|_| ["<", ">", "|", "="].contains(&order)).ok_or_else(|| {
        format!(
            "elements of type `{description}` cannot be read; save it as float64, float32, bool or an integer type \
             (numpy: array.astype(\"float64\"))"
        )
    })?;
    let fortran = value_of(header, "fortran_order")? == "True";
    let shape = value_of(header, "shape")?
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<usize>().map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let (num_rows, num_columns) = match shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => {
            return Err(format!(
                "the array has {} axes; a matrix [rows, columns] or a vector is needed (numpy: array.reshape(len(array), -1))",
                shape.len()
            ));
        }
    };
    let expected = num_rows
        .checked_mul(num_columns)
        .and_then(|count| count.checked_mul(element.num_bytes()))
        .ok_or("its shape is too large")?;
    if bytes.len() - offset < expected {
        return Err(format!("its shape needs {expected} bytes of numbers, but it holds {}", bytes.len() - offset));
    }
    let (row_stride, column_stride) = if fortran { (1, num_rows) } else { (num_columns, 1) };
    Ok(Layout { element, big_endian: order == ">", num_rows, num_columns, row_stride, column_stride, offset })
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The text of a key's value in the header's Python dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("its header has no `{key}`");
    let (_, after) = header.split_once(&format!("'{key}':")).ok_or_else(missing)?;
    let after = after.trim_start();
    let end = if after.starts_with('(') {
        after.find(')').map(|at| at + 1)
    } else if after.starts_with('[') {
        return Err("records with named fields cannot be read; save a plain matrix".to_owned());
    } else {
        after.find([',', '}'])
    };
    Ok(after[..end.ok_or_else(missing)?].trim())
}

impl NpySource {
    /// Writes elements of the wanted columns and rows, each converted from its `N` bytes.
    fn read_as<const N: usize>(
        &self,
        columns: &[ColumnId],
        rows: Range<usize>,
        out: &mut [f64],
        convert: impl Fn([u8; N]) -> f64,
    ) {
        let layout = &self.layout;
        let (elements, _) = self.map[layout.offset..].as_chunks::<N>();
        let number = |mut bytes: [u8; N]| {
            if layout.big_endian {
                bytes.reverse();
            }
            convert(bytes)
        };
        let contiguous = layout.column_stride == 1 && columns.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
        for (row, cells) in rows.zip(out.chunks_exact_mut(columns.len().max(1))) {
            let start = row * layout.row_stride;
            if contiguous && !layout.big_endian {
                let first = start + columns[0].0;
                for (cell, bytes) in cells.iter_mut().zip(&elements[first..first + columns.len()]) {
                    *cell = convert(*bytes);
                }
            } else {
                for (cell, column) in cells.iter_mut().zip(columns) {
                    *cell = number(elements[start + column.0 * layout.column_stride]);
                }
            }
        }
    }
}

impl RowSource for NpySource {
    fn num_rows(&self) -> usize {
        self.layout.num_rows
    }

    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) {
        match self.layout.element {
            Element::F32 => self.read_as(columns, rows, out, |b| f32::from_le_bytes(b).into()),
            Element::F64 => self.read_as(columns, rows, out, f64::from_le_bytes),
            Element::I8 => self.read_as(columns, rows, out, |b| i8::from_le_bytes(b).into()),
            Element::I16 => self.read_as(columns, rows, out, |b| i16::from_le_bytes(b).into()),
            Element::I32 => self.read_as(columns, rows, out, |b| i32::from_le_bytes(b).into()),
            Element::I64 => self.read_as(columns, rows, out, |b| i64::from_le_bytes(b) as f64),
            Element::U8 => self.read_as(columns, rows, out, |b| u8::from_le_bytes(b).into()),
            Element::U16 => self.read_as(columns, rows, out, |b| u16::from_le_bytes(b).into()),
            Element::U32 => self.read_as(columns, rows, out, |b| u32::from_le_bytes(b).into()),
            Element::U64 => self.read_as(columns, rows, out, |b| u64::from_le_bytes(b) as f64),
        }
    }

    fn read_text_codes(&self, _column: ColumnId, _rows: Range<usize>, out: &mut [u32]) {
        out.fill(MISSING_CODE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the temporary folder that is removed when the test ends.
    struct Scratch(std::path::PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn npy(name: &str, description: &str, fortran: &str, shape: &str, body: &[u8]) -> Scratch {
        let mut header = format!("{{'descr': '{description}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while !(10 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        let path = std::env::temp_dir().join(format!("vi-model-{}-{name}.npy", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }

    fn read_all(file: &Scratch, columns: &[usize]) -> Vec<f64> {
        let data = Data::from_file(&file.0).unwrap();
        let columns: Vec<ColumnId> = columns.iter().copied().map(ColumnId).collect();
        let mut out = vec![0.0; data.num_rows() * columns.len()];
        data.read(&columns, 0..data.num_rows(), &mut out).unwrap();
        out
    }

    #[test]
    fn row_major_and_column_major_matrices_agree() {
        let rows: Vec<u8> = [1.5f64, -2.0, 3.0, 4.0, f64::NAN, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let c = npy("c", "<f8", "False", "(2, 3)", &rows);
        assert_eq!(read_all(&c, &[0, 2]), [1.5, 3.0, 4.0, 6.0]);
        assert_eq!(read_all(&c, &[0, 1])[..3], [1.5, -2.0, 4.0]);
        assert!(read_all(&c, &[1])[1].is_nan());
        let columns: Vec<u8> = [1.5f32, 4.0, -2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let f = npy("f", ">f4", "True", "(2, 3)", &columns);
        assert_eq!(read_all(&f, &[0, 1, 2]), [1.5, -2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn vectors_and_integers() {
        let body: Vec<u8> = [-3i16, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = npy("v", "<i2", "False", "(2,)", &body);
        assert_eq!(read_all(&file, &[0]), [-3.0, 7.0]);
        let flags = npy("b", "|b1", "False", "(3,)", &[1, 0, 1]);
        assert_eq!(read_all(&flags, &[0]), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        for (name, description, shape, body, part) in [
            ("complex", "<c16", "(1,)", vec![0; 16], "astype"),
            ("deep", "<f8", "(1, 1, 1)", vec![0; 8], "3 axes"),
            ("short", "<f8", "(2, 2)", vec![0; 8], "needs 32 bytes"),
        ] {
            let file = npy(name, description, "False", shape, &body);
            let error = Data::from_file(&file.0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let text = Scratch(std::env::temp_dir().join(format!("vi-model-{}-not.npy", std::process::id())));
        std::fs::write(&text.0, "a,b\n").unwrap();
        let error = Data::from_file(&text.0).unwrap_err().to_string();
        assert!(error.contains("not a .npy file"), "{error}");
    }
}
