//! Expressions as sums of products of variables and data.

use vi_model::data::ColumnId;
use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, BinaryOperator, IndexSource, NodeId, NodeKind, Observation, VariableId};

use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::program::{AxisIndex, CodesSpec, FactorId, Label, Operand};

/// What an atom of a product is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AtomKind {
    /// A latent variable.
    Variable(VariableId),
    /// An expression of data.
    Data(NodeId),
    /// 1 where an expression of data has no value.
    Absent(NodeId),
    /// A chain in the row before.
    Previous(VariableId),
    /// A factor that is no variable of the model; its index is that of its operands: rows, plates, dimension.
    Factor(FactorId),
}

/// A variable or data array in a product, with how each of its axes is addressed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Atom {
    pub(super) kind: AtomKind,
    /// One index per axis of the variable's value or of the node.
    pub(super) index: Vec<AxisIndex>,
}

/// A product with a constant.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Monomial {
    pub(super) coefficient: f64,
    pub(super) atoms: Vec<Atom>,
    /// Labels summed inside the product (contractions).
    pub(super) contracted: Vec<Label>,
}

impl Monomial {
    pub(super) fn constant(coefficient: f64) -> Self {
        Self { coefficient, ..Self::default() }
    }

    fn times(&self, other: &Self) -> Self {
        Self {
            coefficient: self.coefficient * other.coefficient,
            atoms: self.atoms.iter().chain(&other.atoms).cloned().collect(),
            contracted: self.contracted.iter().chain(&other.contracted).copied().collect(),
        }
    }
}

/// A gate in use: its summation index and the indicator operand that weights it.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(super) variable: VariableId,
    pub(super) plates: Vec<AxisIndex>,
    pub(super) label: Label,
    pub(super) operand: Operand,
}

impl Lowering {
    /// Indices of a child node's axes, taken from those of the node that uses it, by axis name.
    ///
    /// Where the parent has a name more often than the child (a square variable), the child's axes are the parent's
    /// last ones: an array runs over the last of its variable's axes.
    pub(super) fn inherit<T: Clone>(parent_axes: &[AxisId], parent: &[T], child_axes: &[AxisId]) -> Option<Vec<T>> {
        let mut indices = Vec::with_capacity(child_axes.len());
        for (i, axis) in child_axes.iter().enumerate() {
            let places: Vec<usize> = (0..parent_axes.len()).filter(|&p| parent_axes[p] == *axis).collect();
            let own = child_axes.iter().filter(|a| *a == axis).count();
            let before = child_axes[..i].iter().filter(|a| *a == axis).count();
            let place = (places.len().saturating_sub(own) + before).min(places.len().checked_sub(1)?);
            indices.push(parent[places[place]].clone());
        }
        Some(indices)
    }

    fn child(&self, parent: NodeId, index: &[AxisIndex], child: NodeId) -> Result<Vec<AxisIndex>, CaviError> {
        let (parent, child) = (self.graph.node(parent), self.graph.node(child));
        Self::inherit(&parent.axes, index, &child.axes).ok_or_else(|| {
            self.refusal(
                Diagnostic::new("expression-axes", "an operand has an axis that the expression around it lacks")
                    .at(child.span.clone(), "this operand"),
            )
        })
    }

