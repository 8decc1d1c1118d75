//! Which factors q has: one per latent variable, joint ones for blocks, and auxiliary ones.

use vi_model::diagnostic::Diagnostic;
use vi_model::graph::{AxisId, Distribution, NodeId, NodeKind, Tensor, VariableId};

use super::{Lowering, Scope};
use crate::error::CaviError;
use crate::factor::{Family, Part};
use crate::program::{AxisIndex, CodesSpec, Factor, FactorId, Member, Operand, ROWS, Source};

impl Lowering {
    /// Variables that a variable's density reads.
    pub(super) fn parents(&self, v: VariableId) -> Vec<VariableId> {
        let parameters = self.graph.variable(v).distribution.parameters();
        parameters.into_iter().flat_map(|(_, node)| self.graph.variables_of(node)).collect()
    }

    /// Whether a place in the model file is not the variable's own table.
    pub(super) fn reads_as_parent(&self, v: VariableId, span: &std::ops::Range<usize>) -> bool {
        *span != self.graph.variable(v).span
    }

    fn is_unbounded(&self, v: VariableId) -> bool {
        let variable = self.graph.variable(v);
        variable.lower.is_none() && variable.upper.is_none()
    }

    /// Whether a variable is bounded by 0 from below alone.
    fn is_positive(&self, v: VariableId) -> bool {
        let variable = self.graph.variable(v);
        let zero = |node: NodeId| matches!(self.graph.node(node).kind, NodeKind::Number(0.0));
        variable.lower.is_some_and(zero) && variable.upper.is_none()
    }

    fn family(&self, v: VariableId) -> Result<Family, CaviError> {
        let variable = self.graph.variable(v);
        let size = variable.dimension.map_or(1, |d| self.graph.axis(d).size);
        Ok(match &variable.distribution {
            Distribution::Normal { .. }
            | Distribution::NormalJoint { .. }
            | Distribution::StudentT { .. }
            | Distribution::Laplace { .. } => {
                if variable.dimension.is_some() {
                    Family::NormalVector(size)
                } else {
                    Family::Normal
                }
            }
            // A point without a prior: what maximises the rest.
            Distribution::Flat if variable.point && self.is_unbounded(v) => {
                if variable.dimension.is_some() {
                    Family::NormalVector(size)
                } else {
                    Family::Normal
                }
            }
            Distribution::Flat if variable.point && self.is_positive(v) => Family::Gamma,
            Distribution::Flat => {
                return Err(self.refusal(
                    Diagnostic::new("flat", format!("`{}` has no prior, and is no point or an interval", variable.name))
                        .at(variable.span.clone(), "this variable")
                        .help("estimate it as a point: `point = true`, with `lower = 0.0` if it is positive; or run it with sgvi"),
                ));
            }
            Distribution::NormalGamma { .. } if variable.dimension.is_some() => Family::NormalGammaVector(size),
            Distribution::NormalGamma { .. } => Family::NormalGamma,
            Distribution::NormalWishart { .. } => Family::NormalWishart(size),
            Distribution::Gamma { .. } | Distribution::Exponential { .. } => Family::Gamma,
            Distribution::InverseGamma { .. } => Family::InverseGamma,
            Distribution::Wishart { .. } => Family::Wishart(size),
            Distribution::Beta { .. } => Family::Beta,
            Distribution::Dirichlet { .. } => Family::Dirichlet(size),
            // One stick takes all, whatever the concentration.
            Distribution::StickBreaking { .. } if size == 1 => Family::Dirichlet(1),
            Distribution::StickBreaking { .. } => Family::StickBreaking(size),
            Distribution::Bernoulli { .. } => Family::Bernoulli,
            Distribution::Poisson { .. } => Family::Poisson,
            Distribution::Categorical { range, .. } => Family::Categorical(self.graph.axis(*range).size),
            Distribution::MarkovChain { range, .. } => {
                let states = self.graph.axis(*range).size;
                if self.steps_differ(v) { Family::MarkovSteps(states) } else { Family::MarkovChain(states) }
            }
            Distribution::GaussianMarkovChain { .. } => {
                if self.steps_differ(v) {
                    Family::GaussianSteps(size)
                } else {
                    Family::GaussianMarkovChain(size)
                }
            }
            Distribution::Binomial { .. } | Distribution::Multinomial { .. } => {
                let help = if self.is_read(v) && self.is_latent_count(v) {
                    format!(
                        "run this model with sgvi, which sums a count out: `marginalized = true` in `{}`",
                        variable.name
                    )
                } else {
                    "observe it, or leave it out: a count that nothing depends on adds nothing to the posterior".into()
                };
                return Err(self.refusal(
                    Diagnostic::new(
                        "latent-count",
                        format!("`{}` is a latent {}", variable.name, variable.distribution.name()),
                    )
                    .at(variable.span.clone(), "not observed")
                    .help(help),
                ));
            }
            other => {
                return Err(self.refusal(
                    Diagnostic::new(
                        "not-conjugate",
                        format!("`{}` is a {} variable, which has no conjugate update", variable.name, other.name()),
                    )
                    .at(variable.span.clone(), "this variable")
                    .help("run this model with sgvi, which treats every distribution of the language"),
                ));
            }
        })
    }

