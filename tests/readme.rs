//! What the README shows is what happens: its commands run, its model fits, its error message is the one that is printed.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md exists")
}

/// The code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    text.split(&opening).skip(1).map(|rest| rest.split("```").next().expect("a closing fence").to_owned()).collect()
}

/// A folder of one's own with the models in it, as in a clone.
fn clone(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme").join(name);
    for part in ["models", "models/data"] {
        std::fs::create_dir_all(folder.join(part)).expect("a temporary folder");
        for entry in std::fs::read_dir(root().join(part)).expect("the models are there") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_file() {
                std::fs::copy(entry.path(), folder.join(part).join(entry.file_name())).expect("a copy");
            }
        }
    }
    folder
}

/// The binaries of the package that this test belongs to.
fn binary(name: &str) -> Option<&'static str> {
    match name {
        "cavi" => option_env!("CARGO_BIN_EXE_cavi"),
        "sgvi" => option_env!("CARGO_BIN_EXE_sgvi"),
        other => panic!("no binary is named {other}"),
    }
}

fn execute(binary: &str, arguments: &[&str], folder: &Path) -> Output {
    Command::new(binary).args(arguments).current_dir(folder).output().expect("the binary starts")
}

#[test]
fn every_command_runs() {
    let text = readme();
    let folder = clone("commands");
    let mut run = 0;
    for line in blocks(&text, "sh").iter().flat_map(|b| b.lines()).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split(" # ").next().expect("a command").split_whitespace().collect();
        match words.as_slice() {
            ["cargo", "run", "--release", "--bin", name, "--", arguments @ ..] => {
                let Some(binary) = binary(name) else { continue };
                let output = execute(binary, arguments, &folder);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(0), "`{line}`: {errors}");
                run += 1;
            }
            ["cargo", "test", ..] => {
                let checks = std::fs::read_to_string(root().join(".ci/run")).expect("the checks exist");
                assert!(checks.contains(line), "`{line}` is not what the checks run");
            }
            _ => panic!("nothing runs `{line}`"),
        }
    }
    assert!(run > 0, "no command of this package was found");
}

#[test]
fn files_and_folders_it_names_exist() {
    let text = readme();
    for link in text.split("](").skip(1).map(|rest| rest.split(')').next().expect("a closing parenthesis")) {
        assert!(link.starts_with("http") || root().join(link).exists(), "{link} does not exist");
    }
    for source in text.split("src=\"").skip(1).map(|rest| rest.split('"').next().expect("a closing quote")) {
        assert!(root().join(source).exists(), "{source} does not exist");
    }
}

#[test]
fn every_model_stands_in_the_gallery() {
    let text = readme();
    for entry in std::fs::read_dir(root().join("models")).expect("the models are there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(text.contains(&format!("models/{name}")), "{name} is not in the README");
        }
    }
}

#[test]
fn the_model_file_shown_fits_and_its_mistakes_are_explained_as_shown() {
    let Some(binary) = binary("cavi") else { return };
    let text = readme();
    let folder = clone("model");
    let model = blocks(&text, "toml").into_iter().next().expect("a model file is shown");
    std::fs::write(folder.join("models/shown.toml"), &model).expect("a temporary file");
    let output = execute(binary, &["run", "models/shown.toml", "--json", "--no-plot"], &folder);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    let elbo = summary["elbo"].as_f64().expect("a number");
    assert!((elbo + 443.297_873).abs() < 1e-5, "{elbo}");

    let wrong = model.replace("degrees_of_freedom =", "degree_of_freedom =");
    std::fs::write(folder.join("models/wrong.toml"), wrong).expect("a temporary file");
    let output = execute(binary, &["check", "models/wrong.toml"], &folder);
    assert_eq!(output.status.code(), Some(2));
    let shown = String::from_utf8_lossy(&output.stderr);
    let first = shown.trim().split("\n\n").next().expect("a message");
    assert!(text.contains(first), "the README shows another message than\n{first}");
}
