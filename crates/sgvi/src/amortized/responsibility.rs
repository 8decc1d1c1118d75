//! Posterior probabilities of the discrete variables of the rows, averaged over draws of the amortised factors.

use super::joint::{Joint, State};
use super::model::AmortizedModel;
use super::part::Drawing;
use super::trainer::for_parts;
use crate::error::SgviError;
use crate::fit::responsibility::{Responsibilities, responsibility};
use crate::lower::JointModel;
use crate::network::noise::StepNoise;
use vi_model::graph::Graph;

/// Draws of the variables outside the rows' plate.
const GLOBAL_DRAWS: u64 = 8;

/// Draws of the rows' variables for each of them.
const ROW_DRAWS: usize = 4;

/// E_q\[p(k | x, z)\] of every discrete variable that is not known in all rows: ∂ log p / ∂ log p(k), averaged over draws of z.
///
/// # Errors
/// As [`AmortizedModel::new`].
pub(crate) fn responsibilities(
    graph: &Graph,
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
) -> Result<Vec<Responsibilities>, SgviError> {
    let program = &model.program;
    let Some(globals) = program.globals.as_ref().filter(|globals| !globals.joint.row_terms.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut joint = JointModel::new(graph, &program.elsewhere, true)?;
    let mut probes = std::mem::take(&mut joint.probes);
    probes.retain(|probe| probe.value.shape.rows);
    // The same operations but for the probes: the same ports in the same order.
    let slots: Vec<_> = globals.joint.tape.ports.iter().map(|port| port.slot).collect();
    let joint = Joint::new(joint, &slots, &|_| (String::new(), false));
    let mut sums: Vec<Vec<f64>> = probes.iter().map(|p| vec![0.0; rows.len() * p.value.shape.inner()]).collect();
    for number in 0..GLOBAL_DRAWS {
        let noise = StepNoise::new(0, number);
        let parts = for_parts(model, parameters, rows, ROW_DRAWS, &noise, Drawing::Posterior, None, |part, pass| {
            let theta = &pass.globals.theta;
            let mut state = State::new(&joint.tape, part.rows.len() * ROW_DRAWS, true);
            state.clear(&joint);
            state.globals(&joint.tape, theta);
            part.run(program, &joint.tape, theta, &mut state);
            state.backward_rows(&joint, theta, |_, _| 1.0);
            let mut out = Vec::with_capacity(probes.len());
            for probe in &probes {
                let inner = probe.value.shape.inner();
                let mut means = vec![0.0; part.rows.len() * inner];
                for (draw, values) in state.adjoint(&probe.value).chunks_exact(inner).enumerate() {
                    let row = draw / ROW_DRAWS;
                    let target = means[row * inner..(row + 1) * inner].chunks_exact_mut(probe.size);
                    for (target, values) in target.zip(values.chunks_exact(probe.size)) {
                        let total: f64 = values.iter().sum::<f64>() * ROW_DRAWS as f64 * GLOBAL_DRAWS as f64;
                        target.iter_mut().zip(values).for_each(|(mean, value)| *mean += value / total);
                    }
                }
                out.push(means);
            }
            out
        });
        for (index, sum) in sums.iter_mut().enumerate() {
            let values = parts.iter().flat_map(|part| &part[index]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(probes.iter().zip(sums).map(|(probe, probabilities)| responsibility(probe, probabilities)).collect())
}
