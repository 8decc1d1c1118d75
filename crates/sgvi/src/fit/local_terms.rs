//! Log weights for each coordinate from the terms that its element touches: the score-function gradient Rao–Blackwellised
//! over variables, rows and plates (Ranganath, Gerrish & Blei 2014, equation 5).

use vi_model::graph::Graph;

use crate::error::SgviError;
use crate::lower::touched::{CellTerms, Touched};
use crate::lower::{Latent, Model, Support};
use crate::predict::operations::slice;
use crate::tape::{Evaluator, Value};

/// Terms of one coordinate.
#[derive(Debug, Clone, Default)]
struct Own {
    /// Terms that count whole.
    terms: Vec<usize>,
    /// Terms of which only some cells count: the term's position among those kept by cell, and the cells.
    cells: Vec<(usize, Vec<u32>)>,
}

/// For each coordinate of a mean-field approximation, the parts of the log joint that depend on it.
///
/// The others are constant given the remaining coordinates, so that their product with the coordinate's score is zero on
/// average: without them the gradient has the same mean and less variance. Of a term over rows only those rows count that
/// have, or look up, the coordinate's element.
#[derive(Debug)]
pub(crate) struct LocalTerms {
    own: Vec<Own>,
    by_cell: Option<(Evaluator, Vec<Value>)>,
    num_rows: usize,
    /// Elements of categorical factors no two of which stand in one cell, by the first coordinate of each, with their size:
    /// the same place in different rows.
    apart: Vec<(usize, Vec<usize>)>,
}

/// Elements of a variable (rows first) that a coordinate belongs to.
fn elements(latent: &Latent, at: usize) -> std::ops::Range<usize> {
    let (row, inside) = (at / latent.width.max(1), at % latent.width.max(1));
    let first = row * latent.elements;
    match latent.support {
        // Elements share coordinates.
        Support::Ordered { .. } | Support::NormalGamma | Support::NormalWishart(_) => first..first + latent.elements,
        _ => {
            let element = first + inside / (latent.width / latent.elements.max(1)).max(1);
            element..element + 1
        }
    }
}

/// Whether all that coordinates touch are cells of their own.
fn are_apart(own: &[Own], coordinates: &[usize]) -> bool {
    let mut taken = std::collections::HashSet::new();
    coordinates.iter().all(|c| {
        let own = &own[*c];
        own.terms.is_empty()
            && own.cells.iter().all(|(term, cells)| cells.iter().all(|cell| taken.insert((*term, *cell))))
    })
}

impl LocalTerms {
    /// The terms of every coordinate of a model.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub(crate) fn new(graph: &Graph, model: &Model) -> Result<Self, SgviError> {
        let touched = Touched::new(graph, model);
        let mut own: Vec<Own> =
            model.owner.iter().map(|v| Own { terms: touched.terms[*v].clone(), ..Own::default() }).collect();
        let mut by_cell = None;
        if let Some(CellTerms { program, values }) = CellTerms::new(graph, model)? {
            let mut kept: Vec<usize> = values.keys().copied().collect();
            kept.sort_unstable();
            let mut give = |v: usize, coordinates: &[(usize, std::ops::Range<usize>)]| -> Result<(), SgviError> {
                for (at, term) in kept.iter().enumerate().filter(|(_, t)| touched.terms[v].contains(t)) {
                    let Some(cells) = touched.cells(graph, v, *term)? else { continue };
                    for (coordinate, elements) in coordinates {
                        let mut all: Vec<u32> = cells[elements.clone()].concat();
                        all.sort_unstable();
                        all.dedup();
                        own[*coordinate].terms.retain(|t| t != term);
                        own[*coordinate].cells.push((at, all));
                    }
                }
                Ok(())
            };
            for latent in model.latents.iter().filter(|l| l.width > 0) {
                let plates = &graph.variable(latent.variable).plates;
                if plates.is_empty() {
                    continue;
                }
                let count: usize = plates.iter().map(|a| graph.axis(*a).size).product();
                let rows = if latent.rows { model.program.num_rows } else { 1 };
                let latent = Latent { elements: count / rows.max(1), ..latent.clone() };
                let places: Vec<_> = (0..latent.count).map(|at| (latent.offset + at, elements(&latent, at))).collect();
                give(latent.variable.0, &places)?;
            }
            for factored in model.factored.iter().filter(|f| !f.plates.is_empty()) {
                let places: Vec<_> = (0..factored.known.len() * factored.size)
                    .map(|at| (factored.offset + at, at / factored.size..at / factored.size + 1))
                    .collect();
                give(factored.variable.0, &places)?;
            }
            let values = kept.iter().map(|t| values[t].clone()).collect();
            by_cell = Some((Evaluator::new(program), values));
        }
        let apart = model.factored.iter().filter(|f| graph.is_local(f.variable)).flat_map(|f| {
            let inside = f.known.len() / model.program.num_rows.max(1);
            (0..inside).map(move |at| {
                let open = (at..f.known.len()).step_by(inside).filter(|e| f.known[*e].is_none());
                (f.size, open.map(|e| f.offset + e * f.size).collect::<Vec<usize>>())
            })
        });
        let apart = apart.filter(|(_, first)| are_apart(&own, first)).collect();
        Ok(Self { own, by_cell, num_rows: model.program.num_rows, apart })
    }

    /// Elements of categorical factors whose values may be changed all at once, since no two of them stand in one cell: their
    /// number of values, and the first coordinate of each.
    pub(crate) fn apart(&self) -> &[(usize, Vec<usize>)] {
        &self.apart
    }

    /// log p − log q of the parts that depend on each of some coordinates, `[draws, coordinates]`; `terms` are the log joint's,
    /// `[draws, num_terms]`, and `surprise` is −log q by those coordinates.
    pub(crate) fn log_weights(
        &self,
        theta: &[f64],
        coordinates: &[usize],
        terms: &[f64],
        surprise: &[f64],
        draws: usize,
    ) -> Vec<f64> {
        let (k, num_terms) = (coordinates.len(), terms.len() / draws.max(1));
        let n = self.num_rows;
        let mut offsets = vec![0];
        let mut by_cell = Vec::new();
        if let Some((evaluator, values)) = &self.by_cell {
            for value in values {
                offsets.push(offsets[offsets.len() - 1] + value.shape.elements(n));
            }
            let width = offsets[values.len()];
            by_cell.resize(draws * width, 0.0);
            evaluator.visit(theta, draws, n, |from, frame| {
                for d in 0..frame.draws {
                    for (at, value) in values.iter().enumerate() {
                        let to = (from + d) * width;
                        by_cell[to + offsets[at]..to + offsets[at + 1]].copy_from_slice(slice(
                            evaluator.program(),
                            frame,
                            value,
                            d,
                        ));
                    }
                }
            });
        }
        let width = offsets[offsets.len() - 1];
        let mut out = Vec::with_capacity(draws * k);
        for s in 0..draws {
            let values = &by_cell[s * width..(s + 1) * width];
            for (i, c) in coordinates.iter().enumerate() {
                let own = &self.own[*c];
                let whole: f64 = own.terms.iter().map(|t| terms[s * num_terms + t]).sum();
                let parts: f64 = own
                    .cells
                    .iter()
                    .flat_map(|(at, cells)| cells.iter().map(|cell| values[offsets[*at] + *cell as usize]))
                    .sum();
                out.push(whole + parts + surprise[s * k + i]);
            }
        }
        out
    }
}
