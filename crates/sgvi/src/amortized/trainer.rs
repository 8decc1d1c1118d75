//! One optimiser step over a batch: parts in parallel, then slices of parameters in parallel, sums in a fixed order.

use super::bound::{Bound, Totals};
use super::model::AmortizedModel;
use super::part::{Drawing, Part, Pass};
use super::program::{Operation, Point, Program, SlotId};
use crate::network::dense::Step;
use crate::network::kernels::{Kernels, Processor};
use crate::network::layer::{Role, Use};
use crate::network::noise::StepNoise;
use crate::network::optimizer::{Optimizer, StepSize};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Parts that are in memory at a time; larger batches are worked off in waves.
const PARTS_IN_FLIGHT: usize = 32;

/// Numbers in a slice of parameters that one task works on.
const TASK_SIZE: usize = 19_200;

/// Threads that are kept awake during a step.
const MOST_AWAKE: usize = 8;

/// Rows in a part, which the number of threads does not change.
#[must_use]
pub fn rows_per_part(draws: usize) -> usize {
    (256 / draws.max(1)).clamp(4, 64)
}

/// A slice of the flat buffer whose gradient one task computes.
#[derive(Debug, Clone)]
struct Task {
    range: Range<usize>,
    what: TaskKind,
    trainable: bool,
}

#[derive(Debug, Clone)]
enum TaskKind {
    /// Rows of a layer's parameter, with (input slot, output slot, scratch) of every use.
    Layer { layer: usize, role: Role, rows: Range<usize>, uses: Vec<(SlotId, SlotId, usize)> },
    /// A point variable.
    Point(usize),
}

/// Parameters, optimiser state and memory of a training run.
#[derive(Debug)]
pub struct Trainer {
    /// All parameters.
    pub parameters: Vec<f32>,
    /// First moments of the optimiser.
    pub first: Vec<f32>,
    /// Second moments of the optimiser.
    pub second: Vec<f32>,
    /// Gradient of the last objective, per row: after [`Trainer::accumulate`] of everything, after [`Trainer::step`]
    /// of the points.
    pub gradient: Vec<f32>,
    parts: Vec<Part>,
    tasks: Vec<Task>,
    rows_per_part: usize,
    kernels: Processor,
}

/// What a step maximises and how.
#[derive(Debug, Clone, Copy)]
pub struct StepPlan {
    /// The bound.
    pub bound: Bound,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Its step size at this step.
    pub size: StepSize,
    /// The largest norm of the gradient, if it is limited.
    pub clip: Option<f64>,
}

