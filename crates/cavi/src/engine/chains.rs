//! Chains as joint factors over the rows: messages of the rows in, exact marginals and sums of pairs out.

use std::ops::Range;

use rayon::prelude::*;
use vi_families::matrix::add_outer_product;

use super::local::Workspace;
use super::{ChainBuffers, Engine, Start};
use crate::chain::discrete::{Transition, forward_backward};
use crate::chain::gaussian::{GaussianChainMoments, GaussianChainTerms, UnaryPrecision, smooth};
use crate::chain::gaussian_shared::smooth_shared;
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::FactorId;

/// Numbers that one thread multiplies at a time.
const PART: usize = 1 << 15;

/// Σ p · log, where 0 · (−∞) = 0; in fixed parts, so that the sum does not depend on the number of threads.
pub(super) fn expected(probabilities: &[f64], logs: &[f64]) -> f64 {
    let parts: Vec<f64> = probabilities
        .par_chunks(PART)
        .zip(logs.par_chunks(PART))
        .map(|(p, l)| p.iter().zip(l).map(|(p, l)| if *p > 0.0 { p * l } else { 0.0 }).sum())
        .collect();
    parts.iter().sum()
}

impl Engine {
    /// Updates a chain whose rows' messages stand where its statistics are kept.
    pub(super) fn update_chain(&mut self, f: FactorId, start: Option<&Start>) -> Result<(), CaviError> {
        self.gather(f, false);
        let name = self.lowered.program.factors[f].name.clone();
        match self.lowered.program.factors[f].family {
            Family::MarkovChain(k) => {
                if start.is_some_and(|s| s.assigns(f)) {
                    self.sums_of_assignments(f, k);
                    self.entropy[f] = 0.0;
                    return Ok(());
                }
                self.update_markov(f).map_err(|e| CaviError::Chain { factor: name, reason: e.to_string() })
            }
            Family::GaussianMarkovChain(d) => {
                if let Some(start) = start.filter(|s| s.assigns(f)) {
                    self.hold_gaussian(f, d, start);
                    return Ok(());
                }
                self.update_gaussian(f, d).map_err(|e| CaviError::Chain { factor: name, reason: e.to_string() })
            }
            Family::MarkovSteps(k) => {
                if start.is_some_and(|s| s.assigns(f)) {
                    self.steps_of_assignments(f, k);
                    self.entropy[f] = 0.0;
                    return Ok(());
                }
                self.update_markov_steps(f, k).map_err(|e| CaviError::Chain { factor: name, reason: e.to_string() })
            }
            Family::GaussianSteps(d) => {
                if start.is_some_and(|s| s.assigns(f)) {
                    self.steps_of_given_states(f, d);
                    self.entropy[f] = 0.0;
                    return Ok(());
                }
                self.update_gaussian_steps(f, d).map_err(|e| CaviError::Chain { factor: name, reason: e.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Forward–backward; the entropy is log Z less the expected potentials.
    fn update_markov(&mut self, f: FactorId) -> Result<(), crate::chain::ChainError> {
        let unary = &mut self.stored[f][0];
        let potentials = &mut self.chains.potentials;
        potentials.clone_from(unary);
        let (log_transition, log_initial) = (&self.natural[f][1], &self.natural[f][2]);
        forward_backward(
            log_initial,
            Transition::Shared(log_transition),
            unary,
            &self.starts[f],
            &mut self.chains.discrete,
            &mut self.chains.discrete_summary,
        )?;
        let summary = &self.chains.discrete_summary;
        self.entropy[f] = summary.log_normalizer
            - expected(unary, potentials)
            - expected(&summary.pair_sum, log_transition)
            - expected(&summary.initial_sum, log_initial);
        self.statistics[f][1].clone_from(&summary.pair_sum);
        self.statistics[f][2].clone_from(&summary.initial_sum);
        Ok(())
    }

    /// Sums of pairs of an assignment of states to rows.
    fn sums_of_assignments(&mut self, f: FactorId, k: usize) {
        let states = &self.stored[f][0];
        let rows = states.len() / k;
        let mut pairs = vec![0.0; k * k];
        let mut first = vec![0.0; k];
        for row in 0..rows {
            let now = &states[row * k..(row + 1) * k];
            if self.starts[f].binary_search(&row).is_ok() {
                first.iter_mut().zip(now).for_each(|(a, b)| *a += b);
                continue;
            }
            let before = &states[(row - 1) * k..row * k];
            for i in 0..k {
                for j in 0..k {
                    pairs[i * k + j] += before[i] * now[j];
                }
            }
        }
        self.statistics[f][1] = pairs;
        self.statistics[f][2] = first;
    }

    /// The Gaussian smoother.
    fn update_gaussian(&mut self, f: FactorId, d: usize) -> Result<(), crate::chain::ChainError> {
        let square = d * d;
        let symmetric = |m: &[f64]| -> Vec<f64> { (0..square).map(|at| -(m[at] + m[(at % d) * d + at / d])).collect() };
        let natural = &self.natural[f];
        let (innovation, quadratic) = (symmetric(&natural[2]), symmetric(&natural[3]));
        let (initial, transition) = (symmetric(&natural[6]), natural[4].clone());
        let initial_linear = natural[5].clone();
        let terms = GaussianChainTerms {
            dimension: d,
            initial_precision: &initial,
            initial_linear: &initial_linear,
            innovation_precision: &innovation,
            transition_quadratic: &quadratic,
            transition_linear: &transition,
        };
        if self.plan.shared_chain[f] {
            let precision = symmetric(&self.shared_precision(f, square));
            let covariances = self.chains.shared.entry(f).or_default();
            let summary = &mut self.chains.gaussian_summary;
            smooth_shared(terms, &precision, &self.starts[f], &mut self.stored[f][0], covariances, summary)?;
            self.take_chain_sums(f);
            self.sum_second_moments(f);
            return Ok(());
        }
        let (linear_store, rest) = self.stored[f].split_at_mut(1);
        let (means, seconds) = (&mut linear_store[0], &mut rest[0]);
        let ChainBuffers { linear, precision, gaussian, gaussian_summary, .. } = &mut self.chains;
        linear.clone_from(means);
        precision.resize(seconds.len(), 0.0);
        for (target, source) in precision.chunks_exact_mut(square).zip(seconds.chunks_exact(square)) {
            for i in 0..d {
                for j in 0..d {
                    target[i * d + j] = -(source[i * d + j] + source[j * d + i]);
                }
            }
        }
        let moments = GaussianChainMoments { means, covariances: seconds, lag_covariances: None };
        smooth(terms, UnaryPrecision::PerRow(precision), linear, &self.starts[f], moments, gaussian, gaussian_summary)?;
        let (means, rest) = self.stored[f].split_at_mut(1);
        for (mean, second) in means[0].chunks_exact(d).zip(rest[0].chunks_exact_mut(square)) {
            for i in 0..d {
                for j in 0..d {
                    second[i * d + j] += mean[i] * mean[j];
                }
            }
        }
        self.take_chain_sums(f);
        Ok(())
    }

    /// The same given statistics in every row, independent of each other, and no entropy.
    fn hold_gaussian(&mut self, f: FactorId, d: usize, start: &Start) {
        let mut given = vec![vec![0.0; d], vec![0.0; d * d]];
        start.fill(f, &(0..1), self, &mut given);
        let [mean, second] = &given[..] else { return };
        let sequences = self.starts[f].len() as f64;
        let steps = self.lowered.program.num_rows as f64 - sequences;
        let scaled = |values: &[f64], scale: f64| values.iter().map(|v| scale * v).collect::<Vec<f64>>();
        let mut cross = vec![0.0; d * d];
        add_outer_product(&mut cross, steps, mean);
        let summary = &mut self.chains.gaussian_summary;
        summary.entropy = 0.0;
        summary.initial_mean_sum = scaled(mean, sequences);
        summary.initial_second_moment_sum = scaled(second, sequences);
        summary.current_sum = scaled(second, steps);
        summary.previous_sum = scaled(second, steps);
        summary.cross_sum = cross;
        self.take_chain_sums(f);
        self.sum_second_moments(f);
    }

    /// Entropy and sums of a Gaussian chain from its summary.
    fn take_chain_sums(&mut self, f: FactorId) {
        let summary = &self.chains.gaussian_summary;
        self.entropy[f] = summary.entropy;
        let statistics = &mut self.statistics[f];
        statistics[2].clone_from(&summary.current_sum);
        statistics[3].clone_from(&summary.previous_sum);
        statistics[4].clone_from(&summary.cross_sum);
        statistics[5].clone_from(&summary.initial_mean_sum);
        statistics[6].clone_from(&summary.initial_second_moment_sum);
    }

    /// The coefficient of xxᵀ in every row of a chain with one precision.
    fn shared_precision(&self, f: FactorId, square: usize) -> Vec<f64> {
        let mut coefficient = vec![0.0; square];
        for (g, group) in self.plan.groups.iter().enumerate() {
            for message in group.messages.iter().filter(|m| m.factor == f && m.statistic == 1) {
                message.nest.run(1, &[], &[&self.coefficients[g]], 1.0, None, &mut coefficient);
            }
        }
        coefficient
    }

    /// Sums of second moments over all rows: those of the rows that follow another, and of first rows.
    fn sum_second_moments(&mut self, f: FactorId) {
        let summary = &self.chains.gaussian_summary;
        let all: Vec<f64> =
            summary.current_sum.iter().zip(&summary.initial_second_moment_sum).map(|(a, b)| a + b).collect();
        for (g, group) in self.plan.groups.iter().enumerate() {
            if self.plan.second_moments_of(g) == Some(f) {
                self.summaries[g].fill(0.0);
                group.summary.run(1, &[], &[&all], 1.0, None, &mut self.summaries[g]);
            }
        }
    }

    /// E[xxᵀ] of some rows of a chain with one precision, from their means and covariances.
    pub(super) fn chain_second_moments(&self, f: FactorId, rows: &Range<usize>, statistics: &mut [Vec<f64>]) {
        let Some(covariances) = self.chains.shared.get(&f).filter(|_| self.plan.shared_chain[f]) else { return };
        let [means, seconds, ..] = statistics else { return };
        let d = means.len() / rows.len().max(1);
        seconds.clear();
        for (row, mean) in rows.clone().zip(means.chunks_exact(d.max(1))) {
            let at = seconds.len();
            seconds.extend_from_slice(covariances.row(row));
            add_outer_product(&mut seconds[at..], 1.0, mean);
        }
    }

    /// Puts the second moments of all chains with one precision into the workspace of some rows.
    pub(super) fn load_chains(&self, rows: &Range<usize>, workspace: &mut Workspace) {
        for &f in self.chains.shared.keys() {
            self.chain_second_moments(f, rows, &mut workspace.statistics[f]);
        }
    }
}
