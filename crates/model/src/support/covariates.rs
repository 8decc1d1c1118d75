//! Columns that may not have missing cells: covariates, look-ups, sequences and counts.

use std::collections::HashSet;

use crate::data::{ColumnId, ColumnKind, Data, PASS_ROWS, chunks};
use crate::diagnostic::Diagnostic;
use crate::graph::{AxisId, Distribution, Graph, IndexSource, NodeId, NodeKind, Variable};

use super::domain::{Domain, parameters};
use super::{Levels, place_at};

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
pub(super) fn check_covariates(graph: &Graph, variable: &Variable, levels: Levels, found: &mut Vec<Diagnostic>) {
    let mut nodes: Vec<(&str, NodeId)> =
        parameters(&variable.distribution).into_iter().map(|(key, node, _)| (key, node)).collect();
    nodes.extend(variable.lower.map(|node| ("lower", node)));
    nodes.extend(variable.upper.map(|node| ("upper", node)));
    nodes.extend(variable.amortized.map(|node| ("amortized", node)));
    let mut used: Vec<(ColumnId, &str)> = Vec::new();
    for (key, node) in nodes {
        used.extend(value_columns(graph, node).into_iter().map(|column| (column, key)));
        for (column, axis) in look_ups(graph, node) {
            used.push((column, key));
            if levels == Levels::Known
                && let Err(error) = graph.data.codes(column, graph.axis(axis))
            {
                found.push(place_at(variable, key, error.diagnostic()));
            }
        }
    }
    if let Distribution::MarkovChain { sequence, .. } | Distribution::GaussianMarkovChain { sequence, .. } =
        variable.distribution
    {
        used.extend(sequence.map(|column| (column, "sequence")));
    }
    // The first use of a column speaks for all of them.
    let mut seen = HashSet::new();
    used.retain(|(column, _)| seen.insert(*column));
    let columns: Vec<ColumnId> = used.iter().map(|(column, _)| *column).collect();
    for ((column, key), row) in used.iter().zip(first_missing(&graph.data, &columns)) {
        if let Some(row) = row {
            found.push(missing_cell(graph, variable, key, *column, row));
        }
    }
}

fn missing_cell(graph: &Graph, variable: &Variable, key: &str, column: ColumnId, row: usize) -> Diagnostic {
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
    place_at(variable, key, diagnostic)
}

/// The first row (from 0) in which each column is missing; all numeric columns in one pass.
pub(super) fn first_missing(data: &Data, columns: &[ColumnId]) -> Vec<Option<usize>> {
    let is_text = |column: &ColumnId| matches!(data.column(*column).kind, ColumnKind::Text { .. });
    let mut first: Vec<Option<usize>> =
        columns.iter().map(|column| if is_text(column) { data.first_missing_text(*column) } else { None }).collect();
    let (positions, numeric): (Vec<usize>, Vec<ColumnId>) =
        columns.iter().copied().enumerate().filter(|(_, column)| !is_text(column)).unzip();
    if numeric.is_empty() {
        return first;
    }
    let width = numeric.len();
    let mut buffer = Vec::new();
    for rows in chunks(data.num_rows(), (16 * PASS_ROWS / width).clamp(16, PASS_ROWS)) {
        buffer.resize(rows.len() * width, 0.0);
        if data.read(&numeric, rows.clone(), &mut buffer).is_err() {
            // Only text columns are refused, and those are read apart.
            return first;
        }
        if buffer.iter().all(|cell| !cell.is_nan()) {
            continue;
        }
        for (row, cells) in rows.zip(buffer.chunks_exact(width)) {
            for (cell, position) in cells.iter().zip(&positions) {
                if cell.is_nan() && first[*position].is_none() {
                    first[*position] = Some(row);
                }
            }
        }
    }
    first
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
