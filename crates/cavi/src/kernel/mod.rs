//! Dense kernels without names: nested products over strided arrays.

pub(crate) mod nest;
