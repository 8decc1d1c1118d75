//! Points in the plane with their classes, and ellipses of Gaussian components.

use super::axes::{Axis, Labels, Panel, legend};
use super::canvas::{PlotError, fill, stroke, units};
use super::colour::{ACCENT, class_colour};
use super::scene::{Area, Picture, Point};
use plotters::element::{Circle, DashedPathElement, PathElement, Polygon};

/// The contour of a two-dimensional Gaussian.
#[derive(Debug, Clone, PartialEq)]
pub struct Ellipse {
    /// Its mean.
    pub center: [f64; 2],
    /// Its covariance, `[2, 2]`, symmetric.
    pub covariance: [[f64; 2]; 2],
    /// Its class, for the colour.
    pub class: usize,
}

impl Ellipse {
    /// The contour at `deviations` standard deviations: x = μ + L (cos t, sin t), Σ = L Lᵀ.
    fn contour(&self, deviations: f64) -> Vec<Point> {
        let [[a, b], [_, c]] = self.covariance;
        let l11 = a.max(0.0).sqrt();
        let l21 = if l11 > 0.0 { b / l11 } else { 0.0 };
        let l22 = (c - l21 * l21).max(0.0).sqrt();
        (0..=96)
            .map(|step| {
                let (sine, cosine) = (f64::from(step) / 96.0 * std::f64::consts::TAU).sin_cos();
                let (u, v) = (deviations * cosine, deviations * sine);
                (self.center[0] + l11 * u, self.center[1] + l21 * u + l22 * v)
            })
            .collect()
    }
}

/// What a scatter plot shows.
#[derive(Debug, Clone, Default)]
pub struct Scatter<'a> {
    /// Above the panel.
    pub title: &'a str,
    /// The horizontal axis, with its unit.
    pub x_label: &'a str,
    /// The vertical axis, with its unit.
    pub y_label: &'a str,
    /// The points' coordinates, `[num_points, 2]`, row-major; points with a NaN are left out.
    pub points: &'a [f64],
    /// The points' classes, `[num_points]`; empty: one class.
    pub classes: &'a [usize],
    /// The names of the classes; empty: no legend.
    pub class_names: &'a [String],
    /// Contours, drawn at one and two standard deviations.
    pub ellipses: &'a [Ellipse],
}

/// A scatter plot with class colours and ellipses.
#[must_use]
pub fn scatter(chart: &Scatter<'_>) -> Picture {
    Picture::drawn(640.0, 520.0, |picture| draw(picture, chart))
}

fn draw(picture: &mut Picture, chart: &Scatter<'_>) -> Result<(), PlotError> {
    let contours: Vec<(usize, Vec<Point>, Vec<Point>)> =
        chart.ellipses.iter().map(|ellipse| (ellipse.class, ellipse.contour(1.0), ellipse.contour(2.0))).collect();
    let points: Vec<Point> = chart.points.chunks_exact(2).map(|point| (point[0], point[1])).collect();
    let extent = |coordinate: fn(&Point) -> f64| {
        let from_contours = contours.iter().flat_map(|(_, inner, _)| inner).map(coordinate);
        Axis::of(points.iter().map(coordinate).chain(from_contours), 0.06)
    };
    let (x, y) = (extent(|point| point.0), extent(|point| point.1));
    let labels = Labels { title: chart.title, x: chart.x_label, y: chart.y_label };
    let has_legend = !chart.class_names.is_empty();
    let outer = Area { x: 10.0, y: 8.0, width: 624.0, height: if has_legend { 484.0 } else { 506.0 } };
    let panel = Panel::new(picture, outer, x, y, &labels)?;
    let area = panel.on(picture);
    for (class, _, outer) in &contours {
        area.draw(&Polygon::new(outer.clone(), fill(class_colour(*class).with_opacity(0.10))))?;
    }
    let (radius, opacity) = match points.len() {
        0..=500 => (3.4, 0.75),
        501..=5000 => (2.2, 0.6),
        _ => (1.4, 0.4),
    };
    for (index, &point) in points.iter().enumerate().filter(|(_, (x, y))| x.is_finite() && y.is_finite()) {
        let colour = chart.classes.get(index).map_or(ACCENT, |&class| class_colour(class));
        area.draw(&Circle::new(point, units(radius), fill(colour.with_opacity(opacity))))?;
    }
    for (class, inner, outer) in contours {
        let colour = class_colour(class);
        area.draw(&PathElement::new(inner, stroke(colour, 2.0)))?;
        area.draw(&DashedPathElement::new(outer, units(5.0), units(5.0), stroke(colour, 1.3)))?;
    }
    drop(area);
    let entries: Vec<_> =
        chart.class_names.iter().enumerate().map(|(class, name)| (class_colour(class), name.clone())).collect();
    legend(picture, (panel.area.x, 510.0), panel.area.right(), &entries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contour_has_the_covariance() {
        let ellipse = Ellipse { center: [1.0, -2.0], covariance: [[4.0, 1.2], [1.2, 1.0]], class: 0 };
        // Points at uniform angles average to the centre, and their second moments to half of Σ × deviations².
        let contour = ellipse.contour(2.0);
        let points = &contour[..96];
        let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / 96.0;
        assert!((mean(&|p| p.0) - 1.0).abs() < 1e-12 && (mean(&|p| p.1) + 2.0).abs() < 1e-12);
        assert!((mean(&|p| (p.0 - 1.0).powi(2)) - 8.0).abs() < 1e-12);
        assert!((mean(&|p| (p.0 - 1.0) * (p.1 + 2.0)) - 2.4).abs() < 1e-12);
        assert!((mean(&|p| (p.1 + 2.0).powi(2)) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn every_finite_point_is_drawn() {
        let names = ["a".to_owned(), "b".to_owned()];
        let chart = Scatter {
            points: &[0.0, 0.0, 1.0, 2.0, f64::NAN, 1.0],
            classes: &[0, 1, 0],
            class_names: &names,
            ..Scatter::default()
        };
        let svg = scatter(&chart).svg();
        assert_eq!(svg.matches("<circle").count(), 2 + names.len());
    }
}
