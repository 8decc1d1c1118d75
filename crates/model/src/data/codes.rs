//! Levels of a column, and its values as positions along an axis.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::error::some_of;
use super::{ColumnId, ColumnKind, Data, DataError, MISSING_CODE, PASS_ROWS, chunks};
use crate::graph::{Axis, AxisKind};

/// The values of a column as positions along an axis, one per row; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    codes: Arc<[u32]>,
}

impl Codes {
    /// Each row's own position, for `num_rows` rows.
    pub fn rows_themselves(num_rows: usize) -> Self {
        Self { codes: (0..num_rows as u32).collect() }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.codes.len()
    }

    /// The positions in a chunk of rows; [`MISSING_CODE`] where missing.
    pub fn rows(&self, rows: Range<usize>) -> &[u32] {
        &self.codes[rows]
    }

    /// The positions in all rows.
    pub fn all(&self) -> &[u32] {
        &self.codes
    }

    /// The first row (from 0) in which the value is missing.
    pub fn first_missing(&self) -> Option<usize> {
        self.codes.iter().position(|code| *code == MISSING_CODE)
    }
}

/// The shortest text that reads back as this number; integers have no decimal point.
pub fn number_text(value: f64) -> String {
    // −0 and 0 are one level.
    (value + 0.0).to_string()
}

/// How a value of a column becomes a position.
enum Positions<'a> {
    /// By text among these elements.
    Texts(HashMap<&'a str, u32>),
    /// Integers below the size.
    Integers,
}

impl Data {
    /// The distinct values of a column as text, in order of first appearance, missing ones left out.
    pub fn levels(&self, column: ColumnId) -> Vec<String> {
        if let ColumnKind::Text { levels } = &self.column(column).kind {
            return levels.clone();
        }
        let mut seen: HashMap<u64, ()> = HashMap::new();
        let mut levels = Vec::new();
        self.for_each_number(column, |_, value| {
            if !value.is_nan() && seen.insert((value + 0.0).to_bits(), ()).is_none() {
                levels.push(number_text(value));
            }
            Ok::<(), DataError>(())
        })
        .map_or_else(|_| Vec::new(), |()| levels)
    }

