//! Truncated densities measured from a point within the bounds, so that neither they nor their masses lose digits however far
//! in a tail the bounds are.
//!
//! With a reference point r between the bounds the truncated log density is \[ln f(x) − ln f(r)\] − ln ∫ f(y)/f(r) dy. Both parts are of the
//! size of the result, where ln f(x) and the log mass may both be −10²⁰.

use vi_families::special::{digamma, ln_beta, ln_gamma};

use super::Partials;
use super::truncation::Truncated;

/// Steps from the reference point beyond which nothing is left: the density has fallen by more than this factor's logarithm.
const NOTHING: f64 = -40.0;
/// Log masses above which the difference of two distribution functions keeps its digits.
const SAFE: f64 = -5.0;
/// The greatest distance of a reference point from a mode in units of the scale; beyond it squares overflow.
const FARTHEST: f64 = 1e150;

/// Positive nodes of Gauss–Legendre quadrature with 20 points on \[−1, 1\], and their weights.
pub(super) const NODES: [(f64, f64); 10] = [
    (0.07652652113349734, 0.15275338713072584),
    (0.22778585114164507, 0.14917298647260374),
    (0.37370608871541955, 0.14209610931838204),
    (0.5108670019508271, 0.13168863844917664),
    (0.636053680726515, 0.11819453196151843),
    (0.7463319064601508, 0.10193011981724044),
    (0.8391169718222188, 0.08327674157670475),
    (0.912234428251326, 0.06267204833410907),
    (0.9639719272779138, 0.04060142980038694),
    (0.9931285991850949, 0.017614007139152118),
];

/// Densities that fall to both sides of one place, in a coordinate t that is 0 at the reference point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Core {
    /// location, scale; y = r + scale·t
    Normal,
    /// location, scale; y = r + scale·t
    Laplace,
    /// location, scale; y = r + scale·t
    Logistic,
    /// shape, rate; y = r eᵗ
    Gamma,
    /// alpha, beta; logit y = logit r + t
    Beta,
}

/// A core density between bounds, with its reference point.
#[derive(Debug, Clone, Copy)]
struct Between {
    core: Core,
    p: [f64; 2],
    lower: f64,
    upper: f64,
    /// The reference point and its derivatives in both parameters.
    r: f64,
    dr: [f64; 2],
}

/// How a distribution's value gives that of its core density.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Identity,
    Logarithm,
    Reciprocal,
}

/// ln(x/y) without loss where the two are close.
fn log_ratio(x: f64, y: f64) -> f64 {
    let relative = (x - y) / y;
    if relative.abs() < 0.5 { relative.ln_1p() } else { x.ln() - y.ln() }
}

/// a b with 0 · ∞ = 0.
fn times(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a * b }
}

/// ln(1 − 2/(e^|z| + 1)) and relatives need |z| and e^(−|z|): 2|z|/(e^|z| + 1).
fn shortfall(z: f64) -> f64 {
    let e = (-z.abs()).exp();
    if e == 0.0 { 0.0 } else { 2.0 * z.abs() * e / (1.0 + e) }
}

/// −1, 0 or 1.
fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

impl Between {
    fn new(core: Core, p: [f64; 2], lower: f64, upper: f64) -> Self {
        let (centre, slopes) = match core {
            Core::Normal | Core::Laplace | Core::Logistic => (p[0], [1.0, 0.0]),
            Core::Gamma => (p[0] / p[1], [1.0 / p[1], -p[0] / (p[1] * p[1])]),
            Core::Beta => {
                let total = p[0] + p[1];
                (p[0] / total, [p[1] / total / total, -p[0] / total / total])
            }
        };
        let (least, most) = match core {
            Core::Gamma => (f64::MIN_POSITIVE, f64::MAX),
            Core::Beta => (f64::MIN_POSITIVE, 1.0 - f64::EPSILON),
            _ => (f64::MIN, f64::MAX),
        };
        let r = centre.max(lower).min(upper).clamp(least, most);
        let dr = if r == centre { slopes } else { [0.0; 2] };
        Self { core, p, lower, upper, r, dr }
    }

