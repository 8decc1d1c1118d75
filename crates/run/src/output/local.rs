//! Row-level tables, written chunk by chunk as CSV or NPY.

use super::table::{push_cell, push_number};
use super::{AtomicFile, OutputError};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The format of a row-level table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalFormat {
    /// A header, then one line per row, beginning with the row's number (counted from 0).
    #[default]
    Csv,
    /// NumPy's format 1.0: a C-ordered matrix of little-endian doubles, `[num_rows, num_columns]`, without row numbers.
    Npy,
}

impl LocalFormat {
    /// The file name's ending.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Npy => "npy",
        }
    }
}

/// The columns of a row-level table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalColumns {
    /// A categorical variable: one probability per level, columns `p_LEVEL`.
    Probabilities {
        /// The levels' names, or their numbers.
        levels: Vec<String>,
    },
    /// A scalar variable: `mean,sd`.
    Scalar,
    /// Several coordinates: `mean_COORDINATE` for each, then `sd_COORDINATE` for each.
    Vector {
        /// The coordinates' names, or their numbers.
        coordinates: Vec<String>,
    },
}

impl LocalColumns {
    /// Levels that are named 0, 1, ….
    #[must_use]
    pub fn numbered_levels(count: usize) -> Self {
        Self::Probabilities { levels: (0..count).map(|level| level.to_string()).collect() }
    }

    /// Coordinates that are named 0, 1, ….
    #[must_use]
    pub fn numbered_coordinates(count: usize) -> Self {
        Self::Vector { coordinates: (0..count).map(|coordinate| coordinate.to_string()).collect() }
    }

    /// The number of means (or probabilities) per row.
    fn width(&self) -> usize {
        match self {
            Self::Probabilities { levels } => levels.len(),
            Self::Scalar => 1,
            Self::Vector { coordinates } => coordinates.len(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Probabilities { .. } => "probabilities",
            Self::Scalar | Self::Vector { .. } => "means and sds",
        }
    }

    /// The header's names, without the row number.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Probabilities { levels } => levels.iter().map(|level| format!("p_{level}")).collect(),
            Self::Scalar => vec!["mean".to_owned(), "sd".to_owned()],
            Self::Vector { coordinates } => {
                let prefixed = |prefix: &'static str| coordinates.iter().map(move |name| format!("{prefix}_{name}"));
                prefixed("mean").chain(prefixed("sd")).collect()
            }
        }
    }
}

/// Writes one row-level table; nothing appears before [`LocalWriter::finish`].
#[derive(Debug)]
pub struct LocalWriter {
    file: AtomicFile,
    name: String,
    columns: LocalColumns,
    format: LocalFormat,
    num_rows: usize,
    buffer: Vec<u8>,
    text: String,
}

/// The length of the NPY header, magic included; a multiple of 64 with room for any number of rows.
const NPY_HEADER: usize = 128;

fn npy_header(num_rows: usize, num_columns: usize) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&((NPY_HEADER - 10) as u16).to_le_bytes());
    let shape = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({num_rows}, {num_columns}), }}");
    header.extend_from_slice(shape.as_bytes());
    header.resize(NPY_HEADER - 1, b' ');
    header.push(b'\n');
    header
}

