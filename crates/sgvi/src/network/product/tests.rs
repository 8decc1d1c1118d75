//! Products and dense passes against their definitions, for every instruction set that the processor has.

use super::super::optimizer::Optimizer;
use super::*;

fn sets() -> Vec<InstructionSet> {
    let all = [InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512];
    let best = all.iter().position(|&set| set == instruction_set()).unwrap();
    all[..=best].to_vec()
}

fn wave(length: usize, rate: f32) -> Vec<f32> {
    (0..length).map(|i| (i as f32 * rate + 0.3).sin()).collect()
}

/// Σ in f64, element (i, l) of the left and (l, j) of the right factor.
fn defined(shape: [usize; 3], left: impl Fn(usize, usize) -> f32, right: impl Fn(usize, usize) -> f32) -> Vec<f64> {
    let [rows, depth, columns] = shape;
    (0..rows * columns)
        .map(|at| {
            let (i, j) = (at / columns, at % columns);
            (0..depth).map(|l| f64::from(left(i, l)) * f64::from(right(l, j))).sum()
        })
        .collect()
}

fn assert_close(found: &[f32], wanted: &[f64], what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (i, (&got, &want)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(got) - want).abs() < 3e-5 * want.abs().max(1.0), "{what} at {i}: {got} against {want}");
    }
}

#[test]
fn products_of_every_orientation_and_size_agree_with_the_definition() {
    let shapes = [[1, 1, 1], [5, 7, 3], [64, 130, 97], [70, 9, 20], [3, 256, 256], [200, 17, 5], [33, 113, 131]];
    for set in sets() {
        for [rows, depth, columns] in shapes {
            for (transposed_left, transposed_right) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = wave(rows * depth, 0.71);
                let b = wave(depth * columns, 0.37);
                let left = if transposed_left {
                    Matrix::new(&a, depth, rows).transpose()
                } else {
                    Matrix::new(&a, rows, depth)
                };
                let right = if transposed_right {
                    Matrix::new(&b, columns, depth).transpose()
                } else {
                    Matrix::new(&b, depth, columns)
                };
                let mut wanted = defined(
                    [rows, depth, columns],
                    |i, l| if transposed_left { a[l * rows + i] } else { a[i * depth + l] },
                    |l, j| if transposed_right { b[j * depth + l] } else { b[l * columns + j] },
                );
                let what = format!("{set:?} {rows}·{depth}·{columns} {transposed_left} {transposed_right}");
                let mut output = vec![f32::NAN; rows * columns];
                product_with(set, &mut output, false, left, right);
                assert_close(&output, &wanted, &what);
                product_with(set, &mut output, true, left, right);
                wanted.iter_mut().for_each(|w| *w *= 2.0);
                assert_close(&output, &wanted, &what);
            }
        }
    }
}

#[test]
fn a_product_of_nothing_is_zero() {
    for set in sets() {
        let mut output = vec![5.0; 6];
        product_with(set, &mut output, false, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 3));
        assert_eq!(output, [0.0; 6], "{set:?}");
    }
}

/// Passes of a dense layer over two parts of a batch, and the gradient in two slices of rows, by one instruction set.
struct Dense {
    widths: [usize; 2],
    rows: [usize; 2],
    inputs: [Vec<f32>; 2],
    adjoints: [Vec<f32>; 2],
    values: Vec<f32>,
    memories: [DenseMemory; 2],
}

impl Dense {
    fn new(widths: [usize; 2], rows: [usize; 2]) -> Self {
        let part = |width: usize, rate: f32| [0, 1].map(|p: usize| wave(rows[p] * width, rate + p as f32));
        Self {
            widths,
            rows,
            inputs: part(widths[0], 0.7),
            adjoints: part(widths[1], 0.43),
            values: wave(widths[0] * widths[1], 1.7),
            memories: Default::default(),
        }
    }

    /// With zeros for five sixths of some parts' inputs.
    fn thinned(mut self, parts: &[usize]) -> Self {
        for &part in parts {
            self.inputs[part].iter_mut().enumerate().filter(|(at, _)| at * at % 37 > 5).for_each(|(_, x)| *x = 0.0);
        }
        self
    }

