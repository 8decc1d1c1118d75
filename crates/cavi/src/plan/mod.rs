//! What to run: products grouped by what they need of the rows, and the loops that compute them.
//!
//! Each product Σ_rows R·G splits into what changes from row to row (R: data and row-level statistics) and what does not
//! (G: statistics of the other factors and constants). Products with the same R share one summary S = Σ_rows R, laid out
//! over the indices that R and G share, and one coefficient C, the sum of their G over the same indices: then
//! the ELBO needs ⟨S, C⟩ only, messages to global factors need S, and messages to row-level factors need C.

mod access;
mod affine;
mod fused;
mod matrix;
mod pairs;

use std::collections::HashMap;

use crate::error::CaviError;
use crate::factor::Family;
use crate::kernel::nest::Nest;
use crate::lower::Lowered;
use crate::program::{AxisIndex, FactorId, Label, Operand, Program, ROWS, Source, Step};
use vi_model::inference::Schedule;

pub(crate) use access::contraction;
pub(crate) use affine::{Affine, AffineRole, ByRow};
pub(crate) use fused::{FusedGate, FusedGroup};
pub(crate) use matrix::{MatrixPath, plain_labels};
pub(crate) use pairs::PairTable;

/// Products that share what they need of the rows.
#[derive(Debug, Clone)]
pub(crate) struct RowGroup {
    /// Row-level operands.
    pub(crate) operands: Vec<Operand>,
    /// Axes of the summary, addressed from a row.
    pub(crate) index: Vec<AxisIndex>,
    /// Sizes of those axes.
    pub(crate) shape: Vec<usize>,
    /// Whether a row-level factor is in it (else the summary is computed once).
    pub(crate) dynamic: bool,
    /// Whether its summary takes a pass over the rows in every iteration.
    pub(crate) by_rows: bool,
    /// Summary by loops.
    pub(crate) summary: Nest,
    /// For each operand that is a row-level statistic: its message by loops, and which inputs it takes.
    pub(crate) messages: Vec<RowMessage>,
    /// Summary by a matrix product.
    pub(crate) matrix_summary: Option<MatrixPath>,
}

impl RowGroup {
    /// Number of values in the summary.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The message of a group to one of its row-level statistics.
#[derive(Debug, Clone)]
pub(crate) struct RowMessage {
    /// The factor and its statistic.
    pub(crate) factor: FactorId,
    pub(crate) statistic: usize,
    /// Operands of the group that enter (by position).
    pub(crate) inputs: Vec<usize>,
    /// Loops over the inputs and then the coefficient.
    pub(crate) nest: Nest,
    /// The same by a matrix product.
    pub(crate) matrix: Option<MatrixPath>,
}

/// A product after the rows have been summed.
#[derive(Debug, Clone)]
pub(crate) struct GlobalTerm {
    pub(crate) owner: usize,
    pub(crate) coefficient: f64,
    /// Operands; a summary may be among them.
    pub(crate) operands: Vec<Operand>,
    /// The group of the summary.
    pub(crate) group: Option<usize>,
    /// The table of row pairs that the product runs over.
    pub(crate) pairs: Option<usize>,
    /// The whole product, as one number.
    pub(crate) value: Nest,
    /// Each operand's derivative, by position.
    pub(crate) derivatives: Vec<Nest>,
}

/// Everything that is decided before the first iteration.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<RowGroup>,
    pub(crate) terms: Vec<GlobalTerm>,
    pub(crate) pairs: Vec<PairTable>,
    /// Gates whose local step is two matrix products.
    pub(crate) fused: Vec<FusedGate>,
    /// Row-level factors in the order of their update.
    pub(crate) local_order: Vec<FactorId>,
    /// Those of them that need no pass over the rows.
    pub(crate) affine: Option<Affine>,
    /// Row-level Gaussians that are formed in each row, and why.
    pub(crate) by_row: Vec<(FactorId, ByRow)>,
    /// Whether row-level factors depend on each other, or rows on other rows.
    pub(crate) cyclic: bool,
    /// Whether statistics of row-level factors must be kept for each row between iterations.
    pub(crate) stored: bool,
    /// Global factors in the order of their update.
    pub(crate) global_order: Vec<FactorId>,
    /// For each factor and statistic: terms and positions where it stands.
    pub(crate) uses: HashMap<(FactorId, usize), Vec<(usize, usize)>>,
    /// For operands whose elements meet: which combinations of look-ups read each element.
    pub(crate) readers: HashMap<(usize, usize), Vec<Vec<u32>>>,
    /// Row-level vector factors whose precision is the same in every row.
    pub(crate) invariant: Vec<bool>,
    /// Gaussian chains whose rows all have the same precision: only their means are kept for each row.
    pub(crate) shared_chain: Vec<bool>,
    /// Rows per chunk.
    pub(crate) chunk: usize,
    /// Rows per task; tasks run in parallel and are merged in order.
    pub(crate) task: usize,
}

