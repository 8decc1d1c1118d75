//! Rows in a random order, so that batches of neighbouring rows are random samples of the data however those are sorted.

use vi_run::seed::derive_seed;

use super::Lowering;

/// The numbers below `count` in an order drawn from `seed` (Fisher & Yates).
pub(crate) fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = seed;
    for i in (1..count).rev() {
        state = derive_seed(state, 1);
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}

impl Lowering<'_> {
    /// Shuffles the rows where the steps take batches of them.
    pub(super) fn shuffle(&mut self) {
        let inference = &self.graph.inference;
        let n = self.b.program.num_rows;
        if inference.batch_size.is_some_and(|size| size < n) {
            self.order = Some(permutation(n, derive_seed(inference.seed.unwrap_or(0), 6_999_999)));
            self.weights = self.weights.take().map(|w| self.in_order(&w, 1).into());
        }
    }

    /// Values `[rows, width]` in the order of the program's rows.
    pub(super) fn in_order<T: Copy>(&self, values: &[T], width: usize) -> Vec<T> {
        match &self.order {
            None => values.to_vec(),
            Some(order) => order.iter().flat_map(|r| &values[r * width..(r + 1) * width]).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lower::Model;
    use crate::tape::{Evaluation, Evaluator};

    fn model(inference: &str) -> Model {
        let list = |f: &dyn Fn(usize) -> String| (0..60).map(f).collect::<Vec<_>>().join(", ");
        let text = format!(
            "[data]\ncounts = \"c\"\n[data.values]\ny = [{}]\nx = [{}]\nc = [{}]\ng = [{}]\nh = [{}]\n\
             [plates]\nrow = \"rows\"\ngroup = {{ levels = \"g\" }}\nkind = {{ levels = \"h\" }}\n\
             [variables.a]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
             [variables.b]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
             [variables.p]\ndistribution = \"dirichlet\"\ndimension = \"kind\"\nconcentration = 1\n\
             [variables.k]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\nobserved = \"h\"\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"student-t\"\ndegrees_of_freedom = 4\nmean = \"a[g] + b*x\"\nsd = 1\n\
             observed = \"y\"\n[inference]\n{inference}\n",
            list(&|i| format!("{:.1}", i as f64 / 10.0 - 3.0)),
            list(&|i| format!("{:.2}", (i as f64).sin())),
            list(&|i| (1 + i % 3).to_string()),
            list(&|i| format!("\"g{}\"", i / 20)),
            list(&|i| format!("\"{}\"", if i < 40 { "u" } else { "v" })),
        );
        let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Model::new(&graph).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn all_rows_are_there_once_and_batches_are_samples() {
        let (plain, shuffled) = (model("seed = 0"), model("seed = 0\nbatch_size = 10"));
        let theta: Vec<f64> = (0..plain.program.dimension).map(|i| (i as f64 * 0.9).sin()).collect();
        let value = |model: &Model, rows: std::ops::Range<usize>, scale: f64| {
            let mut out = Evaluation::default();
            let evaluator = Evaluator::new(std::sync::Arc::clone(&model.program));
            evaluator.evaluate_rows(&theta, 1, rows, scale, true, &mut out);
            (out.values[0], out.gradients)
        };
        let (whole, again) = (value(&plain, 0..60, 1.0), value(&shuffled, 0..60, 1.0));
        assert!((whole.0 - again.0).abs() < 1e-10 * whole.0.abs());
        assert!(whole.1.iter().zip(&again.1).all(|(a, b)| (a - b).abs() < 1e-10));
        // Sorted rows: the first ten all lie in the first group, far below; shuffled ones do not.
        let worst = |model: &Model| {
            (0..6).map(|b| (value(model, b * 10..b * 10 + 10, 6.0).0 - whole.0).abs()).fold(0.0, f64::max)
        };
        assert!(worst(&shuffled) < 0.75 * worst(&plain), "{} against {}", worst(&shuffled), worst(&plain));
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut order = permutation(1000, 5);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_ne!(order, permutation(1000, 6));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, o)| i == *o));
    }
}