    fn weights(&self) -> Weights<'_> {
        Weights { values: &self.values, input_width: self.widths[0], output_width: self.widths[1] }
    }

    /// Outputs and input adjoints of both parts.
    fn passes(&mut self, set: InstructionSet, activation: Activation, bias: &[f32]) -> Vec<[Vec<f32>; 3]> {
        let mut memories = std::mem::take(&mut self.memories);
        let found = (0..2)
            .map(|part| {
                let mut output = vec![f32::NAN; self.rows[part] * self.widths[1]];
                let mut before = vec![f32::NAN; output.len()];
                let memory = &mut memories[part];
                let (input, adjoint) = (&self.inputs[part], &self.adjoints[part]);
                dense_forward(set, &mut output, &mut before, input, self.weights(), bias, activation, memory);
                let mut back = vec![1.0; self.rows[part] * self.widths[0]];
                dense_backward(set, adjoint, self.weights(), Some((&mut back, part == 1)), memory);
                [output, before, back]
            })
            .collect();
        self.memories = memories;
        found
    }

    fn gradient(
        &self,
        set: InstructionSet,
        range: Range<usize>,
        gradient: &mut [f32],
        add: bool,
        step: Option<&mut Step<'_>>,
    ) {
        let terms: Vec<_> = (0..2)
            .map(|part| DenseTerm {
                input: &self.inputs[part],
                adjoint: &self.adjoints[part],
                memory: &self.memories[part],
            })
            .collect();
        dense_gradient(set, &terms, self.widths, range, gradient, add, step);
    }
}

#[test]
fn dense_passes_agree_with_the_definition() {
    for set in sets() {
        for (widths, rows, thinned) in [
            ([7, 5], [3, 2], &[][..]),
            ([130, 97], [64, 40], &[]),
            ([130, 97], [64, 40], &[0, 1]),
            ([300, 400], [70, 3], &[0]),
            ([20, 144], [150, 1], &[]),
        ] {
            let mut dense = Dense::new(widths, rows).thinned(thinned);
            let bias = wave(widths[1], 0.9);
            for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
                let found = dense.passes(set, activation, &bias);
                for (part, memory) in dense.memories.iter().enumerate() {
                    assert_eq!(!memory.rows.is_empty(), set != InstructionSet::Baseline && thinned.contains(&part));
                }
                for (part, [output, before, back]) in found.iter().enumerate() {
                    let what = format!("{set:?} {widths:?} {activation:?} {part}");
                    let (x, d, w) = (&dense.inputs[part], &dense.adjoints[part], &dense.values);
                    let mut wanted = defined(
                        [rows[part], widths[0], widths[1]],
                        |i, l| x[i * widths[0] + l],
                        |l, j| w[l * widths[1] + j],
                    );
                    wanted.iter_mut().enumerate().for_each(|(at, value)| *value += f64::from(bias[at % widths[1]]));
                    if activation.needs_input() {
                        assert_close(before, &wanted, &what);
                    }
                    let mut activated: Vec<f32> = wanted.iter().map(|&value| value as f32).collect();
                    activation::activate(&mut activated, activation);
                    assert_close(output, &activated.iter().map(|&y| f64::from(y)).collect::<Vec<_>>(), &what);
                    let mut wanted = defined(
                        [rows[part], widths[1], widths[0]],
                        |i, l| d[i * widths[1] + l],
                        |l, j| w[j * widths[1] + l],
                    );
                    // The second part's is added to ones.
                    wanted.iter_mut().for_each(|value| *value += part as f64);
                    assert_close(back, &wanted, &what);
                }
            }
        }
    }
}

#[test]
fn gradients_and_steps_agree_with_the_definition() {
    for set in sets() {
        for (widths, rows, thinned) in [
            ([7, 5], [3, 2], &[][..]),
            ([61, 97], [64, 40], &[]),
            ([61, 97], [64, 40], &[0, 1]),
            ([61, 97], [64, 40], &[1]),
            ([20, 144], [150, 1], &[]),
            ([130, 400], [150, 70], &[0, 1]),
            ([13, 64], [64, 64], &[]),
        ] {
            let mut dense = Dense::new(widths, rows).thinned(thinned);
            dense.passes(set, Activation::Identity, &vec![0.0; widths[1]]);
            let mut wanted = vec![1.0; widths[0] * widths[1]];
            for part in 0..2 {
                let (x, d) = (&dense.inputs[part], &dense.adjoints[part]);
                let term = defined(
                    [widths[0], rows[part], widths[1]],
                    |i, l| x[l * widths[0] + i],
                    |l, j| d[l * widths[1] + j],
                );
                wanted.iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
            }
            let (cut, what) = (widths[0] / 3, format!("{set:?} {widths:?}"));
            let mut gradient = vec![1.0; wanted.len()];
            for range in [0..cut, cut..widths[0]] {
                let slice = range.start * widths[1]..range.end * widths[1];
                dense.gradient(set, range, &mut gradient[slice], true, None);
            }
            assert_close(&gradient, &wanted, &what);

            for name in ["adam", "adamw", "momentum"] {
                let optimizer = Optimizer::named(name).unwrap();
                let size = optimizer.step_size(0.1, 3);
                let start = [wave(wanted.len(), 0.2), wave(wanted.len(), 0.5), vec![0.3; wanted.len()]];
                let [mut values, mut first, mut second] = start.clone();
                optimizer.update(size, &mut values, &gradient, &mut first, &mut second);
                let [mut stepped, mut first_stepped, mut second_stepped] = start;
                let mut buffer = vec![1.0; wanted.len()];
                for range in [0..cut, cut..widths[0]] {
                    let slice = range.start * widths[1]..range.end * widths[1];
                    let mut step = Step {
                        optimizer,
                        size,
                        values: &mut stepped[slice.clone()],
                        first: &mut first_stepped[slice.clone()],
                        second: &mut second_stepped[slice.clone()],
                    };
                    dense.gradient(set, range, &mut buffer[slice], true, Some(&mut step));
                }
                for (found, wanted) in [(&stepped, &values), (&first_stepped, &first), (&second_stepped, &second)] {
                    let wanted: Vec<f64> = wanted.iter().map(|&x| f64::from(x)).collect();
                    assert_close(found, &wanted, &format!("{what} {name}"));
                }
            }
        }
    }
}