/// Most parts that the rows are cut into, and values that all parts' summaries together may hold.
const MOST_TASKS: usize = 64;
const LARGEST_SUMS: usize = 1_500_000;

/// Canonical form of a group: the operands and index with labels numbered by appearance.
type GroupKey = (Vec<Operand>, Vec<AxisIndex>);

/// Plans a lowered model.
///
/// # Errors
///
/// Fails when a look-up cannot be read.
pub(crate) fn plan(lowered: &mut Lowered) -> Result<Plan, CaviError> {
    let mut builder =
        Builder { lowered, groups: Vec::new(), keys: HashMap::new(), terms: Vec::new(), pairs: Vec::new() };
    for t in 0..builder.lowered.program.terms.len() {
        builder.term(t)?;
    }
    let Builder { groups, terms, pairs, .. } = builder;
    let program = &lowered.program;
    let mut plan = Plan {
        groups,
        terms,
        pairs,
        fused: Vec::new(),
        local_order: Vec::new(),
        affine: None,
        by_row: Vec::new(),
        cyclic: false,
        stored: false,
        global_order: Vec::new(),
        uses: HashMap::new(),
        readers: HashMap::new(),
        invariant: Vec::new(),
        shared_chain: Vec::new(),
        chunk: 256,
        task: 0,
    };
    for (t, term) in plan.terms.iter().enumerate() {
        for (position, operand) in term.operands.iter().enumerate() {
            if let Source::Statistic { factor, statistic } = operand.source {
                plan.uses.entry((factor, statistic)).or_default().push((t, position));
            }
        }
    }
    plan.global_order = (0..program.factors.len()).filter(|&f| !program.factors[f].local).collect();
    let cyclic = order_local(program, &mut plan);
    let batch = lowered.graph.inference.schedule.unwrap_or_default() == Schedule::Batch;
    (plan.affine, plan.by_row) = Affine::find(program, &plan.groups, &plan.local_order, &cyclic, batch);
    plan.cyclic = !cyclic.is_empty();
    plan.stored = cyclic.iter().any(|f| !plan.is_affine(*f));
    for g in 0..plan.groups.len() {
        let affine = plan.affine.as_ref().is_some_and(|a| a.groups.iter().any(|part| part.group == g));
        plan.groups[g].by_rows = plan.groups[g].dynamic && !affine;
    }
    plan.readers = find_readers(program, &plan);
    plan.invariant = (0..program.factors.len()).map(|f| precision_is_shared(&plan, f)).collect();
    plan.shared_chain = (0..program.factors.len()).map(|f| chain_is_shared(program, &plan, f)).collect();
    for g in 0..plan.groups.len() {
        if plan.second_moments_of(g).is_some() {
            plan.groups[g].by_rows = false;
        }
    }
    if !plan.stored {
        plan.fused = plan.local_order.iter().filter_map(|&f| FusedGate::build(program, &plan.groups, f)).collect();
    }
    let rows = program.num_rows.max(1);
    let chunks = rows.div_ceil(plan.chunk);
    // Every task sums into its own summaries: fewer tasks where these are large.
    let summed: usize = plan.groups.iter().filter(|g| g.by_rows).map(RowGroup::size).sum();
    let tasks = (LARGEST_SUMS / summed.max(1)).clamp(8, MOST_TASKS);
    plan.task = plan.chunk * chunks.div_ceil(tasks).max(1);
    Ok(plan)
}

