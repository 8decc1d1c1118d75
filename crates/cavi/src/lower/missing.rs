//! Observed values with missing cells: masked where they stand alone, integrated out where their covariance is known, and latent where it is not.

use std::sync::Arc;

use vi_model::graph::{AxisId, Distribution, NodeId, Observation, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::normal::Weight;
use super::positive::Positive;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Constant, DataOperand, Operand, ROWS, RowData, Source, Transform};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

impl Lowering {
    /// A mask operand where the child has missing cells.
    pub(super) fn presence(&mut self, child: VariableId, scope: &mut Scope) -> Result<(), CaviError> {
        if let Some(Observation::Numeric(node)) = self.graph.variable(child).observed
            && !self.missing.contains_key(&child)
            && !self.clamped.contains(&child)
            && self.has_missing(node)?
        {
            let index = self.parameter_index(child, scope, node)?;
            let mask = self.data_operand(node, &index, Transform::Present)?;
            scope.mask.push(mask);
        }
        Ok(())
    }

    /// A vector normal with missing coordinates under a matrix: these are integrated out, row by row, where the
    /// covariances are known, and are latent where they are not.
    pub(super) fn normal_with_missing(
        &mut self,
        child: VariableId,
        node: NodeId,
        sum: Vec<Monomial>,
        weight: Weight,
        scope: Scope,
    ) -> Result<(), CaviError> {
        let rows_alone = matches!(*scope.axes.as_slice(), [rows, _] if self.graph.rows == Some(rows));
        match weight {
            Weight::Matrix { matrix: Operand { source: Source::Constant(constant), .. }, .. } if rows_alone => {
                self.marginal_normal(child, node, sum, constant, weight, scope)
            }
            _ => self.partial_normal(child, node, sum, weight, scope),
        }
    }

    fn marginal_normal(
        &mut self,
        child: VariableId,
        node: NodeId,
        mut sum: Vec<Monomial>,
        constant: usize,
        weight: Weight,
        mut scope: Scope,
    ) -> Result<(), CaviError> {
        let Weight::Matrix { matrix, log_determinant, second } = weight else {
            return self.partial_normal(child, node, sum, weight, scope);
        };
        let Constant { shape, values } = self.program.constants[constant].clone();
        let d = shape.last().copied().unwrap_or(1);
        let mut covariances = values.to_vec();
        for block in covariances.chunks_exact_mut(d * d) {
            let Ok((inverse, _)) = vi_families::matrix::inverse_and_log_determinant(block, d) else {
                return Err(self.not_conjugate(child, "covariance", "the covariance is not positive definite".into()));
            };
            block.copy_from_slice(&inverse);
        }
        let covariances = Arc::new(covariances);
        let axes: Vec<_> = self.graph.value_axes(child);
        let mut row_level = |of: Operand, log_determinant: bool, shape: &[usize]| {
            let data =
                RowData::Marginal { node, axes: axes.clone(), covariances: covariances.clone(), log_determinant };
            let id = self.row_data(DataOperand { data, shape: shape.to_vec() });
            let index = std::iter::once(AxisIndex::label(ROWS)).chain(of.index).collect();
            Operand { source: Source::Data(id), index }
        };
        let matrix = row_level(matrix, false, &shape);
        let log_determinant = row_level(log_determinant, true, &shape[..shape.len() - 2]);
        let data_index = self.parameter_index(child, &scope, node)?;
        let present = self.data_operand(node, &data_index, Transform::Present)?;
        self.add_term(&scope, -0.5 * LOG_TWO_PI, vec![present], &[]);
        sum.splice(0..0, self.value_sum(child, &scope)?);
        self.quadratic(
            &scope,
            &sum,
            &Weight::Matrix { matrix, log_determinant: log_determinant.clone(), second },
            -0.5,
        )?;
        scope.value.pop();
        self.add_term(&scope, 0.5, vec![log_determinant], &[]);
        Ok(())
    }

