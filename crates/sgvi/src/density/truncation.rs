//! Log masses between bounds, by which truncated densities are renormalised.

use std::f64::consts::{FRAC_1_PI, LN_2, PI};

use vi_families::incomplete::{log_beta_tails, log_gamma_tails};
use vi_families::special::{self, log_normal_cdf, log1m_exp};

use super::Partials;
use super::real::log1p_square;
use super::relative::{NODES, finite};

/// Distance from the centre in scales beyond which nothing but the power of a heavy tail is left.
const FARTHEST: f64 = 1e100;

/// A distribution that can be truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Truncated {
    /// mean, sd
    Normal,
    /// location, scale, degrees of freedom
    StudentT,
    /// location, scale
    Cauchy,
    /// location, scale
    Laplace,
    /// location, scale
    Logistic,
    /// sd
    HalfNormal,
    /// scale
    HalfCauchy,
    /// scale, degrees of freedom
    HalfStudentT,
    /// mean, sd of the log
    LogNormal,
    /// rate
    Exponential,
    /// shape, rate
    Gamma,
    /// shape, scale
    InverseGamma,
    /// alpha, beta
    Beta,
}

impl Truncated {
    /// The log mass between bounds; the arguments are two parameters (where there is one, the second is not used), lower, upper, and a
    /// third parameter.
    pub(crate) fn mass(self, a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
        let (value, partials) = match self {
            Self::Normal => normal_mass(a),
            Self::StudentT => student_t_mass(a, wanted),
            Self::Cauchy => cauchy_mass(a),
            Self::Laplace => laplace_mass(a),
            Self::Logistic => logistic_mass(a),
            Self::HalfNormal => half_normal_mass(a),
            Self::HalfCauchy => half_cauchy_mass(a),
            Self::HalfStudentT => half_student_t_mass(a, wanted),
            Self::LogNormal => log_normal_mass(a),
            Self::Exponential => exponential_mass(a),
            Self::Gamma => gamma_mass(a, wanted),
            Self::InverseGamma => inverse_gamma_mass(a, wanted),
            Self::Beta => beta_mass(a, wanted),
        };
        finite(value, partials, a)
    }
}

/// A standard density: log F(z) below, log F(−z) by symmetry, log f(z), and for heavy tails its derivative.
struct Standard<L: Fn(f64) -> f64, D: Fn(f64) -> f64> {
    log_cdf: L,
    log_density: D,
    /// Where tails are heavy.
    heavy: Option<Heavy>,
}

/// What there is to know of tails f(z) ~ |z|^−(ν + 1).
#[derive(Clone, Copy)]
struct Heavy {
    /// ν.
    nu: f64,
    /// How far from the real line the density's logarithm is singular.
    singular: f64,
}

impl Heavy {
    /// d log f/dz = −(ν + 1) z/(ν + z²).
    fn slope(self, z: f64) -> f64 {
        if z == 0.0 { 0.0 } else { -(self.nu + 1.0) / (self.nu / z + z) }
    }
}

/// ln(eᵃ − eᵇ), a ≥ b.
fn log_difference(a: f64, b: f64) -> f64 {
    if b == f64::NEG_INFINITY { a } else { a + log1m_exp(b - a) }
}

