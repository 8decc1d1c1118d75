//! Pictures of global posteriors: estimates with intervals, heat maps, images, top words.

use vi_model::graph::{Axis, AxisId, AxisKind, Distribution, Graph};
use vi_run::plot::{BarList, HeatMap, ImageGrid, Intervals, Picture, bar_lists, heat_map, image_grid, intervals};
use vi_run::record::PosteriorEntry;

/// Words shown of one distribution over many.
const TOP_WORDS: usize = 10;
/// Lists and images shown side by side at most.
const MOST_PANELS: usize = 12;
/// Categories from which on a distribution is shown by its largest.
const MANY: usize = 13;
/// Estimates in one chart of intervals at most.
const MOST_INTERVALS: usize = 40;

/// The pictures of one variable or expression: kind and picture.
pub(super) fn tables(graph: &Graph, name: &str, entry: &PosteriorEntry) -> Vec<(&'static str, Picture)> {
    let Some(mean) = &entry.mean else { return Vec::new() };
    let variable = graph.variable_named(name);
    let axes: Vec<AxisId> = match variable {
        Some(v) => {
            let mut axes = graph.variable(v).plates.clone();
            axes.extend(graph.variable(v).dimension);
            axes
        }
        None => entry.plates.iter().filter_map(|p| graph.axes.iter().position(|a| a.name == *p)).map(AxisId).collect(),
    };
    let distribution = variable.map(|v| &graph.variable(v).distribution);
    let is_matrix = matches!(distribution, Some(Distribution::Wishart { .. }));
    let is_index = matches!(distribution, Some(Distribution::Categorical { .. } | Distribution::MarkovChain { .. }));
    if is_matrix || is_index || mean.shape().len() != axes.len() {
        return Vec::new();
    }
    let axes: Vec<&Axis> = axes.iter().map(|a| graph.axis(*a)).collect();
    let is_simplex = matches!(distribution, Some(Distribution::Dirichlet { .. } | Distribution::StickBreaking { .. }));
    match (axes.as_slice(), mean.shape()) {
        ([axis], [count]) if is_simplex && *count >= MANY => words(graph, name, None, axis, *count, mean.values()),
        ([axis], [count]) if (2..=MOST_INTERVALS).contains(count) => {
            let sds = entry.sd.as_ref().map(|s| s.values()).unwrap_or_default();
            let labels = names(graph, axis);
            let picture = intervals(&Intervals {
                title: &format!("{name}: mean, ± 1 and ± 2 sd"),
                x_label: name,
                names: &labels,
                means: mean.values(),
                sds,
            });
            vec![("estimates", picture)]
        }
        ([outer, inner], [_, columns]) if image_side(graph, inner).is_some() => {
            images(graph, name, outer, inner, *columns, mean.values().to_vec())
        }
        ([outer, inner], [rows, columns]) if image_side(graph, outer).is_some() => {
            let transposed = (0..rows * columns).map(|i| mean.values()[(i % rows) * columns + i / rows]).collect();
            images(graph, name, inner, outer, *rows, transposed)
        }
        ([outer, inner], [_, columns]) if is_simplex && *columns >= MANY => {
            words(graph, name, Some(outer), inner, *columns, mean.values())
        }
        ([outer, inner], [rows, columns]) if rows * columns >= 4 && *rows >= 2 && *columns >= 2 && *rows <= 400 => {
            vec![("table", heat(graph, name, outer, inner, *columns, mean.values()))]
        }
        _ => Vec::new(),
    }
}

/// Names of an axis' elements, or their numbers.
fn names(graph: &Graph, axis: &Axis) -> Vec<String> {
    graph.data.element_names(axis).unwrap_or_else(|| {
        let name = if axis.kind == AxisKind::Anonymous { "" } else { axis.name.as_str() };
        (0..axis.size).map(|i| format!("{name} {i}").trim().to_owned()).collect()
    })
}

fn label(axis: &Axis) -> &str {
    if axis.kind == AxisKind::Anonymous { "" } else { &axis.name }
}

fn heat(graph: &Graph, name: &str, outer: &Axis, inner: &Axis, columns: usize, values: &[f64]) -> Picture {
    let names_of = |axis: &Axis| graph.data.element_names(axis).unwrap_or_default();
    heat_map(&HeatMap {
        title: &format!("{name}: posterior mean"),
        row_label: label(outer),
        column_label: label(inner),
        values,
        columns,
        row_names: &names_of(outer),
        column_names: &names_of(inner),
        signed: values.iter().any(|v| *v < 0.0),
    })
}

/// The side of a square image whose pixels are the columns of a block: numbered without gaps after one common name.
fn image_side(graph: &Graph, axis: &Axis) -> Option<usize> {
    let AxisKind::Block(block) = axis.kind else { return None };
    let columns = &graph.data.block(block).columns;
    let side = (columns.len() as f64).sqrt().round() as usize;
    if side < 4 || side * side != columns.len() {
        return None;
    }
    let split = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let number = name[stem.len()..].parse::<usize>().ok()?;
        Some((stem, number))
    };
    let (stem, first) = split(&graph.data.column(columns[0]).name)?;
    let consecutive = columns
        .iter()
        .enumerate()
        .all(|(i, c)| split(&graph.data.column(*c).name).is_some_and(|(s, n)| s == stem && n == first + i));
    consecutive.then_some(side)
}

/// One image per element of the other axis, each stretched from its least to its greatest value.
fn images(
    graph: &Graph,
    name: &str,
    other: &Axis,
    pixels: &Axis,
    size: usize,
    values: Vec<f64>,
) -> Vec<(&'static str, Picture)> {
    let Some(side) = image_side(graph, pixels) else { return Vec::new() };
    let within = values.iter().all(|v| (0.0..=1.0).contains(v));
    let mut stretched = Vec::with_capacity(values.len());
    for image in values.chunks_exact(size).take(4 * MOST_PANELS) {
        let (low, high) = image.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let extent = if high > low { high - low } else { 1.0 };
        stretched.extend(image.iter().map(|v| if within { *v } else { (v - low) / extent }));
    }
    let picture = image_grid(&ImageGrid {
        title: &format!("{name} for each {}", label(other)),
        images: &stretched,
        height: side,
        width: side,
        columns: 10,
        row_names: &[],
    });
    vec![("images", picture)]
}

/// The largest probabilities of each distribution, as lists.
fn words(
    graph: &Graph,
    name: &str,
    outer: Option<&Axis>,
    inner: &Axis,
    size: usize,
    values: &[f64],
) -> Vec<(&'static str, Picture)> {
    if size < 2 {
        return Vec::new();
    }
    let labels = names(graph, inner);
    let titles = outer.map_or_else(|| vec![String::new()], |axis| names(graph, axis));
    let lists: Vec<BarList> = values
        .chunks_exact(size)
        .zip(titles)
        .take(MOST_PANELS)
        .map(|(row, title)| {
            let mut order: Vec<usize> = (0..size).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            let items = order.into_iter().take(TOP_WORDS).map(|i| (labels[i].clone(), row[i])).collect();
            BarList { title, items }
        })
        .collect();
    vec![("largest", bar_lists(&format!("{name}: the most probable {}", label(inner)), &lists))]
}
