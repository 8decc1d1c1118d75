//! What well-formed models mean: which axes values have, which axis an index replaces, what `dot` sums over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use vi_model::graph::{
    AxisId, AxisKind, Distribution, Graph, IndexSource, NodeId, NodeKind, Observation, Spread, SpreadForm,
};
use vi_model::load_str;

fn load(text: &str) -> Graph {
    match load_str(text, "model.toml", Path::new("")) {
        Ok(graph) => graph,
        Err(error) => panic!("refused: {error}\n{text}"),
    }
}

fn names(graph: &Graph, axes: &[AxisId]) -> Vec<String> {
    axes.iter().map(|a| graph.axis(*a).name.clone()).collect()
}

/// The node of a variable's parameter.
fn parameter(graph: &Graph, variable: &str, key: &str) -> NodeId {
    let id = graph.variable_named(variable).expect("the variable");
    let parameters = graph.variable(id).distribution.parameters();
    parameters.iter().find(|(k, _)| *k == key).expect("the parameter").1
}

fn axes(graph: &Graph, variable: &str, key: &str) -> Vec<String> {
    names(graph, &graph.node(parameter(graph, variable, key)).axes)
}

#[test]
fn look_ups_replace_the_plate_of_their_levels() {
    let graph = load(
        r#"
[data.values]
viewer = ["v2", "v0", "v2"]
film = ["f1", "f1", "f0"]
score = [1.0, 2.0, nan]
[plates]
rating = "rows"
person = { levels = "viewer" }
item = { levels = "film" }
latent = 2
[variables.taste]
plates = ["person"]
distribution = "normal"
dimension = "latent"
mean = 0.0
precision = 1.0
[variables.trait]
plates = ["item"]
distribution = "normal"
dimension = "latent"
mean = 0.0
precision = [1.0, 2.0]
[variables.y]
plates = ["rating"]
distribution = "normal"
mean = "dot(taste[viewer], trait[film]) + 1.5"
sd = 1.0
observed = "score"
"#,
    );
    assert_eq!(axes(&graph, "y", "mean"), ["rating"]);
    let NodeKind::Binary(_, dot, _) = graph.node(parameter(&graph, "y", "mean")).kind else { panic!() };
    let NodeKind::Dot { left, left_axis, right_axis, .. } = graph.node(dot).kind else { panic!() };
    assert_eq!(left_axis, right_axis);
    assert_eq!(names(&graph, &[left_axis]), ["latent"]);
    let left = graph.node(left);
    assert_eq!(names(&graph, &left.axes), ["rating", "latent"]);
    assert!(matches!(&left.kind, NodeKind::Index { position: 0, index: IndexSource::Column(_), .. }));
    let AxisKind::Levels { levels, .. } = &graph.axes[1].kind else { panic!() };
    assert_eq!(levels, &["v2", "v0"]);
    let trait_ = &graph.variables[1].distribution;
    assert!(matches!(
        trait_,
        Distribution::Normal { form: SpreadForm::PerCoordinate, spread: Spread::Precision(_), .. }
    ));
    assert_eq!(graph.expression_text(parameter(&graph, "y", "mean")), "dot(taste[viewer], trait[film]) + 1.5");
    assert_eq!(graph.distribution_text(graph.variable_named("taste").unwrap()), "normal(mean = 0, precision = 1)");
}

