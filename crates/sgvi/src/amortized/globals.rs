//! Variables outside the rows' plate: points and one joint Gaussian factor in unconstrained space, drawn once per step.

use super::joint::Joint;
use super::program::Program;
use crate::fit::gaussian::{Gaussian, Root};
use crate::fit::objective::{Chart, MeanScale, moments};
use crate::lower::Support;
use crate::network::noise::StepNoise;
use crate::network::parameters::{Initial, Layout, ViewId};
use nalgebra::DMatrix;
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;
use std::sync::Arc;
use vi_model::graph::{Graph, VariableId};
use vi_model::inference::VariationalFamily;

/// Tells the noise of this factor from that of the rows.
const PURPOSE: u16 = 0x7fff;

/// Most columns of the low-rank factor where none are asked for.
const DEFAULT_RANK: usize = 2;

/// The sd in unconstrained space at the start: what so many rows leave of a spread of one, at most a tenth.
fn start_sd(num_rows: usize) -> f64 {
    (1.0 / (num_rows.max(1) as f64).sqrt()).min(0.1)
}

/// A point variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Its name.
    pub name: String,
    /// Which.
    pub variable: VariableId,
    /// Its unconstrained numbers.
    pub view: ViewId,
    /// Their places in θ.
    pub coordinates: Range<usize>,
    /// Whether it is a single positive number without further bounds.
    pub is_positive_number: bool,
}

/// q(θ) = Normal(μ, Σ) over the coordinates of all variables that are neither amortised nor points.
#[derive(Debug, Clone)]
pub(crate) struct GlobalFactor {
    /// Where its parameters lie: the means, then the spread as [`Chart`] has it.
    pub view: ViewId,
    /// The parameters' meaning; its origin is the standard normal.
    chart: Chart,
}

impl GlobalFactor {
    /// The place of a coordinate's mean among the factor's parameters.
    #[must_use]
    pub(crate) fn place_of_mean(&self, coordinate: usize) -> Option<usize> {
        self.chart.origin.free.binary_search(&coordinate).ok()
    }
}

/// All variables outside the rows' plate.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// Values, densities and read-outs by θ.
    pub joint: Arc<Joint>,
    /// Point variables.
    pub points: Vec<Point>,
    /// The factor of the others, if there are any.
    pub factor: Option<GlobalFactor>,
    /// Variables whose start the model file gives.
    pub placed: Vec<VariableId>,
}

/// A draw of θ with what its derivatives need.
#[derive(Debug, Clone, Default)]
pub(crate) struct GlobalDraw {
    /// θ.
    pub theta: Vec<f64>,
    noise: Vec<f64>,
}

