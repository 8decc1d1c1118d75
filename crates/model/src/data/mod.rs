//! Columns, blocks and constants of a model, read in chunks of rows.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

mod codes;
mod composite;
mod delimited;
mod error;
mod growing;
mod idx;
mod matrix;
mod memory;
mod npy;
mod npz;
mod selection;

pub use codes::{Codes, number_text};
pub use error::{DataError, Place};

use composite::CompositeSource;
pub(crate) use error::some_of;
use memory::{MemoryColumn, MemorySource};
use selection::SelectedRows;

/// Rows read at a time in a pass over all of them.
pub const PASS_ROWS: usize = 4096;

/// Index of a column in [`Data::columns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub usize);

/// Index of a block in [`Data::blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub usize);

/// The code of a missing category.
pub const MISSING_CODE: u32 = u32::MAX;

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    /// Numbers (booleans are 0 and 1); missing cells are NaN.
    Numeric,
    /// Text; distinct values in order of first appearance.
    Text {
        /// The distinct values.
        levels: Vec<String>,
    },
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its header.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Mean and population standard deviation that `standardize` subtracts and divides by.
    pub standardization: Option<(f64, f64)>,
}

/// Several columns under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<ColumnId>,
}

/// The cells of a column given in code.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Numbers, NaN where missing.
    Numbers(Vec<f64>),
    /// Texts, `None` where missing.
    Text(Vec<Option<String>>),
}

impl Cells {
    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Text(texts) => texts.len(),
        }
    }
}

/// Where the raw cells of the rows come from; implemented for memory and for memory-mapped files.
pub trait RowSource: Send + Sync + std::fmt::Debug {
    /// Number of rows.
    fn num_rows(&self) -> usize;
    /// Writes the raw numeric cells of `columns` into `out`, `[rows, columns]` row-major; missing cells are NaN.
    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]);
    /// Writes the codes of a text column in order of first appearance; [`MISSING_CODE`] where missing.
    fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]);
    /// The line (from 1) of the text file on which a row (from 0) begins, where there is one.
    fn line_of(&self, _row: usize) -> Option<usize> {
        None
    }
}

type CodesCache = Arc<Mutex<HashMap<(ColumnId, String, usize), Codes>>>;

/// The data of a model.
#[derive(Debug, Clone)]
pub struct Data {
    /// All columns.
    pub columns: Vec<Column>,
    /// All blocks.
    pub blocks: Vec<Block>,
    /// Single numbers that came with the rows.
    pub scalars: Vec<(String, f64)>,
    source: Arc<dyn RowSource>,
    codes: CodesCache,
    /// Columns that exist only as parts of an inline block, and so match no pattern.
    hidden: Vec<ColumnId>,
}

impl Default for Data {
    /// No columns and no rows.
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new(), Arc::new(MemorySource::default()))
    }
}

impl Data {
    /// Data whose cells come from `source`; `columns[i]` describes the source's column `i`.
    pub fn new(columns: Vec<Column>, blocks: Vec<Block>, source: Arc<dyn RowSource>) -> Self {
        Self { columns, blocks, scalars: Vec::new(), source, codes: CodesCache::default(), hidden: Vec::new() }
    }

