//! Where the values and the parameters of each distribution may lie.

use crate::graph::{Distribution, NodeId, PrecisionOrSd, Probability, RateOrScale, Spread, SpreadForm, WishartScale};

/// A set of admissible numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Domain {
    Real,
    Positive,
    NonNegative,
    /// 0 < x < 1
    OpenUnit,
    /// 0 ≤ x ≤ 1
    ClosedUnit,
    Binary,
    Count,
    /// Integers below a number.
    Below(usize),
}

impl Domain {
    /// Whether a number that is not missing lies inside.
    pub(super) fn contains(self, x: f64) -> bool {
        let is_integer = x.fract() == 0.0;
        x.is_finite()
            && match self {
                Self::Real => true,
                Self::Positive => x > 0.0,
                Self::NonNegative => x >= 0.0,
                Self::OpenUnit => x > 0.0 && x < 1.0,
                Self::ClosedUnit => (0.0..=1.0).contains(&x),
                Self::Binary => x == 0.0 || x == 1.0,
                Self::Count => x >= 0.0 && is_integer,
                Self::Below(size) => x >= 0.0 && is_integer && x < size as f64,
            }
    }

    /// What must be, as the end of a sentence that begins "must be".
    pub(super) fn text(self) -> String {
        match self {
            Self::Real => "a finite number".to_owned(),
            Self::Positive => "positive and finite".to_owned(),
            Self::NonNegative => "finite and not negative".to_owned(),
            Self::OpenUnit => "strictly between 0 and 1".to_owned(),
            Self::ClosedUnit => "between 0 and 1".to_owned(),
            Self::Binary => "0 or 1".to_owned(),
            Self::Count => "a whole number that is not negative".to_owned(),
            Self::Below(0) => "in a range that is empty".to_owned(),
            Self::Below(size) => format!("a whole number from 0 to {}", size - 1),
        }
    }
}

/// Where each value of a distribution lies; `num_elements` of a plate are known from its range.
pub(super) fn of_values(distribution: &Distribution, num_elements: impl Fn(crate::graph::AxisId) -> usize) -> Domain {
    use Distribution as D;
    match distribution {
        D::Normal { .. }
        | D::NormalJoint { .. }
        | D::NormalGamma { .. }
        | D::NormalWishart { .. }
        | D::Wishart { .. }
        | D::StudentT { .. }
        | D::GaussianMarkovChain { .. }
        | D::Cauchy { .. }
        | D::Laplace { .. }
        | D::Logistic { .. }
        | D::Uniform { .. }
        | D::Flat => Domain::Real,
        D::Gamma { .. } | D::InverseGamma { .. } | D::LogNormal { .. } => Domain::Positive,
        D::Exponential { .. } | D::HalfNormal { .. } | D::HalfCauchy { .. } | D::HalfStudentT { .. } => {
            Domain::NonNegative
        }
        D::Beta { .. } | D::Dirichlet { .. } | D::StickBreaking { .. } => Domain::OpenUnit,
        D::Bernoulli { .. } => Domain::Binary,
        D::Binomial { .. } | D::Multinomial { .. } | D::Poisson { .. } | D::NegativeBinomial { .. } => Domain::Count,
        D::Categorical { range, .. } | D::MarkovChain { range, .. } => Domain::Below(num_elements(*range)),
    }
}