impl Globals {
    /// Places for all parameters in the layout, and the starts that are not random.
    pub(super) fn new(graph: &Graph, joint: Joint, layout: &mut Layout, starts: &mut Vec<(ViewId, Vec<f32>)>) -> Self {
        let model = joint.model();
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let mut points = Vec::new();
        for latent in &model.latents {
            let variable = graph.variable(latent.variable);
            if !variable.point {
                continue;
            }
            let coordinates = latent.offset..latent.offset + latent.count;
            let start = &model.start[coordinates.clone()];
            // Several unbounded numbers start apart, so that a product of two of them has a gradient.
            let apart = latent.support == Support::Real && latent.count > 1 && start.iter().all(|&x| x == 0.0);
            let initial =
                if apart && variable.initial.is_none() { Initial::Uniform(0.1) } else { Initial::Constant(0.0) };
            let sizes: Vec<usize> = latent.shape.axes.iter().map(|axis| axis.1).collect();
            let sizes = if sizes.iter().product::<usize>() == latent.count { sizes } else { vec![latent.count] };
            let view = layout.allocate(format!("{}.unconstrained", variable.name), &sizes, initial);
            if matches!(initial, Initial::Constant(_)) {
                starts.push((view, narrow(start)));
            }
            let is_positive_number = latent.count == 1
                && matches!(&latent.support, Support::Lower(_))
                && variable.lower.is_none_or(|node| {
                    graph.evaluate_data(node, 0..0).is_ok_and(|bound| bound.values.iter().all(|&x| x == 0.0))
                });
            points.push(Point {
                name: variable.name.clone(),
                variable: latent.variable,
                view,
                coordinates,
                is_positive_number,
            });
        }
        let free: Vec<usize> = (0..model.owner.len()).filter(|&c| !model.is_point[c]).collect();
        let factor = (!free.is_empty()).then(|| {
            let (n, k) = (model.owner.len(), free.len());
            let inference = &graph.inference;
            let rank = inference.rank.unwrap_or(DEFAULT_RANK).min(k).max(1);
            let root = match inference.family.unwrap_or_default() {
                VariationalFamily::MeanField => Root::Diagonal(vec![1.0; k]),
                VariationalFamily::FullRank => Root::Cholesky(DMatrix::identity(k, k)),
                VariationalFamily::LowRank => Root::LowRank { sd: vec![1.0; k], u: DMatrix::zeros(k, rank) },
            };
            let origin = Gaussian { mean: vec![0.0; n], free, root, categories: std::sync::Arc::new([]) };
            let chart = Chart { origin, mean_scale: MeanScale::Diagonal(vec![1.0; n]), blocks: None };
            let spread = chart.dimension() - n;
            let view = layout.allocate("globals.mean_and_scale", &[k + spread], Initial::Constant(0.0));
            let mut start: Vec<f64> = chart.origin.free.iter().map(|&c| model.start[c]).collect();
            let sd = start_sd(graph.data.num_rows());
            start.extend(chart.origin.free.iter().map(|&c| (sd * model.start_scale[c].min(1.0)).ln()));
            start.resize(k + spread, 0.0);
            if let Root::LowRank { .. } = chart.origin.root {
                // Columns of zeros have no gradient in each other's directions: they start apart.
                for (at, value) in start[2 * k..].iter_mut().enumerate() {
                    *value = 0.1 * sd * (1.0 + at as f64 * 0.754_877_666).sin();
                }
            }
            starts.push((view, narrow(&start)));
            GlobalFactor { view, chart }
        });
        let placed =
            model.latents.iter().map(|l| l.variable).filter(|&v| graph.variable(v).initial.is_some()).collect();
        Self { joint: Arc::new(joint), points, factor, placed }
    }

    /// The chart's parameters: the mean of all coordinates, then the spread.
    fn chart_parameters(&self, layout: &Layout, parameters: &[f32]) -> Vec<f64> {
        let mut x = vec![0.0; self.joint.model().owner.len()];
        for point in &self.points {
            for (target, &value) in x[point.coordinates.clone()].iter_mut().zip(layout.slice(parameters, point.view)) {
                *target = f64::from(value);
            }
        }
        if let Some(factor) = &self.factor {
            let free = &factor.chart.origin.free;
            let (means, spread) = layout.slice(parameters, factor.view).split_at(free.len());
            for (&c, &mean) in free.iter().zip(means) {
                x[c] = f64::from(mean);
            }
            x.extend(spread.iter().map(|&value| f64::from(value)));
        }
        x
    }

    /// The approximation over all coordinates; points have no spread.
    #[must_use]
    pub(crate) fn gaussian(&self, layout: &Layout, parameters: &[f32]) -> Gaussian {
        let x = self.chart_parameters(layout, parameters);
        match &self.factor {
            Some(factor) => factor.chart.gaussian(&x),
            None => Gaussian { mean: x, ..Gaussian::none() },
        }
    }

    /// Draws θ, or takes its mean where `noise` is absent.
    #[must_use]
    pub(crate) fn draw(&self, layout: &Layout, parameters: &[f32], noise: Option<&StepNoise>) -> GlobalDraw {
        let q = self.gaussian(layout, parameters);
        let mut draw = GlobalDraw::default();
        match noise {
            Some(noise) if self.factor.is_some() => {
                let mut generator = noise.row(0, PURPOSE);
                draw.noise.extend((0..q.noise_dimension()).map(|_| -> f64 { StandardNormal.sample(&mut generator) }));
                q.transform(&draw.noise, &mut draw.theta);
            }
            _ => {
                draw.noise.resize(q.noise_dimension(), 0.0);
                draw.theta = q.mean;
            }
        }
        draw
    }

