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
