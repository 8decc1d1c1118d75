//! Predictions: what a fitted model says of rows that it has not seen, its global factors held.

use std::sync::Arc;

use vi_model::data::{Data, DataError};
use vi_model::graph::{Graph, NamedExpression, VariableId};
use vi_model::new_rows::{NewRowsError, new_rows};

use crate::error::CaviError;
use crate::fit::Ascent;
use crate::save::RowPosterior;

/// Rows that are worked on at once.
const CHUNK: usize = 256;

/// Why rows could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model has no plate over the rows.
    #[error("this model has no plate over the data rows, so there is nothing to predict for a row")]
    NoRows,
    /// All rows of a variable share one factor.
    #[error(
        "`{variable}` of all rows of the fit is one joint factor (`blocks`), so that new rows cannot be added to it"
    )]
    JointRows {
        /// The variable.
        variable: String,
    },
    /// The new data do not fit the model.
    #[error(transparent)]
    Rows(#[from] NewRowsError),
    /// The data of the fit cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The rows could not be read or updated.
    #[error(transparent)]
    Engine(#[from] CaviError),
}

/// A deterministic quantity of each row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowExpression {
    /// Its name.
    pub name: String,
    /// Values per row.
    pub width: usize,
    /// Names of the categories whose probabilities these are; empty where it is a number.
    pub categories: Vec<String>,
    /// Names of the elements of a row: levels, columns of a block, numbers; empty where there is one.
    pub elements: Vec<String>,
    /// Posterior means, `[num_rows, width]`.
    pub means: Vec<f64>,
    /// Posterior standard deviations, `[num_rows, width]`.
    pub sds: Vec<f64>,
}

/// What a fitted model says of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Number of rows.
    pub num_rows: usize,
    /// The posterior of each latent row-level variable.
    pub variables: Vec<(String, RowPosterior)>,
    /// The row-level expressions, such as `y.mean` of [`with_predictors`].
    pub expressions: Vec<RowExpression>,
    /// Each row's log predictive density log ∫ p(row | θ) q(θ) dθ in nats, or a lower bound on it; `None` where the rows hang
    /// together, as in chains.
    pub log_density: Option<Vec<f64>>,
    /// Whether it is the density itself.
    pub log_density_is: LogDensity,
}

/// What the log predictive densities of a prediction are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDensity {
    /// log ∫ p(row | θ) q(θ) dθ: in closed form, by a sum over categories, or by an integral over one number to ten digits.
    Exact,
    /// A lower bound, by Jensen's inequality and the row's own factors.
    Bound,
}

/// The model with its observed row-level variables and their parameters as named expressions (`y`, `y.mean`, `y.rate`, …), so
/// that a prediction reports them.
///
/// An expression with the name of an observed variable is that variable's predictive distribution: the mean and standard
/// deviation of a new value, its own noise and the uncertainty of all that it depends on included, and for a categorical one
/// the probability of each category. They are exact under q for normal variables (also of joint variables, and as mixtures),
/// Student's t, gamma, exponential, Poisson, Bernoulli and binomial variables; others are left out.
///
/// Only parameters that are sums of products of variables can be reported; the others are left out.
///
/// Values and means of observed variables are on the data's own scale, also where their columns are standardized; all other
/// expressions, latent variables and log densities are those of the standardized values that the model is about.
#[must_use]
pub fn with_predictors(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for v in (0..graph.variables.len()).map(VariableId) {
        let variable = graph.variable(v);
        if variable.observed.is_none() || !graph.is_local(v) {
            continue;
        }
        let name = variable.name.clone();
        if let Some((_, node)) = variable.distribution.parameters().into_iter().next() {
            let span = graph.node(node).span.clone();
            graph.expressions.push(NamedExpression { name: name.clone(), node, span });
        }
        let variable = graph.variable(v);
        for (key, node) in variable.distribution.parameters() {
            let reported = matches!(key, "mean" | "location" | "rate" | "logit" | "probit" | "probability");
            let rows = graph.rows.is_some_and(|r| graph.node(node).axes.contains(&r));
            if reported && rows && !graph.is_data(node) {
                let span = graph.node(node).span.clone();
                graph.expressions.push(NamedExpression { name: format!("{name}.{key}"), node, span });
            }
        }
    }
    graph
}

