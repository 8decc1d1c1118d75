//! From unconstrained coordinates to the supports of the variables, with the logarithms of their Jacobians.

use vi_families::rows::double::{exp_in_place, log1p_exp_in_place, logistic_in_place};

use super::elementwise::buffer;
use super::nest::Nest;
use super::program::{Frame, Operation, Program};
use super::shape::Value;

/// Where a variable's coordinates stand and what its Jacobian counts for.
#[derive(Debug, Clone)]
pub(crate) struct Coordinates {
    /// First coordinate.
    pub offset: usize,
    /// Coordinates for each row (all of them where the variable has no rows).
    pub width: usize,
    /// Whether the variable has rows.
    pub rows: bool,
    /// The term that takes the log Jacobian; `None` for a point variable.
    pub term: Option<usize>,
}

impl Coordinates {
    /// The coordinates of one draw in the current chunk, as a range of `theta`.
    fn range(&self, program: &Program, frame: &Frame, draw: usize) -> std::ops::Range<usize> {
        let (from, rows) = if self.rows { (frame.start * self.width, frame.rows) } else { (0, 1) };
        let start = draw * program.dimension + self.offset + from;
        start..start + rows * self.width
    }

    /// The term that counts in this sweep.
    fn counted(&self, frame: &Frame) -> Option<usize> {
        self.term.filter(|_| self.rows || frame.first)
    }
}

/// The support of a scalar variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarTransformKind {
    /// x = θ
    Identity,
    /// x = lower + exp θ
    Lower,
    /// x = upper − exp θ
    Upper,
    /// x = lower + (upper − lower) · logistic θ
    Interval,
}

/// Not 0: a density that grows without bound towards the end of its support is not infinite where θ leaves the range of the numbers.
fn positive(value: f64) -> f64 {
    value.clamp(f64::MIN_POSITIVE, f64::INFINITY)
}

/// Not 0 or 1, for the same reason.
fn share(value: f64) -> f64 {
    value.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0)
}

/// x = T(θ), elementwise.
#[derive(Debug)]
pub(crate) struct ScalarTransform {
    /// Which.
    pub kind: ScalarTransformKind,
    /// θ.
    pub coordinates: Coordinates,
    /// Lower bound (data).
    pub lower: Value,
    /// Upper bound (data).
    pub upper: Value,
    /// x.
    pub output: Value,
}

impl ScalarTransform {
    fn nest(&self, frame: &Frame) -> Nest<3> {
        Nest::over(&self.output.shape, [&self.output, &self.lower, &self.upper], frame.draws, frame.start, frame.rows)
    }

    /// Copies the coordinates of the chunk, `[draws, rows, width]`.
    fn copy(&self, program: &Program, frame: &Frame, theta: &[f64], to: &mut [f64]) {
        let n = self.output.shape.elements(frame.rows);
        for draw in 0..frame.draws {
            to[draw * n..(draw + 1) * n].copy_from_slice(&theta[self.coordinates.range(program, frame, draw)]);
        }
    }
}

impl ScalarTransform {
    /// e^θ, or logistic θ where there are two bounds.
    fn moved(&self, theta: &[f64], moved: &mut Vec<f64>) {
        moved.clear();
        moved.extend_from_slice(theta);
        match self.kind {
            ScalarTransformKind::Identity => {}
            ScalarTransformKind::Lower | ScalarTransformKind::Upper => exp_in_place(moved),
            ScalarTransformKind::Interval => logistic_in_place(moved),
        }
    }
}

