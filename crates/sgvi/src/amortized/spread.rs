//! Expectations of normals whose mean is affine in amortised variables: what the spread of these adds to the terms.

use super::part::Part;
use super::program::{Level, Owner, Program, SlotId, Spread};
use crate::network::vectorize::vectorized;

/// G = J·diag(w)·Jᵀ for the coordinates that share a factor, with w = 1/s² (zero for missing cells), and its adjoint.
struct Gram {
    weights: Vec<f32>,
    /// `[num_coordinates, num_coordinates]`; coordinates with independent factors have zeros between them.
    matrix: Vec<f64>,
    adjoint: Vec<f64>,
}

impl Gram {
    fn new(size: usize, width: usize) -> Self {
        Self { weights: vec![0.0; width], matrix: vec![0.0; size * size], adjoint: vec![0.0; size * size] }
    }

    fn fill(&mut self, jacobian: &[f32], sd: &[f32], data: Option<&[f32]>, pairs: &[(usize, usize)], size: usize) {
        let width = self.weights.len();
        for (p, weight) in self.weights.iter_mut().enumerate() {
            let s = sd[if sd.len() == 1 { 0 } else { p }];
            let present = data.is_none_or(|data| !data[p].is_nan());
            *weight = if present { 1.0 / (s * s) } else { 0.0 };
        }
        for &(i, j) in pairs {
            let (a, b) = (&jacobian[i * width..(i + 1) * width], &jacobian[j * width..(j + 1) * width]);
            let value = weighted_dot(a, b, &self.weights);
            self.matrix[i * size + j] = value;
            self.matrix[j * size + i] = value;
        }
        self.adjoint.fill(0.0);
    }

    /// Adds what the adjoint implies for J and s.
    fn backward(
        &self,
        jacobian: &[f32],
        sd: &[f32],
        pairs: &[(usize, usize)],
        by_jacobian: &mut [f32],
        by_sd: &mut [f32],
    ) {
        let (width, size) = (self.weights.len(), jacobian.len() / self.weights.len().max(1));
        let mut by_weight = vec![0.0_f32; width];
        for &(i, j) in pairs {
            let slope = self.adjoint[i * size + j] as f32;
            let (a, b) = (&jacobian[i * width..(i + 1) * width], &jacobian[j * width..(j + 1) * width]);
            // Both of a pair's places in the matrix hold the adjoint.
            let twice = if i == j { 1.0 } else { 2.0 };
            add_weighted_product(&mut by_weight, twice * slope, a, b);
            if !by_jacobian.is_empty() {
                add_weighted_product(&mut by_jacobian[i * width..(i + 1) * width], 2.0 * slope, &self.weights, b);
                if i != j {
                    add_weighted_product(&mut by_jacobian[j * width..(j + 1) * width], 2.0 * slope, &self.weights, a);
                }
            }
        }
        if by_sd.is_empty() {
            return;
        }
        for (p, (&slope, &weight)) in by_weight.iter().zip(&self.weights).enumerate() {
            let at = if sd.len() == 1 { 0 } else { p };
            by_sd[at] -= 2.0 * slope * weight / sd[at];
        }
    }
}

impl Part {
    /// Adds −½ Σ_p Var_q(m_p(z)) / s_p² to the terms that [`Part::bound`] evaluated at the means, and its derivatives.
    ///
    /// `seeds`, one per row, are the factors on the derivatives.
    pub(super) fn spread_terms(&mut self, program: &Program, beta: f32, seeds: Option<&[f32]>) {
        let pairs = coupled_coordinates(program);
        for spread in &program.spreads {
            self.spread_term(program, spread, &pairs, beta, seeds);
        }
    }

