//! How fits converge: schedules over the rows, rotations of latent products, starts.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use cavi::fit;
use vi_model::graph::Graph;

fn load(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).expect("a valid model")
}

/// A mixture of two Poisson rates over 600 rows.
fn counts(inference: &str) -> Graph {
    let visits: Vec<String> = (0..600_u32)
        .map(|i| {
            let wobble = (i * 7919) % 5;
            (if (i * 31) % 3 == 0 { 1 + wobble / 2 } else { 9 + wobble }).to_string()
        })
        .collect();
    load(&format!(
        r#"
        [data.values]
        visits = [{}]
        [plates]
        day = "rows"
        component = 2
        [variables.pi]
        distribution = "dirichlet"
        dimension = "component"
        concentration = 1.0
        [variables.z]
        plates = ["day"]
        distribution = "categorical"
        probabilities = "pi"
        [variables.rate]
        plates = ["component"]
        distribution = "gamma"
        shape = 1.0
        rate = 0.1
        [variables.n]
        plates = ["day"]
        distribution = "poisson"
        rate = "rate[z]"
        observed = "visits"
        [inference]
        {inference}
        "#,
        visits.join(", ")
    ))
}

#[test]
fn incremental_ascent_never_falls_and_ends_where_batch_ascent_ends() {
    let batch = fit(&counts("tolerance = 1e-12")).expect("a fit").outcome;
    let incremental =
        fit(&counts("tolerance = 1e-12\nschedule = \"incremental\"\nbatch_size = 100")).expect("a fit").outcome;
    assert!((batch.elbo - incremental.elbo).abs() < 1e-6, "{} against {}", batch.elbo, incremental.elbo);
    for pair in incremental.trace.windows(2) {
        assert!(pair[1].elbo >= pair[0].elbo - 1e-9 * pair[0].elbo.abs());
    }
    // A pass of incremental updates moves further than one batch update.
    assert!(incremental.iterations <= batch.iterations);
}

#[test]
fn stochastic_steps_approach_the_batch_optimum() {
    let batch = fit(&counts("tolerance = 1e-12")).expect("a fit").outcome.elbo;
    let options = "tolerance = 1e-9\nmax_iterations = 200\nschedule = \"stochastic\"\nbatch_size = 60\nstep_delay = 1.0\nstep_forgetting = 0.9";
    let stochastic = fit(&counts(options)).expect("a fit").outcome.elbo;
    assert!(stochastic <= batch + 1e-6, "{stochastic} above the optimum {batch}");
    // Batch ascent finishes what the shrinking steps have left.
    assert!(batch - stochastic < 1e-5, "{stochastic} against {batch}");
}

/// Rows that the batch size does not divide weigh as much as all others.
#[test]
fn stochastic_steps_end_at_the_same_place_for_every_batch_size() {
    let y: Vec<String> =
        (0..61).map(|i| (f64::from((i * 7919) % 61) / 10.0 + if i == 60 { 40.0 } else { 0.0 }).to_string()).collect();
    let model = |inference: &str| {
        load(&format!(
            r#"
            [data.values]
            y = [{}]
            [plates]
            row = "rows"
            [variables.m]
            distribution = "normal"
            mean = 0.0
            sd = 10.0
            [variables.x]
            plates = ["row"]
            distribution = "student-t"
            degrees_of_freedom = 4.0
            mean = "m"
            sd = 0.5
            observed = "y"
            [inference]
            {inference}
            "#,
            y.join(", ")
        ))
    };
    let batch = fit(&model("tolerance = 1e-12")).expect("a fit").outcome.elbo;
    for size in [60, 31, 30, 25] {
        let options = format!("schedule = \"stochastic\"\nbatch_size = {size}\nmax_iterations = 200\ntolerance = 0.0");
        let stochastic = fit(&model(&options)).expect("a fit").outcome.elbo;
        assert!((batch - stochastic).abs() < 0.05, "{stochastic} against {batch} with {size} rows a step");
    }
}

/// A pass of noisy steps that loses is no convergence.
#[test]
fn stochastic_steps_go_on_after_a_loss() {
    let batch = fit(&counts("tolerance = 1e-12")).expect("a fit").outcome.elbo;
    for seed in 0..4 {
        let options = format!("schedule = \"stochastic\"\nbatch_size = 20\nseed = {seed}");
        let outcome = fit(&counts(&options)).expect("a fit").outcome;
        assert_eq!(outcome.status, vi_run::record::Status::Converged);
        assert!(batch - outcome.elbo < 1e-4, "{} against {batch}", outcome.elbo);
    }
}

