//! The `[inference]` section: how to fit, every key optional so that each engine chooses its own default.

use crate::check::{keys, kinds};
use crate::diagnostic::{Diagnostic, ModelError, SourceText};
use crate::registry::{INFERENCE, INFERENCE_OPTIONS, nearest};
use crate::spec::{Entry, Value, ValueKind, VariableSpec};

/// Keys of `[inference]`; `None` means left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inference {
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Largest number of iterations.
    pub max_iterations: Option<usize>,
    /// Stop when an iteration (`cavi`: and all to come, judged by how the gains shrink) gains no more than tolerance × |ELBO|.
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
pub enum Initialization {
    /// What tells the categories of gates apart, otherwise the prior.
    #[default]
    Auto,
    /// At the prior.
    Prior,
    /// At random weights.
    Random,
    /// At the nearest of centres by k-means++ (Arthur & Vassilvitskii 2007).
    KMeansPlusPlus,
}

/// Schedule of coordinate ascent over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// All rows, then the factors that they share.
    #[default]
    Batch,
    /// Steps of decreasing length towards what one batch of rows says (Hoffman et al. 2013).
    Stochastic,
    /// After each batch of rows its part of the sums is replaced (Neal & Hinton 1998).
    Incremental,
}

/// Gaussian families of stochastic-gradient variational inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VariationalFamily {
    /// A diagonal covariance.
    #[default]
    MeanField,
    /// Any covariance, by its Cholesky factor.
    FullRank,
    /// A diagonal plus a matrix of low rank.
    LowRank,
}

impl VariationalFamily {
    /// Its name in a model file.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanField => "mean-field",
            Self::FullRank => "full-rank",
            Self::LowRank => "low-rank",
        }
    }
}

/// Estimators of the ELBO's gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientEstimator {
    /// Through z = μ + Lε (Kingma & Welling 2014).
    #[default]
    Reparameterization,
    /// The same without the score of q, which vanishes at the optimum where q can be exact (Roeder, Wu & Duvenaud 2017).
    StickingTheLanding,
    /// (log p − log q) ∇ log q (Ranganath, Gerrish & Blei 2014).
    ScoreFunction,
}

/// Control variates of the score-function gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlVariate {
    /// Nothing is subtracted.
    None,
    /// From each draw the mean of the others (Mnih & Rezende 2016).
    #[default]
    LeaveOneOut,
    /// The multiple of the score that has the least variance.
    Optimal,
}

impl Inference {
    /// Reads the section; `blocks` may name only the given variables.
    pub(crate) fn from_entries(entries: &[Entry], variables: &[VariableSpec]) -> Result<Self, Vec<Diagnostic>> {
        let mut inference = Self::default();
        let mut mistakes = Vec::new();
        for entry in entries {
            if let Err(mistake) = inference.set(entry, "[inference]") {
                mistakes.push(mistake);
            }
            if entry.key == "blocks" {
                check_blocks(&entry.value, variables, &mut mistakes);
            }
        }
        if mistakes.is_empty() { Ok(inference) } else { Err(mistakes) }
    }

    /// Replaces keys by those of the command line, by their names in the model file.
    ///
    /// # Errors
    /// Unknown keys and values that the key does not take.
    pub fn apply_overrides<'o>(
        &mut self,
        overrides: impl IntoIterator<Item = (&'o str, toml::Value)>,
    ) -> Result<(), ModelError> {
        let mut diagnostics = Vec::new();
        for (key, value) in overrides {
            let entry = Entry { key: key.to_string(), key_span: 0..0, value: Value::from_toml(&value) };
            if let Err(mut mistake) = self.set(&entry, "the command line") {
                mistake.labels.clear();
                diagnostics.push(mistake);
            }
        }
        if diagnostics.is_empty() {
            return Ok(());
        }
        Err(ModelError { source: SourceText::default(), diagnostics })
    }

