//! Row-level posteriors, written chunk by chunk.

use std::ops::Range;

use vi_model::graph::{AxisId, AxisKind, Distribution, VariableId};
use vi_run::output::{LocalColumns, LocalFormat, OutputError, RunDirectory};

use crate::error::CaviError;
use crate::factor::{Family, NormalGammaVectorParameters};
use crate::fit::Ascent;
use crate::lower::Derived;
use crate::program::{Factor, FactorId};

/// What can go wrong while row-level posteriors are written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The rows could not be read or updated.
    #[error(transparent)]
    Engine(#[from] CaviError),
    /// The table could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The posterior of a row-level variable in some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPosterior {
    /// Values per row: categories, or coordinates of all elements.
    pub width: usize,
    /// Whether `means` are the probabilities of the categories.
    pub is_categorical: bool,
    /// Names of the categories: levels, or numbers from 0; empty where it is not categorical.
    pub categories: Vec<String>,
    /// Names of the elements of a row: levels, columns of a block, numbers; empty where there is one, and of categories.
    pub elements: Vec<String>,
    /// Posterior means, `[num_rows, width]`.
    pub means: Vec<f64>,
    /// Marginal posterior standard deviations, `[num_rows, width]`.
    pub sds: Vec<f64>,
}

impl Ascent {
    /// Whether a variable has a row-level posterior; the reason if not.
    ///
    /// # Errors
    ///
    /// The reason, naming what could be saved.
    pub fn check_saveable(&self, name: &str) -> Result<(), String> {
        let graph = &self.engine.lowered.graph;
        let saveable: Vec<&str> = (0..graph.variables.len())
            .map(VariableId)
            .filter(|v| graph.is_local(*v))
            .filter(|v| {
                let family =
                    self.engine.lowered.factor_of.get(v).map(|f| self.engine.lowered.program.factors[*f].family);
                // Matrices and sticks of single rows have no table of means and sds.
                !matches!(family, None | Some(Family::Wishart(_) | Family::NormalWishart(_) | Family::StickBreaking(_)))
            })
            .map(|v| graph.variable(v).name.as_str())
            .chain(self.row_expressions().map(|d| d.name.as_str()))
            .collect();
        if saveable.contains(&name) {
            return Ok(());
        }
        let list = if saveable.is_empty() { "this model has none".to_owned() } else { saveable.join(", ") };
        Err(format!(
            "--save {name}: only latent variables and expressions in the rows' plate have a table of their own ({list})"
        ))
    }

    /// Expressions with a value per row.
    fn row_expressions(&self) -> impl Iterator<Item = &Derived> {
        let lowered = &self.engine.lowered;
        lowered.derived.iter().filter(|d| lowered.graph.rows.is_some_and(|rows| d.axes.contains(&rows)))
    }

    fn row_factor(&self, name: &str) -> Option<(VariableId, FactorId)> {
        let v = self.engine.lowered.graph.variable_named(name)?;
        Some((v, *self.engine.lowered.factor_of.get(&v)?))
    }

    /// Names of what a categorical variable ranges over, where those are levels of a column.
    fn levels(&self, v: VariableId) -> Option<Vec<String>> {
        let graph = &self.engine.lowered.graph;
        let range = match graph.variable(v).distribution {
            Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => range,
            _ => return None,
        };
        match &graph.axis(range).kind {
            AxisKind::Levels { levels, .. } => Some(levels.clone()),
            _ => None,
        }
    }

    /// Names of the categories of a categorical variable, numbers where these are no levels of a column; empty for others.
    pub(crate) fn categories(&self, v: VariableId) -> Vec<String> {
        let graph = &self.engine.lowered.graph;
        match graph.variable(v).distribution {
            Distribution::Categorical { range, .. } => {
                self.levels(v).unwrap_or_else(|| (0..graph.axis(range).size).map(|k| k.to_string()).collect())
            }
            _ => Vec::new(),
        }
    }