/// ln(F(z_u) − F(z_l)) with z = (bound − location)/scale, for a density symmetric around zero.
fn mass<L: Fn(f64) -> f64, D: Fn(f64) -> f64>(a: &[f64; 5], standard: &Standard<L, D>) -> Partials {
    let [location, scale, lower, upper, _] = *a;
    let (zl, zu) = ((lower - location) / scale, (upper - location) / scale);
    if let Some(Heavy { nu, .. }) = standard.heavy {
        // So far out that only the power is left: there f(z; s) = f(z; s′) (s/s′)^ν.
        let nearest = if zl > 0.0 { lower - location } else { location - upper };
        if nearest / scale > FARTHEST {
            let wider = nearest / FARTHEST;
            let (value, mut partials) = mass(&[location, wider, lower, upper, a[4]], standard);
            partials[1] = nu / scale;
            return (value + nu * (scale.ln() - wider.ln()), partials);
        }
    }
    let narrow = standard.heavy.and_then(|heavy| narrow(a, standard, heavy));
    let log_mass = match narrow {
        Some((log_mass, _)) => log_mass,
        None if zl > 0.0 => log_difference((standard.log_cdf)(-zl), (standard.log_cdf)(-zu)),
        None => log_difference((standard.log_cdf)(zu), (standard.log_cdf)(zl)),
    };
    let at = |z: f64| if z.is_finite() { ((standard.log_density)(z) - log_mass).exp() } else { 0.0 };
    let (fl, fu) = (at(zl), at(zu));
    let moment = |z: f64, f: f64| if z.is_finite() { z * f } else { 0.0 };
    let [d_location, d_scale] =
        narrow.map_or([(fl - fu) / scale, (moment(zl, fl) - moment(zu, fu)) / scale], |(_, d)| d);
    (log_mass, [d_location, d_scale, -fl / scale, fu / scale, 0.0])
}

/// The log mass between bounds that are close to each other for their distance from the centre, where distribution functions would
/// cancel, with its derivatives in location and scale: quadrature of a density that hardly changes. `None` for other bounds.
fn narrow<L: Fn(f64) -> f64, D: Fn(f64) -> f64>(
    a: &[f64; 5],
    standard: &Standard<L, D>,
    heavy: Heavy,
) -> Option<(f64, [f64; 2])> {
    let [location, scale, lower, upper, _] = *a;
    let width = (upper - lower) / scale;
    let middle = (0.5 * (lower + upper) - location) / scale;
    let close = width.is_finite() && width < 0.2 * middle.abs().max(heavy.singular) && middle.is_finite();
    close.then(|| {
        let reference = (standard.log_density)(middle);
        let (mut mass, mut moved, mut stretched) = (0.0, 0.0, 0.0);
        for (node, weight) in NODES {
            for z in [middle - 0.5 * width * node, middle + 0.5 * width * node] {
                let density = 0.5 * weight * ((standard.log_density)(z) - reference).exp();
                let slope = heavy.slope(z);
                mass += density;
                moved -= density * slope;
                stretched -= density * (1.0 + z * slope);
            }
        }
        (reference + width.ln() + mass.ln(), [moved / mass / scale, stretched / mass / scale])
    })
}

/// Normal.
fn normal_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z == f64::NEG_INFINITY {
            z
        } else if z == f64::INFINITY {
            0.0
        } else {
            log_normal_cdf(z)
        }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -0.5 * z * z - 0.5 * (2.0 * PI).ln(), heavy: None })
}

/// Cauchy: F(z) = ½ + arctan(z)/π; for z < 0 arctan(1/|z|)/π keeps the tail's digits.
fn cauchy_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z < -1.0 { (FRAC_1_PI * (-1.0 / z).atan()).ln() } else { (0.5 + FRAC_1_PI * z.atan()).ln() }
    };
    mass(
        a,
        &Standard {
            log_cdf,
            log_density: |z: f64| -PI.ln() - log1p_square(z, 1.0, 1.0),
            heavy: Some(Heavy { nu: 1.0, singular: 1.0 }),
        },
    )
}

/// Laplace: F(z) = ½ eᶻ for z < 0.
fn laplace_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| if z < 0.0 { z - LN_2 } else { (-0.5 * (-z).exp()).ln_1p() };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -LN_2 - z.abs(), heavy: None })
}

/// Logistic: F(z) = 1/(1 + e⁻ᶻ).
fn logistic_mass(a: &[f64; 5]) -> Partials {
    let log_cdf = |z: f64| {
        if z == f64::NEG_INFINITY {
            z
        } else if z == f64::INFINITY {
            0.0
        } else {
            special::log_logistic(z)
        }
    };
    mass(a, &Standard { log_cdf, log_density: |z: f64| -z.abs() - 2.0 * (-z.abs()).exp().ln_1p(), heavy: None })
}

