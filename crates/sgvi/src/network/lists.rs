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
    /// Begins `count` lists for every block of a table of `depth` rows, with room for `others` numbers in all. They are to be
    /// added block by block.
    #[inline(always)]
    pub(super) fn begin(&mut self, count: usize, depth: usize, block: usize, others: usize) {
        (self.count, self.depth, self.block) = (count, depth, block);
        self.starts.clear();
        self.starts.reserve(self.num_blocks() * count + 1);
        self.starts.push(0);
        if self.places.len() < others + ROOM {
            self.places.resize(others + ROOM, 0);
            self.values.resize(others + ROOM, 0.0);
        }
    }

    /// Adds the list of these numbers.
    #[inline(always)]
    pub(super) fn add(&mut self, numbers: &[f32], taker: impl Taker) {
        let end = self.len();
        let taken = taker.take(numbers, &mut self.places[end..], &mut self.values[end..]);
        self.starts.push((end + taken) as u32);
    }

    /// Makes them the lists of the rows of a `[rows, depth]` matrix, of whose numbers `others` are not zero.
    #[inline(always)]
    pub(super) fn of_rows(&mut self, matrix: &[f32], depth: usize, block: usize, others: usize, taker: impl Taker) {
        self.begin(matrix.len() / depth.max(1), depth, block, others);
        for first in (0..depth).step_by(block) {
            let last = (first + block).min(depth);
            for row in matrix.chunks_exact(depth) {
                self.add(&row[first..last], taker);
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
}

/// Takes the numbers of a list: a type and no closure, so that its method is compiled into its caller with the caller's
/// instructions.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) trait Taker: Copy {
    /// Writes those of the numbers that are not zero, and their positions among them, and says how many they are. Both
    /// slices have room for sixteen more than that.
    fn take(self, numbers: &[f32], places: &mut [u32], values: &mut [f32]) -> usize;
}

/// Takes numbers where nothing faster is at hand.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct OneByOne;

impl Taker for OneByOne {
    #[inline(always)]
    fn take(self, numbers: &[f32], places: &mut [u32], values: &mut [f32]) -> usize {
        let mut taken = 0;
        for (place, &number) in numbers.iter().enumerate() {
            (places[taken], values[taken]) = (place as u32, number);
            taken += usize::from(number != 0.0);
        }
        taken
    }
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
            by_row.of_rows(&matrix, depth, block, others, OneByOne);
            by_column.begin(depth, rows, 4, others);
            for band in matrix.chunks(4 * depth) {
                for column in 0..depth {
                    let numbers: Vec<f32> = band.iter().skip(column).step_by(depth).copied().collect();
                    by_column.add(&numbers, OneByOne);
                }
            }
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
