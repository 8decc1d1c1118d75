//! The operator I − HV of linear response at an optimum, and the last steps to that optimum.

use std::ops::Range;

use rayon::prelude::*;
use vi_families::matrix::dot;
use vi_run::executor::Interruption;

use super::Halt;
use super::space::Space;
use crate::engine::Engine;
use crate::error::CaviError;
use crate::factor::{covariance_times, spread};
use crate::fit::LARGEST_SIDE_BY_SIDE;
use crate::program::FactorId;

/// Differences move the global factors by once and twice this many of their standard deviations: so far that the rounding of the
/// messages counts for little, and, of fourth order, no farther than derivatives hold.
const MOVE: f64 = 5e-3;
/// Newton steps towards the optimum at most, and the distance (in standard deviations, all coordinates together) that is near enough.
const MOST_NEWTON_STEPS: usize = 5;
const NEAR: f64 = 1e-6;

/// One element of a global factor.
struct Element {
    factor: FactorId,
    index: usize,
    /// Where each of its statistics stands among the global parameters.
    places: Vec<Range<usize>>,
    /// What its covariances are computed from (see [`spread`]).
    spread: Vec<f64>,
}

/// An optimum, and how its factors answer to tilts.
pub(super) struct Response {
    /// At the optimum, the rows' factors settled.
    pub(super) engine: Engine,
    statistics: Vec<f64>,
    natural: Vec<f64>,
    elements: Vec<Element>,
    /// First position of each global factor among the global parameters.
    first: Vec<(FactorId, usize)>,
    interruption: Interruption,
}

impl Response {
    /// Takes the factors of a fit, and the last steps to their optimum by Newton's method where the fit has stopped before it.
    pub(super) fn new(engine: Engine, interruption: Interruption) -> Result<Self, Halt> {
        let mut here = Self::at(engine, interruption)?;
        for _ in 0..MOST_NEWTON_STEPS {
            // η − what the neighbours say of it vanishes at an optimum; its derivative is I − HV.
            let mut work = here.engine.clone();
            let told = work.messages_to_globals();
            let residual: Vec<f64> = told.iter().zip(&here.natural).map(|(t, n)| t - n).collect();
            let Some(step) = here.solve(&residual, &Space::new(here.width()), &mut work)? else { break };
            let distance = dot(&step, &here.covariance_times(&step)?).max(0.0).sqrt();
            if distance < NEAR {
                break;
            }
            let moved: Vec<f64> = here.natural.iter().zip(&step).map(|(n, s)| n + s).collect();
            let mut next = here.engine.clone();
            if next.set_natural_parameters(&moved).is_err() {
                break;
            }
            let Ok(next) = Self::at(next, here.interruption.clone()) else { break };
            let (before, after) = (here.engine.elbo(), next.engine.elbo());
            if after.is_nan() || after < before - 1e-9 * (1.0 + before.abs()) {
                break;
            }
            here = next;
        }
        Ok(here)
    }

    fn at(mut engine: Engine, interruption: Interruption) -> Result<Self, CaviError> {
        engine.settle_rows()?;
        let (statistics, natural) = (engine.global_statistics(), engine.natural_parameters());
        let (mut elements, mut first) = (Vec::new(), Vec::new());
        let mut at = 0;
        for &f in &engine.plan.global_order {
            let factor = &engine.lowered.program.factors[f];
            let sizes: Vec<usize> =
                (0..factor.family.num_statistics()).map(|s| factor.family.statistic_size(s)).collect();
            first.push((f, at));
            for index in 0..factor.elements() {
                let mut start = at;
                let places: Vec<Range<usize>> = sizes
                    .iter()
                    .map(|size| {
                        let own = start + index * size..start + (index + 1) * size;
                        start += size * factor.elements();
                        own
                    })
                    .collect();
                let own: Vec<&[f64]> = places.iter().map(|own| &natural[own.clone()]).collect();
                let spread = spread(factor.family, &own).map_err(|error| engine.broken_global(f, index, error))?;
                elements.push(Element { factor: f, index, places, spread });
            }
            at += sizes.iter().sum::<usize>() * factor.elements();
        }
        Ok(Self { engine, statistics, natural, elements, first, interruption })
    }

    /// Number of global parameters.
    pub(super) fn width(&self) -> usize {
        self.natural.len()
    }

    /// Where coordinates of a factor's first statistic stand among the global parameters.
    pub(super) fn places(&self, f: FactorId, coordinates: &[usize]) -> Vec<usize> {
        let first = self.first.iter().find(|(factor, _)| *factor == f);
        first.map_or_else(Vec::new, |(_, first)| coordinates.iter().map(|at| first + at).collect())
    }

