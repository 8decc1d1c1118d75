//! Shares with amortised factors, against sums over the simplex in closed form and by quadrature.

use std::path::Path;

use super::fit::{AmortizedFit, fit};
use super::generate::{Code, decode, encode, encode_on_own_scale, evaluate_rows};
use crate::fitted::FitOptions;
use vi_families::special::ln_gamma;

const ROWS: usize = 30;

/// Counts of `K` kinds, some of them only of one.
fn counts<const K: usize>() -> Vec<[f64; K]> {
    (0..ROWS).map(|row| std::array::from_fn(|k| ((row * (3 * k + 2) + 5 * k) % 7) as f64)).collect()
}

fn run<const K: usize>(concentration: &[f64; K], covariance: &str) -> AmortizedFit {
    let x: Vec<String> = counts::<K>().iter().map(|row| format!("{row:?}")).collect();
    let text = format!(
        "[data.values]\nx = [{}]\nalpha = {{ axes = [\"kind\"], values = {concentration:?} }}\n\
         [plates]\nrow = \"rows\"\nkind = {{ columns = \"x\" }}\n\
         [networks.encoder]\nlayers = [24]\nactivation = \"tanh\"\n\
         [variables.pi]\nplates = [\"row\"]\ndistribution = \"dirichlet\"\ndimension = \"kind\"\nconcentration = \"alpha\"\n\
         amortized = \"encoder(x)\"\ncovariance = \"{covariance}\"\n\
         [variables.y]\nplates = [\"row\"]\ndistribution = \"multinomial\"\nprobabilities = \"pi\"\n\
         observed = \"x\"\n\
         [inference]\nmax_iterations = 4000\nlearning_rate = 0.01\nevaluation_draws = 400\n",
        x.join(", ")
    );
    let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap();
    fit(&graph, FitOptions::default()).unwrap()
}

fn log_coefficient(x: &[f64]) -> f64 {
    ln_gamma(x.iter().sum::<f64>() + 1.0) - x.iter().map(|x| ln_gamma(x + 1.0)).sum::<f64>()
}

fn ln_beta(a: &[f64]) -> f64 {
    a.iter().map(|&a| ln_gamma(a)).sum::<f64>() - ln_gamma(a.iter().sum())
}

/// The evidence is that of the Dirichlet-multinomial distribution, the factor's means are those of the Dirichlet posterior.
#[test]
fn evidence_and_means_are_those_of_the_dirichlet_multinomial() {
    let alpha = [2.0, 1.5, 3.0];
    let fit = run(&alpha, "full");
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let x = counts::<3>();
    let posterior = |x: &[f64; 3]| std::array::from_fn::<f64, 3, _>(|k| alpha[k] + x[k]);
    let exact: f64 = x.iter().map(|x| log_coefficient(x) + ln_beta(&posterior(x)) - ln_beta(&alpha)).sum();
    let evaluation = evaluate_rows(&fit.model, &fit.parameters, &rows, 4000, 5);
    let estimate = evaluation.log_evidence * ROWS as f64;
    assert!((estimate - exact).abs() < 0.3, "{estimate} against {exact}");
    let elbo = fit.record.elbo;
    assert!(elbo < exact + 0.05 && elbo > exact - 4.0, "{elbo} against {exact}");
    let encoding = encode_on_own_scale(&fit.model, &fit.parameters, 0, &rows);
    assert_eq!(encoding.width, 3);
    for (x, (means, sds)) in x.iter().zip(encoding.means.chunks(3).zip(encoding.sds.chunks(3))) {
        let a = posterior(x);
        let total: f64 = a.iter().sum();
        for k in 0..3 {
            let mean = a[k] / total;
            let sd = (mean * (1.0 - mean) / (total + 1.0)).sqrt();
            assert!((means[k] - mean).abs() < 0.05, "{} against {mean}", means[k]);
            assert!((sds[k] - sd).abs() < 0.4 * sd, "{} against {sd}", sds[k]);
        }
    }
}

/// With two kinds there is one coordinate: the ELBO of the factors that were found is an integral over a line.
#[test]
fn the_bound_is_that_of_quadrature() {
    let alpha = [1.5, 0.8];
    let fit = run(&alpha, "diagonal");
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let encoding = encode(&fit.model, &fit.parameters, 0, &rows);
    let mut exact = 0.0;
    for (x, (m, s)) in counts::<2>().iter().zip(encoding.means.iter().zip(&encoding.sds)) {
        let (mut sum, mut total) = (0.0, 0.0);
        for i in -400..=400 {
            let e = f64::from(i) * 0.02;
            let weight = (-0.5 * e * e).exp();
            let theta = m + s * e;
            let log = [-(-theta).exp().ln_1p(), -theta.exp().ln_1p()];
            // The prior's density with the derivative of the shares, π₁·π₂.
            let terms: f64 = (0..2).map(|k| (x[k] + alpha[k]) * log[k]).sum();
            sum += weight * terms;
            total += weight;
        }
        let entropy = s.ln() + 0.5 * (1.0 + (2.0 * std::f64::consts::PI).ln());
        exact += sum / total + log_coefficient(x) - ln_beta(&alpha) + entropy;
    }
    let (elbo, error) = (fit.record.elbo, fit.record.extra["elbo_standard_error"].as_f64().unwrap());
    assert!((elbo - exact).abs() < 5.0 * error + 1e-3, "{elbo} ± {error} against {exact}");
    // Counts drawn from the whole model have the prior's mean share.
    let decoded = decode(&fit.model, &fit.parameters, &vec![0; 4000], Code::Prior, 3);
    let total: f64 = counts::<2>()[0].iter().sum();
    let mean = decoded[0].draws.iter().step_by(2).map(|&x| f64::from(x)).sum::<f64>() / 4000.0;
    let wanted = total * alpha[0] / (alpha[0] + alpha[1]);
    assert!((mean - wanted).abs() < 0.06 * total, "{mean} against {wanted}");
}