    /// The distance of the reference point from the mode of a location-scale family, in scales.
    fn distance(&self) -> f64 {
        ((self.r - self.p[0]) / self.p[1]).clamp(-FARTHEST, FARTHEST)
    }

    /// The coordinate of a value.
    fn coordinate(&self, y: f64) -> f64 {
        match self.core {
            Core::Normal | Core::Laplace | Core::Logistic => (y - self.r) / self.p[1],
            Core::Gamma => log_ratio(y, self.r),
            Core::Beta => log_ratio(y, self.r) - log_ratio(1.0 - y, 1.0 - self.r),
        }
    }

    /// ln of the density of t over that at t = 0, and the derivatives of ln f(y) − ln f(r) in both parameters, r and t as they are.
    fn at(&self, t: f64) -> (f64, [f64; 2]) {
        let [p, q] = self.p;
        match self.core {
            Core::Normal => {
                let e = self.distance();
                (-t * (0.5 * t + e), [t / q, t * (t + 2.0 * e) / q])
            }
            Core::Laplace => {
                let moved = if self.r == p { sign(t) / q } else { 0.0 };
                (-t.abs(), [moved, t.abs() / q])
            }
            Core::Logistic => {
                let e = self.distance();
                let (near, far) = (e, e + t);
                let log = |z: f64| (-z.abs()).exp().ln_1p();
                (
                    -t.abs() - 2.0 * (log(far) - log(near)),
                    [((0.5 * far).tanh() - (0.5 * near).tanh()) / q, (t.abs() - shortfall(far) + shortfall(near)) / q],
                )
            }
            Core::Gamma => {
                let grown = self.r * t.exp_m1();
                (p * t - q * grown, [t, -grown])
            }
            Core::Beta => {
                let log = self.log_complement(t);
                (p * t - (p + q) * log, [t - log, -log])
            }
        }
    }

    /// For a beta −ln((1 − y)/(1 − r)) = ln(1 + r (eᵗ − 1)).
    fn log_complement(&self, t: f64) -> f64 {
        if t > 30.0 {
            t + (self.r + (1.0 - self.r) * (-t).exp()).ln()
        } else {
            let x = self.r * t.exp_m1();
            if x > -0.5 { x.ln_1p() } else { ((1.0 - self.r) + self.r * t.exp()).ln() }
        }
    }

    /// d ln f/dy.
    fn slope(&self, y: f64) -> f64 {
        let [p, q] = self.p;
        match self.core {
            Core::Normal => -((y - p) / q).clamp(-FARTHEST, FARTHEST) / q,
            Core::Laplace => -sign(y - p) / q,
            Core::Logistic => -(0.5 * (y - p) / q).tanh() / q,
            Core::Gamma => (p - 1.0) / y - q,
            Core::Beta => (p - 1.0) / y - (q - 1.0) / (1.0 - y),
        }
    }

    /// ln f(y) − ln f(r) and its derivatives in y, r and the parameters.
    fn difference(&self, y: f64) -> (f64, f64, f64, [f64; 2]) {
        let [p, q] = self.p;
        let (value, parameters) = match self.core {
            Core::Gamma => {
                let log = log_ratio(y, self.r);
                (times(p - 1.0, log) - q * (y - self.r), [log, self.r - y])
            }
            Core::Beta => {
                let (log, rest) = (log_ratio(y, self.r), log_ratio(1.0 - y, 1.0 - self.r));
                (times(p - 1.0, log) + times(q - 1.0, rest), [log, rest])
            }
            _ => self.at(self.coordinate(y)),
        };
        (value, self.slope(y), -self.slope(self.r), parameters)
    }

