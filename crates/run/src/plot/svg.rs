//! Pictures as SVG documents.

use super::colour::Colour;
use super::font::FAMILIES;
use super::raster;
use super::scene::{Anchor, Area, Picture, Point, Shape, Text};
use crate::markup::escape;
use std::fmt::Write as _;

/// A coordinate to a hundredth of a pixel.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn points(points: &[Point]) -> String {
    points.iter().map(|&(x, y)| format!("{},{}", number(x), number(y))).collect::<Vec<_>>().join(" ")
}

/// The attributes of a colour, of a fill or of a stroke.
fn paint(kind: &str, colour: Colour) -> String {
    let [red, green, blue] = colour.rgb;
    let mut text = format!("{kind}=\"#{red:02x}{green:02x}{blue:02x}\"");
    if colour.opacity < 1.0 {
        let _ = write!(text, " {kind}-opacity=\"{}\"", number(f64::from(colour.opacity)));
    }
    text
}

fn rectangle(area: Area) -> String {
    let Area { x, y, width, height } = area;
    format!("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", number(x), number(y), number(width), number(height))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for triple in bytes.chunks(3) {
        let byte = |index: usize| u32::from(triple.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            if letter <= triple.len() {
                text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn text_element(text: &Text) -> String {
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = (number(text.at.0), number(text.at.1));
    let turn = if text.upward { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
    let fill = paint("fill", text.colour);
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" {fill}{turn}>{}</text>",
        number(text.size),
        escape(&text.text)
    )
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Line { points: line, colour, width } => format!(
            "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{}\" stroke-linejoin=\"round\"/>",
            points(line),
            paint("stroke", *colour),
            number(*width)
        ),
        Shape::Polygon { points: corners, fill } => {
            format!("<polygon points=\"{}\" {}/>", points(corners), paint("fill", *fill))
        }
        Shape::Circle { center, radius, fill } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {}/>",
            number(center.0),
            number(center.1),
            number(*radius),
            paint("fill", *fill)
        ),
        Shape::Rectangle { area, fill } => format!("<rect {} {}/>", rectangle(*area), paint("fill", *fill)),
        Shape::Text(text) => text_element(text),
        Shape::Image { area, columns, pixels } => {
            let (columns, pixels) = enlarged(*area, *columns, pixels);
            let data = raster::image_png(columns, &pixels).map(|png| base64(&png)).unwrap_or_default();
            format!(
                "<image {} preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>",
                rectangle(*area)
            )
        }
    }
}

/// The image with every pixel repeated, to about twice the size at which it is shown: not every viewer of SVG leaves the
/// edges of pixels sharp.
fn enlarged(area: Area, columns: usize, pixels: &[[u8; 3]]) -> (usize, Vec<[u8; 3]>) {
    let rows = pixels.len().checked_div(columns).unwrap_or(0);
    let times = |length: f64, count: usize| ((2.0 * length / count.max(1) as f64) as usize).clamp(1, 16);
    let (across, down) = (times(area.width, columns), times(area.height, rows));
    let mut large = Vec::with_capacity(pixels.len() * across * down);
    for row in pixels.chunks_exact(columns.max(1)) {
        for _ in 0..down {
            large.extend(row.iter().flat_map(|&pixel| std::iter::repeat_n(pixel, across)));
        }
    }
    (columns * across, large)
}

/// The whole document.
pub(super) fn document(picture: &Picture) -> String {
    let (width, height) = (number(picture.width), number(picture.height));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"{FAMILIES}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut clips: Vec<Area> = Vec::new();
    let mut open: Option<Area> = None;
    for (clip, shape) in &picture.shapes {
        if *clip != open {
            if open.is_some() {
                text.push_str("</g>\n");
            }
            if let Some(area) = clip {
                let index = clips.iter().position(|known| known == area).unwrap_or_else(|| {
                    clips.push(*area);
                    let index = clips.len() - 1;
                    let _ = writeln!(text, "<clipPath id=\"clip{index}\"><rect {}/></clipPath>", rectangle(*area));
                    index
                });
                let _ = writeln!(text, "<g clip-path=\"url(#clip{index})\">");
            }
            open = *clip;
        }
        text.push_str(&element(shape));
        text.push('\n');
    }
    if open.is_some() {
        text.push_str("</g>\n");
    }
    text + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        let texts: Vec<String> = ["f", "fo", "foo", "foobar"].iter().map(|text| base64(text.as_bytes())).collect();
        assert_eq!(texts, ["Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"]);
    }

    #[test]
    fn small_images_are_enlarged_pixel_by_pixel() {
        let (red, blue) = ([255, 0, 0], [0, 0, 255]);
        let area = Area { x: 0.0, y: 0.0, width: 2.0, height: 1.0 };
        assert_eq!(enlarged(area, 2, &[red, blue]), (4, [red, red, blue, blue].repeat(2)));
        assert_eq!(enlarged(area, 0, &[]), (0, vec![]));
    }

    #[test]
    fn shapes_in_their_clips() {
        let mut picture = Picture::new(100.0, 50.0);
        let area = Area { x: 10.0, y: 5.0, width: 80.5, height: 40.0 };
        picture.clip(Some(area));
        picture.line(vec![(0.0, 1.0 / 3.0), (-0.001, 2.0)], Colour::new(255, 0, 16).with_opacity(0.5), 1.5);
        picture.clip(None);
        picture.text((5.0, 6.0), "a < b & c", 11.0, Anchor::End, Colour::new(0, 0, 0));
        let expected = "\
<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100\" height=\"50\" viewBox=\"0 0 100 50\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">
<rect width=\"100\" height=\"50\" fill=\"#ffffff\"/>
<clipPath id=\"clip0\"><rect x=\"10\" y=\"5\" width=\"80.5\" height=\"40\"/></clipPath>
<g clip-path=\"url(#clip0)\">
<polyline points=\"0,0.33 0,2\" fill=\"none\" stroke=\"#ff0010\" stroke-opacity=\"0.5\" stroke-width=\"1.5\" stroke-linejoin=\"round\"/>
</g>
<text x=\"5\" y=\"6\" font-size=\"11\" text-anchor=\"end\" fill=\"#000000\">a &lt; b &amp; c</text>
</svg>
";
        assert_eq!(document(&picture), expected);
    }
}