    /// The posterior of a latent variable of the rows' plate in some rows; `None` where it has none.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read or updated.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Option<RowPosterior>, CaviError> {
        let Some((v, f)) = self.row_factor(name) else { return Ok(None) };
        let factor = &self.engine.lowered.program.factors[f];
        if !factor.local {
            let (means, sds) = self.joined_rows(v, f);
            let total = self.engine.lowered.program.num_rows;
            let width = means.len() / total.max(1);
            let range = rows.start.min(total) * width..rows.end.min(total) * width;
            let (means, sds) = (means[range.clone()].to_vec(), sds[range].to_vec());
            let elements = self.names_of_row(v, width);
            return Ok(Some(RowPosterior {
                width,
                is_categorical: false,
                categories: Vec::new(),
                elements,
                means,
                sds,
            }));
        }
        let rows = rows.start..rows.end.min(self.engine.lowered.program.num_rows);
        let statistics = self.engine.rows_of(f, rows.clone())?;
        let is_categorical =
            matches!(factor.family, Family::Categorical(_) | Family::MarkovChain(_) | Family::MarkovSteps(_));
        let (means, sds) = if is_categorical {
            let probabilities = statistics.into_iter().next().unwrap_or_default();
            let sds = probabilities.iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
            (probabilities, sds)
        } else {
            moments(factor.family, &statistics, factor, v)
        };
        let width = means.len() / rows.len().max(1);
        let categories =
            if is_categorical { self.engine.lowered.graph.names_of_categories(v, width) } else { Vec::new() };
        let elements = if is_categorical { Vec::new() } else { self.names_of_row(v, width) };
        Ok(Some(RowPosterior { width, is_categorical, categories, elements, means, sds }))
    }

    /// The columns of a table of means and sds.
    fn moment_columns(&self, axes: &[AxisId], width: usize) -> LocalColumns {
        let graph = &self.engine.lowered.graph;
        if axes.iter().all(|axis| Some(*axis) == graph.rows) {
            return LocalColumns::Scalar;
        }
        match graph.names_of_elements(axes, width) {
            names if names.is_empty() => LocalColumns::numbered_coordinates(1),
            coordinates => LocalColumns::Vector { coordinates },
        }
    }

    fn names_of_row(&self, v: VariableId, width: usize) -> Vec<String> {
        let graph = &self.engine.lowered.graph;
        graph.names_of_elements(&graph.value_axes(v), width)
    }

    /// Means and sds, rows first, of a variable of the rows' plate that shares a joint factor with global ones.
    fn joined_rows(&self, v: VariableId, f: FactorId) -> (Vec<f64>, Vec<f64>) {
        let graph = &self.engine.lowered.graph;
        let variable = graph.variable(v);
        let d = variable.dimension.map_or(1, |a| graph.axis(a).size);
        let (means, covariances) = self.normal_moments(v, f);
        let sds: Vec<f64> =
            covariances.chunks_exact(d * d).flat_map(|c| (0..d).map(|i| c[i * d + i].max(0.0).sqrt())).collect();
        let at = graph.rows.and_then(|rows| variable.plates.iter().position(|p| *p == rows)).unwrap_or(0);
        let inner = d * variable.plates[at + 1..].iter().map(|p| graph.axis(*p).size).product::<usize>();
        let rows = self.engine.lowered.program.num_rows;
        let rows_first = |values: &[f64]| {
            let mut ordered = Vec::with_capacity(values.len());
            for row in 0..rows {
                for outer in values.chunks_exact(rows * inner) {
                    ordered.extend_from_slice(&outer[row * inner..(row + 1) * inner]);
                }
            }
            ordered
        };
        (rows_first(&means), rows_first(&sds))
    }

    /// Writes `local/NAME` for a latent variable of the rows' plate: probabilities of a categorical, else mean and sd.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read, or the table cannot be written.
    pub fn save_rows(
        &mut self,
        name: &str,
        directory: &mut RunDirectory,
        format: LocalFormat,
    ) -> Result<(), SaveError> {
        if let Some(derived) = self.row_expressions().find(|d| d.name == name) {
            return self.save_expression(derived, directory, format);
        }
        let Some((v, f)) = self.row_factor(name) else { return Ok(()) };
        let engine = &self.engine;
        let graph = &engine.lowered.graph;
        let factor = &engine.lowered.program.factors[f];
        if !factor.local {
            let (means, sds) = self.joined_rows(v, f);
            let width = means.len() / engine.lowered.program.num_rows.max(1);
            let columns = self.moment_columns(&graph.value_axes(v), width);
            let mut writer = directory.local_writer(name, format, columns)?;
            writer.write_moments(&means, &sds)?;
            writer.finish()?;
            return Ok(());
        }
        let elements = factor.elements();
        let columns = match factor.family {
            Family::Categorical(k) | Family::MarkovChain(k) | Family::MarkovSteps(k) => {
                LocalColumns::Probabilities { levels: self.engine.lowered.graph.names_of_categories(v, k * elements) }
            }
            family => self.moment_columns(&graph.value_axes(v), elements * coordinates(family, factor, v)),
        };
        let mut writer = directory.local_writer(name, format, columns)?;
        let rows = engine.lowered.program.num_rows;
        let mut at = 0;
        while at < rows {
            let range: Range<usize> = at..(at + engine.plan.chunk).min(rows);
            let statistics = engine.rows_of(f, range.clone())?;
            match factor.family {
                Family::Categorical(_) | Family::MarkovChain(_) | Family::MarkovSteps(_) => {
                    writer.write_probabilities(&statistics[0])?
                }
                family => {
                    let (means, sds) = moments(family, &statistics, factor, v);
                    writer.write_moments(&means, &sds)?;
                }
            }
            at = range.end;
        }
        writer.finish()?;
        Ok(())
    }
}

