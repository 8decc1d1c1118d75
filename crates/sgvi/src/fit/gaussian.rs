//! The Gaussian approximations in unconstrained space: mean-field, full-rank, low-rank plus diagonal.

use std::borrow::Cow;
use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use vi_families::rows::panels::Panels;

use super::categories::{self, Category};

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// The square root of the covariance over the free coordinates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Root {
    /// Standard deviations.
    Diagonal(Vec<f64>),
    /// Lower triangular L with Σ = L Lᵀ.
    Cholesky(DMatrix<f64>),
    /// Σ = diag(sd²) + U Uᵀ, U `[dimension, rank]`.
    LowRank {
        /// Standard deviations of the diagonal part.
        sd: Vec<f64>,
        /// U.
        u: DMatrix<f64>,
    },
}

/// A Gaussian over all coordinates; point coordinates have no spread. Discrete variables that are not summed out have
/// independent categorical factors beside it, whose logits stand among the means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gaussian {
    /// Mean of all coordinates; for categorical factors their logits.
    pub mean: Vec<f64>,
    /// The coordinates that have a spread, in order.
    pub free: Vec<usize>,
    /// Spread over `free`.
    pub root: Root,
    /// The categorical factors.
    pub categories: Arc<[Category]>,
}

impl Gaussian {
    /// The approximation over no coordinates.
    pub(crate) fn none() -> Self {
        Self { mean: Vec::new(), free: Vec::new(), root: Root::Diagonal(Vec::new()), categories: Arc::new([]) }
    }

    /// Number of standard normals that a draw takes.
    pub(crate) fn noise_dimension(&self) -> usize {
        match &self.root {
            Root::LowRank { sd, u } => sd.len() + u.ncols(),
            _ => self.free.len(),
        }
    }

