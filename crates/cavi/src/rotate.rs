//! Parameter expansion of products aᵀb: rotations that leave the likelihood alone and loosen the priors.
//!
//! In aᵀb = (Ta)ᵀ(T⁻ᵀb) any invertible T gives the same likelihood, and coordinate ascent moves along T only in small steps.
//! The T that makes the second moment of b the identity and that of a diagonal is the optimum for a standard normal prior of b
//! and independent coordinates of a (Luttinen & Ilin 2010, §4). A rotation is followed by an ordinary iteration and kept
//! only if the ELBO is no lower than before.

use nalgebra::{Cholesky, DMatrix, SymmetricEigen};
use vi_run::executor::{CheckpointError, Decoder, Encoder, Stored};

use crate::engine::Engine;
use crate::error::CaviError;
use crate::factor::Family;
use crate::program::{FactorId, Source};

/// Iterations before the first rotation: which coordinates are in use is decided by then.
const FIRST: usize = 20;
/// Longest pause between rotations that did not help, in iterations.
const LONGEST_PAUSE: usize = 200;

/// Two vector factors whose product enters a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Product {
    left: FactorId,
    right: FactorId,
    dimension: usize,
}

/// The rotations of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rotations {
    products: Vec<Product>,
    wait: usize,
    pause: usize,
}

impl Rotations {
    /// Finds the products of two latent vectors.
    pub(crate) fn new(engine: &Engine) -> Self {
        let program = &engine.lowered.program;
        let mut products = Vec::new();
        let vector = |f: FactorId| match program.factors[f] {
            ref factor if factor.members.len() != 1 || factor.point || factor.coupled => None,
            ref factor => match factor.family {
                Family::NormalVector(d) => Some(d),
                _ => None,
            },
        };
        for term in &program.terms {
            let seconds: Vec<_> = term
                .operands
                .iter()
                .filter_map(|o| match o.source {
                    Source::Statistic { factor, statistic: 1 } => {
                        let axes = o.index.len().checked_sub(2).map(|from| &o.index[from..]);
                        vector(factor).zip(axes).map(|(d, axes)| (factor, d, axes))
                    }
                    _ => None,
                })
                .collect();
            if let [(a, d, first), (b, e, second)] = seconds[..]
                && d == e
                && first == second
                && first[0] != first[1]
            {
                // The row-level one (or else the later one) is made white.
                let (left, right) = if program.factors[a].local { (b, a) } else { (a, b) };
                let product = Product { left, right, dimension: d };
                if !program.factors[left].local && !products.contains(&product) {
                    products.push(product);
                }
            }
        }
        Self { products, wait: FIRST, pause: 4 }
    }

    /// Writes when the next rotation is due; the products are those of the model.
    pub(crate) fn save(&self, encoder: &mut Encoder) {
        (self.wait, self.pause).store(encoder);
    }

