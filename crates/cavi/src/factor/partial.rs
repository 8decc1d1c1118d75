//! Variables observed in part that others read: where a value is there its statistics are those of the value, elsewhere
//! those of a distribution.

use super::Family;
use super::simplex::finite_log;
use super::update::{NaturalError, update};

/// The family of the values that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// x, log x
    Gamma,
    /// 1/x, log x
    InverseGamma,
    /// log p, log(1 − p)
    Beta,
    /// log π `[k]`
    Dirichlet(usize),
}

impl Part {
    /// The part of a family that values may be given for.
    pub(crate) fn of(family: Family) -> Option<Self> {
        match family {
            Family::Gamma => Some(Self::Gamma),
            Family::InverseGamma => Some(Self::InverseGamma),
            Family::Beta => Some(Self::Beta),
            Family::Dirichlet(k) => Some(Self::Dirichlet(k)),
            _ => None,
        }
    }

    /// The family itself.
    pub(crate) fn whole(self) -> Family {
        match self {
            Self::Gamma => Family::Gamma,
            Self::InverseGamma => Family::InverseGamma,
            Self::Beta => Family::Beta,
            Self::Dirichlet(k) => Family::Dirichlet(k),
        }
    }

    /// The statistics of a value.
    fn of_value(self, x: &[f64], statistics: &mut [&mut [f64]]) {
        match self {
            Self::Gamma => {
                statistics[0][0] = x[0];
                statistics[1][0] = finite_log(x[0]);
            }
            Self::InverseGamma => {
                statistics[0][0] = 1.0 / x[0];
                statistics[1][0] = finite_log(x[0]);
            }
            Self::Beta => {
                statistics[0][0] = finite_log(x[0]);
                statistics[1][0] = finite_log(1.0 - x[0]);
            }
            Self::Dirichlet(_) => {
                statistics[0].iter_mut().zip(x).for_each(|(s, x)| *s = finite_log(*x));
            }
        }
    }

    /// The messages of the last two statistics are the observed value (0 where it is missing) and whether it is there.
    pub(super) fn update(
        self,
        point: bool,
        natural: &[&[f64]],
        statistics: &mut [&mut [f64]],
    ) -> Result<f64, NaturalError> {
        let number = self.whole().num_statistics();
        statistics[number].fill(0.0);
        statistics[number + 1].fill(0.0);
        if natural[number + 1][0] != 0.0 {
            self.of_value(natural[number], statistics);
            return Ok(0.0);
        }
        update(self.whole(), point, &natural[..number], &mut statistics[..number])
    }
}
