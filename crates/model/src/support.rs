//! Whether the observed values lie in the support of their distributions, and the data that parameters use in theirs.

use crate::data::{DataError, PASS_ROWS, chunks, number_text};
use crate::diagnostic::Diagnostic;
use crate::evaluate::DataEvaluator;
use crate::graph::{AxisId, Distribution, Graph, NodeId, NodeKind, Observation, Tensor, Variable, VariableId};

mod covariates;
mod domain;
mod initial;
mod parts;

use domain::Domain;

/// How far the sum of an observed point of a simplex may be from 1.
const SIMPLEX_TOLERANCE: f64 = 1e-6;

/// By how much, relatively, a matrix may differ from its transpose.
const SYMMETRY_TOLERANCE: f64 = 1e-6;

/// Looks at every cell that the model uses, once: observed values outside the support of their distribution, missing
/// covariates, data parameters and starting values out of their range, and bad counts. Each diagnosis names variable, column, row and value; of
/// several like it the first is reported.
pub fn check_support(graph: &Graph) -> Vec<Diagnostic> {
    check(graph, Levels::Known)
}

/// As [`check_support`], of rows that came after a fit: whether something can be said of a level that the fit has not seen is for
/// the engine to know.
pub fn check_new_rows(graph: &Graph) -> Vec<Diagnostic> {
    check(graph, Levels::New)
}

/// Whether look-ups meet only levels that their axis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    Known,
    New,
}

fn check(graph: &Graph, levels: Levels) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(covariates::check_counts(graph));
    for (position, variable) in graph.variables.iter().enumerate() {
        let known = found.len();
        covariates::check_covariates(graph, variable, levels, &mut found);
        if found.len() > known {
            continue;
        }
        found.extend(parts::check_parts(graph, variable, levels));
        found.extend(asymmetric(graph, variable));
        found.extend(initial::check_initial(graph, variable, levels));
        let check = VariableCheck { graph, id: VariableId(position), variable };
        found.extend(check.observed_levels());
        match check.numbers() {
            Ok(diagnostics) => found.extend(diagnostics),
            Err(error) => found.push(place_at(variable, "observed", error.diagnostic())),
        }
    }
    found
}

/// Covariances, precisions and scales given as matrices that differ from their transposes.
fn asymmetric(graph: &Graph, variable: &Variable) -> Option<Diagnostic> {
    let matrices = domain::parameters(&variable.distribution).into_iter().filter(|(key, node, domain)| {
        domain.is_none()
            && *key != "parameters"
            && graph.is_data(*node)
            && covariates::value_columns(graph, *node).is_empty()
    });
    for (key, node, _) in matrices {
        let Ok(tensor) = graph.evaluate_data(node, 0..graph.data.num_rows().max(1)) else { continue };
        let [.., rows, columns] = tensor.shape[..] else { continue };
        if rows != columns {
            continue;
        }
        for matrix in tensor.values.chunks_exact(rows * rows) {
            let pairs = (0..rows).flat_map(|i| (0..i).map(move |j| (matrix[i * rows + j], matrix[j * rows + i], i, j)));
            for (below, above, i, j) in pairs {
                if (below - above).abs() > SYMMETRY_TOLERANCE * below.abs().max(above.abs()) {
                    let message = format!(
                        "`{key}` of variable `{}` is not symmetric: it holds {} at [{i}][{j}] and {} at [{j}][{i}]",
                        variable.name,
                        number_text(below),
                        number_text(above)
                    );
                    let diagnostic = Diagnostic::new("not-symmetric", message)
                        .help("write the same number on both sides of the diagonal");
                    return Some(place_at(variable, key, diagnostic));
                }
            }
        }
    }
    None
}

/// Points a diagnostic to a key of a variable.
fn place_at(variable: &Variable, key: &str, diagnostic: Diagnostic) -> Diagnostic {
    let span = variable.key_spans.get(key).unwrap_or(&variable.span);
    diagnostic.at(span.clone(), format!("in variable `{}`", variable.name))
}

struct VariableCheck<'a> {
    graph: &'a Graph,
    id: VariableId,
    variable: &'a Variable,
}

