//! Row-level posteriors: `local/NAME.csv` for the variables that a run is asked to save.

use vi_model::graph::Graph;
use vi_run::output::{LocalColumns, LocalFormat, OutputError, RunDirectory};

use super::noise;
use super::posterior::marginal;
use super::run::Fitted;
use crate::error::SgviError;
use crate::lower::Support;
use crate::tape::Evaluator;

/// Why row-level tables were not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A name that is not a latent variable in the rows' plate.
    #[error(transparent)]
    Refused(#[from] SgviError),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Writes mean and sd of each named variable for every row.
///
/// # Errors
/// Names that are not in the rows' plate, and files that cannot be written.
pub fn save(
    graph: &Graph,
    fitted: &Fitted,
    directory: &mut RunDirectory,
    names: &[String],
    format: LocalFormat,
) -> Result<(), SaveError> {
    let Some(q) = &fitted.gaussian else { return Ok(()) };
    let model = &fitted.model;
    for name in names {
        let output = model.outputs.iter().find(|o| o.name == *name);
        let rows = output.is_some_and(|o| o.axes.iter().any(|a| Some(a.0) == graph.rows));
        let Some(output) = output.filter(|_| rows) else {
            let known: Vec<&str> = model
                .outputs
                .iter()
                .filter(|o| o.axes.iter().any(|a| Some(a.0) == graph.rows))
                .map(|o| o.name.as_str())
                .collect();
            let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(SgviError::Unsupported {
                variable: name.clone(),
                reason: "it is not a continuous latent variable or expression in the rows' plate".to_owned(),
                help: format!("name one that is ({known}); all others are in posterior.json"),
                span: 0..0,
            }
            .into());
        };
        let n = model.read_out.num_rows;
        let width = output.value.shape.inner();
        let mut mean = vec![0.0; n * width];
        let mut square = vec![0.0; n * width];
        let latent = output.variable.and_then(|v| model.latents.iter().find(|l| l.variable == v));
        if let Some(latent) = latent.filter(|l| l.support == Support::Real) {
            let variances = q.variances();
            for i in 0..n * width {
                (mean[i], square[i]) = marginal(q, &variances, latent.offset + i);
            }
        } else {
            let evaluator = Evaluator::new(std::sync::Arc::clone(&model.read_out));
            let draws = 2000;
            let noise = noise::matched(7, draws, q.noise_dimension());
            let w = q.noise_dimension();
            let mut count = 0.0;
            for d in 0..draws {
                let theta = q.points(&noise[d * w..(d + 1) * w], 1);
                evaluator.visit(&theta, 1, n, |_, frame| {
                    count += 1.0;
                    let values = frame.read(evaluator.program(), &output.value);
                    for i in 0..n * width {
                        let step = values[i] - mean[i];
                        mean[i] += step / count;
                        square[i] += step * (values[i] - mean[i]);
                    }
                });
            }
            square.iter_mut().for_each(|s| *s /= count);
        }
        let sd: Vec<f64> = square.iter().map(|v| v.max(0.0).sqrt()).collect();
        let mut writer = directory.local_writer(name, format, LocalColumns::numbered_coordinates(width))?;
        writer.write_moments(&mean, &sd)?;
        writer.finish()?;
    }
    Ok(())
}
