//! The exact posterior of discrete Markov chains: marginals, transition counts and normaliser by forward–backward.
//!
//! ```text
//! p(z) ∝ Π_sequences exp( log π(z_1) + Σ_{t≥2} log A(z_{t−1}, z_t) + Σ_t u_t(z_t) )
//! ```
//!
//! The recursions run in linear space with a shift and a scale a row. Forward and backward messages do not need each
//! other, so one long sequence keeps two threads busy, and joining them is parallel in blocks of rows. Where underflow
//! could have cost digits, the sequence is done again in logarithms.

use rayon::prelude::*;

use super::discrete_kernels::{self as kernels, Counts, Recursions, Tables};
use super::discrete_log::{self, LogSums, LogTransition};
use super::sum::{CompensatedSum, LogProduct};
use super::{ChainError, Group, check_length, check_starts, group_sequences};

/// Rows that one task works through at least.
const GROUP_ROWS: usize = 4096;

/// Rows from which on one sequence is itself cut into blocks.
const LONG_SEQUENCE_ROWS: usize = 4 * GROUP_ROWS;

/// Span of the log transitions, in nats, below which messages cannot drift apart so far that underflow matters.
const BOUNDED_SPAN: f64 = 60.0;

/// Logarithms of the transition potentials, `[from, to]`; they need not be normalised and may be −∞.
#[derive(Debug)]
pub(crate) enum Transition<'a> {
    /// One table for all rows, `[K, K]`.
    Shared(&'a [f64]),
    /// A table for the step into each row, `[rows, K, K]`; replaced by the pairwise marginals ξ_t(i, j), which are zero in
    /// the first row of every sequence (whose table is not read).
    PerRow(&'a mut [f64]),
}

/// Sums over all sequences of a discrete chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DiscreteChainSummary {
    /// Σ_sequences log Σ_paths exp(potential of the path), in nats.
    pub log_normalizer: f64,
    /// Σ_t ξ_t(i, j) within sequences, `[from, to]`, `[K, K]`.
    pub pair_sum: Vec<f64>,
    /// Σ_sequences γ_1, `[K]`.
    pub initial_sum: Vec<f64>,
}

/// Buffers of [`forward_backward`], kept over iterations.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscreteChainScratch {
    tables: Tables,
    emission: Vec<f64>,
    shift: Vec<f64>,
    filtered: Vec<f64>,
    scale: Vec<f64>,
    backward: Vec<f64>,
    groups: Vec<Group>,
    blocks: Vec<Block>,
}

/// What one task collects.
#[derive(Clone, Debug, Default)]
struct Block {
    counts: Counts,
    log_normalizer: f64,
    /// Pairwise sums that were not divided by A, `[K, K]`; empty unless a sequence was done in logarithms.
    log_pairs: Vec<f64>,
    /// Scratch of the backward recursion, `[width]`.
    product: Vec<f64>,
}

impl Block {
    fn clear(&mut self, tables: &Tables) {
        self.counts.clear(tables.num_states, tables.width);
        self.log_normalizer = 0.0;
        self.log_pairs.clear();
        self.product.clear();
        self.product.resize(tables.width, 0.0);
    }
}

/// The parts of all arrays that belong to one group.
struct Task<'a> {
    group: &'a Group,
    unary: &'a mut [f64],
    per_row: Option<&'a mut [f64]>,
    emission: &'a mut [f64],
    shift: &'a mut [f64],
    filtered: &'a mut [f64],
    scale: &'a mut [f64],
    backward: &'a mut [f64],
    blocks: &'a mut [Block],
}

/// The same for one sequence.
struct Sequence<'a> {
    first_row: usize,
    unary: &'a mut [f64],
    per_row: Option<&'a mut [f64]>,
    emission: &'a mut [f64],
    shift: &'a mut [f64],
    filtered: &'a mut [f64],
    scale: &'a mut [f64],
    backward: &'a mut [f64],
}

/// What all tasks share.
struct Shared<'a> {
    tables: &'a Tables,
    log_initial: &'a [f64],
    log_transition: Option<&'a [f64]>,
    /// Largest log initial and log transition potential, which the tables are divided by.
    initial_shift: f64,
    transition_shift: f64,
    /// Whether the tables exclude that underflow matters.
    bounded: bool,
}

/// Number of blocks of a group: more than one only for one long sequence.
fn num_blocks(group: &Group) -> usize {
    if group.sequences.len() == 1 && group.rows.len() >= LONG_SEQUENCE_ROWS {
        group.rows.len().div_ceil(GROUP_ROWS)
    } else {
        1
    }
}

