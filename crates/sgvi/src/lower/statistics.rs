//! Densities of data given parameters that see no rows, as sufficient statistics times natural parameters: what is summed over is
//! summed in the statistics, once, or contracted with them in a matrix product, and a logarithm is taken for a parameter, not for a
//! cell of the data (exponential families: Bishop 2006, equation 2.194).

use std::ops::Range;
use std::sync::Arc;

use super::builder::Builder;
use super::linear::Pending;
use crate::density::Kernel;
use crate::tape::{Label, Nest, ScalarDensity, Shape, Source, UnaryFunction, Value};

/// A statistic of a cell, from the data among a kernel's arguments; `None` is 1.
type Statistic = Option<fn(&[f64; 5]) -> f64>;

impl Builder {
    /// A density that is left unwritten, since a sum of it may take less than all its elements: data by row and something else,
    /// parameters that see no rows.
    pub(super) fn density_by_statistics(
        &mut self,
        kernel: Kernel,
        arguments: &[Value],
        skip_missing: bool,
    ) -> Option<Value> {
        if self.eager || arguments[0].shape.axes.is_empty() || !self.has_statistics(kernel, arguments) {
            return None;
        }
        let density = Pending::Density { kernel, arguments: arguments.to_vec(), skip_missing };
        Some(self.pend(density, ScalarDensity::shape(arguments)))
    }

    /// Whether a kernel's density is Σⱼ Tⱼ(data) ηⱼ(parameters) and its arguments are such.
    fn has_statistics(&self, kernel: Kernel, arguments: &[Value]) -> bool {
        let Some(parameters) = parameters(kernel) else { return false };
        arguments.len() >= parameters.end
            && arguments[0].shape.rows
            && outside(&parameters, arguments).all(|i| arguments[i].is_data())
            && arguments[parameters.clone()].iter().all(|a| !a.shape.rows && !self.is_local(a))
            && arguments[parameters].iter().any(|a| !a.is_data())
    }

    /// The sum of a density that nothing has read yet to the axes of `keep`, each row counting as often as `weights` say, or `None`
    /// where its elements are no more work.
    pub(super) fn sum_by_statistics(
        &mut self,
        input: &Value,
        keep: &Shape,
        weights: Option<&Arc<Vec<f64>>>,
    ) -> Option<Value> {
        let Source::Latent(buffer) = input.source else { return None };
        let Some(Pending::Density { kernel, arguments, skip_missing }) = self.pending.get(&buffer).cloned() else {
            return None;
        };
        let drops_rows = input.shape.rows && !keep.rows;
        if !self.has_statistics(kernel, &arguments) || (drops_rows && self.in_batches) {
            return None;
        }
        let dropped: Vec<(Label, usize)> = input.shape.axes.iter().copied().filter(|a| !keep.has(a.0)).collect();
        let union = |indices: &mut dyn Iterator<Item = usize>| {
            indices.fold(Shape::default(), |shape, i| shape.union(&arguments[i].shape))
        };
        let among = parameters(kernel)?;
        let data = union(&mut outside(&among, &arguments));
        let latent = union(&mut among.clone());
        let shared = dropped.iter().copied().filter(|a| data.has(a.0) && latent.has(a.0)).collect::<Vec<_>>();
        if shared.len() > 1 || (dropped.is_empty() && !drops_rows) {
            return None;
        }
        let missing = skip_missing && self.numbers(&arguments[0])?.iter().any(|x| x.is_nan());
        let arrays: Vec<Value> = (0..5)
            .map(
                |i| if outside(&among, &arguments).any(|o| o == i) { arguments[i].clone() } else { self.constant(1.0) },
            )
            .collect();
        let kept = |a: &(Label, usize)| keep.has(a.0) || shared.contains(a);
        let shape = Shape { rows: data.rows && keep.rows, axes: data.axes.iter().copied().filter(kept).collect() };
        let count = weights.map_or(self.program.num_rows as f64, |w| w.iter().sum());
        let mut total: Option<Value> = None;
        for (statistic, mut parameter) in self.pairs(kernel, &arguments) {
            let statistic = match statistic {
                None if !missing => {
                    // Every cell counts once; those along the parameter's own axes are summed with it.
                    let cells: f64 = dropped.iter().filter(|a| !parameter.shape.has(a.0)).map(|a| a.1 as f64).product();
                    self.constant(if drops_rows { cells * count } else { cells })
                }
                statistic => {
                    let lacking: f64 = dropped
                        .iter()
                        .filter(|a| !data.has(a.0) && !parameter.shape.has(a.0))
                        .map(|a| a.1 as f64)
                        .product();
                    let sums = self.sums(statistic, &arrays, &data, &shape, weights.filter(|_| drops_rows));
                    self.scaled(lacking, &sums)
                }
            };
            for (label, size) in &dropped {
                if parameter.shape.has(*label) && !statistic.shape.has(*label) {
                    parameter = self.sum_over(&parameter, *label, *size);
                }
            }
            let (statistic, axis) = match shared.first() {
                Some(axis) if parameter.shape.has(axis.0) && statistic.shape.has(axis.0) => (statistic, Some(*axis)),
                // A parameter without the axis that others have.
                Some(axis) if statistic.shape.has(axis.0) => (self.sum_over(&statistic, axis.0, axis.1), None),
                _ => (statistic, None),
            };
            let part = match axis {
                Some(axis) => self.dot(&statistic, &parameter, axis),
                None => self.product(&statistic, &parameter),
            };
            total = Some(match total {
                Some(total) => self.sum(&total, &part),
                None => part,
            });
        }
        total.map(|total| self.sum_to(&total, keep))
    }

