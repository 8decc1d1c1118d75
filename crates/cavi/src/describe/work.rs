//! The work that a plan lays out: sums over the rows, their form, and the memory they take.

use super::notation::Notation;
use super::{Gate, RowSum, Work};
use crate::chain::discrete::DiscreteChainScratch;
use crate::factor::Family;
use crate::lower::Lowered;
use crate::plan::{AffineRole, ByRow, MatrixPath, Plan, RowGroup};
use crate::program::{FactorId, Program};
use vi_model::inference::Schedule;

/// The work of an iteration of a planned model.
pub(super) fn work(lowered: &Lowered, plan: &Plan, notation: &Notation<'_>) -> Work {
    let program = &lowered.program;
    let rows = program.num_rows;
    let names = |order: &[usize]| order.iter().map(|&f| program.factors[f].name.clone()).collect();
    let (numbers, in_memory) = program.row_data_bytes();
    let codes = rows * 4 * (program.codes.len() + plan.pairs.len());
    let counts = if program.counts.is_some() { rows * 8 } else { 0 };
    let by_rows: Vec<FactorId> = plan.local_order.iter().copied().filter(|f| !plan.is_affine(*f)).collect();
    let kept: usize = by_rows.iter().map(|&f| row_values(program, plan, f)).sum();
    let chains: usize = by_rows.iter().map(|&f| chain_values(program, plan, f)).sum();
    let affine_names = plan.affine.as_ref().map_or_else(Vec::new, |a| names(&a.factors));
    let features = plan.affine.as_ref().map_or(0, |a| a.num_features);
    let affine: usize = plan
        .affine
        .iter()
        .flat_map(|a| &a.factors)
        .map(|&f| {
            // Means and their sums as maps of the features, and one covariance.
            let means = program.factors[f].elements() * program.factors[f].family.statistic_size(0);
            2 * (features + 1) * means + program.factors[f].elements() * program.factors[f].family.statistic_size(1)
        })
        .sum::<usize>()
        + features * (features + 1);
    let batch = lowered.graph.inference.schedule.unwrap_or_default() == Schedule::Batch;
    // Batch ascent extrapolates: it keeps a copy of what there is, the last three states, and the one that is tried.
    let (copies, states) = if batch { (2, 4) } else { (1, 0) };
    let global: usize = program
        .factors
        .iter()
        .filter(|f| !f.local)
        .map(|f| f.elements() * (0..f.family.num_statistics()).map(|s| f.family.statistic_size(s)).sum::<usize>())
        .sum::<usize>()
        * (2 * copies + states);
    let tasks = if by_rows.is_empty() { 0 } else { rows.div_ceil(plan.task.max(1)) };
    let sums: usize = plan.groups.iter().map(|g| (2 * copies + if g.by_rows { tasks } else { 0 }) * g.size()).sum();
    Work {
        num_rows: rows,
        chunk_rows: plan.chunk.min(rows),
        num_tasks: rows.div_ceil(plan.task.max(1)),
        local_order: names(&plan.local_order),
        affine: affine_names,
        num_affine_features: features,
        by_row: plan.by_row.iter().map(|(f, why)| (program.factors[*f].name.clone(), reason(program, why))).collect(),
        global_order: names(&plan.global_order),
        gates: plan
            .fused
            .iter()
            .map(|gate| Gate {
                name: program.factors[gate.factor].name.clone(),
                num_features: gate.num_features,
                num_categories: gate.categories,
            })
            .collect(),
        sums: plan.groups.iter().enumerate().map(|(i, g)| row_sum(lowered, plan, i, g, notation)).collect(),
        num_row_free_products: plan.terms.iter().filter(|t| t.group.is_none()).count(),
        data_bytes: if !plan.goes_through_rows() { Some(codes) } else { in_memory.then_some(numbers + codes + counts) },
        // An attempt to extrapolate keeps a copy of the state.
        row_state_bytes: if plan.stored { rows * (2 * kept + chains) * 8 } else { 0 },
        thread_bytes: 8
            * plan.chunk.min(rows)
            * (2 * kept + features_of(plan) + if in_memory { 0 } else { numbers / 8 / rows.max(1) }),
        global_bytes: (global + sums + affine) * 8,
    }
}

