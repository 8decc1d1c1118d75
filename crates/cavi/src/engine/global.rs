//! The global step: coefficients of the rows' products, updates of the global factors, and the ELBO.

use std::ops::Range;

use super::local::{Workspace, pack_coefficient};
use super::{Engine, Start};
use crate::error::CaviError;
use crate::factor::{NaturalError, update};
use crate::plan::GlobalTerm;
use crate::program::{FactorId, Operand, Source};

impl Engine {
    /// The array behind an operand of a global product.
    fn array(&self, operand: &Operand) -> &[f64] {
        match operand.source {
            Source::Statistic { factor, statistic } => &self.statistics[factor][statistic],
            Source::Constant(i) => &self.lowered.program.constants[i].values,
            Source::Summary(g) => &self.summaries[g],
            Source::Data(_) | Source::Moment { .. } | Source::Natural { .. } => &[],
        }
    }

    /// Runs a product without one operand (or whole) over the combinations of look-ups it needs.
    pub(super) fn contract(&self, term: &GlobalTerm, except: Option<usize>, out: &mut [f64]) {
        let inputs: Vec<&[f64]> =
            term.operands.iter().enumerate().filter(|(i, _)| Some(*i) != except).map(|(_, o)| self.array(o)).collect();
        let nest = match except {
            Some(i) => &term.derivatives[i],
            None => &term.value,
        };
        match term.pairs {
            None => nest.run(1, &[], &inputs, term.coefficient, None, out),
            Some(p) => {
                let table = &self.plan.pairs[p];
                let codes: Vec<&[u32]> = table.code_arrays.iter().map(Vec::as_slice).collect();
                nest.run(table.len(), &codes, &inputs, term.coefficient, None, out);
            }
        }
    }

    /// Coefficients of the groups that row-level factors are in.
    pub(super) fn compute_coefficients(&mut self) {
        let mut coefficients = std::mem::take(&mut self.coefficients);
        for (g, coefficient) in coefficients.iter_mut().enumerate() {
            if self.plan.groups[g].dynamic {
                coefficient.fill(0.0);
            }
        }
        for term in &self.plan.terms {
            let Some(g) = term.group else { continue };
            if !self.plan.groups[g].dynamic {
                continue;
            }
            let position = term.operands.iter().position(|o| o.source == Source::Summary(g));
            self.contract(term, position, &mut coefficients[g]);
        }
        self.packed.resize(coefficients.len(), Vec::new());
        for ((group, coefficient), packed) in self.plan.groups.iter().zip(&coefficients).zip(&mut self.packed) {
            for path in group.messages.iter().filter(|_| group.by_rows).filter_map(|m| m.matrix.as_ref()) {
                if let Some(d) = path.symmetric {
                    pack_coefficient(coefficient, d, path.width, packed);
                }
            }
        }
        self.coefficients = coefficients;
    }

    /// Natural parameters of a factor from all its neighbours.
    pub(super) fn gather(&mut self, f: FactorId, own_prior: bool) {
        let mut natural = std::mem::take(&mut self.natural[f]);
        for (s, array) in natural.iter_mut().enumerate() {
            array.fill(0.0);
            let Some(uses) = self.plan.uses.get(&(f, s)) else { continue };
            for &(t, position) in uses {
                let term = &self.plan.terms[t];
                let owned = || {
                    let factor = &self.lowered.program.factors[f];
                    term.group.is_none() && factor.members.iter().any(|m| m.variable.is_some_and(|v| v.0 == term.owner))
                };
                if !own_prior || owned() {
                    self.contract(term, Some(position), array);
                }
            }
        }
        self.natural[f] = natural;
    }

    /// Natural parameters of one element of a factor whose elements meet: only the combinations of look-ups that read it.
    fn gather_element(&mut self, f: FactorId, element: usize) {
        let mut natural = std::mem::take(&mut self.natural[f]);
        let mut scratch = Vec::new();
        for (s, array) in natural.iter_mut().enumerate() {
            let size = self.lowered.program.factors[f].family.statistic_size(s);
            let own = element * size..(element + 1) * size;
            array[own.clone()].fill(0.0);
            let Some(uses) = self.plan.uses.get(&(f, s)) else { continue };
            for &(t, position) in uses {
                let term = &self.plan.terms[t];
                if let Some(readers) = self.plan.readers.get(&(t, position)) {
                    self.contract_over(term, position, &readers[element], array);
                } else {
                    scratch.clear();
                    scratch.resize(array.len(), 0.0);
                    self.contract(term, Some(position), &mut scratch);
                    array[own.clone()].iter_mut().zip(&scratch[own.clone()]).for_each(|(a, b)| *a += b);
                }
            }
        }
        self.natural[f] = natural;
    }

