//! Exact predictive log densities of rows: every combination of the rows' categories, weighted by its expected probability.

use std::ops::Range;

use vi_families::special::log_add_exp;
use vi_model::data::MISSING_CODE;
use vi_model::graph::VariableId;

use super::Engine;
use super::local::Workspace;
use crate::error::CaviError;
use crate::factor::normal_gamma_parameters;
use crate::lower::{Location, Positive, Reading, Success, ValueDensity, ValueKind};
use crate::predictive as density;
use crate::program::{AxisIndex, Label, Step};

/// Labels that stand at one value.
type Fixed = [(Label, usize)];

/// Means and standard deviations, one of each for every element.
type MeansAndSds = (Vec<f64>, Vec<f64>);

/// The numbers behind a positive parameter in each element.
struct Numbers {
    /// The known part.
    multiplier: Vec<f64>,
    /// Shape and rate of the variable.
    gamma: Option<(Vec<f64>, Vec<f64>)>,
}

/// An axis with labels replaced by the values at which they stand.
fn fixed_axis(axis: &AxisIndex, fixed: &Fixed) -> AxisIndex {
    let mut out = AxisIndex { start: axis.start, parts: Vec::new() };
    for &(step, multiplier) in &axis.parts {
        match fixed.iter().find(|(label, _)| step == Step::Label(*label)) {
            Some((_, value)) => out.start += value * multiplier,
            None => out.parts.push((step, multiplier)),
        }
    }
    out
}

impl Engine {
    /// The log predictive density of every row under the factors, in nats; `None` where the model has no such form.
    pub(crate) fn row_densities(&self) -> Result<Option<Vec<f64>>, CaviError> {
        let Some(row) = &self.lowered.row_density else { return Ok(None) };
        let combinations: usize = row.gates.iter().map(|g| g.size).product();
        let num_rows = self.lowered.program.num_rows;
        let mut all = Vec::with_capacity(num_rows);
        let mut at = 0;
        while at < num_rows {
            let rows = at..(at + self.plan.chunk).min(num_rows);
            let mut workspace = Workspace::default();
            self.reader.read(rows.clone(), &mut workspace.data)?;
            let mut total = vec![f64::NEG_INFINITY; rows.len()];
            for combination in 0..combinations {
                let mut rest = combination;
                let categories: Vec<usize> = row
                    .gates
                    .iter()
                    .map(|g| {
                        let category = rest % g.size;
                        rest /= g.size;
                        category
                    })
                    .collect();
                let of = |gates: &[(usize, Label)]| -> Vec<(Label, usize)> {
                    gates.iter().map(|(gate, label)| (*label, categories[*gate])).collect()
                };
                let mut log = vec![0.0; rows.len()];
                for (gate, &category) in row.gates.iter().zip(&categories) {
                    let mut fixed = of(&gate.gates);
                    fixed.push((gate.category, category));
                    let weights = self.reading(&gate.weight, &fixed, &rows, &workspace);
                    log.iter_mut().zip(&weights).for_each(|(l, w)| *l += w.ln());
                    if let Some(known) = gate.known {
                        let codes = self.reader.codes(rows.clone())[known];
                        for (l, code) in log.iter_mut().zip(codes) {
                            if *code != MISSING_CODE && *code as usize != category {
                                *l = f64::NEG_INFINITY;
                            }
                        }
                    }
                }
                for value in &row.values {
                    self.add_value(value, &of(&value.gates), &rows, &workspace, &mut log);
                }
                total.iter_mut().zip(&log).for_each(|(t, l)| *t = log_add_exp(*t, *l));
            }
            all.extend(total);
            at = rows.end;
        }
        Ok(Some(all))
    }

    /// Means and standard deviations of counts of successes with normal log odds or a probit, in some rows, where no gate
    /// chooses among them: E[y] = n E[p], E[y²] = n E[p] + n(n − 1) E[p²].
    pub(crate) fn success_moments(&self, v: VariableId, rows: &Range<usize>) -> Result<Option<MeansAndSds>, CaviError> {
        let values = self.lowered.row_density.iter().flat_map(|d| &d.values);
        let Some(value) = values.filter(|value| value.gates.is_empty()).find(|value| value.variable == v) else {
            return Ok(None);
        };
        let ValueKind::Binomial { trials, success } = &value.kind else { return Ok(None) };
        let (Success::Logit(location) | Success::Probit(location)) = success else { return Ok(None) };
        let mut workspace = Workspace::default();
        self.reader.read(rows.clone(), &mut workspace.data)?;
        let (mean, variance) = self.location(location, &[], rows, &workspace);
        let n = self.reading(trials, &[], rows, &workspace);
        let moments = (0..n.len()).map(|i| {
            let (p, square) = match success {
                Success::Logit(_) => (
                    density::binomial_logit(1.0, 1.0, mean[i], variance[i]).exp(),
                    if n[i] > 1.0 { density::binomial_logit(2.0, 2.0, mean[i], variance[i]).exp() } else { 0.0 },
                ),
                // A probit has one trial.
                _ => (density::bernoulli_probit(1.0, mean[i], variance[i]).exp(), 0.0),
            };
            let mean = n[i] * p;
            (mean, (mean + n[i] * (n[i] - 1.0) * square - mean * mean).max(0.0).sqrt())
        });
        Ok(Some(moments.unzip()))
    }

