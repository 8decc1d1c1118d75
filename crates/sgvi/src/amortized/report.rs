//! What a fitted amortised model reports: the terms of its ELBO and the posterior of everything outside the rows' plate.

use super::globals::{GlobalDraw, GlobalVariable};
use super::model::AmortizedModel;
use super::program::Transform;
use super::training::{Training, log_priors};
use crate::network::noise::StepNoise;
use std::collections::HashMap;
use vi_model::graph::{AxisId, Graph, NodeKind};
use vi_run::array::NestedArray;
use vi_run::record::{PosteriorEntry, Record};

/// Draws for the moments of expressions.
const EXPRESSION_DRAWS: usize = 4000;

/// Terms, standard error and posterior of the best restart.
pub(super) fn fill(record: &mut Record, graph: &Graph, model: &AmortizedModel, training: &Training<'_>) {
    let program = &model.program;
    let parameters = training.parameters();
    let mut terms: HashMap<&str, f64> = HashMap::new();
    if let Some(totals) = training.final_totals() {
        for (latent, divergence) in program.latents.iter().zip(&totals.divergences) {
            terms.insert(&latent.name, -divergence);
        }
        for (observed, log_likelihood) in program.observed.iter().zip(&totals.log_likelihoods) {
            terms.insert(&observed.name, *log_likelihood);
        }
        record.extra.insert("elbo_standard_error".to_owned(), totals.draw_variance.sqrt().into());
        record.extra.insert("elbo_per_row".to_owned(), (totals.bound / totals.rows).into());
    }
    for (point, prior) in program.points.iter().zip(log_priors(model, parameters)) {
        terms.insert(&point.name, prior);
    }
    for (variable, &term) in program.globals.iter().zip(training.final_global_terms()) {
        terms.insert(&variable.name, term);
    }
    for variable in &graph.variables {
        if let Some(&term) = terms.get(variable.name.as_str()) {
            record.elbo_terms.insert(variable.name.clone(), term);
        }
    }
    record.elbo = record.elbo_terms.values().sum();
    record.extra.insert("khat".to_owned(), serde_json::Value::Null);
    record.extra.insert("verdict".to_owned(), "not-assessed".into());
    if let Some(totals) = training.held_out_totals() {
        record.extra.insert("held_out_rows".to_owned(), training.held_out_rows().len().into());
        record.extra.insert("held_out_elbo_per_row".to_owned(), (totals.bound / totals.rows).into());
    }
    if training.recoveries() > 0 {
        record.extra.insert("recoveries".to_owned(), training.recoveries().into());
    }
    for point in &program.points {
        let values: Vec<f64> = program
            .layout
            .slice(parameters, point.view)
            .iter()
            .map(|&theta| f64::from(point.transform.value_and_slope(theta).0))
            .collect();
        let shape: Vec<usize> = point.axes.iter().map(|(_, size)| *size).collect();
        let mut entry = entry_of(graph, &point.name, &point.axes);
        entry.distribution = Some("point".to_owned());
        if let Ok(array) = NestedArray::new(shape, values) {
            entry.sd = Some(array.map(|_| 0.0));
            entry.parameters.insert("value".to_owned(), array.clone());
            entry.mean = Some(array);
        }
        record.posterior.insert(point.name.clone(), entry);
    }
    for variable in &program.globals {
        if let Some(entry) = global_entry(graph, model, parameters, variable) {
            record.posterior.insert(variable.name.clone(), entry);
        }
    }
    for expression in &graph.expressions {
        if let Some(entry) = expression_entry(graph, model, parameters, expression.node) {
            record.posterior.insert(expression.name.clone(), entry);
        }
    }
}

/// Plates and dimension of a variable's entry.
fn entry_of(graph: &Graph, name: &str, axes: &[(String, usize)]) -> PosteriorEntry {
    let variable = graph.variable_named(name).map(|id| graph.variable(id));
    let dimension = variable.and_then(|v| v.dimension).map(|axis| dimension(graph, axis));
    let num_plates = axes.len() - usize::from(dimension.is_some()).min(axes.len());
    PosteriorEntry {
        plates: axes[..num_plates].iter().map(|(name, _)| name.clone()).collect(),
        dimension,
        ..PosteriorEntry::default()
    }
}

