//! Gradients back: panels, transposed, times vectors of weights.

use std::ops::Range;

use super::super::lanes::Lanes;
use super::{GROUP, PANEL, Panels};

/// Panels whose weights are gathered at a time.
const BLOCK: usize = 16;
/// Vectors of weights that a tile has at most.
const MOST: usize = 6;

/// Weights of a block, `[panels, vectors, PANEL]`, each group in one line of the cache.
#[repr(align(64))]
struct Packed([f64; BLOCK * MOST * PANEL]);

/// Vectors of weights `[vectors, rows]` into `[vectors, columns, GROUP]` sums, or with `PAIRED` their total and half the differences
/// within pairs into `[1 + pairs, columns, GROUP]`.
#[inline(always)]
pub(super) fn body<V: Lanes, const G: usize, const PAIRED: bool>(
    matrix: &Panels,
    rows: Range<usize>,
    weights: &[f64],
    sums: &mut [f64],
) {
    let columns = matrix.columns;
    let vectors = sums.len() / (columns * GROUP).max(1);
    let mut packed = Packed([0.0; BLOCK * MOST * PANEL]);
    let end = rows.end.div_ceil(PANEL);
    let mut panel = rows.start / PANEL;
    while panel < end {
        let panels = BLOCK.min(end - panel);
        let x = matrix.numbers()[panel * PANEL * columns..][..panels * PANEL * columns].as_ptr();
        let mut s = 0;
        while s < vectors {
            let most = match V::TILE {
                10.. => MOST,
                2.. => 2,
                _ => 1,
            };
            let count = most.min(vectors - s);
            pack::<PAIRED>(&mut packed, &rows, weights, panel..panel + panels, s, count);
            let sums = sums[s * columns * GROUP..(s + count) * columns * GROUP].as_mut_ptr();
            let w = packed.0.as_ptr();
            // SAFETY: there are `panels` panels of `columns` × 16 numbers, sixteen weights of every vector for each of them, and
            // eight sums of every vector and column; the registers are those of the enclosing function.
            unsafe {
                match count {
                    6 => all_columns::<V, G, 6, 4>(x, panels, columns, w, sums),
                    5 => all_columns::<V, G, 5, 4>(x, panels, columns, w, sums),
                    4 => all_columns::<V, G, 4, 6>(x, panels, columns, w, sums),
                    3 => all_columns::<V, G, 3, 8>(x, panels, columns, w, sums),
                    2 if V::TILE < 10 => all_columns::<V, G, 2, 2>(x, panels, columns, w, sums),
                    2 => all_columns::<V, G, 2, 8>(x, panels, columns, w, sums),
                    _ if V::TILE < 10 => all_columns::<V, G, 1, 4>(x, panels, columns, w, sums),
                    _ => all_columns::<V, G, 1, 8>(x, panels, columns, w, sums),
                }
            }
            s += count;
        }
        panel += panels;
    }
}

/// Gathers the weights of `count` vectors from `first` on over some panels; rows outside `rows` weigh nothing.
#[inline(always)]
fn pack<const PAIRED: bool>(
    packed: &mut Packed,
    rows: &Range<usize>,
    weights: &[f64],
    panels: Range<usize>,
    first: usize,
    count: usize,
) {
    let n = rows.len();
    let vectors = weights.len() / n;
    for (at, panel) in panels.enumerate() {
        let base = panel * PANEL;
        let (from, end) = (base.max(rows.start), (base + PANEL).min(rows.end));
        let block = &mut packed.0[at * count * PANEL..(at + 1) * count * PANEL];
        let whole = end - from == PANEL;
        if !whole {
            block.fill(0.0);
        }
        let (blocks, _) = block.as_chunks_mut::<PANEL>();
        for (to, vector) in blocks.iter_mut().zip(first..) {
            let of = |vector: usize| &weights[vector * n + from - rows.start..][..end - from];
            if !PAIRED {
                each(to, from - base, whole, of(vector), of(vector), |_, w, _| w);
            } else if vector == 0 {
                for pair in 0..vectors / 2 {
                    each(to, from - base, whole, of(2 * pair), of(2 * pair + 1), |t, a, b| {
                        if pair == 0 { a + b } else { t + (a + b) }
                    });
                }
            } else {
                each(to, from - base, whole, of(2 * vector - 2), of(2 * vector - 1), |_, a, b| 0.5 * (a - b));
            }
        }
    }
}

