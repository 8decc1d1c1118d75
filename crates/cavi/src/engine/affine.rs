//! The local step of affine row-level Gaussians: means as linear maps of features, sums over the rows from the features' moments.

use std::ops::Range;

use vi_families::matrix;
use vi_families::product::product;

use super::local::Workspace;
use super::moments::FeatureMoments;
use super::{Engine, Start};
use crate::error::CaviError;
use crate::factor::{Family, NaturalError};
use crate::plan::{Affine, AffineRole};
use crate::program::{Factor, FactorId};

/// Multiplications from which on a matrix product pays for its set-up.
const LARGE: usize = 4096;

/// An affine factor in all rows: m_n = Bᵀ(u_n − ū) + c.
#[derive(Debug, Clone, Default)]
pub(super) struct AffineMean {
    /// Elements per row.
    elements: usize,
    /// Coordinates of an element.
    dimension: usize,
    /// B above c, `[num_features + 1, elements · dimension]`.
    slopes: Vec<f64>,
    /// Cov(z_n), `[elements, dimension, dimension]`; zero for points.
    covariance: Vec<f64>,
    /// S B above N c, shaped as the slopes.
    sums: Vec<f64>,
}

/// The affine factors of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct AffineState {
    /// In the order of the plan.
    means: Vec<AffineMean>,
    scratch: Scratch,
}

vi_run::stored!(AffineMean { elements, dimension, slopes, covariance, sums });
vi_run::stored!(AffineState { means; scratch });

/// Buffers of the step.
#[derive(Debug, Clone, Default)]
struct Scratch {
    linear: Vec<f64>,
    quadratic: Vec<f64>,
    array: Vec<f64>,
    lower: Vec<f64>,
}

/// Elements and coordinates of a Gaussian factor.
fn layout(factor: &Factor) -> (usize, usize) {
    (factor.elements(), if let Family::NormalVector(d) = factor.family { d } else { 1 })
}

impl AffineState {
    /// Standard normal factors.
    pub(super) fn new(affine: &Affine, factors: &[Factor]) -> Self {
        let means = affine
            .factors
            .iter()
            .map(|&f| {
                let (elements, dimension) = layout(&factors[f]);
                let size = (affine.num_features + 1) * elements * dimension;
                let identity = matrix::scaled_identity(dimension, 1.0);
                AffineMean {
                    elements,
                    dimension,
                    slopes: vec![0.0; size],
                    covariance: identity.repeat(elements),
                    sums: vec![0.0; size],
                }
            })
            .collect();
        Self { means, scratch: Scratch::default() }
    }
}

impl AffineMean {
    fn width(&self) -> usize {
        self.elements * self.dimension
    }

    /// S B and N c.
    fn sum(&mut self, moments: &FeatureMoments) {
        let (width, features) = (self.width(), moments.mean.len());
        self.sums.fill(0.0);
        multiply(&moments.scatter, &self.slopes, features, features, width, &mut self.sums);
        let at = features * width;
        for (sum, mean) in self.sums[at..].iter_mut().zip(&self.slopes[at..]) {
            *sum = moments.total * mean;
        }
    }

    /// Σ w_n E[z zᵀ] = BᵀSB + N (ccᵀ + Cov), `[elements, dimension, dimension]`.
    fn second_moments(&self, total: f64, out: &mut Vec<f64>) {
        let (d, width) = (self.dimension, self.width());
        out.clear();
        out.extend(self.covariance.iter().map(|c| total * c));
        for (slopes, sums) in self.slopes.chunks_exact(width).zip(self.sums.chunks_exact(width)) {
            let elements = slopes.chunks_exact(d).zip(sums.chunks_exact(d));
            for ((slope, sum), block) in elements.zip(out.chunks_exact_mut(d * d)) {
                for (s, row) in slope.iter().zip(block.chunks_exact_mut(d)) {
                    row.iter_mut().zip(sum).for_each(|(o, t)| *o += s * t);
                }
            }
        }
    }

    /// Means and covariances from natural parameters: `linear` as the slopes, `quadratic` as the covariance. Returns the
    /// entropy of one row.
    fn settle(
        &mut self,
        point: bool,
        linear: &[f64],
        quadratic: &[f64],
        lower: &mut Vec<f64>,
    ) -> Result<f64, NaturalError> {
        let (d, width) = (self.dimension, self.width());
        let mut entropy = 0.0;
        self.slopes.fill(0.0);
        for e in 0..self.elements {
            let square = e * d * d..(e + 1) * d * d;
            let q = &quadratic[square.clone()];
            lower.clear();
            lower.extend((0..d * d).map(|at| -(q[at] + q[(at % d) * d + at / d])));
            matrix::cholesky_in_place(lower, d)
                .map_err(|_| NaturalError::new("a precision matrix that is not positive definite"))?;
            let covariance = &mut self.covariance[square];
            matrix::cholesky_inverse_into(lower, d, covariance);
            for (row, out) in linear.chunks_exact(width).zip(self.slopes.chunks_exact_mut(width)) {
                for (h, c) in row[e * d..(e + 1) * d].iter().zip(covariance.chunks_exact(d)) {
                    out[e * d..(e + 1) * d].iter_mut().zip(c).for_each(|(o, c)| *o += h * c);
                }
            }
            if point {
                covariance.fill(0.0);
            } else {
                let log_two_pi_e = (2.0 * std::f64::consts::PI).ln() + 1.0;
                entropy += 0.5 * (d as f64 * log_two_pi_e - matrix::cholesky_log_determinant(lower, d));
            }
        }
        if self.slopes.iter().any(|m| !m.is_finite()) {
            return Err(NaturalError::new("a mean that is not finite"));
        }
        Ok(entropy)
    }
}

