//! Posterior means and standard deviations of expressions that read discrete variables: exact over those, by draws over the others.

use rayon::prelude::*;
use vi_model::graph::{AxisId, Graph, NamedExpression, NodeId};
use vi_run::record::{PosteriorEntry, Table};
use vi_run::seed::derive_seed;

use super::assess::Assessment;
use super::gaussian::Gaussian;
use super::noise;
use super::posterior::nested;
use crate::error::SgviError;
use crate::lower::{Expectation, Model};
use crate::tape::Frame;

/// Draws over which expectations are averaged, at most.
const DRAWS: usize = 20_000;
/// Numbers that all sweeps together may work on.
const WORK: usize = 200_000_000;
/// Draws of one sweep, whatever the number of threads.
const BLOCK: usize = 8;

/// Moments of an expression, in the order of its cells.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Its axes as reported, with the stride of each.
    pub axes: Vec<(AxisId, usize)>,
    /// Number of cells of a row (of all where it has no rows).
    pub width: usize,
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub sd: Vec<f64>,
    /// Means by importance sampling.
    pub corrected: Option<Vec<f64>>,
}

/// The expressions that read discrete variables which were summed out or keep factors of their own.
pub(crate) fn mixed<'a>(graph: &'a Graph, model: &'a Model) -> impl Iterator<Item = &'a NamedExpression> {
    let plain = |e: &NamedExpression| model.outputs.iter().any(|o| o.name == e.name);
    let fixed = |node| graph.is_data(node) || graph.uses_network(node);
    graph.expressions.iter().filter(move |e| !plain(e) && !fixed(e.node))
}

/// Averages of (E\[f − m | θ\], E\[(f − m)² | θ\]) over draws with the given weights; `theta` makes the points of a range of draws.
fn averages(
    e: &Expectation,
    draws: usize,
    weight: impl Fn(usize) -> f64 + Sync,
    theta: impl Fn(std::ops::Range<usize>) -> Vec<f64> + Sync,
) -> (Vec<f64>, Vec<f64>) {
    let (n, rows) = (e.cells(), e.program.num_rows);
    let block = |from: usize| {
        let range = from..(from + BLOCK).min(draws);
        let count = range.len();
        let mut frame = Frame::new(&e.program, count, rows);
        frame.sweep(&e.program, &theta(range.clone()), count, 0..rows, rows.max(1), true, true);
        let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
        for d in range {
            let w = weight(d);
            for (c, (a, b)) in e.read(&frame, d - from).enumerate() {
                first[c] += w * a;
                second[c] += w * b;
            }
        }
        (first, second)
    };
    let starts: Vec<usize> = (0..draws).step_by(BLOCK).collect();
    let parts: Vec<(Vec<f64>, Vec<f64>)> = starts.into_par_iter().map(block).collect();
    let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
    for (a, b) in parts {
        first.iter_mut().zip(a).for_each(|(s, x)| *s += x);
        second.iter_mut().zip(b).for_each(|(s, x)| *s += x);
    }
    (first, second)
}

/// Mean and sd of an expression: E\[f\] = E_θ E\[f | θ\], Var f = E_θ E\[(f − m)² | θ\] − (E\[f\] − m)².
///
/// # Errors
/// Expressions that tie together what was summed out one by one, beyond what can be enumerated.
pub(crate) fn expected(
    graph: &Graph,
    model: &Model,
    q: Option<&Gaussian>,
    assessment: Option<&Assessment>,
    node: NodeId,
    seed: u64,
) -> Result<Expected, SgviError> {
    let plain = model.expectation(graph, node, &[])?;
    let center = averages(&plain, 1, |_| 1.0, |_| q.map(|q| q.center().into_owned()).unwrap_or_default()).0;
    let center: Vec<f64> = center.into_iter().map(|m| if m.is_finite() { m } else { 0.0 }).collect();
    let e = model.expectation(graph, node, &center)?;
    let most = (WORK / e.program.work().max(1)).clamp(20, DRAWS) / 2 * 2;
    // Weights that are indicators make the log joint exact where it is not linear in them.
    let values = |q: &Gaussian, mut theta: Vec<f64>, from: usize| {
        if e.is_relaxed {
            q.draw_values(&mut theta, derive_seed(seed, 1 + from as u64));
        }
        theta
    };
    let still = q.is_none_or(|q| q.free.is_empty() && !e.is_relaxed);
    let (draws, w) = (if still { 1 } else { most }, q.map_or(0, Gaussian::noise_dimension));
    let noise = noise::matched(seed, draws.max(2), w);
    let points = |noise: &[f64], range: std::ops::Range<usize>| match q {
        Some(q) => values(q, q.points(&noise[range.start * w..range.end * w], range.len()), range.start),
        None => Vec::new(),
    };
    let (first, second) = averages(&e, draws, |_| 1.0 / draws as f64, |range| points(&noise, range));
    // The weights of an approximation with categorical factors are those of values that were drawn.
    let own = assessment.filter(|_| model.categories.is_empty());
    let corrected = own.map(|assessment| {
        let draws = most.min(assessment.draws);
        let weights = &assessment.smoothed.weights[..draws];
        let total: f64 = weights.iter().sum();
        averages(&e, draws, |d| weights[d] / total, |range| points(&assessment.noise, range)).0
    });
    let moved = |away: Vec<f64>| away.iter().zip(&center).map(|(a, m)| m + a).collect::<Vec<f64>>();
    Ok(Expected {
        sd: first.iter().zip(&second).map(|(a, b)| (b - a * a).max(0.0).sqrt()).collect(),
        mean: moved(first),
        corrected: corrected.map(moved),
        width: e.shape.inner(),
        axes: e.axes,
    })
}

/// Adds the entries of expressions outside the rows' plate that read discrete variables; those that cannot be had, with the reason.
pub(crate) fn add_entries(
    graph: &Graph,
    model: &Model,
    q: Option<&Gaussian>,
    assessment: Option<&Assessment>,
    seed: u64,
    table: &mut Table<PosteriorEntry>,
) -> Vec<(String, SgviError)> {
    let mut missing = Vec::new();
    let has_rows = |e: &NamedExpression| graph.rows.is_some_and(|rows| graph.node(e.node).axes.contains(&rows));
    for expression in mixed(graph, model).filter(|e| !has_rows(e)) {
        match expected(graph, model, q, assessment, expression.node, seed) {
            Ok(e) => {
                let mut entry = PosteriorEntry {
                    plates: e.axes.iter().map(|a| graph.axis(a.0).name.clone()).collect(),
                    mean: Some(nested(graph, &e.axes, &e.mean)),
                    sd: Some(nested(graph, &e.axes, &e.sd)),
                    ..PosteriorEntry::default()
                };
                let corrected = e.corrected.map(|values| serde_json::to_value(nested(graph, &e.axes, &values)));
                if let Some(Ok(value)) = corrected {
                    entry.extra.insert("mean_importance_sampling".to_owned(), value);
                }
                table.insert(expression.name.clone(), entry);
            }
            Err(error) => missing.push((expression.name.clone(), error)),
        }
    }
    missing
}
