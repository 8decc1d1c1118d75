//! Loop nests over aligned arrays, merged into as few and as long runs as the strides allow.

use super::shape::{Shape, Source, Value};

const MAX_DIMENSIONS: usize = 10;

/// Loops over an index space shared by `M` arrays, each with its own strides (0 where it is broadcast).
#[derive(Debug, Clone)]
pub(crate) struct Nest<const M: usize> {
    count: usize,
    sizes: [usize; MAX_DIMENSIONS],
    strides: [[usize; M]; MAX_DIMENSIONS],
    base: [usize; M],
    empty: bool,
}

impl<const M: usize> Nest<M> {
    /// The nest over `space` for a block of draws and a chunk of rows; `values` are the arrays in order.
    pub(crate) fn over(space: &Shape, values: [&Value; M], draws: usize, start: usize, rows: usize) -> Self {
        let mut nest = Self {
            count: 0,
            sizes: [1; MAX_DIMENSIONS],
            strides: [[0; M]; MAX_DIMENSIONS],
            base: [0; M],
            empty: false,
        };
        for (m, value) in values.iter().enumerate() {
            if value.is_data() {
                nest.base[m] = start * value.shape.row_stride();
            }
        }
        nest.push(
            draws,
            std::array::from_fn(|m| match values[m].source {
                Source::Latent(_) => values[m].shape.elements(rows),
                Source::Data(_) => 0,
            }),
        );
        if space.rows {
            nest.push(rows, std::array::from_fn(|m| values[m].shape.row_stride()));
        }
        for &(label, size) in &space.axes {
            nest.push(size, std::array::from_fn(|m| values[m].shape.stride(label)));
        }
        nest
    }

    fn push(&mut self, size: usize, strides: [usize; M]) {
        if size == 0 {
            self.empty = true;
        }
        if size == 1 {
            return;
        }
        if self.count > 0 {
            let last = self.count - 1;
            if (0..M).all(|m| self.strides[last][m] == size * strides[m]) {
                self.sizes[last] *= size;
                self.strides[last] = strides;
                return;
            }
        }
        self.sizes[self.count] = size;
        self.strides[self.count] = strides;
        self.count += 1;
    }

    /// Calls `body(offsets, length, steps)` for every innermost run, in order.
    pub(crate) fn run(&self, mut body: impl FnMut([usize; M], usize, [usize; M])) {
        if self.empty {
            return;
        }
        match self.count {
            0 => body(self.base, 1, [0; M]),
            1 => body(self.base, self.sizes[0], self.strides[0]),
            2 => {
                let mut offsets = self.base;
                for _ in 0..self.sizes[0] {
                    body(offsets, self.sizes[1], self.strides[1]);
                    for m in 0..M {
                        offsets[m] += self.strides[0][m];
                    }
                }
            }
            count => {
                let last = count - 1;
                let mut index = [0usize; MAX_DIMENSIONS];
                let mut offsets = self.base;
                loop {
                    body(offsets, self.sizes[last], self.strides[last]);
                    let mut d = last;
                    loop {
                        if d == 0 {
                            return;
                        }
                        d -= 1;
                        index[d] += 1;
                        for m in 0..M {
                            offsets[m] += self.strides[d][m];
                        }
                        if index[d] < self.sizes[d] {
                            break;
                        }
                        for m in 0..M {
                            offsets[m] -= self.strides[d][m] * self.sizes[d];
                        }
                        index[d] = 0;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_every_element_once_with_the_right_offsets() {
        let space = Shape { rows: true, axes: vec![(0, 3), (1, 2), (2, 4)] };
        let out = Value { source: Source::Latent(0), shape: space.clone() };
        let vector = Value { source: Source::Data(0), shape: Shape { rows: false, axes: vec![(2, 4), (0, 3)] } };
        let rows = Value { source: Source::Data(1), shape: Shape { rows: true, axes: vec![(1, 2)] } };
        let nest = Nest::over(&space, [&out, &vector, &rows], 2, 5, 3);
        let mut seen = Vec::new();
        nest.run(|o, n, s| (0..n).for_each(|i| seen.push([o[0] + i * s[0], o[1] + i * s[1], o[2] + i * s[2]])));
        let mut wanted = Vec::new();
        for d in 0..2 {
            for r in 0..3 {
                for a in 0..3 {
                    for b in 0..2 {
                        for c in 0..4 {
                            wanted.push([(((d * 3 + r) * 3 + a) * 2 + b) * 4 + c, c * 3 + a, (5 + r) * 2 + b]);
                        }
                    }
                }
            }
        }
        assert_eq!(seen, wanted);
    }

    #[test]
    fn contiguous_arrays_are_one_run() {
        let space = Shape { rows: true, axes: vec![(0, 3), (1, 2)] };
        let out = Value { source: Source::Latent(0), shape: space.clone() };
        let mut runs = 0;
        Nest::over(&space, [&out, &out], 4, 0, 7).run(|_, n, s| {
            runs += 1;
            assert_eq!((n, s), (4 * 7 * 6, [1, 1]));
        });
        assert_eq!(runs, 1);
    }
}
