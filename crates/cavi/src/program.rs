//! The intermediate form of a model: factors of q, and the expected log joint as a sum of products of their statistics.
//!
//! Every conjugate factor's expected log density is multilinear in the expected statistics of its neighbours
//! (Winn & Bishop 2005, §3): log p(x | y, …) = Σ_t c_t Π_i s_ti, where each s is an element of a sufficient statistic of
//! one variable, or data. Taking E_q under a factorised q replaces each s by its expectation. The message to a variable
//! is then the partial derivative of this sum with respect to its expected statistics: the term with that operand left
//! out. Updates, summaries over the rows and the ELBO are all sums of such products.

use std::ops::Range;
use std::sync::Arc;

use vi_model::data::{BlockId, Codes, ColumnId, DataError};
use vi_model::graph::{AxisId, Graph, NodeId, VariableId};

use crate::factor::Family;

/// A summation index; label 0 is the data row.
pub(crate) type Label = usize;

/// The label of the data rows.
pub(crate) const ROWS: Label = 0;

/// Index of a factor of q.
pub(crate) type FactorId = usize;

/// What a summation index ranges over.
#[derive(Debug, Clone)]
pub(crate) struct LabelInfo {
    /// For printing.
    pub(crate) name: String,
    /// Number of values.
    pub(crate) size: usize,
}

/// What moves along an array axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A summation index.
    Label(Label),
    /// The code of the row in a look-up (index into [`Program::codes`]).
    Codes(usize),
}

/// Position along one axis of an array: start + Σ step · multiplier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AxisIndex {
    /// Offset (of a member in a joint block).
    pub(crate) start: usize,
    /// What moves, and by how much.
    pub(crate) parts: Vec<(Step, usize)>,
}

impl AxisIndex {
    /// The axis runs along one label.
    pub(crate) fn label(label: Label) -> Self {
        Self { start: 0, parts: vec![(Step::Label(label), 1)] }
    }

    /// The axis is looked up by a code array.
    pub(crate) fn codes(codes: usize) -> Self {
        Self { start: 0, parts: vec![(Step::Codes(codes), 1)] }
    }
}

/// Where the numbers of an operand come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An expected sufficient statistic of a factor.
    Statistic {
        /// The factor.
        factor: FactorId,
        /// Which of its statistics.
        statistic: usize,
    },
    /// A moment of a factor whose statistics are others, for reporting.
    Moment {
        /// The factor.
        factor: FactorId,
        /// Which power of the variable.
        power: i32,
    },
    /// A natural parameter of a factor that is not of the rows: the coefficient of one of its statistics.
    Natural {
        /// The factor.
        factor: FactorId,
        /// Which of its statistics.
        statistic: usize,
    },
    /// Data that depend on the row (index into [`Program::data`]).
    Data(usize),
    /// A constant array (index into [`Program::constants`]).
    Constant(usize),
    /// A summary over the rows (index into the plan's groups); only after planning.
    Summary(usize),
}

/// One factor of a product.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Operand {
    /// Where the numbers come from.
    pub(crate) source: Source,
    /// How each axis of the array is addressed (for row-level arrays the first axis is the row).
    pub(crate) index: Vec<AxisIndex>,
}

impl AxisIndex {
    /// Puts one summation index in the place of another.
    pub(crate) fn relabel(&mut self, from: Label, to: Label) {
        for (step, _) in &mut self.parts {
            if *step == Step::Label(from) {
                *step = Step::Label(to);
            }
        }
    }
}

impl Operand {
    /// Puts one summation index in the place of another.
    pub(crate) fn relabel(&mut self, from: Label, to: Label) {
        self.index.iter_mut().for_each(|axis| axis.relabel(from, to));
    }
}

/// One product in the expected log joint, summed over all its labels.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    /// The variable in whose ELBO term it counts (index into [`Program::owners`]).
    pub(crate) owner: usize,
    /// Constant factor.
    pub(crate) coefficient: f64,
    /// The product's factors.
    pub(crate) operands: Vec<Operand>,
}

