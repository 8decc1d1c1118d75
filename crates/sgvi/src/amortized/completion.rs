//! Observed variables that depend on an unknown discrete variable of their row: averages over its values given the row.

use super::joint::{Generator, Joint, State};
use super::part::Part;
use super::program::{Program, SlotId};
use crate::lower::Probe;
use crate::tape::Value;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vi_model::graph::VariableId;

/// Values of one element up to which each is taken in turn; averages are over draws beyond.
const MOST_VALUES: usize = 64;

/// What is expected and drawn of a variable of the rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Completed {
    /// Draws.
    pub(super) draws: Vec<f64>,
    /// Expected values; of a category its most probable one.
    pub(super) means: Vec<f64>,
}

/// How an unknown discrete variable of the rows is filled in.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The log joint; the derivative by the probe is the variable's posterior given the amortised ones.
    joint: Joint,
    probe: Probe,
    /// Draws of what depends on it, where its log probabilities are given.
    generator: Generator,
    given: Value,
}

impl Completion {
    /// `given` is the generator's buffer of log probabilities.
    pub(super) fn new(joint: Joint, probe: Probe, generator: Generator, given: Value) -> Self {
        Self { joint, probe, generator, given }
    }

    /// The slots that it reads.
    pub(super) fn slots(&self) -> impl Iterator<Item = SlotId> {
        self.joint.tape.ports.iter().chain(&self.generator.tape.ports).map(|port| port.slot)
    }

    /// p(k | x, z) of every element at the part's z, `[rows, elements, values]`.
    fn posterior(&self, part: &Part, program: &Program, theta: &[f64]) -> Vec<f64> {
        let mut state = State::new(&self.joint.tape, part.rows.len(), true);
        state.clear(&self.joint);
        state.globals(&self.joint.tape, theta);
        part.run(program, &self.joint.tape, theta, &mut state);
        state.backward_rows(&self.joint, theta, |_, _| 1.0);
        let shares = |values: &[f64]| {
            let total: f64 = values.iter().sum();
            values.iter().map(|v| v / total).collect::<Vec<f64>>()
        };
        state.adjoint(&self.probe.value).chunks_exact(self.probe.size).flat_map(shares).collect()
    }

    /// Σₖ p(k | x, z) E\[y | z, k\] of some variables for the rows of a part, and draws of them; `theta` ends with the number of the
    /// draw.
    pub(super) fn complete(
        &self,
        part: &Part,
        program: &Program,
        theta: &[f64],
        variables: &[VariableId],
        seed: u64,
    ) -> Vec<Completed> {
        let size = self.probe.size;
        let posterior = self.posterior(part, program, &theta[..theta.len().saturating_sub(1)]);
        let elements = posterior.len() / size / part.rows.len().max(1);
        let mut state = State::new(&self.generator.tape, part.rows.len(), false);
        state.globals(&self.generator.tape, theta);
        let mut at = |values: &[usize]| {
            let mut logs = vec![f64::NEG_INFINITY; posterior.len()];
            values.iter().enumerate().for_each(|(e, k)| logs[e * size + k] = 0.0);
            state.fill(&self.given, &logs);
            part.run(program, &self.generator.tape, theta, &mut state);
            variables.iter().map(|v| state.expected(&self.generator, *v).unwrap_or_default()).collect::<Vec<_>>()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || -> Vec<usize> {
            let one = |p: &[f64]| {
                let mut rest = rng.random::<f64>();
                let drawn = p.iter().position(|p| {
                    rest -= p;
                    rest < 0.0
                });
                drawn.unwrap_or(size - 1)
            };
            posterior.chunks_exact(size).map(one).collect()
        };
        let each = elements == 1 && size <= MOST_VALUES;
        let mut sums: Vec<Vec<f64>> = Vec::new();
        for turn in 0..if each { size } else { MOST_VALUES } {
            let values = if each { vec![turn; posterior.len() / size] } else { draw() };
            let found = at(&values);
            sums.resize(found.len(), Vec::new());
            for (sum, expected) in sums.iter_mut().zip(found) {
                sum.resize(expected.values.len(), 0.0);
                let width = expected.values.len() / part.rows.len().max(1);
                for (i, value) in expected.values.iter().enumerate() {
                    let weight =
                        if each { posterior[i / width.max(1) * size + turn] } else { 1.0 / MOST_VALUES as f64 };
                    // A value of no weight may be one that is not possible.
                    sum[i] += if weight > 0.0 { weight * value } else { 0.0 };
                }
            }
        }
        let drawn = at(&draw());
        let completed =
            sums.into_iter().zip(drawn).map(|(sum, e)| Completed { means: e.likeliest(sum), draws: e.draws });
        completed.collect()
    }
}
