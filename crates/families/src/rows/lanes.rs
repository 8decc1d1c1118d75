//! Registers of several numbers, so that one kernel serves AVX-512, AVX2 and every other processor.

/// Numbers that are worked on together.
///
/// The functions are to be called only where the processor has the instructions: inside a function that enables them.
pub(super) trait Lanes: Copy {
    /// Vectors that a tile of products may have without running out of registers.
    const TILE: usize;
    /// The same number everywhere.
    unsafe fn splat(value: f64) -> Self;
    /// Numbers from memory.
    unsafe fn load(from: *const f64) -> Self;
    /// Numbers to memory.
    unsafe fn store(self, to: *mut f64);
    /// self · factor + addend.
    unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_storeu_pd, _mm512_fmadd_pd,
        _mm512_loadu_pd, _mm512_set1_pd, _mm512_storeu_pd,
    };

    use super::Lanes;

    impl Lanes for __m512d {
        const TILE: usize = 10;
        #[inline(always)]
        unsafe fn splat(value: f64) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { _mm512_set1_pd(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f64) -> Self {
            // SAFETY: the caller has the instructions, and eight numbers to read.
            unsafe { _mm512_loadu_pd(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f64) {
            // SAFETY: the caller has the instructions, and room for eight numbers.
            unsafe { _mm512_storeu_pd(to, self) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { _mm512_fmadd_pd(self, factor, addend) }
        }
    }

    impl Lanes for __m256d {
        const TILE: usize = 2;
        #[inline(always)]
        unsafe fn splat(value: f64) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { _mm256_set1_pd(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f64) -> Self {
            // SAFETY: the caller has the instructions, and four numbers to read.
            unsafe { _mm256_loadu_pd(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f64) {
            // SAFETY: the caller has the instructions, and room for four numbers.
            unsafe { _mm256_storeu_pd(to, self) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { _mm256_fmadd_pd(self, factor, addend) }
        }
    }
}

/// Two numbers in plain arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Pair([f64; 2]);

impl Lanes for Pair {
    const TILE: usize = 1;
    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        Self([value; 2])
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the caller has two numbers to read.
        Self(unsafe { [from.read(), from.add(1).read()] })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the caller has room for two numbers.
        unsafe { to.cast::<[f64; 2]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
        let one =
            |i: usize| super::double::multiply_add::<{ super::BASELINE_FUSED }>(self.0[i], factor.0[i], addend.0[i]);
        Self([one(0), one(1)])
    }
}
