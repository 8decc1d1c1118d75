//! The multinomial distribution of counts over categories in a known number of trials.

use crate::FamilyError;
use crate::binomial;
use crate::categorical::{self, check_simplex, probabilities_from_natural};
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{ln_factorial, log_sum_exp, x_ln_y};
use rand::Rng;
use rand_distr::Distribution;

const NAME: &str = "multinomial";

/// Multinomial(x | n, p) = n! Π pₖ^xₖ / xₖ!, Σ xₖ = n (Bishop PRML B.59).
#[derive(Debug, Clone, PartialEq)]
pub struct Multinomial {
    /// n.
    pub trials: u64,
    /// p `[dimension]`, which sums to 1.
    pub probabilities: Vec<f64>,
}

/// Natural parameters ηₖ = log pₖ (any constant may be added to all), with the known n.
#[derive(Debug, Clone, PartialEq)]
pub struct MultinomialNatural {
    /// n, which is not a coordinate.
    pub trials: u64,
    /// log pₖ, the coefficients of the counts, `[dimension]`.
    pub count: Vec<f64>,
}

/// Sufficient statistics: the counts, or their expectations, with the known n.
#[derive(Debug, Clone, PartialEq)]
pub struct MultinomialExpectations {
    /// n, which is not a coordinate.
    pub trials: u64,
    /// E\[xₖ\] = n pₖ `[dimension]`.
    pub mean: Vec<f64>,
}

coordinates!(MultinomialNatural: count);
coordinates!(MultinomialExpectations: mean);

/// log(n!/Π xₖ!) with n = Σ xₖ.
pub fn ln_coefficient(counts: &[f64]) -> f64 {
    ln_factorial(counts.iter().sum()) - counts.iter().map(|count| ln_factorial(*count)).sum::<f64>()
}

/// log Multinomial(counts | Σ counts, probabilities).
pub fn log_density(counts: &[f64], probabilities: &[f64]) -> f64 {
    ln_coefficient(counts) + counts.iter().zip(probabilities).map(|(x, p)| x_ln_y(*x, *p)).sum::<f64>()
}

impl Multinomial {
    /// Multinomial(trials, probabilities).
    ///
    /// # Errors
    /// Where there are no probabilities, one is not in \[0, 1\], or they do not sum to 1 within 1e-6.
    pub fn new(trials: u64, probabilities: Vec<f64>) -> Result<Self, FamilyError> {
        check_simplex(NAME, &probabilities)?;
        Ok(Self { trials, probabilities })
    }

    /// n pₖ `[dimension]`.
    pub fn mean(&self) -> Vec<f64> {
        self.probabilities.iter().map(|p| self.trials as f64 * p).collect()
    }

    /// n pₖ (1 − pₖ) `[dimension]`.
    pub fn variance(&self) -> Vec<f64> {
        self.probabilities.iter().map(|p| self.trials as f64 * p * (1.0 - p)).collect()
    }
}

impl ExponentialFamily for Multinomial {
    const NAME: &'static str = NAME;
    type Value = Vec<f64>;
    type Natural = MultinomialNatural;
    type Expectations = MultinomialExpectations;

