//! From a graph to a fitted amortised model and its record.

use super::model::AmortizedModel;
use super::settings::Settings;
use super::training::{Term, Training, log_priors};
use crate::error::SgviError;
use std::collections::HashMap;
use vi_model::graph::{AxisId, Graph, NodeKind};
use vi_run::array::NestedArray;
use vi_run::executor::{Checkpoints, Executor, Failure, Interruption, Observer, RelativeGain};
use vi_run::record::{PosteriorEntry, Record};

/// A fitted amortised model.
#[derive(Debug, Clone)]
pub struct AmortizedFit {
    /// The program and its data.
    pub model: AmortizedModel,
    /// How it was trained.
    pub settings: Settings,
    /// All parameters, in the layout of the program.
    pub parameters: Vec<f32>,
    /// The evaluations made during training, per row.
    pub terms: Vec<Term>,
    /// The rows that were held out.
    pub held_out_rows: Vec<u32>,
    /// What the run reports.
    pub record: Record,
}

/// What a run may be given besides its model.
#[derive(Default)]
pub struct FitOptions<'a> {
    /// Told of every step.
    pub observers: Vec<Box<dyn Observer + 'a>>,
    /// Ends the run early.
    pub interruption: Interruption,
    /// Where to save the state of the run, and whether to go on from there.
    pub checkpoints: Option<Checkpoints>,
}

/// Trains an amortised model as its `[inference]` section says.
///
/// `model_name` is the model file as it is reported.
///
/// # Errors
/// A refusal before the first step ([`SgviError::Unsupported`]), data that cannot be read, or a run that ends in numbers
/// that are not finite.
pub fn fit(graph: &Graph, model_name: &str, options: FitOptions<'_>) -> Result<AmortizedFit, Failure<SgviError>> {
    let refused = |error: SgviError| Failure {
        cause: vi_run::executor::FailureCause::Algorithm(error),
        restarts: Vec::new(),
        trace: Vec::new(),
        seconds: 0.0,
    };
    let mut model = AmortizedModel::new(graph).map_err(refused)?;
    let settings = Settings::new(graph).map_err(refused)?;
    prepare(&mut model, &settings);
    let mut executor = Executor::new(settings.seed, settings.max_iterations, RelativeGain::new(settings.tolerance))
        .restarts(settings.restarts)
        .interruption(options.interruption);
    executor.observers = options.observers;
    let start = |restart: vi_run::executor::Restart| Ok(Training::new(&model, &settings, restart.seed));
    let fitted = match &options.checkpoints {
        Some(checkpoints) => executor.run_with_checkpoints(checkpoints, start)?,
        None => executor.run(start)?,
    };
    let mut record = Record::new("sgvi", model_name, env!("CARGO_PKG_VERSION"), settings.seed);
    record.set_outcome(&fitted.outcome);
    let training = fitted.algorithm;
    fill(&mut record, graph, &model, &training);
    let (parameters, terms, held_out_rows) =
        (training.parameters().to_vec(), training.terms().to_vec(), training.held_out_rows().to_vec());
    Ok(AmortizedFit { parameters, terms, held_out_rows, record, settings, model })
}

/// What a checkpoint must share with the run that goes on with it: settings, number of rows, and the model's text.
#[must_use]
pub fn fingerprint(graph: &Graph) -> u64 {
    let text = format!("{:?} {} {}", Settings::new(graph).ok(), graph.data.num_rows(), graph.source.text);
    vi_run::executor::fingerprint(text.as_bytes())
}

/// Takes the sds that are set in closed form away from the optimiser.
fn prepare(model: &mut AmortizedModel, settings: &Settings) {
    if settings.optimal_sd {
        let sds = model.program.optimal_sds();
        for (id, view) in model.program.layout.views_mut().enumerate() {
            view.trainable &= !sds.iter().any(|&(sd, _)| sd == id);
        }
    }
}

