//! The ELBO with fixed draws as a smooth function of scaled parameters of the Gaussian, and its gradient.

use std::sync::Arc;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};
use nalgebra::{DMatrix, DVector};
use vi_model::inference::VariationalFamily;

use super::categories;
use super::gaussian::{Gaussian, Root, SharedBasis};
use super::noise;
use crate::tape::{Evaluation, Evaluator};

/// How the mean's coordinates are scaled.
#[derive(Debug, Clone)]
pub(crate) enum MeanScale {
    /// One scale for each coordinate.
    Diagonal(Vec<f64>),
    /// A lower triangular matrix P: mean = m₀ + P a.
    Dense(DMatrix<f64>),
}

/// Parameters x = (a, b, c) relative to a Gaussian: mean = m₀ + P a; the diagonal of the root is multiplied by exp b; c are
/// the off-diagonal elements (full rank: of C in L = L₀ C; low rank: of U in units of the diagonal).
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The Gaussian at x = 0 (for full rank and low rank at C = I and U as given).
    pub origin: Gaussian,
    /// P.
    pub mean_scale: MeanScale,
    /// For a full-rank root that is dense within blocks only: whether two free coordinates share a block, `[k, k]`.
    pub blocks: Option<Vec<bool>>,
}

impl Chart {
    /// Number of parameters.
    pub(crate) fn dimension(&self) -> usize {
        let k = self.origin.free.len();
        self.origin.mean.len()
            + match &self.origin.root {
                Root::Diagonal(_) => k,
                Root::Cholesky(_) => k * (k + 1) / 2,
                Root::LowRank { u, .. } => k + k * u.ncols(),
            }
    }

    /// The point that is the origin.
    pub(crate) fn start(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.dimension()];
        if let Root::LowRank { sd, u } = &self.origin.root {
            let (n, k) = (self.origin.mean.len(), sd.len());
            for i in 0..k {
                for r in 0..u.ncols() {
                    x[n + k + i * u.ncols() + r] = u[(i, r)] / sd[i];
                }
            }
        }
        x
    }

    /// The Gaussian at x.
    pub(crate) fn gaussian(&self, x: &[f64]) -> Gaussian {
        let n = self.origin.mean.len();
        let (a, rest) = x.split_at(n);
        let mut mean = self.origin.mean.clone();
        match &self.mean_scale {
            MeanScale::Diagonal(scale) => mean.iter_mut().zip(scale).zip(a).for_each(|((m, s), a)| *m += s * a),
            MeanScale::Dense(p) => {
                let step = p * DVector::from_column_slice(a);
                mean.iter_mut().zip(step.iter()).for_each(|(m, s)| *m += s);
            }
        }
        let k = self.origin.free.len();
        let root = match &self.origin.root {
            Root::Diagonal(sd) => Root::Diagonal(sd.iter().zip(rest).map(|(s, b)| s * b.exp()).collect()),
            Root::Cholesky(l0) => {
                let l0 = MatRef::from_column_major_slice(l0.as_slice(), k, k);
                Root::Cholesky(lower_product(l0, BlockStructure::TriangularLower, &lower(rest, k)))
            }
            Root::LowRank { sd, u } => {
                let r = u.ncols();
                Root::LowRank {
                    sd: sd.iter().zip(rest).map(|(s, b)| s * b.exp()).collect(),
                    u: DMatrix::from_fn(k, r, |i, j| sd[i] * rest[k + i * r + j]),
                }
            }
        };
        Gaussian { mean, free: self.origin.free.clone(), root, categories: Arc::clone(&self.origin.categories) }
    }

    /// Gradient with respect to x from the gradient of the ELBO's Monte Carlo part: `g_mean` = E[∇], `g_root` = E[∇ εᵀ]
    /// (diagonal, lower triangle, or `[k, 1 + rank]` for low rank); with `entropy` the entropy's part is added.
    pub(crate) fn pull_back(&self, x: &[f64], g_mean: &[f64], g_root: &DMatrix<f64>, entropy: bool) -> Vec<f64> {
        let on = f64::from(u8::from(entropy));
        let n = self.origin.mean.len();
        let k = self.origin.free.len();
        let mut out = Vec::with_capacity(x.len());
        match &self.mean_scale {
            MeanScale::Diagonal(scale) => out.extend(scale.iter().zip(g_mean).map(|(s, g)| s * g)),
            MeanScale::Dense(p) => out.extend(p.tr_mul(&DVector::from_column_slice(g_mean)).iter()),
        }
        let rest = &x[n..];
        match &self.origin.root {
            Root::Diagonal(sd) => {
                out.extend((0..k).map(|i| g_root[(i, 0)] * sd[i] * rest[i].exp() + on));
            }
            Root::Cholesky(l0) => {
                let l0 = MatRef::from_column_major_slice(l0.as_slice(), k, k);
                let g = lower_product(l0.transpose(), BlockStructure::TriangularUpper, g_root);
                out.extend((0..k).map(|i| g[(i, i)] * rest[i].exp() + on));
                for i in 0..k {
                    let shared = |j: usize| self.blocks.as_ref().is_none_or(|b| b[i * k + j]);
                    out.extend((0..i).map(|j| if shared(j) { g[(i, j)] } else { 0.0 }));
                }
            }
            Root::LowRank { sd, u } => {
                let r = u.ncols();
                let spread: Vec<f64> = sd.iter().zip(rest).map(|(s, b)| s * b.exp()).collect();
                let current = DMatrix::from_fn(k, r, |i, j| sd[i] * rest[k + i * r + j]);
                // Σ⁻¹U = D⁻¹ top R⁻ᵀ, and the diagonal of Σ⁻¹ = D⁻¹ (I − top topᵀ) D⁻¹.
                let basis = SharedBasis::new(&spread, &current);
                let solved = &basis.top * basis.bottom.transpose();
                for i in 0..k {
                    out.push(g_root[(i, 0)] * spread[i] + on * (1.0 - basis.top.row(i).norm_squared()));
                }
                for i in 0..k {
                    out.extend((0..r).map(|j| sd[i] * (g_root[(i, 1 + j)] + on * solved[(i, j)] / spread[i])));
                }
            }
        }
        out
    }
}

