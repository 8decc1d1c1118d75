//! The Laplace distribution as a normal with a latent exponential variance.
//!
//! s ~ Exp(½), x | s ~ N(f, b² s) make x ~ Laplace(f, b) (Andrews & Mallows 1974). The factor of s enters by E[1/s] alone.

use vi_model::graph::{NodeId, VariableId};

use super::Lowering;
use super::normal::Weight;
use super::positive::Power;
use crate::error::CaviError;
use crate::factor::Family;

impl Lowering {
    /// −½ E[1/s] E[(x − f)²]/b² + c(s) − log b
    pub(super) fn laplace_density(
        &mut self,
        child: VariableId,
        location: NodeId,
        scale: NodeId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(child);
        let mut sum = self.mean_monomials(child, "location", location, &mut scope)?;
        sum.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
        let mut weight = self.positive(child, "scale", scale, Power::MinusTwo, &mut scope)?;
        self.presence(child, &mut scope)?;
        let latent = self.auxiliary(child, "scale", Family::LaplaceScale, &scope);
        let rest = self.auxiliary_operand(latent, 1, &scope);
        self.add_term(&scope, 1.0, vec![rest], &[]);
        self.positive_logs(&scope, &weight, &[], 0.5);
        weight.expectation.push(self.auxiliary_operand(latent, 0, &scope));
        sum.splice(0..0, self.value_sum(child, &scope)?);
        self.quadratic(&scope, &sum, &Weight::Positive(weight), -0.5)
    }
}
