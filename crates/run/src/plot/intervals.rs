//! Named estimates with their uncertainty: a dot, a thick line of one and a thin line of two standard deviations.

use super::axes::{Axis, Frame, Labels};
use super::colour::{ACCENT, INK, MUTED};
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Shape};

/// What a chart of estimates shows.
#[derive(Debug, Clone, Default)]
pub struct Intervals<'a> {
    /// Above the panel.
    pub title: &'a str,
    /// The horizontal axis, with its unit.
    pub x_label: &'a str,
    /// One name per estimate, from the top down.
    pub names: &'a [String],
    /// The estimates, `[num_estimates]`; those with a NaN are left out.
    pub means: &'a [f64],
    /// Their standard deviations, `[num_estimates]`; an infinite one draws no line.
    pub sds: &'a [f64],
}

const ROW: f64 = 18.0;

/// A chart of estimates below each other.
#[must_use]
pub fn intervals(chart: &Intervals<'_>) -> Picture {
    let font = Font::new();
    let count = chart.means.len();
    let panel = Area { x: 10.0, y: 8.0, width: 624.0, height: (count as f64 * ROW + 74.0).max(120.0) };
    let mut picture = Picture::new(640.0, panel.height + 14.0);
    let sd = |index: usize| chart.sds.get(index).copied().filter(|sd| sd.is_finite()).unwrap_or(0.0);
    let ends = chart.means.iter().enumerate().flat_map(|(i, mean)| [mean - 2.0 * sd(i), mean + 2.0 * sd(i)]);
    let x = Axis::of(ends, 0.05);
    let names = chart.names.iter().map(|name| font.width(name, 10.5)).fold(0.0, f64::max).min(220.0);
    let area = Area {
        x: panel.x + names + 14.0,
        y: panel.y + 28.0,
        width: panel.width - names - 24.0,
        height: panel.height - 74.0,
    };
    let y = Axis { low: 0.0, high: count.max(1) as f64, logarithmic: false, whole: true };
    let frame = Frame { area, x, y };
    let labels = Labels { title: chart.title, x: chart.x_label, y: "" };
    frame.draw_columns(&mut picture, &labels);
    if frame.x.low < 0.0 && frame.x.high > 0.0 {
        let zero = frame.point(0.0, 0.0).0;
        picture.line(vec![(zero, area.y), (zero, area.bottom())], MUTED, 1.2);
    }
    for (index, mean) in chart.means.iter().enumerate().filter(|(_, mean)| mean.is_finite()) {
        let at = |value: f64| frame.point(value, count as f64 - index as f64 - 0.5);
        let sd = sd(index);
        picture.line(vec![at(mean - 2.0 * sd), at(mean + 2.0 * sd)], ACCENT.with_opacity(0.7), 1.3);
        picture.line(vec![at(mean - sd), at(mean + sd)], ACCENT, 3.2);
        picture.add(Shape::Circle { center: at(*mean), radius: 3.6, fill: ACCENT });
    }
    picture.clip(None);
    for (index, name) in chart.names.iter().enumerate().take(count) {
        let y = area.y + (index as f64 + 0.5) * area.height / count.max(1) as f64 + 3.6;
        picture.text((area.x - 8.0, y), name.as_str(), 10.5, Anchor::End, INK);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_estimate_has_a_dot_and_two_lines() {
        let names: Vec<String> = (0..3).map(|i| format!("coefficient {i}")).collect();
        let chart = Intervals {
            title: "t",
            x_label: "x",
            names: &names,
            means: &[1.0, f64::NAN, -2.0],
            sds: &[0.5, 1.0, f64::INFINITY],
        };
        let svg = intervals(&chart).svg();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("stroke-width=\"3.2\"").count(), 2);
        assert!(names.iter().all(|name| svg.contains(name.as_str())));
        assert!(intervals(&Intervals::default()).png().is_ok());
    }
}
