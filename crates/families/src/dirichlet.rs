//! The Dirichlet distribution on the simplex.

use crate::FamilyError;
use crate::error::check_positive;
use crate::family::{ExponentialFamily, coordinates};
use crate::gamma;
use crate::rows;
use crate::special::{digamma, inverse_digamma, ln_gamma, log_sum_exp, trigamma};
use rand::Rng;

const NAME: &str = "dirichlet";

/// Dir(x | α) = Γ(Σα) Π xₖ^(αₖ − 1) / Γ(αₖ) on the simplex (Bishop PRML B.16).
#[derive(Debug, Clone, PartialEq)]
pub struct Dirichlet {
    /// α `[dimension]`.
    pub concentration: Vec<f64>,
}

/// Natural parameters ηₖ = αₖ − 1.
#[derive(Debug, Clone, PartialEq)]
pub struct DirichletNatural {
    /// αₖ − 1, the coefficients of log xₖ, `[dimension]`.
    pub log: Vec<f64>,
}

/// Sufficient statistics Tₖ(x) = log xₖ, or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct DirichletExpectations {
    /// E\[log xₖ\] `[dimension]`.
    pub mean_log: Vec<f64>,
}

coordinates!(DirichletNatural: log);
coordinates!(DirichletExpectations: mean_log);

/// log Dir(x | α) of probabilities x `[dimension]`.
pub fn log_density(probabilities: &[f64], concentration: &[f64]) -> f64 {
    let power = |(x, a): (&f64, &f64)| if *a == 1.0 { 0.0 } else { (a - 1.0) * x.ln() };
    probabilities.iter().zip(concentration).map(power).sum::<f64>() - log_partition(concentration)
}

/// A = Σ log Γ(αₖ) − log Γ(Σ αₖ).
pub fn log_partition(concentration: &[f64]) -> f64 {
    concentration.iter().map(|a| ln_gamma(*a)).sum::<f64>() - ln_gamma(concentration.iter().sum())
}

/// Writes E\[log xₖ\] = ψ(αₖ) − ψ(Σα) (Bishop PRML B.21); both slices `[dimension]`.
pub fn expected_log_into(concentration: &[f64], expected_log: &mut [f64]) {
    let total = digamma(concentration.iter().sum());
    for (expected, a) in expected_log.iter_mut().zip(concentration) {
        *expected = digamma(*a) - total;
    }
}

/// Writes E\[log xₖ\] of many Dirichlets at once, vectorised: both slices row-major `[num_rows, dimension]`, a row a distribution.
pub fn expected_log_rows_into(concentration: &[f64], dimension: usize, expected_log: &mut [f64]) {
    if dimension == 0 {
        return;
    }
    expected_log.copy_from_slice(concentration);
    rows::double::digamma_in_place(expected_log);
    for (expected, a) in expected_log.chunks_exact_mut(dimension).zip(concentration.chunks_exact(dimension)) {
        let total = digamma(a.iter().sum());
        for element in expected {
            *element -= total;
        }
    }
}

/// A − Σ (αₖ − 1) E\[log xₖ\] (Bishop PRML B.22).
pub fn entropy(concentration: &[f64]) -> f64 {
    let total = digamma(concentration.iter().sum());
    log_partition(concentration) - concentration.iter().map(|a| (a - 1.0) * (digamma(*a) - total)).sum::<f64>()
}

/// KL(Dir(α) ‖ Dir(α′)) = A(α′) − A(α) + Σ (αₖ − α′ₖ) E_α\[log xₖ\].
pub fn kl(concentration: &[f64], other_concentration: &[f64]) -> f64 {
    let total = digamma(concentration.iter().sum());
    let gap: f64 = concentration.iter().zip(other_concentration).map(|(a, b)| (a - b) * (digamma(*a) - total)).sum();
    log_partition(other_concentration) - log_partition(concentration) + gap
}

/// Writes E\[xₖ\] = αₖ/Σα; both slices `[dimension]`.
pub fn mean_into(concentration: &[f64], mean: &mut [f64]) {
    let total: f64 = concentration.iter().sum();
    for (element, a) in mean.iter_mut().zip(concentration) {
        *element = a / total;
    }
}

/// Writes the marginal variances αₖ (Σα − αₖ)/(Σα² (Σα + 1)); both slices `[dimension]`.
pub fn variance_into(concentration: &[f64], variance: &mut [f64]) {
    let total: f64 = concentration.iter().sum();
    for (element, a) in variance.iter_mut().zip(concentration) {
        let mean = a / total;
        *element = mean * (1.0 - mean) / (total + 1.0);
    }
}

