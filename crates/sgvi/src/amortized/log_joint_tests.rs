//! Amortised models whose priors and densities are expressions of the log joint, against evidences in closed form.

use nalgebra::{Cholesky, DMatrix, DVector};
use std::path::Path;

use super::fit::{AmortizedFit, fit};
use super::generate::{Code, decode, encode, evaluate_rows};
use super::model::AmortizedModel;
use super::responsibility::responsibilities;
use crate::fitted::FitOptions;

const ROWS: usize = 40;
const WIDTH: usize = 4;
const LN_2_PI: f64 = 1.837_877_066_409_345_3;
const LOADING: [[f64; WIDTH]; 2] = [[1.0, 0.4, -0.7, 0.2], [-0.3, 0.9, 0.5, -0.8]];
const CENTRES: [[f64; 2]; 3] = [[-1.0, 0.3], [0.8, 1.0], [0.3, -1.2]];
const SHIFTS: [[f64; WIDTH]; 3] = [[0.0, 0.0, 1.0, 0.0], [2.0, -1.0, 0.0, 0.0], [0.0, 1.5, 0.0, -2.0]];
const WEIGHTS: [f64; 3] = [0.5, 0.3, 0.2];
const SD: f64 = 0.7;
const PRIOR_SD: f64 = 0.6;

fn kind(row: usize) -> usize {
    [0, 1, 0, 2, 0, 1, 0, 2, 1, 0][row % 10]
}

/// Rows about the images of the centres (or the shifts), not all of them near.
fn data(shifted: bool) -> Vec<[f64; WIDTH]> {
    (0..ROWS)
        .map(|row| {
            let k = kind(row);
            let r = row as f64;
            let z: [f64; 2] = std::array::from_fn(|i| {
                let centre = if shifted { 0.0 } else { CENTRES[k][i] };
                centre + (1.3 * r + i as f64).sin()
            });
            std::array::from_fn(|j| {
                let shift = if shifted { SHIFTS[k][j] } else { 0.0 };
                shift + z[0] * LOADING[0][j] + z[1] * LOADING[1][j] + 0.8 * (2.1 * r + 1.7 * j as f64).cos()
            })
        })
        .collect()
}

fn array<const N: usize>(rows: &[[f64; N]]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    format!("[{}]", rows.join(", "))
}

fn log_normal_density(x: &[f64; WIDTH], mean: &[f64; WIDTH], loading_sd: f64) -> f64 {
    let w = DMatrix::from_fn(2, WIDTH, |i, j| LOADING[i][j] * loading_sd);
    let covariance = w.transpose() * &w + DMatrix::identity(WIDTH, WIDTH) * (SD * SD);
    let factor = Cholesky::new(covariance).unwrap();
    let residual = DVector::from_fn(WIDTH, |j, _| x[j] - mean[j]);
    let log_determinant = 2.0 * factor.l().diagonal().map(f64::ln).sum();
    -0.5 * (WIDTH as f64 * LN_2_PI + log_determinant + residual.dot(&factor.solve(&residual)))
}

/// ln Σ_k π_k N(x; m_k, s²·W·Wᵀ + σ²·I) over the kinds that are possible.
fn evidence(x: &[f64; WIDTH], means: &[[f64; WIDTH]; 3], loading_sd: f64, known: Option<usize>) -> f64 {
    let terms: Vec<f64> = (0..3)
        .filter(|k| known.is_none_or(|known| known == *k))
        .map(|k| WEIGHTS[k].ln() + log_normal_density(x, &means[k], loading_sd))
        .collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.iter().map(|t| (t - largest).exp()).sum::<f64>().ln()
}

fn run(text: &str) -> AmortizedFit {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap();
    fit(&graph, FitOptions::default()).unwrap()
}

/// The importance-weighted estimate is that of the evidence, and the ELBO lies below it.
fn check(fit: &AmortizedFit, exact: f64, gap: f64) {
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let evaluation = evaluate_rows(&fit.model, &fit.parameters, &rows, 4000, 5);
    let (elbo, estimate) = (fit.record.elbo, evaluation.log_evidence * ROWS as f64);
    assert!((estimate - exact).abs() < 0.05 * ROWS as f64 / 10.0, "{estimate} against {exact}");
    assert!(elbo < exact + 0.05 && elbo > exact - gap, "{elbo} against {exact}");
    let terms: f64 = fit.record.elbo_terms.values().sum();
    assert!((terms - elbo).abs() < 1e-9 * elbo.abs());
}