    /// Makes the factors of all latent variables.
    pub(super) fn make_factors(&mut self) -> Result<(), CaviError> {
        let blocks = self.graph.inference.blocks.clone();
        for block in &blocks {
            self.make_block(block)?;
        }
        for v in 0..self.graph.variables.len() {
            let id = VariableId(v);
            if !self.is_latent(id) || self.factor_of.contains_key(&id) {
                continue;
            }
            let variable = self.graph.variable(id).clone();
            if variable.ordered {
                let span = variable.key_spans.get("ordered").cloned().unwrap_or_else(|| variable.span.clone());
                return Err(self.refusal(
                    Diagnostic::new(
                        "ordered",
                        format!("the elements of `{}` cannot be ordered by coordinate ascent", variable.name),
                    )
                    .at(span, "here")
                    .help("run it with sgvi, or leave `ordered` out and order the elements afterwards"),
                ));
            }
            let mut family = self.family(id)?;
            if let (true, Some(part)) = (self.clamped.contains(&id), Part::of(family)) {
                family = Family::Partial(part);
            }
            if variable.point && family == Family::Gamma && self.is_shape(id) {
                family = Family::Shape;
            }
            if variable.point && family.is_chain() {
                let span = variable.key_spans.get("point").cloned().unwrap_or_else(|| variable.span.clone());
                return Err(self.refusal(
                    Diagnostic::new("point-chain", format!("the chain `{}` cannot be a point", variable.name))
                        .at(span, "here")
                        .help("leave `point` out: a chain is one exact joint factor; its parameters may be points"),
                ));
            }
            let local = self.graph.is_local(id);
            if family.is_chain() && (!local || variable.plates.len() > 1) {
                return Err(self.refusal(
                    Diagnostic::new(
                        "chain-plates",
                        format!("the chain `{}` must have exactly the rows' plate", variable.name),
                    )
                    .at(variable.span.clone(), "this chain"),
                ));
            }
            if family.is_chain() && self.program.counts.is_some() {
                return Err(self.refusal(
                    Diagnostic::new(
                        "chain-counts",
                        format!("the chain `{}` cannot be combined with `counts`", variable.name),
                    )
                    .at(variable.span.clone(), "this chain")
                    .help("write repeated rows out"),
                ));
            }
            let plate_axes: Vec<_> = variable.plates.iter().copied().filter(|p| Some(*p) != self.graph.rows).collect();
            let plates: Vec<usize> = plate_axes.iter().map(|a| self.graph.axis(*a).size).collect();
            let dimension = match family {
                Family::NormalVector(d) => d,
                _ => 1,
            };
            let initial = self.initial_values(id)?;
            self.factor_of.insert(id, self.program.factors.len());
            self.program.factors.push(Factor {
                name: variable.name.clone(),
                family,
                local,
                plates,
                plate_axes,
                point: variable.point,
                members: vec![Member {
                    variable: Some(id),
                    coordinates: 0..dimension,
                    flattened: vec![],
                    dimension,
                    shift: self.shift_values(id),
                }],
                owner: self.missing.iter().find(|(_, missing)| **missing == id).map_or(v, |(read, _)| read.0),
                coupled: false,
                symmetric: false,
                conditional_on: vec![],
                initial,
            });
        }
        Ok(())
    }

