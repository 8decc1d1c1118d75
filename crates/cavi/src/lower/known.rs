//! Expressions whose numbers are known once the categories of their gates are: tables read by discrete variables, and any
//! function of them.
//!
//! Such an expression f(a[z], b[w], data) takes one known value for each combination of categories. It is written out as an
//! expression of data with one axis more for each gate, so that every transform of it (log, 1/x, log Γ, …) is an array that
//! the indicators select from: E[g(f)] = Σ_kl E[z = k] E[w = l] g(f_kl).

use std::sync::Arc;

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{Axis, AxisId, AxisKind, IndexSource, Node, NodeId, NodeKind, Observation, Tensor, VariableId};

use super::expression::{Atom, AtomKind};
use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, Step};

/// Rows of an expression that are looked at together.
const ROWS_AT_A_TIME: usize = 4096;

/// The axes that stand for gates in expressions written out, with how each is addressed.
type Opened = Vec<(AxisId, AxisIndex)>;

impl Lowering {
    /// Whether every number of a node is known once the categories of its gates are.
    pub(super) fn is_known(&self, id: NodeId) -> bool {
        match &self.graph.node(id).kind {
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => true,
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.is_known(*a),
            NodeKind::Binary(_, a, b) => self.is_known(*a) && self.is_known(*b),
            NodeKind::Dot { left, right, .. } => self.is_known(*left) && self.is_known(*right),
            NodeKind::Index { base, .. } => self.is_known(*base),
            NodeKind::Variable(v) => self.known_values(*v).is_some(),
            NodeKind::Network { .. } => false,
        }
    }

    /// The values of an observed variable without latent ones among them.
    fn known_values(&self, v: VariableId) -> Option<NodeId> {
        let Some(Observation::Numeric(node)) = self.graph.variable(v).observed else { return None };
        let latent = self.is_latent(v) || self.missing.contains_key(&v);
        (!latent && matches!(self.has_missing(node), Ok(false))).then_some(node)
    }

