//! Discrete variables that are not summed out: expectations of the log density under independent categorical factors.

use std::collections::HashMap;
use std::sync::Arc;

use vi_model::data::ColumnId;
use vi_model::graph::{AxisId, Distribution, Graph, VariableId};

use super::builder::relabel;
use super::discrete::Enumerated;
use super::joint::{Choice, Slot};
use super::{Factor, Lowering, View};
use crate::error::SgviError;
use crate::fit::categories::Category;
use crate::tape::{Coordinates, Label, ScalarTransform, ScalarTransformKind, Shape, Source, Value};

/// A discrete variable with categorical factors of its own.
#[derive(Debug, Clone)]
pub(crate) struct Factored {
    /// Which.
    pub variable: VariableId,
    /// First coordinate: that of the first value of the first element.
    pub offset: usize,
    /// Number of values.
    pub size: usize,
    /// Sizes of its plates, the rows first where it has them.
    pub plates: Vec<usize>,
    /// For each element its value, where that is observed.
    pub known: Vec<Option<usize>>,
}

impl Factored {
    /// Its elements one by one.
    pub(crate) fn categories(&self) -> impl Iterator<Item = Category> + '_ {
        let (offset, size) = (self.offset, self.size);
        self.known.iter().enumerate().map(move |(e, known)| Category { offset: offset + e * size, size, known: *known })
    }
}

/// Compiles with ever fewer variables summed out, until those that are left can be; `build` does all of the lowering.
pub(super) fn lowered<'a, T>(
    graph: &'a Graph,
    build: impl Fn(&mut Lowering<'a>) -> Result<T, SgviError>,
) -> Result<(Lowering<'a>, T), SgviError> {
    let mut factored: Vec<VariableId> =
        (0..graph.variables.len()).map(VariableId).filter(|v| graph.variable(*v).marginalized == Some(false)).collect();
    loop {
        let mut lowering = Lowering::new(graph)?;
        lowering.kept.clone_from(&factored);
        let built = build(&mut lowering);
        if lowering.too_many.is_empty() {
            return Ok((lowering, built?));
        }
        for &v in &lowering.too_many {
            if graph.variable(v).marginalized == Some(true) {
                built?;
                return Err(SgviError::unsupported(
                    graph,
                    v,
                    "it stands in common factors with a variable that is not summed out, so it cannot be either",
                    "leave out `marginalized`",
                ));
            }
        }
        factored.extend(&lowering.too_many);
    }
}

