//! Axes: ranges, ticks, labels and the frame of a panel.

use super::canvas::{Canvas, PlotError, pixels, stroke, text_style, units};
use super::colour::{FRAME, GRID, INK, MUTED};
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Point, Shape};
use plotters::chart::ChartBuilder;
use plotters::coord::CoordTranslate;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::Rectangle;
use std::ops::Range;

const TICK_SIZE: f64 = 10.5;
const LABEL_SIZE: f64 = 11.5;
const TITLE_SIZE: f64 = 12.5;
/// About how many ticks a vertical axis has.
const Y_TICKS: usize = 6;

/// The range of one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Logarithmic to base 10; the range is then positive.
    pub(super) logarithmic: bool,
    /// Ticks at whole numbers only.
    pub(super) whole: bool,
}

impl Axis {
    /// The range of the finite values, widened by the share `margin` on both sides; around a single value ±½ or 10 %.
    pub(super) fn of(values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let extent = high - low;
        let pad = if extent > 1e-12 * low.abs().max(high.abs()) { extent * margin } else { (low.abs() * 0.1).max(0.5) };
        Self { low: low - pad, high: high + pad, logarithmic: false, whole: false }
    }

    /// A range of counts: ticks at whole numbers only.
    pub(super) fn of_counts(values: impl Iterator<Item = f64>, margin: f64) -> Self {
        Self { whole: true, ..Self::of(values, margin) }
    }

    /// A logarithmic axis over the positive finite values, widened to whole decades.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let logs = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
        let (low, high) =
            logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| (low.min(log), high.max(log)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low.floor(), high.ceil()) };
        let high = if high > low { high } else { low + 1.0 };
        Self { low: 10f64.powf(low), high: 10f64.powf(high), logarithmic: true, whole: false }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// About `count` round values within the range, with their labels.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if count == 0 {
            return Vec::new();
        }
        if self.logarithmic {
            return self.decades(count);
        }
        let step = round_step((self.high - self.low) / count as f64);
        let step = if self.whole { step.max(1.0) } else { step };
        let largest = self.low.abs().max(self.high.abs());
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).map(|value| (value, label(value, step, largest))).collect()
    }

    fn decades(&self, count: usize) -> Vec<(f64, String)> {
        let (first, last) = (self.low.log10().round() as i64, self.high.log10().round() as i64);
        let every = ((last - first) as usize).div_ceil(count).max(1);
        (first..=last).step_by(every).map(|power| (10f64.powi(power as i32), power_of_ten(power))).collect()
    }
}

/// The nearest of 1, 2, 5 × 10ⁿ to `step` on a logarithmic scale.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = match step / power {
        share if share < 1.5 => 1.0,
        share if share < 3.3 => 2.0,
        share if share < 7.2 => 5.0,
        _ => 10.0,
    };
    factor * power
}

/// A tick's label: as many decimals as its step needs, a true minus sign; where the axis reaches beyond a million or its
/// steps are below a millionth, in units of the power of ten of `largest`.
fn label(value: f64, step: f64, largest: f64) -> String {
    let step_power = (step.log10() + 1e-9).floor();
    let largest_power = largest.log10().floor();
    let (scale, unit) = if largest >= 1e6 || (step < 1e-6 && largest < 1e-3) {
        (largest_power, format!("e{largest_power:.0}"))
    } else {
        (0.0, String::new())
    };
    let decimals = (scale - step_power).max(0.0) as usize;
    let number = format!("{:.decimals$}", value / 10f64.powf(scale));
    if number.trim_start_matches('-').chars().all(|digit| "0.".contains(digit)) {
        return "0".to_owned();
    }
    format!("{number}{unit}").replace('-', "−")
}

/// `10⁻³`.
fn power_of_ten(power: i64) -> String {
    let digits = power.to_string();
    let raised = digits.chars().map(|character| match character {
        '-' => '⁻',
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        _ => '⁹',
    });
    match power {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        _ => format!("10{}", raised.collect::<String>()),
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = (f64::from(limit.0), f64::from(limit.1));
        (from + self.share(*value) * (to - from)).round() as i32
    }

    /// The ticks; there are none between them.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks(hint.max_num_points()).into_iter().map(|(value, _)| value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string().replace('-', "−")
    }
}

/// The words around a panel.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// What is drawn on within a panel, in the units of its axes.
pub(super) type PanelArea<'p> = DrawingArea<Canvas<'p>, Cartesian2d<Axis, Axis>>;

/// A panel with its axes, drawn.
#[derive(Clone)]
pub(super) struct Panel {
    /// What the axes enclose, in pixels.
    pub(super) area: Area,
    coordinates: Cartesian2d<Axis, Axis>,
}

impl Panel {
    /// Draws a panel that fills `outer` with its grid, frame, ticks and labels.
    pub(super) fn new(
        picture: &mut Picture,
        outer: Area,
        x: Axis,
        y: Axis,
        labels: &Labels<'_>,
    ) -> Result<Self, PlotError> {
        let font = Font::new();
        let widest = y.ticks(Y_TICKS).iter().map(|(_, text)| font.width(text, TICK_SIZE)).fold(0.0, f64::max);
        let left = widest + 12.0 + if labels.y.is_empty() { 0.0 } else { 20.0 };
        Self::with_rows(picture, outer, x, y, labels, left, Y_TICKS)
    }