    /// dy/dt at the reference point.
    fn unit(&self) -> f64 {
        match self.core {
            Core::Normal | Core::Laplace | Core::Logistic => self.p[1],
            Core::Gamma => self.r,
            Core::Beta => self.r * (1.0 - self.r),
        }
    }

    /// ∫ of the density over that at the reference point and of its derivatives' parts, from t = 0 to one side's bound: panels that
    /// double in width from one in which the density hardly changes.
    fn side(&self, end: f64) -> [f64; 3] {
        let mut sums = [0.0; 3];
        let (length, direction) = (end.abs(), sign(end));
        if length.is_nan() || length == 0.0 {
            return sums;
        }
        let mut to = length.min(1.0);
        while self.at(direction * to).0 < -1.0 && to > f64::MIN_POSITIVE {
            to *= 0.5;
        }
        let mut from = 0.0;
        loop {
            let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
            for (node, weight) in NODES {
                for t in [middle - half * node, middle + half * node] {
                    let (log, parts) = self.at(direction * t);
                    let mass = weight * half * log.exp();
                    if mass > 0.0 {
                        sums[0] += mass;
                        sums[1] += mass * parts[0];
                        sums[2] += mass * parts[1];
                    }
                }
            }
            if to >= length || self.at(direction * to).0 < NOTHING {
                return sums;
            }
            (from, to) = (to, (2.0 * to).min(length));
        }
    }

    /// ln ∫ f(y)/f(r) dy between the bounds, and the means of the derivatives in the parameters with r as it is.
    fn by_quadrature(&self) -> (f64, [f64; 2]) {
        let (below, above) = (self.side(self.coordinate(self.lower)), self.side(self.coordinate(self.upper)));
        let total: [f64; 3] = std::array::from_fn(|i| below[i] + above[i]);
        (total[0].ln() + self.unit().ln(), [total[1] / total[0], total[2] / total[0]])
    }

    /// The log mass between the bounds over the density at the reference point, with derivatives in the parameters and both bounds.
    fn mass(&self, closed: Option<(f64, [f64; 2])>, log_density: impl Fn(f64) -> (f64, [f64; 2])) -> (f64, [f64; 4]) {
        let (value, parameters) = match closed {
            // In the middle the distribution function itself serves.
            Some((log_mass, d)) if log_mass > SAFE => {
                let (log, own) = log_density(self.r);
                (log_mass - log, [d[0] - own[0], d[1] - own[1]])
            }
            _ => self.by_quadrature(),
        };
        let moved = -self.slope(self.r);
        let at = |y: f64| if y.is_finite() { (self.difference(y).0 - value).exp() } else { 0.0 };
        let own = |bound: f64| if self.r == bound { moved } else { 0.0 };
        (
            value,
            [
                parameters[0] + if self.dr[0] == 0.0 { 0.0 } else { moved * self.dr[0] },
                parameters[1] + if self.dr[1] == 0.0 { 0.0 } else { moved * self.dr[1] },
                own(self.lower) - at(self.lower),
                own(self.upper) + at(self.upper),
            ],
        )
    }
}

/// A distribution's parameters and bounds in terms of a core density, and the way back for derivatives.
struct Form {
    between: Between,
    map: Map,
    /// For each of the core's parameters the distribution's parameter that it is.
    parameters: [Option<usize>; 2],
    /// The derivatives of the core's bounds in the distribution's.
    bounds: [f64; 2],
}

impl Truncated {
    /// Whether the distribution has light tails: only then do its log density and log mass grow beyond all digits.
    pub(crate) fn is_light(self) -> bool {
        !matches!(self, Self::StudentT | Self::Cauchy | Self::HalfStudentT | Self::HalfCauchy)
    }

