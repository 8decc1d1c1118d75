//! The convergence curve: the ELBO of every restart, and a closer look at its end.

use super::axes::{Axis, Labels, Panel, PanelArea};
use super::canvas::{PlotError, fill, stroke, units};
use super::colour::{ACCENT, Colour, INK, MUTED};
use super::scene::{Anchor, Area, Picture, Point};
use crate::record::{Record, TracePoint};
use plotters::element::{Circle, PathElement, Polygon};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 380.0;
/// Points drawn of one restart at most; of more, the extremes of each stretch are kept.
const MOST_POINTS: usize = 1200;
const THIN: Colour = Colour::new(128, 140, 160).with_opacity(0.55);

/// One restart's curve as (iteration, ELBO, standard error).
type Curve = Vec<(f64, f64, f64)>;

/// The curves of all restarts, the best one last; its index.
fn curves(record: &Record) -> Vec<Curve> {
    let mut restarts: Vec<usize> = record.trace.iter().map(|point| point.restart).collect();
    restarts.dedup();
    let best = record.best_restart().or_else(|| restarts.last().copied());
    restarts.sort_by_key(|restart| Some(*restart) == best);
    restarts
        .into_iter()
        .map(|restart| {
            let points = record.trace.iter().filter(|point| point.restart == restart);
            points.map(numbers).collect()
        })
        .collect()
}

fn numbers(point: &TracePoint) -> (f64, f64, f64) {
    (point.iteration as f64, point.elbo, point.standard_error.unwrap_or(0.0))
}

/// The points of a curve, or the extremes of stretches of it where they are too many to be seen.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = (2 * points.len()).div_ceil(MOST_POINTS);
    let mut kept = Vec::with_capacity(MOST_POINTS + 2);
    for chunk in points.chunks(stretch) {
        let extreme = |sign: f64| {
            (0..chunk.len()).max_by(|&a, &b| (sign * chunk[a].1).total_cmp(&(sign * chunk[b].1))).unwrap_or(0)
        };
        let (low, high) = (extreme(-1.0), extreme(1.0));
        kept.push(chunk[low.min(high)]);
        if low != high {
            kept.push(chunk[low.max(high)]);
        }
    }
    kept
}

/// Draws curves as lines, single points as dots, the last curve bold.
fn draw_curves(area: &PanelArea<'_>, curves: &[Vec<Point>]) -> Result<(), PlotError> {
    for (index, curve) in curves.iter().enumerate() {
        let best = index + 1 == curves.len();
        let points = thinned(curve);
        let colour = if best { ACCENT } else { THIN };
        let dot = |point: Point, radius: f64| area.draw(&Circle::new(point, units(radius), fill(colour)));
        if let [point] = points[..] {
            dot(point, if best { 3.5 } else { 2.0 })?;
        } else {
            let width = if !best {
                1.0
            } else if curve.len() > 400 {
                1.5
            } else {
                2.2
            };
            if best && points.len() <= 40 {
                points.iter().try_for_each(|&point| dot(point, 2.6))?;
            }
            area.draw(&PathElement::new(points, stroke(colour, width)))?;
        }
    }
    Ok(())
}

/// The ELBO over the iterations. The lowest values of the first iterations are cut where they would flatten the rest.
fn overview(picture: &mut Picture, area: Area, curves: &[Curve]) -> Result<(), PlotError> {
    let values = || curves.iter().flatten().map(|point| point.1);
    let mut y = Axis::of(values(), 0.06);
    let mut sorted: Vec<f64> = values().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let quantile = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
    if let (Some(low), Some(high)) = (quantile(0.02), sorted.last()) {
        let floor = high - 1.35 * (high - low);
        if floor > y.low && *high > low {
            y = Axis { low: floor, high: high + 0.06 * (high - floor), logarithmic: false, whole: false };
        }
    }
    let x = Axis::of_counts(curves.iter().flatten().map(|point| point.0), 0.03);
    let labels = Labels { title: "ELBO", x: "iteration", y: "ELBO (nats)" };
    let panel = Panel::new(picture, area, x, y, &labels)?;
    let lines: Vec<Vec<Point>> =
        curves.iter().map(|curve| curve.iter().map(|point| (point.0, point.1)).collect()).collect();
    draw_curves(&panel.on(picture), &lines)?;
    if curves.len() > 1 {
        let text = format!("best of {} restarts in blue", curves.len());
        let at = (panel.area.right() - 8.0, panel.area.bottom() - 10.0);
        picture.text(at, text, 10.5, Anchor::End, MUTED);
    }
    Ok(())
}

