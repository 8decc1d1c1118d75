//! Densities of chains whose steps differ from row to row: transitions that are gated, looked up or summed, and inputs.
//!
//! Each step is a density of its own, of the state given the one before: log N(x | A x′ + offset, Q⁻¹) is a normal whose
//! mean is a sum of products, in which x′ is one more variable.

use vi_model::data::ColumnId;
use vi_model::graph::{Distribution, NodeId, NodeKind, Observation, SpreadForm, VariableId};

use super::expression::{Atom, AtomKind, Monomial};
use super::normal::Weight;
use super::positive::Power;
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, DataOperand, Operand, ROWS, RowData, Source};

impl Lowering {
    /// Whether the steps of a chain are not all alike, or not of one transition alone.
    pub(super) fn steps_differ(&self, v: VariableId) -> bool {
        let by_row = |node: &NodeId| self.graph.rows.is_some_and(|rows| self.graph.node(*node).axes.contains(&rows));
        match &self.graph.variable(v).distribution {
            Distribution::MarkovChain { initial, transition, .. } => by_row(initial) || by_row(transition),
            Distribution::GaussianMarkovChain {
                initial_mean,
                initial_precision,
                transition,
                innovation_precision,
                offset,
                ..
            } => {
                let plain = self.graph.is_data(*transition)
                    || matches!(self.graph.node(*transition).kind, NodeKind::Variable(_));
                let parameters = [initial_mean, initial_precision, transition, innovation_precision];
                offset.is_some() || !plain || parameters.into_iter().any(by_row)
            }
            _ => false,
        }
    }

    /// 1 in the first rows of sequences, or in the rows that follow another.
    fn first_row(&mut self, sequence: Option<ColumnId>, different: bool) -> Operand {
        let data = RowData::FirstRow { sequence, different };
        let id = self.row_data(DataOperand { data, shape: vec![] });
        Operand { source: Source::Data(id), index: vec![AxisIndex::label(ROWS)] }
    }

    /// Indices of a parameter's axes where the last ones, the rows apart, are addressed by `inner`.
    fn step_index(
        &self,
        v: VariableId,
        key: &str,
        node: NodeId,
        inner: &[AxisIndex],
    ) -> Result<Vec<AxisIndex>, CaviError> {
        let axes = &self.graph.node(node).axes;
        let own = axes.iter().filter(|a| Some(**a) != self.graph.rows).count();
        if own != inner.len() {
            return Err(self.not_conjugate(
                v,
                key,
                format!(
                    "the {key} of `{}` must have {} beside the rows' plate",
                    self.graph.variable(v).name,
                    if inner.len() == 1 { "one axis" } else { "two axes" }
                ),
            ));
        }
        let mut rest = inner.iter();
        let row = AxisIndex::label(ROWS);
        Ok(axes
            .iter()
            .filter_map(|a| if Some(*a) == self.graph.rows { Some(row.clone()) } else { rest.next().cloned() })
            .collect())
    }

    /// [first] Σ_k [z = k] log π_k + [follows] Σ_jk [z′ = j][z = k] log A_jk, all of them of the row.
    pub(super) fn markov_steps_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let Distribution::MarkovChain { initial, transition, range, sequence } =
            self.graph.variable(v).distribution.clone()
        else {
            return Ok(());
        };
        let scope = self.scope(v);
        let info = self.graph.axis(range).clone();
        let factor = self.factor(v);
        let statistic = |statistic: usize, states: &[AxisIndex]| Operand {
            source: Source::Statistic { factor, statistic },
            index: std::iter::once(AxisIndex::label(ROWS)).chain(states.iter().cloned()).collect(),
        };
        for (key, node, number) in [("initial", initial, 1), ("transition", transition, 2)] {
            let mut scope = scope.clone();
            let mask = self.first_row(sequence, number == 2);
            scope.mask.push(mask);
            let states: Vec<AxisIndex> =
                (0..number).map(|_| AxisIndex::label(self.program.new_label(&info.name, info.size))).collect();
            let index = self.step_index(v, key, node, &states)?;
            let log = self.log_probability(v, key, node, &index, &mut scope)?;
            self.add_term(&scope, 1.0, vec![log, statistic(number - 1, &states)], &[]);
        }
        if let Some(Observation::Levels { column, axis }) = self.graph.variable(v).observed {
            let state = AxisIndex::label(self.program.new_label(&info.name, info.size));
            self.evidence(&scope, column, axis, statistic(0, &[state]));
        }
        Ok(())
    }

    /// [first] log N(x | m₀, Λ₀⁻¹) + [follows] log N(x | A x′ + offset, Q⁻¹), all of them of the row.
    pub(super) fn gaussian_steps_density(&mut self, v: VariableId) -> Result<(), CaviError> {
        let Distribution::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            offset,
            sequence,
        } = self.graph.variable(v).distribution.clone()
        else {
            return Ok(());
        };
        let scope = self.scope(v);

        let mut first = scope.clone();
        let mask = self.first_row(sequence, false);
        first.mask.push(mask);
        let mean = self.mean_monomials(v, "initial_mean", initial_mean, &mut first)?;
        self.normal_step(v, "initial_precision", initial_precision, initial_form, mean, first)?;

        let mut following = scope;
        let mask = self.first_row(sequence, true);
        following.mask.push(mask);
        let mean = self.step_mean(v, transition, offset, &mut following)?;
        self.normal_step(v, "innovation_precision", innovation_precision, innovation_form, mean, following)
    }

    /// A x′ + offset as a sum of products.
    fn step_mean(
        &mut self,
        v: VariableId,
        transition: NodeId,
        offset: Option<NodeId>,
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let Some(dimension) = self.graph.variable(v).dimension else {
            return Err(self.not_conjugate(v, "dimension", "a gaussian-markov-chain needs a dimension".into()));
        };
        let Some(to) = scope.value.last().cloned() else { return Ok(vec![]) };
        let info = self.graph.axis(dimension).clone();
        let from = self.program.new_label(&info.name, info.size);
        let index = self.step_index(v, "transition", transition, &[to, AxisIndex::label(from)])?;
        let mut mean = self.expand(transition, &index, scope)?;
        self.check_multilinear(v, "transition", &mean)?;
        let before = Atom { kind: AtomKind::Previous(v), index: vec![AxisIndex::label(ROWS), AxisIndex::label(from)] };
        for monomial in &mut mean {
            monomial.atoms.push(before.clone());
            monomial.contracted.push(from);
        }
        if let Some(offset) = offset {
            mean.extend(self.mean_monomials(v, "offset", offset, scope)?);
        }
        Ok(mean)
    }

    /// log N(x | mean, weight⁻¹) of the rows in a scope's mask.
    fn normal_step(
        &mut self,
        v: VariableId,
        key: &str,
        node: NodeId,
        form: SpreadForm,
        mut sum: Vec<Monomial>,
        mut scope: Scope,
    ) -> Result<(), CaviError> {
        sum.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
        let weight = match form {
            SpreadForm::Matrix => self.matrix_weight(v, key, node, false, &mut scope)?,
            _ => Weight::Positive(self.positive(v, key, node, Power::One, &mut scope)?),
        };
        let index = scope.value.clone();
        let value = Atom { kind: AtomKind::Variable(v), index };
        sum.insert(0, Monomial { coefficient: 1.0, atoms: vec![value], contracted: vec![] });
        self.quadratic(&scope, &sum, &weight, -0.5)?;
        self.normal_constants(&scope, &weight);
        Ok(())
    }
}
