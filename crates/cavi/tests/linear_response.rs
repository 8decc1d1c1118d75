//! Linear response against closed forms, and against fits to tilted log joints.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use cavi::{Ascent, LinearResponse, Watch, fit};
use vi_model::graph::Graph;
use vi_run::executor::{Algorithm, Interruption, Restart};
use vi_run::record::PosteriorEntry;

fn load(text: &str) -> Graph {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    vi_model::load_str(text, "test.toml", &models).expect("a valid model")
}

/// A model file of the gallery, with some of its text replaced.
fn gallery(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/{name}.toml"));
    let mut text = std::fs::read_to_string(path).expect("a model of the gallery");
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    text
}

/// A fit beyond the digits of its ELBO, by so many iterations.
fn settled(text: &str, iterations: usize) -> Ascent {
    let mut ascent = Ascent::new(&load(text)).expect("a model for coordinate ascent");
    ascent.restart(Restart { index: 1, seed: 1 }).expect("a start");
    for _ in 0..iterations {
        ascent.step().expect("an iteration");
    }
    ascent
}

fn entry(entries: &[(String, PosteriorEntry)], name: &str) -> PosteriorEntry {
    entries.iter().find(|(n, _)| n == name).expect("an entry").1.clone()
}

/// The response of a variable's first element to a tilt t·x of the log joint, by fits at t = ±h and ±2h (a difference of fourth
/// order), against the one reported.
fn agrees(tilted: impl Fn(f64) -> String, name: &str, h: f64, iterations: usize) {
    let reached = |t: f64| {
        let mean = entry(&settled(&tilted(t), iterations).posterior(), name).mean;
        mean.expect("a mean").values()[0]
    };
    let difference = |h: f64| (reached(h) - reached(-h)) / (2.0 * h);
    let expected = ((4.0 * difference(h) - difference(2.0 * h)) / 3.0).sqrt();
    let ascent = settled(&tilted(0.0), iterations);
    let mut entries = ascent.posterior();
    let response = ascent.add_linear_response(&mut entries, &mut Watch::default()).expect("a response");
    assert!(!response.interrupted);
    let reported = entry(&entries, name).sd_linear_response.expect("a corrected sd").values()[0];
    assert!((reported / expected - 1.0).abs() < 1e-5, "{name}: {reported} instead of {expected}");
}

#[test]
fn linear_response_gives_the_exact_deviations_of_a_gaussian_posterior() {
    // Closed form: the posterior covariance is (XᵀX/σ² + I/s²)⁻¹ with σ = 0.8 and s = 5.
    let graph = load(
        r#"
        [data.values]
        x = [0.2, 1.9, 0.8, 2.7, 1.1, 0.5, 2.2, 1.4, 3.0, 0.9, 1.7, 2.4]
        u = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
        y = [1.3, 2.0, 2.4, 4.4, 0.9, 0.7, 3.9, 1.2, 4.1, 2.6, 2.1, 3.3]
        [plates]
        observation = "rows"
        [variables.a]
        distribution = "normal"
        mean = 0.0
        sd = 5.0
        [variables.b]
        distribution = "normal"
        mean = 0.0
        sd = 5.0
        [variables.c]
        distribution = "normal"
        mean = 0.0
        sd = 5.0
        [variables.outcome]
        plates = ["observation"]
        distribution = "normal"
        mean = "a + b*x + c*u"
        sd = 0.8
        observed = "y"
        [inference]
        tolerance = 1e-13
        "#,
    );
    let x = [0.2, 1.9, 0.8, 2.7, 1.1, 0.5, 2.2, 1.4, 3.0, 0.9, 1.7, 2.4];
    let u = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    let mut precision = nalgebra::Matrix3::<f64>::identity() / 25.0;
    for (x, u) in x.iter().zip(&u) {
        let row = nalgebra::Vector3::new(1.0, *x, *u);
        precision += row * row.transpose() / 0.64;
    }
    let covariance = precision.try_inverse().expect("an invertible precision");
    let ascent = fit(&graph).expect("a fit").algorithm;
    let mut entries = ascent.posterior();
    ascent.add_linear_response(&mut entries, &mut Watch::default()).expect("a response");
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let (_, entry) = entries.iter().find(|(n, _)| n == name).expect("an entry");
        let corrected = entry.sd_linear_response.as_ref().expect("a corrected sd").values()[0];
        let plain = entry.sd.as_ref().expect("an sd").values()[0];
        assert!((corrected - covariance[(i, i)].sqrt()).abs() < 1e-6, "{name}: {corrected}");
        assert!((plain - precision[(i, i)].sqrt().recip()).abs() < 1e-9, "{name}: {plain}");
    }
}

