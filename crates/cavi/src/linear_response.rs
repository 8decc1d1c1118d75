//! Marginal standard deviations corrected by linear response (Giordano, Broderick & Jordan 2018).
//!
//! Mean-field variances are too small, since a factor does not see the others move. Tilting the log joint by t·θ_i and
//! letting all factors settle again gives d E_q[θ_i] / dt, the linear-response variance of θ_i (their eq. 5): exact for
//! Gaussian posteriors. The tilt enters as an additional natural parameter of one factor, so that nothing larger than the
//! factors themselves is formed, whatever the number of rows.

use vi_run::array::NestedArray;
use vi_run::record::PosteriorEntry;

use crate::engine::{Engine, Tilt};
use crate::error::CaviError;
use crate::factor::Family;
use crate::fit::Ascent;
use crate::program::FactorId;

/// Tilts move a mean by about this many of its own standard deviations.
const MOVE: f64 = 0.01;
/// Iterations after which a tilted fit counts as settled in any case.
const MOST_ITERATIONS: usize = 5000;

impl Ascent {
    /// Adds `sd_linear_response` to the entries of global normal and gamma variables.
    ///
    /// Each coordinate costs two fits from the present optimum; points keep none.
    ///
    /// # Errors
    ///
    /// Fails when a tilted factor has no distribution.
    pub fn add_linear_response(&self, entries: &mut [(String, PosteriorEntry)]) -> Result<(), CaviError> {
        let engine = &self.engine;
        for (v, &f) in &engine.lowered.factor_of {
            let factor = &engine.lowered.program.factors[f];
            let name = &engine.lowered.graph.variable(*v).name;
            let Some((_, entry)) = entries.iter_mut().find(|(n, _)| n == name) else { continue };
            let handled = matches!(factor.family, Family::Normal | Family::NormalVector(_) | Family::Gamma);
            if factor.point || !handled {
                continue;
            }
            let Some(sd) = &entry.sd else { continue };
            let positions = self.coordinates(*v, f);
            let mut corrected = Vec::with_capacity(positions.len());
            for (at, sd) in positions.iter().zip(sd.values()) {
                corrected.push(response(engine, f, *at, *sd)?.max(0.0).sqrt());
            }
            entry.sd_linear_response = NestedArray::new(sd.shape().to_vec(), corrected).ok();
        }
        Ok(())
    }
}

/// d E[x] / dt under the tilt t·x, by central differences.
fn response(engine: &Engine, f: FactorId, at: usize, sd: f64) -> Result<f64, CaviError> {
    let t = MOVE / sd.max(f64::MIN_POSITIVE);
    let mut reached = [0.0; 2];
    for (value, sign) in reached.iter_mut().zip([1.0, -1.0]) {
        let mut tilted = engine.clone();
        tilted.tilt = Some(Tilt { factor: f, position: at, amount: sign * t });
        let mut last = tilted.statistics[f][0][at];
        let mut quiet = 0;
        for _ in 0..MOST_ITERATIONS {
            tilted.step(None)?;
            let now = tilted.statistics[f][0][at];
            // Settled when ten iterations in a row move the mean by less than 1e-9 of its standard deviation.
            quiet = if (now - last).abs() <= 1e-9 * sd { quiet + 1 } else { 0 };
            last = now;
            if quiet == 10 {
                break;
            }
        }
        *value = last;
    }
    Ok((reached[0] - reached[1]) / (2.0 * t))
}
