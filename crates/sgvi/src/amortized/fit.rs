//! From a graph to a fitted amortised model and its record.

use super::model::AmortizedModel;
use super::settings::Settings;
use super::training::{Term, Training};
use crate::error::SgviError;
use crate::fitted::FitOptions;
use vi_model::graph::Graph;
use vi_run::executor::{Executor, Failure, RelativeGain};
use vi_run::record::Record;

/// A fitted amortised model.
#[derive(Debug, Clone)]
pub(crate) struct AmortizedFit {
    /// The program and its data.
    pub model: AmortizedModel,
    /// How it was trained.
    pub settings: Settings,
    /// All parameters, in the layout of the program.
    pub parameters: Vec<f32>,
    /// The evaluations made during training, per row.
    pub terms: Vec<Term>,
    /// The rows that were held out.
    pub held_out_rows: Vec<u32>,
    /// What the run reports.
    pub record: Record,
}

/// The record of a run that failed while running.
pub(crate) fn record_of_failure(graph: &Graph, failure: &Failure<SgviError>) -> Record {
    let mut record =
        Record::new("sgvi", &graph.source.name, env!("CARGO_PKG_VERSION"), graph.inference.seed.unwrap_or(0));
    record.set_failure(failure);
    record.extra.insert("elbo_standard_error".to_owned(), serde_json::Value::Null);
    record.extra.insert("khat".to_owned(), serde_json::Value::Null);
    record.extra.insert("verdict".to_owned(), "not-assessed".into());
    record
}

/// Trains an amortised model as its `[inference]` section says.
///
/// # Errors
/// A refusal before the first step ([`SgviError::Unsupported`]), data that cannot be read, or a run that ends in numbers
/// that are not finite.
pub(crate) fn fit(graph: &Graph, options: FitOptions<'_>) -> Result<AmortizedFit, Failure<SgviError>> {
    let refused = |error: SgviError| Failure {
        cause: vi_run::executor::FailureCause::Algorithm(error),
        restarts: Vec::new(),
        trace: Vec::new(),
        seconds: 0.0,
    };
    let mut model = AmortizedModel::new(graph).map_err(refused)?;
    let settings = Settings::new(graph, &model.program).map_err(refused)?;
    prepare(&mut model, &settings);
    let mut executor =
        Executor::new(settings.seed, settings.max_iterations, RelativeGain::new(settings.stop.tolerance))
            .restarts(settings.restarts)
            .interruption(options.interruption);
    executor.observers = options.observers;
    let start = |restart: vi_run::executor::Restart| Ok(Training::new(&model, &settings, restart.seed));
    let fitted = match &options.checkpoints {
        Some(checkpoints) => executor.run_with_checkpoints(checkpoints, start)?,
        None => executor.run(start)?,
    };
    let mut record = Record::new("sgvi", &graph.source.name, env!("CARGO_PKG_VERSION"), settings.seed);
    record.set_outcome(&fitted.outcome);
    let training = fitted.algorithm;
    super::report::fill(&mut record, graph, &model, &training);
    crate::fit::steps::advise_of_unread(&graph.inference, &mut record);
    let (parameters, terms, held_out_rows) =
        (training.parameters().to_vec(), training.terms().to_vec(), training.held_out_rows().to_vec());
    Ok(AmortizedFit { parameters, terms, held_out_rows, record, settings, model })
}

/// What a checkpoint must share with the run that goes on with it: settings, model and data.
///
/// # Errors
/// When the data cannot be read.
pub(crate) fn fingerprint(graph: &Graph) -> Result<u64, SgviError> {
    let settings = super::compile::compile(graph).and_then(|program| Settings::new(graph, &program));
    let text = format!("{:?} {}", settings.ok(), graph.fingerprint()?);
    Ok(vi_run::executor::fingerprint(text.as_bytes()))
}

/// Takes the sds that are set in closed form away from the optimiser.
fn prepare(model: &mut AmortizedModel, settings: &Settings) {
    if settings.optimal_sd {
        let sds = model.program.optimal_sds();
        for (id, view) in model.program.layout.views_mut().enumerate() {
            view.trainable &= !sds.iter().any(|&(sd, _)| sd == id);
        }
    }
}