    pub(super) fn unit(&self, at: usize) -> Vec<f64> {
        let mut unit = vec![0.0; self.natural.len()];
        unit[at] = 1.0;
        unit
    }

    /// V p: how the statistics answer to a change of the natural parameters, each element by itself.
    pub(super) fn covariance_times(&self, direction: &[f64]) -> Result<Vec<f64>, CaviError> {
        let mut out = vec![0.0; direction.len()];
        for Element { factor: f, index, places, spread } in &self.elements {
            if places.iter().all(|own| direction[own.clone()].iter().all(|x| *x == 0.0)) {
                continue;
            }
            let factor = &self.engine.lowered.program.factors[*f];
            let natural: Vec<&[f64]> = places.iter().map(|own| &self.natural[own.clone()]).collect();
            let statistics: Vec<&[f64]> = places.iter().map(|own| &self.statistics[own.clone()]).collect();
            let along: Vec<&[f64]> = places.iter().map(|own| &direction[own.clone()]).collect();
            let mut targets: Vec<&mut [f64]> = Vec::with_capacity(places.len());
            let mut rest = &mut out[..];
            let mut at = 0;
            for own in places {
                let (_, after) = rest.split_at_mut(own.start - at);
                let (target, after) = after.split_at_mut(own.len());
                targets.push(target);
                rest = after;
                at = own.end;
            }
            covariance_times(factor.family, factor.point, spread, &natural, &statistics, &along, &mut targets)
                .map_err(|error| self.engine.broken_global(*f, *index, error))?;
        }
        Ok(out)
    }

    /// H q, q a move of the global statistics that is `length` standard deviations long, by differences of fourth order.
    fn curvature_times(&self, move_: &[f64], length: f64, work: &mut Engine) -> Result<Vec<f64>, Halt> {
        let step = MOVE / length.max(f64::MIN_POSITIVE);
        let mut told = |sign: f64| -> Result<Vec<f64>, Halt> {
            if self.interruption.is_raised() {
                return Err(Halt::Interrupted);
            }
            let moved: Vec<f64> = self.statistics.iter().zip(move_).map(|(s, m)| s + sign * step * m).collect();
            work.place(&self.engine, &moved);
            work.settle_rows()?;
            Ok(work.messages_to_globals())
        };
        let (above, below, far_above, far_below) = (told(1.0)?, told(-1.0)?, told(2.0)?, told(-2.0)?);
        let near = above.iter().zip(&below);
        let far = far_above.iter().zip(&far_below);
        // f′ ≈ (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h
        Ok(near.zip(far).map(|((a, b), (c, d))| (8.0 * (a - b) - (c - d)) / (12.0 * step)).collect())
    }

    /// (I − HV) p with q = Vp.
    pub(super) fn image(&self, p: &[f64], q: &[f64], work: &mut Engine) -> Result<Vec<f64>, Halt> {
        let curved = self.curvature_times(q, dot(p, q).max(0.0).sqrt(), work)?;
        Ok(p.iter().zip(&curved).map(|(p, c)| p - c).collect())
    }

    /// V p of several p, row after row.
    pub(super) fn covariance_times_rows(&self, directions: &[f64]) -> Result<Vec<f64>, CaviError> {
        let rows: Result<Vec<Vec<f64>>, CaviError> =
            directions.par_chunks(self.width()).map(|p| self.covariance_times(p)).collect();
        Ok(rows?.concat())
    }

    /// H V p of several p, row after row, each with its Vp.
    pub(super) fn curvature_times_rows(&self, directions: &[f64], turned: &[f64]) -> Result<Vec<f64>, Halt> {
        let n = self.width();
        let one =
            |work: &mut Engine, (p, q): (&[f64], &[f64])| self.curvature_times(q, dot(p, q).max(0.0).sqrt(), work);
        let rows: Result<Vec<Vec<f64>>, Halt> = if self.engine.row_values() <= LARGEST_SIDE_BY_SIDE {
            directions.par_chunks(n).zip(turned.par_chunks(n)).map_init(|| self.engine.clone(), one).collect()
        } else {
            // The rows of a large model occupy all threads by themselves.
            let mut work = self.engine.clone();
            directions.chunks(n).zip(turned.chunks(n)).map(|pair| one(&mut work, pair)).collect()
        };
        Ok(rows?.concat())
    }
}
