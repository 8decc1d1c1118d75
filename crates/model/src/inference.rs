//! The `[inference]` section: how to fit, every key optional so that each engine chooses its own default.

/// Keys of `[inference]`; `None` means left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inference {
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Largest number of iterations.
    pub max_iterations: Option<usize>,
    /// Stop when an iteration gains no more than tolerance × |ELBO|.
    pub tolerance: Option<f64>,
    /// Number of starts; the best ELBO is kept.
    pub restarts: Option<usize>,
    /// `auto`, `prior`, `random` or `kmeans++`.
    pub initialization: Option<Initialization>,
    /// Names of variables that share one joint factor.
    pub blocks: Vec<Vec<String>>,
    /// cavi: schedule over the rows.
    pub schedule: Option<Schedule>,
    /// Rows per step.
    pub batch_size: Option<usize>,
    /// Delay of the stochastic step size (t + delay)^−forgetting.
    pub step_delay: Option<f64>,
    /// Forgetting rate of the stochastic step size.
    pub step_forgetting: Option<f64>,
    /// sgvi: variational family.
    pub family: Option<VariationalFamily>,
    /// Rank of the low-rank family.
    pub rank: Option<usize>,
    /// sgvi: gradient estimator.
    pub gradient: Option<GradientEstimator>,
    /// Control variate of the score-function gradient.
    pub control_variate: Option<ControlVariate>,
    /// Monte Carlo draws per step.
    pub draws: Option<usize>,
    /// Optimiser by name.
    pub optimizer: Option<String>,
    /// Learning rate.
    pub learning_rate: Option<f64>,
    /// Further keys that only sgvi reads, by name (checked against its list of known keys).
    pub options: std::collections::BTreeMap<String, toml::Value>,
    /// Where each key's value stands (bytes).
    pub key_spans: std::collections::BTreeMap<String, std::ops::Range<usize>>,
}

/// How the factors start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Initialization {
    #[default]
    Auto,
    Prior,
    Random,
    KMeansPlusPlus,
}

/// Schedule of coordinate ascent over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Schedule {
    #[default]
    Batch,
    Stochastic,
    Incremental,
}

/// Gaussian families of stochastic-gradient variational inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum VariationalFamily {
    #[default]
    MeanField,
    FullRank,
    LowRank,
}

/// Estimators of the ELBO's gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum GradientEstimator {
    #[default]
    Reparameterization,
    StickingTheLanding,
    ScoreFunction,
}

/// Control variates of the score-function gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ControlVariate {
    None,
    #[default]
    LeaveOneOut,
    Optimal,
}
