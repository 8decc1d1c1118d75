//! Times training steps of a Bernoulli variational auto-encoder, 784-400-20-400-784, on random pixels:
//! `cargo run --release -p sgvi --example vae_speed -- [BATCH] [THREADS] [STEPS] [inverted]`.
//!
//! As in images of handwriting about a fifth of the pixels are on, and those near the edge never; `inverted` swaps on and off, so that
//! few pixels are zero.
#![allow(clippy::print_stdout)]

use sgvi::{FitOptions, fit_with};
use std::cell::Cell;
use vi_model::{ModelBuilder, VariableBuilder};
use vi_run::executor::{Iteration, Observer};

/// Pixels of an image.
const PIXELS: usize = 784;

/// Images in the data.
const ROWS: usize = 2048;

/// Steps before the clock starts.
const WARM_UP: usize = 50;

/// Seconds since the run began after the warm-up and after the last timed step, and the ELBO over all rows there.
#[derive(Default)]
struct Clock {
    warm: Cell<f64>,
    done: Cell<f64>,
    elbo: Cell<f64>,
}

/// Reads the clock at step `last`.
struct Reader<'a> {
    clock: &'a Clock,
    last: usize,
}

impl Observer for Reader<'_> {
    fn iteration(&mut self, iteration: &Iteration<'_>) {
        if iteration.iteration == WARM_UP {
            self.clock.warm.set(iteration.seconds);
        }
        if iteration.iteration == self.last {
            self.clock.done.set(iteration.seconds);
            self.clock.elbo.set(iteration.progress.elbo);
        }
    }
}

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
        .inference("batch_size", batch)
        .inference("learning_rate", 0.001)
        .inference("schedule_learning_rate", "constant")
        // The last step of a run also evaluates all rows: it comes after the timed ones, and no window ends the run before it.
        .inference("max_iterations", WARM_UP + steps + 1)
        .inference("window", WARM_UP + steps + 1)
        .build()?;
    let (seconds, elbo) = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
        let clock = Clock::default();
        let reader = Reader { clock: &clock, last: WARM_UP + steps };
        fit_with(&graph, FitOptions { observers: vec![Box::new(reader)], ..FitOptions::default() })
            .map(|_| (clock.done.get() - clock.warm.get(), clock.elbo.get()))
    })?;
    println!(
        "batch {batch}, {threads} threads: {:.1} steps/s, {:.0} rows/s, ELBO per row {:.2}",
        steps as f64 / seconds,
        (steps * batch) as f64 / seconds,
        elbo / ROWS as f64
    );
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
