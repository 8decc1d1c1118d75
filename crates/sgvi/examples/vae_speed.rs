//! Times training steps of a Bernoulli variational auto-encoder, 784-400-20-400-784, on random pixels:
//! `cargo run --release -p sgvi --example vae_speed -- [BATCH] [THREADS] [STEPS] [inverted]`.
//!
//! As in images of handwriting about a fifth of the pixels are on, and those near the edge never; `inverted` swaps on and off, so that
//! few pixels are zero.
#![allow(clippy::print_stdout)]

use sgvi::amortized::Bound;
use sgvi::amortized::model::AmortizedModel;
use sgvi::amortized::trainer::{StepPlan, Trainer};
use sgvi::network::noise::StepNoise;
use sgvi::network::optimizer::Optimizer;
use std::time::Instant;
use vi_model::{ModelBuilder, VariableBuilder};

/// Pixels of an image.
const PIXELS: usize = 784;

/// Images in the data.
const ROWS: usize = 2048;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let inverted = arguments.iter().any(|argument| argument == "inverted");
    arguments.retain(|argument| argument != "inverted");
    let arguments: Vec<usize> = arguments.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |index: usize, default: usize| arguments.get(index).copied().unwrap_or(default);
    let (batch, threads, steps) = (argument(0, 128), argument(1, 2), argument(2, 500));
    let graph = ModelBuilder::new()
        .matrix("pixels", PIXELS, random_images(inverted))
        .plate("image", "rows")
        .plate_of_columns("pixel", "pixels")
        .network("encoder", [("layers", vec![400].into())])
        .network("decoder", [("layers", vec![400].into())])
        .variable(
            "z",
            VariableBuilder::new("normal")
                .plates(["image"])
                .set("dimension", 20)
                .set("mean", 0.0)
                .set("sd", 1.0)
                .set("amortized", "encoder(pixels)"),
        )
        .variable(
            "x",
            VariableBuilder::new("bernoulli").plates(["image", "pixel"]).set("logit", "decoder(z)").observed("pixels"),
        )
        .build()?;
    let model = AmortizedModel::new(&graph)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| {
        let mut trainer = Trainer::new(&model.program, model.program.initialize(0), batch, 1);
        let optimizer = Optimizer::named("adam").unwrap_or(Optimizer::Momentum { momentum: 0.9, weight_decay: 0.0 });
        let order: Vec<u32> = (0..(steps + 50) * batch).map(|i| (i * 7 % ROWS) as u32).collect();
        let mut elbo = 0.0;
        let mut run = |range: std::ops::Range<usize>| {
            for step in range {
                let plan = StepPlan {
                    bound: Bound::Analytic { beta: 1.0 },
                    optimizer,
                    size: optimizer.step_size(1e-3, step as u64 + 1),
                    clip: None,
                };
                let rows = &order[step * batch..(step + 1) * batch];
                let totals = trainer.step(&model, rows, &StepNoise::new(0, step as u64), plan);
                elbo = totals.bound / totals.rows;
            }
        };
        run(0..50);
        let clock = Instant::now();
        run(50..50 + steps);
        let seconds = clock.elapsed().as_secs_f64();
        println!(
            "batch {batch}, {threads} threads: {:.1} steps/s, {:.0} rows/s, ELBO per row {elbo:.2}",
            steps as f64 / seconds,
            (steps * batch) as f64 / seconds
        );
    });
    Ok(())
}

/// Binary images whose pixels are on (or off) with a probability that falls from the middle, `[ROWS, PIXELS]`.
fn random_images(inverted: bool) -> Vec<f64> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..ROWS * PIXELS)
        .map(|index| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let pixel = index % PIXELS;
            let (row, column) = ((pixel / 28) as f64 - 13.5, (pixel % 28) as f64 - 13.5);
            let on = (state >> 11) as f64 / (1_u64 << 53) as f64 > 0.4 + (row * row + column * column) / 250.0;
            f64::from(u8::from(on != inverted))
        })
        .collect()
}
