//! The unit-variance normal restricted to one side of zero, as the latent variable of a probit.

use crate::FamilyError;
use crate::error::check_finite;
use crate::family::{ExponentialFamily, coordinates, increasing_root};
use crate::special::{HALF_LN_TWO_PI, inverse_mills_ratio, log_normal_cdf};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Open01, StandardNormal};

const NAME: &str = "truncated-normal";

/// The half line that carries the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// x > 0, where the probit's outcome is 1.
    Positive,
    /// x < 0, where the probit's outcome is 0.
    Negative,
}

impl Side {
    /// +1 or −1.
    #[inline]
    pub fn sign(self) -> f64 {
        match self {
            Self::Positive => 1.0,
            Self::Negative => -1.0,
        }
    }
}

/// N(x | location, 1) restricted to one side of zero and divided by Φ(±location) (Albert & Chib 1993).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedNormal {
    /// The mean before truncation.
    pub location: f64,
    /// The side that is kept.
    pub side: Side,
}

/// Natural parameter η = location, with the known side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedNormalNatural {
    /// The side, which is not a coordinate.
    pub side: Side,
    /// The location, the coefficient of x.
    pub value: f64,
}

/// Sufficient statistic T(x) = x, or its expectation, with the known side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedNormalExpectations {
    /// The side, which is not a coordinate.
    pub side: Side,
    /// E\[x\].
    pub mean: f64,
}

coordinates!(TruncatedNormalNatural: value);
coordinates!(TruncatedNormalExpectations: mean);

/// What an engine needs of one truncated normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedNormalMoments {
    /// E\[x\] = μ ± φ(μ)/Φ(±μ).
    pub mean: f64,
    /// Var\[x\] = 1 − λ(λ + m), λ = φ(m)/Φ(m), m = ±μ.
    pub variance: f64,
    /// log Φ(±μ), the log mass of the side before truncation.
    pub log_mass: f64,
    /// −E\[log p(x)\].
    pub entropy: f64,
}

/// The continued fraction c = 2/(t + 3/(t + 4/(t + …))): with it Φ(−t)/φ(t) = 1/(t + 1/(t + c)) (Abramowitz & Stegun 26.2.14).
fn tail_fraction(t: f64) -> f64 {
    let terms = if t > 20.0 { 12 } else { 80 };
    (2..terms).rev().fold(0.0, |rest, k| f64::from(k) / (t + rest))
}

/// Mean, variance, log mass and entropy, without cancellation far in the wrong side.
pub fn moments(location: f64, side: Side) -> TruncatedNormalMoments {
    let sign = side.sign();
    let m = sign * location;
    let log_mass = log_normal_cdf(m);
    if m < -3.0 {
        // With t = −m and d = 1/(t + c), λ = t + d, the mean is d and the variance 1 − λd = d (c − d).
        let t = -m;
        let c = tail_fraction(t);
        let d = 1.0 / (t + c);
        let entropy = 0.5 * (1.0 + t * d) - (t + d).ln();
        return TruncatedNormalMoments { mean: sign * d, variance: d * (c - d), log_mass, entropy };
    }
    let ratio = inverse_mills_ratio(m);
    TruncatedNormalMoments {
        mean: sign * (m + ratio),
        variance: 1.0 - ratio * (ratio + m),
        log_mass,
        entropy: log_mass + HALF_LN_TWO_PI + 0.5 * (1.0 - m * ratio),
    }
}

/// One draw: rejection from the normal where the side has much mass, else from a shifted exponential (Robert 1995).
pub fn sample<R: Rng + ?Sized>(random: &mut R, location: f64, side: Side) -> f64 {
    let sign = side.sign();
    let m = sign * location;
    if !m.is_finite() {
        return f64::NAN;
    }
    if m > -0.5 {
        loop {
            let standard: f64 = StandardNormal.sample(random);
            if m + standard > 0.0 {
                return sign * (m + standard);
            }
        }
    }
    let bound = -m;
    let rate = 0.5 * (bound + (bound * bound + 4.0).sqrt());
    loop {
        let uniform: f64 = random.sample(Open01);
        let excess = -uniform.ln() / rate;
        let distance = bound + excess - rate;
        if random.random::<f64>() <= (-0.5 * distance * distance).exp() {
            return sign * excess;
        }
    }
}

impl TruncatedNormal {
    /// N(location, 1) restricted to `side`.
    ///
    /// # Errors
    /// Where the location is not finite.
    pub fn new(location: f64, side: Side) -> Result<Self, FamilyError> {
        check_finite(NAME, "location", location)?;
        Ok(Self { location, side })
    }

    /// E\[x\].
    pub fn mean(&self) -> f64 {
        moments(self.location, self.side).mean
    }

    /// Var\[x\].
    pub fn variance(&self) -> f64 {
        moments(self.location, self.side).variance
    }

    /// The location.
    ///
    /// # Errors
    /// Where the location is not on the side that is kept: the density then is largest at 0, on the boundary.
    pub fn mode(&self) -> Result<f64, FamilyError> {
        if self.side.sign() * self.location > 0.0 {
            Ok(self.location)
        } else {
            Err(FamilyError::NoMode { family: NAME, condition: "the location must lie on the side that is kept" })
        }
    }
}

impl ExponentialFamily for TruncatedNormal {
    const NAME: &'static str = NAME;
    type Value = f64;
    type Natural = TruncatedNormalNatural;
    type Expectations = TruncatedNormalExpectations;

