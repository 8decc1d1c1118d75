//! Log densities of scalar distributions by the names that posteriors are reported under.

use crate::special::log1p_exp;
use crate::{beta, gamma, inverse_gamma, normal};

/// The log density at `x` of a distribution and its parameters by name, complete with its normalising constant; −∞ outside its
/// support. `None` where the name is not one of these, or a parameter is missing:
///
/// - `normal` (`mean`, `variance`), `gamma` (`shape`, `rate`), `inverse-gamma` (`shape`, `scale`), `beta` (`alpha`, `beta`);
/// - of x = f(θ), θ ~ N(`mean`, `sd`²): `log-normal` and `shifted-log-normal` (x = `lower` + exp θ, `lower` is 0 where it is not
///   given), `reflected-log-normal` (x = `upper` − exp θ), `logit-normal` (x = `lower` + (`upper` − `lower`) / (1 + exp −θ), between
///   0 and 1 where they are not given). Their densities are N(θ | mean, sd²) |dθ/dx|.
pub fn log_density(distribution: &str, parameter: &dyn Fn(&str) -> Option<f64>, x: f64) -> Option<f64> {
    let inside = |is_inside: bool, value: f64| if is_inside { value } else { f64::NEG_INFINITY };
    let transformed = |theta: f64, log_slope: f64| -> Option<f64> {
        let sd = parameter("sd")?;
        Some(normal::log_density(theta, parameter("mean")?, 1.0 / (sd * sd)) + log_slope)
    };
    match distribution {
        "normal" => Some(normal::log_density(x, parameter("mean")?, 1.0 / parameter("variance")?)),
        "gamma" => Some(inside(x > 0.0, gamma::log_density(x, parameter("shape")?, parameter("rate")?))),
        "inverse-gamma" => {
            Some(inside(x > 0.0, inverse_gamma::log_density(x, parameter("shape")?, parameter("scale")?)))
        }
        "beta" => Some(inside(x > 0.0 && x < 1.0, beta::log_density(x, parameter("alpha")?, parameter("beta")?))),
        "log-normal" | "shifted-log-normal" => {
            let height = x - parameter("lower").unwrap_or(0.0);
            Some(inside(height > 0.0, transformed(height.ln(), -height.ln())?))
        }
        "reflected-log-normal" => {
            let depth = parameter("upper")? - x;
            Some(inside(depth > 0.0, transformed(depth.ln(), -depth.ln())?))
        }
        "logit-normal" => {
            let (lower, upper) = (parameter("lower").unwrap_or(0.0), parameter("upper").unwrap_or(1.0));
            let theta = (x - lower).ln() - (upper - x).ln();
            // dx/dθ = (upper − lower) σ(θ) σ(−θ).
            let log_slope = log1p_exp(theta) + log1p_exp(-theta) - (upper - lower).ln();
            Some(inside(x > lower && x < upper, transformed(theta, log_slope)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_density_integrates_to_one() {
        /// A family, its parameters, and where its mass lies.
        type Case = (&'static str, &'static [(&'static str, f64)], f64, f64);
        let cases: [Case; 8] = [
            ("normal", &[("mean", 1.0), ("variance", 0.25)], -6.0, 8.0),
            ("gamma", &[("shape", 2.5), ("rate", 3.0)], -1.0, 12.0),
            ("inverse-gamma", &[("shape", 9.0), ("scale", 4.0)], -1.0, 30.0),
            ("beta", &[("alpha", 2.0), ("beta", 3.5)], -0.5, 1.5),
            ("log-normal", &[("mean", -0.5), ("sd", 0.4)], -1.0, 12.0),
            ("shifted-log-normal", &[("mean", -0.5), ("sd", 0.4), ("lower", 2.0)], 0.0, 14.0),
            ("reflected-log-normal", &[("mean", -0.5), ("sd", 0.4), ("upper", -2.0)], -14.0, 0.0),
            ("logit-normal", &[("mean", 0.3), ("sd", 0.8), ("lower", -1.0), ("upper", 3.0)], -2.0, 4.0),
        ];
        for (name, parameters, low, high) in cases {
            let parameter = |wanted: &str| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
            let steps = 400_000;
            let width = (high - low) / f64::from(steps);
            let total: f64 = (0..steps)
                .map(|i| log_density(name, &parameter, low + (f64::from(i) + 0.5) * width).unwrap().exp())
                .sum();
            assert!((total * width - 1.0).abs() < 1e-6, "{name}: {}", total * width);
            assert_eq!(log_density(name, &|_| None, 0.5), None, "{name} without parameters");
        }
        assert_eq!(log_density("wishart", &|_| Some(1.0), 0.5), None);
    }
}
