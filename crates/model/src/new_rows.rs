//! New data rows brought into the columns of the data of a fit, for predictions.

use std::sync::Arc;

use crate::data::{Cells, ColumnId, ColumnKind, Data, DataError, MISSING_CODE, number_text, some_of};
use crate::diagnostic::ModelError;
use crate::graph::{Axis, AxisKind, Graph, IndexSource, NodeId, NodeKind, Observation, VariableId};
use crate::support::check_new_rows;

/// Why rows cannot be those of a model.
#[derive(Debug, thiserror::Error)]
pub enum NewRowsError {
    /// A column that parameters are computed from is not in the new data.
    #[error("the new data have no column `{column}`, from which the model computes `{user}` (they have {known})")]
    MissingColumn {
        /// The column.
        column: String,
        /// The variable or expression that needs it.
        user: String,
        /// The columns that there are.
        known: String,
    },
    /// A cell that parameters are computed from is missing.
    #[error("row {row} of the new data has no value in `{column}`, from which the model computes `{user}`")]
    MissingCell {
        /// The row, counted from 1.
        row: usize,
        /// The column.
        column: String,
        /// The variable or expression that needs it.
        user: String,
    },
    /// There are no rows.
    #[error("the new data have no rows, so there is nothing to predict")]
    NoRows,
    /// Cells lie outside the support of their distribution.
    #[error("in the new data {0}")]
    Support(ModelError),
    /// The cells cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// New rows in the columns of the fit's data, with its standardization and blocks; columns are matched by name.
///
/// A column of observed values that `data` lacks counts as missing; a lacking column of `counts` counts every row once.
///
/// # Errors
///
/// Refuses data without rows, data that lack what parameters and expressions are computed from, and values that no
/// distribution of theirs has.
pub fn new_rows(graph: &Graph, data: &Data) -> Result<Data, NewRowsError> {
    if data.num_rows() == 0 {
        return Err(NewRowsError::NoRows);
    }
    for v in (0..graph.variables.len()).map(VariableId) {
        let nodes: Vec<NodeId> =
            graph.variable(v).distribution.parameters().into_iter().map(|(_, node)| node).collect();
        check_covariates(graph, data, &graph.variable(v).name, &nodes)?;
    }
    for expression in &graph.expressions {
        check_covariates(graph, data, &expression.name, &[expression.node])?;
    }
    let mut other = graph.clone();
    other.data = Arc::new(aligned(graph, data)?);
    let diagnostics = check_new_rows(&other);
    if !diagnostics.is_empty() {
        return Err(NewRowsError::Support(ModelError { source: graph.source.clone(), diagnostics }));
    }
    Ok(Arc::unwrap_or_clone(other.data))
}

/// What to say of data that have none of the columns that the model reads, and so are hardly those that were meant: nothing
/// tells their rows apart. `None` where there is at least one, or where the model reads none.
#[must_use]
pub fn nothing_in_common(graph: &Graph, data: &Data) -> Option<String> {
    let mut read = Vec::new();
    for variable in &graph.variables {
        let mut nodes: Vec<NodeId> = variable.distribution.parameters().into_iter().map(|(_, node)| node).collect();
        match variable.observed {
            Some(Observation::Numeric(node)) => nodes.push(node),
            Some(Observation::Levels { column, .. }) => read.push(column),
            Some(Observation::LevelsBlock { block, .. }) => read.extend(&graph.data.block(block).columns),
            None => {}
        }
        read.extend(covariates(graph, &nodes));
    }
    let mut names: Vec<&str> = read.iter().map(|column| graph.data.column(*column).name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.iter().any(|name| data.column_named(name).is_some()) {
        return None;
    }
    let known: Vec<&str> = data.columns.iter().map(|column| column.name.as_str()).collect();
    Some(format!(
        "the new data have none of the columns that the model reads ({}), so all rows are predicted alike; they have {}",
        some_of(&names),
        some_of(&known)
    ))
}

/// Columns that nodes are computed from.
fn covariates(graph: &Graph, nodes: &[NodeId]) -> Vec<ColumnId> {
    let mut columns = Vec::new();
    for node in nodes {
        graph.visit(*node, &mut |n| match n.kind {
            NodeKind::Column(column) | NodeKind::Index { index: IndexSource::Column(column), .. } => {
                columns.push(column)
            }
            NodeKind::Block(block) => columns.extend(&graph.data.block(block).columns),
            _ => {}
        });
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Refuses data in which what nodes are computed from is missing.
fn check_covariates(graph: &Graph, data: &Data, user: &str, nodes: &[NodeId]) -> Result<(), NewRowsError> {
    for column in covariates(graph, nodes) {
        let name = &graph.data.column(column).name;
        let Some(found) = data.column_named(name) else {
            let known: Vec<&str> = data.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(NewRowsError::MissingColumn {
                column: name.clone(),
                user: user.to_owned(),
                known: known.join(", "),
            });
        };
        let missing = match cells(data, found)? {
            Cells::Numbers(values) => values.iter().position(|x| x.is_nan()),
            Cells::Text(texts) => texts.iter().position(Option::is_none),
        };
        if let Some(row) = missing {
            return Err(NewRowsError::MissingCell { row: row + 1, column: name.clone(), user: user.to_owned() });
        }
    }
    Ok(())
}

/// The cells of a column as they were read.
fn cells(data: &Data, column: ColumnId) -> Result<Cells, DataError> {
    let rows = data.num_rows();
    if let ColumnKind::Text { levels } = &data.column(column).kind {
        let axis = Axis {
            name: data.column(column).name.clone(),
            size: levels.len(),
            kind: AxisKind::Levels { column, levels: levels.clone() },
        };
        let codes = data.codes(column, &axis)?;
        let text = |code: &u32| (*code != MISSING_CODE).then(|| levels.get(*code as usize).cloned()).flatten();
        return Ok(Cells::Text(codes.all().iter().map(text).collect()));
    }
    let mut values = vec![0.0; rows];
    data.read(&[column], 0..rows, &mut values)?;
    Ok(Cells::Numbers(values))
}

/// The rows' cells under the fit's columns.
fn aligned(graph: &Graph, data: &Data) -> Result<Data, DataError> {
    let rows = data.num_rows();
    let mut columns = Vec::new();
    for (index, column) in graph.data.columns.iter().enumerate() {
        let cells = match (data.column_named(&column.name), &column.kind) {
            (Some(found), kind) => match (cells(data, found)?, kind) {
                // Levels written as numbers are text where the fit had text among them.
                (Cells::Numbers(values), ColumnKind::Text { .. }) => {
                    Cells::Text(values.iter().map(|x| (!x.is_nan()).then(|| number_text(*x))).collect())
                }
                (cells, _) => cells,
            },
            (None, _) if graph.counts == Some(ColumnId(index)) => Cells::Numbers(vec![1.0; rows]),
            (None, ColumnKind::Numeric) => Cells::Numbers(vec![f64::NAN; rows]),
            (None, ColumnKind::Text { .. }) => Cells::Text(vec![None; rows]),
        };
        columns.push((column.name.clone(), cells));
    }
    let mut other = Data::from_columns(columns)?;
    for (own, fitted) in other.columns.iter_mut().zip(&graph.data.columns) {
        own.standardization = fitted.standardization;
    }
    other.blocks.clone_from(&graph.data.blocks);
    Ok(other)
}
