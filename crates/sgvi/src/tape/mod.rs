//! The compiled log joint: a list of vectorised operations with preallocated buffers and one reverse sweep over it.
//!
//! A [`Program`] is made once from the graph. Every buffer holds, for a block of draws and a chunk of rows, an array
//! `[draws, rows?, …]` whose axes are named by labels; data arrays have no draws axis. An [`Operation`] reads its
//! operands' values and writes its own in `forward`, and in `backward` turns the adjoint of its value into additions to
//! its operands' adjoints. Nothing is allocated during a sweep.
//!
//! Networks plug in through ports: buffers over the rows that layers (in 32-bit numbers, with fused kernels for the usual
//! likelihoods) fill before the operations with rows run, and whose adjoints go back to them afterwards. Rows then come in
//! any order, their data gathered in [`Frame::gathered`].

mod affine;
mod chain;
mod contraction;
mod density;
mod density_sum;
mod elementwise;
mod evaluator;
mod gather;
mod gaussian_rows;
mod joint_sum;
mod marginal;
mod matrices;
mod matrix;
mod nest;
mod program;
mod reduce;
mod shape;
mod transform;

pub(crate) use affine::{Affine, Coefficients, Design, LookUp, SquaredResiduals};
pub(crate) use chain::{ForwardRecursion, Lag};
pub(crate) use contraction::Dot;
pub(crate) use density::ScalarDensity;
pub(crate) use density_sum::DensitySum;
pub(crate) use elementwise::{Binary, Unary, UnaryFunction};
pub(crate) use evaluator::{Evaluation, Evaluator};
pub(crate) use gather::{FillMissing, Gather, Select};
pub(crate) use gaussian_rows::GaussianRows;
pub(crate) use joint_sum::JointSum;
pub(crate) use marginal::MarginalNormal;
pub(crate) use matrix::{Inverse, LogDeterminant, QuadraticForm};
pub(crate) use nest::Nest;
pub(crate) use program::{DataArray, Frame, Operation, Program};
pub(crate) use reduce::{Accumulate, LogSumExp, ScatterSum, SumTo};
pub(crate) use shape::{Label, Shape, Source, Value};
pub(crate) use transform::{
    Coordinates, MAX_MATRIX, Ordered, PositiveDefinite, ScalarTransform, ScalarTransformKind, Simplex,
};
