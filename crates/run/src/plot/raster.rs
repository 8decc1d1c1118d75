//! Pictures as PNG files, anti-aliased.

use super::colour::Colour;
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Shape, Text};
use tiny_skia::{
    Color, FillRule, FilterQuality, IntSize, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, PixmapPaint,
    Rect, Stroke, Transform,
};

/// The paint of a colour.
fn paint(colour: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    let [red, green, blue] = colour.rgb;
    paint.set_color_rgba8(red, green, blue, (colour.opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint.anti_alias = true;
    paint
}

fn rectangle(area: Area) -> Option<Path> {
    Rect::from_xywh(area.x as f32, area.y as f32, area.width as f32, area.height as f32).map(PathBuilder::from_rect)
}

fn polyline(points: &[(f64, f64)], closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 { path.move_to(x as f32, y as f32) } else { path.line_to(x as f32, y as f32) }
    }
    if closed {
        path.close();
    }
    path.finish()
}

/// A PNG of the bare pixels, `columns` per row.
pub(super) fn image_png(columns: usize, pixels: &[[u8; 3]]) -> Option<Vec<u8>> {
    let rows = pixels.len().checked_div(columns)?;
    let data = pixels[..rows * columns].as_flattened();
    encode(u32::try_from(columns).ok()?, u32::try_from(rows).ok()?, data).ok()
}

/// A PNG file of opaque pixels, three bytes each; compressed fast rather than small.
fn encode(width: u32, height: u32, rgb: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(file)
}

fn image(columns: usize, pixels: &[[u8; 3]]) -> Option<Pixmap> {
    let rows = pixels.len().checked_div(columns)?;
    let size = IntSize::from_wh(u32::try_from(columns).ok()?, u32::try_from(rows).ok()?)?;
    let data = pixels[..rows * columns].iter().flat_map(|&[red, green, blue]| [red, green, blue, 255]).collect();
    Pixmap::from_vec(data, size)
}

/// What is drawn on.
struct Canvas {
    pixmap: Pixmap,
    transform: Transform,
    font: Font,
}

impl Canvas {
    fn fill(&mut self, path: Option<Path>, colour: Colour, transform: Transform, mask: Option<&Mask>) {
        if let Some(path) = path {
            self.pixmap.fill_path(&path, &paint(colour), FillRule::Winding, transform, mask);
        }
    }

    fn text(&mut self, text: &Text, mask: Option<&Mask>) {
        let width = self.font.width(&text.text, text.size);
        let shift = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let mut path = PathBuilder::new();
        self.font.outline(&text.text, text.size, &mut path);
        let mut place = self.transform.pre_translate(text.at.0 as f32, text.at.1 as f32);
        if text.upward {
            place = place.pre_rotate(-90.0);
        }
        self.fill(path.finish(), text.colour, place.pre_translate(shift as f32, 0.0), mask);
    }

    fn draw(&mut self, shape: &Shape, mask: Option<&Mask>) {
        let transform = self.transform;
        match shape {
            Shape::Line { points, colour, width } => {
                let stroke = Stroke {
                    width: *width as f32,
                    line_join: LineJoin::Round,
                    line_cap: LineCap::Butt,
                    ..Stroke::default()
                };
                if let Some(path) = polyline(points, false) {
                    self.pixmap.stroke_path(&path, &paint(*colour), &stroke, transform, mask);
                }
            }
            Shape::Polygon { points, fill } => self.fill(polyline(points, true), *fill, transform, mask),
            Shape::Circle { center, radius, fill } => {
                let path = PathBuilder::from_circle(center.0 as f32, center.1 as f32, *radius as f32);
                self.fill(path, *fill, transform, mask);
            }
            Shape::Rectangle { area, fill } => self.fill(rectangle(*area), *fill, transform, mask),
            Shape::Text(text) => self.text(text, mask),
            Shape::Image { area, columns, pixels } => {
                if let Some(image) = image(*columns, pixels) {
                    let place = transform.pre_translate(area.x as f32, area.y as f32).pre_scale(
                        area.width as f32 / image.width() as f32,
                        area.height as f32 / image.height() as f32,
                    );
                    let paint = PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
                    self.pixmap.draw_pixmap(0, 0, image.as_ref(), &paint, place, mask);
                }
            }
        }
    }
}

/// Whether nothing of the shape reaches out of the area, so that it need not be cut.
fn is_within(shape: &Shape, area: &Area) -> bool {
    let inside = |(x, y): (f64, f64), pad: f64| {
        x - pad >= area.x && x + pad <= area.right() && y - pad >= area.y && y + pad <= area.bottom()
    };
    match shape {
        Shape::Line { points, width, .. } => points.iter().all(|&point| inside(point, *width)),
        Shape::Polygon { points, .. } => points.iter().all(|&point| inside(point, 0.0)),
        Shape::Circle { center, radius, .. } => inside(*center, *radius),
        Shape::Rectangle { area: own, .. } | Shape::Image { area: own, .. } => {
            inside((own.x, own.y), 0.0) && inside((own.right(), own.bottom()), 0.0)
        }
        Shape::Text(_) => false,
    }
}

/// The picture as a PNG file, `scale` times as large.
pub(super) fn png(picture: &Picture, scale: f32) -> Result<Vec<u8>, String> {
    let pixels = |length: f64| (length as f32 * scale).ceil() as u32;
    let (width, height) = (pixels(picture.width), pixels(picture.height));
    let too_large = || format!("{width} × {height} pixels are too many");
    let mut pixmap = Pixmap::new(width, height).ok_or_else(too_large)?;
    pixmap.fill(Color::WHITE);
    let mut canvas = Canvas { pixmap, transform: Transform::from_scale(scale, scale), font: Font::new() };
    let mut mask: Option<(Area, Mask)> = None;
    for (clip, shape) in &picture.shapes {
        let clip = clip.filter(|area| !is_within(shape, area));
        if let Some(area) = clip
            && mask.as_ref().is_none_or(|(known, _)| *known != area)
        {
            let mut fresh = Mask::new(width, height).ok_or_else(too_large)?;
            if let Some(path) = rectangle(area) {
                fresh.fill_path(&path, FillRule::Winding, true, canvas.transform);
            }
            mask = Some((area, fresh));
        }
        let current = mask.as_ref().filter(|(area, _)| Some(*area) == clip).map(|(_, mask)| mask);
        canvas.draw(shape, current);
    }
    let rgb: Vec<u8> = canvas.pixmap.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    encode(width, height, &rgb).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::colour::INK;

    #[test]
    fn shapes_are_where_they_should_be() {
        let mut picture = Picture::new(20.0, 10.0);
        let area = Area { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        picture.clip(Some(area));
        picture.add(Shape::Rectangle { area: Area { x: 5.0, y: 0.0, width: 10.0, height: 10.0 }, fill: INK });
        picture.clip(None);
        let pixels = vec![[255, 0, 0], [0, 0, 255]];
        picture.add(Shape::Image { area: Area { x: 16.0, y: 0.0, width: 4.0, height: 4.0 }, columns: 2, pixels });
        let drawn = Pixmap::decode_png(&png(&picture, 2.0).unwrap()).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (40, 20));
        let rgb = |x, y| {
            let pixel = drawn.pixel(x, y).unwrap();
            [pixel.red(), pixel.green(), pixel.blue()]
        };
        assert_eq!(rgb(4, 10), [255, 255, 255]);
        assert_eq!(rgb(15, 10), INK.rgb);
        assert_eq!(rgb(25, 10), [255, 255, 255]); // clipped
        assert_eq!((rgb(33, 2), rgb(38, 2)), ([255, 0, 0], [0, 0, 255]));
    }

    #[test]
    fn text_leaves_ink() {
        let mut picture = Picture::new(60.0, 20.0);
        picture.text((5.0, 15.0), "ELBO", 12.0, Anchor::Start, INK);
        let drawn = Pixmap::decode_png(&png(&picture, 2.0).unwrap()).unwrap();
        let dark = drawn.pixels().iter().filter(|pixel| pixel.red() < 100).count();
        assert!((100..800).contains(&dark), "{dark}");
    }
}
