//! Every model file of `sgvi` with networks: it trains in seconds, to what is known of its optimum or to a useful code.
#![allow(clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Run, close, column};
use nalgebra::DMatrix;
use std::path::Path;
use std::process::Command;

fn finish(model: &str, arguments: &[&str]) -> Run {
    harness::finish(env!("CARGO_BIN_EXE_sgvi"), model, arguments).0
}

fn held_out(run: &Run) -> f64 {
    run.summary["held_out_elbo_per_row"].as_f64().expect("rows are held out")
}

/// An image of 64 independent pixels, each at its mean, costs 25.1 nats; the code leaves about 18 on images never seen.
#[test]
fn vae() {
    let fit = finish("vae", &["--save", "z"]);
    assert!((-19.0..-16.0).contains(&held_out(&fit)), "{}", held_out(&fit));
    assert_eq!(fit.summary["verdict"], "not-assessed");
    assert!(fit.summary["khat"].is_null());
    assert_eq!(fit.saved("z", 16).len(), 1797);
}

/// A full covariance contains the diagonal ones.
#[test]
fn vae_full() {
    let fit = finish("vae-full", &[]);
    assert!((-18.5..-16.0).contains(&held_out(&fit)), "{}", held_out(&fit));
}

#[test]
fn vae_conv() {
    let fit = finish("vae-conv", &["--max-iterations", "1500"]);
    assert!((-19.0..-16.0).contains(&held_out(&fit)), "{}", held_out(&fit));
}

/// The decoder learns the sd of a cell's ink, which is below that of any five principal directions (0.19).
#[test]
fn vae_normal() {
    let fit = finish("vae-normal", &[]);
    assert!(held_out(&fit) > 30.0, "{}", held_out(&fit));
    assert!((0.03..0.19).contains(&fit.mean("noise")[0]));
}

/// Told which digit it is, the same images cost fewer nats.
#[test]
fn cvae() {
    let fit = finish("cvae", &[]);
    assert!(held_out(&fit) > 36.0, "{}", held_out(&fit));
}

/// The maximum likelihood of Tipping & Bishop (1999), equations 7 and 8, from the eigenvalues of the covariance.
#[test]
fn ppca() {
    let fit = finish("ppca", &[]);
    let cells: Vec<f64> = (0..64).flat_map(|j| column("digits.csv", &format!("pixel_{j}"))).map(|x| x / 16.0).collect();
    let mut x = DMatrix::from_column_slice(1797, 64, &cells);
    for mut cell in x.column_iter_mut() {
        let mean = cell.mean();
        cell.add_scalar_mut(-mean);
    }
    let mut spectrum = (x.transpose() * &x / 1797.0).symmetric_eigenvalues().as_slice().to_vec();
    spectrum.sort_by(|a, b| b.total_cmp(a));
    let noise = spectrum[5..].iter().sum::<f64>() / 59.0;
    let explained: f64 = spectrum[..5].iter().map(|l| l.ln()).sum();
    let maximum = -0.5 * (64.0 * (2.0 * std::f64::consts::PI).ln() + explained + 59.0 * noise.ln() + 64.0);
    let reached = fit.elbo() / 1797.0;
    assert!(reached < maximum + 1e-3 && reached > maximum - 0.01, "{reached} against {maximum}");
    close(fit.mean("noise")[0], noise.sqrt(), 0.002 * noise.sqrt());
}

/// MNIST itself is not here: without the file the model is refused and the file named, with it the model is understood.
#[test]
fn mnist() {
    let check = |model: &str| {
        let file = harness::models().join(format!("{model}.toml"));
        Command::new(env!("CARGO_BIN_EXE_sgvi")).arg("check").arg(file).output().expect("the binary starts")
    };
    let output = check("mnist");
    if harness::models().join("data/train-images-idx3-ubyte.gz").exists() {
        assert_eq!(output.status.code(), Some(0));
    } else {
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("data/train-images-idx3-ubyte.gz"));
    }
}

/// Standardized columns come back under their names and on their own scale: a linear auto-encoder reconstructs the means of columns
/// exactly, and ratings that go together well.
#[test]
fn reconstructions_are_in_the_units_of_the_data() {
    let names = ["contacts", "integrity", "demeanor", "diligence", "case_flow", "decisions"];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("units");
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    let file = folder.join("ratings.toml");
    let text = format!(
        "[data]\nfile = {:?}\nstandardize = {names:?}\n[data.blocks]\nratings = {names:?}\n\
         [plates]\njudge = \"rows\"\nrating = {{ columns = \"ratings\" }}\n\
         [networks.encoder]\nlinear = true\n[networks.decoder]\nlinear = true\n\
         [variables.z]\nplates = [\"judge\"]\ndistribution = \"normal\"\ndimension = 2\nmean = 0.0\nsd = 1.0\n\
         amortized = \"encoder(ratings)\"\n\
         [variables.noise]\ndistribution = \"half-normal\"\nsd = 1.0\npoint = true\n\
         [variables.x]\nplates = [\"judge\", \"rating\"]\ndistribution = \"normal\"\nmean = \"decoder(z)\"\nsd = \"noise\"\n\
         observed = \"ratings\"\n",
        harness::models().join("data/judge-ratings.csv")
    );
    std::fs::write(&file, text).expect("the model is written");
    let run = folder.join("run");
    for arguments in [&["run", "--no-plot", "--quiet", "--output"][..], &["reconstruct"][..]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sgvi"));
        command.args(arguments).arg(&run);
        if arguments[0] == "run" {
            command.arg(&file);
        }
        let output = command.output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut reader = csv::Reader::from_path(run.join("reconstructions.csv")).expect("a table");
    assert_eq!(reader.headers().expect("a header"), &names[..]);
    let rows: Vec<Vec<f64>> = reader
        .records()
        .map(|row| row.expect("a row").iter().map(|cell| cell.parse().expect("a number")).collect())
        .collect();
    for (j, name) in names.iter().enumerate() {
        let data = column("judge-ratings.csv", name);
        let found: Vec<f64> = rows.iter().map(|row| row[j]).collect();
        assert_eq!(found.len(), data.len());
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (wanted, reached) = (mean(&data), mean(&found));
        let variance = data.iter().map(|x| (x - wanted).powi(2)).sum::<f64>();
        let error = data.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        close(reached, wanted, 0.02);
        assert!(error < 0.25 * variance, "{name}: {error} of {variance}");
    }
}
