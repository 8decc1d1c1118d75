//! Pictures of the rows: clusters, states over time, smoothed series, scores.

use vi_model::data::ColumnKind;
use vi_model::graph::{AxisKind, Distribution, Graph, NodeId, NodeKind, VariableId};
use vi_run::plot::{Band, Ellipse, Picture, Scatter, Series, SeriesChart, scatter, series_chart};

use super::sample::{self, Table};
use crate::error::CaviError;
use crate::fit::Ascent;

/// Points of a scatter plot at most.
const MOST_POINTS: usize = 20_000;
/// Rows of a series at most.
const MOST_STEPS: usize = 1_500;
/// Lines of a chart at most.
const MOST_LINES: usize = 4;

/// Names of the categories of a variable.
fn category_names(graph: &Graph, z: VariableId, count: usize) -> Vec<String> {
    let axis = match graph.variable(z).distribution {
        Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => Some(graph.axis(range)),
        _ => None,
    };
    axis.and_then(|a| graph.data.element_names(a)).unwrap_or_else(|| {
        let name =
            axis.map_or("category", |a| if a.kind == AxisKind::Anonymous { "category" } else { a.name.as_str() });
        (0..count).map(|k| format!("{name} {k}")).collect()
    })
}

/// The most probable category of each row.
fn most_probable(probabilities: &Table) -> Vec<usize> {
    let best = |row: &[f64]| (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best });
    probabilities.values.chunks_exact(probabilities.width).map(best).collect()
}

/// The first data column that a parameter of a variable contains: `(node, name)`.
fn covariate(graph: &Graph, x: VariableId) -> Option<NodeId> {
    let (_, mean) = graph.variable(x).distribution.parameters().into_iter().find(|(key, _)| *key == "mean")?;
    let mut found = None;
    graph.visit(mean, &mut |n| {
        if let NodeKind::Column(column) = n.kind
            && found.is_none()
        {
            found = graph.nodes.iter().position(|other| other.kind == NodeKind::Column(column)).map(NodeId);
        }
    });
    found
}

/// Weighted mean and covariance of two columns.
fn moments(points: &[f64], weights: &[f64]) -> ([f64; 2], [[f64; 2]; 2]) {
    let total: f64 = weights.iter().sum();
    let mut mean = [0.0; 2];
    for (p, w) in points.chunks_exact(2).zip(weights) {
        mean[0] += w * p[0] / total;
        mean[1] += w * p[1] / total;
    }
    let mut covariance = [[0.0; 2]; 2];
    for (p, w) in points.chunks_exact(2).zip(weights) {
        let d = [p[0] - mean[0], p[1] - mean[1]];
        for (i, row) in covariance.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value += w * d[i] * d[j] / total;
            }
        }
    }
    (mean, covariance)
}

