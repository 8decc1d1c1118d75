//! Sections and their keys, and the functions of expressions.

use super::types::{KeyKind, Section, key};

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
        key(
            "file",
            KeyKind::Text,
            "A .csv or .tsv (also .gz), .npy, .npz or IDX file, relative to the model file. A first column without a name holds the names of the rows and is left out; a single number in an .npz is a constant.",
        ),
        key(
            "counts",
            KeyKind::Column,
            "A column that says how many times each row occurs. In sgvi each occurrence has latent values of its own, so that the counts must be whole where a row has any that are not summed out; its first occurrence is saved, and of a row that is counted zero times what it would have unobserved.",
        ),
        key(
            "standardize",
            KeyKind::Texts,
            "Columns (or blocks) to centre and divide by their population standard deviation; missing cells are skipped, and each row enters as often as `counts` says.",
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
        key(
            "point",
            KeyKind::Boolean,
            "A point estimate instead of a distribution; in cavi it may be a shape or concentration (gamma, inverse-gamma, beta, dirichlet).",
        ),
        key("ordered", KeyKind::Boolean, "The elements along the last axis increase (sgvi)."),
        key(
            "marginalized",
            KeyKind::Boolean,
            "Whether a discrete latent variable is summed out exactly (sgvi): when left out, wherever its values can be enumerated; false gives it categorical factors of its own, true refuses a model where it cannot be summed out, and sums a count without a bound as far as its posterior reaches.",
        ),
        key(
            "lower",
            KeyKind::Parameter,
            "Truncation from below of a continuous distribution of single numbers, where that is latent also by other latent variables (sgvi; in cavi `lower = 0.0` makes a `flat` point positive).",
        ),
        key(
            "upper",
            KeyKind::Parameter,
            "Truncation from above of a continuous distribution of single numbers, where that is latent also by other latent variables (sgvi).",
        ),
        key(
            "amortized",
            KeyKind::Parameter,
            "The factor is a network of the data, such as \"encoder(pixels)\" (sgvi), and of other amortised variables if need be: a normal, for positive numbers of their logarithm, within bounds of the scaled logit, for the shares of a `dirichlet` of log(share / last share); its covariance is `covariance = \"diagonal\"` or \"full\".",
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
            "[height, width] or [channels, height, width] of the image side, whose numbers lie in that order, channel by channel: makes the network convolutional.",
        ),
        key("channels", KeyKind::PositiveIntegers, "Channels of the convolutional layers."),
        key("kernel", KeyKind::Integer(1), "Side of the convolution's window."),
        key("stride", KeyKind::Integer(1), "Step of the convolution's window."),
        key(
            "padding",
            KeyKind::Integer(0),
            "Rows and columns of zeros around the image; (kernel − 1) / 2 where left out.",
        ),
    ],
};

/// Keys of `[inference]` that both engines read or that have a place of their own.
pub const INFERENCE: Section = Section {
    name: "inference",
    summary: "How to fit; every key may be left out, and command-line options override it.",
    keys: &[
        key("seed", KeyKind::Integer(0), "Seed of everything random."),
        key("max_iterations", KeyKind::Integer(1), "Largest number of iterations (sgvi: optimiser steps)."),
        key(
            "tolerance",
            KeyKind::NonNegativeNumber,
            "Stop when an iteration gains no more than tolerance × |ELBO|; `cavi` also asks that the gains to come, judged by how they shrink, add up to no more.",
        ),
        key("restarts", KeyKind::Integer(1), "Number of starts; the best ELBO is kept."),
        key(
            "initialization",
            KeyKind::OneOf(&["auto", "prior", "random", "kmeans++"]),
            "How the factors start: `auto` (cavi: each restart takes the best of several starts of gates, clusters and random weights, after short runs; large models one start a restart), `prior` (at the prior: categories that are alike there stay alike), `random` (random weights of gates), `kmeans++` (gates at the nearest of centres of the observations).",
        ),
        key("blocks", KeyKind::TextLists, "Variables that share one joint factor."),
        key(
            "schedule",
            KeyKind::OneOf(&["batch", "stochastic", "incremental"]),
            "Schedule over the rows (cavi). Stochastic steps give way to batch ascent once a pass of them moves the factors less far than one of its steps, or gains no more than their noise.",
        ),
        key(
            "batch_size",
            KeyKind::Integer(1),
            "Rows per step; left out, all rows, but 256 of more than 4096 where networks are trained by draws.",
        ),
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
            "Optimiser (sgvi). Without networks: dadvi, also called lbfgs (a search with fixed draws, what runs where neither an optimiser nor its settings are named), natural, adam, sgd, dowg. With networks: adam, adamw, sgd; left out, a bound in closed form (normals whose means are affine in amortised variables) is searched by its curvature, which needs no learning rate.",
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
        key(
            "checkpoint_every",
            KeyKind::Integer(1),
            "Steps after which the state is saved; left out, every half minute.",
        ),
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
        key("evaluation_draws", KeyKind::Integer(1), "Draws for the final ELBO (without networks at least 40 000)."),
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
