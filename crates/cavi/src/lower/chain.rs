//! Densities of the chains, written with their statistics summed over the rows.

use vi_model::data::{ColumnId, MISSING_CODE};
use vi_model::graph::{Distribution, NodeId, Observation, SpreadForm, VariableId};

use super::expression::{Atom, Monomial};
use super::normal::Weight;
use super::positive::Power;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, Operand, ROWS, Source};

const LOG_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// First rows of the sequences: where the value of the column changes.
pub(crate) fn sequence_starts(
    data: &vi_model::data::Data,
    column: Option<ColumnId>,
    num_rows: usize,
) -> Result<Vec<usize>, CaviError> {
    let mut starts = vec![0];
    let Some(column) = column else { return Ok(starts) };
    let axis = vi_model::graph::Axis {
        name: data.column(column).name.clone(),
        size: 0,
        kind: vi_model::graph::AxisKind::Levels { column, levels: data.levels(column) },
    };
    let codes = data.codes(column, &axis)?;
    let codes = codes.all();
    for row in 1..num_rows {
        if codes[row] != codes[row - 1] && codes[row] != MISSING_CODE {
            starts.push(row);
        }
    }
    Ok(starts)
}

impl Lowering {
    /// A scope without indices, for products of sums over the rows.
    fn summed_scope(&self, v: VariableId) -> Scope {
        Scope { owner: v.0, ..Scope::default() }
    }

