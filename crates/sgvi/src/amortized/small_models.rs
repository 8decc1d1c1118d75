//! Small models written down in tests.

use super::model::AmortizedModel;
use std::path::Path;
use vi_model::graph::Graph;

/// Binary images, two networks and a latent variable; an observed variable is to be added.
pub(super) const IMAGES: &str = r#"
[data.values]
x = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 1]]
[plates]
row = "rows"
pixel = { columns = "x" }
[networks.encoder]
layers = [8]
[networks.decoder]
layers = [8]
[variables.z]
plates = ["row"]
distribution = "normal"
dimension = 2
mean = 0.0
sd = 1.0
amortized = "encoder(x)"
"#;

/// Its observed variable.
pub(super) const PIXELS: &str = r#"
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(z)"
observed = "x"
"#;

/// The graph of a text.
pub(super) fn graph(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).unwrap()
}

/// The compiled model of a text.
pub(super) fn model(text: &str) -> AmortizedModel {
    AmortizedModel::new(&graph(text)).unwrap()
}
