//! The curvature of a closed-form bound in every layer and point, as a metric for its search.
//!
//! A bound in closed form is a sum of squares in the output of every layer and in every point, up to logarithms. A dense
//! layer with input x (and 1 for the bias) and output curvature H has the Hessian E[x xᵀ] ⊗ H in its weights: exact for
//! the layer of a decoder, and for that of an encoder, where H follows from the Gram matrix of the decoder. Between layers
//! the metric is block-diagonal (Martens & Grosse 2015).

use super::curvature::{Curvatures, coordinate_gram};
use super::model::AmortizedModel;
use super::part::{Drawing, Part, Pass};
use super::program::{DataNode, Latent, Level, Operation, Program, SlotId};
use super::trainer::for_parts;
use crate::network::kernels::Processor;
use crate::network::layer::Kind;
use crate::network::noise::StepNoise;
use nalgebra::{Cholesky, DMatrix, Dyn};
use std::ops::Range;

/// The widest input whose second moments are kept.
const MAX_INPUT: usize = 2048;

/// What is added to the second moments of an input, as a fraction of their mean.
const DAMPING: f64 = 1e-4;

type Factor = Cholesky<f64, Dyn>;

/// What is known of a layer before its curvature is asked for.
#[derive(Debug)]
struct LayerInput {
    layer: usize,
    input: SlotId,
    output: SlotId,
    /// How the input changes along the coordinates, where it depends on draws.
    direction: Option<SlotId>,
    /// The factored second moments of an input that is data.
    fixed: Option<Factor>,
}

/// Where the curvature of a closed-form bound is known.
#[derive(Debug)]
pub(super) struct Metric {
    layers: Vec<LayerInput>,
    /// For every observed variable the fraction of the rows in which each cell is present.
    presence: Vec<Vec<f64>>,
}

/// One block of the metric at a point: it maps a gradient to a step.
#[derive(Debug)]
pub(super) enum Block {
    /// Of a dense layer.
    Layer {
        /// Place of the weight, `[inputs, outputs]`.
        weight: Range<usize>,
        /// Place of the bias.
        bias: Range<usize>,
        /// Second moments of the input and 1.
        inputs: Factor,
        /// Curvature of groups of outputs.
        outputs: Vec<(Vec<usize>, Factor)>,
    },
    /// Of a point variable: its place, and the curvature of each number.
    Point(Range<usize>, Vec<f64>),
}

/// Sums over rows that the metric at a point needs.
struct Moments {
    weight: f64,
    /// For every layer with a random input: Σ x̃ x̃ᵀ of the means, `[inputs + 1, inputs + 1]`.
    inputs: Vec<Vec<f64>>,
    /// Σ of the covariance A·Aᵀ of all coordinates.
    covariance: Vec<f64>,
    /// For every latent variable Σ aᵢᵢ².
    squares: Vec<Vec<f64>>,
}

impl Metric {
    /// The metric of a model, or `None` where the bound has no closed form or the curvature of some layer is not known.
    pub(super) fn new(model: &AmortizedModel, parameters: &[f32], rows: &[u32]) -> Option<Self> {
        let program = &model.program;
        if !program.closed_form || program.has_factor() {
            return None;
        }
        let mut layers = Vec::new();
        for (index, layer) in program.layers.iter().enumerate() {
            let uses: Vec<(SlotId, SlotId)> = program
                .operations
                .iter()
                .filter_map(|operation| match *operation {
                    Operation::Layer { layer, input, output, .. } if layer == index => Some((input, output)),
                    _ => None,
                })
                .collect();
            let &[(input, output)] = &uses[..] else { return None };
            let dense =
                layer.kind == Kind::Dense && layer.activation == crate::network::activation::Activation::Identity;
            if !dense || layer.input_width > MAX_INPUT {
                return None;
            }
            let direction = program.operations.iter().find_map(|operation| match *operation {
                Operation::Linear { layer, input, .. } if layer == index => Some(input),
                _ => None,
            });
            let random = program.slots[input].level == Level::Sample;
            if random != direction.is_some() || program.slots[input].differentiable != random {
                return None;
            }
            layers.push(LayerInput { layer: index, input, output, direction, fixed: None });
        }
        let presence = presence(model, rows);
        let mut metric = Self { layers, presence };
        for at in 0..metric.layers.len() {
            if metric.layers[at].direction.is_none() {
                let moments = metric.input_moments(model, parameters, rows, at);
                let size = program.layers[metric.layers[at].layer].input_width + 1;
                metric.layers[at].fixed = Some(factor(DMatrix::from_row_slice(size, size, &moments))?);
            }
        }
        metric.at(model, parameters, rows).map(|_| metric)
    }

