//! A hash of a model and its data, by which a run tells whether it is given the same ones again.

use crate::data::{ColumnId, ColumnKind, DataError};
use crate::graph::Graph;

/// Cells that are looked at, at most: of long data the first rows.
const MOST_CELLS: usize = 1 << 23;
/// Rows that are looked at, at most.
const MOST_ROWS: usize = 1 << 16;

impl Graph {
    /// The 64-bit FNV-1a hash of the model's text, the number of rows, the columns and the first rows of their cells: at most 65 536
    /// rows and 2²³ cells.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn fingerprint(&self) -> Result<u64, DataError> {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(self.source.text.as_bytes());
        add(&(self.data.num_rows() as u64).to_le_bytes());
        let rows = self.data.num_rows().min(MOST_ROWS).min(MOST_CELLS / self.data.columns.len().max(1));
        let (mut values, mut codes) = (vec![0.0; rows], vec![0_u32; rows]);
        for (index, column) in self.data.columns.iter().enumerate() {
            let id = ColumnId(index);
            add(column.name.as_bytes());
            match &column.kind {
                ColumnKind::Text { levels } => {
                    levels.iter().for_each(|level| add(level.as_bytes()));
                    self.data.read_text_codes(id, 0..rows, &mut codes);
                    codes.iter().for_each(|code| add(&code.to_le_bytes()));
                }
                ColumnKind::Numeric => {
                    self.data.read(&[id], 0..rows, &mut values)?;
                    values.iter().for_each(|value| add(&value.to_bits().to_le_bytes()));
                }
            }
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn fingerprint(x: &str, kind: &str) -> u64 {
        let data = std::env::temp_dir().join(format!("vi-model-fingerprint-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("data.csv"), format!("x,kind\n1,a\n{x},{kind}\n3,b\n")).unwrap();
        let model = "[data]\nfile = \"data.csv\"\n[plates]\nrow = \"rows\"\n[variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\n\
                     mean = 0\nsd = 1\nobserved = \"x\"\n";
        crate::load_str(model, "model.toml", Path::new(&data)).unwrap().fingerprint().unwrap()
    }

    #[test]
    fn other_cells_of_the_same_model_are_told_apart() {
        let own = fingerprint("2", "a");
        assert_eq!(own, fingerprint("2", "a"));
        assert_ne!(own, fingerprint("2.5", "a"));
        assert_ne!(own, fingerprint("2", "b"));
    }
}
