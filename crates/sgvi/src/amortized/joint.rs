//! The compiled log joint beside the row program: variables outside the rows' plate, and densities of rows that no layer needs.

use super::program::SlotId;
use crate::lower::{GeneratorModel, JointModel, Model, Port as LoweredPort, Support};
use crate::tape::{Frame, Program, Source, Value};
use std::collections::HashMap;
use std::sync::Arc;
use vi_model::graph::VariableId;

/// A slot of the row program that a tape reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    /// The slot.
    pub slot: SlotId,
    /// The buffer that takes its values.
    buffer: usize,
    /// Numbers per draw.
    width: usize,
}

/// A compiled program that reads values of the row program, over rows in any order.
#[derive(Debug)]
pub(crate) struct Tape {
    program: Arc<Program>,
    /// Values of the row program that it reads.
    pub ports: Vec<Port>,
    row_data: Vec<usize>,
}

impl Tape {
    fn new(program: Arc<Program>, ports: &[LoweredPort], slots: &[SlotId], row_data: Vec<usize>) -> Self {
        let ports = ports
            .iter()
            .zip(slots)
            .filter_map(|(port, &slot)| {
                let Source::Latent(buffer) = port.value.source else { return None };
                Some(Port { slot, buffer, width: port.value.shape.inner() })
            })
            .collect();
        Self { program, ports, row_data }
    }
}

/// A log density of rows that the log joint evaluates.
#[derive(Debug, Clone)]
pub(crate) struct RowTerm {
    /// The variable to whose term it belongs.
    pub name: String,
    /// Whether it belongs to the prior of amortised variables.
    pub prior: bool,
    value: Value,
}

/// The log joint of everything but the densities that the row program evaluates itself.
#[derive(Debug)]
pub(crate) struct Joint {
    model: Model,
    /// The log joint.
    pub tape: Tape,
    /// Log densities of rows.
    pub row_terms: Vec<RowTerm>,
    values: HashMap<VariableId, Value>,
}

impl Joint {
    /// `slots` are those of the joint's ports, in order; `names` tells a variable's name and whether its term is one of the
    /// prior of amortised variables.
    pub(super) fn new(joint: JointModel, slots: &[SlotId], names: &dyn Fn(VariableId) -> (String, bool)) -> Self {
        let row_terms = joint.row_terms.into_iter().map(|(v, value)| {
            let (name, prior) = names(v);
            RowTerm { name, prior, value }
        });
        let tape = Tape::new(Arc::clone(&joint.model.program), &joint.ports, slots, joint.row_data);
        Self { row_terms: row_terms.collect(), tape, model: joint.model, values: joint.values }
    }

    /// Coordinates, read-outs, and the program.
    #[must_use]
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Log density of every variable outside the rows' plate with the log Jacobian of its coordinates, by index in the
    /// graph, at θ; with `gradient` its derivative is written there.
    pub(super) fn prior_terms(&self, theta: &[f64], gradient: Option<&mut Vec<f64>>) -> Vec<f64> {
        let program = &self.model.program;
        let mut frame = Frame::new(program, 1, 0);
        frame.with_gradient = gradient.is_some();
        frame.opening = true;
        frame.closing = true;
        program.global.iter().for_each(|operation| operation.forward(program, &mut frame, theta));
        if let Some(gradient) = gradient {
            program.global.iter().rev().for_each(|operation| operation.backward(program, &mut frame, theta));
            gradient.clone_from(&frame.gradient);
        }
        frame.terms
    }

    /// dx/dθ of a variable whose elements each have one coordinate; `None` for others.
    pub(super) fn slopes(&self, theta: &[f64], variable: VariableId) -> Option<Vec<f64>> {
        let latent = self.model.latents.iter().find(|latent| latent.variable == variable)?;
        if !matches!(latent.support, Support::Real | Support::Lower(_) | Support::Upper(_) | Support::Interval(..)) {
            return None;
        }
        let mut state = State::new(&self.tape, 0, true);
        state.globals(&self.tape, theta);
        state.clear(self);
        state.add_adjoint(self, variable, &vec![1.0; latent.count]);
        state.backward_globals(self, theta);
        Some(state.frame.gradient[latent.offset..latent.offset + latent.count].to_vec())
    }
}

