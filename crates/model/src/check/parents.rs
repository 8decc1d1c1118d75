//! Variables that stand as a parameter which must lie where they need not: a normal variable as a standard deviation.

use crate::diagnostic::Diagnostic;
use crate::graph::{Distribution, Graph, NodeId, NodeKind, SpreadForm, VariableId};
use crate::registry::{self, Domain, Support};

/// Checks every parameter that is a variable itself, possibly looked up or gated; expressions are left to the engines.
pub(crate) fn check(graph: &Graph) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for variable in &graph.variables {
        let distribution = &variable.distribution;
        let Some(entry) = registry::distribution(distribution.name()) else {
            continue;
        };
        for (key, node) in distribution.parameters() {
            let Some(domain) = entry.parameter(key).map(|p| p.domain) else {
                continue;
            };
            let Some(parent) = direct(graph, node) else {
                continue;
            };
            let matrix = is_matrix(distribution, key);
            let Some((wanted, help)) = unfit(graph, parent, domain, matrix) else {
                continue;
            };
            let (name, kind) = (&graph.variable(parent).name, graph.variable(parent).distribution.name());
            mistakes.push(
                Diagnostic::new(
                    "parent-support",
                    format!("`{key}` of variable `{}` must be {wanted}, but `{name}` is `{kind}`", variable.name),
                )
                .at(graph.node(node).span.clone(), format!("not always {wanted}"))
                .help(help.replace("NAME", name)),
            );
        }
    }
    mistakes
}

/// Whether a parameter is a matrix over the variable's dimension.
pub(crate) fn is_matrix(distribution: &Distribution, key: &str) -> bool {
    match distribution {
        Distribution::Normal { form, .. } => key != "mean" && *form == SpreadForm::Matrix,
        Distribution::NormalGamma { form, .. } => key == "mean_precision" && *form == SpreadForm::Matrix,
        Distribution::NormalWishart { .. } | Distribution::Wishart { .. } => matches!(key, "scale" | "inverse_scale"),
        Distribution::GaussianMarkovChain { initial_form, innovation_form, .. } => match key {
            "initial_precision" => *initial_form == SpreadForm::Matrix,
            "innovation_precision" => *innovation_form == SpreadForm::Matrix,
            _ => false,
        },
        _ => false,
    }
}

/// The variable that a node is, through look-ups and gates.
fn direct(graph: &Graph, node: NodeId) -> Option<VariableId> {
    match graph.node(node).kind {
        NodeKind::Variable(id) => Some(id),
        NodeKind::Index { base, .. } => direct(graph, base),
        _ => None,
    }
}

/// A bound that is written as a number.
fn bound(graph: &Graph, node: Option<NodeId>) -> Option<f64> {
    match graph.node(node?).kind {
        NodeKind::Number(x) => Some(x),
        _ => None,
    }
}

/// Where the parameter must lie and what to write instead, where the parent may lie elsewhere.
fn unfit(graph: &Graph, parent: VariableId, domain: Domain, matrix: bool) -> Option<(&'static str, &'static str)> {
    let variable = graph.variable(parent);
    let support = registry::distribution(variable.distribution.name())?.support;
    let (lower, upper) = match variable.distribution {
        Distribution::Uniform { lower, upper } => (bound(graph, Some(lower)), bound(graph, Some(upper))),
        _ => (bound(graph, variable.lower), bound(graph, variable.upper)),
    };
    // A bound that is an expression is not judged here.
    let bounded_by_expression =
        (variable.lower.is_some() || matches!(variable.distribution, Distribution::Uniform { .. })) && lower.is_none();
    let positive = lower.is_some_and(|l| l >= 0.0) || bounded_by_expression;
    let within_unit = positive && (upper.is_some_and(|u| u <= 1.0) || bounded_by_expression);
    let real = matches!(support, Support::Real | Support::Interval);
    match domain {
        Domain::Positive | Domain::PositiveDefinite | Domain::DegreesOfFreedom if matrix => (support
            != Support::PositiveDefinite)
            .then_some(("a positive definite matrix", "use a wishart variable, or a constant matrix")),
        Domain::Positive | Domain::DegreesOfFreedom => {
            let fits = matches!(
                support,
                Support::Positive | Support::Unit | Support::Simplex | Support::Count | Support::Binary
            ) || (real && positive);
            (!fits).then_some((
                "greater than 0",
                "use a gamma or half-normal variable, write exp(NAME), or give `NAME` lower = 0.0",
            ))
        }
        Domain::Unit => {
            let fits = matches!(support, Support::Unit | Support::Simplex | Support::Binary)
                || (real && within_unit)
                || (support == Support::Positive && upper.is_some_and(|u| u <= 1.0));
            (!fits).then_some(("between 0 and 1", "use a beta variable, or write logit = \"NAME\""))
        }
        Domain::Simplex => (support != Support::Simplex)
            .then_some(("probabilities that sum to 1", "use a dirichlet or stick-breaking variable")),
        Domain::Count => {
            let fits = matches!(support, Support::Count | Support::Binary | Support::Counts);
            (!fits).then_some(("a whole number", "use a data column, a constant or a count variable"))
        }
        Domain::Real | Domain::Name | Domain::PositiveDefinite => None,
    }
}
