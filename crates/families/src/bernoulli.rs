//! The Bernoulli distribution of 0 or 1.

use crate::FamilyError;
use crate::error::{check_finite, check_probability};
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{log1p_exp, logistic, logit, x_ln_x, x_ln_y};
use rand::{Rng, RngExt};

const NAME: &str = "bernoulli";

/// Bernoulli(x | p) = pˣ (1 − p)^(1 − x) (Bishop PRML B.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bernoulli {
    /// p, the probability of 1.
    pub probability: f64,
}

/// Natural parameter η = log(p/(1 − p)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BernoulliNatural {
    /// The log odds, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistic T(x) = x, or its expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BernoulliExpectations {
    /// E\[x\] = p.
    pub mean: f64,
}

coordinates!(BernoulliNatural: value);
coordinates!(BernoulliExpectations: mean);

/// log Bernoulli(x | p); x may be any weight in \[0, 1\].
#[inline]
pub fn log_density(x: f64, probability: f64) -> f64 {
    let zero = if x == 1.0 { 0.0 } else { (1.0 - x) * (-probability).ln_1p() };
    x_ln_y(x, probability) + zero
}

/// log Bernoulli(x | logistic(logit)) = x · logit − log(1 + e^logit).
#[inline]
pub fn log_density_logit(x: f64, logit: f64) -> f64 {
    if x == 1.0 { -log1p_exp(-logit) } else { x * logit - log1p_exp(logit) }
}

/// −p log p − (1 − p) log(1 − p).
#[inline]
pub fn entropy(probability: f64) -> f64 {
    let complement = 1.0 - probability;
    -x_ln_x(probability) - if complement == 0.0 { 0.0 } else { complement * (-probability).ln_1p() }
}

/// p log(p/p′) + (1 − p) log((1 − p)/(1 − p′)).
#[inline]
pub fn kl(probability: f64, other_probability: f64) -> f64 {
    -entropy(probability) - log_density(probability, other_probability)
}

impl Bernoulli {
    /// Bernoulli(probability).
    ///
    /// # Errors
    /// Where the probability is not in \[0, 1\].
    pub fn new(probability: f64) -> Result<Self, FamilyError> {
        check_probability(NAME, "probability", probability)?;
        Ok(Self { probability })
    }

    /// p.
    pub fn mean(&self) -> f64 {
        self.probability
    }

    /// p (1 − p).
    pub fn variance(&self) -> f64 {
        self.probability * (1.0 - self.probability)
    }

    /// The likelier value; 1 at p = ½.
    pub fn mode(&self) -> f64 {
        if self.probability >= 0.5 { 1.0 } else { 0.0 }
    }
}

impl ExponentialFamily for Bernoulli {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = BernoulliNatural;
    type Expectations = BernoulliExpectations;

    fn to_natural(&self) -> BernoulliNatural {
        BernoulliNatural { value: logit(self.probability) }
    }
    fn from_natural(natural: &BernoulliNatural) -> Result<Self, FamilyError> {
        check_finite(NAME, "logit", natural.value)?;
        Self::new(logistic(natural.value))
    }
    fn from_expectations(expectations: &BernoulliExpectations) -> Result<Self, FamilyError> {
        Self::new(expectations.mean)
    }
    fn sufficient_statistics(&self, value: &f64) -> BernoulliExpectations {
        BernoulliExpectations { mean: *value }
    }
    fn log_base_measure(&self, _value: &f64) -> f64 {
        0.0
    }
    fn expected_log_base_measure(&self) -> f64 {
        0.0
    }
    /// A = log(1 + e^η) = −log(1 − p).
    fn log_partition(&self) -> f64 {
        -(-self.probability).ln_1p()
    }
    fn expectations(&self) -> BernoulliExpectations {
        BernoulliExpectations { mean: self.probability }
    }
    fn entropy(&self) -> f64 {
        entropy(self.probability)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.probability, other.probability)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        if random.random::<f64>() < self.probability { 1.0 } else { 0.0 }
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_has_no_entropy_and_extreme_logits_stay_finite() {
        assert_eq!(entropy(0.0), 0.0);
        assert_eq!(entropy(1.0), 0.0);
        assert_eq!(kl(1.0, 1.0), 0.0);
        assert_eq!(log_density_logit(1.0, 900.0), 0.0);
        assert_eq!(log_density_logit(0.0, 900.0), -900.0);
        assert_eq!(log_density(1.0, 0.0), f64::NEG_INFINITY);
        assert!((log_density_logit(1.0, 0.3) - log_density(1.0, logistic(0.3))).abs() < 1e-15);
        assert!(Bernoulli::new(1.1).is_err());
    }
}
