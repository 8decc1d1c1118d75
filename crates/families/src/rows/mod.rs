//! Elementary functions and softmax over whole slices, vectorised for the processor found at run time.
//!
//! Every kernel is plain branch-free arithmetic compiled three times: for AVX-512, for AVX2 with FMA, and for the target's own
//! baseline. Each element's result depends on that element alone (in softmax: on its row alone), so that slices may be
//! split or aligned in any way and still give bitwise the same numbers on one machine; AVX-512 and AVX2 give the same numbers too.
// Loops over several aligned arrays read best with an index.
#![allow(clippy::needless_range_loop)]

pub mod double;
mod elementary;
mod lanes;
pub mod panels;
pub mod quadratic;
pub mod single;
mod softmax;

pub use softmax::{log_sum_exp_rows_component_major, softmax_rows_component_major, softmax_rows_row_major};

/// The instruction sets for which the kernels are compiled, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    /// Eight numbers of f64 at a time, sixteen of f32.
    Avx512,
    /// Four numbers of f64 at a time, eight of f32, with fused multiply-add.
    Avx2,
    /// What the compiler's target has.
    Baseline,
}

/// The instruction set that the kernels use on this processor.
#[inline]
pub fn instruction_set() -> InstructionSet {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("fma")
        {
            return InstructionSet::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return InstructionSet::Avx2;
        }
    }
    InstructionSet::Baseline
}

/// Whether the baseline's multiply-add is one instruction (it is a slow library call where it is not).
const BASELINE_FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Defines a public function and compiles its body, a function with a `const FUSED: bool` parameter, for every instruction set.
macro_rules! for_every_instruction_set {
    ($( $(#[$meta:meta])* pub fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident; )*) => { $(
        $(#[$meta])*
        pub fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn with_avx512($($argument: $type),*) {
                    $body::<true>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $type),*) {
                    $body::<true>($($argument),*);
                }
                match $crate::rows::instruction_set() {
                    $crate::rows::InstructionSet::Avx512 => {
                        // SAFETY: the processor has just been found to have these instructions.
                        return unsafe { with_avx512($($argument),*) };
                    }
                    $crate::rows::InstructionSet::Avx2 => {
                        // SAFETY: the processor has just been found to have these instructions.
                        return unsafe { with_avx2($($argument),*) };
                    }
                    $crate::rows::InstructionSet::Baseline => {}
                }
            }
            $body::<{ $crate::rows::BASELINE_FUSED }>($($argument),*);
        }
    )* };
}
pub(crate) use for_every_instruction_set;

/// Defines in-place functions over a slice from functions of one element.
macro_rules! elementwise {
    ($number:ty: $( $(#[$meta:meta])* $name:ident as $body:ident = $function:ident; )*) => { $(
        #[inline(always)]
        fn $body<const FUSED: bool>(values: &mut [$number]) {
            for value in values {
                *value = $function::<FUSED>(*value);
            }
        }
        $crate::rows::for_every_instruction_set! {
            $(#[$meta])*
            pub fn $name(values: &mut [$number]) = $body;
        }
    )* };
}
pub(crate) use elementwise;
