//! A compiled amortised model together with its data in memory.

use super::compile::compile;
use super::part::Source;
use super::program::{DataNode, Program};
use crate::error::SgviError;
use vi_families::special::ln_gamma;
use vi_model::data::MISSING_CODE;
use vi_model::evaluate::DataEvaluator;
use vi_model::graph::{AxisId, Graph, NodeId};

/// Rows that are read from the data at a time.
const CHUNK: usize = 4096;

/// A row program and the rows that it runs over.
#[derive(Debug, Clone)]
pub(crate) struct AmortizedModel {
    /// What is computed for every row.
    pub program: Program,
    /// Data, by index of the source.
    pub sources: Vec<Source>,
    /// How many times each row occurs.
    pub weights: Vec<f32>,
    /// Number of rows.
    pub num_rows: usize,
}

impl AmortizedModel {
    /// Compiles the graph and reads its data, as 32-bit numbers.
    ///
    /// # Errors
    /// [`SgviError::Unsupported`] where the model has no place for a variable, [`SgviError::Data`] where the data cannot be
    /// read.
    pub(crate) fn new(graph: &Graph) -> Result<Self, SgviError> {
        let program = compile(graph)?;
        let num_rows = graph.data.num_rows();
        let mut sources = Vec::with_capacity(program.sources.len());
        for node in &program.sources {
            let source = match node {
                DataNode::Expression(id, axes) => expression(graph, *id, axes, num_rows)?,
                DataNode::Codes(column, axis) => {
                    let codes = graph.data.codes(*column, graph.axis(*axis))?;
                    Source { width: 1, values: codes.all().iter().map(|&code| code_value(code)).collect() }
                }
                DataNode::BlockCodes(block, axis) => {
                    let columns = &graph.data.block(*block).columns;
                    let mut values = vec![0.0; num_rows * columns.len()];
                    for (index, &column) in columns.iter().enumerate() {
                        let codes = graph.data.codes(column, graph.axis(*axis))?;
                        for (row, &code) in codes.all().iter().enumerate() {
                            values[row * columns.len() + index] = code_value(code);
                        }
                    }
                    Source { width: columns.len(), values }
                }
                DataNode::LogFactorial(source) => {
                    let counts: &Source = &sources[*source];
                    let values = counts.values.iter().map(|&x| ln_gamma(f64::from(x) + 1.0) as f32).collect();
                    Source { width: counts.width, values }
                }
            };
            sources.push(source);
        }
        let mut weights = vec![1.0; num_rows];
        if let Some(column) = graph.counts {
            let mut counts = vec![0.0; num_rows];
            graph.data.read(&[column], 0..num_rows, &mut counts)?;
            for (weight, count) in weights.iter_mut().zip(counts) {
                *weight = count as f32;
            }
        }
        Ok(Self { program, sources, weights, num_rows })
    }

    /// Σ of the rows' counts.
    #[must_use]
    pub(crate) fn total_weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}

fn code_value(code: u32) -> f32 {
    if code == MISSING_CODE { f32::NAN } else { code as f32 }
}

fn expression(graph: &Graph, node: NodeId, axes: &[AxisId], num_rows: usize) -> Result<Source, SgviError> {
    let width: usize = axes.iter().map(|&axis| graph.axis(axis).size).product();
    let evaluator = DataEvaluator::new(graph, &[node])?;
    let rows_first: Vec<AxisId> = graph.rows.into_iter().chain(axes.iter().copied()).collect();
    let mut values = Vec::with_capacity(num_rows * width);
    let mut out = Vec::new();
    for start in (0..num_rows).step_by(CHUNK) {
        evaluator.evaluate(start..(start + CHUNK).min(num_rows), &mut out)?;
        let Some(tensor) = out.first() else { continue };
        if tensor.axes == rows_first {
            values.extend(tensor.values.iter().map(|&x| x as f32));
        } else if let Some(tensor) = tensor.transpose_to(&rows_first) {
            values.extend(tensor.values.iter().map(|&x| x as f32));
        }
    }
    Ok(Source { width, values })
}
