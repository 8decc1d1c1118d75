//! Trained networks as a user of the library has them: rows to codes, codes to rows, quality, weights.

use vi_model::graph::{AxisKind, Graph};

use super::generate::{self, Code, Decoded, Encoding, Evaluation, decode, encode_on_own_scale, evaluate_rows};
use super::model::AmortizedModel;
use super::weights;
use crate::error::SgviError;

/// Why trained networks cannot do what they are asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// No amortised variable has that name.
    #[error("`{name}` is not an amortised variable; the model has {}", .known.join(", "))]
    Variable {
        /// What was asked for.
        name: String,
        /// The amortised variables.
        known: Vec<String>,
    },
    /// A row that the data do not have.
    #[error("row {row} was asked for (counted from 0), but the data have {num_rows} rows")]
    Row {
        /// The row.
        row: u32,
        /// Rows of the data.
        num_rows: usize,
    },
    /// Codes of another size.
    #[error(
        "the codes given are {found:?} numbers, but the model needs {expected:?}: one array for each amortised variable, [rows, dimension]"
    )]
    Codes {
        /// Numbers in each array.
        found: Vec<usize>,
        /// Numbers that each must have.
        expected: Vec<usize>,
    },
    /// Some variable cannot be drawn from its prior.
    #[error("{0}")]
    Prior(String),
    /// Other data do not fit the model.
    #[error("{0}")]
    Axes(String),
    /// Other data cannot be read.
    #[error(transparent)]
    Engine(#[from] SgviError),
}

/// Trained networks and the rows that they were trained on, or others.
#[derive(Debug, Clone)]
pub struct Networks {
    graph: Graph,
    model: AmortizedModel,
    parameters: Vec<f32>,
}

impl Networks {
    pub(crate) fn new(graph: Graph, model: AmortizedModel, parameters: Vec<f32>) -> Self {
        Self { graph, model, parameters }
    }

    /// Number of rows of the data.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.model.num_rows
    }

    /// The amortised variables, in the order of [`Code::Given`].
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        self.model.program.latents.iter().map(|latent| latent.name.clone()).collect()
    }

    /// The same networks over the rows of another graph: the same model, read with other data.
    ///
    /// # Errors
    /// Data with other columns or levels, or that standardize themselves, and data that cannot be read.
    pub fn over(&self, graph: &Graph) -> Result<Self, NetworksError> {
        same_axes(&self.graph, graph).map_err(NetworksError::Axes)?;
        let model = AmortizedModel::new(graph)?;
        if model.program.layout != self.model.program.layout {
            return Err(NetworksError::Axes("the new graph is that of another model: its networks differ".to_owned()));
        }
        Ok(Self { graph: graph.clone(), model, parameters: self.parameters.clone() })
    }

    /// Mean and sd of the factor of an amortised variable for some rows, on the variable's own scale.
    ///
    /// # Errors
    /// Unknown variables and rows.
    pub fn encode(&self, variable: &str, rows: &[u32]) -> Result<Encoding, NetworksError> {
        self.check_rows(rows)?;
        let latents = &self.model.program.latents;
        let index = latents
            .iter()
            .position(|latent| latent.name == variable)
            .ok_or_else(|| NetworksError::Variable { name: variable.to_owned(), known: self.variables() })?;
        Ok(encode_on_own_scale(&self.model, &self.parameters, index, rows))
    }

    /// Every observed variable by name, for some rows: reconstructed from their codes, drawn from the prior, or decoded from given
    /// codes; in the data's own units, also where their columns are standardized. The rows' data serve as conditions and, for reconstructions, as input of the encoders. What depends on an unknown
    /// discrete variable of the rows is averaged over its values.
    ///
    /// # Errors
    /// Unknown rows, codes of the wrong size, and draws of what cannot be drawn.
    pub fn decode(&self, rows: &[u32], code: Code<'_>, seed: u64) -> Result<Vec<(String, Decoded)>, NetworksError> {
        self.check_rows(rows)?;
        let program = &self.model.program;
        match code {
            Code::Given(given) => {
                let expected: Vec<usize> = program.latents.iter().map(|latent| rows.len() * latent.width).collect();
                let found: Vec<usize> = given.iter().map(Vec::len).collect();
                if found != expected {
                    return Err(NetworksError::Codes { found, expected });
                }
            }
            Code::Prior => {
                if let Some(reason) = generate::refusal(program) {
                    return Err(NetworksError::Prior(reason.to_owned()));
                }
            }
            Code::Mean | Code::Posterior => {}
        }
        let mut all = decode(&self.model, &self.parameters, rows, code, seed);
        for (output, decoded) in program.outputs.iter().zip(&mut all) {
            let Some(scale) = self.graph.own_scale(output.variable, &self.graph.value_axes(output.variable)) else {
                continue;
            };
            for values in [&mut decoded.means, &mut decoded.draws] {
                let mut wide: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
                scale.locations(&mut wide, 1);
                values.iter_mut().zip(wide).for_each(|(value, wide)| *value = wide as f32);
            }
        }
        Ok(program.outputs.iter().map(|output| output.name.clone()).zip(all).collect())
    }

    /// ELBO and importance-weighted log evidence of some rows by `samples` draws each, and active units.
    ///
    /// # Errors
    /// Unknown rows.
    pub fn evaluate(&self, rows: &[u32], samples: usize, seed: u64) -> Result<Evaluation, NetworksError> {
        self.check_rows(rows)?;
        Ok(evaluate_rows(&self.model, &self.parameters, rows, samples, seed))
    }

    /// All weights as a safetensors file: arrays by name, such as `decoder.layer_1.weight`.
    #[must_use]
    pub fn to_safetensors(&self) -> Vec<u8> {
        weights::to_bytes(&self.model.program.layout, &self.parameters)
    }

    fn check_rows(&self, rows: &[u32]) -> Result<(), NetworksError> {
        let num_rows = self.model.num_rows;
        match rows.iter().find(|row| **row as usize >= num_rows) {
            Some(&row) => Err(NetworksError::Row { row, num_rows }),
            None => Ok(()),
        }
    }
}

/// New data must have the axes of the run's: as many columns, and the same levels in the same order.
pub(crate) fn same_axes(old: &Graph, new: &Graph) -> Result<(), String> {
    for (a, b) in old.axes.iter().zip(&new.axes) {
        match (&a.kind, &b.kind) {
            (AxisKind::Rows, _) => {}
            (AxisKind::Levels { levels, .. }, AxisKind::Levels { levels: other, .. }) if levels != other => {
                return Err(format!(
                    "the levels of `{}` in the new data are {}, in the run's {}, in order of first appearance; they must be the same",
                    a.name,
                    other.join(", "),
                    levels.join(", ")
                ));
            }
            _ if a.size != b.size => {
                return Err(format!("`{}` has {} elements in the new data, {} in the run's", a.name, b.size, a.size));
            }
            _ => {}
        }
    }
    if old.data.columns.iter().any(|column| column.standardization.is_some()) {
        return Err("the model standardizes its data, which would scale the new data by other numbers; \
                    standardize the file beforehand and leave `standardize` out"
            .to_owned());
    }
    Ok(())
}
