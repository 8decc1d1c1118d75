//! Locations measured from the data's own mean, so that quadratic statistics keep their digits.
//!
//! x² − 2xμ + μ² loses log₁₀(mean²/variance) digits. A location μ that enters only as the mean of observed values, alone or
//! as a term of a sum (an intercept), is replaced by μ − c with c the mean of those values, and the values by x − c: the model
//! is the same, and so is its ELBO. Reports add c again.

use std::collections::BTreeMap;
use std::sync::Arc;

use vi_model::graph::{
    AxisId, BinaryOperator, Distribution, IndexSource, Node, NodeId, NodeKind, Observation, Tensor, VariableId,
};

use super::Lowering;
use crate::error::CaviError;

/// A shift is worth its while where a mean is more than this many standard deviations from zero.
const FAR: f64 = 3.0;
/// Rows read at a time.
const ROWS_AT_A_TIME: usize = 65_536;

/// Locations that are moved, and the observed values that move with them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shifts {
    /// The constant that is subtracted from a location.
    pub(super) location: BTreeMap<VariableId, NodeId>,
    /// The moved values of an observed child.
    pub(super) value: BTreeMap<VariableId, NodeId>,
}

impl Lowering {
    /// Finds the locations that can be moved and are far from zero.
    pub(super) fn find_shifts(&mut self) -> Result<(), CaviError> {
        // Of several terms of one mean the one with the fewest elements moves: the others are deviations from it.
        let elements =
            |v: &VariableId| -> usize { self.graph.value_axes(*v).iter().map(|a| self.graph.axis(*a).size).product() };
        let mut candidates: Vec<VariableId> = (0..self.graph.variables.len()).map(VariableId).collect();
        candidates.sort_by_key(elements);
        for v in candidates {
            let Some(children) = self.observed_children(v) else { continue };
            if children.iter().any(|(child, ..)| self.shifts.value.contains_key(child)) {
                continue;
            }
            let Some(axes) = self.shared_axes(v, &children) else { continue };
            let Some(constant) = self.far_mean(&children, &axes)? else { continue };
            let span = self.graph.variable(v).span.clone();
            let node = Node { kind: NodeKind::Constant(Arc::new(constant)), axes, span };
            self.graph.nodes.push(node);
            let shift = NodeId(self.graph.nodes.len() - 1);
            self.shifts.location.insert(v, shift);
            for (child, observed, _) in children {
                let moved = self.binary(BinaryOperator::Subtract, observed, shift);
                self.graph.nodes[moved.0].axes = self.graph.node(observed).axes.clone();
                self.shifts.value.insert(child, moved);
            }
        }
        Ok(())
    }

    /// A prior mean, measured like its variable.
    pub(super) fn moved_mean(&mut self, v: VariableId, mean: NodeId) -> NodeId {
        match self.shifts.location.get(&v).copied() {
            Some(shift) => self.binary(BinaryOperator::Subtract, mean, shift),
            None => mean,
        }
    }

    /// Children of a location, with their values and parameter expressions, if it enters nothing else.
    fn observed_children(&self, v: VariableId) -> Option<Vec<(VariableId, NodeId, NodeId)>> {
        let variable = self.graph.variable(v);
        let location = matches!(
            variable.distribution,
            Distribution::Normal { .. } | Distribution::NormalWishart { .. } | Distribution::NormalGamma { .. }
        );
        if !location || !self.is_latent(v) || self.graph.is_local(v) {
            return None;
        }
        let mut children = Vec::new();
        for w in (0..self.graph.variables.len()).map(VariableId) {
            if w == v || !self.parents(w).contains(&v) {
                continue;
            }
            let child = self.graph.variable(w);
            let node = match child.distribution {
                Distribution::Normal { mean, .. } | Distribution::StudentT { mean, .. } => mean,
                Distribution::NormalJoint { parameters } => parameters,
                _ => return None,
            };
            let elsewhere = (child.distribution.parameters().into_iter())
                .filter(|(_, p)| *p != node)
                .any(|(_, p)| self.graph.variables_of(p).contains(&v));
            let Some(Observation::Numeric(observed)) = child.observed else { return None };
            let node = self.plain_term(node, v).filter(|_| !elsewhere)?;
            // An observed child that is itself a parent must be read as it is there: moving only its own density is exact.
            children.push((w, observed, node));
        }
        (!children.is_empty()).then_some(children)
    }

