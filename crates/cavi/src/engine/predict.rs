//! Other rows under the factors of a fit: the same program with other data, what each row expects, and how well it fits.

use std::ops::Range;
use std::sync::Arc;

use super::local::Workspace;
use super::rows::ChunkData;
use super::{Attempt, Engine, Start};
use crate::error::CaviError;
use crate::factor::{Family, update};
use crate::lower::{Derived, lower_for_rows};
use crate::plan::plan;
use crate::program::{AxisIndex, FactorId, Operand, ROWS, Source};
use vi_model::data::Data;
use vi_model::graph::AxisId;
use vi_model::inference::Initialization;

/// Passes over the rows until their factors have settled.
const MOST_PASSES: usize = 200;
/// Relative change of the rows' ELBO at which they count as settled.
const SETTLED: f64 = 1e-10;

impl Engine {
    /// The engine with other rows and the present global factors.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read: a value that is no element of a plate, a missing covariate, …
    pub(crate) fn with_rows(&self, data: Data) -> Result<Self, CaviError> {
        let mut graph = self.lowered.graph.clone();
        // Without what lowering has added.
        graph.variables.truncate(self.lowered.program.owners.len());
        if let Some(axis) = graph.rows {
            graph.axes[axis.0].size = data.num_rows();
        }
        graph.data = Arc::new(data);
        let mut lowered = lower_for_rows(&self.lowered, &graph)?;
        let plan = plan(&mut lowered)?;
        let mut engine = Self::new(lowered, plan)?;
        // Rows that depend on each other start where a fit would start them; the global factors are those of the fit.
        let start = if engine.plan.cyclic {
            Some(engine.start(0, Attempt { initialization: Initialization::Auto, number: 0 })?)
        } else {
            None
        };
        for (f, fitted) in self.lowered.program.factors.iter().enumerate().filter(|(_, factor)| !factor.local) {
            let new = &engine.lowered.program.factors;
            let Some(g) = new.iter().position(|factor| !factor.local && factor.name == fitted.name) else { continue };
            engine.statistics[g].clone_from(&self.statistics[f]);
            engine.natural[g].clone_from(&self.natural[f]);
            engine.entropy[g] = self.entropy[f];
        }
        engine.settle(start.as_ref())?;
        Ok(engine)
    }

    /// Updates the row-level factors, the global ones held, until they settle.
    fn settle(&mut self, start: Option<&Start>) -> Result<(), CaviError> {
        self.local_step(start)?;
        if !self.plan.cyclic {
            return Ok(());
        }
        let mut last = self.elbo();
        for _ in 0..MOST_PASSES {
            self.local_step(None)?;
            let elbo = self.elbo();
            if (elbo - last).abs() <= SETTLED * (1.0 + elbo.abs()) {
                break;
            }
            last = elbo;
        }
        Ok(())
    }

    /// Puts a global factor at natural parameters that a fit has left.
    ///
    /// # Errors
    ///
    /// When no distribution of the family has them.
    pub(crate) fn set_natural(&mut self, f: FactorId, natural: &[Vec<f64>]) -> Result<(), CaviError> {
        self.natural[f] = natural.to_vec();
        self.update_elements(f, 0..self.lowered.program.factors[f].elements())
    }

    /// Means and standard deviations of an expression in some rows, `[rows, …]`.
    pub(crate) fn derived_moments(
        &self,
        derived: &Derived,
        rows: Range<usize>,
    ) -> Result<(Vec<f64>, Vec<f64>), CaviError> {
        let sum = |products| self.derived_rows(products, &derived.index, &derived.axes, rows.clone());
        let (means, random, seconds) = (sum(&derived.mean)?, sum(&derived.random_mean)?, sum(&derived.second)?);
        let sds = random
            .iter()
            .zip(&seconds)
            .map(|(m, s)| if s.is_finite() { (s - m * m).max(0.0).sqrt() } else { f64::INFINITY })
            .collect();
        Ok((means, sds))
    }

    /// A derived quantity in some rows: Σ coefficient · Π operands, `[rows, …]`.
    fn derived_rows(
        &self,
        products: &[(f64, Vec<Operand>)],
        index: &[AxisIndex],
        axes: &[AxisId],
        rows: Range<usize>,
    ) -> Result<Vec<f64>, CaviError> {
        let graph = &self.lowered.graph;
        let mut workspace = Workspace::default();
        self.reader.read(rows.clone(), &mut workspace.data)?;
        self.update_chunk(&rows, &mut workspace)?;
        // The rows first, whatever the order of the expression's axes.
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by_key(|&i| usize::from(Some(axes[i]) != graph.rows));
        let shape: Vec<usize> =
            order.iter().filter(|&&i| Some(axes[i]) != graph.rows).map(|&i| graph.axis(axes[i]).size).collect();
        let index: Vec<AxisIndex> = order.iter().map(|&i| index[i].clone()).collect();
        Ok(self.products_of_rows(products, &index, &shape, &rows, &workspace))
    }

