//! Starts networks on the scale of the data they read and describe: dollars and calendar years are far from a network's usual
//! numbers, and from the spread of one that an sd starts with.
//!
//! Where columns are far from the unit scale, the first layers that read them start as if they read (x − m)/s, the last layers
//! that are means of normals as if they gave (x − m)/s, and the sds of these normals at s. Gradient steps are taken in the same
//! units: a step of size η in a weight of such a network is one of η/(s + |m|), or of η·s.

use super::model::AmortizedModel;
use super::program::{Likelihood, Operation, Program, SlotId};
use crate::lower::Support;
use crate::network::activation::Activation;
use crate::network::layer::{Kind, Layer};

/// Rows from which means and sds are taken at most.
const MOST_ROWS: usize = 4096;
/// Sds and means beyond which a column is far from the unit scale.
const LARGE: (f64, f64) = (3.0, 10.0);
/// Root mean square below which it is.
const SMALL: f64 = 0.1;

/// Mean and sd of a column.
type Moments = (f64, f64);

/// What the steps in each parameter are to be multiplied by; `None` where all data are near the unit scale.
pub(super) fn start_on_the_scale_of_data(
    model: &AmortizedModel,
    rows: &[u32],
    parameters: &mut [f32],
) -> Option<Vec<f32>> {
    let mut place = Placement { model, rows, parameters, rates: None };
    for (index, layer) in model.program.layers.iter().enumerate() {
        place.first_layer(index, layer);
    }
    for observed in &model.program.observed {
        if observed.likelihood == Likelihood::Normal
            && let [mean, sd] = observed.parameters[..]
            && let Some(columns) = place.far(observed.data)
            && let Some(columns) = columns.into_iter().collect::<Option<Vec<Moments>>>()
        {
            place.last_layer(mean, &columns);
            place.sd(sd, &columns);
        }
    }
    place.rates
}

struct Placement<'a> {
    model: &'a AmortizedModel,
    rows: &'a [u32],
    parameters: &'a mut [f32],
    rates: Option<Vec<f32>>,
}