    /// The term of a sum that is the variable alone, where the others do not read it.
    fn plain_term(&self, node: NodeId, v: VariableId) -> Option<NodeId> {
        let reads = |node: NodeId| self.graph.variables_of(node).contains(&v);
        match self.graph.node(node).kind {
            NodeKind::Binary(BinaryOperator::Add, a, b) if !reads(b) => self.plain_term(a, v),
            NodeKind::Binary(BinaryOperator::Add, a, b) if !reads(a) => self.plain_term(b, v),
            NodeKind::Binary(BinaryOperator::Subtract, a, b) if !reads(b) => self.plain_term(a, v),
            _ => self.is_plain(node, v).then_some(node),
        }
    }

    /// Whether an expression is the variable alone, indexed or not.
    fn is_plain(&self, node: NodeId, v: VariableId) -> bool {
        match &self.graph.node(node).kind {
            NodeKind::Variable(found) => *found == v,
            NodeKind::Index { base, index, .. } => {
                let gate_reads = match index {
                    IndexSource::Gate(gate) => self.graph.variables_of(*gate).contains(&v),
                    IndexSource::Column(_) => false,
                };
                !gate_reads && self.is_plain(*base, v)
            }
            _ => false,
        }
    }

    /// Axes of the location that every child has itself and that no index replaces.
    fn shared_axes(&self, v: VariableId, children: &[(VariableId, NodeId, NodeId)]) -> Option<Vec<AxisId>> {
        let mut axes = self.graph.value_axes(v);
        if (0..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
            return None;
        }
        for (_, observed, node) in children {
            let mut replaced = Vec::new();
            let mut at = *node;
            while let NodeKind::Index { base, position, .. } = &self.graph.node(at).kind {
                replaced.push(self.graph.node(*base).axes[*position]);
                at = *base;
            }
            let own = &self.graph.node(*observed).axes;
            axes.retain(|a| own.contains(a) && !replaced.contains(a));
        }
        Some(axes)
    }

    /// Mean of the children's values over everything but `axes`, where some coordinate is far from zero.
    fn far_mean(
        &self,
        children: &[(VariableId, NodeId, NodeId)],
        axes: &[AxisId],
    ) -> Result<Option<Tensor>, CaviError> {
        let shape: Vec<usize> = axes.iter().map(|a| self.graph.axis(*a).size).collect();
        let size = shape.iter().product();
        let (mut count, mut mean, mut square) = (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
        for (_, observed, _) in children {
            let rows = self.graph.data.num_rows().max(1);
            let uses_rows = self.graph.rows.is_some_and(|r| self.graph.node(*observed).axes.contains(&r));
            let mut first = 0;
            while first < rows {
                let last = if uses_rows { (first + ROWS_AT_A_TIME).min(rows) } else { rows };
                let tensor = self.graph.evaluate_data(*observed, first..last)?;
                let strides: Vec<usize> = tensor
                    .axes
                    .iter()
                    .map(|a| axes.iter().position(|x| x == a).map_or(0, |at| shape[at + 1..].iter().product()))
                    .collect();
                for (flat, value) in tensor.values.iter().enumerate() {
                    if !value.is_finite() {
                        continue;
                    }
                    let (mut rest, mut at) = (flat, 0);
                    for (length, stride) in tensor.shape.iter().zip(&strides).rev() {
                        at += rest % length * stride;
                        rest /= length;
                    }
                    // Running moments (Welford 1962), which keep their digits far from zero.
                    count[at] += 1.0;
                    let delta = value - mean[at];
                    mean[at] += delta / count[at];
                    square[at] += delta * (value - mean[at]);
                }
                first = last;
            }
        }
        let far = (0..size)
            .any(|i| count[i] > 1.0 && mean[i].abs() > FAR * (square[i] / count[i]).sqrt() && mean[i].is_finite());
        Ok(far.then(|| Tensor { axes: axes.to_vec(), shape, values: mean }))
    }

    /// The shift of a variable for each of its elements and coordinates (empty where it is not moved).
    pub(super) fn shift_values(&self, v: VariableId) -> Vec<f64> {
        let Some(node) = self.shifts.location.get(&v) else { return Vec::new() };
        let NodeKind::Constant(tensor) = &self.graph.node(*node).kind else { return Vec::new() };
        self.spread(tensor, &self.graph.value_axes(v))
    }
}