/// Values that a row-level factor has in a row.
fn row_values(program: &Program, plan: &Plan, f: FactorId) -> usize {
    let factor = &program.factors[f];
    (0..factor.family.num_statistics())
        .filter(|&s| !(factor.family.is_summed(s) || s == 1 && plan.shared_chain[f]))
        .map(|s| factor.elements() * factor.family.statistic_size(s))
        .sum()
}

/// Values that a pass along a chain needs in a row.
fn chain_values(program: &Program, plan: &Plan, f: FactorId) -> usize {
    match program.factors[f].family {
        Family::MarkovChain(k) => k + DiscreteChainScratch::values_per_row(k),
        // Messages to a row and to the step into it beside the recursions.
        Family::MarkovSteps(k) => k + k * k + DiscreteChainScratch::values_per_row(k),
        Family::GaussianSteps(d) => d + 2 * d * d,
        // Messages to a row, and the gains.
        Family::GaussianMarkovChain(d) if !plan.shared_chain[f] => d + 2 * d * d,
        _ => 0,
    }
}

/// Values that a row's features and gates take while its chunk is worked on.
fn features_of(plan: &Plan) -> usize {
    let products = plan.groups.iter().filter(|g| g.by_rows);
    let paths = products.flat_map(|g| g.messages.iter().map(|m| &m.matrix).chain([&g.matrix_summary])).flatten();
    let widest = paths.filter(|p| !p.direct).map(width_of).max().unwrap_or(0);
    let gates: usize = plan.fused.iter().map(|gate| gate.num_features + 2 * gate.categories).max().unwrap_or(0);
    widest + gates
}

/// Why a row-level Gaussian is formed in each row.
fn reason(program: &Program, why: &ByRow) -> String {
    match why {
        ByRow::Schedule => "the schedule takes the rows in batches".to_owned(),
        ByRow::Precision => "its precision changes from row to row".to_owned(),
        ByRow::LookUp => "a look-up of the row chooses what it meets".to_owned(),
        ByRow::Neighbour(f) => format!("it meets {}, which is formed in each row", program.factors[*f].name),
        ByRow::Product => "its elements meet, or several means stand in one product".to_owned(),
        ByRow::Features(count) => format!("moments of {count} features cost more than the rows"),
    }
}

fn row_sum(lowered: &Lowered, plan: &Plan, index: usize, group: &RowGroup, notation: &Notation<'_>) -> RowSum {
    let fused = plan.fused.iter().find_map(|gate| {
        let part = gate.groups.iter().find(|part| part.group == index)?;
        Some((&lowered.program.factors[gate.factor].name, part.num_features))
    });
    if let Some((name, features)) = fused {
        let plural = if features == 1 { "" } else { "s" };
        let how = format!("{features} feature{plural} of the gate {name}");
        return RowSum { product: notation.row_product(group), size: group.size(), how, messages: Vec::new() };
    }
    if let Some(chain) = plan.second_moments_of(index) {
        let how = format!("from the passes along {}", lowered.program.factors[chain].name);
        return RowSum { product: notation.row_product(group), size: group.size(), how, messages: Vec::new() };
    }
    let affine = plan.affine.iter().find_map(|a| Some((a, a.groups.iter().find(|part| part.group == index)?)));
    if let Some((affine, part)) = affine {
        let how = match &part.role {
            AffineRole::Linear { feature, .. } => {
                format!("from the moments of {} features, without the rows", affine.features[*feature].size)
            }
            AffineRole::Single | AffineRole::Pair => "from the moments of the features, without the rows".to_owned(),
        };
        return RowSum { product: notation.row_product(group), size: group.size(), how, messages: Vec::new() };
    }
    let how = match (&group.matrix_summary, group.dynamic) {
        (_, false) => "once, before the first iteration".to_owned(),
        (Some(path), true) => format!(
            "matrix product [rows × {}]ᵀ·[rows × {}]{}",
            width_of(path),
            path.width,
            if path.symmetric.is_some() { ", one triangle" } else { "" }
        ),
        (None, true) => "loops over the rows".to_owned(),
    };
    let messages = group
        .messages
        .iter()
        .map(|m| {
            let name = &lowered.program.factors[m.factor].name;
            match &m.matrix {
                Some(path) => {
                    format!(
                        "to {name}: matrix product [rows × {}]·[{} × {}]",
                        width_of(path),
                        width_of(path),
                        path.width
                    )
                }
                None => format!("to {name}: loops over the rows"),
            }
        })
        .collect();
    RowSum { product: notation.row_product(group), size: group.size(), how, messages }
}