    /// The blocks at some parameters; `None` where a curvature is not known or not positive.
    pub(super) fn at(&self, model: &AmortizedModel, parameters: &[f32], rows: &[u32]) -> Option<Vec<Block>> {
        let program = &model.program;
        let mut part = Part::new(program, 1, 1, false);
        part.assign(model, &rows[..1]);
        let noise = StepNoise::new(0, 0);
        let drawn = program.draw_globals(parameters, None);
        let pass = Pass {
            program,
            parameters,
            sources: &model.sources,
            kernels: &Processor,
            globals: &drawn,
            noise: &noise,
            training: false,
            drawing: Drawing::PosteriorMean,
            needed: None,
        };
        part.forward(&pass);
        let gram = coordinate_gram(program, &part, &self.presence)?;
        let curvatures = Curvatures::new(program, &part, &self.presence)?;
        let moments = self.moments(model, parameters, rows);
        let mut blocks = Vec::with_capacity(self.layers.len() + program.points().len());
        for (at, known) in self.layers.iter().enumerate() {
            let layer = &program.layers[known.layer];
            let (weight, bias) = (layer.weight?, layer.bias?);
            let inputs = match &known.fixed {
                Some(factor) => factor.clone(),
                None => {
                    let size = layer.input_width + 1;
                    let mut matrix = DMatrix::from_row_slice(size, size, &moments.inputs[at]);
                    add_spread(&mut matrix, program, &part, known.direction?, &moments.covariance);
                    factor(matrix / moments.weight)?
                }
            };
            let latent = program.latents.iter().position(|latent| latent.parameters == known.output);
            let outputs = match latent {
                Some(index) => latent_curvature(program, index, &gram, &moments)?,
                None => curvatures
                    .of(known.output)?
                    .iter()
                    .enumerate()
                    .map(|(i, &c)| Some((vec![i], Cholesky::new(DMatrix::from_element(1, 1, c))?)))
                    .collect::<Option<Vec<_>>>()?,
            };
            let views = program.layout.views();
            let (weight, bias) = (views[weight].range.clone(), views[bias].range.clone());
            blocks.push(Block::Layer { weight, bias, inputs, outputs });
        }
        for point in program.points() {
            let view = &program.layout.views()[point.view];
            if view.trainable {
                blocks.push(Block::Point(view.range.clone(), curvatures.of_point(program, &drawn.theta, point)?));
            }
        }
        Some(blocks)
    }

    /// Σ w·x̃·x̃ᵀ over the rows, with x̃ the input of a layer and 1, divided by Σ w.
    fn input_moments(&self, model: &AmortizedModel, parameters: &[f32], rows: &[u32], at: usize) -> Vec<f64> {
        let program = &model.program;
        let input = self.layers[at].input;
        let size = program.slots[input].width + 1;
        let needed = program.needed(&[input], true);
        let noise = StepNoise::new(0, 0);
        let mut sums = vec![0.0_f64; size * size];
        let mut total = 0.0;
        // Some hundred rows at a time, whose products are added as 32-bit numbers.
        for rows in rows.chunks(4096) {
            let parts =
                for_parts(model, parameters, rows, 1, &noise, Drawing::PosteriorMean, Some(&needed), |part, _| {
                    let values = part.value(program, input);
                    let global = program.slots[input].level == Level::Global;
                    let mut table = Vec::with_capacity(part.rows.len() * size);
                    for (row, &weight) in part.weights.iter().enumerate() {
                        let row = if global { 0 } else { row };
                        let root = weight.sqrt();
                        table.extend(values[row * (size - 1)..(row + 1) * (size - 1)].iter().map(|&x| root * x));
                        table.push(root);
                    }
                    table
                });
            let table: Vec<f32> = parts.concat();
            let count = table.len() / size;
            let matrix = crate::network::kernels::Matrix::new(&table, count, size);
            let mut product = vec![0.0_f32; size * size];
            crate::network::kernels::Kernels::product(&Processor, &mut product, false, matrix.transpose(), matrix);
            for (sum, &term) in sums.iter_mut().zip(&product) {
                *sum += f64::from(term);
            }
            total += rows.iter().map(|&row| f64::from(model.weights[row as usize])).sum::<f64>();
        }
        sums.iter_mut().for_each(|sum| *sum /= total);
        sums
    }

