//! Conjugate gradients for I − HV (Hestenes & Stiefel 1952) in the inner product aᵀVb, with a space in which it is solved already
//! (Saad, Yeung, Erhel & Guyomarc'h 2000).

use vi_families::matrix::dot;

use super::operator::Response;
use super::space::{ROUNDING, SOLVED, Space};
use super::{Found, Halt};
use crate::engine::Engine;

/// Products with H at most for one right-hand side.
const MOST_PRODUCTS: usize = 1000;

impl Response {
    /// The variance of one coordinate.
    pub(super) fn variance(&self, at: usize, space: &Space, work: &mut Engine) -> Result<Found, Halt> {
        let unit = self.unit(at);
        let (answer, solved) = match self.conjugate_gradients(&unit, space, work)? {
            Some(answer) => answer,
            None => return Ok(Found::NoMaximum),
        };
        Ok(if solved { Found::Variance(self.covariance_times(&answer)?[at]) } else { Found::Unsolved })
    }

    /// w of (I − HV) w = e; `None` where the operator is not positive.
    pub(super) fn solve(&self, right: &[f64], space: &Space, work: &mut Engine) -> Result<Option<Vec<f64>>, Halt> {
        Ok(self.conjugate_gradients(right, space, work)?.map(|(answer, _)| answer))
    }

    /// The answer, and whether its residual is as small as it should be.
    fn conjugate_gradients(
        &self,
        right: &[f64],
        space: &Space,
        work: &mut Engine,
    ) -> Result<Option<(Vec<f64>, bool)>, Halt> {
        let mut residual = right.to_vec();
        let whole = dot(right, &self.covariance_times(right)?);
        if space.flat_share(&residual) > ROUNDING * whole.sqrt() {
            return Ok(None);
        }
        space.without_flat(&mut residual);
        let mut answer = space.answer(&mut residual);
        let mut turned = self.covariance_times(&residual)?;
        let mut size = dot(&residual, &turned);
        // Along p, with q = Vp.
        let (mut p, mut q) = (vec![0.0; right.len()], vec![0.0; right.len()]);
        let mut ratio = 0.0;
        for _ in 0..MOST_PRODUCTS {
            if size.is_nan() {
                return Ok(None);
            }
            if size <= SOLVED * SOLVED * whole {
                return Ok(Some((answer, true)));
            }
            p.iter_mut().zip(&residual).for_each(|(p, r)| *p = r + ratio * *p);
            q.iter_mut().zip(&turned).for_each(|(q, t)| *q = t + ratio * *q);
            space.conjugate(&mut p, &mut q, &turned);
            let image = self.image(&p, &q, work)?;
            let bend = dot(&q, &image);
            if bend.is_nan() || bend <= 0.0 {
                return Ok(None);
            }
            let step = size / bend;
            answer.iter_mut().zip(&p).for_each(|(a, p)| *a += step * p);
            residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
            space.without_flat(&mut residual);
            turned = self.covariance_times(&residual)?;
            let next = dot(&residual, &turned);
            ratio = next / size;
            size = next;
        }
        Ok(Some((answer, false)))
    }
}
