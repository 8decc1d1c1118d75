//! The pictures of a run with networks: the objective and its terms, samples, reconstructions, the latent plane.

use nalgebra::{DMatrix, SymmetricEigen};
use vi_model::data::ColumnId;
use vi_model::graph::{Axis, AxisKind, Graph};
use vi_run::output::{OutputError, RunDirectory};
use vi_run::plot::{ImageGrid, Scatter, Series, SeriesChart, image_grid, scatter, series_chart};

use crate::amortized::fit::AmortizedFit;
use crate::amortized::generate::{Code, decode, encode, refusal};
use crate::amortized::model::AmortizedModel;

/// Images in a row of a grid.
pub(super) const COLUMNS: usize = 12;

/// The most points in a scatter plot.
const MAX_POINTS: usize = 3000;

/// The most classes that a scatter plot tells apart.
const MAX_CLASSES: usize = 12;

/// Images in the picture of samples.
pub(super) const SHOWN_SAMPLES: usize = 96;

/// An observed variable whose numbers are an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    /// Its index among the program's outputs.
    pub(super) observed: usize,
    /// Height in pixels.
    pub(super) height: usize,
    /// Width in pixels.
    pub(super) width: usize,
    /// What is drawn black.
    low: f64,
    /// What is drawn white.
    high: f64,
}

impl Picture {
    /// The first observed variable that can be drawn: its size is a network's `image`, or a square of at least 16 numbers.
    pub(super) fn of(graph: &Graph, model: &AmortizedModel) -> Option<Self> {
        let program = &model.program;
        let declared: Vec<[usize; 2]> = graph
            .networks
            .iter()
            .filter_map(|network| {
                let sizes: Vec<usize> = network
                    .options
                    .get("image")?
                    .as_array()?
                    .iter()
                    .filter_map(|v| v.as_integer().and_then(|i| usize::try_from(i).ok()))
                    .collect();
                match sizes[..] {
                    [height, width] | [1, height, width] => Some([height, width]),
                    _ => None,
                }
            })
            .collect();
        program.outputs.iter().enumerate().find_map(|(index, output)| {
            let numbers = output.width;
            let side = numbers.isqrt();
            let [height, width] = declared
                .iter()
                .copied()
                .find(|[height, width]| height * width == numbers)
                .or((numbers >= 16 && side * side == numbers).then_some([side, side]))?;
            let values = observed_values(model, index)?.1;
            let (low, high) =
                values.iter().filter(|v| !v.is_nan()).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
                    (low.min(f64::from(v)), high.max(f64::from(v)))
                });
            (high > low).then_some(Self { observed: index, height, width, low, high })
        })
    }

    /// Numbers as shades between 0 and 1.
    pub(super) fn shades(&self, values: &[f32]) -> Vec<f64> {
        values.iter().map(|&v| ((f64::from(v) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)).collect()
    }

    /// Draws a grid of images, `[num_images, height·width]`.
    pub(super) fn grid(
        &self,
        title: &str,
        images: &[f64],
        columns: usize,
        row_names: &[String],
    ) -> vi_run::plot::Picture {
        image_grid(&ImageGrid { title, images, height: self.height, width: self.width, columns, row_names })
    }
}

/// The data of a variable of the program's outputs: numbers per row, and all of them.
pub(super) fn observed_values(model: &AmortizedModel, index: usize) -> Option<(usize, &[f32])> {
    let source = &model.sources[model.program.outputs[index].source?];
    Some((source.width, &source.values[..]))
}

/// Evenly spread rows, at most `count`.
pub(super) fn spread_rows(rows: &[u32], count: usize) -> Vec<u32> {
    let count = count.min(rows.len());
    (0..count).map(|i| rows[i * rows.len() / count.max(1)]).collect()
}

/// All pictures of a finished run.
pub(super) fn of_run(graph: &Graph, fit: &AmortizedFit, directory: &mut RunDirectory) -> Result<(), OutputError> {
    training(fit, directory)?;
    let all: Vec<u32> = (0..fit.model.num_rows as u32).collect();
    if let Some(picture) = Picture::of(graph, &fit.model) {
        if refusal(&fit.model.program).is_none() {
            samples(
                &picture,
                &fit.model,
                &fit.parameters,
                &spread_rows(&all, SHOWN_SAMPLES),
                fit.settings.seed,
                directory,
            )?;
        }
        let rows = if fit.held_out_rows.is_empty() { &all } else { &fit.held_out_rows };
        reconstructions(&picture, &fit.model, &fit.parameters, &spread_rows(rows, 3 * COLUMNS), directory)?;
    }
    latent_plane(graph, &fit.model, &fit.parameters, &all, directory)
}

