//! Pictures as a backend of plotters, to a fraction of a pixel.

use super::colour::Colour;
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Point, Shape, Text};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBAColor, ShapeStyle, TextStyle};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};
use std::convert::Infallible;

/// Why something was not drawn.
pub(super) type PlotError = DrawingAreaErrorKind<Infallible>;

/// Backend units in a pixel: the coordinates of plotters are whole numbers.
const UNITS: f64 = 64.0;
/// Where a line of text has its baseline, in font sizes below its top and below its middle.
const BASELINE_BELOW_TOP: f64 = 0.76;
const BASELINE_BELOW_MIDDLE: f64 = 0.36;

/// A length in pixels as a length of the backend.
pub(super) fn units(pixels: f64) -> i32 {
    (pixels * UNITS).round() as i32
}

/// A length of the backend in pixels.
pub(super) fn pixels(units: i32) -> f64 {
    f64::from(units) / UNITS
}

fn color(colour: Colour) -> RGBAColor {
    let [red, green, blue] = colour.rgb;
    RGBAColor(red, green, blue, f64::from(colour.opacity))
}

/// A line of so many pixels.
pub(super) fn stroke(colour: Colour, width: f64) -> ShapeStyle {
    ShapeStyle { color: color(colour), filled: false, stroke_width: units(width).unsigned_abs() }
}

/// The inside of a shape.
pub(super) fn fill(colour: Colour) -> ShapeStyle {
    ShapeStyle { color: color(colour), filled: true, stroke_width: 0 }
}

/// Text of a size in pixels.
pub(super) fn text_style(colour: Colour, size: f64) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, size * UNITS, FontStyle::Normal);
    TextStyle { font, color: color(colour).to_backend_color(), pos: Pos::new(HPos::Left, VPos::Top) }
}

/// A picture that plotters draws on; what it draws is cut to `clip`, and nothing after it.
pub(super) struct Canvas<'p> {
    picture: &'p mut Picture,
}

impl<'p> Canvas<'p> {
    pub(super) fn new(picture: &'p mut Picture, clip: Option<Area>) -> Self {
        picture.clip(clip);
        Self { picture }
    }

    fn line(&mut self, points: Vec<Point>, style: &impl BackendStyle) {
        let width = f64::from(style.stroke_width()) / UNITS;
        self.add(style.color(), |colour| Shape::Line { points, colour, width });
    }

    /// Adds what is not transparent.
    fn add(&mut self, color: BackendColor, shape: impl FnOnce(Colour) -> Shape) {
        if color.alpha > 0.0 {
            let (red, green, blue) = color.rgb;
            self.picture.add(shape(Colour::new(red, green, blue).with_opacity(color.alpha as f32)));
        }
    }
}

impl Drop for Canvas<'_> {
    fn drop(&mut self) {
        self.picture.clip(None);
    }
}

fn point((x, y): BackendCoord) -> Point {
    (pixels(x), pixels(y))
}

fn area(upper_left: BackendCoord, lower_right: BackendCoord) -> Area {
    let ((x, y), (right, bottom)) = (point(upper_left), point(lower_right));
    Area { x, y, width: right - x, height: bottom - y }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (units(self.picture.width).unsigned_abs(), units(self.picture.height).unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        self.add(color, |fill| Shape::Rectangle { area: area(at, (at.0 + 1, at.1 + 1)), fill });
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.line(vec![point(from), point(to)], style);
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        self.line(path.into_iter().map(point).collect(), style);
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        lower_right: BackendCoord,
        style: &S,
        filled: bool,
    ) -> Drawn {
        let area = area(upper_left, lower_right);
        if filled {
            self.add(style.color(), |fill| Shape::Rectangle { area, fill });
        } else {
            self.line(area.corners(), style);
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, filled: bool) -> Drawn {
        let (center, radius) = (point(center), f64::from(radius) / UNITS);
        if filled {
            self.add(style.color(), |fill| Shape::Circle { center, radius, fill });
        } else {
            let around = |step: i32| {
                let (sine, cosine) = (f64::from(step) / 64.0 * std::f64::consts::TAU).sin_cos();
                (center.0 + radius * cosine, center.1 + radius * sine)
            };
            self.line((0..=64).map(around).collect(), style);
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, corners: I, style: &S) -> Drawn {
        let points = corners.into_iter().map(point).collect();
        self.add(style.color(), |fill| Shape::Polygon { points, fill });
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let size = style.size() / UNITS;
        let Pos { h_pos, v_pos } = style.anchor();
        let anchor = match h_pos {
            HPos::Left => Anchor::Start,
            HPos::Center => Anchor::Middle,
            HPos::Right => Anchor::End,
        };
        let below = match v_pos {
            VPos::Top => BASELINE_BELOW_TOP * size,
            VPos::Center => BASELINE_BELOW_MIDDLE * size,
            VPos::Bottom => (BASELINE_BELOW_TOP - 1.0) * size,
        };
        let (x, y) = point(at);
        let upward = matches!(style.transform(), FontTransform::Rotate270);
        let at = if upward { (x + below, y) } else { (x, y + below) };
        self.add(style.color(), |colour| Shape::Text(Text { at, text: text.to_owned(), size, anchor, colour, upward }));
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((Font::new().width(text, style.size()).ceil() as u32, style.size().ceil() as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::drawing::IntoDrawingArea;
    use plotters::element::{Circle, PathElement, Polygon, Rectangle};

    #[test]
    fn shapes_keep_fractions_of_a_pixel_and_their_clip() {
        let mut picture = Picture::new(100.0, 50.0);
        let colour = Colour::new(1, 2, 3);
        let clip = Area { x: 1.0, y: 2.0, width: 3.0, height: 4.0 };
        let root = Canvas::new(&mut picture, Some(clip)).into_drawing_area();
        let at = |x: f64, y: f64| (units(x), units(y));
        root.draw(&PathElement::new(vec![at(0.5, 0.25), at(1.0, 2.0)], stroke(colour, 1.5))).unwrap();
        root.draw(&Circle::new(at(3.0, 4.75), units(2.5), fill(colour.with_opacity(0.5)))).unwrap();
        root.draw(&Circle::new(at(3.0, 4.75), units(2.5), fill(colour.with_opacity(0.0)))).unwrap();
        root.draw(&Polygon::new(vec![at(0.0, 0.0), at(1.0, 0.0), at(1.0, 1.0)], fill(colour))).unwrap();
        root.draw(&Rectangle::new([at(1.0, 2.0), at(4.0, 3.5)], stroke(colour, 1.0))).unwrap();
        root.draw_text("x", &text_style(colour, 10.0), at(7.0, 8.0)).unwrap();
        drop(root);
        assert!(picture.shapes.iter().all(|(area, _)| *area == Some(clip)));
        let shapes: Vec<Shape> = picture.shapes.into_iter().map(|(_, shape)| shape).collect();
        let corners = vec![(1.0, 2.0), (4.0, 2.0), (4.0, 3.5), (1.0, 3.5), (1.0, 2.0)];
        let text = Text {
            at: (7.0, 8.0 + 7.6),
            text: "x".to_owned(),
            size: 10.0,
            anchor: Anchor::Start,
            colour,
            upward: false,
        };
        let expected = [
            Shape::Line { points: vec![(0.5, 0.25), (1.0, 2.0)], colour, width: 1.5 },
            Shape::Circle { center: (3.0, 4.75), radius: 2.5, fill: colour.with_opacity(0.5) },
            Shape::Polygon { points: vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], fill: colour },
            Shape::Line { points: corners, colour, width: 1.0 },
            Shape::Text(text),
        ];
        assert_eq!(shapes, expected);
    }
}
