//! Interrupted runs go on to bitwise the result of the uninterrupted run, under every schedule and with every kind of state.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use vi_model::graph::Graph;
use vi_run::executor::{Checkpoints, Fit, Interruption, Iteration, Observer};

/// Raises the flag after one iteration of one restart.
struct Interrupter(Interruption, usize, usize);

impl Observer for Interrupter {
    fn iteration(&mut self, iteration: &Iteration<'_>) {
        if (iteration.restart, iteration.iteration) == (self.1, self.2) {
            self.0.raise();
        }
    }
}

fn model(name: &str, inference: &str) -> Graph {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let (head, _) = text.split_once("\n[inference]").unwrap_or((&text, ""));
    vi_model::load_str(&format!("{head}\n[inference]\n{inference}"), name, &folder).unwrap()
}

/// ELBOs of all restarts and iterations, terms and posterior, to the last bit.
fn bits(fit: &Fit<cavi::Ascent>) -> (Vec<(usize, usize, u64)>, String) {
    let curve = fit.outcome.trace.iter().map(|p| (p.restart, p.iteration, p.elbo.to_bits())).collect();
    let posterior = format!("{:?}\n{:?}", fit.algorithm.elbo_terms(), fit.algorithm.posterior());
    (curve, posterior)
}

/// Runs a model whole and cut off after some (restart, iteration); (0, 0) cuts off all restarts as early as can be.
fn compare(name: &str, inference: &str, cuts: &[(usize, usize)]) {
    let graph = model(name, inference);
    let ascent = cavi::Ascent::new(&graph).unwrap();
    let whole = bits(&cavi::fit_with(&ascent, &mut cavi::executor(&graph)).unwrap());
    let file = format!("cavi-resume-{}-{}-{}", std::process::id(), name, inference.len());
    let path: PathBuf = std::env::temp_dir().join(file);
    for &(restart, iteration) in cuts {
        let mut checkpoints = Checkpoints {
            path: path.clone(),
            every: Duration::from_secs(3600),
            every_steps: None,
            fingerprint: 7,
            resume: false,
        };
        let flag = Interruption::new();
        if restart == 0 {
            flag.raise();
        }
        let mut executor =
            cavi::executor(&graph).interruption(flag.clone()).observe(Interrupter(flag, restart, iteration));
        let cut = cavi::fit_with_checkpoints(&ascent, &mut executor, &checkpoints).unwrap();
        assert!(cut.outcome.interrupted, "{name} was not cut off in iteration {iteration}");
        checkpoints.resume = true;
        let resumed = cavi::fit_with_checkpoints(&ascent, &mut cavi::executor(&graph), &checkpoints).unwrap();
        assert!(bits(&resumed) == whole, "{name} cut off in iteration {iteration} of restart {restart}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn restarts_side_by_side() {
    // Observers hear of them late: only a flag that is up from the beginning surely cuts them off.
    compare("gmm.toml", "seed = 3\nrestarts = 4", &[(0, 0)]);
}

#[test]
fn rotations_extrapolation_and_moments_of_the_data() {
    compare("factor-analysis.toml", "seed = 1", &[(1, 9), (1, 30)]);
    compare("bayesian-pca.toml", "seed = 1\nmax_iterations = 60", &[(1, 25), (1, 41)]);
}

#[test]
fn chains() {
    compare("hmm-gaussian.toml", "seed = 1", &[(1, 5)]);
    compare("local-level.toml", "seed = 1", &[(1, 5)]);
    compare("switching-dynamics.toml", "seed = 1\nmax_iterations = 30", &[(1, 12)]);
}

#[test]
fn schedules() {
    let inference =
        |schedule: &str| format!("seed = 2\nschedule = \"{schedule}\"\nbatch_size = 40\nmax_iterations = 40");
    compare("gmm.toml", &inference("stochastic"), &[(1, 6), (1, 17)]);
    compare("gmm.toml", &inference("incremental"), &[(1, 4)]);
}