/// The entry of a variable in the global factor: a normal, or what a normal becomes under its transformation.
fn global_entry(
    graph: &Graph,
    model: &AmortizedModel,
    parameters: &[f32],
    variable: &GlobalVariable,
) -> Option<PosteriorEntry> {
    let program = &model.program;
    let factor = program.global_factor.as_ref()?;
    let latent = &factor.latent;
    let parameters = program.layout.slice(parameters, factor.view);
    let root = |i: usize, j: usize| match i.cmp(&j) {
        std::cmp::Ordering::Equal => f64::from(parameters[latent.diagonal(i)]).exp(),
        std::cmp::Ordering::Greater if latent.full => f64::from(parameters[latent.width + i * (i + 1) / 2 + j]),
        _ => 0.0,
    };
    let covariance = |a: usize, b: usize| (0..=a.min(b)).map(|k| root(a, k) * root(b, k)).sum::<f64>();
    let range = variable.coordinates.clone();
    let centre: Vec<f64> = parameters[range.clone()].iter().map(|&m| f64::from(m)).collect();
    let spread: Vec<f64> = range.clone().map(|i| covariance(i, i).sqrt()).collect();
    let mut shape: Vec<usize> = variable.axes.iter().map(|(_, size)| *size).collect();
    let nested = |values: Vec<f64>| NestedArray::new(shape.clone(), values).ok();
    let mut entry = entry_of(graph, &variable.name, &variable.axes);
    entry.parameters.insert("mean".to_owned(), nested(centre.clone())?);
    let (lower, upper) = match variable.transform {
        Transform::Identity => (None, None),
        Transform::Above(lower) => (Some(f64::from(lower)).filter(|l| *l != 0.0), None),
        Transform::Below(upper) => (None, Some(f64::from(upper))),
        Transform::Between(lower, upper) => (Some(f64::from(lower)), Some(f64::from(upper))),
    };
    for (name, bound) in [("lower", lower), ("upper", upper)] {
        if let Some(bound) = bound {
            entry.parameters.insert(name.to_owned(), NestedArray::scalar(bound));
        }
    }
    let moments: Vec<(f64, f64)> =
        centre.iter().zip(&spread).map(|(&m, &s)| variable.transform.moments(m, s)).collect();
    let (mean, sd): (Vec<f64>, Vec<f64>) = moments.into_iter().unzip();
    entry.distribution = Some(
        match variable.transform {
            Transform::Identity => "normal",
            Transform::Above(0.0) => "log-normal",
            Transform::Above(_) => "shifted-log-normal",
            Transform::Below(_) => "reflected-log-normal",
            Transform::Between(..) => "logit-normal",
        }
        .to_owned(),
    );
    if variable.transform != Transform::Identity {
        entry.parameters.insert("sd".to_owned(), nested(spread)?);
    } else if entry.dimension.is_some() {
        let d = shape.last().copied().unwrap_or(1);
        let mut values = Vec::with_capacity(range.len() * d);
        for start in range.clone().step_by(d) {
            for i in start..start + d {
                values.extend((start..start + d).map(|j| covariance(i, j)));
            }
        }
        shape.push(d);
        entry.parameters.insert("covariance".to_owned(), NestedArray::new(shape.clone(), values).ok()?);
        shape.pop();
    } else {
        entry.parameters.insert("variance".to_owned(), nested(spread.iter().map(|s| s * s).collect())?);
    }
    entry.mean = NestedArray::new(shape.clone(), mean).ok();
    entry.sd = NestedArray::new(shape, sd).ok();
    Some(entry)
}