/// A slice of every flat buffer.
struct Slices<'a> {
    task: &'a Task,
    parameters: &'a mut [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Trainer {
    /// Memory for batches of at most `batch` rows with `draws` draws each.
    #[must_use]
    pub fn new(program: &Program, parameters: Vec<f32>, batch: usize, draws: usize) -> Self {
        let rows_per_part = rows_per_part(draws);
        let num_parts = batch.div_ceil(rows_per_part).min(PARTS_IN_FLIGHT);
        let length = parameters.len();
        Self {
            first: vec![0.0; length],
            second: vec![0.0; length],
            gradient: vec![0.0; length],
            parameters,
            parts: (0..num_parts).map(|_| Part::new(program, rows_per_part, draws, true)).collect(),
            tasks: tasks(program),
            rows_per_part,
            kernels: Processor,
        }
    }

    /// One step on the rows of a batch; nothing is changed where the bound is not finite. Returns the sums of the bound
    /// before the step.
    pub fn step(&mut self, model: &AmortizedModel, rows: &[u32], noise: &StepNoise, plan: StepPlan) -> Totals {
        awake(|| self.step_awake(model, rows, noise, plan))
    }

    fn step_awake(&mut self, model: &AmortizedModel, rows: &[u32], noise: &StepNoise, plan: StepPlan) -> Totals {
        // Without a limit on the norm each slice is updated while its gradient is still in the cache.
        let fused = plan.clip.is_none().then_some(&plan);
        let totals = self.sweep(model, rows, noise, plan.bound, fused);
        let Some(limit) = plan.clip else { return totals };
        let norm = self.gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        if !totals.bound.is_finite() || !norm.is_finite() {
            return totals;
        }
        let shrink = (limit / norm).min(1.0) as f32;
        self.slices().into_par_iter().filter(|slices| slices.task.trainable).for_each(|slices| {
            if shrink < 1.0 {
                slices.gradient.iter_mut().for_each(|g| *g *= shrink);
            }
            plan.optimizer.update(plan.size, slices.parameters, slices.gradient, slices.first, slices.second);
        });
        totals
    }

    /// The bound of a batch and, in [`Trainer::gradient`], the gradient of its mean over rows plus that of the log prior
    /// of the points per row of the data.
    pub fn accumulate(&mut self, model: &AmortizedModel, rows: &[u32], noise: &StepNoise, bound: Bound) -> Totals {
        self.sweep(model, rows, noise, bound, None)
    }

    fn sweep(
        &mut self,
        model: &AmortizedModel,
        rows: &[u32],
        noise: &StepNoise,
        bound: Bound,
        update: Option<&StepPlan>,
    ) -> Totals {
        let weight: f64 = rows.iter().map(|&row| f64::from(model.weights[row as usize])).sum();
        let scale = if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 };
        let mut totals = Totals::zero(&model.program);
        let rows_per_wave = self.rows_per_part * self.parts.len().max(1);
        let num_waves = rows.len().div_ceil(rows_per_wave);
        for (wave, rows) in rows.chunks(rows_per_wave).enumerate() {
            let pass = Pass {
                program: &model.program,
                parameters: &self.parameters,
                sources: &model.sources,
                kernels: &self.kernels,
                noise,
                training: true,
                drawing: Drawing::Posterior,
                needed: None,
            };
            let rows_per_part = self.rows_per_part;
            let used = rows.len().div_ceil(rows_per_part);
            let sums: Vec<Totals> = self.parts[..used]
                .par_iter_mut()
                .zip(rows.par_chunks(rows_per_part))
                .map(|(part, rows)| {
                    part.assign(model, rows);
                    part.forward(&pass);
                    let sums = part.bound(&pass, bound, Some(scale));
                    part.backward(&pass);
                    sums
                })
                .collect();
            for sum in &sums {
                totals.merge(sum);
            }
            let last = wave + 1 == num_waves;
            let update = update.filter(|_| last && totals.bound.is_finite());
            self.gradients(model, used, wave == 0, last, update);
        }
        totals
    }

    /// Adds the gradients of the parts in memory to the flat buffer, slice by slice.
    fn gradients(
        &mut self,
        model: &AmortizedModel,
        used: usize,
        first_wave: bool,
        last_wave: bool,
        update: Option<&StepPlan>,
    ) {
        let program = &model.program;
        let total_weight = if last_wave { model.total_weight() } else { 0.0 };
        let parts = std::mem::take(&mut self.parts);
        let kernels = self.kernels;
        self.slices().into_par_iter().with_max_len(1).for_each(|slices| match &slices.task.what {
            TaskKind::Layer { .. } if !slices.task.trainable => {}
            TaskKind::Point(index) => {
                if first_wave {
                    slices.gradient.fill(0.0);
                }
                for part in &parts[..used] {
                    for (sum, &term) in slices.gradient.iter_mut().zip(&part.point_gradients[*index]) {
                        *sum += term;
                    }
                }
                if last_wave {
                    add_prior(&program.points[*index], total_weight, slices.parameters, slices.gradient);
                }
                if let Some(plan) = update.filter(|_| slices.task.trainable) {
                    let Slices { parameters, gradient, first, second, .. } = slices;
                    plan.optimizer.update(plan.size, parameters, gradient, first, second);
                }
            }
            TaskKind::Layer { layer, role, rows, uses } => {
                let layer = &program.layers[*layer];
                let uses: Vec<Use<'_>> = parts[..used]
                    .iter()
                    .flat_map(|part| uses.iter().map(move |at| (part, at)))
                    .map(|(part, &(input, output, scratch))| {
                        let slot = &program.slots[output];
                        let length = part.count(slot.level) * slot.width;
                        Use {
                            input: part.value(program, input),
                            output_adjoint: &part.adjoints[output][..length],
                            scratch: &part.scratches[scratch],
                        }
                    })
                    .collect();
                let (rows, gradient) = (rows.clone(), slices.gradient);
                let mut step = update.map(|plan| Step {
                    optimizer: plan.optimizer,
                    size: plan.size,
                    values: slices.parameters,
                    first: slices.first,
                    second: slices.second,
                });
                layer.gradient(&kernels, *role, rows, !first_wave, &uses, gradient, step.as_mut());
            }
        });
        self.parts = parts;
    }

    fn slices(&mut self) -> Vec<Slices<'_>> {
        let mut rest = (&mut self.parameters[..], &mut self.gradient[..], &mut self.first[..], &mut self.second[..]);
        let mut slices = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let length = task.range.len();
            let (parameters, a) = rest.0.split_at_mut(length);
            let (gradient, b) = rest.1.split_at_mut(length);
            let (first, c) = rest.2.split_at_mut(length);
            let (second, d) = rest.3.split_at_mut(length);
            rest = (a, b, c, d);
            slices.push(Slices { task, parameters, gradient, first, second });
        }
        slices
    }
}

