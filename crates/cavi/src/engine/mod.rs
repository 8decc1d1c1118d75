//! The state of one run and its iteration: local, summarise, merge, global.

mod affine;
mod centres;
mod chains;
mod checkpoint;
mod data_sums;
mod fused;
mod gates;
mod global;
#[cfg(test)]
mod gradient_tests;
mod initial;
mod local;
mod moments;
mod moves;
mod predict;
mod profiles;
mod response;
mod rows;
mod scores;
mod steps;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::discrete::{DiscreteChainScratch, DiscreteChainSummary};
use crate::chain::gaussian::{GaussianChainScratch, GaussianChainSummary};
use crate::chain::gaussian_shared::SharedCovariances;
use crate::error::CaviError;
use crate::lower::{Lowered, sequence_starts};
use crate::plan::Plan;
use crate::program::FactorId;
use vi_model::graph::Distribution;

use affine::AffineState;
pub(crate) use gates::{Attempt, begins_apart, competing_starts};
pub(crate) use initial::Start;
pub(crate) use local::TaskResult;
use moments::FeatureMoments;
use rows::RowReader;

/// Buffers of the chains.
#[derive(Debug, Default)]
struct ChainBuffers {
    discrete: DiscreteChainScratch,
    discrete_summary: DiscreteChainSummary,
    /// The rows' messages to a discrete chain.
    potentials: Vec<f64>,
    /// Those of its steps, where these differ.
    tables: Vec<f64>,
    gaussian: GaussianChainScratch,
    /// The rows' messages to a Gaussian chain whose precision changes from row to row.
    linear: Vec<f64>,
    precision: Vec<f64>,
    /// Covariances of the chains with one precision, by factor.
    shared: BTreeMap<FactorId, SharedCovariances>,
    gaussian_summary: GaussianChainSummary,
}

/// A copy needs the covariances; everything else is written anew in every pass.
impl Clone for ChainBuffers {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), ..Self::default() }
    }
}

/// A planned model with its data and the current factors; clones share model and data.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) lowered: Arc<Lowered>,
    pub(crate) plan: Arc<Plan>,
    reader: Arc<RowReader>,
    /// First rows of the sequences of each chain factor, by factor.
    starts: Vec<Vec<usize>>,
    /// Expected statistics of global factors (and the summed ones of chains), `[factor][statistic]`.
    pub(crate) statistics: Vec<Vec<Vec<f64>>>,
    /// Their natural parameters.
    pub(crate) natural: Vec<Vec<Vec<f64>>>,
    /// Entropy of each factor, all elements and rows.
    pub(crate) entropy: Vec<f64>,
    /// Entropy of each element of the global factors.
    element_entropy: Vec<Vec<f64>>,
    /// Summaries of the groups.
    summaries: Vec<Vec<f64>>,
    /// Coefficients of the groups.
    coefficients: Vec<Vec<f64>>,
    /// Those of products x_i x_j of one array, i ≤ j alone (empty for others).
    packed: Vec<Vec<f64>>,
    /// Coefficients of the fused gates.
    fused: Vec<Vec<f64>>,
    /// Statistics of row-level factors that are kept between iterations.
    stored: Vec<Vec<Vec<f64>>>,
    /// Row-level factors whose means are affine in data, and the moments of these data.
    affine: AffineState,
    moments: Arc<FeatureMoments>,
    chains: ChainBuffers,
    /// Iterations done.
    pub(crate) iteration: usize,
}

impl Engine {
    /// Prepares a planned model: reads its data once and sums what depends on data alone.
    pub(crate) fn new(lowered: Lowered, plan: Plan) -> Result<Self, CaviError> {
        let reader = RowReader::new(&lowered, &plan)?;
        let factors = &lowered.program.factors;
        let mut starts = vec![Vec::new(); factors.len()];
        for (v, &f) in &lowered.factor_of {
            if let Distribution::MarkovChain { sequence, .. } | Distribution::GaussianMarkovChain { sequence, .. } =
                lowered.graph.variable(*v).distribution
            {
                starts[f] = sequence_starts(&lowered.graph.data, sequence, lowered.program.num_rows)?;
            }
        }
        let zeros = || -> Vec<Vec<Vec<f64>>> {
            factors
                .iter()
                .map(|f| {
                    (0..f.family.num_statistics())
                        .map(|s| {
                            let size = f.family.statistic_size(s);
                            if !f.local {
                                vec![0.0; f.elements() * size]
                            } else if f.family.is_summed(s) {
                                vec![0.0; size]
                            } else {
                                Vec::new()
                            }
                        })
                        .collect()
                })
                .collect()
        };
        let (statistics, natural) = (zeros(), zeros());
        let element_entropy = factors.iter().map(|f| if f.local { vec![] } else { vec![0.0; f.elements()] }).collect();
        let summaries = plan.groups.iter().map(|g| vec![0.0; g.size()]).collect();
        let coefficients = plan.groups.iter().map(|g| vec![0.0; g.size()]).collect();
        let entropy = vec![0.0; factors.len()];
        let mut engine = Self {
            lowered: Arc::new(lowered),
            plan: Arc::new(plan),
            reader: Arc::new(reader),
            starts,
            statistics,
            natural,
            entropy,
            element_entropy,
            summaries,
            coefficients,
            packed: Vec::new(),
            fused: Vec::new(),
            stored: Vec::new(),
            affine: AffineState::default(),
            moments: Arc::default(),
            chains: ChainBuffers::default(),
            iteration: 0,
        };
        engine.allocate_stored();
        engine.data_sums()?;
        if let Some(affine) = &engine.plan.affine {
            engine.moments = Arc::new(engine.feature_moments(affine)?);
        }
        engine.reset_affine();
        Ok(engine)
    }

