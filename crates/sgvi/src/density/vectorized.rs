//! Loops for the common densities that the compiler and the row kernels vectorise: constant spread, contiguous values.

use vi_families::rows::double::{exp_in_place, ln_in_place, log1p_exp_and_logistic_into};

use super::{Kernel, Logarithms};

const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;
/// Elements that are worked on at a time.
const BLOCK: usize = 256;
/// Shorter runs are left to the plain loop.
const SHORTEST: usize = 8;

/// One run of elements, cut into blocks.
pub(super) struct Run<'a> {
    pub(super) n: usize,
    pub(super) offsets: [usize; 6],
    pub(super) steps: [usize; 6],
    pub(super) arguments: &'a [&'a [f64]; 5],
    pub(super) skip_missing: bool,
    pub(super) wanted: [bool; 5],
}

impl Run<'_> {
    /// The number that an argument repeats, or the first of its elements.
    fn constant(&self, argument: usize) -> f64 {
        self.arguments[argument][self.offsets[argument + 1]]
    }

    /// Copies a block of an argument, which is contiguous or repeated.
    fn load(&self, argument: usize, from: usize, to: &mut [f64]) {
        let at = self.offsets[argument + 1];
        match self.steps[argument + 1] {
            0 => to.fill(self.arguments[argument][at]),
            _ => to.copy_from_slice(&self.arguments[argument][at + from..at + from + to.len()]),
        }
    }

    fn contiguous(&self, arguments: &[usize]) -> bool {
        arguments.iter().all(|a| self.steps[a + 1] <= 1)
    }

    fn repeated(&self, arguments: &[usize]) -> bool {
        arguments.iter().all(|a| self.steps[a + 1] == 0)
    }

    /// Evaluates the run where there is a fast loop for it; whether there was.
    pub(super) fn evaluate(
        &self,
        kernel: Kernel,
        values: &mut [f64],
        partials: &mut [Vec<f64>; 5],
        logarithms: &mut Logarithms,
    ) -> bool {
        if self.n < SHORTEST {
            return false;
        }
        let done = match kernel {
            Kernel::NormalSd | Kernel::NormalPrecision | Kernel::NormalVariance
                if self.contiguous(&[0, 1]) && self.repeated(&[2]) =>
            {
                self.normal(kernel, values, partials);
                true
            }
            Kernel::NormalSd | Kernel::NormalPrecision | Kernel::NormalVariance
                if self.contiguous(&[0, 1]) && self.steps[3] == 1 =>
            {
                let log = logarithms.of_run(self.arguments[2], self.offsets[3], self.n);
                match (self.steps[1], self.steps[2]) {
                    (0, 0) => self.normal_of_spreads::<0, 0>(kernel, log, values, partials),
                    (0, _) => self.normal_of_spreads::<0, 1>(kernel, log, values, partials),
                    (_, 0) => self.normal_of_spreads::<1, 0>(kernel, log, values, partials),
                    _ => self.normal_of_spreads::<1, 1>(kernel, log, values, partials),
                }
                true
            }
            Kernel::StudentT if self.contiguous(&[0, 2]) && self.repeated(&[1, 3, 4]) => {
                self.student_t(values, partials);
                true
            }
            Kernel::BernoulliLogit if self.contiguous(&[0, 1]) => {
                self.bernoulli_logit(values, partials);
                true
            }
            Kernel::PoissonLogRate if self.contiguous(&[0, 1, 2]) => {
                self.poisson_log_rate(values, partials);
                true
            }
            _ => false,
        };
        if done && self.skip_missing {
            self.drop_missing(values, partials);
        }
        done
    }

    /// Missing cells count as zero.
    fn drop_missing(&self, values: &mut [f64], partials: &mut [Vec<f64>; 5]) {
        for j in 0..self.n {
            if self.arguments[0][self.offsets[1] + j * self.steps[1]].is_nan() {
                values[self.offsets[0] + j] = 0.0;
                for (partial, wanted) in partials.iter_mut().zip(self.wanted) {
                    if wanted {
                        partial[self.offsets[0] + j] = 0.0;
                    }
                }
            }
        }
    }

    /// Calls `block(from, length)` for every block.
    fn blocks(&self, mut block: impl FnMut(usize, usize)) {
        for from in (0..self.n).step_by(BLOCK) {
            block(from, BLOCK.min(self.n - from));
        }
    }

    fn put(&self, partials: &mut [Vec<f64>; 5], argument: usize, from: usize, n: usize, f: impl Fn(usize) -> f64) {
        if self.wanted[argument] {
            let at = self.offsets[0] + from;
            for (i, p) in partials[argument][at..at + n].iter_mut().enumerate() {
                *p = f(i);
            }
        }
    }

    fn normal(&self, kernel: Kernel, values: &mut [f64], partials: &mut [Vec<f64>; 5]) {
        let spread = self.constant(2);
        let (precision, log) = match kernel {
            Kernel::NormalSd => (1.0 / (spread * spread), -spread.ln()),
            Kernel::NormalVariance => (1.0 / spread, -0.5 * spread.ln()),
            _ => (spread, 0.5 * spread.ln()),
        };
        let constant = log - HALF_LN_TWO_PI;
        let (mut d, mut mean) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.blocks(|from, n| {
            let (d, mean) = (&mut d[..n], &mut mean[..n]);
            self.load(0, from, d);
            self.load(1, from, mean);
            d.iter_mut().zip(mean.iter()).for_each(|(d, m)| *d -= m);
            let at = self.offsets[0] + from;
            for (y, d) in values[at..at + n].iter_mut().zip(d.iter()) {
                *y = constant - 0.5 * precision * d * d;
            }
            self.put(partials, 0, from, n, |i| -precision * d[i]);
            self.put(partials, 1, from, n, |i| precision * d[i]);
            match kernel {
                Kernel::NormalSd => {
                    let inverse = 1.0 / spread;
                    self.put(partials, 2, from, n, |i| (precision * d[i] * d[i] - 1.0) * inverse);
                }
                Kernel::NormalVariance => {
                    self.put(partials, 2, from, n, |i| 0.5 * precision * (precision * d[i] * d[i] - 1.0));
                }
                _ => {
                    let half = 0.5 / spread;
                    self.put(partials, 2, from, n, |i| half - 0.5 * d[i] * d[i]);
                }
            }
        });
    }

    /// A spread for each element, whose logarithms are known; X and M are the steps of the value and the mean.
    fn normal_of_spreads<const X: usize, const M: usize>(
        &self,
        kernel: Kernel,
        log: &[f64],
        values: &mut [f64],
        partials: &mut [Vec<f64>; 5],
    ) {
        let n = self.n;
        let of = |argument: usize, step: usize| {
            let at = self.offsets[argument + 1];
            &self.arguments[argument][at..=at + (n - 1) * step]
        };
        let (x, mean, spread) = (of(0, X), of(1, M), of(2, 1));
        let d = |i: usize| x[i * X] - mean[i * M];
        let to = self.offsets[0];
        let values = &mut values[to..to + n];
        match kernel {
            Kernel::NormalPrecision => {
                for i in 0..n {
                    values[i] = 0.5 * log[i] - 0.5 * spread[i] * d(i) * d(i) - HALF_LN_TWO_PI;
                }
                self.put(partials, 0, 0, n, |i| -spread[i] * d(i));
                self.put(partials, 1, 0, n, |i| spread[i] * d(i));
                self.put(partials, 2, 0, n, |i| 0.5 / spread[i] - 0.5 * d(i) * d(i));
            }
            Kernel::NormalVariance => {
                for i in 0..n {
                    values[i] = -0.5 * (d(i) / spread[i]) * d(i) - 0.5 * log[i] - HALF_LN_TWO_PI;
                }
                self.put(partials, 0, 0, n, |i| -d(i) / spread[i]);
                self.put(partials, 1, 0, n, |i| d(i) / spread[i]);
                self.put(partials, 2, 0, n, |i| {
                    let w = d(i) / spread[i];
                    0.5 * (w * w - 1.0 / spread[i])
                });
            }
            _ => {
                let z = |i: usize| d(i) / spread[i];
                for i in 0..n {
                    values[i] = -0.5 * z(i) * z(i) - log[i] - HALF_LN_TWO_PI;
                }
                self.put(partials, 0, 0, n, |i| -z(i) / spread[i]);
                self.put(partials, 1, 0, n, |i| z(i) / spread[i]);
                self.put(partials, 2, 0, n, |i| (z(i) * z(i) - 1.0) / spread[i]);
            }
        }
    }

    fn student_t(&self, values: &mut [f64], partials: &mut [Vec<f64>; 5]) {
        let (nu, scale, normalizer) = (self.constant(1), self.constant(3), self.constant(4));
        let (inverse, constant, more) = (1.0 / scale, normalizer - scale.ln(), nu + 1.0);
        let (mut z, mut log) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.blocks(|from, n| {
            let (z, log) = (&mut z[..n], &mut log[..n]);
            self.load(0, from, z);
            self.load(2, from, log);
            for (z, l) in z.iter_mut().zip(log.iter_mut()) {
                // Beyond, squares overflow.
                *z = ((*z - *l) * inverse).clamp(-1e150, 1e150);
                *l = 1.0 + *z * *z / nu;
            }
            ln_in_place(log);
            let at = self.offsets[0] + from;
            for (y, l) in values[at..at + n].iter_mut().zip(log.iter()) {
                *y = constant - 0.5 * more * l;
            }
            self.put(partials, 0, from, n, |i| -more * z[i] * inverse / (nu + z[i] * z[i]));
            self.put(partials, 1, from, n, |i| {
                let z2 = z[i] * z[i];
                -0.5 * log[i] + 0.5 * more * z2 / (nu * (nu + z2))
            });
            self.put(partials, 2, from, n, |i| more * z[i] * inverse / (nu + z[i] * z[i]));
            self.put(partials, 3, from, n, |i| (more * z[i] * z[i] / (nu + z[i] * z[i]) - 1.0) * inverse);
            self.put(partials, 4, from, n, |_| 1.0);
        });
    }

    fn bernoulli_logit(&self, values: &mut [f64], partials: &mut [Vec<f64>; 5]) {
        let (mut x, mut eta, mut softplus, mut logistic) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        self.blocks(|from, n| {
            let (x, eta, softplus, logistic) = (&mut x[..n], &mut eta[..n], &mut softplus[..n], &mut logistic[..n]);
            self.load(0, from, x);
            self.load(1, from, eta);
            log1p_exp_and_logistic_into(eta, softplus, logistic);
            let at = self.offsets[0] + from;
            for (i, y) in values[at..at + n].iter_mut().enumerate() {
                *y = x[i] * eta[i] - softplus[i];
            }
            self.put(partials, 0, from, n, |i| eta[i]);
            self.put(partials, 1, from, n, |i| x[i] - logistic[i]);
        });
    }

    fn poisson_log_rate(&self, values: &mut [f64], partials: &mut [Vec<f64>; 5]) {
        let (mut k, mut eta, mut rate, mut constant) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        self.blocks(|from, n| {
            let (k, eta, rate, constant) = (&mut k[..n], &mut eta[..n], &mut rate[..n], &mut constant[..n]);
            self.load(0, from, k);
            self.load(1, from, eta);
            self.load(2, from, constant);
            rate.copy_from_slice(eta);
            exp_in_place(rate);
            let at = self.offsets[0] + from;
            for (i, y) in values[at..at + n].iter_mut().enumerate() {
                *y = k[i] * eta[i] - rate[i] - constant[i];
            }
            self.put(partials, 0, from, n, |_| 0.0);
            self.put(partials, 1, from, n, |i| k[i] - rate[i]);
            self.put(partials, 2, from, n, |_| -1.0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::type_complexity)]
    fn agrees_with_the_plain_densities() {
        let n = 300;
        let x: Vec<f64> = (0..n).map(|i| if i == 7 { f64::NAN } else { (i % 5) as f64 }).collect();
        let m: Vec<f64> = (0..n).map(|i| (i as f64 * 0.13).sin() * 2.0).collect();
        let spreads: Vec<f64> = m.iter().map(|m| 0.3 + m * m).collect();
        let (spread, nu, c) = ([1.3], [4.5], [-0.4]);
        let cases: Vec<(Kernel, [&[f64]; 5], [usize; 6])> = vec![
            (Kernel::NormalSd, [&x, &m, &spread, &spread, &spread], [1, 1, 1, 0, 0, 0]),
            (Kernel::NormalPrecision, [&x, &m, &spread, &spread, &spread], [1, 1, 1, 0, 0, 0]),
            (Kernel::NormalVariance, [&x, &spread, &spread, &spread, &spread], [1, 1, 0, 0, 0, 0]),
            (Kernel::NormalSd, [&x, &m, &spreads, &spread, &spread], [1, 1, 1, 1, 0, 0]),
            (Kernel::NormalPrecision, [&x, &spread, &spreads, &spread, &spread], [1, 1, 0, 1, 0, 0]),
            (Kernel::NormalVariance, [&c, &m, &spreads, &spread, &spread], [1, 0, 1, 1, 0, 0]),
            (Kernel::NormalPrecision, [&c, &spread, &spreads, &spread, &spread], [1, 0, 0, 1, 0, 0]),
            (Kernel::StudentT, [&x, &nu, &m, &spread, &c], [1, 1, 0, 1, 0, 0]),
            (Kernel::BernoulliLogit, [&x, &m, &m, &m, &m], [1, 1, 1, 1, 1, 1]),
            (Kernel::PoissonLogRate, [&x, &m, &m, &m, &m], [1, 1, 1, 1, 1, 1]),
        ];
        for (kernel, arguments, steps) in cases {
            let mut values = vec![0.0; n];
            let mut partials: [Vec<f64>; 5] = std::array::from_fn(|_| vec![0.0; n]);
            let run = Run { n, offsets: [0; 6], steps, arguments: &arguments, skip_missing: true, wanted: [true; 5] };
            assert!(run.evaluate(kernel, &mut values, &mut partials, &mut Logarithms::default()));
            for j in 0..n {
                let a: [f64; 5] = std::array::from_fn(|i| arguments[i][j * steps[i + 1]]);
                let (value, wanted) = if a[0].is_nan() { (0.0, [0.0; 5]) } else { kernel.at(&a, &[true; 5]) };
                assert!((values[j] - value).abs() < 1e-13 * (1.0 + value.abs()), "{kernel:?} {j}");
                for i in 0..3 {
                    let difference = (partials[i][j] - wanted[i]).abs();
                    assert!(difference < 1e-13 * (1.0 + wanted[i].abs()), "{kernel:?} {j} {i}");
                }
            }
        }
    }
}
