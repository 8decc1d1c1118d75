//! Contractions as matrix products: which axes are a matrix's rows and columns, and which are looped over.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::shape::{Label, Shape, Value};

/// Rows and columns from which on a matrix product is less work than loops.
const LEAST: usize = 4;
/// Multiplications from which on it is.
const LEAST_WORK: usize = 256;
const MAX_LOOPS: usize = 10;

/// One of the two operands of a contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// a.
    Left,
    /// b.
    Right,
}

/// c\[i, j\] = Σₖ a\[i, k\] b\[k, j\] for every step of some loops.
#[derive(Debug)]
pub(super) struct Matrices {
    output: Layout,
    left: Layout,
    right: Layout,
    loops: [Axis; MAX_LOOPS],
    num_loops: usize,
    base: [usize; 3],
}

/// Size of an axis, and its strides in c, a and b (0 where an array lacks it).
#[derive(Debug, Clone, Copy, Default)]
struct Axis {
    size: usize,
    strides: [usize; 3],
}

/// A matrix in memory: one of its strides is 1.
#[derive(Debug, Clone, Copy)]
struct Layout {
    rows: usize,
    columns: usize,
    /// The stride that is not 1.
    stride: usize,
    is_row_major: bool,
}

impl Layout {
    fn new(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Option<Self> {
        let is_row_major = column_stride == 1 && row_stride >= columns;
        let is_column_major = row_stride == 1 && column_stride >= rows;
        let stride = if is_row_major { row_stride } else { column_stride };
        (is_row_major || is_column_major).then_some(Self { rows, columns, stride, is_row_major })
    }

    /// Numbers from the first to the last.
    fn length(&self) -> usize {
        let (outer, inner) = if self.is_row_major { (self.rows, self.columns) } else { (self.columns, self.rows) };
        (outer - 1) * self.stride + inner
    }

    fn read(self, numbers: &[f64], offset: usize) -> MatRef<'_, f64> {
        let numbers = &numbers[offset..offset + self.length()];
        if self.is_row_major {
            MatRef::from_column_major_slice_with_stride(numbers, self.columns, self.rows, self.stride).transpose()
        } else {
            MatRef::from_column_major_slice_with_stride(numbers, self.rows, self.columns, self.stride)
        }
    }

    fn write(self, numbers: &mut [f64], offset: usize) -> MatMut<'_, f64> {
        let numbers = &mut numbers[offset..offset + self.length()];
        if self.is_row_major {
            MatMut::from_column_major_slice_with_stride_mut(numbers, self.columns, self.rows, self.stride)
                .transpose_mut()
        } else {
            MatMut::from_column_major_slice_with_stride_mut(numbers, self.rows, self.columns, self.stride)
        }
    }
}

impl Matrices {
    /// The products of a contraction of `values` (c, a, b), where their axes allow it and they are worth it.
    pub(super) fn of(
        values: [&Value; 3],
        contracted: (Label, usize),
        draws: usize,
        start: usize,
        rows: usize,
    ) -> Option<Self> {
        let [output, left, right] = values;
        let step = |f: &dyn Fn(&Shape) -> usize| [f(&output.shape), f(&left.shape), f(&right.shape)];
        let mut axes = [Axis::default(); MAX_LOOPS];
        let mut count = 0;
        let mut push = |size: usize, strides: [usize; 3]| {
            if size == 1 || size == 0 {
                return size == 1;
            }
            if let Some(last) = axes[..count].last_mut()
                && (0..3).all(|m| last.strides[m] == size * strides[m])
            {
                *last = Axis { size: last.size * size, strides };
                return true;
            }
            if count == MAX_LOOPS {
                return false;
            }
            axes[count] = Axis { size, strides };
            count += 1;
            true
        };
        let of_draws = values.map(|v| if v.is_data() { 0 } else { v.shape.elements(rows) });
        let mut fits = push(draws, of_draws);
        if output.shape.rows {
            fits &= push(rows, step(&Shape::row_stride));
        }
        for &(label, size) in &output.shape.axes {
            fits &= push(size, step(&|s| s.stride(label)));
        }
        let alone = |has: usize, lacks: usize| {
            (0..count).filter(move |a| axes[*a].strides[has] > 0 && axes[*a].strides[lacks] == 0)
        };
        let (k, along) = (contracted.1, step(&|s| s.stride(contracted.0)));
        let layouts = |i: usize, j: usize| {
            let (m, n) = (axes[i], axes[j]);
            Some([
                Layout::new(m.size, n.size, m.strides[0], n.strides[0])?,
                Layout::new(m.size, k, m.strides[1], along[1])?,
                Layout::new(k, n.size, along[2], n.strides[2])?,
            ])
        };
        let pairs = alone(1, 2).flat_map(|i| alone(2, 1).map(move |j| (i, j)));
        let possible = pairs.filter_map(|(i, j)| layouts(i, j).map(|l| (i, j, l)));
        let (i, j, [output, left, right]) = possible.max_by_key(|(i, j, _)| axes[*i].size * axes[*j].size)?;
        let (m, n) = (axes[i].size, axes[j].size);
        if !fits || m < LEAST || n < LEAST || m * n * k < LEAST_WORK {
            return None;
        }
        let mut loops = [Axis::default(); MAX_LOOPS];
        let mut num_loops = 0;
        for a in (0..count).filter(|a| *a != i && *a != j) {
            loops[num_loops] = axes[a];
            num_loops += 1;
        }
        let base = values.map(|v| if v.is_data() { start * v.shape.row_stride() } else { 0 });
        Some(Self { output, left, right, loops, num_loops, base })
    }

    /// c = a b.
    pub(super) fn output(&self, c: &mut [f64], a: &[f64], b: &[f64]) {
        self.each(|[oc, oa, ob]| {
            let (left, right) = (self.left.read(a, oa), self.right.read(b, ob));
            matmul(self.output.write(c, oc), Accum::Replace, left, right, 1.0, Par::Seq);
        });
    }

    /// Adds to an operand's adjoint, given that of c and the other operand: g bᵀ, or aᵀ g.
    pub(super) fn adjoint(&self, of: Operand, adjoint: &mut [f64], g: &[f64], other: &[f64]) {
        self.each(|[oc, oa, ob]| {
            let g = self.output.read(g, oc);
            let (to, from, into) = match of {
                Operand::Left => (self.left.write(adjoint, oa), g, self.right.read(other, ob).transpose()),
                Operand::Right => (self.right.write(adjoint, ob), self.left.read(other, oa).transpose(), g),
            };
            matmul(to, Accum::Add, from, into, 1.0, Par::Seq);
        });
    }

    /// Calls `body` with the offsets of c, a and b at every step of the loops.
    fn each(&self, mut body: impl FnMut([usize; 3])) {
        let loops = &self.loops[..self.num_loops];
        let steps: usize = loops.iter().map(|l| l.size).product();
        for step in 0..steps {
            let (mut rest, mut offsets) = (step, self.base);
            for axis in loops.iter().rev() {
                let index = rest % axis.size;
                rest /= axis.size;
                (0..3).for_each(|m| offsets[m] += index * axis.strides[m]);
            }
            body(offsets);
        }
    }
}
