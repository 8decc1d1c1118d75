//! Marginal standard deviations corrected by linear response (Giordano, Broderick & Jordan 2018).
//!
//! Mean-field variances are too small, since a factor does not see the others move. Tilting the log joint by t·θ_i and letting
//! all factors settle again gives d E_q[θ_i] / dt, the linear-response variance of θ_i (their eq. 5): exact for Gaussian posteriors.
//!
//! With V the covariances of the statistics of each factor under q and H the second derivatives of the expected log joint in their
//! expectations, that is an element of (I − VH)⁻¹V (their eq. 10). The rows' factors are not among the unknowns: H is that of the
//! log joint in which they have settled, and a product with it is a difference of two passes over the rows. I − HV is symmetric
//! in the inner product aᵀVb, and (I − HV) w = e_i is solved in it: for all coordinates in one growing space ([`space`]), or by
//! conjugate gradients where that would not fit into memory ([`conjugate`]); the variance is that of V w. Nothing is formed but
//! vectors over the global factors.

mod conjugate;
mod operator;
mod space;

use vi_run::array::NestedArray;
use vi_run::executor::Interruption;
use vi_run::record::PosteriorEntry;

use crate::error::CaviError;
use crate::factor::Family;
use crate::fit::Ascent;
use crate::program::FactorId;

use operator::Response;
use space::Space;

/// Who waits for linear response: told how far it is, and asked whether to go on.
#[derive(Default)]
pub struct Watch<'a> {
    interruption: Interruption,
    progress: Option<Box<dyn FnMut(usize, usize) + 'a>>,
}

impl<'a> Watch<'a> {
    /// With a flag that ends it before its end.
    #[must_use]
    pub fn new(interruption: Interruption) -> Self {
        Self { interruption, progress: None }
    }

    /// With somebody to tell of the coordinates done, and of all there are.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(usize, usize) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    fn tell(&mut self, done: usize, all: usize) {
        if let Some(progress) = &mut self.progress {
            progress(done, all);
        }
    }
}

/// What became of linear response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinearResponse {
    /// Variables without a response, since the fit is at no maximum along some direction that moves them.
    pub at_no_maximum: Vec<String>,
    /// Variables for which no solution was found within the limit of products.
    pub unsolved: Vec<String>,
    /// Whether it was interrupted: then no variable has a response.
    pub interrupted: bool,
}

/// Why a computation of responses ends early.
#[derive(Debug)]
enum Halt {
    Interrupted,
    Failed(CaviError),
}

impl From<CaviError> for Halt {
    fn from(error: CaviError) -> Self {
        Self::Failed(error)
    }
}

/// What was found of one coordinate.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    Variance(f64),
    NoMaximum,
    Unsolved,
}

/// A variable whose response is wanted.
struct Wanted {
    /// Index of its entry.
    entry: usize,
    factor: FactorId,
    /// Its coordinates in the factor's first statistic.
    coordinates: Vec<usize>,
}

impl Ascent {
    /// Adds `sd_linear_response` to the entries of global normal and gamma variables; points get none.
    ///
    /// # Errors
    ///
    /// Fails when the data cannot be read, or a factor has no distribution.
    pub fn add_linear_response(
        &self,
        entries: &mut [(String, PosteriorEntry)],
        watch: &mut Watch<'_>,
    ) -> Result<LinearResponse, CaviError> {
        let wanted = self.wanted(entries);
        let found = match self.responses(&wanted, watch) {
            Ok(found) => found,
            Err(Halt::Interrupted) => return Ok(LinearResponse { interrupted: true, ..LinearResponse::default() }),
            Err(Halt::Failed(error)) => return Err(error),
        };
        let mut outcome = LinearResponse::default();
        let mut rest = &found[..];
        for Wanted { entry, coordinates, .. } in wanted {
            let (own, others) = rest.split_at(coordinates.len());
            rest = others;
            let (name, entry) = &mut entries[entry];
            let deviations: Option<Vec<f64>> = own
                .iter()
                .map(|found| if let Found::Variance(v) = found { Some(v.max(0.0).sqrt()) } else { None })
                .collect();
            if let Some(deviations) = deviations {
                let shape = entry.sd.as_ref().map(|sd| sd.shape().to_vec()).unwrap_or_default();
                entry.sd_linear_response = NestedArray::new(shape, deviations).ok();
            } else if own.contains(&Found::NoMaximum) {
                outcome.at_no_maximum.push(name.clone());
            } else {
                outcome.unsolved.push(name.clone());
            }
        }
        Ok(outcome)
    }

    /// The global normal and gamma variables that have a distribution.
    fn wanted(&self, entries: &[(String, PosteriorEntry)]) -> Vec<Wanted> {
        let lowered = &self.engine.lowered;
        let mut wanted = Vec::new();
        for (&v, &f) in &lowered.factor_of {
            let factor = &lowered.program.factors[f];
            let name = &lowered.graph.variable(v).name;
            let handled = matches!(factor.family, Family::Normal | Family::NormalVector(_) | Family::Gamma);
            let Some(entry) = entries.iter().position(|(n, _)| n == name) else { continue };
            if !factor.local && !factor.point && handled && entries[entry].1.sd.is_some() {
                wanted.push(Wanted { entry, factor: f, coordinates: self.coordinates(v, f) });
            }
        }
        wanted
    }

    /// What is found of the coordinates of the variables, one after another.
    fn responses(&self, wanted: &[Wanted], watch: &mut Watch<'_>) -> Result<Vec<Found>, Halt> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let response = Response::new(self.engine.clone(), watch.interruption.clone())?;
        let places: Vec<usize> = wanted.iter().flat_map(|w| response.places(w.factor, &w.coordinates)).collect();
        let mut space = Space::new(response.width());
        let mut found = Vec::with_capacity(places.len());
        for block in places.chunks(space::BLOCK) {
            found.extend(response.variances(block, &mut space)?);
            watch.tell(found.len(), places.len());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Two ways to solve the same equations.
    #[test]
    fn conjugate_gradients_and_the_shared_space_agree() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/item-response.toml");
        let ascent = crate::fit::fit(&vi_model::load(&path).unwrap()).unwrap().algorithm;
        let wanted = ascent.wanted(&ascent.posterior());
        let response = Response::new(ascent.engine.clone(), Interruption::new()).unwrap();
        let places: Vec<usize> = wanted.iter().flat_map(|w| response.places(w.factor, &w.coordinates)).collect();
        let some = &places[places.len() - 30..];
        let mut work = response.engine.clone();
        let empty = Space::new(response.width());
        let mut space = Space::new(response.width());
        for (&at, shared) in some.iter().zip(response.variances(some, &mut space).unwrap()) {
            let alone = response.variance(at, &empty, &mut work).unwrap();
            let within = response.variance(at, &space, &mut work).unwrap();
            let (Found::Variance(shared), Found::Variance(alone), Found::Variance(within)) = (shared, alone, within)
            else {
                panic!("{shared:?}, {alone:?}, {within:?}")
            };
            assert!((shared / alone - 1.0).abs() < 1e-8, "{shared} and {alone}");
            assert!((shared / within - 1.0).abs() < 1e-8, "{shared} and {within}");
        }
    }
}
