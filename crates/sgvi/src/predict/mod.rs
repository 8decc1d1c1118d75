//! What a fitted approximation says of new rows: predictive moments, quantiles, draws and log densities.

pub(crate) mod distribution;
mod evaluate;
pub(crate) mod operations;
mod rows;
#[cfg(test)]
mod tests;

use vi_model::data::Data;
use vi_model::graph::{AxisId, AxisKind, Graph, VariableId};
use vi_model::new_rows::NewRowsError;
use vi_model::repeated_rows::taken_rows;
use vi_model::row_values::OwnScale;
use vi_run::seed::derive_seed;

use crate::error::SgviError;
use crate::fit::gaussian::Gaussian;
use crate::fit::noise;
use crate::fit::responsibility::{has_global, responsibilities};
use crate::lower::{Model, PredictiveProgram, PredictiveSettings, joint_rows};

/// Coordinates times draws up to which the draws' sample moments are matched.
const MOST_MATCHED: usize = 20_000_000;

/// Why rows could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model has no plate over the rows.
    #[error("this model has no plate over the data rows, so there is nothing to predict for a row")]
    NoRows,
    /// The model has networks.
    #[error(
        "a model with networks has no predictive distribution of its own: `Networks` encodes, decodes and evaluates rows"
    )]
    Networks,
    /// The run failed.
    #[error("the run failed, so there is no approximation to predict from")]
    Failed,
    /// Nothing in the rows is observed.
    #[error("no variable in the rows' plate is observed, so there is nothing to predict for a row")]
    NothingObserved,
    /// An array is written along the rows.
    #[error(
        "the model has an array with one number for each of the fit's {rows} rows: write it as a data column, so that new rows have one too"
    )]
    RowsArray {
        /// Rows of the fit.
        rows: usize,
    },
    /// The approximation is that of another model.
    #[error("the run has {run} coordinates, but the model now has {model}: run the model again")]
    Changed {
        /// Coordinates of the run.
        run: usize,
        /// Coordinates of the model.
        model: usize,
    },
    /// The new data do not fit the model.
    #[error(transparent)]
    Rows(#[from] NewRowsError),
    /// The model cannot be compiled for new rows.
    #[error(transparent)]
    Engine(#[from] SgviError),
}

/// How a prediction is made.
#[derive(Debug, Clone)]
pub struct PredictOptions {
    /// Draws of the approximation.
    pub draws: usize,
    /// Their seed.
    pub seed: u64,
    /// Probabilities of the quantiles.
    pub quantiles: Vec<f64>,
    /// Whether the draws are kept.
    pub keep_draws: bool,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self { draws: 4000, seed: 0, quantiles: vec![0.05, 0.5, 0.95], keep_draws: false }
    }
}

/// The predictive distribution of an observed variable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowPrediction {
    /// Its name.
    pub name: String,
    /// Elements of a row.
    pub width: usize,
    /// Their names: levels, columns of a block, numbers; empty where there is one.
    pub elements: Vec<String>,
    /// For a categorical, the names of its values.
    pub categories: Vec<String>,
    /// Means `[rows, width]` (of a categorical its probabilities `[rows, width, categories]`).
    pub means: Vec<f64>,
    /// Standard deviations `[rows, width]`; none of a categorical.
    pub sds: Vec<f64>,
    /// Quantiles `[levels][rows, width]`; none of a categorical.
    pub quantiles: Vec<Vec<f64>>,
    /// Draws `[rows, width, draws]`, where they are kept.
    pub draws: Vec<f64>,
}

impl RowPrediction {
    /// From standardized values to those of the data.
    fn put_on_own_scale(&mut self, scale: &OwnScale, draws: usize) {
        scale.locations(&mut self.means, 1);
        scale.spreads(&mut self.sds);
        self.quantiles.iter_mut().for_each(|values| scale.locations(values, 1));
        scale.locations(&mut self.draws, draws);
    }
}

/// A named expression of each row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowExpression {
    /// Its name.
    pub name: String,
    /// Elements of a row.
    pub width: usize,
    /// Their names: levels, columns of a block, numbers; empty where there is one.
    pub elements: Vec<String>,
    /// Posterior means `[rows, width]`.
    pub means: Vec<f64>,
    /// Posterior standard deviations `[rows, width]`.
    pub sds: Vec<f64>,
}

/// What an approximation says of rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prediction {
    /// Number of rows.
    pub num_rows: usize,
    /// Observed variables of the rows, on the data's own scale, also where their columns are standardized; all else is said of the
    /// standardized values that the model is about.
    pub variables: Vec<RowPrediction>,
    /// Expressions of the rows.
    pub expressions: Vec<RowExpression>,
    /// log ∫ p(row | θ) q(θ) dθ in nats, by the log mean over draws; NaN where nothing is observed in a row. `None` where
    /// nothing is observed in any row, or rows hang together in a chain.
    pub log_density: Option<Vec<f64>>,
}

