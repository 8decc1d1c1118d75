//! Tables with a line for each data row, as CSV.

use std::fmt::Write as _;

/// Columns of numbers, one for each row, that become a CSV table with the number of the row, from 0, in front.
#[derive(Debug, Clone, Default)]
pub struct RowTable {
    columns: Vec<(String, Vec<f64>)>,
}

impl RowTable {
    /// Adds element `index` of values `[num_rows, width]`; its column is called `name`, or `name_ELEMENT` where there are names of
    /// elements.
    pub fn push(&mut self, name: &str, elements: &[String], values: &[f64], width: usize, index: usize) {
        let name = match elements.get(index) {
            Some(element) => format!("{name}_{element}"),
            None => name.to_owned(),
        };
        self.columns.push((name, values.iter().skip(index).step_by(width.max(1)).copied().collect()));
    }

    /// The table. What is not a number (the mean of a Cauchy, the density of a row without values) is an empty cell.
    #[must_use]
    pub fn to_csv(&self, num_rows: usize) -> String {
        let mut text = "row".to_owned();
        for (name, _) in &self.columns {
            text.push(',');
            if name.contains([',', '"', '\n']) {
                let _ = write!(text, "\"{}\"", name.replace('"', "\"\""));
            } else {
                text.push_str(name);
            }
        }
        text.push('\n');
        for row in 0..num_rows {
            let _ = write!(text, "{row}");
            for (_, values) in &self.columns {
                text.push(',');
                if !values[row].is_nan() {
                    let _ = write!(text, "{:?}", values[row]);
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_their_elements_and_nothing_is_an_empty_cell() {
        let mut table = RowTable::default();
        let elements = ["a".to_owned(), "b, c".to_owned()];
        table.push("x", &elements, &[1.0, 2.5, f64::NAN, 4.0], 2, 0);
        table.push("x", &elements, &[1.0, 2.5, f64::NAN, 4.0], 2, 1);
        table.push("y", &[], &[0.5, 1e300], 1, 0);
        assert_eq!(table.to_csv(2), "row,x_a,\"x_b, c\",y\n0,1.0,2.5,0.5\n1,,4.0,1e300\n");
    }
}