#[test]
fn a_variable_may_list_a_plate_twice_and_levels_may_join_columns() {
    let graph = load(
        r#"
[data.values]
sender = ["a", "b", "c"]
receiver = ["d", "a", "b"]
calls = [1, 0, 3]
[plates]
pair = "rows"
node = { levels = ["sender", "receiver"] }
group = 2
[variables.share]
distribution = "dirichlet"
dimension = "group"
concentration = 1.0
[variables.block]
plates = ["node"]
distribution = "categorical"
probabilities = "share"
[variables.rate]
plates = ["group", "group"]
distribution = "gamma"
shape = 1.0
rate = 1.0
[variables.n]
plates = ["pair"]
distribution = "poisson"
rate = "rate[block[sender], block[receiver]]"
observed = "calls"
"#,
    );
    assert_eq!(graph.axes[1].size, 4);
    let node = parameter(&graph, "n", "rate");
    let NodeKind::Index { base, position, index: IndexSource::Gate(gate) } = &graph.node(node).kind else { panic!() };
    assert_eq!(*position, 1);
    assert_eq!(names(&graph, &graph.node(*base).axes), ["pair", "group"]);
    assert_eq!(names(&graph, &graph.node(*gate).axes), ["pair"]);
    assert_eq!(names(&graph, &graph.node(node).axes), ["pair"]);
    assert_eq!(graph.expression_text(node), "rate[block[sender], block[receiver]]");
}

#[test]
fn gates_keep_the_other_axes() {
    let graph = load(
        r#"
[data.values]
x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
y = [1.0, 2.0]
present = { axes = ["component"], values = [0.0, 1.0] }
[plates]
row = "rows"
component = 2
[variables.z]
plates = ["row"]
distribution = "categorical"
probabilities = [0.4, 0.6]
[variables.beta]
plates = ["component"]
distribution = "normal"
dimension = "x"
mean = 0.0
covariance = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
[variables.choice]
distribution = "categorical"
probabilities = [0.2, 0.3, 0.5]
[variables.y_]
plates = ["row"]
distribution = "normal"
mean = "dot(beta[z], x) * present[z] + x[choice]"
sd = 1.0
observed = "y"
"#,
    );
    assert_eq!(axes(&graph, "y_", "mean"), ["row"]);
    // Probabilities without names range over an axis of their own, and gate plates of that size.
    let Distribution::Categorical { range, .. } = graph.variables[0].distribution else { panic!() };
    assert_eq!(graph.axis(range).size, 2);
    let mean = graph.node(parameter(&graph, "y_", "mean"));
    let NodeKind::Binary(_, _, gated) = mean.kind else { panic!() };
    // A gate over the columns of a block: position 1 is the block's axis.
    assert!(matches!(graph.node(gated).kind, NodeKind::Index { position: 1, index: IndexSource::Gate(_), .. }));
    assert!(matches!(graph.variables[1].distribution, Distribution::Normal { form: SpreadForm::Matrix, .. }));
}

#[test]
fn integer_dimensions_of_equal_size_match() {
    let graph = load(
        r#"
[data.values]
x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
[plates]
row = "rows"
column = { columns = "x" }
[variables.loading]
plates = ["column"]
distribution = "normal"
dimension = 2
mean = 0.0
sd = 1.0
[variables.z]
plates = ["row"]
distribution = "normal"
dimension = 2
mean = 0.0
sd = 1.0
[variables.centre]
distribution = "normal"
dimension = 3
mean = 0.0
sd = 1.0
[variables.y]
plates = ["row", "column"]
distribution = "normal"
mean = "dot(loading, z) + dot(centre, x)"
sd = 1.0
observed = "x"
"#,
    );
    assert_eq!(axes(&graph, "y", "mean"), ["column", "row"]);
    let NodeKind::Binary(_, first, second) = graph.node(parameter(&graph, "y", "mean")).kind else { panic!() };
    let NodeKind::Dot { left_axis, right_axis, .. } = graph.node(first).kind else { panic!() };
    assert_eq!(left_axis, right_axis);
    let NodeKind::Dot { left_axis, right_axis, .. } = graph.node(second).kind else { panic!() };
    assert_ne!(left_axis, right_axis);
    assert_eq!(graph.axis(left_axis).kind, AxisKind::Anonymous);
}

