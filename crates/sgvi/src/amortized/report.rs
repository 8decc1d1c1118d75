//! What a fitted amortised model reports: the terms of its ELBO and the posterior of everything outside the rows' plate.

use super::model::AmortizedModel;
use super::training::Training;
use crate::fit::posterior::entries;
use std::collections::HashMap;
use vi_model::graph::Graph;
use vi_run::record::Record;

/// Terms, standard error and posterior of the best restart.
pub(super) fn fill(record: &mut Record, graph: &Graph, model: &AmortizedModel, training: &Training<'_>) {
    let program = &model.program;
    let parameters = training.parameters();
    let mut terms: HashMap<&str, f64> = HashMap::new();
    if let Some(totals) = training.final_totals() {
        for (latent, divergence) in program.latents.iter().zip(&totals.divergences) {
            terms.insert(&latent.name, -divergence);
        }
        for (observed, log_likelihood) in program.observed.iter().zip(&totals.log_likelihoods) {
            terms.insert(&observed.name, *log_likelihood);
        }
        record.extra.insert("elbo_standard_error".to_owned(), totals.draw_variance.sqrt().into());
        record.extra.insert("elbo_per_row".to_owned(), (totals.bound / totals.rows).into());
    }
    for (term, values) in
        program.row_terms().iter().zip(training.final_totals().map(|t| &t.row_terms).into_iter().flatten())
    {
        *terms.entry(&term.name).or_default() += values;
    }
    for (variable, &term) in graph.variables.iter().zip(training.final_global_terms()) {
        if !graph.variable_named(&variable.name).is_some_and(|id| graph.is_local(id)) {
            *terms.entry(&variable.name).or_default() += term;
        }
    }
    for variable in &graph.variables {
        if let Some(&term) = terms.get(variable.name.as_str()) {
            record.elbo_terms.insert(variable.name.clone(), term);
        }
    }
    record.elbo = record.elbo_terms.values().sum();
    record.extra.insert("khat".to_owned(), serde_json::Value::Null);
    record.extra.insert("verdict".to_owned(), "not-assessed".into());
    if let Some(totals) = training.held_out_totals() {
        record.extra.insert("held_out_rows".to_owned(), training.held_out_rows().len().into());
        record.extra.insert("held_out_elbo_per_row".to_owned(), (totals.bound / totals.rows).into());
    }
    if training.recoveries() > 0 {
        record.extra.insert("recoveries".to_owned(), training.recoveries().into());
    }
    if let Some(globals) = &program.globals {
        let q = globals.gaussian(&program.layout, parameters);
        record.posterior = entries(graph, globals.joint.model(), &q, None, record.seed);
    }
}
