//! Rows that occur several times and have latent values of their own, through the binary against closed forms.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("counts").join(name)
}

fn run(name: &str, model: &str, save: &[&str]) -> Output {
    let folder = folder(name);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("model.toml");
    std::fs::write(&file, model).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sgvi"))
        .args(["run", &file.display().to_string(), "--quiet", "--no-plot"])
        .args(["--output", &folder.join("out").display().to_string()])
        .args(save.iter().flat_map(|name| ["--save", name]))
        .output()
        .unwrap()
}

fn summary(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder(name).join("out/summary.json")).unwrap()).unwrap()
}

/// The cells of each line of a row-level table, its row number left out.
fn table(name: &str, variable: &str) -> Vec<Vec<Option<f64>>> {
    let text = std::fs::read_to_string(folder(name).join(format!("out/local/{variable}.csv"))).unwrap();
    text.lines()
        .skip(1)
        .map(|line| line.split(',').skip(1).map(|cell| cell.parse().ok().filter(|x: &f64| !x.is_nan())).collect())
        .collect()
}

/// zᵣ ~ N(m, 1.5²), xᵣ ~ N(zᵣ, 0.5²), m ~ N(0, 2²): z integrated out, the copies of x have covariance 2.5 I + 4 · 11ᵀ.
const MEASURED: &str =
    "[data]\ncounts = \"c\"\n[data.values]\nx = [0.3, 1.9, -0.8, 2.4]\nc = [2, 1, 0, 3]\n[plates]\nrow = \"rows\"
