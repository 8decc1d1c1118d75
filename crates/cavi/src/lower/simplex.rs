//! Densities on the simplex and of the categories drawn from it: beta, dirichlet, stick-breaking, categorical, multinomial.

use vi_model::graph::{AxisId, BinaryOperator, NodeId, Observation, VariableId};

use super::expression::AtomKind;
use super::positive::Power;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, DataOperand, Operand, ROWS, RowData, Source, Transform};

impl Lowering {
    /// (α − 1) log x + (β − 1) log(1 − x) − log B(α, β)
    pub(super) fn beta_density(&mut self, v: VariableId, alpha: NodeId, beta: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let log_x = self.statistic(v, &scope, 0, Transform::Log)?;
        let log_rest = self.statistic(v, &scope, 1, Transform::LogComplement)?;
        let first = self.shape(v, "alpha", alpha, &mut scope)?;
        let second = self.shape(v, "beta", beta, &mut scope)?;
        self.shape_terms(&scope, &first, log_x);
        self.shape_terms(&scope, &second, log_rest);
        if first.excess.is_some() && second.excess.is_some() {
            let total = self.binary(BinaryOperator::Add, alpha, beta);
            let log_gamma = self.fixed(v, "alpha", total, &mut scope, Transform::LogGamma)?;
            self.add_term(&scope, 1.0, vec![log_gamma], &[]);
        } else {
            self.tangent_terms(v, &[&first, &second], &scope, &scope);
        }
        Ok(())
    }

