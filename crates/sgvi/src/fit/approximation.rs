//! A fitted approximation as a file, from which draws can be made later.

use serde_json::{Value, json};
use std::fmt::Write as _;
use vi_model::graph::Graph;

use super::gaussian::{Gaussian, Root};
use super::noise;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

/// Name of the file in a run's folder.
pub const FILE: &str = "approximation.json";

/// Why an approximation cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ApproximationError {
    /// The file lacks something.
    #[error("approximation.json: `{key}` is missing or has another form than this program writes; run the model again")]
    Form {
        /// What is missing.
        key: &'static str,
    },
    /// The model has another number of coordinates.
    #[error(
        "the run has {run} coordinates, but the model now has {model}: its file or data changed; run the model again"
    )]
    Changed {
        /// Coordinates in the file.
        run: usize,
        /// Coordinates of the model.
        model: usize,
    },
}

/// The approximation as JSON; `model` is the path of the model file.
pub fn to_json(model: &str, q: &Gaussian) -> Value {
    let root = match &q.root {
        Root::Diagonal(sd) => json!({ "kind": "diagonal", "sd": sd }),
        Root::Cholesky(l) => json!({ "kind": "cholesky", "columns": l.as_slice() }),
        Root::LowRank { sd, u } => json!({ "kind": "low-rank", "sd": sd, "columns": u.as_slice(), "rank": u.ncols() }),
    };
    json!({ "model": model, "mean": q.mean, "free": q.free, "root": root })
}

/// Reads back what [`to_json`] wrote: the model's path and the approximation.
///
/// # Errors
/// [`ApproximationError::Form`] naming what is missing.
pub fn from_json(value: &Value) -> Result<(String, Gaussian), ApproximationError> {
    let numbers = |value: &Value, key: &'static str| -> Result<Vec<f64>, ApproximationError> {
        let list = value.get(key).and_then(Value::as_array).ok_or(ApproximationError::Form { key })?;
        list.iter().map(|x| x.as_f64().ok_or(ApproximationError::Form { key })).collect()
    };
    let model = value.get("model").and_then(Value::as_str).ok_or(ApproximationError::Form { key: "model" })?;
    let mean = numbers(value, "mean")?;
    let free: Vec<usize> = numbers(value, "free")?.into_iter().map(|x| x as usize).collect();
    let root = value.get("root").ok_or(ApproximationError::Form { key: "root" })?;
    let k = free.len();
    let root = match root.get("kind").and_then(Value::as_str) {
        Some("diagonal") => Root::Diagonal(numbers(root, "sd")?),
        Some("cholesky") => {
            let columns = numbers(root, "columns")?;
            if columns.len() != k * k {
                return Err(ApproximationError::Form { key: "columns" });
            }
            Root::Cholesky(nalgebra::DMatrix::from_column_slice(k, k, &columns))
        }
        Some("low-rank") => {
            let columns = numbers(root, "columns")?;
            if k == 0 || columns.len() % k != 0 {
                return Err(ApproximationError::Form { key: "columns" });
            }
            Root::LowRank {
                sd: numbers(root, "sd")?,
                u: nalgebra::DMatrix::from_column_slice(k, columns.len() / k, &columns),
            }
        }
        _ => return Err(ApproximationError::Form { key: "kind" }),
    };
    Ok((model.to_owned(), Gaussian { mean, free, root }))
}

/// Draws as a CmdStan CSV: `lp__`, `log_p__` (log joint with Jacobians), `log_g__` (log density of the approximation), then
/// every variable and expression outside the rows' plate, elements counted from 1, the first index fastest.
///
/// # Errors
/// [`ApproximationError::Changed`] where the model no longer fits.
pub fn cmdstan_csv(
    graph: &Graph,
    model: &Model,
    q: &Gaussian,
    draws: usize,
    seed: u64,
) -> Result<String, ApproximationError> {
    let n = model.program.dimension;
    if q.mean.len() != n {
        return Err(ApproximationError::Changed { run: q.mean.len(), model: n });
    }
    let evaluator = Evaluator::new(std::sync::Arc::clone(&model.program));
    let read_out = Evaluator::new(std::sync::Arc::clone(&model.read_out));
    let noise = noise::independent(seed, draws, q.noise_dimension());
    let theta = q.points(&noise, draws);
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, draws, false, &mut out);
    let k = q.free.len();
    let surprise = q.surprise(&noise, draws);
    let outputs: Vec<_> = model.outputs.iter().filter(|o| !o.axes.iter().any(|a| Some(a.0) == graph.rows)).collect();
    let mut text = String::from("# method = variational\n# program = sgvi\n");
    let _ = writeln!(text, "# output_draws = {draws}\n# seed = {seed}");
    text.push_str("lp__,log_p__,log_g__");
    // Offsets of each output's elements, the first index fastest.
    let mut places: Vec<Vec<usize>> = Vec::new();
    for o in &outputs {
        let shape: Vec<usize> = o.axes.iter().map(|a| graph.axis(a.0).size).collect();
        let total: usize = shape.iter().product();
        let mut offsets = Vec::with_capacity(total);
        for i in 0..total {
            let (mut rest, mut offset) = (i, 0);
            let _ = write!(text, ",{}", o.name);
            for (axis, size) in o.axes.iter().zip(&shape) {
                let _ = write!(text, ".{}", rest % size + 1);
                offset += rest % size * axis.1;
                rest /= size;
            }
            offsets.push(offset);
        }
        places.push(offsets);
    }
    text.push('\n');
    read_out.visit(&theta, draws, 0, |from, frame| {
        for d in 0..frame.draws {
            let s = from + d;
            let log_g: f64 = -surprise[s * k..(s + 1) * k].iter().sum::<f64>();
            let _ = write!(text, "{},{},{}", out.values[s], out.values[s], log_g);
            for (o, offsets) in outputs.iter().zip(&places) {
                let values = frame.read(read_out.program(), &o.value);
                let start = if o.value.is_data() { 0 } else { d * o.value.shape.inner() };
                for offset in offsets {
                    let _ = write!(text, ",{}", values[start + offset]);
                }
            }
            text.push('\n');
        }
    });
    Ok(text)
}