    /// Σ w T over the axes of `data` that `shape` lacks; cells without a value count nothing.
    fn sums(
        &mut self,
        statistic: Statistic,
        arrays: &[Value],
        data: &Shape,
        shape: &Shape,
        weights: Option<&Arc<Vec<f64>>>,
    ) -> Value {
        let rows = self.program.num_rows;
        let mut out = vec![0.0; shape.elements(rows)];
        let result = Value { source: Source::Data(0), shape: shape.clone() };
        let by_row = Value { source: Source::Data(0), shape: Shape { rows: weights.is_some(), axes: Vec::new() } };
        let weights = weights.map_or(&[1.0][..], |w| w);
        let numbers: Vec<Arc<Vec<f64>>> = arrays.iter().filter_map(|a| self.numbers(a)).collect();
        let values = [&result, &by_row, &arrays[0], &arrays[1], &arrays[2], &arrays[3], &arrays[4]];
        Nest::over(data, values, 1, 0, rows).run(|offsets, n, steps| {
            for i in 0..n {
                let at = |m: usize| offsets[m] + i * steps[m];
                let cell: [f64; 5] = std::array::from_fn(|a| numbers[a][at(a + 2)]);
                if !cell[0].is_nan() {
                    out[at(0)] += weights[at(1)] * statistic.map_or(1.0, |t| t(&cell));
                }
            }
        });
        self.data(shape.clone(), out)
    }

