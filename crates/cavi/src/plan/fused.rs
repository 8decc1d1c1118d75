//! Gates whose every product is data against the indicator: one feature matrix, one product for the logits, one for the statistics.
//!
//! With features T[s, n] of the rows and coefficients C[s, k], the logits of all categories are Cᵀ·T and the summaries are
//! T·Rᵀ (`[num_features, num_rows]` and `[num_categories, num_rows]`, so that every loop runs along the rows).

use crate::factor::Family;
use crate::program::{FactorId, Label, Operand, Program, Source, Step};

use super::RowGroup;
use super::matrix::plain_labels;

/// One group inside a fused gate.
#[derive(Debug, Clone)]
pub(crate) struct FusedGroup {
    /// The group.
    pub(crate) group: usize,
    /// Row-level data operands (ids) whose product makes the features, each with its step along each feature index.
    pub(crate) inputs: Vec<(usize, Vec<usize>)>,
    /// Sizes of the feature indices.
    pub(crate) sizes: Vec<usize>,
    /// Products x_i x_j of one array: only i ≤ j.
    pub(crate) symmetric: Option<usize>,
    /// First feature.
    pub(crate) start: usize,
    /// Number of features.
    pub(crate) num_features: usize,
}

/// A gate whose local step is two matrix products.
#[derive(Debug, Clone)]
pub(crate) struct FusedGate {
    /// The categorical factor.
    pub(crate) factor: FactorId,
    /// Number of categories.
    pub(crate) categories: usize,
    /// Its groups.
    pub(crate) groups: Vec<FusedGroup>,
    /// Features of all groups together.
    pub(crate) num_features: usize,
    /// Data operands that are read, each once.
    pub(crate) data: Vec<usize>,
}

impl FusedGate {
    /// The fused form of a row-level categorical factor, where every group that it stands in allows it.
    pub(crate) fn build(program: &Program, groups: &[RowGroup], factor: FactorId) -> Option<Self> {
        let Family::Categorical(categories) = program.factors[factor].family else { return None };
        if program.factors[factor].point || program.factors[factor].elements() != 1 {
            return None;
        }
        let mut fused = Self { factor, categories, groups: Vec::new(), num_features: 0, data: Vec::new() };
        for (g, group) in groups.iter().enumerate() {
            let own: Vec<&Operand> = group.operands.iter().filter(|o| is_indicator(o, factor)).collect();
            let [own] = own.as_slice() else {
                if own.is_empty() {
                    continue;
                }
                return None;
            };
            let category = plain_labels(own)?;
            let [category] = category.as_slice() else { return None };
            let interface = group
                .index
                .iter()
                .map(|axis| match (axis.start, axis.parts.as_slice()) {
                    (0, [(Step::Label(l), 1)]) => Some(*l),
                    _ => None,
                })
                .collect::<Option<Vec<Label>>>()?;
            let (last, features) = interface.split_last()?;
            if last != category {
                return None;
            }
            let mut inputs = Vec::new();
            for operand in group.operands.iter().filter(|o| !is_indicator(o, factor)) {
                let Source::Data(id) = operand.source else { return None };
                let labels = plain_labels(operand)?;
                // Every index of the data is a feature index: nothing is summed inside the row.
                if labels.iter().any(|l| !features.contains(l)) {
                    return None;
                }
                let shape = program.shape(operand.source);
                let steps = features
                    .iter()
                    .map(|f| match labels.iter().position(|l| l == f) {
                        None => 0,
                        Some(at) => shape[at + 1..].iter().product(),
                    })
                    .collect();
                inputs.push((id, steps));
                if !fused.data.contains(&id) {
                    fused.data.push(id);
                }
            }
            let sizes = group.shape[..features.len()].to_vec();
            let symmetric = match inputs.as_slice() {
                [(a, first), (b, second)] if a == b && sizes.len() == 2 && *first == [1, 0] && *second == [0, 1] => {
                    Some(sizes[0])
                }
                _ => None,
            };
            let num_features = match symmetric {
                Some(d) => d * (d + 1) / 2,
                None => sizes.iter().product(),
            };
            let start = fused.num_features;
            fused.num_features += num_features;
            fused.groups.push(FusedGroup { group: g, inputs, sizes, symmetric, start, num_features });
        }
        (!fused.groups.is_empty() && fused.num_features <= 1 << 13).then_some(fused)
    }
}

fn is_indicator(operand: &Operand, f: FactorId) -> bool {
    matches!(operand.source, Source::Statistic { factor, .. } if factor == f)
}
