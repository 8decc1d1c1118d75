//! Amortised factors of positive numbers and of shares, against closed forms.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use sgvi::{Code, Fit};
use vi_families::special::ln_gamma;

const COUNTS: [f64; 24] = [
    0.0, 3.0, 1.0, 7.0, 2.0, 4.0, 1.0, 0.0, 5.0, 2.0, 3.0, 6.0, 1.0, 2.0, 8.0, 4.0, 3.0, 0.0, 2.0, 5.0, 1.0, 3.0, 4.0,
    2.0,
];

fn run(text: &str) -> Fit {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}"));
    sgvi::fit(&graph).unwrap()
}

fn rows() -> Vec<u32> {
    (0..COUNTS.len() as u32).collect()
}

fn header() -> String {
    format!(
        "[data.values]\nx = {COUNTS:?}\n[plates]\nrow = \"rows\"\n[networks.encoder]\nlayers = [16]\nactivation = \"tanh\"\n\
         [inference]\nmax_iterations = 6000\nlearning_rate = 0.01\ndraws = 10\n"
    )
}

/// x ~ Poisson(λ), λ ~ Gamma(a, b). The best log-normal factor has E\[λ\] = (a + x) / (b + 1) and σ² = 1 / (a + x).
#[test]
fn rates_of_counts() {
    let (a, b) = (2.0, 0.5);
    let fit = run(&format!(
        "{}[variables.rate]\nplates = [\"row\"]\ndistribution = \"gamma\"\nshape = {a}\nrate = {b}\namortized = \"encoder(x)\"
[variables.n]\nplates = [\"row\"]\ndistribution = \"poisson\"\nrate = \"rate\"\nobserved = \"x\"\n",
        header()
    ));
    let networks = fit.networks().unwrap();
    let best = |x: f64| {
        let (mean, variance) = ((a + x) / (b + 1.0), 1.0 / (a + x));
        let m: f64 = f64::ln(mean) - 0.5 * variance;
        let entropy = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * variance).ln() + m;
        a * f64::ln(b) - ln_gamma(a) + (a - 1.0) * m - b * mean + x * m - mean - ln_gamma(x + 1.0) + entropy
    };
    let evidence =
        |x: f64| ln_gamma(x + a) - ln_gamma(a) - ln_gamma(x + 1.0) + a * (b / (b + 1.0)).ln() - x * f64::ln(b + 1.0);
    let wanted: f64 = COUNTS.iter().map(|&x| best(x)).sum();
    let exact: f64 = COUNTS.iter().map(|&x| evidence(x)).sum();
    assert!(wanted < exact);
    let elbo = fit.record().elbo;
    assert!((elbo - wanted).abs() < 0.2, "{elbo} instead of {wanted}");
    let estimate = networks.evaluate(&rows(), 40_000, 3).unwrap().log_evidence * COUNTS.len() as f64;
    assert!((estimate - exact).abs() < 0.05, "{estimate} instead of {exact}");
    // On the variable's own scale.
    let encoding = networks.encode("rate", &rows()).unwrap();
    for (x, mean) in COUNTS.iter().zip(&encoding.means) {
        assert!((mean - (a + x) / (b + 1.0)).abs() < 0.25, "{x}: {mean}");
    }
    // Draws of the whole model have the mean and the variance of the negative binomial.
    let many: Vec<u32> = (0..40_000).map(|i| i % COUNTS.len() as u32).collect();
    let draws = &networks.decode(&many, Code::Prior, 1).unwrap()[0].1.draws;
    let mean = draws.iter().map(|x| f64::from(*x)).sum::<f64>() / draws.len() as f64;
    let variance = draws.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / draws.len() as f64;
    assert!((mean - a / b).abs() < 0.08 && (variance - a / b * (1.0 + 1.0 / b)).abs() < 0.6, "{mean} {variance}");
}

/// x ~ Binomial(10, p), p ~ Beta(2, 3): the evidence is beta-binomial, and so is the mean of p.
#[test]
fn shares() {
    let fit = run(&format!(
        "{}[variables.p]\nplates = [\"row\"]\ndistribution = \"beta\"\nalpha = 2\nbeta = 3\namortized = \"encoder(x)\"
[variables.n]\nplates = [\"row\"]\ndistribution = \"binomial\"\ntrials = 10\nprobability = \"p\"\nobserved = \"x\"\n",
        header()
    ));
    let networks = fit.networks().unwrap();
    let ln_beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let evidence = |x: f64| {
        let choose = ln_gamma(11.0) - ln_gamma(x + 1.0) - ln_gamma(11.0 - x);
        choose + ln_beta(2.0 + x, 13.0 - x) - ln_beta(2.0, 3.0)
    };
    let exact: f64 = COUNTS.iter().map(|&x| evidence(x)).sum();
    let estimate = networks.evaluate(&rows(), 40_000, 3).unwrap().log_evidence * COUNTS.len() as f64;
    assert!((estimate - exact).abs() < 0.05, "{estimate} instead of {exact}");
    let (elbo, error) = (fit.record().elbo, fit.record().extra["elbo_standard_error"].as_f64().unwrap());
    assert!(error < 0.5 && elbo < exact + 4.0 * error && elbo > exact - 0.5, "{elbo} ± {error}, {exact}");
    let encoding = networks.encode("p", &rows()).unwrap();
    for (x, mean) in COUNTS.iter().zip(&encoding.means) {
        assert!((mean - (2.0 + x) / 15.0).abs() < 0.02, "{x}: {mean}");
    }
}
