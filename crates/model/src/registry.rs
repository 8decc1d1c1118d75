//! The one table of everything the language knows: sections, keys, distributions, functions, options.

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// Text from a fixed list.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// An integer, at least the given one.
    Integer(i64),
    /// A finite number greater than 0.
    PositiveNumber,
    /// A finite number, 0 or greater.
    NonNegativeNumber,
    /// A number from 0 to 1, both included.
    UnitNumber,
    /// An array of strings.
    Texts,
    /// An array of positive integers.
    PositiveIntegers,
    /// An array of arrays of strings.
    TextLists,
    /// A number, an array of numbers, or an expression in a string.
    Parameter,
    /// A number or an array of numbers, or the name of a constant.
    Numbers,
    /// The name of a column.
    Column,
    /// An integer, or the name of a plate or block.
    Axis,
    /// A column, a block, a list of columns, or an expression of data only.
    Observed,
    /// A table whose keys are names chosen by the user.
    Names,
}

/// A key with what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As written in the model file.
    pub name: &'static str,
    /// What its value may be.
    pub kind: KeyKind,
    /// One sentence.
    pub summary: &'static str,
}

/// A section with fixed keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// As written: `data`, `inference`, `networks.NAME`, …
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Where the values of a parameter must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Finite numbers.
    Real,
    /// Numbers greater than 0; as a matrix, a symmetric positive definite one.
    Positive,
    /// Numbers from 0 to 1.
    Unit,
    /// Numbers, 0 or greater, that sum to 1 along the last axis.
    Simplex,
    /// Whole numbers, 0 or greater.
    Count,
    /// Numbers greater than (dimension − 1).
    DegreesOfFreedom,
    /// No numbers: a name.
    Name,
}

/// A parameter of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// The key.
    pub name: &'static str,
    /// Where its values must lie.
    pub domain: Domain,
    /// One sentence.
    pub summary: &'static str,
}

/// Whether a distribution has the key `dimension`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DimensionRule {
    /// Its value is a number.
    Never,
    /// A number without, a vector with it.
    Optional,
    /// Its value is a vector or matrix.
    Required,
    /// It names the axis that an index ranges over, where the probabilities do not tell.
    Range,
}

/// The values that a variable can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Support {
    Real,
    Positive,
    Unit,
    Interval,
    Simplex,
    PositiveDefinite,
    Binary,
    Count,
    Index,
    Counts,
    Pair,
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DistributionEntry {
    /// As written in `distribution = "…"`.
    pub name: &'static str,
    /// What a draw is, in words.
    pub value: &'static str,
    /// Where its values lie.
    pub support: Support,
    /// All its parameters.
    pub parameters: &'static [Parameter],
    /// Its parametrisations; each is a list of groups, of which exactly one parameter each is written.
    pub forms: &'static [&'static [&'static [&'static str]]],
    /// Parameters that may be left out.
    pub optional: &'static [&'static str],
    /// Whether it takes `dimension`.
    pub dimension: DimensionRule,
    /// Whether it takes `lower` and `upper` as truncation.
    pub truncatable: bool,
    /// Whether only `sgvi` treats it.
    pub sgvi_only: bool,
}

const fn key(name: &'static str, kind: KeyKind, summary: &'static str) -> Key {
    Key { name, kind, summary }
}

const fn parameter(name: &'static str, domain: Domain, summary: &'static str) -> Parameter {
    Parameter { name, domain, summary }
}

/// The top level of a model file.
pub const TOP: Section = Section {
    name: "",
    summary: "One file is one problem: its data, its plates, its variables, and how to infer them.",
    keys: &[
        key("title", KeyKind::Text, "A line that says what the model is."),
        key("description", KeyKind::Text, "More about it."),
        key("data", KeyKind::Names, "Where the numbers come from."),
        key("plates", KeyKind::Names, "Axes along which variables are replicated."),
        key("variables", KeyKind::Names, "The random variables."),
        key(
            "expressions",
            KeyKind::Names,
            "Named deterministic expressions, usable in variables and later expressions, reported with the posterior.",
        ),
        key("networks", KeyKind::Names, "Neural networks used as functions in expressions (sgvi)."),
        key("inference", KeyKind::Names, "How to fit."),
    ],
};

