//! Marginal standard deviations corrected by linear response (Giordano, Broderick & Jordan 2018).
//!
//! Mean-field variances are too small, since a factor does not see the others move. Tilting the log joint by t·θ_i and letting
//! all factors settle again gives d E_q[θ_i] / dt, the linear-response variance of θ_i (their eq. 5): exact for Gaussian posteriors.
//!
//! With V the covariances of the statistics of each factor under q and H the second derivatives of the expected log joint in their
//! expectations, that is an element of (I − VH)⁻¹V (their eq. 10). The rows' factors are not among the unknowns: H is that of the
//! log joint in which they have settled, and a product with it is a difference of two passes over the rows. I − HV is symmetric
//! in the inner product aᵀVb, and conjugate gradients (Hestenes & Stiefel 1952) solve (I − HV) w = e_i in it; the variance is
//! that of V w. Nothing is formed but vectors over the global factors.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use vi_families::matrix::dot;
use vi_run::array::NestedArray;
use vi_run::record::PosteriorEntry;

use crate::engine::Engine;
use crate::error::CaviError;
use crate::factor::{Family, covariance_times};
use crate::fit::{Ascent, LARGEST_SIDE_BY_SIDE};
use crate::program::FactorId;

/// Differences move the global factors by this many of their standard deviations.
const MOVE: f64 = 1e-4;
/// The residual relative to the right-hand side at which a system counts as solved.
const SOLVED: f64 = 1e-7;
/// Products with H at most for one coordinate.
const MOST_PRODUCTS: usize = 1000;
/// Where this many coordinates are asked for, slow directions are found once for all of them.
const MANY: usize = 16;
/// Products with H to find them, their number at most, and what counts as slow and as flat: values of I − HV, which are 1 where
/// factors do not depend on each other.
const SEARCH: usize = 200;
const MOST_MODES: usize = 96;
const SLOW: f64 = 0.15;
const FLAT: f64 = 1e-6;
/// The share of a right-hand side along a flat direction that is no more than rounding.
const ROUNDING: f64 = 1e-4;
/// Newton steps towards the optimum at most, and the distance (in standard deviations, all coordinates together) that is near enough.
const MOST_NEWTON_STEPS: usize = 5;
const NEAR: f64 = 1e-6;