/// How far each iteration is below the best ELBO reached, where that is more than rounding.
fn gaps(curves: &[Curve], best: f64) -> Vec<Vec<Point>> {
    let smallest = f64::EPSILON * best.abs().max(1.0);
    let below =
        |curve: &Curve| curve.iter().map(|point| (point.0, best - point.1)).filter(|gap| gap.1 > smallest).collect();
    curves.iter().map(below).collect()
}

/// The distances to the best ELBO on a logarithmic axis: a straight line is linear convergence.
fn distance(picture: &mut Picture, area: Area, curves: &[Curve], gaps: &[Vec<Point>]) -> Result<(), PlotError> {
    let y = Axis::logarithmic(gaps.iter().flatten().map(|point| point.1));
    let x = Axis::of_counts(curves.iter().flatten().map(|point| point.0), 0.03);
    let labels = Labels { title: "Distance to the best ELBO", x: "iteration", y: "best − ELBO (nats)" };
    let panel = Panel::new(picture, area, x, y, &labels)?;
    draw_curves(&panel.on(picture), gaps)
}

/// The last half of the best restart, with a band of two standard errors and the mean of stretches.
fn last_half(picture: &mut Picture, area: Area, curve: &Curve) -> Result<(), PlotError> {
    let last = &curve[curve.len() / 2..];
    let mut sorted: Vec<f64> = last.iter().map(|point| point.1).collect();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 50;
    let y = Axis::of(sorted[cut..sorted.len() - cut].iter().copied(), 0.15);
    let x = Axis::of_counts(last.iter().map(|point| point.0), 0.0);
    let labels = Labels { title: "Last half, with its running mean", x: "iteration", y: "ELBO (nats)" };
    let panel = Panel::new(picture, area, x, y, &labels)?;
    let raw: Vec<Point> = last.iter().map(|point| (point.0, point.1)).collect();
    let area = panel.on(picture);
    area.draw(&PathElement::new(thinned(&raw), stroke(THIN, 0.9)))?;
    let stretch = last.len().div_ceil(40);
    let means: Vec<(f64, f64, f64)> = last
        .chunks(stretch)
        .map(|chunk| {
            let count = chunk.len() as f64;
            let mean = |of: fn(&(f64, f64, f64)) -> f64| chunk.iter().map(of).sum::<f64>() / count;
            (mean(|point| point.0), mean(|point| point.1), mean(|point| point.2 * point.2).sqrt() / count.sqrt())
        })
        .collect();
    let edge = |sign: f64| means.iter().map(move |mean| (mean.0, mean.1 + sign * 2.0 * mean.2));
    let band: Vec<Point> = edge(1.0).chain(edge(-1.0).collect::<Vec<_>>().into_iter().rev()).collect();
    area.draw(&Polygon::new(band, fill(ACCENT.with_opacity(0.2))))?;
    let line: Vec<Point> = means.iter().map(|mean| (mean.0, mean.1)).collect();
    if let [point] = line[..] {
        area.draw(&Circle::new(point, units(3.5), fill(ACCENT)))?;
    }
    area.draw(&PathElement::new(line, stroke(ACCENT, 2.0)))
}

/// Whether the ELBO never falls, apart from rounding.
fn is_monotone(curve: &Curve) -> bool {
    curve.windows(2).all(|pair| pair[1].1 >= pair[0].1 - 1e-8 * pair[0].1.abs().max(1.0))
}