impl Operation for ScalarTransform {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut x = frame.take(out);
        self.copy(program, frame, theta, &mut x);
        if self.kind != ScalarTransformKind::Identity {
            let n = self.output.shape.elements(frame.rows);
            let counted = self.coordinates.counted(frame);
            let mut terms = std::mem::take(&mut frame.terms);
            let num_terms = program.terms.len();
            let (mut moved, [mut tails, b, c, d, e]) = std::mem::take(&mut frame.scratch);
            self.moved(&x[..frame.draws * n], &mut moved);
            if self.kind == ScalarTransformKind::Interval {
                tails.clear();
                tails.extend(x[..frame.draws * n].iter().map(|t| -t.abs()));
                log1p_exp_in_place(&mut tails);
            }
            let (lower, upper) = (frame.read(program, &self.lower), frame.read(program, &self.upper));
            self.nest(frame).run(|[ox, ol, ou], len, [_, sl, su]| {
                for i in 0..len {
                    let (t, y) = (x[ox + i], moved[ox + i]);
                    let (l, u) = (lower[ol + i * sl], upper[ou + i * su]);
                    let (value, jacobian) = match self.kind {
                        ScalarTransformKind::Lower => (l + positive(y), t),
                        ScalarTransformKind::Upper => (u - positive(y), t),
                        // log s + log(1 − s) = −|t| − 2 log(1 + e^−|t|)
                        _ => (l + (u - l) * share(y), (u - l).ln() - (t.abs() + 2.0 * tails[ox + i])),
                    };
                    x[ox + i] = value;
                    if let Some(term) = counted {
                        terms[(ox + i) / n * num_terms + term] += jacobian;
                    }
                }
            });
            frame.scratch = (moved, [tails, b, c, d, e]);
            frame.terms = terms;
        }
        frame.put(out, x);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let n = self.output.shape.elements(frame.rows);
        let mut gradient = std::mem::take(&mut frame.gradient);
        if self.kind == ScalarTransformKind::Identity {
            let g = &frame.adjoints[out];
            for draw in 0..frame.draws {
                let to = &mut gradient[self.coordinates.range(program, frame, draw)];
                for (to, g) in to.iter_mut().zip(&g[draw * n..(draw + 1) * n]) {
                    *to += g;
                }
            }
        } else {
            let counted = f64::from(u8::from(self.coordinates.counted(frame).is_some()));
            let (mut coordinates, [mut moved, b, c, d, e]) = std::mem::take(&mut frame.scratch);
            coordinates.resize(frame.draws * n, 0.0);
            self.copy(program, frame, theta, &mut coordinates);
            self.moved(&coordinates, &mut moved);
            let (lower, upper) = (frame.read(program, &self.lower), frame.read(program, &self.upper));
            let g = &frame.adjoints[out];
            self.nest(frame).run(|[ox, ol, ou], len, [_, sl, su]| {
                for i in 0..len {
                    let draw = (ox + i) / n;
                    let at = self.coordinates.range(program, frame, draw).start + (ox + i) % n;
                    let y = moved[ox + i];
                    let (dx, jacobian) = match self.kind {
                        ScalarTransformKind::Lower => (y, 1.0),
                        ScalarTransformKind::Upper => (-y, 1.0),
                        _ => ((upper[ou + i * su] - lower[ol + i * sl]) * y * (1.0 - y), 1.0 - 2.0 * y),
                    };
                    gradient[at] += g[ox + i] * dx + counted * jacobian;
                }
            });
            frame.scratch = (coordinates, [moved, b, c, d, e]);
        }
        frame.gradient = gradient;
    }
}

/// log π from stick-breaking coordinates: vₖ = logistic(θₖ − ln(K−1−k)), log πₖ = log vₖ + Σ_{j<k} log(1 − vⱼ).
#[derive(Debug)]
pub(crate) struct Simplex {
    /// θ, K − 1 for each simplex.
    pub coordinates: Coordinates,
    /// K.
    pub size: usize,
    /// Whether the density is over the sticks v instead of over π.
    pub sticks: bool,
    /// log π, `[…, K]`.
    pub output: Value,
}

impl Simplex {
    /// How often log(1 − vₖ) stands in the log Jacobian.
    fn weight(&self, k: usize) -> f64 {
        if self.sticks { 1.0 } else { (self.size - 1 - k) as f64 }
    }

    /// ln(K−1−k) for k < K − 1.
    fn offsets(&self, offsets: &mut Vec<f64>) {
        offsets.clear();
        offsets.extend((0..self.size - 1).map(|k| ((self.size - 1 - k) as f64).ln()));
    }
}

/// The log odds of all sticks of a draw, θ less the offsets of each simplex.
fn log_odds(theta: &[f64], offsets: &[f64], log_odds: &mut Vec<f64>) {
    log_odds.clear();
    for theta in theta.chunks_exact(offsets.len().max(1)) {
        log_odds.extend(theta.iter().zip(offsets).map(|(t, o)| t - o));
    }
}

