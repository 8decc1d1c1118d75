//! How stochastic steps are asked for: the keys of `[inference]` that models without networks read.

use vi_model::inference::{ControlVariate, GradientEstimator, Inference, Initialization, Schedule};
use vi_run::record::Record;

use super::estimator::Estimator;
use super::search::SearchSettings;
use crate::error::SgviError;

/// How steps are made of gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// Natural gradients at the whitened origin, with decreasing steps and averaging: free of a learning rate.
    Natural,
    /// Plain gradients with a learning rate that falls as t^−0.6 where no schedule is named.
    Sgd {
        /// The first step.
        rate: f64,
        /// The share of the last step that is made again.
        momentum: f64,
    },
    /// Adam (Kingma & Ba 2015), its rate falling as t^−½ over the second half where no schedule is named.
    Adam {
        /// The rate.
        rate: f64,
    },
    /// DoWG (Khaled, Mishchenko & Jin 2023): distance over weighted gradients.
    Dowg,
}

/// How a learning rate falls, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fall {
    /// Not at all.
    Constant,
    /// Half a cosine over all steps, to a hundredth.
    Cosine,
    /// 1 / √(1 + step / (a tenth of all steps))
    InverseRoot,
    /// A third after every third of the steps.
    Step,
}

impl Fall {
    /// The share of the first learning rate at step `t` (from 0) of `steps`.
    pub(crate) fn share(self, t: f64, steps: usize) -> f64 {
        let done = t / steps.max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Self::InverseRoot => 1.0 / (1.0 + 10.0 * done).sqrt(),
            Self::Step => (1.0f64 / 3.0).powf((3.0 * done).floor()),
        }
    }
}

/// Settings of the stochastic steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StochasticSettings {
    /// Family, seed and tolerance.
    pub search: SearchSettings,
    /// The gradient's estimator.
    pub estimator: Estimator,
    /// Draws for each step.
    pub draws: usize,
    /// How steps are made.
    pub rule: Rule,
    /// How the learning rate falls; `None` is the rule's own way.
    pub fall: Option<Fall>,
    /// Largest norm of a gradient, in units of the posterior's spread.
    pub clip: Option<f64>,
    /// Rows for each step; `None` takes all.
    pub batch_size: Option<usize>,
    /// Steps over which the ELBO is averaged for the stop rule.
    pub window: usize,
    /// Steps at most, by which the least number of steps is bounded.
    pub max_iterations: usize,
}

/// Steps over which the ELBO is averaged where the model file does not say.
const WINDOW: usize = 100;

/// Keys that say how networks are trained.
const OF_NETWORKS: [&str; 8] =
    ["beta", "beta_warmup", "importance_samples", "held_out", "patience", "weight_decay", "decoder_sd", "kl"];
/// Keys that say how stochastic steps are made.
const OF_STEPS: [&str; 4] = ["momentum", "clip", "schedule_learning_rate", "window"];

/// `checkpoint_every`: steps after which the state of the run is saved, however little time has passed.
pub(crate) fn checkpoint_steps(inference: &Inference) -> Option<usize> {
    usize::try_from(inference.options.get("checkpoint_every")?.as_integer()?).ok()
}

/// Names the keys of coordinate ascent that the run passed over.
pub(crate) fn advise_of_unread(inference: &Inference, record: &mut Record) {
    let given = [
        ("schedule", inference.schedule.is_some_and(|s| s != Schedule::Batch)),
        ("step_delay", inference.step_delay.is_some()),
        ("step_forgetting", inference.step_forgetting.is_some()),
    ];
    let names: Vec<String> = given.iter().filter(|g| g.1).map(|g| format!("`{}`", g.0)).collect();
    if !names.is_empty() {
        record.advise(format!(
            "{} of [inference] say how `cavi` steps and were passed over; here `batch_size` and `optimizer` say it",
            names.join(", ")
        ));
    }
    if inference.initialization == Some(Initialization::KMeansPlusPlus) {
        record.advise(
            "`initialization = \"kmeans++\"` places the gates of `cavi` and was passed over; here gates are summed out, and the search \
             starts as with `auto`: give elements `initial` values where it should start elsewhere",
        );
    }
}

/// Whether an optimiser's name is one of the search with fixed draws, which is also what runs where none is named.
pub(crate) fn has_fixed_draws(inference: &Inference) -> bool {
    inference.optimizer.as_deref().is_some_and(|name| ["dadvi", "lbfgs"].contains(&name.to_ascii_lowercase().as_str()))
}