    /// Draws a panel whose vertical axis has no ticks but `left` pixels at its left for what the rows are.
    pub(super) fn of_rows(
        picture: &mut Picture,
        outer: Area,
        x: Axis,
        y: Axis,
        labels: &Labels<'_>,
        left: f64,
    ) -> Result<Self, PlotError> {
        Self::with_rows(picture, outer, x, y, labels, left, 0)
    }

    fn with_rows(
        picture: &mut Picture,
        outer: Area,
        x: Axis,
        y: Axis,
        labels: &Labels<'_>,
        left: f64,
        y_ticks: usize,
    ) -> Result<Self, PlotError> {
        let top = if labels.title.is_empty() { 8.0 } else { 28.0 };
        let bottom = if labels.x.is_empty() { 24.0 } else { 42.0 };
        let x_ticks = (((outer.width - left - 10.0) / 90.0) as usize).clamp(2, 10);
        let label_of = |ticks: Vec<(f64, String)>| {
            move |value: &f64| {
                ticks.iter().find(|(at, _)| at == value).map_or_else(String::new, |(_, text)| text.clone())
            }
        };
        let (x_label, y_label) = (label_of(x.ticks(x_ticks)), label_of(y.ticks(y_ticks)));

        let root = Canvas::new(picture, None).into_drawing_area();
        let root = root.shrink((units(outer.x), units(outer.y)), (units(outer.width), units(outer.height)));
        root.draw_text(labels.title, &text_style(INK, TITLE_SIZE), (units(left), units(top - 10.0 - TITLE_SIZE)))?;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(units(top))
            .margin_right(units(10.0))
            .x_label_area_size(units(bottom))
            .y_label_area_size(units(left))
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(x_ticks).y_labels(y_ticks).x_label_formatter(&x_label).y_label_formatter(&y_label);
        mesh.label_style(text_style(MUTED, TICK_SIZE)).axis_desc_style(text_style(INK, LABEL_SIZE));
        mesh.bold_line_style(stroke(GRID, 1.0)).axis_style(stroke(FRAME, 1.0)).set_all_tick_mark_size(units(3.5));
        if !labels.x.is_empty() {
            mesh.x_desc(labels.x);
        }
        if !labels.y.is_empty() {
            mesh.y_desc(labels.y);
        }
        mesh.draw()?;
        let plotting_area = chart.plotting_area();
        let (across, down) = plotting_area.get_pixel_range();
        let area = Area {
            x: pixels(across.start),
            y: pixels(down.start),
            width: pixels(across.end - across.start),
            height: pixels(down.end - down.start),
        };
        root.strip_coord_spec().draw(&Rectangle::new(
            [(across.start, down.start), (across.end, down.end)].map(|(x, y)| (x - units(outer.x), y - units(outer.y))),
            stroke(FRAME, 1.0),
        ))?;
        Ok(Self { area, coordinates: plotting_area.as_coord_spec().clone() })
    }

    /// What draws within the panel; it cuts off what reaches out of it.
    pub(super) fn on<'p>(&self, picture: &'p mut Picture) -> PanelArea<'p> {
        Canvas::new(picture, Some(self.area)).into_drawing_area().apply_coord_spec(self.coordinates.clone())
    }

    /// Where a pair of values lies, in pixels.
    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        let (x, y) = self.coordinates.translate(&(x, y));
        (pixels(x), pixels(y))
    }
}

/// A legend in one line, its left end at `at`: a dot of the class's colour before each name.
pub(super) fn legend(picture: &mut Picture, at: Point, right: f64, entries: &[(super::Colour, String)]) {
    picture.clip(None);
    let font = Font::new();
    let (mut x, y) = at;
    for (index, (colour, name)) in entries.iter().enumerate() {
        let width = 24.0 + font.width(name, TICK_SIZE);
        if x + width > right && index > 0 {
            picture.text((x, y), "…", TICK_SIZE, Anchor::Start, MUTED);
            return;
        }
        picture.add(Shape::Circle { center: (x + 4.0, y - 3.6), radius: 4.0, fill: *colour });
        picture.text((x + 12.0, y), name.as_str(), TICK_SIZE, Anchor::Start, INK);
        x += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        let axis = Axis { low, high, logarithmic: false, whole: false };
        axis.ticks(5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(-0.31, 0.32), ["−0.3", "−0.2", "−0.1", "0", "0.1", "0.2", "0.3"]);
        assert_eq!(
            labels(-443.4, -443.1),
            ["−443.40", "−443.35", "−443.30", "−443.25", "−443.20", "−443.15", "−443.10"]
        );
        assert_eq!(labels(0.0, 5e-7), ["0", "1e−7", "2e−7", "3e−7", "4e−7", "5e−7"]);
        assert_eq!(labels(-3e7, 1e6), ["−3.0e7", "−2.5e7", "−2.0e7", "−1.5e7", "−1.0e7", "−0.5e7", "0"]);
    }

    #[test]
    fn logarithmic_axes_have_decades() {
        let axis = Axis::logarithmic([0.0, 3e-5, 20.0].into_iter());
        assert_eq!((axis.share(1e-5), axis.share(100.0)), (0.0, 1.0));
        let texts: Vec<String> = axis.ticks(4).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["10⁻⁵", "10⁻³", "10⁻¹", "10"]);
    }

    #[test]
    fn degenerate_ranges_are_widened() {
        let axis = Axis::of([5.0, 5.0, f64::NAN].into_iter(), 0.05);
        assert!(axis.low < 5.0 && axis.high > 5.0);
        let axis = Axis::of(std::iter::empty(), 0.05);
        assert!(axis.low < axis.high);
    }
}
