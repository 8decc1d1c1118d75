//! Columns held in memory.

use std::collections::HashMap;
use std::ops::Range;

use super::{Cells, ColumnId, ColumnKind, MISSING_CODE, RowSource};

/// The cells of one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MemoryColumn {
    /// Numbers, NaN where missing.
    Numbers(Vec<f64>),
    /// Positions among the distinct texts, [`MISSING_CODE`] where missing.
    Codes(Vec<u32>),
}

/// Columns of equal length, column by column.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct MemorySource {
    pub(crate) columns: Vec<MemoryColumn>,
    pub(crate) num_rows: usize,
    /// Where (line − row) changes: from each row (0-based) on, the line (1-based) is row + offset; empty where there is no file.
    pub(crate) line_offsets: Vec<(usize, usize)>,
}

impl RowSource for MemorySource {
    fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) {
        let width = columns.len();
        for (position, column) in columns.iter().enumerate() {
            let target = out.iter_mut().skip(position).step_by(width);
            match &self.columns[column.0] {
                MemoryColumn::Numbers(values) => {
                    for (cell, value) in target.zip(&values[rows.clone()]) {
                        *cell = *value;
                    }
                }
                MemoryColumn::Codes(_) => target.for_each(|cell| *cell = f64::NAN),
            }
        }
    }

    fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]) {
        match &self.columns[column.0] {
            MemoryColumn::Codes(codes) => out.copy_from_slice(&codes[rows]),
            MemoryColumn::Numbers(_) => out.fill(MISSING_CODE),
        }
    }

    fn line_of(&self, row: usize) -> Option<usize> {
        let after = self.line_offsets.partition_point(|(start, _)| *start <= row);
        let (_, offset) = self.line_offsets.get(after.checked_sub(1)?)?;
        Some(row + offset)
    }
}

/// Distinct texts in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    pub(crate) levels: Vec<String>,
    positions: HashMap<String, u32>,
}

impl Interner {
    /// The position of `text`, added where it is new.
    pub(crate) fn code(&mut self, text: &str) -> u32 {
        if let Some(code) = self.positions.get(text) {
            return *code;
        }
        let code = self.levels.len() as u32;
        self.levels.push(text.to_owned());
        self.positions.insert(text.to_owned(), code);
        code
    }
}

impl MemoryColumn {
    /// The column and its kind from cells given one by one.
    pub(crate) fn from_cells(cells: Cells) -> (Self, ColumnKind) {
        match cells {
            Cells::Numbers(values) => (Self::Numbers(values), ColumnKind::Numeric),
            Cells::Text(texts) => {
                let mut interner = Interner::default();
                let codes = texts.iter().map(|text| text.as_ref().map_or(MISSING_CODE, |t| interner.code(t))).collect();
                let levels = interner.levels;
                (Self::Codes(codes), ColumnKind::Text { levels })
            }
        }
    }
}
