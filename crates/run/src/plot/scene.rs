//! A picture as a list of shapes, which the SVG writer and the rasteriser both draw.

use super::canvas::PlotError;
use super::colour::Colour;

/// A point in pixels, from the upper left corner.
pub(super) type Point = (f64, f64);

/// Which point of a text its position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Its corners, the first one again at the end.
    pub(super) fn corners(&self) -> Vec<Point> {
        let (left, top, right, bottom) = (self.x, self.y, self.right(), self.bottom());
        vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    }
}

/// A run of text in one line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    /// The position of the baseline.
    pub(super) at: Point,
    pub(super) text: String,
    /// The font size in pixels.
    pub(super) size: f64,
    pub(super) anchor: Anchor,
    pub(super) colour: Colour,
    /// Read from the bottom up.
    pub(super) upward: bool,
}

/// One thing to draw.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Line {
        points: Vec<Point>,
        colour: Colour,
        width: f64,
    },
    Polygon {
        points: Vec<Point>,
        fill: Colour,
    },
    Circle {
        center: Point,
        radius: f64,
        fill: Colour,
    },
    Rectangle {
        area: Area,
        fill: Colour,
    },
    Text(Text),
    /// Pixels in row-major order, `columns` per row, stretched over the area without smoothing.
    Image {
        area: Area,
        columns: usize,
        pixels: Vec<[u8; 3]>,
    },
}

/// A finished picture; write it with `RunDirectory::write_picture`.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Each shape with the area outside of which nothing of it is drawn.
    pub(super) shapes: Vec<(Option<Area>, Shape)>,
    clip: Option<Area>,
    /// Why it is not complete.
    failure: Option<String>,
}

impl Picture {
    /// An empty picture of so many pixels.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, shapes: Vec::new(), clip: None, failure: None }
    }

    /// A picture of so many pixels as `draw` makes it; where that fails, writing the picture says why.
    pub(super) fn drawn(width: f64, height: f64, draw: impl FnOnce(&mut Self) -> Result<(), PlotError>) -> Self {
        let mut picture = Self::new(width, height);
        picture.failure = draw(&mut picture).err().map(|error| error.to_string());
        picture
    }

    /// Draws only within `area` from now on.
    pub(super) fn clip(&mut self, area: Option<Area>) {
        self.clip = area;
    }

    pub(super) fn add(&mut self, shape: Shape) {
        self.shapes.push((self.clip, shape));
    }

    pub(super) fn line(&mut self, points: Vec<Point>, colour: Colour, width: f64) {
        self.add(Shape::Line { points, colour, width });
    }

    pub(super) fn text(&mut self, at: Point, text: impl Into<String>, size: f64, anchor: Anchor, colour: Colour) {
        self.add(Shape::Text(Text { at, text: text.into(), size, anchor, colour, upward: false }));
    }

    /// The outline of a rectangle.
    pub(super) fn outline(&mut self, area: Area, colour: Colour, width: f64) {
        self.line(area.corners(), colour, width);
    }

    /// The picture as an SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        super::svg::document(self)
    }

    /// The picture as a PNG file of twice its nominal size.
    ///
    /// # Errors
    /// A reason, when it is too large to be drawn or a part of it could not be.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        super::raster::png(self, 2.0)
    }
}