#[test]
fn an_input_that_is_mostly_zeros_gives_the_same_bits() {
    for set in sets() {
        for (widths, rows) in [([784, 400], 64), ([301, 97], 5)] {
            let mut dense = Dense::new(widths, [rows, 1]).thinned(&[0]);
            dense.inputs[0][widths[0] + 1] = -0.0;
            let [output, ..] = &dense.passes(set, Activation::Identity, &vec![0.0; widths[1]])[0];
            let mut wanted = vec![0.0; output.len()];
            let right = Matrix::new(&dense.values, widths[0], widths[1]);
            product_with(set, &mut wanted, false, Matrix::new(&dense.inputs[0], rows, widths[0]), right);
            assert_eq!(output, &wanted, "{set:?} {widths:?}");
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    for set in sets() {
        let mut dense = Dense::new([5, 32], [4, 3]);
        dense.adjoints[1][7] = f32::NAN;
        dense.passes(set, Activation::Relu, &[0.0; 32]);
        let optimizer = Optimizer::named("adam").unwrap();
        let (mut values, mut first, mut second) = (vec![0.5; 160], vec![0.0; 160], vec![0.0; 160]);
        let size = optimizer.step_size(0.1, 1);
        let mut step = Step { optimizer, size, values: &mut values, first: &mut first, second: &mut second };
        dense.gradient(set, 0..5, &mut [0.0; 160], false, Some(&mut step));
        for (at, value) in values.iter().enumerate() {
            assert_eq!(value.is_nan(), at % 32 == 7, "{set:?} {at}");
        }
    }
}

#[test]
fn moments_without_a_gradient_do_not_become_subnormal() {
    for name in ["adam", "momentum"] {
        let optimizer = Optimizer::named(name).unwrap();
        let size = optimizer.step_size(0.1, 1);
        let start = || [vec![0.5_f32; 160], wave(160, 0.3), vec![1e-35_f32; 160]];
        for set in sets() {
            let mut dense = Dense::new([5, 32], [4, 3]);
            dense.adjoints.iter_mut().for_each(|adjoint| adjoint.fill(0.0));
            dense.passes(set, Activation::Identity, &[0.0; 32]);
            let ([mut values, mut first, mut second], [mut x, mut m, mut v]) = (start(), start());
            for _ in 0..1000 {
                let mut step = Step { optimizer, size, values: &mut values, first: &mut first, second: &mut second };
                dense.gradient(set, 0..5, &mut [0.0; 160], false, Some(&mut step));
                optimizer.update(size, &mut x, &[0.0; 160], &mut m, &mut v);
            }
            for moments in [&first, &m] {
                assert!(moments.iter().all(|&moment| moment.is_normal() && moment < 1e-28), "{set:?} {name}");
            }
            for moments in [&second, &v].into_iter().filter(|_| name == "adam") {
                assert!(moments.iter().all(|&moment| moment.is_normal() && moment < 1e-26), "{set:?} {name}");
            }
        }
    }
}

#[test]
fn a_row_comes_out_the_same_whatever_rows_are_beside_it() {
    let set = instruction_set();
    let (weights, bias) = (wave(300 * 70, 0.31), wave(70, 0.11));
    let weights = Weights { values: &weights, input_width: 300, output_width: 70 };
    let input = wave(90 * 300, 0.77);
    let forward = |rows: Range<usize>| {
        let mut output = vec![0.0; rows.len() * 70];
        let memory = &mut DenseMemory::default();
        let input = &input[rows.start * 300..rows.end * 300];
        dense_forward(set, &mut output, &mut [], input, weights, &bias, Activation::Tanh, memory);
        output
    };
    let whole = forward(0..90);
    if set != InstructionSet::Baseline {
        for rows in [0..1, 17..50, 3..83] {
            assert_eq!(forward(rows.clone()), whole[rows.start * 70..rows.end * 70]);
        }
    }
}
