//! Operands with named indices to strided loops.

use crate::kernel::nest::{Access, Nest};
use crate::program::{Label, Operand, Program, Step};

/// The loops of `output[…] += Π inputs[…]` (a single number where there is no output).
///
/// `outer` is the label of the outer loop; `shapes` gives an operand's axes (without the row for row-level ones).
pub(crate) fn contraction(
    program: &Program,
    inputs: &[&Operand],
    output: Option<&Operand>,
    outer: Option<Label>,
    shapes: &dyn Fn(&Operand) -> Vec<usize>,
    row_level: &dyn Fn(&Operand) -> bool,
) -> Nest {
    let mut labels: Vec<Label> = Vec::new();
    for operand in output.into_iter().chain(inputs.iter().copied()) {
        for (step, _) in operand.index.iter().flat_map(|a| &a.parts) {
            if let Step::Label(l) = step
                && Some(*l) != outer
                && !labels.contains(l)
            {
                labels.push(*l);
            }
        }
    }
    let access = |operand: &Operand| {
        let mut sizes = shapes(operand);
        if row_level(operand) {
            // The row's axis is first; its length does not matter for strides.
            sizes.insert(0, 0);
        }
        debug_assert_eq!(sizes.len(), operand.index.len(), "{operand:?}");
        let mut strides = vec![1; sizes.len()];
        for i in (0..sizes.len().saturating_sub(1)).rev() {
            strides[i] = strides[i + 1] * sizes[i + 1];
        }
        let mut access = Access { strides: vec![0; labels.len()], ..Access::default() };
        for (axis, stride) in operand.index.iter().zip(&strides) {
            access.start += axis.start * stride;
            for (step, multiplier) in &axis.parts {
                let step_size = multiplier * stride;
                match step {
                    Step::Label(l) if Some(*l) == outer => access.row_stride += step_size,
                    Step::Label(l) => {
                        if let Some(at) = labels.iter().position(|x| x == l) {
                            access.strides[at] += step_size;
                        }
                    }
                    Step::Codes(c) => access.codes.push((*c, step_size)),
                }
            }
        }
        access
    };
    let inputs: Vec<Access> = inputs.iter().map(|o| access(o)).collect();
    let output = output.map_or_else(|| Access { strides: vec![0; labels.len()], ..Access::default() }, access);
    let sizes = labels.iter().map(|l| program.labels[*l].size).collect();
    Nest { sizes, inputs, output }.optimised()
}
