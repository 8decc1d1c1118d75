//! Operations of the row program that bring numbers to other places, each with its way back.

use super::elementwise::add;

/// Copies every value as often as the target has it, one copy after the other.
pub(super) fn repeat(target: &mut [f32], source: &[f32], width: usize) {
    let copies = target.len() / source.len().max(1);
    for (block, row) in target.chunks_exact_mut((copies * width).max(1)).zip(source.chunks_exact(width)) {
        for copy in block.chunks_exact_mut(width) {
            copy.copy_from_slice(row);
        }
    }
}

/// Adds up the adjoints of the copies.
pub(super) fn repeat_backward(target: &mut [f32], slopes: &[f32], width: usize) {
    let copies = slopes.len() / target.len().max(1);
    for (row, block) in target.chunks_exact_mut(width).zip(slopes.chunks_exact((copies * width).max(1))) {
        for copy in block.chunks_exact(width) {
            add(row, copy);
        }
    }
}

/// `target[j] = source[map[j]]` within every value; those of the source are `width` numbers.
pub(super) fn gather(target: &mut [f32], source: &[f32], width: usize, map: &[u32]) {
    for (row, source) in target.chunks_exact_mut(map.len()).zip(source.chunks_exact(width)) {
        for (value, &position) in row.iter_mut().zip(map) {
            *value = source[position as usize];
        }
    }
}

/// Adds the adjoints to where the numbers came from.
pub(super) fn gather_backward(target: &mut [f32], slopes: &[f32], width: usize, map: &[u32]) {
    for (row, slopes) in target.chunks_exact_mut(width).zip(slopes.chunks_exact(map.len())) {
        for (&slope, &position) in slopes.iter().zip(map) {
            row[position as usize] += slope;
        }
    }
}

/// `target[row, j] = table[map[j] + codes[row]·stride]`.
pub(super) fn look_up(target: &mut [f32], table: &[f32], codes: &[f32], map: &[u32], stride: usize) {
    for (row, &code) in target.chunks_exact_mut(map.len()).zip(codes) {
        for (value, &position) in row.iter_mut().zip(map) {
            *value = table[position as usize + code as usize * stride];
        }
    }
}

/// Adds the adjoints to the table.
pub(super) fn look_up_backward(table: &mut [f32], slopes: &[f32], codes: &[f32], map: &[u32], stride: usize) {
    for (slopes, &code) in slopes.chunks_exact(map.len()).zip(codes) {
        for (&slope, &position) in slopes.iter().zip(map) {
            table[position as usize + code as usize * stride] += slope;
        }
    }
}

/// Writes values of `width` numbers into those of the target, which have `stride`, from `offset` on.
pub(super) fn place(target: &mut [f32], stride: usize, offset: usize, source: &[f32], width: usize) {
    for (row, source) in target.chunks_exact_mut(stride).zip(source.chunks_exact(width)) {
        row[offset..offset + width].copy_from_slice(source);
    }
}

/// Adds the adjoints at `offset` to those of the values that were placed there.
pub(super) fn place_backward(target: &mut [f32], width: usize, slopes: &[f32], stride: usize, offset: usize) {
    for (row, slopes) in target.chunks_exact_mut(width).zip(slopes.chunks_exact(stride)) {
        add(row, &slopes[offset..offset + width]);
    }
}

/// One operand of a contraction: its values of `width` numbers, and which of them each term reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
    pub(super) map: &'a [u32],
}

/// `target[j] = Σ_k left[left.map[j·length + k]]·right[right.map[j·length + k]]` for values of `width` numbers.
pub(super) fn contract(target: &mut [f32], width: usize, length: usize, left: Operand<'_>, right: Operand<'_>) {
    let rows = left.values.chunks_exact(left.width).zip(right.values.chunks_exact(right.width));
    for (row, (a, b)) in target.chunks_exact_mut(width).zip(rows) {
        let maps = left.map.chunks_exact(length).zip(right.map.chunks_exact(length));
        for (value, (at_a, at_b)) in row.iter_mut().zip(maps) {
            *value = at_a.iter().zip(at_b).map(|(&i, &j)| a[i as usize] * b[j as usize]).sum();
        }
    }
}

/// Adds to the adjoint of one operand, whose values have `own_width` numbers at `own_map`, what the sums' slopes imply.
pub(super) fn contract_backward(
    target: &mut [f32],
    own_width: usize,
    own_map: &[u32],
    slopes: &[f32],
    width: usize,
    length: usize,
    other: Operand<'_>,
) {
    let rows = slopes.chunks_exact(width).zip(other.values.chunks_exact(other.width));
    for (target, (slopes, factors)) in target.chunks_exact_mut(own_width).zip(rows) {
        for (at, (&i, &j)) in own_map.iter().zip(other.map).enumerate() {
            target[i as usize] += slopes[at / length] * factors[j as usize];
        }
    }
}
