//! Colours: of classes, of single numbers, of the parts of a chart.

/// A colour with opacity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour {
    /// Red, green and blue, 0 to 255.
    pub rgb: [u8; 3],
    /// 0 transparent, 1 opaque.
    pub opacity: f32,
}

impl Colour {
    /// An opaque colour.
    #[must_use]
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { rgb: [red, green, blue], opacity: 1.0 }
    }

    /// The same colour with another opacity.
    #[must_use]
    pub const fn with_opacity(self, opacity: f32) -> Self {
        Self { opacity, ..self }
    }
}

pub(super) const INK: Colour = Colour::new(38, 42, 51);
pub(super) const MUTED: Colour = Colour::new(104, 111, 125);
pub(super) const GRID: Colour = Colour::new(230, 233, 238);
pub(super) const FRAME: Colour = Colour::new(178, 184, 194);
pub(super) const ACCENT: Colour = Colour::new(28, 94, 171);

/// Colours that colour-blind readers tell apart (after Okabe & Ito 2008), the strongest first.
const CLASSES: [Colour; 10] = [
    Colour::new(0, 114, 178),
    Colour::new(213, 94, 0),
    Colour::new(0, 158, 115),
    Colour::new(204, 121, 167),
    Colour::new(230, 159, 0),
    Colour::new(86, 180, 233),
    Colour::new(125, 84, 47),
    Colour::new(120, 94, 190),
    Colour::new(160, 170, 30),
    Colour::new(110, 118, 130),
];

/// The colour of class `index`; ten colours, then again from the first.
#[must_use]
pub fn class_colour(index: usize) -> Colour {
    CLASSES[index % CLASSES.len()]
}

/// How a number in [0, 1] becomes a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourMap {
    /// 0 black, 1 white.
    Gray,
    /// 0 white, 1 dark blue: amounts.
    Blues,
    /// 0 blue, ½ white, 1 red: signed values.
    Diverging,
}

impl ColourMap {
    /// The colour of `value`, which is cut to [0, 1]; NaN is a light grey.
    #[must_use]
    pub fn colour(self, value: f64) -> Colour {
        if value.is_nan() {
            return Colour::new(222, 224, 228);
        }
        let stops: &[[f64; 3]] = match self {
            Self::Gray => &[[0.0, 0.0, 0.0], [255.0, 255.0, 255.0]],
            Self::Blues => &[[250.0, 251.0, 253.0], [158.0, 196.0, 226.0], [48.0, 126.0, 188.0], [8.0, 48.0, 107.0]],
            Self::Diverging => &[
                [24.0, 76.0, 148.0],
                [128.0, 178.0, 216.0],
                [248.0, 248.0, 248.0],
                [236.0, 148.0, 118.0],
                [164.0, 22.0, 40.0],
            ],
        };
        let place = value.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
        let index = (place as usize).min(stops.len() - 2);
        let share = place - index as f64;
        let mix =
            |channel: usize| (stops[index][channel] * (1.0 - share) + stops[index + 1][channel] * share).round() as u8;
        Colour::new(mix(0), mix(1), mix(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_reach_their_ends() {
        assert_eq!(ColourMap::Gray.colour(0.0).rgb, [0, 0, 0]);
        assert_eq!(ColourMap::Gray.colour(7.0).rgb, [255, 255, 255]);
        assert_eq!(ColourMap::Gray.colour(0.5).rgb, [128, 128, 128]);
        assert_eq!(ColourMap::Diverging.colour(0.5).rgb, [248, 248, 248]);
        assert_eq!(class_colour(11), class_colour(1));
    }
}
