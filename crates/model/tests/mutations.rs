//! Damaged model files are refused or accepted, but never make the reader panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use vi_model::load_str;

const MODELS: [&str; 3] = [
    r#"
[data]
counts = "times"
standardize = ["x"]
[data.blocks]
both = ["x", "times"]
[data.values]
x = [1.0, nan, 3.0]
g = ["a", "b", "a"]
times = [1, 2, 3]
grid = [[1, 0], [0, 1], [1, 1]]
weight = { axes = ["state"], values = [0.4, 0.6] }
[plates]
row = "rows"
g = { levels = "g" }
state = 2
cell = { columns = "grid" }
[variables.b]
plates = ["g"]
distribution = "normal"
mean = 0.0
sd = 1.0
[variables.z]
plates = ["row"]
distribution = "categorical"
probabilities = "weight"
[variables.m]
plates = ["state"]
distribution = "normal"
mean = [1.0, 2.0]
precision = 2.0
initial = [0.0, 1.0]
[expressions]
e = "b[g] * (m[z] + 2) - exp(-1e-3)"
[variables.y]
plates = ["row"]
distribution = "student-t"
degrees_of_freedom = 4
mean = "e"
sd = 1.0
observed = "x"
[variables.p]
plates = ["cell"]
distribution = "beta"
alpha = 1
beta = 1
[variables.c]
plates = ["row", "cell"]
distribution = "bernoulli"
probability = "p"
observed = "grid"
[inference]
blocks = [["b", "m"]]
tolerance = 1e-8
"#,
    r#"
[data.values]
y = [1.0, 2.0, 3.0]
[plates]
time = "rows"
state = 2
[variables.start]
distribution = "dirichlet"
dimension = "state"
concentration = 1
[variables.move]
plates = ["state"]
distribution = "dirichlet"
dimension = "state"
concentration = [[2, 1], [1, 2]]
[variables.z]
plates = ["time"]
distribution = "markov-chain"
initial = "start"
transition = "move"
[variables.g]
plates = ["state"]
distribution = "normal-gamma"
mean = 0
mean_precision = 1
shape = 1
rate = 1
[variables.s]
plates = ["time"]
distribution = "gaussian-markov-chain"
dimension = 2
initial_mean = 0
initial_precision = [[1.0, 0.1], [0.1, 1.0]]
transition = [[1, 1], [0, 1]]
innovation_precision = [1, 2]
[variables.x]
plates = ["time"]
distribution = "normal"
parameters = "g[z]"
observed = "y"
"#,
    r#"
[data.values]
pixels = [[0, 1, 1], [1, 0, 1]]
[plates]
image = "rows"
pixel = { columns = "pixels" }
[networks.encoder]
layers = [3]
activation = "relu"
[networks.decoder]
linear = true
[variables.noise]
distribution = "flat"
lower = 0.0
point = true
initial = 0.3
[variables.z]
plates = ["image"]
distribution = "normal"
dimension = 2
mean = 0.0
sd = 1.0
amortized = "encoder(pixels)"
covariance = "full"
[variables.w]
distribution = "wishart"
dimension = 2
degrees_of_freedom = 3
scale = [[1.0, 0.0], [0.0, 1.0]]
[variables.v]
distribution = "normal"
dimension = 2
mean = 0.0
precision = "w"
[variables.x]
plates = ["image", "pixel"]
distribution = "normal"
mean = "decoder(z) + dot(v, v)"
sd = "noise"
observed = "pixels"
"#,
];

/// A linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Words and signs of a model, to be moved about.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut previous = None;
    for (i, c) in text.char_indices() {
        if previous.is_some_and(|p| is_word(p) != is_word(c) || !is_word(c)) {
            pieces.push(&text[start..i]);
            start = i;
        }
        previous = Some(c);
    }
    pieces.push(&text[start..]);
    pieces
}

#[test]
fn sound_models_are_accepted() {
    for text in MODELS {
        assert!(load_str(text, "m", Path::new("")).is_ok(), "{:?}", load_str(text, "m", Path::new("")).err());
    }
}

#[test]
fn damaged_models_never_panic() {
    let mut random = Random(1);
    let mut refused = 0;
    for round in 0..6000 {
        let text = MODELS[round % MODELS.len()];
        let mut words: Vec<&str> = pieces(text);
        for _ in 0..=random.below(3) {
            let (i, j) = (random.below(words.len()), random.below(words.len()));
            match random.below(4) {
                0 => words[i] = words[j],
                1 => words.swap(i, j),
                2 => words[i] = "",
                _ => {
                    words[i] = ["-1", "0", "\"", "[", "nan", "1e400", "é", "dot(", "\n", "time", "state", "row"]
                        [random.below(12)]
                }
            }
        }
        let damaged = words.concat();
        if let Err(error) = load_str(&damaged, "m", Path::new("")) {
            refused += 1;
            assert!(!error.diagnostics.is_empty(), "refused without a reason:\n{damaged}");
            assert!(!error.to_string().is_empty());
            for label in error.diagnostics.iter().flat_map(|d| &d.labels) {
                assert!(
                    damaged.get(label.span.clone()).is_some(),
                    "a place outside of the text:\n{damaged}\n{label:?}"
                );
            }
        }
    }
    assert!(refused > 3000, "{refused}");
}

#[test]
fn long_sums_do_not_exhaust_the_stack() {
    for terms in [1900, 100_000] {
        let sum = vec!["a"; terms].join(" + ");
        let text = format!(
            "[variables.a]\ndistribution = \"flat\"\n[variables.b]\ndistribution = \"normal\"\nmean = \"{sum}\"\nsd = 1.0\n"
        );
        let loaded = load_str(&text, "m", Path::new(""));
        assert_eq!(loaded.is_ok(), terms == 1900);
    }
}