    /// A vector normal with a precision matrix and missing coordinates: these are latent, given the observed ones.
    fn partial_normal(
        &mut self,
        child: VariableId,
        node: NodeId,
        mut sum: Vec<Monomial>,
        weight: Weight,
        mut scope: Scope,
    ) -> Result<(), CaviError> {
        let value = self.partial_value(child, node, &mut scope)?;
        sum.insert(0, value);
        self.quadratic(&scope, &sum, &weight, -0.5)?;
        self.normal_constants(&scope, &weight);
        Ok(())
    }

    /// The value of an observed vector with missing coordinates: a factor q(x_missing | z) for each category of its gates.
    pub(super) fn partial_value(
        &mut self,
        child: VariableId,
        node: NodeId,
        scope: &mut Scope,
    ) -> Result<Monomial, CaviError> {
        let d = self.graph.variable(child).dimension.map_or(1, |a| self.graph.axis(a).size);
        self.without_wholly_missing(child, node, scope)?;
        let mut plates_scope = scope.clone();
        let dimension = plates_scope.value.pop().unwrap_or_default();
        plates_scope.axes.pop();
        let id = self.auxiliary(child, "missing", Family::PartialNormal(d), &plates_scope);
        let mut index = self.rows_first(&plates_scope.value);
        for gate in &scope.gates {
            let size = self.program.labels[gate.label].size;
            self.program.factors[id].plates.push(size);
            if let Source::Statistic { factor, .. } = gate.operand.source {
                self.program.factors[id].conditional_on.push(factor);
            }
            index.push(AxisIndex::label(gate.label));
        }
        let statistic = |s: usize, with: bool| {
            let mut index = index.clone();
            if with {
                index.push(dimension.clone());
            }
            Operand { source: Source::Statistic { factor: id, statistic: s }, index }
        };
        let data_index = self.parameter_index(child, scope, node)?;
        let moved = self.shifts.value.get(&child).copied().unwrap_or(node);
        let values = self.data_operand(moved, &data_index, Transform::Identity)?;
        let present = self.data_operand(node, &data_index, Transform::Present)?;
        self.add_term(scope, 1.0, vec![values, statistic(2, true)], &[]);
        self.add_term(scope, 1.0, vec![present, statistic(3, true)], &[]);
        let mut single = scope.clone();
        single.value.pop();
        self.add_term(&single, 1.0, vec![statistic(4, false)], &[]);
        index.push(dimension);
        Ok(Monomial { coefficient: 1.0, atoms: vec![Atom { kind: AtomKind::Factor(id), index }], contracted: vec![] })
    }

    /// Vectors of which nothing is observed and that nothing reads say nothing: their density integrates to one, so that their
    /// rows are masked.
    fn without_wholly_missing(&mut self, child: VariableId, node: NodeId, scope: &mut Scope) -> Result<(), CaviError> {
        let own = self.graph.node(node).axes.clone();
        let (Some(rows), Some(dimension)) = (self.graph.rows, self.graph.variable(child).dimension) else {
            return Ok(());
        };
        let Some(at) = own.iter().rposition(|axis| *axis == dimension) else { return Ok(()) };
        if !own.contains(&rows) || !self.has_wholly_missing(node, at)? {
            return Ok(());
        }
        let index = self.parameter_index(child, scope, node)?;
        let order = std::iter::once(rows).chain(own.iter().copied().filter(|axis| ![rows, dimension].contains(axis)));
        let mut axes: Vec<AxisId> = order.collect();
        if axes.len() + 1 != own.len() {
            return Ok(());
        }
        let place = |axis: &AxisId| own.iter().position(|own| own == axis).and_then(|i| index.get(i)).cloned();
        let Some(index) = axes.iter().map(place).collect::<Option<Vec<AxisIndex>>>() else { return Ok(()) };
        if index.first() != Some(&AxisIndex::label(ROWS)) {
            return Ok(());
        }
        let shape = axes[1..].iter().map(|axis| self.graph.axis(*axis).size).collect();
        axes.push(dimension);
        let id = self.row_data(DataOperand { data: RowData::AnyPresent { node, axes }, shape });
        scope.mask.push(Operand { source: Source::Data(id), index });
        Ok(())
    }

