//! A fitted approximation as a file, from which draws can be made later.

use serde_json::{Value, json};
use std::fmt::Write as _;
use vi_model::graph::Graph;

use super::categories::Category;
use super::gaussian::{Gaussian, Root};
use super::noise;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

/// Name of the file in a run's folder.
pub(crate) const FILE: &str = "approximation.json";

/// Why an approximation cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApproximationError {
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
pub(crate) fn to_json(model: &str, q: &Gaussian) -> Value {
    let root = match &q.root {
        Root::Diagonal(sd) => json!({ "kind": "diagonal", "sd": sd }),
        Root::Cholesky(l) => json!({ "kind": "cholesky", "columns": l.as_slice() }),
        Root::LowRank { sd, u } => json!({ "kind": "low-rank", "sd": sd, "columns": u.as_slice(), "rank": u.ncols() }),
    };
    let mut value = json!({ "model": model, "mean": q.mean, "free": q.free, "root": root });
    if !q.categories.is_empty() {
        // Logits stand among the means: first coordinate, number of values, the value where it is observed.
        let categories: Vec<Value> = q.categories.iter().map(|c| json!([c.offset, c.size, c.known])).collect();
        value["categories"] = json!(categories);
    }
    value
}

/// Reads back what [`to_json`] wrote: the model's path and the approximation.
///
/// # Errors
/// [`ApproximationError::Form`] naming what is missing.
pub(crate) fn from_json(value: &Value) -> Result<(String, Gaussian), ApproximationError> {
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
    let categories = match value.get("categories") {
        None => std::sync::Arc::new([]),
        Some(list) => categories(list, mean.len()).ok_or(ApproximationError::Form { key: "categories" })?,
    };
    Ok((model.to_owned(), Gaussian { mean, free, root, categories }))
}

/// The categorical factors as written by [`to_json`].
fn categories(list: &Value, dimension: usize) -> Option<std::sync::Arc<[Category]>> {
    let whole = |value: &Value| value.as_u64().map(|x| x as usize);
    let one = |value: &Value| -> Option<Category> {
        let [offset, size, known] = value.as_array()?.as_slice() else { return None };
        let known = if known.is_null() { None } else { Some(whole(known)?) };
        let category = Category { offset: whole(offset)?, size: whole(size)?, known };
        (category.offset + category.size <= dimension && category.size > 0).then_some(category)
    };
    list.as_array()?.iter().map(one).collect()
}

/// Draws as a CmdStan CSV: `lp__`, `log_p__` (log joint with Jacobians), `log_g__` (log density of the approximation), then
/// every variable and expression outside the rows' plate, elements counted from 1, the first index fastest. Discrete variables
/// that were summed out have no column; those that were not have their values, counted from 0 as in the model language.
///
/// # Errors
/// [`ApproximationError::Changed`] where the model no longer fits.
pub(crate) fn cmdstan_csv(
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
    let mut theta = q.points(&noise, draws);
    let surprise_of_values = q.draw_values(&mut theta, vi_run::seed::derive_seed(seed, 1));
    let mut out = Evaluation::default();
    evaluator.evaluate(&theta, draws, false, &mut out);
    let (k, m) = (q.free.len(), q.categories.len());
    let discrete: Vec<_> = model.factored.iter().filter(|f| !graph.is_local(f.variable)).collect();
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
    // Values of discrete variables that are not summed out, by their first weight.
    let mut values_at: Vec<Vec<usize>> = Vec::new();
    for f in &discrete {
        let mut offsets = Vec::with_capacity(f.known.len());
        for i in 0..f.known.len() {
            let (mut rest, mut element, mut stride) = (i, 0, f.known.len());
            let _ = write!(text, ",{}", graph.variable(f.variable).name);
            for size in &f.plates {
                stride /= size;
                let _ = write!(text, ".{}", rest % size + 1);
                element += rest % size * stride;
                rest /= size;
            }
            offsets.push(f.offset + element * f.size);
        }
        values_at.push(offsets);
    }
    text.push('\n');
    read_out.visit(&theta, draws, 0, |from, frame| {
        for d in 0..frame.draws {
            let s = from + d;
            let own = surprise[s * k..(s + 1) * k].iter().chain(&surprise_of_values[s * m..(s + 1) * m]);
            let log_g: f64 = -own.sum::<f64>();
            let _ = write!(text, "{},{},{}", out.values[s], out.values[s], log_g);
            for (o, offsets) in outputs.iter().zip(&places) {
                let values = frame.read(read_out.program(), &o.value);
                let start = if o.value.is_data() { 0 } else { d * o.value.shape.inner() };
                for offset in offsets {
                    let _ = write!(text, ",{}", values[start + offset]);
                }
            }
            for (f, offsets) in discrete.iter().zip(&values_at) {
                for offset in offsets {
                    let weights = &theta[s * n + offset..s * n + offset + f.size];
                    let _ = write!(text, ",{}", weights.iter().position(|w| *w > 0.0).unwrap_or(0));
                }
            }
            text.push('\n');
        }
    });
    Ok(text)
}
