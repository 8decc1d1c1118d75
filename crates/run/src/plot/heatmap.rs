//! Matrices as heat maps, and grids of small images.

use super::colour::{ColourMap, FRAME, INK, MUTED};
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Shape};

/// What a heat map shows.
#[derive(Debug, Clone)]
pub struct HeatMap<'a> {
    /// Above it.
    pub title: &'a str,
    /// What the rows are.
    pub row_label: &'a str,
    /// What the columns are.
    pub column_label: &'a str,
    /// `[num_rows, num_columns]`, row-major.
    pub values: &'a [f64],
    /// The number of columns.
    pub columns: usize,
    /// Each row's name; empty: numbers.
    pub row_names: &'a [String],
    /// Each column's name; empty: numbers.
    pub column_names: &'a [String],
    /// Signed values use a map that is white at 0; others one that is white at the least.
    pub signed: bool,
}

/// The indices at which names are written so that they do not overlap.
fn labelled(count: usize, cell: f64, needed: f64) -> impl Iterator<Item = usize> {
    (0..count).step_by(((needed / cell).ceil() as usize).max(1))
}

fn name(names: &[String], index: usize) -> String {
    names.get(index).cloned().unwrap_or_else(|| index.to_string())
}

/// A heat map with a scale.
#[must_use]
pub fn heat_map(chart: &HeatMap<'_>) -> Picture {
    let font = Font::new();
    let columns = chart.columns.max(1);
    let rows = (chart.values.len() / columns).max(1);
    let cell = (560.0 / columns as f64).min(420.0 / rows as f64).min(34.0);
    let (width, height) = ((cell * columns as f64).max(160.0), (cell * rows as f64).max(60.0));
    let widest = (0..rows).map(|row| font.width(&name(chart.row_names, row), 10.0)).fold(0.0, f64::max).min(180.0);
    let area = Area { x: widest + 40.0, y: 40.0, width, height };
    let mut picture = Picture::new(area.right() + 96.0, area.bottom() + 48.0);
    let finite = || chart.values.iter().copied().filter(|value| value.is_finite());
    let (mut low, mut high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    if chart.signed {
        high = high.abs().max(low.abs());
        low = -high;
    }
    let extent = if high > low { high - low } else { 1.0 };
    let map = if chart.signed { ColourMap::Diverging } else { ColourMap::Blues };
    let pixels = chart.values[..chart.values.len() / columns * columns]
        .iter()
        .map(|value| map.colour((value - low) / extent).rgb)
        .collect();
    picture.add(Shape::Image { area, columns, pixels });
    picture.outline(area, FRAME, 1.0);
    picture.text((area.x, 24.0), chart.title, 12.5, Anchor::Start, INK);
    let (cell_x, cell_y) = (width / columns as f64, height / rows as f64);
    for row in labelled(rows, cell_y, 12.0) {
        let y = area.y + (row as f64 + 0.5) * cell_y + 3.6;
        picture.text((area.x - 6.0, y), name(chart.row_names, row), 10.0, Anchor::End, MUTED);
    }
    let needed = (0..columns).map(|column| font.width(&name(chart.column_names, column), 10.0)).fold(0.0, f64::max);
    for column in labelled(columns, cell_x, needed + 8.0) {
        let x = area.x + (column as f64 + 0.5) * cell_x;
        picture.text((x, area.bottom() + 15.0), name(chart.column_names, column), 10.0, Anchor::Middle, MUTED);
    }
    picture.text((area.x + width / 2.0, area.bottom() + 36.0), chart.column_label, 11.5, Anchor::Middle, INK);
    picture.add(Shape::Text(super::scene::Text {
        at: (18.0, area.y + height / 2.0),
        text: chart.row_label.to_owned(),
        size: 11.5,
        anchor: Anchor::Middle,
        colour: INK,
        upward: true,
    }));
    let scale = Area { x: area.right() + 18.0, y: area.y, width: 12.0, height };
    let shades = (0..64).map(|step| map.colour(1.0 - f64::from(step) / 63.0).rgb).collect();
    picture.add(Shape::Image { area: scale, columns: 1, pixels: shades });
    picture.outline(scale, FRAME, 1.0);
    for (value, y) in [(high, scale.y + 8.0), ((low + high) / 2.0, scale.y + height / 2.0 + 3.6), (low, scale.bottom())]
    {
        let decimals = (2.0 - extent.log10().floor()).clamp(0.0, 12.0) as usize;
        let text = format!("{value:.decimals$}").replace('-', "−");
        picture.text((scale.right() + 5.0, y), text, 10.0, Anchor::Start, MUTED);
    }
    picture
}

/// What a grid of images shows.
#[derive(Debug, Clone)]
pub struct ImageGrid<'a> {
    /// Above it.
    pub title: &'a str,
    /// `[num_images, height, width]`, row-major, 0 black to 1 white.
    pub images: &'a [f64],
    /// The height of one image in pixels.
    pub height: usize,
    /// The width of one image in pixels.
    pub width: usize,
    /// Images per row of the grid.
    pub columns: usize,
    /// A name at the left of each row of the grid; empty: none.
    pub row_names: &'a [String],
}