impl Operation for Simplex {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let (k, n) = (self.size, self.output.shape.elements(frame.rows) / self.size);
        let (mut tails, [mut offsets, mut odds, c, d, e]) = std::mem::take(&mut frame.scratch);
        self.offsets(&mut offsets);
        for draw in 0..frame.draws {
            log_odds(&theta[self.coordinates.range(program, frame, draw)], &offsets, &mut odds);
            // log v = min(t, 0) − log(1 + e^−|t|), log(1 − v) = −max(t, 0) − log(1 + e^−|t|)
            tails.clear();
            tails.extend(odds.iter().map(|t| -t.abs()));
            log1p_exp_in_place(&mut tails);
            let mut jacobian = 0.0;
            for e in 0..n {
                let mut rest = 0.0;
                let y = &mut y[(draw * n + e) * k..(draw * n + e + 1) * k];
                let (odds, tails) = (&odds[e * (k - 1)..(e + 1) * (k - 1)], &tails[e * (k - 1)..(e + 1) * (k - 1)]);
                for (j, (t, tail)) in odds.iter().zip(tails).enumerate() {
                    let (log_v, log_1mv) = (t.min(0.0) - tail, -t.max(0.0) - tail);
                    y[j] = rest + log_v;
                    rest += log_1mv;
                    jacobian += log_v + self.weight(j) * log_1mv;
                }
                y[k - 1] = rest;
            }
            if let Some(term) = self.coordinates.counted(frame) {
                frame.terms[draw * program.terms.len() + term] += jacobian;
            }
        }
        frame.scratch = (tails, [offsets, odds, c, d, e]);
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (k, n) = (self.size, self.output.shape.elements(frame.rows) / self.size);
        let counted = f64::from(u8::from(self.coordinates.counted(frame).is_some()));
        let mut gradient = std::mem::take(&mut frame.gradient);
        let (mut sticks, [mut offsets, b, c, d, e]) = std::mem::take(&mut frame.scratch);
        self.offsets(&mut offsets);
        let g = &frame.adjoints[out];
        for draw in 0..frame.draws {
            let range = self.coordinates.range(program, frame, draw);
            log_odds(&theta[range.clone()], &offsets, &mut sticks);
            logistic_in_place(&mut sticks);
            let to = &mut gradient[range];
            for e in 0..n {
                let g = &g[(draw * n + e) * k..(draw * n + e + 1) * k];
                let mut later = g[k - 1];
                for j in (0..k - 1).rev() {
                    let v = sticks[e * (k - 1) + j];
                    to[e * (k - 1) + j] += (g[j] + counted) * (1.0 - v) - v * (later + counted * self.weight(j));
                    later += g[j];
                }
            }
        }
        frame.scratch = (sticks, [offsets, b, c, d, e]);
        frame.gradient = gradient;
    }
}

/// Increasing elements along the last axis: y₀ = θ₀ (or exp θ₀), yₖ = yₖ₋₁ + exp θₖ.
#[derive(Debug)]
pub(crate) struct Ordered {
    /// θ.
    pub coordinates: Coordinates,
    /// Length of the last axis.
    pub size: usize,
    /// Whether the first element is positive.
    pub positive: bool,
    /// y.
    pub output: Value,
}

impl Operation for Ordered {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let mut y = frame.take(out);
        let (k, n) = (self.size, self.output.shape.elements(frame.rows) / self.size);
        for draw in 0..frame.draws {
            let theta = &theta[self.coordinates.range(program, frame, draw)];
            let mut jacobian = 0.0;
            for e in 0..n {
                let mut sum = 0.0;
                for j in 0..k {
                    let t = theta[e * k + j];
                    let linear = j == 0 && !self.positive;
                    sum += if linear { t } else { t.exp() };
                    jacobian += if linear { 0.0 } else { t };
                    y[(draw * n + e) * k + j] = sum;
                }
            }
            if let Some(term) = self.coordinates.counted(frame) {
                frame.terms[draw * program.terms.len() + term] += jacobian;
            }
        }
        frame.put(out, y);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (k, n) = (self.size, self.output.shape.elements(frame.rows) / self.size);
        let counted = f64::from(u8::from(self.coordinates.counted(frame).is_some()));
        let mut gradient = std::mem::take(&mut frame.gradient);
        let g = &frame.adjoints[out];
        for draw in 0..frame.draws {
            let range = self.coordinates.range(program, frame, draw);
            let theta = &theta[range.clone()];
            let to = &mut gradient[range];
            for e in 0..n {
                let mut sum = 0.0;
                for j in (0..k).rev() {
                    sum += g[(draw * n + e) * k + j];
                    to[e * k + j] +=
                        if j == 0 && !self.positive { sum } else { sum * theta[e * k + j].exp() + counted };
                }
            }
        }
        frame.gradient = gradient;
    }
}

