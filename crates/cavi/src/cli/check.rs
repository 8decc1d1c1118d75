//! `cavi check`: what a model means and what would be done, without inferring anything.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use vi_run::cli::print_output;

use super::{CommandError, load};
use crate::describe::{Description, describe};

/// The arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Model file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print the same as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command; the exit status.
pub(super) fn check(arguments: &CheckArguments) -> Result<u8, CommandError> {
    let graph = load(&arguments.file)?;
    let description = describe(&graph)?;
    if arguments.json {
        let value = description_json(&arguments.file.display().to_string(), &description);
        let text = serde_json::to_string_pretty(&value).map_err(|e| CommandError::Usage(e.to_string()))?;
        print_output(&(text + "\n"));
    } else {
        print_output(&description.text());
    }
    Ok(0)
}

fn description_json(model: &str, description: &Description) -> Value {
    let factors: Vec<Value> = description
        .factors
        .iter()
        .map(|f| {
            let update: serde_json::Map<String, Value> =
                f.update.iter().map(|c| (c.statistic.clone(), json!(c.terms))).collect();
            json!({
                "name": f.name,
                "family": f.family,
                "plates": f.plates,
                "remarks": f.remarks,
                "update": update,
            })
        })
        .collect();
    let work = &description.work;
    let sums: Vec<Value> = work
        .sums
        .iter()
        .map(|s| json!({ "product": s.product, "size": s.size, "how": s.how, "messages": s.messages }))
        .collect();
    let gates: Vec<Value> = work
        .gates
        .iter()
        .map(|g| json!({ "name": g.name, "features": g.num_features, "categories": g.num_categories }))
        .collect();
    let by_row: Vec<Value> =
        work.by_row.iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect();
    json!({
        "engine": "cavi",
        "model": model,
        "title": description.title,
        "factors": factors,
        "is_bounded": description.is_bounded,
        "work": {
            "rows": work.num_rows,
            "chunk_rows": work.chunk_rows,
            "tasks": work.num_tasks,
            "local_order": work.local_order,
            "affine": work.affine,
            "affine_features": work.num_affine_features,
            "by_row": by_row,
            "global_order": work.global_order,
            "gates": gates,
            "sums": sums,
            "data_bytes": work.data_bytes,
            "row_state_bytes": work.row_state_bytes,
            "thread_bytes": work.thread_bytes,
            "global_bytes": work.global_bytes,
        },
    })
}
