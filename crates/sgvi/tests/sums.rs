//! Discrete latent variables summed out through the binary: the ELBO of known parameters is the log evidence.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

/// Runs a model and reads `summary.json` and `posterior.json`.
fn run(name: &str, model: &str) -> (serde_json::Value, serde_json::Value) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sums").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("model.toml");
    std::fs::write(&file, model).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_sgvi"))
        .args(["run", &file.display().to_string(), "--quiet", "--no-plot"])
        .args(["--output", &folder.join("out").display().to_string()])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |file: &str| {
        serde_json::from_slice(&std::fs::read(folder.join("out").join(file)).unwrap()).expect("valid JSON")
    };
    (read("summary.json"), read("posterior.json"))
}

fn log_normal(x: f64, mean: f64, sd: f64) -> f64 {
    -0.5 * ((x - mean) / sd).powi(2) - sd.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

/// A single variable that ranges over the rows selects a row of a column: log Σ_i p_i N(r | y_i, s²).
#[test]
fn a_gate_over_the_rows_selects_a_row_of_data() {
    let (summary, posterior) = run(
        "rows",
        r#"
        [data.values]
        y = [2.8, 0.6, 3.7]
        r = 2.6
        p = { axes = ["row"], values = [0.2, 0.3, 0.5] }
        [plates]
        row = "rows"
        [variables.z]
        distribution = "categorical"
        probabilities = "p"
        [variables.reading]
        distribution = "normal"
        mean = "y[z]"
        sd = 0.5
        observed = "r"
        "#,
    );
    let joint: Vec<f64> = [(2.8, 0.2), (0.6, 0.3), (3.7, 0.5)]
        .iter()
        .map(|&(y, p): &(f64, f64)| p * log_normal(2.6, y, 0.5).exp())
        .collect();
    let evidence: f64 = joint.iter().sum();
    let elbo = summary["elbo"].as_f64().unwrap();
    assert!((elbo - evidence.ln()).abs() < 1e-9, "{elbo} instead of {}", evidence.ln());
    let reported = posterior["z"]["parameters"]["probabilities"].as_array().unwrap();
    for (got, joint) in reported.iter().zip(&joint) {
        assert!((got.as_f64().unwrap() - joint / evidence).abs() < 1e-9, "{reported:?}");
    }
}

/// A chain whose emissions are mixtures: Σ over all paths and categories, whichever of the two is declared first.
#[test]
fn mixtures_as_emissions_of_a_chain_are_summed_out_in_any_order() {
    let chain = r#"
        [variables.z]
        plates = ["row"]
        distribution = "markov-chain"
        initial = [0.7, 0.3]
        transition = [[0.9, 0.1], [0.2, 0.8]]
        "#;
    let category = r#"
        [variables.w]
        plates = ["row"]
        distribution = "categorical"
        probabilities = "p"
        "#;
    let rest = r#"
        [data.values]
        y = [-0.8, 0.2, 2.1, 1.9]
        c = { axes = ["k"], values = [-1.0, 2.0] }
        d = { axes = ["j"], values = [0.0, 1.5] }
        p = { axes = ["j"], values = [0.6, 0.4] }
        [plates]
        row = "rows"
        k = 2
        j = 2
        [variables.reading]
        plates = ["row"]
        distribution = "normal"
        mean = "c[z] + d[w]"
        sd = 0.8
        observed = "y"
        "#;
    let (y, c, d, p) = ([-0.8, 0.2, 2.1, 1.9], [-1.0, 2.0], [0.0, 1.5], [0.6, 0.4]);
    let (initial, transition) = ([0.7, 0.3], [[0.9, 0.1], [0.2, 0.8]]);
    let mut evidence = 0.0;
    for path in 0..16_usize {
        let state = |t: usize| path >> t & 1;
        let mut joint: f64 = initial[state(0)];
        for t in 1..4 {
            joint *= transition[state(t - 1)][state(t)];
        }
        for (t, y) in y.iter().enumerate() {
            joint *= (0..2).map(|w| p[w] * log_normal(*y, c[state(t)] + d[w], 0.8).exp()).sum::<f64>();
        }
        evidence += joint;
    }
    for (name, variables) in [("chain-first", [chain, category]), ("chain-last", [category, chain])] {
        let (summary, _) = run(name, &format!("{rest}{}", variables.concat()));
        let elbo = summary["elbo"].as_f64().unwrap();
        assert!((elbo - evidence.ln()).abs() < 1e-9, "{name}: {elbo} instead of {}", evidence.ln());
    }
}

/// A binary variable outside the rows is reported as in its prior, by one probability: Bayes' rule for two readings.
#[test]
fn a_binary_variable_is_reported_by_its_probability() {
    let (summary, posterior) = run(
        "binary",
        r#"
        [data.values]
        y = [0.8, 1.9]
        [plates]
        row = "rows"
        [variables.s]
        distribution = "bernoulli"
        probability = 0.3
        [variables.reading]
        plates = ["row"]
        distribution = "normal"
        mean = "2 * s"
        sd = 1.0
        observed = "y"
        "#,
    );
    let joint = |s: f64, p: f64| p * [0.8, 1.9].iter().map(|y| log_normal(*y, 2.0 * s, 1.0).exp()).product::<f64>();
    let (off, on) = (joint(0.0, 0.7), joint(1.0, 0.3));
    assert!((summary["elbo"].as_f64().unwrap() - (off + on).ln()).abs() < 1e-9);
    assert_eq!(posterior["s"]["distribution"], "bernoulli");
    let probability = posterior["s"]["parameters"]["probability"].as_f64().unwrap();
    assert!((probability - on / (off + on)).abs() < 1e-9, "{probability}");
}

/// Counts with known probabilities: rows without any count have no density.
#[test]
fn a_multinomial_without_any_count_is_no_observation() {
    let model = r#"
        [data.values]
        x = [[1, 2, 3], [nan, nan, nan], [2, 0, 1]]
        p = { axes = ["x"], values = [0.2, 0.3, 0.5] }
        [plates]
        row = "rows"
        [variables.n]
        plates = ["row"]
        distribution = "multinomial"
        probabilities = "p"
        observed = "x"
        "#;
    let (summary, _) = run("counts", model);
    let expected = (60.0 * 0.2 * 0.09 * 0.125_f64).ln() + (3.0 * 0.04 * 0.5_f64).ln();
    let elbo = summary["elbo"].as_f64().unwrap();
    assert!((elbo - expected).abs() < 1e-9, "{elbo} instead of {expected}");
}
