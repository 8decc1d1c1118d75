//! The row program: what an amortised model computes for every row, as a list of operations over named buffers.

use super::completion::Completion;
use super::globals::Globals;
use super::joint::Generator;
use crate::fit::range::Range;
use crate::network::layer::Layer;
use crate::network::parameters::{Layout, ViewId};
use std::collections::HashSet;
use std::sync::Arc;
use vi_model::graph::VariableId;

/// How often a value exists in a part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Once: point variables and constants.
    Global,
    /// Once per row: data and what is computed from them alone.
    Row,
    /// Once per row and Monte Carlo draw; the draws of a row are neighbours.
    Sample,
    /// Once per coordinate of all amortised variables, in their order: what a value changes by along it.
    Basis,
}

/// Index of a buffer in [`Program::slots`].
pub(crate) type SlotId = usize;

/// A buffer of `[count of its level, width]` numbers, written by exactly one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// How often the value exists.
    pub level: Level,
    /// Numbers per value.
    pub width: usize,
    /// Whether a parameter of the model can be reached from it.
    pub differentiable: bool,
    /// Whether exactly one operation or term reads it, which may then write its adjoint instead of adding to it.
    pub exclusive: bool,
}

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unary {
    /// scale·x + shift
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
    /// 1 / x
    Reciprocal,
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// x²
    Square,
    /// 1 / (1 + e⁻ˣ)
    Logistic,
    /// ln(1 + eˣ)
    Softplus,
}

/// Functions of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// One operation; it reads slots with smaller numbers than the one it writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Copies the rows of the batch from a data source.
    Data {
        /// Index of the source.
        source: usize,
        /// `[rows, width]`
        output: SlotId,
    },
    /// The value of a variable outside the rows' plate.
    Global {
        /// Which.
        variable: VariableId,
        /// `[width]`
        output: SlotId,
    },
    /// Numbers of the model file.
    Constant {
        /// The numbers.
        values: Vec<f32>,
        /// `[width]`
        output: SlotId,
    },
    /// The same value for every row, or for every draw of a row.
    Repeat {
        /// At a lower level.
        input: SlotId,
        /// At a higher level.
        output: SlotId,
    },
    /// `output[j] = input[map[j]]` within a value: broadcasting and transposition.
    Gather {
        /// What is read.
        input: SlotId,
        /// At the same level.
        output: SlotId,
        /// Positions in the input.
        map: Vec<u32>,
    },
    /// `output[row, j] = table[code(row)·stride + …]`: a look-up of a global value by a data column.
    LookUp {
        /// The global value.
        table: SlotId,
        /// A slot with one code per row.
        codes: SlotId,
        /// At row level.
        output: SlotId,
        /// Position in the table of output element j at code 0.
        map: Vec<u32>,
        /// Distance in the table between neighbouring codes.
        stride: usize,
    },
    /// Values side by side.
    Concatenate {
        /// At the same level.
        inputs: Vec<SlotId>,
        /// Their concatenation.
        output: SlotId,
    },
    /// A layer of a network.
    Layer {
        /// Index in [`Program::layers`].
        layer: usize,
        /// Index of its scratch memory.
        scratch: usize,
        /// What goes in.
        input: SlotId,
        /// What comes out.
        output: SlotId,
    },
    /// A dense layer without its bias: how its output changes along every coordinate.
    Linear {
        /// Index in [`Program::layers`].
        layer: usize,
        /// Index of its scratch memory.
        scratch: usize,
        /// At [`Level::Basis`].
        input: SlotId,
        /// At [`Level::Basis`].
        output: SlotId,
    },
    /// A draw of a latent variable.
    Draw {
        /// Index in [`Program::latents`].
        latent: usize,
        /// At sample level.
        output: SlotId,
    },
    /// f(x), elementwise.
    Unary {
        /// f
        function: Unary,
        /// x
        input: SlotId,
        /// f(x)
        output: SlotId,
    },
    /// log π of the shares π ∝ (e^θ₁, …, e^θ_d, 1).
    LogShares {
        /// θ, width d.
        input: SlotId,
        /// log π, width d + 1.
        output: SlotId,
    },
    /// x ∘ y, elementwise, at one level and width.
    Binary {
        /// ∘
        operator: Binary,
        /// x
        left: SlotId,
        /// y
        right: SlotId,
        /// x ∘ y
        output: SlotId,
    },
    /// `output[j] = Σ_k left[left_map[j·length + k]] · right[right_map[j·length + k]]`, at one level.
    Contract {
        /// Left operand.
        left: SlotId,
        /// Right operand.
        right: SlotId,
        /// The sums.
        output: SlotId,
        /// Terms per sum.
        length: usize,
        /// Positions in the left operand.
        left_map: Vec<u32>,
        /// Positions in the right operand.
        right_map: Vec<u32>,
    },
}

