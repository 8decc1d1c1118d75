//! Products of expected statistics in mathematical notation.
//!
//! The update of a factor is read off the expected log joint: what multiplies a statistic in log q* is the sum, over all
//! products in which the statistic stands, of what else stands in them (Bishop, PRML, eq. 10.9; Winn & Bishop 2005).

use std::collections::HashMap;

use vi_model::graph::Distribution;

use super::Coefficient;
use super::symbols::{number, primed, short_axis};
use crate::factor::Family;
use crate::lower::Lowered;
use crate::plan::RowGroup;
use crate::program::{AxisIndex, FactorId, Label, Member, Operand, ROWS, RowData, Source, Step, Transform};

/// Summands shown of one coefficient.
const MOST_TERMS: usize = 12;

/// Writes the products of one model.
pub(super) struct Notation<'a> {
    lowered: &'a Lowered,
    rows: String,
    counts: Option<String>,
}

/// Names of the summation indices of one product.
#[derive(Default)]
struct Names {
    of: HashMap<Label, String>,
    taken: Vec<String>,
}

impl Names {
    /// The name of a label; a second label along the same axis gets a prime.
    fn label(&mut self, label: Label, axis: &str) -> String {
        if let Some(name) = self.of.get(&label) {
            return name.clone();
        }
        let name = self.fresh(axis);
        self.of.insert(label, name.clone());
        name
    }

    fn fresh(&mut self, axis: &str) -> String {
        let mut name = axis.to_owned();
        while self.taken.contains(&name) {
            name = primed(&name);
        }
        self.taken.push(name.clone());
        name
    }
}

impl<'a> Notation<'a> {
    /// Prepares the notation of a lowered model.
    pub(super) fn new(lowered: &'a Lowered) -> Self {
        let graph = &lowered.graph;
        Self {
            lowered,
            rows: graph.rows.map_or_else(|| "row".to_owned(), |r| graph.axis(r).name.clone()),
            counts: graph.counts.map(|c| graph.data.column(c).name.clone()),
        }
    }