    /// Reads a data file: `.csv` and `.tsv` (also `.gz`) into memory, `.npy` and IDX mapped, `.npz` and compressed IDX
    /// unpacked.
    ///
    /// # Errors
    /// [`DataError::Read`], [`DataError::UnknownFormat`], or a breach of the format's rules.
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let file = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let (name, compressed) = match file.strip_suffix(".gz") {
            Some(name) => (name, true),
            None => (file.as_str(), false),
        };
        let delimited = |delimiter: u8| match compressed {
            true => delimited::read_text(&idx::unpack(path)?, delimiter, &path.display().to_string()),
            false => delimited::read_file(path, delimiter),
        };
        if idx::is_idx(name) {
            return idx::read_file(path, compressed);
        }
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => delimited(b','),
            Some("tsv") => delimited(b'\t'),
            Some("npy") if !compressed => npy::map_file(path),
            Some("npz") if !compressed => npz::read_file(path),
            _ => Err(DataError::UnknownFormat { path: path.display().to_string() }),
        }
    }

    /// Reads delimited text that is already in memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// A breach of the format's rules.
    pub fn from_delimited(text: &[u8], delimiter: u8, name: &str) -> Result<Self, DataError> {
        delimited::read_text(text, delimiter, name)
    }

    /// Data from columns given in code.
    ///
    /// # Errors
    /// [`DataError::NumRows`] for unequal lengths, [`DataError::DuplicateColumn`], [`DataError::Infinite`].
    pub fn from_columns(columns: Vec<(String, Cells)>) -> Result<Self, DataError> {
        let mut source = MemorySource::default();
        let mut described: Vec<Column> = Vec::with_capacity(columns.len());
        for (name, cells) in columns {
            match described.first() {
                None => source.num_rows = cells.num_rows(),
                Some(first) if cells.num_rows() != source.num_rows => {
                    return Err(DataError::NumRows {
                        found: cells.num_rows(),
                        name,
                        other: first.name.clone(),
                        expected: source.num_rows,
                    });
                }
                Some(_) => {}
            }
            if described.iter().any(|c| c.name == name) {
                return Err(DataError::DuplicateColumn { column: name });
            }
            if let Cells::Numbers(values) = &cells
                && let Some(row) = values.iter().position(|v| v.is_infinite())
            {
                return Err(DataError::Infinite {
                    column: name,
                    cell: values[row].to_string(),
                    place: Place { row: row + 1, line: None },
                });
            }
            let (column, kind) = MemoryColumn::from_cells(cells);
            source.columns.push(column);
            described.push(Column { name, kind, standardization: None });
        }
        Ok(Self::new(described, Vec::new(), Arc::new(source)))
    }

    /// Data of one block, `[num_rows, num_columns]` row-major, NaN where missing.
    ///
    /// # Errors
    /// As [`Data::add_matrix`].
    pub fn from_matrix(name: &str, num_columns: usize, values: &[f64]) -> Result<Self, DataError> {
        let mut data = Self::default();
        data.add_matrix(name, num_columns, values)?;
        Ok(data)
    }

    /// Adds the columns and blocks of `other` after the own ones.
    ///
    /// # Errors
    /// [`DataError::NumRows`] where both have columns and the numbers of rows differ; [`DataError::DuplicateColumn`].
    pub fn append(&mut self, other: Data) -> Result<(), DataError> {
        self.scalars.extend(other.scalars.iter().cloned());
        let Some(new) = other.columns.first() else {
            return Ok(());
        };
        let Some(old) = self.columns.first() else {
            let scalars = std::mem::take(&mut self.scalars);
            *self = Data { scalars, ..other };
            return Ok(());
        };
        if self.num_rows() != other.num_rows() {
            return Err(DataError::NumRows {
                name: other
                    .blocks
                    .first()
                    .filter(|block| block.columns.first() == Some(&ColumnId(0)))
                    .map_or(&new.name, |block| &block.name)
                    .clone(),
                found: other.num_rows(),
                other: old.name.clone(),
                expected: self.num_rows(),
            });
        }
        for column in &other.columns {
            if self.column_named(&column.name).is_some() {
                return Err(DataError::DuplicateColumn { column: column.name.clone() });
            }
        }
        let offset = self.columns.len();
        let shift = |c: &ColumnId| ColumnId(c.0 + offset);
        self.source = Arc::new(CompositeSource::new(Arc::clone(&self.source), offset, other.source));
        self.columns.extend(other.columns);
        self.hidden.extend(other.hidden.iter().map(shift));
        self.blocks.extend(
            other
                .blocks
                .iter()
                .map(|block| Block { name: block.name.clone(), columns: block.columns.iter().map(shift).collect() }),
        );
        self.codes = CodesCache::default();
        Ok(())
    }

    /// Adds one column given in code.
    ///
    /// # Errors
    /// As [`Data::append`].
    pub fn add_column(&mut self, name: &str, cells: Cells) -> Result<ColumnId, DataError> {
        self.append(Self::from_columns(vec![(name.to_owned(), cells)])?)?;
        Ok(ColumnId(self.columns.len() - 1))
    }

    /// Adds a block given in code as `[num_rows, num_columns]` row-major; its columns are named `NAME.0`, `NAME.1`, … and
    /// match no pattern.
    ///
    /// # Errors
    /// As [`Data::append`]; [`DataError::Inline`] where the values do not fill whole rows.
    pub fn add_matrix(&mut self, name: &str, num_columns: usize, values: &[f64]) -> Result<BlockId, DataError> {
        if num_columns == 0 || !values.len().is_multiple_of(num_columns) {
            return Err(DataError::Inline {
                name: name.to_owned(),
                reason: format!("{} values do not fill rows of {num_columns} columns", values.len()),
            });
        }
        let columns = (0..num_columns)
            .map(|j| {
                let cells = values.iter().skip(j).step_by(num_columns).copied();
                (format!("{name}.{j}"), Cells::Numbers(cells.collect()))
            })
            .collect();
        let mut block = Self::from_columns(columns)?;
        let own: Vec<ColumnId> = (0..num_columns).map(ColumnId).collect();
        block.hidden = own.clone();
        block.add_block(name, own);
        self.append(block)?;
        Ok(BlockId(self.blocks.len() - 1))
    }

    /// Names several columns as one.
    pub fn add_block(&mut self, name: &str, columns: Vec<ColumnId>) -> BlockId {
        self.blocks.push(Block { name: name.to_owned(), columns });
        BlockId(self.blocks.len() - 1)
    }

    /// The same columns over other rows: `rows[i]` is the row that stands in row i, none less than the one before it.
    pub fn selected(&self, rows: Vec<usize>) -> Self {
        Self {
            source: Arc::new(SelectedRows::new(Arc::clone(&self.source), rows)),
            codes: CodesCache::default(),
            ..self.clone()
        }
    }

    /// Number of rows (0 where there is no column).
    pub fn num_rows(&self) -> usize {
        self.source.num_rows()
    }

    /// The column behind an id.
    pub fn column(&self, id: ColumnId) -> &Column {
        &self.columns[id.0]
    }

    /// The block behind an id.
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0]
    }

    /// The column of that name.
    pub fn column_named(&self, name: &str) -> Option<ColumnId> {
        self.columns.iter().position(|c| c.name == name).map(ColumnId)
    }

    /// The block of that name.
    pub fn block_named(&self, name: &str) -> Option<BlockId> {
        self.blocks.iter().position(|b| b.name == name).map(BlockId)
    }

    /// The columns whose header matches a pattern in which `*` stands for any text, in file order.
    ///
    /// # Errors
    /// [`DataError::UnknownColumn`] where none matches.
    pub fn columns_matching(&self, pattern: &str) -> Result<Vec<ColumnId>, DataError> {
        let found: Vec<ColumnId> = (0..self.columns.len())
            .map(ColumnId)
            .filter(|c| !self.hidden.contains(c) && matches(pattern, &self.column(*c).name))
            .collect();
        if found.is_empty() {
            let known: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(DataError::UnknownColumn { column: pattern.to_owned(), known: some_of(&known) });
        }
        Ok(found)
    }

    /// The row (from 0) as messages name it.
    pub fn place(&self, row: usize) -> Place {
        Place { row: row + 1, line: self.source.line_of(row) }
    }

    /// Refuses a text column.
    ///
    /// # Errors
    /// [`DataError::NotANumber`] with the first cell that is no number.
    pub fn require_numeric(&self, column: ColumnId) -> Result<(), DataError> {
        let ColumnKind::Text { levels } = &self.column(column).kind else {
            return Ok(());
        };
        let offending: Vec<bool> = levels.iter().map(|text| growing::parse_number(text.as_bytes()).is_none()).collect();
        let mut codes = vec![0; self.num_rows()];
        self.source.read_text_codes(column, 0..codes.len(), &mut codes);
        let is_offending = |code: &u32| offending.get(*code as usize).copied() == Some(true);
        // A column of numbers and booleans is text although no single cell offends more than another.
        let row = codes
            .iter()
            .position(is_offending)
            .or_else(|| codes.iter().position(|code| *code != MISSING_CODE))
            .unwrap_or(0);
        let cell = codes.get(row).and_then(|code| levels.get(*code as usize));
        Err(DataError::NotANumber {
            column: self.column(column).name.clone(),
            cell: cell.cloned().unwrap_or_default(),
            place: self.place(row),
        })
    }

    /// Writes the numbers of `columns` into `out`, `[rows, columns]` row-major, standardized where the column is; missing
    /// cells are NaN.
    ///
    /// # Errors
    /// [`DataError::NotANumber`] for a text column.
    pub fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) -> Result<(), DataError> {
        for column in columns {
            self.require_numeric(*column)?;
        }
        self.source.read(columns, rows, out);
        for (position, column) in columns.iter().enumerate() {
            if let Some((mean, sd)) = self.column(*column).standardization {
                for cell in out.iter_mut().skip(position).step_by(columns.len()) {
                    *cell = (*cell - mean) / sd;
                }
            }
        }
        Ok(())
    }

    /// Writes the numbers of a block into `out`, `[rows, width]` row-major, as [`Data::read`].
    ///
    /// # Errors
    /// [`DataError::NotANumber`] for a text column.
    pub fn read_block(&self, block: BlockId, rows: Range<usize>, out: &mut [f64]) -> Result<(), DataError> {
        self.read(&self.block(block).columns, rows, out)
    }

    /// From here on subtracts the column's mean and divides by its population standard deviation, missing cells left out. Where
    /// a column `counts` says how many times each row occurs, these are the moments of the rows written out that often.
    ///
    /// # Errors
    /// [`DataError::NotANumber`], or [`DataError::NotStandardizable`] for a column without two distinct values.
    pub fn standardize(&mut self, column: ColumnId, counts: Option<ColumnId>) -> Result<(), DataError> {
        self.require_numeric(column)?;
        if let Some(counts) = counts {
            self.require_numeric(counts)?;
        }
        // Chan, Golub & LeVeque 1983: merge the moments of chunks, so that an offset loses no digits.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        let columns: Vec<ColumnId> = std::iter::once(column).chain(counts).collect();
        let mut buffer = vec![0.0; columns.len() * PASS_ROWS.min(self.num_rows())];
        for rows in chunks(self.num_rows(), PASS_ROWS) {
            let cells = &mut buffer[..columns.len() * rows.len()];
            self.source.read(&columns, rows, cells);
            let weighted = cells.chunks_exact(columns.len()).map(|row| (row[0], row.get(1).copied().unwrap_or(1.0)));
            let present = || weighted.clone().filter(|(value, times)| !value.is_nan() && *times > 0.0);
            let chunk_count: f64 = present().map(|(_, times)| times).sum();
            if chunk_count == 0.0 {
                continue;
            }
            let chunk_mean = present().map(|(value, times)| value * times).sum::<f64>() / chunk_count;
            let chunk_squares: f64 = present().map(|(value, times)| times * (value - chunk_mean).powi(2)).sum();
            let total = count + chunk_count;
            let shift = chunk_mean - mean;
            squares += chunk_squares + shift * shift * count * chunk_count / total;
            mean += shift * chunk_count / total;
            count = total;
        }
        let sd = (squares / count).sqrt();
        let refuse = |reason: String| DataError::NotStandardizable { column: self.column(column).name.clone(), reason };
        if count == 0.0 {
            return Err(refuse("all of its cells are missing".to_owned()));
        }
        if !sd.is_finite() || sd <= f64::EPSILON * mean.abs() {
            return Err(refuse(format!(
                "its values do not vary (all are {mean}), so there is no spread to divide by; leave it out of `standardize`"
            )));
        }
        self.columns[column.0].standardization = Some((mean, sd));
        Ok(())
    }
}