    fn moments(&self, model: &AmortizedModel, parameters: &[f32], rows: &[u32]) -> Moments {
        let program = &model.program;
        let n = program.num_coordinates();
        let random: Vec<SlotId> =
            self.layers.iter().filter(|l| l.direction.is_some()).map(|layer| layer.input).collect();
        let targets: Vec<SlotId> =
            random.iter().copied().chain(program.latents.iter().map(|latent| latent.output)).collect();
        let needed = program.needed(&targets, true);
        let noise = StepNoise::new(0, 0);
        let zero = || Moments {
            weight: 0.0,
            inputs: self
                .layers
                .iter()
                .map(|l| vec![0.0; if l.direction.is_some() { (program.slots[l.input].width + 1).pow(2) } else { 0 }])
                .collect(),
            covariance: vec![0.0; n * n],
            squares: program.latents.iter().map(|latent| vec![0.0; latent.width]).collect(),
        };
        let parts = for_parts(model, parameters, rows, 1, &noise, Drawing::PosteriorMean, Some(&needed), |part, _| {
            let mut sums = zero();
            for (row, &weight) in part.weights.iter().enumerate() {
                let weight = f64::from(weight);
                sums.weight += weight;
                for (layer, sum) in self.layers.iter().zip(&mut sums.inputs) {
                    if layer.direction.is_some() {
                        let width = program.slots[layer.input].width;
                        let x = &part.values[layer.input][row * width..(row + 1) * width];
                        add_outer_product(sum, weight, x);
                    }
                }
                let mut offset = 0;
                for (index, latent) in program.latents.iter().enumerate() {
                    let place = if program.slots[latent.parameters].level == Level::Global { 0 } else { row };
                    let width = program.slots[latent.parameters].width;
                    let parameters = &part.values[latent.parameters][place * width..(place + 1) * width];
                    let root = root_of(latent, parameters, &part.scales[index][place * latent.width..]);
                    for i in 0..latent.width {
                        sums.squares[index][i] += weight * root[(i, i)].powi(2);
                        for j in 0..latent.width {
                            sums.covariance[(offset + i) * n + offset + j] += weight * root.row(i).dot(&root.row(j));
                        }
                    }
                    offset += latent.width;
                }
            }
            sums
        });
        let mut total = zero();
        for part in parts {
            total.weight += part.weight;
            let pairs = total.inputs.iter_mut().zip(&part.inputs).chain(total.squares.iter_mut().zip(&part.squares));
            for (sum, term) in pairs.chain([(&mut total.covariance, &part.covariance)]) {
                for (a, b) in sum.iter_mut().zip(term) {
                    *a += b;
                }
            }
        }
        total
    }
}

impl Block {
    /// Writes to `step` the step that the block makes of a gradient.
    pub(super) fn apply(&self, gradient: &[f64], step: &mut [f64]) {
        match self {
            Self::Point(range, curvatures) => {
                for (index, curvature) in range.clone().zip(curvatures) {
                    step[index] = gradient[index] / curvature;
                }
            }
            Self::Layer { weight, bias, inputs, outputs } => {
                let width = bias.len();
                let rows = weight.len() / width.max(1) + 1;
                let mut matrix = DMatrix::from_fn(rows, width, |i, j| {
                    if i + 1 < rows { gradient[weight.start + i * width + j] } else { gradient[bias.start + j] }
                });
                inputs.solve_mut(&mut matrix);
                for (group, factor) in outputs {
                    let columns = matrix.select_columns(group);
                    let solved = factor.solve(&columns.transpose());
                    for (place, &j) in group.iter().enumerate() {
                        for i in 0..rows {
                            let index = if i + 1 < rows { weight.start + i * width + j } else { bias.start + j };
                            step[index] = solved[(place, i)];
                        }
                    }
                }
            }
        }
    }
}

