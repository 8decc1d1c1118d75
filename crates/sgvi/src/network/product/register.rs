//! Vector registers of f32: the few instructions that products of matrices need, for AVX-512 and for AVX2.
//!
//! Every function is compiled into its caller; the caller must have the instruction set enabled and detected.

use super::gather::{Gather, WIDEST, gather};
use super::gradient::{Gradient, gradient};
use super::strip::{Strip, strip};
use std::arch::asm;
use std::arch::x86_64::*;

/// A vector register.
///
/// # Safety
/// All functions require that the processor has the instruction set, and pointers to as many numbers as are moved.
pub(super) trait Register: Copy {
    /// Numbers in a register.
    const LANES: usize;
    /// Registers side by side in the widest tile.
    const PANEL: usize;
    /// Terms of the sums that are worked off at a time, so that a panel of them stays in the first cache.
    const DEPTH: usize;
    /// Registers of the widest sums over lists.
    const GATHERED: usize;

    /// Zeros.
    unsafe fn zero() -> Self;
    /// The numbers at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// One number in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// The number at `from` in every lane.
    unsafe fn broadcast(from: *const f32) -> Self;
    /// self + a·b with one rounding.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// self + other
    unsafe fn add(self, other: Self) -> Self;
    /// self·other
    unsafe fn multiply(self, other: Self) -> Self;
    /// The square root to the last place but one, of numbers above 1e-30; what is larger than any finite number counts as the largest.
    unsafe fn square_root(self) -> Self;
    /// self / other to the last place but one, for `other` between 1e-30 and 1e30.
    unsafe fn divide(self, other: Self) -> Self;
    /// Writes the numbers to `to`.
    unsafe fn store(self, to: *mut f32);
    /// [`strip`], compiled by itself: within a larger function the sums would not stay in registers.
    unsafe fn strip(job: Strip<'_>);
    /// [`gradient`], compiled by itself.
    unsafe fn gradient(job: Gradient<'_, '_>);
    /// [`gather`], compiled by itself.
    unsafe fn gather(job: Gather<'_, '_>);
    /// Writes those of a register's numbers at `from` that are not zero to `values` and their positions, counted from
    /// `first`, to `places`; says how many they are. Both have room for a register.
    unsafe fn take_others(from: *const f32, first: u32, places: *mut u32, values: *mut f32) -> usize;
    /// Writes the transpose of the `[LANES, LANES]` block at `from` to `to`; rows are `from_stride` and `to_stride` apart.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// Asks for the line of memory at an address, which need not exist, to read it.
#[inline(always)]
pub(super) fn prefetch(address: *const f32) {
    // SAFETY: a prefetch is a hint that never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Asks for the line of memory at an address, which need not exist, to write to it.
#[inline(always)]
pub(super) fn prefetch_to_write(address: *const f32) {
    // SAFETY: as above; processors without the instruction pass over it. Written out because the intrinsic becomes a
    // prefetch for reading, after which another thread's copy of the line would still have to be taken away.
    unsafe { asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

impl Register for __m512 {
    const LANES: usize = 16;
    const PANEL: usize = 4;
    const DEPTH: usize = 112;
    const GATHERED: usize = WIDEST;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn square_root(self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe {
            // One step of Newton's method from 14 bits: the divider would be busy with it for twelve cycles. The order of the
            // operands keeps what is not a number.
            let square = _mm512_min_ps(_mm512_set1_ps(f32::MAX), self);
            let estimate = _mm512_rsqrt14_ps(square);
            let root = _mm512_mul_ps(square, estimate);
            let error = _mm512_fnmadd_ps(root, root, square);
            _mm512_fmadd_ps(error, _mm512_mul_ps(estimate, _mm512_set1_ps(0.5)), root)
        }
    }

    #[inline(always)]
    unsafe fn divide(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe {
            // As for the root.
            let estimate = _mm512_rcp14_ps(other);
            let correction = _mm512_fnmadd_ps(other, estimate, _mm512_set1_ps(2.0));
            _mm512_mul_ps(self, _mm512_mul_ps(estimate, correction))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract of the trait.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    unsafe fn strip(job: Strip<'_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        fn compiled(job: Strip<'_>) {
            // SAFETY: this function has the instructions.
            unsafe { strip::<__m512>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    unsafe fn gradient(job: Gradient<'_, '_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        fn compiled(job: Gradient<'_, '_>) {
            // SAFETY: this function has the instructions.
            unsafe { gradient::<__m512>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    unsafe fn gather(job: Gather<'_, '_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        fn compiled(job: Gather<'_, '_>) {
            // SAFETY: this function has the instructions.
            unsafe { gather::<__m512>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    #[inline(always)]
    unsafe fn take_others(from: *const f32, first: u32, places: *mut u32, values: *mut f32) -> usize {
        // SAFETY: the contract of the trait.
        unsafe {
            let numbers = _mm512_loadu_ps(from);
            let others = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(numbers, _mm512_setzero_ps());
            let all = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let all = _mm512_add_epi32(all, _mm512_set1_epi32(first as i32));
            _mm512_storeu_epi32(places.cast(), _mm512_maskz_compress_epi32(others, all));
            _mm512_storeu_ps(values, _mm512_maskz_compress_ps(others, numbers));
            others.count_ones() as usize
        }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the contract of the trait.
        unsafe {
            let mut quads = [[_mm512_setzero_ps(); 4]; 4];
            for (group, quads) in quads.iter_mut().enumerate() {
                let row = |i: usize| _mm512_loadu_ps(from.add((4 * group + i) * from_stride));
                let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                let (a, b) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
                let (c, d) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                let (c, d) = (_mm512_castps_pd(c), _mm512_castps_pd(d));
                // Column i + 4l of these four rows lies in lane l of quads[i].
                quads[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                quads[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                quads[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                quads[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            for column in 0..4 {
                let (q0, q1, q2, q3) = (quads[0][column], quads[1][column], quads[2][column], quads[3][column]);
                let (even, odd) = (_mm512_shuffle_f32x4::<0x88>(q0, q1), _mm512_shuffle_f32x4::<0xdd>(q0, q1));
                let (even_2, odd_2) = (_mm512_shuffle_f32x4::<0x88>(q2, q3), _mm512_shuffle_f32x4::<0xdd>(q2, q3));
                let write = |row: usize, values| _mm512_storeu_ps(to.add(row * to_stride), values);
                write(column, _mm512_shuffle_f32x4::<0x88>(even, even_2));
                write(column + 4, _mm512_shuffle_f32x4::<0x88>(odd, odd_2));
                write(column + 8, _mm512_shuffle_f32x4::<0xdd>(even, even_2));
                write(column + 12, _mm512_shuffle_f32x4::<0xdd>(odd, odd_2));
            }
        }
    }
}

impl Register for __m256 {
    const LANES: usize = 8;
    const PANEL: usize = 2;
    const DEPTH: usize = 448;
    const GATHERED: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn square_root(self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_sqrt_ps(self) }
    }

    #[inline(always)]
    unsafe fn divide(self, other: Self) -> Self {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_div_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    unsafe fn strip(job: Strip<'_>) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn compiled(job: Strip<'_>) {
            // SAFETY: this function has the instructions.
            unsafe { strip::<__m256>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    unsafe fn gradient(job: Gradient<'_, '_>) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn compiled(job: Gradient<'_, '_>) {
            // SAFETY: this function has the instructions.
            unsafe { gradient::<__m256>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    unsafe fn gather(job: Gather<'_, '_>) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn compiled(job: Gather<'_, '_>) {
            // SAFETY: this function has the instructions.
            unsafe { gather::<__m256>(job) }
        }
        // SAFETY: the contract of the trait.
        unsafe { compiled(job) }
    }

    #[inline(always)]
    unsafe fn take_others(from: *const f32, first: u32, places: *mut u32, values: *mut f32) -> usize {
        let mut taken = 0;
        for lane in 0..Self::LANES {
            // SAFETY: the contract of the trait; no more are taken than were read.
            unsafe {
                let number = *from.add(lane);
                *places.add(taken) = first + lane as u32;
                *values.add(taken) = number;
                taken += usize::from(number != 0.0);
            }
        }
        taken
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the contract of the trait.
        unsafe {
            let mut quads = [[_mm256_setzero_ps(); 4]; 2];
            for (group, quads) in quads.iter_mut().enumerate() {
                let row = |i: usize| _mm256_loadu_ps(from.add((4 * group + i) * from_stride));
                let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
                let (c, d) = (_mm256_castps_pd(c), _mm256_castps_pd(d));
                quads[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
                quads[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
                quads[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
                quads[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
            }
            for column in 0..4 {
                let (low, high) = (quads[0][column], quads[1][column]);
                _mm256_storeu_ps(to.add(column * to_stride), _mm256_permute2f128_ps::<0x20>(low, high));
                _mm256_storeu_ps(to.add((column + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(low, high));
            }
        }
    }
}
