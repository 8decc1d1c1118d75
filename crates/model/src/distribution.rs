//! The distributions of the language, with their parameters as nodes of expressions.

use crate::data::ColumnId;
use crate::graph::{AxisId, NodeId};

/// How the spread of a normal is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Precision τ = 1/σ², or precision matrix.
    Precision(NodeId),
    /// Variance σ² (scalar or per coordinate).
    Variance(NodeId),
    /// Standard deviation σ (scalar or per coordinate).
    StandardDeviation(NodeId),
    /// Covariance matrix.
    Covariance(NodeId),
}

/// Shape of a spread relative to the variable's dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpreadForm {
    /// One number for every coordinate (or a scalar variable).
    Scalar,
    /// One number per coordinate of the dimension.
    PerCoordinate,
    /// A matrix over the dimension.
    Matrix,
}

/// Rate or scale of a gamma distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateOrScale {
    /// Rate β.
    Rate(NodeId),
    /// Scale 1/β.
    Scale(NodeId),
}

/// Scale matrix of a Wishart distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WishartScale {
    /// W, with mean ν·W.
    Scale(NodeId),
    /// W⁻¹.
    InverseScale(NodeId),
}

/// How a probability is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Probability {
    /// On its own scale.
    Probability(NodeId),
    /// By its log odds.
    Logit(NodeId),
    /// By the normal quantile.
    Probit(NodeId),
}

/// Spread of a location–scale distribution that takes precision or sd.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PrecisionOrSd {
    /// Precision.
    Precision(NodeId),
    /// The scale.
    StandardDeviation(NodeId),
}

/// A distribution with its parameters as expression nodes; the names are those of the language.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Distribution {
    /// N(x | mean, spread), a number or a vector; `form` says how the spread covers the dimension.
    Normal { mean: NodeId, spread: Spread, form: SpreadForm },
    /// A normal whose mean and precision are one joint variable, possibly gated: `parameters = "g[z]"`. Of a normal-gamma
    /// variable also an expression linear in its location, `"dot(w, x)"`: the mean, with the variable's precision.
    NormalJoint { parameters: NodeId },
    /// A pair (μ, τ): τ ~ Gamma(shape, rate), μ ~ N(mean, (mean_precision τ)⁻¹), a number (Bishop PRML 2.154) or a vector;
    /// `form` says how mean_precision covers the dimension.
    NormalGamma { mean: NodeId, mean_precision: NodeId, form: SpreadForm, shape: NodeId, rate: NodeId },
    /// A pair (μ, Λ): Λ ~ Wishart(scale, degrees_of_freedom), μ ~ N(mean, (mean_precision Λ)⁻¹) (Bishop PRML 2.157).
    NormalWishart { mean: NodeId, mean_precision: NodeId, degrees_of_freedom: NodeId, scale: WishartScale },
    /// ∝ x^(shape − 1) e^(−rate x) on x > 0.
    Gamma { shape: NodeId, rate: RateOrScale },
    /// ∝ x^(−shape − 1) e^(−scale/x) on x > 0.
    InverseGamma { shape: NodeId, scale: NodeId },
    /// Positive definite matrices with mean degrees_of_freedom · scale (Bishop PRML 2.155).
    Wishart { degrees_of_freedom: NodeId, scale: WishartScale },
    /// ∝ x^(alpha − 1) (1 − x)^(beta − 1) on (0, 1).
    Beta { alpha: NodeId, beta: NodeId },
    /// Probabilities over the dimension, ∝ Π xᵢ^(concentrationᵢ − 1).
    Dirichlet { concentration: NodeId },
    /// Probabilities over the dimension from sticks vᵢ ~ Beta(1, concentration): a truncated Dirichlet process.
    StickBreaking { concentration: NodeId },
    /// 0 or 1.
    Bernoulli { probability: Probability },
    /// Successes among `trials`.
    Binomial { trials: NodeId, probability: Probability },
    /// An index into the axis `range`; `logits`: the parameters are unnormalised log probabilities.
    Categorical { probabilities: NodeId, range: AxisId, logits: bool },
    /// Counts over `range`.
    Multinomial { probabilities: NodeId, range: AxisId },
    /// Counts with a mean `rate`; `log`: the parameter is its logarithm.
    Poisson { rate: NodeId, log: bool },
    /// rate · e^(−rate x) on x > 0.
    Exponential { rate: NodeId },
    /// Student’s t around `mean`; `spread` is its scale or the inverse of its square.
    StudentT { degrees_of_freedom: NodeId, mean: NodeId, spread: PrecisionOrSd },
    /// An index into `range` along the rows; a change of `sequence` starts another chain. `transition` axes: `[…, from, to]`, where
    /// both may be the same axis.
    MarkovChain { initial: NodeId, transition: NodeId, range: AxisId, sequence: Option<ColumnId> },
    /// A vector along the rows: x₁ ~ N(initial_mean, initial_precision⁻¹), xₜ ~ N(transition xₜ₋₁ + offset, innovation_precision⁻¹).
    /// `transition` axes: `[…, to, from]`.
    GaussianMarkovChain {
        initial_mean: NodeId,
        initial_precision: NodeId,
        initial_form: SpreadForm,
        transition: NodeId,
        innovation_precision: NodeId,
        innovation_form: SpreadForm,
        /// Added to the mean of every state that follows another.
        offset: Option<NodeId>,
        sequence: Option<ColumnId>,
    },
    /// |N(0, sd²)|.
    HalfNormal { sd: NodeId },
    /// |Cauchy(0, scale)|.
    HalfCauchy { scale: NodeId },
    /// |t| with a scale.
    HalfStudentT { degrees_of_freedom: NodeId, scale: NodeId },
    /// Student’s t with one degree of freedom.
    Cauchy { location: NodeId, scale: NodeId },
    /// e^(−|x − location|/scale) / (2 scale).
    Laplace { location: NodeId, scale: NodeId },
    /// e^N(mean, sd²).
    LogNormal { mean: NodeId, sd: NodeId },
    /// Location and scale; the distribution function is the logistic function.
    Logistic { location: NodeId, scale: NodeId },
    /// Level between its bounds.
    Uniform { lower: NodeId, upper: NodeId },
    /// Counts with variance mean + dispersion · mean².
    NegativeBinomial { mean: NodeId, dispersion: NodeId },
    /// A constant density on the whole line: improper.
    Flat,
}

