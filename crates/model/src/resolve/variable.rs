//! One variable: its distribution, its flags, its truncation and its amortised factor.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parameters::{Shape, shape};
use super::{Context, Meaning, Reported, Resolver};
use crate::check::distribution::amortized_covariance;
use crate::data::ColumnId;
use crate::diagnostic::Diagnostic;
use crate::graph::{
    AmortizedCovariance, AxisId, AxisKind, Distribution, IndexSource, NodeId, NodeKind, PrecisionOrSd, Probability,
    RateOrScale, Spread, SpreadForm, Tensor, Variable, WishartScale,
};
use crate::registry::Support;
use crate::spec::{Entry, Value, ValueKind, VariableSpec};

/// The parameters of one variable, by key.
type Parameters = BTreeMap<&'static str, NodeId>;

impl Resolver<'_> {
    pub(super) fn variable(&mut self, index: usize) -> Result<Variable, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(entry) = self.shells[index].entry else {
            return Err(Reported);
        };
        let mistakes_before = self.mistakes.len();
        let mut nodes = Parameters::new();
        let mut deferred = Vec::new();
        for parameter in entry.parameters {
            let is_factor = parameter.name == "covariance" && amortized_covariance(written).is_some();
            let Some(field) = written.keys.iter().find(|f| f.key == parameter.name) else { continue };
            if is_factor || matches!(parameter.name, "sequence" | "parameters") {
                continue;
            }
            let form = shape(entry.name, parameter.name);
            let literal = field.value.text().is_none();
            if matches!(form, Shape::Range | Shape::Transition) && literal && self.shells[index].range.is_none() {
                deferred.push((parameter.name, field, form));
                continue;
            }
            if let Ok(node) = self.own_parameter(index, field, form) {
                nodes.insert(parameter.name, node);
                if matches!(form, Shape::Range | Shape::Transition) {
                    let _ = self.find_range(index, node, form, field);
                }
            }
        }
        for (name, field, form) in deferred {
            if self.shells[index].range.is_none() {
                let size = last_length(&field.value);
                if let Some(size) = size {
                    let axis = self.add_axis(&format!("{}.range", written.name), size, AxisKind::Anonymous);
                    self.shells[index].range = Some(axis);
                }
            }
            if let Ok(node) = self.own_parameter(index, field, form) {
                nodes.insert(name, node);
            }
        }
        if self.mistakes.len() > mistakes_before {
            return Err(Reported);
        }
        let distribution = self.distribution(index, entry.name, written, &nodes)?;
        if entry.support == Support::Counts {
            self.shells[index].dimension = self.shells[index].range;
        }
        let shell = self.shells[index].clone();
        let flag = |key: &str| written.get(key).is_some_and(|v| v.kind == ValueKind::Boolean(true));
        let observed = self.observed(index, &distribution);
        let initial = self.initial(index);
        let mut bounds = [None, None];
        if entry.truncatable {
            for (bound, key) in bounds.iter_mut().zip(["lower", "upper"]) {
                if let Some(field) = written.keys.iter().find(|f| f.key == key) {
                    *bound = self.own_parameter(index, field, Shape::Scalar).ok();
                }
            }
        }
        let amortized = self.amortized(index);
        self.flags(written, &shell.plates, shell.dimension, entry.support);
        let mut key_spans: BTreeMap<String, std::ops::Range<usize>> = BTreeMap::new();
        for field in &written.keys {
            key_spans.insert(field.key.clone(), field.value.span.clone());
        }
        let (observed, initial, amortized) = (observed?, initial?, amortized?);
        if self.mistakes.len() > mistakes_before {
            return Err(Reported);
        }
        Ok(Variable {
            name: written.name.clone(),
            plates: shell.plates,
            dimension: shell.dimension,
            distribution,
            observed,
            initial,
            point: flag("point"),
            ordered: flag("ordered"),
            lower: bounds[0],
            upper: bounds[1],
            amortized,
            amortized_covariance: match amortized_covariance(written).and_then(Value::text) {
                Some("full") => AmortizedCovariance::Full,
                _ => AmortizedCovariance::Diagonal,
            },
            span: written.span.clone(),
            key_spans,
        })
    }

    pub(super) fn context(&self, index: usize, key: &str) -> Context {
        let shell = &self.shells[index];
        Context {
            user: format!("`{key}` of variable `{}`", self.spec.variables[index].name),
            plates: shell.plates.clone(),
            dimension: shell.dimension,
            range: shell.range,
            ..Context::default()
        }
    }

    fn own_parameter(&mut self, index: usize, field: &Entry, form: Shape) -> Result<NodeId, Reported> {
        let mut context = self.context(index, &field.key);
        if !matches!(form, Shape::Range | Shape::Transition) {
            context.range = None;
        }
        if form == Shape::Scalar {
            context.dimension = None;
        }
        self.parameter(field, form, &context)
    }

    /// The axis that an index ranges over: the axis of its probabilities that is no plate of it.
    fn find_range(&mut self, index: usize, node: NodeId, form: Shape, field: &Entry) -> Result<(), Reported> {
        if self.shells[index].range.is_some() {
            return Ok(());
        }
        let (axes, roles) = (self.axes_of(node).to_vec(), self.roles_of(node).to_vec());
        let plates = self.shells[index].plates.clone();
        let extra: Vec<AxisId> = axes.iter().copied().filter(|a| !plates.contains(a)).collect();
        let last_dimension = axes
            .iter()
            .zip(&roles)
            .rev()
            .find(|(_, role)| **role == super::node::Role::Dimension)
            .map(|(axis, _)| *axis);
        let range = match (form, extra.as_slice()) {
            (Shape::Transition, [.., last]) => Some(*last),
            (_, [only]) => Some(*only),
            _ => last_dimension,
        };
        let Some(range) = range else {
            let name = &self.spec.variables[index].name;
            let mistake = Diagnostic::new(
                "no-range",
                format!("`{}` of variable `{name}` has {}, so that the plate that `{name}` ranges over is unknown", field.key, self.axis_names(&axes)),
            )
            .at(field.value.span.clone(), "no axis of its own")
            .help("give probabilities with the axis that the index ranges over (a dirichlet variable with that dimension, a constant with axes), or name it: dimension = \"PLATE\"");
            return Err(self.report(mistake));
        };
        self.shells[index].range = Some(range);
        Ok(())
    }

    fn range(&mut self, index: usize) -> Result<AxisId, Reported> {
        let written = &self.spec.variables[index];
        self.shells[index].range.ok_or(()).map_err(|()| {
            let mistake = Diagnostic::new(
                "no-range",
                format!("the plate that variable `{}` ranges over is unknown", written.name),
            )
            .at(written.span.clone(), "ranges over what?")
            .help("give probabilities with that axis, or name it: dimension = \"PLATE\"");
            self.report(mistake)
        })
    }

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

    fn distribution(
        &mut self,
        index: usize,
        name: &str,
        written: &VariableSpec,
        nodes: &Parameters,
    ) -> Result<Distribution, Reported> {
        // Every parameter of the written form was checked to be there.
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
            "normal" => {
                if let Some(field) = written.keys.iter().find(|f| f.key == "parameters") {
                    return Ok(Distribution::NormalJoint { parameters: self.joint_parameters(index, field)? });
                }
                let spread = match (optional("precision"), optional("variance"), optional("sd")) {
                    (Some(node), _, _) => Spread::Precision(node),
                    (_, Some(node), _) => Spread::Variance(node),
                    (_, _, Some(node)) => Spread::StandardDeviation(node),
                    _ => Spread::Covariance(get("covariance")?),
                };
                let (Spread::Precision(node)
                | Spread::Variance(node)
                | Spread::StandardDeviation(node)
                | Spread::Covariance(node)) = spread;
                if matches!(spread, Spread::Covariance(_)) && self.shells[index].dimension.is_none() {
                    let span = written.get("covariance").map_or(0..0, |v| v.span.clone());
                    let mistake = Diagnostic::new(
                        "covariance-of-scalar",
                        format!("variable `{}` is a scalar normal with a `covariance`", written.name),
                    )
                    .at(span, "a matrix")
                    .help("write variance = … for one number, or give the variable a `dimension`");
                    return Err(self.report(mistake));
                }
                Distribution::Normal { mean: get("mean")?, spread, form: self.form(index, node) }
            }
            "normal-gamma" => Distribution::NormalGamma {
                mean: get("mean")?,
                mean_precision: get("mean_precision")?,
                shape: get("shape")?,
                rate: get("rate")?,
            },
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
            "wishart" => {
                Distribution::Wishart { degrees_of_freedom: get("degrees_of_freedom")?, scale: wishart_scale()? }
            }
            "beta" => Distribution::Beta { alpha: get("alpha")?, beta: get("beta")? },
            "dirichlet" => Distribution::Dirichlet { concentration: get("concentration")? },
            "stick-breaking" => Distribution::StickBreaking { concentration: get("concentration")? },
            "bernoulli" => Distribution::Bernoulli { probability: probability()? },
            "binomial" => Distribution::Binomial { trials: get("trials")?, probability: probability()? },
            "categorical" => {
                let logits = optional("logits").is_some();
                Distribution::Categorical {
                    probabilities: get(if logits { "logits" } else { "probabilities" })?,
                    range: self.range(index)?,
                    logits,
                }
            }
            "multinomial" => {
                Distribution::Multinomial { probabilities: get("probabilities")?, range: self.range(index)? }
            }
            "poisson" => Distribution::Poisson {
                rate: match optional("rate") {
                    Some(node) => node,
                    None => get("log_rate")?,
                },
                log: optional("rate").is_none(),
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
                    sequence: self.sequence(index)?,
                }
            }
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
            "negative-binomial" => {
                Distribution::NegativeBinomial { mean: get("mean")?, dispersion: get("dispersion")? }
            }
            "flat" => Distribution::Flat,
            _ => return Err(Reported),
        })
    }

    /// `parameters = "g[z]"`: a joint variable that fits, possibly looked up or gated.
    fn joint_parameters(&mut self, index: usize, field: &Entry) -> Result<NodeId, Reported> {
        let mut context = self.context(index, "parameters");
        context.joint = true;
        let node = self.parameter(field, Shape::Scalar, &context)?;
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
            let help = "name a normal-gamma or normal-wishart variable, possibly indexed: \"g[z]\"";
            return Err(self.report(refuse(format!("{user} is not a variable"), help.into())));
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
        if let [.., from, to] = axes[..]
            && self.axes[from.0].size == size
            && self.axes[to.0].size == size
            && Some(from) != self.rows
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

    fn initial(&mut self, index: usize) -> Result<Option<Arc<Tensor>>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(value) = written.get("initial") else {
            return Ok(None);
        };
        let entry = self.shells[index].entry;
        if entry.is_some_and(|e| e.name == "markov-chain") {
            return Ok(None);
        }
        let context = self.context(index, "initial");
        if let Some(x) = value.number() {
            if !x.is_finite() {
                let mistake = Diagnostic::new("not-finite", format!("{} is {x}", context.user))
                    .at(value.span.clone(), "must be finite");
                return Err(self.report(mistake));
            }
            return Ok(Some(Arc::new(Tensor { axes: Vec::new(), shape: Vec::new(), values: vec![x] })));
        }
        if let Some(text) = value.text() {
            return match self.names.get(text).map(|n| n.meaning.clone()) {
                Some(Meaning::Constant(tensor)) => Ok(Some(tensor)),
                Some(Meaning::Number(x)) => {
                    Ok(Some(Arc::new(Tensor { axes: Vec::new(), shape: Vec::new(), values: vec![x] })))
                }
                _ => {
                    let mistake =
                        Diagnostic::new("initial-form", format!("{} is `{text}`, which is no constant", context.user))
                            .at(value.span.clone(), "not a constant")
                            .help("write a number, an array, or the name of a constant of [data.values]");
                    Err(self.report(mistake))
                }
            };
        }
        let form = match entry.map(|e| e.support) {
            Some(Support::PositiveDefinite) => Shape::Matrix,
            Some(Support::Index) => Shape::Range,
            _ => Shape::Vector,
        };
        self.array(value, form, &context).map(|tensor| Some(Arc::new(tensor)))
    }

    fn amortized(&mut self, index: usize) -> Result<Option<NodeId>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(field) = written.keys.iter().find(|f| f.key == "amortized") else {
            return Ok(None);
        };
        let context = self.context(index, "amortized");
        let refuse = |message: &str, help: &str| {
            Diagnostic::new("amortized", format!("{} {message}", context.user))
                .at(field.value.span.clone(), "the factor")
                .help(help.to_string())
        };
        if written.get("observed").is_some() {
            return Err(self.report(refuse(
                "stands beside `observed`",
                "an observed variable has no factor: remove one of the two",
            )));
        }
        if !self.rows.is_some_and(|rows| context.plates.contains(&rows)) {
            return Err(
                self.report(refuse("needs the rows' plate", "only variables of the data rows have amortised factors"))
            );
        }
        let node = self.parameter(field, Shape::Vector, &context)?;
        if !matches!(self.nodes[node.0].kind, NodeKind::Network { .. }) {
            return Err(
                self.report(refuse("is not a network", "write a network of the data, such as \"encoder(pixels)\""))
            );
        }
        let mut latent = None;
        self.each_variable(node, &mut |id| latent = Some(id));
        if latent.is_some() {
            return Err(
                self.report(refuse("depends on a variable", "an amortised factor is a network of the data alone"))
            );
        }
        let d = context.dimension.map_or(1, |axis| self.axes[axis.0].size);
        let full = amortized_covariance(written).and_then(Value::text) == Some("full");
        self.set_last_output(d + if full { d * (d + 1) / 2 } else { d });
        Ok(Some(node))
    }

    /// Calls `see` on every variable below a node.
    pub(super) fn each_variable(&self, node: NodeId, see: &mut dyn FnMut(crate::graph::VariableId)) {
        match &self.nodes[node.0].kind {
            NodeKind::Variable(id) => see(*id),
            NodeKind::Negate(a) | NodeKind::Function(_, a) => self.each_variable(*a, see),
            NodeKind::Binary(_, a, b) | NodeKind::Dot { left: a, right: b, .. } => {
                self.each_variable(*a, see);
                self.each_variable(*b, see);
            }
            NodeKind::Index { base, index, .. } => {
                self.each_variable(*base, see);
                if let IndexSource::Gate(gate) = index {
                    self.each_variable(*gate, see);
                }
            }
            NodeKind::Network { arguments, .. } => {
                for argument in arguments {
                    self.each_variable(*argument, see);
                }
            }
            NodeKind::Number(_) | NodeKind::Constant(_) | NodeKind::Column(_) | NodeKind::Block(_) => {}
        }
    }

    fn flags(&mut self, written: &VariableSpec, plates: &[AxisId], dimension: Option<AxisId>, support: Support) {
        let field = |key: &str| written.keys.iter().find(|f| f.key == key && f.value.kind == ValueKind::Boolean(true));
        if let Some(field) = field("ordered")
            && plates.is_empty()
            && dimension.is_none()
        {
            let mistake = Diagnostic::new(
                "ordered-scalar",
                format!("variable `{}` is `ordered`, but has a single element", written.name),
            )
            .at(field.value.span.clone(), "nothing to order")
            .help("give it a plate or a dimension, along whose last axis it shall increase");
            self.report(mistake);
        }
        if let Some(field) = field("point")
            && written.get("observed").is_some()
        {
            let mistake = Diagnostic::new(
                "point-observed",
                format!("variable `{}` is both `point` and `observed`", written.name),
            )
            .at(field.value.span.clone(), "nothing to estimate")
            .help("remove one of the two");
            self.report(mistake);
        }
        if let Some(field) = field("ordered")
            && !matches!(support, Support::Real | Support::Positive | Support::Unit | Support::Interval)
        {
            let mistake = Diagnostic::new(
                "ordered-kind",
                format!("variable `{}` cannot be `ordered`: its values are not real numbers", written.name),
            )
            .at(field.value.span.clone(), "not real numbers");
            self.report(mistake);
        }
    }
}

/// Length of the innermost arrays.
fn last_length(value: &Value) -> Option<usize> {
    value.numbers().ok()?.0.last().copied()
}