/// How much of a column's variance lies between the clusters.
fn separation(column: &[f64], probabilities: &Table, weights: &[f64]) -> f64 {
    let k = probabilities.width;
    let (mut counts, mut sums) = (vec![0.0; k], vec![0.0; k]);
    let (mut total, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for ((x, p), w) in column.iter().zip(probabilities.values.chunks_exact(k)).zip(weights) {
        if x.is_nan() {
            continue;
        }
        total += w;
        sum += w * x;
        squares += w * x * x;
        for j in 0..k {
            counts[j] += w * p[j];
            sums[j] += w * p[j] * x;
        }
    }
    let mean = sum / total;
    let variance = squares / total - mean * mean;
    let between: f64 =
        counts.iter().zip(&sums).filter(|(n, _)| **n > 1e-9).map(|(n, s)| n / total * (s / n - mean).powi(2)).sum();
    if variance > 0.0 { between / variance } else { 0.0 }
}

/// Observed rows coloured by the most probable category, with the contours of each category's rows.
pub(super) fn clusters(ascent: &Ascent, x: VariableId, z: VariableId) -> Result<Option<Picture>, CaviError> {
    let graph = &ascent.engine.lowered.graph;
    let continuous = matches!(
        graph.variable(x).distribution,
        Distribution::Normal { .. } | Distribution::NormalJoint { .. } | Distribution::StudentT { .. }
    );
    if !continuous {
        return Ok(None);
    }
    let rows = sample::spread(graph.data.num_rows(), MOST_POINTS);
    let Some(values) = sample::observed(graph, x, &rows)? else { return Ok(None) };
    let Some((probabilities, _)) = sample::latent(ascent, z, &rows)? else { return Ok(None) };
    let weights = sample::weights(graph, &rows)?;
    let k = probabilities.width;
    if values.num_rows() != probabilities.num_rows() {
        return Ok(None);
    }
    let against = covariate(graph, x);
    if values.width == 1 && against.is_none() {
        return Ok(along_value(graph, z, &values, &probabilities));
    }
    let (points, labels, is_density) = match against {
        Some(node) if values.width == 1 => {
            let along = sample::data(graph, node, &rows)?;
            let points: Vec<f64> = along.column(0).iter().zip(&values.values).flat_map(|(a, b)| [*a, *b]).collect();
            (points, [along.names[0].clone(), values.names[0].clone()], false)
        }
        _ => {
            let mut order: Vec<(usize, f64)> =
                (0..values.width).map(|c| (c, separation(&values.column(c), &probabilities, &weights))).collect();
            order.sort_by(|a, b| b.1.total_cmp(&a.1));
            let (a, b) = (order[0].0.min(order[1].0), order[0].0.max(order[1].0));
            let points = values.values.chunks_exact(values.width).flat_map(|row| [row[a], row[b]]).collect();
            (points, [values.names[a].clone(), values.names[b].clone()], true)
        }
    };
    // Categories in order of size; those that hold hardly a row are left out.
    let mut sizes = vec![0.0; k];
    for (p, w) in probabilities.values.chunks_exact(k).zip(&weights) {
        sizes.iter_mut().zip(p).for_each(|(s, p)| *s += w * p);
    }
    let total: f64 = sizes.iter().sum();
    let mut used: Vec<usize> = (0..k).filter(|&j| sizes[j] >= (0.002 * total).max(0.5)).collect();
    used.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
    let names = category_names(graph, z, k);
    let class_names: Vec<String> = used
        .iter()
        .map(|&j| format!("{} ({:.0} %)", names.get(j).map_or("", String::as_str), 100.0 * sizes[j] / total))
        .collect();
    let best = most_probable(&probabilities);
    let classes: Vec<usize> = best.iter().map(|j| used.iter().position(|u| u == j).unwrap_or(used.len())).collect();
    let ellipses: Vec<Ellipse> = used
        .iter()
        .enumerate()
        .filter(|_| is_density)
        .map(|(class, &j)| {
            let (mut own, mut own_weights) = (Vec::new(), Vec::new());
            for ((point, p), w) in points.chunks_exact(2).zip(probabilities.values.chunks_exact(k)).zip(&weights) {
                if point.iter().all(|v: &f64| v.is_finite()) {
                    own.extend_from_slice(point);
                    own_weights.push(w * p[j]);
                }
            }
            let (center, covariance) = moments(&own, &own_weights);
            Ellipse { center, covariance, class }
        })
        .collect();
    let title = format!("{} by {}", graph.variable(x).name, graph.variable(z).name);
    Ok(Some(scatter(&Scatter {
        title: &title,
        x_label: &labels[0],
        y_label: &labels[1],
        points: &points,
        classes: &classes,
        class_names: &class_names,
        ellipses: &ellipses,
    })))
}

/// One-dimensional clusters: the probability of each category along the value.
fn along_value(graph: &Graph, z: VariableId, values: &Table, probabilities: &Table) -> Option<Picture> {
    let k = probabilities.width;
    let mut order: Vec<usize> = (0..values.num_rows()).filter(|&r| values.values[r].is_finite()).collect();
    order.sort_by(|&a, &b| values.values[a].total_cmp(&values.values[b]));
    if order.len() < 2 {
        return None;
    }
    let x: Vec<f64> = order.iter().map(|&r| values.values[r]).collect();
    let names = category_names(graph, z, k);
    let lines: Vec<(String, Vec<f64>)> = (0..k)
        .map(|j| (names[j].clone(), order.iter().map(|&r| probabilities.values[r * k + j]).collect::<Vec<f64>>()))
        .filter(|(_, line)| line.iter().sum::<f64>() >= 0.5)
        .collect();
    let series: Vec<Series<'_>> = lines.iter().map(|(name, values)| Series { name, values, band: None }).collect();
    let title = format!("{} along {}", graph.variable(z).name, values.names[0]);
    Some(series_chart(&SeriesChart {
        title: &title,
        x_label: &values.names[0],
        y_label: "probability",
        x: &x,
        series: &series,
        ..SeriesChart::default()
    }))
}

/// Observations over time on a background of the most probable state.
pub(super) fn states(ascent: &Ascent, x: VariableId, z: VariableId) -> Result<Option<Picture>, CaviError> {
    let graph = &ascent.engine.lowered.graph;
    let rows = sample::first(graph.data.num_rows(), MOST_STEPS);
    let Some((probabilities, _)) = sample::latent(ascent, z, &rows)? else { return Ok(None) };
    let Some(values) = sample::observed(graph, x, &rows)? else { return Ok(None) };
    if values.num_rows() != probabilities.num_rows() {
        return Ok(None);
    }
    let best = most_probable(&probabilities);
    let steps: Vec<f64> = (1..=best.len()).map(|r| r as f64).collect();
    let columns: Vec<Vec<f64>> = (0..values.width.min(MOST_LINES)).map(|c| values.column(c)).collect();
    let single = values.width == 1;
    let series: Vec<Series<'_>> = if single {
        Vec::new()
    } else {
        columns.iter().zip(&values.names).map(|(values, name)| Series { name, values, band: None }).collect()
    };
    let title = format!("{} (background) and {}", graph.variable(z).name, graph.variable(x).name);
    let time = graph.rows.map_or("row", |r| graph.axis(r).name.as_str());
    Ok(Some(series_chart(&SeriesChart {
        title: &title,
        x_label: time,
        y_label: if single { &values.names[0] } else { "" },
        x: &steps,
        observations: if single { &columns[0] } else { &[] },
        series: &series,
        states: &best,
    })))
}

