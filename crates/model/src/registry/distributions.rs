//! All distributions with their parameters.

use super::types::{DimensionRule, DistributionEntry, Domain, Parameter, Support, parameter};

const MEAN: Parameter = parameter("mean", Domain::Real, "Mean.");
const DOF: Parameter = parameter("degrees_of_freedom", Domain::Positive, "Degrees of freedom.");
const WISHART_DOF: Parameter =
    parameter("degrees_of_freedom", Domain::DegreesOfFreedom, "Degrees of freedom ν, greater than dimension − 1.");
const LOCATION: Parameter = parameter("location", Domain::Real, "Centre.");
const SCALE: Parameter = parameter("scale", Domain::Positive, "Scale.");
const SHAPE: Parameter = parameter("shape", Domain::Positive, "Shape.");
const RATE: Parameter = parameter("rate", Domain::Positive, "Rate.");
const WISHART_SCALE: Parameter = parameter("scale", Domain::PositiveDefinite, "Scale matrix W, E[Λ] = ν·W.");
const WISHART_INVERSE: Parameter = parameter("inverse_scale", Domain::PositiveDefinite, "W⁻¹.");
const MEAN_PRECISION: Parameter =
    parameter("mean_precision", Domain::Positive, "How many observations the prior mean is worth.");
const PROBABILITY: Parameter = parameter("probability", Domain::Unit, "Probability.");
const LOGIT: Parameter = parameter("logit", Domain::Real, "Log odds.");

const BASE: DistributionEntry = DistributionEntry {
    name: "",
    value: "real",
    support: Support::Real,
    parameters: &[],
    forms: &[&[]],
    optional: &[],
    dimension: DimensionRule::Never,
    truncatable: false,
    sgvi_only: false,
};

