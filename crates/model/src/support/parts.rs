//! Computed data inside expressions of variables: every part must be a number, and no divisor zero.

use crate::data::{PASS_ROWS, chunks, number_text};
use crate::diagnostic::Diagnostic;
use crate::evaluate::DataEvaluator;
use crate::graph::{BinaryOperator, Graph, IndexSource, NodeId, NodeKind, Variable};

use super::covariates::look_ups;
use super::domain::parameters;
use super::{Levels, index_along};

/// A part of an expression that is data alone.
#[derive(Debug, Clone, Copy)]
struct Part {
    key: &'static str,
    node: NodeId,
    divides: bool,
}

/// The first part without a value, of the parameters that depend on variables: data alone is judged by the parameter's range.
pub(super) fn check_parts(graph: &Graph, variable: &Variable, levels: Levels) -> Option<Diagnostic> {
    let mut parts = Vec::new();
    for (key, node, _) in parameters(&variable.distribution) {
        if !graph.is_data(node) {
            collect(graph, node, key, &mut parts);
        }
    }
    // What a level unknown to the fit looks up is for the engine to say.
    parts.retain(|part| levels == Levels::Known || look_ups(graph, part.node).is_empty());
    let nodes: Vec<NodeId> = parts.iter().map(|part| part.node).collect();
    if nodes.is_empty() {
        return None;
    }
    let evaluator = DataEvaluator::new(graph, &nodes).ok()?;
    let has_rows = nodes.iter().any(|node| graph.rows.is_some_and(|rows| graph.node(*node).axes.contains(&rows)));
    let num_rows = if has_rows { graph.data.num_rows() } else { 1 };
    let mut values = Vec::new();
    for rows in chunks(num_rows, PASS_ROWS) {
        evaluator.evaluate(rows.clone(), &mut values).ok()?;
        for (part, value) in parts.iter().zip(&values) {
            let refused = |x: &f64| !x.is_finite() || part.divides && *x == 0.0;
            if let Some(offset) = value.values.iter().position(refused) {
                let row = graph.rows.and_then(|axis| index_along(value, offset, axis)).map(|at| rows.start + at);
                return Some(refuse(graph, variable, *part, value.values[offset], row));
            }
        }
    }
    None
}

/// The largest parts below a node that are computed from data, and the divisors among them.
fn collect(graph: &Graph, id: NodeId, key: &'static str, parts: &mut Vec<Part>) {
    let mut part = |node: NodeId, divides: bool| {
        let is_computed = !matches!(
            graph.node(node).kind,
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_)
        );
        if !graph.is_data(node) {
            collect(graph, node, key, parts);
        } else if is_computed || divides {
            parts.push(Part { key, node, divides });
        }
    };
    match &graph.node(id).kind {
        NodeKind::Negate(a) | NodeKind::Function(_, a) => part(*a, false),
        NodeKind::Binary(operator, a, b) => {
            part(*a, false);
            part(*b, *operator == BinaryOperator::Divide);
        }
        NodeKind::Dot { left, right, .. } => {
            part(*left, false);
            part(*right, false);
        }
        NodeKind::Index { base, index, .. } => {
            part(*base, false);
            if let IndexSource::Gate(gate) = index {
                part(*gate, false);
            }
        }
        NodeKind::Network { arguments, .. } => arguments.iter().for_each(|a| part(*a, false)),
        NodeKind::Number(_)
        | NodeKind::Constant(_)
        | NodeKind::Column(_)
        | NodeKind::Block(_)
        | NodeKind::Variable(_) => {}
    }
}

fn refuse(graph: &Graph, variable: &Variable, part: Part, value: f64, row: Option<usize>) -> Diagnostic {
    let (key, name) = (part.key, &variable.name);
    let span = graph.node(part.node).span.clone();
    let place = row.map_or_else(String::new, |row| format!(" in {}", graph.data.place(row)));
    let text = graph.source.text.get(span.clone()).unwrap_or_default();
    let what = if text.is_empty() { "a part".to_owned() } else { format!("`{text}`") };
    let (held, help) = if value == 0.0 {
        ("is 0".to_owned(), "divide by data that are never 0, or leave those rows out")
    } else if value.is_nan() {
        ("has no value".to_owned(), "keep the arguments of log above 0 and of sqrt at least 0, and divide by no 0")
    } else {
        (format!("is {}", number_text(value)), "keep data within the range of numbers: scale the columns")
    };
    let must = if part.divides { "be a finite number other than 0" } else { "be a finite number" };
    Diagnostic::new("not-finite", format!("{what} {held}{place}, but in `{key}` of variable `{name}` it must {must}"))
        .help(help)
        .at(span, format!("in `{key}` of variable `{name}`"))
}

#[cfg(test)]
mod tests {
    fn said(mean: &str, sd: &str, x: &str) -> String {
        let text = format!(
            "[data.values]\ny = [1.0, 2.0, 3.0]\nx = {x}\nc = -1.0\n[plates]\nrow = \"rows\"\n\
             [variables.m]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
             [variables.o]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = \"{sd}\"\nobserved = \"y\"\n"
        );
        match crate::load_str(&text, "model.toml", "".as_ref()) {
            Ok(_) => String::new(),
            Err(error) => error.diagnostics.iter().map(|d| d.message.clone()).collect(),
        }
    }

    #[test]
    fn computed_data_beside_variables_have_values() {
        let x = "[1.0, -1.0, 0.0]";
        for (mean, parts) in [
            ("m * log(x)", ["`log(x)`", "row 2", "no value"]),
            ("m / x", ["`x`", "row 3", "is 0"]),
            ("m / (c + 1)", ["c + 1", "`mean` of variable `o`", "is 0"]),
            ("m * (1 / x)", ["`1 / x`", "row 3", "is inf"]),
        ] {
            let text = said(mean, "1", x);
            assert!(parts.iter().all(|part| text.contains(part)), "{mean}: {text}");
        }
        assert_eq!(said("m * x - square(x)", "1", x), "");
        assert_eq!(said("m * log(x) / x", "1", "[1.0, 2.0, 3.0]"), "");
        for sd in ["log(c)", "1 / (c + 1)", "c + 0.5"] {
            let text = said("m", sd, x);
            assert!(text.contains("`sd`") && text.contains("positive"), "{sd}: {text}");
        }
    }
}
