//! Trains a variational auto-encoder on a matrix in memory, without a model file: encodes rows, draws new ones, evaluates.
#![allow(clippy::print_stdout)]

use sgvi::Code;
use vi_model::{ModelBuilder, VariableBuilder};

/// Numbers in a row.
const WIDTH: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Waves of random phase and height: two numbers say all that there is to know of a row.
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut values = Vec::with_capacity(1000 * WIDTH);
    for _ in 0..1000 {
        let (phase, height) = (uniform() * std::f64::consts::TAU, 0.5 + uniform());
        for column in 0..WIDTH {
            values.push(height * (phase + column as f64 * 0.5).sin() + 0.1 * (uniform() - 0.5));
        }
    }

    let graph = ModelBuilder::new()
        .matrix("wave", WIDTH, values)
        .plate("row", "rows")
        .plate_of_columns("place", "wave")
        .network("encoder", [("layers", vec![64].into()), ("activation", "silu".into())])
        .network("decoder", [("layers", vec![64].into()), ("activation", "silu".into())])
        .variable("noise", VariableBuilder::new("flat").set("lower", 0.0).set("point", true).set("initial", 0.3))
        .variable(
            "z",
            VariableBuilder::new("normal")
                .plates(["row"])
                .set("dimension", 2)
                .set("mean", 0.0)
                .set("sd", 1.0)
                .set("amortized", "encoder(wave)"),
        )
        .variable(
            "x",
            VariableBuilder::new("normal")
                .plates(["row", "place"])
                .set("mean", "decoder(z)")
                .set("sd", "noise")
                .observed("wave"),
        )
        .inference("batch_size", 100)
        .inference("learning_rate", 0.005)
        .inference("max_iterations", 2000)
        .build()?;

    let fit = sgvi::fit(&graph)?;
    let record = fit.record();
    println!("{} after {} steps, ELBO {:.1}", record.status.word(), record.iterations, record.elbo);

    let networks = fit.networks().ok_or("the run failed")?;
    let rows: Vec<u32> = (0..3).collect();
    let encoding = networks.encode("z", &rows)?;
    for (means, sds) in encoding.means.chunks(2).zip(encoding.sds.chunks(2)) {
        println!("z = {means:.2?} ± {sds:.2?}");
    }
    for (name, decoded) in networks.decode(&rows, Code::Prior, 7)? {
        for wave in decoded.means.chunks(WIDTH) {
            println!("a new {name}: {wave:.2?}");
        }
    }
    let evaluation = networks.evaluate(&rows, 1000, 7)?;
    println!("log p(x) of three rows: {:.2} nats each, ELBO {:.2}", evaluation.log_evidence, evaluation.elbo);
    Ok(())
}
