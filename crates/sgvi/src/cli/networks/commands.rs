//! Commands on a finished run with networks: sample, reconstruct, encode, evaluate, traverse.

use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use vi_run::cli::print_output;
use vi_run::output::{OutputError, RunDirectory};
use vi_run::record::REFUSED;

use super::super::{Outcome, print_failure, refuse};
use super::pictures::{self, Picture, SHOWN_SAMPLES, observed_values, spread_rows};
use super::{SavedRun, column_names};
use crate::amortized::generate::{Code, Decoded, decode, encode, encode_on_own_scale, evaluate_rows, refusal};
use crate::amortized::responsibility::responsibilities;
use crate::amortized::settings::split_rows;
use crate::fit::save::write_discrete;

/// Images on the way of a traversal or an interpolation.
const STOPS: usize = 11;

/// What all commands on a run read.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RunFolder {
    /// Folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Data file with the same columns as the run's [default: the run's own data]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// `sgvi reconstruct`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ReconstructArguments {
    #[command(flatten)]
    folder: RunFolder,

    /// Rows in the picture
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = crate::cli::at_least_one)]
    rows: usize,
}

/// `sgvi encode`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct EncodeArguments {
    #[command(flatten)]
    folder: RunFolder,
}

/// `sgvi evaluate`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct EvaluateArguments {
    #[command(flatten)]
    folder: RunFolder,

    /// Importance samples per row
    #[arg(long, value_name = "K", default_value_t = 5000, value_parser = crate::cli::at_least_one)]
    samples: usize,

    /// Evaluate at most so many rows, evenly spread
    #[arg(long, value_name = "N", value_parser = crate::cli::at_least_one)]
    rows: Option<usize>,

    /// Print evaluation.json on standard output and nothing else
    #[arg(long)]
    json: bool,
}

/// `sgvi traverse`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TraverseArguments {
    #[command(flatten)]
    folder: RunFolder,

    /// Latent variable [default: the first one]
    #[arg(long, value_name = "NAME")]
    latent: Option<String>,

    /// Interpolations between pairs of rows
    #[arg(long, value_name = "N", default_value_t = 6)]
    pairs: usize,

    /// The row whose data are the decoder's condition along the dimensions, where it has one (counted from 0, as in all tables)
    #[arg(long, value_name = "N", default_value_t = 0)]
    row: u32,
}

fn written(error: OutputError) -> u8 {
    print_failure(&error.to_string());
    REFUSED
}

/// Draws `count` rows from the whole model: the prior, then the decoder.
pub(in crate::cli) fn sample(
    run: &std::path::Path,
    data: Option<&std::path::Path>,
    count: usize,
    seed: u64,
) -> Outcome {
    let run = SavedRun::open(run, data)?;
    if let Some(reason) = refusal(&run.model.program) {
        print_failure(reason);
        return Err(REFUSED);
    }
    let mut directory = RunDirectory::open(&run.folder).map_err(written)?;
    // The rows give the conditions of the decoder, where it has any.
    let rows: Vec<u32> = (0..count).map(|i| (i * run.model.num_rows / count.max(1)) as u32).collect();
    let decoded = decode(&run.model, &run.parameters, &rows, Code::Prior, seed);
    let text = table(&run, &decoded, |d| &d.draws);
    directory.write("samples.csv", text.as_bytes()).map_err(written)?;
    let mut files = vec!["samples.csv"];
    if let Some(picture) = Picture::of(&run.graph, &run.model) {
        let shown = spread_rows(&rows, SHOWN_SAMPLES);
        pictures::samples(&picture, &run.model, &run.parameters, &shown, seed, &mut directory).map_err(written)?;
        files.extend(["samples.png", "samples.svg"]);
    }
    report(&run, &format!("{count} draws of the model"), &files);
    Ok(0)
}

