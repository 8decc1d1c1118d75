//! What the command line does with a model whose factors are networks: its files and pictures, and the commands on a run.

pub(super) mod commands;
mod pictures;
mod saved;

use vi_model::graph::{Graph, VariableId};
use vi_run::cli::OutputOptions;
use vi_run::output::{LocalColumns, OutputError, RunDirectory};

use crate::amortized::fit::AmortizedFit;
use crate::amortized::generate::{Encoding, encode_on_own_scale};
use crate::amortized::responsibility::responsibilities;
use crate::amortized::settings::{Objective, Settings};
use crate::amortized::weights;
use crate::error::SgviError;
use crate::fit::save::write_discrete;

pub(super) use saved::SavedRun;

/// Why the files of a run were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// A name that is not an amortised variable.
    #[error(transparent)]
    Refused(#[from] SgviError),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Writes weights, the model's text, the terms of the objective, the row-level posteriors that were asked for, and pictures.
pub(super) fn save(
    graph: &Graph,
    fit: &AmortizedFit,
    directory: &mut RunDirectory,
    options: &OutputOptions,
) -> Result<(), SaveError> {
    let program = &fit.model.program;
    let rows: Vec<u32> = (0..fit.model.num_rows as u32).collect();
    let is_amortized = |name: &String| program.latents.iter().any(|latent| latent.name == *name);
    let discrete = if options.save.iter().all(is_amortized) {
        Vec::new()
    } else {
        responsibilities(graph, &fit.model, &fit.parameters, &rows)?
    };
    for name in &options.save {
        let format = options.save_format.into();
        if let Some(latent) = program.latents.iter().position(|latent| latent.name == *name) {
            let encoding = encode_on_own_scale(&fit.model, &fit.parameters, latent, &rows);
            write_encoding(directory, name, &encoding, format)?;
        } else if let Some(r) = discrete.iter().find(|r| graph.variable(r.variable).name == *name) {
            write_discrete(graph, r, name, directory, format)?;
        } else {
            let amortized = program.latents.iter().map(|latent| latent.name.as_str());
            let others = discrete.iter().map(|r| graph.variable(r.variable).name.as_str());
            let known: Vec<&str> = amortized.chain(others).collect();
            return Err(SgviError::Unsupported {
                variable: name.clone(),
                reason: "it has no posterior of its own in every row".to_owned(),
                help: format!("name one that has: {}; all others are in posterior.json", known.join(", ")),
                span: 0..0,
            }
            .into());
        }
    }
    saved::write_model(graph, directory)?;
    directory.write("weights.safetensors", &weights::to_bytes(&program.layout, &fit.parameters))?;
    directory.write("terms.csv", terms_csv(fit).as_bytes())?;
    if !options.no_plot {
        pictures::of_run(graph, fit, directory)?;
    }
    Ok(())
}

/// Writes `local/NAME.csv` or `.npy` with means and sds.
fn write_encoding(
    directory: &mut RunDirectory,
    name: &str,
    encoding: &Encoding,
    format: vi_run::output::LocalFormat,
) -> Result<(), OutputError> {
    let width = encoding.width;
    let columns = if width == 1 { LocalColumns::Scalar } else { LocalColumns::numbered_coordinates(width) };
    let mut writer = directory.local_writer(name, format, columns)?;
    for (means, sds) in encoding.means.chunks(width * 512).zip(encoding.sds.chunks(width * 512)) {
        writer.write_moments(means, sds)?;
    }
    writer.finish()
}

/// Per row of the data: the ELBO during training and its two terms.
fn terms_csv(fit: &AmortizedFit) -> String {
    let mut text = String::from("iteration,elbo,log_likelihood,divergence,beta,learning_rate,held_out_elbo\n");
    for term in &fit.terms {
        // The search of a closed form has no learning rate.
        let learning_rate = if term.learning_rate.is_finite() { term.learning_rate.to_string() } else { String::new() };
        let held_out = if term.held_out.is_finite() { term.held_out.to_string() } else { String::new() };
        text.push_str(&format!(
            "{},{},{},{},{},{learning_rate},{held_out}\n",
            term.step, term.elbo, term.log_likelihood, term.divergence, term.beta
        ));
    }
    text
}

/// Names of the numbers of an observed variable: those of its elements, with its own before numbers.
fn column_names(graph: &Graph, id: VariableId, width: usize) -> Vec<String> {
    let variable = &graph.variable(id).name;
    let names = graph.names_of_elements(&graph.value_axes(id), width);
    if names.is_empty() {
        return vec![variable.clone()];
    }
    let numbered = |name: &String| name.starts_with(|c: char| c.is_ascii_digit());
    names.into_iter().map(|name| if numbered(&name) { format!("{variable}_{name}") } else { name }).collect()
}

/// What `sgvi check` says of an amortised model.
pub(super) fn describe(graph: &Graph) -> Result<String, SgviError> {
    let program = crate::amortized::compile::compile(graph)?;
    let mut text =
        format!("{} parameters; {} operations for every row\n", program.layout.len(), program.operations.len());
    for view in program.layout.views() {
        let shape: Vec<String> = view.shape.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  {} [{}]\n", view.name, shape.join(", ")));
    }
    for latent in &program.latents {
        let kind = if latent.full { "full" } else { "diagonal" };
        text.push_str(&format!(
            "q({name} | data) = Normal(μ, …), {kind} covariance, {width} dimensions\n",
            name = latent.name,
            width = latent.width
        ));
    }
    if let Some(globals) = &program.globals {
        let joint = &globals.joint;
        for latent in joint.model().latents.iter().filter(|latent| !graph.variable(latent.variable).point) {
            let name = &graph.variable(latent.variable).name;
            let family = graph.inference.family.unwrap_or_default().name();
            text.push_str(&format!("q({name}) {family}, drawn once per step, {} numbers\n", latent.count));
        }
        for term in &joint.row_terms {
            text.push_str(&format!("the term of {} is evaluated by the log joint in double precision\n", term.name));
        }
    }
    let settings = Settings::new(graph, &program)?;
    if settings.search.is_some() {
        text.push_str("the bound is in closed form: searched by its curvature, on all rows, nothing is drawn\n");
    } else {
        text.push_str(&format!(
            "steps on {} of {} rows, {} {} per row\n",
            settings.batch_size,
            graph.data.num_rows(),
            if settings.objective == Objective::ClosedForm { 0 } else { settings.draws },
            if settings.draws == 1 && settings.objective != Objective::ClosedForm { "draw" } else { "draws" },
        ));
    }
    Ok(text)
}