    /// Sets one key.
    fn set(&mut self, entry: &Entry, section: &str) -> Result<(), Diagnostic> {
        let Some(key) = INFERENCE.keys.iter().chain(INFERENCE_OPTIONS.keys).find(|k| k.name == entry.key) else {
            let names: Vec<&str> = INFERENCE.keys.iter().chain(INFERENCE_OPTIONS.keys).map(|k| k.name).collect();
            return Err(keys::unknown(entry, &names, section));
        };
        kinds::check(entry, key, section)?;
        let value = &entry.value;
        let integer = kinds::whole(value).and_then(|i| usize::try_from(i).ok());
        let number = value.number();
        let text = value.text().unwrap_or_default();
        match entry.key.as_str() {
            "seed" => self.seed = kinds::whole(value).and_then(|i| u64::try_from(i).ok()),
            "max_iterations" => self.max_iterations = integer,
            "tolerance" => self.tolerance = number,
            "restarts" => self.restarts = integer,
            "initialization" => {
                self.initialization = Some(match text {
                    "prior" => Initialization::Prior,
                    "random" => Initialization::Random,
                    "kmeans++" => Initialization::KMeansPlusPlus,
                    _ => Initialization::Auto,
                });
            }
            "blocks" => {
                self.blocks = value
                    .array()
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Value::texts)
                    .map(|names| names.into_iter().map(str::to_string).collect())
                    .collect();
            }
            "schedule" => {
                self.schedule = Some(match text {
                    "stochastic" => Schedule::Stochastic,
                    "incremental" => Schedule::Incremental,
                    _ => Schedule::Batch,
                });
            }
            "batch_size" => self.batch_size = integer,
            "step_delay" => self.step_delay = number,
            "step_forgetting" => {
                if let Some(forgetting) = number
                    && !(forgetting > 0.5 && forgetting <= 1.0)
                {
                    return Err(Diagnostic::new(
                        "step-forgetting",
                        format!("`step_forgetting` is {forgetting}, with which stochastic steps do not converge"),
                    )
                    .at(value.span.clone(), "must be in (0.5, 1]")
                    .help("0.7 is a good value (Hoffman et al. 2013)"));
                }
                self.step_forgetting = number;
            }
            "family" => {
                self.family = Some(match text {
                    "full-rank" => VariationalFamily::FullRank,
                    "low-rank" => VariationalFamily::LowRank,
                    _ => VariationalFamily::MeanField,
                });
            }
            "rank" => self.rank = integer,
            "gradient" => {
                self.gradient = Some(match text {
                    "sticking-the-landing" => GradientEstimator::StickingTheLanding,
                    "score-function" => GradientEstimator::ScoreFunction,
                    _ => GradientEstimator::Reparameterization,
                });
            }
            "control_variate" => {
                self.control_variate = Some(match text {
                    "none" => ControlVariate::None,
                    "optimal" => ControlVariate::Optimal,
                    _ => ControlVariate::LeaveOneOut,
                });
            }
            "draws" => self.draws = integer,
            "optimizer" => self.optimizer = Some(text.to_string()),
            "learning_rate" => self.learning_rate = number,
            _ => {
                self.options.insert(entry.key.clone(), value.to_toml());
            }
        }
        self.key_spans.insert(entry.key.clone(), value.span.clone());
        Ok(())
    }
}

fn check_blocks(value: &Value, variables: &[VariableSpec], mistakes: &mut Vec<Diagnostic>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in value.array().unwrap_or_default().iter().flat_map(|b| b.array().unwrap_or_default()) {
        let ValueKind::Text(name) = &item.kind else {
            continue;
        };
        let Some(variable) = variables.iter().find(|v| v.name == *name) else {
            let hint = nearest(name, variables.iter().map(|v| v.name.as_str()))
                .map(|n| format!(": did you mean `{n}`?"))
                .unwrap_or_default();
            mistakes.push(
                Diagnostic::new("unknown-variable", format!("`blocks` names `{name}`, which is no variable{hint}"))
                    .at(item.span.clone(), "no such variable"),
            );
            continue;
        };
        if variable.get("observed").is_some() {
            mistakes.push(
                Diagnostic::new(
                    "observed-in-block",
                    format!("`blocks` names `{name}`, which is observed and has no factor"),
                )
                .at(item.span.clone(), "observed"),
            );
        }
        if seen.contains(&name.as_str()) {
            mistakes.push(
                Diagnostic::new("variable-in-two-blocks", format!("`blocks` names `{name}` twice"))
                    .at(item.span.clone(), "again")
                    .help("a variable belongs to one factor"),
            );
        }
        seen.push(name);
    }
}