/// Consecutive ranges of at most `size` that cover `0..total`.
pub fn chunks(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(size.max(1)).map(move |start| start..(start + size).min(total))
}

/// Whether `text` matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(tail) = text.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| matches(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Cells {
        Cells::Numbers(values.to_vec())
    }

    fn named(columns: &[(&str, &[f64])]) -> Data {
        Data::from_columns(columns.iter().map(|(name, values)| ((*name).to_owned(), numbers(values))).collect())
            .unwrap()
    }

    #[test]
    fn standardized_columns_have_mean_0_and_population_sd_1() {
        // An offset of 1e9 over several passes, every third cell missing.
        let num_rows = 3 * PASS_ROWS + 17;
        let cell = |i: usize| if i.is_multiple_of(3) { f64::NAN } else { 1e9 + (i % 7) as f64 };
        let values: Vec<f64> = (0..num_rows).map(cell).collect();
        let mut data = named(&[("plain", &values), ("x", &values)]);
        data.standardize(ColumnId(1), None).unwrap();
        let mut out = vec![0.0; 2 * num_rows];
        data.read(&[ColumnId(1), ColumnId(0)], 0..num_rows, &mut out).unwrap();
        let standardized: Vec<f64> = out.iter().step_by(2).copied().filter(|v| !v.is_nan()).collect();
        let count = standardized.len() as f64;
        assert_eq!(standardized.len(), values.iter().filter(|v| !v.is_nan()).count());
        assert!((standardized.iter().sum::<f64>() / count).abs() < 1e-6);
        assert!((standardized.iter().map(|v| v * v).sum::<f64>() / count - 1.0).abs() < 1e-9);
        assert_eq!(out[3], 1e9 + 1.0);
        // Levels and look-ups see the raw numbers.
        assert_eq!(data.levels(ColumnId(1))[0], "1000000001");
    }

    #[test]
    fn counted_rows_are_standardized_as_if_written_out() {
        let (values, counts) = ([0.5, -1.0, f64::NAN, 4.0, 7.0], [2.0, 1.0, 5.0, 0.0, 3.0]);
        let mut counted = named(&[("x", &values), ("n", &counts)]);
        counted.standardize(ColumnId(0), Some(ColumnId(1))).unwrap();
        let mut written_out = named(&[("x", &[0.5, 0.5, -1.0, 7.0, 7.0, 7.0])]);
        written_out.standardize(ColumnId(0), None).unwrap();
        let moments = |data: &Data| data.column(ColumnId(0)).standardization.unwrap();
        let ((mean, sd), (wanted_mean, wanted_sd)) = (moments(&counted), moments(&written_out));
        assert!((mean - wanted_mean).abs() < 1e-14 && (sd - wanted_sd).abs() < 1e-14);
    }

    #[test]
    fn columns_without_spread_cannot_be_standardized() {
        let nan = f64::NAN;
        for (values, part) in [([0.1, 0.1, nan], "do not vary"), ([nan, nan, nan], "missing")] {
            let error = named(&[("x", &values)]).standardize(ColumnId(0), None).unwrap_err().to_string();
            assert!(error.contains("`x`") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn patterns_select_columns_in_file_order() {
        let mut data = named(&[("pixel_2", &[1.0]), ("label", &[2.0]), ("pixel_10", &[3.0])]);
        data.add_matrix("inline", 2, &[4.0, 5.0]).unwrap();
        let found = |pattern: &str| -> Vec<usize> {
            data.columns_matching(pattern).unwrap().into_iter().map(|column| column.0).collect()
        };
        assert_eq!(found("pixel_*"), [0, 2]);
        assert_eq!(found("*"), [0, 1, 2]);
        assert_eq!(found("*l*_1*"), [2]);
        assert_eq!(found("label"), [1]);
        let error = data.columns_matching("pixels_*").unwrap_err().to_string();
        assert!(error.contains("`pixels_*`") && error.contains("`pixel_10`"), "{error}");
    }

    #[test]
    fn sources_side_by_side_read_as_one() {
        let mut data = Data::from_delimited(b"a,t\n1,x\n2,y\n3,x\n", b',', "t.csv").unwrap();
        data.append(named(&[("b", &[10.0, 20.0, 30.0])])).unwrap();
        let block = data.add_matrix("m", 2, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let last = data.block(block).columns[1];
        let mut out = [0.0; 6];
        data.read(&[last, ColumnId(0), ColumnId(2)], 1..3, &mut out).unwrap();
        assert_eq!(out, [3.0, 2.0, 20.0, 5.0, 3.0, 30.0]);
        assert_eq!(data.place(2), Place { row: 3, line: Some(4) });
        assert_eq!(data.levels(ColumnId(1)), ["x", "y"]);

        let short = data.append(named(&[("c", &[1.0])])).unwrap_err();
        let expected = DataError::NumRows { name: "c".to_owned(), found: 1, other: "a".to_owned(), expected: 3 };
        assert_eq!(short, expected);
        let twice = data.append(named(&[("b", &[1.0, 2.0, 3.0])])).unwrap_err();
        assert_eq!(twice, DataError::DuplicateColumn { column: "b".to_owned() });
        let ragged = Data::from_columns(vec![
            ("x".to_owned(), numbers(&[1.0])),
            ("y".to_owned(), Cells::Text(vec![None, Some("z".to_owned())])),
        ]);
        assert!(matches!(ragged, Err(DataError::NumRows { .. })));
    }
}