impl Ascent {
    /// Writes `local/NAME` for an expression with a value per row: mean and sd.
    fn save_expression(
        &self,
        derived: &Derived,
        directory: &mut RunDirectory,
        format: LocalFormat,
    ) -> Result<(), SaveError> {
        let graph = &self.engine.lowered.graph;
        let others = derived.axes.iter().filter(|a| Some(**a) != graph.rows);
        let width = others.map(|a| graph.axis(*a).size).product();
        let columns = self.moment_columns(&derived.axes, width);
        let mut writer = directory.local_writer(&derived.name, format, columns)?;
        let rows = self.engine.lowered.program.num_rows;
        for at in (0..rows).step_by(self.engine.plan.chunk.max(1)) {
            let (means, sds) = self.engine.derived_moments(derived, at..(at + self.engine.plan.chunk).min(rows))?;
            writer.write_moments(&means, &sds)?;
        }
        writer.finish()?;
        Ok(())
    }
}

/// Number of means that one element of a row-level factor has for a variable.
fn coordinates(family: Family, factor: &Factor, v: VariableId) -> usize {
    match family.whole() {
        Family::NormalVector(d) => {
            factor.members.iter().find(|m| m.variable == Some(v)).map_or(d, |m| m.coordinates.len())
        }
        Family::GaussianSteps(d)
        | Family::GaussianMarkovChain(d)
        | Family::Dirichlet(d)
        | Family::StickBreaking(d)
        | Family::NormalGammaVector(d)
        | Family::NormalWishart(d) => d,
        Family::Wishart(d) => d * d,
        _ => 1,
    }
}