    /// E_q\[log p\] − E_q\[log q\] of every variable outside the rows' plate by one draw, in nats, by index in the graph.
    ///
    /// log q(g) = log q(θ) − ln|dg/dθ|; the entropy of q(θ) is in closed form.
    #[must_use]
    pub(crate) fn terms(&self, layout: &Layout, parameters: &[f32], draw: &GlobalDraw) -> Vec<f64> {
        let mut terms = self.joint.prior_terms(&draw.theta, None);
        let q = self.gaussian(layout, parameters);
        let owner = &self.joint.model().owner;
        let k = q.free.len();
        let each = |i: usize| match &q.root {
            Root::Diagonal(sd) => sd[i].ln() + 0.5 * (1.0 + LN_TWO_PI),
            Root::Cholesky(l) => l[(i, i)].abs().ln() + 0.5 * (1.0 + LN_TWO_PI),
            Root::LowRank { .. } => q.entropy() / k as f64,
        };
        for (i, &c) in q.free.iter().enumerate() {
            terms[owner[c]] += each(i);
        }
        terms
    }

    /// The gradient of the objective per row in every view of points and factor: from `by_theta`, that of the rows' part in
    /// θ at the draw, and the terms of these variables divided by `weight`, the number of rows.
    pub(super) fn gradients(
        &self,
        layout: &Layout,
        parameters: &[f32],
        draw: &GlobalDraw,
        by_theta: &[f64],
        weight: f64,
    ) -> Vec<(ViewId, Vec<f32>)> {
        let mut total = Vec::new();
        self.joint.prior_terms(&draw.theta, Some(&mut total));
        // The chart adds the entropy of all rows' objective.
        total.iter_mut().zip(by_theta).for_each(|(total, rows)| *total += rows * weight);
        let narrow = |values: &[f64]| values.iter().map(|&x| (x / weight) as f32).collect::<Vec<f32>>();
        let mut out: Vec<(ViewId, Vec<f32>)> =
            self.points.iter().map(|point| (point.view, narrow(&total[point.coordinates.clone()]))).collect();
        if let Some(factor) = &self.factor {
            let x = self.chart_parameters(layout, parameters);
            let q = factor.chart.gaussian(&x);
            let (by_mean, by_root) = moments(&q, &total, &draw.noise, 1);
            let all = factor.chart.pull_back(&x, &by_mean, &by_root, true);
            let mut own: Vec<f64> = q.free.iter().map(|&c| all[c]).collect();
            own.extend_from_slice(&all[q.mean.len()..]);
            out.push((factor.view, narrow(&own)));
        }
        out
    }
}

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

impl Program {
    /// A draw of the variables outside the rows' plate, or their means in unconstrained space.
    #[must_use]
    pub(crate) fn draw_globals(&self, parameters: &[f32], noise: Option<&StepNoise>) -> GlobalDraw {
        self.globals.as_ref().map_or_else(GlobalDraw::default, |g| g.draw(&self.layout, parameters, noise))
    }

    /// The terms of the variables outside the rows' plate at a draw, by index in the graph.
    #[must_use]
    pub(crate) fn global_terms(&self, parameters: &[f32], draw: &GlobalDraw) -> Vec<f64> {
        self.globals.as_ref().map_or_else(Vec::new, |g| g.terms(&self.layout, parameters, draw))
    }

    /// Whether some variable outside the rows' plate is drawn.
    #[must_use]
    pub(crate) fn has_factor(&self) -> bool {
        self.globals.as_ref().is_some_and(|g| g.factor.is_some())
    }

    /// The point variables.
    #[must_use]
    pub(crate) fn points(&self) -> &[Point] {
        self.globals.as_ref().map_or(&[], |g| &g.points)
    }

    /// The log densities of rows that the log joint evaluates.
    #[must_use]
    pub(crate) fn row_terms(&self) -> &[super::joint::RowTerm] {
        self.globals.as_ref().map_or(&[], |g| &g.joint.row_terms)
    }
}
