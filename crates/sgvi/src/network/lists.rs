//! The numbers of a matrix that are not zero, as lists that products read instead of the matrix.

/// Numbers that may be written beyond the last one that is kept.
const ROOM: usize = 16;

/// For every row of a matrix, or for every column, where its numbers other than zero stand and what they are.
///
/// What the lists multiply is a table with a row for each place. They are cut where blocks of the table end, which take
/// turns in the first cache.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct Lists {
    /// Lists of a block.
    count: usize,
    /// Rows of the table.
    depth: usize,
    /// Rows of a block of it.
    block: usize,
    /// Where each list begins, block after block, and where the last one ends.
    starts: Vec<u32>,
    /// Places within the block, below its number of rows.
    places: Vec<u32>,
    values: Vec<f32>,
}

/// The part of the lists that lies in one block of the table.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct Block<'a> {
    /// Where each list begins in the other two, and where the last one ends.
    pub starts: &'a [u32],
    /// All below `rows`.
    pub places: &'a [u32],
    pub values: &'a [f32],
    /// Rows of the block.
    pub rows: usize,
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl Lists {
    /// Makes them the lists of the rows of a `[rows, depth]` matrix, of whose numbers `others` are not zero.
    ///
    /// `take` writes those of a few numbers that are not zero, and their positions among them, and says how many they are.
    /// It finds room for sixteen more than that.
    #[inline(always)]
    pub(super) fn of_rows(
        &mut self,
        matrix: &[f32],
        depth: usize,
        block: usize,
        others: usize,
        take: impl Fn(&[f32], &mut [u32], &mut [f32]) -> usize,
    ) {
        (self.count, self.depth, self.block) = (matrix.len() / depth.max(1), depth, block);
        self.starts.resize(self.num_blocks() * self.count + 1, 0);
        self.make_room(others);
        let mut end = 0;
        let mut starts = self.starts.iter_mut();
        for first in (0..depth).step_by(block) {
            let last = (first + block).min(depth);
            for (row, start) in matrix.chunks_exact(depth).zip(&mut starts) {
                *start = end as u32;
                end += take(&row[first..last], &mut self.places[end..], &mut self.values[end..]);
            }
        }
        starts.for_each(|start| *start = end as u32);
    }

    /// Counts the numbers in the columns of a `[rows, depth]` matrix that are not zero; returns how many they are in all.
    #[inline(always)]
    pub(super) fn count_columns(&mut self, matrix: &[f32], depth: usize, block: usize) -> usize {
        (self.count, self.depth, self.block) = (depth, matrix.len() / depth.max(1), block);
        self.starts.clear();
        self.starts.resize(self.num_blocks() * depth + 1, 0);
        // One further on, where the beginning of the next list will stand.
        let counts = self.starts[1..].chunks_exact_mut(depth.max(1));
        for (rows, counts) in matrix.chunks((block * depth).max(1)).zip(counts) {
            for row in rows.chunks_exact(depth) {
                for (count, &number) in counts.iter_mut().zip(row) {
                    *count += u32::from(number != 0.0);
                }
            }
        }
        self.starts.iter().map(|&count| count as usize).sum()
    }

    /// Makes them the lists of the columns that were counted, from those of the rows of the same matrix.
    pub(super) fn of_columns(&mut self, rows: &Self) {
        self.make_room(rows.len());
        let mut begin = 0;
        for start in &mut self.starts[1..] {
            (*start, begin) = (begin, begin + *start);
        }
        let places = &mut self.places[..];
        let values = &mut self.values[..places.len()];
        for row in 0..rows.count {
            for block in 0..rows.num_blocks() {
                let at = block * rows.count + row;
                let list = rows.starts[at] as usize..rows.starts[at + 1] as usize;
                // Each number moves the beginning of its list to the place behind it; at last it is that of the next.
                let starts = &mut self.starts[row / self.block * self.count + block * rows.block + 1..];
                for (&place, &value) in rows.places[list.clone()].iter().zip(&rows.values[list]) {
                    let start = &mut starts[place as usize];
                    (places[*start as usize], values[*start as usize]) = ((row % self.block) as u32, value);
                    *start += 1;
                }
            }
        }
    }

    /// Forgets the matrix.
    pub(super) fn clear(&mut self) {
        self.depth = 0;
    }

    /// Whether they are lists of no matrix.
    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// Blocks of the table.
    pub(super) fn num_blocks(&self) -> usize {
        self.depth.div_ceil(self.block.max(1))
    }

    /// The part of the lists that lies in a block.
    pub(super) fn block(&self, index: usize) -> Block<'_> {
        Block {
            starts: &self.starts[index * self.count..=(index + 1) * self.count],
            places: &self.places[..self.len()],
            values: &self.values[..self.len()],
            rows: self.block.min(self.depth - index * self.block),
        }
    }

    /// Numbers in all lists.
    fn len(&self) -> usize {
        self.starts.last().map_or(0, |&end| end as usize)
    }

    fn make_room(&mut self, others: usize) {
        if self.places.len() < others + ROOM {
            self.places.resize(others + ROOM, 0);
            self.values.resize(others + ROOM, 0.0);
        }
    }
}

/// [`Lists::of_rows`] takes numbers by this where nothing faster is at hand.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) fn take_others(numbers: &[f32], places: &mut [u32], values: &mut [f32]) -> usize {
    let mut taken = 0;
    for (place, &number) in numbers.iter().enumerate() {
        (places[taken], values[taken]) = (place as u32, number);
        taken += usize::from(number != 0.0);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_rows_and_columns_hold_every_other_number_once() {
        let (rows, depth) = (13, 29);
        let matrix: Vec<f32> =
            (0..rows * depth).map(|i| if i * i % 7 < 2 || i % depth == 4 { 0.0 } else { i as f32 }).collect();
        let others = matrix.iter().filter(|&&x| x != 0.0).count();
        let mut by_row = Lists::default();
        let mut by_column = Lists::default();
        for block in [5, 29, 100] {
            by_row.of_rows(&matrix, depth, block, others, take_others);
            assert_eq!(by_column.count_columns(&matrix, depth, 4), others);
            by_column.of_columns(&by_row);
            for (lists, height, across) in [(&by_row, block, false), (&by_column, 4, true)] {
                let mut found = vec![0.0; rows * depth];
                for index in 0..lists.num_blocks() {
                    let block = lists.block(index);
                    for (list, range) in block.starts.windows(2).enumerate() {
                        let range = range[0] as usize..range[1] as usize;
                        assert!(block.places[range.clone()].is_sorted_by(|a, b| a < b));
                        for (&place, &value) in block.places[range.clone()].iter().zip(&block.values[range]) {
                            assert!((place as usize) < block.rows);
                            let place = index * height + place as usize;
                            found[if across { place * depth + list } else { list * depth + place }] += value;
                        }
                    }
                }
                assert_eq!(found, matrix);
            }
        }
        by_row.clear();
        assert!(by_row.is_empty() && !by_column.is_empty());
    }
}
