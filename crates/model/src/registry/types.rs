//! The shapes of the registry's entries.

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// Text from a fixed list.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// An integer, at least the given one.
    Integer(i64),
    /// A finite number greater than 0.
    PositiveNumber,
    /// A finite number, 0 or greater.
    NonNegativeNumber,
    /// A number from 0 to 1, both included.
    UnitNumber,
    /// An array of strings.
    Texts,
    /// An array of positive integers.
    PositiveIntegers,
    /// An array of arrays of strings.
    TextLists,
    /// A number, an array of numbers, or an expression in a string.
    Parameter,
    /// A number or an array of numbers, or the name of a constant.
    Numbers,
    /// The name of a column.
    Column,
    /// An integer, or the name of a plate or block.
    Axis,
    /// A column, a block, a list of columns, or an expression of data only.
    Observed,
    /// A table whose keys are names chosen by the user.
    Names,
}

/// A key with what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As written in the model file.
    pub name: &'static str,
    /// What its value may be.
    pub kind: KeyKind,
    /// One sentence.
    pub summary: &'static str,
}

/// A section with fixed keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// As written: `data`, `inference`, `networks.NAME`, …
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Where the values of a parameter must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Finite numbers.
    Real,
    /// Numbers greater than 0; as a matrix, a symmetric positive definite one.
    Positive,
    /// A symmetric positive definite matrix.
    PositiveDefinite,
    /// Numbers from 0 to 1.
    Unit,
    /// Numbers, 0 or greater, that sum to 1 along the last axis.
    Simplex,
    /// Whole numbers, 0 or greater.
    Count,
    /// Numbers greater than (dimension − 1).
    DegreesOfFreedom,
    /// No numbers: a name.
    Name,
}

/// A parameter of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// The key.
    pub name: &'static str,
    /// Where its values must lie.
    pub domain: Domain,
    /// One sentence.
    pub summary: &'static str,
}

/// Whether a distribution has the key `dimension`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DimensionRule {
    /// Its value is a number.
    Never,
    /// A number without, a vector with it.
    Optional,
    /// Its value is a vector or matrix.
    Required,
    /// It names the axis that an index ranges over, where the probabilities do not tell.
    Range,
}

/// The values that a variable can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Support {
    Real,
    Positive,
    Unit,
    Interval,
    Simplex,
    PositiveDefinite,
    Binary,
    Count,
    Index,
    Counts,
    Pair,
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DistributionEntry {
    /// As written in `distribution = "…"`.
    pub name: &'static str,
    /// What a draw is, in words.
    pub value: &'static str,
    /// Where its values lie.
    pub support: Support,
    /// All its parameters.
    pub parameters: &'static [Parameter],
    /// Its parametrisations; each is a list of groups, of which exactly one parameter each is written.
    pub forms: &'static [&'static [&'static [&'static str]]],
    /// Parameters that may be left out.
    pub optional: &'static [&'static str],
    /// Whether it takes `dimension`.
    pub dimension: DimensionRule,
    /// Whether it takes `lower` and `upper` as truncation.
    pub truncatable: bool,
    /// Whether only `sgvi` treats it.
    pub sgvi_only: bool,
}

pub(super) const fn key(name: &'static str, kind: KeyKind, summary: &'static str) -> Key {
    Key { name, kind, summary }
}

pub(super) const fn parameter(name: &'static str, domain: Domain, summary: &'static str) -> Parameter {
    Parameter { name, domain, summary }
}