impl Distribution {
    /// The least and the greatest value that a continuous distribution of single numbers has before it is truncated.
    pub fn range(&self) -> (f64, f64) {
        match self {
            Self::Gamma { .. }
            | Self::InverseGamma { .. }
            | Self::Exponential { .. }
            | Self::HalfNormal { .. }
            | Self::HalfCauchy { .. }
            | Self::HalfStudentT { .. }
            | Self::LogNormal { .. } => (0.0, f64::INFINITY),
            Self::Beta { .. } => (0.0, 1.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Its name in the model language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Normal { .. } | Self::NormalJoint { .. } => "normal",
            Self::NormalGamma { .. } => "normal-gamma",
            Self::NormalWishart { .. } => "normal-wishart",
            Self::Gamma { .. } => "gamma",
            Self::InverseGamma { .. } => "inverse-gamma",
            Self::Wishart { .. } => "wishart",
            Self::Beta { .. } => "beta",
            Self::Dirichlet { .. } => "dirichlet",
            Self::StickBreaking { .. } => "stick-breaking",
            Self::Bernoulli { .. } => "bernoulli",
            Self::Binomial { .. } => "binomial",
            Self::Categorical { .. } => "categorical",
            Self::Multinomial { .. } => "multinomial",
            Self::Poisson { .. } => "poisson",
            Self::Exponential { .. } => "exponential",
            Self::StudentT { .. } => "student-t",
            Self::MarkovChain { .. } => "markov-chain",
            Self::GaussianMarkovChain { .. } => "gaussian-markov-chain",
            Self::HalfNormal { .. } => "half-normal",
            Self::HalfCauchy { .. } => "half-cauchy",
            Self::HalfStudentT { .. } => "half-student-t",
            Self::Cauchy { .. } => "cauchy",
            Self::Laplace { .. } => "laplace",
            Self::LogNormal { .. } => "log-normal",
            Self::Logistic { .. } => "logistic",
            Self::Uniform { .. } => "uniform",
            Self::NegativeBinomial { .. } => "negative-binomial",
            Self::Flat => "flat",
        }
    }

    /// Its parameters with their keys in the model language, in the order of the reference.
    pub fn parameters(&self) -> Vec<(&'static str, NodeId)> {
        let of_scale = |scale: &WishartScale| match scale {
            WishartScale::Scale(n) => ("scale", *n),
            WishartScale::InverseScale(n) => ("inverse_scale", *n),
        };
        let of_probability = |p: &Probability| match p {
            Probability::Probability(n) => ("probability", *n),
            Probability::Logit(n) => ("logit", *n),
            Probability::Probit(n) => ("probit", *n),
        };
        match self {
            Self::Normal { mean, spread, .. } => {
                let spread = match spread {
                    Spread::Precision(n) => ("precision", *n),
                    Spread::Variance(n) => ("variance", *n),
                    Spread::StandardDeviation(n) => ("sd", *n),
                    Spread::Covariance(n) => ("covariance", *n),
                };
                vec![("mean", *mean), spread]
            }
            Self::NormalJoint { parameters } => vec![("parameters", *parameters)],
            Self::NormalGamma { mean, mean_precision, shape, rate, .. } => {
                vec![("mean", *mean), ("mean_precision", *mean_precision), ("shape", *shape), ("rate", *rate)]
            }
            Self::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => vec![
                ("mean", *mean),
                ("mean_precision", *mean_precision),
                ("degrees_of_freedom", *degrees_of_freedom),
                of_scale(scale),
            ],
            Self::Gamma { shape, rate } => vec![
                ("shape", *shape),
                match rate {
                    RateOrScale::Rate(n) => ("rate", *n),
                    RateOrScale::Scale(n) => ("scale", *n),
                },
            ],
            Self::InverseGamma { shape, scale } => vec![("shape", *shape), ("scale", *scale)],
            Self::Wishart { degrees_of_freedom, scale } => {
                vec![("degrees_of_freedom", *degrees_of_freedom), of_scale(scale)]
            }
            Self::Beta { alpha, beta } => vec![("alpha", *alpha), ("beta", *beta)],
            Self::Dirichlet { concentration } | Self::StickBreaking { concentration } => {
                vec![("concentration", *concentration)]
            }
            Self::Bernoulli { probability } => vec![of_probability(probability)],
            Self::Binomial { trials, probability } => vec![("trials", *trials), of_probability(probability)],
            Self::Categorical { probabilities, logits, .. } => {
                vec![(if *logits { "logits" } else { "probabilities" }, *probabilities)]
            }
            Self::Multinomial { probabilities, .. } => vec![("probabilities", *probabilities)],
            Self::Poisson { rate, log } => vec![(if *log { "log_rate" } else { "rate" }, *rate)],
            Self::Exponential { rate } => vec![("rate", *rate)],
            Self::StudentT { degrees_of_freedom, mean, spread } => vec![
                ("degrees_of_freedom", *degrees_of_freedom),
                ("mean", *mean),
                match spread {
                    PrecisionOrSd::Precision(n) => ("precision", *n),
                    PrecisionOrSd::StandardDeviation(n) => ("sd", *n),
                },
            ],
            Self::MarkovChain { initial, transition, .. } => vec![("initial", *initial), ("transition", *transition)],
            Self::GaussianMarkovChain {
                initial_mean,
                initial_precision,
                transition,
                innovation_precision,
                offset,
                ..
            } => {
                let mut parameters = vec![
                    ("initial_mean", *initial_mean),
                    ("initial_precision", *initial_precision),
                    ("transition", *transition),
                    ("innovation_precision", *innovation_precision),
                ];
                parameters.extend(offset.map(|node| ("offset", node)));
                parameters
            }
            Self::HalfNormal { sd } => vec![("sd", *sd)],
            Self::HalfCauchy { scale } => vec![("scale", *scale)],
            Self::HalfStudentT { degrees_of_freedom, scale } => {
                vec![("degrees_of_freedom", *degrees_of_freedom), ("scale", *scale)]
            }
            Self::Cauchy { location, scale }
            | Self::Laplace { location, scale }
            | Self::Logistic { location, scale } => {
                vec![("location", *location), ("scale", *scale)]
            }
            Self::LogNormal { mean, sd } => vec![("mean", *mean), ("sd", *sd)],
            Self::Uniform { lower, upper } => vec![("lower", *lower), ("upper", *upper)],
            Self::NegativeBinomial { mean, dispersion } => vec![("mean", *mean), ("dispersion", *dispersion)],
            Self::Flat => Vec::new(),
        }
    }
}
