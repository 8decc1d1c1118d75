//! What every exponential family can do: natural parameters, statistics, log-partition, expectations, entropy, divergence, samples.

use crate::FamilyError;
use rand::Rng;

/// The natural parameters of a family, by the name of the family: `Natural<Gamma>`.
pub type Natural<F> = <F as ExponentialFamily>::Natural;
/// The expected sufficient statistics of a family, by the name of the family: `Expectations<Gamma>`.
pub type Expectations<F> = <F as ExponentialFamily>::Expectations;

/// A point in the space of natural parameters or of expected statistics: named fields that can be walked in one fixed order,
/// the same for a family's natural parameters and its statistics.
pub trait Coordinates: Clone {
    /// Calls `visitor` with each coordinate in order.
    fn visit(&self, visitor: &mut dyn FnMut(f64));
    /// Calls `visitor` with a reference to each coordinate in order.
    fn visit_mut(&mut self, visitor: &mut dyn FnMut(&mut f64));

    /// All coordinates in order.
    fn to_vec(&self) -> Vec<f64> {
        let mut flat = Vec::new();
        self.visit(&mut |value| flat.push(value));
        flat
    }

    /// ⟨self, other⟩ = Σᵢ selfᵢ otherᵢ; a zero in `self` silences an infinite partner. Not a number where `other` has fewer
    /// coordinates.
    fn inner_product<C: Coordinates>(&self, other: &C) -> f64 {
        let right = other.to_vec();
        let mut partners = right.iter();
        let mut sum = 0.0;
        self.visit(&mut |left| {
            let partner = partners.next().copied().unwrap_or(f64::NAN);
            if left != 0.0 || partner.is_nan() {
                sum += left * partner;
            }
        });
        sum
    }

    /// self ← self + scale · other. Not a number where `other` has fewer coordinates.
    fn add_scaled<C: Coordinates>(&mut self, scale: f64, other: &C) {
        let right = other.to_vec();
        let mut partners = right.iter();
        self.visit_mut(&mut |left| *left += scale * partners.next().copied().unwrap_or(f64::NAN));
    }
}

/// A field of [`Coordinates`]: a number or a list of numbers.
pub(crate) trait Field {
    fn visit_field(&self, visitor: &mut dyn FnMut(f64));
    fn visit_field_mut(&mut self, visitor: &mut dyn FnMut(&mut f64));
}

impl Field for f64 {
    fn visit_field(&self, visitor: &mut dyn FnMut(f64)) {
        visitor(*self);
    }
    fn visit_field_mut(&mut self, visitor: &mut dyn FnMut(&mut f64)) {
        visitor(self);
    }
}

impl Field for Vec<f64> {
    fn visit_field(&self, visitor: &mut dyn FnMut(f64)) {
        self.iter().for_each(|value| visitor(*value));
    }
    fn visit_field_mut(&mut self, visitor: &mut dyn FnMut(&mut f64)) {
        self.iter_mut().for_each(visitor);
    }
}

/// Implements [`Coordinates`] for a struct by the names of its coordinate fields, in order.
macro_rules! coordinates {
    ($name:ty: $($field:ident),+) => {
        impl $crate::family::Coordinates for $name {
            fn visit(&self, visitor: &mut dyn FnMut(f64)) {
                $( $crate::family::Field::visit_field(&self.$field, visitor); )+
            }
            fn visit_mut(&mut self, visitor: &mut dyn FnMut(&mut f64)) {
                $( $crate::family::Field::visit_field_mut(&mut self.$field, visitor); )+
            }
        }
    };
}
pub(crate) use coordinates;

/// A member of an exponential family, p(x) = h(x) exp(⟨η, T(x)⟩ − A(η)) (Wainwright & Jordan 2008, §3.1).
pub trait ExponentialFamily: Clone + Sized {
    /// The family's name in the model language.
    const NAME: &'static str;
    /// The type of x.
    type Value;
    /// The type of η.
    type Natural: Coordinates;
    /// The type of T(x) and of E[T(x)], in the order of η.
    type Expectations: Coordinates;

    /// η of this member.
    fn to_natural(&self) -> Self::Natural;

    /// The member with natural parameters η.
    ///
    /// # Errors
    /// Where η lies outside the family's natural parameter space.
    fn from_natural(natural: &Self::Natural) -> Result<Self, FamilyError>;

