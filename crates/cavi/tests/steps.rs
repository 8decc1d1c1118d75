//! Chains whose steps differ from row to row: against the same models in BayesPy 0.6.6, enumeration, and chains of equal steps.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit, mean, sd};

/// Forty positions in a plane, which turn for ten rows and jump for ten by turns, and an input.
const DATA: &str = r#"
[data.values]
y = [[1.2576, -0.7101], [0.4769, -1.6321], [0.3071, -1.5218], [-0.0016, -1.6323], [-0.1301, -1.5086],
[-0.5535, -1.1135], [-1.2424, -0.6981], [-0.9335, -0.3886], [-0.7053, -0.4435], [-1.2006, -0.0535], [-0.1394,
-0.4129], [-0.4151, 0.1849], [0.0865, -0.3039], [-0.287, -0.2207], [-0.478, -0.344], [-0.0308, 0.3327],
[-0.8195, -0.5603], [-0.4659, -1.14], [-0.152, 0.8189], [-0.8108, -0.2037], [-0.508, -0.1226], [-0.943,
-0.5186], [-1.4988, -0.4205], [-0.977, 0.4225], [-0.9065, 0.2718], [-0.934, 0.1343], [-0.5359, 0.6333],
[0.1186, 0.6772], [0.1745, 0.9959], [0.5376, 1.2365], [-0.3178, -1.1636], [0.5376, 0.7813], [0.3036, 0.0866],
[0.658, -0.5383], [0.7849, 0.5493], [1.1117, -0.5203], [0.2412, 0.6953], [-0.6881, -0.2155], [-0.4256,
-0.127], [0.398, 0.0871]]
u = [0.0663, -1.4368, 0.005, 2.3891, 0.909, 0.1285, 0.2162, -1.0869, 0.6522, -0.4072, 1.431, 0.1605, -0.4357,
-0.0919, 1.5012, 0.3788, 0.4644, -0.5206, 0.389, -1.1268, -0.6042, 0.7219, 0.7112, -1.3718, -0.1937, -0.7573,
0.6584, -1.0694, -0.5674, -0.0435, 0.9648, -1.1289, 0.2424, 1.2728, -0.6861, -1.0367, 1.0812, -1.9927, 0.4109,
0.9034]
[plates]
t = "rows"
regime = 2
component = 2
coordinate = 2
[variables.x]
plates = ["t"]
distribution = "gaussian-markov-chain"
dimension = "coordinate"
initial_mean = 0.0
initial_precision = 1.0
STEP
[variables.seen]
plates = ["t"]
distribution = "normal"
dimension = "coordinate"
mean = "x"
precision = 25.0
observed = "y"
"#;

fn model(step: &str, rest: &str) -> String {
    format!("{}\n{rest}", DATA.replace("STEP", step))
}

#[test]
fn a_transition_gated_by_a_category_of_the_row() {
    let (elbo, ascent) = fit(&model(
        "transition = \"A[z]\"\ninnovation_precision = 10.0",
        r#"
[variables.A]
plates = ["regime", "coordinate"]
distribution = "normal"
dimension = "coordinate"
mean = 0.0
precision = 1.0
[variables.z]
plates = ["t"]
distribution = "categorical"
probabilities = "share"
[data.values.share]
axes = ["regime"]
values = [0.5, 0.5]
[inference]
restarts = 10
tolerance = 1e-13
"#,
    ));
    // SwitchingGaussianMarkovChain, the best of six starts.
    close("elbo", &[elbo], &[-74.405_895_554_83], 1e-9);
    let a = mean(&ascent, "A");
    let order = if a[0] > a[4] { [0, 4] } else { [4, 0] };
    let expected =
        [[0.798_369_0, 0.247_494_9, -0.259_642_9, 0.943_974_5], [0.694_894_7, -0.471_452_7, 0.136_814_1, -0.667_325_7]];
    for (at, expected) in order.into_iter().zip(expected) {
        close("A", &a[at..at + 4], &expected, 1e-4);
    }
}

#[test]
fn a_transition_that_is_a_sum_of_matrices_with_weights_of_the_row() {
    let plain = |name: &str, plates: &str, dimension: &str| {
        format!(
            "[variables.{name}]\nplates = [\"{plates}\"]\ndistribution = \"normal\"\nmean = 0.0\nprecision = 1.0\n{dimension}\n"
        )
    };
    let square = "dimension = \"coordinate\"";
    let (elbo, _) = fit(&model(
        "transition = \"s * B + r * C\"\ninnovation_precision = 10.0",
        &format!(
            "{}{}{}{}[inference]\nblocks = [[\"B\", \"C\"], [\"s\", \"r\"]]\ntolerance = 1e-12\nrestarts = 3\n",
            plain("B", "coordinate", square),
            plain("C", "coordinate", square),
            plain("s", "t", ""),
            plain("r", "t", "")
        ),
    ));
    // VaryingGaussianMarkovChain, whose rows of coefficients are joint over both matrices.
    close("elbo", &[elbo], &[-104.807_470_219_4], 1e-9);
}

