//! Networks as functions: what they consume, what they give, and that their widths agree.

use std::collections::BTreeMap;
use std::ops::Range;

use super::node::{Role, union};
use super::{Context, NetworkUse, Reported, Resolver};
use crate::check::kinds::whole;
use crate::diagnostic::Diagnostic;
use crate::expression::Syntax;
use crate::graph::{AxisId, AxisKind, Network, NetworkId, NodeId, NodeKind};
use crate::spec::{NetworkSpec, Value, ValueKind};

/// A network as written; kinds were checked before.
pub(super) fn read(spec: &NetworkSpec) -> Network {
    let get = |key: &str| spec.keys.iter().find(|e| e.key == key).map(|e| &e.value);
    let options: BTreeMap<String, toml::Value> = spec
        .keys
        .iter()
        .filter(|e| !matches!(e.key.as_str(), "layers" | "activation" | "linear"))
        .map(|e| (e.key.clone(), e.value.to_toml()))
        .collect();
    Network {
        name: spec.name.clone(),
        layers: get("layers")
            .and_then(Value::array)
            .unwrap_or_default()
            .iter()
            .filter_map(|v| whole(v).and_then(|i| usize::try_from(i).ok()))
            .collect(),
        activation: get("activation").and_then(Value::text).unwrap_or("relu").to_string(),
        linear: get("linear").is_some_and(|v| v.kind == ValueKind::Boolean(true)),
        options,
        span: spec.span.clone(),
    }
}

impl Resolver<'_> {
    pub(super) fn network_call(
        &mut self,
        network: NetworkId,
        arguments: &[Syntax],
        span: Range<usize>,
        context: &Context,
    ) -> Result<NodeId, Reported> {
        let name = self.spec.networks[network.0].name.clone();
        if context.named {
            let mistake = Diagnostic::new(
                "network-width",
                format!("the output width of the network `{name}` in {} is unknown", context.user),
            )
            .at(span, "inside an expression that no variable uses directly")
            .help("use it in a variable");
            return Err(self.report(mistake));
        }
        // A network inside a network would have no output width.
        let inner =
            Context { named: true, user: format!("the input of network `{name}`"), joint: false, ..context.clone() };
        let mut nodes = Vec::new();
        let mut consumed = Vec::new();
        let (mut axes, mut roles): (Vec<AxisId>, Vec<Role>) = (Vec::new(), Vec::new());
        let mut input = 0;
        for argument in arguments {
            let node = self.expression(argument, &inner)?;
            let feature = self.feature_axis(node, context);
            input += feature.map_or(1, |axis| self.axes[axis.0].size);
            let mut own = self.axes_of(node).to_vec();
            let mut own_roles = self.roles_of(node).to_vec();
            if let Some(axis) = feature
                && let Some(position) = own.iter().rposition(|x| *x == axis)
            {
                own.remove(position);
                own_roles.remove(position);
            }
            (axes, roles) = union((&axes, &roles), (&own, &own_roles));
            nodes.push(node);
            consumed.push(feature);
        }
        let output = match context.range.or(context.dimension) {
            Some(axis) => Some(axis),
            None => {
                context.plates.iter().rev().copied().find(|plate| Some(*plate) != self.rows && !axes.contains(plate))
            }
        };
        if let Some(axis) = output {
            axes.push(axis);
            roles.push(if context.dimension == Some(axis) { Role::Dimension } else { Role::Plate });
        }
        self.network_uses.push(NetworkUse {
            network,
            input,
            output: output.map_or(1, |axis| self.axes[axis.0].size),
            span: span.clone(),
        });
        let kind = NodeKind::Network { network, arguments: nodes, consumed, output };
        Ok(self.push(kind, axes, roles, span))
    }

    /// The axis of an input that holds its features: the last one, unless it is a plate of the result.
    fn feature_axis(&self, node: NodeId, context: &Context) -> Option<AxisId> {
        let axis = *self.axes_of(node).last()?;
        let role = *self.roles_of(node).last()?;
        let of_vector =
            role == Role::Dimension || matches!(self.axes[axis.0].kind, AxisKind::Block(_) | AxisKind::Anonymous);
        (Some(axis) != self.rows && (of_vector || !context.plates.contains(&axis))).then_some(axis)
    }

    /// Replaces the width of the last use: an amortised factor has more outputs than its variable has coordinates.
    pub(super) fn set_last_output(&mut self, width: usize) {
        if let Some(last) = self.network_uses.last_mut() {
            last.output = width;
        }
    }

    pub(super) fn check_network_widths(&mut self, networks: &[Network]) {
        for network in networks {
            if network.linear && (!network.layers.is_empty() || self.written(network, "activation")) {
                let mistake = Diagnostic::new(
                    "linear-network",
                    format!("network `{}` is linear, but has `layers` or `activation`", network.name),
                )
                .at(network.span.clone(), "linear")
                .help("a linear network has neither hidden layers nor an activation: remove them, or `linear`");
                self.report(mistake);
            }
            if !network.linear && network.layers.is_empty() && !network.options.contains_key("channels") {
                let mistake = Diagnostic::new(
                    "network-without-layers",
                    format!("network `{}` has no hidden layer", network.name),
                )
                .at(network.span.clone(), "no layers")
                .help("give layers = [400], or say linear = true");
                self.report(mistake);
            }
        }
        let uses = std::mem::take(&mut self.network_uses);
        for (index, later) in uses.iter().enumerate() {
            let Some(first) = uses[..index].iter().find(|u| u.network == later.network) else {
                continue;
            };
            let name = &networks[later.network.0].name;
            for (side, a, b) in [("inputs", first.input, later.input), ("outputs", first.output, later.output)] {
                if a != b {
                    let mistake = Diagnostic::new(
                        "network-width",
                        format!("network `{name}` is used with {side} of two widths, {a} and {b}"),
                    )
                    .at(later.span.clone(), format!("width {b}"))
                    .at(first.span.clone(), format!("width {a}"))
                    .help("one network has one set of weights: declare a second network");
                    self.report(mistake);
                }
            }
        }
    }

    fn written(&self, network: &Network, key: &str) -> bool {
        self.spec.networks.iter().any(|n| n.name == network.name && n.keys.iter().any(|e| e.key == key))
    }
}
