//! The log mass between the bounds of truncated distributions, by which their densities are renormalised.

use vi_model::graph::{Distribution, PrecisionOrSd, Spread, SpreadForm, VariableId};

use super::Lowering;
use crate::density::Kernel;
use crate::error::SgviError;
use crate::tape::{UnaryFunction, Value};

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
        let (kernel, location, scale, nu) = match d {
            Distribution::Normal { mean, spread, form: SpreadForm::Scalar } if variable.dimension.is_none() => {
                let location = self.plain(v, *mean)?;
                let scale = match spread {
                    Spread::StandardDeviation(n) => self.plain(v, *n)?,
                    Spread::Variance(n) | Spread::Covariance(n) => {
                        let variance = self.plain(v, *n)?;
                        self.b.unary(UnaryFunction::Sqrt, &variance)
                    }
                    Spread::Precision(n) => {
                        let precision = self.plain(v, *n)?;
                        let root = self.b.unary(UnaryFunction::Sqrt, &precision);
                        self.b.unary(UnaryFunction::Reciprocal, &root)
                    }
                };
                (Kernel::NormalMass, location, scale, None)
            }
            Distribution::StudentT { degrees_of_freedom, mean, spread } => {
                let location = self.plain(v, *mean)?;
                let scale = match spread {
                    PrecisionOrSd::StandardDeviation(n) => self.plain(v, *n)?,
                    PrecisionOrSd::Precision(n) => {
                        let precision = self.plain(v, *n)?;
                        let root = self.b.unary(UnaryFunction::Sqrt, &precision);
                        self.b.unary(UnaryFunction::Reciprocal, &root)
                    }
                };
                let nu = self.plain(v, *degrees_of_freedom)?;
                if !nu.is_data() {
                    return Err(SgviError::unsupported(
                        self.graph,
                        v,
                        "a truncated student-t needs constant degrees of freedom",
                        "write them as a number",
                    ));
                }
                (Kernel::StudentTMass, location, scale, Some(nu))
            }
            Distribution::Cauchy { location, scale } => {
                (Kernel::CauchyMass, self.plain(v, *location)?, self.plain(v, *scale)?, None)
            }
            Distribution::Laplace { location, scale } => {
                (Kernel::LaplaceMass, self.plain(v, *location)?, self.plain(v, *scale)?, None)
            }
            Distribution::Logistic { location, scale } => {
                (Kernel::LogisticMass, self.plain(v, *location)?, self.plain(v, *scale)?, None)
            }
            Distribution::Flat | Distribution::Uniform { .. } => return Ok(None),
            _ => {
                return Err(SgviError::unsupported(
                    self.graph,
                    v,
                    "only scalar real distributions can be truncated",
                    "leave out `lower` and `upper`, or use normal, student-t, cauchy, laplace or logistic",
                ));
            }
        };
        let lower = match lower {
            Some(n) => self.plain(v, n)?,
            None => self.b.constant(f64::NEG_INFINITY),
        };
        let upper = match upper {
            Some(n) => self.plain(v, n)?,
            None => self.b.constant(f64::INFINITY),
        };
        let mut arguments = vec![&location, &scale, &lower, &upper];
        arguments.extend(nu.as_ref());
        Ok(Some(self.b.density(kernel, &arguments, false)))
    }
}
