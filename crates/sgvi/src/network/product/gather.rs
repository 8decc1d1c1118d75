//! Sums over lists of the rows of a table that stays in the first cache: products with a factor that is mostly zeros.

use super::super::lists::Block;
use super::destination::{Destination, Target};
use super::register::{Register, prefetch, prefetch_to_write};

/// Registers of the widest sums.
pub(super) const WIDEST: usize = 10;

/// Lists from the one that is summed to the one whose place in the target is fetched.
const LISTS_AHEAD: usize = 2;

/// sum[i, j] = Σ_k value_k·table[place_k, j] over the numbers k of list i.
#[derive(Debug)]
pub(super) struct Gather<'a, 'b> {
    pub lists: Block<'a>,
    /// Element (place, j) at `place·stride + j`.
    pub table: &'a [f32],
    pub stride: usize,
    /// Registers that hold a row of the table.
    pub vectors: usize,
    /// Sums that are not complete, `[lists, vectors·LANES]`.
    pub sums: &'a mut [f32],
    /// Whether they were begun, to be continued.
    pub begun: bool,
    /// Where the sums go when they are complete; otherwise they stay where they are.
    pub target: Option<Target<'a, 'b>>,
    /// What the next table will be made of.
    pub next: Rows<'a>,
}

/// Rows that will be read soon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    pub rows: usize,
}

impl Rows<'_> {
    /// None.
    pub(super) const NONE: Self = Self { values: &[], stride: 0, rows: 0 };
}

/// Computes the sums of all lists.
///
/// # Safety
/// The processor has the instruction set of `R`.
#[inline(always)]
pub(super) unsafe fn gather<R: Register>(job: Gather<'_, '_>) {
    let Gather { lists, table, stride, vectors, sums, begun, target, next } = job;
    let (count, width) = (lists.starts.len() - 1, vectors * R::LANES);
    if count == 0 {
        return;
    }
    assert!(lists.rows == 0 || (lists.rows - 1) * stride + width <= table.len());
    assert!(count * width <= sums.len() || !begun && target.is_some());
    // The places and starts within their slices are what `Lists` guarantees; it costs little to see the starts again.
    assert!(lists.starts.is_sorted() && lists.starts[count] as usize <= lists.places.len().min(lists.values.len()));
    // SAFETY: the caller's contract.
    let mut room = [unsafe { R::zero() }; WIDEST];
    let all = All {
        lists,
        table: table.as_ptr(),
        stride,
        sums: sums.as_mut_ptr(),
        begun,
        room: room.as_mut_ptr().cast(),
        destination: target.map(|target| Destination::new(target, count, width)),
        next,
    };
    // SAFETY: the assertions above cover every element that `count` lists touch.
    unsafe {
        match vectors {
            1 => all.lists::<R, 1>(count),
            2 => all.lists::<R, 2>(count),
            3 => all.lists::<R, 3>(count),
            4 => all.lists::<R, 4>(count),
            5 => all.lists::<R, 5>(count),
            6 => all.lists::<R, 6>(count),
            7 => all.lists::<R, 7>(count),
            8 => all.lists::<R, 8>(count),
            9 => all.lists::<R, 9>(count),
            _ => all.lists::<R, WIDEST>(count),
        }
    }
}

#[derive(Clone, Copy)]
struct All<'a> {
    lists: Block<'a>,
    table: *const f32,
    stride: usize,
    sums: *mut f32,
    begun: bool,
    /// For the sums of one list.
    room: *mut f32,
    destination: Option<Destination>,
    next: Rows<'a>,
}

impl All<'_> {
    /// # Safety
    /// Every element of `count` lists is in bounds, and the processor has the instruction set of `R`.
    #[inline(always)]
    unsafe fn lists<R: Register, const VECTORS: usize>(self, count: usize) {
        let mut fetched = 0;
        let moments = self.destination.and_then(|destination| destination.moments());
        for i in 0..count {
            if let (Some(destination), Some(moments)) = (&self.destination, moments) {
                for buffer in moments {
                    let ahead = buffer.wrapping_add((i + LISTS_AHEAD) * destination.stride());
                    for v in 0..VECTORS {
                        prefetch_to_write(ahead.wrapping_add(v * R::LANES));
                    }
                }
            }
            while fetched * count < (i + 1) * self.next.rows {
                for v in 0..VECTORS {
                    prefetch(self.next.values.as_ptr().wrapping_add(fetched * self.next.stride + v * R::LANES));
                }
                fetched += 1;
            }
            // SAFETY: the caller's contract.
            unsafe { self.list::<R, VECTORS>(i) };
        }
    }

    /// # Safety
    /// As for [`All::lists`].
    #[inline(always)]
    unsafe fn list<R: Register, const VECTORS: usize>(&self, i: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let here = self.sums.wrapping_add(i * VECTORS * R::LANES);
            let mut sums = [R::zero(); VECTORS];
            if self.begun {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = R::load(here.add(v * R::LANES));
                }
            }
            let (from, to) = (*self.lists.starts.get_unchecked(i), *self.lists.starts.get_unchecked(i + 1));
            let (places, values) = (self.lists.places.as_ptr(), self.lists.values.as_ptr());
            for k in from as usize..to as usize {
                let row = self.table.add(*places.add(k) as usize * self.stride);
                let factor = R::broadcast(values.add(k));
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_product(factor, R::load(row.add(v * R::LANES)));
                }
            }
            match &self.destination {
                Some(destination) if destination.moments().is_some() => {
                    // By way of memory, as in a tile.
                    for (v, &sum) in sums.iter().enumerate() {
                        sum.store(self.room.add(v * R::LANES));
                    }
                    destination.finish::<R>(self.room, i, VECTORS);
                }
                Some(destination) => {
                    for (v, &sum) in sums.iter().enumerate() {
                        destination.put(sum, i * destination.stride() + v * R::LANES);
                    }
                }
                None => {
                    for (v, &sum) in sums.iter().enumerate() {
                        sum.store(here.add(v * R::LANES));
                    }
                }
            }
        }
    }
}
