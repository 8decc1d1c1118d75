//! Small discrete models whose factors are exact: the ELBO is the evidence, summed over every assignment.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{close, fit};

/// log Σ over all assignments of `states` values to `length` places of the probability that `joint` gives in logarithms.
fn enumerate(states: usize, length: u32, joint: impl Fn(&[usize]) -> f64) -> f64 {
    let all = (0..states.pow(length)).map(|code| {
        let path: Vec<usize> = (0..length).map(|t| code / states.pow(t) % states).collect();
        joint(&path)
    });
    let values: Vec<f64> = all.collect();
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + values.iter().map(|v| (v - largest).exp()).sum::<f64>().ln()
}

fn log_normal(x: f64, mean: f64, sd: f64) -> f64 {
    -0.5 * ((x - mean) / sd).powi(2) - sd.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

#[test]
fn a_chain_with_known_parameters_has_the_evidence_of_all_its_paths() {
    let (elbo, ascent) = fit(r#"
        [data.values]
        y = [0.3, 1.9, "", 2.2, 4.1, 3.7]
        c = [0, 1, 1, 2, 0, 2]
        first = { axes = ["state"], values = [0.5, 0.3, 0.2] }
        centre = { axes = ["state"], values = [0.0, 2.0, 4.0] }
        symbol_of = { axes = ["state", "symbol"], values = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]] }
        [plates]
        time = "rows"
        state = 3
        symbol = 3
        [variables.z]
        plates = ["time"]
        distribution = "markov-chain"
        initial = "first"
        transition = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]]
        [variables.x]
        plates = ["time"]
        distribution = "normal"
        mean = "centre[z]"
        sd = 0.9
        observed = "y"
        [variables.s]
        plates = ["time"]
        distribution = "categorical"
        probabilities = "symbol_of[z]"
        observed = "c"
        "#);
    let y = [Some(0.3), Some(1.9), None, Some(2.2), Some(4.1), Some(3.7)];
    let c = [0, 1, 1, 2, 0, 2];
    let emission: [[f64; 3]; 3] = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]];
    let transition: [[f64; 3]; 3] = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]];
    let first: [f64; 3] = [0.5, 0.3, 0.2];
    let joint = |path: &[usize]| {
        let mut sum = first[path[0]].ln() + path.windows(2).map(|w| transition[w[0]][w[1]].ln()).sum::<f64>();
        for (t, &z) in path.iter().enumerate() {
            sum += emission[z][c[t]].ln() + y[t].map_or(0.0, |y| log_normal(y, 2.0 * z as f64, 0.9));
        }
        sum
    };
    close("elbo", &[elbo], &[enumerate(3, 6, joint)], 1e-12);
    assert_eq!(ascent.elbo_terms().len(), 3);
}

