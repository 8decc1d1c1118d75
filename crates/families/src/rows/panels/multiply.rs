//! Values forwards: panels times vectors of coefficients.

use std::ops::Range;

use super::super::lanes::Lanes;
use super::{GROUP, PANEL, Panels};

/// Vectors that a tile makes at most.
const MOST: usize = 20;

/// Vectors of `[vectors, columns]` coefficients, or with `PAIRED` a centre and half the differences, `[1 + pairs, columns]`,
/// of pairs c + d and c − d, for each of which the products are made once.
#[inline(always)]
pub(super) fn body<V: Lanes, const G: usize, const PAIRED: bool>(
    matrix: &Panels,
    rows: Range<usize>,
    coefficients: &[f64],
    out: &mut [f64],
) {
    let (columns, n) = (matrix.columns, rows.len());
    let vectors = out.len() / n;
    let mut spare = [0.0; PANEL * MOST];
    let mut panel = rows.start / PANEL;
    while panel < rows.end.div_ceil(PANEL) {
        let base = panel * PANEL;
        let x = matrix.numbers()[base * columns..].as_ptr();
        // Several panels at a time where there are few vectors, so that no sum waits for itself.
        let few = if PAIRED { vectors < 20 } else { vectors < 4 };
        let together = match () {
            () if V::TILE < 10 || !few || base < rows.start => 1,
            () if !PAIRED && base + 4 * PANEL <= rows.end => 4,
            () if PAIRED && base + 2 * PANEL <= rows.end => 2,
            () => 1,
        };
        let whole = base >= rows.start && base + PANEL <= rows.end;
        let mut s = 0;
        while s < vectors {
            // A pair's coefficients stand after the centre's.
            let b = coefficients[if PAIRED { (s / 2 + 1) * columns } else { s * columns }..].as_ptr();
            let c = coefficients.as_ptr();
            let (to, stride) =
                if whole { (out[s * n + base - rows.start..].as_mut_ptr(), n) } else { (spare.as_mut_ptr(), PANEL) };
            let left = vectors - s;
            // SAFETY: the panels have `columns` × 16 numbers each, `coefficients` as many vectors as the tile, and each of them
            // room for its sixteen numbers a panel at its place in `out` or in `spare`; the registers are those of the enclosing
            // function.
            let count = unsafe {
                match (PAIRED, left, together) {
                    (false, _, 4) => tile::<V, G, 1, 4, false>(c, x, b, columns, to, stride),
                    (false, 10.., _) if V::TILE >= 10 => tile::<V, G, 10, 1, false>(c, x, b, columns, to, stride),
                    (false, 4.., _) if V::TILE >= 4 => tile::<V, G, 4, 1, false>(c, x, b, columns, to, stride),
                    (false, 2.., _) if V::TILE >= 2 => tile::<V, G, 2, 1, false>(c, x, b, columns, to, stride),
                    (false, ..) => tile::<V, G, 1, 1, false>(c, x, b, columns, to, stride),
                    (true, 10.., 2) => tile::<V, G, 5, 2, true>(c, x, b, columns, to, stride),
                    (true, 4.., 2) => tile::<V, G, 2, 2, true>(c, x, b, columns, to, stride),
                    (true, _, 2) => tile::<V, G, 1, 2, true>(c, x, b, columns, to, stride),
                    (true, 20.., _) if V::TILE >= 10 => tile::<V, G, 10, 1, true>(c, x, b, columns, to, stride),
                    (true, 10.., _) if V::TILE >= 10 => tile::<V, G, 5, 1, true>(c, x, b, columns, to, stride),
                    (true, 4.., _) if V::TILE >= 2 => tile::<V, G, 2, 1, true>(c, x, b, columns, to, stride),
                    (true, ..) => tile::<V, G, 1, 1, true>(c, x, b, columns, to, stride),
                }
            };
            if !whole {
                let (from, end) = (base.max(rows.start), (base + PANEL).min(rows.end));
                for d in 0..count {
                    out[(s + d) * n + from - rows.start..][..end - from]
                        .copy_from_slice(&spare[d * PANEL + from - base..d * PANEL + end - base]);
                }
            }
            s += count;
        }
        panel += together;
    }
}

/// `P` panels by `D` vectors, or by a centre and `D` half differences; returns how many vectors that makes.
#[inline(always)]
unsafe fn tile<V: Lanes, const G: usize, const D: usize, const P: usize, const PAIRED: bool>(
    centre: *const f64,
    x: *const f64,
    coefficients: *const f64,
    columns: usize,
    to: *mut f64,
    stride: usize,
) -> usize {
    let width = GROUP / G;
    // SAFETY: as the caller's.
    unsafe {
        let mut sums = [[[[V::splat(0.0); G]; 2]; P]; D];
        let mut middle = [[[V::splat(0.0); G]; 2]; P];
        for k in 0..columns {
            let mut values = [[[V::splat(0.0); G]; 2]; P];
            for p in 0..P {
                for half in 0..2 {
                    for g in 0..G {
                        values[p][half][g] = V::load(x.add((p * columns + k) * PANEL + half * GROUP + g * width));
                    }
                }
            }
            if PAIRED {
                let b = V::splat(*centre.add(k));
                for p in 0..P {
                    for half in 0..2 {
                        for g in 0..G {
                            middle[p][half][g] = values[p][half][g].multiply_add(b, middle[p][half][g]);
                        }
                    }
                }
            }
            for d in 0..D {
                let b = V::splat(*coefficients.add(d * columns + k));
                for p in 0..P {
                    for half in 0..2 {
                        for g in 0..G {
                            sums[d][p][half][g] = values[p][half][g].multiply_add(b, sums[d][p][half][g]);
                        }
                    }
                }
            }
        }
        for d in 0..D {
            for p in 0..P {
                for half in 0..2 {
                    for g in 0..G {
                        let (sum, at) = (sums[d][p][half][g], p * PANEL + half * GROUP + g * width);
                        if PAIRED {
                            let middle = middle[p][half][g];
                            sum.multiply_add(V::splat(1.0), middle).store(to.add(2 * d * stride + at));
                            sum.multiply_add(V::splat(-1.0), middle).store(to.add((2 * d + 1) * stride + at));
                        } else {
                            sum.store(to.add(d * stride + at));
                        }
                    }
                }
            }
        }
    }
    if PAIRED { 2 * D } else { D }
}