/// Largest entry and the span down to the smallest; an error where one is NaN or +∞ or all are −∞.
fn range(array: &'static str, logs: &[f64]) -> Result<(f64, f64), ChainError> {
    let (mut largest, mut smallest) = (f64::NEG_INFINITY, f64::INFINITY);
    for &log in logs {
        if log.is_nan() || log == f64::INFINITY {
            return Err(ChainError::ParametersNotFinite { array });
        }
        largest = largest.max(log);
        smallest = smallest.min(log);
    }
    if largest == f64::NEG_INFINITY { Ok((0.0, f64::INFINITY)) } else { Ok((largest, largest - smallest)) }
}

/// Splits `length` entries off the front of `rest`.
fn take<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (front, back) = std::mem::take(rest).split_at_mut(length);
    *rest = back;
    front
}

/// Replaces the unary log messages of a discrete chain by its posterior marginals and sums what parents need.
///
/// `log_initial` is `[K]`, `unary` is `[rows, K]` row-major, `starts` the first rows of the sequences, from 0, rising. All
/// are expected log potentials: they need not be normalised, and −∞ forbids a state or step. The whole factor is
///
/// ```text
/// γ_t(k) = p(z_t = k)      ξ_t(i, j) = p(z_{t−1} = i, z_t = j)
/// log Z = Σ_sequences log Σ_z exp( log π(z_1) + Σ_{t≥2} log A(z_{t−1}, z_t) + Σ_t u_t(z_t) )
/// entropy = log Z − ⟨Σγ_1, log π⟩ − ⟨Σξ, log A⟩ − Σ_t ⟨γ_t, u_t⟩
/// ```
///
/// with 0·(−∞) = 0. Source: Rabiner 1989, §III; Bishop, PRML, §13.2.2–13.2.4. Results do not depend on the number of threads.
///
/// # Errors
///
/// Lengths or starts that do not fit, numbers that are NaN or +∞, and rows at which no state is possible; `unary` is then
/// partly overwritten.
pub(crate) fn forward_backward(
    log_initial: &[f64],
    transition: Transition<'_>,
    unary: &mut [f64],
    starts: &[usize],
    scratch: &mut DiscreteChainScratch,
    summary: &mut DiscreteChainSummary,
) -> Result<(), ChainError> {
    let num_states = log_initial.len();
    let num_rows = unary.len().checked_div(num_states).unwrap_or(0);
    check_length("unary", unary.len(), num_rows * num_states)?;
    check_starts(starts, num_rows)?;
    let square = num_states * num_states;
    let (log_transition, mut per_row) = match transition {
        Transition::Shared(table) => (Some(table), None),
        Transition::PerRow(tables) => (None, Some(tables)),
    };
    match (log_transition, &per_row) {
        (Some(table), _) => check_length("transition", table.len(), square)?,
        (None, tables) => check_length("transition", tables.as_ref().map_or(0, |t| t.len()), num_rows * square)?,
    }

    let (initial_shift, initial_span) = range("initial", log_initial)?;
    let (transition_shift, transition_span) = range("transition", log_transition.unwrap_or(&[]))?;
    let shared_table = log_transition.map(|table| (table, transition_shift));
    scratch.prepare(log_initial, initial_shift, shared_table, num_rows, starts);
    let shared = Shared {
        tables: &scratch.tables,
        log_initial,
        log_transition,
        initial_shift,
        transition_shift,
        bounded: initial_span.max(transition_span) <= BOUNDED_SPAN,
    };

    let width = scratch.tables.width;
    let mut rest = (
        (&mut *unary, &mut *scratch.emission, &mut *scratch.shift),
        (&mut *scratch.filtered, &mut *scratch.scale, &mut *scratch.backward),
        &mut *scratch.blocks,
    );
    let mut tasks = Vec::with_capacity(scratch.groups.len());
    for group in &scratch.groups {
        let rows = group.rows.len();
        tasks.push(Task {
            group,
            unary: take(&mut rest.0.0, rows * num_states),
            per_row: per_row.as_mut().map(|tables| take(tables, rows * square)),
            emission: take(&mut rest.0.1, rows * width),
            shift: take(&mut rest.0.2, rows),
            filtered: take(&mut rest.1.0, rows * width),
            scale: take(&mut rest.1.1, rows),
            backward: take(&mut rest.1.2, rows * width),
            blocks: take(&mut rest.2, num_blocks(group)),
        });
    }
    let outcomes: Vec<Result<(), ChainError>> = tasks.into_par_iter().map(|task| task.run(&shared, starts)).collect();
    outcomes.into_iter().collect::<Result<(), ChainError>>()?;
    scratch.merge(log_transition, transition_shift, summary);
    Ok(())
}

impl DiscreteChainScratch {
    /// Numbers that the passes keep for each row.
    pub(crate) fn values_per_row(num_states: usize) -> usize {
        3 * kernels::lanes_and_width(num_states).1 + 2
    }

