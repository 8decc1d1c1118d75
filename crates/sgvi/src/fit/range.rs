//! Where a number lies that is reached from the whole line: its place there, and moments on its own scale.

/// The numbers that θ on the whole line stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Range {
    /// x = θ.
    Real,
    /// x = l + exp θ.
    Above(f64),
    /// x = u − exp θ.
    Below(f64),
    /// x = l + (u − l) · logistic θ.
    Between(f64, f64),
}

impl Range {
    /// θ of a number within; infinite at its ends.
    pub(crate) fn unconstrained(self, x: f64) -> f64 {
        match self {
            Self::Real => x,
            Self::Above(l) => (x - l).ln(),
            Self::Below(u) => (u - x).ln(),
            Self::Between(l, u) => (x - l).ln() - (u - x).ln(),
        }
    }

    /// Mean and sd of x where θ is normal with mean `m` and sd `s`.
    pub(crate) fn moments(self, m: f64, s: f64) -> (f64, f64) {
        let log_normal = || {
            let mean = (m + 0.5 * s * s).exp();
            (mean, mean * (s * s).exp_m1().sqrt())
        };
        match self {
            Self::Real => (m, s),
            Self::Above(l) => {
                let (mean, sd) = log_normal();
                (l + mean, sd)
            }
            Self::Below(u) => {
                let (mean, sd) = log_normal();
                (u - mean, sd)
            }
            Self::Between(l, u) => {
                // Trapezoidal rule over ±9 sd, which is exact to rounding for such integrands.
                let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
                for i in -180..=180 {
                    let z = f64::from(i) * 0.05;
                    let w = (-0.5 * z * z).exp();
                    let p = vi_families::special::logistic(m + s * z);
                    sum += w;
                    first += w * p;
                    second += w * p * p;
                }
                let mean = first / sum;
                (l + (u - l) * mean, (u - l) * (second / sum - mean * mean).max(0.0).sqrt())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_moments() {
        let (m, s) = (0.3, 0.7);
        for (range, at) in [
            (Range::Real, (|t: f64| t) as fn(f64) -> f64),
            (Range::Above(-2.0), |t| -2.0 + t.exp()),
            (Range::Below(1.0), |t| 1.0 - t.exp()),
            (Range::Between(-1.0, 4.0), |t| -1.0 + 5.0 / (1.0 + (-t).exp())),
        ] {
            assert!((range.unconstrained(at(m)) - m).abs() < 1e-12, "{range:?}");
            let (mut first, mut second, mut total) = (0.0, 0.0, 0.0);
            for i in -8000..8000 {
                let z = f64::from(i) * 1e-3;
                let w = (-0.5 * z * z).exp();
                (total, first, second) = (total + w, first + w * at(m + s * z), second + w * at(m + s * z).powi(2));
            }
            let mean = first / total;
            let (found, sd) = range.moments(m, s);
            assert!(
                (found - mean).abs() < 1e-9 && (sd - (second / total - mean * mean).sqrt()).abs() < 1e-8,
                "{range:?}"
            );
        }
    }
}
