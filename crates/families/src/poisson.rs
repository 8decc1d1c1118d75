//! The Poisson distribution of a count.

use crate::FamilyError;
use crate::error::check_positive;
use crate::family::{ExponentialFamily, coordinates};
use crate::special::{LN_TWO_PI, ln_factorial, x_ln_y};
use rand::Rng;
use rand_distr::Distribution;

const NAME: &str = "poisson";

/// Poisson(x | λ) = λˣ e^(−λ) / x!.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Poisson {
    /// λ.
    pub rate: f64,
}

/// Natural parameter η = log λ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoissonNatural {
    /// log λ, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistic T(x) = x, or its expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoissonExpectations {
    /// E\[x\] = λ.
    pub mean: f64,
}

coordinates!(PoissonNatural: value);
coordinates!(PoissonExpectations: mean);

/// log Poisson(count | rate).
#[inline]
pub fn log_density(count: f64, rate: f64) -> f64 {
    if count < 0.0 { f64::NEG_INFINITY } else { x_ln_y(count, rate) - rate - ln_factorial(count) }
}

/// −E\[log p(x)\]: a sum over the counts within 40 standard deviations up to λ = 10⁴, then
/// ½ log(2πeλ) − 1/(12λ) − 1/(24λ²) − 19/(360λ³) (Evans & Boersma 1988).
pub fn entropy(rate: f64) -> f64 {
    if rate > 1e4 {
        let inverse = 1.0 / rate;
        return 0.5 * (LN_TWO_PI + 1.0 + rate.ln())
            - inverse * (1.0 / 12.0 + inverse * (1.0 / 24.0 + inverse * (19.0 / 360.0)));
    }
    let reach = 40.0 * rate.sqrt() + 40.0;
    let (first, last) = ((rate - reach).max(0.0) as u64, (rate + reach) as u64);
    -(first..=last)
        .map(|count| {
            let log = log_density(count as f64, rate);
            log.exp() * log
        })
        .sum::<f64>()
}

/// λ log(λ/λ′) − λ + λ′.
#[inline]
pub fn kl(rate: f64, other_rate: f64) -> f64 {
    let excess = (other_rate - rate) / rate;
    rate * (excess - excess.ln_1p())
}

impl Poisson {
    /// Poisson(rate).
    ///
    /// # Errors
    /// Where the rate is not positive and finite.
    pub fn new(rate: f64) -> Result<Self, FamilyError> {
        check_positive(NAME, "rate", rate)?;
        Ok(Self { rate })
    }

    /// λ.
    pub fn mean(&self) -> f64 {
        self.rate
    }

    /// λ.
    pub fn variance(&self) -> f64 {
        self.rate
    }

    /// ⌊λ⌋.
    pub fn mode(&self) -> f64 {
        self.rate.floor()
    }
}

impl ExponentialFamily for Poisson {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = PoissonNatural;
    type Expectations = PoissonExpectations;

    fn to_natural(&self) -> PoissonNatural {
        PoissonNatural { value: self.rate.ln() }
    }
    fn from_natural(natural: &PoissonNatural) -> Result<Self, FamilyError> {
        Self::new(natural.value.exp())
    }
    fn from_expectations(expectations: &PoissonExpectations) -> Result<Self, FamilyError> {
        Self::new(expectations.mean)
    }
    fn sufficient_statistics(&self, value: &f64) -> PoissonExpectations {
        PoissonExpectations { mean: *value }
    }
    fn log_base_measure(&self, value: &f64) -> f64 {
        -ln_factorial(*value)
    }
    /// −E\[log x!\] = A − η E\[x\] − H.
    fn expected_log_base_measure(&self) -> f64 {
        self.rate - self.rate * self.rate.ln() - entropy(self.rate)
    }
    fn log_partition(&self) -> f64 {
        self.rate
    }
    fn expectations(&self) -> PoissonExpectations {
        PoissonExpectations { mean: self.rate }
    }
    fn entropy(&self) -> f64 {
        entropy(self.rate)
    }
    fn kl(&self, other: &Self) -> f64 {
        kl(self.rate, other.rate)
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        match rand_distr::Poisson::new(self.rate) {
            Ok(distribution) => distribution.sample(random),
            Err(_) => f64::NAN,
        }
    }
    fn log_density(&self, value: &f64) -> f64 {
        log_density(*value, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_matches_fifty_digit_sums_and_joins_its_asymptotic_form() {
        for (rate, expected) in [
            (0.001, 0.007908101804632483),
            (0.7, 1.1045971987254766),
            (12.5, 2.674836058923899),
            (900.0, 4.820043270761337),
            (20000.0, 6.370678142701897),
        ] {
            assert!(
                (entropy(rate) - expected).abs() < 1e-12 * (1.0 + expected),
                "entropy at {rate}: {}",
                entropy(rate)
            );
        }
        let (below, above) = (entropy(9_999.999_999), entropy(10_000.000_001));
        assert!((above - below).abs() < 1e-8);
    }

    #[test]
    fn densities_sum_to_one() {
        let total: f64 = (0..200).map(|count| log_density(f64::from(count), 31.5).exp()).sum();
        assert!((total - 1.0).abs() < 1e-13);
        assert_eq!(log_density(-1.0, 2.0), f64::NEG_INFINITY);
        assert!(Poisson::new(0.0).is_err());
    }
}