/// All distributions, in the order of the reference.
pub const DISTRIBUTIONS: &[DistributionEntry] = &[
    DistributionEntry {
        name: "normal",
        value: "real, or a vector with `dimension`",
        parameters: &[
            MEAN,
            parameter("precision", Domain::Positive, "Precision 1/σ²; one number, one per coordinate, or a matrix."),
            parameter("variance", Domain::Positive, "Variance σ²; one number or one per coordinate."),
            parameter("sd", Domain::Positive, "Standard deviation σ; one number or one per coordinate."),
            parameter(
                "covariance",
                Domain::PositiveDefinite,
                "Covariance matrix; as one number or one per coordinate, the variance.",
            ),
            parameter(
                "parameters",
                Domain::Name,
                "A joint variable that holds mean and precision, possibly gated: \"g[z]\"; of a normal-gamma variable also an \
                 expression linear in its location, \"dot(w, x) + offset\", which is the mean, with the variable's precision.",
            ),
        ],
        forms: &[&[&["mean"], &["precision", "variance", "sd", "covariance"]], &[&["parameters"]]],
        dimension: DimensionRule::Optional,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "normal-gamma",
        value: "pair (mean, precision), the mean a vector with `dimension`: τ ~ Gamma(shape, rate), \
                μ ~ N(mean, (mean_precision·τ)⁻¹)",
        support: Support::Pair,
        parameters: &[
            MEAN,
            parameter(
                "mean_precision",
                Domain::Positive,
                "How many observations the prior mean is worth; of a vector one number, one per coordinate, or a matrix.",
            ),
            SHAPE,
            RATE,
        ],
        forms: &[&[&["mean"], &["mean_precision"], &["shape"], &["rate"]]],
        dimension: DimensionRule::Optional,
        ..BASE
    },
    DistributionEntry {
        name: "normal-wishart",
        value: "pair (mean vector, precision matrix): Λ ~ W(scale, ν), μ ~ N(mean, (mean_precision·Λ)⁻¹)",
        support: Support::Pair,
        parameters: &[MEAN, MEAN_PRECISION, WISHART_DOF, WISHART_SCALE, WISHART_INVERSE],
        forms: &[&[&["mean"], &["mean_precision"], &["degrees_of_freedom"], &["scale", "inverse_scale"]]],
        dimension: DimensionRule::Required,
        ..BASE
    },
    DistributionEntry {
        name: "gamma",
        value: "positive",
        support: Support::Positive,
        parameters: &[SHAPE, RATE, parameter("scale", Domain::Positive, "Scale, 1/rate.")],
        forms: &[&[&["shape"], &["rate", "scale"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "inverse-gamma",
        value: "positive",
        support: Support::Positive,
        parameters: &[SHAPE, SCALE],
        forms: &[&[&["shape"], &["scale"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "wishart",
        value: "positive definite matrix",
        support: Support::PositiveDefinite,
        parameters: &[WISHART_DOF, WISHART_SCALE, WISHART_INVERSE],
        forms: &[&[&["degrees_of_freedom"], &["scale", "inverse_scale"]]],
        dimension: DimensionRule::Required,
        ..BASE
    },
    DistributionEntry {
        name: "beta",
        value: "(0, 1)",
        support: Support::Unit,
        parameters: &[
            parameter("alpha", Domain::Positive, "Weight of 1."),
            parameter("beta", Domain::Positive, "Weight of 0."),
        ],
        forms: &[&[&["alpha"], &["beta"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "dirichlet",
        value: "simplex over `dimension`",
        support: Support::Simplex,
        parameters: &[parameter("concentration", Domain::Positive, "One number for every element, or an array.")],
        forms: &[&[&["concentration"]]],
        dimension: DimensionRule::Required,
        ..BASE
    },
    DistributionEntry {
        name: "stick-breaking",
        value: "simplex over `dimension`, a truncated Dirichlet process",
        support: Support::Simplex,
        parameters: &[parameter("concentration", Domain::Positive, "A number or a `gamma` variable.")],
        forms: &[&[&["concentration"]]],
        dimension: DimensionRule::Required,
        ..BASE
    },
    DistributionEntry {
        name: "bernoulli",
        value: "0 or 1",
        support: Support::Binary,
        parameters: &[PROBABILITY, LOGIT, parameter("probit", Domain::Real, "The normal quantile of the probability.")],
        forms: &[&[&["probability", "logit", "probit"]]],
        ..BASE
    },
    DistributionEntry {
        name: "binomial",
        value: "count",
        support: Support::Count,
        parameters: &[parameter("trials", Domain::Count, "Number of trials."), PROBABILITY, LOGIT],
        forms: &[&[&["trials"], &["probability", "logit"]]],
        ..BASE
    },
    DistributionEntry {
        name: "categorical",
        value: "an index into a plate",
        support: Support::Index,
        parameters: &[
            parameter(
                "probabilities",
                Domain::Simplex,
                "Probabilities, a variable or a constant with the axis that the index ranges over.",
            ),
            parameter("logits", Domain::Real, "Log probabilities up to a constant (sgvi)."),
        ],
        forms: &[&[&["probabilities", "logits"]]],
        dimension: DimensionRule::Range,
        ..BASE
    },
    DistributionEntry {
        name: "multinomial",
        value: "counts over a block",
        support: Support::Counts,
        parameters: &[parameter("probabilities", Domain::Simplex, "Probabilities, with the axis of the counts.")],
        forms: &[&[&["probabilities"]]],
        dimension: DimensionRule::Range,
        ..BASE
    },
    DistributionEntry {
        name: "poisson",
        value: "count",
        support: Support::Count,
        parameters: &[RATE, parameter("log_rate", Domain::Real, "Logarithm of the rate (sgvi).")],
        forms: &[&[&["rate", "log_rate"]]],
        ..BASE
    },
    DistributionEntry {
        name: "exponential",
        value: "positive",
        support: Support::Positive,
        parameters: &[RATE],
        forms: &[&[&["rate"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "student-t",
        value: "real",
        parameters: &[
            DOF,
            MEAN,
            parameter("precision", Domain::Positive, "1/scale²."),
            parameter("sd", Domain::Positive, "Scale."),
        ],
        forms: &[&[&["degrees_of_freedom"], &["mean"], &["precision", "sd"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "markov-chain",
        value: "an index into a plate, along the rows",
        support: Support::Index,
        parameters: &[
            parameter("initial", Domain::Simplex, "Probabilities of the state in the first row."),
            parameter("transition", Domain::Simplex, "One row of probabilities per state left: [from][to]."),
            parameter("sequence", Domain::Name, "A column whose change starts a new chain."),
        ],
        forms: &[&[&["initial"], &["transition"]]],
        optional: &["sequence"],
        dimension: DimensionRule::Range,
        ..BASE
    },
    DistributionEntry {
        name: "gaussian-markov-chain",
        value: "vector, along the rows",
        parameters: &[
            parameter("initial_mean", Domain::Real, "Mean of the state in the first row."),
            parameter(
                "initial_precision",
                Domain::Positive,
                "Its precision; one number, one per coordinate, or a matrix.",
            ),
            parameter("transition", Domain::Real, "One row of coefficients per new coordinate: [to][from]."),
            parameter(
                "innovation_precision",
                Domain::Positive,
                "Precision of a step; one number, one per coordinate, or a matrix.",
            ),
            parameter("offset", Domain::Real, "Added to the mean of every state that follows another: inputs, drift."),
            parameter("sequence", Domain::Name, "A column whose change starts a new chain."),
        ],
        forms: &[&[&["initial_mean"], &["initial_precision"], &["transition"], &["innovation_precision"]]],
        optional: &["offset", "sequence"],
        dimension: DimensionRule::Required,
        ..BASE
    },
    DistributionEntry {
        name: "half-normal",
        value: "positive",
        support: Support::Positive,
        parameters: &[parameter("sd", Domain::Positive, "Standard deviation of the whole normal.")],
        forms: &[&[&["sd"]]],
        sgvi_only: true,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "half-cauchy",
        value: "positive",
        support: Support::Positive,
        parameters: &[SCALE],
        forms: &[&[&["scale"]]],
        sgvi_only: true,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "half-student-t",
        value: "positive",
        support: Support::Positive,
        parameters: &[DOF, SCALE],
        forms: &[&[&["degrees_of_freedom"], &["scale"]]],
        sgvi_only: true,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "cauchy",
        parameters: &[LOCATION, SCALE],
        forms: &[&[&["location"], &["scale"]]],
        truncatable: true,
        sgvi_only: true,
        ..BASE
    },
    DistributionEntry {
        name: "laplace",
        parameters: &[LOCATION, SCALE],
        forms: &[&[&["location"], &["scale"]]],
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "log-normal",
        value: "positive",
        support: Support::Positive,
        parameters: &[
            parameter("mean", Domain::Real, "Mean of the logarithm."),
            parameter("sd", Domain::Positive, "Standard deviation of the logarithm."),
        ],
        forms: &[&[&["mean"], &["sd"]]],
        sgvi_only: true,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "logistic",
        parameters: &[LOCATION, SCALE],
        forms: &[&[&["location"], &["scale"]]],
        truncatable: true,
        sgvi_only: true,
        ..BASE
    },
    DistributionEntry {
        name: "uniform",
        value: "between `lower` and `upper`",
        support: Support::Interval,
        parameters: &[
            parameter("lower", Domain::Real, "Smallest value."),
            parameter("upper", Domain::Real, "Largest value."),
        ],
        forms: &[&[&["lower"], &["upper"]]],
        sgvi_only: true,
        ..BASE
    },
    DistributionEntry {
        name: "negative-binomial",
        value: "count, with variance mean + dispersion·mean²",
        support: Support::Count,
        parameters: &[
            parameter("mean", Domain::Positive, "Mean."),
            parameter("dispersion", Domain::Positive, "Excess of the variance over the mean, per mean²."),
        ],
        forms: &[&[&["mean"], &["dispersion"]]],
        sgvi_only: true,
        ..BASE
    },
    DistributionEntry {
        name: "flat",
        value: "real, with an improper constant density (cavi: a `point` alone)",
        truncatable: true,
        ..BASE
    },
];

/// The distribution of that name.
pub fn distribution(name: &str) -> Option<&'static DistributionEntry> {
    DISTRIBUTIONS.iter().find(|d| d.name == name)
}

impl DistributionEntry {
    /// Whether its variables may have amortised factors: those of single numbers or vectors on the whole line or a part of it, and shares.
    pub fn is_amortizable(&self) -> bool {
        let line = matches!(self.support, Support::Real | Support::Positive | Support::Unit | Support::Interval);
        line && !matches!(self.name, "gaussian-markov-chain" | "flat") || self.name == "dirichlet"
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_known_parameters() {
        for d in DISTRIBUTIONS {
            for name in d.forms.iter().flat_map(|f| f.iter()).flat_map(|g| g.iter()).chain(d.optional) {
                assert!(d.parameter(name).is_some(), "{} lacks {name}", d.name);
            }
        }
    }
}
