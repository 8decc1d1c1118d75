//! Pictures that follow from a model's shape: clusters, states, smoothed series, scores, loadings, images, top words.
//!
//! No rule knows a model's name. What is drawn depends on which variables have a row each, what gates what, and how many
//! axes a posterior mean has.

mod rows;
mod sample;

use vi_model::graph::{Axis, Distribution, Graph, IndexSource, NodeKind, VariableId};
use vi_run::plot::{NamedAxis, Picture, posterior_pictures, scalar_densities};

use crate::error::CaviError;
use crate::fit::Ascent;

/// Pictures drawn of one run at most.
const MOST_PICTURES: usize = 8;

/// A picture with the name of its file.
pub(crate) struct Named {
    /// File name without its ending.
    pub(crate) name: String,
    /// What is drawn.
    pub(crate) picture: Picture,
}

/// The pictures of a fitted model.
///
/// # Errors
///
/// When rows cannot be read again.
pub(crate) fn pictures(ascent: &Ascent) -> Result<Vec<Named>, CaviError> {
    let graph = &ascent.engine.lowered.graph;
    let mut drawn: Vec<Named> = Vec::new();
    let mut add = |name: String, picture: Option<Picture>| {
        if let Some(picture) = picture
            && drawn.len() < MOST_PICTURES
        {
            drawn.push(Named { name, picture });
        }
    };
    for (x, z) in gated(ascent) {
        let (child, gate) = (&graph.variable(x).name, &graph.variable(z).name);
        if matches!(graph.variable(z).distribution, Distribution::MarkovChain { .. }) {
            add(format!("states-{gate}"), rows::states(ascent, x, z)?);
        } else {
            add(format!("clusters-{child}-{gate}"), rows::clusters(ascent, x, z)?);
        }
    }
    for v in (0..graph.variables.len()).map(VariableId) {
        let variable = graph.variable(v);
        if variable.observed.is_some() || !graph.is_local(v) || variable.plates.len() != 1 {
            continue;
        }
        match variable.distribution {
            Distribution::GaussianMarkovChain { .. } => {
                add(format!("series-{}", variable.name), rows::series(ascent, v)?);
            }
            Distribution::Normal { .. } if variable.dimension.is_some_and(|d| graph.axis(d).size >= 2) => {
                add(format!("scores-{}", variable.name), rows::scores(ascent, v)?);
            }
            _ => {}
        }
    }
    let posterior = ascent.posterior();
    let entries = posterior.iter().map(|(name, entry)| (name.as_str(), entry));
    add("densities".to_owned(), scalar_densities(entries, vi_families::named::log_density));
    for (name, entry) in posterior {
        let Some(depiction) = graph.depiction(&name, &entry.plates) else { continue };
        let axes: Vec<NamedAxis> = depiction.axes.iter().map(|&axis| named_axis(graph, graph.axis(axis))).collect();
        for (kind, picture) in posterior_pictures(&name, &entry, &axes, depiction.is_simplex) {
            add(format!("{kind}-{name}"), Some(picture));
        }
    }
    Ok(drawn)
}

/// An axis as pictures name it.
fn named_axis(graph: &Graph, axis: &Axis) -> NamedAxis {
    NamedAxis {
        label: axis.label().to_owned(),
        elements: graph.data.element_names(axis),
        image: graph.data.square_image(axis).map(|side| (side, side)),
    }
}

/// Observed variables of the rows with a latent one-per-row category that gates them.
fn gated(ascent: &Ascent) -> Vec<(VariableId, VariableId)> {
    let graph = &ascent.engine.lowered.graph;
    let mut pairs = Vec::new();
    for x in (0..graph.variables.len()).map(VariableId) {
        if graph.variable(x).observed.is_none() || !graph.is_local(x) {
            continue;
        }
        for (_, node) in graph.variable(x).distribution.parameters() {
            graph.visit(node, &mut |n| {
                let NodeKind::Index { index: IndexSource::Gate(gate), .. } = n.kind else { return };
                for z in graph.variables_of(gate) {
                    let latent = ascent.engine.lowered.factor_of.contains_key(&z);
                    let categorical = matches!(
                        graph.variable(z).distribution,
                        Distribution::Categorical { .. } | Distribution::MarkovChain { .. }
                    );
                    let per_row = graph.rows.is_some_and(|r| graph.variable(z).plates == [r]);
                    if latent && categorical && per_row && !pairs.contains(&(x, z)) {
                        pairs.push((x, z));
                    }
                }
            });
        }
    }
    pairs
}
