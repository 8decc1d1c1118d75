//! Transitions of chains by their axes, and joint variables behind the names of `[expressions]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use vi_model::graph::{Distribution, Graph};
use vi_model::load_str;

fn load(text: &str) -> Result<Graph, String> {
    load_str(text, "model.toml", Path::new("")).map_err(|error| error.to_string())
}

fn chain(initial: &str, transition: &str) -> Result<Graph, String> {
    load(&format!(
        r#"
[data.values]
m = [0.2, 0.5, 0.1]
start = {{ axes = ["state"], values = [0.5, 0.5] }}
A = {{ axes = ["state", "entered"], values = [[0.9, 0.1], [0.2, 0.8]] }}
B = {{ axes = ["state", "entered"], values = [[0.5, 0.5], [0.6, 0.4]] }}
turned = {{ axes = ["entered", "state"], values = [[0.9, 0.2], [0.1, 0.8]] }}
[plates]
row = "rows"
state = 2
entered = 2
[variables.z]
plates = ["row"]
distribution = "markov-chain"
initial = {initial}
transition = "{transition}"
"#
    ))
}

#[test]
fn a_transition_may_have_two_names_and_the_rows_anywhere() {
    for initial in ["[0.5, 0.5]", "\"start\""] {
        for transition in ["A", "m * A + (1 - m) * B", "A * m + B * (1 - m)"] {
            let graph = chain(initial, transition).unwrap();
            let Distribution::MarkovChain { transition, .. } = graph.variables[0].distribution else { panic!() };
            let beside: Vec<&str> = (graph.node(transition).axes.iter().map(|a| graph.axis(*a).name.as_str()))
                .filter(|name| *name != "row")
                .collect();
            assert_eq!(beside, ["state", "entered"]);
        }
    }
}

#[test]
fn a_transition_the_other_way_round_is_refused() {
    let error = chain("[0.5, 0.5]", "turned").unwrap_err();
    assert!(error.contains("sums to 1.1") && error.contains("exchange the two"), "{error}");
    let error = chain("[0.5, 0.5]", "m * A + (1 - m) * turned").unwrap_err();
    assert!(error.contains("the first is the state left"), "{error}");
}

fn pair(distribution: &str, expressions: &str, child: &str) -> Result<Graph, String> {
    load(&format!(
        r#"
[data.values]
x = [[1.0, 2.0], [0.5, 1.0]]
y = [1.0, 2.0]
g = [0, 1]
[plates]
row = "rows"
group = {{ levels = "g" }}
coordinate = {{ columns = "x" }}
[variables.w]
{distribution}
[variables.v]
plates = ["row"]
distribution = "normal"
{child}
[expressions]
{expressions}
"#
    ))
}

const SCALAR: &str =
    "plates = [\"group\"]\ndistribution = \"normal-gamma\"\nmean = 0.0\nmean_precision = 1.0\nshape = 2.0\nrate = 1.0";
const MATRIX: &str = "plates = [\"group\"]\ndistribution = \"normal-wishart\"\ndimension = \"coordinate\"\nmean = 0.0\nmean_precision = 1.0\n\
                      degrees_of_freedom = 3.0\nscale = [[1.0, 0.0], [0.0, 1.0]]";

#[test]
fn a_pair_may_have_a_name() {
    let graph = pair(SCALAR, "own = \"w[g]\"", "parameters = \"own\"\nobserved = \"y\"").unwrap();
    assert!(matches!(graph.variables[1].distribution, Distribution::NormalJoint { .. }));
    // Reported is the location, which has the dimension.
    let child = "dimension = \"coordinate\"\nparameters = \"own\"\nobserved = \"x\"";
    let graph = pair(MATRIX, "all = \"w\"\nown = \"all[g]\"", child).unwrap();
    for (expression, axes) in graph.expressions.iter().zip([["group", "coordinate"], ["row", "coordinate"]]) {
        let found: Vec<&str> = graph.node(expression.node).axes.iter().map(|a| graph.axis(*a).name.as_str()).collect();
        assert_eq!(found, axes, "{}", expression.name);
    }
}

#[test]
fn a_named_pair_is_no_number() {
    let error = pair(SCALAR, "own = \"w[g]\"", "mean = \"own\"\nsd = 1.0\nobserved = \"y\"").unwrap_err();
    assert!(error.contains("cannot stand in `mean` of variable `v`"), "{error}");
    let child = "dimension = \"coordinate\"\nparameters = \"own\"\nobserved = \"x\"";
    let error = pair(MATRIX, "own = \"w[g] + 1\"", child).unwrap_err();
    assert!(error.contains("computes with `w`"), "{error}");
}
