//! Whether starting values lie where the means of their variables may.

use super::covariates::{first_missing, value_columns};
use super::domain::{self, Domain};
use super::{Levels, SIMPLEX_TOLERANCE, place_at};
use crate::data::number_text;
use crate::diagnostic::Diagnostic;
use crate::graph::{Distribution, Graph, Observation, Variable};

/// A starting value of a variable of which every cell is there: it has no posterior.
fn starts_nothing(graph: &Graph, variable: &Variable) -> Option<Diagnostic> {
    let columns = match variable.observed? {
        Observation::Numeric(node) => value_columns(graph, node),
        Observation::Levels { column, .. } => vec![column],
        Observation::LevelsBlock { block, .. } => graph.data.block(block).columns.clone(),
    };
    let missing = first_missing(&graph.data, &columns).iter().any(Option::is_some);
    let message = format!("variable `{}` has `initial`, but is observed in every row", variable.name);
    let help = "`initial` is where the posterior mean of what is not observed begins: remove it, or `observed`";
    (!missing).then(|| place_at(variable, "initial", Diagnostic::new("initial-observed", message).help(help)))
}

/// A starting value that no posterior mean of the variable can be.
///
/// Rows that come after a fit may be whole where those of the fit were not.
pub(super) fn check_initial(graph: &Graph, variable: &Variable, levels: Levels) -> Option<Diagnostic> {
    use Distribution as D;
    let initial = variable.initial.as_ref()?;
    if let (Levels::Known, Some(nothing)) = (levels, starts_nothing(graph, variable)) {
        return Some(nothing);
    }
    let refuse = |what: String, must: String| {
        let message = format!("`initial` of variable `{}` {what}", variable.name);
        Some(place_at(variable, "initial", Diagnostic::new("outside-domain", message).help(must)))
    };
    // Of a discrete variable the mean is probabilities or an expected number.
    let allowed = match domain::of_values(&variable.distribution, |axis| graph.axis(axis).size) {
        Domain::Binary | Domain::Below(_) => Domain::ClosedUnit,
        Domain::Count => Domain::NonNegative,
        Domain::NonNegative => Domain::Positive,
        other => other,
    };
    if let Some(outside) = initial.values.iter().find(|x| !allowed.contains(**x)) {
        return refuse(format!("is {}", number_text(*outside)), format!("it must be {}", allowed.text()));
    }
    let simplex = match variable.distribution {
        D::Dirichlet { .. } | D::StickBreaking { .. } => variable.dimension,
        D::Categorical { range, .. } => Some(range),
        _ => None,
    };
    let length = *initial.shape.last().filter(|_| simplex.is_some() && initial.axes.last().copied() == simplex)?;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let odd = initial.values.chunks_exact(length).map(sum).find(|total| (total - 1.0).abs() > SIMPLEX_TOLERANCE)?;
    refuse(format!("sums to {}", number_text(odd)), "probabilities sum to 1 along the last axis".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What is said of a variable's lines in a model with a plate `k` of two elements.
    fn said(lines: &str) -> String {
        let model = format!(
            "[data.values]\ny = [1.0, 2.0]\ngap = [1.0, nan]\n[plates]\nrow = \"rows\"\nk = 2\n[variables.v]\n{lines}\n[variables.x]\nplates = [\"row\"]\n\
             distribution = \"normal\"\nmean = 0.0\nsd = 1.0\nobserved = \"y\"\n"
        );
        crate::load_str(&model, "m.toml", Path::new(".")).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn starting_values_outside_the_support_are_refused() {
        let gamma = "distribution = \"gamma\"\nshape = 1.0\nrate = 1.0\n";
        assert_eq!(said(&format!("{gamma}initial = 2.0")), "");
        assert!(said(&format!("{gamma}initial = -2.0")).contains("`initial` of variable `v` is -2"));
        let simplex = "distribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = 1.0\n";
        assert_eq!(said(&format!("{simplex}initial = [0.9, 0.1]")), "");
        assert!(said(&format!("{simplex}initial = [0.9, 0.9]")).contains("sums to 1.8"));
        let normal = "distribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
        assert_eq!(said(&format!("{normal}initial = -2.0")), "");
    }

    #[test]
    fn a_starting_value_of_what_is_observed_is_refused() {
        let lines =
            "plates = [\"row\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\ninitial = 0.5\nobserved = \"y\"\n";
        assert!(said(lines).contains("variable `v` has `initial`, but is observed in every row"));
        let gap = lines.replace("\"y\"", "\"gap\"");
        assert_eq!(said(&gap), "", "missing cells have a posterior");
    }
}