/// out `[rows, columns]` += a `[rows, inner]` · b `[inner, columns]`.
fn multiply(a: &[f64], b: &[f64], rows: usize, inner: usize, columns: usize, out: &mut [f64]) {
    if rows * inner * columns >= LARGE {
        product(a, b, rows, inner, columns, 1.0, out);
        return;
    }
    for (a, out) in a.chunks_exact(inner.max(1)).zip(out.chunks_exact_mut(columns)) {
        for (a, b) in a.iter().zip(b.chunks_exact(columns)) {
            out.iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
        }
    }
}

impl Engine {
    /// Updates the affine factors one after another, and sums what the others need of them.
    pub(super) fn affine_step(&mut self, start: Option<&Start>) -> Result<(), CaviError> {
        let plan = self.plan.clone();
        let Some(affine) = &plan.affine else { return Ok(()) };
        let moments = self.moments.clone();
        let mut state = std::mem::take(&mut self.affine);
        let mut outcome = Ok(());
        for (position, &f) in affine.factors.iter().enumerate() {
            if let Some(start) = start
                && start.assigns(f)
            {
                let mean = &mut state.means[position];
                let mut given = vec![vec![0.0; mean.width()], vec![0.0; mean.covariance.len()]];
                start.fill(f, &(0..1), self, &mut given);
                mean.hold(&given);
                mean.sum(&moments);
                self.entropy[f] = 0.0;
                continue;
            }
            let point = self.lowered.program.factors[f].point;
            self.affine_messages(affine, f, &moments, &mut state, position);
            let AffineState { means, scratch } = &mut state;
            match means[position].settle(point, &scratch.linear, &scratch.quadratic, &mut scratch.lower) {
                Ok(entropy) => self.entropy[f] = moments.total * entropy,
                Err(error) => {
                    outcome = Err(self.broken_everywhere(f, error));
                    break;
                }
            }
            means[position].sum(&moments);
        }
        self.affine_summaries(affine, &moments, &mut state);
        self.affine = state;
        outcome
    }

    /// The natural parameters of an affine factor, into the scratch: linear ones above the constant, and quadratic ones.
    fn affine_messages(
        &self,
        affine: &Affine,
        f: FactorId,
        moments: &FeatureMoments,
        state: &mut AffineState,
        position: usize,
    ) {
        let AffineState { means, scratch } = state;
        let (width, features) = (means[position].width(), affine.num_features);
        let Scratch { linear, quadratic, .. } = scratch;
        linear.clear();
        linear.resize((features + 1) * width, 0.0);
        quadratic.clear();
        quadratic.resize(means[position].covariance.len(), 0.0);
        let (slopes, constant) = linear.split_at_mut(features * width);
        let own = |g: usize| self.plan.groups[g].messages.iter().filter(move |m| m.factor == f);
        for part in &affine.groups {
            let AffineRole::Linear { feature, message, .. } = &part.role else { continue };
            if own(part.group).next().is_none() {
                continue;
            }
            let feature = &affine.features[*feature];
            let block = &mut slopes[feature.start * width..(feature.start + feature.size) * width];
            message.run(1, &[], &[&self.coefficients[part.group]], 1.0, None, block);
        }
        // The constant is that of the average row.
        for (row, average) in slopes.chunks_exact(width).zip(&moments.mean) {
            constant.iter_mut().zip(row).for_each(|(c, h)| *c += average * h);
        }
        for part in &affine.groups {
            let coefficient = self.coefficients[part.group].as_slice();
            for message in own(part.group) {
                match part.role {
                    AffineRole::Linear { .. } => {}
                    AffineRole::Single => {
                        let target =
                            if message.statistic == 0 { &mut linear[features * width..] } else { &mut quadratic[..] };
                        message.nest.run(1, &[], &[coefficient], 1.0, None, target);
                    }
                    AffineRole::Pair => {
                        let Some(other) = self.affine_factor(affine, part.group, message.inputs[0]) else { continue };
                        let inputs = [means[other].slopes.as_slice(), coefficient];
                        message.nest.run(features + 1, &[], &inputs, 1.0, None, linear);
                    }
                }
            }
        }
    }