/// The ELBO of training and held-out rows, and its two terms.
fn training(fit: &AmortizedFit, directory: &mut RunDirectory) -> Result<(), OutputError> {
    if fit.terms.len() < 2 {
        return Ok(());
    }
    let column = |read: fn(&crate::amortized::training::Term) -> f64| fit.terms.iter().map(read).collect::<Vec<f64>>();
    let x = column(|t| t.step as f64);
    // The first steps would flatten everything that follows.
    let skip = fit.terms.len() / 20;
    let (elbo, held_out) = (column(|t| t.elbo), column(|t| t.held_out));
    let (log_likelihood, divergence) = (column(|t| t.log_likelihood), column(|t| t.divergence));
    let mut series = vec![Series { name: "training rows", values: &elbo[skip..], band: None }];
    if held_out.iter().any(|v| v.is_finite()) {
        series.push(Series { name: "held-out rows", values: &held_out[skip..], band: None });
    }
    let chart = SeriesChart {
        title: "ELBO per row",
        x_label: "iteration",
        y_label: "ELBO per row (nats)",
        x: &x[skip..],
        series: &series,
        ..SeriesChart::default()
    };
    directory.write_picture("training", &series_chart(&chart))?;
    let series = [
        Series { name: "expected log-likelihood", values: &log_likelihood[skip..], band: None },
        Series { name: "divergence from the prior", values: &divergence[skip..], band: None },
    ];
    let chart = SeriesChart {
        title: "The two terms of the ELBO per row",
        x_label: "iteration",
        y_label: "nats per row",
        x: &x[skip..],
        series: &series,
        ..SeriesChart::default()
    };
    directory.write_picture("terms", &series_chart(&chart))
}

/// Images decoded from draws of the prior; `rows` give the conditions, where the model has any.
pub(super) fn samples(
    picture: &Picture,
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    seed: u64,
    directory: &mut RunDirectory,
) -> Result<(), OutputError> {
    let decoded = decode(model, parameters, rows, Code::Prior, seed);
    let shades = picture.shades(&decoded[picture.observed].means);
    directory.write_picture("samples", &picture.grid("Decoded draws of the prior", &shades, COLUMNS, &[]))
}

/// Pairs of images and what is left of them after encoding and decoding.
pub(super) fn reconstructions(
    picture: &Picture,
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    directory: &mut RunDirectory,
) -> Result<(), OutputError> {
    let Some((width, data)) = observed_values(model, picture.observed) else { return Ok(()) };
    if !model.program.is_reconstructed(picture.observed) {
        return Ok(());
    }
    let decoded = decode(model, parameters, rows, Code::Mean, 0);
    let mut images = Vec::new();
    let mut names = Vec::new();
    for (block, rows) in rows.chunks(COLUMNS).enumerate() {
        let mut line: Vec<f32> = Vec::new();
        for &row in rows {
            line.extend(&data[row as usize * width..(row as usize + 1) * width]);
        }
        line.resize(COLUMNS * width, f32::NAN);
        images.extend(picture.shades(&line));
        let first = block * COLUMNS * width;
        let mut line = decoded[picture.observed].means[first..first + rows.len() * width].to_vec();
        line.resize(COLUMNS * width, f32::NAN);
        images.extend(picture.shades(&line));
        names.extend(["data".to_owned(), "decoded".to_owned()]);
    }
    directory
        .write_picture("reconstructions", &picture.grid("Rows and their reconstructions", &images, COLUMNS, &names))
}

/// A column that gives classes: outside every block, with few distinct values.
fn class_column(graph: &Graph) -> Option<(ColumnId, Vec<String>)> {
    let in_block = |id: ColumnId| graph.data.blocks.iter().any(|block| block.columns.contains(&id));
    (0..graph.data.columns.len()).map(ColumnId).filter(|&id| !in_block(id)).find_map(|id| {
        let levels = graph.data.levels(id);
        (2..=MAX_CLASSES).contains(&levels.len()).then_some((id, levels))
    })
}

/// The means of the first latent variable's factors in the plane of their two principal directions.
pub(super) fn latent_plane(
    graph: &Graph,
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    directory: &mut RunDirectory,
) -> Result<(), OutputError> {
    let Some(latent) = model.program.latents.first().filter(|latent| latent.width >= 2) else { return Ok(()) };
    let rows = spread_rows(rows, MAX_POINTS);
    let encoding = encode(model, parameters, 0, &rows);
    let (points, labels) = if latent.width == 2 {
        (encoding.means, [format!("{}, coordinate 0", latent.name), format!("{}, coordinate 1", latent.name)])
    } else {
        let label = |i: usize| format!("{}, principal direction {i}", latent.name);
        (principal_plane(&encoding.means, latent.width), [label(1), label(2)])
    };
    let mut classes = Vec::new();
    let mut names = Vec::new();
    if let Some((column, levels)) = class_column(graph) {
        let axis = Axis {
            name: graph.data.column(column).name.clone(),
            size: levels.len(),
            kind: AxisKind::Levels { column, levels: levels.clone() },
        };
        if let Ok(codes) = graph.data.codes(column, &axis) {
            classes = rows.iter().map(|&row| (codes.all()[row as usize] as usize).min(levels.len())).collect();
            names = levels;
        }
    }
    let title = format!("Means of {} for every row", latent.name);
    let chart = Scatter {
        title: &title,
        x_label: &labels[0],
        y_label: &labels[1],
        points: &points,
        classes: &classes,
        class_names: &names,
        ellipses: &[],
    };
    directory.write_picture("latent", &scatter(&chart))
}

/// Projects rows of `width` numbers on the two leading eigenvectors of their covariance, `[num_rows, 2]`.
fn principal_plane(values: &[f64], width: usize) -> Vec<f64> {
    let rows = values.len() / width;
    let matrix = DMatrix::from_row_slice(rows, width, values);
    let mean = matrix.row_mean();
    let centred = DMatrix::from_fn(rows, width, |i, j| matrix[(i, j)] - mean[j]);
    let covariance = centred.transpose() * &centred / rows.max(1) as f64;
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let mut points = Vec::with_capacity(rows * 2);
    for i in 0..rows {
        for &direction in &order[..2] {
            points.push(centred.row(i).transpose().dot(&eigen.eigenvectors.column(direction)));
        }
    }
    points
}
