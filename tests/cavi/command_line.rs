//! The command `cavi` as a newcomer meets it: exit statuses, files, silence, refusals, interruption, snapshots of `check`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn cavi(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cavi")).args(arguments).output().expect("the binary starts")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("it exits by itself")
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn model(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(format!("{name}.toml"));
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// A folder of this test alone, which does not exist yet.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command-line").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an earlier run's folder can be removed");
    }
    folder
}

/// Writes a model file and returns its path.
fn written(folder: &Path, text: &str) -> String {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let path = folder.join("model.toml");
    std::fs::write(&path, text).expect("the model can be written");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn a_run_leaves_every_file() {
    let out = fresh("files");
    let output = cavi(&["run", &model("gmm"), "--save", "z", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&output), 0, "{}", error_text(&output));
    for file in [
        "summary.json",
        "posterior.json",
        "elbo.csv",
        "elbo.svg",
        "elbo.png",
        "local/z.csv",
        "pictures/clusters-x-z.svg",
        "pictures/clusters-x-z.png",
    ] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["<td>cluster[0, waiting]</td>", "p0-clip", "concentration = 0.001", "Old Faithful: a Gaussian mixture"]
    {
        assert!(report.contains(part), "the report lacks {part}");
    }
    assert_eq!(report.matches("<svg").count(), report.matches("</svg>").count());
    let elbo = std::fs::read_to_string(out.join("elbo.csv")).unwrap();
    assert!(elbo.starts_with("restart,iteration,seconds,elbo\n1,1,"), "{elbo}");
    let rows = std::fs::read_to_string(out.join("local/z.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + 272);
    for row in rows.lines().skip(1) {
        let cells: Vec<f64> = row.split(',').map(|c| c.parse().unwrap()).collect();
        let total: f64 = cells[cells.len() - 6..].iter().sum();
        assert!((total - 1.0).abs() < 1e-9, "{row}");
    }
    // The report names what a newcomer looks for.
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["converged", "ELBO -443.29787", "posterior (mean ± sd)", "cluster[0]", "results in"] {
        assert!(report.contains(word), "`{word}` is not in\n{report}");
    }
    // Progress on standard error is plain where that is no terminal.
    let progress = error_text(&output);
    assert!(!progress.contains('\r') && !progress.contains('\x1b'), "{progress}");
}

#[test]
fn json_is_the_summary_and_nothing_else() {
    let out = fresh("json");
    let output = cavi(&["run", &model("coin"), "--json", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&output), 0);
    assert_eq!(output.stdout, std::fs::read(out.join("summary.json")).unwrap());
    assert_eq!(error_text(&output), "");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in
        ["engine", "model", "status", "iterations", "seconds", "elbo", "elbo_terms", "restarts", "seed", "version"]
    {
        assert!(!summary[key].is_null(), "{key}");
    }
    assert_eq!((summary["engine"].as_str(), summary["status"].as_str()), (Some("cavi"), Some("converged")));
}

#[test]
fn quiet_is_silent_and_no_plot_draws_nothing() {
    let out = fresh("quiet");
    let output = cavi(&["run", &model("coin"), "--quiet", "--no-plot", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&output), 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    assert!(out.join("posterior.json").is_file());
    assert!(!out.join("elbo.svg").exists() && !out.join("pictures").exists());
}

#[test]
fn too_few_iterations_end_with_status_1() {
    let out = fresh("limit");
    let arguments =
        ["run", &model("gmm"), "--max-iterations", "2", "--restarts", "1", "--output", out.to_str().unwrap()];
    let output = cavi(&arguments);
    assert_eq!(status(&output), 1);
    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["status"], "max-iterations");
    assert_eq!(summary["iterations"], 2);
    assert!(String::from_utf8_lossy(&output.stdout).contains("not converged"));
}

#[test]
fn a_failing_run_ends_with_status_3_and_says_where() {
    let folder = fresh("failing");
    // The mode of gamma(shape 1/2 + 0, …) is not inside (0, ∞).
    let file = written(
        &folder,
        r#"
[data.values]
events = [0, 0, 0]

[plates]
day = "rows"

[variables.rate]
distribution = "gamma"
shape = 0.5
rate = 1.0
point = true

[variables.x]
plates = ["day"]
distribution = "poisson"
rate = "rate"
observed = "events"
"#,
    );
    let out = folder.join("out");
    let output = cavi(&["run", &file, "--output", out.to_str().unwrap()]);
    assert_eq!(status(&output), 3, "{}", error_text(&output));
    assert!(error_text(&output).contains("`rate`"), "{}", error_text(&output));
    assert_eq!(json(&out.join("summary.json"))["status"], "failed");
}

#[test]
fn refused_models_leave_nothing_behind() {
    let folder = fresh("refused");
    let file = written(
        &folder,
        "[data.values]\ny = [1.0, 2.0]\n\n[plates]\nday = \"rows\"\n\n[variables.x]\nplates = [\"day\"]\n\
         distribution = \"normal\"\nmean = 0.0\nprecison = 1.0\nobserved = \"y\"\n",
    );
    let out = folder.join("out");
    for command in [&["run", &file, "--output", out.to_str().unwrap()][..], &["check", &file]] {
        let output = cavi(command);
        assert_eq!(status(&output), 2);
        let text = error_text(&output);
        assert!(text.contains("model.toml:11:1") && text.contains("`precision`"), "{text}");
        assert!(output.stdout.is_empty());
    }
    assert!(!out.exists());
}

#[test]
fn wrong_paths_and_options_are_refused_with_advice() {
    let out = fresh("wrong");
    let missing = cavi(&["run", "models/no-such-model.toml", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&missing), 2);
    assert!(error_text(&missing).contains("cannot read `models/no-such-model.toml`"), "{}", error_text(&missing));
    let folder = cavi(&["check", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(status(&folder), 2);
    assert!(error_text(&folder).contains("is a folder"), "{}", error_text(&folder));
    let option = cavi(&["run", &model("coin"), "--restart", "3"]);
    assert_eq!(status(&option), 2);
    assert!(error_text(&option).contains("--restarts"), "{}", error_text(&option));
    let unsaveable = cavi(&["run", &model("gmm"), "--save", "pi", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&unsaveable), 2);
    assert!(error_text(&unsaveable).contains("(z)"), "{}", error_text(&unsaveable));
    let empty = cavi(&["run", &written(&fresh("empty"), "title = \"nothing\"\n"), "--output", out.to_str().unwrap()]);
    assert_eq!(status(&empty), 2);
    assert!(error_text(&empty).contains("[variables.NAME]"), "{}", error_text(&empty));
    assert!(!out.exists());
}

#[test]
fn every_number_and_name_of_the_inference_section_is_an_option() {
    let file = model("gmm");
    let folder = fresh("options");
    let out = folder.display().to_string();
    let common = ["run", &file, "--output", &out, "--quiet", "--no-plot"];
    let options = |more: &[&str]| cavi(&[&common[..], more].concat());
    let steps = ["--schedule", "stochastic", "--batch-size", "40", "--step-delay", "4", "--step-forgetting", "0.9"];
    let run =
        options(&[&steps[..], &["--initialization", "random", "--max-iterations", "3", "--tolerance", "0"]].concat());
    assert_eq!(status(&run), 1, "{}", error_text(&run));
    assert_eq!(json(&folder.join("summary.json"))["iterations"], 3);
    for (option, value, words) in [
        ("--schedule", "incrementl", ["schedule", "incremental"]),
        ("--initialization", "kmeans", ["initialization", "kmeans++"]),
        ("--step-forgetting", "0.2", ["step_forgetting", "0.2"]),
        ("--batch-size", "0", ["batch_size", "0"]),
    ] {
        let refused = options(&[option, value]);
        assert_eq!(status(&refused), 2, "{option} {value}");
        assert!(words.iter().all(|w| error_text(&refused).contains(w)), "{}", error_text(&refused));
    }
}

#[test]
fn a_folder_that_is_no_run_is_left_alone() {
    let out = fresh("occupied");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("thesis.txt"), "years of work").unwrap();
    let output = cavi(&["run", &model("coin"), "--output", out.to_str().unwrap()]);
    assert_eq!(status(&output), 2);
    let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, ["thesis.txt"]);
    assert_eq!(std::fs::read_to_string(out.join("thesis.txt")).unwrap(), "years of work");
}

#[test]
fn a_second_run_takes_over_its_own_folder() {
    let out = fresh("again");
    let first = cavi(&["run", &model("gmm"), "--save", "z", "-q", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&first), 0);
    let second = cavi(&["run", &model("coin"), "-q", "--no-plot", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&second), 0);
    assert!(!out.join("local/z.csv").exists() && !out.join("elbo.svg").exists());
    assert!(json(&out.join("summary.json"))["model"].as_str().unwrap().ends_with("coin.toml"));
}

/// `elbo.csv` without the column of times.
fn curve(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("elbo.csv")).unwrap();
    text.lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            [&cells[..2], &cells[3..]].concat().join(",")
        })
        .collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for name in ["gmm", "bernoulli-mixture", "lda"] {
        let runs: Vec<(Vec<u8>, Vec<String>)> = ["1", "2"]
            .into_iter()
            .map(|threads| {
                let out = fresh(&format!("threads-{name}-{threads}"));
                let output = cavi(&[
                    "run",
                    &model(name),
                    "--threads",
                    threads,
                    "--restarts",
                    "2",
                    "--max-iterations",
                    "30",
                    "--no-plot",
                    "-q",
                    "--output",
                    out.to_str().unwrap(),
                ]);
                assert!(status(&output) <= 1, "{}", error_text(&output));
                (std::fs::read(out.join("posterior.json")).unwrap(), curve(&out))
            })
            .collect();
        assert!(runs[0].0 == runs[1].0, "{name}: posterior.json differs");
        assert_eq!(runs[0].1, runs[1].1, "{name}: elbo.csv differs");
    }
}

