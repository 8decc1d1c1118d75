//! What is reported of a posterior: parameters by name, means, marginal standard deviations, expressions, and properties of runs.

mod common;

use common::{close, entry, fit, load, mean, parameter, sd};
use vi_run::executor::{Algorithm, Restart};

/// Normal-gamma: PRML 2.154; the location is a t with 2a degrees of freedom, so that its variance is b / (κ(a − 1)).
#[test]
fn a_joint_pair_reports_its_location_and_expected_precision() {
    let (_, ascent) = fit("[data.values]\ny = [1.0, 2.0, 4.0]\n[plates]\no = \"rows\"\n\
         [variables.g]\ndistribution = \"normal-gamma\"\nmean = 1\nmean_precision = 1\nshape = 2\nrate = 3\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nparameters = \"g\"\nobserved = \"y\"\n");
    // κ = 1 + 3, m = (1 + 7)/4, a = 2 + 3/2, b = 3 + ½ (14/3) + ½ (3/4)(7/3 − 1)².
    let b = 3.0 + 7.0 / 3.0 + 2.0 / 3.0;
    close("mean", &mean(&ascent, "g"), &[2.0], 1e-12);
    close("mean_precision", &parameter(&ascent, "g", "mean_precision"), &[4.0], 1e-12);
    close("shape", &parameter(&ascent, "g", "shape"), &[3.5], 1e-12);
    close("rate", &parameter(&ascent, "g", "rate"), &[b], 1e-12);
    close("sd", &sd(&ascent, "g"), &[(b / (4.0 * 2.5_f64)).sqrt()], 1e-12);
    let precision = entry(&ascent, "g").expected_precision.expect("an expected precision");
    close("expected precision", precision.values(), &[3.5 / b], 1e-12);
}

/// Regression with one joint factor; expressions take the covariance of the block into account.
#[test]
fn expressions_use_the_covariance_inside_a_block() {
    let (_, ascent) = fit("[data.values]\nt = [-1.0, 0.0, 2.0]\ny = [0.0, 1.0, 2.0]\n[plates]\no = \"rows\"\n\
         [variables.a]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
         [variables.b]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
         [expressions]\nat = \"a + 3 * b\"\nrow = \"a + b * t\"\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"row\"\nsd = 1\nobserved = \"y\"\n\
         [inference]\nblocks = [[\"a\", \"b\"]]\n");
    // Precision [[4, 1], [1, 6]], linear part [3, 4]: determinant 23.
    close("a", &mean(&ascent, "a"), &[14.0 / 23.0], 1e-12);
    close("b", &mean(&ascent, "b"), &[13.0 / 23.0], 1e-12);
    close("sd a", &sd(&ascent, "a"), &[(6.0_f64 / 23.0).sqrt()], 1e-12);
    close("at", &mean(&ascent, "at"), &[53.0 / 23.0], 1e-12);
    // Variance 6/23 + 9·4/23 − 6/23.
    close("sd at", &sd(&ascent, "at"), &[(36.0_f64 / 23.0).sqrt()], 1e-12);
    assert!(ascent.posterior().iter().all(|(name, _)| name != "row"), "rows are not in the table");
}

/// A block of one scalar is that variable: precision 1/4 + 2, linear part 3 and 3².
#[test]
fn a_block_of_one_scalar_is_the_variable_alone() {
    for mean_of_row in ["m", "2 * m - m"] {
        let (elbo, ascent) = fit(&format!(
            "[data.values]\ny = [1.0, 2.0]\n[plates]\no = \"rows\"\n\
             [variables.m]\ndistribution = \"normal\"\nmean = 0\nsd = 2\n\
             [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"{mean_of_row}\"\nsd = 1\nobserved = \"y\"\n\
             [inference]\nblocks = [[\"m\"]]\n"
        ));
        close("m", &mean(&ascent, "m"), &[3.0 / 2.25], 1e-12);
        close("sd", &sd(&ascent, "m"), &[(1.0_f64 / 2.25).sqrt()], 1e-12);
        let evidence = -(2.0 * std::f64::consts::PI).ln() - 0.5 * (4.0 * 2.25_f64).ln() - 0.5 * (5.0 - 9.0 / 2.25);
        close("evidence", &[elbo], &[evidence], 1e-12);
    }
}