/// The combinations that read each element of a factor with one plate, where a product addresses it by one look-up.
fn find_readers(program: &Program, plan: &Plan) -> HashMap<(usize, usize), Vec<Vec<u32>>> {
    let mut readers = HashMap::new();
    for (&(f, statistic), uses) in &plan.uses {
        let factor = &program.factors[f];
        if !factor.coupled || factor.local || factor.plates.len() != 1 {
            continue;
        }
        for &(t, position) in uses {
            let term = &plan.terms[t];
            let [(which, stride)] = term.derivatives[position].output.codes[..] else { continue };
            let Some(pairs) = term.pairs else { continue };
            if stride != factor.family.statistic_size(statistic) {
                continue;
            }
            let mut lists = vec![Vec::new(); factor.plates[0]];
            for (pair, code) in plan.pairs[pairs].code_arrays[which].iter().enumerate() {
                lists[*code as usize].push(pair as u32);
            }
            readers.insert((t, position), lists);
        }
    }
    readers
}

/// Whether the messages to a factor's second statistic depend on no row.
fn precision_is_shared(plan: &Plan, f: FactorId) -> bool {
    plan.groups
        .iter()
        .flat_map(|g| &g.messages)
        .filter(|m| m.factor == f && m.statistic == 1)
        .all(|m| m.inputs.is_empty() && m.nest.inputs.iter().all(|a| a.row_stride == 0 && a.codes.is_empty()))
}

impl Plan {
    /// Whether a row-level factor needs no pass over the rows.
    pub(crate) fn is_affine(&self, f: FactorId) -> bool {
        self.affine.as_ref().is_some_and(|a| a.factors.contains(&f))
    }

    /// Whether an iteration passes over the rows.
    pub(crate) fn goes_through_rows(&self) -> bool {
        self.local_order.iter().any(|f| !self.is_affine(*f))
    }

    /// The chain of which a group sums nothing but the second moments, where these are not formed in each row.
    pub(crate) fn second_moments_of(&self, group: usize) -> Option<FactorId> {
        match self.groups[group].operands.as_slice() {
            [Operand { source: Source::Statistic { factor, statistic: 1 }, .. }] if self.shared_chain[*factor] => {
                Some(*factor)
            }
            _ => None,
        }
    }
}

/// Whether all rows of a Gaussian chain have the same precision, and their second moments are only summed.
fn chain_is_shared(program: &Program, plan: &Plan, f: FactorId) -> bool {
    let factor = &program.factors[f];
    let second = |o: &Operand| matches!(o.source, Source::Statistic { factor, statistic: 1 } if factor == f);
    matches!(factor.family, Family::GaussianMarkovChain(_))
        && factor.elements() == 1
        && program.counts.is_none()
        && plan.invariant[f]
        && plan.groups.iter().filter(|g| g.operands.iter().any(second)).all(|g| {
            let looked_up = |a: &AxisIndex| a.parts.iter().any(|(step, _)| matches!(step, Step::Codes(_)));
            let rows = AxisIndex::label(ROWS);
            g.operands.len() == 1
                && g.operands[0].index.first() == Some(&rows)
                && !g.index.iter().chain(&g.operands[0].index).any(looked_up)
        })
}

/// Orders row-level factors so that each follows those it depends on. Returns those that cannot, in a cycle or a chain:
/// the state of these must be kept.
fn order_local(program: &Program, plan: &mut Plan) -> Vec<FactorId> {
    let local: Vec<FactorId> = (0..program.factors.len()).filter(|&f| program.factors[f].local).collect();
    let depends = |f: FactorId, h: FactorId| {
        f != h
            && !program.factors[f].conditional_on.contains(&h)
            && plan.groups.iter().any(|g| {
                let has = |x: FactorId| {
                    g.operands.iter().any(|o| matches!(o.source, Source::Statistic { factor, .. } if factor == x))
                };
                has(f) && has(h)
            })
    };
    let mut left = local;
    let mut order = Vec::new();
    let mut cyclic = Vec::new();
    while !left.is_empty() {
        let next = left.iter().position(|&f| !left.iter().any(|&h| depends(f, h)));
        match next {
            Some(at) => order.push(left.remove(at)),
            None => {
                cyclic.push(left[0]);
                // Inside a cycle auxiliary scales come last, so that they adapt to the others.
                order.push(left.remove(0));
            }
        }
    }
    cyclic.extend(order.iter().filter(|f| program.factors[**f].family.is_chain()));
    plan.local_order = order;
    cyclic
}