/// Replaces each t by f(t, a, b); `a` and `b` begin at element `from`, with sixteen numbers where they are `whole`.
#[inline(always)]
fn each(to: &mut [f64; PANEL], from: usize, whole: bool, a: &[f64], b: &[f64], f: impl Fn(f64, f64, f64) -> f64) {
    if whole && let (Some((a, _)), Some((b, _))) = (a.split_first_chunk::<PANEL>(), b.split_first_chunk::<PANEL>()) {
        for i in 0..PANEL {
            to[i] = f(to[i], a[i], b[i]);
        }
    } else {
        for ((t, a), b) in to[from..].iter_mut().zip(a).zip(b) {
            *t = f(*t, *a, *b);
        }
    }
}

/// `D` vectors of weights by all columns, `K` of them at a time.
#[inline(always)]
unsafe fn all_columns<V: Lanes, const G: usize, const D: usize, const K: usize>(
    x: *const f64,
    panels: usize,
    columns: usize,
    weights: *const f64,
    sums: *mut f64,
) {
    let whole = columns / K * K;
    // SAFETY: as the caller's.
    unsafe {
        for k in (0..whole).step_by(K) {
            tile::<V, G, D, K>(x.add(k * PANEL), panels, columns, weights, sums.add(k * GROUP));
        }
        let (x, sums) = (x.add(whole * PANEL), sums.add(whole * GROUP));
        match columns - whole {
            1 => tile::<V, G, D, 1>(x, panels, columns, weights, sums),
            2 if K > 2 => tile::<V, G, D, 2>(x, panels, columns, weights, sums),
            3 if K > 3 => tile::<V, G, D, 3>(x, panels, columns, weights, sums),
            4 if K > 4 => tile::<V, G, D, 4>(x, panels, columns, weights, sums),
            5 if K > 5 => tile::<V, G, D, 5>(x, panels, columns, weights, sums),
            6 if K > 6 => tile::<V, G, D, 6>(x, panels, columns, weights, sums),
            7 if K > 7 => tile::<V, G, D, 7>(x, panels, columns, weights, sums),
            _ => {}
        }
    }
}

/// `D` vectors of weights by `K` columns over some panels.
#[inline(always)]
unsafe fn tile<V: Lanes, const G: usize, const D: usize, const K: usize>(
    x: *const f64,
    panels: usize,
    columns: usize,
    weights: *const f64,
    sums: *mut f64,
) {
    let width = GROUP / G;
    // SAFETY: as the caller's.
    unsafe {
        let mut parts = [[[V::splat(0.0); G]; K]; D];
        for d in 0..D {
            for k in 0..K {
                for g in 0..G {
                    parts[d][k][g] = V::load(sums.add((d * columns + k) * GROUP + g * width));
                }
            }
        }
        for panel in 0..panels {
            for half in 0..2 {
                for g in 0..G {
                    let at = half * GROUP + g * width;
                    let mut w = [V::splat(0.0); D];
                    for d in 0..D {
                        w[d] = V::load(weights.add((panel * D + d) * PANEL + at));
                    }
                    for k in 0..K {
                        let value = V::load(x.add((panel * columns + k) * PANEL + at));
                        for d in 0..D {
                            parts[d][k][g] = value.multiply_add(w[d], parts[d][k][g]);
                        }
                    }
                }
            }
        }
        for d in 0..D {
            for k in 0..K {
                for g in 0..G {
                    parts[d][k][g].store(sums.add((d * columns + k) * GROUP + g * width));
                }
            }
        }
    }
}