/// A variable of the model inside a factor of q.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The variable (`None` for an auxiliary factor).
    pub(crate) variable: Option<VariableId>,
    /// Where its coordinates stand in the joint vector, and how many.
    pub(crate) coordinates: Range<usize>,
    /// Plates of the variable that are flattened into the joint vector (sizes), outermost first.
    pub(crate) flattened: Vec<usize>,
    /// Length of its own dimension (1 for scalars).
    pub(crate) dimension: usize,
    /// What was subtracted from its location, one value per element and coordinate; empty where nothing was.
    pub(crate) shift: Vec<f64>,
}

/// A factor of q, replicated over plates.
#[derive(Debug, Clone)]
pub(crate) struct Factor {
    /// The variable's name, or that of the block or auxiliary.
    pub(crate) name: String,
    /// Its family.
    pub(crate) family: Family,
    /// Whether there is one per data row.
    pub(crate) local: bool,
    /// Sizes of the other plates, outermost first.
    pub(crate) plates: Vec<usize>,
    /// Named axes of those plates.
    pub(crate) plate_axes: Vec<AxisId>,
    /// A point estimate: the statistics are those of the mode and there is no entropy.
    pub(crate) point: bool,
    /// The variables in it.
    pub(crate) members: Vec<Member>,
    /// In whose ELBO term the entropy counts.
    pub(crate) owner: usize,
    /// Whether elements along plates meet in one product, so that they must be updated one at a time.
    pub(crate) coupled: bool,
    /// Whether the symmetry with another latent variable must be broken at the start.
    pub(crate) symmetric: bool,
    /// Gates of which this factor has one copy per category: q(x | z), so that their indicators weight its entropy and
    /// energy alike and do not enter its own update.
    pub(crate) conditional_on: Vec<FactorId>,
    /// Starting mean, one value per element and coordinate.
    pub(crate) initial: Option<Vec<f64>>,
}

impl Factor {
    /// What was subtracted from a variable's location, one value per element and coordinate; empty where nothing was.
    pub(crate) fn shift_of(&self, v: VariableId) -> &[f64] {
        self.members.iter().find(|m| m.variable == Some(v)).map_or(&[], |m| &m.shift)
    }

    /// Number of elements per row (local) or in all (global).
    pub(crate) fn elements(&self) -> usize {
        self.plates.iter().product()
    }
}

/// What is done to a data value before it enters a product; missing values give 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Transform {
    /// x
    Identity,
    /// 1 where there is a value
    Present,
    /// log x
    Log,
    /// 1/x
    Reciprocal,
    /// log Γ(x), of which a small x keeps all its digits
    LogGamma,
    /// log Γ(x + 1)
    LogFactorial,
    /// 1/x²
    ReciprocalSquare,
    /// log(1 − x)
    LogComplement,
    /// 1 where there is no value
    Absent,
    /// log of 1 where x ≥ 0, of 0 elsewhere
    Inside,
}

/// A row-level array of data.
#[derive(Debug, Clone)]
pub(crate) enum RowData {
    /// An expression of data, with the axes in which it is laid out (rows first), transformed elementwise.
    Expression {
        /// The expression.
        node: NodeId,
        /// Layout, rows first.
        axes: Vec<AxisId>,
        /// What is done to each value.
        transform: Transform,
    },
    /// One-hot codes of the columns of a block: `[rows, columns, range]`.
    OneHot {
        /// The block.
        block: BlockId,
        /// The axis that the codes range over.
        axis: AxisId,
    },
    /// Whether two look-ups of the row give the same element (1) or not (0), or the opposite.
    SameCode {
        /// First code array.
        left: usize,
        /// Second code array.
        right: usize,
        /// 1 where they differ instead.
        different: bool,
    },
    /// One-hot of a look-up: `[rows, range]`, or its complement.
    CodeIs {
        /// The code array.
        codes: usize,
        /// Length of the axis.
        size: usize,
        /// 0 at the code and 1 elsewhere instead.
        different: bool,
    },
    /// Whether a row begins a sequence of a chain (1) or follows another row of it (0), or the opposite.
    FirstRow {
        /// The column whose change begins a sequence.
        sequence: Option<ColumnId>,
        /// 1 where a row follows another instead.
        different: bool,
    },
    /// Whether a row's observed vector has any coordinate (1) or none (0): `[rows, …]`.
    AnyPresent {
        /// The observed expression.
        node: NodeId,
        /// Layout, rows first, the dimension last.
        axes: Vec<AxisId>,
    },
    /// Known covariances without the missing coordinates of the row's observed vector: the precision of the others with
    /// zeros elsewhere `[rows, …, d, d]`, or its log determinant `[rows, …]`.
    Marginal {
        /// The observed expression.
        node: NodeId,
        /// Layout, rows first, the dimension last.
        axes: Vec<AxisId>,
        /// `[…, d, d]`
        covariances: Arc<Vec<f64>>,
        /// The log determinant instead of the matrix.
        log_determinant: bool,
    },
}