/// The convergence curve of a run: on the left the ELBO of all restarts, on the right, where the ELBO never falls, the distance to
/// the best one on a logarithmic axis, elsewhere the last half with its running mean. Where the optimum is reached at once there is
/// no distance to show, and the ELBO takes the whole width.
#[must_use]
pub fn elbo_picture(record: &Record) -> Picture {
    Picture::drawn(WIDTH, HEIGHT, |picture| draw(picture, record))
}

fn draw(picture: &mut Picture, record: &Record) -> Result<(), PlotError> {
    let curves = curves(record);
    let model = std::path::Path::new(&record.model).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    picture.text((18.0, 26.0), model.unwrap_or_default(), 15.0, Anchor::Start, INK);
    let elbo = if record.elbo.is_finite() {
        format!(", ELBO {:.6} nats", record.elbo).replace('-', "−")
    } else {
        String::new()
    };
    let plural = if record.iterations == 1 { "" } else { "s" };
    let result = format!("{}{elbo} after {} iteration{plural}", record.status.word(), record.iterations);
    picture.text((WIDTH - 20.0, 26.0), result, 11.5, Anchor::End, MUTED);
    let panel = |x: f64, width: f64| Area { x, y: 40.0, width, height: HEIGHT - 48.0 };
    let half = WIDTH / 2.0 - 18.0;
    let Some(best_curve) = curves.last().filter(|curve| !curve.is_empty()) else {
        picture.text((WIDTH / 2.0, HEIGHT / 2.0), "no iteration was completed", 12.0, Anchor::Middle, MUTED);
        return Ok(());
    };
    if record.has_standard_errors() || !is_monotone(best_curve) {
        overview(picture, panel(10.0, half), &curves)?;
        return last_half(picture, panel(WIDTH / 2.0 + 4.0, half), best_curve);
    }
    let best = curves.iter().flatten().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let gaps = gaps(&curves, best);
    if gaps.iter().all(Vec::is_empty) {
        return overview(picture, panel(10.0, WIDTH - 24.0), &curves);
    }
    overview(picture, panel(10.0, half), &curves)?;
    distance(picture, panel(WIDTH / 2.0 + 4.0, half), &curves, &gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_extremes() {
        let points: Vec<Point> =
            (0..100_000).map(|i| (f64::from(i), if i == 77_777 { 9.0 } else { f64::from(i % 7) })).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS + 2);
        assert!(kept.contains(&(77_777.0, 9.0)));
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn an_optimum_reached_at_once_has_no_empty_panel() {
        let mut record = Record::new("cavi", "models/coin.toml", "0.1.0", 0);
        record.restarts = vec![-7.0];
        record.elbo = -7.0;
        for iteration in [1, 2] {
            let point =
                TracePoint { restart: 1, iteration, seconds: 0.0, elbo: -7.0, standard_error: None, extra: vec![] };
            record.trace.push(point);
        }
        assert!(!elbo_picture(&record).svg().contains("Distance"));
        record.trace[0].elbo = -8.0;
        assert!(elbo_picture(&record).svg().contains("Distance"));
    }

    #[test]
    fn every_restart_is_drawn_and_nothing_is_not_a_failure() {
        let mut record = Record::new("cavi", "models/coin.toml", "0.1.0", 0);
        assert!(elbo_picture(&record).svg().contains("no iteration was completed"));
        record.restarts = vec![-1.0, -2.0];
        record.elbo = -1.0;
        for (restart, elbo) in [(1, -3.0), (1, -1.0), (2, -4.0), (2, -2.0)] {
            let iteration = record.trace.len() % 2 + 1;
            record.trace.push(TracePoint {
                restart,
                iteration,
                seconds: 0.0,
                elbo,
                standard_error: None,
                extra: vec![],
            });
        }
        let svg = elbo_picture(&record).svg();
        let lines = svg.matches("stroke-width=\"2.2\"").count();
        assert_eq!(lines, 1, "the best restart is bold in the left panel; on the right one point is left of it");
        assert!(svg.contains("best of 2 restarts") && svg.contains(">coin<"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(&elbo_picture(&record).png().unwrap()[..4], b"\x89PNG");
    }
}