    /// The statistics and natural parameters of a kernel.
    fn pairs(&mut self, kernel: Kernel, arguments: &[Value]) -> Vec<(Statistic, Value)> {
        use UnaryFunction as F;
        let one = self.constant(1.0);
        let at = |i: usize| arguments[i.min(arguments.len() - 1)].clone();
        match kernel {
            // x ln p + (1 − x) ln(1 − p)
            Kernel::BernoulliProbability => {
                let (log, log1m) = (self.unary(F::LowestLog, &at(1)), self.unary(F::LowestLog1m, &at(1)));
                vec![(Some(|a| a[0]), log), (Some(|a| 1.0 - a[0]), log1m)]
            }
            // x η − ln(1 + e^η)
            Kernel::BernoulliLogit => {
                let normalizer = self.unary(F::Softplus, &at(1));
                let normalizer = self.unary(F::Negate, &normalizer);
                vec![(Some(|a| a[0]), at(1)), (None, normalizer)]
            }
            // ln C(n, x) + x ln p + (n − x) ln(1 − p)
            Kernel::BinomialProbability => {
                let (log, log1m) = (self.unary(F::LowestLog, &at(2)), self.unary(F::LowestLog1m, &at(2)));
                vec![(Some(|a| a[3]), one), (Some(|a| a[0]), log), (Some(|a| a[1] - a[0]), log1m)]
            }
            // ln C(n, x) + x η − n ln(1 + e^η)
            Kernel::BinomialLogit => {
                let normalizer = self.unary(F::Softplus, &at(2));
                let normalizer = self.unary(F::Negate, &normalizer);
                vec![(Some(|a| a[3]), one), (Some(|a| a[0]), at(2)), (Some(|a| a[1]), normalizer)]
            }
            // x ln λ − λ − ln x!
            Kernel::PoissonRate | Kernel::PoissonLogRate => {
                let (log, rate) = if kernel == Kernel::PoissonRate {
                    (self.unary(F::LowestLog, &at(1)), at(1))
                } else {
                    (at(1), self.unary(F::Exp, &at(1)))
                };
                let rate = self.unary(F::Negate, &rate);
                vec![(Some(|a| -a[2]), one), (Some(|a| a[0]), log), (None, rate)]
            }
            // ln λ − λ x
            Kernel::Exponential => {
                let log = self.unary(F::Log, &at(1));
                vec![(None, log), (Some(|a| -a[0]), at(1))]
            }
            // α ln β − ln Γ(α) + (α − 1) ln x − β x
            Kernel::Gamma => {
                let (log, power) = (self.unary(F::Log, &at(2)), self.shifted(-1.0, &at(1)));
                let normalizer = self.product(&at(1), &log);
                let normalizer = self.difference(&normalizer, &at(3));
                vec![(None, normalizer), (Some(|a| a[0].ln()), power), (Some(|a| -a[0]), at(2))]
            }
            // α ln β − ln Γ(α) − (α + 1) ln x − β / x
            Kernel::InverseGamma => {
                let (log, power) = (self.unary(F::Log, &at(2)), self.shifted(1.0, &at(1)));
                let normalizer = self.product(&at(1), &log);
                let normalizer = self.difference(&normalizer, &at(3));
                vec![(None, normalizer), (Some(|a| -a[0].ln()), power), (Some(|a| -1.0 / a[0]), at(2))]
            }
            // (α − 1) ln x + (β − 1) ln(1 − x) − ln B(α, β)
            Kernel::Beta => {
                let (alpha, beta) = (self.shifted(-1.0, &at(1)), self.shifted(-1.0, &at(2)));
                let normalizer = self.unary(F::Negate, &at(3));
                vec![(None, normalizer), (Some(|a| a[0].ln()), alpha), (Some(|a| (-a[0]).ln_1p()), beta)]
            }
            _ => Vec::new(),
        }
    }
}

/// Where the parameters stand among a kernel's arguments, where it has sufficient statistics.
fn parameters(kernel: Kernel) -> Option<Range<usize>> {
    use Kernel::*;
    match kernel {
        BernoulliProbability | BernoulliLogit | Exponential | PoissonRate | PoissonLogRate => Some(1..2),
        BinomialProbability | BinomialLogit => Some(2..3),
        Gamma | InverseGamma | Beta => Some(1..4),
        _ => None,
    }
}

/// The arguments that are not parameters.
fn outside(parameters: &Range<usize>, arguments: &[Value]) -> impl Iterator<Item = usize> {
    let parameters = parameters.clone();
    (0..arguments.len()).filter(move |i| !parameters.contains(i))
}
