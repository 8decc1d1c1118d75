//! A whole run of a small algorithm, compared with the files it should leave (times filtered).
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test

use std::fs;
use std::path::{Path, PathBuf};
use vi_run::cli::{ModelText, OutputOptions, conclude};
use vi_run::executor::{Algorithm, Executor, Progress, RelativeGain, Restart};
use vi_run::output::{LocalColumns, LocalFormat, RunDirectory};
use vi_run::{NestedArray, PosteriorEntry, Record};

/// Mean-field coordinate ascent on a bivariate normal with unit variances and correlation ½ (Bishop §10.1.2): the means
/// alternate by m₁ ← m₂/2, m₂ ← m₁/2, and the ELBO is −(m₁² − m₁ m₂ + m₂²)/(2·¾) + ½ log ¾.
#[derive(Debug)]
struct Bivariate {
    means: [f64; 2],
}

#[derive(Debug, thiserror::Error)]
#[error("the means left the plane")]
struct Lost;

impl Algorithm for Bivariate {
    type Error = Lost;

    fn step(&mut self) -> Result<Progress, Lost> {
        self.means[0] = self.means[1] / 2.0;
        self.means[1] = self.means[0] / 2.0;
        let [a, b] = self.means;
        if !a.is_finite() {
            return Err(Lost);
        }
        Ok(Progress::new(-(a * a - a * b + b * b) / 1.5 + 0.5 * 0.75f64.ln()))
    }
}

/// Replaces every number of seconds, in JSON and in the third column of CSV.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.split_once("\"seconds\": ") {
        Some((before, _)) => format!("{before}\"seconds\": TIME,"),
        None if line.contains("<time>") => {
            let (before, after) = (line.split("<time>").next(), line.split("</time>").last());
            format!("{}TIME{}", before.unwrap(), after.unwrap())
        }
        None => {
            let cells: Vec<&str> = line.split(',').collect();
            match cells[..] {
                [restart, iteration, _, elbo] if restart.parse::<u32>().is_ok() => {
                    format!("{restart},{iteration},TIME,{elbo}")
                }
                _ => line.to_owned(),
            }
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vi-run-golden-{name}-{}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    path
}

fn run(path: &Path, options: &OutputOptions) -> u8 {
    let start = |restart: Restart| Ok(Bivariate { means: [0.0, restart.index as f64] });
    let fit = Executor::new(7, 50, RelativeGain::new(1e-6)).restarts(2).run(start).unwrap();
    let mut record = Record::new("cavi", "models/bivariate.toml", "0.1.0", 7);
    record.set_outcome(&fit.outcome);
    record.elbo_terms.insert("x".to_owned(), record.elbo);
    let mut entry = PosteriorEntry {
        distribution: Some("normal".to_owned()),
        plates: vec!["coordinate".to_owned()],
        mean: Some(NestedArray::vector(fit.algorithm.means.to_vec())),
        sd: Some(NestedArray::vector(vec![0.75f64.sqrt(); 2])),
        ..PosteriorEntry::default()
    };
    entry.parameters.insert("mean".to_owned(), NestedArray::vector(fit.algorithm.means.to_vec()));
    entry.parameters.insert("variance".to_owned(), NestedArray::vector(vec![0.75; 2]));
    record.posterior.insert("x".to_owned(), entry);
    let mut directory = RunDirectory::create(path).unwrap();
    let mut local = directory.local_writer("z", LocalFormat::Csv, LocalColumns::Scalar).unwrap();
    local.write_moments(&[0.5, -0.25], &[1.0, 1e-7]).unwrap();
    local.finish().unwrap();
    let model = ModelText {
        title: Some("A < bivariate & normal"),
        description: None,
        text: "title = \"A < bivariate & normal\"\n",
    };
    conclude(&record, &model, &mut directory, options).unwrap()
}

#[test]
fn a_run_leaves_the_expected_files() {
    let path = folder("whole");
    let options = OutputOptions { quiet: true, ..OutputOptions::default() };
    assert_eq!(run(&path, &options), 0);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["summary.json", "elbo.csv", "posterior.json", "elbo.svg", "local/z.csv", "report.html", ".vi-run"] {
        let written = without_times(&fs::read_to_string(path.join(name)).unwrap());
        let expected = golden.join(name.replace('/', "-").trim_start_matches('.'));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &written).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap();
        assert_eq!(written, expected, "{name} differs; if that is meant, run with UPDATE_GOLDEN=1 and review");
    }
    let png = fs::read(path.join("elbo.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    // A second run over it, without plots, leaves none of the first one's.
    run(&path, &OutputOptions { no_plot: true, quiet: true, ..OutputOptions::default() });
    assert!(!path.join("elbo.png").exists() && path.join("summary.json").exists());
    fs::remove_dir_all(path).unwrap();
}
