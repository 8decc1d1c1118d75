//! Rows that read several look-ups at once: the table of combinations that occur.

use std::collections::HashMap;

use crate::error::CaviError;
use crate::lower::Lowered;
use crate::program::Label;

/// The distinct combinations of several look-ups over the rows.
#[derive(Debug, Clone)]
pub(crate) struct PairTable {
    /// The look-ups, sorted.
    pub(crate) codes: Vec<usize>,
    /// For each look-up its code in each combination; indexed as `Program::codes`, empty where not used.
    pub(crate) code_arrays: Vec<Vec<u32>>,
    /// The combination of each row.
    pub(crate) row_to_pair: Vec<u32>,
    /// Index of `row_to_pair` among the code arrays of the rows, after those of the program.
    pub(crate) row_codes: usize,
    /// The label that runs over the combinations.
    pub(crate) label: Label,
    count: usize,
}

impl PairTable {
    /// Number of combinations.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Reads the look-ups and numbers their combinations in order of first appearance.
    pub(crate) fn build(lowered: &mut Lowered, codes: &[usize], position: usize) -> Result<Self, CaviError> {
        let mut arrays = Vec::new();
        for &c in codes {
            arrays.push(lowered.program.codes[c].read(&lowered.graph)?);
        }
        let rows = lowered.program.num_rows;
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut combinations: Vec<Vec<u32>> = Vec::new();
        let mut row_to_pair = Vec::with_capacity(rows);
        for row in 0..rows {
            let key: Vec<u32> = arrays.iter().map(|a| a.all()[row]).collect();
            if key.contains(&crate::kernel::nest::MISSING) {
                row_to_pair.push(crate::kernel::nest::MISSING);
                continue;
            }
            let next = combinations.len() as u32;
            let id = *known.entry(key.clone()).or_insert_with(|| {
                combinations.push(key);
                next
            });
            row_to_pair.push(id);
        }
        let mut code_arrays = vec![Vec::new(); lowered.program.codes.len()];
        for (i, &c) in codes.iter().enumerate() {
            code_arrays[c] = combinations.iter().map(|k| k[i]).collect();
        }
        let count = combinations.len();
        let label = lowered.program.new_label("combination", count);
        Ok(Self {
            codes: codes.to_vec(),
            code_arrays,
            row_to_pair,
            row_codes: lowered.program.codes.len() + position,
            label,
            count,
        })
    }
}
