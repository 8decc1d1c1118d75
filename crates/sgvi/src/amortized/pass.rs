//! What a sweep over a part of a batch reads: parameters, data, random numbers, and where draws come from.

use super::globals::GlobalDraw;
use super::program::{Level, Operation, Program};
use crate::network::kernels::Kernels;
use crate::network::noise::StepNoise;

/// A table of data, one value per row of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// Numbers per row.
    pub width: usize,
    /// `[num_rows, width]`
    pub values: Vec<f32>,
}

/// Where the draws of latent variables come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// The amortised factor.
    Posterior,
    /// The mean of the amortised factor.
    PosteriorMean,
    /// The prior.
    Prior,
    /// What the caller wrote into the slots of the draws.
    Given,
    /// The mean of the amortised factor, where expectations over it are in closed form; global variables are drawn.
    RowMean,
}

impl Drawing {
    /// Whether amortised variables take their means.
    pub(super) fn at_mean(self) -> bool {
        matches!(self, Self::PosteriorMean | Self::RowMean)
    }

    /// Whether global variables are drawn; otherwise they take their means in unconstrained space.
    pub(super) fn draws_globals(self) -> bool {
        matches!(self, Self::Posterior | Self::RowMean)
    }
}

/// What a sweep over a part reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass<'a> {
    /// The program.
    pub program: &'a Program,
    /// All parameters.
    pub parameters: &'a [f32],
    /// Data, by index of the source.
    pub sources: &'a [Source],
    /// The device's kernels.
    pub kernels: &'a dyn Kernels,
    /// The draw of the variables outside the rows' plate.
    pub globals: &'a GlobalDraw,
    /// Random numbers of this step.
    pub noise: &'a StepNoise,
    /// Whether layers may drop units.
    pub training: bool,
    /// Where draws come from.
    pub drawing: Drawing,
    /// Which operations to run; all where absent.
    pub needed: Option<&'a [bool]>,
}

impl Pass<'_> {
    /// Whether the operation is part of this sweep: directions are needed only where nothing is drawn.
    pub(super) fn runs(&self, operation: &Operation) -> bool {
        self.drawing.at_mean() || self.program.slots[operation.output()].level != Level::Basis
    }
}