/// Runs `work` with the pool's other threads looking for its tasks all the while: between the phases of a step they would
/// otherwise fall asleep and be woken again, which takes longer than the pause. A thread that is busy elsewhere is not
/// waited for.
fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    /// Sets the flag even where `work` panics.
    struct Finished<'a>(&'a AtomicBool);
    impl Drop for Finished<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let finished = AtomicBool::new(false);
    let helpers = rayon::current_num_threads().min(MOST_AWAKE).saturating_sub(1);
    rayon::scope(|scope| {
        let last = Finished(&finished);
        for _ in 0..helpers {
            scope.spawn(|_| {
                while !finished.load(Ordering::Acquire) {
                    if rayon::yield_now() != Some(rayon::Yield::Executed) {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let result = work();
        drop(last);
        result
    })
}

impl Part {
    /// Takes over rows of the data.
    pub fn assign(&mut self, model: &AmortizedModel, rows: &[u32]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.weights.clear();
        self.weights.extend(rows.iter().map(|&row| model.weights[row as usize]));
    }
}

/// Adds to the gradient that of a point's log prior, per row of the data.
fn add_prior(point: &Point, total_weight: f64, parameters: &[f32], gradient: &mut [f32]) {
    let Some((kernel, arguments)) = point.prior else { return };
    for (slope, &theta) in gradient.iter_mut().zip(parameters) {
        let (value, derivative) = point.transform.value_and_slope(theta);
        let mut arguments = arguments;
        arguments[0] = f64::from(value);
        let (_, partials) = kernel.at(&arguments, &[true, false, false, false, false]);
        *slope += (partials[0] * f64::from(derivative) / total_weight) as f32;
    }
}

/// Cuts the flat buffer into slices: rows of matrices, whole vectors.
fn tasks(program: &Program) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (id, view) in program.layout.views().iter().enumerate() {
        if let Some(index) = program.points.iter().position(|point| point.view == id) {
            tasks.push(Task { range: view.range.clone(), what: TaskKind::Point(index), trainable: view.trainable });
            continue;
        }
        let Some((layer, role)) = program.layers.iter().enumerate().find_map(|(index, layer)| {
            if layer.weight == Some(id) {
                Some((index, Role::Weight))
            } else if layer.bias == Some(id) {
                Some((index, Role::Bias))
            } else {
                None
            }
        }) else {
            continue;
        };
        let uses: Vec<(SlotId, SlotId, usize)> = program
            .operations
            .iter()
            .filter_map(|operation| match *operation {
                Operation::Layer { layer: used, scratch, input, output } if used == layer => {
                    Some((input, output, scratch))
                }
                _ => None,
            })
            .collect();
        let (rows, width) = match view.shape[..] {
            [rows, width] => (rows, width),
            _ => (1, view.range.len()),
        };
        let step = if rows > 1 { (TASK_SIZE / width.max(1)).clamp(1, rows) } else { 1 };
        for start in (0..rows).step_by(step) {
            let end = (start + step).min(rows);
            tasks.push(Task {
                range: view.range.start + start * width..view.range.start + end * width,
                what: TaskKind::Layer { layer, role, rows: start..end, uses: uses.clone() },
                trainable: view.trainable,
            });
        }
    }
    tasks
}

/// The sums of a bound over rows, with parts in parallel; nothing is learned.
#[must_use]
pub fn evaluate(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    draws: usize,
    noise: &StepNoise,
    bound: Bound,
) -> Totals {
    let mut totals = Totals::zero(&model.program);
    for_parts(model, parameters, rows, draws, noise, Drawing::Posterior, None, |part, pass| {
        part.bound(pass, bound, None)
    })
    .iter()
    .for_each(|sum| totals.merge(sum));
    totals
}

/// Runs the program forward over rows and collects what `read` takes from every part, in the order of the rows.
#[allow(clippy::too_many_arguments)]
pub fn for_parts<T: Send>(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    draws: usize,
    noise: &StepNoise,
    drawing: Drawing,
    needed: Option<&[bool]>,
    read: impl Fn(&mut Part, &Pass<'_>) -> T + Sync,
) -> Vec<T> {
    let pass = Pass {
        program: &model.program,
        parameters,
        sources: &model.sources,
        kernels: &Processor as &dyn Kernels,
        noise,
        training: false,
        drawing,
        needed,
    };
    let size = rows_per_part(draws);
    rows.par_chunks(size)
        .map_init(
            || Part::new(&model.program, size, draws, false),
            |part, rows| {
                part.assign(model, rows);
                part.forward(&pass);
                read(part, &pass)
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const DATA: &str = r#"
[data.values]
x = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1]]
y = [[0.2, -1.0], [0.5, 0.3], [-0.7, 1.2], [1.1, 0.4], [0.0, -0.6]]
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
        let graph = vi_model::load_str(&format!("{DATA}{variables}"), "test.toml", Path::new(".")).unwrap();
        AmortizedModel::new(&graph).unwrap()
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
        let gradient = trainer.gradient.clone();
        let evaluated = evaluate(model, &parameters, &rows, draws, &noise, bound);
        assert!((per_row(exact) - per_row(evaluated)).abs() < 1e-9);
        let step = 4e-3_f32;
        let mut largest = 0.0_f64;
        for index in 0..parameters.len() {
            let at = |sign: f32| {
                let mut moved = parameters.clone();
                moved[index] += sign * step;
                let prior: f64 = super::super::training::log_priors(model, &moved).iter().sum();
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
                for (sum, &g) in sums.iter_mut().zip(&trainer.gradient) {
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
                assert!(
                    (m - n).abs() < 5.0 * (s * s + t * t).sqrt() + 1e-4,
                    "{name} {index}: {m} ± {s} against {n} ± {t}"
                );
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
                trainer.parameters
            })
        };
        assert_eq!(run(1), run(3));
    }
}
