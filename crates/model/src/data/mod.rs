//! Columns, blocks and constants of a model, read in chunks of rows.

use std::ops::Range;
use std::sync::Arc;

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

/// Where the raw cells of the rows come from; implemented for memory and for memory-mapped files.
pub trait RowSource: Send + Sync + std::fmt::Debug {
    /// Number of rows.
    fn num_rows(&self) -> usize;
    /// Writes the raw numeric cells of `columns` into `out`, `[rows, columns]` row-major; missing cells are NaN.
    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]);
    /// Writes the codes of a text column in order of first appearance; [`MISSING_CODE`] where missing.
    fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]);
}

/// The data of a model.
#[derive(Debug, Clone)]
pub struct Data {
    /// All columns.
    pub columns: Vec<Column>,
    /// All blocks.
    pub blocks: Vec<Block>,
    source: Arc<dyn RowSource>,
}

impl Data {
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
}
