//! Linear auto-encoders against the closed forms of probabilistic principal component analysis.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use nalgebra::{Cholesky, DMatrix, DVector, SymmetricEigen};
use std::path::Path;
use vi_run::Record;

const ROWS: usize = 60;
const WIDTH: usize = 7;
const LN_2_PI: f64 = 1.837_877_066_409_345_3;

/// Rows that vary most along a few directions, about a mean that is not zero.
fn data() -> DMatrix<f64> {
    DMatrix::from_fn(ROWS, WIDTH, |i, j| {
        let (i, j) = (i as f64, j as f64);
        let scores = [(1.7 * i).sin() * 2.0, (0.9 * i + 1.0).cos() * 1.2, (2.3 * i).sin() * 0.7];
        let loadings = [(0.8 * j).cos(), (1.9 * j + 0.3).sin(), (2.7 * j).cos()];
        let noise = 0.4 * (12.9898 * i + 78.233 * j + (3.7 * i * j).sin()).sin();
        0.5 * j + scores.iter().zip(loadings).map(|(s, l)| s * l).sum::<f64>() + noise
    })
}

fn array(matrix: &DMatrix<f64>) -> String {
    let rows: Vec<String> = matrix
        .row_iter()
        .map(|row| format!("[{}]", row.iter().map(|x| format!("{x:.17}")).collect::<Vec<_>>().join(", ")))
        .collect();
    format!("[{}]", rows.join(", "))
}

/// The covariance of the data about their mean, divided by the number of rows.
fn covariance(data: &DMatrix<f64>) -> DMatrix<f64> {
    let mean = data.row_mean();
    let centred = DMatrix::from_fn(ROWS, WIDTH, |i, j| data[(i, j)] - mean[j]);
    centred.transpose() * &centred / ROWS as f64
}

/// Log density per row of a normal about the data's mean: −½(d ln 2π + ln|C| + tr(C⁻¹·S)).
fn log_density(c: &DMatrix<f64>, s: &DMatrix<f64>) -> f64 {
    let factor = Cholesky::new(c.clone()).unwrap();
    let log_determinant = 2.0 * factor.l().diagonal().map(f64::ln).sum();
    -0.5 * (WIDTH as f64 * LN_2_PI + log_determinant + factor.solve(s).trace())
}

fn run(text: &str) -> Record {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap();
    sgvi::fit(&graph).unwrap().into_record()
}

/// Tipping & Bishop 1999, equation 8: −½(d ln 2π + Σ_{i≤q} ln λ_i + (d − q) ln σ² + d) with σ² the mean of the others.
#[test]
fn networks_reach_the_maximum_likelihood() {
    let data = data();
    let eigenvalues = SymmetricEigen::new(covariance(&data)).eigenvalues;
    let mut eigenvalues: Vec<f64> = eigenvalues.iter().copied().collect();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    for directions in [1, 3] {
        let rest = (WIDTH - directions) as f64;
        let variance = eigenvalues[directions..].iter().sum::<f64>() / rest;
        let logs: f64 = eigenvalues[..directions].iter().map(|l| l.ln()).sum();
        let best = -0.5 * (WIDTH as f64 * (LN_2_PI + 1.0) + logs + rest * variance.ln());
        for covariance in ["diagonal", "full"] {
            let text = format!(
                "[data.values]\nx = {}\n[plates]\nrow = \"rows\"\npixel = {{ columns = \"x\" }}\n\
                 [networks.encoder]\nlinear = true\n[networks.decoder]\nlinear = true\n\
                 [variables.noise]\ndistribution = \"flat\"\nlower = 0.0\npoint = true\n\
                 [variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = {directions}\n\
                 mean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\ncovariance = \"{covariance}\"\n\
                 [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\nmean = \"decoder(z)\"\n\
                 sd = \"noise\"\nobserved = \"x\"\n",
                array(&data)
            );
            let record = run(&text);
            let elbo = record.elbo / ROWS as f64;
            assert!((elbo - best).abs() < 2e-3, "{directions} {covariance}: {elbo} against {best}");
            assert_eq!(record.extra["elbo_standard_error"], 0.0);
            let noise = record.posterior["noise"].mean.as_ref().unwrap().values()[0];
            assert!((noise - variance.sqrt()).abs() < 0.005 * noise, "{noise} against {}", variance.sqrt());
        }
    }
}