/// A look-up: the positions of a column's values along an axis, or of the rows themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CodesSpec {
    /// The column; `None` for the row itself, along the rows' axis.
    pub(crate) column: Option<ColumnId>,
    /// The axis.
    pub(crate) axis: AxisId,
}

impl CodesSpec {
    /// The positions in all rows.
    pub(crate) fn read(self, graph: &Graph) -> Result<Codes, DataError> {
        match self.column {
            Some(column) => graph.data.codes(column, graph.axis(self.axis)),
            None => Ok(Codes::rows_themselves(graph.axis(self.axis).size)),
        }
    }
}

/// A row-level data array with its shape per row.
#[derive(Debug, Clone)]
pub(crate) struct DataOperand {
    /// What it holds.
    pub(crate) data: RowData,
    /// Sizes of its axes after the row.
    pub(crate) shape: Vec<usize>,
}

/// A constant array.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    /// Sizes of its axes.
    pub(crate) shape: Vec<usize>,
    /// Row-major values.
    pub(crate) values: Arc<Vec<f64>>,
}

/// A model lowered to factors and products.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// Summation indices; the first is the data row.
    pub(crate) labels: Vec<LabelInfo>,
    /// Factors of q.
    pub(crate) factors: Vec<Factor>,
    /// The expected log joint.
    pub(crate) terms: Vec<Term>,
    /// Row-level data arrays.
    pub(crate) data: Vec<DataOperand>,
    /// Constant arrays.
    pub(crate) constants: Vec<Constant>,
    /// Look-ups.
    pub(crate) codes: Vec<CodesSpec>,
    /// Names of the variables that have an ELBO term.
    pub(crate) owners: Vec<String>,
    /// Number of data rows.
    pub(crate) num_rows: usize,
    /// Multiplicity of each row.
    pub(crate) counts: Option<ColumnId>,
}

impl Program {
    /// A new summation index.
    pub(crate) fn new_label(&mut self, name: &str, size: usize) -> Label {
        self.labels.push(LabelInfo { name: name.to_owned(), size });
        self.labels.len() - 1
    }

    /// Whether an operand changes from row to row by itself (not through a look-up).
    pub(crate) fn is_row_level(&self, operand: &Operand) -> bool {
        match operand.source {
            Source::Statistic { factor, statistic } => {
                self.factors[factor].local && !self.factors[factor].family.is_summed(statistic)
            }
            Source::Moment { factor, .. } => self.factors[factor].local,
            Source::Data(_) => true,
            Source::Natural { .. } | Source::Constant(_) | Source::Summary(_) => false,
        }
    }

    /// Sizes of an operand's axes without the row.
    pub(crate) fn shape(&self, source: Source) -> Vec<usize> {
        match source {
            Source::Statistic { factor, statistic } | Source::Natural { factor, statistic } => {
                let factor = &self.factors[factor];
                let mut shape = factor.plates.clone();
                shape.extend(factor.family.statistic_shape(statistic));
                shape
            }
            Source::Moment { factor, power } => {
                let factor = &self.factors[factor];
                let mut shape = factor.plates.clone();
                shape.extend(crate::factor::moment_shape(factor.family, power));
                shape
            }
            Source::Data(i) => self.data[i].shape.clone(),
            Source::Constant(i) => self.constants[i].shape.clone(),
            Source::Summary(_) => Vec::new(),
        }
    }
}
