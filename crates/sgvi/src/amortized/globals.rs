//! The joint factor of variables outside the rows' plate: one Gaussian in unconstrained space, drawn once per step.

use super::posterior;
use super::program::{Latent, Program, Transform};
use crate::density::Kernel;
use crate::network::noise::StepNoise;
use crate::network::parameters::ViewId;
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;

/// ½·ln(2πe), the entropy of a standard normal.
const STANDARD_ENTROPY: f64 = 1.418_938_533_204_672_7;

/// Tells the noise of this factor from that of the rows.
const PURPOSE: u16 = 0x7fff;

/// The sd in unconstrained space at the start: what so many rows leave of a spread of one, at most a tenth.
pub(super) fn start_sd(num_rows: usize) -> f32 {
    (1.0 / (num_rows.max(1) as f32).sqrt()).min(0.1)
}

/// q(θ) = Normal(μ, A·Aᵀ) over the unconstrained numbers of all variables that are neither amortised nor points.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalFactor {
    /// The layout of its parameters, as for an amortised variable; its slots are without meaning.
    pub latent: Latent,
    /// Where its parameters lie.
    pub view: ViewId,
}

/// A variable with a part in the [`GlobalFactor`].
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalVariable {
    /// Its name.
    pub name: String,
    /// Its coordinates θ.
    pub coordinates: Range<usize>,
    /// To its own scale.
    pub transform: Transform,
    /// Names and lengths of its axes.
    pub axes: Vec<(String, usize)>,
    /// Its prior, a density of constants; `None` where it is flat.
    pub prior: Option<(Kernel, [f64; 5])>,
}

/// A draw of θ with what its derivatives need.
#[derive(Debug, Clone, Default)]
pub(super) struct GlobalDraw {
    pub(super) theta: Vec<f32>,
    noise: Vec<f32>,
    scales: Vec<f32>,
}

impl GlobalDraw {
    /// Draws θ, or takes its mean where `noise` is absent.
    pub(super) fn fill(&mut self, program: &Program, parameters: &[f32], noise: Option<&StepNoise>) {
        let Some(factor) = &program.global_factor else { return };
        let d = factor.latent.width;
        let parameters = program.layout.slice(parameters, factor.view);
        self.noise.clear();
        match noise {
            Some(noise) => {
                let mut generator = noise.row(0, PURPOSE);
                self.noise.extend((0..d).map(|_| -> f32 { StandardNormal.sample(&mut generator) }));
            }
            None => self.noise.resize(d, 0.0),
        }
        self.scales.resize(d, 0.0);
        self.theta.resize(d, 0.0);
        posterior::scales(&factor.latent, parameters, &mut self.scales);
        posterior::draw(&factor.latent, parameters, &self.scales, &self.noise, &mut self.theta);
    }

    /// Adds to `gradient` (of the factor's parameters) what the adjoint of θ implies.
    pub(super) fn backward(&self, program: &Program, adjoint: &[f32], gradient: &mut [f32]) {
        if let Some(factor) = &program.global_factor {
            posterior::draw_backward(&factor.latent, &self.scales, &self.noise, adjoint, gradient);
        }
    }
}

/// E_q[log p(g)] − E_q[log q(g)] of every global variable by the one draw that `noise` gives, in nats.
///
/// log q(g) = log q(θ) − ln|dg/dθ|; the entropy of q(θ) is in closed form. With `gradient` (of the factor's parameters)
/// `scale` times the derivatives are added.
pub(super) fn global_terms(
    program: &Program,
    parameters: &[f32],
    noise: &StepNoise,
    gradient: Option<(&mut [f32], f64)>,
) -> Vec<f64> {
    let Some(factor) = &program.global_factor else { return Vec::new() };
    let mut draw = GlobalDraw::default();
    draw.fill(program, parameters, Some(noise));
    let parameters = program.layout.slice(parameters, factor.view);
    let mut adjoint = vec![0.0_f32; draw.theta.len()];
    let scale = gradient.as_ref().map_or(0.0, |(_, scale)| *scale);
    let terms = program
        .globals
        .iter()
        .map(|variable| {
            let mut sum = 0.0;
            for index in variable.coordinates.clone() {
                let theta = draw.theta[index];
                let (value, slope) = variable.transform.value_and_slope(theta);
                let (log_slope, log_slope_derivative) = variable.transform.log_slope(theta);
                let mut derivative = log_slope_derivative;
                sum += log_slope + STANDARD_ENTROPY + f64::from(parameters[factor.latent.diagonal(index)]);
                if let Some((kernel, mut arguments)) = variable.prior {
                    arguments[0] = f64::from(value);
                    let (log_density, partials) = kernel.at(&arguments, &[true, false, false, false, false]);
                    sum += log_density;
                    derivative += partials[0] * f64::from(slope);
                }
                adjoint[index] = (scale * derivative) as f32;
            }
            sum
        })
        .collect();
    if let Some((gradient, scale)) = gradient {
        draw.backward(program, &adjoint, gradient);
        for index in 0..factor.latent.width {
            gradient[factor.latent.diagonal(index)] += scale as f32;
        }
    }
    terms
}
