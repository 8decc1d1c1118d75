//! The rows of a model as they occur: each repeated as often as the column of `counts` says.

use std::sync::Arc;

use crate::data::DataError;
use crate::graph::{AxisId, Distribution, Graph, NodeKind, Tensor, VariableId};

/// Rows at most, repetitions included.
pub const MOST_REPEATED: usize = 20_000_000;

/// Why rows cannot be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RepeatError {
    /// A count is no whole number.
    #[error("column `{column}` of `counts` holds {value} in data row {row}, and part of a row cannot be repeated")]
    Fraction {
        /// The column.
        column: String,
        /// The row, counted from 1.
        row: usize,
        /// Its count.
        value: f64,
    },
    /// There would be too many rows.
    #[error("the counts of column `{column}` come to {total} rows, more than {MOST_REPEATED}")]
    TooMany {
        /// The column.
        column: String,
        /// Sum of the counts.
        total: f64,
    },
    /// A variable takes the rows for its values or coordinates, so that a repeated row would be another one.
    #[error("the rows are the values or the coordinates of `{variable}`, so they cannot be repeated")]
    Values {
        /// The variable.
        variable: String,
    },
    /// The counts cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// A model whose rows occur once each.
#[derive(Debug, Clone)]
pub struct RepeatedRows {
    /// The model without `counts`.
    pub graph: Graph,
    /// For each row of the data, its first copy; `None` where it occurs no times.
    pub first_copy: Vec<Option<usize>>,
}

/// The same model over rows that are repeated in place; `None` where the model has no `counts`.
///
/// # Errors
/// Counts that are not whole or too many; variables for which a row is a value.
pub fn repeated_rows(graph: &Graph) -> Result<Option<RepeatedRows>, RepeatError> {
    let (Some(column), Some(axis)) = (graph.counts, graph.rows) else { return Ok(None) };
    let name = || graph.data.column(column).name.clone();
    let mut counts = vec![0.0; graph.data.num_rows()];
    graph.data.read(&[column], 0..counts.len(), &mut counts)?;
    if let Some(row) = counts.iter().position(|c| c.fract() != 0.0) {
        return Err(RepeatError::Fraction { column: name(), row: row + 1, value: counts[row] });
    }
    let total: f64 = counts.iter().sum();
    if total > MOST_REPEATED as f64 {
        return Err(RepeatError::TooMany { column: name(), total });
    }
    for v in (0..graph.variables.len()).map(VariableId) {
        let variable = graph.variable(v);
        let range = match variable.distribution {
            Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => Some(range),
            _ => None,
        };
        if variable.dimension == Some(axis) || range == Some(axis) {
            return Err(RepeatError::Values { variable: variable.name.clone() });
        }
    }
    let (mut rows, mut first_copy) = (Vec::with_capacity(total as usize), Vec::with_capacity(counts.len()));
    for (row, count) in counts.iter().enumerate() {
        first_copy.push((*count > 0.0).then_some(rows.len()));
        rows.extend(std::iter::repeat_n(row, *count as usize));
    }
    let repeated = taken_rows(graph, axis, rows);
    Ok(Some(RepeatedRows { graph: repeated, first_copy }))
}

/// The same model over rows of its data, each counted once, in the given order; `axis` is that of the rows.
pub fn taken_rows(graph: &Graph, axis: AxisId, rows: Vec<usize>) -> Graph {
    let mut other = graph.clone();
    other.counts = None;
    other.axes[axis.0].size = rows.len();
    for node in &mut other.nodes {
        if let NodeKind::Constant(tensor) = &mut node.kind {
            *tensor = taken(tensor, axis, &rows);
        }
    }
    for variable in &mut other.variables {
        variable.initial = variable.initial.take().map(|tensor| taken(&tensor, axis, &rows));
    }
    other.data = Arc::new(graph.data.selected(rows));
    other
}

