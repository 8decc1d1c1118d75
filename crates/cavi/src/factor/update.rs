//! One element's update: natural parameters in, expected statistics and entropy out.

use super::{Family, bound, gaussian, scalar, shape, simplex};

/// Natural parameters that no distribution of the family has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NaturalError(pub(crate) String);

impl NaturalError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Expected statistics and entropy of one element from its natural parameters.
///
/// `natural[s]` and `statistics[s]` hold one element's values of statistic `s`. A `point` gives the statistics of the
/// mode, and no entropy. Chains are joint over the rows and not updated here.
pub(crate) fn update(
    family: Family,
    point: bool,
    natural: &[&[f64]],
    statistics: &mut [&mut [f64]],
) -> Result<f64, NaturalError> {
    match family {
        Family::Normal => scalar::update_normal(point, natural, statistics),
        Family::NormalVector(d) => gaussian::update_vector(d, point, natural, statistics),
        Family::Gamma => scalar::update_gamma(point, natural, statistics),
        Family::InverseGamma => scalar::update_inverse_gamma(point, natural, statistics),
        Family::Wishart(d) => gaussian::update_wishart(d, point, natural, statistics),
        Family::NormalGamma => gaussian::update_normal_gamma(point, natural, statistics),
        Family::NormalGammaVector(d) => gaussian::update_normal_gamma_vector(d, point, natural, statistics),
        Family::NormalWishart(d) => gaussian::update_normal_wishart(d, point, natural, statistics),
        Family::Beta => scalar::update_beta(point, natural, statistics),
        Family::Dirichlet(_) => simplex::update_dirichlet(point, natural[0], statistics[0]),
        Family::StickBreaking(_) => simplex::update_sticks(point, natural, statistics),
        Family::Categorical(_) => simplex::update_categorical(point, natural[0], statistics[0]),
        Family::Bernoulli => scalar::update_bernoulli(point, natural[0][0], statistics),
        Family::Poisson => scalar::update_poisson(natural[0][0], statistics),
        Family::TruncatedNormal => gaussian::update_truncated(natural, statistics),
        Family::PartialNormal(d) => gaussian::update_partial(d, natural, statistics),
        Family::Shape => shape::update_shape(natural, statistics),
        Family::LogGammaTangent => shape::update_tangent(natural, statistics),
        Family::Partial(part) => part.update(point, natural, statistics),
        Family::JaakkolaJordan => bound::update_jaakkola_jordan(natural, statistics),
        Family::LaplaceScale => bound::update_laplace_scale(natural, statistics),
        Family::MarkovChain(_) | Family::GaussianMarkovChain(_) | Family::MarkovSteps(_) | Family::GaussianSteps(_) => {
            Err(NaturalError::new("a chain has no update of single elements"))
        }
    }
}

/// Refuses a parameter that is not positive and finite.
pub(super) fn positive(name: &str, value: f64) -> Result<(), NaturalError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(NaturalError::new(format!("{name} {value} where a positive number is needed")))
    }
}