/// Columns of the feature matrix as it is stored.
fn width_of(path: &MatrixPath) -> usize {
    path.symmetric.map_or(path.num_features, |d| d * (d + 1) / 2)
}

/// Bytes in the largest unit that keeps a digit before the point.
fn bytes(count: usize) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

impl Work {
    /// The lines of the plan.
    pub(super) fn write(&self, line: &mut dyn FnMut(&str)) {
        let tasks = if self.num_tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", self.num_tasks) };
        if self.num_rows > 1 {
            line(&format!("  {} rows in chunks of {}, {tasks}, merged in order", self.num_rows, self.chunk_rows));
        }
        let kept = if self.row_state_bytes > 0 { ", kept between iterations" } else { ", made anew from the others" };
        if !self.local_order.is_empty() {
            let by_rows: Vec<&str> =
                self.local_order.iter().filter(|f| !self.affine.contains(f)).map(String::as_str).collect();
            if !by_rows.is_empty() {
                line(&format!("  row-level factors: {}{kept}", by_rows.join(", then ")));
            }
            for (name, reason) in &self.by_row {
                line(&format!("    ({name} is formed in each row: {reason})"));
            }
            if !self.affine.is_empty() {
                line(&format!(
                    "  row-level factors for all rows at once: {}, each an affine map of {} data features whose moments are summed before the first iteration",
                    self.affine.join(", then "),
                    self.num_affine_features
                ));
            }
        }
        line(&format!(
            "  then: {}",
            if self.global_order.is_empty() { "nothing else".to_owned() } else { self.global_order.join(", ") }
        ));
        for gate in &self.gates {
            let (s, k) = (gate.num_features, gate.num_categories);
            line(&format!(
                "  gate {}: logits [{k} × {s}]·[{s} × rows] and statistics [{s} × rows]·[rows × {k}]",
                gate.name
            ));
        }
        if !self.sums.is_empty() {
            line("  sums over the rows:");
        }
        for sum in &self.sums {
            let values = if sum.size == 1 { "1 value".to_owned() } else { format!("{} values", sum.size) };
            line(&format!("    {}", sum.product));
            line(&format!("      {values}, {}", sum.how));
            for message in &sum.messages {
                line(&format!("      message {message}"));
            }
        }
        let data = match self.data_bytes {
            Some(size) if self.local_order.len() == self.affine.len() => {
                let look_ups = if size > 0 { format!(" (look-ups {})", bytes(size)) } else { String::new() };
                format!("data read before the first iteration{look_ups}")
            }
            Some(size) => format!("data {}", bytes(size)),
            None => "data read again in each pass".to_owned(),
        };
        line(&format!(
            "  memory: {data}, row-level state {}, everything else {}",
            bytes(self.row_state_bytes),
            bytes(self.global_bytes)
        ));
        if self.thread_bytes > 0 {
            line(&format!("  and for each thread {} in which it works on a chunk of rows", bytes(self.thread_bytes)));
        }
    }
}
