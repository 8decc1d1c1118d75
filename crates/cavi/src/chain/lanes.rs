//! Vectors of floating-point numbers, one kind for each instruction set that is detected when the program runs.
//!
//! Multiplication and addition are never fused, so that every kind gives bitwise the same numbers.

/// An instruction set whose presence a value of the type proves.
pub(super) trait Lanes: Copy {
    /// Some numbers side by side.
    type Vector: Copy;
    /// How many.
    const LENGTH: usize;
    /// The same number in every place.
    fn splat(self, value: f64) -> Self::Vector;
    /// The first numbers of a slice; panics where it is shorter than a vector.
    fn load(self, values: &[f64]) -> Self::Vector;
    /// Writes to the front of a slice; panics where it is shorter than a vector.
    fn store(self, vector: Self::Vector, values: &mut [f64]);
    /// a + b.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Where a > b, a, and b elsewhere.
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Where a < b, a, and b elsewhere.
    fn smaller(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline;

impl Lanes for Baseline {
    type Vector = [f64; 2];
    const LENGTH: usize = 2;

    #[inline(always)]
    fn splat(self, value: f64) -> [f64; 2] {
        [value; 2]
    }

    #[inline(always)]
    fn load(self, values: &[f64]) -> [f64; 2] {
        [values[0], values[1]]
    }

    #[inline(always)]
    fn store(self, vector: [f64; 2], values: &mut [f64]) {
        values[..2].copy_from_slice(&vector);
    }

    #[inline(always)]
    fn add(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [a[0] + b[0], a[1] + b[1]]
    }

    #[inline(always)]
    fn multiply(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [a[0] * b[0], a[1] * b[1]]
    }

    #[inline(always)]
    fn larger(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [if a[0] > b[0] { a[0] } else { b[0] }, if a[1] > b[1] { a[1] } else { b[1] }]
    }

    #[inline(always)]
    fn smaller(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [if a[0] < b[0] { a[0] } else { b[0] }, if a[1] < b[1] { a[1] } else { b[1] }]
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// AVX2: four numbers.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Avx2(());

    /// AVX-512F: eight numbers.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Avx512(());

    impl Avx2 {
        /// The proof, where the processor has AVX2.
        #[inline(always)]
        pub(in super::super) fn detect() -> Option<Self> {
            is_x86_feature_detected!("avx2").then_some(Self(()))
        }
    }

    impl Avx512 {
        /// The proof, where the processor has AVX-512F and DQ.
        #[inline(always)]
        pub(in super::super) fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")).then_some(Self(()))
        }
    }

    macro_rules! lanes {
        ($token:ty, $vector:ty, $length:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $mul:ident, $max:ident, $min:ident) => {
            impl Lanes for $token {
                type Vector = $vector;
                const LENGTH: usize = $length;

                #[inline(always)]
                fn splat(self, value: f64) -> $vector {
                    // SAFETY: `self` proves that the processor has the instructions.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn load(self, values: &[f64]) -> $vector {
                    let values = &values[..$length];
                    // SAFETY: `self` proves the instructions; the slice holds as many numbers as are read, unaligned.
                    unsafe { $load(values.as_ptr()) }
                }

                #[inline(always)]
                fn store(self, vector: $vector, values: &mut [f64]) {
                    let values = &mut values[..$length];
                    // SAFETY: `self` proves the instructions; the slice holds as many numbers as are written, unaligned.
                    unsafe { $store(values.as_mut_ptr(), vector) }
                }

                #[inline(always)]
                fn add(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: `self` proves that the processor has the instructions.
                    unsafe { $add(a, b) }
                }

                #[inline(always)]
                fn multiply(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: `self` proves that the processor has the instructions.
                    unsafe { $mul(a, b) }
                }

                #[inline(always)]
                fn larger(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: `self` proves that the processor has the instructions.
                    unsafe { $max(a, b) }
                }

                #[inline(always)]
                fn smaller(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: `self` proves that the processor has the instructions.
                    unsafe { $min(a, b) }
                }
            }
        };
    }

    lanes!(
        Avx2,
        __m256d,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_mul_pd,
        _mm256_max_pd,
        _mm256_min_pd
    );
    lanes!(
        Avx512,
        __m512d,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_add_pd,
        _mm512_mul_pd,
        _mm512_max_pd,
        _mm512_min_pd
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lanes: impl Lanes) {
        fn run<S: Lanes>(s: S) {
            let values: Vec<f64> = (0..9).map(|i| 1.0 / f64::from(i + 3)).collect();
            let mut found = vec![-1.0; 9];
            let (low, high) = (s.load(&values), s.load(&values[1..]));
            s.store(s.add(s.multiply(low, s.splat(3.0)), s.larger(high, s.splat(0.2))), &mut found);
            for (place, found) in found.iter().enumerate() {
                let inside = place < S::LENGTH;
                let expected = if inside { values[place] * 3.0 + values[place + 1].max(0.2) } else { -1.0 };
                assert_eq!(*found, expected);
            }
            let kept = s.larger(s.splat(f64::NAN), s.splat(1.0));
            s.store(kept, &mut found);
            assert_eq!(found[0], 1.0);
            s.store(s.smaller(s.splat(f64::NAN), s.splat(1.0)), &mut found);
            assert_eq!(found[0], 1.0);
            s.store(s.smaller(s.load(&values), s.splat(0.3)), &mut found);
            assert_eq!(found[..2], [0.3, 0.25]);
        }
        run(lanes);
    }

    #[test]
    fn every_instruction_set_gives_the_same_numbers() {
        check(Baseline);
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx2::detect() {
                check(lanes);
            }
            if let Some(lanes) = Avx512::detect() {
                check(lanes);
            }
        }
    }
}
