//! Row-level Gaussians that follow from the data's moments have the ELBO and the posterior that passes over the rows give.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use cavi::{Ascent, describe};
use common::{close, load, mean};
use vi_run::executor::{Algorithm, Restart};

/// Numbers between −1 and 1 that look irregular.
fn wobble(row: usize, column: usize) -> f64 {
    let x = (row as f64 * 12.9898 + column as f64 * 78.233).sin() * 43758.5453;
    2.0 * (x - x.floor()) - 1.0
}

/// A further row that does not count, with a missing cell: precisions are then no longer the same in every row, and the rows
/// are gone through.
#[derive(Clone, Copy, PartialEq)]
enum Further {
    None,
    MeasurementMissing,
    WitnessMissing,
}

/// Rows of four measurements with two directions, moved by an offset, a witness of one number, and their counts.
fn data(rows: usize, offset: f64, further: Further) -> String {
    let mut measured: Vec<String> = (0..rows)
        .map(|n| {
            let cell = |j: usize| {
                let signal = (1.0 + j as f64) * wobble(n, 10) + (j as f64 - 1.5) * wobble(n, 11);
                format!("{:?}", offset + signal + 0.3 * wobble(n, j))
            };
            format!("[{}]", (0..4).map(cell).collect::<Vec<_>>().join(", "))
        })
        .collect();
    let mut counts: Vec<String> = (0..rows).map(|n| format!("{:.1}", 1 + n % 3)).collect();
    let mut witness: Vec<String> = (0..rows).map(|n| format!("{:?}", wobble(n, 12))).collect();
    if further != Further::None {
        let first = if further == Further::MeasurementMissing { "nan".to_owned() } else { format!("{offset:?}") };
        measured.push(format!("[{first}, {offset:?}, {offset:?}, {offset:?}]"));
        witness.push(if further == Further::WitnessMissing { "nan".to_owned() } else { "0.0".to_owned() });
        counts.push("0.0".to_owned());
    }
    format!(
        "[data]\ncounts = \"times\"\n[data.values]\ny = [{}]\nw = [{}]\ntimes = [{}]\n",
        measured.join(", "),
        witness.join(", "),
        counts.join(", ")
    )
}

const PLATES: &str = r#"
    [plates]
    row = "rows"
    output = { columns = "y" }
    direction = 2
"#;

/// The ELBO after each of some iterations, and the state reached.
fn trajectory(model: &str, iterations: usize) -> (Vec<f64>, Ascent) {
    let mut ascent = Ascent::new(&load(model)).unwrap_or_else(|error| panic!("{error}"));
    ascent.restart(Restart { index: 0, seed: 3 }).expect("a start");
    let elbos = (0..iterations).map(|_| ascent.step().unwrap_or_else(|error| panic!("{error}")).elbo).collect();
    (elbos, ascent)
}

/// Both ways through the rows: the same ELBO in every iteration (attempts to accelerate included), the same posterior of
/// the named global variables, and the same rows.
fn agree(variables: &str, (offset, further): (f64, Further), globals: &[&str], locals: &[&str], tolerance: f64) {
    const ROWS: usize = 40;
    let model = |further: Further| format!("{}{PLATES}{variables}", data(ROWS, offset, further));
    let described = |further: Further| describe(&load(&model(further))).unwrap_or_else(|error| panic!("{error}")).work;
    let work = described(Further::None);
    assert_eq!(
        (work.affine.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), work.row_state_bytes),
        (locals, 0)
    );
    assert!(described(further).affine.is_empty());
    let (moments, from_moments) = trajectory(&model(Further::None), 30);
    let (rows, from_rows) = trajectory(&model(further), 30);
    close("the ELBO of each iteration", &moments[..8], &rows[..8], tolerance);
    // Extrapolations magnify rounding.
    close("the ELBO of each iteration", &moments, &rows, 1e3 * tolerance);
    for name in globals {
        close(name, &mean(&from_moments, name), &mean(&from_rows, name), 1e4 * tolerance);
    }
    for name in locals {
        let of = |ascent: &Ascent| ascent.rows(name, 0..ROWS).expect("rows").expect("a row-level variable");
        let (a, b) = (of(&from_moments), of(&from_rows));
        close(name, &a.means, &b.means, 1e3 * tolerance);
        close(name, &a.sds, &b.sds, 1e4 * tolerance);
    }
}

const COMPONENTS: &str = r#"
    [variables.relevance]
    plates = ["direction"]
    distribution = "gamma"
    shape = 0.1
    rate = 0.1
    [variables.loading]
    plates = ["output"]
    distribution = "normal"
    dimension = "direction"
    mean = 0.0
    precision = "relevance"
    [variables.score]
    plates = ["row"]
    distribution = "normal"
    dimension = "direction"
    mean = 0.0
    precision = 1.0
    [variables.noise]
    plates = ["output"]
    distribution = "gamma"
    shape = 0.1
    rate = 0.1
"#;

