//! The log densities of truncated distributions.

use vi_model::graph::{Distribution, VariableId};

use super::Lowering;
use crate::density::Kernel;
use crate::error::SgviError;
use crate::tape::Value;

impl Lowering<'_> {
    /// A value, zero where the observed data `x` are missing.
    fn where_present(&mut self, x: &Value, value: Value) -> Value {
        match self.b.numbers(x) {
            Some(numbers) if numbers.iter().any(|x| x.is_nan()) => {
                let present = numbers.iter().map(|x| f64::from(u8::from(!x.is_nan()))).collect();
                let present = self.b.data(x.shape.clone(), present);
                self.b.product(&present, &value)
            }
            _ => value,
        }
    }

    /// The log density of a truncated distribution at `x`; `None` where there are no bounds, or the distribution is flat between them.
    pub(super) fn truncated(&mut self, v: VariableId, d: &Distribution, x: &Value) -> Result<Option<Value>, SgviError> {
        let variable = self.graph.variable(v);
        let (lower, upper) = (variable.lower, variable.upper);
        if (lower.is_none() && upper.is_none()) || matches!(d, Distribution::Flat | Distribution::Uniform { .. }) {
            return Ok(None);
        }
        let missing = variable.observed.is_some() && !self.filled.contains_key(&v);
        let found = match variable.dimension {
            Some(_) => None,
            None => self.scalar(v, d)?.and_then(|(scalar, arguments)| Some((scalar.truncated()?, arguments))),
        };
        let Some((family, arguments)) = found else {
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
        let (density, mass) = if family.is_light() {
            let density = self.b.density(Kernel::Relative(family), &[x, first, second, &lower, &upper], missing);
            (Some(density), self.b.density(Kernel::RelativeMass(family), &[first, second, &lower, &upper], false))
        } else {
            let mut all = vec![first, second, &lower, &upper];
            all.extend((arguments.len() > 2).then_some(third));
            let mass = self.b.density(Kernel::Mass(family), &all, false);
            (self.continuous(v, d, x)?, mass)
        };
        let mass = self.where_present(x, mass);
        Ok(density.map(|density| self.b.difference(&density, &mass)))
    }
}