impl Operation {
    /// The slot that it writes.
    #[must_use]
    pub(crate) fn output(&self) -> SlotId {
        match *self {
            Self::Data { output, .. }
            | Self::Global { output, .. }
            | Self::Constant { output, .. }
            | Self::Repeat { output, .. }
            | Self::Gather { output, .. }
            | Self::LookUp { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Layer { output, .. }
            | Self::Linear { output, .. }
            | Self::Draw { output, .. }
            | Self::Unary { output, .. }
            | Self::LogShares { output, .. }
            | Self::Binary { output, .. }
            | Self::Contract { output, .. } => output,
        }
    }

    /// The slots that it reads; for a draw those of posterior and prior.
    #[must_use]
    pub(crate) fn inputs(&self, latents: &[Latent]) -> Vec<SlotId> {
        match self {
            Self::Data { .. } | Self::Global { .. } | Self::Constant { .. } => Vec::new(),
            Self::Repeat { input, .. }
            | Self::Gather { input, .. }
            | Self::Layer { input, .. }
            | Self::Linear { input, .. }
            | Self::LogShares { input, .. }
            | Self::Unary { input, .. } => vec![*input],
            Self::LookUp { table, codes, .. } => vec![*table, *codes],
            Self::Concatenate { inputs, .. } => inputs.clone(),
            Self::Draw { latent, .. } => {
                let latent = &latents[*latent];
                let mut slots = vec![latent.parameters];
                slots.extend(latent.prior.iter().flat_map(|prior| [prior.mean, prior.sd]));
                slots
            }
            Self::Binary { left, right, .. } | Self::Contract { left, right, .. } => vec![*left, *right],
        }
    }
}

/// An amortised latent variable: q(z | x) = Normal(μ, A·Aᵀ), with μ and A from a network, of what stands for its value on the whole
/// line.
///
/// `[μ_1 … μ_d, ρ_1 … ρ_d]` with A = diag(e^ρ) where diagonal; `[μ, a_11, a_21, a_22, a_31, …]`, the lower triangle row by
/// row with e^a on the diagonal, where full.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latent {
    /// Its name.
    pub name: String,
    /// Its number of dimensions d on the whole line.
    pub width: usize,
    /// Whether A is a full lower triangle.
    pub full: bool,
    /// The slot of its parameters.
    pub parameters: SlotId,
    /// Its prior, where that is a normal with independent coordinates; the log joint has it otherwise.
    pub prior: Option<Prior>,
    /// The slot of its draws, on the whole line.
    pub output: SlotId,
    /// What its draws stand for.
    pub values: Values,
    /// The highest level among parameters and prior, at least [`Level::Row`]: where the analytic divergence lives.
    pub level: Level,
}

/// What θ on the whole line stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Values {
    /// Numbers, each reached from one coordinate.
    Numbers(Range),
    /// Shares π ∝ (e^θ₁, …, e^θ_d, 1), one more than there are coordinates (Aitchison 1982: the additive log-ratio).
    Shares,
}

/// A normal prior with independent coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prior {
    /// The slot of its mean, width d.
    pub mean: SlotId,
    /// The slot of its sd, width d.
    pub sd: SlotId,
}

impl Latent {
    /// Numbers that the network gives per row.
    #[must_use]
    pub(crate) fn parameter_width(width: usize, full: bool) -> usize {
        if full { width + width * (width + 1) / 2 } else { 2 * width }
    }

    /// The position among the parameters of the logarithm of A's diagonal element `index`.
    #[must_use]
    pub(crate) fn diagonal(&self, index: usize) -> usize {
        if self.full { self.width + index * (index + 1) / 2 + index } else { self.width + index }
    }
}