/// ln F(z) of Student's t with ν degrees of freedom: F(z) = ½ I(ν/2, ½; ν/(ν + z²)) for z < 0.
fn student_t_log_cdf(nu: f64, z: f64) -> f64 {
    if z.is_infinite() {
        return if z < 0.0 { z } else { 0.0 };
    }
    let ratio = z / nu.sqrt();
    let (near, far) = if ratio.abs() < 1.0 {
        (1.0 / (1.0 + ratio * ratio), ratio * ratio / (1.0 + ratio * ratio))
    } else {
        let inverse = ratio.recip() * ratio.recip();
        (inverse / (1.0 + inverse), 1.0 / (1.0 + inverse))
    };
    let tail = log_beta_tails(0.5 * nu, 0.5, near, far).0 - LN_2;
    if z < 0.0 { tail } else { log1m_exp(tail) }
}

/// Student's t.
fn student_t_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let nu = a[4];
    let normalizer = -special::ln_beta(0.5 * nu, 0.5) - 0.5 * nu.ln();
    let standard = Standard {
        log_cdf: |z: f64| student_t_log_cdf(nu, z),
        log_density: |z: f64| normalizer - 0.5 * (nu + 1.0) * log1p_square(z, 1.0, nu),
        heavy: Some(Heavy { nu, singular: nu.sqrt() }),
    };
    let (value, mut partials) = mass(a, &standard);
    if wanted[4] {
        partials[4] = difference(|nu| student_t_mass(&[a[0], a[1], a[2], a[3], nu], &[false; 5]).0, nu);
    }
    (value, partials)
}

/// f′(θ) for θ > 0 by differences of fourth order: the error is about 1e-10 of f and of its fifth derivative's part.
fn difference(f: impl Fn(f64) -> f64, theta: f64) -> f64 {
    let h = 1e-3 * theta;
    (f(theta - 2.0 * h) - 8.0 * f(theta - h) + 8.0 * f(theta + h) - f(theta + 2.0 * h)) / (12.0 * h)
}

/// ln of twice the mass of a density around zero between bounds that are not negative; arguments scale, further, lower, upper.
fn half(a: &[f64; 5], further: f64, mass: impl Fn(&[f64; 5]) -> Partials) -> (Partials, f64) {
    let [scale, _, lower, upper, _] = *a;
    let (value, [_, d_scale, d_lower, d_upper, d_further]) = mass(&[0.0, scale, lower.max(0.0), upper, further]);
    let d_lower = if lower > 0.0 { d_lower } else { 0.0 };
    ((value + LN_2, [d_scale, 0.0, d_lower, d_upper, 0.0]), d_further)
}

/// Half normal.
fn half_normal_mass(a: &[f64; 5]) -> Partials {
    half(a, 0.0, normal_mass).0
}

/// Half Cauchy.
fn half_cauchy_mass(a: &[f64; 5]) -> Partials {
    half(a, 0.0, cauchy_mass).0
}

/// Half Student's t; the second argument is the degrees of freedom.
fn half_student_t_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let ((value, mut partials), d_nu) = half(a, a[1], |b| student_t_mass(b, &[false, true, true, true, wanted[1]]));
    partials[1] = d_nu;
    (value, partials)
}

/// Log-normal: the mass of a normal between the logarithms of the bounds.
fn log_normal_mass(a: &[f64; 5]) -> Partials {
    let [mean, sd, lower, upper, _] = *a;
    let (value, [d_mean, d_sd, d_lower, d_upper, _]) =
        normal_mass(&[mean, sd, lower.max(0.0).ln(), upper.max(0.0).ln(), 0.0]);
    let d_lower = if lower > 0.0 { d_lower / lower } else { 0.0 };
    let d_upper = if upper.is_finite() { d_upper / upper } else { 0.0 };
    (value, [d_mean, d_sd, d_lower, d_upper, 0.0])
}