fn header(shifted: bool) -> String {
    format!(
        "[data.values]\nx = {}\nweights = {{ axes = [\"kind\"], values = {WEIGHTS:?} }}\n\
         centre = {{ axes = [\"kind\", \"code\"], values = {} }}\nshift = {{ axes = [\"kind\", \"pixel\"], values = {} }}\n\
         unit = {{ axes = [\"kind\", \"hot\"], values = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }}\n\
         loading = {{ axes = [\"code\", \"pixel\"], values = {} }}\n",
        array(&data(shifted)),
        array(&CENTRES),
        array(&SHIFTS),
        array(&LOADING)
    )
}

const PLATES: &str = "[plates]\nrow = \"rows\"\npixel = { columns = \"x\" }\nkind = 3\ncode = 2\nhot = 3\n\
                      [networks.encoder]\nlayers = [24]\nactivation = \"tanh\"\n\
                      [inference]\nmax_iterations = 4000\nlearning_rate = 0.01\n";

const KIND: &str = "[variables.k]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"weights\"\n";

#[test]
fn a_mixture_as_prior_is_summed_out_exactly() {
    let text = format!(
        "{}{PLATES}{KIND}[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"code\"\n\
         mean = \"centre[k]\"\nsd = {PRIOR_SD}\namortized = \"encoder(x)\"\ncovariance = \"full\"\n\
         [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\nmean = \"dot(loading, z)\"\nsd = {SD}\n\
         observed = \"x\"\n",
        header(false)
    );
    let fit = run(&text);
    let means: [[f64; WIDTH]; 3] =
        std::array::from_fn(|k| std::array::from_fn(|j| CENTRES[k][0] * LOADING[0][j] + CENTRES[k][1] * LOADING[1][j]));
    let exact: f64 = data(false).iter().map(|x| evidence(x, &means, PRIOR_SD, None)).sum();
    check(&fit, exact, 4.0);
    // Draws of the whole model have its moments: those of the mixture of the three images.
    let count = 20_000;
    let rows: Vec<u32> = vec![0; count];
    let decoded = decode(&fit.model, &fit.parameters, &rows, Code::Prior, 3);
    for j in 0..WIDTH {
        let values: Vec<f64> = decoded[0].draws.iter().skip(j).step_by(WIDTH).map(|&x| f64::from(x)).collect();
        let mean = values.iter().sum::<f64>() / count as f64;
        let square = values.iter().map(|x| x * x).sum::<f64>() / count as f64;
        let own = PRIOR_SD * PRIOR_SD * (LOADING[0][j].powi(2) + LOADING[1][j].powi(2)) + SD * SD;
        let exact: f64 = (0..3).map(|k| WEIGHTS[k] * means[k][j]).sum();
        let exact_square: f64 = (0..3).map(|k| WEIGHTS[k] * (means[k][j].powi(2) + own)).sum();
        let error = (exact_square / count as f64).sqrt();
        assert!((mean - exact).abs() < 5.0 * error, "{j}: {mean} against {exact}");
        assert!((square - exact_square).abs() < 0.05 * exact_square, "{j}: {square} against {exact_square}");
    }
}