struct Builder<'a> {
    lowered: &'a mut Lowered,
    groups: Vec<RowGroup>,
    keys: HashMap<GroupKey, usize>,
    terms: Vec<GlobalTerm>,
    pairs: Vec<PairTable>,
}

impl Builder<'_> {
    fn term(&mut self, t: usize) -> Result<(), CaviError> {
        let term = self.lowered.program.terms[t].clone();
        let (mut rows, mut globals): (Vec<Operand>, Vec<Operand>) =
            term.operands.into_iter().partition(|o| self.lowered.program.is_row_level(o));
        let codes = code_sets(&globals);
        if rows.is_empty() && codes.is_empty() {
            self.push(term.owner, term.coefficient, globals, None, None);
            return Ok(());
        }
        // How a look-up is addressed after the rows are summed: one by its own axis, several by a table of their combinations.
        let mut pairs = None;
        let mut outer: Vec<(AxisIndex, AxisIndex, usize)> = Vec::new();
        match codes.as_slice() {
            [] => {}
            [single] => {
                let size = self.codes_size(*single);
                let label = self.lowered.program.new_label("level", size);
                for operand in &mut globals {
                    replace_codes(operand, *single, label);
                }
                outer.push((AxisIndex::codes(*single), AxisIndex::label(label), size));
            }
            several => {
                let table = self.pair_table(several)?;
                let size = self.pairs[table].len();
                let label = self.pairs[table].label;
                pairs = Some(table);
                outer.push((AxisIndex::codes(self.pairs[table].row_codes), AxisIndex::label(label), size));
            }
        }
        rows.sort_by(|a, b| (a.source, &a.index).cmp(&(b.source, &b.index)));
        let global_labels = labels_in(&globals);
        let mut shared: Vec<Label> =
            labels_in(&rows).into_iter().filter(|l| *l != ROWS && global_labels.contains(l)).collect();
        self.matrix_order(&rows, &mut shared);
        let mut row_index: Vec<AxisIndex> = outer.iter().map(|o| o.0.clone()).collect();
        row_index.extend(shared.iter().map(|l| AxisIndex::label(*l)));
        let mut global_index: Vec<AxisIndex> = outer.iter().map(|o| o.1.clone()).collect();
        global_index.extend(shared.iter().map(|l| AxisIndex::label(*l)));
        let mut shape: Vec<usize> = outer.iter().map(|o| o.2).collect();
        shape.extend(shared.iter().map(|l| self.lowered.program.labels[*l].size));
        let group = self.group(rows, row_index, shape);
        globals.push(Operand { source: Source::Summary(group), index: global_index });
        self.push(term.owner, term.coefficient, globals, Some(group), pairs);
        Ok(())
    }

    /// Orders shared labels so that those of one row-level statistic come last: then summaries are matrix products.
    fn matrix_order(&self, rows: &[Operand], shared: &mut [Label]) {
        let target = rows.iter().rfind(|o| matches!(o.source, Source::Statistic { .. }));
        if let Some(target) = target {
            let own = labels_in(std::slice::from_ref(target));
            shared.sort_by_key(|l| match own.iter().position(|o| o == l) {
                None => 0,
                Some(at) => at + 1,
            });
        }
    }

    fn codes_size(&self, codes: usize) -> usize {
        let axis = self.lowered.program.codes[codes].axis;
        self.lowered.graph.axis(axis).size
    }

    fn pair_table(&mut self, codes: &[usize]) -> Result<usize, CaviError> {
        if let Some(found) = self.pairs.iter().position(|p| p.codes == codes) {
            return Ok(found);
        }
        let table = PairTable::build(self.lowered, codes, self.pairs.len())?;
        self.pairs.push(table);
        Ok(self.pairs.len() - 1)
    }

    fn group(&mut self, rows: Vec<Operand>, index: Vec<AxisIndex>, shape: Vec<usize>) -> usize {
        let key = canonical(&rows, &index);
        if let Some(&found) = self.keys.get(&key) {
            return found;
        }
        let id = self.groups.len();
        let program = &self.lowered.program;
        let coefficient = Operand { source: Source::Summary(id), index: index.clone() };
        let shapes =
            |o: &Operand| if o.source == Source::Summary(id) { shape.clone() } else { program.shape(o.source) };
        let row_level = |o: &Operand| program.is_row_level(o);
        let summary =
            contraction(program, &rows.iter().collect::<Vec<_>>(), Some(&coefficient), Some(ROWS), &shapes, &row_level);
        let dynamic = rows.iter().any(|o| matches!(o.source, Source::Statistic { .. }));
        let mut messages = Vec::new();
        for (position, operand) in rows.iter().enumerate() {
            let Source::Statistic { factor, statistic } = operand.source else { continue };
            let skip = &program.factors[factor].conditional_on;
            let inputs: Vec<usize> = (0..rows.len())
                .filter(|&i| i != position)
                .filter(|&i| !matches!(rows[i].source, Source::Statistic { factor, .. } if skip.contains(&factor)))
                .collect();
            let mut chosen: Vec<&Operand> = inputs.iter().map(|&i| &rows[i]).collect();
            let matrix = MatrixPath::message(program, &chosen, operand, &coefficient, &shape);
            chosen.push(&coefficient);
            let nest = contraction(program, &chosen, Some(operand), Some(ROWS), &shapes, &row_level);
            messages.push(RowMessage { factor, statistic, inputs, nest, matrix });
        }
        let matrix_summary = MatrixPath::summary(program, &rows, &coefficient, &shape);
        let by_rows = dynamic;
        self.groups.push(RowGroup {
            operands: rows,
            index,
            shape,
            dynamic,
            by_rows,
            summary,
            messages,
            matrix_summary,
        });
        self.keys.insert(key, id);
        id
    }

    fn push(
        &mut self,
        owner: usize,
        coefficient: f64,
        operands: Vec<Operand>,
        group: Option<usize>,
        pairs: Option<usize>,
    ) {
        let program = &self.lowered.program;
        let outer = pairs.map(|p| self.pairs[p].label);
        let groups = &self.groups;
        let shapes = |o: &Operand| match o.source {
            Source::Summary(g) => groups[g].shape.clone(),
            source => program.shape(source),
        };
        let row_level = |_: &Operand| false;
        let all: Vec<&Operand> = operands.iter().collect();
        let value = contraction(program, &all, None, outer, &shapes, &row_level);
        let derivatives = (0..operands.len())
            .map(|i| {
                let inputs: Vec<&Operand> =
                    operands.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, o)| o).collect();
                contraction(program, &inputs, Some(&operands[i]), outer, &shapes, &row_level)
            })
            .collect();
        self.terms.push(GlobalTerm { owner, coefficient, operands, group, pairs, value, derivatives });
    }
}