/// M = L Lᵀ with L lower triangular, its diagonal exp(θ); also log |M|.
#[derive(Debug)]
pub(crate) struct PositiveDefinite {
    /// θ: the lower triangle row by row, d(d + 1)/2 for each matrix.
    pub coordinates: Coordinates,
    /// d.
    pub size: usize,
    /// M, `[…, d, d]`.
    pub output: Value,
    /// log |M|, `[…]`.
    pub log_determinant: Value,
}

/// Writes L (row-major d × d) from the packed lower triangle.
fn unpack(theta: &[f64], d: usize, l: &mut [f64]) {
    l.fill(0.0);
    let mut at = 0;
    for i in 0..d {
        for j in 0..=i {
            l[i * d + j] = if i == j { theta[at].exp() } else { theta[at] };
            at += 1;
        }
    }
}

/// Largest dimension of a matrix-valued variable.
pub(crate) const MAX_MATRIX: usize = 32;

impl Operation for PositiveDefinite {
    fn forward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let (Some(out), Some(log_out)) = (buffer(&self.output), buffer(&self.log_determinant)) else { return };
        let (mut m, mut log) = (frame.take(out), frame.take(log_out));
        let (d, w) = (self.size, self.size * (self.size + 1) / 2);
        let n = self.log_determinant.shape.elements(frame.rows);
        let mut l = [0.0; MAX_MATRIX * MAX_MATRIX];
        let l = &mut l[..d * d];
        for draw in 0..frame.draws {
            let theta = &theta[self.coordinates.range(program, frame, draw)];
            let mut jacobian = 0.0;
            for e in 0..n {
                unpack(&theta[e * w..(e + 1) * w], d, l);
                let m = &mut m[(draw * n + e) * d * d..(draw * n + e + 1) * d * d];
                let mut sum = 0.0;
                for i in 0..d {
                    let t = theta[e * w + i * (i + 3) / 2];
                    sum += 2.0 * t;
                    jacobian += std::f64::consts::LN_2 + (d - i + 1) as f64 * t;
                    for j in 0..=i {
                        let value: f64 = (0..=j).map(|k| l[i * d + k] * l[j * d + k]).sum();
                        m[i * d + j] = value;
                        m[j * d + i] = value;
                    }
                }
                log[draw * n + e] = sum;
            }
            if let Some(term) = self.coordinates.counted(frame) {
                frame.terms[draw * program.terms.len() + term] += jacobian;
            }
        }
        frame.put(out, m);
        frame.put(log_out, log);
    }

    fn backward(&self, program: &Program, frame: &mut Frame, theta: &[f64]) {
        let (Some(out), Some(log_out)) = (buffer(&self.output), buffer(&self.log_determinant)) else { return };
        let (d, w) = (self.size, self.size * (self.size + 1) / 2);
        let n = self.log_determinant.shape.elements(frame.rows);
        let counted = f64::from(u8::from(self.coordinates.counted(frame).is_some()));
        let mut gradient = std::mem::take(&mut frame.gradient);
        let mut l = [0.0; MAX_MATRIX * MAX_MATRIX];
        let l = &mut l[..d * d];
        for draw in 0..frame.draws {
            let range = self.coordinates.range(program, frame, draw);
            let theta = &theta[range.clone()];
            let to = &mut gradient[range];
            for e in 0..n {
                unpack(&theta[e * w..(e + 1) * w], d, l);
                let g = &frame.adjoints[out][(draw * n + e) * d * d..(draw * n + e + 1) * d * d];
                let g_log = frame.adjoints[log_out][draw * n + e];
                for i in 0..d {
                    for j in 0..=i {
                        let slope: f64 = (j..d).map(|k| (g[i * d + k] + g[k * d + i]) * l[k * d + j]).sum();
                        let at = e * w + i * (i + 1) / 2 + j;
                        to[at] += if i == j {
                            slope * l[i * d + i] + 2.0 * g_log + counted * (d - i + 1) as f64
                        } else {
                            slope
                        };
                    }
                }
            }
        }
        frame.gradient = gradient;
    }
}