#[cfg(unix)]
const SLOW: &str = r#"
[data]
file = "values.csv"
[plates]
row = "rows"
component = 30
[variables.pi]
distribution = "dirichlet"
dimension = "component"
concentration = 1.0
[variables.z]
plates = ["row"]
distribution = "categorical"
probabilities = "pi"
[variables.cluster]
plates = ["component"]
distribution = "normal-gamma"
mean = 50.0
mean_precision = 0.01
shape = 1.0
rate = 1.0
[variables.x]
plates = ["row"]
distribution = "normal"
parameters = "cluster[z]"
observed = "value"
"#;

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_what_it_has_reached() {
    let folder = fresh("interrupted");
    let out = folder.join("out");
    // Thirty overlapping components on 100 000 nearly uniform values: hundreds of iterations from convergence when interrupted.
    let rows: String = (0..100_000_u64).map(|i| format!("{}\n", (i * 7919 % 100_003) as f64 / 1000.0)).collect();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("values.csv"), format!("value\n{rows}")).unwrap();
    let file = folder.join("slow.toml");
    std::fs::write(&file, SLOW).unwrap();
    for signal in ["-INT", "-TERM"] {
        let child = Command::new(env!("CARGO_BIN_EXE_cavi"))
            .args([
                "run",
                file.to_str().unwrap(),
                "--tolerance",
                "0",
                "--max-iterations",
                "1000000000",
                "--restarts",
                "1",
            ])
            .args(["--no-plot", "--output", out.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // The folder is made just before the first iteration.
        let begun = Instant::now();
        while !out.exists() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(400));
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(status(&output), 1, "{}", error_text(&output));
        let summary = json(&out.join("summary.json"));
        assert_eq!(summary["interrupted"], true);
        assert_eq!(summary["status"], "max-iterations");
        assert!(summary["elbo"].as_f64().unwrap().is_finite());
        assert!(json(&out.join("posterior.json"))["cluster"]["mean"].is_array());
        assert!(error_text(&output).contains("interrupted"), "{}", error_text(&output));
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn schema_reference_completions_and_version() {
    let schema = cavi(&["schema"]);
    assert_eq!(status(&schema), 0);
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["variables"].is_object());
    let reference = String::from_utf8(cavi(&["reference"]).stdout).unwrap();
    assert!(reference.starts_with("# ") && reference.contains("normal-wishart"));
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(cavi(&["completions", shell]).stdout).unwrap();
        assert!(script.contains("max-iterations"), "{shell}");
    }
    let version = String::from_utf8(cavi(&["--version"]).stdout).unwrap();
    assert_eq!(version, format!("cavi {}\n", env!("CARGO_PKG_VERSION")));
    let help = String::from_utf8(cavi(&["--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit status:"), "{help}");
}

/// Compares the output of `check` with a file; `UPDATE_SNAPSHOTS=1` writes it anew.
fn snapshot(name: &str) {
    let output = cavi(&["check", &model(name)]);
    assert_eq!(status(&output), 0, "{}", error_text(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/cavi/snapshots/check-{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("the snapshot is there");
    assert!(text == expected, "`cavi check {name}` says\n{text}\ninstead of\n{expected}");
}

#[test]
fn check_prints_the_updates() {
    for name in ["normal", "gmm", "hierarchical-regression", "local-level"] {
        snapshot(name);
    }
}

#[test]
fn check_as_json_names_factors_and_work() {
    let output = cavi(&["check", &model("gmm"), "--json"]);
    assert_eq!(status(&output), 0);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = value["factors"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pi", "z", "cluster"]);
    assert_eq!(value["work"]["rows"], 272);
}

#[test]
fn pictures_follow_from_the_shape_of_a_model() {
    for (name, picture) in [
        ("hmm-gaussian", "states-state"),
        ("local-level", "series-level"),
        ("mixture-of-regressions", "clusters-height-z"),
        ("factor-analysis", "scores-score"),
        ("lda", "largest-topic"),
        ("linear-regression", "estimates"),
    ] {
        let out = fresh(&format!("picture-{name}"));
        let output = cavi(&[
            "run",
            &model(name),
            "--restarts",
            "1",
            "--max-iterations",
            "20",
            "-q",
            "--output",
            out.to_str().unwrap(),
        ]);
        assert!(status(&output) <= 1, "{name}: {}", error_text(&output));
        let files: Vec<String> = std::fs::read_dir(out.join("pictures"))
            .unwrap_or_else(|e| panic!("{name}: no picture at all: {e}"))
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(files.iter().any(|f| f.starts_with(picture) && f.ends_with(".svg")), "{name}: {files:?}");
    }
}

/// The columns of a CSV text by name.
fn columns(text: &str) -> std::collections::BTreeMap<String, Vec<f64>> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let rows: Vec<Vec<f64>> = lines.map(|l| l.split(',').map(|c| c.parse().unwrap_or(f64::NAN)).collect()).collect();
    names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), rows.iter().map(|r| r[i]).collect())).collect()
}

#[test]
fn predictions_of_the_fitted_rows_are_those_of_the_fit() {
    let out = fresh("predict-gmm");
    let folder = out.to_str().unwrap();
    let run =
        cavi(&["run", &model("gmm"), "--tolerance", "1e-13", "--save", "z", "--no-plot", "-q", "--output", folder]);
    assert_eq!(status(&run), 0, "{}", error_text(&run));
    let data = Path::new(&model("gmm")).with_file_name("data/old-faithful.csv");
    let output = cavi(&["predict", folder, "--data", data.to_str().unwrap()]);
    assert_eq!(status(&output), 0, "{}", error_text(&output));
    let table = columns(&String::from_utf8(output.stdout).unwrap());
    let saved = std::fs::read_to_string(out.join("local/z.csv")).unwrap();
    for (row, line) in saved.lines().skip(1).enumerate() {
        let cells: Vec<f64> = line.split(',').map(|c| c.parse().unwrap()).collect();
        for (k, p) in cells[cells.len() - 6..].iter().enumerate() {
            let predicted = table[&format!("z.p_{k}")][row];
            assert!((predicted - p).abs() < 1e-5, "row {row}, component {k}: {predicted} instead of {p}");
        }
    }
    // The rows' part of the ELBO is a lower bound on the sum of their log densities, and a close one.
    let terms = &json(&out.join("summary.json"))["elbo_terms"];
    let expected = terms["z"].as_f64().unwrap() + terms["x"].as_f64().unwrap();
    let total: f64 = table["log_density"].iter().sum();
    assert!(total > expected && total < expected + 0.05 * expected.abs(), "{total} instead of about {expected}");
}

#[test]
fn new_rows_of_a_regression_are_predicted_from_its_posterior() {
    let folder = fresh("predict-line");
    let file = written(
        &folder,
        r#"
[data.values]
dose = [0.0, 1.0, 2.0, 3.0]
response = [1.1, 2.9, 5.2, 7.1]
clinic = ["a", "b", "a", "b"]

[plates]
patient = "rows"
place = { levels = "clinic" }

[variables.level]
plates = ["place"]
distribution = "normal"
mean = 0.0
precision = 0.01

[variables.slope]
distribution = "normal"
mean = 0.0
precision = 0.01

[variables.y]
plates = ["patient"]
distribution = "normal"
mean = "level[clinic] + slope * dose"
precision = 4.0
observed = "response"
"#,
    );
    let out = folder.join("out");
    let run = cavi(&["run", &file, "--no-plot", "-q", "--output", out.to_str().unwrap()]);
    assert_eq!(status(&run), 0, "{}", error_text(&run));
    // Levels in another order than in the fit, and no column of responses.
    let new = folder.join("new.csv");
    std::fs::write(&new, "clinic,dose\nb,10\na,-2\n").unwrap();
    let table_file = folder.join("table.csv");
    let predict = |data: &Path| {
        cavi(&[
            "predict",
            out.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--output",
            table_file.to_str().unwrap(),
        ])
    };
    let output = predict(&new);
    assert_eq!(status(&output), 0, "{}", error_text(&output));
    let table = columns(&std::fs::read_to_string(&table_file).unwrap());
    let posterior = json(&out.join("posterior.json"));
    let number = |v: &Value| v.as_f64().unwrap();
    for (row, (level, dose)) in [(1, 10.0), (0, -2.0)].into_iter().enumerate() {
        let (a, s) = (&posterior["level"], &posterior["slope"]);
        let mean = number(&a["mean"][level]) + number(&s["mean"]) * dose;
        let variance = number(&a["sd"][level]).powi(2) + (dose * number(&s["sd"])).powi(2);
        assert!((table["y.mean"][row] - mean).abs() < 1e-9, "{table:?}, {mean}");
        assert!((table["y.mean.sd"][row] - variance.sqrt()).abs() < 1e-9, "{table:?}, {variance}");
    }
    for (text, word) in [
        ("clinic\na\n", "no column `dose`"),
        ("clinic,dose\na,\n", "row 1 of the new data has no value in `dose`"),
        ("clinic,dose\nc,1\n", "`c`"),
    ] {
        std::fs::write(&new, text).unwrap();
        let output = predict(&new);
        assert_eq!(status(&output), 2, "{text}: {}", error_text(&output));
        assert!(error_text(&output).contains(word), "{text}: {}", error_text(&output));
    }
    // Rows of another table are predicted, all alike, where every column may be missing; that is said.
    let coin = folder.join("coin.toml");
    std::fs::write(&coin, "[data.values]\nheads = [1, 0, 1]\n[plates]\ntoss = \"rows\"\n[variables.p]\ndistribution = \"beta\"\nalpha = 1\nbeta = 1\n[variables.x]\nplates = [\"toss\"]\ndistribution = \"bernoulli\"\nprobability = \"p\"\nobserved = \"heads\"\n").unwrap();
    let coins = folder.join("coins");
    assert_eq!(
        status(&cavi(&["run", coin.to_str().unwrap(), "--no-plot", "-q", "--output", coins.to_str().unwrap()])),
        0
    );
    let tails = folder.join("tails.csv");
    for (text, noted) in [("tails\n1\n", true), ("tails,heads\n1,0\n", false)] {
        std::fs::write(&tails, text).unwrap();
        let output = cavi(&["predict", coins.to_str().unwrap(), "--data", tails.to_str().unwrap()]);
        assert_eq!(status(&output), 0, "{text}: {}", error_text(&output));
        let said = error_text(&output);
        assert_eq!(said.contains("`heads`") && said.contains("`tails`"), noted, "{said}");
    }
    // A run whose model has changed does not predict.
    let changed = std::fs::read_to_string(&file).unwrap().replace("precision = 4.0", "precision = 5.0");
    std::fs::write(&file, changed).unwrap();
    let output = predict(&new);
    assert_eq!(status(&output), 2);
    assert!(error_text(&output).contains("changed since the run"), "{}", error_text(&output));
}

#[test]
fn the_library_alone_needs_no_command_line() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "cavi", "--no-default-features", "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", error_text(&output));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.contains("vi-families"), "{tree}");
    for package in ["clap ", "clap_complete ", "ctrlc ", "plotters ", "tiny-skia ", "png "] {
        assert!(!tree.lines().any(|line| line.starts_with(package)), "{package} is in\n{tree}");
    }
}
