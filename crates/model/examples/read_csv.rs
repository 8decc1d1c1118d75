//! Times the reading of a table: `cargo run --release -p vi-model --example read_csv -- FILE`, or of a generated one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use vi_model::data::{Data, PASS_ROWS, chunks};

const NUM_ROWS: usize = 1_000_000;
const NUM_COLUMNS: usize = 16;

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = match std::env::args().nth(1) {
        Some(path) => PathBuf::from(path),
        None => generate()?,
    };
    let start = Instant::now();
    let data = Data::from_file(&path)?;
    println!(
        "opened {} rows × {} columns in {:.2} s",
        data.num_rows(),
        data.columns.len(),
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let numeric = data.columns_matching("*")?;
    let numeric: Vec<_> = numeric.into_iter().filter(|column| data.require_numeric(*column).is_ok()).collect();
    let mut buffer = vec![0.0; PASS_ROWS * numeric.len()];
    let mut sum = 0.0;
    for rows in chunks(data.num_rows(), PASS_ROWS) {
        let cells = &mut buffer[..rows.len() * numeric.len()];
        data.read(&numeric, rows, cells)?;
        sum += cells.iter().filter(|cell| !cell.is_nan()).sum::<f64>();
    }
    println!("one pass over {} numeric columns in {:.2} s (sum {sum})", numeric.len(), start.elapsed().as_secs_f64());
    Ok(())
}

/// Writes a table of reproducible numbers with 17 digits into the temporary folder.
fn generate() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join("read_csv_example.csv");
    let names: Vec<String> = (0..NUM_COLUMNS).map(|j| format!("x{j}")).collect();
    let mut text = names.join(",") + "\n";
    // Weyl sequence of the golden ratio.
    let mut value = 0.5f64;
    for _ in 0..NUM_ROWS {
        for j in 0..NUM_COLUMNS {
            value = (value + 0.618_033_988_749_894_9).fract();
            let separator = if j + 1 == NUM_COLUMNS { '\n' } else { ',' };
            write!(text, "{value}{separator}")?;
        }
    }
    std::fs::write(&path, text)?;
    Ok(path)
}
