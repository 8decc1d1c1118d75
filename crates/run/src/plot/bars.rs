//! Short lists of names with bars: the top words of topics, the weights of features.

use super::colour::{ACCENT, INK, MUTED, class_colour};
use super::font::Font;
use super::scene::{Anchor, Area, Picture, Shape};

/// One list.
#[derive(Debug, Clone, PartialEq)]
pub struct BarList {
    /// Above the list.
    pub title: String,
    /// Names with their values, in the order to be shown; negative values get another colour.
    pub items: Vec<(String, f64)>,
}

const ROW: f64 = 17.0;
const PANEL: f64 = 210.0;

/// Cuts a name to `room` pixels.
fn fitted(font: &Font, name: &str, room: f64) -> String {
    if font.width(name, 10.5) <= room {
        return name.to_owned();
    }
    let mut text = String::new();
    for character in name.chars() {
        text.push(character);
        if font.width(&format!("{text}…"), 10.5) > room {
            text.pop();
            break;
        }
    }
    text + "…"
}

/// Lists side by side, up to four in a row; bars share one scale.
#[must_use]
pub fn bar_lists(title: &str, lists: &[BarList]) -> Picture {
    let font = Font::new();
    let columns = lists.len().clamp(1, 4);
    let longest = lists.iter().map(|list| list.items.len()).max().unwrap_or(0);
    let panel_height = longest as f64 * ROW + 40.0;
    let rows = lists.len().div_ceil(columns).max(1);
    let mut picture = Picture::new(columns as f64 * PANEL + 20.0, 44.0 + rows as f64 * panel_height);
    picture.text((14.0, 26.0), title, 14.0, Anchor::Start, INK);
    let values = lists.iter().flat_map(|list| &list.items).map(|item| item.1.abs());
    let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let names = lists.iter().flat_map(|list| &list.items).map(|item| font.width(&item.0, 10.5)).fold(0.0, f64::max);
    let room = names.min(PANEL * 0.5);
    for (index, list) in lists.iter().enumerate() {
        let left = 14.0 + (index % columns) as f64 * PANEL;
        let top = 44.0 + (index / columns) as f64 * panel_height;
        picture.text((left, top + 14.0), list.title.as_str(), 11.5, Anchor::Start, INK);
        for (row, (name, value)) in list.items.iter().enumerate() {
            let y = top + 24.0 + row as f64 * ROW;
            picture.text((left + room, y + 11.5), fitted(&font, name, room), 10.5, Anchor::End, MUTED);
            let share = if largest > 0.0 && value.is_finite() { value.abs() / largest } else { 0.0 };
            let width = share * (PANEL - room - 26.0);
            let fill = if *value < 0.0 { class_colour(1) } else { ACCENT };
            let area = Area { x: left + room + 6.0, y: y + 2.5, width, height: ROW - 5.0 };
            picture.add(Shape::Rectangle { area, fill: fill.with_opacity(0.85) });
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional() {
        let items = vec![("α".to_owned(), 0.5), ("a name that is much too long for its room".to_owned(), -0.25)];
        let svg = bar_lists("t", &[BarList { title: "one".to_owned(), items }]).svg();
        let widths: Vec<f64> = svg
            .split("width=\"")
            .filter(|part| part.contains("fill-opacity=\"0.85\""))
            .filter_map(|part| part.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[0] - 2.0 * widths[1]).abs() < 0.02, "{widths:?}");
        assert!(svg.contains('…'));
    }
}