    /// Refuses numbers that a parameter cannot have, of those that depend on gates or stand in a product: what is data
    /// alone was looked at with the data.
    pub(super) fn check_known(
        &self,
        child: VariableId,
        key: &str,
        node: NodeId,
        must: &str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<(), CaviError> {
        match self.any_value(node, |x| !x.is_nan() && !allowed(x))? {
            None => Ok(()),
            Some(value) => {
                let variable = self.graph.variable(child);
                let message = format!("the {key} of `{}` must be {must}, but takes the value {value}", variable.name);
                let span = variable.key_spans.get(key).cloned().unwrap_or_else(|| variable.span.clone());
                Err(self.refusal(Diagnostic::new("outside-support", message).at(span, "this parameter")))
            }
        }
    }

    /// A value of an expression of data that has a property.
    pub(super) fn any_value(&self, node: NodeId, property: impl Fn(f64) -> bool) -> Result<Option<f64>, CaviError> {
        let rows = self.graph.data.num_rows().max(1);
        let uses_rows = self.graph.rows.is_some_and(|r| self.graph.node(node).axes.contains(&r));
        let step = if uses_rows { ROWS_AT_A_TIME } else { rows };
        let evaluator = vi_model::evaluate::DataEvaluator::new(&self.graph, &[node])?;
        let mut out = Vec::new();
        let mut at = 0;
        while at < rows {
            let end = (at + step).min(rows);
            evaluator.evaluate(at..end, &mut out)?;
            let found = out.iter().flat_map(|t| &t.values).copied().find(|x| property(*x));
            if found.is_some() {
                return Ok(found);
            }
            at = end;
        }
        Ok(None)
    }

    /// A known expression as one array of data; `index` says how each of the node's axes is addressed.
    pub(super) fn known(&mut self, id: NodeId, index: &[AxisIndex], scope: &mut Scope) -> Result<Atom, CaviError> {
        let mut names = self.graph.node(id).axes.clone();
        let mut opened = Opened::new();
        let node = self.open(id, index, &names, &mut opened, scope)?;
        let mut places = index.to_vec();
        for (name, place) in opened {
            names.push(name);
            places.push(place);
        }
        let index = Self::inherit(&names, &places, &self.graph.node(node).axes).ok_or_else(|| self.lost_axis(id))?;
        Ok(Atom { kind: AtomKind::Data(node), index })
    }

    fn lost_axis(&self, id: NodeId) -> CaviError {
        let message = "an operand has an axis that the expression around it lacks";
        self.refusal(Diagnostic::new("expression-axes", message).at(self.graph.node(id).span.clone(), "here"))
    }

    /// A node of data with its own axes called `names` (those that its numbers depend on) and an axis for each gate in it.
    fn open(
        &mut self,
        id: NodeId,
        index: &[AxisIndex],
        names: &[AxisId],
        opened: &mut Opened,
        scope: &mut Scope,
    ) -> Result<NodeId, CaviError> {
        if self.graph.is_data(id) && self.graph.node(id).axes == names {
            return Ok(id);
        }
        let Node { kind, axes, span } = self.graph.node(id).clone();
        // How an operand's axes are addressed and called; a contracted axis keeps its name: only the sum reads it.
        let mut operand = |this: &mut Self, a: NodeId, contracted: Option<AxisId>| {
            let outer: Vec<AxisId> = axes.iter().copied().chain(contracted).collect();
            let places: Vec<AxisIndex> =
                index.iter().cloned().chain(contracted.map(|_| AxisIndex::default())).collect();
            let called: Vec<AxisId> = names.iter().copied().chain(contracted).collect();
            let own = this.graph.node(a).axes.clone();
            let inner = Self::inherit(&outer, &places, &own).ok_or_else(|| this.lost_axis(id))?;
            let renamed = Self::inherit(&outer, &called, &own).ok_or_else(|| this.lost_axis(id))?;
            this.open(a, &inner, &renamed, opened, scope)
        };
        let (kind, operands): (NodeKind, Vec<(NodeId, Option<AxisId>)>) = match kind {
            NodeKind::Number(_) => return Ok(id),
            NodeKind::Column(_) | NodeKind::Block(_) => {
                return Ok(self.node_once(Node { kind, axes: names.to_vec(), span }));
            }
            NodeKind::Constant(tensor) => {
                let renamed = Self::inherit(&axes, names, &tensor.axes).ok_or_else(|| self.lost_axis(id))?;
                let kind = NodeKind::Constant(Arc::new(Tensor { axes: renamed, ..(*tensor).clone() }));
                return Ok(self.node_once(Node { kind, axes: names.to_vec(), span }));
            }
            NodeKind::Variable(v) => {
                let values = self.known_values(v).ok_or_else(|| self.lost_axis(id))?;
                return operand(self, values, None);
            }
            NodeKind::Negate(a) => {
                let a = operand(self, a, None)?;
                (NodeKind::Negate(a), vec![(a, None)])
            }
            NodeKind::Function(function, a) => {
                let a = operand(self, a, None)?;
                (NodeKind::Function(function, a), vec![(a, None)])
            }
            NodeKind::Binary(operator, a, b) => {
                let (a, b) = (operand(self, a, None)?, operand(self, b, None)?);
                (NodeKind::Binary(operator, a, b), vec![(a, None), (b, None)])
            }
            NodeKind::Dot { left, right, left_axis, right_axis } => {
                let (left, right) = (operand(self, left, Some(left_axis))?, operand(self, right, Some(right_axis))?);
                let kind = NodeKind::Dot { left, right, left_axis, right_axis };
                (kind, vec![(left, Some(left_axis)), (right, Some(right_axis))])
            }
            NodeKind::Index { base, position, index: source } => {
                let base_axes = self.graph.node(base).axes.clone();
                let others = [&base_axes[..position], &base_axes[position + 1..]].concat();
                let mut inner = Self::inherit(&axes, index, &others).ok_or_else(|| self.lost_axis(id))?;
                let mut renamed = Self::inherit(&axes, names, &others).ok_or_else(|| self.lost_axis(id))?;
                let column = match source {
                    IndexSource::Column(column) => column,
                    IndexSource::Gate(gate) => {
                        let own = self.graph.node(gate).axes.clone();
                        let places = Self::inherit(&axes, index, &own).ok_or_else(|| self.lost_axis(id))?;
                        let at = self.gate(gate, &places, scope)?;
                        renamed.insert(position, self.opened_axis(&at, base_axes[position], opened));
                        inner.insert(position, at);
                        return self.open(base, &inner, &renamed, opened, scope);
                    }
                };
                let name = base_axes[position];
                inner.insert(position, AxisIndex::codes(self.codes(column, name)));
                renamed.insert(position, name);
                let base = self.open(base, &inner, &renamed, opened, scope)?;
                let own = &self.graph.node(base).axes;
                let at =
                    if own.get(position) == Some(&name) { Some(position) } else { own.iter().position(|a| *a == name) };
                let position = at.ok_or_else(|| self.lost_axis(id))?;
                let mut all: Vec<AxisId> = self.graph.rows.into_iter().collect();
                all.extend(
                    own.iter()
                        .enumerate()
                        .filter(|(p, a)| *p != position && Some(**a) != self.graph.rows)
                        .map(|(_, a)| *a),
                );
                let kind = NodeKind::Index { base, position, index: IndexSource::Column(column) };
                return Ok(self.node_once(Node { kind, axes: all, span }));
            }
            NodeKind::Network { .. } => return Err(self.lost_axis(id)),
        };
        // As often as the operand that has it most often, apart from what is summed.
        let times = |axis: &AxisId| {
            let of = |(a, contracted): &(NodeId, Option<AxisId>)| {
                let own = self.graph.node(*a).axes.iter().filter(|x| *x == axis).count();
                own - usize::from(*contracted == Some(*axis)).min(own)
            };
            operands.iter().map(of).max().unwrap_or(0)
        };
        let own = names.iter().enumerate().filter(|(i, a)| names[*i..].iter().filter(|b| b == a).count() <= times(a));
        let gates = opened.iter().map(|(name, _)| name).filter(|name| !names.contains(name) && times(name) > 0);
        let all = own.map(|(_, a)| a).chain(gates).copied().collect();
        Ok(self.node_once(Node { kind, axes: all, span }))
    }

    /// The axis that stands for a gate: one for each way to address an axis of that length.
    fn opened_axis(&mut self, at: &AxisIndex, replaced: AxisId, opened: &mut Opened) -> AxisId {
        let size = self.graph.axis(replaced).size;
        let known = self.opened.iter().find(|(axis, place)| place == at && self.graph.axis(*axis).size == size);
        let axis = match known {
            Some((axis, _)) => *axis,
            None => {
                let name = match at.parts.first() {
                    Some((Step::Label(label), _)) => self.program.labels[*label].name.clone(),
                    _ => self.graph.axis(replaced).name.clone(),
                };
                self.graph.axes.push(Axis { name, size, kind: AxisKind::Fixed });
                let axis = AxisId(self.graph.axes.len() - 1);
                self.opened.push((axis, at.clone()));
                axis
            }
        };
        if opened.iter().all(|(known, _)| *known != axis) {
            opened.push((axis, at.clone()));
        }
        axis
    }

    /// Adds a node unless there is an equal one.
    fn node_once(&mut self, node: Node) -> NodeId {
        let same = |n: &Node| n.kind == node.kind && n.axes == node.axes;
        match self.graph.nodes.iter().position(same) {
            Some(found) => NodeId(found),
            None => {
                self.graph.nodes.push(node);
                NodeId(self.graph.nodes.len() - 1)
            }
        }
    }
}
