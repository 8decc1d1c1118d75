//! One optimiser step over a batch: parts in parallel, then slices of parameters in parallel, sums in a fixed order.

use super::bound::{Bound, Totals};
use super::globals::GlobalDraw;
use super::model::AmortizedModel;
use super::part::{Drawing, Part, Pass};
use super::program::{Operation, Program, SlotId};
use crate::crew::{Crew, Deal};
use crate::network::aligned::Aligned;
use crate::network::dense::Step;
use crate::network::kernels::{Kernels, Processor};
use crate::network::layer::{Role, Use};
use crate::network::noise::StepNoise;
use crate::network::optimizer::{Optimizer, StepSize};
use crate::network::parameters::ViewId;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// Parts that are in memory at a time; larger batches are worked off in waves.
const PARTS_IN_FLIGHT: usize = 32;

/// Numbers in a slice of parameters that one task works on, at least.
const TASK_SIZE: usize = 19_200;

/// Numbers that one task copies.
const COPIED_AT_A_TIME: usize = 1 << 16;

/// Parts of a batch above which the slices grow with the batch, up to [`LARGEST_TASK`] times that size.
const FEW_PARTS: usize = 4;

/// See [`FEW_PARTS`].
const LARGEST_TASK: usize = 4;

/// Rows in a part, which the number of threads does not change.
#[must_use]
pub(crate) fn rows_per_part(draws: usize) -> usize {
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
    /// Rows of a layer's parameter, with every use of it.
    Layer { layer: usize, role: Role, rows: Range<usize>, uses: Vec<LayerUse> },
    /// A point variable, or the factor of the other variables outside the rows' plate.
    Global(ViewId),
}

/// One use of a layer.
#[derive(Debug, Clone, Copy)]
struct LayerUse {
    input: SlotId,
    output: SlotId,
    scratch: usize,
    /// Whether the bias was added.
    with_bias: bool,
}

/// Parameters, optimiser state and memory of a training run.
#[derive(Debug)]
pub(crate) struct Trainer {
    /// All parameters.
    pub parameters: Aligned,
    /// First moments of the optimiser.
    pub first: Aligned,
    /// Second moments of the optimiser.
    pub second: Aligned,
    /// Gradient of the last objective, per row: after [`Trainer::accumulate`] of everything, after [`Trainer::step`]
    /// of the points.
    pub gradient: Aligned,
    /// That of the rows' terms in the coordinates of variables outside the rows' plate.
    by_theta: Vec<f64>,
    parts: Vec<Part>,
    tasks: Vec<Task>,
    rows_per_part: usize,
    kernels: Processor,
    crew: Arc<Crew>,
}

