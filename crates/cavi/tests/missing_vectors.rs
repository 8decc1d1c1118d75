//! Vectors of which nothing is observed leave the posterior and the ELBO what they are without their rows.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit, mean, sd};

const SEEN: [[f64; 2]; 5] = [[0.4, -1.2], [1.9, 0.3], [-0.7, -2.0], [2.5, 1.1], [0.2, 0.6]];

/// A model of the block `m`, of the vectors seen and of some without any cell among them.
fn model(missing: bool, variables: &str) -> String {
    let mut rows: Vec<String> = SEEN.iter().map(|[a, b]| format!("[{a:?}, {b:?}]")).collect();
    if missing {
        rows.insert(2, "[nan, nan]".to_owned());
        rows.push("[nan, nan]".to_owned());
    }
    format!(
        "[data.values]\nm = [{}]\n[plates]\nrow = \"rows\"\nk = 2\n{variables}\n[inference]\ntolerance = 1e-14\n\
         max_iterations = 5000\n",
        rows.join(", ")
    )
}

const PAIR: &str = "distribution = \"normal-wishart\"\ndimension = \"m\"\nmean = [0.5, 0.0]\nmean_precision = 2.0\n\
                    degrees_of_freedom = 3.5\nscale = [[0.5, 0.1], [0.1, 0.7]]\n";
const CHILD: &str =
    "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"m\"\nobserved = \"m\"\n";

#[test]
fn of_a_joint_pair_and_of_factors_apart() {
    let apart = "[variables.g]\ndistribution = \"normal\"\ndimension = \"m\"\nmean = 0.0\nsd = 2.0\n[variables.L]\n\
                 distribution = \"wishart\"\ndimension = \"m\"\ndegrees_of_freedom = 3.0\nscale = 0.4\n";
    let cases = [
        format!("[variables.g]\n{PAIR}{CHILD}parameters = \"g\""),
        format!("{apart}{CHILD}mean = \"g\"\nprecision = \"L\""),
    ];
    for variables in cases {
        let (wanted, without) = fit(&model(false, &variables));
        let (elbo, with) = fit(&model(true, &variables));
        close("elbo", &[elbo], &[wanted], 1e-12);
        close("mean", &mean(&with, "g"), &mean(&without, "g"), 1e-9);
        close("sd", &sd(&with, "g"), &sd(&without, "g"), 1e-9);
    }
}

#[test]
fn under_a_gate_their_categories_keep_the_prior() {
    let variables = format!(
        "[variables.g]\nplates = [\"k\"]\n{PAIR}[variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\n\
         probabilities = [0.3, 0.7]\ndimension = \"k\"\n{CHILD}parameters = \"g[z]\""
    );
    let (wanted, _) = fit(&model(false, &variables));
    let (elbo, _) = fit(&model(true, &variables));
    // With known weights a category that selects nothing costs nothing.
    close("elbo", &[elbo], &[wanted], 1e-9);
}