impl Chart {
    /// Replaces the part of a gradient that belongs to the logits of categorical factors by that of the ELBO, entropy
    /// included; `g_mean` = E\[∇ log p\] has their derivatives with respect to the weights.
    pub(crate) fn with_categories(&self, x: &[f64], g_mean: &[f64], gradient: &mut [f64]) {
        let categories = &self.origin.categories;
        if categories.is_empty() {
            return;
        }
        let own = categories::gradient(categories, &self.logits(x), g_mean);
        for c in categories.iter().flat_map(categories::Category::range) {
            gradient[c] = self.weight_scale(c) * own[c];
        }
    }

    /// The mean at x, right only where it is a logit.
    fn logits(&self, x: &[f64]) -> Vec<f64> {
        let mut mean = self.origin.mean.clone();
        for c in self.origin.categories.iter().flat_map(categories::Category::range) {
            mean[c] += self.weight_scale(c) * x[c];
        }
        mean
    }

    /// How far a logit moves with its parameter: no other coordinate depends on that.
    fn weight_scale(&self, c: usize) -> f64 {
        match &self.mean_scale {
            MeanScale::Diagonal(scale) => scale[c],
            MeanScale::Dense(p) => p[(c, c)],
        }
    }
}

/// Unpacks C: its diagonal exp(b), then the strict lower triangle row by row.
fn lower(x: &[f64], k: usize) -> DMatrix<f64> {
    let mut c = DMatrix::zeros(k, k);
    let mut at = k;
    for i in 0..k {
        for j in 0..i {
            c[(i, j)] = x[at];
            at += 1;
        }
        c[(i, i)] = x[i].exp();
    }
    c
}

/// The lower triangle of A B, B lower triangular and A `[k, k]` of the structure named.
fn lower_product(a: MatRef<'_, f64>, structure: BlockStructure, b: &DMatrix<f64>) -> DMatrix<f64> {
    let k = b.nrows();
    let mut out = DMatrix::zeros(k, k);
    triangular::matmul(
        MatMut::from_column_major_slice_mut(out.as_mut_slice(), k, k),
        BlockStructure::TriangularLower,
        Accum::Replace,
        a,
        structure,
        MatRef::from_column_major_slice(b.as_slice(), k, k),
        BlockStructure::TriangularLower,
        1.0,
        Par::Seq,
    );
    out
}

/// Zeros in the form of E[∇ log p · εᵀ].
pub(crate) fn no_moments(q: &Gaussian) -> DMatrix<f64> {
    let k = q.free.len();
    match &q.root {
        Root::Diagonal(_) => DMatrix::zeros(k, 1),
        Root::Cholesky(_) => DMatrix::zeros(k, k),
        Root::LowRank { u, .. } => DMatrix::zeros(k, 1 + u.ncols()),
    }
}