    fn to_natural(&self) -> TruncatedNormalNatural {
        TruncatedNormalNatural { side: self.side, value: self.location }
    }
    fn from_natural(natural: &TruncatedNormalNatural) -> Result<Self, FamilyError> {
        Self::new(natural.value, natural.side)
    }
    fn from_expectations(expectations: &TruncatedNormalExpectations) -> Result<Self, FamilyError> {
        let mean = expectations.side.sign() * expectations.mean;
        let refusal =
            FamilyError::NotAttainable { family: NAME, condition: "the mean must lie on the side that is kept" };
        if !(mean > 0.0 && mean.is_finite()) {
            return Err(refusal);
        }
        // The mean is below 1/t for a location −t, and above the location: the root lies between.
        let lower = -1.0 / mean - 1.0;
        let location = increasing_root(lower, mean.min(lower + 1.0), |location| {
            let found = moments(location, Side::Positive);
            (found.mean - mean, found.variance)
        });
        Self::new(expectations.side.sign() * location.ok_or(refusal)?, expectations.side)
    }
    fn sufficient_statistics(&self, value: &f64) -> TruncatedNormalExpectations {
        TruncatedNormalExpectations { side: self.side, mean: *value }
    }
    fn log_base_measure(&self, value: &f64) -> f64 {
        if self.side.sign() * value < 0.0 { f64::NEG_INFINITY } else { -0.5 * value * value - HALF_LN_TWO_PI }
    }
    fn expected_log_base_measure(&self) -> f64 {
        let found = moments(self.location, self.side);
        -0.5 * (found.variance + found.mean * found.mean) - HALF_LN_TWO_PI
    }
    /// A = ½ μ² + log Φ(±μ).
    fn log_partition(&self) -> f64 {
        0.5 * self.location * self.location + log_normal_cdf(self.side.sign() * self.location)
    }
    fn expectations(&self) -> TruncatedNormalExpectations {
        TruncatedNormalExpectations { side: self.side, mean: self.mean() }
    }
    fn entropy(&self) -> f64 {
        moments(self.location, self.side).entropy
    }
    /// log Φ(±μ′) − log Φ(±μ) + ½ (E\[(x − μ′)²\] − E\[(x − μ)²\]) for the same side; +∞ for the other.
    fn kl(&self, other: &Self) -> f64 {
        if self.side != other.side {
            return f64::INFINITY;
        }
        let found = moments(self.location, self.side);
        let shift = (self.location - other.location) * (found.mean - 0.5 * (self.location + other.location));
        log_normal_cdf(self.side.sign() * other.location) - found.log_mass + shift
    }
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> f64 {
        sample(random, self.location, self.side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (location, mean, variance, entropy) of the positive side, computed with 400 digits (mpmath 1.3).
    const TABLE: [(f64, f64, f64, f64); 19] = [
        (-1000000.0, 9.99999999998e-07, 9.99999999994e-13, -12.815510557966274),
        (-1000.0, 0.00099999800001, 9.999940000499995e-07, -5.907757278974637),
        (-50.0, 0.01998403190563981, 0.0003990431868038996, -2.9128218085742335),
        (-38.0, 0.02627946657586899, 0.0006896597534662589, -2.6389676206739465),
        (-20.0, 0.049753068527850546, 0.0024632616150521637, -2.0006861526140858),
        (-14.2, 0.0697407507698127, 0.00481756675072252, -1.6629819334277587),
        (-14.1, 0.07022582665348161, 0.0048841774567445605, -1.6560509126236316),
        (-10.0, 0.09809323396251196, 0.009445377825656262, -1.321880447495238),
        (-5.5, 0.17141031389730563, 0.02786177785444623, -0.7640594562029973),
        (-4.0, 0.22560714448947108, 0.04667283839742263, -0.48994866434367595),
        (-3.9, 0.23036532090811224, 0.04850706738126478, -0.4691534827158651),
        (-1.0, 0.5251352761609812, 0.1990976655703488, 0.34048452627589987),
        (-0.1, 0.7626174715309362, 0.3421528449626682, 0.6859148140509462),
        (0.0, 0.7978845608028654, 0.3633802276324187, 0.7257913526447274),
        (0.5, 1.0091604338370335, 0.4861754356963671, 0.922702009456758),
        (2.0, 2.05524786267899, 0.8864519483114236, 1.3406777611967193),
        (5.0, 5.000001486719941, 0.9999925663980851, 1.4189345297532074),
        (8.0, 8.000000000000005, 0.9999999999999596, 1.418938533204652),
        (20.0, 20.0, 1.0, 1.4189385332046727),
    ];

    #[test]
    fn moments_are_accurate_in_both_tails() {
        for (location, mean, variance, entropy) in TABLE {
            for side in [Side::Positive, Side::Negative] {
                let found = moments(side.sign() * location, side);
                assert!((side.sign() * found.mean / mean - 1.0).abs() < 1e-13, "mean at {location}: {found:?}");
                assert!(
                    (found.variance / variance - 1.0).abs() < 2e-13 * (1.0 + location.abs().min(4.0).powi(2)),
                    "variance at {location}: {found:?}"
                );
                assert!(
                    (found.entropy - entropy).abs() < 1e-13 * (1.0 + location.abs().min(4.0).powi(2)),
                    "entropy at {location}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn modes_and_refusals() {
        assert_eq!(TruncatedNormal::new(-2.0, Side::Negative).unwrap().mode(), Ok(-2.0));
        assert!(TruncatedNormal::new(-2.0, Side::Positive).unwrap().mode().is_err());
        assert!(
            TruncatedNormal::from_expectations(&TruncatedNormalExpectations { side: Side::Positive, mean: -0.1 })
                .is_err()
        );
        assert!(TruncatedNormal::new(f64::NAN, Side::Positive).is_err());
    }
}
