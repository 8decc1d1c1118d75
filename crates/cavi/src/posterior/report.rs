//! What is reported of a factor of each family: its parameters in the family's own terms, means and marginal standard deviations.

use vi_families::{matrix, wishart::Wishart};

use crate::factor::{
    Family, NormalGammaVectorParameters, moment, moment_shape, normal_gamma_parameters, stick_parameters,
};

/// A global factor: its elements' natural parameters and expected statistics, one array for each statistic.
pub(super) struct Elements<'a> {
    pub(super) family: Family,
    pub(super) natural: &'a [Vec<f64>],
    pub(super) statistics: &'a [Vec<f64>],
    /// What lowering subtracted from a location, to be added again; empty: nothing.
    pub(super) shift: &'a [f64],
    pub(super) count: usize,
    /// Whether the model asks for a point estimate.
    pub(super) is_point: bool,
    /// Whether the factor is one, asked for or not.
    pub(super) stays_at_point: bool,
}

/// What is reported, for all elements one after the other; shapes are those inside an element.
#[derive(Default)]
pub(super) struct Report {
    /// The shape of a mean.
    pub(super) inner: Vec<usize>,
    pub(super) mean: Vec<f64>,
    pub(super) sd: Vec<f64>,
    /// Parameters of the family by name, with their shapes; a point has none.
    pub(super) parameters: Vec<(&'static str, Vec<usize>, Vec<f64>)>,
    /// Of a joint variable, with its shape.
    pub(super) expected_precision: Option<(Vec<usize>, Vec<f64>)>,
}

impl Report {
    /// Numbers without a spread.
    fn points(inner: Vec<usize>, mean: Vec<f64>) -> Self {
        Self { inner, sd: vec![0.0; mean.len()], mean, ..Self::default() }
    }

