//! The categorical distribution of an index.

use crate::FamilyError;
use crate::error::check_probability;
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{log_sum_exp, x_ln_x};
use rand::{Rng, RngExt};

const NAME: &str = "categorical";

/// Categorical(x | p) = p_x for x in 0 … dimension − 1 (Bishop PRML 2.26).
#[derive(Debug, Clone, PartialEq)]
pub struct Categorical {
    /// p `[dimension]`, which sums to 1.
    pub probabilities: Vec<f64>,
}

/// Natural parameters ηₖ = log pₖ (any constant may be added to all).
#[derive(Debug, Clone, PartialEq)]
pub struct CategoricalNatural {
    /// log pₖ, the coefficients of the indicators, `[dimension]`.
    pub indicator: Vec<f64>,
}

/// Sufficient statistics: the indicators of the categories, or their expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoricalExpectations {
    /// P(x = k) `[dimension]`.
    pub probabilities: Vec<f64>,
}

coordinates!(CategoricalNatural: indicator);
coordinates!(CategoricalExpectations: probabilities);

/// −Σ pₖ log pₖ, where 0 log 0 = 0.
pub fn entropy(probabilities: &[f64]) -> f64 {
    -probabilities.iter().map(|p| x_ln_x(*p)).sum::<f64>()
}

/// Σ pₖ log(pₖ/p′ₖ).
pub fn kl(probabilities: &[f64], other_probabilities: &[f64]) -> f64 {
    probabilities.iter().zip(other_probabilities).map(|(p, q)| if *p == 0.0 { 0.0 } else { p * (p / q).ln() }).sum()
}

/// One index, drawn with the given weights `[dimension]` (they need not sum to 1); the last one with a positive weight where
/// rounding leaves a rest.
pub fn sample<R: Rng + ?Sized>(random: &mut R, weights: &[f64]) -> usize {
    let total: f64 = weights.iter().sum();
    let mut rest = random.random::<f64>() * total;
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > 0.0 {
            last = index;
            rest -= weight;
            if rest < 0.0 {
                break;
            }
        }
    }
    last
}

/// Refuses probabilities that are not in \[0, 1\] or do not sum to 1 within 1e-6.
pub(crate) fn check_simplex(family: &'static str, probabilities: &[f64]) -> Result<(), FamilyError> {
    if probabilities.is_empty() {
        return Err(FamilyError::LengthMismatch { family, parameter: "probabilities", expected: 1, found: 0 });
    }
    for value in probabilities {
        check_probability(family, "probabilities", *value)?;
    }
    let total: f64 = probabilities.iter().sum();
    if (total - 1.0).abs() <= 1e-6 {
        Ok(())
    } else {
        Err(FamilyError::OutOfRange {
            family,
            parameter: "the sum of the probabilities",
            value: total,
            expected: "1 (to 1e-6)",
        })
    }
}

/// exp(ηₖ − log Σ exp η), refusing natural parameters without a finite log-sum-exp.
pub(crate) fn probabilities_from_natural(family: &'static str, natural: &[f64]) -> Result<Vec<f64>, FamilyError> {
    let normalizer = log_sum_exp(natural);
    if normalizer.is_finite() {
        return Ok(natural.iter().map(|value| (value - normalizer).exp()).collect());
    }
    Err(FamilyError::OutOfRange {
        family,
        parameter: "the log-sum-exp of the logits",
        value: normalizer,
        expected: "finite",
    })
}

impl Categorical {
    /// Categorical(probabilities).
    ///
    /// # Errors
    /// Where there are none, one is not in \[0, 1\], or they do not sum to 1 within 1e-6.
    pub fn new(probabilities: Vec<f64>) -> Result<Self, FamilyError> {
        check_simplex(NAME, &probabilities)?;
        Ok(Self { probabilities })
    }

    /// The index of the largest probability, the first of equals.
    pub fn mode(&self) -> usize {
        let mut best = 0;
        for (index, probability) in self.probabilities.iter().enumerate() {
            if *probability > self.probabilities[best] {
                best = index;
            }
        }
        best
    }

    /// The variances pₖ (1 − pₖ) of the indicators, `[dimension]`.
    pub fn variance(&self) -> Vec<f64> {
        self.probabilities.iter().map(|p| p * (1.0 - p)).collect()
    }
}

impl ExponentialFamily for Categorical {
    const NAME: &'static str = NAME;
    type Value = usize;
    type Natural = CategoricalNatural;
    type Expectations = CategoricalExpectations;

    fn to_natural(&self) -> CategoricalNatural {
        CategoricalNatural { indicator: self.probabilities.iter().map(|p| p.ln()).collect() }
    }
    fn from_natural(natural: &CategoricalNatural) -> Result<Self, FamilyError> {
        Self::new(probabilities_from_natural(NAME, &natural.indicator)?)
    }
    fn from_expectations(expectations: &CategoricalExpectations) -> Result<Self, FamilyError> {
        Self::new(expectations.probabilities.clone())
    }
    fn sufficient_statistics(&self, value: &usize) -> CategoricalExpectations {
        let probabilities = (0..self.probabilities.len()).map(|k| if k == *value { 1.0 } else { 0.0 }).collect();
        CategoricalExpectations { probabilities }
    }
    fn log_base_measure(&self, _value: &usize) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    /// A = log Σ exp ηₖ, which is 0 (to rounding) at ηₖ = log pₖ.
    fn log_partition(&self) -> f64 {
        self.probabilities.iter().sum::<f64>().ln()
    }
    fn log_partition_at(natural: &CategoricalNatural) -> Result<f64, FamilyError> {
        Ok(log_sum_exp(&natural.indicator))
    }
    fn expectations(&self) -> CategoricalExpectations {
        CategoricalExpectations { probabilities: self.probabilities.clone() }
    }
    fn entropy(&self) -> f64 {
        entropy(&self.probabilities)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(&self.probabilities, &other.probabilities)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> usize {
        sample(random, &self.probabilities)
    }
    fn log_density(&self, value: &usize) -> f64 {
        self.probabilities.get(*value).map_or(f64::NEG_INFINITY, |p| p.ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn zero_probabilities_are_never_drawn_and_add_no_entropy() {
        let family = Categorical::new(vec![0.0, 0.25, 0.75, 0.0]).unwrap();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        assert!((0..2000).all(|_| [1, 2].contains(&family.sample(&mut random))));
        assert!((family.entropy() - (0.25 * 4f64.ln() + 0.75 * (4f64 / 3.0).ln())).abs() < 1e-15);
        assert_eq!(
            (family.mode(), family.log_density(&0), family.log_density(&9)),
            (2, f64::NEG_INFINITY, f64::NEG_INFINITY)
        );
    }

    #[test]
    fn refusals() {
        assert!(
            Categorical::new(vec![0.5, 0.4]).is_err()
                && Categorical::new(vec![]).is_err()
                && Categorical::new(vec![-0.5, 1.5]).is_err()
        );
        assert!(Categorical::from_natural(&CategoricalNatural { indicator: vec![f64::NEG_INFINITY; 2] }).is_err());
    }
}
