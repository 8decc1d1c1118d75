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

pub use affine::{Affine, Coefficients, Design, LookUp, SquaredResiduals};
pub use chain::{ForwardRecursion, Lag};
pub use contraction::Dot;
pub use density::ScalarDensity;
pub use density_sum::DensitySum;
pub use elementwise::{Binary, Unary, UnaryFunction};
pub use evaluator::{Evaluation, Evaluator};
pub use gather::{FillMissing, Gather, Select};
pub use gaussian_rows::GaussianRows;
pub use joint_sum::JointSum;
pub use marginal::MarginalNormal;
pub use matrix::{Inverse, LogDeterminant, QuadraticForm};
pub use nest::Nest;
pub use program::{DataArray, Frame, Operation, Program};
pub use reduce::{Accumulate, LogSumExp, ScatterSum, SumTo};
pub use shape::{Label, Shape, Source, Value};
pub use transform::{
    Coordinates, MAX_MATRIX, Ordered, PositiveDefinite, ScalarTransform, ScalarTransformKind, Simplex,
};
