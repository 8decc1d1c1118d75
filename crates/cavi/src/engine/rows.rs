//! Data of the rows, chunk by chunk: the arrays that products name, and the codes of look-ups.

use std::ops::Range;

use vi_families::matrix::inverse_and_log_determinant;
use vi_model::data::{Codes, ColumnId, MISSING_CODE};
use vi_model::evaluate::DataEvaluator;
use vi_model::graph::{AxisId, Tensor};

use crate::error::CaviError;
use crate::lower::{Lowered, sequence_starts};
use crate::plan::Plan;
use crate::program::{DataOperand, RowData};

/// Bytes up to which row-level arrays are kept in memory instead of being read again in every pass.
const CACHE_BYTES: usize = 256 << 20;
/// Rows read at a time where all of them are read once.
const ROWS_AT_A_TIME: usize = 16_384;

/// Reads row-level arrays.
#[derive(Debug)]
pub(crate) struct RowReader {
    operands: Vec<DataOperand>,
    evaluator: DataEvaluator,
    /// Which tensor of the evaluator each operand comes from.
    tensor_of: Vec<Option<usize>>,
    /// For each operand, how its layout follows from the tensor's: strides of the tensor for the operand's axes.
    layouts: Vec<Vec<usize>>,
    codes: Vec<Codes>,
    block_codes: Vec<Vec<Codes>>,
    /// First rows of the sequences that an operand tells apart.
    first_rows: Vec<Vec<usize>>,
    pair_codes: Vec<Vec<u32>>,
    counts: Option<ColumnId>,
    data: std::sync::Arc<vi_model::data::Data>,
    cache: Option<Vec<Vec<f64>>>,
    cached_counts: Option<Vec<f64>>,
    total_weight: f64,
}

impl crate::program::Program {
    /// Bytes of the row-level arrays and whether they are kept in memory (else they are read again in every pass).
    pub(crate) fn row_data_bytes(&self) -> (usize, bool) {
        let width: usize = self.data.iter().map(|o| o.shape.iter().product::<usize>()).sum();
        let bytes = self.num_rows * width * 8;
        (bytes, bytes <= CACHE_BYTES)
    }
}

/// Row-level arrays of one chunk.
#[derive(Debug, Default)]
pub(crate) struct ChunkData {
    /// One array per data operand, `[rows, …]`.
    pub(crate) arrays: Vec<Vec<f64>>,
    /// Multiplicity of each row.
    pub(crate) weights: Option<Vec<f64>>,
    tensors: Vec<Tensor>,
}

impl RowReader {
    /// Prepares the reading of all row-level arrays of a plan.
    pub(crate) fn new(lowered: &Lowered, plan: &Plan) -> Result<Self, CaviError> {
        let program = &lowered.program;
        let graph = &lowered.graph;
        let mut nodes = Vec::new();
        let mut tensor_of = Vec::new();
        let mut layouts = Vec::new();
        let mut block_codes = Vec::new();
        let mut first_rows = Vec::new();
        for operand in &program.data {
            let mut columns = Vec::new();
            match &operand.data {
                RowData::Expression { node, axes, .. }
                | RowData::Marginal { node, axes, .. }
                | RowData::AnyPresent { node, axes } => {
                    let at = nodes.iter().position(|n| n == node).unwrap_or_else(|| {
                        nodes.push(*node);
                        nodes.len() - 1
                    });
                    tensor_of.push(Some(at));
                    // Positions of the layout's axes among the node's.
                    let own = &graph.node(*node).axes;
                    let position = |(i, axis): (usize, &AxisId)| {
                        let before = axes[..i].iter().filter(|a| *a == axis).count();
                        own.iter().enumerate().filter(|(_, o)| *o == axis).nth(before).map_or(0, |(at, _)| at)
                    };
                    layouts.push(axes.iter().enumerate().map(position).collect());
                }
                RowData::OneHot { block, axis } => {
                    for column in &graph.data.block(*block).columns {
                        columns.push(graph.data.codes(*column, graph.axis(*axis))?);
                    }
                    tensor_of.push(None);
                    layouts.push(vec![]);
                }
                RowData::SameCode { .. } | RowData::CodeIs { .. } | RowData::FirstRow { .. } => {
                    tensor_of.push(None);
                    layouts.push(vec![]);
                }
            }
            block_codes.push(columns);
            first_rows.push(match operand.data {
                RowData::FirstRow { sequence, .. } => sequence_starts(&graph.data, sequence, program.num_rows)?,
                _ => Vec::new(),
            });
        }
        let evaluator = DataEvaluator::new(graph, &nodes)?;
        let codes = program.codes.iter().map(|spec| spec.read(graph)).collect::<Result<Vec<_>, _>>()?;
        let mut reader = Self {
            operands: program.data.clone(),
            evaluator,
            tensor_of,
            layouts,
            codes,
            block_codes,
            first_rows,
            pair_codes: plan.pairs.iter().map(|p| p.row_to_pair.clone()).collect(),
            counts: program.counts,
            data: graph.data.clone(),
            cache: None,
            cached_counts: None,
            total_weight: 0.0,
        };
        reader.total_weight = reader.sum_of_counts(program.num_rows)?;
        // What is summed once, before the first iteration, need not stay.
        if program.row_data_bytes().1 && plan.goes_through_rows() {
            (reader.cache, reader.cached_counts) = reader.read_all(program.num_rows)?;
        }
        Ok(reader)
    }