/// Dollars and calendar years: the maximum of data a + c·x is that of x less d ln c per row.
#[test]
fn the_scale_and_the_origin_of_the_data_do_no_harm() {
    let data = data();
    let directions = 2;
    let mut eigenvalues: Vec<f64> = SymmetricEigen::new(covariance(&data)).eigenvalues.iter().copied().collect();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    let rest = (WIDTH - directions) as f64;
    let variance = eigenvalues[directions..].iter().sum::<f64>() / rest;
    let logs: f64 = eigenvalues[..directions].iter().map(|l| l.ln()).sum();
    let best = -0.5 * (WIDTH as f64 * (LN_2_PI + 1.0) + logs + rest * variance.ln());
    for (scale, origin) in [(1000.0, 0.0), (255.0, 128.0), (10.0, 2000.0), (0.001, 0.0)] {
        let text = format!(
            "[data.values]\nx = {}\n[plates]\nrow = \"rows\"\npixel = {{ columns = \"x\" }}\n\
             [networks.encoder]\nlinear = true\n[networks.decoder]\nlinear = true\n\
             [variables.noise]\ndistribution = \"flat\"\nlower = 0.0\npoint = true\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = {directions}\n\
             mean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\n\
             [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\nmean = \"decoder(z)\"\n\
             sd = \"noise\"\nobserved = \"x\"\n",
            array(&data.map(|x| origin + scale * x))
        );
        let elbo = run(&text).elbo / ROWS as f64 + WIDTH as f64 * f64::ln(scale);
        assert!((elbo - best).abs() < 0.02, "{scale} {origin}: {elbo} against {best}");
    }
}

/// Networks with hidden layers train as they would on standardised data, whatever the units.
#[test]
fn units_do_not_keep_networks_from_training() {
    let mut elbos = Vec::new();
    for scale in [1.0, 1e4, 1e-3] {
        let text = format!(
            "[data.values]\nx = {}\n[plates]\nrow = \"rows\"\npixel = {{ columns = \"x\" }}\n\
             [networks.encoder]\nlayers = [8]\n[networks.decoder]\nlayers = [8]\n\
             [variables.noise]\ndistribution = \"flat\"\nlower = 0.0\npoint = true\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = 2\n\
             mean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\n\
             [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\nmean = \"decoder(z)\"\n\
             sd = \"noise\"\nobserved = \"x\"\n[inference]\nmax_iterations = 3000\n",
            array(&data().map(|x| scale * x))
        );
        elbos.push(run(&text).elbo / ROWS as f64 + WIDTH as f64 * f64::ln(scale));
    }
    assert!(elbos.iter().all(|elbo| *elbo > elbos[0] - 0.5), "{elbos:?}");
}

/// With loadings W that are given, q = N(·, diag) misses ½(Σ ln H_ii − ln|H|) of the evidence, H = I + WᵀW/σ².
#[test]
fn rotated_loadings_need_a_full_covariance() {
    let data = data();
    let (sd, directions) = (0.6, 3);
    let loadings = DMatrix::from_fn(directions, WIDTH, |i, j| ((i + 1) as f64 * 0.7 + 1.3 * j as f64).sin());
    let c = loadings.transpose() * &loadings + DMatrix::identity(WIDTH, WIDTH) * (sd * sd);
    let evidence = log_density(&c, &covariance(&data));
    let precision = &loadings * loadings.transpose() / (sd * sd) + DMatrix::identity(directions, directions);
    let diagonal: DVector<f64> = precision.diagonal();
    let log_determinant = 2.0 * Cholesky::new(precision).unwrap().l().diagonal().map(f64::ln).sum();
    let missed = 0.5 * (diagonal.map(f64::ln).sum() - log_determinant);
    assert!(missed > 0.05, "the rotation would show nothing: {missed}");
    for (covariance, best) in [("diagonal", evidence - missed), ("full", evidence)] {
        let text = format!(
            "[data.values]\nx = {}\nloading = {{ axes = [\"direction\", \"pixel\"], values = {} }}\n\
             [plates]\nrow = \"rows\"\npixel = {{ columns = \"x\" }}\ndirection = {directions}\n\
             [networks.encoder]\nlinear = true\n\
             [variables.offset]\nplates = [\"pixel\"]\ndistribution = \"flat\"\npoint = true\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"direction\"\n\
             mean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\ncovariance = \"{covariance}\"\n\
             [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\n\
             mean = \"dot(loading, z) + offset\"\nsd = {sd}\nobserved = \"x\"\n",
            array(&data),
            array(&loadings)
        );
        let elbo = run(&text).elbo / ROWS as f64;
        assert!((elbo - best).abs() < 2e-4, "{covariance}: {elbo} against {best}");
    }
}

