//! Every model file of `sgvi` without networks: it converges in seconds, to the recorded ELBO, and the verdict is right.
//!
//! The evidence of the eight schools is by quadrature; what both engines can fit is compared between them.
#![allow(clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Run, close, models};
use std::path::Path;
use std::process::Command;

fn run(model: &str, arguments: &[&str], elbo: f64, tolerance: f64) -> Run {
    harness::run(env!("CARGO_BIN_EXE_sgvi"), model, arguments, elbo, tolerance)
}

fn verdict(run: &Run) -> &str {
    run.summary["verdict"].as_str().expect("a verdict")
}

/// The best mean-field Gaussian of the centred hierarchy, and the verdict that it is not to be trusted.
#[test]
fn eight_schools_centred() {
    let mean_field = run("eight-schools-centred", &[], -33.403, 0.04);
    assert_eq!(verdict(&mean_field), "bad");
    assert!(mean_field.summary["khat"].as_f64().expect("a number") > 0.7);
    run("eight-schools-centred", &["--family", "full-rank"], -32.592, 0.05);
}

/// The best Gaussians of the non-centred hierarchy; the log evidence by importance sampling against quadrature.
#[test]
fn eight_schools() {
    let full = run("eight-schools", &[], -31.538, 0.03);
    assert_ne!(verdict(&full), "bad");
    close(full.summary["log_evidence"].as_f64().expect("a number"), -31.3113, 0.05);
    close(full.mean("mu")[0], 4.4, 0.4);
    run("eight-schools", &["--family", "mean-field"], -31.598, 0.03);
}

/// Reference posterior: importance sampling from a t distribution, 200 000 draws.
#[test]
fn poisson_regression() {
    let fit = run("poisson-regression", &[], -52.443, 0.02);
    let (mean, sd) = (fit.mean("beta"), fit.sd("beta"));
    let wanted = [1.248817, 0.2561381, -0.8769379, 0.03297827, 2.313261, -0.8732557];
    let spread = [0.2516963, 0.2640031, 0.2269974, 0.168778, 0.424531, 0.191169];
    for i in 0..6 {
        close(mean[i], wanted[i], 0.1 * spread[i]);
        close(sd[i], spread[i], 0.1 * spread[i]);
    }
}

#[test]
fn negative_binomial_regression() {
    let fit = run("negative-binomial-regression", &[], -198.177, 0.02);
    let means = fit.mean("log_mean");
    assert!(means[2] < means[0] && means[3] < means[1] && means[4] < means[5]);
}

/// The restricted maximum likelihood of a linear mixed model puts the chicks' spread near the noise's.
#[test]
fn varying_intercepts() {
    let fit = run("varying-intercepts", &[], 117.386, 0.02);
    assert_ne!(verdict(&fit), "bad");
    assert!(fit.mean("slope")[0] > 0.5);
}

#[test]
fn beta_binomial() {
    let fit = run("beta-binomial", &["--save", "rate"], -69.679, 0.02);
    let rates = fit.saved("rate", 2);
    close(rates[0][0], 512.0 / 825.0, 0.02);
}

/// The components keep their order, and the rows' probabilities separate short from long waits.
#[test]
fn ordered_mixture() {
    let fit = run("ordered-mixture", &["--save", "component"], -1048.984, 0.03);
    let means = fit.mean("mu");
    close(means[0], 54.6, 0.5);
    close(means[1], 80.1, 0.5);
    let waiting = harness::column("old-faithful.csv", "waiting");
    for (probability, wait) in fit.saved("component", 2).iter().zip(waiting) {
        close(probability.iter().sum(), 1.0, 1e-9);
        if !(60.0..=75.0).contains(&wait) {
            assert!(probability[usize::from(wait > 70.0)] > 0.9, "{wait}: {probability:?}");
        }
    }
}

/// A conjugate model that the coordinate-ascent engine fits exactly: log B(8, 4) is the log evidence.
#[test]
fn a_model_of_both_engines() {
    let fit = run("coin", &[], -7.185_387, 0.006);
    close(fit.mean("fairness")[0], 2.0 / 3.0, 2e-3);
    close(fit.sd("fairness")[0], (8.0 * 4.0 / (144.0 * 13.0f64)).sqrt(), 3e-3);
    close(fit.summary["log_evidence"].as_f64().expect("a number"), -7.185_387, 1e-3);
}

/// Too many blocks of 34 people for a sum: categorical factors as in coordinate ascent, whose ELBO is −203.960 with beta and
/// Dirichlet factors beside them.
#[test]
fn a_block_model_of_both_engines() {
    let fit = run("stochastic-block-model", &["--restarts", "1"], -203.960, 0.03);
    assert!(fit.elbo() < -203.95);
    let (block, rate) = (fit.parameter("block", "probabilities"), fit.mean("tie_rate"));
    assert_eq!(block.len(), 2 * 34);
    // The five who know most others, whatever their block is called.
    let of = |person: usize| usize::from(block[2 * person + 1] > 0.5);
    let hub = of(0);
    let hubs = (0..34).filter(|p| of(*p) == hub).count();
    assert!((4..=6).contains(&hubs), "{hubs}");
    close(rate[3 * hub], 0.50, 0.02);
    close(rate[3 - 3 * hub], 0.050, 0.005);
}

/// The same seed gives the same bits on one thread and on two; another seed another trace.
#[test]
fn threads_do_not_matter() {
    let trace = |folder: &str, arguments: &[&str]| -> Vec<String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threads").join(folder);
        let status = Command::new(env!("CARGO_BIN_EXE_sgvi"))
            .arg("run")
            .arg(models().join("varying-intercepts.toml"))
            .args(["--quiet", "--no-plot", "--output"])
            .arg(&folder)
            .args(arguments)
            .status()
            .expect("the binary starts");
        assert!(status.success());
        let text = std::fs::read_to_string(folder.join("elbo.csv")).expect("a trace");
        let mut lines: Vec<String> = text
            .lines()
            .map(|l| l.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, c)| c).collect::<Vec<_>>().join(","))
            .collect();
        lines.push(std::fs::read_to_string(folder.join("posterior.json")).expect("a posterior"));
        lines
    };
    let one = trace("one", &["--threads", "1"]);
    assert_eq!(one, trace("two", &["--threads", "2"]));
    assert_ne!(one, trace("seed", &["--seed", "1"]));
}

/// Two flat parameters of which only the sum is seen: the run fails and names them.
#[test]
fn an_improper_posterior_is_named() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("improper");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("improper.toml");
    std::fs::write(
        &file,
        "[data.values]\ny = [0.4, 1.3, -0.2]\n[plates]\nrow = \"rows\"\n[variables.left]\ndistribution = \"flat\"\n\
         [variables.right]\ndistribution = \"flat\"\n[variables.y_]\nplates = [\"row\"]\ndistribution = \"normal\"\n\
         mean = \"left + right\"\nsd = 1.0\nobserved = \"y\"\n",
    )
    .expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_sgvi"))
        .args(["run", "--output"])
        .arg(folder.join("run"))
        .arg(&file)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(3));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("improper") && message.contains("left") && message.contains("right"), "{message}");
}