    /// Fills the tables and gives every buffer the length that the chain needs.
    fn prepare(
        &mut self,
        log_initial: &[f64],
        initial_shift: f64,
        log_transition: Option<(&[f64], f64)>,
        num_rows: usize,
        starts: &[usize],
    ) {
        let num_states = log_initial.len();
        let (lanes, width) = kernels::lanes_and_width(num_states);
        let tables = &mut self.tables;
        (tables.num_states, tables.lanes, tables.width) = (num_states, lanes, width);
        for (buffer, length) in [
            (&mut tables.initial, width),
            (&mut tables.transition, width * width),
            (&mut tables.transposed, width * width),
        ] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        tables.bound.clear();
        tables.bound.resize(num_states, f64::INFINITY);
        tables.bound.resize(width, f64::NEG_INFINITY);
        for (state, log) in log_initial.iter().enumerate() {
            tables.initial[state] = (log - initial_shift).exp();
        }
        if let Some((logs, shift)) = log_transition {
            for from in 0..num_states {
                for to in 0..num_states {
                    let value = (logs[from * num_states + to] - shift).exp();
                    tables.transition[from * width + to] = value;
                    tables.transposed[to * width + from] = value;
                }
            }
        }
        for (buffer, length) in [
            (&mut self.emission, num_rows * width),
            (&mut self.shift, num_rows),
            (&mut self.filtered, num_rows * width),
            (&mut self.scale, num_rows),
            (&mut self.backward, num_rows * width),
        ] {
            buffer.resize(length, 0.0);
        }
        group_sequences(starts, num_rows, GROUP_ROWS, &mut self.groups);
        self.blocks.resize_with(self.groups.iter().map(num_blocks).sum(), Block::default);
        for block in &mut self.blocks {
            block.clear(&self.tables);
        }
    }

    /// Adds up the blocks in their order.
    fn merge(&self, log_transition: Option<&[f64]>, transition_shift: f64, summary: &mut DiscreteChainSummary) {
        let (num_states, width) = (self.tables.num_states, self.tables.width);
        summary.pair_sum.clear();
        summary.pair_sum.resize(num_states * num_states, 0.0);
        summary.initial_sum.clear();
        summary.initial_sum.resize(num_states, 0.0);
        let mut log_normalizer = CompensatedSum::default();
        for block in &self.blocks {
            log_normalizer.add(block.log_normalizer);
            for (sum, value) in summary.initial_sum.iter_mut().zip(&block.counts.initial) {
                *sum += value;
            }
            let rows = summary.pair_sum.chunks_exact_mut(num_states).zip(block.counts.pairs.chunks_exact(width));
            for (sums, values) in rows {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        if let Some(logs) = log_transition {
            for (sum, log) in summary.pair_sum.iter_mut().zip(logs) {
                *sum *= (log - transition_shift).exp();
            }
        }
        for block in &self.blocks {
            summary.pair_sum.iter_mut().zip(&block.log_pairs).for_each(|(sum, value)| *sum += value);
        }
        summary.log_normalizer = log_normalizer.value();
    }
}

impl Task<'_> {
    /// Works through the sequences of the group.
    fn run(mut self, shared: &Shared<'_>, starts: &[usize]) -> Result<(), ChainError> {
        let (num_states, width) = (shared.tables.num_states, shared.tables.width);
        for position in self.group.sequences.clone() {
            let first_row = starts[position];
            let end = starts.get(position + 1).map_or(self.group.rows.end, |&next| next.min(self.group.rows.end));
            let rows = end - first_row;
            let sequence = Sequence {
                first_row,
                unary: take(&mut self.unary, rows * num_states),
                per_row: self.per_row.as_mut().map(|tables| take(tables, rows * num_states * num_states)),
                emission: take(&mut self.emission, rows * width),
                shift: take(&mut self.shift, rows),
                filtered: take(&mut self.filtered, rows * width),
                scale: take(&mut self.scale, rows),
                backward: take(&mut self.backward, rows * width),
            };
            sequence.run(shared, self.blocks)?;
        }
        Ok(())
    }
}

impl Sequence<'_> {
    /// Runs the scaled recursions, or those in logarithms where the transitions vary or the scaled ones cannot be trusted.
    fn run(mut self, shared: &Shared<'_>, blocks: &mut [Block]) -> Result<(), ChainError> {
        let first_row = self.first_row;
        self.emissions(shared.tables, blocks.len() > 1)?;
        let trusted = shared.log_transition.is_some() && self.recursions(shared, blocks);
        if !trusted {
            return self.in_logarithms(shared, &mut blocks[0]);
        }
        let tables = shared.tables;
        let recursions =
            Recursions { emission: self.emission, filtered: self.filtered, scale: self.scale, backward: self.backward };
        let num_rows = self.scale.len();
        let block_rows = if blocks.len() > 1 { GROUP_ROWS } else { num_rows };
        let (scale, shift) = (&*self.scale, &*self.shift);
        let join = |(position, (block, marginals)): (usize, (&mut Block, &mut [f64]))| {
            let rows = position * block_rows..((position + 1) * block_rows).min(num_rows);
            let mut product = LogProduct::new();
            for (scale, shift) in scale[rows.clone()].iter().zip(&shift[rows.clone()]) {
                product.multiply(*scale);
                product.add_log(*shift);
            }
            let steps = rows.len() - usize::from(rows.start == 0);
            product.add_log(steps as f64 * shared.transition_shift);
            if rows.start == 0 {
                product.add_log(shared.initial_shift);
            }
            block.log_normalizer += product.value();
            kernels::join(tables, recursions, rows, marginals, &mut block.counts)
        };
        let marginals = self.unary.chunks_mut((block_rows * tables.num_states).max(1));
        let trusted = if blocks.len() > 1 {
            let marginals: Vec<&mut [f64]> = marginals.collect();
            blocks.par_iter_mut().zip(marginals).enumerate().map(join).reduce(|| true, |a, b| a && b)
        } else {
            blocks.iter_mut().zip(marginals).enumerate().all(join)
        };
        if trusted { Ok(()) } else { Err(ChainError::NotFinite { row: first_row }) }
    }