/// Whether the model file asks for stochastic steps, and for which; they are needed where values of discrete variables must be
/// drawn (`is_relaxed`).
///
/// # Errors
/// An optimiser of another name, and keys that have no meaning for what is asked.
pub(crate) fn settings(
    inference: &Inference,
    search: SearchSettings,
    max_iterations: usize,
    is_relaxed: bool,
) -> Result<Option<StochasticSettings>, SgviError> {
    let refuse = |key: &str, reason: String, help: &str| SgviError::Unsupported {
        variable: key.to_owned(),
        reason,
        help: help.to_owned(),
        span: inference.key_spans.get(key).cloned().unwrap_or(0..0),
    };
    if let Some(key) = OF_NETWORKS.into_iter().find(|key| inference.options.contains_key(*key)) {
        let help = "leave it out, or give the model a network";
        return Err(refuse(key, "it says how networks are trained, and this model has none".to_owned(), help));
    }
    let other_gradient = inference.gradient.is_some_and(|g| g != GradientEstimator::Reparameterization);
    let number =
        |key: &str| inference.options.get(key).and_then(|v| v.as_float().or_else(|| v.as_integer().map(|i| i as f64)));
    if has_fixed_draws(inference) {
        let steps = "name adam, sgd, dowg or natural, which take stochastic steps";
        let asked = [
            ("batch_size", inference.batch_size.is_some()),
            ("gradient", other_gradient),
            ("learning_rate", inference.learning_rate.is_some()),
            ("optimizer", is_relaxed),
        ];
        let unread = OF_STEPS.map(|key| (key, inference.options.contains_key(key)));
        if let Some((key, _)) = asked.into_iter().chain(unread).find(|(_, given)| *given) {
            let reason = "the search with fixed draws takes no stochastic steps".to_owned();
            return Err(refuse(key, reason, steps));
        }
        return Ok(None);
    }
    let asked = is_relaxed
        || inference.draws.is_some()
        || inference.optimizer.is_some()
        || inference.learning_rate.is_some()
        || inference.batch_size.is_some()
        || OF_STEPS.iter().any(|key| inference.options.contains_key(*key))
        || other_gradient;
    if !asked {
        return Ok(None);
    }
    let fall = match inference.options.get("schedule_learning_rate").and_then(|v| v.as_str()) {
        None => None,
        Some("constant") => Some(Fall::Constant),
        Some("cosine") => Some(Fall::Cosine),
        Some("inverse-sqrt") => Some(Fall::InverseRoot),
        Some("step") => Some(Fall::Step),
        Some(other) => {
            return Err(refuse(
                "schedule_learning_rate",
                format!("{other:?} is not a schedule"),
                "write constant, cosine, inverse-sqrt or step, or leave it out",
            ));
        }
    };
    // A learning rate and its schedule mean Adam, momentum means plain gradients, where no optimiser is named.
    let fitting = match (number("momentum"), inference.learning_rate.is_some() || fall.is_some()) {
        (Some(_), _) => "sgd",
        (None, true) => "adam",
        (None, false) => "natural",
    };
    let name = inference.optimizer.as_deref().unwrap_or(fitting).to_ascii_lowercase();
    let rule = match name.as_str() {
        "natural" => Rule::Natural,
        "sgd" => {
            Rule::Sgd { rate: inference.learning_rate.unwrap_or(0.05), momentum: number("momentum").unwrap_or(0.0) }
        }
        "adam" => Rule::Adam { rate: inference.learning_rate.unwrap_or(0.01) },
        "dowg" => Rule::Dowg,
        "adamw" => {
            let reason = "its decay pulls the weights of networks towards zero, and this model has none".to_owned();
            return Err(refuse("optimizer", reason, "write adam; priors keep the coordinates of this model in bounds"));
        }
        _ => {
            return Err(refuse(
                "optimizer",
                format!("there is no optimiser called `{name}` for models without networks"),
                "write natural, adam, sgd, dowg, or dadvi (fixed draws, what runs where none is named), or leave it out",
            ));
        }
    };
    if number("momentum").is_some() && name != "sgd" {
        return Err(refuse("momentum", format!("`{name}` has no momentum to set"), "write optimizer = \"sgd\""));
    }
    if matches!(rule, Rule::Natural | Rule::Dowg) {
        let help = "write optimizer = \"adam\" or \"sgd\"";
        for (key, given) in
            [("schedule_learning_rate", fall.is_some()), ("learning_rate", inference.learning_rate.is_some())]
        {
            if given {
                return Err(refuse(key, format!("`{name}` finds its own step sizes"), help));
            }
        }
    }
    let window = inference.options.get("window").and_then(|v| v.as_integer()).and_then(|w| usize::try_from(w).ok());
    let control_variate = inference.control_variate.unwrap_or(ControlVariate::LeaveOneOut);
    Ok(Some(StochasticSettings {
        search,
        estimator: Estimator { gradient: inference.gradient.unwrap_or_default(), control_variate },
        draws: inference.draws.unwrap_or(10),
        rule,
        fall,
        clip: number("clip"),
        batch_size: inference.batch_size,
        window: window.unwrap_or(WINDOW),
        max_iterations,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_fall_as_named() {
        for fall in [Fall::Constant, Fall::Cosine, Fall::InverseRoot, Fall::Step] {
            assert!((fall.share(0.0, 300) - 1.0).abs() < 1e-12);
        }
        assert!((Fall::Cosine.share(300.0, 300) - 0.01).abs() < 1e-12);
        assert!((Fall::InverseRoot.share(30.0, 300) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((Fall::Step.share(250.0, 300) - 1.0 / 9.0).abs() < 1e-12);
    }
}