/// Dirichlet and stick-breaking: means and sds of the weights, not of the sticks.
#[test]
fn weights_report_marginals_over_the_simplex() {
    let (_, ascent) = fit("[data.values]\nc = [0, 0, 1]\n[plates]\no = \"rows\"\nk = 3\n\
         [variables.p]\ndistribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = [1.0, 2.0, 3.0]\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\nobserved = \"c\"\n");
    close("concentration", &parameter(&ascent, "p", "concentration"), &[3.0, 3.0, 3.0], 1e-12);
    close("sd", &sd(&ascent, "p"), &[(2.0_f64 / 9.0 / 10.0).sqrt(); 3], 1e-12);
    let (_, ascent) = fit("[data.values]\nc = [0, 0, 1]\n[plates]\no = \"rows\"\nk = 3\n\
         [variables.p]\ndistribution = \"stick-breaking\"\ndimension = \"k\"\nconcentration = 2.0\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"categorical\"\nprobabilities = \"p\"\nobserved = \"c\"\n");
    // Sticks Beta(1 + 2, 2 + 1) and Beta(1 + 1, 2 + 0): π₂ = (1 − v₁) v₂, π₃ = (1 − v₁)(1 − v₂).
    close("alpha", &parameter(&ascent, "p", "alpha"), &[3.0, 2.0], 1e-12);
    close("beta", &parameter(&ascent, "p", "beta"), &[3.0, 2.0], 1e-12);
    close("mean", &mean(&ascent, "p"), &[0.5, 0.25, 0.25], 1e-12);
    // E[v²] = 3·4/(6·7) = 2/7 and 2·3/(4·5) = 3/10, alike for 1 − v.
    let second = (2.0_f64 / 7.0 * 0.3 - 0.0625).sqrt();
    close("sd", &sd(&ascent, "p"), &[(2.0_f64 / 7.0 - 0.25).sqrt(), second, second], 1e-12);
}

/// Wishart: PRML B.80–B.81, var Λ_ij = ν (W_ij² + W_ii W_jj).
#[test]
fn a_wishart_reports_elementwise_marginals() {
    let (_, ascent) = fit("[data.values]\nv = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]\n[plates]\no = \"rows\"\n\
         [variables.l]\ndistribution = \"wishart\"\ndimension = \"v\"\ndegrees_of_freedom = 3\n\
         inverse_scale = [[1.0, 0.0], [0.0, 1.0]]\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\ndimension = \"v\"\nmean = 0\nprecision = \"l\"\nobserved = \"v\"\n");
    // W = [[3, 1], [1, 3]]⁻¹ = [[3, −1], [−1, 3]]/8, ν = 6.
    close("degrees_of_freedom", &parameter(&ascent, "l", "degrees_of_freedom"), &[6.0], 1e-12);
    close("scale", &parameter(&ascent, "l", "scale"), &[0.375, -0.125, -0.125, 0.375], 1e-12);
    close("mean", &mean(&ascent, "l"), &[2.25, -0.75, -0.75, 2.25], 1e-12);
    let (diagonal, off) = ((6.0 * 2.0 * 0.140_625_f64).sqrt(), (6.0 * (0.015_625 + 0.140_625_f64)).sqrt());
    close("sd", &sd(&ascent, "l"), &[diagonal, off, off, diagonal], 1e-12);
}

/// Variables of the rows' plate in a block with global ones: eight schools, one dense Gaussian.
#[test]
fn rows_inside_a_block_have_their_own_table() {
    let (_, ascent) = fit("[data.values]\ny = [2.0, 0.0]\n[plates]\no = \"rows\"\n\
         [variables.mu]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n\
         [variables.theta]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"mu\"\nsd = 1\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"theta\"\nsd = 1\nobserved = \"y\"\n\
         [inference]\nblocks = [[\"mu\", \"theta\"]]\n");
    // Precision [[3, −1, −1], [−1, 2, 0], [−1, 0, 2]], determinant 8, linear part [0, 2, 0].
    close("mu", &mean(&ascent, "mu"), &[0.5], 1e-12);
    close("sd mu", &sd(&ascent, "mu"), &[0.5_f64.sqrt()], 1e-12);
    let rows = ascent.rows("theta", 0..2).expect("rows").expect("a table");
    close("theta", &rows.means, &[1.25, 0.25], 1e-12);
    close("sd theta", &rows.sds, &[0.625_f64.sqrt(); 2], 1e-12);
}