    /// Row-sized arrays for the factors whose state must be kept.
    fn allocate_stored(&mut self) {
        let rows = self.lowered.program.num_rows;
        self.stored = (0..self.lowered.program.factors.len())
            .map(|f| {
                let factor = &self.lowered.program.factors[f];
                (0..factor.family.num_statistics())
                    .map(|s| {
                        let kept = self.plan.stored && !self.plan.is_affine(f);
                        if kept { vec![0.0; rows * self.row_width(f, s)] } else { Vec::new() }
                    })
                    .collect()
            })
            .collect();
    }

    /// Σ of the rows' multiplicities.
    pub(crate) fn total_weight(&self) -> f64 {
        self.reader.total_weight()
    }

    /// Puts the affine factors at their start.
    fn reset_affine(&mut self) {
        if let Some(affine) = &self.plan.affine {
            self.affine = AffineState::new(affine, &self.lowered.program.factors);
        }
    }

    /// One iteration of coordinate ascent; returns the ELBO after it.
    pub(crate) fn step(&mut self, start: Option<&Start>) -> Result<f64, CaviError> {
        self.iteration += 1;
        self.local_step(start)?;
        self.global_step(start)?;
        let elbo = self.elbo();
        if elbo.is_finite() {
            return Ok(elbo);
        }
        let terms = self.elbo_terms();
        let term = terms.into_iter().find(|(_, v)| !v.is_finite()).map_or_else(String::new, |(name, _)| name);
        Err(CaviError::NotFinite { elbo, iteration: self.iteration, term })
    }

    /// Updates the factors of the rows and sums what the others need of them.
    pub(crate) fn local_step(&mut self, start: Option<&Start>) -> Result<(), CaviError> {
        if self.plan.local_order.is_empty() {
            // Data alone were summed before the first iteration.
            return Ok(());
        }
        self.compute_coefficients();
        self.affine_step(start)?;
        if !self.plan.goes_through_rows() {
            return Ok(());
        }
        let chains: Vec<usize> = self
            .plan
            .local_order
            .iter()
            .copied()
            .filter(|&f| self.lowered.program.factors[f].family.is_chain())
            .collect();
        if chains.is_empty() {
            return self.pass(local::Pass::Whole, start);
        }
        for chain in chains {
            self.pass(local::Pass::Unary(chain), start)?;
            self.update_chain(chain, start)?;
        }
        self.pass(local::Pass::Summarise, None)
    }
}

/// Steps over some of the rows, for the schedules that are not batch.
impl Engine {
    /// Updates the row-level factors of some rows from the present global ones and summarises these rows alone.
    pub(crate) fn summarise_rows(&mut self, rows: std::ops::Range<usize>) -> Result<TaskResult, CaviError> {
        self.compute_coefficients();
        self.pass_over(rows, local::Pass::Whole, None)
    }

    /// Puts `weight` times the summaries and entropies of a result in place of the present ones.
    pub(crate) fn use_summary(&mut self, result: &TaskResult, weight: f64) {
        for (g, group) in self.plan.groups.iter().enumerate() {
            if group.dynamic {
                for (target, value) in self.summaries[g].iter_mut().zip(&result.summaries[g]) {
                    *target = weight * value;
                }
            }
        }
        for &f in &self.plan.local_order {
            self.entropy[f] = weight * result.entropy[f];
        }
    }

    /// A sum of results that starts empty.
    pub(crate) fn no_summary(&self) -> TaskResult {
        self.empty_result()
    }

    /// Updates the global factors from the summaries at hand.
    pub(crate) fn update_globals(&mut self) -> Result<(), CaviError> {
        self.iteration += 1;
        self.global_step(None)
    }
}