/// A grid of grayscale images.
#[must_use]
pub fn image_grid(grid: &ImageGrid<'_>) -> Picture {
    let font = Font::new();
    let size = (grid.height * grid.width).max(1);
    let columns = grid.columns.max(1);
    let count = grid.images.len() / size;
    let rows = count.div_ceil(columns).max(1);
    let scale = (56.0 / grid.width.max(grid.height).max(1) as f64).max(1.0);
    let (cell_x, cell_y) = (grid.width as f64 * scale, grid.height as f64 * scale);
    let names = grid.row_names.iter().map(|name| font.width(name, 10.5)).fold(0.0, f64::max);
    let left = 12.0 + if names > 0.0 { names + 10.0 } else { 0.0 };
    let top = if grid.title.is_empty() { 12.0 } else { 36.0 };
    let gap = 3.0;
    let width = left + columns as f64 * (cell_x + gap) + 9.0;
    let mut picture =
        Picture::new(width.max(left + font.width(grid.title, 12.5) + 12.0), top + rows as f64 * (cell_y + gap) + 9.0);
    picture.text((left, 24.0), grid.title, 12.5, Anchor::Start, INK);
    for (index, image) in grid.images.chunks_exact(size).enumerate() {
        let (row, column) = (index / columns, index % columns);
        let area = Area {
            x: left + column as f64 * (cell_x + gap),
            y: top + row as f64 * (cell_y + gap),
            width: cell_x,
            height: cell_y,
        };
        let pixels = image.iter().map(|&value| ColourMap::Gray.colour(value).rgb).collect();
        picture.add(Shape::Image { area, columns: grid.width.max(1), pixels });
        if let (0, Some(name)) = (column, grid.row_names.get(row)) {
            picture.text((left - 8.0, area.y + cell_y / 2.0 + 4.0), name.as_str(), 10.5, Anchor::End, INK);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::Pixmap;

    #[test]
    fn the_grid_shows_each_image_in_its_place() {
        let images: Vec<f64> = (0..3).flat_map(|image| vec![f64::from(image) / 2.0; 4]).collect();
        let grid = ImageGrid { title: "", images: &images, height: 2, width: 2, columns: 2, row_names: &[] };
        let drawn = Pixmap::decode_png(&image_grid(&grid).png().unwrap()).unwrap();
        // Cells of 56 pixels with gaps of 3 from (12, 12), at twice the size.
        let gray = |x: u32, y: u32| drawn.pixel(2 * x, 2 * y).unwrap().red();
        assert_eq!([gray(30, 30), gray(90, 30), gray(30, 90), gray(90, 90)], [0, 128, 255, 255]);
        assert_eq!(gray(69, 30), 255); // the gap
    }

    #[test]
    fn heat_maps_of_any_size() {
        for (count, columns) in [(0, 3), (1, 1), (6, 3), (3000, 1000)] {
            let values: Vec<f64> = (0..count).map(f64::from).collect();
            let chart = HeatMap {
                title: "t",
                row_label: "r",
                column_label: "c",
                values: &values,
                columns,
                row_names: &[],
                column_names: &[],
                signed: true,
            };
            assert!(heat_map(&chart).png().is_ok());
        }
    }
}