/// Terms, standard error and posterior of the best restart.
fn fill(record: &mut Record, graph: &Graph, model: &AmortizedModel, training: &Training<'_>) {
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
        let variable = graph.variable_named(&point.name).map(|id| graph.variable(id));
        let dimension = variable.and_then(|v| v.dimension).map(|axis| dimension(graph, axis));
        let num_plates = point.axes.len() - usize::from(dimension.is_some()).min(point.axes.len());
        let mut entry = PosteriorEntry {
            distribution: Some("point".to_owned()),
            plates: point.axes[..num_plates].iter().map(|(name, _)| name.clone()).collect(),
            dimension,
            ..PosteriorEntry::default()
        };
        if let Ok(array) = NestedArray::new(shape, values) {
            entry.sd = Some(array.map(|_| 0.0));
            entry.parameters.insert("value".to_owned(), array.clone());
            entry.mean = Some(array);
        }
        record.posterior.insert(point.name.clone(), entry);
    }
    for expression in &graph.expressions {
        if let Some((values, axes)) = global_value(graph, model, parameters, expression.node) {
            let shape: Vec<usize> = axes.iter().map(|&axis| graph.axis(axis).size).collect();
            let Ok(array) = NestedArray::new(shape, values) else { continue };
            let entry = PosteriorEntry {
                plates: axes.iter().map(|&axis| graph.axis(axis).name.clone()).collect(),
                sd: Some(array.map(|_| 0.0)),
                mean: Some(array),
                ..PosteriorEntry::default()
            };
            record.posterior.insert(expression.name.clone(), entry);
        }
    }
}

fn dimension(graph: &Graph, axis: AxisId) -> vi_run::record::Dimension {
    let axis = graph.axis(axis);
    match axis.kind {
        vi_model::graph::AxisKind::Anonymous => axis.size.into(),
        _ => axis.name.clone().into(),
    }
}

/// The value of an expression of point variables and constants; `None` where it differs by row.
fn global_value(
    graph: &Graph,
    model: &AmortizedModel,
    parameters: &[f32],
    node: vi_model::graph::NodeId,
) -> Option<(Vec<f64>, Vec<AxisId>)> {
    let axes = graph.node(node).axes.clone();
    if graph.rows.is_some_and(|rows| axes.contains(&rows)) || graph.uses_network(node) {
        return None;
    }
    let mut points: HashMap<String, Vec<f64>> = HashMap::new();
    for point in &model.program.points {
        let values = model.program.layout.slice(parameters, point.view);
        let values = values.iter().map(|&theta| f64::from(point.transform.value_and_slope(theta).0)).collect();
        points.insert(point.name.clone(), values);
    }
    let tensor = evaluate_points(graph, &points, node)?;
    Some((tensor.values, tensor.axes))
}

/// Elementwise expressions of points, aligned by axis name.
fn evaluate_points(
    graph: &Graph,
    points: &HashMap<String, Vec<f64>>,
    id: vi_model::graph::NodeId,
) -> Option<vi_model::graph::Tensor> {
    use vi_model::graph::{BinaryOperator, Function, Tensor};
    if graph.is_data(id) {
        return graph.evaluate_data(id, 0..0).ok();
    }
    let node = graph.node(id);
    let map = |a: vi_model::graph::NodeId, f: &dyn Fn(f64) -> f64| {
        let mut tensor = evaluate_points(graph, points, a)?;
        tensor.values.iter_mut().for_each(|value| *value = f(*value));
        Some(tensor)
    };
    match &node.kind {
        NodeKind::Variable(variable) => Some(Tensor {
            shape: node.axes.iter().map(|&axis| graph.axis(axis).size).collect(),
            axes: node.axes.clone(),
            values: points.get(&graph.variable(*variable).name)?.clone(),
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
            let mut left = evaluate_points(graph, points, *a)?.broadcast_to(&node.axes, &shape)?;
            let right = evaluate_points(graph, points, *b)?.broadcast_to(&node.axes, &shape)?;
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