[variables.m]\ndistribution = \"normal\"\nmean = 0\nsd = 2
[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"m\"\nsd = 1.5
[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"z\"\nsd = 0.5\nobserved = \"x\"
[inference]\nfamily = \"full-rank\"\n";

#[test]
fn each_occurrence_has_a_latent_value_of_its_own() {
    let done = run("normal", MEASURED, &["z"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let copies = [0.3, 0.3, 1.9, 2.4, 2.4, 2.4f64];
    let n = copies.len() as f64;
    let (own, shared) = (1.5f64 * 1.5 + 0.25, 4.0);
    let (sum, squares): (f64, f64) = (copies.iter().sum(), copies.iter().map(|x| x * x).sum());
    // Woodbury and the determinant lemma.
    let exponent = squares / own - shared * sum * sum / (own * (own + n * shared));
    let log_determinant = (n - 1.0) * own.ln() + (own + n * shared).ln();
    let evidence = -0.5 * (exponent + log_determinant + n * (2.0 * std::f64::consts::PI).ln());
    let elbo = summary("normal")["elbo"].as_f64().unwrap();
    assert!((elbo - evidence).abs() < 1e-4, "{elbo} instead of {evidence}");
    // m given the data, then each z given m and its x.
    let variance = 1.0 / (0.25 + n / own);
    let mean = variance * sum / own;
    let gain = 2.25 / own;
    let rows = table("normal", "z");
    for (x, row) in [Some(0.3), Some(1.9), None, Some(2.4)].iter().zip(&rows) {
        let wanted = match x {
            Some(x) => (mean + gain * (x - mean), (2.25 * (1.0 - gain) + (1.0 - gain).powi(2) * variance).sqrt()),
            // A row that does not occur tells nothing of its z ~ N(m, 1.5²).
            None => (mean, (2.25 + variance).sqrt()),
        };
        let found = (row[0].unwrap(), row[1].unwrap());
        assert!((found.0 - wanted.0).abs() < 1e-3 && (found.1 / wanted.1 - 1.0).abs() < 2e-3, "{found:?} {wanted:?}");
    }
}

/// The same model with the rows written out has the same coordinates and so the same numbers to the last bit.
#[test]
fn counted_rows_are_rows_written_out() {
    let model = |data: &str| {
        MEASURED.replace("[data]\ncounts = \"c\"\n", "").replace("x = [0.3, 1.9, -0.8, 2.4]\nc = [2, 1, 0, 3]", data)
    };
    for family in ["mean-field", "full-rank"] {
        let of = |text: String| text.replace("full-rank", family);
        for (name, text) in [("counted", MEASURED.to_owned()), ("written", model("x = [0.3, 0.3, 1.9, 2.4, 2.4, 2.4]"))]
        {
            let done = run(name, &of(text), &[]);
            assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        }
        assert_eq!(summary("counted")["elbo"], summary("written")["elbo"], "{family}");
    }
}

/// Factors of discrete variables: q(k) of each copy is exact where nothing ties copies together, so the ELBO is the log evidence.
#[test]
fn discrete_factors_of_counted_rows() {
    let text = "[data]\ncounts = \"c\"\n[data.values]\nx = [0.3, 1.9]\nc = [3, 2]\nshare = { axes = [\"kind\"], values = [0.3, 0.7] }\n\
        level = { axes = [\"kind\"], values = [-1, 2] }\n[plates]\nrow = \"rows\"\nkind = 2\n\
        [variables.k]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\nmarginalized = false\n\
        [variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"level[k]\"\nsd = 1\nobserved = \"x\"\n";
    let done = run("discrete", text, &["k"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let normal = |x: f64, m: f64| (-0.5 * (x - m) * (x - m)).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let joint = |x: f64| [0.3 * normal(x, -1.0), 0.7 * normal(x, 2.0)];
    let evidence: f64 = [(0.3, 3.0), (1.9, 2.0)].iter().map(|&(x, c)| c * joint(x).iter().sum::<f64>().ln()).sum();
    let elbo = summary("discrete")["elbo"].as_f64().unwrap();
    assert!((elbo - evidence).abs() < 1e-6, "{elbo} instead of {evidence}");
    for (x, row) in [0.3, 1.9].iter().zip(table("discrete", "k")) {
        let p = joint(*x)[1] / joint(*x).iter().sum::<f64>();
        assert!((row[1].unwrap() - p).abs() < 2e-4, "{row:?} {p}");
    }
}

/// Values along the columns and values along the rows meet in every cell: Σ over both columns' values of the product over
/// copies, in which each has its own sum over the row's value.
#[test]
fn discrete_values_of_columns_beside_those_of_counted_rows() {
    let text = "[data]\ncounts = \"c\"\n[data.values]\nx = [[0.3, -1.2], [1.9, 0.4]]\nc = [3, 2]\n\
        of_column = { axes = [\"kind\"], values = [0.3, 0.7] }\nof_row = { axes = [\"level\"], values = [0.6, 0.4] }\n\
        centre = { axes = [\"kind\"], values = [-1, 2] }\nspread = { axes = [\"level\"], values = [0.5, 1.5] }\n\
        [plates]\nrow = \"rows\"\nkind = 2\nlevel = 2\ncolumn = { columns = \"x\" }\n\
        [variables.k]\nplates = [\"column\"]\ndistribution = \"categorical\"\nprobabilities = \"of_column\"\n\
        [variables.l]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"of_row\"\n\
        [variables.y]\nplates = [\"row\", \"column\"]\ndistribution = \"normal\"\nmean = \"centre[k]\"\nsd = \"spread[l]\"\nobserved = \"x\"\n";
    let done = run("columns", text, &[]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let normal =
        |x: f64, m: f64, s: f64| (-0.5 * ((x - m) / s).powi(2)).exp() / (s * (2.0 * std::f64::consts::PI).sqrt());
    let (of_column, of_row, centre, spread) = ([0.3, 0.7], [0.6, 0.4], [-1.0, 2.0], [0.5, 1.5]);
    let mut evidence = 0.0;
    for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut product = of_column[a] * of_column[b];
        for (x, copies) in [([0.3, -1.2], 3), ([1.9, 0.4], 2)] {
            let row: f64 = (0..2)
                .map(|l| of_row[l] * normal(x[0], centre[a], spread[l]) * normal(x[1], centre[b], spread[l]))
                .sum();
            product *= row.powi(copies);
        }
        evidence += product;
    }
    let elbo = summary("columns")["elbo"].as_f64().unwrap();
    assert!((elbo - evidence.ln()).abs() < 1e-9, "{elbo} instead of {}", evidence.ln());
    let parts = run("parts_beside_columns", &text.replace("c = [3, 2]", "c = [3, 1.5]"), &[]);
    let said = String::from_utf8_lossy(&parts.stderr).into_owned();
    assert_eq!(parts.status.code(), Some(2), "{said}");
    assert!(said.contains("`l`") && said.contains("whole counts"), "{said}");
}

/// What is reported in unconstrained space lies as the variable does: its plates first, then the coordinates of one element.
#[test]
fn coordinates_of_simplices_and_pairs_are_nested_by_plate() {
    let text = "[data.values]\nx = [0.3, 1.9, 0.2]\nk = [0, 2, 1]\ng = [0, 1, 1]\n[plates]\nrow = \"rows\"\ngroup = 2\nkind = 3\n\
        [variables.share]\nplates = [\"group\"]\ndistribution = \"dirichlet\"\ndimension = \"kind\"\nconcentration = 2\n\
        [variables.seen]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"share[g]\"\nobserved = \"k\"\n\
        [variables.pair]\nplates = [\"group\"]\ndistribution = \"normal-gamma\"\nmean = 0\nmean_precision = 1\nshape = 2\nrate = 1\n\
        [variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nparameters = \"pair[g]\"\nobserved = \"x\"\n";
    let done = run("nested", text, &[]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let posterior: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder("nested").join("out/posterior.json")).unwrap()).unwrap();
    for (name, width) in [("share", 2), ("pair", 2)] {
        for parameter in ["mean", "variance"] {
            let value = &posterior[name]["parameters"][parameter];
            let rows: Vec<usize> = value.as_array().unwrap().iter().map(|r| r.as_array().unwrap().len()).collect();
            assert_eq!(rows, [width, width], "{name} {value}");
        }
    }
    // The location is the first coordinate of each pair.
    for group in 0..2 {
        let location = posterior["pair"]["parameters"]["mean"][group][0].as_f64().unwrap();
        let mean = posterior["pair"]["mean"][group].as_f64().unwrap();
        assert!((location - mean).abs() < 1e-9, "{location} {mean}");
    }
}

/// Parts of rows have no latent values, and a sequence has no rows that stand several times.
#[test]
fn what_cannot_be_counted_is_said() {
    let said = |name: &str, text: &str| {
        let done = run(name, text, &[]);
        assert_eq!(done.status.code(), Some(2));
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let text = said("fraction", &MEASURED.replace("[2, 1, 0, 3]", "[2, 1, 0.5, 3]"));
    assert!(text.contains("`z`") && text.contains("0.5") && text.contains("data row 3"), "{text}");
    let chain = "[data]\ncounts = \"c\"\n[data.values]\nx = [0, 1]\nc = [1, 2]\n[plates]\nrow = \"rows\"\nstate = 2\n\
        [variables.k]\nplates = [\"row\"]\ndistribution = \"markov-chain\"\ninitial = [0.5, 0.5]\ntransition = [[0.5, 0.5], [0.1, 0.9]]\nobserved = \"x\"\n";
    let text = said("chain", chain);
    assert!(text.contains("`k`") && text.contains("chain"), "{text}");
}
