//! Gradients of whole models against finite differences, and independence of threads.

use super::super::small_models;
use super::*;

const DATA: &str = r#"
[data.values]
x = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1]]
y = [[0.2, -1.0], [0.5, 0.3], [-0.7, 1.2], [1.1, 0.4], [0.0, -0.6]]
t = [[1.0, 0.5], [0.5, -0.3], [-0.2, 0.4], [0.3, 0.1], [-1.0, 0.8]]
count = [0, 3, 1, 2, 5]
group = [0, 1, 0, 2, 1]

[plates]
row = "rows"
pixel = { columns = "x" }
class = 3

[networks.encoder]
layers = [5]
activation = "tanh"
[networks.second]
layers = [4]
activation = "silu"
[networks.decoder]
layers = [6]
activation = "softplus"
layer_norm = true
[networks.spread]
linear = true
[networks.rate]
linear = true
[networks.class_net]
layers = [3]
activation = "gelu"
"#;

fn model(variables: &str) -> AmortizedModel {
    small_models::model(&format!("{DATA}{variables}"))
}

/// Compares the gradient with central differences of the bound at fixed noise.
fn check(model: &AmortizedModel, bound: Bound, draws: usize) {
    let rows: Vec<u32> = (0..model.num_rows as u32).collect();
    let parameters = model.program.initialize(11);
    let mut trainer = Trainer::new(&model.program, parameters.clone(), rows.len(), draws);
    let noise = StepNoise::new(3, 7);
    let per_row = |totals: Totals| totals.bound / totals.rows;
    let exact = trainer.accumulate(model, &rows, &noise, bound);
    assert!(exact.bound.is_finite());
    let gradient = trainer.gradient.to_vec();
    let evaluated = evaluate(model, &parameters, &rows, draws, &noise, bound);
    assert!((per_row(exact) - per_row(evaluated)).abs() < 1e-9);
    let step = 4e-3_f32;
    let mut largest = 0.0_f64;
    for index in 0..parameters.len() {
        let at = |sign: f32| {
            let mut moved = parameters.clone();
            moved[index] += sign * step;
            let drawn = model.program.draw_globals(&moved, Some(&noise));
            let prior: f64 = model.program.global_terms(&moved, &drawn).iter().sum();
            per_row(evaluate(model, &moved, &rows, draws, &noise, bound)) + prior / model.total_weight()
        };
        let difference = (at(1.0) - at(-1.0)) / (2.0 * f64::from(step));
        let error = (f64::from(gradient[index]) - difference).abs() / difference.abs().max(1.0);
        largest = largest.max(error);
        assert!(error < 4e-3, "parameter {index}: {} against {difference}", gradient[index]);
    }
    assert!(gradient.iter().any(|g| g.abs() > 1e-3), "the gradient vanishes; largest error {largest}");
}

const LATENT: &str = r#"
[variables.z]
plates = ["row"]
distribution = "normal"
dimension = 3
mean = 0.0
sd = 1.3
amortized = "encoder(x)"
"#;

#[test]
fn bernoulli_decoders_with_diagonal_and_full_factors() {
    let observed = "\n[variables.pixels]\nplates = [\"row\", \"pixel\"]\ndistribution = \"bernoulli\"\n\
                    logit = \"decoder(z)\"\nobserved = \"x\"\n";
    for covariance in ["diagonal", "full"] {
        let model = model(&format!("{LATENT}covariance = \"{covariance}\"\n{observed}"));
        for draws in [1, 3] {
            check(&model, Bound::Analytic { beta: 1.0 }, draws);
            check(&model, Bound::MonteCarlo { beta: 0.7, path_only: false }, draws);
            check(&model, Bound::ImportanceWeighted { doubly: false }, draws);
        }
    }
}

#[test]
fn several_latents_learned_priors_and_several_observed_variables() {
    let variables = r#"
[variables.noise]
distribution = "half-normal"
sd = 2.0
point = true
initial = 0.6
[variables.effect]
plates = ["class"]
distribution = "normal"
mean = 0.0
sd = 1.0
point = true
[variables.w]
plates = ["row"]
distribution = "normal"
dimension = 2
mean = "second(z)"
sd = 0.8
amortized = "spread(x, y)"
[variables.a]
plates = ["row"]
distribution = "normal"
dimension = "y"
mean = "rate(w) + 0.5 * y"
sd = "noise"
observed = "y"
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(z, w) - effect[group]"
observed = "x"
"#;
    let model = model(&format!("{LATENT}{variables}"));
    assert_eq!(model.program.latents.len(), 2);
    check(&model, Bound::Analytic { beta: 1.0 }, 2);
    check(&model, Bound::ImportanceWeighted { doubly: false }, 2);
}

