//! Every model file of `cavi`: it converges in seconds, to the recorded ELBO, to a posterior that means what its comment says.
//!
//! The recorded values are the best of many more restarts than the files ask for. What can be had from elsewhere (closed forms,
//! conjugate counts, a dense solution, maximum likelihood by other programs) is compared with that.
#![allow(clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Run, close, column, largest, models, purity, standardized, text_column};
use nalgebra::{DMatrix, DVector};
use statrs::function::beta::ln_beta;

fn run(model: &str, arguments: &[&str], elbo: f64, tolerance: f64) -> Run {
    harness::run(env!("CARGO_BIN_EXE_cavi"), model, arguments, elbo, tolerance)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Old Faithful's two clusters are found from any seed; the expected counts are scikit-learn's to six digits.
#[test]
fn gmm() {
    for seed in ["0", "1", "2", "3"] {
        let fit = run("gmm", &["--seed", seed], -443.297873, 1e-5);
        let counts = sorted(fit.parameter("pi", "concentration"));
        close(counts[5], 174.862 + 0.001, 2e-3);
        close(counts[4], 97.138 + 0.001, 2e-3);
        counts[..4].iter().for_each(|&empty| close(empty, 0.001, 1e-6));
    }
}

#[test]
fn gmm_diagonal() {
    let fit = run("gmm-diagonal", &["--save", "z"], -503.207997, 1e-4);
    assert!(purity(&fit.decoded("z", 3), &text_column("iris.csv", "species")) > 0.85);
}

/// The truncated process keeps the three groups of galaxies and leaves the other sticks nearly empty.
#[test]
fn dp_mixture() {
    let fit = run("dp-mixture", &[], -106.426742, 1e-3);
    let weights = fit.mean("weight");
    assert_eq!(weights.iter().filter(|&&w| w > 0.02).count(), 3, "{weights:?}");
    close(weights.iter().sum(), 1.0, 1e-12);
}

/// Clusters of images without labels are mostly of one digit; the bound is within half a per cent of the best of 100 restarts.
#[test]
fn bernoulli_mixture() {
    let fit = run("bernoulli-mixture", &["--save", "z"], -35942.99, 0.005 * 36000.0);
    assert!(purity(&fit.decoded("z", 12), &text_column("digits-binary.csv", "label")) > 0.65);
}

/// Without being told the spray, the two rates separate the sprays that work from those that do not.
#[test]
fn poisson_mixture() {
    let fit = run("poisson-mixture", &["--save", "z"], -238.054822, 1e-5);
    let works = |spray: &String| if ["C", "D", "E"].contains(&spray.as_str()) { "works" } else { "fails" }.to_owned();
    let truth: Vec<String> = text_column("insect-sprays.csv", "spray").iter().map(works).collect();
    assert!(purity(&fit.decoded("z", 2), &truth) > 0.95);
    let rates = sorted(fit.mean("rate"));
    assert!((3.0..4.0).contains(&rates[0]) && (15.0..16.5).contains(&rates[1]), "{rates:?}");
}

/// The fixed point of Bishop's equations 10.26 … 10.30 for data with mean 0 and variance 1.
#[test]
fn normal() {
    let fit = run("normal", &[], -152.187604, 1e-5);
    let n = 100.0;
    let (mut precision, mut rate) = (1.0, 1.0);
    let shape = 0.01 + n / 2.0;
    for _ in 0..200 {
        precision = 0.01 + n * shape / rate;
        rate = 0.01 + 0.5 * n * (1.0 + 1.0 / precision);
    }
    close(fit.mean("mu")[0], 0.0, 1e-9);
    close(fit.sd("mu")[0], 1.0 / f64::sqrt(precision), 1e-7);
    close(fit.parameter("tau", "shape")[0], shape, 1e-12);
    close(fit.parameter("tau", "rate")[0], rate, 1e-5);
}

/// Seven heads in ten tosses: Beta(8, 4), and log B(8, 4) − log B(1, 1) as the evidence.
#[test]
fn coin() {
    let fit = run("coin", &[], ln_beta(8.0, 4.0), 1e-10);
    assert_eq!((fit.parameter("fairness", "alpha")[0], fit.parameter("fairness", "beta")[0]), (8.0, 4.0));
}

/// scikit-learn's GaussianMixture without regularisation, in the data's own units.
#[test]
fn em() {
    let fit = run("em", &[], -504.722605, 1e-4);
    let [eruptions, waiting] = ["eruptions", "waiting"].map(|name| column("old-faithful.csv", name));
    let unit = |x: &[f64], z: f64| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let spread = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        mean + spread * z
    };
    let (weights, means) = (fit.mean("pi"), fit.mean("mean"));
    let short = usize::from(weights[1] < weights[0]);
    close(weights[short], 0.355_872_86, 2e-5);
    close(unit(&eruptions, means[2 * short]), 2.036_388_46, 2e-4);
    close(unit(&waiting, means[2 * short + 1]), 54.478_516_44, 2e-3);
    close(unit(&eruptions, means[2 - 2 * short]), 4.289_661_98, 2e-4);
    close(unit(&waiting, means[3 - 2 * short]), 79.968_115_24, 2e-3);
}

