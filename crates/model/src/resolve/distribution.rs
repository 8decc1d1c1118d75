//! The distribution of one variable from its resolved parameters.

use super::variable::Parameters;
use super::{Reported, Resolver};
use crate::data::ColumnId;
use crate::diagnostic::Diagnostic;
use crate::graph::{
    AxisId, BinaryOperator, Distribution, NodeId, NodeKind, PrecisionOrSd, Probability, RateOrScale, Spread,
    SpreadForm, VariableId, WishartScale, joint_parts, same_element,
};
use crate::registry::Support;
use crate::resolve::parameters::Shape;
use crate::spec::{Entry, VariableSpec};

impl Resolver<'_> {
    fn form(&self, index: usize, node: NodeId) -> SpreadForm {
        let shell = &self.shells[index];
        let Some(dimension) = shell.dimension else {
            return SpreadForm::Scalar;
        };
        let as_plate = shell.plates.contains(&dimension);
        let count = self
            .axes_of(node)
            .iter()
            .zip(self.roles_of(node))
            .filter(|(axis, role)| **axis == dimension && (!as_plate || **role != super::node::Role::Plate))
            .count();
        match (count, as_plate && self.axes_of(node).contains(&dimension)) {
            (0, false) => SpreadForm::Scalar,
            (0 | 1, _) => SpreadForm::PerCoordinate,
            _ => SpreadForm::Matrix,
        }
    }

    /// The distribution of a variable from its parameters' nodes; every parameter of the written form was checked to be there.
    pub(super) fn distribution(
        &mut self,
        index: usize,
        name: &str,
        written: &VariableSpec,
        nodes: &Parameters,
    ) -> Result<Distribution, Reported> {
        let get = |key: &str| nodes.get(key).copied().ok_or(Reported);
        Ok(match name {
            "normal" => match written.keys.iter().find(|f| f.key == "parameters") {
                Some(field) => Distribution::NormalJoint { parameters: self.joint_parameters(index, field)? },
                None => self.normal(index, nodes)?,
            },
            "normal-gamma" => {
                let mean_precision = get("mean_precision")?;
                Distribution::NormalGamma {
                    mean: get("mean")?,
                    mean_precision,
                    form: self.form(index, mean_precision),
                    shape: get("shape")?,
                    rate: get("rate")?,
                }
            }
            "categorical" => {
                let logits = nodes.contains_key("logits");
                Distribution::Categorical {
                    probabilities: get(if logits { "logits" } else { "probabilities" })?,
                    range: self.range(index)?,
                    logits,
                }
            }
            "multinomial" => {
                Distribution::Multinomial { probabilities: get("probabilities")?, range: self.range(index)? }
            }
            "markov-chain" => {
                self.along_rows(index)?;
                let transition = get("transition")?;
                let range = self.range(index)?;
                self.transition_axes(index, transition, range)?;
                Distribution::MarkovChain {
                    initial: get("initial")?,
                    transition,
                    range,
                    sequence: self.sequence(index)?,
                }
            }
            "gaussian-markov-chain" => {
                self.along_rows(index)?;
                let (initial, innovation) = (get("initial_precision")?, get("innovation_precision")?);
                Distribution::GaussianMarkovChain {
                    initial_mean: get("initial_mean")?,
                    initial_precision: initial,
                    initial_form: self.form(index, initial),
                    transition: get("transition")?,
                    innovation_precision: innovation,
                    innovation_form: self.form(index, innovation),
                    offset: nodes.get("offset").copied(),
                    sequence: self.sequence(index)?,
                }
            }
            _ => of_parameters(name, nodes)?,
        })
    }

    /// A normal with a mean and one of four spreads.
    fn normal(&self, index: usize, nodes: &Parameters) -> Result<Distribution, Reported> {
        let get = |key: &str| nodes.get(key).copied();
        let spread = match (get("precision"), get("variance"), get("sd"), get("covariance")) {
            (Some(node), ..) => Spread::Precision(node),
            (_, Some(node), ..) => Spread::Variance(node),
            (_, _, Some(node), _) => Spread::StandardDeviation(node),
            (.., covariance) => Spread::Covariance(covariance.ok_or(Reported)?),
        };
        let (Spread::Precision(node)
        | Spread::Variance(node)
        | Spread::StandardDeviation(node)
        | Spread::Covariance(node)) = spread;
        let form = self.form(index, node);
        // A covariance that is no matrix is the same number or the same numbers as the variance.
        let spread = match spread {
            Spread::Covariance(node) if form != SpreadForm::Matrix => Spread::Variance(node),
            Spread::Variance(node) if form == SpreadForm::Matrix => Spread::Covariance(node),
            other => other,
        };
        Ok(Distribution::Normal { mean: get("mean").ok_or(Reported)?, spread, form })
    }

    /// `parameters = "g[z]"`: a joint variable that fits, possibly looked up or gated; or, of a normal-gamma variable, an
    /// expression linear in its location.
    fn joint_parameters(&mut self, index: usize, field: &Entry) -> Result<NodeId, Reported> {
        let mut context = self.context(index, "parameters");
        context.joint = true;
        let node = self.parameter(field, Shape::Vector, &context)?;
        let mut base = node;
        while let NodeKind::Index { base: inner, .. } = self.nodes[base.0].kind {
            base = inner;
        }
        let refuse = |message: String, help: String| {
            Diagnostic::new("not-a-joint-variable", message)
                .at(field.value.span.clone(), "not a fitting pair")
                .help(help)
        };
        let user = context.user;
        let NodeKind::Variable(id) = self.nodes[base.0].kind else {
            return match self.linear_pair(node) {
                Ok(()) => Ok(node),
                Err(why) => {
                    let help = "name a normal-gamma or normal-wishart variable, possibly indexed: \"g[z]\", or write an \
                                expression linear in one normal-gamma variable: \"dot(w, x) + offset\"";
                    Err(self.report(refuse(format!("{user} {why}"), help.into())))
                }
            };
        };
        let parent = self.shells[id.0].clone();
        let name = self.spec.variables[id.0].name.clone();
        let dimension = self.shells[index].dimension;
        match parent.entry.map(|e| (e.name, e.support)) {
            Some((_, Support::Pair)) if parent.dimension == dimension => Ok(node),
            Some((distribution, Support::Pair)) => {
                let words = |this: &Self, d: Option<AxisId>| match d {
                    Some(axis) => format!("dimension `{}`", this.axis_name(axis)),
                    None => "no dimension".into(),
                };
                let (own, theirs) = (words(self, dimension), words(self, parent.dimension));
                Err(self.report(refuse(
                    format!("{user} is `{name}` (`{distribution}`), which has {theirs}, but the variable has {own}"),
                    "give both the same `dimension`; a scalar normal takes a normal-gamma, a vector a normal-wishart"
                        .into(),
                )))
            }
            Some((distribution, _)) => Err(self.report(refuse(
                format!("{user} is `{name}`, which is `{distribution}`, not a pair of mean and precision"),
                "name a normal-gamma or normal-wishart variable, or write `mean` and `precision`".into(),
            ))),
            None => Err(Reported),
        }
    }

    /// Whether an expression is linear in the location of one normal-gamma variable, which stands in it; or why not.
    fn linear_pair(&self, node: NodeId) -> Result<(), String> {
        let mut pairs: Vec<VariableId> = Vec::new();
        self.each_variable(node, &mut |id| {
            let pair = self.shells[id.0].entry.is_some_and(|e| e.support == Support::Pair);
            if pair && !pairs.contains(&id) {
                pairs.push(id);
            }
        });
        let name = |id: &VariableId| self.spec.variables[id.0].name.as_str();
        let pair = match pairs.as_slice() {
            [] => return Err("is not a variable, and holds no pair of mean and precision".into()),
            [pair] => pair,
            [first, second, ..] => {
                return Err(format!("holds two pairs of mean and precision, `{}` and `{}`", name(first), name(second)));
            }
        };
        if self.shells[pair.0].entry.is_some_and(|e| e.name != "normal-gamma") {
            return Err(format!("holds `{}`, which can only stand by itself: its precision is a matrix", name(pair)));
        }
        if self.degree(node, *pair) != Some(1) {
            return Err(format!("is not linear in `{}`", name(pair)));
        }
        let parts = joint_parts(&self.nodes, node, &|id| id == *pair);
        if parts.iter().any(|part| !same_element(&self.nodes, parts[0], *part)) {
            return Err(format!("reads two elements of `{}`, but a normal variable has one precision", name(pair)));
        }
        Ok(())
    }

    /// How often a variable stands in the products of an expression, where that is a polynomial in it.
    fn degree(&self, node: NodeId, variable: VariableId) -> Option<usize> {
        let of = |node: NodeId| self.degree(node, variable);
        match &self.nodes[node.0].kind {
            NodeKind::Variable(id) => Some(usize::from(*id == variable)),
            NodeKind::Negate(a) => of(*a),
            NodeKind::Binary(BinaryOperator::Add | BinaryOperator::Subtract, a, b) => Some(of(*a)?.max(of(*b)?)),
            NodeKind::Binary(BinaryOperator::Multiply, a, b) | NodeKind::Dot { left: a, right: b, .. } => {
                Some(of(*a)? + of(*b)?)
            }
            NodeKind::Binary(BinaryOperator::Divide, a, b) if of(*b)? == 0 => of(*a),
            NodeKind::Index { base, .. } => of(*base),
            NodeKind::Function(_, a) if of(*a)? == 0 => Some(0),
            NodeKind::Network { arguments, .. } => {
                arguments.iter().map(|a| of(*a)).all(|degree| degree == Some(0)).then_some(0)
            }
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => Some(0),
            NodeKind::Binary(..) | NodeKind::Function(..) => None,
        }
    }

    fn along_rows(&mut self, index: usize) -> Result<(), Reported> {
        let written = &self.spec.variables[index];
        let shell = &self.shells[index];
        if self.rows.is_some_and(|rows| shell.plates.contains(&rows)) {
            return Ok(());
        }
        let help = match self.rows {
            Some(rows) => format!("add \"{}\" to its plates", self.axis_name(rows)),
            None => "declare a plate \"rows\" and give it to the variable".into(),
        };
        let mistake = Diagnostic::new(
            "chain-without-rows",
            format!("variable `{}` is a chain along the data rows, but lacks the rows' plate", written.name),
        )
        .at(written.span.clone(), "this chain")
        .help(help);
        Err(self.report(mistake))
    }

    fn transition_axes(&mut self, index: usize, node: NodeId, range: AxisId) -> Result<(), Reported> {
        let axes = self.axes_of(node).to_vec();
        let size = self.axes[range.0].size;
        let beside: Vec<AxisId> = axes.iter().copied().filter(|axis| Some(*axis) != self.rows).collect();
        if let [.., from, to] = beside[..]
            && self.axes[from.0].size == size
            && self.axes[to.0].size == size
        {
            return Ok(());
        }
        let written = &self.spec.variables[index];
        let span = written.get("transition").map_or(0..0, |v| v.span.clone());
        let mistake = Diagnostic::new(
            "transition-axes",
            format!("`transition` of variable `{}` has {}, but its last two axes must be the state left and the state entered, of {size} elements each", written.name, self.axis_names(&axes)),
        )
        .at(span, "not state × state")
        .help(format!("use a dirichlet variable whose last plate and whose dimension are both \"{}\"", self.axis_name(range)));
        Err(self.report(mistake))
    }

    fn sequence(&mut self, index: usize) -> Result<Option<ColumnId>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(value) = written.get("sequence") else {
            return Ok(None);
        };
        let text = value.text().unwrap_or_default();
        match self.data.column_named(text) {
            Some(column) => Ok(Some(column)),
            None => Err(self.unknown_column(text, value, &format!("`sequence` of variable `{}`", written.name))),
        }
    }
}