impl Ascent {
    /// The fit with other rows: row-level factors are made for `data`, global factors stay as they are.
    ///
    /// Columns are matched by name; they are standardized, and their levels numbered, as in the data of the fit. A column of
    /// observed values that `data` lacks counts as missing.
    ///
    /// # Errors
    ///
    /// Refuses data that lack what parameters are computed from, and levels that the fit has not seen.
    pub fn for_rows(&self, data: &Data) -> Result<Self, PredictError> {
        let graph = &self.engine.lowered.graph;
        if graph.rows.is_none() {
            return Err(PredictError::NoRows);
        }
        for (v, &f) in &self.engine.lowered.factor_of {
            if graph.is_local(*v) && !self.engine.lowered.program.factors[f].local {
                return Err(PredictError::JointRows { variable: graph.variable(*v).name.clone() });
            }
        }
        let mut other = self.clone();
        other.engine = self.engine.with_rows(new_rows(graph, data)?)?;
        Ok(other)
    }

    /// Predicts rows: posteriors of their latent variables, expressions, and how well they fit.
    ///
    /// # Errors
    ///
    /// As [`Ascent::for_rows`].
    pub fn predict(&self, data: &Data) -> Result<Prediction, PredictError> {
        let other = self.for_rows(data)?;
        let engine = &other.engine;
        let graph = &engine.lowered.graph;
        let total = total_rows(graph)?;
        let num_rows = data.num_rows();
        let chunks = || (0..num_rows).step_by(CHUNK).map(|start| start..(start + CHUNK).min(num_rows));
        let mut variables = Vec::new();
        for v in (0..graph.variables.len()).map(VariableId) {
            if !graph.is_local(v) || !engine.lowered.factor_of.contains_key(&v) {
                continue;
            }
            let name = &graph.variable(v).name;
            let mut all: Option<RowPosterior> = None;
            for rows in chunks() {
                let Some(part) = other.rows(name, rows)? else { break };
                match &mut all {
                    None => all = Some(part),
                    Some(all) => {
                        all.means.extend(part.means);
                        all.sds.extend(part.sds);
                    }
                }
            }
            variables.extend(all.filter(|p| p.width > 0).map(|p| (name.clone(), p)));
        }
        let mut expressions = Vec::new();
        for derived in &engine.lowered.derived {
            if !graph.rows.is_some_and(|r| derived.axes.contains(&r)) {
                continue;
            }
            let categories = graph.variable_named(&derived.name).map_or_else(Vec::new, |v| other.categories(v));
            let mut expression = RowExpression { name: derived.name.clone(), categories, ..RowExpression::default() };
            for rows in chunks() {
                let (means, sds) = engine.derived_moments(derived, rows.clone())?;
                expression.width = means.len() / rows.len();
                expression.sds.extend(sds);
                expression.means.extend(means);
            }
            expression.elements = graph.names_of_elements(&derived.axes, expression.width);
            if let Some(scale) = observed_by(graph, &derived.name).and_then(|v| graph.own_scale(v, &derived.axes)) {
                scale.locations(&mut expression.means, 1);
                scale.spreads(&mut expression.sds);
            }
            expressions.push(expression);
        }
        for v in (0..graph.variables.len()).map(VariableId) {
            let name = graph.variable(v).name.clone();
            let mut expression = RowExpression { name, ..RowExpression::default() };
            for rows in chunks() {
                let Some((means, sds)) = engine.success_moments(v, &rows)? else { break };
                expression.width = means.len() / rows.len();
                expression.sds.extend(sds);
                expression.means.extend(means);
            }
            if expression.width > 0 {
                expression.elements = graph.names_of_elements(&graph.value_axes(v), expression.width);
                expressions.push(expression);
            }
        }
        let (log_density, log_density_is) = match engine.row_densities()? {
            Some(exact) => (Some(exact), LogDensity::Exact),
            None => (engine.row_scores(total)?, LogDensity::Bound),
        };
        Ok(Prediction { num_rows, variables, expressions, log_density, log_density_is })
    }
}

/// The observed variable whose own values an expression of [`with_predictors`] tells: itself, or its location.
fn observed_by(graph: &Graph, name: &str) -> Option<VariableId> {
    let own = ["", ".mean", ".location"].iter().find_map(|key| graph.variable_named(name.strip_suffix(key)?))?;
    graph.variable(own).observed.as_ref().map(|_| own)
}

/// Number of rows, repeated rows counted.
fn total_rows(graph: &Graph) -> Result<f64, DataError> {
    let Some(counts) = graph.counts else { return Ok(graph.data.num_rows() as f64) };
    let mut values = vec![0.0; graph.data.num_rows()];
    graph.data.read(&[counts], 0..graph.data.num_rows(), &mut values)?;
    Ok(values.iter().sum())
}

/// The natural parameters of the global factors, by name: all that a prediction needs besides the model.
pub type GlobalState = Vec<(String, Vec<Vec<f64>>)>;

impl Ascent {
    /// The natural parameters of the global factors.
    #[must_use]
    pub fn global_state(&self) -> GlobalState {
        let program = &self.engine.lowered.program;
        (0..program.factors.len())
            .filter(|&f| !program.factors[f].local)
            .map(|f| (program.factors[f].name.clone(), self.engine.natural[f].clone()))
            .collect()
    }