/// Given E[noise], the coefficients are those of ridge regression, and so is their joint covariance.
#[test]
fn linear_regression() {
    let fit = run("linear-regression", &[], -508.719129, 1e-4);
    let names = ["age", "sex", "bmi", "blood_pressure", "s1", "s2", "s3", "s4", "s5", "s6"];
    let columns = names.map(|name| DVector::from_vec(standardized(&column("diabetes.csv", name))));
    let x = DMatrix::from_columns(&columns);
    let y = DVector::from_vec(standardized(&column("diabetes.csv", "progression")));
    let tau = fit.mean("noise")[0];
    let covariance = (x.transpose() * &x * tau + DMatrix::identity(10, 10)).try_inverse().expect("invertible");
    let mean = &covariance * x.transpose() * y * tau;
    for (j, (m, s)) in fit.mean("beta").iter().zip(fit.sd("beta")).enumerate() {
        close(*m, mean[j], 1e-4);
        close(s, covariance[(j, j)].sqrt(), 1e-4);
    }
}

/// The truth of the simulation: 3 + 2 x₀ − 1.5 x₃ + x₇ and noise of sd 0.5.
#[test]
fn ard() {
    let fit = run("ard", &[], -247.852613, 1e-3);
    let (beta, sd, relevance) = (fit.mean("beta"), fit.sd("beta"), fit.mean("relevance"));
    for j in 0..20 {
        let truth = [(0, 2.0), (3, -1.5), (7, 1.0)].iter().find(|t| t.0 == j).map_or(0.0, |t| t.1);
        close(beta[j], truth, 4.0 * sd[j] + 0.05);
        assert_eq!(relevance[j] < 10.0, truth != 0.0, "{relevance:?}");
    }
    close(fit.mean("intercept")[0], 3.0, 0.15);
    close(fit.mean("noise")[0].sqrt().recip(), 0.5, 0.06);
}

/// The third diet's chicks grow fastest and the first's slowest; chicks differ less after shrinkage than by themselves.
#[test]
fn hierarchical_regression() {
    let fit = run("hierarchical-regression", &[], 154.443632, 1e-3);
    let slope = fit.mean("slope_mean");
    assert!(largest(&slope) == 2 && slope.iter().all(|&s| s >= slope[0]), "{slope:?}");
    let deviation = fit.mean("deviation");
    assert_eq!(deviation.len(), 50);
    let expected_square = fit.mean("slope_precision")[0].recip();
    let mean_square = deviation.iter().zip(fit.sd("deviation")).map(|(m, s)| m * m + s * s).sum::<f64>() / 50.0;
    close(mean_square, expected_square, 0.03);
}

/// Maximum likelihood under t errors with 2 degrees of freedom (scipy): 16.860, 0.848, 0.557, −0.089; least squares: 17.14, 0.716, 1.295, −0.152.
#[test]
fn robust_regression() {
    let fit = run("robust-regression", &[], -71.018775, 1e-4);
    let maximum = [16.8597, 0.8483, 0.5569, -0.0885];
    for (name, expected) in ["intercept", "air", "water", "acid"].iter().zip(maximum) {
        close(fit.mean(name)[0], expected, fit.sd(name)[0]);
    }
    assert!(fit.mean("water")[0] < 1.295 / 1.8);
}

/// The posterior mode by Newton's method (scipy); the bound's posterior mean lies near it.
#[test]
fn logistic_regression() {
    let fit = run("logistic-regression", &[], -99.577581, 1e-4);
    let mode = [0.8316, 1.5563, 0.6668, 2.1334, 1.0728, -0.5940, 1.1172, 1.9604, 0.4648, -0.3052];
    for (mean, expected) in fit.mean("beta").iter().zip(mode) {
        close(*mean, expected, 0.1);
    }
    assert!(fit.summary["elbo_is"].as_str().is_some_and(|text| text.contains("Jaakkola")));
}