    /// The numbers of a reading in some rows, `[rows, …]`.
    fn reading(&self, reading: &Reading, fixed: &Fixed, rows: &Range<usize>, workspace: &Workspace) -> Vec<f64> {
        let mut products = reading.products.clone();
        for axis in products.iter_mut().flat_map(|p| &mut p.1).flat_map(|o| &mut o.index) {
            *axis = fixed_axis(axis, fixed);
        }
        self.products_of_rows(&products, &reading.index, &reading.shape, rows, workspace)
    }

    fn numbers(&self, of: &Positive, fixed: &Fixed, rows: &Range<usize>, workspace: &Workspace) -> Numbers {
        let read = |reading: &Reading| self.reading(reading, fixed, rows, workspace);
        let gamma = of.gamma.as_ref().map(|gamma| {
            let (first, log) = (read(&gamma.natural[0]), read(&gamma.natural[1]));
            let shape = log.iter().map(|n| if gamma.inverse { -n - 1.0 } else { n + 1.0 }).collect();
            (shape, first.iter().map(|n| -n).collect())
        });
        Numbers { multiplier: read(&of.multiplier), gamma }
    }

    /// Means and variances.
    fn location(
        &self,
        of: &Location,
        fixed: &Fixed,
        rows: &Range<usize>,
        workspace: &Workspace,
    ) -> (Vec<f64>, Vec<f64>) {
        let read = |reading: &Reading| self.reading(reading, fixed, rows, workspace);
        let (mean, random, second) = (read(&of.mean), read(&of.random), read(&of.second));
        (mean, random.iter().zip(&second).map(|(m, s)| (s - m * m).max(0.0)).collect())
    }