impl Lowering<'_> {
    /// Marks variables to keep factors of their own in the next attempt.
    ///
    /// # Errors
    /// The reason why they cannot be summed out; it ends the present attempt.
    pub(super) fn keep_factors(&mut self, members: &[usize], reason: SgviError) -> SgviError {
        let new: Vec<VariableId> =
            members.iter().map(|m| &self.enumerated[*m]).filter(|e| e.weights.is_none()).map(|e| e.variable).collect();
        self.too_many.extend(new);
        reason
    }

    /// Whether a variable keeps factors of its own.
    pub(super) fn is_kept(&self, v: VariableId) -> bool {
        self.predictive.is_none() && self.kept.contains(&v)
    }

    /// Gives every element of a discrete variable weights over its values; `observed` are its values where some are known.
    pub(super) fn add_factored(
        &mut self,
        v: VariableId,
        size: usize,
        label: Label,
        observed: Option<&[f64]>,
    ) -> Result<(), SgviError> {
        let graph = self.graph;
        let refuse = |reason: &str, help: &str| Err(SgviError::unsupported(graph, v, reason, help));
        if matches!(graph.variable(v).distribution, Distribution::MarkovChain { .. }) {
            return refuse("the states of a chain have no factors of their own", "leave out `marginalized`");
        }
        if graph.is_local(v) && self.weights.is_some() {
            return refuse(
                "a discrete variable in the rows' plate that is not summed out cannot be counted several times",
                "repeat the rows instead of `counts`",
            );
        }
        let plates = graph.variable(v).plates.clone();
        let mut shape = self.shape_of(&plates);
        shape.axes.push((label, size));
        let local = shape.rows;
        let width = shape.inner();
        let count = shape.elements(self.b.program.num_rows);
        let offset = self.owner.len();
        let known = match observed {
            Some(values) => values.iter().map(|x| (!x.is_nan()).then_some(*x as usize)).collect(),
            None => vec![None; count / size],
        };
        self.owner.extend(std::iter::repeat_n(v.0, count));
        self.is_point.extend(std::iter::repeat_n(true, count));
        self.start.extend(std::iter::repeat_n(0.0, count));
        self.start_scale.extend(std::iter::repeat_n(1.0, count));
        let weights = Value { source: Source::Latent(self.b.buffer(&shape, true, local)), shape: shape.clone() };
        let zero = self.b.constant(0.0);
        let operation = ScalarTransform {
            kind: ScalarTransformKind::Identity,
            coordinates: Coordinates { offset, width, rows: local, term: None },
            lower: zero.clone(),
            upper: zero,
            output: weights.clone(),
        };
        self.b.push(Box::new(operation), local);
        let values = (0..size).map(|k| k as f64).collect();
        let values = self.b.data(Shape { rows: false, axes: vec![(label, size)] }, values);
        let value = if self.is_contracted(v) {
            self.relaxed = true;
            self.b.dot(&values, &weights, (label, size))
        } else {
            values
        };
        self.variables.insert((v, View::Plain), value);
        let rows = plates.iter().filter(|p| Some(**p) == graph.rows);
        let others = plates.iter().filter(|p| Some(**p) != graph.rows);
        let sizes = rows.chain(others).map(|p| graph.axis(*p).size).collect();
        self.factored.push(Factored { variable: v, offset, size, plates: sizes, known });
        self.enumerated.push(Enumerated {
            variable: v,
            label: (label, size),
            look_ups: Vec::new(),
            mask: None,
            joined: Vec::new(),
            weights: Some(weights),
        });
        Ok(())
    }

    /// What a gate on a contracted variable selects, on average: Σₖ wₖ base\[k\].
    pub(super) fn averaged_gate(
        &mut self,
        base: &Value,
        label: Label,
        e: &Enumerated,
        look_up: Option<ColumnId>,
    ) -> Result<Option<Value>, SgviError> {
        let Some(weights) = e.weights.clone().filter(|_| self.is_contracted(e.variable)) else { return Ok(None) };
        let base = relabel(base, label, e.label.0);
        let weights = match look_up {
            None => weights,
            Some(column) => {
                let plates = &self.graph.variable(e.variable).plates;
                let [plate] = plates[..] else { return Err(self.looked_up_plates(e.variable)) };
                let codes = self.codes(column, plate)?;
                let plate = self.b.label(plate, 0);
                self.b.gather(&weights, plate, codes)
            }
        };
        Ok(Some(self.b.dot(&base, &weights, e.label)))
    }

    /// Replaces every factor that still depends on discrete variables by its expectation under their own factors.
    pub(super) fn take_expectations(&mut self) -> Result<(), SgviError> {
        for Factor { value, source, .. } in std::mem::take(&mut self.pending) {
            let value = self.expectation(value)?;
            self.finish(source, &value);
        }
        Ok(())
    }

    /// E\[f\] over the values of all slots. Slots that hold the same element of a variable have the same value.
    fn expectation(&mut self, mut value: Value) -> Result<Value, SgviError> {
        let slots = self.slots(&value);
        let elements = slots.iter().map(|s| self.elements(s, &value)).collect::<Result<Vec<_>, _>>()?;
        for at in (0..slots.len()).rev() {
            let slot = slots[at];
            let e = self.enumerated[slot.variable].clone();
            let Some(mut weights) = e.weights.clone() else { continue };
            if let Choice::Column(column, plate) = slot.choice {
                let codes = self.codes(column, plate)?;
                let plate = self.b.label(plate, 0);
                weights = self.b.gather(&weights, plate, codes);
                weights = relabel(&weights, e.label.0, slot.label.0);
            }
            let mut earlier = HashMap::new();
            for before in (0..at).filter(|b| slots[*b].variable == slot.variable) {
                let Some((shape, same)) = self.coincidences(&elements[at], &elements[before], &mut earlier) else {
                    continue;
                };
                // The value of the earlier slot where the elements are one, a value of its own elsewhere.
                let size = slot.label.1;
                let axes = vec![slots[before].label, slot.label];
                let identity = (0..size * size).map(|i| f64::from(u8::from(i / size == i % size))).collect();
                let identity = self.b.data(Shape { rows: false, axes }, identity);
                let others = same.iter().map(|s| 1.0 - s).collect();
                let (same, others) = (self.b.data(shape.clone(), same), self.b.data(shape, others));
                let (own, copied) = (self.b.product(&others, &weights), self.b.product(&same, &identity));
                weights = self.b.sum(&own, &copied);
            }
            value = self.b.dot(&value, &weights, slot.label);
        }
        Ok(value)
    }

    /// The element of a slot in every cell: over the rows by a column, or along the axes of its own plates.
    fn elements(&mut self, slot: &Slot, value: &Value) -> Result<(Shape, Vec<usize>), SgviError> {
        match slot.choice {
            Choice::Column(column, plate) => {
                let codes = self.codes(column, plate)?;
                Ok((Shape { rows: true, axes: Vec::new() }, codes.iter().map(|c| *c as usize).collect()))
            }
            Choice::Own => {
                let plates: Vec<AxisId> = self.graph.variable(self.enumerated[slot.variable].variable).plates.clone();
                let mut shape = self.shape_of(&plates);
                // Where the factor lacks a plate the elements run through it with the weights.
                shape.rows |= value.shape.rows && plates.iter().any(|p| Some(*p) == self.graph.rows);
                let count = shape.elements(self.b.program.num_rows);
                Ok((shape, (0..count).collect()))
            }
        }
    }

    /// Indicators of the cells in which two slots hold the same element and no slot before did; `None` where there are none.
    fn coincidences(
        &mut self,
        one: &(Shape, Vec<usize>),
        other: &(Shape, Vec<usize>),
        taken: &mut HashMap<usize, ()>,
    ) -> Option<(Shape, Vec<f64>)> {
        let rows = if one.0.rows || other.0.rows { self.b.program.num_rows } else { 1 };
        let shape = one.0.union(&other.0);
        let inner = shape.inner();
        let at = |part: &(Shape, Vec<usize>), row: usize, cell: usize| {
            let mut place = if part.0.rows { row * part.0.inner() } else { 0 };
            for (label, size) in &part.0.axes {
                place += cell / shape.stride(*label).max(1) % size * part.0.stride(*label);
            }
            part.1[place]
        };
        let mut same = vec![0.0; rows * inner];
        for row in 0..rows {
            for cell in 0..inner {
                let place = row * inner + cell;
                if at(one, row, cell) == at(other, row, cell) && taken.insert(place, ()).is_none() {
                    same[place] = 1.0;
                }
            }
        }
        same.iter().any(|s| *s > 0.0).then_some((shape, same))
    }

    /// The categories of all elements, in the order of their coordinates.
    pub(super) fn categories(&self) -> Arc<[Category]> {
        self.factored.iter().flat_map(Factored::categories).collect()
    }
}