    /// A product without one operand over some combinations of look-ups.
    fn contract_over(&self, term: &GlobalTerm, position: usize, combinations: &[u32], out: &mut [f64]) {
        let Some(table) = term.pairs.map(|p| &self.plan.pairs[p]) else { return };
        let inputs: Vec<&[f64]> =
            term.operands.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, o)| self.array(o)).collect();
        let codes: Vec<&[u32]> = table.code_arrays.iter().map(Vec::as_slice).collect();
        let rows = combinations.iter().map(|c| *c as usize);
        term.derivatives[position].run_over(rows, &codes, &inputs, term.coefficient, None, out);
    }

    /// Updates the global factors one after another.
    pub(super) fn global_step(&mut self, start: Option<&Start>) -> Result<(), CaviError> {
        for f in self.plan.global_order.clone() {
            if start.is_some_and(|s| s.holds(f)) {
                continue;
            }
            self.update_global(f)?;
        }
        Ok(())
    }

    /// Updates one global factor; elements that meet in a product follow one another.
    pub(crate) fn update_global(&mut self, f: FactorId) -> Result<(), CaviError> {
        let elements = self.lowered.program.factors[f].elements();
        if self.lowered.program.factors[f].coupled && elements > 1 {
            for element in 0..elements {
                self.gather_element(f, element);
                self.update_elements(f, element..element + 1)?;
            }
            return Ok(());
        }
        self.gather(f, false);
        self.update_elements(f, 0..elements)
    }

    /// Expected statistics of some elements from the natural parameters gathered.
    pub(crate) fn update_elements(&mut self, f: FactorId, elements: Range<usize>) -> Result<(), CaviError> {
        let factor = &self.lowered.program.factors[f];
        let sizes: Vec<usize> = (0..factor.family.num_statistics()).map(|s| factor.family.statistic_size(s)).collect();
        let natural = &self.natural[f];
        let statistics = &mut self.statistics[f];
        for e in elements {
            let own: Vec<&[f64]> = natural.iter().zip(&sizes).map(|(n, &w)| &n[e * w..(e + 1) * w]).collect();
            let mut expected: Vec<&mut [f64]> =
                statistics.iter_mut().zip(&sizes).map(|(array, &w)| &mut array[e * w..(e + 1) * w]).collect();
            match update(factor.family, factor.point, &own, &mut expected) {
                Ok(entropy) => self.element_entropy[f][e] = entropy,
                Err(error) => return Err(self.broken_global(f, e, error)),
            }
        }
        self.entropy[f] = self.element_entropy[f].iter().sum();
        Ok(())
    }

    /// The error of an element of a global factor without a distribution.
    pub(crate) fn broken_global(&self, f: FactorId, element: usize, error: NaturalError) -> CaviError {
        let factor = &self.lowered.program.factors[f];
        CaviError::Factor {
            factor: factor.name.clone(),
            element: if factor.elements() > 1 { format!(" at element {element}") } else { String::new() },
            iteration: self.iteration,
            reason: error.0,
        }
    }

    /// Natural parameters of all global factors, one after another.
    pub(crate) fn natural_parameters(&self) -> Vec<f64> {
        self.plan.global_order.iter().flat_map(|&f| self.natural[f].iter().flatten().copied()).collect()
    }

    /// Sets the natural parameters of all global factors, and their statistics with them.
    pub(crate) fn set_natural_parameters(&mut self, values: &[f64]) -> Result<(), CaviError> {
        let mut at = 0;
        for f in self.plan.global_order.clone() {
            for array in &mut self.natural[f] {
                let size = array.len();
                array.copy_from_slice(&values[at..at + size]);
                at += size;
            }
            self.update_elements(f, 0..self.lowered.program.factors[f].elements())?;
        }
        Ok(())
    }

    /// Moves the global factors by a step of size `rate` towards the natural parameters that the summaries at hand give
    /// (Hoffman et al. 2013, eq. 27).
    pub(crate) fn global_step_towards(&mut self, rate: f64) -> Result<(), CaviError> {
        for f in self.plan.global_order.clone() {
            let before = self.natural[f].clone();
            self.gather(f, false);
            for (now, before) in self.natural[f].iter_mut().zip(&before) {
                for (n, b) in now.iter_mut().zip(before) {
                    *n = (1.0 - rate) * b + rate * *n;
                }
            }
            self.update_elements(f, 0..self.lowered.program.factors[f].elements())?;
        }
        Ok(())
    }

    /// Each variable's part of the ELBO: its expected log density given its parents plus the entropy of its factor.
    pub(crate) fn elbo_terms(&self) -> Vec<(String, f64)> {
        let mut terms = vec![0.0; self.lowered.program.owners.len()];
        let mut value = [0.0];
        for term in &self.plan.terms {
            value[0] = 0.0;
            self.contract(term, None, &mut value);
            terms[term.owner] += value[0];
        }
        for (factor, entropy) in self.lowered.program.factors.iter().zip(&self.entropy) {
            terms[factor.owner] += entropy;
        }
        self.lowered.program.owners.iter().cloned().zip(terms).collect()
    }

    /// Of a row-level vector factor: Σ E[xxᵀ] over the rows (up to a factor) and Σ E[xᵀx].
    pub(crate) fn second_moment_summaries(&self, f: FactorId) -> Option<(Vec<f64>, f64)> {
        let crate::factor::Family::NormalVector(d) = self.lowered.program.factors[f].family else { return None };
        let (mut matrix, mut trace) = (None, None);
        for (group, summary) in self.plan.groups.iter().zip(&self.summaries) {
            let seconds: Vec<&Operand> = group
                .operands
                .iter()
                .filter(|o| matches!(o.source, Source::Statistic { factor, statistic: 1 } if factor == f))
                .collect();
            let others = group.operands.iter().any(|o| {
                matches!(o.source, Source::Statistic { .. })
                    && !matches!(o.source, Source::Statistic { factor, statistic: 1 } if factor == f)
            });
            let [second] = seconds[..] else { continue };
            if others {
                continue;
            }
            let pair = &second.index[second.index.len() - 2..];
            let has = |axis| group.index.contains(axis);
            if pair[0] == pair[1] && group.operands.len() == 1 {
                trace = Some(summary.iter().sum::<f64>());
            } else if pair[0] != pair[1] && has(&pair[0]) && has(&pair[1]) && matrix.is_none() {
                // The two axes are the last of the summary; whatever is before them is summed.
                let last = &group.index[group.index.len() - 2..];
                if last == pair {
                    let mut sum = vec![0.0; d * d];
                    for block in summary.chunks_exact(d * d) {
                        sum.iter_mut().zip(block).for_each(|(a, b)| *a += b);
                    }
                    matrix = Some(sum);
                }
            }
        }
        matrix.zip(trace)
    }

    /// Σ |product|: the size of the numbers that the ELBO is summed from, against which rounding is judged.
    pub(crate) fn magnitude(&self) -> f64 {
        let mut value = [0.0];
        let mut total = 0.0;
        for term in &self.plan.terms {
            value[0] = 0.0;
            self.contract(term, None, &mut value);
            total += value[0].abs();
        }
        total + self.entropy.iter().map(|h| h.abs()).sum::<f64>()
    }

    /// The global factor whose update lowers the ELBO most, tried from the present state.
    pub(crate) fn falling_factor(&self) -> Option<String> {
        let mut worst: Option<(f64, String)> = None;
        for &f in &self.plan.global_order {
            let mut trial = self.clone();
            let before = trial.elbo();
            if trial.update_global(f).is_err() {
                continue;
            }
            let change = trial.elbo() - before;
            if change < 0.0 && worst.as_ref().is_none_or(|w| change < w.0) {
                worst = Some((change, self.lowered.program.factors[f].name.clone()));
            }
        }
        worst.map(|w| w.1)
    }

    /// The ELBO, all constants included.
    pub(crate) fn elbo(&self) -> f64 {
        self.elbo_terms().iter().map(|(_, v)| v).sum()
    }

    /// Mean or second moment of a derived quantity: Σ coefficient · Π operands at the given indices.
    pub(crate) fn derived(&self, products: &[(f64, Vec<Operand>)], output: &Operand, shape: &[usize], out: &mut [f64]) {
        let program = &self.lowered.program;
        for (coefficient, operands) in products {
            let inputs: Vec<&Operand> = operands.iter().collect();
            let shapes = |o: &Operand| {
                if matches!(o.source, Source::Summary(_)) { shape.to_vec() } else { program.shape(o.source) }
            };
            let nest = crate::plan::contraction(program, &inputs, Some(output), None, &shapes, &|_| false);
            let moments: Vec<Option<Vec<f64>>> = operands.iter().map(|o| self.moments(o, None)).collect();
            let arrays: Vec<&[f64]> =
                operands.iter().zip(&moments).map(|(o, m)| m.as_deref().unwrap_or_else(|| self.array(o))).collect();
            nest.run(1, &[], &arrays, *coefficient, None, out);
        }
    }

    /// The array behind an operand that is a moment: of all elements, or of those of a chunk of rows.
    pub(super) fn moments(&self, operand: &Operand, rows: Option<&Workspace>) -> Option<Vec<f64>> {
        let Source::Moment { factor: f, power } = operand.source else { return None };
        let factor = &self.lowered.program.factors[f];
        let (natural, statistics) = match rows {
            Some(workspace) if factor.local => (&workspace.natural[f], &workspace.statistics[f]),
            _ => (&self.natural[f], &self.statistics[f]),
        };
        let sizes: Vec<usize> = (0..factor.family.num_statistics()).map(|s| factor.family.statistic_size(s)).collect();
        let part = |arrays: &'_ [Vec<f64>], element: usize| -> Vec<Vec<f64>> {
            let own = arrays.iter().zip(&sizes);
            own.map(|(a, w)| a.get(element * w..(element + 1) * w).map_or_else(Vec::new, <[f64]>::to_vec)).collect()
        };
        let elements = natural[0].len().max(statistics[0].len()) / sizes[0].max(1);
        let mut all = Vec::new();
        for element in 0..elements {
            let (natural, statistics) = (part(natural, element), part(statistics, element));
            let natural: Vec<&[f64]> = natural.iter().map(Vec::as_slice).collect();
            let statistics: Vec<&[f64]> = statistics.iter().map(Vec::as_slice).collect();
            all.extend(crate::factor::moment(factor.family, factor.point, &natural, &statistics, power));
        }
        Some(all)
    }
}
