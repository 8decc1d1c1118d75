//! The Gaussian approximations in unconstrained space: mean-field, full-rank, low-rank plus diagonal.

use nalgebra::{Cholesky, DMatrix, DVector};
use vi_families::rows::panels::Panels;

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// The square root of the covariance over the free coordinates.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
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

/// A Gaussian over all coordinates; point coordinates have no spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// Mean of all coordinates.
    pub mean: Vec<f64>,
    /// The coordinates that have a spread, in order.
    pub free: Vec<usize>,
    /// Spread over `free`.
    pub root: Root,
}

impl Gaussian {
    /// The approximation over no coordinates.
    pub fn none() -> Self {
        Self { mean: Vec::new(), free: Vec::new(), root: Root::Diagonal(Vec::new()) }
    }

    /// Number of standard normals that a draw takes.
    pub fn noise_dimension(&self) -> usize {
        match &self.root {
            Root::LowRank { sd, u } => sd.len() + u.ncols(),
            _ => self.free.len(),
        }
    }

    /// Writes θ = mean + root · ε for every draw; `noise` is `[draws, noise_dimension]`.
    pub fn transform(&self, noise: &[f64], theta: &mut Vec<f64>) {
        let (n, w) = (self.mean.len(), self.noise_dimension());
        let draws = noise.len().checked_div(w).unwrap_or(theta.len() / n.max(1));
        theta.clear();
        if let Root::Cholesky(l) = &self.root {
            return self.transform_dense(l, noise, draws, theta);
        }
        for s in 0..draws {
            let from = theta.len();
            theta.extend_from_slice(&self.mean);
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
        let mut steps = vec![0.0; draws * k];
        panels.multiply(0..k, noise, draws, &mut steps);
        for s in 0..draws {
            let from = theta.len();
            theta.extend_from_slice(&self.mean);
            for (&c, step) in self.free.iter().zip(&steps[s * k..(s + 1) * k]) {
                theta[from + c] += step;
            }
        }
    }

    /// Draws as many points as there are rows of noise, point-only models included.
    pub fn points(&self, noise: &[f64], draws: usize) -> Vec<f64> {
        let mut theta = vec![0.0; draws * self.mean.len()];
        self.transform(noise, &mut theta);
        theta
    }

    /// ½ log|Σ| + n/2 · (1 + ln 2π).
    pub fn entropy(&self) -> f64 {
        self.half_log_determinant() + 0.5 * self.free.len() as f64 * (1.0 + LN_TWO_PI)
    }

    fn half_log_determinant(&self) -> f64 {
        match &self.root {
            Root::Diagonal(sd) => sd.iter().map(|s| s.ln()).sum(),
            Root::Cholesky(l) => l.diagonal().iter().map(|s| s.abs().ln()).sum(),
            Root::LowRank { sd, u } => {
                sd.iter().map(|s| s.ln()).sum::<f64>()
                    + capacitance(sd, u).map_or(f64::NAN, |c| c.l().diagonal().iter().map(|x| x.ln()).sum::<f64>())
            }
        }
    }

    /// For every draw, −log q split over the free coordinates: `[draws, free]`.
    pub fn surprise(&self, noise: &[f64], draws: usize) -> Vec<f64> {
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
                let constant = self.half_log_determinant() / k as f64 + 0.5 * LN_TWO_PI;
                for s in 0..draws {
                    let e = &noise[s * w..(s + 1) * w];
                    let z = DVector::from_fn(k, |i, _| {
                        sd[i] * e[i] + (0..u.ncols()).map(|r| u[(i, r)] * e[k + r]).sum::<f64>()
                    });
                    let solved = self.solve(&z);
                    out.extend((0..k).map(|i| 0.5 * z[i] * solved[i] + constant));
                }
            }
        }
        out
    }

    /// Σ⁻¹ z over the free coordinates.
    pub fn solve(&self, z: &DVector<f64>) -> DVector<f64> {
        match &self.root {
            Root::Diagonal(sd) => DVector::from_fn(z.len(), |i, _| z[i] / (sd[i] * sd[i])),
            Root::Cholesky(l) => {
                let half = l.solve_lower_triangular(z).unwrap_or_else(|| DVector::from_element(z.len(), f64::NAN));
                l.transpose().solve_upper_triangular(&half).unwrap_or(half)
            }
            Root::LowRank { sd, u } => {
                // Woodbury: (D + UUᵀ)⁻¹ z = D⁻¹z − D⁻¹U (I + UᵀD⁻¹U)⁻¹ UᵀD⁻¹z.
                let dz = DVector::from_fn(z.len(), |i, _| z[i] / (sd[i] * sd[i]));
                let Some(c) = capacitance(sd, u) else { return DVector::from_element(z.len(), f64::NAN) };
                let inner = u * c.solve(&(u.transpose() * &dz));
                DVector::from_fn(z.len(), |i, _| dz[i] - inner[i] / (sd[i] * sd[i]))
            }
        }
    }

    /// Marginal variances of the free coordinates.
    pub fn variances(&self) -> Vec<f64> {
        match &self.root {
            Root::Diagonal(sd) => sd.iter().map(|s| s * s).collect(),
            Root::Cholesky(l) => (0..l.nrows()).map(|i| l.row(i).norm_squared()).collect(),
            Root::LowRank { sd, u } => (0..sd.len()).map(|i| sd[i] * sd[i] + u.row(i).norm_squared()).collect(),
        }
    }

    /// Covariance of two free coordinates.
    pub fn covariance(&self, i: usize, j: usize) -> f64 {
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

/// Cholesky factor of I + Uᵀ D⁻¹ U.
pub(super) fn capacitance(sd: &[f64], u: &DMatrix<f64>) -> Option<Cholesky<f64, nalgebra::Dyn>> {
    let scaled = DMatrix::from_fn(u.nrows(), u.ncols(), |i, r| u[(i, r)] / sd[i]);
    Cholesky::new(scaled.transpose() * &scaled + DMatrix::identity(u.ncols(), u.ncols()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_rank_agrees_with_its_dense_covariance() {
        let sd = vec![0.7, 1.1, 0.4];
        let u = DMatrix::from_row_slice(3, 2, &[0.3, -0.2, 0.8, 0.1, -0.5, 0.6]);
        let low =
            Gaussian { mean: vec![0.0; 3], free: vec![0, 1, 2], root: Root::LowRank { sd: sd.clone(), u: u.clone() } };
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
}
