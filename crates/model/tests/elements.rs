//! `a[2]` and `a['Male']`: which axis gives the element, how it reads back, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use vi_model::diagnostic::ModelError;
use vi_model::graph::Graph;
use vi_model::load_str;

/// A model whose mean is an expression of constants, columns and variables.
fn load(mean: &str) -> Result<Graph, ModelError> {
    let text = format!(
        r#"
[data.values]
x = [0.5, 1.5, 2.5]
sex = ["Male", "Female", "Male"]
drug = [1, 2, 1]
grid = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
table = {{ axes = ["sex", "part"], values = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] }}
[plates]
row = "rows"
sex = {{ levels = "sex" }}
drug = {{ levels = "drug" }}
part = 3
[variables.beta]
plates = ["part"]
distribution = "normal"
dimension = "grid"
mean = 0.0
precision = 1.0
[variables.effect]
plates = ["drug"]
distribution = "normal"
mean = 0.0
precision = 1.0
[variables.y]
plates = ["row"]
distribution = "normal"
mean = "{mean}"
precision = 1.0
observed = "x"
"#
    );
    load_str(&text, "model.toml", Path::new(""))
}

#[test]
fn elements_read_back_as_they_were_written() {
    for mean in [
        "beta[0, 1] + beta[2, 1] * x",
        "effect['2'] - effect['1']",
        "table['Female', 2] * grid[1]",
        // The name decides: the other axis is left to the column, which holds its levels.
        "table[sex, 0]",
        "(table + 1)['Male', 1]",
    ] {
        let graph = load(mean).unwrap_or_else(|error| panic!("{mean}: {error}"));
        let y = graph.variable_named("y").unwrap();
        assert!(graph.distribution_text(y).contains(mean), "{mean} reads {}", graph.distribution_text(y));
    }
}

#[test]
fn what_names_no_element_is_refused() {
    for (mean, code, words) in [
        ("beta[3, 0]", "not-an-element", &["`part`", "0 to 2"][..]),
        ("beta[0.5, 0]", "not-an-element", &["0.5"]),
        ("beta[1]", "index-mismatch", &["several axes fit", "`part`, `grid`"]),
        ("beta[0, 1, 1]", "index-mismatch", &["as many indices as it has axes"]),
        ("effect[1]", "not-an-element", &["in quotes: ['1']"]),
        ("effect['3']", "index-mismatch", &["`drug`"]),
        ("table['Other', 0]", "index-mismatch", &["['Other']"]),
        ("x[0]", "index-mismatch", &["rows"]),
        ("'Male' + x", "not-a-value", &["`Male`"]),
    ] {
        let error = load(mean).err().unwrap_or_else(|| panic!("accepted: {mean}"));
        let found = &error.diagnostics[0];
        assert_eq!(found.code, code, "{mean}: {error}");
        let said = error.to_string();
        let label = found.labels[0].text.clone();
        for word in words {
            assert!(said.contains(word) || label.contains(word), "{mean}: `{word}` is not in {said}");
        }
    }
}
