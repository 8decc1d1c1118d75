//! The description of a network from its table in the model file.

use crate::error::SgviError;
use crate::network::activation::Activation;
use crate::network::convolution::Geometry;
use crate::network::stack::{Description, Image};
use vi_model::graph::Network;

/// The description of a network as written in the model file.
pub(super) fn describe(network: &Network) -> Result<Description, SgviError> {
    let refuse = |reason: String, help: &str| SgviError::Unsupported {
        variable: network.name.clone(),
        reason,
        help: help.to_owned(),
        span: network.span.clone(),
    };
    let Some(activation) = Activation::named(&network.activation) else {
        let help = format!("choose one of {}", Activation::NAMES.join(", "));
        return Err(refuse(format!("there is no activation {:?}", network.activation), &help));
    };
    let integers = |key: &str| -> Vec<usize> { network.options.get(key).and_then(toml_integers).unwrap_or_default() };
    let integer = |key: &str, default| integers(key).first().copied().unwrap_or(default);
    let image = match integers("image")[..] {
        [] => None,
        [height, width] | [_, height, width] => {
            let kernel = integer("kernel", 3);
            let layers = integers("channels");
            Some(Image {
                size: [height, width],
                channels: if integers("image").len() == 3 { integers("image")[0] } else { 1 },
                layers: if layers.is_empty() { vec![16, 32] } else { layers },
                kernel,
                stride: integer("stride", 2),
                padding: integer("padding", Geometry::same_padding(kernel)),
            })
        }
        _ => {
            return Err(refuse(
                "`image` is not two or three sizes".to_owned(),
                "write image = [height, width] or [channels, height, width]",
            ));
        }
    };
    let number = |key: &str| network.options.get(key).and_then(|v| v.as_float().or(v.as_integer().map(|i| i as f64)));
    Ok(Description {
        name: network.name.clone(),
        layers: if network.linear { Vec::new() } else { network.layers.clone() },
        activation,
        layer_norm: network.options.get("layer_norm").and_then(|v| v.as_bool()).unwrap_or(false),
        dropout: number("dropout").unwrap_or(0.0) as f32,
        image,
    })
}

/// An integer or a list of integers.
fn toml_integers(value: &toml::Value) -> Option<Vec<usize>> {
    let one = |value: &toml::Value| value.as_integer().and_then(|i| usize::try_from(i).ok());
    match value {
        toml::Value::Array(values) => values.iter().map(one).collect(),
        other => one(other).map(|value| vec![value]),
    }
}