/// The density of an observed variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likelihood {
    /// x·l − softplus(l); parameters: l.
    BernoulliLogit,
    /// Parameters: mean, sd.
    Normal,
    /// x·l − eˡ − ln x!; parameters: l, ln x!.
    PoissonLogRate,
    /// l_x − ln Σ e^l; parameters: l with `size` logits per observed number.
    Categorical {
        /// Number of categories.
        size: usize,
    },
}

/// An observed variable: its log density joins the objective.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// Its name.
    pub name: String,
    /// Its density.
    pub likelihood: Likelihood,
    /// The slot of its data; cells that are not a number are missing and count nothing.
    pub data: SlotId,
    /// The slots of the parameters: of the data's width or of width 1.
    pub parameters: Vec<SlotId>,
}

/// A normal whose mean is affine in amortised variables: x ~ N(m + J·(z − E\[z\]), s²) with J the same in every row.
///
/// E_q\[log N(x; m(z), s)\] = log N(x; m(E\[z\]), s) − ½ Σ_p Var_q(m_p(z)) / s_p², the same for the divergence of an amortised
/// variable whose prior's mean it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    /// The slot of J, at [`Level::Basis`], one row per coordinate.
    pub jacobian: SlotId,
    /// The slot of s, of the width of J or of width 1.
    pub sd: SlotId,
    /// Whose term it is.
    pub owner: Owner,
}

/// The term that a [`Spread`] belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An observed variable, by index.
    Observed(usize),
    /// The divergence of an amortised variable, by index.
    Latent(usize),
}

/// An observed variable as it can be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its name.
    pub name: String,
    /// Which.
    pub variable: VariableId,
    /// Numbers per row.
    pub width: usize,
    /// The source of its data.
    pub source: Option<usize>,
    /// Whether it depends on discrete variables of the rows, whose values a reconstruction does not know.
    pub needs_discrete: bool,
}

/// A compiled amortised model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// Buffers.
    pub slots: Vec<Slot>,
    /// Operations, in the order of their outputs.
    pub operations: Vec<Operation>,
    /// Layers of all networks, each once however often it is used.
    pub layers: Vec<Layer>,
    /// For each scratch memory the layer that needs it, the level of its input, and how often it is applied to one value.
    pub scratches: Vec<(usize, Level, usize)>,
    /// Amortised latent variables, in the order in which they are drawn.
    pub latents: Vec<Latent>,
    /// Observed variables.
    pub observed: Vec<Observed>,
    /// Variables outside the rows' plate, and densities of rows that the log joint evaluates, if there are any.
    pub globals: Option<Globals>,
    /// Normals whose mean is affine in amortised variables, where all that depends on these variables is such a one.
    pub spreads: Vec<Spread>,
    /// Whether every expectation is known in closed form, so that nothing need be drawn.
    pub closed_form: bool,
    /// Variables whose densities this program evaluates itself.
    pub elsewhere: HashSet<VariableId>,
    /// What can be generated: the observed variables, in the order of [`Program::observed`], then those whose densities
    /// the log joint evaluates.
    pub outputs: Vec<Output>,
    /// The draws of these, or why they cannot be drawn.
    pub generator: Option<Result<Arc<Generator>, String>>,
    /// How the discrete variable is filled in on which outputs depend, where there is one such variable.
    pub completion: Option<Arc<Completion>>,
    /// The draws of amortised variables whose priors the log joint has, by index of the latent variable.
    pub prior_generators: Vec<(usize, Result<Arc<Generator>, String>)>,
    /// Names and places of all parameters.
    pub layout: Layout,
    /// Starting values that are not random, by view.
    pub starts: Vec<(ViewId, Vec<f32>)>,
    /// Data nodes, by index of the source.
    pub sources: Vec<DataNode>,
}

/// What a data source holds for every row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DataNode {
    /// An expression of data alone, with these axes besides the rows.
    Expression(vi_model::graph::NodeId, Vec<vi_model::graph::AxisId>),
    /// Positions of a column's values along an axis.
    Codes(vi_model::data::ColumnId, vi_model::graph::AxisId),
    /// Positions of a block's values along an axis.
    BlockCodes(vi_model::data::BlockId, vi_model::graph::AxisId),
    /// ln x! of another source.
    LogFactorial(usize),
}

