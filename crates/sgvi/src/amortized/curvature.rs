//! The mean curvature of normals in what their means and sds are computed from, carried back through the row program.

use super::globals::Point;
use super::part::Part;
use super::program::{Binary, Level, Likelihood, Operation, Owner, Program, SlotId, Unary};
use nalgebra::DMatrix;

/// Diagonal curvatures, by slot: how much the negative log density of a row curves in each number, on average over rows.
#[derive(Debug)]
pub(super) struct Curvatures {
    slots: Vec<Option<Vec<f64>>>,
}

impl Curvatures {
    /// Carries back 1/s² from the means of all normals and 2/s² from their sds; `part` holds a forward sweep.
    ///
    /// `None` where a variable is not normal or a factor differs between rows.
    pub(super) fn new(program: &Program, part: &Part, presence: &[Vec<f64>]) -> Option<Self> {
        let mut slots: Vec<Option<Vec<f64>>> = program.slots.iter().map(|slot| Some(vec![0.0; slot.width])).collect();
        let mut seed = |mean: SlotId, sd: SlotId, presence: &dyn Fn(usize) -> f64, width: usize| {
            if program.slots[sd].level != Level::Global {
                return None;
            }
            for p in 0..width {
                let s = f64::from(part.values[sd][if program.slots[sd].width == 1 { 0 } else { p }]);
                for (slot, factor) in [(mean, 1.0), (sd, 2.0)] {
                    let at = if program.slots[slot].width == 1 { 0 } else { p };
                    slots[slot].as_mut()?[at] += factor * presence(p) / (s * s);
                }
            }
            Some(())
        };
        for (observed, presence) in program.observed.iter().zip(presence) {
            let (Likelihood::Normal, &[mean, sd]) = (observed.likelihood, &observed.parameters[..]) else {
                return None;
            };
            seed(mean, sd, &|p| presence[p], presence.len())?;
        }
        for latent in &program.latents {
            let prior = latent.prior?;
            seed(prior.mean, prior.sd, &|_| 1.0, latent.width)?;
        }
        let mut curvatures = Self { slots };
        for operation in program.operations.iter().rev() {
            let output = operation.output();
            if program.slots[output].level != Level::Basis && program.slots[output].differentiable {
                curvatures.carry(program, part, operation);
            }
        }
        Some(curvatures)
    }

    /// Of the numbers of a slot, raised where they are zero; `None` where they are not known.
    pub(super) fn of(&self, slot: SlotId) -> Option<Vec<f64>> {
        let values = self.slots[slot].as_ref()?;
        let largest = values.iter().copied().fold(0.0, f64::max);
        if !largest.is_finite() {
            return None;
        }
        let least = if largest > 0.0 { 1e-6 * largest } else { 1.0 };
        Some(values.iter().map(|&value| value.max(least)).collect())
    }

    /// Of a point's unconstrained numbers, at θ; `None` where they and its elements do not go one by one.
    pub(super) fn of_point(&self, program: &Program, theta: &[f64], point: &Point) -> Option<Vec<f64>> {
        let slot = program.operations.iter().find_map(|operation| match *operation {
            Operation::Global { variable, output } if variable == point.variable => Some(output),
            _ => None,
        })?;
        let slopes = program.globals.as_ref()?.joint.slopes(theta, point.variable)?;
        let values: Vec<f64> = self.of(slot)?.into_iter().zip(slopes).map(|(c, slope)| c * slope * slope).collect();
        values.iter().all(|&value| value > 0.0 && value.is_finite()).then_some(values)
    }