/// Maximum likelihood (statsmodels) and its standard errors.
#[test]
fn probit_regression() {
    let fit = run("probit-regression", &[], -148.026493, 1e-4);
    let maximum = [(-0.7178, 0.1797), (0.1513, 0.0929), (-0.3824, 0.0978), (0.6691, 0.1626), (1.1023, 0.1614)];
    let names = ["intercept", "by_age", "by_parity", "after_induced", "after_spontaneous"];
    for (name, (expected, error)) in names.iter().zip(maximum) {
        close(fit.mean(name)[0], expected, 0.15 * error);
        assert!(fit.sd(name)[0] < error, "mean field cannot be wider than the likelihood here");
    }
}

/// Loadings and noise reproduce the correlations of the ratings.
#[test]
fn factor_analysis() {
    let fit = run("factor-analysis", &[], -219.211025, 1e-3);
    let names = std::fs::read_to_string(models().join("data/judge-ratings.csv")).expect("the data file exists");
    let names: Vec<&str> = names.lines().next().expect("a header").split(',').skip(1).collect();
    let x = DMatrix::from_columns(
        &names.iter().map(|n| DVector::from_vec(standardized(&column("judge-ratings.csv", n)))).collect::<Vec<_>>(),
    );
    let correlation = x.transpose() * &x / 43.0;
    let loading = DMatrix::from_row_slice(12, 2, &fit.mean("loading"));
    let implied = &loading * loading.transpose();
    for i in 0..12 {
        for j in 0..i {
            close(implied[(i, j)], correlation[(i, j)], 0.2);
        }
    }
    let precision = fit.mean("precision_of");
    assert!(precision.iter().all(|&p| p >= precision[0]), "contacts are explained least: {precision:?}");
}

/// The ten loadings span the space of the ten leading singular vectors.
#[test]
fn bayesian_pca() {
    let fit = run("bayesian-pca", &[], 28513.545, 0.1);
    let columns: Vec<DVector<f64>> = (0..64)
        .map(|j| {
            let mut x = DVector::from_vec(column("digits.csv", &format!("pixel_{j}"))) / 16.0;
            x.add_scalar_mut(-x.mean());
            x
        })
        .collect();
    let x = DMatrix::from_columns(&columns);
    let eigen = (x.transpose() * &x).symmetric_eigen();
    let mut order: Vec<usize> = (0..64).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let leading = eigen.eigenvectors.select_columns(&order[..10]);
    let basis = DMatrix::from_row_slice(64, 10, &fit.mean("loading")).qr().q();
    let overlap = (leading.transpose() * basis).norm_squared();
    assert!(overlap > 9.9, "of 10 directions {overlap} are shared");
    close(fit.mean("centre")[20], column("digits.csv", "pixel_20").iter().sum::<f64>() / 16.0 / 1797.0, 5e-3);
}

/// Ozone rises with the temperature and falls with the wind; days with holes count.
#[test]
fn pca_missing() {
    let fit = run("pca-missing", &["--save", "weather"], -771.116700, 1e-3);
    let loading = DMatrix::from_row_slice(4, 2, &fit.mean("loading"));
    let together = &loading * loading.transpose();
    assert!(together[(0, 3)] > 0.4 && together[(0, 2)] < -0.3, "{together}");
    assert!(column("airquality.csv", "ozone").iter().any(|x| x.is_nan()));
    assert_eq!(fit.saved("weather", 4).len(), 153);
}

/// The simulation's noise had sd 0.3; the popularity of films is recovered up to what the tastes explain.
#[test]
fn matrix_factorisation() {
    let fit = run("matrix-factorisation", &[], -779.239541, 1e-2);
    close(fit.mean("noise")[0].sqrt().recip(), 0.3, 0.04);
    close(fit.mean("level")[0], 3.0, 0.3);
    assert_eq!((fit.mean("viewer_taste").len(), fit.mean("film_trait").len()), (120, 80));
}

/// The simulation's lines: y = 1 + 2x and y = 4 − x.
#[test]
fn mixture_of_regressions() {
    let fit = run("mixture-of-regressions", &["--save", "z"], -277.253786, 1e-4);
    let (intercept, slope) = (fit.mean("intercept"), fit.mean("slope"));
    let rising = usize::from(slope[1] > slope[0]);
    close(intercept[rising], 1.0, 0.2);
    close(slope[rising], 2.0, 0.1);
    close(intercept[1 - rising], 4.0, 0.2);
    close(slope[1 - rising], -1.0, 0.15);
    assert!(purity(&fit.decoded("z", 2), &text_column("two-lines.csv", "true_line")) > 0.9);
}