impl Program {
    /// Whether a reconstruction has an output: all that it depends on is known, or averaged over.
    #[must_use]
    pub(crate) fn is_reconstructed(&self, output: usize) -> bool {
        !self.outputs[output].needs_discrete || self.completion.is_some()
    }

    /// All parameters at their starts.
    #[must_use]
    pub(crate) fn initialize(&self, seed: u64) -> Vec<f32> {
        let mut parameters = self.layout.initialize(seed);
        for (view, values) in &self.starts {
            parameters[self.layout.views()[*view].range.clone()].copy_from_slice(values);
        }
        parameters
    }

    /// The single learned sds of observed normals: each one's view, and how many numbers of a row it serves.
    #[must_use]
    pub(crate) fn optimal_sds(&self) -> Vec<(ViewId, usize)> {
        let readers = self.readers();
        self.observed
            .iter()
            .filter(|observed| observed.likelihood == Likelihood::Normal)
            .filter_map(|observed| {
                let sd = *observed.parameters.get(1)?;
                let variable = self.operations.iter().find_map(|operation| match *operation {
                    Operation::Global { variable, output } if output == sd => Some(variable),
                    _ => None,
                })?;
                let point = self.points().iter().find(|p| p.variable == variable && p.is_positive_number)?;
                (readers[sd] == 1).then(|| (point.view, self.slots[observed.data].width))
            })
            .collect()
    }

    /// Gives the parameters their places, and marks which slots reach one and which have one reader.
    pub(crate) fn finish(&mut self) {
        self.layout.arrange();
        for operation in &self.operations {
            let differentiable = match operation {
                Operation::Global { .. } | Operation::Linear { .. } => true,
                Operation::Layer { layer, input, .. } => {
                    self.layers[*layer].weight.is_some() || self.slots[*input].differentiable
                }
                other => other.inputs(&self.latents).iter().any(|&slot| self.slots[slot].differentiable),
            };
            self.slots[operation.output()].differentiable = differentiable;
        }
        let mut readers = self.readers();
        for spread in &self.spreads {
            // Its term adds to it whatever else does.
            readers[spread.sd] += 2;
        }
        for (slot, count) in self.slots.iter_mut().zip(readers) {
            slot.exclusive = count == 1 && slot.level != Level::Basis;
        }
    }

    /// How many coordinates all amortised variables have together.
    #[must_use]
    pub(crate) fn num_coordinates(&self) -> usize {
        self.latents.iter().map(|latent| latent.width).sum()
    }

    /// How many operations and terms read each slot, those by draws counted twice.
    fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0_usize; self.slots.len()];
        for operation in &self.operations {
            for slot in operation.inputs(&self.latents) {
                // Posterior and prior of a latent variable are read by its divergence too.
                readers[slot] += if matches!(operation, Operation::Draw { .. }) { 2 } else { 1 };
            }
        }
        for latent in &self.latents {
            // Its divergence adds to it whatever else does.
            readers[latent.output] += 2;
        }
        for observed in &self.observed {
            for &slot in &observed.parameters {
                readers[slot] += 1;
            }
        }
        for port in self.globals.iter().flat_map(|globals| &globals.joint.tape.ports) {
            // The log joint adds to it whatever else does.
            readers[port.slot] += 2;
        }
        readers
    }

    /// Which operations are needed for `targets`, where the draws of latent variables read the posterior or not.
    #[must_use]
    pub(crate) fn needed(&self, targets: &[SlotId], with_posterior: bool) -> Vec<bool> {
        let mut slots = vec![false; self.slots.len()];
        for &target in targets {
            slots[target] = true;
        }
        let mut needed = vec![false; self.operations.len()];
        for (index, operation) in self.operations.iter().enumerate().rev() {
            if !slots[operation.output()] {
                continue;
            }
            needed[index] = true;
            if let Operation::Draw { latent, .. } = operation {
                let latent = &self.latents[*latent];
                if let Some(prior) = &latent.prior {
                    slots[prior.mean] = true;
                    slots[prior.sd] = true;
                }
                slots[latent.parameters] |= with_posterior;
            } else {
                for input in operation.inputs(&self.latents) {
                    slots[input] = true;
                }
            }
        }
        needed
    }
}
