//! Log weights for each coordinate from the terms that its variable touches: the score-function gradient Rao–Blackwellised
//! over variables and rows (Ranganath, Gerrish & Blei 2014, equation 5).

use vi_model::graph::Graph;

use crate::error::SgviError;
use crate::lower::Model;
use crate::lower::touched::{RowTerms, terms_touched};
use crate::predict::operations::slice;
use crate::tape::Evaluator;

/// Terms of one coordinate.
#[derive(Debug, Clone, Default)]
struct Own {
    /// Terms that count whole.
    terms: Vec<usize>,
    /// Terms of which only one row's part counts, as positions among the row values.
    by_row: Vec<usize>,
    row: usize,
}

/// For each coordinate of a mean-field approximation, the parts of the log joint that depend on it.
///
/// The others are constant given the remaining coordinates, so that their product with the coordinate's score is zero on
/// average: without them the gradient has the same mean and less variance.
#[derive(Debug)]
pub struct LocalTerms {
    own: Vec<Own>,
    rows: Option<(Evaluator, Vec<crate::tape::Value>)>,
    num_rows: usize,
}

impl LocalTerms {
    /// The terms of every coordinate of a model.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn new(graph: &Graph, model: &Model) -> Result<Self, SgviError> {
        let touched = terms_touched(graph, model);
        let row_terms = RowTerms::new(graph, model)?;
        let mut own: Vec<Own> =
            model.owner.iter().map(|v| Own { terms: touched[*v].clone(), ..Own::default() }).collect();
        let mut rows = None;
        if let Some(RowTerms { program, values }) = row_terms {
            let mut kept: Vec<usize> = values.keys().copied().collect();
            kept.sort_unstable();
            for latent in model.latents.iter().filter(|l| l.rows && l.width > 0) {
                for (at, own) in own[latent.offset..latent.offset + latent.count].iter_mut().enumerate() {
                    own.row = at / latent.width;
                    own.by_row = (0..kept.len()).filter(|k| own.terms.contains(&kept[*k])).collect();
                    own.terms.retain(|t| !kept.contains(t));
                }
            }
            let values = kept.iter().map(|t| values[t].clone()).collect();
            rows = Some((Evaluator::new(program), values));
        }
        Ok(Self { own, rows, num_rows: model.program.num_rows })
    }

    /// log p − log q of the parts that depend on each of some coordinates, `[draws, coordinates]`; `terms` are the log joint's,
    /// `[draws, num_terms]`, and `surprise` is −log q by those coordinates.
    pub fn log_weights(
        &self,
        theta: &[f64],
        coordinates: &[usize],
        terms: &[f64],
        surprise: &[f64],
        draws: usize,
    ) -> Vec<f64> {
        let (k, num_terms) = (coordinates.len(), terms.len() / draws.max(1));
        let mut by_row = Vec::new();
        let n = self.num_rows;
        if let Some((evaluator, values)) = &self.rows {
            by_row.resize(draws * values.len() * n, 0.0);
            evaluator.visit(theta, draws, n, |from, frame| {
                for d in 0..frame.draws {
                    for (at, value) in values.iter().enumerate() {
                        let to = ((from + d) * values.len() + at) * n;
                        by_row[to..to + n].copy_from_slice(slice(evaluator.program(), frame, value, d));
                    }
                }
            });
        }
        let count = self.rows.as_ref().map_or(0, |r| r.1.len());
        let mut out = Vec::with_capacity(draws * k);
        for s in 0..draws {
            for (i, c) in coordinates.iter().enumerate() {
                let own = &self.own[*c];
                let whole: f64 = own.terms.iter().map(|t| terms[s * num_terms + t]).sum();
                let parts: f64 = own.by_row.iter().map(|at| by_row[(s * count + at) * n + own.row]).sum();
                out.push(whole + parts + surprise[s * k + i]);
            }
        }
        out
    }
}