    /// Position among the affine factors of an operand of a group.
    fn affine_factor(&self, affine: &Affine, group: usize, operand: usize) -> Option<usize> {
        let crate::program::Source::Statistic { factor, .. } = self.plan.groups[group].operands[operand].source else {
            return None;
        };
        affine.factors.iter().position(|f| *f == factor)
    }

    /// Sums over the rows of the groups of affine factors.
    fn affine_summaries(&mut self, affine: &Affine, moments: &FeatureMoments, state: &mut AffineState) {
        let mut summaries = std::mem::take(&mut self.summaries);
        let AffineState { means, scratch } = state;
        for part in &affine.groups {
            let group = &self.plan.groups[part.group];
            let summary = &mut summaries[part.group];
            summary.fill(0.0);
            let of = |operand: usize| self.affine_factor(affine, part.group, operand);
            match &part.role {
                AffineRole::Linear { feature, summary: nest, .. } => {
                    let operand = group
                        .operands
                        .iter()
                        .position(|o| matches!(o.source, crate::program::Source::Statistic { .. }));
                    let Some(mean) = operand.and_then(of).map(|at| &means[at]) else { continue };
                    let (feature, width) = (&affine.features[*feature], mean.width());
                    let columns = feature.start..feature.start + feature.size;
                    let total = &mean.sums[affine.num_features * width..];
                    // Σ w u mᵀ = S B + ū (N c)ᵀ
                    scratch.array.clear();
                    scratch.array.extend_from_slice(&mean.sums[columns.start * width..columns.end * width]);
                    for (row, average) in scratch.array.chunks_exact_mut(width).zip(&moments.mean[columns]) {
                        row.iter_mut().zip(total).for_each(|(a, t)| *a += average * t);
                    }
                    nest.run(1, &[], &[&scratch.array], 1.0, None, summary);
                }
                AffineRole::Single => {
                    let Some(mean) = of(0).map(|at| &means[at]) else { continue };
                    if group.messages[0].statistic == 0 {
                        let total = &mean.sums[affine.num_features * mean.width()..];
                        group.summary.run(1, &[], &[total], 1.0, None, summary);
                    } else {
                        mean.second_moments(moments.total, &mut scratch.array);
                        group.summary.run(1, &[], &[&scratch.array], 1.0, None, summary);
                    }
                }
                AffineRole::Pair => {
                    let (Some(left), Some(right)) = (of(0), of(1)) else { continue };
                    let inputs = [means[left].slopes.as_slice(), means[right].sums.as_slice()];
                    group.summary.run(affine.num_features + 1, &[], &inputs, 1.0, None, summary);
                }
            }
        }
        self.summaries = summaries;
    }

    /// Puts the statistics of affine factors that are kept between iterations into the workspace of some rows.
    pub(super) fn load_affine(&self, rows: &Range<usize>, workspace: &mut Workspace) {
        let Some(affine) = self.plan.affine.as_ref().filter(|a| a.cyclic) else { return };
        let mut features = Vec::new();
        self.row_features(affine, rows, &workspace.data, &mut features);
        for u in features.chunks_exact_mut(affine.num_features.max(1)) {
            u.iter_mut().zip(&self.moments.mean).for_each(|(x, m)| *x -= m);
        }
        for (&f, own) in affine.factors.iter().zip(&self.affine.means) {
            let (d, width) = (own.dimension, own.width());
            let [means, seconds, ..] = &mut workspace.statistics[f][..] else { continue };
            let (slopes, constant) = own.slopes.split_at(affine.num_features * width);
            means.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(constant));
            multiply(&features, slopes, rows.len(), affine.num_features, width, means);
            for (mean, second) in means.chunks_exact(width).zip(seconds.chunks_exact_mut(width * d)) {
                second.copy_from_slice(&own.covariance);
                for (mean, second) in mean.chunks_exact(d).zip(second.chunks_exact_mut(d * d)) {
                    matrix::add_outer_product(second, 1.0, mean);
                }
            }
        }
    }

    /// The error of a row-level factor without a distribution in any row.
    fn broken_everywhere(&self, f: FactorId, error: NaturalError) -> CaviError {
        CaviError::Factor {
            factor: self.lowered.program.factors[f].name.clone(),
            element: " in all rows".to_owned(),
            iteration: self.iteration,
            reason: error.0,
        }
    }
}

impl AffineMean {
    /// The same given statistics in every row.
    fn hold(&mut self, given: &[Vec<f64>]) {
        let (d, width) = (self.dimension, self.width());
        let [mean, second, ..] = given else { return };
        self.slopes.fill(0.0);
        let at = self.slopes.len() - width;
        self.slopes[at..].copy_from_slice(mean);
        self.covariance.copy_from_slice(second);
        for (mean, covariance) in mean.chunks_exact(d).zip(self.covariance.chunks_exact_mut(d * d)) {
            matrix::add_outer_product(covariance, -1.0, mean);
        }
    }
}
