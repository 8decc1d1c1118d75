//! Optimisers over slices of the flat parameter buffer: Adam, AdamW and momentum.

use super::vectorize::vectorized;

/// What is added to the moments at every step.
///
/// Moments of a parameter without a gradient would fade until they are subnormal numbers, with which a processor takes a hundred
/// times as long. No step notices this: that of Adam divides by at least its `epsilon`, of which the root of what comes
/// together is less than a thousandth.
pub(crate) const TRACE: f32 = 1e-30;

/// An optimiser that climbs, with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Optimizer {
    /// Adam (Kingma & Ba 2015); with `weight_decay` above zero AdamW (Loshchilov & Hutter 2019).
    Adam {
        /// Decay of the first moment.
        first_decay: f32,
        /// Decay of the second moment.
        second_decay: f32,
        /// What is added to the root of the second moment.
        epsilon: f32,
        /// Fraction of a parameter that a step of unit learning rate takes away.
        weight_decay: f32,
    },
    /// Stochastic gradient with momentum (Polyak 1964); `momentum = 0` is the plain one.
    Momentum {
        /// Decay of the velocity.
        momentum: f32,
        /// As for Adam.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// Names that the model language knows.
    pub(crate) const NAMES: [&'static str; 4] = ["adam", "adamw", "momentum", "sgd"];

    /// The optimiser of that name with its usual constants.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        let adam = |weight_decay| Self::Adam { first_decay: 0.9, second_decay: 0.999, epsilon: 1e-8, weight_decay };
        Some(match name {
            "adam" => adam(0.0),
            "adamw" => adam(0.01),
            "momentum" => Self::Momentum { momentum: 0.9, weight_decay: 0.0 },
            "sgd" => Self::Momentum { momentum: 0.0, weight_decay: 0.0 },
            _ => return None,
        })
    }

    /// The factor on the step and the constant under it at step `step` (counted from 1) of a run at `learning_rate`.
    #[must_use]
    pub(crate) fn step_size(&self, learning_rate: f64, step: u64) -> StepSize {
        match *self {
            Self::Adam { first_decay, second_decay, epsilon, weight_decay } => {
                // m̂ / (√v̂ + ε) = m·√c₂/c₁ / (√v + ε·√c₂) with c = 1 − βᵗ.
                let power = step.min(i32::MAX as u64) as i32;
                let first = 1.0 - f64::from(first_decay).powi(power);
                let second = (1.0 - f64::from(second_decay).powi(power)).sqrt();
                StepSize {
                    scale: (learning_rate * second / first) as f32,
                    epsilon: (f64::from(epsilon) * second) as f32,
                    shrink: (learning_rate * f64::from(weight_decay)) as f32,
                }
            }
            Self::Momentum { weight_decay, .. } => StepSize {
                scale: learning_rate as f32,
                epsilon: 0.0,
                shrink: (learning_rate * f64::from(weight_decay)) as f32,
            },
        }
    }

    /// The rule with the constants of a step.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn rule(&self, size: StepSize) -> Rule {
        let StepSize { scale, epsilon, shrink } = size;
        match *self {
            Self::Adam { first_decay, second_decay, .. } => {
                Rule::Adam { first_decay, second_decay, scale, epsilon, shrink }
            }
            Self::Momentum { momentum, .. } => Rule::Momentum { momentum, scale, shrink },
        }
    }

    /// Moves `values` along `gradient` (of the objective, which is to be made large), updating the moments.
    ///
    /// All four slices are the same range of their buffers.
    pub(crate) fn update(
        &self,
        size: StepSize,
        values: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        match *self {
            Self::Adam { first_decay, second_decay, .. } => {
                adam(size, first_decay, second_decay, values, gradient, first, second)
            }
            Self::Momentum { momentum, .. } => velocity(size, momentum, values, gradient, first),
        }
    }
}

/// An optimiser at one step, with every constant that the rule needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// m = β₁m + (1 − β₁)g; v = β₂v + (1 − β₂)g²; x = x − shrink·x + scale·m / (√v + ε)
    Adam { first_decay: f32, second_decay: f32, scale: f32, epsilon: f32, shrink: f32 },
    /// m = momentum·m + g; x = x − shrink·x + scale·m
    Momentum { momentum: f32, scale: f32, shrink: f32 },
}

impl Rule {
    /// Whether there are second moments.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn has_second_moments(self) -> bool {
        matches!(self, Self::Adam { .. })
    }

    /// Fraction of a parameter that the step takes away.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn shrink(self) -> f32 {
        match self {
            Self::Adam { shrink, .. } | Self::Momentum { shrink, .. } => shrink,
        }
    }
}

/// What [`Optimizer::step_size`] works out once per step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepSize {
    scale: f32,
    epsilon: f32,
    shrink: f32,
}

vectorized! {
    fn adam(size: StepSize, first_decay: f32, second_decay: f32, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let n = values.len();
        let (gradient, first, second) = (&gradient[..n], &mut first[..n], &mut second[..n]);
        // A gradient that is small may have a square that is subnormal.
        let root = (1.0 - second_decay).sqrt();
        for i in 0..n {
            let g = gradient[i];
            let m = first_decay * first[i] + ((1.0 - first_decay) * g + TRACE);
            let part = root * g;
            let v = (second_decay * second[i] + TRACE) + part * part;
            first[i] = m;
            second[i] = v;
            values[i] = values[i] - size.shrink * values[i] + size.scale * m / (v.sqrt() + size.epsilon);
        }
    }
}

vectorized! {
    fn velocity(size: StepSize, momentum: f32, values: &mut [f32], gradient: &[f32], first: &mut [f32]) {
        let n = values.len();
        let (gradient, first) = (&gradient[..n], &mut first[..n]);
        for i in 0..n {
            let m = momentum * first[i] + (gradient[i] + TRACE);
            first[i] = m;
            values[i] = values[i] - size.shrink * values[i] + size.scale * m;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_follows_the_published_recursion() {
        let optimizer = Optimizer::named("adamw").unwrap();
        let (mut values, mut first, mut second) = (vec![1.0_f32; 37], vec![0.0; 37], vec![0.0; 37]);
        let (mut x, mut m, mut v) = (1.0_f64, 0.0_f64, 0.0_f64);
        for step in 1..=50_u64 {
            let g = (step as f64 * 0.3).sin() - 0.2 * x;
            optimizer.update(optimizer.step_size(0.01, step), &mut values, &[g as f32; 37], &mut first, &mut second);
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (c1, c2) = (1.0 - 0.9_f64.powi(step as i32), 1.0 - 0.999_f64.powi(step as i32));
            x = x - 0.01 * 0.01 * x + 0.01 * (m / c1) / ((v / c2).sqrt() + 1e-8);
        }
        for value in values {
            assert!((f64::from(value) - x).abs() < 2e-5, "{value} against {x}");
        }
    }

    #[test]
    fn momentum_climbs_a_parabola() {
        let optimizer = Optimizer::named("momentum").unwrap();
        let (mut x, mut velocity) = (vec![4.0_f32], vec![0.0]);
        for step in 1..=300 {
            let gradient = [-(x[0] - 1.0)];
            optimizer.update(optimizer.step_size(0.05, step), &mut x, &gradient, &mut velocity, &mut []);
        }
        assert!((x[0] - 1.0).abs() < 1e-3, "{x:?}");
    }
}
