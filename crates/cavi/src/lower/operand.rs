//! Operands of products: statistics of variables, data and constants, addressed by the indices at hand.

use std::ops::Range;
use std::sync::Arc;

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, BinaryOperator, Node, NodeId, NodeKind, VariableId};

use super::Lowering;
use super::expression::{Atom, AtomKind};
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{AxisIndex, Constant, DataOperand, FactorId, Operand, ROWS, RowData, Source, Step, Transform};

impl Lowering {
    /// The factor of a latent variable.
    pub(super) fn factor(&self, v: VariableId) -> FactorId {
        self.factor_of[&v]
    }

    /// A statistic of a variable whose factor is its own; `index` addresses its plates, then further axes of the statistic.
    pub(super) fn variable_operand(
        &self,
        v: VariableId,
        index: &[AxisIndex],
        statistic: usize,
        span: &Range<usize>,
    ) -> Result<Operand, CaviError> {
        let factor = self.factor(v);
        let variable = self.graph.variable(v);
        let mut ordered = Vec::with_capacity(index.len());
        if let Some(at) = self.graph.rows.and_then(|rows| variable.plates.iter().position(|p| *p == rows)) {
            if index[at] != AxisIndex::label(ROWS) {
                return Err(self.refusal(
                    Diagnostic::new(
                        "look-up-of-rows",
                        format!("`{}` has one element per row and is read at another row", variable.name),
                    )
                    .at(span.clone(), "read here")
                    .help("only the chains (markov-chain, gaussian-markov-chain) connect rows"),
                ));
            }
            ordered.push(index[at].clone());
            ordered.extend(index.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| a.clone()));
        } else {
            ordered.extend_from_slice(index);
        }
        Ok(Operand { source: Source::Statistic { factor, statistic }, index: ordered })
    }

    /// Which of a variable's own plates its factor keeps as plates, and which coordinates of a joint vector it fills.
    fn joint_axis(&self, v: VariableId, index: &[AxisIndex]) -> (Vec<AxisIndex>, AxisIndex) {
        let factor = &self.program.factors[self.factor(v)];
        let variable = self.graph.variable(v);
        let mut common = Vec::new();
        let mut joint = AxisIndex::default();
        if let Some(member) = factor.members.iter().find(|m| m.variable == Some(v)) {
            joint.start = member.coordinates.start;
            let mut strides = vec![0; member.flattened.len()];
            let mut stride = member.dimension;
            for (i, size) in member.flattened.iter().enumerate().rev() {
                strides[i] = stride;
                stride *= size;
            }
            let mut next = 0;
            let rows = self.graph.rows;
            for (at, plate) in variable.plates.iter().enumerate() {
                if factor.plate_axes.contains(plate) || (factor.local && rows == Some(*plate)) {
                    continue;
                }
                joint.start += index[at].start * strides[next];
                // Rows in a joint vector are looked up by their own position: the vector itself is no row-level array.
                let own_row = self.program.codes.iter().position(|c| c.column.is_none()).map(Step::Codes);
                joint.parts.extend(index[at].parts.iter().map(|&(step, multiplier)| match (step, own_row) {
                    (Step::Label(ROWS), Some(own_row)) => (own_row, multiplier * strides[next]),
                    _ => (step, multiplier * strides[next]),
                }));
                next += 1;
            }
            if variable.dimension.is_some()
                && let Some(last) = index.last()
            {
                joint.start += last.start;
                joint.parts.extend(last.parts.iter().copied());
            }
            // Plates in the factor's own order, rows first.
            if factor.local {
                common.push(AxisIndex::label(ROWS));
            }
            for axis in &factor.plate_axes {
                if let Some(at) = variable.plates.iter().position(|p| p == axis) {
                    common.push(index[at].clone());
                }
            }
        }
        (common, joint)
    }

    /// Whether a variable shares its factor (or flattens plates into it).
    pub(super) fn is_joint(&self, v: VariableId) -> bool {
        let factor = &self.program.factors[self.factor(v)];
        factor.members.len() > 1 || factor.members.iter().any(|m| !m.flattened.is_empty())
    }

    /// E[x] of a normal (or Bernoulli) variable addressed by `index` (plates, then the dimension).
    pub(super) fn mean_operand(
        &self,
        v: VariableId,
        index: &[AxisIndex],
        span: &Range<usize>,
    ) -> Result<Operand, CaviError> {
        if self.is_joint(v) {
            let (mut axes, joint) = self.joint_axis(v, index);
            axes.push(joint);
            return Ok(Operand { source: Source::Statistic { factor: self.factor(v), statistic: 0 }, index: axes });
        }
        self.variable_operand(v, index, 0, span)
    }

    /// E[x yᵀ] of two variables in one factor at the same plates; `None` where their plates are addressed differently.
    pub(super) fn second_operand(
        &self,
        left: &Atom,
        right: &Atom,
        span: &Range<usize>,
    ) -> Result<Option<Operand>, CaviError> {
        if let (AtomKind::Factor(factor), AtomKind::Factor(_)) = (&left.kind, &right.kind) {
            let mut index = left.index.clone();
            index.extend(right.index.last().cloned());
            return Ok(Some(Operand { source: Source::Statistic { factor: *factor, statistic: 1 }, index }));
        }
        // A chain with the row before: x_prev x_prevᵀ, x x_prevᵀ.
        if let Some((v, statistic, mut index, last)) = match (&left.kind, &right.kind) {
            (AtomKind::Previous(v), AtomKind::Previous(_)) => Some((*v, 3, left.index.clone(), right.index.last())),
            (AtomKind::Variable(_), AtomKind::Previous(v)) => Some((*v, 4, left.index.clone(), right.index.last())),
            (AtomKind::Previous(v), AtomKind::Variable(_)) => Some((*v, 4, right.index.clone(), left.index.last())),
            _ => None,
        } {
            index = self.rows_first(&index);
            index.extend(last.cloned());
            return Ok(Some(Operand { source: Source::Statistic { factor: self.factor(v), statistic }, index }));
        }
        let (AtomKind::Variable(v), AtomKind::Variable(w)) = (&left.kind, &right.kind) else { return Ok(None) };
        let factor = self.factor(*v);
        let source = Source::Statistic { factor, statistic: 1 };
        if self.is_joint(*v) {
            let (plates, first) = self.joint_axis(*v, &left.index);
            let (other, second) = self.joint_axis(*w, &right.index);
            if plates != other {
                return Ok(None);
            }
            let mut index = plates;
            index.push(first);
            index.push(second);
            return Ok(Some(Operand { source, index }));
        }
        let plates = self.graph.variable(*v).plates.len();
        if left.index[..plates] != right.index[..plates] {
            return Ok(None);
        }
        if let Some(factor) = self.needs_moment(left) {
            let mut index = left.index.clone();
            index.extend_from_slice(&right.index[plates..]);
            let plain = self.variable_operand(*v, &index, 0, span)?;
            return Ok(Some(Operand { source: Source::Moment { factor, power: 2 }, ..plain }));
        }
        match self.program.factors[factor].family {
            // x² = x for a binary variable.
            Family::Bernoulli => Ok(Some(self.variable_operand(*v, &left.index, 0, span)?)),
            // τμμᵀ, whose precision weighs the product.
            Family::NormalGamma | Family::NormalGammaVector(_) => {
                let mut index = left.index.clone();
                index.extend_from_slice(&right.index[plates..]);
                Ok(Some(self.variable_operand(*v, &index, 3, span)?))
            }
            _ => {
                let mut index = left.index.clone();
                index.extend_from_slice(&right.index[plates..]);
                Ok(Some(self.variable_operand(*v, &index, 1, span)?))
            }
        }
    }

    /// A data expression addressed by `index`, transformed elementwise.
    pub(super) fn data_operand(
        &mut self,
        node: NodeId,
        index: &[AxisIndex],
        transform: Transform,
    ) -> Result<Operand, CaviError> {
        let axes = self.graph.node(node).axes.clone();
        let row = self.graph.rows.and_then(|rows| axes.iter().position(|a| *a == rows));
        if let Some(at) = row
            && index[at] == AxisIndex::label(ROWS)
        {
            let mut layout: Vec<AxisId> = vec![axes[at]];
            layout.extend(axes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| *a));
            let mut ordered = vec![index[at].clone()];
            ordered.extend(index.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| a.clone()));
            let shape = layout[1..].iter().map(|a| self.graph.axis(*a).size).collect();
            let id = self.row_data(DataOperand { data: RowData::Expression { node, axes: layout, transform }, shape });
            return Ok(Operand { source: Source::Data(id), index: ordered });
        }
        let tensor = self.graph.evaluate_data(node, 0..self.graph.data.num_rows().max(1))?;
        let values: Vec<f64> = tensor.values.iter().map(|x| transform.apply(*x)).collect();
        let shape = tensor.axes.iter().map(|a| self.graph.axis(*a).size).collect();
        Ok(Operand { source: Source::Constant(self.constant(shape, values)), index: index.to_vec() })
    }

    /// Registers a row-level array once.
    pub(super) fn row_data(&mut self, operand: DataOperand) -> usize {
        match self.program.data.iter().position(|d| d.data.same(&operand.data)) {
            Some(found) => found,
            None => {
                self.program.data.push(operand);
                self.program.data.len() - 1
            }
        }
    }

    /// Registers a constant array once.
    pub(super) fn constant(&mut self, shape: Vec<usize>, values: Vec<f64>) -> usize {
        let same = |c: &Constant| {
            c.shape == shape
                && c.values.len() == values.len()
                && c.values.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        match self.program.constants.iter().position(same) {
            Some(found) => found,
            None => {
                self.program.constants.push(Constant { shape, values: Arc::new(values) });
                self.program.constants.len() - 1
            }
        }
    }

    /// 1 where two indices of one axis meet (or where they do not).
    pub(super) fn meeting(&mut self, left: &AxisIndex, right: &AxisIndex, size: usize, different: bool) -> Operand {
        let step = |a: &AxisIndex| a.parts.first().map_or(Step::Label(ROWS), |p| p.0);
        match (step(left), step(right)) {
            (Step::Codes(a), Step::Codes(b)) => {
                let id = self
                    .row_data(DataOperand { data: RowData::SameCode { left: a, right: b, different }, shape: vec![] });
                Operand { source: Source::Data(id), index: vec![AxisIndex::label(ROWS)] }
            }
            (Step::Codes(codes), Step::Label(l)) | (Step::Label(l), Step::Codes(codes)) => {
                let id =
                    self.row_data(DataOperand { data: RowData::CodeIs { codes, size, different }, shape: vec![size] });
                Operand { source: Source::Data(id), index: vec![AxisIndex::label(ROWS), AxisIndex::label(l)] }
            }
            (Step::Label(l), Step::Label(m)) => {
                let (on, off) = if different { (0.0, 1.0) } else { (1.0, 0.0) };
                let values = (0..size * size).map(|i| if i / size == i % size { on } else { off }).collect();
                let id = self.constant(vec![size, size], values);
                Operand { source: Source::Constant(id), index: vec![AxisIndex::label(l), AxisIndex::label(m)] }
            }
        }
    }

    /// A new expression node: 1 / node.
    pub(super) fn reciprocal(&mut self, node: NodeId) -> NodeId {
        let one = self.number(1.0, &self.graph.node(node).span.clone());
        self.binary(BinaryOperator::Divide, one, node)
    }

    /// A new expression node: a number.
    pub(super) fn number(&mut self, value: f64, span: &Range<usize>) -> NodeId {
        self.graph.nodes.push(Node { kind: NodeKind::Number(value), axes: vec![], span: span.clone() });
        NodeId(self.graph.nodes.len() - 1)
    }

    /// A new expression node: a op b, with the union of their axes.
    pub(super) fn binary(&mut self, operator: BinaryOperator, a: NodeId, b: NodeId) -> NodeId {
        let mut axes = self.graph.node(a).axes.clone();
        for axis in &self.graph.node(b).axes {
            if !axes.contains(axis) {
                axes.push(*axis);
            }
        }
        let span = self.graph.node(b).span.clone();
        self.graph.nodes.push(Node { kind: NodeKind::Binary(operator, a, b), axes, span });
        NodeId(self.graph.nodes.len() - 1)
    }
}