/// A distribution that its parameters alone make.
fn of_parameters(name: &str, nodes: &Parameters) -> Result<Distribution, Reported> {
    let get = |key: &str| nodes.get(key).copied().ok_or(Reported);
    let optional = |key: &str| nodes.get(key).copied();
    let wishart_scale = || match optional("scale") {
        Some(node) => Ok(WishartScale::Scale(node)),
        None => get("inverse_scale").map(WishartScale::InverseScale),
    };
    let probability = || match (optional("probability"), optional("logit")) {
        (Some(node), _) => Ok(Probability::Probability(node)),
        (None, Some(node)) => Ok(Probability::Logit(node)),
        (None, None) => get("probit").map(Probability::Probit),
    };
    Ok(match name {
        "normal-wishart" => Distribution::NormalWishart {
            mean: get("mean")?,
            mean_precision: get("mean_precision")?,
            degrees_of_freedom: get("degrees_of_freedom")?,
            scale: wishart_scale()?,
        },
        "gamma" => Distribution::Gamma {
            shape: get("shape")?,
            rate: match optional("rate") {
                Some(node) => RateOrScale::Rate(node),
                None => RateOrScale::Scale(get("scale")?),
            },
        },
        "inverse-gamma" => Distribution::InverseGamma { shape: get("shape")?, scale: get("scale")? },
        "wishart" => Distribution::Wishart { degrees_of_freedom: get("degrees_of_freedom")?, scale: wishart_scale()? },
        "beta" => Distribution::Beta { alpha: get("alpha")?, beta: get("beta")? },
        "dirichlet" => Distribution::Dirichlet { concentration: get("concentration")? },
        "stick-breaking" => Distribution::StickBreaking { concentration: get("concentration")? },
        "bernoulli" => Distribution::Bernoulli { probability: probability()? },
        "binomial" => Distribution::Binomial { trials: get("trials")?, probability: probability()? },
        "poisson" => match optional("rate") {
            Some(rate) => Distribution::Poisson { rate, log: false },
            None => Distribution::Poisson { rate: get("log_rate")?, log: true },
        },
        "exponential" => Distribution::Exponential { rate: get("rate")? },
        "student-t" => Distribution::StudentT {
            degrees_of_freedom: get("degrees_of_freedom")?,
            mean: get("mean")?,
            spread: match optional("precision") {
                Some(node) => PrecisionOrSd::Precision(node),
                None => PrecisionOrSd::StandardDeviation(get("sd")?),
            },
        },
        "half-normal" => Distribution::HalfNormal { sd: get("sd")? },
        "half-cauchy" => Distribution::HalfCauchy { scale: get("scale")? },
        "half-student-t" => {
            Distribution::HalfStudentT { degrees_of_freedom: get("degrees_of_freedom")?, scale: get("scale")? }
        }
        "cauchy" => Distribution::Cauchy { location: get("location")?, scale: get("scale")? },
        "laplace" => Distribution::Laplace { location: get("location")?, scale: get("scale")? },
        "log-normal" => Distribution::LogNormal { mean: get("mean")?, sd: get("sd")? },
        "logistic" => Distribution::Logistic { location: get("location")?, scale: get("scale")? },
        "uniform" => Distribution::Uniform { lower: get("lower")?, upper: get("upper")? },
        "negative-binomial" => Distribution::NegativeBinomial { mean: get("mean")?, dispersion: get("dispersion")? },
        "flat" => Distribution::Flat,
        _ => return Err(Reported),
    })
}
