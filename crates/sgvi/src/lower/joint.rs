//! Discrete variables whose elements hang together, as in block models: all their values are enumerated at once.

use std::collections::HashMap;
use std::sync::Arc;

use vi_model::data::ColumnId;
use vi_model::graph::{AxisId, Distribution};

use super::chains::Configurations;
use super::discrete::Enumerated;
use super::{Factor, Lowering};
use crate::error::SgviError;
use crate::tape::{JointSum, Label, Shape, Value};

/// Configurations at most.
pub(super) const MOST_CONFIGURATIONS: usize = 1 << 16;
/// Configurations times groups of cells at most, for each draw.
const MOST_WORK: usize = 1 << 24;

/// How an element of a discrete variable is chosen in a factor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    /// The row's element by a column.
    Column(ColumnId, AxisId),
    /// The element of the factor's own plates.
    Own,
}

/// A label of a factor that stands for values of a discrete variable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Position among the enumerated variables.
    pub(super) variable: usize,
    pub(super) label: (Label, usize),
    pub(super) choice: Choice,
}

impl Lowering<'_> {
    /// The slots of a factor.
    pub(super) fn slots(&self, value: &Value) -> Vec<Slot> {
        let mut slots = Vec::new();
        for &(label, size) in &value.shape.axes {
            for (variable, e) in self.enumerated.iter().enumerate() {
                if e.label.0 == label {
                    slots.push(Slot { variable, label: (label, size), choice: Choice::Own });
                } else if let Some(l) = e.look_ups.iter().find(|l| l.0 == label) {
                    slots.push(Slot { variable, label: (label, size), choice: Choice::Column(l.1, l.2) });
                }
            }
        }
        slots
    }

    /// The axes of a factor along which the elements of a slot change.
    fn changes_along(&mut self, slot: &Slot, value: &Value) -> (bool, Vec<Label>) {
        match slot.choice {
            Choice::Column(..) => (true, Vec::new()),
            Choice::Own => {
                let plates = self.own_plates(self.enumerated[slot.variable].variable);
                let own = self.shape_of(&plates);
                let axes = own.axes.iter().map(|a| a.0).filter(|l| value.shape.has(*l)).collect();
                (own.rows && value.shape.rows, axes)
            }
        }
    }

    /// Whether summing one slot's variable out of a factor would mix elements of another variable in it: the sum over the
    /// cells that share an element of the first runs over different elements of the other.
    fn mixes(&mut self, own: &Slot, other: &Slot, value: &Value) -> bool {
        let (rows, axes) = self.changes_along(own, value);
        let summed_rows = matches!(own.choice, Choice::Column(..)) || !rows;
        let (other_rows, other_axes) = self.changes_along(other, value);
        other_rows && summed_rows || other_axes.iter().any(|l| !axes.contains(l))
    }

    /// Whether a factor ties elements together so that they cannot be summed out one by one, `e` first.
    pub(super) fn is_tied(&mut self, e: &Enumerated, value: &Value) -> bool {
        let slots = self.slots(value);
        let own: Vec<Slot> =
            slots.iter().copied().filter(|s| self.enumerated[s.variable].variable == e.variable).collect();
        if own.len() > 1 {
            return true;
        }
        let Some(own) = own.first() else { return false };
        slots.iter().filter(|s| s.variable != own.variable).any(|other| self.mixes(own, other, value))
    }

    /// Sums out `e` and every variable tied to it over all their values at once; the variables that are gone.
    pub(super) fn eliminate_jointly(&mut self, e: &Enumerated) -> Result<Vec<usize>, SgviError> {
        let graph = self.graph;
        let mut members: Vec<usize> =
            (0..self.enumerated.len()).filter(|i| self.enumerated[*i].variable == e.variable).collect();
        let mut factors: Vec<Factor> = Vec::new();
        // Every factor of a member, and every variable of those factors.
        loop {
            let mut rest = Vec::new();
            let before = factors.len();
            for factor in std::mem::take(&mut self.pending) {
                let slots = self.slots(&factor.value);
                if slots.iter().any(|s| members.contains(&s.variable)) {
                    for slot in slots {
                        if !members.contains(&slot.variable) {
                            members.push(slot.variable);
                        }
                    }
                    factors.push(factor);
                } else {
                    rest.push(factor);
                }
            }
            self.pending = rest;
            if factors.len() == before {
                break;
            }
        }
        members.sort_unstable();
        for &m in &members {
            let e = self.enumerated[m].clone();
            factors.extend(e.mask.map(|value| Factor { value, owner: None, source: e.variable }));
        }
        let refuse = |l: &Self, reason: String| {
            SgviError::unsupported(
                l.graph,
                e.variable,
                reason,
                "without `marginalized = true`, and without amortised variables, each element gets a factor of its own",
            )
        };
        let local = members.iter().map(|m| self.enumerated[*m].variable).find(|v| graph.is_local(*v));
        if let (Some(v), Some(_)) = (local, &self.weights) {
            return Err(SgviError::unsupported(
                graph,
                v,
                "each occurrence of a row has a value of its own, which stands in common factors with other discrete values",
                "write whole counts, or leave out `counts` and repeat the rows themselves",
            ));
        }
        let is_chain = |l: &Self, m: usize| {
            matches!(graph.variable(l.enumerated[m].variable).distribution, Distribution::MarkovChain { .. })
        };
        let (chains, elements): (Vec<usize>, Vec<usize>) = members.iter().partition(|m| is_chain(self, **m));
        // Elements of all members but chains, one after the other.
        let mut first = HashMap::new();
        let (mut sizes, mut configurations) = (Vec::new(), 1usize);
        for &m in &elements {
            first.insert(m, sizes.len());
            let count: usize =
                self.own_plates(self.enumerated[m].variable).iter().map(|a| graph.axis(*a).size).product();
            for _ in 0..count {
                sizes.push(self.enumerated[m].label.1);
                configurations = configurations.saturating_mul(self.enumerated[m].label.1);
            }
        }
        let (of_chains, factors): (Vec<Factor>, Vec<Factor>) =
            factors.into_iter().partition(|f| self.slots(&f.value).iter().any(|s| chains.contains(&s.variable)));
        let kept = elements.iter().any(|m| self.enumerated[*m].weights.is_some());
        if !chains.is_empty() && (kept || configurations > MOST_CONFIGURATIONS) {
            return Err(SgviError::unsupported(
                graph,
                e.variable,
                if kept {
                    "a discrete variable stands beside it that is not summed out".to_owned()
                } else {
                    format!(
                        "{} elements of discrete variables stand beside it, which have too many values together",
                        sizes.len()
                    )
                },
                "run it with `cavi`, which gives the chain and each element factors of their own",
            ));
        }
        if kept || configurations > MOST_CONFIGURATIONS {
            let reason = refuse(
                self,
                format!(
                    "{} of its elements stand in common factors, so all their values must be enumerated at once, and there are more than {MOST_CONFIGURATIONS} of them",
                    sizes.len()
                ),
            );
            return Err(self.keep_factors(&elements, reason));
        }
        let mut values = Vec::with_capacity(configurations * sizes.len());
        for c in 0..configurations {
            let mut rest = c;
            for size in &sizes {
                values.push((rest % size) as u16);
                rest /= size;
            }
        }
        let values = Arc::new(values);
        let label = (self.b.fresh_label(), configurations);
        let mut total = self.b.data(Shape { rows: false, axes: vec![label] }, vec![0.0; configurations]);
        for factor in factors {
            let part = self.joint_sum(&factor.value, &first, &sizes, &values, label, e)?;
            total = self.b.sum(&total, &part);
        }
        if !chains.is_empty() {
            let others = Configurations { first: &first, elements: sizes.len(), values: &values };
            let paths = self.sum_over_paths(&chains, &of_chains, &others, label)?;
            total = self.b.sum(&total, &paths);
        }
        let summed = self.b.log_sum_exp(&total, label);
        self.b.accumulate(&summed, e.variable.0, None, 1.0);
        Ok(members)
    }

    /// One factor over all configurations.
    fn joint_sum(
        &mut self,
        value: &Value,
        first: &HashMap<usize, usize>,
        sizes: &[usize],
        values: &Arc<Vec<u16>>,
        label: (Label, usize),
        e: &Enumerated,
    ) -> Result<Value, SgviError> {
        let graph = self.graph;
        let slots = self.slots(value);
        // Cells: the rows, and the plates of the variables that stand there by their own plates.
        let mut shape = Shape { rows: value.shape.rows, axes: Vec::new() };
        let mut plates: HashMap<usize, Vec<AxisId>> = HashMap::new();
        for slot in &slots {
            match slot.choice {
                Choice::Column(..) => shape.rows = true,
                Choice::Own => {
                    let own = self.own_plates(self.enumerated[slot.variable].variable);
                    let axes = self.shape_of(&own);
                    shape = shape.union(&axes);
                    plates.insert(slot.variable, own);
                }
            }
        }
        let mut value = value.clone();
        if value.shape.rows
            && let Some(weights) = self.weights.clone()
        {
            let weights = self.b.data(Shape { rows: true, axes: Vec::new() }, weights.to_vec());
            value = self.b.product(&value, &weights);
        }
        let cells = shape.clone();
        shape.axes.extend(slots.iter().map(|s| s.label));
        let reduced = Shape {
            rows: value.shape.rows,
            axes: shape.axes.iter().copied().filter(|a| value.shape.has(a.0)).collect(),
        };
        let value = self.b.sum_to(&value, &reduced);
        let input = self.full(&value, &shape);
        let rows = if cells.rows { self.b.program.num_rows } else { 1 };
        let mut known: HashMap<Vec<usize>, u32> = HashMap::new();
        let mut elements = Vec::new();
        let mut group = Vec::with_capacity(rows * cells.inner());
        let codes: Vec<Option<Arc<Vec<u32>>>> = slots
            .iter()
            .map(|s| match s.choice {
                Choice::Column(column, plate) => self.codes(column, plate).map(Some),
                Choice::Own => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        for row in 0..rows {
            for cell in 0..cells.inner() {
                let mut own = Vec::with_capacity(slots.len());
                for (slot, codes) in slots.iter().zip(&codes) {
                    let at = match codes {
                        Some(codes) => codes[row] as usize,
                        None => plates[&slot.variable].iter().fold(0, |at, axis| {
                            let size = graph.axis(*axis).size;
                            if Some(*axis) == graph.rows {
                                return at * size + row;
                            }
                            let label = self.b.label(*axis, 0);
                            at * size + cell / cells.stride(label).max(1) % size
                        }),
                    };
                    own.push(first[&slot.variable] + at);
                }
                let next = elements.len() as u32;
                group.push(*known.entry(own.clone()).or_insert_with(|| {
                    elements.push(own);
                    next
                }));
            }
        }
        if elements.len().saturating_mul(label.1) > MOST_WORK {
            let reason = SgviError::unsupported(
                graph,
                e.variable,
                format!(
                    "{} pairs of its elements times {} configurations are too many to be summed out",
                    elements.len(),
                    label.1
                ),
                "without `marginalized = true`, and without amortised variables, each element gets a factor of its own",
            );
            let members: Vec<usize> = first.keys().copied().collect();
            return Err(self.keep_factors(&members, reason));
        }
        let slot_sizes: Vec<usize> = slots.iter().map(|s| s.label.1).collect();
        let (num_elements, values) = (sizes.len(), Arc::clone(values));
        Ok(self.b.add(&[&input], Shape { rows: false, axes: vec![label] }, &[], |output, _| JointSum {
            input: input.clone(),
            group,
            elements,
            sizes: slot_sizes,
            values,
            num_elements,
            output,
        }))
    }
}