impl RowData {
    /// Whether two descriptions give the same array.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Expression { node: a, axes: b, transform: c },
                Self::Expression { node: x, axes: y, transform: z },
            ) => a == x && b == y && c == z,
            (Self::OneHot { block: a, axis: b }, Self::OneHot { block: x, axis: y }) => a == x && b == y,
            (
                Self::SameCode { left: a, right: b, different: c },
                Self::SameCode { left: x, right: y, different: z },
            ) => a == x && b == y && c == z,
            (Self::CodeIs { codes: a, size: b, different: c }, Self::CodeIs { codes: x, size: y, different: z }) => {
                a == x && b == y && c == z
            }
            (
                Self::Marginal { node: a, covariances: b, log_determinant: c, .. },
                Self::Marginal { node: x, covariances: y, log_determinant: z, .. },
            ) => a == x && b == y && c == z,
            (Self::AnyPresent { node: a, axes: b }, Self::AnyPresent { node: x, axes: y }) => a == x && b == y,
            (Self::FirstRow { sequence: a, different: b }, Self::FirstRow { sequence: x, different: y }) => {
                a == x && b == y
            }
            _ => false,
        }
    }
}

/// What stands for the logarithm of zero.
pub(crate) const LOG_OF_ZERO: f64 = -1e100;

/// ELBO terms below this hold a logarithm of zero, whatever its weight.
pub(crate) const IMPOSSIBLE: f64 = 1e-10 * LOG_OF_ZERO;

impl Transform {
    /// The transformed value; a missing value gives 0.
    pub(crate) fn apply(self, x: f64) -> f64 {
        if x.is_nan() {
            return if self == Self::Absent { 1.0 } else { 0.0 };
        }
        match self {
            Self::Identity => x,
            Self::Absent => 0.0,
            Self::Present => 1.0,
            // A probability of exactly zero: finite, so that zero times it is zero.
            Self::Log => x.ln().max(LOG_OF_ZERO),
            Self::Reciprocal => 1.0 / x,
            Self::LogGamma => vi_families::special::ln_gamma(x),
            // Fewer than no failures: impossible.
            Self::LogFactorial if x <= -1.0 => -LOG_OF_ZERO,
            Self::LogFactorial => vi_families::special::ln_factorial(x),
            Self::ReciprocalSquare => 1.0 / (x * x),
            Self::LogComplement => (-x).ln_1p().max(LOG_OF_ZERO),
            Self::Inside => {
                if x >= 0.0 {
                    0.0
                } else {
                    LOG_OF_ZERO
                }
            }
        }
    }
}