/// Modes of Gamma(2 + n, 1 + 1), one per row: (1 + n)/2, without spread.
#[test]
fn points_of_rows_are_modes() {
    let (_, ascent) = fit("[data.values]\ny = [3, 0, 5]\n[plates]\no = \"rows\"\n\
         [variables.a]\nplates = [\"o\"]\ndistribution = \"gamma\"\nshape = 2\nrate = 1\npoint = true\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"poisson\"\nrate = \"a\"\nobserved = \"y\"\n");
    let rows = ascent.rows("a", 0..3).expect("rows").expect("a table");
    close("modes", &rows.means, &[2.0, 0.5, 3.0], 1e-12);
    close("sds", &rows.sds, &[0.0; 3], 1e-12);
}

const MIXTURE: &str = "[plates]\no = \"rows\"\nk = 3\n\
     [variables.pi]\ndistribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = 1.0\n\
     [variables.z]\nplates = [\"o\"]\ndistribution = \"categorical\"\nprobabilities = \"pi\"\n\
     [variables.m]\nplates = [\"k\"]\ndistribution = \"normal\"\nmean = 0\nsd = 5\n\
     [variables.t]\nplates = [\"k\"]\ndistribution = \"gamma\"\nshape = 2\nrate = 1\n\
     [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"m[z]\"\nprecision = \"t[z]\"\nobserved = \"y\"\n";

fn mixture_data() -> String {
    let values: Vec<String> =
        (0..3000).map(|i| format!("{:?}", f64::from((i * 7919) % 1000) / 500.0 + f64::from(i % 3) * 4.0)).collect();
    format!("[data.values]\ny = [{}]\n", values.join(", "))
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let graph = load(&format!("{}{MIXTURE}", mixture_data()));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let fit = cavi::fit(&graph).expect("a fit");
            (fit.outcome.elbo.to_bits(), mean(&fit.algorithm, "m"), sd(&fit.algorithm, "t"))
        })
    };
    assert_eq!(run(1), run(2));
}

/// Counts of a row are the row written out as often.
#[test]
fn counts_repeat_rows() {
    let with = "[data.values]\ny = [0.5, 3.0, 1.0, 7.0]\nc = [3, 0, 1, 2]\n[data]\ncounts = \"c\"\n";
    let without = "[data.values]\ny = [0.5, 0.5, 0.5, 1.0, 7.0, 7.0]\n";
    let settings = "[inference]\ntolerance = 1e-13\ninitialization = \"prior\"\n";
    // The prior tells the components apart, so that both runs take the same path.
    let model = MIXTURE.replace("mean = 0\n", "mean = [0.0, 3.0, 6.0]\n");
    let (repeated, _) = fit(&format!("{without}{model}{settings}"));
    let (counted, _) = fit(&format!("{with}{model}{settings}"));
    close("elbo", &[counted], &[repeated], 1e-9);
}

/// Each factor is at the optimum of its coordinate: one more update of everything moves nothing.
#[test]
fn the_optimum_is_a_fixed_point() {
    let graph = load(&format!("{}{MIXTURE}[inference]\ntolerance = 0\nmax_iterations = 5000\n", mixture_data()));
    let mut ascent = cavi::Ascent::new(&graph).expect("a prepared model");
    ascent.restart(Restart { index: 1, seed: 3 }).expect("a start");
    for _ in 0..400 {
        ascent.step().expect("a step");
    }
    let before = (mean(&ascent, "m"), sd(&ascent, "m"), parameter(&ascent, "t", "rate"));
    ascent.step().expect("a step");
    close("means", &mean(&ascent, "m"), &before.0, 1e-9);
    close("sds", &sd(&ascent, "m"), &before.1, 1e-9);
    close("rates", &parameter(&ascent, "t", "rate"), &before.2, 1e-9);
}

/// A level that wanders and is measured; `cells` are the measurements.
fn wandering(cells: &str, more: &str) -> String {
    format!(
        r#"
        [data.values]
        y = [{cells}]
        [plates]
        time = "rows"
        part = 2
        [variables.level]
        plates = ["time"]
        distribution = "gaussian-markov-chain"
        dimension = "part"
        initial_mean = 0.0
        initial_precision = 0.1
        transition = [[1.0, 0.2], [0.0, 0.9]]
        innovation_precision = 2.0
        {more}
        [variables.loading]
        distribution = "normal"
        dimension = "part"
        mean = 1.0
        precision = 4.0
        [variables.x]
        plates = ["time"]
        distribution = "normal"
        mean = "dot(loading, level)"
        precision = 3.0
        observed = "y"
        [inference]
        tolerance = 1e-13
        max_iterations = 5000
        "#
    )
}