    /// Σ_k (α_k − 1) log x_k − log B(α)
    pub(super) fn dirichlet_density(&mut self, v: VariableId, concentration: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "distribution", "a dirichlet variable needs a dimension".into()));
        };
        let log_x = self.statistic(v, &scope, 0, Transform::Log)?;
        let shape = self.shape(v, "concentration", concentration, &mut scope)?;
        self.shape_terms(&scope, &shape, log_x);
        let mut plates = scope.clone();
        plates.value.pop();
        plates.axes.pop();
        if let (false, Some(Observation::Numeric(observed))) = (plates.mask.is_empty(), self.graph.variable(v).observed)
        {
            // A draw is missing as a whole.
            let total = self.sum_over(observed, dimension)?;
            let index = self.parameter_index(v, &plates, total)?;
            plates.mask = vec![self.data_operand(total, &index, Transform::Present)?];
        }
        if shape.excess.is_some() {
            let total = self.sum_over(concentration, dimension)?;
            let log_gamma = self.fixed(v, "concentration", total, &mut plates, Transform::LogGamma)?;
            self.add_term(&plates, 1.0, vec![log_gamma], &[]);
        } else {
            self.tangent_terms(v, &[&shape], &scope, &plates);
        }
        Ok(())
    }

    /// Sticks v_k ~ Beta(1, α), k < K: log α + (α − 1) log(1 − v_k) (Blei & Jordan 2006).
    pub(super) fn stick_density(&mut self, v: VariableId, concentration: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let size = self.graph.variable(v).dimension.map_or(1, |d| self.graph.axis(d).size);
        if self.graph.variable(v).observed.is_some() {
            return Err(self.not_conjugate(v, "dimension", "a stick-breaking variable must be latent".into()));
        }
        if size == 1 {
            return Ok(());
        }
        scope.value.pop();
        scope.axes.pop();
        let alpha = self.positive(v, "concentration", concentration, Power::One, &mut scope)?;
        let stick = self.program.new_label("stick", size - 1);
        scope.value.push(AxisIndex::label(stick));
        let log_rest = self.variable_operand(v, &scope.value, 2, &span)?;
        self.positive_logs(&scope, &alpha, &[], 1.0);
        let mut product = alpha.expectation.clone();
        product.push(log_rest.clone());
        self.add_term(&scope, alpha.coefficient, product, &[]);
        self.add_term(&scope, -1.0, vec![log_rest], &[]);
        Ok(())
    }

    /// log π at an index of its range: of a Dirichlet or stick-breaking variable, or of constants.
    pub(super) fn log_probability(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Operand, CaviError> {
        let atom = self.single(v, key, node, index, scope)?;
        let span = self.graph.variable(v).span.clone();
        match atom.kind {
            AtomKind::Data(data) => self.data_operand(data, &atom.index, Transform::Log),
            AtomKind::Variable(p)
                if matches!(
                    self.program.factors[self.factor(p)].family.whole(),
                    Family::Dirichlet(_) | Family::StickBreaking(_)
                ) =>
            {
                self.variable_operand(p, &atom.index, 0, &span)
            }
            AtomKind::Variable(p) => Err(self.not_conjugate(
                v,
                key,
                format!(
                    "`{}` as the {key} of `{}` is not a conjugate pair: a dirichlet or stick-breaking variable is",
                    self.graph.variable(p).name,
                    self.graph.variable(v).name
                ),
            )),
            AtomKind::Factor(_) | AtomKind::Absent(_) | AtomKind::Previous(_) => {
                Err(self.not_conjugate(v, key, format!("the {key} must be a dirichlet variable")))
            }
        }
    }

    /// Σ_k [x = k] log π_k
    pub(super) fn categorical_density(
        &mut self,
        v: VariableId,
        probabilities: NodeId,
        range: AxisId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let span = self.graph.variable(v).span.clone();
        let info = self.graph.axis(range).clone();
        let observation = self.graph.variable(v).observed;
        let (category, indicator) = match observation {
            Some(Observation::Levels { column, axis }) if !self.is_latent(v) => {
                (AxisIndex::codes(self.codes(column, axis)), None)
            }
            Some(Observation::LevelsBlock { block, axis }) => {
                let label = self.program.new_label(&info.name, info.size);
                let width = self.graph.data.block(block).columns.len();
                let id =
                    self.row_data(DataOperand { data: RowData::OneHot { block, axis }, shape: vec![width, info.size] });
                let row = AxisIndex::label(ROWS);
                let mut index = vec![row.clone()];
                index.extend(scope.value.iter().filter(|a| **a != row).cloned());
                index.push(AxisIndex::label(label));
                (AxisIndex::label(label), Some(Operand { source: Source::Data(id), index }))
            }
            _ => {
                let label = self.program.new_label(&info.name, info.size);
                let mut index = scope.value.clone();
                index.push(AxisIndex::label(label));
                (AxisIndex::label(label), Some(self.variable_operand(v, &index, 0, &span)?))
            }
        };
        let mut axes = scope.axes.clone();
        axes.push(range);
        let mut indices = scope.value.clone();
        indices.push(category);
        let index = Self::inherit(&axes, &indices, &self.graph.node(probabilities).axes).ok_or_else(|| {
            self.not_conjugate(v, "probabilities", "the probabilities have an axis that the variable lacks".into())
        })?;
        let log = self.log_probability(v, "probabilities", probabilities, &index, &mut scope)?;
        let mut operands = vec![log];
        operands.extend(indicator.clone());
        self.add_term(&scope, 1.0, operands, &[]);
        if let (Some(indicator), Some(Observation::Levels { column, axis })) = (indicator, observation) {
            self.evidence(&scope, column, axis, indicator);
        }
        Ok(())
    }

    /// Observed rows of a latent categorical: every other category is impossible there.
    pub(super) fn evidence(
        &mut self,
        scope: &Scope,
        column: vi_model::data::ColumnId,
        axis: AxisId,
        indicator: Operand,
    ) {
        let codes = self.codes(column, axis);
        let size = self.graph.axis(axis).size;
        let id =
            self.row_data(DataOperand { data: RowData::CodeIs { codes, size, different: true }, shape: vec![size] });
        let category = indicator.index[indicator.index.len() - 1].clone();
        let elsewhere = Operand { source: Source::Data(id), index: vec![AxisIndex::label(ROWS), category] };
        self.add_term(scope, IMPOSSIBLE, vec![elsewhere, indicator], &[]);
    }

    /// Σ_k x_k log π_k + log n! − Σ_k log x_k!
    pub(super) fn multinomial_density(
        &mut self,
        v: VariableId,
        probabilities: NodeId,
        range: AxisId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        let Some(Observation::Numeric(observed)) = self.graph.variable(v).observed else {
            return Err(self.not_conjugate(
                v,
                "distribution",
                format!("`{}` must be observed", self.graph.variable(v).name),
            ));
        };
        // The counts of a draw are missing all together: they are read as zeros, whose terms are zero.
        let plates = scope.clone();
        if !scope.axes.contains(&range) {
            let category = self.axis_index(range);
            scope.axes.push(range);
            scope.value.push(category);
        }
        let counts = self.fixed(v, "observed", observed, &mut scope, Transform::Identity)?;
        let factorials = self.fixed(v, "observed", observed, &mut scope, Transform::LogFactorial)?;
        let index = self.parameter_index(v, &scope, probabilities)?;
        let log = self.log_probability(v, "probabilities", probabilities, &index, &mut scope)?;
        self.add_term(&scope, 1.0, vec![counts, log], &[]);
        self.add_term(&scope, -1.0, vec![factorials], &[]);
        let total = self.sum_over(observed, range)?;
        let mut single = plates;
        if let Some(at) = single.axes.iter().position(|a| *a == range) {
            single.axes.remove(at);
            single.value.remove(at);
        }
        let factorial = self.fixed(v, "observed", total, &mut single, Transform::LogFactorial)?;
        self.add_term(&single, 1.0, vec![factorial], &[]);
        Ok(())
    }
}

/// Log probability of an impossible category: its exponential is exactly zero.
pub(super) const IMPOSSIBLE: f64 = -1e6;