impl LocalWriter {
    /// Begins the table of variable `name` at `path`.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path, name: &str, format: LocalFormat, columns: LocalColumns) -> Result<Self, OutputError> {
        let mut writer = Self {
            file: AtomicFile::create(path)?,
            name: name.to_owned(),
            columns,
            format,
            num_rows: 0,
            buffer: Vec::new(),
            text: String::new(),
        };
        match format {
            LocalFormat::Npy => writer.buffer = npy_header(0, writer.columns.names().len()),
            LocalFormat::Csv => {
                writer.text.push_str("row");
                for name in writer.columns.names() {
                    writer.text.push(',');
                    push_cell(&mut writer.text, &name);
                }
                writer.text.push('\n');
            }
        }
        writer.flush()?;
        Ok(writer)
    }

    /// Appends rows of probabilities, `[num_rows, num_levels]`.
    ///
    /// # Errors
    /// When the columns were declared otherwise, the rows are not whole, or the disk refuses.
    pub fn write_probabilities(&mut self, probabilities: &[f64]) -> Result<(), OutputError> {
        self.expect(matches!(self.columns, LocalColumns::Probabilities { .. }), "probabilities")?;
        self.write(probabilities, &[])
    }

    /// Appends rows of means and of marginal standard deviations, both `[num_rows, num_coordinates]`.
    ///
    /// # Errors
    /// When the columns were declared otherwise, the rows are not whole, or the disk refuses.
    pub fn write_moments(&mut self, means: &[f64], sds: &[f64]) -> Result<(), OutputError> {
        self.expect(!matches!(self.columns, LocalColumns::Probabilities { .. }), "means and sds")?;
        if sds.len() != means.len() {
            return Err(self.wrong_width(sds.len()));
        }
        self.write(means, sds)
    }

    /// Makes the file appear.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<(), OutputError> {
        if self.format == LocalFormat::Npy {
            let header = npy_header(self.num_rows, self.columns.names().len());
            let patch = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&header));
            patch.map_err(|source| OutputError::Write { path: self.file.destination().to_owned(), source })?;
        }
        self.file.commit()
    }

    fn expect(&self, fits: bool, given: &'static str) -> Result<(), OutputError> {
        let declared = self.columns.kind();
        if fits { Ok(()) } else { Err(OutputError::Kind { name: self.name.clone(), declared, given }) }
    }

    fn wrong_width(&self, given: usize) -> OutputError {
        OutputError::Width { name: self.name.clone(), width: self.columns.width(), given }
    }

    /// Appends rows that consist of `width` numbers of `left` and, unless it is empty, as many of `right`.
    fn write(&mut self, left: &[f64], right: &[f64]) -> Result<(), OutputError> {
        let width = self.columns.width();
        if width == 0 || !left.len().is_multiple_of(width) {
            return Err(self.wrong_width(left.len()));
        }
        for (index, row) in left.chunks_exact(width).enumerate() {
            let second = right.get(index * width..(index + 1) * width).unwrap_or(&[]);
            let values = row.iter().chain(second);
            match self.format {
                LocalFormat::Npy => values.for_each(|value| self.buffer.extend_from_slice(&value.to_le_bytes())),
                LocalFormat::Csv => {
                    self.text.push_str(&self.num_rows.to_string());
                    for &value in values {
                        self.text.push(',');
                        push_number(&mut self.text, value);
                    }
                    self.text.push('\n');
                }
            }
            self.num_rows += 1;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        let result = self.file.write_all(&self.buffer).and_then(|()| self.file.write_all(self.text.as_bytes()));
        self.buffer.clear();
        self.text.clear();
        result.map_err(|source| OutputError::Write { path: self.file.destination().to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_folder;

    #[test]
    fn csv_in_chunks() {
        let folder = test_folder("local-csv");
        let path = folder.join("z.csv");
        let levels = vec!["a".to_owned(), "b,c".to_owned()];
        let mut writer =
            LocalWriter::create(&path, "z", LocalFormat::Csv, LocalColumns::Probabilities { levels }).unwrap();
        writer.write_probabilities(&[0.25, 0.75]).unwrap();
        writer.write_probabilities(&[1.0, 0.0, 1e-20, 1.0]).unwrap();
        assert!(matches!(writer.write_probabilities(&[1.0]), Err(OutputError::Width { .. })));
        assert!(matches!(writer.write_moments(&[1.0], &[1.0]), Err(OutputError::Kind { .. })));
        assert!(!path.exists());
        writer.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "row,p_a,\"p_b,c\"\n0,0.25,0.75\n1,1.0,0.0\n2,1e-20,1.0\n");

        let mut writer =
            LocalWriter::create(&path, "z", LocalFormat::Csv, LocalColumns::numbered_coordinates(2)).unwrap();
        writer.write_moments(&[1.0, 2.0], &[0.1, 0.2]).unwrap();
        writer.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "row,mean_0,mean_1,sd_0,sd_1\n0,1.0,2.0,0.1,0.2\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn npy_has_the_documented_layout() {
        let folder = test_folder("local-npy");
        let path = folder.join("x.npy");
        let mut writer = LocalWriter::create(&path, "x", LocalFormat::Npy, LocalColumns::Scalar).unwrap();
        for row in 0..3 {
            writer.write_moments(&[f64::from(row)], &[0.5]).unwrap();
        }
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10, 128);
        let header = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(header.starts_with("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }"), "{header}");
        assert!(header.ends_with('\n'));
        let values: Vec<f64> =
            bytes[128..].chunks_exact(8).map(|word| f64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
