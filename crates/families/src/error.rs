//! The errors of this crate: what was wrong with which parameter of which family, and what is allowed instead.

use thiserror::Error;

/// Everything that can be refused when a distribution is built, inverted or asked for its mode.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FamilyError {
    /// A parameter is outside the range in which the distribution is defined.
    #[error("{family}: {parameter} is {value}, but it must be {expected}")]
    OutOfRange {
        /// The family's name in the model language.
        family: &'static str,
        /// The parameter's name in the model language.
        parameter: &'static str,
        /// The value found.
        value: f64,
        /// The range in words, such as `positive and finite`.
        expected: &'static str,
    },
    /// A vector or matrix does not have the number of elements that the family's dimension asks for.
    #[error("{family}: {parameter} has {found} elements, but {expected} are needed")]
    LengthMismatch {
        /// The family's name in the model language.
        family: &'static str,
        /// The parameter's name in the model language.
        parameter: &'static str,
        /// The number of elements needed.
        expected: usize,
        /// The number of elements found.
        found: usize,
    },
    /// A matrix that must be symmetric positive definite is not.
    #[error(
        "{family}: {parameter} ({dimension} by {dimension}) is not positive definite: its Cholesky factorisation fails at row {row} (counted from 0); \
         all eigenvalues must be positive"
    )]
    NotPositiveDefinite {
        /// The family's name in the model language.
        family: &'static str,
        /// The parameter's name in the model language.
        parameter: &'static str,
        /// The number of rows of the matrix.
        dimension: usize,
        /// The row, counted from 0, whose pivot is not positive.
        row: usize,
    },
    /// A matrix that must be symmetric is not.
    #[error(
        "{family}: {parameter} is not symmetric: the element in row {row}, column {column} (counted from 0) is {value}, its mirror image {mirrored}; \
         write the same number twice"
    )]
    NotSymmetric {
        /// The family's name in the model language.
        family: &'static str,
        /// The parameter's name in the model language.
        parameter: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// The column, counted from 0.
        column: usize,
        /// The element there.
        value: f64,
        /// The element with row and column exchanged.
        mirrored: f64,
    },
    /// The density has no maximum inside its support, so there is no point estimate.
    #[error("{family}: there is no mode inside the support; {condition}")]
    NoMode {
        /// The family's name in the model language.
        family: &'static str,
        /// When there is a mode, in words.
        condition: &'static str,
    },
    /// No member of the family has the expected statistics asked for.
    #[error("{family}: no distribution has these expected statistics; {condition}")]
    NotAttainable {
        /// The family's name in the model language.
        family: &'static str,
        /// What the expected statistics must satisfy, in words.
        condition: &'static str,
    },
    /// A moment asked for is not finite.
    #[error("{family}: the {moment} is infinite; {condition}")]
    InfiniteMoment {
        /// The family's name in the model language.
        family: &'static str,
        /// The moment's name.
        moment: &'static str,
        /// When it is finite, in words.
        condition: &'static str,
    },
}

/// Refuses a parameter that is not positive and finite.
pub(crate) fn check_positive(family: &'static str, parameter: &'static str, value: f64) -> Result<(), FamilyError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(FamilyError::OutOfRange { family, parameter, value, expected: "positive and finite" })
    }
}

/// Refuses a parameter that is not finite.
pub(crate) fn check_finite(family: &'static str, parameter: &'static str, value: f64) -> Result<(), FamilyError> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(FamilyError::OutOfRange { family, parameter, value, expected: "finite" })
    }
}

/// Refuses a parameter that is not a probability in [0, 1].
pub(crate) fn check_probability(family: &'static str, parameter: &'static str, value: f64) -> Result<(), FamilyError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(FamilyError::OutOfRange { family, parameter, value, expected: "between 0 and 1" })
    }
}

/// Refuses a slice whose length is not `expected`.
pub(crate) fn check_length(
    family: &'static str,
    parameter: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), FamilyError> {
    if found == expected { Ok(()) } else { Err(FamilyError::LengthMismatch { family, parameter, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_family_parameter_value_and_range() {
        let error = check_positive("gamma", "shape", -1.5).unwrap_err();
        assert_eq!(error.to_string(), "gamma: shape is -1.5, but it must be positive and finite");
        assert!(check_positive("gamma", "shape", f64::NAN).is_err());
        assert!(check_probability("bernoulli", "probability", 1.0 + 1e-9).is_err());
        assert!(check_finite("normal", "mean", f64::INFINITY).is_err());
        let error = check_length("dirichlet", "concentration", 2, 3).unwrap_err();
        assert_eq!(error.to_string(), "dirichlet: concentration has 2 elements, but 3 are needed");
    }
}
