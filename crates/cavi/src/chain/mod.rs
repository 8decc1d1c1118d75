//! Exact joint factors over the states of one or many sequences, given messages from single rows.
//!
//! [`discrete`] is the forward–backward recursion of a hidden Markov model, [`gaussian`] the smoother of a linear
//! Gaussian state space model in information form. Both know nothing of graphs and plates: they take the expected
//! natural parameters of the chain and one message a row, and return unary and pairwise expectations with the logarithm
//! of the normaliser. Sequences are given by the indices of their first rows.

pub(crate) mod discrete;
mod discrete_kernels;
mod discrete_log;
#[cfg(test)]
mod discrete_tests;
pub(crate) mod gaussian;
mod gaussian_end;
mod gaussian_kernels;
pub(crate) mod gaussian_shared;
#[cfg(test)]
mod gaussian_tests;
mod lanes;
pub(crate) mod steps;
mod sum;

use thiserror::Error;

/// Why a chain has no posterior, or was asked for wrongly.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum ChainError {
    /// An array does not have the length that the number of rows and states implies.
    #[error("the array `{array}` of a chain holds {found} numbers where {expected} are needed")]
    Shape {
        /// Name of the argument.
        array: &'static str,
        /// Length that it must have.
        expected: usize,
        /// Length that it has.
        found: usize,
    },
    /// The first rows of the sequences do not rise from 0.
    #[error(
        "entry {position} of the first rows of the sequences is {found}, but they must begin with 0, rise strictly and \
         stay below the number of rows, {num_rows}"
    )]
    Starts {
        /// Index into the list of first rows.
        position: usize,
        /// The row found there.
        found: usize,
        /// Number of rows of the chain.
        num_rows: usize,
    },
    /// A message to a row is NaN or +∞.
    #[error("the message to the chain at row {row} is not a number: an earlier update has diverged")]
    NotFinite {
        /// Row of the chain, from 0.
        row: usize,
    },
    /// A parameter of the chain is NaN or +∞.
    #[error("the expected parameters `{array}` of the chain are not numbers: an earlier update has diverged")]
    ParametersNotFinite {
        /// Name of the argument.
        array: &'static str,
    },
    /// No path through the states has positive probability.
    #[error(
        "no state of the chain is possible at row {row}: the observations up to there have probability zero under every \
         path; allow more transitions or initial states, or check that row"
    )]
    Impossible {
        /// First row at which no state can be reached, from 0.
        row: usize,
    },
    /// The precision of the joint normal is not positive definite.
    #[error(
        "the joint precision of the chain is not positive definite at row {row}: give the innovations and the initial \
         state positive precisions"
    )]
    NotPositiveDefinite {
        /// Row whose pivot failed, from 0.
        row: usize,
    },
}

/// Checks that an argument has the length that the shape of the chain implies.
fn check_length(array: &'static str, found: usize, expected: usize) -> Result<(), ChainError> {
    if found == expected { Ok(()) } else { Err(ChainError::Shape { array, expected, found }) }
}

/// Checks that the first rows of the sequences begin with 0, rise strictly and stay below `num_rows`.
fn check_starts(starts: &[usize], num_rows: usize) -> Result<(), ChainError> {
    if starts.is_empty() && num_rows > 0 {
        return Err(ChainError::Shape { array: "starts", expected: 1, found: 0 });
    }
    for (position, &found) in starts.iter().enumerate() {
        let rises = if position == 0 { found == 0 } else { found > starts[position - 1] };
        if !rises || found >= num_rows {
            return Err(ChainError::Starts { position, found, num_rows });
        }
    }
    Ok(())
}

/// Consecutive sequences that one task works through; groups depend on the data alone, never on the number of threads.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    /// Rows of the group.
    rows: std::ops::Range<usize>,
    /// Its sequences, as positions in the list of first rows.
    sequences: std::ops::Range<usize>,
}

/// Cuts the sequences into groups of at least `min_rows` rows (but for the last).
fn group_sequences(starts: &[usize], num_rows: usize, min_rows: usize, groups: &mut Vec<Group>) {
    groups.clear();
    let mut first = 0;
    for position in 0..starts.len() {
        let end = starts.get(position + 1).copied().unwrap_or(num_rows);
        if end - starts[first] >= min_rows || position + 1 == starts.len() {
            groups.push(Group { rows: starts[first]..end, sequences: first..position + 1 });
            first = position + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_must_rise_from_zero() {
        assert!(check_starts(&[0, 3, 4], 6).is_ok());
        assert!(check_starts(&[], 0).is_ok());
        assert!(matches!(check_starts(&[1], 6), Err(ChainError::Starts { position: 0, found: 1, num_rows: 6 })));
        assert!(matches!(check_starts(&[0, 2, 2], 6), Err(ChainError::Starts { position: 2, .. })));
        assert!(matches!(check_starts(&[0, 6], 6), Err(ChainError::Starts { position: 1, .. })));
        assert!(matches!(check_starts(&[], 2), Err(ChainError::Shape { .. })));
    }

    #[test]
    fn groups_cover_every_sequence_once() {
        let mut groups = Vec::new();
        group_sequences(&[0, 2, 5, 11, 12], 14, 5, &mut groups);
        let expected = [(0..5, 0..2), (5..11, 2..3), (11..14, 3..5)].map(|(rows, sequences)| Group { rows, sequences });
        assert_eq!(groups, expected);
    }
}