    /// Σ coefficient · Π operands in the rows of a workspace, laid out along `index` (the rows first), `shape` without the rows.
    pub(super) fn products_of_rows(
        &self,
        products: &[(f64, Vec<Operand>)],
        index: &[AxisIndex],
        shape: &[usize],
        rows: &Range<usize>,
        workspace: &Workspace,
    ) -> Vec<f64> {
        let program = &self.lowered.program;
        let output = Operand { source: Source::Summary(usize::MAX), index: index.to_vec() };
        let mut out = vec![0.0; rows.len() * shape.iter().product::<usize>()];
        // The weight of moments that do not exist: where it is more than rounding, nor does the sum.
        let mut without = vec![0.0; out.len()];
        let codes = self.reader.codes(rows.clone());
        for (coefficient, operands) in products {
            let inputs: Vec<&Operand> = operands.iter().collect();
            let shapes = |o: &Operand| {
                if matches!(o.source, Source::Summary(_)) { shape.to_vec() } else { program.shape(o.source) }
            };
            let row_level = |o: &Operand| matches!(o.source, Source::Summary(_)) || program.is_row_level(o);
            let nest = crate::plan::contraction(program, &inputs, Some(&output), Some(ROWS), &shapes, &row_level);
            let mut moments: Vec<Option<Vec<f64>>> =
                operands.iter().map(|o| self.moments(o, Some(workspace))).collect();
            let absent: Vec<Option<Vec<f64>>> =
                moments.iter_mut().map(|m| m.as_deref_mut().and_then(take_infinite)).collect();
            let run = |moments: &[Option<Vec<f64>>], coefficient: f64, out: &mut [f64]| {
                let own = operands.iter().zip(moments);
                let arrays: Vec<&[f64]> =
                    own.map(|(o, m)| m.as_deref().unwrap_or_else(|| self.any_array(o, rows, workspace))).collect();
                nest.run(rows.len(), &codes, &arrays, coefficient, None, out);
            };
            run(&moments, *coefficient, &mut out);
            for (position, indicator) in absent.into_iter().enumerate().filter(|(_, indicator)| indicator.is_some()) {
                let kept = std::mem::replace(&mut moments[position], indicator);
                run(&moments, 1.0, &mut without);
                moments[position] = kept;
            }
        }
        for (value, _) in out.iter_mut().zip(&without).filter(|(_, weight)| weight.abs() > f64::EPSILON) {
            *value = f64::INFINITY;
        }
        out
    }

    /// Each row's part of the ELBO: E[log p(row | globals)] with the row's own unknowns at their best, a lower bound on
    /// the log predictive density; `num_fitted_rows` is what products without a row were multiplied by. `None` where rows hang together (chains, conditional factors).
    pub(crate) fn row_scores(&self, num_fitted_rows: f64) -> Result<Option<Vec<f64>>, CaviError> {
        let program = &self.lowered.program;
        let joint = program.factors.iter().any(|f| f.local && (f.family.is_chain() || !f.conditional_on.is_empty()));
        if joint {
            return Ok(None);
        }
        let graph = &self.lowered.graph;
        let mut base = 0.0;
        let mut coefficients: Vec<Vec<f64>> = self.plan.groups.iter().map(|g| vec![0.0; g.size()]).collect();
        for term in &self.plan.terms {
            match term.group {
                Some(g) => {
                    let position = term.operands.iter().position(|o| o.source == Source::Summary(g));
                    self.contract(term, position, &mut coefficients[g]);
                }
                None if graph.is_local(vi_model::graph::VariableId(term.owner)) => {
                    let mut value = [0.0];
                    self.contract(term, None, &mut value);
                    base += value[0];
                }
                None => {}
            }
        }
        let mut scores = vec![base / num_fitted_rows; program.num_rows];
        let mut at = 0;
        while at < program.num_rows {
            let rows = at..(at + self.plan.chunk).min(program.num_rows);
            let mut workspace = Workspace::default();
            self.reader.read(rows.clone(), &mut workspace.data)?;
            self.update_chunk(&rows, &mut workspace)?;
            for (row, score) in scores[rows.clone()].iter_mut().enumerate() {
                *score += self.row_entropy(row, &workspace)?;
                let codes = self.reader.codes(rows.start + row..rows.start + row + 1);
                for (group, coefficient) in self.plan.groups.iter().zip(&coefficients) {
                    let inputs: Vec<&[f64]> = group
                        .operands
                        .iter()
                        .map(|o| {
                            let array = self.any_array(o, &rows, &workspace);
                            let width = array.len() / rows.len();
                            &array[row * width..(row + 1) * width]
                        })
                        .collect();
                    let mut sums = vec![0.0; group.size()];
                    group.summary.run(1, &codes, &inputs, 1.0, None, &mut sums);
                    *score += sums.iter().zip(coefficient).map(|(s, c)| s * c).sum::<f64>();
                }
            }
            at = rows.end;
        }
        Ok(Some(scores))
    }