/// With a Bayesian offset the posterior of all z and the offset is one normal of precision Λ; the best q with a factor for
/// every row and one for the offset has the diagonal blocks of Λ and misses ½(Σ_b ln|Λ_bb| − ln|Λ|) of the evidence.
#[test]
fn bayesian_offsets_have_the_best_factor() {
    let data = data();
    let (sd, prior_sd, directions) = (0.8_f64, 3.0_f64, 2);
    let loadings = DMatrix::from_fn(directions, WIDTH, |i, j| ((i + 1) as f64 * 0.7 + 1.3 * j as f64).sin());
    let n = ROWS * directions + WIDTH;
    // y = B·(z, offset) + noise, all rows stacked.
    let design = DMatrix::from_fn(ROWS * WIDTH, n, |cell, c| {
        let (row, pixel) = (cell / WIDTH, cell % WIDTH);
        if c >= ROWS * directions {
            f64::from(c - ROWS * directions == pixel)
        } else if c / directions == row {
            loadings[(c % directions, pixel)]
        } else {
            0.0
        }
    });
    let values = DVector::from_fn(ROWS * WIDTH, |cell, _| data[(cell / WIDTH, cell % WIDTH)]);
    let mut precision = design.transpose() * &design / (sd * sd);
    for c in 0..n {
        precision[(c, c)] += if c < ROWS * directions { 1.0 } else { prior_sd.powi(-2) };
    }
    let log_determinant = |m: DMatrix<f64>| 2.0 * Cholesky::new(m).unwrap().l().diagonal().map(f64::ln).sum();
    let linear = design.transpose() * &values / (sd * sd);
    let solved = Cholesky::new(precision.clone()).unwrap().solve(&linear);
    let cells = (ROWS * WIDTH) as f64;
    let evidence = -0.5 * (cells * (LN_2_PI + 2.0 * sd.ln()) + values.norm_squared() / (sd * sd) - linear.dot(&solved))
        - 0.5 * log_determinant(precision.clone())
        - WIDTH as f64 * prior_sd.ln();
    let block = |from: usize, size: usize| log_determinant(precision.view((from, from), (size, size)).into_owned());
    let blocks: f64 = (0..ROWS).map(|row| block(row * directions, directions)).sum();
    let best = evidence - 0.5 * (blocks + block(ROWS * directions, WIDTH) - log_determinant(precision.clone()));
    for family in ["mean-field", "full-rank"] {
        let text = format!(
            "[data.values]\nx = {}\nloading = {{ axes = [\"direction\", \"pixel\"], values = {} }}\n\
             [plates]\nrow = \"rows\"\npixel = {{ columns = \"x\" }}\ndirection = {directions}\n\
             [networks.encoder]\nlinear = true\n\
             [expressions]\ndouble = \"2 * offset\"\n\
             [variables.offset]\nplates = [\"pixel\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = {prior_sd}\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"direction\"\n\
             mean = 0.0\nsd = 1.0\namortized = \"encoder(x)\"\ncovariance = \"full\"\n\
             [variables.y]\nplates = [\"row\", \"pixel\"]\ndistribution = \"normal\"\n\
             mean = \"dot(loading, z) + offset\"\nsd = {sd}\nobserved = \"x\"\n\
             [inference]\nfamily = \"{family}\"\nlearning_rate = 0.01\n",
            array(&data),
            array(&loadings)
        );
        let record = run(&text);
        let error = record.extra["elbo_standard_error"].as_f64().unwrap();
        let elbo = record.elbo;
        assert!(elbo < best + 5.0 * error && elbo > best - 0.4, "{family}: {elbo} ± {error} against {best}");
        let posterior = &record.posterior;
        let (offset, double) = (&posterior["offset"], &posterior["double"]);
        let exact_sd = 1.0 / (ROWS as f64 / (sd * sd) + prior_sd.powi(-2)).sqrt();
        for pixel in 0..WIDTH {
            let at = |array: &Option<vi_run::array::NestedArray>| array.as_ref().unwrap().values()[pixel];
            let exact = solved[ROWS * directions + pixel];
            assert!((at(&offset.mean) - exact).abs() < 0.03, "{pixel}: {} against {exact}", at(&offset.mean));
            assert!((at(&offset.sd) - exact_sd).abs() < 0.15 * exact_sd, "{} against {exact_sd}", at(&offset.sd));
            assert!((at(&double.mean) - 2.0 * at(&offset.mean)).abs() < 0.02);
            assert!((at(&double.sd) - 2.0 * at(&offset.sd)).abs() < 0.1 * exact_sd);
        }
        assert_eq!(offset.distribution.as_deref(), Some("normal"));
    }
}
