//! Numbers, constants and the names of indices, as they are written in formulas.

use vi_model::graph::{Axis, AxisKind};

use crate::program::Constant;

/// Entries of a constant that are written out.
const MOST_ENTRIES: usize = 9;

/// A number with a true minus sign and at most six significant digits.
pub(super) fn number(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    let size = value.abs();
    let text = match size {
        0.5 => "½".to_owned(),
        0.25 => "¼".to_owned(),
        _ => {
            let rounded = format!("{size:.5e}").parse::<f64>().unwrap_or(size);
            if rounded != 0.0 && !(1e-4..1e7).contains(&rounded) {
                format!("{rounded:e}")
            } else {
                format!("{rounded}")
            }
        }
    };
    format!("{sign}{text}")
}

/// The name with one more prime.
pub(super) fn primed(name: &str) -> String {
    format!("{name}′")
}

/// The name of an axis as an index; one that has no name of its own is `i`.
pub(super) fn short_axis(axis: &Axis) -> String {
    if axis.kind == AxisKind::Anonymous { "i".to_owned() } else { axis.name.clone() }
}

/// A constant array at some positions: `I[i, i′]`, `(0.7, 0.3)[state]`, `constant[word]`.
pub(super) fn constant(constant: &Constant, positions: &[String]) -> String {
    let at = if positions.is_empty() { String::new() } else { format!("[{}]", positions.join(", ")) };
    let values = &constant.values;
    if let [n, m] = constant.shape[..]
        && n == m
        && n > 1
    {
        let diagonal = values[0];
        let is_identity = values.iter().enumerate().all(|(k, v)| *v == if k / n == k % n { diagonal } else { 0.0 });
        if is_identity {
            return if diagonal == 1.0 { format!("I{at}") } else { format!("({}·I){at}", number(diagonal)) };
        }
    }
    if values.len() > MOST_ENTRIES {
        return format!("constant{at}");
    }
    let width = constant.shape.last().copied().unwrap_or(1).max(1);
    let rows: Vec<String> =
        values.chunks(width).map(|r| r.iter().map(|v| number(*v)).collect::<Vec<_>>().join(", ")).collect();
    format!("({}){at}", rows.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(-0.5), "−½");
        assert_eq!(number(272.0), "272");
        assert_eq!(number(1.0 / 3.0), "0.333333");
        assert_eq!(number(-1e-9), "−1e-9");
        assert_eq!(number(0.0), "0");
    }

    #[test]
    fn constants_are_recognised() {
        let square = |values: Vec<f64>| Constant { shape: vec![2, 2], values: Arc::new(values) };
        let at = ["i".to_owned(), "i′".to_owned()];
        assert_eq!(constant(&square(vec![1.0, 0.0, 0.0, 1.0]), &at), "I[i, i′]");
        assert_eq!(constant(&square(vec![2.0, 0.0, 0.0, 2.0]), &at), "(2·I)[i, i′]");
        assert_eq!(constant(&square(vec![1.0, 0.5, 0.5, 2.0]), &at), "(1, ½; ½, 2)[i, i′]");
        let long = Constant { shape: vec![10], values: Arc::new((0..10).map(f64::from).collect()) };
        assert_eq!(constant(&long, &at[..1]), "constant[i]");
    }
}
