//! Densities of positive variables and of counts with a positive rate: gamma, exponential, inverse-gamma, poisson.

use vi_model::graph::{NodeId, VariableId};

use super::Lowering;
use super::positive::Power;
use crate::error::CaviError;
use crate::program::Transform;

impl Lowering {
    /// (a − 1) log x − βx + a log β − log Γ(a)
    pub(super) fn gamma_density(
        &mut self,
        v: VariableId,
        shape: Option<NodeId>,
        key: &str,
        rate: NodeId,
        power: Power,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let rate = self.positive(v, key, rate, power, &mut scope)?;
        let x = self.statistic(v, &scope, 0, Transform::Identity)?;
        let a = match shape {
            Some(shape) => {
                let log_x = self.statistic(v, &scope, 1, Transform::Log)?;
                let shape = self.shape(v, "shape", shape, &mut scope)?;
                self.shape_terms(&scope, &shape, log_x);
                vec![shape.value]
            }
            None => vec![],
        };
        self.positive_logs(&scope, &rate, &a, 1.0);
        let mut product = rate.expectation.clone();
        product.push(x);
        self.add_term(&scope, -rate.coefficient, product, &[]);
        Ok(())
    }

    /// a log b − log Γ(a) − (a + 1) log x − b/x
    pub(super) fn inverse_gamma_density(
        &mut self,
        v: VariableId,
        shape: NodeId,
        scale: NodeId,
    ) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let scale = self.positive(v, "scale", scale, Power::One, &mut scope)?;
        let reciprocal = self.statistic(v, &scope, 0, Transform::Reciprocal)?;
        let log_x = self.statistic(v, &scope, 1, Transform::Log)?;
        let shape = self.shape(v, "shape", shape, &mut scope)?;
        let a = shape.value;
        self.add_term(&scope, -1.0, vec![a.clone(), log_x.clone()], &[]);
        self.add_term(&scope, -1.0, vec![log_x], &[]);
        self.add_term(&scope, -1.0, vec![shape.log_gamma], &[]);
        self.positive_logs(&scope, &scale, &[a], 1.0);
        let mut product = scale.expectation.clone();
        product.push(reciprocal);
        self.add_term(&scope, -scale.coefficient, product, &[]);
        Ok(())
    }

    /// x log λ − λ − log x!
    pub(super) fn poisson_density(&mut self, v: VariableId, rate: NodeId) -> Result<(), CaviError> {
        let mut scope = self.scope(v);
        self.presence(v, &mut scope)?;
        let rate = self.positive(v, "rate", rate, Power::One, &mut scope)?;
        let x = self.statistic(v, &scope, 0, Transform::Identity)?;
        self.positive_logs(&scope, &rate, &[x], 1.0);
        self.add_term(&scope, -rate.coefficient, rate.expectation.clone(), &[]);
        if !self.is_latent(v) {
            let factorial = self.statistic(v, &scope, 0, Transform::LogFactorial)?;
            self.add_term(&scope, -1.0, vec![factorial], &[]);
        }
        Ok(())
    }
}
