//! Row-level posteriors: of any variable in the rows' plate, and as `local/NAME.csv` of those that a run is asked to save.

use vi_model::graph::{AxisId, Graph, NodeId, VariableId};
use vi_run::output::{LocalColumns, LocalFormat, OutputError, RunDirectory};

use super::expected;
use super::gaussian::Gaussian;
use super::noise;
use super::posterior::marginal;
use super::repeat::FirstCopies;
use super::responsibility::{Responsibilities, responsibilities};
use super::run::Fitted;
use crate::error::SgviError;
use crate::lower::{Model, ReadOut, Support, is_discrete};
use crate::tape::Evaluator;

/// Why row-level tables were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// The posterior cannot be read out.
    #[error(transparent)]
    Refused(#[from] SgviError),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The continuous variable or expression in the rows' plate of that name.
fn continuous<'a>(graph: &Graph, model: &'a Model, name: &str) -> Option<&'a ReadOut> {
    model.outputs.iter().find(|o| o.name == name && o.axes.iter().any(|a| Some(a.0) == graph.rows))
}

/// The discrete latent variable in the rows' plate of that name.
fn discrete(graph: &Graph, name: &str) -> Option<VariableId> {
    graph.variable_named(name).filter(|&v| {
        let variable = graph.variable(v);
        is_discrete(&variable.distribution) && variable.observed.is_none() && graph.is_local(v)
    })
}

/// The expression of that name in the rows' plate that reads discrete variables.
fn mixed(graph: &Graph, model: &Model, name: &str) -> Option<NodeId> {
    let node = expected::mixed(graph, model).find(|e| e.name == name)?.node;
    graph.rows.is_some_and(|rows| graph.node(node).axes.contains(&rows)).then_some(node)
}

/// Refuses names that have no row-level posterior, before anything is fitted.
///
/// # Errors
/// [`SgviError::Unsupported`] naming the first of them and what there is.
pub(crate) fn check(graph: &Graph, model: &Model, names: &[String]) -> Result<(), SgviError> {
    for name in names {
        if continuous(graph, model, name).is_some() || discrete(graph, name).is_some() {
            continue;
        }
        if let Some(node) = mixed(graph, model, name) {
            model.expectation(graph, node, &[])?;
            continue;
        }
        let mut known: Vec<&str> = model
            .outputs
            .iter()
            .filter(|o| continuous(graph, model, &o.name).is_some())
            .map(|o| o.name.as_str())
            .collect();
        known.extend(graph.variables.iter().filter(|v| discrete(graph, &v.name).is_some()).map(|v| v.name.as_str()));
        known.extend(
            graph.expressions.iter().filter(|e| mixed(graph, model, &e.name).is_some()).map(|e| e.name.as_str()),
        );
        let known =
            if known.is_empty() { "there is none here".to_owned() } else { format!("here: {}", known.join(", ")) };
        return Err(SgviError::Unsupported {
            variable: name.clone(),
            reason: "only latent variables and expressions in the rows' plate can be saved row by row".to_owned(),
            help: format!("name one of them ({known}); all others are in posterior.json"),
            span: 0..0,
        });
    }
    Ok(())
}

/// The posterior of a variable or expression of the rows, for every row of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPosterior {
    /// Values per row: those of all its elements, of a categorical variable one for each of its values.
    pub width: usize,
    /// Whether `means` are the probabilities of a categorical variable's values.
    pub is_categorical: bool,
    /// Posterior means, `[num_rows, width]`.
    pub means: Vec<f64>,
    /// Marginal posterior standard deviations, `[num_rows, width]`; of probabilities p those of the indicators, √(p (1 − p)).
    pub sds: Vec<f64>,
    /// Names of the values of a row, in their order; empty where a row has one value alone, by the model and not by chance.
    pub names: Vec<String>,
}

impl RowPosterior {
    fn moments(names: Vec<String>, width: usize, (means, sds): (Vec<f64>, Vec<f64>)) -> Self {
        Self { width, is_categorical: false, means, sds, names }
    }

    fn probabilities(names: Vec<String>, width: usize, means: Vec<f64>) -> Self {
        let sds = means.iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
        Self { width, is_categorical: true, means, sds, names }
    }

    fn columns(&self) -> LocalColumns {
        columns(self.is_categorical, self.names.clone())
    }
}

/// The columns of a table of probabilities, or of means and sds.
fn columns(is_categorical: bool, names: Vec<String>) -> LocalColumns {
    match names {
        levels if is_categorical => LocalColumns::Probabilities { levels },
        names if names.is_empty() => LocalColumns::Scalar,
        coordinates => LocalColumns::Vector { coordinates },
    }
}

/// Names of the elements of a row along `axes`: none where these are the rows alone.
pub(crate) fn element_names(graph: &Graph, axes: &[AxisId], width: usize) -> Vec<String> {
    if axes.iter().all(|axis| Some(*axis) == graph.rows) {
        return Vec::new();
    }
    match graph.names_of_elements(axes, width) {
        names if names.is_empty() => vec!["0".to_owned()],
        names => names,
    }
}