#[test]
fn counts_categories_and_second_outputs() {
    let variables = r#"
[variables.n]
plates = ["row"]
distribution = "poisson"
log_rate = "rate(z)"
observed = "count"
[variables.g]
plates = ["row"]
distribution = "categorical"
dimension = "class"
logits = "class_net(z)"
observed = "group"
[variables.a]
plates = ["row"]
distribution = "normal"
dimension = "y"
mean = "second(z)"
sd = "exp(spread(z))"
observed = "y"
"#;
    check(&model(&format!("{LATENT}{variables}")), Bound::Analytic { beta: 1.0 }, 2);
}

#[test]
fn the_doubly_reparameterised_gradient_agrees_in_the_mean() {
    let observed = "\n[variables.a]\nplates = [\"row\"]\ndistribution = \"normal\"\ndimension = \"y\"\n\
                    mean = \"second(z)\"\nsd = 0.5\nobserved = \"y\"\n";
    let model = model(&format!("{LATENT}{observed}"));
    let rows: Vec<u32> = (0..5).collect();
    let parameters = model.program.initialize(2);
    let mean = |bound| {
        let mut trainer = Trainer::new(&model.program, parameters.clone(), 5, 4);
        let repeats = 6000;
        let mut sums = vec![(0.0_f64, 0.0_f64); parameters.len()];
        for step in 0..repeats {
            trainer.accumulate(&model, &rows, &StepNoise::new(5, step), bound);
            for (sum, &g) in sums.iter_mut().zip(trainer.gradient.iter()) {
                sum.0 += f64::from(g);
                sum.1 += f64::from(g).powi(2);
            }
        }
        let n = repeats as f64;
        sums.into_iter()
            .map(|(sum, squares)| (sum / n, ((squares / n - (sum / n).powi(2)) / n).sqrt()))
            .collect::<Vec<_>>()
    };
    let plain = mean(Bound::ImportanceWeighted { doubly: false });
    let doubly = mean(Bound::ImportanceWeighted { doubly: true });
    let total = mean(Bound::MonteCarlo { beta: 1.0, path_only: false });
    let path = mean(Bound::MonteCarlo { beta: 1.0, path_only: true });
    for ((a, b), name) in [(plain, doubly), (total, path)].iter().zip(["importance", "path"]) {
        for (index, ((m, s), (n, t))) in a.iter().zip(b).enumerate() {
            assert!((m - n).abs() < 5.0 * (s * s + t * t).sqrt() + 1e-4, "{name} {index}: {m} ± {s} against {n} ± {t}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let observed = "\n[variables.pixels]\nplates = [\"row\", \"pixel\"]\ndistribution = \"bernoulli\"\n\
                    logit = \"decoder(z)\"\nobserved = \"x\"\n";
    let model = model(&format!("{LATENT}{observed}"));
    let rows: Vec<u32> = (0..600).map(|i| i % 5).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainer = Trainer::new(&model.program, model.program.initialize(1), rows.len(), 1);
            let optimizer = Optimizer::named("adam").unwrap();
            for step in 1..20 {
                let plan = StepPlan {
                    bound: Bound::Analytic { beta: 1.0 },
                    optimizer,
                    size: optimizer.step_size(0.01, step),
                    clip: None,
                };
                trainer.step(&model, &rows, &StepNoise::new(1, step), plan);
            }
            trainer.parameters.to_vec()
        })
    };
    assert_eq!(run(1), run(3));
}

const AFFINE: &str = r#"
[networks.linear_decoder]
linear = true
[variables.noise]
plates = ["feature"]
distribution = "half-normal"
sd = 2.0
point = true
[variables.shift]
plates = ["feature"]
distribution = "flat"
point = true
[variables.gain]
distribution = "normal"
mean = 1.0
sd = 1.0
point = true
[variables.w]
plates = ["row"]
distribution = "normal"
dimension = 2
mean = "second(z)"
sd = 0.8
amortized = "spread(x, t)"
covariance = "full"
[variables.a]
plates = ["row", "feature"]
distribution = "normal"
mean = "gain * linear_decoder(z, t, w) - shift"
sd = "noise"
observed = "y"
"#;

fn affine(covariance: &str, data: &str) -> AmortizedModel {
    let data = DATA
        .replace("y = [[0.2, -1.0]", data)
        .replace("class = 3", "class = 3\nfeature = { columns = \"y\" }")
        .replace("[networks.second]\nlayers = [4]\nactivation = \"silu\"", "[networks.second]\nlinear = true");
    let text = format!("{data}{LATENT}covariance = \"{covariance}\"\n{AFFINE}");
    small_models::model(&text)
}

#[test]
fn closed_forms_agree_with_finite_differences_and_with_draws() {
    for covariance in ["diagonal", "full"] {
        for first_row in ["y = [[0.2, -1.0]", "y = [[0.2, nan]"] {
            let model = affine(covariance, first_row);
            assert!(model.program.closed_form);
            check(&model, Bound::ClosedForm { beta: 0.7 }, 1);
            let rows: Vec<u32> = (0..5).collect();
            let parameters = model.program.initialize(5);
            let noise = StepNoise::new(1, 1);
            let exact = evaluate(&model, &parameters, &rows, 1, &noise, Bound::ClosedForm { beta: 1.0 });
            let drawn = evaluate(&model, &parameters, &rows, 50_000, &noise, Bound::Analytic { beta: 1.0 });
            let error = drawn.draw_variance.sqrt();
            assert!((exact.bound - drawn.bound).abs() < 4.0 * error, "{} {} ± {error}", exact.bound, drawn.bound);
            assert!(error < 0.05 && exact.draw_variance == 0.0);
        }
    }
}

#[test]
fn global_variables_are_part_of_the_bound() {
    let variables = r#"
[variables.shift]
plates = ["class"]
distribution = "normal"
mean = 0.5
sd = 1.0
[variables.noise]
distribution = "gamma"
shape = 2.0
rate = 3.0
[variables.share]
distribution = "beta"
alpha = 2.0
beta = 1.5
[variables.scale]
distribution = "half-student-t"
degrees_of_freedom = 4.0
scale = 0.7
[variables.a]
plates = ["row"]
distribution = "normal"
dimension = "y"
mean = "share * second(z) + shift[group]"
precision = "noise"
observed = "y"
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(z) * scale"
observed = "x"
"#;
    for family in ["mean-field", "full-rank", "low-rank"] {
        let model = model(&format!("{LATENT}{variables}[inference]\nfamily = \"{family}\"\n"));
        assert!(model.program.has_factor() && model.program.row_terms().is_empty());
        check(&model, Bound::Analytic { beta: 1.0 }, 2);
        check(&model, Bound::MonteCarlo { beta: 1.0, path_only: false }, 2);
    }
}

#[test]
fn counts_of_trials_and_waiting_times() {
    let variables = r#"
[variables.n]
plates = ["row"]
distribution = "binomial"
trials = "count + 2"
logit = "rate(z)"
observed = "count"
[variables.m]
plates = ["row"]
distribution = "negative-binomial"
mean = "exp(class_net(z))"
dispersion = 0.4
observed = "count"
[variables.a]
plates = ["row", "feature"]
distribution = "student-t"
degrees_of_freedom = 5.0
mean = "second(z)"
precision = 2.0
observed = "y"
[variables.w]
plates = ["row", "feature"]
distribution = "gamma"
shape = 1.5
rate = "exp(spread(z))"
observed = "exp(y)"
"#;
    let text = DATA.replace("class = 3", "class = 3\nfeature = { columns = \"y\" }");
    let model = small_models::model(&format!("{text}{LATENT}{variables}"));
    assert_eq!(model.program.row_terms().len(), 4);
    for bound in [Bound::Analytic { beta: 1.0 }, Bound::ImportanceWeighted { doubly: false }] {
        check(&model, bound, 2);
    }
}

/// What the row program has no kernels for: priors of priors, gates, mixtures as priors, matrices, truncation.
#[test]
fn the_log_joint_serves_what_layers_do_not() {
    let variables = r#"
[variables.weights]
distribution = "dirichlet"
dimension = "class"
concentration = 2.0
[variables.width]
distribution = "half-normal"
sd = 1.0
[variables.centre]
plates = ["class"]
distribution = "normal"
dimension = "code"
mean = 0.0
sd = "width"
[variables.kind]
plates = ["row"]
distribution = "categorical"
probabilities = "weights"
[variables.z]
plates = ["row"]
distribution = "normal"
dimension = "code"
mean = "centre[kind]"
sd = 1.3
amortized = "encoder(x)"
covariance = "full"
[variables.part]
plates = ["row", "pixel"]
distribution = "categorical"
probabilities = "weights"
[variables.shift]
plates = ["class"]
distribution = "normal"
mean = 0.0
sd = "width"
point = true
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(z) + shift[part]"
observed = "x"
[variables.precision]
distribution = "wishart"
dimension = "y"
degrees_of_freedom = 4.0
scale = 0.5
[variables.a]
plates = ["row"]
distribution = "normal"
dimension = "y"
mean = "second(z)"
precision = "precision"
observed = "y"
[variables.n]
plates = ["row"]
distribution = "normal"
mean = "rate(z)"
sd = 2.0
lower = -1.0
observed = "count"
"#;
    let text = DATA.replace("class = 3", "class = 3\ncode = 3");
    for family in ["mean-field", "low-rank"] {
        let text = format!("{text}{variables}[inference]\nfamily = \"{family}\"\n");
        let model = small_models::model(&text);
        let names: Vec<(&str, bool)> = model.program.row_terms().iter().map(|t| (t.name.as_str(), t.prior)).collect();
        assert_eq!(names, [("kind", true), ("part", false), ("a", false), ("n", false)]);
        check(&model, Bound::Analytic { beta: 0.7 }, 2);
        check(&model, Bound::ImportanceWeighted { doubly: false }, 2);
    }
}

/// Amortised variables whose values are bounded: exp and logistic of what the networks draw, with their derivatives in the bound.
#[test]
fn latents_on_parts_of_the_line() {
    let variables = r#"
[variables.rate]
plates = ["row"]
distribution = "gamma"
shape = 2.0
rate = 0.8
amortized = "second(y)"
[variables.share]
plates = ["row"]
distribution = "beta"
alpha = 2.0
beta = 1.5
amortized = "encoder(x)"
[variables.above]
plates = ["row"]
distribution = "normal"
mean = 0.0
sd = 1.2
lower = -1.0
amortized = "class_net(x)"
[variables.below]
plates = ["row"]
distribution = "logistic"
location = 0.0
scale = 0.7
upper = 2.0
amortized = "rate_net(y)"
[variables.within]
plates = ["row"]
distribution = "uniform"
lower = -1.0
upper = 2.0
amortized = "spread(y)"
[variables.n]
plates = ["row"]
distribution = "poisson"
rate = "rate + share"
observed = "count"
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(share, above) + below * within"
observed = "x"
"#;
    let text = DATA.replace("[networks.rate]", "[networks.rate_net]");
    let model = small_models::model(&format!("{text}{variables}"));
    check(&model, Bound::Analytic { beta: 1.0 }, 2);
    check(&model, Bound::ImportanceWeighted { doubly: false }, 2);
}

/// Shares with a Dirichlet prior, which a network and a density of the log joint read.
#[test]
fn shares_of_a_whole() {
    for covariance in ["diagonal", "full"] {
        let variables = format!(
            r#"
[variables.pi]
plates = ["row"]
distribution = "dirichlet"
dimension = "class"
concentration = 0.7
amortized = "second(x)"
covariance = "{covariance}"
[variables.n]
plates = ["row"]
distribution = "poisson"
rate = "dot(rates, pi)"
observed = "count"
[variables.pixels]
plates = ["row", "pixel"]
distribution = "bernoulli"
logit = "decoder(pi)"
observed = "x"
"#
        );
        let data = DATA.replace("count =", "rates = { axes = [\"class\"], values = [0.5, 2.0, 4.0] }\ncount =");
        let model = small_models::model(&format!("{data}{variables}"));
        check(&model, Bound::Analytic { beta: 1.0 }, 2);
        check(&model, Bound::MonteCarlo { beta: 0.7, path_only: false }, 2);
        check(&model, Bound::ImportanceWeighted { doubly: false }, 2);
    }
}