/// E[∇ log p] and E[∇ log p · εᵀ] in the form that [`Chart::pull_back`] takes.
pub(crate) fn moments(q: &Gaussian, gradients: &[f64], noise: &[f64], draws: usize) -> (Vec<f64>, DMatrix<f64>) {
    let (n, k, w) = (q.mean.len(), q.free.len(), q.noise_dimension());
    let scale = 1.0 / draws as f64;
    let mut mean = vec![0.0; n];
    for g in gradients.chunks(n.max(1)) {
        mean.iter_mut().zip(g).for_each(|(m, g)| *m += g * scale);
    }
    let mut root = no_moments(q);
    if let Root::Cholesky(_) = q.root {
        let chosen: Vec<f64>;
        let g = if k == n {
            gradients
        } else {
            chosen = (0..draws * k).map(|at| gradients[at / k * n + q.free[at % k]]).collect();
            &chosen
        };
        // Columns are draws: G Eᵀ.
        matmul(
            MatMut::from_column_major_slice_mut(root.as_mut_slice(), k, k),
            Accum::Replace,
            MatRef::from_column_major_slice(&g[..draws * k], k, draws),
            MatRef::from_row_major_slice(&noise[..draws * w], draws, w),
            scale,
            Par::Seq,
        );
        for i in 0..k {
            for j in i + 1..k {
                root[(i, j)] = 0.0;
            }
        }
        return (mean, root);
    }
    for s in 0..draws {
        let (g, e) = (&gradients[s * n..(s + 1) * n], &noise[s * w..(s + 1) * w]);
        for i in 0..k {
            let gi = g[q.free[i]] * scale;
            root[(i, 0)] += gi * e[i];
            for r in 1..root.ncols() {
                root[(i, r)] += gi * e[k + r - 1];
            }
        }
    }
    (mean, root)
}

/// The ELBO with fixed standard normals.
#[derive(Debug)]
pub(crate) struct Objective<'a> {
    /// The log joint.
    pub evaluator: &'a Evaluator,
    /// Standard normals `[draws, noise dimension]`.
    pub noise: Vec<f64>,
    /// Number of draws.
    pub draws: usize,
    /// Whether the draws come in opposite pairs.
    paired: bool,
    theta: Vec<f64>,
    evaluation: Evaluation,
    /// E\[∇ log p\] of the last value.
    pub slopes: Vec<f64>,
    /// Standard error of the last value over the draws.
    pub standard_error: f64,
}

impl<'a> Objective<'a> {
    /// With given standard normals.
    pub(crate) fn new(evaluator: &'a Evaluator, noise: Vec<f64>, draws: usize) -> Self {
        let paired = noise::is_paired(&noise, draws, noise.len() / draws.max(1));
        Self {
            evaluator,
            noise,
            draws,
            paired,
            theta: Vec::new(),
            evaluation: Evaluation::default(),
            slopes: Vec::new(),
            standard_error: f64::NAN,
        }
    }

    /// Minus the ELBO at x and its gradient.
    pub(crate) fn negative_elbo(&mut self, chart: &Chart, x: &[f64], gradient: &mut Vec<f64>) -> f64 {
        let q = chart.gaussian(x);
        self.theta.resize(self.draws * q.mean.len(), 0.0);
        q.transform(&self.noise, &mut self.theta);
        let rows = 0..self.evaluator.program().num_rows;
        if self.paired {
            self.evaluator.evaluate_pairs(&self.theta, self.draws, rows, 1.0, &mut self.evaluation);
        } else {
            self.evaluator.evaluate_rows(&self.theta, self.draws, rows, 1.0, true, &mut self.evaluation);
        }
        let values = &self.evaluation.values;
        let mean = values.iter().sum::<f64>() / self.draws as f64;
        let (g_mean, g_root) = moments(&q, &self.evaluation.gradients, &self.noise, self.draws);
        *gradient = chart.pull_back(x, &g_mean, &g_root, true);
        chart.with_categories(x, &g_mean, gradient);
        self.slopes = g_mean;
        gradient.iter_mut().for_each(|g| *g = -*g);
        let elbo = mean + q.entropy();
        // The log weights' spread: what the ELBO's error would be with independent draws.
        let (k, w) = (q.free.len(), q.noise_dimension());
        let mut square = 0.0;
        let mut sum = 0.0;
        for (s, value) in values.iter().enumerate() {
            let e = &self.noise[s * w..s * w + k];
            let weight = value - mean + 0.5 * (e.iter().map(|e| e * e).sum::<f64>() - k as f64);
            sum += weight;
            square += weight * weight;
        }
        let n = self.draws as f64;
        self.standard_error = ((square / n - (sum / n).powi(2)).max(0.0) / n).sqrt();
        -elbo
    }
}

/// The root of a family with given standard deviations.
pub(crate) fn diagonal_root(family: VariationalFamily, sd: &[f64], rank: usize) -> Root {
    match family {
        VariationalFamily::MeanField => Root::Diagonal(sd.to_vec()),
        VariationalFamily::FullRank => Root::Cholesky(DMatrix::from_diagonal(&DVector::from_column_slice(sd))),
        VariationalFamily::LowRank => {
            let u = DMatrix::from_fn(sd.len(), rank, |i, r| {
                // A fixed pattern without symmetry, small beside the diagonal.
                0.1 * sd[i] * ((i * 7 + r * 3 + 1) as f64 * 2.399_963).sin()
            });
            Root::LowRank { sd: sd.to_vec(), u }
        }
    }
}
