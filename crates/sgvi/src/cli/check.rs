//! `sgvi check`: what a model means and what would be fitted, without fitting anything.

use std::fmt::Write as _;
use std::path::Path;

use vi_model::graph::{Graph, VariableId};
use vi_run::cli::print_output;

use super::{Outcome, load, networks, refuse};
use crate::amortized::compile::is_amortized;
use crate::fit::repeat::repeated;
use crate::lower::{Model, Support};

/// Prints the axes, the variables and the approximation.
pub(super) fn check(file: &Path) -> Outcome {
    let graph = load(file)?;
    let mut text = String::new();
    if let Some(title) = &graph.title {
        let _ = writeln!(text, "{title}\n");
    }
    let _ = writeln!(text, "{}\n\n{}\n", graph.axes_table().trim_end(), graph.variables_table().trim_end());
    text.push_str(&if is_amortized(&graph) {
        networks::describe(&graph).map_err(|error| refuse(&error, &graph))?
    } else {
        // Rows that occur several times are fitted as so many rows where discrete variables make them differ.
        let repeated = repeated(&graph).map_err(|error| refuse(&error, &graph))?;
        let fitted = repeated.as_ref().map_or(&graph, |repeated| &repeated.graph);
        approximation(fitted, &Model::new(fitted).map_err(|error| refuse(&error, &graph))?)
    });
    print_output(&text);
    Ok(0)
}

/// The unconstrained coordinates of each latent variable, what becomes of the discrete ones, and the work of an evaluation.
fn approximation(graph: &Graph, model: &Model) -> String {
    let program = &model.program;
    let weights: usize = model.categories.iter().map(|category| category.size).sum();
    let family = graph.inference.family.unwrap_or_default().name();
    let mut text =
        format!("q: one {family} Gaussian over {}\n", counted(program.dimension - weights, "unconstrained coordinate"));
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (index, variable) in graph.variables.iter().enumerate() {
        let id = VariableId(index);
        let what = if let Some(latent) = model.latents.iter().find(|latent| latent.variable == id) {
            let place = if variable.point { "a point at " } else { "" };
            format!("{place}{}, {}", counted(latent.count, "coordinate"), scale(&latent.support))
        } else if model.factored.iter().any(|factored| factored.variable == id) {
            "a categorical factor for each element".to_owned()
        } else if variable.observed.is_none() {
            "summed out exactly".to_owned()
        } else {
            continue;
        };
        lines.push((&variable.name, what));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, what) in lines {
        let _ = writeln!(text, "  {name}{}  {what}", " ".repeat(width - name.chars().count()));
    }
    let _ = writeln!(
        text,
        "\nan evaluation of the log joint\n  {} once, {} for every row{}",
        counted(program.global.len(), "operation"),
        program.local.len(),
        if program.chunkable { ", in chunks of rows" } else { ", all rows at once" }
    );
    text
}

/// How the coordinates stand to the values.
fn scale(support: &Support) -> &'static str {
    match support {
        Support::Real => "as they are",
        Support::Lower(_) | Support::Upper(_) => "the log of the distance from its bound",
        Support::Interval(..) => "the logit between its bounds",
        Support::Simplex { .. } => "by stick breaking",
        Support::Ordered { .. } => "the first element and the logs of the differences",
        Support::PositiveDefinite(_) => "a Cholesky factor with the logs of its diagonal",
        Support::NormalGamma => "the location and the log of the precision",
        Support::NormalWishart(_) => "the location and a Cholesky factor of the precision",
    }
}

/// `1 coordinate`, `2 coordinates`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