impl VariableCheck<'_> {
    /// Observed categories that are no element of their axis.
    fn observed_levels(&self) -> Vec<Diagnostic> {
        let (columns, axis) = match self.variable.observed {
            Some(Observation::Levels { column, axis }) => (vec![column], axis),
            Some(Observation::LevelsBlock { block, axis }) => (self.graph.data.block(block).columns.clone(), axis),
            Some(Observation::Numeric(_)) | None => return Vec::new(),
        };
        columns
            .into_iter()
            .filter_map(|column| {
                let codes = self.graph.data.codes(column, self.graph.axis(axis));
                let diagnostic = codes.err()?.diagnostic();
                Some(place_at(self.variable, "observed", diagnostic))
            })
            .collect()
    }

    /// Observed numbers and the parameters that come from data.
    fn numbers(&self) -> Result<Vec<Diagnostic>, DataError> {
        let graph = self.graph;
        let observed = match self.variable.observed {
            Some(Observation::Numeric(node)) => Some(node),
            _ => None,
        };
        let from_data = |node: NodeId| {
            // What is written as it stands was looked at before.
            let is_written = matches!(graph.node(node).kind, NodeKind::Number(_) | NodeKind::Constant(_));
            graph.is_data(node) && !is_written
        };
        let parameters: Vec<(&str, NodeId, Domain)> = domain::parameters(&self.variable.distribution)
            .into_iter()
            .filter_map(|(key, node, domain)| Some((key, node, domain?)))
            .filter(|(_, node, _)| from_data(*node))
            .collect();
        let limits: Vec<(Limit, NodeId)> = if observed.is_some() {
            self.limits().into_iter().filter(|(_, node)| graph.is_data(*node)).collect()
        } else {
            Vec::new()
        };
        let nodes: Vec<NodeId> = observed
            .into_iter()
            .chain(parameters.iter().map(|(_, node, _)| *node))
            .chain(limits.iter().map(|(_, node)| *node))
            .collect();
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let evaluator = DataEvaluator::new(graph, &nodes)?;
        let has_rows = (nodes.iter()).any(|node| graph.rows.is_some_and(|rows| graph.node(*node).axes.contains(&rows)));
        let num_rows = if has_rows { graph.data.num_rows() } else { 1 };
        let mut values = Vec::new();
        for rows in chunks(num_rows, PASS_ROWS) {
            evaluator.evaluate(rows.clone(), &mut values)?;
            let mut rest = values.as_slice();
            let mut found = Vec::new();
            if let (Some(node), Some((value, others))) = (observed, rest.split_first()) {
                let limit_values = &others[parameters.len()..];
                found.extend(self.observed_value(node, value, rows.start));
                if found.is_empty() {
                    let limits = limits.iter().map(|(limit, _)| *limit).zip(limit_values);
                    found.extend(self.within_limits(node, value, limits, rows.start));
                }
                rest = others;
            }
            for ((key, node, domain), value) in parameters.iter().zip(rest) {
                let outside = |v: &f64| !domain.contains(*v);
                if let Some(offset) = value.values.iter().position(outside) {
                    found.push(self.refuse(key, *node, value, offset, rows.start, &domain.text()));
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Data that bound the observed values.
    fn limits(&self) -> Vec<(Limit, NodeId)> {
        let mut limits = Vec::new();
        limits.extend(self.variable.lower.map(|node| (Limit::Lower, node)));
        limits.extend(self.variable.upper.map(|node| (Limit::Upper, node)));
        match &self.variable.distribution {
            Distribution::Binomial { trials, .. } => limits.push((Limit::Trials, *trials)),
            Distribution::Uniform { lower, upper } => {
                limits.push((Limit::Lower, *lower));
                limits.push((Limit::Upper, *upper));
            }
            _ => {}
        }
        limits
    }

    /// The first observed number outside the distribution's support.
    fn observed_value(&self, node: NodeId, value: &Tensor, first_row: usize) -> Option<Diagnostic> {
        let graph = self.graph;
        let support = domain::of_values(&self.variable.distribution, |axis| graph.axis(axis).size);
        let is_expression =
            !matches!(graph.node(node).kind, NodeKind::Column(_) | NodeKind::Block(_) | NodeKind::Constant(_));
        for (offset, x) in value.values.iter().enumerate() {
            if x.is_nan() {
                if is_expression && self.has_all_cells(node, value, offset, first_row) {
                    let must = "a number: its cells are there, but the expression has no value";
                    return Some(self.refuse("observed", node, value, offset, first_row, must));
                }
            } else if !support.contains(*x) {
                let must = support.text();
                return Some(self.refuse("observed", node, value, offset, first_row, &must));
            }
        }
        self.vectors(node, value, first_row)
    }

    /// Points of a simplex must sum to 1, and vectors that are one draw are missing as a whole or not at all.
    fn vectors(&self, node: NodeId, value: &Tensor, first_row: usize) -> Option<Diagnostic> {
        let is_simplex = match self.variable.distribution {
            Distribution::Dirichlet { .. } | Distribution::StickBreaking { .. } => true,
            Distribution::Multinomial { .. } => false,
            _ => return None,
        };
        // The innermost axis of the value is the one along which the vector lies.
        let width = value.shape.last().copied().filter(|width| *width > 0)?;
        for (position, vector) in value.values.chunks_exact(width).enumerate() {
            let missing = vector.iter().position(|x| x.is_nan());
            let offset = position * width + missing.unwrap_or(0);
            if missing.is_some() && vector.iter().any(|x| !x.is_nan()) {
                let must = "there where other cells of its vector are: one draw is missing as a whole or not at all";
                return Some(self.refuse("observed", node, value, offset, first_row, must));
            }
            let sum: f64 = vector.iter().sum();
            if is_simplex && (sum - 1.0).abs() > SIMPLEX_TOLERANCE {
                let must = format!("part of a vector that sums to 1, not to {sum}");
                return Some(self.refuse("observed", node, value, offset, first_row, &must));
            }
        }
        None
    }

    /// The first observed number beyond a limit of its own row.
    fn within_limits<'t>(
        &self,
        node: NodeId,
        value: &Tensor,
        limits: impl Iterator<Item = (Limit, &'t Tensor)>,
        first_row: usize,
    ) -> Option<Diagnostic> {
        let axes = self.graph.value_axes(self.id);
        for (limit, bound) in limits {
            let shape: Vec<usize> = axes
                .iter()
                .map(|axis| {
                    [value, bound]
                        .iter()
                        .find_map(|t| t.axes.iter().position(|a| a == axis).map(|i| t.shape[i]))
                        .unwrap_or(1)
                })
                .collect();
            let wide_value = value.broadcast_to(&axes, &shape)?;
            let wide_bound = bound.broadcast_to(&axes, &shape)?;
            let pairs = wide_value.values.iter().zip(&wide_bound.values);
            let offset = pairs.clone().position(|(x, bound)| match limit {
                Limit::Lower => x < bound,
                Limit::Upper | Limit::Trials => x > bound,
            });
            if let Some(offset) = offset {
                let bound = number_text(wide_bound.values[offset]);
                let must = match limit {
                    Limit::Lower => format!("at least its lower bound {bound}"),
                    Limit::Upper => format!("at most its upper bound {bound}"),
                    Limit::Trials => format!("at most its number of trials {bound}"),
                };
                return Some(self.refuse("observed", node, &wide_value, offset, first_row, &must));
            }
        }
        None
    }

    /// Whether none of the cells behind an element is missing.
    fn has_all_cells(&self, node: NodeId, value: &Tensor, offset: usize, first_row: usize) -> bool {
        let graph = self.graph;
        let row = self.row_of(value, offset, first_row);
        let columns = covariates::value_columns(graph, node);
        let mut cells = vec![0.0; columns.len()];
        let row = row.unwrap_or(0);
        let readable = graph.data.num_rows() > row && graph.data.read(&columns, row..row + 1, &mut cells).is_ok();
        let look_ups = covariates::look_ups(graph, node);
        let looked_up = look_ups.iter().all(|(column, axis)| {
            let codes = graph.data.codes(*column, graph.axis(*axis));
            codes.is_ok_and(|c| c.rows(row..row + 1) != [crate::data::MISSING_CODE])
        });
        (readable || columns.is_empty()) && looked_up && cells.iter().all(|cell| !cell.is_nan())
    }

    /// The data row (from 0) of an element.
    fn row_of(&self, value: &Tensor, offset: usize, first_row: usize) -> Option<usize> {
        let position = index_along(value, offset, self.graph.rows?)?;
        Some(first_row + position)
    }

    fn refuse(
        &self,
        key: &str,
        node: NodeId,
        value: &Tensor,
        offset: usize,
        first_row: usize,
        must: &str,
    ) -> Diagnostic {
        let data = &self.graph.data;
        let x = value.values[offset];
        let others: Vec<usize> = value
            .axes
            .iter()
            .filter(|axis| Some(**axis) != self.graph.rows)
            .filter_map(|axis| index_along(value, offset, *axis))
            .collect();
        let what = match &self.graph.node(node).kind {
            NodeKind::Column(column) => format!("column `{}`", data.column(*column).name),
            NodeKind::Block(block) => {
                let block = data.block(*block);
                let own = (self.graph.node(node).axes.iter())
                    .find(|axis| Some(**axis) != self.graph.rows)
                    .and_then(|axis| index_along(value, offset, *axis));
                match own.and_then(|j| block.columns.get(j)) {
                    Some(column) => format!("column `{}`", data.column(*column).name),
                    None => format!("block `{}`", block.name),
                }
            }
            _ if others.is_empty() => format!("`{key}`"),
            _ => format!("`{key}` at {others:?}"),
        };
        let held = if x.is_nan() { "has no value".to_owned() } else { format!("is {}", number_text(x)) };
        let place = match self.row_of(value, offset, first_row) {
            Some(row) => format!(" in {}", data.place(row)),
            None => String::new(),
        };
        let role = if key == "observed" {
            format!("observed values of variable `{}`", self.variable.name)
        } else {
            format!("`{key}` of variable `{}`", self.variable.name)
        };
        let diagnostic =
            Diagnostic::new("outside-support", format!("{what} {held}{place}, but the {role} must be {must}"))
                .help("correct the cell, leave it empty where the value is missing, or choose another distribution");
        place_at(self.variable, key, diagnostic)
    }
}

/// Which side of the observed values a bound is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Lower,
    Upper,
    Trials,
}

/// The position along an axis of the element at a row-major offset.
fn index_along(tensor: &Tensor, offset: usize, axis: AxisId) -> Option<usize> {
    let position = tensor.axes.iter().position(|a| *a == axis)?;
    let stride = tensor.strides()[position];
    Some(offset / stride.max(1) % tensor.shape[position].max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::data::{BlockId, Cells, ColumnId, Data};
    use crate::diagnostic::SourceText;
    use crate::graph::{
        AmortizedCovariance, Axis, AxisKind, BinaryOperator, Function, IndexSource, Node, Probability, Spread,
        SpreadForm,
    };
    use crate::inference::Inference;

    const ROWS: AxisId = AxisId(0);
    const PART: AxisId = AxisId(1);

    /// A graph over rows and a fixed axis of two elements.
    fn graph(data: Data) -> Graph {
        let axis = |name: &str, size, kind| Axis { name: name.to_owned(), size, kind };
        Graph {
            title: None,
            description: None,
            source: SourceText::default(),
            axes: vec![axis("row", data.num_rows(), AxisKind::Rows), axis("part", 2, AxisKind::Fixed)],
            rows: Some(ROWS),
            data: Arc::new(data),
            counts: None,
            nodes: Vec::new(),
            variables: Vec::new(),
            expressions: Vec::new(),
            networks: Vec::new(),
            inference: Inference::default(),
        }
    }

    fn columns(columns: &[(&str, &[f64])]) -> Data {
        let columns = columns.iter().map(|(name, values)| ((*name).to_owned(), Cells::Numbers(values.to_vec())));
        Data::from_columns(columns.collect()).unwrap()
    }

    fn node(graph: &mut Graph, kind: NodeKind, axes: &[AxisId]) -> NodeId {
        graph.nodes.push(Node { kind, axes: axes.to_vec(), span: 0..0 });
        NodeId(graph.nodes.len() - 1)
    }

    fn number(graph: &mut Graph, value: f64) -> NodeId {
        node(graph, NodeKind::Number(value), &[])
    }

    fn column(graph: &mut Graph, position: usize) -> NodeId {
        node(graph, NodeKind::Column(ColumnId(position)), &[ROWS])
    }

    fn observe(graph: &mut Graph, distribution: Distribution, observed: Option<Observation>) -> Vec<String> {
        graph.variables.push(Variable {
            name: "y".to_owned(),
            plates: vec![ROWS],
            dimension: None,
            distribution,
            observed,
            initial: None,
            point: false,
            ordered: false,
            largest: None,
            marginalized: None,
            lower: None,
            upper: None,
            amortized: None,
            amortized_covariance: AmortizedCovariance::Diagonal,
            span: 0..0,
            key_spans: BTreeMap::new(),
        });
        check_support(graph).into_iter().map(|diagnostic| diagnostic.message).collect()
    }

    /// What is said of one observed column under a distribution.
    fn check(values: &[f64], make: impl Fn(&mut Graph) -> Distribution) -> Vec<String> {
        let mut graph = graph(columns(&[("outcome", values)]));
        let distribution = make(&mut graph);
        let observed = column(&mut graph, 0);
        observe(&mut graph, distribution, Some(Observation::Numeric(observed)))
    }

    fn contains_all(messages: &[String], parts: &[&str]) -> bool {
        messages.len() == 1 && parts.iter().all(|part| messages[0].contains(part))
    }

    #[test]
    fn values_outside_the_support_are_named() {
        let bernoulli =
            |g: &mut Graph| Distribution::Bernoulli { probability: Probability::Probability(number(g, 0.5)) };
        assert!(check(&[1.0, 0.0, f64::NAN, 1.0], bernoulli).is_empty());
        let said = check(&[1.0, 0.0, 2.0], bernoulli);
        let parts = ["`outcome`", "is 2", "row 3", "`y`", "0 or 1"];
        assert!(contains_all(&said, &parts), "{said:?}");

        let poisson = |g: &mut Graph| Distribution::Poisson { rate: number(g, 1.0), log: false };
        assert!(check(&[0.0, 3.0], poisson).is_empty());
        for bad in [-1.0, 0.5] {
            let said = check(&[0.0, bad], poisson);
            assert!(contains_all(&said, &["row 2", &bad.to_string()]), "{said:?}");
        }
        let gamma = |g: &mut Graph| Distribution::Exponential { rate: number(g, 1.0) };
        assert!(contains_all(&check(&[0.0, -0.5], gamma), &["-0.5", "row 2"]));
        let beta = |g: &mut Graph| Distribution::Beta { alpha: number(g, 1.0), beta: number(g, 1.0) };
        assert!(contains_all(&check(&[0.5, 1.0], beta), &["is 1", "strictly"]));
    }

    #[test]
    fn rows_beyond_the_first_pass_are_seen() {
        let mut values = vec![0.0; 2 * PASS_ROWS + 10];
        values[2 * PASS_ROWS + 4] = -3.0;
        let said = check(&values, |g| Distribution::HalfNormal { sd: number(g, 1.0) });
        let row = format!("row {}", 2 * PASS_ROWS + 5);
        assert!(contains_all(&said, &[&row, "-3"]), "{said:?}");
    }

    #[test]
    fn a_count_may_not_exceed_the_trials_of_its_row() {
        let mut g = graph(columns(&[("k", &[1.0, 5.0, 4.0]), ("n", &[2.0, 5.0, 3.0])]));
        let trials = column(&mut g, 1);
        let probability = Probability::Probability(number(&mut g, 0.5));
        let observed = Some(Observation::Numeric(column(&mut g, 0)));
        let said = observe(&mut g, Distribution::Binomial { trials, probability }, observed);
        assert!(contains_all(&said, &["is 4", "row 3", "trials 3"]), "{said:?}");
    }

    fn normal(graph: &mut Graph, mean: NodeId) -> Distribution {
        Distribution::Normal { mean, spread: Spread::StandardDeviation(number(graph, 1.0)), form: SpreadForm::Scalar }
    }

    #[test]
    fn missing_covariates_and_parameters_out_of_range() {
        let data = columns(&[("y", &[1.0, f64::NAN]), ("x", &[0.5, f64::NAN])]);
        let mut g = graph(data.clone());
        let mean = column(&mut g, 1);
        let distribution = normal(&mut g, mean);
        let observed = Some(Observation::Numeric(column(&mut g, 0)));
        let said = observe(&mut g, distribution, observed);
        let parts = ["column `x`", "row 2", "`mean`", "missing"];
        assert!(contains_all(&said, &parts), "{said:?}");

        let mut g = graph(columns(&[("y", &[1.0, 2.0]), ("error", &[0.5, 0.0])]));
        let distribution = Distribution::Normal {
            mean: number(&mut g, 0.0),
            spread: Spread::StandardDeviation(column(&mut g, 1)),
            form: SpreadForm::Scalar,
        };
        let observed = Some(Observation::Numeric(column(&mut g, 0)));
        let said = observe(&mut g, distribution, observed);
        let parts = ["column `error`", "is 0", "row 2", "`sd`", "positive"];
        assert!(contains_all(&said, &parts), "{said:?}");
    }

    #[test]
    fn an_expression_without_a_value_is_not_a_missing_cell() {
        let mut g = graph(columns(&[("y", &[1.0, f64::NAN, -2.0])]));
        let y = column(&mut g, 0);
        let logarithm = node(&mut g, NodeKind::Function(Function::Log, y), &[ROWS]);
        let two = number(&mut g, 2.0);
        let kind = NodeKind::Binary(BinaryOperator::Multiply, two, logarithm);
        let observed = node(&mut g, kind, &[ROWS]);
        let mean = number(&mut g, 0.0);
        let distribution = normal(&mut g, mean);
        let said = observe(&mut g, distribution, Some(Observation::Numeric(observed)));
        assert!(contains_all(&said, &["no value", "row 3"]), "{said:?}");
    }

    #[test]
    fn vectors_are_simplices_and_whole() {
        let simplex = |values: &[f64]| {
            let mut data = Data::default();
            data.add_matrix("share", 2, values).unwrap();
            let mut g = graph(data);
            let observed = node(&mut g, NodeKind::Block(BlockId(0)), &[ROWS, PART]);
            let concentration = number(&mut g, 1.0);
            let distribution = Distribution::Dirichlet { concentration };
            observe(&mut g, distribution, Some(Observation::Numeric(observed)))
        };
        assert!(simplex(&[0.25, 0.75, f64::NAN, f64::NAN]).is_empty());
        assert!(contains_all(&simplex(&[0.25, 0.75, 0.5, 0.6]), &["row 2", "1.1"]));
        let said = simplex(&[0.25, f64::NAN]);
        assert!(contains_all(&said, &["`share.1`", "row 1", "whole"]), "{said:?}");
    }

    #[test]
    fn categories_look_ups_and_counts_are_checked() {
        let data = columns(&[("c", &[0.0, 1.0, 2.0]), ("times", &[1.0, -1.0, 0.0])]);
        let mut g = graph(data);
        g.counts = Some(ColumnId(1));
        let probabilities = node(
            &mut g,
            NodeKind::Constant(Arc::new(Tensor { axes: vec![PART], shape: vec![2], values: vec![0.5, 0.5] })),
            &[PART],
        );
        let distribution = Distribution::Categorical { probabilities, range: PART, logits: false };
        let observed = Some(Observation::Levels { column: ColumnId(0), axis: PART });
        let said = observe(&mut g, distribution, observed);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(contains_all(&said[..1], &["`times`", "-1", "row 2"]), "{said:?}");
        assert!(contains_all(&said[1..], &["`c`", "`2`", "row 3", "`part`"]), "{said:?}");

        g.counts = None;
        g.variables.clear();
        let base = probabilities;
        let index = IndexSource::Column(ColumnId(0));
        let kind = NodeKind::Index { base, position: 0, index };
        let mean = node(&mut g, kind, &[ROWS]);
        let distribution = normal(&mut g, mean);
        let said = observe(&mut g, distribution, None);
        assert!(contains_all(&said, &["`c`", "`2`", "row 3"]), "{said:?}");
    }
}