    /// Σ_k [z₁ = k] log π_k + Σ_jk [z′ = j][z = k] log A_jk (PRML 13.8–13.9).
    pub(super) fn markov_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let Distribution::MarkovChain { initial, transition, range, .. } = self.graph.variable(v).distribution.clone()
        else {
            return Ok(());
        };
        if self.steps_differ(v) {
            return self.markov_steps_density(v);
        }
        let mut scope = self.summed_scope(v);
        let info = self.graph.axis(range).clone();
        let (first, from, to) = (
            AxisIndex::label(self.program.new_label(&info.name, info.size)),
            AxisIndex::label(self.program.new_label(&info.name, info.size)),
            AxisIndex::label(self.program.new_label(&info.name, info.size)),
        );
        let factor = self.factor(v);
        let statistic =
            |s: usize, index: Vec<AxisIndex>| Operand { source: Source::Statistic { factor, statistic: s }, index };
        let initial_log = self.log_probability(v, "initial", initial, std::slice::from_ref(&first), &mut scope)?;
        self.add_term(&scope, 1.0, vec![initial_log, statistic(2, vec![first])], &[]);
        if self.graph.node(transition).axes.len() != 2 {
            return Err(self.not_conjugate(
                v,
                "transition",
                format!("the transition of `{}` must have two axes, [from][to]", self.graph.variable(v).name),
            ));
        }
        let log = self.log_probability(v, "transition", transition, &[from.clone(), to.clone()], &mut scope)?;
        self.add_term(&scope, 1.0, vec![log, statistic(1, vec![from, to])], &[]);
        if let Some(Observation::Levels { column, axis }) = self.graph.variable(v).observed {
            let rows = Scope { owner: v.0, value: vec![AxisIndex::label(ROWS)], ..Scope::default() };
            let state = AxisIndex::label(self.program.new_label(&info.name, info.size));
            self.evidence(&rows, column, axis, statistic(0, vec![AxisIndex::label(ROWS), state]));
        }
        Ok(())
    }

    /// log N(x₁ | m₀, Λ₀⁻¹) + Σ log N(x | A x′, Q⁻¹) (PRML 13.75–13.77).
    pub(super) fn gaussian_chain_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let Distribution::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            sequence,
            ..
        } = self.graph.variable(v).distribution.clone()
        else {
            return Ok(());
        };
        if self.graph.variable(v).observed.is_some() {
            return Err(self.not_conjugate(
                v,
                "observed",
                format!("the chain `{}` is observed itself", self.graph.variable(v).name),
            ));
        }
        if self.steps_differ(v) {
            return self.gaussian_steps_density(v);
        }
        let starts = sequence_starts(&self.graph.data, sequence, self.program.num_rows)?;
        let first_rows = starts.len() as f64;
        let following = (self.program.num_rows - starts.len()) as f64;
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "dimension", "a gaussian-markov-chain needs a dimension".into()));
        };
        let info = self.graph.axis(dimension).clone();
        let factor = self.factor(v);
        let statistic =
            |s: usize, index: Vec<AxisIndex>| Operand { source: Source::Statistic { factor, statistic: s }, index };

        // The first state: −½ (x − m)ᵀΛ(x − m).
        let (scope, i, j, weight, operands, scale) =
            self.chain_weight(v, "initial_precision", initial_precision, initial_form)?;
        let mean = self.mean_monomials_at(v, "initial_mean", initial_mean, &scope)?;
        self.weighted_term(&scope, &operands, statistic(6, vec![i.clone(), j.clone()]), -0.5 * scale);
        let mut linear = operands.clone();
        linear.push(statistic(5, vec![i]));
        let moved: Vec<Monomial> = mean.iter().map(|m| relabel(m, &scope.value[0], &j)).collect();
        self.linear(&scope, &moved, &linear, scale)?;
        self.quadratic(&scope, &mean, &weight, -0.5 * first_rows)?;
        self.chain_constants(&scope, &weight, first_rows);

        // Every following state: −½ xᵀQx + xᵀQAx′ − ½ x′ᵀAᵀQAx′.
        let (scope, i, j, weight, operands, scale) =
            self.chain_weight(v, "innovation_precision", innovation_precision, innovation_form)?;
        let l = AxisIndex::label(self.program.new_label(&info.name, info.size));
        let m = AxisIndex::label(self.program.new_label(&info.name, info.size));
        if self.graph.node(transition).axes.len() != 2 {
            return Err(self.not_conjugate(
                v,
                "transition",
                format!("the transition of `{}` must have two axes, [to][from]", self.graph.variable(v).name),
            ));
        }
        let mut gates = scope.clone();
        let left = self.expand(transition, &[i.clone(), l.clone()], &mut gates)?;
        let right = self.expand(transition, &[j.clone(), m.clone()], &mut gates)?;
        let ([left], [right]) = (left.as_slice(), right.as_slice()) else {
            return Err(self.not_conjugate(
                v,
                "transition",
                "the transition must be one normal variable or a constant".into(),
            ));
        };
        self.weighted_term(&scope, &operands, statistic(2, vec![i.clone(), j.clone()]), -0.5 * scale);
        // x_i Q_ij A_jm x′_m
        let mut weighted = operands.clone();
        weighted.push(statistic(4, vec![i.clone(), m.clone()]));
        self.linear(&scope, std::slice::from_ref(right), &weighted, scale)?;
        for (c, moments, contracted) in self.pair(left, right, None, &(0..0))? {
            let mut all = operands.clone();
            all.push(statistic(3, vec![l.clone(), m.clone()]));
            all.extend(moments);
            self.add_term(&scope, -0.5 * scale * c, all, &contracted);
        }
        self.chain_constants(&scope, &weight, following);
        Ok(())
    }

    fn weighted_term(&mut self, scope: &Scope, operands: &[Operand], statistic: Operand, coefficient: f64) {
        let mut all = operands.to_vec();
        all.push(statistic);
        self.add_term(scope, coefficient, all, &[]);
    }

    /// The weight of a chain's quadratic form with the two indices that it joins (equal where it is diagonal).
    #[allow(clippy::type_complexity)]
    fn chain_weight(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        form: SpreadForm,
    ) -> Result<(Scope, AxisIndex, AxisIndex, Weight, Vec<Operand>, f64), CaviError> {
        let mut scope = self.summed_scope(v);
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "dimension", "a gaussian-markov-chain needs a dimension".into()));
        };
        let i = self.axis_index(dimension);
        scope.axes.push(dimension);
        scope.value.push(i.clone());
        if form == SpreadForm::Matrix {
            let weight = self.matrix_weight(v, key, node, false, &mut scope)?;
            let Weight::Matrix { ref matrix, second, .. } = weight else {
                return Err(self.not_conjugate(v, key, format!("the {key} must be a matrix")));
            };
            let operands = vec![matrix.clone()];
            return Ok((scope, i, AxisIndex::label(second), weight, operands, 1.0));
        }
        let positive = self.positive(v, key, node, Power::One, &mut scope)?;
        let (operands, scale) = (positive.expectation.clone(), positive.coefficient);
        Ok((scope, i.clone(), i, Weight::Positive(positive), operands, scale))
    }

    fn mean_monomials_at(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        scope: &Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let mut scope = scope.clone();
        self.mean_monomials(v, key, node, &mut scope)
    }

    /// count · (½ log|Λ| − d/2 log 2π)
    fn chain_constants(&mut self, scope: &Scope, weight: &Weight, count: f64) {
        match weight {
            Weight::Positive(p) => {
                self.add_term(scope, count * (0.5 * p.coefficient.ln() - 0.5 * LOG_TWO_PI), vec![], &[]);
                for (exponent, log) in &p.logarithm {
                    self.add_term(scope, 0.5 * exponent * count, vec![log.clone()], &[]);
                }
            }
            Weight::Matrix { log_determinant, .. } => {
                self.add_term(scope, -0.5 * LOG_TWO_PI * count, vec![], &[]);
                let mut single = scope.clone();
                single.value.clear();
                self.add_term(&single, 0.5 * count, vec![log_determinant.clone()], &[]);
            }
        }
    }
}

/// A product with one index replaced by another.
fn relabel(monomial: &Monomial, from: &AxisIndex, to: &AxisIndex) -> Monomial {
    let mut monomial = monomial.clone();
    for Atom { index, .. } in &mut monomial.atoms {
        for axis in index.iter_mut() {
            if axis == from {
                *axis = to.clone();
            }
        }
    }
    monomial
}
