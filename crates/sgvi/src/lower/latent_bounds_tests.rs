//! Variables between bounds that depend on other latent variables, against quadrature on their own scale.

use std::path::Path;

use super::Model;
use super::tests::check_gradient;
use crate::tape::{Evaluation, Evaluator};

/// ln ∫ exp(log joint) over two coordinates, by the trapezoidal rule.
fn log_evidence(text: &str) -> f64 {
    let graph = vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let model = Model::new(&graph).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(model.program.dimension, 2);
    let evaluator = Evaluator::new(model.program);
    let h = 0.06;
    let ticks: Vec<f64> = (-300..300).map(|i| f64::from(i) * h).collect();
    let mut out = Evaluation::default();
    let mut total = 0.0;
    for a in &ticks {
        let theta: Vec<f64> = ticks.iter().flat_map(|b| [*a, *b]).collect();
        evaluator.evaluate(&theta, ticks.len(), false, &mut out);
        total += out.values.iter().filter(|l| l.is_finite()).map(|l| l.exp() * h * h).sum::<f64>();
    }
    total.ln()
}

/// ∫ f over an interval by the midpoint rule.
fn integral(f: impl Fn(f64) -> f64, lower: f64, upper: f64, n: u32) -> f64 {
    let h = (upper - lower) / f64::from(n);
    (0..n).map(|i| f(lower + (f64::from(i) + 0.5) * h)).sum::<f64>() * h
}

fn normal(x: f64, mean: f64, sd: f64) -> f64 {
    (-0.5 * ((x - mean) / sd).powi(2)).exp() / (sd * (2.0 * std::f64::consts::PI).sqrt())
}

/// The prior of t with its range, the distribution of x given t, and x's range and density without its constant.
type Case<'a> =
    (&'a str, [f64; 2], &'a dyn Fn(f64) -> f64, &'a str, &'a dyn Fn(f64) -> [f64; 2], &'a dyn Fn(f64, f64) -> f64);

/// p(y) = ∫ p(t) ∫ p(x | t) N(y | x, ½²) dx dt with x between bounds that t gives.
#[test]
fn bounds_move_with_their_parents() {
    let gamma = |t: f64| 4.0 * t * (-2.0 * t).exp();
    let standard = |t: f64| normal(t, 0.3, 1.0);
    let (positive, real) = ("gamma\"\nshape = 2\nrate = 2", "normal\"\nmean = 0.3\nsd = 1");
    let cases: [Case<'_>; 7] = [
        (positive, [0.0, 12.0], &gamma, "uniform\"\nlower = 0\nupper = \"t\"", &|t| [0.0, t], &|_, _| 1.0),
        (real, [-6.0, 7.0], &standard, "uniform\"\nlower = \"t\"\nupper = \"t + 2\"", &|t| [t, t + 2.0], &|_, _| 1.0),
        (real, [-6.0, 7.0], &standard, "normal\"\nmean = 0.5\nsd = 0.8\nlower = \"t\"", &|t| [t, t + 20.0], &|x, _| {
            normal(x, 0.5, 0.8)
        }),
        (
            real,
            [-6.0, 7.0],
            &standard,
            "laplace\"\nlocation = \"t\"\nscale = 0.8\nupper = \"2 * t\"",
            &|t| [2.0 * t - 30.0, 2.0 * t],
            &|x, t| (-(x - t).abs() / 0.8).exp(),
        ),
        (
            real,
            [-6.0, 7.0],
            &standard,
            "gamma\"\nshape = 2\nrate = 1.5\nlower = \"t\"",
            &|t| [t.max(0.0), t.max(0.0) + 20.0],
            &|x, _| x * (-1.5 * x).exp(),
        ),
        (
            positive,
            [0.0, 12.0],
            &gamma,
            "beta\"\nalpha = 2\nbeta = 3\nupper = \"t\"",
            &|t| [0.0, t.min(1.0)],
            &|x, _| x * (1.0 - x) * (1.0 - x),
        ),
        (
            positive,
            [0.0, 12.0],
            &gamma,
            "student-t\"\ndegrees_of_freedom = 4\nmean = 0\nsd = 1\nlower = \"-t\"\nupper = \"t\"",
            &|t| [-t, t],
            &|x, _| (1.0 + x * x / 4.0).powf(-2.5),
        ),
    ];
    for (prior, range, density, distribution, bounds, conditional) in cases {
        let text = format!(
            "[data.values]\nobs = 0.6\n[variables.t]\ndistribution = \"{prior}\n[variables.x]\ndistribution = \"{distribution}\n\
             [variables.y]\ndistribution = \"normal\"\nmean = \"x\"\nsd = 0.5\nobserved = \"obs\"\n"
        );
        check_gradient(&text);
        let joint = |t: f64| {
            let [l, u] = bounds(t);
            let mass = integral(|x| conditional(x, t), l, u, 2000);
            density(t) * integral(|x| conditional(x, t) * normal(0.6, x, 0.5), l, u, 2000) / mass
        };
        let wanted = integral(joint, range[0], range[1], 2000).ln();
        let found = log_evidence(&text);
        assert!((found - wanted).abs() < 2e-4, "{distribution}: {found} {wanted}");
    }
}

/// A value for each row below a bound for its group; points; what is refused.
#[test]
fn rows_points_and_refusals() {
    let rows = "[data.values]\nobs = [0.3, -0.4, 1.1, 0.9]\ng = [\"a\", \"b\", \"a\", \"b\"]\n[plates]\nrow = \"rows\"\n\
                group = { levels = \"g\" }\nkind = 2\n\
                [variables.top]\nplates = [\"group\"]\ndistribution = \"half-normal\"\nsd = 2\n";
    let y =
        "[variables.y]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"x\"\nsd = 0.5\nobserved = \"obs\"\n";
    check_gradient(&format!(
        "{rows}[variables.x]\nplates = [\"row\"]\ndistribution = \"uniform\"\nlower = 0\nupper = \"top[g]\"\n{y}"
    ));
    check_gradient(&format!(
        "{rows}[variables.x]\nplates = [\"row\"]\ndistribution = \"cauchy\"\nlocation = 0\nscale = 1\nlower = \"-top[g]\"\n{y}"
    ));
    check_gradient(&format!(
        "{rows}[variables.x]\ndistribution = \"uniform\"\npoint = true\nlower = 0\nupper = \"s\"\n\
         [variables.s]\ndistribution = \"half-normal\"\nsd = 2\n{y}"
    ));
    for (x, said) in [
        ("distribution = \"uniform\"\nlower = 0\nupper = \"top[g]\"\ninitial = 0.1", "leave out `initial`"),
        ("distribution = \"uniform\"\nlower = 0\nupper = \"own[z]\"", "discrete latent variable"),
    ] {
        let text = format!(
            "{rows}[variables.own]\nplates = [\"kind\"]\ndistribution = \"half-normal\"\nsd = 2\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = [0.4, 0.6]\n\
             [variables.x]\nplates = [\"row\"]\n{x}\n{y}"
        );
        let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let error = Model::new(&graph).map(|_| ()).expect_err("is refused").to_string();
        assert!(error.contains(said), "{error}");
    }
}