/// Means and marginal standard deviations of row-level elements.
fn moments(family: Family, statistics: &[Vec<f64>], factor: &Factor, v: VariableId) -> (Vec<f64>, Vec<f64>) {
    if factor.point {
        let mode: Option<Vec<f64>> = match family.whole() {
            Family::Gamma | Family::Shape => Some(statistics[0].clone()),
            Family::InverseGamma => Some(statistics[0].iter().map(|x| 1.0 / x).collect()),
            Family::Beta | Family::Dirichlet(_) => Some(statistics[0].iter().map(|x| x.exp()).collect()),
            Family::NormalGammaVector(d) => {
                Some(statistics[2].iter().enumerate().map(|(i, x)| x / statistics[0][i / d]).collect())
            }
            Family::NormalGamma => Some(statistics[2].iter().zip(&statistics[0]).map(|(x, tau)| x / tau).collect()),
            _ => None,
        };
        if let Some(mode) = mode {
            let sds = vec![0.0; mode.len()];
            return (mode, sds);
        }
    }
    match family {
        Family::Partial(part) => {
            let whole = part.whole();
            let number = whole.num_statistics();
            let (mut means, mut sds) = from_natural(whole, &statistics[..number]);
            let known = statistics[number].iter().zip(&statistics[number + 1]);
            for ((mean, sd), (value, present)) in means.iter_mut().zip(&mut sds).zip(known) {
                if *present != 0.0 {
                    (*mean, *sd) = (*value, 0.0);
                }
            }
            (means, sds)
        }
        Family::NormalVector(d)
        | Family::GaussianMarkovChain(d)
        | Family::GaussianSteps(d)
        | Family::PartialNormal(d) => {
            let coordinates = factor
                .members
                .iter()
                .find(|m| m.variable == Some(v) && factor.members.len() > 1)
                .map_or(0..d, |m| m.coordinates.clone());
            let mut means = Vec::new();
            let mut sds = Vec::new();
            for (mean, second) in statistics[0].chunks_exact(d).zip(statistics[1].chunks_exact(d * d)) {
                for i in coordinates.clone() {
                    means.push(mean[i]);
                    sds.push((second[i * d + i] - mean[i] * mean[i]).max(0.0).sqrt());
                }
            }
            (means, sds)
        }
        Family::Bernoulli => {
            let sds = statistics[0].iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
            (statistics[0].clone(), sds)
        }
        Family::Poisson => (statistics[0].clone(), statistics[0].iter().map(|m| m.sqrt()).collect()),
        Family::Normal | Family::TruncatedNormal => {
            let sds = statistics[0].iter().zip(&statistics[1]).map(|(m, s)| (s - m * m).max(0.0).sqrt()).collect();
            (statistics[0].clone(), sds)
        }
        _ => from_natural(family, statistics),
    }
}

/// Families whose moments are not among their statistics: `statistics` holds their natural parameters.
fn from_natural(family: Family, natural: &[Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let mut means = Vec::new();
    let mut sds = Vec::new();
    match family {
        Family::Gamma => {
            for (rate, shape) in natural[0].iter().zip(&natural[1]) {
                let (a, b) = (shape + 1.0, -rate);
                means.push(a / b);
                sds.push(a.sqrt() / b);
            }
        }
        Family::InverseGamma => {
            for (scale, shape) in natural[0].iter().zip(&natural[1]) {
                let (a, b) = (-shape - 1.0, -scale);
                means.push(if a > 1.0 { b / (a - 1.0) } else { f64::INFINITY });
                sds.push(if a > 2.0 { b / ((a - 1.0) * (a - 2.0).sqrt()) } else { f64::INFINITY });
            }
        }
        Family::Beta => {
            for (a, b) in natural[0].iter().zip(&natural[1]) {
                let (a, b) = (a + 1.0, b + 1.0);
                means.push(a / (a + b));
                sds.push((a * b / (a + b + 1.0)).sqrt() / (a + b));
            }
        }
        Family::NormalGamma => {
            for i in 0..natural[0].len() {
                let own: Vec<&[f64]> = natural.iter().map(|n| &n[i..=i]).collect();
                let (a, b, m, kappa) = crate::factor::normal_gamma_parameters(&own);
                means.push(m);
                sds.push(if a > 1.0 { (b / (kappa * (a - 1.0))).sqrt() } else { f64::INFINITY });
            }
        }
        Family::NormalGammaVector(d) => {
            for i in 0..natural[0].len() {
                let (vector, matrix) = (i * d..(i + 1) * d, i * d * d..(i + 1) * d * d);
                let own = [&natural[0][i..=i], &natural[1][i..=i], &natural[2][vector], &natural[3][matrix]];
                match NormalGammaVectorParameters::new(d, &own) {
                    Ok(own) => {
                        let variance = own.expected_variance();
                        sds.extend((0..d).map(|j| (own.inverse[j * d + j] * variance).sqrt()));
                        means.extend(own.mean);
                    }
                    Err(_) => {
                        means.extend(vec![f64::NAN; d]);
                        sds.extend(vec![f64::NAN; d]);
                    }
                }
            }
        }
        Family::Dirichlet(k) => {
            for row in natural[0].chunks_exact(k) {
                let total: f64 = row.iter().map(|n| n + 1.0).sum();
                for n in row {
                    let m = (n + 1.0) / total;
                    means.push(m);
                    sds.push((m * (1.0 - m) / (total + 1.0)).sqrt());
                }
            }
        }
        _ => {}
    }
    (means, sds)
}
