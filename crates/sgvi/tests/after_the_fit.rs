//! What can be asked of a finished run through the binary: draws in CmdStan's format, and predictions of new rows.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn sgvi(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sgvi")).args(arguments).output().expect("the binary starts")
}

/// Runs a model file into a folder of its own.
fn run(name: &str, file: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("after-the-fit").join(name);
    let (file, output) = (file.display().to_string(), folder.display().to_string());
    let done = sgvi(&["run", &file, "--quiet", "--no-plot", "--output", &output]);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&done.stderr));
    folder
}

fn refused(arguments: &[&str], words: &[&str]) {
    let done = sgvi(arguments);
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// A CSV of CmdStan as its readers expect it, read strictly: comments, one header of identifiers with 1-based indices, the
/// first index fastest and every array complete, then lines of as many plain decimal numbers.
struct StanCsv {
    comments: Vec<String>,
    names: Vec<String>,
    lines: Vec<Vec<f64>>,
}

impl StanCsv {
    fn read(text: &str) -> Self {
        assert!(text.is_ascii() && text.ends_with('\n') && !text.contains('\r'));
        let comments: Vec<String> = text.lines().take_while(|l| l.starts_with('#')).map(str::to_owned).collect();
        let mut rest = text.lines().skip(comments.len());
        let names: Vec<String> = rest.next().expect("a header").split(',').map(str::to_owned).collect();
        let lines: Vec<Vec<f64>> = rest
            .map(|line| {
                let numbers: Vec<f64> = line
                    .split(',')
                    .map(|cell| {
                        let plain = cell.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                        assert!(plain, "`{cell}` is not a plain decimal number");
                        cell.parse().expect("a number")
                    })
                    .collect();
                assert_eq!(numbers.len(), names.len(), "{line}");
                numbers
            })
            .collect();
        for (i, name) in names.iter().enumerate() {
            let identifier = name.split('.').next().expect("a name");
            assert!(identifier.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()), "`{name}`");
            assert!(identifier.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "`{name}`");
            assert!(!names[..i].contains(name), "`{name}` stands twice");
        }
        Self { comments, names, lines }
    }

    fn column(&self, name: &str) -> Vec<f64> {
        let at = self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no `{name}` in {:?}", self.names));
        self.lines.iter().map(|l| l[at]).collect()
    }

    /// The sizes of a variable's axes; its elements must be complete, together, and in order.
    fn shape(&self, variable: &str) -> Vec<usize> {
        let own: Vec<Vec<usize>> = self
            .names
            .iter()
            .filter(|n| n.split('.').next() == Some(variable))
            .map(|n| n.split('.').skip(1).map(|i| i.parse().expect("an index")).collect())
            .collect();
        let sizes = own.last().expect("the variable is there").clone();
        assert_eq!(own.len(), sizes.iter().product::<usize>());
        for (i, index) in own.iter().enumerate() {
            let mut rest = i;
            for (at, size) in index.iter().zip(&sizes) {
                assert_eq!(*at, rest % size + 1, "{variable}: {index:?} at place {i}");
                rest /= size;
            }
        }
        sizes
    }
}

fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn draws_are_a_csv_of_cmdstan() {
    let folder = run("draws", &models().join("varying-intercepts.toml"));
    let path = folder.display().to_string();
    let done = sgvi(&["sample", &path, "--draws", "3000"]);
    assert_eq!(done.status.code(), Some(0));
    let csv = StanCsv::read(&std::fs::read_to_string(folder.join("draws.csv")).unwrap());
    assert!(csv.comments.iter().any(|c| c == "# method = variational"), "{:?}", csv.comments);
    assert_eq!(csv.names[..3], ["lp__", "log_p__", "log_g__"]);
    assert_eq!(csv.lines.len(), 3000);
    assert_eq!(csv.shape("own"), [50]);
    assert_eq!(csv.shape("slope"), Vec::<usize>::new());
    let posterior: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("posterior.json")).unwrap()).unwrap();
    for (name, entry) in [("slope", &posterior["slope"]), ("spread", &posterior["spread"])] {
        let (mean, sd) = mean_and_sd(&csv.column(name));
        let (wanted, spread) = (entry["mean"].as_f64().unwrap(), entry["sd"].as_f64().unwrap());
        assert!((mean - wanted).abs() < 5.0 * spread / 3000.0_f64.sqrt(), "{name}: {mean}, {wanted}");
        assert!((sd / spread - 1.0).abs() < 0.1, "{name}: {sd}, {spread}");
    }
    let (own, wanted) = (csv.column("own.7"), posterior["own"]["mean"][6].as_f64().unwrap());
    let (mean, sd) = mean_and_sd(&own);
    assert!((mean - wanted).abs() < 5.0 * sd / 3000.0_f64.sqrt());
    // log p − log g averages to the ELBO.
    let summary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("summary.json")).unwrap()).unwrap();
    let weights: Vec<f64> = csv.column("log_p__").iter().zip(csv.column("log_g__")).map(|(p, g)| p - g).collect();
    let (mean, sd) = mean_and_sd(&weights);
    let (elbo, error) = (summary["elbo"].as_f64().unwrap(), summary["elbo_standard_error"].as_f64().unwrap());
    assert!((mean - elbo).abs() < 5.0 * (sd / 3000.0_f64.sqrt()).hypot(error), "{mean}, {elbo}");
}

