//! Models with known answers: every model under `tests/reference` is fitted and compared with its independent number.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use common::check_model;

/// Fits every model of a folder and reports all that disagree.
fn folder(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    let table = std::fs::read_to_string(folder.join("expected.csv")).expect("the expected numbers");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let expected = match fields[1] {
            "" => None,
            elbo => Some((elbo.parse().expect("a number"), fields[2].parse().expect("a tolerance"))),
        };
        count += 1;
        if let Err(reason) = check_model(&folder.join(format!("{}.toml", fields[0])), expected) {
            wrong.push(format!("{}: {reason}", fields[0]));
        }
    }
    let files = std::fs::read_dir(&folder).expect("a folder");
    let models = files.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "toml"))).count();
    assert_eq!(models, count, "every model has its line in expected.csv");
    assert!(wrong.is_empty(), "{} of {count} models:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn exact_posteriors_have_the_evidence() {
    folder("closed-forms");
}

#[test]
fn factorised_posteriors_have_the_bound() {
    folder("mean-field");
}

#[test]
fn gates_sum_over_their_categories() {
    folder("gates");
}

#[test]
fn chains_are_exact_blocks() {
    folder("chains");
}

#[test]
fn points_are_modes() {
    folder("points");
}

#[test]
fn structures_combine() {
    folder("structures");
}