/// Coefficients that hang together creep under shrinking steps: batch ascent takes over where it goes further in a pass.
#[test]
fn stochastic_steps_give_way_before_they_creep() {
    let w: Vec<f64> = (0..30).map(|i| 1.0 + f64::from((i * 37) % 30) / 15.0).collect();
    let y: Vec<f64> = w.iter().enumerate().map(|(i, w)| 1.0 + 2.0 * w + f64::from((i as i32 * 17) % 7) / 7.0).collect();
    let model = |inference: &str| {
        let prior = "distribution = \"normal\"\nmean = 0.0\nsd = 3.0\n";
        load(&format!(
            "[data.values]\nw = {w:?}\ny = {y:?}\n[plates]\nrow = \"rows\"\n[variables.a]\n{prior}[variables.b]\n{prior}\
             [variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"a + b * w\"\nsd = 0.5\nobserved = \"y\"\n\
             [inference]\n{inference}\n"
        ))
    };
    let batch = fit(&model("tolerance = 1e-12")).expect("a fit").outcome.elbo;
    for size in [7, 30, 1000] {
        let options = format!("schedule = \"stochastic\"\nbatch_size = {size}\ntolerance = 1e-12");
        let outcome = fit(&model(&options)).expect("a fit").outcome;
        assert_eq!(outcome.status, vi_run::record::Status::Converged, "{size} rows a step");
        assert!((batch - outcome.elbo).abs() < 1e-7, "{} against {batch} with {size} rows a step", outcome.elbo);
    }
}

#[test]
fn chains_are_refused_in_batches() {
    let graph = load(
        r#"
        [data.values]
        y = [0.1, 0.2, 1.9, 2.1]
        start = { axes = ["state"], values = [0.5, 0.5] }
        centre = { axes = ["state"], values = [0.0, 2.0] }
        [plates]
        time = "rows"
        state = 2
        [variables.z]
        plates = ["time"]
        distribution = "markov-chain"
        initial = "start"
        transition = [[0.9, 0.1], [0.1, 0.9]]
        [variables.x]
        plates = ["time"]
        distribution = "normal"
        mean = "centre[z]"
        sd = 0.5
        observed = "y"
        [inference]
        schedule = "stochastic"
        "#,
    );
    let error = fit(&graph).map(|f| f.outcome.elbo).expect_err("a refusal").to_string();
    assert!(error.contains("`z`") && error.contains("batch"), "{error}");
}

#[test]
fn rotations_take_principal_components_to_their_optimum_in_few_iterations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/bayesian-pca.toml");
    let mut graph = vi_model::load(&path).expect("the model file");
    graph.inference.tolerance = Some(1e-9);
    let outcome = fit(&graph).expect("a fit").outcome;
    // 2000 iterations of plain coordinate ascent reach 28500.5.
    assert!(outcome.elbo > 28_513.0, "{}", outcome.elbo);
    assert!(outcome.iterations < 400, "{} iterations", outcome.iterations);
}

/// A learned probability that goes to zero takes its last responsibilities with it, however small they have become.
#[test]
fn learned_probabilities_reach_zero_under_every_schedule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/points/em-flat-bernoulli-mixture.toml");
    let mut graph = vi_model::load(&path).expect("the model file");
    graph.inference.tolerance = Some(0.0);
    let batch = fit(&graph).expect("a fit").outcome.elbo;
    graph.inference.schedule = Some(vi_model::inference::Schedule::Incremental);
    graph.inference.batch_size = Some(3);
    let incremental = fit(&graph).expect("a fit").outcome.elbo;
    assert!((batch - incremental).abs() < 1e-6 * batch.abs(), "{incremental} against {batch}");
}

