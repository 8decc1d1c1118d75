//! Rows that occur several times: repeated one by one where each occurrence has latent values of its own.
//!
//! A row that occurs c times is c rows with the same cells, and each has its own element of every variable of the rows' plate. Where
//! those are observed or summed out, c copies of one number enter the log joint, and a weight says so. Where they are coordinates
//! of q, each copy needs its own: the rows are repeated.

use vi_model::graph::{Distribution, Graph, NodeKind, Observation, VariableId};
use vi_model::repeated_rows::{RepeatError, RepeatedRows, repeated_rows};

use super::gaussian::Gaussian;
use crate::amortized::compile::is_amortized;
use crate::error::SgviError;
use crate::lower::is_discrete;
use crate::predict::{Prediction, unobserved_rows};

/// How much a variable asks that rows be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// A weight does the same.
    None,
    /// It may turn out to need factors of its own.
    Perhaps,
    /// Its elements are coordinates.
    Certain,
}

/// The model with its rows repeated, where it has `counts` and latent values that each occurrence has for itself.
///
/// # Errors
/// Chains along rows that are counted, and counts that are not whole where rows must be repeated.
pub(crate) fn repeated(graph: &Graph) -> Result<Option<RepeatedRows>, SgviError> {
    if graph.counts.is_none() || is_amortized(graph) {
        return Ok(None);
    }
    let mut most = (Need::None, None);
    for v in (0..graph.variables.len()).map(VariableId).filter(|v| graph.is_local(*v)) {
        let chain = matches!(
            graph.variable(v).distribution,
            Distribution::MarkovChain { .. } | Distribution::GaussianMarkovChain { .. }
        );
        if chain {
            return Err(SgviError::unsupported(
                graph,
                v,
                "rows of a chain cannot be counted several times",
                "leave out `counts`",
            ));
        }
        let need = need(graph, v)?;
        if need > most.0 {
            most = (need, Some(v));
        }
    }
    let (need, Some(v)) = most else { return Ok(None) };
    match repeated_rows(graph) {
        Ok(repeated) => Ok(repeated),
        Err(RepeatError::Data(error)) => Err(error.into()),
        Err(_) if need == Need::Perhaps => Ok(None),
        Err(error) => Err(SgviError::unsupported(
            graph,
            v,
            format!("it has a latent value for each occurrence of a row, but {error}"),
            "write whole counts, or leave out `counts` and repeat the rows themselves",
        )),
    }
}

/// Whether discrete values stand along another plate, whose elements may have to be summed out together with those of the rows.
fn has_tying_plates(graph: &Graph) -> bool {
    (0..graph.variables.len()).map(VariableId).any(|v| {
        let variable = graph.variable(v);
        let latent = variable.observed.is_none() && is_discrete(&variable.distribution);
        latent && !graph.is_local(v) && !variable.plates.is_empty()
    })
}

fn need(graph: &Graph, v: VariableId) -> Result<Need, SgviError> {
    let variable = graph.variable(v);
    let discrete = is_discrete(&variable.distribution);
    Ok(match &variable.observed {
        None if !discrete || variable.marginalized == Some(false) => Need::Certain,
        None if variable.plates.len() > 1 || has_tying_plates(graph) => Need::Perhaps,
        Some(Observation::Numeric(node)) if !discrete && is_used(graph, v) => {
            // Missing cells that others depend on are coordinates.
            let cells = graph.evaluate_data(*node, 0..graph.data.num_rows())?;
            if cells.values.iter().any(|x| x.is_nan()) { Need::Certain } else { Need::None }
        }
        _ => Need::None,
    })
}

fn is_used(graph: &Graph, v: VariableId) -> bool {
    graph.nodes.iter().any(|node| node.kind == NodeKind::Variable(v))
}

/// Values of the data rows' first copies, and of rows that occur no times those that they have unobserved.
pub(crate) struct FirstCopies<'a> {
    repeated: Option<&'a RepeatedRows>,
    unobserved: Prediction,
}

impl<'a> FirstCopies<'a> {
    /// For variables and expressions of the rows that will be asked for; `counted` is the model before its rows were repeated.
    ///
    /// # Errors
    /// Variables that cannot be drawn in the rows that occur no times.
    pub(crate) fn new(
        counted: &Graph,
        repeated: Option<&'a RepeatedRows>,
        owner: &[usize],
        q: Option<&Gaussian>,
        names: &[String],
    ) -> Result<Self, SgviError> {
        let mut unobserved = Prediction::default();
        if let (Some(repeated), Some(q)) = (repeated, q) {
            let absent = |(row, copy): (usize, &Option<usize>)| copy.is_none().then_some(row);
            let rows: Vec<usize> = repeated.first_copy.iter().enumerate().filter_map(absent).collect();
            if !rows.is_empty() {
                unobserved = unobserved_rows(counted, &repeated.graph, owner, q, rows, names)?;
            }
        }
        Ok(Self { repeated, unobserved })
    }

    /// Values of one kind of the rows as they occur, `[repeated rows, width]`, brought to the data rows.
    fn of(&self, values: Vec<f64>, width: usize, unobserved: &[f64]) -> Vec<f64> {
        let Some(repeated) = self.repeated else { return values };
        let mut absent = unobserved.chunks(width.max(1));
        let row = |copy: &Option<usize>| match copy {
            Some(copy) => values[copy * width..(copy + 1) * width].to_vec(),
            None => absent.next().map_or_else(|| vec![f64::NAN; width], <[f64]>::to_vec),
        };
        repeated.first_copy.iter().flat_map(row).collect()
    }

    /// Means and standard deviations of a variable or expression.
    pub(crate) fn moments(&self, name: &str, mean: Vec<f64>, sd: Vec<f64>, width: usize) -> (Vec<f64>, Vec<f64>) {
        let variable = self.unobserved.variables.iter().find(|v| v.name == name).map(|v| (&v.means, &v.sds));
        let expression = self.unobserved.expressions.iter().find(|e| e.name == name).map(|e| (&e.means, &e.sds));
        let own: (&[f64], &[f64]) = variable.or(expression).map_or((&[], &[]), |(m, s)| (m, s));
        (self.of(mean, width, own.0), self.of(sd, width, own.1))
    }

    /// Probabilities of a categorical variable.
    pub(crate) fn probabilities(&self, name: &str, probabilities: Vec<f64>, width: usize) -> Vec<f64> {
        let own = self.unobserved.variables.iter().find(|v| v.name == name).map_or(&[][..], |v| &v.means);
        self.of(probabilities, width, own)
    }
}
