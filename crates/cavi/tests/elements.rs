//! Single elements in expressions: the same regression however its coefficients are named, and contrasts of effects.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

fn fit(mean: &str) -> vi_run::executor::Fit<cavi::Ascent> {
    let text = format!(
        r#"
[data.values]
x = [0.5, 1.0, -0.3, 2.0, 1.4, -1.0]
y = [1.2, 2.1, 0.3, 4.2, 2.7, -0.9]
one = [1, 1, 1, 1, 1, 1]
[data.blocks]
design = ["one", "x"]
[plates]
row = "rows"
[variables.beta]
distribution = "normal"
dimension = "design"
mean = 0
precision = [[1.0, 0.0], [0.0, 1.0]]
[variables.seen]
plates = ["row"]
distribution = "normal"
mean = "{mean}"
sd = 0.5
observed = "y"
[expressions]
difference = "beta['x'] - beta[0]"
"#
    );
    cavi::fit(&vi_model::load_str(&text, "model.toml", "".as_ref()).unwrap()).unwrap()
}

#[test]
fn elements_of_a_joint_normal_keep_their_covariance() {
    let whole = fit("dot(beta, design)");
    let posterior = whole.algorithm.posterior();
    for mean in ["beta[0] + beta[1] * x", "beta['one'] + x * beta['x']", "beta[0] * design[0] + beta[1] * design['x']"]
    {
        let parts = fit(mean);
        assert!((parts.outcome.elbo - whole.outcome.elbo).abs() < 1e-11, "{mean}");
        assert_eq!(format!("{:.9?}", parts.algorithm.posterior()), format!("{posterior:.9?}"), "{mean}");
    }
}

#[test]
fn a_contrast_has_the_variance_of_the_difference() {
    // Σ⁻¹ = I + 4 XᵀX, and the variance of β₁ − β₀ is cᵀΣc with c = (−1, 1).
    let x = [0.5, 1.0, -0.3, 2.0, 1.4, -1.0f64];
    let (n, s, ss) = (6.0, x.iter().sum::<f64>(), x.iter().map(|x| x * x).sum::<f64>());
    let (a, b, d) = (1.0 + 4.0 * n, 4.0 * s, 1.0 + 4.0 * ss);
    let variance = (a + d + 2.0 * b) / (a * d - b * b);
    let fit = fit("beta[0] + beta[1] * x");
    let posterior = fit.algorithm.posterior();
    let (_, entry) = posterior.iter().find(|(name, _)| name == "difference").unwrap();
    let sd = format!("{:?}", entry.sd);
    assert!(sd.contains(&format!("{:.10}", variance.sqrt())[..11]), "{sd} is not {}", variance.sqrt());
}
