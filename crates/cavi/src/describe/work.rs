//! The work that a plan lays out: sums over the rows, their form, and the memory they take.

use super::notation::Notation;
use super::{Gate, RowSum, Work};
use crate::lower::Lowered;
use crate::plan::{MatrixPath, Plan, RowGroup};

/// The work of an iteration of a planned model.
pub(super) fn work(lowered: &Lowered, plan: &Plan, notation: &Notation<'_>) -> Work {
    let program = &lowered.program;
    let rows = program.num_rows;
    let names = |order: &[usize]| order.iter().map(|&f| program.factors[f].name.clone()).collect();
    let (numbers, in_memory) = program.row_data_bytes();
    let codes = rows * 4 * (program.codes.len() + plan.pairs.len());
    let counts = if program.counts.is_some() { rows * 8 } else { 0 };
    let state_per_row: usize = program
        .factors
        .iter()
        .filter(|f| f.local)
        .map(|f| {
            (0..f.family.num_statistics())
                .filter(|&s| !f.family.is_summed(s))
                .map(|s| f.elements() * f.family.statistic_size(s))
                .sum::<usize>()
        })
        .sum();
    let global: usize = program
        .factors
        .iter()
        .filter(|f| !f.local)
        .map(|f| 2 * f.elements() * (0..f.family.num_statistics()).map(|s| f.family.statistic_size(s)).sum::<usize>())
        .sum();
    let sums: usize = plan.groups.iter().map(|g| 2 * g.size()).sum();
    Work {
        num_rows: rows,
        chunk_rows: plan.chunk.min(rows),
        num_tasks: rows.div_ceil(plan.task.max(1)),
        local_order: names(&plan.local_order),
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
        data_bytes: in_memory.then_some(numbers + codes + counts),
        row_state_bytes: if plan.stored { rows * state_per_row * 8 } else { 0 },
        global_bytes: (global + sums) * 8,
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
            line(&format!("  row-level factors: {}{kept}", self.local_order.join(", then ")));
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
            Some(size) => format!("data {}", bytes(size)),
            None => "data read again in each pass".to_owned(),
        };
        line(&format!(
            "  memory: {data}, row-level state {}, everything else {}",
            bytes(self.row_state_bytes),
            bytes(self.global_bytes)
        ));
    }
}