/// Discrete variables that are not summed out are drawn with the others, and the draws' log densities are joint.
#[test]
fn values_of_discrete_variables_are_drawn() {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("after-the-fit-pairs.toml");
    let text = "[data.values]\nfrom = [0, 0, 0, 1, 1, 2, 3, 4, 4]\nto = [1, 2, 3, 2, 3, 3, 4, 0, 1]\ny = [1, 0, 0, 0, 1, 1, 0, 1, 1]
[plates]\nrow = \"rows\"\nnode = 5\nblock = 2
[variables.z]\nplates = [\"node\"]\ndistribution = \"categorical\"\nprobabilities = [0.3, 0.7]\nmarginalized = false
[variables.rate]\nplates = [\"block\", \"block\"]\ndistribution = \"beta\"\nalpha = [[4.0, 1.0], [1.0, 2.0]]\nbeta = [[1.0, 3.0], [3.0, 2.0]]
[variables.x]\nplates = [\"row\"]\ndistribution = \"bernoulli\"\nprobability = \"rate[z[from], z[to]]\"\nobserved = \"y\"\n";
    std::fs::write(&source, text).unwrap();
    let folder = run("pairs", &source);
    let done = sgvi(&["sample", &folder.display().to_string(), "--draws", "4000"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let csv = StanCsv::read(&std::fs::read_to_string(folder.join("draws.csv")).unwrap());
    assert_eq!(csv.shape("z"), [5]);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let (posterior, summary) = (read("posterior.json"), read("summary.json"));
    for node in 0..5 {
        let column = csv.column(&format!("z.{}", node + 1));
        assert!(column.iter().all(|z| *z == 0.0 || *z == 1.0));
        let wanted = posterior["z"]["parameters"]["probabilities"][node][1].as_f64().unwrap();
        let (mean, _) = mean_and_sd(&column);
        assert!(
            (mean - wanted).abs() < 5.0 * (wanted * (1.0 - wanted) / 4000.0).sqrt() + 1e-9,
            "{node}: {mean} {wanted}"
        );
    }
    let weights: Vec<f64> = csv.column("log_p__").iter().zip(csv.column("log_g__")).map(|(p, g)| p - g).collect();
    let (mean, sd) = mean_and_sd(&weights);
    let (elbo, error) = (summary["elbo"].as_f64().unwrap(), summary["elbo_standard_error"].as_f64().unwrap());
    assert!((mean - elbo).abs() < 5.0 * (sd / 4000.0_f64.sqrt()).hypot(error), "{mean}, {elbo}");
}

/// A table with a header, read back as columns of text.
fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut lines = text.lines().map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
    (lines.next().expect("a header"), lines.collect())
}

#[test]
fn predictions_of_new_rows() {
    let folder = run("predict", &models().join("poisson-regression.toml"));
    let path = folder.display().to_string();
    let data = models().join("data/cpunish.csv").display().to_string();
    let draws = folder.join("predictive.csv").display().to_string();
    let done = sgvi(&[
        "predict",
        &path,
        "--data",
        &data,
        "--draws",
        "500",
        "--quantiles",
        "0.025,0.5",
        "--save-draws",
        &draws,
    ]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let (header, rows) = table(&text);
    assert_eq!(header, ["row", "y.mean", "y.sd", "y.q2.5", "y.q50", "log_density"]);
    assert_eq!(rows.len(), 17);
    for row in &rows {
        let numbers: Vec<f64> = row.iter().map(|c| c.parse().unwrap()).collect();
        // A Poisson count given an uncertain rate spreads more than its mean.
        assert!(numbers[2] * numbers[2] > numbers[1] && numbers[3] <= numbers[4] && numbers[5] < 0.0, "{row:?}");
    }
    let (header, lines) = table(&std::fs::read_to_string(&draws).unwrap());
    assert_eq!((header.len(), header[0].as_str(), lines.len()), (17, "y.1", 500));
    // Rows without the observed column have no density; rows without a covariate are refused.
    let new = folder.join("new.csv");
    let all = std::fs::read_to_string(models().join("data/cpunish.csv")).unwrap();
    let without = |column: &str| -> String {
        let at = all.lines().next().unwrap().split(',').position(|n| n == column).expect("a column");
        let line = |l: &str| {
            l.split(',').enumerate().filter(|(i, _)| *i != at).map(|(_, c)| c).collect::<Vec<_>>().join(",") + "\n"
        };
        all.lines().map(line).collect()
    };
    std::fs::write(&new, without("executions")).unwrap();
    let new = new.display().to_string();
    let done = sgvi(&["predict", &path, "--data", &new, "--draws", "500"]);
    let (header, _) = table(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(header, ["row", "y.mean", "y.sd", "y.q5", "y.q50", "y.q95"]);
    std::fs::write(&new, without("income")).unwrap();
    refused(&["predict", &path, "--data", &new], &["income", "no column"]);
    refused(&["predict", &path, "--data", &data, "--draws", "1"], &["--draws"]);
    refused(&["predict", &path, "--data", &data, "--quantiles", "1.5"], &["1.5", "between 0 and 1"]);
    refused(&["predict", "no-such-folder", "--data", &data], &["no-such-folder"]);
}
