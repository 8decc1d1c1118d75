//! The log mass between the bounds of truncated distributions, by which their densities are renormalised.

use vi_model::graph::{Distribution, VariableId};

use super::Lowering;
use crate::error::SgviError;
use crate::tape::Value;

impl Lowering<'_> {
    /// A value, zero where the observed data `x` are missing.
    pub(super) fn where_present(&mut self, x: &Value, value: Value) -> Value {
        match self.b.numbers(x) {
            Some(numbers) if numbers.iter().any(|x| x.is_nan()) => {
                let present = numbers.iter().map(|x| f64::from(u8::from(!x.is_nan()))).collect();
                let present = self.b.data(x.shape.clone(), present);
                self.b.product(&present, &value)
            }
            _ => value,
        }
    }

    /// The log mass between the bounds of a truncated distribution.
    pub(super) fn truncation(&mut self, v: VariableId, d: &Distribution) -> Result<Option<Value>, SgviError> {
        let variable = self.graph.variable(v);
        let (lower, upper) = (variable.lower, variable.upper);
        if lower.is_none() && upper.is_none() {
            return Ok(None);
        }
        let kernel = match d {
            Distribution::Flat | Distribution::Uniform { .. } => None,
            _ if variable.dimension.is_some() => None,
            _ => self.scalar(v, d)?.and_then(|(scalar, arguments)| Some((scalar.mass()?, arguments))),
        };
        let Some((kernel, arguments)) = kernel else {
            if matches!(d, Distribution::Flat | Distribution::Uniform { .. }) {
                return Ok(None);
            }
            return Err(SgviError::unsupported(
                self.graph,
                v,
                "only continuous distributions of single numbers can be truncated",
                "leave out `lower` and `upper`",
            ));
        };
        let lower = match lower {
            Some(n) => self.plain(v, n)?,
            None => self.b.constant(f64::NEG_INFINITY),
        };
        let upper = match upper {
            Some(n) => self.plain(v, n)?,
            None => self.b.constant(f64::INFINITY),
        };
        let zero = self.b.constant(0.0);
        let [first, second, third] = [0, 1, 2].map(|i| arguments.get(i).unwrap_or(&zero));
        let mut all = vec![first, second, &lower, &upper];
        all.extend((arguments.len() > 2).then_some(third));
        Ok(Some(self.b.density(kernel, &all, false)))
    }
}