    /// The core density of parameters p and q between bounds.
    fn form(self, [p, q, lower, upper]: [f64; 4]) -> Form {
        let positive = lower.max(0.0);
        let inside = f64::from(u8::from(lower > 0.0));
        let (core, parameters, map, bounds, slopes, places) = match self {
            Self::Laplace => (Core::Laplace, [p, q], Map::Identity, [lower, upper], [1.0, 1.0], [Some(0), Some(1)]),
            Self::Logistic => (Core::Logistic, [p, q], Map::Identity, [lower, upper], [1.0, 1.0], [Some(0), Some(1)]),
            Self::HalfNormal => {
                (Core::Normal, [0.0, p], Map::Identity, [positive, upper], [inside, 1.0], [None, Some(0)])
            }
            Self::LogNormal => {
                let slopes = [if lower > 0.0 { 1.0 / lower } else { 0.0 }, 1.0 / upper];
                let bounds = [positive.ln(), upper.max(0.0).ln()];
                (Core::Normal, [p, q], Map::Logarithm, bounds, slopes, [Some(0), Some(1)])
            }
            Self::Exponential => {
                (Core::Gamma, [1.0, p], Map::Identity, [positive, upper], [inside, 1.0], [None, Some(0)])
            }
            Self::Gamma => (Core::Gamma, [p, q], Map::Identity, [positive, upper], [inside, 1.0], [Some(0), Some(1)]),
            Self::InverseGamma => {
                let slopes = [-1.0 / (upper * upper), if lower > 0.0 { -1.0 / (lower * lower) } else { 0.0 }];
                let bounds = [1.0 / upper, 1.0 / positive];
                (Core::Gamma, [p, q], Map::Reciprocal, bounds, slopes, [Some(0), Some(1)])
            }
            Self::Beta => {
                let slopes = [inside, f64::from(u8::from(upper < 1.0))];
                (Core::Beta, [p, q], Map::Identity, [positive, upper.min(1.0)], slopes, [Some(0), Some(1)])
            }
            Self::Normal | Self::StudentT | Self::Cauchy | Self::HalfStudentT | Self::HalfCauchy => {
                (Core::Normal, [p, q], Map::Identity, [lower, upper], [1.0, 1.0], [Some(0), Some(1)])
            }
        };
        Form { between: Between::new(core, parameters, bounds[0], bounds[1]), map, parameters: places, bounds: slopes }
    }

    /// ln f(x) − ln f(r); the arguments are x, two parameters and both bounds. Of light tails alone.
    pub(super) fn relative(self, a: &[f64; 5]) -> Partials {
        let x = a[0];
        let form = self.form([a[1], a[2], a[3], a[4]]);
        let b = &form.between;
        let (y, slope) = match form.map {
            Map::Identity => (x, 1.0),
            Map::Logarithm => (x.ln(), 1.0 / x),
            Map::Reciprocal => (1.0 / x, -1.0 / (x * x)),
        };
        let (value, dy, dr, parts) = b.difference(y);
        let (value, dx) = match form.map {
            Map::Identity => (value, dy),
            Map::Logarithm => (value - y, (dy - 1.0) / x),
            Map::Reciprocal => (value - 2.0 * x.ln(), dy * slope - 2.0 / x),
        };
        let own = |bound: f64| if b.r == bound { dr } else { 0.0 };
        let core = [0, 1].map(|i| parts[i] + times(b.dr[i], dr));
        let partials = form.back(core, [own(b.lower), own(b.upper)]);
        finite(value, [dx, partials[0], partials[1], partials[2], partials[3]], a)
    }

    /// ln ∫ f(y)/f(r) dy between the bounds; the arguments are two parameters and both bounds. Of light tails alone.
    pub(super) fn relative_mass(self, a: &[f64; 5], wanted: &[bool; 5]) -> Partials {
        let form = self.form([a[0], a[1], a[2], a[3]]);
        let b = &form.between;
        let (value, core) = b.mass(b.closed(wanted), |r| b.log_density(r));
        let [p, q, l, u] = form.back([core[0], core[1]], [core[2], core[3]]);
        finite(value, [p, q, l, u, 0.0], a)
    }