/// Predicts rows that the fit has not seen. Levels that it has not seen are drawn from their prior.
///
/// # Errors
/// Data that lack what parameters are computed from; variables that cannot be drawn.
pub(crate) fn predict(
    graph: &Graph,
    model: &Model,
    q: &Gaussian,
    data: &Data,
    options: &PredictOptions,
) -> Result<Prediction, PredictError> {
    if graph.rows.is_none() {
        return Err(PredictError::NoRows);
    }
    if q.mean.len() != model.program.dimension {
        return Err(PredictError::Changed { run: q.mean.len(), model: model.program.dimension });
    }
    let (new, known) = rows::graph_of_rows(graph, data)?;
    let mut settings =
        PredictiveSettings { seed: derive_seed(options.seed, 1), known, ..PredictiveSettings::default() };
    if has_global(graph) {
        let posterior = responsibilities(graph, Some(q), derive_seed(options.seed, 2))?;
        settings.discrete = posterior.into_iter().filter(|r| !r.rows).map(|r| (r.variable, r.probabilities)).collect();
    }
    let sampling = PredictiveProgram::new(&new, &settings, false)?;
    if sampling.drawn.is_empty() {
        return Err(PredictError::NothingObserved);
    }
    let dense = sampling.present.iter().any(|p| *p) && !joint_rows(&new);
    let density = if dense { Some(PredictiveProgram::new(&new, &settings, true)?) } else { None };
    let places = rows::places(graph, &new, &model.owner, &sampling.owner);
    let draws = options.draws.max(2).div_ceil(2) * 2;
    let theta = points(q, &places, draws, derive_seed(options.seed, 3));
    let (mut variables, mut expressions) = evaluate::draws(&sampling, &theta, draws, options);
    for (variable, drawn) in variables.iter_mut().zip(&sampling.drawn) {
        variable.name.clone_from(&new.variable(drawn.variable).name);
        variable.categories = categories(&new, drawn.variable, drawn.probabilities.is_some());
        variable.elements = new.names_of_elements(&drawn.axes, variable.width);
        if let Some(scale) = new.own_scale(drawn.variable, &drawn.axes) {
            variable.put_on_own_scale(&scale, draws);
        }
    }
    for (expression, output) in expressions.iter_mut().zip(&sampling.expressions) {
        expression.name.clone_from(&output.name);
        let axes: Vec<AxisId> = output.axes.iter().map(|axis| axis.0).collect();
        expression.elements = new.names_of_elements(&axes, expression.width);
    }
    let log_density = density.map(|program| evaluate::log_densities(&program, &theta, draws));
    Ok(Prediction { num_rows: new.data.num_rows(), variables, expressions, log_density })
}

/// Draws of the approximation in the coordinates of a program for new rows, each followed by its number.
fn points(q: &Gaussian, places: &[Option<usize>], draws: usize, seed: u64) -> Vec<f64> {
    let width = q.noise_dimension();
    let noise = if width * draws <= MOST_MATCHED { noise::matched(seed, draws, width) } else { Vec::new() };
    let mut theta = Vec::with_capacity(draws * (places.len() + 1));
    for d in 0..draws {
        let own = match noise.get(d * width..(d + 1) * width) {
            Some(own) => own.to_vec(),
            None => noise::independent(derive_seed(seed, d as u64), 1, width),
        };
        let point = q.points(&own, 1);
        theta.extend(places.iter().map(|p| p.map_or(0.0, |p| point[p])));
        theta.push(d as f64);
    }
    theta
}

/// What an approximation says of the latent variables and expressions `names` of data rows of which nothing is observed: their
/// distribution given the variables outside the rows. `counted` is the model with those rows, `fitted` the one that was fitted.
///
/// # Errors
/// Variables that cannot be drawn.
pub(crate) fn unobserved_rows(
    counted: &Graph,
    fitted: &Graph,
    owner: &[usize],
    q: &Gaussian,
    rows: Vec<usize>,
    names: &[String],
) -> Result<Prediction, SgviError> {
    let Some(axis) = counted.rows else { return Ok(Prediction::default()) };
    let mut new = taken_rows(counted, axis, rows);
    for v in (0..new.variables.len()).filter(|v| counted.is_local(VariableId(*v))) {
        new.variables[v].observed = None;
    }
    let variables: Vec<VariableId> = names.iter().filter_map(|name| new.variable_named(name)).collect();
    let mut settings = PredictiveSettings {
        seed: derive_seed(17, 1),
        asked: Some((variables, names.to_vec())),
        ..PredictiveSettings::default()
    };
    if has_global(fitted) {
        let posterior = responsibilities(fitted, Some(q), derive_seed(17, 2))?;
        settings.discrete = posterior.into_iter().filter(|r| !r.rows).map(|r| (r.variable, r.probabilities)).collect();
    }
    let program = PredictiveProgram::new(&new, &settings, false)?;
    let places = rows::places(fitted, &new, owner, &program.owner);
    let options = PredictOptions { quantiles: Vec::new(), ..PredictOptions::default() };
    let theta = points(q, &places, options.draws, derive_seed(17, 3));
    let (mut variables, mut expressions) = evaluate::draws(&program, &theta, options.draws, &options);
    for (variable, drawn) in variables.iter_mut().zip(&program.drawn) {
        variable.name.clone_from(&new.variable(drawn.variable).name);
    }
    for (expression, output) in expressions.iter_mut().zip(&program.expressions) {
        expression.name.clone_from(&output.name);
    }
    Ok(Prediction { num_rows: new.data.num_rows(), variables, expressions, log_density: None })
}

/// Names of the values of a categorical variable.
fn categories(graph: &Graph, v: VariableId, categorical: bool) -> Vec<String> {
    use vi_model::graph::Distribution::{Categorical, MarkovChain};
    match &graph.variable(v).distribution {
        Categorical { range, .. } | MarkovChain { range, .. } if categorical => {
            let axis = graph.axis(*range);
            match &axis.kind {
                AxisKind::Levels { levels, .. } => levels.clone(),
                _ => (0..axis.size).map(|k| k.to_string()).collect(),
            }
        }
        _ => Vec::new(),
    }
}