    fn with(mut self, name: &'static str, inner: &[usize], values: Vec<f64>) -> Self {
        self.parameters.push((name, inner.to_vec(), values));
        self
    }
}

/// A normal variable by its means `[plates, d]` and covariances `[plates, d, d]`; `dimension`: `None` for a scalar.
pub(super) fn normal(means: Vec<f64>, covariances: Vec<f64>, dimension: Option<usize>) -> Report {
    let d = dimension.unwrap_or(1);
    let inner: Vec<usize> = dimension.into_iter().collect();
    let sd = covariances.chunks_exact(d * d).flat_map(|c| (0..d).map(|i| c[i * d + i].max(0.0).sqrt())).collect();
    let report = Report { mean: means.clone(), sd, ..Report::default() }.with("mean", &inner, means);
    let report = match dimension {
        Some(_) => report.with("covariance", &[d, d], covariances),
        None => report.with("variance", &[], covariances),
    };
    Report { inner, ..report }
}

/// f(a, b) of each pair.
fn zipped(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

impl Elements<'_> {
    fn part<'s>(&self, arrays: &'s [Vec<f64>], s: usize, e: usize) -> &'s [f64] {
        let width = self.family.statistic_size(s);
        &arrays[s][e * width..(e + 1) * width]
    }

    /// The coefficient of statistic `s` of element `e` in log q.
    fn natural(&self, s: usize, e: usize) -> &[f64] {
        self.part(self.natural, s, e)
    }

    fn statistic(&self, s: usize, e: usize) -> &[f64] {
        self.part(self.statistics, s, e)
    }

    fn scalars(&self, of: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.count).map(of).collect()
    }

    fn shift(&self, at: usize) -> f64 {
        self.shift.get(at).copied().unwrap_or(0.0)
    }

    /// What is reported; `None` of auxiliary variables and chains, which have no entry, and of normal ones, which may be parts of a
    /// joint block (see [`normal`]).
    pub(super) fn report(&self) -> Option<Report> {
        Some(match self.family {
            Family::Partial(part) => self.partial(part.whole()),
            Family::Shape => Report::points(Vec::new(), self.scalars(|e| self.statistic(0, e)[0])),
            Family::Gamma => self.gamma(),
            Family::InverseGamma => self.inverse_gamma(),
            Family::Beta => self.beta(),
            Family::Dirichlet(k) => self.dirichlet(k),
            Family::StickBreaking(k) => self.stick_breaking(k),
            Family::Categorical(k) => self.indicators("probabilities", &[k]),
            Family::Bernoulli => self.indicators("probability", &[]),
            Family::Poisson => {
                let mean = self.statistics[0].clone();
                let sd = mean.iter().map(|m| m.sqrt()).collect();
                Report { mean: mean.clone(), sd, ..Report::default() }.with("rate", &[], mean)
            }
            Family::Wishart(d) => self.wishart(d)?,
            Family::NormalGamma => self.normal_gamma(),
            Family::NormalGammaVector(d) => self.normal_gamma_vector(d)?,
            Family::NormalWishart(d) => self.normal_wishart(d),
            Family::Normal
            | Family::NormalVector(_)
            | Family::TruncatedNormal
            | Family::PartialNormal(_)
            | Family::JaakkolaJordan
            | Family::LogGammaTangent
            | Family::LaplaceScale
            | Family::MarkovChain(_)
            | Family::GaussianMarkovChain(_)
            | Family::MarkovSteps(_)
            | Family::GaussianSteps(_) => return None,
        })
    }

    /// Elements some of which are observed, and so points among the others: means and sds say both.
    fn partial(&self, whole: Family) -> Report {
        let inner = moment_shape(whole, 1);
        let of = |power: i32| -> Vec<f64> {
            let count = self.family.num_statistics();
            let one = |e: usize| {
                let own: Vec<&[f64]> = (0..count).map(|s| self.natural(s, e)).collect();
                let expected: Vec<&[f64]> = (0..count).map(|s| self.statistic(s, e)).collect();
                moment(self.family, self.stays_at_point, &own, &expected, power)
            };
            (0..self.count).flat_map(one).collect()
        };
        let (mean, second) = (of(1), of(2));
        let d: usize = inner.iter().product();
        let place = |i: usize| if inner.is_empty() { i } else { (i / d) * d * d + (i % d) * (d + 1) };
        let sd = mean.iter().enumerate().map(|(i, m)| (second[place(i)] - m * m).max(0.0).sqrt()).collect();
        Report { inner, mean, sd, ..Report::default() }
    }

    fn gamma(&self) -> Report {
        if self.is_point {
            return Report::points(Vec::new(), self.scalars(|e| self.statistic(0, e)[0]));
        }
        let shape = self.scalars(|e| self.natural(1, e)[0] + 1.0);
        let rate = self.scalars(|e| -self.natural(0, e)[0]);
        let mean = zipped(&shape, &rate, |a, b| a / b);
        let sd = zipped(&shape, &rate, |a, b| a.sqrt() / b);
        Report { mean, sd, ..Report::default() }.with("shape", &[], shape).with("rate", &[], rate)
    }

    fn inverse_gamma(&self) -> Report {
        if self.is_point {
            return Report::points(Vec::new(), self.scalars(|e| 1.0 / self.statistic(0, e)[0]));
        }
        let shape = self.scalars(|e| -self.natural(1, e)[0] - 1.0);
        let scale = self.scalars(|e| -self.natural(0, e)[0]);
        let mean = zipped(&shape, &scale, |a, b| if a > 1.0 { b / (a - 1.0) } else { f64::INFINITY });
        let sd =
            zipped(&shape, &scale, |a, b| if a > 2.0 { b / ((a - 1.0) * (a - 2.0).sqrt()) } else { f64::INFINITY });
        Report { mean, sd, ..Report::default() }.with("shape", &[], shape).with("scale", &[], scale)
    }

    fn beta(&self) -> Report {
        if self.is_point {
            return Report::points(Vec::new(), self.scalars(|e| self.statistic(0, e)[0].exp()));
        }
        let alpha = self.scalars(|e| self.natural(0, e)[0] + 1.0);
        let beta = self.scalars(|e| self.natural(1, e)[0] + 1.0);
        let mean = zipped(&alpha, &beta, |a, b| a / (a + b));
        let sd = zipped(&alpha, &beta, |a, b| (a * b / (a + b + 1.0)).sqrt() / (a + b));
        Report { mean, sd, ..Report::default() }.with("alpha", &[], alpha).with("beta", &[], beta)
    }

    fn dirichlet(&self, k: usize) -> Report {
        if self.is_point {
            return Report::points(vec![k], self.statistics[0].iter().map(|l| l.exp()).collect());
        }
        let concentration: Vec<f64> = self.natural[0].iter().map(|n| n + 1.0).collect();
        let mut report = Report { inner: vec![k], ..Report::default() };
        for alpha in concentration.chunks_exact(k) {
            let total: f64 = alpha.iter().sum();
            report.mean.extend(alpha.iter().map(|a| a / total));
            report.sd.extend(alpha.iter().map(|a| (a / total * (1.0 - a / total) / (total + 1.0)).sqrt()));
        }
        report.with("concentration", &[k], concentration)
    }

    /// πᵢ = vᵢ Π_{j<i} (1 − vⱼ) with independent beta sticks: means and second moments are products.
    fn stick_breaking(&self, k: usize) -> Report {
        if self.is_point {
            return Report::points(vec![k], self.statistics[0].iter().map(|l| l.exp()).collect());
        }
        let mut report = Report { inner: vec![k], ..Report::default() };
        let (mut alphas, mut betas) = (Vec::new(), Vec::new());
        for e in 0..self.count {
            let sticks = stick_parameters(&[self.natural(0, e), self.natural(1, e), self.natural(2, e)]);
            let (mut rest, mut rest_square) = (1.0, 1.0);
            for &(a, b) in &sticks {
                let (m, total) = (a / (a + b), a + b);
                let square = a * (a + 1.0) / (total * (total + 1.0));
                report.mean.push(m * rest);
                report.sd.push((square * rest_square - m * m * rest * rest).max(0.0).sqrt());
                rest *= b / total;
                rest_square *= b * (b + 1.0) / (total * (total + 1.0));
            }
            report.mean.push(rest);
            report.sd.push((rest_square - rest * rest).max(0.0).sqrt());
            alphas.extend(sticks.iter().map(|s| s.0));
            betas.extend(sticks.iter().map(|s| s.1));
        }
        report.with("alpha", &[k - 1], alphas).with("beta", &[k - 1], betas)
    }

    /// Probabilities of categories, whose indicators have p (1 − p) as variance.
    fn indicators(&self, name: &'static str, inner: &[usize]) -> Report {
        let mean = self.statistics[0].clone();
        let sd = mean.iter().map(|p| (p * (1.0 - p)).max(0.0).sqrt()).collect();
        Report { inner: inner.to_vec(), mean: mean.clone(), sd, ..Report::default() }.with(name, inner, mean)
    }

    fn wishart(&self, d: usize) -> Option<Report> {
        if self.is_point {
            return Some(Report::points(vec![d, d], self.statistics[0].clone()));
        }
        let degrees = self.scalars(|e| 2.0 * self.natural(1, e)[0] + d as f64 + 1.0);
        let mut report = Report { inner: vec![d, d], ..Report::default() };
        let mut scales = Vec::new();
        for (e, nu) in degrees.iter().enumerate() {
            let scale: Vec<f64> = self.statistic(0, e).iter().map(|x| x / nu).collect();
            let posterior = Wishart::from_scale(d, *nu, scale.clone()).ok()?;
            report.mean.extend(posterior.mean());
            report.sd.extend(posterior.variance().iter().map(|v| v.sqrt()));
            scales.extend(scale);
        }
        Some(report.with("degrees_of_freedom", &[], degrees).with("scale", &[d, d], scales))
    }

    /// The marginal of the location is Student's t with 2a degrees of freedom.
    fn normal_gamma(&self) -> Report {
        let tau = self.scalars(|e| self.statistic(0, e)[0]);
        let mean = self.scalars(|e| self.statistic(2, e)[0] / self.statistic(0, e)[0] + self.shift(e));
        let expected_precision = Some((Vec::new(), tau));
        if self.is_point {
            return Report { expected_precision, ..Report::points(Vec::new(), mean) };
        }
        let all: Vec<(f64, f64, f64, f64)> = (0..self.count)
            .map(|e| {
                let own = [self.natural(0, e), self.natural(1, e), self.natural(2, e), self.natural(3, e)];
                normal_gamma_parameters(&own)
            })
            .collect();
        let sd = all
            .iter()
            .map(|(a, b, _, k)| if *a > 1.0 { (b / ((a - 1.0) * k)).sqrt() } else { f64::INFINITY })
            .collect();
        Report { mean: mean.clone(), sd, expected_precision, ..Report::default() }
            .with("mean", &[], mean)
            .with("mean_precision", &[], all.iter().map(|p| p.3).collect())
            .with("shape", &[], all.iter().map(|p| p.0).collect())
            .with("rate", &[], all.iter().map(|p| p.1).collect())
    }

    /// The marginal of the location is a t with 2a degrees of freedom and covariance Λ⁻¹ b/(a − 1).
    fn normal_gamma_vector(&self, d: usize) -> Option<Report> {
        let tau = self.scalars(|e| self.statistic(0, e)[0]);
        let expected_precision = Some((Vec::new(), tau.clone()));
        if self.is_point {
            let mean = (0..self.count * d).map(|i| self.statistics[2][i] / tau[i / d] + self.shift(i)).collect();
            return Some(Report { expected_precision, ..Report::points(vec![d], mean) });
        }
        let mut report = Report { inner: vec![d], expected_precision, ..Report::default() };
        let (mut precisions, mut shapes, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for e in 0..self.count {
            let natural = [self.natural(0, e), self.natural(1, e), self.natural(2, e), self.natural(3, e)];
            let own = NormalGammaVectorParameters::new(d, &natural).ok()?;
            let variance = own.expected_variance();
            report.mean.extend(own.mean.iter().enumerate().map(|(i, m)| m + self.shift(e * d + i)));
            report.sd.extend((0..d).map(|i| (own.inverse[i * d + i] * variance).sqrt()));
            precisions.extend((0..d * d).map(|i| -(natural[3][i] + natural[3][i % d * d + i / d])));
            shapes.push(own.shape);
            rates.push(own.rate);
        }
        let mean = report.mean.clone();
        Some(
            report
                .with("mean", &[d], mean)
                .with("mean_precision", &[d, d], precisions)
                .with("shape", &[], shapes)
                .with("rate", &[], rates),
        )
    }

    /// The marginal of the location is a t with ν − d + 1 degrees of freedom and precision κ(ν − d + 1)W.
    fn normal_wishart(&self, d: usize) -> Report {
        let mut report = Report {
            inner: vec![d],
            expected_precision: Some((vec![d, d], self.statistics[0].clone())),
            ..Report::default()
        };
        let (mut kappas, mut degrees, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for e in 0..self.count {
            let kappa = -2.0 * self.natural(3, e)[0];
            let nu = 2.0 * self.natural(1, e)[0] + d as f64;
            let location = self.natural(2, e).iter().enumerate();
            report.mean.extend(location.map(|(i, h)| h / kappa + self.shift(e * d + i)));
            let scale: Vec<f64> = self.statistic(0, e).iter().map(|x| x / nu).collect();
            let freedom = nu - d as f64 - 1.0;
            match matrix::inverse_and_log_determinant(&scale, d) {
                _ if self.is_point => report.sd.extend(vec![0.0; d]),
                Ok((inverse, _)) if freedom > 0.0 => {
                    report.sd.extend((0..d).map(|i| (inverse[i * d + i] / (kappa * freedom)).sqrt()));
                }
                _ => report.sd.extend(vec![f64::INFINITY; d]),
            }
            kappas.push(kappa);
            degrees.push(nu);
            scales.extend(scale);
        }
        if self.is_point {
            return report;
        }
        let mean = report.mean.clone();
        report
            .with("mean", &[d], mean)
            .with("mean_precision", &[], kappas)
            .with("degrees_of_freedom", &[], degrees)
            .with("scale", &[d, d], scales)
    }
}
