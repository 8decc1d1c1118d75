//! A matrix of numbers in bytes, mapped from a file that may be larger than memory, or unpacked into memory.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::{Column, ColumnId, ColumnKind, Data, DataError, MISSING_CODE, RowSource};

/// Files of at least this size are not kept resident once read.
const LARGE_BYTES: usize = 128 << 20;

/// Pages are released in runs of this size.
const WINDOW_BYTES: usize = 4 << 20;

/// Type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F16,
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
    pub(super) fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "f2" => Self::F16,
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

    pub(super) fn num_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// The number that 16 bits stand for: a sign, five bits of exponent, ten of fraction (IEEE 754-2008, binary16).
fn half_precision(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    match (exponent, fraction == 0.0) {
        (31, true) => sign * f64::INFINITY,
        (31, false) => f64::NAN,
        (0, _) => sign * fraction * 2f64.powi(-14),
        _ => sign * (1.0 + fraction) * 2f64.powi(exponent - 15),
    }
}

/// What the header of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) element: Element,
    pub(super) big_endian: bool,
    pub(super) num_rows: usize,
    pub(super) num_columns: usize,
    /// Elements between one row and the next.
    pub(super) row_stride: usize,
    /// Elements between one column and the next.
    pub(super) column_stride: usize,
    /// Whether the array has a single axis.
    pub(super) is_vector: bool,
    /// Bytes before the first element.
    pub(super) offset: usize,
}

impl Layout {
    /// Rows one after the other: the first length is the number of rows, the others together the number of columns.
    pub(super) fn row_major(
        element: Element,
        big_endian: bool,
        shape: &[usize],
        offset: usize,
    ) -> Result<Self, String> {
        let (num_rows, rest) = shape.split_first().ok_or("the array has no axes; its first one must be the rows")?;
        let num_columns = rest
            .iter()
            .try_fold(1usize, |product, length| product.checked_mul(*length))
            .ok_or("its shape is too large")?;
        Ok(Self {
            element,
            big_endian,
            num_rows: *num_rows,
            num_columns,
            row_stride: num_columns,
            column_stride: 1,
            is_vector: rest.is_empty(),
            offset,
        })
    }

    /// Whether `num_bytes` hold all elements.
    pub(super) fn check_length(&self, num_bytes: usize) -> Result<(), String> {
        let expected = self
            .num_rows
            .checked_mul(self.num_columns)
            .and_then(|count| count.checked_mul(self.element.num_bytes()))
            .ok_or("its shape is too large")?;
        let found = num_bytes.saturating_sub(self.offset);
        if found < expected {
            return Err(format!("its shape needs {expected} bytes of numbers, but it holds {found}"));
        }
        Ok(())
    }
}

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    pub(super) fn map(path: &Path) -> Result<Self, DataError> {
        let unreadable =
            |error: std::io::Error| DataError::Read { path: path.display().to_string(), reason: error.to_string() };
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the mapping is read-only, and elements are read as plain bytes, any pattern of which is a number; that
        // nobody truncates the file during the run is the condition of every memory-mapped reader.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self::Mapped(map))
    }

    /// A file of text: mapped where the system can map it (it cannot where it is a pipe or empty), else read.
    pub(super) fn of_text(path: &Path) -> Result<Self, DataError> {
        Self::map(path).or_else(|_| {
            let reason =
                |error: std::io::Error| DataError::Read { path: path.display().to_string(), reason: error.to_string() };
            std::fs::read(path).map(Self::Owned).map_err(reason)
        })
    }

    /// Lets go of the pages of the windows that end in `range`, so that a pass over a large file stays small in memory; a
    /// later pass finds them in the file again.
    #[cfg(unix)]
    fn release_behind(&self, range: Range<usize>) {
        let Self::Mapped(map) = self else { return };
        let (first, last) = (range.start / WINDOW_BYTES, range.end / WINDOW_BYTES);
        if map.len() < LARGE_BYTES || first == last {
            return;
        }
        // SAFETY: the mapping is of a file and never written to, so a page that is dropped is read from the file again, and no
        // reference into it can see other bytes. That the system declines the advice does no harm.
        unsafe {
            map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                first * WINDOW_BYTES,
                (last - first) * WINDOW_BYTES,
            )
        }
        .ok();
    }

    #[cfg(not(unix))]
    fn release_behind(&self, _range: Range<usize>) {}

    pub(super) fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// The matrix.
#[derive(Debug)]
struct MatrixSource {
    bytes: Bytes,
    layout: Layout,
}

/// The data of a matrix, its columns named by `name`.
pub(super) fn matrix_data(
    path: &str,
    bytes: Bytes,
    layout: Layout,
    name: impl Fn(usize) -> String,
) -> Result<Data, DataError> {
    layout.check_length(bytes.get().len()).map_err(|reason| DataError::Format { path: path.to_owned(), reason })?;
    let columns = (0..layout.num_columns)
        .map(|j| Column { name: name(j), kind: ColumnKind::Numeric, standardization: None })
        .collect();
    Ok(Data::new(columns, Vec::new(), Arc::new(MatrixSource { bytes, layout })))
}

impl MatrixSource {
    /// Writes elements of the wanted columns and rows, each converted from its `N` bytes.
    fn read_as<const N: usize>(
        &self,
        columns: &[ColumnId],
        rows: Range<usize>,
        out: &mut [f64],
        convert: impl Fn([u8; N]) -> f64,
    ) {
        let layout = &self.layout;
        let (elements, _) = self.bytes.get()[layout.offset..].as_chunks::<N>();
        let number = |mut bytes: [u8; N]| {
            if layout.big_endian {
                bytes.reverse();
            }
            convert(bytes)
        };
        let contiguous = layout.column_stride == 1 && columns.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
        let row_bytes = if layout.column_stride == 1 { layout.row_stride * N } else { 0 };
        let read = layout.offset + rows.start * row_bytes..layout.offset + rows.end * row_bytes;
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
        self.bytes.release_behind(read);
    }
}

impl RowSource for MatrixSource {
    fn num_rows(&self) -> usize {
        self.layout.num_rows
    }

    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) {
        match self.layout.element {
            Element::F16 => self.read_as(columns, rows, out, |b| half_precision(u16::from_le_bytes(b))),
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::data::{PASS_ROWS, chunks};

    #[test]
    fn a_pass_over_a_large_file_stays_small_in_memory() {
        let num_rows = 3 * LARGE_BYTES / 2 / 64;
        let path = std::env::temp_dir().join(format!("vi-model-{}-large", std::process::id()));
        let file = File::create(&path).unwrap();
        file.set_len(num_rows as u64 * 64).unwrap();
        let layout = Layout::row_major(Element::F64, false, &[num_rows, 8], 0).unwrap();
        let data = matrix_data("large", Bytes::map(&path).unwrap(), layout, |j| j.to_string()).unwrap();
        let columns: Vec<ColumnId> = (0..8).map(ColumnId).collect();
        let mut buffer = vec![1.0; 8 * PASS_ROWS];
        for rows in chunks(num_rows, PASS_ROWS) {
            let cells = &mut buffer[..8 * rows.len()];
            data.read(&columns, rows, cells).unwrap();
            assert!(cells.iter().all(|cell| *cell == 0.0));
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(kilobytes * 1024 < LARGE_BYTES / 4, "{kilobytes} kB of files are resident");
    }
}
