//! Weights as a safetensors file: a header in JSON, then all numbers as little-endian f32.

use crate::network::parameters::Layout;
use serde_json::{Map, Value, json};

/// Why a file of weights does not fit a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    /// Not a safetensors file.
    #[error("this is not a safetensors file: {reason}")]
    Format {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The header is not JSON.
    #[error("the header of the weights is not JSON: {0}")]
    Header(#[from] serde_json::Error),
    /// An array of the model is missing or has another shape.
    #[error("the weights have no array `{name}` of shape {shape:?}; they are of another model")]
    Mismatch {
        /// The array.
        name: String,
        /// Its shape in the model.
        shape: Vec<usize>,
    },
}

/// The content of a safetensors file with every view of the layout under its name.
///
/// A dense layer computes `x @ weight + bias` with `weight` of shape `[input, output]`; a convolution's weight is
/// `[kernel·kernel·channels in, channels out]`, a transposed one's `[channels in, kernel·kernel·channels out]`, channels
/// last; `NAME.unconstrained` is a point variable before its transformation.
#[must_use]
pub(crate) fn to_bytes(layout: &Layout, parameters: &[f32]) -> Vec<u8> {
    let mut header = Map::new();
    let about = "dense layers compute x @ weight + bias, weight [input, output]";
    header.insert("__metadata__".to_owned(), json!({ "layout": about }));
    for view in layout.views() {
        header.insert(
            view.name.clone(),
            json!({ "dtype": "F32", "shape": view.shape, "data_offsets": [view.range.start * 4, view.range.end * 4] }),
        );
    }
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + text.len() + parameters.len() * 4);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    for value in parameters {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// The parameters that a safetensors file holds for every view of the layout.
///
/// # Errors
/// [`WeightsError`] where the file is damaged, or lacks an array of the model.
pub(crate) fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Vec<f32>, WeightsError> {
    let format = |reason| WeightsError::Format { reason };
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(format("it has no length of a header"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| format("its header is too long"))?;
    let (header, data) = rest.split_at_checked(length).ok_or(format("it ends within its header"))?;
    let header: Map<String, Value> = serde_json::from_slice(header)?;
    let mut parameters = vec![0.0; layout.len()];
    for view in layout.views() {
        let mismatch = || WeightsError::Mismatch { name: view.name.clone(), shape: view.shape.clone() };
        let entry = header.get(&view.name).ok_or_else(mismatch)?;
        let numbers = |key: &str| -> Option<Vec<usize>> {
            entry.get(key)?.as_array()?.iter().map(|v| v.as_u64().and_then(|v| usize::try_from(v).ok())).collect()
        };
        if entry.get("dtype").and_then(Value::as_str) != Some("F32") || numbers("shape") != Some(view.shape.clone()) {
            return Err(mismatch());
        }
        let values = match numbers("data_offsets").as_deref() {
            Some(&[start, end]) if end.checked_sub(start) == Some(view.range.len() * 4) => {
                data.get(start..end).ok_or(format("it ends within an array"))?
            }
            _ => return Err(mismatch()),
        };
        for (target, chunk) in parameters[view.range.clone()].iter_mut().zip(values.chunks_exact(4)) {
            *target = f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::parameters::Initial;

    #[test]
    fn weights_return_as_they_were() {
        let mut layout = Layout::default();
        layout.allocate("encoder.layer_1.weight", &[3, 5], Initial::Uniform(1.0));
        layout.allocate("encoder.layer_1.bias", &[5], Initial::Uniform(1.0));
        let parameters = layout.initialize(4);
        let bytes = to_bytes(&layout, &parameters);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(from_bytes(&layout, &bytes).unwrap(), parameters);
        let mut other = Layout::default();
        other.allocate("encoder.layer_1.weight", &[5, 3], Initial::Uniform(1.0));
        assert!(matches!(from_bytes(&other, &bytes), Err(WeightsError::Mismatch { .. })));
        assert!(matches!(from_bytes(&layout, &bytes[..bytes.len() - 4]), Err(WeightsError::Format { .. })));
        assert!(matches!(from_bytes(&layout, b"short"), Err(WeightsError::Format { .. })));
    }
}
