//! Predictions against closed forms: conjugate models, mixtures, regressions, new levels, sampled and summed-out variables.

use vi_families::special::{ln_beta, ln_choose, log_sum_exp};
use vi_model::data::{Cells, Data};

use super::*;
use crate::fit::run::fit;
use crate::fitted::FitOptions;

const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

fn predicted(text: &str, new: Vec<(&str, Cells)>, draws: usize) -> Prediction {
    try_predicted(text, new, draws).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn try_predicted(text: &str, new: Vec<(&str, Cells)>, draws: usize) -> Result<Prediction, PredictError> {
    let graph =
        vi_model::load_str(text, "test.toml", std::path::Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let fitted = fit(&graph, FitOptions::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let q = fitted.gaussian.expect("an approximation");
    let data =
        Data::from_columns(new.into_iter().map(|(name, cells)| (name.to_owned(), cells)).collect()).expect("data");
    predict(&graph, &fitted.model, &q, &data, &PredictOptions { draws, keep_draws: true, ..PredictOptions::default() })
}

fn numbers(values: &[f64]) -> Cells {
    Cells::Numbers(values.to_vec())
}

fn texts(values: &[&str]) -> Cells {
    Cells::Text(values.iter().map(|v| Some((*v).to_owned())).collect())
}

fn close(found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{found}, wanted {wanted} ± {tolerance}");
}

fn log_normal(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / variance + variance.ln() + LN_TWO_PI)
}

/// μ ~ N(0, 2²), y ~ N(μ, 1.5²): the predictive distribution is N(m, s² + 1.5²).
#[test]
fn conjugate_normal() {
    let y = [0.3, -0.4, 1.1, 0.9, 1.2, 2.6];
    let text = "[data.values]\ny = [0.3, -0.4, 1.1, 0.9, 1.2, 2.6]\n[plates]\nrow = \"rows\"\n\
        [variables.mu]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu\"\nsd = 1.5\nobserved = \"y\"\n";
    let new = [0.0, 3.0, f64::NAN];
    let out = predicted(text, vec![("y", numbers(&new))], 40_000);
    let precision = 0.25 + y.len() as f64 / 2.25;
    let mean = y.iter().sum::<f64>() / 2.25 / precision;
    let variance = 1.0 / precision + 2.25;
    let x = &out.variables[0];
    let density = out.log_density.expect("densities");
    for (row, y) in new.iter().enumerate() {
        close(x.means[row], mean, 1e-3);
        close(x.sds[row], variance.sqrt(), 1e-3);
        for (at, z) in [(0, -1.644_854), (1, 0.0), (2, 1.644_854)] {
            close(x.quantiles[at][row], mean + z * variance.sqrt(), 0.07);
        }
        if y.is_nan() {
            assert!(density[row].is_nan());
        } else {
            close(density[row], log_normal(*y, mean, variance), 5e-3);
        }
    }
    assert_eq!(x.draws.len(), 3 * 40_000);
    // Without the observed column there are no densities.
    let out = predicted(text, vec![("other", numbers(&[1.0]))], 100);
    assert_eq!((out.log_density, out.num_rows), (None, 1));
}

/// θ ~ Beta(2, 3): beta-binomial predictions, with trials that differ by row.
#[test]
fn beta_binomial() {
    let text = "[data.values]\nk = [3, 5, 2]\nn = [10, 12, 9]\n[plates]\nrow = \"rows\"\n\
        [variables.theta]\ndistribution = \"beta\"\nalpha = 2.0\nbeta = 3.0\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"binomial\"\ntrials = \"n\"\nprobability = \"theta\"\nobserved = \"k\"\n\
        [inference]\nfamily = \"full-rank\"\n";
    let out = predicted(text, vec![("k", numbers(&[4.0, 0.0])), ("n", numbers(&[8.0, 3.0]))], 40_000);
    let (a, b) = (12.0, 24.0);
    for (row, (k, n)) in [(4.0, 8.0), (0.0, 3.0)].into_iter().enumerate() {
        let mean = n * a / (a + b);
        let variance = n * a * b * (a + b + n) / ((a + b) * (a + b) * (a + b + 1.0));
        close(out.variables[0].means[row], mean, 0.02);
        close(out.variables[0].sds[row], variance.sqrt(), 0.02);
        let exact = ln_choose(n, k) + ln_beta(k + a, n - k + b) - ln_beta(a, b);
        close(out.log_density.as_ref().expect("densities")[row], exact, 0.01);
    }
    let error = try_predicted(text, vec![("k", numbers(&[4.0]))], 100).unwrap_err().to_string();
    assert!(error.contains("`n`") && error.contains("`x`"), "{error}");
}

/// A regression with standardized covariates, an expression, and levels: known ones, and new ones from the prior.
#[test]
fn regression_with_levels() {
    let text = "[data.values]\ny = [1.0, 2.1, 2.9, 4.2, 5.1, 5.8]\nu = [10, 20, 30, 40, 50, 60]\n\
        g = [\"a\", \"b\", \"a\", \"b\", \"a\", \"b\"]\n[data]\nstandardize = [\"u\"]\n\
        [plates]\nrow = \"rows\"\ngroup = { levels = \"g\" }\n\
        [variables.slope]\ndistribution = \"normal\"\nmean = 0.0\nsd = 10.0\n\
        [variables.level]\nplates = [\"group\"]\ndistribution = \"normal\"\nmean = 3.0\nsd = 2.0\n\
        [expressions]\neta = \"level[g] + slope * u\"\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"eta\"\nsd = 0.5\nobserved = \"y\"\n\
        [inference]\nfamily = \"full-rank\"\n";
    let new =
        vec![("u", numbers(&[35.0, 70.0, 35.0])), ("g", texts(&["a", "b", "new"])), ("y", numbers(&[3.5, 6.5, 3.0]))];
    let out = predicted(text, new, 40_000);
    // The exact posterior of (slope, level a, level b), by its normal equations.
    let scale = (875.0_f64 / 3.0).sqrt();
    let design: Vec<[f64; 3]> = (0..6)
        .map(|i| [(10.0 * (f64::from(i) + 1.0) - 35.0) / scale, f64::from(1 - i % 2), f64::from(i % 2)])
        .collect();
    let y = [1.0, 2.1, 2.9, 4.2, 5.1, 5.8];
    let mut lambda = nalgebra::DMatrix::from_diagonal(&nalgebra::DVector::from_vec(vec![0.01, 0.25, 0.25]));
    let mut right = nalgebra::DVector::from_vec(vec![0.0, 0.75, 0.75]);
    for (row, y) in design.iter().zip(y) {
        for i in 0..3 {
            right[i] += 4.0 * row[i] * y;
            for j in 0..3 {
                lambda[(i, j)] += 4.0 * row[i] * row[j];
            }
        }
    }
    let covariance = lambda.try_inverse().expect("positive definite");
    let mean = &covariance * right;
    let density = out.log_density.expect("densities");
    for (row, (u, level, y)) in [(35.0, Some(0), 3.5), (70.0, Some(1), 6.5), (35.0, None, 3.0)].into_iter().enumerate()
    {
        let u: f64 = (u - 35.0) / scale;
        let mut x = nalgebra::DVector::from_vec(vec![u, 0.0, 0.0]);
        let mut prior = (3.0, 4.0);
        if let Some(level) = level {
            x[level + 1] = 1.0;
            prior = (0.0, 0.0);
        }
        let (m, v) = (x.dot(&mean) + prior.0, (x.transpose() * &covariance * &x)[0] + prior.1);
        let tolerance = if level.is_none() { 0.03 } else { 3e-3 };
        close(out.expressions[0].means[row], m, tolerance);
        close(out.expressions[0].sds[row], v.sqrt(), tolerance);
        close(out.variables[0].sds[row], (v + 0.25).sqrt(), tolerance);
        close(density[row], log_normal(y, m, v + 0.25), 0.02);
    }
}

/// A mixture with known parameters: exact density, moments over the drawn component.
#[test]
fn a_gate_is_summed_out() {
    let text = "[data.values]\ny = [0.3, 2.0, 2.2]\nweight = { axes = [\"part\"], values = [0.3, 0.7] }\n\
        centre = { axes = [\"part\"], values = [-1.0, 2.0] }\n[plates]\nrow = \"rows\"\npart = 2\n\
        [variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"weight\"\n\
        [variables.shift]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1e-6\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"centre[z] + shift\"\nsd = 1.0\nobserved = \"y\"\n";
    let out = predicted(text, vec![("y", numbers(&[0.5, -1.0]))], 40_000);
    for (row, y) in [0.5, -1.0].into_iter().enumerate() {
        let exact = log_sum_exp(&[0.3_f64.ln() + log_normal(y, -1.0, 1.0), 0.7_f64.ln() + log_normal(y, 2.0, 1.0)]);
        close(out.log_density.as_ref().expect("densities")[row], exact, 1e-5);
        close(out.variables[0].means[row], 1.1, 0.03);
        close(out.variables[0].sds[row], (1.0_f64 + 9.0 * 0.21).sqrt(), 0.02);
    }
}

/// A row-level variable above another: both are drawn, and the density is the average over them.
#[test]
fn row_level_variables_are_drawn_from_the_model() {
    let text = "[data.values]\ny = [0.3, 2.0, 2.2]\n[plates]\nrow = \"rows\"\n\
        [variables.mu]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1e-6\n\
        [variables.late]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = 0.25\n\
        [variables.effect]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu + 3*late\"\nsd = 1.0\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"effect\"\nsd = 1.0\nobserved = \"y\"\n";
    let out = predicted(text, vec![("y", numbers(&[0.5]))], 40_000);
    close(out.variables[0].means[0], 0.75, 0.04);
    close(out.variables[0].sds[0], (2.0_f64 + 9.0 * 0.1875).sqrt(), 0.03);
    let exact = log_sum_exp(&[0.75_f64.ln() + log_normal(0.5, 0.0, 2.0), 0.25_f64.ln() + log_normal(0.5, 3.0, 2.0)]);
    close(out.log_density.expect("densities")[0], exact, 0.02);
}

/// Categories and vectors: probabilities by name, coordinates, a truncated distribution.
#[test]
fn categories_vectors_and_bounds() {
    let text = "[data.values]\nk = [\"b\", \"a\", \"b\", \"b\"]\nu = [1.0, 2.0, 0.5, 1.5]\nv = [0.0, 1.0, 0.2, 0.4]\n\
        covariance = { axes = [\"row_of\", \"uv\"], values = [[2.0, 0.5], [0.5, 1.0]] }\n\
        [data.blocks]\nuv = [\"u\", \"v\"]\n[plates]\nrow = \"rows\"\nletter = { levels = \"k\" }\nrow_of = 2\n\
        [variables.p]\ndistribution = \"dirichlet\"\ndimension = \"letter\"\nconcentration = 1.0\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\nobserved = \"k\"\n\
        [variables.m]\ndistribution = \"normal\"\ndimension = \"uv\"\nmean = 0.0\nsd = 1e-6\n\
        [variables.w]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"uv\"\nmean = \"m\"\ncovariance = [[2.0, 0.5], [0.5, 1.0]]\nobserved = \"uv\"\n\
        [variables.t]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\nlower = 0.0\nobserved = \"u\"\n\
        [inference]\nfamily = \"full-rank\"\n";
    let text = &text
        .replace("covariance = { axes = [\"row_of\", \"uv\"], values = [[2.0, 0.5], [0.5, 1.0]] }\n", "")
        .replace("row_of = 2\n", "");
    let new = vec![("k", texts(&["a"])), ("u", numbers(&[0.7])), ("v", numbers(&[-0.2]))];
    let out = predicted(text, new, 20_000);
    let by_name = |name: &str| out.variables.iter().find(|v| v.name == name).expect("predicted");
    assert_eq!(by_name("x").categories, ["b", "a"]);
    close(by_name("x").means[0], 4.0 / 6.0, 0.01);
    close(by_name("x").means[1], 2.0 / 6.0, 0.01);
    close(by_name("w").sds[0], 2.0_f64.sqrt(), 1e-6);
    close(by_name("w").sds[1], 1.0, 1e-6);
    close(by_name("t").means[0], (2.0 / std::f64::consts::PI).sqrt(), 0.02);
    close(by_name("t").sds[0], (1.0 - 2.0 / std::f64::consts::PI).sqrt(), 0.02);
    let (determinant, q) = (1.75_f64, (0.7 * 0.7 - 2.0 * 0.5 * 0.7 * -0.2 + 2.0 * 0.04) / 1.75);
    let exact =
        (2.0_f64 / 6.0).ln() - 0.5 * (q + determinant.ln()) - LN_TWO_PI + log_normal(0.7, 0.0, 1.0) + 2.0_f64.ln();
    close(out.log_density.expect("densities")[0], exact, 0.02);
}

/// Along a chain rows have no densities of their own; the stationary chain has its stationary mean in every row.
#[test]
fn chains_are_drawn_along_the_rows() {
    let text = "[data.values]\ny = [0.1, 1.9, 2.1, 0.0, 2.2]\nstart = { axes = [\"state\"], values = [0.4, 0.6] }\n\
        step = { axes = [\"state\", \"next\"], values = [[0.4, 0.6], [0.4, 0.6]] }\n\
        centre = { axes = [\"state\"], values = [0.0, 2.0] }\n[plates]\nrow = \"rows\"\nstate = 2\nnext = 2\n\
        [variables.shift]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1e-6\n\
        [variables.z]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = \"start\"\ntransition = [[0.4, 0.6], [0.4, 0.6]]\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"centre[z] + shift\"\nsd = 0.5\nobserved = \"y\"\n";
    let text = &text
        .replace("step = { axes = [\"state\", \"next\"], values = [[0.4, 0.6], [0.4, 0.6]] }\n", "")
        .replace("next = 2\n", "");
    let out = predicted(text, vec![("y", numbers(&[0.5, 1.0, f64::NAN]))], 20_000);
    assert_eq!(out.log_density, None);
    for row in 0..3 {
        close(out.variables[0].means[row], 1.2, 0.04);
        close(out.variables[0].sds[row], (0.25_f64 + 4.0 * 0.24).sqrt(), 0.03);
    }
}

/// The same draws whatever the number of threads, and whatever other rows are predicted beside.
#[test]
fn draws_depend_on_the_seed_alone() {
    let text = "[data.values]\ny = [1, 2, 0, 3]\n[plates]\nrow = \"rows\"\n\
        [variables.rate]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"poisson\"\nrate = \"rate\"\nobserved = \"y\"\n";
    let new = || vec![("y", numbers(&[1.0; 700]))];
    let one =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool").install(|| predicted(text, new(), 100));
    let three =
        rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool").install(|| predicted(text, new(), 100));
    assert_eq!(one, three);
}

/// A group's class has one draw for all its rows, in whatever chunks of rows they are predicted.
#[test]
fn rows_of_a_group_share_a_draw() {
    let text = "[data.values]\ny = [5.0, 5.0]\ng = [\"a\", \"b\"]\n[plates]\nrow = \"rows\"\ngroup = { levels = \"g\" }\n\
        [variables.shift]\ndistribution = \"normal\"\nmean = 0.0\nsd = 0.001\n\
        [variables.high]\nplates = [\"group\"]\ndistribution = \"bernoulli\"\nprobability = 0.5\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"10 * high[g] + shift\"\nsd = 0.5\nobserved = \"y\"\n";
    let (rows, draws) = (700, 200);
    let groups: Vec<&str> = (0..rows).map(|i| if i % 3 == 0 { "a" } else { "b" }).collect();
    let out = predicted(text, vec![("y", numbers(&vec![f64::NAN; rows])), ("g", texts(&groups))], draws);
    let x = &out.variables[0].draws;
    let mut agree = 0;
    for d in 0..draws {
        let high = |row: usize| x[row * draws + d] > 5.0;
        for row in 0..rows {
            assert_eq!(high(row), high(usize::from(groups[row] == "b")), "draw {d}, row {row}");
        }
        agree += usize::from(high(0) == high(1));
    }
    // The two groups' draws are independent.
    assert!((60..=140).contains(&agree), "{agree}");
}

/// Seventeen indicators in every row are too many to sum: rows are predicted from draws of them.
#[test]
fn indicators_of_a_row_that_are_too_many() {
    let names: Vec<String> = (0..17).map(|i| format!("e{i}")).collect();
    let columns: String = names.iter().map(|n| format!("{n} = [1.0, 1.0, 1.0]\n")).collect();
    let list: Vec<String> = names.iter().map(|n| format!("\"{n}\"")).collect();
    let text = format!(
        "[data.values]\ny = [7.0, 9.5, 8.0]\n{columns}[data.blocks]\ne = [{}]\n[plates]\nrow = \"rows\"\n\
        [variables.m]\ndistribution = \"normal\"\nmean = 0.0\nsd = 0.001\n\
        [variables.on]\nplates = [\"row\", \"e\"]\ndistribution = \"bernoulli\"\nprobability = 0.5\n\
        [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m + dot(on, e)\"\nsd = 1.0\nobserved = \"y\"\n",
        list.join(", ")
    );
    let mut new: Vec<(&str, Cells)> = names.iter().map(|n| (n.as_str(), numbers(&[1.0, 1.0]))).collect();
    new.push(("y", numbers(&[8.0, f64::NAN])));
    let out = predicted(&text, new, 20_000);
    let x = &out.variables[0];
    // The number of indicators that are on is binomial.
    close(x.means[1], 8.5, 0.05);
    close(x.sds[1], (17.0_f64 / 4.0 + 1.0).sqrt(), 0.05);
    let mass = |k: u32| ln_choose(17.0, f64::from(k)) - 17.0 * 2.0_f64.ln() + log_normal(8.0, f64::from(k), 1.0);
    let exact = log_sum_exp(&(0..=17).map(mass).collect::<Vec<f64>>());
    close(out.log_density.expect("densities")[0], exact, 0.02);
}

/// μ ~ N(0, 10²), x ~ N(μ, 1) in standardized columns, whose posterior mean is 0: a new x has each column's mean, and the variance
/// 1 + 1/(n + 1/100) in units of the column's.
#[test]
fn standardized_columns_are_predicted_in_their_own_units_by_their_names() {
    let text = "[data]\nstandardize = [\"height\", \"weight\"]\n[data.values]\nheight = [1.0, 3.0, 5.0]\nweight = [-10.0, 20.0, 80.0]
[data.blocks]\nbody = [\"height\", \"weight\"]\n[plates]\nrow = \"rows\"\nmeasure = { columns = \"body\" }
[variables.m]\nplates = [\"measure\"]\ndistribution = \"normal\"\nmean = 0\nsd = 10
[variables.x]\nplates = [\"row\", \"measure\"]\ndistribution = \"normal\"\nmean = \"m\"\nsd = 1\nobserved = \"body\"\n";
    let out = predicted(text, vec![("height", numbers(&[f64::NAN])), ("weight", numbers(&[f64::NAN]))], 4000);
    let x = &out.variables[0];
    assert_eq!(x.elements, ["height", "weight"]);
    for (i, column) in [[1.0, 3.0, 5.0], [-10.0, 20.0, 80.0f64]].iter().enumerate() {
        let mean = column.iter().sum::<f64>() / 3.0;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0;
        let sd = (variance * (1.0 + 1.0 / 3.01)).sqrt();
        close(x.means[i], mean, 0.01 * sd);
        close(x.sds[i], sd, 0.01 * sd);
        close(x.quantiles[1][i], mean, 0.1 * sd);
        let own = &x.draws[i * 4000..(i + 1) * 4000];
        close(own.iter().sum::<f64>() / 4000.0, mean, 0.1 * sd);
    }
}