/// Code arrays in use, in order of first appearance.
fn code_sets(operands: &[Operand]) -> Vec<usize> {
    let mut found = Vec::new();
    for (step, _) in operands.iter().flat_map(|o| &o.index).flat_map(|a| &a.parts) {
        if let Step::Codes(c) = step
            && !found.contains(c)
        {
            found.push(*c);
        }
    }
    found.sort_unstable();
    found
}

fn replace_codes(operand: &mut Operand, codes: usize, label: Label) {
    for (step, _) in operand.index.iter_mut().flat_map(|a| &mut a.parts) {
        if *step == Step::Codes(codes) {
            *step = Step::Label(label);
        }
    }
}

/// Labels of operands in order of first appearance.
pub(crate) fn labels_in(operands: &[Operand]) -> Vec<Label> {
    let mut labels = Vec::new();
    for (step, _) in operands.iter().flat_map(|o| &o.index).flat_map(|a| &a.parts) {
        if let Step::Label(l) = step
            && !labels.contains(l)
        {
            labels.push(*l);
        }
    }
    labels
}

fn canonical(rows: &[Operand], index: &[AxisIndex]) -> GroupKey {
    let mut names: Vec<Label> = vec![ROWS];
    let mut rename = |axis: &AxisIndex| AxisIndex {
        start: axis.start,
        parts: axis
            .parts
            .iter()
            .map(|(step, m)| match step {
                Step::Codes(_) => (*step, *m),
                Step::Label(l) => {
                    let at = names.iter().position(|n| n == l).unwrap_or_else(|| {
                        names.push(*l);
                        names.len() - 1
                    });
                    (Step::Label(at), *m)
                }
            })
            .collect(),
    };
    let operands =
        rows.iter().map(|o| Operand { source: o.source, index: o.index.iter().map(&mut rename).collect() }).collect();
    (operands, index.iter().map(&mut rename).collect())
}
