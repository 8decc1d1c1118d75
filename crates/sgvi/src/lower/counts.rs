//! How many values discrete variables have: those of latent counts without a bound up to where the sum over them is cut off.

use vi_model::graph::{Distribution, Graph, VariableId};

use super::{Lowering, View};
use crate::error::SgviError;
use crate::tape::{Shape, Value};

/// Values at most that a latent count is summed over.
pub(crate) const MOST_VALUES: usize = 1 << 14;
/// Values of all elements of a latent count together at most.
const MOST_CELLS: usize = 1 << 26;

/// Latent counts whose values have no bound.
pub(crate) fn unbounded(graph: &Graph) -> Vec<VariableId> {
    (0..graph.variables.len())
        .map(VariableId)
        .filter(|v| {
            let variable = graph.variable(*v);
            let endless =
                matches!(variable.distribution, Distribution::Poisson { .. } | Distribution::NegativeBinomial { .. });
            endless && variable.observed.is_none()
        })
        .collect()
}

impl Lowering<'_> {
    /// Number of values of a discrete variable.
    pub(super) fn num_values(&mut self, v: VariableId) -> Result<usize, SgviError> {
        let graph = self.graph;
        let refuse = |reason: String| {
            SgviError::unsupported(
                graph,
                v,
                reason,
                "observe it, or write a categorical or binomial variable with a finite number of values",
            )
        };
        match &graph.variable(v).distribution {
            Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => {
                Ok(graph.axis(*range).size)
            }
            Distribution::Bernoulli { .. } => Ok(2),
            Distribution::Binomial { trials, .. } => {
                let trials = self.node(*trials, View::Plain)?;
                let numbers = self.b.numbers(&trials).unwrap_or_default();
                let most = numbers.iter().copied().fold(f64::NAN, f64::max);
                if most < MOST_VALUES as f64 {
                    return self.affordable(v, most.max(0.0) as usize + 1);
                }
                Err(refuse("it is a latent count with too many trials to be summed out".to_owned()))
            }
            Distribution::Multinomial { .. } => {
                Err(refuse("it is a latent vector of counts, which cannot be summed out".to_owned()))
            }
            _ => {
                let kept = self.ports.is_some() || self.is_kept(v);
                if kept || graph.variable(v).observed.is_some() {
                    return Err(refuse(
                        "it is a latent count without a bound, which cannot be summed out here".to_owned(),
                    ));
                }
                if graph.variable(v).marginalized != Some(true) {
                    return Err(SgviError::unsupported(
                        graph,
                        v,
                        "it is a latent count without a bound, of which only a part can be summed out",
                        "observe it, or write `marginalized = true` to sum as far as its posterior reaches",
                    ));
                }
                if self.predictive.is_some() {
                    // Counts of new rows are drawn.
                    self.too_many.push(v);
                    return Err(refuse("it is a latent count without a bound".to_owned()));
                }
                let largest = match graph.variable(v).largest {
                    Some(largest) => largest,
                    None => first_range(graph)?,
                };
                self.affordable(v, largest + 1)
            }
        }
    }

    /// Refuses sums over more values than there is room for.
    fn affordable(&self, v: VariableId, size: usize) -> Result<usize, SgviError> {
        let elements: usize = self.graph.variable(v).plates.iter().map(|p| self.graph.axis(*p).size).product();
        if size.saturating_mul(elements) <= MOST_CELLS {
            return Ok(size);
        }
        Err(SgviError::unsupported(
            self.graph,
            v,
            format!("{elements} latent counts of up to {} are too many to be summed out", size - 1),
            "use fewer rows, or integrate by hand: a Poisson count of which each is seen with probability p is seen Poisson(rate · p) times",
        ))
    }

    /// Trials and ln C(trials, k) of a binomial, with trials raised to k and ln 0 where k is more than there are.
    pub(super) fn choose(&mut self, trials: &Value, k: &Value) -> (Value, Value) {
        let rest = self.b.difference(trials, k);
        let short = self.b.numbers(&rest).filter(|rest| rest.iter().any(|r| *r < 0.0));
        let Some(short) = short else {
            return (trials.clone(), self.ln_choose(trials, k, &rest));
        };
        let shape: Shape = rest.shape.clone();
        let of = |f: fn(f64) -> f64| short.iter().map(|r| f(*r)).collect::<Vec<f64>>();
        let lacking = self.b.data(shape.clone(), of(|r| (-r).max(0.0)));
        let never = self.b.data(shape.clone(), of(|r| if r < 0.0 { f64::NEG_INFINITY } else { 0.0 }));
        let rest = self.b.data(shape, of(|r| r.max(0.0)));
        let trials = self.b.sum(trials, &lacking);
        let choose = self.ln_choose(&trials, k, &rest);
        (trials, self.b.sum(&choose, &never))
    }

    fn ln_choose(&mut self, trials: &Value, k: &Value, rest: &Value) -> Value {
        let (n, k, r) = (self.ln_factorial(trials), self.ln_factorial(k), self.ln_factorial(rest));
        let kr = self.b.sum(&k, &r);
        self.b.difference(&n, &kr)
    }
}

/// Where a sum over a latent count is cut off at first: beyond twice the largest observed count.
///
/// # Errors
/// Data that cannot be read.
pub(crate) fn first_range(graph: &Graph) -> Result<usize, SgviError> {
    let mut largest = 0.0f64;
    for variable in &graph.variables {
        let Some(vi_model::graph::Observation::Numeric(node)) = variable.observed else { continue };
        if super::is_discrete(&variable.distribution) {
            let cells = graph.evaluate_data(node, 0..graph.data.num_rows())?;
            largest = cells.values.iter().copied().filter(|x| x.is_finite()).fold(largest, f64::max);
        }
    }
    Ok((2.0 * largest + 31.0).min(MOST_VALUES as f64) as usize)
}