/// Labels of some rows are known; a network reads the label, and is evaluated for all of them where it is not.
#[test]
fn networks_that_read_a_discrete_variable_are_summed_over_its_values() {
    let labels: Vec<String> =
        (0..ROWS).map(|row| if row % 3 == 0 { kind(row).to_string() } else { "nan".to_owned() }).collect();
    let exact: f64 = data(true)
        .iter()
        .enumerate()
        .map(|(row, x)| evidence(x, &SHIFTS, 1.0, (row % 3 == 0).then(|| kind(row))))
        .sum();
    let latent = "[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"code\"\nmean = 0.0\n\
                  sd = 1.0\namortized = \"encoder(x)\"\ncovariance = \"full\"\n";
    let header = format!("{}label = [{}]\n", header(true), labels.join(", "));
    let observed = |mean: &str| {
        format!(
            "{header}{PLATES}{KIND}observed = \"label\"\n{latent}[variables.y]\nplates = [\"row\", \"pixel\"]\n\
             distribution = \"normal\"\nmean = \"{mean}\"\nsd = {SD}\nobserved = \"x\"\n"
        )
    };
    // The gate outside of any network gives the evidence; through a linear network with the same weights the same bound.
    let outside = run(&observed("dot(loading, z) + shift[k]"));
    check(&outside, exact, 30.0);
    let inside = format!("{}[networks.decoder]\nlinear = true\n", observed("decoder(z, unit[k])"));
    let graph = vi_model::load_str(&inside, "test.toml", Path::new(".")).unwrap();
    let model = AmortizedModel::new(&graph).unwrap();
    let mut parameters = model.program.initialize(1);
    let layout = &model.program.layout;
    for view in layout.views() {
        let target = &mut parameters[view.range.clone()];
        if let Some(known) = outside.model.program.layout.named(&view.name) {
            target.copy_from_slice(&outside.parameters[known.range.clone()]);
        } else if view.shape.len() == 2 {
            let rows = LOADING.iter().chain(&SHIFTS).flatten();
            target.iter_mut().zip(rows).for_each(|(weight, &value)| *weight = value as f32);
        } else {
            target.fill(0.0);
        }
    }
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let [a, b] = [(&outside.model, &outside.parameters), (&model, &parameters)]
        .map(|(model, parameters)| evaluate_rows(model, parameters, &rows, 50, 2));
    assert!((a.elbo - b.elbo).abs() < 1e-4 * a.elbo.abs(), "{} against {}", a.elbo, b.elbo);
    assert!((a.log_evidence - b.log_evidence).abs() < 1e-4 * a.elbo.abs());
}

/// A variance that is drawn for every row of the sample widens the draws.
#[test]
fn draws_of_the_model_draw_every_variable() {
    let text = format!(
        "{}{PLATES}[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"code\"\nmean = 0.0\nsd = 1.0\n\
         amortized = \"encoder(x)\"\n[variables.offset]\ndistribution = \"normal\"\nmean = 0.0\nsd = 0.001\n\
         [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"student-t\"\ndegrees_of_freedom = 8.0\n\
         mean = \"dot(loading, z) + offset\"\nsd = {SD}\nobserved = \"x\"\n",
        header(true)
    );
    let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap();
    let model = AmortizedModel::new(&graph).unwrap();
    let mut parameters = model.program.initialize(1);
    let view = model.program.layout.named("globals.mean_and_scale").unwrap().range.clone();
    let (mean, sd) = (1.5_f32, 2.0_f32);
    parameters[view].copy_from_slice(&[mean, sd.ln()]);
    let count = 20_000;
    let decoded = decode(&model, &parameters, &vec![0; count], Code::Prior, 4);
    for (j, (a, b)) in LOADING[0].iter().zip(&LOADING[1]).enumerate() {
        let values: Vec<f64> = decoded[0].draws.iter().skip(j).step_by(WIDTH).map(|&x| f64::from(x)).collect();
        let average = values.iter().sum::<f64>() / count as f64;
        let variance = values.iter().map(|x| (x - average).powi(2)).sum::<f64>() / count as f64;
        let exact = a * a + b * b + SD * SD * 8.0 / 6.0 + f64::from(sd * sd);
        assert!((average - f64::from(mean)).abs() < 5.0 * (exact / count as f64).sqrt(), "{j}: {average}");
        assert!((variance - exact).abs() < 0.06 * exact, "{j}: {variance} against {exact}");
    }
}

