//! Times the vectorised row kernels against plain loops of the standard library: `cargo run --release -p vi-families --example row_kernels`.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;
use vi_families::{rows, special};

/// Nanoseconds an element of the fastest of several runs over fresh copies of `source`.
fn nanoseconds<T: Copy>(source: &[T], mut work: impl FnMut(&mut [T])) -> f64 {
    let mut values = source.to_vec();
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        values.copy_from_slice(source);
        let start = Instant::now();
        work(black_box(&mut values));
        best = best.min(start.elapsed().as_nanos() as f64 / source.len() as f64);
        black_box(&values);
    }
    best
}

fn plain<T: Copy>(function: impl Fn(T) -> T) -> impl FnMut(&mut [T]) {
    move |values| values.iter_mut().for_each(|value| *value = function(*value))
}

fn report(name: &str, kernel: f64, loop_time: f64) {
    println!("{name:<32} {kernel:>7.2} {loop_time:>8.2} {:>7.1}", loop_time / kernel);
}

fn softmax_row_by_row(logits: &mut [f64], num_rows: usize, num_components: usize, log_normalizer: &mut [f64]) {
    for row in 0..num_rows {
        let values = &mut logits[row * num_components..(row + 1) * num_components];
        let normalizer = special::log_sum_exp(values);
        values.iter_mut().for_each(|value| *value = (*value - normalizer).exp());
        log_normalizer[row] = normalizer;
    }
}

fn main() {
    let (num_rows, num_components) = (256, 32);
    let double: Vec<f64> = (0..num_rows * num_components).map(|i| ((i * 7919) % 1009) as f64 * 0.03 - 15.0).collect();
    let positive: Vec<f64> = double.iter().map(|x| x.abs() + 1e-3).collect();
    let single: Vec<f32> = double.iter().map(|x| *x as f32).collect();
    let mut normalizer = vec![0.0; num_rows];

    println!(
        "instructions: {:?}; {num_rows} rows, {num_components} components; nanoseconds an element",
        rows::instruction_set()
    );
    println!("{:<32} {:>7} {:>8} {:>7}", "kernel", "kernel", "loop", "ratio");
    report("f64 exp", nanoseconds(&double, rows::double::exp_in_place), nanoseconds(&double, plain(f64::exp)));
    report("f64 ln", nanoseconds(&positive, rows::double::ln_in_place), nanoseconds(&positive, plain(f64::ln)));
    report(
        "f64 log1p_exp",
        nanoseconds(&double, rows::double::log1p_exp_in_place),
        nanoseconds(&double, plain(special::log1p_exp)),
    );
    report(
        "f64 logistic",
        nanoseconds(&double, rows::double::logistic_in_place),
        nanoseconds(&double, plain(special::logistic)),
    );
    report("f64 tanh", nanoseconds(&double, rows::double::tanh_in_place), nanoseconds(&double, plain(f64::tanh)));
    report(
        "f64 digamma",
        nanoseconds(&positive, rows::double::digamma_in_place),
        nanoseconds(&positive, plain(special::digamma)),
    );
    report("f32 exp", nanoseconds(&single, rows::single::exp_in_place), nanoseconds(&single, plain(f32::exp)));
    report("f32 tanh", nanoseconds(&single, rows::single::tanh_in_place), nanoseconds(&single, plain(f32::tanh)));
    let plain_logistic = plain(|x: f32| 1.0 / (1.0 + (-x).exp()));
    report("f32 logistic", nanoseconds(&single, rows::single::logistic_in_place), nanoseconds(&single, plain_logistic));
    let plain_softplus = plain(|x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p());
    report(
        "f32 log1p_exp",
        nanoseconds(&single, rows::single::log1p_exp_in_place),
        nanoseconds(&single, plain_softplus),
    );
    let by_row = nanoseconds(&double, |values| softmax_row_by_row(values, num_rows, num_components, &mut normalizer));
    let major = nanoseconds(&double, |values| {
        rows::softmax_rows_component_major(values, num_rows, num_components, &mut normalizer)
    });
    report("f64 softmax, component-major", major, by_row);
    let minor =
        nanoseconds(&double, |values| rows::softmax_rows_row_major(values, num_rows, num_components, &mut normalizer));
    report("f64 softmax, row-major", minor, by_row);
    let alone = nanoseconds(&double, |values| {
        rows::log_sum_exp_rows_component_major(values, num_rows, num_components, &mut normalizer)
    });
    report("f64 log-sum-exp, component-major", alone, by_row);
}