    /// Whether all values along an axis of a data expression are missing anywhere.
    fn has_wholly_missing(&self, node: NodeId, axis: usize) -> Result<bool, CaviError> {
        let total = self.graph.data.num_rows();
        for start in (0..total).step_by(65_536) {
            let tensor = self.graph.evaluate_data(node, start..(start + 65_536).min(total))?;
            let (size, inner) = (tensor.shape[axis], tensor.shape[axis + 1..].iter().product::<usize>());
            let all_missing =
                |block: &[f64]| (0..inner).any(|i| block.iter().skip(i).step_by(inner).all(|x| x.is_nan()));
            if tensor.values.chunks_exact((size * inner).max(1)).any(all_missing) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Observed normal variables with missing cells that other densities read: the missing values become a variable.
    pub(super) fn find_missing_parents(&mut self) -> Result<(), CaviError> {
        for v in (0..self.graph.variables.len()).map(VariableId) {
            let variable = self.graph.variable(v);
            let Some(Observation::Numeric(node)) = variable.observed else { continue };
            let normal = matches!(
                variable.distribution,
                Distribution::Normal { .. }
                    | Distribution::NormalJoint { .. }
                    | Distribution::StudentT { .. }
                    | Distribution::Laplace { .. }
            );
            if !normal || !self.is_read(v) || !self.has_missing(node)? {
                continue;
            }
            let mut missing = variable.clone();
            missing.name = format!("{}.missing", variable.name);
            missing.observed = None;
            missing.initial = None;
            self.graph.variables.push(missing);
            self.missing.insert(v, VariableId(self.graph.variables.len() - 1));
        }
        Ok(())
    }

    /// Where a value is there, its missing value is a standard normal variable that nothing reads: it adds
    /// E[log N(x | 0, 1)] + ½ log 2πe = 0 to the ELBO.
    pub(super) fn rest_of_missing_parents(&mut self) -> Result<(), CaviError> {
        for (v, missing) in self.missing.clone() {
            let Some(Observation::Numeric(node)) = self.graph.variable(v).observed else { continue };
            let mut scope = self.scope(v);
            let index = self.parameter_index(v, &scope, node)?;
            scope.mask.push(self.data_operand(node, &index, Transform::Present)?);
            let atom = Atom { kind: AtomKind::Variable(missing), index: scope.value.clone() };
            let rest = Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] };
            let unit = Weight::Positive(Positive { coefficient: 1.0, ..Positive::default() });
            self.quadratic(&scope, &[rest], &unit, -0.5)?;
            self.normal_constants(&scope, &unit);
        }
        Ok(())
    }

    /// What is known of a variable observed in part: messages to the last two statistics of its factor, which are zero.
    pub(super) fn partial_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let Some(Observation::Numeric(node)) = self.graph.variable(v).observed else { return Ok(()) };
        let Some(&factor) = self.factor_of.get(&v) else { return Ok(()) };
        let Family::Partial(part) = self.program.factors[factor].family else { return Ok(()) };
        let scope = self.scope(v);
        let index = self.parameter_index(v, &scope, node)?;
        let first = part.whole().num_statistics();
        for (statistic, transform) in [(first, Transform::Identity), (first + 1, Transform::Present)] {
            let known = self.data_operand(node, &index, transform)?;
            let place =
                Operand { source: Source::Statistic { factor, statistic }, index: self.rows_first(&scope.value) };
            self.add_term(&scope, 1.0, vec![known, place], &[]);
        }
        Ok(())
    }

    /// Whether an observed expression has missing cells.
    pub(super) fn has_missing(&self, node: NodeId) -> Result<bool, CaviError> {
        let rows = self.graph.data.num_rows().max(1);
        let uses_rows = self.graph.rows.is_some_and(|r| self.graph.node(node).axes.contains(&r));
        let step = if uses_rows { 65_536 } else { rows };
        let mut at = 0;
        while at < rows {
            let end = (at + step).min(rows);
            if self.graph.evaluate_data(node, at..end)?.values.iter().any(|x| x.is_nan()) {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }
}
