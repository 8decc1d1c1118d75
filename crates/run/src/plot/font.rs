//! The embedded font: widths and outlines of text.

use tiny_skia::PathBuilder;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Latin, Greek and mathematical glyphs of DejaVu Sans; its licence is beside it.
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

/// The font families an SVG asks for, the embedded one first.
pub(super) const FAMILIES: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// The parsed font.
pub(super) struct Font {
    face: Option<Face<'static>>,
}

impl Font {
    pub(super) fn new() -> Self {
        Self { face: Face::parse(FONT, 0).ok() }
    }

    /// The glyphs of a text with their left edges, and the text's width, in pixels at `size`.
    fn layout(&self, text: &str, size: f64) -> (Vec<(GlyphId, f64)>, f64) {
        let Some(face) = &self.face else { return (Vec::new(), 0.0) };
        let scale = size / f64::from(face.units_per_em());
        let mut left = 0.0;
        let mut glyphs = Vec::new();
        for character in text.chars() {
            let glyph = face.glyph_index(character).or_else(|| face.glyph_index('?')).unwrap_or(GlyphId(0));
            glyphs.push((glyph, left));
            left += f64::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        }
        (glyphs, left)
    }

    /// The width of a text in pixels at `size`.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        self.layout(text, size).1
    }

    /// Appends a text's outlines, its baseline beginning at the origin, y downwards.
    pub(super) fn outline(&self, text: &str, size: f64, path: &mut PathBuilder) {
        let Some(face) = &self.face else { return };
        let scale = (size / f64::from(face.units_per_em())) as f32;
        for (glyph, left) in self.layout(text, size).0 {
            face.outline_glyph(glyph, &mut Placed { path, scale, left: left as f32 });
        }
    }
}

/// Scales, shifts and flips a glyph's outline on its way into a path.
struct Placed<'a> {
    path: &'a mut PathBuilder,
    scale: f32,
    left: f32,
}

impl Placed<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.left + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_font_has_what_charts_need() {
        let font = Font::new();
        let face = font.face.as_ref().unwrap();
        for character in "ELBO (nats) 0123456789 −·×μσ²θ⁻√∞…é".chars() {
            assert!(face.glyph_index(character).is_some(), "{character}");
        }
        // DejaVu Sans: a digit is 1303 of 2048 units wide.
        assert!((font.width("00", 20.48) - 26.06).abs() < 1e-9);
        let mut path = PathBuilder::new();
        font.outline("x", 10.0, &mut path);
        let bounds = path.finish().unwrap().bounds();
        assert!(bounds.top() < -5.0 && bounds.bottom().abs() < 0.1, "{bounds:?}");
    }
}