impl Ascent {
    /// Adds `sd_linear_response` to the entries of global normal and gamma variables; points get none.
    ///
    /// Returns the names of the variables whose response is not known, since the fit is at no maximum along some direction.
    ///
    /// # Errors
    ///
    /// Fails when the data cannot be read, or a factor has no distribution.
    pub fn add_linear_response(&self, entries: &mut [(String, PosteriorEntry)]) -> Result<Vec<String>, CaviError> {
        let engine = &self.engine;
        let mut wanted = Vec::new();
        for (v, &f) in &engine.lowered.factor_of {
            let factor = &engine.lowered.program.factors[f];
            let name = &engine.lowered.graph.variable(*v).name;
            let handled = matches!(factor.family, Family::Normal | Family::NormalVector(_) | Family::Gamma);
            let Some(at) = entries.iter().position(|(n, _)| n == name) else { continue };
            if !factor.local && !factor.point && handled && entries[at].1.sd.is_some() {
                wanted.push((at, f, self.coordinates(*v, f)));
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let response = Response::new(engine.clone())?;
        let places: Vec<usize> = wanted.iter().flat_map(|(_, f, own)| response.places(*f, own)).collect();
        let modes = response.modes(&places)?;
        let mut unknown = Vec::new();
        for (at, f, coordinates) in wanted {
            let (name, entry) = &mut entries[at];
            match response.variances(&response.places(f, &coordinates), &modes)? {
                Some(variances) => {
                    let corrected = variances.into_iter().map(|v| v.max(0.0).sqrt()).collect();
                    let shape = entry.sd.as_ref().map(|sd| sd.shape().to_vec()).unwrap_or_default();
                    entry.sd_linear_response = NestedArray::new(shape, corrected).ok();
                }
                None => unknown.push(name.clone()),
            }
        }
        Ok(unknown)
    }
}

/// A slow direction w, with Vw and (I − HV) w.
struct Mode {
    direction: Vec<f64>,
    turned: Vec<f64>,
    image: Vec<f64>,
}

/// Slow directions, which conjugate gradients would find again for every coordinate.
#[derive(Default)]
struct Modes {
    /// Of which <w, (I − HV) w>_V is 1, and 0 for two of them.
    slow: Vec<Mode>,
    /// Along which the ELBO does not change; of which <w, w>_V is 1.
    flat: Vec<Mode>,
}

/// An optimum, and how its factors answer to tilts.
struct Response {
    /// At the optimum, the rows' factors settled.
    engine: Engine,
    statistics: Vec<f64>,
    natural: Vec<f64>,
    /// First position of each global factor among the global parameters.
    first: Vec<(FactorId, usize)>,
}

impl Response {
    /// Takes the factors of a fit, and the last steps to their optimum by Newton's method where the fit has stopped before it.
    fn new(engine: Engine) -> Result<Self, CaviError> {
        let mut first = Vec::new();
        let mut at = 0;
        for &f in &engine.plan.global_order {
            first.push((f, at));
            at += engine.natural[f].iter().map(Vec::len).sum::<usize>();
        }
        let mut here = Self::at(engine, first)?;
        for _ in 0..MOST_NEWTON_STEPS {
            // η − what the neighbours say of it vanishes at an optimum; its derivative is I − HV.
            let mut work = here.engine.clone();
            let told = work.messages_to_globals();
            let residual: Vec<f64> = told.iter().zip(&here.natural).map(|(t, n)| t - n).collect();
            let Some(step) = here.solve(&residual, &Modes::default(), &mut work)? else { break };
            let distance = dot(&step, &here.covariance_times(&step)?).max(0.0).sqrt();
            if distance < NEAR {
                break;
            }
            let moved: Vec<f64> = here.natural.iter().zip(&step).map(|(n, s)| n + s).collect();
            let mut next = here.engine.clone();
            if next.set_natural_parameters(&moved).is_err() {
                break;
            }
            let Ok(next) = Self::at(next, here.first.clone()) else { break };
            let (before, after) = (here.engine.elbo(), next.engine.elbo());
            if after.is_nan() || after < before - 1e-9 * (1.0 + before.abs()) {
                break;
            }
            here = next;
        }
        Ok(here)
    }

    fn at(mut engine: Engine, first: Vec<(FactorId, usize)>) -> Result<Self, CaviError> {
        engine.settle_rows()?;
        let (statistics, natural) = (engine.global_statistics(), engine.natural_parameters());
        Ok(Self { engine, statistics, natural, first })
    }

    /// Where coordinates of a factor's first statistic stand among the global parameters.
    fn places(&self, f: FactorId, coordinates: &[usize]) -> Vec<usize> {
        let first = self.first.iter().find(|(factor, _)| *factor == f);
        first.map_or_else(Vec::new, |(_, first)| coordinates.iter().map(|at| first + at).collect())
    }

    fn unit(&self, at: usize) -> Vec<f64> {
        let mut unit = vec![0.0; self.natural.len()];
        unit[at] = 1.0;
        unit
    }

    /// Linear-response variances of some coordinates; `None` where the fit is at no maximum.
    fn variances(&self, coordinates: &[usize], modes: &Modes) -> Result<Option<Vec<f64>>, CaviError> {
        let one = |work: &mut Engine, at: usize| -> Result<Option<f64>, CaviError> {
            let Some(answer) = self.solve(&self.unit(at), modes, work)? else { return Ok(None) };
            Ok(Some(self.covariance_times(&answer)?[at]))
        };
        // The rows of a large model occupy all threads by themselves.
        let found: Result<Vec<Option<f64>>, CaviError> = if self.engine.row_values() <= LARGEST_SIDE_BY_SIDE {
            coordinates.par_iter().map_init(|| self.engine.clone(), |work, &at| one(work, at)).collect()
        } else {
            let mut work = self.engine.clone();
            coordinates.iter().map(|&at| one(&mut work, at)).collect()
        };
        Ok(found?.into_iter().collect())
    }

    /// V p: how the statistics answer to a change of the natural parameters, each element by itself.
    fn covariance_times(&self, direction: &[f64]) -> Result<Vec<f64>, CaviError> {
        let mut out = vec![0.0; direction.len()];
        for &(f, first) in &self.first {
            let factor = &self.engine.lowered.program.factors[f];
            let sizes: Vec<usize> =
                (0..factor.family.num_statistics()).map(|s| factor.family.statistic_size(s)).collect();
            let mut starts = Vec::with_capacity(sizes.len());
            let mut at = first;
            for size in &sizes {
                starts.push(at);
                at += size * factor.elements();
            }
            for e in 0..factor.elements() {
                let places: Vec<std::ops::Range<usize>> =
                    starts.iter().zip(&sizes).map(|(start, size)| start + e * size..start + (e + 1) * size).collect();
                if places.iter().all(|own| direction[own.clone()].iter().all(|x| *x == 0.0)) {
                    continue;
                }
                let natural: Vec<&[f64]> = places.iter().map(|own| &self.natural[own.clone()]).collect();
                let statistics: Vec<&[f64]> = places.iter().map(|own| &self.statistics[own.clone()]).collect();
                let along: Vec<&[f64]> = places.iter().map(|own| &direction[own.clone()]).collect();
                let mut found: Vec<Vec<f64>> = sizes.iter().map(|size| vec![0.0; *size]).collect();
                let mut targets: Vec<&mut [f64]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                covariance_times(factor.family, factor.point, &natural, &statistics, &along, &mut targets)
                    .map_err(|error| self.engine.broken_global(f, e, error))?;
                for (own, found) in places.into_iter().zip(found) {
                    out[own].copy_from_slice(&found);
                }
            }
        }
        Ok(out)
    }

    /// H q, q a move of the global statistics that is `length` standard deviations long.
    fn curvature_times(&self, move_: &[f64], length: f64, work: &mut Engine) -> Result<Vec<f64>, CaviError> {
        let step = MOVE / length.max(f64::MIN_POSITIVE);
        let mut told = |sign: f64| -> Result<Vec<f64>, CaviError> {
            let moved: Vec<f64> = self.statistics.iter().zip(move_).map(|(s, m)| s + sign * step * m).collect();
            work.place(&self.engine, &moved);
            work.settle_rows()?;
            Ok(work.messages_to_globals())
        };
        let (above, below) = (told(1.0)?, told(-1.0)?);
        Ok(above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * step)).collect())
    }