    /// What multiplies each statistic of a factor in log q*.
    pub(super) fn update(&self, f: FactorId) -> Vec<Coefficient> {
        let program = &self.lowered.program;
        let family = program.factors[f].family;
        let mut lines: Vec<(String, Vec<(String, f64)>)> = Vec::new();
        for s in 0..family.num_statistics() {
            let mut found = false;
            for term in &program.terms {
                for (position, operand) in term.operands.iter().enumerate() {
                    if operand.source != (Source::Statistic { factor: f, statistic: s }) {
                        continue;
                    }
                    found = true;
                    let mut names = Names::default();
                    let header = self.header(f, s, &operand.index, &mut names);
                    let others: Vec<&Operand> =
                        term.operands.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, o)| o).collect();
                    let (body, coefficient) = self.product(&others, Some(operand), term.coefficient, &mut names);
                    let at = lines.iter().position(|(h, _)| *h == header).unwrap_or_else(|| {
                        lines.push((header, Vec::new()));
                        lines.len() - 1
                    });
                    let terms = &mut lines[at].1;
                    match terms.iter_mut().find(|(b, _)| *b == body) {
                        Some((_, total)) => *total += coefficient,
                        None => terms.push((body, coefficient)),
                    }
                }
            }
            if !found && !family.is_chain() {
                lines.push((family.statistic_name(s, &program.factors[f].name), Vec::new()));
            }
        }
        lines
            .into_iter()
            .map(|(statistic, terms)| {
                let kept: Vec<&(String, f64)> = terms.iter().filter(|(_, c)| *c != 0.0).collect();
                let mut shown: Vec<String> =
                    kept.iter().take(MOST_TERMS).map(|(body, c)| with_coefficient(*c, body)).collect();
                if kept.len() > MOST_TERMS {
                    shown.push(format!("… {} more", kept.len() - MOST_TERMS));
                }
                Coefficient { statistic, terms: shown }
            })
            .collect()
    }

    /// The product that a group sums over the rows.
    pub(super) fn row_product(&self, group: &RowGroup) -> String {
        let mut names = Names::default();
        names.of.insert(ROWS, self.rows.clone());
        let (_, operands) = self.operands(&group.operands.iter().collect::<Vec<_>>(), &mut names);
        let counts = self.counts.clone().into_iter();
        let product: Vec<String> = counts.chain(operands).collect();
        let of: Vec<String> = group
            .index
            .iter()
            .flat_map(|a| &a.parts)
            .filter_map(|(step, _)| match step {
                Step::Codes(c) => Some(self.codes_text(*c)),
                Step::Label(_) => None,
            })
            .collect();
        let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
        let body = if product.is_empty() { "1".to_owned() } else { product.join("·") };
        format!("{} {body}", sigma(&[format!("{}{of}", self.rows)]))
    }

    fn codes_text(&self, codes: usize) -> String {
        let graph = &self.lowered.graph;
        match self.lowered.program.codes.get(codes) {
            Some(spec) => match spec.column {
                Some(column) => graph.data.column(column).name.clone(),
                None => graph.axis(spec.axis).name.clone(),
            },
            None => "the combinations that occur".to_owned(),
        }
    }

    /// The statistic as its factor has it, with the factor's own names for the labels of the operand.
    fn header(&self, f: FactorId, s: usize, index: &[AxisIndex], names: &mut Names) -> String {
        let factor = &self.lowered.program.factors[f];
        let own = self.own_axes(f, s);
        let plain = factor.members.len() <= 1 && factor.members.iter().all(|m| m.flattened.is_empty());
        let own_names: Vec<String> = own.iter().map(|a| names.fresh(a)).collect();
        for (axis, name) in index.iter().zip(&own_names) {
            if let [(Step::Label(l), 1)] = axis.parts.as_slice()
                && axis.start == 0
                && (plain || own.len() < 2)
            {
                names.of.entry(*l).or_insert_with(|| name.clone());
            }
        }
        let row = usize::from(factor.local && !factor.family.is_summed(s));
        if row == 1 {
            names.of.insert(ROWS, self.rows.clone());
        }
        if !plain {
            return self.statistic(f, s, index, names);
        }
        let texts: Vec<Vec<String>> = index
            .iter()
            .zip(&own_names)
            .map(|(axis, name)| if axis.parts.is_empty() { vec![axis.start.to_string()] } else { vec![name.clone()] })
            .collect();
        self.statistic_of(f, s, &texts[row.min(texts.len())..])
    }

    /// Names of the axes of a statistic: the rows, the factor's plates, then the axes of one element.
    fn own_axes(&self, f: FactorId, s: usize) -> Vec<String> {
        let graph = &self.lowered.graph;
        let factor = &self.lowered.program.factors[f];
        let mut axes = Vec::new();
        if factor.local && !factor.family.is_summed(s) {
            axes.push(self.rows.clone());
        }
        axes.extend(factor.plate_axes.iter().map(|a| short_axis(graph.axis(*a))));
        let variable = factor.members.first().and_then(|m| m.variable).map(|v| graph.variable(v));
        let inner = variable.and_then(|v| match v.distribution {
            Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } => Some(range),
            _ => v.dimension,
        });
        let inner = inner.map_or_else(|| "i".to_owned(), |a| short_axis(graph.axis(a)));
        axes.extend(std::iter::repeat_n(inner, factor.family.statistic_shape(s).len()));
        axes
    }

    /// A statistic as it stands in a product.
    fn statistic(&self, f: FactorId, s: usize, index: &[AxisIndex], names: &mut Names) -> String {
        let factor = &self.lowered.program.factors[f];
        let row = usize::from(factor.local && !factor.family.is_summed(s));
        let plates = factor.plates.len();
        let joint = factor.members.len() > 1 || factor.members.iter().any(|m| !m.flattened.is_empty());
        let Some(index) = index.get(row..) else { return factor.name.clone() };
        if !joint || index.len() < plates {
            let texts: Vec<Vec<String>> = index.iter().map(|a| self.positions(a, names)).collect();
            return self.statistic_of(f, s, &texts);
        }
        let shared: Vec<String> = index[..plates].iter().flat_map(|a| self.positions(a, names)).collect();
        let elements: Vec<String> = index[plates..]
            .iter()
            .map(|axis| {
                let member = factor.members.iter().find(|m| m.coordinates.contains(&axis.start));
                let name = member
                    .and_then(|m| m.variable)
                    .map_or_else(|| factor.name.clone(), |v| self.lowered.graph.variable(v).name.clone());
                let mut inner = shared.clone();
                inner.extend(self.joint_positions(axis, member, names));
                indexed(&name, &inner)
            })
            .collect();
        squares(elements).join("·")
    }

    /// A statistic with the texts of its plates and of the axes of one element.
    fn statistic_of(&self, f: FactorId, s: usize, texts: &[Vec<String>]) -> String {
        let factor = &self.lowered.program.factors[f];
        let split = factor.plates.len().min(texts.len());
        let plates: Vec<String> = texts[..split].iter().flatten().cloned().collect();
        let inner: Vec<String> = texts[split..].iter().flatten().cloned().collect();
        let x = indexed(&factor.name, &plates);
        let along = |more: &[String]| {
            let all: Vec<String> = plates.iter().chain(more).cloned().collect();
            indexed(&factor.name, &all)
        };
        match (factor.family, s) {
            (
                Family::NormalVector(_)
                | Family::PartialNormal(_)
                | Family::GaussianMarkovChain(_)
                | Family::GaussianSteps(_),
                1,
            ) if inner.len() == 2 => {
                format!("{}·{}", along(&inner[..1]), along(&inner[1..]))
            }
            (Family::Categorical(_), 0) => format!("[{x} = {}]", inner.join(", ")),
            (Family::MarkovChain(_) | Family::MarkovSteps(_), 0) => format!("[{x} = {}]", inner.join(", ")),
            (Family::MarkovChain(_) | Family::MarkovSteps(_), 1) if inner.len() == 2 => {
                format!("[{x} before = {}]·[{x} = {}]", inner[0], inner[1])
            }
            (Family::MarkovChain(_), 2) => format!("[{x} first = {}]", inner.join(", ")),
            (Family::NormalGamma, 2) => format!("{x}.τ·{x}.μ"),
            (Family::NormalGamma, 3) => format!("{x}.τ·{x}.μ²"),
            (Family::NormalGammaVector(_), 2) => indexed(&format!("({x}.τ {x}.μ)"), &inner),
            (Family::NormalGammaVector(_), 3) => indexed(&format!("({x}.τ {x}.μ {x}.μᵀ)"), &inner),
            (Family::NormalWishart(_), 2) => indexed(&format!("({x}.Λ {x}.μ)"), &inner),
            (Family::NormalWishart(_), 3) => format!("{x}.μᵀ {x}.Λ {x}.μ"),
            (Family::NormalWishart(_), 0) | (Family::StickBreaking(_), 1 | 2) => {
                indexed(&factor.family.statistic_name(s, &x), &inner)
            }
            (Family::GaussianSteps(_), 2) => indexed(&format!("{x}′"), &inner),
            (Family::GaussianSteps(_), 3) => indexed(&format!("({x}′ {x}′ᵀ)"), &inner),
            (Family::GaussianSteps(_), 4) => indexed(&format!("({x} {x}′ᵀ)"), &inner),
            (Family::GaussianMarkovChain(_), 2) => indexed(&format!("(Σ {x} {x}ᵀ)"), &inner),
            (Family::GaussianMarkovChain(_), 3) => indexed(&format!("(Σ {x}′ {x}′ᵀ)"), &inner),
            (Family::GaussianMarkovChain(_), 4) => indexed(&format!("(Σ {x} {x}′ᵀ)"), &inner),
            (Family::GaussianMarkovChain(_), 5) => indexed(&format!("{x}₁"), &inner),
            (Family::GaussianMarkovChain(_), 6) => indexed(&format!("({x}₁ {x}₁ᵀ)"), &inner),
            _ => factor.family.statistic_name(s, &along(&inner)),
        }
    }

    /// Positions along one axis of an array.
    fn positions(&self, axis: &AxisIndex, names: &mut Names) -> Vec<String> {
        if axis.parts.is_empty() {
            return vec![axis.start.to_string()];
        }
        let mut parts: Vec<&(Step, usize)> = axis.parts.iter().collect();
        parts.sort_by_key(|p| std::cmp::Reverse(p.1));
        parts.into_iter().map(|(step, _)| self.step(*step, names)).collect()
    }

    /// Positions of a member's own coordinates along the axis of a joint vector.
    fn joint_positions(&self, axis: &AxisIndex, member: Option<&Member>, names: &mut Names) -> Vec<String> {
        match member {
            Some(m) if axis.parts.is_empty() && m.coordinates.len() == 1 => Vec::new(),
            Some(m) if axis.parts.is_empty() => vec![(axis.start - m.coordinates.start).to_string()],
            _ => self.positions(&AxisIndex { start: 0, parts: axis.parts.clone() }, names),
        }
    }

    fn step(&self, step: Step, names: &mut Names) -> String {
        match step {
            Step::Label(ROWS) => self.rows.clone(),
            Step::Label(l) => {
                let info = &self.lowered.program.labels[l];
                let axis = self.lowered.graph.axes.iter().find(|a| a.name == info.name);
                let name = axis.map_or_else(|| info.name.clone(), short_axis);
                names.label(l, &name)
            }
            Step::Codes(c) => self.codes_text(c),
        }
    }

    /// The numbers of a product as one coefficient, and the texts of its other operands.
    fn operands(&self, operands: &[&Operand], names: &mut Names) -> (f64, Vec<String>) {
        let mut coefficient = 1.0;
        let (mut constants, mut expectations, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for operand in operands {
            match operand.source {
                Source::Constant(c) => {
                    let constant = &self.lowered.program.constants[c];
                    match constant.values.first() {
                        Some(first) if constant.values.iter().all(|v| v == first) => coefficient *= first,
                        _ => {
                            let positions: Vec<String> =
                                operand.index.iter().flat_map(|a| self.positions(a, names)).collect();
                            constants.push(super::symbols::constant(constant, &positions));
                        }
                    }
                }
                Source::Statistic { factor, statistic } => {
                    expectations.push(format!("E[{}]", self.statistic(factor, statistic, &operand.index, names)));
                }
                Source::Data(d) => data.push(self.data_text(d, &operand.index, names)),
                Source::Summary(_) | Source::Moment { .. } | Source::Natural { .. } => {}
            }
        }
        constants.extend(expectations);
        constants.extend(data);
        (coefficient, squares(constants))
    }

    fn data_text(&self, d: usize, index: &[AxisIndex], names: &mut Names) -> String {
        let graph = &self.lowered.graph;
        let inner: Vec<String> = index.iter().skip(1).flat_map(|a| self.positions(a, names)).collect();
        match &self.lowered.program.data[d].data {
            RowData::Expression { node, transform, .. } => {
                let text = graph.expression_text(*node);
                let simple = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '`' | '-'));
                let text = if simple { text } else { format!("({text})") };
                let x = indexed(&text, &inner);
                match transform {
                    Transform::Identity => x,
                    Transform::Present => format!("[{x} present]"),
                    Transform::Log => format!("log {x}"),
                    Transform::Reciprocal => format!("1/{x}"),
                    Transform::LogGamma => {
                        format!("log Γ({})", x.strip_prefix('(').and_then(|x| x.strip_suffix(')')).unwrap_or(&x))
                    }
                    Transform::LogFactorial => format!("log {x}!"),
                    Transform::ReciprocalSquare => format!("1/{x}²"),
                    Transform::Absent => format!("[{x} missing]"),
                    Transform::LogComplement => format!("log(1 − {x})"),
                    Transform::Inside => format!("log [{x} ≥ 0]"),
                }
            }
            RowData::OneHot { block, .. } => {
                let (columns, value) = inner.split_at(inner.len().saturating_sub(1));
                format!("[{} = {}]", indexed(&graph.data.block(*block).name, columns), value.join(", "))
            }
            RowData::SameCode { left, right, different } => {
                let sign = if *different { "≠" } else { "=" };
                format!("[{} {sign} {}]", self.codes_text(*left), self.codes_text(*right))
            }
            RowData::CodeIs { codes, different, .. } => {
                let sign = if *different { "≠" } else { "=" };
                format!("[{} {sign} {}]", self.codes_text(*codes), inner.join(", "))
            }
            RowData::FirstRow { different, .. } => {
                let rows = if *different { "follows another" } else { "first" };
                format!("[{rows}]")
            }
            RowData::AnyPresent { node, .. } => format!("[any {} present]", graph.expression_text(*node)),
            RowData::Marginal { node, log_determinant, .. } => {
                let precision = format!("Λ[{} present]", graph.expression_text(*node));
                if *log_determinant { format!("log|{precision}|") } else { precision }
            }
        }
    }

    /// A product without its target: `Σ_… E[…]·y`, and the coefficient before it.
    fn product(
        &self,
        others: &[&Operand],
        target: Option<&Operand>,
        coefficient: f64,
        names: &mut Names,
    ) -> (String, f64) {
        let program = &self.lowered.program;
        let bound: Vec<Label> = names.of.keys().copied().collect();
        let (constant, mut texts) = self.operands(others, names);
        let mut coefficient = coefficient * constant;
        // What remains to be summed over.
        let uniform = |o: &Operand| match o.source {
            Source::Constant(c) => {
                let values = &program.constants[c].values;
                values.iter().all(|v| Some(v) == values.first())
            }
            _ => false,
        };
        let steps = |o: &Operand| o.index.iter().flat_map(|a| &a.parts).map(|p| p.0).collect::<Vec<_>>();
        let mut sums: Vec<String> = Vec::new();
        let target_codes: Vec<usize> = target
            .map(steps)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|s| if let Step::Codes(c) = s { Some(c) } else { None })
            .collect();
        let mut seen: Vec<Label> = bound;
        let over_rows = others
            .iter()
            .copied()
            .chain(target)
            .any(|o| steps(o).iter().any(|s| matches!(s, Step::Codes(_)) || *s == Step::Label(ROWS)));
        if over_rows && !seen.contains(&ROWS) {
            let of: Vec<String> = target_codes.iter().map(|&c| self.codes_text(c)).collect();
            let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
            sums.push(format!("{}{of}", self.rows));
            if let Some(counts) = &self.counts {
                texts.push(counts.clone());
            }
        }
        seen.push(ROWS);
        for (operand, is_uniform) in others.iter().map(|o| (o, uniform(o))) {
            for step in steps(operand) {
                let Step::Label(l) = step else { continue };
                if seen.contains(&l) {
                    continue;
                }
                let elsewhere = others.iter().any(|o| !uniform(o) && steps(o).contains(&step));
                if is_uniform && !elsewhere {
                    coefficient *= program.labels[l].size as f64;
                    seen.push(l);
                } else if !is_uniform {
                    sums.push(self.step(step, names));
                    seen.push(l);
                }
            }
        }
        let body = texts.join("·");
        let body = match (sums.is_empty(), body.is_empty()) {
            (true, _) => body,
            (false, true) => format!("{} 1", sigma(&sums)),
            (false, false) => format!("{} {body}", sigma(&sums)),
        };
        (body, coefficient)
    }
}

/// `name[a, b]`, or the name alone.
fn indexed(name: &str, positions: &[String]) -> String {
    if positions.is_empty() { name.to_owned() } else { format!("{name}[{}]", positions.join(", ")) }
}

/// `Σ_observation`, `Σ_{observation of school, feature}`.
fn sigma(over: &[String]) -> String {
    match over {
        [single] if !single.contains(' ') => format!("Σ_{single}"),
        _ => format!("Σ_{{{}}}", over.join(", ")),
    }
}

/// Equal neighbours as squares.
fn squares(texts: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in texts {
        if out.last() == Some(&text) && !text.ends_with('²') {
            out.pop();
            out.push(format!("{text}²"));
        } else {
            out.push(text);
        }
    }
    out
}

/// A coefficient before a product.
fn with_coefficient(coefficient: f64, body: &str) -> String {
    if body.is_empty() {
        return number(coefficient);
    }
    match coefficient {
        1.0 => body.to_owned(),
        -1.0 => format!("−{body}"),
        c if body.starts_with('Σ') => format!("{} {body}", number(c)),
        c => format!("{}·{body}", number(c)),
    }
}
