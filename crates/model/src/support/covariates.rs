//! Columns that may not have missing cells: covariates, look-ups, sequences and counts.

use crate::data::{ColumnId, ColumnKind, Data, PASS_ROWS, chunks};
use crate::diagnostic::Diagnostic;
use crate::graph::{AxisId, Distribution, Graph, IndexSource, NodeId, NodeKind, Variable};

use super::domain::{Domain, parameters};
use super::place_at;

/// Columns whose numbers enter a node, look-ups not counted.
pub(super) fn value_columns(graph: &Graph, node: NodeId) -> Vec<ColumnId> {
    let mut columns = Vec::new();
    graph.visit(node, &mut |n| match &n.kind {
        NodeKind::Column(column) => columns.push(*column),
        NodeKind::Block(block) => columns.extend(&graph.data.block(*block).columns),
        _ => {}
    });
    columns
}

/// Columns by which a node looks up, each with the axis that it selects from.
pub(super) fn look_ups(graph: &Graph, node: NodeId) -> Vec<(ColumnId, AxisId)> {
    let mut found = Vec::new();
    graph.visit(node, &mut |n| {
        if let NodeKind::Index { base, position, index: IndexSource::Column(column) } = &n.kind
            && let Some(axis) = graph.node(*base).axes.get(*position)
        {
            found.push((*column, *axis));
        }
    });
    found
}

/// Missing covariates and look-ups off their axis, of one variable.
pub(super) fn check_covariates(graph: &Graph, variable: &Variable, found: &mut Vec<Diagnostic>) {
    let mut nodes: Vec<(&str, NodeId)> =
        parameters(&variable.distribution).into_iter().map(|(key, node, _)| (key, node)).collect();
    nodes.extend(variable.lower.map(|node| ("lower", node)));
    nodes.extend(variable.upper.map(|node| ("upper", node)));
    nodes.extend(variable.amortized.map(|node| ("amortized", node)));
    let mut seen = Vec::new();
    for (key, node) in nodes {
        let mut columns = value_columns(graph, node);
        for (column, axis) in look_ups(graph, node) {
            columns.push(column);
            if let Err(error) = graph.data.codes(column, graph.axis(axis)) {
                found.push(place_at(variable, key, error.diagnostic()));
            }
        }
        for column in columns {
            if !seen.contains(&column) {
                seen.push(column);
                found.extend(missing_cell(graph, variable, key, column));
            }
        }
    }
    let (Distribution::MarkovChain { sequence, .. } | Distribution::GaussianMarkovChain { sequence, .. }) =
        variable.distribution
    else {
        return;
    };
    found.extend(sequence.and_then(|column| missing_cell(graph, variable, "sequence", column)));
}

fn missing_cell(graph: &Graph, variable: &Variable, key: &str, column: ColumnId) -> Option<Diagnostic> {
    let row = first_missing(&graph.data, column)?;
    let diagnostic = Diagnostic::new(
        "missing-covariate",
        format!(
            "column `{}` is missing in {}, but `{key}` of variable `{}` needs its value in every row",
            graph.data.column(column).name,
            graph.data.place(row),
            variable.name
        ),
    )
    .help(
        "fill the cell or remove the row; to infer missing values, make the column the `observed` of a variable and use that \
         variable instead",
    );
    Some(place_at(variable, key, diagnostic))
}

/// The first row (from 0) in which a column is missing.
fn first_missing(data: &Data, column: ColumnId) -> Option<usize> {
    if let ColumnKind::Text { .. } = data.column(column).kind {
        return data.first_missing_text(column);
    }
    let mut buffer = vec![0.0; PASS_ROWS.min(data.num_rows())];
    for rows in chunks(data.num_rows(), PASS_ROWS) {
        let cells = &mut buffer[..rows.len()];
        data.read(&[column], rows.clone(), cells).ok()?;
        if let Some(offset) = cells.iter().position(|v| v.is_nan()) {
            return Some(rows.start + offset);
        }
    }
    None
}

/// The column of `counts`: in every row a finite number that is not negative.
pub(super) fn check_counts(graph: &Graph) -> Option<Diagnostic> {
    let column = graph.counts?;
    let data = &graph.data;
    let mut buffer = vec![0.0; PASS_ROWS.min(data.num_rows())];
    for rows in chunks(data.num_rows(), PASS_ROWS) {
        let cells = &mut buffer[..rows.len()];
        if let Err(error) = data.read(&[column], rows.clone(), cells) {
            return Some(error.diagnostic());
        }
        let outside = |v: &f64| !Domain::NonNegative.contains(*v);
        if let Some(offset) = cells.iter().position(outside) {
            let held =
                if cells[offset].is_nan() { "is missing".to_owned() } else { format!("holds {}", cells[offset]) };
            return Some(
                Diagnostic::new(
                    "bad-count",
                    format!(
                        "column `{}` {held} in {}, but `counts` says how many times each row occurs: it must be {}",
                        data.column(column).name,
                        data.place(rows.start + offset),
                        Domain::NonNegative.text()
                    ),
                )
                .help("write 0 for a row that does not count"),
            );
        }
    }
    None
}