/// Writes one draw `[dimension]`, made from gammas in log space so that small concentrations do not underflow to 0/0.
pub fn sample_into<R: Rng + ?Sized>(random: &mut R, concentration: &[f64], probabilities: &mut [f64]) {
    for (element, a) in probabilities.iter_mut().zip(concentration) {
        *element = gamma::sample_log(random, *a, 1.0);
    }
    let normalizer = log_sum_exp(probabilities);
    for element in probabilities {
        *element = (*element - normalizer).exp();
    }
}

/// The α with ψ(αₖ) − ψ(Σα) = `expected_log`ₖ: fixed-point steps, then Newton's method in log α with the Hessian's
/// diagonal-plus-rank-one inverse (Minka 2000, "Estimating a Dirichlet distribution").
pub(crate) fn concentration_from_expected_log(
    family: &'static str,
    expected_log: &[f64],
) -> Result<Vec<f64>, FamilyError> {
    let condition = "the exponentials of the expected logarithms must sum to less than 1";
    let refusal = FamilyError::NotAttainable { family, condition };
    if expected_log.len() < 2
        || (log_sum_exp(expected_log) >= 0.0)
        || expected_log.iter().any(|value| !value.is_finite())
    {
        return Err(refusal);
    }
    let mut concentration = vec![1.0; expected_log.len()];
    for _ in 0..30 {
        let total = digamma(concentration.iter().sum());
        for (a, expected) in concentration.iter_mut().zip(expected_log) {
            *a = inverse_digamma(expected + total);
        }
    }
    let residual_norm = |concentration: &[f64]| {
        let total = digamma(concentration.iter().sum());
        concentration
            .iter()
            .zip(expected_log)
            .map(|(a, g)| ((digamma(*a) - total - g) / (1.0 + g.abs())).powi(2))
            .sum::<f64>()
    };
    let mut norm = residual_norm(&concentration);
    for _ in 0..200 {
        let sum: f64 = concentration.iter().sum();
        let (total, total_slope) = (digamma(sum), trigamma(sum));
        let (mut ratio, mut inverse_sum) = (0.0, 0.0);
        for (a, g) in concentration.iter().zip(expected_log) {
            let slope = trigamma(*a);
            ratio += (digamma(*a) - total - g) / slope;
            inverse_sum += 1.0 / slope;
        }
        let shift = ratio / (1.0 / total_slope - inverse_sum);
        let direction: Vec<f64> = concentration
            .iter()
            .zip(expected_log)
            .map(|(a, g)| -((digamma(*a) - total - g) + shift) / (trigamma(*a) * a))
            .collect();
        let largest = direction.iter().fold(0.0f64, |m, d| m.max(d.abs()));
        let mut scale = if largest > 2.0 { 2.0 / largest } else { 1.0 };
        let mut improved = false;
        for _ in 0..40 {
            let next: Vec<f64> = concentration.iter().zip(&direction).map(|(a, d)| a * (scale * d).exp()).collect();
            let next_norm = residual_norm(&next);
            if next_norm < norm {
                concentration = next;
                norm = next_norm;
                improved = true;
                break;
            }
            scale *= 0.5;
        }
        if !improved || largest <= 1e-15 {
            break;
        }
    }
    if norm.sqrt() < 1e-9 { Ok(concentration) } else { Err(refusal) }
}

impl Dirichlet {
    /// Dir(concentration).
    ///
    /// # Errors
    /// Where there are no elements, or one is not positive and finite.
    pub fn new(concentration: Vec<f64>) -> Result<Self, FamilyError> {
        if concentration.is_empty() {
            return Err(FamilyError::LengthMismatch {
                family: NAME,
                parameter: "concentration",
                expected: 1,
                found: 0,
            });
        }
        for value in &concentration {
            check_positive(NAME, "concentration", *value)?;
        }
        Ok(Self { concentration })
    }

    /// The symmetric Dir(concentration, …, concentration).
    ///
    /// # Errors
    /// Where the dimension is 0 or the concentration is not positive and finite.
    pub fn symmetric(dimension: usize, concentration: f64) -> Result<Self, FamilyError> {
        Self::new(vec![concentration; dimension])
    }