/// Encodes and decodes every row.
pub(in crate::cli) fn reconstruct(arguments: &ReconstructArguments) -> Outcome {
    let run = SavedRun::open(&arguments.folder.run, arguments.folder.data.as_deref())?;
    let mut directory = RunDirectory::open(&run.folder).map_err(written)?;
    let rows: Vec<u32> = (0..run.model.num_rows as u32).collect();
    let decoded = decode(&run.model, &run.parameters, &rows, Code::Mean, arguments.folder.seed);
    let text = table(&run, &decoded, |d| &d.means);
    directory.write("reconstructions.csv", text.as_bytes()).map_err(written)?;
    let mut files = vec!["reconstructions.csv"];
    let known = |picture: &Picture| run.model.program.is_reconstructed(picture.observed);
    if let Some(picture) = Picture::of(&run.graph, &run.model).filter(known) {
        let shown = spread_rows(&rows, arguments.rows);
        pictures::reconstructions(&picture, &run.model, &run.parameters, &shown, &mut directory).map_err(written)?;
        files.extend(["reconstructions.png", "reconstructions.svg"]);
    }
    report(&run, &format!("{} rows decoded from the means of their factors", rows.len()), &files);
    Ok(0)
}

/// Writes means and sds of every latent variable for every row.
pub(in crate::cli) fn encode_rows(arguments: &EncodeArguments) -> Outcome {
    let run = SavedRun::open(&arguments.folder.run, arguments.folder.data.as_deref())?;
    let mut directory = RunDirectory::open(&run.folder).map_err(written)?;
    let rows: Vec<u32> = (0..run.model.num_rows as u32).collect();
    let mut files = Vec::new();
    for (index, latent) in run.model.program.latents.iter().enumerate() {
        let encoding = encode_on_own_scale(&run.model, &run.parameters, index, &rows);
        // The run's own rows have their place; those of other data must not take it.
        let name = if run.new_data { format!("{}-new-data", latent.name) } else { latent.name.clone() };
        super::write_encoding(&mut directory, &name, &encoding, vi_run::output::LocalFormat::Csv).map_err(written)?;
        files.push(format!("local/{name}.csv"));
    }
    let discrete =
        responsibilities(&run.graph, &run.model, &run.parameters, &rows).map_err(|error| refuse(&error, &run.graph))?;
    for r in &discrete {
        let name = &run.graph.variable(r.variable).name;
        let name = if run.new_data { format!("{name}-new-data") } else { name.clone() };
        let format = vi_run::output::LocalFormat::Csv;
        write_discrete(&run.graph, r, &name, &mut directory, format).map_err(written)?;
        files.push(format!("local/{name}.csv"));
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let what = if discrete.is_empty() { "means and sds" } else { "means and sds, and probabilities" };
    report(&run, &format!("{what} of {} rows", rows.len()), &files);
    Ok(0)
}

/// ELBO, importance-weighted log-likelihood and active units.
pub(in crate::cli) fn evaluate(arguments: &EvaluateArguments) -> Outcome {
    let run = SavedRun::open(&arguments.folder.run, arguments.folder.data.as_deref())?;
    let mut directory = RunDirectory::open(&run.folder).map_err(written)?;
    let held_out = split_rows(run.model.num_rows, &run.settings).1;
    let (which, rows) = if run.new_data {
        ("new data", (0..run.model.num_rows as u32).collect())
    } else if held_out.is_empty() {
        ("the run's rows", (0..run.model.num_rows as u32).collect())
    } else {
        ("the run's held-out rows", held_out)
    };
    let rows = arguments.rows.map_or(rows.clone(), |count| spread_rows(&rows, count));
    let result = evaluate_rows(&run.model, &run.parameters, &rows, arguments.samples, arguments.folder.seed);
    let units: Vec<_> = result
        .active_units
        .iter()
        .map(|(name, active, all)| json!({ "variable": name, "active": active, "dimensions": all }))
        .collect();
    let content = json!({
        "rows": result.rows,
        "evaluated": which,
        "elbo_per_row": result.elbo,
        "elbo_standard_error": result.elbo_standard_error,
        "log_likelihood_per_row": result.log_likelihood,
        "divergence_per_row": result.divergence,
        "importance_samples": result.samples,
        "log_evidence_per_row": result.log_evidence,
        "log_evidence_standard_error": result.log_evidence_standard_error,
        "active_units": units,
    });
    let text = format!("{content:#}\n");
    directory.write("evaluation.json", text.as_bytes()).map_err(written)?;
    if arguments.json {
        print_output(&text);
        return Ok(0);
    }
    let mut out = format!("{} rows ({which}), nats per row\n", result.rows);
    out.push_str(&format!("  ELBO                        {:.4} ± {:.4}\n", result.elbo, result.elbo_standard_error));
    out.push_str(&format!("    expected log-likelihood   {:.4}\n", result.log_likelihood));
    out.push_str(&format!("    divergence from the prior {:.4}\n", result.divergence));
    out.push_str(&format!(
        "  log p(x), {} importance samples: {:.4} (± {:.4} between rows)\n",
        result.samples, result.log_evidence, result.log_evidence_standard_error
    ));
    for (name, active, all) in &result.active_units {
        out.push_str(&format!("  {name}: {active} of {all} dimensions are active\n"));
    }
    print_output(&out);
    report(&run, "evaluated", &["evaluation.json"]);
    Ok(0)
}

/// Walks along every latent dimension, and between pairs of rows.
pub(in crate::cli) fn traverse(arguments: &TraverseArguments) -> Outcome {
    let run = SavedRun::open(&arguments.folder.run, arguments.folder.data.as_deref())?;
    if arguments.row as usize >= run.model.num_rows {
        print_failure(&format!(
            "--row {} is none of the {} rows of the data: they are counted from 0",
            arguments.row, run.model.num_rows
        ));
        return Err(REFUSED);
    }
    let program = &run.model.program;
    let names: Vec<&str> = program.latents.iter().map(|latent| latent.name.as_str()).collect();
    let chosen = match &arguments.latent {
        None => 0,
        Some(name) => match names.iter().position(|known| known == name) {
            Some(index) => index,
            None => {
                print_failure(&format!(
                    "`{name}` is not an amortised variable of this run; there are {}",
                    names.join(", ")
                ));
                return Err(REFUSED);
            }
        },
    };
    let Some(picture) = Picture::of(&run.graph, &run.model) else {
        print_failure("nothing that the model observes is an image; give a network `image = [height, width]`");
        return Err(REFUSED);
    };
    let mut directory = RunDirectory::open(&run.folder).map_err(written)?;
    let all: Vec<u32> = (0..run.model.num_rows as u32).collect();
    let means: Vec<Vec<f64>> =
        (0..program.latents.len()).map(|index| encode(&run.model, &run.parameters, index, &all).means).collect();
    let d = program.latents[chosen].width;
    let (centre, spread) = moments(&means[chosen], d);
    let at = |stop: usize, low: f64, high: f64| low + (high - low) * stop as f64 / (STOPS - 1) as f64;

    // Every dimension in turn, three sds to both sides of the mean over the rows.
    let count = d * STOPS;
    let mut given: Vec<Vec<f32>> = program
        .latents
        .iter()
        .zip(&means)
        .map(|(latent, means)| {
            let centre = moments(means, latent.width).0;
            (0..count).flat_map(|_| centre.iter().map(|&m| m as f32).collect::<Vec<_>>()).collect()
        })
        .collect();
    for dimension in 0..d {
        for stop in 0..STOPS {
            given[chosen][(dimension * STOPS + stop) * d + dimension] =
                (centre[dimension] + at(stop, -3.0, 3.0) * spread[dimension].max(0.1)) as f32;
        }
    }
    let decoded = decode(&run.model, &run.parameters, &vec![arguments.row; count], Code::Given(&given), 0);
    let row_names: Vec<String> = (0..d).map(|i| format!("{} {i}", names[chosen])).collect();
    let shades = picture.shades(&decoded[picture.observed].means);
    let title = "One dimension at a time, three sds to both sides";
    directory.write_picture("traversal", &picture.grid(title, &shades, STOPS, &row_names)).map_err(written)?;

    // Straight lines between the means of pairs of rows, with the rows themselves at both ends.
    let ends = spread_rows(&all, 2 * arguments.pairs);
    let mut images = Vec::new();
    if let Some((width, data)) = observed_values(&run.model, picture.observed) {
        for pair in ends.chunks_exact(2) {
            let (from, to) = (pair[0] as usize, pair[1] as usize);
            let given: Vec<Vec<f32>> = program
                .latents
                .iter()
                .zip(&means)
                .map(|(latent, means)| {
                    let d = latent.width;
                    (0..STOPS)
                        .flat_map(|stop| {
                            let t = at(stop, 0.0, 1.0);
                            (0..d).map(move |i| ((1.0 - t) * means[from * d + i] + t * means[to * d + i]) as f32)
                        })
                        .collect()
                })
                .collect();
            // A condition cannot be divided: the nearer row gives it.
            let conditions: [u32; STOPS] = std::array::from_fn(|stop| pair[usize::from(2 * stop >= STOPS)]);
            let decoded = decode(&run.model, &run.parameters, &conditions, Code::Given(&given), 0);
            images.extend(picture.shades(&data[from * width..(from + 1) * width]));
            images.extend(picture.shades(&decoded[picture.observed].means));
            images.extend(picture.shades(&data[to * width..(to + 1) * width]));
        }
    }
    let title = "From row to row (the outermost are data)";
    directory.write_picture("interpolation", &picture.grid(title, &images, STOPS + 2, &[])).map_err(written)?;
    report(&run, "latent space", &["traversal.png", "interpolation.png"]);
    Ok(0)
}

/// Mean and sd of every coordinate over the rows.
fn moments(values: &[f64], width: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = (values.len() / width.max(1)).max(1) as f64;
    let column = |i: usize| values.iter().skip(i).step_by(width);
    let means: Vec<f64> = (0..width).map(|i| column(i).sum::<f64>() / rows).collect();
    let sds = (0..width).map(|i| (column(i).map(|v| (v - means[i]).powi(2)).sum::<f64>() / rows).sqrt()).collect();
    (means, sds)
}

/// A CSV table of all observed variables, in the data's own units.
fn table(run: &SavedRun, decoded: &[Decoded], read: impl Fn(&Decoded) -> &Vec<f32>) -> String {
    let mut names: Vec<Vec<String>> = Vec::new();
    let mut columns: Vec<(usize, Vec<String>)> = Vec::new();
    for (output, decoded) in run.model.program.outputs.iter().zip(decoded) {
        names.push(column_names(&run.graph, output.variable, decoded.width));
        let values = read(decoded);
        let scale = run.graph.own_scale(output.variable, &run.graph.value_axes(output.variable));
        let cells = match scale {
            None => values.iter().map(|x| if x.is_finite() { x.to_string() } else { String::new() }).collect(),
            Some(scale) => {
                let mut values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
                scale.locations(&mut values, 1);
                values.iter().map(|x| if x.is_finite() { x.to_string() } else { String::new() }).collect()
            }
        };
        columns.push((decoded.width, cells));
    }
    // Two variables of the same columns are told apart by their own names.
    let all: Vec<String> = names.concat();
    let header = names.iter().zip(&run.model.program.outputs).flat_map(|(names, output)| {
        let shared = |name: &String| all.iter().filter(|other| *other == name).count() > 1;
        let is_shared = names.iter().any(shared);
        names.iter().map(move |name| if is_shared { format!("{}_{name}", output.name) } else { name.clone() })
    });
    let mut text = header.collect::<Vec<_>>().join(",") + "\n";
    let rows = columns.first().map_or(0, |(width, cells)| cells.len() / (*width).max(1));
    for row in 0..rows {
        let cells = columns.iter().flat_map(|(width, cells)| &cells[row * width..(row + 1) * width]);
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(cell);
        }
        text.push('\n');
    }
    text
}

fn report(run: &SavedRun, what: &str, files: &[&str]) {
    let paths: Vec<String> = files.iter().map(|file| run.folder.join(file).display().to_string()).collect();
    print_output(&format!("{what}: {}\n", paths.join(", ")));
}