/// A switch that all rows share has an optimum on either side: the order of the variables does not decide which is found.
#[test]
fn switches_are_tried_on_and_off() {
    let variables = [
        "[variables.s]\ndistribution = \"bernoulli\"\nprobability = 0.5\n",
        "[variables.b]\ndistribution = \"normal\"\nmean = 0.0\nsd = 2.0\n",
        "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"s * b * t + s\"\nsd = 1.0\nobserved = \"y\"\n",
    ];
    let data = "[data.values]\nt = [1.0, 1.8, -0.3, 0.4, -1.2, 0.9]\ny = [2.4, 4.1, 0.2, 1.9, -0.7, 3.0]\n[plates]\nrow = \"rows\"\n";
    let elbo = |variables: &[&str]| fit(&load(&format!("{data}{}", variables.concat()))).expect("a fit").outcome.elbo;
    // On: log ½ + log N(y; 1, I + 4ttᵀ), by the matrix inversion lemma; off is far less likely.
    let (t, y) = ([1.0, 1.8, -0.3, 0.4, -1.2, 0.9], [2.4, 4.1, 0.2, 1.9, -0.7, 3.0]);
    let residuals = y.map(|y: f64| y - 1.0);
    let (tt, tr): (f64, f64) = (t.iter().map(|t| t * t).sum(), t.iter().zip(&residuals).map(|(t, r)| t * r).sum());
    let rr: f64 = residuals.iter().map(|r| r * r).sum();
    let evidence = -0.5
        * (6.0 * (2.0 * std::f64::consts::PI).ln() + (1.0 + 4.0 * tt).ln() + rr - 4.0 * tr * tr / (1.0 + 4.0 * tt));
    let reversed: Vec<&str> = variables.iter().rev().copied().collect();
    for elbo in [elbo(&variables), elbo(&reversed)] {
        assert!((elbo - (evidence - 2.0_f64.ln())).abs() < 0.01, "{elbo} against {evidence} − log 2");
    }
}

/// Expectation maximisation of principal components (Tipping & Bishop 1999): the likelihood at the optimum is that of the
/// eigenvalues of the second moments.
#[test]
fn point_loadings_leave_zero() {
    let (x, y) = ([2.1, -1.3, 0.4, -2.2, 1.6, -0.6], [1.4, -1.1, 0.9, -1.2, 0.7, -0.8]);
    let rows: Vec<String> = x.iter().zip(&y).map(|(x, y)| format!("[{x}, {y}]")).collect();
    let graph = load(&format!(
        r#"
        [data.values]
        c = [{}]
        [plates]
        row = "rows"
        column = {{ columns = "c" }}
        [variables.w]
        plates = ["column"]
        distribution = "normal"
        dimension = 1
        mean = 0.0
        precision = 1e-12
        point = true
        [variables.t]
        distribution = "gamma"
        shape = 1.0
        rate = 1e-12
        point = true
        [variables.z]
        plates = ["row"]
        distribution = "normal"
        dimension = 1
        mean = 0.0
        sd = 1.0
        [variables.o]
        plates = ["row", "column"]
        distribution = "normal"
        mean = "dot(w, z)"
        precision = "t"
        observed = "c"
        [inference]
        tolerance = 1e-13
        max_iterations = 5000
        "#,
        rows.join(", ")
    ));
    let terms = fit(&graph).expect("a fit").algorithm.elbo_terms();
    let likelihood: f64 = terms.iter().filter(|(name, _)| name == "o" || name == "z").map(|(_, term)| term).sum();
    let moment = |a: &[f64; 6], b: &[f64; 6]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / 6.0;
    let (xx, xy, yy) = (moment(&x, &x), moment(&x, &y), moment(&y, &y));
    let half = (0.25 * (xx - yy) * (xx - yy) + xy * xy).sqrt();
    let (large, small) = (0.5 * (xx + yy) + half, 0.5 * (xx + yy) - half);
    let expected = -3.0 * (2.0 * (2.0 * std::f64::consts::PI).ln() + large.ln() + small.ln() + 2.0);
    assert!((likelihood - expected).abs() < 1e-6, "{likelihood} against {expected}");
}

/// Loadings of a chain and its states are both zero at the prior, where neither would ever move.
#[test]
fn loadings_of_a_chain_leave_zero() {
    let wave = |i: u32| (f64::from(i) * 0.4).sin();
    let rows: Vec<String> = (0..30_u32)
        .map(|i| {
            format!("[{}, {}]", 2.0 * wave(i) + 0.1 * f64::from(i * 7919 % 5), 0.1 * f64::from(i * 31 % 7) - wave(i))
        })
        .collect();
    let model = |point: bool, start: &str| {
        load(&format!(
            r#"
            [data.values]
            y = [{}]
            [plates]
            time = "rows"
            column = {{ columns = "y" }}
            [variables.state]
            plates = ["time"]
            distribution = "gaussian-markov-chain"
            dimension = 1
            initial_mean = 0.0
            initial_precision = 1.0
            transition = [[0.9]]
            innovation_precision = 5.0
            [variables.loading]
            plates = ["column"]
            distribution = "normal"
            dimension = 1
            mean = 0.0
            sd = 2.0
            point = {point}
            {start}
            [variables.x]
            plates = ["time", "column"]
            distribution = "normal"
            mean = "dot(loading, state)"
            sd = 0.4
            observed = "y"
            [inference]
            tolerance = 1e-12
            max_iterations = 5000
            "#,
            rows.join(", ")
        ))
    };
    for point in [false, true] {
        let free = fit(&model(point, "")).expect("a fit").outcome.elbo;
        let given = fit(&model(point, "initial = [[1.5], [-1.0]]")).expect("a fit").outcome.elbo;
        assert!((free - given).abs() < 1e-5 * given.abs(), "{free} against {given}");
    }
}

