//! One variable: its distribution, its flags, its truncation and its amortised factor.

use std::collections::BTreeMap;

use super::parameters::{Shape, shape};
use super::{Context, Reported, Resolver};
use crate::check::distribution::amortized_covariance;
use crate::data::ColumnKind;
use crate::diagnostic::Diagnostic;
use crate::graph::{AmortizedCovariance, AxisId, AxisKind, NodeId, Variable};
use crate::registry::Support;
use crate::spec::{Entry, Value, ValueKind, VariableSpec};

/// The parameters of one variable, by key.
pub(super) type Parameters = BTreeMap<&'static str, NodeId>;

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
                    let axis = self.observed_range(written, size).unwrap_or_else(|| {
                        self.add_axis(&format!("{}.range", written.name), size, AxisKind::Anonymous)
                    });
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
            largest: None,
            marginalized: match written.get("marginalized").map(|v| &v.kind) {
                Some(ValueKind::Boolean(b)) => Some(*b),
                _ => None,
            },
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

    /// The axis of the levels of the observed column, where it has as many as there are literal probabilities: that of a
    /// plate, or for text one of its own.
    fn observed_range(&mut self, written: &VariableSpec, size: usize) -> Option<AxisId> {
        let column = self.data.column_named(written.get("observed")?.text()?)?;
        let plate = self.plates.iter().find(|p| p.levels.contains(&column)).map(|p| p.axis);
        if let Some(axis) = plate.filter(|axis| self.axes[axis.0].size == size) {
            return Some(axis);
        }
        let levels = self.data.levels(column);
        let text = matches!(self.data.column(column).kind, ColumnKind::Text { .. });
        (text && levels.len() == size)
            .then(|| self.add_axis(&format!("{}.range", written.name), size, AxisKind::Levels { column, levels }))
    }

    pub(super) fn range(&mut self, index: usize) -> Result<AxisId, Reported> {
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
        let marginalized = written.keys.iter().find(|f| f.key == "marginalized");
        let discrete = matches!(support, Support::Binary | Support::Count | Support::Index | Support::Counts);
        if let Some(field) = marginalized.filter(|_| !discrete) {
            let mistake = Diagnostic::new(
                "marginalized-kind",
                format!("variable `{}` is not discrete, so there is nothing to sum out", written.name),
            )
            .at(field.value.span.clone(), "only of discrete variables")
            .help("remove `marginalized`");
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