/// `[data]`.
pub const DATA: Section = Section {
    name: "data",
    summary: "Where the numbers come from; every column header is a name.",
    keys: &[
        key("file", KeyKind::Text, "A .csv, .tsv or .npy file, relative to the model file."),
        key("counts", KeyKind::Column, "A column that says how many times each row occurs."),
        key(
            "standardize",
            KeyKind::Texts,
            "Columns (or blocks) to centre and divide by their population standard deviation; missing cells are skipped.",
        ),
        key(
            "blocks",
            KeyKind::Names,
            "Several columns under one name: a list of headers, or a pattern in which * stands for any text.",
        ),
        key(
            "values",
            KeyKind::Names,
            "Data written inline: arrays of equal length are columns, nested arrays are blocks, scalars are constants, { axes, values } are constant arrays.",
        ),
    ],
};

/// `NAME = { axes = […], values = […] }` in `[data.values]`.
pub const CONSTANT: Section = Section {
    name: "data.values.NAME",
    summary: "A constant array with named axes.",
    keys: &[
        key("axes", KeyKind::Texts, "Plates or blocks, outermost first."),
        key("values", KeyKind::Numbers, "Nested arrays of numbers."),
    ],
};

/// A plate written as a table.
pub const PLATE: Section = Section {
    name: "plates.NAME",
    summary: "\"rows\" (one element per data row), an integer, or a table with one of these keys.",
    keys: &[
        key(
            "levels",
            KeyKind::Column,
            "One element per distinct value of a column, in order of first appearance; of several columns in a list: per distinct value of any.",
        ),
        key("columns", KeyKind::Text, "One element per column of a block: names that block's axis."),
    ],
};

/// Keys that every variable has.
pub const VARIABLE: Section = Section {
    name: "variables.NAME",
    summary: "A random variable: the keys below and the parameters of its distribution.",
    keys: &[
        key("distribution", KeyKind::Text, "One of the distributions below."),
        key("plates", KeyKind::Texts, "Axes along which it is replicated; none when left out."),
        key(
            "dimension",
            KeyKind::Axis,
            "The axis inside a vector- or matrix-valued variable: an integer, a plate's name or a block's name.",
        ),
        key(
            "observed",
            KeyKind::Observed,
            "Its observed values: a column, a block, a list of columns, or an expression of data only.",
        ),
        key("initial", KeyKind::Numbers, "Starting value of the posterior mean."),
        key("point", KeyKind::Boolean, "A point estimate instead of a distribution."),
        key("ordered", KeyKind::Boolean, "The elements along the last axis increase (sgvi)."),
        key("lower", KeyKind::Parameter, "Truncation from below of a scalar real distribution (sgvi)."),
        key("upper", KeyKind::Parameter, "Truncation from above of a scalar real distribution (sgvi)."),
        key(
            "amortized",
            KeyKind::Parameter,
            "The factor is a network of the data, such as \"encoder(pixels)\" (sgvi); its covariance is `covariance = \"diagonal\"` or \"full\".",
        ),
    ],
};

/// Activations between the layers of a network.
pub const ACTIVATIONS: &[&str] = &["relu", "tanh", "gelu", "silu", "softplus", "elu", "logistic"];

/// `[networks.NAME]`.
pub const NETWORK: Section = Section {
    name: "networks.NAME",
    summary: "A neural network; its input and output widths follow from where it is used.",
    keys: &[
        key("layers", KeyKind::PositiveIntegers, "Widths of the hidden layers."),
        key("activation", KeyKind::OneOf(ACTIVATIONS), "The function between layers; relu when left out."),
        key("linear", KeyKind::Boolean, "No hidden layer and no activation."),
        key("layer_norm", KeyKind::Boolean, "Normalise the inputs of each activation."),
        key("dropout", KeyKind::UnitNumber, "Fraction of hidden units dropped in training."),
        key(
            "image",
            KeyKind::PositiveIntegers,
            "[height, width] or [channels, height, width] of the image side: makes the network convolutional.",
        ),
        key("channels", KeyKind::PositiveIntegers, "Channels of the convolutional layers."),
        key("kernel", KeyKind::Integer(1), "Side of the convolution's window."),
        key("stride", KeyKind::Integer(1), "Step of the convolution's window."),
        key("padding", KeyKind::Integer(0), "Rows and columns of zeros around the image."),
    ],
};