/// A line with its band.
struct Line {
    name: String,
    mean: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
}

/// A Gaussian chain: means with bands of two standard deviations.
pub(super) fn series(ascent: &Ascent, v: VariableId) -> Result<Option<Picture>, CaviError> {
    let graph = &ascent.engine.lowered.graph;
    let rows = sample::first(graph.data.num_rows(), MOST_STEPS);
    let Some((means, sds)) = sample::latent(ascent, v, &rows)? else { return Ok(None) };
    let name = &graph.variable(v).name;
    let shown = means.width.min(MOST_LINES);
    let lines: Vec<Line> = (0..shown)
        .map(|c| {
            let (mean, sd) = (means.column(c), sds.column(c));
            let lower = mean.iter().zip(&sd).map(|(m, s)| m - 2.0 * s).collect();
            let upper = mean.iter().zip(&sd).map(|(m, s)| m + 2.0 * s).collect();
            let name = if means.width == 1 { name.clone() } else { format!("{name} {c}") };
            Line { name, mean, lower, upper }
        })
        .collect();
    let series: Vec<Series<'_>> = lines
        .iter()
        .map(|l| Series { name: &l.name, values: &l.mean, band: Some(Band { lower: &l.lower, upper: &l.upper }) })
        .collect();
    // Observations belong beside the line where one number a row stands for the one coordinate.
    let mut observations = Vec::new();
    let mut label = String::new();
    if means.width == 1 {
        for x in (0..graph.variables.len()).map(VariableId) {
            let depends =
                graph.variable(x).distribution.parameters().iter().any(|(_, n)| graph.variables_of(*n).contains(&v));
            if depends
                && let Some(table) = sample::observed(graph, x, &rows)?
                && table.width == 1
            {
                label.clone_from(&table.names[0]);
                observations = table.values;
            }
        }
    }
    let steps: Vec<f64> = (1..=means.num_rows()).map(|r| r as f64).collect();
    let title = format!("{name}: mean ± 2 sd");
    let time = graph.rows.map_or("row", |r| graph.axis(r).name.as_str());
    Ok(Some(series_chart(&SeriesChart {
        title: &title,
        x_label: time,
        y_label: &label,
        x: &steps,
        observations: &observations,
        series: &series,
        states: &[],
    })))
}