    /// θ at ε = 0: the mean, for categorical factors their probabilities.
    pub(crate) fn center(&self) -> Cow<'_, [f64]> {
        if self.categories.is_empty() {
            return Cow::Borrowed(&self.mean);
        }
        let mut center = self.mean.clone();
        categories::place_probabilities(&self.categories, &mut center);
        Cow::Owned(center)
    }

    /// Draws a value for every element of every categorical factor: its probabilities in `theta` `[draws, dimension]` become
    /// indicators of that value. Returns −log q(z) by element, `[draws, elements]`.
    pub(crate) fn draw_values(&self, theta: &mut [f64], seed: u64) -> Vec<f64> {
        categories::draw_values(&self.categories, theta, self.mean.len(), seed)
    }

    /// Whether a coordinate belongs to a categorical factor.
    pub(crate) fn is_weight(&self) -> Vec<bool> {
        let mut is_weight = vec![false; self.mean.len()];
        self.categories.iter().for_each(|c| is_weight[c.range()].fill(true));
        is_weight
    }

    /// Writes θ = mean + root · ε for every draw; `noise` is `[draws, noise_dimension]`.
    pub(crate) fn transform(&self, noise: &[f64], theta: &mut Vec<f64>) {
        let (n, w) = (self.mean.len(), self.noise_dimension());
        let draws = noise.len().checked_div(w).unwrap_or(theta.len() / n.max(1));
        theta.clear();
        if let Root::Cholesky(l) = &self.root {
            return self.transform_dense(l, noise, draws, theta);
        }
        let center = self.center();
        for s in 0..draws {
            let from = theta.len();
            theta.extend_from_slice(&center);
            let (theta, e) = (&mut theta[from..], &noise[s * w..(s + 1) * w]);
            for (i, &c) in self.free.iter().enumerate() {
                theta[c] += match &self.root {
                    Root::Diagonal(sd) => sd[i] * e[i],
                    Root::Cholesky(_) => 0.0,
                    Root::LowRank { sd, u } => {
                        let k = self.free.len();
                        sd[i] * e[i] + (0..u.ncols()).map(|r| u[(i, r)] * e[k + r]).sum::<f64>()
                    }
                };
            }
        }
    }

    /// θ = mean + L ε for all draws at once.
    fn transform_dense(&self, l: &DMatrix<f64>, noise: &[f64], draws: usize, theta: &mut Vec<f64>) {
        let (n, k) = (self.mean.len(), self.free.len());
        let panels = Panels::new(k, k, |i, j| if j <= i { l[(i, j)] } else { 0.0 });
        if k == n {
            theta.resize(draws * n, 0.0);
            panels.multiply(0..k, noise, draws, theta);
            for theta in theta.chunks_exact_mut(n.max(1)) {
                theta.iter_mut().zip(&self.mean).for_each(|(t, m)| *t += m);
            }
            return;
        }
        let center = self.center();
        let mut steps = vec![0.0; draws * k];
        panels.multiply(0..k, noise, draws, &mut steps);
        for s in 0..draws {
            let from = theta.len();
            theta.extend_from_slice(&center);
            for (&c, step) in self.free.iter().zip(&steps[s * k..(s + 1) * k]) {
                theta[from + c] += step;
            }
        }
    }

    /// Draws as many points as there are rows of noise, point-only models included.
    pub(crate) fn points(&self, noise: &[f64], draws: usize) -> Vec<f64> {
        let mut theta = vec![0.0; draws * self.mean.len()];
        self.transform(noise, &mut theta);
        theta
    }

    /// ½ log|Σ| + n/2 · (1 + ln 2π), and the entropies of the categorical factors.
    pub(crate) fn entropy(&self) -> f64 {
        self.half_log_determinant() + 0.5 * self.free.len() as f64 * (1.0 + LN_TWO_PI) + self.discrete_entropy()
    }

    /// The entropies of the categorical factors.
    pub(crate) fn discrete_entropy(&self) -> f64 {
        let center = self.center();
        self.categories.iter().map(|c| categories::entropy(&center[c.range()])).sum()
    }

    fn half_log_determinant(&self) -> f64 {
        match &self.root {
            Root::Diagonal(sd) => sd.iter().map(|s| s.ln()).sum(),
            Root::Cholesky(l) => l.diagonal().iter().map(|s| s.abs().ln()).sum(),
            Root::LowRank { sd, u } => {
                sd.iter().map(|s| s.ln()).sum::<f64>() + SharedBasis::new(sd, u).half_log_determinant
            }
        }
    }

    /// For every draw, −log q of the Gaussian split over the free coordinates: `[draws, free]`.
    pub(crate) fn surprise(&self, noise: &[f64], draws: usize) -> Vec<f64> {
        let (k, w) = (self.free.len(), self.noise_dimension());
        let mut out = Vec::with_capacity(draws * k);
        match &self.root {
            Root::Diagonal(_) | Root::Cholesky(_) => {
                let constants: Vec<f64> = (0..k)
                    .map(|i| match &self.root {
                        Root::Cholesky(l) => l[(i, i)].abs(),
                        Root::Diagonal(sd) | Root::LowRank { sd, .. } => sd[i],
                    })
                    .map(|scale| scale.ln() + 0.5 * LN_TWO_PI)
                    .collect();
                for e in noise.chunks_exact(w.max(1)).take(draws) {
                    out.extend(e.iter().zip(&constants).map(|(e, c)| 0.5 * e * e + c));
                }
            }
            Root::LowRank { sd, u } => {
                // With z = D (e₁ + W e₂): zᵀ Σ⁻¹ z = min over s of ‖e₁ − W s‖² + ‖e₂ + s‖², the squares of a projection.
                let constant = self.half_log_determinant() / k as f64 + 0.5 * LN_TWO_PI;
                let basis = SharedBasis::new(sd, u);
                for e in noise.chunks_exact(w.max(1)).take(draws) {
                    let (own, shared) = e.split_at(k);
                    let (own, shared) = (DVector::from_column_slice(own), DVector::from_column_slice(shared));
                    let projected = basis.top.tr_mul(&own) - basis.bottom.tr_mul(&shared);
                    let rest = shared + &basis.bottom * &projected;
                    let own = own - &basis.top * projected;
                    let even = 0.5 * rest.norm_squared() / k as f64 + constant;
                    out.extend(own.iter().map(|r| 0.5 * r * r + even));
                }
            }
        }
        out
    }

    /// Σ⁻¹ z over the free coordinates.
    pub(crate) fn solve(&self, z: &DVector<f64>) -> DVector<f64> {
        match &self.root {
            Root::Diagonal(sd) => DVector::from_fn(z.len(), |i, _| z[i] / (sd[i] * sd[i])),
            Root::Cholesky(l) => {
                let half = l.solve_lower_triangular(z).unwrap_or_else(|| DVector::from_element(z.len(), f64::NAN));
                l.transpose().solve_upper_triangular(&half).unwrap_or(half)
            }
            Root::LowRank { sd, u } => {
                // Woodbury: Σ⁻¹ z = D⁻¹ (I − top topᵀ) D⁻¹ z.
                let top = SharedBasis::new(sd, u).top;
                let dz = DVector::from_fn(z.len(), |i, _| z[i] / sd[i]);
                let rest = &dz - &top * top.tr_mul(&dz);
                DVector::from_fn(z.len(), |i, _| rest[i] / sd[i])
            }
        }
    }

    /// Marginal variances of the free coordinates.
    pub(crate) fn variances(&self) -> Vec<f64> {
        match &self.root {
            Root::Diagonal(sd) => sd.iter().map(|s| s * s).collect(),
            Root::Cholesky(l) => (0..l.nrows()).map(|i| l.row(i).norm_squared()).collect(),
            Root::LowRank { sd, u } => (0..sd.len()).map(|i| sd[i] * sd[i] + u.row(i).norm_squared()).collect(),
        }
    }

    /// Covariance of two free coordinates.
    pub(crate) fn covariance(&self, i: usize, j: usize) -> f64 {
        match &self.root {
            Root::Diagonal(sd) => {
                if i == j {
                    sd[i] * sd[i]
                } else {
                    0.0
                }
            }
            Root::Cholesky(l) => (0..=i.min(j)).map(|k| l[(i, k)] * l[(j, k)]).sum(),
            Root::LowRank { sd, u } => u.row(i).dot(&u.row(j)) + if i == j { sd[i] * sd[i] } else { 0.0 },
        }
    }
}