/// One group is exactly the species setosa.
#[test]
fn mixture_of_factor_analysers() {
    let fit = run("mixture-of-factor-analysers", &["--save", "z"], -455.048353, 1e-3);
    let setosa = |name: &String| (name == "setosa").to_string();
    let truth: Vec<String> = text_column("iris.csv", "species").iter().map(setosa).collect();
    assert_eq!(purity(&fit.decoded("z", 2), &truth), 1.0);
}

/// The simulation's regimes are recognised on nine days of ten, and last as long as they should.
#[test]
fn hmm_gaussian() {
    let fit = run("hmm-gaussian", &["--save", "state"], -819.822372, 1e-3);
    assert!(purity(&fit.decoded("state", 3), &text_column("regimes.csv", "true_regime")) > 0.85);
    let transition = fit.mean("transition");
    assert!((0..3).all(|k| transition[4 * k] > 0.88), "{transition:?}");
}

/// The unknown die shows the six half of the time, as in the simulation, and is recognised better than by its frequency (0.62).
#[test]
fn hmm_categorical() {
    let fit = run("hmm-categorical", &["--save", "die"], -1760.290002, 1e-3);
    let faces = text_column("casino.csv", "face");
    let mut levels: Vec<&String> = Vec::new();
    faces.iter().for_each(|f| {
        if !levels.contains(&f) {
            levels.push(f)
        }
    });
    let six = levels.iter().position(|&l| l == "6").expect("a six was rolled");
    let (mean, sd) = (fit.mean("face_of"), fit.sd("face_of"));
    close(mean[six], 1.0 / 6.0, 0.005);
    close(mean[6 + six], 0.5, 2.0 * sd[6 + six]);
    assert!(purity(&fit.decoded("die", 2), &text_column("casino.csv", "true_state")) > 0.7);
}

/// The level falls about 1898; maximum likelihood puts the noise variance at 1.51 and that of the steps at 0.147 (statsmodels).
#[test]
fn local_level() {
    let fit = run("local-level", &["--save", "level"], -184.068798, 1e-4);
    let level: Vec<f64> = fit.saved("level", 2).iter().map(|row| row[0]).collect();
    let average = |years: std::ops::Range<usize>| level[years.clone()].iter().sum::<f64>() / years.len() as f64;
    assert!(average(0..25) > 10.0 && average(30..100) < 9.2);
    close(fit.mean("noise")[0].recip(), 1.51, 0.3);
    close(fit.mean("step")[0].recip(), 0.147, 0.1);
}

/// The smoothed path is far nearer to the true one than the fixes, whose error has sd 1, and is no less sure than it should be.
#[test]
fn tracking() {
    let fit = run("tracking", &["--save", "state"], -557.414121, 1e-3);
    let (east, north) = (column("tracking.csv", "true_east"), column("tracking.csv", "true_north"));
    let rows = fit.saved("state", 8);
    let squares = |i: usize, truth: &[f64]| rows.iter().zip(truth).map(|(r, t)| (r[i] - t).powi(2)).sum::<f64>();
    let error = ((squares(0, &east) + squares(1, &north)) / 400.0).sqrt();
    assert!(error < 0.6, "root mean square error {error}");
    let inside = rows.iter().zip(&east).filter(|(r, t)| (r[0] - *t).abs() < 2.0 * r[4]).count();
    assert!(inside > 180, "{inside} of 200 steps lie within two sd");
}

/// Every row finds its regime, the laws are the rotations of the simulation, and the evidence of the path is the best that fifty
/// restarts find.
#[test]
fn switching_dynamics() {
    let fit = run("switching-dynamics", &["--save", "regime"], -597.675027, 1e-3);
    let motion = fit.mean("motion");
    let slow = usize::from(motion[2] < 0.0);
    for (law, angle, length) in [(slow, 0.25_f64, 0.995), (1 - slow, -0.9, 0.97)] {
        let truth = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()].map(|x| x * length);
        for (found, truth) in motion[4 * law..4 * law + 4].iter().zip(truth) {
            close(*found, truth, 0.05);
        }
    }
    let regimes = fit.saved("regime", 2);
    let truth = column("switching-dynamics.csv", "true_regime");
    let right = regimes.iter().zip(&truth).filter(|(p, t)| (p[1 - slow] > 0.5) == (**t > 0.5)).count();
    assert!(right >= 396, "{right} of 400");
}

