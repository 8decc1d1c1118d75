//! Dense kernels without names: nested products over strided arrays, and matrix products.

pub(crate) mod matrix;
pub(crate) mod nest;