/// The fraction of the rows in which each cell of every observed variable is present.
fn presence(model: &AmortizedModel, rows: &[u32]) -> Vec<Vec<f64>> {
    let program = &model.program;
    program
        .observed
        .iter()
        .map(|observed| {
            let width = program.slots[observed.data].width;
            let source = program.operations.iter().find_map(|operation| match operation {
                Operation::Data { source, output } if *output == observed.data => Some(*source),
                _ => None,
            });
            let Some(source) = source.filter(|&s| matches!(program.sources[s], DataNode::Expression(..))) else {
                return vec![1.0; width];
            };
            let (mut counts, mut total) = (vec![0.0; width], 0.0);
            for &row in rows {
                let weight = f64::from(model.weights[row as usize]);
                total += weight;
                let values = &model.sources[source].values[row as usize * width..(row as usize + 1) * width];
                for (count, value) in counts.iter_mut().zip(values) {
                    *count += if value.is_nan() { 0.0 } else { weight };
                }
            }
            counts.into_iter().map(|count| count / total).collect()
        })
        .collect()
}

/// The factor of a matrix after its diagonal (but for the bias') was raised a little.
fn factor(mut matrix: DMatrix<f64>) -> Option<Factor> {
    let last = matrix.nrows() - 1;
    let mean = (0..last).map(|i| matrix[(i, i)]).sum::<f64>() / last.max(1) as f64;
    for i in 0..last {
        matrix[(i, i)] += DAMPING * mean + f64::MIN_POSITIVE;
    }
    matrix[(last, last)] *= 1.0 + 1e-9;
    Cholesky::new(matrix)
}

/// sums += weight·x̃·x̃ᵀ with x̃ = (x, 1).
fn add_outer_product(sums: &mut [f64], weight: f64, x: &[f32]) {
    let size = x.len() + 1;
    let at = |i: usize| x.get(i).map_or(1.0, |&x| f64::from(x));
    for i in 0..size {
        let scaled = weight * at(i);
        for j in 0..size {
            sums[i * size + j] += scaled * at(j);
        }
    }
}

/// matrix += J·C·Jᵀ, the covariance of a layer's input under q.
fn add_spread(matrix: &mut DMatrix<f64>, program: &Program, part: &Part, direction: SlotId, covariance: &[f64]) {
    let n = program.num_coordinates();
    let width = program.slots[direction].width;
    let jacobian = DMatrix::from_fn(n, width, |i, j| f64::from(part.values[direction][i * width + j]));
    let spread = jacobian.transpose() * DMatrix::from_row_slice(n, n, covariance) * jacobian;
    for i in 0..width {
        for j in 0..width {
            matrix[(i, j)] += spread[(i, j)];
        }
    }
}

/// A as a matrix.
fn root_of(latent: &Latent, parameters: &[f32], scales: &[f32]) -> DMatrix<f64> {
    let d = latent.width;
    DMatrix::from_fn(d, d, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Equal => f64::from(scales[i]),
        std::cmp::Ordering::Greater if latent.full => f64::from(parameters[d + i * (i + 1) / 2 + j]),
        _ => 0.0,
    })
}

/// The curvature of the bound in the parameters of an amortised factor: H for the mean, and for every column of A its part
/// of H with a² H + 1 for the logarithm of the diagonal a.
fn latent_curvature(
    program: &Program,
    index: usize,
    gram: &DMatrix<f64>,
    moments: &Moments,
) -> Option<Vec<(Vec<usize>, Factor)>> {
    let latent = &program.latents[index];
    let d = latent.width;
    let offset: usize = program.latents[..index].iter().map(|latent| latent.width).sum();
    let hessian = gram.view((offset, offset), (d, d)).into_owned();
    let mut groups = vec![((0..d).collect(), Cholesky::new(hessian.clone())?)];
    for j in 0..d {
        let square = moments.squares[index][j] / moments.weight;
        let last = if latent.full { d } else { j + 1 };
        let place = |i: usize| if i == j { latent.diagonal(j) } else { d + i * (i + 1) / 2 + j };
        let scale = |i: usize| if i == j { square.sqrt() } else { 1.0 };
        let mut matrix =
            DMatrix::from_fn(last - j, last - j, |a, b| hessian[(j + a, j + b)] * scale(j + a) * scale(j + b));
        matrix[(0, 0)] += 1.0;
        groups.push(((j..last).map(place).collect(), Cholesky::new(matrix)?));
    }
    Some(groups)
}
