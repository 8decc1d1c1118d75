//! Latent counts, summed out, against direct enumeration.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use vi_families::special::{ln_factorial, ln_gamma};
use vi_run::record::Record;

fn fit(text: &str) -> Record {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    sgvi::fit(&graph).unwrap_or_else(|e| panic!("{e}\n{text}")).into_record()
}

fn refused(text: &str) -> String {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    sgvi::fit(&graph).expect_err("refused").to_string()
}

fn number(record: &Record, key: &str) -> f64 {
    record.extra[key].as_f64().unwrap()
}

fn poisson(n: f64, rate: f64) -> f64 {
    n * rate.ln() - rate - ln_factorial(n)
}

fn negative_binomial(n: f64, mean: f64, dispersion: f64) -> f64 {
    let r = 1.0 / dispersion;
    ln_gamma(n + r) - ln_gamma(r) - ln_factorial(n) + n * (mean / (mean + r)).ln() + r * (r / (mean + r)).ln()
}

fn binomial(k: f64, n: f64, p: f64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) + k * p.ln() + (n - k) * (1.0 - p).ln()
}

fn log_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let terms: Vec<f64> = terms.collect();
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln()
}

const VISITS: [[f64; 3]; 4] = [[3.0, 5.0, 4.0], [0.0, 1.0, 0.0], [11.0, 8.0, 9.0], [2.0, 2.0, 6.0]];

/// log Σ_N p(N) Πⱼ Binomial(yⱼ | N, p) of all sites, over more values than any of them needs.
fn sites(prior: impl Fn(f64) -> f64, p: f64) -> f64 {
    VISITS
        .iter()
        .map(|y| {
            log_sum((0..6000).map(|n| {
                let n = f64::from(n);
                prior(n) + y.iter().map(|y| binomial(*y, n, p)).sum::<f64>()
            }))
        })
        .sum()
}

fn model(count: &str, chance: &str, more: &str) -> String {
    format!(
        "[data.values]\na = [3, 0, 11, 2]\nb = [5, 1, 8, 2]\nc = [4, 0, 9, 6]\n[data.blocks]\nvisits = [\"a\", \"b\", \"c\"]\n\
         [plates]\nsite = \"rows\"\nvisit = {{ columns = \"visits\" }}\n{more}\
         [variables.n]\nplates = [\"site\"]\nmarginalized = true\n{count}\n\
         [variables.y]\nplates = [\"site\", \"visit\"]\ndistribution = \"binomial\"\ntrials = \"n\"\nprobability = {chance}\nobserved = \"visits\"\n"
    )
}

/// Nothing but the counts is latent: the ELBO is the log evidence, wherever the sum must end.
#[test]
fn counts_alone() {
    for rate in [4.0, 30.0, 900.0] {
        let text = model(&format!("distribution = \"poisson\"\nrate = {rate}"), "0.4", "");
        let (found, wanted) = (fit(&text).elbo, sites(|n| poisson(n, rate), 0.4));
        assert!((found - wanted).abs() < 1e-8, "rate {rate}: {found} {wanted}");
    }
    let text = model("distribution = \"negative-binomial\"\nmean = 40\ndispersion = 1.5", "0.1", "");
    let (found, wanted) = (fit(&text).elbo, sites(|n| negative_binomial(n, 40.0, 1.5), 0.1));
    assert!((found - wanted).abs() < 1e-8, "{found} {wanted}");
}

/// A latent binomial count whose trials vary by row, of which each is then seen or not.
#[test]
fn trials_that_vary_by_row() {
    let text = "[data.values]\ntrials = [9, 4, 20, 6]\nseen = [3, 4, 11, 0]\n[plates]\nrow = \"rows\"\n\
                [variables.k]\nplates = [\"row\"]\ndistribution = \"binomial\"\ntrials = \"trials\"\nprobability = 0.7\n\
                [variables.y]\nplates = [\"row\"]\ndistribution = \"binomial\"\ntrials = \"k\"\nprobability = 0.5\nobserved = \"seen\"\n";
    let found = fit(text).elbo;
    // Each trial is seen with probability 0.35.
    let wanted: f64 =
        [(9.0, 3.0), (4.0, 4.0), (20.0, 11.0), (6.0, 0.0)].iter().map(|&(n, k)| binomial(k, n, 0.35)).sum();
    assert!((found - wanted).abs() < 1e-10, "{found} {wanted}");
}