    /// (I − HV) p with q = Vp.
    fn image(&self, p: &[f64], q: &[f64], work: &mut Engine) -> Result<Vec<f64>, CaviError> {
        let curved = self.curvature_times(q, dot(p, q).max(0.0).sqrt(), work)?;
        Ok(p.iter().zip(&curved).map(|(p, c)| p - c).collect())
    }

    /// w of (I − HV) w = e, by conjugate gradients in the inner product aᵀVb, the slow directions apart (Saad, Yeung, Erhel &
    /// Guyomarc'h 2000); `None` where the operator is not positive.
    fn solve(&self, right: &[f64], modes: &Modes, work: &mut Engine) -> Result<Option<Vec<f64>>, CaviError> {
        let mut answer = vec![0.0; right.len()];
        let mut residual = right.to_vec();
        let whole = dot(right, &self.covariance_times(right)?);
        for mode in &modes.flat {
            let share = dot(&mode.turned, &residual);
            if share * share > ROUNDING * ROUNDING * whole {
                return Ok(None);
            }
            add(&mut residual, -share, &mode.direction);
        }
        for mode in &modes.slow {
            let share = dot(&mode.turned, &residual);
            add(&mut answer, share, &mode.direction);
            add(&mut residual, -share, &mode.image);
        }
        let mut turned = self.covariance_times(&residual)?;
        let mut size = dot(&residual, &turned);
        // Along p, with q = Vp.
        let (mut p, mut q) = (vec![0.0; right.len()], vec![0.0; right.len()]);
        let mut ratio = 0.0;
        for _ in 0..MOST_PRODUCTS {
            if size.is_nan() {
                return Ok(None);
            }
            if size <= SOLVED * SOLVED * whole {
                break;
            }
            p.iter_mut().zip(&residual).for_each(|(p, r)| *p = r + ratio * *p);
            q.iter_mut().zip(&turned).for_each(|(q, t)| *q = t + ratio * *q);
            for mode in &modes.slow {
                let share = dot(&mode.image, &turned);
                add(&mut p, -share, &mode.direction);
                add(&mut q, -share, &mode.turned);
            }
            let image = self.image(&p, &q, work)?;
            let bend = dot(&q, &image);
            if bend.is_nan() || bend <= 0.0 {
                return Ok(None);
            }
            let step = size / bend;
            add(&mut answer, step, &p);
            add(&mut residual, -step, &image);
            for mode in &modes.flat {
                let share = dot(&mode.turned, &residual);
                add(&mut residual, -share, &mode.direction);
            }
            turned = self.covariance_times(&residual)?;
            let next = dot(&residual, &turned);
            ratio = next / size;
            size = next;
        }
        Ok(Some(answer))
    }