impl Placement<'_> {
    fn program(&self) -> &Program {
        &self.model.program
    }

    /// Moments of a slot's columns where some are far from the unit scale; `None` for those that are not data.
    fn far(&self, slot: SlotId) -> Option<Vec<Option<Moments>>> {
        let columns = self.moments(slot);
        let is_far = |&(m, s): &Moments| s > LARGE.0 || m.abs() > LARGE.1 || (s > 0.0 && m.hypot(s) < SMALL);
        columns.iter().flatten().any(is_far).then(|| {
            let sds: Vec<f64> = columns.iter().flatten().map(|c| c.1).filter(|s| *s > 0.0).collect();
            let usual = if sds.is_empty() { 1.0 } else { root_mean_square(&sds) };
            // A constant column has no spread of its own.
            columns.into_iter().map(|c| c.map(|(m, s)| (m, if s > 0.0 { s } else { usual }))).collect()
        })
    }

    fn moments(&self, slot: SlotId) -> Vec<Option<Moments>> {
        let program = self.program();
        let none = vec![None; program.slots[slot].width];
        let Some(operation) = program.operations.iter().find(|operation| operation.output() == slot) else {
            return none;
        };
        match operation {
            Operation::Data { source, .. } => {
                let source = &self.model.sources[*source];
                let step = self.rows.len().div_ceil(MOST_ROWS).max(1);
                (0..source.width)
                    .map(|column| {
                        let values = self.rows.iter().step_by(step);
                        moments(values.map(|&row| f64::from(source.values[row as usize * source.width + column])))
                    })
                    .collect()
            }
            Operation::Concatenate { inputs, .. } => inputs.iter().flat_map(|&input| self.moments(input)).collect(),
            Operation::Gather { input, map, .. } => {
                let columns = self.moments(*input);
                map.iter().map(|&at| columns[at as usize]).collect()
            }
            Operation::Repeat { input, .. } => self.moments(*input),
            _ => none,
        }
    }

    /// Ranges of a dense layer's weight and bias.
    fn dense(&self, layer: &Layer) -> Option<(usize, usize)> {
        let views = self.program().layout.views();
        match (layer.kind == Kind::Dense, layer.weight, layer.bias) {
            (true, Some(weight), Some(bias)) => Some((views[weight].range.start, views[bias].range.start)),
            _ => None,
        }
    }

    fn set(&mut self, at: usize, value: f64, rate: f64) {
        self.parameters[at] = value as f32;
        let length = self.parameters.len();
        self.rates.get_or_insert_with(|| vec![1.0; length])[at] = rate as f32;
    }

    /// W ← W/s and b ← b − m·W/s.
    fn first_layer(&mut self, index: usize, layer: &Layer) {
        let input = self.program().operations.iter().find_map(|operation| match *operation {
            Operation::Layer { layer, input, .. } if layer == index => Some(input),
            _ => None,
        });
        let (Some((weight, bias)), Some(columns)) = (self.dense(layer), input.and_then(|input| self.far(input))) else {
            return;
        };
        for (i, column) in columns.into_iter().enumerate() {
            let Some((m, s)) = column else { continue };
            for j in 0..layer.output_width {
                let at = weight + i * layer.output_width + j;
                let scaled = f64::from(self.parameters[at]) / s;
                self.set(at, scaled, 1.0 / (s + m.abs()));
                self.parameters[bias + j] -= (m * scaled) as f32;
            }
        }
    }

    /// W ← W·s and b ← m + b·s of the layer that gives a slot.
    fn last_layer(&mut self, slot: SlotId, columns: &[Moments]) {
        let layers = &self.model.program.layers;
        let layer = self.program().operations.iter().find_map(|operation| match *operation {
            Operation::Layer { layer, output, .. } if output == slot => Some(&layers[layer]),
            _ => None,
        });
        let Some(layer) = layer.filter(|l| l.activation == Activation::Identity && l.output_width == columns.len())
        else {
            return;
        };
        let Some((weight, bias)) = self.dense(layer) else { return };
        for (j, &(m, s)) in columns.iter().enumerate() {
            for i in 0..layer.input_width {
                let at = weight + i * layer.output_width + j;
                self.set(at, f64::from(self.parameters[at]) * s, s);
            }
            self.set(bias + j, m + f64::from(self.parameters[bias + j]) * s, s);
        }
    }

    /// ln σ ← ln s, where the sd of a normal is a variable itself that the model file gives no start.
    fn sd(&mut self, slot: SlotId, columns: &[Moments]) {
        let program = &self.model.program;
        let source = |slot: SlotId| program.operations.iter().find(|operation| operation.output() == slot);
        let mut operation = source(slot);
        while let Some(Operation::Repeat { input, .. } | Operation::Gather { input, .. }) = operation {
            operation = source(*input);
        }
        let (Some(Operation::Global { variable, .. }), Some(globals)) = (operation, &program.globals) else { return };
        let joint = globals.joint.model();
        let latent = joint.latents.iter().find(|latent| latent.variable == *variable);
        let Some(latent) = latent.filter(|l| matches!(l.support, Support::Lower(_))) else { return };
        if globals.placed.contains(variable) {
            return;
        }
        // What is noise is hardly larger than the smaller columns: the geometric mean.
        let common = (columns.iter().map(|c| c.1.ln()).sum::<f64>() / columns.len().max(1) as f64).exp();
        for element in 0..latent.count {
            let s = if latent.count == columns.len() { columns[element].1 } else { common };
            let coordinate = latent.offset + element;
            let point = globals.points.iter().find(|point| point.variable == *variable);
            let at = match (point, &globals.factor) {
                (Some(point), _) => Some(program.layout.views()[point.view].range.start + element),
                (None, Some(factor)) => {
                    factor.place_of_mean(coordinate).map(|k| program.layout.views()[factor.view].range.start + k)
                }
                (None, None) => None,
            };
            if let Some(at) = at {
                self.parameters[at] = s.ln() as f32;
            }
        }
    }
}

/// Mean and sd of the numbers that are not missing.
fn moments(values: impl Iterator<Item = f64>) -> Option<Moments> {
    let (mut n, mut mean, mut square) = (0.0, 0.0, 0.0);
    for x in values.filter(|x| !x.is_nan()) {
        n += 1.0;
        let step = x - mean;
        mean += step / n;
        square += step * (x - mean);
    }
    (n > 0.0).then(|| (mean, (square / n).sqrt()))
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// Steps in some parameters made longer or shorter: `before` + rate · (after − before).
pub(super) fn rescale(parameters: &mut [f32], before: &[f32], rates: &[f32]) {
    for ((x, b), rate) in parameters.iter_mut().zip(before).zip(rates) {
        if *rate != 1.0 {
            *x = b + rate * (*x - b);
        }
    }
}