/// The N-mixture of Royle (2004): abundance and detection are latent too. The evidence by the trapezoidal rule over both.
#[test]
fn abundance_and_detection() {
    let more = "[variables.rate]\ndistribution = \"gamma\"\nshape = 4\nrate = 0.3\n\
                [variables.p]\ndistribution = \"beta\"\nalpha = 4\nbeta = 4\n";
    let text =
        model("distribution = \"poisson\"\nrate = \"rate\"", "\"p\"", more) + "[inference]\nfamily = \"full-rank\"\n";
    let record = fit(&text);
    let prior = |rate: f64, p: f64| {
        4.0 * 0.3f64.ln() - ln_gamma(4.0) + 3.0 * rate.ln() - 0.3 * rate + ln_gamma(8.0) - 2.0 * ln_gamma(4.0)
            + 3.0 * p.ln()
            + 3.0 * (1.0 - p).ln()
    };
    let site = |y: &[f64; 3], rate: f64, p: f64| {
        let range = 0..160;
        log_sum(
            range.map(|n| poisson(f64::from(n), rate) + y.iter().map(|y| binomial(*y, f64::from(n), p)).sum::<f64>()),
        )
    };
    let (steps, mut terms) = (60, Vec::new());
    for i in 1..steps {
        for j in 1..steps {
            let (rate, p) = (60.0 * f64::from(i) / f64::from(steps), f64::from(j) / f64::from(steps));
            let all: f64 = VISITS.iter().map(|y| site(y, rate, p)).sum();
            terms.push(prior(rate, p) + all + (60.0 / f64::from(steps) / f64::from(steps)).ln());
        }
    }
    let wanted = log_sum(terms.into_iter());
    let found = number(&record, "log_evidence");
    assert!((found - wanted).abs() < 0.02, "{found} {wanted}");
    assert_eq!(record.extra["verdict"], "good");
}

/// A count outside the rows, whose posterior is reported value by value; counts can be rates as well.
#[test]
fn a_count_outside_the_rows() {
    let text = "[data.values]\ny = [7, 4, 9]\n[plates]\nrow = \"rows\"\n[variables.n]\ndistribution = \"poisson\"\nrate = 12\nmarginalized = true\n\
                [variables.x]\nplates = [\"row\"]\ndistribution = \"poisson\"\nrate = \"0.5 * n\"\nobserved = \"y\"\n";
    let record = fit(text);
    let joint = |n: f64| {
        poisson(n, 12.0)
            + [7.0, 4.0, 9.0]
                .iter()
                .map(|y| if n == 0.0 { f64::NEG_INFINITY } else { poisson(*y, 0.5 * n) })
                .sum::<f64>()
    };
    let wanted = log_sum((0..500).map(|n| joint(f64::from(n))));
    assert!((record.elbo - wanted).abs() < 1e-9, "{} {wanted}", record.elbo);
    let mean: f64 = (0..500).map(|n| f64::from(n) * (joint(f64::from(n)) - wanted).exp()).sum();
    let found = record.posterior["n"].mean.as_ref().unwrap().values()[0];
    assert!((found - mean).abs() < 1e-8, "{found} {mean}");
}

/// What has too many values is refused with a way out.
#[test]
fn counts_that_reach_too_far() {
    let text = model("distribution = \"poisson\"\nrate = 2e6", "0.4", "");
    let said = refused(&text);
    assert!(said.contains("`n`") && said.contains("too many values"), "{said}");
    let said = refused(&model("distribution = \"poisson\"\nrate = 3", "0.4", "").replace("marginalized = true\n", ""));
    assert!(said.contains("`n`") && said.contains("without a bound"), "{said}");
}