    /// The column's values as positions along `axis`, computed at the first call: levels are matched by text, block axes by
    /// column header or position, every other axis by integers 0 … K−1. `standardize` does not matter here.
    ///
    /// # Errors
    /// [`DataError::NotOnAxis`] for a value that is no element of the axis.
    pub fn codes(&self, column: ColumnId, axis: &Axis) -> Result<Codes, DataError> {
        let key = (column, axis.name.clone(), axis.size);
        let cache = || self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codes) = cache().get(&key) {
            return Ok(codes.clone());
        }
        let codes = Codes { codes: self.compute_codes(column, axis)?.into() };
        cache().insert(key, codes.clone());
        Ok(codes)
    }

    /// Writes the column's values in a chunk of rows as positions along `axis`; see [`Data::codes`].
    ///
    /// # Errors
    /// [`DataError::NotOnAxis`] for a value that is no element of the axis.
    pub fn read_codes(
        &self,
        column: ColumnId,
        axis: &Axis,
        rows: Range<usize>,
        out: &mut [u32],
    ) -> Result<(), DataError> {
        out.copy_from_slice(self.codes(column, axis)?.rows(rows));
        Ok(())
    }

    /// The first row (from 0) in which a text column is missing.
    pub(crate) fn first_missing_text(&self, column: ColumnId) -> Option<usize> {
        let mut buffer = vec![0; PASS_ROWS.min(self.num_rows())];
        chunks(self.num_rows(), PASS_ROWS).find_map(|rows| {
            let codes = &mut buffer[..rows.len()];
            self.source.read_text_codes(column, rows.clone(), codes);
            let offset = codes.iter().position(|code| *code == MISSING_CODE)?;
            Some(rows.start + offset)
        })
    }

    /// The levels of a text column by number, for some rows.
    pub(crate) fn read_text_codes(&self, column: ColumnId, rows: Range<usize>, out: &mut [u32]) {
        self.source.read_text_codes(column, rows, out);
    }

    /// Names of an axis' elements, where they have names.
    pub fn element_names(&self, axis: &Axis) -> Option<Vec<String>> {
        match &axis.kind {
            AxisKind::Levels { levels, .. } => Some(levels.clone()),
            AxisKind::Block(block) => {
                Some(self.block(*block).columns.iter().map(|c| self.column(*c).name.clone()).collect())
            }
            AxisKind::Rows | AxisKind::Fixed | AxisKind::Anonymous => None,
        }
    }

    fn compute_codes(&self, column: ColumnId, axis: &Axis) -> Result<Vec<u32>, DataError> {
        let names = self.element_names(axis);
        let positions = match &names {
            Some(names) => Positions::Texts((0..).zip(names).map(|(i, n)| (n.as_str(), i)).collect()),
            None => Positions::Integers,
        };
        let integers_allowed = !matches!(axis.kind, AxisKind::Levels { .. });
        let position = |text: &str| match &positions {
            Positions::Texts(texts) => texts.get(text).copied(),
            Positions::Integers => None,
        };
        let refuse = |value: String, row: usize| DataError::NotOnAxis {
            column: self.column(column).name.clone(),
            value,
            place: self.place(row),
            axis: axis.name.clone(),
            known: match (&names, axis.size) {
                (Some(names), _) => some_of(names),
                (None, 0) => "none".to_owned(),
                (None, size) => format!(
                    "the integers 0 … {}; a plate of the column's own values is written {} = {{ levels = \"{}\" }}",
                    size - 1,
                    axis.name,
                    self.column(column).name
                ),
            },
        };
        let mut codes = vec![MISSING_CODE; self.num_rows()];
        if let ColumnKind::Text { levels } = &self.column(column).kind {
            let translated: Vec<Option<u32>> = levels.iter().map(|text| position(text)).collect();
            for rows in chunks(self.num_rows(), PASS_ROWS) {
                let chunk = &mut codes[rows.clone()];
                self.source.read_text_codes(column, rows.clone(), chunk);
                for (offset, code) in chunk.iter_mut().enumerate() {
                    if *code != MISSING_CODE {
                        let level = *code as usize;
                        *code = translated[level].ok_or_else(|| refuse(levels[level].clone(), rows.start + offset))?;
                    }
                }
            }
        } else {
            let mut known: HashMap<u64, u32> = HashMap::new();
            self.for_each_number(column, |row, value| {
                if value.is_nan() {
                    return Ok(());
                }
                codes[row] = match known.get(&value.to_bits()) {
                    Some(code) => *code,
                    None => {
                        let is_position = value >= 0.0 && value.fract() == 0.0 && value < axis.size as f64;
                        let code = position(&number_text(value))
                            .or((integers_allowed && is_position).then_some(value as u32))
                            .ok_or_else(|| refuse(number_text(value), row))?;
                        known.insert(value.to_bits(), code);
                        code
                    }
                };
                Ok(())
            })?;
        }
        Ok(codes)
    }

    /// Calls `see` with every row (from 0) and raw number of a numeric column.
    fn for_each_number<E>(&self, column: ColumnId, mut see: impl FnMut(usize, f64) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = vec![0.0; PASS_ROWS.min(self.num_rows())];
        for rows in chunks(self.num_rows(), PASS_ROWS) {
            let cells = &mut buffer[..rows.len()];
            self.source.read(&[column], rows.clone(), cells);
            for (row, value) in rows.zip(cells) {
                see(row, *value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BlockId;

    fn data() -> Data {
        let text = "group,id,x,y\nb,3,0.5,2\na,3.0,0.25,y\nNA,-0,0.5,0\nb,0,,x\n";
        let mut data = Data::from_delimited(text.as_bytes(), b',', "t.csv").unwrap();
        data.add_block("block", vec![ColumnId(2), ColumnId(3)]);
        data
    }

    fn axis(name: &str, size: usize, kind: AxisKind) -> Axis {
        Axis { name: name.to_owned(), size, kind }
    }

    #[test]
    fn levels_come_in_order_of_first_appearance() {
        let data = data();
        assert_eq!(data.levels(ColumnId(0)), ["b", "a"]);
        assert_eq!(data.levels(ColumnId(1)), ["3", "0"]);
        assert_eq!(data.levels(ColumnId(2)), ["0.5", "0.25"]);
    }

    #[test]
    fn codes_match_levels_by_text() {
        let data = data();
        let levels = |column: usize, levels: &[&str]| {
            axis(
                "group",
                levels.len(),
                AxisKind::Levels { column: ColumnId(column), levels: levels.iter().map(|l| (*l).to_owned()).collect() },
            )
        };
        let codes = data.codes(ColumnId(0), &levels(0, &["a", "b"])).unwrap();
        assert_eq!(codes.all(), [1, 0, MISSING_CODE, 1]);
        assert_eq!(codes.first_missing(), Some(2));
        let numbers = data.codes(ColumnId(1), &levels(1, &["3", "0"])).unwrap();
        assert_eq!(numbers.rows(1..4), [0, 1, 1]);
        let mut chunk = [0; 2];
        data.read_codes(ColumnId(1), &levels(1, &["3", "0"]), 1..3, &mut chunk).unwrap();
        assert_eq!(chunk, [0, 1]);
    }

    #[test]
    fn codes_along_fixed_and_block_axes() {
        let data = data();
        let fixed = data.codes(ColumnId(1), &axis("k", 4, AxisKind::Fixed)).unwrap();
        assert_eq!(fixed.all(), [3, 3, 0, 0]);
        let block = axis("block", 2, AxisKind::Block(BlockId(0)));
        // `y` mixes headers (as text) with integers, which are text there and so must be headers too.
        let error = data.codes(ColumnId(3), &block).unwrap_err().to_string();
        assert!(error.contains("`2`") && error.contains("row 1 (line 2)"), "{error}");
        let small = data.codes(ColumnId(1), &axis("k", 3, AxisKind::Fixed));
        let text = small.unwrap_err().to_string();
        assert!(text.contains("`id`") && text.contains("`3`") && text.contains("0 … 2"), "{text}");
        assert!(data.codes(ColumnId(2), &axis("k", 3, AxisKind::Fixed)).is_err());
    }
}