/// Row-level normal vectors: the two coordinates with the largest spread, coloured by a text column where there is one.
pub(super) fn scores(ascent: &Ascent, v: VariableId) -> Result<Option<Picture>, CaviError> {
    let graph = &ascent.engine.lowered.graph;
    let rows = sample::spread(graph.data.num_rows(), MOST_POINTS);
    let Some((means, _)) = sample::latent(ascent, v, &rows)? else { return Ok(None) };
    if means.width < 2 {
        return Ok(None);
    }
    let spread = |c: usize| {
        let column = means.column(c);
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        column.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    };
    let mut order: Vec<(usize, f64)> = (0..means.width).map(|c| (c, spread(c))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (a, b) = (order[0].0, order[1].0);
    let points: Vec<f64> = means.values.chunks_exact(means.width).flat_map(|row| [row[a], row[b]]).collect();
    let (mut classes, mut class_names) = (Vec::new(), Vec::new());
    for index in 0..graph.data.columns.len() {
        let column = vi_model::data::ColumnId(index);
        if let ColumnKind::Text { levels } = &graph.data.column(column).kind
            && (2..=10).contains(&levels.len())
        {
            let axis = vi_model::graph::Axis {
                name: graph.data.column(column).name.clone(),
                size: levels.len(),
                kind: AxisKind::Levels { column, levels: levels.clone() },
            };
            let codes = graph.data.codes(column, &axis)?;
            classes =
                rows.iter().flat_map(|r| codes.rows(r.clone())).map(|&c| (c as usize).min(levels.len())).collect();
            class_names.clone_from(levels);
            break;
        }
    }
    let name = &graph.variable(v).name;
    Ok(Some(scatter(&Scatter {
        title: &format!("{name}: posterior means"),
        x_label: &format!("{name} {a}"),
        y_label: &format!("{name} {b}"),
        points: &points,
        classes: &classes,
        class_names: &class_names,
        ellipses: &[],
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_tell_clusters_apart_come_first() {
        let probabilities = Table { width: 2, values: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0], names: vec![] };
        let weights = [1.0; 4];
        // All of the variance lies between the clusters, half of it, none of it.
        assert!((separation(&[0.0, 0.0, 2.0, 2.0], &probabilities, &weights) - 1.0).abs() < 1e-12);
        assert!((separation(&[-1.0, 1.0, 1.0, 3.0], &probabilities, &weights) - 0.5).abs() < 1e-12);
        assert!(separation(&[-1.0, 1.0, -1.0, 1.0], &probabilities, &weights).abs() < 1e-12);
        assert_eq!(most_probable(&probabilities), [0, 0, 1, 1]);
    }

    #[test]
    fn weighted_moments() {
        let (mean, covariance) = moments(&[0.0, 0.0, 2.0, 4.0, 9.0, 9.0], &[1.0, 1.0, 0.0]);
        assert_eq!(mean, [1.0, 2.0]);
        assert_eq!(covariance, [[1.0, 2.0], [2.0, 4.0]]);
    }
}
