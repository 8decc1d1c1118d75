//! Loads a model file, fits it, reads its posterior, and predicts rows that it has not seen.
//!
//! `cargo run --release -p cavi --example from_file -- models/gmm.toml models/data/old-faithful.csv`
#![allow(clippy::print_stdout)]

use std::path::Path;

use vi_model::data::Data;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/gmm.toml".to_owned());
    let new_rows = arguments.next().unwrap_or_else(|| "models/data/old-faithful.csv".to_owned());

    let graph = vi_model::load(Path::new(&model))?;
    // The parameters of the observed variables become expressions, so that a prediction reports them.
    let fit = cavi::fit(&cavi::with_predictors(&graph))?;
    println!("{:?} after {} iterations, ELBO {:.6}", fit.outcome.status, fit.outcome.iterations, fit.outcome.elbo);
    for (name, entry) in fit.algorithm.posterior() {
        if let (Some(mean), Some(sd)) = (&entry.mean, &entry.sd) {
            println!("{name}: mean {:.3?}, sd {:.3?}", mean.values(), sd.values());
        }
    }

    let prediction = fit.algorithm.predict(&Data::from_file(Path::new(&new_rows))?)?;
    for (name, posterior) in &prediction.variables {
        println!("{name} in the first row: {:.3?}", &posterior.means[..posterior.width]);
    }
    for expression in &prediction.expressions {
        println!("{} in the first row: {:.3?}", expression.name, &expression.means[..expression.width]);
    }
    if let Some(scores) = prediction.log_density {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        println!("log predictive density per row: at least {mean:.4} on average");
    }
    Ok(())
}
