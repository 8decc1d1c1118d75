//! Constant parameters outside their domain: negative spreads, probabilities that do not sum to one, matrices that are
//! not positive definite.

use crate::diagnostic::Diagnostic;
use crate::graph::{
    Distribution, Graph, NodeId, NodeKind, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, Variable,
    WishartScale,
};
use crate::registry::Domain;

/// Largest departure of probabilities' sum from 1 that counts as rounding.
const SIMPLEX_TOLERANCE: f64 = 1e-6;

/// Checks every constant parameter of every variable.
pub(crate) fn check(graph: &Graph) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for variable in &graph.variables {
        for (key, node, domain, matrix) in parameters(&variable.distribution) {
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
                mistakes.push(describe(variable, key, graph, node, &problem, domain));
            }
        }
    }
    mistakes
}

fn describe(variable: &Variable, key: &str, graph: &Graph, node: NodeId, problem: &str, domain: Domain) -> Diagnostic {
    let help = match domain {
        Domain::Positive => "it must be greater than 0",
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
        Domain::Positive => first(&|x| !(x > 0.0 && x.is_finite())),
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

/// The parameters with a domain, and whether they are matrices.
fn parameters(distribution: &Distribution) -> Vec<(&'static str, NodeId, Domain, bool)> {
    use Domain::{Count, DegreesOfFreedom, Positive, Real, Simplex, Unit};
    let scale_of = |scale: &WishartScale| match scale {
        WishartScale::Scale(n) => ("scale", *n, Positive, true),
        WishartScale::InverseScale(n) => ("inverse_scale", *n, Positive, true),
    };
    let probability_of = |p: &Probability| match p {
        Probability::Probability(n) => ("probability", *n, Unit, false),
        Probability::Logit(n) => ("logit", *n, Real, false),
        Probability::Probit(n) => ("probit", *n, Real, false),
    };
    match distribution {
        Distribution::Normal { mean, spread, form } => {
            let (key, node) = match spread {
                Spread::Precision(n) => ("precision", *n),
                Spread::Variance(n) => ("variance", *n),
                Spread::StandardDeviation(n) => ("sd", *n),
                Spread::Covariance(n) => ("covariance", *n),
            };
            vec![("mean", *mean, Real, false), (key, node, Positive, *form == SpreadForm::Matrix)]
        }
        Distribution::NormalJoint { .. } | Distribution::Flat => Vec::new(),
        Distribution::NormalGamma { mean, mean_precision, shape, rate } => vec![
            ("mean", *mean, Real, false),
            ("mean_precision", *mean_precision, Positive, false),
            ("shape", *shape, Positive, false),
            ("rate", *rate, Positive, false),
        ],
        Distribution::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => vec![
            ("mean", *mean, Real, false),
            ("mean_precision", *mean_precision, Positive, false),
            ("degrees_of_freedom", *degrees_of_freedom, DegreesOfFreedom, false),
            scale_of(scale),
        ],
        Distribution::Gamma { shape, rate } => vec![
            ("shape", *shape, Positive, false),
            match rate {
                RateOrScale::Rate(n) => ("rate", *n, Positive, false),
                RateOrScale::Scale(n) => ("scale", *n, Positive, false),
            },
        ],
        Distribution::InverseGamma { shape, scale } => {
            vec![("shape", *shape, Positive, false), ("scale", *scale, Positive, false)]
        }
        Distribution::Wishart { degrees_of_freedom, scale } => {
            vec![("degrees_of_freedom", *degrees_of_freedom, DegreesOfFreedom, false), scale_of(scale)]
        }
        Distribution::Beta { alpha, beta } => {
            vec![("alpha", *alpha, Positive, false), ("beta", *beta, Positive, false)]
        }
        Distribution::Dirichlet { concentration } | Distribution::StickBreaking { concentration } => {
            vec![("concentration", *concentration, Positive, false)]
        }
        Distribution::Bernoulli { probability } => vec![probability_of(probability)],
        Distribution::Binomial { trials, probability } => {
            vec![("trials", *trials, Count, false), probability_of(probability)]
        }
        Distribution::Categorical { probabilities, logits, .. } => {
            vec![if *logits {
                ("logits", *probabilities, Real, false)
            } else {
                ("probabilities", *probabilities, Simplex, false)
            }]
        }
        Distribution::Multinomial { probabilities, .. } => vec![("probabilities", *probabilities, Simplex, false)],
        Distribution::Poisson { rate, log } => {
            vec![if *log { ("log_rate", *rate, Real, false) } else { ("rate", *rate, Positive, false) }]
        }
        Distribution::Exponential { rate } => vec![("rate", *rate, Positive, false)],
        Distribution::StudentT { degrees_of_freedom, mean, spread } => vec![
            ("degrees_of_freedom", *degrees_of_freedom, Positive, false),
            ("mean", *mean, Real, false),
            match spread {
                PrecisionOrSd::Precision(n) => ("precision", *n, Positive, false),
                PrecisionOrSd::StandardDeviation(n) => ("sd", *n, Positive, false),
            },
        ],
        Distribution::MarkovChain { initial, transition, .. } => {
            vec![("initial", *initial, Simplex, false), ("transition", *transition, Simplex, false)]
        }
        Distribution::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            ..
        } => vec![
            ("initial_mean", *initial_mean, Real, false),
            ("initial_precision", *initial_precision, Positive, *initial_form == SpreadForm::Matrix),
            ("transition", *transition, Real, false),
            ("innovation_precision", *innovation_precision, Positive, *innovation_form == SpreadForm::Matrix),
        ],
        Distribution::HalfNormal { sd } => vec![("sd", *sd, Positive, false)],
        Distribution::HalfCauchy { scale } => vec![("scale", *scale, Positive, false)],
        Distribution::HalfStudentT { degrees_of_freedom, scale } => {
            vec![("degrees_of_freedom", *degrees_of_freedom, Positive, false), ("scale", *scale, Positive, false)]
        }
        Distribution::Cauchy { location, scale }
        | Distribution::Laplace { location, scale }
        | Distribution::Logistic { location, scale } => {
            vec![("location", *location, Real, false), ("scale", *scale, Positive, false)]
        }
        Distribution::LogNormal { mean, sd } => vec![("mean", *mean, Real, false), ("sd", *sd, Positive, false)],
        Distribution::Uniform { lower, upper } => vec![("lower", *lower, Real, false), ("upper", *upper, Real, false)],
        Distribution::NegativeBinomial { mean, dispersion } => {
            vec![("mean", *mean, Positive, false), ("dispersion", *dispersion, Positive, false)]
        }
    }
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
