//! One element's update: natural parameters in, expected statistics and entropy out.

use vi_families::special;
use vi_families::{beta, gamma, inverse_gamma};

use super::{Family, gaussian, shape, simplex};

/// Smallest distance, in scales, that a Laplace distribution tells from zero.
const CLOSEST: f64 = 1e-10;

/// Natural parameters that no distribution of the family has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NaturalError(pub(crate) String);

impl NaturalError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Expected statistics and entropy of one element from its natural parameters.
///
/// `natural[s]` and `statistics[s]` hold one element's values of statistic `s`. A `point` gives the statistics of the
/// mode, and no entropy. Chains are joint over the rows and not updated here.
pub(crate) fn update(
    family: Family,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    match family {
        Family::Normal => {
            let (h, precision) = (natural[0][0], -2.0 * natural[1][0]);
            if !(precision > 0.0 && precision.is_finite() && h.is_finite()) {
                return Err(NaturalError::new(format!("precision {precision}, linear part {h}")));
            }
            let (mean, variance) = (h / precision, if point { 0.0 } else { 1.0 / precision });
            statistics[0][0] = mean;
            statistics[1][0] = mean * mean + variance;
            Ok(if point { 0.0 } else { 0.5 * ((2.0 * std::f64::consts::PI).ln() + 1.0 - precision.ln()) })
        }
        Family::NormalVector(d) => gaussian::update_vector(d, point, natural, statistics),
        Family::Gamma => {
            let (shape, rate) = (natural[1][0] + 1.0, -natural[0][0]);
            if point {
                // 0 where no message is of log x, as that of a rate whose counts are all zero.
                let mode = shape::gamma_mode(natural[1][0], rate)?;
                statistics[0][0] = mode;
                statistics[1][0] = simplex::finite_log(mode);
                return Ok(0.0);
            }
            positive("shape", shape)?;
            positive("rate", rate)?;
            let expectations = gamma::expectations(shape, rate);
            statistics[0][0] = expectations.mean;
            statistics[1][0] = expectations.mean_log;
            Ok(gamma::entropy(shape, rate))
        }
        Family::InverseGamma => {
            let (shape, scale) = (-natural[1][0] - 1.0, -natural[0][0]);
            if point {
                let mode = scale / (shape + 1.0);
                positive("mode", mode)?;
                statistics[0][0] = 1.0 / mode;
                statistics[1][0] = mode.ln();
                return Ok(0.0);
            }
            positive("shape", shape)?;
            positive("scale", scale)?;
            statistics[0][0] = shape / scale;
            statistics[1][0] = scale.ln() - special::digamma(shape);
            Ok(inverse_gamma::entropy(shape, scale))
        }
        Family::Wishart(d) => gaussian::update_wishart(d, point, natural, statistics),
        Family::NormalGamma => gaussian::update_normal_gamma(point, natural, statistics),
        Family::NormalGammaVector(d) => gaussian::update_normal_gamma_vector(d, point, natural, statistics),
        Family::NormalWishart(d) => gaussian::update_normal_wishart(d, point, natural, statistics),
        Family::Beta => {
            if point {
                (statistics[0][0], statistics[1][0]) = simplex::beta_mode_logs(natural[0][0], natural[1][0])?;
                return Ok(0.0);
            }
            let (a, b) = (natural[0][0] + 1.0, natural[1][0] + 1.0);
            positive("alpha", a)?;
            positive("beta", b)?;
            let total = special::digamma(a + b);
            statistics[0][0] = special::digamma(a) - total;
            statistics[1][0] = special::digamma(b) - total;
            Ok(beta::entropy(a, b))
        }
        Family::Dirichlet(_) => simplex::update_dirichlet(point, natural[0], statistics[0]),
        Family::StickBreaking(_) => simplex::update_sticks(point, natural, statistics),
        Family::Categorical(_) => simplex::update_categorical(point, natural[0], statistics[0]),
        Family::Bernoulli => {
            let log_odds = natural[0][0];
            if log_odds.is_nan() {
                return Err(NaturalError::new("log odds that are not a number"));
            }
            if point {
                statistics[0][0] = if log_odds > 0.0 { 1.0 } else { 0.0 };
                return Ok(0.0);
            }
            let p = special::logistic(log_odds);
            statistics[0][0] = p;
            // H = log(1 + eᵃ) − p·a, stable for either sign.
            Ok(if log_odds.is_infinite() { 0.0 } else { special::log1p_exp(log_odds) - p * log_odds })
        }
        Family::Poisson => {
            // log q = x η − log x! − e^η; the carrier cancels against that of p.
            let eta = natural[0][0];
            if eta.is_nan() || eta == f64::INFINITY {
                return Err(NaturalError::new(format!("log rate {eta}")));
            }
            let rate = eta.exp();
            statistics[0][0] = rate;
            Ok(if rate == 0.0 { 0.0 } else { rate - rate * eta })
        }
        Family::TruncatedNormal => gaussian::update_truncated(natural, statistics),
        Family::PartialNormal(d) => gaussian::update_partial(d, natural, statistics),
        Family::Shape => shape::update_shape(natural, statistics),
        Family::LogGammaTangent => shape::update_tangent(natural, statistics),
        Family::Partial(part) => part.update(point, natural, statistics),
        Family::JaakkolaJordan => {
            // The bound on log σ is tight at ξ² = E[f²] (Jaakkola & Jordan 2000; PRML 10.163).
            let weight = natural[1][0];
            if weight == 0.0 {
                statistics[0][0] = 0.0;
                statistics[1][0] = 0.0;
                return Ok(0.0);
            }
            let squared = (-natural[0][0] / weight).max(0.0);
            if !squared.is_finite() {
                return Err(NaturalError::new(format!("expected square of the log odds {squared}")));
            }
            let xi = squared.sqrt();
            let lambda = if xi < 1e-4 { 0.125 - squared / 96.0 } else { (0.5 * xi).tanh() / (4.0 * xi) };
            statistics[0][0] = lambda;
            statistics[1][0] = special::log_logistic(xi) - 0.5 * xi + lambda * squared;
            Ok(0.0)
        }
        Family::LaplaceScale => {
            // q(s) is the generalised inverse Gaussian with E[1/s] = 1/r, r² = E[(x − f)²]/b², and its whole part of the
            // ELBO is −log 2 − r = −½ r² E[1/s] + c (Andrews & Mallows 1974; Park & Casella 2008).
            let weight = natural[1][0];
            if weight == 0.0 {
                statistics[0][0] = 0.0;
                statistics[1][0] = 0.0;
                return Ok(0.0);
            }
            let r = (-2.0 * natural[0][0] / weight).max(0.0).sqrt();
            if !r.is_finite() {
                return Err(NaturalError::new(format!("expected distance {r}")));
            }
            // A point may lie on its observation: the weight stays finite.
            let r = r.max(CLOSEST);
            statistics[0][0] = 1.0 / r;
            statistics[1][0] = -std::f64::consts::LN_2 - 0.5 * r;
            Ok(0.0)
        }
        Family::MarkovChain(_) | Family::GaussianMarkovChain(_) | Family::MarkovSteps(_) | Family::GaussianSteps(_) => {
            Err(NaturalError::new("a chain has no update of single elements"))
        }
    }
}

/// Refuses a parameter that is not positive and finite.
pub(super) fn positive(name: &str, value: f64) -> Result<(), NaturalError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(NaturalError::new(format!("{name} {value} where a positive number is needed")))
    }
}