    /// Starting means laid out as the factor's first statistic (rows left out for local variables).
    fn initial_values(&self, v: VariableId) -> Result<Option<Vec<f64>>, CaviError> {
        let variable = self.graph.variable(v);
        let Some(initial) = &variable.initial else { return Ok(None) };
        let mut axes: Vec<_> = self.graph.value_axes(v).into_iter().filter(|a| Some(*a) != self.graph.rows).collect();
        // The mean of a category is its probabilities.
        if let Distribution::Categorical { range, .. } = variable.distribution {
            axes.push(range);
        }
        if initial.axes.iter().any(|a| !axes.contains(a)) {
            let span = variable.key_spans.get("initial").cloned().unwrap_or_else(|| variable.span.clone());
            return Err(self.refusal(
                Diagnostic::new("initial-rows", format!("`initial` of `{}` cannot differ between rows", variable.name))
                    .at(span, "here"),
            ));
        }
        let mut values = self.spread(initial, &axes);
        for (value, shift) in values.iter_mut().zip(self.shift_values(v)) {
            *value -= shift;
        }
        Ok(Some(values))
    }

    /// An array repeated over the axes that it lacks, laid out in the order given.
    pub(super) fn spread(&self, array: &Tensor, axes: &[AxisId]) -> Vec<f64> {
        let sizes: Vec<usize> = axes.iter().map(|a| self.graph.axis(*a).size).collect();
        let total = sizes.iter().product();
        let mut values = Vec::with_capacity(total);
        for flat in 0..total {
            let mut rest = flat;
            let mut positions = vec![0; axes.len()];
            for (position, size) in positions.iter_mut().zip(&sizes).rev() {
                *position = rest % size;
                rest /= size;
            }
            let mut offset = 0;
            for (i, (axis, length)) in array.axes.iter().zip(&array.shape).enumerate() {
                // The last axes of that name: an array runs over the last of its variable's axes.
                let own = array.axes[i..].iter().filter(|a| *a == axis).count();
                let at = (0..axes.len()).filter(|&p| axes[p] == *axis).rev().nth(own - 1).unwrap_or(0);
                offset = offset * length + positions[at];
            }
            values.push(array.values[offset]);
        }
        values
    }