/// Draws of variables of the rows, given what the row program computes.
#[derive(Debug)]
pub(crate) struct Generator {
    /// The draws, and the densities' arguments.
    pub tape: Tape,
    /// For each variable, by index in the graph, its draw, its mean given everything before it, and its probabilities.
    outputs: Vec<(VariableId, Value, Option<Value>, Option<Value>)>,
}

impl Generator {
    pub(super) fn new(model: GeneratorModel, slots: &[SlotId]) -> Self {
        let outputs = model.drawn.into_iter().map(|d| (d.variable, d.draw, d.moments.map(|m| m.0), d.probabilities));
        Self { outputs: outputs.collect(), tape: Tape::new(model.program, &model.ports, slots, model.row_data) }
    }
}

impl Generator {
    /// The variable that it draws, where that is only one.
    pub(super) fn variable(&self) -> Option<VariableId> {
        match &self.outputs[..] {
            [(variable, ..)] => Some(*variable),
            _ => None,
        }
    }
}

/// What is expected of a variable of the rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// A draw of each number.
    pub(super) draws: Vec<f64>,
    /// The expected value of each number; of a category the probabilities of its values.
    pub(super) values: Vec<f64>,
    /// Number of those values.
    categories: Option<usize>,
}

impl Expected {
    /// Of categories with these probabilities the most probable ones; other numbers as they are.
    pub(super) fn likeliest(&self, values: Vec<f64>) -> Vec<f64> {
        let Some(size) = self.categories else { return values };
        let best = |p: &[f64]| (0..size).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0) as f64;
        values.chunks_exact(size).map(best).collect()
    }
}

/// The buffers of a tape over the draws of one part of a batch.
#[derive(Debug, Default)]
pub(super) struct State {
    frame: Frame,
}

impl State {
    /// Buffers for at most so many draws of rows.
    pub(super) fn new(tape: &Tape, samples: usize, with_adjoints: bool) -> Self {
        let mut frame = Frame::new(&tape.program, 1, samples);
        frame.first = false;
        frame.with_gradient = with_adjoints;
        if !tape.row_data.is_empty() {
            frame.gathered = vec![Vec::new(); tape.program.data.len()];
        }
        Self { frame }
    }

    /// Values of the variables outside the rows' plate at θ.
    pub(super) fn globals(&mut self, tape: &Tape, theta: &[f64]) {
        tape.program.global.iter().for_each(|operation| operation.forward(&tape.program, &mut self.frame, theta));
    }

    /// The value of a variable outside the rows' plate.
    pub(super) fn value<'a>(&'a self, joint: &'a Joint, variable: VariableId) -> &'a [f64] {
        match joint.values.get(&variable) {
            Some(value) => &self.frame.read(&joint.tape.program, value)[..value.shape.inner()],
            None => &[],
        }
    }