#[test]
fn blocks_fill_dimensions_and_plates() {
    let graph = load(
        r#"
[data.values]
a = [1.0, 2.0]
b = [3.0, 4.0]
pixels = [[0, 1], [1, 1]]
[data.blocks]
ab = ["a", "b"]
all = "*"
[plates]
row = "rows"
kind = 2
[variables.u]
plates = ["row"]
dimension = 2
distribution = "normal"
mean = [0.0, 1.0]
sd = 1.0
observed = ["b", "a"]
[variables.v]
plates = ["row", "kind"]
distribution = "normal"
mean = 0.0
sd = 1.0
observed = "log(ab) - 1"
[variables.w]
plates = ["row", "pixels"]
distribution = "bernoulli"
probability = 0.5
observed = "pixels"
"#,
    );
    let observed = |index: usize| match graph.variables[index].observed {
        Some(Observation::Numeric(node)) => graph.node(node),
        other => panic!("{other:?}"),
    };
    assert_eq!(observed(0).axes, [graph.rows.unwrap(), graph.variables[0].dimension.unwrap()]);
    assert_eq!(names(&graph, &observed(1).axes), ["row", "kind"]);
    assert_eq!(names(&graph, &observed(2).axes), ["row", "pixels"]);
    // The columns of an inline block match no pattern.
    let all = graph.data.block_named("all").unwrap();
    assert_eq!(graph.data.block(all).columns.len(), 2);
}

#[test]
fn chains_know_their_states() {
    let graph = load(
        r#"
[data.values]
y = [1.0, 2.0, nan]
run = ["a", "a", "b"]
centre = { axes = ["state"], values = [0.0, 1.0] }
[plates]
time = "rows"
state = 2
phase = 2
[variables.move]
plates = ["state"]
distribution = "dirichlet"
dimension = "state"
concentration = [[5.0, 1.0], [1.0, 5.0]]
[variables.z]
plates = ["time"]
distribution = "markov-chain"
initial = [0.5, 0.5]
transition = "move"
sequence = "run"
[variables.a]
plates = ["phase"]
distribution = "normal"
dimension = "phase"
mean = [[1.0, 0.0], [0.0, 1.0]]
precision = 1.0
[variables.s]
plates = ["time"]
distribution = "gaussian-markov-chain"
dimension = "phase"
initial_mean = 0.0
initial_precision = 1.0
transition = "a"
innovation_precision = [1.0, 2.0]
[variables.y_]
plates = ["time"]
distribution = "normal"
mean = "centre[z] + dot(s, s)"
sd = 1.0
observed = "y"
"#,
    );
    let Distribution::MarkovChain { range, sequence, .. } = graph.variables[1].distribution else { panic!() };
    assert_eq!(names(&graph, &[range]), ["state"]);
    assert!(sequence.is_some());
    assert_eq!(axes(&graph, "z", "transition"), ["state", "state"]);
    assert_eq!(axes(&graph, "s", "transition"), ["phase", "phase"]);
    let Distribution::GaussianMarkovChain { initial_form, innovation_form, .. } = graph.variables[3].distribution
    else {
        panic!()
    };
    assert_eq!((initial_form, innovation_form), (SpreadForm::Scalar, SpreadForm::PerCoordinate));
}

#[test]
fn expressions_with_networks_take_their_width_from_each_use() {
    let graph = load(
        r#"
[data.values]
x = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]
label = [[0.0], [1.0]]
[plates]
row = "rows"
pixel = { columns = "x" }
[networks.encoder]
layers = [4, 3]
activation = "tanh"
[networks.decoder]
layers = [4]
layer_norm = true
[expressions]
logits = "decoder(z, label)"
[variables.z]
plates = ["row"]
distribution = "normal"
dimension = 2
mean = 0.0
sd = 1.0
amortized = "encoder(x, label)"
covariance = "full"
[variables.x_]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "logits"
observed = "x"
"#,
    );
    let NodeKind::Network { consumed, output, .. } = &graph.node(parameter(&graph, "x_", "logit")).kind else {
        panic!()
    };
    assert_eq!(names(&graph, &[consumed[0].unwrap(), consumed[1].unwrap()]), ["dimension 2", "label"]);
    assert_eq!(names(&graph, &[output.unwrap()]), ["pixel"]);
    assert_eq!(axes(&graph, "x_", "logit"), ["row", "pixel"]);
    let z = &graph.variables[0];
    let NodeKind::Network { output, .. } = &graph.node(z.amortized.unwrap()).kind else { panic!() };
    assert_eq!(*output, z.dimension);
    assert_eq!(graph.networks[0].layers, [4, 3]);
    assert!(graph.networks[1].options.contains_key("layer_norm"));
    assert_eq!(graph.expressions[0].node, parameter(&graph, "x_", "logit"));
}

