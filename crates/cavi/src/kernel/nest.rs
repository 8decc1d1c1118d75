//! Sums of products of strided arrays: out[o] += s · Σ Π_i in_i[…], the loop that every message, summary and coefficient is.

/// How one array is addressed: offset = start + outer·row_stride + codes[outer]·code_stride (summed over its look-ups) + Σ index·stride.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Access {
    /// Offset of the first element.
    pub(crate) start: usize,
    /// Step along the outer loop (rows).
    pub(crate) row_stride: usize,
    /// Look-ups: which code array, and the step per code.
    pub(crate) codes: Vec<(usize, usize)>,
    /// Step along each inner loop.
    pub(crate) strides: Vec<usize>,
}

/// A loop nest: an outer loop (rows, or a single pass) and inner loops of fixed sizes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nest {
    /// Sizes of the inner loops, outermost first.
    pub(crate) sizes: Vec<usize>,
    /// The factors.
    pub(crate) inputs: Vec<Access>,
    /// The result.
    pub(crate) output: Access,
}

/// Code arrays of the rows at hand; a missing code skips the row.
pub(crate) const MISSING: u32 = u32::MAX;

impl Nest {
    /// Orders the inner loops so that the innermost is the best to vectorise, and drops loops of size one.
    pub(crate) fn optimised(mut self) -> Self {
        let mut order: Vec<usize> = (0..self.sizes.len()).filter(|&l| self.sizes[l] != 1).collect();
        let cost = |l: usize| {
            // Steps of one are best innermost, then steps of zero; long loops before short ones.
            let out = match self.output.strides[l] {
                0 | 1 => 0,
                _ => 4,
            };
            let inputs: usize = self.inputs.iter().filter(|a| a.strides[l] > 1).count();
            (out + inputs, usize::MAX - self.sizes[l])
        };
        order.sort_by_key(|&l| std::cmp::Reverse(cost(l)));
        let pick = |strides: &[usize]| order.iter().map(|&l| strides[l]).collect::<Vec<_>>();
        for access in self.inputs.iter_mut().chain(std::iter::once(&mut self.output)) {
            access.strides = pick(&access.strides);
        }
        self.sizes = order.iter().map(|&l| self.sizes[l]).collect();
        self
    }

    /// Runs the nest over `outer` rows: `out[…] += scale · weight[row] · Π inputs`.
    ///
    /// `codes[c]` holds the codes of the rows at hand.
    pub(crate) fn run(
        &self,
        outer: usize,
        codes: &[&[u32]],
        inputs: &[&[f64]],
        scale: f64,
        weights: Option<&[f64]>,
        out: &mut [f64],
    ) {
        debug_assert_eq!(inputs.len(), self.inputs.len());
        self.run_over(0..outer, codes, inputs, scale, weights, out);
    }