#[test]
fn one_gate_over_all_rows_has_the_evidence_of_its_categories() {
    let (elbo, _) = fit(r#"
        [data.values]
        y = [0.3, 1.9, 0.7, 1.2]
        weight = { axes = ["kind"], values = [0.25, 0.75] }
        centre = { axes = ["kind"], values = [0.0, 2.0] }
        [plates]
        row = "rows"
        kind = 2
        [variables.z]
        distribution = "categorical"
        probabilities = "weight"
        [variables.x]
        plates = ["row"]
        distribution = "normal"
        mean = "centre[z]"
        sd = 1.5
        observed = "y"
        "#);
    let weight: [f64; 2] = [0.25, 0.75];
    let joint = |z: &[usize]| {
        weight[z[0]].ln() + [0.3, 1.9, 0.7, 1.2].iter().map(|y| log_normal(*y, 2.0 * z[0] as f64, 1.5)).sum::<f64>()
    };
    close("elbo", &[elbo], &[enumerate(2, 1, joint)], 1e-12);
}

/// Two chains with known parameters in one emission: given the parameters, the chains' factors have local optima.
#[test]
fn restarts_of_two_known_chains_find_the_better_optimum() {
    let model = |restarts: usize| {
        format!(
            r#"
        [data.values]
        y = [-0.8, 0.2, 2.1, 1.9, 0.4, -1.0, 0.3]
        a = {{ axes = ["k"], values = [-1.0, 2.0] }}
        b = {{ axes = ["j"], values = [0.0, 1.5] }}
        [plates]
        time = "rows"
        k = 2
        j = 2
        [variables.z]
        plates = ["time"]
        distribution = "markov-chain"
        initial = [0.7, 0.3]
        transition = [[0.9, 0.1], [0.2, 0.8]]
        [variables.w]
        plates = ["time"]
        distribution = "markov-chain"
        initial = [0.5, 0.5]
        transition = [[0.7, 0.3], [0.4, 0.6]]
        [variables.x]
        plates = ["time"]
        distribution = "normal"
        mean = "a[z] + b[w]"
        sd = 0.8
        observed = "y"
        [inference]
        tolerance = 1e-13
        max_iterations = 20000
        restarts = {restarts}
        "#
        )
    };
    // The best of structured mean-field fixed points from random starts, forward and backward in logarithms.
    let best = -13.295_818_985;
    let (one, many) = (fit(&model(1)).0, fit(&model(20)).0);
    assert!(one < best + 1e-6, "{one}");
    assert!((many - best).abs() < 1e-6, "{many} instead of {best}");
}

/// A single stick is the whole: the evidence is that of its one component, N(y | 0, I + 4·11ᵀ).
#[test]
fn one_stick_takes_all() {
    let (elbo, ascent) = fit(r#"
        [data.values]
        y = [3.0, 1.0]
        [plates]
        row = "rows"
        k = 1
        [variables.a]
        distribution = "gamma"
        shape = 2.0
        rate = 1.0
        [variables.pi]
        distribution = "stick-breaking"
        dimension = "k"
        concentration = "a"
        [variables.z]
        plates = ["row"]
        distribution = "categorical"
        probabilities = "pi"
        [variables.m]
        plates = ["k"]
        distribution = "normal"
        mean = 0.0
        sd = 2.0
        [variables.x]
        plates = ["row"]
        distribution = "normal"
        mean = "m[z]"
        sd = 1.0
        observed = "y"
        "#);
    // |I + 4·11ᵀ| = 9; yᵀ(I + 4·11ᵀ)⁻¹y = |y|² − 4/9 (Σy)².
    let evidence = -(2.0 * std::f64::consts::PI).ln() - 0.5 * 9.0_f64.ln() - 0.5 * (10.0 - 4.0 / 9.0 * 16.0);
    assert!((elbo - evidence).abs() < 1e-9, "{elbo} instead of {evidence}");
    close("weights", &common::mean(&ascent, "pi"), &[1.0], 1e-12);
    close("concentration", &common::mean(&ascent, "a"), &[2.0], 1e-9);
}

/// Rows whose counts are all missing say nothing; the others are Dirichlet-multinomial with n = (3, 2, 4) in all.
#[test]
fn a_multinomial_without_any_count_is_no_observation() {
    let model = r#"
        [data.values]
        x = [[1, 2, 3], [nan, nan, nan], [2, 0, 1]]
        [plates]
        row = "rows"
        [variables.p]
        distribution = "dirichlet"
        dimension = "x"
        concentration = 1.0
        [variables.n]
        plates = ["row"]
        distribution = "multinomial"
        probabilities = "p"
        observed = "x"
        "#;
    // 60 · 3 orders of the counts; B(4, 3, 5) / B(1, 1, 1) = 3! 2! 4! 2! / 11!.
    let evidence = (60.0 * 3.0 * 6.0 * 2.0 * 24.0 * 2.0 / 39_916_800.0_f64).ln();
    let (elbo, ascent) = fit(model);
    assert!((elbo - evidence).abs() < 1e-9, "{elbo} instead of {evidence}");
    close("p", &common::parameter(&ascent, "p", "concentration"), &[4.0, 3.0, 5.0], 1e-12);
}
