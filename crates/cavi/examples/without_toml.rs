//! Builds a Gaussian mixture in code, fits it, and reads its posterior: no model file, no output folder.
#![allow(clippy::print_stdout)]

use vi_model::{ModelBuilder, VariableBuilder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two groups of readings around −2 and 3.
    let readings: Vec<f64> =
        (0..60).map(|i| if i % 3 == 0 { -2.0 } else { 3.0 } + f64::from(i % 7) * 0.1 - 0.3).collect();
    let graph = ModelBuilder::new()
        .column("reading", readings)
        .plate("observation", "rows")
        .plate("component", 4)
        .variable("weights", VariableBuilder::new("dirichlet").set("dimension", "component").set("concentration", 0.01))
        .variable("z", VariableBuilder::new("categorical").plates(["observation"]).set("probabilities", "weights"))
        .variable(
            "cluster",
            VariableBuilder::new("normal-gamma")
                .plates(["component"])
                .set("mean", 0.0)
                .set("mean_precision", 0.1)
                .set("shape", 1.0)
                .set("rate", 1.0),
        )
        .variable(
            "x",
            VariableBuilder::new("normal").plates(["observation"]).set("parameters", "cluster[z]").observed("reading"),
        )
        .inference("restarts", 5)
        .build()?;

    let fit = cavi::fit(&graph)?;
    println!("{:?} after {} iterations, ELBO {:.6}", fit.outcome.status, fit.outcome.iterations, fit.outcome.elbo);
    for (name, entry) in fit.algorithm.posterior() {
        println!("{name}: mean {:?}", entry.mean.as_ref().map(|m| m.values().to_vec()).unwrap_or_default());
    }
    // The factors of single rows are made on request.
    if let Some(rows) = fit.algorithm.rows("z", 0..3)? {
        for (row, probabilities) in rows.means.chunks_exact(rows.width).enumerate() {
            println!("row {row} belongs to the components with probabilities {probabilities:.3?}");
        }
    }
    Ok(())
}
