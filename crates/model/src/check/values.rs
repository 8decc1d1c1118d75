//! Constant parameters outside their domain: negative spreads, probabilities that do not sum to one, matrices that are
//! not positive definite.

use crate::check::parents::is_matrix;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, NodeId, NodeKind, Variable};
use crate::registry::{self, Domain};

/// Largest departure of probabilities' sum from 1 that counts as rounding.
const SIMPLEX_TOLERANCE: f64 = 1e-6;

/// Checks every constant parameter of every variable.
pub(crate) fn check(graph: &Graph) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for variable in &graph.variables {
        let distribution = &variable.distribution;
        let entry = registry::distribution(distribution.name());
        for (key, node) in distribution.parameters() {
            let domain = entry.and_then(|e| e.parameter(key)).map_or(Domain::Real, |p| p.domain);
            let matrix = is_matrix(distribution, key);
            let Some((values, shape)) = constant(graph, node) else {
                continue;
            };
            let dimension = variable.dimension.map_or(1, |d| graph.axis(d).size);
            let problem = if matrix && shape.len() >= 2 {
                not_positive_definite(&values, dimension)
            } else {
                outside(&values, &shape, domain, dimension)
            };
            if let Some(problem) = problem {
                let mistake = describe(variable, key, graph, node, &problem, domain);
                mistakes.push(match key == "transition" && is_turned(&values, &shape) {
                    true => mistake.help(
                        "its columns sum to 1: the first axis is the state left, the second the state entered, so exchange the two",
                    ),
                    false => mistake,
                });
            }
        }
    }
    mistakes
}

/// Whether the columns of a square array sum to 1.
fn is_turned(values: &[f64], shape: &[usize]) -> bool {
    let [.., rows, columns] = *shape else { return false };
    let sum = |j: usize| (0..rows).map(|i| values[i * columns + j]).sum::<f64>();
    rows == columns && (0..columns).all(|j| (sum(j) - 1.0).abs() <= SIMPLEX_TOLERANCE)
}

fn describe(variable: &Variable, key: &str, graph: &Graph, node: NodeId, problem: &str, domain: Domain) -> Diagnostic {
    let help = match domain {
        Domain::Positive => "it must be greater than 0",
        Domain::PositiveDefinite => "it must be a symmetric positive definite matrix",
        Domain::Unit => "it must be between 0 and 1",
        Domain::Simplex => "probabilities are 0 or greater and sum to 1 along the last axis",
        Domain::Count => "it must be a whole number, 0 or greater",
        Domain::DegreesOfFreedom => "it must be greater than the dimension minus 1",
        Domain::Real | Domain::Name => "it must be finite",
    };
    Diagnostic::new("outside-domain", format!("`{key}` of variable `{}` {problem}", variable.name))
        .at(graph.node(node).span.clone(), "not allowed")
        .help(help)
}

/// Values and shape of a number or a constant.
fn constant(graph: &Graph, node: NodeId) -> Option<(Vec<f64>, Vec<usize>)> {
    match &graph.node(node).kind {
        NodeKind::Number(x) => Some((vec![*x], Vec::new())),
        NodeKind::Constant(tensor) => Some((tensor.values.clone(), tensor.shape.clone())),
        NodeKind::Negate(a) => {
            let (values, shape) = constant(graph, *a)?;
            Some((values.iter().map(|x| -x).collect(), shape))
        }
        _ => None,
    }
}

fn outside(values: &[f64], shape: &[usize], domain: Domain, dimension: usize) -> Option<String> {
    let first = |bad: &dyn Fn(f64) -> bool| values.iter().copied().find(|x| bad(*x)).map(|x| format!("is {x}"));
    match domain {
        Domain::Real | Domain::Name => first(&|x| !x.is_finite()),
        Domain::Positive | Domain::PositiveDefinite => first(&|x| !(x > 0.0 && x.is_finite())),
        Domain::Unit => first(&|x| !(0.0..=1.0).contains(&x)),
        Domain::Count => first(&|x| !(x >= 0.0 && x.fract() == 0.0 && x.is_finite())),
        Domain::DegreesOfFreedom => {
            let least = dimension as f64 - 1.0;
            first(&|x| !(x > least && x.is_finite()))
        }
        Domain::Simplex => {
            if let Some(problem) = first(&|x| !(0.0..=1.0 + SIMPLEX_TOLERANCE).contains(&x)) {
                return Some(problem);
            }
            let width = shape.last().copied().unwrap_or(1).max(1);
            values
                .chunks(width)
                .map(|row| row.iter().sum::<f64>())
                .find(|sum| (sum - 1.0).abs() > SIMPLEX_TOLERANCE)
                .map(|sum| format!("sums to {sum}"))
        }
    }
}

/// Checks each d × d matrix by a Cholesky factorisation.
fn not_positive_definite(values: &[f64], d: usize) -> Option<String> {
    for matrix in values.chunks(d * d) {
        let largest = matrix.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for i in 0..d {
            for j in 0..i {
                if (matrix[i * d + j] - matrix[j * d + i]).abs() > 1e-9 * largest {
                    return Some(format!(
                        "is not symmetric: row {}, column {} is {}, but row {}, column {} is {}",
                        i + 1,
                        j + 1,
                        matrix[i * d + j],
                        j + 1,
                        i + 1,
                        matrix[j * d + i]
                    ));
                }
            }
        }
        let mut factor = matrix.to_vec();
        for j in 0..d {
            for i in j..d {
                let sum: f64 = (0..j).map(|k| factor[i * d + k] * factor[j * d + k]).sum();
                let rest = factor[i * d + j] - sum;
                if i == j {
                    // A pivot lost to rounding counts as zero.
                    if !(rest.is_finite() && rest > 1e-14 * matrix[j * d + j].abs()) {
                        return Some(format!(
                            "is not positive definite: its leading {0} × {0} block is singular or indefinite",
                            j + 1
                        ));
                    }
                    factor[j * d + j] = rest.sqrt();
                } else {
                    factor[i * d + j] = rest / factor[j * d + j];
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_told_apart() {
        assert_eq!(not_positive_definite(&[2.0, 0.5, 0.5, 1.0], 2), None);
        // Eigenvalues 3 and −1.
        assert!(not_positive_definite(&[1.0, 2.0, 2.0, 1.0], 2).is_some());
        // Singular: the second row is twice the first.
        assert!(not_positive_definite(&[1.0, 2.0, 2.0, 4.0], 2).is_some());
        assert!(not_positive_definite(&[1.0, 0.3, 0.2, 1.0], 2).is_some_and(|t| t.contains("symmetric")));
    }

    #[test]
    fn domains() {
        assert!(outside(&[0.3, 0.3], &[2], Domain::Simplex, 1).is_some());
        assert_eq!(outside(&[0.9, 0.1, 0.2, 0.8], &[2, 2], Domain::Simplex, 1), None);
        assert_eq!(outside(&[2.5], &[], Domain::DegreesOfFreedom, 3), None);
        assert!(outside(&[2.0], &[], Domain::DegreesOfFreedom, 3).is_some());
        assert!(outside(&[2.5], &[], Domain::Count, 1).is_some());
    }
}
