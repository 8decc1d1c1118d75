//! Where the sums of a product go: into a buffer, or, as a gradient, straight into the optimiser's step on the parameters.

use super::super::dense::Step;
use super::super::optimizer::{Rule, TRACE};
use super::register::Register;

/// A block of the output and what becomes of it.
#[derive(Debug)]
pub(super) struct Target<'a, 'b> {
    /// The output, in which partial sums may stand; the sums are left there where no step is taken.
    pub output: &'a mut [f32],
    /// From one row of the output, and of the parameters, to the next.
    pub stride: usize,
    /// The first column.
    pub column: usize,
    /// Whether the output holds sums to which to add.
    pub accumulate: bool,
    /// The step, on parameters laid out like the output.
    pub step: Option<&'a mut Step<'b>>,
}

/// The parameters of the target's rows and their moments.
#[derive(Clone, Copy)]
struct Moments {
    values: *mut f32,
    first: *mut f32,
    second: *mut f32,
    rule: Rule,
}

/// A target whose bounds were checked.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    output: *mut f32,
    stride: usize,
    accumulate: bool,
    moments: Option<Moments>,
}

impl Destination {
    /// For `rows` rows of `width` numbers.
    ///
    /// # Panics
    /// Where the target has no room for them.
    #[inline(always)]
    pub(super) fn new(target: Target<'_, '_>, rows: usize, width: usize) -> Self {
        let length = rows.saturating_sub(1) * target.stride + target.column + width;
        assert!(length <= target.output.len());
        let moments = target.step.map(|step| {
            let rule = step.optimizer.rule(step.size);
            assert!(length <= step.values.len() && length <= step.first.len());
            assert!(length <= step.second.len() || !rule.has_second_moments());
            Moments {
                values: step.values.as_mut_ptr().wrapping_add(target.column),
                first: step.first.as_mut_ptr().wrapping_add(target.column),
                second: step.second.as_mut_ptr().wrapping_add(target.column),
                rule,
            }
        });
        Self {
            output: target.output.as_mut_ptr().wrapping_add(target.column),
            stride: target.stride,
            accumulate: target.accumulate,
            moments,
        }
    }

    /// The parameters and their moments, if a step is taken.
    #[inline(always)]
    pub(super) fn moments(&self) -> Option<[*const f32; 3]> {
        self.moments.map(|m| [m.values.cast_const(), m.first.cast_const(), m.second.cast_const()])
    }

    /// What is read and written where sums are complete, in bytes from the output: the output itself, or, where a step is taken,
    /// the parameters and their moments.
    #[inline(always)]
    pub(super) fn buffers(&self) -> [Option<isize>; 3] {
        match self.moments() {
            None => [Some(0), None, None],
            Some(moments) => moments.map(|buffer| Some((buffer as isize).wrapping_sub(self.output as isize))),
        }
    }

    /// The output.
    #[inline(always)]
    pub(super) fn output(&self) -> *const f32 {
        self.output
    }

    /// From one row to the next.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// What becomes of the sums of a row, which stand at `sums`.
    ///
    /// # Safety
    /// The row is below the number of rows, `vectors` registers are no wider than it, and the processor has the instruction set
    /// of `R`.
    #[inline(always)]
    pub(super) unsafe fn finish<R: Register>(&self, sums: *const f32, row: usize, vectors: usize) {
        let start = row * self.stride;
        for v in 0..vectors {
            let at = start + v * R::LANES;
            // SAFETY: the caller's contract.
            unsafe {
                let sum = R::load(sums.add(v * R::LANES));
                match self.moments {
                    None => self.put(sum, at),
                    Some(m) => {
                        let here = self.output.wrapping_add(at);
                        let sum = if self.accumulate { R::load(here).add(sum) } else { sum };
                        step(m.rule, sum, m.values.add(at), m.first.add(at), m.second.wrapping_add(at));
                    }
                }
            }
        }
    }

    /// What becomes of the sums of one register where no step is taken.
    ///
    /// # Safety
    /// As for [`Destination::finish`], with `at` counted from the first row.
    #[inline(always)]
    pub(super) unsafe fn put<R: Register>(&self, sum: R, at: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let here = self.output.add(at);
            let sum = if self.accumulate { R::load(here).add(sum) } else { sum };
            sum.store(here);
        }
    }
}

/// The optimiser's rule on one register of the gradient.
///
/// # Safety
/// As for [`Destination::finish`]; `second` is only used where the rule has second moments.
#[inline(always)]
unsafe fn step<R: Register>(rule: Rule, gradient: R, values: *mut f32, first: *mut f32, second: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let value = R::load(values);
        let kept = if rule.shrink() == 0.0 { value } else { value.multiply(R::splat(1.0 - rule.shrink())) };
        match rule {
            Rule::Adam { first_decay, second_decay, scale, epsilon, .. } => {
                let trace = R::splat(TRACE);
                let m = trace.add_product(gradient, R::splat(1.0 - first_decay));
                let m = m.add_product(R::splat(first_decay), R::load(first));
                let part = gradient.multiply(R::splat((1.0 - second_decay).sqrt()));
                let v = trace.add_product(R::load(second), R::splat(second_decay)).add_product(part, part);
                m.store(first);
                v.store(second);
                let root = v.square_root().add(R::splat(epsilon));
                kept.add_product(m.divide(root), R::splat(scale)).store(values);
            }
            Rule::Momentum { momentum, scale, .. } => {
                let m = gradient.add(R::splat(TRACE)).add_product(R::splat(momentum), R::load(first));
                m.store(first);
                kept.add_product(m, R::splat(scale)).store(values);
            }
        }
    }
}