/// The thin factors of \[W; I\] = Q R with W = D⁻¹U, D the standard deviations of the diagonal part: Σ = D (I + W Wᵀ) D, whose
/// inverse and determinant they give without the squares of W, which lose all digits where a coordinate has hardly any spread
/// of its own.
pub(super) struct SharedBasis {
    /// The first rows of Q, `[dimension, rank]`: W (I + WᵀW)⁻¹ Wᵀ = top topᵀ.
    pub(super) top: DMatrix<f64>,
    /// The last rows of Q, `[rank, rank]`: R⁻¹.
    pub(super) bottom: DMatrix<f64>,
    /// ½ log |I + W Wᵀ| = Σ log Rᵢᵢ.
    pub(super) half_log_determinant: f64,
}

impl SharedBasis {
    /// Gram–Schmidt, each column twice.
    pub(super) fn new(sd: &[f64], u: &DMatrix<f64>) -> Self {
        let (k, rank) = u.shape();
        let mut q =
            DMatrix::from_fn(
                k + rank,
                rank,
                |i, r| {
                    if i < k { u[(i, r)] / sd[i] } else { f64::from(u8::from(i - k == r)) }
                },
            );
        let mut half_log_determinant = 0.0;
        for r in 0..rank {
            let mut column = q.column(r).into_owned();
            for _ in 0..2 {
                for before in 0..r {
                    let before = q.column(before);
                    column -= before * before.dot(&column);
                }
            }
            let norm = column.norm();
            half_log_determinant += norm.ln();
            q.set_column(r, &(column / norm));
        }
        Self { top: q.rows(0, k).into_owned(), bottom: q.rows(k, rank).into_owned(), half_log_determinant }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::Cholesky;

    use super::*;

    #[test]
    fn low_rank_agrees_with_its_dense_covariance() {
        let sd = vec![0.7, 1.1, 0.4];
        let u = DMatrix::from_row_slice(3, 2, &[0.3, -0.2, 0.8, 0.1, -0.5, 0.6]);
        let low = Gaussian {
            mean: vec![0.0; 3],
            free: vec![0, 1, 2],
            root: Root::LowRank { sd: sd.clone(), u: u.clone() },
            categories: Arc::new([]),
        };
        let covariance =
            &u * u.transpose() + DMatrix::from_diagonal(&DVector::from_iterator(3, sd.iter().map(|s| s * s)));
        let Some(c) = Cholesky::new(covariance.clone()) else { panic!("not positive definite") };
        let full = Gaussian { root: Root::Cholesky(c.l()), ..low.clone() };
        assert!((low.entropy() - full.entropy()).abs() < 1e-12);
        let z = DVector::from_vec(vec![0.2, -0.7, 0.4]);
        assert!((low.solve(&z) - full.solve(&z)).norm() < 1e-12);
        for i in 0..3 {
            assert!((low.variances()[i] - covariance[(i, i)]).abs() < 1e-12);
            for j in 0..3 {
                assert!((low.covariance(i, j) - covariance[(i, j)]).abs() < 1e-12);
                assert!((full.covariance(i, j) - covariance[(i, j)]).abs() < 1e-12);
            }
        }
        let noise = super::super::noise::independent(1, 4, 5);
        let surprise = low.surprise(&noise, 4);
        let theta = low.points(&noise, 4);
        for s in 0..4 {
            let z = DVector::from_row_slice(&theta[s * 3..s * 3 + 3]);
            let wanted = 0.5 * z.dot(&c.solve(&z)) + full.entropy() - 1.5;
            assert!((surprise[s * 3..s * 3 + 3].iter().sum::<f64>() - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn a_coordinate_without_spread_of_its_own_is_no_trouble() {
        let u = DMatrix::from_row_slice(3, 2, &[0.3, -0.2, 0.8, 0.1, -0.5, 0.6]);
        let of = |own: f64| Gaussian {
            mean: vec![0.0; 3],
            free: vec![0, 1, 2],
            root: Root::LowRank { sd: vec![own, 1.1, 0.4], u: u.clone() },
            categories: Arc::new([]),
        };
        let (tiny, small) = (of(1e-12), of(1e-5));
        let noise = super::super::noise::independent(1, 50, 5);
        let total = |q: &Gaussian| q.surprise(&noise, 50).iter().sum::<f64>() / 50.0;
        assert!((total(&tiny) - total(&small)).abs() < 1e-4, "{} {}", total(&tiny), total(&small));
        assert!((tiny.entropy() - small.entropy()).abs() < 1e-8);
    }
}