    /// Σ of the multiplicities, or the number of rows.
    pub(crate) fn total_weight(&self) -> f64 {
        self.total_weight
    }

    /// All row-level arrays and multiplicities, read in pieces: beside them only one piece is in memory.
    #[allow(clippy::type_complexity)]
    fn read_all(&self, rows: usize) -> Result<(Option<Vec<Vec<f64>>>, Option<Vec<f64>>), CaviError> {
        let mut arrays: Vec<Vec<f64>> =
            (0..self.operands.len()).map(|i| Vec::with_capacity(rows * self.width(i))).collect();
        let mut counts = self.counts.map(|_| Vec::with_capacity(rows));
        let mut chunk = ChunkData::default();
        for first in (0..rows).step_by(ROWS_AT_A_TIME) {
            self.fill(first..(first + ROWS_AT_A_TIME).min(rows), &mut chunk)?;
            arrays.iter_mut().zip(&chunk.arrays).for_each(|(all, part)| all.extend_from_slice(part));
            if let (Some(all), Some(part)) = (&mut counts, &chunk.weights) {
                all.extend_from_slice(part);
            }
        }
        Ok((Some(arrays), counts))
    }

    fn sum_of_counts(&self, rows: usize) -> Result<f64, CaviError> {
        let Some(column) = self.counts else { return Ok(rows as f64) };
        let (mut total, mut part) = (0.0, Vec::new());
        for first in (0..rows).step_by(ROWS_AT_A_TIME) {
            let range = first..(first + ROWS_AT_A_TIME).min(rows);
            part.resize(range.len(), 0.0);
            self.data.read(&[column], range, &mut part)?;
            total += part.iter().sum::<f64>();
        }
        Ok(total)
    }

    /// The codes of a chunk: look-ups, then tables of combinations.
    pub(crate) fn codes(&self, rows: Range<usize>) -> Vec<&[u32]> {
        self.codes
            .iter()
            .map(|c| c.rows(rows.clone()))
            .chain(self.pair_codes.iter().map(|p| &p[rows.clone()]))
            .collect()
    }

    /// The array of an operand in a chunk that was read.
    pub(crate) fn array<'a>(&'a self, operand: usize, rows: &Range<usize>, chunk: &'a ChunkData) -> &'a [f64] {
        let width = self.width(operand);
        match &self.cache {
            Some(cache) => &cache[operand][rows.start * width..rows.end * width],
            None => &chunk.arrays[operand],
        }
    }

    /// Multiplicities in a chunk that was read.
    pub(crate) fn weights<'a>(&'a self, rows: &Range<usize>, chunk: &'a ChunkData) -> Option<&'a [f64]> {
        match &self.cached_counts {
            Some(counts) => Some(&counts[rows.clone()]),
            None => chunk.weights.as_deref(),
        }
    }

    /// Number of values per row of an operand.
    pub(crate) fn width(&self, operand: usize) -> usize {
        self.operands[operand].shape.iter().product()
    }

    /// Reads a chunk, unless everything is in memory.
    pub(crate) fn read(&self, rows: Range<usize>, chunk: &mut ChunkData) -> Result<(), CaviError> {
        if self.cache.is_some() { Ok(()) } else { self.fill(rows, chunk) }
    }

