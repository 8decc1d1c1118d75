//! Pictures of results as SVG and PNG, drawn without any font or library of the system.

mod axes;
mod bars;
mod canvas;
mod colour;
mod densities;
mod elbo;
mod font;
mod heatmap;
mod intervals;
mod posterior;
mod raster;
mod scatter;
mod scene;
mod series;
mod svg;

pub use bars::{BarList, bar_lists};
pub use colour::{Colour, ColourMap, class_colour};
pub use densities::scalar_densities;
pub use elbo::elbo_picture;
pub use heatmap::{HeatMap, ImageGrid, heat_map, image_grid};
pub use intervals::{Intervals, intervals};
pub use posterior::{NamedAxis, posterior_pictures};
pub use scatter::{Ellipse, Scatter, scatter};
pub use scene::{Anchor, Picture};
pub use series::{Band, Series, SeriesChart, series_chart};

use crate::output::{OutputError, RunDirectory};
use crate::record::Record;

impl RunDirectory {
    /// Writes a picture as `NAME.svg` and `NAME.png`.
    ///
    /// # Errors
    /// When it cannot be drawn or written.
    pub fn write_picture(&mut self, name: &str, picture: &Picture) -> Result<(), OutputError> {
        self.write(&format!("{name}.svg"), picture.svg().as_bytes())?;
        let file = format!("{name}.png");
        let png = picture.png().map_err(|reason| OutputError::Picture { path: self.path().join(&file), reason })?;
        self.write(&file, &png)
    }

    /// Writes the convergence curve, `elbo.svg` and `elbo.png`.
    ///
    /// # Errors
    /// As [`RunDirectory::write_picture`].
    pub fn write_elbo_picture(&mut self, record: &Record) -> Result<(), OutputError> {
        self.write_picture("elbo", &elbo_picture(record))
    }
}
