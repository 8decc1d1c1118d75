//! From an unconstrained number to the value of a variable outside the rows' plate.

/// How an unconstrained number becomes a variable's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transform {
    /// θ
    Identity,
    /// lower + e^θ
    Above(f32),
    /// upper − e^θ
    Below(f32),
    /// lower + (upper − lower)·logistic(θ)
    Between(f32, f32),
}

impl Transform {
    /// The value at θ and its derivative.
    #[must_use]
    pub fn value_and_slope(self, theta: f32) -> (f32, f32) {
        match self {
            Self::Identity => (theta, 1.0),
            Self::Above(lower) => (lower + theta.exp(), theta.exp()),
            Self::Below(upper) => (upper - theta.exp(), -theta.exp()),
            Self::Between(lower, upper) => {
                let s = 1.0 / (1.0 + (-theta).exp());
                (lower + (upper - lower) * s, (upper - lower) * s * (1.0 - s))
            }
        }
    }

    /// ln|slope| at θ and its derivative.
    #[must_use]
    pub fn log_slope(self, theta: f32) -> (f64, f64) {
        let theta = f64::from(theta);
        match self {
            Self::Identity => (0.0, 0.0),
            Self::Above(_) | Self::Below(_) => (theta, 1.0),
            Self::Between(lower, upper) => {
                let width = f64::from(upper - lower);
                let s = vi_families::special::logistic(theta);
                let softplus = vi_families::special::log1p_exp(theta);
                (width.ln() + theta - 2.0 * softplus, 1.0 - 2.0 * s)
            }
        }
    }

    /// Mean and sd of the value where θ ~ N(m, s²).
    #[must_use]
    pub fn moments(self, m: f64, s: f64) -> (f64, f64) {
        let exponential = (m + 0.5 * s * s).exp();
        let exponential = (exponential, exponential * (s * s).exp_m1().sqrt());
        match self {
            Self::Identity => (m, s),
            Self::Above(lower) => (f64::from(lower) + exponential.0, exponential.1),
            Self::Below(upper) => (f64::from(upper) - exponential.0, exponential.1),
            Self::Between(lower, upper) => {
                let width = f64::from(upper - lower);
                // Trapezoidal rule over ±9 sd, which is exact to rounding for such integrands.
                let (mut weights, mut first, mut second) = (0.0, 0.0, 0.0);
                for i in -180..=180 {
                    let e = f64::from(i) * 0.05;
                    let weight = (-0.5 * e * e).exp();
                    let p = vi_families::special::logistic(m + s * e);
                    weights += weight;
                    first += weight * p;
                    second += weight * p * p;
                }
                let mean = first / weights;
                let variance = (second / weights - mean * mean).max(0.0);
                (f64::from(lower) + width * mean, width * variance.sqrt())
            }
        }
    }

    /// The θ whose value this is; `None` outside the support.
    #[must_use]
    pub fn inverse(self, value: f32) -> Option<f32> {
        let theta = match self {
            Self::Identity => value,
            Self::Above(lower) => (value - lower).ln(),
            Self::Below(upper) => (upper - value).ln(),
            Self::Between(lower, upper) => {
                let s = (value - lower) / (upper - lower);
                (s / (1.0 - s)).ln()
            }
        };
        theta.is_finite().then_some(theta)
    }
}