/// Keys of `[inference]` that both engines read or that have a place of their own.
pub const INFERENCE: Section = Section {
    name: "inference",
    summary: "How to fit; every key may be left out, and command-line options override it.",
    keys: &[
        key("seed", KeyKind::Integer(0), "Seed of everything random."),
        key("max_iterations", KeyKind::Integer(1), "Largest number of iterations (sgvi: optimiser steps)."),
        key("tolerance", KeyKind::NonNegativeNumber, "Stop when an iteration gains no more than tolerance × |ELBO|."),
        key("restarts", KeyKind::Integer(1), "Number of starts; the best ELBO is kept."),
        key("initialization", KeyKind::OneOf(&["auto", "prior", "random", "kmeans++"]), "How the factors start."),
        key("blocks", KeyKind::TextLists, "Variables that share one joint factor."),
        key("schedule", KeyKind::OneOf(&["batch", "stochastic", "incremental"]), "Schedule over the rows (cavi)."),
        key("batch_size", KeyKind::Integer(1), "Rows per step."),
        key("step_delay", KeyKind::NonNegativeNumber, "Delay of the stochastic step (t + delay)^−forgetting."),
        key("step_forgetting", KeyKind::PositiveNumber, "Forgetting rate of the stochastic step, in (0.5, 1]."),
        key("family", KeyKind::OneOf(&["mean-field", "full-rank", "low-rank"]), "Variational family (sgvi)."),
        key("rank", KeyKind::Integer(1), "Rank of the low-rank family."),
        key(
            "gradient",
            KeyKind::OneOf(&["reparameterization", "sticking-the-landing", "score-function"]),
            "Gradient estimator (sgvi).",
        ),
        key(
            "control_variate",
            KeyKind::OneOf(&["none", "leave-one-out", "optimal"]),
            "Control variate of the score-function gradient.",
        ),
        key("draws", KeyKind::Integer(1), "Monte Carlo draws per step (sgvi)."),
        key(
            "optimizer",
            KeyKind::OneOf(&["adam", "adamw", "sgd", "dowg", "natural", "lbfgs", "dadvi"]),
            "Optimiser (sgvi).",
        ),
        key("learning_rate", KeyKind::PositiveNumber, "Learning rate (sgvi)."),
    ],
};

/// Further keys of `[inference]`, which only sgvi reads.
pub const INFERENCE_OPTIONS: Section = Section {
    name: "inference",
    summary: "Read by sgvi alone.",
    keys: &[
        key(
            "beta",
            KeyKind::NonNegativeNumber,
            "Weight of the Kullback–Leibler term at the end of training; 1 is the ELBO.",
        ),
        key(
            "beta_warmup",
            KeyKind::Integer(0),
            "Steps over which the weight of the Kullback–Leibler term rises from 0.",
        ),
        key("importance_samples", KeyKind::Integer(1), "Samples of the importance-weighted bound in training."),
        key("held_out", KeyKind::UnitNumber, "Fraction of rows held out for early stopping."),
        key("patience", KeyKind::Integer(1), "Evaluations without gain on the held-out rows before stopping."),
        key("clip", KeyKind::PositiveNumber, "Largest norm of a gradient."),
        key("weight_decay", KeyKind::NonNegativeNumber, "Weight decay of the networks (adamw)."),
        key("momentum", KeyKind::UnitNumber, "Momentum of sgd."),
        key(
            "schedule_learning_rate",
            KeyKind::OneOf(&["constant", "cosine", "inverse-sqrt", "step"]),
            "How the learning rate falls.",
        ),
        key("checkpoint_every", KeyKind::Integer(1), "Steps between checkpoints."),
        key(
            "decoder_sd",
            KeyKind::OneOf(&["learned", "optimal"]),
            "A learned decoder sd by gradient, or set to its closed-form optimum.",
        ),
        key(
            "kl",
            KeyKind::OneOf(&["analytic", "monte-carlo"]),
            "The Kullback–Leibler term in closed form or by draws.",
        ),
        key("window", KeyKind::Integer(2), "Steps over which the ELBO is averaged for the stop rule."),
        key("evaluation_draws", KeyKind::Integer(1), "Draws for the final ELBO."),
    ],
};

/// Elementwise functions of expressions.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("exp", "eˣ"),
    ("log", "natural logarithm"),
    ("sqrt", "square root"),
    ("square", "x²"),
    ("logistic", "1/(1 + e⁻ˣ)"),
    ("softplus", "log(1 + eˣ)"),
    ("dot", "dot(a, b) sums a·b over the dimension that both have"),
];