    /// Reads what [`Rotations::save`] wrote.
    pub(crate) fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        (self.wait, self.pause) = Stored::restore(decoder)?;
        Ok(())
    }

    /// Tries the rotations when their turn has come. Returns the ELBO reached if it is no lower than `last`; otherwise the
    /// engine is as it was.
    pub(crate) fn try_all(&mut self, engine: &mut Engine, last: f64) -> Result<Option<f64>, CaviError> {
        if self.products.is_empty() || self.wait > 0 {
            self.wait = self.wait.saturating_sub(1);
            return Ok(None);
        }
        let before = engine.clone();
        let mut reached = None;
        if self.products.iter().all(|p| rotate(engine, *p).is_some()) {
            let neighbours = self.neighbours(engine);
            let settled: Result<(), CaviError> = neighbours.into_iter().try_for_each(|f| engine.update_global(f));
            reached = settled.and_then(|()| engine.step(None)).ok();
        }
        match reached {
            Some(elbo) if elbo >= last => {
                self.pause = 4;
                self.wait = self.pause;
                Ok(Some(elbo))
            }
            _ => {
                *engine = before;
                self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                self.wait = self.pause;
                Ok(None)
            }
        }
    }

    /// Global factors in the priors of the rotated ones, such as precisions of their coordinates.
    fn neighbours(&self, engine: &Engine) -> Vec<FactorId> {
        let rotated = |f: FactorId| self.products.iter().any(|p| p.left == f || p.right == f);
        let mut found = Vec::new();
        for term in &engine.plan.terms {
            let factors: Vec<FactorId> = term
                .operands
                .iter()
                .filter_map(|o| if let Source::Statistic { factor, .. } = o.source { Some(factor) } else { None })
                .collect();
            if term.group.is_none() && factors.iter().any(|f| rotated(*f)) {
                found.extend(factors.into_iter().filter(|f| !rotated(*f) && !engine.lowered.program.factors[*f].local));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Rotates one product; `None` where a second moment is singular.
fn rotate(engine: &mut Engine, product: Product) -> Option<()> {
    let d = product.dimension;
    let right = engine.mean_second_moment(product.right)?;
    let left = engine.mean_second_moment(product.left)?;
    let lower = Cholesky::new(DMatrix::from_row_slice(d, d, &right))?.l();
    let spread = lower.transpose() * DMatrix::from_row_slice(d, d, &left) * &lower;
    let eigen = SymmetricEigen::new((&spread + spread.transpose()) * 0.5);
    let transform = eigen.eigenvectors.transpose() * lower.transpose();
    let inverse = transform.clone().try_inverse()?;
    // a′ = Ta has natural parameters T⁻ᵀh and T⁻ᵀJT⁻¹; b′ = T⁻ᵀb has Th and TJTᵀ.
    engine.transform_natural(product.left, &inverse.transpose());
    if !engine.lowered.program.factors[product.right].local {
        engine.transform_natural(product.right, &transform);
    }
    let refresh = |engine: &mut Engine, f: FactorId| {
        let elements = engine.lowered.program.factors[f].elements();
        engine.update_elements(f, 0..elements).ok()
    };
    refresh(engine, product.left)?;
    if engine.lowered.program.factors[product.right].local { Some(()) } else { refresh(engine, product.right) }
}

impl Engine {
    /// The mean of E[xxᵀ] over the elements of a vector factor, `[d, d]`; of row-level ones from a summary.
    fn mean_second_moment(&self, f: FactorId) -> Option<Vec<f64>> {
        let factor = &self.lowered.program.factors[f];
        let Family::NormalVector(d) = factor.family else { return None };
        if !factor.local {
            let elements = factor.elements() as f64;
            let mut mean = vec![0.0; d * d];
            for second in self.statistics[f][1].chunks_exact(d * d) {
                mean.iter_mut().zip(second).for_each(|(m, s)| *m += s / elements);
            }
            return Some(mean);
        }
        // The trace over all rows stands in the factor's own prior; another summary has the matrix.
        let (matrix, trace) = self.second_moment_summaries(f)?;
        let sum: f64 = (0..d).map(|i| matrix[i * d + i]).sum();
        let scale = trace / (sum * self.total_weight() * factor.elements() as f64);
        Some(matrix.iter().map(|m| m * scale).collect())
    }

    /// x ← Mx in natural parameters: h ← Mh and Q ← MQMᵀ for every element.
    fn transform_natural(&mut self, f: FactorId, by: &DMatrix<f64>) {
        let d = by.nrows();
        let [linear, quadratic, ..] = &mut self.natural[f][..] else { return };
        for (h, q) in linear.chunks_exact_mut(d).zip(quadratic.chunks_exact_mut(d * d)) {
            let moved = by * DMatrix::from_row_slice(d, 1, h);
            h.copy_from_slice(moved.as_slice());
            let full = DMatrix::from_row_slice(d, d, q);
            let moved = by * (&full + full.transpose()) * 0.5 * by.transpose();
            for i in 0..d {
                for j in 0..d {
                    q[i * d + j] = moved[(i, j)];
                }
            }
        }
    }
}