    /// What the tape computes of rows: `read` gives the values of a slot for every draw, `rows` the data row of each draw.
    pub(super) fn rows<'a>(
        &mut self,
        tape: &Tape,
        theta: &[f64],
        rows: impl Iterator<Item = usize> + Clone,
        read: impl Fn(SlotId) -> Box<dyn Iterator<Item = &'a f32> + 'a>,
    ) {
        let program = &tape.program;
        let frame = &mut self.frame;
        frame.rows = rows.clone().count();
        for &d in &tape.row_data {
            let (data, width) = (&program.data[d].values, program.data[d].shape.inner());
            let target = &mut frame.gathered[d];
            target.clear();
            for row in rows.clone() {
                target.extend_from_slice(&data[row * width..(row + 1) * width]);
            }
        }
        for port in &tape.ports {
            for (target, &value) in frame.values[port.buffer].iter_mut().zip(read(port.slot)) {
                *target = f64::from(value);
            }
        }
        program.local.iter().for_each(|operation| operation.forward(program, frame, theta));
    }

    /// The log densities of a term, one per draw.
    pub(super) fn term<'a>(&'a self, joint: &'a Joint, term: usize) -> &'a [f64] {
        &self.frame.read(&joint.tape.program, &joint.row_terms[term].value)[..self.frame.rows]
    }

    /// Draws and expected values of a variable of the rows (of a category its most probable one), one after the other.
    pub(super) fn drawn(&self, generator: &Generator, variable: VariableId) -> Option<(Vec<f64>, Vec<f64>)> {
        let mut expected = self.expected(generator, variable)?;
        let values = std::mem::take(&mut expected.values);
        Some((std::mem::take(&mut expected.draws), expected.likeliest(values)))
    }

    /// Draws and expected values of a variable of the rows.
    pub(super) fn expected(&self, generator: &Generator, variable: VariableId) -> Option<Expected> {
        let (_, draw, mean, probabilities) = generator.outputs.iter().find(|output| output.0 == variable)?;
        let read = |value: &Value| {
            let values = self.frame.read(&generator.tape.program, value);
            values[..value.shape.elements(self.frame.rows)].to_vec()
        };
        let draws = read(draw);
        let (values, categories) = match (mean, probabilities) {
            (Some(mean), _) => (read(mean), None),
            (None, Some(p)) => (read(p), Some(p.shape.axes.last().map_or(1, |axis| axis.1))),
            (None, None) => (draws.clone(), None),
        };
        Some(Expected { draws, values, categories })
    }

    /// Writes numbers that no operation computes.
    pub(super) fn fill(&mut self, value: &Value, numbers: &[f64]) {
        if let Source::Latent(buffer) = value.source {
            self.frame.values[buffer][..numbers.len()].copy_from_slice(numbers);
        }
    }

    /// The adjoint of a value with rows, from its start.
    pub(super) fn adjoint(&self, value: &Value) -> &[f64] {
        match value.source {
            Source::Latent(buffer) => &self.frame.adjoints[buffer][..value.shape.elements(self.frame.rows)],
            Source::Data(_) => &[],
        }
    }

    /// Sets all adjoints to zero.
    pub(super) fn clear(&mut self, joint: &Joint) {
        let program = &joint.tape.program;
        self.frame.clear_adjoints(program, false);
        self.frame.clear_adjoints(program, true);
        self.frame.gradient.fill(0.0);
    }

    /// Carries `factor` times every draw's terms back to the ports.
    pub(super) fn backward_rows(&mut self, joint: &Joint, theta: &[f64], factor: impl Fn(&RowTerm, usize) -> f64) {
        let program = &joint.tape.program;
        for term in &joint.row_terms {
            let Source::Latent(buffer) = term.value.source else { continue };
            for (draw, adjoint) in self.frame.adjoints[buffer][..self.frame.rows].iter_mut().enumerate() {
                *adjoint += factor(term, draw);
            }
        }
        program.local.iter().rev().for_each(|operation| operation.backward(program, &mut self.frame, theta));
    }

    /// The adjoint of a port, `[draws, width]`.
    pub(super) fn port_adjoint(&self, port: &Port) -> &[f64] {
        &self.frame.adjoints[port.buffer][..self.frame.rows * port.width]
    }

    /// Adds to the adjoint of a variable outside the rows' plate.
    pub(super) fn add_adjoint(&mut self, joint: &Joint, variable: VariableId, slopes: &[f32]) {
        if let Some(Value { source: Source::Latent(buffer), .. }) = joint.values.get(&variable) {
            for (adjoint, &slope) in self.frame.adjoints[*buffer].iter_mut().zip(slopes) {
                *adjoint += f64::from(slope);
            }
        }
    }

    /// Carries the adjoints of variables outside the rows' plate back to θ.
    pub(super) fn backward_globals(&mut self, joint: &Joint, theta: &[f64]) {
        let program = &joint.tape.program;
        program.global.iter().rev().for_each(|operation| operation.backward(program, &mut self.frame, theta));
    }

    /// The derivative in θ.
    pub(super) fn gradient(&self) -> &[f64] {
        &self.frame.gradient
    }
}