const MEAN: Parameter = parameter("mean", Domain::Real, "Mean.");
const DOF: Parameter = parameter("degrees_of_freedom", Domain::Positive, "Degrees of freedom.");
const WISHART_DOF: Parameter =
    parameter("degrees_of_freedom", Domain::DegreesOfFreedom, "Degrees of freedom ν, greater than dimension − 1.");
const LOCATION: Parameter = parameter("location", Domain::Real, "Centre.");
const SCALE: Parameter = parameter("scale", Domain::Positive, "Scale.");
const SHAPE: Parameter = parameter("shape", Domain::Positive, "Shape.");
const RATE: Parameter = parameter("rate", Domain::Positive, "Rate.");
const WISHART_SCALE: Parameter = parameter("scale", Domain::Positive, "Scale matrix W, E[Λ] = ν·W.");
const WISHART_INVERSE: Parameter = parameter("inverse_scale", Domain::Positive, "W⁻¹.");
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
            parameter("covariance", Domain::Positive, "Covariance matrix."),
            parameter(
                "parameters",
                Domain::Name,
                "A joint variable that holds mean and precision, possibly gated: \"g[z]\".",
            ),
        ],
        forms: &[&[&["mean"], &["precision", "variance", "sd", "covariance"]], &[&["parameters"]]],
        dimension: DimensionRule::Optional,
        truncatable: true,
        ..BASE
    },
    DistributionEntry {
        name: "normal-gamma",
        value: "pair (mean, precision): τ ~ Gamma(shape, rate), μ ~ N(mean, 1/(mean_precision·τ))",
        support: Support::Pair,
        parameters: &[MEAN, MEAN_PRECISION, SHAPE, RATE],
        forms: &[&[&["mean"], &["mean_precision"], &["shape"], &["rate"]]],
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
        ..BASE
    },
    DistributionEntry {
        name: "inverse-gamma",
        value: "positive",
        support: Support::Positive,
        parameters: &[SHAPE, SCALE],
        forms: &[&[&["shape"], &["scale"]]],
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
            parameter("sequence", Domain::Name, "A column whose change starts a new chain."),
        ],
        forms: &[&[&["initial_mean"], &["initial_precision"], &["transition"], &["innovation_precision"]]],
        optional: &["sequence"],
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
        ..BASE
    },
    DistributionEntry {
        name: "half-cauchy",
        value: "positive",
        support: Support::Positive,
        parameters: &[SCALE],
        forms: &[&[&["scale"]]],
        sgvi_only: true,
        ..BASE
    },
    DistributionEntry {
        name: "half-student-t",
        value: "positive",
        support: Support::Positive,
        parameters: &[DOF, SCALE],
        forms: &[&[&["degrees_of_freedom"], &["scale"]]],
        sgvi_only: true,
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
        sgvi_only: true,
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
        value: "real, with an improper constant density",
        truncatable: true,
        sgvi_only: true,
        ..BASE
    },
];

/// The distribution of that name.
pub fn distribution(name: &str) -> Option<&'static DistributionEntry> {
    DISTRIBUTIONS.iter().find(|d| d.name == name)
}

impl DistributionEntry {
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }
}

/// The member of `known` that is nearest to `written` by edit distance, if any is near.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (written.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|k| (edit_distance(&written.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= limit && *distance < k.chars().count().max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Number of insertions, deletions, substitutions and swaps of neighbours between two words
/// (optimal string alignment distance; Damerau 1964).
pub fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for (j, cell) in table.iter_mut().take(width).enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        table[i * width] = i;
        for j in 1..=b.len() {
            let substitution = table[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(table[(i - 1) * width + j] + 1).min(table[i * width + j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[(i - 2) * width + j - 2] + 1);
            }
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances_of_known_pairs() {
        for (a, b, d) in [
            ("precison", "precision", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("", "abc", 3),
            ("mena", "mean", 1),
        ] {
            assert_eq!(edit_distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn nearest_is_silent_when_nothing_is_near() {
        assert_eq!(nearest("precison", ["mean", "precision", "sd"]), Some("precision"));
        assert_eq!(nearest("zebra", ["mean", "precision", "sd"]), None);
    }

    #[test]
    fn every_form_names_known_parameters() {
        for d in DISTRIBUTIONS {
            for name in d.forms.iter().flat_map(|f| f.iter()).flat_map(|g| g.iter()).chain(d.optional) {
                assert!(d.parameter(name).is_some(), "{} lacks {name}", d.name);
            }
        }
    }
}
