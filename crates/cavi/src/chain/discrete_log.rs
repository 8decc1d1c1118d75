//! Forward–backward of one sequence in logarithms: slower, but exact whatever underflows, and for transitions that vary by row.

use super::sum::CompensatedSum;

/// Expected log transition probabilities of one sequence, `[from, to]`.
pub(super) enum LogTransition<'a> {
    /// One table for all rows, `[K, K]`.
    Shared(&'a [f64]),
    /// A table for the step into each row, `[rows, K, K]`; replaced by the pairwise marginals, zero in the first row.
    PerRow(&'a mut [f64]),
}

impl LogTransition<'_> {
    /// The table of the step into `row`.
    fn table(&self, row: usize, num_states: usize) -> &[f64] {
        match self {
            Self::Shared(table) => table,
            Self::PerRow(tables) => &tables[row * num_states * num_states..(row + 1) * num_states * num_states],
        }
    }
}

/// Sums over one sequence that the recursion adds to.
pub(super) struct LogSums<'a> {
    /// Σ_t ξ_t(i, j), `[K, K]`.
    pub(super) pairs: &'a mut [f64],
    /// γ_1, `[K]`.
    pub(super) initial: &'a mut [f64],
}

/// log Σ exp over an iterator that can be walked twice; −∞ where every term is.
fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let maximum = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if maximum == f64::NEG_INFINITY {
        return maximum;
    }
    maximum + terms.map(|term| (term - maximum).exp()).sum::<f64>().ln()
}

/// Subtracts the largest entry, which is returned; leaves entries that are all −∞.
fn subtract_largest(logs: &mut [f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest > f64::NEG_INFINITY {
        logs.iter_mut().for_each(|log| *log -= largest);
    }
    largest
}

/// Replaces `unary`, `[rows, K]`, by the posterior marginals and returns the log normaliser (Rabiner 1989, §III.A–B):
///
/// ```text
/// a_t(j) = u_t(j) + log Σ_i exp(a_{t−1}(i) + log A_t(i, j)) − m_t          max_j a_t(j) = 0
/// c_{t−1}(i) = log Σ_j exp(log A_t(i, j) + u_t(j) + c_t(j)) − const        max_i c_{t−1}(i) = 0
/// γ_t(j) = exp(a_t(j) + c_t(j) − n_t)                                      n_t = log Σ_j exp(a_t(j) + c_t(j))
/// ξ_t(i, j) = exp(a_{t−1}(i) + log A_t(i, j) + u_t(j) + c_t(j) − m_t − n_t)
/// log Z = Σ_t m_t + log Σ_j exp a_T(j)
/// ```
///
/// `forward` and `backward` are scratch, `[rows, K]`, `shift` too, `[rows]`: it takes m_t.
///
/// # Errors
///
/// The first row at which no state is possible.
pub(super) fn forward_backward(
    log_initial: &[f64],
    mut transition: LogTransition<'_>,
    unary: &mut [f64],
    forward: &mut [f64],
    backward: &mut [f64],
    shift: &mut [f64],
    sums: LogSums<'_>,
) -> Result<f64, usize> {
    let num_states = log_initial.len();
    let num_rows = unary.len() / num_states;
    let mut log_normalizer = CompensatedSum::default();
    for (row, shift) in shift.iter_mut().enumerate() {
        let (done, rest) = forward.split_at_mut(row * num_states);
        let unary = &unary[row * num_states..(row + 1) * num_states];
        for (to, (next, unary)) in rest.iter_mut().zip(unary).enumerate() {
            *next = unary
                + if row == 0 {
                    log_initial[to]
                } else {
                    let table = transition.table(row, num_states);
                    let previous = &done[(row - 1) * num_states..];
                    log_sum_exp(previous.iter().enumerate().map(|(from, log)| log + table[from * num_states + to]))
                };
        }
        *shift = subtract_largest(&mut rest[..num_states]);
        if *shift == f64::NEG_INFINITY {
            return Err(row);
        }
        log_normalizer.add(*shift);
    }
    log_normalizer.add(log_sum_exp(forward[(num_rows - 1) * num_states..].iter().copied()));
    backward_messages(&transition, unary, backward, num_states);
    for row in 0..num_rows {
        let span = row * num_states..(row + 1) * num_states;
        let (backward, unary) = (&backward[span.clone()], &mut unary[span.clone()]);
        let current = &forward[span.clone()];
        let overlap = log_sum_exp(current.iter().zip(backward).map(|(forward, backward)| forward + backward));
        let square = num_states * num_states;
        if row == 0 {
            if let LogTransition::PerRow(tables) = &mut transition {
                tables[..square].fill(0.0);
            }
        } else {
            let constant = shift[row] + overlap;
            let previous = &forward[span.start - num_states..span.start];
            for (from, message) in previous.iter().enumerate() {
                for (to, (unary, backward)) in unary.iter().zip(backward).enumerate() {
                    let cell = from * num_states + to;
                    let step = transition.table(row, num_states)[cell];
                    let pair = (message + step + (unary + backward - constant)).exp();
                    sums.pairs[cell] += pair;
                    if let LogTransition::PerRow(tables) = &mut transition {
                        tables[row * square + cell] = pair;
                    }
                }
            }
        }
        for ((marginal, forward), backward) in unary.iter_mut().zip(current).zip(backward) {
            *marginal = (forward + backward - overlap).exp();
        }
        if row == 0 {
            sums.initial.iter_mut().zip(&*unary).for_each(|(sum, marginal)| *sum += marginal);
        }
    }
    Ok(log_normalizer.value())
}

/// Fills `backward`, `[rows, K]`, with c_t of [`forward_backward`].
fn backward_messages(transition: &LogTransition<'_>, unary: &[f64], backward: &mut [f64], num_states: usize) {
    let num_rows = unary.len() / num_states;
    backward[(num_rows - 1) * num_states..].fill(0.0);
    for row in (1..num_rows).rev() {
        let (rest, later) = backward.split_at_mut(row * num_states);
        let (unary, table) = (&unary[row * num_states..], transition.table(row, num_states));
        let current = &mut rest[(row - 1) * num_states..];
        for (message, table) in current.iter_mut().zip(table.chunks_exact(num_states)) {
            let terms = table.iter().zip(unary).zip(&*later);
            *message = log_sum_exp(terms.map(|((step, unary), later)| step + unary + later));
        }
        subtract_largest(current);
    }
}