#[test]
fn categorical_data_and_admixtures() {
    let graph = load(
        r#"
[data.values]
paper = ["p1", "p1", "p2"]
token = ["t1", "t2", "t1"]
times = [3, 1, 2]
[data]
counts = "times"
[plates]
entry = "rows"
document = { levels = "paper" }
word = { levels = "token" }
theme = 3
[variables.share]
plates = ["document"]
distribution = "dirichlet"
dimension = "theme"
concentration = 0.5
[variables.topic]
plates = ["theme"]
distribution = "dirichlet"
dimension = "word"
concentration = 0.2
[variables.z]
plates = ["entry"]
distribution = "categorical"
probabilities = "share[paper]"
[variables.x]
plates = ["entry"]
distribution = "categorical"
probabilities = "topic[z]"
observed = "token"
"#
        .replace("[data]\ncounts = \"times\"\n", "")
        .replacen("[data.values]", "[data]\ncounts = \"times\"\n[data.values]", 1)
        .as_str(),
    );
    let ranges: Vec<String> = graph
        .variables
        .iter()
        .filter_map(|v| match v.distribution {
            Distribution::Categorical { range, .. } => Some(graph.axis(range).name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ranges, ["theme", "word"]);
    assert!(graph.counts.is_some());
    assert!(matches!(graph.variables[3].observed, Some(Observation::Levels { .. })));
}

#[test]
fn text_of_expressions_reads_back_as_the_same_tree() {
    let texts = [
        "a - (b - c)",
        "a - b - c",
        "(a + b) * -c / (a / b)",
        "-(a + b) * 2",
        "exp(a * b) + square(log(x)) - 3",
        "a * (b + dot(x2, x2))",
    ];
    for text in texts {
        let model = |mean: &str| {
            format!(
                "[data.values]\nx = [1.0, 2.0]\nx2 = [[1.0], [2.0]]\n[plates]\nrow = \"rows\"\n[variables.a]\ndistribution = \"flat\"\n\
                 [variables.b]\ndistribution = \"flat\"\n[variables.c]\ndistribution = \"flat\"\n[variables.y]\nplates = [\"row\"]\n\
                 distribution = \"normal\"\nmean = \"{mean}\"\nsd = 1.0\nobserved = \"x\"\n"
            )
        };
        let first = load(&model(text));
        let written = first.expression_text(parameter(&first, "y", "mean"));
        let second = load(&model(&written));
        let kinds = |graph: &Graph| graph.nodes.iter().map(|n| n.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&first), kinds(&second), "{text} became {written}");
    }
}

#[test]
fn inference_and_its_overrides() {
    let mut graph = load(
        "title = \"t\"\n[variables.a]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n[variables.b]\ndistribution = \"normal\"\nmean = \"a\"\n\
         sd = 1.0\n[inference]\nseed = 3\ntolerance = 1e-9\nblocks = [[\"a\", \"b\"]]\nfamily = \"low-rank\"\nrank = 2\nkl = \"monte-carlo\"\n\
         max_iterations = 1e4\n",
    );
    assert_eq!(graph.inference.blocks, [["a", "b"]]);
    assert_eq!(graph.inference.max_iterations, Some(10_000));
    assert_eq!(graph.inference.options["kl"].as_str(), Some("monte-carlo"));
    graph
        .inference
        .apply_overrides([("seed", toml::Value::Integer(7)), ("tolerance", toml::Value::Float(1e-3))])
        .unwrap();
    assert_eq!((graph.inference.seed, graph.inference.tolerance), (Some(7), Some(1e-3)));
    let error = graph.inference.apply_overrides([("restarts", toml::Value::Integer(0))]).expect_err("zero restarts");
    assert!(error.to_string().contains("`restarts` in the command line"), "{error}");
}

#[test]
fn tables_for_the_reader() {
    let graph = load(
        "[data.values]\ny = [1.0]\n[plates]\nrow = \"rows\"\n[variables.mu]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\npoint = true\n\
         [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu\"\nsd = 2.5\nobserved = \"y\"\n",
    );
    let expected = "variable  plates  dimension  value        distribution\n\
                    mu                           point        normal(mean = 0, sd = 1)\n\
                    x         row 1              observed: y  normal(mean = mu, sd = 2.5)\n";
    assert_eq!(graph.variables_table(), expected);
    assert_eq!(graph.axes_table(), "axis  size  elements\nrow   1     data rows\n");
}

#[test]
fn quoted_headers_are_names() {
    let graph = load(
        "[data.values]\n\"petal length\" = [1.0]\n\"Sepal.Width\" = [2.0]\n[plates]\nrow = \"rows\"\n[variables.x]\nplates = [\"row\"]\n\
         distribution = \"normal\"\nmean = \"2 * `petal length`\"\nsd = 1.0\nobserved = \"Sepal.Width\"\n",
    );
    assert_eq!(graph.expression_text(parameter(&graph, "x", "mean")), "2 * `petal length`");
}

#[test]
fn spreads_take_their_form_from_what_is_written() {
    let form = |spread: &str| {
        let graph = load(&format!("[variables.v]\ndistribution = \"normal\"\ndimension = 2\nmean = 0.0\n{spread}\n"));
        match graph.variables[0].distribution {
            Distribution::Normal { spread, form, .. } => (matches!(spread, Spread::Covariance(_)), form),
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(form("covariance = 2.0"), (false, SpreadForm::Scalar));
    assert_eq!(form("covariance = [2.0, 1.0]"), (false, SpreadForm::PerCoordinate));
    assert_eq!(form("covariance = [[2.0, 0.1], [0.1, 1.0]]"), (true, SpreadForm::Matrix));
    assert_eq!(form("precision = [[2.0, 0.1], [0.1, 1.0]]"), (false, SpreadForm::Matrix));
    assert_eq!(form("sd = [2.0, 1.0]"), (false, SpreadForm::PerCoordinate));
}

#[test]
fn as_many_columns_as_plates_of_fixed_size_are_taken_in_order() {
    let text = |plates: &str, index: &str| {
        format!(
            "[data.values]\ng = [0, 2, 1]\nh = [1, 0, 1]\ncounty = [\"u\", \"v\", \"u\"]\ny = [0.1, 0.2, 0.3]\n[plates]\nrow = \"rows\"\nthree = 3\ntwo = 2\nplace = {{ levels = \"county\" }}
[variables.t]\nplates = {plates}\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0
[variables.y_]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{index}\"\nsd = 1.0\nobserved = \"y\"\n"
        )
    };
    // The sizes differ: a column on the wrong plate would be out of range.
    for (plates, index) in [
        ("[\"three\", \"two\"]", "t[g, h]"),
        ("[\"three\", \"place\"]", "t[g, county]"),
        ("[\"place\", \"three\"]", "t[g, county]"),
        ("[\"two\", \"place\", \"three\"]", "t[county, h, g]"),
    ] {
        let graph = load(&text(plates, index));
        assert_eq!(axes(&graph, "y_", "mean"), ["row"], "{plates} {index}");
    }
    let fewer = load_str(&text("[\"three\", \"two\"]", "t[g]"), "model.toml", Path::new(""));
    assert!(fewer.is_err_and(|e| e.to_string().contains("several of the plates")));
}