#[test]
fn inputs_are_an_offset() {
    let (elbo, ascent) = fit(&model(
        "transition = \"A\"\ninnovation_precision = \"q\"\noffset = \"b * u\"",
        r#"
[variables.A]
plates = ["coordinate"]
distribution = "normal"
dimension = "coordinate"
mean = 0.0
precision = 1.0
[variables.b]
plates = ["coordinate"]
distribution = "normal"
mean = 0.0
precision = 1.0
[variables.q]
plates = ["coordinate"]
distribution = "gamma"
shape = 1.0
rate = 0.1
[inference]
blocks = [["A", "b"]]
tolerance = 1e-13
"#,
    ));
    // GaussianMarkovChain(…, inputs=…).
    close("elbo", &[elbo], &[-84.839_513_118_693_4], 1e-10);
    close("A", &mean(&ascent, "A"), &[0.722_165_22, 0.110_925_6, -0.159_506_84, 0.487_007_97], 1e-6);
    close("b", &mean(&ascent, "b"), &[0.011_236_79, -0.110_388_11], 1e-6);
    close("q", &mean(&ascent, "q"), &[5.989_549_48, 2.627_291_87], 1e-6);
}

#[test]
fn equal_steps_are_the_chain_of_equal_steps() {
    let rest = r#"
[variables.A]
plates = ["coordinate"]
distribution = "normal"
dimension = "coordinate"
mean = 0.0
precision = 1.0
[variables.Q]
distribution = "wishart"
dimension = "coordinate"
degrees_of_freedom = 3.0
scale = [[1.0, 0.2], [0.2, 2.0]]
[inference]
tolerance = 1e-13
max_iterations = 3000
"#;
    let step = "transition = \"A\"\ninnovation_precision = \"Q\"";
    let (elbo, ascent) = fit(&model(step, rest));
    let (same, other) = fit(&model(&format!("{step}\noffset = 0.0"), rest));
    close("elbo", &[same], &[elbo], 1e-10);
    for name in ["A", "Q"] {
        close(name, &mean(&other, name), &mean(&ascent, name), 1e-6);
        close(name, &sd(&other, name), &sd(&ascent, name), 1e-6);
    }
}

#[test]
fn groups_of_sequences_with_transitions_of_their_own() {
    // Everything but the group of each sequence is known, and every state is seen: the evidence is a sum over groups.
    let (elbo, ascent) = fit(r#"
[data.values]
s = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "c"]
z = [0, 1, 0, 1, 1, 1, 1, 0, 0, ""]
weight = { axes = ["group"], values = [0.3, 0.7] }
first = { axes = ["group", "state"], values = [[0.5, 0.5], [0.9, 0.1]] }
step = { axes = ["group", "state", "state"], values = [[[0.2, 0.8], [0.7, 0.3]], [[0.9, 0.1], [0.4, 0.6]]] }
[plates]
t = "rows"
series = { levels = "s" }
group = 2
state = 2
[variables.g]
plates = ["series"]
distribution = "categorical"
probabilities = "weight"
[variables.x]
plates = ["t"]
distribution = "markov-chain"
initial = "first[g[s]]"
transition = "step[g[s]]"
sequence = "s"
observed = "z"
[inference]
tolerance = 1e-14
"#);
    let first: [[f64; 2]; 2] = [[0.5, 0.5], [0.9, 0.1]];
    let step: [[[f64; 2]; 2]; 2] = [[[0.2, 0.8], [0.7, 0.3]], [[0.9, 0.1], [0.4, 0.6]]];
    let sequences: [&[usize]; 3] = [&[0, 1, 0, 1], &[1, 1, 1], &[0, 0]];
    let mut expected = 0.0;
    let mut weights = Vec::new();
    for path in sequences {
        let joint = [0, 1]
            .map(|g| [0.3, 0.7][g] * first[g][path[0]] * path.windows(2).map(|w| step[g][w[0]][w[1]]).product::<f64>());
        expected += (joint[0] + joint[1]).ln();
        weights.extend(joint.map(|p| p / (joint[0] + joint[1])));
    }
    // The last state of the third sequence is unknown, and a factor of its own.
    close("groups", &mean(&ascent, "g")[..4], &weights[..4], 1e-10);
    assert!(elbo <= expected + 1e-12 && elbo > expected - 0.1, "{elbo} instead of just below {expected}");
}

