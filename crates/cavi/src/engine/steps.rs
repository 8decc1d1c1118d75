//! Chains whose steps differ from row to row: the messages of each row and of the step into it in, exact marginals out.

use super::Engine;
use super::chains::expected;
use crate::chain::ChainError;
use crate::chain::discrete::{Transition, forward_backward};
use crate::chain::steps::{StepRows, smooth_steps};
use crate::program::FactorId;

impl Engine {
    /// Forward–backward with a table for each step; the entropy is log Z less the expected potentials.
    pub(super) fn update_markov_steps(&mut self, f: FactorId, k: usize) -> Result<(), ChainError> {
        let [unary, pairs] = &mut self.stored[f][..] else { return Ok(()) };
        let (potentials, tables) = (&mut self.chains.potentials, &mut self.chains.tables);
        potentials.clone_from(unary);
        tables.clone_from(pairs);
        // What is said of first states stands in the messages of their rows.
        forward_backward(
            &vec![0.0; k],
            Transition::PerRow(pairs),
            unary,
            &self.starts[f],
            &mut self.chains.discrete,
            &mut self.chains.discrete_summary,
        )?;
        self.entropy[f] =
            self.chains.discrete_summary.log_normalizer - expected(unary, potentials) - expected(pairs, tables);
        Ok(())
    }

    /// Pairs of states for an assignment of states to rows.
    pub(super) fn steps_of_assignments(&mut self, f: FactorId, k: usize) {
        let [states, pairs] = &mut self.stored[f][..] else { return };
        for (row, pair) in pairs.chunks_exact_mut(k * k).enumerate() {
            pair.fill(0.0);
            if self.starts[f].binary_search(&row).is_ok() {
                continue;
            }
            let (before, now) = (&states[(row - 1) * k..row * k], &states[row * k..(row + 1) * k]);
            for (line, b) in pair.chunks_exact_mut(k).zip(before) {
                line.iter_mut().zip(now).for_each(|(p, n)| *p = b * n);
            }
        }
    }

    /// The Gaussian smoother with precisions and couplings of each row.
    pub(super) fn update_gaussian_steps(&mut self, f: FactorId, d: usize) -> Result<(), ChainError> {
        let square = d * d;
        let starts = &self.starts[f];
        let [linear, precision, before, before_square, coupling] = &mut self.stored[f][..] else { return Ok(()) };
        let rows = linear.len() / d.max(1);
        // What a row says of the one before it joins that row's own messages: xᵀMx = ½ xᵀ(M + Mᵀ)x.
        for row in 0..rows {
            let next = (row + 1 < rows && starts.binary_search(&(row + 1)).is_err()).then_some(row + 1);
            let own = &mut precision[row * square..(row + 1) * square];
            if let Some(next) = next {
                let of = &before_square[next * square..(next + 1) * square];
                own.iter_mut().zip(of).for_each(|(a, b)| *a += b);
                let of = &before[next * d..(next + 1) * d];
                linear[row * d..(row + 1) * d].iter_mut().zip(of).for_each(|(a, b)| *a += b);
            }
            for i in 0..d {
                for j in 0..=i {
                    let value = -(own[i * d + j] + own[j * d + i]);
                    own[i * d + j] = value;
                    own[j * d + i] = value;
                }
            }
        }
        let summary = smooth_steps(StepRows { dimension: d, linear, precision, coupling }, starts)?;
        self.entropy[f] = summary.entropy;
        self.moments_of_steps(f, d, true);
        Ok(())
    }

    /// Steps between given, independent states.
    pub(super) fn steps_of_given_states(&mut self, f: FactorId, d: usize) {
        if let [.., coupling] = &mut self.stored[f][..] {
            coupling.fill(0.0);
        }
        self.moments_of_steps(f, d, false);
    }

    /// Moments of each row and the one before it, from means, covariances (or `E[xxᵀ]` already) and lag-one covariances.
    fn moments_of_steps(&mut self, f: FactorId, d: usize, covariances: bool) {
        let square = d * d;
        let [means, second, before, before_square, cross] = &mut self.stored[f][..] else { return };
        for row in 0..means.len() / d.max(1) {
            let mean = &means[row * d..(row + 1) * d];
            if covariances {
                let own = &mut second[row * square..(row + 1) * square];
                for (line, m) in own.chunks_exact_mut(d).zip(mean) {
                    line.iter_mut().zip(mean).for_each(|(s, n)| *s += m * n);
                }
            }
            let (last, last_square) =
                (&mut before[row * d..(row + 1) * d], &mut before_square[row * square..(row + 1) * square]);
            if self.starts[f].binary_search(&row).is_ok() {
                last.fill(0.0);
                last_square.fill(0.0);
                continue;
            }
            last.copy_from_slice(&means[(row - 1) * d..row * d]);
            last_square.copy_from_slice(&second[(row - 1) * square..row * square]);
            let lines = cross[row * square..(row + 1) * square].chunks_exact_mut(d);
            for (line, m) in lines.zip(mean) {
                line.iter_mut().zip(&*last).for_each(|(c, n)| *c += m * n);
            }
        }
    }
}
