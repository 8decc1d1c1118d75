//! Names and sizes of the axes of the arrays that operations read and write.

/// The name of an axis inside a program.
pub(crate) type Label = u32;

/// Axes of an array: the rows first if there are any, then the others in memory order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    /// Whether the outermost axis is the data rows.
    pub rows: bool,
    /// The further axes with their sizes, outermost first.
    pub axes: Vec<(Label, usize)>,
}

impl Shape {
    /// Number of elements for each row (of the whole array where there are no rows).
    pub(crate) fn inner(&self) -> usize {
        self.axes.iter().map(|a| a.1).product()
    }

    /// Number of elements with `rows` rows.
    pub(crate) fn elements(&self, rows: usize) -> usize {
        self.inner() * if self.rows { rows } else { 1 }
    }

    /// Distance between neighbours along a label; 0 where the array does not have it.
    pub(crate) fn stride(&self, label: Label) -> usize {
        let mut stride = 1;
        for &(l, size) in self.axes.iter().rev() {
            if l == label {
                return stride;
            }
            stride *= size;
        }
        0
    }

    /// Distance between neighbouring rows; 0 without rows.
    pub(crate) fn row_stride(&self) -> usize {
        if self.rows { self.inner() } else { 0 }
    }

    /// Whether it has the label.
    pub(crate) fn has(&self, label: Label) -> bool {
        self.axes.iter().any(|a| a.0 == label)
    }

    /// Size along a label.
    pub(crate) fn size(&self, label: Label) -> Option<usize> {
        self.axes.iter().find(|a| a.0 == label).map(|a| a.1)
    }

    /// The axes of both, in order of first appearance.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.rows |= other.rows;
        for axis in &other.axes {
            if !out.has(axis.0) {
                out.axes.push(*axis);
            }
        }
        out
    }

    /// Without one label.
    pub(crate) fn without(&self, label: Label) -> Self {
        Self { rows: self.rows, axes: self.axes.iter().copied().filter(|a| a.0 != label).collect() }
    }
}

/// Where the numbers of an operand are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A buffer of the frame, one copy for each draw.
    Latent(usize),
    /// An array of data or constants.
    Data(usize),
}

/// An operand: where it is and what its axes mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    /// Where the numbers are.
    pub source: Source,
    /// Their axes.
    pub shape: Shape,
}

impl Value {
    /// Whether it depends on no latent variable.
    pub(crate) fn is_data(&self) -> bool {
        matches!(self.source, Source::Data(_))
    }
}