/// One start for all components is none that tells them apart: the symmetry is broken as if there were none.
#[test]
fn a_common_initial_value_leaves_no_mixture_at_its_saddle() {
    let model = |initial: &str| {
        load(&format!(
            r#"
            [data.values]
            y = [-2.1, -1.9, -2.3, -1.7, 2.2, 1.8, 2.0, 2.4]
            [plates]
            row = "rows"
            k = 2
            [variables.m]
            plates = ["k"]
            distribution = "normal"
            mean = 0.0
            sd = 3.0
            {initial}
            [variables.z]
            plates = ["row"]
            distribution = "categorical"
            probabilities = [0.5, 0.5]
            dimension = "k"
            [variables.x]
            plates = ["row"]
            distribution = "normal"
            mean = "m[z]"
            sd = 0.5
            observed = "y"
            [inference]
            tolerance = 1e-12
            "#
        ))
    };
    let free = fit(&model("")).expect("a fit").outcome.elbo;
    for initial in ["initial = 0.0", "initial = [1.0, 1.0]", "initial = [0.1, 0.0]"] {
        let elbo = fit(&model(initial)).expect("a fit").outcome.elbo;
        assert!((elbo - free).abs() < 1e-8, "{elbo} instead of {free} with {initial}");
    }
}

/// Where the gains shrink slowly, a fit stops by what remains to be gained, and not by its last gain.
#[test]
fn converged_fits_are_near_their_optimum() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for (model, left_by_the_last_gain_alone) in
        [("bayesian-pca", 4.4e-3), ("factor-analysis", 1.4e-4), ("logistic-regression", 8.6e-6)]
    {
        let mut graph = vi_model::load(&folder.join(format!("{model}.toml"))).expect("a model of the gallery");
        graph.inference.restarts = Some(1);
        let elbo = fit(&graph).expect("a fit").outcome.elbo;
        graph.inference.tolerance = Some(1e-13);
        graph.inference.max_iterations = Some(10_000);
        let best = fit(&graph).expect("a fit").outcome.elbo;
        let most = 0.1 * left_by_the_last_gain_alone;
        assert!(best - elbo <= most, "{model}: {} left of {most}", best - elbo);
    }
}

/// Four values with an effect each, counted several times: the precision that they are seen with grows without end, since its prior
/// depends on another gamma variable and has a tail too heavy to hold it.
#[test]
fn likelihoods_without_a_maximum_do_not_converge() {
    let error = |prior: &str, hyper: &str| {
        let graph = load(&format!(
            r#"
            [data]
            counts = "times"
            [data.values]
            y = [-0.6, 2.3, 1.0, -3.7]
            x = [0.62, 0.38, -0.7, 1.4]
            times = [3, 3, 2, 3]
            place = ["a", "b", "c", "d"]
            [plates]
            row = "rows"
            spot = {{ levels = "place" }}
            [variables.common]
            distribution = "normal"
            mean = 0.4
            sd = 2.0
            [variables.effect]
            plates = ["spot"]
            distribution = "normal"
            mean = "common"
            sd = 2.0
            [variables.slope]
            distribution = "normal"
            mean = 0.4
            sd = 2.0
            [variables.scale]
            distribution = "gamma"
            {hyper}
            [variables.noise]
            distribution = "gamma"
            {prior}
            [variables.seen]
            plates = ["row"]
            distribution = "normal"
            mean = "effect[place] + x * slope"
            precision = "noise"
            observed = "y"
            [inference]
            max_iterations = 100000
            "#
        ));
        fit(&graph).map(|_| ()).expect_err("an ELBO without a maximum").to_string()
    };
    let lost = error("shape = 2.53\nrate = \"scale\"", "shape = 2.15\nrate = 2.41");
    assert!(lost.contains("has no maximum") && lost.contains("prior that keeps it finite"), "{lost}");
    let vanished = error("shape = 1.0\nrate = \"scale\"", "shape = 1.0\nrate = 1.0");
    assert!(vanished.contains("fitted exactly") && vanished.contains("prior that keeps it finite"), "{vanished}");
}
