//! Sums and logarithms of products over many rows without loss of digits.

/// A sum with Neumaier's compensation: its error does not grow with the number of terms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompensatedSum {
    sum: f64,
    correction: f64,
}

impl CompensatedSum {
    /// Adds one term.
    #[inline(always)]
    pub(super) fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        let lost = if self.sum.abs() >= term.abs() { (self.sum - sum) + term } else { (term - sum) + self.sum };
        self.correction += lost;
        self.sum = sum;
    }

    /// The value of the sum.
    pub(super) fn value(self) -> f64 {
        self.sum + self.correction
    }
}

/// The logarithm of a product of positive numbers, with one logarithm for many factors.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogProduct {
    logs: CompensatedSum,
    product: f64,
}

impl LogProduct {
    /// The empty product.
    pub(super) fn new() -> Self {
        Self { logs: CompensatedSum::default(), product: 1.0 }
    }

    /// Multiplies by a positive factor.
    #[inline(always)]
    pub(super) fn multiply(&mut self, factor: f64) {
        if !(1e-150..=1e150).contains(&factor) {
            self.logs.add(factor.ln());
            return;
        }
        self.product *= factor;
        if !(1e-120..=1e120).contains(&self.product) {
            self.logs.add(self.product.ln());
            self.product = 1.0;
        }
    }

    /// Adds a number to the logarithm.
    #[inline(always)]
    pub(super) fn add_log(&mut self, log: f64) {
        self.logs.add(log);
    }

    /// The logarithm of the product.
    pub(super) fn value(mut self) -> f64 {
        self.logs.add(self.product.ln());
        self.logs.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_beside_large_ones() {
        let mut sum = CompensatedSum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn log_product_is_the_sum_of_logs() {
        let mut product = LogProduct::new();
        for _ in 0..10_000 {
            product.multiply(1e-150);
            product.multiply(3.0);
        }
        product.multiply(1e-300);
        let expected = 10_000.0 * (3f64.ln() - 150.0 * std::f64::consts::LN_10) - 300.0 * std::f64::consts::LN_10;
        assert!((product.value() / expected - 1.0).abs() < 1e-14);
    }
}
