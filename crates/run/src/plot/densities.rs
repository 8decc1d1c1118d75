//! The posterior densities of scalar variables, one small panel each.

use super::axes::{Axis, Labels, Panel};
use super::canvas::{PlotError, fill, stroke};
use super::colour::{ACCENT, INK};
use super::scene::{Anchor, Area, Picture, Point};
use crate::record::PosteriorEntry;
use plotters::element::{PathElement, Polygon};

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 170.0;
const TOP: f64 = 36.0;
/// Panels side by side.
const COLUMNS: usize = 3;
/// Panels in one picture at most.
const MOST_PANELS: usize = 12;
/// Points of a curve, over a mean ± 4 sd.
const POINTS: usize = 241;
/// Tails below this share of the mode are cut.
const SMALLEST: f64 = 2e-3;

/// The density of one variable over its values.
struct Curve<'a> {
    name: &'a str,
    points: Vec<Point>,
    mean: f64,
}

/// The densities of the variables that are single numbers, each with a line at its mean; `None` where there are none.
///
/// `log_density` is that of the distribution named, whose parameters are given by name, at a value; `None`: it is not known.
pub fn scalar_densities<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a PosteriorEntry)>,
    log_density: impl Fn(&str, &dyn Fn(&str) -> Option<f64>, f64) -> Option<f64>,
) -> Option<Picture> {
    let curves: Vec<Curve<'_>> =
        entries.into_iter().filter_map(|(name, entry)| curve(name, entry, &log_density)).take(MOST_PANELS).collect();
    if curves.is_empty() {
        return None;
    }
    let rows = curves.len().div_ceil(COLUMNS);
    let width = PANEL_WIDTH * curves.len().min(COLUMNS) as f64 + 20.0;
    let height = PANEL_HEIGHT * rows as f64 + TOP + 8.0;
    Some(Picture::drawn(width, height, |picture| {
        picture.text((20.0, 24.0), "posterior densities", 13.0, Anchor::Start, INK);
        curves.iter().enumerate().try_for_each(|(index, curve)| {
            let area = Area {
                x: 10.0 + PANEL_WIDTH * (index % COLUMNS) as f64,
                y: TOP + PANEL_HEIGHT * (index / COLUMNS) as f64,
                width: PANEL_WIDTH,
                height: PANEL_HEIGHT,
            };
            draw(picture, area, curve)
        })
    }))
}

fn curve<'a>(
    name: &'a str,
    entry: &'a PosteriorEntry,
    log_density: &impl Fn(&str, &dyn Fn(&str) -> Option<f64>, f64) -> Option<f64>,
) -> Option<Curve<'a>> {
    let scalar = |array: &crate::array::NestedArray| {
        if array.shape().is_empty() { array.values().first().copied() } else { None }
    };
    let mean = entry.mean.as_ref().and_then(scalar).filter(|mean| mean.is_finite())?;
    let sd = entry.sd.as_ref().and_then(scalar).filter(|sd| sd.is_finite() && *sd > 0.0)?;
    let distribution = entry.distribution.as_deref()?;
    let parameter = |name: &str| entry.parameters.get(name).and_then(scalar);
    let logs = (0..POINTS)
        .map(|index| {
            let x = mean + sd * 4.0 * (2.0 * index as f64 / (POINTS - 1) as f64 - 1.0);
            Some((x, log_density(distribution, &parameter, x)?))
        })
        .collect::<Option<Vec<Point>>>()?;
    let highest = logs.iter().map(|point| point.1).filter(|log| log.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<Point> =
        logs.into_iter().filter(|(_, log)| *log < f64::INFINITY).map(|(x, log)| (x, (log - highest).exp())).collect();
    let first = shares.iter().position(|point| point.1 > SMALLEST)?;
    let last = shares.iter().rposition(|point| point.1 > SMALLEST)?;
    (first < last).then(|| Curve { name, points: shares[first..=last].to_vec(), mean })
}

fn draw(picture: &mut Picture, outer: Area, curve: &Curve<'_>) -> Result<(), PlotError> {
    let (first, last) = (curve.points[0], curve.points[curve.points.len() - 1]);
    let x = Axis::of([first.0, last.0].into_iter(), 0.02);
    let y = Axis { low: 0.0, high: 1.08, logarithmic: false, whole: false };
    let labels = Labels { title: "", x: curve.name, y: "" };
    let panel = Panel::of_rows(picture, outer, x, y, &labels, 10.0)?;
    let area = panel.on(picture);
    let outline = std::iter::once((first.0, 0.0)).chain(curve.points.iter().copied()).chain([(last.0, 0.0)]);
    area.draw(&Polygon::new(outline.collect::<Vec<Point>>(), fill(ACCENT.with_opacity(0.2))))?;
    area.draw(&PathElement::new(curve.points.clone(), stroke(ACCENT, 2.0)))?;
    area.draw(&PathElement::new(vec![(curve.mean, 0.0), (curve.mean, 1.08)], stroke(INK.with_opacity(0.5), 1.2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::NestedArray;

    fn entry(distribution: &str, mean: f64, sd: f64) -> PosteriorEntry {
        PosteriorEntry {
            distribution: Some(distribution.to_owned()),
            mean: Some(mean.into()),
            sd: Some(sd.into()),
            parameters: [("rate".to_owned(), NestedArray::scalar(2.0))].into_iter().collect(),
            ..PosteriorEntry::default()
        }
    }

    /// An exponential density, and no other.
    fn exponential(distribution: &str, parameter: &dyn Fn(&str) -> Option<f64>, x: f64) -> Option<f64> {
        let rate = parameter("rate")?;
        let inside = if x < 0.0 { f64::NEG_INFINITY } else { rate.ln() - rate * x };
        (distribution == "exponential").then_some(inside)
    }

    #[test]
    fn scalars_of_known_distributions_are_drawn_over_their_support() {
        let known = entry("exponential", 0.5, 0.5);
        let drawn = curve("tau", &known, &exponential).unwrap();
        assert!(drawn.points[0].0 >= 0.0, "nothing is drawn where the density is zero");
        assert!(drawn.points.windows(2).all(|pair| pair[1].1 < pair[0].1));
        let vector = PosteriorEntry { mean: Some(NestedArray::vector(vec![1.0, 2.0])), ..known.clone() };
        let (other, point) = (entry("normal", 0.5, 0.5), entry("exponential", 0.5, 0.0));
        let all = [("a", &vector), ("b", &other), ("c", &point), ("tau", &known)];
        let svg = scalar_densities(all, exponential).unwrap().svg();
        assert!(svg.contains(">tau<") && !svg.contains(">b<") && !svg.contains("NaN"));
        assert!(scalar_densities(all[..3].to_vec(), exponential).is_none());
    }
}