    fn carry(&mut self, program: &Program, part: &Part, operation: &Operation) {
        let Some(curvature) = self.slots[operation.output()].clone() else {
            for input in operation.inputs(&program.latents) {
                self.slots[input] = None;
            }
            return;
        };
        // Values that are the same in every row.
        let global = |slot: SlotId| {
            let mut slot = slot;
            while program.slots[slot].level != Level::Global {
                slot = program.operations.iter().find_map(|operation| match *operation {
                    Operation::Repeat { input, output } if output == slot => Some(input),
                    _ => None,
                })?;
            }
            Some(&part.values[slot][..program.slots[slot].width])
        };
        let slots = &mut self.slots;
        let mut add = |slot: SlotId, terms: Option<Vec<(usize, f64)>>| match (&mut slots[slot], terms) {
            (Some(target), Some(terms)) => terms.into_iter().for_each(|(at, term)| target[at] += term),
            (target, _) => *target = None,
        };
        let plain = || curvature.iter().copied().enumerate().collect::<Vec<_>>();
        match operation {
            Operation::Data { .. } | Operation::Constant { .. } | Operation::Global { .. } => {}
            Operation::Linear { .. } | Operation::Layer { .. } | Operation::Draw { .. } => {
                // A layer has a block of its own; what it reads is another's.
            }
            Operation::Repeat { input, .. } => add(*input, Some(plain())),
            Operation::Gather { input, map, .. } => {
                add(*input, Some(map.iter().zip(&curvature).map(|(&at, &c)| (at as usize, c)).collect()));
            }
            Operation::LookUp { table, map, stride, .. } => {
                // At most what it would be if every row looked up the same place.
                let size = program.slots[*table].width;
                let terms = map
                    .iter()
                    .zip(&curvature)
                    .flat_map(|(&first, &c)| (first as usize..size).step_by(*stride).map(move |at| (at, c)));
                add(*table, Some(terms.collect()));
            }
            Operation::Concatenate { inputs, .. } => {
                let mut offset = 0;
                for &input in inputs {
                    let width = program.slots[input].width;
                    add(input, Some((0..width).map(|i| (i, curvature[offset + i])).collect()));
                    offset += width;
                }
            }
            Operation::Unary { function, input, output } => {
                let slopes: Option<Vec<f64>> = match *function {
                    Unary::Affine { scale, .. } => Some(vec![f64::from(scale); curvature.len()]),
                    other => global(*input).zip(global(*output)).map(|(x, y)| {
                        x.iter().zip(y).map(|(&x, &y)| slope(other, f64::from(x), f64::from(y))).collect()
                    }),
                };
                let terms = slopes.map(|slopes| {
                    slopes.iter().zip(&curvature).map(|(s, c)| s * s * c).enumerate().collect::<Vec<_>>()
                });
                add(*input, terms);
            }
            Operation::LogShares { input, .. } => add(*input, None),
            Operation::Binary { operator: Binary::Add | Binary::Subtract, left, right, .. } => {
                add(*left, Some(plain()));
                add(*right, Some(plain()));
            }
            Operation::Binary { operator, left, right, .. } => {
                let scaled = |factors: Option<Vec<f64>>| {
                    factors.map(|f| f.iter().zip(&curvature).map(|(f, c)| f * f * c).enumerate().collect::<Vec<_>>())
                };
                let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
                let (a, b) = (global(*left).map(wide), global(*right).map(wide));
                let divides = *operator == Binary::Divide;
                let by_left = b.clone().map(|b| b.iter().map(|&b| if divides { 1.0 / b } else { b }).collect());
                let by_right = match (a, b) {
                    (Some(a), Some(b)) if divides => Some(a.iter().zip(&b).map(|(a, b)| a / (b * b)).collect()),
                    (Some(a), _) if !divides => Some(a),
                    _ => None,
                };
                add(*left, scaled(by_left));
                add(*right, scaled(by_right));
            }
            Operation::Contract { left, right, length, left_map, right_map, .. } => {
                for (this, this_map, other, other_map) in
                    [(*left, left_map, *right, right_map), (*right, right_map, *left, left_map)]
                {
                    let terms = global(other).map(|values| {
                        this_map
                            .iter()
                            .zip(other_map)
                            .enumerate()
                            .map(|(at, (&i, &j))| {
                                (i as usize, curvature[at / length] * f64::from(values[j as usize]).powi(2))
                            })
                            .collect()
                    });
                    add(this, terms);
                }
            }
        }
    }
}

/// f′(x), with y = f(x).
fn slope(function: Unary, x: f64, y: f64) -> f64 {
    match function {
        Unary::Affine { scale, .. } => f64::from(scale),
        Unary::Reciprocal => -y * y,
        Unary::Exp => y,
        Unary::Log => 1.0 / x,
        Unary::Sqrt => 0.5 / y,
        Unary::Square => 2.0 * x,
        Unary::Logistic => y * (1.0 - y),
        Unary::Softplus => 1.0 - (-y).exp(),
    }
}

/// The curvature of the bound in the means of all coordinates: Σ J·diag(presence/s²)·Jᵀ over all spreads plus the prior's
/// 1/s²; `None` where an sd differs between rows.
pub(super) fn coordinate_gram(program: &Program, part: &Part, presence: &[Vec<f64>]) -> Option<DMatrix<f64>> {
    let n = program.num_coordinates();
    let mut gram = DMatrix::zeros(n, n);
    for spread in &program.spreads {
        let (width, sd) = (program.slots[spread.jacobian].width, program.slots[spread.sd]);
        if sd.level != Level::Global {
            return None;
        }
        let jacobian = &part.values[spread.jacobian];
        let scaled = DMatrix::from_fn(n, width, |i, p| {
            let s = f64::from(part.values[spread.sd][if sd.width == 1 { 0 } else { p }]);
            let present = match spread.owner {
                Owner::Observed(index) => presence[index][p],
                Owner::Latent(_) => 1.0,
            };
            f64::from(jacobian[i * width + p]) * present.sqrt() / s
        });
        gram += &scaled * scaled.transpose();
    }
    let mut offset = 0;
    for latent in &program.latents {
        let prior = latent.prior?;
        let sd = program.slots[prior.sd];
        if sd.level != Level::Global {
            return None;
        }
        for i in 0..latent.width {
            gram[(offset + i, offset + i)] += f64::from(part.values[prior.sd][i]).powi(-2);
        }
        offset += latent.width;
    }
    Some(gram)
}
