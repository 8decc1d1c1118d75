//! Lines with bands over time or another ordered axis, with points and coloured stretches.

use super::axes::{Axis, Labels, Panel, PanelArea, legend};
use super::canvas::{PlotError, fill, stroke, units};
use super::colour::{Colour, INK, MUTED, class_colour};
use super::scene::{Area, Picture, Point};
use plotters::element::{Circle, PathElement, Polygon, Rectangle};

/// The uncertainty around a line.
#[derive(Debug, Clone, Copy)]
pub struct Band<'a> {
    /// Its lower edge, `[num_points]`.
    pub lower: &'a [f64],
    /// Its upper edge, `[num_points]`.
    pub upper: &'a [f64],
}

/// One line.
#[derive(Debug, Clone, Default)]
pub struct Series<'a> {
    /// In the legend.
    pub name: &'a str,
    /// Its values, `[num_points]`; NaN interrupts it.
    pub values: &'a [f64],
    /// Its uncertainty.
    pub band: Option<Band<'a>>,
}

/// What a chart over an ordered axis shows.
#[derive(Debug, Clone, Default)]
pub struct SeriesChart<'a> {
    /// Above the panel.
    pub title: &'a str,
    /// The horizontal axis, with its unit.
    pub x_label: &'a str,
    /// The vertical axis, with its unit.
    pub y_label: &'a str,
    /// The positions, `[num_points]`, increasing.
    pub x: &'a [f64],
    /// The observations, `[num_points]`, as dots; empty: none.
    pub observations: &'a [f64],
    /// The lines.
    pub series: &'a [Series<'a>],
    /// The state at each position, `[num_points]`, as the background's colour; empty: none.
    pub states: &'a [usize],
}

/// Stretches of finite values, as index ranges.
fn stretches(values: &[f64]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    for index in 0..=values.len() {
        let finite = values.get(index).is_some_and(|value| value.is_finite());
        match (finite, start) {
            (true, None) => start = Some(index),
            (false, Some(first)) => {
                ranges.push(first..index);
                start = None;
            }
            _ => {}
        }
    }
    ranges
}

/// Colours the background by the state; neighbouring positions meet halfway.
fn draw_states(area: &PanelArea<'_>, chart: &SeriesChart<'_>, least_width: f64) -> Result<(), PlotError> {
    let heights = area.get_y_range();
    let count = chart.states.len().min(chart.x.len());
    let mut first = 0;
    for end in 1..=count {
        if end < count && chart.states[end] == chart.states[first] {
            continue;
        }
        let edge = |left: usize, right: usize| (chart.x[left] + chart.x[right]) / 2.0;
        let left = if first == 0 { edge(0, 0) } else { edge(first - 1, first) };
        let right = if end == count { edge(end - 1, end - 1) } else { edge(end - 1, end) };
        let corners = [(left, heights.end), (right.max(left + least_width), heights.start)];
        area.draw(&Rectangle::new(corners, fill(class_colour(chart.states[first]).with_opacity(0.16))))?;
        first = end;
    }
    Ok(())
}

fn draw_series(area: &PanelArea<'_>, x: &[f64], series: &Series<'_>, colour: Colour) -> Result<(), PlotError> {
    let at = |index: usize, value: f64| (x.get(index).copied().unwrap_or(f64::NAN), value);
    if let Some(band) = series.band {
        let finite: Vec<f64> = band.lower.iter().zip(band.upper).map(|(lower, upper)| lower + upper).collect();
        for range in stretches(&finite) {
            let upper = range.clone().map(|index| at(index, band.upper[index]));
            let lower = range.rev().map(|index| at(index, band.lower[index]));
            area.draw(&Polygon::new(upper.chain(lower).collect::<Vec<Point>>(), fill(colour.with_opacity(0.22))))?;
        }
    }
    for range in stretches(series.values) {
        let points: Vec<Point> = range.map(|index| at(index, series.values[index])).collect();
        area.draw(&PathElement::new(points, stroke(colour, 1.8)))?;
    }
    Ok(())
}

/// The colour of a line; over coloured states the lines take other colours than the states.
fn line_colour(index: usize, over_states: bool) -> Colour {
    match (over_states, index) {
        (false, _) => class_colour(index),
        (true, 0) => INK,
        (true, _) => class_colour(index + 4),
    }
}

/// A chart of lines with bands.
#[must_use]
pub fn series_chart(chart: &SeriesChart<'_>) -> Picture {
    Picture::drawn(880.0, 400.0, |picture| draw(picture, chart))
}

fn draw(picture: &mut Picture, chart: &SeriesChart<'_>) -> Result<(), PlotError> {
    let in_series = chart.series.iter().flat_map(|series| {
        let band = series.band.into_iter().flat_map(|band| band.lower.iter().chain(band.upper));
        series.values.iter().chain(band)
    });
    let y = Axis::of(chart.observations.iter().chain(in_series).copied(), 0.06);
    let x = Axis::of(chart.x.iter().copied(), 0.02);
    let labels = Labels { title: chart.title, x: chart.x_label, y: chart.y_label };
    let names: Vec<(Colour, String)> = chart
        .series
        .iter()
        .enumerate()
        .filter(|(_, series)| !series.name.is_empty())
        .map(|(index, series)| (line_colour(index, !chart.states.is_empty()), series.name.to_owned()))
        .collect();
    let outer = Area { x: 10.0, y: 8.0, width: 864.0, height: if names.is_empty() { 388.0 } else { 366.0 } };
    let panel = Panel::new(picture, outer, x, y, &labels)?;
    let area = panel.on(picture);
    draw_states(&area, chart, 0.5 * (x.high - x.low) / panel.area.width)?;
    let radius = if chart.observations.len() > 1000 { 1.2 } else { 2.2 };
    for (&x, &value) in chart.x.iter().zip(chart.observations).filter(|(_, value)| value.is_finite()) {
        area.draw(&Circle::new((x, value), units(radius), fill(MUTED.with_opacity(0.6))))?;
    }
    for (index, series) in chart.series.iter().enumerate() {
        draw_series(&area, chart.x, series, line_colour(index, !chart.states.is_empty()))?;
    }
    drop(area);
    legend(picture, (panel.area.x, 392.0), panel.area.right(), &names);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_interrupt_lines_and_bands() {
        assert_eq!(stretches(&[1.0, f64::NAN, 2.0, 3.0]), [0..1, 2..4]);
        let values = [0.0, 1.0, f64::NAN, 2.0, 3.0];
        let (lower, upper) = (values.map(|value| value - 0.5), values.map(|value| value + 0.5));
        let series = [Series { name: "level", values: &values, band: Some(Band { lower: &lower, upper: &upper }) }];
        let chart = SeriesChart {
            x: &[0.0, 1.0, 2.0, 3.0, 4.0],
            observations: &[0.1, f64::NAN, 1.0, 2.0, 3.0],
            series: &series,
            states: &[0, 0, 1, 1, 0],
            ..SeriesChart::default()
        };
        let svg = series_chart(&chart).svg();
        assert_eq!(svg.matches("<polygon").count(), 2);
        assert_eq!(svg.matches("stroke-width=\"1.8\"").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 4 + 1);
        assert_eq!(svg.matches("fill-opacity=\"0.16\"").count(), 3);
        assert!(!svg.contains("NaN"));
    }
}
