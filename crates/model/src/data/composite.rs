//! Columns of several sources side by side, such as a file and inline values.

use std::ops::Range;
use std::sync::Arc;

use super::{ColumnId, RowSource};

/// Sources of equal length; the columns of the second follow those of the first.
#[derive(Debug)]
pub(crate) struct CompositeSource {
    first: Arc<dyn RowSource>,
    num_first: usize,
    second: Arc<dyn RowSource>,
}

impl CompositeSource {
    /// `num_first`: number of columns of the first source.
    pub(crate) fn new(first: Arc<dyn RowSource>, num_first: usize, second: Arc<dyn RowSource>) -> Self {
        Self { first, num_first, second }
    }

    fn split(&self, column: ColumnId) -> (&dyn RowSource, ColumnId) {
        match column.0.checked_sub(self.num_first) {
            None => (&*self.first, column),
            Some(beyond) => (&*self.second, ColumnId(beyond)),
        }
    }
}

impl RowSource for CompositeSource {
    fn num_rows(&self) -> usize {
        self.second.num_rows()
    }

    fn read(&self, columns: &[ColumnId], rows: Range<usize>, out: &mut [f64]) {
        if columns.iter().all(|c| c.0 < self.num_first) {
            return self.first.read(columns, rows, out);
        }
        let width = columns.len();
        for wanted_first in [true, false] {
            let (positions, own): (Vec<usize>, Vec<ColumnId>) = columns
                .iter()
                .enumerate()
                .filter(|(_, c)| (c.0 < self.num_first) == wanted_first)
                .map(|(position, c)| (position, self.split(*c).1))
                .unzip();
            if own.is_empty() {
                continue;
            }
            let source = if wanted_first { &self.first } else { &self.second };
            if own.len() == width {
                return source.read(&own, rows, out);
            }
            let mut part = vec![0.0; rows.len() * own.len()];
            source.read(&own, rows.clone(), &mut part);
            for (from, to) in part.chunks_exact(own.len()).zip(out.chunks_exact_mut(width)) {
                for (value, position) in from.iter().zip(&positions) {
                    to[*position] = *value;
                }
            }
        }
    }

    fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]) {
        let (source, column) = self.split(column);
        source.read_text_codes(column, rows, out);
    }

    fn line_of(&self, row: usize) -> Option<usize> {
        self.first.line_of(row)
    }
}
