//! Named estimates with their uncertainty: a dot, a thick line of one and a thin line of two standard deviations.

use super::axes::{Axis, Labels, Panel};
use super::canvas::{PlotError, fill, stroke, units};
use super::colour::{ACCENT, INK, MUTED};
use super::font::Font;
use super::scene::{Anchor, Area, Picture};
use plotters::element::{Circle, PathElement};

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
    let height = (chart.means.len() as f64 * ROW + 74.0).max(120.0);
    Picture::drawn(640.0, height + 14.0, |picture| draw(picture, chart, height))
}

fn draw(picture: &mut Picture, chart: &Intervals<'_>, height: f64) -> Result<(), PlotError> {
    let font = Font::new();
    let count = chart.means.len();
    let outer = Area { x: 10.0, y: 8.0, width: 624.0, height };
    let sd = |index: usize| chart.sds.get(index).copied().filter(|sd| sd.is_finite()).unwrap_or(0.0);
    let ends = chart.means.iter().enumerate().flat_map(|(i, mean)| [mean - 2.0 * sd(i), mean + 2.0 * sd(i)]);
    let x = Axis::of(ends, 0.05);
    let y = Axis { low: 0.0, high: count.max(1) as f64, logarithmic: false, whole: true };
    let names = chart.names.iter().map(|name| font.width(name, 10.5)).fold(0.0, f64::max).min(220.0);
    let labels = Labels { title: chart.title, x: chart.x_label, y: "" };
    let panel = Panel::of_rows(picture, outer, x, y, &labels, names + 14.0)?;
    let area = panel.on(picture);
    let draw_line = |from: (f64, f64), to: (f64, f64), colour, width| {
        area.draw(&PathElement::new(vec![from, to], stroke(colour, width)))
    };
    if x.low < 0.0 && x.high > 0.0 {
        draw_line((0.0, y.low), (0.0, y.high), MUTED, 1.2)?;
    }
    let row = |index: usize| count as f64 - index as f64 - 0.5;
    for (index, &mean) in chart.means.iter().enumerate().filter(|(_, mean)| mean.is_finite()) {
        let at = |value: f64| (value, row(index));
        let sd = sd(index);
        draw_line(at(mean - 2.0 * sd), at(mean + 2.0 * sd), ACCENT.with_opacity(0.7), 1.3)?;
        draw_line(at(mean - sd), at(mean + sd), ACCENT, 3.2)?;
        area.draw(&Circle::new(at(mean), units(3.6), fill(ACCENT)))?;
    }
    drop(area);
    for (index, name) in chart.names.iter().enumerate().take(count) {
        let baseline = panel.point(x.low, row(index)).1 + 3.6;
        picture.text((panel.area.x - 8.0, baseline), name.as_str(), 10.5, Anchor::End, INK);
    }
    Ok(())
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
