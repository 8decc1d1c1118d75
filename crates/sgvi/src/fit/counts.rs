//! How far sums over latent counts without a bound must go: so far that twice as many values change no log joint.

use vi_model::graph::{Graph, VariableId};

use super::gaussian::Gaussian;
use super::noise;
use crate::error::SgviError;
use crate::lower::{MOST_VALUES, Model, first_range, unbounded};
use crate::tape::{Evaluation, Evaluator};

/// Draws of the approximation at which the sums are compared.
const DRAWS: usize = 256;
/// Nats, and nats per nat of the log joint, that the values left out may come to.
const LEFT_OUT: (f64, f64) = (1e-10, 1e-14);

/// The model with all sums over latent counts without a bound going up to `largest`.
fn up_to(graph: &Graph, counts: &[VariableId], largest: usize) -> Graph {
    let mut other = graph.clone();
    for v in counts {
        other.variables[v.0].largest = Some(largest);
    }
    other
}

/// The model with such sums, as far as they go at first; `None` where there are none.
///
/// # Errors
/// Data that cannot be read.
pub(crate) fn started(graph: &Graph) -> Result<Option<Graph>, SgviError> {
    let counts = unbounded(graph);
    if counts.is_empty() {
        return Ok(None);
    }
    Ok(Some(up_to(graph, &counts, first_range(graph)?)))
}

/// The log joint at draws of an approximation (once, where there are no coordinates).
fn values(graph: &Graph, q: Option<&Gaussian>) -> Result<Vec<f64>, SgviError> {
    let model = Model::new(graph)?;
    let evaluator = Evaluator::new(std::sync::Arc::clone(&model.program));
    let draws = if q.is_none() { 1 } else { DRAWS };
    let theta = q.map(|q| q.points(&noise::matched(23, draws, q.noise_dimension()), draws)).unwrap_or_default();
    let mut all = Vec::with_capacity(draws);
    let (dimension, mut out) = (model.program.dimension, Evaluation::default());
    for from in (0..draws).step_by(16) {
        let to = (from + 16).min(draws);
        evaluator.evaluate(&theta[from * dimension..to * dimension], to - from, false, &mut out);
        all.extend(&out.values);
    }
    Ok(all)
}

/// The model with sums that are complete at the draws of an approximation; `None` where it has no count without a bound.
///
/// The sums up to n and up to 2n + 1 differ by what the values between carry; n is doubled until that is less than 1e-10 nats.
///
/// # Errors
/// Counts that would have to be summed too far.
pub(crate) fn complete(graph: &Graph, q: Option<&Gaussian>) -> Result<Option<Graph>, SgviError> {
    let counts = unbounded(graph);
    let Some(&first) = counts.first() else { return Ok(None) };
    let mut largest = match graph.variable(first).largest {
        Some(largest) => largest,
        None => first_range(graph)?,
    };
    let mut own = values(&up_to(graph, &counts, largest), q)?;
    loop {
        let next = 2 * largest + 1;
        if next > MOST_VALUES {
            return Err(SgviError::unsupported(
                graph,
                first,
                format!("its posterior reaches beyond {largest}, so that summing it out takes too many values"),
                "give what it depends on a prior that holds it nearer to the observed counts, or write it as a continuous variable",
            ));
        }
        let further = values(&up_to(graph, &counts, next), q)?;
        let same = |(a, b): (&f64, &f64)| {
            a == b || (b - a).abs() <= LEFT_OUT.0 + LEFT_OUT.1 * b.abs() || (a.is_nan() && b.is_nan())
        };
        if own.iter().zip(&further).all(same) {
            return Ok(Some(up_to(graph, &counts, largest)));
        }
        (largest, own) = (next, further);
    }
}
