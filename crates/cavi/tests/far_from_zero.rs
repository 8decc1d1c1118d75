//! Data far from zero keep their digits: the same values, moved, have the same ELBO.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use cavi::fit;

/// Two tight clusters in the plane, moved by an offset; dyadic numbers, so that the move itself is exact.
fn model(offset: f64) -> String {
    let rows: Vec<String> = (0..60)
        .map(|i| {
            let wobble = |k: i64| (((i * 37 + k * 101) % 64) - 32) as f64 / 4096.0;
            let centre = if i % 2 == 0 { 0.0 } else { 0.125 };
            format!("[{:?}, {:?}]", offset + centre + wobble(1), offset - centre + wobble(2))
        })
        .collect();
    format!(
        r#"
        [data.values]
        x = [{}]
        [plates]
        row = "rows"
        component = 2
        [variables.pi]
        distribution = "dirichlet"
        dimension = "component"
        concentration = 1.0
        [variables.z]
        plates = ["row"]
        distribution = "categorical"
        probabilities = "pi"
        [variables.g]
        plates = ["component"]
        distribution = "normal-wishart"
        dimension = "x"
        mean = {offset:?}
        mean_precision = 0.5
        degrees_of_freedom = 3.0
        scale = [[1e3, 0.0], [0.0, 1e3]]
        [variables.y]
        plates = ["row"]
        distribution = "normal"
        dimension = "x"
        parameters = "g[z]"
        observed = "x"
        [inference]
        tolerance = 1e-12
        "#,
        rows.join(", ")
    )
}

fn fitted(offset: f64) -> (f64, Vec<f64>) {
    let graph = vi_model::load_str(&model(offset), "far.toml", std::path::Path::new(".")).expect("a valid model");
    let fit = fit(&graph).expect("a fit");
    let entries = fit.algorithm.posterior();
    let mean = entries.iter().find(|(name, _)| name == "g").and_then(|(_, e)| e.mean.clone()).expect("a mean");
    let mut means: Vec<f64> = mean.values().iter().map(|m| m - offset).collect();
    means.sort_by(f64::total_cmp);
    (fit.outcome.elbo, means)
}

#[test]
fn a_mixture_far_from_zero_is_the_same_mixture() {
    let (near, near_means) = fitted(0.0);
    for offset in [1.0, 1024.0, 65536.0] {
        let (far, far_means) = fitted(offset);
        assert!((far - near).abs() < 1e-7 * near.abs(), "ELBO {far} at offset {offset}, {near} at zero");
        for (a, b) in far_means.iter().zip(&near_means) {
            assert!((a - b).abs() < 1e-9, "mean {a} at offset {offset}, {b} at zero");
        }
    }
}

/// Sixty values about a line, moved by an offset; the intercept's prior moves with them.
fn line(offset: f64, variables: &str) -> (f64, Vec<f64>) {
    let wobble = |i: i64, k: i64| (((i * 37 + k * 101) % 64) - 32) as f64 / 64.0;
    let x: Vec<String> = (0..60).map(|i| format!("{:?}", wobble(i, 1))).collect();
    let y: Vec<String> = (0..60).map(|i| format!("{:?}", offset + 0.5 * wobble(i, 1) + wobble(i, 2))).collect();
    let (x, y) = (x.join(", "), y.join(", "));
    let variables = variables.replace("OFFSET", &format!("{offset:?}"));
    let text = format!("[data.values]\nx = [{x}]\ny = [{y}]\n[plates]\nrow = \"rows\"\npart = 2\n{variables}");
    let graph = vi_model::load_str(&text, "line.toml", std::path::Path::new(".")).expect("a valid model");
    let fit = fit(&graph).expect("a fit");
    let entries = fit.algorithm.posterior();
    let mean = entries.iter().find(|(name, _)| name == "a").and_then(|(_, e)| e.mean.clone()).expect("a mean");
    (fit.outcome.elbo, mean.values().iter().map(|m| m - offset).collect())
}

#[test]
fn intercepts_and_pairs_far_from_zero_keep_their_digits() {
    let normal = "[variables.a]\ndistribution = \"normal\"\nmean = OFFSET\nsd = 2.0\n\
                  [variables.b]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n\
                  [variables.t]\ndistribution = \"gamma\"\nshape = 2.0\nrate = 1.0\n\
                  [variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"b * x + a\"\nprecision = \"t\"\n\
                  observed = \"y\"\n[inference]\ntolerance = 1e-13\n";
    let joint = format!("{normal}blocks = [[\"a\", \"b\"]]\n");
    let student = normal.replace("\"normal\"\nmean = \"b", "\"student-t\"\ndegrees_of_freedom = 4.0\nmean = \"b");
    let vector = "[variables.a]\ndistribution = \"normal-gamma\"\ndimension = \"part\"\nmean = OFFSET\nmean_precision = 0.5\n\
                  shape = 2.0\nrate = 1.0\n[variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"part\"\n\
                  parameters = \"a\"\nobserved = [\"y\", \"y2\"]\n";
    let vector = vector.replace("[\"y\", \"y2\"]", "\"y + c\"").replacen(
        "",
        "[data.values.c]\naxes = [\"part\"]\nvalues = [0.25, -0.5]\n",
        1,
    );
    for variables in [normal, &joint, &student, &vector] {
        let (near, near_mean) = line(0.0, variables);
        for offset in [1024.0, 1048576.0] {
            let (far, far_mean) = line(offset, variables);
            assert!((far - near).abs() < 1e-9 * near.abs(), "ELBO {far} at {offset}, {near} at zero:\n{variables}");
            for (a, b) in far_mean.iter().zip(&near_mean) {
                assert!((a - b).abs() < 1e-8, "mean {a} at {offset}, {b} at zero:\n{variables}");
            }
        }
    }
}