#[test]
fn a_chain_whose_transitions_follow_a_column_has_the_evidence_of_all_its_paths() {
    let (elbo, _) = fit(r#"
[data.values]
y = [0.3, 1.9, 0.4, 2.2, 1.1, 0.2]
day = ["a", "b", "a", "a", "b", "b"]
first = { axes = ["state"], values = [1.0, 0.0] }
step = { axes = ["kind", "state", "state"], values = [[[0.2, 0.8], [0.7, 0.3]], [[0.9, 0.1], [0.0, 1.0]]] }
centre = { axes = ["state"], values = [0.0, 2.0] }
[plates]
t = "rows"
kind = { levels = "day" }
state = 2
[variables.z]
plates = ["t"]
distribution = "markov-chain"
initial = "first"
transition = "step[day]"
[variables.x]
plates = ["t"]
distribution = "normal"
mean = "centre[z]"
sd = 1.0
observed = "y"
"#);
    let y = [0.3, 1.9, 0.4, 2.2, 1.1, 0.2];
    let kind = [0, 1, 0, 0, 1, 1];
    let step: [[[f64; 2]; 2]; 2] = [[[0.2, 0.8], [0.7, 0.3]], [[0.9, 0.1], [0.0, 1.0]]];
    let normal = |x: f64, m: f64| (-0.5 * (x - m) * (x - m)).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let mut total = 0.0;
    for path in 0..64usize {
        let state = |t: usize| path >> t & 1;
        let mut p = if state(0) == 0 { 1.0 } else { 0.0 };
        for t in 0..6 {
            p *= normal(y[t], 2.0 * state(t) as f64);
            if t > 0 {
                p *= step[kind[t]][state(t - 1)][state(t)];
            }
        }
        total += p;
    }
    close("elbo", &[elbo], &[total.ln()], 1e-12);
}

#[test]
fn the_axes_of_coefficients_may_have_names_of_their_own() {
    // All rows alike, chosen by a column, by a category; known and learned; alone and in a product.
    let elbo = |transition: &str, leading: &str, known: bool, [to, from, dimension]: [&str; 3]| {
        let (axes, plates, values) = match leading {
            "" => (format!("\"{to}\", \"{from}\""), format!("\"{to}\""), "[[0.8, 0.3], [-0.2, 0.7]]"),
            _ => (
                format!("\"{leading}\", \"{to}\", \"{from}\""),
                format!("\"{leading}\", \"{to}\""),
                "[[[0.8, 0.3], [-0.2, 0.7]], [[0.1, -0.5], [0.4, 0.2]]]",
            ),
        };
        let matrix = if known {
            format!("[data.values.A]\naxes = [{axes}]\nvalues = {values}\n")
        } else {
            format!(
                "[variables.A]\nplates = [{plates}]\ndistribution = \"normal\"\ndimension = \"{from}\"\nmean = 0.0\n\
                 precision = 1.0\n"
            )
        };
        let text = format!(
            r#"
[data.values]
y = [[1.26, -0.71], [0.48, -1.63], [0.31, -1.52], [0.0, -1.63], [-0.13, -1.51], [-0.55, -1.11], [-1.24, -0.7]]
day = ["a", "b", "b", "a", "b", "b", "a"]
share = {{ axes = ["regime"], values = [0.5, 0.5] }}
[plates]
t = "rows"
kind = {{ levels = "day" }}
regime = 2
coordinate = 2
other = 2
third = 2
{matrix}
[variables.z]
plates = ["t"]
distribution = "categorical"
probabilities = "share"
[variables.x]
plates = ["t"]
distribution = "gaussian-markov-chain"
dimension = {dimension}
initial_mean = 0.0
initial_precision = 1.0
transition = "{transition}"
innovation_precision = 10.0
[variables.seen]
plates = ["t"]
distribution = "normal"
dimension = {dimension}
mean = "x"
precision = 25.0
observed = "y"
[inference]
tolerance = 1e-13
"#
        );
        fit(&text).0
    };
    for (transition, leading) in [("A", ""), ("0.5 * A", ""), ("A[day]", "kind"), ("A[z]", "regime")] {
        for known in [true, false] {
            let one_name = elbo(transition, leading, known, ["coordinate", "coordinate", "\"coordinate\""]);
            for names in [
                ["coordinate", "other", "\"coordinate\""],
                ["other", "coordinate", "\"coordinate\""],
                ["other", "third", "\"coordinate\""],
                ["other", "third", "2"],
            ] {
                close(transition, &[elbo(transition, leading, known, names)], &[one_name], 1e-12);
            }
        }
    }
}