/// q(z | x) is exact here, and E_q[p(k | x, z)] then is p(k | x).
#[test]
fn probabilities_of_discrete_variables_are_their_posterior() {
    let text = format!(
        "{}{PLATES}{KIND}[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"code\"\nmean = 0.0\n\
         sd = 1.0\namortized = \"encoder(x)\"\n[variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\n\
         mean = \"shift[k]\"\nsd = {SD}\nobserved = \"x\"\n",
        header(true)
    );
    let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap();
    let model = AmortizedModel::new(&graph).unwrap();
    let parameters = model.program.initialize(1);
    let rows: Vec<u32> = (0..ROWS as u32).rev().collect();
    let found = responsibilities(&graph, &model, &parameters, &rows).unwrap();
    let [k] = &found[..] else { panic!("{} variables", found.len()) };
    assert_eq!(graph.variable(k.variable).name, "k");
    let data = data(true);
    for (&row, given) in rows.iter().zip(k.probabilities.chunks_exact(3)) {
        let x = &data[row as usize];
        let densities: [f64; 3] = std::array::from_fn(|k| {
            let square: f64 = x.iter().zip(&SHIFTS[k]).map(|(x, m)| (x - m).powi(2)).sum();
            WEIGHTS[k] * (-0.5 * square / (SD * SD)).exp()
        });
        let total: f64 = densities.iter().sum();
        for (given, density) in given.iter().zip(densities) {
            assert!((given - density / total).abs() < 1e-9, "{given} against {}", density / total);
        }
    }
}

/// Reconstructions average over the unknown label given the row and its code; known labels leave nothing to average. Given codes
/// average over the prior.
#[test]
fn what_depends_on_a_discrete_variable_is_averaged_over_it() {
    let labels: Vec<String> =
        (0..ROWS).map(|row| if row % 3 == 0 { kind(row).to_string() } else { "nan".to_owned() }).collect();
    let text = format!(
        "{}label = [{}]\n{PLATES}{KIND}observed = \"label\"\n[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\n\
         dimension = \"code\"\nmean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\n[variables.y]\nplates = [\"row\", \"pixel\"]\n\
         distribution = \"normal\"\nmean = \"dot(loading, z) + shift[k]\"\nsd = {SD}\nobserved = \"x\"\n",
        header(true),
        labels.join(", ")
    );
    let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap();
    let model = AmortizedModel::new(&graph).unwrap();
    let parameters = model.program.initialize(1);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let y = model.program.outputs.iter().position(|output| output.name == "y").unwrap();
    let codes = encode(&model, &parameters, 0, &rows);
    let decoded = decode(&model, &parameters, &rows, Code::Mean, 2);
    let shift = |k: usize, j: usize| SHIFTS[k][j];
    let image = |row: usize, j: usize| codes.means[2 * row] * LOADING[0][j] + codes.means[2 * row + 1] * LOADING[1][j];
    for (row, x) in data(true).iter().enumerate() {
        let weights: [f64; 3] = std::array::from_fn(|k| {
            if row % 3 == 0 {
                return f64::from(u8::from(k == kind(row)));
            }
            let square: f64 = (0..WIDTH).map(|j| (x[j] - image(row, j) - shift(k, j)).powi(2)).sum();
            WEIGHTS[k] * (-0.5 * square / (SD * SD)).exp()
        });
        let total: f64 = weights.iter().sum();
        for j in 0..WIDTH {
            let wanted = image(row, j) + (0..3).map(|k| weights[k] / total * shift(k, j)).sum::<f64>();
            let found = f64::from(decoded[y].means[row * WIDTH + j]);
            assert!((found - wanted).abs() < 1e-4, "row {row}, {j}: {found} instead of {wanted}");
        }
    }
    let given = vec![codes.means.iter().map(|m| *m as f32).collect::<Vec<f32>>()];
    let averaged = decode(&model, &parameters, &rows, Code::Given(&given), 2);
    let mut away = 0.0;
    for row in (0..ROWS).filter(|row| row % 3 != 0) {
        for j in 0..WIDTH {
            let wanted = image(row, j) + (0..3).map(|k| WEIGHTS[k] * shift(k, j)).sum::<f64>();
            away += (f64::from(averaged[y].means[row * WIDTH + j]) - wanted) / (ROWS * WIDTH) as f64;
        }
    }
    // 64 draws for each of the rows.
    assert!(away.abs() < 0.05, "{away}");
}