    /// Adds the log density of an observed value, all its elements, to each row.
    fn add_value(
        &self,
        value: &ValueDensity,
        fixed: &Fixed,
        rows: &Range<usize>,
        workspace: &Workspace,
        log: &mut [f64],
    ) {
        let read = |reading: &Reading| self.reading(reading, fixed, rows, workspace);
        if let ValueKind::Categorical { probability, codes } = &value.kind {
            let weights = read(probability);
            let codes = self.reader.codes(rows.clone())[*codes];
            for ((l, w), code) in log.iter_mut().zip(weights).zip(codes) {
                *l += if *code == MISSING_CODE { 0.0 } else { w.ln() };
            }
            return;
        }
        let Some([x, present]) = &value.value else { return };
        let (x, present) = (read(x), read(present));
        // One number for each element of a row, zero where nothing was observed.
        let each = |log: &mut [f64], f: &dyn Fn(usize) -> f64| {
            let width = x.len() / rows.len().max(1);
            for (i, at) in (0..x.len()).filter(|&i| present[i] != 0.0).map(|i| (i, i / width)) {
                log[at] += f(i);
            }
        };
        match &value.kind {
            ValueKind::Normal { location, precision, degrees } => {
                let (mean, variance) = self.location(location, fixed, rows, workspace);
                let precision = self.numbers(precision, fixed, rows, workspace);
                let c = &precision.multiplier;
                each(log, &|i| match (&precision.gamma, degrees) {
                    (Some((shape, rate)), _) => {
                        density::normal_gamma_precision(x[i], mean[i], variance[i], shape[i], rate[i] / c[i])
                    }
                    (None, Some(degrees)) => density::student_t_uncertain(x[i], *degrees, mean[i], variance[i], c[i]),
                    (None, None) => density::normal_known_precision(x[i], mean[i], variance[i], c[i]),
                });
            }
            ValueKind::NormalGamma { natural, shift } => {
                let (natural, shift) = (natural.each_ref().map(read), read(shift));
                each(log, &|i| {
                    let own: Vec<&[f64]> = natural.iter().map(|n| &n[i..=i]).collect();
                    density::normal_gamma(x[i] - shift[i], normal_gamma_parameters(&own))
                });
            }
            ValueKind::LinearNormalGamma(pair) => {
                let (known, tau, log_tau) = (read(&pair.known), read(&pair.tau), read(&pair.log));
                let (scaled, square) = (read(&pair.scaled), read(&pair.square));
                each(log, &|i| {
                    let shape = log_tau[i] + 1.0 - 0.5 * pair.dimension as f64;
                    let mean = scaled[i] / tau[i];
                    // xᵀΛ⁻¹x of g = xᵀμ.
                    let spread = (square[i] - scaled[i] * mean).max(0.0);
                    density::normal_gamma(x[i] - known[i], (shape, shape / tau[i], mean, 1.0 / spread))
                });
            }
            ValueKind::NormalWishart { natural, shift } => {
                let d = shift.shape.last().copied().unwrap_or(1);
                let (natural, shift) = (natural.each_ref().map(read), read(shift));
                let mut last: Option<([Vec<f64>; 4], Option<density::NormalWishartDensity>)> = None;
                let elements = x.len() / d / rows.len().max(1);
                for element in 0..x.len() / d {
                    let sizes = [d * d, 1, d, 1];
                    let own: [&[f64]; 4] =
                        std::array::from_fn(|n| &natural[n][element * sizes[n]..(element + 1) * sizes[n]]);
                    // Most rows meet the same component as the one before.
                    if last.as_ref().is_none_or(|(known, _)| (0..4).any(|n| known[n] != own[n])) {
                        last = Some((own.map(<[f64]>::to_vec), density::NormalWishartDensity::new(own)));
                    }
                    let moved: Vec<f64> = (element * d..(element + 1) * d)
                        .map(|i| if present[i] == 0.0 { f64::NAN } else { x[i] - shift[i] })
                        .collect();
                    let found = last.as_ref().and_then(|(_, density)| density.as_ref());
                    log[element / elements.max(1)] += found.map_or(f64::NAN, |density| density.at(&moved));
                }
            }
            ValueKind::Binomial { trials, success } => {
                let n = read(trials);
                match success {
                    Success::Known(p) => {
                        let p = read(p);
                        each(log, &|i| density::binomial(x[i], n[i], p[i]));
                    }
                    Success::Beta(natural) => {
                        let [a, b] = natural.each_ref().map(read);
                        each(log, &|i| density::beta_binomial(x[i], n[i], a[i] + 1.0, b[i] + 1.0));
                    }
                    Success::Logit(location) => {
                        let (mean, variance) = self.location(location, fixed, rows, workspace);
                        each(log, &|i| density::binomial_logit(x[i], n[i], mean[i], variance[i]));
                    }
                    Success::Probit(location) => {
                        let (mean, variance) = self.location(location, fixed, rows, workspace);
                        each(log, &|i| density::bernoulli_probit(x[i], mean[i], variance[i]));
                    }
                }
            }
            ValueKind::Multinomial { parameters, known } => {
                let width = parameters.shape.last().copied().unwrap_or(1).max(1);
                let parameters = read(parameters);
                let elements = x.len() / width / rows.len().max(1);
                let pairs = x.chunks_exact(width).zip(parameters.chunks_exact(width));
                for (element, (counts, own)) in pairs.enumerate() {
                    log[element / elements.max(1)] += if *known {
                        density::multinomial(counts, own)
                    } else {
                        let alpha: Vec<f64> = own.iter().map(|n| n + 1.0).collect();
                        density::dirichlet_multinomial(counts, &alpha)
                    };
                }
            }
            ValueKind::Poisson(rate) => {
                let rate = self.numbers(rate, fixed, rows, workspace);
                let c = &rate.multiplier;
                each(log, &|i| match &rate.gamma {
                    Some((shape, rate)) => density::gamma_poisson(x[i], c[i], shape[i], rate[i]),
                    None => density::poisson(x[i], c[i]),
                });
            }
            ValueKind::Gamma { shape: s, rate } => {
                let (s, rate) = (read(s), self.numbers(rate, fixed, rows, workspace));
                let c = &rate.multiplier;
                each(log, &|i| match &rate.gamma {
                    Some((shape, rate)) => density::gamma_gamma(x[i], s[i], c[i], shape[i], rate[i]),
                    None => density::gamma(x[i], s[i], c[i]),
                });
            }
            ValueKind::Plain(density) => {
                let density = read(density);
                each(log, &|i| density[i]);
            }
            ValueKind::Categorical { .. } => {}
        }
    }
}