/// The elements of an array at the given places of an axis.
fn taken(tensor: &Arc<Tensor>, axis: AxisId, places: &[usize]) -> Arc<Tensor> {
    let Some(at) = tensor.axes.iter().position(|a| *a == axis) else { return Arc::clone(tensor) };
    let (outer, inner): (usize, usize) = (tensor.shape[..at].iter().product(), tensor.shape[at + 1..].iter().product());
    let length = tensor.shape[at];
    let mut values = Vec::with_capacity(outer * places.len() * inner);
    for o in 0..outer {
        for place in places {
            let from = (o * length + place) * inner;
            values.extend_from_slice(&tensor.values[from..from + inner]);
        }
    }
    let mut shape = tensor.shape.clone();
    shape[at] = places.len();
    Arc::new(Tensor { axes: tensor.axes.clone(), shape, values })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn model(counts: &str) -> Graph {
        let text = format!(
            "[data]\ncounts = \"c\"\nstandardize = [\"y\"]\n[data.values]\ny = [1.5, -2, 0.5, 4]\nc = {counts}\ng = [\"u\", \"v\", \"u\", \"w\"]\n\
             shift = {{ axes = [\"row\"], values = [10, 20, 30, 40] }}\n\
             [plates]\nrow = \"rows\"\ngroup = {{ levels = \"g\" }}\n\
             [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"shift\"\nsd = 1\nobserved = \"y\"\n"
        );
        vi_model(&text)
    }

    fn vi_model(text: &str) -> Graph {
        crate::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn rows_stand_as_often_as_they_occur() {
        let graph = model("[2, 0, 1, 3]");
        let repeated = repeated_rows(&graph).unwrap().unwrap();
        assert_eq!(repeated.first_copy, [Some(0), None, Some(2), Some(3)]);
        let (data, rows) = (&repeated.graph.data, [0, 0, 2, 3, 3, 3]);
        assert_eq!(data.num_rows(), 6);
        assert_eq!(repeated.graph.axis(repeated.graph.rows.unwrap()).size, 6);
        let column = data.column_named("y").unwrap();
        let (mut plain, mut found) = (vec![0.0; 4], vec![0.0; 4]);
        graph.data.read(&[column], 0..4, &mut plain).unwrap();
        // Part of the rows, standardized as the whole.
        data.read(&[column], 1..5, &mut found).unwrap();
        assert_eq!(found, rows[1..5].iter().map(|r| plain[*r]).collect::<Vec<f64>>());
        let axis = graph.axes.iter().find(|a| a.name == "group").unwrap();
        assert_eq!(data.codes(data.column_named("g").unwrap(), axis).unwrap().all(), [0, 0, 0, 2, 2, 2]);
        let shift = repeated.graph.nodes.iter().find_map(|n| match &n.kind {
            NodeKind::Constant(t) if t.shape == [6] => Some(t.values.clone()),
            _ => None,
        });
        assert_eq!(shift.unwrap(), [10.0, 10.0, 30.0, 40.0, 40.0, 40.0]);
    }

    #[test]
    fn what_cannot_be_repeated_is_said() {
        let error = repeated_rows(&model("[1, 1.5, 1, 1]")).unwrap_err().to_string();
        assert!(error.contains("1.5") && error.contains("row 2"), "{error}");
        let error = repeated_rows(&model("[1, 1e12, 1, 1]")).unwrap_err().to_string();
        assert!(error.contains("rows, more than"), "{error}");
        let text = "[data]\ncounts = \"c\"\n[data.values]\ny = [1, 2]\nc = [1, 2]\np = { axes = [\"row\"], values = [0.5, 0.5] }\n\
             [plates]\nrow = \"rows\"\n[variables.z]\ndistribution = \"categorical\"\nprobabilities = \"p\"\n";
        assert!(matches!(repeated_rows(&vi_model(text)), Err(RepeatError::Values { .. })));
    }
}
