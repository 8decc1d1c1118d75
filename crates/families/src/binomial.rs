//! The binomial distribution of a count of successes in a known number of trials.

use crate::FamilyError;
use crate::bernoulli;
use crate::error::{check_finite, check_probability};
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{ln_choose, logistic, logit, x_ln_y};
use rand::Rng;
use rand_distr::Distribution;

const NAME: &str = "binomial";

/// Binomial(x | n, p) = (n choose x) pˣ (1 − p)^(n − x) (Bishop PRML B.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Binomial {
    /// n.
    pub trials: u64,
    /// p, the probability of success.
    pub probability: f64,
}

/// Natural parameter η = log(p/(1 − p)), with the known n.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinomialNatural {
    /// n, which is not a coordinate.
    pub trials: u64,
    /// The log odds, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistic T(x) = x, or its expectation, with the known n.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinomialExpectations {
    /// n, which is not a coordinate.
    pub trials: u64,
    /// E\[x\] = np.
    pub mean: f64,
}

coordinates!(BinomialNatural: value);
coordinates!(BinomialExpectations: mean);

/// log Binomial(count | trials, probability).
#[inline]
pub fn log_density(count: f64, trials: f64, probability: f64) -> f64 {
    if !(0.0..=trials).contains(&count) {
        return f64::NEG_INFINITY;
    }
    let failures = trials - count;
    let tail = if failures == 0.0 { 0.0 } else { failures * (-probability).ln_1p() };
    ln_choose(trials, count) + x_ln_y(count, probability) + tail
}

/// E\[log (n choose x)\], summed over the counts within 40 standard deviations of the mean.
pub fn expected_ln_choose(trials: u64, probability: f64) -> f64 {
    if trials < 2 || probability == 0.0 || probability == 1.0 {
        return 0.0;
    }
    let n = trials as f64;
    let (mean, reach) = (n * probability, 40.0 * (n * probability * (1.0 - probability)).sqrt() + 40.0);
    let (first, last) = ((mean - reach).max(0.0) as u64, ((mean + reach).min(n)) as u64);
    (first..=last)
        .map(|count| {
            let choose = ln_choose(n, count as f64);
            choose * (choose + count as f64 * probability.ln() + (n - count as f64) * (-probability).ln_1p()).exp()
        })
        .sum()
}

impl Binomial {
    /// Binomial(trials, probability).
    ///
    /// # Errors
    /// Where the probability is not in \[0, 1\].
    pub fn new(trials: u64, probability: f64) -> Result<Self, FamilyError> {
        check_probability(NAME, "probability", probability)?;
        Ok(Self { trials, probability })
    }

    /// np.
    pub fn mean(&self) -> f64 {
        self.trials as f64 * self.probability
    }

    /// np (1 − p).
    pub fn variance(&self) -> f64 {
        self.mean() * (1.0 - self.probability)
    }

    /// ⌊(n + 1) p⌋, at most n.
    pub fn mode(&self) -> f64 {
        ((self.trials as f64 + 1.0) * self.probability).floor().min(self.trials as f64)
    }
}

impl ExponentialFamily for Binomial {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = BinomialNatural;
    type Expectations = BinomialExpectations;

    fn to_natural(&self) -> BinomialNatural {
        BinomialNatural { trials: self.trials, value: logit(self.probability) }
    }
    fn from_natural(natural: &BinomialNatural) -> Result<Self, FamilyError> {
        check_finite(NAME, "logit", natural.value)?;
        Self::new(natural.trials, logistic(natural.value))
    }
    fn from_expectations(expectations: &BinomialExpectations) -> Result<Self, FamilyError> {
        if expectations.trials == 0 {
            return Err(FamilyError::NotAttainable { family: NAME, condition: "there must be at least one trial" });
        }
        Self::new(expectations.trials, expectations.mean / expectations.trials as f64)
    }
    fn sufficient_statistics(&self, value: &f64) -> BinomialExpectations {
        BinomialExpectations { trials: self.trials, mean: *value }
    }
    fn log_base_measure(&self, value: &f64) -> f64 {
        ln_choose(self.trials as f64, *value)
    }
    fn expected_log_base_measure(&self) -> f64 {
        expected_ln_choose(self.trials, self.probability)
    }
    /// A = n log(1 + e^η) = −n log(1 − p).
    fn log_partition(&self) -> f64 {
        -(self.trials as f64) * (-self.probability).ln_1p()
    }
    fn expectations(&self) -> BinomialExpectations {
        BinomialExpectations { trials: self.trials, mean: self.mean() }
    }
    /// n H(Bernoulli(p)) − E\[log (n choose x)\].
    fn entropy(&self) -> f64 {
        self.trials as f64 * bernoulli::entropy(self.probability) - expected_ln_choose(self.trials, self.probability)
    }
    /// n KL(Bernoulli(p) ‖ Bernoulli(p′)) for the same n; +∞ for fewer trials in `other`.
    fn kl(&self, other: &Self) -> f64 {
        if self.trials == other.trials {
            return self.trials as f64 * bernoulli::kl(self.probability, other.probability);
        }
        if self.trials > other.trials && self.probability > 0.0 {
            return f64::INFINITY;
        }
        (0..=self.trials)
            .map(|count| {
                let log = log_density(count as f64, self.trials as f64, self.probability);
                if log == f64::NEG_INFINITY { 0.0 } else { log.exp() * (log - other.log_density(&(count as f64))) }
            })
            .sum()
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        match rand_distr::Binomial::new(self.trials, self.probability) {
            Ok(distribution) => distribution.sample(random) as f64,
            Err(_) => f64::NAN,
        }
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.trials as f64, self.probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_the_sum_over_all_counts() {
        for (trials, probability) in [(1u64, 0.3), (7, 0.9), (60, 0.02), (5000, 0.4)] {
            let family = Binomial::new(trials, probability).unwrap();
            let (mut total, mut entropy) = (0.0, 0.0);
            for count in 0..=trials {
                let log = family.log_density(&(count as f64));
                total += log.exp();
                entropy -= log.exp() * log;
            }
            assert!((total - 1.0).abs() < 1e-10 && (family.entropy() - entropy).abs() < 1e-9 * (1.0 + entropy));
        }
    }

    #[test]
    fn differing_numbers_of_trials() {
        let (few, many) = (Binomial::new(3, 0.4).unwrap(), Binomial::new(5, 0.4).unwrap());
        assert_eq!(many.kl(&few), f64::INFINITY);
        assert!(few.kl(&many) > 0.0 && few.kl(&many).is_finite());
        assert_eq!(log_density(4.0, 3.0, 0.4), f64::NEG_INFINITY);
        assert_eq!(few.mode(), 1.0);
    }
}