/// Each parameter: its key in the language, its node and, unless it is a matrix, its domain.
pub(super) fn parameters(distribution: &Distribution) -> Vec<(&'static str, NodeId, Option<Domain>)> {
    use Distribution as D;
    use Domain::{Count, Positive, Real};
    let one = |key, node: &NodeId, domain| (key, *node, Some(domain));
    let probability = |p: &Probability| match p {
        Probability::Probability(node) => one("probability", node, Domain::ClosedUnit),
        Probability::Logit(node) => one("logit", node, Real),
        Probability::Probit(node) => one("probit", node, Real),
    };
    let wishart = |s: &WishartScale| match s {
        WishartScale::Scale(node) => ("scale", *node, None),
        WishartScale::InverseScale(node) => ("inverse_scale", *node, None),
    };
    let unless_matrix = |form: SpreadForm| (form != SpreadForm::Matrix).then_some(Positive);
    match distribution {
        D::Normal { mean, spread, form } => {
            let (key, node) = match spread {
                Spread::Precision(node) => ("precision", node),
                Spread::Variance(node) => ("variance", node),
                Spread::StandardDeviation(node) => ("sd", node),
                Spread::Covariance(node) => ("covariance", node),
            };
            vec![one("mean", mean, Real), (key, *node, unless_matrix(*form))]
        }
        D::NormalJoint { parameters } => vec![("parameters", *parameters, None)],
        D::NormalGamma { mean, mean_precision, form, shape, rate } => vec![
            one("mean", mean, Real),
            ("mean_precision", *mean_precision, unless_matrix(*form)),
            one("shape", shape, Positive),
            one("rate", rate, Positive),
        ],
        D::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => vec![
            one("mean", mean, Real),
            one("mean_precision", mean_precision, Positive),
            one("degrees_of_freedom", degrees_of_freedom, Positive),
            wishart(scale),
        ],
        D::Gamma { shape, rate } => vec![
            one("shape", shape, Positive),
            match rate {
                RateOrScale::Rate(node) => one("rate", node, Positive),
                RateOrScale::Scale(node) => one("scale", node, Positive),
            },
        ],
        D::InverseGamma { shape, scale } => {
            vec![one("shape", shape, Positive), one("scale", scale, Positive)]
        }
        D::Wishart { degrees_of_freedom, scale } => {
            vec![one("degrees_of_freedom", degrees_of_freedom, Positive), wishart(scale)]
        }
        D::Beta { alpha, beta } => vec![one("alpha", alpha, Positive), one("beta", beta, Positive)],
        D::Dirichlet { concentration } | D::StickBreaking { concentration } => {
            vec![one("concentration", concentration, Positive)]
        }
        D::Bernoulli { probability: p } => vec![probability(p)],
        D::Binomial { trials, probability: p } => vec![one("trials", trials, Count), probability(p)],
        D::Categorical { probabilities, logits, .. } => vec![if *logits {
            one("logits", probabilities, Real)
        } else {
            one("probabilities", probabilities, Domain::ClosedUnit)
        }],
        D::Multinomial { probabilities, .. } => {
            vec![one("probabilities", probabilities, Domain::ClosedUnit)]
        }
        D::Poisson { rate, log } => vec![if *log { one("log_rate", rate, Real) } else { one("rate", rate, Positive) }],
        D::Exponential { rate } => vec![one("rate", rate, Positive)],
        D::StudentT { degrees_of_freedom, mean, spread } => vec![
            one("degrees_of_freedom", degrees_of_freedom, Positive),
            one("mean", mean, Real),
            match spread {
                PrecisionOrSd::Precision(node) => one("precision", node, Positive),
                PrecisionOrSd::StandardDeviation(node) => one("sd", node, Positive),
            },
        ],
        D::MarkovChain { initial, transition, .. } => {
            vec![one("initial", initial, Domain::ClosedUnit), one("transition", transition, Domain::ClosedUnit)]
        }
        D::GaussianMarkovChain {
            initial_mean,
            initial_precision,
            initial_form,
            transition,
            innovation_precision,
            innovation_form,
            offset,
            ..
        } => {
            let mut domains = vec![
                one("initial_mean", initial_mean, Real),
                ("initial_precision", *initial_precision, unless_matrix(*initial_form)),
                one("transition", transition, Real),
                ("innovation_precision", *innovation_precision, unless_matrix(*innovation_form)),
            ];
            domains.extend(offset.iter().map(|node| one("offset", node, Real)));
            domains
        }
        D::HalfNormal { sd } => vec![one("sd", sd, Positive)],
        D::HalfCauchy { scale } => vec![one("scale", scale, Positive)],
        D::HalfStudentT { degrees_of_freedom, scale } => {
            vec![one("degrees_of_freedom", degrees_of_freedom, Positive), one("scale", scale, Positive)]
        }
        D::Cauchy { location, scale } | D::Laplace { location, scale } | D::Logistic { location, scale } => {
            vec![one("location", location, Real), one("scale", scale, Positive)]
        }
        D::LogNormal { mean, sd } => vec![one("mean", mean, Real), one("sd", sd, Positive)],
        D::Uniform { lower, upper } => vec![one("lower", lower, Real), one("upper", upper, Real)],
        D::NegativeBinomial { mean, dispersion } => {
            vec![one("mean", mean, Positive), one("dispersion", dispersion, Positive)]
        }
        D::Flat => Vec::new(),
    }
}
