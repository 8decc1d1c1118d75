//! What can be wrong with a model; one file per kind of mistake.

pub(crate) mod distribution;
pub(crate) mod keys;
pub(crate) mod kinds;
pub(crate) mod parents;
pub(crate) mod values;