/// Exponential: e^(−λl) − e^(−λu); the second argument is not used.
fn exponential_mass(a: &[f64; 5]) -> Partials {
    let [rate, _, lower, upper, _] = *a;
    let low = lower.max(0.0);
    let value = -rate * low + if upper.is_finite() { log1m_exp(-rate * (upper - low)) } else { 0.0 };
    let at = |x: f64| if x.is_finite() { (-rate * x - value).exp() } else { 0.0 };
    let (fl, fu) = (at(low), at(upper));
    let d_rate = if upper.is_finite() { upper * fu } else { 0.0 } - low * fl;
    (value, [d_rate, 0.0, if lower > 0.0 { -rate * fl } else { 0.0 }, rate * fu, 0.0])
}

/// ln(F(u) − F(l)) from the log tails (ln F, ln(1 − F)) at both bounds, without cancellation.
fn between(lower: (f64, f64), upper: (f64, f64)) -> f64 {
    if lower.1 <= lower.0 {
        log_difference(lower.1, upper.1)
    } else if upper.0 <= upper.1 {
        log_difference(upper.0, lower.0)
    } else {
        (-(lower.0.exp() + upper.1.exp())).ln_1p()
    }
}

/// Gamma: differences for the shape; a change of the rate moves both bounds.
fn gamma_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [shape, rate, lower, upper, _] = *a;
    let (zl, zu) = (rate * lower.max(0.0), rate * upper);
    let log_mass = |shape: f64| between(log_gamma_tails(shape, zl), log_gamma_tails(shape, zu));
    let value = log_mass(shape);
    let normalizer = special::ln_gamma(shape);
    // z times the density of Gamma(shape, 1) at z, over the mass.
    let at = |z: f64| {
        if z > 0.0 && z.is_finite() { (shape * z.ln() - z - normalizer - value).exp() } else { 0.0 }
    };
    let (fl, fu) = (at(zl), at(zu));
    let d_shape = if wanted[0] { difference(log_mass, shape) } else { 0.0 };
    let per = |f: f64, x: f64| if x > 0.0 && x.is_finite() { f / x } else { 0.0 };
    (value, [d_shape, (fu - fl) / rate, -per(fl, lower), per(fu, upper), 0.0])
}

/// Inverse gamma: the mass of Gamma(shape, scale) between the reciprocals of the bounds.
fn inverse_gamma_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [shape, scale, lower, upper, _] = *a;
    let (value, [d_shape, d_scale, d_low, d_high, _]) =
        gamma_mass(&[shape, scale, 1.0 / upper, 1.0 / lower.max(0.0), 0.0], wanted);
    let d_lower = if lower > 0.0 { -d_high / (lower * lower) } else { 0.0 };
    let d_upper = if upper.is_finite() { -d_low / (upper * upper) } else { 0.0 };
    (value, [d_shape, d_scale, d_lower, d_upper, 0.0])
}

/// Beta: differences for both parameters.
fn beta_mass(a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
    let [alpha, beta, lower, upper, _] = *a;
    let (l, u) = (lower.max(0.0), upper.min(1.0));
    let log_mass = |alpha: f64, beta: f64| {
        between(log_beta_tails(alpha, beta, l, 1.0 - l), log_beta_tails(alpha, beta, u, 1.0 - u))
    };
    let value = log_mass(alpha, beta);
    let ln_beta = special::ln_beta(alpha, beta);
    let at = |x: f64| {
        if x > 0.0 && x < 1.0 {
            ((alpha - 1.0) * x.ln() + (beta - 1.0) * (-x).ln_1p() - ln_beta - value).exp()
        } else {
            0.0
        }
    };
    let d_alpha = if wanted[0] { difference(|a| log_mass(a, beta), alpha) } else { 0.0 };
    let d_beta = if wanted[1] { difference(|b| log_mass(alpha, b), beta) } else { 0.0 };
    (value, [d_alpha, d_beta, -at(lower), at(upper), 0.0])
}