    /// Entropy of the factors of one row of a chunk.
    fn row_entropy(&self, row: usize, workspace: &Workspace) -> Result<f64, CaviError> {
        let mut entropy = 0.0;
        for &f in &self.plan.local_order {
            let factor = &self.lowered.program.factors[f];
            if let (Family::Categorical(_), false) = (factor.family, factor.point) {
                let width = self.row_size(f, 0);
                let probabilities = &workspace.statistics[f][0][row * width..(row + 1) * width];
                entropy -= probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
                continue;
            }
            let sizes: Vec<usize> =
                (0..factor.family.num_statistics()).map(|s| factor.family.statistic_size(s)).collect();
            for element in 0..factor.elements() {
                let at = row * factor.elements() + element;
                let own: Vec<&[f64]> =
                    workspace.natural[f].iter().zip(&sizes).map(|(n, &w)| &n[at * w..(at + 1) * w]).collect();
                let mut scratch: Vec<Vec<f64>> = sizes.iter().map(|&w| vec![0.0; w]).collect();
                let mut expected: Vec<&mut [f64]> = scratch.iter_mut().map(Vec::as_mut_slice).collect();
                entropy +=
                    update(factor.family, factor.point, &own, &mut expected).map_err(|e| self.broken(f, row, e))?;
            }
        }
        Ok(entropy)
    }

    /// Brings the statistics of all row-level factors of a chunk into the workspace.
    fn update_chunk(&self, rows: &Range<usize>, workspace: &mut Workspace) -> Result<(), CaviError> {
        let mut kept: Vec<Vec<Vec<f64>>> = (0..self.stored.len())
            .map(|g| {
                (0..self.stored[g].len())
                    .map(|s| {
                        let width = self.row_size(g, s);
                        self.stored[g][s]
                            .get(rows.start * width..rows.end * width)
                            .map_or_else(Vec::new, <[f64]>::to_vec)
                    })
                    .collect()
            })
            .collect();
        let part: Vec<Vec<&mut [f64]>> =
            kept.iter_mut().map(|factor| factor.iter_mut().map(Vec::as_mut_slice).collect()).collect();
        self.load(workspace, rows.len(), &(0..rows.len()), &part);
        self.load_affine(rows, workspace);
        self.load_chains(rows, workspace);
        let codes = self.reader.codes(rows.clone());
        for &f in &self.plan.local_order {
            if !self.lowered.program.factors[f].family.is_chain() {
                self.messages(f, rows, &codes, workspace);
                self.update_rows(f, rows, None, workspace)?;
            }
        }
        Ok(())
    }

    /// The array behind any operand, for a chunk in the workspace.
    fn any_array<'a>(&'a self, operand: &Operand, rows: &Range<usize>, workspace: &'a Workspace) -> &'a [f64] {
        let program = &self.lowered.program;
        let chunk: &ChunkData = &workspace.data;
        match operand.source {
            Source::Data(i) => self.reader.array(i, rows, chunk),
            Source::Constant(i) => &program.constants[i].values,
            Source::Statistic { factor, statistic } if program.is_row_level(operand) => {
                &workspace.statistics[factor][statistic]
            }
            Source::Statistic { factor, statistic } => &self.statistics[factor][statistic],
            Source::Natural { factor, statistic } => &self.natural[factor][statistic],
            Source::Summary(_) | Source::Moment { .. } => &[],
        }
    }
}

/// Takes infinite values out of an array, zero in their place; returns where they were, as ones, if there were any.
fn take_infinite(values: &mut [f64]) -> Option<Vec<f64>> {
    let indicator: Vec<f64> = values.iter().map(|v| f64::from(u8::from(v.is_infinite()))).collect();
    values.iter_mut().filter(|v| v.is_infinite()).for_each(|v| *v = 0.0);
    indicator.contains(&1.0).then_some(indicator)
}
