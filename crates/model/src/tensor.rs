//! Dense arrays with named axes: strides by axis name, transposition and broadcasting.

use crate::graph::{AxisId, Tensor};

impl Tensor {
    /// An array without axes.
    pub fn scalar(value: f64) -> Self {
        Self { axes: Vec::new(), shape: Vec::new(), values: vec![value] }
    }

    /// Elements between neighbours along each axis, row-major.
    pub fn strides(&self) -> Vec<usize> {
        row_major_strides(&self.shape)
    }

    /// Elements between neighbours along each of `axes`, 0 where this array lacks the axis (it is broadcast there); `None`
    /// where `axes` lacks one of this array's. Of an axis that stands twice the last occurrences belong together.
    pub fn strides_along(&self, axes: &[AxisId]) -> Option<Vec<usize>> {
        aligned_strides(&self.axes, &self.strides(), axes)
    }

    /// The same values with the axes in another order; `None` where `axes` are not the same ones.
    pub fn transpose_to(&self, axes: &[AxisId]) -> Option<Self> {
        if axes.len() != self.axes.len() {
            return None;
        }
        let strides = self.strides_along(axes)?;
        let own = self.strides();
        let shape = strides
            .iter()
            .zip(axes)
            .map(|(stride, axis)| {
                (0..own.len()).rev().find(|i| own[*i] == *stride && self.axes[*i] == *axis).map(|i| self.shape[i])
            })
            .collect::<Option<Vec<usize>>>()?;
        self.broadcast_to(axes, &shape)
    }

    /// The values repeated along the axes that this array lacks; `None` where `axes` lacks one of its own or a length differs.
    pub fn broadcast_to(&self, axes: &[AxisId], shape: &[usize]) -> Option<Self> {
        if axes.len() != shape.len() {
            return None;
        }
        let strides = self.strides_along(axes)?;
        let lengths = aligned_strides(&self.axes, &self.shape, axes)?;
        if lengths.iter().zip(shape).any(|(own, new)| *own != 0 && own != new) {
            return None;
        }
        let mut values = Vec::with_capacity(shape.iter().product());
        walk(shape, [&strides], |[start], length, [stride]| {
            if stride == 1 {
                values.extend_from_slice(&self.values[start..start + length]);
            } else {
                values.extend((0..length).map(|i| self.values[start + i * stride]));
            }
        });
        Some(Self { axes: axes.to_vec(), shape: shape.to_vec(), values })
    }
}

/// Elements between neighbours along each axis of a dense row-major array.
pub fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// A property of `own` axes (stride, length) for each of the `target` axes, 0 where it has no counterpart; `None` where an
/// own axis is not among the targets. Occurrences of one name are paired from the last on.
pub(crate) fn aligned_strides(own: &[AxisId], properties: &[usize], target: &[AxisId]) -> Option<Vec<usize>> {
    let mut aligned = vec![0; target.len()];
    let mut taken = vec![false; target.len()];
    for (axis, property) in own.iter().zip(properties).rev() {
        let at = (0..target.len()).rev().find(|i| !taken[*i] && target[*i] == *axis)?;
        taken[at] = true;
        aligned[at] = *property;
    }
    Some(aligned)
}

/// Visits an array of `shape` in row-major order as runs along its innermost axis; axes that are contiguous for every
/// operand are walked as one. `visit` gets each operand's first offset, the length of the run and each operand's stride.
pub(crate) fn walk<const N: usize>(
    shape: &[usize],
    strides: [&[usize]; N],
    mut visit: impl FnMut([usize; N], usize, [usize; N]),
) {
    if shape.contains(&0) {
        return;
    }
    // Merge axes from the innermost outwards.
    let mut merged: Vec<(usize, [usize; N])> = Vec::with_capacity(shape.len());
    for i in (0..shape.len()).rev() {
        let own = strides.map(|s| s[i]);
        if shape[i] == 1 {
            continue;
        }
        if let Some((length, inner)) = merged.last_mut()
            && (0..N).all(|n| own[n] == inner[n] * *length)
        {
            *length *= shape[i];
            continue;
        }
        merged.push((shape[i], own));
    }
    let (length, inner) = merged.first().copied().unwrap_or((1, [0; N]));
    let outer = merged.get(1..).unwrap_or(&[]);
    let mut counters = vec![0; outer.len()];
    let mut offsets = [0; N];
    loop {
        visit(offsets, length, inner);
        let mut level = 0;
        loop {
            let Some((size, stride)) = outer.get(level) else {
                return;
            };
            counters[level] += 1;
            for n in 0..N {
                offsets[n] += stride[n];
            }
            if counters[level] < *size {
                break;
            }
            for n in 0..N {
                offsets[n] -= stride[n] * size;
            }
            counters[level] = 0;
            level += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AxisId = AxisId(0);
    const B: AxisId = AxisId(1);

    fn tensor(axes: &[AxisId], shape: &[usize]) -> Tensor {
        let size: usize = shape.iter().product();
        Tensor { axes: axes.to_vec(), shape: shape.to_vec(), values: (0..size).map(|i| i as f64).collect() }
    }

    #[test]
    fn transposition_swaps_axes() {
        let t = tensor(&[A, B], &[2, 3]).transpose_to(&[B, A]).unwrap();
        assert_eq!(t.shape, [3, 2]);
        assert_eq!(t.values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert!(tensor(&[A], &[2]).transpose_to(&[B]).is_none());
        // A matrix over one axis keeps its rows and columns.
        let square = tensor(&[A, A], &[2, 2]);
        assert_eq!(square.transpose_to(&[A, A]).unwrap(), square);
        // Axes of length 1 share strides with their neighbours.
        let thin = tensor(&[A, B], &[3, 1]).transpose_to(&[B, A]).unwrap();
        assert_eq!(thin.shape, [1, 3]);
    }

    #[test]
    fn broadcasting_repeats_along_missing_axes() {
        let t = tensor(&[B], &[3]).broadcast_to(&[A, B], &[2, 3]).unwrap();
        assert_eq!(t.values, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        let t = tensor(&[A], &[2]).broadcast_to(&[A, B], &[2, 3]).unwrap();
        assert_eq!(t.values, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let scalar = Tensor::scalar(7.0).broadcast_to(&[A], &[2]).unwrap();
        assert_eq!(scalar.values, [7.0, 7.0]);
        assert!(tensor(&[A], &[2]).broadcast_to(&[A], &[3]).is_none());
    }
}
