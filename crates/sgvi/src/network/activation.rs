//! Activation functions between layers: forward fused with the bias, backward from the stored values.

use super::elementary::{exp, logistic, normal_cdf_and_density, softplus_and_logistic, tanh};
use super::vectorize::vectorized;

/// An elementwise function between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// tanh x
    Tanh,
    /// x·Φ(x) (Hendrycks & Gimpel 2016)
    Gelu,
    /// x / (1 + e⁻ˣ)
    Silu,
    /// ln(1 + eˣ)
    Softplus,
    /// x for x > 0, eˣ − 1 otherwise
    Elu,
    /// 1 / (1 + e⁻ˣ)
    Logistic,
}

impl Activation {
    /// Names that the model language knows, in the order in which they are listed to the user.
    pub(crate) const NAMES: [&'static str; 7] = ["relu", "tanh", "gelu", "silu", "softplus", "elu", "logistic"];

    /// The activation of that name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "relu" => Self::Relu,
            "tanh" => Self::Tanh,
            "gelu" => Self::Gelu,
            "silu" => Self::Silu,
            "softplus" => Self::Softplus,
            "elu" => Self::Elu,
            "logistic" => Self::Logistic,
            _ => return None,
        })
    }

    /// Whether the derivative needs the value before the activation, because the value after it does not determine it.
    #[must_use]
    pub(crate) fn needs_input(self) -> bool {
        matches!(self, Self::Gelu | Self::Silu)
    }
}

/// Adds `bias` (`[width]`) to every row of `values` (`[rows, width]`) and applies the activation in place.
///
/// `before` receives the values between the two where [`Activation::needs_input`]; otherwise it may be empty.
pub(crate) fn add_bias_and_activate(values: &mut [f32], before: &mut [f32], bias: &[f32], activation: Activation) {
    for row in values.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
    if activation.needs_input() {
        before[..values.len()].copy_from_slice(values);
    }
    activate(values, activation);
}

vectorized! {
    /// The same for the columns at the start of every row of a `[rows, stride]` matrix, as many as `bias` has.
    pub(crate) fn add_bias_and_activate_block(values: &mut [f32], stride: usize, bias: &[f32], activation: Activation) {
        for row in values.chunks_mut(stride) {
            let row = &mut row[..bias.len()];
            for (value, &shift) in row.iter_mut().zip(bias) {
                *value += shift;
            }
            activate_all::<FUSED>(row, activation);
        }
    }
}

vectorized! {
    /// values += bias, elementwise.
    fn add(values: &mut [f32], bias: &[f32]) {
        for (value, &shift) in values.iter_mut().zip(bias) {
            *value += shift;
        }
    }
}

vectorized! {
    /// Applies the activation in place.
    pub(crate) fn activate(values: &mut [f32], activation: Activation) {
        activate_all::<FUSED>(values, activation);
    }
}

#[inline(always)]
fn activate_all<const FUSED: bool>(values: &mut [f32], activation: Activation) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => {
            // Written so that a value that is not a number stays so.
            for value in values.iter_mut() {
                *value = if *value < 0.0 { 0.0 } else { *value };
            }
        }
        Activation::Tanh => {
            for value in values.iter_mut() {
                *value = tanh::<FUSED>(*value);
            }
        }
        Activation::Gelu => {
            for value in values.iter_mut() {
                *value *= normal_cdf_and_density::<FUSED>(*value).0;
            }
        }
        Activation::Silu => {
            for value in values.iter_mut() {
                *value *= logistic::<FUSED>(*value);
            }
        }
        Activation::Softplus => {
            for value in values.iter_mut() {
                *value = softplus_and_logistic::<FUSED>(*value).0;
            }
        }
        Activation::Elu => {
            for value in values.iter_mut() {
                let negative = exp::<FUSED>(*value) - 1.0;
                *value = if *value > 0.0 { *value } else { negative };
            }
        }
        Activation::Logistic => {
            for value in values.iter_mut() {
                *value = logistic::<FUSED>(*value);
            }
        }
    }
}

vectorized! {
    /// Multiplies `adjoint` by the derivative of the activation, given its output (and its input where it is needed).
    pub(crate) fn activation_backward(adjoint: &mut [f32], output: &[f32], before: &[f32], activation: Activation) {
        let pairs = adjoint.iter_mut().zip(output);
        match activation {
            Activation::Identity => {}
            Activation::Relu => {
                for (slope, &y) in pairs {
                    *slope = if y > 0.0 { *slope } else { 0.0 };
                }
            }
            Activation::Tanh => {
                for (slope, &y) in pairs {
                    *slope *= 1.0 - y * y;
                }
            }
            Activation::Gelu => {
                for (slope, &x) in adjoint.iter_mut().zip(before) {
                    let (cdf, density) = normal_cdf_and_density::<FUSED>(x);
                    *slope *= cdf + x * density;
                }
            }
            Activation::Silu => {
                for (slope, &x) in adjoint.iter_mut().zip(before) {
                    let s = logistic::<FUSED>(x);
                    *slope *= s * (1.0 + x * (1.0 - s));
                }
            }
            Activation::Softplus => {
                for (slope, &y) in pairs {
                    *slope *= 1.0 - exp::<FUSED>(-y);
                }
            }
            Activation::Elu => {
                for (slope, &y) in pairs {
                    *slope *= if y > 0.0 { 1.0 } else { y + 1.0 };
                }
            }
            Activation::Logistic => {
                for (slope, &y) in pairs {
                    *slope *= y * (1.0 - y);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_agree_with_finite_differences() {
        let points: Vec<f32> = (-30..30).map(|i| i as f32 * 0.13 + 0.05).collect();
        for name in Activation::NAMES {
            let activation = Activation::named(name).unwrap();
            let evaluate = |shift: f32| {
                let mut values = points.clone();
                add_bias_and_activate(
                    &mut values,
                    &mut vec![0.0; points.len()],
                    &vec![shift; points.len()],
                    activation,
                );
                values
            };
            let step = 1e-2;
            let (above, below, middle) = (evaluate(step), evaluate(-step), evaluate(0.0));
            let mut slope = vec![1.0; points.len()];
            activation_backward(&mut slope, &middle, &points, activation);
            for i in 0..points.len() {
                let difference = (above[i] - below[i]) / (2.0 * step);
                assert!(
                    (slope[i] - difference).abs() < 2e-4,
                    "{name} at {}: {} against {difference}",
                    points[i],
                    slope[i]
                );
            }
        }
    }

    #[test]
    fn unknown_names_are_not_activations() {
        assert_eq!(Activation::named("sigmoid"), None);
    }
}