    /// Puts the global factors where a fit of the same model and data has left them.
    ///
    /// # Errors
    ///
    /// [`CaviError::State`] where factors or their shapes differ.
    pub fn restore(&mut self, state: &GlobalState) -> Result<(), CaviError> {
        let lowered = Arc::clone(&self.engine.lowered);
        for (f, factor) in lowered.program.factors.iter().enumerate().filter(|(_, factor)| !factor.local) {
            let found = state.iter().find(|(name, _)| *name == factor.name).map(|(_, natural)| natural);
            let sizes = |natural: &[Vec<f64>]| natural.iter().map(Vec::len).collect::<Vec<_>>();
            let expected = sizes(&self.engine.natural[f]);
            match found {
                Some(natural) if sizes(natural) == expected => self.engine.set_natural(f, natural)?,
                _ => return Err(CaviError::State { factor: factor.name.clone() }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vi_model::data::Cells;
    use vi_model::{ModelBuilder, VariableBuilder};

    fn fitted(model: ModelBuilder) -> (Ascent, Graph) {
        let graph = model.inference("tolerance", 1e-14).inference("max_iterations", 20_000).build().unwrap();
        (crate::fit(&graph).unwrap().algorithm, graph)
    }

    /// The rows' scores, weighted by their counts, against the ELBO terms of the row-level variables.
    fn scores_are_the_rows_terms(model: ModelBuilder, weights: &[f64]) {
        let (ascent, graph) = fitted(model);
        let rows = ascent.for_rows(&graph.data).unwrap();
        let scores = rows.engine.row_scores(total_rows(&graph).unwrap()).unwrap().unwrap();
        if let Some(exact) = rows.engine.row_densities().unwrap() {
            assert!(exact.iter().zip(&scores).all(|(e, s)| e >= s), "{exact:?} below the bounds {scores:?}");
        }
        let total: f64 = scores.iter().zip(weights).map(|(s, w)| s * w).sum();
        let expected: f64 = ascent
            .elbo_terms()
            .iter()
            .filter(|(name, _)| graph.is_local(graph.variable_named(name).unwrap()))
            .map(|(_, term)| term)
            .sum();
        assert!((total - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{total} instead of {expected}");
    }

    #[test]
    fn counted_rows_with_a_look_up() {
        let groups = ["a", "b", "a", "c"].iter().map(|g| Some((*g).to_owned())).collect();
        let model = ModelBuilder::new()
            .text_column("group", groups)
            .column("events", vec![3.0, 0.0, 5.0, 2.0])
            .column("times", vec![2.0, 1.0, 4.0, 3.0])
            .data_key("counts", "times")
            .plate("row", "rows")
            .plate_of_levels("kind", "group")
            .variable("rate", VariableBuilder::new("gamma").plates(["kind"]).set("shape", 2.0).set("rate", 1.0))
            .variable(
                "x",
                VariableBuilder::new("poisson").plates(["row"]).set("rate", "rate[group]").observed("events"),
            );
        scores_are_the_rows_terms(model, &[2.0, 1.0, 4.0, 3.0]);
    }

    #[test]
    fn latent_vectors_with_missing_cells() {
        let values = vec![0.3, -1.2, 0.5, f64::NAN, 0.8, 1.9, -0.4, 0.6, f64::NAN, 1.5, -0.7, 0.2];
        let model = ModelBuilder::new()
            .matrix("y", 3, values)
            .plate("row", "rows")
            .plate_of_columns("column", "y")
            .variable(
                "loading",
                VariableBuilder::new("normal")
                    .plates(["column"])
                    .set("dimension", 2)
                    .set("mean", 0.0)
                    .set("precision", 1.0),
            )
            .variable(
                "score",
                VariableBuilder::new("normal")
                    .plates(["row"])
                    .set("dimension", 2)
                    .set("mean", 0.0)
                    .set("precision", 1.0),
            )
            .variable(
                "x",
                VariableBuilder::new("normal")
                    .plates(["row", "column"])
                    .set("mean", "dot(loading, score)")
                    .set("precision", 4.0)
                    .observed("y"),
            );
        scores_are_the_rows_terms(model, &[1.0; 4]);
    }

    #[test]
    fn a_known_mixture_has_its_exact_density() {
        let model = ModelBuilder::new()
            .column("reading", vec![-1.0, 0.2, 2.5])
            .constant_array("share", ["part"], vec![0.3, 0.7])
            .constant_array("centre", ["part"], vec![-1.0, 2.0])
            .plate("row", "rows")
            .plate("part", 2)
            .variable("z", VariableBuilder::new("categorical").plates(["row"]).set("probabilities", "share"))
            .variable(
                "x",
                VariableBuilder::new("normal")
                    .plates(["row"])
                    .set("mean", "centre[z]")
                    .set("sd", 1.0)
                    .observed("reading"),
            );
        let (ascent, _) = fitted(model);
        // With all parameters known the bound is tight: log Σ_k π_k N(x | μ_k, 1). The fit's rows do not matter.
        let data = Data::from_columns(vec![("reading".to_owned(), Cells::Numbers(vec![0.5, 7.0]))]).unwrap();
        let prediction = ascent.predict(&data).unwrap();
        let scores = prediction.log_density.unwrap();
        for (x, score) in [0.5_f64, 7.0].into_iter().zip(scores) {
            let normal = |mean: f64| (-0.5 * (x - mean).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let exact = (0.3 * normal(-1.0) + 0.7 * normal(2.0)).ln();
            assert!((score - exact).abs() < 1e-12, "{score} instead of {exact}");
        }
        assert_eq!(prediction.variables[0].1.categories, ["0", "1"]);
    }

    #[test]
    fn a_restored_fit_predicts_the_same() {
        let readings: Vec<f64> = (0..40).map(|i| f64::from(i % 5) * 0.2 + if i < 15 { 4.0 } else { 0.0 }).collect();
        let model = ModelBuilder::new()
            .column("reading", readings)
            .plate("row", "rows")
            .plate("part", 3)
            .variable("share", VariableBuilder::new("dirichlet").set("dimension", "part").set("concentration", 0.1))
            .variable("z", VariableBuilder::new("categorical").plates(["row"]).set("probabilities", "share"))
            .variable(
                "g",
                VariableBuilder::new("normal-gamma")
                    .plates(["part"])
                    .set("mean", 0.0)
                    .set("mean_precision", 0.1)
                    .set("shape", 1.0)
                    .set("rate", 1.0),
            )
            .variable(
                "x",
                VariableBuilder::new("normal").plates(["row"]).set("parameters", "g[z]").observed("reading"),
            );
        let (ascent, graph) = fitted(model);
        let mut other = Ascent::new(&with_predictors(&graph)).unwrap();
        other.restore(&ascent.global_state()).unwrap();
        let (one, two) = (ascent.predict(&graph.data).unwrap(), other.predict(&graph.data).unwrap());
        assert_eq!(one.variables, two.variables);
        assert_eq!(one.log_density, two.log_density);
        let error = other.restore(&vec![("g".to_owned(), vec![vec![0.0]])]).unwrap_err();
        assert!(matches!(error, CaviError::State { .. }), "{error}");
    }

    /// μ ~ N(0, 10²), x ~ N(μ, 1) in standardized columns, whose posterior mean is 0: a new x has each column's mean, and the variance
    /// 1 + 1/(n + 1/100) in units of the column's.
    #[test]
    fn standardized_columns_are_predicted_in_their_own_units_by_their_names() {
        let (a, b) = (vec![1.0, 3.0, 5.0], vec![-10.0, 20.0, 80.0]);
        let model = ModelBuilder::new()
            .column("height", a.clone())
            .column("weight", b.clone())
            .block("body", vec!["height", "weight"])
            .data_key("standardize", vec!["height", "weight"])
            .plate("row", "rows")
            .plate_of_columns("measure", "body")
            .variable("m", VariableBuilder::new("normal").plates(["measure"]).set("mean", 0.0).set("sd", 10.0))
            .variable(
                "x",
                VariableBuilder::new("normal")
                    .plates(["row", "measure"])
                    .set("mean", "m")
                    .set("sd", 1.0)
                    .observed("body"),
            );
        let graph = with_predictors(&model.build().unwrap());
        let ascent = crate::fit(&graph).unwrap().algorithm;
        let prediction = ascent
            .predict(
                &Data::from_columns(vec![
                    ("height".to_owned(), Cells::Numbers(vec![f64::NAN])),
                    ("weight".to_owned(), Cells::Numbers(vec![f64::NAN])),
                ])
                .unwrap(),
            )
            .unwrap();
        let x = prediction.expressions.iter().find(|e| e.name == "x").unwrap();
        assert_eq!(x.elements, ["height", "weight"]);
        for (i, column) in [a, b].iter().enumerate() {
            let mean = column.iter().sum::<f64>() / 3.0;
            let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0;
            assert!((x.means[i] - mean).abs() < 1e-9, "{} instead of {mean}", x.means[i]);
            let sd = (variance * (1.0 + 1.0 / 3.01)).sqrt();
            assert!((x.sds[i] - sd).abs() < 1e-9, "{} instead of {sd}", x.sds[i]);
        }
    }
}
