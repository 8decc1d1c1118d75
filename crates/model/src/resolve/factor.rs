//! Starting values and amortised factors of variables.

use std::sync::Arc;

use super::parameters::Shape;
use super::{Meaning, Reported, Resolver};
use crate::check::distribution::amortized_covariance;
use crate::diagnostic::Diagnostic;
use crate::graph::{IndexSource, NodeId, NodeKind, Tensor};
use crate::registry::Support;
use crate::spec::Value;

impl Resolver<'_> {
    pub(super) fn initial(&mut self, index: usize) -> Result<Option<Arc<Tensor>>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(value) = written.get("initial") else {
            return Ok(None);
        };
        let entry = self.shells[index].entry;
        if entry.is_some_and(|e| e.name == "markov-chain") {
            return Ok(None);
        }
        let context = self.context(index, "initial");
        if let Some(x) = value.number() {
            if !x.is_finite() {
                let mistake = Diagnostic::new("not-finite", format!("{} is {x}", context.user))
                    .at(value.span.clone(), "must be finite");
                return Err(self.report(mistake));
            }
            return Ok(Some(Arc::new(Tensor { axes: Vec::new(), shape: Vec::new(), values: vec![x] })));
        }
        if let Some(text) = value.text() {
            return match self.names.get(text).map(|n| n.meaning.clone()) {
                Some(Meaning::Constant(tensor)) => Ok(Some(tensor)),
                Some(Meaning::Number(x)) => {
                    Ok(Some(Arc::new(Tensor { axes: Vec::new(), shape: Vec::new(), values: vec![x] })))
                }
                _ => {
                    let mistake =
                        Diagnostic::new("initial-form", format!("{} is `{text}`, which is no constant", context.user))
                            .at(value.span.clone(), "not a constant")
                            .help("write a number, an array, or the name of a constant of [data.values]");
                    Err(self.report(mistake))
                }
            };
        }
        let form = match entry.map(|e| e.support) {
            Some(Support::PositiveDefinite) => Shape::Matrix,
            Some(Support::Index) => Shape::Range,
            _ => Shape::Vector,
        };
        self.array(value, form, &context).map(|tensor| Some(Arc::new(tensor)))
    }

    pub(super) fn amortized(&mut self, index: usize) -> Result<Option<NodeId>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(field) = written.keys.iter().find(|f| f.key == "amortized") else {
            return Ok(None);
        };
        let context = self.context(index, "amortized");
        let refuse = |message: &str, help: &str| {
            Diagnostic::new("amortized", format!("{} {message}", context.user))
                .at(field.value.span.clone(), "the factor")
                .help(help.to_string())
        };
        if written.get("observed").is_some() {
            return Err(self.report(refuse(
                "stands beside `observed`",
                "an observed variable has no factor: remove one of the two",
            )));
        }
        if !self.rows.is_some_and(|rows| context.plates.contains(&rows)) {
            return Err(
                self.report(refuse("needs the rows' plate", "only variables of the data rows have amortised factors"))
            );
        }
        let node = match field.value.text() {
            Some(text) => {
                let syntax = self.parse(&field.value, text)?;
                self.expression(&syntax, &context)?
            }
            None => self.parameter(field, Shape::Vector, &context)?,
        };
        if !matches!(self.nodes[node.0].kind, NodeKind::Network { .. }) {
            return Err(
                self.report(refuse("is not a network", "write a network of the data, such as \"encoder(pixels)\""))
            );
        }
        self.contained(node, Shape::Vector, field, &context)?;
        let mut others = Vec::new();
        self.each_variable(node, &mut |id| others.push(id.0));
        let is_amortized = |other: usize| spec.variables[other].get("amortized").is_some();
        if others.iter().any(|&other| other == index || !is_amortized(other)) {
            return Err(self.report(refuse(
                "depends on a variable",
                "an amortised factor is a network of the data, and of other amortised variables",
            )));
        }
        let d = context.dimension.map_or(1, |axis| self.axes[axis.0].size);
        // The last of some shares is what the others leave.
        let is_share = written.get("distribution").and_then(Value::text) == Some("dirichlet");
        let d = if is_share { d.saturating_sub(1) } else { d };
        let full = amortized_covariance(written).and_then(Value::text) == Some("full");
        self.set_last_output(d + if full { d * (d + 1) / 2 } else { d });
        Ok(Some(node))
    }

    /// Calls `see` on every variable below a node.
    pub(super) fn each_variable(&self, node: NodeId, see: &mut dyn FnMut(crate::graph::VariableId)) {
        match &self.nodes[node.0].kind {
            NodeKind::Variable(id) => see(*id),
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.each_variable(*a, see),
            NodeKind::Binary(_, a, b) | NodeKind::Dot { left: a, right: b, .. } => {
                self.each_variable(*a, see);
                self.each_variable(*b, see);
            }
            NodeKind::Index { base, index, .. } => {
                self.each_variable(*base, see);
                if let IndexSource::Gate(gate) = index {
                    self.each_variable(*gate, see);
                }
            }
            NodeKind::Network { arguments, .. } => {
                for argument in arguments {
                    self.each_variable(*argument, see);
                }
            }
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => {}
        }
    }
}
