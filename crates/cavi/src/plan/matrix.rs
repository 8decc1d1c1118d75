//! Which messages and summaries are matrix products: one row-level statistic against features of the row.
//!
//! A group R = L[n, a]·F[n, b] whose statistic L shares no index with its other operands has message F·C and summary
//! Fᵀ·L, with the coefficient and the summary laid out as `[b, a]`.

use crate::kernel::nest::Nest;
use crate::program::{AxisIndex, Label, Operand, Program, ROWS, Source, Step};

use super::access::contraction;

/// A message or summary as a matrix product.
#[derive(Debug, Clone)]
pub(crate) struct MatrixPath {
    /// Builds the features `[rows, num_features]` from the other operands (by position in the list given).
    pub(crate) features: Nest,
    /// Positions of the operands that make the features.
    pub(crate) inputs: Vec<usize>,
    /// Position of the statistic (summaries).
    pub(crate) statistic: usize,
    /// b
    pub(crate) num_features: usize,
    /// a
    pub(crate) width: usize,
    /// The features are x_i x_j of one array of this width: only i ≤ j are computed.
    pub(crate) symmetric: Option<usize>,
    /// The single operand is the feature matrix itself.
    pub(crate) direct: bool,
}

/// Labels of an operand that is addressed plainly: the row, then one label an axis.
pub(crate) fn plain_labels(operand: &Operand) -> Option<Vec<Label>> {
    let mut labels = Vec::new();
    for (i, axis) in operand.index.iter().enumerate() {
        match (axis.start, axis.parts.as_slice()) {
            (0, [(Step::Label(l), 1)]) if (*l == ROWS) == (i == 0) && !labels.contains(l) => labels.push(*l),
            _ => return None,
        }
    }
    labels.first().copied().filter(|l| *l == ROWS)?;
    Some(labels[1..].to_vec())
}

impl MatrixPath {
    /// The message to `target` from `others` and the coefficient.
    pub(crate) fn message(
        program: &Program,
        others: &[&Operand],
        target: &Operand,
        coefficient: &Operand,
        shape: &[usize],
    ) -> Option<Self> {
        Self::build(program, others, target, coefficient, shape)
    }

    /// The summary of a group: its last statistic against the rest.
    pub(crate) fn summary(
        program: &Program,
        operands: &[Operand],
        coefficient: &Operand,
        shape: &[usize],
    ) -> Option<Self> {
        let statistic = operands.iter().rposition(|o| matches!(o.source, Source::Statistic { .. }))?;
        let others: Vec<&Operand> =
            operands.iter().enumerate().filter(|(i, _)| *i != statistic).map(|(_, o)| o).collect();
        let mut path = Self::build(program, &others, &operands[statistic], coefficient, shape)?;
        path.statistic = statistic;
        path.inputs = (0..operands.len()).filter(|&i| i != statistic).collect();
        Some(path)
    }

    fn build(
        program: &Program,
        others: &[&Operand],
        target: &Operand,
        coefficient: &Operand,
        shape: &[usize],
    ) -> Option<Self> {
        if others.is_empty() {
            return None;
        }
        let own = plain_labels(target)?;
        let mut interface = Vec::new();
        for axis in &coefficient.index {
            match (axis.start, axis.parts.as_slice()) {
                (0, [(Step::Label(l), 1)]) => interface.push(*l),
                _ => return None,
            }
        }
        // [features…, own…] in this very order.
        let split = interface.len().checked_sub(own.len())?;
        if own.is_empty() || interface[split..] != own[..] || split == 0 {
            return None;
        }
        let features = &interface[..split];
        for operand in others {
            let labels = plain_labels(operand)?;
            if labels.iter().any(|l| own.contains(l)) {
                return None;
            }
        }
        let num_features: usize = shape[..split].iter().product();
        let width: usize = shape[split..].iter().product();
        if num_features * width < 4 || num_features > 1 << 14 {
            return None;
        }
        let symmetric = match others {
            [a, b] if features.len() == 2 && a.source == b.source && matches!(a.source, Source::Data(_)) => {
                (plain_labels(a)? == [features[0]] && plain_labels(b)? == [features[1]]).then(|| shape[0])
            }
            _ => None,
        };
        let direct = others.len() == 1 && plain_labels(others[0])? == features;
        let output = Operand {
            source: Source::Summary(usize::MAX),
            index: std::iter::once(ROWS).chain(features.iter().copied()).map(AxisIndex::label).collect(),
        };
        let shapes = |o: &Operand| {
            if o.source == Source::Summary(usize::MAX) { shape[..split].to_vec() } else { program.shape(o.source) }
        };
        let row_level = |_: &Operand| true;
        let features = contraction(program, others, Some(&output), Some(ROWS), &shapes, &row_level);
        Some(Self {
            features,
            inputs: (0..others.len()).collect(),
            statistic: 0,
            num_features,
            width,
            symmetric,
            direct,
        })
    }
}