/// Mean and sd of an expression of variables outside the rows' plate; `None` where it differs by row.
fn expression_entry(
    graph: &Graph,
    model: &AmortizedModel,
    parameters: &[f32],
    node: vi_model::graph::NodeId,
) -> Option<PosteriorEntry> {
    let axes = graph.node(node).axes.clone();
    if graph.rows.is_some_and(|rows| axes.contains(&rows)) || graph.uses_network(node) {
        return None;
    }
    let program = &model.program;
    let mut known: HashMap<String, Vec<f64>> = HashMap::new();
    for point in &program.points {
        let values = program.layout.slice(parameters, point.view);
        let values = values.iter().map(|&theta| f64::from(point.transform.value_and_slope(theta).0)).collect();
        known.insert(point.name.clone(), values);
    }
    let draws = if program.globals.is_empty() { 1 } else { EXPRESSION_DRAWS };
    let (mut sums, mut squares, mut order) = (Vec::new(), Vec::new(), Vec::new());
    let mut draw = GlobalDraw::default();
    for number in 0..draws {
        draw.fill(program, parameters, (draws > 1).then(|| StepNoise::new(0, number as u64)).as_ref());
        for variable in &program.globals {
            let values = draw.theta[variable.coordinates.clone()]
                .iter()
                .map(|&theta| f64::from(variable.transform.value_and_slope(theta).0));
            known.insert(variable.name.clone(), values.collect());
        }
        let tensor = evaluate_known(graph, &known, node)?;
        sums.resize(tensor.values.len(), 0.0);
        squares.resize(tensor.values.len(), 0.0);
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(&tensor.values) {
            *sum += value / draws as f64;
            *square += value * value / draws as f64;
        }
        order = tensor.axes;
    }
    let shape: Vec<usize> = order.iter().map(|&axis| graph.axis(axis).size).collect();
    let sds = sums.iter().zip(&squares).map(|(m, s): (&f64, &f64)| (s - m * m).max(0.0).sqrt()).collect();
    let sd = NestedArray::new(shape.clone(), sds).ok()?;
    Some(PosteriorEntry {
        plates: order.iter().map(|&axis| graph.axis(axis).name.clone()).collect(),
        sd: Some(if draws == 1 { sd.map(|_| 0.0) } else { sd }),
        mean: Some(NestedArray::new(shape, sums).ok()?),
        ..PosteriorEntry::default()
    })
}

fn dimension(graph: &Graph, axis: AxisId) -> vi_run::record::Dimension {
    let axis = graph.axis(axis);
    match axis.kind {
        vi_model::graph::AxisKind::Anonymous => axis.size.into(),
        _ => axis.name.clone().into(),
    }
}

/// Elementwise expressions of known variables, aligned by axis name.
fn evaluate_known(
    graph: &Graph,
    known: &HashMap<String, Vec<f64>>,
    id: vi_model::graph::NodeId,
) -> Option<vi_model::graph::Tensor> {
    use vi_model::graph::{BinaryOperator, Function, Tensor};
    if graph.is_data(id) {
        return graph.evaluate_data(id, 0..0).ok();
    }
    let node = graph.node(id);
    let map = |a: vi_model::graph::NodeId, f: &dyn Fn(f64) -> f64| {
        let mut tensor = evaluate_known(graph, known, a)?;
        tensor.values.iter_mut().for_each(|value| *value = f(*value));
        Some(tensor)
    };
    match &node.kind {
        NodeKind::Variable(variable) => Some(Tensor {
            shape: node.axes.iter().map(|&axis| graph.axis(axis).size).collect(),
            axes: node.axes.clone(),
            values: known.get(&graph.variable(*variable).name)?.clone(),
        }),
        NodeKind::Negate(a) => map(*a, &|x| -x),
        NodeKind::Function(function, a) => match function {
            Function::Exp => map(*a, &f64::exp),
            Function::Log => map(*a, &f64::ln),
            Function::Sqrt => map(*a, &f64::sqrt),
            Function::Square => map(*a, &|x| x * x),
            Function::Logistic => map(*a, &vi_families::special::logistic),
            Function::Softplus => map(*a, &vi_families::special::log1p_exp),
        },
        NodeKind::Binary(operator, a, b) => {
            let shape: Vec<usize> = node.axes.iter().map(|&axis| graph.axis(axis).size).collect();
            let mut left = evaluate_known(graph, known, *a)?.broadcast_to(&node.axes, &shape)?;
            let right = evaluate_known(graph, known, *b)?.broadcast_to(&node.axes, &shape)?;
            for (x, y) in left.values.iter_mut().zip(right.values) {
                *x = match operator {
                    BinaryOperator::Add => *x + y,
                    BinaryOperator::Subtract => *x - y,
                    BinaryOperator::Multiply => *x * y,
                    BinaryOperator::Divide => *x / y,
                };
            }
            Some(left)
        }
        _ => None,
    }
}
