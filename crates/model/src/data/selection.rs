//! Rows of another source in another number: each may stand there several times, or not at all.

use std::ops::Range;
use std::sync::Arc;

use super::{ColumnId, RowSource};

/// Rows of a source by their numbers, which never fall.
#[derive(Debug)]
pub(crate) struct SelectedRows {
    source: Arc<dyn RowSource>,
    rows: Vec<usize>,
}

impl SelectedRows {
    /// `rows[i]`: the row of `source` that stands in row i; none is less than the one before it.
    pub(crate) fn new(source: Arc<dyn RowSource>, rows: Vec<usize>) -> Self {
        debug_assert!(rows.is_sorted());
        Self { source, rows }
    }

    /// The rows of the source from the first to the last one asked for, and the place of each asked row among them.
    fn span(&self, rows: Range<usize>) -> (Range<usize>, impl Iterator<Item = usize>) {
        let own = &self.rows[rows];
        let first = own.first().copied().unwrap_or(0);
        let span = first..own.last().map_or(first, |last| last + 1);
        (span, own.iter().map(move |row| row - first))
    }
}

impl RowSource for SelectedRows {
    fn num_rows(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) {
        let width = columns.len();
        let (span, places) = self.span(rows);
        let mut cells = vec![0.0; span.len() * width];
        self.source.read(columns, span, &mut cells);
        for (place, out) in places.zip(out.chunks_exact_mut(width.max(1))) {
            out.copy_from_slice(&cells[place * width..(place + 1) * width]);
        }
    }

    fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]) {
        let (span, places) = self.span(rows);
        let mut codes = vec![0; span.len()];
        self.source.read_text_codes(column, span, &mut codes);
        places.zip(out).for_each(|(place, out)| *out = codes[place]);
    }

    fn line_of(&self, row: usize) -> Option<usize> {
        self.source.line_of(*self.rows.get(row)?)
    }
}
