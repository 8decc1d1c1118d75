//! Pictures of global posteriors: estimates with intervals, heat maps, images, top words.

use super::{BarList, HeatMap, ImageGrid, Intervals, Picture, bar_lists, heat_map, image_grid, intervals};
use crate::record::PosteriorEntry;

/// Words shown of one distribution over many.
const TOP_WORDS: usize = 10;
/// Lists and images shown side by side at most.
const MOST_PANELS: usize = 12;
/// Categories from which on a distribution is shown by its largest.
const MANY: usize = 13;
/// Estimates in one chart of intervals at most.
const MOST_INTERVALS: usize = 80;

/// One axis of a posterior mean, as pictures name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedAxis {
    /// Its name; empty: it has none.
    pub label: String,
    /// The names of its elements, where they have names.
    pub elements: Option<Vec<String>>,
    /// The height and width of the image whose pixels its elements are, where they are.
    pub image: Option<(usize, usize)>,
}

impl NamedAxis {
    /// Names of `count` elements: their own, or their numbers.
    fn names(&self, count: usize) -> Vec<String> {
        let numbered = || (0..count).map(|i| format!("{} {i}", self.label).trim().to_owned()).collect();
        self.elements.clone().unwrap_or_else(numbered)
    }
}

/// The pictures of one variable or expression, each with its kind: `estimates`, `table`, `images` or `largest`. There is none of a
/// single number, of matrices, and of means with more than two axes.
///
/// `axes`: those of the mean, outermost first; `is_simplex`: its last axis holds probabilities.
#[must_use]
pub fn posterior_pictures(
    name: &str,
    entry: &PosteriorEntry,
    axes: &[NamedAxis],
    is_simplex: bool,
) -> Vec<(&'static str, Picture)> {
    let Some(mean) = &entry.mean else { return Vec::new() };
    if mean.shape().len() != axes.len() {
        return Vec::new();
    }
    match (axes, mean.shape()) {
        ([axis], [count]) if is_simplex && *count >= MANY => vec![largest(name, None, axis, *count, mean.values())],
        ([axis], [count]) if (2..=MOST_INTERVALS).contains(count) => {
            let sds = entry.sd.as_ref().map(|s| s.values()).unwrap_or_default();
            let labels = axis.names(*count);
            let picture = intervals(&Intervals {
                title: &format!("{name}: mean, ± 1 and ± 2 sd"),
                x_label: name,
                names: &labels,
                means: mean.values(),
                sds,
            });
            vec![("estimates", picture)]
        }
        ([outer, NamedAxis { image: Some(size), .. }], _) => vec![images(name, outer, *size, mean.values().to_vec())],
        ([NamedAxis { image: Some(size), .. }, inner], [rows, columns]) => {
            let transposed = (0..rows * columns).map(|i| mean.values()[(i % rows) * columns + i / rows]).collect();
            vec![images(name, inner, *size, transposed)]
        }
        ([outer, inner], [_, columns]) if is_simplex && *columns >= MANY => {
            vec![largest(name, Some(outer), inner, *columns, mean.values())]
        }
        ([outer, inner], [rows, columns]) if rows * columns >= 4 && *rows >= 2 && *columns >= 2 && *rows <= 400 => {
            vec![("table", heat(name, outer, inner, *columns, mean.values()))]
        }
        _ => Vec::new(),
    }
}

fn heat(name: &str, outer: &NamedAxis, inner: &NamedAxis, columns: usize, values: &[f64]) -> Picture {
    heat_map(&HeatMap {
        title: &format!("{name}: posterior mean"),
        row_label: &outer.label,
        column_label: &inner.label,
        values,
        columns,
        row_names: outer.elements.as_deref().unwrap_or_default(),
        column_names: inner.elements.as_deref().unwrap_or_default(),
        signed: values.iter().any(|v| *v < 0.0),
    })
}

/// One image per element of the other axis, each stretched from its least to its greatest value.
fn images(name: &str, other: &NamedAxis, (height, width): (usize, usize), values: Vec<f64>) -> (&'static str, Picture) {
    let within = values.iter().all(|v| (0.0..=1.0).contains(v));
    let mut stretched = Vec::with_capacity(values.len());
    for image in values.chunks_exact((height * width).max(1)).take(4 * MOST_PANELS) {
        let (low, high) = image.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let extent = if high > low { high - low } else { 1.0 };
        stretched.extend(image.iter().map(|v| if within { *v } else { (v - low) / extent }));
    }
    let title = format!("{name} for each {}", other.label);
    ("images", image_grid(&ImageGrid { title: &title, images: &stretched, height, width, columns: 10, row_names: &[] }))
}

/// The largest probabilities of each distribution, as lists.
fn largest(
    name: &str,
    outer: Option<&NamedAxis>,
    inner: &NamedAxis,
    size: usize,
    values: &[f64],
) -> (&'static str, Picture) {
    let labels = inner.names(size);
    let titles = outer.map_or_else(|| vec![String::new()], |axis| axis.names(values.len() / size));
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
    ("largest", bar_lists(&format!("{name}: the most probable {}", inner.label), &lists))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::NestedArray;

    fn entry(shape: &[usize], values: Vec<f64>) -> PosteriorEntry {
        let sd = vec![0.1; values.len()];
        let array = |values| NestedArray::new(shape.to_vec(), values).ok();
        PosteriorEntry { mean: array(values), sd: array(sd), ..PosteriorEntry::default() }
    }

    fn kinds(entry: &PosteriorEntry, axes: &[NamedAxis], is_simplex: bool) -> Vec<&'static str> {
        posterior_pictures("v", entry, axes, is_simplex).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn the_shape_says_what_is_drawn() {
        let plain = NamedAxis { label: "group".to_owned(), ..NamedAxis::default() };
        let pixels = NamedAxis { image: Some((2, 3)), ..plain.clone() };
        let numbers = |count: usize| (0..count).map(|i| i as f64 - 1.0).collect::<Vec<f64>>();
        assert!(kinds(&entry(&[], vec![1.0]), &[], false).is_empty());
        assert_eq!(kinds(&entry(&[5], numbers(5)), std::slice::from_ref(&plain), false), ["estimates"]);
        assert_eq!(kinds(&entry(&[20], vec![0.05; 20]), std::slice::from_ref(&plain), true), ["largest"]);
        assert_eq!(kinds(&entry(&[3, 4], numbers(12)), &[plain.clone(), plain.clone()], false), ["table"]);
        assert_eq!(kinds(&entry(&[4, 6], numbers(24)), &[plain.clone(), pixels.clone()], false), ["images"]);
        assert_eq!(kinds(&entry(&[6, 4], numbers(24)), &[pixels, plain.clone()], false), ["images"]);
        // A mean whose axes are not told is not drawn.
        assert!(kinds(&entry(&[5], numbers(5)), &[plain.clone(), plain], false).is_empty());
    }

    #[test]
    fn the_most_probable_come_first_with_their_names() {
        let words: Vec<String> = (0..14).map(|i| format!("word{i}")).collect();
        let axis = NamedAxis { label: "word".to_owned(), elements: Some(words), image: None };
        let mut values = vec![0.01; 14];
        values[13] = 0.87;
        let drawn = posterior_pictures("topic", &entry(&[14], values), &[axis], true);
        let svg = drawn[0].1.svg();
        assert!(svg.find("word13").unwrap() < svg.find("word0").unwrap());
        assert!(!svg.contains("word12"), "ten of fourteen are shown");
    }
}