/// The bound is within one per cent of the best of 60 restarts, and words of one trade share their topics.
#[test]
fn lda() {
    let fit = run("lda", &[], -123_351.95, 0.01 * 123_400.0);
    let words = text_column("corpus.csv", "word");
    let mut levels: Vec<&String> = Vec::new();
    words.iter().for_each(|w| {
        if !levels.contains(&w) {
            levels.push(w)
        }
    });
    let topic = fit.mean("topic");
    let home = |word: &str| {
        let w = levels.iter().position(|&l| l == word).expect("the word occurs");
        largest(&(0..8).map(|k| topic[k * levels.len() + w]).collect::<Vec<_>>())
    };
    assert_eq!(home("server"), home("client"));
    assert_eq!(home("thread"), home("lock"));
    assert_ne!(home("server"), home("thread"));
    for k in 0..8 {
        close(topic[k * levels.len()..(k + 1) * levels.len()].iter().sum(), 1.0, 1e-9);
    }
}

/// The order of difficulty is the order of the shares of right answers.
#[test]
fn item_response() {
    let fit = run("item-response", &[], -1354.828078, 1e-3);
    let (question, right) = (text_column("item-response.csv", "question"), column("item-response.csv", "right"));
    let share = |q: usize| {
        let answers = question.iter().zip(&right).filter(|(name, _)| **name == format!("q{}", q + 1));
        answers.map(|(_, r)| r).sum::<f64>() / 200.0
    };
    let difficulty = fit.mean("difficulty");
    for a in 0..12 {
        for b in 0..12 {
            assert!((share(a) - share(b)) * (difficulty[a] - difficulty[b]) <= 0.0);
        }
    }
}

/// Beta posteriors by counting, and the exact log evidence.
#[test]
fn ab_test() {
    let (page, converted) = (text_column("ab-test.csv", "page"), column("ab-test.csv", "converted"));
    let count = |p: &str, c: f64| page.iter().zip(&converted).filter(|(x, y)| *x == p && **y == c).count() as f64;
    let [b, a] = ["B", "A"].map(|p| [1.0 + count(p, 1.0), 1.0 + count(p, 0.0)]);
    let fit = run("ab-test", &[], ln_beta(a[0], a[1]) + ln_beta(b[0], b[1]), 1e-9);
    assert_eq!(fit.parameter("rate", "alpha"), [b[0], a[0]]);
    assert_eq!(fit.parameter("rate", "beta"), [b[1], a[1]]);
}

/// The change falls within the years that the literature finds, 1886 … 1896; the rates follow from the expected counts.
#[test]
fn change_point() {
    let fit = run("change-point", &["--save", "era"], -177.246612, 1e-4);
    let late: Vec<f64> = fit.saved("era", 2).iter().map(|p| p[1]).collect();
    assert!(late.windows(2).all(|w| w[1] >= w[0] - 1e-12), "nobody goes back");
    let year = 1851 + late.iter().position(|&p| p > 0.5).expect("a change");
    assert!((1886..=1896).contains(&year), "{year}");
    let disasters = column("coal-disasters.csv", "disasters");
    let shape = 1.0 + disasters.iter().zip(&late).map(|(d, p)| d * p).sum::<f64>();
    let rate = 0.5 + late.iter().sum::<f64>();
    close(fit.mean("rate")[1], shape / rate, 1e-4);
    close(fit.sd("rate")[1], shape.sqrt() / rate, 1e-4);
}

/// The small group is the two leaders (the first and the last member) and three others who know nearly everybody.
#[test]
fn stochastic_block_model() {
    let fit = run("stochastic-block-model", &[], -203.959782, 1e-4);
    let size = fit.mean("size");
    let small = usize::from(size[1] < size[0]);
    let probabilities = fit.parameter("block", "probabilities");
    let members: Vec<usize> = (1..=34).filter(|m| probabilities[2 * (m - 1) + small] > 0.5).collect();
    assert_eq!(members, [1, 2, 3, 33, 34]);
    let rate = fit.mean("tie_rate");
    assert!(rate[3 * small] > 0.4 && rate[3 - 3 * small] < 0.1, "{rate:?}");
}

/// No model file is without a test here or beside it.
#[test]
fn every_model_file_is_tested() {
    let tests = std::fs::read_dir(models().join("../tests/models")).expect("the tests' folder");
    let sources: Vec<String> =
        tests.map(|t| std::fs::read_to_string(t.expect("an entry").path()).expect("a source")).collect();
    let files = std::fs::read_dir(models()).expect("the models' folder").map(|f| f.expect("an entry").path());
    for file in files.filter(|f| f.extension().is_some_and(|e| e == "toml")) {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let calls = ["run", "finish", "check"].map(|call| format!("{call}(\"{name}\""));
        assert!(sources.iter().any(|s| calls.iter().any(|c| s.contains(c))), "{} has no test", file.display());
    }
}
