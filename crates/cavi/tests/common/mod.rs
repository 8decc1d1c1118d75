//! What the tests of whole models share: fitting, reading posteriors, and what must hold of every fit.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::path::Path;

use cavi::{Ascent, Prediction, with_predictors};
use vi_model::data::{Cells, Data};
use vi_model::graph::Graph;
use vi_run::executor::{Algorithm, Restart};
use vi_run::record::PosteriorEntry;

/// A model given as text; its data stand in `[data.values]`.
pub(crate) fn load(model: &str) -> Graph {
    match vi_model::load_str(model, "model.toml", Path::new(".")) {
        Ok(graph) => graph,
        Err(error) => panic!("{error}\n{:?}", error.diagnostics),
    }
}

/// The ELBO and the state of a model's best restart.
pub(crate) fn fit(model: &str) -> (f64, Ascent) {
    let fit = cavi::fit(&load(model)).unwrap_or_else(|error| panic!("{error}"));
    (fit.outcome.elbo, fit.algorithm)
}

/// The entry of a variable or expression.
pub(crate) fn entry(ascent: &Ascent, name: &str) -> PosteriorEntry {
    let entries = ascent.posterior();
    entries.into_iter().find(|(n, _)| n == name).map_or_else(|| panic!("no entry {name}"), |(_, entry)| entry)
}

/// Posterior means, flat.
pub(crate) fn mean(ascent: &Ascent, name: &str) -> Vec<f64> {
    entry(ascent, name).mean.map_or_else(|| panic!("no mean of {name}"), |a| a.values().to_vec())
}

/// Marginal standard deviations, flat.
pub(crate) fn sd(ascent: &Ascent, name: &str) -> Vec<f64> {
    entry(ascent, name).sd.map_or_else(|| panic!("no sd of {name}"), |a| a.values().to_vec())
}

/// A parameter of a posterior, flat.
pub(crate) fn parameter(ascent: &Ascent, name: &str, key: &str) -> Vec<f64> {
    entry(ascent, name).parameters.get(key).map_or_else(|| panic!("no {key} of {name}"), |a| a.values().to_vec())
}

/// Equality within `tolerance` × (1 + |expected|).
pub(crate) fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: {got:?} instead of {expected:?}");
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: {got:?} instead of {expected:?}");
    }
}

/// Fits a model file; compares the ELBO (with a tolerance relative to 1 + |ELBO|), and checks what holds of every fit.
pub(crate) fn check_model(path: &Path, expected: Option<(f64, f64)>) -> Result<(), String> {
    let graph = vi_model::load(path).map_err(|error| format!("{error} {:?}", error.diagnostics))?;
    let fit = cavi::fit(&graph).map_err(|error| error.to_string())?;
    let elbo = fit.outcome.elbo;
    let away = |other: f64, tolerance: f64| (other - elbo).abs() > tolerance * (1.0 + elbo.abs());
    let (wanted, tolerance) = expected.unwrap_or((elbo, 1e-6));
    if away(wanted, tolerance) {
        return Err(format!("elbo {elbo} instead of {wanted}"));
    }
    let sum: f64 = fit.algorithm.elbo_terms().iter().map(|(_, term)| term).sum();
    if away(sum, 1e-11) {
        return Err(format!("the terms sum to {sum}, not to the elbo {elbo}"));
    }
    for (name, entry) in fit.algorithm.posterior() {
        let numbers = entry.mean.iter().chain(&entry.sd).chain(entry.parameters.values()).flat_map(|a| a.values());
        if numbers.into_iter().any(|x| x.is_nan()) {
            return Err(format!("the posterior of {name} is not a number"));
        }
    }
    // At the optimum further iterations gain nothing.
    let mut further = fit.algorithm;
    for _ in 0..3 {
        let after = further.step().map_err(|error| error.to_string())?.elbo;
        if away(after, tolerance.max(1e-7)) {
            return Err(format!("a further iteration moves the elbo from {elbo} to {after}"));
        }
    }
    ascends(&graph)
}

/// Runs 200 iterations from another seed: the ELBO is finite and never falls.
pub(crate) fn ascends(graph: &Graph) -> Result<(), String> {
    let mut ascent = Ascent::new(graph).map_err(|error| error.to_string())?;
    ascent.restart(Restart { index: 1, seed: 7 }).map_err(|error| error.to_string())?;
    let mut last = f64::NEG_INFINITY;
    for iteration in 1..=200 {
        let elbo = ascent.step().map_err(|error| format!("iteration {iteration}: {error}"))?.elbo;
        // The first iteration may start from given statistics, whose entropy is only bounded.
        if !elbo.is_finite() || iteration > 2 && elbo < last - 1e-8 * (1.0 + elbo.abs()) {
            return Err(format!("iteration {iteration}: from {last} to {elbo}"));
        }
        last = elbo;
    }
    Ok(())
}

/// Checks that a model is refused with a message that contains all the words.
pub(crate) fn refused(model: &str, words: &[&str]) {
    let error = match cavi::fit(&load(model)) {
        Ok(fit) => panic!("fitted with elbo {}", fit.outcome.elbo),
        Err(error) => format!("{error} {error:?}"),
    };
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

/// Fits a model and predicts rows with these columns.
pub(crate) fn predicted(model: &str, columns: &[(&str, &[f64])]) -> (Ascent, Prediction) {
    let graph = with_predictors(&load(model));
    let ascent = cavi::fit(&graph).unwrap_or_else(|error| panic!("{error}")).algorithm;
    let columns = columns.iter().map(|(name, values)| ((*name).to_owned(), Cells::Numbers(values.to_vec()))).collect();
    let prediction = ascent.predict(&Data::from_columns(columns).expect("columns")).expect("a prediction");
    (ascent, prediction)
}