    /// A joint factor of several normal variables: plates that all share stay plates, the others become coordinates.
    fn make_block(&mut self, names: &[String]) -> Result<(), CaviError> {
        let span = self.graph.inference.key_spans.get("blocks").cloned().unwrap_or(0..0);
        let refuse = |this: &Self, message: String, help: &str| {
            Err(this.refusal(Diagnostic::new("block", message).at(span.clone(), "this block").help(help)))
        };
        let mut variables = Vec::new();
        for name in names {
            let Some(v) = self.graph.variable_named(name) else {
                return refuse(
                    self,
                    format!("`blocks` names `{name}`, which is no variable"),
                    "name latent normal variables",
                );
            };
            if !self.is_latent(v) || self.factor_of.contains_key(&v) || variables.contains(&v) {
                return refuse(
                    self,
                    format!("`{name}` cannot join this block: it is observed or already in a block"),
                    "name each latent variable once",
                );
            }
            let family = self.family(v)?;
            if matches!(family, Family::Categorical(_) | Family::MarkovChain(_)) {
                return refuse(
                    self,
                    format!("`{name}` is discrete: a joint factor of `blocks` is Gaussian"),
                    "run it with sgvi, which sums discrete variables out jointly and exactly, or leave them in factors of their own",
                );
            }
            if !matches!(family, Family::Normal | Family::NormalVector(_)) {
                return refuse(
                    self,
                    format!("`{name}` is not normal: a joint factor of `blocks` is Gaussian"),
                    "for a mean and its precision use a normal-gamma or normal-wishart variable",
                );
            }
            variables.push(v);
        }
        let Some(first) = variables.first() else { return Ok(()) };
        let local = variables.iter().all(|v| self.graph.is_local(*v));
        let point = self.graph.variable(*first).point;
        if variables.iter().any(|v| self.graph.variable(*v).point != point) {
            return refuse(self, "a block mixes points with distributions".into(), "join variables of one kind");
        }
        // Rows joined with what all rows share become coordinates of one vector.
        let joined_rows = self.graph.rows.filter(|_| !local && variables.iter().any(|v| self.graph.is_local(*v)));
        if let Some(axis) = joined_rows {
            if self.graph.counts.is_some() {
                return refuse(
                    self,
                    "a block joins variables of the rows' plate with others, but the rows have counts".into(),
                    "write each repeated row out, or take the variables of the rows' plate out of the block",
                );
            }
            self.look_up(CodesSpec { column: None, axis });
        }
        let rows = if joined_rows.is_some() { None } else { self.graph.rows };
        let common: Vec<_> = self
            .graph
            .variable(*first)
            .plates
            .iter()
            .copied()
            .filter(|p| Some(*p) != rows && variables.iter().all(|v| self.graph.variable(*v).plates.contains(p)))
            .collect();
        let mut members = Vec::new();
        let mut start = 0;
        for v in &variables {
            let variable = self.graph.variable(*v);
            let flattened: Vec<usize> = variable
                .plates
                .iter()
                .filter(|p| Some(**p) != rows && !common.contains(p))
                .map(|p| self.graph.axis(*p).size)
                .collect();
            let dimension = variable.dimension.map_or(1, |d| self.graph.axis(d).size);
            let width = dimension * flattened.iter().product::<usize>();
            members.push(Member {
                variable: Some(*v),
                coordinates: start..start + width,
                flattened,
                dimension,
                shift: self.shift_values(*v),
            });
            start += width;
        }
        let id = self.program.factors.len();
        let plates: Vec<usize> = common.iter().map(|a| self.graph.axis(*a).size).collect();
        for v in &variables {
            self.factor_of.insert(*v, id);
        }
        self.program.factors.push(Factor {
            name: names.join(", "),
            family: Family::NormalVector(start),
            local,
            plates,
            plate_axes: common,
            point,
            members,
            owner: first.0,
            coupled: false,
            symmetric: false,
            conditional_on: vec![],
            initial: None,
        });
        let initial = self.block_initial(id, &variables)?;
        self.program.factors[id].initial = initial;
        Ok(())
    }

    /// Starting means of a joint factor; NaN where none is given.
    fn block_initial(&self, id: FactorId, variables: &[VariableId]) -> Result<Option<Vec<f64>>, CaviError> {
        let factor = &self.program.factors[id];
        let Family::NormalVector(total) = factor.family else { return Ok(None) };
        let mut all = None;
        for (v, member) in variables.iter().zip(&factor.members) {
            let Some(values) = self.initial_values(*v)? else { continue };
            let rows_joined = if factor.local { None } else { self.graph.rows };
            let plates = &self.graph.variable(*v).plates;
            let repeats = if plates.iter().any(|p| Some(*p) == rows_joined) { self.program.num_rows } else { 1 };
            if repeats > 1 && values.len() > 1 {
                let variable = self.graph.variable(*v);
                let span = variable.key_spans.get("initial").cloned().unwrap_or_else(|| variable.span.clone());
                return Err(self.refusal(
                    Diagnostic::new("initial-rows", format!("`initial` of `{}` must be one number", variable.name))
                        .at(span, "an array")
                        .help("a variable of the rows' plate that shares a block starts at one number in every row"),
                ));
            }
            let all = all.get_or_insert_with(|| vec![f64::NAN; factor.elements() * total]);
            let own: Vec<_> = plates.iter().copied().filter(|p| Some(*p) != self.graph.rows).collect();
            let sizes: Vec<usize> = own.iter().map(|p| self.graph.axis(*p).size).collect();
            for (flat, value) in values.iter().enumerate() {
                let (mut rest, coordinate) = (flat / member.dimension, flat % member.dimension);
                let mut positions = vec![0; own.len()];
                for (position, size) in positions.iter_mut().zip(&sizes).rev() {
                    *position = rest % size;
                    rest /= size;
                }
                let (mut element, mut joint) = (0, 0);
                for axis in &factor.plate_axes {
                    let at = own.iter().position(|p| p == axis).unwrap_or(0);
                    element = element * sizes[at] + positions[at];
                }
                for (at, plate) in own.iter().enumerate() {
                    if !factor.plate_axes.contains(plate) {
                        joint = joint * sizes[at] + positions[at];
                    }
                }
                for repeat in 0..repeats {
                    let first = member.coordinates.start + (joint + repeat) * member.dimension;
                    all[element * total + first + coordinate] = *value;
                }
            }
        }
        Ok(all)
    }