    /// exp(unary − maximum) of every row.
    fn emissions(&mut self, tables: &Tables, parallel: bool) -> Result<(), ChainError> {
        let (num_states, width) = (tables.num_states, tables.width);
        let block_rows = if parallel { GROUP_ROWS } else { self.shift.len() };
        let unary = &*self.unary;
        let failed = if parallel {
            let outcomes: Vec<Option<usize>> = self
                .emission
                .par_chunks_mut(block_rows * width)
                .zip(self.shift.par_chunks_mut(block_rows))
                .zip(unary.par_chunks(block_rows * num_states))
                .enumerate()
                .map(|(block, ((emission, shift), unary))| {
                    let row = kernels::emission(tables, unary, emission, shift).err()?;
                    Some(block * block_rows + row)
                })
                .collect();
            outcomes.into_iter().flatten().next()
        } else {
            kernels::emission(tables, unary, self.emission, self.shift).err()
        };
        let Some(row) = failed else { return Ok(()) };
        let values = &unary[row * num_states..(row + 1) * num_states];
        let row = self.first_row + row;
        if values.iter().all(|&value| value == f64::NEG_INFINITY) {
            Err(ChainError::Impossible { row })
        } else {
            Err(ChainError::NotFinite { row })
        }
    }

    /// Both recursions in scaled linear space; whether they can be trusted.
    fn recursions(&mut self, shared: &Shared<'_>, blocks: &mut [Block]) -> bool {
        let tables = shared.tables;
        let parallel = blocks.len() > 1;
        let product = &mut blocks[0].product;
        let (emission, filtered, scale) = (&*self.emission, &mut *self.filtered, &mut *self.scale);
        let backward = &mut *self.backward;
        let (forward, backward) = if parallel {
            rayon::join(
                || kernels::forward(tables, emission, filtered, scale),
                || kernels::backward(tables, emission, backward, product),
            )
        } else {
            (
                kernels::forward(tables, emission, filtered, scale),
                kernels::backward(tables, emission, backward, product),
            )
        };
        forward && backward && (shared.bounded || kernels::overlap(tables, self.filtered, self.backward))
    }

    /// The recursions in logarithms.
    fn in_logarithms(self, shared: &Shared<'_>, block: &mut Block) -> Result<(), ChainError> {
        let num_states = shared.tables.num_states;
        let not_finite = |value: &f64| value.is_nan() || *value == f64::INFINITY;
        if let Some(row) = self.unary.chunks_exact(num_states).position(|row| row.iter().any(not_finite)) {
            return Err(ChainError::NotFinite { row: self.first_row + row });
        }
        let tables = self.per_row.as_ref().map_or(&[][..], |tables| tables);
        let first_step = num_states * num_states;
        if tables.iter().skip(first_step).any(not_finite) {
            return Err(ChainError::ParametersNotFinite { array: "transition" });
        }
        block.log_pairs.resize(num_states * num_states, 0.0);
        let transition = match (self.per_row, shared.log_transition) {
            (Some(tables), _) => LogTransition::PerRow(tables),
            (None, table) => LogTransition::Shared(table.unwrap_or(&[])),
        };
        let sums = LogSums { pairs: &mut block.log_pairs, initial: &mut block.counts.initial };
        let length = self.unary.len();
        let log_normalizer = discrete_log::forward_backward(
            shared.log_initial,
            transition,
            self.unary,
            &mut self.filtered[..length],
            &mut self.backward[..length],
            self.scale,
            sums,
        )
        .map_err(|row| ChainError::Impossible { row: self.first_row + row })?;
        block.log_normalizer += log_normalizer;
        Ok(())
    }
}