/// The response to a tilt t·x of a normal variable with prior N(m, v) is that to a prior mean of m + v·t.
#[test]
fn linear_response_is_the_response_of_a_fit_to_its_prior() {
    let model = |mean: f64| {
        format!(
            r#"
            [data.values]
            y = [1.3, 2.0, 2.4, 4.4, 0.9, 0.7, 3.9, 1.2, 4.1, 2.6, 2.1, 3.3]
            school = ["a", "a", "a", "b", "b", "b", "c", "c", "c", "d", "d", "d"]
            [plates]
            row = "rows"
            group = {{ levels = "school" }}
            [variables.centre]
            distribution = "normal"
            mean = {mean}
            variance = 4.0
            [variables.between]
            distribution = "gamma"
            shape = 2.0
            rate = 1.0
            [variables.noise]
            distribution = "gamma"
            shape = 1.0
            rate = 1.0
            [variables.effect]
            plates = ["group"]
            distribution = "normal"
            mean = "centre"
            precision = "between"
            [variables.seen]
            plates = ["row"]
            distribution = "student-t"
            degrees_of_freedom = 5.0
            mean = "effect[school]"
            precision = "noise"
            observed = "y"
            [inference]
            tolerance = 1e-16
            max_iterations = 100000
            "#
        )
    };
    let fitted = |mean: f64| fit(&load(&model(mean))).expect("a fit").algorithm;
    let centre = |mean: f64| {
        let entries = fitted(mean).posterior();
        let (_, entry) = entries.iter().find(|(n, _)| n == "centre").expect("an entry");
        entry.mean.as_ref().expect("a mean").values()[0]
    };
    let ascent = fitted(0.5);
    let mut entries = ascent.posterior();
    let response = ascent.add_linear_response(&mut entries, &mut Watch::default()).expect("a response");
    assert_eq!(response, LinearResponse::default());
    let (_, entry) = entries.iter().find(|(n, _)| n == "centre").expect("an entry");
    let corrected = entry.sd_linear_response.as_ref().expect("a corrected sd").values()[0];
    // d E[x] / dt with m = 0.5 + 4 t.
    let variance = (centre(0.54) - centre(0.46)) / 0.02;
    assert!((corrected / variance.sqrt() - 1.0).abs() < 1e-5, "{corrected} instead of {}", variance.sqrt());
}

/// A tilt t·τ of a gamma variable takes t from the rate of its prior.
#[test]
fn precisions_of_a_chain_respond_as_fits_to_other_priors() {
    let step = |t: f64| gallery("local-level", &[("rate = 0.1", &format!("rate = {}", 0.1 - t))]);
    agrees(step, "step", 1e-3, 600);
    let noise =
        |t: f64| gallery("local-level", &[("shape = 1.0\nrate = 1.0", &format!("shape = 1.0\nrate = {}", 1.0 - t))]);
    agrees(noise, "noise", 0.05, 600);
}

/// A tilt t·x of a normal variable is an observation of x at t/p with a precision p far below that of x.
#[test]
fn regressions_with_relevance_respond_as_fits_to_tilts() {
    let model = |rate: f64, tilt: f64| {
        let hint = "[variables.hint]\ndistribution = \"normal\"\nmean = \"intercept\"\nprecision = 1e-6\nobserved = \"tilt\"\n\n[variables.target]";
        let noise = "[variables.noise]\ndistribution = \"gamma\"\nshape = 1e-3\nrate = ";
        let changes = [
            (format!("{noise}1e-3"), format!("{noise}{rate}")),
            ("[variables.target]".to_owned(), hint.to_owned()),
            ("[plates]".to_owned(), format!("[data.values]\ntilt = {}\n\n[plates]", tilt * 1e6)),
        ];
        gallery("ard", &changes.each_ref().map(|(from, to)| (from.as_str(), to.as_str())))
    };
    agrees(|t| model(0.1, t), "intercept", 0.5, 2000);
    agrees(|t| model(0.1 - t, 0.0), "noise", 0.02, 2000);
}

/// Where vectors rotate into each other, they have no response, and what does not rotate has its own.
#[test]
fn what_does_not_rotate_responds_among_what_rotates() {
    let model = |t: f64| {
        let rate = format!("rate = {}", 1.0 - t);
        gallery("matrix-factorisation", &[("restarts = 5", "restarts = 1"), ("rate = 1.0", &rate)])
    };
    agrees(model, "noise", 0.02, 1500);
    let ascent = settled(&model(0.0), 1500);
    let mut entries = ascent.posterior();
    let response = ascent.add_linear_response(&mut entries, &mut Watch::default()).expect("a response");
    assert_eq!(response.at_no_maximum, ["viewer_taste", "film_trait"]);
    assert!(entry(&entries, "viewer_taste").sd_linear_response.is_none());
}

/// An interruption leaves no variable with a response, and says so.
#[test]
fn interruptions_end_linear_response() {
    let ascent = fit(&load(&gallery("ard", &[]))).expect("a fit").algorithm;
    let mut entries = ascent.posterior();
    let interruption = Interruption::new();
    interruption.raise();
    let response = ascent.add_linear_response(&mut entries, &mut Watch::new(interruption)).expect("an end");
    assert_eq!(response, LinearResponse { interrupted: true, ..LinearResponse::default() });
    assert!(entries.iter().all(|(_, entry)| entry.sd_linear_response.is_none()));
}