    /// A factor over the elements of a child's value that is no variable of the model.
    pub(super) fn auxiliary(&mut self, child: VariableId, what: &str, family: Family, scope: &Scope) -> FactorId {
        let rows = self.graph.rows;
        let axes: Vec<_> = scope.axes.iter().copied().filter(|a| Some(*a) != rows).collect();
        let plates = axes.iter().map(|a| self.graph.axis(*a).size).collect();
        self.push_auxiliary(child, what, family, self.graph.is_local(child), plates, axes)
    }

    /// A factor with elements of its own, beside the variables of the model.
    pub(super) fn push_auxiliary(
        &mut self,
        child: VariableId,
        what: &str,
        family: Family,
        local: bool,
        plates: Vec<usize>,
        plate_axes: Vec<AxisId>,
    ) -> FactorId {
        self.program.factors.push(Factor {
            name: format!("{}.{what}", self.graph.variable(child).name),
            family,
            local,
            plates,
            plate_axes,
            point: false,
            members: vec![Member { variable: None, coordinates: 0..1, flattened: vec![], dimension: 1, shift: vec![] }],
            owner: child.0,
            coupled: false,
            symmetric: false,
            conditional_on: vec![],
            initial: None,
        });
        self.program.factors.len() - 1
    }

    /// A statistic of an auxiliary factor at the child's own indices.
    pub(super) fn auxiliary_operand(&self, factor: FactorId, statistic: usize, scope: &Scope) -> Operand {
        Operand { source: Source::Statistic { factor, statistic }, index: self.rows_first(&scope.value) }
    }

    /// Indices with that of the rows moved to the front.
    pub(super) fn rows_first(&self, index: &[AxisIndex]) -> Vec<AxisIndex> {
        let row = AxisIndex::label(ROWS);
        let mut ordered: Vec<AxisIndex> = index.iter().filter(|a| **a == row).cloned().collect();
        ordered.extend(index.iter().filter(|a| **a != row).cloned());
        ordered
    }

    /// Marks factors whose elements meet in one product, and those that start symmetric to another.
    pub(super) fn mark_coupling(&mut self) {
        for term in &self.program.terms {
            for (i, operand) in term.operands.iter().enumerate() {
                let Source::Statistic { factor, statistic } = operand.source else { continue };
                for other in &term.operands[i + 1..] {
                    let Source::Statistic { factor: partner, statistic: second } = other.source else { continue };
                    if partner == factor {
                        self.program.factors[factor].coupled = true;
                    } else if statistic == 1 && second == 1 {
                        let gaussian = |f: FactorId| {
                            use Family::{GaussianMarkovChain, Normal, NormalVector};
                            matches!(self.program.factors[f].family, Normal | NormalVector(_) | GaussianMarkovChain(_))
                        };
                        if gaussian(factor) && gaussian(partner) {
                            self.program.factors[factor].symmetric = true;
                            self.program.factors[partner].symmetric = true;
                        }
                    }
                }
            }
        }
    }
}