    /// The member with the given E[T(x)], the inverse of [`Self::expectations`].
    ///
    /// # Errors
    /// Where no member has these expectations.
    fn from_expectations(expectations: &Self::Expectations) -> Result<Self, FamilyError>;

    /// T(x).
    fn sufficient_statistics(&self, value: &Self::Value) -> Self::Expectations;

    /// log h(x).
    fn log_base_measure(&self, value: &Self::Value) -> f64;

    /// E[log h(x)].
    fn expected_log_base_measure(&self) -> f64;

    /// A(η).
    fn log_partition(&self) -> f64;

    /// A(η) of any natural parameters, also of those that are the same member's in an overcomplete family.
    ///
    /// # Errors
    /// Where η lies outside the family's natural parameter space.
    fn log_partition_at(natural: &Self::Natural) -> Result<f64, FamilyError> {
        Ok(Self::from_natural(natural)?.log_partition())
    }

    /// E[T(x)] = ∇A(η).
    fn expectations(&self) -> Self::Expectations;

    /// −E[log p(x)], in nats.
    fn entropy(&self) -> f64;

    /// KL(self ‖ other) = E[log p(x) − log p_other(x)], in nats.
    fn kl(&self, other: &Self) -> f64;

    /// One draw.
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> Self::Value;

    /// log p(x) = log h(x) + ⟨η, T(x)⟩ − A(η).
    fn log_density(&self, value: &Self::Value) -> f64 {
        self.log_base_measure(value) + self.to_natural().inner_product(&self.sufficient_statistics(value))
            - self.log_partition()
    }
}

/// The root t of an increasing function on (lower, ∞), given with its derivative, by Newton's method in log(t − lower) kept
/// inside a shrinking bracket; `None` where the function has no root that can be represented.
pub(crate) fn increasing_root(lower: f64, start: f64, function: impl Fn(f64) -> (f64, f64)) -> Option<f64> {
    let mut bracket = (f64::NEG_INFINITY, f64::INFINITY);
    let mut log_offset = (start - lower).max(1e-300).ln();
    for _ in 0..400 {
        let offset = log_offset.exp();
        let (value, derivative) = function(lower + offset);
        if value == 0.0 {
            return Some(lower + offset);
        }
        if value.is_nan() {
            return None;
        }
        if value < 0.0 {
            bracket.0 = log_offset;
        } else {
            bracket.1 = log_offset;
        }
        let step = (-value / (derivative * offset)).clamp(-3.0, 3.0);
        let resolution = 4.0 * f64::EPSILON * (1.0 + log_offset.abs());
        if step.abs() <= resolution || bracket.1 - bracket.0 <= resolution {
            return Some(lower + offset);
        }
        let mut next = log_offset + step;
        // A step leads away from the end just set, so that an end it passes is finite and so is the middle.
        if next <= bracket.0 || next >= bracket.1 {
            next = 0.5 * (bracket.0 + bracket.1);
        }
        if !(-690.0..=690.0).contains(&next) {
            return None;
        }
        log_offset = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirichlet::DirichletNatural;

    #[test]
    fn coordinates_are_walked_in_order_and_mismatches_are_not_hidden() {
        let mut point = DirichletNatural { log: vec![1.0, 0.0, 2.0] };
        let other = DirichletNatural { log: vec![3.0, f64::NEG_INFINITY, 0.5] };
        assert_eq!(point.inner_product(&other), 4.0);
        point.add_scaled(2.0, &DirichletNatural { log: vec![1.0, 1.0, 1.0] });
        assert_eq!(point.to_vec(), vec![3.0, 2.0, 4.0]);
        assert!(point.inner_product(&DirichletNatural { log: vec![1.0] }).is_nan());
    }

    #[test]
    fn roots_are_found_over_many_magnitudes() {
        for target in [1e-6f64, 0.3, 5.0, 1e8] {
            let root = increasing_root(2.0, 3.0, |t| ((t - 2.0).ln() - target.ln(), 1.0 / (t - 2.0)));
            assert!((root.unwrap() - 2.0 - target).abs() < 1e-9 * target.max(1e-5));
        }
        assert_eq!(increasing_root(0.0, 1.0, |t| (-1.0 / (1.0 + t), (1.0 + t).powi(-2))), None);
    }
}