    /// As [`Nest::run`], over some of the rows only.
    pub(crate) fn run_over(
        &self,
        rows: impl IntoIterator<Item = usize>,
        codes: &[&[u32]],
        inputs: &[&[f64]],
        scale: f64,
        weights: Option<&[f64]>,
        out: &mut [f64],
    ) {
        let mut offsets = [0usize; MAX_INPUTS];
        'rows: for row in rows {
            let scale = match weights {
                Some(w) if w[row] == 0.0 => continue,
                Some(w) => scale * w[row],
                None => scale,
            };
            for (offset, access) in offsets.iter_mut().zip(&self.inputs) {
                *offset = access.start + row * access.row_stride;
                for &(which, stride) in &access.codes {
                    let code = codes[which][row];
                    if code == MISSING {
                        continue 'rows;
                    }
                    *offset += code as usize * stride;
                }
            }
            let mut target = self.output.start + row * self.output.row_stride;
            for &(which, stride) in &self.output.codes {
                let code = codes[which][row];
                if code == MISSING {
                    continue 'rows;
                }
                target += code as usize * stride;
            }
            self.descend(0, scale, &offsets, inputs, target, out);
        }
    }

    fn descend(
        &self,
        level: usize,
        scale: f64,
        offsets: &[usize; MAX_INPUTS],
        inputs: &[&[f64]],
        target: usize,
        out: &mut [f64],
    ) {
        if level + 1 >= self.sizes.len() {
            self.innermost(scale, offsets, inputs, target, out);
            return;
        }
        let mut offsets = *offsets;
        let mut target = target;
        for _ in 0..self.sizes[level] {
            self.descend(level + 1, scale, &offsets, inputs, target, out);
            for (offset, access) in offsets.iter_mut().zip(&self.inputs) {
                *offset += access.strides[level];
            }
            target += self.output.strides[level];
        }
    }

    /// The last loop (or none): inputs whose step is zero join the scale, the rest are multiplied element by element.
    fn innermost(
        &self,
        mut scale: f64,
        offsets: &[usize; MAX_INPUTS],
        inputs: &[&[f64]],
        target: usize,
        out: &mut [f64],
    ) {
        let Some(&size) = self.sizes.last() else {
            for (array, &offset) in inputs.iter().zip(offsets) {
                scale *= array[offset];
            }
            out[target] += scale;
            return;
        };
        let level = self.sizes.len() - 1;
        let mut moving: [(usize, usize, usize); MAX_INPUTS] = [(0, 0, 0); MAX_INPUTS];
        let mut count = 0;
        for (which, access) in self.inputs.iter().enumerate() {
            let stride = access.strides[level];
            if stride == 0 {
                scale *= inputs[which][offsets[which]];
            } else {
                moving[count] = (which, offsets[which], stride);
                count += 1;
            }
        }
        if scale == 0.0 {
            return;
        }
        let step = self.output.strides[level];
        match (&moving[..count], step) {
            ([], 0) => out[target] += scale * size as f64,
            ([], _) => (0..size).for_each(|i| out[target + i * step] += scale),
            ([(a, at, 1)], 1) => {
                for (o, x) in out[target..target + size].iter_mut().zip(&inputs[*a][*at..*at + size]) {
                    *o += scale * x;
                }
            }
            ([(a, at, 1)], 0) => out[target] += scale * sum(&inputs[*a][*at..*at + size]),
            ([(a, at, 1), (b, bt, 1)], 0) => {
                out[target] += scale * dot(&inputs[*a][*at..*at + size], &inputs[*b][*bt..*bt + size]);
            }
            ([(a, at, 1), (b, bt, 1)], 1) => {
                let (x, y) = (&inputs[*a][*at..*at + size], &inputs[*b][*bt..*bt + size]);
                for ((o, x), y) in out[target..target + size].iter_mut().zip(x).zip(y) {
                    *o += scale * x * y;
                }
            }
            (moving, _) => {
                for i in 0..size {
                    let product: f64 = moving.iter().map(|&(a, at, s)| inputs[a][at + i * s]).product();
                    out[target + i * step] += scale * product;
                }
            }
        }
    }
}

/// Largest number of arrays in one product.
pub(crate) const MAX_INPUTS: usize = 16;

fn sum(x: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = x.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in xs.zip(ys) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_product_by_nested_loops() {
        // out[i,k] += 2 Σ_j a[i,j] b[j,k], i as the outer loop.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.5, -1.0, 2.0, 0.0, 3.0]);
        let nest = Nest {
            sizes: vec![3, 2],
            inputs: vec![
                Access { row_stride: 3, strides: vec![1, 0], ..Access::default() },
                Access { strides: vec![2, 1], ..Access::default() },
            ],
            output: Access { row_stride: 2, strides: vec![0, 1], ..Access::default() },
        }
        .optimised();
        let mut out = [0.0; 4];
        nest.run(2, &[], &[&a, &b], 2.0, None, &mut out);
        for i in 0..2 {
            for k in 0..2 {
                let direct: f64 = (0..3).map(|j| a[i * 3 + j] * b[j * 2 + k]).sum();
                assert_eq!(out[i * 2 + k], 2.0 * direct);
            }
        }
    }

    #[test]
    fn look_ups_gather_and_scatter() {
        let codes: &[u32] = &[1, 0, MISSING, 1];
        let effect = [10.0, 20.0];
        let weight = [1.0, 2.0, 5.0, 3.0];
        let nest = Nest {
            sizes: vec![],
            inputs: vec![Access { codes: vec![(0, 1)], ..Access::default() }],
            output: Access { codes: vec![(0, 1)], ..Access::default() },
        }
        .optimised();
        let mut out = [0.0; 2];
        nest.run(4, &[codes], &[&effect], 1.0, Some(&weight), &mut out);
        assert_eq!(out, [20.0, 80.0]);
    }
}
