//! Expressions that read discrete variables: their expectations given the coordinates, as derivatives of the log joint.

use vi_model::graph::{AxisId, Graph, NodeId, VariableId};

use super::{Lowering, Model, View};
use crate::error::SgviError;
use crate::tape::{Frame, Program, Shape, Source, UnaryFunction, Value};

/// A weight so small that it changes no sum, by which rows that do not count have posteriors all the same.
const FAINT: f64 = 1e-200;

/// The log joint with an expression f in it, whose discrete variables z are then summed out:
///
/// L(a, b) = log Σ_z p(θ, z) exp Σ_c \[a_c (f_c − m_c) + b_c (f_c − m_c)²\], with ∂L/∂a_c = E\[f_c − m_c | θ\] and so on at a = b = 0.
///
/// A third derivative, of the constant one, counts how often a cell stands in the log joint (the row's count).
#[derive(Debug)]
pub(crate) struct Expectation {
    /// The log joint.
    pub(crate) program: Program,
    /// Axes of the expression as reported, with the stride of each.
    pub(crate) axes: Vec<(AxisId, usize)>,
    /// Its cells.
    pub(crate) shape: Shape,
    /// Whether it holds only where every weight of a categorical factor is zero or one.
    pub(crate) is_relaxed: bool,
    /// Where the derivatives arise.
    probes: [usize; 3],
}

impl Model {
    /// Compiles an expression; `centers` are the numbers m of its cells, zeros where there are none.
    ///
    /// # Errors
    /// As [`Model::new`]; expressions that tie together what was summed out one by one.
    pub(crate) fn expectation(&self, graph: &Graph, node: NodeId, centers: &[f64]) -> Result<Expectation, SgviError> {
        let mut l = Lowering::new(graph)?;
        l.kept = self.factored.iter().map(|f| f.variable).collect();
        l.let_all_rows_count();
        l.reported = Some(node);
        l.add_latents()?;
        for v in 0..graph.variables.len() {
            l.add_density(VariableId(v))?;
        }
        let axes = graph.node(node).axes.clone();
        let shape = l.shape_of(&axes);
        let value = l.node(node, View::Plain)?;
        let away = if centers.is_empty() {
            value
        } else {
            let centers = l.b.data(shape.clone(), centers.to_vec());
            l.b.difference(&value, &centers)
        };
        let square = l.b.unary(UnaryFunction::Square, &away);
        let cells = away.shape.elements(l.b.program.num_rows);
        let ones = l.b.data(away.shape.clone(), vec![1.0; cells]);
        let mut tilt = None;
        let mut probes = [0; 3];
        let mut reported = Vec::new();
        for (probe, statistic) in probes.iter_mut().zip([&away, &square, &ones]) {
            *probe = l.b.buffer(&shape, true, shape.rows);
            let zeros = Value { source: Source::Latent(*probe), shape: shape.clone() };
            reported = l.strides(&axes, &zeros);
            let part = l.b.product(&zeros, statistic);
            tilt = Some(match tilt {
                Some(tilt) => l.b.sum(&tilt, &part),
                None => part,
            });
        }
        let term = graph.variables_of(node).into_iter().find(|v| l.enumerated.iter().any(|e| e.variable == *v));
        if let (Some(term), Some(tilt)) = (term, tilt) {
            l.keep(term, tilt);
        }
        l.eliminate()?;
        let (dimension, is_relaxed) = (l.start.len(), l.relaxed);
        Ok(Expectation { is_relaxed, program: l.b.finish(dimension), axes: reported, shape, probes })
    }
}

impl Lowering<'_> {
    /// Gives rows that count nothing a weight of no effect, so that ratios of derivatives exist in them.
    pub(super) fn let_all_rows_count(&mut self) {
        if let Some(weights) = &self.weights {
            self.weights = Some(weights.iter().map(|w| w.max(FAINT)).collect::<Vec<f64>>().into());
        }
    }
}

impl Expectation {
    /// Number of cells.
    pub(crate) fn cells(&self) -> usize {
        self.shape.elements(self.program.num_rows)
    }

    /// E\[f − m | θ\] and E\[(f − m)² | θ\] of every cell for draw `draw` of a frame that was swept with gradients.
    pub(crate) fn read(&self, frame: &Frame, draw: usize) -> impl Iterator<Item = (f64, f64)> {
        let n = self.cells();
        let [first, second, count] = self.probes.map(|b| frame.adjoints[b][draw * n..(draw + 1) * n].to_vec());
        first.into_iter().zip(second).zip(count).map(|((a, b), n)| (a / n, b / n))
    }
}