    /// ln P(X ≤ x) of the distribution between its bounds; the parameters stand as in [`Truncated::mass`].
    pub(crate) fn log_distribution(self, parameters: &[f64; 3], lower: f64, upper: f64, x: f64) -> f64 {
        let [p, q, further] = *parameters;
        if !self.is_light() {
            let mass = |to: f64| self.mass(&[p, q, lower, to, further], &[false; 5]).0;
            return mass(x) - mass(upper);
        }
        let whole = self.form([p, q, lower, upper]).between;
        let part = self.form([p, q, lower, x]).between;
        let mass = |b: &Between| b.mass(b.closed(&[false; 5]), |r| b.log_density(r)).0;
        mass(&part) + whole.difference(part.r).0 - mass(&whole)
    }
}

impl Form {
    /// Derivatives in the distribution's two parameters and bounds from those in the core's.
    fn back(&self, parameters: [f64; 2], bounds: [f64; 2]) -> [f64; 4] {
        let mut out = [0.0; 4];
        for (place, d) in self.parameters.iter().zip(parameters) {
            if let Some(place) = place {
                out[*place] += d;
            }
        }
        let (lower, upper) = if self.map == Map::Reciprocal { (3, 2) } else { (2, 3) };
        out[lower] = times(self.bounds[0], bounds[0]);
        out[upper] = times(self.bounds[1], bounds[1]);
        out
    }
}

impl Between {
    /// The log mass by the distribution function, with derivatives in the parameters; `None` where a series would be too long.
    fn closed(&self, wanted: &[bool; 5]) -> Option<(f64, [f64; 2])> {
        let ([p, q], a) = (self.p, [self.p[0], self.p[1], self.lower, self.upper, 0.0]);
        let family = match self.core {
            Core::Normal => Truncated::Normal,
            Core::Laplace => Truncated::Laplace,
            Core::Logistic => Truncated::Logistic,
            Core::Gamma => Truncated::Gamma,
            Core::Beta => Truncated::Beta,
        };
        let long = matches!(self.core, Core::Gamma | Core::Beta) && !(p.max(q) < 1e4 && p.min(q) > 1e-4);
        (!long).then(|| {
            let (value, d) = family.mass(&a, wanted);
            (value, [d[0], d[1]])
        })
    }

    /// ln f(y) and its derivatives in the parameters, in the middle of the distribution.
    fn log_density(&self, y: f64) -> (f64, [f64; 2]) {
        use super::{positive, real};
        let [p, q] = self.p;
        let (value, d) = match self.core {
            Core::Normal => real::normal_sd(&[y, p, q, 0.0, 0.0], f64::ln),
            Core::Laplace => real::laplace(&[y, p, q, 0.0, 0.0]),
            Core::Logistic => real::logistic(&[y, p, q, 0.0, 0.0]),
            Core::Gamma => {
                let (value, [x, shape, rate, ..]) = positive::gamma(&[y, p, q, ln_gamma(p), 0.0]);
                (value, [x, shape - digamma(p), rate, 0.0, 0.0])
            }
            Core::Beta => {
                let (value, [x, alpha, beta, ..]) = positive::beta(&[y, p, q, ln_beta(p, q), 0.0]);
                let total = digamma(p + q);
                (value, [x, alpha + total - digamma(p), beta + total - digamma(q), 0.0, 0.0])
            }
        };
        (value, [d[1], d[2]])
    }
}

/// A log density that is not a number at numbers is below all of them; where it is none its derivatives say nothing.
pub(super) fn finite(value: f64, partials: [f64; 5], arguments: &[f64; 5]) -> Partials {
    if arguments.iter().any(|a| a.is_nan()) {
        return (f64::NAN, [f64::NAN; 5]);
    }
    if !value.is_finite() {
        return (f64::NEG_INFINITY, [0.0; 5]);
    }
    (value, partials.map(|d| if d.is_nan() { 0.0 } else { d }))
}