    fn fill(&self, rows: Range<usize>, chunk: &mut ChunkData) -> Result<(), CaviError> {
        let count = rows.len();
        self.evaluator.evaluate(rows.clone(), &mut chunk.tensors)?;
        chunk.arrays.resize(self.operands.len(), Vec::new());
        let codes = self.codes(rows.clone());
        for (i, operand) in self.operands.iter().enumerate() {
            let width = self.width(i);
            let array = &mut chunk.arrays[i];
            array.clear();
            array.resize(count * width, 0.0);
            match &operand.data {
                RowData::Expression { transform, .. } => {
                    if let Some(t) = self.tensor_of[i] {
                        lay_out(&chunk.tensors[t], &self.layouts[i], array);
                        array.iter_mut().for_each(|x| *x = transform.apply(*x));
                    }
                }
                RowData::Marginal { covariances, log_determinant, .. } => {
                    if let Some(t) = self.tensor_of[i] {
                        let values = &chunk.tensors[t].values;
                        let mut laid_out = vec![0.0; values.len()];
                        lay_out(&chunk.tensors[t], &self.layouts[i], &mut laid_out);
                        let d = values.len() / count.max(1);
                        for (observed, target) in laid_out.chunks_exact(d).zip(array.chunks_exact_mut(width)) {
                            marginal(observed, covariances, *log_determinant, target)?;
                        }
                    }
                }
                RowData::AnyPresent { .. } => {
                    if let Some(t) = self.tensor_of[i] {
                        let values = &chunk.tensors[t].values;
                        let mut laid_out = vec![0.0; values.len()];
                        lay_out(&chunk.tensors[t], &self.layouts[i], &mut laid_out);
                        let d = values.len() / array.len().max(1);
                        for (observed, target) in laid_out.chunks_exact(d.max(1)).zip(array.iter_mut()) {
                            *target = f64::from(u8::from(observed.iter().any(|x| !x.is_nan())));
                        }
                    }
                }
                RowData::OneHot { .. } => {
                    let columns = self.block_codes[i].len();
                    let size = width / columns.max(1);
                    for (c, column) in self.block_codes[i].iter().enumerate() {
                        for (r, code) in column.rows(rows.clone()).iter().enumerate() {
                            if *code != MISSING_CODE {
                                array[(r * columns + c) * size + *code as usize] = 1.0;
                            }
                        }
                    }
                }
                RowData::SameCode { left, right, different } => {
                    for (r, x) in array.iter_mut().enumerate() {
                        *x = f64::from(u8::from((codes[*left][r] == codes[*right][r]) != *different));
                    }
                }
                RowData::FirstRow { different, .. } => {
                    for (row, x) in rows.clone().zip(array.iter_mut()) {
                        *x = f64::from(u8::from(self.first_rows[i].binary_search(&row).is_ok() != *different));
                    }
                }
                RowData::CodeIs { codes: which, size, different } => {
                    for (r, row) in array.chunks_exact_mut(*size).enumerate() {
                        let code = codes[*which][r];
                        if code == MISSING_CODE {
                            continue;
                        }
                        row.fill(if *different { 1.0 } else { 0.0 });
                        row[code as usize] = if *different { 0.0 } else { 1.0 };
                    }
                }
            }
        }
        if let Some(column) = self.counts {
            let weights = chunk.weights.get_or_insert_with(Vec::new);
            weights.resize(count, 0.0);
            self.data.read(&[column], rows, weights)?;
        }
        Ok(())
    }
}

/// The precisions (or their log determinants) of the coordinates that are present, from `[…, d, d]` covariances.
fn marginal(observed: &[f64], covariances: &[f64], log_determinant: bool, target: &mut [f64]) -> Result<(), CaviError> {
    let d = observed.len();
    let present: Vec<usize> = (0..d).filter(|&i| !observed[i].is_nan()).collect();
    let own = present.len();
    if own == 0 {
        return Ok(());
    }
    for (k, covariance) in covariances.chunks_exact(d * d).enumerate() {
        let block: Vec<f64> =
            present.iter().flat_map(|&i| present.iter().map(move |&j| covariance[i * d + j])).collect();
        let (inverse, log) = inverse_and_log_determinant(&block, own).map_err(|_| CaviError::Factor {
            factor: "the known covariance".to_owned(),
            element: format!(" of the coordinates {present:?}"),
            iteration: 0,
            reason: "it is not positive definite to working precision".to_owned(),
        })?;
        if log_determinant {
            target[k] = -log;
            continue;
        }
        for (a, &i) in present.iter().enumerate() {
            for (b, &j) in present.iter().enumerate() {
                target[k * d * d + i * d + j] = inverse[a * own + b];
            }
        }
    }
    Ok(())
}

/// Copies a tensor into another order of its axes.
fn lay_out(tensor: &Tensor, order: &[usize], out: &mut [f64]) {
    if order.iter().enumerate().all(|(i, o)| i == *o) {
        out.copy_from_slice(&tensor.values);
        return;
    }
    let mut strides = vec![1; tensor.shape.len()];
    for i in (0..tensor.shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * tensor.shape[i + 1];
    }
    let sizes: Vec<usize> = order.iter().map(|&o| tensor.shape[o]).collect();
    let steps: Vec<usize> = order.iter().map(|&o| strides[o]).collect();
    for (flat, value) in out.iter_mut().enumerate() {
        let (mut rest, mut offset) = (flat, 0);
        for (size, step) in sizes.iter().zip(&steps).rev() {
            offset += rest % size * step;
            rest /= size;
        }
        *value = tensor.values[offset];
    }
}