    /// E\[xₖ\] `[dimension]`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.concentration.len()];
        mean_into(&self.concentration, &mut mean);
        mean
    }

    /// The marginal variances `[dimension]`.
    pub fn variance(&self) -> Vec<f64> {
        let mut variance = vec![0.0; self.concentration.len()];
        variance_into(&self.concentration, &mut variance);
        variance
    }

    /// (αₖ − 1)/(Σα − dimension), `[dimension]`.
    ///
    /// # Errors
    /// Where a concentration is not above 1: the density then is largest at the boundary, or everywhere the same.
    pub fn mode(&self) -> Result<Vec<f64>, FamilyError> {
        if self.concentration.iter().any(|a| *a <= 1.0) {
            return Err(FamilyError::NoMode { family: NAME, condition: "every concentration must be above 1" });
        }
        let total = self.concentration.iter().map(|a| a - 1.0).sum::<f64>();
        Ok(self.concentration.iter().map(|a| (a - 1.0) / total).collect())
    }
}

impl ExponentialFamily for Dirichlet {
    const NAME: &'static str = NAME;
    type Value = Vec<f64>;
    type Natural = DirichletNatural;
    type Expectations = DirichletExpectations;

    fn to_natural(&self) -> DirichletNatural {
        DirichletNatural { log: self.concentration.iter().map(|a| a - 1.0).collect() }
    }
    fn from_natural(natural: &DirichletNatural) -> Result<Self, FamilyError> {
        Self::new(natural.log.iter().map(|value| value + 1.0).collect())
    }
    fn from_expectations(expectations: &DirichletExpectations) -> Result<Self, FamilyError> {
        Self::new(concentration_from_expected_log(NAME, &expectations.mean_log)?)
    }
    fn sufficient_statistics(&self, value: &Vec<f64>) -> DirichletExpectations {
        DirichletExpectations { mean_log: value.iter().map(|x| x.ln()).collect() }
    }
    fn log_base_measure(&self, _value: &Vec<f64>) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    fn log_partition(&self) -> f64 {
        log_partition(&self.concentration)
    }
    fn expectations(&self) -> DirichletExpectations {
        let mut mean_log = vec![0.0; self.concentration.len()];
        expected_log_into(&self.concentration, &mut mean_log);
        DirichletExpectations { mean_log }
    }
    fn entropy(&self) -> f64 {
        entropy(&self.concentration)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(&self.concentration, &other.concentration)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Vec<f64> {
        let mut probabilities = vec![0.0; self.concentration.len()];
        sample_into(random, &self.concentration, &mut probabilities);
        probabilities
    }
    fn log_density(&self, value: &Vec<f64>) -> f64 {
        log_density(value, &self.concentration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn tiny_concentrations_sample_points_of_the_simplex() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let dirichlet = Dirichlet::symmetric(5, 1e-4).unwrap();
        for _ in 0..100 {
            let draw = dirichlet.sample(&mut random);
            assert!((draw.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn many_rows_at_once_agree_with_one_at_a_time() {
        let concentration: Vec<f64> = (0..35).map(|i| 1e-3 + f64::from(i * i) * 0.37).collect();
        let (mut rows, mut one) = (vec![0.0; 35], vec![0.0; 5]);
        expected_log_rows_into(&concentration, 5, &mut rows);
        for row in 0..7 {
            expected_log_into(&concentration[row * 5..][..5], &mut one);
            assert!(rows[row * 5..][..5].iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-14 * b.abs().max(1.0)));
        }
    }

    #[test]
    fn moments_modes_and_refusals() {
        let dirichlet = Dirichlet::new(vec![2.0, 3.0, 5.0]).unwrap();
        assert_eq!(dirichlet.mean(), vec![0.2, 0.3, 0.5]);
        assert!((dirichlet.variance()[2] - 0.25 / 11.0).abs() < 1e-15);
        assert_eq!(dirichlet.mode().unwrap(), vec![1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]);
        assert!(matches!(Dirichlet::symmetric(3, 1.0).unwrap().mode(), Err(FamilyError::NoMode { .. })));
        assert!(Dirichlet::new(vec![]).is_err() && Dirichlet::new(vec![1.0, 0.0]).is_err());
        let refused = Dirichlet::from_expectations(&DirichletExpectations { mean_log: vec![-0.1, -0.1] });
        assert!(matches!(refused, Err(FamilyError::NotAttainable { .. })));
    }

    #[test]
    fn wide_ranges_of_concentration_are_recovered() {
        for concentration in [vec![1e-3, 1e-3, 1e-3], vec![0.01, 50.0], vec![1e4, 2.0, 0.3, 1e-2], vec![1e6, 2e6]] {
            let dirichlet = Dirichlet::new(concentration.clone()).unwrap();
            let found = Dirichlet::from_expectations(&dirichlet.expectations()).unwrap();
            for (a, b) in found.concentration.iter().zip(&concentration) {
                assert!((a / b - 1.0).abs() < 1e-6, "{concentration:?} came back as {:?}", found.concentration);
            }
        }
    }
}
