//! What a run says of itself and of its settings: what sits between modes, keys passed over, checkpoints by steps.

use std::path::Path;

use vi_model::graph::Graph;

use super::run::fit;
use crate::fitted::FitOptions;

/// A slope, whose posterior is normal.
const SLOPE: &str = "[data.values]\nx = [-1, 0, 1, 2]\ny = [-0.8, 0.3, 1.4, 1.9]\n[plates]\nrow = \"rows\"\n[variables.b]\ndistribution = \"normal\"\n\
    mean = 0\nsd = 2\n[variables.o]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"b * x\"\nsd = 0.5\nobserved = \"y\"\n";

fn graph(text: &str) -> Graph {
    vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// x ~ N(0, 1), y ~ N(x², 0.6²): modes at ±0.9, and a Gaussian over both at zero, whose weights are bounded.
#[test]
fn a_gaussian_between_modes_says_so() {
    let model = |y: f64| {
        graph(&format!(
            "[data.values]\nobs = {y}\n[variables.x]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
             [variables.w]\ndistribution = \"normal\"\nmean = \"square(x)\"\nsd = 0.6\nobserved = \"obs\"\n"
        ))
    };
    let evidence = |y: f64| {
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let joint = |x: f64| density(x) * density((y - x * x) / 0.6) / 0.6;
        (-8000..8000).map(|i| joint(f64::from(i) * 1e-3) * 1e-3).sum::<f64>().ln()
    };
    for (y, between) in [(1.0, true), (-1.0, false)] {
        let run = fit(&model(y), FitOptions::default()).unwrap();
        let number = |key: &str| run.record.extra[key].as_f64().unwrap();
        let error = number("log_evidence_standard_error");
        assert!((number("log_evidence") - evidence(y)).abs() < 5.0 * error + 1e-3, "{y}");
        assert!(number("khat") < 0.5, "{y}: {}", number("khat"));
        assert_eq!(run.record.extra["verdict"], "good", "{y}");
        assert_eq!(run.record.extra.contains_key("between_modes"), between, "{y}");
        assert_eq!(evidence(y) - run.record.elbo > 0.2, between, "{y}");
        assert_eq!(run.record.extra.get("advice").is_some_and(|a| a.to_string().contains("between modes")), between);
    }
}

/// Bounds that depend on latent variables may lie in the wrong order: the failure names whose.
#[test]
fn bounds_that_cross_are_named() {
    let normal =
        |name: &str, mean: &str| format!("[variables.{name}]\ndistribution = \"normal\"\nmean = {mean}\nsd = 2\n");
    let text = format!(
        "[data.values]\nobs = 1.0\n{}{}[variables.t]\ndistribution = \"uniform\"\nlower = \"a\"\nupper = \"b\"\n{}observed = \"obs\"\n",
        normal("a", "0"),
        normal("b", "0.5"),
        normal("y", "\"t\"")
    );
    let record = fit(&graph(&text), FitOptions::default()).unwrap().record;
    let said = record.extra["failure"].as_str().unwrap();
    assert!(said.contains("`t`") && said.contains("positive variable"), "{said}");
}

/// A logarithm of what may be negative: the failure names the variable whose density is then not a number.
#[test]
fn densities_that_are_not_finite_are_named() {
    let text = "[data.values]\ny = [0.3, 1.2, 0.8, 0.4]\n[plates]\nrow = \"rows\"\n[variables.a]\ndistribution = \"normal\"\nmean = 1\n\
        sd = 1\n[variables.w]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"log(a)\"\nsd = SD\nobserved = \"y\"\n";
    for sd in ["0.6", "2.0"] {
        let record = fit(&graph(&text.replace("SD", sd)), FitOptions::default()).unwrap().record;
        let said = record.extra["failure"].as_str().unwrap();
        assert!(said.contains("log density of `w` is NaN"), "{said}");
    }
}

/// Keys of the other engine are named.
#[test]
fn keys_of_coordinate_ascent_are_named() {
    let with = |options: &str| fit(&graph(&format!("{SLOPE}[inference]\n{options}\n")), FitOptions::default());
    let advice = |options: &str| with(options).unwrap().record.extra.get("advice").map(ToString::to_string);
    let said = advice("schedule = \"stochastic\"\nstep_delay = 2.0\nfamily = \"full-rank\"").unwrap();
    assert!(said.contains("`schedule`, `step_delay` of") && said.contains("`batch_size`"), "{said}");
    assert_eq!(advice("schedule = \"batch\"\nfamily = \"full-rank\""), None);
    let said = advice("initialization = \"kmeans++\"\nfamily = \"full-rank\"").unwrap();
    assert!(said.contains("kmeans++") && said.contains("`initial`"), "{said}");
    let refused = with("optimizer = \"adamw\"").unwrap_err().to_string();
    assert!(refused.contains("networks"), "{refused}");
}

/// The state of a run is saved after every so many steps, however little time has passed.
#[test]
fn checkpoints_by_steps() {
    use std::sync::{Arc, Mutex};
    use vi_run::executor::{Checkpoints, Iteration, Observer};
    struct Watcher(std::path::PathBuf, Arc<Mutex<Vec<Option<Vec<u8>>>>>);
    impl Observer for Watcher {
        fn iteration(&mut self, _: &Iteration<'_>) {
            self.1.lock().unwrap().push(std::fs::read(&self.0).ok());
        }
    }
    let graph =
        graph(&format!("{SLOPE}[inference]\noptimizer = \"adam\"\nmax_iterations = 10\ncheckpoint_every = 4\n"));
    let path = std::env::temp_dir().join(format!("sgvi-checkpoints-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let every_steps = super::steps::checkpoint_steps(&graph.inference);
    assert_eq!(every_steps, Some(4));
    let checkpoints = Checkpoints {
        path: path.clone(),
        every: std::time::Duration::from_secs(1_000_000),
        every_steps,
        fingerprint: 1,
        resume: false,
    };
    let options = FitOptions {
        observers: vec![Box::new(Watcher(path.clone(), Arc::clone(&seen)))],
        checkpoints: Some(checkpoints),
        ..FitOptions::default()
    };
    fit(&graph, options).unwrap();
    std::fs::remove_file(&path).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 10);
    // What stands there changes twice in ten steps: after the fourth and after the eighth.
    let changes: Vec<usize> = (1..10).filter(|i| seen[*i] != seen[i - 1]).collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(changes[1] - changes[0], 4, "{changes:?}");
    assert!(seen[0].is_none());
}

/// Tables of rows name levels and columns of blocks.
#[test]
fn row_posteriors_name_their_elements() {
    let graph = graph(
        "[data.values]\nkind = [\"low\", \"high\", \"low\"]\nx = [[0.1, 4.0], [3.1, 4.2], [0.2, 3.9]]\ny = [0.2, 2.9, 0.1]\n[plates]\nrow = \"rows\"\n\
         kind = { levels = \"kind\" }\n[variables.mu]\nplates = [\"kind\"]\ndistribution = \"normal\"\nmean = 1\nsd = 2\n\
         [variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"half\"\n\
         [variables.seen]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"mu[z]\"\nsd = 1\nobserved = \"y\"\n\
         [variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"x\"\nmean = 0\nprecision = 1\n\
         [variables.w]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"x\"\nmean = \"v\"\nprecision = 1\nobserved = \"x\"\n\
         [data.values.half]\naxes = [\"kind\"]\nvalues = [0.5, 0.5]\n",
    );
    let names = ["z".to_owned(), "v".to_owned()];
    let fitted = fit(&graph, FitOptions { saved: names.to_vec(), ..FitOptions::default() }).unwrap();
    let rows = super::save::row_posteriors(&graph, &fitted, &names).unwrap();
    let named = |name: &str| &rows.iter().find(|(own, _)| own == name).unwrap().1.names;
    assert_eq!(named("z"), &["low", "high"]);
    assert_eq!(named("v"), &["x.0", "x.1"]);
    assert_eq!(rows.iter().map(|(_, r)| r.means.len()).collect::<Vec<_>>(), [6, 6]);
}