    /// Directions in which I − HV is small, by the Lanczos iteration from a mixture of all coordinates asked for.
    fn modes(&self, coordinates: &[usize]) -> Result<Modes, CaviError> {
        let mut modes = Modes::default();
        if coordinates.len() < MANY {
            return Ok(modes);
        }
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut work = self.engine.clone();
        let mut w = vec![0.0; self.natural.len()];
        let marginal = {
            let mut ones = vec![0.0; self.natural.len()];
            coordinates.iter().for_each(|at| ones[*at] = 1.0);
            self.covariance_times(&ones)?
        };
        for at in coordinates {
            let z: f64 = StandardNormal.sample(&mut random);
            w[*at] = z / marginal[*at].abs().max(f64::MIN_POSITIVE).sqrt();
        }
        // An orthonormal basis in aᵀVb, each with its product with V, and the tridiagonal matrix of the operator in it.
        let mut basis: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        let (mut diagonal, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        for _ in 0..SEARCH {
            let mut turned = self.covariance_times(&w)?;
            let length = dot(&w, &turned).max(0.0).sqrt();
            if length.is_nan() || length <= 1e-6 * beside.iter().copied().fold(f64::MIN_POSITIVE, f64::max) {
                break;
            }
            w.iter_mut().chain(&mut turned).for_each(|x| *x /= length);
            if !basis.is_empty() {
                beside.push(length);
            }
            let mut next = self.image(&w, &turned, &mut work)?;
            diagonal.push(dot(&turned, &next));
            basis.push((w, turned));
            for _ in 0..2 {
                for (direction, turned) in &basis {
                    let share = dot(turned, &next);
                    add(&mut next, -share, direction);
                }
            }
            w = next;
        }
        let n = diagonal.len();
        let mut matrix = DMatrix::from_diagonal(&DVector::from_vec(diagonal));
        for (i, beside) in beside.iter().take(n.saturating_sub(1)).enumerate() {
            matrix[(i, i + 1)] = *beside;
            matrix[(i + 1, i)] = *beside;
        }
        let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(matrix);
        let mut order: Vec<usize> = (0..n).filter(|&i| eigenvalues[i] < SLOW).collect();
        order.sort_by(|a, b| eigenvalues[*a].total_cmp(&eigenvalues[*b]));
        for i in order.into_iter().take(MOST_MODES) {
            let (mut direction, mut turned) = (vec![0.0; self.natural.len()], vec![0.0; self.natural.len()]);
            for (j, (d, t)) in basis.iter().enumerate() {
                add(&mut direction, eigenvectors[(j, i)], d);
                add(&mut turned, eigenvectors[(j, i)], t);
            }
            let mut image = self.image(&direction, &turned, &mut work)?;
            if eigenvalues[i] < FLAT {
                modes.flat.push(Mode { direction, turned, image });
                continue;
            }
            for mode in &modes.slow {
                let share = dot(&mode.image, &turned);
                add(&mut direction, -share, &mode.direction);
                add(&mut turned, -share, &mode.turned);
                add(&mut image, -share, &mode.image);
            }
            let size = dot(&turned, &image);
            if size > 0.0 {
                let scale = size.sqrt().recip();
                direction.iter_mut().chain(&mut turned).chain(&mut image).for_each(|x| *x *= scale);
                modes.slow.push(Mode { direction, turned, image });
            }
        }
        Ok(modes)
    }
}

/// a += scale · b
fn add(a: &mut [f64], scale: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += scale * b);
}
