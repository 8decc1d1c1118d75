//! Resuming, batches, recovery and the search of closed forms.

use super::super::small_models::{IMAGES, PIXELS, graph};
use super::*;
use vi_run::executor::{Decoder, Encoder, Resumable};

fn model(inference: &str) -> (AmortizedModel, Settings) {
    let images = IMAGES.replace("[networks.decoder]", "dropout = 0.2\n[networks.decoder]");
    let graph = graph(&format!("{images}{PIXELS}[inference]\nbatch_size = 3\n{inference}"));
    let model = AmortizedModel::new(&graph).unwrap();
    let settings = Settings::new(&graph, &model.program).unwrap();
    (model, settings)
}

#[test]
fn a_resumed_run_is_bitwise_the_uninterrupted_one() {
    let (model, settings) = model("max_iterations = 400\nheld_out = 0.15\nclip = 1.0\nbeta_warmup = 50\n");
    let mut whole = Training::new(&model, &settings, 9);
    let mut first = Training::new(&model, &settings, 9);
    for _ in 0..250 {
        whole.step().unwrap();
        first.step().unwrap();
    }
    let mut encoder = Encoder::new();
    first.save(&mut encoder);
    let bytes = encoder.into_bytes();
    let mut resumed = Training::new(&model, &settings, 9);
    resumed.load(&mut Decoder::new(&bytes)).unwrap();
    for _ in 250..400 {
        let (a, b) = (whole.step().unwrap(), resumed.step().unwrap());
        assert_eq!((a.elbo, a.standard_error, a.converged), (b.elbo, b.standard_error, b.converged));
    }
    assert_eq!(whole.parameters(), resumed.parameters());
    assert_eq!(whole.finish().unwrap(), resumed.finish().unwrap());
    assert_eq!(whole.terms().len(), resumed.terms().len());
}

#[test]
fn batches_cover_every_row_once_in_every_pass() {
    let (model, settings) = model("");
    let mut training = Training::new(&model, &settings, 1);
    for _ in 0..3 {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let range = training.batch();
            assert!(range.len() <= 3);
            seen.extend_from_slice(&training.order[range]);
            training.step += 1;
        }
        seen.sort_unstable();
        assert_eq!(seen, training.rows);
    }
}

#[test]
fn numbers_that_are_not_finite_are_survived_or_named() {
    let (model, settings) = model("max_iterations = 300\nlearning_rate = 1e30\n");
    let mut training = Training::new(&model, &settings, 1);
    let outcome = (0..300).try_for_each(|_| training.step().map(|progress| assert!(progress.elbo.is_finite())));
    match outcome {
        Ok(()) => assert!(training.recoveries() > 0),
        Err(SgviError::NotFinite { variable, .. }) => assert!(["z", "pixels"].contains(&variable.as_str())),
        Err(other) => panic!("{other}"),
    }
}