/// What a step maximises and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepPlan {
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
    pub(crate) fn new(program: &Program, parameters: Vec<f32>, batch: usize, draws: usize) -> Self {
        let rows_per_part = rows_per_part(draws);
        let num_parts = batch.div_ceil(rows_per_part).min(PARTS_IN_FLIGHT);
        let length = parameters.len();
        Self {
            first: Aligned::zeros(length),
            second: Aligned::zeros(length),
            gradient: Aligned::zeros(length),
            parameters: Aligned::of(&parameters),
            by_theta: Vec::new(),
            parts: (0..num_parts).map(|_| Part::new(program, rows_per_part, draws, true)).collect(),
            tasks: tasks(program, task_size(length, num_parts)),
            rows_per_part,
            kernels: Processor,
            crew: Arc::default(),
        }
    }

    /// One step on the rows of a batch; nothing is changed where the bound is not finite. Returns the sums of the bound
    /// before the step.
    pub(crate) fn step(&mut self, model: &AmortizedModel, rows: &[u32], noise: &StepNoise, plan: StepPlan) -> Totals {
        // Without a limit on the norm each slice is updated while its gradient is still in the cache.
        let fused = plan.clip.is_none().then_some(&plan);
        let totals = self.sweep(model, rows, noise, plan.bound, fused);
        let Some(limit) = plan.clip else { return totals };
        let norm = self.gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        if !totals.bound.is_finite() || !norm.is_finite() {
            return totals;
        }
        let shrink = (limit / norm).min(1.0) as f32;
        let crew = Arc::clone(&self.crew);
        crew.map(Deal::InTurn, self.slices().into_iter().filter(|slices| slices.task.trainable), |slices| {
            if shrink < 1.0 {
                slices.gradient.iter_mut().for_each(|g| *g *= shrink);
            }
            plan.optimizer.update(plan.size, slices.parameters, slices.gradient, slices.first, slices.second);
        });
        totals
    }

    /// The bound of a batch and, in [`Trainer::gradient`], the gradient of its mean over rows plus that of the log prior
    /// of the points per row of the data.
    pub(crate) fn accumulate(
        &mut self,
        model: &AmortizedModel,
        rows: &[u32],
        noise: &StepNoise,
        bound: Bound,
    ) -> Totals {
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
        let drawn = model.program.draw_globals(&self.parameters, Some(noise));
        let rows_per_wave = self.rows_per_part * self.parts.len().max(1);
        let num_waves = rows.len().div_ceil(rows_per_wave);
        for (wave, rows) in rows.chunks(rows_per_wave).enumerate() {
            let pass = Pass {
                program: &model.program,
                parameters: &self.parameters,
                sources: &model.sources,
                kernels: &self.kernels,
                globals: &drawn,
                noise,
                training: true,
                drawing: bound.drawing(),
                needed: None,
            };
            let rows_per_part = self.rows_per_part;
            let used = rows.len().div_ceil(rows_per_part);
            let parts = self.parts[..used].iter_mut().zip(rows.chunks(rows_per_part));
            let sums = self.crew.map(Deal::Again, parts, |(part, rows)| {
                part.assign(model, rows);
                part.forward(&pass);
                let sums = part.bound(&pass, bound, Some(scale));
                part.backward(&pass);
                sums
            });
            for sum in &sums {
                totals.merge(sum);
            }
            let last = wave + 1 == num_waves;
            let update = update.filter(|_| last && totals.bound.is_finite());
            let closed_form = matches!(bound, Bound::ClosedForm { .. });
            self.gradients(model, used, [wave == 0, last], closed_form, &drawn, update);
        }
        totals
    }

    /// Adds the gradients of the parts in memory to the flat buffer, slice by slice.
    #[allow(clippy::too_many_arguments)]
    fn gradients(
        &mut self,
        model: &AmortizedModel,
        used: usize,
        [first_wave, last_wave]: [bool; 2],
        closed_form: bool,
        drawn: &GlobalDraw,
        update: Option<&StepPlan>,
    ) {
        let program = &model.program;
        let mut of_globals = Vec::new();
        if let Some(globals) = &program.globals {
            if first_wave {
                self.by_theta.clear();
                self.by_theta.resize(drawn.theta.len(), 0.0);
            }
            for part in &self.parts[..used] {
                self.by_theta.iter_mut().zip(part.joint.gradient()).for_each(|(sum, term)| *sum += term);
            }
            if last_wave {
                let weight = model.total_weight();
                of_globals = globals.gradients(&program.layout, &self.parameters, drawn, &self.by_theta, weight);
            }
        }
        let parts = std::mem::take(&mut self.parts);
        let (crew, kernels) = (Arc::clone(&self.crew), self.kernels);
        crew.map(Deal::InTurn, self.slices(), |slices| match &slices.task.what {
            TaskKind::Layer { .. } if !slices.task.trainable => {}
            TaskKind::Global(id) => {
                if let Some((_, gradient)) = of_globals.iter().find(|(view, _)| view == id) {
                    slices.gradient.copy_from_slice(gradient);
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
                    .filter(|(_, at)| at.with_bias || closed_form && *role == Role::Weight)
                    .map(|(part, &LayerUse { input, output, scratch, .. })| {
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

    /// Copies the parameters and the moments to buffers of their length.
    pub(crate) fn copy_state(&self, targets: [&mut [f32]; 3]) {
        let sources = [&self.parameters, &self.first, &self.second];
        let pieces = sources
            .into_iter()
            .zip(targets)
            .flat_map(|(source, target)| source.chunks(COPIED_AT_A_TIME).zip(target.chunks_mut(COPIED_AT_A_TIME)));
        self.crew.map(Deal::InTurn, pieces, |(source, target)| target.copy_from_slice(source));
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
        // The largest first, so that the threads end at nearly the same time.
        slices.sort_by_key(|slices| Reverse((slices.task.range.len(), slices.task.range.start)));
        slices
    }
}

impl Part {
    /// Takes over rows of the data.
    pub(crate) fn assign(&mut self, model: &AmortizedModel, rows: &[u32]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.weights.clear();
        self.weights.extend(rows.iter().map(|&row| model.weights[row as usize]));
    }
}

/// Every task reads the adjoints of the whole batch, so that there should be fewer of them where the batch is large, but
/// enough for all threads. How the parameters are cut changes no sum.
fn task_size(num_parameters: usize, num_parts: usize) -> usize {
    let size = TASK_SIZE * (num_parts / FEW_PARTS).clamp(1, LARGEST_TASK);
    size.min(num_parameters / (4 * rayon::current_num_threads())).max(TASK_SIZE)
}

/// Cuts the flat buffer into slices of about `size` numbers: rows of matrices, whole vectors.
fn tasks(program: &Program, size: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (id, view) in program.layout.views().iter().enumerate() {
        let factor = program.globals.as_ref().and_then(|globals| globals.factor.as_ref());
        if factor.is_some_and(|factor| factor.view == id) || program.points().iter().any(|point| point.view == id) {
            tasks.push(Task { range: view.range.clone(), what: TaskKind::Global(id), trainable: view.trainable });
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
        let uses: Vec<LayerUse> = program
            .operations
            .iter()
            .filter_map(|operation| {
                let (used, scratch, input, output, with_bias) = match *operation {
                    Operation::Layer { layer, scratch, input, output } => (layer, scratch, input, output, true),
                    Operation::Linear { layer, scratch, input, output } => (layer, scratch, input, output, false),
                    _ => return None,
                };
                (used == layer).then_some(LayerUse { input, output, scratch, with_bias })
            })
            .collect();
        let (rows, width) = match view.shape[..] {
            [rows, width] => (rows, width),
            _ => (1, view.range.len()),
        };
        // Of equal height, and whole tiles of the gradient.
        let most = (size / width.max(1)).clamp(1, rows);
        let step = rows.div_ceil(rows.div_ceil(most)).next_multiple_of(6);
        for start in (0..rows).step_by(step) {
            let end = (start + step).min(rows);
            tasks.push(Task {
                range: view.range.start + start * width..view.range.start + end * width,
                what: TaskKind::Layer { layer, role, rows: start..end, uses: uses.clone() },
                trainable: view.trainable,
            });
        }
    }
    tasks.sort_by_key(|task| task.range.start);
    tasks
}

/// The sums of a bound over rows, with parts in parallel; nothing is learned.
#[must_use]
pub(crate) fn evaluate(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    draws: usize,
    noise: &StepNoise,
    bound: Bound,
) -> Totals {
    let mut totals = Totals::zero(&model.program);
    let draws = if let Bound::ClosedForm { .. } = bound { 1 } else { draws };
    for_parts(model, parameters, rows, draws, noise, bound.drawing(), None, |part, pass| part.bound(pass, bound, None))
        .iter()
        .for_each(|sum| totals.merge(sum));
    totals
}

/// Runs the program forward over rows and collects what `read` takes from every part, in the order of the rows.
#[allow(clippy::too_many_arguments)]
pub(crate) fn for_parts<T: Send>(
    model: &AmortizedModel,
    parameters: &[f32],
    rows: &[u32],
    draws: usize,
    noise: &StepNoise,
    drawing: Drawing,
    needed: Option<&[bool]>,
    read: impl Fn(&mut Part, &Pass<'_>) -> T + Sync,
) -> Vec<T> {
    let drawn = model.program.draw_globals(parameters, drawing.draws_globals().then_some(noise));
    let pass = Pass {
        program: &model.program,
        parameters,
        sources: &model.sources,
        kernels: &Processor as &dyn Kernels,
        globals: &drawn,
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
mod tests;