/// The posteriors of named variables and expressions of the rows; of rows that occur several times the first copy's, of those that
/// occur no times what they would have unobserved.
///
/// # Errors
/// Posteriors that cannot be read out.
pub(crate) fn row_posteriors(
    graph: &Graph,
    fitted: &Fitted,
    names: &[String],
) -> Result<Vec<(String, RowPosterior)>, SgviError> {
    let q = fitted.gaussian.as_ref();
    let repeated = fitted.repeated.as_ref();
    let copies = FirstCopies::new(graph, repeated, &fitted.model.owner, q, names)?;
    let graph = fitted.graph(graph);
    let mut found = Vec::new();
    if names.iter().any(|name| discrete(graph, name).is_some()) {
        for mut r in responsibilities(graph, q, 11)?.into_iter().filter(|r| r.rows) {
            let name = &graph.variable(r.variable).name;
            if !names.contains(name) {
                continue;
            }
            let elements = r.plates.iter().product::<usize>();
            let posterior = if r.is_categorical(graph) {
                let width = r.size * elements;
                r.probabilities = copies.probabilities(name, r.probabilities, width);
                RowPosterior::probabilities(graph.names_of_categories(r.variable, width), width, r.probabilities)
            } else {
                let (mean, sd) = r.moments();
                let names = element_names(graph, &graph.value_axes(r.variable), elements);
                RowPosterior::moments(names, elements, copies.moments(name, mean, sd, elements))
            };
            found.push((name.clone(), posterior));
        }
    }
    for (name, node) in names.iter().filter_map(|name| Some((name, mixed(graph, &fitted.model, name)?))) {
        let e = expected::expected(graph, &fitted.model, q, None, node, 13)?;
        let moments = copies.moments(name, e.mean, e.sd, e.width);
        let names = element_names(graph, &graph.node(node).axes, e.width);
        found.push((name.clone(), RowPosterior::moments(names, e.width, moments)));
    }
    let Some(q) = q else { return Ok(found) };
    for name in names {
        let Some(output) = continuous(graph, &fitted.model, name) else { continue };
        let (mean, sd) = moments(&fitted.model, output, q);
        let width = output.value.shape.inner();
        let moments = copies.moments(name, mean, sd, width);
        let axes: Vec<AxisId> = output.axes.iter().map(|axis| axis.0).collect();
        found.push((name.clone(), RowPosterior::moments(element_names(graph, &axes, width), width, moments)));
    }
    Ok(found)
}

/// Writes for every row the probabilities of each named categorical, mean and sd of every other named variable.
///
/// # Errors
/// Posteriors that cannot be read out, and files that cannot be written.
pub(crate) fn save(
    graph: &Graph,
    fitted: &Fitted,
    directory: &mut RunDirectory,
    names: &[String],
    format: LocalFormat,
) -> Result<(), SaveError> {
    for (name, rows) in row_posteriors(graph, fitted, names)? {
        let mut writer = directory.local_writer(&name, format, rows.columns())?;
        if rows.is_categorical {
            writer.write_probabilities(&rows.means)?;
        } else {
            writer.write_moments(&rows.means, &rows.sds)?;
        }
        writer.finish()?;
    }
    Ok(())
}

/// Writes the posterior of a discrete variable of the rows: probabilities of a categorical's values, moments of others.
///
/// # Errors
/// Files that cannot be written.
pub(crate) fn write_discrete(
    graph: &Graph,
    r: &Responsibilities,
    name: &str,
    directory: &mut RunDirectory,
    format: LocalFormat,
) -> Result<(), OutputError> {
    let elements: usize = r.plates.iter().product();
    if r.is_categorical(graph) {
        let names = graph.names_of_categories(r.variable, r.size * elements);
        let mut writer = directory.local_writer(name, format, columns(true, names))?;
        writer.write_probabilities(&r.probabilities)?;
        return writer.finish();
    }
    let (mean, sd) = r.moments();
    let names = element_names(graph, &graph.value_axes(r.variable), elements);
    let mut writer = directory.local_writer(name, format, columns(false, names))?;
    writer.write_moments(&mean, &sd)?;
    writer.finish()
}

/// Mean and sd of every row's elements: closed form on the whole line, from draws elsewhere.
fn moments(model: &Model, output: &ReadOut, q: &Gaussian) -> (Vec<f64>, Vec<f64>) {
    let n = model.read_out.num_rows;
    let width = output.value.shape.inner();
    let mut mean = vec![0.0; n * width];
    let mut square = vec![0.0; n * width];
    let latent = output.variable.and_then(|v| model.latents.iter().find(|l| l.variable == v));
    if let Some(latent) = latent.filter(|l| l.support == Support::Real) {
        let variances = q.variances();
        for i in 0..n * width {
            (mean[i], square[i]) = marginal(q, &variances, latent.offset + i);
        }
    } else {
        let evaluator = Evaluator::new(std::sync::Arc::clone(&model.read_out));
        let (draws, w) = (2000, q.noise_dimension());
        let noise = noise::matched(7, draws, w);
        let mut count = 0.0;
        for d in 0..draws {
            let theta = q.points(&noise[d * w..(d + 1) * w], 1);
            evaluator.visit(&theta, 1, n, |_, frame| {
                count += 1.0;
                let values = frame.read(evaluator.program(), &output.value);
                for i in 0..n * width {
                    let step = values[i] - mean[i];
                    mean[i] += step / count;
                    square[i] += step * (values[i] - mean[i]);
                }
            });
        }
        square.iter_mut().for_each(|s| *s /= count);
    }
    (mean, square.into_iter().map(|v| v.max(0.0).sqrt()).collect())
}