    fn spread_term(
        &mut self,
        program: &Program,
        spread: &Spread,
        pairs: &[(usize, usize)],
        beta: f32,
        seeds: Option<&[f32]>,
    ) {
        let size = self.num_coordinates;
        let width = program.slots[spread.jacobian].width;
        let (sd_slot, sd_width) = (program.slots[spread.sd], program.slots[spread.sd].width);
        let jacobian = std::mem::take(&mut self.values[spread.jacobian]);
        let mut by_jacobian = std::mem::take(&mut self.adjoints[spread.jacobian]);
        let mut by_sd = std::mem::take(&mut self.adjoints[spread.sd]);
        let data: Option<SlotId> = match spread.owner {
            Owner::Observed(index) => Some(program.observed[index].data),
            Owner::Latent(_) => None,
        };
        let mut shared: Option<Gram> = None;
        let mut own = Gram::new(size, width);
        for row in 0..self.rows.len() {
            let sd_place = if sd_slot.level == Level::Global { 0 } else { row };
            let sd = &self.values[spread.sd][sd_place * sd_width..(sd_place + 1) * sd_width];
            let data = data.map(|slot| &self.values[slot][row * width..(row + 1) * width]);
            // The matrix is the same in all complete rows where s does not differ between them.
            let alone = sd_slot.level != Level::Global || data.is_some_and(|data| data.iter().any(|x| x.is_nan()));
            let gram = if alone {
                own.fill(&jacobian, sd, data, pairs, size);
                &mut own
            } else {
                shared.get_or_insert_with(|| {
                    let mut gram = Gram::new(size, width);
                    gram.fill(&jacobian, sd, None, pairs, size);
                    gram
                })
            };
            let (seed, factor) = match spread.owner {
                Owner::Observed(_) => (seeds.map_or(0.0, |seeds| seeds[row]), 1.0),
                Owner::Latent(_) => (seeds.map_or(0.0, |seeds| seeds[row]), beta),
            };
            let slope = -0.5 * f64::from(seed * factor);
            let mut trace = 0.0;
            let mut offset = 0;
            for (index, latent) in program.latents.iter().enumerate() {
                let d = latent.width;
                let parameter_width = program.slots[latent.parameters].width;
                let place = if program.slots[latent.parameters].level == Level::Global { 0 } else { row };
                let parameters =
                    &self.values[latent.parameters][place * parameter_width..(place + 1) * parameter_width];
                let scales = &self.scales[index][place * d..(place + 1) * d];
                let target = &mut self.adjoints[latent.parameters];
                let adjoint = if seeds.is_some() && !target.is_empty() {
                    &mut target[place * parameter_width..(place + 1) * parameter_width]
                } else {
                    &mut []
                };
                let root = |i: usize, j: usize| {
                    if i == j { f64::from(scales[i]) } else { f64::from(parameters[d + i * (i + 1) / 2 + j]) }
                };
                let at = |i: usize, j: usize| (offset + i) * size + offset + j;
                for i in 0..d {
                    for j in if latent.full { 0..i + 1 } else { i..i + 1 } {
                        // (G·A)_ij and (A·Aᵀ)_ij
                        let (mut product, mut covariance) = (0.0, 0.0);
                        if latent.full {
                            (j..d).for_each(|k| product += gram.matrix[at(i, k)] * root(k, j));
                            (0..=j).for_each(|k| covariance += root(i, k) * root(j, k));
                        } else {
                            product = gram.matrix[at(i, i)] * root(i, i);
                            covariance = root(i, i) * root(i, i);
                        }
                        trace += root(i, j) * product;
                        gram.adjoint[at(i, j)] += slope * covariance;
                        if !adjoint.is_empty() {
                            let derivative = 2.0 * slope * product;
                            if i == j {
                                adjoint[latent.diagonal(i)] += (derivative * root(i, i)) as f32;
                            } else {
                                adjoint[d + i * (i + 1) / 2 + j] += derivative as f32;
                            }
                        }
                    }
                }
                offset += d;
            }
            match spread.owner {
                Owner::Observed(index) => self.log_likelihoods[index][row] -= 0.5 * trace,
                Owner::Latent(index) => self.divergences[index][row] += 0.5 * trace,
            }
            if alone && seeds.is_some() {
                let sd = &self.values[spread.sd][sd_place * sd_width..(sd_place + 1) * sd_width];
                let target =
                    if by_sd.is_empty() { &mut [] } else { &mut by_sd[sd_place * sd_width..(sd_place + 1) * sd_width] };
                own.backward(&jacobian, sd, pairs, &mut by_jacobian, target);
            }
        }
        if let Some(gram) = shared.filter(|_| seeds.is_some()) {
            gram.backward(&jacobian, &self.values[spread.sd][..sd_width], pairs, &mut by_jacobian, &mut by_sd);
        }
        self.values[spread.jacobian] = jacobian;
        self.adjoints[spread.jacobian] = by_jacobian;
        self.adjoints[spread.sd] = by_sd;
    }
}

/// Pairs (i, j) with j ≤ i of coordinates that are not independent under q.
fn coupled_coordinates(program: &Program) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut offset = 0;
    for latent in &program.latents {
        for i in 0..latent.width {
            let first = if latent.full { 0 } else { i };
            pairs.extend((first..=i).map(|j| (offset + i, offset + j)));
        }
        offset += latent.width;
    }
    pairs
}

vectorized! {
    /// Σ a·b·w in a fixed order, in sixteen lanes.
    fn weighted_dot(a: &[f32], b: &[f32], weights: &[f32]) -> f64 {
        let n = weights.len();
        let (a, b) = (&a[..n], &b[..n]);
        let mut lanes = [0.0_f32; 16];
        let whole = n / 16 * 16;
        for start in (0..whole).step_by(16) {
            for lane in 0..16 {
                lanes[lane] += a[start + lane] * b[start + lane] * weights[start + lane];
            }
        }
        for i in whole..n {
            lanes[i - whole] += a[i] * b[i] * weights[i];
        }
        lanes.iter().map(|&lane| f64::from(lane)).sum()
    }
}

vectorized! {
    /// target += factor·a∘b
    fn add_weighted_product(target: &mut [f32], factor: f32, a: &[f32], b: &[f32]) {
        for ((t, &a), &b) in target.iter_mut().zip(a).zip(b) {
            *t += factor * a * b;
        }
    }
}