    fn to_natural(&self) -> MultinomialNatural {
        MultinomialNatural { trials: self.trials, count: self.probabilities.iter().map(|p| p.ln()).collect() }
    }
    fn from_natural(natural: &MultinomialNatural) -> Result<Self, FamilyError> {
        Self::new(natural.trials, probabilities_from_natural(NAME, &natural.count)?)
    }
    fn from_expectations(expectations: &MultinomialExpectations) -> Result<Self, FamilyError> {
        if expectations.trials == 0 {
            return Err(FamilyError::NotAttainable { family: NAME, condition: "there must be at least one trial" });
        }
        Self::new(expectations.trials, expectations.mean.iter().map(|m| m / expectations.trials as f64).collect())
    }
    fn sufficient_statistics(&self, value: &Vec<f64>) -> MultinomialExpectations {
        MultinomialExpectations { trials: self.trials, mean: value.clone() }
    }
    fn log_base_measure(&self, value: &Vec<f64>) -> f64 {
        ln_coefficient(value)
    }
    /// log n! − Σₖ E\[log xₖ!\], each xₖ being Binomial(n, pₖ).
    fn expected_log_base_measure(&self) -> f64 {
        let n = self.trials as f64;
        let factorials = |p: f64| -> f64 {
            let reach = 40.0 * (n * p * (1.0 - p)).sqrt() + 40.0;
            let (first, last) = ((n * p - reach).max(0.0) as u64, (n * p + reach).min(n) as u64);
            (first..=last).map(|x| binomial::log_density(x as f64, n, p).exp() * ln_factorial(x as f64)).sum()
        };
        ln_factorial(n) - self.probabilities.iter().map(|p| factorials(*p)).sum::<f64>()
    }
    /// A = n log Σ exp ηₖ, which is 0 (to rounding) at ηₖ = log pₖ.
    fn log_partition(&self) -> f64 {
        self.trials as f64 * self.probabilities.iter().sum::<f64>().ln()
    }
    fn log_partition_at(natural: &MultinomialNatural) -> Result<f64, FamilyError> {
        Ok(natural.trials as f64 * log_sum_exp(&natural.count))
    }
    fn expectations(&self) -> MultinomialExpectations {
        MultinomialExpectations { trials: self.trials, mean: self.mean() }
    }
    /// n H(Categorical(p)) − E\[log h\].
    fn entropy(&self) -> f64 {
        self.trials as f64 * categorical::entropy(&self.probabilities) - self.expected_log_base_measure()
    }
    /// n KL(Categorical(p) ‖ Categorical(p′)) for the same n; +∞ for different ones, whose supports have nothing in common.
    fn kl(&self, other: &Self) -> f64 {
        if self.trials == other.trials {
            self.trials as f64 * categorical::kl(&self.probabilities, &other.probabilities)
        } else {
            f64::INFINITY
        }
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Vec<f64> {
        let (mut rest, mut mass) = (self.trials, 1.0);
        let last = self.probabilities.iter().rposition(|p| *p > 0.0).unwrap_or(0);
        let mut counts = vec![0.0; self.probabilities.len()];
        for (k, (count, p)) in counts.iter_mut().zip(&self.probabilities).enumerate().take(last + 1) {
            let share = if k == last { 1.0 } else { (p / mass).clamp(0.0, 1.0) };
            let drawn = rand_distr::Binomial::new(rest, share).map_or(0, |distribution| distribution.sample(random));
            *count = drawn as f64;
            rest -= drawn;
            mass -= p;
        }
        counts
    }
    fn log_density(&self, value: &Vec<f64>) -> f64 {
        log_density(value, &self.probabilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_categories_are_a_binomial() {
        let family = Multinomial::new(9, vec![0.3, 0.7]).unwrap();
        let pair = binomial::Binomial::new(9, 0.3).unwrap();
        assert!((family.entropy() - pair.entropy()).abs() < 1e-12);
        assert!((family.log_density(&vec![4.0, 5.0]) - pair.log_density(&4.0)).abs() < 1e-13);
        assert_eq!(family.kl(&Multinomial::new(8, vec![0.3, 0.7]).unwrap()), f64::INFINITY);
    }

    #[test]
    fn the_probabilities_of_all_counts_sum_to_one() {
        let family = Multinomial::new(6, vec![0.2, 0.5, 0.3]).unwrap();
        let (mut total, mut entropy) = (0.0, 0.0);
        for a in 0..=6 {
            for b in 0..=6 - a {
                let log = family.log_density(&vec![f64::from(a), f64::from(b), f64::from(6 - a - b)]);
                total += log.exp();
                entropy -= log.exp() * log;
            }
        }
        assert!((total - 1.0).abs() < 1e-13 && (family.entropy() - entropy).abs() < 1e-12);
    }
}