#[test]
fn a_chain_may_begin_at_a_given_state_and_ends_at_the_same_optimum() {
    // With a missing cell precisions differ from row to row.
    for cells in ["0.3, 1.2, 0.9, 2.1, 1.8, 2.9, 3.3", "0.3, 1.2, nan, 2.1, 1.8, 2.9, 3.3"] {
        let (plain, at_prior) = common::fit(&wandering(cells, ""));
        let (given, at_start) = common::fit(&wandering(cells, "initial = [0.4, -0.1]"));
        common::close("the ELBO", &[given], &[plain], 1e-9);
        let levels = |ascent: &cavi::Ascent| ascent.rows("level", 0..7).expect("rows").expect("a row-level variable");
        common::close("means", &levels(&at_start).means, &levels(&at_prior).means, 1e-4);
        common::close("sds", &levels(&at_start).sds, &levels(&at_prior).sds, 1e-4);
    }
}

/// `initial` is the mean of every family, of a pair that of its location; a prior alone does not depend on it.
#[test]
fn every_family_can_start_somewhere() {
    for (keys, initial) in [
        ("distribution = \"normal-gamma\"\nmean = 1.0\nmean_precision = 2.0\nshape = 3.0\nrate = 4.0", "0.5"),
        (
            "distribution = \"normal-wishart\"\ndimension = 2\nmean = [1.0, 2.0]\nmean_precision = 2.0\n\
             degrees_of_freedom = 4.0\nscale = 1.0",
            "[0.0, 1.0]",
        ),
        (
            "distribution = \"wishart\"\ndimension = 2\ndegrees_of_freedom = 4.0\nscale = 1.0",
            "[[1.0, 0.0], [0.0, 2.0]]",
        ),
        ("distribution = \"categorical\"\nprobabilities = [0.2, 0.8]", "[0.5, 0.5]"),
        ("distribution = \"dirichlet\"\ndimension = 2\nconcentration = 2.0", "[0.3, 0.7]"),
    ] {
        let (elbo, _) = fit(&format!("[variables.v]\n{keys}\ninitial = {initial}\n"));
        assert!(elbo.abs() < 1e-10, "{keys}: {elbo}");
    }
}

#[test]
fn data_of_probability_zero_fail_and_name_the_variable() {
    let model = common::load(
        r#"
[data.values]
y = [0, 2]
weights = { axes = ["kind"], values = [0.5, 0.5, 0.0] }

[plates]
n = "rows"
kind = 3

[variables.x]
plates = ["n"]
distribution = "categorical"
probabilities = "weights"
observed = "y"
"#,
    );
    let error = cavi::fit(&model).expect_err("a failure").to_string();
    assert!(error.contains("`x`") && error.contains("probability zero"), "{error}");
}

/// Probabilities and means of a row are named after levels and columns of blocks.
#[test]
fn elements_of_a_row_have_names() {
    let (_, ascent) = fit(r#"
[data.values]
y = [[0.1, 2.0], [0.3, 1.0]]
name = ["low", "high"]
m = { axes = ["kind"], values = [0.0, 1.0] }
w = { axes = ["kind"], values = [0.3, 0.7] }
[plates]
row = "rows"
item = { columns = "y" }
kind = { levels = "name" }
[variables.z]
plates = ["row", "item"]
distribution = "categorical"
probabilities = "w"
[variables.x]
plates = ["row", "item"]
distribution = "normal"
mean = "m[z]"
sd = 0.5
observed = "y"
"#);
    let rows = ascent.rows("z", 0..2).unwrap().unwrap();
    assert_eq!(rows.categories, ["y.0_low", "y.0_high", "y.1_low", "y.1_high"]);
}

/// The prior of a vague precision keeps its digits: log Γ(1e-10) is that of 1e-10, and not of (1e-10 − 1) + 1. The ELBO at the
/// posterior found, computed with 50 digits.
#[test]
fn vague_priors_keep_their_digits() {
    let graph = vi_model::load_str(
        r#"
        [data.values]
        y = [1.2, 0.3, -0.7, 2.2, 0.9]
        [plates]
        row = "rows"
        [variables.t]
        distribution = "gamma"
        shape = 1e-10
        rate = 1e-10
        [variables.m]
        distribution = "normal"
        mean = 0.0
        precision = 1e-10
        [variables.x]
        plates = ["row"]
        distribution = "normal"
        mean = "m"
        precision = "t"
        observed = "y"
        [inference]
        tolerance = 1e-15
        "#,
        "test.toml",
        std::path::Path::new("."),
    )
    .expect("a valid model");
    let elbo = cavi::fit(&graph).expect("a fit").outcome.elbo;
    assert!((elbo - -41.735_892_875_195_83).abs() < 1e-11, "{elbo}");
}