    /// Writes a node as a sum of products; `index` says how each of the node's axes is addressed.
    pub(super) fn expand(
        &mut self,
        id: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let node = self.graph.node(id).clone();
        if let NodeKind::Number(value) = node.kind {
            return Ok(vec![Monomial::constant(value)]);
        }
        if self.graph.is_data(id) {
            let atom = Atom { kind: AtomKind::Data(id), index: index.to_vec() };
            return Ok(vec![Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] }]);
        }
        match node.kind {
            NodeKind::Variable(v) => self.variable_sum(v, index, &node.span),
            NodeKind::Negate(a) => {
                let inner = self.child(id, index, a)?;
                let mut sum = self.expand(a, &inner, scope)?;
                sum.iter_mut().for_each(|m| m.coefficient = -m.coefficient);
                Ok(sum)
            }
            NodeKind::Binary(operator, a, b) => self.expand_binary(id, operator, [a, b], index, scope),
            NodeKind::Dot { left, right, left_axis, right_axis } => {
                self.expand_dot(id, [(left, left_axis), (right, right_axis)], index, scope)
            }
            NodeKind::Index { base, position, index: source } => {
                self.expand_index(id, (base, position), source, index, scope)
            }
            NodeKind::Function(..) if self.is_known(id) => {
                let atom = self.known(id, index, scope)?;
                Ok(vec![Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] }])
            }
            NodeKind::Function(..) | NodeKind::Network { .. } => Err(self.refusal(
                Diagnostic::new(
                    "not-conjugate",
                    format!("`{}` of latent variables has no conjugate update", self.source_text(&node.span)),
                )
                .at(node.span.clone(), "a function of latent variables")
                .help("run this model with sgvi, which treats any differentiable expression"),
            )),
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => {
                let atom = Atom { kind: AtomKind::Data(id), index: index.to_vec() };
                Ok(vec![Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] }])
            }
        }
    }

    /// a + b, a − b, a · b, a / b as a sum of products.
    fn expand_binary(
        &mut self,
        id: NodeId,
        operator: BinaryOperator,
        [a, b]: [NodeId; 2],
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        // What is known but for its gates is one array, whatever is done to it.
        let sum = matches!(operator, BinaryOperator::Add | BinaryOperator::Subtract);
        let divides = operator == BinaryOperator::Divide && !self.graph.is_data(b);
        if (divides || sum && self.known_whole) && self.is_known(id) {
            let atom = self.known(id, index, scope)?;
            return Ok(vec![Monomial { coefficient: 1.0, atoms: vec![atom], contracted: vec![] }]);
        }
        let (left_index, right_index) = (self.child(id, index, a)?, self.child(id, index, b)?);
        let mut left = self.expand(a, &left_index, scope)?;
        match operator {
            BinaryOperator::Add | BinaryOperator::Subtract => {
                let sign = if operator == BinaryOperator::Add { 1.0 } else { -1.0 };
                let mut right = self.expand(b, &right_index, scope)?;
                right.iter_mut().for_each(|m| m.coefficient *= sign);
                left.extend(right);
            }
            BinaryOperator::Multiply => {
                let right = self.expand(b, &right_index, scope)?;
                left = left.iter().flat_map(|l| right.iter().map(|r| l.times(r))).collect();
            }
            BinaryOperator::Divide => {
                let inverse = self.inverse(id, b, divides, &right_index, scope)?;
                left.iter_mut().for_each(|m| m.atoms.push(inverse.clone()));
            }
        }
        Ok(left)
    }

    /// 1 / b, where b is data or known but for its gates; `id` is the quotient.
    fn inverse(
        &mut self,
        id: NodeId,
        b: NodeId,
        has_variables: bool,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Atom, CaviError> {
        if !has_variables {
            return Ok(Atom { kind: AtomKind::Data(self.reciprocal(b)), index: index.to_vec() });
        }
        let span = self.graph.node(id).span.clone();
        if self.is_known(b) {
            let one = self.number(1.0, &span);
            let inverse = self.binary(BinaryOperator::Divide, one, b);
            return self.known(inverse, index, scope);
        }
        Err(self.refusal(
            Diagnostic::new("not-conjugate", "a mean that divides by a variable has no conjugate update")
                .at(span, "division by a variable")
                .help("multiply by a normal variable instead, or run the model with sgvi"),
        ))
    }

    /// The sum over a common axis of two operands, each with that axis.
    fn expand_dot(
        &mut self,
        id: NodeId,
        sides: [(NodeId, AxisId); 2],
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let node = self.graph.node(id).clone();
        let info = self.graph.axis(sides[0].1).clone();
        let label = self.program.new_label(&info.name, info.size);
        let inner = |this: &Self, (operand, axis): (NodeId, AxisId)| {
            let axes = [node.axes.as_slice(), &[axis]].concat();
            let indices = [index, &[AxisIndex::label(label)]].concat();
            Self::inherit(&axes, &indices, &this.graph.node(operand).axes)
        };
        let (Some(left), Some(right)) = (inner(self, sides[0]), inner(self, sides[1])) else {
            return Err(self.refusal(
                Diagnostic::new("expression-axes", "an operand of `dot` has an axis that the result lacks")
                    .at(node.span.clone(), "this `dot`"),
            ));
        };
        let left = self.expand(sides[0].0, &left, scope)?;
        let right = self.expand(sides[1].0, &right, scope)?;
        let mut products: Vec<Monomial> = left.iter().flat_map(|l| right.iter().map(|r| l.times(r))).collect();
        products.iter_mut().for_each(|m| m.contracted.push(label));
        Ok(products)
    }

    /// `base` with one axis looked up by a column or chosen by a gate.
    fn expand_index(
        &mut self,
        id: NodeId,
        (base, position): (NodeId, usize),
        source: IndexSource,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<Vec<Monomial>, CaviError> {
        let mut others = self.graph.node(base).axes.clone();
        let axis = others.remove(position);
        let replaced = match source {
            IndexSource::Column(column) => AxisIndex::codes(self.codes(column, axis)),
            IndexSource::Gate(gate) => {
                let gate_index = self.child(id, index, gate)?;
                self.gate(gate, &gate_index, scope)?
            }
        };
        let mut inner = Self::inherit(&self.graph.node(id).axes, index, &others).ok_or_else(|| {
            self.refusal(
                Diagnostic::new("expression-axes", "an indexed expression lost one of its axes")
                    .at(self.graph.node(id).span.clone(), "here"),
            )
        })?;
        inner.insert(position, replaced);
        self.expand(base, &inner, scope)
    }

    /// A variable where it stands: its missing values are a variable of their own, x = x_observed + [x missing] x_missing.
    pub(super) fn variable_sum(
        &mut self,
        v: VariableId,
        index: &[AxisIndex],
        span: &std::ops::Range<usize>,
    ) -> Result<Vec<Monomial>, CaviError> {
        let one = |atoms| Monomial { coefficient: 1.0, atoms, contracted: vec![] };
        let shift = self.shifts.location.get(&v).copied().filter(|_| self.reporting);
        if let Some(shift) = shift
            && let Some(place) = Self::inherit(&self.graph.value_axes(v), index, &self.graph.node(shift).axes)
        {
            let moved = Atom { kind: AtomKind::Data(shift), index: place };
            return Ok(vec![one(vec![self.variable_atom(v, index, span)?]), one(vec![moved])]);
        }
        let Some(&missing) = self.missing.get(&v) else {
            return Ok(vec![one(vec![self.variable_atom(v, index, span)?])]);
        };
        let value = self.variable_atom(v, index, span)?;
        let AtomKind::Data(node) = value.kind else { return Ok(vec![one(vec![value])]) };
        let absent = Atom { kind: AtomKind::Absent(node), index: value.index.clone() };
        let latent = Atom { kind: AtomKind::Variable(missing), index: index.to_vec() };
        Ok(vec![one(vec![value]), one(vec![absent, latent])])
    }

    /// A variable where it stands: itself if latent, its values if observed.
    pub(super) fn variable_atom(
        &mut self,
        v: VariableId,
        index: &[AxisIndex],
        span: &std::ops::Range<usize>,
    ) -> Result<Atom, CaviError> {
        if self.is_latent(v) {
            return Ok(Atom { kind: AtomKind::Variable(v), index: index.to_vec() });
        }
        match self.graph.variable(v).observed {
            Some(Observation::Numeric(node)) => {
                let known = self.missing.contains_key(&v);
                if !known
                    && !index.is_empty()
                    && self.has_missing(node)?
                    && !span.is_empty()
                    && self.reads_as_parent(v, span)
                {
                    let name = &self.graph.variable(v).name;
                    return Err(self.refusal(
                        Diagnostic::new(
                            "missing-parent",
                            format!("`{name}` has missing cells and is a parent of another variable"),
                        )
                        .at(span.clone(), "used here")
                        .help("run this model with sgvi, or fill the cells by a variable of your own"),
                    ));
                }
                let axes = self.graph.value_axes(v);
                let inner = Self::inherit(&axes, index, &self.graph.node(node).axes);
                match inner {
                    Some(index) => Ok(Atom { kind: AtomKind::Data(node), index }),
                    None => Err(self.refusal(
                        Diagnostic::new(
                            "expression-axes",
                            "the observed values have an axis that their variable lacks",
                        )
                        .at(span.clone(), "here"),
                    )),
                }
            }
            _ => Err(self.refusal(
                Diagnostic::new(
                    "category-as-number",
                    format!(
                        "the categorical variable `{}` stands where a number is needed",
                        self.graph.variable(v).name
                    ),
                )
                .at(span.clone(), "used as a number")
                .help("use it as an index: `parameter[variable]`"),
            )),
        }
    }

    /// The index that a gate puts in the place of an axis, registering the gate in the scope.
    pub(super) fn gate(
        &mut self,
        gate: NodeId,
        index: &[AxisIndex],
        scope: &mut Scope,
    ) -> Result<AxisIndex, CaviError> {
        let node = self.graph.node(gate).clone();
        let (variable, plates) = self.gate_plates(gate, index.to_vec())?;
        if let Some(known) = scope.gates.iter().find(|g| g.variable == variable && g.plates == plates) {
            return Ok(AxisIndex::label(known.label));
        }
        let Some(range) = self.category_axis(variable) else {
            return Err(self.gate_refusal(&node.span));
        };
        if !self.is_latent(variable) {
            // An observed gate is a look-up.
            return match self.graph.variable(variable).observed {
                Some(Observation::Levels { column, axis }) if plates == [AxisIndex::label(crate::program::ROWS)] => {
                    Ok(AxisIndex::codes(self.codes(column, axis)))
                }
                _ => Err(self.gate_refusal(&node.span)),
            };
        }
        let axis = self.graph.axis(range).clone();
        let label = self.program.new_label(&axis.name, axis.size);
        let mut operand = self.variable_operand(variable, &plates, 0, &node.span)?;
        operand.index.push(AxisIndex::label(label));
        scope.gates.push(Gate { variable, plates, label, operand });
        Ok(AxisIndex::label(label))
    }

    /// The categorical variable of a gate and how its plates are addressed, look-ups by columns undone.
    fn gate_plates(&mut self, gate: NodeId, index: Vec<AxisIndex>) -> Result<(VariableId, Vec<AxisIndex>), CaviError> {
        let node = self.graph.node(gate).clone();
        match node.kind {
            NodeKind::Variable(v) => Ok((v, index)),
            NodeKind::Index { base, position, index: IndexSource::Column(column) } => {
                let axes = self.graph.node(base).axes.clone();
                let others: Vec<AxisId> =
                    axes.iter().enumerate().filter(|(p, _)| *p != position).map(|(_, a)| *a).collect();
                let mut plates =
                    Self::inherit(&node.axes, &index, &others).ok_or_else(|| self.gate_refusal(&node.span))?;
                plates.insert(position, AxisIndex::codes(self.codes(column, axes[position])));
                self.gate_plates(base, plates)
            }
            _ => Err(self.gate_refusal(&node.span)),
        }
    }

    fn gate_refusal(&self, span: &std::ops::Range<usize>) -> CaviError {
        self.refusal(
            Diagnostic::new(
                "gate",
                "a gate must be a categorical or markov-chain variable, or one looked up by a column",
            )
            .at(span.clone(), "this index"),
        )
    }

    /// The code array of a column along an axis, registered once.
    pub(super) fn codes(&mut self, column: ColumnId, axis: AxisId) -> usize {
        self.look_up(CodesSpec { column: Some(column), axis })
    }

    /// A look-up, registered once.
    pub(super) fn look_up(&mut self, spec: CodesSpec) -> usize {
        match self.program.codes.iter().position(|c| *c == spec) {
            Some(found) => found,
            None => {
                self.program.codes.push(spec);
                self.program.codes.len() - 1
            }
        }
    }
}