#[test]
fn factor_analysis_near_zero_and_far_from_it() {
    let model = |offset: f64| {
        format!(
            r#"{COMPONENTS}
            [variables.centre]
            plates = ["output"]
            distribution = "normal"
            mean = {offset:?}
            precision = 1e-2
            [variables.x]
            plates = ["row", "output"]
            distribution = "normal"
            mean = "dot(loading, score) + centre"
            precision = "noise"
            observed = "y"
            "#
        )
    };
    let globals = ["relevance", "loading", "noise", "centre"];
    agree(&model(0.0), (0.0, Further::MeasurementMissing), &globals, &["score"], 1e-11);
    // Products of sums over rows of values around 1e4 cancel to ones around 1, whichever way the sums are made.
    agree(&model(1e4), (1e4, Further::MeasurementMissing), &globals, &["score"], 1e-7);
}

#[test]
fn vectors_with_a_learned_precision_matrix() {
    let model = format!(
        r#"{COMPONENTS}
        [data.values.probe]
        axes = ["output"]
        values = [0.5, 0.0, 0.0, -1.0]
        [variables.spread]
        distribution = "wishart"
        dimension = "output"
        degrees_of_freedom = 5.0
        inverse_scale = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
        [variables.latent]
        plates = ["row"]
        distribution = "normal"
        dimension = "output"
        mean = "dot(loading, score)"
        precision = "noise"
        [variables.x]
        plates = ["row"]
        distribution = "normal"
        dimension = "output"
        mean = "latent"
        precision = "spread"
        observed = "y"
        [variables.seen]
        plates = ["row"]
        distribution = "normal"
        mean = "dot(probe, latent)"
        precision = 2.0
        observed = "w"
        "#
    );
    // Two row-level factors that meet: their means are kept between iterations, as maps of the data.
    agree(
        &model,
        (0.0, Further::WitnessMissing),
        &["relevance", "loading", "noise", "spread"],
        &["score", "latent"],
        1e-11,
    );
}

#[test]
fn elements_and_vectors_that_meet_in_turn() {
    let model = format!(
        r#"{COMPONENTS}
        [variables.latent]
        plates = ["row", "output"]
        distribution = "normal"
        mean = "dot(loading, score)"
        precision = "noise"
        [variables.level]
        plates = ["row"]
        distribution = "normal"
        mean = 0.5
        precision = 2.0
        [variables.x]
        plates = ["row", "output"]
        distribution = "normal"
        mean = "latent + level"
        precision = 25.0
        observed = "y"
        "#
    );
    agree(
        &model,
        (0.0, Further::MeasurementMissing),
        &["relevance", "loading", "noise"],
        &["score", "latent", "level"],
        1e-10,
    );
}

#[test]
fn points_and_given_starts() {
    let model = format!(
        r#"{}
        [variables.x]
        plates = ["row", "output"]
        distribution = "normal"
        mean = "dot(loading, score)"
        precision = "noise"
        observed = "y"
        "#,
        COMPONENTS.replace("precision = 1.0", "precision = 1.0\n    point = true\n    initial = [0.3, -0.2]")
    );
    agree(&model, (0.0, Further::MeasurementMissing), &["relevance", "loading", "noise"], &["score"], 1e-10);
}

/// The reason why a variable is formed in each row.
fn reason(model: &str, name: &str) -> String {
    let work = describe(&load(model)).unwrap_or_else(|error| panic!("{error}")).work;
    assert!(!work.affine.iter().any(|f| f == name), "{name} is affine");
    work.by_row.into_iter().find(|(n, _)| n == name).map_or_else(|| panic!("no reason for {name}"), |(_, why)| why)
}

#[test]
fn the_plan_says_why_rows_are_gone_through() {
    let rows = data(40, 0.0, Further::None);
    let scaled = format!(
        r#"{rows}
        {PLATES}{COMPONENTS}
        [variables.slope]
        plates = ["row"]
        distribution = "normal"
        mean = 0.0
        precision = 1.0
        [variables.x]
        plates = ["row", "output"]
        distribution = "normal"
        mean = "slope * w"
        precision = "noise"
        observed = "y"
        "#
    );
    assert!(reason(&scaled, "slope").contains("precision changes"), "{}", reason(&scaled, "slope"));
    let robust = format!(
        r#"{rows}{PLATES}{COMPONENTS}
        [variables.x]
        plates = ["row", "output"]
        distribution = "student-t"
        degrees_of_freedom = 4.0
        mean = "dot(loading, score)"
        precision = "noise"
        observed = "y"
        "#
    );
    assert!(reason(&robust, "score").contains("precision changes"), "{}", reason(&robust, "score"));
    let plain = format!(
        r#"{PLATES}{COMPONENTS}
        [variables.x]
        plates = ["row", "output"]
        distribution = "normal"
        mean = "dot(loading, score)"
        precision = "noise"
        observed = "y"
        "#
    );
    let batches = format!("{rows}{plain}[inference]\nschedule = \"stochastic\"\n");
    assert!(reason(&batches, "score").contains("in batches"));
    let few = format!("{}{plain}", data(8, 0.0, Further::None));
    assert!(reason(&few, "score").contains("4 features"), "{}", reason(&few, "score"));
    let missing = format!("{}{plain}", data(40, 0.0, Further::MeasurementMissing));
    assert!(reason(&missing, "score").contains("precision changes"));
}
