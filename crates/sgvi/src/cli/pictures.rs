//! Pictures of global posteriors: densities, estimates with their intervals, tables, images.

use vi_model::graph::Graph;
use vi_run::output::{OutputError, RunDirectory};
use vi_run::plot::{NamedAxis, posterior_pictures, scalar_densities};
use vi_run::record::Record;

/// Pictures drawn of one run at most.
const MOST_PICTURES: usize = 8;

/// Writes `pictures/KIND-NAME` for the variables and expressions whose means can be drawn.
pub(super) fn write_pictures(graph: &Graph, record: &Record, directory: &mut RunDirectory) -> Result<(), OutputError> {
    let entries = record.posterior.iter().map(|(name, entry)| (name.as_str(), entry));
    if let Some(picture) = scalar_densities(entries, vi_families::named::log_density) {
        directory.write_picture("pictures/densities", &picture)?;
    }
    let drawn = record.posterior.iter().flat_map(|(name, entry)| {
        let Some(depiction) = graph.depiction(name, &entry.plates) else { return Vec::new() };
        let named = |axis| NamedAxis {
            label: graph.axis(axis).label().to_owned(),
            elements: graph.data.element_names(graph.axis(axis)),
            image: graph.data.square_image(graph.axis(axis)).map(|side| (side, side)),
        };
        let axes: Vec<NamedAxis> = depiction.axes.iter().copied().map(named).collect();
        let pictures = posterior_pictures(name, entry, &axes, depiction.is_simplex);
        pictures.into_iter().map(|(kind, picture)| (format!("pictures/{kind}-{name}"), picture)).collect()
    });
    drawn.take(MOST_PICTURES).try_for_each(|(name, picture)| directory.write_picture(&name, &picture))
}
